/* SPDX-License-Identifier: Apache-2.0 */
/* A route's dead letters as something to read: made from the checked model, not from a file. */
#ifndef MBRIDGE_CORE_DEAD_SOURCE_H
#define MBRIDGE_CORE_DEAD_SOURCE_H

#include "core/config/model.h"

/* The most messages of a queue that may be held and not acknowledged. */
#define MB_DEAD_HELD_MAX 65535u

/* The source that reads what the route's dead_letter writes: the options that both have by name.
 * MB_INVALID: it cannot be read back (names that change from message to message, an exchange); the
 * text says why. On success the caller releases *ret_source with mb_dead_source_release. */
enum mb_status mb_dead_source_make(const struct mb_config_route *route,
                                   struct mb_config_stream *ret_source, struct mb_error *err);
void mb_dead_source_release(struct mb_config_stream *source);

/* Both write their dead letters to one stream. */
bool mb_dead_letters_are_one(const struct mb_config_route *a, const struct mb_config_route *b);

/* Makes the model one of the route's replay and nothing else: it reads the dead letters, in the
 * group, and all else is as the route's. replay is borrowed for as long as the model lives. */
enum mb_status mb_config_replay(struct mb_config *config, size_t route, struct mb_replay *replay,
                                const char *group, struct mb_error *err);

#endif
