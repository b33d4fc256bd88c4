/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sink: one connection and one channel in confirm mode. A ring by delivery tag says which message a
 * confirm or a return is about; results wait in a second ring until completions takes them.
 */
#include "amqp_sink.h"

#define CLOSE_WAIT_MS 2000u
#define WINDOW_MIN    64u
#define WINDOW_MAX    (1u << 17)
/* A body is framed in pieces of at most this size, as the output has room. */
#define BODY_PIECE_SIZE 65536u
/* What the carriers leave of a frame, at least. */
#define FRAME_RESERVE 4096u
/* With so many in flight the broker has enough to do until confirms are read (amqp_pace.c). */
#define PACED_OPEN 256u
/* The name, tag and size of the sidecar's header. */
#define CARRIER_OVERHEAD (1u + sizeof AMQP_HEADER_META - 1u + 1u + 4u)

static const struct {
    enum mb_cause cause;
    const char *reason;
    const char *text;
} results[] = {
    [AMQP_RESULT_CONFIRMED] = {MB_CAUSE_NONE, NULL, NULL},
    [AMQP_RESULT_NACKED] =
        {MB_CAUSE_DESTINATION, "full",
         "the broker refused the message (basic.nack): the queue is at its length "
         "limit, or not available"},
    [AMQP_RESULT_UNROUTABLE] = {MB_CAUSE_DESTINATION, "unroutable",
                                "no queue takes messages with this exchange and routing key"},
    [AMQP_RESULT_UNROUTABLE_MESSAGE] =
        {MB_CAUSE_MESSAGE, "unroutable",
         "no queue takes messages with this exchange and routing key"},
    [AMQP_RESULT_TOO_LARGE] = {MB_CAUSE_MESSAGE, "too-large",
                               "the body is larger than the broker takes (max_message_size)"},
    [AMQP_RESULT_PROPERTIES_TOO_LARGE] = {MB_CAUSE_MESSAGE, "properties-too-large",
                                          "properties and headers do not fit into one frame"},
    [AMQP_RESULT_NAME_TOO_LONG] = {MB_CAUSE_MESSAGE, "name-too-long",
                                   "a queue, exchange or routing key has at most 255 bytes"},
    [AMQP_RESULT_NO_EXCHANGE] = {MB_CAUSE_MESSAGE, "unroutable", "there is no such exchange"},
    [AMQP_RESULT_REFUSED] = {MB_CAUSE_MESSAGE, NULL, NULL}, /* sink->refusal says why */
};

static uint64_t sink_traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return 0;
}

/* Without confirms nobody knows what the broker has. */
static enum mb_status start_confirms(struct mb_sink *sink, int64_t deadline_ms,
                                     struct mb_error *err)
{
    struct amqp_writer writer = amqp_client_writer(sink->client);

    if (!sink->client->has_confirms)
        return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_DESTINATION, "no-confirms",
                            "%s: the broker has no publisher confirms in AMQP 0-9-1: it cannot be "
                            "a sink, as nothing would say that a message is stored",
                            sink->client->name);
    amqp_frame_simple(&writer, 1, AMQP_CONFIRM_SELECT);
    return amqp_client_request(sink->client, &writer, 1, AMQP_CONFIRM_SELECTED, deadline_ms, err);
}

static void sink_close(struct mb_sink *sink);

static enum mb_status sink_open(const struct mb_open_params *params, struct mb_sink **ret_sink,
                                struct mb_error *err)
{
    const struct mb_host *host = params->host;
    int64_t deadline_ms = host->monotonic_ms(host->context) + (int64_t)params->timeout_ms;
    struct mb_sink *sink = amqp_alloc_zero(host, sizeof *sink);
    enum mb_status status = MB_OK;

