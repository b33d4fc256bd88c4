/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions of the first sink: messages and the source's positions are stored together. */
#include "sink.h"

static void undo(struct mb_sink *sink)
{
    sink->begun = false;
    sink->placed = false;
    sink->staged_count = 0;
    sink->count = 0;
    memset(sink->positions, 0, sizeof sink->positions);
    memset(sink->released, 0, sizeof sink->released);
}

enum mb_status sim_sink_begin(struct mb_sink *sink, struct mb_error *err)
{
    const struct mb_port *port = &sim.lane->outlets[sink->outlet].port;

    /* On the lane's thread, or in a job of its own. */
    sim_sink_op(sink, port->state == MB_PORT_BUSY ? MB_PORT_BUSY : MB_PORT_OPEN, "begin");
    if (sink->begun)
        sim_violate("contract", "a transaction begins within another");
    if (sim_sink_result(sink, err) != MB_OK)
        return err->status;
    sink->begun = true;
    return MB_OK;
}

enum mb_status sim_sink_positions(struct mb_sink *sink, const char *group,
                                  const struct mb_stored_position *positions, size_t count,
                                  struct mb_error *err)
{
    (void)group;
    sim_sink_op(sink, MB_PORT_BUSY, "positions");
    if (!sink->begun)
        sim_violate("contract", "positions outside a transaction");
    for (size_t i = 0; i < count; i++) {
        uint32_t scope = (uint32_t)positions[i].partition;

        if (scope >= sim.shape.scopes)
            sim_violate("contract", "a position of a scope that there is not");
        sink->released[scope] = (positions[i].flags & MB_STORED_RELEASED) != 0;
        if (positions[i].position.kind == MB_POSITION_OFFSET)
            sink->positions[scope] = positions[i].position.lo;
    }
    sink->placed = true;
    return sim_sink_result(sink, err);
}

static void apply(struct mb_sink *sink)
{
    for (uint32_t i = 0; i < sink->staged_count; i++)
        sim_store(sink->outlet, sink->staged[i]);
    sim_trace("a transaction of %u is committed", sink->staged_count);
    for (uint32_t s = 0; s < sim.shape.scopes; s++) {
        if (sink->positions[s] > 0 || sink->released[s])
            sim_stored_position(s, sink->positions[s], sink->released[s]);
    }
}

enum mb_status sim_sink_commit(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err)
{
    (void)timeout_ms;
    sim_sink_op(sink, MB_PORT_BUSY, "commit");
    if (!sink->begun || !sink->placed)
        sim_violate("contract", "a commit without begin and positions");
    if (sink->count > 0)
        sim_violate("contract", "a commit while %u messages are under way", sink->count);
    sim.stats[SIM_COMMITS]++;
    if (sink->fenced)
        return sim_sink_broken(sink, err);
    if (sim_is_rough() && sim_one_in(15)) {
        sim_trace("a commit is refused");
        sim_excuse(SIM_ALL, SIM_ALL);
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_DESTINATION, "commit", "commit");
    }
    if (sim_is_rough() && sim.shape.sink_break_ms > 0 && sim_one_in(10)) {
        if (sim_one_in(2))
            apply(sink);
        undo(sink);
        return sim_sink_broken(sink, err);
    }
    apply(sink);
    undo(sink);
    return MB_OK;
}

/* What is under way is undone with it: nothing of it completes. */
enum mb_status sim_sink_abort(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err)
{
    (void)timeout_ms;
    sim_sink_op(sink, MB_PORT_BUSY, "abort");
    if (!sink->begun)
        sim_violate("contract", "an abort outside a transaction");
    sim_trace("a transaction of %u is aborted", sink->staged_count);
    sim.stats[SIM_ABORTS]++;
    undo(sink);
    return sim_sink_result(sink, err);
}

enum mb_status sim_sink_load_positions(struct mb_sink *sink, const char *group,
                                       struct mb_stored_position *positions, size_t count,
                                       uint32_t timeout_ms, struct mb_error *err)
{
    (void)group;
    (void)timeout_ms;
    sim_sink_op(sink, MB_PORT_BUSY, "load_positions");
    if (sink->begun)
        sim_violate("contract", "positions are loaded within a transaction");
    if (sim_is_rough() && sim_one_in(30))
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout", "timeout");
    for (size_t i = 0; i < count; i++) {
        uint32_t scope = (uint32_t)positions[i].partition;

        if (scope >= sim.shape.scopes)
            sim_violate("contract", "the position of a scope that there is not");
        positions[i].position = (struct mb_position){.kind = MB_POSITION_NONE};
        if (sim.scopes[scope].position > 0)
            positions[i].position =
                (struct mb_position){.kind = MB_POSITION_OFFSET, .lo = sim.scopes[scope].position};
        sim.scopes[scope].released = false;
    }
    return sim_sink_result(sink, err);
}
