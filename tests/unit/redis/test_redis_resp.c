/* SPDX-License-Identifier: Apache-2.0 */
/* RESP2 in and out, whole and byte by byte. */
#include "backends/redis/redis_resp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void *host_alloc(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void host_release(void *context, void *memory)
{
    (void)context;
    free(memory);
}

static const struct mb_host host = {
    .struct_size = sizeof host, .alloc = host_alloc, .release = host_release};

static struct redis_cursor cursor_of(const char *text, size_t size)
{
    const unsigned char *at = (const unsigned char *)text;

    return (struct redis_cursor){at, at, at + size, 0};
}

static void test_tokens(void **state)
{
    static const char text[] =
        "+OK\r\n-ERR no\r\n:-42\r\n$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n*-1\r\n*2\r\n";
    struct redis_cursor cursor = cursor_of(text, sizeof text - 1);
    struct redis_token token;

    (void)state;
    assert_int_equal(redis_token_next(&cursor, &token), REDIS_TOKEN_STATUS);
    assert_memory_equal(token.text.data, "OK", 2);
    assert_int_equal(redis_token_next(&cursor, &token), REDIS_TOKEN_ERROR);
    assert_int_equal(token.text.size, 6);
    assert_int_equal(redis_token_next(&cursor, &token), REDIS_TOKEN_INTEGER);
    assert_int_equal(token.number, -42);
    assert_int_equal(redis_token_next(&cursor, &token), REDIS_TOKEN_BULK);
    assert_int_equal(token.text.size, 3);
    assert_memory_equal(token.text.data, "a\r\n", 3);
    assert_int_equal(redis_token_next(&cursor, &token), REDIS_TOKEN_BULK);
    assert_int_equal(token.text.size, 0);
    assert_int_equal(redis_token_next(&cursor, &token), REDIS_TOKEN_NIL);
    assert_int_equal(redis_token_next(&cursor, &token), REDIS_TOKEN_NIL);
    assert_int_equal(redis_token_next(&cursor, &token), REDIS_TOKEN_ARRAY);
    assert_int_equal(token.number, 2);
    assert_int_equal(redis_token_next(&cursor, &token), REDIS_TOKEN_NONE);
}

/* What is told at a glance is what is told with care. */
static void test_glance(void **state)
{
    static const char *const texts[] = {
        "*2\r\n$1\r\na\r\n$1\r\nb\r\n",    "$12\r\nabcdefghijkl\r\n+OK\r\n",
        "$12\r\nabcdefghijklm\r\n+OK\r\n", "$00000000000000000000000000000000000000000001\r\n",
        "$0000000001\r\na\r\n+OK\r\n",     "*12345678\r\n+OK\r\n+OK\r\n",
        "*123456789\r\n+OK\r\n+OK\r\n",    "$-1\r\n+OK\r\n+OK\r\n+OK\r\n",
        "*-1\r\n+OK\r\n+OK\r\n+OK\r\n",    "$99999999\r\nabcdefghijkl\r\n",
        "$4x\r\nabcdefghijkl\r\n",         "$4\rabcdefghijklmnop\r\n"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct redis_cursor quick = cursor_of(texts[i], strlen(texts[i]));
        struct redis_cursor careful = quick;
        struct redis_token a;
        struct redis_token b;

        assert_int_equal(redis_token_next(&quick, &a), redis_token_parse(&careful, &b));
        assert_ptr_equal(quick.at, careful.at);
        assert_true(quick.need == careful.need && a.kind == b.kind);
        if (a.kind == REDIS_TOKEN_BULK)
            assert_true(a.text.data == b.text.data && a.text.size == b.text.size);
        if (a.kind == REDIS_TOKEN_ARRAY)
            assert_true(a.number == b.number);
    }
}

/* A length without an end is not followed out of the input. */
static void test_glance_stays_within(void **state)
{
    size_t size = REDIS_GLANCE;
    char *text = malloc(size);
    struct redis_cursor cursor = cursor_of(text, size);
    struct redis_token token;

    (void)state;
    assert_non_null(text);
    memset(text, '0', size);
    text[0] = '$';
    assert_int_equal(redis_token_next(&cursor, &token), REDIS_TOKEN_NONE);
    free(text);
}

