/* SPDX-License-Identifier: Apache-2.0 */
/* The operation streams: a pattern that matches other streams than at open. */
#include "contract.h"

#include <stdlib.h>

#define COUNT 20u
#define OTHER 100u /* the first number of the other stream */
#define GONE  200u /* of what is written to a stream that was taken off the list */

static bool has_operation(const struct mb_source_ops *ops)
{
    return ops != NULL &&
           ops->struct_size >= offsetof(struct mb_source_ops, streams) + sizeof ops->streams &&
           ops->streams != NULL;
}

/* Appends COUNT numbered messages, from first on. */
static bool fill(const struct options *options, uint64_t first)
{
    struct tested_sink *sink = calloc(1, sizeof *sink);
    bool good = false;

    if (sink == NULL)
        abort();
    if (sink_open(sink, options, 1000) == MB_OK) {
        good = sink_put(sink, first, COUNT);
        sink_close(sink);
    }
    if (!good)
        check_fail(&options->contract->check, "%s cannot be filled: status %d", options->stream,
                   (int)sink->status);
    free(sink);
    return good;
}

static void change(struct tested_source *source, const char *const *names, size_t count)
{
    struct mb_strings streams = {names, count};
    struct mb_error err = {0};

    source->host.in_operation = true;
    source->status = source->ops->streams(source->source, &streams, &err);
    source->host.in_operation = false;
    check_error(&source->contract->check, "streams", source->status, &err);
    if (source->status != MB_OK)
        check_fail(&source->contract->check, "streams failed: %s", err.text);
}

/* Until count messages came in all. */
static bool take(struct tested_source *source, uint64_t count, const char *when)
{
    if (source_take(source, count))
        return true;
    check_fail(&source->contract->check, "that was %s, with %zu scopes", when,
               source_scopes(source, SCOPE_STARTED));
    return false;
}

static void accept_all(struct tested_source *source, const struct taken *taken, size_t *from)
{
    taken_ack(source, taken, *from, taken->count, MB_ACCEPTED);
    source_commit(source);
    *from = taken->count;
}

/* Order is kept within a stream only. */
static void check_range(struct check *check, const struct taken *taken, uint64_t first,
                        uint64_t count, const char *when)
{
    struct taken *part = calloc(1, sizeof *part);

    if (part == NULL)
        abort();
    for (size_t i = 0; i < taken->count; i++) {
        if (taken->numbers[i] < first || taken->numbers[i] >= first + OTHER)
            continue;
        part->numbers[part->count] = taken->numbers[i];
        part->messages[part->count++] = taken->messages[i];
    }
    taken_check(check, part, first, count, when);
    free(part);
}

/* one is there from the begin, other comes while it runs, then one goes. */
static void run(const struct options *one, const struct options *other,
                struct tested_source *source, struct taken *taken)
{
    struct check *check = &one->contract->check;
    const char *both[] = {one->stream, other->stream};
    const char *rest[] = {other->stream};
    size_t acked = 0;

    if (!take(source, COUNT, "of the first stream"))
        return;
    accept_all(source, taken, &acked);
    change(source, both, 2);
    if (!fill(other, OTHER) || !fill(one, COUNT) ||
        !take(source, 3 * COUNT, "after a stream was added"))
        return;
    accept_all(source, taken, &acked);
    change(source, rest, 1);
    if (!fill(one, GONE) || !fill(other, OTHER + COUNT) ||
        !take(source, 4 * COUNT, "after a stream was taken off the list"))
        return;
    source_take_quiet(source);
    accept_all(source, taken, &acked);
    check_range(check, taken, 0, 2 * COUNT, "of the stream that was there");
    check_range(check, taken, OTHER, 2 * COUNT, "of the stream that was added");
    check_range(check, taken, GONE, 0, "of a stream that was taken off the list");
}

/* What was acknowledged does not come again, of neither stream. */
static void check_stored(const struct options *options, const struct mb_strings *streams)
{
    struct tested_source source;

    source_init(&source, options);
    source.streams = streams;
    if (source_open(&source, options, true) == MB_OK) {
        if (take(&source, COUNT, "at the second reading"))
            source_take_quiet(&source);
        if (source.count > COUNT)
            check_fail(&options->contract->check,
                       "%llu messages came at the second reading, only %u were left",
                       (unsigned long long)source.count, COUNT);
        source_close(&source);
    }
    source_release(&source);
}

void case_streams(struct contract *contract)
{
    struct tested_source source;
    struct options one;
    struct options other;
    struct taken *taken;
    const char *names[2];
    struct mb_strings streams = {names, 1};

    if (!has_operation(contract->backend->source) || !options_open(contract, &one))
        return;
    if (!options_pattern(&one)) {
        options_close(&one);
        return;
    }
    if (!options_open(contract, &other)) {
        options_close(&one);
        return;
    }
    names[0] = one.stream;
    names[1] = other.stream;
    source_init(&source, &one);
    source.streams = &streams;
    taken = taken_create(&source);
    if (fill(&one, 0) && source_open(&source, &one, true) == MB_OK) {
        run(&one, &other, &source, taken);
        source_close(&source);
        streams.count = 2;
        check_stored(&one, &streams);
    }
    taken_destroy(taken);
    source_release(&source);
    options_close(&other);
    options_close(&one);
}
