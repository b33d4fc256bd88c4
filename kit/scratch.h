/* SPDX-License-Identifier: Apache-2.0 */
/* An arena for the life of one message in a sink: filled, used, reset, never freed piece by piece.
 * After warming up it allocates nothing. One thread. */
#ifndef MBRIDGE_KIT_SCRATCH_H
#define MBRIDGE_KIT_SCRATCH_H

#include <mbridge/source.h>

struct mb_scratch {
    struct mb_arena arena; /* first, so that more() finds its way back */
    struct mb_scratch_chunk *chunks;
    size_t size;
    size_t size_max; /* of all chunks together; allocation fails beyond */
};

void mb_scratch_init(struct mb_scratch *scratch, size_t size_max);
/* Everything handed out is invalid afterwards. Keeps one chunk, of at most 256 KiB. */
void mb_scratch_reset(struct mb_scratch *scratch);
void mb_scratch_release(struct mb_scratch *scratch); /* a zeroed or released one is allowed */

#endif
