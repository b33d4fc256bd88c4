/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The links of a sink by their addresses. Each has a session of its own: a broker may end the
 * session over a link that it refuses, and what is under way on other links must not go with it.
 */
#include "amqp10_sink.h"
#include <kit/hash.h>

/* A sender needs no room for input; this is the least that proton takes. */
#define SESSION_CAPACITY  ((size_t)AMQP10_FRAME_MAX * 4)
#define ATTACH_TIMEOUT_MS 10000
/* So long a refusal answers for further messages. */
#define REFUSED_KEEP_MS 1000

enum mb_status amqp10_senders_init(struct mb_sink *sink, uint32_t count, struct mb_error *err)
{
    sink->senders_max = count < AMQP10_ADDRESSES_MAX ? count : AMQP10_ADDRESSES_MAX;
    sink->senders = amqp10_alloc_zero(sink->host, sink->senders_max * sizeof *sink->senders);
    sink->hashes = amqp10_alloc_zero(sink->host, sink->senders_max * sizeof *sink->hashes);
    if (sink->senders == NULL || sink->hashes == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    return MB_OK;
}

static bool start(struct mb_sink *sink, struct sender *sender, const char *address)
{
    struct amqp10_link_spec spec = {.address = address[0] != '\0' ? address : NULL,
                                    .capabilities = sink->options->capabilities,
                                    .is_sender = true};

    if (spec.address == NULL)
        spec.capabilities.count = 0;
    sender->state = AMQP10_LINK_PENDING;
    sender->started_ms = amqp10_now_ms(sink->host);
    if (sender->session == NULL || (pn_session_state(sender->session) & PN_REMOTE_CLOSED))
        sender->session =
            amqp10_client_session_instead(sink->client, sender->session, SESSION_CAPACITY);
    sender->link =
        sender->session != NULL ? amqp10_link_attach(sink->client, sender->session, &spec) : NULL;
    if (sender->link == NULL) {
        amqp10_client_fail(sink->client, "memory", "out of memory for a link");
        return false;
    }
    sender->flushes = sink->client->flushes;
    sender->put = 0;
    sender->burst = UINT32_MAX;
    pn_link_set_context(sender->link, sender);
    pn_session_set_context(sender->session, sender);
    return true;
}

/* RabbitMQ 3 accepts what no queue takes, and drops it; that a queue is missing it tells receivers
 * only. */
static enum mb_status look_for_queue(struct mb_sink *sink, const char *address, const char *what,
                                     int64_t deadline_ms, struct mb_error *err)
{
    struct amqp10_client *client = sink->client;
    struct amqp10_link_spec spec = {.address = address};
    pn_session_t *session;
    pn_link_t *link;
    enum mb_status status;

    if (client->product != AMQP10_PRODUCT_RABBIT_3 || strncmp(address, "/amq/queue/", 11) != 0)
        return MB_OK;
    session = amqp10_client_session(client, SESSION_CAPACITY);
    link = session != NULL ? amqp10_link_attach(client, session, &spec) : NULL;
    if (link == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    status = amqp10_link_await(client, link, what, deadline_ms, err);
    pn_link_close(link);
    return status;
}

enum mb_status amqp10_senders_open_fixed(struct mb_sink *sink, const char *address,
                                         int64_t deadline_ms, struct mb_error *err)
{
    struct sender *sender = &sink->senders[0];
    char what[160];
    enum mb_status status;

    sender->address = sink->host->alloc(sink->host->context, strlen(address) + 1);
    if (sender->address == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    memcpy(sender->address, address, strlen(address) + 1);
    sink->senders_count = 1;
    snprintf(what, sizeof what, "address \"%.120s\"", address);
    status = look_for_queue(sink, address, what, deadline_ms, err);
    if (status != MB_OK)
        return status;
    if (!start(sink, sender, address))
        return amqp10_client_gone(sink->client, err);
    status = amqp10_link_await(sink->client, sender->link, what, deadline_ms, err);
    if (status == MB_OK)
        sender->state = AMQP10_LINK_OPEN;
    return status;
}

/* Its session stays, for the next address in this place. */
static void end(struct mb_sink *sink, struct sender *sender)
{
    pn_session_t *session = sender->session;

    if (sender->link != NULL) {
        pn_link_set_context(sender->link, NULL);
        pn_link_close(sender->link);
        pn_link_free(sender->link);
    }
    if (session != NULL)
        pn_session_set_context(session, NULL);
    sink->host->release(sink->host->context, sender->address);
    if (sink->last == sender)
        sink->last = NULL;
    memset(sender, 0, sizeof *sender);
    sender->session = session;
}

/* A place for one more: an unused one, else that of the link that was idle for the longest. */
static struct sender *make_room(struct mb_sink *sink)
{
    struct sender *oldest = NULL;

    for (uint32_t i = 0; i < sink->senders_count; i++) {
        if (sink->senders[i].address == NULL)
            return &sink->senders[i];
    }
    if (sink->senders_count < sink->senders_max)
        return &sink->senders[sink->senders_count++];
    for (uint32_t i = 0; i < sink->senders_max; i++) {
        struct sender *sender = &sink->senders[i];

        if (sender->unsettled == 0 && sender->state != AMQP10_LINK_PENDING &&
            (oldest == NULL || sender->used < oldest->used))
            oldest = sender;
    }
    if (oldest != NULL)
        end(sink, oldest);
    return oldest;
}

static struct sender *search(struct mb_sink *sink, struct mb_slice address, uint64_t hash)
{
    for (uint32_t i = 0; i < sink->senders_count; i++) {
        struct sender *sender = &sink->senders[i];

        if (sink->hashes[i] == hash && sender->address != NULL &&
            mb_slice_equal((struct mb_slice){sender->address, sender->address_size}, address))
            return sender;
    }
    return NULL;
}

static struct sender *add(struct mb_sink *sink, struct mb_slice address, uint64_t hash)
{
    char *copy = sink->host->alloc(sink->host->context, address.size + 1);
    struct sender *sender = copy != NULL ? make_room(sink) : NULL;

    if (sender == NULL) {
        sink->host->release(sink->host->context, copy);
        return NULL;
    }
    if (address.size > 0)
        memcpy(copy, address.data, address.size);
    copy[address.size] = '\0';
    sender->address = copy;
    sender->address_size = address.size;
    sink->hashes[sender - sink->senders] = hash;
    return start(sink, sender, copy) ? sender : NULL;
}

static bool has_address(const struct sender *sender, struct mb_slice address)
{
    return mb_slice_equal((struct mb_slice){sender->address, sender->address_size}, address);
}

static struct sender *find_by_address(struct mb_sink *sink, struct mb_slice address)
{
    struct sender *sender = sink->last;
    uint64_t hash;

    if (sender == NULL || !has_address(sender, address)) {
        hash = mb_hash_add(MB_HASH_BEGIN, address.data, address.size);
        sender = search(sink, address, hash);
        if (sender == NULL)
            sender = add(sink, address, hash);
        if (sender == NULL)
            return NULL;
    }
    if (sender->state == AMQP10_LINK_REFUSED &&
        amqp10_now_ms(sink->host) - sender->refused_ms >= REFUSED_KEEP_MS) {
        end(sink, sender);
        sender = add(sink, address, mb_hash_add(MB_HASH_BEGIN, address.data, address.size));
        if (sender == NULL)
            return NULL;
    }
    sender->used = ++sink->clock;
    sink->last = sender;
    return sender;
}

struct sender *amqp10_senders_find(struct mb_sink *sink, const struct mb_outgoing *item)
{
    struct sender *sender = sink->templated
                                ? find_by_address(sink, item->names[AMQP10_SLOT_ADDRESS])
                                : &sink->senders[0];

    if (sender != NULL && sender->state == AMQP10_LINK_PENDING &&
        amqp10_now_ms(sink->host) - sender->started_ms >= ATTACH_TIMEOUT_MS)
        amqp10_client_fail(sink->client, "timeout", "the broker did not answer an attach in time");
    return sender;
}

/* What was under way on a link that is gone: nobody knows whether it arrived. */
static void lose(struct mb_sink *sink, struct sender *sender)
{
    pn_delivery_t *delivery = pn_unsettled_head(sender->link);

    while (delivery != NULL) {
        pn_delivery_t *next = pn_unsettled_next(delivery);

        amqp10_sink_settle(sink, delivery, RESULT_LINK_LOST);
        delivery = next;
    }
}

/* Where the message chose the address, an address that is not there, or not for us, is the
 * message's fault. */
static void blame(struct mb_error *refusal)
{
    if (refusal->status == MB_NOT_FOUND || refusal->status == MB_DENIED ||
        refusal->status == MB_INVALID || refusal->status == MB_UNSUPPORTED ||
        strcmp(refusal->reason, "invalid") == 0 || strcmp(refusal->reason, "precondition") == 0)
        refusal->cause = MB_CAUSE_MESSAGE;
}

/* The broker ended an open link with messages under way, and not because of the address. */
static bool may_be_a_message(const struct mb_error *refusal)
{
    static const char *const reasons[] = {"internal",     "invalid",   "unsupported",
                                          "precondition", "too-large", "refused"};

    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (strcmp(refusal->reason, reasons[i]) == 0)
            return true;
    }
    return false;
}

/*
 * A broker may end the session over a single message that it cannot take in (RabbitMQ 4). Sent
 * again, it would do so for ever. Who it was shows when it is alone: the core sends one message
 * first after a failure. One that was alone twice is completed as refused; all else is sent again.
 */
static void begin_again(struct mb_sink *sink, struct sender *sender, struct mb_error *why)
{
    pn_delivery_t *head = pn_unsettled_head(sender->link);
    struct outstanding *item = head != NULL ? amqp10_sink_item(sink, head) : NULL;

    if (sender->unsettled == 1 && item != NULL) {
        bool again = sink->has_suspect && sink->suspect == item->sequence;

        sink->has_suspect = !again;
        sink->suspect = item->sequence;
        if (again) {
            why->status = MB_REJECTED;
            amqp10_sink_done_error(sink, item->sequence, why);
            amqp10_sink_settle(sink, head, RESULT_TOLD);
        }
    }
    lose(sink, sender);
    pn_link_set_context(sender->link, NULL);
    pn_link_close(sender->link);
    pn_link_free(sender->link);
    start(sink, sender, sender->address);
}

void amqp10_sender_changed(struct mb_sink *sink, struct sender *sender)
{
    bool was_open = sender->state == AMQP10_LINK_OPEN;
    char what[160];
    struct mb_error err;

    if (sender->state == AMQP10_LINK_REFUSED)
        return;
    mb_error_clear(&err);
    snprintf(what, sizeof what, "address \"%.120s\"", sender->address);
    sender->state = amqp10_link_look(sink->client, sender->link, what, &err);
    if (sender->state != AMQP10_LINK_REFUSED)
        return;
    if (was_open && sender->unsettled > 0 && may_be_a_message(&err)) {
        begin_again(sink, sender, &err);
        return;
    }
    sender->refused_ms = amqp10_now_ms(sink->host);
    sender->refusal = err;
    if (!sink->templated) {
        sink->ended = true;
        sink->end = err;
        sink->end.status = MB_DISCONNECTED;
        return;
    }
    blame(&sender->refusal);
    lose(sink, sender);
}

void amqp10_senders_release(struct mb_sink *sink)
{
    for (uint32_t i = 0; i < sink->senders_count; i++)
        sink->host->release(sink->host->context, sink->senders[i].address);
    sink->host->release(sink->host->context, sink->senders);
    sink->host->release(sink->host->context, sink->hashes);
    sink->senders = NULL;
    sink->hashes = NULL;
    sink->last = NULL;
    sink->senders_count = 0;
}
