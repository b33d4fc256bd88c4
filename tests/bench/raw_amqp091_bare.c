/* SPDX-License-Identifier: Apache-2.0 */
/* AMQP 0-9-1 with frames written and read by hand, which costs a tenth of what the library's calls
 * do: three system calls a message to publish, a decoded copy of each frame to read. */
#include "raw_amqp091.h"
#include "raw_wire.h"

#include <endian.h>
#include <string.h>

#define FRAME_AROUND  8u
#define PROPERTY_BITS 0x3000u /* headers, delivery-mode */
#define PERSISTENT    2
#define CLASS_BASIC   60

enum { FRAME_METHOD = 1, FRAME_HEADER = 2, FRAME_BODY = 3, FRAME_HEARTBEAT = 8 };
enum { METHOD_PUBLISH = 40, METHOD_DELIVER = 60, METHOD_ACK = 80 };

struct bare {
    struct amqp091 half;
    struct raw_wire wire;
};

static void *open_bare(const struct raw_spec *spec)
{
    static struct bare bare;

    amqp091_open(&bare.half, spec);
    raw_wire_init(&bare.wire, amqp_get_sockfd(bare.half.connection));
    return &bare;
}

static void close_bare(void *state)
{
    struct bare *bare = (struct bare *)state;

    raw_wire_release(&bare->wire);
    amqp091_close(&bare->half);
}

/* ---- writing ---- */

static unsigned char *put8(unsigned char *at, unsigned value)
{
    *at = (unsigned char)value;
    return at + 1;
}

static unsigned char *put16(unsigned char *at, unsigned value)
{
    uint16_t word = htobe16((uint16_t)value);

    memcpy(at, &word, sizeof word);
    return at + sizeof word;
}

static unsigned char *put32(unsigned char *at, size_t value)
{
    uint32_t word = htobe32((uint32_t)value);

    memcpy(at, &word, sizeof word);
    return at + sizeof word;
}

static unsigned char *put64(unsigned char *at, uint64_t value)
{
    uint64_t word = htobe64(value);

    memcpy(at, &word, sizeof word);
    return at + sizeof word;
}

static unsigned char *put_bytes(unsigned char *at, const void *data, size_t size)
{
    memcpy(at, data, size);
    return at + size;
}

static unsigned char *put_short(unsigned char *at, const char *text, size_t size)
{
    return put_bytes(put8(at, (unsigned)size), text, size);
}

static unsigned char *put_table_text(unsigned char *at, const char *name, size_t name_size,
                                     const char *value, size_t value_size)
{
    at = put8(put_short(at, name, name_size), 'S');
    return put_bytes(put32(at, value_size), value, value_size);
}

/* Room is left for the size, which is not known yet. */
static unsigned char *open_frame(unsigned char *at, unsigned type)
{
    return put32(put16(put8(at, type), AMQP091_CHANNEL), 0);
}

static unsigned char *close_frame(unsigned char *payload, unsigned char *end)
{
    put32(payload - 4, (size_t)(end - payload));
    return put8(end, AMQP_FRAME_END);
}

static unsigned char *put_content_header(unsigned char *at, const struct raw_spec *spec,
                                         uint64_t number)
{
    unsigned char *payload = open_frame(at, FRAME_HEADER);
    unsigned char *table;
    char key[RAW_KEY_SIZE + 1];
    char name[RAW_HEADER_NAME + 1];
    char value[RAW_HEADER_SIZE + 1];

    at = put64(put16(put16(payload, CLASS_BASIC), 0), spec->size);
    table = put32(put16(at, PROPERTY_BITS), 0);
    raw_key(key, number);
    at = put_table_text(table, RAW_KEY_HEADER, sizeof RAW_KEY_HEADER - 1, key, RAW_KEY_SIZE);
    for (uint64_t i = 0; i < spec->headers; i++) {
        raw_header(name, value, i);
        at = put_table_text(at, name, RAW_HEADER_NAME, value, RAW_HEADER_SIZE);
    }
    put32(table - 4, (size_t)(at - table));
    return close_frame(payload, put8(at, PERSISTENT));
}

static void put(void *state, uint64_t number)
{
    struct bare *bare = (struct bare *)state;
    struct raw_wire *wire = &bare->wire;
    const struct raw_spec *spec = bare->half.spec;
    char *body = bare->half.body;
    size_t queue_size = strlen(spec->stream);
    size_t body_frames = spec->size / (AMQP091_FRAME_MAX - FRAME_AROUND) + 1;
    size_t size_max = 512 + queue_size + spec->headers * (RAW_HEADER_NAME + RAW_HEADER_SIZE + 8) +
                      spec->size + body_frames * FRAME_AROUND;
    unsigned char *start = raw_wire_room(wire, size_max);
    unsigned char *payload = open_frame(start, FRAME_METHOD);
    unsigned char *at = put16(put16(payload, CLASS_BASIC), METHOD_PUBLISH);
    size_t part;

    at = put_short(put_short(put16(at, 0), "", 0), spec->stream, queue_size);
    at = close_frame(payload, put8(at, 1)); /* mandatory */
    at = put_content_header(at, spec, number);
    if (spec->is_stamped)
        raw_stamp(body);
    for (size_t sent = 0; sent < spec->size; sent += part) {
        part = spec->size - sent < AMQP091_FRAME_MAX - FRAME_AROUND
                   ? spec->size - sent
                   : AMQP091_FRAME_MAX - FRAME_AROUND;
        payload = open_frame(at, FRAME_BODY);
        at = close_frame(payload, put_bytes(payload, body + sent, part));
    }
    wire->out_end += (size_t)(at - start);
    bare->half.published++;
}

