/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sink: one connection and one channel in confirm mode. A ring by delivery tag says which message a
 * confirm or a return is about; results wait in a second ring until completions takes them.
 */
#include "amqp.h"

#include <kit/utf8.h>
#include <stdlib.h>

#define CLOSE_WAIT_MS 2000u
#define WINDOW_MIN    64u
#define WINDOW_MAX    (1u << 17)
/* A body is framed in pieces of at most this size, as the output has room. */
#define BODY_PIECE_SIZE 65536u
#define BODY_TEXT_MAX   ((size_t)256 << 20)

enum result {
    RESULT_CONFIRMED = 0,
    RESULT_NACKED,
    RESULT_UNROUTABLE,
    RESULT_UNROUTABLE_MESSAGE,
    RESULT_TOO_LARGE,
    RESULT_PROPERTIES_TOO_LARGE,
    RESULT_NAME_TOO_LONG,
    RESULT_NO_EXCHANGE
};

static const struct {
    enum mb_cause cause;
    const char *reason;
    const char *text;
} results[] = {
    [RESULT_CONFIRMED] = {MB_CAUSE_NONE, NULL, NULL},
    [RESULT_NACKED] = {MB_CAUSE_DESTINATION, "full",
                       "the broker refused the message (basic.nack): the queue is at its length "
                       "limit, or not available"},
    [RESULT_UNROUTABLE] = {MB_CAUSE_DESTINATION, "unroutable",
                           "no queue takes messages with this exchange and routing key"},
    [RESULT_UNROUTABLE_MESSAGE] = {MB_CAUSE_MESSAGE, "unroutable",
                                   "no queue takes messages with this exchange and routing key"},
    [RESULT_TOO_LARGE] = {MB_CAUSE_MESSAGE, "too-large",
                          "the body is larger than the broker takes (max_message_size)"},
    [RESULT_PROPERTIES_TOO_LARGE] = {MB_CAUSE_MESSAGE, "properties-too-large",
                                     "properties and headers do not fit into one frame"},
    [RESULT_NAME_TOO_LONG] = {MB_CAUSE_MESSAGE, "name-too-long",
                              "a queue, exchange or routing key has at most 255 bytes"},
    [RESULT_NO_EXCHANGE] = {MB_CAUSE_MESSAGE, "unroutable", "there is no such exchange"},
};

struct outstanding {
    uint64_t sequence;
    const struct mb_message *message;
    const void *exchange;
    const void *routing_key;
    uint8_t exchange_size;
    uint8_t routing_key_size;
    bool open; /* neither acked nor nacked */
    bool returned;
    bool by_message; /* the message chose where it goes */
};

struct done {
    uint64_t sequence;
    enum result result;
};

struct mb_sink {
    struct amqp_client *client;
    const struct mb_host *host;
    const struct amqp_sink_options *options;
    struct mb_text scratch;
    struct mb_text body_text;
    struct mb_text return_text;
    struct amqp_encoding encoding;
    bool names_templated;
    bool exchange_templated;
    uint32_t capacity; /* of both rings, a power of two */
    uint32_t open_count;
    uint64_t next_tag;
    uint64_t lowest_tag;   /* all below are resolved */
    uint64_t returned_tag; /* the last one that came back */
    struct outstanding *ring;
    struct done *done;
    uint64_t done_head;
    uint64_t done_tail;
    const unsigned char *body; /* of the message that is being framed */
    size_t body_left;
    uint32_t losses;
};

static uint64_t sink_traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return 0;
}

static struct outstanding *at_tag(struct mb_sink *sink, uint64_t tag)
{
    return &sink->ring[tag & (sink->capacity - 1)];
}

static enum mb_status start_confirms(struct mb_sink *sink, int64_t deadline_ms,
                                     struct mb_error *err)
{
    struct amqp_writer writer = amqp_client_writer(sink->client);
    struct mb_slice arguments;

