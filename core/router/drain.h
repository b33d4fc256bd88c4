/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Draining: when has a lane read all that was there? Logs: when the frontier has reached the end
 * that was noted at the start. Queues: when nothing came for drain_idle and the broker, asked then,
 * says that nothing is ready. Logs whose end is no message: likewise, after 15 s at least.
 * Lane's thread.
 */
#ifndef MBRIDGE_CORE_DRAIN_H
#define MBRIDGE_CORE_DRAIN_H

#include "core/router/lane.h"

struct mb_drain;

enum mb_status mb_drain_create(struct mb_lane *lane, int64_t idle_ms, struct mb_drain **ret_drain);
void mb_drain_destroy(struct mb_drain *drain); /* no question under way; NULL allowed */

/* Asks for the ends before the source is opened. true: known (or not to be had), open it. */
bool mb_drain_begin(struct mb_drain *drain, int64_t now_ms);

/* A scope was assigned: gives it its end. */
void mb_drain_scope(struct mb_drain *drain, struct mb_scope *scope);

/* true: everything that was there is done. */
bool mb_drain_is_done(struct mb_drain *drain, int64_t now_ms);

/* A question is under way: the lane must not be freed. */
bool mb_drain_is_asking(const struct mb_drain *drain);

/* When is_done wants to be asked next. */
int64_t mb_drain_deadline_ms(const struct mb_drain *drain);

#endif
