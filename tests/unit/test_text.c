/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/text.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEXT(text_) ((struct mb_value){.type = MB_STRING, .as.bytes = MB_SLICE_LITERAL(text_)})
#define I64(number) ((struct mb_value){.type = MB_I64, .as.i = (number)})

static struct mb_text start(void)
{
    return (struct mb_text){.max_size = 1u << 20};
}

static void assert_text(struct mb_text *text, const char *expected)
{
    assert_false(text->failed);
    mb_text_add(text, "", 1);
    assert_string_equal(text->data, expected);
    mb_text_release(text);
}

static void value_is(struct mb_value value, const char *expected)
{
    struct mb_text text = start();

    mb_text_value(&text, &value, NULL);
    assert_text(&text, expected);
}

static void json_is(struct mb_value value, const char *expected)
{
    struct mb_text text = start();

    mb_text_json(&text, &value);
    assert_text(&text, expected);
}

static void position_is(struct mb_position position, const char *expected)
{
    struct mb_text text = start();
    struct mb_position again;

    mb_text_position(&text, position);
    assert_text(&text, expected);
    assert_int_equal(mb_position_parse(expected, &again), MB_OK);
    assert_int_equal(again.kind, position.kind);
    assert_true(again.hi == position.hi && again.lo == position.lo);
}

static void test_integers(void **state)
{
    (void)state;
    value_is((struct mb_value){.type = MB_NULL}, "");
    value_is((struct mb_value){.type = MB_BOOL, .as.b = true}, "true");
    value_is((struct mb_value){.type = MB_BOOL, .as.b = false}, "false");
    value_is((struct mb_value){.type = MB_I8, .as.i = -128}, "-128");
    value_is(I64(INT64_MIN), "-9223372036854775808");
    value_is((struct mb_value){.type = MB_U64, .as.u = UINT64_MAX}, "18446744073709551615");
    value_is((struct mb_value){.type = MB_TIMESTAMP_MS, .as.i = -1}, "-1");
    value_is((struct mb_value){.type = MB_TIMESTAMP_S, .as.i = 1700000000}, "1700000000000");
    value_is((struct mb_value){.type = MB_TIMESTAMP_S, .as.i = 0}, "0");
    value_is((struct mb_value){.type = MB_TIMESTAMP_S, .as.i = -1}, "-1000");
    value_is((struct mb_value){.type = MB_TIMESTAMP_S, .as.i = INT64_MAX},
             "9223372036854775807000");
}

static void f64_is(double number, const char *expected)
{
    value_is((struct mb_value){.type = MB_F64, .as.f64 = number}, expected);
}

static void f32_is(float number, const char *expected)
{
    value_is((struct mb_value){.type = MB_F32, .as.f32 = number}, expected);
}

static void test_floats(void **state)
{
    (void)state;
    f64_is(0.0, "0");
    f64_is(-0.0, "-0");
    f64_is(0.1, "0.1");
    f64_is(0.1 + 0.2, "0.30000000000000004");
    f64_is(1e22, "1e+22");
    f64_is(5e-324, "5e-324");
    f64_is(DBL_MAX, "1.7976931348623157e+308");
    f64_is(DBL_MIN, "2.2250738585072014e-308");
    f64_is((double)NAN, "NaN");
    f64_is((double)INFINITY, "Infinity");
    f64_is(-(double)INFINITY, "-Infinity");
    f32_is(0.1f, "0.1");
    f32_is(16777216.0f, "16777216");
    f32_is(FLT_MAX, "3.4028235e+38");
    f32_is(1e-45f, "1e-45");
    f32_is(NAN, "NaN");
}

