/* SPDX-License-Identifier: Apache-2.0 */
/* Exponential backoff with jitter: each delay is between half and the whole of the current step. */
#ifndef MBRIDGE_CORE_BACKOFF_H
#define MBRIDGE_CORE_BACKOFF_H

#include <stdint.h>

struct mb_backoff {
    int64_t initial_ms;
    int64_t max_ms;
    int64_t step_ms; /* 0: the next delay is the first */
    uint64_t seed;   /* of the jitter; any value */
    uint32_t attempts;
};

/* The delay before the next attempt; doubles the step up to max_ms. */
int64_t mb_backoff_next_ms(struct mb_backoff *backoff);
void mb_backoff_reset(struct mb_backoff *backoff);

#endif
