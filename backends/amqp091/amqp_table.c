/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Field tables by RabbitMQ's meaning of the tags: t b B s u I i l f d D S x T V A F.
 */
#include "amqp_map.h"

#include <kit/utf8.h>

static const unsigned char nothing[1];

/* The size of a value's content behind its tag; false: unknown tag or cut off. */
static bool value_size(char tag, const struct amqp_cursor *cursor, size_t *ret_size)
{
    size_t have = (size_t)(cursor->end - cursor->at);

    switch (tag) {
    case 'V':
        *ret_size = 0;
        break;
    case 't':
    case 'b':
    case 'B':
        *ret_size = 1;
        break;
    case 's':
    case 'u':
        *ret_size = 2;
        break;
    case 'I':
    case 'i':
    case 'f':
        *ret_size = 4;
        break;
    case 'D':
        *ret_size = 5;
        break;
    case 'l':
    case 'L':
    case 'd':
    case 'T':
        *ret_size = 8;
        break;
    case 'S':
    case 'x':
    case 'A':
    case 'F':
        if (have < 4)
            return false;
        *ret_size = 4 + (size_t)amqp_load(cursor->at, 4);
        break;
    default:
        return false;
    }
    return *ret_size <= have;
}

/* Where values go, and what they cannot tell. */
struct decoding {
    struct mb_arena *arena;
    bool odd_text; /* a long string (tag S) is no UTF-8: its value is binary, as that of tag x */
};

static enum mb_status decode_items(struct mb_slice content, bool is_table, unsigned depth,
                                   struct decoding *decoding, struct mb_value *ret_value,
                                   bool *ret_ok);

static void decode_string(struct mb_slice text, struct mb_value *value)
{
    value->as.bytes = text;
    if (text.size == 0)
        value->as.bytes.data = nothing;
    value->type = mb_utf8_valid(text) ? MB_STRING : MB_BINARY;
}

static void decode_number(char tag, const unsigned char *at, struct mb_value *value)
{
    uint32_t bits32;
    uint64_t bits64;

    switch (tag) {
    case 't':
        value->type = MB_BOOL;
        value->as.b = at[0] != 0;
        break;
    case 'b':
        value->type = MB_I8;
        value->as.i = (int8_t)at[0];
        break;
    case 'B':
        value->type = MB_U8;
        value->as.u = at[0];
        break;
    case 's':
        value->type = MB_I16;
        value->as.i = (int16_t)amqp_load(at, 2);
        break;
    case 'u':
        value->type = MB_U16;
        value->as.u = amqp_load(at, 2);
        break;
    case 'I':
        value->type = MB_I32;
        value->as.i = (int32_t)amqp_load(at, 4);
        break;
    case 'i':
        value->type = MB_U32;
        value->as.u = amqp_load(at, 4);
        break;
    case 'f':
        value->type = MB_F32;
        bits32 = (uint32_t)amqp_load(at, 4);
        memcpy(&value->as.f32, &bits32, 4);
        break;
    case 'd':
        value->type = MB_F64;
        bits64 = amqp_load(at, 8);
        memcpy(&value->as.f64, &bits64, 8);
        break;
    case 'D':
        value->type = MB_DECIMAL_SCALED;
        value->as.scaled.scale = at[0];
        value->as.scaled.value = (uint32_t)amqp_load(at + 1, 4);
        break;
    case 'L':
        value->type = MB_U64;
        value->as.u = amqp_load(at, 8);
        break;
    case 'T':
        value->type = MB_TIMESTAMP_S;
        value->as.i = (int64_t)amqp_load(at, 8);
        break;
    case 'l':
    default:
        value->type = MB_I64;
        value->as.i = (int64_t)amqp_load(at, 8);
        break;
    }
}

/* *ret_ok false: the value (or one within) cannot be parsed. */
static enum mb_status decode_value(struct amqp_cursor *cursor, unsigned depth,
                                   struct decoding *decoding, struct mb_value *value, bool *ret_ok)
{
    const unsigned char *start = cursor->at;
    char tag = (char)amqp_take_u8(cursor);
    enum mb_status status;
    struct mb_slice content;
    size_t size;

