/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Source: a consumer of a group; a scope a stream. What the group gave out and nobody acknowledged
 * comes first, then what is new. Acknowledgements go one by one (XACK), many in one command.
 */
#include "redis_source.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CLOSE_WAIT_MS     3000u
#define FLIGHTS_MIN       64u
#define FLIGHTS_MAX       (1u << 20)
#define ACK_SIZE_MAX      64u
#define DELIVERED_MAX     1000u
#define LEASE_MARGIN_MS   500
#define COUNTING_EVERY_MS 5000

static uint64_t source_traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return MB_SOURCE_EXCLUSIVE | MB_SOURCE_SEEKS;
}

static size_t add_streams(const char *streams[], size_t count, const struct mb_strings *names)
{
    for (size_t i = 0; i < names->count && count <= REDIS_STREAMS_MAX; i++) {
        size_t at = 0;

        while (at < count && strcmp(streams[at], names->items[i]) != 0)
            at++;
        if (at == count)
            streams[count++] = names->items[i];
    }
    return count;
}

/* At most one more than there may be, and each once. */
static size_t streams_of(const struct mb_open_params *params,
                         const struct redis_source_options *options, const char *streams[])
{
    size_t count = 0;

    if (options->stream != NULL)
        streams[count++] = options->stream;
    return add_streams(streams, count,
                       params->streams != NULL ? params->streams : &options->streams);
}

static void source_close(struct mb_source *source);

static bool allocate(struct mb_source *source, size_t streams, size_t links, uint32_t window)
{
    const struct mb_host *host = source->host;
    uint64_t flights = FLIGHTS_MIN;

    while (flights < window && flights < FLIGHTS_MAX)
        flights *= 2;
    source->flights_mask = flights - 1;
    source->flights = host->alloc(host->context, (size_t)flights * sizeof *source->flights);
    source->scopes = redis_alloc_zero(host, streams * sizeof *source->scopes);
    source->links = redis_alloc_zero(host, links * sizeof *source->links);
    window = window > 0 ? window : 1;
    source->window = window < FLIGHTS_MAX ? window : FLIGHTS_MAX;
    source->acks_max = source->window / 16 < REDIS_ACKS_MAX ? source->window / 16 : REDIS_ACKS_MAX;
    source->acks = host->alloc(host->context, (source->acks_max + 1) * sizeof *source->acks);
    source->delivered = redis_alloc_zero(host, DELIVERED_MAX * sizeof *source->delivered);
    return source->flights != NULL && source->scopes != NULL && source->links != NULL &&
           source->acks != NULL && source->delivered != NULL;
}

/* The link of the stream's slot; a new one gets its commands connection. */
static enum mb_status link_for(struct mb_source *source, const struct mb_open_params *params,
                               const struct redis_address *address, struct redis_scope *scope,
                               int64_t deadline_ms, struct mb_error *err)
{
    struct mb_slice stream = mb_slice_text(scope->stream);
    unsigned node = redis_topology_node(source->topology, stream);
    unsigned slot = source->topology->cluster ? redis_slot_of(stream) : 0;
    struct redis_link *link;
    enum mb_status status;

    if (node == REDIS_NODES_MAX)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "cluster-down",
                            "no node of the cluster serves the slot of stream \"%.200s\"",
                            scope->stream);
    for (uint32_t i = 0; i < source->links_count; i++) {
        if (source->links[i].slot == slot) {
            scope->link = &source->links[i];
            return MB_OK;
        }
    }
    link = &source->links[source->links_count];
    status = redis_client_open_master(params, &source->topology->nodes[node], address, "acks",
                                      deadline_ms, &link->commands, err);
    if (status != MB_OK)
        return status;
    link->slot = slot;
    link->ahead.depth = 1;
    source->links_count++;
    scope->link = link;
    return MB_OK;
}

static enum mb_status open_scope(struct mb_source *source, struct redis_scope *scope,
                                 int64_t deadline_ms, struct mb_error *err)
{
    struct redis_client *client = scope->link->commands;
    enum mb_status status;

    if (source->ordered) {
        int64_t sent_ms = redis_now_ms(source->host);

        status =
            redis_lease_take(client, scope->stream, source->group, deadline_ms, &scope->lease, err);
        if (status != MB_OK)
            return status;
        scope->has_lease = true;
        scope->renewed_ms = sent_ms;
        scope->renew_sent_ms = sent_ms;
    }
    return redis_group_prepare(source, scope, client, deadline_ms, err);
}

