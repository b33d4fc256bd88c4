/* SPDX-License-Identifier: Apache-2.0 */
#include "redis_map.h"

#include <kit/field.h>
#include <kit/flatten.h>
#include <kit/utf8.h>

/* What has a field of its own name; the key has one besides, and durable none. */
#define SHOWN                                                                                      \
    (MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID | MB_HAS_CONTENT_TYPE | MB_HAS_CONTENT_ENCODING |   \
     MB_HAS_SUBJECT | MB_HAS_TO | MB_HAS_REPLY_TO | MB_HAS_GROUP_ID | MB_HAS_GROUP_SEQUENCE |      \
     MB_HAS_REPLY_TO_GROUP_ID | MB_HAS_USER_ID | MB_HAS_APP_ID | MB_HAS_EXCHANGE |                 \
     MB_HAS_ROUTING_KEY | MB_HAS_TTL | MB_HAS_EXPIRES_AT | MB_HAS_PRIORITY)

#define NOWHERE SIZE_MAX

static bool is_name(struct mb_slice name, const char *text, size_t size)
{
    return name.size == size && memcmp(name.data, text, size) == 0;
}

#define IS_NAME(slice, literal) is_name(slice, literal, sizeof(literal) - 1)

enum carrier { CARRIER_SIDECAR = 0, CARRIER_PATH, CARRIER_ID, CARRIERS_COUNT };

static enum carrier carrier_of(struct mb_slice name)
{
    if (name.size < sizeof REDIS_FIELD_SIDECAR - 1 ||
        memcmp(name.data, REDIS_FIELD_SIDECAR, sizeof REDIS_FIELD_SIDECAR - 1) != 0)
        return CARRIERS_COUNT;
    if (IS_NAME(name, REDIS_FIELD_SIDECAR))
        return CARRIER_SIDECAR;
    if (IS_NAME(name, REDIS_FIELD_PATH))
        return CARRIER_PATH;
    return IS_NAME(name, REDIS_FIELD_ID) ? CARRIER_ID : CARRIERS_COUNT;
}

/* ---- entry → envelope ---- */

/* Where in the list of fields stands what is no header. */
struct layout {
    size_t key;
    size_t body;
    size_t carriers[CARRIERS_COUNT];
    size_t carriers_count;
};

/* Nothing but a key and a body, as they are written. */
static bool is_key_and_body(const struct layout *layout, size_t count)
{
    return layout->body == count - 1 && (count == 1 || (count == 2 && layout->key == 0));
}

static void find(const struct redis_field *fields, size_t count, struct mb_slice body_field,
                 struct layout *layout)
{
    *layout = (struct layout){NOWHERE, NOWHERE, {NOWHERE, NOWHERE, NOWHERE}, 0};
    for (size_t i = 0; i < count; i++) {
        enum carrier carrier;

        if (layout->key == NOWHERE && IS_NAME(fields[i].name, REDIS_FIELD_KEY)) {
            layout->key = i;
        } else if (layout->body == NOWHERE && mb_slice_equal(fields[i].name, body_field)) {
            layout->body = i;
        } else {
            carrier = carrier_of(fields[i].name);
            if (carrier < CARRIERS_COUNT && layout->carriers[carrier] == NOWHERE) {
                layout->carriers[carrier] = i;
                layout->carriers_count++;
            }
        }
    }
}

static bool is_carrier(const struct layout *layout, size_t at)
{
    return layout->carriers_count > 0 &&
           (at == layout->carriers[CARRIER_SIDECAR] || at == layout->carriers[CARRIER_PATH] ||
            at == layout->carriers[CARRIER_ID]);
}

static void set_header(struct mb_header *header, const struct redis_field *field,
                       enum mb_section section)
{
    memset(header, 0, sizeof *header);
    header->name = field->name;
    header->name_type = MB_STRING;
    header->section = (uint8_t)section;
    header->value.type =
        section == MB_SECTION_APPLICATION && mb_utf8_valid_without_nul(field->value) ? MB_STRING
                                                                                     : MB_BINARY;
    header->value.as.bytes = field->value;
}

