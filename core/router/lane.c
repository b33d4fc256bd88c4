/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/lane.h"

#include "core/router/discover.h"
#include "core/router/drain.h"
#include "core/router/replay.h"

#include <poll.h>
#include <stdlib.h>

#define REST_EVERY_MS 10000

static void account(struct mb_lane *lane, const struct mb_entry *entry)
{
    if (entry->rejected == 0 && entry->dropped == MB_DROP_NONE) {
        mb_counter_add(&lane->counters->delivered, 1);
    } else if (entry->rejected != 0) {
        mb_counter_add(&lane->counters->dead_lettered, 1);
    } else if (entry->dropped == MB_DROP_EXPIRED) {
        mb_counter_add(&lane->counters->expired, 1);
    } else {
        mb_counter_add(&lane->counters->filtered, 1);
        mb_counter_add(&lane->counters->filtered_by[entry->dropped], 1);
    }
    lane->settled++;
}

static void scope_is_dirty(struct mb_lane *lane, struct mb_scope *scope)
{
    if (scope->ack_count != 1 || scope->state == MB_SCOPE_GONE)
        return; /* in the list since its count left 0 */
    if (lane->dirty_count == MB_LANE_DIRTY_MAX)
        lane->dirty_overflow = true;
    else
        lane->dirty[lane->dirty_count++] = scope;
}

/* For sources that acknowledge one by one. Apart, so that others need not save registers for it. */
__attribute__((noinline)) static void tell_singly(struct mb_lane *lane, struct mb_entry *entry)
{
    struct mb_ack ack = {.scope = entry->scope->id,
                         .epoch = entry->scope->epoch,
                         .token = entry->message->token,
                         .outcome = MB_ACCEPTED,
                         .count = 1,
                         .position = entry->message->position};

    entry->told = true;
    entry->scope->acked_total++;
    entry->scope->committed_total++;
    mb_lane_push_ack(lane, &ack);
}

__attribute__((noinline)) static void observers_passed(struct mb_lane *lane,
                                                       const struct mb_entry *entry)
{
    for (size_t i = 0; i < lane->observers_count; i++) {
        if (lane->observers[i].passed != NULL)
            lane->observers[i].passed(lane->observers[i].context, entry->scope, entry->message,
                                      &entry->destination);
    }
}

static void frontier_passed(void *context, struct mb_entry *entry)
{
    struct mb_lane *lane = context;

    if (entry->stale || entry->released)
        return;
    if (!entry->told)
        account(lane, entry);
    if ((lane->source_traits & MB_SOURCE_ACKS_IN_ORDER) != 0)
        scope_is_dirty(lane, entry->scope);
    else if (!entry->told)
        tell_singly(lane, entry);
    if (lane->observers_count > 0)
        observers_passed(lane, entry);
}

void mb_lane_update(struct mb_lane *lane, uint64_t sequence)
{
    struct mb_entry *entry = mb_window_at(&lane->window, sequence);

    mb_window_update(&lane->window, sequence, &lane->passed);
    /* Without order nothing behind a refused message is sent again: it need not wait for it. */
    if (entry->resolved && !entry->told && !entry->stale && !entry->released &&
        lane->route->order == MB_ORDER_NONE &&
        (lane->source_traits & MB_SOURCE_ACKS_IN_ORDER) == 0) {
        account(lane, entry);
        tell_singly(lane, entry);
    }
}

void mb_lane_fail(struct mb_lane *lane, const struct mb_error *err)
{
    if (lane->failed)
        return;
    lane->failed = true;
    lane->error = *err;
    mb_log(lane->env->logger, MB_LOG_ERROR, err->text, "route", lane->route->name, "reason",
           err->reason, "action", "the route stops; nothing of it is acknowledged past this", NULL);
}

void mb_lane_release_unsent(struct mb_lane *lane, struct mb_scope *only)
{
    uint64_t count = mb_window_release_unsent(&lane->window, only, &lane->passed);

    mb_counter_add(&lane->counters->released, count);
    lane->settled += count;
    mb_window_trim(&lane->window);
}

