/* SPDX-License-Identifier: Apache-2.0 */
/* Field tables: every type, unknown ones, deep ones, random ones; what values of others become. */
#include "amqp_test.h"

#include <math.h>

static struct mb_text text = {.max_size = 1u << 16};

static void every_type_survives(void **state)
{
    unsigned char data[1024];
    unsigned char again[1024];
    struct mb_slice table = {data, all_tags(data, sizeof data)};
    struct amqp_writer writer = {again, again + sizeof again, false};
    struct mb_arena arena = fresh_arena();
    struct mb_header *headers;
    struct mb_slice rest;
    uint32_t count;
    bool odd_text;

    (void)state;
    assert_int_equal(amqp_table_decode(table, &arena, &headers, &count, &rest, &odd_text), MB_OK);
    assert_int_equal(rest.size, 0);
    assert_int_equal(count, 17);
    assert_int_equal(headers[1].value.type, MB_I8);
    assert_int_equal(headers[1].value.as.i, -123);
    assert_int_equal(headers[5].value.as.i, -2147483647);
    assert_int_equal(headers[12].value.type, MB_NULL);
    assert_int_equal(headers[13].value.type, MB_STRING);
    assert_int_equal(headers[15].value.type, MB_BINARY);
    assert_int_equal(headers[16].value.type, MB_LIST);
    assert_int_equal(headers[16].value.as.items.count, 2);
    assert_int_equal(headers[16].value.as.items.values[0].type, MB_MAP);
    for (uint32_t i = 0; i < count; i++) {
        amqp_put_shortstr(&writer, headers[i].name);
        amqp_put_value(&writer, &headers[i].value);
    }
    assert_int_equal(writer.at - again, table.size);
    assert_memory_equal(again, data, table.size);
}

static void unknown_tags_are_carried(void **state)
{
    static const char wire[] = "\1aV\1b?rest of it";
    struct mb_arena arena = fresh_arena();
    struct mb_header *headers;
    struct mb_slice rest;
    uint32_t count;
    bool odd_text;

    (void)state;
    assert_int_equal(amqp_table_decode((struct mb_slice){wire, sizeof wire - 1}, &arena, &headers,
                                       &count, &rest, &odd_text),
                     MB_OK);
    assert_int_equal(count, 1);
    assert_slice(rest, "\1b?rest of it");
}

/* Tag S says text. What is none comes as binary, and the caller is told: x is another tag. */
static void text_that_is_none_is_told(void **state)
{
    static const struct {
        struct mb_slice wire;
        bool is_odd;
    } tables[] = {
        {MB_SLICE_LITERAL("\1aS\0\0\0\2ok"), false},
        {MB_SLICE_LITERAL("\1ax\0\0\0\2\xff\xfe"), false},
        {MB_SLICE_LITERAL("\1aS\0\0\0\2\xff\xfe"), true},
        {MB_SLICE_LITERAL("\1aA\0\0\0\6S\0\0\0\1\xff"), true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        struct mb_arena arena = fresh_arena();
        struct mb_header *headers;
        struct mb_slice rest;
        uint32_t count;
        bool odd_text;

        assert_int_equal(
            amqp_table_decode(tables[i].wire, &arena, &headers, &count, &rest, &odd_text), MB_OK);
        assert_int_equal(count, 1);
        assert_int_equal(odd_text, tables[i].is_odd);
    }
}

static void deep_nesting_is_bounded(void **state)
{
    static unsigned char data[5 * 20000 + 8];
    struct amqp_writer writer = {data, data + sizeof data, false};
    struct mb_arena arena = fresh_arena();
    const struct mb_value *value;
    struct mb_header *headers;
    struct mb_slice rest;
    uint32_t count;
    bool odd_text;
    unsigned depth = 0;

    (void)state;
    amqp_put_shortstr(&writer, TEXT("deep"));
    for (uint32_t left = 20000; left > 0; left--) {
        amqp_put_u8(&writer, 'A');
        amqp_put_u32(&writer, 5 * (left - 1));
    }
    assert_int_equal(amqp_table_decode((struct mb_slice){data, (size_t)(writer.at - data)}, &arena,
                                       &headers, &count, &rest, &odd_text),
                     MB_OK);
    assert_int_equal(count, 1);
    for (value = &headers[0].value; value->type == MB_LIST; value = &value->as.items.values[0])
        depth++;
    assert_int_equal(value->type, MB_BINARY);
    assert_in_range(depth, 100, 1000);
    assert_int_equal(value->as.bytes.size, 5 * (20000 - depth));
}

/* Names and raw entries, for copying a table without decoding it. */
static void entries_come_whole(void **state)
{
    unsigned char data[1024];
    unsigned char again[1024];
    struct amqp_writer writer = {again, again + sizeof again, false};
    size_t size = all_tags(data, sizeof data);
    struct amqp_cursor cursor = amqp_cursor_of((struct mb_slice){data, size});
    struct mb_slice name;
    struct mb_slice entry;
    unsigned count = 0;

    (void)state;
    while (amqp_table_next(&cursor, &name, &entry)) {
        amqp_put_bytes(&writer, entry);
        count++;
    }
    assert_int_equal(count, 17);
    assert_int_equal(writer.at - again, size);
    assert_memory_equal(again, data, size);
    cursor = amqp_cursor_of(TEXT("\1b?rest"));
    assert_false(amqp_table_next(&cursor, &name, &entry));
    assert_int_equal(cursor.end - cursor.at, 7);
}

struct row {
    struct mb_value given;
    enum mb_type type;
    const char *bytes; /* NULL: a number */
    int64_t number;
};

static struct mb_value float_value(double number)
{
    return (struct mb_value){.type = MB_F64, .as.f64 = number};
}

/* The table of header value types in docs/fidelity.md, where a type is not this platform's. */
static void values_of_others(void **state)
{
    static const struct mb_value elements[] = {{.type = MB_SYMBOL, .as.bytes = TEXT("a")},
                                               {.type = MB_U64, .as.u = 7}};
    struct mb_value array = {.type = MB_ARRAY,
                             .as.items = {.values = elements, .count = 2, .element = MB_SYMBOL}};
    struct mb_value described = {.type = MB_DESCRIBED, .as.items = {elements, 2, 0}};
    struct row rows[] = {
        {int_value(MB_U64, 42), MB_I64, NULL, 42},
        {int_value(MB_U64, INT64_MIN), MB_STRING, "9223372036854775808", 0},
        {int_value(MB_TIMESTAMP_MS, 1700000000123), MB_TIMESTAMP_S, NULL, 1700000000},
        {int_value(MB_TIMESTAMP_MS, -1), MB_STRING, "-1", 0},
        {int_value(MB_CHAR, 0x20ac), MB_STRING, "\xe2\x82\xac", 0},
        {float_value((double)NAN), MB_STRING, "NaN", 0},
        {bytes_value(MB_SYMBOL, TEXT("sym")), MB_STRING, "sym", 0},
        {bytes_value(MB_UUID,
                     TEXT("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10")),
         MB_STRING, "01020304-0506-0708-090a-0b0c0d0e0f10", 0},
        {bytes_value(MB_STRING, TEXT("a\0b")), MB_BINARY, NULL, 3},
        {bytes_value(MB_STRING, MB_SLICE_NULL), MB_STRING, "", 0},
        {described, MB_I64, NULL, 7},
    };
    struct mb_scratch scratch;
    struct mb_value value;

    (void)state;
    mb_scratch_init(&scratch, 1u << 20);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(amqp_value_project(&rows[i].given, &scratch, &text, &value), MB_OK);
        assert_int_equal(value.type, rows[i].type);
        if (rows[i].bytes != NULL)
            assert_slice(value.as.bytes, rows[i].bytes);
        else if (value.type == MB_BINARY)
            assert_int_equal(value.as.bytes.size, rows[i].number);
        else
            assert_int_equal(value.as.i, rows[i].number);
    }
    assert_int_equal(amqp_value_project(&array, &scratch, &text, &value), MB_OK);
    assert_int_equal(value.type, MB_LIST);
    assert_int_equal(value.as.items.count, 2);
    assert_int_equal(value.as.items.values[0].type, MB_STRING);
    assert_int_equal(value.as.items.values[1].type, MB_I64);
    mb_scratch_release(&scratch);
}

