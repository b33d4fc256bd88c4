/* SPDX-License-Identifier: Apache-2.0 */
/* Natural message → wire. Pure: no I/O, no clock. */
#include "amqp_map.h"

#include <kit/utf8.h>

struct encoding {
    struct amqp_writer *writer;
    const struct mb_message *message;
    const struct mb_carried *carried;
    const struct amqp_encoding *settings;
    unsigned flags; /* of the properties written */
    uint64_t lost;
};

static void put_carriers(struct amqp_writer *writer, const struct mb_carried *carried)
{
    if (carried->sidecar.data != NULL)
        amqp_put_name_text(writer, AMQP_HEADER_META, 'x', carried->sidecar);
    if (carried->path_size > 0)
        amqp_put_name_text(writer, AMQP_HEADER_PATH, 'x',
                           (struct mb_slice){carried->path, carried->path_size});
    if (carried->id.data != NULL)
        amqp_put_name_text(writer, AMQP_HEADER_ID, 'S', carried->id);
}

static bool is_renewed(const struct mb_carried *carried, struct mb_slice name)
{
    if (name.size < sizeof AMQP_HEADER_OWN ||
        memcmp(name.data, AMQP_HEADER_OWN, sizeof AMQP_HEADER_OWN - 1) != 0)
        return false;
    return (carried->sidecar.data != NULL && AMQP_NAME_IS(name, AMQP_HEADER_META)) ||
           (carried->path_size > 0 && AMQP_NAME_IS(name, AMQP_HEADER_PATH)) ||
           (carried->id.data != NULL && AMQP_NAME_IS(name, AMQP_HEADER_ID));
}

static bool may_say_user_id(const struct amqp_encoding *settings, struct mb_slice user_id)
{
    const char *username = settings->username;

    return username != NULL && username[0] != '\0' &&
           amqp_name_is(user_id, username, strlen(username));
}

static bool may_reply_to(struct mb_slice reply_to)
{
    return !AMQP_NAME_IS(reply_to, "amq.rabbitmq.reply-to");
}

/* ---- from the envelope -------------------------------------------------------------------- */

static void put_text(struct encoding *encoding, uint32_t field, struct mb_slice text,
                     unsigned property)
{
    if ((encoding->message->present & field) == 0)
        return;
    if (text.size > AMQP_SHORTSTR_MAX) {
        encoding->lost |= field;
        return;
    }
    amqp_put_shortstr(encoding->writer, text);
    encoding->flags |= property;
}

/* An id of another kind stands among the headers, unless the property itself was no UTF-8. */
static void put_id(struct encoding *encoding, uint32_t field, const struct mb_id *id,
                   unsigned property)
{
    bool fits = id->bytes.size <= AMQP_SHORTSTR_MAX;

    if (fits &&
        (id->kind == MB_ID_STRING || (encoding->carried->verbatim && !mb_utf8_valid(id->bytes))))
        put_text(encoding, field, id->bytes, property);
}

static void put_headers(struct encoding *encoding)
{
    const struct mb_message *message = encoding->message;
    struct amqp_writer *writer = encoding->writer;
    struct amqp_writer before = *writer;
    unsigned char *size = amqp_room(writer, 4);

    for (uint32_t i = 0; i < message->headers_count && !writer->full; i++) {
        const struct mb_header *header = &message->headers[i];

        if (header->name.size > AMQP_SHORTSTR_MAX) {
            encoding->lost |= MB_LOST_HEADERS;
            continue;
        }
        if (header->section == MB_SECTION_BRIDGE && is_renewed(encoding->carried, header->name))
            continue;
        amqp_put_shortstr(writer, header->name);
        amqp_put_value(writer, &header->value);
    }
    put_carriers(writer, encoding->carried);
    if (writer->full)
        return;
    if (writer->at == size + 4 && message->headers == NULL) {
        *writer = before;
        return;
    }
    amqp_store(size, (uint64_t)(writer->at - size) - 4, 4);
    encoding->flags |= AMQP_PROPERTY_HEADERS;
}

static void put_expiration(struct encoding *encoding)
{
    char digits[24];
    char *at = digits + sizeof digits;
    uint64_t ttl = encoding->message->ttl_ms;

    if ((encoding->message->present & MB_HAS_TTL) == 0)
        return;
    /* Its bound: beyond it a message closes the channel. */
    if (ttl > UINT32_MAX) {
        encoding->lost |= MB_HAS_TTL;
        return;
    }
    do {
        *--at = (char)('0' + ttl % 10);
        ttl /= 10;
    } while (ttl > 0);
    amqp_put_shortstr(encoding->writer,
                      (struct mb_slice){at, (size_t)(digits + sizeof digits - at)});
    encoding->flags |= AMQP_PROPERTY_EXPIRATION;
}

