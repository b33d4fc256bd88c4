/* SPDX-License-Identifier: Apache-2.0 */
/* Reading. Format codes: OASIS AMQP 1.0, Part 1, section 1.6; their upper four bits say how the
 * bytes behind them are measured (section 1.2). */
#include "kit/types.h"

#include "kit/types_codes.h"
#include "kit/utf8.h"

/* What an array may hold for each of its bytes without being charged to MB_TYPES_BARE_MAX: an
 * element of one byte under one descriptor is three items. */
#define ITEMS_A_BYTE 4u

struct scan {
    const unsigned char *at;
    const unsigned char *end;
    struct mb_arena *arena; /* NULL: nothing is built */
    uint32_t bare_count;
};

/* enum mb_type by format code; MB_NULL where there is no such code (and for null itself). */
static const uint8_t type_of_code[256] = {
    [MB_CODE_BOOL] = MB_BOOL,
    [MB_CODE_TRUE] = MB_BOOL,
    [MB_CODE_FALSE] = MB_BOOL,
    [MB_CODE_U8] = MB_U8,
    [MB_CODE_U16] = MB_U16,
    [MB_CODE_U32] = MB_U32,
    [MB_CODE_U32_SMALL] = MB_U32,
    [MB_CODE_U32_ZERO] = MB_U32,
    [MB_CODE_U64] = MB_U64,
    [MB_CODE_U64_SMALL] = MB_U64,
    [MB_CODE_U64_ZERO] = MB_U64,
    [MB_CODE_I8] = MB_I8,
    [MB_CODE_I16] = MB_I16,
    [MB_CODE_I32] = MB_I32,
    [MB_CODE_I32_SMALL] = MB_I32,
    [MB_CODE_I64] = MB_I64,
    [MB_CODE_I64_SMALL] = MB_I64,
    [MB_CODE_F32] = MB_F32,
    [MB_CODE_F64] = MB_F64,
    [MB_CODE_DECIMAL32] = MB_DECIMAL32,
    [MB_CODE_DECIMAL64] = MB_DECIMAL64,
    [MB_CODE_DECIMAL128] = MB_DECIMAL128,
    [MB_CODE_CHAR] = MB_CHAR,
    [MB_CODE_TIMESTAMP] = MB_TIMESTAMP_MS,
    [MB_CODE_UUID] = MB_UUID,
    [MB_CODE_BINARY8] = MB_BINARY,
    [MB_CODE_BINARY32] = MB_BINARY,
    [MB_CODE_STRING8] = MB_STRING,
    [MB_CODE_STRING32] = MB_STRING,
    [MB_CODE_SYMBOL8] = MB_SYMBOL,
    [MB_CODE_SYMBOL32] = MB_SYMBOL,
    [MB_CODE_LIST0] = MB_LIST,
    [MB_CODE_LIST8] = MB_LIST,
    [MB_CODE_LIST32] = MB_LIST,
    [MB_CODE_MAP8] = MB_MAP,
    [MB_CODE_MAP32] = MB_MAP,
    [MB_CODE_ARRAY8] = MB_ARRAY,
    [MB_CODE_ARRAY32] = MB_ARRAY,
};

/* By the upper four bits. */
static const uint8_t width_of_class[16] = {
    [0x5] = 1, [0x6] = 2, [0x7] = 4, [0x8] = 8, [0x9] = 16,
};

static enum mb_status read_value(struct scan *scan, unsigned depth, struct mb_value *ret_value);
static enum mb_status read_array(struct scan *scan, uint32_t count, unsigned depth,
                                 struct mb_value *ret_value);

static uint32_t load_u32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* width: as numbers have them. */
static uint64_t load(const unsigned char *at, size_t width)
{
    switch (width) {
    case 0:
        return 0;
    case 1:
        return at[0];
    case 2:
        return (uint64_t)at[0] << 8 | at[1];
    case 4:
        return load_u32(at);
    default:
        return (uint64_t)load_u32(at) << 32 | load_u32(at + 4);
    }
}

static int64_t load_signed(const unsigned char *at, size_t width)
{
    uint64_t number = load(at, width);
    uint64_t sign = UINT64_C(1) << (8 * width - 1);

    return (int64_t)((number ^ sign) - sign);
}

static size_t left(const struct scan *scan)
{
    return (size_t)(scan->end - scan->at);
}

