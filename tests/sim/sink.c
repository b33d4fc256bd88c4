/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instances of a sink. What is written arrives after a time, in order within a partition of the
 * destination, and is answered later still, in any order.
 */
#include "sink.h"

#include <poll.h>
#include <stdlib.h>

#define FD_FIRST 100000

/* ---- at the broker ---- */

/* What is stored says that everything before it is done with: so nothing overtakes, and what was
 * stored before is left out. */
static void judge_repeat(struct sim_item *item, const struct sim_message *message)
{
    uint64_t position = sim.scopes[message->scope].position;

    if (message->offset <= position && item->cause != MB_CAUSE_MESSAGE) {
        item->cause = MB_CAUSE_NONE;
        item->stored = false;
    } else if (item->before > position && item->stored) {
        item->cause = MB_CAUSE_DESTINATION;
        item->reason = "gap";
        item->stored = false;
    }
}

static void settle_item(struct mb_sink *sink, struct sim_item *item)
{
    const struct sim_message *message = &sim.messages[item->body.index];
    bool leaves_out = sim.shape.leaves_out && sink->outlet == 0;

    item->settled = true;
    if (leaves_out)
        judge_repeat(item, message);
    if (item->stored && sim_is_transactional(sink->outlet))
        sink->staged[sink->staged_count++] = item->body.index;
    else if (item->stored)
        sim_store(sink->outlet, item->body.index);
    else if (item->cause == MB_CAUSE_NONE)
        return;
    else if (item->cause != MB_CAUSE_MESSAGE || sim.shape.on_reject == MB_REJECT_STOP)
        sim.scopes[message->scope].refused |= 1u << sink->outlet;
    if (leaves_out && item->stored)
        sim_stored_position(message->scope, message->offset, true);
}

static void sink_settle(struct mb_sink *sink, int64_t until_ms)
{
    for (uint32_t i = 0; i < sink->count; i++) {
        struct sim_item *item = &sink->items[i];

        if (item->written && !item->settled && item->store_ms <= until_ms)
            settle_item(sink, item);
    }
}

void sim_sinks_settle(void)
{
    for (struct mb_sink *sink = sim.sinks; sink != NULL; sink = sink->next) {
        if (!sink->closed && !sink->ended)
            sink_settle(sink, sim.now_ms);
    }
}

bool sim_sinks_hold(uint32_t outlet, uint32_t scope)
{
    for (struct mb_sink *sink = sim.sinks; sink != NULL; sink = sink->next) {
        for (uint32_t i = 0; i < sink->count && !sink->closed && !sink->ended; i++) {
            if (sink->outlet == outlet && !sink->items[i].settled &&
                sim.messages[sink->items[i].body.index].scope == scope)
                return true;
        }
    }
    return false;
}

/* What is under way is stored or not: some of it was further than its time says. */
static void sink_end(struct mb_sink *sink)
{
    sink_settle(sink, sim.now_ms + (int64_t)sim_below(sim.shape.latency_ms + 1));
    sim.stats[SIM_SINK_BREAKS]++;
    sim_trace("outlet %u breaks with %u under way", sink->outlet, sink->count);
    sink->ended = true;
    sink->count = 0;
    /* One that stores positions tells the source where to begin again. */
    sim_excuse(SIM_ALL, sim_is_transactional(sink->outlet) ? SIM_ALL : sink->outlet);
}

void sim_sinks_crash(void)
{
    for (struct mb_sink *sink = sim.sinks; sink != NULL; sink = sink->next) {
        if (!sink->closed && !sink->ended)
            sink_end(sink);
        sink->closed = true;
    }
}

bool sim_sinks_are_closed(void)
{
    for (const struct mb_sink *sink = sim.sinks; sink != NULL; sink = sink->next) {
        if (!sink->closed)
            return false;
    }
    return true;
}

void sim_sink_fence(void)
{
    for (struct mb_sink *sink = sim.sinks; sink != NULL; sink = sink->next) {
        if (!sink->closed && sim_is_transactional(sink->outlet))
            sink->fenced = true;
    }
}