static void put_delivery_mode(struct encoding *encoding, bool is_present, unsigned mode)
{
    if (!is_present && !encoding->settings->persistent)
        return;
    amqp_put_u8(encoding->writer, is_present ? mode : AMQP_MODE_PERSISTENT);
    encoding->flags |= AMQP_PROPERTY_DELIVERY_MODE;
}

static void put_guarded(struct encoding *encoding, uint32_t field, bool allowed,
                        struct mb_slice text, unsigned property)
{
    if ((encoding->message->present & field) != 0 && !allowed)
        encoding->lost |= field;
    else
        put_text(encoding, field, text, property);
}

static void put_envelope(struct encoding *encoding)
{
    const struct mb_message *message = encoding->message;
    const struct mb_properties *properties = mb_properties_of(message);
    struct amqp_writer *writer = encoding->writer;

    put_text(encoding, MB_HAS_CONTENT_TYPE, properties->content_type, AMQP_PROPERTY_CONTENT_TYPE);
    put_text(encoding, MB_HAS_CONTENT_ENCODING, properties->content_encoding,
             AMQP_PROPERTY_CONTENT_ENCODING);
    put_headers(encoding);
    put_delivery_mode(encoding, (message->present & MB_HAS_DURABLE) != 0,
                      message->durable ? AMQP_MODE_PERSISTENT : AMQP_MODE_TRANSIENT);
    if (message->present & MB_HAS_PRIORITY) {
        amqp_put_u8(writer, message->priority);
        encoding->flags |= AMQP_PROPERTY_PRIORITY;
    }
    put_id(encoding, MB_HAS_CORRELATION_ID, &properties->correlation_id,
           AMQP_PROPERTY_CORRELATION_ID);
    put_guarded(encoding, MB_HAS_REPLY_TO, may_reply_to(properties->reply_to), properties->reply_to,
                AMQP_PROPERTY_REPLY_TO);
    put_expiration(encoding);
    put_id(encoding, MB_HAS_MESSAGE_ID, &properties->message_id, AMQP_PROPERTY_MESSAGE_ID);
    if ((message->present & MB_HAS_TIMESTAMP) != 0 && message->timestamp_ms >= 0) {
        amqp_put_u64(writer, (uint64_t)message->timestamp_ms / 1000);
        encoding->flags |= AMQP_PROPERTY_TIMESTAMP;
    }
    put_text(encoding, MB_HAS_SUBJECT, properties->subject, AMQP_PROPERTY_TYPE);
    put_guarded(encoding, MB_HAS_USER_ID, may_say_user_id(encoding->settings, properties->user_id),
                properties->user_id, AMQP_PROPERTY_USER_ID);
    put_text(encoding, MB_HAS_APP_ID, properties->app_id, AMQP_PROPERTY_APP_ID);
}

/* ---- from the bytes that came ------------------------------------------------------------- */

/* A short string of the source, if its flag is set. */
static void copy_text(struct encoding *encoding, struct amqp_cursor *cursor, unsigned flags,
                      unsigned property)
{
    if ((flags & property) == 0)
        return;
    amqp_put_shortstr(encoding->writer, amqp_take_shortstr(cursor));
    encoding->flags |= property;
}

static void copy_number(struct encoding *encoding, struct amqp_cursor *cursor, unsigned flags,
                        unsigned property, size_t size)
{
    if ((flags & property) == 0)
        return;
    amqp_put_bytes(encoding->writer, amqp_take_bytes(cursor, size));
    encoding->flags |= property;
}

/* Entries that the last broker had added about its delivery. */
static bool is_hop_local(const struct mb_message *message, struct mb_slice name)
{
    return (message->position.kind == MB_POSITION_OFFSET &&
            AMQP_NAME_IS(name, AMQP_HEADER_OFFSET)) ||
           (message->delivery_count > 0 && AMQP_NAME_IS(name, AMQP_HEADER_COUNT));
}

static void copy_table(struct encoding *encoding, struct mb_slice table)
{
    const struct mb_carried *carried = encoding->carried;
    const struct mb_message *message = encoding->message;
    struct amqp_writer *writer = encoding->writer;
    struct amqp_cursor cursor = amqp_cursor_of(table);
    bool adds = carried->sidecar.data != NULL || carried->path_size > 0 || carried->id.data != NULL;
    unsigned char *size;

    if (table.data == NULL && !adds)
        return;
    encoding->flags |= AMQP_PROPERTY_HEADERS;
    if (!adds && message->position.kind != MB_POSITION_OFFSET && message->delivery_count == 0) {
        amqp_put_longstr(writer, table);
        return;
    }
    size = amqp_room(writer, 4);
    if (table.data != NULL) {
        struct mb_slice name;
        struct mb_slice entry;

        while (amqp_table_next(&cursor, &name, &entry)) {
            if (!is_hop_local(message, name) && !is_renewed(carried, name))
                amqp_put_bytes(writer, entry);
        }
    }
    put_carriers(writer, carried);
    if (table.data != NULL)
        amqp_put_bytes(writer, (struct mb_slice){cursor.at, (size_t)(cursor.end - cursor.at)});
    if (!writer->full && size != NULL)
        amqp_store(size, (uint64_t)(writer->at - size) - 4, 4);
}

