/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker said of a message, by its cause (docs/delivery.md). */
#include "amqp10_sink.h"

#include <proton/disposition.h>

static const struct {
    enum mb_cause cause;
    const char *reason;
    const char *text;
} results[] = {
    [RESULT_ACCEPTED] = {MB_CAUSE_NONE, NULL, NULL},
    [RESULT_TOO_LARGE] = {MB_CAUSE_MESSAGE, "too-large",
                          "the message is larger than the broker takes at this address, or than "
                          "max_message_size"},
    [RESULT_REFUSED] = {MB_CAUSE_DESTINATION, "full",
                        "the broker rejected the message without a reason: the queue is at its "
                        "length limit, or not available"},
    [RESULT_UNROUTABLE] = {MB_CAUSE_DESTINATION, "unroutable",
                           "no queue takes messages at this address"},
    [RESULT_UNROUTABLE_MESSAGE] = {MB_CAUSE_MESSAGE, "unroutable",
                                   "no queue takes messages at this address"},
    [RESULT_MODIFIED] = {MB_CAUSE_DESTINATION, "modified",
                         "the broker gave the message back (modified)"},
    [RESULT_NO_OUTCOME] = {MB_CAUSE_DESTINATION, "no-outcome",
                           "the broker settled the message and did not say whether it has it"},
    [RESULT_LINK_LOST] = {MB_CAUSE_CONNECTION, "detached",
                          "the broker ended the link before it had answered"},
    [RESULT_REJECTED_MESSAGE] = {MB_CAUSE_MESSAGE, "rejected", "the broker rejected the message"},
    [RESULT_REJECTED_DESTINATION] = {MB_CAUSE_DESTINATION, "rejected",
                                     "the broker takes no messages at this address"},
};

void amqp10_sink_done(struct mb_sink *sink, uint64_t sequence, enum result result)
{
    struct done *done = &sink->done[sink->done_tail++ & (sink->capacity - 1)];

    done->sequence = sequence;
    done->result = result;
}

static void done_told(struct mb_sink *sink, uint64_t sequence, enum mb_cause cause,
                      const char *reason, const char *text)
{
    struct told *told;

    if (sink->texts_tail - sink->texts_head == TEXTS_COUNT) {
        amqp10_sink_done(sink, sequence,
                         cause == MB_CAUSE_MESSAGE ? RESULT_REJECTED_MESSAGE
                                                   : RESULT_REJECTED_DESTINATION);
        return;
    }
    told = &sink->texts[sink->texts_tail++ % TEXTS_COUNT];
    told->cause = cause;
    snprintf(told->reason, sizeof told->reason, "%s", reason[0] != '\0' ? reason : "rejected");
    snprintf(told->text, sizeof told->text, "%s", text[0] != '\0' ? text : "it cannot be sent");
    amqp10_sink_done(sink, sequence, RESULT_TOLD);
}

void amqp10_sink_done_error(struct mb_sink *sink, uint64_t sequence, const struct mb_error *err)
{
    enum mb_cause cause = err->cause;

    if (err->status == MB_REJECTED)
        cause = MB_CAUSE_MESSAGE;
    else if (cause == MB_CAUSE_NONE)
        cause = MB_CAUSE_DESTINATION;
    done_told(sink, sequence, cause, err->reason, err->text);
}

/* Rejected with a condition: the message's fault, unless the condition is about the place. */
static void done_rejected(struct mb_sink *sink, const struct outstanding *slot,
                          pn_condition_t *condition)
{
    struct mb_error err;
    enum mb_cause cause = MB_CAUSE_MESSAGE;
    const char *name = pn_condition_get_name(condition);

    if (!pn_condition_is_set(condition)) {
        amqp10_sink_done(sink, slot->sequence, RESULT_REFUSED);
        return;
    }
    mb_error_clear(&err);
    amqp10_condition_error(sink->client, condition, "message rejected", &err);
    if (strcmp(name, "amqp:resource-limit-exceeded") == 0)
        cause = MB_CAUSE_DESTINATION;
    else if (!slot->by_message &&
             (strcmp(err.reason, "missing") == 0 || strcmp(err.reason, "forbidden") == 0))
        cause = MB_CAUSE_DESTINATION;
    else if (strcmp(err.reason, "refused") == 0 || strcmp(err.reason, "internal") == 0)
        snprintf(err.reason, sizeof err.reason, "rejected");
    done_told(sink, slot->sequence, cause, err.reason, err.text);
}

