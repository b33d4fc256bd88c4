/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Record ↔ envelope. Pure, in three parts (record 0009): project makes of any message the one that
 * a record can hold, encode writes that, decode reads it back.
 *
 * Kafka knows a key, a value, a time and headers. Well-known properties of other platforms are
 * headers by name; reading, the five harmless ones are shown as properties besides and stay in the
 * list, which alone is written: a record that goes back to Kafka has the same headers in the same
 * order.
 */
#include "kafka.h"

#include "kit/field.h"
#include "kit/flatten.h"
#include "kit/utf8.h"

#define NAME_SIDECAR   MB_SLICE_LITERAL("mbridge.meta")
#define NAME_PATH      MB_SLICE_LITERAL("mbridge.path")
#define NAME_ID        MB_SLICE_LITERAL("mbridge.id")
#define TYPED_TEXT_MAX (1024u * 1024)

/* The properties that become headers. Key, time and the bridge's own carriers have places of their
 * own; whether a message is durable says nothing to a reader of a log. */
#define SHOWN                                                                                      \
    (MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID | MB_HAS_CONTENT_TYPE | MB_HAS_CONTENT_ENCODING |   \
     MB_HAS_SUBJECT | MB_HAS_TO | MB_HAS_REPLY_TO | MB_HAS_GROUP_ID | MB_HAS_GROUP_SEQUENCE |      \
     MB_HAS_REPLY_TO_GROUP_ID | MB_HAS_USER_ID | MB_HAS_APP_ID | MB_HAS_EXCHANGE |                 \
     MB_HAS_ROUTING_KEY | MB_HAS_TTL | MB_HAS_EXPIRES_AT | MB_HAS_PRIORITY)

/* ---- record → envelope ---- */

static bool is_carrier(struct mb_slice name)
{
    return name.size >= 8 && memcmp(name.data, "mbridge.", 8) == 0 &&
           (mb_slice_equal(name, NAME_SIDECAR) || mb_slice_equal(name, NAME_PATH) ||
            mb_slice_equal(name, NAME_ID));
}

/* Of several carriers of one name the last one counts. */
static void take_carrier(struct mb_message *message, struct mb_header *header)
{
    header->section = MB_SECTION_BRIDGE;
    if (header->value.type == MB_NULL || header->value.as.bytes.size == 0)
        return;
    if (mb_slice_equal(header->name, NAME_SIDECAR))
        message->sidecar = header->value.as.bytes;
    else if (mb_slice_equal(header->name, NAME_ID))
        message->stable_id = header->value.as.bytes;
    else
        mb_path_read(header->value.as.bytes, message);
}

static void set_value(struct mb_value *value, const void *data, size_t size)
{
    struct mb_slice bytes = {data, size};

    if (data == NULL) {
        value->type = MB_NULL;
        return;
    }
    value->type = mb_utf8_valid_without_nul(bytes) ? MB_STRING : MB_BINARY;
    value->as.bytes = bytes;
}

static enum mb_status read_header(const rd_kafka_headers_t *list, size_t index,
                                  struct mb_arena *arena, struct mb_header *header, uint64_t *bytes)
{
    const char *name = "";
    const void *value = NULL;
    size_t size = 0;
    size_t name_size;
    char *copy;

    rd_kafka_header_get_all(list, index, &name, &value, &size);
    name_size = strlen(name);
    copy = mb_arena_alloc(arena, name_size + size);
    if (copy == NULL)
        return MB_NO_MEMORY;
    memcpy(copy, name, name_size);
    if (size > 0)
        memcpy(copy + name_size, value, size);
    header->name = (struct mb_slice){copy, name_size};
    header->name_type = MB_STRING;
    set_value(&header->value, value != NULL ? copy + name_size : NULL, size);
    *bytes += name_size + size;
    return MB_OK;
}

static enum mb_status read_headers(const rd_kafka_headers_t *list, struct mb_arena *arena,
                                   struct mb_message *message, uint64_t *bytes)
{
    size_t count = rd_kafka_header_cnt(list);
    struct mb_header *headers;

