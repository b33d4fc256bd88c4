/* SPDX-License-Identifier: Apache-2.0 */
/* The store: streams, their partitions, and what sinks keep there about sources. */
#include "kit/hash.h"
#include "memory.h"

#include <stdlib.h>

#define CAPACITY_FIRST 64u

/* See memory.h: the place of a broker. Never freed, as streams live as long as the process. */
static struct memory_store the_store = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct memory_store *memory_store_lock(void)
{
    pthread_mutex_lock(&the_store.lock);
    return &the_store;
}

void memory_store_unlock(struct memory_store *store)
{
    pthread_mutex_unlock(&store->lock);
}

char *memory_text_copy(const void *text, size_t size)
{
    char *copy = malloc(size + 1);

    if (copy == NULL)
        return NULL;
    if (size > 0)
        memcpy(copy, text, size);
    copy[size] = '\0';
    return copy;
}

/* FNV-1a: spreads well enough, and a key has the same partition in every run. */
uint64_t memory_hash(const void *data, size_t size)
{
    return mb_hash_add(MB_HASH_BEGIN, data, size);
}

struct memory_stream *memory_stream_find(struct memory_store *store, const char *store_name,
                                         const void *name, size_t name_size)
{
    uint64_t hash = memory_hash(name, name_size);
    struct memory_stream *stream = store->buckets[hash % MEMORY_BUCKETS];

    while (stream != NULL) {
        if (stream->hash == hash && strlen(stream->name) == name_size &&
            memcmp(stream->name, name, name_size) == 0 && strcmp(stream->store, store_name) == 0)
            return stream;
        stream = stream->next;
    }
    return NULL;
}

static void stream_destroy(struct memory_stream *stream)
{
    if (stream == NULL)
        return;
    free(stream->store);
    free(stream->name);
    free(stream->partitions);
    free(stream);
}

/* "limit" among the configuration pairs; 0: not given. */
static uint64_t limit_of(const struct mb_stream_record *record)
{
    for (uint32_t i = 0; i < record->configuration_count; i++) {
        if (strcmp(record->configuration[i].name, "limit") == 0)
            return strtoull(record->configuration[i].value, NULL, 10);
    }
    return 0;
}

static enum mb_status check_record(const struct memory_store *store,
                                   const struct mb_stream_record *record, struct mb_error *err)
{
    size_t name_size = strlen(record->name);

    if (record->kind != MB_STREAM_LOG && record->kind != MB_STREAM_QUEUE)
        return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_DESTINATION, "kind",
                            "stream '%s': there are logs and queues only", record->name);
    if (name_size == 0 || name_size > MEMORY_NAME_MAX)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_DESTINATION, "name",
                            "a stream's name has 1 to %d bytes, this one %zu", MEMORY_NAME_MAX,
                            name_size);
    if (record->partitions_count < 0 || record->partitions_count > MEMORY_PARTITIONS_MAX)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_DESTINATION, "partitions",
                            "stream '%s': at most %d partitions, not %d", record->name,
                            MEMORY_PARTITIONS_MAX, record->partitions_count);
    if (store->streams_count >= MEMORY_STREAMS_MAX)
        return mb_error_set(err, MB_DENIED, MB_CAUSE_DESTINATION, "full",
                            "there are %d streams already", MEMORY_STREAMS_MAX);
    return MB_OK;
}

