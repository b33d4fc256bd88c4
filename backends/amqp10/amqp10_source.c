/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Source: one connection, a link and scope for each address, a session for each link as far as the
 * broker has so many. Messages are taken from proton when the core asks for them; credit bounds
 * what waits there. To the broker a delivery stays unsettled until its acknowledgement: a table of
 * slots leads from token to its number (amqp10_withhold.c).
 */
#include "amqp10_source.h"

/* A broker that is busy has yet to read what was acknowledged. */
#define CLOSE_WAIT_MS 10000u
#define WINDOW_MAX    (1u << 20)
/* Classic is not to be left while it gives out anew what it was given back: docs/delivery.md. */
#define CLASSIC_CREDIT_MAX 1000u
/* Frames that a session takes beyond twice its credit: what large messages need. */
#define FRAMES_MORE 512u
/* So much may wait in proton while nobody polls; the rest waits in the socket. */
#define WAITING_MAX_BYTES    ((size_t)256 << 10)
#define WAITING_MAX_MESSAGES 256
/* What is read at once waits in proton until it is asked for. A poll reads as often as this. */
#define READ_SIZE        ((size_t)64 << 10)
#define READS_MAX        4u
#define STANDBY_RETRY_MS 1000u
/* So much of a message that is still coming is taken out of proton: its own room is bounded, and a
 * message may be larger. */
#define PART_SIZE ((size_t)1 << 20)

static uint64_t source_traits(const void *endpoint, const void *options)
{
    const struct amqp10_source_options *source = options;

    (void)endpoint;
    return MB_SOURCE_EXCLUSIVE | (source->durable_subscription == NULL ? MB_SOURCE_CONSUMES : 0u);
}

/* The addresses to read, at most AMQP10_ADDRESSES_MAX (more are refused by validate). */
static size_t addresses_of(const struct mb_open_params *params,
                           const struct amqp10_source_options *options, const char *addresses[])
{
    const struct mb_strings *names =
        params->streams != NULL ? params->streams : &options->addresses;
    size_t count = 0;

    if (options->address != NULL)
        addresses[count++] = options->address;
    for (size_t i = 0; i < names->count && count < AMQP10_ADDRESSES_MAX; i++)
        addresses[count++] = names->items[i];
    return count;
}

static enum mb_status attach(struct mb_source *source, const struct mb_open_params *params,
                             int64_t deadline_ms, struct mb_error *err)
{
    const struct amqp10_source_options *options = params->options;
    struct amqp10_client *client = source->client;
    pn_session_t *sessions[AMQP10_ADDRESSES_MAX];
    uint32_t sessions_count =
        source->scopes_count < client->sessions_max ? source->scopes_count : client->sessions_max;
    struct amqp10_link_spec spec = {.name = options->durable_subscription,
                                    .capabilities = options->capabilities,
                                    .selector = options->selector,
                                    .durable = options->durable_subscription != NULL};
    uint32_t links_each = (source->scopes_count + sessions_count - 1) / sessions_count;
    size_t capacity = ((size_t)source->credit * links_each * 2 + FRAMES_MORE) * AMQP10_FRAME_MAX;
    char exclusive[AMQP10_NAME_MAX];
    enum mb_status status = MB_OK;

    if (params->ordered && client->product == AMQP10_PRODUCT_CLASSIC &&
        source->credit > CLASSIC_CREDIT_MAX)
        source->credit = CLASSIC_CREDIT_MAX;
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        struct scope *scope = &source->scopes[i];

        if (i < sessions_count)
            sessions[i] = amqp10_client_session(client, capacity);
        spec.address = scope->address;
        if (params->ordered && !spec.durable)
            spec.address =
                amqp10_guard_address(client, scope->address, exclusive, sizeof exclusive);
        if (sessions[i % sessions_count] != NULL)
            scope->link = amqp10_link_attach(client, sessions[i % sessions_count], &spec);
        if (scope->link == NULL)
            return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    }
    for (uint32_t i = 0; i < source->scopes_count && status == MB_OK; i++) {
        char what[160];

        snprintf(what, sizeof what, "address \"%.120s\"", source->scopes[i].address);
        status = amqp10_link_await(client, source->scopes[i].link, what, deadline_ms, err);
    }
    if (status != MB_OK && strcmp(err->reason, "standby") == 0)
        err->retry_after_ms = STANDBY_RETRY_MS;
    return status;
}

static void source_close(struct mb_source *source);

static size_t names_of(const struct mb_source *source, const char *addresses[])
{
    for (uint32_t i = 0; i < source->scopes_count; i++)
        addresses[i] = source->scopes[i].address;
    return source->scopes_count;
}

