/* SPDX-License-Identifier: Apache-2.0 */
#include "faulty.h"

#include <stdlib.h>

/* Operations are told nothing but their instance, and open nothing of what is planted: the one
 * place from which they can learn it is this. One test runs at a time. */
static struct {
    enum fault fault;
    struct mb_backend backend;
    struct mb_source_ops source;
    struct mb_sink_ops sink;
    const struct mb_backend *inner;
    const struct mb_host *closed_host;
    void *leak; /* the sanitizer need not find what the suite is to find */
} planted;

struct mb_source {
    struct mb_source *inner;
    const struct mb_host *host;
    bool started;
    uint64_t polls;
    struct mb_event unacked; /* COMMITTED for what came last */
};

struct mb_sink {
    struct mb_sink *inner;
    const struct mb_host *host;
    uint64_t count;
    struct mb_completion again;
    bool has_again;
};

/* ---- sources ---- */

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    struct mb_source *source = calloc(1, sizeof *source);
    enum mb_status status;

    if (source == NULL)
        abort();
    status = planted.inner->source->open(params, &source->inner, err);
    source->host = params->host;
    *ret_source = source;
    if (planted.fault == FAULT_LEAKS)
        planted.leak = params->host->alloc(params->host->context, 8);
    if (planted.fault == FAULT_OPEN_FAILS_BADLY) {
        planted.inner->source->close(source->inner);
        free(source);
        *ret_source = (struct mb_source *)&planted;
        memset(err, 0, sizeof *err);
        return MB_DENIED;
    }
    if (status != MB_OK) {
        free(source);
        *ret_source = NULL;
    }
    return status;
}

static void source_fds(struct mb_source *source, struct mb_wait *wait)
{
    planted.inner->source->fds(source->inner, wait);
    if (planted.fault == FAULT_BUSY)
        wait->ready = true;
}

/* A message out of nothing. */
static void invent(struct mb_batch *batch)
{
    batch->messages[0]->epoch = 1;
    batch->messages[0]->body = MB_SLICE_LITERAL("number 0");
    batch->count = 1;
}

static void ack_batch(struct mb_source *source, const struct mb_batch *batch)
{
    struct mb_error err;

    for (uint32_t i = 0; i < batch->count; i++) {
        struct mb_ack ack = {batch->messages[i]->scope,
                             batch->messages[i]->epoch,
                             batch->messages[i]->token,
                             MB_ACCEPTED,
                             1,
                             {0}};

        planted.inner->source->ack(source->inner, &ack, 1, &err);
    }
}

static void spoil_batch(struct mb_source *source, struct mb_batch *batch)
{
    switch ((int)planted.fault) {
    case FAULT_STALE_EPOCH:
        if (batch->count > 0)
            batch->messages[batch->count - 1]->epoch--;
        break;
    case FAULT_TOKEN_GOES_BACK:
        if (batch->count > 1)
            batch->messages[batch->count - 1]->token = batch->messages[0]->token;
        break;
    case FAULT_BEFORE_START:
        if (!source->started && batch->count == 0)
            invent(batch);
        break;
    case FAULT_BATCH_TOO_LONG:
        if (batch->count == batch->count_max)
            batch->count++;
        break;
    case FAULT_TAKES_STRIDE:
        if (batch->count > 1)
            memcpy(batch->messages[0] + 1, batch->messages[1], 8);
        break;
    case FAULT_HIDES_LOSS:
        if (batch->count > 0)
            batch->messages[0]->present &= ~(uint32_t)MB_HAS_CONTENT_TYPE;
        break;
    case FAULT_ACKS_AT_POLL:
        ack_batch(source, batch);
        break;
    case FAULT_COMMITS_UNACKED:
        if (batch->count > 0) {
            const struct mb_message *last = batch->messages[batch->count - 1];

            source->unacked = (struct mb_event){.struct_size = sizeof source->unacked,
                                                .kind = MB_EVENT_COMMITTED,
                                                .scope = last->scope,
                                                .epoch = last->epoch,
                                                .token = last->token};
        }
        break;
    default:
        break;
    }
}

static enum mb_status source_poll(struct mb_source *source, struct mb_batch *batch,
                                  struct mb_error *err)
{
    const struct mb_event event = {.struct_size = sizeof event, .kind = MB_EVENT_UP};
    enum mb_status status = planted.inner->source->poll(source->inner, batch, err);

    spoil_batch(source, batch);
    if (planted.fault == FAULT_AFTER_CLOSE && planted.closed_host != NULL)
        planted.closed_host->event(planted.closed_host->context, &event);
    return status;
}

static enum mb_status source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                 struct mb_error *err)
{
    if (planted.fault == FAULT_FORGETS_ACKS)
        return MB_OK;
    return planted.inner->source->ack(source->inner, acks, count, err);
}

static enum mb_status source_commit(struct mb_source *source, uint32_t wait_ms,
                                    struct mb_error *err)
{
    if (planted.fault == FAULT_COMMITS_UNACKED)
        source->host->event(source->host->context, &source->unacked);
    return planted.inner->source->commit(source->inner, wait_ms, err);
}

static enum mb_status source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                   size_t count, struct mb_error *err)
{
    source->started = true;
    return planted.inner->source->start(source->inner, starts, count, err);
}

static enum mb_status source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                                  struct mb_error *err)
{
    if (planted.fault == FAULT_KEEPS_REVOKED)
        return MB_OK;
    return planted.inner->source->stop(source->inner, scopes, count, err);
}

