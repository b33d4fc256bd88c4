/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink: stores at once, and tells so at the next call of completions. In a transaction what was
 * sent waits in a list that commit stores as one.
 */
#include "memory.h"

#define RING_MAX (1u << 20)

struct result {
    uint64_t sequence;
    uint64_t offset; /* UINT64_MAX: none */
    int32_t partition;
    uint32_t cause;
    const char *reason;
    const char *text;
};

/* A message of the open transaction. */
struct pending {
    struct memory_record *record;
    struct memory_stream *stream;
    uint32_t partition;
};

struct mb_sink {
    const struct memory_sink_options *options;
    const struct mb_host *host;
    const char *store;
    bool is_templated;
    int64_t now_ms;             /* wall time of the running call */
    struct memory_stream *last; /* the stream of the last message; streams are never removed */

    struct result *ring; /* what completions has still to tell */
    uint32_t ring_size;
    uint32_t ring_first;
    uint32_t ring_count;

    bool in_transaction;
    struct pending *pending; /* at most ring_size */
    uint32_t pending_count;
    struct mb_stored_position *positions; /* of the transaction, copies */
    size_t positions_count;
    char *group;
    uint64_t fence; /* 0: load_positions was not called */
};

static uint64_t sink_traits(const void *endpoint, const void *sink_options)
{
    const struct memory_sink_options *options = sink_options;

    (void)endpoint;
    if (options->discard)
        return 0;
    if (options->kind == MB_STREAM_QUEUE)
        return MB_SINK_TRANSACTIONS | MB_SINK_STORES_POSITIONS;
    return MB_SINK_TELLS_POSITION | MB_SINK_TRANSACTIONS | MB_SINK_STORES_POSITIONS |
           MB_SINK_PARTITIONED;
}

static void forget_positions(struct mb_sink *sink)
{
    for (size_t i = 0; i < sink->positions_count; i++)
        sink->host->release(sink->host->context, (void *)(uintptr_t)sink->positions[i].stream.data);
    sink->host->release(sink->host->context, sink->positions);
    sink->host->release(sink->host->context, sink->group);
    sink->positions = NULL;
    sink->positions_count = 0;
    sink->group = NULL;
}

static void forget_pending(struct mb_sink *sink)
{
    for (uint32_t i = 0; i < sink->pending_count; i++)
        memory_record_destroy(sink->pending[i].record);
    sink->pending_count = 0;
}

static void sink_close(struct mb_sink *sink)
{
    if (sink == NULL)
        return;
    forget_pending(sink);
    forget_positions(sink);
    sink->host->release(sink->host->context, sink->pending);
    sink->host->release(sink->host->context, sink->ring);
    sink->host->release(sink->host->context, sink);
}

static enum mb_status sink_open(const struct mb_open_params *params, struct mb_sink **ret_sink,
                                struct mb_error *err)
{
    const struct memory_endpoint_options *endpoint = params->endpoint;
    const struct mb_host *host = params->host;
    struct mb_sink *sink = host->alloc(host->context, sizeof *sink);
    uint32_t size = params->window_messages < RING_MAX ? params->window_messages : RING_MAX;

    *ret_sink = NULL;
    if (sink == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                            "no memory for a sink");
    memset(sink, 0, sizeof *sink);
    sink->host = host;
    sink->options = params->options;
    sink->store = endpoint->store;
    sink->is_templated = (params->names_templated & 1u) != 0;
    sink->ring_size = size > 0 ? size : 1;
    sink->ring = host->alloc(host->context, sink->ring_size * sizeof *sink->ring);
    if (sink->ring == NULL) {
        sink_close(sink);
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                            "no memory for a window of %u messages", params->window_messages);
    }
    *ret_sink = sink;
    return MB_OK;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    if (sink->ring_count > 0)
        wait->ready = true;
}

/* The next free place of the ring; the caller has made sure that there is one. */
static struct result *ring_add(struct mb_sink *sink, uint64_t sequence)
{
    uint32_t place = sink->ring_first + sink->ring_count++;
    struct result *result = &sink->ring[place < sink->ring_size ? place : place - sink->ring_size];

    *result = (struct result){.sequence = sequence, .offset = UINT64_MAX, .partition = -1};
    return result;
}

static void fail(struct result *result, enum mb_cause cause, const char *reason, const char *text)
{
    result->cause = cause;
    result->reason = reason;
    result->text = text;
}

/* Key or origin say where a message goes; without both all of a source go to one partition, so
 * that their order is kept. */
static uint32_t partition_of(const struct mb_sink *sink, const struct memory_stream *stream,
                             const struct mb_message *message)
{
    const struct mb_origin *origin = message->origin;

    if (stream->partitions_count == 1)
        return 0;
    if (sink->options->partition == MEMORY_PARTITION_PRESERVE && origin != NULL &&
        origin->partition >= 0 && (uint32_t)origin->partition < stream->partitions_count)
        return (uint32_t)origin->partition;
    if ((message->present & MB_HAS_KEY) != 0 && message->key.data != NULL)
        return (uint32_t)(memory_hash(message->key.data, message->key.size) %
                          stream->partitions_count);
    if (origin != NULL && origin->stream.data != NULL)
        return (uint32_t)(memory_hash(origin->stream.data, origin->stream.size) %
                          stream->partitions_count);
    return 0;
}

