/* SPDX-License-Identifier: Apache-2.0 */
/* Writing typed values. One pass: the size of a list is known when its items
 * are written, so they are moved if it takes more room than was left for it. */
#include "kit/types.h"

#include "kit/types_codes.h"

struct writer {
    struct mb_text *out;
    uint32_t bare_count;
};

static void write_value(struct writer *writer, const struct mb_value *value, unsigned depth);
static void write_array(struct writer *writer, const struct mb_value *array, unsigned depth);

static void store(unsigned char *at, uint64_t number, size_t width)
{
    for (size_t i = width; i-- > 0; number >>= 8)
        at[i] = (unsigned char)number;
}

/* The end of the text with room for size bytes more, or NULL. */
static unsigned char *room(struct writer *writer, size_t size)
{
    struct mb_text *out = writer->out;

    return mb_text_reserve(out, size) ? (unsigned char *)out->data + out->size : NULL;
}

static void put_number(struct writer *writer, uint8_t code, uint64_t number, size_t width)
{
    unsigned char *at = room(writer, 1 + width);

    if (at == NULL)
        return;
    at[0] = code;
    store(at + 1, number, width);
    writer->out->size += 1 + width;
}

/* The same without a format code: an element. */
static void put_plain(struct writer *writer, uint64_t number, size_t width)
{
    unsigned char *at = room(writer, width);

    if (at == NULL)
        return;
    store(at, number, width);
    writer->out->size += width;
}

static void put_sized(struct writer *writer, struct mb_slice bytes, size_t width)
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

static void put_bytes(struct writer *writer, uint8_t code8, struct mb_slice bytes)
{
    bool is_long = bytes.size > UINT8_MAX;

    put_plain(writer, is_long ? code8 + 0x10u : code8, 1);
    put_sized(writer, bytes, is_long ? 4 : 1);
}

static void put_octets(struct writer *writer, uint8_t code, struct mb_slice bytes, size_t width)
{
    if (bytes.size != width) {
        writer->out->failed = true;
        return;
    }
    put_plain(writer, code, 1);
    mb_text_add(writer->out, bytes.data, width);
}

static uint64_t float_bits(const struct mb_value *value)
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

/* What of a list, map or array stands behind its count. */
static void put_content(struct writer *writer, const struct mb_value *value, unsigned depth)
{
    if (value->type == MB_ARRAY) {
        write_array(writer, value, depth);
        return;
    }
    if (value->type == MB_MAP && value->as.items.count % 2 != 0)
        writer->out->failed = true;
    for (uint32_t i = 0; i < value->as.items.count && !writer->out->failed; i++)
        write_value(writer, &value->as.items.values[i], depth);
}

/* Size and count of width bytes each stand at start - 2 × width; the content goes up to the end. */
static bool set_compound(struct writer *writer, size_t start, size_t width, uint32_t count)
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

static void put_compound(struct writer *writer, uint8_t code8, const struct mb_value *value,
                         unsigned depth)
{
    struct mb_text *out = writer->out;
    size_t start = out->size + 3;

    if (depth >= MB_TYPES_DEPTH_MAX) {
        out->failed = true;
        return;
    }
    put_number(writer, code8, 0, 2);
    put_content(writer, value, depth + 1);
    if (out->failed || set_compound(writer, start, 1, value->as.items.count))
        return;
    if (room(writer, 6) == NULL)
        return;
    memmove(out->data + start + 6, out->data + start, out->size - start);
    out->size += 6;
    out->data[start - 3] = (char)(code8 + 0x10);
    out->failed = !set_compound(writer, start + 6, 4, value->as.items.count);
}

static void put_described(struct writer *writer, const struct mb_value *value, unsigned depth)
{
    if (depth >= MB_TYPES_DEPTH_MAX || value->as.items.count != 2) {
        writer->out->failed = true;
        return;
    }
    put_plain(writer, MB_CODE_DESCRIBED, 1);
    write_value(writer, &value->as.items.values[0], depth + 1);
    write_value(writer, &value->as.items.values[1], depth + 1);
}

