/* SPDX-License-Identifier: Apache-2.0 */
/* The source's part that reads streams: where a group goes on, and what it has lost. */
#include "amqp_source.h"

/* The broker's own entries take offsets too: one at the begin of a segment, one for each position
 * that it stores for others. Retention takes whole segments. */
#define GAP_MIN 16u
/* So long a gap is none that has just been looked at. */
#define LOOKED_MS 60000

/* Where the group goes on in one stream, and whether it can. */
static enum mb_status find_place(struct mb_source *source, uint32_t at,
                                 const struct amqp_stream_place *start, int64_t deadline_ms,
                                 struct mb_error *err)
{
    struct amqp_client *client = amqp_store_client(source->store);
    struct amqp_scope *scope = &source->scopes[at];
    struct amqp_stream_ends ends;
    uint64_t stored;
    enum mb_status status = amqp_stream_ends(client, 2, scope->queue, deadline_ms, &ends, err);

    if (status != MB_OK)
        return status;
    scope->looked_end = ends.end;
    scope->looked_ms = source->host->monotonic_ms(source->host->context);
    if (amqp_store_next(source->store, at, &stored)) {
        scope->from = stored;
        scope->was_empty = ends.empty && stored > 0;
        if (!ends.empty && (stored < ends.begin || stored > ends.end)) {
            /* Retention has overtaken it, or another stream has the name now. */
            scope->lost = true;
            scope->lost_count = stored < ends.begin ? ends.begin - stored : 0;
            scope->from = ends.begin;
        }
        return MB_OK;
    }
    status = amqp_stream_find(client, 2, scope->queue, start, deadline_ms, &scope->from, err);
    if (status == MB_NOT_FOUND) {
        scope->from = ends.end;
        status = MB_OK;
    }
    amqp_store_note(source->store, at, scope->from);
    return status;
}

/* Where a group begins is stored at once: a second start goes on there, whatever came meanwhile. */
enum mb_status amqp_streams_open(struct mb_source *source, const struct mb_open_params *params,
                                 const char *group, const struct amqp_stream_place *start,
                                 const char *const *queues, int64_t deadline_ms,
                                 struct mb_error *err)
{
    int64_t left_ms;
    enum mb_status status = amqp_store_open(params, group, queues, source->scopes_count,
                                            deadline_ms, &source->store, err);

    for (uint32_t i = 0; status == MB_OK && i < source->scopes_count; i++) {
        status = find_place(source, i, start, deadline_ms, err);
        if (status != MB_OK)
            amqp_error_name_queue(err, queues[i]);
    }
    left_ms = deadline_ms - source->host->monotonic_ms(source->host->context);
    if (status == MB_OK)
        status = amqp_store_commit(source->store, left_ms > 1 ? (uint32_t)left_ms : 1, err);
    return status;
}

void amqp_tell_loss(struct mb_source *source, const struct amqp_scope *scope)
{
    struct mb_event event;

    memset(&event, 0, sizeof event);
    event.struct_size = sizeof event;
    event.kind = MB_EVENT_LOSS;
    event.scope = (uint32_t)(scope - source->scopes);
    event.epoch = scope->epoch;
    event.partition = -1;
    event.count = scope->lost_count;
    event.stream = mb_slice_text(scope->stream);
    source->host->event(source->host->context, &event);
}

/* Whether retention may have overtaken the reader between its last message and this one. The next
 * instance looks where the stream begins, and goes on from the position that is stored. */
static bool is_gap(const struct mb_source *source, const struct amqp_scope *scope, uint64_t offset)
{
    if (scope->next == 0 || offset < scope->next + GAP_MIN)
        return false;
    for (size_t i = 0; i < source->options->arguments.count; i++) {
        if (strncmp(source->options->arguments.items[i], "x-stream-filter", 15) == 0)
            return false; /* what is filtered out is a gap too */
    }
    return offset >= scope->looked_end ||
           source->host->monotonic_ms(source->host->context) - scope->looked_ms > LOOKED_MS;
}

/* Whether a message of a stream is to be handed out. MB_AGAIN: it lies before the place to begin.
 */
enum mb_status amqp_check_offset(struct mb_source *source, struct amqp_scope *scope,
                                 const struct mb_message *message, struct mb_error *err)
{
    struct amqp_client *client = source->client;
    uint64_t offset = message->position.lo;
    struct amqp_writer writer;

    if (message->position.kind != MB_POSITION_OFFSET)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "no-stream",
                            "%s: queue \"%s\" is no stream: take start and x-stream-offset away",
                            client->name, scope->queue);
    if (scope->was_empty && offset < scope->from) {
        /* A new stream of the same name, or one that a busy broker was slow to show. The next
         * instance sees both ends of it, and can tell. */
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "truncated",
                            "%s: stream \"%s\" looked empty and has message %llu, before the "
                            "position %llu that was stored: looking again",
                            client->name, scope->queue, (unsigned long long)offset,
                            (unsigned long long)scope->from);
    }
    scope->was_empty = false;
    if (is_gap(source, scope, offset))
        return mb_error_set(
            err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "gap",
            "%s: stream \"%s\" goes on at %llu behind %llu: looking where it begins", client->name,
            scope->queue, (unsigned long long)offset, (unsigned long long)scope->next - 1);
    scope->next = offset + 1;
    if (offset >= scope->from)
        return MB_OK;
    writer = amqp_client_writer(client);
    amqp_frame_ack(&writer, message->scope + 1, message->token, MB_ACCEPTED);
    if (!amqp_client_commit(client, &writer))
        return amqp_client_fail(client, err, "stuck", "the broker does not take acknowledgements");
    return MB_AGAIN;
}