    if (count == 0)
        return MB_OK;
    headers = mb_arena_alloc(arena, count * sizeof *headers);
    if (headers == NULL)
        return MB_NO_MEMORY;
    memset(headers, 0, count * sizeof *headers);
    for (size_t i = 0; i < count; i++) {
        enum mb_status status = read_header(list, i, arena, &headers[i], bytes);

        if (status != MB_OK)
            return status;
        if (is_carrier(headers[i].name))
            take_carrier(message, &headers[i]);
        else if (!mb_field_promote(message, &headers[i], arena))
            return MB_NO_MEMORY;
    }
    message->headers = headers;
    message->headers_count = (uint32_t)count;
    return MB_OK;
}

enum mb_status kafka_map_decode(const struct kafka_record *record, struct mb_arena *arena,
                                struct mb_message *message, uint64_t *ret_bytes)
{
    char *copy = mb_arena_alloc(arena, record->key.size + record->value.size);

    *ret_bytes = record->key.size + record->value.size;
    if (copy == NULL)
        return MB_NO_MEMORY;
    if (record->key.data != NULL) {
        if (record->key.size > 0)
            memcpy(copy, record->key.data, record->key.size);
        message->key = (struct mb_slice){copy, record->key.size};
        message->present |= MB_HAS_KEY;
    }
    message->body_kind = MB_BODY_NULL;
    if (record->value.data != NULL) {
        if (record->value.size > 0)
            memcpy(copy + record->key.size, record->value.data, record->value.size);
        message->body = (struct mb_slice){copy + record->key.size, record->value.size};
        message->body_kind = MB_BODY_BYTES;
    }
    if (record->timestamp_type != RD_KAFKA_TIMESTAMP_NOT_AVAILABLE) {
        message->timestamp_ms = record->timestamp_ms;
        message->timestamp_kind = record->timestamp_type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME
                                      ? MB_TIMESTAMP_LOG_APPEND
                                      : MB_TIMESTAMP_CREATE;
        message->present |= MB_HAS_TIMESTAMP;
    }
    if (record->headers != NULL)
        return read_headers(record->headers, arena, message, ret_bytes);
    return MB_OK;
}

/* ---- envelope → natural message ---- */

static bool has_nul(struct mb_slice name)
{
    return name.size > 0 && memchr(name.data, '\0', name.size) != NULL;
}

/* The library ends a name at its first NUL: the escape keeps the rest of it. */
static struct mb_slice escape_name(struct mb_slice name, struct mb_arena *arena)
{
    const char *from = name.data;
    char *to = mb_arena_alloc(arena, name.size * 3);
    size_t size = 0;

    if (to == NULL)
        return MB_SLICE_NULL;
    for (size_t i = 0; i < name.size; i++) {
        if (from[i] == '\0') {
            memcpy(to + size, "%00", 3);
            size += 3;
        } else {
            to[size++] = from[i];
        }
    }
    return (struct mb_slice){to, size};
}

/* Names that a record cannot have: with NUL, and those of the carriers, which nobody else may
 * write: they would be read back as the bridge's own. */
static enum mb_status project_names(struct mb_scratch *scratch, struct mb_message *natural)
{
    struct mb_header *headers;
    uint32_t count = 0;
    uint32_t odd = 0;

    for (uint32_t i = 0; i < natural->headers_count; i++)
        odd += has_nul(natural->headers[i].name) || is_carrier(natural->headers[i].name);
    if (odd == 0)
        return MB_OK;
    headers = mb_arena_alloc(&scratch->arena, natural->headers_count * sizeof *headers);
    if (headers == NULL)
        return MB_NO_MEMORY;
    for (uint32_t i = 0; i < natural->headers_count; i++) {
        if (is_carrier(natural->headers[i].name))
            continue;
        headers[count] = natural->headers[i];
        if (has_nul(headers[count].name)) {
            headers[count].name = escape_name(headers[count].name, &scratch->arena);
            if (headers[count].name.data == NULL)
                return MB_NO_MEMORY;
        }
        count++;
    }
    natural->headers = headers;
    natural->headers_count = count;
    return MB_OK;
}

/* The body became JSON: say so where nothing says what it is. */
static enum mb_status say_json(struct mb_scratch *scratch, struct mb_message *natural)
{
    size_t count = natural->headers_count;
    struct mb_header *headers = mb_arena_alloc(&scratch->arena, (count + 1) * sizeof *headers);

