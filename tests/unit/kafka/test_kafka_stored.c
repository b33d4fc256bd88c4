/* SPDX-License-Identifier: Apache-2.0 */
/* Records of positions: keys are unambiguous, values come back, what is foreign is refused. */
#include "backends/kafka/kafka_store.h"

#include <setjmp.h>

#include <cmocka.h>

static const char *key_of(struct mb_text *text, const char *group, const char *stream,
                          size_t stream_size, int32_t partition)
{
    struct mb_stored_position stored = {.stream = {stream, stream_size}, .partition = partition};

    mb_text_clear(text);
    kafka_stored_key(text, group, &stored);
    mb_text_add(text, "", 1);
    assert_false(text->failed);
    return text->data;
}

static void test_keys(void **state)
{
    struct mb_text a = {.max_size = 4096};
    struct mb_text b = {.max_size = 4096};

    (void)state;
    assert_string_equal(key_of(&a, "mbridge.b.r", "orders", 6, 3), "mbridge.b.r/orders/3");
    assert_string_equal(key_of(&a, "g", "x/y z\0%", 7, -1), "g/x%2Fy%20z%00%25/-1");
    assert_string_not_equal(key_of(&a, "a/b", "c", 1, 0), key_of(&b, "a", "b/c", 3, 0));
    assert_string_not_equal(key_of(&a, "a", "b", 1, 11), key_of(&b, "a", "b/1", 3, 1));
    assert_string_not_equal(key_of(&a, "a", "\xff", 1, 0), key_of(&b, "a", "%FF", 3, 0));
    mb_text_clear(&a);
    kafka_stored_instance(&a, "g.host.0.0");
    assert_memory_equal(a.data, "/g.host.0.0", a.size);
    mb_text_release(&a);
    mb_text_release(&b);
}

static void comes_back(struct mb_position position, const char *owner)
{
    struct mb_text text = {.max_size = 4096};
    struct mb_position again;
    char read[KAFKA_OWNER_SIZE];

    kafka_stored_value(&text, position, owner);
    assert_int_equal(
        kafka_stored_parse((struct mb_slice){text.data, text.size}, &again, read, sizeof read),
        MB_OK);
    assert_int_equal(again.kind, position.kind);
    assert_int_equal(again.hi, position.hi);
    assert_int_equal(again.lo, position.lo);
    assert_string_equal(read, owner);
    mb_text_release(&text);
}

static void test_values(void **state)
{
    (void)state;
    comes_back((struct mb_position){.kind = MB_POSITION_NONE}, "17 g.h.0.0");
    comes_back((struct mb_position){.kind = MB_POSITION_OFFSET, .lo = UINT64_MAX}, "1 a group.0.0");
    comes_back((struct mb_position){.kind = MB_POSITION_ID, .hi = 1700000000000, .lo = 3}, "");
    assert_string_equal(kafka_stored_writer("17 a group.0.0"), "a group.0.0");
    assert_string_equal(kafka_stored_writer(""), "");
}

static enum mb_status parse(const char *text, size_t size)
{
    struct mb_position position = {.kind = MB_POSITION_OFFSET};
    char owner[16];
    enum mb_status status =
        kafka_stored_parse((struct mb_slice){text, size}, &position, owner, sizeof owner);

    if (status == MB_OK && size == 0) {
        assert_int_equal(position.kind, MB_POSITION_NONE);
        assert_string_equal(owner, "");
    }
    return status;
}

static void test_foreign(void **state)
{
    static const char *const bad[] = {
        "1 ",
        "1",
        "x",
        "{}",
        "1 offset:1",
        "1 offset: a",
        "1 offset:-1 a",
        "1 ofset:1 a",
        "1 offset:1 0123456789abcdef", /* longer than there is room for */
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_not_equal(parse(bad[i], strlen(bad[i])), MB_OK);
    assert_int_equal(parse("2 offset:1 a", 12), MB_UNSUPPORTED);
    assert_int_equal(parse("10 offset:1 a", 13), MB_UNSUPPORTED);
    assert_int_equal(parse("1 offset:1 a\0b", 14), MB_INVALID);
    assert_int_equal(parse("1 offset:1 a", 12), MB_OK);
    assert_int_equal(parse(NULL, 0), MB_OK);
    assert_int_equal(parse("", 0), MB_OK);
}

/* Instances of different versions find each other's records. */
static void test_partition(void **state)
{
    (void)state;
    assert_int_equal(kafka_stored_partition("mbridge.shop.orders"), 0);
    for (int i = 0; i < 1000; i++) {
        char group[24];

        snprintf(group, sizeof group, "group-%d", i);
        assert_in_range(kafka_stored_partition(group), 0, KAFKA_STORE_PARTITIONS - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_partition),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