    if (sink == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    sink->host = host;
    sink->options = params->options;
    sink->text.max_size = AMQP_FRAME_MAX;
    sink->names_templated = params->names_templated != 0;
    sink->exchange_templated = (params->names_templated & (1u << AMQP_NAME_EXCHANGE)) != 0;
    sink->capacity = WINDOW_MIN;
    while (sink->capacity < params->window_messages && sink->capacity < WINDOW_MAX)
        sink->capacity *= 2;
    sink->next_tag = 1;
    sink->first_tag = 1;
    sink->lowest_tag = 1;
    sink->ring = host->alloc(host->context, sink->capacity * sizeof *sink->ring);
    sink->done = host->alloc(host->context, sink->capacity * sizeof *sink->done);
    if (sink->ring == NULL || sink->done == NULL)
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    if (status == MB_OK)
        status = amqp_client_open(params, params->endpoint, 1,
                                  AMQP_WRITE_SIZE + 2 * (size_t)AMQP_FRAME_MAX, &sink->client, err);
    if (status == MB_OK)
        status = start_confirms(sink, deadline_ms, err);
    if (status != MB_OK) {
        sink_close(sink);
        return status;
    }
    sink->encoding.username = sink->client->username;
    sink->encoding.persistent = sink->options->persistent;
    sink->encoding.sorts_headers = sink->client->sorts_headers;
    sink->encoding.text = &sink->text;
    sink->sidecar_max = sink->client->frame_max > 2 * FRAME_RESERVE
                            ? sink->client->frame_max - FRAME_RESERVE
                            : sink->client->frame_max / 2;
    /* Not even a queue's message is the same in a stream: it is treated as another platform's. The
     * core cannot know, and grants a sidecar only where it grants all (provenance = "always"). */
    sink->encoding.to_stream = sink->options->queue_type == AMQP_QUEUE_STREAM;
    mb_carry_init(&sink->carry, params,
                  sink->encoding.to_stream ? AMQP_PLATFORM " stream" : AMQP_PLATFORM, amqp_project,
                  &sink->encoding, sink->sidecar_max);
    if (sink->encoding.to_stream && (params->provenance & MB_PROVENANCE_ID) != 0)
        sink->carry.provenance |= MB_PROVENANCE_SIDECAR;
    *ret_sink = sink;
    return MB_OK;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    amqp_client_fds(sink->client, wait);
    if (sink->open_count >= PACED_OPEN)
        amqp_pace_wait(sink->client, AMQP_PACE_LOW_WATER_MIN, wait);
    else
        amqp_pace_end(sink->client);
    if (sink->done_head != sink->done_tail || sink->client->unread)
        wait->ready = true;
}

/* Room for one more in both rings. */
static bool has_room(const struct mb_sink *sink)
{
    return sink->next_tag - sink->lowest_tag < sink->capacity &&
           sink->open_count + (sink->done_tail - sink->done_head) < sink->capacity;
}

/* Moves body bytes into the output as far as there is room; true when all of it is there. */
static bool frame_body(struct mb_sink *sink)
{
    size_t piece_max = sink->client->frame_max - AMQP_FRAME_OVERHEAD;

    if (piece_max > BODY_PIECE_SIZE)
        piece_max = BODY_PIECE_SIZE;
    while (sink->body_left > 0) {
        struct amqp_writer writer = amqp_client_writer(sink->client);
        size_t piece = sink->body_left < piece_max ? sink->body_left : piece_max;
        unsigned char *frame = amqp_frame_begin(&writer, 3, 1);

        amqp_put_bytes(&writer, (struct mb_slice){sink->body, piece});
        amqp_frame_end(&writer, frame);
        if (!amqp_client_commit(sink->client, &writer))
            return false;
        sink->body += piece;
        sink->body_left -= piece;
    }
    return true;
}

static void refuse(struct mb_sink *sink, uint64_t sequence, const struct mb_error *err)
{
    sink->refusal = *err;
    sink->refused = true;
    amqp_push_done(sink, sequence, AMQP_RESULT_REFUSED);
}

/* Method and content header of a prepared message; the body follows by frame_body. */
struct framed {
    struct amqp_writer writer;
    struct amqp_route route;
    struct mb_slice properties;
    size_t header_size;
    uint64_t lost;
};

static enum amqp_result frame_head(struct mb_sink *sink, const struct mb_outgoing *item,
                                   const struct mb_carried *carried, struct framed *framed)
{
    const struct mb_message *message = carried->message;
    struct amqp_writer *writer = &framed->writer;
    unsigned char *frame;

    /* A natural message says itself where it goes. */
    amqp_route_of(item, message, &framed->route);
    if (!carried->verbatim)
        framed->route.routing_key = mb_properties_of(message)->routing_key;
    if (framed->route.exchange.size > AMQP_SHORTSTR_MAX ||
        framed->route.routing_key.size > AMQP_SHORTSTR_MAX)
        return AMQP_RESULT_NAME_TOO_LONG;
    if (message->body.size > (uint64_t)sink->options->max_message_size)
        return AMQP_RESULT_TOO_LARGE;
    *writer = amqp_client_writer(sink->client);
    amqp_frame_publish(writer, 1, framed->route.exchange, framed->route.routing_key,
                       sink->options->mandatory);
    frame = amqp_frame_begin(writer, 2, 1);
    amqp_put_header(writer, carried, message->body.size, &sink->encoding, &framed->lost);
    amqp_frame_end(writer, frame);
    framed->header_size = frame != NULL ? (size_t)(writer->at - frame) : SIZE_MAX;
    if (writer->full || framed->header_size > (size_t)sink->client->frame_max)
        return AMQP_RESULT_PROPERTIES_TOO_LARGE;
    framed->properties =
        (struct mb_slice){frame + 7 + 12, framed->header_size - AMQP_FRAME_OVERHEAD - 12};
    return AMQP_RESULT_CONFIRMED;
}

/* Properties that do not fit into a frame with the sidecar get what is left for one. */
static enum mb_status shrink(struct mb_sink *sink, const struct mb_outgoing *item,
                             struct mb_carried *carried, struct framed *framed,
                             enum amqp_result *result, struct mb_error *err)
{
    size_t over = framed->header_size - sink->client->frame_max;
    enum mb_status status;

