/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AMQP 0-9-1 halves of a bridge: raw_amqp091 consume|publish HOST:PORT QUEUE COUNT SIZE …
 * as guest, virtual host "/", a queue that exists.
 *
 * The library logs in; then frames are written and read by hand, which costs a tenth of what its
 * own calls do (three system calls a message to publish, an allocation a frame to read). publish:
 * persistent, mandatory, a window of confirms. consume: prefetch, acknowledged `multiple` for all
 * that one read brought.
 */
#include "raw.h"
#include "raw_wire.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif

#define CHANNEL       1
#define FRAME_MAX     131072u
#define FRAME_AROUND  8u
#define WINDOW        10000u
#define PREFETCH      2000u
#define SEND_SIZE     ((size_t)64 << 10) /* how much is gathered before it is sent */
#define WAIT_MS       1000
#define PROPERTY_BITS 0x3000u /* headers, delivery-mode */
#define PERSISTENT    2

enum { FRAME_METHOD = 1, FRAME_HEADER = 2, FRAME_BODY = 3, FRAME_HEARTBEAT = 8 };
enum { METHOD_PUBLISH = 40, METHOD_DELIVER = 60, METHOD_ACK = 80 };

#define CLASS_BASIC 60

static void check(amqp_rpc_reply_t reply, const char *what)
{
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        raw_die("%s: %s", what, amqp_error_string2(reply.library_error));
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        raw_die("%s: refused by the broker", what);
}

