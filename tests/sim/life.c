/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A schedule: lives of the lane, one after the other, while faults happen; then everything is
 * mended and the last life has to bring the rest over and to end.
 */
#include "sim.h"

#include "core/router/drain.h"

#include <poll.h>
#include <stdlib.h>

#define START_MS      1000000
#define SLEEP_MAX_MS  1000 /* a worker looks at its lanes at least so often */
#define SPINS_MAX     3000u
#define STEPS_MAX     200000u
#define HEALED_MAX_MS 600000
#define CLOSE_MAX_MS  9000 /* from a stop's deadline to the end: connector jobs may be slow */

struct sim sim;

static struct {
    struct mb_logger logger;
    struct mb_lane_env env;
    struct mb_config_endpoint endpoint;
    struct mb_config_stream from;
    struct mb_config_stream to[SIM_OUTLETS_MAX];
    struct mb_config_stream dead;
    struct mb_config_step step;
    char name[4];
    char filter[8];
    struct mb_config_route route;
    uint64_t steps;
    uint32_t spins; /* steps since the last rest */
    const char *awake_by;
    bool overslept; /* nothing but the worker's own limit ended the last rest */
} bench;

/* ---- the configuration ---- */

static void require(enum mb_status status)
{
    if (status != MB_OK)
        sim_violate("setup", "the configuration is refused");
}

static void sink_config(struct mb_config_stream *stream, uint32_t outlet)
{
    static const char *const numbers[SIM_OUTLETS_MAX] = {"0", "1", "2", "3"};
    struct mb_error err;

    stream->endpoint = &bench.endpoint;
    stream->create = sim.shape.create && outlet != sim_dead_outlet();
    require(mb_settings_init(&stream->settings, &sim_backend.sink_options));
    require(mb_settings_set(&stream->settings, 0, &numbers[outlet], 1, false, 1, &err));
}

static void route_config(void)
{
    const struct sim_shape *shape = &sim.shape;

    bench.route = (struct mb_config_route){.name = bench.name,
                                           .from = &bench.from,
                                           .from_count = 1,
                                           .to = bench.to,
                                           .to_count = shape->sinks,
                                           .dead_letter = shape->dead_letter ? &bench.dead : NULL,
                                           .steps = &bench.step,
                                           .steps_count = shape->filter ? 1 : 0,
                                           .order = shape->order,
                                           .delivery = shape->exactly ? MB_EFFECTIVELY_ONCE
                                                                      : MB_AT_LEAST_ONCE,
                                           .on_reject = shape->on_reject,
                                           .rate_messages = shape->rate_messages,
                                           .lanes = 1,
                                           .window_messages = shape->window_messages,
                                           .window_bytes = shape->window_bytes,
                                           .retry_initial_ms = 20,
                                           .retry_max_ms = 1000,
                                           .retry_attempts = shape->retry_attempts,
                                           .sinks_before = shape->sinks_before};
    bench.route.group = bench.route.name;
}

static void config_open(void)
{
    const char *header = "keep";
    struct mb_error err;

    snprintf(bench.name, sizeof bench.name, "sim");
    snprintf(bench.filter, sizeof bench.filter, "filter");
    bench.logger = (struct mb_logger){.fd = 2, .level = -1};
    bench.env = (struct mb_lane_env){.connector = sim_connector(),
                                     .mailbox = sim_mailbox(),
                                     .logger = &bench.logger,
                                     .bridge_name = "sim"};
    bench.endpoint = (struct mb_config_endpoint){
        .name = bench.name, .backend = &sim_backend, .identity = bench.name};
    require(mb_settings_init(&bench.endpoint.settings, &sim_backend.endpoint_options));
    bench.from = (struct mb_config_stream){.endpoint = &bench.endpoint};
    require(mb_settings_init(&bench.from.settings, &sim_backend.source_options));
    for (uint32_t k = 0; k < sim.shape.sinks; k++)
        sink_config(&bench.to[k], k);
    sink_config(&bench.dead, sim_dead_outlet());
    bench.step.name = bench.filter;
    require(mb_settings_init(&bench.step.settings, &mb_step_find("filter")->options));
    require(mb_settings_set(&bench.step.settings, 0, &header, 1, false, 1, &err));
    route_config();
}

