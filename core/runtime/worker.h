/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: one thread that steps lanes. A lane is *ready* when its last step made progress, when a
 * descriptor or a deadline of its has come, or when a job for it is done; it is stepped again then,
 * and no other is: a busy lane among a thousand quiet ones does not pay for them. When none is
 * ready the worker sleeps in epoll. Lanes are handed to it and asked to stop by messages; when one
 * has closed, the worker calls its owner back.
 */
#ifndef MBRIDGE_CORE_WORKER_H
#define MBRIDGE_CORE_WORKER_H

#include "core/base/timers.h"
#include "core/router/lane.h"
#include "core/runtime/watch.h"

struct mb_worker;

/* A lane as its worker and its owner share it. The owner may read closed (atomically); all other
 * fields belong to the worker from add until closed is set. */
struct mb_worker_lane {
    struct mb_lane *lane;
    struct mb_worker_lane *next;
    struct mb_worker_lane **link; /* what points to it in the list of all */
    struct mb_worker_lane *next_ready;
    bool ready;
    struct mb_timer timer;
    struct mb_watch watch;
    struct mb_job add_job;
    struct mb_job stop_job;
    int64_t stop_timeout_ms;
    struct mb_worker *worker;
    _Atomic bool closed;
    _Atomic bool stop_posted; /* the worker has stop_job still */
    /* Called on the worker's thread when the lane may be over. */
    void (*on_closed)(void *context);
    void *context;
};

enum mb_status mb_worker_create(struct mb_worker **ret_worker);

/* For the env of the lanes that it is given. */
struct mb_mailbox *mb_worker_mailbox(struct mb_worker *worker);

void mb_worker_add(struct mb_worker *worker, struct mb_worker_lane *lane);

/* Closed, and nothing of it is in the worker's hands any more: the owner may free it. */
static inline bool mb_worker_lane_is_over(struct mb_worker_lane *lane)
{
    return atomic_load(&lane->closed) && !atomic_load(&lane->stop_posted);
}

/* At most once a lane. */
void mb_worker_stop_lane(struct mb_worker_lane *lane, int64_t timeout_ms);

/* All its lanes are closed. Joins. NULL allowed. */
void mb_worker_destroy(struct mb_worker *worker);

#endif