/* The connection, and the guard behind it. */
static void let_go(struct mb_source *source)
{
    const char *addresses[AMQP10_ADDRESSES_MAX];
    size_t count = names_of(source, addresses);

    amqp10_guard_release(&source->guard, source->client, addresses, count, CLOSE_WAIT_MS);
    source->client = NULL;
}

static enum mb_status open_at(struct mb_source *source, const struct mb_open_params *params,
                              const struct amqp10_redirect *redirect, struct mb_error *err)
{
    const struct amqp10_source_options *options = params->options;
    struct amqp10_open open = {.params = params,
                               .role = "source",
                               .stable_container = options->durable_subscription != NULL,
                               .redirect = redirect};
    int64_t deadline_ms = amqp10_now_ms(params->host) + (int64_t)params->timeout_ms;
    enum mb_status status = amqp10_client_open(&open, &source->client, err);

    for (uint32_t i = 0; i < source->scopes_count; i++)
        source->scopes[i].link = NULL;
    if (status == MB_OK && params->ordered && !source->subscribes) {
        const char *addresses[AMQP10_ADDRESSES_MAX];
        size_t count = names_of(source, addresses);

        status = amqp10_guard_reopen(&open, addresses, count, &source->client, err);
        if (status == MB_OK)
            status = amqp10_guard_take(&source->guard, source->client, params, redirect, addresses,
                                       count, deadline_ms, err);
    }
    if (status == MB_OK)
        status = attach(source, params, deadline_ms, err);
    if (status != MB_OK)
        return status;
    source->client->read_max = READ_SIZE;
    return amqp10_client_withhold(source->client, deadline_ms, err);
}

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    const struct amqp10_endpoint *endpoint = params->endpoint;
    const struct amqp10_source_options *options = params->options;
    const char *addresses[AMQP10_ADDRESSES_MAX];
    size_t count = addresses_of(params, options, addresses);
    uint64_t credit = (uint64_t)options->credit;
    struct mb_source *source;
    enum mb_status status;

    if (count == 0)
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing",
                            "no address is named");
    source = amqp10_alloc_zero(params->host, sizeof *source + count * sizeof source->scopes[0]);
    if (source == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    source->host = params->host;
    source->scopes_count = (uint32_t)count;
    source->subscribes = options->durable_subscription != NULL;
    for (uint32_t i = 0; i < count; i++) {
        source->scopes[i].address = addresses[i];
        source->scopes[i].part.max_size = AMQP10_MESSAGE_MAX;
    }
    if (params->window_messages > 0 && credit > params->window_messages / count)
        credit = params->window_messages / count;
    source->credit = credit > 0 ? (uint32_t)credit : 1;
    source->slots_max = params->window_messages < AMQP10_WINDOW_MIN ? AMQP10_WINDOW_MIN
                        : params->window_messages > WINDOW_MAX      ? WINDOW_MAX
                                                                    : params->window_messages;
    source->ahead_max = params->window_messages > 0 ? params->window_messages : source->slots_max;
    if (source->ahead_max / count < source->credit)
        source->ahead_max = (uint32_t)count * source->credit; /* none may keep another from it */
    status = open_at(source, params, NULL, err);
    /* The link, not the connection, may have been sent elsewhere. */
    if (status != MB_OK && source->client != NULL && source->client->redirect.is_set &&
        endpoint->follow_redirects) {
        struct amqp10_redirect redirect = source->client->redirect;

        let_go(source);
        if (redirect.address[0] != '\0' && count == 1)
            source->scopes[0].address = redirect.address;
        status = open_at(source, params, &redirect, err);
        source->scopes[0].address = addresses[0];
    }
    if (status != MB_OK) {
        source_close(source);
        return status;
    }
    *ret_source = source;
    return MB_OK;
}

static void source_fds(struct mb_source *source, struct mb_wait *wait)
{
    amqp10_client_fds(source->client, wait);
    amqp10_guard_fds(&source->guard, wait);
    if (source->more && !source->paused && source->slots_used < source->slots_max)
        wait->ready = true;
}

/* The broker ended a link, its session or the connection: this instance's life is over. */
static enum mb_status look_for_end(struct mb_source *source, pn_event_t *event,
                                   struct mb_error *err)
{
    pn_event_type_t type = pn_event_type(event);

    if (type != PN_LINK_REMOTE_CLOSE && type != PN_LINK_REMOTE_DETACH &&
        type != PN_SESSION_REMOTE_CLOSE)
        return MB_OK;
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        char what[160];

        if (type == PN_SESSION_REMOTE_CLOSE
                ? pn_link_session(source->scopes[i].link) != pn_event_session(event)
                : source->scopes[i].link != pn_event_link(event))
            continue;
        snprintf(what, sizeof what, "address \"%.120s\"", source->scopes[i].address);
        if (amqp10_link_look(source->client, source->scopes[i].link, what, err) !=
            AMQP10_LINK_REFUSED)
            mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "detached",
                         "%s: %s: the broker ended the link", source->client->name, what);
        err->status = MB_DISCONNECTED;
        return MB_DISCONNECTED;
    }
    return MB_OK;
}