    if (headers == NULL)
        return MB_NO_MEMORY;
    if (count > 0)
        memcpy(headers, natural->headers, count * sizeof *headers);
    headers[count] = (struct mb_header){
        .name = MB_SLICE_LITERAL("content-type"),
        .value = {.type = MB_STRING, .as.bytes = MB_SLICE_LITERAL("application/json")},
        .section = MB_SECTION_APPLICATION,
        .name_type = MB_STRING};
    if (!mb_field_promote(natural, &headers[count], &scratch->arena))
        return MB_NO_MEMORY;
    natural->headers = headers;
    natural->headers_count++;
    return MB_OK;
}

/* A routing key says which messages belong together only where an exchange has a name: on the
 * default exchange it is the queue's name, one for all. */
static struct mb_slice key_of(const struct mb_message *message)
{
    bool named =
        (message->present & MB_HAS_EXCHANGE) != 0 && mb_properties_of(message)->exchange.size > 0;

    if ((message->present & MB_HAS_KEY) != 0)
        return message->key;
    if (named && (message->present & MB_HAS_ROUTING_KEY) != 0)
        return mb_properties_of(message)->routing_key;
    if ((message->present & MB_HAS_GROUP_ID) != 0)
        return mb_properties_of(message)->group_id;
    return MB_SLICE_NULL;
}

/* Every record has a time. The library takes 0 for "now": the first millisecond of 1970 becomes the
 * second. */
static void project_time(const struct kafka_projection *projection,
                         const struct mb_message *message, struct mb_message *natural)
{
    if ((message->present & MB_HAS_TIMESTAMP) != 0)
        natural->timestamp_ms = message->timestamp_ms > 0 ? message->timestamp_ms : 1;
    else if (projection->now_ms > 0)
        natural->timestamp_ms = projection->now_ms;
    else
        return;
    natural->timestamp_kind = MB_TIMESTAMP_CREATE;
    natural->present |= MB_HAS_TIMESTAMP;
}

enum mb_status kafka_map_project(void *context, const struct mb_outgoing *item,
                                 const struct mb_message *message, struct mb_scratch *scratch,
                                 struct mb_message *natural, struct mb_error *err)
{
    struct mb_slice key = key_of(message);
    bool json = false;
    enum mb_status status = mb_flatten_headers(message, SHOWN, scratch, natural);

    (void)item;
    if (status == MB_OK)
        status = mb_flatten_body(message, scratch, natural, &json);
    if (status == MB_OK && json && (natural->present & MB_HAS_CONTENT_TYPE) == 0)
        status = say_json(scratch, natural);
    if (status == MB_OK)
        status = project_names(scratch, natural);
    if (status != MB_OK)
        return mb_error_set(err, status, MB_CAUSE_MESSAGE, "invalid",
                            "the message cannot be put into the form of a record");
    natural->present &= MB_FIELDS_PROMOTED;
    natural->key = key;
    if (key.data != NULL)
        natural->present |= MB_HAS_KEY;
    project_time(context, message, natural);
    return MB_OK;
}

/* ---- natural message → record ---- */

/* What the bridge adds, each once: in its old place if there is one, else at the end. */
struct carrier {
    struct mb_slice name;
    struct mb_slice value; /* null: none is to be added */
    bool written;
};

#define CARRIERS 3

static struct carrier *carrier_of(struct carrier *carriers, struct mb_slice name)
{
    for (size_t i = 0; i < CARRIERS; i++) {
        if (carriers[i].value.data != NULL && mb_slice_equal(carriers[i].name, name))
            return &carriers[i];
    }
    return NULL;
}

static enum mb_status add(rd_kafka_headers_t *headers, struct mb_slice name, struct mb_slice value)
{
    rd_kafka_resp_err_t code =
        rd_kafka_header_add(headers, name.size > 0 ? name.data : "", (ssize_t)name.size, value.data,
                            (ssize_t)value.size);

    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? MB_OK : MB_NO_MEMORY;
}

