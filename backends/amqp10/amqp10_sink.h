/* SPDX-License-Identifier: Apache-2.0 */
/* The sink's parts: links by address (amqp10_senders.c), outcomes (amqp10_outcome.c), and the
 * operations (amqp10_sink.c). */
#ifndef AMQP10_SINK_H
#define AMQP10_SINK_H

#include "amqp10.h"

/* How a message ended where no error text says more. */
enum result {
    RESULT_ACCEPTED = 0,
    RESULT_TOO_LARGE,
    RESULT_REFUSED,            /* rejected without a condition: RabbitMQ's full queue */
    RESULT_UNROUTABLE,         /* released, or modified as undeliverable here */
    RESULT_UNROUTABLE_MESSAGE, /* the same, where the message chose the address */
    RESULT_MODIFIED,
    RESULT_NO_OUTCOME,
    RESULT_LINK_LOST,
    RESULT_REJECTED_MESSAGE, /* where there is no room for a text of its own */
    RESULT_REJECTED_DESTINATION,
    RESULT_TOLD /* has a text of its own */
};

/* How many refusals keep the broker's words until they are told; more have general ones. */
#define TEXTS_COUNT 16u

struct told {
    enum mb_cause cause;
    char reason[MB_REASON_SIZE];
    char text[MB_ERROR_TEXT_SIZE];
};

struct sender {
    char *address; /* NULL: this place is free */
    size_t address_size;
    pn_session_t *session;
    pn_link_t *link;
    enum amqp10_link_state state;
    struct mb_error refusal;
    int64_t started_ms;
    int64_t refused_ms; /* when: it is tried again later */
    uint32_t unsettled;
    uint32_t flushes; /* the client's, when it was looked at last */
    uint32_t put;     /* messages since then */
    uint32_t burst;   /* at most so many: what the peer's session window took lately */
    uint64_t used;    /* when, as a count: the smallest is the one to give up */
};

struct outstanding {
    uint64_t sequence;
    struct sender *sender; /* NULL: free */
    uint32_t next_free;
    bool by_message; /* the message chose where it goes */
};

struct done {
    uint64_t sequence;
    enum result result;
};

struct mb_sink {
    struct amqp10_client *client;
    const struct mb_host *host;
    const struct amqp10_sink_options *options;
    struct mb_carry carry;
    struct amqp10_encoding encoding;
    struct mb_text out;
    bool effectively_once; /* each message has an id that Artemis knows it by */
    struct mb_text once_id;
    bool templated; /* the address is rendered for each message */
    bool to_templated;
    bool ended; /* the fixed link is gone: end says why */
    bool has_suspect;
    uint64_t suspect; /* was alone on a link when the broker ended it */
    struct mb_error end;

    uint32_t capacity; /* of both tables, a power of two; grows with what is under way */
    uint32_t capacity_max;
    uint32_t slots_used;
    uint32_t first_free;
    uint32_t next_tag;
    struct outstanding *slots;
    struct done *done; /* a ring */
    uint64_t done_head;
    uint64_t done_tail;

    struct told texts[TEXTS_COUNT]; /* a ring, in the order of done */
    uint64_t texts_head;
    uint64_t texts_given; /* told in the last call: needed until the next one */
    uint64_t texts_tail;

    struct sender *senders; /* one, or with a template up to senders_max */
    uint64_t *hashes;       /* of their addresses, beside each other to be searched */
    uint32_t senders_max;
    uint32_t senders_count; /* places ever used */
    uint64_t clock;
    struct sender *last; /* found last time */
};

/* Links. */

enum mb_status amqp10_senders_open_fixed(struct mb_sink *sink, const char *address,
                                         int64_t deadline_ms, struct mb_error *err);
/* With a template: makes room for links. */
enum mb_status amqp10_senders_init(struct mb_sink *sink, uint32_t count, struct mb_error *err);
/* The sender for an item, in whatever state; NULL: none can be had now. */
struct sender *amqp10_senders_find(struct mb_sink *sink, const struct mb_outgoing *item);
/* The answer of the broker to a link, or its end. */
void amqp10_sender_changed(struct mb_sink *sink, struct sender *sender);
/* Frees what belongs to them; the links go with the connection. */
void amqp10_senders_release(struct mb_sink *sink);

/* Outcomes. */

/* A flow, a disposition, the end of a link or session. */
void amqp10_sink_event(struct mb_sink *sink, pn_event_t *event);
/* The item that a delivery is of; NULL: it is done with. */
struct outstanding *amqp10_sink_item(struct mb_sink *sink, pn_delivery_t *delivery);
/* Completes a delivery by its remote state, or with lost if that is not RESULT_ACCEPTED. */
void amqp10_sink_settle(struct mb_sink *sink, pn_delivery_t *delivery, enum result lost);
void amqp10_sink_done(struct mb_sink *sink, uint64_t sequence, enum result result);
/* Completes with an error's cause, reason and text. */
void amqp10_sink_done_error(struct mb_sink *sink, uint64_t sequence, const struct mb_error *err);
size_t amqp10_sink_results(struct mb_sink *sink, struct mb_completion *completions, size_t max);

#endif