static struct mb_value *new_items(struct scan *scan, uint32_t count)
{
    return mb_arena_alloc(scan->arena, count * sizeof(struct mb_value));
}

/* Steps over a number of width bytes; false: there are not so many. */
static bool take(struct scan *scan, size_t width, uint64_t *ret_number)
{
    if (left(scan) < width)
        return false;
    *ret_number = load(scan->at, width);
    scan->at += width;
    return true;
}

static void read_fixed(uint8_t code, const unsigned char *at, size_t width, struct mb_value *value)
{
    uint32_t bits32;
    uint64_t bits64;

    switch ((enum mb_type)value->type) {
    case MB_BOOL:
        value->as.b = width > 0 ? at[0] != 0 : code == MB_CODE_TRUE;
        return;
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
    case MB_CHAR:
        value->as.u = load(at, width);
        return;
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
    case MB_TIMESTAMP_MS:
        value->as.i = load_signed(at, width);
        return;
    case MB_F32:
        bits32 = (uint32_t)load(at, width);
        memcpy(&value->as.f32, &bits32, sizeof bits32);
        return;
    case MB_F64:
        bits64 = load(at, width);
        memcpy(&value->as.f64, &bits64, sizeof bits64);
        return;
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_UUID:
        value->as.bytes = (struct mb_slice){at, width};
        return;
    case MB_LIST: /* list0 */
        value->as.items.count = 0;
        return;
    case MB_NULL:
    case MB_DECIMAL_SCALED:
    case MB_TIMESTAMP_S:
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
    case MB_MAP:
    case MB_ARRAY:
    case MB_DESCRIBED:
        return;
    }
}

static enum mb_status read_items(struct scan *scan, uint32_t count, unsigned depth,
                                 struct mb_value *ret_value)
{
    struct mb_value *items = NULL;
    struct mb_value ignored;

    /* Each item has a byte at least. */
    if (count > left(scan) || (ret_value->type == MB_MAP && count % 2 != 0))
        return MB_REJECTED;
    if (scan->arena != NULL) {
        items = new_items(scan, count);
        if (items == NULL)
            return MB_NO_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        enum mb_status status = read_value(scan, depth, items != NULL ? &items[i] : &ignored);

        if (status != MB_OK)
            return status;
    }
    ret_value->as.items.values = items;
    ret_value->as.items.count = count;
    ret_value->as.items.element = MB_NULL;
    return MB_OK;
}

/* A list, map or array whose size and count have width bytes each. */
static enum mb_status read_compound(struct scan *scan, size_t width, unsigned depth,
                                    struct mb_value *ret_value)
{
    const unsigned char *end = scan->end;
    enum mb_status status;
    uint64_t size;
    uint64_t count;

    if (depth >= MB_TYPES_DEPTH_MAX || !take(scan, width, &size) || size > left(scan) ||
        size < width)
        return MB_REJECTED;
    scan->end = scan->at + size;
    take(scan, width, &count);
    if (ret_value->type == MB_ARRAY)
        status = read_array(scan, (uint32_t)count, depth + 1, ret_value);
    else
        status = read_items(scan, (uint32_t)count, depth + 1, ret_value);
    if (status == MB_OK && scan->at != scan->end)
        status = MB_REJECTED;
    scan->end = end;
    return status;
}

static enum mb_status read_bytes(struct scan *scan, size_t width, struct mb_value *value)
{
    uint64_t size;

    if (!take(scan, width, &size) || size > left(scan))
        return MB_REJECTED;
    value->as.bytes = (struct mb_slice){scan->at, (size_t)size};
    scan->at += size;
    if (value->type == MB_STRING && scan->arena != NULL && !mb_utf8_valid(value->as.bytes))
        value->type = MB_BINARY;
    return MB_OK;
}

/* What stands behind a primitive format code. */
static enum mb_status read_coded(struct scan *scan, uint8_t code, unsigned depth,
                                 struct mb_value *ret_value)
{
    unsigned class = code >> 4;
    size_t width = width_of_class[class];

