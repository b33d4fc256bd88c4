/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Source: one connection, one channel and scope a queue. The consumers are started in open, so that
 * "another consumer is active" is a failure to open; what the broker sends before start waits in
 * the reader and the socket, bounded by the prefetch.
 *
 * A stream is read from where its group stands (amqp_stream.h): its consumer is started when the
 * core has said where to begin. Acknowledgements give the broker leave to send more and nothing
 * else; what counts is the position that a commit stores.
 */
#include "amqp_source.h"

#define CLOSE_WAIT_MS  3000u
#define ACK_FRAME_SIZE 24u
#define ACK_WINDOW_MAX (1u << 20)
/* Less than what comes in a millisecond may be all that the broker sends ahead. */
#define PACED_PREFETCH 512u
#define PACED_SIZE     32768u

static uint64_t source_traits(const void *endpoint, const void *options)
{
    const struct amqp_source_options *source = options;
    struct amqp_stream_place place;

    (void)endpoint;
    if (amqp_stream_start(source, &place))
        return MB_SOURCE_ACKS_IN_ORDER | MB_SOURCE_EXCLUSIVE | MB_SOURCE_SEEKS | MB_SOURCE_COMMITS;
    return (source->ack_singly ? 0u : MB_SOURCE_ACKS_IN_ORDER) | MB_SOURCE_EXCLUSIVE |
           (source->exchange == NULL ? MB_SOURCE_CONSUMES : 0u);
}

/* The queues to consume, at most AMQP_CHANNELS_MAX (the rest is refused by the caller). */
static size_t queues_of(const struct mb_open_params *params,
                        const struct amqp_source_options *options, const char *queues[])
{
    size_t count = 0;

    if (options->exchange != NULL) {
        queues[count++] = params->default_group;
        return count;
    }
    if (options->queue != NULL)
        queues[count++] = options->queue;
    if (params->streams != NULL) {
        for (size_t i = 0; i < params->streams->count && count < AMQP_CHANNELS_MAX; i++)
            queues[count++] = params->streams->items[i];
        return count;
    }
    for (size_t i = 0; i < options->queues.count && count < AMQP_CHANNELS_MAX; i++)
        queues[count++] = options->queues.items[i];
    return count;
}

static void source_close(struct mb_source *source);

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    const struct amqp_source_options *options = params->options;
    const char *queues[AMQP_CHANNELS_MAX];
    size_t count = queues_of(params, options, queues);
    uint64_t window = params->window_messages;
    int64_t deadline_ms =
        params->host->monotonic_ms(params->host->context) + (int64_t)params->timeout_ms;
    const char *group = options->group != NULL ? options->group : params->default_group;
    struct amqp_stream_place start;
    bool reads_streams = amqp_stream_start(options, &start);
    unsigned prefetch;
    struct mb_source *source;
    enum mb_status status;

    if (count == 0)
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing",
                            "no queue is named");
    source = amqp_alloc_zero(params->host, sizeof *source + count * sizeof source->scopes[0]);
    if (source == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    source->host = params->host;
    source->scopes_count = (uint32_t)count;
    source->options = options;
    for (uint32_t i = 0; i < count; i++) {
        source->scopes[i].queue = queues[i];
        source->scopes[i].stream = options->exchange != NULL ? options->exchange : queues[i];
    }
    prefetch = amqp_prefetch(params, (uint32_t)count);
    source->is_paced = prefetch >= PACED_PREFETCH;
    amqp_acks_init(source, prefetch);
    if (window > ACK_WINDOW_MAX)
        window = ACK_WINDOW_MAX;
    status =
        amqp_client_open(params, params->endpoint, (uint32_t)count,
                         AMQP_WRITE_SIZE + (size_t)window * ACK_FRAME_SIZE, &source->client, err);
    if (status == MB_OK)
        status = amqp_consumers_start(source->client, params, queues, (uint32_t)count,
                                      reads_streams ? group : NULL, deadline_ms, err);
    if (status == MB_OK && reads_streams)
        status = amqp_streams_open(source, params, group, &start, queues, deadline_ms, err);
    if (status != MB_OK) {
        source_close(source);
        return status;
    }
    *ret_source = source;
    return MB_OK;
}

static void source_fds(struct mb_source *source, struct mb_wait *wait)
{
    amqp_client_fds(source->client, wait);
    if (source->is_paced)
        amqp_pace_wait(source->client, PACED_SIZE, wait);
    if (source->store != NULL)
        amqp_store_fds(source->store, wait);
    if (source->more && !source->paused)
        wait->ready = true;
    if (source->has_gathered && source->gather_until_ms < wait->deadline_ms)
        wait->deadline_ms = source->gather_until_ms;
}