static enum mb_status open_reader(struct mb_source *source, const struct mb_open_params *params,
                                  const struct redis_address *address, struct redis_link *link,
                                  int64_t deadline_ms, struct mb_error *err)
{
    size_t out_max = 131072u + 2 * ((size_t)source->flights_mask + 1) * ACK_SIZE_MAX;
    enum mb_status status = redis_client_open_master(params, &link->commands->node, address,
                                                     "reader", deadline_ms, &link->reader, err);

    if (status == MB_OK)
        status = redis_client_take_over(link->reader, out_max, err);
    if (status == MB_OK)
        status = redis_client_take_over(link->commands, out_max, err);
    if (status == MB_OK)
        status = redis_client_watch(link->reader, source->epoll, err);
    if (status == MB_OK)
        status = redis_client_watch(link->commands, source->epoll, err);
    return status;
}

static enum mb_status connect_all(struct mb_source *source, const struct mb_open_params *params,
                                  const char *const *streams, int64_t deadline_ms,
                                  struct mb_error *err)
{
    struct redis_address address;
    enum mb_status status = redis_address_resolve(params->endpoint, &address, err);

    if (status == MB_OK)
        status = redis_topology_load(params, params->endpoint, &address, deadline_ms,
                                     &source->topology, err);
    for (uint32_t i = 0; status == MB_OK && i < source->scopes_count; i++) {
        source->scopes[i].stream = streams[i];
        status = link_for(source, params, &address, &source->scopes[i], deadline_ms, err);
        if (status == MB_OK)
            status = open_scope(source, &source->scopes[i], deadline_ms, err);
    }
    if (status == MB_OK && 2 * source->links_count > MB_WAIT_FDS_MAX) {
        source->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (source->epoll < 0)
            status = mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "descriptors", "%s",
                                  strerror(errno));
    }
    for (uint32_t i = 0; status == MB_OK && i < source->links_count; i++)
        status = open_reader(source, params, &address, &source->links[i], deadline_ms, err);
    explicit_bzero(&address, sizeof address);
    return status;
}

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    const struct redis_source_options *options = params->options;
    const struct redis_endpoint *endpoint = params->endpoint;
    const char *streams[REDIS_STREAMS_MAX + 1];
    size_t count = streams_of(params, options, streams);
    const char *group = options->group != NULL && options->group[0] != '\0' ? options->group
                                                                            : params->default_group;
    int64_t now_ms = redis_now_ms(params->host);
    struct mb_source *source;
    enum mb_status status = MB_OK;

    *ret_source = NULL;
    if (count == 0)
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing",
                            "no stream is named");
    if (count > REDIS_STREAMS_MAX || strlen(group) >= sizeof source->group)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                            "at most %u streams are read by one route, and a group's name has at "
                            "most %u bytes",
                            REDIS_STREAMS_MAX, REDIS_NAME_MAX - 1);
    source = redis_alloc_zero(params->host, sizeof *source);
    if (source == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    source->host = params->host;
    source->options = options;
    source->ordered = params->ordered;
    source->loss_stops = params->loss_stops;
    source->consumer_slot.fd = -1;
    source->epoll = -1;
    source->body_field = mb_slice_text(options->body_field);
    source->scopes_count = (uint32_t)count;
    source->window_bytes = params->window_bytes;
    memcpy(source->group, group, strlen(group) + 1);
    if (!allocate(source, count, endpoint->cluster ? count : 1, params->window_messages))
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    if (status == MB_OK)
        status = redis_consumer_name(source, params, err);
    if (status == MB_OK)
        status = connect_all(source, params, streams, now_ms + (int64_t)params->timeout_ms, err);
    if (status != MB_OK) {
        source_close(source);
        return status;
    }
    source->claim_at_ms = redis_now_ms(params->host);
    source->refresh_at_ms = source->claim_at_ms + options->claim_idle_ms / 3;
    *ret_source = source;
    return MB_OK;
}