    /* Without one they would not fit either. The output has room for two frames. */
    if (framed->writer.full || over > carried->sidecar.size + CARRIER_OVERHEAD)
        return MB_OK;
    sink->carry.sidecar_max = over < carried->sidecar.size ? carried->sidecar.size - over : 0;
    status = mb_carry_prepare(&sink->carry, item, carried, err);
    sink->carry.sidecar_max = sink->sidecar_max;
    if (status == MB_OK)
        *result = frame_head(sink, item, carried, framed);
    return status;
}

static void sent(struct mb_sink *sink, const struct mb_outgoing *item,
                 const struct mb_carried *carried, const struct framed *framed)
{
    struct mb_slice body = carried->message->body;
    struct amqp_outstanding *entry;

    if (sink->lowest_tag == sink->next_tag)
        sink->first_tag = sink->next_tag;
    entry = amqp_at_tag(sink, sink->next_tag++);
    sink->uses_rings = true;
    entry->sequence = item->sequence;
    entry->exchange = framed->route.exchange.data;
    entry->exchange_size = (uint8_t)framed->route.exchange.size;
    entry->routing_key_hash = amqp_hash(framed->route.routing_key);
    entry->properties_hash = sink->options->mandatory ? amqp_hash(framed->properties) : 0;
    entry->body_size = body.size;
    entry->body = NULL;
    if (body.size == item->message->body.size && body.data == item->message->body.data)
        entry->body = body.data;
    else
        entry->body_hash = amqp_hash(body);
    entry->by_message = sink->names_templated || framed->route.own_key;
    entry->open = true;
    entry->returned = false;
    sink->open_count++;
    sink->body = body.data;
    sink->body_left = body.size;
    frame_body(sink);
}

/* Frames one message, or settles it without sending. The output has room for a whole method and
 * header (the caller's check). */
static enum mb_status send_one(struct mb_sink *sink, const struct mb_outgoing *item,
                               struct mb_error *err)
{
    struct mb_carried carried;
    struct framed framed;
    enum amqp_result result = AMQP_RESULT_CONFIRMED;
    enum mb_status status = mb_carry_prepare(&sink->carry, item, &carried, err);

    if (status == MB_OK) {
        result = frame_head(sink, item, &carried, &framed);
        if (result == AMQP_RESULT_PROPERTIES_TOO_LARGE && carried.sidecar.size > 0)
            status = shrink(sink, item, &carried, &framed, &result, err);
    }
    /* Verbatim messages have no sidecar that could tell what had to be left out. */
    if (status == MB_OK && result == AMQP_RESULT_CONFIRMED)
        status = mb_carry_lost(&sink->carry, framed.lost, err);
    if (status == MB_REJECTED) {
        refuse(sink, item->sequence, err);
        return MB_OK;
    }
    if (status != MB_OK)
        return amqp_client_fail(sink->client, err, "memory", "out of memory");
    if (result != AMQP_RESULT_CONFIRMED) {
        amqp_push_done(sink, item->sequence, result);
        return MB_OK;
    }
    amqp_client_commit(sink->client, &framed.writer);
    sent(sink, item, &carried, &framed);
    return MB_OK;
}

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    struct amqp_client *client = sink->client;
    enum mb_status status;

    *ret_taken = 0;
    for (;;) {
        if (amqp_client_buffered(client) >= AMQP_WRITE_SIZE || sink->body_left > 0) {
            status = amqp_client_write(client, err);
            if (status == MB_DISCONNECTED)
                return status;
            if (!frame_body(sink) || amqp_client_buffered(client) >= AMQP_WRITE_SIZE) {
                if (status == MB_AGAIN)
                    return MB_AGAIN;
                continue;
            }
        }
        if (*ret_taken == count)
            return MB_OK;
        if (client->blocked || sink->refused || !has_room(sink))
            return MB_AGAIN;
        status = send_one(sink, &items[*ret_taken], err);
        if (status != MB_OK)
            return status;
        *ret_taken += 1;
    }
}

