/* SPDX-License-Identifier: Apache-2.0 */
/* The AMQP 0-9-1 backend without a broker: tables, properties, messages, frames. */
#include "backends/amqp091/amqp.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEXT(literal) MB_SLICE_LITERAL(literal)
#define ORIGIN(name)                                                                               \
    {                                                                                              \
        .struct_size = sizeof(struct mb_origin), .partition = -1, .platform = TEXT(name)           \
    }

static const struct mb_origin from_rabbit = ORIGIN("amqp091");
static const struct mb_origin from_kafka = ORIGIN("kafka");

/* An arena of one large block. */
static unsigned char memory[8u << 20];

static void *no_more(struct mb_arena *arena, size_t size)
{
    (void)arena;
    (void)size;
    return NULL;
}

static struct mb_arena fresh_arena(void)
{
    struct mb_arena arena = {memory, memory + sizeof memory, no_more};

    return arena;
}

static void *host_alloc(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void host_release(void *context, void *block)
{
    (void)context;
    free(block);
}

static const struct mb_host host = {
    .struct_size = sizeof(struct mb_host), .alloc = host_alloc, .release = host_release};

static struct mb_text scratch = {.max_size = 1u << 20};

static struct amqp_encoding encoding_of(bool named_exchange)
{
    struct amqp_encoding encoding = {
        .username = "shop", .named_exchange = named_exchange, .scratch = &scratch};

    return encoding;
}

static struct mb_message message_from(const struct mb_origin *origin)
{
    struct mb_message message;

    memset(&message, 0, sizeof message);
    message.struct_size = sizeof message;
    message.origin = origin;
    message.body = TEXT("body");
    return message;
}

static struct mb_header header_of(const char *name, struct mb_value value)
{
    struct mb_header header = {.name = mb_slice_text(name), .value = value, .name_type = MB_STRING};

    return header;
}

static struct mb_value bytes_value(enum mb_type type, struct mb_slice bytes)
{
    struct mb_value value;

    memset(&value, 0, sizeof value);
    value.type = (uint8_t)type;
    value.as.bytes = bytes;
    return value;
}

/* A content header's payload and, behind its fixed part, the properties. */
struct wire {
    unsigned char data[1 << 16];
    size_t size;
    uint32_t losses;
};

static void encode(struct wire *wire, const struct mb_message *message, bool named_exchange)
{
    struct amqp_encoding encoding = encoding_of(named_exchange);
    struct amqp_writer writer = {wire->data, wire->data + sizeof wire->data, false};

    wire->losses = 0;
    amqp_put_header(&writer, message, message->body.size, &encoding, &wire->losses);
    assert_false(writer.full);
    wire->size = (size_t)(writer.at - wire->data);
}

static void decode(const struct wire *wire, struct mb_slice body, const char *exchange,
                   struct mb_arena *arena, struct mb_message *ret_message)
{
    unsigned char arguments[600];
    struct amqp_writer writer = {arguments, arguments + sizeof arguments, false};
    struct amqp_event event = {.kind = AMQP_EVENT_CONTENT, .channel = 1};

    amqp_put_shortstr(&writer, TEXT("mbridge"));
    amqp_put_u64(&writer, 42);
    amqp_put_u8(&writer, 1);
    amqp_put_shortstr(&writer, mb_slice_text(exchange));
    amqp_put_shortstr(&writer, TEXT("route"));
    event.arguments = (struct mb_slice){arguments, (size_t)(writer.at - arguments)};
    event.header = (struct mb_slice){wire->data + 12, wire->size - 12};
    event.body = body;
    memset(ret_message, 0, sizeof *ret_message);
    assert_int_equal(amqp_message_decode(&event, false, arena, ret_message), MB_OK);
}

static const struct mb_header *find(const struct mb_message *message, const char *name)
{
    for (uint32_t i = 0; i < message->headers_count; i++) {
        if (mb_slice_equal(message->headers[i].name, mb_slice_text(name)))
            return &message->headers[i];
    }
    return NULL;
}

static void assert_slice(struct mb_slice slice, const char *text)
{
    assert_non_null(slice.data);
    assert_int_equal(slice.size, strlen(text));
    assert_memory_equal(slice.data, text, slice.size);
}

/* Every tag, on the wire as a broker sends it. */
static size_t all_tags(unsigned char *data, size_t size)
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

static void every_type_survives(void **state)
{
    unsigned char data[1024];
    unsigned char again[1024];
    struct mb_slice table = {data, all_tags(data, sizeof data)};
    struct amqp_writer writer = {again, again + sizeof again, false};
    struct mb_arena arena = fresh_arena();
    struct mb_header *headers;
    struct mb_slice rest;
    uint32_t count;
    uint32_t losses = 0;

    (void)state;
    assert_int_equal(amqp_table_decode(table, &arena, &headers, &count, &rest), MB_OK);
    assert_int_equal(rest.size, 0);
    assert_int_equal(count, 17);
    assert_int_equal(headers[1].value.type, MB_I8);
    assert_int_equal(headers[1].value.as.i, -123);
    assert_int_equal(headers[5].value.as.i, -2147483647);
    assert_int_equal(headers[12].value.type, MB_NULL);
    assert_int_equal(headers[13].value.type, MB_STRING);
    assert_int_equal(headers[15].value.type, MB_BINARY);
    assert_int_equal(headers[16].value.type, MB_LIST);
    assert_int_equal(headers[16].value.as.items.count, 2);
    assert_int_equal(headers[16].value.as.items.values[0].type, MB_MAP);
    for (uint32_t i = 0; i < count; i++) {
        amqp_put_shortstr(&writer, headers[i].name);
        assert_true(amqp_put_value(&writer, &headers[i].value, true, &scratch, &losses));
    }
    assert_int_equal(losses, 0);
    assert_int_equal(writer.at - again, table.size);
    assert_memory_equal(again, data, table.size);
}

static void unknown_tags_are_carried(void **state)
{
    static const char wire[] = "\1aV\1b?rest of it";
    struct mb_arena arena = fresh_arena();
    struct mb_header *headers;
    struct mb_slice rest;
    uint32_t count;

    (void)state;
    assert_int_equal(amqp_table_decode((struct mb_slice){wire, sizeof wire - 1}, &arena, &headers,
                                       &count, &rest),
                     MB_OK);
    assert_int_equal(count, 1);
    assert_slice(rest, "\1b?rest of it");
}

static void deep_nesting_is_bounded(void **state)
{
    static unsigned char data[5 * 20000 + 8];
    struct amqp_writer writer = {data, data + sizeof data, false};
    struct mb_arena arena = fresh_arena();
    const struct mb_value *value;
    struct mb_header *headers;
    struct mb_slice rest;
    uint32_t count;
    unsigned depth = 0;

    (void)state;
    amqp_put_shortstr(&writer, TEXT("deep"));
    for (uint32_t left = 20000; left > 0; left--) {
        amqp_put_u8(&writer, 'A');
        amqp_put_u32(&writer, 5 * (left - 1));
    }
    assert_int_equal(amqp_table_decode((struct mb_slice){data, (size_t)(writer.at - data)}, &arena,
                                       &headers, &count, &rest),
                     MB_OK);
    assert_int_equal(count, 1);
    for (value = &headers[0].value; value->type == MB_LIST; value = &value->as.items.values[0])
        depth++;
    assert_int_equal(value->type, MB_BINARY);
    assert_in_range(depth, 100, 1000);
    assert_int_equal(value->as.bytes.size, 5 * (20000 - depth));
}

static void fill_properties(struct mb_message *message)
{
    message->present = MB_HAS_CONTENT_TYPE | MB_HAS_CONTENT_ENCODING | MB_HAS_DURABLE |
                       MB_HAS_PRIORITY | MB_HAS_CORRELATION_ID | MB_HAS_REPLY_TO | MB_HAS_TTL |
                       MB_HAS_MESSAGE_ID | MB_HAS_TIMESTAMP | MB_HAS_SUBJECT | MB_HAS_USER_ID |
                       MB_HAS_APP_ID;
    message->content_type = TEXT("text/plain");
    message->content_encoding = TEXT("gzip");
    message->durable = false;
    message->priority = 0;
    message->correlation_id.bytes = TEXT("c-1");
    message->reply_to = TEXT("answers");
    message->ttl_ms = 60000;
    message->message_id.bytes = TEXT("m-1");
    message->timestamp_ms = 1700000000000;
    message->subject = TEXT("order.created");
    message->user_id = TEXT("shop");
    message->app_id = TEXT("till");
}

static void properties_survive(void **state)
{
    static struct wire wire;
    static struct wire again;
    struct mb_arena arena = fresh_arena();
    struct mb_message message = message_from(&from_rabbit);
    struct mb_message back;

    (void)state;
    fill_properties(&message);
    encode(&wire, &message, true);
    assert_int_equal(wire.losses, 0);
    decode(&wire, message.body, "shop", &arena, &back);
    assert_int_equal(back.present,
                     message.present | MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY | MB_HAS_KEY);
    assert_slice(back.content_type, "text/plain");
    assert_slice(back.reply_to, "answers");
    assert_slice(back.app_id, "till");
    assert_slice(back.key, "route");
    assert_false(back.durable);
    assert_true(back.redelivered);
    assert_int_equal(back.token, 42);
    assert_int_equal(back.ttl_ms, 60000);
    assert_int_equal(back.timestamp_ms, 1700000000000);
    assert_int_equal(back.timestamp_kind, MB_TIMESTAMP_CREATE_SECONDS);
    assert_int_equal(back.headers_count, 0);
    assert_null(back.headers);
    back.origin = &from_rabbit;
    encode(&again, &back, true);
    assert_int_equal(again.size, wire.size);
    assert_memory_equal(again.data, wire.data, wire.size);
}

/* Each alone: absent stays absent. */
static void presence_survives(void **state)
{
    static struct wire wire;

    (void)state;
    for (uint32_t bit = 0; bit < 20; bit++) {
        struct mb_arena arena = fresh_arena();
        struct mb_message message = message_from(&from_rabbit);
        struct mb_message back;
        uint32_t all;

        fill_properties(&message);
        all = message.present;
        message.present &= 1u << bit;
        encode(&wire, &message, false);
        decode(&wire, message.body, "", &arena, &back);
        assert_int_equal(back.present & all, message.present);
        assert_int_equal(back.present & MB_HAS_KEY, 0);
    }
}

static void an_empty_table_stays(void **state)
{
    static const struct mb_header none[1];
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_message message = message_from(&from_rabbit);
    struct mb_message back;

    (void)state;
    message.headers = none;
    encode(&wire, &message, false);
    decode(&wire, message.body, "", &arena, &back);
    assert_non_null(back.headers);
    assert_int_equal(back.headers_count, 0);
}

static void key_and_null_body_cross_a_queue(void **state)
{
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_message message = message_from(&from_kafka);
    struct mb_message back;

    (void)state;
    message.present = MB_HAS_KEY;
    message.key = TEXT("k\xff");
    message.body_kind = MB_BODY_NULL;
    message.body = MB_SLICE_NULL;
    encode(&wire, &message, false);
    decode(&wire, TEXT(""), "", &arena, &back);
    assert_slice(back.key, "k\xff");
    assert_int_equal(back.body_kind, MB_BODY_NULL);
    assert_null(back.body.data);
    assert_int_equal(back.headers_count, 0);

    message.key = MB_SLICE_NULL;
    message.body_kind = MB_BODY_BYTES;
    message.body = TEXT("");
    encode(&wire, &message, false);
    decode(&wire, TEXT(""), "", &arena, &back);
    assert_int_equal(back.present & MB_HAS_KEY, MB_HAS_KEY);
    assert_null(back.key.data);
    assert_int_equal(back.body_kind, MB_BODY_BYTES);
    assert_non_null(back.body.data);
}

static void foreign_headers_are_natural(void **state)
{
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_value nan_value = {.type = MB_F64, .as.f64 = NAN};
    struct mb_value large = {.type = MB_U64, .as.u = UINT64_MAX};
    struct mb_header headers[] = {
        header_of("content-type", bytes_value(MB_STRING, TEXT("text/plain"))),
        header_of("subject", bytes_value(MB_STRING, TEXT("another"))),
        header_of("twice", bytes_value(MB_STRING, TEXT("first"))),
        header_of("twice", bytes_value(MB_STRING, TEXT("last"))),
        header_of("CC", bytes_value(MB_STRING, TEXT("elsewhere"))),
        header_of("nan", nan_value),
        header_of("large", large),
        header_of("nul", bytes_value(MB_STRING, TEXT("a\0b"))),
    };
    struct mb_message message = message_from(&from_kafka);
    struct mb_message back;

    (void)state;
    message.headers = headers;
    message.headers_count = sizeof headers / sizeof headers[0];
    message.present = MB_HAS_CONTENT_TYPE;
    message.content_type = TEXT("text/plain");
    encode(&wire, &message, false);
    decode(&wire, message.body, "", &arena, &back);
    assert_int_equal(back.headers_count, 4);
    assert_null(find(&back, "content-type"));
    assert_slice(find(&back, "subject")->value.as.bytes, "another");
    assert_slice(find(&back, "twice")->value.as.bytes, "last");
    assert_slice(find(&back, "large")->value.as.bytes, "18446744073709551615");
    assert_int_equal(find(&back, "nul")->value.type, MB_BINARY);
    assert_int_equal(wire.losses, AMQP_LOSS_HEADER_REPEATED | AMQP_LOSS_HEADER_NAME |
                                      AMQP_LOSS_HEADER_VALUE | AMQP_LOSS_HEADER_TYPE);
}

static void own_headers_are_verbatim(void **state)
{
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_header headers[] = {
        header_of("content-type", bytes_value(MB_STRING, TEXT("text/plain"))),
        header_of("twice", bytes_value(MB_STRING, TEXT("first"))),
        header_of("twice", bytes_value(MB_STRING, TEXT("last"))),
    };
    struct mb_message message = message_from(&from_rabbit);
    struct mb_message back;

    (void)state;
    message.headers = headers;
    message.headers_count = 3;
    message.present = MB_HAS_CONTENT_TYPE;
    message.content_type = TEXT("text/plain");
    encode(&wire, &message, false);
    decode(&wire, message.body, "", &arena, &back);
    assert_int_equal(back.headers_count, 3);
    assert_int_equal(wire.losses, 0);
}

/* What would make the broker close the channel is left out and told. */
static void dangerous_properties_are_left_out(void **state)
{
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_message message = message_from(&from_rabbit);
    struct mb_message back;

    (void)state;
    message.present = MB_HAS_USER_ID | MB_HAS_REPLY_TO | MB_HAS_TTL;
    message.user_id = TEXT("somebody");
    message.reply_to = TEXT("amq.rabbitmq.reply-to");
    message.ttl_ms = 1ull << 32;
    encode(&wire, &message, false);
    decode(&wire, message.body, "", &arena, &back);
    assert_int_equal(back.present, MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY);
    assert_int_equal(wire.losses, AMQP_LOSS_USER_ID | AMQP_LOSS_REPLY_TO | AMQP_LOSS_PROPERTY_SIZE);
}

static void ids_of_other_types(void **state)
{
    static struct wire wire;
    static char longest[300];
    struct mb_arena arena = fresh_arena();
    struct mb_message message = message_from(&from_kafka);
    struct mb_message back;

    (void)state;
    memset(longest, 'i', sizeof longest);
    message.present = MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID;
    message.message_id.kind = MB_ID_UUID;
    message.message_id.bytes =
        TEXT("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10");
    message.correlation_id.kind = MB_ID_ULONG;
    message.correlation_id.number = 77;
    encode(&wire, &message, false);
    decode(&wire, message.body, "", &arena, &back);
    assert_slice(back.message_id.bytes, "urn:uuid:01020304-0506-0708-090a-0b0c0d0e0f10");
    assert_slice(back.correlation_id.bytes, "77");

    message.message_id.kind = MB_ID_BINARY;
    message.correlation_id.kind = MB_ID_STRING;
    message.correlation_id.bytes = (struct mb_slice){longest, sizeof longest};
    encode(&wire, &message, false);
    decode(&wire, message.body, "", &arena, &back);
    assert_int_equal(back.present & (MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID), 0);
    assert_int_equal(find(&back, "x-message-id")->value.type, MB_BINARY);
    assert_int_equal(find(&back, "x-correlation-id")->value.as.bytes.size, 300);
}

static void the_path_survives(void **state)
{
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_message message = message_from(&from_kafka);
    struct amqp_encoding encoding = encoding_of(false);
    struct amqp_writer writer = {wire.data, wire.data + sizeof wire.data, false};
    struct mb_message back;

    (void)state;
    message.path_count = 2;
    message.path[0] = 1;
    message.path[1] = 0xfedcba9876543210u;
    encoding.provenance = MB_PROVENANCE_PATH;
    amqp_put_header(&writer, &message, 4, &encoding, &wire.losses);
    wire.size = (size_t)(writer.at - wire.data);
    decode(&wire, message.body, "", &arena, &back);
    assert_int_equal(back.path_count, 2);
    assert_true(back.path[1] == 0xfedcba9876543210u);
    assert_int_equal(back.headers_count, 0);
}

/* Frames: three contents, the second one's body in pieces with a foreign channel's in between. */
static size_t make_stream(unsigned char *data, size_t size)
{
    struct amqp_writer writer = {data, data + size, false};
    struct mb_message message = message_from(&from_rabbit);
    struct amqp_encoding encoding = encoding_of(false);
    uint32_t losses = 0;

    for (unsigned i = 0; i < 3; i++) {
        static const char body[] = "0123456789abcdef";
        size_t pieces = i == 1 ? 4 : 1;
        unsigned char *frame = amqp_method_begin(&writer, 1, AMQP_BASIC_DELIVER);

        amqp_put_shortstr(&writer, TEXT("tag"));
        amqp_put_u64(&writer, i + 1);
        amqp_put_u8(&writer, 0);
        amqp_put_shortstr(&writer, TEXT(""));
        amqp_put_shortstr(&writer, TEXT("queue"));
        amqp_frame_end(&writer, frame);
        amqp_frame_heartbeat(&writer);
        frame = amqp_frame_begin(&writer, 2, 1);
        amqp_put_header(&writer, &message, 16, &encoding, &losses);
        amqp_frame_end(&writer, frame);
        for (size_t piece = 0; piece < pieces; piece++) {
            if (i == 1)
                amqp_frame_ack(&writer, 2, piece, MB_ACCEPTED);
            frame = amqp_frame_begin(&writer, 3, 1);
            amqp_put_bytes(&writer, (struct mb_slice){body + piece * 16 / pieces, 16 / pieces});
            amqp_frame_end(&writer, frame);
        }
    }
    assert_false(writer.full);
    return (size_t)(writer.at - data);
}

static void read_stream_in_steps(const unsigned char *data, size_t size, size_t step)
{
    struct amqp_reader reader;
    unsigned contents = 0;
    unsigned acks = 0;
    size_t fed = 0;

    assert_int_equal(amqp_reader_init(&reader, &host, 2, 4096), MB_OK);
    while (fed < size) {
        struct amqp_event event;
        enum amqp_event_kind kind;
        size_t room;
        unsigned char *at = amqp_reader_room(&reader, &room);
        size_t part = size - fed < step ? size - fed : step;

        assert_true(room >= part);
        memcpy(at, data + fed, part);
        amqp_reader_filled(&reader, part);
        fed += part;
        while ((kind = amqp_reader_next(&reader, &event)) != AMQP_EVENT_NONE) {
            if (kind == AMQP_EVENT_METHOD) {
                assert_int_equal(event.method, AMQP_BASIC_ACK);
                acks++;
                continue;
            }
            assert_int_equal(kind, AMQP_EVENT_CONTENT);
            assert_slice(event.body, "0123456789abcdef");
            contents++;
        }
    }
    assert_int_equal(contents, 3);
    assert_int_equal(acks, 4);
    amqp_reader_release(&reader);
}

static void frames_in_any_pieces(void **state)
{
    unsigned char data[2048];
    size_t size = make_stream(data, sizeof data);

    (void)state;
    for (size_t step = 1; step <= size; step++)
        read_stream_in_steps(data, size, step);
}

/* Mutants: the reader and the decoder may refuse, never read outside or hang. */
static void mutants_are_refused(void **state)
{
    unsigned char data[2048];
    unsigned char mutant[2048];
    size_t size = make_stream(data, sizeof data);
    unsigned random = 12345;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        struct amqp_reader reader;
        struct amqp_event event;
        enum amqp_event_kind kind;
        size_t room;
        unsigned events = 0;

        memcpy(mutant, data, size);
        for (unsigned i = 0; i < 1 + round % 4; i++) {
            random = random * 1103515245u + 12345u;
            mutant[(random >> 8) % size] = (unsigned char)(random >> 16);
        }
        assert_int_equal(amqp_reader_init(&reader, &host, 2, 4096), MB_OK);
        reader.body_max = 1u << 16;
        memcpy(amqp_reader_room(&reader, &room), mutant, size);
        amqp_reader_filled(&reader, size);
        while ((kind = amqp_reader_next(&reader, &event)) == AMQP_EVENT_METHOD ||
               kind == AMQP_EVENT_CONTENT) {
            struct mb_arena arena = fresh_arena();
            struct mb_message message;

            memset(&message, 0, sizeof message);
            if (kind == AMQP_EVENT_CONTENT)
                amqp_message_decode(&event, false, &arena, &message);
            assert_in_range(++events, 1, 1000);
        }
        amqp_reader_release(&reader);
    }
}

