/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Record ↔ envelope. Pure.
 *
 * Kafka knows a key, a value, a time and headers; well-known properties of other platforms are
 * headers by name. Reading, the five harmless ones are shown as properties besides and stay in the
 * list, so that a record that goes back to Kafka has the same headers, in the same order. Writing,
 * a property is added unless the list already says the same.
 */
#include "kafka.h"

#include "kit/utf8.h"

#define HEADER_TEXT_MAX 1024

bool kafka_is_from_kafka(const struct mb_message *message)
{
    return message->origin != NULL &&
           mb_slice_equal(message->origin->platform, MB_SLICE_LITERAL("kafka"));
}

static bool is_name(struct mb_slice name, const char *text)
{
    return name.size == strlen(text) && memcmp(name.data, text, name.size) == 0;
}

/* Of several headers of one name the last one counts, as for Kafka's own clients. */
static void promote(struct mb_message *message, const struct mb_header *header)
{
    struct mb_slice text = header->value.as.bytes;

    if (header->value.type != MB_STRING)
        return;
    switch (header->name.size) {
    case 7:
        if (!is_name(header->name, "subject"))
            return;
        message->subject = text;
        message->present |= MB_HAS_SUBJECT;
        return;
    case 10:
        if (!is_name(header->name, "message-id"))
            return;
        message->message_id = (struct mb_id){.kind = MB_ID_STRING, .bytes = text};
        message->present |= MB_HAS_MESSAGE_ID;
        return;
    case 12:
        if (!is_name(header->name, "content-type"))
            return;
        message->content_type = text;
        message->present |= MB_HAS_CONTENT_TYPE;
        return;
    case 14:
        if (!is_name(header->name, "correlation-id"))
            return;
        message->correlation_id = (struct mb_id){.kind = MB_ID_STRING, .bytes = text};
        message->present |= MB_HAS_CORRELATION_ID;
        return;
    case 16:
        if (!is_name(header->name, "content-encoding"))
            return;
        message->content_encoding = text;
        message->present |= MB_HAS_CONTENT_ENCODING;
        return;
    default:
        return;
    }
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
        const char *name = "";
        const void *value = NULL;
        size_t size = 0;
        size_t name_size;
        char *copy;

        rd_kafka_header_get_all(list, i, &name, &value, &size);
        name_size = strlen(name);
        copy = mb_arena_alloc(arena, name_size + size);
        if (copy == NULL)
            return MB_NO_MEMORY;
        memcpy(copy, name, name_size);
        if (size > 0)
            memcpy(copy + name_size, value, size);
        headers[i].name = (struct mb_slice){copy, name_size};
        headers[i].name_type = MB_STRING;
        set_value(&headers[i].value, value != NULL ? copy + name_size : NULL, size);
        *bytes += name_size + size;
        promote(message, &headers[i]);
    }
    message->headers = headers;
    message->headers_count = (uint32_t)count;
    return MB_OK;
}

enum mb_status kafka_map_from_record(const struct kafka_record *record, struct mb_arena *arena,
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

/* ---- envelope → record ---- */

struct writer {
    const struct mb_message *message;
    struct mb_text *scratch;
    rd_kafka_headers_t *headers;
    bool failed;
};

static void add(struct writer *writer, struct mb_slice name, const void *value, size_t size)
{
    char escaped[HEADER_TEXT_MAX];
    const char *text = name.size > 0 ? name.data : "";
    size_t length = name.size;

    if (writer->headers == NULL) {
        writer->headers = rd_kafka_headers_new(8);
        if (writer->headers == NULL) {
            writer->failed = true;
            return;
        }
    }
    if (name.size > 0 && memchr(name.data, '\0', name.size) != NULL) {
        /* The library ends a name at its first NUL; the escape keeps the rest of it. */
        length = 0;
        for (size_t i = 0; i < name.size && length + 4 < sizeof escaped; i++) {
            if (text[i] == '\0')
                length += (size_t)snprintf(escaped + length, 4, "%%00");
            else
                escaped[length++] = text[i];
        }
        text = escaped;
    }
    if (rd_kafka_header_add(writer->headers, text, (ssize_t)length, value, (ssize_t)size) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        writer->failed = true;
}

static void add_value(struct writer *writer, struct mb_slice name, const struct mb_value *value)
{
    size_t at = writer->scratch->size;

    switch (value->type) {
    case MB_NULL:
        add(writer, name, NULL, 0);
        return;
    case MB_STRING:
    case MB_BINARY:
    case MB_SYMBOL:
        add(writer, name, value->as.bytes.data != NULL ? value->as.bytes.data : "",
            value->as.bytes.size);
        return;
    default:
        mb_text_value(writer->scratch, value, NULL);
        if (writer->scratch->failed)
            writer->failed = true;
        else
            add(writer, name, writer->scratch->size > at ? writer->scratch->data + at : "",
                writer->scratch->size - at);
        return;
    }
}

/* The last header of that name says this already. */
static bool list_says(const struct mb_message *message, struct mb_slice name, struct mb_slice text)
{
    for (uint32_t i = message->headers_count; i-- > 0;) {
        const struct mb_header *header = &message->headers[i];

        if (header->section == MB_SECTION_APPLICATION && mb_slice_equal(header->name, name))
            return (header->value.type == MB_STRING || header->value.type == MB_BINARY) &&
                   mb_slice_equal(header->value.as.bytes, text);
    }
    return false;
}

static void add_property(struct writer *writer, const char *name, struct mb_slice text)
{
    struct mb_slice as = mb_slice_text(name);

    if (!list_says(writer->message, as, text))
        add(writer, as, text.data != NULL ? text.data : "", text.size);
}

static void add_number(struct writer *writer, const char *name, uint64_t number)
{
    char text[24];
    int size = snprintf(text, sizeof text, "%llu", (unsigned long long)number);

    add_property(writer, name, (struct mb_slice){text, (size_t)size});
}

static void add_id(struct writer *writer, const char *name, const struct mb_id *id)
{
    char text[48];
    const unsigned char *bytes = id->bytes.data;

    switch ((enum mb_id_kind)id->kind) {
    case MB_ID_ULONG:
        add_number(writer, name, id->number);
        return;
    case MB_ID_UUID:
        if (id->bytes.size != 16)
            return;
        snprintf(text, sizeof text,
                 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", bytes[0],
                 bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7], bytes[8],
                 bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]);
        add_property(writer, name, mb_slice_text(text));
        return;
    case MB_ID_STRING:
    case MB_ID_BINARY:
        add_property(writer, name, id->bytes);
        return;
    }
}

