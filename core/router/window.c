/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/window.h"

#include <assert.h>
#include <stdlib.h>

#define CAPACITY_FIRST 256u
#define SLAB_MESSAGES  64u
#define AMPLE          4u /* times what was needed: so much is given back */

struct slab {
    struct slab *next;
    struct mb_message messages[SLAB_MESSAGES];
};

enum mb_status mb_window_init(struct mb_window *window, uint64_t max_messages, uint64_t max_bytes)
{
    memset(window, 0, sizeof *window);
    window->max_messages = max_messages;
    window->max_bytes = max_bytes;
    window->capacity = CAPACITY_FIRST;
    window->message_size = sizeof(struct mb_message);
    mb_lane_arena_init(&window->arena);
    window->entries = calloc(window->capacity, sizeof *window->entries);
    return window->entries != NULL ? MB_OK : MB_NO_MEMORY;
}

static void scope_free(struct mb_scope *scope)
{
    free(scope->texts);
    free(scope->matches);
    free(scope);
}

static void slabs_free(struct mb_window *window)
{
    struct slab *slab;

    while ((slab = window->slabs) != NULL) {
        window->slabs = slab->next;
        free(slab);
    }
}

void mb_window_release(struct mb_window *window)
{
    struct mb_scope *scope;

    while ((scope = window->scopes) != NULL) {
        window->scopes = scope->next;
        scope_free(scope);
    }
    slabs_free(window);
    mb_lane_arena_release(&window->arena);
    free(window->entries);
    free(window->pool);
    free(window->by_id);
    memset(window, 0, sizeof *window);
}

/* The pool never holds more than all messages there are, so giving back cannot fail. */
static enum mb_status pool_grow(struct mb_window *window)
{
    struct slab *slab = calloc(1, sizeof *slab);
    struct mb_message **pool;

    if (slab == NULL)
        return MB_NO_MEMORY;
    pool = realloc(window->pool, (window->pool_capacity + SLAB_MESSAGES) * sizeof *pool);
    if (pool == NULL) {
        free(slab);
        return MB_NO_MEMORY;
    }
    slab->next = window->slabs;
    window->slabs = slab;
    window->pool = pool;
    window->pool_capacity += SLAB_MESSAGES;
    for (size_t i = 0; i < SLAB_MESSAGES; i++)
        pool[window->pool_count++] = &slab->messages[i];
    return MB_OK;
}

enum mb_status mb_window_take_messages(struct mb_window *window, struct mb_message **messages,
                                       size_t count)
{
    while (window->pool_count < count) {
        if (pool_grow(window) != MB_OK)
            return MB_NO_MEMORY;
    }
    /* A size that the compiler knows becomes a loop in place here, which is slower by far than the
     * library's. */
    for (size_t i = 0; i < count; i++) {
        struct mb_message *message = window->pool[--window->pool_count];

        memset(message, 0, window->message_size);
        message->struct_size = sizeof *message;
        messages[i] = message;
    }
    if (window->pool_count < window->pool_low)
        window->pool_low = window->pool_count;
    return MB_OK;
}

void mb_window_give_messages(struct mb_window *window, struct mb_message **messages, size_t count)
{
    assert(window->pool_count + count <= window->pool_capacity);
    for (size_t i = count; i-- > 0;)
        window->pool[window->pool_count++] = messages[i];
}

static void ring_shrink(struct mb_window *window, uint64_t needed)
{
    uint64_t capacity = CAPACITY_FIRST;
    struct mb_entry *entries;

    while (capacity < needed)
        capacity *= 2;
    if (capacity >= window->capacity)
        return;
    entries = calloc(capacity, sizeof *entries);
    if (entries == NULL)
        return; /* it keeps what it has */
    free(window->entries);
    window->entries = entries;
    window->capacity = capacity;
    window->to_slot = 0 - window->tail;
}

void mb_window_rest(struct mb_window *window)
{
    size_t needed = window->pool_capacity - window->pool_low;

    mb_lane_arena_rest(&window->arena);
    if (mb_window_is_ample(window) && window->pool_count == window->pool_capacity &&
        window->pool_capacity / AMPLE >= needed) {
        ring_shrink(window, needed);
        slabs_free(window);
        free(window->pool);
        window->pool = NULL;
        window->pool_count = window->pool_capacity = 0;
    }
    window->pool_low = window->pool_count;
}

/* Apart from push, which seldom needs it and would save registers for it each time. */
__attribute__((noinline)) static enum mb_status ring_grow(struct mb_window *window)
{
    uint64_t capacity = window->capacity * 2;
    struct mb_entry *entries;

    if (capacity > window->max_messages && window->capacity < window->max_messages)
        capacity = window->max_messages;
    entries = calloc(capacity, sizeof *entries);
    if (entries == NULL)
        return MB_NO_MEMORY;
    for (uint64_t s = window->tail; s != window->head; s++)
        entries[s - window->tail] = *mb_window_at(window, s);
    free(window->entries);
    window->entries = entries;
    window->capacity = capacity;
    window->to_slot = 0 - window->tail;
    return MB_OK;
}

