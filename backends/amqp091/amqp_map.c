/* SPDX-License-Identifier: Apache-2.0 */
/* Wire → envelope, by the tables of docs/fidelity.md. Pure: no I/O, no clock. */
#include "amqp_map.h"

#include <kit/field.h>
#include <kit/utf8.h>

static const unsigned char nothing[1];

static struct mb_slice take_property(struct amqp_cursor *properties)
{
    struct mb_slice text = amqp_take_shortstr(properties);

    if (text.size == 0)
        text.data = nothing;
    return text;
}

static void decode_id(struct amqp_cursor *properties, struct mb_id *id)
{
    id->bytes = take_property(properties);
    id->kind = mb_utf8_valid(id->bytes) ? MB_ID_STRING : MB_ID_BINARY;
}

bool amqp_read_ttl(struct mb_slice text, uint64_t *ret_ttl_ms)
{
    const unsigned char *digits = text.data;
    uint64_t ttl = 0;

    if (text.size == 0 || text.size > 18)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        ttl = ttl * 10 + (uint64_t)(digits[i] - '0');
    }
    *ret_ttl_ms = ttl;
    return true;
}

/* Everything but the headers, whose table is given back. */
static uint32_t decode_properties(struct amqp_cursor *cursor, struct mb_message *message,
                                  struct mb_slice *ret_table)
{
    struct mb_properties *properties = message->properties;
    unsigned flags = amqp_take_u16(cursor);
    uint32_t present = 0;
    uint64_t seconds;

    for (unsigned more = flags; (more & AMQP_PROPERTY_MORE_FLAGS) != 0 && !cursor->bad;)
        more = amqp_take_u16(cursor);
    if (flags & AMQP_PROPERTY_CONTENT_TYPE) {
        present |= MB_HAS_CONTENT_TYPE;
        properties->content_type = take_property(cursor);
    }
    if (flags & AMQP_PROPERTY_CONTENT_ENCODING) {
        present |= MB_HAS_CONTENT_ENCODING;
        properties->content_encoding = take_property(cursor);
    }
    if (flags & AMQP_PROPERTY_HEADERS)
        *ret_table = amqp_take_bytes(cursor, amqp_take_u32(cursor));
    if (flags & AMQP_PROPERTY_DELIVERY_MODE) {
        present |= MB_HAS_DURABLE;
        message->durable = amqp_take_u8(cursor) == AMQP_MODE_PERSISTENT;
    }
    if (flags & AMQP_PROPERTY_PRIORITY) {
        present |= MB_HAS_PRIORITY;
        message->priority = amqp_take_u8(cursor);
    }
    if (flags & AMQP_PROPERTY_CORRELATION_ID) {
        present |= MB_HAS_CORRELATION_ID;
        decode_id(cursor, &properties->correlation_id);
    }
    if (flags & AMQP_PROPERTY_REPLY_TO) {
        present |= MB_HAS_REPLY_TO;
        properties->reply_to = take_property(cursor);
    }
    if ((flags & AMQP_PROPERTY_EXPIRATION) &&
        amqp_read_ttl(take_property(cursor), &message->ttl_ms))
        present |= MB_HAS_TTL;
    if (flags & AMQP_PROPERTY_MESSAGE_ID) {
        present |= MB_HAS_MESSAGE_ID;
        decode_id(cursor, &properties->message_id);
    }
    if (flags & AMQP_PROPERTY_TIMESTAMP) {
        seconds = amqp_take_u64(cursor);
        if (seconds <= INT64_MAX / 1000) {
            present |= MB_HAS_TIMESTAMP;
            message->timestamp_ms = (int64_t)seconds * 1000;
            message->timestamp_kind = MB_TIMESTAMP_CREATE_SECONDS;
        }
    }
    if (flags & AMQP_PROPERTY_TYPE) {
        present |= MB_HAS_SUBJECT;
        properties->subject = take_property(cursor);
    }
    if (flags & AMQP_PROPERTY_USER_ID) {
        present |= MB_HAS_USER_ID;
        properties->user_id = take_property(cursor);
    }
    if (flags & AMQP_PROPERTY_APP_ID) {
        present |= MB_HAS_APP_ID;
        properties->app_id = take_property(cursor);
    }
    if (flags & AMQP_PROPERTY_CLUSTER_ID) {
        amqp_take_shortstr(cursor); /* reserved: carried with the raw bytes alone */
        message->unheld |= MB_LOST_PROPERTY;
    }
    return present;
}

static bool is_bytes(const struct mb_value *value)
{
    return value->type == MB_BINARY || value->type == MB_STRING;
}