static void put_ack(struct raw_wire *wire, uint64_t tag)
{
    unsigned char *start = raw_wire_room(wire, 32);
    unsigned char *payload = open_frame(start, FRAME_METHOD);
    unsigned char *at = put64(put16(put16(payload, CLASS_BASIC), METHOD_ACK), tag);

    wire->out_end += (size_t)(close_frame(payload, put8(at, 1)) - start);
}

/* ---- reading ---- */

struct frame {
    unsigned type;
    const unsigned char *payload;
    size_t size;
};

static unsigned get16(const unsigned char *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static uint64_t get64(const unsigned char *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof word);
    return be64toh(word);
}

/* The next whole frame that was read. It stays there until the next read. */
static bool take_frame(struct raw_wire *wire, struct frame *frame)
{
    const unsigned char *data = raw_wire_data(wire);
    uint32_t size;

    if (raw_wire_size(wire) < FRAME_AROUND)
        return false;
    memcpy(&size, data + 3, sizeof size);
    frame->size = be32toh(size);
    if (raw_wire_size(wire) < FRAME_AROUND + frame->size)
        return false;
    frame->type = data[0];
    frame->payload = data + 7;
    if (data[7 + frame->size] != AMQP_FRAME_END)
        raw_die("no frame");
    wire->in_start += FRAME_AROUND + frame->size;
    return true;
}

static unsigned method_of(const struct frame *frame)
{
    if (frame->type != FRAME_METHOD || frame->size < 13 || get16(frame->payload) != CLASS_BASIC)
        raw_die("the broker sent something other than messages: class %u, method %u",
                get16(frame->payload), get16(frame->payload + 2));
    return get16(frame->payload + 2);
}

/* ---- publish ---- */

static bool has_room(void *state)
{
    const struct bare *bare = (struct bare *)state;

    return raw_wire_waiting(&bare->wire) < RAW_SEND_SIZE;
}

static void flush(void *state)
{
    struct bare *bare = (struct bare *)state;

    raw_wire_flush(&bare->wire);
}

static uint64_t confirm(void *state, int timeout_ms)
{
    struct bare *bare = (struct bare *)state;
    uint64_t before = bare->half.confirmed;
    struct frame frame;

    raw_wire_turn(&bare->wire, timeout_ms);
    while (take_frame(&bare->wire, &frame)) {
        if (frame.type == FRAME_HEARTBEAT)
            continue;
        if (method_of(&frame) != METHOD_ACK)
            raw_die("a message was returned or refused");
        amqp091_note_confirm(&bare->half, get64(frame.payload + 4), frame.payload[12] & 1);
    }
    return bare->half.confirmed - before;
}

/* ---- consume ---- */

static void take_part(struct amqp091 *half, struct raw_meter *meter, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_METHOD:
        if (method_of(frame) != METHOD_DELIVER)
            raw_die("something other than a delivery came");
        amqp091_take_deliver(half, get64(frame->payload + 5 + frame->payload[4]));
        break;
    case FRAME_HEADER:
        amqp091_take_header(half, get64(frame->payload + 4));
        break;
    case FRAME_BODY:
        amqp091_take_body(half, meter, frame->payload, frame->size);
        break;
    default:
        break;
    }
}

static void take(void *state, struct raw_meter *meter, int timeout_ms)
{
    struct bare *bare = (struct bare *)state;
    struct amqp091 *half = &bare->half;
    struct frame frame;

    raw_wire_turn(&bare->wire, timeout_ms);
    while (take_frame(&bare->wire, &frame))
        take_part(half, meter, &frame);
    if (half->whole_tag == half->acknowledged)
        return;
    half->acknowledged = half->whole_tag;
    put_ack(&bare->wire, half->acknowledged);
    raw_wire_flush(&bare->wire);
}

static void finish(void *state)
{
    struct bare *bare = (struct bare *)state;

    while (raw_wire_waiting(&bare->wire) > 0)
        raw_wire_turn(&bare->wire, RAW_WAIT_MS);
}

const struct raw_way raw_amqp091_bare = {
    .open = open_bare,
    .close = close_bare,
    .has_room = has_room,
    .put = put,
    .flush = flush,
    .confirm = confirm,
    .take = take,
    .finish = finish,
};