    amqp_frame_simple(&writer, 1, AMQP_CONFIRM_SELECT);
    amqp_client_commit(sink->client, &writer);
    return amqp_client_call(sink->client, 1, AMQP_CONFIRM_SELECTED, deadline_ms, &arguments, err);
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
    sink->scratch.max_size = AMQP_FRAME_MAX;
    sink->body_text.max_size = BODY_TEXT_MAX;
    sink->return_text.max_size = BODY_TEXT_MAX;
    sink->names_templated = params->names_templated != 0;
    sink->exchange_templated = (params->names_templated & (1u << AMQP_NAME_EXCHANGE)) != 0;
    sink->capacity = WINDOW_MIN;
    while (sink->capacity < params->window_messages && sink->capacity < WINDOW_MAX)
        sink->capacity *= 2;
    sink->next_tag = 1;
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
    sink->encoding.provenance = params->provenance;
    sink->encoding.scratch = &sink->scratch;
    *ret_sink = sink;
    return MB_OK;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    amqp_client_fds(sink->client, wait);
    if (sink->done_head != sink->done_tail || sink->client->unread)
        wait->ready = true;
}

static void push_done(struct mb_sink *sink, uint64_t sequence, enum result result)
{
    struct done *done = &sink->done[sink->done_tail++ & (sink->capacity - 1)];

    done->sequence = sequence;
    done->result = result;
}

/* Room for one more in both rings. */
static bool has_room(const struct mb_sink *sink)
{
    return sink->next_tag - sink->lowest_tag < sink->capacity &&
           sink->open_count + (sink->done_tail - sink->done_head) < sink->capacity;
}

struct route {
    struct mb_slice exchange;
    struct mb_slice routing_key;
    bool by_message;
};

static void route_of(const struct mb_sink *sink, const struct mb_outgoing *item,
                     struct route *ret_route)
{
    static const unsigned char nothing[1];
    const struct mb_message *message = item->message;

    ret_route->by_message = sink->names_templated;
    if (item->names[AMQP_NAME_QUEUE].data != NULL) {
        ret_route->exchange = (struct mb_slice){nothing, 0};
        ret_route->routing_key = item->names[AMQP_NAME_QUEUE];
        return;
    }
    ret_route->exchange = item->names[AMQP_NAME_EXCHANGE];
    ret_route->routing_key = item->names[AMQP_NAME_ROUTING_KEY];
    if (ret_route->routing_key.data != NULL)
        return;
    ret_route->routing_key = (struct mb_slice){nothing, 0};
    if ((message->present & MB_HAS_ROUTING_KEY) != 0)
        ret_route->routing_key = message->routing_key;
    else if ((message->present & MB_HAS_KEY) != 0 && message->key.data != NULL &&
             message->key.size <= AMQP_SHORTSTR_MAX && mb_utf8_valid(message->key))
        ret_route->routing_key = message->key;
    ret_route->by_message = ret_route->by_message || ret_route->routing_key.size > 0;
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

static bool put_content_header(struct mb_sink *sink, struct amqp_writer *writer,
                               const struct mb_message *message, size_t body_size)
{
    unsigned char *frame = amqp_frame_begin(writer, 2, 1);

    amqp_put_header(writer, message, body_size, &sink->encoding, &sink->losses);
    amqp_frame_end(writer, frame);
    return !writer->full && (size_t)(writer->at - frame) <= (size_t)sink->client->frame_max;
}

/* Frames one message, or settles it without sending. The output has room for a whole method and
 * header (the caller's check). */
static void send_one(struct mb_sink *sink, const struct mb_outgoing *item)
{
    struct amqp_writer writer = amqp_client_writer(sink->client);
    struct outstanding *entry;
    struct mb_slice body;
    struct route route;

    route_of(sink, item, &route);
    if (route.exchange.size > AMQP_SHORTSTR_MAX || route.routing_key.size > AMQP_SHORTSTR_MAX) {
        push_done(sink, item->sequence, RESULT_NAME_TOO_LONG);
        return;
    }
    body = amqp_body_of(item->message, &sink->body_text);
    if (body.size > (uint64_t)sink->options->max_message_size || sink->body_text.failed) {
        push_done(sink, item->sequence, RESULT_TOO_LARGE);
        return;
    }
    sink->encoding.named_exchange = route.exchange.size > 0;
    amqp_frame_publish(&writer, 1, route.exchange, route.routing_key, sink->options->mandatory);
    if (!put_content_header(sink, &writer, item->message, body.size)) {
        push_done(sink, item->sequence, RESULT_PROPERTIES_TOO_LARGE);
        return;
    }
    amqp_client_commit(sink->client, &writer);
    entry = at_tag(sink, sink->next_tag++);
    entry->sequence = item->sequence;
    entry->message = item->message;
    entry->exchange = route.exchange.data;
    entry->exchange_size = (uint8_t)route.exchange.size;
    entry->routing_key = route.routing_key.data;
    entry->routing_key_size = (uint8_t)route.routing_key.size;
    entry->by_message = route.by_message;
    entry->open = true;
    entry->returned = false;
    sink->open_count++;
    sink->body = body.data;
    sink->body_left = body.size;
    frame_body(sink);
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
        if (client->blocked || !has_room(sink))
            return MB_AGAIN;
        send_one(sink, &items[*ret_taken]);
        *ret_taken += 1;
    }
}

