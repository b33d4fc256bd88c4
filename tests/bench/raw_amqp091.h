/* SPDX-License-Identifier: Apache-2.0 */
/* What both ways to speak AMQP 0-9-1 share: the login, the subscription, what is confirmed, and how
 * much of a delivery is there. */
#ifndef MBRIDGE_BENCH_RAW_AMQP091_H
#define MBRIDGE_BENCH_RAW_AMQP091_H

#include "raw.h"

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#endif

#define AMQP091_CHANNEL   1
#define AMQP091_FRAME_MAX 131072u

struct amqp091 {
    const struct raw_spec *spec;
    amqp_connection_state_t connection;
    char *body;

    /* A sink. */
    unsigned char *seen; /* by tag: single confirms may come out of order */
    uint64_t covered;    /* all up to here are seen */
    uint64_t confirmed;
    uint64_t published;

    /* A source. */
    uint64_t tag;
    uint64_t whole_tag; /* of the newest message that is complete */
    uint64_t acknowledged;
    uint64_t left; /* of its body */
    char stamp[RAW_STAMP_SIZE];
};

/* Logged in; a source is subscribed, and no answer to that is to come. */
void amqp091_open(struct amqp091 *half, const struct raw_spec *spec);
void amqp091_close(struct amqp091 *half);

void amqp091_note_confirm(struct amqp091 *half, uint64_t tag, bool multiple);

/* The three kinds of frames of a delivery. */
void amqp091_take_deliver(struct amqp091 *half, uint64_t tag);
void amqp091_take_header(struct amqp091 *half, uint64_t body_size);
void amqp091_take_body(struct amqp091 *half, struct raw_meter *meter, const void *part,
                       size_t size);

extern const struct raw_way raw_amqp091_client;
extern const struct raw_way raw_amqp091_bare;

#endif
