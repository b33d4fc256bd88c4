/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: address, TCP, TLS and log-in by hiredis, with the true cause of every failure. */
#include "redis.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <kit/uri.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#define ARGUMENTS_MAX 64u

/* Of an answer during the set-up: by itself hiredis takes any length from a server. */
#define ELEMENTS_MAX 1000000u
#define DEPTH_MAX    9
#define BUFFER_MAX   ((size_t)64 << 20)

/* ---- the address ---- */

bool redis_node_parse(const char *text, size_t size, int default_port, struct redis_node *ret_node)
{
    const char *end = text + size;
    const char *host_end;
    const char *at = text;
    long port = default_port;

    memset(ret_node, 0, sizeof *ret_node);
    if (size > 0 && *text == '[') {
        at++;
        host_end = memchr(at, ']', (size_t)(end - at));
    } else {
        host_end = memchr(at, ':', (size_t)(end - at));
        if (host_end == NULL)
            host_end = end;
    }
    if (host_end == NULL || (size_t)(host_end - at) >= sizeof ret_node->host)
        return false;
    memcpy(ret_node->host, at, (size_t)(host_end - at));
    at = host_end < end && *host_end == ']' ? host_end + 1 : host_end;
    if (at < end) {
        char digits[8] = "";
        char *rest;

        if (*at != ':' || end - at < 2 || (size_t)(end - at) > sizeof digits)
            return false;
        memcpy(digits, at + 1, (size_t)(end - at) - 1);
        port = strtol(digits, &rest, 10);
        if (*rest != '\0' || port < 1 || port > 65535)
            return false;
    }
    ret_node->port = (int)port;
    return true;
}

static bool add_nodes(const char *list, struct redis_address *address)
{
    const size_t max = sizeof address->nodes / sizeof address->nodes[0];

    for (const char *at = list; *at != '\0';) {
        size_t size = strcspn(at, ",");

        if (address->nodes_count == max ||
            !redis_node_parse(at, size, 6379, &address->nodes[address->nodes_count]))
            return false;
        address->nodes_count++;
        at += size;
        at += *at == ',' ? 1 : 0;
    }
    return true;
}

static enum mb_status resolve_uri(const char *text, struct redis_address *address,
                                  struct mb_error *err)
{
    struct mb_uri uri;
    enum mb_status status;
    bool fits = true;

    memset(&uri, 0, sizeof uri);
    status = mb_uri_parse(text, &uri, err);
    if (status != MB_OK)
        return status;
    if (strcmp(uri.scheme, "rediss") == 0)
        address->tls = true;
    else if (strcmp(uri.scheme, "redis") != 0)
        status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri",
                              "uri: the scheme must be redis or rediss, not %s", uri.scheme);
    if (status == MB_OK && uri.authority != NULL && !add_nodes(uri.authority, address))
        status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri",
                              "uri: \"%.100s\" is no host:port, or a list of more than 16",
                              uri.authority);
    if (uri.username != NULL)
        fits = fits && mb_text_fit(address->username, sizeof address->username, uri.username);
    if (uri.password != NULL)
        fits = fits && mb_text_fit(address->password, sizeof address->password, uri.password);
    if (status == MB_OK && uri.path != NULL && uri.path[0] != '\0') {
        char *rest;
        long db = strtol(uri.path, &rest, 10);

        if (*rest != '\0' || db < 0 || db > 1000000)
            status =
                mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri",
                             "uri: the path is the number of a database, not \"%.40s\"", uri.path);
        address->db = (int)db;
    }
    if (status == MB_OK && !fits)
        status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri", "uri: a part is too long");
    mb_uri_release(&uri);
    return status;
}

enum mb_status redis_address_resolve(const struct redis_endpoint *endpoint,
                                     struct redis_address *ret_address, struct mb_error *err)
{
    struct redis_address *address = ret_address;
    bool fits = true;

