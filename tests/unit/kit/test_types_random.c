/* SPDX-License-Identifier: Apache-2.0 */
/* Random values, written and read; cut, they are refused; damaged, they do no harm. */
#include "kit/types.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROUNDS           200000
#define RANDOM_DEPTH_MAX 5

static struct mb_text out = {.max_size = 8u << 20};

static void *no_more(struct mb_arena *arena, size_t size)
{
    (void)arena;
    (void)size;
    return NULL;
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

/* Reads the whole of bytes; skipping has to say the same. */
static enum mb_status read_one(const unsigned char *bytes, size_t size, struct mb_value *ret_value)
{
    static unsigned char memory[8u << 20];
    struct mb_arena arena = {memory, memory + sizeof memory, no_more};
    struct mb_types_reader reader = {.data = bytes, .size = size};
    struct mb_types_reader skipper = reader;
    enum mb_status status = mb_types_read(&reader, &arena, ret_value);

    assert_int_equal(mb_types_skip(&skipper), status);
    assert_int_equal(skipper.at, reader.at);
    return status;
}

static uint64_t seed;

static uint64_t random_u64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint32_t random_below(uint32_t bound)
{
    return (uint32_t)(random_u64() >> 32) % bound;
}

static uint64_t random_number(unsigned bits)
{
    uint64_t number = random_u64() >> random_below(64);

    return bits == 64 ? number : number & ((UINT64_C(1) << bits) - 1);
}

static struct mb_slice random_text(struct mb_arena *arena, size_t size)
{
    unsigned char *text = mb_arena_alloc(arena, size);

    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = (unsigned char)('a' + random_below(26));
    return (struct mb_slice){text, size};
}

static struct mb_value random_value(struct mb_arena *arena, enum mb_type type, unsigned depth);

static enum mb_type random_type(unsigned depth)
{
    return (enum mb_type)random_below(depth < RANDOM_DEPTH_MAX ? MB_DESCRIBED + 1 : MB_LIST);
}

static struct mb_value random_items(struct mb_arena *arena, enum mb_type type, unsigned depth)
{
    uint32_t count = random_below(16) == 0 ? random_below(300) : random_below(5);
    enum mb_type element = random_type(depth + 1);
    enum mb_type below = random_type(depth + 2);
    struct mb_value descriptor = random_value(arena, (enum mb_type)random_below(MB_LIST), depth);
    struct mb_value *items;

    if (depth > 1)
        count %= 5;
    if (type == MB_MAP)
        count -= count % 2;
    if (type == MB_DESCRIBED)
        count = 2;
    items = mb_arena_alloc(arena, count * sizeof *items);
    assert_non_null(items);
    for (uint32_t i = 0; i < count; i++) {
        items[i] =
            random_value(arena, type == MB_ARRAY ? element : random_type(depth + 1), depth + 1);
        if (type == MB_ARRAY && element == MB_DESCRIBED) {
            struct mb_value *parts = mb_arena_alloc(arena, 2 * sizeof *parts);

            assert_non_null(parts);
            if (below == MB_DESCRIBED)
                below = MB_STRING;
            parts[0] = descriptor;
            parts[1] = random_value(arena, below, depth + 2);
            items[i] = items_value(MB_DESCRIBED, parts, 2, MB_NULL);
        }
    }
    return items_value(type, items, count, type == MB_ARRAY ? element : MB_NULL);
}

static struct mb_value random_value(struct mb_arena *arena, enum mb_type type, unsigned depth)
{
    static const uint8_t bits[] = {[MB_I8] = 8, [MB_I16] = 16, [MB_I32] = 32, [MB_I64] = 64,
                                   [MB_U8] = 8, [MB_U16] = 16, [MB_U32] = 32, [MB_U64] = 64};
    struct mb_value value = {.type = (uint8_t)type};
    uint64_t number = random_u64();

    switch (type) {
    case MB_NULL:
        return value;
    case MB_BOOL:
        value.as.b = number & 1;
        return value;
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
        number = random_number(bits[type]) << (64 - bits[type]);
        value.as.i = (int64_t)number >> (64 - bits[type]);
        return value;
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
        value.as.u = random_number(bits[type]);
        return value;
    case MB_F32:
        memcpy(&value.as.f32, &number, sizeof value.as.f32);
        return value;
    case MB_F64:
        memcpy(&value.as.f64, &number, sizeof value.as.f64);
        return value;
    case MB_DECIMAL32:
        value.as.bytes = random_text(arena, 4);
        return value;
    case MB_DECIMAL64:
        value.as.bytes = random_text(arena, 8);
        return value;
    case MB_DECIMAL128:
    case MB_UUID:
        value.as.bytes = random_text(arena, 16);
        return value;
    case MB_DECIMAL_SCALED:
        value.as.scaled.scale = (uint8_t)number;
        value.as.scaled.value = (uint32_t)random_number(32);
        return value;
    case MB_CHAR:
        value.as.u = random_number(21);
        return value;
    case MB_TIMESTAMP_S:
    case MB_TIMESTAMP_MS:
        value.as.i = (int64_t)random_number(64);
        return value;
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
        value.as.bytes =
            random_text(arena, random_below(20) == 0 ? random_below(400) : random_below(12));
        return value;
    case MB_LIST:
    case MB_MAP:
    case MB_ARRAY:
    case MB_DESCRIBED:
        break;
    }
    return random_items(arena, type, depth);
}

static void random_values_survive(void **state)
{
    static unsigned char made[8u << 20];
    static unsigned char first[8u << 20];

    (void)state;
    seed = UINT64_C(0x9e3779b97f4a7c15);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct mb_arena maker = {made, made + sizeof made, no_more};
        struct mb_value value = random_value(&maker, random_type(0), 0);
        struct mb_value read;
        size_t size;

        mb_text_clear(&out);
        mb_types_write(&out, &value);
        assert_false(out.failed);
        size = out.size;
        memcpy(first, out.data, size);
        assert_int_equal(read_one(first, size, &read), MB_OK);
        assert_true(mb_value_equal(&read, &value));
        mb_text_clear(&out);
        mb_types_write(&out, &read);
        assert_int_equal(out.size, size);
        assert_memory_equal(out.data, first, size);
        assert_int_equal(read_one(first, random_below((uint32_t)size), &read), MB_REJECTED);
        first[random_below((uint32_t)size)] ^= (unsigned char)(1u << random_below(8));
        assert_int_not_equal(read_one(first, size, &read), MB_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_values_survive)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    mb_text_release(&out);
    return failed;
}
