/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/counters.h"

#include <inttypes.h>
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

static mb_counter *term_of(struct mb_counters *counters, size_t term)
{
    switch ((enum mb_term)term) {
    case MB_TERM_RECEIVED:
        return &counters->received;
    case MB_TERM_DELIVERED:
        return &counters->delivered;
    case MB_TERM_DEAD_LETTERED:
        return &counters->dead_lettered;
    case MB_TERM_FILTERED:
        return &counters->filtered;
    case MB_TERM_RELEASED:
        return &counters->released;
    case MB_TERM_EXPIRED:
        return &counters->expired;
    case MB_TERM_IN_FLIGHT:
        break;
    }
    return &counters->in_flight;
}

void mb_counters_publish(struct mb_counters *counters)
{
    uint32_t version = atomic_load_explicit(&counters->version, memory_order_relaxed);

    atomic_store_explicit(&counters->version, version | 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (size_t i = 0; i < MB_TERMS_COUNT; i++)
        mb_counter_set(&counters->published[i], mb_counter_get(term_of(counters, i)));
    version = (version | 1) + 1;
    atomic_store_explicit(&counters->version, version == 0 ? 2 : version, memory_order_release);
}

void mb_counters_balance(const struct mb_counters *counters, struct mb_balance *ret_balance)
{
    struct mb_counters *from = (struct mb_counters *)counters;
    uint32_t version;

    do {
        version = atomic_load_explicit(&from->version, memory_order_acquire);
        for (size_t i = 0; i < MB_TERMS_COUNT; i++)
            ret_balance->terms[i] =
                mb_counter_get(version == 0 ? term_of(from, i) : &from->published[i]);
        atomic_thread_fence(memory_order_acquire);
    } while ((version & 1) != 0 ||
             version != atomic_load_explicit(&from->version, memory_order_relaxed));
}

bool mb_balance_holds(const struct mb_balance *balance)
{
    uint64_t sum = 0;

    for (size_t i = MB_TERM_DELIVERED; i < MB_TERMS_COUNT; i++)
        sum += balance->terms[i];
    return sum == balance->terms[MB_TERM_RECEIVED];
}

void mb_balance_text(const struct mb_balance *balance, char *text, size_t size)
{
    const uint64_t *terms = balance->terms;

    snprintf(text, size,
             "received %" PRIu64 " %s delivered %" PRIu64 " + dead_lettered %" PRIu64
             " + filtered %" PRIu64 " + released %" PRIu64 " + expired %" PRIu64
             " + in_flight %" PRIu64,
             terms[MB_TERM_RECEIVED], mb_balance_holds(balance) ? "=" : "but",
             terms[MB_TERM_DELIVERED], terms[MB_TERM_DEAD_LETTERED], terms[MB_TERM_FILTERED],
             terms[MB_TERM_RELEASED], terms[MB_TERM_EXPIRED], terms[MB_TERM_IN_FLIGHT]);
}

void mb_counters_sum(struct mb_counters *sum, const struct mb_counters *from)
{
    uint32_t reasons = atomic_load_explicit(&from->reasons_count, memory_order_acquire);
    struct mb_balance balance;

    mb_counters_balance(from, &balance);
    for (size_t i = 0; i < MB_TERMS_COUNT; i++)
        mb_counter_add(term_of(sum, i), balance.terms[i]);
    mb_counter_add(&sum->duplicates, mb_counter_get(&from->duplicates));
    mb_counter_add(&sum->lost, mb_counter_get(&from->lost));
    mb_counter_add(&sum->bytes_in, mb_counter_get(&from->bytes_in));
    mb_counter_add(&sum->wire_in, mb_counter_get(&from->wire_in));
    mb_counter_add(&sum->wire_out, mb_counter_get(&from->wire_out));
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
