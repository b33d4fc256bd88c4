/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/counters.h"

#include <string.h>

static void retries_add(struct mb_counters *counters, const char *reason, uint64_t value)
{
    uint32_t count = atomic_load_explicit(&counters->reasons_count, memory_order_acquire);
    struct mb_reason_counter *row;

    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(counters->retries[i].reason, reason) == 0) {
            mb_counter_add(&counters->retries[i].count, value);
            return;
        }
    }
    if (count == MB_COUNTED_REASONS_MAX) {
        mb_counter_add(&counters->retries[count - 1].count, value);
        return;
    }
    row = &counters->retries[count];
    snprintf(row->reason, sizeof row->reason, "%s",
             count == MB_COUNTED_REASONS_MAX - 1 ? "other" : reason);
    mb_counter_set(&row->count, value);
    atomic_store_explicit(&counters->reasons_count, count + 1, memory_order_release);
}

void mb_counters_retry(struct mb_counters *counters, const char *reason)
{
    retries_add(counters, reason, 1);
}

void mb_counters_degraded(struct mb_counters *counters, uint64_t fields)
{
    for (; fields != 0; fields &= fields - 1)
        mb_counter_add(&counters->degraded[__builtin_ctzll(fields)], 1);
}

void mb_counters_sum(struct mb_counters *sum, const struct mb_counters *from)
{
    uint32_t reasons = atomic_load_explicit(&from->reasons_count, memory_order_acquire);

    mb_counter_add(&sum->received, mb_counter_get(&from->received));
    mb_counter_add(&sum->delivered, mb_counter_get(&from->delivered));
    mb_counter_add(&sum->dead_lettered, mb_counter_get(&from->dead_lettered));
    mb_counter_add(&sum->filtered, mb_counter_get(&from->filtered));
    mb_counter_add(&sum->released, mb_counter_get(&from->released));
    mb_counter_add(&sum->expired, mb_counter_get(&from->expired));
    mb_counter_add(&sum->duplicates, mb_counter_get(&from->duplicates));
    mb_counter_add(&sum->lost, mb_counter_get(&from->lost));
    mb_counter_add(&sum->bytes_in, mb_counter_get(&from->bytes_in));
    mb_counter_add(&sum->wire_in, mb_counter_get(&from->wire_in));
    mb_counter_add(&sum->wire_out, mb_counter_get(&from->wire_out));
    mb_counter_add(&sum->in_flight, mb_counter_get(&from->in_flight));
    mb_counter_add(&sum->in_flight_bytes, mb_counter_get(&from->in_flight_bytes));
    mb_counter_add(&sum->remaining, mb_counter_get(&from->remaining));
    for (size_t i = 0; i < MB_DROPS_COUNT; i++)
        mb_counter_add(&sum->filtered_by[i], mb_counter_get(&from->filtered_by[i]));
    for (size_t i = 0; i < MB_COUNTED_FIELDS_MAX; i++)
        mb_counter_add(&sum->degraded[i], mb_counter_get(&from->degraded[i]));
    for (size_t i = 0; i < MB_SINKS_MAX; i++)
        mb_counter_add(&sum->confirmed[i], mb_counter_get(&from->confirmed[i]));
    for (uint32_t i = 0; i < reasons; i++)
        retries_add(sum, from->retries[i].reason, mb_counter_get(&from->retries[i].count));
}