static enum result unroutable(const struct outstanding *slot)
{
    return slot->by_message ? RESULT_UNROUTABLE_MESSAGE : RESULT_UNROUTABLE;
}

struct outstanding *amqp10_sink_item(struct mb_sink *sink, pn_delivery_t *delivery)
{
    uintptr_t context = (uintptr_t)pn_delivery_get_context(delivery);

    if (context == 0 || context > sink->capacity || sink->slots[context - 1].sender == NULL)
        return NULL;
    return &sink->slots[context - 1];
}

void amqp10_sink_settle(struct mb_sink *sink, pn_delivery_t *delivery, enum result lost)
{
    struct outstanding *slot = amqp10_sink_item(sink, delivery);
    pn_disposition_t *remote = pn_delivery_remote(delivery);

    if (slot == NULL)
        return;
    switch (lost != RESULT_ACCEPTED ? 0 : pn_delivery_remote_state(delivery)) {
    case PN_ACCEPTED:
        amqp10_sink_done(sink, slot->sequence, RESULT_ACCEPTED);
        break;
    case PN_REJECTED:
        done_rejected(sink, slot, pn_disposition_condition(remote));
        break;
    case PN_RELEASED:
        amqp10_sink_done(sink, slot->sequence, unroutable(slot));
        break;
    case PN_MODIFIED:
        amqp10_sink_done(sink, slot->sequence,
                         pn_disposition_is_undeliverable(remote) ? unroutable(slot)
                                                                 : RESULT_MODIFIED);
        break;
    default:
        if (lost == RESULT_TOLD)
            break; /* completed already */
        amqp10_sink_done(sink, slot->sequence, lost != RESULT_ACCEPTED ? lost : RESULT_NO_OUTCOME);
    }
    slot->sender->unsettled--;
    slot->sender = NULL;
    slot->next_free = sink->first_free;
    sink->first_free = (uint32_t)(slot - sink->slots);
    sink->slots_used--;
    pn_delivery_set_context(delivery, NULL);
    pn_delivery_settle(delivery);
}

static bool is_terminal(uint64_t state)
{
    return state == PN_ACCEPTED || state == PN_REJECTED || state == PN_RELEASED ||
           state == PN_MODIFIED;
}

static void take_disposition(struct mb_sink *sink, pn_delivery_t *delivery)
{
    if (!pn_delivery_updated(delivery))
        return;
    if (is_terminal(pn_delivery_remote_state(delivery)) || pn_delivery_settled(delivery))
        amqp10_sink_settle(sink, delivery, RESULT_ACCEPTED);
    else
        pn_delivery_clear(delivery); /* received: it may come to something yet */
}

void amqp10_sink_event(struct mb_sink *sink, pn_event_t *event)
{
    struct sender *sender = NULL;

    switch ((int)pn_event_type(event)) {
    case PN_DELIVERY:
        take_disposition(sink, pn_event_delivery(event));
        return;
    case PN_LINK_REMOTE_OPEN:
    case PN_LINK_REMOTE_CLOSE:
    case PN_LINK_REMOTE_DETACH:
        sender = pn_link_get_context(pn_event_link(event));
        break;
    case PN_SESSION_REMOTE_CLOSE:
        sender = pn_session_get_context(pn_event_session(event));
        break;
    default:
        break;
    }
    if (sender != NULL)
        amqp10_sender_changed(sink, sender);
}

size_t amqp10_sink_results(struct mb_sink *sink, struct mb_completion *completions, size_t max)
{
    size_t count = 0;

    sink->texts_head = sink->texts_given;
    while (count < max && sink->done_head != sink->done_tail) {
        const struct done *done = &sink->done[sink->done_head++ & (sink->capacity - 1)];
        struct mb_completion *completion = &completions[count++];

        memset(completion, 0, sizeof *completion);
        completion->sequence = done->sequence;
        completion->partition = -1;
        if (done->result == RESULT_TOLD) {
            const struct told *told = &sink->texts[sink->texts_given++ % TEXTS_COUNT];

            completion->cause = told->cause;
            completion->reason = told->reason;
            completion->text = told->text;
            continue;
        }
        completion->cause = results[done->result].cause;
        completion->reason = results[done->result].reason;
        completion->text = results[done->result].text;
    }
    return count;
}
