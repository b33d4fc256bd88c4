/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producer: idempotent, acks=all, no time limit of its own. Values are not copied: the core
 * keeps a message until its completion. The library retries in order for as long as brokers are
 * away; after a fatal error the instance ends, and the core sends again through another one.
 *
 * Slots: what the library carries through for each record. The partitioner, which may run on a
 * thread of the library, reads the message through it.
 */
#include "kafka.h"

#include <stdlib.h>

#define SLOTS_CHUNK       1024u
#define REPORTS_A_CALL    512u
#define FAILED_MAX        64u
#define BATCH_BYTES_MAX   1000000
#define RECORD_OVERHEAD   1024
#define CONFIG_TIMEOUT_MS 3000u
#define SCRATCH_BYTES_MAX (256u * 1024 * 1024)
/* How many records go one by one after a batch was too large for the topic. */
#define ALONE_COUNT   10000u
#define ALONE_WAIT_MS 1

struct slot {
    uint64_t sequence;
    const struct mb_message *message;
    struct slot *next; /* of the free ones */
    bool unfit;        /* `preserve`, and the topic has no partition of that number */
};

struct chunk {
    struct chunk *next;
    struct slot slots[SLOTS_CHUNK];
};

struct mb_sink {
    struct kafka_client client;
    const struct mb_host *host;
    const struct kafka_sink_options *options;
    bool templated;
    bool healthy;
    bool alone_armed;    /* the record in flight went alone */
    uint32_t alone_left; /* records that are still to go alone */
    uint64_t in_flight;
    struct chunk *chunks;
    struct slot *free;
    struct kafka_topics topics;
    struct mb_text scratch;
    rd_kafka_event_t *reports;               /* of which not all have been read */
    struct mb_completion failed[FAILED_MAX]; /* what the library did not take */
    size_t failed_at;
    size_t failed_count;
};

static const struct {
    const char *name;
    const char *value;
} settings[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"message.timeout.ms", "0"},
    {"message.max.bytes", "268435456"}, /* the broker judges */
    {"sticky.partitioning.linger.ms", "0"},
    {"topic.metadata.propagation.max.ms", "10000"},
    {"queue.buffering.max.kbytes", "2097151"}, /* the window is the bound */
};

static uint64_t traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return MB_SINK_TELLS_POSITION | MB_SINK_PARTITIONED;
}

/* ---- partitions ---- */

static int32_t by_bytes(const rd_kafka_topic_t *topic, struct mb_slice bytes, int32_t count)
{
    return rd_kafka_msg_partitioner_murmur2(topic, bytes.data != NULL ? bytes.data : "", bytes.size,
                                            count, NULL, NULL);
}

/*
 * Any thread. By key, as Java clients do; a record without key stays in order with the others of
 * its stream: in the partition it had, or in one that the stream's name decides.
 */
static int32_t partitioner(const rd_kafka_topic_t *topic, const void *key, size_t key_size,
                           int32_t count, void *topic_opaque, void *message_opaque)
{
    const struct mb_sink *sink = topic_opaque;
    struct slot *slot = message_opaque;
    const struct mb_origin *origin = slot->message->origin;
    int32_t had = origin != NULL ? origin->partition : -1;
    enum kafka_partition_rule rule = (enum kafka_partition_rule)sink->options->partition;

    slot->unfit = rule == KAFKA_PARTITION_PRESERVE && (had < 0 || had >= count);
    if (rule == KAFKA_PARTITION_PRESERVE)
        return slot->unfit ? RD_KAFKA_PARTITION_UA : had;
    if (rule == KAFKA_PARTITION_AUTO && had >= 0 && origin->partitions_count == count)
        return had;
    if (key != NULL)
        return by_bytes(topic, (struct mb_slice){key, key_size}, count);
    if (rule == KAFKA_PARTITION_SPREAD)
        return rd_kafka_msg_partitioner_random(topic, NULL, 0, count, NULL, NULL);
    if (had >= 0)
        return had % count;
    return by_bytes(topic, origin != NULL ? origin->stream : MB_SLICE_NULL, count);
}

