/* SPDX-License-Identifier: Apache-2.0 */
/* FNV-1a, 64 bit: for tables, and for names and paths whose hash must be the same in every run. */
#ifndef MBRIDGE_KIT_HASH_H
#define MBRIDGE_KIT_HASH_H

#include <stddef.h>
#include <stdint.h>

#define MB_HASH_BEGIN UINT64_C(0xcbf29ce484222325)
#define MB_HASH_PRIME UINT64_C(0x100000001b3)

/* Goes on from hash, which is MB_HASH_BEGIN at first; data may be NULL where size is 0. */
static inline uint64_t mb_hash_add(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * MB_HASH_PRIME;
    return hash;
}

#endif