    memset(address, 0, sizeof *address);
    if (endpoint->uri != NULL) {
        enum mb_status status = resolve_uri(endpoint->uri, address, err);

        if (status != MB_OK)
            return status;
    }
    if (address->nodes_count == 0 || address->nodes[0].host[0] == '\0') {
        mb_text_fit(address->nodes[0].host, sizeof address->nodes[0].host, "127.0.0.1");
        if (address->nodes_count == 0)
            address->nodes[0].port = 6379;
        address->nodes_count = 1;
    }
    if (endpoint->host != NULL) {
        fits = mb_text_fit(address->nodes[0].host, sizeof address->nodes[0].host, endpoint->host);
        address->nodes_count = 1;
    }
    if (endpoint->port > 0)
        address->nodes[0].port = (int)endpoint->port;
    if (endpoint->db > 0)
        address->db = (int)endpoint->db;
    if (endpoint->username != NULL)
        fits = fits && mb_text_fit(address->username, sizeof address->username, endpoint->username);
    if (endpoint->password != NULL)
        fits = fits && mb_text_fit(address->password, sizeof address->password, endpoint->password);
    if (!fits)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                            "host, username or password is too long");
    address->tls = address->tls || endpoint->tls.enabled;
    address->cluster = endpoint->cluster;
    if (address->cluster && address->db != 0)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                            "a cluster has database 0 only");
    return MB_OK;
}

/* ---- bounds of what hiredis reads ---- */

#if HIREDIS_MAJOR == 0
typedef int element_count;
#else
typedef size_t element_count;
#endif

struct redis_bounds {
    redisReplyObjectFunctions functions;
    void *(*create_array)(const redisReadTask *task, element_count count);
    bool exceeded;
};

/* hiredis would allocate for all elements at once, and free what is nested by recursion. */
static void *create_array(const redisReadTask *task, element_count count)
{
    struct redis_bounds *bounds = task->privdata;
    const redisReadTask *parent = task->parent;
    int depth = 0;

    for (; parent != NULL && depth < DEPTH_MAX; depth++)
        parent = parent->parent;
    bounds->exceeded = depth == DEPTH_MAX || count > (element_count)ELEMENTS_MAX;
    return bounds->exceeded ? NULL : bounds->create_array(task, count);
}

static enum mb_status bounds_set(struct redis_client *client)
{
    redisReader *reader = client->context->reader;
    struct redis_bounds *bounds = redis_alloc_zero(client->host, sizeof *bounds);

    if (bounds == NULL)
        return MB_NO_MEMORY;
    bounds->functions = *reader->fn;
    bounds->create_array = bounds->functions.createArray;
    bounds->functions.createArray = create_array;
    reader->fn = &bounds->functions;
    reader->privdata = bounds;
    client->bounds = bounds;
    return MB_OK;
}

static bool bounds_exceeded(const struct redis_client *client)
{
    const redisReader *reader = client->context->reader;

    return (client->bounds != NULL && client->bounds->exceeded) || reader->len > BUFFER_MAX;
}

/* ---- blocking calls ---- */

static struct timeval time_left(const struct redis_client *client, int64_t deadline_ms)
{
    int64_t left = deadline_ms - redis_now_ms(client->host);
    struct timeval value;

    if (left < 1)
        left = 1;
    value.tv_sec = (time_t)(left / 1000);
    value.tv_usec = (suseconds_t)(left % 1000 * 1000);
    return value;
}

/* What hiredis noted: timeouts are EAGAIN on a blocking socket. */
static enum mb_status context_failed(struct redis_client *client, const char *what,
                                     struct mb_error *err)
{
    const redisContext *context = client->context;
    const char *text = context->errstr[0] != '\0' ? context->errstr : "unknown error";
    const char *reason = "closed";

    client->broken = true;
    if (bounds_exceeded(client))
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "protocol",
                            "%s: %s: the answer is larger than any that is expected", client->name,
                            what);
    if (strstr(text, strerror(EAGAIN)) != NULL || strstr(text, strerror(ETIMEDOUT)) != NULL ||
        strstr(text, strerror(EINPROGRESS)) != NULL)
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                            "%s: %s: no answer within the time allowed", client->name, what);
    if (strstr(text, strerror(ECONNREFUSED)) != NULL)
        reason = "refused";
    else if (context->err == REDIS_ERR_OTHER)
        reason = "dns";
    else if (context->err == REDIS_ERR_PROTOCOL)
        reason = "protocol";
    else if (strstr(text, "unreachable") != NULL || strstr(text, "No route") != NULL)
        reason = "unreachable";
    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, reason, "%s: %s: %s",
                        client->name, what, text);
}

