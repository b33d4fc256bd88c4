/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/scratch.h"

#include <stdlib.h>

#define CHUNK_SIZE_MIN  4096u
#define CHUNK_SIZE_KEPT (256u * 1024u)

struct mb_scratch_chunk {
    struct mb_scratch_chunk *next;
    size_t size;
};

_Static_assert(sizeof(struct mb_scratch_chunk) % 8 == 0, "what follows a chunk's head is aligned");

static unsigned char *chunk_memory(struct mb_scratch_chunk *chunk)
{
    return (unsigned char *)(chunk + 1);
}

/* Each chunk is twice as large as all before it, so that the next message of that size finds one
 * that is enough. */
static void *take_chunk(struct mb_arena *arena, size_t size)
{
    struct mb_scratch *scratch = (struct mb_scratch *)arena;
    struct mb_scratch_chunk *chunk;
    size_t wanted = scratch->size * 2;

    if (scratch->size > scratch->size_max || size > scratch->size_max - scratch->size)
        return NULL;
    if (wanted < CHUNK_SIZE_MIN)
        wanted = CHUNK_SIZE_MIN;
    if (wanted > CHUNK_SIZE_KEPT)
        wanted = CHUNK_SIZE_KEPT;
    if (wanted > scratch->size_max - scratch->size)
        wanted = scratch->size_max - scratch->size;
    if (wanted < size)
        wanted = size;
    chunk = malloc(sizeof *chunk + wanted);
    if (chunk == NULL)
        return NULL;
    chunk->next = scratch->chunks;
    chunk->size = wanted;
    scratch->chunks = chunk;
    scratch->size += wanted;
    arena->at = chunk_memory(chunk) + size;
    arena->end = chunk_memory(chunk) + wanted;
    return chunk_memory(chunk);
}

void mb_scratch_init(struct mb_scratch *scratch, size_t size_max)
{
    memset(scratch, 0, sizeof *scratch);
    scratch->arena.more = take_chunk;
    scratch->size_max = size_max;
}

static bool is_better(const struct mb_scratch_chunk *chunk, const struct mb_scratch_chunk *kept)
{
    return chunk->size <= CHUNK_SIZE_KEPT && (kept == NULL || chunk->size > kept->size);
}

void mb_scratch_reset(struct mb_scratch *scratch)
{
    struct mb_scratch_chunk *kept = NULL;
    struct mb_scratch_chunk *next;

    for (struct mb_scratch_chunk *chunk = scratch->chunks; chunk != NULL; chunk = next) {
        next = chunk->next;
        if (!is_better(chunk, kept)) {
            free(chunk);
            continue;
        }
        free(kept);
        kept = chunk;
    }
    scratch->chunks = kept;
    scratch->size = 0;
    scratch->arena.at = NULL;
    scratch->arena.end = NULL;
    if (kept != NULL) {
        kept->next = NULL;
        scratch->size = kept->size;
        scratch->arena.at = chunk_memory(kept);
        scratch->arena.end = scratch->arena.at + kept->size;
    }
}

void mb_scratch_release(struct mb_scratch *scratch)
{
    struct mb_scratch_chunk *next;

    for (struct mb_scratch_chunk *chunk = scratch->chunks; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    mb_scratch_init(scratch, scratch->size_max);
}
