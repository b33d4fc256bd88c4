/* SPDX-License-Identifier: Apache-2.0 */
/* The consumer's partitions by number and by name. A scope stays until the instance ends, so that
 * its number is the same each time the partition comes back. */
#include "kafka.h"
#include "kit/hash.h"

#define MARKS_MAX 4096u

static size_t hash_of(const char *topic, int32_t partition)
{
    uint64_t hash = mb_hash_add(MB_HASH_BEGIN, topic, strlen(topic));

    hash = mb_hash_add(hash, &partition, sizeof partition);
    return (size_t)(hash ^ hash >> 32);
}

struct kafka_scope *kafka_scope_find(struct mb_source *source, const char *topic, int32_t partition)
{
    size_t mask = source->index_size - 1;

    if (source->index_size == 0)
        return NULL;
    for (size_t at = hash_of(topic, partition) & mask; source->index[at] != 0;
         at = (at + 1) & mask) {
        struct kafka_scope *scope = &source->scopes[source->index[at] - 1];

        if (scope->partition == partition && strcmp(scope->topic, topic) == 0)
            return scope;
    }
    return NULL;
}

static void index_put(uint32_t *index, size_t size, const struct kafka_scope *scope, size_t number)
{
    size_t at = hash_of(scope->topic, scope->partition) & (size - 1);

    while (index[at] != 0)
        at = (at + 1) & (size - 1);
    index[at] = (uint32_t)number + 1;
}

static enum mb_status index_reserve(struct mb_source *source)
{
    size_t size = source->index_size == 0 ? 64 : source->index_size * 2;
    uint32_t *index;

    if ((source->scopes_count + 1) * 2 <= source->index_size)
        return MB_OK;
    index = kafka_alloc(source->host, size * sizeof *index);
    if (index == NULL)
        return MB_NO_MEMORY;
    for (size_t i = 0; i < source->scopes_count; i++)
        index_put(index, size, &source->scopes[i], i);
    kafka_free(source->host, source->index);
    source->index = index;
    source->index_size = size;
    return MB_OK;
}

struct kafka_scope *kafka_scope_get(struct mb_source *source, const char *topic, int32_t partition)
{
    struct kafka_scope *scope = kafka_scope_find(source, topic, partition);
    void *scopes = source->scopes;

    if (scope != NULL)
        return scope;
    if (source->scopes_count == KAFKA_SCOPES_MAX || index_reserve(source) != MB_OK ||
        kafka_reserve(source->host, &scopes, sizeof *scope, source->scopes_count,
                      &source->scopes_capacity) != MB_OK)
        return NULL;
    source->scopes = scopes;
    scope = &source->scopes[source->scopes_count];
    memset(scope, 0, sizeof *scope);
    scope->topic = kafka_strdup(source->host, topic);
    if (scope->topic == NULL)
        return NULL;
    scope->partition = partition;
    scope->stored = scope->first = scope->expected = scope->handed = -1;
    scope->acked = scope->committing = scope->committed = -1;
    index_put(source->index, source->index_size, scope, source->scopes_count++);
    return scope;
}

/*
 * A partition that is given up keeps a last mark in its queue, and by that itself and its broker.
 * The library clears the queues of partitions that exist, not of those whose topic was deleted, and
 * would wait for them for ever when it is to end (seen with 2.0.2). So their queues are held while
 * they are assigned, and cleared when they are not: before that their records stand in the one
 * queue of all, which theirs leads to.
 */
void kafka_scope_hold(struct mb_source *source, struct kafka_scope *scope)
{
    if (scope->queue == NULL)
        scope->queue =
            rd_kafka_queue_get_partition(source->client.rk, scope->topic, scope->partition);
}

void kafka_scope_let_go(struct kafka_scope *scope)
{
    rd_kafka_message_t *record;

    if (scope->queue == NULL)
        return;
    for (unsigned i = 0; i < MARKS_MAX; i++) {
        if (rd_kafka_consume_batch_queue(scope->queue, 0, &record, 1) != 1)
            break;
        rd_kafka_message_destroy(record);
    }
    rd_kafka_queue_destroy(scope->queue);
    scope->queue = NULL;
}

void kafka_scopes_let_go(struct mb_source *source)
{
    for (size_t i = 0; i < source->scopes_count; i++)
        kafka_scope_let_go(&source->scopes[i]);
}

void kafka_scopes_release(struct mb_source *source)
{
    for (size_t i = 0; i < source->scopes_count; i++)
        kafka_free(source->host, source->scopes[i].topic);
    kafka_free(source->host, source->scopes);
    kafka_free(source->host, source->index);
    source->scopes = NULL;
    source->index = NULL;
    source->scopes_count = source->index_size = 0;
}

void kafka_scope_event(struct mb_source *source, const struct kafka_scope *scope,
                       enum mb_event_kind kind, struct mb_event *event)
{
    event->struct_size = sizeof *event;
    event->kind = kind;
    event->scope = (uint32_t)(scope - source->scopes);
    event->epoch = scope->epoch;
    event->partition = scope->partition;
    if (kind == MB_EVENT_SCOPE_ASSIGNED)
        event->partitions_count = kafka_partitions_count(source, scope->topic);
    event->stream = mb_slice_text(scope->topic);
    source->host->event(source->host->context, event);
}
