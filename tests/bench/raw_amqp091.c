/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AMQP 0-9-1 halves of a bridge, alone: raw_amqp091 publish|consume PORT QUEUE COUNT SIZE
 * on 127.0.0.1 as guest, virtual host "/", a queue that exists.
 *
 * publish: persistent, mandatory, confirmed, with the library's own publish and a window of
 * confirms. consume: prefetch 2000, acknowledged `multiple` a batch.
 */
#include "raw.h"

#include <stdbool.h>
#include <sys/time.h>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif

#define CHANNEL         1
#define UNCONFIRMED_MAX 10000u
#define PREFETCH        2000
#define LOOK_EVERY      128u
#define STALL_S         60

static void check(amqp_rpc_reply_t reply, const char *what)
{
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        raw_die("%s: %s", what, amqp_error_string2(reply.library_error));
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        raw_die("%s: refused by the broker", what);
}

static amqp_connection_state_t connect_to(const char *port)
{
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);

    if (amqp_socket_open(socket, "127.0.0.1", (int)raw_number(port, 65535)) != AMQP_STATUS_OK)
        raw_die("no connection to port %s", port);
    check(amqp_login(connection, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest"),
          "login");
    amqp_channel_open(connection, CHANNEL);
    check(amqp_get_rpc_reply(connection), "channel");
    return connection;
}

static void disconnect(amqp_connection_state_t connection)
{
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
}

/* The next frame, or false at the timeout. */
static bool next_frame(amqp_connection_state_t connection, amqp_frame_t *frame, long timeout_s)
{
    struct timeval timeout = {.tv_sec = timeout_s};
    int status = amqp_simple_wait_frame_noblock(connection, frame, &timeout);

    if (status == AMQP_STATUS_TIMEOUT)
        return false;
    if (status != AMQP_STATUS_OK)
        raw_die("read: %s", amqp_error_string2(status));
    return true;
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

static void take_confirms(amqp_connection_state_t connection, struct confirms *confirms,
                          uint64_t published, long timeout_s)
{
    amqp_frame_t frame;
    const amqp_basic_ack_t *ack;

    while (next_frame(connection, &frame, timeout_s)) {
        timeout_s = 0;
        if (frame.frame_type != AMQP_FRAME_METHOD ||
            frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
            raw_die("a message was returned or refused");
        ack = frame.payload.method.decoded;
        if (ack->delivery_tag > published)
            raw_die("confirmed what was not published");
        note_confirm(confirms, ack->delivery_tag, ack->multiple != 0);
        amqp_maybe_release_buffers_on_channel(connection, CHANNEL);
    }
}

static void publish_one(amqp_connection_state_t connection, const char *queue, amqp_bytes_t body,
                        uint64_t number)
{
    char key[RAW_KEY_SIZE + 1];
    amqp_table_entry_t header = {.key = amqp_cstring_bytes(RAW_KEY_HEADER)};
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_HEADERS_FLAG, .delivery_mode = 2};
    int status;

    raw_key(key, number);
    header.value.kind = AMQP_FIELD_KIND_UTF8;
    header.value.value.bytes = amqp_cstring_bytes(key);
    properties.headers = (amqp_table_t){.num_entries = 1, .entries = &header};
    status = amqp_basic_publish(connection, CHANNEL, amqp_empty_bytes, amqp_cstring_bytes(queue), 1,
                                0, &properties, body);
    if (status != AMQP_STATUS_OK)
        raw_die("publish: %s", amqp_error_string2(status));
}

static void publish(const char *port, const char *queue, uint64_t count, size_t size)
{
    static char body[RAW_SIZE_MAX];
    const amqp_bytes_t body_bytes = {.len = size, .bytes = body};
    amqp_connection_state_t connection = connect_to(port);
    struct confirms confirms = {.seen = calloc(count + 1, 1)};
    double began_s;

    if (confirms.seen == NULL)
        raw_die("no memory");
    raw_fill(body, size);
    amqp_confirm_select(connection, CHANNEL);
    check(amqp_get_rpc_reply(connection), "confirm.select");
    began_s = raw_now_s();
    for (uint64_t i = 0; i < count; i++) {
        publish_one(connection, queue, body_bytes, i);
        if (i % LOOK_EVERY == 0)
            take_confirms(connection, &confirms, i + 1, 0);
        while (i + 1 - confirms.count >= UNCONFIRMED_MAX)
            take_confirms(connection, &confirms, i + 1, STALL_S);
    }
    while (confirms.count < count)
        take_confirms(connection, &confirms, count, STALL_S);
    raw_report(count, raw_now_s() - began_s);
    free(confirms.seen);
    disconnect(connection);
}

/* ---- consume ---- */

/* The rest of a delivery whose method frame was read; its tag. */
static uint64_t take_content(amqp_connection_state_t connection, const amqp_frame_t *method,
                             size_t size)
{
    uint64_t tag;
    uint64_t body_size;
    amqp_frame_t frame;

    if (method->frame_type != AMQP_FRAME_METHOD ||
        method->payload.method.id != AMQP_BASIC_DELIVER_METHOD)
        raw_die("something other than a delivery came");
    tag = ((const amqp_basic_deliver_t *)method->payload.method.decoded)->delivery_tag;
    if (!next_frame(connection, &frame, STALL_S) || frame.frame_type != AMQP_FRAME_HEADER)
        raw_die("no content header");
    body_size = frame.payload.properties.body_size;
    if (body_size != size)
        raw_die("a message of %llu bytes", (unsigned long long)body_size);
    while (body_size > 0) {
        if (!next_frame(connection, &frame, STALL_S) || frame.frame_type != AMQP_FRAME_BODY)
            raw_die("no content body");
        body_size -= frame.payload.body_fragment.len;
    }
    return tag;
}

static void consume(const char *port, const char *queue, uint64_t count, size_t size)
{
    amqp_connection_state_t connection = connect_to(port);
    amqp_frame_t frame;
    uint64_t taken = 0;
    uint64_t tag = 0;
    double began_s = 0;

    amqp_basic_qos(connection, CHANNEL, 0, PREFETCH, 0);
    check(amqp_get_rpc_reply(connection), "qos");
    amqp_basic_consume(connection, CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 0, 1,
                       amqp_empty_table);
    check(amqp_get_rpc_reply(connection), "consume");
    while (taken < count) {
        if (!next_frame(connection, &frame, STALL_S))
            raw_die("only %llu messages came", (unsigned long long)taken);
        if (taken == 0)
            began_s = raw_now_s();
        do {
            tag = take_content(connection, &frame, size);
            taken++;
        } while (taken < count && next_frame(connection, &frame, 0));
        if (amqp_basic_ack(connection, CHANNEL, tag, 1) != AMQP_STATUS_OK)
            raw_die("acknowledge");
        amqp_maybe_release_buffers_on_channel(connection, CHANNEL);
    }
    raw_report(taken, raw_now_s() - began_s);
    disconnect(connection);
}

int main(int argc, char **argv)
{
    bool is_publisher = argc == 6 && strcmp(argv[1], "publish") == 0;

    if (argc != 6 || (!is_publisher && strcmp(argv[1], "consume") != 0))
        raw_die("usage: raw_amqp091 publish|consume PORT QUEUE COUNT SIZE");
    (is_publisher ? publish : consume)(argv[2], argv[3], raw_number(argv[4], 1u << 30),
                                       (size_t)raw_number(argv[5], RAW_SIZE_MAX));
    return 0;
}
