/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sink: pipelined XADDs. What a cluster's node redirects is sent again in order before anything
 * new.
 */
#include "redis_sink.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define WINDOW_MIN 64u
#define BUSY_MIN   1024u /* unanswered: more than a server does in a millisecond */
#define WINDOW_MAX (1u << 17)
#define VALUE_MAX  ((uint64_t)512 << 20)
/* The list of fields of one entry, and header values that had to become text. */
#define SCRATCH_MAX ((size_t)512 << 20)

bool redis_max_length_parse(const char *text, bool *ret_about, uint64_t *ret_length)
{
    char *rest;

    *ret_about = *text == '~';
    text += *text == '~' || *text == '=' ? 1 : 0;
    if (*text < '0' || *text > '9')
        return false;
    *ret_length = strtoull(text, &rest, 10);
    return *rest == '\0' && *ret_length > 0 && *ret_length <= INT64_MAX;
}

static uint64_t sink_traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return MB_SINK_TELLS_POSITION | MB_SINK_DEDUPLICATES;
}

/* ---- open, close ---- */

static void sink_close(struct mb_sink *sink)
{
    const struct mb_host *host;

    if (sink == NULL)
        return;
    host = sink->host;
    for (size_t i = 0; sink->links != NULL && i < sink->topology->nodes_count; i++) {
        redis_client_close(sink->links[i].client);
        host->release(host->context, sink->links[i].expected);
    }
    if (sink->epoll >= 0)
        close(sink->epoll);
    redis_once_destroy(sink->once);
    mb_carry_release(&sink->carry);
    mb_scratch_release(&sink->scratch);
    host->release(host->context, sink->links);
    host->release(host->context, sink->asked);
    host->release(host->context, sink->topology);
    host->release(host->context, sink->ring);
    host->release(host->context, sink->done);
    host->release(host->context, sink);
}

/* What the server takes in one value; its default where it does not tell. */
static enum mb_status ask_limits(struct mb_sink *sink, struct redis_client *client,
                                 int64_t deadline_ms, struct mb_error *err)
{
    const struct mb_slice arguments[] = {MB_SLICE_LITERAL("CONFIG"), MB_SLICE_LITERAL("GET"),
                                         MB_SLICE_LITERAL("proto-max-bulk-len")};
    redisReply *reply;
    enum mb_status status = redis_call(client, deadline_ms, 3, arguments, &reply, err);

    if (status == MB_OK && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
        uint64_t limit = strtoull(reply->element[1]->str, NULL, 10);

        if (limit > 0 && limit < sink->value_max)
            sink->value_max = limit;
    }
    redis_reply_free(reply);
    return status;
}

static enum mb_status open_link(struct mb_sink *sink, const struct mb_open_params *params,
                                const struct redis_address *address, size_t node,
                                int64_t deadline_ms, struct mb_error *err)
{
    struct redis_target *link = &sink->links[node];
    enum mb_status status = redis_client_open_master(params, &sink->topology->nodes[node], address,
                                                     "sink", deadline_ms, &link->client, err);

    if (status == MB_OK)
        status = ask_limits(sink, link->client, deadline_ms, err);
    if (status == MB_OK && sink->once != NULL)
        status = redis_once_load(sink->once, link->client, deadline_ms, err);
    if (status == MB_OK)
        status = redis_client_take_over(link->client, REDIS_IN_MAX, err);
    if (status == MB_OK) {
        link->expected_mask = REDIS_EXPECTED_EACH * sink->capacity - 1;
        link->expected = sink->host->alloc(
            sink->host->context, REDIS_EXPECTED_EACH * sink->capacity * sizeof *link->expected);
        if (link->expected == NULL)
            status =
                mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    }
    if (status == MB_OK)
        status = redis_client_watch(link->client, sink->epoll, err);
    if (status != MB_OK) {
        redis_client_close(link->client);
        link->client = NULL;
    }
    return status;
}

/* In a cluster all masters, so that a redirection finds its way at once; only that of a fixed
 * stream has to be there. */
