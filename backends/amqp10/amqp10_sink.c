/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sink: a sending link for a fixed address, or one for each address that a template has given
 * lately. Every message is sent unsettled, and completes by what the broker says of it.
 */
#include "amqp10_sink.h"

#define CLOSE_WAIT_MS 2000u
#define WINDOW_MIN    64u
#define WINDOW_MAX    (1u << 17)
#define BURST_MIN     64u
/* A buffer that one large message made is not kept. */
#define KEEP_SIZE   ((size_t)1 << 20)
#define SIDECAR_MAX ((size_t)1 << 20)
/* The application property that Artemis tells repeats by; it takes it as a string only. */
#define PROPERTY_ONCE "_AMQ_DUPL_ID"
#define ONCE_ID_MAX   ((size_t)1 << 16)
/* So many ids Artemis remembers for an address, unless its id-cache-size says otherwise. */
#define ONCE_IDS 20000u

static uint64_t sink_traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return MB_SINK_DEDUPLICATES; /* Artemis does; others are refused when they are known */
}

static uint32_t capacity_for(uint32_t window)
{
    uint32_t capacity = WINDOW_MIN;

    while (capacity < window && capacity < WINDOW_MAX)
        capacity *= 2;
    return capacity;
}

/* Both tables get twice the room. false: out of memory, they stay as they are. */
static bool extend_tables(struct mb_sink *sink)
{
    const struct mb_host *host = sink->host;
    uint32_t capacity = sink->capacity == 0 ? WINDOW_MIN : sink->capacity * 2;
    struct outstanding *slots = amqp10_alloc_zero(host, capacity * sizeof *slots);
    struct done *done = amqp10_alloc_zero(host, capacity * sizeof *done);

    if (slots == NULL || done == NULL) {
        host->release(host->context, slots);
        host->release(host->context, done);
        return false;
    }
    if (sink->capacity > 0)
        memcpy(slots, sink->slots, sink->capacity * sizeof *slots);
    for (uint32_t i = sink->capacity; i < capacity; i++)
        slots[i].next_free = i + 1;
    /* The old list may not be empty: completions that were not told take their room. */
    slots[capacity - 1].next_free = sink->first_free;
    for (uint64_t at = sink->done_head; at != sink->done_tail; at++)
        done[at & (capacity - 1)] = sink->done[at & (sink->capacity - 1)];
    host->release(host->context, sink->slots);
    host->release(host->context, sink->done);
    sink->slots = slots;
    sink->done = done;
    sink->first_free = sink->capacity;
    sink->capacity = capacity;
    return true;
}

static void sink_close(struct mb_sink *sink);

static enum mb_status open_at(struct mb_sink *sink, const struct mb_open_params *params,
                              const struct amqp10_redirect *redirect, struct mb_error *err)
{
    struct amqp10_open open = {.params = params, .role = "sink", .redirect = redirect};
    int64_t deadline_ms = amqp10_now_ms(params->host) + (int64_t)params->timeout_ms;
    enum mb_status status = amqp10_client_open(&open, &sink->client, err);

    if (status != MB_OK)
        return status;
    status = amqp10_senders_init(sink, sink->templated ? sink->client->sessions_max : 1, err);
    if (status != MB_OK || sink->templated)
        return status;
    return amqp10_senders_open_fixed(sink,
                                     redirect != NULL && redirect->address[0] != '\0'
                                         ? redirect->address
                                         : sink->options->address,
                                     deadline_ms, err);
}

static void warn_of_rabbit(const struct amqp10_client *client)
{
    char text[512];

    snprintf(text, sizeof text,
             "%s: RabbitMQ 3 accepts over AMQP 1.0 what no queue takes, and drops it: a queue that "
             "is deleted under way loses messages. The backend amqp091 is told of them.",
             client->name);
    client->host->log(client->host->context, MB_LOG_WARN, text);
}

/* What may be open in all lanes, and so come again, has to be remembered. */
static enum mb_status check_window(const struct mb_open_params *params, struct mb_error *err)
{
    uint64_t open_max = ((uint64_t)params->lane + 1) * params->window_messages;

    if (!params->effectively_once || open_max <= ONCE_IDS)
        return MB_OK;
    return mb_error_set(err, MB_FATAL, MB_CAUSE_DESTINATION, "window",
                        "delivery = \"effectively-once\": %u lanes of window.messages = %u may "
                        "have more open than the %u ids that Artemis remembers for an address",
                        params->lane + 1, params->window_messages, ONCE_IDS);
}

static enum mb_status sink_open(const struct mb_open_params *params, struct mb_sink **ret_sink,
                                struct mb_error *err)
{
    const struct amqp10_endpoint *endpoint = params->endpoint;
    const struct amqp10_sink_options *options = params->options;
    struct mb_sink *sink = amqp10_alloc_zero(params->host, sizeof *sink);
    enum mb_status status;

