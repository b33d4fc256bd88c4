/* SPDX-License-Identifier: Apache-2.0 */
/* Envelope → entry, and the natural form. */
#include "redis_map_parts.h"

#include <kit/field.h>
#include <kit/flatten.h>

/* What has a field of its own name; the key has one besides, and durable none. */
#define SHOWN                                                                                      \
    (MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID | MB_HAS_CONTENT_TYPE | MB_HAS_CONTENT_ENCODING |   \
     MB_HAS_SUBJECT | MB_HAS_TO | MB_HAS_REPLY_TO | MB_HAS_GROUP_ID | MB_HAS_GROUP_SEQUENCE |      \
     MB_HAS_REPLY_TO_GROUP_ID | MB_HAS_USER_ID | MB_HAS_APP_ID | MB_HAS_EXCHANGE |                 \
     MB_HAS_ROUTING_KEY | MB_HAS_TTL | MB_HAS_EXPIRES_AT | MB_HAS_PRIORITY)

struct list {
    struct redis_field *fields;
    size_t count;
    const struct mb_message *message;
    struct mb_slice body_field;
    struct mb_slice
        carriers[REDIS_CARRIERS_COUNT]; /* to write; null: as they are in the list, if so */
    size_t carriers_count;              /* of those that are written */
    uint64_t key_at;                    /* behind so many fields that are no carriers */
    uint64_t body_at;
    bool foreign; /* names that would be read as the bridge's own are left out */
    bool key_done;
    bool body_done;
    bool carriers_done[REDIS_CARRIERS_COUNT];
};

static void add(struct list *list, struct mb_slice name, struct mb_slice value)
{
    list->fields[list->count++] = (struct redis_field){name, value};
}

static bool has_pairs(const struct mb_message *message)
{
    const struct mb_value *pairs = &message->body_value;

    if (message->body_kind != MB_BODY_PAIRS || pairs->type != MB_MAP ||
        pairs->as.items.count % 2 != 0)
        return false;
    for (uint32_t i = 0; i < pairs->as.items.count; i++) {
        if (pairs->as.items.values[i].type != MB_BINARY &&
            pairs->as.items.values[i].type != MB_STRING)
            return false;
    }
    return true;
}

static bool has_key(const struct mb_message *message)
{
    return (message->present & MB_HAS_KEY) != 0 && message->key.data != NULL;
}

static bool has_body(const struct mb_message *message)
{
    return message->body_kind != MB_BODY_NULL && message->body_kind != MB_BODY_PAIRS;
}

static void add_key(struct list *list)
{
    if (!list->key_done && has_key(list->message) && !has_pairs(list->message))
        add(list, MB_SLICE_LITERAL(REDIS_FIELD_KEY), list->message->key);
    list->key_done = true;
}

static void add_body(struct list *list)
{
    if (!list->body_done && has_body(list->message))
        add(list, list->body_field, list->message->body);
    list->body_done = true;
}

static void add_pairs(struct list *list)
{
    const struct mb_value *pairs = &list->message->body_value;

    if (!has_pairs(list->message))
        return;
    for (uint32_t i = 0; i < pairs->as.items.count; i += 2) {
        struct mb_slice name = pairs->as.items.values[i].as.bytes;

        if (!list->foreign || redis_carrier_of(name) == REDIS_CARRIERS_COUNT)
            add(list, name, pairs->as.items.values[i + 1].as.bytes);
    }
}

static void add_carrier(struct list *list, enum redis_carrier carrier, struct mb_slice value)
{
    static const struct mb_slice names[REDIS_CARRIERS_COUNT] = {
        {REDIS_FIELD_SIDECAR, sizeof REDIS_FIELD_SIDECAR - 1},
        {REDIS_FIELD_PATH, sizeof REDIS_FIELD_PATH - 1},
        {REDIS_FIELD_ID, sizeof REDIS_FIELD_ID - 1}};

    if (list->carriers_done[carrier])
        return;
    if (list->carriers[carrier].data != NULL)
        value = list->carriers[carrier];
    if (value.data == NULL)
        return;
    list->carriers_done[carrier] = true;
    list->carriers_count++;
    add(list, names[carrier], value);
}