static enum mb_status take_events(struct mb_sink *sink, struct mb_error *err)
{
    struct amqp_client *client = sink->client;

    for (;;) {
        struct amqp_event event;
        enum mb_status status = MB_OK;

        switch (amqp_reader_next(&client->reader, &event)) {
        case AMQP_EVENT_NONE:
            return MB_OK;
        case AMQP_EVENT_METHOD:
            if (event.method == AMQP_BASIC_ACK || event.method == AMQP_BASIC_NACK) {
                status = amqp_take_confirm(sink, &event, err);
            } else {
                status = amqp_client_method(client, &event, err);
                if (event.method == AMQP_CHANNEL_CLOSE)
                    amqp_blame(sink, err);
            }
            break;
        case AMQP_EVENT_CONTENT:
            status = amqp_take_return(sink, &event, err);
            break;
        case AMQP_EVENT_BAD:
            return amqp_client_fail(client, err, "protocol", "the broker sent no AMQP 0-9-1");
        case AMQP_EVENT_NO_MEMORY:
            return amqp_client_fail(client, err, "memory", "out of memory");
        }
        if (status != MB_OK)
            return status;
    }
}

/* Reads what is there. */
static enum mb_status take_input(struct mb_sink *sink, struct mb_error *err)
{
    enum mb_status status = amqp_client_look(sink->client, err);

    if (status == MB_DISCONNECTED)
        return status;
    status = take_events(sink, err);
    amqp_client_tell_blocked(sink->client);
    return status;
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    enum mb_status status = take_input(sink, err);
    size_t count = 0;

    while (count < max && sink->done_head != sink->done_tail) {
        const struct amqp_done *done = &sink->done[sink->done_head++ & (sink->capacity - 1)];
        struct mb_completion *completion = &completions[count++];

        memset(completion, 0, sizeof *completion);
        completion->sequence = done->sequence;
        completion->cause = results[done->result].cause;
        completion->reason = results[done->result].reason;
        completion->text = results[done->result].text;
        if (done->result == AMQP_RESULT_REFUSED) {
            completion->reason = sink->refusal.reason;
            completion->text = sink->refusal.text;
            sink->refused = false;
        }
        completion->partition = -1;
    }
    if (sink->done_head == sink->done_tail) {
        sink->done_head = 0;
        sink->done_tail = 0;
    }
    *ret_count = count;
    return status;
}

static enum mb_status sink_flush(struct mb_sink *sink, struct mb_error *err)
{
    enum mb_status status;

    do {
        status = amqp_client_write(sink->client, err);
        frame_body(sink);
    } while (status == MB_OK && amqp_client_buffered(sink->client) > 0);
    return status == MB_AGAIN ? MB_OK : status;
}

static enum mb_status sink_service(struct mb_sink *sink, struct mb_error *err)
{
    enum mb_status status = sink_flush(sink, err);

    if (status != MB_OK)
        return status;
    amqp_client_tell_blocked(sink->client);
    status = amqp_client_service(sink->client, err);
    if (sink->uses_rings && sink->client->rests && sink->lowest_tag == sink->next_tag &&
        sink->done_head == sink->done_tail) {
        sink->uses_rings = false;
        amqp_pages_forget(sink->ring, sink->capacity * sizeof *sink->ring);
        amqp_pages_forget(sink->done, sink->capacity * sizeof *sink->done);
    }
    return status;
}

static void sink_close(struct mb_sink *sink)
{
    if (sink == NULL)
        return;
    /* A message that was cut off in the middle must not be followed by other frames. */
    if (sink->client != NULL && sink->body_left > 0)
        sink->client->broken = true;
    amqp_client_close(sink->client, CLOSE_WAIT_MS);
    mb_carry_release(&sink->carry);
    mb_text_release(&sink->text);
    sink->host->release(sink->host->context, sink->ring);
    sink->host->release(sink->host->context, sink->done);
    sink->host->release(sink->host->context, sink);
}

const struct mb_sink_ops amqp_sink_ops = {
    .struct_size = sizeof(struct mb_sink_ops),
    .traits = sink_traits,
    .open = sink_open,
    .fds = sink_fds,
    .send = sink_send,
    .completions = sink_completions,
    .flush = sink_flush,
    .service = sink_service,
    .close = sink_close,
};
