/* SPDX-License-Identifier: Apache-2.0 */
/* Describe and ensure: XINFO, ACL and SCAN on connections of their own. */
#include "redis.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

#define NAMES_MAX  65536u
#define SCAN_COUNT "1000"

struct mb_describer {
    const struct mb_host *host;
    struct mb_open_params params;
    struct redis_address address;
    struct redis_topology *topology;
    struct redis_client **clients; /* by node, as they are needed */
};

static int64_t deadline_of(const struct mb_describer *describer)
{
    return redis_now_ms(describer->host) + (int64_t)describer->params.timeout_ms;
}

static void describer_close(struct mb_describer *describer)
{
    const struct mb_host *host;

    if (describer == NULL)
        return;
    host = describer->host;
    for (size_t i = 0; describer->clients != NULL && i < describer->topology->nodes_count; i++)
        redis_client_close(describer->clients[i]);
    host->release(host->context, describer->clients);
    host->release(host->context, describer->topology);
    explicit_bzero(&describer->address, sizeof describer->address);
    host->release(host->context, describer);
}

static enum mb_status client_of(struct mb_describer *describer, size_t node,
                                struct redis_client **ret_client, struct mb_error *err)
{
    enum mb_status status = MB_OK;

    if (node >= describer->topology->nodes_count)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "cluster-down",
                            "no node of the cluster serves that slot");
    if (describer->clients[node] != NULL && describer->clients[node]->broken) {
        redis_client_close(describer->clients[node]);
        describer->clients[node] = NULL;
    }
    if (describer->clients[node] == NULL)
        status = redis_client_open_master(&describer->params, &describer->topology->nodes[node],
                                          &describer->address, "describe", deadline_of(describer),
                                          &describer->clients[node], err);
    *ret_client = describer->clients[node];
    return status;
}

static enum mb_status describer_open(const struct mb_open_params *params,
                                     struct mb_describer **ret_describer, struct mb_error *err)
{
    const struct mb_host *host = params->host;
    struct mb_describer *describer = redis_alloc_zero(host, sizeof *describer);
    struct redis_client *client = NULL;
    enum mb_status status;

    *ret_describer = NULL;
    if (describer == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    describer->host = host;
    describer->params = *params;
    status = redis_address_resolve(params->endpoint, &describer->address, err);
    if (status == MB_OK)
        status = redis_topology_load(params, params->endpoint, &describer->address,
                                     deadline_of(describer), &describer->topology, err);
    if (status == MB_OK) {
        describer->clients =
            redis_alloc_zero(host, describer->topology->nodes_count * sizeof *describer->clients);
        status = describer->clients == NULL ? mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION,
                                                           "memory", "out of memory")
                                            : client_of(describer, 0, &client, err);
    }
    if (status != MB_OK) {
        describer_close(describer);
        return status;
    }
    *ret_describer = describer;
    return MB_OK;
}

static enum mb_status call(struct mb_describer *describer, struct redis_client *client,
                           const char *const *texts, size_t count, redisReply **ret_reply,
                           struct mb_error *err)
{
    struct mb_slice arguments[16];

    for (size_t i = 0; i < count; i++)
        arguments[i] = mb_slice_text(texts[i]);
    return redis_call(client, deadline_of(describer), count, arguments, ret_reply, err);
}

/* Of 160 bits at random; each message's id has them, and 64 tell servers apart. */
#define IDENTITY_DIGITS 16

/* The replication id changes when a master restarts, and is shared by what it replicates to: unique
 * while it lives, which is what keeps two servers from being taken for one. A name that stays is
 * the endpoint's `identity`. In a cluster: its lowest node id, which is kept on disk. */
static enum mb_status describer_identity(struct mb_describer *describer, char *identity,
                                         size_t size, struct mb_error *err)
{
    static const char *const info[] = {"INFO", "replication"};
    static const char *const nodes[] = {"CLUSTER", "NODES"};
    bool cluster = describer->topology->cluster;
    struct redis_client *client = NULL;
    redisReply *reply = NULL;
    const char *found = NULL;
    enum mb_status status = client_of(describer, 0, &client, err);

    identity[0] = '\0';
    if (status == MB_OK)
        status = call(describer, client, cluster ? nodes : info, 2, &reply, err);
    if (status == MB_OK && reply->type == REDIS_REPLY_STRING) {
        if (!cluster) {
            found = strstr(reply->str, "master_replid:");
            found = found != NULL ? found + 14 : NULL;
        } else {
            for (const char *line = reply->str; *line != '\0'; line += *line == '\n' ? 1 : 0) {
                if (found == NULL || strncmp(line, found, 40) < 0)
                    found = line;
                line += strcspn(line, "\n");
            }
        }
    }
    if (found != NULL)
        snprintf(identity, size, "redis %.*s", (int)strnlen(found, IDENTITY_DIGITS), found);
    redis_reply_free(reply);
    return status;
}

