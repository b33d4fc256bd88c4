/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMQP 0-9-1: a delivery, or an envelope with values of any platform, is projected, encoded,
 * decoded and restored. What a reader sees is what project said, the sidecar gives the message
 * back, and between two brokers of this platform the bytes stay.
 */
#include "fuzz.h"

#include "backends/amqp091/amqp_map.h"

#include <kit/sidecar.h>
#include <kit/types.h>

#define WIRE_SIZE (1u << 20)

enum flag {
    FLAG_STREAM = 1,
    FLAG_PERSISTENT = 2,
    FLAG_EXCHANGE = 4,
    FLAG_ROUTING_KEY = 8,
    FLAG_TYPED = 16, /* headers are AMQP 1.0 values, else the input is a delivery's properties */
    FLAG_NULL_BODY = 32
};

static struct mb_scratch arena;
static struct mb_scratch scratch;
static struct mb_text text = {.max_size = 1u << 20};
static struct mb_text sidecar = {.max_size = 8u << 20};
static unsigned char wire[WIRE_SIZE];

static enum mb_status decode(struct mb_slice properties, struct mb_slice body,
                             struct mb_slice exchange, struct mb_slice routing_key,
                             bool reads_stream, struct mb_message *message)
{
    unsigned char arguments[600];
    struct amqp_writer writer = {arguments, arguments + sizeof arguments, false};
    struct amqp_event event = {.kind = AMQP_EVENT_CONTENT, .channel = 1};

    amqp_put_shortstr(&writer, MB_SLICE_LITERAL("tag"));
    amqp_put_u64(&writer, 1);
    amqp_put_u8(&writer, 0);
    amqp_put_shortstr(&writer, exchange);
    amqp_put_shortstr(&writer, routing_key);
    event.arguments = (struct mb_slice){arguments, (size_t)(writer.at - arguments)};
    event.header = amqp_not_null(properties);
    event.body = amqp_not_null(body);
    memset(message, 0, sizeof *message);
    message->struct_size = sizeof *message;
    return amqp_message_decode(&event, reads_stream, &arena.arena, message);
}

/* An envelope as a platform with typed headers makes it. */
static bool build(struct mb_fuzz_input *input, unsigned flags, struct mb_message *message)
{
    struct mb_types_reader reader = {.data = input->at, .size = input->left};
    struct mb_header *headers = mb_arena_alloc(&arena.arena, 64 * sizeof *headers);
    struct mb_value value;
    uint32_t count = 0;

    if (headers == NULL)
        return false;
    memset(message, 0, sizeof *message);
    message->struct_size = sizeof *message;
    message->body = MB_SLICE_LITERAL("body");
    while (count < 64 && mb_types_read(&reader, &arena.arena, &value) == MB_OK) {
        struct mb_header *header = &headers[count++];

        memset(header, 0, sizeof *header);
        header->value = value;
        header->name_type = MB_STRING;
        header->name = MB_SLICE_LITERAL("x-name");
        if ((value.type == MB_STRING || value.type == MB_SYMBOL) && mb_types_skip(&reader) == MB_OK)
            header->name = value.as.bytes;
        header->section = (uint8_t)(reader.at % 3);
    }
    message->headers = headers;
    message->headers_count = count;
    if ((flags & FLAG_NULL_BODY) != 0) {
        message->body_kind = MB_BODY_NULL;
        message->body = MB_SLICE_NULL;
    } else if (count > 0 && (count & 1) != 0) {
        message->body_kind = MB_BODY_VALUE;
        message->body_value = headers[0].value;
        message->body = MB_SLICE_NULL;
    }
    message->present = (uint32_t)(reader.at * 2654435761u) & 0xfffff;
    message->present &= ~(uint32_t)(MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY);
    message->key = MB_SLICE_LITERAL("k\xff");
    message->group_id = MB_SLICE_LITERAL("group");
    message->group_sequence = (uint32_t)reader.at * 0x10000001u;
    message->message_id.kind = (uint8_t)(reader.at % 4);
    message->message_id.bytes = MB_SLICE_LITERAL("0123456789abcdef");
    message->correlation_id.kind = (uint8_t)(reader.at / 4 % 4);
    message->correlation_id.bytes = message->message_id.bytes;
    message->correlation_id.number = reader.at;
    message->timestamp_ms = (int64_t)reader.at * 1500 - 3000;
    message->content_type = message->content_encoding = message->subject = message->to =
        message->reply_to = message->reply_to_group_id = message->user_id = message->app_id =
            MB_SLICE_LITERAL("shop");
    return true;
}