static enum mb_status step_templates_init(struct mb_lane *lane, struct mb_lane_step *step,
                                          const struct mb_settings *settings, struct mb_error *err)
{
    for (size_t i = 0; i < settings->table->count; i++) {
        const struct mb_option *row = &settings->table->rows[i];
        const char *text = NULL;
        enum mb_status status;

        if (row->type == MB_OPTION_TEMPLATE && row->slot < MB_NAMES_MAX)
            text = mb_settings_text(settings, row->name);
        if (text == NULL)
            continue;
        status = mb_template_create(text, &step->templates[row->slot], err);
        if (status != MB_OK)
            return status;
        if (mb_template_match_max(step->templates[row->slot]) >= 0)
            lane->has_matches = true;
    }
    return MB_OK;
}

static enum mb_status steps_init(struct mb_lane *lane, struct mb_error *err)
{
    lane->steps = calloc(lane->route->steps_count + 1, sizeof *lane->steps);
    if (lane->steps == NULL)
        return MB_NO_MEMORY;
    for (size_t i = 0; i < lane->route->steps_count; i++) {
        const struct mb_config_step *config = &lane->route->steps[i];
        enum mb_status status;

        lane->steps[i].step = mb_step_find(config->name);
        if (lane->steps[i].step == NULL)
            return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "step", "there is no step %s",
                                config->name);
        status = mb_settings_apply(&config->settings, true, &lane->steps[i].applied, err);
        lane->steps_count++;
        if (status == MB_OK)
            status = step_templates_init(lane, &lane->steps[i], &config->settings, err);
        if (status != MB_OK)
            return status;
    }
    return MB_OK;
}

static enum mb_status outlets_init(struct mb_lane *lane, struct mb_error *err)
{
    const struct mb_config_route *route = lane->route;
    uint32_t count = (uint32_t)route->to_count + (route->dead_letter != NULL ? 1 : 0);

    lane->outlets = calloc(count, sizeof *lane->outlets);
    if (lane->outlets == NULL)
        return MB_NO_MEMORY;
    lane->sinks_count = (uint32_t)route->to_count;
    for (uint32_t i = 0; i < count; i++) {
        bool dead = i == lane->sinks_count;
        enum mb_status status = mb_outlet_init(
            &lane->outlets[i], lane, dead ? route->dead_letter : &route->to[i], i, dead, err);

        lane->outlets_count = i + 1;
        if (status != MB_OK)
            return status;
        lane->outlets[i].port.model = lane->source.stream;
        if (lane->outlets[i].port.wants_identity)
            lane->source.wants_identity = true;
        lane->has_paths = lane->has_paths || lane->outlets[i].has_path;
        lane->has_matches = lane->has_matches || lane->outlets[i].has_matches;
        if (dead)
            lane->dead_letter = &lane->outlets[i];
        else if (lane->outlets[i].templated)
            lane->outlets[i].names_index = lane->templated_count++;
    }
    return MB_OK;
}

/* Whether anything of the route looks at each message before it is sent (intake.c). */
static bool prepares(const struct mb_lane *lane)
{
    const struct mb_config_route *route = lane->route;

    return route->poison_deliveries > 0 || route->replay != NULL || lane->dead_letter != NULL ||
           lane->steps_count > 0 || lane->key.from != MB_KEY_AS_IT_IS ||
           lane->templated_count > 0 || lane->has_paths || lane->transaction != NULL;
}

enum mb_status mb_lane_create(const struct mb_lane_env *env, const struct mb_config_route *route,
                              size_t from, uint32_t number, struct mb_counters *counters,
                              struct mb_lane **ret_lane, struct mb_error *err)
{
    struct mb_lane *lane = calloc(1, sizeof *lane);
    enum mb_status status;