/* Returns true if the header is a carrier. */
static bool interpret_own(struct mb_message *message, const struct mb_header *header)
{
    const struct mb_value *value = &header->value;

    if (AMQP_NAME_IS(header->name, AMQP_HEADER_KEY) &&
        (is_bytes(value) || value->type == MB_NULL)) {
        message->present |= MB_HAS_KEY;
        message->key = is_bytes(value) ? value->as.bytes : MB_SLICE_NULL;
        return true;
    }
    if (AMQP_NAME_IS(header->name, AMQP_HEADER_NULL) && message->body.size == 0) {
        message->body_kind = MB_BODY_NULL;
        message->body = MB_SLICE_NULL;
        return true;
    }
    /* A broker that converts between AMQP 1.0 and 0-9-1 turns binary into a string. */
    if (!is_bytes(value))
        return false;
    if (AMQP_NAME_IS(header->name, AMQP_HEADER_META)) {
        message->sidecar = value->as.bytes;
        return true;
    }
    if (AMQP_NAME_IS(header->name, AMQP_HEADER_ID)) {
        message->stable_id = value->as.bytes;
        return true;
    }
    if (AMQP_NAME_IS(header->name, AMQP_HEADER_PATH)) {
        mb_path_read(value->as.bytes, message);
        return true;
    }
    return false;
}

/* An id that a property cannot hold; what could be a property is a header like any other. */
static void interpret_id(struct mb_message *message, const struct mb_value *value, uint32_t field,
                         struct mb_id *id)
{
    if ((message->present & field) != 0 || !is_bytes(value) ||
        (value->type == MB_STRING && value->as.bytes.size <= AMQP_SHORTSTR_MAX))
        return;
    message->present |= field;
    id->kind = value->type == MB_STRING ? MB_ID_STRING : MB_ID_BINARY;
    id->bytes = value->as.bytes;
    id->number = 0;
}

/* By JMS: a string, and an int; larger numbers as unsigned. One value, one form. */
static void interpret_group(struct mb_message *message, const struct mb_header *header)
{
    const struct mb_value *value = &header->value;

    if (AMQP_NAME_IS(header->name, AMQP_HEADER_GROUP) && value->type == MB_STRING) {
        message->present |= MB_HAS_GROUP_ID;
        message->properties->group_id = value->as.bytes;
    } else if (AMQP_NAME_IS(header->name, AMQP_HEADER_SEQUENCE)) {
        if (value->type == MB_I32 && value->as.i >= 0)
            message->properties->group_sequence = (uint32_t)value->as.i;
        else if (value->type == MB_U32 && value->as.u > INT32_MAX)
            message->properties->group_sequence = (uint32_t)value->as.u;
        else
            return;
        message->present |= MB_HAS_GROUP_SEQUENCE;
    }
}

void amqp_headers_interpret(struct mb_message *message, struct mb_header *headers, uint32_t count)
{
    static const size_t own_size = sizeof AMQP_HEADER_OWN - 1;
    struct mb_properties *properties = message->properties;

    for (uint32_t i = 0; i < count; i++) {
        struct mb_header *header = &headers[i];
        const char *name = header->name.data;

        if (header->name.size == 0 || (name[0] != 'x' && name[0] != 'J'))
            continue;
        if (name[0] == 'J')
            interpret_group(message, header);
        else if (AMQP_NAME_IS(header->name, AMQP_HEADER_MESSAGE))
            interpret_id(message, &header->value, MB_HAS_MESSAGE_ID, &properties->message_id);
        else if (AMQP_NAME_IS(header->name, AMQP_HEADER_CORREL))
            interpret_id(message, &header->value, MB_HAS_CORRELATION_ID,
                         &properties->correlation_id);
        else if (header->name.size > own_size && memcmp(name, AMQP_HEADER_OWN, own_size) == 0 &&
                 interpret_own(message, header))
            header->section = MB_SECTION_BRIDGE;
    }
    /* On the default exchange the routing key is the queue's name: one key for all. */
    if ((message->present & MB_HAS_KEY) == 0 && properties->exchange.size > 0) {
        message->present |= MB_HAS_KEY;
        message->key = properties->routing_key;
    }
}

static bool whole_number(const struct mb_value *value, uint64_t *ret_number)
{
    switch (value->type) {
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
        *ret_number = value->as.i > 0 ? (uint64_t)value->as.i : 0;
        return true;
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
        *ret_number = value->as.u;
        return true;
    default:
        return false;
    }
}

