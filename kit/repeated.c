/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/flatten.h"
#include "kit/hash.h"

/* Up to that many headers, comparing each with each is the fastest. */
#define PAIRWISE_MAX 16u

static bool comes_again(const struct mb_message *message, uint32_t at,
                        bool (*fits)(const struct mb_header *header))
{
    for (uint32_t i = at + 1; i < message->headers_count; i++) {
        if (mb_slice_equal(message->headers[at].name, message->headers[i].name) &&
            fits(&message->headers[i]))
            return true;
    }
    return false;
}

/* From the last header to the first: who finds its name in the table is repeated. */
static bool mark_by_table(const struct mb_message *message,
                          bool (*fits)(const struct mb_header *header), struct mb_scratch *scratch,
                          bool *repeated)
{
    const struct mb_header *headers = message->headers;
    size_t slots_count = 64;
    uint32_t *slots;

    while (slots_count < 2 * (size_t)message->headers_count)
        slots_count *= 2;
    slots = mb_arena_alloc(&scratch->arena, slots_count * sizeof *slots);
    if (slots == NULL)
        return false;
    memset(slots, 0, slots_count * sizeof *slots); /* index + 1; 0: free */
    for (uint32_t i = message->headers_count; i-- > 0;) {
        uint64_t hash;
        size_t at;

        if (!fits(&headers[i]))
            continue;
        hash = mb_hash_add(MB_HASH_BEGIN, headers[i].name.data, headers[i].name.size);
        for (at = (hash ^ hash >> 32) & (slots_count - 1); slots[at] != 0;
             at = (at + 1) & (slots_count - 1)) {
            if (mb_slice_equal(headers[i].name, headers[slots[at] - 1].name))
                break;
        }
        repeated[i] = slots[at] != 0;
        if (slots[at] == 0)
            slots[at] = i + 1;
    }
    return true;
}

bool *mb_headers_repeated(const struct mb_message *message,
                          bool (*fits)(const struct mb_header *header), struct mb_scratch *scratch)
{
    uint32_t count = message->headers_count;
    bool *repeated = mb_arena_alloc(&scratch->arena, count);

    if (repeated == NULL)
        return NULL;
    memset(repeated, 0, count);
    if (count > PAIRWISE_MAX)
        return mark_by_table(message, fits, scratch, repeated) ? repeated : NULL;
    for (uint32_t i = 0; i < count; i++)
        repeated[i] = fits(&message->headers[i]) && comes_again(message, i, fits);
    return repeated;
}