static void resolve(struct mb_sink *sink, uint64_t tag, bool nacked)
{
    struct outstanding *entry = at_tag(sink, tag);
    enum result result = nacked ? RESULT_NACKED : RESULT_CONFIRMED;

    if (!entry->open)
        return;
    if (entry->returned)
        result = entry->by_message ? RESULT_UNROUTABLE_MESSAGE : RESULT_UNROUTABLE;
    entry->open = false;
    sink->open_count--;
    push_done(sink, entry->sequence, result);
}

static enum mb_status take_confirm(struct mb_sink *sink, const struct amqp_event *event,
                                   struct mb_error *err)
{
    struct amqp_cursor cursor = amqp_cursor_of(event->arguments);
    uint64_t tag = amqp_take_u64(&cursor);
    bool multiple = (amqp_take_u8(&cursor) & 1) != 0;
    bool nacked = event->method == AMQP_BASIC_NACK;

    if (multiple && tag == 0)
        tag = sink->next_tag - 1;
    if (cursor.bad || tag >= sink->next_tag)
        return amqp_client_fail(sink->client, err, "protocol", "a confirm of what was never sent");
    if (tag < sink->lowest_tag)
        return MB_OK;
    for (uint64_t at = multiple ? sink->lowest_tag : tag; at <= tag; at++)
        resolve(sink, at, nacked);
    while (sink->lowest_tag < sink->next_tag && !at_tag(sink, sink->lowest_tag)->open)
        sink->lowest_tag++;
    return MB_OK;
}

struct returned {
    struct mb_slice exchange;
    struct mb_slice routing_key;
    struct mb_slice properties;
    struct mb_slice body;
};

static bool same_properties(struct mb_sink *sink, const struct outstanding *entry,
                            const struct returned *returned)
{
    unsigned char buffer[4096];
    unsigned char *large = NULL;
    struct amqp_writer writer = {buffer, buffer + sizeof buffer, false};
    uint32_t losses = 0;
    bool same;

    if (returned->properties.size + 16 > sizeof buffer) {
        large = sink->host->alloc(sink->host->context, returned->properties.size + 16);
        if (large == NULL)
            return false;
        writer.at = large;
        writer.end = large + returned->properties.size + 16;
    }
    sink->encoding.named_exchange = entry->exchange_size > 0;
    amqp_put_header(&writer, entry->message, returned->body.size, &sink->encoding, &losses);
    same = !writer.full &&
           mb_slice_equal(
               returned->properties,
               (struct mb_slice){(large != NULL ? large : buffer) + 12,
                                 (size_t)(writer.at - (large != NULL ? large : buffer)) - 12});
    sink->host->release(sink->host->context, large);
    return same;
}

static bool is_returned(struct mb_sink *sink, const struct outstanding *entry,
                        const struct returned *returned, bool compare_properties)
{
    struct mb_slice exchange = {entry->exchange, entry->exchange_size};
    struct mb_slice routing_key = {entry->routing_key, entry->routing_key_size};

    return entry->open && !entry->returned && mb_slice_equal(routing_key, returned->routing_key) &&
           mb_slice_equal(exchange, returned->exchange) &&
           mb_slice_equal(amqp_body_of(entry->message, &sink->return_text), returned->body) &&
           (!compare_properties || same_properties(sink, entry, returned));
}

