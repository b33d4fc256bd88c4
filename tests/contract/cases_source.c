/* SPDX-License-Identifier: Apache-2.0 */
/* What a source owes: what was not acknowledged comes again, what was does not. */
#include "contract.h"

#include <stdlib.h>

#define COUNT 100u

/* A stream with messages first … first+count-1. */
static bool fill(struct options *options, uint64_t first, uint64_t count)
{
    struct contract *contract = options->contract;
    struct tested_sink *sink = calloc(1, sizeof *sink);
    bool good = false;

    if (sink == NULL)
        abort();
    if (sink_open(sink, options, 1000) == MB_OK) {
        good = sink_put(sink, first, count);
        sink_close(sink);
    }
    if (!good)
        check_fail(&contract->check, "the stream cannot be filled");
    free(sink);
    return good;
}

static bool prepare(struct contract *contract, struct options *options, uint64_t count)
{
    if (!options_open(contract, options))
        return false;
    if (fill(options, 0, count))
        return true;
    options_close(options);
    return false;
}

struct reader {
    struct tested_source source;
    struct taken *taken;
};

/* Opens and takes count messages. */
static bool reader_open(struct reader *reader, struct options *options, uint64_t count)
{
    source_init(&reader->source, options);
    reader->taken = taken_create(&reader->source);
    if (source_open(&reader->source, options, true) != MB_OK) {
        check_fail(&options->contract->check, "the source does not open");
        return false;
    }
    return count == 0 || source_take(&reader->source, count);
}

static void reader_close(struct reader *reader)
{
    if (reader->source.source != NULL)
        source_close(&reader->source);
    taken_destroy(reader->taken);
    source_release(&reader->source);
}

static void check_rest(struct check *check, const struct taken *taken, const unsigned char *done,
                       const char *when)
{
    unsigned char came[COUNT] = {0};
    uint64_t again = 0;
    uint64_t missing = 0;
    uint64_t first_again = 0;
    uint64_t first_missing = 0;

    for (size_t i = 0; i < taken->count; i++) {
        if (taken->numbers[i] >= COUNT)
            continue;
        came[taken->numbers[i]] = 1;
        if (done[taken->numbers[i]] != 0 && again++ == 0)
            first_again = taken->numbers[i];
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        if (done[i] == 0 && came[i] == 0 && missing++ == 0)
            first_missing = i;
    }
    if (again > 0)
        check_fail(check, "%s: %llu messages came again, the first is %llu", when,
                   (unsigned long long)again, (unsigned long long)first_again);
    if (missing > 0)
        check_fail(check, "%s: %llu messages did not come again, the first is %llu", when,
                   (unsigned long long)missing, (unsigned long long)first_missing);
}

/* Opens once more: exactly what is missing of 0 … COUNT-1 in `done` may come. */
static void expect_rest(struct options *options, const unsigned char *done, const char *when)
{
    struct reader reader;
    uint64_t rest = 0;

    for (size_t i = 0; i < COUNT; i++)
        rest += done[i] == 0 ? 1 : 0;
    if (reader_open(&reader, options, 0)) {
        source_take(&reader.source, rest);
        source_take_quiet(&reader.source);
        check_rest(&options->contract->check, reader.taken, done, when);
        taken_ack(&reader.source, reader.taken, 0, reader.taken->count, MB_ACCEPTED);
        source_commit(&reader.source);
    }
    reader_close(&reader);
}

void case_nothing_acknowledged(struct contract *contract)
{
    unsigned char done[COUNT] = {0};
    struct options options;
    struct reader reader;

    if (!prepare(contract, &options, COUNT))
        return;
    if (reader_open(&reader, &options, COUNT))
        taken_check(&contract->check, reader.taken, 0, COUNT, "at the first reading");
    reader_close(&reader);
    expect_rest(&options, done, "after nothing was acknowledged");
    options_close(&options);
}

static void acknowledge_some(struct contract *contract, size_t count, const char *when)
{
    unsigned char done[COUNT] = {0};
    struct options options;
    struct reader reader;

    if (!prepare(contract, &options, COUNT))
        return;
    if (reader_open(&reader, &options, COUNT)) {
        taken_ack(&reader.source, reader.taken, 0, count, MB_ACCEPTED);
        for (size_t i = 0; i < count && i < reader.taken->count; i++) {
            if (reader.taken->numbers[i] < COUNT)
                done[reader.taken->numbers[i]] = 1;
        }
        source_commit(&reader.source);
        if ((reader.source.traits & MB_SOURCE_COMMITS) != 0 && reader.source.committed_events == 0)
            check_fail(&contract->check, "no COMMITTED came after commit");
    }
    reader_close(&reader);
    expect_rest(&options, done, when);
    options_close(&options);
}

void case_all_acknowledged(struct contract *contract)
{
    acknowledge_some(contract, COUNT, "after all was acknowledged");
}

void case_prefix_acknowledged(struct contract *contract)
{
    acknowledge_some(contract, COUNT * 2 / 5, "after a prefix was acknowledged");
}