static void config_close(void)
{
    mb_settings_release(&bench.endpoint.settings);
    mb_settings_release(&bench.from.settings);
    for (uint32_t k = 0; k < sim.shape.sinks; k++)
        mb_settings_release(&bench.to[k].settings);
    mb_settings_release(&bench.dead.settings);
    mb_settings_release(&bench.step.settings);
}

/* ---- one life ---- */

static bool life_begin(void)
{
    struct mb_error err;
    enum mb_status status;

    memset(&sim.counters, 0, sizeof sim.counters);
    memset(sim.life_confirmed, 0, sizeof sim.life_confirmed);
    sim.life_taken = 0;
    sim.alloc_failed = false;
    route_config();
    sim_allow_alloc_failures(true);
    status = mb_lane_create(&bench.env, &bench.route, 0, 0, &sim.counters, &sim.lane, &err);
    sim_allow_alloc_failures(false);
    if (status != MB_OK) {
        if (status != MB_NO_MEMORY || !sim.alloc_failed)
            sim_violate("setup", "a lane is refused: %s", err.text);
        return false;
    }
    /* Its own seeds are of its address and of the wall clock. */
    sim.lane->source.backoff.seed = sim_random();
    for (uint32_t i = 0; i < sim.lane->outlets_count; i++) {
        sim.lane->outlets[i].port.backoff.seed = sim_random();
        sim.lane->outlets[i].backoff.seed = sim_random();
    }
    sim.lane->observers[sim.lane->observers_count++] = sim_observer;
    sim.lane->stop_timeout_ms = sim_one_in(3) ? 200 : 30000;
    sim_trace("a lane begins: window %u", sim.shape.window_messages);
    return true;
}

static void port_drop(struct mb_port *port)
{
    mb_applied_destroy(port->endpoint_applied);
    mb_applied_destroy(port->options_applied);
}

/* The process is gone: what its ports held is no more, and nobody is told. */
static void life_crash(void)
{
    struct mb_lane *lane = sim.lane;

    sim_trace("crash");
    sim.stats[SIM_CRASHES]++;
    sim_engine_drop();
    sim_sinks_crash();
    sim_sources_crash();
    port_drop(&lane->source);
    for (uint32_t i = 0; i < lane->outlets_count; i++)
        port_drop(&lane->outlets[i].port);
    mb_lane_destroy(lane);
    sim.lane = NULL;
}

static void note_fd(void *context, int fd, int16_t events)
{
    int64_t *wake_ms = context;
    int64_t ready_ms = sim_source_ready_ms(fd, events);
    int64_t sink_ms = sim_sink_ready_ms(fd, events);

    ready_ms = sink_ms < ready_ms ? sink_ms : ready_ms;
    if (ready_ms < *wake_ms)
        *wake_ms = ready_ms;
}

/* Sleeps as a worker does: until something is ready or due, or the script goes on. */
static void rest(int64_t until_ms)
{
    int64_t limit_ms = sim.now_ms + SLEEP_MAX_MS;
    int64_t wake_ms = SIM_NEVER;
    int64_t deadline_ms = SIM_NEVER;
    int64_t job_ms = sim_engine_next_ms();
    bool ready = mb_lane_wait(sim.lane, note_fd, &wake_ms, &deadline_ms);

    bench.awake_by = ready                       ? "it says so"
                     : wake_ms <= sim.now_ms     ? "a descriptor is ready"
                     : deadline_ms <= sim.now_ms ? "a deadline has passed"
                                                 : "a job";
    wake_ms = deadline_ms < wake_ms ? deadline_ms : wake_ms;
    wake_ms = job_ms < wake_ms ? job_ms : wake_ms;
    wake_ms = until_ms < wake_ms ? until_ms : wake_ms;
    if (ready || wake_ms <= sim.now_ms)
        return;
    /* News of a source that the lane does not want to read from may wait so long. */
    bench.overslept = wake_ms > limit_ms && sim_source_ready_ms(-1, POLLIN) > limit_ms;
    sim.now_ms = wake_ms > limit_ms ? limit_ms : wake_ms;
    bench.spins = 0;
}

