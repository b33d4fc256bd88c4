/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the typed values share. Internal to the kit. depth counts the containers around
 * a value; what writes into a text that failed does nothing. */
#ifndef MBRIDGE_KIT_TYPES_PARTS_H
#define MBRIDGE_KIT_TYPES_PARTS_H

#include <kit/types.h>
#include <kit/types_codes.h>

/* The descriptors of the two types that are none of AMQP 1.0 (kit/types.h). */
#define MB_DESCRIPTOR_SECONDS "mbridge:seconds"
#define MB_DESCRIPTOR_SCALED  "mbridge:decimal"

/* Reading. */

struct mb_types_scan {
    const unsigned char *at;
    const unsigned char *end;
    struct mb_arena *arena; /* NULL: nothing is built */
    uint32_t bare_count;
};

static inline size_t mb_types_left(const struct mb_types_scan *scan)
{
    return (size_t)(scan->end - scan->at);
}

static inline struct mb_value *mb_types_new_items(struct mb_types_scan *scan, uint32_t count)
{
    return mb_arena_alloc(scan->arena, count * sizeof(struct mb_value));
}

/* enum mb_type by format code; MB_NULL where there is no such code (and for null itself). */
extern const uint8_t mb_types_of_code[256];

enum mb_status mb_types_scan_value(struct mb_types_scan *scan, unsigned depth,
                                   struct mb_value *ret_value);
/* What stands behind a primitive format code. */
enum mb_status mb_types_scan_coded(struct mb_types_scan *scan, uint8_t code, unsigned depth,
                                   struct mb_value *ret_value);
/* What stands behind the octet 0. */
enum mb_status mb_types_scan_described(struct mb_types_scan *scan, unsigned depth,
                                       struct mb_value *ret_value);
/* What stands behind an array's count; it ends at scan->end. depth: of the elements. */
enum mb_status mb_types_scan_array(struct mb_types_scan *scan, uint32_t count, unsigned depth,
                                   struct mb_value *ret_value);

/* Counts the items that an array makes beyond what its size bytes of elements account for, so that
 * few bytes never make many items: elements of no bytes, elements under many descriptors. false:
 * that is more than MB_TYPES_BARE_MAX in all. */
bool mb_types_charge(uint32_t *bare_count, uint32_t count, unsigned descriptors_count, size_t size);

/* Writing. */

struct mb_types_writer {
    struct mb_text *out;
    uint32_t bare_count;
};

void mb_types_put_value(struct mb_types_writer *writer, const struct mb_value *value,
                        unsigned depth);
/* The number alone, without a format code. */
void mb_types_put_plain(struct mb_types_writer *writer, uint64_t number, size_t width);
/* A size of width bytes, and the bytes. */
void mb_types_put_sized(struct mb_types_writer *writer, struct mb_slice bytes, size_t width);
/* code8: of binary, string or symbol in the short form. */
void mb_types_put_bytes(struct mb_types_writer *writer, uint8_t code8, struct mb_slice bytes);
/* What of a list, map or array stands behind its count. depth: of its items. */
void mb_types_put_content(struct mb_types_writer *writer, const struct mb_value *value,
                          unsigned depth);
/* Constructor and elements. */
void mb_types_put_array(struct mb_types_writer *writer, const struct mb_value *array,
                        unsigned depth);
/* Size and count of width bytes each stand at start - 2 × width; the content goes up to the end.
 * false: they need more. */
bool mb_types_set_compound(struct mb_types_writer *writer, size_t start, size_t width,
                           uint32_t count);
/* TIMESTAMP_S and DECIMAL_SCALED as descriptor and value; parts may point to numbers. */
void mb_types_make_parts(const struct mb_value *value, struct mb_value parts[2],
                         struct mb_value numbers[2]);
uint64_t mb_types_float_bits(const struct mb_value *value);

#endif