/* Member by member: clearing the whole struct first takes as long as all else that push does. */
static void entry_init(struct mb_entry *entry, struct mb_message *message, struct mb_scope *scope)
{
    entry->message = message;
    entry->scope = scope;
    entry->matches = scope->matches;
    entry->original = NULL;
    entry->names = NULL;
    entry->want = 0;
    entry->sent = 0;
    entry->done = 0;
    entry->rejected = 0;
    entry->attempted = 0;
    entry->next_in_scope = MB_SEQUENCE_NONE;
    entry->dead = NULL;
    entry->destination = (struct mb_position){.kind = MB_POSITION_NONE};
    entry->expires_ms = 0;
    entry->bytes = message->size_bytes;
    entry->stale = false;
    entry->released = false;
    entry->dropped = 0;
    entry->resolved = false;
    entry->passed = false;
    entry->told = false;
    entry->staged = false;
}

enum mb_status mb_window_push(struct mb_window *window, struct mb_message *message,
                              struct mb_scope *scope, struct mb_entry **ret_entry)
{
    uint64_t sequence = window->head;
    struct mb_entry *entry;

    if (mb_window_count(window) == window->capacity && ring_grow(window) != MB_OK)
        return MB_NO_MEMORY;
    entry = mb_window_at(window, sequence);
    entry_init(entry, message, scope);
    if (scope->head == MB_SEQUENCE_NONE)
        scope->head = sequence;
    else
        mb_window_at(window, scope->newest)->next_in_scope = sequence;
    scope->newest = sequence;
    scope->entries++;
    window->bytes += entry->bytes;
    window->head++;
    *ret_entry = entry;
    return MB_OK;
}

static bool entry_is_resolved(const struct mb_entry *entry)
{
    if (entry->sent != 0)
        return false;
    return entry->stale || entry->released || (entry->done & entry->want) == entry->want;
}

static void frontier_pass(struct mb_scope *scope, struct mb_entry *entry,
                          const struct mb_passed *passed)
{
    entry->passed = true;
    if (!entry->stale && !entry->released) {
        scope->ack_token = entry->message->token;
        scope->ack_position = entry->message->position;
        scope->position = entry->message->position;
        scope->position.lo++;
        scope->ack_count++;
    }
    passed->passed(passed->context, entry);
}

void mb_window_update(struct mb_window *window, uint64_t sequence, const struct mb_passed *passed)
{
    struct mb_entry *entry = mb_window_at(window, sequence);
    struct mb_scope *scope = entry->scope;

    if (entry->resolved || !entry_is_resolved(entry))
        return;
    entry->resolved = true;
    while (scope->head == sequence) {
        frontier_pass(scope, entry, passed);
        scope->head = entry->next_in_scope;
        if (scope->head == MB_SEQUENCE_NONE)
            return;
        entry = mb_window_at(window, scope->head);
        if (!entry->resolved)
            return;
        sequence = scope->head;
    }
}

uint64_t mb_window_release_unsent(struct mb_window *window, struct mb_scope *only,
                                  const struct mb_passed *passed)
{
    uint64_t serial = ++window->replay_serial;
    uint64_t count = 0;

    for (uint64_t s = window->head; s-- != window->tail;) {
        struct mb_entry *entry = mb_window_at(window, s);

        if (entry->stale || entry->released || (only != NULL && entry->scope != only) ||
            entry->scope->replay_mark == serial)
            continue;
        if (entry->resolved || (entry->sent | entry->done | entry->attempted) != 0) {
            entry->scope->replay_mark = serial;
            continue;
        }
        entry->released = true;
        count++;
        mb_window_update(window, s, passed);
    }
    return count;
}

void mb_window_trim(struct mb_window *window)
{
    uint64_t tail = window->tail;
    uint64_t slot = tail + window->to_slot;

    while (tail != window->head) {
        struct mb_entry *entry = &window->entries[slot];

        if (!entry->resolved)
            break;
        window->bytes -= entry->bytes;
        entry->scope->entries--;
        mb_window_give_messages(window, &entry->message, 1);
        tail++;
        slot = slot + 1 < window->capacity ? slot + 1 : 0;
    }
    if (tail == window->tail)
        return;
    /* What is empty begins anew: few messages use few entries, again and again. */
    window->to_slot = (tail == window->head ? 0 : slot) - tail;
    window->tail = tail;
    mb_lane_arena_advance(&window->arena, tail, tail == window->head);
}

