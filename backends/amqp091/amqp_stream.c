/* SPDX-License-Identifier: Apache-2.0 */
/* Where a stream begins and ends, and what is a stream at all. Only waiting calls. */
#include "amqp_stream.h"

/* How many messages are looked at between two requests. */
#define LOOK_AT 500u
/* Arguments that a stream may share with other kinds of queues: asked for again with their value.
 */
#define PROBE_ARGUMENTS_MAX 4u

static enum mb_status set_prefetch(struct amqp_client *client, unsigned channel, unsigned prefetch,
                                   int64_t deadline_ms, struct mb_error *err)
{
    struct amqp_writer writer = amqp_client_writer(client);

    amqp_frame_qos(&writer, channel, prefetch);
    return amqp_client_request(client, &writer, channel, AMQP_BASIC_QOS_DONE, deadline_ms, err);
}

struct seen {
    uint32_t count;
    uint64_t first;
    uint64_t last;
    uint64_t tag;
};

/* Takes what was put aside. */
static void look(struct amqp_client *client, struct seen *seen)
{
    struct amqp_event event;

    while (client->stash != NULL && amqp_client_next(client, &event) == AMQP_EVENT_CONTENT) {
        struct amqp_cursor cursor = amqp_cursor_of(event.arguments);
        uint64_t offset;

        amqp_take_shortstr(&cursor);
        if (amqp_delivery_offset(&event, &offset)) {
            if (seen->count == 0)
                seen->first = offset;
            seen->last = offset;
            seen->tag = amqp_take_u64(&cursor);
            seen->count++;
        }
        amqp_client_forget(client);
    }
}

/* Reads from a place: the first message only, or all that is there. */
static enum mb_status read_from(struct amqp_client *client, unsigned channel, const char *queue,
                                const struct amqp_stream_place *place, bool to_the_end,
                                int64_t deadline_ms, struct seen *seen, struct mb_error *err)
{
    unsigned prefetch = to_the_end ? LOOK_AT : 1;
    bool kept = client->keeps_content;
    struct amqp_writer writer;
    enum mb_status status;
    uint32_t before;

    memset(seen, 0, sizeof *seen);
    client->keeps_content = true;
    status = set_prefetch(client, channel, prefetch, deadline_ms, err);
    if (status == MB_OK) {
        writer = amqp_client_writer(client);
        amqp_frame_consume(&writer, channel, mb_slice_text(queue), false, NULL, place);
        status =
            amqp_client_request(client, &writer, channel, AMQP_BASIC_CONSUMING, deadline_ms, err);
    }
    do {
        before = seen->count;
        if (status == MB_OK)
            status = set_prefetch(client, channel, prefetch, deadline_ms, err);
        look(client, seen);
        if (status == MB_OK && seen->count > before && to_the_end) {
            writer = amqp_client_writer(client);
            amqp_frame_ack(&writer, channel, seen->tag, MB_ACCEPTED);
            amqp_client_commit(client, &writer);
        }
    } while (status == MB_OK && seen->count > before && to_the_end);
    if (status == MB_OK) {
        writer = amqp_client_writer(client);
        amqp_frame_cancel(&writer, channel);
        status =
            amqp_client_request(client, &writer, channel, AMQP_BASIC_CANCELLED, deadline_ms, err);
        look(client, seen);
    }
    client->keeps_content = kept;
    return status;
}

enum mb_status amqp_stream_ends(struct amqp_client *client, unsigned channel, const char *queue,
                                int64_t deadline_ms, struct amqp_stream_ends *ret_ends,
                                struct mb_error *err)
{
    static const struct amqp_stream_place first = {.text = "first"};
    static const struct amqp_stream_place last = {.text = "last"};
    struct seen seen;
    enum mb_status status =
        read_from(client, channel, queue, &first, false, deadline_ms, &seen, err);

    memset(ret_ends, 0, sizeof *ret_ends);
    ret_ends->empty = seen.count == 0;
    ret_ends->begin = seen.first;
    if (status != MB_OK || seen.count == 0)
        return status;
    status = read_from(client, channel, queue, &last, true, deadline_ms, &seen, err);
    if (status == MB_OK && seen.count == 0)
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "slow",
                            "%s: stream \"%s\" has messages and did not show the last one in time",
                            client->name, queue);
    ret_ends->end = seen.last + 1;
    return status;
}

enum mb_status amqp_stream_find(struct amqp_client *client, unsigned channel, const char *queue,
                                const struct amqp_stream_place *place, int64_t deadline_ms,
                                uint64_t *ret_offset, struct mb_error *err)
{
    struct seen seen;
    enum mb_status status =
        read_from(client, channel, queue, place, false, deadline_ms, &seen, err);

    if (status != MB_OK)
        return status;
    if (seen.count == 0)
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_NONE, "empty",
                            "%s: stream \"%s\" has no message there yet", client->name, queue);
    *ret_offset = seen.first;
    return MB_OK;
}

enum amqp_stream_answer amqp_stream_judge(const char *refusal)
{
    static const char *const of_streams[] = {"x-stream-", "x-max-age'", "x-initial-cluster-size'"};
    static const char *const shared[] = {"x-max-length-bytes'", "x-queue-leader-locator'"};
    const char *name = strstr(refusal, "inequivalent arg '");

    if (name == NULL)
        return AMQP_STREAM_UNKNOWN;
    name += 18;
    for (size_t i = 0; i < sizeof of_streams / sizeof of_streams[0]; i++) {
        if (strncmp(name, of_streams[i], strlen(of_streams[i])) == 0)
            return AMQP_STREAM_YES;
    }
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++) {
        if (strncmp(name, shared[i], strlen(shared[i])) == 0)
            return AMQP_STREAM_UNKNOWN;
    }
    return AMQP_STREAM_NO;
}

void amqp_frame_stream_probe(struct amqp_writer *writer, unsigned channel, const char *queue)
{
    static const struct mb_pair arguments[] = {{"x-queue-type", "stream"}};
    struct amqp_queue_declaration declaration = {.name = mb_slice_text(queue),
                                                 .arguments = arguments,
                                                 .arguments_count = 1,
                                                 .durable = true};

    amqp_frame_simple(writer, channel, AMQP_CHANNEL_OPEN);
    amqp_frame_queue_declare(writer, channel, &declaration);
}

bool amqp_stream_start(const struct amqp_source_options *options,
                       struct amqp_stream_place *ret_place)
{
    memset(ret_place, 0, sizeof *ret_place);
    for (size_t i = 0; i < options->arguments.count; i++) {
        if (strncmp(options->arguments.items[i], AMQP_ARGUMENT_OFFSET, AMQP_ARGUMENT_OFFSET_SIZE) !=
            0)
            continue;
        ret_place->text = options->arguments.items[i] + AMQP_ARGUMENT_OFFSET_SIZE;
        return true;
    }
    switch ((enum mb_position_kind)options->start.kind) {
    case MB_POSITION_BEGIN:
        ret_place->text = "first";
        return true;
    case MB_POSITION_END:
        ret_place->text = "next";
        return true;
    case MB_POSITION_TIME:
        ret_place->is_time = true;
        ret_place->number = options->start.lo / 1000;
        return true;
    case MB_POSITION_OFFSET:
        ret_place->number = options->start.lo;
        return true;
    case MB_POSITION_STORED:
    case MB_POSITION_ID:
    case MB_POSITION_NONE:
        break;
    }
    return false;
}
