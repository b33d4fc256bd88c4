/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/timers.h"

#include <assert.h>
#include <stdlib.h>

void mb_timers_release(struct mb_timers *timers)
{
    free(timers->heap);
    *timers = (struct mb_timers){.heap = NULL};
}

enum mb_status mb_timers_reserve(struct mb_timers *timers, size_t count)
{
    size_t capacity = timers->capacity == 0 ? 16 : timers->capacity;
    struct mb_timer **heap;

    if (count <= timers->capacity)
        return MB_OK;
    while (capacity < count)
        capacity *= 2;
    heap = realloc(timers->heap, capacity * sizeof(struct mb_timer *));
    if (heap == NULL)
        return MB_NO_MEMORY;
    timers->heap = heap;
    timers->capacity = capacity;
    return MB_OK;
}

static void put(struct mb_timers *timers, size_t at, struct mb_timer *timer)
{
    timers->heap[at] = timer;
    timer->place = at + 1;
}

static void rise(struct mb_timers *timers, size_t at, struct mb_timer *timer)
{
    while (at > 0 && timers->heap[(at - 1) / 2]->at_ms > timer->at_ms) {
        put(timers, at, timers->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(timers, at, timer);
}

static void sink(struct mb_timers *timers, size_t at, struct mb_timer *timer)
{
    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < timers->count &&
            timers->heap[child + 1]->at_ms < timers->heap[child]->at_ms)
            child++;
        if (child >= timers->count || timers->heap[child]->at_ms >= timer->at_ms)
            break;
        put(timers, at, timers->heap[child]);
        at = child;
    }
    put(timers, at, timer);
}

/* timer stands at a place where its time may be too early or too late. */
static void settle(struct mb_timers *timers, size_t at, struct mb_timer *timer)
{
    if (at > 0 && timers->heap[(at - 1) / 2]->at_ms > timer->at_ms)
        rise(timers, at, timer);
    else
        sink(timers, at, timer);
}

static void take_out(struct mb_timers *timers, struct mb_timer *timer)
{
    size_t at = timer->place - 1;
    struct mb_timer *last = timers->heap[--timers->count];

    timer->place = 0;
    if (last != timer)
        settle(timers, at, last);
}

void mb_timers_set(struct mb_timers *timers, struct mb_timer *timer, int64_t at_ms)
{
    if (at_ms == INT64_MAX) {
        if (timer->place > 0)
            take_out(timers, timer);
        return;
    }
    timer->at_ms = at_ms;
    if (timer->place > 0) {
        settle(timers, timer->place - 1, timer);
        return;
    }
    assert(timers->count < timers->capacity);
    rise(timers, timers->count++, timer);
}

struct mb_timer *mb_timers_due(struct mb_timers *timers, int64_t now_ms)
{
    struct mb_timer *timer = timers->count > 0 ? timers->heap[0] : NULL;

    if (timer == NULL || timer->at_ms > now_ms)
        return NULL;
    take_out(timers, timer);
    return timer;
}