/* Starts the consumer of a stream; an answer that refuses it comes as the channel's end. */
void amqp_start_stream(struct mb_source *source, uint32_t at, struct mb_position position,
                       struct amqp_writer *writer)
{
    struct amqp_scope *scope = &source->scopes[at];
    struct amqp_stream_place place = {0};

    if (position.kind != MB_POSITION_STORED) {
        scope->from = position.kind == MB_POSITION_OFFSET ? position.lo : 0;
        scope->was_empty = false;
    }
    place.number = scope->from;
    if (scope->was_empty || position.kind == MB_POSITION_BEGIN)
        place.text = "first";
    else if (position.kind == MB_POSITION_END)
        place.text = "next";
    else if (position.kind == MB_POSITION_TIME)
        place = (struct amqp_stream_place){.number = position.lo / 1000, .is_time = true};
    amqp_frame_consume(writer, at + 1, mb_slice_text(scope->queue), false,
                       &source->options->arguments, &place);
}

void amqp_tell_committed(struct mb_source *source)
{
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        struct mb_event event;

        if (!source->scopes[i].started || source->scopes[i].commit_token == 0)
            continue;
        memset(&event, 0, sizeof event);
        event.struct_size = sizeof event;
        event.kind = MB_EVENT_COMMITTED;
        event.scope = i;
        event.epoch = source->scopes[i].epoch;
        event.token = source->scopes[i].commit_token;
        event.partition = -1;
        source->host->event(source->host->context, &event);
    }
}

/*
 * A stream that is read like a queue would lose what comes while nobody reads. Its first message
 * shows it by an offset; as a message may carry that header for another reason, the broker is
 * asked, and until then deliveries are put aside.
 */
enum mb_status amqp_suspect(struct mb_source *source, const struct amqp_event *event,
                            struct mb_error *err)
{
    struct amqp_client *client = source->client;
    struct amqp_scope *scope = &source->scopes[event->channel - 1];
    bool first = !scope->looked_at;
    struct amqp_writer writer;
    uint64_t offset;

    scope->looked_at = true;
    if (!first || source->store != NULL || source->scopes_count >= AMQP_CHANNELS_MAX ||
        !amqp_delivery_offset(event, &offset))
        return MB_OK;
    writer = amqp_client_writer(client);
    amqp_frame_stream_probe(&writer, source->scopes_count + 1, scope->queue);
    if (!amqp_client_commit(client, &writer))
        return amqp_client_fail(client, err, "stuck", "the broker takes no requests");
    if (client->stash == NULL && !amqp_client_put_aside(client, event))
        return amqp_client_fail(client, err, "memory", "out of memory");
    source->probed = event->channel;
    if (amqp_client_write(client, err) == MB_DISCONNECTED)
        return MB_DISCONNECTED;
    return MB_AGAIN;
}

/* The broker's answer, on the channel behind those of the queues. */
enum mb_status amqp_judge(struct mb_source *source, const struct amqp_event *event,
                          struct mb_error *err)
{
    struct amqp_client *client = source->client;
    const char *queue = source->scopes[source->probed - 1].queue;
    enum amqp_stream_answer answer = AMQP_STREAM_YES;
    struct amqp_writer writer = amqp_client_writer(client);
    char text[400];

    if (event->method == AMQP_CHANNEL_OPENED)
        return MB_OK;
    if (event->method == AMQP_CHANNEL_CLOSE) {
        amqp_refusal(client, event->method, event->arguments, err);
        answer = amqp_stream_judge(err->text);
        amqp_frame_simple(&writer, event->channel, AMQP_CHANNEL_CLOSED);
        amqp_client_commit(client, &writer);
    }
    source->probed = 0;
    source->more = true;
    if (answer == AMQP_STREAM_YES)
        return mb_error_set(err, MB_FATAL, MB_CAUSE_DESTINATION, "stream",
                            "%s: queue \"%s\" is a stream: say where a group begins, as "
                            "start = \"earliest\"",
                            client->name, queue);
    if (answer == AMQP_STREAM_UNKNOWN) {
        snprintf(text, sizeof text,
                 "%.120s: queue \"%.120s\" may be a stream: if it is, say where a group begins, as "
                 "start = \"earliest\", or messages are lost",
                 client->name, queue);
        client->host->log(client->host->context, MB_LOG_WARN, text);
    }
    return MB_OK;
}
