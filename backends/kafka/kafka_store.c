/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading positions and taking them over.
 *
 * An instance that is to have a scope from now on reads who had it last (the owner in the scope's
 * record), fences that one off, reads again what it may have committed until then, and claims the
 * scope by a record that names itself. An older instance that wakes up later finds its
 * transactional.id fenced off at its next transaction. One that had the same id was fenced off when
 * this one was opened.
 *
 * Of two that take the same scope at the same time each reads on up to its own claim. The one whose
 * claim comes later sees the other's and fences it off.
 *
 * "Read" is up to a record of our own: what is before it is decided when it can be seen, because
 * consumers with read_committed are held back by whatever transaction is open before it.
 */
#include "kafka_store.h"

#include <stdlib.h>

#define ROUNDS_MAX     16u
#define FOREIGN_MAX    256u
#define INSTANCES_MAX  4096u /* beyond, some are fenced off that need not be */
#define POLL_MS        100
#define LEADER_WAIT_MS 50

struct loaded {
    struct mb_slice key; /* in load->keys */
    size_t index;        /* in the caller's array */
    int64_t offset;      /* of the last record */
    char *owner;         /* NULL, "": nobody */
};

/* An instance that told of itself. */
struct instance {
    char *owner;
    int64_t offset; /* other owners of its id from before are gone */
};

struct load {
    struct mb_sink *sink;
    const char *group;
    struct mb_stored_position *positions;
    size_t count;
    int64_t deadline_ms;
    struct loaded *entries; /* by key */
    struct mb_text keys;
    struct instance *instances;
    size_t instances_count;
    size_t instances_capacity;
    struct kafka_client client;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue; /* NULL: not consuming */
    int64_t end;             /* all before it has been read */
    bool settled; /* what had been there was read: who writes from now on is to be fenced off */
    char *foreign[FOREIGN_MAX]; /* owners */
    size_t foreign_count;
    size_t fenced_count; /* of those */
};

/* ---- the topic ---- */

static bool is_missing(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
           code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
}

/* MB_AGAIN: it is being made. */
static enum mb_status judge(const struct rd_kafka_metadata *metadata, const char *name,
                            struct mb_error *err)
{
    const struct rd_kafka_metadata_topic *topic = metadata->topics;

    if (metadata->topic_cnt == 0 || is_missing(topic->err)) {
        mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing",
                     "topic %s of positions does not exist", name);
        return MB_AGAIN;
    }
    if (topic->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return mb_error_set(err, kafka_status_of(topic->err), MB_CAUSE_DESTINATION,
                            kafka_reason_of(topic->err), "topic %s of positions: %s", name,
                            rd_kafka_err2str(topic->err));
    if (topic->partition_cnt < KAFKA_STORE_PARTITIONS)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_DESTINATION, "settings",
                            "topic %s of positions has %d partitions; it needs %d", name,
                            topic->partition_cnt, KAFKA_STORE_PARTITIONS);
    for (int i = 0; i < topic->partition_cnt; i++) {
        const struct rd_kafka_metadata_partition *partition = &topic->partitions[i];

        if (partition->id < KAFKA_STORE_PARTITIONS && partition->leader < 0) {
            mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "leader",
                         "topic %s of positions: partition %d has no leader", name, partition->id);
            return MB_AGAIN;
        }
    }
    return MB_OK;
}

/* Small segments, because the last one is never compacted and is read at each start. */
static enum mb_status create(struct mb_sink *sink, int64_t deadline_ms, struct mb_error *err)
{
    static const struct mb_pair configuration[] = {
        {"cleanup.policy", "compact"},
        {"segment.bytes", "16777216"},
        {"min.cleanable.dirty.ratio", "0.1"},
    };
    struct mb_stream_record record = {
        .struct_size = sizeof record,
        .kind = MB_STREAM_LOG,
        .name = sink->transaction->topic,
        .partitions_count = KAFKA_STORE_PARTITIONS,
        .replication = (int32_t)sink->options->replication,
        .configuration = configuration,
        .configuration_count = sizeof configuration / sizeof configuration[0],
    };