/* When the reader is silent for longer than it may be. */
static int64_t reader_deadline_ms(const struct redis_client *reader)
{
    return reader->asked_ms > 0 ? reader->asked_ms + REDIS_BLOCK_MS + reader->timeout_ms + 1
                                : INT64_MAX;
}

static void source_fds(struct mb_source *source, struct mb_wait *wait)
{
    int64_t deadline_ms = redis_commands_deadline_ms(source);

    for (uint32_t i = 0; i < source->links_count; i++) {
        const struct redis_link *link = &source->links[i];
        int64_t reader_ms = reader_deadline_ms(link->reader);

        link->reader->deaf = source->held;
        redis_client_fds(link->reader, source->epoll, wait);
        redis_client_fds(link->commands, source->epoll, wait);
        if (link->more && !source->paused)
            wait->ready = true;
        deadline_ms = reader_ms < deadline_ms ? reader_ms : deadline_ms;
    }
    redis_epoll_fds(source->epoll, wait);
    if (source->options->claim_idle_ms > 0 && !source->paused && source->claim_at_ms < deadline_ms)
        deadline_ms = source->claim_at_ms;
    if (!source->announced || (source->lease_lost && !source->told_lost))
        wait->ready = true;
    if (deadline_ms < wait->deadline_ms)
        wait->deadline_ms = deadline_ms;
}

/* Another consumer may take over when the lease has ended: nothing is handed out shortly before. */
static bool holds_leases(const struct mb_source *source, int64_t now_ms)
{
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        const struct redis_scope *scope = &source->scopes[i];

        if (scope->has_lease && now_ms > scope->renewed_ms + REDIS_LEASE_MS - LEASE_MARGIN_MS)
            return false;
    }
    return !source->lease_lost;
}

static enum mb_status source_poll(struct mb_source *source, struct mb_batch *batch,
                                  struct mb_error *err)
{
    source->now_ms = redis_now_ms(source->host);
    if (!holds_leases(source, source->now_ms))
        return MB_OK;
    for (uint32_t i = 0; i < source->links_count; i++) {
        enum mb_status status = redis_pull_link(source, &source->links[i], batch, err);

        if (status != MB_OK)
            return status;
    }
    return MB_OK;
}

static enum mb_status source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                 struct mb_error *err)
{
    return redis_commands_ack(source, acks, count, err);
}

static enum mb_status source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                   size_t count, struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++) {
        struct redis_scope *scope;

        if (starts[i].scope >= source->scopes_count)
            continue;
        scope = &source->scopes[starts[i].scope];
        scope->epoch = starts[i].epoch;
        scope->seek = starts[i].position;
        scope->after = (struct mb_position){.kind = MB_POSITION_ID};
        scope->phase = starts[i].position.kind == MB_POSITION_STORED ||
                               starts[i].position.kind == MB_POSITION_NONE
                           ? REDIS_PHASE_HISTORY
                           : REDIS_PHASE_SEEK;
        if (scope->phase == REDIS_PHASE_SEEK)
            scope->read_base = -1;
        scope->link->more = true;
    }
    return MB_OK;
}

static enum mb_status source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                                  struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++) {
        if (scopes[i] < source->scopes_count)
            source->scopes[scopes[i]].phase = REDIS_PHASE_IDLE;
    }
    return MB_OK;
}

static void source_pause(struct mb_source *source, bool paused)
{
    source->paused = paused;
    for (uint32_t i = 0; !paused && i < source->links_count; i++)
        source->links[i].more = true;
}

static struct mb_event event_of(const struct mb_source *source, uint32_t scope, uint32_t kind)
{
    struct mb_event event;

    memset(&event, 0, sizeof event);
    event.struct_size = sizeof event;
    event.kind = kind;
    event.scope = scope;
    event.epoch = source->scopes[scope].epoch;
    event.partition = -1;
    event.stream = mb_slice_text(source->scopes[scope].stream);
    return event;
}

static void tell(struct mb_source *source, const struct mb_event *event)
{
    source->host->event(source->host->context, event);
}

