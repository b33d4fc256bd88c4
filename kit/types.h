/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed values in bytes: the encoding of AMQP 1.0 (Part 1: Types, section 1.6), for the AMQP 1.0
 * backend's sections and for whatever else has to write a typed value down (the sidecar, a body
 * that is no JSON). Two types of the envelope are not AMQP 1.0's; they are described values:
 *   TIMESTAMP_S     symbol "mbridge:seconds", long
 *   DECIMAL_SCALED  symbol "mbridge:decimal", list of ubyte scale, uint value
 * Reading them gives the envelope's types back.
 *
 * Pure; any thread.
 */
#ifndef MBRIDGE_KIT_TYPES_H
#define MBRIDGE_KIT_TYPES_H

#include <kit/text.h>

#define MB_TYPES_DEPTH_MAX 64

/* Reads from data[at … size). */
struct mb_types_reader {
    const unsigned char *data;
    size_t size;
    size_t at;
};

/* The next value. Slices of *ret_value point into the reader's data; items lie in the arena.
 * Strings that are no UTF-8 become MB_BINARY (mb_types_reader has no other repair).
 * MB_REJECTED: malformed, nested deeper than MB_TYPES_DEPTH_MAX, or more items than the remaining
 * bytes allow (elements without bytes count 1 each against 65536); the reader stays before the
 * value. MB_NO_MEMORY: the arena is out. */
enum mb_status mb_types_read(struct mb_types_reader *reader, struct mb_arena *arena,
                             struct mb_value *ret_value);

/* Steps over the next value without building it. Same errors. */
enum mb_status mb_types_skip(struct mb_types_reader *reader);

/* Appends value in its shortest encoding. Equal values give equal bytes. The text's failed flag
 * tells of memory, its bound, or depth. */
void mb_types_write(struct mb_text *out, const struct mb_value *value);

/* Equal in type and in every part; floating point by bits. */
bool mb_value_equal(const struct mb_value *a, const struct mb_value *b);

#endif
