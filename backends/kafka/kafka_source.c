/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer. Records are copied out of the library within poll; what it handed over beyond what
 * the batch had room for is carried, bounded, and destroyed before the consumer is.
 */
#include "kafka.h"

#include <stdlib.h>

#define CARRY_BYTES_MAX   (8u * 1024 * 1024)
#define NUDGE_BYTES       (512u * 1024)
#define NUDGE_MESSAGES    2000u /* a third of queued.min.messages */
#define SERVE_INTERVAL_MS 500
#define CLOSE_TIMEOUT_MS  3000
#define FENCED_RETRY_MS   10000

/* One fetch is under way at a time: over a long path it is a round trip's worth, and a short path
 * needs no buffers of that size. */
#define FAR_MS     20
#define FAR_ASK_MS 1000u
#define FETCH_NEAR "1048576"
#define FETCH_FAR  "2097152"

static const struct {
    const char *name;
    const char *value;
} settings[] = {
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "earliest"},
    {"enable.partition.eof", "false"},
    {"partition.assignment.strategy", "roundrobin,range"},
    {"session.timeout.ms", "8000"},
    {"heartbeat.interval.ms", "1000"},
    {"check.crcs", "true"},
    /* The bytes of records only: what the library needs for each besides is more than that again
     * where records are small. */
    {"queued.max.messages.kbytes", "2048"},
    {"max.partition.fetch.bytes", "1048576"},
};

static uint64_t traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return MB_SOURCE_ACKS_IN_ORDER | MB_SOURCE_DIVIDES_BY_KEY | MB_SOURCE_SEEKS |
           MB_SOURCE_PARTITIONED | MB_SOURCE_COMMITS;
}

/* ---- open ---- */

static enum mb_status take_instance(struct mb_source *source, const struct mb_open_params *params,
                                    rd_kafka_conf_t *conf, struct mb_error *err)
{
    const char *instance = source->options->instance;
    char name[KAFKA_INSTANCE_SIZE];

    if (instance == NULL || instance[0] == '\0')
        return MB_OK;
    if (strcmp(instance, "auto") != 0) {
        snprintf(name, sizeof name, "%.200s-%u", instance, params->lane);
        source->client.fenced_retry_ms = FENCED_RETRY_MS;
        source->is_static = true;
        return kafka_property_set(conf, "group.instance.id", name, err);
    }
    if (source->slot.fd < 0 && kafka_instance_take(source->client.endpoint->brokers, source->group,
                                                   &source->slot) != MB_OK)
        return MB_OK; /* more members than slots: this one is dynamic */
    kafka_instance_name(&source->slot, source->group, name, sizeof name);
    source->is_static = true;
    return kafka_property_set(conf, "group.instance.id", name, err);
}

static enum mb_status configure(struct mb_source *source, const struct mb_open_params *params,
                                rd_kafka_conf_t *conf, struct mb_error *err)
{
    enum mb_status status = kafka_properties_base(conf, params->endpoint, err);

    for (size_t i = 0; status == MB_OK && i < sizeof settings / sizeof settings[0]; i++)
        status = kafka_property_set(conf, settings[i].name, settings[i].value, err);
    if (status == MB_OK)
        status = kafka_property_set(conf, "group.id", source->group, err);
    if (status == MB_OK)
        status = kafka_property_set(
            conf, "isolation.level",
            source->options->isolation == 0 ? "read_committed" : "read_uncommitted", err);
    /* How long a full queue holds up fetching. Known since 2.2 only: before, it is a second, and
     * the queue would run dry meanwhile if nobody nudged. */
    source->nudges =
        rd_kafka_conf_set(conf, "fetch.queue.backoff.ms", "20", NULL, 0) != RD_KAFKA_CONF_OK;
    if (status == MB_OK)
        status = source->nudges
                     ? kafka_property_set(conf, "queued.min.messages", "6000", err)
                     : kafka_property_set(conf, "queued.max.messages.kbytes", "4096", err);
    if (status == MB_OK)
        status = kafka_property_set(conf, "fetch.max.bytes",
                                    source->is_far ? FETCH_FAR : FETCH_NEAR, err);
    if (status == MB_OK)
        status = take_instance(source, params, conf, err);
    if (status == MB_OK)
        status = kafka_properties_user(conf, params->endpoint, err);
    rd_kafka_conf_set_rebalance_cb(conf, kafka_rebalance_cb);
    kafka_client_events(conf, source->client.endpoint, RD_KAFKA_EVENT_OFFSET_COMMIT);
    return status;
}

