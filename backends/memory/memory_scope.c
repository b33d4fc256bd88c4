/* SPDX-License-Identifier: Apache-2.0 */
/* Scopes of a source: what the group decides becomes events, and the core's answers are obeyed. */
#include "memory_source.h"

static struct memory_share *share_of(const struct memory_scope *scope)
{
    return &scope->member->group->shares[scope->partition];
}

static struct memory_stream *stream_of(const struct memory_scope *scope)
{
    return scope->member->group->stream;
}

bool memory_scope_is_owned(const struct memory_scope *scope)
{
    const struct memory_share *share;

    if (scope->member->away)
        return false;
    if (scope->member->competes)
        return true;
    share = share_of(scope);
    return share->owner == scope->member && share->generation == scope->generation;
}

/* Where a log goes on when the core leaves the choice to the source. */
static uint64_t own_start(const struct mb_source *source, const struct memory_scope *scope)
{
    const struct memory_share *share = share_of(scope);
    const struct memory_partition *partition = &stream_of(scope)->partitions[scope->partition];

    if (share->has_stored)
        return share->stored;
    return memory_partition_seek(partition, source->options->start);
}

static void assign(const struct mb_source *source, struct memory_scope *scope,
                   struct mb_event *event)
{
    const struct memory_stream *stream = stream_of(scope);

    scope->state = MEMORY_SCOPE_ASSIGNED;
    scope->generation = share_of(scope)->generation;
    scope->epoch++;
    event->epoch = scope->epoch;
    event->kind = MB_EVENT_SCOPE_ASSIGNED;
    event->partition = -1;
    event->stream = (struct mb_slice){stream->name, strlen(stream->name)};
    if (stream->kind == MB_STREAM_QUEUE)
        return;
    event->partition = (int32_t)scope->partition;
    event->partitions_count = (int32_t)stream->partitions_count;
    event->position =
        (struct mb_position){.kind = MB_POSITION_OFFSET, .lo = own_start(source, scope)};
    event->end = (struct mb_position){.kind = MB_POSITION_OFFSET,
                                      .lo = stream->partitions[scope->partition].end};
}

/* The store: what is to be told of a scope next; false: nothing. */
static bool next_event(struct mb_source *source, struct memory_scope *scope, int64_t now_ms,
                       struct mb_event *event)
{
    const struct memory_share *share = share_of(scope);
    bool owned = memory_scope_is_owned(scope);

    *event = (struct mb_event){.struct_size = sizeof *event,
                               .scope = (uint32_t)(scope - source->scopes),
                               .epoch = scope->epoch};
    if (scope->state != MEMORY_SCOPE_NONE && !owned) {
        event->kind = MB_EVENT_SCOPE_LOST;
        scope->state = MEMORY_SCOPE_NONE;
        return true;
    }
    if (scope->member->away)
        return false;
    if (scope->state == MEMORY_SCOPE_NONE &&
        (scope->member->competes || share->owner == scope->member)) {
        assign(source, scope, event);
        return true;
    }
    if (!scope->member->competes && share->revoking && share->owner == scope->member &&
        (scope->state == MEMORY_SCOPE_ASSIGNED || scope->state == MEMORY_SCOPE_STARTED)) {
        event->kind = MB_EVENT_SCOPE_REVOKED;
        event->deadline_ms =
            share->revoke_deadline_ms > now_ms ? (uint32_t)(share->revoke_deadline_ms - now_ms) : 0;
        scope->state = MEMORY_SCOPE_REVOKED;
        return true;
    }
    return false;
}

/* Events are raised without the lock: the host may do what it likes in there. */
static void tell_of_scope(struct mb_source *source, struct memory_scope *scope, int64_t now_ms)
{
    struct mb_event event;
    struct memory_store *store;
    bool found;

    do {
        store = memory_store_lock();
        found = next_event(source, scope, now_ms, &event);
        memory_store_unlock(store);
        if (found)
            source->host->event(source->host->context, &event);
    } while (found);
}

/* The store: whether any member has something to look at; the revocations that ran out are ended.
 */
static bool take_changes(struct mb_source *source, int64_t now_ms)
{
    bool changed = false;

    for (size_t i = 0; i < source->members_count; i++) {
        struct memory_member *member = source->members[i];

        if (!member->away && memory_group_deadline(member->group) <= now_ms)
            memory_group_balance(member->group, now_ms);
        changed = changed || member->changed;
        member->changed = false;
    }
    return changed;
}

enum mb_status memory_scope_service(struct mb_source *source)
{
    int64_t now_ms = source->host->monotonic_ms(source->host->context);
    struct memory_store *store = memory_store_lock();
    bool changed = take_changes(source, now_ms);

    memory_wake_drain(&source->wake);
    memory_store_unlock(store);
    for (size_t i = 0; changed && i < source->scopes_count; i++)
        tell_of_scope(source, &source->scopes[i], now_ms);
    return MB_OK;
}