static void random_tables_are_safe(void **state)
{
    unsigned char valid[1024];
    unsigned char data[1024];
    size_t size = all_tags(valid, sizeof valid);
    unsigned random = 99;

    (void)state;
    for (unsigned round = 0; round < 50000; round++) {
        struct mb_arena arena = fresh_arena();
        struct mb_header *headers;
        struct mb_slice rest;
        uint32_t count;
        uint32_t losses = 0;
        unsigned char out[4096];
        struct amqp_writer writer = {out, out + sizeof out, false};

        memcpy(data, valid, size);
        for (unsigned i = 0; i < 1 + round % 5; i++) {
            random = random * 1103515245u + 12345u;
            data[(random >> 8) % size] = (unsigned char)(random >> 16);
        }
        mb_text_clear(&scratch);
        assert_int_equal(
            amqp_table_decode((struct mb_slice){data, size}, &arena, &headers, &count, &rest),
            MB_OK);
        for (uint32_t i = 0; i < count; i++)
            amqp_put_value(&writer, &headers[i].value, true, &scratch, &losses);
    }
}

static void a_full_writer_is_told(void **state)
{
    unsigned char small[40];
    struct amqp_writer writer = {small, small + sizeof small, false};
    struct amqp_encoding encoding = encoding_of(false);
    struct mb_message message = message_from(&from_rabbit);
    uint32_t losses = 0;

    (void)state;
    fill_properties(&message);
    amqp_put_header(&writer, &message, 4, &encoding, &losses);
    assert_true(writer.full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_survives),
        cmocka_unit_test(unknown_tags_are_carried),
        cmocka_unit_test(deep_nesting_is_bounded),
        cmocka_unit_test(properties_survive),
        cmocka_unit_test(presence_survives),
        cmocka_unit_test(an_empty_table_stays),
        cmocka_unit_test(key_and_null_body_cross_a_queue),
        cmocka_unit_test(foreign_headers_are_natural),
        cmocka_unit_test(own_headers_are_verbatim),
        cmocka_unit_test(dangerous_properties_are_left_out),
        cmocka_unit_test(ids_of_other_types),
        cmocka_unit_test(the_path_survives),
        cmocka_unit_test(frames_in_any_pieces),
        cmocka_unit_test(mutants_are_refused),
        cmocka_unit_test(random_tables_are_safe),
        cmocka_unit_test(a_full_writer_is_told),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    mb_text_release(&scratch);
    return failed;
}