    ret_value->type = type_of_code[code];
    if (ret_value->type == MB_NULL)
        return code == MB_CODE_NULL ? MB_OK : MB_REJECTED;
    switch (class) {
    case 0xA:
        return read_bytes(scan, 1, ret_value);
    case 0xB:
        return read_bytes(scan, 4, ret_value);
    case 0xC:
    case 0xE:
        return read_compound(scan, 1, depth, ret_value);
    case 0xD:
    case 0xF:
        return read_compound(scan, 4, depth, ret_value);
    default:
        break;
    }
    if (left(scan) < width)
        return MB_REJECTED;
    if (ret_value->type == MB_LIST) {
        if (depth >= MB_TYPES_DEPTH_MAX)
            return MB_REJECTED;
        ret_value->as.items.values = NULL;
        ret_value->as.items.element = MB_NULL;
    }
    read_fixed(code, scan->at, width, ret_value);
    scan->at += width;
    return MB_OK;
}

/* The two described values that are types of the envelope. */
static bool is_seconds(const struct mb_value *descriptor, const struct mb_value *value)
{
    return descriptor->type == MB_SYMBOL && value->type == MB_I64 &&
           mb_slice_equal(descriptor->as.bytes, MB_SLICE_LITERAL(MB_DESCRIPTOR_SECONDS));
}

static bool is_scaled(const struct mb_value *descriptor, const struct mb_value *value)
{
    return descriptor->type == MB_SYMBOL && value->type == MB_LIST && value->as.items.count == 2 &&
           value->as.items.values[0].type == MB_U8 && value->as.items.values[1].type == MB_U32 &&
           mb_slice_equal(descriptor->as.bytes, MB_SLICE_LITERAL(MB_DESCRIPTOR_SCALED));
}

static bool is_ours(const struct mb_value *described)
{
    const struct mb_value *parts = described->as.items.values;

    return is_seconds(&parts[0], &parts[1]) || is_scaled(&parts[0], &parts[1]);
}

static void make_ours(struct mb_value *described)
{
    const struct mb_value *value = &described->as.items.values[1];

    if (value->type == MB_I64) {
        described->type = MB_TIMESTAMP_S;
        described->as.i = value->as.i;
    } else {
        const struct mb_value *parts = value->as.items.values;

        described->type = MB_DECIMAL_SCALED;
        described->as.scaled.scale = (uint8_t)parts[0].as.u;
        described->as.scaled.value = (uint32_t)parts[1].as.u;
    }
}

static void set_described(struct mb_value *value, struct mb_value *parts)
{
    value->type = MB_DESCRIBED;
    value->as.items.values = parts;
    value->as.items.count = 2;
    value->as.items.element = MB_NULL;
}

static enum mb_status read_described(struct scan *scan, unsigned depth, struct mb_value *ret_value)
{
    struct mb_value ignored[2];
    struct mb_value *parts = ignored;
    enum mb_status status;

    if (depth >= MB_TYPES_DEPTH_MAX)
        return MB_REJECTED;
    if (scan->arena != NULL) {
        parts = new_items(scan, 2);
        if (parts == NULL)
            return MB_NO_MEMORY;
    }
    status = read_value(scan, depth + 1, &parts[0]);
    if (status == MB_OK)
        status = read_value(scan, depth + 1, &parts[1]);
    if (status != MB_OK || scan->arena == NULL)
        return status;
    set_described(ret_value, parts);
    if (is_ours(ret_value))
        make_ours(ret_value);
    return MB_OK;
}

static enum mb_status read_value(struct scan *scan, unsigned depth, struct mb_value *ret_value)
{
    uint8_t code;

    if (scan->at == scan->end)
        return MB_REJECTED;
    code = *scan->at++;
    if (code == MB_CODE_DESCRIBED)
        return read_described(scan, depth, ret_value);
    return read_coded(scan, code, depth, ret_value);
}

/* What all elements of an array begin with: descriptors, outermost first, and a format code. */
struct constructor {
    struct mb_value *descriptors;
    unsigned descriptors_count;
    uint8_t code;
};

static enum mb_status count_descriptors(struct scan *scan, unsigned depth,
                                        struct constructor *constructor)
{
    struct mb_arena *arena = scan->arena;
    struct mb_value ignored;
    enum mb_status status = MB_OK;

    constructor->descriptors_count = 0;
    scan->arena = NULL;
    while (status == MB_OK && left(scan) > 0 && *scan->at == MB_CODE_DESCRIBED) {
        scan->at++;
        if (depth + constructor->descriptors_count >= MB_TYPES_DEPTH_MAX)
            status = MB_REJECTED;
        else
            status = read_value(scan, depth + ++constructor->descriptors_count, &ignored);
    }
    scan->arena = arena;
    if (status != MB_OK || left(scan) == 0)
        return MB_REJECTED;
    constructor->code = *scan->at++;
    return MB_OK;
}