static enum mb_status open_links(struct mb_sink *sink, const struct mb_open_params *params,
                                 const struct redis_address *address, int64_t deadline_ms,
                                 struct mb_error *err)
{
    size_t count = sink->topology->nodes_count;
    unsigned needed = REDIS_NODES_MAX;
    size_t opened = 0;
    enum mb_status status = MB_OK;

    if (!sink->templated && sink->options->stream != NULL) {
        needed = redis_topology_node(sink->topology, mb_slice_text(sink->options->stream));
        if (needed == REDIS_NODES_MAX)
            return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "cluster-down",
                                "no node of the cluster serves the slot of stream \"%.200s\"",
                                sink->options->stream);
    }
    if (count > MB_WAIT_FDS_MAX) {
        sink->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (sink->epoll < 0)
            return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "descriptors", "%s",
                                strerror(errno));
    }
    for (size_t i = 0; i < count; i++) {
        int64_t now_ms = redis_now_ms(sink->host);
        int64_t own_ms =
            i == needed ? deadline_ms : now_ms + (deadline_ms - now_ms) / (int64_t)(count - i + 1);
        struct mb_error own;

        mb_error_clear(&own);
        if (open_link(sink, params, address, i, own_ms, &own) == MB_OK) {
            opened++;
        } else if (i == needed || status == MB_OK) {
            *err = own;
            status = own.status;
            if (i == needed)
                return status;
        }
    }
    return opened > 0 ? MB_OK : status;
}

static enum mb_status sink_open(const struct mb_open_params *params, struct mb_sink **ret_sink,
                                struct mb_error *err)
{
    const struct mb_host *host = params->host;
    int64_t deadline_ms = redis_now_ms(host) + (int64_t)params->timeout_ms;
    struct mb_sink *sink = redis_alloc_zero(host, sizeof *sink);
    struct redis_address address;
    uint64_t max_length = 0;
    bool about = false;
    enum mb_status status;

