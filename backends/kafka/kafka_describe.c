/* SPDX-License-Identifier: Apache-2.0 */
/* What a topic is, which topics there are, and creating one. */
#include "kafka.h"

#include <stdlib.h>

#define REPLICATION_DEFAULT (-1)
#define PARTITIONS_DEFAULT  (-1)
#define COORDINATOR_WAIT_MS 100

struct mb_describer {
    struct kafka_client client;
    struct kafka_client group_client; /* of the group asked about last */
    char *group;
    struct mb_open_params params; /* valid until close */
    const struct mb_host *host;
    uint32_t timeout_ms;
};

/* What makes a topic what it is for its readers; the same is asked for when creating one. */
static const char *const configuration_names[] = {"cleanup.policy", "retention.ms",
                                                  "retention.bytes", "max.message.bytes"};
#define CONFIGURATION_COUNT (sizeof configuration_names / sizeof configuration_names[0])

static void group_release(struct mb_describer *describer)
{
    kafka_client_release(&describer->group_client);
    kafka_free(describer->host, describer->group);
    describer->group = NULL;
}

static void describer_close(struct mb_describer *describer)
{
    if (describer == NULL)
        return;
    group_release(describer);
    kafka_client_release(&describer->client);
    kafka_free(describer->host, describer);
}

/* A consumer, since a producer's asking for a topic may make it. group NULL: without one. */
static enum mb_status client_open(const struct mb_open_params *params, const char *group,
                                  struct kafka_client *client, struct mb_error *err)
{
    const struct kafka_endpoint_options *endpoint = params->endpoint;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum mb_status status = kafka_properties_base(conf, endpoint, err);

    memset(client, 0, sizeof *client);
    client->wake_fd = -1;
    client->endpoint = endpoint;
    if (status == MB_OK && group != NULL)
        status = kafka_property_set(conf, "group.id", group, err);
    if (status == MB_OK)
        status = kafka_property_set(conf, "enable.auto.commit", "false", err);
    if (status == MB_OK)
        status = kafka_properties_user(conf, endpoint, err);
    if (status != MB_OK) {
        rd_kafka_conf_destroy(conf);
        return status;
    }
    kafka_client_events(conf, endpoint, 0);
    return kafka_client_init(client, params, RD_KAFKA_CONSUMER, conf, err);
}

static enum mb_status describer_open(const struct mb_open_params *params,
                                     struct mb_describer **ret_describer, struct mb_error *err)
{
    struct mb_describer *describer = kafka_alloc(params->host, sizeof *describer);
    const struct rd_kafka_metadata *metadata = NULL;
    enum mb_status status;

    if (describer == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    describer->host = params->host;
    describer->params = (struct mb_open_params){.struct_size = sizeof *params,
                                                .host = params->host,
                                                .endpoint = params->endpoint,
                                                .timeout_ms = params->timeout_ms};
    describer->timeout_ms = params->timeout_ms;
    describer->group_client.wake_fd = -1;
    status = client_open(&describer->params, NULL, &describer->client, err);
    if (status == MB_OK)
        status = kafka_connect(&describer->client, NULL, 0, params->timeout_ms, &metadata, err);
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    if (status != MB_OK) {
        describer_close(describer);
        return status;
    }
    *ret_describer = describer;
    return MB_OK;
}

static enum mb_status identity(struct mb_describer *describer, char *text, size_t size,
                               struct mb_error *err)
{
    char *id = rd_kafka_clusterid(describer->client.rk, (int)describer->timeout_ms);

    if (id == NULL)
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                            "the broker did not tell the id of its cluster");
    snprintf(text, size, "%s", id);
    rd_kafka_mem_free(describer->client.rk, id);
    return MB_OK;
}

static enum mb_status failed(rd_kafka_resp_err_t code, const char *what, const char *name,
                             const char *text, struct mb_error *err)
{
    return mb_error_set(err, kafka_status_of(code), MB_CAUSE_DESTINATION, kafka_reason_of(code),
                        "%s %s: %s", what, name, text != NULL ? text : rd_kafka_err2str(code));
}

/* ---- describe ---- */

static void record_clear(struct mb_describer *describer, struct mb_stream_record *record)
{
    const struct mb_host *host = describer->host;

    for (uint32_t i = 0; record->configuration != NULL && i < record->configuration_count; i++)
        kafka_free(host, (void *)(uintptr_t)record->configuration[i].value);
    kafka_free(host, (void *)(uintptr_t)record->configuration);
    kafka_free(host, (void *)(uintptr_t)record->partitions);
    kafka_free(host, (void *)(uintptr_t)record->name);
    memset(record, 0, sizeof *record);
}

/* All partitions at once, where a question for each one would cost a round trip each. */
static rd_kafka_resp_err_t ends_ask(struct mb_describer *describer, const char *topic,
                                    struct mb_partition_record *partitions, int32_t count,
                                    int64_t which)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    rd_kafka_resp_err_t code;

    for (int32_t i = 0; i < count; i++)
        rd_kafka_topic_partition_list_add(list, topic, partitions[i].partition);
    code = kafka_offsets_ask(&describer->client, list, which, describer->timeout_ms);
    for (int32_t i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < count; i++) {
        struct mb_position *position =
            which == RD_KAFKA_OFFSET_END ? &partitions[i].end : &partitions[i].begin;

        if (list->elems[i].offset < 0)
            continue;
        position->kind = MB_POSITION_OFFSET;
        position->lo = (uint64_t)list->elems[i].offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code;
}

