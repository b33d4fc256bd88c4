/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producer: idempotent, acks=all, no time limit of its own but that of a transaction. Values
 * are not copied: the core keeps a message until its completion. The library retries in order for
 * as long as brokers are away; after a fatal error the instance ends, and the core sends again
 * through another one.
 */
#include "kafka_sink.h"

#include <stdlib.h>

#define REPORTS_A_CALL    512u
#define BATCH_BYTES_MAX   1000000
#define CONFIG_TIMEOUT_MS 3000u
#define LINGER_FROM       64u /* records in that time */

static const struct {
    const char *name;
    const char *value;
} settings[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"message.max.bytes", "268435456"}, /* the broker judges */
    {"sticky.partitioning.linger.ms", "0"},
    {"topic.metadata.propagation.max.ms", "10000"},
    {"queue.buffering.max.kbytes", "2097151"}, /* the window is the bound */
};

static uint64_t traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return MB_SINK_TELLS_POSITION | MB_SINK_PARTITIONED | MB_SINK_TRANSACTIONS |
           MB_SINK_STORES_POSITIONS;
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
    /* In a transaction the library gives a record up with it. */
    if (status == MB_OK)
        status = sink->transaction != NULL
                     ? kafka_transaction_configure(sink, conf, err)
                     : kafka_property_set(conf, "message.timeout.ms", "0", err);
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
        rd_kafka_topic_conf_set_partitioner_cb(topic_conf, kafka_partitioner);
        rd_kafka_topic_conf_set_opaque(topic_conf, sink);
    }
    kafka_client_events(conf, sink->client.endpoint, RD_KAFKA_EVENT_DR);
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

static bool is_once(const struct mb_open_params *params)
{
    return params->struct_size >=
               offsetof(struct mb_open_params, effectively_once) + sizeof(bool) &&
           params->effectively_once;
}

static enum mb_status sink_open(const struct mb_open_params *params, struct mb_sink **ret_sink,
                                struct mb_error *err)
{
    int64_t deadline_ms = params->host->monotonic_ms(params->host->context) + params->timeout_ms;
    struct mb_sink *sink = kafka_alloc(params->host, sizeof *sink);
    enum mb_status status = MB_OK;
    char limit_text[32];
    int64_t limit;

