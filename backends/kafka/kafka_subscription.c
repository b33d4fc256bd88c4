/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the consumer is subscribed to, and how many partitions each topic has.
 *
 * A sink that keeps a record's partition has to know of how many it was one. The numbers are found
 * at open; for a topic that came later, or that grew, they are asked for when its partitions are
 * assigned. That question only waits, so a thread of its own asks it, and the partitions are
 * offered to the core when it has ended.
 */
#include "kafka.h"

#include <stdlib.h>

#define COUNTS_TIMEOUT_MS 3000
#define COUNTS_RETRY_MS   200
#define COUNTS_ATTEMPTS   25u

static size_t topic_find(const struct mb_strings *topics, const char *name)
{
    size_t i = 0;

    while (i < topics->count && strcmp(topics->items[i], name) != 0)
        i++;
    return i;
}

void kafka_subscription_release(struct mb_source *source)
{
    for (size_t i = 0; source->names != NULL && i < source->topics.count; i++)
        kafka_free(source->host, source->names[i]);
    kafka_free(source->host, source->names);
    kafka_free(source->host, source->partitions_counts);
    kafka_free(source->host, source->foreign);
    source->foreign = NULL;
    source->names = NULL;
    source->partitions_counts = NULL;
    source->topics = (struct mb_strings){0};
}

enum mb_status kafka_subscription_set(struct mb_source *source, const struct mb_strings *topics,
                                      struct mb_error *err)
{
    struct mb_source fresh = {.host = source->host};
    bool good;

    fresh.names = kafka_alloc(source->host, (topics->count + 1) * sizeof *fresh.names);
    fresh.partitions_counts =
        kafka_alloc(source->host, (topics->count + 1) * sizeof *fresh.partitions_counts);
    good = fresh.names != NULL && fresh.partitions_counts != NULL;
    fresh.topics.items = (const char *const *)fresh.names;
    for (size_t i = 0; good && i < topics->count; i++) {
        size_t at = topic_find(&source->topics, topics->items[i]);

        fresh.names[i] = kafka_strdup(source->host, topics->items[i]);
        fresh.topics.count++;
        good = fresh.names[i] != NULL;
        if (at < source->topics.count)
            fresh.partitions_counts[i] = source->partitions_counts[at];
    }
    if (!good) {
        kafka_subscription_release(&fresh);
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    }
    kafka_subscription_release(source);
    source->names = fresh.names;
    source->topics = fresh.topics;
    source->partitions_counts = fresh.partitions_counts;
    return MB_OK;
}

/* How many of the topics are there; *ret_code: why one is not. */
static size_t counts_take(struct mb_source *source, const struct rd_kafka_metadata *metadata,
                          rd_kafka_resp_err_t *ret_code)
{
    size_t found = 0;

    *ret_code = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    for (int i = 0; i < metadata->topic_cnt; i++) {
        size_t at = topic_find(&source->topics, metadata->topics[i].topic);

        if (at == source->topics.count)
            continue;
        source->partitions_counts[at] = metadata->topics[i].partition_cnt;
        if (metadata->topics[i].err == RD_KAFKA_RESP_ERR_NO_ERROR)
            found++;
        else
            *ret_code = metadata->topics[i].err;
    }
    return found;
}

/* A topic that is not there: one that is named alone is waited for by the core; of several, the
 * others are read and the library joins it when it appears. */
enum mb_status kafka_subscription_check(struct mb_source *source,
                                        const struct rd_kafka_metadata *metadata,
                                        struct mb_error *err)
{
    rd_kafka_resp_err_t code;

    if (counts_take(source, metadata, &code) > 0)
        return MB_OK;
    return mb_error_set(err, kafka_status_of(code), MB_CAUSE_DESTINATION, kafka_reason_of(code),
                        "topic %s: %s", source->topics.items[0], rd_kafka_err2str(code));
}