static void test_numbers(void **state)
{
    uint64_t number = 1;
    char text[REDIS_NUMBER_MAX + 1];
    char wanted[32];

    (void)state;
    for (size_t i = 0; i < 64; i++, number = number * 3 + (i & 1)) {
        struct mb_position position;

        text[redis_number_write(text, number)] = '\0';
        snprintf(wanted, sizeof wanted, "%llu", (unsigned long long)number);
        assert_string_equal(text, wanted);
        assert_true(redis_id_parse((struct mb_slice){text, strlen(text)}, &position));
        assert_true(position.hi == number);
        text[strlen(text) / 2] = '/';
        assert_false(redis_id_parse((struct mb_slice){text, strlen(text)}, &position));
    }
    text[redis_number_write(text, 0)] = '\0';
    assert_string_equal(text, "0");
}

static void test_every_prefix_waits(void **state)
{
    static const char text[] =
        "*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
    enum redis_token_kind kind;

    (void)state;
    for (size_t size = 0; size < sizeof text - 1; size++) {
        struct redis_cursor cursor = cursor_of(text, size);

        assert_false(redis_reply_skip(&cursor, &kind));
        assert_int_equal(kind, REDIS_TOKEN_NONE);
        assert_ptr_equal(cursor.at, cursor.from);
        assert_true(cursor.need <= sizeof text - 1);
    }
    {
        struct redis_cursor cursor = cursor_of(text, sizeof text - 1);

        assert_true(redis_reply_skip(&cursor, &kind));
        assert_ptr_equal(cursor.at, cursor.end);
    }
}

static void test_what_is_no_resp(void **state)
{
    static const char *const texts[] = {"hello\r\n",
                                        "$5\n",
                                        "$x\r\n",
                                        "$3\r\nabcd\r\n",
                                        "*-2\r\n",
                                        ":\r\n",
                                        ":1x\r\n",
                                        "$99999999999\r\n",
                                        "\r\n",
                                        "%1\r\n",
                                        ":99999999999999999999\r\n"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct redis_cursor cursor = cursor_of(texts[i], strlen(texts[i]));
        struct redis_token token;

        assert_int_equal(redis_token_next(&cursor, &token), REDIS_TOKEN_BAD);
    }
}

static void test_nesting_is_bounded(void **state)
{
    char text[4 * 64 + 1] = "";
    struct redis_cursor cursor;
    enum redis_token_kind kind;

    (void)state;
    for (int i = 0; i < 64; i++)
        memcpy(text + 4 * i, "*1\r\n", 4);
    cursor = cursor_of(text, sizeof text - 1);
    assert_false(redis_reply_skip(&cursor, &kind));
    assert_int_equal(kind, REDIS_TOKEN_BAD);
}

static void test_ids(void **state)
{
    struct mb_position position;

    (void)state;
    assert_true(redis_id_parse(MB_SLICE_LITERAL("1700000000000-7"), &position));
    assert_int_equal(position.kind, MB_POSITION_ID);
    assert_true(position.hi == 1700000000000 && position.lo == 7);
    assert_true(
        redis_id_parse(MB_SLICE_LITERAL("18446744073709551615-18446744073709551615"), &position));
    assert_true(position.hi == UINT64_MAX && position.lo == UINT64_MAX);
    assert_true(redis_id_parse(MB_SLICE_LITERAL("5"), &position));
    assert_true(position.hi == 5 && position.lo == 0);
    assert_false(redis_id_parse(MB_SLICE_LITERAL("18446744073709551616-0"), &position));
    assert_false(redis_id_parse(MB_SLICE_LITERAL("5-"), &position));
    assert_false(redis_id_parse(MB_SLICE_LITERAL("-5"), &position));
    assert_false(redis_id_parse(MB_SLICE_LITERAL("$"), &position));
    assert_false(redis_id_parse(MB_SLICE_LITERAL(""), &position));
}