/* ---- slots ---- */

static struct slot *slot_take(struct mb_sink *sink)
{
    struct slot *slot = sink->free;
    struct chunk *chunk;

    if (slot == NULL) {
        chunk = kafka_alloc(sink->host, sizeof *chunk);
        if (chunk == NULL)
            return NULL;
        chunk->next = sink->chunks;
        sink->chunks = chunk;
        for (size_t i = 0; i < SLOTS_CHUNK; i++) {
            chunk->slots[i].next = sink->free;
            sink->free = &chunk->slots[i];
        }
        slot = sink->free;
    }
    sink->free = slot->next;
    return slot;
}

static void slot_give(struct mb_sink *sink, struct slot *slot)
{
    slot->message = NULL;
    slot->next = sink->free;
    sink->free = slot;
}

/* ---- open ---- */

static enum mb_status configure(struct mb_sink *sink, const struct mb_open_params *params,
                                int64_t batch_bytes, rd_kafka_conf_t *conf, struct mb_error *err)
{
    enum mb_status status = kafka_properties_base(conf, params->endpoint, err);
    rd_kafka_topic_conf_t *topic_conf;
    char text[24];

    for (size_t i = 0; status == MB_OK && i < sizeof settings / sizeof settings[0]; i++)
        status = kafka_property_set(conf, settings[i].name, settings[i].value, err);
    snprintf(text, sizeof text, "%lld", (long long)sink->options->linger_ms);
    if (status == MB_OK)
        status = kafka_property_set(conf, "linger.ms", text, err);
    if (status == MB_OK)
        status = kafka_property_set(conf, "compression.type",
                                    kafka_compressions[sink->options->compression], err);
    snprintf(text, sizeof text, "%u",
             params->window_messages < 9000000 ? params->window_messages + 1000 : 10000000);
    if (status == MB_OK)
        status = kafka_property_set(conf, "queue.buffering.max.messages", text, err);
    snprintf(text, sizeof text, "%lld", (long long)batch_bytes);
    if (status == MB_OK)
        status = kafka_property_set(conf, "batch.size", text, err);
    if (status == MB_OK)
        status = kafka_properties_user(conf, params->endpoint, err);
    topic_conf = rd_kafka_conf_get_default_topic_conf(conf);
    if (status == MB_OK && topic_conf == NULL)
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    if (status == MB_OK) {
        rd_kafka_topic_conf_set_partitioner_cb(topic_conf, partitioner);
        rd_kafka_topic_conf_set_opaque(topic_conf, sink);
    }
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_DR |
                                       (sink->client.endpoint->sasl.oauth_token_file != NULL
                                            ? RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH
                                            : 0));
    return status;
}

static enum mb_status topic_check(const struct mb_sink *sink,
                                  const struct rd_kafka_metadata *metadata, struct mb_error *err)
{
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;

    if (sink->templated)
        return MB_OK;
    if (metadata->topic_cnt > 0)
        code = metadata->topics[0].err;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return MB_OK;
    return mb_error_set(err, kafka_status_of(code), MB_CAUSE_DESTINATION,
                        code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ? "leader"
                                                                       : kafka_reason_of(code),
                        "topic %s: %s", sink->options->topic, rd_kafka_err2str(code));
}

/* One life of the library's client: made, connected, checked. */
static enum mb_status start_client(struct mb_sink *sink, const struct mb_open_params *params,
                                   int64_t batch_bytes, struct mb_error *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum mb_status status = configure(sink, params, batch_bytes, conf, err);

    if (status != MB_OK) {
        rd_kafka_conf_destroy(conf);
        return status;
    }
    status = kafka_client_init(&sink->client, params, RD_KAFKA_PRODUCER, conf, err);
    if (status == MB_OK)
        status = kafka_connect(&sink->client, &sink->options->topic, sink->templated ? 0 : 1,
                               params->timeout_ms, &metadata, err);
    if (status == MB_OK)
        status = topic_check(sink, metadata, err);
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    return status;
}

