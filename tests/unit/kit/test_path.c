/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and stable ids. */
#include "kit/provenance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Other bridges compute the same: FNV-1a, 64 bit. */
static void test_hash(void **state)
{
    (void)state;
    assert_true(mb_path_hash(MB_SLICE_NULL, MB_SLICE_NULL) == UINT64_C(0xaf63bd4c8601b7df));
    assert_true(mb_path_hash(MB_SLICE_LITERAL("a"), MB_SLICE_LITERAL("bc")) !=
                mb_path_hash(MB_SLICE_LITERAL("ab"), MB_SLICE_LITERAL("c")));
}

static void test_path(void **state)
{
    struct mb_message message = {.path_count = 0};
    unsigned char bytes[8 * MB_PATH_HOPS_MAX + 8] = {1, 2, 3, 4, 5, 6, 7, 8, 0xFF};
    unsigned char written[8 * MB_PATH_HOPS_MAX];

    (void)state;
    assert_true(mb_path_read((struct mb_slice){bytes, 16}, &message));
    assert_int_equal(message.path_count, 2);
    assert_true(message.path[0] == UINT64_C(0x0102030405060708));
    assert_true(message.path[1] == UINT64_C(0xFF00000000000000));
    assert_int_equal(mb_path_write(&message, written), 16);
    assert_memory_equal(written, bytes, 16);
    assert_false(mb_path_read((struct mb_slice){bytes, 15}, &message));
    assert_int_equal(message.path_count, 0);
    assert_true(mb_path_read((struct mb_slice){bytes, sizeof written}, &message));
    assert_int_equal(message.path_count, MB_PATH_HOPS_MAX);
    assert_false(mb_path_read((struct mb_slice){bytes, sizeof bytes}, &message));
    assert_int_equal(message.path_count, 0);
    assert_true(mb_path_read(MB_SLICE_NULL, &message));
    assert_int_equal(mb_path_write(&message, written), 0);
}

static void id_is(const struct mb_message *message, const char *expected)
{
    struct mb_text id = {.max_size = 256};

    mb_stable_id_add(&id, message);
    assert_false(id.failed);
    assert_true(mb_slice_equal((struct mb_slice){id.data, id.size}, mb_slice_text(expected)));
    mb_text_release(&id);
}

static void test_stable_id(void **state)
{
    struct mb_origin origin = {.partition = 2,
                               .identity = MB_SLICE_LITERAL("cluster"),
                               .stream = MB_SLICE_LITERAL("orders")};
    struct mb_message message = {.origin = &origin,
                                 .position = {.kind = MB_POSITION_OFFSET, .lo = 7}};

    (void)state;
    id_is(&message, "cluster/orders/2/offset:7");
    message.position = (struct mb_position){.kind = MB_POSITION_ID, .hi = 5, .lo = 1};
    origin.partition = -1;
    id_is(&message, "cluster/orders/-1/id:5-1");
    message.position.kind = MB_POSITION_NONE;
    id_is(&message, "");
    message.stable_id = MB_SLICE_LITERAL("given");
    id_is(&message, "given");
    message = (struct mb_message){.position = {.kind = MB_POSITION_OFFSET}};
    id_is(&message, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_stable_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