    if (sink == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    sink->host = sink->client.host = params->host;
    sink->client.endpoint = params->endpoint;
    sink->client.wake_fd = -1;
    sink->options = params->options;
    sink->templated = (params->names_templated & 1u) != 0 || sink->options->topic == NULL;
    sink->record_bytes_max = KAFKA_RECORD_BYTES_MAX;
    mb_carry_init(&sink->carry, params, "kafka", kafka_map_project, &sink->projection,
                  KAFKA_SIDECAR_BYTES);
    if (is_once(params))
        status = kafka_transaction_create(sink, params, err);
    if (status == MB_OK)
        status = start_client(sink, params, BATCH_BYTES_MAX, err);
    if (status == MB_OK && !sink->templated &&
        kafka_topic_config(&sink->client, sink->options->topic, "max.message.bytes",
                           CONFIG_TIMEOUT_MS, limit_text, sizeof limit_text))
        sink->record_bytes_max = strtoll(limit_text, NULL, 10);
    /* A batch must fit the topic's limit, or every record in it fails as too large. */
    limit = sink->record_bytes_max;
    if (status == MB_OK && limit - KAFKA_RECORD_OVERHEAD < BATCH_BYTES_MAX) {
        kafka_client_release(&sink->client);
        status = start_client(sink, params,
                              limit > 2 * KAFKA_RECORD_OVERHEAD ? limit - KAFKA_RECORD_OVERHEAD
                                                                : KAFKA_RECORD_OVERHEAD,
                              err);
    }
    if (status == MB_OK && sink->transaction != NULL)
        status = kafka_transaction_init(sink, deadline_ms, err);
    if (status != MB_OK) {
        sink_close(sink);
        return status;
    }
    *ret_sink = sink;
    return MB_OK;
}

static void sink_close(struct mb_sink *sink)
{
    if (sink == NULL)
        return;
    kafka_flush_end(sink);
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
    kafka_transaction_destroy(sink); /* the name is free when its client is gone */
    kafka_sent_release(sink);
    mb_carry_release(&sink->carry);
    kafka_free(sink->host, sink);
}

/* ---- results ---- */

static size_t reports_read(struct mb_sink *sink, struct mb_completion *completions, size_t max)
{
    const rd_kafka_message_t *reports[REPORTS_A_CALL];
    size_t count = rd_kafka_event_message_array(sink->reports, reports,
                                                max < REPORTS_A_CALL ? max : REPORTS_A_CALL);

    size_t completed = 0;

    for (size_t i = 0; i < count; i++) {
        if (!kafka_transaction_report(sink, reports[i]))
            kafka_send_report(sink, reports[i], &completions[completed++]);
    }
    if (count == 0) {
        rd_kafka_event_destroy(sink->reports);
        sink->reports = NULL;
    }
    return completed;
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    size_t count = 0;

    kafka_client_woken(&sink->client);
    while (count < max && sink->refused_at < sink->refused_count)
        completions[count++] = sink->refused[sink->refused_at++].completion;
    if (sink->refused_at == sink->refused_count)
        sink->refused_at = sink->refused_count = 0;
    while (count < max) {
        if (sink->reports == NULL) {
            rd_kafka_event_t *event =
                sink->client.events_due ? rd_kafka_queue_poll(sink->client.events, 0) : NULL;

            sink->client.events_due = event != NULL;
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

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    enum mb_status status = MB_OK;

    *ret_taken = 0;
    if (sink->client.failed)
        return kafka_client_failure(&sink->client, err);
    if ((sink->carry.provenance & MB_PROVENANCE_SIDECAR) != 0)
        sink->projection.now_ms = sink->host->wall_ms(sink->host->context);
    while (status == MB_OK && *ret_taken < count) {
        if (sink->alone_left > 0 && sink->in_flight > 0)
            return MB_AGAIN;
        sink->alone_armed = sink->alone_left > 0;
        if (sink->alone_armed)
            sink->alone_left--;
        status = kafka_send(sink, &items[*ret_taken]);
        if (status == MB_OK) {
            ++*ret_taken;
            sink->linger_sent++;
        }
        if (sink->alone_armed)
            kafka_flush_soon(sink); /* it has nobody to linger for */
    }
    return status;
}

/* Whether records come so fast that they have others to linger for. */
static bool is_busy(struct mb_sink *sink)
{
    int64_t linger_ms = sink->options->linger_ms;
    int64_t now_ms = sink->host->monotonic_ms(sink->host->context);
    int64_t age_ms = now_ms - sink->linger_since_ms;

    if (linger_ms == 0)
        return true; /* they do not linger at all */
    if (age_ms >= linger_ms) {
        sink->linger_sent_before = sink->linger_sent * (uint64_t)linger_ms / (uint64_t)age_ms;
        sink->linger_sent = 0;
        sink->linger_since_ms = now_ms;
    }
    return sink->linger_sent >= LINGER_FROM || sink->linger_sent_before >= LINGER_FROM;
}

static enum mb_status sink_flush(struct mb_sink *sink, struct mb_error *err)
{
    /* Where records come fast lingering is short, and worth it: with a millisecond of it RabbitMQ →
     * Kafka took three times the processor time and half the rate of 10 ms (tests/bench). What a
     * transaction holds is flushed when it is committed. */
    if (sink->in_flight > 0 && sink->transaction == NULL && !is_busy(sink))
        kafka_flush_soon(sink);
    return sink->client.failed ? kafka_client_failure(&sink->client, err) : MB_OK;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    int64_t deadline_ms = kafka_client_deadline_ms(&sink->client);

    kafka_client_wait(&sink->client, wait);
    if (deadline_ms < wait->deadline_ms)
        wait->deadline_ms = deadline_ms;
    if (sink->reports != NULL || sink->client.events_due || sink->refused_at < sink->refused_count)
        wait->ready = true;
}

static enum mb_status sink_service(struct mb_sink *sink, struct mb_error *err)
{
    if (sink->client.failed)
        return kafka_client_failure(&sink->client, err);
    kafka_client_look(&sink->client, sink->host->monotonic_ms(sink->host->context));
    kafka_client_traffic(&sink->client);
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
    .begin = kafka_sink_begin,
    .positions = kafka_sink_positions,
    .commit = kafka_sink_commit,
    .abort = kafka_sink_abort,
    .load_positions = kafka_sink_load_positions,
};
