/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: one thread that steps lanes. It sleeps in ppoll on everything its lanes wait for and on
 * its mailbox. Lanes are handed to it and asked to stop by messages; when one has closed, the
 * worker calls its owner back.
 */
#ifndef MBRIDGE_CORE_WORKER_H
#define MBRIDGE_CORE_WORKER_H

#include "core/router/lane.h"

struct mb_worker;

/* A lane as its worker and its owner share it. The owner may read closed (atomically); all other
 * fields belong to the worker from add until closed is set. */
struct mb_worker_lane {
    struct mb_lane *lane;
    struct mb_worker_lane *next;
    struct mb_job add_job;
    struct mb_job stop_job;
    int64_t stop_timeout_ms;
    struct mb_worker *worker;
    _Atomic bool closed;
    /* Called on the worker's thread after closed was set; the owner may free the lane from then. */
    void (*on_closed)(void *context);
    void *context;
};

enum mb_status mb_worker_create(struct mb_worker **ret_worker);

/* For the env of the lanes that it is given. */
struct mb_mailbox *mb_worker_mailbox(struct mb_worker *worker);

void mb_worker_add(struct mb_worker *worker, struct mb_worker_lane *lane);

/* At most once a lane. */
void mb_worker_stop_lane(struct mb_worker_lane *lane, int64_t timeout_ms);

/* All its lanes are closed. Joins. NULL allowed. */
void mb_worker_destroy(struct mb_worker *worker);

#endif
