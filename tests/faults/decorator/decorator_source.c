/* SPDX-License-Identifier: Apache-2.0 */
/* Faults of a source: what it acknowledges, and when. */
#include "decorator.h"

#include <stdlib.h>

#define SCOPES_MAX      64u
#define CLOSE_COMMIT_MS 2000u

/* The newest message that a scope has handed out. */
struct handed {
    bool used;
    struct mb_ack ack;
};

struct mb_source {
    const struct mb_source_ops *ops;
    struct mb_source *inner;
    struct handed handed[SCOPES_MAX];
};

/* Of the inner module: the tables are static, there is one of them in a decorated module. */
static const struct mb_source_ops *inner_ops;

bool source_has_fault(void)
{
    return decorator_fault == FAULT_ACK_AT_POLL || decorator_fault == FAULT_ACK_NEWEST ||
           decorator_fault == FAULT_ACK_AT_CLOSE || decorator_fault == FAULT_FORGET_SCOPE;
}

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    struct mb_source *source = calloc(1, sizeof *source);
    enum mb_status status;

    *ret_source = NULL;
    if (source == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    source->ops = inner_ops;
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

        if (decorator_fault == FAULT_ACK_AT_POLL)
            source->ops->ack(source->inner, &ack, 1, &unused);
        else if (ack.scope < SCOPES_MAX)
            source->handed[ack.scope] = (struct handed){true, ack};
    }
    return status;
}

static enum mb_status pass_newest(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                  struct mb_error *err)
{
    enum mb_status status = MB_OK;

    for (size_t i = 0; i < count && status == MB_OK; i++) {
        struct mb_ack ack = acks[i];

        if (ack.scope < SCOPES_MAX && source->handed[ack.scope].used &&
            source->handed[ack.scope].ack.epoch == ack.epoch)
            ack = source->handed[ack.scope].ack;
        status = source->ops->ack(source->inner, &ack, 1, err);
    }
    return status;
}

static enum mb_status source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                 struct mb_error *err)
{
    enum mb_status status = MB_OK;

    if (decorator_fault == FAULT_ACK_AT_POLL)
        return MB_OK;
    if (decorator_fault == FAULT_ACK_NEWEST)
        return pass_newest(source, acks, count, err);
    if (decorator_fault != FAULT_FORGET_SCOPE)
        return source->ops->ack(source->inner, acks, count, err);
    for (size_t i = 0; i < count && status == MB_OK; i++) {
        if (acks[i].scope > 0)
            status = source->ops->ack(source->inner, &acks[i], 1, err);
    }
    return status;
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
    struct mb_error unused;

    if (source == NULL)
        return;
    for (size_t i = 0; i < SCOPES_MAX && decorator_fault == FAULT_ACK_AT_CLOSE; i++) {
        if (source->handed[i].used)
            source->ops->ack(source->inner, &source->handed[i].ack, 1, &unused);
    }
    if (decorator_fault == FAULT_ACK_AT_CLOSE && source->ops->commit != NULL)
        source->ops->commit(source->inner, CLOSE_COMMIT_MS, &unused);
    source->ops->close(source->inner);
    free(source);
}

const struct mb_source_ops *source_decorate(const struct mb_source_ops *inner,
                                            struct mb_source_ops *space)
{
    inner_ops = inner;
    *space = (struct mb_source_ops){
        .struct_size = sizeof *space,
        .traits = inner->traits,
        .open = source_open,
        .fds = source_fds,
        .poll = source_poll,
        .ack = source_ack,
        .commit = inner->commit != NULL ? source_commit : NULL,
        .start = source_start,
        .stop = source_stop,
        .pause = source_pause,
        .service = source_service,
        .close = source_close,
    };
    return space;
}