static void tell_events(struct mb_source *source)
{
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        struct redis_scope *scope = &source->scopes[i];
        struct mb_event event;

        if (!source->announced) {
            scope->epoch = 1;
            event = event_of(source, i, MB_EVENT_SCOPE_ASSIGNED);
            tell(source, &event);
        }
        if (scope->lost > 0 || scope->lost_before > 0) {
            event = event_of(source, i, MB_EVENT_LOSS);
            event.count = redis_loss_take(source, scope);
            tell(source, &event);
        }
        if (source->lease_lost && !source->told_lost) {
            event = event_of(source, i, MB_EVENT_SCOPE_LOST);
            tell(source, &event);
        }
    }
    source->announced = true;
    source->told_lost = source->lease_lost;
}

/* Every claim_idle a pass over what other consumers left lying. */
static void claim_timer(struct mb_source *source, int64_t now_ms)
{
    if (source->options->claim_idle_ms == 0 || now_ms < source->claim_at_ms)
        return;
    source->claim_at_ms = now_ms + source->options->claim_idle_ms;
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        if (source->scopes[i].phase == REDIS_PHASE_LIVE)
            source->scopes[i].claiming = true;
    }
}

/* With a lease nobody else reads for the group, and its count has to be ours. */
static void counting_timer(struct mb_source *source, int64_t now_ms)
{
    if (!source->ordered || now_ms < source->counting_at_ms)
        return;
    source->counting_at_ms = now_ms + COUNTING_EVERY_MS;
    for (uint32_t i = 0; i < source->scopes_count; i++)
        source->scopes[i].counting_due = source->scopes[i].phase == REDIS_PHASE_LIVE;
}

static enum mb_status service_reader(struct mb_source *source, struct redis_link *link,
                                     int64_t now_ms, struct mb_error *err)
{
    struct redis_client *reader = link->reader;
    enum mb_status status;

    /* Nobody may have polled: what waits in the socket is no silence. */
    if (now_ms >= reader_deadline_ms(reader)) {
        status = redis_client_read(reader, now_ms, err);
        if (status == MB_DISCONNECTED)
            return status;
        if (status == MB_AGAIN)
            return redis_client_fail(reader, err, "timeout",
                                     "the server does not answer: it is taken to be dead");
        reader->asked_ms = now_ms;
        link->more = true;
    }
    return redis_pull_ask(source, link, err);
}

static enum mb_status source_service(struct mb_source *source, struct mb_error *err)
{
    int64_t now_ms = redis_now_ms(source->host);
    enum mb_status status;

    if (source->told_lost)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "lease-lost",
                            "%s: the lease of group \"%.200s\" has ended: another consumer may be "
                            "active",
                            source->links[0].commands->name, source->group);
    status = redis_commands_timers(source, now_ms, err);
    claim_timer(source, now_ms);
    counting_timer(source, now_ms);
    for (uint32_t i = 0; i < source->links_count && status == MB_OK; i++) {
        status = redis_commands_service(source, &source->links[i], now_ms, err);
        if (status == MB_OK && !source->lease_lost)
            status = service_reader(source, &source->links[i], now_ms, err);
    }
    if (status == MB_OK)
        tell_events(source);
    return status;
}

static void source_close(struct mb_source *source)
{
    const struct mb_host *host;

    if (source == NULL)
        return;
    host = source->host;
    if (source->scopes != NULL && source->links != NULL)
        redis_commands_finish(source, CLOSE_WAIT_MS);
    for (uint32_t i = 0; i < source->links_count; i++) {
        redis_client_close(source->links[i].reader);
        redis_client_close(source->links[i].commands);
    }
    mb_slot_release(&source->consumer_slot);
    if (source->epoll >= 0)
        close(source->epoll);
    host->release(host->context, source->topology);
    host->release(host->context, source->flights);
    host->release(host->context, source->scopes);
    host->release(host->context, source->links);
    host->release(host->context, source->acks);
    host->release(host->context, source->delivered);
    host->release(host->context, source->fields);
    host->release(host->context, source);
}

const struct mb_source_ops redis_source_ops = {
    .struct_size = sizeof(struct mb_source_ops),
    .traits = source_traits,
    .open = source_open,
    .fds = source_fds,
    .poll = source_poll,
    .ack = source_ack,
    .start = source_start,
    .stop = source_stop,
    .pause = source_pause,
    .service = source_service,
    .close = source_close,
};
