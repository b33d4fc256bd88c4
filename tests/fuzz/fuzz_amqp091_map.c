/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMQP 0-9-1: a delivery, or an envelope of any platform, is projected, encoded,
 * decoded and restored. What a reader sees is what project said, the sidecar gives the message
 * back, and between two brokers of this platform the bytes stay.
 */
#include "fuzz.h"

#include "backends/amqp091/amqp_map.h"

#include <kit/field.h>
#include <kit/sidecar.h>
#include <tests/unit/kit/generate.h>

#define WIRE_SIZE (1u << 20)

enum flag {
    FLAG_STREAM = 1,
    FLAG_PERSISTENT = 2,
    FLAG_EXCHANGE = 4,
    FLAG_ROUTING_KEY = 8,
    FLAG_ENVELOPE = 16, /* the input makes a message, else it is a delivery's properties */
    FLAG_SORTED = 32
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

    MB_FUZZ_CHECK(mb_properties_own(&natural, &scratch.arena));
    if (amqp_project(encoding, item, message, &scratch, &natural, &err) != MB_OK)
        return;
    if (natural.properties->routing_key.size > AMQP_SHORTSTR_MAX)
        return; /* the sink refuses it */
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
                         natural.body, natural.properties->exchange,
                         natural.properties->routing_key, false, &back) == MB_OK);
    MB_FUZZ_CHECK(mb_message_difference(&back, &natural) == 0);
    MB_FUZZ_CHECK(mb_sidecar_restore(&back, &arena.arena, &restored, &malformed) == MB_OK);
    MB_FUZZ_CHECK(!malformed);
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
    MB_FUZZ_CHECK(decode(written, message->body, message->properties->exchange,
                         message->properties->routing_key, false, &back) == MB_OK);
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
    struct amqp_encoding encoding = {.username = "shop",
                                     .persistent = (flags & FLAG_PERSISTENT) != 0,
                                     .sorts_headers = (flags & FLAG_SORTED) != 0,
                                     .text = &text};
    struct mb_outgoing item = {0};
    struct generator generator;
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
    if ((flags & FLAG_ENVELOPE) != 0) {
        generator_bytes(&generator, input.at, input.left, &arena);
        generate_message(&generator, &message);
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

static size_t seed_envelope(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * i * 37 + i / 3);
    data[0] = FLAG_ENVELOPE;
    data[1] = 0;
    return size < 400 ? size : 400;
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
    written = index % 2 == 0 ? seed_delivery(data, size) : seed_envelope(data, size);
    data[0] |= (uint8_t)(index / 2 * FLAG_EXCHANGE);
    if (index == 6)
        data[0] |= FLAG_STREAM | FLAG_PERSISTENT;
    return written;
}