/* NULL: failed, and so is the context, or the time is over. The deadline is that of the whole, so
 * that a server cannot hold us by a byte now and then. */
static redisReply *receive(struct redis_client *client, int64_t deadline_ms)
{
    redisContext *context = client->context;
    void *reply = NULL;
    int done = 0;

    while (done == 0) {
        if (redisBufferWrite(context, &done) != REDIS_OK)
            return NULL;
    }
    while (redisGetReplyFromReader(context, &reply) == REDIS_OK && reply == NULL) {
        if (bounds_exceeded(client) || redis_now_ms(client->host) >= deadline_ms)
            return NULL;
        redisSetTimeout(context, time_left(client, deadline_ms));
        if (redisBufferRead(context) != REDIS_OK)
            return NULL;
    }
    return reply;
}

enum mb_status redis_call(struct redis_client *client, int64_t deadline_ms, size_t count,
                          const struct mb_slice *arguments, struct redisReply **ret_reply,
                          struct mb_error *err)
{
    const char *texts[ARGUMENTS_MAX];
    size_t sizes[ARGUMENTS_MAX];
    char what[64];
    redisReply *reply;

    *ret_reply = NULL;
    redis_text_of(what, sizeof what, arguments[0]);
    if (client->broken)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "closed",
                            "%s: %s: the connection is gone", client->name, what);
    for (size_t i = 0; i < count && i < ARGUMENTS_MAX; i++) {
        texts[i] = arguments[i].size > 0 ? arguments[i].data : "";
        sizes[i] = arguments[i].size;
    }
    if (redis_now_ms(client->host) >= deadline_ms) {
        client->broken = true;
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                            "%s: %s: no time is left", client->name, what);
    }
    redisSetTimeout(client->context, time_left(client, deadline_ms));
    if (redisAppendCommandArgv(client->context,
                               (int)(count < ARGUMENTS_MAX ? count : ARGUMENTS_MAX), texts,
                               sizes) != REDIS_OK)
        return context_failed(client, what, err);
    reply = receive(client, deadline_ms);
    if (reply == NULL && client->context->err == 0 && !bounds_exceeded(client)) {
        client->broken = true;
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                            "%s: %s: no answer within the time allowed", client->name, what);
    }
    if (reply == NULL)
        return context_failed(client, what, err);
    *ret_reply = reply;
    return MB_OK;
}

void redis_reply_free(struct redisReply *reply)
{
    if (reply != NULL)
        freeReplyObject(reply);
}

static enum mb_status call_text(struct redis_client *client, int64_t deadline_ms,
                                const char *const *texts, size_t count, redisReply **ret_reply,
                                struct mb_error *err)
{
    struct mb_slice arguments[4];

    for (size_t i = 0; i < count; i++)
        arguments[i] = mb_slice_text(texts[i]);
    return redis_call(client, deadline_ms, count, arguments, ret_reply, err);
}

static struct mb_slice text_of(const redisReply *reply)
{
    return (struct mb_slice){reply->str, (size_t)reply->len};
}

/* ---- log-in ---- */

static enum mb_status expect_ok(struct redis_client *client, int64_t deadline_ms,
                                const char *const *texts, size_t count, const char *what,
                                struct mb_error *err)
{
    redisReply *reply;
    enum mb_status status = call_text(client, deadline_ms, texts, count, &reply, err);

    if (status == MB_OK && reply->type == REDIS_REPLY_ERROR)
        status = redis_refuse(client, text_of(reply), what, err);
    redis_reply_free(reply);
    return status;
}

/* A server's answer may repeat what it was sent. */
static void hide(char *text, const char *secret)
{
    size_t size = strlen(secret);

    while (size > 0 && (text = strstr(text, secret)) != NULL) {
        memset(text, '*', size);
        text += size;
    }
}