/* Deliveries are found through their links; of events only the ends matter. */
static enum mb_status take_events(struct mb_source *source, struct mb_error *err)
{
    enum mb_status status = MB_OK;
    pn_event_t *event;

    while (status == MB_OK && (event = amqp10_client_event(source->client)) != NULL)
        status = look_for_end(source, event, err);
    return status;
}

/* A complete delivery becomes a message. */
static enum mb_status take_delivery(struct mb_source *source, uint32_t at, pn_delivery_t *delivery,
                                    struct mb_batch *batch, struct mb_error *err)
{
    struct scope *scope = &source->scopes[at];
    struct mb_message *message = batch->messages[batch->count];
    size_t before = scope->part.size;
    size_t size = before + pn_delivery_pending(delivery);
    bool has_slot = source->slots_used < source->slots_count || amqp10_taken_extend(source);
    char *bytes = has_slot ? mb_arena_alloc(batch->arena, size) : NULL;
    uint64_t counted = 0;
    uint32_t index;
    ssize_t got = 0;

    if (bytes != NULL && before > 0)
        memcpy(bytes, scope->part.data, before);
    if (bytes != NULL && size > before)
        got = pn_link_recv(scope->link, bytes + before, size - before);
    if (bytes == NULL || got < 0 || (size_t)got != size - before ||
        amqp10_decode((struct mb_slice){bytes, size}, batch->arena, message, &counted) != MB_OK) {
        amqp10_client_fail(source->client, "memory", "out of memory for a message");
        return amqp10_client_gone(source->client, err);
    }
    if (before > 0)
        mb_text_release(&scope->part);
    pn_link_advance(scope->link);
    index = amqp10_taken_add(source, delivery, at);
    message->scope = at;
    message->epoch = scope->epoch;
    message->token = (uint64_t)source->slots[index].generation << 32 | index;
    batch->count++;
    batch->bytes += counted;
    return MB_OK;
}

static enum mb_status take_part(struct mb_source *source, struct scope *scope,
                                pn_delivery_t *delivery, struct mb_error *err)
{
    char piece[16384];
    ssize_t got = 1;

    if (pn_delivery_pending(delivery) < PART_SIZE)
        return MB_OK;
    while (got > 0 && !scope->part.failed) {
        got = pn_link_recv(scope->link, piece, sizeof piece);
        if (got > 0)
            mb_text_add(&scope->part, piece, (size_t)got);
    }
    if (!scope->part.failed)
        return MB_OK;
    amqp10_client_fail(source->client, "too-large",
                       "a message is larger than 256 MiB, or than the memory there is");
    return amqp10_client_gone(source->client, err);
}

/* What waits at a link, as far as the batch goes. */
static enum mb_status take_from(struct mb_source *source, uint32_t at, struct mb_batch *batch,
                                struct mb_error *err)
{
    pn_link_t *link = source->scopes[at].link;
    pn_delivery_t *delivery;
    enum mb_status status = MB_OK;

    while (status == MB_OK && (delivery = pn_link_current(link)) != NULL) {
        if (pn_delivery_aborted(delivery)) {
            /* The broker took it back in the middle: it was never there. */
            mb_text_release(&source->scopes[at].part);
            pn_link_advance(link);
            pn_delivery_settle(delivery);
            continue;
        }
        if (pn_delivery_partial(delivery))
            return take_part(source, &source->scopes[at], delivery, err);
        if (batch->count == batch->count_max || batch->bytes >= batch->bytes_max ||
            source->slots_used == source->slots_max) {
            source->more = true;
            break;
        }
        status = take_delivery(source, at, delivery, batch, err);
    }
    return status;
}

/*
 * What the broker may have sent without an answer is within the window: what the core has, what
 * waits in proton, which counts as credit, and what may still come. Credit is given by the quarter.
 */
static void top_up(struct mb_source *source)
{
    uint32_t quarter = source->credit / 4 > 0 ? source->credit / 4 : 1;
    uint32_t used = source->slots_used;

    for (uint32_t i = 0; i < source->scopes_count; i++)
        used += (uint32_t)pn_link_credit(source->scopes[i].link);
    for (uint32_t i = 0; i < source->scopes_count && !source->paused; i++) {
        pn_link_t *link = source->scopes[i].link;
        uint32_t have = (uint32_t)pn_link_credit(link);
        uint32_t room = used < source->ahead_max ? source->ahead_max - used : 0;
        uint32_t more = have < source->credit ? source->credit - have : 0;

        if (more > room)
            more = room;
        if (source->scopes[i].started && more >= quarter) {
            pn_link_flow(link, (int)more);
            used += more;
        }
    }
}

