/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a message is too old to be sent. An absolute expiry says so itself. A time to live counts
 * from when the message came to the bridge, as the broker that had it has judged the time before;
 * where a log stored it with its own clock, from then, since logs expire nothing. A timestamp that
 * the application wrote is no such beginning: it may be the time of what the message tells of.
 *
 * The wall clock is asked once, when the message is taken; from then on the monotonic one counts. A
 * wall clock that is set while messages wait makes them neither older nor younger.
 */
#ifndef MBRIDGE_CORE_EXPIRY_H
#define MBRIDGE_CORE_EXPIRY_H

#include <mbridge/message.h>
#include <stdbool.h>

#define MB_MAY_EXPIRE (MB_HAS_TTL | MB_HAS_EXPIRES_AT)

/* The monotonic time at which a message that is taken now (by both clocks) expires; 0: never. */
int64_t mb_expiry_of(const struct mb_message *message, int64_t wall_ms, int64_t now_ms);

/* A time to live is sent less what has gone by, from a second on: less is the way itself. Only
 * while nobody else holds the message. */
void mb_expiry_shorten(struct mb_message *message, int64_t expires_ms, int64_t now_ms);

#endif
