/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random messages for tests of properties: every field present, absent, null and empty, every type
 * of value, every kind of body, nested values, names that repeat and names that are strange. What
 * is made keeps the contract of mbridge/message.h (a string is UTF-8, a uuid has 16 bytes, …).
 *
 * By a seed, or by the bytes of a fuzzer, where each byte decides something; behind the last one
 * the simplest choice is taken.
 *
 * Link with the library mbridge_generate. All memory is from the scratch; one that is out ends the
 * program.
 */
#ifndef TESTS_UNIT_KIT_GENERATE_H
#define TESTS_UNIT_KIT_GENERATE_H

#include <kit/scratch.h>
#include <mbridge/message.h>

struct generator {
    uint64_t state;
    const unsigned char *at; /* of the bytes; NULL: by seed */
    size_t left;
    struct mb_scratch *scratch;
};

void generator_seed(struct generator *generator, uint64_t seed, struct mb_scratch *scratch);
void generator_bytes(struct generator *generator, const void *data, size_t size,
                     struct mb_scratch *scratch);

/* 0 … bound - 1; bound at most 2^16. */
uint32_t generator_below(struct generator *generator, uint32_t bound);
static inline bool generator_one_in(struct generator *generator, uint32_t count)
{
    return generator_below(generator, count) == count - 1;
}

/* Numbers are extremes as often as they are small. */
uint64_t generate_number(struct generator *generator, unsigned bits);
/* Not null. */
struct mb_slice generate_bytes(struct generator *generator, uint32_t size_max);
struct mb_slice generate_text(struct generator *generator, uint32_t size_max);
/* depth: how many levels of lists and maps are left. */
struct mb_value generate_value(struct generator *generator, unsigned depth);
struct mb_header generate_header(struct generator *generator);
/* Of a message with properties of its own. */
void generate_field(struct generator *generator, struct mb_message *message, unsigned field);
void generate_body(struct generator *generator, struct mb_message *message);
/* Everything; carriers, path, position and origin excepted. */
void generate_message(struct generator *generator, struct mb_message *ret_message);

/* What some platform might make of message: fields dropped, changed, shown as headers, values as
 * text or as another type, headers in another order, fewer, in another section, a body that is
 * flat. Shares memory with message, but has properties of its own. */
void generate_natural(struct generator *generator, const struct mb_message *message,
                      struct mb_message *ret_natural);

/* A copy of the list that can be changed, with room for more headers behind it. */
struct mb_header *generate_headers_copy(struct generator *generator,
                                        const struct mb_message *message, uint32_t more);

#endif
