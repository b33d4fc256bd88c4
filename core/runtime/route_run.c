/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/route_run.h"

#include "core/router/drain.h"
#include "kit/field.h"

#include <inttypes.h>
#include <stdlib.h>

void mb_config_ref_drop(struct mb_config_ref *ref)
{
    if (ref == NULL || --ref->refs > 0)
        return;
    mb_config_destroy(ref->config);
    free(ref);
}

enum mb_status mb_route_run_create(struct mb_config_ref *config,
                                   const struct mb_config_route *route,
                                   struct mb_route_run **ret_run)
{
    struct mb_route_run *run = calloc(1, sizeof *run);

    if (run == NULL)
        return MB_NO_MEMORY;
    run->config = config;
    config->refs++;
    run->route = route;
    mb_rate_init(&run->rate, route->rate_messages, route->rate_bytes);
    *ret_run = run;
    return MB_OK;
}

void mb_route_run_destroy(struct mb_route_run *run)
{
    if (run == NULL)
        return;
    for (size_t i = 0; i < run->lanes_count; i++) {
        if (!run->lanes[i]->collected)
            mb_lane_destroy(run->lanes[i]->worker_lane.lane);
        free(run->lanes[i]);
    }
    free(run->lanes);
    mb_config_ref_drop(run->config);
    free(run);
}

static struct mb_worker_slot *least_laden(struct mb_worker_slot *slots, size_t count)
{
    struct mb_worker_slot *best = &slots[0];

    for (size_t i = 1; i < count; i++) {
        if (slots[i].lanes_count < best->lanes_count)
            best = &slots[i];
    }
    return best;
}

size_t mb_route_lanes_count(const struct mb_config_route *route)
{
    return route->from_count * route->lanes * (route->isolated != NULL ? route->to_count : 1);
}