/* An event that is no delivery. */
static enum mb_status take_method(struct mb_source *source, const struct amqp_event *event,
                                  struct mb_error *err)
{
    enum mb_status status;

    if (source->probed != 0 && event->channel == source->scopes_count + 1)
        return amqp_judge(source, event, err);
    if (event->method == AMQP_BASIC_CANCEL) {
        const char *queue = event->channel >= 1 && event->channel <= source->scopes_count
                                ? source->scopes[event->channel - 1].queue
                                : "?";

        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "cancelled",
                            "%s: the broker cancelled the consumer of queue \"%s\": it was deleted "
                            "or moved",
                            source->client->name, queue);
    }
    status = amqp_client_method(source->client, event, err);
    if (status != MB_OK && event->channel >= 1 && event->channel <= source->scopes_count)
        amqp_error_name_queue(err, source->scopes[event->channel - 1].queue);
    return status;
}

static enum mb_status take_delivery(struct mb_source *source, const struct amqp_event *event,
                                    struct mb_batch *batch, struct mb_error *err)
{
    struct mb_message *message = batch->messages[batch->count];
    struct amqp_scope *scope;
    enum mb_status status;

    if (event->method != AMQP_BASIC_DELIVER)
        return amqp_client_fail(source->client, err, "protocol",
                                "a content that was not asked for");
    scope = &source->scopes[event->channel - 1];
    status = amqp_message_decode(event, source->store != NULL, batch->arena, message);
    if (status == MB_NO_MEMORY)
        return amqp_client_fail(source->client, err, "memory", "out of memory");
    if (status != MB_OK)
        return amqp_client_fail(source->client, err, "protocol", "a malformed delivery");
    message->scope = (uint32_t)event->channel - 1;
    message->epoch = scope->epoch;
    if (source->store != NULL) {
        status = amqp_check_offset(source, scope, message, err);
        if (status != MB_OK) {
            memset(message, 0, sizeof *message);
            return status == MB_AGAIN ? MB_OK : status;
        }
    }
    batch->count++;
    batch->bytes += event->body.size + event->header.size;
    return MB_OK;
}

static enum mb_status take_content(struct mb_source *source, const struct amqp_event *event,
                                   struct mb_batch *batch, struct mb_error *err)
{
    struct amqp_client *client = source->client;
    enum mb_status status;

    if (source->probed != 0)
        return amqp_client_put_aside(client, event)
                   ? MB_OK
                   : amqp_client_fail(client, err, "memory", "out of memory");
    status = amqp_suspect(source, event, err);
    if (status != MB_OK)
        return status == MB_AGAIN ? MB_OK : status;
    status = take_delivery(source, event, batch, err);
    amqp_client_forget(client);
    return status;
}

static bool may_hand_out(const struct mb_source *source)
{
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        if (!source->scopes[i].started)
            return false;
    }
    return true;
}

static enum mb_status source_poll(struct mb_source *source, struct mb_batch *batch,
                                  struct mb_error *err)
{
    struct amqp_client *client = source->client;
    bool read = false;

    source->more = false;
    source->polled = true;
    if (!may_hand_out(source))
        return MB_OK;
    while (batch->count < batch->count_max && batch->bytes < batch->bytes_max) {
        struct amqp_event event;
        enum mb_status status = MB_OK;

        switch (source->probed != 0 ? amqp_reader_next(&client->reader, &event)
                                    : amqp_client_next(client, &event)) {
        case AMQP_EVENT_CONTENT:
            status = take_content(source, &event, batch, err);
            break;
        case AMQP_EVENT_METHOD:
            status = take_method(source, &event, err);
            break;
        case AMQP_EVENT_BAD:
            return amqp_client_fail(client, err, "protocol", "the broker sent no AMQP 0-9-1");
        case AMQP_EVENT_NO_MEMORY:
            return amqp_client_fail(client, err, "memory", "out of memory");
        case AMQP_EVENT_NONE:
            /* Once a poll, so that a fast broker does not keep the lane here. */
            if (read && !client->unread)
                return MB_OK;
            status = amqp_client_look(client, err);
            if (status == MB_AGAIN)
                return MB_OK;
            read = true;
            break;
        }
        if (status != MB_OK)
            return status;
    }
    source->more = true;
    return MB_OK;
}