static bool is_coordinator_missing(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_NOT_COORDINATOR ||
           code == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS ||
           code == RD_KAFKA_RESP_ERR__WAIT_COORD || code == RD_KAFKA_RESP_ERR__IN_PROGRESS;
}

/* The first question about any group makes the broker's own topic of groups: it takes a moment. */
static rd_kafka_resp_err_t committed_ask(struct mb_describer *describer,
                                         rd_kafka_topic_partition_list_t *list)
{
    const struct mb_host *host = describer->host;
    int64_t deadline_ms = host->monotonic_ms(host->context) + describer->timeout_ms;
    rd_kafka_resp_err_t code;

    for (;;) {
        int64_t left_ms = deadline_ms - host->monotonic_ms(host->context);

        if (left_ms <= 0)
            return RD_KAFKA_RESP_ERR__TIMED_OUT;
        kafka_events_serve(&describer->group_client, 0);
        code = rd_kafka_committed(describer->group_client.rk, list, (int)left_ms);
        for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++)
            code = list->elems[i].err;
        if (!is_coordinator_missing(code))
            return code;
        kafka_events_serve(&describer->group_client, COORDINATOR_WAIT_MS);
    }
}

/*
 * A client of the group itself asks, without joining it: librdkafka 2.0 crashes when a client that
 * has no group asks through the admin interface and the coordinator is elsewhere by then.
 */
static enum mb_status group_ask(struct mb_describer *describer, const char *topic,
                                const char *group, struct mb_partition_record *partitions,
                                int32_t count, struct mb_error *err)
{
    rd_kafka_topic_partition_list_t *list;
    enum mb_status status = MB_OK;
    rd_kafka_resp_err_t code;

    if (describer->group == NULL || strcmp(describer->group, group) != 0) {
        group_release(describer);
        describer->group = kafka_strdup(describer->host, group);
        if (describer->group != NULL)
            status = client_open(&describer->params, group, &describer->group_client, err);
        if (describer->group == NULL || status != MB_OK) {
            group_release(describer);
            return status != MB_OK
                       ? status
                       : mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
        }
    }
    list = rd_kafka_topic_partition_list_new(count);
    for (int32_t i = 0; i < count; i++)
        rd_kafka_topic_partition_list_add(list, topic, partitions[i].partition);
    code = committed_ask(describer, list);
    for (int32_t i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < count; i++) {
        if (list->elems[i].offset < 0)
            continue;
        partitions[i].group.kind = MB_POSITION_OFFSET;
        partitions[i].group.lo = (uint64_t)list->elems[i].offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? MB_OK : failed(code, "group", group, NULL, err);
}

static void configuration_read(struct mb_describer *describer, struct mb_stream_record *record)
{
    struct mb_pair *pairs = kafka_alloc(describer->host, CONFIGURATION_COUNT * sizeof *pairs);
    char text[512];

    record->configuration = pairs;
    for (size_t i = 0; pairs != NULL && i < CONFIGURATION_COUNT; i++) {
        if (!kafka_topic_config(&describer->client, record->name, configuration_names[i],
                                describer->timeout_ms, text, sizeof text))
            return; /* not allowed to ask: unknown */
        if (strcmp(configuration_names[i], "max.message.bytes") == 0)
            record->size_max_bytes = strtoll(text, NULL, 10);
        pairs[record->configuration_count].name = configuration_names[i];
        pairs[record->configuration_count].value = kafka_strdup(describer->host, text);
        if (pairs[record->configuration_count].value != NULL)
            record->configuration_count++;
    }
}

static enum mb_status record_fill(struct mb_describer *describer,
                                  const struct rd_kafka_metadata_topic *topic, const char *group,
                                  struct mb_stream_record *record, struct mb_error *err)
{
    struct mb_partition_record *partitions;
    rd_kafka_resp_err_t code;

    record->name = kafka_strdup(describer->host, topic->topic);
    partitions = kafka_alloc(describer->host, (size_t)topic->partition_cnt * sizeof *partitions);
    record->partitions = partitions;
    if (record->name == NULL || partitions == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    record->partitions_count = topic->partition_cnt;
    for (int i = 0; i < topic->partition_cnt; i++) {
        partitions[i].partition = i;
        record->replication = topic->partitions[i].replica_cnt;
    }
    code = ends_ask(describer, topic->topic, partitions, topic->partition_cnt,
                    RD_KAFKA_OFFSET_BEGINNING);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = ends_ask(describer, topic->topic, partitions, topic->partition_cnt,
                        RD_KAFKA_OFFSET_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return failed(code, "topic", topic->topic, NULL, err);
    record->may_read = MB_ACCESS_UNKNOWN;
    configuration_read(describer, record);
    return group == NULL
               ? MB_OK
               : group_ask(describer, topic->topic, group, partitions, topic->partition_cnt, err);
}

static enum mb_status describe(struct mb_describer *describer, uint32_t kind, const char *name,
                               const char *group, struct mb_stream_record *ret_record,
                               struct mb_error *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code;
    enum mb_status status;

    (void)kind;
    memset(ret_record, 0, sizeof *ret_record);
    ret_record->struct_size = sizeof *ret_record;
    ret_record->kind = MB_STREAM_LOG;
    ret_record->depth_messages = -1;
    ret_record->size_max_bytes = -1;
    status = kafka_connect(&describer->client, &name, 1, describer->timeout_ms, &metadata, err);
    if (status != MB_OK)
        return status;
    code =
        metadata->topic_cnt > 0 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        status = failed(code, "topic", name, NULL, err);
    else
        status = record_fill(describer, &metadata->topics[0], group, ret_record, err);
    rd_kafka_metadata_destroy(metadata);
    if (status != MB_OK)
        record_clear(describer, ret_record);
    return status;
}

/* ---- ensure ---- */

static enum mb_status create_result(rd_kafka_event_t *event, const char *name, struct mb_error *err)
{
    const rd_kafka_CreateTopics_result_t *result;
    const rd_kafka_topic_result_t **topics;
    rd_kafka_resp_err_t code;
    size_t count = 0;

    if (event == NULL)
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                            "topic %s: the broker did not answer", name);
    code = rd_kafka_event_error(event);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return failed(code, "topic", name, rd_kafka_event_error_string(event), err);
    result = rd_kafka_event_CreateTopics_result(event);
    topics = rd_kafka_CreateTopics_result_topics(result, &count);
    if (count == 0)
        return MB_OK;
    code = rd_kafka_topic_result_error(topics[0]);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        return MB_OK;
    return failed(code, "creating topic", name, rd_kafka_topic_result_error_string(topics[0]), err);
}

enum mb_status kafka_topic_create(struct kafka_client *client,
                                  const struct mb_stream_record *record, uint32_t timeout_ms,
                                  struct mb_error *err)
{
    rd_kafka_t *rk = client->rk;
    char text[256];
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(
        record->name, record->partitions_count > 0 ? record->partitions_count : PARTITIONS_DEFAULT,
        record->replication > 0 ? record->replication : REPLICATION_DEFAULT, text, sizeof text);
    rd_kafka_AdminOptions_t *options;
    rd_kafka_queue_t *queue;
    rd_kafka_event_t *event;
    enum mb_status status;

    if (topic == NULL)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_DESTINATION, "settings", "topic %s: %s",
                            record->name, text);
    for (uint32_t i = 0; i < record->configuration_count; i++)
        rd_kafka_NewTopic_set_config(topic, record->configuration[i].name,
                                     record->configuration[i].value);
    options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_AdminOptions_set_request_timeout(options, (int)timeout_ms, text, sizeof text);
    rd_kafka_AdminOptions_set_operation_timeout(options, (int)timeout_ms / 2, text, sizeof text);
    queue = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, &topic, 1, options, queue);
    event = kafka_answer_wait(client, queue, timeout_ms + 500);
    status = create_result(event, record->name, err);
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy(topic);
    return status;
}

