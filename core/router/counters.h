/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of a lane: written by the lane's worker alone, read by any thread. So a counter is a
 * plain load and store, no locked instruction.
 */
#ifndef MBRIDGE_CORE_COUNTERS_H
#define MBRIDGE_CORE_COUNTERS_H

#include "core/config/model.h"

#include <stdatomic.h>

typedef _Atomic uint64_t mb_counter;

#define MB_COUNTED_REASONS_MAX 16
#define MB_COUNTED_FIELDS_MAX  64 /* bits of enum mb_field and MB_LOST_… */

/* Why a message is done without having been sent. */
enum mb_drop {
    MB_DROP_NONE = 0,
    MB_DROP_STEP = 1,
    MB_DROP_LOOP = 2, /* it has been at every destination already */
    MB_DROP_EXPIRED = 3,
    MB_DROP_STORED = 4 /* the destination has it, as the position stored there says */
};
#define MB_DROPS_COUNT 5

/* What every message that was taken has become, or is about to: received is the sum of the rest. */
enum mb_term {
    MB_TERM_RECEIVED = 0,
    MB_TERM_DELIVERED = 1,
    MB_TERM_DEAD_LETTERED = 2,
    MB_TERM_FILTERED = 3,
    MB_TERM_RELEASED = 4, /* given back to the source, which gives it out again */
    MB_TERM_EXPIRED = 5,
    MB_TERM_IN_FLIGHT = 6
};
#define MB_TERMS_COUNT 7

struct mb_balance {
    uint64_t terms[MB_TERMS_COUNT]; /* by enum mb_term */
};

struct mb_reason_counter {
    char reason[MB_REASON_SIZE];
    mb_counter count;
};

struct mb_counters {
    mb_counter received;
    mb_counter delivered;
    mb_counter dead_lettered;
    mb_counter filtered;
    mb_counter filtered_by[MB_DROPS_COUNT]; /* by enum mb_drop; expired is not among them */
    mb_counter released;
    mb_counter expired;
    mb_counter duplicates; /* sent again after the destination may have had it already */
    mb_counter lost;       /* gone at the source before they could be read, as far as it tells */
    mb_counter bytes_in;
    mb_counter wire_in; /* bytes over the network, of the source and all sinks */
    mb_counter wire_out;
    mb_counter degraded[MB_COUNTED_FIELDS_MAX]; /* by bit: written without this field */
    mb_counter in_flight;
    mb_counter in_flight_bytes;
    mb_counter confirmed[MB_SINKS_MAX];
    mb_counter remaining;
    _Atomic bool remaining_known;
    _Atomic bool connected;
    /* The terms as they stood together at the end of a step. version is odd while they change, 0:
     * never published (a sum; read the counters themselves). */
    _Atomic uint32_t version;
    mb_counter published[MB_TERMS_COUNT];
    _Atomic uint32_t reasons_count; /* entries below it are complete; the last takes the overflow */
    struct mb_reason_counter retries[MB_COUNTED_REASONS_MAX];
};

static inline void mb_counter_add(mb_counter *counter, uint64_t value)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value,
                          memory_order_relaxed);
}

static inline void mb_counter_set(mb_counter *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

static inline uint64_t mb_counter_get(const mb_counter *counter)
{
    return atomic_load_explicit((mb_counter *)counter, memory_order_relaxed);
}

void mb_counters_retry(struct mb_counters *counters, const char *reason);

/* One more message without each of the fields. */
void mb_counters_degraded(struct mb_counters *counters, uint64_t fields);

/* The worker's, at the end of a step: what others read of the terms belongs together. */
void mb_counters_publish(struct mb_counters *counters);

void mb_counters_balance(const struct mb_counters *counters, struct mb_balance *ret_balance);

/* Whether received is the sum of the other terms. */
bool mb_balance_holds(const struct mb_balance *balance);

/* "received 7 = delivered 5 + …", with "but" for "=" where it does not hold. */
void mb_balance_text(const struct mb_balance *balance, char *text, size_t size);

/* Adds every counter of from to sum (gauges too). */
void mb_counters_sum(struct mb_counters *sum, const struct mb_counters *from);

#endif
