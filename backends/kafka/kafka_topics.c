/* SPDX-License-Identifier: Apache-2.0 */
/* Handles of topics by name: the library's own look-up for each record takes locks. */
#include "kafka.h"
#include "kit/hash.h"

#define TOPICS_MAX 65536u

struct kafka_topic {
    char *name;
    rd_kafka_topic_t *handle;
};

static size_t place_of(const struct kafka_topics *topics, const char *name)
{
    uint64_t hash = mb_hash_add(MB_HASH_BEGIN, name, strlen(name));
    size_t at;

    at = (size_t)(hash ^ hash >> 32) & (topics->size - 1);
    while (topics->items[at].name != NULL && strcmp(topics->items[at].name, name) != 0)
        at = (at + 1) & (topics->size - 1);
    return at;
}

static enum mb_status grow(struct kafka_topics *topics, const struct mb_host *host)
{
    struct kafka_topics grown = {.count = topics->count,
                                 .size = topics->size == 0 ? 16 : topics->size * 2};

    grown.items = kafka_alloc(host, grown.size * sizeof *grown.items);
    if (grown.items == NULL)
        return MB_NO_MEMORY;
    for (size_t i = 0; i < topics->size; i++) {
        if (topics->items[i].name != NULL)
            grown.items[place_of(&grown, topics->items[i].name)] = topics->items[i];
    }
    kafka_free(host, topics->items);
    *topics = grown;
    return MB_OK;
}

rd_kafka_topic_t *kafka_topics_get(struct kafka_topics *topics, rd_kafka_t *rk,
                                   const struct mb_host *host, const char *name)
{
    struct kafka_topic *topic;

    if (topics->last != NULL && strcmp(topics->last->name, name) == 0)
        return topics->last->handle;
    if ((topics->count + 1) * 2 > topics->size &&
        (topics->size >= TOPICS_MAX || grow(topics, host) != MB_OK))
        return NULL;
    topic = &topics->items[place_of(topics, name)];
    if (topic->name != NULL) {
        topics->last = topic;
        return topic->handle;
    }
    topic->handle = rd_kafka_topic_new(rk, name, NULL);
    if (topic->handle == NULL)
        return NULL;
    topic->name = kafka_strdup(host, name);
    if (topic->name == NULL) {
        rd_kafka_topic_destroy(topic->handle);
        topic->handle = NULL;
        return NULL;
    }
    topics->count++;
    topics->last = topic;
    return topic->handle;
}

void kafka_topics_release(struct kafka_topics *topics, const struct mb_host *host)
{
    for (size_t i = 0; i < topics->size; i++) {
        if (topics->items[i].name == NULL)
            continue;
        rd_kafka_topic_destroy(topics->items[i].handle);
        kafka_free(host, topics->items[i].name);
    }
    kafka_free(host, topics->items);
    memset(topics, 0, sizeof *topics);
}
