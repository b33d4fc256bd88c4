/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source: reads logs as a member of a group, takes from queues, or generates.
 *
 * In the order of any backend's file: the instance (memory_source.h), open and close, the methods,
 * the table.
 */
#include "memory_source.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HELD_MAX (1u << 20)

static bool generates(const struct mb_source *source)
{
    return source->options->generate_count > 0;
}

static uint64_t source_traits(const void *endpoint, const void *source_options)
{
    const struct memory_source_options *options = source_options;

    (void)endpoint;
    if (options->generate_count > 0)
        return MB_SOURCE_ACKS_IN_ORDER | MB_SOURCE_DIVIDES_BY_KEY | MB_SOURCE_SEEKS |
               MB_SOURCE_PARTITIONED | MB_SOURCE_COMMITS;
    if (options->kind == MB_STREAM_QUEUE)
        return MB_SOURCE_EXCLUSIVE | MB_SOURCE_CONSUMES;
    return MB_SOURCE_ACKS_IN_ORDER | MB_SOURCE_DIVIDES_BY_KEY | MB_SOURCE_SEEKS |
           MB_SOURCE_PARTITIONED | MB_SOURCE_COMMITS;
}

/* The names to read: those the core resolved, else the options'. */
static size_t names_of(const struct mb_open_params *params, const char *const **ret_names)
{
    const struct memory_source_options *options = params->options;

    if (params->streams != NULL && params->streams->count > 0) {
        *ret_names = params->streams->items;
        return params->streams->count;
    }
    if (options->stream != NULL) {
        *ret_names = &options->stream;
        return 1;
    }
    *ret_names = options->streams.items;
    return options->streams.count;
}

static enum mb_status make_held(struct mb_source *source, uint32_t window_messages,
                                struct mb_error *err)
{
    if (source->options->kind != MB_STREAM_QUEUE || generates(source))
        return MB_OK;
    source->held_size = window_messages == 0         ? 1
                        : window_messages < HELD_MAX ? window_messages
                                                     : HELD_MAX;
    source->held = memory_zalloc(source->host, source->held_size, sizeof *source->held);
    if (source->held == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                            "no memory for a window of %u messages", window_messages);
    for (uint32_t i = 0; i < source->held_size; i++)
        source->held[i].next_free = i + 1;
    return MB_OK;
}

static void source_close(struct mb_source *source)
{
    struct memory_store *store;
    struct mb_error unused;

    if (source == NULL)
        return;
    if (generates(source))
        memory_generate_commit(source, false, &unused);
    else
        memory_scope_commit(source, false);
    store = memory_store_lock();
    memory_scope_return_held(source, UINT32_MAX);
    memory_streams_leave(source);
    memory_store_unlock(store);
    for (size_t i = 0; i < source->members_count; i++)
        source->host->release(source->host->context, source->members[i]);
    if (source->wake.fd >= 0)
        close(source->wake.fd);
    source->host->release(source->host->context, source->held);
    source->host->release(source->host->context, source->scopes);
    source->host->release(source->host->context, source->members);
    source->host->release(source->host->context, source);
}

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    const struct memory_endpoint_options *endpoint = params->endpoint;
    const struct mb_host *host = params->host;
    struct mb_source *source = memory_zalloc(host, 1, sizeof *source);
    const char *const *names;
    size_t count = names_of(params, &names);
    struct memory_store *store;
    enum mb_status status;

    *ret_source = NULL;
    if (source == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                            "no memory for a source");
    source->host = host;
    source->options = params->options;
    source->store = endpoint->store;
    source->group = source->options->group != NULL ? source->options->group : params->default_group;
    source->lane = params->lane;
    source->exclusive = params->ordered;
    source->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (source->wake.fd < 0)
        status = mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "descriptors",
                              "eventfd: %s", strerror(errno));
    else
        status = make_held(source, params->window_messages, err);
    if (status == MB_OK && generates(source)) {
        memory_generate_open(source);
    } else if (status == MB_OK) {
        store = memory_store_lock();
        status = memory_streams_join(source, store, names, count, err);
        memory_store_unlock(store);
    }
    if (status != MB_OK) {
        /* What is half open has no scopes that close could commit. */
        source->scopes_count = 0;
        source_close(source);
        return status;
    }
    *ret_source = source;
    return MB_OK;
}