    *ret_lane = NULL;
    if (lane == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    lane->env = env;
    lane->route = route;
    lane->number = number;
    lane->batch_size = MB_LANE_BATCH_MIN;
    lane->revoke_by_ms = INT64_MAX;
    lane->counters = counters;
    lane->passed = (struct mb_passed){.passed = frontier_passed, .context = lane};
    mb_port_init(&lane->source, MB_ROLE_SOURCE, env, route, &route->from[from], "source", number);
    lane->source.event = mb_lane_source_event;
    lane->source.event_context = lane;
    lane->source.wake = &lane->wake;
    lane->source.counters = counters;
    lane->source_ops = route->from[from].endpoint->backend->source;
    mb_rate_init(&lane->own_rate, route->rate_messages, route->rate_bytes);
    if (mb_rate_is_limited(&lane->own_rate))
        lane->rate = &lane->own_rate;
    lane->sinks_bits = (UINT64_C(1) << route->to_count) - 1;
    status = mb_window_init(&lane->window,
                            route->replay != NULL ? route->replay->window_messages
                                                  : route->window_messages,
                            (uint64_t)route->window_bytes);
    if (status == MB_OK)
        status = outlets_init(lane, err);
    if (status == MB_OK)
        status = steps_init(lane, err);
    if (status == MB_OK)
        status = mb_key_rule_init(&lane->key, route->key_from, err);
    if (lane->key.template != NULL && mb_template_match_max(lane->key.template) >= 0)
        lane->has_matches = true;
    if (status == MB_OK && route->delivery == MB_EFFECTIVELY_ONCE)
        status = mb_transaction_create(lane, &lane->transaction);
    if (status == MB_OK && mb_discover_is_wanted(&route->from[from]))
        status = mb_discover_create(lane, &lane->discover);
    if (status != MB_OK) {
        mb_lane_destroy(lane);
        return status;
    }
    lane->prepares = prepares(lane);
    mb_error_clear(err);
    *ret_lane = lane;
    return MB_OK;
}

void mb_lane_destroy(struct mb_lane *lane)
{
    if (lane == NULL)
        return;
    for (uint32_t i = 0; i < lane->outlets_count; i++)
        mb_outlet_release(&lane->outlets[i]);
    for (size_t i = 0; i < lane->steps_count; i++) {
        mb_applied_destroy(lane->steps[i].applied);
        for (size_t slot = 0; slot < MB_NAMES_MAX; slot++)
            mb_template_destroy(lane->steps[i].templates[slot]);
    }
    mb_drain_destroy(lane->drain);
    mb_discover_destroy(lane->discover);
    mb_transaction_destroy(lane->transaction);
    mb_key_rule_release(&lane->key);
    mb_window_release(&lane->window);
    free(lane->outlets);
    free(lane->steps);
    free(lane->events);
    free(lane->event_texts);
    free(lane->acks);
    free(lane);
}

/* Sinks first: nothing is taken from a source before it has somewhere to go. */
static bool outlets_were_open(const struct mb_lane *lane)
{
    for (uint32_t i = 0; i < lane->outlets_count; i++) {
        if (lane->outlets[i].port.opens == 0)
            return false;
    }
    return true;
}

static bool source_may_open(struct mb_lane *lane, int64_t now_ms)
{
    if (!outlets_were_open(lane))
        return false;
    return lane->drain == NULL || mb_drain_begin(lane->drain, now_ms);
}

static uint64_t in_flight(const struct mb_lane *lane)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < lane->outlets_count; i++)
        count += lane->outlets[i].in_flight;
    return count;
}

static bool outlets_step(struct mb_lane *lane, int64_t now_ms)
{
    bool progress = false;

    for (uint32_t i = 0; i < lane->outlets_count; i++)
        progress = mb_outlet_collect(lane, &lane->outlets[i], now_ms) || progress;
    mb_window_trim(&lane->window);
    return progress;
}

static bool outlets_send(struct mb_lane *lane, int64_t now_ms)
{
    bool progress = false;

    for (uint32_t i = 0; i < lane->outlets_count; i++)
        progress = mb_outlet_send(lane, &lane->outlets[i], now_ms) || progress;
    return progress;
}

static void outlets_flush(struct mb_lane *lane, int64_t now_ms)
{
    for (uint32_t i = 0; i < lane->outlets_count; i++)
        mb_outlet_flush(lane, &lane->outlets[i], now_ms);
}

static void begin_closing(struct mb_lane *lane)
{
    struct mb_window *window = &lane->window;

    for (uint64_t s = window->tail; s != window->head; s++) {
        const struct mb_entry *entry = mb_window_at(window, s);

        /* What is done behind one that is not comes again with it. */
        if (!entry->passed && !entry->told && (entry->sent | entry->attempted | entry->done) != 0)
            lane->unresolved++;
    }
    mb_lane_source_finish(lane);
    mb_port_close(&lane->source);
    for (uint32_t i = 0; i < lane->outlets_count; i++)
        mb_port_close(&lane->outlets[i].port);
    lane->phase = MB_LANE_CLOSING;
}

static void step_stopping(struct mb_lane *lane, int64_t now_ms)
{
    bool stuck;

    mb_lane_release_unsent(lane, NULL);
    /* A route that failed waits for what is in flight, not for what it may never send. */
    stuck = lane->failed && in_flight(lane) == 0 &&
            (lane->dead_letter == NULL || lane->dead_letter->pending == 0);
    if ((mb_window_count(&lane->window) == 0 &&
         mb_transaction_has_let_go(lane->transaction, NULL)) ||
        stuck || now_ms >= lane->stop_deadline_ms)
        begin_closing(lane);
}