static enum mb_status add_value(rd_kafka_headers_t *headers, struct mb_slice name,
                                const struct mb_value *value)
{
    struct mb_text text = {.max_size = TYPED_TEXT_MAX};
    enum mb_status status;

    if (value->type == MB_NULL)
        return add(headers, name, MB_SLICE_NULL);
    if (value->type == MB_STRING || value->type == MB_BINARY)
        return add(headers, name,
                   value->as.bytes.data != NULL ? value->as.bytes : MB_SLICE_LITERAL(""));
    /* No record was read with such a value, and project leaves none. */
    mb_text_value(&text, value, NULL);
    status = text.failed ? MB_REJECTED
                         : add(headers, name,
                               text.size > 0 ? (struct mb_slice){text.data, text.size}
                                             : MB_SLICE_LITERAL(""));
    mb_text_release(&text);
    return status;
}

static enum mb_status add_header(rd_kafka_headers_t *headers, const struct mb_header *header,
                                 struct carrier *carriers)
{
    struct carrier *carrier = NULL;

    if (header->section == MB_SECTION_BRIDGE)
        carrier = carrier_of(carriers, header->name);
    else if (header->section != MB_SECTION_APPLICATION)
        return MB_OK;
    if (carrier == NULL)
        return add_value(headers, header->name, &header->value);
    if (carrier->written)
        return MB_OK;
    carrier->written = true;
    return add(headers, carrier->name, carrier->value);
}

static enum mb_status add_headers(rd_kafka_headers_t *headers, const struct mb_message *message,
                                  struct carrier *carriers)
{
    enum mb_status status = MB_OK;

    for (uint32_t i = 0; status == MB_OK && i < message->headers_count; i++)
        status = add_header(headers, &message->headers[i], carriers);
    for (size_t i = 0; status == MB_OK && i < CARRIERS; i++) {
        if (carriers[i].value.data != NULL && !carriers[i].written)
            status = add(headers, carriers[i].name, carriers[i].value);
    }
    return status;
}

/* The library wants a list of its own for each record, with a piece of memory for each header: most
 * records of a log have none, and need none. */
static enum mb_status make_headers(const struct mb_carried *carried,
                                   rd_kafka_headers_t **ret_headers)
{
    const struct mb_message *message = carried->message;
    struct carrier carriers[CARRIERS];
    size_t count = message->headers_count;
    enum mb_status status;

    if (count == 0 && carried->id.data == NULL && carried->path_size == 0 &&
        carried->sidecar.data == NULL)
        return MB_OK;
    carriers[0] = (struct carrier){.name = NAME_ID, .value = carried->id};
    carriers[1] = (struct carrier){.name = NAME_PATH};
    if (carried->path_size > 0)
        carriers[1].value = (struct mb_slice){carried->path, carried->path_size};
    carriers[2] = (struct carrier){.name = NAME_SIDECAR, .value = carried->sidecar};
    for (size_t i = 0; i < CARRIERS; i++)
        count += carriers[i].value.data != NULL;
    *ret_headers = rd_kafka_headers_new(count);
    if (*ret_headers == NULL)
        return MB_NO_MEMORY;
    status = add_headers(*ret_headers, message, carriers);
    if (status != MB_OK) {
        rd_kafka_headers_destroy(*ret_headers);
        *ret_headers = NULL;
    }
    return status;
}

enum mb_status kafka_map_encode(const struct mb_carried *carried,
                                struct kafka_outgoing *ret_outgoing)
{
    const struct mb_message *message = carried->message;

    memset(ret_outgoing, 0, sizeof *ret_outgoing);
    if ((message->present & MB_HAS_KEY) != 0)
        ret_outgoing->key = message->key;
    if (message->body_kind != MB_BODY_NULL)
        ret_outgoing->value = message->body.data != NULL ? message->body : MB_SLICE_LITERAL("");
    if ((message->present & MB_HAS_TIMESTAMP) != 0)
        ret_outgoing->timestamp_ms = message->timestamp_ms > 0 ? message->timestamp_ms : 1;
    if (ret_outgoing->timestamp_ms != message->timestamp_ms)
        ret_outgoing->lost = message->present & MB_HAS_TIMESTAMP;
    return make_headers(carried, &ret_outgoing->headers);
}