/* The two types that are none of AMQP 1.0, as what they are there. */
static void make_parts(const struct mb_value *value, struct mb_value parts[2],
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

static void put_ours(struct writer *writer, const struct mb_value *value, unsigned depth)
{
    struct mb_value parts[2];
    struct mb_value numbers[2];
    struct mb_value described = {.type = MB_DESCRIBED};

    make_parts(value, parts, numbers);
    described.as.items.values = parts;
    described.as.items.count = 2;
    put_described(writer, &described, depth);
}

static void put_unsigned(struct writer *writer, const struct mb_value *value)
{
    bool is_64 = value->type == MB_U64;

    if (value->as.u == 0)
        put_plain(writer, is_64 ? MB_CODE_U64_ZERO : MB_CODE_U32_ZERO, 1);
    else if (value->as.u <= UINT8_MAX)
        put_number(writer, is_64 ? MB_CODE_U64_SMALL : MB_CODE_U32_SMALL, value->as.u, 1);
    else
        put_number(writer, is_64 ? MB_CODE_U64 : MB_CODE_U32, value->as.u, is_64 ? 8 : 4);
}

static void put_signed(struct writer *writer, const struct mb_value *value)
{
    bool is_64 = value->type == MB_I64;

    if (is_small(value->as.i))
        put_number(writer, is_64 ? MB_CODE_I64_SMALL : MB_CODE_I32_SMALL, (uint64_t)value->as.i, 1);
    else
        put_number(writer, is_64 ? MB_CODE_I64 : MB_CODE_I32, (uint64_t)value->as.i, is_64 ? 8 : 4);
}

static void write_value(struct writer *writer, const struct mb_value *value, unsigned depth)
{
    switch ((enum mb_type)value->type) {
    case MB_NULL:
        put_plain(writer, MB_CODE_NULL, 1);
        return;
    case MB_BOOL:
        put_plain(writer, value->as.b ? MB_CODE_TRUE : MB_CODE_FALSE, 1);
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
        put_number(writer, MB_CODE_F32, float_bits(value), 4);
        return;
    case MB_F64:
        put_number(writer, MB_CODE_F64, float_bits(value), 8);
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
        put_bytes(writer, MB_CODE_BINARY8, value->as.bytes);
        return;
    case MB_STRING:
        put_bytes(writer, MB_CODE_STRING8, value->as.bytes);
        return;
    case MB_SYMBOL:
        put_bytes(writer, MB_CODE_SYMBOL8, value->as.bytes);
        return;
    case MB_LIST:
        if (value->as.items.count == 0 && depth < MB_TYPES_DEPTH_MAX)
            put_plain(writer, MB_CODE_LIST0, 1);
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

/* An array's elements below as many descriptors. */
struct elements {
    const struct mb_value *values;
    uint32_t count;
    unsigned descriptors_count;
    uint8_t type;
    bool wide; /* numbers and sizes take their full width */
};

static const struct mb_value *element_at(const struct elements *elements, uint32_t index)
{
    const struct mb_value *value = &elements->values[index];

    for (unsigned i = 0; i < elements->descriptors_count; i++)
        value = &value->as.items.values[1];
    return value;
}

static bool fits_narrow(const struct mb_value *value)
{
    switch ((enum mb_type)value->type) {
    case MB_U32:
    case MB_U64:
        return value->as.u <= UINT8_MAX;
    case MB_I32:
    case MB_I64:
    case MB_TIMESTAMP_S:
        return is_small(value->as.i);
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
        return value->as.bytes.size <= UINT8_MAX;
    case MB_NULL:
    case MB_BOOL:
    case MB_I8:
    case MB_I16:
    case MB_U8:
    case MB_U16:
    case MB_F32:
    case MB_F64:
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_DECIMAL_SCALED:
    case MB_CHAR:
    case MB_TIMESTAMP_MS:
    case MB_UUID:
    case MB_LIST:
    case MB_MAP:
    case MB_ARRAY:
    case MB_DESCRIBED:
        return true;
    }
    return true;
}

/* Writes the descriptors and finds what is below them. false: the elements are not of one kind. */
static bool put_descriptors(struct writer *writer, const struct mb_value *array, unsigned depth,
                            struct elements *elements)
{
    *elements = (struct elements){.values = array->as.items.values,
                                  .count = array->as.items.count,
                                  .type = array->as.items.element};
    for (;; depth++) {
        const struct mb_value *first = NULL;

        if (elements->type == MB_DESCRIBED && depth >= MB_TYPES_DEPTH_MAX)
            return false;

        for (uint32_t i = 0; i < elements->count; i++) {
            const struct mb_value *value = element_at(elements, i);

            if (value->type != elements->type)
                return false;
            elements->wide = elements->wide || !fits_narrow(value);
            if (elements->type != MB_DESCRIBED)
                continue;
            if (value->as.items.count != 2)
                return false;
            if (first == NULL)
                first = value;
            else if (!mb_value_equal(&value->as.items.values[0], &first->as.items.values[0]))
                return false;
        }
        if (elements->type != MB_DESCRIBED)
            return true;
        put_plain(writer, MB_CODE_DESCRIBED, 1);
        if (first == NULL) { /* nobody knows which, and nobody asks */
            put_plain(writer, MB_CODE_NULL, 1);
            elements->type = MB_NULL;
            return true;
        }
        write_value(writer, &first->as.items.values[0], depth + 1);
        if (writer->out->failed)
            return false;
        elements->type = first->as.items.values[1].type;
        elements->descriptors_count++;
    }
}

static uint8_t code_of(uint8_t type, bool wide)
{
    switch ((enum mb_type)type) {
    case MB_NULL:
        return MB_CODE_NULL;
    case MB_BOOL:
        return MB_CODE_BOOL;
    case MB_I8:
        return MB_CODE_I8;
    case MB_I16:
        return MB_CODE_I16;
    case MB_I32:
        return wide ? MB_CODE_I32 : MB_CODE_I32_SMALL;
    case MB_I64:
    case MB_TIMESTAMP_S:
        return wide ? MB_CODE_I64 : MB_CODE_I64_SMALL;
    case MB_U8:
        return MB_CODE_U8;
    case MB_U16:
        return MB_CODE_U16;
    case MB_U32:
        return wide ? MB_CODE_U32 : MB_CODE_U32_SMALL;
    case MB_U64:
        return wide ? MB_CODE_U64 : MB_CODE_U64_SMALL;
    case MB_F32:
        return MB_CODE_F32;
    case MB_F64:
        return MB_CODE_F64;
    case MB_DECIMAL32:
        return MB_CODE_DECIMAL32;
    case MB_DECIMAL64:
        return MB_CODE_DECIMAL64;
    case MB_DECIMAL128:
        return MB_CODE_DECIMAL128;
    case MB_CHAR:
        return MB_CODE_CHAR;
    case MB_TIMESTAMP_MS:
        return MB_CODE_TIMESTAMP;
    case MB_UUID:
        return MB_CODE_UUID;
    case MB_BINARY:
        return wide ? MB_CODE_BINARY32 : MB_CODE_BINARY8;
    case MB_STRING:
        return wide ? MB_CODE_STRING32 : MB_CODE_STRING8;
    case MB_SYMBOL:
        return wide ? MB_CODE_SYMBOL32 : MB_CODE_SYMBOL8;
    case MB_LIST:
    case MB_DECIMAL_SCALED:
        return MB_CODE_LIST32;
    case MB_MAP:
        return MB_CODE_MAP32;
    case MB_ARRAY:
        return MB_CODE_ARRAY32;
    case MB_DESCRIBED:
        break;
    }
    return MB_CODE_NULL;
}

static void put_wide_compound(struct writer *writer, const struct mb_value *value, unsigned depth)
{
    size_t start = writer->out->size + 8;

    if (depth >= MB_TYPES_DEPTH_MAX)
        writer->out->failed = true;
    put_plain(writer, 0, 8);
    if (writer->out->failed)
        return;
    put_content(writer, value, depth + 1);
    if (!writer->out->failed && !set_compound(writer, start, 4, value->as.items.count))
        writer->out->failed = true;
}

static void put_element(struct writer *writer, const struct mb_value *value, uint8_t code,
                        unsigned depth)
{
    struct mb_value parts[2];
    struct mb_value numbers[2];
    static const uint8_t widths[16] = {
        [0x5] = 1, [0x6] = 2, [0x7] = 4, [0x8] = 8, [0x9] = 16, [0xA] = 1, [0xB] = 4};
    size_t width = widths[code >> 4];

    switch ((enum mb_type)value->type) {
    case MB_NULL:
        return;
    case MB_BOOL:
        put_plain(writer, value->as.b ? 1 : 0, 1);
        return;
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
    case MB_TIMESTAMP_S:
    case MB_TIMESTAMP_MS:
        put_plain(writer, (uint64_t)value->as.i, width);
        return;
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
    case MB_CHAR:
        put_plain(writer, value->as.u, width);
        return;
    case MB_F32:
    case MB_F64:
        put_plain(writer, float_bits(value), width);
        return;
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_UUID:
        if (value->as.bytes.size != width)
            writer->out->failed = true;
        else
            mb_text_add(writer->out, value->as.bytes.data, width);
        return;
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
        put_sized(writer, value->as.bytes, width);
        return;
    case MB_DECIMAL_SCALED:
        make_parts(value, parts, numbers);
        put_wide_compound(writer, &parts[1], depth + 1);
        return;
    case MB_LIST:
    case MB_MAP:
    case MB_ARRAY:
        put_wide_compound(writer, value, depth);
        return;
    case MB_DESCRIBED:
        break;
    }
    writer->out->failed = true;
}

static uint32_t load_u32(const char *at)
{
    const unsigned char *bytes = (const unsigned char *)at;

    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Elements with size and count of 4 bytes each, from start to the end: takes 3 bytes from each size
 * and count if that is enough for all. */
static void narrow_elements(struct writer *writer, size_t start, uint32_t count)
{
    struct mb_text *out = writer->out;
    char *from = out->data + start;
    char *to = from;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = load_u32(from);

        if (size - 4 + 1 > UINT8_MAX || load_u32(from + 4) > UINT8_MAX)
            return;
        from += 4 + size;
    }
    from = to;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = load_u32(from) - 4;
        char items_count = from[7];

        to[0] = (char)(size + 1);
        to[1] = items_count;
        memmove(to + 2, from + 8, size);
        to += 2 + size;
        from += 8 + size;
    }
    out->size = (size_t)(to - out->data);
    out->data[start - 1] = (char)(out->data[start - 1] - 0x10);
}

/* The constructor and the elements of an array. depth: of the elements. */
static void write_array(struct writer *writer, const struct mb_value *array, unsigned depth)
{
    struct mb_text *out = writer->out;
    struct elements elements;
    unsigned descriptors_count;
    uint8_t code;
    size_t start;

    if (!put_descriptors(writer, array, depth, &elements)) {
        out->failed = true;
        return;
    }
    depth += elements.descriptors_count;
    descriptors_count = elements.descriptors_count;
    if (elements.type == MB_TIMESTAMP_S || elements.type == MB_DECIMAL_SCALED) {
        bool seconds = elements.type == MB_TIMESTAMP_S;

        put_plain(writer, MB_CODE_DESCRIBED, 1);
        put_bytes(writer, MB_CODE_SYMBOL8,
                  seconds ? MB_SLICE_LITERAL(MB_DESCRIPTOR_SECONDS)
                          : MB_SLICE_LITERAL(MB_DESCRIPTOR_SCALED));
        descriptors_count++;
        if (depth >= MB_TYPES_DEPTH_MAX)
            out->failed = true;
    }
    code = code_of(elements.type, elements.wide);
    put_plain(writer, code, 1);
    start = out->size;
    for (uint32_t i = 0; i < elements.count && !out->failed; i++)
        put_element(writer, element_at(&elements, i), code, depth);
    if (out->failed)
        return;
    if (code == MB_CODE_LIST32 || code == MB_CODE_MAP32 || code == MB_CODE_ARRAY32)
        narrow_elements(writer, start, elements.count);
    if (!mb_types_charge(&writer->bare_count, elements.count, descriptors_count, out->size - start))
        out->failed = true;
}

void mb_types_write(struct mb_text *out, const struct mb_value *value)
{
    struct writer writer = {out, 0};
    size_t start = out->size;

    write_value(&writer, value, 0);
    if (out->failed)
        out->size = start;
}
