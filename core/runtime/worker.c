/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/worker.h"

#include "core/base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* All lanes are stepped so often at least, whatever wakes them besides. */
#define SWEEP_MS 1000
/* A worker with a busy lane looks for what else is ready at least every so many rounds. */
#define ROUNDS_MAX 8u
/* A lane whose descriptors the kernel does not take is stepped by the clock. */
#define BLIND_MS   10
#define EVENTS_MAX 64

struct mb_worker {
    pthread_t thread;
    struct mb_mailbox *mailbox;
    int fd; /* epoll: the mailbox, and one of each lane */
    struct mb_worker_lane *lanes;
    size_t lanes_count;
    struct mb_worker_lane *ready;
    struct mb_worker_lane **last_ready;
    struct mb_timers timers;
    int64_t sweep_ms;  /* when all are stepped next */
    int64_t looked_ms; /* when it looked last for what is ready */
    unsigned rounds;   /* since then */
    struct mb_job quit_job;
    bool quit;
};

static void make_ready(struct mb_worker_lane *lane)
{
    struct mb_worker *worker = lane->worker;

    if (lane->ready)
        return;
    lane->ready = true;
    lane->next_ready = NULL;
    *worker->last_ready = lane;
    worker->last_ready = &lane->next_ready;
}

static void wake_lane(struct mb_wake *wake)
{
    make_ready(((struct mb_lane *)wake)->owner);
}

static void lane_closed(struct mb_worker *worker, struct mb_worker_lane *lane)
{
    void (*on_closed)(void *context) = lane->on_closed;
    void *context = lane->context;

    *lane->link = lane->next;
    if (lane->next != NULL)
        lane->next->link = lane->link;
    worker->lanes_count--;
    mb_timers_set(&worker->timers, &lane->timer, INT64_MAX);
    mb_watch_release(&lane->watch);
    atomic_store(&lane->closed, true);
    on_closed(context); /* the lane may be gone from here */
}

/* It made no progress: what wakes it? */
static void lane_park(struct mb_worker *worker, struct mb_worker_lane *lane, int64_t now_ms)
{
    int64_t deadline_ms = INT64_MAX;
    bool ready;

    mb_watch_begin(&lane->watch);
    ready = mb_lane_wait(lane->lane, mb_watch_add, &lane->watch, &deadline_ms);
    if (!mb_watch_end(&lane->watch, mb_lane_changes(lane->lane)) && now_ms + BLIND_MS < deadline_ms)
        deadline_ms = now_ms + BLIND_MS;
    if (ready || deadline_ms <= now_ms)
        make_ready(lane);
    else if (mb_timers_reserve(&worker->timers, worker->lanes_count) == MB_OK) /* else the sweep */
        mb_timers_set(&worker->timers, &lane->timer, deadline_ms);
}

/* Steps each of those that are ready once. */
static void lanes_step(struct mb_worker *worker)
{
    struct mb_worker_lane *lane = worker->ready;
    int64_t now_ms = mb_clock_monotonic_ms();

    worker->ready = NULL;
    worker->last_ready = &worker->ready;
    while (lane != NULL) {
        struct mb_worker_lane *next = lane->next_ready;
        bool progress;

        lane->ready = false;
        progress = mb_lane_step(lane->lane, now_ms);
        if (lane->lane->phase == MB_LANE_CLOSED)
            lane_closed(worker, lane);
        else if (progress)
            make_ready(lane);
        else
            lane_park(worker, lane, now_ms);
        lane = next;
    }
}

static void timers_fire(struct mb_worker *worker, int64_t now_ms)
{
    struct mb_worker_lane *lane;
    struct mb_timer *timer;

    while ((timer = mb_timers_due(&worker->timers, now_ms)) != NULL)
        make_ready(
            (struct mb_worker_lane *)((char *)timer - offsetof(struct mb_worker_lane, timer)));
    if (now_ms < worker->sweep_ms)
        return;
    worker->sweep_ms = now_ms + SWEEP_MS;
    for (lane = worker->lanes; lane != NULL; lane = lane->next)
        make_ready(lane);
}

static int sleep_ms(const struct mb_worker *worker, int64_t now_ms)
{
    int64_t until_ms = mb_timers_next_ms(&worker->timers);

    if (worker->sweep_ms < until_ms)
        until_ms = worker->sweep_ms;
    return worker->ready != NULL || until_ms <= now_ms ? 0 : (int)(until_ms - now_ms);
}

/* Looks for what has become ready, and sleeps until something has if nothing is. */
static void worker_look(struct mb_worker *worker)
{
    int64_t now_ms = mb_clock_monotonic_ms();
    struct epoll_event events[EVENTS_MAX];
    int timeout_ms;
    int count;

    timers_fire(worker, now_ms);
    timeout_ms = sleep_ms(worker, now_ms);
    if (timeout_ms == 0 && now_ms == worker->looked_ms && ++worker->rounds < ROUNDS_MAX)
        return;
    worker->looked_ms = now_ms;
    worker->rounds = 0;
    count = epoll_wait(worker->fd, events, EVENTS_MAX, timeout_ms);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr != NULL)
            make_ready(events[i].data.ptr);
    }
}

static void *worker_thread(void *argument)
{
    struct mb_worker *worker = argument;

    for (;;) {
        mb_mailbox_drain(worker->mailbox);
        if (worker->quit && worker->lanes == NULL)
            break;
        lanes_step(worker);
        worker_look(worker);
    }
    return NULL;
}

static void worker_free(struct mb_worker *worker)
{
    mb_mailbox_destroy(worker->mailbox);
    mb_timers_release(&worker->timers);
    if (worker->fd >= 0)
        close(worker->fd);
    free(worker);
}

enum mb_status mb_worker_create(struct mb_worker **ret_worker)
{
    struct mb_worker *worker = calloc(1, sizeof *worker);
    struct epoll_event event = {.events = EPOLLIN};

    if (worker == NULL)
        return MB_NO_MEMORY;
    worker->last_ready = &worker->ready;
    worker->fd = epoll_create1(EPOLL_CLOEXEC);
    if (worker->fd < 0 || mb_mailbox_create(&worker->mailbox) != MB_OK ||
        epoll_ctl(worker->fd, EPOLL_CTL_ADD, mb_mailbox_fd(worker->mailbox), &event) != 0 ||
        pthread_create(&worker->thread, NULL, worker_thread, worker) != 0) {
        worker_free(worker);
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
    struct mb_worker *worker = lane->worker;

    lane->next = worker->lanes;
    lane->link = &worker->lanes;
    if (lane->next != NULL)
        lane->next->link = &lane->next;
    worker->lanes = lane;
    worker->lanes_count++;
    lane->lane->owner = lane;
    lane->lane->wake.call = wake_lane;
    mb_watch_init(&lane->watch, worker->fd, lane);
    make_ready(lane);
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

    void (*on_closed)(void *context) = lane->on_closed;
    void *context = lane->context;
    bool closed = atomic_load(&lane->closed);

    if (!closed) {
        mb_lane_stop(lane->lane, mb_clock_monotonic_ms() + lane->stop_timeout_ms);
        make_ready(lane);
    }
    atomic_store(&lane->stop_posted, false);
    if (closed)
        on_closed(context); /* the lane may be gone from here */
}

void mb_worker_stop_lane(struct mb_worker_lane *lane, int64_t timeout_ms)
{
    lane->stop_timeout_ms = timeout_ms;
    lane->stop_job = (struct mb_job){.done = stop_done};
    atomic_store(&lane->stop_posted, true);
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
    worker_free(worker);
}