enum mb_status memory_stream_create(struct memory_store *store, const char *store_name,
                                    const struct mb_stream_record *record, struct mb_error *err)
{
    size_t name_size = strlen(record->name);
    enum mb_status status;
    struct memory_stream *stream;
    struct memory_stream **bucket;
    uint32_t partitions;

    if (memory_stream_find(store, store_name, record->name, name_size) != NULL)
        return MB_OK;
    status = check_record(store, record, err);
    if (status != MB_OK)
        return status;
    partitions = record->partitions_count > 0 && record->kind == MB_STREAM_LOG
                     ? (uint32_t)record->partitions_count
                     : 1;
    stream = calloc(1, sizeof *stream);
    if (stream != NULL) {
        stream->store = memory_text_copy(store_name, strlen(store_name));
        stream->name = memory_text_copy(record->name, name_size);
        stream->partitions = calloc(partitions, sizeof *stream->partitions);
    }
    if (stream == NULL || stream->store == NULL || stream->name == NULL ||
        stream->partitions == NULL) {
        stream_destroy(stream);
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_DESTINATION, "memory",
                            "no memory for stream '%s'", record->name);
    }
    stream->kind = record->kind;
    stream->partitions_count = partitions;
    stream->limit = limit_of(record) > 0 ? limit_of(record) : UINT64_MAX;
    stream->hash = memory_hash(record->name, name_size);
    stream->number = store->streams_count++;
    bucket = &store->buckets[stream->hash % MEMORY_BUCKETS];
    stream->next = *bucket;
    *bucket = stream;
    return MB_OK;
}

/* Doubles the ring of a log. */
static bool grow(struct memory_partition *partition)
{
    size_t capacity = partition->capacity > 0 ? partition->capacity * 2 : CAPACITY_FIRST;
    struct memory_record **records = calloc(capacity, sizeof(struct memory_record *));

    if (records == NULL)
        return false;
    for (uint64_t i = partition->begin; i < partition->end; i++)
        records[i & (capacity - 1)] = partition->records[i & (partition->capacity - 1)];
    free(partition->records);
    partition->records = records;
    partition->capacity = capacity;
    return true;
}

static enum mb_status log_append(struct memory_partition *partition, uint64_t limit,
                                 struct memory_record *record)
{
    struct memory_record **slot;

    /* A full log forgets its oldest message, as retention does elsewhere. */
    while (partition->end - partition->begin >= limit) {
        slot = &partition->records[partition->begin++ & (partition->capacity - 1)];
        memory_record_destroy(*slot);
        *slot = NULL;
    }
    if (partition->end - partition->begin == partition->capacity && !grow(partition))
        return MB_NO_MEMORY;
    record->offset = partition->end;
    partition->records[partition->end++ & (partition->capacity - 1)] = record;
    return MB_OK;
}

enum mb_status memory_stream_append(struct memory_stream *stream, uint32_t partition_index,
                                    uint64_t limit, struct memory_record *record)
{
    struct memory_partition *partition = &stream->partitions[partition_index];
    enum mb_status status = MB_OK;

    if (limit > stream->limit)
        limit = stream->limit;
    if (stream->kind == MB_STREAM_LOG) {
        status = log_append(partition, limit, record);
    } else if (stream->ready + stream->taken >= limit) {
        status = MB_AGAIN;
    } else {
        record->offset = partition->end++;
        record->next = NULL;
        record->previous = partition->last;
        if (partition->last != NULL)
            partition->last->next = record;
        else
            partition->first = record;
        partition->last = record;
        stream->ready++;
    }
    if (status == MB_OK)
        memory_stream_wake(stream);
    return status;
}

enum mb_status memory_stream_reserve(struct memory_stream *stream, uint32_t partition_index,
                                     uint64_t limit, uint64_t count)
{
    struct memory_partition *partition = &stream->partitions[partition_index];
    uint64_t held = partition->end - partition->begin;

    if (limit > stream->limit)
        limit = stream->limit;
    if (stream->kind == MB_STREAM_QUEUE)
        return stream->ready + stream->taken + count <= limit ? MB_OK : MB_AGAIN;
    while (partition->capacity < held + count) {
        if (!grow(partition))
            return MB_NO_MEMORY;
    }
    return MB_OK;
}

struct memory_record *memory_queue_take(struct memory_stream *stream)
{
    struct memory_partition *partition = &stream->partitions[0];
    struct memory_record *record = partition->first;

    if (record == NULL)
        return NULL;
    partition->first = record->next;
    if (record->next != NULL)
        record->next->previous = NULL;
    else
        partition->last = NULL;
    record->next = NULL;
    stream->ready--;
    stream->taken++;
    return record;
}

