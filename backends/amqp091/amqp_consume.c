/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting the consumers of a source, in open.
 *
 * One consumer is active where order counts. An exclusive consumer keeps all others off a classic
 * queue, but a quorum queue takes any number of them, and a queue with x-single-active-consumer
 * takes none that is exclusive. So the bridge holds a queue of its own besides, exclusive to the
 * connection, whose name says which queue is being read: who does not get it stands by.
 */
#include "amqp.h"
#include <kit/hash.h>

#define STANDBY_RETRY_MS 1000u
#define GUARD_PREFIX     "mbridge.active."

/* The own queue that observes an exchange: it is durable, so that a stopped bridge misses nothing.
 */
static enum mb_status bind_own_queue(struct amqp_client *client, const char *queue,
                                     const struct amqp_source_options *options, int64_t deadline_ms,
                                     struct mb_error *err)
{
    static const char *const every[] = {"#"};
    struct mb_strings keys = options->binding_keys;
    struct amqp_queue_declaration declaration = {.name = mb_slice_text(queue), .durable = true};
    struct amqp_writer writer = amqp_client_writer(client);
    enum mb_status status;

    if (keys.count == 0)
        keys = (struct mb_strings){every, 1};
    amqp_frame_queue_declare(&writer, 1, &declaration);
    status = amqp_client_request(client, &writer, 1, AMQP_QUEUE_DECLARED, deadline_ms, err);
    for (size_t i = 0; status == MB_OK && i < keys.count; i++) {
        writer = amqp_client_writer(client);
        amqp_frame_bind(&writer, 1, mb_slice_text(queue), mb_slice_text(options->exchange),
                        mb_slice_text(keys.items[i]));
        status = amqp_client_request(client, &writer, 1, AMQP_QUEUE_BOUND, deadline_ms, err);
    }
    return status;
}

unsigned amqp_prefetch(const struct mb_open_params *params, uint32_t queues)
{
    const struct amqp_source_options *options = params->options;
    uint64_t prefetch = (uint64_t)options->prefetch;
    uint64_t share = params->window_messages / (queues > 0 ? queues : 1);

    if (params->window_messages > 0 && prefetch > share)
        prefetch = share;
    if (prefetch < 1)
        prefetch = 1;
    return prefetch > UINT16_MAX ? UINT16_MAX : (unsigned)prefetch;
}

void amqp_error_name_queue(struct mb_error *err, const char *queue)
{
    char text[MB_ERROR_TEXT_SIZE];

    snprintf(text, sizeof text, "queue \"%.100s\": %.350s", queue, err->text);
    memcpy(err->text, text, sizeof text);
}

static enum mb_status stand_by(const struct amqp_client *client, const char *queue,
                               struct mb_error *err)
{
    mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "standby",
                 "%s: another consumer is active on queue \"%s\": standing by", client->name,
                 queue);
    err->retry_after_ms = STANDBY_RETRY_MS;
    return MB_DISCONNECTED;
}

static enum mb_status open_channel(struct amqp_client *client, unsigned channel,
                                   int64_t deadline_ms, struct mb_error *err)
{
    struct amqp_writer writer = amqp_client_writer(client);

    amqp_frame_simple(&writer, channel, AMQP_CHANNEL_OPEN);
    return amqp_client_request(client, &writer, channel, AMQP_CHANNEL_OPENED, deadline_ms, err);
}

void amqp_own_name(const char *prefix, const char *group, const char *queue,
                   char name[AMQP_SHORTSTR_MAX + 1])
{
    const char *parts[] = {group != NULL ? group : "", queue};
    uint64_t hash = MB_HASH_BEGIN;

    if (snprintf(name, AMQP_SHORTSTR_MAX + 1, "%s%s%s%s", prefix, parts[0],
                 group != NULL ? "." : "", queue) <= (int)AMQP_SHORTSTR_MAX)
        return;
    for (int i = 0; i < 2; i++) {
        hash = mb_hash_add(hash, parts[i], strlen(parts[i]));
        if (i == 0 && group != NULL)
            hash = mb_hash_add(hash, "", 1);
    }
    snprintf(name, AMQP_SHORTSTR_MAX + 1, "%s%016llx", prefix, (unsigned long long)hash);
}

