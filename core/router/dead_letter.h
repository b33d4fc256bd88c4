/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dead letters: the original message with headers that say why, when and from where, and what of it
 * the stream of dead letters cannot keep in its place. docs/dead-letters.md lists them.
 *
 *   mbridge.dead.reason    .text     .time       .route      .count (from the second time on)
 *   mbridge.dead.endpoint  .stream   .partition  .partitions .position  .identity  .id
 *   mbridge.dead.exchange  .routing_key  .timestamp  .ttl  .expires
 */
#ifndef MBRIDGE_CORE_DEAD_LETTER_H
#define MBRIDGE_CORE_DEAD_LETTER_H

#include "core/router/window.h"

#define MB_DEAD_PREFIX "mbridge.dead."

struct mb_dead_letter {
    struct mb_message *message;
    struct mb_slice names[MB_NAMES_MAX];
};

/* What the headers of a dead letter say. Slices point into the message; null: not said. */
struct mb_dead_info {
    bool is_dead_letter; /* it names a route and a reason */
    bool has_timestamp;
    bool has_ttl;
    bool has_expires;
    uint32_t count;     /* how often it became a dead letter, from 1 on */
    int32_t partition;  /* -1: none */
    int32_t partitions; /* 0: not known */
    int64_t time_ms;    /* when it became one; 0: not known */
    int64_t timestamp_ms;
    int64_t expires_at_ms;
    uint64_t ttl_ms;
    struct mb_position position; /* at its origin */
    struct mb_slice reason;
    struct mb_slice text;
    struct mb_slice time;
    struct mb_slice route;
    struct mb_slice endpoint;
    struct mb_slice identity;
    struct mb_slice stream;
    struct mb_slice id;
    struct mb_slice exchange;
    struct mb_slice routing_key;
};

struct mb_dead_cause {
    const char *route;
    const char *reason;
    const char *text;
    int64_t wall_ms;
    const struct mb_dead_info *again; /* it was a dead letter already; NULL: it was none */
};

/* Everything is allocated in the arena; the original is not changed. MB_NO_MEMORY else. */
enum mb_status mb_dead_letter_create(struct mb_arena *arena, const struct mb_message *original,
                                     const struct mb_dead_cause *cause,
                                     struct mb_dead_letter **ret_letter);

/* Reads the headers. Any message is good: what is malformed counts as not said. */
void mb_dead_info_read(const struct mb_message *message, struct mb_dead_info *ret_info);

/* Takes those headers out of the message's list, in new memory of the arena. MB_NO_MEMORY else. */
enum mb_status mb_dead_letter_strip(struct mb_message *message, struct mb_arena *arena);

#endif
