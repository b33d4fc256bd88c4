/* SPDX-License-Identifier: Apache-2.0 */
/* Typed values in bytes: every format code, the shortest form, what is refused. */
#include "kit/types.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define BYTES(literal)  ((struct mb_slice){literal, sizeof(literal) - 1})
#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

static unsigned char memory[32u << 20];

static void *no_more(struct mb_arena *arena, size_t size)
{
    (void)arena;
    (void)size;
    return NULL;
}

static struct mb_arena arena_of(size_t size)
{
    assert_true(size <= sizeof memory);
    return (struct mb_arena){memory, memory + size, no_more};
}

static struct mb_text out = {.max_size = 8u << 20};

static struct mb_types_reader reader_of(struct mb_slice bytes)
{
    return (struct mb_types_reader){.data = bytes.data, .size = bytes.size};
}

static enum mb_status read_one(struct mb_slice bytes, struct mb_value *ret_value)
{
    struct mb_arena arena = arena_of(sizeof memory);
    struct mb_types_reader reader = reader_of(bytes);
    struct mb_types_reader skipper = reader_of(bytes);
    enum mb_status status = mb_types_read(&reader, &arena, ret_value);

    assert_int_equal(mb_types_skip(&skipper), status);
    assert_int_equal(skipper.at, reader.at);
    assert_int_equal(skipper.bare_count, reader.bare_count);
    if (status == MB_OK)
        assert_int_equal(reader.at, bytes.size);
    else
        assert_int_equal(reader.at, 0);
    return status;
}

static void assert_written(const struct mb_value *value, struct mb_slice bytes)
{
    mb_text_clear(&out);
    mb_types_write(&out, value);
    assert_false(out.failed);
    assert_int_equal(out.size, bytes.size);
    if (bytes.size > 0)
        assert_memory_equal(out.data, bytes.data, bytes.size);
}

static void assert_refused(const struct mb_value *value)
{
    mb_text_clear(&out);
    mb_text_add(&out, "before", 6);
    mb_types_write(&out, value);
    assert_true(out.failed);
    assert_false(out.memory_out);
    assert_int_equal(out.size, 6);
}

static struct mb_value signed_value(enum mb_type type, int64_t number)
{
    struct mb_value value = {.type = (uint8_t)type};

    value.as.i = number;
    return value;
}

static struct mb_value unsigned_value(enum mb_type type, uint64_t number)
{
    struct mb_value value = {.type = (uint8_t)type};

    value.as.u = number;
    return value;
}

static struct mb_value bytes_value(enum mb_type type, struct mb_slice bytes)
{
    struct mb_value value = {.type = (uint8_t)type};

    value.as.bytes = bytes;
    return value;
}

static struct mb_value items_value(enum mb_type type, const struct mb_value *items, uint32_t count,
                                   enum mb_type element)
{
    struct mb_value value = {.type = (uint8_t)type};

    value.as.items.values = items;
    value.as.items.count = count;
    value.as.items.element = (uint8_t)element;
    return value;
}

/* What is read from bytes is value; what is written is shortest. */
static void assert_reads(struct mb_slice bytes, struct mb_value value, struct mb_slice shortest)
{
    struct mb_value read;

    assert_int_equal(read_one(bytes, &read), MB_OK);
    assert_true(mb_value_equal(&read, &value));
    assert_written(&read, shortest);
}

static void assert_same(struct mb_slice bytes, struct mb_value value)
{
    assert_reads(bytes, value, bytes);
}