/* Key and body at their places. all: whatever the places say. */
static void add_due(struct list *list, bool all)
{
    bool key_first = list->key_at <= list->body_at;

    for (int i = 0; i < 2; i++) {
        bool key = (i == 0) == key_first;
        bool due =
            all || (key ? list->key_at : list->body_at) <= list->count - list->carriers_count;

        if (due && key)
            add_key(list);
        else if (due)
            add_body(list);
    }
}

/* A carrier in its place. */
static void add_bridge(struct list *list, const struct mb_header *header)
{
    enum redis_carrier carrier = redis_carrier_of(header->name);

    if (carrier < REDIS_CARRIERS_COUNT && header->value.type == MB_BINARY)
        add_carrier(list, carrier, header->value.as.bytes);
}

static enum mb_status add_header(struct list *list, const struct mb_header *header,
                                 struct mb_arena *arena)
{
    struct mb_text text = {.max_size = REDIS_SIDECAR_MAX};
    struct mb_slice copy;

    switch (header->value.type) {
    case MB_STRING:
    case MB_BINARY:
    case MB_SYMBOL:
        add(list, header->name, header->value.as.bytes);
        return MB_OK;
    case MB_NULL:
        return MB_OK;
    default:
        break;
    }
    mb_text_value(&text, &header->value, NULL);
    copy = mb_slice_copy(arena, (struct mb_slice){text.data != NULL ? text.data : "", text.size});
    mb_text_release(&text);
    if (copy.data == NULL)
        return MB_NO_MEMORY;
    add(list, header->name, copy);
    return MB_OK;
}

/* NULL: the usual one. */
static const struct mb_header *order_of(const struct mb_message *message)
{
    for (uint32_t i = 0; i < message->headers_count; i++) {
        const struct mb_header *header = &message->headers[i];

        if (header->section == MB_SECTION_MESSAGE_ANNOTATIONS && header->value.type == MB_U64 &&
            REDIS_IS_NAME(header->name, REDIS_ANNOTATION_ORDER))
            return header;
    }
    return NULL;
}

static void find_order(struct list *list)
{
    const struct mb_header *order = order_of(list->message);

    list->key_at = 0;
    list->body_at = has_key(list->message) ? 1 : 0;
    if (order == NULL)
        return;
    if (order->value.as.u >> 32 > 0)
        list->key_at = (order->value.as.u >> 32) - 1;
    if ((order->value.as.u & UINT32_MAX) > 0)
        list->body_at = (order->value.as.u & UINT32_MAX) - 1;
}

static enum mb_status list_fields(struct list *list, struct mb_arena *arena)
{
    const struct mb_message *message = list->message;
    size_t capacity = message->headers_count + REDIS_CARRIERS_COUNT + 2;
    enum mb_status status = MB_OK;

    if (has_pairs(message))
        capacity += message->body_value.as.items.count / 2;
    list->fields = mb_arena_alloc(arena, capacity * sizeof *list->fields);
    if (list->fields == NULL)
        return MB_NO_MEMORY;
    find_order(list);
    for (uint32_t i = 0; i < message->headers_count && status == MB_OK; i++) {
        const struct mb_header *header = &message->headers[i];

        add_due(list, false);
        if (header->section == MB_SECTION_BRIDGE)
            add_bridge(list, header);
        else if (header->section == MB_SECTION_APPLICATION)
            status = add_header(list, header, arena);
    }
    add_due(list, true);
    add_carrier(list, REDIS_CARRIER_SIDECAR, MB_SLICE_NULL);
    add_carrier(list, REDIS_CARRIER_PATH, MB_SLICE_NULL);
    add_carrier(list, REDIS_CARRIER_ID, MB_SLICE_NULL);
    /* Behind the carriers: a pair of such a name is none. */
    add_pairs(list);
    /* Redis takes no entry without a field: an empty carrier says nothing. */
    if (list->count == 0)
        add(list, MB_SLICE_LITERAL(REDIS_FIELD_SIDECAR), MB_SLICE_LITERAL(""));
    return status;
}

/* A key, a body, headers that are bytes, carriers: the order is known. 0: it is not as plain. */
static size_t put_plain(const struct mb_carried *carried, struct mb_slice body_field,
                        struct redis_field *fields)
{
    const struct mb_message *message = carried->message;
    size_t count = 0;