static enum mb_status source_commit(struct mb_source *source, uint32_t wait_ms,
                                    struct mb_error *err)
{
    enum mb_status status = amqp_store_commit(source->store, wait_ms, err);

    if (status != MB_OK)
        return status;
    for (uint32_t i = 0; i < source->scopes_count; i++)
        source->scopes[i].commit_token = source->scopes[i].acked_token;
    if (wait_ms > 0)
        amqp_tell_committed(source);
    return MB_OK;
}

static enum mb_status source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                   size_t count, struct mb_error *err)
{
    struct amqp_writer writer = amqp_client_writer(source->client);
    enum mb_status status = MB_OK;

    for (size_t i = 0; i < count; i++) {
        if (starts[i].scope >= source->scopes_count)
            continue;
        source->scopes[starts[i].scope].epoch = starts[i].epoch;
        source->scopes[starts[i].scope].started = true;
        if (source->store != NULL)
            amqp_start_stream(source, starts[i].scope, starts[i].position, &writer);
    }
    source->more = true;
    if (source->store != NULL) {
        if (!amqp_client_commit(source->client, &writer))
            return amqp_client_fail(source->client, err, "options", "too many arguments");
        status = amqp_client_write(source->client, err);
    }
    return status == MB_AGAIN ? MB_OK : status;
}

static enum mb_status source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                                  struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++) {
        if (scopes[i] < source->scopes_count)
            source->scopes[scopes[i]].started = false;
    }
    return MB_OK;
}

static void source_pause(struct mb_source *source, bool paused)
{
    source->paused = paused;
    /* What was read meanwhile waits in the reader, and no descriptor would tell. */
    if (!paused)
        source->more = true;
}

static void announce(struct mb_source *source)
{
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        struct mb_event event;

        memset(&event, 0, sizeof event);
        event.struct_size = sizeof event;
        event.kind = MB_EVENT_SCOPE_ASSIGNED;
        event.scope = i;
        event.epoch = 1;
        event.partition = -1;
        event.stream = mb_slice_text(source->scopes[i].stream);
        if (source->store != NULL)
            event.position = (struct mb_position){MB_POSITION_OFFSET, 0, 0, source->scopes[i].from};
        if (source->scopes[i].lost)
            amqp_tell_loss(source, &source->scopes[i]);
        source->host->event(source->host->context, &event);
    }
    source->announced = true;
}

static enum mb_status source_service(struct mb_source *source, struct mb_error *err)
{
    struct amqp_client *client = source->client;
    int64_t received_ms;
    enum mb_status status;

    if (!source->announced)
        announce(source);
    if (source->store != NULL) {
        bool stored;

        status = amqp_store_service(source->store, &stored, err);
        if (stored)
            amqp_tell_committed(source);
        if (status == MB_DISCONNECTED)
            return status;
    }
    status = amqp_acks_service(source, err);
    if (status == MB_DISCONNECTED)
        return status;
    amqp_client_tell_blocked(client);
    /* While nobody polls, input is taken as far as there is room: the end of the connection is
     * seen, and a readable socket does not keep the lane awake. */
    if (!source->polled || !may_hand_out(source)) {
        status = amqp_client_look(client, err);
        if (status == MB_DISCONNECTED)
            return status;
        source->more = source->more || status == MB_OK;
    }
    source->polled = false;
    received_ms = client->received_ms;
    status = amqp_client_service(client, err);
    source->more = source->more || client->received_ms != received_ms;
    return status;
}

static void source_close(struct mb_source *source)
{
    struct mb_error err;

    if (source == NULL)
        return;
    mb_error_clear(&err);
    if (source->client != NULL && source->announced && !source->client->broken &&
        !source->client->closed_by_peer && !source->client->channel_closed &&
        amqp_acks_write(source, &err) == MB_OK && source->store == NULL)
        amqp_consumers_settle(source->client, CLOSE_WAIT_MS);
    amqp_store_close(source->store, CLOSE_WAIT_MS);
    amqp_client_close(source->client, CLOSE_WAIT_MS);
    source->host->release(source->host->context, source);
}

const struct mb_source_ops amqp_source_ops = {
    .struct_size = sizeof(struct mb_source_ops),
    .traits = source_traits,
    .open = source_open,
    .fds = source_fds,
    .poll = source_poll,
    .ack = amqp_source_ack,
    .commit = source_commit,
    .start = source_start,
    .stop = source_stop,
    .pause = source_pause,
    .service = source_service,
    .close = source_close,
};