static void add_properties(struct writer *writer)
{
    const struct mb_message *message = writer->message;
    const struct {
        uint32_t bit;
        const char *name;
        struct mb_slice text;
    } texts[] = {
        {MB_HAS_CONTENT_TYPE, "content-type", message->content_type},
        {MB_HAS_CONTENT_ENCODING, "content-encoding", message->content_encoding},
        {MB_HAS_SUBJECT, "subject", message->subject},
        {MB_HAS_TO, "to", message->to},
        {MB_HAS_REPLY_TO, "reply-to", message->reply_to},
        {MB_HAS_GROUP_ID, "group-id", message->group_id},
        {MB_HAS_REPLY_TO_GROUP_ID, "reply-to-group-id", message->reply_to_group_id},
        {MB_HAS_USER_ID, "user-id", message->user_id},
        {MB_HAS_APP_ID, "app-id", message->app_id},
        {MB_HAS_EXCHANGE, "exchange", message->exchange},
        {MB_HAS_ROUTING_KEY, "routing-key", message->routing_key},
    };

    if ((message->present & MB_HAS_MESSAGE_ID) != 0)
        add_id(writer, "message-id", &message->message_id);
    if ((message->present & MB_HAS_CORRELATION_ID) != 0)
        add_id(writer, "correlation-id", &message->correlation_id);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if ((message->present & texts[i].bit) != 0)
            add_property(writer, texts[i].name, texts[i].text);
    }
    if ((message->present & MB_HAS_GROUP_SEQUENCE) != 0)
        add_number(writer, "group-sequence", message->group_sequence);
    if ((message->present & MB_HAS_PRIORITY) != 0)
        add_number(writer, "priority", message->priority);
    if ((message->present & MB_HAS_TTL) != 0)
        add_number(writer, "ttl", message->ttl_ms);
    if ((message->present & MB_HAS_EXPIRES_AT) != 0)
        add_number(writer, "absolute-expiry", (uint64_t)message->expires_at_ms);
}

static void write_key(const struct mb_message *message, struct kafka_outgoing *outgoing)
{
    bool named = (message->present & MB_HAS_EXCHANGE) != 0 && message->exchange.size > 0;

    if ((message->present & MB_HAS_KEY) != 0)
        outgoing->key = message->key;
    else if (named && (message->present & MB_HAS_ROUTING_KEY) != 0)
        outgoing->key = message->routing_key;
}

static void write_body(const struct mb_message *message, struct mb_text *scratch,
                       struct kafka_outgoing *outgoing)
{
    const struct mb_value *value = &message->body_value;
    size_t at = scratch->size;

    switch ((enum mb_body_kind)message->body_kind) {
    case MB_BODY_NULL:
        return;
    case MB_BODY_BYTES:
    case MB_BODY_MULTI_DATA:
        outgoing->value = message->body;
        break;
    case MB_BODY_VALUE:
        if (value->type == MB_STRING || value->type == MB_BINARY) {
            outgoing->value = value->as.bytes;
            break;
        }
        /* fall through */
    case MB_BODY_SEQUENCE:
    case MB_BODY_PAIRS:
        mb_text_json(scratch, value);
        outgoing->value = (struct mb_slice){scratch->data, scratch->size - at};
        if (scratch->data != NULL)
            outgoing->value.data = scratch->data + at;
        outgoing->value_in_scratch = true;
        break;
    }
    if (outgoing->value.data == NULL)
        outgoing->value.data = ""; /* empty, not a tombstone */
}

enum mb_status kafka_map_to_record(const struct mb_message *message, struct mb_text *scratch,
                                   struct kafka_outgoing *ret_outgoing)
{
    struct writer writer = {.message = message, .scratch = scratch};

    memset(ret_outgoing, 0, sizeof *ret_outgoing);
    mb_text_clear(scratch);
    for (uint32_t i = 0; i < message->headers_count; i++) {
        if (message->headers[i].section == MB_SECTION_APPLICATION)
            add_value(&writer, message->headers[i].name, &message->headers[i].value);
    }
    if ((message->present & ~(uint32_t)(MB_HAS_KEY | MB_HAS_TIMESTAMP)) != 0)
        add_properties(&writer);
    write_key(message, ret_outgoing);
    mb_text_clear(scratch); /* the headers have copies of what they took from it */
    write_body(message, scratch, ret_outgoing);
    /* The library takes 0 for "now": the first millisecond of 1970 becomes the second. */
    if ((message->present & MB_HAS_TIMESTAMP) != 0)
        ret_outgoing->timestamp_ms = message->timestamp_ms > 0 ? message->timestamp_ms : 1;
    if (writer.failed || scratch->failed) {
        if (writer.headers != NULL)
            rd_kafka_headers_destroy(writer.headers);
        return MB_REJECTED;
    }
    ret_outgoing->headers = writer.headers;
    return MB_OK;
}
