/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/text.h"
#include "kit/utf8.h"

#include <math.h>

#define JSON_DEPTH_MAX 64u

static void add_text(struct mb_text *text, const char *string)
{
    mb_text_add(text, string, strlen(string));
}

static void add_base64(struct mb_text *text, struct mb_slice bytes)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *at = bytes.data;

    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t three = (uint32_t)at[i] << 16 | (left > 1 ? (uint32_t)at[i + 1] << 8 : 0) |
                         (left > 2 ? (uint32_t)at[i + 2] : 0);
        char four[4] = {alphabet[three >> 18], alphabet[three >> 12 & 63],
                        left > 1 ? alphabet[three >> 6 & 63] : '=',
                        left > 2 ? alphabet[three & 63] : '='};

        mb_text_add(text, four, sizeof four);
    }
}

static void add_escaped(struct mb_text *text, unsigned code)
{
    switch (code) {
    case '"':
        add_text(text, "\\\"");
        return;
    case '\\':
        add_text(text, "\\\\");
        return;
    case '\n':
        add_text(text, "\\n");
        return;
    case '\r':
        add_text(text, "\\r");
        return;
    case '\t':
        add_text(text, "\\t");
        return;
    default:
        mb_text_addf(text, "\\u%04x", code);
        return;
    }
}

/* Size of the well-formed character at at, 0 if there is none. */
static size_t character_size(const unsigned char *at, size_t left)
{
    size_t size = at[0] < 0x80 ? 1 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : 4;

    if (size == 1)
        return 1;
    return size <= left && mb_utf8_valid((struct mb_slice){at, size}) ? size : 0;
}

void mb_text_json_string(struct mb_text *text, struct mb_slice string)
{
    const unsigned char *at = string.data;
    const unsigned char *end = string.size > 0 ? at + string.size : at;
    const unsigned char *run = at;

    add_text(text, "\"");
    while (at < end) {
        size_t size = character_size(at, (size_t)(end - at));
        /* Control characters of the second set (U+0080 … U+009F) steer terminals as well. */
        bool second_set = size == 2 && at[0] == 0xC2 && at[1] < 0xA0;

        if (size > 0 && !second_set && *at >= ' ' && *at != 0x7F && *at != '"' && *at != '\\') {
            at += size;
            continue;
        }
        mb_text_add(text, run, (size_t)(at - run));
        if (size == 0)
            add_text(text, "\xEF\xBF\xBD");
        else
            add_escaped(text, second_set ? at[1] : at[0]);
        at += size > 0 ? size : 1;
        run = at;
    }
    mb_text_add(text, run, (size_t)(at - run));
    add_text(text, "\"");
}

static void json_bytes(struct mb_text *text, struct mb_slice bytes)
{
    if (mb_utf8_valid(bytes)) {
        mb_text_json_string(text, bytes);
        return;
    }
    add_text(text, "\"");
    add_base64(text, bytes);
    add_text(text, "\"");
}

static void json_value(struct mb_text *text, const struct mb_value *value, unsigned depth);

/* The text of a value of a simple type as a JSON string: it needs no escaping. */
static void json_quoted(struct mb_text *text, const struct mb_value *value)
{
    add_text(text, "\"");
    mb_text_value(text, value, NULL);
    add_text(text, "\"");
}

static void json_char(struct mb_text *text, const struct mb_value *value)
{
    char bytes[16];
    struct mb_text small = {
        .data = bytes, .capacity = sizeof bytes, .max_size = sizeof bytes}; /* never grows */

    mb_text_value(&small, value, NULL);
    mb_text_json_string(text, (struct mb_slice){small.data, small.size});
}

static void json_key(struct mb_text *text, const struct mb_value *key, unsigned depth)
{
    struct mb_text json = {.max_size = text->max_size};

    switch ((enum mb_type)key->type) {
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
    case MB_CHAR:
        json_value(text, key, depth);
        return;
    case MB_LIST:
    case MB_MAP:
    case MB_ARRAY:
    case MB_DESCRIBED:
        json_value(&json, key, depth);
        text->failed = text->failed || json.failed;
        text->memory_out = text->memory_out || json.memory_out;
        mb_text_json_string(text, (struct mb_slice){json.data, json.size});
        mb_text_release(&json);
        return;
    case MB_NULL:
        add_text(text, "\"null\"");
        return;
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
    case MB_TIMESTAMP_MS:
    case MB_UUID:
        json_quoted(text, key);
        return;
    }
    text->failed = true;
}

static void json_items(struct mb_text *text, const struct mb_value *value, unsigned depth)
{
    add_text(text, "[");
    for (uint32_t i = 0; i < value->as.items.count && !text->failed; i++) {
        if (i > 0)
            add_text(text, ",");
        json_value(text, &value->as.items.values[i], depth);
    }
    add_text(text, "]");
}

static void json_map(struct mb_text *text, const struct mb_value *value, unsigned depth)
{
    const struct mb_value *items = value->as.items.values;

    if (value->as.items.count % 2 != 0) {
        text->failed = true;
        return;
    }
    add_text(text, "{");
    for (uint32_t i = 0; i < value->as.items.count && !text->failed; i += 2) {
        if (i > 0)
            add_text(text, ",");
        json_key(text, &items[i], depth);
        add_text(text, ":");
        json_value(text, &items[i + 1], depth);
    }
    add_text(text, "}");
}

static void json_described(struct mb_text *text, const struct mb_value *value, unsigned depth)
{
    if (value->as.items.count != 2) {
        text->failed = true;
        return;
    }
    add_text(text, "{\"descriptor\":");
    json_value(text, &value->as.items.values[0], depth);
    add_text(text, ",\"value\":");
    json_value(text, &value->as.items.values[1], depth);
    add_text(text, "}");
}

static void json_float(struct mb_text *text, const struct mb_value *value)
{
    double number = value->type == MB_F32 ? (double)value->as.f32 : value->as.f64;

    if (isfinite(number))
        mb_text_value(text, value, NULL);
    else
        json_quoted(text, value);
}

/* depth: how many containers stand around value. */
static void json_value(struct mb_text *text, const struct mb_value *value, unsigned depth)
{
    enum mb_type type = (enum mb_type)value->type;

    if (type >= MB_LIST && depth == JSON_DEPTH_MAX)
        text->failed = true;
    if (text->failed)
        return;
    switch (type) {
    case MB_NULL:
        add_text(text, "null");
        return;
    case MB_BOOL:
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
    case MB_DECIMAL_SCALED:
    case MB_TIMESTAMP_S:
    case MB_TIMESTAMP_MS:
        mb_text_value(text, value, NULL);
        return;
    case MB_F32:
    case MB_F64:
        json_float(text, value);
        return;
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_UUID:
        json_quoted(text, value);
        return;
    case MB_CHAR:
        json_char(text, value);
        return;
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
        json_bytes(text, value->as.bytes);
        return;
    case MB_LIST:
    case MB_ARRAY:
        json_items(text, value, depth + 1);
        return;
    case MB_MAP:
        json_map(text, value, depth + 1);
        return;
    case MB_DESCRIBED:
        json_described(text, value, depth + 1);
        return;
    }
    text->failed = true;
}

void mb_text_json(struct mb_text *text, const struct mb_value *value)
{
    json_value(text, value, 0);
}
