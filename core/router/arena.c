/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/arena.h"

#include <stdlib.h>

#define CHUNK_SIZE (128u * 1024u)
/* As many as a window of 16 MiB: while a window fills and empties nothing is allocated for it. What
 * is not needed any more goes with mb_lane_arena_rest. */
#define SPARE_MAX 128u

struct mb_chunk {
    struct mb_chunk *next;
    size_t size;            /* of the memory behind the struct */
    uint64_t last_sequence; /* of the messages in it; meaningful once it is marked */
    bool marked;
    _Alignas(16) unsigned char memory[];
};

static struct mb_chunk *chunk_take(struct mb_lane_arena *arena, size_t size)
{
    struct mb_chunk *chunk;

    if (size <= CHUNK_SIZE && arena->spare != NULL) {
        chunk = arena->spare;
        arena->spare = chunk->next;
        arena->spare_count--;
        if (arena->spare_count < arena->spare_low)
            arena->spare_low = arena->spare_count;
    } else {
        if (size < CHUNK_SIZE)
            size = CHUNK_SIZE;
        chunk = malloc(sizeof *chunk + size);
        if (chunk == NULL)
            return NULL;
        chunk->size = size;
    }
    chunk->next = NULL;
    chunk->last_sequence = 0;
    chunk->marked = false;
    return chunk;
}

static void chunk_give(struct mb_lane_arena *arena, struct mb_chunk *chunk)
{
    if (chunk->size == CHUNK_SIZE && arena->spare_count < SPARE_MAX) {
        chunk->next = arena->spare;
        arena->spare = chunk;
        arena->spare_count++;
    } else {
        free(chunk);
    }
}

static void *arena_more(struct mb_arena *base, size_t size)
{
    struct mb_lane_arena *arena = (struct mb_lane_arena *)base;
    struct mb_chunk *chunk = chunk_take(arena, size);

    if (chunk == NULL)
        return NULL;
    if (arena->current != NULL) {
        arena->current->next = chunk;
        arena->current->marked = false; /* it may hold messages younger than its mark */
    } else {
        arena->oldest = chunk;
    }
    arena->current = chunk;
    arena->held_bytes += chunk->size;
    base->at = chunk->memory + size;
    base->end = chunk->memory + chunk->size;
    return chunk->memory;
}

void mb_lane_arena_init(struct mb_lane_arena *arena)
{
    *arena = (struct mb_lane_arena){.arena = {.more = arena_more}};
}

void mb_lane_arena_release(struct mb_lane_arena *arena)
{
    struct mb_chunk *chunk;

    while ((chunk = arena->oldest) != NULL) {
        arena->oldest = chunk->next;
        free(chunk);
    }
    while ((chunk = arena->spare) != NULL) {
        arena->spare = chunk->next;
        free(chunk);
    }
    mb_lane_arena_init(arena);
}

void mb_lane_arena_mark(struct mb_lane_arena *arena, uint64_t last_sequence)
{
    struct mb_chunk *chunk;

    /* Chunks filled since the last mark are at the end of the list, the current one among them. */
    for (chunk = arena->oldest; chunk != NULL; chunk = chunk->next) {
        if (!chunk->marked || chunk == arena->current) {
            chunk->marked = true;
            chunk->last_sequence = last_sequence;
        }
    }
}

void mb_lane_arena_advance(struct mb_lane_arena *arena, uint64_t tail, bool empty)
{
    struct mb_chunk *chunk;

    while ((chunk = arena->oldest) != NULL && chunk != arena->current && chunk->marked &&
           (empty || chunk->last_sequence < tail)) {
        arena->oldest = chunk->next;
        arena->held_bytes -= chunk->size;
        chunk_give(arena, chunk);
    }
    if (empty && chunk != NULL && chunk == arena->current && chunk->marked) {
        arena->arena.at = chunk->memory;
        chunk->marked = false;
    }
}

void mb_lane_arena_rest(struct mb_lane_arena *arena)
{
    for (; arena->spare_low > 0; arena->spare_low--) {
        struct mb_chunk *chunk = arena->spare;

        arena->spare = chunk->next;
        arena->spare_count--;
        free(chunk);
    }
    arena->spare_low = arena->spare_count;
}
