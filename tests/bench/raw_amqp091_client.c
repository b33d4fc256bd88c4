/* SPDX-License-Identifier: Apache-2.0 */
/* AMQP 0-9-1 by the client library's own calls: amqp_basic_publish, frames from
 * amqp_simple_wait_frame_noblock (amqp_consume_message would copy them into messages), and
 * amqp_basic_ack for many at once. */
#include "raw_amqp091.h"

#include <string.h>
#include <sys/time.h>

#define PERSISTENT 2

struct client {
    struct amqp091 half;
    size_t gathered; /* bytes published since confirms were looked for */
};

static void *open_client(const struct raw_spec *spec)
{
    static struct client client;

    amqp091_open(&client.half, spec);
    return &client;
}

static void close_client(void *state)
{
    struct client *client = (struct client *)state;

    amqp091_close(&client->half);
}

static void check(int status, const char *what)
{
    if (status != AMQP_STATUS_OK)
        raw_die("%s: %s", what, amqp_error_string2(status));
}

/* False where nothing came within that time. */
static bool wait_frame(struct amqp091 *half, amqp_frame_t *frame, int timeout_ms)
{
    struct timeval wait = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    int status;

    amqp_maybe_release_buffers(half->connection);
    status = amqp_simple_wait_frame_noblock(half->connection, frame, &wait);
    if (status != AMQP_STATUS_TIMEOUT)
        check(status, "a frame");
    return status == AMQP_STATUS_OK;
}

/* ---- publish ---- */

static bool has_room(void *state)
{
    const struct client *client = (struct client *)state;

    return client->gathered < RAW_SEND_SIZE;
}

static amqp_table_entry_t text_entry(const char *name, const char *value)
{
    return (amqp_table_entry_t){
        .key = amqp_cstring_bytes(name),
        .value = {.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = amqp_cstring_bytes(value)}}};
}

static void put(void *state, uint64_t number)
{
    struct client *client = (struct client *)state;
    struct amqp091 *half = &client->half;
    const struct raw_spec *spec = half->spec;
    char key[RAW_KEY_SIZE + 1];
    char names[RAW_HEADERS_MAX][RAW_HEADER_NAME + 1];
    char values[RAW_HEADERS_MAX][RAW_HEADER_SIZE + 1];
    amqp_table_entry_t entries[RAW_HEADERS_MAX + 1];
    const amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG,
        .headers = {.num_entries = (int)spec->headers + 1, .entries = entries},
        .delivery_mode = PERSISTENT};

    raw_key(key, number);
    entries[0] = text_entry(RAW_KEY_HEADER, key);
    for (uint64_t i = 0; i < spec->headers; i++) {
        raw_header(names[i], values[i], i);
        entries[i + 1] = text_entry(names[i], values[i]);
    }
    if (spec->is_stamped)
        raw_stamp(half->body);
    check(amqp_basic_publish(half->connection, AMQP091_CHANNEL, amqp_empty_bytes,
                             amqp_cstring_bytes(spec->stream), 1, 0, &properties,
                             (amqp_bytes_t){.len = spec->size, .bytes = half->body}),
          "publish");
    half->published++;
    client->gathered += spec->size;
}

/* The library has sent each at once. */
static void flush(void *state)
{
    struct client *client = (struct client *)state;

    client->gathered = 0;
}

static uint64_t confirm(void *state, int timeout_ms)
{
    struct client *client = (struct client *)state;
    struct amqp091 *half = &client->half;
    uint64_t before = half->confirmed;
    amqp_frame_t frame;

    for (bool came = wait_frame(half, &frame, timeout_ms); came;
         came = wait_frame(half, &frame, 0)) {
        const amqp_basic_ack_t *ack;

        if (frame.frame_type == AMQP_FRAME_HEARTBEAT)
            continue;
        if (frame.frame_type != AMQP_FRAME_METHOD ||
            frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
            raw_die("a message was returned or refused");
        ack = frame.payload.method.decoded;
        amqp091_note_confirm(half, ack->delivery_tag, ack->multiple);
    }
    return half->confirmed - before;
}

/* ---- consume ---- */

static void take_frame(struct amqp091 *half, struct raw_meter *meter, const amqp_frame_t *frame)
{
    switch (frame->frame_type) {
    case AMQP_FRAME_METHOD:
        if (frame->payload.method.id != AMQP_BASIC_DELIVER_METHOD)
            raw_die("something other than a delivery came");
        amqp091_take_deliver(
            half, ((const amqp_basic_deliver_t *)frame->payload.method.decoded)->delivery_tag);
        break;
    case AMQP_FRAME_HEADER:
        amqp091_take_header(half, frame->payload.properties.body_size);
        break;
    case AMQP_FRAME_BODY:
        amqp091_take_body(half, meter, frame->payload.body_fragment.bytes,
                          frame->payload.body_fragment.len);
        break;
    default:
        break;
    }
}

static void take(void *state, struct raw_meter *meter, int timeout_ms)
{
    struct client *client = (struct client *)state;
    struct amqp091 *half = &client->half;
    amqp_frame_t frame;
    bool came = wait_frame(half, &frame, timeout_ms);

    while (came) {
        take_frame(half, meter, &frame);
        came = amqp_data_in_buffer(half->connection) && wait_frame(half, &frame, 0);
    }
    if (half->whole_tag == half->acknowledged)
        return;
    half->acknowledged = half->whole_tag;
    check(amqp_basic_ack(half->connection, AMQP091_CHANNEL, half->acknowledged, 1), "acknowledge");
}

/* The library has sent them. */
static void finish(void *state)
{
    (void)state;
}

const struct raw_way raw_amqp091_client = {
    .open = open_client,
    .close = close_client,
    .has_room = has_room,
    .put = put,
    .flush = flush,
    .confirm = confirm,
    .take = take,
    .finish = finish,
};
