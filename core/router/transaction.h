/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Effectively once through a sink that stores the source's positions with the messages: what the
 * lane sends becomes visible at the destination together with how far the source was read, or not
 * at all. Where reading goes on, the sink says.
 *
 *   assigned scopes → load positions → begin → send … → positions and commit → acknowledge
 *
 * load, commit and abort may block: they run as jobs of the sink's port, and the lane calls nothing
 * else of the sink meanwhile. A message that the sink confirmed within a transaction is *staged*;
 * the commit makes it done. Whatever else happens to the transaction, nothing of it happened: it is
 * sent again in the next one. When the sink's instance is lost it is unknown whether a commit came
 * through: the source is opened again too, and the next instance tells.
 *
 * Dead letters are not part of it: a commit waits until those of its messages are confirmed.
 */
#ifndef MBRIDGE_CORE_TRANSACTION_H
#define MBRIDGE_CORE_TRANSACTION_H

#include <mbridge/sink.h>

struct mb_lane;
struct mb_outlet;
struct mb_scope;
struct mb_transaction;

/* For a lane of one sink. */
enum mb_status mb_transaction_create(struct mb_lane *lane, struct mb_transaction **ret_transaction);
void mb_transaction_destroy(struct mb_transaction *transaction); /* NULL allowed */

/* All of them: transaction may be NULL, and does nothing where its sink has no transactions. */

/* Whether what the outlet's sink confirms becomes durable by a commit. */
bool mb_transaction_covers(const struct mb_transaction *transaction,
                           const struct mb_outlet *outlet);

/* The sink has a new instance. */
void mb_transaction_opened(struct mb_transaction *transaction);

/* Whether the outlet may send now; begin: there is something, so a transaction begins if none has.
 * MB_AGAIN: not now. Others: of the sink's begin. */
enum mb_status mb_transaction_begin(struct mb_transaction *transaction, int64_t now_ms);

/* The outlet's cursor has moved on by what was sent. */
void mb_transaction_sent(struct mb_transaction *transaction);

/* The sink's instance is lost: nothing is in flight any more, nothing is staged. */
void mb_transaction_lost(struct mb_transaction *transaction);

/* A scope was assigned. true: its start is answered when its position has been loaded. */
bool mb_transaction_scope_assigned(struct mb_transaction *transaction);

/* A scope is being taken away: what is staged of it is committed soon. */
void mb_transaction_scope_revoked(struct mb_transaction *transaction);

/* Nothing of the scope will be acknowledged: what is not committed of it must not be. */
void mb_transaction_scope_gone(struct mb_transaction *transaction, const struct mb_scope *scope);

/* Whether the sink knows that the scope, of which nothing is open, is not ours any more; else it
 * will be told in one of the next steps. scope NULL: all scopes of the lane. */
bool mb_transaction_has_let_go(const struct mb_transaction *transaction,
                               const struct mb_scope *scope);

/* Commits, aborts, loads or lets go if it is time. */
void mb_transaction_step(struct mb_transaction *transaction, int64_t now_ms);

/* When step wants to be called next; INT64_MAX: not by time. */
int64_t mb_transaction_deadline_ms(const struct mb_transaction *transaction);

#endif