/* ---- one stream ---- */

struct described {
    struct mb_partition_record partition;
    char name[];
};

static const redisReply *field_of(const redisReply *list, const char *name)
{
    for (size_t i = 0; list->type == REDIS_REPLY_ARRAY && i + 1 < list->elements; i += 2) {
        if ((list->element[i]->type == REDIS_REPLY_STRING ||
             list->element[i]->type == REDIS_REPLY_STATUS) &&
            strcmp(list->element[i]->str, name) == 0)
            return list->element[i + 1];
    }
    return NULL;
}

static int64_t number_of(const redisReply *list, const char *name)
{
    const redisReply *field = field_of(list, name);

    return field != NULL && field->type == REDIS_REPLY_INTEGER ? field->integer : -1;
}

static struct mb_position id_of(const redisReply *reply)
{
    struct mb_position position = {0};

    if (reply != NULL && reply->type == REDIS_REPLY_STRING)
        redis_id_parse((struct mb_slice){reply->str, (size_t)reply->len}, &position);
    return position;
}

static void after(struct mb_position *position)
{
    if (++position->lo == 0)
        position->hi++;
}

static void fill_stream(const redisReply *info, struct described *described,
                        struct mb_stream_record *record)
{
    const redisReply *first = field_of(info, "first-entry");
    struct mb_partition_record *partition = &described->partition;

    record->depth_messages = number_of(info, "length");
    partition->end = id_of(field_of(info, "last-generated-id"));
    partition->begin = first != NULL && first->type == REDIS_REPLY_ARRAY && first->elements > 0
                           ? id_of(first->element[0])
                           : (struct mb_position){0};
    if (partition->end.kind == MB_POSITION_ID)
        after(&partition->end);
    if (partition->begin.kind != MB_POSITION_ID)
        partition->begin = partition->end;
}

/* What the group has not acknowledged, and what it has not been given. */
static void fill_group(const redisReply *info, const redisReply *groups, const char *name,
                       struct described *described, struct mb_stream_record *record)
{
    for (size_t i = 0; groups->type == REDIS_REPLY_ARRAY && i < groups->elements; i++) {
        const redisReply *group = groups->element[i];
        const redisReply *title = field_of(group, "name");
        struct mb_position last;
        struct mb_position end;
        int64_t lag;

        if (title == NULL || title->type != REDIS_REPLY_STRING || strcmp(title->str, name) != 0)
            continue;
        last = id_of(field_of(group, "last-delivered-id"));
        end = id_of(field_of(info, "last-generated-id"));
        lag = number_of(group, "lag");
        if (lag < 0)
            lag = last.hi == end.hi && last.lo == end.lo ? 0 : record->depth_messages;
        described->partition.group = last;
        record->depth_messages =
            lag + (number_of(group, "pending") > 0 ? number_of(group, "pending") : 0);
        return;
    }
}

/* MB_ACCESS_UNKNOWN where ACLs, or the right to ask about them, are missing. */
static uint8_t access_of(struct mb_describer *describer, struct redis_client *client,
                         const char *const *command, size_t count)
{
    static const char *const whoami[] = {"ACL", "WHOAMI"};
    const char *dry[16] = {"ACL", "DRYRUN"};
    redisReply *who = NULL;
    redisReply *reply = NULL;
    uint8_t access = MB_ACCESS_UNKNOWN;
    struct mb_error err;

    mb_error_clear(&err);
    if (call(describer, client, whoami, 2, &who, &err) == MB_OK &&
        who->type == REDIS_REPLY_STRING) {
        dry[2] = who->str;
        for (size_t i = 0; i < count; i++)
            dry[3 + i] = command[i];
        if (call(describer, client, dry, 3 + count, &reply, &err) == MB_OK) {
            if (reply->type == REDIS_REPLY_STATUS)
                access = MB_ACCESS_ALLOWED;
            else if (reply->type == REDIS_REPLY_STRING)
                access = MB_ACCESS_DENIED;
        }
    }
    redis_reply_free(reply);
    redis_reply_free(who);
    return access;
}