uint64_t mb_window_forget(struct mb_window *window, struct mb_scope *scope,
                          const struct mb_passed *passed)
{
    uint64_t count = 0;
    uint64_t s;

    scope->state = MB_SCOPE_GONE;
    scope->ack_count = 0;
    /* All of them before any is resolved: the frontier runs on over what is confirmed already. */
    for (s = scope->head; s != MB_SEQUENCE_NONE; s = mb_window_at(window, s)->next_in_scope) {
        struct mb_entry *entry = mb_window_at(window, s);

        if (!entry->released && !entry->told)
            count++;
        entry->stale = true;
    }
    for (s = scope->head; s != MB_SEQUENCE_NONE;) {
        uint64_t next = mb_window_at(window, s)->next_in_scope;

        mb_window_update(window, s, passed);
        s = next;
    }
    return count;
}

uint64_t mb_window_rewind(struct mb_window *window, uint64_t bit, uint64_t until, bool ordered)
{
    uint64_t serial = ++window->replay_serial;
    uint64_t first = until;

    for (uint64_t s = window->tail; s < until; s++) {
        struct mb_entry *entry = mb_window_at(window, s);

        if (entry->passed || entry->told || entry->stale || entry->released ||
            (entry->rejected & bit) != 0 || (entry->want & bit) == 0 || (entry->sent & bit) != 0)
            continue;
        if ((entry->done & bit) == 0) {
            entry->scope->replay_mark = serial;
        } else if (ordered && entry->scope->replay_mark == serial) {
            entry->done &= ~bit;
            entry->resolved = false;
        } else {
            continue;
        }
        if (first == until)
            first = s;
    }
    return first;
}

struct mb_scope *mb_window_scope(const struct mb_window *window, uint32_t id)
{
    struct mb_scope *scope = id < window->by_id_count ? window->by_id[id] : NULL;

    return scope != NULL && scope->state != MB_SCOPE_GONE ? scope : NULL;
}

static enum mb_status by_id_grow(struct mb_window *window, uint32_t id)
{
    uint32_t count = id < 16 ? 16 : (id + 1) * 2;
    struct mb_scope **by_id;

    if (id >= MB_SCOPES_MAX)
        return MB_INVALID;
    by_id = realloc(window->by_id, count * sizeof(struct mb_scope *));
    if (by_id == NULL)
        return MB_NO_MEMORY;
    memset(by_id + window->by_id_count, 0,
           (count - window->by_id_count) * sizeof(struct mb_scope *));
    window->by_id = by_id;
    window->by_id_count = count;
    return MB_OK;
}

enum mb_status mb_window_add_scope(struct mb_window *window, const struct mb_event *event,
                                   const struct mb_origin *base, struct mb_scope **ret_scope)
{
    struct mb_scope *scope;

    if (event->scope >= window->by_id_count) {
        enum mb_status status = by_id_grow(window, event->scope);

        if (status != MB_OK)
            return status;
    }
    scope = calloc(1, sizeof *scope);
    if (scope == NULL)
        return MB_NO_MEMORY;
    scope->texts = malloc(event->stream.size + 1 + base->identity.size);
    if (scope->texts == NULL) {
        free(scope);
        return MB_NO_MEMORY;
    }
    if (event->stream.size > 0)
        memcpy(scope->texts, event->stream.data, event->stream.size);
    scope->texts[event->stream.size] = '\0';
    if (base->identity.size > 0)
        memcpy(scope->texts + event->stream.size + 1, base->identity.data, base->identity.size);
    scope->id = event->scope;
    scope->epoch = event->epoch;
    scope->head = MB_SEQUENCE_NONE;
    scope->end = event->end;
    scope->position = event->position;
    scope->origin = *base;
    scope->origin.struct_size = sizeof scope->origin;
    scope->origin.partition = event->partition;
    scope->origin.partitions_count = event->partitions_count;
    scope->origin.stream = (struct mb_slice){scope->texts, event->stream.size};
    if (base->identity.size > 0)
        scope->origin.identity.data = scope->texts + event->stream.size + 1;
    scope->next = window->scopes;
    window->scopes = scope;
    window->by_id[scope->id] = scope;
    *ret_scope = scope;
    return MB_OK;
}

void mb_window_sweep_scopes(struct mb_window *window)
{
    struct mb_scope **link = &window->scopes;

    while (*link != NULL) {
        struct mb_scope *scope = *link;

        if (scope->state == MB_SCOPE_GONE && scope->entries == 0) {
            *link = scope->next;
            if (window->by_id[scope->id] == scope)
                window->by_id[scope->id] = NULL;
            scope_free(scope);
        } else {
            link = &scope->next;
        }
    }
}