    return kafka_topic_create(&sink->client, &record, (uint32_t)kafka_left_ms(sink, deadline_ms),
                              err);
}

enum mb_status kafka_store_prepare(struct mb_sink *sink, int64_t deadline_ms, struct mb_error *err)
{
    const char *name = sink->transaction->topic;
    const struct rd_kafka_metadata *metadata;
    enum mb_status created = create(sink, deadline_ms, err);
    struct mb_error create_err = *err;
    enum mb_status status;
    char policy[64];

    for (;;) {
        status = kafka_connect(&sink->client, &name, 1, (uint32_t)kafka_left_ms(sink, deadline_ms),
                               &metadata, err);
        if (status != MB_OK)
            return status;
        status = judge(metadata, name, err);
        rd_kafka_metadata_destroy(metadata);
        if (status != MB_AGAIN)
            break;
        if (created != MB_OK || kafka_left_ms(sink, deadline_ms) == 0) {
            if (created != MB_OK)
                *err = create_err; /* why it is missing */
            return err->status;
        }
        kafka_events_serve(&sink->client, LEADER_WAIT_MS);
    }
    if (status == MB_OK &&
        kafka_topic_config(&sink->client, name, "cleanup.policy",
                           (uint32_t)kafka_left_ms(sink, deadline_ms), policy, sizeof policy) &&
        strcmp(policy, "compact") != 0)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_DESTINATION, "settings",
                            "topic %s of positions has cleanup.policy=%s and would forget them; "
                            "it must be compact",
                            name, policy);
    return status;
}

/* ---- the consumer ---- */

static enum mb_status reader_configure(const struct load *load, rd_kafka_conf_t *conf,
                                       struct mb_error *err)
{
    static const struct {
        const char *name;
        const char *value;
    } settings[] = {
        {"isolation.level", "read_committed"},
        {"enable.partition.eof", "true"},
        {"enable.auto.commit", "false"},
        {"auto.offset.reset", "earliest"},
        {"fetch.wait.max.ms", "20"},
        {"fetch.error.backoff.ms", "20"},
        {"queued.max.messages.kbytes", "8192"},
    };
    const struct kafka_endpoint_options *endpoint = load->sink->client.endpoint;
    enum mb_status status = kafka_properties_base(conf, endpoint, err);

    for (size_t i = 0; status == MB_OK && i < sizeof settings / sizeof settings[0]; i++)
        status = kafka_property_set(conf, settings[i].name, settings[i].value, err);
    if (status == MB_OK)
        status = kafka_properties_user(conf, endpoint, err);
    kafka_client_events(conf, endpoint, 0);
    return status;
}

static enum mb_status reader_open(struct load *load, struct mb_error *err)
{
    struct kafka_transaction *transaction = load->sink->transaction;
    const struct rd_kafka_metadata *metadata;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum mb_status status = reader_configure(load, conf, err);

    if (status != MB_OK) {
        rd_kafka_conf_destroy(conf);
        return status;
    }
    status = kafka_client_init(&load->client, &transaction->params, RD_KAFKA_CONSUMER, conf, err);
    if (status != MB_OK)
        return status;
    status = kafka_connect(&load->client, &transaction->topic, 1,
                           (uint32_t)kafka_left_ms(load->sink, load->deadline_ms), &metadata, err);
    if (status != MB_OK)
        return status;
    rd_kafka_metadata_destroy(metadata);
    load->topic = rd_kafka_topic_new(load->client.rk, transaction->topic, NULL);
    load->queue = rd_kafka_queue_new(load->client.rk);
    if (load->topic == NULL || load->queue == NULL ||
        rd_kafka_consume_start_queue(load->topic, transaction->partition, RD_KAFKA_OFFSET_BEGINNING,
                                     load->queue) != 0)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "broker",
                            "topic %s of positions cannot be read: %s", transaction->topic,
                            rd_kafka_err2str(rd_kafka_last_error()));
    return MB_OK;
}