static void cross(const struct mb_message *message, const struct mb_outgoing *item,
                  struct amqp_encoding *encoding)
{
    struct amqp_writer writer = {wire, wire + sizeof wire, false};
    struct mb_message natural = *message;
    struct mb_message back;
    struct mb_message restored;
    struct mb_carried carried = {.message = &natural};
    struct mb_error err;
    uint64_t lost;
    bool malformed;

    if (amqp_project(encoding, item, message, &scratch, &natural, &err) != MB_OK)
        return;
    natural.sidecar = MB_SLICE_NULL;
    mb_text_clear(&sidecar);
    MB_FUZZ_CHECK(mb_sidecar_write(message, &natural, 1u << 20, &sidecar, &lost) == MB_OK);
    if (sidecar.size > 0)
        carried.sidecar = (struct mb_slice){sidecar.data, sidecar.size};
    MB_FUZZ_CHECK(lost == 0);
    amqp_put_header(&writer, &carried, natural.body.size, encoding, &lost);
    if (writer.full)
        return;
    MB_FUZZ_CHECK(lost == 0);
    MB_FUZZ_CHECK(decode((struct mb_slice){wire + 12, (size_t)(writer.at - wire) - 12},
                         natural.body, natural.exchange, natural.routing_key, false,
                         &back) == MB_OK);
    MB_FUZZ_CHECK(mb_message_difference(&back, &natural) == 0);
    MB_FUZZ_CHECK(mb_sidecar_restore(&back, &arena.arena, &restored, &malformed) == MB_OK);
    MB_FUZZ_CHECK(!malformed);
    if (mb_message_difference(&restored, message)) {
        const struct mb_message *all[3] = {message, &natural, &restored};
        for (int a = 0; a < 3; a++) {
            fprintf(stderr, "--\n");
            for (unsigned i = 0; i < all[a]->headers_count; i++) {
                const struct mb_header *h = &all[a]->headers[i];
                mb_text_clear(&text);
                mb_text_value(&text, &h->value, NULL);
                fprintf(stderr, "%d %d '%.*s' t%d %.*s\n", h->section, h->name_type,
                        (int)h->name.size, (char *)h->name.data, h->value.type, (int)text.size,
                        text.data);
            }
        }
    }
    if (mb_message_difference(&restored, message))
        fprintf(stderr, "DIFF %llx nat %llx\n",
                (unsigned long long)mb_message_difference(&restored, message),
                (unsigned long long)mb_message_difference(&natural, message));
    MB_FUZZ_CHECK(mb_message_difference(&restored, message) == 0);
}