static void every_fixed_code(void **state)
{
    struct mb_value f32 = {.type = MB_F32, .as.f32 = -1.5f};
    struct mb_value f64 = {.type = MB_F64, .as.f64 = 0.1};
    struct mb_value yes = {.type = MB_BOOL, .as.b = true};
    struct mb_value no = {.type = MB_BOOL, .as.b = false};

    (void)state;
    assert_same(BYTES("\x40"), (struct mb_value){.type = MB_NULL});
    assert_same(BYTES("\x41"), yes);
    assert_same(BYTES("\x42"), no);
    assert_reads(BYTES("\x56\x01"), yes, BYTES("\x41"));
    assert_reads(BYTES("\x56\x00"), no, BYTES("\x42"));
    assert_same(BYTES("\x50\xff"), unsigned_value(MB_U8, 255));
    assert_same(BYTES("\x60\xff\xfe"), unsigned_value(MB_U16, 65534));
    assert_same(BYTES("\x43"), unsigned_value(MB_U32, 0));
    assert_same(BYTES("\x52\xff"), unsigned_value(MB_U32, 255));
    assert_same(BYTES("\x70\x00\x00\x01\x00"), unsigned_value(MB_U32, 256));
    assert_same(BYTES("\x70\xff\xff\xff\xff"), unsigned_value(MB_U32, UINT32_MAX));
    assert_reads(BYTES("\x70\x00\x00\x00\x00"), unsigned_value(MB_U32, 0), BYTES("\x43"));
    assert_reads(BYTES("\x70\x00\x00\x00\x07"), unsigned_value(MB_U32, 7), BYTES("\x52\x07"));
    assert_same(BYTES("\x44"), unsigned_value(MB_U64, 0));
    assert_same(BYTES("\x53\xff"), unsigned_value(MB_U64, 255));
    assert_same(BYTES("\x80\xff\xff\xff\xff\xff\xff\xff\xff"), unsigned_value(MB_U64, UINT64_MAX));
    assert_reads(BYTES("\x80\0\0\0\0\0\0\0\x09"), unsigned_value(MB_U64, 9), BYTES("\x53\x09"));
    assert_same(BYTES("\x51\x80"), signed_value(MB_I8, -128));
    assert_same(BYTES("\x61\x80\x00"), signed_value(MB_I16, -32768));
    assert_same(BYTES("\x54\x80"), signed_value(MB_I32, -128));
    assert_same(BYTES("\x71\xff\xff\xff\x7f"), signed_value(MB_I32, -129));
    assert_same(BYTES("\x71\x80\x00\x00\x00"), signed_value(MB_I32, INT32_MIN));
    assert_reads(BYTES("\x71\xff\xff\xff\xff"), signed_value(MB_I32, -1), BYTES("\x54\xff"));
    assert_same(BYTES("\x55\x7f"), signed_value(MB_I64, 127));
    assert_same(BYTES("\x81\x80\0\0\0\0\0\0\0"), signed_value(MB_I64, INT64_MIN));
    assert_reads(BYTES("\x81\0\0\0\0\0\0\0\x7f"), signed_value(MB_I64, 127), BYTES("\x55\x7f"));
    assert_same(BYTES("\x72\xbf\xc0\0\0"), f32);
    assert_same(BYTES("\x82\x3f\xb9\x99\x99\x99\x99\x99\x9a"), f64);
    assert_same(BYTES("\x74\1\2\3\4"), bytes_value(MB_DECIMAL32, BYTES("\1\2\3\4")));
    assert_same(BYTES("\x84\1\2\3\4\5\6\7\x8"),
                bytes_value(MB_DECIMAL64, BYTES("\1\2\3\4\5\6\7\x8")));
    assert_same(BYTES("\x94"
                      "0123456789abcdef"),
                bytes_value(MB_DECIMAL128, BYTES("0123456789abcdef")));
    assert_same(BYTES("\x73\x00\x01\xf6\x00"), unsigned_value(MB_CHAR, 0x1f600));
    assert_same(BYTES("\x83\xff\xff\xff\xff\xff\xff\xff\xff"), signed_value(MB_TIMESTAMP_MS, -1));
    assert_same(BYTES("\x98"
                      "0123456789abcdef"),
                bytes_value(MB_UUID, BYTES("0123456789abcdef")));
}

static void every_variable_code(void **state)
{
    static const struct {
        enum mb_type type;
        unsigned char code8;
    } types[] = {{MB_BINARY, 0xa0}, {MB_STRING, 0xa1}, {MB_SYMBOL, 0xa3}};
    unsigned char text[300];
    unsigned char wire[305];

    (void)state;
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        unsigned char code32 = (unsigned char)(types[i].code8 + 0x10);

        for (size_t size = 0; size <= sizeof text; size += size < 250 ? 250 : 1) {
            struct mb_value value = bytes_value(types[i].type, (struct mb_slice){text, size});
            unsigned char shortest[305] = {types[i].code8, (unsigned char)size};
            size_t head = 2;

            memcpy(wire, "\0\0\0\0\0", 5);
            wire[0] = code32;
            wire[3] = (unsigned char)(size >> 8);
            wire[4] = (unsigned char)size;
            memcpy(wire + 5, text, size);
            if (size > 255) {
                memcpy(shortest, wire, 5);
                head = 5;
            }
            memcpy(shortest + head, text, size);
            assert_reads((struct mb_slice){wire, 5 + size}, value,
                         (struct mb_slice){shortest, head + size});
        }
    }
}

