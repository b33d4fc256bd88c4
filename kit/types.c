/* SPDX-License-Identifier: Apache-2.0 */
/* Reading. Format codes: OASIS AMQP 1.0, Part 1, section 1.6; their upper four bits say how the
 * bytes behind them are measured (section 1.2). */
#include "kit/types_parts.h"
#include "kit/utf8.h"

/* enum mb_type by format code; MB_NULL where there is no such code (and for null itself). */
const uint8_t mb_types_of_code[256] = {
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

/* Steps over a number of width bytes; false: there are not so many. */
static bool take(struct mb_types_scan *scan, size_t width, uint64_t *ret_number)
{
    if (mb_types_left(scan) < width)
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

static enum mb_status read_items(struct mb_types_scan *scan, uint32_t count, unsigned depth,
                                 struct mb_value *ret_value)
{
    struct mb_value *items = NULL;
    struct mb_value ignored;

    /* Each item has a byte at least. */
    if (count > mb_types_left(scan) || (ret_value->type == MB_MAP && count % 2 != 0))
        return MB_REJECTED;
    if (scan->arena != NULL) {
        items = mb_types_new_items(scan, count);
        if (items == NULL)
            return MB_NO_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        enum mb_status status =
            mb_types_scan_value(scan, depth, items != NULL ? &items[i] : &ignored);

        if (status != MB_OK)
            return status;
    }
    ret_value->as.items.values = items;
    ret_value->as.items.count = count;
    ret_value->as.items.element = MB_NULL;
    return MB_OK;
}

/* A list, map or array whose size and count have width bytes each. */
static enum mb_status read_compound(struct mb_types_scan *scan, size_t width, unsigned depth,
                                    struct mb_value *ret_value)
{
    const unsigned char *end = scan->end;
    enum mb_status status;
    uint64_t size;
    uint64_t count;

    if (depth >= MB_TYPES_DEPTH_MAX || !take(scan, width, &size) || size > mb_types_left(scan) ||
        size < width)
        return MB_REJECTED;
    scan->end = scan->at + size;
    take(scan, width, &count);
    if (ret_value->type == MB_ARRAY)
        status = mb_types_scan_array(scan, (uint32_t)count, depth + 1, ret_value);
    else
        status = read_items(scan, (uint32_t)count, depth + 1, ret_value);
    if (status == MB_OK && scan->at != scan->end)
        status = MB_REJECTED;
    scan->end = end;
    return status;
}

static enum mb_status read_bytes(struct mb_types_scan *scan, size_t width, struct mb_value *value)
{
    uint64_t size;

    if (!take(scan, width, &size) || size > mb_types_left(scan))
        return MB_REJECTED;
    value->as.bytes = (struct mb_slice){scan->at, (size_t)size};
    scan->at += size;
    if (value->type == MB_STRING && scan->arena != NULL && !mb_utf8_valid(value->as.bytes))
        value->type = MB_BINARY;
    return MB_OK;
}

enum mb_status mb_types_scan_coded(struct mb_types_scan *scan, uint8_t code, unsigned depth,
                                   struct mb_value *ret_value)
{
    unsigned class = code >> 4;
    size_t width = width_of_class[class];

    ret_value->type = mb_types_of_code[code];
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
    if (mb_types_left(scan) < width)
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

enum mb_status mb_types_scan_value(struct mb_types_scan *scan, unsigned depth,
                                   struct mb_value *ret_value)
{
    uint8_t code;

    if (scan->at == scan->end)
        return MB_REJECTED;
    code = *scan->at++;
    if (code == MB_CODE_DESCRIBED)
        return mb_types_scan_described(scan, depth, ret_value);
    return mb_types_scan_coded(scan, code, depth, ret_value);
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
    value.type = mb_types_of_code[at[0]];
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
    struct mb_types_scan scan;
    enum mb_status status;

    if (reader->at >= reader->size)
        return MB_REJECTED;
    if (read_short_bytes(reader, arena != NULL, ret_value))
        return MB_OK;
    scan.at = reader->data + reader->at;
    scan.end = reader->data + reader->size;
    scan.arena = arena;
    scan.bare_count = reader->bare_count;
    status = mb_types_scan_value(&scan, 0, ret_value);
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
    struct mb_types_scan scan = {NULL, NULL, NULL, 0};
    uint64_t size = 0;
    uint64_t count = 0;
    uint8_t code;
    size_t width;

    if (reader->at >= reader->size)
        return MB_REJECTED;
    scan.at = reader->data + reader->at;
    scan.end = reader->data + reader->size;
    code = *scan.at++;
    *ret_type = mb_types_of_code[code];
    if (*ret_type != MB_LIST && *ret_type != MB_MAP)
        return MB_REJECTED;
    if (code != MB_CODE_LIST0) {
        width = code >> 4 == 0xC ? 1 : 4;
        if (!take(&scan, width, &size) || size > mb_types_left(&scan) || size < width)
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