static bool mark_returned(struct mb_sink *sink, const struct returned *returned, uint64_t from,
                          bool compare_properties)
{
    for (uint64_t tag = from; tag < sink->next_tag; tag++) {
        struct outstanding *entry = at_tag(sink, tag);

        if (is_returned(sink, entry, returned, compare_properties)) {
            entry->returned = true;
            sink->returned_tag = tag;
            return true;
        }
    }
    return false;
}

/*
 * A return carries no tag: it is the lowest open message that is equal in everything. The broker
 * returns in the order of publishing, so the search goes on behind the last one; only if nothing is
 * found there does it begin anew. Properties that the broker wrote anew may differ in form.
 */
static enum mb_status take_return(struct mb_sink *sink, const struct amqp_event *event,
                                  struct mb_error *err)
{
    struct amqp_cursor cursor = amqp_cursor_of(event->arguments);
    struct returned returned = {.properties = event->header, .body = event->body};
    uint64_t behind = sink->returned_tag + 1;

    amqp_take_u16(&cursor); /* the code: no route, or no consumers */
    amqp_take_shortstr(&cursor);
    returned.exchange = amqp_take_shortstr(&cursor);
    returned.routing_key = amqp_take_shortstr(&cursor);
    if (behind < sink->lowest_tag)
        behind = sink->lowest_tag;
    if (!cursor.bad && (mark_returned(sink, &returned, behind, true) ||
                        mark_returned(sink, &returned, sink->lowest_tag, true) ||
                        mark_returned(sink, &returned, sink->lowest_tag, false)))
        return MB_OK;
    return amqp_client_fail(sink->client, err, "protocol",
                            "the broker returned a message that is not among those sent");
}

static uint64_t number_behind(const char *text, const char *words)
{
    const char *at = strstr(text, words);

    return at != NULL ? strtoull(at + strlen(words), NULL, 10) : 0;
}

/*
 * The broker closes the channel over a single message whose templated exchange does not exist, or
 * that is larger than its limit. Sent again, it would do so for ever: the message is found by what
 * the broker says and completes as refused; all others are unknown and are sent again.
 */
static void blame(struct mb_sink *sink, const struct mb_error *err)
{
    uint64_t size = number_behind(err->text, "message size ");
    const char *name = strstr(err->text, "no exchange '");

    for (uint64_t tag = sink->lowest_tag; tag < sink->next_tag; tag++) {
        struct outstanding *entry = at_tag(sink, tag);

        if (!entry->open)
            continue;
        if (size > 0 && amqp_body_of(entry->message, &sink->return_text).size == size) {
            entry->open = false;
            push_done(sink, entry->sequence, RESULT_TOO_LARGE);
        } else if (name != NULL && sink->exchange_templated && entry->exchange_size > 0 &&
                   strncmp(name + 13, entry->exchange, entry->exchange_size) == 0 &&
                   name[13 + entry->exchange_size] == '\'') {
            entry->open = false;
            push_done(sink, entry->sequence, RESULT_NO_EXCHANGE);
        }
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
                status = take_confirm(sink, &event, err);
            } else {
                status = amqp_client_method(client, &event, err);
                if (event.method == AMQP_CHANNEL_CLOSE)
                    blame(sink, err);
            }
            break;
        case AMQP_EVENT_CONTENT:
            status = take_return(sink, &event, err);
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
    enum mb_status status = amqp_client_read(sink->client, err);

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
        const struct done *done = &sink->done[sink->done_head++ & (sink->capacity - 1)];
        struct mb_completion *completion = &completions[count++];

        memset(completion, 0, sizeof *completion);
        completion->sequence = done->sequence;
        completion->cause = results[done->result].cause;
        completion->reason = results[done->result].reason;
        completion->text = results[done->result].text;
        completion->partition = -1;
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
    return amqp_client_service(sink->client, err);
}

static void sink_close(struct mb_sink *sink)
{
    if (sink == NULL)
        return;
    /* A message that was cut off in the middle must not be followed by other frames. */
    if (sink->client != NULL && sink->body_left > 0)
        sink->client->broken = true;
    amqp_client_close(sink->client, CLOSE_WAIT_MS);
    mb_text_release(&sink->scratch);
    mb_text_release(&sink->body_text);
    mb_text_release(&sink->return_text);
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
