/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded cursors over AMQP 0-9-1 wire data (network order). Past its end a cursor only fails. */
#ifndef AMQP_WIRE_H
#define AMQP_WIRE_H

#include <endian.h>
#include <mbridge/value.h>
#include <string.h>

#define AMQP_METHOD(class_id, method_id) ((uint32_t)(class_id) << 16 | (uint32_t)(method_id))

enum amqp_method {
    AMQP_CONNECTION_CLOSE = AMQP_METHOD(10, 50),
    AMQP_CONNECTION_CLOSED = AMQP_METHOD(10, 51),
    AMQP_CONNECTION_BLOCK = AMQP_METHOD(10, 60),
    AMQP_CONNECTION_UNBLOCK = AMQP_METHOD(10, 61),
    AMQP_CHANNEL_OPEN = AMQP_METHOD(20, 10),
    AMQP_CHANNEL_OPENED = AMQP_METHOD(20, 11),
    AMQP_CHANNEL_FLOWS = AMQP_METHOD(20, 20),
    AMQP_CHANNEL_CLOSE = AMQP_METHOD(20, 40),
    AMQP_CHANNEL_CLOSED = AMQP_METHOD(20, 41),
    AMQP_EXCHANGE_DECLARE = AMQP_METHOD(40, 10),
    AMQP_EXCHANGE_DECLARED = AMQP_METHOD(40, 11),
    AMQP_QUEUE_DECLARE = AMQP_METHOD(50, 10),
    AMQP_QUEUE_DECLARED = AMQP_METHOD(50, 11),
    AMQP_QUEUE_BIND = AMQP_METHOD(50, 20),
    AMQP_QUEUE_BOUND = AMQP_METHOD(50, 21),
    AMQP_BASIC_QOS = AMQP_METHOD(60, 10),
    AMQP_BASIC_QOS_DONE = AMQP_METHOD(60, 11),
    AMQP_BASIC_CONSUME = AMQP_METHOD(60, 20),
    AMQP_BASIC_CONSUMING = AMQP_METHOD(60, 21),
    AMQP_BASIC_CANCEL = AMQP_METHOD(60, 30),
    AMQP_BASIC_CANCELLED = AMQP_METHOD(60, 31),
    AMQP_BASIC_PUBLISH = AMQP_METHOD(60, 40),
    AMQP_BASIC_RETURN = AMQP_METHOD(60, 50),
    AMQP_BASIC_DELIVER = AMQP_METHOD(60, 60),
    AMQP_BASIC_GET = AMQP_METHOD(60, 70),
    AMQP_BASIC_GOT = AMQP_METHOD(60, 71),
    AMQP_BASIC_GET_EMPTY = AMQP_METHOD(60, 72),
    AMQP_BASIC_ACK = AMQP_METHOD(60, 80),
    AMQP_BASIC_REJECT = AMQP_METHOD(60, 90),
    AMQP_BASIC_NACK = AMQP_METHOD(60, 120),
    AMQP_CONFIRM_SELECT = AMQP_METHOD(85, 10),
    AMQP_CONFIRM_SELECTED = AMQP_METHOD(85, 11)
};

struct amqp_cursor {
    const unsigned char *at;
    const unsigned char *end;
    bool bad;
};

struct amqp_writer {
    unsigned char *at;
    unsigned char *end;
    bool full;
};

static inline struct amqp_cursor amqp_cursor_of(struct mb_slice slice)
{
    const unsigned char *data = slice.data;
    struct amqp_cursor cursor = {data, data + slice.size, false};

    return cursor;
}

static inline const unsigned char *amqp_take(struct amqp_cursor *cursor, size_t size)
{
    const unsigned char *at = cursor->at;

    if (cursor->bad || (size_t)(cursor->end - cursor->at) < size) {
        cursor->bad = true;
        return NULL;
    }
    cursor->at += size;
    return at;
}

static inline uint64_t amqp_load(const unsigned char *at, size_t size)
{
    uint64_t value = 0;
    uint64_t u64;
    uint32_t u32;
    uint16_t u16;

    switch (size) {
    case 2:
        memcpy(&u16, at, sizeof u16);
        return be16toh(u16);
    case 4:
        memcpy(&u32, at, sizeof u32);
        return be32toh(u32);
    case 8:
        memcpy(&u64, at, sizeof u64);
        return be64toh(u64);
    default:
        for (size_t i = 0; i < size; i++)
            value = value << 8 | at[i];
        return value;
    }
}

static inline uint64_t amqp_take_number(struct amqp_cursor *cursor, size_t size)
{
    const unsigned char *at = amqp_take(cursor, size);

    return at != NULL ? amqp_load(at, size) : 0;
}

static inline uint8_t amqp_take_u8(struct amqp_cursor *cursor)
{
    return (uint8_t)amqp_take_number(cursor, 1);
}

static inline uint16_t amqp_take_u16(struct amqp_cursor *cursor)
{
    return (uint16_t)amqp_take_number(cursor, 2);
}

static inline uint32_t amqp_take_u32(struct amqp_cursor *cursor)
{
    return (uint32_t)amqp_take_number(cursor, 4);
}

static inline uint64_t amqp_take_u64(struct amqp_cursor *cursor)
{
    return amqp_take_number(cursor, 8);
}