/* The store: the stream that a message goes to, or NULL. */
static struct memory_stream *find(struct mb_sink *sink, struct memory_store *store,
                                  struct mb_slice name)
{
    struct memory_stream *last = sink->last;

    if (name.data == NULL)
        return NULL;
    if (last == NULL || strlen(last->name) != name.size ||
        memcmp(last->name, name.data, name.size) != 0)
        sink->last = memory_stream_find(store, sink->store, name.data, name.size);
    return sink->last;
}

static enum mb_status pend(struct mb_sink *sink, struct memory_record *record,
                           struct memory_stream *stream, uint32_t partition)
{
    if (sink->pending == NULL)
        sink->pending =
            sink->host->alloc(sink->host->context, sink->ring_size * sizeof *sink->pending);
    if (sink->pending == NULL)
        return MB_NO_MEMORY;
    if (sink->pending_count == sink->ring_size)
        return MB_AGAIN;
    sink->pending[sink->pending_count++] = (struct pending){record, stream, partition};
    return MB_OK;
}

static enum mb_status append(struct mb_sink *sink, struct memory_record *record,
                             struct memory_stream *stream, uint32_t partition)
{
    record->stored_ms = sink->now_ms;
    return memory_stream_append(stream, partition, (uint64_t)sink->options->limit, record);
}

/* The store: takes one message, whatever becomes of it. */
static void store_one(struct mb_sink *sink, struct memory_store *store,
                      const struct mb_outgoing *item)
{
    struct result *result = ring_add(sink, item->sequence);
    struct memory_stream *stream = find(sink, store, item->names[0]);
    enum mb_cause cause;
    struct memory_record *record;
    enum mb_status status;

    if (stream == NULL) {
        fail(result, sink->is_templated ? MB_CAUSE_MESSAGE : MB_CAUSE_DESTINATION, "missing",
             "there is no stream of that name");
        return;
    }
    record = memory_record_create(item->message, &cause);
    if (record == NULL) {
        if (cause == MB_CAUSE_MESSAGE)
            fail(result, cause, "depth", "values are nested too deeply");
        else
            fail(result, MB_CAUSE_DESTINATION, "memory", "no memory for the message");
        return;
    }
    result->partition =
        stream->kind == MB_STREAM_LOG ? (int32_t)partition_of(sink, stream, item->message) : -1;
    status =
        sink->in_transaction
            ? pend(sink, record, stream, result->partition > 0 ? (uint32_t)result->partition : 0)
            : append(sink, record, stream, result->partition > 0 ? (uint32_t)result->partition : 0);
    if (status != MB_OK) {
        memory_record_destroy(record);
        fail(result, MB_CAUSE_DESTINATION, status == MB_AGAIN ? "full" : "memory",
             status == MB_AGAIN ? "the stream is full" : "no memory for the message");
    } else if (!sink->in_transaction && stream->kind == MB_STREAM_LOG) {
        result->offset = record->offset;
    }
}

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    size_t room = sink->ring_size - sink->ring_count;
    size_t taken = count < room ? count : room;
    struct memory_store *store;

    (void)err;
    if (sink->options->discard) {
        for (size_t i = 0; i < taken; i++)
            ring_add(sink, items[i].sequence);
    } else if (taken > 0) {
        sink->now_ms = sink->host->wall_ms(sink->host->context);
        store = memory_store_lock();
        for (size_t i = 0; i < taken; i++)
            store_one(sink, store, &items[i]);
        memory_store_unlock(store);
    }
    *ret_taken = taken;
    return taken < count ? MB_AGAIN : MB_OK;
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    size_t count = sink->ring_count < max ? sink->ring_count : max;

    (void)err;
    for (size_t i = 0; i < count; i++) {
        const struct result *result = &sink->ring[sink->ring_first];

        completions[i] = (struct mb_completion){.sequence = result->sequence,
                                                .cause = result->cause,
                                                .partition = result->partition,
                                                .reason = result->reason,
                                                .text = result->text};
        if (result->offset != UINT64_MAX)
            completions[i].position =
                (struct mb_position){.kind = MB_POSITION_OFFSET, .lo = result->offset};
        if (++sink->ring_first == sink->ring_size)
            sink->ring_first = 0;
    }
    sink->ring_count -= (uint32_t)count;
    *ret_count = count;
    return MB_OK;
}

/* Nothing lingers here, and there is no connection to look after. */
static enum mb_status sink_flush(struct mb_sink *sink, struct mb_error *err)
{
    (void)sink;
    (void)err;
    return MB_OK;
}

static enum mb_status sink_service(struct mb_sink *sink, struct mb_error *err)
{
    (void)sink;
    (void)err;
    return MB_OK;
}

