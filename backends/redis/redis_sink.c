/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sink: pipelined XADDs. A ring in the order of sending says what each reply is about; in a cluster
 * every node has its own connection, and what a node redirects is sent again in order before
 * anything new.
 */
#include "redis.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define WINDOW_MIN     64u
#define WINDOW_MAX     (1u << 17)
#define WRITE_SIZE     65536u
#define INSERTS_MAX    32u
#define ENTRY_SIZE_MAX ((uint64_t)1000 << 20) /* Redis drops a client that sends 1 GiB at once */
#define VALUE_MAX      ((uint64_t)512 << 20)

enum state { STATE_FREE = 0, STATE_OPEN, STATE_STORED, STATE_AGAIN };

struct outstanding {
    uint64_t sequence;
    const struct mb_message *message;
    struct mb_slice stream;
    struct mb_position position;
    uint16_t slot;
    uint8_t node;
    uint8_t state; /* enum state */
};

struct done {
    uint64_t sequence;
    struct mb_position position;
    enum mb_cause cause;
    const char *reason;
};

/* What a reply is about: the place of an entry, or one of these. */
#define EXPECT_WAIT   UINT32_MAX
#define EXPECT_ASKING (UINT32_MAX - 1)

struct link {
    struct redis_client *client;
    uint32_t *expected; /* a ring */
    uint32_t expected_mask;
    uint32_t expected_first;
    uint32_t expected_count;
    uint32_t unwaited; /* XADDs since the last WAIT */
    uint32_t events;   /* as registered with epoll */
};

struct mb_sink {
    const struct mb_host *host;
    const struct redis_sink_options *options;
    struct redis_topology *topology;
    struct link *links; /* by node; without a client where a node could not be reached */
    struct mb_carry carry;
    struct mb_slice body_field;
    uint64_t value_max;
    uint64_t max_length;
    bool about;
    bool templated;
    bool redirecting; /* nothing new before what was redirected */
    bool unknown;     /* to a node that we have no connection with */
    bool blocked;
    bool was_blocked; /* what the core knows */
    int epoll;
    uint8_t asked[REDIS_SLOTS]; /* node + 1 that a slot is moving to; 0: none */
    uint32_t capacity;          /* of both rings, a power of two */
    uint32_t open_count;        /* sent, and not replied to */
    uint64_t head;
    uint64_t tail;
    struct outstanding *ring;
    struct done *done;
    uint64_t done_head;
    uint64_t done_tail;
    char text[MB_ERROR_TEXT_SIZE]; /* of the last refusal */
    char reason[MB_REASON_SIZE];
};

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
    return MB_SINK_TELLS_POSITION;
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
    mb_carry_release(&sink->carry);
    host->release(host->context, sink->links);
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
    struct link *link = &sink->links[node];
    struct epoll_event event = {.events = EPOLLIN};
    enum mb_status status = redis_client_open_master(params, &sink->topology->nodes[node], address,
                                                     "sink", deadline_ms, &link->client, err);

    if (status == MB_OK)
        status = ask_limits(sink, link->client, deadline_ms, err);
    if (status == MB_OK)
        status = redis_client_take_over(link->client, REDIS_IN_MAX, err);
    if (status == MB_OK) {
        link->expected_mask = 4 * sink->capacity - 1;
        link->expected =
            sink->host->alloc(sink->host->context, 4 * sink->capacity * sizeof *link->expected);
        if (link->expected == NULL)
            status =
                mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    }
    if (status == MB_OK && sink->epoll >= 0) {
        link->events = event.events;
        if (epoll_ctl(sink->epoll, EPOLL_CTL_ADD, link->client->fd, &event) != 0)
            status = redis_client_fail(link->client, err, "descriptors", strerror(errno));
    }
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
        redis_max_length_parse(sink->options->max_length, &sink->about, &sink->max_length);
    mb_carry_init(&sink->carry, params, REDIS_PLATFORM, redis_project, &sink->body_field,
                  REDIS_SIDECAR_MAX);
    sink->capacity = WINDOW_MIN;
    while (sink->capacity < params->window_messages && sink->capacity < WINDOW_MAX)
        sink->capacity *= 2;
    sink->ring = redis_alloc_zero(host, sink->capacity * sizeof *sink->ring);
    sink->done = redis_alloc_zero(host, sink->capacity * sizeof *sink->done);
    status = redis_address_resolve(params->endpoint, &address, err);
    if (status == MB_OK && (sink->ring == NULL || sink->done == NULL))
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    if (status == MB_OK)
        status = redis_topology_load(params, params->endpoint, &address, deadline_ms,
                                     &sink->topology, err);
    if (status == MB_OK) {
        sink->links = redis_alloc_zero(host, sink->topology->nodes_count * sizeof *sink->links);
        status = sink->links == NULL ? mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION,
                                                    "memory", "out of memory")
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

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    for (size_t i = 0; i < sink->topology->nodes_count; i++) {
        struct link *link = &sink->links[i];
        int64_t deadline_ms;

        if (link->client == NULL)
            continue;
        if (link->unwaited > 0)
            wait->ready = true;
        if (sink->epoll < 0) {
            redis_client_fds(link->client, wait);
        } else {
            struct epoll_event event = {.events =
                                            EPOLLIN | (link->client->wants_write ? EPOLLOUT : 0u)};

            if (event.events != link->events &&
                epoll_ctl(sink->epoll, EPOLL_CTL_MOD, link->client->fd, &event) == 0)
                link->events = event.events;
            if (link->client->unread)
                wait->ready = true;
        }
        deadline_ms =
            link->client->asked_ms + link->client->timeout_ms + sink->options->wait_timeout_ms + 1;
        if (link->expected_count > 0 && deadline_ms < wait->deadline_ms)
            wait->deadline_ms = deadline_ms;
    }
    if (sink->epoll >= 0 && wait->count < MB_WAIT_FDS_MAX) {
        wait->fds[wait->count].fd = sink->epoll;
        wait->fds[wait->count].events = POLLIN;
        wait->fds[wait->count].revents = 0;
        wait->count++;
    }
    if (sink->done_head != sink->done_tail)
        wait->ready = true;
}

