/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation fails in turn: what runs out of memory says so, leaves nothing behind, and loses
 * nothing silently. malloc and realloc are ours here (CMakeLists.txt). */
#include "kit/carry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEXT(text_)                                                                                \
    {                                                                                              \
        .type = MB_STRING, .as.bytes = MB_SLICE_LITERAL(text_)                                     \
    }
#define HEADERS_COUNT 200u

void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
/* A shared library that is linked (tests/support/tsan_threads.c) means them, too. */
#define SHOWN __attribute__((visibility("default")))
SHOWN void *__wrap_malloc(size_t size);
SHOWN void *__wrap_realloc(void *memory, size_t size);

/* Allocations until one fails; 0: none does. */
static unsigned fails_at;
static bool failed;

static bool fails(void)
{
    if (fails_at == 0 || --fails_at > 0)
        return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? NULL : __real_realloc(memory, size);
}

static struct mb_header headers[HEADERS_COUNT];
static struct mb_header fewer[HEADERS_COUNT];

/* Every header is different, every second one away: more entries than lie on the stack. */
static void make(struct mb_message *message, struct mb_message *natural)
{
    static char names[HEADERS_COUNT][8];

    for (unsigned i = 0; i < HEADERS_COUNT; i++) {
        snprintf(names[i], sizeof names[i], "h%u", i);
        headers[i] = (struct mb_header){.name = mb_slice_text(names[i]),
                                        .value = {.type = MB_I32, .as.i = i},
                                        .name_type = MB_STRING};
        fewer[i] = headers[i];
        fewer[i].value = (struct mb_value)TEXT("text");
    }
    *message = (struct mb_message){
        .body_kind = MB_BODY_VALUE, .headers = headers, .headers_count = HEADERS_COUNT};
    *natural = *message;
    natural->headers = fewer;
    natural->headers_count = HEADERS_COUNT / 2;
}

static void test_write(void **state)
{
    struct mb_message message;
    struct mb_message natural;
    unsigned failures = 0;

    (void)state;
    make(&message, &natural);
    for (size_t size_max = 500; size_max <= 50000; size_max += 49500) {
        failed = true;
        for (unsigned at = 1; failed; at++) {
            struct mb_text out = {.max_size = 100000};
            uint64_t lost;
            enum mb_status status;

            failed = false;
            fails_at = at;
            status = mb_sidecar_write(&message, &natural, size_max, &out, &lost);
            fails_at = 0;
            assert_int_equal(status, failed ? MB_NO_MEMORY : MB_OK);
            assert_int_equal(out.size == 0, failed);
            if (!failed)
                assert_true((lost == 0) == (size_max == 50000));
            failures += failed;
            mb_text_release(&out);
        }
    }
    assert_true(failures >= 10);
}

/* Needs more than a chunk. */
static enum mb_status project(void *context, const struct mb_outgoing *item,
                              const struct mb_message *message, struct mb_scratch *scratch,
                              struct mb_message *natural, struct mb_error *err)
{
    (void)context;
    (void)item;
    (void)message;
    (void)natural;
    (void)err;
    return mb_arena_alloc(&scratch->arena, 100000) != NULL ? MB_OK : MB_NO_MEMORY;
}

static void test_carry(void **state)
{
    struct mb_host host = {.struct_size = sizeof host};
    struct mb_open_params params = {.host = &host,
                                    .provenance = MB_PROVENANCE_ID | MB_PROVENANCE_SIDECAR};
    struct mb_origin origin = {.platform = MB_SLICE_LITERAL("theirs")};
    struct mb_message message;
    struct mb_message natural;
    struct mb_text sidecar = {.max_size = 100000};
    uint64_t lost;
    unsigned failures = 0;

    (void)state;
    make(&message, &natural);
    assert_int_equal(mb_sidecar_write(&message, &natural, 50000, &sidecar, &lost), MB_OK);
    natural.sidecar = (struct mb_slice){sidecar.data, sidecar.size};
    natural.origin = &origin;
    natural.position.kind = MB_POSITION_OFFSET;
    failed = true;
    for (unsigned at = 1; failed; at++) {
        struct mb_carry carry;
        struct mb_outgoing item = {.message = &natural};
        struct mb_carried carried;
        struct mb_error err = {.status = MB_OK};
        enum mb_status status;

        mb_carry_init(&carry, &params, "ours", project, NULL, 1000);
        failed = false;
        fails_at = at;
        status = mb_carry_prepare(&carry, &item, &carried, &err);
        fails_at = 0;
        assert_int_equal(status, failed ? MB_NO_MEMORY : MB_OK);
        if (failed)
            assert_string_equal(err.reason, "memory");
        failures += failed;
        /* It goes on when there is memory again. */
        assert_int_equal(mb_carry_prepare(&carry, &item, &carried, &err), MB_OK);
        assert_true(carried.id.size > 0);
        mb_carry_release(&carry);
    }
    assert_true(failures >= 3);
    mb_text_release(&sidecar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_carry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
