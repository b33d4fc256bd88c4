/* SPDX-License-Identifier: Apache-2.0 */
/* The source's side of a lane: events, scopes, acknowledgements, commits. */
#include "core/router/discover.h"
#include "core/router/drain.h"
#include "core/router/lane.h"
#include "core/router/patterns.h"
#include "kit/provenance.h"
#include "kit/text.h"

#include <stdlib.h>

#define EVENTS_MAX       65536u
#define COMMITS_A_WINDOW 4u /* what is not stored yet takes up room in it */
#define COMMIT_WAIT_MS   5000u
#define SCOPES_A_CALL    256u

static enum mb_status events_reserve(struct mb_lane *lane, size_t text_size)
{
    if (lane->events_count == lane->events_capacity) {
        size_t capacity = lane->events_capacity == 0 ? 16 : lane->events_capacity * 2;
        struct mb_lane_event *events;

        if (capacity > EVENTS_MAX)
            return MB_NO_MEMORY;
        events = realloc(lane->events, capacity * sizeof *events);
        if (events == NULL)
            return MB_NO_MEMORY;
        lane->events = events;
        lane->events_capacity = capacity;
    }
    if (lane->event_texts_size + text_size > lane->event_texts_capacity) {
        size_t capacity = (lane->event_texts_size + text_size) * 2 + 256;
        char *texts = realloc(lane->event_texts, capacity);

        if (texts == NULL)
            return MB_NO_MEMORY;
        lane->event_texts = texts;
        lane->event_texts_capacity = capacity;
    }
    return MB_OK;
}

static void loss(struct mb_lane *lane, const struct mb_event *event)
{
    struct mb_error err;
    char stream[128];
    char count[32];

    snprintf(stream, sizeof stream, "%.*s", (int)event->stream.size,
             event->stream.size > 0 ? (const char *)event->stream.data : "");
    snprintf(count, sizeof count, "%llu", (unsigned long long)event->count);
    mb_counter_add(&lane->counters->lost, event->count);
    if (lane->route->on_loss == MB_LOSS_CONTINUE) {
        mb_log(lane->env->logger, MB_LOG_ERROR,
               "messages were gone at the source before they could be read", "route",
               lane->route->name, "stream", stream, "count", event->count > 0 ? count : NULL,
               "action", "goes on, as on_loss says", NULL);
        return;
    }
    mb_error_set(&err, MB_FATAL, MB_CAUSE_NONE, "loss",
                 "%s messages of %s were gone before they could be read (on_loss = \"continue\" "
                 "goes on)",
                 event->count > 0 ? count : "some", stream);
    mb_lane_fail(lane, &err);
}

