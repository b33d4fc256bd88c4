/* SPDX-License-Identifier: Apache-2.0 */
/* Sentinel: who the master is now. */
#include "redis.h"

#include <hiredis/hiredis.h>

#define SENTINEL_PORT 26379

static enum mb_status ask(struct redis_client *client, const char *master, int64_t deadline_ms,
                          struct redis_node *ret_node, struct mb_error *err)
{
    const struct mb_slice arguments[] = {MB_SLICE_LITERAL("SENTINEL"),
                                         MB_SLICE_LITERAL("get-master-addr-by-name"),
                                         mb_slice_text(master)};
    redisReply *reply;
    enum mb_status status = redis_call(client, deadline_ms, 3, arguments, &reply, err);
    char text[300];

    if (status != MB_OK)
        return status;
    if (reply->type == REDIS_REPLY_ERROR) {
        status = redis_refuse(client, (struct mb_slice){reply->str, (size_t)reply->len},
                              "SENTINEL get-master-addr-by-name", err);
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
               reply->element[0]->type != REDIS_REPLY_STRING ||
               reply->element[1]->type != REDIS_REPLY_STRING) {
        status = mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_CONNECTION, "sentinel",
                              "%s: this sentinel knows no master \"%s\"", client->name, master);
    } else {
        memset(ret_node, 0, sizeof *ret_node);
        snprintf(text, sizeof text, ":%s", reply->element[1]->str);
        if (!redis_node_parse(text, strlen(text), SENTINEL_PORT, ret_node))
            status = redis_client_fail(client, err, "protocol", "a sentinel's answer has no port");
        snprintf(ret_node->host, sizeof ret_node->host, "%s", reply->element[0]->str);
    }
    redis_reply_free(reply);
    return status;
}

static void set_text(char *buffer, size_t size, const char *text)
{
    snprintf(buffer, size, "%s", text != NULL ? text : "");
}

enum mb_status redis_sentinel_master(const struct mb_open_params *params,
                                     const struct redis_endpoint *endpoint,
                                     const struct redis_address *address, int64_t deadline_ms,
                                     struct redis_node *ret_node, struct mb_error *err)
{
    size_t count = endpoint->sentinel_nodes.count;
    struct redis_address own = *address;
    enum mb_status status = MB_DISCONNECTED;

    own.db = 0;
    set_text(own.username, sizeof own.username, endpoint->sentinel_username);
    set_text(own.password, sizeof own.password, endpoint->sentinel_password);
    for (size_t i = 0; i < count; i++) {
        const char *text = endpoint->sentinel_nodes.items[i];
        int64_t now_ms = redis_now_ms(params->host);
        /* One that is silent must not use up the time of the others. */
        int64_t own_ms = now_ms + (deadline_ms - now_ms) / (int64_t)(count - i + 1);
        struct redis_client *client = NULL;
        struct redis_node node;

        if (!redis_node_parse(text, strlen(text), SENTINEL_PORT, &node)) {
            status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                                  "sentinel.nodes: \"%.100s\" is no host:port", text);
            break;
        }
        status = redis_client_open(params, &node, &own, "sentinel", own_ms, &client, err);
        if (status == MB_OK)
            status = ask(client, endpoint->sentinel_master, own_ms, ret_node, err);
        redis_client_close(client);
        if (status == MB_OK)
            break;
    }
    explicit_bzero(&own, sizeof own);
    return status;
}