    *ret_ok = !cursor->bad && value_size(tag, cursor, &size);
    if (!*ret_ok)
        return MB_OK;
    content = amqp_take_bytes(cursor, size);
    switch (tag) {
    case 'V':
        value->type = MB_NULL;
        return MB_OK;
    case 'S':
        decode_string((struct mb_slice){start + 5, size - 4}, value);
        decoding->odd_text = decoding->odd_text || value->type == MB_BINARY;
        return MB_OK;
    case 'x':
        value->type = MB_BINARY;
        value->as.bytes = (struct mb_slice){start + 5, size - 4};
        return MB_OK;
    case 'A':
    case 'F':
        if (depth < AMQP_DEPTH_MAX) {
            bool ok;

            status = decode_items((struct mb_slice){start + 5, size - 4}, tag == 'F', depth + 1,
                                  decoding, value, &ok);
            if (status != MB_OK || ok)
                return status;
        }
        value->type = MB_BINARY;
        value->as.bytes = (struct mb_slice){start, size + 1};
        return MB_OK;
    default:
        decode_number(tag, content.data, value);
        return MB_OK;
    }
}

/* How many entries there are; false if the content is malformed at this level. */
static bool count_entries(struct mb_slice content, bool is_table, uint32_t *ret_count,
                          size_t *ret_good_size)
{
    struct amqp_cursor cursor = amqp_cursor_of(content);
    const unsigned char *start = cursor.at;

    *ret_count = 0;
    *ret_good_size = 0;
    while (cursor.at < cursor.end) {
        size_t size;
        char tag;

        if (is_table)
            amqp_take_shortstr(&cursor);
        tag = (char)amqp_take_u8(&cursor);
        if (cursor.bad || !value_size(tag, &cursor, &size))
            return false;
        cursor.at += size;
        *ret_count += 1;
        *ret_good_size = (size_t)(cursor.at - start);
    }
    return true;
}

static enum mb_status decode_items(struct mb_slice content, bool is_table, unsigned depth,
                                   struct decoding *decoding, struct mb_value *ret_value,
                                   bool *ret_ok)
{
    struct amqp_cursor cursor = amqp_cursor_of(content);
    struct mb_value *values;
    uint32_t count;
    uint32_t at = 0;
    size_t good_size;

    *ret_ok = count_entries(content, is_table, &count, &good_size);
    if (!*ret_ok)
        return MB_OK;
    if (is_table)
        count *= 2;
    values = mb_arena_alloc(decoding->arena, count * sizeof *values);
    if (values == NULL)
        return MB_NO_MEMORY;
    memset(values, 0, count * sizeof *values);
    while (at < count) {
        enum mb_status status;

        if (is_table)
            decode_string(amqp_take_shortstr(&cursor), &values[at++]);
        status = decode_value(&cursor, depth, decoding, &values[at++], ret_ok);
        if (status != MB_OK || !*ret_ok)
            return status;
    }
    ret_value->type = is_table ? MB_MAP : MB_LIST;
    ret_value->as.items.values = values;
    ret_value->as.items.count = count;
    return MB_OK;
}

enum mb_status amqp_table_decode(struct mb_slice table, struct mb_arena *arena,
                                 struct mb_header **ret_headers, uint32_t *ret_count,
                                 struct mb_slice *ret_rest, bool *ret_odd_text)
{
    struct amqp_cursor cursor = amqp_cursor_of(table);
    struct decoding decoding = {.arena = arena};
    struct mb_header *headers;
    uint32_t count;
    size_t good_size;

    count_entries(table, true, &count, &good_size);
    ret_rest->data = (const unsigned char *)table.data + good_size;
    ret_rest->size = table.size - good_size;
    /* One more: the caller may have to add what could not be parsed. */
    headers = mb_arena_alloc(arena, (count + 1) * sizeof *headers);
    if (headers == NULL)
        return MB_NO_MEMORY;
    memset(headers, 0, (count + 1) * sizeof *headers);
    for (uint32_t i = 0; i < count; i++) {
        enum mb_status status;
        bool ok;

        headers[i].name = amqp_take_shortstr(&cursor);
        if (headers[i].name.size == 0)
            headers[i].name.data = nothing;
        headers[i].name_type = MB_STRING;
        headers[i].section = MB_SECTION_APPLICATION;
        status = decode_value(&cursor, 0, &decoding, &headers[i].value, &ok);
        if (status != MB_OK)
            return status;
    }
    *ret_headers = headers;
    *ret_count = count;
    *ret_odd_text = decoding.odd_text;
    return MB_OK;
}

