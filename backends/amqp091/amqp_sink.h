/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of the sink: amqp_sink.c (instance, sending), amqp_confirm.c (what the broker
 * answers). */
#ifndef AMQP_SINK_H
#define AMQP_SINK_H

#include "amqp.h"

enum amqp_result {
    AMQP_RESULT_CONFIRMED = 0,
    AMQP_RESULT_NACKED,
    AMQP_RESULT_UNROUTABLE,
    AMQP_RESULT_UNROUTABLE_MESSAGE,
    AMQP_RESULT_TOO_LARGE,
    AMQP_RESULT_PROPERTIES_TOO_LARGE,
    AMQP_RESULT_NAME_TOO_LONG,
    AMQP_RESULT_NO_EXCHANGE,
    AMQP_RESULT_REFUSED
};

struct amqp_outstanding {
    uint64_t sequence;
    uint64_t properties_hash;
    uint64_t routing_key_hash;
    uint64_t body_hash;   /* where body is NULL */
    const void *body;     /* the message's own bytes */
    const char *exchange; /* of the item */
    size_t body_size;
    uint8_t exchange_size;
    bool open; /* neither acked nor nacked */
    bool returned;
    bool by_message; /* the message chose where it goes */
};

struct amqp_done {
    uint64_t sequence;
    enum amqp_result result;
};

struct mb_sink {
    struct amqp_client *client;
    const struct mb_host *host;
    const struct amqp_sink_options *options;
    struct mb_carry carry;
    size_t sidecar_max;
    struct mb_text text;
    struct amqp_encoding encoding;
    struct mb_error refusal;
    bool refused; /* refusal waits for completions */
    bool names_templated;
    bool exchange_templated;
    bool uses_rings;   /* since the connection rested last */
    uint32_t capacity; /* of both rings, a power of two */
    uint32_t open_count;
    uint64_t next_tag;
    uint64_t first_tag;    /* the one at the begin of the ring: it starts anew when it is empty, so
                            * that little traffic takes little of its memory */
    uint64_t lowest_tag;   /* all below are resolved */
    uint64_t returned_tag; /* the last one that came back */
    struct amqp_outstanding *ring;
    struct amqp_done *done;
    uint64_t done_head;
    uint64_t done_tail;
    const unsigned char *body; /* of the message that is being framed */
    size_t body_left;
};

static inline struct amqp_outstanding *amqp_at_tag(struct mb_sink *sink, uint64_t tag)
{
    return &sink->ring[(tag - sink->first_tag) & (sink->capacity - 1)];
}

static inline void amqp_push_done(struct mb_sink *sink, uint64_t sequence, enum amqp_result result)
{
    struct amqp_done *done = &sink->done[sink->done_tail++ & (sink->capacity - 1)];

    done->sequence = sequence;
    done->result = result;
}

/* Of bytes that are compared with what the broker returns. */
uint64_t amqp_hash(struct mb_slice bytes);

enum mb_status amqp_take_confirm(struct mb_sink *sink, const struct amqp_event *event,
                                 struct mb_error *err);
enum mb_status amqp_take_return(struct mb_sink *sink, const struct amqp_event *event,
                                struct mb_error *err);
/* The broker closed the channel: completes the message that it names. */
void amqp_blame(struct mb_sink *sink, const struct mb_error *err);

#endif