    if (sink == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    sink->host = params->host;
    sink->options = options;
    sink->templated = (params->names_templated & (1u << AMQP10_SLOT_ADDRESS)) != 0;
    sink->to_templated = (params->names_templated & (1u << AMQP10_SLOT_TO)) != 0;
    sink->encoding =
        (struct amqp10_encoding){.durable_default = options->persistent,
                                 .group_from_key = options->group_from_key,
                                 .trust_user_id = options->trust_user_id,
                                 .to_from_slot = options->to != NULL ? AMQP10_SLOT_TO : -1};
    sink->effectively_once = params->effectively_once;
    sink->once_id.max_size = ONCE_ID_MAX;
    if (sink->effectively_once)
        sink->encoding.own_name = (struct mb_slice)MB_SLICE_LITERAL(PROPERTY_ONCE);
    sink->out.max_size = AMQP10_MESSAGE_MAX;
    mb_carry_init(&sink->carry, params, AMQP10_PLATFORM, amqp10_project, &sink->encoding,
                  SIDECAR_MAX);
    status = check_window(params, err);
    sink->capacity_max = capacity_for(params->window_messages);
    if (status == MB_OK)
        status = open_at(sink, params, NULL, err);
    /* The link, not the connection, may have been sent elsewhere. */
    if (status != MB_OK && sink->client != NULL && sink->client->redirect.is_set &&
        endpoint->follow_redirects) {
        struct amqp10_redirect redirect = sink->client->redirect;

        amqp10_senders_release(sink);
        amqp10_client_close(sink->client, CLOSE_WAIT_MS);
        sink->client = NULL;
        status = open_at(sink, params, &redirect, err);
    }
    if (status != MB_OK) {
        sink_close(sink);
        return status;
    }
    if (sink->client->product == AMQP10_PRODUCT_RABBIT_3)
        warn_of_rabbit(sink->client);
    *ret_sink = sink;
    return MB_OK;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    amqp10_client_fds(sink->client, wait);
    if (sink->done_head != sink->done_tail || sink->ended)
        wait->ready = true;
}

/* Room for one more in both tables. */
static bool has_room(struct mb_sink *sink)
{
    if (sink->slots_used + (sink->done_tail - sink->done_head) < sink->capacity)
        return true;
    return sink->capacity < sink->capacity_max && extend_tables(sink);
}

/* The id is of where the message lies, whatever id it may have brought: two of one id would become
 * one. */
static bool name_once(struct mb_sink *sink, const struct mb_outgoing *item)
{
    const struct mb_message place = {.struct_size = sizeof place,
                                     .origin = item->message->origin,
                                     .position = item->message->position};
    struct mb_error err;

    mb_error_clear(&err);
    mb_text_clear(&sink->once_id);
    mb_stable_id_add(&sink->once_id, &place);
    sink->encoding.own_value = (struct mb_slice){sink->once_id.data, sink->once_id.size};
    if (sink->once_id.size > 0 && !sink->once_id.failed)
        return true;
    mb_error_set(&err, MB_REJECTED, MB_CAUSE_MESSAGE, "no-position",
                 "the message has no position at its source by which it could be told from others");
    amqp10_sink_done_error(sink, item->sequence, &err);
    return false;
}

/* Encodes a message into sink->out; or completes it, if that cannot be done. */
static bool encode(struct mb_sink *sink, const struct sender *sender,
                   const struct mb_outgoing *item)
{
    uint64_t link_max = pn_link_remote_max_message_size(sender->link);
    uint64_t own_max = (uint64_t)sink->options->max_message_size;
    struct mb_carried carried;
    struct mb_error err;

    if (sink->out.capacity > KEEP_SIZE) {
        mb_text_release(&sink->out);
        sink->out.max_size = AMQP10_MESSAGE_MAX;
    }
    mb_text_clear(&sink->out);
    mb_error_clear(&err);
    if (sink->effectively_once && !name_once(sink, item))
        return false;
    if (mb_carry_prepare(&sink->carry, item, &carried, &err) != MB_OK ||
        amqp10_encode(&sink->encoding, item, &carried, &sink->out, &err) != MB_OK) {
        amqp10_sink_done_error(sink, item->sequence, &err);
        return false;
    }
    if (!sink->out.failed && (link_max == 0 || sink->out.size <= link_max) &&
        (own_max == 0 || sink->out.size <= own_max))
        return true;
    amqp10_sink_done(sink, item->sequence, RESULT_TOO_LARGE);
    return false;
}

static void transmit(struct mb_sink *sink, struct sender *sender, const struct mb_outgoing *item)
{
    uint32_t index = sink->first_free;
    struct outstanding *slot = &sink->slots[index];
    uint32_t tag = sink->next_tag++;
    pn_delivery_t *delivery = pn_delivery(sender->link, pn_dtag((const char *)&tag, sizeof tag));

    if (delivery == NULL ||
        pn_link_send(sender->link, sink->out.data, sink->out.size) != (ssize_t)sink->out.size) {
        amqp10_client_fail(sink->client, "memory", "out of memory for a message");
        return;
    }
    pn_delivery_set_context(delivery, (void *)(uintptr_t)(index + 1));
    pn_link_advance(sender->link);
    sink->first_free = slot->next_free;
    sink->slots_used++;
    slot->sequence = item->sequence;
    slot->sender = sender;
    slot->by_message = sink->templated || sink->to_templated;
    sender->unsettled++;
    sender->put++;
}

/* What is still here after a flush waits for the peer's session window. Proton looks at all of it
 * each time it writes, so no more is put behind it, and no more at once than went last time. */
static bool window_is_open(struct mb_sink *sink, struct sender *sender)
{
    uint32_t waiting;

    if (sender->put >= sender->burst)
        amqp10_client_write(sink->client);
    if (sender->flushes == sink->client->flushes)
        return sender->put < sender->burst;
    waiting = (uint32_t)pn_link_queued(sender->link);
    if (waiting > 0) {
        if (sender->put > 0)
            sender->burst = sender->put > waiting + BURST_MIN ? sender->put - waiting : BURST_MIN;
        sender->put = 0;
        return false;
    }
    if (sender->put >= sender->burst)
        sender->burst = sender->burst < UINT32_MAX / 2 ? sender->burst * 2 : UINT32_MAX;
    sender->put = 0;
    sender->flushes = sink->client->flushes;
    return true;
}

/* true: the item is taken, or completed. */
static bool send_one(struct mb_sink *sink, const struct mb_outgoing *item)
{
    struct sender *sender = amqp10_senders_find(sink, item);

    if (sender == NULL)
        return false;
    if (sender->state == AMQP10_LINK_REFUSED) {
        amqp10_sink_done_error(sink, item->sequence, &sender->refusal);
        return true;
    }
    if (sender->state != AMQP10_LINK_OPEN || pn_link_credit(sender->link) <= 0 ||
        !window_is_open(sink, sender))
        return false;
    if (pn_session_outgoing_bytes(pn_link_session(sender->link)) >= AMQP10_OUTGOING_MAX) {
        amqp10_client_write(sink->client);
        if (pn_session_outgoing_bytes(pn_link_session(sender->link)) >= AMQP10_OUTGOING_MAX)
            return false;
    }
    if (encode(sink, sender, item))
        transmit(sink, sender, item);
    return true;
}

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    *ret_taken = 0;
    while (*ret_taken < count) {
        if (sink->client->failed)
            return amqp10_client_gone(sink->client, err);
        if (!has_room(sink) || !send_one(sink, &items[*ret_taken])) {
            amqp10_client_write(sink->client);
            return MB_AGAIN;
        }
        *ret_taken += 1;
    }
    return MB_OK;
}