/* Where key and body stood: behind how many fields that are no carriers, and one more; 0: there was
 * none. */
static void set_order(struct mb_header *header, uint64_t key, uint64_t body)
{
    memset(header, 0, sizeof *header);
    header->name = MB_SLICE_LITERAL(REDIS_ANNOTATION_ORDER);
    header->name_type = MB_SYMBOL;
    header->section = MB_SECTION_MESSAGE_ANNOTATIONS;
    header->value.type = MB_U64;
    header->value.as.u = key << 32 | body;
}

static uint64_t carriers_before(const struct layout *layout, size_t at)
{
    uint64_t count = 0;

    for (size_t i = 0; i < CARRIERS_COUNT; i++)
        count += layout->carriers[i] != NOWHERE && layout->carriers[i] < at;
    return count;
}

static void read_carriers(const struct redis_field *fields, const struct layout *layout,
                          struct mb_message *message)
{
    size_t sidecar = layout->carriers[CARRIER_SIDECAR];
    size_t path = layout->carriers[CARRIER_PATH];
    size_t id = layout->carriers[CARRIER_ID];

    message->sidecar = MB_SLICE_NULL;
    message->stable_id = MB_SLICE_NULL;
    message->path_count = 0;
    if (sidecar != NOWHERE && fields[sidecar].value.size > 0)
        message->sidecar = fields[sidecar].value;
    if (path != NOWHERE)
        mb_path_read(fields[path].value, message);
    if (id != NOWHERE)
        message->stable_id = fields[id].value;
}

/* An entry without a body field: its pairs are the body, and only the carriers are headers. */
static enum mb_status read_pairs(const struct redis_field *fields, size_t count,
                                 const struct layout *layout, struct mb_arena *arena,
                                 struct mb_message *message)
{
    size_t pairs = count - layout->carriers_count;
    struct mb_value *values = mb_arena_alloc(arena, 2 * pairs * sizeof *values);
    struct mb_header *headers = mb_arena_alloc(arena, layout->carriers_count * sizeof *headers);
    uint32_t at = 0;

    if (values == NULL || headers == NULL)
        return MB_NO_MEMORY;
    memset(values, 0, 2 * pairs * sizeof *values);
    message->headers_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_carrier(layout, i)) {
            set_header(&headers[message->headers_count++], &fields[i], MB_SECTION_BRIDGE);
            continue;
        }
        values[at].type = MB_BINARY;
        values[at++].as.bytes = fields[i].name;
        values[at].type = MB_BINARY;
        values[at++].as.bytes = fields[i].value;
    }
    message->headers = message->headers_count > 0 ? headers : NULL;
    message->body_kind = MB_BODY_PAIRS;
    message->body = MB_SLICE_NULL;
    memset(&message->body_value, 0, sizeof message->body_value);
    message->body_value.type = MB_MAP;
    message->body_value.as.items.values = values;
    message->body_value.as.items.count = at;
    return MB_OK;
}

static void set_content(struct mb_message *message, const struct mb_header *headers, uint32_t count,
                        struct mb_slice body)
{
    message->headers = headers;
    message->headers_count = count;
    message->body_kind = MB_BODY_BYTES;
    message->body = body;
    memset(&message->body_value, 0, sizeof message->body_value);
}

static enum mb_status read_headers(const struct redis_field *fields, size_t count,
                                   const struct layout *layout, struct mb_arena *arena,
                                   struct mb_message *message)
{
    bool has_key = layout->key != NOWHERE;
    uint64_t key = has_key ? layout->key - carriers_before(layout, layout->key) : 0;
    uint64_t body = layout->body - carriers_before(layout, layout->body);
    bool usual = key == 0 && body == (has_key ? 1u : 0u);
    struct mb_header *headers = mb_arena_alloc(arena, count * sizeof *headers);
    uint32_t used = 0;

    if (headers == NULL)
        return MB_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        bool carrier = is_carrier(layout, i);