static void text_that_is_no_utf8_is_binary(void **state)
{
    struct mb_value read;

    (void)state;
    assert_reads(BYTES("\xa1\x02\xc3\x28"), bytes_value(MB_BINARY, BYTES("\xc3\x28")),
                 BYTES("\xa0\x02\xc3\x28"));
    assert_same(BYTES("\xa1\x02\xc3\xa4"), bytes_value(MB_STRING, BYTES("\xc3\xa4")));
    /* One of an array: all of it. */
    assert_int_equal(read_one(BYTES("\xe0\x07\x02\xa1\x01x\x02\xc3\x28"), &read), MB_OK);
    assert_int_equal(read.as.items.element, MB_BINARY);
    assert_int_equal(read.as.items.values[0].type, MB_BINARY);
    assert_written(&read, BYTES("\xe0\x07\x02\xa0\x01x\x02\xc3\x28"));
    assert_int_equal(read_one(BYTES("\xe0\x09\x02\x00\x40\xa1\x01x\x02\xc3\x28"), &read), MB_OK);
    assert_int_equal(read.as.items.element, MB_DESCRIBED);
    assert_int_equal(read.as.items.values[0].as.items.values[1].type, MB_BINARY);
    assert_written(&read, BYTES("\xe0\x09\x02\x00\x40\xa0\x01x\x02\xc3\x28"));
}

static void lists_and_maps(void **state)
{
    struct mb_value inner[2] = {unsigned_value(MB_U8, 1), {.type = MB_NULL}};
    struct mb_value list = items_value(MB_LIST, inner, 2, MB_NULL);
    struct mb_value pair[4] = {bytes_value(MB_STRING, BYTES("k")), list, inner[0], inner[1]};

    (void)state;
    assert_same(BYTES("\x45"), items_value(MB_LIST, NULL, 0, MB_NULL));
    assert_reads(BYTES("\xc0\x01\x00"), items_value(MB_LIST, NULL, 0, MB_NULL), BYTES("\x45"));
    assert_same(BYTES("\xc0\x04\x02\x50\x01\x40"), list);
    assert_reads(BYTES("\xd0\0\0\0\x07\0\0\0\x02\x50\x01\x40"), list,
                 BYTES("\xc0\x04\x02\x50\x01\x40"));
    assert_same(BYTES("\xc1\x01\x00"), items_value(MB_MAP, NULL, 0, MB_NULL));
    assert_same(BYTES("\xc1\x0d\x04\xa1\x01k\xc0\x04\x02\x50\x01\x40\x50\x01\x40"),
                items_value(MB_MAP, pair, 4, MB_NULL));
    assert_reads(BYTES("\xd1\0\0\0\x07\0\0\0\x02\x50\x01\x40"),
                 items_value(MB_MAP, inner, 2, MB_NULL), BYTES("\xc1\x04\x02\x50\x01\x40"));
}

/* Around the border between one byte of size and count, and four. */
static void large_lists(void **state)
{
    static struct mb_value items[300];
    struct mb_value list = items_value(MB_LIST, items, 0, MB_NULL);
    struct mb_value read;

    (void)state;
    for (uint32_t count = 250; count < 260; count++) {
        list.as.items.count = count;
        mb_text_clear(&out);
        mb_types_write(&out, &list);
        assert_int_equal((unsigned char)out.data[0], count <= 254 ? 0xc0 : 0xd0);
        assert_int_equal(out.size, count <= 254 ? 3 + count : 9 + count);
        assert_int_equal(read_one((struct mb_slice){out.data, out.size}, &read), MB_OK);
        assert_true(mb_value_equal(&read, &list));
    }
}