/* ---- sending ---- */

static struct outstanding *at_place(struct mb_sink *sink, uint64_t place)
{
    return &sink->ring[place & (sink->capacity - 1)];
}

static void push_done(struct mb_sink *sink, uint64_t sequence, enum mb_cause cause,
                      const char *reason, struct mb_position position)
{
    sink->done[sink->done_tail++ & (sink->capacity - 1)] =
        (struct done){sequence, position, cause, reason};
}

static void refuse_item(struct mb_sink *sink, uint64_t sequence, enum mb_cause cause,
                        const char *reason, const char *text)
{
    snprintf(sink->text, sizeof sink->text, "%s", text);
    push_done(sink, sequence, cause, reason, (struct mb_position){0});
}

/* Room for one more in both rings. */
static bool has_room(const struct mb_sink *sink)
{
    return sink->head - sink->tail < sink->capacity &&
           (sink->head - sink->tail) + (sink->done_tail - sink->done_head) < sink->capacity;
}

static void expect(struct link *link, uint32_t what)
{
    if (link->expected_count == 0)
        link->client->asked_ms = redis_now_ms(link->client->host);
    link->expected[(link->expected_first + link->expected_count++) & link->expected_mask] = what;
}

static void put_fields(struct mb_sink *sink, struct redis_out *out, const struct mb_outgoing *item,
                       const struct redis_field *fields, size_t count)
{
    redis_out_array(out,
                    3 + (sink->max_length > 0 ? 2u + (sink->about ? 1u : 0u) : 0u) + 2 * count);
    redis_out_raw(out, "$4\r\nXADD\r\n", 10);
    redis_out_bulk(out, item->names[REDIS_NAME_STREAM]);
    if (sink->max_length > 0) {
        redis_out_text(out, "MAXLEN");
        if (sink->about)
            redis_out_text(out, "~");
        redis_out_number(out, sink->max_length);
    }
    redis_out_raw(out, "$1\r\n*\r\n", 7);
    for (size_t i = 0; i < count; i++) {
        redis_out_bulk(out, fields[i].name);
        /* What lies in the message stays there until it completes. */
        if (fields[i].value.data == item->message->body.data)
            redis_out_bulk_later(out, fields[i].value);
        else
            redis_out_bulk(out, fields[i].value);
    }
}