        if (i == layout->key || i == layout->body)
            continue;
        set_header(&headers[used], &fields[i],
                   carrier ? MB_SECTION_BRIDGE : MB_SECTION_APPLICATION);
        if (!carrier)
            mb_field_promote(message, &headers[used]);
        used++;
    }
    if (!usual)
        set_order(&headers[used++], has_key ? key + 1 : 0, body + 1);
    set_content(message, used > 0 ? headers : NULL, used, fields[layout->body].value);
    return MB_OK;
}

enum mb_status redis_entry_decode(const struct redis_field *fields, size_t count,
                                  struct mb_slice body_field, struct mb_arena *arena,
                                  struct mb_message *message)
{
    struct layout layout;

    find(fields, count, body_field, &layout);
    message->present = 0;
    message->key = MB_SLICE_NULL;
    if (layout.key != NOWHERE) {
        message->present |= MB_HAS_KEY;
        message->key = fields[layout.key].value;
    }
    read_carriers(fields, &layout, message);
    if (is_key_and_body(&layout, count)) {
        set_content(message, NULL, 0, fields[layout.body].value);
        return MB_OK;
    }
    if (layout.body == NOWHERE)
        return read_pairs(fields, count, &layout, arena, message);
    return read_headers(fields, count, &layout, arena, message);
}

/* ---- envelope → entry ---- */

struct list {
    struct redis_field *fields;
    size_t count;
    const struct mb_message *message;
    struct mb_slice body_field;
    struct mb_slice carriers[CARRIERS_COUNT]; /* to write; null: as they are in the list, if so */
    size_t carriers_count;                    /* of those that are written */
    uint64_t key_at;                          /* behind so many fields that are no carriers */
    uint64_t body_at;
    bool foreign; /* names that would be read as the bridge's own are left out */
    bool key_done;
    bool body_done;
    bool carriers_done[CARRIERS_COUNT];
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

        if (!list->foreign || carrier_of(name) == CARRIERS_COUNT)
            add(list, name, pairs->as.items.values[i + 1].as.bytes);
    }
}

static void add_carrier(struct list *list, enum carrier carrier, struct mb_slice value)
{
    static const struct mb_slice names[CARRIERS_COUNT] = {
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
    enum carrier carrier = carrier_of(header->name);

    if (carrier < CARRIERS_COUNT && header->value.type == MB_BINARY)
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
            IS_NAME(header->name, REDIS_ANNOTATION_ORDER))
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
    size_t capacity = message->headers_count + CARRIERS_COUNT + 2;
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
    add_carrier(list, CARRIER_SIDECAR, MB_SLICE_NULL);
    add_carrier(list, CARRIER_PATH, MB_SLICE_NULL);
    add_carrier(list, CARRIER_ID, MB_SLICE_NULL);
    /* Behind the carriers: a pair of such a name is none. */
    add_pairs(list);
    /* Redis takes no entry without a field: an empty carrier says nothing. */
    if (list->count == 0)
        add(list, MB_SLICE_LITERAL(REDIS_FIELD_SIDECAR), MB_SLICE_LITERAL(""));
    return status;
}

/* A key, a body, and nothing else. */
static bool is_plain(const struct mb_carried *carried)
{
    return carried->message->headers_count == 0 && has_body(carried->message) &&
           carried->sidecar.data == NULL && carried->id.data == NULL && carried->path_size == 0;
}

static enum mb_status encode_plain(const struct mb_message *message, struct mb_slice body_field,
                                   struct mb_arena *arena, struct redis_field **ret_fields,
                                   size_t *ret_count)
{
    struct redis_field *fields = mb_arena_alloc(arena, 2 * sizeof *fields);

    *ret_fields = fields;
    *ret_count = 0;
    if (fields == NULL)
        return MB_NO_MEMORY;
    if (has_key(message))
        fields[(*ret_count)++] =
            (struct redis_field){MB_SLICE_LITERAL(REDIS_FIELD_KEY), message->key};
    fields[(*ret_count)++] = (struct redis_field){body_field, message->body};
    return MB_OK;
}

