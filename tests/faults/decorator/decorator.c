/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor is the inner module's, with other operations. Which fault and which module is said
 * in the module (decorator_fault.c), so that a configuration needs no option for it.
 */
#include "decorator.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

/* What mbridge_backend returns is put together when it is first called: the inner module's tables
 * are not known before. Unchanged afterwards. */
static struct {
    pthread_once_t once;
    const struct mb_backend *inner;
    struct mb_backend backend;
    struct mb_source_ops source;
    struct mb_sink_ops sink;
} decorated = {.once = PTHREAD_ONCE_INIT};

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
    changed_destroy(&sink->changed);
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
    if (status == MB_OK && decorator_fault == FAULT_EARLY_ACK) {
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
    *ret_taken = 0;
    if (sink->dropped_count == sizeof sink->dropped / sizeof sink->dropped[0])
        return MB_AGAIN;
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
            is_same(mb_properties_of(items[i].message)->routing_key,
                    mb_properties_of(first)->routing_key))
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

/* One in how many messages the fault is for. */
static uint64_t every(void)
{
    if (decorator_fault == FAULT_DROP)
        return DROP_EVERY;
    if (decorator_fault == FAULT_BLACK_HOLE)
        return 1;
    if (decorator_fault == FAULT_SWAP || decorator_fault == FAULT_CORRUPT ||
        decorator_fault == FAULT_DROP_HEADER || decorator_fault == FAULT_KEYLESS)
        return SWAP_EVERY;
    return UINT64_MAX;
}

/* The one message that the fault is for is the first of items. */
static enum mb_status send_faulty(struct mb_sink *sink, const struct mb_outgoing *items,
                                  size_t count, size_t *ret_taken, struct mb_error *err)
{
    struct mb_outgoing item = items[0];
    enum mb_status status;

    if (decorator_fault == FAULT_DROP || decorator_fault == FAULT_BLACK_HOLE)
        return drop_first(sink, items, ret_taken);
    if (decorator_fault == FAULT_SWAP && count > 1 && find_next(items, count) > 0)
        return send_swapped(sink, items, find_next(items, count), ret_taken, err);
    if (decorator_fault != FAULT_SWAP)
        change(&sink->changed, &item);
    status = sink->ops->send(sink->inner, &item, 1, ret_taken, err);
    sink->count += *ret_taken;
    return status == MB_OK && count > 1 ? MB_AGAIN : status;
}

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    uint64_t until = every() - sink->count % every();
    enum mb_status status;
    bool cut;

    if (sink->early != NULL)
        return early_send(sink, items, count, ret_taken);
    if (until == 1 && count > 0)
        return send_faulty(sink, items, count, ret_taken, err);
    cut = count >= until;
    if (cut)
        count = (size_t)until - 1;
    status = sink->ops->send(sink->inner, items, count, ret_taken, err);
    sink->count += *ret_taken;
    return status == MB_OK && cut ? MB_AGAIN : status;
}

/* Now and then a result is forgotten, or a confirm is told as a refusal. */
static size_t falsify(struct mb_sink *sink, struct mb_completion *completions, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        bool chosen = ++sink->results % DROP_EVERY == 0;

        if (chosen && decorator_fault == FAULT_FORGET_RESULT)
            continue;
        completions[kept] = completions[i];
        if (chosen && decorator_fault == FAULT_DENY && completions[kept].cause == MB_CAUSE_NONE) {
            completions[kept].cause = MB_CAUSE_DESTINATION;
            completions[kept].reason = "denied";
            completions[kept].text = "denied after it was confirmed";
        }
        if (decorator_fault == FAULT_IGNORE_FAILURES)
            completions[kept].cause = MB_CAUSE_NONE;
        kept++;
    }
    return kept;
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    enum mb_status status;

    if (sink->early != NULL)
        return early_completions(sink, completions, max, ret_count, err);
    status = sink->ops->completions(sink->inner, completions, max, ret_count, err);
    *ret_count = falsify(sink, completions, *ret_count);
    while (sink->dropped_count > 0 && *ret_count < max) {
        completions[(*ret_count)++] = (struct mb_completion){
            .sequence = sink->dropped[--sink->dropped_count], .partition = -1};
    }
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
    void *module = dlopen(decorator_inner, RTLD_NOW | RTLD_LOCAL);
    mb_backend_entry *entry = NULL;
    void *symbol = module != NULL ? dlsym(module, MB_BACKEND_SYMBOL) : NULL;

    if (symbol == NULL)
        return;
    memcpy(&entry, &symbol, sizeof entry);
    decorated.inner = entry();
    decorated.backend = *decorated.inner;
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
    if (source_has_fault())
        decorated.backend.source = source_decorate(decorated.inner->source, &decorated.source);
    else
        decorated.backend.sink = &decorated.sink;
}

MB_EXPORT mb_backend_entry mbridge_backend;

const struct mb_backend *mbridge_backend(void)
{
    pthread_once(&decorated.once, load);
    return decorated.inner != NULL ? &decorated.backend : NULL;
}
