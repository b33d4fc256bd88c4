/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A route as the bridge runs it: its lanes on workers, its counters over all its lives. Main
 * thread; lanes tell their end through their closed flag and the bridge's wake-up.
 */
#ifndef MBRIDGE_CORE_ROUTE_RUN_H
#define MBRIDGE_CORE_ROUTE_RUN_H

#include "core/runtime/bridge.h"
#include "core/runtime/worker.h"

/* A configuration that routes refer to; freed with the last one. */
struct mb_config_ref {
    struct mb_config *config;
    unsigned refs;
};

void mb_config_ref_drop(struct mb_config_ref *ref); /* NULL allowed */

struct mb_worker_slot {
    struct mb_worker *worker;
    struct mb_lane_env env;
    unsigned lanes_count;
};

enum mb_route_state {
    MB_ROUTE_WAITING = 0, /* for its former self to end */
    MB_ROUTE_RUNNING = 1,
    MB_ROUTE_STOPPING = 2,
    MB_ROUTE_STOPPED = 3,
    MB_ROUTE_FAILED = 4
};

struct mb_route_lane {
    struct mb_worker_lane worker_lane;
    struct mb_counters counters;
    struct mb_worker_slot *slot;
    size_t sink; /* with isolate_sinks: whose lane it is */
    bool stop_sent;
    bool collected; /* closed, and its lane is freed */
};

struct mb_route_run {
    struct mb_route_run *next;
    struct mb_config_ref *config;
    const struct mb_config_route *route;
    enum mb_route_state state;
    struct mb_rate rate; /* what its lanes share */
    struct mb_route_lane **lanes;
    size_t lanes_count;
    struct mb_counters past; /* of lanes that are gone */
    uint64_t unresolved;
    bool failed;
    bool miscounted; /* its counters do not account for every message: told once */
    bool kept;       /* by the reload that is being done */
    bool removed;    /* a reload took it out: drop it when it has stopped */
};

/* How many lanes a route is run with. */
size_t mb_route_lanes_count(const struct mb_config_route *route);

/* Takes a reference of config. */
enum mb_status mb_route_run_create(struct mb_config_ref *config,
                                   const struct mb_config_route *route,
                                   struct mb_route_run **ret_run);

/* Makes the lanes and hands them to the least laden workers. on_closed: of worker_lane. */
enum mb_status mb_route_run_start(struct mb_route_run *run, struct mb_worker_slot *slots,
                                  size_t slots_count, const struct mb_bridge_options *options,
                                  void (*on_closed)(void *context), void *context,
                                  struct mb_error *err);

void mb_route_run_stop(struct mb_route_run *run, int64_t timeout_ms);

/* Frees the lanes that closed; a lane that failed takes the others with it. true: it has ended. */
bool mb_route_run_collect(struct mb_route_run *run, int64_t stop_timeout_ms);

/* Whether the counters account for every message that was taken. Where they do not, the log says
 * so and run->miscounted is set. lane: one that has closed; NULL: of the route, while it runs. */
bool mb_route_run_audit(struct mb_route_run *run, const struct mb_lane *lane,
                        const struct mb_counters *counters, struct mb_logger *logger);

void mb_route_run_sum(const struct mb_route_run *run, struct mb_counters *sum);

/* Its counters as a JSON object. */
void mb_route_run_json(const struct mb_route_run *run, struct mb_text *text);

void mb_route_run_destroy(struct mb_route_run *run); /* ended, or never started; NULL allowed */

#endif