/* Takes the guard of a queue, or says that another has it. Who may not declare it goes on with the
 * exclusive consumer alone. */
static enum mb_status take_guard(struct amqp_client *client, unsigned channel, const char *group,
                                 const char *queue, int64_t deadline_ms, bool *ret_taken,
                                 struct mb_error *err)
{
    char name[AMQP_SHORTSTR_MAX + 1];
    char text[1024];
    struct amqp_queue_declaration declaration = {.exclusive = true};
    struct amqp_writer writer = amqp_client_writer(client);
    enum mb_status status;

    amqp_own_name(GUARD_PREFIX, group, queue, name);
    declaration.name = mb_slice_text(name);
    amqp_frame_queue_declare(&writer, channel, &declaration);
    status = amqp_client_request(client, &writer, channel, AMQP_QUEUE_DECLARED, deadline_ms, err);
    *ret_taken = status == MB_OK;
    if (status == MB_DISCONNECTED && strcmp(err->reason, "locked") == 0)
        return stand_by(client, queue, err);
    if (status != MB_DENIED)
        return status;
    snprintf(text, sizeof text,
             "%s: the queue \"%s\" may not be declared: if \"%s\" is a quorum queue or a stream, a "
             "second "
             "process would not stand by. Permit the user to configure it.",
             client->name, name, queue);
    client->host->log(client->host->context, MB_LOG_WARN, text);
    return open_channel(client, channel, deadline_ms, err);
}

/* The queue must be there. *ret_consumers: how many read it now. */
static enum mb_status look_at_queue(struct amqp_client *client, unsigned channel, const char *queue,
                                    int64_t deadline_ms, uint32_t *ret_consumers,
                                    struct mb_error *err)
{
    struct amqp_queue_declaration passive = {.name = mb_slice_text(queue), .passive = true};
    struct amqp_writer writer = amqp_client_writer(client);
    struct mb_slice arguments;
    struct amqp_cursor cursor;
    enum mb_status status;

    amqp_frame_queue_declare(&writer, channel, &passive);
    if (!amqp_client_commit(client, &writer))
        return amqp_client_fail(client, err, "options", "the name of a queue is too long");
    status = amqp_client_call(client, channel, AMQP_QUEUE_DECLARED, deadline_ms, &arguments, err);
    if (status != MB_OK)
        return status;
    cursor = amqp_cursor_of(arguments);
    amqp_take_shortstr(&cursor);
    amqp_take_u32(&cursor); /* messages */
    *ret_consumers = amqp_take_u32(&cursor);
    return MB_OK;
}

static enum mb_status consume(struct amqp_client *client, unsigned channel, const char *queue,
                              unsigned prefetch, bool exclusive, const struct mb_strings *arguments,
                              int64_t deadline_ms, struct mb_error *err)
{
    struct amqp_writer writer = amqp_client_writer(client);
    enum mb_status status;

    amqp_frame_qos(&writer, channel, prefetch);
    status = amqp_client_request(client, &writer, channel, AMQP_BASIC_QOS_DONE, deadline_ms, err);
    if (status != MB_OK)
        return status;
    writer = amqp_client_writer(client);
    amqp_frame_consume(&writer, channel, mb_slice_text(queue), exclusive, arguments, NULL);
    return amqp_client_request(client, &writer, channel, AMQP_BASIC_CONSUMING, deadline_ms, err);
}

/* Exclusively. A queue that refuses that though nobody reads it, twice, has a single active
 * consumer by its own arguments; with the guard in hand it is taken as it is. */