    *ret_sink = NULL;
    if (sink == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    sink->host = host;
    sink->epoll = -1;
    sink->options = params->options;
    sink->body_field = mb_slice_text(sink->options->body_field);
    sink->templated = params->names_templated != 0;
    sink->value_max = VALUE_MAX;
    if (sink->options->max_length != NULL)
        redis_max_length_parse(sink->options->max_length, &about, &max_length);
    redis_sink_set_trim(sink, about, max_length);
    mb_carry_init(&sink->carry, params, REDIS_PLATFORM, redis_project, &sink->body_field,
                  REDIS_SIDECAR_MAX);
    mb_scratch_init(&sink->scratch, SCRATCH_MAX);
    sink->capacity = WINDOW_MIN;
    while (sink->capacity < params->window_messages && sink->capacity < WINDOW_MAX)
        sink->capacity *= 2;
    sink->ring = host->alloc(host->context, sink->capacity * sizeof *sink->ring);
    sink->done = host->alloc(host->context, sink->capacity * sizeof *sink->done);
    status = redis_address_resolve(params->endpoint, &address, err);
    if (status == MB_OK && (sink->ring == NULL || sink->done == NULL))
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    if (status == MB_OK && params->effectively_once)
        status = redis_once_create(params, &sink->once, err);
    if (status == MB_OK)
        status = redis_topology_load(params, params->endpoint, &address, deadline_ms,
                                     &sink->topology, err);
    if (status == MB_OK) {
        sink->links = redis_alloc_zero(host, sink->topology->nodes_count * sizeof *sink->links);
        if (address.cluster)
            sink->asked = redis_alloc_zero(host, REDIS_SLOTS);
        status =
            sink->links == NULL || (address.cluster && sink->asked == NULL)
                ? mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory")
                : open_links(sink, params, &address, deadline_ms, err);
    }
    explicit_bzero(&address, sizeof address);
    if (status != MB_OK) {
        sink_close(sink);
        return status;
    }
    *ret_sink = sink;
    return MB_OK;
}

/* The server answers what one read brought it, 16 KB: a busy lane would be woken for every 60
 * messages. While the server has enough to do, the rest of this millisecond's answers may gather.
 */
static void rest(struct redis_target *link, struct mb_wait *wait)
{
    struct redis_client *client = link->client;

    client->deaf =
        link->expected_count >= BUSY_MIN && client->came_ms == redis_now_ms(client->host);
    if (client->deaf && client->came_ms + 1 < wait->deadline_ms)
        wait->deadline_ms = client->came_ms + 1;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    for (size_t i = 0; i < sink->topology->nodes_count; i++) {
        struct redis_target *link = &sink->links[i];
        int64_t deadline_ms;

        if (link->client == NULL)
            continue;
        if (link->unwaited > 0)
            wait->ready = true;
        rest(link, wait);
        redis_client_fds(link->client, sink->epoll, wait);
        deadline_ms =
            link->client->asked_ms + link->client->timeout_ms + sink->options->wait_timeout_ms + 1;
        if (redis_is_awaiting(link) && deadline_ms < wait->deadline_ms)
            wait->deadline_ms = deadline_ms;
    }
    redis_epoll_fds(sink->epoll, wait);
    if (sink->done_head != sink->done_tail)
        wait->ready = true;
}

static void tell_blocked(struct mb_sink *sink)
{
    struct mb_event event;
    struct mb_error err;

    if (sink->blocked == sink->was_blocked)
        return;
    sink->was_blocked = sink->blocked;
    memset(&event, 0, sizeof event);
    event.struct_size = sizeof event;
    event.partition = -1;
    event.kind = sink->blocked ? MB_EVENT_BLOCKED : MB_EVENT_UP;
    if (sink->blocked) {
        mb_error_clear(&err);
        mb_error_set(&err, MB_AGAIN, MB_CAUSE_DESTINATION, "replicas",
                     "fewer replicas than wait_replicas = %lld have what was written",
                     (long long)sink->options->wait_replicas);
        event.error = &err;
    }
    sink->host->event(sink->host->context, &event);
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    enum mb_status status = redis_sink_take_input(sink, err);
    size_t count = 0;

    tell_blocked(sink);
    while (count < max && sink->done_head != sink->done_tail) {
        const struct redis_done *done = &sink->done[sink->done_head++ & (sink->capacity - 1)];
        struct mb_completion *completion = &completions[count++];

        sink->refusals -= done->cause != MB_CAUSE_NONE;
        memset(completion, 0, sizeof *completion);
        completion->sequence = done->sequence;
        completion->cause = (uint32_t)done->cause;
        completion->partition = -1;
        completion->position = done->position;
        completion->reason = done->reason;
        completion->text = done->cause != MB_CAUSE_NONE ? sink->text : NULL;
    }
    if (sink->done_head == sink->done_tail)
        sink->done_head = sink->done_tail = 0;
    *ret_count = count;
    return status;
}

static enum mb_status write_out(struct mb_sink *sink, struct mb_error *err)
{
    enum mb_status status = redis_sink_write_out(sink, err);

    return status == MB_AGAIN ? MB_OK : status;
}

static enum mb_status sink_flush(struct mb_sink *sink, struct mb_error *err)
{
    for (size_t i = 0; i < sink->topology->nodes_count; i++)
        redis_multi_end(&sink->links[i]);
    return write_out(sink, err);
}

static enum mb_status sink_service(struct mb_sink *sink, struct mb_error *err)
{
    bool is_growing = false;

    for (size_t i = 0; i < sink->topology->nodes_count; i++)
        is_growing = redis_multi_grows(&sink->links[i]) || is_growing;
    return is_growing && !sink->full ? MB_OK : write_out(sink, err);
}

const struct mb_sink_ops redis_sink_ops = {
    .struct_size = sizeof(struct mb_sink_ops),
    .traits = sink_traits,
    .open = sink_open,
    .fds = sink_fds,
    .send = redis_sink_send,
    .completions = sink_completions,
    .flush = sink_flush,
    .service = sink_service,
    .close = sink_close,
};
