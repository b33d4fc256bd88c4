/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the AMQP 0-9-1 backend's pure parts share. */
#ifndef AMQP_TEST_H
#define AMQP_TEST_H

#include "backends/amqp091/amqp.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEXT(literal) MB_SLICE_LITERAL(literal)
#define ORIGIN(name)                                                                               \
    {                                                                                              \
        .struct_size = sizeof(struct mb_origin), .partition = -1, .platform = TEXT(name)           \
    }

/* An arena of one large block, of which there is one at a time. */
static inline void *no_more(struct mb_arena *arena, size_t size)
{
    (void)arena;
    (void)size;
    return NULL;
}

static inline struct mb_arena fresh_arena(void)
{
    static unsigned char memory[8u << 20];

    return (struct mb_arena){memory, memory + sizeof memory, no_more};
}

static inline void *host_alloc(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static inline void host_release(void *context, void *block)
{
    (void)context;
    free(block);
}

static const struct mb_host host = {
    .struct_size = sizeof(struct mb_host), .alloc = host_alloc, .release = host_release};

static inline void assert_slice(struct mb_slice slice, const char *text)
{
    assert_non_null(slice.data);
    assert_int_equal(slice.size, strlen(text));
    assert_memory_equal(slice.data, text, slice.size);
}

static inline struct mb_value bytes_value(enum mb_type type, struct mb_slice bytes)
{
    struct mb_value value;

    memset(&value, 0, sizeof value);
    value.type = (uint8_t)type;
    value.as.bytes = bytes;
    return value;
}

static inline struct mb_value int_value(enum mb_type type, int64_t number)
{
    struct mb_value value;

    memset(&value, 0, sizeof value);
    value.type = (uint8_t)type;
    value.as.i = number;
    return value;
}

static inline struct mb_header header_of(const char *name, struct mb_value value)
{
    return (struct mb_header){.name = mb_slice_text(name), .value = value, .name_type = MB_STRING};
}

/* Valid until the next one. */
static inline struct mb_message plain(void)
{
    static struct mb_properties properties;
    struct mb_message message;

    memset(&properties, 0, sizeof properties);
    memset(&message, 0, sizeof message);
    message.struct_size = sizeof message;
    message.properties = &properties;
    message.body = TEXT("body");
    return message;
}

static inline void fill_properties(struct mb_message *message)
{
    struct mb_properties *properties = message->properties;

    message->present = MB_HAS_CONTENT_TYPE | MB_HAS_CONTENT_ENCODING | MB_HAS_DURABLE |
                       MB_HAS_PRIORITY | MB_HAS_CORRELATION_ID | MB_HAS_REPLY_TO | MB_HAS_TTL |
                       MB_HAS_MESSAGE_ID | MB_HAS_TIMESTAMP | MB_HAS_SUBJECT | MB_HAS_USER_ID |
                       MB_HAS_APP_ID;
    properties->content_type = TEXT("text/plain");
    properties->content_encoding = TEXT("gzip");
    message->durable = false;
    message->priority = 0;
    properties->correlation_id.bytes = TEXT("c-1");
    properties->reply_to = TEXT("answers");
    message->ttl_ms = 60000;
    properties->message_id.bytes = TEXT("m-1");
    message->timestamp_ms = 1700000000000;
    properties->subject = TEXT("order.created");
    properties->user_id = TEXT("shop");
    properties->app_id = TEXT("till");
}

/* Every tag, on the wire as a broker sends it. */
static inline size_t all_tags(unsigned char *data, size_t size)
{
    struct amqp_writer writer = {data, data + size, false};
    static const struct {
        char tag;
        uint8_t size;
        uint64_t value;
    } numbers[] = {
        {'t', 1, 1},
        {'b', 1, 0x85},
        {'B', 1, 0xf0},
        {'s', 2, 0x8001},
        {'u', 2, 0xfffe},
        {'I', 4, 0x80000001u},
        {'i', 4, 0xfffffffe},
        {'l', 8, 1ull << 63},
        {'f', 4, 0x3f800000},
        {'T', 8, 1700000000},
        {'d', 8, 0x3ff0000000000001ull},
    };

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        amqp_put_shortstr(&writer, TEXT("number"));
        amqp_put_u8(&writer, (unsigned char)numbers[i].tag);
        amqp_put_number(&writer, numbers[i].value, numbers[i].size);
    }
    amqp_put_shortstr(&writer, TEXT("decimal"));
    amqp_put_u8(&writer, 'D');
    amqp_put_u8(&writer, 2);
    amqp_put_u32(&writer, 12345);
    amqp_put_shortstr(&writer, TEXT(""));
    amqp_put_u8(&writer, 'V');
    amqp_put_name_text(&writer, "string", 'S', TEXT("gr\xc3\xbc\xc3\x9f dich"));
    amqp_put_name_text(&writer, "empty", 'S', TEXT(""));
    amqp_put_name_text(&writer, "bytes", 'x', TEXT("\0\xff\x01"));
    /* [ { "k": [] }, void ] */
    amqp_put_name_text(&writer, "nested", 'A', TEXT("F\0\0\0\7\1kA\0\0\0\0V"));
    assert_false(writer.full);
    return (size_t)(writer.at - data);
}

/* A content header's payload and, behind its fixed part, the properties. */
struct wire {
    unsigned char data[1 << 16];
    size_t size;
    uint64_t lost;
};

/* A delivery of the wire's properties with this body. */
static inline void decode_from(const struct wire *wire, struct mb_slice body,
                               struct mb_slice exchange, struct mb_slice routing_key,
                               bool reads_stream, struct mb_arena *arena,
                               struct mb_message *ret_message)
{
    unsigned char arguments[600];
    struct amqp_writer writer = {arguments, arguments + sizeof arguments, false};
    struct amqp_event event = {.kind = AMQP_EVENT_CONTENT, .channel = 1};

    amqp_put_shortstr(&writer, TEXT("mbridge"));
    amqp_put_u64(&writer, 42);
    amqp_put_u8(&writer, 1);
    amqp_put_shortstr(&writer, exchange);
    amqp_put_shortstr(&writer, routing_key);
    event.arguments = (struct mb_slice){arguments, (size_t)(writer.at - arguments)};
    event.header = (struct mb_slice){wire->data + 12, wire->size - 12};
    event.body = amqp_not_null(body);
    memset(ret_message, 0, sizeof *ret_message);
    assert_int_equal(amqp_message_decode(&event, reads_stream, arena, ret_message), MB_OK);
}

static inline void encode_carried(struct wire *wire, const struct mb_carried *carried,
                                  const struct amqp_encoding *encoding)
{
    struct amqp_writer writer = {wire->data, wire->data + sizeof wire->data, false};

    amqp_put_header(&writer, carried, carried->message->body.size, encoding, &wire->lost);
    assert_false(writer.full);
    wire->size = (size_t)(writer.at - wire->data);
}

#endif