/* NULL: it fits. */
static const char *too_large(const struct mb_sink *sink, const struct redis_field *fields,
                             size_t count)
{
    uint64_t total = 0;

    for (size_t i = 0; i < count; i++) {
        if (fields[i].name.size > sink->value_max || fields[i].value.size > sink->value_max)
            return "a field is larger than the server takes (proto-max-bulk-len)";
        total += fields[i].name.size + fields[i].value.size + 2 * REDIS_NUMBER_MAX;
    }
    return total > ENTRY_SIZE_MAX ? "the entry is larger than a server takes at once (1 GiB)"
                                  : NULL;
}

/* Encodes the item into its link. MB_REJECTED: *err says why it cannot be. */
static enum mb_status put_item(struct mb_sink *sink, const struct mb_outgoing *item,
                               struct link *link, struct mb_error *err)
{
    struct redis_field *fields = NULL;
    struct mb_carried carried;
    const char *large;
    size_t count = 0;
    enum mb_status status = mb_carry_prepare(&sink->carry, item, &carried, err);

    if (status != MB_OK)
        return status;
    if (redis_entry_encode(&carried, sink->body_field, &sink->carry.scratch.arena, &fields,
                           &count) != MB_OK)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    large = too_large(sink, fields, count);
    if (large != NULL)
        return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "too-large", "%s", large);
    put_fields(sink, &link->client->out, item, fields, count);
    link->unwaited++;
    return MB_OK;
}

/* The node that an item goes to; asking: with ASKING in front. */
static unsigned route(const struct mb_sink *sink, uint16_t slot, bool *ret_asking)
{
    *ret_asking = false;
    if (!sink->topology->cluster)
        return 0;
    if (sink->asked[slot] > 0) {
        *ret_asking = true;
        return sink->asked[slot] - 1u;
    }
    return sink->topology->slots[slot];
}

static enum mb_status transmit(struct mb_sink *sink, struct outstanding *entry, uint64_t place,
                               struct mb_error *err)
{
    struct mb_outgoing item = {.sequence = entry->sequence, .message = entry->message};
    struct link *link;
    bool asking;
    unsigned node = route(sink, entry->slot, &asking);
    enum mb_status status;

    if (node >= sink->topology->nodes_count || sink->links[node].client == NULL)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "cluster-down",
                            "the node that serves stream \"%.200s\" cannot be reached",
                            (const char *)entry->stream.data);
    link = &sink->links[node];
    item.names[REDIS_NAME_STREAM] = entry->stream;
    if (asking) {
        redis_out_raw(&link->client->out, "*1\r\n$6\r\nASKING\r\n", 16);
        expect(link, EXPECT_ASKING);
    }
    status = put_item(sink, &item, link, err);
    if (status != MB_OK)
        return status;
    expect(link, (uint32_t)(place & (sink->capacity - 1)));
    entry->node = (uint8_t)node;
    entry->state = STATE_OPEN;
    sink->open_count++;
    return MB_OK;
}

static enum mb_status send_one(struct mb_sink *sink, const struct mb_outgoing *item,
                               struct mb_error *err)
{
    struct outstanding *entry = at_place(sink, sink->head);
    enum mb_status status;