/* Takes the list over. */
static enum mb_status subscribe(struct mb_source *source, rd_kafka_topic_partition_list_t *list,
                                struct mb_error *err)
{
    rd_kafka_resp_err_t code = list->cnt > 0 ? rd_kafka_subscribe(source->client.rk, list)
                                             : rd_kafka_unsubscribe(source->client.rk);

    rd_kafka_topic_partition_list_destroy(list);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return MB_OK;
    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, kafka_reason_of(code),
                        "cannot subscribe: %s", rd_kafka_err2str(code));
}

enum mb_status kafka_subscribe(struct mb_source *source, struct mb_error *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);

    for (size_t i = 0; i < source->topics.count; i++)
        rd_kafka_topic_partition_list_add(list, source->topics.items[i], RD_KAFKA_PARTITION_UA);
    return subscribe(source, list, err);
}

/* The library takes all partitions back, as in any rebalance, before it joins with the new list:
 * what is in flight is finished and stored first. */
enum mb_status kafka_source_streams(struct mb_source *source, const struct mb_strings *streams,
                                    struct mb_error *err)
{
    enum mb_status status;

    if (source->client.failed)
        return kafka_client_failure(&source->client, err);
    status = kafka_subscription_set(source, streams, err);
    return status == MB_OK ? kafka_subscribe(source, err) : status;
}

/* ---- an assignment of before ---- */

/*
 * A static member that comes back gets the partitions that it had, without a rebalance, even if it
 * subscribes to other topics now: the broker compares no more than the name of the protocol. So the
 * first assignment may have partitions of topics that are no longer read, and lack those of new
 * ones. A list that differs from the last one, by a member that is known, makes the group divide
 * anew: so it is told another list, and when that is answered, the true one.
 */
bool kafka_is_subscribed(const struct mb_source *source, const char *topic)
{
    return topic_find(&source->topics, topic) < source->topics.count;
}

static bool has_partition(const rd_kafka_topic_partition_list_t *partitions, const char *topic)
{
    for (int i = 0; i < partitions->cnt; i++) {
        if (strcmp(partitions->elems[i].topic, topic) == 0)
            return true;
    }
    return false;
}

static bool is_of_before(struct mb_source *source,
                         const rd_kafka_topic_partition_list_t *partitions)
{
    const char *last = "";
    bool lacks = false;

    for (int i = 0; i < partitions->cnt && source->foreign == NULL; i++) {
        if (strcmp(partitions->elems[i].topic, last) == 0)
            continue;
        last = partitions->elems[i].topic;
        if (!kafka_is_subscribed(source, last))
            source->foreign = kafka_strdup(source->host, last);
    }
    /* Others may have them; then the group divides once in vain. */
    for (size_t i = 0; i < source->topics.count && !lacks; i++)
        lacks =
            source->partitions_counts[i] > 0 && !has_partition(partitions, source->topics.items[i]);
    return source->foreign != NULL || lacks;
}

void kafka_subscription_judge(struct mb_source *source,
                              const rd_kafka_topic_partition_list_t *partitions)
{
    bool first = !source->judged;

    source->judged = true;
    if (source->renewal == KAFKA_RENEWAL_ASKED)
        source->renewal = KAFKA_RENEWAL_ANSWERED;
    else if (first && source->is_static && partitions->cnt > 0 && is_of_before(source, partitions))
        source->renewal = KAFKA_RENEWAL_WANTED;
}

static bool has_scope(const struct mb_source *source, const char *topic)
{
    for (size_t i = 0; i < source->scopes_count; i++) {
        if (source->scopes[i].state != KAFKA_SCOPE_GONE &&
            strcmp(source->scopes[i].topic, topic) == 0)
            return true;
    }
    return false;
}

enum mb_status kafka_subscription_renew(struct mb_source *source, struct mb_error *err)
{
    rd_kafka_topic_partition_list_t *list;

