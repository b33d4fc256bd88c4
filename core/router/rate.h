/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A limit to how fast a route takes messages in: a token bucket for messages and one for bytes, of
 * a tenth of a second each. The lanes of a route share it from their threads, once a batch; two
 * that look at the same time may both take what was there for one, and wait the longer for it.
 */
#ifndef MBRIDGE_CORE_RATE_H
#define MBRIDGE_CORE_RATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MB_RATE_MESSAGES_MAX 10000000
#define MB_RATE_BYTES_MAX    (INT64_C(10) << 30)

struct mb_rate_bucket {
    uint64_t per_second;    /* 0: no limit */
    _Atomic int64_t due_ns; /* when what was taken so far would have been taken at that rate */
};

struct mb_rate {
    struct mb_rate_bucket messages;
    struct mb_rate_bucket bytes;
};

/* A rate of 0 is no limit. Times are monotonic. */
void mb_rate_init(struct mb_rate *rate, uint64_t messages, uint64_t bytes);

static inline bool mb_rate_is_limited(const struct mb_rate *rate)
{
    return (rate->messages.per_second | rate->bytes.per_second) != 0;
}

/* How many messages, and in *ret_bytes how many bytes, may be taken now; both at least 1, or
 * neither is: then *ret_open_ms says when. A message that passes the bytes is paid for later. */
uint64_t mb_rate_room(struct mb_rate *rate, int64_t now_ms, uint64_t *ret_bytes,
                      int64_t *ret_open_ms);

void mb_rate_take(struct mb_rate *rate, int64_t now_ms, uint64_t messages, uint64_t bytes);

#endif