static void test_floats_return(void **state)
{
    uint64_t bits = UINT64_C(0x9E3779B97F4A7C15);

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct mb_text text = start();
        struct mb_value value = {.type = MB_F64};
        double again;

        bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        memcpy(&value.as.f64, &bits, sizeof bits);
        if (!isfinite(value.as.f64))
            continue;
        mb_text_value(&text, &value, NULL);
        mb_text_add(&text, "", 1);
        again = strtod(text.data, NULL);
        assert_memory_equal(&again, &value.as.f64, sizeof again);
        mb_text_release(&text);
    }
}

static void test_floats_in_a_locale_with_comma(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    bool set = false;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !set; i++)
        set = setlocale(LC_NUMERIC, names[i]) != NULL;
    if (!set)
        skip(); /* the machine has none of them */
    f64_is(0.5, "0.5");
    f64_is(1.5e300, "1.5e+300");
    f32_is(-2.25f, "-2.25");
    setlocale(LC_NUMERIC, "C");
}

static void scaled_is(uint8_t scale, uint32_t number, const char *expected)
{
    value_is((struct mb_value){.type = MB_DECIMAL_SCALED, .as.scaled = {scale, number}}, expected);
}

static void test_other_types(void **state)
{
    struct mb_slice bytes = MB_SLICE_LITERAL("\x12\x34\x56\x78\x9a\xbc\xde\xf0\x01\x02\x03\x04\x05"
                                             "\x06\x07\xff");

    (void)state;
    scaled_is(0, 12345, "12345");
    scaled_is(2, 12345, "123.45");
    scaled_is(5, 12345, "0.12345");
    scaled_is(7, 12345, "0.0012345");
    scaled_is(0, 0, "0");
    scaled_is(2, 0, "0.00");
    scaled_is(9, UINT32_MAX, "4.294967295");
    value_is((struct mb_value){.type = MB_UUID, .as.bytes = bytes},
             "12345678-9abc-def0-0102-0304050607ff");
    value_is((struct mb_value){.type = MB_DECIMAL32, .as.bytes = {bytes.data, 4}}, "0x12345678");
    value_is((struct mb_value){.type = MB_UUID, .as.bytes = {bytes.data, 2}}, "0x1234");
    value_is((struct mb_value){.type = MB_CHAR, .as.u = 'a'}, "a");
    value_is((struct mb_value){.type = MB_CHAR, .as.u = 0xE9}, "\xC3\xA9");
    value_is((struct mb_value){.type = MB_CHAR, .as.u = 0x20AC}, "\xE2\x82\xAC");
    value_is((struct mb_value){.type = MB_CHAR, .as.u = 0x1F600}, "\xF0\x9F\x98\x80");
    value_is((struct mb_value){.type = MB_CHAR, .as.u = 0xD800}, "U+D800");
    value_is((struct mb_value){.type = MB_SYMBOL, .as.bytes = MB_SLICE_LITERAL("x-y")}, "x-y");
    value_is((struct mb_value){.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("\xFF\xFE")},
             "\xFF\xFE");
    value_is((struct mb_value){.type = MB_STRING, .as.bytes = {"", 0}}, "");
}

static void test_exact(void **state)
{
    struct mb_text text = start();
    struct mb_value nul = {.type = MB_STRING, .as.bytes = {"a\0b", 3}};
    bool exact;

    (void)state;
    mb_text_value(&text, &TEXT("a"), &exact);
    assert_true(exact);
    mb_text_value(&text, &I64(1), &exact);
    assert_false(exact);
    mb_text_value(&text, &(struct mb_value){.type = MB_NULL}, &exact);
    assert_false(exact);
    mb_text_value(&text, &nul, &exact); /* reads back as binary */
    assert_false(exact);
    mb_text_release(&text);
}

