/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/bridge.h"

#include "core/base/clock.h"
#include "core/runtime/route_run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define WORKERS_MAX           16
#define CONNECTOR_THREADS_MAX 16u

struct mb_bridge {
    struct mb_bridge_options options;
    struct mb_logger *logger;
    struct mb_config_ref *config; /* the newest */
    struct mb_connector *connector;
    struct mb_worker_slot slots[WORKERS_MAX];
    size_t slots_count;
    struct mb_route_run *runs;
    struct mb_counters past; /* of routes that a reload took out: for the progress */
    char *name;
    int64_t started_ms;
    int event_fd; /* written by workers */
    int timer_fd; /* drain_timeout */
    int fd;       /* epoll over both */
    bool stopping;
    bool timed_out;
    bool failed; /* a route that is gone had failed, or miscounted */
    uint64_t unresolved;
};

static void wake(void *context)
{
    struct mb_bridge *bridge = context;
    uint64_t one = 1;

    if (write(bridge->event_fd, &one, sizeof one) < 0) {
        /* A full counter is readable already. */
    }
}

static enum mb_status fds_open(struct mb_bridge *bridge)
{
    struct epoll_event event = {.events = EPOLLIN};

    bridge->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bridge->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    bridge->fd = epoll_create1(EPOLL_CLOEXEC);
    if (bridge->event_fd < 0 || bridge->timer_fd < 0 || bridge->fd < 0 ||
        epoll_ctl(bridge->fd, EPOLL_CTL_ADD, bridge->event_fd, &event) != 0 ||
        epoll_ctl(bridge->fd, EPOLL_CTL_ADD, bridge->timer_fd, &event) != 0)
        return MB_FATAL;
    return MB_OK;
}

static enum mb_status config_take(struct mb_config *config, struct mb_config_ref **ret_ref)
{
    struct mb_config_ref *ref = calloc(1, sizeof *ref);

    if (ref == NULL) {
        mb_config_destroy(config);
        return MB_NO_MEMORY;
    }
    ref->config = config;
    ref->refs = 1;
    *ret_ref = ref;
    return MB_OK;
}

static size_t lanes_wanted(const struct mb_config *config)
{
    size_t count = 0;

    for (size_t i = 0; i < config->routes_count; i++)
        count += mb_route_lanes_count(&config->routes[i]);
    return count;
}

/* One worker a processor, as far as there are lanes for them. */
static enum mb_status workers_open(struct mb_bridge *bridge, size_t lanes)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = processors > 0 ? (size_t)processors : 1;

    wanted = wanted > WORKERS_MAX ? WORKERS_MAX : wanted;
    wanted = lanes > 0 && lanes < wanted ? lanes : wanted;
    while (bridge->slots_count < wanted) {
        struct mb_worker_slot *slot = &bridge->slots[bridge->slots_count];

        if (mb_worker_create(&slot->worker) != MB_OK)
            return bridge->slots_count > 0 ? MB_OK : MB_FATAL;
        slot->env = (struct mb_lane_env){.connector = bridge->connector,
                                         .mailbox = mb_worker_mailbox(slot->worker),
                                         .logger = bridge->logger,
                                         .bridge_name = bridge->name};
        bridge->slots_count++;
    }
    return MB_OK;
}

enum mb_status mb_bridge_create(struct mb_config *config, struct mb_registry *registry,
                                struct mb_logger *logger, const struct mb_bridge_options *options,
                                struct mb_bridge **ret_bridge, struct mb_error *err)
{
    struct mb_bridge *bridge = calloc(1, sizeof *bridge);

    (void)registry; /* the model refers to its backends */
    *ret_bridge = NULL;
    mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "resources",
                 "out of memory, threads or file descriptors");
    if (bridge == NULL) {
        mb_config_destroy(config);
        return MB_NO_MEMORY;
    }
    bridge->logger = logger;
    bridge->options = *options;
    bridge->event_fd = bridge->timer_fd = bridge->fd = -1;
    bridge->name = strdup(config->bridge_name);
    if (config_take(config, &bridge->config) != MB_OK || bridge->name == NULL ||
        fds_open(bridge) != MB_OK ||
        mb_connector_create(CONNECTOR_THREADS_MAX, &bridge->connector) != MB_OK) {
        mb_bridge_destroy(bridge);
        return err->status;
    }
    mb_error_clear(err);
    *ret_bridge = bridge;
    return MB_OK;
}

static struct mb_route_run *run_find(const struct mb_bridge *bridge, const char *name,
                                     bool running_only)
{
    struct mb_route_run *run;

    for (run = bridge->runs; run != NULL; run = run->next) {
        if (strcmp(run->route->name, name) == 0 && (!running_only || !run->removed))
            return run;
    }
    return NULL;
}

static enum mb_status run_add(struct mb_bridge *bridge, const struct mb_config_route *route)
{
    struct mb_route_run **link = &bridge->runs;
    struct mb_route_run *run;
    enum mb_status status = mb_route_run_create(bridge->config, route, &run);

