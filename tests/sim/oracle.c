/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the brokers hold, and the judgement. Invariants:
 *   I1 nothing lost          I3 duplicates only where a fault excuses them, message by message
 *   I4 order                 I5 the counters add up and agree with what the brokers saw
 *   I6 the window is kept    I7 it drains and ends in bounded time
 *   I8 nothing is acknowledged before every sink's completion (or the dead letter's)
 */
#include "sim.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define ALL   UINT32_MAX
#define MAGIC 0x6d627369u

void sim_trace(const char *format, ...)
{
    va_list args;

    if (!sim.trace)
        return;
    printf("%9.3f  ", (double)sim.now_ms / 1000.0);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

void sim_trace_shape(void)
{
    static const char *const kinds[] = {"log with commits", "log", "queue",
                                        "queue, acknowledged singly"};
    const struct sim_shape *shape = &sim.shape;

    sim_trace("%s, %u scopes, %u messages, %u keys, %u sinks%s%s%s%s", kinds[shape->kind],
              shape->scopes, sim.messages_count, shape->keys, shape->sinks,
              shape->dead_letter ? ", dead letters" : "",
              shape->on_reject == MB_REJECT_STOP ? ", stops on reject" : "",
              shape->order == MB_ORDER_NONE ? ", no order" : "", shape->create ? ", create" : "");
    sim_trace("%s", shape->leaves_out ? "effectively once, the sink leaves out what it has"
                    : shape->exactly  ? "effectively once, in transactions"
                                      : "at least once");
    sim_trace("window %u messages %lld bytes, rate %u, attempts %u, one in %u poison",
              shape->window_messages, (long long)shape->window_bytes, shape->rate_messages,
              shape->retry_attempts, shape->poison_one_in);
}

void sim_violate(const char *invariant, const char *format, ...)
{
    va_list args;

    printf("seed %llu: %s: ", (unsigned long long)sim.seed, invariant);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf(" (at %lld ms)\n", (long long)sim.now_ms);
    fflush(stdout);
    _exit(3);
}

/* ---- bodies ---- */

static uint32_t check_of(uint32_t index, uint32_t generation)
{
    return (index * 2654435761u) ^ (generation * 40503u) ^ (uint32_t)sim.seed;
}

void sim_body_fill(struct sim_body *body, uint32_t index)
{
    uint32_t generation = sim.messages[index].generation;

    *body = (struct sim_body){.magic = MAGIC,
                              .index = index,
                              .generation = generation,
                              .check = check_of(index, generation)};
}

const struct sim_body *sim_body_of(const struct mb_message *message)
{
    const struct sim_body *body = message->body.data;

    if (message->body.size < sizeof *body || body->magic != MAGIC ||
        body->index >= sim.messages_count ||
        body->check != check_of(body->index, body->generation) ||
        message->body.size != sim.messages[body->index].size)
        sim_violate("I2", "a message is not as the source wrote it");
    return body;
}

/* ---- what is allowed ---- */

uint32_t sim_dead_outlet(void)
{
    return sim.shape.sinks;
}

bool sim_is_expired(const struct sim_message *message)
{
    return message->expires_ms > 0 && sim_wall_ms() >= message->expires_ms;
}

static bool is_dropped(const struct sim_message *message)
{
    return message->filtered || message->gone || sim_is_expired(message);
}

/* Why it may be in the dead letters instead of a sink. */
static bool may_be_buried(const struct sim_message *message, uint32_t outlet)
{
    return message->unreadable || (message->poison & 1u << outlet) != 0 ||
           sim.shape.retry_attempts > 0;
}

void sim_check_send(uint32_t outlet, const struct sim_body *body)
{
    const struct sim_message *message = &sim.messages[body->index];
    bool is_current = message->taken && message->generation == body->generation;

    if (sim_source_scope_is_loose(message->scope))
        return;
    if (!is_current)
        sim_violate("contract", "message %u is sent to outlet %u, but not held any more",
                    body->index, outlet);
    if (message->told)
        sim_violate("I3", "message %u is sent to outlet %u after it was acknowledged", body->index,
                    outlet);
    if (outlet == sim_dead_outlet())
        return;
    if (message->filtered || message->unreadable)
        sim_violate("contract", "message %u is sent, but was to be dropped", body->index);
    if ((message->refused & 1u << outlet) != 0)
        sim_violate("contract", "message %u is sent to outlet %u, which can never have it",
                    body->index, outlet);
}

/* I8. In this holding of the message every sink has answered for it. */
void sim_check_ack(uint32_t index)
{
    const struct sim_message *message = &sim.messages[index];
    bool is_buried = (message->confirmed & 1u << sim_dead_outlet()) != 0 && sim.shape.dead_letter;

    if (is_dropped(message))
        return;
    for (uint32_t outlet = 0; outlet < sim.shape.sinks; outlet++) {
        if ((message->confirmed & 1u << outlet) != 0 &&
            (!sim.shape.exactly || message->stored[outlet] > 0))
            continue;
        /* What was buried before is passed by the stored position, and counts as a repeat. */
        if ((is_buried || (sim.shape.leaves_out && message->stored[sim_dead_outlet()] > 0)) &&
            may_be_buried(message, outlet))
            continue;
        sim_violate("I8", "message %u is acknowledged, but outlet %u has not confirmed it", index,
                    outlet);
    }
}

static void check_safe(uint32_t index)
{
    const struct sim_message *message = &sim.messages[index];

    if (is_dropped(message))
        return;
    for (uint32_t outlet = 0; outlet < sim.shape.sinks; outlet++) {
        if (message->stored[outlet] == 0 &&
            (message->stored[sim_dead_outlet()] == 0 || !may_be_buried(message, outlet)))
            sim_violate("I1", "message %u is lost: acknowledged, and not at outlet %u", index,
                        outlet);
    }
}

/* ---- what happens ---- */

void sim_broker_acked(uint32_t index)
{
    struct sim_message *message = &sim.messages[index];

    check_safe(index);
    sim.stats[SIM_FILTERED] += message->filtered ? 1 : 0;
    sim.stats[SIM_EXPIRED] += sim_is_expired(message) && message->stored[0] == 0 ? 1 : 0;
    message->acked = true;
    message->taken = false;
}

/* First occurrences are in order, unless the sink itself refused something; or it had expired,
 * which it has not when it is taken again. */
static void check_order(uint32_t outlet, const struct sim_message *message)
{
    struct sim_scope *scope = &sim.scopes[message->scope];
    uint32_t *highest = &scope->highest[outlet][message->key];

    if (message->place + 1 < *highest) {
        if (sim.shape.order == MB_ORDER_KEY &&
            ((scope->refused & 1u << outlet) == 0 || sim.shape.exactly) && message->ttl_ms == 0)
            sim_violate("I4", "outlet %u has message %u of scope %u behind message %u", outlet,
                        message->place, message->scope, *highest - 1);
        return;
    }
    *highest = message->place + 1;
}

void sim_store(uint32_t outlet, uint32_t index)
{
    struct sim_message *message = &sim.messages[index];

    message->last_at[outlet] = ++sim.position;
    sim.stats[SIM_STORED]++;
    sim_trace("outlet %u stores message %u of scope %u", outlet, message->place, message->scope);
    if (message->stored[outlet]++ == 0) {
        if (outlet == sim_dead_outlet())
            sim.stats[SIM_BURIED]++;
        else
            check_order(outlet, message);
    } else {
        sim.stats[SIM_DUPLICATES]++;
    }
    if (message->stored[outlet] > 1 && sim.shape.exactly && outlet != sim_dead_outlet())
        sim_violate("I3", "message %u is in the destination twice, effectively once was promised",
                    index);
    if (message->stored[outlet] > 1 + message->excuse[outlet])
        sim_violate("I3", "outlet %u has message %u %u times, after %u faults that excuse it",
                    outlet, index, message->stored[outlet], message->excuse[outlet]);
    if (outlet == sim_dead_outlet() && !message->unreadable && message->poison == 0 &&
        sim.shape.retry_attempts == 0)
        sim_violate("I1", "message %u is in the dead letters without a reason", index);
}

void sim_stored_position(uint32_t scope_id, uint64_t position, bool released)
{
    struct sim_scope *scope = &sim.scopes[scope_id];

    scope->released = released;
    if (position == 0)
        return;
    if (position < scope->position)
        sim_violate("I1", "the stored position of scope %u goes back", scope_id);
    for (uint32_t i = 0; i < scope->count; i++) {
        struct sim_message *message = &sim.messages[scope->first + i];

        if (message->offset <= scope->position || message->offset > position)
            continue;
        /* What is stored may have been sent by a holding in which this one had expired. */
        if (!message->lapsed)
            check_safe(scope->first + i);
        message->gone = message->lapsed || sim_is_expired(message);
    }
    scope->position = position;
}

void sim_completed(uint32_t outlet, const struct sim_body *body, enum mb_cause cause)
{
    struct sim_message *message = &sim.messages[body->index];
    bool is_current = message->taken && message->generation == body->generation;

    if (cause == MB_CAUSE_NONE) {
        sim.life_confirmed[outlet]++;
        if (is_current)
            message->confirmed |= 1u << outlet;
        return;
    }
    sim.stats[SIM_REFUSED]++;
    sim_trace("outlet %u refuses message %u, cause %d", outlet, body->index, (int)cause);
    if (cause == MB_CAUSE_MESSAGE) {
        if (is_current)
            message->refused |= 1u << outlet;
        return;
    }
    /* What stood behind it in the pipeline is sent again with it. */
    /* A sink that stores positions, and is opened anew for this, has the source begin again. */
    if (sim.shape.exactly)
        sim_excuse(ALL, ALL);
    else
        sim_excuse(message->scope, outlet);
}

/* Dead letters are no part of a transaction: the source gives them out again from where the sink
 * stands, whatever it was told. */
static bool is_at_risk(const struct sim_message *message)
{
    if (sim.shape.exactly && !sim.shape.leaves_out)
        return message->generation > 0 && message->offset > sim.scopes[message->scope].position;
    return message->taken && !message->acked;
}

void sim_excuse(uint32_t scope, uint32_t outlet)
{
    for (uint32_t i = 0; i < sim.messages_count; i++) {
        struct sim_message *message = &sim.messages[i];

        if (!is_at_risk(message) || (scope != ALL && message->scope != scope))
            continue;
        for (uint32_t k = 0; k < SIM_OUTLETS_MAX; k++)
            message->excuse[k] += outlet == ALL || outlet == k ? 1 : 0;
    }
}

void sim_give_back(uint32_t scope)
{
    for (uint32_t i = 0; i < sim.messages_count; i++) {
        struct sim_message *message = &sim.messages[i];

        if (message->acked || (scope != ALL && message->scope != scope))
            continue;
        message->taken = false;
        message->told = false;
    }
}

/* A member as it should be: what it takes is at every sink at once. */
void sim_takeover(uint32_t scope_id)
{
    struct sim_scope *scope = &sim.scopes[scope_id];
    uint32_t count = 1 + (uint32_t)sim_below(20);

    sim.stats[SIM_TAKEOVERS]++;
    sim_trace("another member works on scope %u", scope_id);
    sim_sinks_settle();
    if (sim.shape.exactly && !sim.shape.leaves_out && !scope->released)
        sim_sink_fence();
    for (uint32_t k = 0; k < sim.shape.sinks; k++)
        scope->blurred |= sim_sinks_hold(k, scope_id) ? 1u << k : 0;
    for (uint32_t i = 0; i < scope->count && count > 0; i++) {
        uint32_t index = scope->first + i;
        struct sim_message *message = &sim.messages[index];

        if (sim_is_done(message))
            continue;
        if (message->appears_ms > sim.now_ms)
            return;
        if ((message->unreadable || message->poison != 0) &&
            (!sim.shape.dead_letter || sim.shape.on_reject == MB_REJECT_STOP))
            return;
        count--;
        for (uint32_t k = 0; k < sim.shape.sinks && !message->filtered; k++) {
            if (!message->unreadable && (message->poison & 1u << k) == 0)
                sim_store(k, index);
        }
        if (message->unreadable || message->poison != 0)
            sim_store(sim_dead_outlet(), index);
        if (sim.shape.exactly)
            sim_stored_position(scope_id, message->offset, true);
        sim_broker_acked(index);
    }
}

/* ---- the frontier ---- */

static void observe_started(void *context, const struct mb_scope *scope)
{
    (void)context;
    sim.scopes[scope->id].passed = 0;
}

static void observe_passed(void *context, const struct mb_scope *scope,
                           const struct mb_message *message, const struct mb_position *destination)
{
    const struct sim_body *body = sim_body_of(message);
    uint32_t place = sim.messages[body->index].place;

    (void)context;
    (void)destination;
    if (sim_source_scope_is_loose(scope->id))
        return;
    if (place < sim.scopes[scope->id].passed)
        sim_violate("I4", "the frontier of scope %u passes message %u behind a later one",
                    scope->id, place);
    sim.scopes[scope->id].passed = place + 1;
    sim_check_ack(body->index);
}

const struct mb_observer sim_observer = {.scope_started = observe_started,
                                         .passed = observe_passed};

/* ---- judgement over time ---- */

void sim_check_window(void)
{
    const struct mb_window *window = &sim.lane->window;
    uint64_t limit = sim.shape.window_messages;
    uint64_t bytes_limit =
        (uint64_t)sim.shape.window_bytes +
        MB_LANE_BATCH_MAX * (sizeof(struct mb_message) + sizeof(struct mb_entry)) +
        sim.shape.padding + 4096;

    if (mb_window_count(window) > limit)
        sim_violate("I6", "%llu messages in a window of %llu",
                    (unsigned long long)mb_window_count(window), (unsigned long long)limit);
    if (window->bytes > bytes_limit)
        sim_violate("I6", "%llu bytes in a window of %llu", (unsigned long long)window->bytes,
                    (unsigned long long)sim.shape.window_bytes);
}

/* What the brokers count as open is no more than the window: that bounds duplicates. */
static void check_open_messages(uint32_t open)
{
    bool commits = sim.shape.kind == SIM_LOG_COMMITS;
    uint32_t told = 0;

    for (uint32_t i = 0; i < sim.messages_count && !commits; i++)
        told += sim.messages[i].taken && sim.messages[i].told ? 1 : 0;
    if (open - told > sim.shape.window_messages)
        sim_violate("I6", "%u messages are open at the source, the window is %u", open - told,
                    sim.shape.window_messages);
}

void sim_check_open(void)
{
    uint32_t open = 0;

    for (uint32_t i = 0; i < sim.messages_count; i++)
        open += sim.messages[i].taken && sim_source_has(sim.messages[i].scope) ? 1 : 0;
    if (open > sim.shape.window_messages)
        check_open_messages(open);
}

void sim_check_closed(void)
{
    const struct mb_counters *counters = &sim.counters;
    uint64_t received = mb_counter_get(&counters->received);
    uint64_t sum = mb_counter_get(&counters->delivered) + mb_counter_get(&counters->dead_lettered) +
                   mb_counter_get(&counters->filtered) + mb_counter_get(&counters->released) +
                   mb_counter_get(&counters->expired);

    if (received != sum)
        sim_violate("I5", "%llu received, but %llu accounted for", (unsigned long long)received,
                    (unsigned long long)sum);
    if (received > sim.life_taken || (received < sim.life_taken && !sim.alloc_failed))
        sim_violate("I5", "%u handed out, %llu received", sim.life_taken,
                    (unsigned long long)received);
    for (uint32_t k = 0; k < sim.shape.sinks; k++) {
        uint64_t confirmed = mb_counter_get(&counters->confirmed[sim.shape.sinks_before + k]);

        if (sim.shape.exactly ? confirmed > sim.life_confirmed[k]
                              : confirmed != sim.life_confirmed[k])
            sim_violate("I5", "outlet %u confirmed %u, counted are %llu", k, sim.life_confirmed[k],
                        (unsigned long long)confirmed);
    }
    if (mb_counter_get(&counters->in_flight) != 0)
        sim_violate("I5", "messages are in flight after the end");
}

void sim_check_instances(void)
{
    if (!sim_sources_are_closed() || !sim_sinks_are_closed())
        sim_violate("contract", "the lane is closed, an instance of it is not");
}

bool sim_is_done(const struct sim_message *message)
{
    return message->acked ||
           (sim.shape.exactly && message->offset <= sim.scopes[message->scope].position);
}

bool sim_all_done(void)
{
    for (uint32_t i = 0; i < sim.messages_count; i++) {
        if (!sim_is_done(&sim.messages[i]))
            return false;
    }
    return true;
}

/* Where a sink refused something, what it holds in the end is in order. An acknowledgement that
 * memory was out for brings back a message alone, behind those that were told after it. */
static void check_last(uint32_t outlet, uint32_t scope_id)
{
    const struct sim_scope *scope = &sim.scopes[scope_id];
    uint64_t last_at[SIM_KEYS_MAX] = {0};

    if ((scope->refused & ~scope->blurred & 1u << outlet) == 0 ||
        (sim.shape.kind == SIM_QUEUE_SINGLY && sim.shape.alloc_fails_one_in > 0))
        return;
    for (uint32_t i = 0; i < scope->count; i++) {
        const struct sim_message *message = &sim.messages[scope->first + i];

        /* What expires or is buried the second time is at its first place still. */
        if (message->stored[outlet] == 0 || message->ttl_ms > 0 ||
            message->stored[sim_dead_outlet()] > 0)
            continue;
        if (message->last_at[outlet] < last_at[message->key])
            sim_violate("I4", "outlet %u ends with message %u of scope %u before an earlier one",
                        outlet, message->place, scope_id);
        last_at[message->key] = message->last_at[outlet];
    }
}

void sim_check_end(void)
{
    for (uint32_t i = 0; i < sim.messages_count; i++) {
        if (!sim_is_done(&sim.messages[i]))
            sim_violate("I7", "the end, but message %u of scope %u is still at the source",
                        sim.messages[i].place, sim.messages[i].scope);
        check_safe(i);
    }
    for (uint32_t k = 0; k < sim.shape.sinks && sim.shape.order == MB_ORDER_KEY; k++) {
        for (uint32_t s = 0; s < sim.shape.scopes; s++)
            check_last(k, s);
    }
}