static void fill_up(void)
{
    for (uint32_t k = 0; k < SIM_OUTLETS_MAX; k++) {
        if (sim.now_ms < sim.full_until_ms[k] || sim.shape.full_ms == 0)
            continue;
        sim.full_at_ms[k] = sim_after(sim.shape.full_ms);
        sim.full_until_ms[k] = sim.full_at_ms[k] + (int64_t)sim_below(1500);
    }
}

static void step(int64_t until_ms)
{
    bool progress;
    int64_t job_ms;

    sim_allow_alloc_failures(true);
    sim_engine_run();
    job_ms = sim_engine_next_ms();
    progress = mb_lane_step(sim.lane, sim.now_ms);
    sim_allow_alloc_failures(false);
    sim.stats[SIM_STEPS]++;
    /* Nobody waits for what expires. */
    if (bench.overslept && sim.shape.ttl_one_in == 0 &&
        (progress || sim_engine_next_ms() != job_ms))
        sim_violate("I7",
                    "there was work (%s), but the lane slept until the worker looked by itself",
                    progress ? "at once" : "a job");
    bench.overslept = false;
    sim_check_window();
    if (bench.steps++ % 8 == 0)
        sim_check_open();
    if (bench.steps > STEPS_MAX)
        sim_violate("I7", "%u steps and no end", STEPS_MAX);
    if (++bench.spins > SPINS_MAX)
        sim_violate("I7", "%u steps without a rest: %s", SPINS_MAX, bench.awake_by);
    fill_up();
    if (!progress && sim.lane->phase != MB_LANE_CLOSED)
        rest(until_ms);
    if (bench.spins > 0 && sim_one_in(4))
        sim.now_ms++;
}

/* Whether the route had a reason to stop by itself. */
static bool may_fail(void)
{
    const struct sim_shape *shape = &sim.shape;

    return sim.alloc_failed || shape->retry_attempts > 0 ||
           ((shape->poison_one_in > 0 || shape->unreadable_one_in > 0) &&
            shape->on_reject == MB_REJECT_STOP);
}

/* After CLOSED. */
static void life_end(void)
{
    const struct mb_lane *lane = sim.lane;

    sim_trace("closed, %llu unresolved%s", (unsigned long long)lane->unresolved,
              lane->failed ? ", the route failed" : "");
    sim_check_closed();
    if (lane->failed && !may_fail())
        sim_violate("contract", "the route stopped: %s", lane->error.text);
    if (lane->failed && !sim.alloc_failed && sim.shape.retry_attempts == 0 &&
        strcmp(lane->error.reason, "poison") != 0 && strcmp(lane->error.reason, "unreadable") != 0)
        sim_violate("contract", "the route stopped for another reason: %s", lane->error.reason);
    if (lane->limit_messages > 0 && lane->taken_total > lane->limit_messages)
        sim_violate("contract", "%llu messages taken, the limit is %llu",
                    (unsigned long long)lane->taken_total,
                    (unsigned long long)lane->limit_messages);
    sim.stats[SIM_ROUTE_FAILURES] += lane->failed ? 1 : 0;
    sim.stats[SIM_LATE_STOPS] += lane->unresolved > 0 ? 1 : 0;
    sim_check_instances();
    mb_lane_destroy(sim.lane);
    sim.lane = NULL;
}

static void life_run(int64_t until_ms)
{
    while (sim.now_ms < until_ms && sim.lane->phase != MB_LANE_CLOSED)
        step(until_ms);
}

static void life_stop(int64_t timeout_ms)
{
    int64_t end_ms = sim.now_ms + timeout_ms + CLOSE_MAX_MS;

    sim_trace("stop within %d ms", (int)timeout_ms);
    sim.stats[SIM_STOPS]++;
    bench.overslept = false;
    mb_lane_stop(sim.lane, sim.now_ms + timeout_ms);
    life_run(end_ms);
    if (sim.lane->phase != MB_LANE_CLOSED)
        sim_violate("I7", "the lane did not close after its stop");
    life_end();
}