void case_released(struct contract *contract)
{
    unsigned char done[COUNT] = {0};
    struct options options;
    struct reader reader;

    if (!prepare(contract, &options, COUNT))
        return;
    if (reader_open(&reader, &options, COUNT))
        taken_ack(&reader.source, reader.taken, 0, reader.taken->count, MB_RELEASED);
    reader_close(&reader);
    if (reader_open(&reader, &options, COUNT) && (contract->carries & CARRY_REDELIVERED) != 0 &&
        !reader.taken->messages[0].redelivered)
        check_fail(&contract->check, "a message that was given back is not marked redelivered");
    reader_close(&reader);
    expect_rest(&options, done, "after all was given back");
    options_close(&options);
}

/* Acknowledgements that are too late do nothing: not even harm. */
void case_stale(struct contract *contract)
{
    unsigned char done[COUNT] = {0};
    struct options options;
    struct reader reader;

    if (!prepare(contract, &options, COUNT))
        return;
    if (reader_open(&reader, &options, COUNT)) {
        for (size_t i = 0; i < reader.taken->count; i++) {
            struct mb_message stale = {.scope = reader.taken->messages[i].scope,
                                       .epoch = reader.taken->messages[i].epoch - 1,
                                       .token = reader.taken->messages[i].token};

            source_ack(&reader.source, &stale, MB_ACCEPTED);
        }
        source_commit(&reader.source);
        source_step(&reader.source);
    }
    reader_close(&reader);
    expect_rest(&options, done, "after acknowledgements of an old epoch");
    options_close(&options);
}

static bool is_settled(void *context)
{
    const struct tested_source *source = context;

    return source_scopes(source, SCOPE_ASSIGNED) > 0;
}

/* Small batches, and nothing before the core has said start. */
void case_batch_bounds(struct contract *contract)
{
    struct tested_source *sources[1];
    struct options options;
    struct reader reader;

    if (!prepare(contract, &options, COUNT))
        return;
    source_init(&reader.source, &options);
    reader.taken = taken_create(&reader.source);
    reader.source.holds_start = true;
    reader.source.batch_max = 3;
    sources[0] = &reader.source;
    if (source_open(&reader.source, &options, true) == MB_OK) {
        if (!sources_run(sources, 1, contract->timeout_ms, is_settled, &reader.source))
            check_fail(&contract->check, "no scope was assigned");
        sources_run(sources, 1, contract->quiet_ms / 4, NULL, NULL);
        reader.source.holds_start = false;
        for (uint32_t i = 0; i < SCOPES_MAX; i++) {
            if (reader.source.scopes[i].state == SCOPE_ASSIGNED)
                source_start(&reader.source, i);
        }
        source_take(&reader.source, COUNT);
        taken_check(&contract->check, reader.taken, 0, COUNT, "in small batches");
    }
    reader_close(&reader);
    options_close(&options);
}

static bool start_reader(struct contract *contract, struct reader *reader, struct options *options,
                         uint32_t kind, const struct mb_position *at)
{
    options_regroup(options);
    source_init(&reader->source, options);
    reader->taken = taken_create(&reader->source);
    reader->source.start.kind = kind;
    if (at != NULL)
        memcpy(reader->source.start_at, at, sizeof reader->source.start_at);
    if (source_open(&reader->source, options, true) == MB_OK)
        return true;
    check_fail(&contract->check, "the source does not open");
    return false;
}

/* Where the source can seek it begins where the core says. */
void case_start(struct contract *contract)
{
    struct check *check = &contract->check;
    struct mb_position at[SCOPES_MAX] = {{0}};
    struct options options;
    struct reader reader;
    uint64_t first = 0;
    int32_t place;

    if (!prepare(contract, &options, COUNT))
        return;
    if ((options.source_traits & MB_SOURCE_SEEKS) == 0) {
        options_close(&options);
        return;
    }
    if (start_reader(contract, &reader, &options, MB_POSITION_BEGIN, NULL) &&
        source_take(&reader.source, COUNT)) {
        /* Begin again at the twentieth message, elsewhere at the end. */
        for (size_t i = 0; i < SCOPES_MAX; i++)
            at[i].kind = MB_POSITION_END;
        first = reader.taken->numbers[20];
        place = reader.source.scopes[reader.taken->messages[20].scope].partition;
        at[place >= 0 && place < SCOPES_MAX ? place : 0] = reader.taken->messages[20].position;
    }
    reader_close(&reader);
    if (start_reader(contract, &reader, &options, MB_POSITION_END, NULL)) {
        source_take_quiet(&reader.source);
        if (reader.source.count > 0)
            check_fail(check, "%llu messages came behind the end",
                       (unsigned long long)reader.source.count);
        fill(&options, COUNT, 5);
        source_take(&reader.source, 5);
        taken_check(check, reader.taken, COUNT, 5, "from the end");
    }
    reader_close(&reader);
    if (start_reader(contract, &reader, &options, MB_POSITION_END, at) &&
        source_take(&reader.source, 1) && reader.taken->numbers[0] != first)
        check_fail(check, "a start at the position of message %llu begins with %llu",
                   (unsigned long long)first, (unsigned long long)reader.taken->numbers[0]);
    reader_close(&reader);
    options_close(&options);
}