    if (has_key(message))
        fields[count++] = (struct redis_field){MB_SLICE_LITERAL(REDIS_FIELD_KEY), message->key};
    fields[count++] = (struct redis_field){body_field, message->body};
    for (uint32_t i = 0; i < message->headers_count; i++) {
        const struct mb_header *header = &message->headers[i];

        if (header->section != MB_SECTION_APPLICATION ||
            (header->value.type != MB_STRING && header->value.type != MB_BINARY))
            return 0;
        fields[count++] = (struct redis_field){header->name, header->value.as.bytes};
    }
    if (carried->sidecar.data != NULL)
        fields[count++] =
            (struct redis_field){MB_SLICE_LITERAL(REDIS_FIELD_SIDECAR), carried->sidecar};
    if (carried->path_size > 0)
        fields[count++] = (struct redis_field){MB_SLICE_LITERAL(REDIS_FIELD_PATH),
                                               {carried->path, carried->path_size}};
    if (carried->id.data != NULL)
        fields[count++] = (struct redis_field){MB_SLICE_LITERAL(REDIS_FIELD_ID), carried->id};
    return count;
}

enum mb_status redis_entry_encode_any(const struct mb_carried *carried, struct mb_slice body_field,
                                      struct mb_arena *arena, struct redis_field **ret_fields,
                                      size_t *ret_count)
{
    struct list list = {.body_field = body_field};
    enum mb_status status;

    list.message = carried->message;
    list.carriers[REDIS_CARRIER_SIDECAR] = carried->sidecar;
    list.carriers[REDIS_CARRIER_ID] = carried->id;
    if (carried->path_size > 0)
        list.carriers[REDIS_CARRIER_PATH] = (struct mb_slice){carried->path, carried->path_size};
    status = list_fields(&list, arena);
    *ret_fields = list.fields;
    *ret_count = list.count;
    return status;
}

enum mb_status redis_entry_encode(const struct mb_carried *carried, struct mb_slice body_field,
                                  struct mb_arena *arena, struct redis_field **ret_fields,
                                  size_t *ret_count)
{
    size_t capacity = (size_t)carried->message->headers_count + REDIS_CARRIERS_COUNT + 2;

    if (has_body(carried->message)) {
        *ret_fields = mb_arena_alloc(arena, capacity * sizeof **ret_fields);
        if (*ret_fields == NULL)
            return MB_NO_MEMORY;
        *ret_count = put_plain(carried, body_field, *ret_fields);
        if (*ret_count > 0)
            return MB_OK;
    }
    return redis_entry_encode_any(carried, body_field, arena, ret_fields, ret_count);
}

/* ---- the natural form ---- */

/* Leaves out what has no place: nulls, and names that would be read as the bridge's own. Adds the
 * content type of a body that became JSON, and keeps the order of the fields. */
static enum mb_status clean_headers(const struct mb_message *original, struct mb_message *message,
                                    bool json, struct mb_arena *arena)
{
    const struct mb_header *order = order_of(original);
    struct mb_header *headers =
        mb_arena_alloc(arena, ((size_t)message->headers_count + 2) * sizeof *headers);
    uint32_t count = 0;

    if (headers == NULL)
        return MB_NO_MEMORY;
    for (uint32_t i = 0; i < message->headers_count; i++) {
        const struct mb_header *header = &message->headers[i];

        if (header->value.type != MB_NULL && redis_carrier_of(header->name) == REDIS_CARRIERS_COUNT)
            headers[count++] = *header;
    }
    if (json && (message->present & MB_HAS_CONTENT_TYPE) == 0) {
        const struct redis_field type = {MB_SLICE_LITERAL("content-type"),
                                         MB_SLICE_LITERAL("application/json")};

        redis_header_set(&headers[count++], &type, MB_SECTION_APPLICATION);
    }
    if (order != NULL)
        headers[count++] = *order;
    message->headers = headers;
    message->headers_count = count;
    return MB_OK;
}

/* Lossy step: what an entry can say, still in the envelope's form. flat starts as a copy. */
static enum mb_status flatten(const struct mb_message *message, struct mb_scratch *scratch,
                              struct mb_message *flat, bool *ret_json)
{
    uint64_t shown = SHOWN;
    enum mb_status status;

