/* SPDX-License-Identifier: Apache-2.0 */
/* Writing typed values. One pass: the size of a list is known when its items
 * are written, so they are moved if it takes more room than was left for it. */
#include "kit/types_parts.h"

static void store(unsigned char *at, uint64_t number, size_t width)
{
    for (size_t i = width; i-- > 0; number >>= 8)
        at[i] = (unsigned char)number;
}

/* The end of the text with room for size bytes more, or NULL. */
static unsigned char *room(struct mb_types_writer *writer, size_t size)
{
    struct mb_text *out = writer->out;

    return mb_text_reserve(out, size) ? (unsigned char *)out->data + out->size : NULL;
}

static void put_number(struct mb_types_writer *writer, uint8_t code, uint64_t number, size_t width)
{
    unsigned char *at = room(writer, 1 + width);

    if (at == NULL)
        return;
    at[0] = code;
    store(at + 1, number, width);
    writer->out->size += 1 + width;
}

void mb_types_put_plain(struct mb_types_writer *writer, uint64_t number, size_t width)
{
    unsigned char *at = room(writer, width);

    if (at == NULL)
        return;
    store(at, number, width);
    writer->out->size += width;
}

void mb_types_put_sized(struct mb_types_writer *writer, struct mb_slice bytes, size_t width)
{
    unsigned char *at;

    if (bytes.size > UINT32_MAX) {
        writer->out->failed = true;
        return;
    }
    at = room(writer, width + bytes.size);
    if (at == NULL)
        return;
    store(at, bytes.size, width);
    if (bytes.size > 0)
        memcpy(at + width, bytes.data, bytes.size);
    writer->out->size += width + bytes.size;
}

void mb_types_put_bytes(struct mb_types_writer *writer, uint8_t code8, struct mb_slice bytes)
{
    bool is_long = bytes.size > UINT8_MAX;

    mb_types_put_plain(writer, is_long ? code8 + 0x10u : code8, 1);
    mb_types_put_sized(writer, bytes, is_long ? 4 : 1);
}

static void put_octets(struct mb_types_writer *writer, uint8_t code, struct mb_slice bytes,
                       size_t width)
{
    if (bytes.size != width) {
        writer->out->failed = true;
        return;
    }
    mb_types_put_plain(writer, code, 1);
    mb_text_add(writer->out, bytes.data, width);
}

uint64_t mb_types_float_bits(const struct mb_value *value)
{
    uint32_t bits32;
    uint64_t bits64;

    if (value->type == MB_F32) {
        memcpy(&bits32, &value->as.f32, sizeof bits32);
        return bits32;
    }
    memcpy(&bits64, &value->as.f64, sizeof bits64);
    return bits64;
}

static bool is_small(int64_t number)
{
    return number >= INT8_MIN && number <= INT8_MAX;
}

void mb_types_put_content(struct mb_types_writer *writer, const struct mb_value *value,
                          unsigned depth)
{
    if (value->type == MB_ARRAY) {
        mb_types_put_array(writer, value, depth);
        return;
    }
    if (value->type == MB_MAP && value->as.items.count % 2 != 0)
        writer->out->failed = true;
    for (uint32_t i = 0; i < value->as.items.count && !writer->out->failed; i++)
        mb_types_put_value(writer, &value->as.items.values[i], depth);
}

bool mb_types_set_compound(struct mb_types_writer *writer, size_t start, size_t width,
                           uint32_t count)
{
    struct mb_text *out = writer->out;
    unsigned char *at = (unsigned char *)out->data + start - 2 * width;
    size_t size = out->size - start + width;

    if (size > (width == 1 ? UINT8_MAX : UINT32_MAX) || (width == 1 && count > UINT8_MAX))
        return false;
    store(at, size, width);
    store(at + width, count, width);
    return true;
}

static void put_compound(struct mb_types_writer *writer, uint8_t code8,
                         const struct mb_value *value, unsigned depth)
{
    struct mb_text *out = writer->out;
    size_t start = out->size + 3;

    if (depth >= MB_TYPES_DEPTH_MAX) {
        out->failed = true;
        return;
    }
    put_number(writer, code8, 0, 2);
    mb_types_put_content(writer, value, depth + 1);
    if (out->failed || mb_types_set_compound(writer, start, 1, value->as.items.count))
        return;
    if (room(writer, 6) == NULL)
        return;
    memmove(out->data + start + 6, out->data + start, out->size - start);
    out->size += 6;
    out->data[start - 3] = (char)(code8 + 0x10);
    out->failed = !mb_types_set_compound(writer, start + 6, 4, value->as.items.count);
}

static void put_described(struct mb_types_writer *writer, const struct mb_value *value,
                          unsigned depth)
{
    if (depth >= MB_TYPES_DEPTH_MAX || value->as.items.count != 2) {
        writer->out->failed = true;
        return;
    }
    mb_types_put_plain(writer, MB_CODE_DESCRIBED, 1);
    mb_types_put_value(writer, &value->as.items.values[0], depth + 1);
    mb_types_put_value(writer, &value->as.items.values[1], depth + 1);
}