    *entry = (struct outstanding){.sequence = item->sequence,
                                  .message = item->message,
                                  .stream = item->names[REDIS_NAME_STREAM]};
    if (sink->topology->cluster)
        entry->slot = (uint16_t)redis_slot_of(entry->stream);
    status = transmit(sink, entry, sink->head, err);
    if (status == MB_OK) {
        sink->head++;
    } else if (status == MB_REJECTED) {
        snprintf(sink->reason, sizeof sink->reason, "%s", err->reason);
        refuse_item(sink, item->sequence, MB_CAUSE_MESSAGE, sink->reason, err->text);
        status = MB_OK;
    }
    return status;
}

/* Puts WAIT behind what was buffered, and writes. */
static enum mb_status write_out(struct mb_sink *sink, struct mb_error *err)
{
    enum mb_status result = MB_OK;

    for (size_t i = 0; i < sink->topology->nodes_count; i++) {
        struct link *link = &sink->links[i];
        enum mb_status status;

        if (link->client == NULL)
            continue;
        if (sink->options->wait_replicas > 0 && link->unwaited > 0) {
            redis_out_array(&link->client->out, 3);
            redis_out_text(&link->client->out, "WAIT");
            redis_out_number(&link->client->out, (uint64_t)sink->options->wait_replicas);
            redis_out_number(&link->client->out, (uint64_t)sink->options->wait_timeout_ms);
            expect(link, EXPECT_WAIT);
        }
        link->unwaited = 0;
        status = redis_client_write(link->client, err);
        if (status == MB_DISCONNECTED)
            return status;
        if (status == MB_AGAIN)
            result = MB_AGAIN;
    }
    return result;
}

static bool is_full(const struct mb_sink *sink)
{
    for (size_t i = 0; i < sink->topology->nodes_count; i++) {
        const struct redis_client *client = sink->links[i].client;

        if (client != NULL && (redis_out_size(&client->out) >= WRITE_SIZE ||
                               client->out.inserts_count >= INSERTS_MAX))
            return true;
    }
    return false;
}

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    enum mb_status status;

    for (*ret_taken = 0; *ret_taken < count; ++*ret_taken) {
        if (is_full(sink)) {
            status = write_out(sink, err);
            if (status != MB_OK)
                return status;
        }
        if (sink->redirecting || !has_room(sink))
            return MB_AGAIN;
        status = send_one(sink, &items[*ret_taken], err);
        if (status != MB_OK) {
            err->status = MB_DISCONNECTED;
            return MB_DISCONNECTED;
        }
    }
    return MB_OK;
}

/* ---- replies ---- */

static void advance_tail(struct mb_sink *sink)
{
    while (sink->tail < sink->head && at_place(sink, sink->tail)->state == STATE_FREE)
        sink->tail++;
}

/* An earlier message of the same stream has to go first. */
static bool is_overtaking(struct mb_sink *sink, const struct outstanding *entry)
{
    for (uint64_t place = sink->tail; place < sink->head; place++) {
        const struct outstanding *other = at_place(sink, place);

        if (other == entry)
            return false;
        if (other->state == STATE_AGAIN && mb_slice_equal(other->stream, entry->stream))
            return true;
    }
    return false;
}

static void take_stored(struct mb_sink *sink, struct outstanding *entry, struct mb_slice id)
{
    redis_id_parse(id, &entry->position);
    if (sink->redirecting && is_overtaking(sink, entry)) {
        entry->state = STATE_AGAIN;
        return;
    }
    if (sink->options->wait_replicas > 0) {
        entry->state = STATE_STORED;
        return;
    }
    entry->state = STATE_FREE;
    push_done(sink, entry->sequence, MB_CAUSE_NONE, NULL, entry->position);
}

static enum mb_status take_redirect(struct mb_sink *sink, struct link *link,
                                    struct outstanding *entry, struct mb_slice text, bool moved,
                                    struct mb_error *err)
{
    struct redis_node node;
    unsigned slot;
    unsigned index;

