/* SPDX-License-Identifier: Apache-2.0 */
/* Entries become messages: their fields are told apart in the input, then copied as one. */
#include "redis_source.h"

#define FIELDS_MIN 64u
#define FIELDS_MAX (1u << 24)

/* Both lists are in the order of IDs. */
static uint32_t delivered_before(struct mb_source *source, struct mb_position position)
{
    for (; source->delivered_at < source->delivered_count; source->delivered_at++) {
        const struct redis_delivered *delivered = &source->delivered[source->delivered_at];

        if (delivered->hi == position.hi && delivered->lo == position.lo)
            return delivered->count;
        if (delivered->hi > position.hi ||
            (delivered->hi == position.hi && delivered->lo > position.lo))
            break;
    }
    return 0;
}

static bool is_in_flight(const struct mb_source *source, uint32_t scope,
                         struct mb_position position)
{
    for (uint64_t token = source->flights_tail; token < source->flights_head; token++) {
        const struct redis_flight *flight = redis_flight_at(source, token);

        if (flight->open && flight->scope == scope && flight->hi == position.hi &&
            flight->lo == position.lo)
            return true;
    }
    for (uint32_t i = 0; i < source->acks_count; i++) {
        const struct redis_pending_ack *ack = &source->acks[i];

        if (ack->scope == scope && ack->hi == position.hi && ack->lo == position.lo)
            return true;
    }
    return false;
}

/* Room for one more. What a length claims is not believed: there is room for what has come. */
static bool grow_fields(struct mb_source *source, size_t used)
{
    size_t capacity = source->fields_capacity > 0 ? 2 * source->fields_capacity : FIELDS_MIN;
    struct redis_field *fields;

    if (capacity > FIELDS_MAX)
        return false;
    fields = source->host->alloc(source->host->context, capacity * sizeof *fields);
    if (fields == NULL)
        return false;
    if (used > 0)
        memcpy(fields, source->fields, used * sizeof *fields);
    source->host->release(source->host->context, source->fields);
    source->fields = fields;
    source->fields_capacity = capacity;
    return true;
}

/* count names with their values; they point into the input. BULK: all of them are there. NONE, BAD,
 * or what else stands in their place. NIL: out of memory. */
static enum redis_token_kind read_fields(struct mb_source *source, struct redis_cursor *cursor,
                                         size_t count)
{
    struct redis_cursor at = *cursor;
    enum redis_token_kind kind = REDIS_TOKEN_BULK;
    struct redis_token name;
    struct redis_token value;

    for (size_t i = 0; i < count; i++) {
        kind = redis_token_next(&at, &name);
        if (kind == REDIS_TOKEN_BULK)
            kind = redis_token_next(&at, &value);
        if (kind != REDIS_TOKEN_BULK) {
            kind = kind == REDIS_TOKEN_NIL ? REDIS_TOKEN_BAD : kind;
            break;
        }
        if (i == source->fields_capacity && !grow_fields(source, i)) {
            kind = REDIS_TOKEN_NIL;
            break;
        }
        source->fields[i] = (struct redis_field){name.text, value.text};
    }
    *cursor = at;
    return kind;
}

static void move_slice(struct mb_slice *slice, const unsigned char *from, const unsigned char *to)
{
    slice->data = to + ((const unsigned char *)slice->data - from);
}

/* from … end in the input holds count names and values. */
static enum mb_status fill_message(struct mb_source *source, const unsigned char *from,
                                   const unsigned char *end, size_t count, struct mb_arena *arena,
                                   struct mb_message *message)
{
    unsigned char *copy = mb_arena_alloc(arena, (size_t)(end - from));

    if (copy == NULL)
        return MB_NO_MEMORY;
    memcpy(copy, from, (size_t)(end - from));
    for (size_t i = 0; i < count; i++) {
        move_slice(&source->fields[i].name, from, copy);
        move_slice(&source->fields[i].value, from, copy);
    }
    return redis_entry_decode(source->fields, count, source->body_field, arena, message);
}

static void register_flight(struct mb_source *source, struct redis_scope *scope,
                            struct mb_message *message)
{
    uint64_t token = source->flights_head++;

    message->token = token;
    message->scope = (uint32_t)(scope - source->scopes);
    message->epoch = scope->epoch;
    *redis_flight_at(source, token) = (struct redis_flight){
        message->position.hi, message->position.lo, source->now_ms, message->scope, true};
}

static enum redis_step out_of_memory(struct redis_link *link, struct mb_error *err)
{
    redis_client_fail(link->reader, err, "memory", "out of memory");
    return REDIS_STEP_FAILED;
}

