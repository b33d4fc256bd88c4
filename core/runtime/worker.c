/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/worker.h"

#include "core/base/clock.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* A worker with a busy lane looks at its mailbox and the quiet lanes at least every so many steps.
 */
#define SLEEP_MAX_MS 1000

struct mb_worker {
    pthread_t thread;
    struct mb_mailbox *mailbox;
    struct mb_worker_lane *lanes;
    struct pollfd *fds;
    size_t fds_count;
    size_t fds_capacity;
    struct mb_job quit_job;
    bool quit;
};

static void fds_add(void *context, int fd, int16_t events)
{
    struct mb_worker *worker = context;

    if (worker->fds_count == worker->fds_capacity) {
        size_t capacity = worker->fds_capacity == 0 ? 32 : worker->fds_capacity * 2;
        struct pollfd *fds = realloc(worker->fds, capacity * sizeof *fds);

        if (fds == NULL)
            return; /* the deadline wakes the lane */
        worker->fds = fds;
        worker->fds_capacity = capacity;
    }
    worker->fds[worker->fds_count++] = (struct pollfd){.fd = fd, .events = events};
}

static void lane_closed(struct mb_worker_lane *lane)
{
    void (*on_closed)(void *context) = lane->on_closed;
    void *context = lane->context;

    atomic_store(&lane->closed, true);
    on_closed(context); /* the lane may be gone from here */
}

static bool lanes_step(struct mb_worker *worker)
{
    struct mb_worker_lane **link = &worker->lanes;
    int64_t now_ms = mb_clock_monotonic_ms();
    bool progress = false;

    while (*link != NULL) {
        struct mb_worker_lane *lane = *link;

        progress = mb_lane_step(lane->lane, now_ms) || progress;
        if (lane->lane->phase == MB_LANE_CLOSED) {
            *link = lane->next;
            lane_closed(lane);
        } else {
            link = &lane->next;
        }
    }
    return progress;
}

static void worker_sleep(struct mb_worker *worker)
{
    int64_t now_ms = mb_clock_monotonic_ms();
    int64_t deadline_ms = now_ms + SLEEP_MAX_MS;
    bool ready = false;
    struct mb_worker_lane *lane;
    struct timespec timeout;
    int64_t wait_ms;

    worker->fds_count = 0;
    fds_add(worker, mb_mailbox_fd(worker->mailbox), POLLIN);
    for (lane = worker->lanes; lane != NULL; lane = lane->next)
        ready = mb_lane_wait(lane->lane, fds_add, worker, &deadline_ms) || ready;
    wait_ms = ready || deadline_ms <= now_ms ? 0 : deadline_ms - now_ms;
    timeout.tv_sec = wait_ms / 1000;
    timeout.tv_nsec = wait_ms % 1000 * 1000000;
    ppoll(worker->fds, worker->fds_count, &timeout, NULL);
}

static void *worker_thread(void *argument)
{
    struct mb_worker *worker = argument;

    for (;;) {
        bool progress = mb_mailbox_drain(worker->mailbox);

        if (worker->quit && worker->lanes == NULL)
            break;
        progress = lanes_step(worker) || progress;
        if (!progress)
            worker_sleep(worker);
    }
    return NULL;
}

enum mb_status mb_worker_create(struct mb_worker **ret_worker)
{
    struct mb_worker *worker = calloc(1, sizeof *worker);

    if (worker == NULL)
        return MB_NO_MEMORY;
    if (mb_mailbox_create(&worker->mailbox) != MB_OK) {
        free(worker);
        return MB_NO_MEMORY;
    }
    if (pthread_create(&worker->thread, NULL, worker_thread, worker) != 0) {
        mb_mailbox_destroy(worker->mailbox);
        free(worker);
        return MB_FATAL;
    }
    *ret_worker = worker;
    return MB_OK;
}

struct mb_mailbox *mb_worker_mailbox(struct mb_worker *worker)
{
    return worker->mailbox;
}

static void add_done(struct mb_job *job)
{
    struct mb_worker_lane *lane =
        (struct mb_worker_lane *)((char *)job - offsetof(struct mb_worker_lane, add_job));

    lane->next = lane->worker->lanes;
    lane->worker->lanes = lane;
}

void mb_worker_add(struct mb_worker *worker, struct mb_worker_lane *lane)
{
    lane->worker = worker;
    lane->add_job = (struct mb_job){.done = add_done};
    mb_mailbox_post(worker->mailbox, &lane->add_job);
}

static void stop_done(struct mb_job *job)
{
    struct mb_worker_lane *lane =
        (struct mb_worker_lane *)((char *)job - offsetof(struct mb_worker_lane, stop_job));

    mb_lane_stop(lane->lane, mb_clock_monotonic_ms() + lane->stop_timeout_ms);
}

void mb_worker_stop_lane(struct mb_worker_lane *lane, int64_t timeout_ms)
{
    lane->stop_timeout_ms = timeout_ms;
    lane->stop_job = (struct mb_job){.done = stop_done};
    mb_mailbox_post(lane->worker->mailbox, &lane->stop_job);
}

static void quit_done(struct mb_job *job)
{
    struct mb_worker *worker =
        (struct mb_worker *)((char *)job - offsetof(struct mb_worker, quit_job));

    worker->quit = true;
}

void mb_worker_destroy(struct mb_worker *worker)
{
    if (worker == NULL)
        return;
    worker->quit_job = (struct mb_job){.done = quit_done};
    mb_mailbox_post(worker->mailbox, &worker->quit_job);
    pthread_join(worker->thread, NULL);
    mb_mailbox_destroy(worker->mailbox);
    free(worker->fds);
    free(worker);
}