static void step_closing(struct mb_lane *lane)
{
    bool closed = mb_port_is_closed(&lane->source);

    for (uint32_t i = 0; i < lane->outlets_count; i++) {
        struct mb_port *port = &lane->outlets[i].port;

        mb_port_close(port); /* one that was still being opened */
        closed = closed && mb_port_is_closed(port);
    }
    mb_port_close(&lane->source);
    if (lane->drain != NULL && mb_drain_is_asking(lane->drain))
        closed = false;
    if (lane->discover != NULL && mb_discover_is_asking(lane->discover))
        closed = false;
    if (!closed)
        return;
    lane->phase = MB_LANE_CLOSED;
    mb_port_count(&lane->source);
    for (uint32_t i = 0; i < lane->outlets_count; i++)
        mb_port_count(&lane->outlets[i].port);
    mb_counter_set(&lane->counters->in_flight, lane->taken_total - lane->settled);
    mb_counter_set(&lane->counters->in_flight_bytes, 0);
    mb_counters_publish(lane->counters);
    atomic_store(&lane->counters->connected, false);
}

static void counters_step(struct mb_lane *lane)
{
    bool connected = mb_port_is_connected(&lane->source);

    mb_port_count(&lane->source);
    for (uint32_t i = 0; i < lane->outlets_count; i++) {
        connected = connected && mb_port_is_connected(&lane->outlets[i].port);
        mb_port_count(&lane->outlets[i].port);
    }
    atomic_store_explicit(&lane->counters->connected, connected, memory_order_relaxed);
    mb_counter_set(&lane->counters->in_flight, lane->taken_total - lane->settled);
    mb_counter_set(&lane->counters->in_flight_bytes, lane->window.bytes);
    mb_counters_publish(lane->counters);
}

/* Now and then, so that what it has had to hold once is not held for ever. */
static void rest(struct mb_lane *lane, int64_t now_ms)
{
    if (now_ms < lane->rest_at_ms)
        return;
    lane->rest_at_ms = now_ms + REST_EVERY_MS;
    mb_window_rest(&lane->window);
}

static bool limit_is_reached(const struct mb_lane *lane)
{
    return lane->limit_messages > 0 && lane->taken_total >= lane->limit_messages &&
           mb_window_count(&lane->window) == 0;
}

bool mb_lane_step(struct mb_lane *lane, int64_t now_ms)
{
    enum mb_lane_phase phase = lane->phase;
    bool progress;
    bool taken;

    if (lane->phase == MB_LANE_CLOSED)
        return false;
    if (lane->phase == MB_LANE_CLOSING) {
        step_closing(lane);
        return false;
    }
    progress = outlets_step(lane, now_ms);
    mb_transaction_step(lane->transaction, now_ms);
    progress = mb_lane_acknowledge(lane, now_ms) || progress;
    if (lane->source.opens > 0 || lane->source.state != MB_PORT_CLOSED ||
        source_may_open(lane, now_ms))
        progress = mb_lane_source_step(lane, now_ms) || progress;
    taken = mb_lane_intake(lane, now_ms);
    progress = outlets_send(lane, now_ms) || progress;
    if (!taken)
        outlets_flush(lane, now_ms);
    if (taken && lane->window.head == lane->window.tail)
        mb_window_trim(&lane->window);
    counters_step(lane);
    rest(lane, now_ms);
    if (lane->phase == MB_LANE_STOPPING) {
        step_stopping(lane, now_ms);
    } else if (limit_is_reached(lane) || mb_replay_is_over(lane) ||
               (lane->drain != NULL && mb_drain_is_done(lane->drain, now_ms))) {
        mb_lane_stop(lane, now_ms + lane->stop_timeout_ms);
    } else if (lane->failed) {
        mb_lane_stop(lane, now_ms + lane->stop_timeout_ms);
    }
    /* Nothing else wakes a lane for what comes with another phase. */
    return progress || taken || lane->phase != phase;
}