static void described_values(void **state)
{
    struct mb_value parts[2] = {bytes_value(MB_SYMBOL, BYTES("a:b")), unsigned_value(MB_U8, 7)};
    struct mb_value described = items_value(MB_DESCRIBED, parts, 2, MB_NULL);
    struct mb_value twice[2] = {unsigned_value(MB_U64, 3), described};
    struct mb_value scaled = {.type = MB_DECIMAL_SCALED};

    (void)state;
    scaled.as.scaled.scale = 2;
    scaled.as.scaled.value = 300;
    assert_same(BYTES("\0\xa3\x03"
                      "a:b\x50\x07"),
                described);
    assert_same(BYTES("\0\x53\x03\0\xa3\x03"
                      "a:b\x50\x07"),
                items_value(MB_DESCRIBED, twice, 2, MB_NULL));
    assert_same(BYTES("\0\xa3\x0fmbridge:seconds\x55\xff"), signed_value(MB_TIMESTAMP_S, -1));
    assert_same(BYTES("\0\xa3\x0fmbridge:seconds\x81\0\0\0\0\x65\0\0\0"),
                signed_value(MB_TIMESTAMP_S, 0x65000000));
    assert_same(BYTES("\0\xa3\x0fmbridge:decimal\xc0\x08\x02\x50\x02\x70\0\0\1\x2c"), scaled);
    /* Not quite ours. */
    parts[0].as.bytes = BYTES("mbridge:decimal");
    assert_same(BYTES("\0\xa3\x0fmbridge:decimal\x50\x07"), described);
}

static void arrays(void **state)
{
    struct mb_value numbers[3] = {unsigned_value(MB_U32, 0), unsigned_value(MB_U32, 7),
                                  unsigned_value(MB_U32, 255)};
    struct mb_value bools[2] = {{.type = MB_BOOL, .as.b = true}, {.type = MB_BOOL, .as.b = false}};
    struct mb_value nulls[2] = {{.type = MB_NULL}, {.type = MB_NULL}};
    struct mb_value longs[2] = {signed_value(MB_I64, -1), signed_value(MB_I64, 200)};
    struct mb_value lists[2] = {items_value(MB_LIST, numbers, 1, MB_NULL),
                                items_value(MB_LIST, NULL, 0, MB_NULL)};
    struct mb_value seconds[2] = {signed_value(MB_TIMESTAMP_S, 1), signed_value(MB_TIMESTAMP_S, 2)};
    struct mb_value parts[2][2] = {{numbers[1], bools[0]}, {numbers[1], bools[1]}};
    struct mb_value described[2] = {items_value(MB_DESCRIBED, parts[0], 2, MB_NULL),
                                    items_value(MB_DESCRIBED, parts[1], 2, MB_NULL)};

    (void)state;
    assert_reads(BYTES("\xe0\x05\x03\x52\x00\x07\xff"), items_value(MB_ARRAY, numbers, 3, MB_U32),
                 BYTES("\xe0\x0e\x03\x70\0\0\0\0\0\0\0\x07\0\0\0\xff"));
    assert_reads(BYTES("\xf0\0\0\0\x0d\0\0\0\x02\x70\0\0\0\0\0\0\0\x07"),
                 items_value(MB_ARRAY, numbers, 2, MB_U32),
                 BYTES("\xe0\x0a\x02\x70\0\0\0\0\0\0\0\x07"));
    numbers[2].as.u = 256;
    assert_same(BYTES("\xe0\x0e\x03\x70\0\0\0\0\0\0\0\x07\0\0\1\0"),
                items_value(MB_ARRAY, numbers, 3, MB_U32));
    assert_reads(BYTES("\xe0\x02\x02\x43"),
                 items_value(MB_ARRAY, (struct mb_value[2]){numbers[0], numbers[0]}, 2, MB_U32),
                 BYTES("\xe0\x0a\x02\x70\0\0\0\0\0\0\0\0"));
    assert_reads(BYTES("\xe0\x02\x00\x54"), items_value(MB_ARRAY, NULL, 0, MB_I32),
                 BYTES("\xe0\x02\x00\x71"));
    assert_same(BYTES("\xe0\x04\x02\x56\x01\x00"), items_value(MB_ARRAY, bools, 2, MB_BOOL));
    assert_same(BYTES("\xe0\x02\x02\x40"), items_value(MB_ARRAY, nulls, 2, MB_NULL));
    assert_same(BYTES("\xe0\x12\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\xc8"),
                items_value(MB_ARRAY, longs, 2, MB_I64));
    assert_same(BYTES("\xe0\x07\x02\xc0\x02\x01\x43\x01\x00"),
                items_value(MB_ARRAY, lists, 2, MB_LIST));
    assert_same(
        BYTES("\xe0\x24\x02\0\xa3\x0fmbridge:seconds\x81\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02"),
        items_value(MB_ARRAY, seconds, 2, MB_TIMESTAMP_S));
    assert_same(BYTES("\xe0\x07\x02\0\x52\x07\x56\x01\x00"),
                items_value(MB_ARRAY, described, 2, MB_DESCRIBED));
    assert_same(BYTES("\xe0\x04\x00\0\x40\x40"), items_value(MB_ARRAY, NULL, 0, MB_DESCRIBED));
}

