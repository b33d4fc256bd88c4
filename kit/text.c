/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/text.h"

#include "kit/utf8.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define JSON_DEPTH_MAX  64u
#define NUMBER_SIZE     40u
#define TEXT_SIZE_FIRST 64u

static const char hex_digits[] = "0123456789abcdef";

void mb_text_clear(struct mb_text *text)
{
    text->size = 0;
    text->failed = false;
    text->memory_out = false;
}

void mb_text_release(struct mb_text *text)
{
    size_t max_size = text->max_size;

    free(text->data);
    memset(text, 0, sizeof *text);
    text->max_size = max_size;
}

bool mb_text_reserve(struct mb_text *text, size_t size)
{
    size_t need;
    size_t capacity;
    char *data;

    if (text->failed)
        return false;
    if (text->size > text->max_size || size > text->max_size - text->size) {
        text->failed = true;
        return false;
    }
    need = text->size + size;
    if (need <= text->capacity)
        return true;
    capacity = text->capacity < TEXT_SIZE_FIRST ? TEXT_SIZE_FIRST : text->capacity;
    while (capacity < need)
        capacity = capacity > text->max_size / 2 ? text->max_size : capacity * 2;
    data = realloc(text->data, capacity);
    if (data == NULL) {
        text->failed = true;
        text->memory_out = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

static void add_text(struct mb_text *text, const char *string)
{
    mb_text_add(text, string, strlen(string));
}

void mb_text_add_u64(struct mb_text *text, uint64_t number)
{
    char digits[20];
    char *at = digits + sizeof digits;

    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    mb_text_add(text, at, (size_t)(digits + sizeof digits - at));
}

void mb_text_add_i64(struct mb_text *text, int64_t number)
{
    if (number < 0)
        mb_text_add(text, "-", 1);
    mb_text_add_u64(text, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

void mb_text_addf(struct mb_text *text, const char *format, ...)
{
    char small[256];
    char *large = NULL;
    va_list args;
    int size;

    va_start(args, format);
    size = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (size >= 0 && (size_t)size < sizeof small) {
        mb_text_add(text, small, (size_t)size);
        return;
    }
    if (size < 0 || text->failed || (size_t)size > text->max_size) {
        text->failed = true;
        return;
    }
    large = malloc((size_t)size + 1);
    if (large == NULL) {
        text->failed = true;
        text->memory_out = true;
        return;
    }
    va_start(args, format);
    vsnprintf(large, (size_t)size + 1, format, args);
    va_end(args);
    mb_text_add(text, large, (size_t)size);
    free(large);
}

/* printf writes the decimal point of the locale, which may be any bytes; ours is a dot. */
static void undo_locale(char *number)
{
    char *to = number;
    bool dotted = false;

    for (const char *at = number; *at != '\0'; at++) {
        if ((*at >= '0' && *at <= '9') || *at == '-' || *at == '+' || *at == 'e') {
            *to++ = *at;
        } else if (!dotted) {
            *to++ = '.';
            dotted = true;
        }
    }
    *to = '\0';
}

static const char *not_finite(double value)
{
    if (isnan(value))
        return "NaN";
    return value < 0 ? "-Infinity" : "Infinity";
}

/* Any number of that type survives a round trip by the digits tried last; the first try is enough
 * for all that had been written with as few. Subnormal numbers have fewer digits to begin with. */
static void add_f64(struct mb_text *text, double value)
{
    char number[NUMBER_SIZE];
    int digits = fabs(value) < DBL_MIN ? 1 : DBL_DIG;

    if (!isfinite(value)) {
        add_text(text, not_finite(value));
        return;
    }
    for (; digits <= DBL_DECIMAL_DIG; digits++) {
        double again;

        snprintf(number, sizeof number, "%.*g", digits, value);
        again = strtod(number, NULL);
        if (memcmp(&again, &value, sizeof value) == 0)
            break;
    }
    undo_locale(number);
    add_text(text, number);
}

static void add_f32(struct mb_text *text, float value)
{
    char number[NUMBER_SIZE];
    int digits = fabsf(value) < FLT_MIN ? 1 : FLT_DIG;

    if (!isfinite(value)) {
        add_text(text, not_finite((double)value));
        return;
    }
    for (; digits <= FLT_DECIMAL_DIG; digits++) {
        float again;

        snprintf(number, sizeof number, "%.*g", digits, (double)value);
        again = strtof(number, NULL);
        if (memcmp(&again, &value, sizeof value) == 0)
            break;
    }
    undo_locale(number);
    add_text(text, number);
}

static void add_hex(struct mb_text *text, struct mb_slice bytes)
{
    const unsigned char *at = bytes.data;

    add_text(text, "0x");
    for (size_t i = 0; i < bytes.size; i++) {
        char pair[2] = {hex_digits[at[i] >> 4], hex_digits[at[i] & 15]};

        mb_text_add(text, pair, sizeof pair);
    }
}

static void add_uuid(struct mb_text *text, struct mb_slice bytes)
{
    const unsigned char *at = bytes.data;
    char uuid[36];
    size_t size = 0;

    if (bytes.size != 16) {
        add_hex(text, bytes);
        return;
    }
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            uuid[size++] = '-';
        uuid[size++] = hex_digits[at[i] >> 4];
        uuid[size++] = hex_digits[at[i] & 15];
    }
    mb_text_add(text, uuid, size);
}

static void add_char(struct mb_text *text, uint64_t code)
{
    unsigned char bytes[4];
    size_t size;

    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
        mb_text_addf(text, "U+%04" PRIX64, code); /* no character: UTF-8 cannot say it */
        return;
    }
    if (code < 0x80) {
        bytes[0] = (unsigned char)code;
        size = 1;
    } else if (code < 0x800) {
        bytes[0] = (unsigned char)(0xC0 | code >> 6);
        size = 2;
    } else if (code < 0x10000) {
        bytes[0] = (unsigned char)(0xE0 | code >> 12);
        size = 3;
    } else {
        bytes[0] = (unsigned char)(0xF0 | code >> 18);
        size = 4;
    }
    for (size_t i = 1; i < size; i++)
        bytes[i] = (unsigned char)(0x80 | (code >> 6 * (size - 1 - i) & 0x3F));
    mb_text_add(text, bytes, size);
}

static void add_scaled(struct mb_text *text, uint8_t scale, uint32_t value)
{
    char digits[NUMBER_SIZE];
    char number[UINT8_MAX + NUMBER_SIZE];
    size_t count = (size_t)snprintf(digits, sizeof digits, "%" PRIu32, value);
    size_t zeros = scale >= count ? scale - count + 1u : 0;
    size_t size = zeros + count;

    memset(number, '0', zeros);
    memcpy(number + zeros, digits, count);
    if (scale > 0) {
        memmove(number + size - scale + 1, number + size - scale, scale);
        number[size - scale] = '.';
        size++;
    }
    mb_text_add(text, number, size);
}

/* Text, as a product could leave the range of the type. */
static void add_seconds_as_ms(struct mb_text *text, int64_t seconds)
{
    if (seconds == 0)
        add_text(text, "0");
    else
        mb_text_addf(text, "%" PRId64 "000", seconds);
}

void mb_text_value(struct mb_text *text, const struct mb_value *value, bool *ret_exact)
{
    if (ret_exact != NULL)
        *ret_exact = value->type == MB_STRING && mb_utf8_valid_without_nul(value->as.bytes);
    switch ((enum mb_type)value->type) {
    case MB_NULL:
        return;
    case MB_BOOL:
        add_text(text, value->as.b ? "true" : "false");
        return;
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
    case MB_TIMESTAMP_MS:
        mb_text_add_i64(text, value->as.i);
        return;
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
        mb_text_add_u64(text, value->as.u);
        return;
    case MB_F32:
        add_f32(text, value->as.f32);
        return;
    case MB_F64:
        add_f64(text, value->as.f64);
        return;
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
        add_hex(text, value->as.bytes);
        return;
    case MB_DECIMAL_SCALED:
        add_scaled(text, value->as.scaled.scale, value->as.scaled.value);
        return;
    case MB_CHAR:
        add_char(text, value->as.u);
        return;
    case MB_TIMESTAMP_S:
        add_seconds_as_ms(text, value->as.i);
        return;
    case MB_UUID:
        add_uuid(text, value->as.bytes);
        return;
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
        mb_text_add(text, value->as.bytes.data, value->as.bytes.size);
        return;
    case MB_LIST:
    case MB_MAP:
    case MB_ARRAY:
    case MB_DESCRIBED:
        mb_text_json(text, value);
        return;
    }
    text->failed = true;
}

void mb_text_position(struct mb_text *text, struct mb_position position)
{
    switch ((enum mb_position_kind)position.kind) {
    case MB_POSITION_OFFSET:
        add_text(text, "offset:");
        mb_text_add_u64(text, position.lo);
        return;
    case MB_POSITION_ID:
        add_text(text, "id:");
        mb_text_add_u64(text, position.hi);
        mb_text_add(text, "-", 1);
        mb_text_add_u64(text, position.lo);
        return;
    case MB_POSITION_TIME:
        mb_text_addf(text, "time:%" PRIu64, position.lo);
        return;
    case MB_POSITION_STORED:
        add_text(text, "stored");
        return;
    case MB_POSITION_BEGIN:
        add_text(text, "begin");
        return;
    case MB_POSITION_END:
        add_text(text, "end");
        return;
    case MB_POSITION_NONE:
        break;
    }
    add_text(text, "none");
}

/* Digits up to end, which is where the number has to stop. */
static bool parse_u64(const char *text, char stop, const char **ret_behind, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');

        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    if (at == text || *at != stop)
        return false;
    *ret_behind = at + 1;
    *ret_number = number;
    return true;
}

enum mb_status mb_position_parse(const char *text, struct mb_position *ret_position)
{
    struct mb_position position = {0};
    const char *behind;

    if (strcmp(text, "none") == 0) {
        position.kind = MB_POSITION_NONE;
    } else if (strcmp(text, "begin") == 0) {
        position.kind = MB_POSITION_BEGIN;
    } else if (strcmp(text, "end") == 0) {
        position.kind = MB_POSITION_END;
    } else if (strcmp(text, "stored") == 0) {
        position.kind = MB_POSITION_STORED;
    } else if (strncmp(text, "offset:", 7) == 0) {
        position.kind = MB_POSITION_OFFSET;
        if (!parse_u64(text + 7, '\0', &behind, &position.lo))
            return MB_INVALID;
    } else if (strncmp(text, "time:", 5) == 0) {
        position.kind = MB_POSITION_TIME;
        if (!parse_u64(text + 5, '\0', &behind, &position.lo))
            return MB_INVALID;
    } else if (strncmp(text, "id:", 3) == 0) {
        position.kind = MB_POSITION_ID;
        if (!parse_u64(text + 3, '-', &behind, &position.hi) ||
            !parse_u64(behind, '\0', &behind, &position.lo))
            return MB_INVALID;
    } else {
        return MB_INVALID;
    }
    *ret_position = position;
    return MB_OK;
}

struct mb_slice mb_slice_copy(struct mb_arena *arena, struct mb_slice slice)
{
    void *copy;

    if (slice.data == NULL)
        return MB_SLICE_NULL;
    copy = mb_arena_alloc(arena, slice.size);
    if (copy != NULL && slice.size > 0)
        memcpy(copy, slice.data, slice.size);
    return (struct mb_slice){copy, slice.size};
}
