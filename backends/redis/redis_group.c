/* SPDX-License-Identifier: Apache-2.0 */
/* A consumer group at opening: it is there, what others left behind is ours, what is gone is known.
 */
#include "redis_source.h"

#include <hiredis/hiredis.h>

#define TAKE_COUNT "1000"
#define TAKE_MAX   100000u /* calls; more is left to the timer */

static struct mb_slice text_of(const redisReply *reply)
{
    return (struct mb_slice){reply->str, (size_t)reply->len};
}

static enum mb_status refuse(const struct redis_client *client, const redisReply *reply,
                             const char *command, const char *stream, struct mb_error *err)
{
    char what[REDIS_NAME_MAX];

    snprintf(what, sizeof what, "%s of stream \"%.200s\"", command, stream);
    return redis_refuse(client, text_of(reply), what, err);
}

/* The ID that a new group has read last. */
static size_t first_id(const struct redis_source_options *options, char *text)
{
    struct mb_position start = options->start;
    size_t size = 0;

    if (options->start_id != NULL && options->start_id[0] != '\0') {
        size = strlen(options->start_id);
        memcpy(text, options->start_id, size);
        return size;
    }
    if (start.kind == MB_POSITION_END) {
        text[0] = '$';
        return 1;
    }
    if (start.kind != MB_POSITION_TIME || start.lo == 0) {
        memcpy(text, "0-0", 3);
        return 3;
    }
    size = redis_number_write(text, start.lo - 1);
    text[size++] = '-';
    return size + redis_number_write(text + size, UINT64_MAX);
}

static enum mb_status create(struct mb_source *source, const char *stream,
                             struct redis_client *client, int64_t deadline_ms, struct mb_error *err)
{
    char id[2 * REDIS_NUMBER_MAX + 2];
    const struct mb_slice arguments[] = {
        MB_SLICE_LITERAL("XGROUP"),   MB_SLICE_LITERAL("CREATE"),          mb_slice_text(stream),
        mb_slice_text(source->group), {id, first_id(source->options, id)},
    };
    redisReply *reply;
    enum mb_status status = redis_call(client, deadline_ms, 5, arguments, &reply, err);

    if (status != MB_OK || reply->type != REDIS_REPLY_ERROR) {
        redis_reply_free(reply);
        return status;
    }
    if (strncmp(reply->str, "BUSYGROUP", 9) == 0)
        status = MB_OK;
    else if (strstr(reply->str, "requires the key to exist") != NULL)
        status = mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing",
                              "%s: there is no stream \"%.200s\"", client->name, stream);
    else
        status = refuse(client, reply, "XGROUP CREATE", stream, err);
    redis_reply_free(reply);
    return status;
}

/* The number behind a name in a flat list of names and values; -1: none. */
static long long number_of(const redisReply *list, const char *name)
{
    for (size_t i = 0; list->type == REDIS_REPLY_ARRAY && i + 1 < list->elements; i += 2) {
        if (list->element[i]->type == REDIS_REPLY_STRING &&
            strcmp(list->element[i]->str, name) == 0 &&
            list->element[i + 1]->type == REDIS_REPLY_INTEGER)
            return list->element[i + 1]->integer;
    }
    return -1;
}

static const redisReply *group_of(const redisReply *groups, const char *name)
{
    for (size_t i = 0; groups->type == REDIS_REPLY_ARRAY && i < groups->elements; i++) {
        const redisReply *group = groups->element[i];

        for (size_t j = 0; group->type == REDIS_REPLY_ARRAY && j + 1 < group->elements; j += 2) {
            if (group->element[j]->type == REDIS_REPLY_STRING &&
                strcmp(group->element[j]->str, "name") == 0 &&
                group->element[j + 1]->type == REDIS_REPLY_STRING &&
                strcmp(group->element[j + 1]->str, name) == 0)
                return group;
        }
    }
    return NULL;
}

/* More entries are gone from the stream than the group has read (Redis 7 counts both). It is known
 * once: the group's count is set right when it reads on. */
static enum mb_status find_loss(struct mb_source *source, struct redis_scope *scope,
                                struct redis_client *client, int64_t deadline_ms,
                                struct mb_error *err)
{
    struct mb_slice arguments[] = {MB_SLICE_LITERAL("XINFO"), MB_SLICE_LITERAL("STREAM"),
                                   mb_slice_text(scope->stream)};
    redisReply *info = NULL;
    redisReply *groups = NULL;
    const redisReply *group;
    enum mb_status status = redis_call(client, deadline_ms, 3, arguments, &info, err);

    arguments[1] = MB_SLICE_LITERAL("GROUPS");
    if (status == MB_OK)
        status = redis_call(client, deadline_ms, 3, arguments, &groups, err);
    if (status == MB_OK && (group = group_of(groups, source->group)) != NULL) {
        long long added = number_of(info, "entries-added");
        long long length = number_of(info, "length");
        long long read = number_of(group, "entries-read");

        if (added >= 0 && length >= 0 && read > 0 && added - length > read)
            scope->lost += (uint64_t)(added - length - read);
    }
    redis_reply_free(info);
    redis_reply_free(groups);
    return status;
}

/* Everything that was handed to other consumers becomes this one's history: old entries come before
 * new ones, whoever had them. */
static enum mb_status take_pending(struct mb_source *source, struct redis_scope *scope,
                                   struct redis_client *client, int64_t deadline_ms,
                                   struct mb_error *err)
{
    char cursor[2 * REDIS_NUMBER_MAX + 2] = "0-0";
    enum mb_status status = MB_OK;

    for (unsigned calls = 0; calls < TAKE_MAX && status == MB_OK; calls++) {
        const struct mb_slice arguments[] = {
            MB_SLICE_LITERAL("XAUTOCLAIM"), mb_slice_text(scope->stream),
            mb_slice_text(source->group),   mb_slice_text(source->consumer),
            MB_SLICE_LITERAL("0"),          mb_slice_text(cursor),
            MB_SLICE_LITERAL("COUNT"),      MB_SLICE_LITERAL(TAKE_COUNT),
            MB_SLICE_LITERAL("JUSTID"),
        };
        redisReply *reply;

        status = redis_call(client, deadline_ms, 9, arguments, &reply, err);
        if (status != MB_OK)
            return status;
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements >= 2 &&
            reply->element[0]->type == REDIS_REPLY_STRING) {
            snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
            if (reply->elements > 2 && reply->element[2]->type == REDIS_REPLY_ARRAY)
                scope->lost += reply->element[2]->elements;
        } else if (reply->type == REDIS_REPLY_ERROR) {
            status = refuse(client, reply, "XAUTOCLAIM", scope->stream, err);
        } else {
            status = redis_client_fail(client, err, "protocol", "XAUTOCLAIM was not understood");
        }
        redis_reply_free(reply);
        if (strcmp(cursor, "0-0") == 0)
            break;
    }
    return status;
}

enum mb_status redis_group_prepare(struct mb_source *source, struct redis_scope *scope,
                                   struct redis_client *client, int64_t deadline_ms,
                                   struct mb_error *err)
{
    enum mb_status status = create(source, scope->stream, client, deadline_ms, err);

    if (status == MB_OK)
        status = find_loss(source, scope, client, deadline_ms, err);
    if (status == MB_OK && source->ordered)
        status = take_pending(source, scope, client, deadline_ms, err);
    return status;
}
