/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dead letters: the original message with headers that say why, when and from where.
 *   mbridge.dead.reason  mbridge.dead.text  mbridge.dead.time  mbridge.dead.route
 *   mbridge.dead.endpoint  mbridge.dead.stream  mbridge.dead.partition  mbridge.dead.position
 */
#ifndef MBRIDGE_CORE_DEAD_LETTER_H
#define MBRIDGE_CORE_DEAD_LETTER_H

#include "core/router/window.h"

struct mb_dead_letter {
    struct mb_message *message;
    struct mb_slice names[MB_NAMES_MAX];
};

/* Everything is allocated in the arena; the original is not changed. MB_NO_MEMORY else. */
enum mb_status mb_dead_letter_create(struct mb_arena *arena, const struct mb_message *original,
                                     const char *route, const char *reason, const char *text,
                                     int64_t wall_ms, struct mb_dead_letter **ret_letter);

#endif