void mb_types_make_parts(const struct mb_value *value, struct mb_value parts[2],
                         struct mb_value numbers[2])
{
    memset(parts, 0, 2 * sizeof parts[0]);
    parts[0].type = MB_SYMBOL;
    if (value->type == MB_TIMESTAMP_S) {
        parts[0].as.bytes = MB_SLICE_LITERAL(MB_DESCRIPTOR_SECONDS);
        parts[1].type = MB_I64;
        parts[1].as.i = value->as.i;
        return;
    }
    memset(numbers, 0, 2 * sizeof numbers[0]);
    numbers[0].type = MB_U8;
    numbers[0].as.u = value->as.scaled.scale;
    numbers[1].type = MB_U32;
    numbers[1].as.u = value->as.scaled.value;
    parts[0].as.bytes = MB_SLICE_LITERAL(MB_DESCRIPTOR_SCALED);
    parts[1].type = MB_LIST;
    parts[1].as.items.values = numbers;
    parts[1].as.items.count = 2;
}

static void put_ours(struct mb_types_writer *writer, const struct mb_value *value, unsigned depth)
{
    struct mb_value parts[2];
    struct mb_value numbers[2];
    struct mb_value described = {.type = MB_DESCRIBED};

    mb_types_make_parts(value, parts, numbers);
    described.as.items.values = parts;
    described.as.items.count = 2;
    put_described(writer, &described, depth);
}

static void put_unsigned(struct mb_types_writer *writer, const struct mb_value *value)
{
    bool is_64 = value->type == MB_U64;

    if (value->as.u == 0)
        mb_types_put_plain(writer, is_64 ? MB_CODE_U64_ZERO : MB_CODE_U32_ZERO, 1);
    else if (value->as.u <= UINT8_MAX)
        put_number(writer, is_64 ? MB_CODE_U64_SMALL : MB_CODE_U32_SMALL, value->as.u, 1);
    else
        put_number(writer, is_64 ? MB_CODE_U64 : MB_CODE_U32, value->as.u, is_64 ? 8 : 4);
}

static void put_signed(struct mb_types_writer *writer, const struct mb_value *value)
{
    bool is_64 = value->type == MB_I64;

    if (is_small(value->as.i))
        put_number(writer, is_64 ? MB_CODE_I64_SMALL : MB_CODE_I32_SMALL, (uint64_t)value->as.i, 1);
    else
        put_number(writer, is_64 ? MB_CODE_I64 : MB_CODE_I32, (uint64_t)value->as.i, is_64 ? 8 : 4);
}

void mb_types_put_value(struct mb_types_writer *writer, const struct mb_value *value,
                        unsigned depth)
{
    switch ((enum mb_type)value->type) {
    case MB_NULL:
        mb_types_put_plain(writer, MB_CODE_NULL, 1);
        return;
    case MB_BOOL:
        mb_types_put_plain(writer, value->as.b ? MB_CODE_TRUE : MB_CODE_FALSE, 1);
        return;
    case MB_I8:
        put_number(writer, MB_CODE_I8, (uint64_t)value->as.i, 1);
        return;
    case MB_I16:
        put_number(writer, MB_CODE_I16, (uint64_t)value->as.i, 2);
        return;
    case MB_I32:
    case MB_I64:
        put_signed(writer, value);
        return;
    case MB_U8:
        put_number(writer, MB_CODE_U8, value->as.u, 1);
        return;
    case MB_U16:
        put_number(writer, MB_CODE_U16, value->as.u, 2);
        return;
    case MB_U32:
    case MB_U64:
        put_unsigned(writer, value);
        return;
    case MB_F32:
        put_number(writer, MB_CODE_F32, mb_types_float_bits(value), 4);
        return;
    case MB_F64:
        put_number(writer, MB_CODE_F64, mb_types_float_bits(value), 8);
        return;
    case MB_DECIMAL32:
        put_octets(writer, MB_CODE_DECIMAL32, value->as.bytes, 4);
        return;
    case MB_DECIMAL64:
        put_octets(writer, MB_CODE_DECIMAL64, value->as.bytes, 8);
        return;
    case MB_DECIMAL128:
        put_octets(writer, MB_CODE_DECIMAL128, value->as.bytes, 16);
        return;
    case MB_UUID:
        put_octets(writer, MB_CODE_UUID, value->as.bytes, 16);
        return;
    case MB_CHAR:
        put_number(writer, MB_CODE_CHAR, value->as.u, 4);
        return;
    case MB_TIMESTAMP_MS:
        put_number(writer, MB_CODE_TIMESTAMP, (uint64_t)value->as.i, 8);
        return;
    case MB_TIMESTAMP_S:
    case MB_DECIMAL_SCALED:
        put_ours(writer, value, depth);
        return;
    case MB_BINARY:
        mb_types_put_bytes(writer, MB_CODE_BINARY8, value->as.bytes);
        return;
    case MB_STRING:
        mb_types_put_bytes(writer, MB_CODE_STRING8, value->as.bytes);
        return;
    case MB_SYMBOL:
        mb_types_put_bytes(writer, MB_CODE_SYMBOL8, value->as.bytes);
        return;
    case MB_LIST:
        if (value->as.items.count == 0 && depth < MB_TYPES_DEPTH_MAX)
            mb_types_put_plain(writer, MB_CODE_LIST0, 1);
        else
            put_compound(writer, MB_CODE_LIST8, value, depth);
        return;
    case MB_MAP:
        put_compound(writer, MB_CODE_MAP8, value, depth);
        return;
    case MB_ARRAY:
        put_compound(writer, MB_CODE_ARRAY8, value, depth);
        return;
    case MB_DESCRIBED:
        put_described(writer, value, depth);
        return;
    }
    writer->out->failed = true;
}

void mb_types_write(struct mb_text *out, const struct mb_value *value)
{
    struct mb_types_writer writer = {out, 0};
    size_t start = out->size;

    mb_types_put_value(&writer, value, 0);
    if (out->failed)
        out->size = start;
}