static bool is_full(const struct mb_sink *sink, int64_t at_ms)
{
    return sim_is_rough() && at_ms >= sim.full_at_ms[sink->outlet] &&
           at_ms < sim.full_until_ms[sink->outlet];
}

static void refuse(struct sim_item *item)
{
    item->cause = sim_one_in(4) ? MB_CAUSE_CONNECTION : MB_CAUSE_DESTINATION;
    item->stored = item->cause == MB_CAUSE_CONNECTION && sim_one_in(2);
    item->reason = "refused";
}

static void write_item(struct mb_sink *sink, struct sim_item *item)
{
    const struct sim_message *message = &sim.messages[item->body.index];
    uint32_t partition = sim.shape.leaves_out ? 0 : message->key;
    int64_t store_ms = sim.now_ms + (int64_t)sim_below(sim.shape.latency_ms + 1);

    if (store_ms < sink->last_store_ms[partition])
        store_ms = sink->last_store_ms[partition];
    sink->last_store_ms[partition] = store_ms;
    item->written = true;
    item->store_ms = store_ms;
    item->answer_ms = store_ms + (int64_t)sim_below(sim.shape.latency_ms + 1);
    item->cause = MB_CAUSE_NONE;
    item->stored = true;
    if ((message->poison & 1u << sink->outlet) != 0) {
        item->cause = MB_CAUSE_MESSAGE;
        item->reason = "poison";
        item->stored = false;
    } else if (is_full(sink, store_ms)) {
        item->cause = MB_CAUSE_DESTINATION;
        item->reason = "full";
        item->stored = false;
    } else if (sim.missing[sink->outlet]) {
        item->cause = MB_CAUSE_DESTINATION;
        item->reason = "missing";
        item->stored = false;
    } else if (sim_is_rough() && sim_one_in(sim.shape.refuse_one_in)) {
        refuse(item);
        if (sim.shape.create && sink->outlet != sim_dead_outlet() && sim_one_in(3) &&
            item->cause == MB_CAUSE_DESTINATION) {
            sim.missing[sink->outlet] = true;
            item->reason = "missing";
        }
    }
}

static void write_all(struct mb_sink *sink)
{
    for (uint32_t i = 0; i < sink->count; i++) {
        if (!sink->items[i].written)
            write_item(sink, &sink->items[i]);
    }
    sink->linger_until_ms = SIM_NEVER;
}

/* ---- operations ---- */

void sim_sink_op(const struct mb_sink *sink, enum mb_port_state state, const char *name)
{
    const struct mb_port *port = &sim.lane->outlets[sink->outlet].port;

    if (sink->closed)
        sim_violate("contract", "sink %s after close", name);
    if (sink->ended)
        sim_violate("contract", "sink %s after the end of its life", name);
    if (port->state != state || port->sink != sink)
        sim_violate("contract", "sink %s while another has it", name);
}

static void op_begins(const struct mb_sink *sink, const char *name)
{
    sim_sink_op(sink, MB_PORT_OPEN, name);
}

enum mb_status sim_sink_broken(struct mb_sink *sink, struct mb_error *err)
{
    sink_end(sink);
    return mb_error_set(err, MB_DISCONNECTED,
                        sim_one_in(4) ? MB_CAUSE_DESTINATION : MB_CAUSE_CONNECTION, "reset",
                        "reset");
}

enum mb_status sim_sink_result(struct mb_sink *sink, struct mb_error *err)
{
    bool breaks = sim_is_rough() && sim.now_ms >= sink->ends_ms && !sim_one_in(3);

    return breaks || sink->fenced ? sim_sink_broken(sink, err) : MB_OK;
}

static uint64_t traits(const void *endpoint, const void *options)
{
    const struct sim_sink_options *own = options;

    (void)endpoint;
    if (sim_is_transactional((uint32_t)own->outlet))
        return MB_SINK_TRANSACTIONS | MB_SINK_STORES_POSITIONS;
    return sim.shape.leaves_out && own->outlet == 0 ? MB_SINK_DEDUPLICATES : 0;
}