static void reader_close(struct load *load)
{
    if (load->queue != NULL) {
        rd_kafka_message_t *message;

        rd_kafka_consume_stop(load->topic, load->sink->transaction->partition);
        while ((message = rd_kafka_consume_queue(load->queue, 0)) != NULL)
            rd_kafka_message_destroy(message);
        rd_kafka_queue_destroy(load->queue);
    }
    if (load->topic != NULL)
        rd_kafka_topic_destroy(load->topic);
    kafka_client_release(&load->client);
}

/* ---- records ---- */

static int compare_keys(const void *a, const void *b)
{
    const struct mb_slice *left = &((const struct loaded *)a)->key;
    const struct mb_slice *right = &((const struct loaded *)b)->key;
    size_t size = left->size < right->size ? left->size : right->size;
    int order = size > 0 ? memcmp(left->data, right->data, size) : 0;

    return order != 0 ? order : (left->size > right->size) - (left->size < right->size);
}

static enum mb_status no_memory(struct mb_error *err)
{
    return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                        "out of memory for positions");
}

static struct instance *find_instance(const struct load *load, const char *id)
{
    for (size_t i = 0; i < load->instances_count; i++) {
        if (strcmp(kafka_stored_writer(load->instances[i].owner), id) == 0)
            return &load->instances[i];
    }
    return NULL;
}

static enum mb_status take_instance(struct load *load, const rd_kafka_message_t *record,
                                    struct mb_error *err)
{
    const struct mb_host *host = load->sink->host;
    char owner[KAFKA_OWNER_SIZE];
    struct mb_position position;
    struct instance *instance;
    char *copy;

    if (kafka_stored_parse((struct mb_slice){record->payload, record->len}, &position, owner,
                           sizeof owner) != MB_OK)
        return MB_OK;
    instance = find_instance(load, kafka_stored_writer(owner));
    if (instance == NULL) {
        if (load->instances_count == INSTANCES_MAX)
            return MB_OK;
        if (kafka_reserve(host, (void **)&load->instances, sizeof *instance, load->instances_count,
                          &load->instances_capacity) != MB_OK)
            return no_memory(err);
        instance = &load->instances[load->instances_count];
    }
    copy = kafka_strdup(host, owner);
    if (copy == NULL)
        return no_memory(err);
    if (instance == &load->instances[load->instances_count])
        load->instances_count++;
    kafka_free(host, instance->owner);
    *instance = (struct instance){.owner = copy, .offset = record->offset};
    return MB_OK;
}

/* Notes one to be fenced off, if it is another one that may be there still and was not noted
 * before. offset: of the record that names it. */
static enum mb_status note_owner(struct load *load, const char *owner, int64_t offset,
                                 struct mb_error *err)
{
    const struct instance *later;

    if (owner == NULL || owner[0] == '\0' ||
        strcmp(kafka_stored_writer(owner), load->sink->transaction->id) == 0)
        return MB_OK;
    later = find_instance(load, kafka_stored_writer(owner));
    if (later != NULL && later->offset > offset && strcmp(later->owner, owner) != 0)
        return MB_OK;
    for (size_t i = 0; i < load->foreign_count; i++) {
        if (strcmp(load->foreign[i], owner) == 0)
            return MB_OK;
    }
    if (load->foreign_count == FOREIGN_MAX)
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "fencing",
                            "more than %u instances had the positions of group %s", FOREIGN_MAX,
                            load->group);
    load->foreign[load->foreign_count] = kafka_strdup(load->sink->host, owner);
    return load->foreign[load->foreign_count++] != NULL ? MB_OK : no_memory(err);
}

/* Who had the scopes last, as far as has been read. */
static enum mb_status note_owners(struct load *load, struct mb_error *err)
{
    enum mb_status status = MB_OK;

    for (size_t i = 0; status == MB_OK && i < load->count; i++)
        status = note_owner(load, load->entries[i].owner, load->entries[i].offset, err);
    return status;
}

