/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/backoff.h"

/* splitmix64: enough to spread reconnects apart */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int64_t mb_backoff_next_ms(struct mb_backoff *backoff)
{
    int64_t step = backoff->step_ms > 0 ? backoff->step_ms : backoff->initial_ms;
    int64_t half = step / 2;

    backoff->step_ms = step > backoff->max_ms / 2 ? backoff->max_ms : step * 2;
    if (backoff->attempts < UINT32_MAX)
        backoff->attempts++;
    return step - half + (int64_t)(random_next(&backoff->seed) % (uint64_t)(half + 1));
}

void mb_backoff_reset(struct mb_backoff *backoff)
{
    backoff->step_ms = 0;
    backoff->attempts = 0;
}
