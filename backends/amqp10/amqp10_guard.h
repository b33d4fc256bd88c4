/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One active consumer where order counts: who holds the guard of an address reads it, all others
 * stand by. What can serve as one differs from broker to broker:
 *
 *   Artemis      a durable subscription that takes one consumer, on a connection of its own, as its
 *                owner is the connection's container: "mbridge.active", named like the address
 *   RabbitMQ 4   a queue exclusive to the connection, "mbridge.active.NAME": the same that the
 *                backend for AMQP 0-9-1 uses
 *   Classic      the id of the connection itself, and an exclusive consumer
 *   others       none is known: the log says so
 */
#ifndef AMQP10_GUARD_H
#define AMQP10_GUARD_H

#include "amqp10_manage.h"

struct amqp10_guard {
    struct amqp10_client *client; /* Artemis */
    struct amqp10_management management;
};

/* In open, before the source attaches. MB_DISCONNECTED with reason "standby": somebody else has it.
 * redirect: where the source's own connection was sent, or NULL. */
enum mb_status amqp10_guard_take(struct amqp10_guard *guard, struct amqp10_client *source,
                                 const struct mb_open_params *params,
                                 const struct amqp10_redirect *redirect,
                                 const char *const *addresses, size_t count, int64_t deadline_ms,
                                 struct mb_error *err);
/* On Classic: opens *client again under an id that the addresses give. Classic refuses a second
 * connection of one id, and lets the id go only when it has taken back what the first one held; an
 * exclusive consumer alone may get new messages before those. Elsewhere nothing happens. */
enum mb_status amqp10_guard_reopen(const struct amqp10_open *open, const char *const *addresses,
                                   size_t count, struct amqp10_client **client,
                                   struct mb_error *err);

/* The address to attach to so that the broker itself keeps others away, into buffer; or address. */
const char *amqp10_guard_address(const struct amqp10_client *client, const char *address,
                                 char *buffer, size_t size);
/* MB_DISCONNECTED: the guard is lost. */
enum mb_status amqp10_guard_service(struct amqp10_guard *guard, struct mb_error *err);
void amqp10_guard_fds(const struct amqp10_guard *guard, struct mb_wait *wait);
/* Closes the source's connection too (NULL allowed), between giving back what it had and giving up
 * the guard: who stands by finds everything in its place. */
void amqp10_guard_release(struct amqp10_guard *guard, struct amqp10_client *source,
                          const char *const *addresses, size_t count, uint32_t wait_ms);

#endif
