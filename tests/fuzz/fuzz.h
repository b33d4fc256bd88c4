/* SPDX-License-Identifier: Apache-2.0 */
/* What a fuzz target defines and may use; how to add one: fuzz.cmake. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One input. data has exactly size bytes. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MB_FUZZ_NO_SEED SIZE_MAX

/* Writes the seed of that index (0, 1, …) into data, at most size bytes, and returns how many;
 * MB_FUZZ_NO_SEED: there are no more. Called before any input. */
size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size);

/* A property that has to hold; also in builds without assert. */
static inline void mb_fuzz_check(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

#define MB_FUZZ_CHECK(condition) mb_fuzz_check((condition) ? 1 : 0, #condition)

/* Takes an input apart: what a target needs besides one run of bytes. At the end it yields zeros.
 */
struct mb_fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t mb_fuzz_byte(struct mb_fuzz_input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static inline uint64_t mb_fuzz_number(struct mb_fuzz_input *input, size_t bytes)
{
    uint64_t number = 0;

    for (size_t i = 0; i < bytes; i++)
        number = number << 8 | mb_fuzz_byte(input);
    return number;
}

/* At most size of the bytes that are left; *ret_size says how many. */
static inline const uint8_t *mb_fuzz_bytes(struct mb_fuzz_input *input, size_t size,
                                           size_t *ret_size)
{
    const uint8_t *bytes = input->at;

    *ret_size = size < input->left ? size : input->left;
    input->at += *ret_size;
    input->left -= *ret_size;
    return bytes;
}

#endif