static void test_json_of_simple_values(void **state)
{
    (void)state;
    json_is((struct mb_value){.type = MB_NULL}, "null");
    json_is((struct mb_value){.type = MB_BOOL, .as.b = true}, "true");
    json_is(I64(-5), "-5");
    json_is((struct mb_value){.type = MB_F64, .as.f64 = 0.5}, "0.5");
    json_is((struct mb_value){.type = MB_F64, .as.f64 = (double)NAN}, "\"NaN\"");
    json_is((struct mb_value){.type = MB_F32, .as.f32 = -INFINITY}, "\"-Infinity\"");
    json_is((struct mb_value){.type = MB_CHAR, .as.u = '"'}, "\"\\\"\"");
    json_is((struct mb_value){.type = MB_DECIMAL_SCALED, .as.scaled = {1, 5}}, "0.5");
    json_is((struct mb_value){.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("text")}, "\"text\"");
    json_is((struct mb_value){.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("\xFF")}, "\"/w==\"");
    json_is((struct mb_value){.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("\xFF\xFE")},
            "\"//4=\"");
    json_is((struct mb_value){.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("\xFF\xFE\x00")},
            "\"//4A\"");
    json_is((struct mb_value){.type = MB_BINARY, .as.bytes = MB_SLICE_NULL}, "\"\"");
}

static struct mb_value items(enum mb_type type, const struct mb_value *values, uint32_t count)
{
    return (struct mb_value){.type = (uint8_t)type, .as.items = {values, count, 0}};
}

static void test_json_of_containers(void **state)
{
    const struct mb_value inner[] = {I64(1), TEXT("a"), {.type = MB_NULL}};
    const struct mb_value list = items(MB_LIST, inner, 3);
    const struct mb_value pairs[] = {TEXT("k"),         I64(2), I64(7), TEXT("v"),
                                     {.type = MB_NULL}, list,   list,   I64(0)};
    const struct mb_value described[] = {{.type = MB_U64, .as.u = 112}, TEXT("x")};

    (void)state;
    json_is(items(MB_LIST, NULL, 0), "[]");
    json_is(items(MB_MAP, NULL, 0), "{}");
    json_is(list, "[1,\"a\",null]");
    json_is(items(MB_ARRAY, inner, 1), "[1]");
    json_is(items(MB_MAP, pairs, 8), "{\"k\":2,\"7\":\"v\",\"null\":[1,\"a\",null],"
                                     "\"[1,\\\"a\\\",null]\":0}");
    json_is(items(MB_DESCRIBED, described, 2), "{\"descriptor\":112,\"value\":\"x\"}");
    value_is(list, "[1,\"a\",null]");
}

static void test_json_refuses(void **state)
{
    struct mb_value nested[66];
    struct mb_text text = start();
    struct mb_value odd = items(MB_MAP, nested, 1);
    struct mb_value unknown = {.type = 99};

    (void)state;
    nested[65] = items(MB_LIST, NULL, 0);
    for (size_t i = 65; i > 0; i--)
        nested[i - 1] = items(MB_LIST, &nested[i], 1);
    mb_text_json(&text, &nested[2]); /* 64 lists */
    assert_false(text.failed);
    assert_int_equal(text.size, 128);
    mb_text_clear(&text);
    mb_text_json(&text, &nested[1]);
    assert_true(text.failed);
    mb_text_clear(&text);
    assert_false(text.failed);
    mb_text_json(&text, &odd);
    assert_true(text.failed);
    mb_text_clear(&text);
    mb_text_json(&text, &unknown);
    assert_true(text.failed);
    mb_text_clear(&text);
    mb_text_value(&text, &unknown, NULL);
    assert_true(text.failed);
    mb_text_release(&text);
}

static void string_is(struct mb_slice string, const char *expected)
{
    struct mb_text text = start();

    mb_text_json_string(&text, string);
    assert_text(&text, expected);
}

