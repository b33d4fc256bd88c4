/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions of a sink, and the positions it keeps. */
#include "contract.h"

#include <stdlib.h>

#define COUNT 5u

static enum mb_status call(struct tested_sink *sink,
                           enum mb_status (*operation)(struct mb_sink *, struct mb_error *),
                           const char *name)
{
    struct mb_error err = {0};
    enum mb_status status;

    sink->host.in_operation = true;
    status = operation(sink->sink, &err);
    sink->host.in_operation = false;
    if (status != MB_OK && !(sink->may_end && status == MB_DISCONNECTED))
        check_fail(&sink->contract->check, "%s failed: %s", name, err.text);
    return status;
}

static enum mb_status
end(struct tested_sink *sink,
    enum mb_status (*operation)(struct mb_sink *, uint32_t, struct mb_error *), const char *name)
{
    struct mb_error err = {0};
    enum mb_status status;

    sink->host.in_operation = true;
    status = operation(sink->sink, sink->contract->timeout_ms, &err);
    sink->host.in_operation = false;
    sink->in_transaction = false;
    check_error(&sink->contract->check, name, status, &err);
    return status;
}

static bool begin(struct tested_sink *sink)
{
    sink->in_transaction = true;
    return call(sink, sink->ops->begin, "begin") == MB_OK;
}

static void read_all(struct contract *contract, struct options *options, uint64_t first,
                     uint64_t count, const char *when)
{
    struct tested_source source;
    struct taken *taken;

    source_init(&source, options);
    taken = taken_create(&source);
    if (source_open(&source, options, true) == MB_OK) {
        if (count > 0)
            source_take(&source, count);
        source_take_quiet(&source);
        source_close(&source);
    }
    taken_check(&contract->check, taken, first, count, when);
    taken_destroy(taken);
    source_release(&source);
}

/* The core aborts too while messages are in flight: nothing of them is used afterwards, and no
 * completion of them comes. */
static void abort_in_flight(struct tested_sink *sink)
{
    struct mb_message *messages[COUNT];
    uint64_t completed;

    for (uint64_t i = 0; i < COUNT; i++)
        messages[i] = message_create(2 * COUNT + i);
    if (begin(sink)) {
        sink_send(sink, messages, COUNT);
        if (end(sink, sink->ops->abort, "abort") != MB_OK)
            check_fail(&sink->contract->check, "abort failed with messages in flight");
    }
    for (uint64_t i = 0; i < COUNT; i++)
        message_destroy(messages[i]);
    completed = sink->confirmed + sink->failed;
    sink_wait(sink, sink->contract->quiet_ms);
    sink_collect(sink);
    if (sink->confirmed + sink->failed != completed)
        check_fail(&sink->contract->check, "a message completed after its abort");
    sink->outstanding = 0;
}

void case_transaction(struct contract *contract)
{
    struct tested_sink *sink = calloc(1, sizeof *sink);
    struct options options;

    if (sink == NULL || !options_open(contract, &options)) {
        free(sink);
        return;
    }
    options.effectively_once = true;
    if ((options.sink_traits & MB_SINK_TRANSACTIONS) != 0 &&
        sink_open(sink, &options, 1000) == MB_OK) {
        if (begin(sink) && sink_put(sink, 0, COUNT)) {
            read_all(contract, &options, 0, 0, "before commit");
            end(sink, sink->ops->abort, "abort");
            read_all(contract, &options, 0, 0, "after abort");
        }
        if (sink->sink != NULL && begin(sink) && sink_put(sink, COUNT, COUNT)) {
            if (end(sink, sink->ops->commit, "commit") != MB_OK)
                check_fail(&contract->check, "commit failed");
            read_all(contract, &options, COUNT, COUNT, "after commit");
        }
        if (sink->sink != NULL) {
            abort_in_flight(sink);
            read_all(contract, &options, COUNT, COUNT, "after an abort in flight");
            sink_close(sink);
        }
    }
    options_close(&options);
    free(sink);
}

static struct mb_position load(struct tested_sink *sink, struct options *options)
{
    struct mb_stored_position stored = {.stream = MB_SLICE_LITERAL("origin"), .partition = 3};
    struct mb_error err = {0};

    sink->host.in_operation = true;
    if (sink->ops->load_positions(sink->sink, options->group, &stored, 1,
                                  sink->contract->timeout_ms, &err) != MB_OK)
        check_fail(&sink->contract->check, "load_positions failed: %s", err.text);
    sink->host.in_operation = false;
    return stored.position;
}

static enum mb_status store(struct tested_sink *sink, struct options *options, uint64_t offset,
                            enum mb_status (*operation)(struct mb_sink *, uint32_t,
                                                        struct mb_error *))
{
    struct mb_stored_position stored = {
        .stream = MB_SLICE_LITERAL("origin"),
        .partition = 3,
        .position = {.kind = MB_POSITION_OFFSET, .lo = offset},
    };
    struct mb_error err = {0};

    if (!begin(sink) || !sink_put(sink, offset, 1)) {
        sink->in_transaction = false;
        return MB_DISCONNECTED;
    }
    sink->host.in_operation = true;
    if (sink->ops->positions(sink->sink, options->group, &stored, 1, &err) != MB_OK)
        check_fail(&sink->contract->check, "positions failed: %s", err.text);
    sink->host.in_operation = false;
    return end(sink, operation, "the end of a transaction");
}

/* What was committed is loaded, what was aborted is not, and the older instance is fenced off. */
void case_positions(struct contract *contract)
{
    struct check *check = &contract->check;
    struct tested_sink *old = calloc(1, sizeof *old);
    struct tested_sink *new = calloc(1, sizeof *new);
    struct options options;
    struct mb_position position;

    if (old == NULL || new == NULL || !options_open(contract, &options))
        goto out;
    options.effectively_once = true;
    if ((options.sink_traits & MB_SINK_STORES_POSITIONS) == 0 ||
        sink_open(old, &options, 1000) != MB_OK)
        goto close;
    if (load(old, &options).kind != MB_POSITION_NONE)
        check_fail(check, "a new group has a stored position");
    if (store(old, &options, 1, old->ops->commit) != MB_OK)
        check_fail(check, "commit with positions failed");
    store(old, &options, 2, old->ops->abort);
    if (sink_open(new, &options, 1000) == MB_OK) {
        position = load(new, &options);
        if (position.kind != MB_POSITION_OFFSET || position.lo != 1)
            check_fail(check, "position %llu is loaded, 1 was committed",
                       (unsigned long long)position.lo);
        old->may_end = true;
        if (store(old, &options, 3, old->ops->commit) == MB_OK)
            check_fail(check, "an instance that was fenced off committed");
        if (store(new, &options, 4, new->ops->commit) != MB_OK)
            check_fail(check, "the later instance cannot commit");
        position = load(new, &options);
        if (position.kind != MB_POSITION_OFFSET || position.lo != 4)
            check_fail(check, "position %llu is loaded by who wrote 4",
                       (unsigned long long)position.lo);
        sink_close(new);
    }
    if (old->sink != NULL)
        sink_close(old);
close:
    options_close(&options);
out:
    free(old);
    free(new);
}
