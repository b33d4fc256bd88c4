/* SPDX-License-Identifier: Apache-2.0 */
/* A message, its natural form and what comes back, for the tests of the sidecar. */
#ifndef TESTS_UNIT_KIT_SIDECAR_BENCH_H
#define TESTS_UNIT_KIT_SIDECAR_BENCH_H

#include "kit/scratch.h"
#include "kit/sidecar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEXT(text_)                                                                                \
    {                                                                                              \
        .type = MB_STRING, .as.bytes = MB_SLICE_LITERAL(text_)                                     \
    }
#define HEADER(name_, ...)                                                                         \
    {                                                                                              \
        .name = MB_SLICE_LITERAL(name_), .value = __VA_ARGS__, .name_type = MB_STRING              \
    }
#define SIDECAR_MAX 65536u

struct bench {
    struct mb_scratch scratch;
    struct mb_text sidecar;
    struct mb_message message;
    struct mb_message natural;
    struct mb_message restored;
    uint64_t lost;
};

static inline int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);

    if (bench == NULL)
        return -1;
    mb_scratch_init(&bench->scratch, 1u << 24);
    bench->sidecar.max_size = 4 * SIDECAR_MAX;
    bench->message.body = MB_SLICE_LITERAL("body");
    bench->natural.body = MB_SLICE_LITERAL("body");
    *state = bench;
    return 0;
}

static inline int teardown(void **state)
{
    struct bench *bench = *state;

    mb_scratch_release(&bench->scratch);
    mb_text_release(&bench->sidecar);
    free(bench);
    return 0;
}

static inline void set_headers(struct mb_message *message, const struct mb_header *headers,
                               uint32_t count)
{
    message->headers = headers;
    message->headers_count = count;
}

static inline size_t write_sidecar(struct bench *bench)
{
    mb_text_clear(&bench->sidecar);
    assert_int_equal(mb_sidecar_write(&bench->message, &bench->natural, SIDECAR_MAX,
                                      &bench->sidecar, &bench->lost),
                     MB_OK);
    return bench->sidecar.size;
}

static inline void restore(struct bench *bench)
{
    struct mb_message read = bench->natural;
    bool malformed = true;

    if (bench->sidecar.size > 0)
        read.sidecar = (struct mb_slice){bench->sidecar.data, bench->sidecar.size};
    assert_int_equal(mb_sidecar_restore(&read, &bench->scratch.arena, &bench->restored, &malformed),
                     MB_OK);
    assert_false(malformed);
}

static inline void comes_back(struct bench *bench)
{
    assert_true(write_sidecar(bench) > 0);
    assert_true(bench->lost == 0);
    restore(bench);
    assert_true(mb_message_difference(&bench->message, &bench->restored) == 0);
}

#endif