static enum mb_status read_constructor(struct scan *scan, unsigned depth,
                                       struct constructor *constructor)
{
    const unsigned char *start = scan->at;
    uint32_t bare_count = scan->bare_count;
    enum mb_status status = count_descriptors(scan, depth, constructor);
    const unsigned char *behind = scan->at;

    constructor->descriptors = NULL;
    if (status != MB_OK || scan->arena == NULL || constructor->descriptors_count == 0)
        return status;
    constructor->descriptors = new_items(scan, constructor->descriptors_count);
    if (constructor->descriptors == NULL)
        return MB_NO_MEMORY;
    scan->at = start;
    scan->bare_count = bare_count;
    for (unsigned i = 0; i < constructor->descriptors_count && status == MB_OK; i++) {
        scan->at++;
        status = read_value(scan, depth + i + 1, &constructor->descriptors[i]);
    }
    scan->at = behind;
    return status;
}

static enum mb_status read_element(struct scan *scan, const struct constructor *constructor,
                                   unsigned depth, struct mb_value *ret_value)
{
    if (scan->arena != NULL) {
        for (unsigned i = 0; i < constructor->descriptors_count; i++) {
            struct mb_value *parts = new_items(scan, 2);

            if (parts == NULL)
                return MB_NO_MEMORY;
            parts[0] = constructor->descriptors[i];
            set_described(ret_value, parts);
            ret_value = &parts[1];
        }
    }
    return read_coded(scan, constructor->code, depth + constructor->descriptors_count, ret_value);
}

/* The described value next to an element's own. */
static struct mb_value *innermost_described(struct mb_value *element, unsigned descriptors_count)
{
    for (unsigned i = 1; i < descriptors_count; i++)
        element = (struct mb_value *)&element->as.items.values[1];
    return element;
}

/* Elements stay of one type: all of them are ours, or none. */
static void make_array_ours(const struct constructor *constructor, struct mb_value *array,
                            struct mb_value *elements)
{
    unsigned depth = constructor->descriptors_count;
    const struct mb_value *descriptor = &constructor->descriptors[depth - 1];
    struct mb_value none[2] = {{.type = MB_U8}, {.type = MB_U32}};
    struct mb_value sample = {.type = type_of_code[constructor->code]};

    for (uint32_t i = 0; i < array->as.items.count; i++) {
        if (!is_ours(innermost_described(&elements[i], depth)))
            return;
    }
    for (uint32_t i = 0; i < array->as.items.count; i++)
        make_ours(innermost_described(&elements[i], depth));
    if (depth > 1)
        return;
    if (sample.type == MB_LIST) {
        sample.as.items.values = none;
        sample.as.items.count = 2;
    }
    if (is_seconds(descriptor, &sample))
        array->as.items.element = MB_TIMESTAMP_S;
    else if (is_scaled(descriptor, &sample))
        array->as.items.element = MB_DECIMAL_SCALED;
}

/* After the elements are read: their type, which is one for all. */
static void finish_array(const struct constructor *constructor, struct mb_value *array,
                         struct mb_value *elements)
{
    bool some_binary = false;

    if (constructor->descriptors_count > 0) {
        array->as.items.element = MB_DESCRIBED;
        make_array_ours(constructor, array, elements);
    }
    if (type_of_code[constructor->code] != MB_STRING)
        return;
    for (uint32_t i = 0; i < array->as.items.count; i++) {
        const struct mb_value *element = &elements[i];

        for (unsigned level = 0; level < constructor->descriptors_count; level++)
            element = &element->as.items.values[1];
        some_binary = some_binary || element->type == MB_BINARY;
    }
    for (uint32_t i = 0; i < array->as.items.count && some_binary; i++) {
        struct mb_value *element = &elements[i];

        for (unsigned level = 0; level < constructor->descriptors_count; level++)
            element = (struct mb_value *)&element->as.items.values[1];
        element->type = MB_BINARY;
    }
    if (some_binary && constructor->descriptors_count == 0)
        array->as.items.element = MB_BINARY;
}

bool mb_types_charge(uint32_t *bare_count, uint32_t count, unsigned descriptors_count, size_t size)
{
    uint64_t items = (uint64_t)count * (1 + 2 * (uint64_t)descriptors_count);
    uint64_t free_items = ITEMS_A_BYTE * (uint64_t)size;

    if (items <= free_items)
        return true;
    if (items - free_items > MB_TYPES_BARE_MAX - *bare_count)
        return false;
    *bare_count += (uint32_t)(items - free_items);
    return true;
}

