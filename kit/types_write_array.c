/* SPDX-License-Identifier: Apache-2.0 */
/* Writing arrays: one constructor for all elements. */
#include "kit/types_parts.h"

/* An array's elements below as many descriptors. */
struct elements {
    const struct mb_value *values;
    uint32_t count;
    unsigned descriptors_count;
    uint8_t type;
    bool wide; /* sizes take their full width */
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
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
        return value->as.bytes.size <= UINT8_MAX;
    case MB_NULL:
    case MB_BOOL:
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
    case MB_F32:
    case MB_F64:
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_DECIMAL_SCALED:
    case MB_TIMESTAMP_S:
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
static bool put_descriptors(struct mb_types_writer *writer, const struct mb_value *array,
                            unsigned depth, struct elements *elements)
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
        mb_types_put_plain(writer, MB_CODE_DESCRIBED, 1);
        if (first == NULL) { /* nobody knows which, and nobody asks */
            mb_types_put_plain(writer, MB_CODE_NULL, 1);
            elements->type = MB_NULL;
            return true;
        }
        mb_types_put_value(writer, &first->as.items.values[0], depth + 1);
        if (writer->out->failed)
            return false;
        elements->type = first->as.items.values[1].type;
        elements->descriptors_count++;
    }
}

/* Numbers take their full width: RabbitMQ 4.0 knows the short codes (0x54 and its like) outside of
 * arrays only, and ends the connection over them. */
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
        return MB_CODE_I32;
    case MB_I64:
    case MB_TIMESTAMP_S:
        return MB_CODE_I64;
    case MB_U8:
        return MB_CODE_U8;
    case MB_U16:
        return MB_CODE_U16;
    case MB_U32:
        return MB_CODE_U32;
    case MB_U64:
        return MB_CODE_U64;
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

static void put_wide_compound(struct mb_types_writer *writer, const struct mb_value *value,
                              unsigned depth)
{
    size_t start = writer->out->size + 8;

    if (depth >= MB_TYPES_DEPTH_MAX)
        writer->out->failed = true;
    mb_types_put_plain(writer, 0, 8);
    if (writer->out->failed)
        return;
    mb_types_put_content(writer, value, depth + 1);
    if (!writer->out->failed && !mb_types_set_compound(writer, start, 4, value->as.items.count))
        writer->out->failed = true;
}

static void put_element(struct mb_types_writer *writer, const struct mb_value *value, uint8_t code,
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
        mb_types_put_plain(writer, value->as.b ? 1 : 0, 1);
        return;
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
    case MB_TIMESTAMP_S:
    case MB_TIMESTAMP_MS:
        mb_types_put_plain(writer, (uint64_t)value->as.i, width);
        return;
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
    case MB_CHAR:
        mb_types_put_plain(writer, value->as.u, width);
        return;
    case MB_F32:
    case MB_F64:
        mb_types_put_plain(writer, mb_types_float_bits(value), width);
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
        mb_types_put_sized(writer, value->as.bytes, width);
        return;
    case MB_DECIMAL_SCALED:
        mb_types_make_parts(value, parts, numbers);
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
static void narrow_elements(struct mb_types_writer *writer, size_t start, uint32_t count)
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
void mb_types_put_array(struct mb_types_writer *writer, const struct mb_value *array,
                        unsigned depth)
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

        mb_types_put_plain(writer, MB_CODE_DESCRIBED, 1);
        mb_types_put_bytes(writer, MB_CODE_SYMBOL8,
                           seconds ? MB_SLICE_LITERAL(MB_DESCRIPTOR_SECONDS)
                                   : MB_SLICE_LITERAL(MB_DESCRIPTOR_SCALED));
        descriptors_count++;
        if (depth >= MB_TYPES_DEPTH_MAX)
            out->failed = true;
    }
    code = code_of(elements.type, elements.wide);
    mb_types_put_plain(writer, code, 1);
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
