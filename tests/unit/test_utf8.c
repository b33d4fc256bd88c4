/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* On the heap without a spare byte, so that a look behind the end is caught. */
static bool valid(const char *bytes, size_t size)
{
    unsigned char *copy = malloc(size > 0 ? size : 1);
    bool result;

    assert_non_null(copy);
    memcpy(copy, bytes, size);
    result = mb_utf8_valid((struct mb_slice){copy, size});
    free(copy);
    return result;
}

#define VALID(literal) valid(literal, sizeof(literal) - 1)

static void test_accepts_well_formed(void **state)
{
    (void)state;
    assert_true(mb_utf8_valid(MB_SLICE_NULL));
    assert_true(VALID(""));
    assert_true(VALID("a"));
    assert_true(VALID("twelve bytes and more of plain ASCII"));
    assert_true(VALID("\xC2\x80"));
    assert_true(VALID("\xDF\xBF"));
    assert_true(VALID("\xE0\xA0\x80"));
    assert_true(VALID("\xED\x9F\xBF"));
    assert_true(VALID("\xEE\x80\x80"));
    assert_true(VALID("\xEF\xBF\xBF"));
    assert_true(VALID("\xF0\x90\x80\x80"));
    assert_true(VALID("\xF4\x8F\xBF\xBF"));
    assert_true(VALID("1234567\xC3\xA9 crosses a word"));
    assert_true(valid("a\0b", 3));
}

static void test_refuses_malformed(void **state)
{
    (void)state;
    assert_false(VALID("\x80"));             /* a continuation alone */
    assert_false(VALID("\xC0\xAF"));         /* overlong */
    assert_false(VALID("\xC1\xBF"));         /* overlong */
    assert_false(VALID("\xE0\x9F\xBF"));     /* overlong */
    assert_false(VALID("\xF0\x8F\xBF\xBF")); /* overlong */
    assert_false(VALID("\xED\xA0\x80"));     /* surrogate */
    assert_false(VALID("\xED\xBF\xBF"));     /* surrogate */
    assert_false(VALID("\xF4\x90\x80\x80")); /* above U+10FFFF */
    assert_false(VALID("\xF5\x80\x80\x80"));
    assert_false(VALID("\xFF"));
    assert_false(VALID("\xC3"));         /* cut */
    assert_false(VALID("\xE2\x82"));     /* cut */
    assert_false(VALID("\xF0\x9F\x98")); /* cut */
    assert_false(VALID("\xE2\x28\xA1"));
    assert_false(VALID("\xF0\x9F\x28\x80"));
    assert_false(VALID("12345678\xFF"));
    assert_false(VALID("123456789abcdef\xE9"));
}

static void test_nul(void **state)
{
    (void)state;
    assert_true(mb_utf8_valid_without_nul(MB_SLICE_NULL));
    assert_true(mb_utf8_valid_without_nul(MB_SLICE_LITERAL("abc")));
    assert_false(mb_utf8_valid_without_nul((struct mb_slice){"a\0b", 3}));
    assert_false(mb_utf8_valid_without_nul(MB_SLICE_LITERAL("\xFF")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_well_formed),
        cmocka_unit_test(test_refuses_malformed),
        cmocka_unit_test(test_nul),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
