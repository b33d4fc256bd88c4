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

/* Elements of arrays may have no bytes (nulls), so their number bounds nothing: one reader hands
 * out, and one call of mb_types_write accepts, at most so many. */
#define MB_TYPES_BARE_MAX 65536

/* Reads from data[at … size). */
struct mb_types_reader {
    const unsigned char *data;
    size_t size;
    size_t at;
    uint32_t bare_count; /* elements without bytes so far, at most MB_TYPES_BARE_MAX; starts at 0 */
};

/* The next value. Slices of *ret_value point into the reader's data; items lie in the arena.
 * Strings that are no UTF-8 become MB_BINARY (mb_types_reader has no other repair); so do all of an
 * array if one is none. An array of a described type has elements MB_DESCRIBED.
 * MB_REJECTED: malformed, nested deeper than MB_TYPES_DEPTH_MAX, or more items than the bytes
 * allow; the reader stays before the value. MB_NO_MEMORY: the arena is out.
 * arena NULL: all is checked but nothing built; what has items has none then. */
enum mb_status mb_types_read(struct mb_types_reader *reader, struct mb_arena *arena,
                             struct mb_value *ret_value);

/* Steps over the next value without building it. Same errors. */
enum mb_status mb_types_skip(struct mb_types_reader *reader);

/* Opens the next value, a list or a map (*ret_type): its *ret_count items are then read from
 * *ret_items, and reader stands behind it. bare_count goes on in *ret_items. MB_REJECTED: it is
 * neither, or larger than what is there, or a map has an odd count. */
enum mb_status mb_types_open(struct mb_types_reader *reader, struct mb_types_reader *ret_items,
                             uint8_t *ret_type, uint32_t *ret_count);

/* Appends value in its shortest encoding, but numbers in arrays at full width, as brokers expect
 * them. Equal values give equal bytes. Nothing is appended, and
 * the text's failed flag is set, for memory, the text's bound, depth, or a value that no platform
 * can have made: an array of unequal types or descriptors, a map of an odd count, a uuid or decimal
 * of a wrong size. An array has one constructor, as wide as its widest element needs. */
void mb_types_write(struct mb_text *out, const struct mb_value *value);

/* Equal in type and in every part; floating point by bits. */
bool mb_value_equal(const struct mb_value *a, const struct mb_value *b);

#endif
