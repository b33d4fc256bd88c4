/* SPDX-License-Identifier: Apache-2.0 */
/* Scopes that come and go: by notice, without it, and to a new epoch. */
#include "source.h"

bool sim_source_scope_is_loose(uint32_t scope)
{
    return sim.sources != NULL && sim.sources->scopes[scope].loose;
}

bool sim_source_has(uint32_t scope)
{
    return sim.sources != NULL && sim.sources->scopes[scope].hold == SIM_STARTED;
}

/* What was told of the scope is stored, or lost: commit_stored if the commits that are under way
 * are stored all the same. */
static void settle_scope(struct mb_source *source, uint32_t scope, bool stored, bool commit_stored)
{
    uint32_t under_way =
        source->commits_count > 0 ? source->commits[source->commits_count - 1].count : 0;
    uint32_t kept = 0;
    uint32_t next = 0; /* the first commit that goes beyond the message */

    for (uint32_t i = 0; i < source->pending_count; i++) {
        uint32_t index = source->pending[i];

        while (next < source->commits_count && source->commits[next].count <= i)
            source->commits[next++].count = kept;
        if (sim.messages[index].scope != scope)
            source->pending[kept++] = index;
        else if (stored || (commit_stored && i < under_way))
            sim_broker_acked(index);
    }
    while (next < source->commits_count)
        source->commits[next++].count = kept;
    source->pending_count = kept;
}

void sim_source_raise(struct mb_source *source, enum mb_event_kind kind, uint32_t scope,
                      uint32_t epoch, int64_t deadline_ms)
{
    struct mb_event event = {.struct_size = sizeof event,
                             .kind = kind,
                             .scope = scope,
                             .epoch = epoch,
                             .deadline_ms = (uint32_t)deadline_ms,
                             .partition = sim_is_log() ? (int32_t)scope : -1,
                             .partitions_count = sim_is_log() ? (int32_t)sim.shape.scopes : 0,
                             .stream = MB_SLICE_LITERAL(SIM_STREAM)};

    source->host->event(source->host->context, &event);
}

static void assign(struct mb_source *source, uint32_t scope)
{
    struct sim_held *held = &source->scopes[scope];

    held->hold = SIM_ASSIGNED;
    held->epoch = ++sim.scopes[scope].epoch;
    held->tag = 0;
    held->told = 0;
    held->next_ms = sim_after(sim.shape.scope_change_ms);
    sim_trace("scope %u is assigned, epoch %u", scope, held->epoch);
    sim_source_raise(source, MB_EVENT_SCOPE_ASSIGNED, scope, held->epoch, 0);
}

/* The scope goes, with or without notice. Others may work on it then. */
static void leave(struct mb_source *source, uint32_t scope, bool clean)
{
    struct sim_held *held = &source->scopes[scope];

    if (!clean)
        sim_excuse(scope, SIM_ALL);
    sim_give_back(scope);
    held->hold = SIM_NOT_HELD;
    held->next_ms = sim.now_ms + (int64_t)sim_below(800);
    if (sim_is_rough() && sim_one_in(3))
        sim_takeover(scope);
}

static void take_away(struct mb_source *source, uint32_t scope, bool in_poll)
{
    struct sim_held *held = &source->scopes[scope];

    settle_scope(source, scope, false, sim_one_in(2));
    held->loose = in_poll;
    if (sim_one_in(3)) {
        sim.stats[SIM_FENCED]++;
        sim_trace("scope %u is fenced", scope);
        leave(source, scope, false);
        assign(source, scope);
        return;
    }
    sim.stats[SIM_LOST]++;
    sim_trace("scope %u is lost", scope);
    sim_source_raise(source, MB_EVENT_SCOPE_LOST, scope, held->epoch, 0);
    leave(source, scope, false);
}

void sim_scope_changes(struct mb_source *source, uint32_t scope, bool in_poll)
{
    struct sim_held *held = &source->scopes[scope];

    if (held->hold == SIM_NOT_HELD) {
        if (!in_poll)
            assign(source, scope);
        return;
    }
    if (!sim_is_rough() || held->loose)
        return;
    if (held->hold == SIM_REVOKING || in_poll || sim_one_in(3)) {
        take_away(source, scope, in_poll);
    } else {
        int64_t left_ms = sim_one_in(4) ? 0 : (int64_t)sim_below(400);

        sim.stats[SIM_REVOKED]++;
        sim_trace("scope %u is revoked, %d ms", scope, (int)left_ms);
        held->hold = SIM_REVOKING;
        held->deadline_ms = sim.now_ms + left_ms;
        held->next_ms = sim_one_in(5) ? sim_after(200) : SIM_NEVER;
        sim_source_raise(source, MB_EVENT_SCOPE_REVOKED, scope, held->epoch, left_ms);
    }
}

/* Begins with what is not acknowledged, as a broker does. */
enum mb_status sim_source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                size_t count, struct mb_error *err)
{
    sim_source_op(source, "start");
    if (sim_source_result(source, err) != MB_OK)
        return err->status;
    for (size_t i = 0; i < count; i++) {
        uint32_t scope = starts[i].scope;
        struct sim_held *held = &source->scopes[scope];

        if (scope >= sim.shape.scopes)
            sim_violate("contract", "start of a scope that there is not");
        if (starts[i].epoch != held->epoch || held->hold != SIM_ASSIGNED)
            continue; /* it changed meanwhile */
        held->hold = SIM_STARTED;
        held->next = 0;
        held->seeks = starts[i].position.kind == MB_POSITION_OFFSET;
        if (!held->seeks && starts[i].position.kind != MB_POSITION_STORED)
            sim_violate("contract", "a start at a position of kind %u", starts[i].position.kind);
        while (held->next < sim.scopes[scope].count) {
            const struct sim_message *message = sim_message_at(scope, held->next);

            if (held->seeks ? message->offset >= starts[i].position.lo : !message->acked)
                break;
            held->next++;
        }
        held->told = held->next;
    }
    return MB_OK;
}

enum mb_status sim_source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                               struct mb_error *err)
{
    sim_source_op(source, "stop");
    for (size_t i = 0; i < count; i++) {
        struct sim_held *held = &source->scopes[scopes[i]];

        if (scopes[i] >= sim.shape.scopes || held->hold != SIM_REVOKING)
            sim_violate("contract", "stop of scope %u, which is not revoked", scopes[i]);
        sim_trace("scope %u is given up", scopes[i]);
        settle_scope(source, scopes[i], true, true);
        leave(source, scopes[i], sim.now_ms < held->deadline_ms && !sim.lane->failed);
    }
    return sim_source_result(source, err);
}
