/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/drain.h"

#include "core/router/destination.h"
#include "core/router/replay.h"
#include "kit/text.h"

#include <stdlib.h>

/* The least quiet of a log that has not been read to its end. A member of a group that nobody gave
 * a scope yet may still get one: a dead member's session has to end first. A position that is gone
 * at the broker is looked for again, and a large record is long on its way. But where markers of
 * transactions stand at the end nothing more comes at all. */
#define UNREAD_MS 15000
#define ENDS_MAX  1048576u

struct end {
    char *stream;
    int32_t partition;
    struct mb_position begin;
    struct mb_position group;
    struct mb_position end;
};

enum question { QUESTION_NONE, QUESTION_ENDS, QUESTION_EMPTY };

struct mb_drain {
    struct mb_lane *lane;
    int64_t idle_ms;
    enum question asking;
    bool begun; /* the ends are known, or cannot be */
    bool empty; /* the broker said so */
    bool answered;
    int64_t quiet_since_ms;
    int64_t quiet_ms; /* how long it has to be quiet */
    int64_t ask_at_ms;
    struct end *ends;
    size_t ends_count;
    size_t ends_capacity;
    int64_t depth_messages; /* of the last answer; -1: unknown */
    struct mb_job job;
    struct mb_error error;
    enum mb_status status;
};

enum mb_status mb_drain_create(struct mb_lane *lane, int64_t idle_ms, struct mb_drain **ret_drain)
{
    struct mb_drain *drain = calloc(1, sizeof *drain);

    if (drain == NULL)
        return MB_NO_MEMORY;
    drain->lane = lane;
    drain->idle_ms = idle_ms;
    drain->quiet_ms = idle_ms;
    *ret_drain = drain;
    return MB_OK;
}

void mb_drain_destroy(struct mb_drain *drain)
{
    if (drain == NULL)
        return;
    for (size_t i = 0; i < drain->ends_count; i++)
        free(drain->ends[i].stream);
    free(drain->ends);
    free(drain);
}

bool mb_drain_is_asking(const struct mb_drain *drain)
{
    return drain->asking != QUESTION_NONE;
}

static void note_end(struct mb_drain *drain, const char *stream,
                     const struct mb_partition_record *partition)
{
    struct end *end;

    if (drain->ends_count == drain->ends_capacity) {
        size_t capacity = drain->ends_capacity == 0 ? 16 : drain->ends_capacity * 2;
        struct end *ends =
            capacity <= ENDS_MAX ? realloc(drain->ends, capacity * sizeof *ends) : NULL;

        if (ends == NULL)
            return; /* without its end a scope is drained by quiet */
        drain->ends = ends;
        drain->ends_capacity = capacity;
    }
    end = &drain->ends[drain->ends_count];
    end->stream = strdup(stream);
    if (end->stream == NULL)
        return;
    end->partition = partition->partition;
    end->begin = partition->begin;
    end->group = partition->group;
    end->end = partition->end;
    drain->ends_count++;
}

static void note_record(void *context, const struct mb_stream_record *record)
{
    struct mb_drain *drain = context;

    if (record->depth_messages >= 0)
        drain->depth_messages =
            (drain->depth_messages < 0 ? 0 : drain->depth_messages) + record->depth_messages;
    if (drain->asking != QUESTION_ENDS || record->kind != MB_STREAM_LOG ||
        record->partitions == NULL)
        return;
    for (int32_t i = 0; i < record->partitions_count; i++)
        note_end(drain, record->name, &record->partitions[i]);
}

static void ask_run(struct mb_job *job)
{
    struct mb_drain *drain = (struct mb_drain *)((char *)job - offsetof(struct mb_drain, job));
    const struct mb_port *source = &drain->lane->source;
    const char *group = mb_settings_text(&source->stream->settings, "group");

    drain->depth_messages = -1;
    mb_error_clear(&drain->error);
    drain->status =
        mb_source_describe(source->stream, &source->params,
                           group != NULL && group[0] != '\0' ? group : drain->lane->route->group,
                           note_record, drain, &drain->error);
}

/* What there is to read, for the progress of `copy`. */
static void count_remaining(struct mb_drain *drain)
{
    uint64_t remaining = drain->depth_messages > 0 ? (uint64_t)drain->depth_messages : 0;

    for (size_t i = 0; i < drain->ends_count; i++) {
        const struct end *end = &drain->ends[i];
        uint64_t from = end->group.kind == MB_POSITION_OFFSET ? end->group.lo : end->begin.lo;

        if (end->end.kind == MB_POSITION_OFFSET && end->end.lo > from)
            remaining += end->end.lo - from;
    }
    mb_counter_set(&drain->lane->counters->remaining, remaining);
    atomic_store(&drain->lane->counters->remaining_known,
                 drain->depth_messages >= 0 || drain->ends_count > 0);
}

/* What a replay leaves there on purpose. */
static int64_t left_lying(const struct mb_lane *lane)
{
    return lane->route->replay != NULL ? (int64_t)lane->route->replay->left : 0;
}