/* An element that is too long for the short form widens all; so does none where all are short. */
static void arrays_of_containers_take_the_width_they_need(void **state)
{
    static struct mb_value many[300];
    struct mb_value lists[2] = {items_value(MB_LIST, many, 2, MB_NULL),
                                items_value(MB_LIST, many, 254, MB_NULL)};
    struct mb_value array = items_value(MB_ARRAY, lists, 2, MB_LIST);
    struct mb_value outer = items_value(MB_ARRAY, &array, 1, MB_ARRAY);
    struct mb_value read;

    (void)state;
    mb_text_clear(&out);
    mb_types_write(&out, &outer);
    assert_int_equal((unsigned char)out.data[9], 0xf0); /* the inner array's code */
    assert_int_equal(read_one((struct mb_slice){out.data, out.size}, &read), MB_OK);
    assert_true(mb_value_equal(&read, &outer));
    assert_int_equal((unsigned char)out.data[18], 0xc0);
    lists[1].as.items.count = 255;
    mb_text_clear(&out);
    mb_types_write(&out, &outer);
    assert_int_equal((unsigned char)out.data[18], 0xd0);
    assert_int_equal(read_one((struct mb_slice){out.data, out.size}, &read), MB_OK);
    assert_true(mb_value_equal(&read, &outer));
}

static void malformed_bytes_are_refused(void **state)
{
    static const struct mb_slice cases[] = {
        BYTES(""),
        BYTES("\x01"), /* no such code */
        BYTES("\x46"),
        BYTES("\x57\x00"),
        BYTES("\xc2\x01\x00"),
        BYTES("\xff"),
        BYTES("\x50"), /* cut */
        BYTES("\x60\x00"),
        BYTES("\x70\0\0\0"),
        BYTES("\x80\0\0\0\0\0\0\0"),
        BYTES("\x98"
              "0123456789abcde"),
        BYTES("\xa0"),
        BYTES("\xa1\x02x"),
        BYTES("\xb1\0\0\0"),
        BYTES("\xb1\xff\xff\xff\xffx"),
        BYTES("\xc0"),
        BYTES("\xc0\x00"), /* no room for the count */
        BYTES("\xc0\x01"),
        BYTES("\xc0\x02\x01"),
        BYTES("\xc0\x02\x00\x40"),      /* bytes behind the last item */
        BYTES("\xc0\x02\x02\x40"),      /* more items than bytes */
        BYTES("\xc0\x03\x01\xa1\x01x"), /* an item beyond the list's end */
        BYTES("\xd0\0\0\0\x03\0\0\0"),
        BYTES("\xd0\0\0\0\x04\xff\xff\xff\xff"),
        BYTES("\xc1\x02\x01\x40"), /* a key without value */
        BYTES("\xe0\x01\x00"),     /* no constructor */
        BYTES("\xe0\x02\x01\x50"),
        BYTES("\xe0\x03\x01\x46\x00"),
        BYTES("\xe0\x03\x02\x50\x01"),
        BYTES("\xe0\x03\x01\x00\x40"),               /* a descriptor, no code */
        BYTES("\xf0\0\0\0\x05\xff\xff\xff\xff\x40"), /* far too many nulls */
        BYTES("\x00"),
        BYTES("\x00\x40"),
        BYTES("\x00\x01\x40"),
    };
    struct mb_value read;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(read_one(cases[i], &read), MB_REJECTED);
}

/* Lists in lists, the innermost holding null; or described values, or arrays. */
static struct mb_slice nested(unsigned char *wire, size_t size, unsigned depth, char kind)
{
    unsigned char *at = wire + size;

    *--at = 0x40;
    for (unsigned i = 0; i < depth; i++) {
        uint32_t inner;

        if (kind == 'd') {
            *--at = 0x40;
            *--at = 0x00;
            continue;
        }
        at -= 9; /* an array takes what follows for its constructor and element */
        at[0] = kind == 'a' ? 0xf0 : 0xd0;
        inner = (uint32_t)(wire + size - at) - 5;
        at[1] = (unsigned char)(inner >> 24);
        at[2] = (unsigned char)(inner >> 16);
        at[3] = (unsigned char)(inner >> 8);
        at[4] = (unsigned char)inner;
        memcpy(at + 5, "\0\0\0\1", 4);
    }
    return (struct mb_slice){at, (size_t)(wire + size - at)};
}