/* The indexth of them: sources vary fastest, then lanes, then sinks that are apart. */
static enum mb_status lane_make(struct mb_route_run *run, struct mb_worker_slot *slot, size_t index,
                                const struct mb_bridge_options *options, struct mb_error *err)
{
    size_t from = index % run->route->from_count;
    size_t number = index / run->route->from_count % run->route->lanes;
    size_t sink = index / run->route->from_count / run->route->lanes;
    const struct mb_config_route *route =
        run->route->isolated != NULL ? &run->route->isolated[sink] : run->route;
    struct mb_route_lane *made = calloc(1, sizeof *made);
    struct mb_lane *lane;
    enum mb_status status;

    if (made == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    status = mb_lane_create(&slot->env, route, from, (uint32_t)number, &made->counters, &lane, err);
    if (status != MB_OK) {
        free(made);
        return status;
    }
    made->slot = slot;
    made->sink = sink;
    made->worker_lane.lane = lane;
    run->lanes[run->lanes_count++] = made;
    lane->stop_timeout_ms = run->config->config->stop_timeout_ms;
    lane->limit_messages = options->limit_messages;
    if (lane->rate != NULL)
        lane->rate = &run->rate;
    if (options->drain &&
        mb_drain_create(lane, run->config->config->drain_idle_ms, &lane->drain) != MB_OK)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    return MB_OK;
}

enum mb_status mb_route_run_start(struct mb_route_run *run, struct mb_worker_slot *slots,
                                  size_t slots_count, const struct mb_bridge_options *options,
                                  void (*on_closed)(void *context), void *context,
                                  struct mb_error *err)
{
    size_t count = mb_route_lanes_count(run->route);

    run->lanes = calloc(count, sizeof(struct mb_route_lane *));
    if (run->lanes == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    for (size_t i = 0; i < count; i++) {
        struct mb_worker_slot *slot = least_laden(slots, slots_count);
        enum mb_status status = lane_make(run, slot, i, options, err);

        if (status != MB_OK)
            return status;
        slot->lanes_count++;
    }
    run->state = MB_ROUTE_RUNNING;
    for (size_t i = 0; i < count; i++) {
        struct mb_route_lane *lane = run->lanes[i];

        lane->worker_lane.on_closed = on_closed;
        lane->worker_lane.context = context;
        mb_worker_add(lane->slot->worker, &lane->worker_lane);
    }
    return MB_OK;
}

void mb_route_run_stop(struct mb_route_run *run, int64_t timeout_ms)
{
    if (run->state == MB_ROUTE_WAITING)
        run->state = MB_ROUTE_STOPPED;
    if (run->state != MB_ROUTE_RUNNING)
        return;
    run->state = MB_ROUTE_STOPPING;
    for (size_t i = 0; i < run->lanes_count; i++) {
        struct mb_route_lane *lane = run->lanes[i];

        if (lane->stop_sent || lane->collected || atomic_load(&lane->worker_lane.closed))
            continue;
        lane->stop_sent = true;
        mb_worker_stop_lane(&lane->worker_lane, timeout_ms);
    }
}

/* What a closed lane's counters say that no balance can: NULL, or the fault. */
static const char *closed_fault(const struct mb_lane *lane, const struct mb_counters *counters)
{
    uint64_t delivered = mb_counter_get(&counters->delivered);

    if (mb_counter_get(&counters->in_flight) != 0)
        return "messages are in flight in a lane that is closed";
    if (mb_counter_get(&counters->filtered) !=
        mb_counter_get(&counters->filtered_by[MB_DROP_STEP]) +
            mb_counter_get(&counters->filtered_by[MB_DROP_LOOP]) +
            mb_counter_get(&counters->filtered_by[MB_DROP_STORED]))
        return "filtered is not the sum of its reasons";
    /* With paths a message may have been at a sink already, and is not sent there. */
    for (uint32_t i = 0; i < lane->sinks_count && !lane->has_paths; i++) {
        if (mb_counter_get(&counters->confirmed[lane->route->sinks_before + i]) < delivered)
            return "more was counted as delivered than a sink confirmed";
    }
    return NULL;
}

bool mb_route_run_audit(struct mb_route_run *run, const struct mb_lane *lane,
                        const struct mb_counters *counters, struct mb_logger *logger)
{
    struct mb_balance balance;
    const char *fault = NULL;
    char terms[256];

    mb_counters_balance(counters, &balance);
    if (!mb_balance_holds(&balance))
        fault = "received is not the sum of what became of the messages";
    else if (lane != NULL)
        fault = closed_fault(lane, counters);
    if (fault == NULL)
        return true;
    mb_balance_text(&balance, terms, sizeof terms);
    if (!run->miscounted || lane != NULL)
        mb_log(logger, MB_LOG_ERROR, "the counters do not account for every message", "route",
               run->route->name, "reason", fault, "terms", terms, NULL);
    run->miscounted = true;
    return false;
}

bool mb_route_run_collect(struct mb_route_run *run, int64_t stop_timeout_ms)
{
    bool all = true;

    if (run->state != MB_ROUTE_RUNNING && run->state != MB_ROUTE_STOPPING)
        return run->state != MB_ROUTE_WAITING;
    for (size_t i = 0; i < run->lanes_count; i++) {
        struct mb_route_lane *made = run->lanes[i];

        if (!made->collected && !mb_worker_lane_is_over(&made->worker_lane)) {
            all = false;
            continue;
        }
        if (made->collected)
            continue;
        run->unresolved += made->worker_lane.lane->unresolved;
        run->failed = run->failed || made->worker_lane.lane->failed;
        mb_route_run_audit(run, made->worker_lane.lane, &made->counters, made->slot->env.logger);
        mb_lane_destroy(made->worker_lane.lane);
        made->collected = true;
        made->slot->lanes_count--;
    }
    if (all)
        run->state = run->failed ? MB_ROUTE_FAILED : MB_ROUTE_STOPPED;
    else if (run->failed)
        mb_route_run_stop(run, stop_timeout_ms);
    return all;
}

void mb_route_run_sum(const struct mb_route_run *run, struct mb_counters *sum)
{
    mb_counters_sum(sum, &run->past);
    for (size_t i = 0; i < run->lanes_count; i++)
        mb_counters_sum(sum, &run->lanes[i]->counters);
}

static void number_add(struct mb_text *text, const char *name, const mb_counter *counter)
{
    mb_text_addf(text, ",\"%s\":%" PRIu64, name, mb_counter_get(counter));
}

static const char *state_text(enum mb_route_state state)
{
    switch (state) {
    case MB_ROUTE_WAITING:
        return "waiting";
    case MB_ROUTE_RUNNING:
        return "running";
    case MB_ROUTE_STOPPING:
        return "stopping";
    case MB_ROUTE_STOPPED:
        return "stopped";
    case MB_ROUTE_FAILED:
        return "failed";
    }
    return "unknown";
}

/* confirmed by endpoint: several sinks of one endpoint are one number. */
static void confirmed_json(const struct mb_route_run *run, const struct mb_counters *sum,
                           struct mb_text *text)
{
    const struct mb_config_route *route = run->route;
    const char *separator = "";

    mb_text_addf(text, ",\"confirmed\":{");
    for (size_t i = 0; i < route->to_count; i++) {
        uint64_t count = 0;
        bool first = true;

        for (size_t j = 0; j < route->to_count; j++) {
            if (route->to[j].endpoint != route->to[i].endpoint)
                continue;
            first = first && j >= i;
            count += mb_counter_get(&sum->confirmed[j]);
        }
        if (!first)
            continue;
        mb_text_addf(text, "%s", separator);
        mb_text_json_string(text, mb_slice_text(route->to[i].endpoint->name));
        mb_text_addf(text, ":%" PRIu64, count);
        separator = ",";
    }
    mb_text_addf(text, "}");
}

/* Of sinks that read apart: how far each of them is. */
static void sinks_json(const struct mb_route_run *run, struct mb_text *text)
{
    const struct mb_config_route *route = run->route;

    if (route->isolated == NULL)
        return;
    mb_text_addf(text, ",\"sinks\":[");
    for (size_t i = 0; i < route->to_count; i++) {
        struct mb_counters sum = {0};

        for (size_t k = 0; k < run->lanes_count; k++) {
            if (run->lanes[k]->sink == i)
                mb_counters_sum(&sum, &run->lanes[k]->counters);
        }
        mb_text_addf(text, "%s{\"endpoint\":", i > 0 ? "," : "");
        mb_text_json_string(text, mb_slice_text(route->to[i].endpoint->name));
        mb_text_addf(text, ",\"group\":");
        mb_text_json_string(text, mb_slice_text(route->isolated[i].group));
        number_add(text, "received", &sum.received);
        number_add(text, "delivered", &sum.delivered);
        number_add(text, "in_flight", &sum.in_flight);
        mb_text_addf(text, "}");
    }
    mb_text_addf(text, "]");
}

/* By field; those that never were left out do not stand there. */
static void degraded_json(const struct mb_counters *sum, struct mb_text *text)
{
    const char *separator = "";

    mb_text_addf(text, ",\"degraded\":{");
    for (unsigned bit = 0; bit < MB_COUNTED_FIELDS_MAX; bit++) {
        uint64_t count = mb_counter_get(&sum->degraded[bit]);
        const char *name = mb_field_name(UINT64_C(1) << bit);

        if (count == 0)
            continue;
        mb_text_addf(text, "%s\"%s\":%" PRIu64, separator, name != NULL ? name : "unknown", count);
        separator = ",";
    }
    mb_text_addf(text, "}");
}

void mb_route_run_json(const struct mb_route_run *run, struct mb_text *text)
{
    struct mb_counters sum = {0};
    uint32_t reasons;

    mb_route_run_sum(run, &sum);
    mb_text_addf(text, "{\"state\":\"%s\"", state_text(run->state));
    number_add(text, "received", &sum.received);
    number_add(text, "delivered", &sum.delivered);
    number_add(text, "dead_lettered", &sum.dead_lettered);
    number_add(text, "filtered", &sum.filtered);
    mb_text_addf(
        text, ",\"filtered_by\":{\"step\":%" PRIu64 ",\"loop\":%" PRIu64 ",\"stored\":%" PRIu64 "}",
        mb_counter_get(&sum.filtered_by[MB_DROP_STEP]),
        mb_counter_get(&sum.filtered_by[MB_DROP_LOOP]),
        mb_counter_get(&sum.filtered_by[MB_DROP_STORED]));
    number_add(text, "released", &sum.released);
    number_add(text, "expired", &sum.expired);
    number_add(text, "lost", &sum.lost);
    number_add(text, "in_flight", &sum.in_flight);
    number_add(text, "in_flight_bytes", &sum.in_flight_bytes);
    number_add(text, "duplicates", &sum.duplicates);
    number_add(text, "bytes", &sum.bytes_in);
    mb_text_addf(text, ",\"bytes_wire\":{\"in\":%" PRIu64 ",\"out\":%" PRIu64 "}",
                 mb_counter_get(&sum.wire_in), mb_counter_get(&sum.wire_out));
    degraded_json(&sum, text);
    confirmed_json(run, &sum, text);
    sinks_json(run, text);
    mb_text_addf(text, ",\"retries\":{");
    reasons = atomic_load(&sum.reasons_count);
    for (uint32_t i = 0; i < reasons; i++) {
        mb_text_addf(text, "%s", i > 0 ? "," : "");
        mb_text_json_string(text, mb_slice_text(sum.retries[i].reason));
        mb_text_addf(text, ":%" PRIu64, mb_counter_get(&sum.retries[i].count));
    }
    mb_text_addf(text, "}}");
}