/* One ID after the other, of the same millisecond or another: as if each was the first. */
static void test_ids_in_a_row(void **state)
{
    static const char *const texts[] = {
        "1700000000000-0",
        "1700000000000-1",
        "1700000000000-18446744073709551615",
        "1700000000001-9",
        "1700000000001-",
        "1700000000001-1x",
        "1700000000001",
        "1700000000001-10",
        "5-0",
        "5-0000000000-17",
        "5-00000000000017",
        "99999999999999-3",
        "99999999999999-",
        "9999999999999-3",
        "1700000000001-999999999999999999",
        "",
        "$",
        "1700000000001-18446744073709551616",
    };
    const size_t count = sizeof texts / sizeof texts[0];

    (void)state;
    for (size_t i = 0; i < count * count; i++) {
        struct redis_stem stem = {0};
        const size_t row[] = {i / count, i % count, i / count};

        for (size_t j = 0; j < 3; j++) {
            struct mb_slice text = {texts[row[j]], strlen(texts[row[j]])};
            struct mb_position expected = {0};
            struct mb_position position = {0};
            bool good = redis_id_parse(text, &expected);

            assert_int_equal(redis_id_parse_next(&stem, text, &position), good);
            if (good)
                assert_memory_equal(&position, &expected, sizeof position);
        }
    }
}

static void drain(struct redis_out *out, char *text, size_t *size, size_t step)
{
    while (!redis_out_is_empty(out)) {
        struct mb_slice run = redis_out_next(out);
        size_t part = run.size < step ? run.size : step;

        assert_true(run.size > 0);
        memcpy(text + *size, run.data, part);
        *size += part;
        redis_out_written(out, part);
    }
}

/* Whatever the socket takes at once, what is written is the same, bodies in place included. */
static void test_out(void **state)
{
    enum { BODY = 40000, ROUNDS = 5 };
    char *body = malloc(BODY);
    char *whole = malloc((BODY + 200) * ROUNDS * 2);
    char *parts = malloc((BODY + 200) * ROUNDS * 2);

    (void)state;
    memset(body, 'x', BODY);
    for (size_t step = 1; step < 100000; step = step * 7 + 1) {
        struct redis_out out = {.host = &host, .max = 1u << 20};
        size_t whole_size = 0;
        size_t parts_size = 0;

        for (int i = 0; i < ROUNDS; i++) {
            redis_out_array(&out, 4);
            redis_out_text(&out, "XADD");
            redis_out_bulk_later(&out, (struct mb_slice){body, BODY});
            redis_out_id(&out, 12, 34);
            redis_out_number(&out, UINT64_MAX);
            whole_size += (size_t)sprintf(whole + whole_size, "*4\r\n$4\r\nXADD\r\n$%d\r\n", BODY);
            memcpy(whole + whole_size, body, BODY);
            whole_size += BODY;
            whole_size += (size_t)sprintf(whole + whole_size,
                                          "\r\n$5\r\n12-34\r\n$20\r\n18446744073709551615\r\n");
            if (i % 2 == 1)
                drain(&out, parts, &parts_size, step);
        }
        drain(&out, parts, &parts_size, step);
        assert_false(out.failed);
        assert_int_equal(parts_size, whole_size);
        assert_memory_equal(parts, whole, whole_size);
        redis_out_release(&out);
    }
    free(body);
    free(whole);
    free(parts);
}

static void test_out_has_a_ceiling(void **state)
{
    struct redis_out out = {.host = &host, .max = 100000};
    char text[60000];

    (void)state;
    memset(text, 'x', sizeof text);
    redis_out_bulk(&out, (struct mb_slice){text, sizeof text});
    assert_false(out.failed);
    redis_out_bulk(&out, (struct mb_slice){text, sizeof text});
    assert_true(out.failed);
    redis_out_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_glance),
        cmocka_unit_test(test_glance_stays_within),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_every_prefix_waits),
        cmocka_unit_test(test_what_is_no_resp),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_ids_in_a_row),
        cmocka_unit_test(test_out),
        cmocka_unit_test(test_out_has_a_ceiling),
    };

    return cmocka_run_group_tests_name("redis_resp", tests, NULL, NULL);
}