/* A name over 255 bytes has no place in a table: its entry is left out, the others stay. */
static void long_names_in_maps(void **state)
{
    static char name[256];
    struct mb_value items[4] = {{.type = MB_STRING, .as.bytes = {name, sizeof name}},
                                int_value(MB_I64, 1),
                                int_value(MB_I64, 5),
                                int_value(MB_I64, 2)};
    struct mb_value map = {.type = MB_MAP, .as.items = {items, 4, 0}};
    struct mb_scratch scratch;
    struct mb_value value;

    (void)state;
    memset(name, 'n', sizeof name);
    mb_scratch_init(&scratch, 1u << 20);
    assert_int_equal(amqp_value_project(&map, &scratch, &text, &value), MB_OK);
    assert_int_equal(value.as.items.count, 2);
    assert_slice(value.as.items.values[0].as.bytes, "5");
    assert_int_equal(value.as.items.values[1].as.i, 2);
    mb_scratch_release(&scratch);
}

static void random_tables_are_safe(void **state)
{
    unsigned char valid[1024];
    unsigned char data[1024];
    size_t size = all_tags(valid, sizeof valid);
    unsigned random = 99;

    (void)state;
    for (unsigned round = 0; round < 50000; round++) {
        struct mb_arena arena = fresh_arena();
        struct mb_header *headers;
        struct mb_slice rest;
        uint32_t count;
        bool odd_text;
        unsigned char out[4096];
        struct amqp_writer writer = {out, out + sizeof out, false};

        memcpy(data, valid, size);
        for (unsigned i = 0; i < 1 + round % 5; i++) {
            random = random * 1103515245u + 12345u;
            data[(random >> 8) % size] = (unsigned char)(random >> 16);
        }
        assert_int_equal(amqp_table_decode((struct mb_slice){data, size}, &arena, &headers, &count,
                                           &rest, &odd_text),
                         MB_OK);
        for (uint32_t i = 0; i < count; i++)
            amqp_put_value(&writer, &headers[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_survives),     cmocka_unit_test(unknown_tags_are_carried),
        cmocka_unit_test(deep_nesting_is_bounded), cmocka_unit_test(entries_come_whole),
        cmocka_unit_test(values_of_others),        cmocka_unit_test(long_names_in_maps),
        cmocka_unit_test(random_tables_are_safe),  cmocka_unit_test(text_that_is_none_is_told),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    mb_text_release(&text);
    return failed;
}
