/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as frames of an AMQP 0-9-1 broker, in pieces of any size: every slice of an event lies
 * in memory that is there, a delivery is decoded or refused, and the memory that is taken follows
 * what came, not what a size claims.
 */
#include "fuzz_host.h"

#include "backends/amqp091/amqp.h"

#include <kit/scratch.h>

#define FRAME_MAX_TEST 4096u
#define CHANNELS       2u
#define AHEAD_MAX      ((size_t)2 << 20)

static struct mb_scratch arena;
static volatile unsigned sum; /* so that the bytes are read */

static void put_delivery(struct amqp_writer *writer, size_t body_size, size_t pieces)
{
    static const char body[] = "0123456789abcdef";
    unsigned char *frame = amqp_method_begin(writer, 1, AMQP_BASIC_DELIVER);

    amqp_put_shortstr(writer, MB_SLICE_LITERAL("tag"));
    amqp_put_u64(writer, 7);
    amqp_put_u8(writer, 0);
    amqp_put_shortstr(writer, MB_SLICE_LITERAL("exchange"));
    amqp_put_shortstr(writer, MB_SLICE_LITERAL("key"));
    amqp_frame_end(writer, frame);
    frame = amqp_frame_begin(writer, 2, 1);
    amqp_put_u32(writer, 60u << 16);
    amqp_put_u64(writer, body_size);
    amqp_put_u16(writer, 0x2000); /* headers */
    amqp_put_u32(writer, 6);
    amqp_put_name_text(writer, "", 'S', (struct mb_slice){"", 0});
    amqp_frame_end(writer, frame);
    for (size_t i = 0; i < pieces; i++) {
        frame = amqp_frame_begin(writer, 3, 1);
        amqp_put_bytes(writer, (struct mb_slice){body + i * 16 / pieces, 16 / pieces});
        amqp_frame_end(writer, frame);
    }
}

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    struct amqp_writer writer = {data, data + size, false};

    amqp_put_u8(&writer, (unsigned char)(index * 7));
    switch (index) {
    case 0:
        put_delivery(&writer, 16, 1);
        amqp_frame_heartbeat(&writer);
        amqp_frame_ack(&writer, 1, 3, MB_ACCEPTED);
        break;
    case 1:
        put_delivery(&writer, 16, 4);
        break;
    case 2:
        put_delivery(&writer, (size_t)1 << 30, 2);
        break;
    case 3:
        put_delivery(&writer, 0, 0);
        put_delivery(&writer, 1 << 20, 1);
        amqp_frame_close(&writer, 1, AMQP_CHANNEL_CLOSE);
        break;
    case 4: /* a frame of 2 GiB, as it says */
        amqp_put_u8(&writer, 3);
        amqp_put_u16(&writer, 1);
        amqp_put_u32(&writer, 0x80000000u);
        break;
    default:
        return MB_FUZZ_NO_SEED;
    }
    MB_FUZZ_CHECK(!writer.full);
    return (size_t)(writer.at - data);
}

static void touch(struct mb_slice slice)
{
    const unsigned char *at = slice.data;

    for (size_t i = 0; i < slice.size; i++)
        sum += at[i];
}

static void take(const struct amqp_event *event)
{
    struct mb_message message = {.struct_size = sizeof message};

    touch(event->arguments);
    if (event->kind != AMQP_EVENT_CONTENT)
        return;
    touch(event->header);
    touch(event->body);
    mb_scratch_reset(&arena);
    if (amqp_message_decode(event, true, &arena.arena, &message) == MB_OK)
        touch(message.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mb_fuzz_input input = {data, size};
    size_t step = (size_t)mb_fuzz_byte(&input) * 16 + 1;
    struct amqp_reader reader;
    enum amqp_event_kind kind = AMQP_EVENT_NONE;

    if (arena.arena.more == NULL)
        mb_scratch_init(&arena, 64u << 20);
    fuzz_host_largest = 0;
    MB_FUZZ_CHECK(amqp_reader_init(&reader, &fuzz_host, CHANNELS, FRAME_MAX_TEST) == MB_OK);
    while (input.left > 0 && kind != AMQP_EVENT_BAD) {
        struct amqp_event event;
        size_t room;
        size_t got;
        unsigned char *at = amqp_reader_room(&reader, &room);
        const uint8_t *bytes = mb_fuzz_bytes(&input, step < room ? step : room, &got);

        MB_FUZZ_CHECK(room > 0);
        memcpy(at, bytes, got);
        amqp_reader_filled(&reader, got);
        while ((kind = amqp_reader_next(&reader, &event)) != AMQP_EVENT_NONE &&
               kind != AMQP_EVENT_BAD)
            take(&event);
    }
    MB_FUZZ_CHECK(fuzz_host_largest <= 4 * size + AHEAD_MAX);
    amqp_reader_release(&reader);
    return 0;
}