static enum mb_status sink_open(const struct mb_open_params *params, struct mb_sink **ret_sink,
                                struct mb_error *err)
{
    const struct sim_sink_options *options = params->options;
    uint32_t outlet = (uint32_t)options->outlet;
    struct mb_sink *sink;

    for (sink = sim.sinks; sink != NULL; sink = sink->next) {
        if (sink->outlet == outlet && !sink->closed)
            sim_violate("contract", "a second sink is opened before the first is closed");
    }
    if (sim_is_rough() && sim_one_in(sim.shape.open_fails_one_in)) {
        sim.stats[SIM_OPEN_FAILURES]++;
        sim_trace("outlet %u does not open", outlet);
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "refused", "refused");
    }
    sink = sim_calloc(1, sizeof *sink);
    sink->outlet = outlet;
    sink->fd = FD_FIRST + (sim.sinks != NULL ? sim.sinks->fd - FD_FIRST + 1 : 0);
    sink->flight_max = sim_one_in(2) ? SIM_FLIGHT_MAX : 1 + (uint32_t)sim_below(20);
    sink->ends_ms = sim_after(sim.shape.sink_break_ms);
    sink->linger_until_ms = SIM_NEVER;
    sink->next = sim.sinks;
    sim.sinks = sink;
    *ret_sink = sink;
    sim_trace("outlet %u opens", outlet);
    return MB_OK;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    op_begins(sink, "fds");
    wait->fds[wait->count].fd = sink->fd;
    wait->fds[wait->count].events = POLLIN;
    if (sink->blocked_until_ms > sim.now_ms)
        wait->fds[wait->count].events |= POLLOUT;
    wait->count++;
    if (sink->linger_until_ms < wait->deadline_ms)
        wait->deadline_ms = sink->linger_until_ms;
}

int64_t sim_sink_ready_ms(int fd, int16_t events)
{
    const struct mb_sink *sink = sim.sinks;
    int64_t ready_ms;

    while (sink != NULL && sink->fd != fd)
        sink = sink->next;
    if (sink == NULL)
        return SIM_NEVER;
    ready_ms = sim_is_rough() ? sink->ends_ms : SIM_NEVER;
    if ((events & POLLOUT) != 0 && sink->blocked_until_ms < ready_ms)
        ready_ms = sink->blocked_until_ms;
    for (uint32_t i = 0; i < sink->count; i++) {
        if (sink->items[i].written && sink->items[i].answer_ms < ready_ms)
            ready_ms = sink->items[i].answer_ms;
    }
    return ready_ms;
}

static void take_item(struct mb_sink *sink, const struct mb_outgoing *outgoing)
{
    struct sim_item *item = &sink->items[sink->count];
    const struct sim_body *body = sim_body_of(outgoing->message);
    uint64_t before = 0;

    for (uint32_t i = 0; i < sink->count; i++) {
        if (sink->items[i].sequence == outgoing->sequence)
            sim_violate("contract", "sequence %llu is sent twice at once",
                        (unsigned long long)outgoing->sequence);
    }
    sim_check_send(sink->outlet, body);
    for (uint32_t i = 0; i < sink->count; i++) {
        const struct sim_message *other = &sim.messages[sink->items[i].body.index];

        if (other->scope == sim.messages[body->index].scope && other->offset > before)
            before = other->offset;
    }
    *item = (struct sim_item){.sequence = outgoing->sequence,
                              .message = outgoing->message,
                              .body = *body,
                              .before = before};
    sink->count++;
    if (!sim.shape.lingers)
        write_item(sink, item);
    else if (sink->linger_until_ms == SIM_NEVER)
        sink->linger_until_ms = sim.now_ms + 1 + (int64_t)sim_below(200);
}

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    op_begins(sink, "send");
    if (sim_is_transactional(sink->outlet) && !sink->begun)
        sim_violate("contract", "outlet %u is sent messages outside a transaction", sink->outlet);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && items[i].sequence <= items[i - 1].sequence)
            sim_violate("contract", "sequences do not increase from item to item");
        if (sink->blocked_until_ms > sim.now_ms)
            return MB_AGAIN;
        if (sink->count >= sink->flight_max || sim_one_in(60)) {
            if (sink->count < sink->flight_max)
                sink->blocked_until_ms = sim.now_ms + 1 + (int64_t)sim_below(20);
            write_all(sink);
            return MB_AGAIN;
        }
        take_item(sink, &items[i]);
        (*ret_taken)++;
    }
    sim_trace("outlet %u takes %u", sink->outlet, (unsigned)*ret_taken);
    return sim_sink_result(sink, err);
}

