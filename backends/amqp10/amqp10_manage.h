/* SPDX-License-Identifier: Apache-2.0 */
/* What brokers tell about their streams through their own management nodes. Blocking: describers
 * only. */
#ifndef AMQP10_MANAGE_H
#define AMQP10_MANAGE_H

#include "amqp10.h"

#include <proton/message.h>

/* The links to a node, made by the first question. Zeroed except client is a valid start; they end
 * with the connection. */
struct amqp10_management {
    struct amqp10_client *client;
    bool refused; /* the node is not for us: no further question */
    bool paired;
    pn_session_t *session;
    pn_link_t *sender;
    pn_link_t *receiver;
};

/* -1: not told. */
struct amqp10_counts {
    int64_t messages;
    int64_t consumers;
};

/* RabbitMQ 4 and later. address is that of a queue, "/queues/NAME", which is also its path there.
 * MB_NOT_FOUND, MB_DENIED, or what the broker says. */
enum mb_status amqp10_rabbit_look(struct amqp10_management *management, const char *address,
                                  int64_t deadline_ms, struct amqp10_counts *ret_counts,
                                  struct mb_error *err);

struct amqp10_queue {
    const struct mb_pair *arguments;
    size_t arguments_count;
    bool exclusive; /* this connection's, and gone with it; else durable */
};

/* Declares a queue; an equal one may be there. */
enum mb_status amqp10_rabbit_declare(struct amqp10_management *management, const char *address,
                                     const struct amqp10_queue *queue, int64_t deadline_ms,
                                     struct mb_error *err);

enum mb_status amqp10_rabbit_delete(struct amqp10_management *management, const char *address,
                                    int64_t deadline_ms, struct mb_error *err);

/* Artemis: "address::queue" and "queue://name" name the queue at their end. */
const char *amqp10_artemis_queue(const char *address);
/* Artemis: an attribute of a "queue" or an "address". MB_NOT_FOUND: there is none of that name.
 * Other failures: the management node is not for us. *ret_number -1: it is no number. */
enum mb_status amqp10_artemis_look(struct amqp10_management *management, const char *kind,
                                   const char *name, const char *attribute, int64_t deadline_ms,
                                   int64_t *ret_number, struct mb_error *err);
/* Artemis: the names of all queues that are taken from. */
enum mb_status amqp10_artemis_list(struct amqp10_management *management, int64_t deadline_ms,
                                   void (*each)(void *context, const char *name), void *context,
                                   struct mb_error *err);

#endif