    if (status != MB_OK)
        return status;
    while (*link != NULL)
        link = &(*link)->next;
    *link = run;
    return MB_OK;
}

/* Starts what waits, unless a route of that name is still ending. */
static enum mb_status runs_start(struct mb_bridge *bridge, struct mb_error *err)
{
    struct mb_route_run *run;

    for (run = bridge->runs; run != NULL; run = run->next) {
        struct mb_route_run *other;
        enum mb_status status;
        bool wait = false;

        if (run->state != MB_ROUTE_WAITING || run->removed)
            continue;
        for (other = bridge->runs; other != NULL; other = other->next)
            wait = wait || (other != run && other->removed &&
                            strcmp(other->route->name, run->route->name) == 0);
        if (wait)
            continue;
        status = mb_route_run_start(run, bridge->slots, bridge->slots_count, &bridge->options, wake,
                                    bridge, err);
        if (status != MB_OK) {
            run->failed = true;
            run->state = MB_ROUTE_FAILED;
            return status;
        }
        mb_log(bridge->logger, MB_LOG_INFO, "route started", "route", run->route->name, NULL);
    }
    return MB_OK;
}

enum mb_status mb_bridge_start(struct mb_bridge *bridge, struct mb_error *err)
{
    const struct mb_config *config = bridge->config->config;
    struct itimerspec timer = {.it_value = {.tv_sec = config->drain_timeout_ms / 1000,
                                            .tv_nsec = config->drain_timeout_ms % 1000 * 1000000}};

    bridge->started_ms = mb_clock_monotonic_ms();
    if (workers_open(bridge, lanes_wanted(config)) != MB_OK)
        return mb_error_set(err, MB_FATAL, MB_CAUSE_NONE, "threads", "cannot start a thread");
    for (size_t i = 0; i < config->routes_count; i++) {
        if (run_add(bridge, &config->routes[i]) != MB_OK)
            return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    }
    if (bridge->options.drain)
        timerfd_settime(bridge->timer_fd, 0, &timer, NULL);
    return runs_start(bridge, err);
}

enum mb_status mb_bridge_reload(struct mb_bridge *bridge, struct mb_config *config,
                                struct mb_error *err)
{
    struct mb_config_ref *old = bridge->config;
    struct mb_route_run *run;

    if (config_take(config, &bridge->config) != MB_OK) {
        bridge->config = old;
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    }
    for (run = bridge->runs; run != NULL; run = run->next)
        run->kept = false;
    for (size_t i = 0; i < config->routes_count; i++) {
        run = run_find(bridge, config->routes[i].name, true);
        if (run != NULL && run->state != MB_ROUTE_FAILED &&
            mb_config_route_equal(run->route, &config->routes[i])) {
            run->kept = true;
            continue;
        }
        if (run_add(bridge, &config->routes[i]) != MB_OK)
            return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    }
    for (run = bridge->runs; run != NULL; run = run->next) {
        if (run->kept || run->config == bridge->config)
            continue;
        run->removed = true;
        mb_route_run_stop(run, config->stop_timeout_ms);
    }
    mb_config_ref_drop(old);
    if (workers_open(bridge, lanes_wanted(config)) != MB_OK)
        return mb_error_set(err, MB_FATAL, MB_CAUSE_NONE, "threads", "cannot start a thread");
    wake(bridge); /* what waits is started by poll */
    return MB_OK;
}

void mb_bridge_stop(struct mb_bridge *bridge)
{
    struct mb_route_run *run;

    bridge->stopping = true;
    for (run = bridge->runs; run != NULL; run = run->next)
        mb_route_run_stop(run, bridge->config->config->stop_timeout_ms);
    wake(bridge);
}

int mb_bridge_fd(const struct mb_bridge *bridge)
{
    return bridge->fd;
}

/* A route that a reload took out has ended: its successor inherits its counters. */
static void run_retire(struct mb_bridge *bridge, struct mb_route_run *run)
{
    struct mb_route_run *successor = run_find(bridge, run->route->name, true);

    bridge->failed = bridge->failed || run->miscounted || (run->failed && successor == NULL);
    bridge->unresolved += run->unresolved;
    mb_route_run_sum(run, successor != NULL ? &successor->past : &bridge->past);
    mb_route_run_destroy(run);
}

static bool runs_collect(struct mb_bridge *bridge)
{
    struct mb_route_run **link = &bridge->runs;
    bool all = true;

    while (*link != NULL) {
        struct mb_route_run *run = *link;
        bool ended = mb_route_run_collect(run, bridge->config->config->stop_timeout_ms);

        all = all && ended;
        if (ended && run->removed) {
            *link = run->next;
            run_retire(bridge, run);
        } else {
            link = &run->next;
        }
    }
    return all;
}

static void fds_clear(struct mb_bridge *bridge)
{
    uint64_t count;

    if (read(bridge->event_fd, &count, sizeof count) < 0) {
        /* Nothing was posted. */
    }
    if (read(bridge->timer_fd, &count, sizeof count) > 0 && !bridge->stopping) {
        bridge->timed_out = true;
        mb_log(bridge->logger, MB_LOG_ERROR, "not drained within drain_timeout", "bridge",
               bridge->name, NULL);
        mb_bridge_stop(bridge);
    }
}