static void check_memory(const struct sim_item *item)
{
    const struct sim_body *body = sim_body_of(item->message);

    if (memcmp(body, &item->body, sizeof *body) != 0)
        sim_violate("contract", "message %u changed while a sink had it", item->body.index);
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    uint32_t most = sim_one_in(2) ? SIM_FLIGHT_MAX : 1 + (uint32_t)sim_below(8);

    op_begins(sink, "completions");
    sink_settle(sink, sim.now_ms);
    for (uint32_t i = 0; i < sink->count && *ret_count < max && *ret_count < most;) {
        struct sim_item *item = &sink->items[i];

        if (!item->settled || item->answer_ms > sim.now_ms) {
            i++;
            continue;
        }
        check_memory(item);
        completions[(*ret_count)++] = (struct mb_completion){.sequence = item->sequence,
                                                             .cause = item->cause,
                                                             .partition = -1,
                                                             .reason = item->reason,
                                                             .text = item->reason};
        sim_completed(sink->outlet, &item->body, item->cause);
        sink->count--;
        memmove(item, item + 1, (sink->count - i) * sizeof *item);
    }
    return sim_sink_result(sink, err);
}

static enum mb_status sink_flush(struct mb_sink *sink, struct mb_error *err)
{
    op_begins(sink, "flush");
    if (sim_sink_result(sink, err) != MB_OK)
        return err->status;
    if (sim_one_in(30))
        return MB_AGAIN;
    write_all(sink);
    return MB_OK;
}

static enum mb_status sink_service(struct mb_sink *sink, struct mb_error *err)
{
    op_begins(sink, "service");
    if (sim_sink_result(sink, err) != MB_OK)
        return err->status;
    if (sim.now_ms >= sink->linger_until_ms)
        write_all(sink);
    return MB_OK;
}

static void sink_close(struct mb_sink *sink)
{
    if (sink->closed)
        sim_violate("contract", "a sink is closed twice");
    if (!sink->ended && sim.lane->phase < MB_LANE_CLOSING)
        sim_excuse(SIM_ALL, sink->outlet);
    if (!sink->ended) {
        for (uint32_t i = 0; i < sink->count; i++)
            check_memory(&sink->items[i]);
        sink_settle(sink, sim.now_ms + (int64_t)sim_below(sim.shape.latency_ms + 1));
    }
    sim_trace("outlet %u is closed with %u under way", sink->outlet, sink->count);
    sink->count = 0;
    sink->closed = true;
}

void sim_sinks_release(void)
{
    while (sim.sinks != NULL) {
        struct mb_sink *sink = sim.sinks;

        sim.sinks = sink->next;
        free(sink);
    }
}

const struct mb_sink_ops sim_sink_ops = {
    .struct_size = sizeof sim_sink_ops,
    .traits = traits,
    .open = sink_open,
    .fds = sink_fds,
    .send = sink_send,
    .completions = sink_completions,
    .flush = sink_flush,
    .service = sink_service,
    .close = sink_close,
    .begin = sim_sink_begin,
    .positions = sim_sink_positions,
    .commit = sim_sink_commit,
    .abort = sim_sink_abort,
    .load_positions = sim_sink_load_positions,
};