    if (source->rebalance != KAFKA_STABLE)
        return MB_OK;
    if (source->renewal == KAFKA_RENEWAL_ANSWERED) {
        source->renewal = KAFKA_RENEWAL_NONE;
        return kafka_subscribe(source, err);
    }
    if (source->renewal != KAFKA_RENEWAL_WANTED)
        return MB_OK;
    source->renewal = KAFKA_RENEWAL_ASKED;
    list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < source->topics.count; i++) {
        if (has_scope(source, source->topics.items[i]))
            rd_kafka_topic_partition_list_add(list, source->topics.items[i], RD_KAFKA_PARTITION_UA);
    }
    if (source->foreign != NULL && (list->cnt == 0 || (size_t)list->cnt == source->topics.count))
        rd_kafka_topic_partition_list_add(list, source->foreign, RD_KAFKA_PARTITION_UA);
    return subscribe(source, list, err);
}

/* ---- how many partitions ---- */

int32_t kafka_partitions_count(const struct mb_source *source, const char *topic)
{
    size_t at = topic_find(&source->topics, topic);

    return at < source->topics.count ? source->partitions_counts[at] : 0;
}

static void *counts_thread(void *context)
{
    struct mb_source *source = context;
    struct kafka_counts *counts = &source->counts;

    counts->code =
        rd_kafka_metadata(source->client.rk, 1, NULL, &counts->metadata, COUNTS_TIMEOUT_MS);
    atomic_store(&counts->done, true);
    kafka_client_wake(&source->client);
    return NULL;
}

static void counts_start(struct mb_source *source)
{
    struct kafka_counts *counts = &source->counts;

    counts->retry_at_ms = 0;
    atomic_store(&counts->done, false);
    counts->running = pthread_create(&counts->thread, NULL, counts_thread, source) == 0;
    if (!counts->running)
        counts->retry_at_ms = source->host->monotonic_ms(source->host->context) + COUNTS_RETRY_MS;
}

void kafka_counts_ask(struct mb_source *source)
{
    source->counts.wanted = true;
    source->counts.attempts = 0;
    if (!source->counts.running)
        counts_start(source);
}

/* Whether there is a number for all that is being assigned. The broker that was asked may not have
 * heard of a topic that was made just now; of one that is deleted meanwhile none ever will. */
static bool counts_suffice(const struct mb_source *source)
{
    for (size_t i = 0; i < source->scopes_count; i++) {
        const struct kafka_scope *scope = &source->scopes[i];

        if (scope->state == KAFKA_SCOPE_LOOKED_UP &&
            scope->partition >= kafka_partitions_count(source, scope->topic))
            return false;
    }
    return true;
}

static void counts_end(struct kafka_counts *counts)
{
    pthread_join(counts->thread, NULL);
    counts->running = false;
}

void kafka_counts_serve(struct mb_source *source, int64_t now_ms)
{
    struct kafka_counts *counts = &source->counts;
    rd_kafka_resp_err_t code;

    if (!counts->running && counts->retry_at_ms != 0 && now_ms >= counts->retry_at_ms)
        counts_start(source);
    if (!counts->running || !atomic_load(&counts->done))
        return;
    counts_end(counts);
    if (counts->code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        counts_take(source, counts->metadata, &code);
        rd_kafka_metadata_destroy(counts->metadata);
        counts->metadata = NULL;
        counts->attempts++;
    }
    if (counts->code != RD_KAFKA_RESP_ERR_NO_ERROR ||
        (counts->attempts < COUNTS_ATTEMPTS && !counts_suffice(source))) {
        counts->retry_at_ms = now_ms + COUNTS_RETRY_MS;
        return;
    }
    counts->wanted = false;
    kafka_positions_offer(source);
}

void kafka_counts_release(struct mb_source *source)
{
    if (source->counts.running)
        counts_end(&source->counts);
    if (source->counts.metadata != NULL)
        rd_kafka_metadata_destroy(source->counts.metadata);
    source->counts.metadata = NULL;
}