static enum mb_status take_all(struct mb_source *source, struct mb_batch *batch,
                               struct mb_error *err)
{
    enum mb_status status = MB_OK;

    source->more = false;
    for (uint32_t n = 0; n < source->scopes_count && status == MB_OK; n++) {
        uint32_t at = (source->next_scope + n) % source->scopes_count;

        if (source->scopes[at].started)
            status = take_from(source, at, batch, err);
        /* Before the next session's: proton keeps their order within each. */
        amqp10_taken_name(source);
    }
    return status;
}

static enum mb_status source_poll(struct mb_source *source, struct mb_batch *batch,
                                  struct mb_error *err)
{
    struct amqp10_client *client = source->client;
    enum mb_status status = MB_OK;

    source->polled = true;
    client->holds = false;
    for (uint32_t reads = 0;; reads++) {
        status = take_all(source, batch, err);
        if (status != MB_OK || source->more || reads == READS_MAX || (reads > 0 && client->is_dry))
            break;
        if (amqp10_client_read(client) == MB_AGAIN)
            break;
        status = take_events(source, err);
        if (status != MB_OK) {
            /* What came before the end is handed out with it. */
            struct mb_error unused;

            mb_error_clear(&unused);
            take_all(source, batch, &unused);
            return status;
        }
    }
    source->next_scope = (source->next_scope + 1) % source->scopes_count;
    if (status != MB_OK)
        return status;
    if (client->failed && !source->more)
        return amqp10_client_gone(client, err);
    top_up(source);
    return MB_OK;
}

static enum mb_status source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                   size_t count, struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++) {
        if (starts[i].scope < source->scopes_count) {
            source->scopes[starts[i].scope].epoch = starts[i].epoch;
            source->scopes[starts[i].scope].started = true;
        }
    }
    top_up(source);
    amqp10_client_write(source->client);
    return MB_OK;
}

static enum mb_status source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                                  struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++) {
        if (scopes[i] < source->scopes_count)
            source->scopes[scopes[i]].started = false;
    }
    return MB_OK;
}

static void source_pause(struct mb_source *source, bool paused)
{
    source->paused = paused;
    /* What came meanwhile waits in proton, and no descriptor would tell. */
    if (!paused)
        source->more = true;
}

static void announce(struct mb_source *source)
{
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        struct mb_event event;

        memset(&event, 0, sizeof event);
        event.struct_size = sizeof event;
        event.kind = MB_EVENT_SCOPE_ASSIGNED;
        event.scope = i;
        event.epoch = 1;
        event.partition = -1;
        event.stream = mb_slice_text(source->scopes[i].address);
        source->host->event(source->host->context, &event);
    }
    source->announced = true;
}

/* Enough was read that nobody has asked for: more of it waits in the socket. */
static bool has_enough(const struct mb_source *source)
{
    size_t bytes = 0;
    int messages = 0;

    for (uint32_t i = 0; i < source->scopes_count; i++) {
        pn_link_t *link = source->scopes[i].link;

        bytes += pn_session_incoming_bytes(pn_link_session(link));
        messages += pn_link_queued(link);
    }
    return bytes >= WAITING_MAX_BYTES || messages >= WAITING_MAX_MESSAGES;
}

static enum mb_status source_service(struct mb_source *source, struct mb_error *err)
{
    struct amqp10_client *client = source->client;
    enum mb_status status;

    if (!source->announced)
        announce(source);
    /* While nobody polls, some input is taken too, and the end is seen. */
    if (!source->polled) {
        client->holds = has_enough(source);
        if (!client->holds && amqp10_client_read(client) == MB_OK)
            source->more = true;
    }
    source->polled = false;
    amqp10_client_tick(client);
    top_up(source); /* acknowledgements have made room */
    amqp10_client_write(client);
    status = take_events(source, err);
    if (status != MB_OK)
        return status;
    return client->failed ? amqp10_client_gone(client, err)
                          : amqp10_guard_service(&source->guard, err);
}

static void source_close(struct mb_source *source)
{
    if (source == NULL)
        return;
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        /* A subscription that is to last is left, not ended. */
        if (source->subscribes && source->client != NULL && source->scopes[i].link != NULL)
            pn_link_detach(source->scopes[i].link);
        mb_text_release(&source->scopes[i].part);
    }
    let_go(source);
    source->host->release(source->host->context, source->slots);
    source->host->release(source->host->context, source);
}

const struct mb_source_ops amqp10_source_ops = {
    .struct_size = sizeof(struct mb_source_ops),
    .traits = source_traits,
    .open = source_open,
    .fds = source_fds,
    .poll = source_poll,
    .ack = amqp10_taken_ack,
    .start = source_start,
    .stop = source_stop,
    .pause = source_pause,
    .service = source_service,
    .close = source_close,
};