static void stay(const struct mb_message *message, const struct amqp_encoding *encoding)
{
    struct amqp_writer writer = {wire, wire + sizeof wire, false};
    struct mb_carried carried = {.message = message, .verbatim = true};
    struct mb_message back;
    uint64_t lost;
    unsigned flags = (unsigned)amqp_load(message->raw.data, 2);
    struct mb_slice written;

    amqp_put_header(&writer, &carried, message->body.size, encoding, &lost);
    MB_FUZZ_CHECK(!writer.full);
    written = (struct mb_slice){wire + 12, (size_t)(writer.at - wire) - 12};
    MB_FUZZ_CHECK(decode(written, message->body, message->exchange, message->routing_key, false,
                         &back) == MB_OK);
    if (lost != 0 || encoding->persistent || message->position.kind != MB_POSITION_NONE ||
        message->delivery_count > 0)
        return;
    MB_FUZZ_CHECK(mb_message_difference(&back, message) == 0);
    /* Flags without a property, and words of flags behind the first, have nothing to carry. */
    if ((flags & (AMQP_PROPERTY_MORE_FLAGS | 2u)) == 0)
        MB_FUZZ_CHECK(written.size <= message->raw.size &&
                      memcmp(written.data, message->raw.data, written.size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mb_fuzz_input input = {data, size};
    unsigned flags = mb_fuzz_byte(&input);
    size_t body_size = mb_fuzz_byte(&input) & 15u;
    struct amqp_encoding encoding = {
        .username = "shop", .persistent = (flags & FLAG_PERSISTENT) != 0, .text = &text};
    struct mb_outgoing item = {0};
    struct mb_message message;

    if (arena.arena.more == NULL) {
        mb_scratch_init(&arena, 256u << 20);
        mb_scratch_init(&scratch, 256u << 20);
    }
    mb_scratch_reset(&arena);
    mb_scratch_reset(&scratch);
    if ((flags & FLAG_EXCHANGE) != 0)
        item.names[AMQP_NAME_EXCHANGE] = MB_SLICE_LITERAL("shop");
    else
        item.names[AMQP_NAME_QUEUE] = MB_SLICE_LITERAL("queue");
    if ((flags & FLAG_EXCHANGE) != 0 && (flags & FLAG_ROUTING_KEY) != 0)
        item.names[AMQP_NAME_ROUTING_KEY] = MB_SLICE_LITERAL("fixed");
    if ((flags & FLAG_TYPED) != 0) {
        if (build(&input, flags, &message))
            cross(&message, &item, &encoding);
        return 0;
    }
    if (decode((struct mb_slice){input.at, input.left}, (struct mb_slice){input.at, 0},
               MB_SLICE_LITERAL("ex"), MB_SLICE_LITERAL("key"), (flags & FLAG_STREAM) != 0,
               &message) != MB_OK)
        return 0;
    if (body_size > 0 && message.body_kind == MB_BODY_BYTES)
        message.body = (struct mb_slice){"0123456789abcdef", body_size};
    stay(&message, &encoding);
    message.sidecar = MB_SLICE_NULL;
    cross(&message, &item, &encoding);
    return 0;
}

/* ---- seeds -------------------------------------------------------------------------------- */

static size_t seed_typed(uint8_t *data, size_t size)
{
    static const struct mb_value list[] = {{.type = MB_U64, .as.u = UINT64_MAX},
                                           {.type = MB_F64, .as.f64 = 1.5}};
    const struct mb_value values[] = {
        {.type = MB_STRING, .as.bytes = MB_SLICE_LITERAL("x-message-id")},
        {.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("\0\xff")},
        {.type = MB_SYMBOL, .as.bytes = MB_SLICE_LITERAL("JMSXGroupID")},
        {.type = MB_UUID, .as.bytes = MB_SLICE_LITERAL("0123456789abcdef")},
        {.type = MB_LIST, .as.items = {list, 2, 0}},
        {.type = MB_TIMESTAMP_MS, .as.i = 1700000000123},
    };
    struct mb_text out = {.max_size = 4096};

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        mb_types_write(&out, &values[i]);
    data[0] = FLAG_TYPED;
    data[1] = 0;
    if (out.size + 2 > size)
        out.size = size - 2;
    memcpy(data + 2, out.data, out.size);
    size = out.size + 2;
    mb_text_release(&out);
    return size;
}

static size_t seed_delivery(uint8_t *data, size_t size)
{
    struct amqp_writer writer = {data, data + size, false};
    unsigned char *table;

    amqp_put_u8(&writer, 0);
    amqp_put_u8(&writer, 5);
    amqp_put_u16(&writer, 0xfffc);
    amqp_put_shortstr(&writer, MB_SLICE_LITERAL("text/plain"));
    amqp_put_shortstr(&writer, MB_SLICE_LITERAL("gzip"));
    table = amqp_room(&writer, 4);
    amqp_put_name_text(&writer, "latin", 'S', MB_SLICE_LITERAL("gr\xfc\xdf"));
    amqp_put_name_text(&writer, "nested", 'A', MB_SLICE_LITERAL("F\0\0\0\7\1kA\0\0\0\0V"));
    amqp_put_name_text(&writer, AMQP_HEADER_PATH, 'x', MB_SLICE_LITERAL("\0\0\0\0\0\0\0\1"));
    amqp_put_name_text(&writer, AMQP_HEADER_KEY, 'x', MB_SLICE_LITERAL("key"));
    amqp_put_shortstr(&writer, MB_SLICE_LITERAL("JMSXGroupSeq"));
    amqp_put_u8(&writer, 'I');
    amqp_put_u32(&writer, 7);
    amqp_store(table, (uint64_t)(writer.at - table) - 4, 4);
    amqp_put_u8(&writer, 2);
    amqp_put_u8(&writer, 9);
    for (int i = 0; i < 4; i++)
        amqp_put_shortstr(&writer, MB_SLICE_LITERAL("60000"));
    amqp_put_u64(&writer, 1700000000);
    amqp_put_shortstr(&writer, MB_SLICE_LITERAL("type"));
    amqp_put_shortstr(&writer, MB_SLICE_LITERAL("shop"));
    amqp_put_shortstr(&writer, MB_SLICE_LITERAL("app"));
    amqp_put_shortstr(&writer, MB_SLICE_LITERAL("cluster"));
    return (size_t)(writer.at - data);
}

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    static const uint8_t small[] = {FLAG_EXCHANGE, 0, 0, 0};
    size_t written;

    if (size < 512 || index > 8)
        return MB_FUZZ_NO_SEED;
    if (index == 8) {
        memcpy(data, small, sizeof small);
        return sizeof small;
    }
    written = index % 2 == 0 ? seed_delivery(data, size) : seed_typed(data, size);
    data[0] |= (uint8_t)(index / 2 * FLAG_EXCHANGE);
    if (index == 6)
        data[0] |= FLAG_STREAM | FLAG_PERSISTENT;
    return written;
}