void mb_lane_source_event(void *context, struct mb_port *port, const struct mb_event *event)
{
    struct mb_lane *lane = context;
    struct mb_lane_event *copy;

    if (event->kind == MB_EVENT_UP || event->kind == MB_EVENT_DOWN) {
        if (event->kind == MB_EVENT_UP || event->error != NULL)
            mb_port_note(port, event->kind == MB_EVENT_UP, event->error);
        return;
    }
    if (event->kind == MB_EVENT_LOSS) {
        /* At once: it must not be forgotten with the instance that found it. */
        loss(lane, event);
        return;
    }
    if (events_reserve(lane, event->stream.size) != MB_OK) {
        struct mb_error err;

        mb_error_set(&err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory for an event");
        mb_lane_fail(lane, &err);
        return;
    }
    copy = &lane->events[lane->events_count++];
    copy->event = *event;
    copy->event.error = NULL;
    copy->text_at = lane->event_texts_size;
    if (event->stream.size > 0)
        memcpy(lane->event_texts + lane->event_texts_size, event->stream.data, event->stream.size);
    lane->event_texts_size += event->stream.size;
}

void mb_lane_scope_gone(struct mb_lane *lane, struct mb_scope *scope)
{
    uint64_t released;

    mb_transaction_scope_gone(lane->transaction, scope);
    lane->uncommitted -= scope->acked_total - scope->committed_total;
    scope->committed_total = scope->acked_total;
    scope->commits_count = 0;
    released = mb_window_forget(&lane->window, scope, &lane->passed);
    mb_counter_add(&lane->counters->released, released);
    lane->settled += released;
    for (size_t i = 0; i < lane->observers_count; i++) {
        if (lane->observers[i].scope_gone != NULL)
            lane->observers[i].scope_gone(lane->observers[i].context, scope);
    }
    mb_window_trim(&lane->window);
}

static void scopes_all_gone(struct mb_lane *lane)
{
    struct mb_scope *scope;

    for (scope = lane->window.scopes; scope != NULL; scope = scope->next) {
        if (scope->state != MB_SCOPE_GONE)
            mb_lane_scope_gone(lane, scope);
    }
    lane->acks_count = 0;
    lane->dirty_count = 0;
    lane->dirty_overflow = false;
    lane->events_count = 0;
    lane->event_texts_size = 0;
    mb_window_sweep_scopes(&lane->window);
}

void mb_lane_source_reopen(struct mb_lane *lane, int64_t now_ms)
{
    if (lane->source.state != MB_PORT_OPEN)
        return;
    mb_port_reopen(&lane->source, now_ms);
    scopes_all_gone(lane);
}

void mb_lane_source_failed(struct mb_lane *lane, int64_t now_ms)
{
    if (lane->source.error.status == MB_FATAL)
        mb_lane_fail(lane, &lane->source.error);
    mb_port_fail(&lane->source, now_ms);
    scopes_all_gone(lane);
}

static enum mb_status scope_assigned(struct mb_lane *lane, const struct mb_event *event,
                                     struct mb_scope_start *starts, size_t *starts_count)
{
    struct mb_scope *scope = mb_window_scope(&lane->window, event->scope);
    struct mb_origin base = {0};
    enum mb_status status;

    if (scope != NULL)
        mb_lane_scope_gone(lane, scope);
    base.platform = mb_slice_text(lane->source.stream->endpoint->backend->name);
    base.endpoint = mb_slice_text(lane->source.stream->endpoint->name);
    if (lane->source.stream->endpoint->identity != NULL)
        base.identity = mb_slice_text(lane->source.stream->endpoint->identity);
    else if (lane->source.identity[0] != '\0')
        base.identity = mb_slice_text(lane->source.identity);
    status = mb_window_add_scope(&lane->window, event, &base, &scope);
    if (status != MB_OK)
        return mb_error_set(&lane->source.error, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "scopes",
                            "the source assigned a scope that cannot be kept");
    if (lane->has_matches) {
        scope->matches = calloc(1, sizeof *scope->matches);
        if (scope->matches == NULL)
            return mb_error_set(&lane->source.error, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "memory",
                                "out of memory for a scope");
        mb_pattern_groups(lane->source.stream, scope->texts, scope->matches);
    }
    if (lane->has_paths)
        scope->path_hash = mb_path_hash(scope->origin.identity, scope->origin.stream);
    if (lane->drain != NULL)
        mb_drain_scope(lane->drain, scope);
    if (!mb_transaction_scope_assigned(lane->transaction)) {
        scope->state = MB_SCOPE_STARTED;
        starts[(*starts_count)++] = (struct mb_scope_start){
            .scope = event->scope, .epoch = event->epoch, .position = {.kind = MB_POSITION_STORED}};
    }
    for (size_t i = 0; i < lane->observers_count; i++) {
        if (lane->observers[i].scope_started != NULL)
            lane->observers[i].scope_started(lane->observers[i].context, scope);
    }
    return MB_OK;
}

/* A commit covers those before it: one that failed has no event of its own. */
static void committed(struct mb_lane *lane, const struct mb_event *event)
{
    struct mb_scope *scope = mb_window_scope(&lane->window, event->scope);
    uint32_t at = 0;

    if (scope == NULL || scope->epoch != event->epoch)
        return;
    while (at < scope->commits_count && scope->commits[at].token != event->token)
        at++;
    if (at == scope->commits_count)
        return;
    lane->uncommitted -= scope->commits[at].total - scope->committed_total;
    scope->committed_total = scope->commits[at].total;
    scope->commits_count -= at + 1;
    memmove(scope->commits, scope->commits + at + 1,
            scope->commits_count * sizeof scope->commits[0]);
}

static void scope_revoked(struct mb_lane *lane, const struct mb_event *event, int64_t now_ms)
{
    struct mb_scope *scope = mb_window_scope(&lane->window, event->scope);

    if (scope == NULL || scope->epoch != event->epoch)
        return;
    scope->state = MB_SCOPE_REVOKING;
    scope->deadline_ms = now_ms + event->deadline_ms;
    mb_transaction_scope_revoked(lane->transaction);
    mb_lane_release_unsent(lane, scope);
}

static enum mb_status handle_event(struct mb_lane *lane, struct mb_event *event, int64_t now_ms,
                                   struct mb_scope_start *starts, size_t *starts_count)
{
    struct mb_scope *scope;

    switch ((enum mb_event_kind)event->kind) {
    case MB_EVENT_SCOPE_ASSIGNED:
        return scope_assigned(lane, event, starts, starts_count);
    case MB_EVENT_SCOPE_REVOKED:
        scope_revoked(lane, event, now_ms);
        break;
    case MB_EVENT_SCOPE_LOST:
        scope = mb_window_scope(&lane->window, event->scope);
        if (scope != NULL && scope->epoch == event->epoch)
            mb_lane_scope_gone(lane, scope);
        break;
    case MB_EVENT_COMMITTED:
        committed(lane, event);
        break;
    case MB_EVENT_LOSS:
    case MB_EVENT_UP:
    case MB_EVENT_DOWN:
    case MB_EVENT_BLOCKED:
        break; /* handled when raised */
    }
    return MB_OK;
}

static enum mb_status handle_events(struct mb_lane *lane, int64_t now_ms)
{
    struct mb_scope_start starts[SCOPES_A_CALL];
    size_t starts_count = 0;
    enum mb_status status = MB_OK;

    for (size_t i = 0; i < lane->events_count && status == MB_OK; i++) {
        struct mb_event event = lane->events[i].event;

        event.stream.data = lane->event_texts + lane->events[i].text_at;
        status = handle_event(lane, &event, now_ms, starts, &starts_count);
        if (status == MB_OK && starts_count == SCOPES_A_CALL) {
            status = lane->source_ops->start(lane->source.source, starts, starts_count,
                                             &lane->source.error);
            starts_count = 0;
        }
    }
    lane->events_count = 0;
    lane->event_texts_size = 0;
    if (status == MB_OK && starts_count > 0) {
        lane->taken_ms = now_ms;
        status =
            lane->source_ops->start(lane->source.source, starts, starts_count, &lane->source.error);
    }
    return status;
}

/* Where a scope whose position the sink has told goes on. A source that hands its messages out one
 * by one knows better which of them are open; what the sink has is left out when it is taken. */
static struct mb_position start_position(const struct mb_lane *lane, const struct mb_scope *scope)
{
    const uint64_t wanted = MB_SOURCE_SEEKS | MB_SOURCE_ACKS_IN_ORDER;
    struct mb_position position = scope->stored;

    if (position.kind == MB_POSITION_NONE || (lane->source_traits & wanted) != wanted)
        return (struct mb_position){.kind = MB_POSITION_STORED};
    position.lo++; /* the first that it has not */
    return position;
}

static enum mb_status loaded_step(struct mb_lane *lane, int64_t now_ms)
{
    struct mb_scope_start starts[SCOPES_A_CALL];
    size_t count = 0;
    struct mb_scope *scope;

    for (scope = lane->window.scopes; scope != NULL && count < SCOPES_A_CALL; scope = scope->next) {
        if (scope->state != MB_SCOPE_LOADED)
            continue;
        scope->state = MB_SCOPE_STARTED;
        starts[count++] = (struct mb_scope_start){
            .scope = scope->id, .epoch = scope->epoch, .position = start_position(lane, scope)};
    }
    if (count == 0)
        return MB_OK;
    lane->taken_ms = now_ms;
    return lane->source_ops->start(lane->source.source, starts, count, &lane->source.error);
}

static void revoked_finish(struct mb_lane *lane, struct mb_scope **scopes, uint32_t *ids,
                           size_t count)
{
    for (size_t i = 0; i < count; i++)
        ids[i] = scopes[i]->id;
    for (size_t i = 0; i < count; i++)
        mb_lane_scope_gone(lane, scopes[i]);
}

/* Scopes that are being taken away are given up when nothing of them is open, or it is time. They
 * go together: a source may have to answer for all of them at once. What has time left stays when
 * others have none. */
static enum mb_status revoking_step(struct mb_lane *lane, int64_t now_ms)
{
    struct mb_scope *scopes[SCOPES_A_CALL];
    uint32_t ids[SCOPES_A_CALL];
    size_t count = 0;
    bool waiting = false;
    struct mb_scope *scope;

    lane->revoke_by_ms = INT64_MAX;
    for (scope = lane->window.scopes; scope != NULL; scope = scope->next) {
        if (scope->state != MB_SCOPE_REVOKING)
            continue;
        if (scope->deadline_ms < lane->revoke_by_ms)
            lane->revoke_by_ms = scope->deadline_ms;
        if ((scope->head != MB_SEQUENCE_NONE ||
             !mb_transaction_has_let_go(lane->transaction, scope)) &&
            now_ms < scope->deadline_ms)
            waiting = true;
        else if (count < SCOPES_A_CALL)
            scopes[count++] = scope;
    }
    if (count == 0 || (waiting && now_ms < lane->revoke_by_ms))
        return MB_OK;
    mb_lane_acknowledge(lane, now_ms);
    if (lane->source.state != MB_PORT_OPEN)
        return MB_OK;
    revoked_finish(lane, scopes, ids, count);
    return lane->source_ops->stop(lane->source.source, ids, count, &lane->source.error);
}

static void source_opened(struct mb_lane *lane, int64_t now_ms)
{
    lane->source_opens_seen = lane->source.opens;
    lane->source_traits =
        lane->source_ops->traits(lane->source.params.endpoint, lane->source.params.options);
    lane->taken_ms = now_ms;
    lane->committed_ms = now_ms;
    lane->paused = false;
    lane->exchange_name_size = 0;
}

bool mb_lane_source_step(struct mb_lane *lane, int64_t now_ms)
{
    struct mb_error *err = &lane->source.error;
    enum mb_status status;

    mb_port_step(&lane->source, now_ms);
    if (lane->source.state != MB_PORT_OPEN)
        return false;
    if (lane->source_opens_seen != lane->source.opens)
        source_opened(lane, now_ms);
    status = lane->source_ops->service(lane->source.source, err);
    if ((status == MB_OK || status == MB_AGAIN) && lane->events_count > 0)
        status = handle_events(lane, now_ms);
    if ((status == MB_OK || status == MB_AGAIN) && lane->transaction != NULL)
        status = loaded_step(lane, now_ms);
    if (status == MB_OK || status == MB_AGAIN)
        status = revoking_step(lane, now_ms);
    if ((status == MB_OK || status == MB_AGAIN) && lane->discover != NULL &&
        lane->source.state == MB_PORT_OPEN)
        status = mb_discover_step(lane->discover, now_ms);
    mb_window_sweep_scopes(&lane->window);
    if (status != MB_OK && status != MB_AGAIN && lane->source.state == MB_PORT_OPEN) {
        mb_lane_source_failed(lane, now_ms);
        return true;
    }
    return false;
}

static enum mb_status acks_send(struct mb_lane *lane)
{
    enum mb_status status = MB_OK;

    if (lane->acks_count > 0)
        status = lane->source_ops->ack(lane->source.source, lane->acks, lane->acks_count,
                                       &lane->source.error);
    lane->acks_count = 0;
    return status;
}

void mb_lane_push_ack(struct mb_lane *lane, const struct mb_ack *ack)
{
    if (lane->acks_count == lane->acks_capacity) {
        size_t capacity = lane->acks_capacity == 0 ? 64 : lane->acks_capacity * 2;
        struct mb_ack *acks = realloc(lane->acks, capacity * sizeof *acks);

        if (acks == NULL) {
            struct mb_error err;

            mb_error_set(&err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory",
                         "out of memory for an acknowledgement");
            mb_lane_fail(lane, &err); /* not told: the source gives the message out again */
            return;
        }
        lane->acks = acks;
        lane->acks_capacity = capacity;
    }
    lane->acks[lane->acks_count++] = *ack;
}

static void scope_ack(struct mb_lane *lane, struct mb_scope *scope)
{
    struct mb_ack ack = {.scope = scope->id,
                         .epoch = scope->epoch,
                         .token = scope->ack_token,
                         .outcome = MB_ACCEPTED,
                         .count = scope->ack_count,
                         .position = scope->ack_position};

    if (scope->ack_count == 0 || scope->state == MB_SCOPE_GONE)
        return;
    mb_lane_push_ack(lane, &ack);
    scope->acked_total += scope->ack_count;
    if ((lane->source_traits & MB_SOURCE_COMMITS) != 0) {
        lane->uncommitted += scope->ack_count;
        lane->commit_due += scope->ack_count;
    } else {
        scope->committed_total = scope->acked_total;
    }
    scope->ack_count = 0;
}

static void acks_collect(struct mb_lane *lane)
{
    struct mb_scope *scope;

    if ((lane->source_traits & MB_SOURCE_ACKS_IN_ORDER) != 0) {
        for (size_t i = 0; i < lane->dirty_count; i++)
            scope_ack(lane, lane->dirty[i]);
        for (scope = lane->window.scopes; lane->dirty_overflow && scope != NULL;
             scope = scope->next)
            scope_ack(lane, scope);
    }
    lane->dirty_count = 0;
    lane->dirty_overflow = false;
}

/* What the commit that is being started stores of the scope. Of more than can be told apart the
 * youngest two are taken as one: its event says enough for both. */
static void commit_mark(struct mb_scope *scope)
{
    const struct mb_commit_mark mark = {.token = scope->ack_token, .total = scope->acked_total};
    uint64_t marked = scope->commits_count > 0 ? scope->commits[scope->commits_count - 1].total
                                               : scope->committed_total;

    if (mark.total == marked)
        return;
    if (scope->commits_count == MB_COMMITS_MAX)
        scope->commits_count--;
    scope->commits[scope->commits_count++] = mark;
}

static enum mb_status commit_step(struct mb_lane *lane, int64_t now_ms)
{
    struct mb_scope *scope;
    enum mb_status status;

    if (lane->uncommitted == 0 || (lane->source_traits & MB_SOURCE_COMMITS) == 0)
        return MB_OK;
    if (lane->commit_due < lane->window.max_messages / COMMITS_A_WINDOW &&
        now_ms - lane->committed_ms < MB_LANE_COMMIT_MS)
        return MB_OK;
    status = lane->source_ops->commit(lane->source.source, 0, &lane->source.error);
    lane->committed_ms = now_ms;
    if (status != MB_OK)
        return status;
    lane->commit_due = 0;
    for (scope = lane->window.scopes; scope != NULL; scope = scope->next)
        commit_mark(scope);
    return MB_OK;
}

bool mb_lane_acknowledge(struct mb_lane *lane, int64_t now_ms)
{
    enum mb_status status;

    if (lane->source.state != MB_PORT_OPEN) {
        lane->acks_count = 0;
        lane->dirty_count = 0;
        lane->dirty_overflow = false;
        return false;
    }
    acks_collect(lane);
    status = acks_send(lane);
    if (status == MB_OK || status == MB_AGAIN)
        status = commit_step(lane, now_ms);
    if (status != MB_OK && status != MB_AGAIN) {
        mb_lane_source_failed(lane, now_ms);
        return true;
    }
    return false;
}

/* The last words to the source before it is closed: what is acknowledged is stored for good. */
void mb_lane_source_finish(struct mb_lane *lane)
{
    struct mb_error *err = &lane->source.error;
    enum mb_status status;

    if (lane->source.state != MB_PORT_OPEN)
        return;
    acks_collect(lane);
    status = acks_send(lane);
    if (status == MB_OK && (lane->source_traits & MB_SOURCE_COMMITS) != 0 && lane->uncommitted > 0)
        status = lane->source_ops->commit(lane->source.source, COMMIT_WAIT_MS, err);
    if (status != MB_OK && status != MB_AGAIN) {
        mb_log(lane->env->logger, MB_LOG_WARN,
               "the last acknowledgements could not be stored: some messages will come again",
               "route", lane->route->name, "endpoint", lane->source.stream->endpoint->name,
               "reason", err->reason, "error", err->text, NULL);
    }
    scopes_all_gone(lane);
}