void mb_bridge_poll(struct mb_bridge *bridge, struct mb_bridge_status *ret_status)
{
    struct mb_route_run *run;
    struct mb_error err;
    bool all;

    fds_clear(bridge);
    all = runs_collect(bridge);
    if (!bridge->stopping && runs_start(bridge, &err) != MB_OK)
        mb_log(bridge->logger, MB_LOG_ERROR, err.text, "reason", err.reason, NULL);
    if (!bridge->stopping)
        all = runs_collect(bridge);
    *ret_status = (struct mb_bridge_status){.unresolved = bridge->unresolved};
    ret_status->state = bridge->stopping ? MB_BRIDGE_STOPPING : MB_BRIDGE_RUNNING;
    if (!all)
        return;
    ret_status->state = MB_BRIDGE_FINISHED;
    ret_status->exit_code = bridge->failed || bridge->timed_out;
    for (run = bridge->runs; run != NULL; run = run->next) {
        ret_status->unresolved += run->unresolved;
        if (run->failed || run->miscounted)
            ret_status->exit_code = 1;
    }
    if (ret_status->unresolved > 0)
        ret_status->exit_code = 1;
}

void mb_bridge_counters_json(struct mb_bridge *bridge, struct mb_text *text)
{
    struct mb_route_run *run;
    const char *separator = "";

    mb_text_addf(text, "{\"bridge\":");
    mb_text_json_string(text, mb_slice_text(bridge->name));
    mb_text_addf(text, ",\"uptime_seconds\":%" PRId64 ",\"routes\":{",
                 (mb_clock_monotonic_ms() - bridge->started_ms) / 1000);
    for (run = bridge->runs; run != NULL; run = run->next) {
        struct mb_counters sum = {0};

        if (run->removed && run_find(bridge, run->route->name, true) != NULL)
            continue; /* a name once: its successor is the one to show */
        mb_text_addf(text, "%s", separator);
        mb_text_json_string(text, mb_slice_text(run->route->name));
        mb_text_addf(text, ":");
        mb_route_run_sum(run, &sum);
        mb_route_run_audit(run, NULL, &sum, bridge->logger);
        mb_route_run_json(run, text);
        separator = ",";
    }
    mb_text_addf(text, "}}");
}

void mb_bridge_progress(struct mb_bridge *bridge, struct mb_bridge_progress *ret_progress)
{
    struct mb_counters sum = {0};
    struct mb_route_run *run;
    bool connected = bridge->runs != NULL;
    bool known = bridge->runs != NULL;
    uint64_t total;

    mb_counters_sum(&sum, &bridge->past);
    for (run = bridge->runs; run != NULL; run = run->next) {
        mb_route_run_sum(run, &sum);
        for (size_t i = 0; i < run->lanes_count; i++) {
            connected = connected && atomic_load(&run->lanes[i]->counters.connected);
            known = known && atomic_load(&run->lanes[i]->counters.remaining_known);
        }
    }
    memset(ret_progress, 0, sizeof *ret_progress);
    ret_progress->received = mb_counter_get(&sum.received);
    ret_progress->delivered = mb_counter_get(&sum.delivered);
    ret_progress->dead_lettered = mb_counter_get(&sum.dead_lettered);
    ret_progress->filtered = mb_counter_get(&sum.filtered);
    ret_progress->expired = mb_counter_get(&sum.expired);
    ret_progress->in_flight = mb_counter_get(&sum.in_flight);
    ret_progress->bytes_in = mb_counter_get(&sum.bytes_in);
    ret_progress->connected = connected;
    ret_progress->remaining_known = known;
    total = mb_counter_get(&sum.remaining);
    ret_progress->remaining = total > ret_progress->received ? total - ret_progress->received : 0;
}

static void runs_wait(struct mb_bridge *bridge)
{
    struct mb_bridge_status status;
    struct epoll_event event;

    for (;;) {
        mb_bridge_poll(bridge, &status);
        if (status.state == MB_BRIDGE_FINISHED)
            return;
        epoll_wait(bridge->fd, &event, 1, 1000);
    }
}

void mb_bridge_destroy(struct mb_bridge *bridge)
{
    struct mb_route_run *run;

    if (bridge == NULL)
        return;
    if (bridge->runs != NULL) {
        mb_bridge_stop(bridge);
        runs_wait(bridge);
    }
    mb_connector_destroy(bridge->connector);
    for (size_t i = 0; i < bridge->slots_count; i++)
        mb_worker_destroy(bridge->slots[i].worker);
    while ((run = bridge->runs) != NULL) {
        bridge->runs = run->next;
        mb_route_run_destroy(run);
    }
    mb_config_ref_drop(bridge->config);
    if (bridge->event_fd >= 0)
        close(bridge->event_fd);
    if (bridge->timer_fd >= 0)
        close(bridge->timer_fd);
    if (bridge->fd >= 0)
        close(bridge->fd);
    free(bridge->name);
    free(bridge);
}