/* The entry's fields were read: they are count, and stand in from … end. */
static enum redis_step hand_out(struct mb_source *source, struct redis_link *link,
                                const unsigned char *from, const unsigned char *end, size_t count,
                                struct mb_position position, struct mb_batch *batch,
                                struct mb_error *err)
{
    struct mb_message *message = batch->messages[batch->count];
    struct redis_scope *scope = link->scope;
    bool is_old = redis_request_of(link)->kind != REDIS_REQUEST_NEW;
    uint64_t size = (uint64_t)(end - from);

    if (fill_message(source, from, end, count, batch->arena, message) != MB_OK)
        return out_of_memory(link, err);
    message->position = position;
    message->present |= MB_HAS_TIMESTAMP;
    message->timestamp_kind = MB_TIMESTAMP_LOG_APPEND;
    message->timestamp_ms = (int64_t)(position.hi & INT64_MAX);
    message->redelivered = is_old;
    message->delivery_count = is_old ? delivered_before(source, position) : 0;
    register_flight(source, scope, message);
    batch->count++;
    batch->bytes += size;
    source->entry_size = source->entry_size == 0 ? size : (7 * source->entry_size + size) / 8;
    return REDIS_STEP_DONE;
}

struct entry {
    struct mb_position position; /* NONE: it has none, and is gone */
    size_t fields_count;         /* 0: it was trimmed while it was pending */
    const unsigned char *fields; /* where they stand */
};

/* One entry: [id, [name, value, …]], or [id, nil] if it was trimmed while it was pending, or (Redis
 * 6, XAUTOCLAIM) nil alone. DONE: cursor is behind it. */
static enum redis_step read_entry(struct mb_source *source, struct redis_link *link,
                                  struct redis_cursor *cursor, struct entry *entry,
                                  struct mb_error *err)
{
    struct redis_cursor at = *cursor;
    struct redis_token token;
    enum redis_token_kind kind = redis_token_next(&at, &token);

    *entry = (struct entry){0};
    if (kind == REDIS_TOKEN_NIL) {
        *cursor = at;
        return REDIS_STEP_DONE;
    }
    if (kind == REDIS_TOKEN_ARRAY && token.number == 2)
        kind = redis_token_next(&at, &token);
    else if (kind != REDIS_TOKEN_NONE)
        return redis_malformed(link, err);
    if (kind == REDIS_TOKEN_BULK && redis_id_parse_next(&link->stem, token.text, &entry->position))
        kind = redis_token_next(&at, &token);
    else if (kind != REDIS_TOKEN_NONE)
        return redis_malformed(link, err);
    if (kind == REDIS_TOKEN_ARRAY && token.number % 2 == 0) {
        entry->fields_count = (size_t)token.number / 2;
        entry->fields = at.at;
        kind = read_fields(source, &at, entry->fields_count);
    } else if (kind == REDIS_TOKEN_NIL) {
        kind = REDIS_TOKEN_BULK;
    } else if (kind != REDIS_TOKEN_NONE) {
        return redis_malformed(link, err);
    }
    if (kind == REDIS_TOKEN_NONE) {
        cursor->need = at.need;
        return REDIS_STEP_NEED;
    }
    if (kind == REDIS_TOKEN_NIL)
        return out_of_memory(link, err);
    if (kind != REDIS_TOKEN_BULK)
        return redis_malformed(link, err);
    *cursor = at;
    return REDIS_STEP_DONE;
}

enum redis_step redis_take_entry(struct mb_source *source, struct redis_link *link,
                                 struct redis_cursor *cursor, struct mb_batch *batch,
                                 struct mb_error *err)
{
    enum redis_request_kind kind = redis_request_of(link)->kind;
    struct redis_scope *scope = link->scope;
    struct entry entry;
    enum redis_step step = read_entry(source, link, cursor, &entry, err);

    if (step != REDIS_STEP_DONE)
        return step;
    if (kind == REDIS_REQUEST_HISTORY && entry.position.kind != MB_POSITION_NONE)
        scope->after = entry.position;
    if (entry.fields_count == 0) {
        scope->lost++;
        if (entry.position.kind != MB_POSITION_NONE)
            redis_commands_forget(source, scope, entry.position);
    } else if (kind != REDIS_REQUEST_CLAIM ||
               !is_in_flight(source, (uint32_t)(scope - source->scopes), entry.position)) {
        step = hand_out(source, link, entry.fields, cursor->at, entry.fields_count, entry.position,
                        batch, err);
    }
    link->entries_left--;
    if (kind == REDIS_REQUEST_NEW) {
        struct redis_request *request = redis_request_of(link);
        uint32_t one = request->left > 0 ? 1 : 0;

        request->left -= one;
        source->asked -= one;
        scope->read_since++;
        scope->given = entry.position;
    }
    return step;
}
