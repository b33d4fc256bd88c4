/* SPDX-License-Identifier: Apache-2.0 */
/* Header values of any platform → those that a table has. Pure. */
#include "amqp_map.h"

#include <kit/utf8.h>

struct values {
    struct mb_scratch *scratch;
    struct mb_text *text;
};

static void string_or_binary(struct mb_slice bytes, bool valid, struct mb_value *ret_value)
{
    ret_value->type = valid ? MB_STRING : MB_BINARY;
    ret_value->as.bytes = amqp_not_null(bytes);
}

/* A type that the platform does not have, as its canonical text. */
static enum mb_status text_of(const struct values *values, const struct mb_value *value,
                              struct mb_value *ret_value)
{
    struct mb_slice text;

    mb_text_clear(values->text);
    mb_text_value(values->text, value, NULL);
    text = (struct mb_slice){values->text->data, values->text->size};
    if (text.size > 0)
        text = mb_slice_copy(&values->scratch->arena, text);
    if (values->text->failed || (text.size > 0 && text.data == NULL))
        return MB_NO_MEMORY;
    string_or_binary(text, true, ret_value);
    return MB_OK;
}

static enum mb_status project_value(const struct values *values, const struct mb_value *value,
                                    unsigned depth, struct mb_value *ret_value);

/* *ret_name.type is MB_NULL if the table cannot hold the name. */
static enum mb_status project_name(const struct values *values, const struct mb_value *name,
                                   struct mb_value *ret_name)
{
    enum mb_status status = MB_OK;

    if (name->type == MB_STRING || name->type == MB_SYMBOL || name->type == MB_BINARY)
        string_or_binary(name->as.bytes, mb_utf8_valid(name->as.bytes), ret_name);
    else
        status = text_of(values, name, ret_name);
    if (status == MB_OK && ret_name->as.bytes.size > AMQP_SHORTSTR_MAX)
        ret_name->type = MB_NULL;
    return status;
}

static enum mb_status project_items(const struct values *values, const struct mb_value *value,
                                    unsigned depth, struct mb_value *ret_value)
{
    bool is_map = value->type == MB_MAP;
    uint32_t given = value->as.items.count;
    struct mb_value *items = mb_arena_alloc(&values->scratch->arena, given * sizeof *items);
    enum mb_status status = items != NULL ? MB_OK : MB_NO_MEMORY;
    uint32_t count = 0;

    if (is_map)
        given -= given % 2;
    for (uint32_t i = 0; i < given && status == MB_OK; i++) {
        memset(&items[count], 0, sizeof items[count]);
        if (is_map && i % 2 == 0) {
            status = project_name(values, &value->as.items.values[i], &items[count]);
            if (status == MB_OK && items[count].type == MB_NULL) {
                i++;
                continue;
            }
        } else {
            status = project_value(values, &value->as.items.values[i], depth + 1, &items[count]);
        }
        count++;
    }
    ret_value->type = is_map ? MB_MAP : MB_LIST;
    ret_value->as.items.values = items;
    ret_value->as.items.count = count;
    ret_value->as.items.element = 0;
    return status;
}

/* RabbitMQ's parser takes neither NaN nor infinities. */
static bool is_finite(const struct mb_value *value)
{
    uint32_t bits32;
    uint64_t bits64;

    if (value->type == MB_F32) {
        memcpy(&bits32, &value->as.f32, 4);
        return (bits32 & 0x7f800000u) != 0x7f800000u;
    }
    memcpy(&bits64, &value->as.f64, 8);
    return (bits64 & 0x7ff0000000000000u) != 0x7ff0000000000000u;
}

static enum mb_status project_value(const struct values *values, const struct mb_value *value,
                                    unsigned depth, struct mb_value *ret_value)
{
    const struct mb_slice *bytes = &value->as.bytes;

    switch ((enum mb_type)value->type) {
    case MB_NULL:
    case MB_BOOL:
    case MB_I8:
    case MB_U8:
    case MB_I16:
    case MB_U16:
    case MB_I32:
    case MB_U32:
    case MB_I64:
    case MB_DECIMAL_SCALED:
    case MB_TIMESTAMP_S:
        *ret_value = *value;
        return MB_OK;
    case MB_STRING:
        /* A NUL ends a string for many a client. */
        string_or_binary(*bytes, bytes->size == 0 || memchr(bytes->data, 0, bytes->size) == NULL,
                         ret_value);
        return MB_OK;
    case MB_SYMBOL:
        string_or_binary(*bytes, mb_utf8_valid_without_nul(*bytes), ret_value);
        return MB_OK;
    case MB_BINARY:
        string_or_binary(*bytes, false, ret_value);
        return MB_OK;
    case MB_U64:
        if (value->as.u > INT64_MAX)
            return text_of(values, value, ret_value);
        ret_value->type = MB_I64;
        ret_value->as.i = (int64_t)value->as.u;
        return MB_OK;
    case MB_F32:
    case MB_F64:
        if (!is_finite(value))
            return text_of(values, value, ret_value);
        *ret_value = *value;
        return MB_OK;
    case MB_TIMESTAMP_MS:
        if (value->as.i < 0)
            return text_of(values, value, ret_value);
        ret_value->type = MB_TIMESTAMP_S;
        ret_value->as.i = value->as.i / 1000;
        return MB_OK;
    case MB_LIST:
    case MB_ARRAY:
    case MB_MAP:
        if (depth < AMQP_DEPTH_MAX)
            return project_items(values, value, depth, ret_value);
        return MB_OK;
    case MB_DESCRIBED:
        if (depth < AMQP_DEPTH_MAX)
            return project_value(values, &value->as.items.values[1], depth + 1, ret_value);
        return MB_OK;
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_CHAR:
    case MB_UUID:
        return text_of(values, value, ret_value);
    }
    return MB_OK;
}

enum mb_status amqp_value_project(const struct mb_value *value, struct mb_scratch *scratch,
                                  struct mb_text *text, struct mb_value *ret_value)
{
    struct values values = {scratch, text};

    memset(ret_value, 0, sizeof *ret_value);
    return project_value(&values, value, 0, ret_value);
}