static void copy_guarded(struct encoding *encoding, struct amqp_cursor *cursor, unsigned flags,
                         unsigned property, uint32_t field)
{
    struct mb_slice text;

    if ((flags & property) == 0)
        return;
    text = amqp_take_shortstr(cursor);
    if (field == MB_HAS_USER_ID ? !may_say_user_id(encoding->settings, text)
                                : !may_reply_to(text)) {
        encoding->lost |= field;
        return;
    }
    amqp_put_shortstr(encoding->writer, text);
    encoding->flags |= property;
}

/* The core shortens the time to live by what has gone by. */
static void copy_expiration(struct encoding *encoding, struct amqp_cursor *cursor, unsigned flags)
{
    struct mb_slice text;
    uint64_t ttl_ms;

    if ((flags & AMQP_PROPERTY_EXPIRATION) == 0)
        return;
    text = amqp_take_shortstr(cursor);
    if ((encoding->message->present & MB_HAS_TTL) != 0 && amqp_read_ttl(text, &ttl_ms) &&
        ttl_ms != encoding->message->ttl_ms) {
        put_expiration(encoding);
        return;
    }
    amqp_put_shortstr(encoding->writer, text);
    encoding->flags |= AMQP_PROPERTY_EXPIRATION;
}

static void copy_raw(struct encoding *encoding)
{
    struct amqp_cursor cursor = amqp_cursor_of(encoding->message->raw);
    unsigned flags = amqp_take_u16(&cursor);
    struct mb_slice table = MB_SLICE_NULL;
    bool has_mode = (flags & AMQP_PROPERTY_DELIVERY_MODE) != 0;

    for (unsigned more = flags; (more & AMQP_PROPERTY_MORE_FLAGS) != 0 && !cursor.bad;)
        more = amqp_take_u16(&cursor);
    copy_text(encoding, &cursor, flags, AMQP_PROPERTY_CONTENT_TYPE);
    copy_text(encoding, &cursor, flags, AMQP_PROPERTY_CONTENT_ENCODING);
    if (flags & AMQP_PROPERTY_HEADERS)
        table = amqp_take_bytes(&cursor, amqp_take_u32(&cursor));
    copy_table(encoding, table);
    put_delivery_mode(encoding, has_mode, has_mode ? amqp_take_u8(&cursor) : 0);
    copy_number(encoding, &cursor, flags, AMQP_PROPERTY_PRIORITY, 1);
    copy_text(encoding, &cursor, flags, AMQP_PROPERTY_CORRELATION_ID);
    copy_guarded(encoding, &cursor, flags, AMQP_PROPERTY_REPLY_TO, MB_HAS_REPLY_TO);
    copy_expiration(encoding, &cursor, flags);
    copy_text(encoding, &cursor, flags, AMQP_PROPERTY_MESSAGE_ID);
    copy_number(encoding, &cursor, flags, AMQP_PROPERTY_TIMESTAMP, 8);
    copy_text(encoding, &cursor, flags, AMQP_PROPERTY_TYPE);
    copy_guarded(encoding, &cursor, flags, AMQP_PROPERTY_USER_ID, MB_HAS_USER_ID);
    copy_text(encoding, &cursor, flags, AMQP_PROPERTY_APP_ID);
    copy_text(encoding, &cursor, flags, AMQP_PROPERTY_CLUSTER_ID);
    /* The decoder has read all of it before. */
    if (cursor.bad)
        encoding->writer->full = true;
}

void amqp_put_header(struct amqp_writer *writer, const struct mb_carried *carried,
                     uint64_t body_size, const struct amqp_encoding *settings, uint64_t *ret_lost)
{
    struct encoding encoding = {
        .writer = writer, .message = carried->message, .carried = carried, .settings = settings};
    unsigned char *flags;

    amqp_put_u16(writer, AMQP_CLASS_BASIC);
    amqp_put_u16(writer, 0);
    amqp_put_u64(writer, body_size);
    flags = amqp_room(writer, 2);
    if (carried->verbatim && carried->message->raw_kind == MB_RAW_AMQP091_PROPERTIES)
        copy_raw(&encoding);
    else
        put_envelope(&encoding);
    if (carried->verbatim && carried->message->raw_kind != MB_RAW_AMQP091_PROPERTIES)
        encoding.lost |= carried->message->unheld;
    if (flags != NULL)
        amqp_store(flags, encoding.flags, 2);
    *ret_lost = encoding.lost;
}