static enum mb_status refuse(const struct redis_client *client, const redisReply *reply,
                             const char *name, struct mb_error *err)
{
    char what[REDIS_NAME_MAX];

    if (strstr(reply->str, "no such key") != NULL)
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing",
                            "%s: there is no stream \"%.200s\"", client->name, name);
    snprintf(what, sizeof what, "XINFO of stream \"%.200s\"", name);
    return redis_refuse(client, (struct mb_slice){reply->str, (size_t)reply->len}, what, err);
}

static enum mb_status ask_stream(struct mb_describer *describer, struct redis_client *client,
                                 const char *name, const char *group, struct described *described,
                                 struct mb_stream_record *record, struct mb_error *err)
{
    const char *const stream[] = {"XINFO", "STREAM", name};
    const char *const groups[] = {"XINFO", "GROUPS", name};
    redisReply *info = NULL;
    redisReply *list = NULL;
    enum mb_status status = call(describer, client, stream, 3, &info, err);

    if (status == MB_OK && info->type == REDIS_REPLY_ERROR) {
        status = refuse(client, info, name, err);
        /* It may be there all the same; what follows tells. */
        if (status == MB_DENIED)
            status = MB_OK;
    } else if (status == MB_OK) {
        fill_stream(info, described, record);
        if (group != NULL)
            status = call(describer, client, groups, 3, &list, err);
        if (status == MB_OK && list != NULL)
            fill_group(info, list, group, described, record);
    }
    redis_reply_free(info);
    redis_reply_free(list);
    return status;
}

static enum mb_status describer_describe(struct mb_describer *describer, uint32_t kind,
                                         const char *name, const char *group,
                                         struct mb_stream_record *ret_record, struct mb_error *err)
{
    const char *const read[] = {"XREADGROUP", "GROUP", "g", "c", "STREAMS", name, ">"};
    const char *const write[] = {"XADD", name, "*", "body", ""};
    const struct mb_host *host = describer->host;
    size_t size = strlen(name) + 1;
    struct redis_client *client = NULL;
    struct described *described;
    enum mb_status status;

    (void)kind;
    status = client_of(describer, redis_topology_node(describer->topology, mb_slice_text(name)),
                       &client, err);
    if (status != MB_OK)
        return status;
    described = redis_alloc_zero(host, sizeof *described + size);
    if (described == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    memcpy(described->name, name, size);
    described->partition.partition = -1;
    *ret_record = (struct mb_stream_record){.struct_size = sizeof *ret_record,
                                            .kind = MB_STREAM_LOG,
                                            .name = described->name,
                                            .partitions_count = 1,
                                            .depth_messages = -1,
                                            .size_max_bytes = -1,
                                            .partitions = &described->partition};
    status = ask_stream(describer, client, name, group, described, ret_record, err);
    if (status != MB_OK) {
        host->release(host->context, described);
        ret_record->partitions = NULL;
        return status;
    }
    ret_record->may_read = access_of(describer, client, read, 7);
    ret_record->may_write = access_of(describer, client, write, 5);
    return MB_OK;
}

static void describer_clear(struct mb_describer *describer, struct mb_stream_record *record)
{
    /* The first member of struct described. */
    describer->host->release(describer->host->context, (void *)(uintptr_t)record->partitions);
    *record = (struct mb_stream_record){.struct_size = sizeof *record};
}

/* XADD makes a stream; an empty one is made by a group that goes again. */
static enum mb_status describer_ensure(struct mb_describer *describer,
                                       const struct mb_stream_record *record, struct mb_error *err)
{
    static const char group[] = "mbridge:ensure";
    const char *const exists[] = {"EXISTS", record->name};
    const char *const create[] = {"XGROUP", "CREATE", record->name, group, "$", "MKSTREAM"};
    const char *const destroy[] = {"XGROUP", "DESTROY", record->name, group};
    struct redis_client *client = NULL;
    redisReply *reply = NULL;
    bool there = false;
    enum mb_status status =
        client_of(describer, redis_topology_node(describer->topology, mb_slice_text(record->name)),
                  &client, err);

    if (status == MB_OK)
        status = call(describer, client, exists, 2, &reply, err);
    if (status != MB_OK)
        return status;
    there = reply->type == REDIS_REPLY_INTEGER && reply->integer > 0;
    redis_reply_free(reply);
    if (there)
        return MB_OK;
    status = call(describer, client, create, 6, &reply, err);
    if (status != MB_OK)
        return status;
    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "BUSYGROUP", 9) != 0) {
        /* Who may only write makes it with the first entry. */
        if (redis_refusal_of((struct mb_slice){reply->str, (size_t)reply->len})->kind !=
            REDIS_REFUSED_ACCESS)
            status = refuse(client, reply, record->name, err);
        redis_reply_free(reply);
        return status;
    }
    redis_reply_free(reply);
    status = call(describer, client, destroy, 4, &reply, err);
    redis_reply_free(reply);
    return status;
}