static bool is_copied(const char *name)
{
    for (size_t i = 0; i < CONFIGURATION_COUNT; i++) {
        if (strcmp(configuration_names[i], name) == 0)
            return true;
    }
    return false;
}

static enum mb_status ensure(struct mb_describer *describer, const struct mb_stream_record *record,
                             struct mb_error *err)
{
    struct mb_stream_record copied = *record;
    struct mb_pair pairs[CONFIGURATION_COUNT];

    copied.configuration = pairs;
    copied.configuration_count = 0;
    for (uint32_t i = 0; i < record->configuration_count; i++) {
        if (is_copied(record->configuration[i].name) &&
            copied.configuration_count < CONFIGURATION_COUNT)
            pairs[copied.configuration_count++] = record->configuration[i];
    }
    return kafka_topic_create(&describer->client, &copied, describer->timeout_ms, err);
}

static enum mb_status list(struct mb_describer *describer,
                           void (*each)(void *context, const char *name, bool internal),
                           void *context, struct mb_error *err)
{
    static const char *const all[] = {"", ""};
    const struct rd_kafka_metadata *metadata;
    enum mb_status status =
        kafka_connect(&describer->client, all, 2, describer->timeout_ms, &metadata, err);

    if (status != MB_OK)
        return status;
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const char *name = metadata->topics[i].topic;

        if (metadata->topics[i].err == RD_KAFKA_RESP_ERR_NO_ERROR)
            each(context, name, strncmp(name, "__", 2) == 0);
    }
    rd_kafka_metadata_destroy(metadata);
    return MB_OK;
}

const struct mb_describe_ops kafka_describe_ops = {
    .struct_size = sizeof kafka_describe_ops,
    .open = describer_open,
    .identity = identity,
    .describe = describe,
    .clear = record_clear,
    .ensure = ensure,
    .list = list,
    .close = describer_close,
};
