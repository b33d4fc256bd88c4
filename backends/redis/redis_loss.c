/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Losses that nobody has decided about. Reading moves a group over the gap, and claiming takes what
 * was trimmed out of its list: the server forgets. So where a route stops at a loss the count is
 * kept under a key of its own, and each start says it again, until one goes on with on_loss =
 * "continue". Its name lies below the lease's, so that it needs no rights of its own.
 */
#include "redis_source.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

static struct mb_slice key_of(const struct mb_source *source, const char *stream, char *key,
                              size_t size)
{
    struct mb_slice name = mb_slice_text(stream);
    int length = snprintf(key, size, "mbridge:active:{%s}:%s:lost", stream, source->group);

    if (length > 0 && redis_slot_of(mb_slice_text(key)) != redis_slot_of(name))
        length = snprintf(key, size, "mbridge:active:%s:%s:lost", stream, source->group);
    return (struct mb_slice){key, length > 0 && (size_t)length < size ? (size_t)length : 0};
}

static void warn(const struct mb_source *source, const struct redis_client *client,
                 const char *stream, struct mb_slice why)
{
    char text[400];

    snprintf(text, sizeof text,
             "%.100s: the loss in stream \"%.100s\" cannot be noted, a restart will not say it "
             "again: %.*s",
             client->name, stream, (int)(why.size < 120 ? why.size : 120), (const char *)why.data);
    source->host->log(source->host->context, MB_LOG_WARN, text);
}

void redis_loss_refused(const struct mb_source *source, const struct redis_scope *scope,
                        struct mb_slice why)
{
    warn(source, scope->link->commands, scope->stream, why);
}

/* What is noted from before, into *ret_count. Where it may not be asked for, nothing is. */
static enum mb_status recall(const struct mb_source *source, const struct redis_scope *scope,
                             struct redis_client *client, int64_t deadline_ms, uint64_t *ret_count,
                             struct mb_error *err)
{
    char key[3 * REDIS_NAME_MAX];
    const struct mb_slice arguments[] = {MB_SLICE_LITERAL("GET"),
                                         key_of(source, scope->stream, key, sizeof key)};
    redisReply *reply;
    enum mb_status status;

    *ret_count = 0;
    if (arguments[1].size == 0)
        return MB_OK;
    status = redis_call(client, deadline_ms, 2, arguments, &reply, err);
    if (status == MB_OK && reply->type == REDIS_REPLY_STRING)
        *ret_count = strtoull(reply->str, NULL, 10);
    redis_reply_free(reply);
    return status;
}

enum mb_status redis_loss_open(struct mb_source *source, struct redis_scope *scope,
                               struct redis_client *client, int64_t deadline_ms,
                               struct mb_error *err)
{
    char key[3 * REDIS_NAME_MAX];
    char count[REDIS_NUMBER_MAX];
    struct mb_slice arguments[] = {MB_SLICE_LITERAL("INCRBY"),
                                   key_of(source, scope->stream, key, sizeof key), MB_SLICE_NULL};
    redisReply *reply;
    uint64_t before;
    enum mb_status status = recall(source, scope, client, deadline_ms, &before, err);

    if (status != MB_OK || arguments[1].size == 0)
        return status;
    scope->lost_before = before;
    if (!source->loss_stops || scope->lost == 0)
        return MB_OK;
    arguments[2] = (struct mb_slice){count, redis_number_write(count, scope->lost)};
    status = redis_call(client, deadline_ms, 3, arguments, &reply, err);
    if (status == MB_OK && reply->type == REDIS_REPLY_ERROR)
        warn(source, client, scope->stream, (struct mb_slice){reply->str, (size_t)reply->len});
    redis_reply_free(reply);
    scope->lost_before += scope->lost;
    scope->lost = 0;
    return status;
}

/* The count that is to be told. What was found while it ran is noted, what somebody has decided to
 * go on from is taken away. */
uint64_t redis_loss_take(struct mb_source *source, struct redis_scope *scope)
{
    char key[3 * REDIS_NAME_MAX];
    struct mb_slice name = key_of(source, scope->stream, key, sizeof key);
    struct redis_out *out = &scope->link->commands->out;
    uint64_t count = scope->lost + scope->lost_before;

    if (name.size > 0 && source->loss_stops && scope->lost > 0) {
        redis_out_array(out, 3);
        redis_out_text(out, "INCRBY");
        redis_out_bulk(out, name);
        redis_out_number(out, scope->lost);
        redis_commands_note(scope);
    } else if (name.size > 0 && !source->loss_stops && scope->lost_before > 0) {
        redis_out_array(out, 2);
        redis_out_text(out, "DEL");
        redis_out_bulk(out, name);
        redis_commands_note(scope);
    }
    scope->lost = scope->lost_before = 0;
    return count;
}