static enum mb_status read_array(struct scan *scan, uint32_t count, unsigned depth,
                                 struct mb_value *ret_value)
{
    struct constructor constructor;
    struct mb_value *elements = NULL;
    struct mb_value ignored;
    enum mb_status status = read_constructor(scan, depth, &constructor);

    if (status != MB_OK)
        return status;
    if (type_of_code[constructor.code] == MB_NULL && constructor.code != MB_CODE_NULL)
        return MB_REJECTED;
    if (!mb_types_charge(&scan->bare_count, count, constructor.descriptors_count, left(scan)))
        return MB_REJECTED;
    if (constructor.code >> 4 != 4 && count > left(scan))
        return MB_REJECTED;
    if (scan->arena != NULL) {
        elements = new_items(scan, count);
        if (elements == NULL)
            return MB_NO_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        status =
            read_element(scan, &constructor, depth, elements != NULL ? &elements[i] : &ignored);
        if (status != MB_OK)
            return status;
    }
    ret_value->as.items.values = elements;
    ret_value->as.items.count = count;
    ret_value->as.items.element = type_of_code[constructor.code];
    if (elements != NULL)
        finish_array(&constructor, ret_value, elements);
    return MB_OK;
}

/* Most values of most messages are short text. false: this one is not, or is malformed. */
static bool read_short_bytes(struct mb_types_reader *reader, bool check_text,
                             struct mb_value *ret_value)
{
    const unsigned char *at = reader->data + reader->at;
    size_t room = reader->size - reader->at;
    struct mb_value value;

    if (room < 2 || at[0] >> 4 != MB_CODE_BINARY8 >> 4 || room - 2 < at[1])
        return false;
    value.type = type_of_code[at[0]];
    value.as.bytes = (struct mb_slice){at + 2, at[1]};
    if (value.type == MB_NULL)
        return false;
    if (value.type == MB_STRING && check_text && !mb_utf8_valid(value.as.bytes))
        value.type = MB_BINARY;
    *ret_value = value;
    reader->at += 2 + value.as.bytes.size;
    return true;
}

enum mb_status mb_types_read(struct mb_types_reader *reader, struct mb_arena *arena,
                             struct mb_value *ret_value)
{
    struct scan scan;
    enum mb_status status;

    if (reader->at >= reader->size)
        return MB_REJECTED;
    if (read_short_bytes(reader, arena != NULL, ret_value))
        return MB_OK;
    scan.at = reader->data + reader->at;
    scan.end = reader->data + reader->size;
    scan.arena = arena;
    scan.bare_count = reader->bare_count;
    status = read_value(&scan, 0, ret_value);
    if (status == MB_OK) {
        reader->at = (size_t)(scan.at - reader->data);
        reader->bare_count = scan.bare_count;
    }
    return status;
}

enum mb_status mb_types_skip(struct mb_types_reader *reader)
{
    struct mb_value ignored;

    return mb_types_read(reader, NULL, &ignored);
}

enum mb_status mb_types_open(struct mb_types_reader *reader, struct mb_types_reader *ret_items,
                             uint8_t *ret_type, uint32_t *ret_count)
{
    struct scan scan = {NULL, NULL, NULL, 0};
    uint64_t size = 0;
    uint64_t count = 0;
    uint8_t code;
    size_t width;

    if (reader->at >= reader->size)
        return MB_REJECTED;
    scan.at = reader->data + reader->at;
    scan.end = reader->data + reader->size;
    code = *scan.at++;
    *ret_type = type_of_code[code];
    if (*ret_type != MB_LIST && *ret_type != MB_MAP)
        return MB_REJECTED;
    if (code != MB_CODE_LIST0) {
        width = code >> 4 == 0xC ? 1 : 4;
        if (!take(&scan, width, &size) || size > left(&scan) || size < width)
            return MB_REJECTED;
        take(&scan, width, &count);
        size -= width;
        if (count > size || (*ret_type == MB_MAP && count % 2 != 0))
            return MB_REJECTED;
    }
    *ret_count = (uint32_t)count;
    *ret_items = (struct mb_types_reader){scan.at, (size_t)size, 0, reader->bare_count};
    reader->at = (size_t)(scan.at - reader->data) + (size_t)size;
    return MB_OK;
}