static enum mb_status sink_begin(struct mb_sink *sink, struct mb_error *err)
{
    if (sink->in_transaction)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_CONNECTION, "transaction",
                            "a transaction has begun already");
    sink->in_transaction = true;
    return MB_OK;
}

static char *copy_text(const struct mb_host *host, const void *text, size_t size)
{
    char *copy = host->alloc(host->context, size + 1);

    if (copy == NULL)
        return NULL;
    if (size > 0)
        memcpy(copy, text, size);
    copy[size] = '\0';
    return copy;
}

static enum mb_status sink_positions(struct mb_sink *sink, const char *group,
                                     const struct mb_stored_position *positions, size_t count,
                                     struct mb_error *err)
{
    const struct mb_host *host = sink->host;

    if (!sink->in_transaction)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_CONNECTION, "transaction",
                            "positions belong to a transaction");
    forget_positions(sink);
    sink->group = copy_text(host, group, strlen(group));
    sink->positions = host->alloc(host->context, (count + 1) * sizeof *positions);
    if (sink->group == NULL || sink->positions == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                            "no memory for %zu positions", count);
    for (size_t i = 0; i < count; i++) {
        char *stream = copy_text(host, positions[i].stream.data, positions[i].stream.size);

        if (stream == NULL)
            return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                                "no memory for %zu positions", count);
        sink->positions[i] = positions[i];
        sink->positions[i].stream.data = stream;
        sink->positions_count++;
    }
    return MB_OK;
}

static enum mb_status sink_abort(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err)
{
    (void)timeout_ms;
    (void)err;
    forget_pending(sink);
    forget_positions(sink);
    sink->ring_first = sink->ring_count = 0;
    sink->in_transaction = false;
    return MB_OK;
}

/* The store: makes sure that nothing can fail half-way. */
static enum mb_status prepare_commit(struct mb_sink *sink, struct memory_store *store,
                                     struct mb_error *err)
{
    const struct memory_fence *fence;

    if (sink->group != NULL && sink->fence != 0) {
        fence = memory_fence_get(store, sink->store, sink->group);
        if (fence == NULL || fence->generation != sink->fence)
            return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "fenced",
                                "a later instance of group '%s' has taken over", sink->group);
    }
    for (size_t i = 0; i < sink->positions_count; i++) {
        struct mb_stored_position old = sink->positions[i];

        old.position = memory_stored_get(store, sink->store, sink->group, &old);
        if (memory_stored_set(store, sink->store, sink->group, &old) != MB_OK)
            return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_DESTINATION, "memory",
                                "no memory for a position");
    }
    for (uint32_t i = 0; i < sink->pending_count; i++) {
        const struct pending *pending = &sink->pending[i];

        if (memory_stream_reserve(pending->stream, pending->partition,
                                  (uint64_t)sink->options->limit, sink->pending_count) != MB_OK)
            return mb_error_set(err, MB_REJECTED, MB_CAUSE_DESTINATION, "full",
                                "stream '%s' has no room for the transaction",
                                pending->stream->name);
    }
    return MB_OK;
}

static enum mb_status sink_commit(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err)
{
    struct memory_store *store;
    enum mb_status status;

    (void)timeout_ms;
    if (!sink->in_transaction)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_CONNECTION, "transaction",
                            "no transaction has begun");
    sink->now_ms = sink->host->wall_ms(sink->host->context);
    store = memory_store_lock();
    status = prepare_commit(sink, store, err);
    if (status == MB_OK) {
        for (size_t i = 0; i < sink->positions_count; i++)
            memory_stored_set(store, sink->store, sink->group, &sink->positions[i]);
        for (uint32_t i = 0; i < sink->pending_count; i++)
            append(sink, sink->pending[i].record, sink->pending[i].stream,
                   sink->pending[i].partition);
    }
    memory_store_unlock(store);
    if (status != MB_OK)
        return status;
    sink->pending_count = 0;
    forget_positions(sink);
    sink->in_transaction = false;
    return MB_OK;
}

static enum mb_status sink_load_positions(struct mb_sink *sink, const char *group,
                                          struct mb_stored_position *positions, size_t count,
                                          uint32_t timeout_ms, struct mb_error *err)
{
    struct memory_store *store = memory_store_lock();
    struct memory_fence *fence = memory_fence_get(store, sink->store, group);

    (void)timeout_ms;
    if (fence != NULL) {
        sink->fence = ++fence->generation;
        for (size_t i = 0; i < count; i++)
            positions[i].position = memory_stored_get(store, sink->store, group, &positions[i]);
    }
    memory_store_unlock(store);
    if (fence == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                            "no memory for group '%s'", group);
    return MB_OK;
}

const struct mb_sink_ops memory_sink_ops = {
    .struct_size = sizeof memory_sink_ops,
    .traits = sink_traits,
    .open = sink_open,
    .fds = sink_fds,
    .send = sink_send,
    .completions = sink_completions,
    .flush = sink_flush,
    .service = sink_service,
    .close = sink_close,
    .begin = sink_begin,
    .positions = sink_positions,
    .commit = sink_commit,
    .abort = sink_abort,
    .load_positions = sink_load_positions,
};