static void sink_close(struct mb_sink *sink);

static enum mb_status sink_open(const struct mb_open_params *params, struct mb_sink **ret_sink,
                                struct mb_error *err)
{
    struct mb_sink *sink = kafka_alloc(params->host, sizeof *sink);
    enum mb_status status;
    char limit_text[32];
    int64_t limit;

    if (sink == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    sink->host = sink->client.host = params->host;
    sink->client.endpoint = params->endpoint;
    sink->client.wake_fd = -1;
    sink->options = params->options;
    sink->templated = (params->names_templated & 1u) != 0 || sink->options->topic == NULL;
    sink->scratch.max_size = SCRATCH_BYTES_MAX;
    status = start_client(sink, params, BATCH_BYTES_MAX, err);
    /* A batch must fit the topic's limit, or every record in it fails as too large. */
    if (status == MB_OK && !sink->templated &&
        kafka_topic_config(&sink->client, sink->options->topic, "max.message.bytes",
                           CONFIG_TIMEOUT_MS, limit_text, sizeof limit_text) &&
        (limit = strtoll(limit_text, NULL, 10)) - RECORD_OVERHEAD < BATCH_BYTES_MAX) {
        kafka_client_release(&sink->client);
        status = start_client(
            sink, params, limit > 2 * RECORD_OVERHEAD ? limit - RECORD_OVERHEAD : RECORD_OVERHEAD,
            err);
    }
    if (status != MB_OK) {
        sink_close(sink);
        return status;
    }
    *ret_sink = sink;
    return MB_OK;
}

static void sink_close(struct mb_sink *sink)
{
    struct chunk *next;

    if (sink == NULL)
        return;
    if (sink->reports != NULL)
        rd_kafka_event_destroy(sink->reports);
    if (sink->client.rk != NULL) {
        rd_kafka_event_t *event;

        /* What is not confirmed by now is the core's to send again. The threads of the library,
         * which may be writing a record's bytes, have ended when release returns. */
        rd_kafka_purge(sink->client.rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        while ((event = rd_kafka_queue_poll(sink->client.events, 0)) != NULL)
            rd_kafka_event_destroy(event);
        kafka_topics_release(&sink->topics, sink->host);
    }
    kafka_client_release(&sink->client);
    for (struct chunk *chunk = sink->chunks; chunk != NULL; chunk = next) {
        next = chunk->next;
        kafka_free(sink->host, chunk);
    }
    mb_text_release(&sink->scratch);
    kafka_free(sink->host, sink);
}

/* ---- results ---- */

static uint32_t cause_of(const struct mb_sink *sink, rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return MB_CAUSE_NONE;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        return MB_CAUSE_MESSAGE;
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: /* the topic has been deleted under it */
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        return sink->templated ? MB_CAUSE_MESSAGE : MB_CAUSE_DESTINATION;
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__DESTROY:
    case RD_KAFKA_RESP_ERR__FATAL:
        return MB_CAUSE_CONNECTION;
    default:
        /* Authorisation, policies, quotas, too few replicas: it is the destination's state, and
         * waiting is never wrong where no message was refused for what it is. INVALID_MSG too: a
         * checksum that is wrong was damaged on the way. */
        return MB_CAUSE_DESTINATION;
    }
}

static const char *result_reason(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return "too-large";
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return "missing";
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
        return "invalid";
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
        return "damaged";
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
        return "replicas";
    default:
        return kafka_reason_of(code);
    }
}

/* The rule `preserve` leaves a record without a place. */
static void unfit_fill(struct mb_completion *completion)
{
    completion->cause = MB_CAUSE_MESSAGE;
    completion->reason = "partition";
    completion->text = "the topic has no partition of the number that the record had";
}

/*
 * A batch is refused as a whole if it is too large, though each record might fit. So after such a
 * refusal records go one by one for a while: what fails alone is too large, what failed in company
 * is sent again in its order.
 */
