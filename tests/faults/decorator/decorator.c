/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor is the inner module's, with other operations. Which fault and which module is said
 * at compile time, so that a configuration needs no option for it.
 */
#include "decorator.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

struct mb_source {
    const struct mb_source_ops *ops;
    struct mb_source *inner;
};

/* What mbridge_backend returns is put together when it is first called: the inner module's tables
 * are not known before. Unchanged afterwards. */
static struct {
    pthread_once_t once;
    const struct mb_backend *inner;
    struct mb_backend backend;
    struct mb_source_ops source;
    struct mb_sink_ops sink;
} decorated = {.once = PTHREAD_ONCE_INIT};

/* ---- the source ---- */

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    struct mb_source *source = calloc(1, sizeof *source);
    enum mb_status status;

    *ret_source = NULL;
    if (source == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    source->ops = decorated.inner->source;
    status = source->ops->open(params, &source->inner, err);
    if (status != MB_OK) {
        free(source);
        return status;
    }
    *ret_source = source;
    return MB_OK;
}

static void source_fds(struct mb_source *source, struct mb_wait *wait)
{
    source->ops->fds(source->inner, wait);
}

static enum mb_status source_poll(struct mb_source *source, struct mb_batch *batch,
                                  struct mb_error *err)
{
    enum mb_status status = source->ops->poll(source->inner, batch, err);

    for (uint32_t i = 0; i < batch->count; i++) {
        const struct mb_message *message = batch->messages[i];
        struct mb_ack ack = {message->scope,   message->epoch, message->token, MB_ACCEPTED, 1,
                             message->position};
        struct mb_error unused;

        source->ops->ack(source->inner, &ack, 1, &unused);
    }
    return status;
}

static enum mb_status source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                 struct mb_error *err)
{
    (void)source;
    (void)acks;
    (void)count;
    (void)err;
    return MB_OK;
}

static enum mb_status source_commit(struct mb_source *source, uint32_t wait_ms,
                                    struct mb_error *err)
{
    return source->ops->commit(source->inner, wait_ms, err);
}

static enum mb_status source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                   size_t count, struct mb_error *err)
{
    return source->ops->start(source->inner, starts, count, err);
}

static enum mb_status source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                                  struct mb_error *err)
{
    return source->ops->stop(source->inner, scopes, count, err);
}

static void source_pause(struct mb_source *source, bool paused)
{
    if (source->ops->pause != NULL)
        source->ops->pause(source->inner, paused);
}

static enum mb_status source_service(struct mb_source *source, struct mb_error *err)
{
    return source->ops->service(source->inner, err);
}

static void source_close(struct mb_source *source)
{
    if (source == NULL)
        return;
    source->ops->close(source->inner);
    free(source);
}

/* ---- the sink ---- */

/* Without transactions: a fault inside of one would be undone by it. */
static uint64_t sink_traits(const void *endpoint, const void *options)
{
    return decorated.inner->sink->traits(endpoint, options) &
           ~(uint64_t)(MB_SINK_TRANSACTIONS | MB_SINK_STORES_POSITIONS | MB_SINK_TELLS_POSITION);
}

static void sink_close(struct mb_sink *sink)
{
    if (sink == NULL)
        return;
    sink->ops->close(sink->inner);
    early_destroy(sink->early);
    free(sink);
}

static enum mb_status sink_open(const struct mb_open_params *params, struct mb_sink **ret_sink,
                                struct mb_error *err)
{
    struct mb_sink *sink = calloc(1, sizeof *sink);
    enum mb_status status;