static enum mb_status take(struct load *load, const rd_kafka_message_t *record,
                           struct mb_error *err)
{
    const struct kafka_transaction *transaction = load->sink->transaction;
    const struct loaded wanted = {.key = {record->key, record->key_len}};
    struct loaded *entry =
        bsearch(&wanted, load->entries, load->count, sizeof *load->entries, compare_keys);
    char owner[KAFKA_OWNER_SIZE];
    struct mb_position position;
    enum mb_status status;

    if (entry == NULL)
        return record->key_len > 0 && ((const char *)record->key)[0] == '/'
                   ? take_instance(load, record, err)
                   : MB_OK;
    status = kafka_stored_parse((struct mb_slice){record->payload, record->len}, &position, owner,
                                sizeof owner);
    if (status != MB_OK)
        return mb_error_set(err, status, MB_CAUSE_DESTINATION, "positions",
                            "topic %s, partition %d, offset %lld: %s", transaction->topic,
                            record->partition, (long long)record->offset,
                            status == MB_UNSUPPORTED ? "a position of a newer version"
                                                     : "this is not a position of the bridge");
    /* Our claim repeats what we knew; another's record before it may tell more. */
    if (!load->settled || strcmp(owner, transaction->owner) != 0)
        load->positions[entry->index].position = position;
    if (entry->owner == NULL || strcmp(entry->owner, owner) != 0) {
        kafka_free(load->sink->host, entry->owner);
        entry->owner = kafka_strdup(load->sink->host, owner);
        if (entry->owner == NULL)
            return no_memory(err);
    }
    entry->offset = record->offset;
    return load->settled ? note_owner(load, owner, record->offset, err) : MB_OK;
}

/* ---- loading ---- */

static bool is_permanent(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || is_missing(code);
}

/* Reads what is before and at the offset; or, not settled yet, until the end that can be seen now
 * if an owner of before is to be fenced off: it may be what holds us back. */
static enum mb_status read_to(struct load *load, int64_t offset, struct mb_error *err)
{
    enum mb_status status = MB_OK;

    while (status == MB_OK && load->end <= offset) {
        int64_t left_ms = kafka_left_ms(load->sink, load->deadline_ms);
        rd_kafka_message_t *message =
            rd_kafka_consume_queue(load->queue, (int)(left_ms < POLL_MS ? left_ms : POLL_MS));

        kafka_events_serve(&load->client, 0);
        if (load->client.failed)
            status = kafka_client_failure(&load->client, err);
        else if (message == NULL && left_ms == 0)
            status = mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                                  "topic %s of positions cannot be read to its end: a "
                                  "transaction of another writer is open, or brokers do not answer",
                                  load->sink->transaction->topic);
        else if (message != NULL && message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            status = take(load, message, err);
        else if (message != NULL && message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            load->end = message->offset;
            if (!load->settled)
                status = note_owners(load, err);
        } else if (message != NULL && is_permanent(message->err))
            status = mb_error_set(err, kafka_status_of(message->err), MB_CAUSE_DESTINATION,
                                  kafka_reason_of(message->err), "topic %s of positions: %s",
                                  load->sink->transaction->topic, rd_kafka_err2str(message->err));
        if (message != NULL)
            rd_kafka_message_destroy(message);
        if (!load->settled && load->fenced_count < load->foreign_count)
            break;
    }
    return status;
}

static enum mb_status barrier(struct load *load, struct mb_error *err)
{
    int64_t offset;
    enum mb_status status = kafka_transaction_store(load->sink, load->deadline_ms, &offset, err);

    return status == MB_OK ? read_to(load, offset, err) : status;
}

static enum mb_status fence(struct load *load, struct mb_error *err)
{
    enum mb_status status = MB_OK;

    while (status == MB_OK && load->fenced_count < load->foreign_count) {
        status = kafka_transaction_fence(load->sink,
                                         kafka_stored_writer(load->foreign[load->fenced_count]),
                                         load->deadline_ms, err);
        load->fenced_count += status == MB_OK;
    }
    return status;
}