static void completion_fill(struct mb_sink *sink, struct mb_completion *completion,
                            uint64_t sequence, rd_kafka_resp_err_t code)
{
    bool too_large = code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
                     code == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE;

    memset(completion, 0, sizeof *completion);
    completion->sequence = sequence;
    completion->partition = -1;
    completion->cause = cause_of(sink, code);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    completion->reason = result_reason(code);
    completion->text = rd_kafka_err2str(code);
    if (too_large && !sink->alone_armed) {
        completion->cause = MB_CAUSE_DESTINATION;
        completion->reason = "batch";
        completion->text = "the batch is larger than the topic allows: its records go one by one";
        sink->alone_left = ALONE_COUNT;
    }
}

static size_t reports_read(struct mb_sink *sink, struct mb_completion *completions, size_t max)
{
    const rd_kafka_message_t *reports[REPORTS_A_CALL];
    size_t count = rd_kafka_event_message_array(sink->reports, reports,
                                                max < REPORTS_A_CALL ? max : REPORTS_A_CALL);

    for (size_t i = 0; i < count; i++) {
        struct slot *slot = reports[i]->_private;

        completion_fill(sink, &completions[i], slot->sequence, reports[i]->err);
        if (slot->unfit && reports[i]->err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
            unfit_fill(&completions[i]);
        if (reports[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            completions[i].partition = reports[i]->partition;
            if (reports[i]->offset >= 0) {
                completions[i].position.kind = MB_POSITION_OFFSET;
                completions[i].position.lo = (uint64_t)reports[i]->offset;
            }
            sink->healthy = true;
        }
        sink->in_flight--;
        slot_give(sink, slot);
    }
    if (count == 0) {
        rd_kafka_event_destroy(sink->reports);
        sink->reports = NULL;
    }
    return count;
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    size_t count = 0;

    kafka_client_drain_wake(&sink->client);
    while (count < max && sink->failed_at < sink->failed_count)
        completions[count++] = sink->failed[sink->failed_at++];
    if (sink->failed_at == sink->failed_count)
        sink->failed_at = sink->failed_count = 0;
    while (count < max) {
        if (sink->reports == NULL) {
            rd_kafka_event_t *event = rd_kafka_queue_poll(sink->client.events, 0);

            if (event == NULL)
                break;
            if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
                sink->reports = event;
            } else {
                kafka_client_event(&sink->client, event);
                rd_kafka_event_destroy(event);
            }
            continue;
        }
        count += reports_read(sink, completions + count, max - count);
    }
    *ret_count = count;
    return sink->client.failed ? kafka_client_failure(&sink->client, err) : MB_OK;
}

/* ---- sending ---- */

/* What the library did not take at all is taken here and fails at once. */
static void refuse(struct mb_sink *sink, uint64_t sequence, rd_kafka_resp_err_t code)
{
    struct mb_completion *completion = &sink->failed[sink->failed_count++];

    completion_fill(sink, completion, sequence, code);
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) {
        completion->cause = MB_CAUSE_MESSAGE; /* judged by itself, in no batch */
        completion->reason = "too-large";
        completion->text = rd_kafka_err2str(code);
    }
}

static rd_kafka_resp_err_t produce(struct mb_sink *sink, rd_kafka_topic_t *topic, struct slot *slot,
                                   struct kafka_outgoing *outgoing)
{
    rd_kafka_vu_t parts[8];
    size_t count = 0;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_error_t *error;

    parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic};
    parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_MSGFLAGS,
                                     .u.i = outgoing->value_in_scratch ? RD_KAFKA_MSG_F_COPY : 0};
    parts[count++] =
        (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_VALUE,
                        .u.mem = {(void *)(uintptr_t)outgoing->value.data, outgoing->value.size}};
    parts[count++] =
        (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_KEY,
                        .u.mem = {(void *)(uintptr_t)outgoing->key.data, outgoing->key.size}};
    parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = slot};
    if (outgoing->timestamp_ms != 0)
        parts[count++] =
            (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = outgoing->timestamp_ms};
    if (outgoing->headers != NULL)
        parts[count++] =
            (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = outgoing->headers};
    error = rd_kafka_produceva(sink->client.rk, parts, count);
    if (error != NULL) {
        code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        if (outgoing->headers != NULL)
            rd_kafka_headers_destroy(outgoing->headers);
    }
    return code;
}