static enum mb_status consume_alone(struct amqp_client *client, unsigned channel, const char *queue,
                                    unsigned prefetch, const struct mb_strings *arguments,
                                    int64_t deadline_ms, struct mb_error *err)
{
    bool guarded = false;
    uint32_t consumers;
    enum mb_status status = take_guard(client, channel, NULL, queue, deadline_ms, &guarded, err);

    for (int attempt = 0; status == MB_OK; attempt++) {
        bool exclusive = attempt < 2;

        status = consume(client, channel, queue, prefetch, exclusive, arguments, deadline_ms, err);
        if (status != MB_DISCONNECTED || strcmp(err->reason, "standby") != 0)
            return status;
        if (!guarded || !exclusive)
            return stand_by(client, queue, err);
        status = open_channel(client, channel, deadline_ms, err);
        if (status == MB_OK)
            status = look_at_queue(client, channel, queue, deadline_ms, &consumers, err);
        if (status == MB_OK && consumers > 0)
            return stand_by(client, queue, err);
    }
    return status;
}

/* One process of a group reads a stream: it stores the position. The consumer itself waits for the
 * core to say where it begins. */
static enum mb_status prepare_stream(struct amqp_client *client, unsigned channel,
                                     const char *group, const char *queue, unsigned prefetch,
                                     int64_t deadline_ms, struct mb_error *err)
{
    struct amqp_writer writer;
    bool guarded;
    enum mb_status status = take_guard(client, channel, group, queue, deadline_ms, &guarded, err);

    if (status != MB_OK)
        return status;
    writer = amqp_client_writer(client);
    amqp_frame_qos(&writer, channel, prefetch);
    return amqp_client_request(client, &writer, channel, AMQP_BASIC_QOS_DONE, deadline_ms, err);
}

/*
 * A quorum queue's client in the broker's channel sends 32 settlements ahead and keeps the rest for
 * when these are applied; a channel that is closed then drops them, and messages that were
 * acknowledged come again. Cancelling waits for the queue, and with the request behind it the
 * channel has seen what was applied and sent the rest.
 */
void amqp_consumers_settle(struct amqp_client *client, uint32_t wait_ms)
{
    int64_t deadline_ms = client->host->monotonic_ms(client->host->context) + (int64_t)wait_ms;
    struct mb_error err;

    mb_error_clear(&err);
    client->keeps_content = false;
    for (uint32_t channel = 1; channel <= client->channels; channel++) {
        struct amqp_writer writer = amqp_client_writer(client);

        amqp_frame_cancel(&writer, channel);
        if (amqp_client_request(client, &writer, channel, AMQP_BASIC_CANCELLED, deadline_ms,
                                &err) != MB_OK)
            return;
        writer = amqp_client_writer(client);
        amqp_frame_qos(&writer, channel, 1);
        if (amqp_client_request(client, &writer, channel, AMQP_BASIC_QOS_DONE, deadline_ms, &err) !=
            MB_OK)
            return;
    }
}

enum mb_status amqp_consumers_start(struct amqp_client *client, const struct mb_open_params *params,
                                    const char *const *queues, uint32_t count, const char *group,
                                    int64_t deadline_ms, struct mb_error *err)
{
    const struct amqp_source_options *options = params->options;
    unsigned prefetch = amqp_prefetch(params, count);
    enum mb_status status = MB_OK;

    /* From here deliveries of one queue may come before the answers about another. */
    client->keeps_content = true;
    if (options->exchange != NULL)
        status = bind_own_queue(client, queues[0], options, deadline_ms, err);
    for (uint32_t i = 0; status == MB_OK && i < count; i++) {
        uint32_t consumers;

        status = look_at_queue(client, i + 1, queues[i], deadline_ms, &consumers, err);
        if (status == MB_OK && group != NULL)
            status = prepare_stream(client, i + 1, group, queues[i], prefetch, deadline_ms, err);
        else if (status == MB_OK && params->ordered)
            status = consume_alone(client, i + 1, queues[i], prefetch, &options->arguments,
                                   deadline_ms, err);
        else if (status == MB_OK)
            status = consume(client, i + 1, queues[i], prefetch, false, &options->arguments,
                             deadline_ms, err);
        if (status != MB_OK && strcmp(err->reason, "standby") != 0)
            amqp_error_name_queue(err, queues[i]);
    }
    return status;
}