bool amqp_table_next(struct amqp_cursor *cursor, struct mb_slice *ret_name,
                     struct mb_slice *ret_entry)
{
    struct amqp_cursor at = *cursor;
    size_t size;
    char tag;

    if (at.at >= at.end)
        return false;
    *ret_name = amqp_take_shortstr(&at);
    tag = (char)amqp_take_u8(&at);
    if (at.bad || !value_size(tag, &at, &size))
        return false;
    at.at += size;
    *ret_entry = (struct mb_slice){cursor->at, (size_t)(at.at - cursor->at)};
    *cursor = at;
    return true;
}

static void put_tagged(struct amqp_writer *writer, char tag, uint64_t value, size_t size)
{
    amqp_put_u8(writer, (unsigned char)tag);
    amqp_put_number(writer, value, size);
}

static void put_string(struct amqp_writer *writer, char tag, struct mb_slice bytes)
{
    amqp_put_u8(writer, (unsigned char)tag);
    amqp_put_longstr(writer, bytes);
}

static void put_float(struct amqp_writer *writer, const struct mb_value *value)
{
    uint32_t bits32;
    uint64_t bits64;

    if (value->type == MB_F32) {
        memcpy(&bits32, &value->as.f32, 4);
        put_tagged(writer, 'f', bits32, 4);
    } else {
        memcpy(&bits64, &value->as.f64, 8);
        put_tagged(writer, 'd', bits64, 8);
    }
}

/* List or table. A name is a string or binary of at most 255 bytes. */
static void put_items(struct amqp_writer *writer, const struct mb_value *value)
{
    const struct mb_value *items = value->as.items.values;
    unsigned char *size;

    amqp_put_u8(writer, value->type == MB_MAP ? 'F' : 'A');
    size = amqp_room(writer, 4);
    for (uint32_t i = 0; i < value->as.items.count && !writer->full; i++) {
        if (value->type == MB_MAP && i % 2 == 0)
            amqp_put_shortstr(writer, items[i].as.bytes);
        else
            amqp_put_value(writer, &items[i]);
    }
    if (!writer->full && size != NULL)
        amqp_store(size, (uint64_t)(writer->at - size) - 4, 4);
}

void amqp_put_value(struct amqp_writer *writer, const struct mb_value *value)
{
    switch ((enum mb_type)value->type) {
    case MB_BOOL:
        put_tagged(writer, 't', value->as.b ? 1 : 0, 1);
        return;
    case MB_I8:
        put_tagged(writer, 'b', (uint64_t)value->as.i, 1);
        return;
    case MB_U8:
        put_tagged(writer, 'B', value->as.u, 1);
        return;
    case MB_I16:
        put_tagged(writer, 's', (uint64_t)value->as.i, 2);
        return;
    case MB_U16:
        put_tagged(writer, 'u', value->as.u, 2);
        return;
    case MB_I32:
        put_tagged(writer, 'I', (uint64_t)value->as.i, 4);
        return;
    case MB_U32:
        put_tagged(writer, 'i', value->as.u, 4);
        return;
    case MB_I64:
        put_tagged(writer, 'l', (uint64_t)value->as.i, 8);
        return;
    case MB_F32:
    case MB_F64:
        put_float(writer, value);
        return;
    case MB_DECIMAL_SCALED:
        amqp_put_u8(writer, 'D');
        amqp_put_u8(writer, value->as.scaled.scale);
        amqp_put_u32(writer, value->as.scaled.value);
        return;
    case MB_TIMESTAMP_S:
        put_tagged(writer, 'T', (uint64_t)value->as.i, 8);
        return;
    case MB_BINARY:
        put_string(writer, 'x', value->as.bytes);
        return;
    case MB_STRING:
        put_string(writer, 'S', value->as.bytes);
        return;
    case MB_LIST:
    case MB_MAP:
        put_items(writer, value);
        return;
    case MB_NULL:
    case MB_U64:
    case MB_TIMESTAMP_MS:
    case MB_ARRAY:
    case MB_DESCRIBED:
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_CHAR:
    case MB_UUID:
    case MB_SYMBOL:
        break;
    }
    amqp_put_u8(writer, 'V');
}