/* MB_AGAIN: not taken. */
static enum mb_status send_one(struct mb_sink *sink, const struct mb_outgoing *item)
{
    const char *name = sink->templated ? item->names[0].data : sink->options->topic;
    struct kafka_outgoing outgoing;
    rd_kafka_topic_t *topic;
    rd_kafka_resp_err_t code;
    struct slot *slot;
    bool unfit;

    if (sink->failed_count == FAILED_MAX)
        return MB_AGAIN;
    topic =
        name != NULL ? kafka_topics_get(&sink->topics, sink->client.rk, sink->host, name) : NULL;
    if (topic == NULL || kafka_map_to_record(item->message, &sink->scratch, &outgoing) != MB_OK) {
        refuse(sink, item->sequence, RD_KAFKA_RESP_ERR__INVALID_ARG);
        return MB_OK;
    }
    slot = slot_take(sink);
    if (slot == NULL) {
        if (outgoing.headers != NULL)
            rd_kafka_headers_destroy(outgoing.headers);
        return MB_AGAIN;
    }
    slot->sequence = item->sequence;
    slot->message = item->message;
    slot->unfit = false;
    code = produce(sink, topic, slot, &outgoing);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        sink->in_flight++;
        return MB_OK;
    }
    unfit = slot->unfit && code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
    slot_give(sink, slot);
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL || code == RD_KAFKA_RESP_ERR__FATAL)
        return MB_AGAIN;
    refuse(sink, item->sequence, code);
    if (unfit)
        unfit_fill(&sink->failed[sink->failed_count - 1]);
    return MB_OK;
}

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    enum mb_status status = MB_OK;

    *ret_taken = 0;
    if (sink->client.failed)
        return kafka_client_failure(&sink->client, err);
    while (status == MB_OK && *ret_taken < count) {
        if (sink->alone_left > 0 && sink->in_flight > 0)
            return MB_AGAIN;
        sink->alone_armed = sink->alone_left > 0;
        if (sink->alone_armed)
            sink->alone_left--;
        status = send_one(sink, &items[*ret_taken]);
        if (status == MB_OK)
            ++*ret_taken;
        if (sink->alone_armed)
            rd_kafka_flush(sink->client.rk, ALONE_WAIT_MS); /* it has nobody to linger for */
    }
    return status;
}

static enum mb_status sink_flush(struct mb_sink *sink, struct mb_error *err)
{
    /* Lingering is short, and the library's flush would wait for the broker. */
    return sink->client.failed ? kafka_client_failure(&sink->client, err) : MB_OK;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    int64_t deadline_ms = kafka_client_deadline_ms(&sink->client);

    wait->fds[wait->count].fd = sink->client.wake_fd;
    wait->fds[wait->count].events = POLLIN;
    wait->count++;
    if (deadline_ms < wait->deadline_ms)
        wait->deadline_ms = deadline_ms;
    if (sink->reports != NULL || sink->failed_at < sink->failed_count)
        wait->ready = true;
}

static enum mb_status sink_service(struct mb_sink *sink, struct mb_error *err)
{
    if (sink->client.failed)
        return kafka_client_failure(&sink->client, err);
    kafka_client_health(&sink->client, sink->healthy);
    sink->healthy = false;
    return MB_OK;
}

const struct mb_sink_ops kafka_sink_ops = {
    .struct_size = sizeof kafka_sink_ops,
    .traits = traits,
    .open = sink_open,
    .fds = sink_fds,
    .send = sink_send,
    .completions = sink_completions,
    .flush = sink_flush,
    .service = sink_service,
    .close = sink_close,
};