static enum mb_status authenticate(struct redis_client *client, const struct redis_address *address,
                                   int64_t deadline_ms, struct mb_error *err)
{
    const char *texts[] = {"AUTH", address->username, address->password};
    char what[300];
    enum mb_status status;

    if (address->password[0] == '\0' && address->username[0] == '\0')
        return MB_OK;
    if (address->username[0] == '\0') {
        texts[1] = address->password;
        status = expect_ok(client, deadline_ms, texts, 2, "the log-in", err);
    } else {
        snprintf(what, sizeof what, "the log-in of user \"%s\"", address->username);
        status = expect_ok(client, deadline_ms, texts, 3, what, err);
    }
    if (status != MB_OK)
        hide(err->text, address->password);
    return status;
}

/* The connection's number and the server's run: what a lease names its holder by. Servers that
 * forbid to ask are served without. */
static enum mb_status introduce(struct redis_client *client, const struct mb_open_params *params,
                                const char *what, int64_t deadline_ms, struct mb_error *err)
{
    char name[160];
    const char *set_name[] = {"CLIENT", "SETNAME", name};
    const char *get_id[] = {"CLIENT", "ID"};
    const char *info[] = {"INFO", "server"};
    const char *run_id;
    redisReply *reply;
    enum mb_status status;

    snprintf(name, sizeof name, "mbridge:%.60s:%.60s:%u:%s",
             params->bridge_name != NULL ? params->bridge_name : "",
             params->route_name != NULL ? params->route_name : "", (unsigned)params->lane, what);
    for (char *at = name; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~')
            *at = '_';
    }
    status = call_text(client, deadline_ms, set_name, 3, &reply, err);
    redis_reply_free(reply);
    if (status == MB_OK)
        status = call_text(client, deadline_ms, get_id, 2, &reply, err);
    else
        return status;
    if (status == MB_OK && reply->type == REDIS_REPLY_INTEGER)
        client->id = (uint64_t)reply->integer;
    redis_reply_free(reply);
    if (status != MB_OK)
        return status;
    status = call_text(client, deadline_ms, info, 2, &reply, err);
    if (status == MB_OK && reply->type == REDIS_REPLY_STRING &&
        (run_id = strstr(reply->str, "run_id:")) != NULL)
        snprintf(client->run_id, sizeof client->run_id, "%.*s", (int)strcspn(run_id + 7, "\r\n"),
                 run_id + 7);
    redis_reply_free(reply);
    return status;
}

/* The first command tells whether anything is allowed at all. */
static enum mb_status greet(struct redis_client *client, int64_t deadline_ms, struct mb_error *err)
{
    const char *ping[] = {"PING"};
    redisReply *reply;
    enum mb_status status = call_text(client, deadline_ms, ping, 1, &reply, err);

    /* A user without the right to PING may have all others. A server that is loading is left: it
     * would refuse the first part of a pipeline and take the rest. */
    if (status == MB_OK && reply->type == REDIS_REPLY_ERROR &&
        strncmp(reply->str, "NOPERM", 6) != 0)
        status = redis_refuse(client, text_of(reply), "the connection", err);
    redis_reply_free(reply);
    return status;
}