static void nesting_ends_at_the_bound(void **state)
{
    unsigned char wire[1024];
    struct mb_value read;

    (void)state;
    for (const char *kind = "lda"; *kind != '\0'; kind++) {
        struct mb_slice bytes = nested(wire, sizeof wire, MB_TYPES_DEPTH_MAX, *kind);
        struct mb_value deeper[2] = {{.type = MB_NULL}, {.type = MB_NULL}};
        struct mb_value outer;

        assert_int_equal(read_one(bytes, &read), MB_OK);
        mb_text_clear(&out);
        mb_types_write(&out, &read);
        assert_false(out.failed);
        deeper[1] = read;
        outer = items_value(MB_LIST, deeper, 2, MB_NULL);
        assert_refused(&outer);
        assert_int_equal(read_one(nested(wire, sizeof wire, MB_TYPES_DEPTH_MAX + 1, *kind), &read),
                         MB_REJECTED);
    }
}

static void elements_without_bytes_are_bounded(void **state)
{
    unsigned char wire[] = "\xf0\0\0\0\x05\x00\x01\x00\x00\x40\x40";
    struct mb_arena arena = arena_of(sizeof memory);
    struct mb_types_reader reader = reader_of((struct mb_slice){wire, sizeof wire - 1});
    struct mb_value *nulls = calloc(MB_TYPES_BARE_MAX + 1, sizeof *nulls);
    struct mb_value array = items_value(MB_ARRAY, nulls, MB_TYPES_BARE_MAX, MB_NULL);
    struct mb_value twice[2] = {array, array};
    struct mb_value list = items_value(MB_LIST, twice, 2, MB_NULL);
    struct mb_value read;

    (void)state;
    assert_int_equal(mb_types_read(&reader, &arena, &read), MB_OK);
    assert_true(mb_value_equal(&read, &array));
    assert_int_equal(reader.bare_count, MB_TYPES_BARE_MAX);
    assert_int_equal(mb_types_read(&reader, &arena, &read), MB_OK); /* a null that has a byte */
    reader.at = 0; /* the same again, for the same reader */
    assert_int_equal(mb_types_read(&reader, &arena, &read), MB_REJECTED);
    wire[8] = 1;
    assert_int_equal(read_one((struct mb_slice){wire, sizeof wire - 2}, &read), MB_REJECTED);
    assert_written(&array, BYTES("\xf0\0\0\0\x05\x00\x01\x00\x00\x40"));
    assert_refused(&list);
    array.as.items.count++;
    assert_refused(&array);
    free(nulls);
}

/* 60 descriptors make each byte of an array 121 items; 16 MB of memory would not be enough here. */
static void descriptors_of_arrays_are_bounded(void **state)
{
    size_t size = 9 + 2 * 60 + 1 + 60000;
    unsigned char *wire = calloc(1, size);
    struct mb_value read;

    (void)state;
    memcpy(wire, "\xf0\0\0\0\0\x00\x00\xea\x60", 9);
    wire[2] = (unsigned char)((size - 5) >> 16);
    wire[3] = (unsigned char)((size - 5) >> 8);
    wire[4] = (unsigned char)(size - 5);
    for (size_t i = 0; i < 60; i++)
        wire[9 + 2 * i + 1] = 0x40;
    wire[9 + 120] = 0x50;
    assert_int_equal(read_one((struct mb_slice){wire, size}, &read), MB_REJECTED);
    free(wire);
}

static void values_that_nobody_can_have_made_are_refused(void **state)
{
    struct mb_value items[3] = {unsigned_value(MB_U8, 1), unsigned_value(MB_U16, 1),
                                unsigned_value(MB_U8, 2)};
    struct mb_value parts[2][2] = {{items[0], items[0]}, {items[2], items[0]}};
    struct mb_value described[2] = {items_value(MB_DESCRIBED, parts[0], 2, MB_NULL),
                                    items_value(MB_DESCRIBED, parts[1], 2, MB_NULL)};
    struct mb_value bad[] = {
        items_value(MB_ARRAY, items, 2, MB_U8),
        items_value(MB_ARRAY, items, 1, MB_U16),
        items_value(MB_ARRAY, described, 2, MB_DESCRIBED),
        items_value(MB_MAP, items, 3, MB_NULL),
        items_value(MB_DESCRIBED, items, 1, MB_NULL),
        bytes_value(MB_UUID, BYTES("short")),
        bytes_value(MB_DECIMAL32, BYTES("12345")),
        unsigned_value((enum mb_type)99, 0),
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct mb_value list = items_value(MB_LIST, &bad[i], 1, MB_NULL);

        assert_refused(&bad[i]);
        assert_refused(&list);
    }
}