/* ---- all streams ---- */

struct names {
    const struct mb_host *host;
    char **items;
    size_t count;
    bool failed;
};

static void add_name(struct names *names, const redisReply *reply)
{
    char *copy;

    if (reply->type != REDIS_REPLY_STRING || names->failed ||
        memchr(reply->str, '\0', (size_t)reply->len) != NULL)
        return; /* a name with NUL cannot be configured */
    copy = names->count < NAMES_MAX
               ? names->host->alloc(names->host->context, (size_t)reply->len + 1)
               : NULL;
    if (copy == NULL) {
        names->failed = true;
        return;
    }
    memcpy(copy, reply->str, (size_t)reply->len + 1);
    names->items[names->count++] = copy;
}

static enum mb_status scan(struct mb_describer *describer, struct redis_client *client,
                           struct names *names, struct mb_error *err)
{
    char cursor[32] = "0";
    enum mb_status status = MB_OK;
    int64_t deadline_ms = deadline_of(describer);

    do {
        const char *const texts[] = {"SCAN", cursor, "COUNT", SCAN_COUNT, "TYPE", "stream"};
        redisReply *reply;

        if (redis_now_ms(describer->host) > deadline_ms)
            return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                                "%s: SCAN did not end in time", client->name);
        status = call(describer, client, texts, 6, &reply, err);
        if (status != MB_OK)
            return status;
        if (reply->type == REDIS_REPLY_ERROR) {
            status = redis_refuse(client, (struct mb_slice){reply->str, (size_t)reply->len}, "SCAN",
                                  err);
        } else if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
            snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
            for (size_t i = 0; i < reply->element[1]->elements; i++)
                add_name(names, reply->element[1]->element[i]);
        } else {
            status = redis_client_fail(client, err, "protocol", "SCAN was not understood");
        }
        redis_reply_free(reply);
    } while (status == MB_OK && !names->failed && strcmp(cursor, "0") != 0);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum mb_status describer_list(struct mb_describer *describer,
                                     void (*each)(void *context, const char *name, bool internal),
                                     void *context, struct mb_error *err)
{
    const struct mb_host *host = describer->host;
    struct names names = {.host = host};
    enum mb_status status = MB_OK;

    names.items = redis_alloc_zero(host, NAMES_MAX * sizeof *names.items);
    if (names.items == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    for (size_t i = 0; status == MB_OK && i < describer->topology->nodes_count; i++) {
        struct redis_client *client = NULL;

        status = client_of(describer, i, &client, err);
        if (status == MB_OK)
            status = scan(describer, client, &names, err);
    }
    if (status == MB_OK && names.failed)
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory",
                              "out of memory, or there are more than %u streams", NAMES_MAX);
    /* SCAN may tell a key twice. */
    qsort(names.items, names.count, sizeof *names.items, compare_names);
    for (size_t i = 0; status == MB_OK && i < names.count; i++) {
        if (i == 0 || strcmp(names.items[i - 1], names.items[i]) != 0)
            each(context, names.items[i], false);
    }
    for (size_t i = 0; i < names.count; i++)
        host->release(host->context, names.items[i]);
    host->release(host->context, names.items);
    return status;
}

const struct mb_describe_ops redis_describe_ops = {
    .struct_size = sizeof(struct mb_describe_ops),
    .open = describer_open,
    .identity = describer_identity,
    .describe = describer_describe,
    .clear = describer_clear,
    .ensure = describer_ensure,
    .list = describer_list,
    .close = describer_close,
};