    if (!sink->topology->cluster)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "cluster",
                            "%s: the server is a member of a cluster: the endpoint needs "
                            "cluster = true",
                            link->client->name);
    if (!redis_redirect_parse(text, &link->client->node, &slot, &node))
        return redis_client_fail(link->client, err, "protocol", "a redirection without a place");
    index = redis_topology_find(sink->topology, &node);
    entry->state = STATE_AGAIN;
    sink->redirecting = true;
    if (index == REDIS_NODES_MAX || sink->links[index].client == NULL) {
        sink->unknown = true;
    } else if (moved) {
        sink->topology->slots[slot] = (uint8_t)index;
        sink->asked[slot] = 0;
    } else {
        sink->asked[slot] = (uint8_t)(index + 1);
    }
    return MB_OK;
}

static enum mb_status take_refusal(struct mb_sink *sink, struct link *link,
                                   struct outstanding *entry, struct mb_slice text,
                                   struct mb_error *err)
{
    const struct redis_refusal *refusal = redis_refusal_of(text);
    enum mb_cause cause = refusal->cause;
    char what[REDIS_NAME_MAX];
    struct mb_error why;

    switch (refusal->kind) {
    case REDIS_REFUSED_MOVED:
    case REDIS_REFUSED_ASK:
        return take_redirect(sink, link, entry, text, refusal->kind == REDIS_REFUSED_MOVED, err);
    case REDIS_REFUSED_WRONG_TYPE:
        if (sink->templated)
            cause = MB_CAUSE_MESSAGE;
        break;
    case REDIS_REFUSED_OTHER:
    case REDIS_REFUSED_ACCESS:
    case REDIS_REFUSED_FULL:
    case REDIS_REFUSED_STORAGE:
    case REDIS_REFUSED_REPLICAS:
    case REDIS_REFUSED_LOADING:
    case REDIS_REFUSED_CLUSTER:
    case REDIS_REFUSED_ROLE:
    case REDIS_REFUSED_NO_GROUP:
    case REDIS_REFUSED_SCRIPT:
        break;
    }
    snprintf(what, sizeof what, "an entry for stream \"%.*s\"",
             (int)(entry->stream.size < 200 ? entry->stream.size : 200),
             (const char *)entry->stream.data);
    mb_error_clear(&why);
    redis_refuse(link->client, text, what, &why);
    if (cause == MB_CAUSE_CONNECTION) {
        *err = why;
        err->status = MB_DISCONNECTED;
        return MB_DISCONNECTED;
    }
    entry->state = STATE_FREE;
    refuse_item(sink, entry->sequence, cause, refusal->reason, why.text);
    return MB_OK;
}

/* WAIT's answer: how many replicas have all that was sent before it. */
static void take_wait(struct mb_sink *sink, struct link *link, int64_t replicas)
{
    size_t node = (size_t)(link - sink->links);

    if (replicas < sink->options->wait_replicas) {
        sink->blocked = true;
        link->unwaited = 1; /* ask again, until they have it */
        return;
    }
    sink->blocked = false;
    for (uint64_t place = sink->tail; place < sink->head; place++) {
        struct outstanding *entry = at_place(sink, place);

        if (entry->state == STATE_STORED && entry->node == node) {
            entry->state = STATE_FREE;
            push_done(sink, entry->sequence, MB_CAUSE_NONE, NULL, entry->position);
        }
    }
}

static enum mb_status take_reply(struct mb_sink *sink, struct link *link,
                                 const struct redis_token *token, struct mb_error *err)
{
    struct outstanding *entry;
    uint32_t what;

    if (link->expected_count == 0)
        return redis_client_fail(link->client, err, "protocol",
                                 "the server sent what was not asked for");
    what = link->expected[link->expected_first++ & link->expected_mask];
    link->expected_count--;
    if (what == EXPECT_ASKING)
        return MB_OK;
    if (what == EXPECT_WAIT) {
        if (token->kind != REDIS_TOKEN_INTEGER)
            return redis_refuse(link->client, token->text, "WAIT (wait_replicas)", err);
        take_wait(sink, link, token->number);
        return MB_OK;
    }
    entry = &sink->ring[what];
    sink->open_count--;
    if (token->kind == REDIS_TOKEN_BULK)
        take_stored(sink, entry, token->text);
    else if (token->kind == REDIS_TOKEN_ERROR)
        return take_refusal(sink, link, entry, token->text, err);
    else
        return redis_client_fail(link->client, err, "protocol", "XADD was answered with no ID");
    return MB_OK;
}