    *ret_json = false;
    if (message->timestamp_kind != MB_TIMESTAMP_LOG_APPEND)
        shown |= MB_HAS_TIMESTAMP;
    status = mb_flatten_headers(message, shown, scratch, flat);
    if (status == MB_OK && !has_pairs(message) && message->body_kind != MB_BODY_BYTES)
        status = mb_flatten_body(message, scratch, flat, ret_json);
    if (status == MB_OK && flat->body_kind == MB_BODY_BYTES && flat->body.data == NULL)
        flat->body = MB_SLICE_LITERAL("");
    return status;
}

/* Whether the flat message is read back as it is: no name means something, no place is unusual. */
static bool is_natural(const struct mb_message *message, const struct mb_message *flat,
                       struct mb_slice body_field)
{
    bool key = has_key(flat);

    if (flat->body_kind != MB_BODY_BYTES || REDIS_IS_NAME(body_field, REDIS_FIELD_KEY) ||
        order_of(message) != NULL)
        return false;
    for (uint32_t i = 0; i < flat->headers_count; i++) {
        const struct mb_header *header = &flat->headers[i];

        if (header->value.type == MB_NULL ||
            redis_carrier_of(header->name) != REDIS_CARRIERS_COUNT ||
            (!key && REDIS_IS_NAME(header->name, REDIS_FIELD_KEY)))
            return false;
    }
    return true;
}

/* What reading it back leaves of a message that is_natural. */
static void leave_natural(struct mb_message *flat)
{
    bool key = has_key(flat);

    flat->present = (flat->present & (uint32_t)MB_FIELDS_PROMOTED) | (key ? MB_HAS_KEY : 0);
    if (!key)
        flat->key = MB_SLICE_NULL;
    if (flat->headers_count == 0)
        flat->headers = NULL;
    memset(&flat->body_value, 0, sizeof flat->body_value);
}

/* Written, and read back. */
static enum mb_status read_back(const struct mb_message *message, bool json,
                                struct mb_slice body_field, struct mb_arena *arena,
                                struct mb_message *natural)
{
    struct list list = {.message = natural, .body_field = body_field, .foreign = true};
    struct mb_slice sidecar = natural->sidecar;
    struct mb_slice stable_id = natural->stable_id;
    uint8_t path_count = natural->path_count;
    enum mb_status status = clean_headers(message, natural, json, arena);

    if (status == MB_OK)
        status = list_fields(&list, arena);
    if (status == MB_OK)
        status = redis_entry_decode(list.fields, list.count, body_field, arena, natural);
    natural->sidecar = sidecar;
    natural->stable_id = stable_id;
    natural->path_count = path_count;
    return status;
}

static enum mb_status project(const struct mb_message *message, struct mb_slice body_field,
                              bool any, struct mb_scratch *scratch, struct mb_message *natural,
                              struct mb_error *err)
{
    bool json;
    enum mb_status status = flatten(message, scratch, natural, &json);

    if (status == MB_OK && (any || json || !is_natural(message, natural, body_field)))
        status = read_back(message, json, body_field, &scratch->arena, natural);
    else if (status == MB_OK)
        leave_natural(natural);
    if (status == MB_REJECTED)
        return mb_error_set(err, status, MB_CAUSE_MESSAGE, "unmappable",
                            "the body has no form in bytes: it is nested too deep");
    if (status != MB_OK)
        return mb_error_set(err, status, MB_CAUSE_CONNECTION, "memory", "out of memory");
    natural->raw_kind = MB_RAW_NONE;
    /* The entry's ID will say when; which time that is, is no part of the message. */
    natural->present |= MB_HAS_TIMESTAMP;
    natural->timestamp_kind = MB_TIMESTAMP_LOG_APPEND;
    natural->timestamp_ms = 0;
    return MB_OK;
}

enum mb_status redis_project(void *context, const struct mb_outgoing *item,
                             const struct mb_message *message, struct mb_scratch *scratch,
                             struct mb_message *natural, struct mb_error *err)
{
    const struct mb_slice *body_field = context;

    (void)item;
    return project(message, *body_field, false, scratch, natural, err);
}

enum mb_status redis_project_any(void *context, const struct mb_outgoing *item,
                                 const struct mb_message *message, struct mb_scratch *scratch,
                                 struct mb_message *natural, struct mb_error *err)
{
    const struct mb_slice *body_field = context;

    (void)item;
    return project(message, *body_field, true, scratch, natural, err);
}
