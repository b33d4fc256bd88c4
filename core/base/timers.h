/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who wants to be called when: a heap of timers that are part of what they belong to. Setting,
 * taking out and the next one to fire cost a logarithm of how many there are. One thread.
 */
#ifndef MBRIDGE_CORE_TIMERS_H
#define MBRIDGE_CORE_TIMERS_H

#include <mbridge/status.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: it is not set. */
struct mb_timer {
    int64_t at_ms;
    size_t place; /* in the heap, from 1; 0: not set */
};

struct mb_timers {
    struct mb_timer **heap;
    size_t count;
    size_t capacity;
};

void mb_timers_release(struct mb_timers *timers);

/* Room for so many timers at once, so that set cannot fail. */
enum mb_status mb_timers_reserve(struct mb_timers *timers, size_t count);

/* Sets the timer, or sets it anew. INT64_MAX: takes it out. */
void mb_timers_set(struct mb_timers *timers, struct mb_timer *timer, int64_t at_ms);

/* Takes out one that is due. NULL: none is. */
struct mb_timer *mb_timers_due(struct mb_timers *timers, int64_t now_ms);

/* INT64_MAX: no timer is set. */
static inline int64_t mb_timers_next_ms(const struct mb_timers *timers)
{
    return timers->count > 0 ? timers->heap[0]->at_ms : INT64_MAX;
}

#endif