void memory_queue_return(struct memory_stream *stream, struct memory_record *record)
{
    struct memory_partition *partition = &stream->partitions[0];
    struct memory_record *before = NULL;
    struct memory_record *after = partition->first;

    while (after != NULL && after->offset < record->offset) {
        before = after;
        after = after->next;
    }
    record->message.redelivered = true;
    record->message.delivery_count++;
    record->previous = before;
    record->next = after;
    if (before != NULL)
        before->next = record;
    else
        partition->first = record;
    if (after != NULL)
        after->previous = record;
    else
        partition->last = record;
    stream->taken--;
    stream->ready++;
}

/* The first offset whose message was stored at time_ms or later. */
static uint64_t seek_time(const struct memory_partition *partition, int64_t time_ms)
{
    uint64_t low = partition->begin;
    uint64_t high = partition->end;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (partition->records[middle & (partition->capacity - 1)]->stored_ms < time_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t memory_partition_seek(const struct memory_partition *partition,
                               struct mb_position position)
{
    switch ((enum mb_position_kind)position.kind) {
    case MB_POSITION_OFFSET:
        return position.lo < partition->end ? position.lo : partition->end;
    case MB_POSITION_END:
        return partition->end;
    case MB_POSITION_TIME:
        return seek_time(partition, (int64_t)position.lo);
    case MB_POSITION_NONE:
    case MB_POSITION_ID:
    case MB_POSITION_STORED:
    case MB_POSITION_BEGIN:
        break;
    }
    return partition->begin;
}

static struct memory_stored *stored_find(struct memory_store *store, const char *store_name,
                                         const char *group,
                                         const struct mb_stored_position *position)
{
    struct memory_stored *stored = store->stored;

    while (stored != NULL) {
        if (stored->partition == position->partition &&
            strlen(stored->stream) == position->stream.size &&
            memcmp(stored->stream, position->stream.data, position->stream.size) == 0 &&
            strcmp(stored->group, group) == 0 && strcmp(stored->store, store_name) == 0)
            return stored;
        stored = stored->next;
    }
    return NULL;
}

enum mb_status memory_stored_set(struct memory_store *store, const char *store_name,
                                 const char *group, const struct mb_stored_position *position)
{
    struct memory_stored *stored = stored_find(store, store_name, group, position);

    if (stored == NULL) {
        stored = calloc(1, sizeof *stored);
        if (stored == NULL)
            return MB_NO_MEMORY;
        stored->store = memory_text_copy(store_name, strlen(store_name));
        stored->group = memory_text_copy(group, strlen(group));
        stored->stream = memory_text_copy(position->stream.data, position->stream.size);
        if (stored->store == NULL || stored->group == NULL || stored->stream == NULL) {
            free(stored->store);
            free(stored->group);
            free(stored->stream);
            free(stored);
            return MB_NO_MEMORY;
        }
        stored->partition = position->partition;
        stored->next = store->stored;
        store->stored = stored;
    }
    stored->position = position->position;
    return MB_OK;
}

struct mb_position memory_stored_get(struct memory_store *store, const char *store_name,
                                     const char *group, const struct mb_stored_position *position)
{
    const struct memory_stored *stored = stored_find(store, store_name, group, position);

    return stored != NULL ? stored->position : (struct mb_position){.kind = MB_POSITION_NONE};
}

struct memory_fence *memory_fence_get(struct memory_store *store, const char *store_name,
                                      const char *group)
{
    struct memory_fence *fence;

    for (fence = store->fences; fence != NULL; fence = fence->next) {
        if (strcmp(fence->group, group) == 0 && strcmp(fence->store, store_name) == 0)
            return fence;
    }
    fence = calloc(1, sizeof *fence);
    if (fence == NULL)
        return NULL;
    fence->store = memory_text_copy(store_name, strlen(store_name));
    fence->group = memory_text_copy(group, strlen(group));
    if (fence->store == NULL || fence->group == NULL) {
        free(fence->store);
        free(fence->group);
        free(fence);
        return NULL;
    }
    fence->next = store->fences;
    store->fences = fence;
    return fence;
}