void mb_lane_stop(struct mb_lane *lane, int64_t deadline_ms)
{
    /* One that stops by itself may have more time than is left to it now. */
    if (lane->phase == MB_LANE_STOPPING && deadline_ms < lane->stop_deadline_ms)
        lane->stop_deadline_ms = deadline_ms;
    if (lane->phase != MB_LANE_RUNNING)
        return;
    lane->phase = MB_LANE_STOPPING;
    lane->stop_deadline_ms = deadline_ms;
    lane->source.wanted = lane->source.state == MB_PORT_OPEN;
    if (lane->source.state == MB_PORT_OPEN && lane->source_ops->pause != NULL)
        lane->source_ops->pause(lane->source.source, true);
}

uint64_t mb_lane_changes(const struct mb_lane *lane)
{
    uint64_t changes = (uint64_t)lane->source.opens + lane->source.closes;

    for (uint32_t i = 0; i < lane->outlets_count; i++) {
        const struct mb_port *port = &lane->outlets[i].port;

        changes += (uint64_t)port->opens + port->closes;
    }
    return changes;
}

static bool wait_add(const struct mb_wait *wait, int16_t mask,
                     void (*add)(void *context, int fd, int16_t events), void *context,
                     int64_t *deadline_ms)
{
    for (uint32_t i = 0; i < wait->count; i++) {
        if ((wait->fds[i].events & mask) != 0)
            add(context, wait->fds[i].fd, wait->fds[i].events & mask);
    }
    if (wait->deadline_ms < *deadline_ms)
        *deadline_ms = wait->deadline_ms;
    return wait->ready;
}

static void lower(int64_t *deadline_ms, int64_t other_ms)
{
    if (other_ms < *deadline_ms)
        *deadline_ms = other_ms;
}

bool mb_lane_wait(struct mb_lane *lane, void (*add)(void *context, int fd, int16_t events),
                  void *context, int64_t *deadline_ms)
{
    bool reopening = lane->discover != NULL && mb_discover_is_reopening(lane->discover);
    bool gate_open = lane->full_since_ms == 0 && lane->phase == MB_LANE_RUNNING && !reopening;
    /* What may not be taken must not wake the worker either; news of a commit must. */
    int16_t mask = gate_open || lane->uncommitted > 0 ? POLLIN | POLLOUT : POLLOUT;
    bool ready = false;

    if (lane->phase >= MB_LANE_CLOSING)
        return false;
    if (lane->source.state == MB_PORT_OPEN) {
        struct mb_wait wait = {.struct_size = sizeof wait, .deadline_ms = INT64_MAX};

        lane->source_ops->fds(lane->source.source, &wait);
        ready = wait_add(&wait, mask, add, context, deadline_ms) && gate_open;
        if (lane->uncommitted > 0)
            lower(deadline_ms, lane->committed_ms + MB_LANE_COMMIT_MS);
        lower(deadline_ms, lane->revoke_by_ms);
        if (lane->rate_open_ms > 0 && lane->phase == MB_LANE_RUNNING)
            lower(deadline_ms, lane->rate_open_ms);
    }
    for (uint32_t i = 0; i < lane->outlets_count; i++) {
        struct mb_outlet *outlet = &lane->outlets[i];

        lower(deadline_ms, mb_port_deadline_ms(&outlet->port));
        if (outlet->port.state == MB_PORT_OPEN) {
            struct mb_wait wait = {.struct_size = sizeof wait, .deadline_ms = INT64_MAX};

            outlet->ops->fds(outlet->port.sink, &wait);
            ready = wait_add(&wait, POLLIN | POLLOUT, add, context, deadline_ms) || ready;
        }
        if (outlet->phase == MB_OUTLET_WAITING && outlet->port.state == MB_PORT_OPEN)
            lower(deadline_ms, outlet->resume_ms);
    }
    /* Of one that was tried before: until then it waits for the sinks, not for a time. */
    if (lane->source.opens > 0 || lane->source.open_at_ms > 0)
        lower(deadline_ms, mb_port_deadline_ms(&lane->source));
    lower(deadline_ms, mb_transaction_deadline_ms(lane->transaction));
    if (mb_window_is_ample(&lane->window))
        lower(deadline_ms, lane->rest_at_ms);
    if (lane->phase == MB_LANE_STOPPING)
        lower(deadline_ms, lane->stop_deadline_ms);
    if (lane->drain != NULL && lane->phase == MB_LANE_RUNNING && outlets_were_open(lane))
        lower(deadline_ms, mb_drain_deadline_ms(lane->drain));
    if (lane->discover != NULL && lane->source.state == MB_PORT_OPEN &&
        lane->phase == MB_LANE_RUNNING)
        lower(deadline_ms, mb_discover_deadline_ms(lane->discover));
    return ready;
}