static amqp_connection_state_t connect_to(const char *address)
{
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    char host[64] = "";
    const char *colon = strrchr(address, ':');

    if (colon == NULL || (size_t)(colon - address) >= sizeof host)
        raw_die("'%s' is no HOST:PORT", address);
    memcpy(host, address, (size_t)(colon - address));
    if (amqp_socket_open(socket, host, atoi(colon + 1)) != AMQP_STATUS_OK)
        raw_die("no connection to %s", address);
    check(amqp_login(connection, "/", 0, FRAME_MAX, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest"),
          "login");
    amqp_channel_open(connection, CHANNEL);
    check(amqp_get_rpc_reply(connection), "channel");
    return connection;
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
    return put32(put16(put8(at, type), CHANNEL), 0);
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

static void put_publish(struct raw_wire *wire, const struct raw_spec *spec, char *body,
                        uint64_t number)
{
    size_t queue_size = strlen(spec->stream);
    size_t body_frames = spec->size / (FRAME_MAX - FRAME_AROUND) + 1;
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
        part = spec->size - sent < FRAME_MAX - FRAME_AROUND ? spec->size - sent
                                                            : FRAME_MAX - FRAME_AROUND;
        payload = open_frame(at, FRAME_BODY);
        at = close_frame(payload, put_bytes(payload, body + sent, part));
    }
    wire->out_end += (size_t)(at - start);
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

/* Which tags are confirmed: single ones may come out of order. */
struct confirms {
    unsigned char *seen; /* by tag */
    uint64_t covered;    /* all up to here are seen */
    uint64_t count;
};

static void note_confirm(struct confirms *confirms, uint64_t tag, bool multiple)
{
    uint64_t first = multiple ? confirms->covered + 1 : tag;

    for (uint64_t i = first; i <= tag; i++) {
        confirms->count += confirms->seen[i] == 0;
        confirms->seen[i] = 1;
    }
    if (multiple && tag > confirms->covered)
        confirms->covered = tag;
}

static void take_confirms(struct raw_wire *wire, struct confirms *confirms, uint64_t published)
{
    struct frame frame;

    while (take_frame(wire, &frame)) {
        if (frame.type == FRAME_HEARTBEAT)
            continue;
        if (method_of(&frame) != METHOD_ACK)
            raw_die("a message was returned or refused");
        if (get64(frame.payload + 4) > published)
            raw_die("confirmed what was not published");
        note_confirm(confirms, get64(frame.payload + 4), frame.payload[12] & 1);
    }
}

static void publish(const struct raw_spec *spec)
{
    amqp_connection_state_t connection = connect_to(spec->address);
    struct confirms confirms = {.seen = calloc(spec->count + 1, 1)};
    uint64_t window = spec->window > 0 ? spec->window : WINDOW;
    char *body = raw_body(spec);
    struct raw_wire wire;
    struct raw_meter meter;
    uint64_t sent = 0;
    bool can_go_on;
    double moved_s;

    if (confirms.seen == NULL)
        raw_die("no memory");
    amqp_confirm_select(connection, CHANNEL);
    check(amqp_get_rpc_reply(connection), "confirm.select");
    raw_wire_init(&wire, amqp_get_sockfd(connection));
    raw_begin_sink(&meter, spec);
    moved_s = raw_now_s();
    while (confirms.count < spec->count) {
        uint64_t limit = confirms.count + window;
        uint64_t due = raw_due(&meter);

        limit = limit < due ? limit : due;
        while (sent < limit && raw_wire_waiting(&wire) < SEND_SIZE)
            put_publish(&wire, spec, body, sent++);
        raw_wire_flush(&wire);
        can_go_on = sent < limit && raw_wire_waiting(&wire) == 0;
        if (raw_wire_turn(&wire, can_go_on ? 0 : raw_wait_ms(&meter, sent, WAIT_MS)))
            moved_s = raw_now_s();
        else if (!can_go_on && raw_now_s() - moved_s > RAW_STALL_S)
            raw_die("only %llu confirmed", (unsigned long long)confirms.count);
        take_confirms(&wire, &confirms, sent);
    }
    raw_report(&meter);
    free(confirms.seen);
    raw_wire_release(&wire);
    amqp_destroy_connection(connection);
}

/* ---- consume ---- */

struct delivery {
    uint64_t tag;
    uint64_t whole_tag; /* of the newest message that is complete */
    uint64_t left;      /* of its body */
    char stamp[RAW_STAMP_SIZE];
};

/* True when a message is complete. */
static bool take_part(struct delivery *delivery, const struct raw_spec *spec,
                      const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_METHOD:
        if (method_of(frame) != METHOD_DELIVER)
            raw_die("something other than a delivery came");
        delivery->tag = get64(frame->payload + 5 + frame->payload[4]);
        return false;
    case FRAME_HEADER:
        delivery->left = get64(frame->payload + 4);
        if (delivery->left != spec->size)
            raw_die("a message of %llu bytes", (unsigned long long)delivery->left);
        return false;
    case FRAME_BODY:
        if (delivery->left == spec->size && spec->is_stamped)
            memcpy(delivery->stamp, frame->payload, RAW_STAMP_SIZE);
        if (frame->size > delivery->left)
            raw_die("more than a body");
        delivery->left -= frame->size;
        if (delivery->left == 0)
            delivery->whole_tag = delivery->tag;
        return delivery->left == 0;
    default:
        return false;
    }
}

static void subscribe(amqp_connection_state_t connection, const struct raw_spec *spec)
{
    uint64_t prefetch = spec->window > 0 ? spec->window : PREFETCH;
    /* Without an answer: from here on nothing is read by the library. */
    amqp_basic_consume_t consume = {.queue = amqp_cstring_bytes(spec->stream),
                                    .consumer_tag = amqp_cstring_bytes("raw"),
                                    .nowait = 1};

    amqp_basic_qos(connection, CHANNEL, 0, (uint16_t)prefetch, 0);
    check(amqp_get_rpc_reply(connection), "qos");
    if (amqp_send_method(connection, CHANNEL, AMQP_BASIC_CONSUME_METHOD, &consume) !=
        AMQP_STATUS_OK)
        raw_die("no consumer");
}

static void consume(const struct raw_spec *spec)
{
    amqp_connection_state_t connection = connect_to(spec->address);
    struct raw_wire wire;
    struct raw_meter meter = {.spec = NULL};
    struct delivery delivery = {.tag = 0};
    struct frame frame;
    uint64_t acknowledged = 0;

    subscribe(connection, spec);
    raw_wire_init(&wire, amqp_get_sockfd(connection));
    while (meter.taken < spec->count) {
        if (!raw_wire_turn(&wire, (int)(RAW_STALL_S * 1000)))
            raw_die("only %llu messages came", (unsigned long long)meter.taken);
        while (take_frame(&wire, &frame)) {
            if (!take_part(&delivery, spec, &frame))
                continue;
            /* Only the stamp is kept of a body; what is before it does not matter. */
            if (spec->is_stamped)
                raw_take(&meter, spec, delivery.stamp, spec->size);
            else
                raw_take(&meter, spec, NULL, spec->size);
        }
        if (delivery.whole_tag > acknowledged) {
            acknowledged = delivery.whole_tag;
            put_ack(&wire, acknowledged);
            raw_wire_flush(&wire);
        }
    }
    while (raw_wire_waiting(&wire) > 0)
        raw_wire_turn(&wire, WAIT_MS);
    raw_report(&meter);
    raw_wire_release(&wire);
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
}

int main(int argc, char **argv)
{
    struct raw_spec spec;

    raw_read_arguments(&spec, argc, argv, "consume", "publish");
    (spec.is_sink ? publish : consume)(&spec);
    return 0;
}
