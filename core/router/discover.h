/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery while a lane runs: what its source's pattern means is asked again from time to time. A
 * source that can (mb_source_ops.streams) is told the new list; any other one is drained, closed
 * and opened with it. Lane's thread; the question itself runs on a connector thread.
 */
#ifndef MBRIDGE_CORE_DISCOVER_H
#define MBRIDGE_CORE_DISCOVER_H

#include "core/router/lane.h"

struct mb_discover;

/* The source has a pattern and a time after which to look again. */
bool mb_discover_is_wanted(const struct mb_config_stream *source);

enum mb_status mb_discover_create(struct mb_lane *lane, struct mb_discover **ret_discover);
void mb_discover_destroy(struct mb_discover *discover); /* no question under way; NULL allowed */

/* Asks when it is time, and acts on the answer. The source is open. Not MB_OK: it failed, and
 * source.error says how. */
enum mb_status mb_discover_step(struct mb_discover *discover, int64_t now_ms);

/* Nothing is to be taken in: the source waits to be opened with other streams. */
bool mb_discover_is_reopening(const struct mb_discover *discover);

/* A question is under way: the lane must not be freed. */
bool mb_discover_is_asking(const struct mb_discover *discover);

/* When step wants to be called next. */
int64_t mb_discover_deadline_ms(const struct mb_discover *discover);

#endif
