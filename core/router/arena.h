/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lane's memory for message bytes: chunks in the order of the lane's sequences, given back when
 * the ring's tail has passed the last message of a chunk. One thread.
 */
#ifndef MBRIDGE_CORE_ARENA_H
#define MBRIDGE_CORE_ARENA_H

#include <mbridge/source.h>

struct mb_chunk;

struct mb_lane_arena {
    struct mb_arena arena; /* first: what sources and steps see */
    struct mb_chunk *oldest;
    struct mb_chunk *current; /* the newest; NULL: none yet */
    struct mb_chunk *spare;   /* emptied ones, at most as many as a large window has */
    uint32_t spare_count;
    uint32_t spare_low;  /* the least spare_count since mb_lane_arena_rest */
    uint64_t held_bytes; /* of all chunks in use */
};

void mb_lane_arena_init(struct mb_lane_arena *arena);
void mb_lane_arena_release(struct mb_lane_arena *arena);

/* Everything allocated so far belongs to messages up to and including last_sequence. */
void mb_lane_arena_mark(struct mb_lane_arena *arena, uint64_t last_sequence);

/* No message below tail is used any more. empty: none at all is. */
void mb_lane_arena_advance(struct mb_lane_arena *arena, uint64_t tail, bool empty);

/* Frees the spare chunks that were not needed since the last call. */
void mb_lane_arena_rest(struct mb_lane_arena *arena);

#endif