static void memory_ends(void **state)
{
    struct mb_slice bytes = BYTES("\xc0\x08\x02\xc0\x02\x01\x40\0\x40\x40");
    struct mb_value read;

    (void)state;
    for (size_t size = 0; size < 5 * sizeof(struct mb_value); size += 8) {
        struct mb_arena arena = arena_of(size);
        struct mb_types_reader reader = reader_of(bytes);

        assert_int_equal(mb_types_read(&reader, &arena, &read), MB_NO_MEMORY);
        assert_int_equal(reader.at, 0);
    }
}

static void opening_a_container(void **state)
{
    struct mb_slice bytes = BYTES("\xd1\0\0\0\x09\0\0\0\x02\xa3\x01k\x52\x07\x45\xc1\x02\x01\x40");
    struct mb_types_reader reader = reader_of(bytes);
    struct mb_types_reader items;
    struct mb_value value;
    uint32_t count;
    uint8_t type;

    (void)state;
    reader.bare_count = 5;
    assert_int_equal(mb_types_open(&reader, &items, &type, &count), MB_OK);
    assert_int_equal(type, MB_MAP);
    assert_int_equal(count, 2);
    assert_int_equal(items.bare_count, 5);
    assert_int_equal(mb_types_read(&items, NULL, &value), MB_OK);
    assert_int_equal(value.type, MB_SYMBOL);
    assert_int_equal(mb_types_read(&items, NULL, &value), MB_OK);
    assert_int_equal(value.as.u, 7);
    assert_int_equal(items.at, items.size);
    assert_int_equal(mb_types_open(&reader, &items, &type, &count), MB_OK);
    assert_int_equal(type, MB_LIST);
    assert_int_equal(count, 0);
    assert_int_equal(items.size, 0);
    assert_int_equal(mb_types_open(&reader, &items, &type, &count), MB_REJECTED); /* odd */
    reader = reader_of(BYTES("\x40"));
    assert_int_equal(mb_types_open(&reader, &items, &type, &count), MB_REJECTED);
    reader = reader_of(BYTES("\xc0\x05\x01\x40"));
    assert_int_equal(mb_types_open(&reader, &items, &type, &count), MB_REJECTED);
    reader = reader_of(BYTES(""));
    assert_int_equal(mb_types_open(&reader, &items, &type, &count), MB_REJECTED);
}

static void equality_is_by_bits(void **state)
{
    struct mb_value zero = {.type = MB_F64, .as.f64 = 0.0};
    struct mb_value minus = {.type = MB_F64, .as.f64 = -0.0};
    struct mb_value nan_value = {.type = MB_F64, .as.f64 = (double)NAN};
    struct mb_value empty_a = items_value(MB_ARRAY, NULL, 0, MB_U8);
    struct mb_value empty_b = items_value(MB_ARRAY, NULL, 0, MB_I8);

    (void)state;
    assert_false(mb_value_equal(&zero, &minus));
    assert_true(mb_value_equal(&nan_value, &nan_value));
    assert_false(mb_value_equal(&empty_a, &empty_b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fixed_code),
        cmocka_unit_test(every_variable_code),
        cmocka_unit_test(text_that_is_no_utf8_is_binary),
        cmocka_unit_test(lists_and_maps),
        cmocka_unit_test(large_lists),
        cmocka_unit_test(described_values),
        cmocka_unit_test(arrays),
        cmocka_unit_test(arrays_of_containers_take_the_width_they_need),
        cmocka_unit_test(malformed_bytes_are_refused),
        cmocka_unit_test(nesting_ends_at_the_bound),
        cmocka_unit_test(elements_without_bytes_are_bounded),
        cmocka_unit_test(descriptors_of_arrays_are_bounded),
        cmocka_unit_test(values_that_nobody_can_have_made_are_refused),
        cmocka_unit_test(memory_ends),
        cmocka_unit_test(opening_a_container),
        cmocka_unit_test(equality_is_by_bits),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    mb_text_release(&out);
    return failed;
}