static enum mb_status take_replies(struct mb_sink *sink, struct link *link, struct mb_error *err)
{
    struct redis_in *in = &link->client->in;
    struct redis_cursor cursor = redis_in_cursor(in);
    enum mb_status status = MB_OK;

    while (status == MB_OK) {
        struct redis_token token;
        enum redis_token_kind kind = redis_token_next(&cursor, &token);

        if (kind == REDIS_TOKEN_NONE)
            break;
        if (kind == REDIS_TOKEN_BAD || kind == REDIS_TOKEN_ARRAY)
            status = redis_client_fail(link->client, err, "protocol", "the server sent no RESP");
        else
            status = take_reply(sink, link, &token, err);
    }
    redis_in_taken(in, &cursor);
    return status;
}

/* Everything is answered: what was redirected goes to its new place, in order. */
static enum mb_status send_again(struct mb_sink *sink, struct mb_error *err)
{
    enum mb_status status = MB_OK;

    if (!sink->redirecting || sink->open_count > 0)
        return MB_OK;
    if (sink->unknown)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "moved",
                            "a slot has moved to a node that is new: the cluster's map is asked "
                            "for again");
    sink->redirecting = false;
    for (uint64_t place = sink->tail; place < sink->head && status == MB_OK; place++) {
        struct outstanding *entry = at_place(sink, place);

        if (entry->state == STATE_AGAIN)
            status = transmit(sink, entry, place, err);
        /* It was encoded once already. */
        if (status != MB_OK)
            status = MB_DISCONNECTED;
    }
    return status;
}

static enum mb_status take_input(struct mb_sink *sink, struct mb_error *err)
{
    int64_t now_ms = redis_now_ms(sink->host);

    for (size_t i = 0; i < sink->topology->nodes_count; i++) {
        struct link *link = &sink->links[i];
        struct redis_client *client = link->client;
        enum mb_status status;

        if (client == NULL)
            continue;
        status = redis_client_read(client, err);
        if (status == MB_OK) {
            client->asked_ms = now_ms;
            status = take_replies(sink, link, err);
        } else if (status == MB_AGAIN) {
            status = MB_OK;
            if (link->expected_count > 0 &&
                now_ms - client->asked_ms > client->timeout_ms + sink->options->wait_timeout_ms)
                status = redis_client_fail(client, err, "timeout",
                                           "the server does not answer: it is taken to be dead");
        }
        advance_tail(sink);
        if (status != MB_OK)
            return status;
    }
    return send_again(sink, err);
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
    enum mb_status status = take_input(sink, err);
    size_t count = 0;

    tell_blocked(sink);
    while (count < max && sink->done_head != sink->done_tail) {
        const struct done *done = &sink->done[sink->done_head++ & (sink->capacity - 1)];
        struct mb_completion *completion = &completions[count++];

        memset(completion, 0, sizeof *completion);
        completion->sequence = done->sequence;
        completion->cause = (uint32_t)done->cause;
        completion->partition = -1;
        completion->position = done->position;
        completion->reason = done->reason;
        completion->text = done->cause != MB_CAUSE_NONE ? sink->text : NULL;
    }
    *ret_count = count;
    return status;
}

static enum mb_status sink_flush(struct mb_sink *sink, struct mb_error *err)
{
    enum mb_status status = write_out(sink, err);

    return status == MB_AGAIN ? MB_OK : status;
}

const struct mb_sink_ops redis_sink_ops = {
    .struct_size = sizeof(struct mb_sink_ops),
    .traits = sink_traits,
    .open = sink_open,
    .fds = sink_fds,
    .send = sink_send,
    .completions = sink_completions,
    .flush = sink_flush,
    .service = sink_flush,
    .close = sink_close,
};