enum mb_status redis_entry_encode(const struct mb_carried *carried, struct mb_slice body_field,
                                  struct mb_arena *arena, struct redis_field **ret_fields,
                                  size_t *ret_count)
{
    struct list list = {.body_field = body_field};
    enum mb_status status;

    if (is_plain(carried))
        return encode_plain(carried->message, body_field, arena, ret_fields, ret_count);
    list.message = carried->message;
    list.carriers[CARRIER_SIDECAR] = carried->sidecar;
    list.carriers[CARRIER_ID] = carried->id;
    if (carried->path_size > 0)
        list.carriers[CARRIER_PATH] = (struct mb_slice){carried->path, carried->path_size};
    status = list_fields(&list, arena);
    *ret_fields = list.fields;
    *ret_count = list.count;
    return status;
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

        if (header->value.type != MB_NULL && carrier_of(header->name) == CARRIERS_COUNT)
            headers[count++] = *header;
    }
    if (json && (message->present & MB_HAS_CONTENT_TYPE) == 0) {
        const struct redis_field type = {MB_SLICE_LITERAL("content-type"),
                                         MB_SLICE_LITERAL("application/json")};

        set_header(&headers[count++], &type, MB_SECTION_APPLICATION);
    }
    if (order != NULL)
        headers[count++] = *order;
    message->headers = headers;
    message->headers_count = count;
    return MB_OK;
}

/* Lossy step: what an entry can say, still in the envelope's form. flat starts as a copy. */
static enum mb_status flatten(const struct mb_message *message, struct mb_scratch *scratch,
                              struct mb_message *flat)
{
    uint64_t shown = SHOWN;
    bool json = false;
    enum mb_status status;

    if (message->timestamp_kind != MB_TIMESTAMP_LOG_APPEND)
        shown |= MB_HAS_TIMESTAMP;
    status = mb_flatten_headers(message, shown, scratch, flat);
    if (status == MB_OK && !has_pairs(message) && message->body_kind != MB_BODY_BYTES)
        status = mb_flatten_body(message, scratch, flat, &json);
    if (status == MB_OK && flat->body_kind == MB_BODY_BYTES && flat->body.data == NULL)
        flat->body = MB_SLICE_LITERAL("");
    if (status == MB_OK)
        status = clean_headers(message, flat, json, &scratch->arena);
    return status;
}

enum mb_status redis_project(void *context, const struct mb_outgoing *item,
                             const struct mb_message *message, struct mb_scratch *scratch,
                             struct mb_message *natural, struct mb_error *err)
{
    const struct mb_slice *body_field = context;
    struct list list = {.message = natural, .body_field = *body_field, .foreign = true};
    enum mb_status status = flatten(message, scratch, natural);

    (void)item;
    if (status == MB_OK)
        status = list_fields(&list, &scratch->arena);
    if (status == MB_OK) {
        struct mb_slice sidecar = natural->sidecar;
        struct mb_slice stable_id = natural->stable_id;
        uint8_t path_count = natural->path_count;

        status = redis_entry_decode(list.fields, list.count, *body_field, &scratch->arena, natural);
        natural->sidecar = sidecar;
        natural->stable_id = stable_id;
        natural->path_count = path_count;
        natural->raw_kind = MB_RAW_NONE;
        /* The entry's ID will say when; which time that is, is no part of the message. */
        natural->present |= MB_HAS_TIMESTAMP;
        natural->timestamp_kind = MB_TIMESTAMP_LOG_APPEND;
        natural->timestamp_ms = 0;
    }
    if (status == MB_REJECTED)
        return mb_error_set(err, status, MB_CAUSE_MESSAGE, "unmappable",
                            "the body has no form in bytes: it is nested too deep");
    if (status != MB_OK)
        return mb_error_set(err, status, MB_CAUSE_CONNECTION, "memory", "out of memory");
    return MB_OK;
}