static enum mb_status set_up(struct redis_client *client, const struct mb_open_params *params,
                             const struct redis_address *address, const char *what,
                             int64_t deadline_ms, struct mb_error *err)
{
    const struct redis_endpoint *endpoint = params->endpoint;
    char db[16];
    const char *select[] = {"SELECT", db};
    char database[32];
    enum mb_status status = MB_OK;

    client->context = redisConnectWithTimeout(client->node.host, client->node.port,
                                              time_left(client, deadline_ms));
    if (client->context == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    if (client->context->err != 0)
        return context_failed(client, "connect", err);
    if (bounds_set(client) != MB_OK)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    redisEnableKeepAlive(client->context);
    if (address->tls) {
        redisSetTimeout(client->context, time_left(client, deadline_ms));
        status = redis_tls_start(client, &endpoint->tls, err);
    }
    if (status == MB_OK)
        status = authenticate(client, address, deadline_ms, err);
    if (status == MB_OK)
        status = greet(client, deadline_ms, err);
    snprintf(db, sizeof db, "%d", address->db);
    snprintf(database, sizeof database, "database %d", address->db);
    if (status == MB_OK && address->db != 0)
        status = expect_ok(client, deadline_ms, select, 2, database, err);
    if (status == MB_OK)
        status = introduce(client, params, what, deadline_ms, err);
    return status;
}

enum mb_status redis_client_open(const struct mb_open_params *params, const struct redis_node *node,
                                 const struct redis_address *address, const char *what,
                                 int64_t deadline_ms, struct redis_client **ret_client,
                                 struct mb_error *err)
{
    const struct redis_endpoint *endpoint = params->endpoint;
    struct redis_client *client = redis_alloc_zero(params->host, sizeof *client);
    enum mb_status status;

    if (client == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    client->host = params->host;
    client->in.host = params->host;
    client->out.host = params->host;
    client->fd = -1;
    client->node = *node;
    client->timeout_ms = endpoint->timeout_ms > 0 ? endpoint->timeout_ms : 10000;
    snprintf(client->name, sizeof client->name,
             strchr(node->host, ':') != NULL ? "[%s]:%d" : "%s:%d", node->host, node->port);
    status = set_up(client, params, address, what, deadline_ms, err);
    if (status != MB_OK) {
        redis_client_close(client);
        return status;
    }
    *ret_client = client;
    return MB_OK;
}

static enum mb_status check_master(struct redis_client *client, int64_t deadline_ms,
                                   struct mb_error *err)
{
    const char *role[] = {"ROLE"};
    const char *info[] = {"INFO", "replication"};
    redisReply *reply;
    enum mb_status status = call_text(client, deadline_ms, role, 1, &reply, err);
    bool replica = false;

    if (status == MB_OK && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0) {
        replica = reply->element[0]->type == REDIS_REPLY_STRING &&
                  strcmp(reply->element[0]->str, "master") != 0;
    } else if (status == MB_OK) { /* forbidden */
        redis_reply_free(reply);
        status = call_text(client, deadline_ms, info, 2, &reply, err);
        replica = status == MB_OK && reply->type == REDIS_REPLY_STRING &&
                  strstr(reply->str, "role:slave") != NULL;
    }
    redis_reply_free(reply);
    if (status == MB_OK && replica)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "replica",
                            "%s: the server is a replica, not the master", client->name);
    return status;
}

enum mb_status redis_client_open_master(const struct mb_open_params *params,
                                        const struct redis_node *node,
                                        const struct redis_address *address, const char *what,
                                        int64_t deadline_ms, struct redis_client **ret_client,
                                        struct mb_error *err)
{
    struct redis_client *client = NULL;
    enum mb_status status =
        redis_client_open(params, node, address, what, deadline_ms, &client, err);

    if (status == MB_OK)
        status = check_master(client, deadline_ms, err);
    if (status != MB_OK) {
        redis_client_close(client);
        return status;
    }
    *ret_client = client;
    return MB_OK;
}

enum mb_status redis_client_take_over(struct redis_client *client, size_t out_max,
                                      struct mb_error *err)
{
    const redisReader *reader = client->context->reader;

    client->fd = client->context->fd;
    if (reader->pos != reader->len || client->fd < 0)
        return redis_client_fail(client, err, "protocol", "the server sent what was not asked for");
    if (fcntl(client->fd, F_SETFL, fcntl(client->fd, F_GETFL) | O_NONBLOCK) < 0)
        return redis_client_fail(client, err, "closed", strerror(errno));
    client->context->flags &= ~REDIS_BLOCK;
    client->out.max = out_max;
    client->over = true;
    return MB_OK;
}

void redis_client_close(struct redis_client *client)
{
    const struct mb_host *host;

    if (client == NULL)
        return;
    host = client->host;
    if (client->context != NULL)
        redisFree(client->context);
    host->release(host->context, client->bounds);
    redis_in_release(&client->in);
    redis_out_release(&client->out);
    host->release(host->context, client);
}
