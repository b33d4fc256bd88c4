/* SPDX-License-Identifier: Apache-2.0 */
/* A consumer group at opening: it is there, what others left behind is ours, what is gone is known.
 */
#include "redis_source.h"

#include <hiredis/hiredis.h>

#define TAKE_COUNT "1000"
#define TAKE_MAX   100000u /* calls; more is left to the timer */

#define COUNTED_MAX   10000 /* unread entries, that they are counted one by one */
#define COUNTED_COUNT "10001"

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

static const redisReply *field_of(const redisReply *list, const char *name)
{
    for (size_t i = 0; list->type == REDIS_REPLY_ARRAY && i + 1 < list->elements; i += 2) {
        if (list->element[i]->type == REDIS_REPLY_STRING &&
            strcmp(list->element[i]->str, name) == 0)
            return list->element[i + 1];
    }
    return NULL;
}

static struct mb_position id_of(const redisReply *reply)
{
    struct mb_position position = {0};

    if (reply != NULL && reply->type == REDIS_REPLY_STRING)
        redis_id_parse(text_of(reply), &position);
    return position;
}

static bool is_behind(struct mb_position a, struct mb_position b)
{
    return a.hi < b.hi || (a.hi == b.hi && a.lo < b.lo);
}

/* What the group counts as read, or what follows from where it stands; -1: not known. */
static long long read_of(const redisReply *info, const redisReply *group, long long added,
                         long long removed)
{
    struct mb_position last = id_of(field_of(group, "last-delivered-id"));
    struct mb_position end = id_of(field_of(info, "last-generated-id"));
    long long read = number_of(group, "entries-read");

    if (read >= 0)
        return read;
    if (last.hi == 0 && last.lo == 0)
        return removed; /* a new group does not miss what was gone before it */
    return last.hi == end.hi && last.lo == end.lo ? added : -1;
}

/* Redis 7.0 leaves what was trimmed unread out of the group's count for ever, and it would be found
 * again and again. */
static enum mb_status repair(struct mb_source *source, struct redis_scope *scope,
                             struct redis_client *client, const redisReply *group,
                             int64_t deadline_ms, struct mb_error *err)
{
    const redisReply *last = field_of(group, "last-delivered-id");
    char count[REDIS_NUMBER_MAX];
    const struct mb_slice arguments[] = {
        MB_SLICE_LITERAL("XGROUP"),
        MB_SLICE_LITERAL("SETID"),
        mb_slice_text(scope->stream),
        mb_slice_text(source->group),
        last != NULL ? text_of(last) : MB_SLICE_LITERAL("0"),
        MB_SLICE_LITERAL("ENTRIESREAD"),
        {count, redis_number_write(count, (uint64_t)scope->read_base)},
    };
    redisReply *reply;
    enum mb_status status = redis_call(client, deadline_ms, 7, arguments, &reply, err);

    redis_reply_free(reply);
    return status;
}

/* Entries that the group has not read were deleted one by one, among others that are there still.
 * Those are counted, as far as that is no great matter; else one stands for all. */
static enum mb_status compare_deleted(struct mb_source *source, struct redis_scope *scope,
                                      struct redis_client *client, const redisReply *info,
                                      const redisReply *group, int64_t deadline_ms,
                                      struct mb_error *err)
{
    struct mb_position deleted = id_of(field_of(info, "max-deleted-entry-id"));
    long long unread = number_of(info, "entries-added") - scope->read_base;
    char after[2 * REDIS_NUMBER_MAX + 3];
    const redisReply *last = field_of(group, "last-delivered-id");
    struct mb_slice arguments[] = {
        MB_SLICE_LITERAL("XRANGE"), mb_slice_text(scope->stream), MB_SLICE_NULL,
        MB_SLICE_LITERAL("+"),      MB_SLICE_LITERAL("COUNT"),    MB_SLICE_LITERAL(COUNTED_COUNT),
    };
    redisReply *reply;
    enum mb_status status;
    long long there;

    if (last == NULL || unread <= 0 || !is_behind(scope->given, deleted) ||
        snprintf(after, sizeof after, "(%.*s", (int)last->len, last->str) >= (int)sizeof after)
        return MB_OK;
    if (unread > COUNTED_MAX) {
        scope->lost += scope->given.hi > 0; /* a new group does not miss what was gone before it */
        return MB_OK;
    }
    arguments[2] = mb_slice_text(after);
    status = redis_call(client, deadline_ms, 6, arguments, &reply, err);
    there = status == MB_OK && reply->type == REDIS_REPLY_ARRAY ? (long long)reply->elements : -1;
    redis_reply_free(reply);
    if (status != MB_OK || there < 0 || there >= unread)
        return status;
    scope->lost += (uint64_t)(unread - there);
    scope->read_base += unread - there;
    return repair(source, scope, client, group, deadline_ms, err);
}

/* More entries are gone from the front of the stream than the group has read (Redis 7 counts both).
 */
static enum mb_status compare(struct mb_source *source, struct redis_scope *scope,
                              struct redis_client *client, const redisReply *info,
                              const redisReply *group, int64_t deadline_ms, struct mb_error *err)
{
    const redisReply *first = field_of(info, "first-entry");
    long long added = number_of(info, "entries-added");
    long long removed = added - number_of(info, "length");
    struct mb_position next =
        first != NULL && first->type == REDIS_REPLY_ARRAY && first->elements > 0
            ? id_of(first->element[0])
            : id_of(field_of(info, "last-generated-id"));

    scope->given = id_of(field_of(group, "last-delivered-id"));
    scope->read_base = added >= 0 ? read_of(info, group, added, removed) : -1;
    if (scope->read_base < 0)
        return MB_OK;
    if (removed <= scope->read_base)
        return compare_deleted(source, scope, client, info, group, deadline_ms, err);
    if (!is_behind(scope->given, next)) {
        scope->read_base = -1; /* an old miscount: there is no gap in front of the group */
        return MB_OK;
    }
    scope->lost += (uint64_t)(removed - scope->read_base);
    scope->read_base = removed;
    return repair(source, scope, client, group, deadline_ms, err);
}

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

    scope->read_base = -1;
    arguments[1] = MB_SLICE_LITERAL("GROUPS");
    if (status == MB_OK)
        status = redis_call(client, deadline_ms, 3, arguments, &groups, err);
    if (status == MB_OK && (group = group_of(groups, source->group)) != NULL)
        status = compare(source, scope, client, info, group, deadline_ms, err);
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
    if (status == MB_OK)
        status = redis_loss_open(source, scope, client, deadline_ms, err);
    return status;
}