static void test_json_string(void **state)
{
    (void)state;
    string_is(MB_SLICE_NULL, "\"\"");
    string_is(MB_SLICE_LITERAL("a\"b\\c\n\r\t\x01\x7F/"),
              "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u007f/\"");
    string_is((struct mb_slice){"a\0b", 3}, "\"a\\u0000b\"");
    string_is(MB_SLICE_LITERAL("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"),
              "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"");
    string_is(MB_SLICE_LITERAL("\xC2\x9B"), "\"\\u009b\"");
    string_is(MB_SLICE_LITERAL("a\xFF\x62\xC3"), "\"a\xEF\xBF\xBD\x62\xEF\xBF\xBD\"");
    string_is(MB_SLICE_LITERAL("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static void test_bounds(void **state)
{
    struct mb_text text = {.max_size = 10};

    (void)state;
    mb_text_add(&text, "12345", 5);
    mb_text_addf(&text, "%s", "6789");
    assert_false(text.failed);
    mb_text_add(&text, "xx", 2);
    assert_true(text.failed);
    assert_int_equal(text.size, 9);
    mb_text_add(&text, "x", 1); /* would fit, but failed stays failed */
    assert_int_equal(text.size, 9);
    mb_text_clear(&text);
    assert_int_equal(text.size, 0);
    mb_text_add(&text, "0123456789", 10);
    assert_false(text.failed);
    mb_text_addf(&text, "%300d", 1);
    assert_true(text.failed);
    mb_text_release(&text);
    assert_int_equal(text.max_size, 10);
    text.max_size = 1000;
    mb_text_addf(&text, "%300d", 1);
    assert_false(text.failed);
    assert_int_equal(text.size, 300);
    mb_text_release(&text);
    mb_text_release(&text);
}

static void test_positions(void **state)
{
    static const char *const wrong[] = {
        "",      "offset", "offset:", "offset:-1", "offset:1x", "id:5",
        "id:5-", "id:-1",  "time:",   "beginning", "id:1-2-3",  "offset:18446744073709551616"};
    struct mb_position position;

    (void)state;
    position_is((struct mb_position){.kind = MB_POSITION_OFFSET, .lo = 42}, "offset:42");
    position_is((struct mb_position){.kind = MB_POSITION_OFFSET, .lo = UINT64_MAX},
                "offset:18446744073709551615");
    position_is((struct mb_position){.kind = MB_POSITION_ID, .hi = 5, .lo = 1}, "id:5-1");
    position_is((struct mb_position){.kind = MB_POSITION_BEGIN}, "begin");
    position_is((struct mb_position){.kind = MB_POSITION_END}, "end");
    position_is((struct mb_position){.kind = MB_POSITION_STORED}, "stored");
    position_is((struct mb_position){.kind = MB_POSITION_TIME, .lo = 1700000000000},
                "time:1700000000000");
    position_is((struct mb_position){.kind = MB_POSITION_NONE}, "none");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(mb_position_parse(wrong[i], &position), MB_INVALID);
}

static void *no_more(struct mb_arena *arena, size_t size)
{
    (void)arena;
    (void)size;
    return NULL;
}

static void test_slice_copy(void **state)
{
    _Alignas(8) unsigned char memory[16];
    struct mb_arena arena = {memory, memory + sizeof memory, no_more};
    struct mb_slice copy = mb_slice_copy(&arena, MB_SLICE_NULL);

    (void)state;
    assert_null(copy.data);
    copy = mb_slice_copy(&arena, MB_SLICE_LITERAL(""));
    assert_non_null(copy.data);
    assert_int_equal(copy.size, 0);
    copy = mb_slice_copy(&arena, MB_SLICE_LITERAL("12345678"));
    assert_true(mb_slice_equal(copy, mb_slice_text("12345678")));
    copy = mb_slice_copy(&arena, MB_SLICE_LITERAL("1"));
    assert_null(copy.data);
    assert_int_equal(copy.size, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_floats_return),
        cmocka_unit_test(test_floats_in_a_locale_with_comma),
        cmocka_unit_test(test_other_types),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_json_of_simple_values),
        cmocka_unit_test(test_json_of_containers),
        cmocka_unit_test(test_json_refuses),
        cmocka_unit_test(test_json_string),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_slice_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