/* Reads what is there; of the connection's end everything before it counts. */
static enum mb_status take_input(struct mb_sink *sink, struct mb_error *err)
{
    pn_event_t *event;

    amqp10_client_read(sink->client);
    while ((event = amqp10_client_event(sink->client)) != NULL)
        amqp10_sink_event(sink, event);
    if (sink->client->failed)
        return amqp10_client_gone(sink->client, err);
    if (sink->ended) {
        *err = sink->end;
        return MB_DISCONNECTED;
    }
    return MB_OK;
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    enum mb_status status = take_input(sink, err);

    *ret_count = amqp10_sink_results(sink, completions, max);
    return status;
}

static enum mb_status sink_flush(struct mb_sink *sink, struct mb_error *err)
{
    (void)err;
    amqp10_client_write(sink->client);
    return MB_OK;
}

static enum mb_status sink_service(struct mb_sink *sink, struct mb_error *err)
{
    amqp10_client_tick(sink->client);
    amqp10_client_write(sink->client);
    (void)err;
    return MB_OK;
}

static void sink_close(struct mb_sink *sink)
{
    if (sink == NULL)
        return;
    amqp10_senders_release(sink);
    amqp10_client_close(sink->client, CLOSE_WAIT_MS);
    mb_carry_release(&sink->carry);
    mb_text_release(&sink->out);
    mb_text_release(&sink->once_id);
    sink->host->release(sink->host->context, sink->slots);
    sink->host->release(sink->host->context, sink->done);
    sink->host->release(sink->host->context, sink);
}

const struct mb_sink_ops amqp10_sink_ops = {
    .struct_size = sizeof(struct mb_sink_ops),
    .traits = sink_traits,
    .open = sink_open,
    .fds = sink_fds,
    .send = sink_send,
    .completions = sink_completions,
    .flush = sink_flush,
    .service = sink_service,
    .close = sink_close,
};