static enum mb_status create(const struct mb_open_params *params, struct mb_source **ret_source,
                             struct mb_error *err)
{
    const struct kafka_source_options *options = params->options;
    struct mb_source *source = kafka_alloc(params->host, sizeof *source);
    struct mb_strings topics;

    if (source == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    source->host = source->client.host = params->host;
    source->client.endpoint = params->endpoint;
    source->client.wake_fd = -1;
    source->options = options;
    source->slot.fd = -1;
    source->group = kafka_strdup(params->host, options->group != NULL && options->group[0] != '\0'
                                                   ? options->group
                                                   : params->default_group);
    source->carry = kafka_alloc(params->host, KAFKA_CARRY_MAX * sizeof *source->carry);
    *ret_source = source;
    if (source->group == NULL || source->carry == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    topics = params->streams != NULL && params->streams->count > 0 ? *params->streams
             : options->topic != NULL ? (struct mb_strings){&options->topic, 1}
                                      : options->topics;
    if (topics.count == 0)
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing", "no topic matches");
    return kafka_subscription_set(source, &topics, err);
}

/* One life of the library's client: made and connected. */
static enum mb_status start_client(struct mb_source *source, const struct mb_open_params *params,
                                   const struct rd_kafka_metadata **ret_metadata,
                                   struct mb_error *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum mb_status status = configure(source, params, conf, err);

    if (status != MB_OK) {
        rd_kafka_conf_destroy(conf);
        return status;
    }
    status = kafka_client_init(&source->client, params, RD_KAFKA_CONSUMER, conf, err);
    if (status != MB_OK)
        return status;
    source->records = rd_kafka_queue_get_consumer(source->client.rk);
    kafka_client_wake_by(&source->client, source->records);
    return kafka_connect(&source->client, source->topics.items, source->topics.count,
                         params->timeout_ms, ret_metadata, err);
}

static void end_client(struct mb_source *source)
{
    if (source->records != NULL) {
        rd_kafka_queue_cb_event_enable(source->records, NULL, NULL);
        rd_kafka_queue_destroy(source->records);
    }
    source->records = NULL;
    kafka_client_release(&source->client);
}

/* Asks once more what the connection is there for already. */
static bool is_far(struct mb_source *source)
{
    const struct mb_host *host = source->host;
    const struct rd_kafka_metadata *metadata = NULL;
    int64_t began_ms = host->monotonic_ms(host->context);
    struct mb_error ignored;

    kafka_connect(&source->client, source->topics.items, 1, FAR_ASK_MS, &metadata, &ignored);
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    return host->monotonic_ms(host->context) - began_ms >= FAR_MS;
}

static void source_close(struct mb_source *source);

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    struct mb_source *source = NULL;
    const struct rd_kafka_metadata *metadata = NULL;
    enum mb_status status = create(params, &source, err);

    if (status == MB_OK)
        status = start_client(source, params, &metadata, err);
    if (status == MB_OK && is_far(source)) {
        rd_kafka_metadata_destroy(metadata);
        metadata = NULL;
        end_client(source);
        source->is_far = true;
        status = start_client(source, params, &metadata, err);
    }
    if (status == MB_OK)
        status = kafka_subscription_check(source, metadata, err);
    if (status == MB_OK)
        status = kafka_positions_first(source, metadata, params->timeout_ms / 2, err);
    if (status == MB_OK)
        status = kafka_subscribe(source, err);
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    if (status == MB_OK) {
        *ret_source = source;
        return MB_OK;
    }
    source_close(source);
    return status;
}

/* ---- close ---- */

/* Closing never waits for the group: everything that can be stored was, and a member that is static
 * keeps its partitions until it comes back or its session ends. */
static void leave(struct mb_source *source)
{
    const struct mb_host *host = source->host;
    int64_t deadline_ms = host->monotonic_ms(host->context) + CLOSE_TIMEOUT_MS;
    rd_kafka_error_t *error;
    rd_kafka_message_t *record;

    if (source->rebalance != KAFKA_STABLE)
        rd_kafka_assign(source->client.rk, NULL);
    source->rebalance = KAFKA_STABLE;
    error = rd_kafka_consumer_close_queue(source->client.rk, source->records);
    if (error != NULL) {
        rd_kafka_error_destroy(error);
        return;
    }
    while (!rd_kafka_consumer_closed(source->client.rk) &&
           host->monotonic_ms(host->context) < deadline_ms) {
        if (rd_kafka_consume_batch_queue(source->records, 20, &record, 1) == 1)
            rd_kafka_message_destroy(record);
        kafka_source_events(source, 0);
    }
}

static void source_close(struct mb_source *source)
{
    bool fenced;

    if (source == NULL)
        return;
    source->closing = true;
    fenced = source->client.failed && strcmp(source->client.failure.reason, "fenced") == 0;
    kafka_counts_release(source);
    if (source->carry != NULL)
        kafka_carry_sweep(source, true);
    if (source->client.rk != NULL && source->records != NULL) {
        if (!source->client.failed)
            leave(source);
        kafka_scopes_let_go(source);
    }
    end_client(source);
    /* Somebody elsewhere goes by the name of a slot whose holder was fenced: it stays taken as long
     * as this process lives, so that the next instance takes another one. */
    if (!fenced)
        mb_slot_release(&source->slot);
    kafka_scopes_release(source);
    kafka_free(source->host, source->carry);
    kafka_subscription_release(source);
    kafka_free(source->host, source->group);
    kafka_free(source->host, source);
}

/* ---- records ---- */

/* An error that came in the place of a record. */
static void record_error(struct mb_source *source, const rd_kafka_message_t *record)
{
    const char *text = rd_kafka_message_errstr(record);
    const char *topic = record->rkt != NULL ? rd_kafka_topic_name(record->rkt) : NULL;
    struct kafka_scope *scope =
        topic != NULL ? kafka_scope_find(source, topic, record->partition) : NULL;
    struct mb_event event = {0};

    switch ((int)record->err) {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        if (source->topics.count == 1)
            kafka_client_fail(&source->client, "missing", "topic %s: %s", source->topics.items[0],
                              text);
        return;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        kafka_client_fail(&source->client, "forbidden", "%s", text);
        return;
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
        /* The library goes on behind what it cannot read. */
        if (scope != NULL) {
            event.position.kind = MB_POSITION_OFFSET;
            event.position.lo = record->offset > 0 ? (uint64_t)record->offset : 0;
            kafka_scope_event(source, scope, MB_EVENT_LOSS, &event);
        }
        return;
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
        kafka_client_fail(&source->client, "fenced", "%s", text);
        return;
    default:
        kafka_cause_note(&source->client, record->err, text);
        return;
    }
}

struct taking {
    struct mb_batch *batch;
    const rd_kafka_topic_t *topic; /* of the record before: records of a partition come in runs */
    int32_t partition;
    struct kafka_scope *scope;
};

/* MB_OK also for a record that is not handed out. MB_AGAIN: by the next call. */
static enum mb_status take(struct mb_source *source, struct taking *taking,
                           rd_kafka_message_t *record)
{
    struct mb_batch *batch = taking->batch;
    struct mb_message *message = batch->messages[batch->count];
    struct kafka_record parts = {.key = {record->key, record->key_len},
                                 .value = {record->payload, record->len}};
    rd_kafka_headers_t *headers = NULL;
    uint64_t bytes = 0;
    enum mb_status status;

    if (record->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        record_error(source, record);
        return MB_OK;
    }
    if (record->rkt != taking->topic || record->partition != taking->partition) {
        taking->topic = record->rkt;
        taking->partition = record->partition;
        taking->scope =
            kafka_scope_find(source, rd_kafka_topic_name(record->rkt), record->partition);
    }
    if (taking->scope == NULL || taking->scope->state != KAFKA_SCOPE_ACTIVE)
        return MB_OK; /* taken away meanwhile: whoever has the partition now reads it */
    if (record->offset != taking->scope->expected) {
        status = kafka_positions_check(source, taking->scope, record->offset);
        if (status != MB_OK)
            return status == MB_AGAIN ? MB_AGAIN : MB_OK;
    }
    if (rd_kafka_message_headers(record, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
        parts.headers = headers;
    parts.timestamp_ms = rd_kafka_message_timestamp(record, &parts.timestamp_type);
    status = kafka_map_decode(&parts, batch->arena, message, &bytes);
    if (status != MB_OK)
        return status;
    message->scope = (uint32_t)(taking->scope - source->scopes);
    message->epoch = taking->scope->epoch;
    message->token = (uint64_t)record->offset;
    message->position.kind = MB_POSITION_OFFSET;
    message->position.lo = (uint64_t)record->offset;
    taking->scope->handed = record->offset;
    taking->scope->expected = record->offset + 1;
    batch->count++;
    batch->bytes += bytes;
    return MB_OK;
}

static bool batch_has_room(const struct mb_batch *batch)
{
    return batch->count < batch->count_max &&
           (batch->count == 0 || batch->bytes < batch->bytes_max);
}

static enum mb_status take_carried(struct mb_source *source, struct taking *taking)
{
    enum mb_status status = MB_OK;
    size_t begin = source->carry_at;

    while (source->carry_at < source->carry_count && batch_has_room(taking->batch)) {
        status = take(source, taking, source->carry[source->carry_at]);
        if (status != MB_OK)
            break;
        source->carry_at++;
    }
    /* All at once, when nothing is compared with the topic's handle any more: it may go with its
     * last record. */
    taking->topic = NULL;
    for (size_t i = begin; i < source->carry_at; i++) {
        source->carry_bytes -= source->carry[i]->len + source->carry[i]->key_len;
        rd_kafka_message_destroy(source->carry[i]);
    }
    if (source->carry_at == source->carry_count) {
        source->carry_at = source->carry_count = 0;
        source->carry_bytes = 0;
    }
    return status;
}

/* The library has room again: a broker's thread that stopped fetching is to see it now. */
static void nudge(struct mb_source *source, size_t messages, uint64_t bytes)
{
    source->unnudged += messages;
    source->unnudged_bytes += bytes;
    if (!source->nudges ||
        (source->unnudged < NUDGE_MESSAGES && source->unnudged_bytes < NUDGE_BYTES))
        return;
    source->unnudged = 0;
    source->unnudged_bytes = 0;
    kafka_client_nudge(&source->client);
}

/* Gets up to count records of the library into what is carried. */
static size_t fetch(struct mb_source *source, size_t count)
{
    uint64_t bytes = 0;
    size_t taken;

    if (source->carry_at > 0) {
        memmove(source->carry, source->carry + source->carry_at,
                (source->carry_count - source->carry_at) * sizeof *source->carry);
        source->carry_count -= source->carry_at;
        source->carry_at = 0;
    }
    if (count > KAFKA_CARRY_MAX - source->carry_count)
        count = KAFKA_CARRY_MAX - source->carry_count;
    source->served_ms = source->host->monotonic_ms(source->host->context);
    /* The rebalance callback may run in here and sweep what is carried already, so the records
     * come into an array of their own. */
    {
        rd_kafka_message_t *records[KAFKA_TAKE_MAX];
        ssize_t got;

        if (count > KAFKA_TAKE_MAX)
            count = KAFKA_TAKE_MAX;
        got = rd_kafka_consume_batch_queue(source->records, 0, records, count);
        taken = got > 0 ? (size_t)got : 0;
        for (size_t i = 0; i < taken; i++) {
            source->carry[source->carry_count++] = records[i];
            bytes += records[i]->len + records[i]->key_len;
        }
    }
    source->carry_bytes += bytes;
    nudge(source, taken, bytes);
    source->more = taken > 0 && taken == count;
    /* While all brokers are away this is what they had sent before. */
    source->healthy = source->healthy || (taken > 0 && !source->client.all_down);
    return taken;
}

static enum mb_status source_poll(struct mb_source *source, struct mb_batch *batch,
                                  struct mb_error *err)
{
    struct taking taking = {.batch = batch, .partition = -1};
    enum mb_status status = MB_OK;
    char text[MB_ERROR_TEXT_SIZE];

    batch->count = 0;
    batch->bytes = 0;
    kafka_source_events(source, 0);
    /* What was sent before all brokers went away is handed out when one is back and the partitions
     * are this member's still: it could not be committed, and would come again. */
    while (status == MB_OK && !source->client.failed && !source->client.all_down &&
           batch_has_room(batch)) {
        if (source->carry_at == source->carry_count &&
            (!source->more || fetch(source, batch->count_max - batch->count) == 0))
            break;
        status = take_carried(source, &taking);
    }
    if (rd_kafka_fatal_error(source->client.rk, text, sizeof text) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_client_fail(&source->client,
                          rd_kafka_fatal_error(source->client.rk, NULL, 0) ==
                                  RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID
                              ? "fenced"
                              : "fatal",
                          "%s", text);
        /* Others have the partitions already: nothing of this is handed out. */
        batch->count = 0;
    }
    if (source->client.failed)
        return kafka_client_failure(&source->client, err);
    if (status == MB_NO_MEMORY && batch->count == 0)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    return MB_OK;
}

/* ---- the rest ---- */

static void source_fds(struct mb_source *source, struct mb_wait *wait)
{
    int64_t deadline_ms = source->served_ms + SERVE_INTERVAL_MS;
    int64_t client_ms = kafka_client_deadline_ms(&source->client);

    kafka_client_wait(&source->client, wait);
    if (client_ms < deadline_ms)
        deadline_ms = client_ms;
    if (source->lookup_at_ms != 0 && source->lookup_at_ms < deadline_ms)
        deadline_ms = source->lookup_at_ms;
    if (source->counts.retry_at_ms != 0 && source->counts.retry_at_ms < deadline_ms)
        deadline_ms = source->counts.retry_at_ms;
    if (deadline_ms < wait->deadline_ms)
        wait->deadline_ms = deadline_ms;
    if (!source->paused && !source->client.all_down &&
        (source->more || source->carry_count > source->carry_at))
        wait->ready = true;
}

/*
 * While the core takes nothing, rebalances must be seen still. They stand in the queue behind
 * records; but when one is pending, the library has marked all records before it as void, and
 * taking a single one clears them away and runs the callback. Without a rebalance it yields one
 * record, which is carried: ever more rarely, so that the room lasts.
 */
static void serve_paused(struct mb_source *source, int64_t now_ms)
{
    size_t carried = source->carry_count - source->carry_at;
    int64_t interval_ms = SERVE_INTERVAL_MS + (int64_t)carried * 30;

    if (now_ms - source->served_ms < interval_ms)
        return;
    if (carried < KAFKA_CARRY_MAX && source->carry_bytes < CARRY_BYTES_MAX)
        fetch(source, 1);
    else
        rd_kafka_consume_batch_queue(source->records, 0, NULL, 0); /* holds max.poll.interval */
    source->served_ms = now_ms;
}

static enum mb_status source_service(struct mb_source *source, struct mb_error *err)
{
    int64_t now_ms = source->host->monotonic_ms(source->host->context);

    if (kafka_client_look(&source->client, now_ms))
        source->more = true; /* it may be for records, and tells only of the first */
    kafka_source_events(source, 0);
    kafka_counts_serve(source, now_ms);
    if (kafka_subscription_renew(source, err) != MB_OK)
        return MB_DISCONNECTED;
    serve_paused(source, now_ms);
    kafka_positions_scan(source, now_ms);
    if (source->rebalance == KAFKA_LOOKING_UP && source->lookup_at_ms != 0 &&
        now_ms >= source->lookup_at_ms)
        kafka_positions_ask(source);
    if (source->commit_first && source->commits_open == 0) {
        struct mb_error ignored;

        kafka_source_commit(source, 0, &ignored);
    }
    if (source->client.failed)
        return kafka_client_failure(&source->client, err);
    kafka_client_traffic(&source->client);
    kafka_client_health(&source->client, source->healthy);
    source->healthy = false;
    return MB_OK;
}

static void source_pause(struct mb_source *source, bool paused)
{
    source->paused = paused;
}

const struct mb_source_ops kafka_source_ops = {
    .struct_size = sizeof kafka_source_ops,
    .traits = traits,
    .open = source_open,
    .fds = source_fds,
    .poll = source_poll,
    .ack = kafka_source_ack,
    .commit = kafka_source_commit,
    .start = kafka_source_start,
    .stop = kafka_source_stop,
    .pause = source_pause,
    .service = source_service,
    .close = source_close,
    .streams = kafka_source_streams,
};