    *ret_sink = NULL;
    if (sink == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    sink->ops = decorated.inner->sink;
    sink->host = params->host;
    status = sink->ops->open(params, &sink->inner, err);
    if (status == MB_OK && DECORATOR_FAULT == FAULT_EARLY_ACK) {
        sink->early = early_create(params);
        if (sink->early == NULL)
            status =
                mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    }
    if (status != MB_OK) {
        sink_close(sink);
        return status;
    }
    *ret_sink = sink;
    return MB_OK;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    sink->ops->fds(sink->inner, wait);
    if (sink->early != NULL)
        early_fds(sink, wait);
    if (sink->dropped_count > 0)
        wait->ready = true;
}

/* The first of items goes nowhere. */
static enum mb_status drop_first(struct mb_sink *sink, const struct mb_outgoing *items,
                                 size_t *ret_taken)
{
    sink->dropped[sink->dropped_count++] = items[0].sequence;
    sink->count++;
    *ret_taken = 1;
    return MB_AGAIN;
}

static bool is_same(struct mb_slice a, struct mb_slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* The next of items whose order with the first one matters; 0: none. */
static size_t find_next(const struct mb_outgoing *items, size_t count)
{
    const struct mb_message *first = items[0].message;

    for (size_t i = 1; i < count && i < SWAP_DISTANCE_MAX; i++) {
        if (is_same(items[i].message->key, first->key) &&
            is_same(items[i].message->routing_key, first->routing_key))
            return i;
    }
    return 0;
}

/* The messages of the first of items and the one at place change places, their sequences stay. */
static enum mb_status send_swapped(struct mb_sink *sink, const struct mb_outgoing *items,
                                   size_t place, size_t *ret_taken, struct mb_error *err)
{
    struct mb_outgoing swapped[SWAP_DISTANCE_MAX];
    enum mb_status status;

    memcpy(swapped, items, (place + 1) * sizeof *items);
    swapped[0] = items[place];
    swapped[place] = items[0];
    swapped[0].sequence = items[0].sequence;
    swapped[place].sequence = items[place].sequence;
    status = sink->ops->send(sink->inner, swapped, place + 1, ret_taken, err);
    sink->count += *ret_taken;
    return status == MB_OK ? MB_AGAIN : status;
}

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    uint64_t every = DECORATOR_FAULT == FAULT_DROP   ? DROP_EVERY
                     : DECORATOR_FAULT == FAULT_SWAP ? SWAP_EVERY
                                                     : UINT64_MAX;
    uint64_t until = every - sink->count % every;
    enum mb_status status;

    if (sink->early != NULL)
        return early_send(sink, items, count, ret_taken);
    if (until == 1 && DECORATOR_FAULT == FAULT_DROP && count > 0 &&
        sink->dropped_count < sizeof sink->dropped / sizeof sink->dropped[0])
        return drop_first(sink, items, ret_taken);
    if (until == 1 && DECORATOR_FAULT == FAULT_SWAP && count > 1 && find_next(items, count) > 0)
        return send_swapped(sink, items, find_next(items, count), ret_taken, err);
    if (until > 1 && count >= until)
        count = (size_t)until - 1;
    else
        until = 0;
    status = sink->ops->send(sink->inner, items, count, ret_taken, err);
    sink->count += *ret_taken;
    return status == MB_OK && until > 0 ? MB_AGAIN : status;
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    enum mb_status status;

    if (sink->early != NULL)
        return early_completions(sink, completions, max, ret_count, err);
    status = sink->ops->completions(sink->inner, completions, max, ret_count, err);
    while (sink->dropped_count > 0 && *ret_count < max) {
        completions[(*ret_count)++] = (struct mb_completion){
            .sequence = sink->dropped[--sink->dropped_count], .partition = -1};
    }
    for (size_t i = 0; DECORATOR_FAULT == FAULT_IGNORE_FAILURES && i < *ret_count; i++)
        completions[i].cause = MB_CAUSE_NONE;
    return status;
}

static enum mb_status sink_flush(struct mb_sink *sink, struct mb_error *err)
{
    return sink->ops->flush(sink->inner, err);
}

static enum mb_status sink_service(struct mb_sink *sink, struct mb_error *err)
{
    if (sink->early != NULL)
        return early_service(sink, err);
    return sink->ops->service(sink->inner, err);
}

/* ---- the descriptor ---- */

static void load(void)
{
    void *module = dlopen(DECORATOR_INNER, RTLD_NOW | RTLD_LOCAL);
    mb_backend_entry *entry = NULL;
    void *symbol = module != NULL ? dlsym(module, MB_BACKEND_SYMBOL) : NULL;

    if (symbol == NULL)
        return;
    memcpy(&entry, &symbol, sizeof entry);
    decorated.inner = entry();
    decorated.backend = *decorated.inner;
    decorated.source = (struct mb_source_ops){
        .struct_size = sizeof decorated.source,
        .traits = decorated.inner->source->traits,
        .open = source_open,
        .fds = source_fds,
        .poll = source_poll,
        .ack = source_ack,
        .commit = decorated.inner->source->commit != NULL ? source_commit : NULL,
        .start = source_start,
        .stop = source_stop,
        .pause = source_pause,
        .service = source_service,
        .close = source_close,
    };
    decorated.sink = (struct mb_sink_ops){
        .struct_size = sizeof decorated.sink,
        .traits = sink_traits,
        .open = sink_open,
        .fds = sink_fds,
        .send = sink_send,
        .completions = sink_completions,
        .flush = sink_flush,
        .service = sink_service,
        .close = sink_close,
    };
    if (DECORATOR_FAULT == FAULT_ACK_AT_POLL)
        decorated.backend.source = &decorated.source;
    else
        decorated.backend.sink = &decorated.sink;
}

MB_EXPORT mb_backend_entry mbridge_backend;

const struct mb_backend *mbridge_backend(void)
{
    pthread_once(&decorated.once, load);
    return decorated.inner != NULL ? &decorated.backend : NULL;
}