/* The store. */
static bool has_message(const struct mb_source *source, const struct memory_scope *scope)
{
    const struct memory_stream *stream = scope->member->group->stream;

    if (scope->state != MEMORY_SCOPE_STARTED)
        return false;
    if (stream->kind == MB_STREAM_QUEUE)
        return stream->ready > 0 && source->held_count < source->held_size;
    return scope->next < stream->partitions[scope->partition].end;
}

static void source_fds(struct mb_source *source, struct mb_wait *wait)
{
    struct memory_store *store;

    if (generates(source)) {
        memory_generate_fds(source, wait);
        return;
    }
    store = memory_store_lock();
    for (size_t i = 0; i < source->members_count; i++) {
        const struct memory_member *member = source->members[i];
        int64_t deadline_ms = memory_group_deadline(member->group);

        wait->ready = wait->ready || member->changed;
        if (!member->away && deadline_ms < wait->deadline_ms)
            wait->deadline_ms = deadline_ms;
    }
    for (size_t i = 0; !wait->ready && !source->paused && i < source->scopes_count; i++)
        wait->ready = has_message(source, &source->scopes[i]);
    source->wake.armed = true;
    source->wake.wants_messages = !source->paused;
    memory_store_unlock(store);
    wait->fds[wait->count].fd = source->wake.fd;
    wait->fds[wait->count].events = POLLIN;
    wait->count++;
}

/* The store: makes one message from what comes next in the scope. */
static enum mb_status load(struct mb_source *source, struct memory_scope *scope,
                           struct mb_batch *batch)
{
    struct memory_stream *stream = scope->member->group->stream;
    struct memory_partition *partition = &stream->partitions[scope->partition];
    struct mb_message *message = batch->messages[batch->count];
    struct memory_record *record =
        stream->kind == MB_STREAM_QUEUE
            ? partition->first
            : partition->records[scope->next & (partition->capacity - 1)];
    uint32_t place = source->held_free;

    if (memory_record_load(record, batch->arena, message) != MB_OK)
        return MB_NO_MEMORY;
    message->scope = (uint32_t)(scope - source->scopes);
    message->epoch = scope->epoch;
    if (stream->kind == MB_STREAM_LOG) {
        message->token = scope->next;
        message->position = (struct mb_position){.kind = MB_POSITION_OFFSET, .lo = scope->next};
        scope->next++;
    } else {
        message->token = ++source->held_turn * source->held_size + place;
        source->held_free = source->held[place].next_free;
        source->held[place] = (struct memory_held){.record = memory_queue_take(stream),
                                                   .token = message->token,
                                                   .scope = message->scope,
                                                   .epoch = message->epoch};
        source->held_count++;
    }
    batch->count++;
    batch->bytes += record->bytes;
    return MB_OK;
}

/* What retention took away before it was read is told, and skipped. */
static void pass_loss(struct mb_source *source, struct memory_store *store,
                      struct memory_scope *scope)
{
    const struct memory_stream *stream = scope->member->group->stream;
    uint64_t begin = stream->partitions[scope->partition].begin;
    struct mb_event event = {.struct_size = sizeof event,
                             .kind = MB_EVENT_LOSS,
                             .scope = (uint32_t)(scope - source->scopes),
                             .epoch = scope->epoch,
                             .count = begin - scope->next,
                             .stream = {stream->name, strlen(stream->name)},
                             .partition = (int32_t)scope->partition,
                             .position = {.kind = MB_POSITION_OFFSET, .lo = scope->next},
                             .end = {.kind = MB_POSITION_OFFSET, .lo = begin}};

    scope->next = begin;
    memory_store_unlock(store);
    source->host->event(source->host->context, &event);
    memory_store_lock();
}

