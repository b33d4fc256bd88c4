/* SPDX-License-Identifier: Apache-2.0 */
/* Describe and ensure: passive declarations on a connection of its own. */
#include "amqp_stream.h"

#include <inttypes.h>

#define CLOSE_WAIT_MS 1000u
#define OUTPUT_SIZE   ((size_t)128 * 1024)
#define ARGUMENTS_MAX 32u

/* What a record points to, in one piece. */
struct description {
    struct mb_partition_record partition;
    char name[];
};

struct mb_describer {
    struct amqp_client *client;
    const struct mb_host *host;
    int64_t timeout_ms;
    bool channel_gone;
};

static void describer_close(struct mb_describer *describer)
{
    if (describer == NULL)
        return;
    if (describer->client != NULL && describer->channel_gone)
        describer->client->channel_closed = true;
    amqp_client_close(describer->client, CLOSE_WAIT_MS);
    describer->host->release(describer->host->context, describer);
}

static enum mb_status describer_open(const struct mb_open_params *params,
                                     struct mb_describer **ret_describer, struct mb_error *err)
{
    struct mb_describer *describer = amqp_alloc_zero(params->host, sizeof *describer);
    enum mb_status status;

    if (describer == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    describer->host = params->host;
    describer->timeout_ms = params->timeout_ms;
    status = amqp_client_open(params, params->endpoint, 1, OUTPUT_SIZE, &describer->client, err);
    if (status != MB_OK) {
        describer_close(describer);
        return status;
    }
    *ret_describer = describer;
    return MB_OK;
}

static enum mb_status describer_identity(struct mb_describer *describer, char *identity,
                                         size_t size, struct mb_error *err)
{
    (void)err;
    snprintf(identity, size, "%s", describer->client->identity);
    return MB_OK;
}

static int64_t deadline_of(const struct mb_describer *describer)
{
    return describer->host->monotonic_ms(describer->host->context) + describer->timeout_ms;
}

/* Writes a request and waits; a refusal ends the channel, and the next request opens it again. */
static enum mb_status request(struct mb_describer *describer, const struct amqp_writer *writer,
                              uint32_t answer, struct mb_slice *ret_arguments, struct mb_error *err)
{
    struct amqp_client *client = describer->client;
    enum mb_status status;

    if (!amqp_client_commit(client, writer))
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                            "the arguments of a queue are too long");
    status = amqp_client_call(client, 1, answer, deadline_of(describer), ret_arguments, err);
    if (status != MB_OK && !client->broken && !client->closed_by_peer && status != MB_TIMEOUT)
        describer->channel_gone = true;
    return status;
}

static enum mb_status channel_ready(struct mb_describer *describer, struct mb_error *err)
{
    struct amqp_writer writer = amqp_client_writer(describer->client);
    struct mb_slice arguments;

    if (!describer->channel_gone)
        return MB_OK;
    describer->channel_gone = false;
    amqp_frame_simple(&writer, 1, AMQP_CHANNEL_OPEN);
    return request(describer, &writer, AMQP_CHANNEL_OPENED, &arguments, err);
}

static enum mb_status look(struct mb_describer *describer, uint32_t kind, const char *name,
                           int64_t *ret_depth, struct mb_error *err)
{
    struct amqp_queue_declaration passive = {.name = mb_slice_text(name), .passive = true};
    enum mb_status status = channel_ready(describer, err);
    struct mb_slice arguments;
    struct amqp_writer writer;
    struct amqp_cursor cursor;

    *ret_depth = -1;
    if (status != MB_OK)
        return status;
    if (strlen(name) > AMQP_SHORTSTR_MAX)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_DESTINATION, "name-too-long",
                            "a queue or exchange name has at most 255 bytes");
    writer = amqp_client_writer(describer->client);
    if (kind == MB_STREAM_EXCHANGE) {
        amqp_frame_exchange_passive(&writer, 1, mb_slice_text(name));
        return request(describer, &writer, AMQP_EXCHANGE_DECLARED, &arguments, err);
    }
    amqp_frame_queue_declare(&writer, 1, &passive);
    status = request(describer, &writer, AMQP_QUEUE_DECLARED, &arguments, err);
    if (status != MB_OK)
        return status;
    cursor = amqp_cursor_of(arguments);
    amqp_take_shortstr(&cursor);
    *ret_depth = (int64_t)amqp_take_u32(&cursor);
    return MB_OK;
}

/* The ends of a stream and where the group stands, as its one partition. */
static enum mb_status look_at_stream(struct mb_describer *describer, const char *name,
                                     const char *group, struct mb_partition_record *ret_partition,
                                     struct mb_error *err)
{
    struct amqp_client *client = describer->client;
    struct amqp_stream_ends ends;
    uint64_t next;
    enum mb_status status;

