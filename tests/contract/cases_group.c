/* SPDX-License-Identifier: Apache-2.0 */
/* Two instances on one stream: they divide it, or one stands by. */
#include "contract.h"

#include <stdlib.h>

#define COUNT 100u

static bool fill(struct options *options, uint64_t first, uint64_t count)
{
    struct tested_sink *sink = calloc(1, sizeof *sink);
    bool good = false;

    if (sink == NULL)
        abort();
    if (sink_open(sink, options, 1000) == MB_OK) {
        good = sink_put(sink, first, count);
        sink_close(sink);
    }
    free(sink);
    return good;
}

struct pair {
    struct tested_source a;
    struct tested_source b;
    struct tested_source *both[2];
    uint64_t wanted;
    size_t partitions;
};

static bool is_divided(void *context)
{
    const struct pair *pair = context;
    size_t a = source_scopes(&pair->a, SCOPE_STARTED);
    size_t b = source_scopes(&pair->b, SCOPE_STARTED);

    return a > 0 && b > 0 && a + b == pair->partitions;
}

static bool has_both(void *context)
{
    const struct pair *pair = context;

    return pair->a.count + pair->b.count >= pair->wanted;
}

static void check_divided(struct check *check, const struct pair *pair)
{
    for (size_t i = 0; i < SCOPES_MAX; i++) {
        for (size_t j = 0; j < SCOPES_MAX; j++) {
            if (pair->a.scopes[i].state == SCOPE_STARTED &&
                pair->b.scopes[j].state == SCOPE_STARTED &&
                pair->a.scopes[i].partition == pair->b.scopes[j].partition)
                check_fail(check, "both instances have partition %d", pair->a.scopes[i].partition);
        }
    }
}

/* B joins while A has it all; A leaves; nothing is lost, and nothing acknowledged comes again. */
static void run_members(struct contract *contract, struct options *options, struct pair *pair)
{
    struct check *check = &contract->check;
    struct taken *of_a = taken_create(&pair->a);
    struct taken *of_b = taken_create(&pair->b);

    /* So that what a rebalance takes away is done with, and does not come again. */
    pair->a.acks_at_once = true;
    pair->b.acks_at_once = true;
    if (source_open(&pair->a, options, true) != MB_OK || !source_take(&pair->a, COUNT))
        goto out;
    if (source_open(&pair->b, options, true) != MB_OK)
        goto out;
    if (!sources_run(pair->both, 2, contract->timeout_ms, is_divided, pair)) {
        check_fail(check, "two instances do not divide %zu partitions: %zu and %zu",
                   pair->partitions, source_scopes(&pair->a, SCOPE_STARTED),
                   source_scopes(&pair->b, SCOPE_STARTED));
        goto out;
    }
    check_divided(check, pair);
    fill(options, COUNT, COUNT);
    pair->wanted = 2 * (uint64_t)COUNT;
    if (!sources_run(pair->both, 2, contract->timeout_ms, has_both, pair))
        check_fail(check, "only %llu of %llu messages came to two instances",
                   (unsigned long long)(pair->a.count + pair->b.count),
                   (unsigned long long)pair->wanted);
    if (of_b->count == 0)
        check_fail(check, "the second instance got no message");
    for (size_t i = 0; i < of_b->count && of_a->count < SEQUENCES_MAX; i++)
        of_a->numbers[of_a->count++] = of_b->numbers[i];
    source_commit(&pair->a);
    source_close(&pair->a);
    fill(options, 2 * COUNT, COUNT);
    of_b->count = 0;
    pair->wanted = pair->a.count + pair->b.count + COUNT;
    if (!sources_run(pair->both, 2, contract->timeout_ms, has_both, pair))
        check_fail(check, "the instance that stayed did not get the partitions of the other");
    for (size_t i = 0; i < of_b->count && of_a->count < SEQUENCES_MAX; i++)
        of_a->numbers[of_a->count++] = of_b->numbers[i];
    taken_check(check, of_a, 0, 3 * COUNT, "with two instances");
out:
    if (pair->a.source != NULL)
        source_close(&pair->a);
    if (pair->b.source != NULL)
        source_close(&pair->b);
    taken_destroy(of_a);
    taken_destroy(of_b);
}

void case_two_members(struct contract *contract)
{
    struct options options;
    struct pair *pair;

    if (contract->partitions < 2 || !options_open(contract, &options))
        return;
    if ((options.source_traits & MB_SOURCE_DIVIDES_BY_KEY) == 0 ||
        (options.source_traits & MB_SOURCE_PARTITIONED) == 0) {
        options_close(&options);
        return;
    }
    pair = calloc(1, sizeof *pair);
    if (pair == NULL)
        abort();
    pair->both[0] = &pair->a;
    pair->both[1] = &pair->b;
    pair->partitions = (size_t)contract->partitions;
    source_init(&pair->a, &options);
    source_init(&pair->b, &options);
    if (fill(&options, 0, COUNT))
        run_members(contract, &options, pair);
    source_release(&pair->a);
    source_release(&pair->b);
    free(pair);
    options_close(&options);
}

/* Opens b, again and again if it is refused while a is there. */
static bool open_until(struct contract *contract, struct pair *pair, struct options *options)
{
    int64_t until_ms = test_now_ms() + contract->timeout_ms;

    for (;;) {
        if (source_open(&pair->b, options, true) == MB_OK)
            return true;
        if (test_now_ms() >= until_ms)
            return false;
        sources_run(NULL, 0, 100, NULL, NULL);
    }
}

static void run_standby(struct contract *contract, struct options *options, struct pair *pair)
{
    struct check *check = &contract->check;
    struct taken *of_a = taken_create(&pair->a);
    struct taken *of_b = taken_create(&pair->b);

    if (source_open(&pair->a, options, true) != MB_OK || !source_take(&pair->a, COUNT))
        goto out;
    taken_check(check, of_a, 0, COUNT, "at the active one");
    if (source_open(&pair->b, options, true) == MB_OK)
        sources_run(pair->both, 2, contract->quiet_ms, NULL, NULL);
    if (pair->b.count > 0)
        check_fail(check, "the second instance got messages while the first was active");
    taken_ack(&pair->a, of_a, 0, of_a->count, MB_ACCEPTED);
    source_commit(&pair->a);
    source_close(&pair->a);
    if (pair->b.source == NULL && !open_until(contract, pair, options)) {
        check_fail(check, "the second instance could not take over");
        goto out;
    }
    fill(options, COUNT, COUNT);
    source_take(&pair->b, COUNT);
    taken_check(check, of_b, COUNT, COUNT, "at the one that took over");
    taken_ack(&pair->b, of_b, 0, of_b->count, MB_ACCEPTED);
    source_commit(&pair->b);
out:
    if (pair->a.source != NULL)
        source_close(&pair->a);
    if (pair->b.source != NULL)
        source_close(&pair->b);
    taken_destroy(of_a);
    taken_destroy(of_b);
}

void case_standby(struct contract *contract)
{
    struct options options;
    struct pair *pair;

    if (!options_open(contract, &options))
        return;
    if ((options.source_traits & MB_SOURCE_DIVIDES_BY_KEY) != 0) {
        options_close(&options);
        return;
    }
    pair = calloc(1, sizeof *pair);
    if (pair == NULL)
        abort();
    pair->both[0] = &pair->a;
    pair->both[1] = &pair->b;
    source_init(&pair->a, &options);
    source_init(&pair->b, &options);
    if (fill(&options, 0, COUNT))
        run_standby(contract, &options, pair);
    source_release(&pair->a);
    source_release(&pair->b);
    free(pair);
    options_close(&options);
}