static enum mb_status claim(struct load *load, struct mb_error *err)
{
    const struct kafka_transaction *transaction = load->sink->transaction;
    enum mb_status status = MB_OK;
    bool needed = false;
    int64_t offset;

    for (size_t i = 0; status == MB_OK && i < load->count; i++) {
        const struct loaded *entry = &load->entries[i];

        if (entry->owner != NULL && strcmp(entry->owner, transaction->owner) == 0)
            continue;
        needed = true;
        status = kafka_transaction_add(load->sink, load->group, &load->positions[entry->index],
                                       transaction->owner, err);
    }
    if (status != MB_OK || !needed)
        return status;
    status = kafka_transaction_store(load->sink, load->deadline_ms, &offset, err);
    return status == MB_OK ? read_to(load, offset, err) : status;
}

static enum mb_status take_over(struct load *load, struct mb_error *err)
{
    enum mb_status status = barrier(load, err);

    for (unsigned round = 0; status == MB_OK && round < ROUNDS_MAX; round++) {
        load->settled = true;
        if (load->fenced_count < load->foreign_count) {
            status = fence(load, err);
            if (status == MB_OK)
                status = barrier(load, err);
            continue;
        }
        status = claim(load, err);
        if (status == MB_OK && load->fenced_count == load->foreign_count)
            return MB_OK;
    }
    return status != MB_OK
               ? status
               : mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "fencing",
                              "others keep taking the positions of group %s", load->group);
}

static enum mb_status prepare(struct load *load, struct mb_error *err)
{
    load->entries = kafka_alloc(load->sink->host, load->count * sizeof *load->entries);
    if (load->entries == NULL)
        return no_memory(err);
    for (size_t i = 0; i < load->count; i++) {
        load->entries[i].key.data = NULL;
        load->entries[i].key.size = load->keys.size;
        kafka_stored_key(&load->keys, load->group, &load->positions[i]);
        load->entries[i].key.size = load->keys.size - load->entries[i].key.size;
        load->entries[i].index = i;
    }
    if (load->keys.failed)
        return no_memory(err);
    for (size_t i = 0, at = 0; i < load->count; at += load->entries[i++].key.size)
        load->entries[i].key.data = load->keys.data + at;
    qsort(load->entries, load->count, sizeof *load->entries, compare_keys);
    return MB_OK;
}

static void release(struct load *load)
{
    const struct mb_host *host = load->sink->host;

    for (size_t i = 0; load->entries != NULL && i < load->count; i++)
        kafka_free(host, load->entries[i].owner);
    kafka_free(host, load->entries);
    for (size_t i = 0; i < load->foreign_count; i++)
        kafka_free(host, load->foreign[i]);
    for (size_t i = 0; i < load->instances_count; i++)
        kafka_free(host, load->instances[i].owner);
    kafka_free(host, load->instances);
    mb_text_release(&load->keys);
}

enum mb_status kafka_store_load(struct mb_sink *sink, const char *group,
                                struct mb_stored_position *positions, size_t count,
                                uint32_t timeout_ms, struct mb_error *err)
{
    struct load load = {
        .sink = sink,
        .group = group,
        .positions = positions,
        .count = count,
        .deadline_ms = sink->host->monotonic_ms(sink->host->context) + timeout_ms,
        .keys = {.max_size = KAFKA_STORE_BYTES_MAX},
        .client = {.wake_fd = -1, .host = sink->host, .endpoint = sink->client.endpoint},
    };
    enum mb_status status;

    for (size_t i = 0; i < count; i++)
        positions[i].position = (struct mb_position){.kind = MB_POSITION_NONE};
    status = prepare(&load, err);
    if (status == MB_OK)
        status = reader_open(&load, err);
    if (status == MB_OK)
        status = take_over(&load, err);
    reader_close(&load);
    release(&load);
    return status;
}
