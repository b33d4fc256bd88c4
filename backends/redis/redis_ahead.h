/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many requests for new entries are under way at once. Pure.
 *
 * Over a long path one request for each round trip would bring its few entries, and no more.
 * Replies that are full, and had to be waited for, ask for more requests; one that is not full says
 * that there is nothing to hurry for. Near the server nothing is waited for, and one request is
 * enough.
 */
#ifndef REDIS_AHEAD_H
#define REDIS_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#define REDIS_AHEAD_MAX     64u /* the window bounds it before, as a rule */
#define REDIS_AHEAD_GROWTH  8u
#define REDIS_AHEAD_WAIT_MS 2 /* less is no long path */

struct redis_ahead {
    uint32_t depth;    /* so many at once; 1 in the beginning */
    int64_t dry_ms;    /* since then there is nothing to take, and room; 0: there is */
    int64_t waited_ms; /* in all, for the reply that is being read */
    bool is_busy;      /* the last reply was full: more is to come */
};

static inline void redis_ahead_dry(struct redis_ahead *ahead, int64_t now_ms)
{
    if (ahead->dry_ms == 0)
        ahead->dry_ms = now_ms;
}

static inline void redis_ahead_came(struct redis_ahead *ahead, int64_t now_ms)
{
    if (ahead->dry_ms > 0)
        ahead->waited_ms += now_ms - ahead->dry_ms;
    ahead->dry_ms = 0;
}

/* A reply has ended. full: it brought as much as it could. */
static inline void redis_ahead_answered(struct redis_ahead *ahead, bool full)
{
    if (!full && ahead->depth > 1)
        ahead->depth /= 2;
    else if (full && ahead->waited_ms >= REDIS_AHEAD_WAIT_MS && ahead->depth < REDIS_AHEAD_MAX)
        ahead->depth *= REDIS_AHEAD_GROWTH;
    if (ahead->depth > REDIS_AHEAD_MAX)
        ahead->depth = REDIS_AHEAD_MAX;
    ahead->waited_ms = 0;
    ahead->is_busy = full;
}

#endif