static enum mb_status poll_scopes(struct mb_source *source, struct memory_store *store,
                                  struct mb_batch *batch)
{
    for (size_t i = 0; i < source->scopes_count; i++) {
        struct memory_scope *scope = &source->scopes[(source->turn + i) % source->scopes_count];
        const struct memory_stream *stream = scope->member->group->stream;

        while (has_message(source, scope)) {
            if (stream->kind == MB_STREAM_LOG &&
                scope->next < stream->partitions[scope->partition].begin) {
                pass_loss(source, store, scope);
                continue;
            }
            if (batch->count == batch->count_max ||
                (batch->count > 0 && batch->bytes >= batch->bytes_max)) {
                source->turn = (source->turn + i + 1) % source->scopes_count;
                return MB_OK;
            }
            if (load(source, scope, batch) != MB_OK)
                return batch->count > 0 ? MB_OK : MB_NO_MEMORY;
        }
    }
    return MB_OK;
}

static enum mb_status source_poll(struct mb_source *source, struct mb_batch *batch,
                                  struct mb_error *err)
{
    struct memory_store *store;
    enum mb_status status;

    if (generates(source))
        return memory_generate_poll(source, batch, err);
    store = memory_store_lock();
    status = poll_scopes(source, store, batch);
    memory_store_unlock(store);
    if (status != MB_OK)
        return mb_error_set(err, status, MB_CAUSE_CONNECTION, "memory", "no memory for a message");
    return MB_OK;
}

static enum mb_status source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                 struct mb_error *err)
{
    struct memory_store *store;

    (void)err;
    if (generates(source)) {
        for (size_t i = 0; i < count; i++)
            memory_generate_ack(source, &acks[i]);
        return MB_OK;
    }
    store = memory_store_lock();
    for (size_t i = 0; i < count; i++)
        memory_scope_ack(source, &acks[i]);
    memory_store_unlock(store);
    return MB_OK;
}

static enum mb_status source_commit(struct mb_source *source, uint32_t wait_ms,
                                    struct mb_error *err)
{
    (void)wait_ms; /* storing is done on return */
    if (generates(source))
        return memory_generate_commit(source, true, err);
    memory_scope_commit(source, true);
    return MB_OK;
}

static enum mb_status source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                   size_t count, struct mb_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (starts[i].scope >= (generates(source) ? 1 : source->scopes_count))
            return mb_error_set(err, MB_INVALID, MB_CAUSE_CONNECTION, "scope",
                                "there is no scope %u", starts[i].scope);
        if (generates(source))
            memory_generate_start(source, &starts[i]);
        else
            memory_scope_start(source, &starts[i]);
    }
    return MB_OK;
}

static enum mb_status source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                                  struct mb_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (generates(source))
            source->generator.state = MEMORY_SCOPE_ASSIGNED;
        else if (scopes[i] < source->scopes_count)
            memory_scope_stop(source, scopes[i]);
        else
            return mb_error_set(err, MB_INVALID, MB_CAUSE_CONNECTION, "scope",
                                "there is no scope %u", scopes[i]);
    }
    return MB_OK;
}

static void source_pause(struct mb_source *source, bool paused)
{
    source->paused = paused;
}

static enum mb_status source_streams(struct mb_source *source, const struct mb_strings *streams,
                                     struct mb_error *err)
{
    return generates(source) ? MB_OK : memory_streams_change(source, streams, err);
}

static enum mb_status source_service(struct mb_source *source, struct mb_error *err)
{
    (void)err;
    if (!generates(source))
        return memory_scope_service(source);
    memory_generate_service(source);
    return MB_OK;
}

const struct mb_source_ops memory_source_ops = {
    .struct_size = sizeof memory_source_ops,
    .traits = source_traits,
    .open = source_open,
    .fds = source_fds,
    .poll = source_poll,
    .ack = source_ack,
    .commit = source_commit,
    .start = source_start,
    .stop = source_stop,
    .pause = source_pause,
    .service = source_service,
    .close = source_close,
    .streams = source_streams,
};