/* Points into the wire data. */
static inline struct mb_slice amqp_take_bytes(struct amqp_cursor *cursor, size_t size)
{
    struct mb_slice slice = {amqp_take(cursor, size), size};

    if (slice.data == NULL)
        slice.size = 0;
    return slice;
}

static inline struct mb_slice amqp_take_shortstr(struct amqp_cursor *cursor)
{
    return amqp_take_bytes(cursor, amqp_take_u8(cursor));
}

static inline void amqp_store(unsigned char *at, uint64_t value, size_t size)
{
    uint64_t u64 = htobe64(value);
    uint32_t u32 = htobe32((uint32_t)value);
    uint16_t u16 = htobe16((uint16_t)value);

    switch (size) {
    case 2:
        memcpy(at, &u16, sizeof u16);
        return;
    case 4:
        memcpy(at, &u32, sizeof u32);
        return;
    case 8:
        memcpy(at, &u64, sizeof u64);
        return;
    default:
        for (size_t i = size; i > 0; i--) {
            at[i - 1] = (unsigned char)value;
            value >>= 8;
        }
        return;
    }
}

static inline unsigned char *amqp_room(struct amqp_writer *writer, size_t size)
{
    unsigned char *at = writer->at;

    if (writer->full || (size_t)(writer->end - writer->at) < size) {
        writer->full = true;
        return NULL;
    }
    writer->at += size;
    return at;
}

static inline void amqp_put_number(struct amqp_writer *writer, uint64_t value, size_t size)
{
    unsigned char *at = amqp_room(writer, size);

    if (at != NULL)
        amqp_store(at, value, size);
}

static inline void amqp_put_u8(struct amqp_writer *writer, unsigned value)
{
    amqp_put_number(writer, value, 1);
}

static inline void amqp_put_u16(struct amqp_writer *writer, unsigned value)
{
    amqp_put_number(writer, value, 2);
}

static inline void amqp_put_u32(struct amqp_writer *writer, uint32_t value)
{
    amqp_put_number(writer, value, 4);
}

static inline void amqp_put_u64(struct amqp_writer *writer, uint64_t value)
{
    amqp_put_number(writer, value, 8);
}

static inline void amqp_put_bytes(struct amqp_writer *writer, struct mb_slice bytes)
{
    unsigned char *at = amqp_room(writer, bytes.size);

    if (at != NULL && bytes.size > 0)
        memcpy(at, bytes.data, bytes.size);
}

/* bytes.size <= 255 (the caller's check). */
static inline void amqp_put_shortstr(struct amqp_writer *writer, struct mb_slice bytes)
{
    amqp_put_u8(writer, (unsigned)bytes.size & 0xffu);
    amqp_put_bytes(writer, bytes);
}

static inline void amqp_put_longstr(struct amqp_writer *writer, struct mb_slice bytes)
{
    amqp_put_u32(writer, (uint32_t)bytes.size);
    amqp_put_bytes(writer, bytes);
}

/* An entry of a table. Inline: the names are literals nearly always. */
static inline void amqp_put_name_text(struct amqp_writer *writer, const char *name, char tag,
                                      struct mb_slice text)
{
    size_t name_size = strlen(name) & 0xffu;
    unsigned char *at = amqp_room(writer, 1 + name_size + 1 + 4 + text.size);

    if (at == NULL)
        return;
    *at++ = (unsigned char)name_size;
    memcpy(at, name, name_size);
    at += name_size;
    *at++ = (unsigned char)tag;
    amqp_store(at, text.size, 4);
    if (text.size > 0)
        memcpy(at + 4, text.data, text.size);
}

/* The bits of the property flags; the lowest says that more flags follow. */
enum amqp_property {
    AMQP_PROPERTY_CONTENT_TYPE = 1u << 15,
    AMQP_PROPERTY_CONTENT_ENCODING = 1u << 14,
    AMQP_PROPERTY_HEADERS = 1u << 13,
    AMQP_PROPERTY_DELIVERY_MODE = 1u << 12,
    AMQP_PROPERTY_PRIORITY = 1u << 11,
    AMQP_PROPERTY_CORRELATION_ID = 1u << 10,
    AMQP_PROPERTY_REPLY_TO = 1u << 9,
    AMQP_PROPERTY_EXPIRATION = 1u << 8,
    AMQP_PROPERTY_MESSAGE_ID = 1u << 7,
    AMQP_PROPERTY_TIMESTAMP = 1u << 6,
    AMQP_PROPERTY_TYPE = 1u << 5,
    AMQP_PROPERTY_USER_ID = 1u << 4,
    AMQP_PROPERTY_APP_ID = 1u << 3,
    AMQP_PROPERTY_CLUSTER_ID = 1u << 2,
    AMQP_PROPERTY_MORE_FLAGS = 1u << 0
};

#define AMQP_CLASS_BASIC     60u
#define AMQP_MODE_TRANSIENT  1u
#define AMQP_MODE_PERSISTENT 2u

static inline bool amqp_name_is(struct mb_slice name, const char *text, size_t size)
{
    return name.size == size && memcmp(name.data, text, size) == 0;
}

#define AMQP_NAME_IS(name, literal) amqp_name_is(name, literal, sizeof(literal) - 1)

#endif