static enum mb_status source_service(struct mb_source *source, struct mb_error *err)
{
    return planted.inner->source->service(source->inner, err);
}

static enum mb_status source_streams(struct mb_source *source, const struct mb_strings *streams,
                                     struct mb_error *err)
{
    if (planted.fault == FAULT_IGNORES_STREAMS)
        return MB_OK;
    return planted.inner->source->streams(source->inner, streams, err);
}

static void source_close(struct mb_source *source)
{
    if (source == NULL)
        return;
    planted.closed_host = source->host;
    planted.inner->source->close(source->inner);
    free(source);
}

/* ---- sinks ---- */

static enum mb_status sink_open(const struct mb_open_params *params, struct mb_sink **ret_sink,
                                struct mb_error *err)
{
    struct mb_sink *sink = calloc(1, sizeof *sink);
    enum mb_status status;

    if (sink == NULL)
        abort();
    status = planted.inner->sink->open(params, &sink->inner, err);
    sink->host = params->host;
    if (status != MB_OK) {
        free(sink);
        return status;
    }
    *ret_sink = sink;
    return MB_OK;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    planted.inner->sink->fds(sink->inner, wait);
}

static enum mb_status send_reversed(struct mb_sink *sink, const struct mb_outgoing *items,
                                    size_t count, size_t *ret_taken, struct mb_error *err)
{
    struct mb_outgoing *reversed = calloc(count, sizeof *reversed);
    enum mb_status status;

    if (reversed == NULL)
        abort();
    for (size_t i = 0; i < count; i++)
        reversed[i] = items[count - 1 - i];
    status = planted.inner->sink->send(sink->inner, reversed, count, ret_taken, err);
    free(reversed);
    return status;
}

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    enum mb_status status;

    if (planted.fault == FAULT_TAKES_OUT_OF_ORDER)
        return send_reversed(sink, items, count, ret_taken, err);
    if (planted.fault == FAULT_CONFIRMS_UNSTORED && !sink->has_again && count > 1) {
        sink->again = (struct mb_completion){.sequence = items[0].sequence,
                                             .position = {.kind = MB_POSITION_OFFSET}};
        sink->has_again = true;
        status = planted.inner->sink->send(sink->inner, items + 1, count - 1, ret_taken, err);
        ++*ret_taken;
        return status;
    }
    status = planted.inner->sink->send(sink->inner, items, count, ret_taken, err);
    if (planted.fault == FAULT_TAKES_TOO_MANY)
        *ret_taken = count + 1;
    return status;
}

static void spoil_completions(struct mb_sink *sink, struct mb_completion *completions, size_t max,
                              size_t *count)
{
    if (*count == 0)
        return;
    switch ((int)planted.fault) {
    case FAULT_COMPLETES_TWICE:
        if (sink->count == 0 && *count < max)
            completions[(*count)++] = completions[0];
        else if (sink->count == 0)
            completions[max - 1] = completions[0];
        break;
    case FAULT_NEVER_COMPLETES:
        if (sink->count == 0)
            --*count;
        break;
    case FAULT_COMPLETES_UNKNOWN:
        completions[0].sequence += 5000;
        break;
    case FAULT_COMPLETES_TOO_MANY:
        *count = max + 1;
        break;
    case FAULT_FAILS_WITHOUT_REASON:
        completions[0].cause = MB_CAUSE_DESTINATION;
        break;
    case FAULT_HIDES_POSITION:
        completions[0].position.kind = MB_POSITION_NONE;
        break;
    default:
        break;
    }
    sink->count += *count;
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    enum mb_status status =
        planted.inner->sink->completions(sink->inner, completions, max, ret_count, err);

    spoil_completions(sink, completions, max, ret_count);
    if (sink->has_again && *ret_count < max) {
        completions[(*ret_count)++] = sink->again;
        sink->has_again = false;
    }
    return status;
}

static enum mb_status sink_flush(struct mb_sink *sink, struct mb_error *err)
{
    return planted.inner->sink->flush(sink->inner, err);
}

static enum mb_status sink_service(struct mb_sink *sink, struct mb_error *err)
{
    return planted.inner->sink->service(sink->inner, err);
}

static void sink_close(struct mb_sink *sink)
{
    if (sink == NULL)
        return;
    planted.inner->sink->close(sink->inner);
    free(sink);
}

const struct mb_backend *faulty_backend(const struct mb_backend *inner, enum fault fault)
{
    planted.fault = fault;
    planted.inner = inner;
    planted.closed_host = NULL;
    planted.backend = *inner;
    planted.backend.source = &planted.source;
    planted.backend.sink = &planted.sink;
    planted.source = (struct mb_source_ops){
        .struct_size = sizeof planted.source,
        .traits = inner->source->traits,
        .open = source_open,
        .fds = source_fds,
        .poll = source_poll,
        .ack = source_ack,
        .commit = source_commit,
        .start = source_start,
        .stop = source_stop,
        .service = source_service,
        .close = source_close,
        .streams = source_streams,
    };
    planted.sink = (struct mb_sink_ops){
        .struct_size = sizeof planted.sink,
        .traits = inner->sink->traits,
        .open = sink_open,
        .fds = sink_fds,
        .send = sink_send,
        .completions = sink_completions,
        .flush = sink_flush,
        .service = sink_service,
        .close = sink_close,
    };
    return &planted.backend;
}