/* The broker's word about this delivery, which is no part of the message. */
static bool take_delivery_header(struct mb_message *message, const struct mb_header *header,
                                 bool reads_stream)
{
    uint64_t number;

    if (header->name.size < 15 || *(const char *)header->name.data != 'x')
        return false;
    if (reads_stream && AMQP_NAME_IS(header->name, AMQP_HEADER_OFFSET) &&
        whole_number(&header->value, &number)) {
        message->position = (struct mb_position){MB_POSITION_OFFSET, 0, 0, number};
        return true;
    }
    if (AMQP_NAME_IS(header->name, AMQP_HEADER_COUNT) && whole_number(&header->value, &number)) {
        message->delivery_count = number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
        return true;
    }
    return false;
}

static enum mb_status decode_headers(struct mb_slice table, bool reads_stream,
                                     struct mb_arena *arena, struct mb_message *message)
{
    struct mb_header *headers;
    struct mb_slice rest;
    uint32_t count;
    uint32_t kept = 0;
    bool odd_text;
    enum mb_status status = amqp_table_decode(table, arena, &headers, &count, &rest, &odd_text);

    if (status != MB_OK)
        return status;
    if (odd_text)
        message->unheld |= MB_LOST_HEADERS;
    for (uint32_t i = 0; i < count; i++) {
        if (take_delivery_header(message, &headers[i], reads_stream))
            continue;
        if (kept != i)
            headers[kept] = headers[i];
        kept++;
    }
    if (rest.size > 0) {
        memset(&headers[kept], 0, sizeof headers[kept]);
        headers[kept].name = MB_SLICE_LITERAL(AMQP_HEADER_REST);
        headers[kept].name_type = MB_STRING;
        headers[kept].value.type = MB_BINARY;
        headers[kept].value.as.bytes = rest;
        kept++;
    }
    /* A table without entries is still a table: headers is not null then. */
    message->headers = headers;
    message->headers_count = kept;
    amqp_headers_interpret(message, headers, kept);
    return MB_OK;
}

bool amqp_delivery_offset(const struct amqp_event *delivery, uint64_t *ret_offset)
{
    struct amqp_cursor cursor = amqp_cursor_of(delivery->header);
    unsigned flags = amqp_take_u16(&cursor);
    struct mb_slice name;
    struct mb_slice entry;

    if (flags & AMQP_PROPERTY_CONTENT_TYPE)
        amqp_take_shortstr(&cursor);
    if (flags & AMQP_PROPERTY_CONTENT_ENCODING)
        amqp_take_shortstr(&cursor);
    if ((flags & AMQP_PROPERTY_HEADERS) == 0)
        return false;
    cursor = amqp_cursor_of(amqp_not_null(amqp_take_bytes(&cursor, amqp_take_u32(&cursor))));
    while (amqp_table_next(&cursor, &name, &entry)) {
        const unsigned char *value = (const unsigned char *)entry.data + 1 + name.size;

        if (AMQP_NAME_IS(name, AMQP_HEADER_OFFSET) && *value == 'l') {
            *ret_offset = amqp_load(value + 1, 8);
            return true;
        }
    }
    return false;
}

enum mb_status amqp_message_decode(const struct amqp_event *delivery, bool reads_stream,
                                   struct mb_arena *arena, struct mb_message *message)
{
    size_t size = delivery->arguments.size + delivery->header.size + delivery->body.size;
    struct mb_slice table = {NULL, 0};
    struct amqp_cursor cursor;
    unsigned char *copy = mb_arena_alloc(arena, size);

    if (copy == NULL || !mb_properties_own(message, arena))
        return MB_NO_MEMORY;
    memcpy(copy, delivery->arguments.data, delivery->arguments.size);
    cursor = amqp_cursor_of((struct mb_slice){copy, delivery->arguments.size});
    copy += delivery->arguments.size;
    amqp_take_shortstr(&cursor); /* the consumer's tag */
    message->token = amqp_take_u64(&cursor);
    message->redelivered = amqp_take_u8(&cursor) != 0;
    message->properties->exchange = take_property(&cursor);
    message->properties->routing_key = take_property(&cursor);
    if (cursor.bad)
        return MB_INVALID;

    memcpy(copy, delivery->header.data, delivery->header.size);
    cursor = amqp_cursor_of((struct mb_slice){copy, delivery->header.size});
    message->raw_kind = MB_RAW_AMQP091_PROPERTIES;
    message->raw = (struct mb_slice){copy, delivery->header.size};
    copy += delivery->header.size;
    message->body_kind = MB_BODY_BYTES;
    message->body = (struct mb_slice){copy, delivery->body.size};
    if (delivery->body.size > 0)
        memcpy(copy, delivery->body.data, delivery->body.size);
    else
        message->body.data = nothing;
    message->present = MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY;
    message->present |= decode_properties(&cursor, message, &table);
    if (cursor.bad)
        return MB_INVALID;
    if (table.data != NULL)
        return decode_headers(table, reads_stream, arena, message);
    amqp_headers_interpret(message, NULL, 0);
    return MB_OK;
}
