/* SPDX-License-Identifier: Apache-2.0 */
/* What a sink owes: every message taken completes once, in the order sent, and only when stored. */
#include "contract.h"

#include <stdlib.h>

#define MANY 10000u
#define SOME 500u
#define PART 500u

/* Reads all of a stream back and compares. */
static void read_back(struct contract *contract, struct options *options, uint64_t first,
                      uint64_t count, const char *when)
{
    struct tested_source source;
    struct taken *taken;
    size_t acked = 0;

    source_init(&source, options);
    taken = taken_create(&source);
    if (source_open(&source, options, true) == MB_OK) {
        /* In parts, as the window may hold no more. */
        for (uint64_t due = PART; source_take(&source, due < count ? due : count) && due < count;
             due += PART) {
            taken_ack(&source, taken, acked, taken->count, MB_ACCEPTED);
            acked = taken->count;
        }
        source_take_quiet(&source);
        taken_ack(&source, taken, acked, taken->count, MB_ACCEPTED);
        source_commit(&source);
        source_close(&source);
    } else {
        check_fail(&contract->check, "%s: the source does not open", when);
    }
    taken_check(&contract->check, taken, first, count, when);
    taken_destroy(taken);
    source_release(&source);
}

void case_confirms(struct contract *contract)
{
    struct tested_sink *sink = calloc(1, sizeof *sink);
    struct options options;

    if (sink == NULL || !options_open(contract, &options)) {
        free(sink);
        return;
    }
    if (sink_open(sink, &options, 1000) == MB_OK) {
        if (sink_put(sink, 0, MANY) && sink->failed > 0)
            check_fail(&contract->check, "%llu of %u messages failed",
                       (unsigned long long)sink->failed, MANY);
        sink_close(sink);
        read_back(contract, &options, 0, MANY, "after the sink confirmed");
    } else {
        check_fail(&contract->check, "the sink does not open");
    }
    options_close(&options);
    free(sink);
}

/* Offers without ever asking for completions, until no more is taken; then it must go on. */
void case_back_pressure(struct contract *contract)
{
    struct mb_message *messages[SOME];
    struct tested_sink *sink = calloc(1, sizeof *sink);
    int64_t until_ms = test_now_ms() + contract->timeout_ms;
    struct options options;
    size_t done = 0;
    size_t taken;

    if (sink == NULL || !options_open(contract, &options)) {
        free(sink);
        return;
    }
    for (size_t i = 0; i < SOME; i++)
        messages[i] = message_create(i);
    if (sink_open(sink, &options, 16) == MB_OK) {
        do {
            taken = sink_send(sink, messages + done, SOME - done);
            done += taken;
        } while (taken > 0 && done < SOME);
        while (done < SOME && test_now_ms() < until_ms) {
            sink_collect(sink);
            taken = sink_send(sink, messages + done, SOME - done);
            done += taken;
            if (taken == 0)
                sink_wait(sink, 100);
        }
        if (done < SOME)
            check_fail(&contract->check, "the sink never took more after it was full");
        sink_settle(sink);
        sink_close(sink);
        if (done == SOME)
            read_back(contract, &options, 0, SOME, "after back-pressure");
    }
    for (size_t i = 0; i < SOME; i++)
        message_destroy(messages[i]);
    options_close(&options);
    free(sink);
}

/* To a stream that is not there nothing may be confirmed, unless the platform makes it. */
void case_missing(struct contract *contract)
{
    const struct mb_describe_ops *ops = contract->backend->describe;
    struct tested_sink *sink = calloc(1, sizeof *sink);
    struct mb_message *message = message_create(0);
    int64_t until_ms = test_now_ms() + contract->quiet_ms;
    struct options options;

    if (sink == NULL || ops == NULL || !options_fill(contract, &options)) {
        free(sink);
        message_destroy(message);
        return;
    }
    if (sink_open(sink, &options, 16) == MB_OK) {
        while (sink_send(sink, &message, 1) == 0 && test_now_ms() < until_ms)
            sink_wait(sink, 20);
        do {
            sink_collect(sink);
            sink_wait(sink, 20);
        } while (sink->outstanding > 0 && sink->status == MB_OK && test_now_ms() < until_ms);
        if (sink->failed > 0 && sink->last_cause == MB_CAUSE_MESSAGE)
            check_fail(&contract->check, "a missing fixed destination was blamed on the message");
        if (sink->confirmed > 0)
            read_back(contract, &options, 0, 1, "confirmed to a missing stream");
        sink_close(sink);
    }
    message_destroy(message);
    options_close(&options);
    free(sink);
}