static void ask_done(struct mb_job *job)
{
    struct mb_drain *drain = (struct mb_drain *)((char *)job - offsetof(struct mb_drain, job));
    enum question asked = drain->asking;

    drain->asking = QUESTION_NONE;
    drain->answered = true;
    if (asked == QUESTION_ENDS) {
        if (drain->status == MB_OK)
            count_remaining(drain);
        if (drain->status == MB_OK || drain->status == MB_UNSUPPORTED)
            drain->begun = true;
        else
            mb_port_note(&drain->lane->source, false, &drain->error);
    } else if (drain->status == MB_UNSUPPORTED ||
               (drain->status == MB_OK && drain->depth_messages <= left_lying(drain->lane))) {
        drain->empty = true;
    }
}

static void ask(struct mb_drain *drain, enum question question)
{
    drain->asking = question;
    drain->answered = false;
    drain->job = (struct mb_job){.run = ask_run,
                                 .done = ask_done,
                                 .mailbox = drain->lane->env->mailbox,
                                 .wake = &drain->lane->wake};
    mb_connector_submit(drain->lane->env->connector, &drain->job);
}

bool mb_drain_begin(struct mb_drain *drain, int64_t now_ms)
{
    if (!drain->begun && drain->asking == QUESTION_NONE && now_ms >= drain->ask_at_ms) {
        drain->ask_at_ms = now_ms + 1000;
        ask(drain, QUESTION_ENDS);
    }
    return drain->begun;
}

void mb_drain_scope(struct mb_drain *drain, struct mb_scope *scope)
{
    for (size_t i = 0; i < drain->ends_count; i++) {
        const struct end *end = &drain->ends[i];

        if (end->partition != scope->origin.partition ||
            !mb_slice_equal(mb_slice_text(end->stream), scope->origin.stream))
            continue;
        scope->end = end->end;
        if (scope->position.kind == MB_POSITION_NONE)
            scope->position = end->group.kind == MB_POSITION_OFFSET ? end->group : end->begin;
        return;
    }
}

static bool scope_is_at_end(const struct mb_scope *scope)
{
    if (scope->end.kind != MB_POSITION_OFFSET || scope->position.kind != MB_POSITION_OFFSET)
        return false;
    return scope->position.lo >= scope->end.lo;
}

enum reached {
    REACHED_UNKNOWN, /* a scope has no end, and has to be asked about */
    REACHED_LESS,    /* a scope, or the first one that is to come, has not passed its end */
    REACHED_END
};

static enum reached scopes_reached(const struct mb_lane *lane)
{
    enum reached reached = REACHED_END;
    bool has_scope = false;

    for (const struct mb_scope *scope = lane->window.scopes; scope != NULL; scope = scope->next) {
        if (scope->state == MB_SCOPE_GONE)
            continue;
        has_scope = true;
        if (scope_is_at_end(scope))
            continue;
        if (scope->end.kind == MB_POSITION_OFFSET)
            return REACHED_LESS;
        reached = REACHED_UNKNOWN;
    }
    if (has_scope)
        return reached;
    return (lane->source_traits & MB_SOURCE_PARTITIONED) != 0 ? REACHED_LESS : REACHED_UNKNOWN;
}

bool mb_drain_is_done(struct mb_drain *drain, int64_t now_ms)
{
    struct mb_lane *lane = drain->lane;
    enum reached reached;

    /* What may not be taken yet is no quiet: it waits for a commit, or for the rate. */
    if (lane->source.state != MB_PORT_OPEN || !lane->source.up || lane->full_since_ms != 0 ||
        mb_window_count(&lane->window) > 0) {
        drain->quiet_since_ms = now_ms;
        drain->empty = false;
        return false;
    }
    reached = scopes_reached(lane);
    if (reached == REACHED_END)
        return true;
    drain->quiet_ms = drain->idle_ms;
    if (reached == REACHED_LESS && drain->quiet_ms < UNREAD_MS)
        drain->quiet_ms = UNREAD_MS;
    if (lane->taken_ms > drain->quiet_since_ms) {
        drain->quiet_since_ms = lane->taken_ms;
        drain->empty = false;
    }
    if (now_ms - drain->quiet_since_ms < drain->quiet_ms || drain->asking != QUESTION_NONE)
        return false;
    if (drain->answered && drain->empty)
        return true;
    if (lane->route->replay != NULL && lane->route->replay->met_end)
        return true;
    if (now_ms >= drain->ask_at_ms) {
        drain->ask_at_ms = now_ms + 500;
        ask(drain, QUESTION_EMPTY);
    }
    return false;
}

int64_t mb_drain_deadline_ms(const struct mb_drain *drain)
{
    int64_t quiet_end = drain->quiet_since_ms + drain->quiet_ms;

    if (drain->asking != QUESTION_NONE)
        return INT64_MAX;
    if (!drain->begun || quiet_end < drain->ask_at_ms)
        return drain->ask_at_ms;
    return quiet_end;
}