    memset(ret_partition, 0, sizeof *ret_partition);
    ret_partition->partition = -1;
    status = amqp_stream_ends(client, 1, name, deadline_of(describer), &ends, err);
    describer->channel_gone = status != MB_OK && !client->broken && !client->closed_by_peer;
    if (status != MB_OK)
        return status;
    ret_partition->begin = (struct mb_position){MB_POSITION_OFFSET, 0, 0, ends.begin};
    ret_partition->end = (struct mb_position){MB_POSITION_OFFSET, 0, 0, ends.end};
    if (group == NULL || group[0] == '\0')
        return MB_OK;
    status = amqp_store_read(client, 1, group, name, deadline_of(describer), &next, err);
    if (status == MB_OK)
        ret_partition->group = (struct mb_position){MB_POSITION_OFFSET, 0, 0, next};
    else if (strcmp(err->reason, "empty") != 0)
        describer->channel_gone = !client->broken && !client->closed_by_peer;
    /* No position, or one that we may not see: the ends are known all the same. */
    return status == MB_DISCONNECTED || status == MB_TIMEOUT ? status : MB_OK;
}

static enum mb_status describer_describe(struct mb_describer *describer, uint32_t kind,
                                         const char *name, const char *group,
                                         struct mb_stream_record *ret_record, struct mb_error *err)
{
    uint32_t struct_size = ret_record->struct_size;
    struct mb_partition_record partition;
    struct description *copy;
    int64_t depth;
    enum mb_status status = look(describer, kind, name, &depth, err);

    if (status == MB_OK && kind == MB_STREAM_LOG) {
        depth = -1; /* the ends tell better */
        status = look_at_stream(describer, name, group, &partition, err);
    }
    if (status == MB_DENIED) {
        /* It is there, and we may not look. */
        depth = -1;
    } else if (status != MB_OK) {
        return status;
    }
    copy = describer->host->alloc(describer->host->context, sizeof *copy + strlen(name) + 1);
    if (copy == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    memcpy(copy->name, name, strlen(name) + 1);
    memset(ret_record, 0, sizeof *ret_record);
    ret_record->struct_size = struct_size != 0 ? struct_size : (uint32_t)sizeof *ret_record;
    ret_record->kind = kind;
    ret_record->name = copy->name;
    if (status == MB_OK && kind == MB_STREAM_LOG) {
        copy->partition = partition;
        ret_record->partitions = &copy->partition;
        ret_record->partitions_count = 1;
    }
    ret_record->depth_messages = depth;
    ret_record->size_max_bytes = -1;
    ret_record->may_read = status == MB_DENIED ? MB_ACCESS_DENIED : MB_ACCESS_UNKNOWN;
    return MB_OK;
}

static void describer_clear(struct mb_describer *describer, struct mb_stream_record *record)
{
    /* The name is in memory of ours (describe); const only for its readers. */
    if (record->name != NULL)
        describer->host->release(describer->host->context, (char *)(uintptr_t)record->name -
                                                               offsetof(struct description, name));
    record->name = NULL;
    record->partitions = NULL;
}

/* "type" is the queue's type, and "x-…" are arguments as they are. */
static enum mb_status arguments_of(const struct mb_stream_record *record,
                                   struct mb_pair arguments[ARGUMENTS_MAX], size_t *ret_count,
                                   struct mb_error *err)
{
    size_t count = 0;

    for (uint32_t i = 0; i < record->configuration_count; i++) {
        struct mb_pair pair = record->configuration[i];

        if (strcmp(pair.name, "type") == 0)
            pair.name = "x-queue-type";
        if (strncmp(pair.name, "x-", 2) != 0)
            return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                                "queue \"%s\" cannot be created with \"%s\": give type, or a "
                                "queue argument x-…",
                                record->name, pair.name);
        if (count == ARGUMENTS_MAX)
            return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                                "queue \"%s\": more than %u arguments", record->name,
                                ARGUMENTS_MAX);
        arguments[count++] = pair;
    }
    *ret_count = count;
    return MB_OK;
}

static enum mb_status describer_ensure(struct mb_describer *describer,
                                       const struct mb_stream_record *record, struct mb_error *err)
{
    struct mb_pair arguments[ARGUMENTS_MAX];
    struct amqp_queue_declaration declaration = {
        .name = mb_slice_text(record->name), .arguments = arguments, .durable = true};
    int64_t depth;
    struct mb_slice answer;
    struct amqp_writer writer;
    enum mb_status status = look(describer, record->kind, record->name, &depth, err);

    if (status == MB_DENIED && record->kind == MB_STREAM_QUEUE)
        return MB_OK; /* it is there; whether we may write tells the first message */
    if (status != MB_NOT_FOUND || record->kind != MB_STREAM_QUEUE)
        return status;
    status = arguments_of(record, arguments, &declaration.arguments_count, err);
    if (status == MB_OK)
        status = channel_ready(describer, err);
    if (status != MB_OK)
        return status;
    writer = amqp_client_writer(describer->client);
    amqp_frame_queue_declare(&writer, 1, &declaration);
    status = request(describer, &writer, AMQP_QUEUE_DECLARED, &answer, err);
    /* Another process may have made it in the meantime, in its own way. */
    if (status == MB_DISCONNECTED && strcmp(err->reason, "precondition") == 0) {
        struct mb_error first = *err;

        status = look(describer, record->kind, record->name, &depth, err);
        if (status != MB_OK)
            *err = first;
    }
    return status;
}

const struct mb_describe_ops amqp_describe_ops = {
    .struct_size = sizeof(struct mb_describe_ops),
    .open = describer_open,
    .identity = describer_identity,
    .describe = describer_describe,
    .clear = describer_clear,
    .ensure = describer_ensure,
    .close = describer_close,
};
