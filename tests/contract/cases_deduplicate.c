/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks that leave out by themselves what was stored before. */
#include "contract.h"

#include <stdlib.h>

#define HALF 300u

static void put(struct contract *contract, struct options *options, const struct mb_origin *origin,
                uint64_t first, uint64_t count, const char *what)
{
    struct tested_sink *sink = calloc(1, sizeof *sink);

    if (sink == NULL)
        abort();
    if (sink_open(sink, options, 1000) != MB_OK) {
        check_fail(&contract->check, "%s: the sink does not open", what);
    } else {
        sink->origin = origin;
        if (sink_put(sink, first, count) && sink->confirmed != count)
            check_fail(&contract->check, "%s: %llu of %llu messages were confirmed", what,
                       (unsigned long long)sink->confirmed, (unsigned long long)count);
        sink_close(sink);
    }
    free(sink);
}

/* Every number there as often as it should be, and each time in order. */
static void check_count(struct contract *contract, struct options *options, uint64_t count,
                        size_t times)
{
    struct tested_source source;
    struct taken *taken;
    size_t seen[2 * HALF] = {0};

    source_init(&source, options);
    taken = taken_create(&source);
    if (source_open(&source, options, true) == MB_OK) {
        source_take(&source, count * times);
        source_take_quiet(&source);
        taken_ack(&source, taken, 0, taken->count, MB_ACCEPTED);
        source_commit(&source);
        source_close(&source);
    } else {
        check_fail(&contract->check, "the source does not open");
    }
    for (size_t i = 0; i < taken->count; i++) {
        if (taken->numbers[i] < count)
            seen[taken->numbers[i]]++;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (seen[i] != times)
            check_fail(&contract->check, "number %llu is there %zu times instead of %zu",
                       (unsigned long long)i, seen[i], times);
    }
    taken_destroy(taken);
    source_release(&source);
}

/* What another broker of the platform cannot do is refused before anything is taken. */
static bool can(struct contract *contract, struct options *options)
{
    struct tested_sink *sink = calloc(1, sizeof *sink);
    enum mb_status status;

    if (sink == NULL)
        abort();
    status = sink_open(sink, options, 1000);
    if (status == MB_OK)
        sink_close(sink);
    else if (status != MB_UNSUPPORTED && status != MB_FATAL)
        check_fail(&contract->check, "effectively once: open fails with status %d", (int)status);
    free(sink);
    return status == MB_OK;
}

/* A second instance is given the second half of what the first had, and more behind it. Another
 * partition, and another cluster, have the same positions and are not taken for repeats. */
void case_deduplicate(struct contract *contract)
{
    struct mb_origin origin = {
        .struct_size = sizeof origin,
        .partition = 3,
        .partitions_count = 5,
        .platform = MB_SLICE_LITERAL("kafka"),
        .endpoint = MB_SLICE_LITERAL("origin"),
        .identity = MB_SLICE_LITERAL("cluster"),
        .stream = MB_SLICE_LITERAL("orders"),
    };
    struct options options;

    if (!options_open(contract, &options))
        return;
    options.effectively_once = true;
    if ((options.sink_traits & MB_SINK_DEDUPLICATES) != 0 && can(contract, &options)) {
        put(contract, &options, &origin, 0, HALF, "the first half");
        put(contract, &options, &origin, HALF / 2, 3 * HALF / 2, "repeats and the second half");
        put(contract, &options, &origin, 0, 2 * HALF, "repeats alone");
        check_count(contract, &options, 2 * HALF, 1);
        origin.partition = 4;
        put(contract, &options, &origin, 0, HALF, "another partition");
        origin.identity = (struct mb_slice)MB_SLICE_LITERAL("another");
        put(contract, &options, &origin, 0, HALF, "another cluster");
        check_count(contract, &options, HALF, 2);
    }
    options_close(&options);
}