void memory_scope_start(struct mb_source *source, const struct mb_scope_start *start)
{
    struct memory_scope *scope = &source->scopes[start->scope];
    struct memory_stream *stream;
    struct memory_store *store;

    /* Revoked or lost in between: its event is on the way, or was there. */
    if (scope->state != MEMORY_SCOPE_ASSIGNED && scope->state != MEMORY_SCOPE_STARTED)
        return;
    store = memory_store_lock();
    stream = stream_of(scope);
    if (stream->kind == MB_STREAM_LOG) {
        scope->next =
            start->position.kind == MB_POSITION_STORED
                ? own_start(source, scope)
                : memory_partition_seek(&stream->partitions[scope->partition], start->position);
        scope->acked = scope->next;
        scope->committed = scope->next;
    } else if (scope->state == MEMORY_SCOPE_STARTED) {
        memory_scope_return_held(source, start->scope);
    }
    scope->epoch = start->epoch;
    scope->halted = false;
    scope->state = MEMORY_SCOPE_STARTED;
    memory_store_unlock(store);
}

void memory_scope_return_held(struct mb_source *source, uint32_t scope)
{
    for (uint32_t i = 0; i < source->held_size; i++) {
        struct memory_held *held = &source->held[i];

        if (held->record == NULL || (scope != UINT32_MAX && held->scope != scope))
            continue;
        memory_queue_return(stream_of(&source->scopes[held->scope]), held->record);
        memory_stream_wake(stream_of(&source->scopes[held->scope]));
        held->record = NULL;
        held->next_free = source->held_free;
        source->held_free = i;
        source->held_count--;
    }
}

void memory_scope_stop(struct mb_source *source, uint32_t index)
{
    struct memory_scope *scope = &source->scopes[index];
    struct memory_share *share;
    struct memory_store *store;

    if (scope->state == MEMORY_SCOPE_NONE)
        return;
    store = memory_store_lock();
    memory_scope_return_held(source, index);
    share = share_of(scope);
    if (!scope->member->competes && memory_scope_is_owned(scope)) {
        share->owner = NULL;
        share->revoking = false;
        memory_group_balance(scope->member->group,
                             source->host->monotonic_ms(source->host->context));
    }
    scope->state = MEMORY_SCOPE_NONE;
    memory_store_unlock(store);
}

static void ack_log(struct memory_scope *scope, const struct mb_ack *ack)
{
    if (ack->outcome == MB_RELEASED)
        scope->halted = true;
    if (scope->halted || ack->token < scope->acked || ack->token >= scope->next)
        return;
    scope->acked = ack->token + 1;
}

static void ack_queue(struct mb_source *source, struct memory_scope *scope,
                      const struct mb_ack *ack)
{
    uint32_t place = (uint32_t)(ack->token % source->held_size);
    struct memory_held *held = &source->held[place];
    struct memory_stream *stream = stream_of(scope);
    struct memory_record *record = held->record;

    if (record == NULL || held->token != ack->token || held->scope != ack->scope ||
        held->epoch != ack->epoch)
        return;
    if (ack->outcome == MB_RELEASED) {
        memory_queue_return(stream, record);
        memory_stream_wake(stream);
    } else {
        stream->taken--;
        memory_record_destroy(record);
    }
    held->record = NULL;
    held->next_free = source->held_free;
    source->held_free = place;
    source->held_count--;
}

/* The store. */
void memory_scope_ack(struct mb_source *source, const struct mb_ack *ack)
{
    struct memory_scope *scope;

    if (ack->scope >= source->scopes_count)
        return;
    scope = &source->scopes[ack->scope];
    if (scope->state == MEMORY_SCOPE_NONE || ack->epoch != scope->epoch)
        return;
    if (stream_of(scope)->kind == MB_STREAM_LOG)
        ack_log(scope, ack);
    else
        ack_queue(source, scope, ack);
}

void memory_scope_commit(struct mb_source *source, bool tell)
{
    for (size_t i = 0; i < source->scopes_count; i++) {
        struct memory_scope *scope = &source->scopes[i];
        struct mb_event event = {.struct_size = sizeof event,
                                 .kind = MB_EVENT_COMMITTED,
                                 .scope = (uint32_t)i,
                                 .epoch = scope->epoch,
                                 .token = scope->acked - 1};
        struct memory_store *store;
        bool stored;

        if (scope->state == MEMORY_SCOPE_NONE || scope->acked == scope->committed)
            continue;
        store = memory_store_lock();
        /* Not the owner any more: the broker would refuse, and LOST is on the way. */
        stored = memory_scope_is_owned(scope);
        if (stored) {
            share_of(scope)->has_stored = true;
            share_of(scope)->stored = scope->acked;
            scope->committed = scope->acked;
        }
        memory_store_unlock(store);
        if (stored && tell)
            source->host->event(source->host->context, &event);
    }
}