static void life_drains(void)
{
    sim.stats[SIM_DRAINS]++;
    sim_trace("… and drains");
    if (mb_drain_create(sim.lane, 50 + (int64_t)sim_below(2000), &sim.lane->drain) != MB_OK)
        abort();
}

/* ---- the schedule ---- */

static void rough_life(void)
{
    static const uint64_t timeouts_ms[] = {0, 30, 500, 30000};
    int64_t end_ms = sim_after(sim.shape.life_ms);

    if (!life_begin())
        return;
    if (sim_one_in(8))
        life_drains();
    if (sim_one_in(8)) {
        sim.stats[SIM_LIMITS]++;
        sim.lane->limit_messages = 1 + sim_below(sim.messages_count);
    }
    life_run(end_ms < sim.healed_at_ms ? end_ms : sim.healed_at_ms);
    if (sim.lane->phase == MB_LANE_CLOSED)
        life_end();
    else if (sim_is_rough() && sim_one_in(3))
        life_crash();
    else if (sim_is_rough())
        life_stop((int64_t)sim_pick(timeouts_ms, 4));
}

/* No fault any more; and what no policy would let pass is mended at its source. */
static void heal(void)
{
    sim_trace("healed");
    for (uint32_t i = 0; i < sim.messages_count; i++) {
        if (sim.shape.on_reject == MB_REJECT_STOP) {
            sim.messages[i].poison = 0;
            sim.messages[i].unreadable = false;
        }
    }
    bench.steps = 0;
}

static bool ends_by_itself(void)
{
    uint64_t rest_count = 0;

    for (uint32_t i = 0; i < sim.messages_count; i++)
        rest_count += sim_is_done(&sim.messages[i]) ? 0 : 1;
    if (sim_one_in(3)) {
        life_drains();
        return true;
    }
    if (sim_one_in(3) && rest_count > 0 && !sim.shape.exactly) {
        sim.lane->limit_messages = rest_count;
        return true;
    }
    return false;
}

/* The last lives: the one that saw the faults perhaps, and one that did not. */
static void healed_lives(void)
{
    int64_t bound_ms = sim.now_ms + HEALED_MAX_MS;

    while (sim.lane != NULL || !sim_all_done()) {
        bool is_new = sim.lane == NULL;
        bool alone = is_new && life_begin() && ends_by_itself();

        while (sim.now_ms < bound_ms && sim.lane->phase != MB_LANE_CLOSED &&
               (alone || !sim_all_done()))
            step(bound_ms);
        if (sim.now_ms >= bound_ms)
            sim_violate("I7", "%s after %d ms without faults",
                        sim_all_done() ? "it does not end" : "messages are still at the source",
                        HEALED_MAX_MS);
        if (sim.lane->phase != MB_LANE_CLOSED) {
            bool whole = is_new && !sim.lane->failed;

            life_stop(30000);
            if (whole)
                sim_check_end();
        } else {
            bool whole = alone && !sim.lane->failed;

            life_end();
            if (whole)
                sim_check_end();
        }
    }
}

void sim_schedule(uint64_t seed, bool trace, uint64_t *stats)
{
    memset(&sim, 0, sizeof sim);
    memset(&bench, 0, sizeof bench);
    sim.seed = seed;
    sim.random = seed * 0xd1342543de82ef95u;
    sim.now_ms = START_MS;
    sim.trace = trace;
    sim.stats = stats;
    sim_draw_shape(&sim.shape);
    sim_draw_messages();
    sim.healed_at_ms = sim.now_ms + sim.shape.heal_ms;
    sim_trace_shape();
    sim_engine_begin();
    config_open();
    while (sim_is_rough()) {
        rough_life();
        if (sim.lane == NULL)
            sim.now_ms += (int64_t)sim_below(200);
        if (sim.lane == NULL && sim_one_in(2))
            sim_draw_window(&sim.shape);
    }
    if (sim.lane != NULL && sim_one_in(3))
        life_crash();
    heal();
    healed_lives();
    sim_check_end();
    config_close();
    sim_sources_release();
    sim_sinks_release();
}
