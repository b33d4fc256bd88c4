/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/rate.h"

#define SECOND_NS INT64_C(1000000000)
#define BURST_NS  (SECOND_NS / 10)

void mb_rate_init(struct mb_rate *rate, uint64_t messages, uint64_t bytes)
{
    rate->messages.per_second = messages;
    rate->bytes.per_second = bytes;
    atomic_init(&rate->messages.due_ns, 0);
    atomic_init(&rate->bytes.due_ns, 0);
}

/* What one of them takes at that rate, rounded up. */
static int64_t one_ns(const struct mb_rate_bucket *bucket)
{
    return (SECOND_NS + (int64_t)bucket->per_second - 1) / (int64_t)bucket->per_second;
}

/* How many fit now; if none, *ret_open_ms is raised to when one does. */
static uint64_t bucket_room(struct mb_rate_bucket *bucket, int64_t now_ms, int64_t *ret_open_ms)
{
    int64_t now_ns = now_ms * 1000000;
    int64_t due_ns = atomic_load_explicit(&bucket->due_ns, memory_order_relaxed);
    int64_t burst_ns = BURST_NS;
    int64_t slack_ns;
    uint64_t room;

    if (bucket->per_second == 0)
        return UINT64_MAX;
    if (burst_ns < one_ns(bucket))
        burst_ns = one_ns(bucket);
    if (due_ns < now_ns)
        due_ns = now_ns;
    slack_ns = now_ns + burst_ns - due_ns;
    room = slack_ns > 0 ? (uint64_t)slack_ns * bucket->per_second / (uint64_t)SECOND_NS : 0;
    if (room == 0) {
        int64_t open_ns = due_ns + one_ns(bucket) - burst_ns;
        int64_t open_ms = open_ns / 1000000 + 1;

        if (open_ms > *ret_open_ms)
            *ret_open_ms = open_ms;
    }
    return room;
}

uint64_t mb_rate_room(struct mb_rate *rate, int64_t now_ms, uint64_t *ret_bytes,
                      int64_t *ret_open_ms)
{
    uint64_t messages;

    *ret_open_ms = now_ms;
    messages = bucket_room(&rate->messages, now_ms, ret_open_ms);
    *ret_bytes = bucket_room(&rate->bytes, now_ms, ret_open_ms);
    if (messages == 0 || *ret_bytes == 0)
        messages = *ret_bytes = 0;
    return messages;
}

static void bucket_take(struct mb_rate_bucket *bucket, int64_t now_ms, uint64_t count)
{
    int64_t now_ns = now_ms * 1000000;
    int64_t before = atomic_load_explicit(&bucket->due_ns, memory_order_relaxed);
    int64_t after;

    if (bucket->per_second == 0)
        return;
    do {
        after = (before < now_ns ? now_ns : before) +
                (int64_t)(count * (uint64_t)SECOND_NS / bucket->per_second);
    } while (!atomic_compare_exchange_weak_explicit(&bucket->due_ns, &before, after,
                                                    memory_order_relaxed, memory_order_relaxed));
}

void mb_rate_take(struct mb_rate *rate, int64_t now_ms, uint64_t messages, uint64_t bytes)
{
    bucket_take(&rate->messages, now_ms, messages);
    bucket_take(&rate->bytes, now_ms, bytes);
}
