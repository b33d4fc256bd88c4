/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/field.h"
#include "kit/sidecar_writer.h"

#include <stdlib.h>

#define INDEX_SIZE 4096u /* on the stack: enough for some 30 headers on both sides together */

/* ---- entries, and which of them fit ---- */

void mb_sidecar_begin(struct mb_sidecar_writer *writer, enum mb_sidecar_kind kind, unsigned number)
{
    unsigned char tag = (unsigned char)((unsigned)kind << 5 | number);
    size_t room = writer->out_max_size - writer->out->size;

    writer->out->max_size = writer->out->size + (writer->size_max < room ? writer->size_max : room);
    mb_text_add(writer->out, &tag, 1);
}

void mb_sidecar_put_byte(struct mb_sidecar_writer *writer, uint8_t byte)
{
    mb_text_add(writer->out, &byte, 1);
}

void mb_sidecar_put_hash(struct mb_sidecar_writer *writer, uint32_t hash)
{
    unsigned char bytes[4] = {(unsigned char)(hash >> 24), (unsigned char)(hash >> 16),
                              (unsigned char)(hash >> 8), (unsigned char)hash};

    mb_text_add(writer->out, bytes, sizeof bytes);
}

void mb_sidecar_put_number(struct mb_sidecar_writer *writer, uint64_t number)
{
    unsigned char bytes[10];
    size_t size = 0;

    for (; number >= 0x80; number >>= 7)
        bytes[size++] = (unsigned char)(number | 0x80);
    bytes[size++] = (unsigned char)number;
    mb_text_add(writer->out, bytes, size);
}

static void put_signed(struct mb_sidecar_writer *writer, uint64_t number)
{
    mb_sidecar_put_number(writer, number << 1 ^ (number >> 63 != 0 ? UINT64_MAX : 0));
}

void mb_sidecar_put_slice(struct mb_sidecar_writer *writer, struct mb_slice slice)
{
    mb_sidecar_put_number(writer, slice.data != NULL ? (uint64_t)slice.size + 1 : 0);
    mb_text_add(writer->out, slice.data, slice.size);
}

static int larger_first(const void *a, const void *b)
{
    const struct mb_sidecar_entry *one = *(const struct mb_sidecar_entry *const *)a;
    const struct mb_sidecar_entry *other = *(const struct mb_sidecar_entry *const *)b;

    if (one->size != other->size)
        return one->size > other->size ? -1 : 1;
    return one->at > other->at ? -1 : 1;
}

/* Takes out the largest entries until the others fit. What goes here would also go if it was
 * decided once at the end, as all that is smaller stays. */
static void fit(struct mb_sidecar_writer *writer)
{
    struct mb_sidecar_entry **order;
    size_t excess = writer->out->size - writer->start;
    size_t count = 0;
    size_t end = writer->start;

    if (excess <= writer->size_max)
        return;
    excess -= writer->size_max;
    order = malloc(writer->count * sizeof(struct mb_sidecar_entry *));
    if (order == NULL) {
        writer->no_memory = true;
        return;
    }
    for (size_t i = 0; i < writer->count; i++)
        order[i] = &writer->entries[i];
    qsort(order, writer->count, sizeof(struct mb_sidecar_entry *), larger_first);
    for (size_t i = 0; i < writer->count && excess > 0; i++) {
        excess -= order[i]->size < excess ? order[i]->size : excess;
        writer->lost |= order[i]->lost;
        order[i]->size = 0;
    }
    free(order);
    for (size_t i = 0; i < writer->count; i++) {
        struct mb_sidecar_entry entry = writer->entries[i];

        if (entry.size == 0)
            continue;
        memmove(writer->out->data + end, writer->out->data + entry.at, entry.size);
        entry.at = end;
        end += entry.size;
        writer->entries[count++] = entry;
    }
    writer->out->size = end;
    writer->count = count;
}

static bool grow(struct mb_sidecar_writer *writer)
{
    size_t capacity = writer->capacity * 2;
    struct mb_sidecar_entry *entries;

    if (writer->count < writer->capacity)
        return true;
    entries = realloc(writer->entries == writer->first ? NULL : writer->entries,
                      capacity * sizeof *entries);
    if (entries == NULL) {
        writer->no_memory = true;
        return false;
    }
    if (writer->entries == writer->first)
        memcpy(entries, writer->first, sizeof writer->first);
    writer->entries = entries;
    writer->capacity = capacity;
    return true;
}

void mb_sidecar_end(struct mb_sidecar_writer *writer, size_t at, uint64_t lost)
{
    struct mb_text *out = writer->out;

    out->max_size = writer->out_max_size;
    if (out->failed || !grow(writer)) {
        writer->no_memory = writer->no_memory || out->memory_out;
        out->failed = false;
        out->memory_out = false;
        out->size = at;
        writer->lost |= lost;
        return;
    }
    writer->entries[writer->count++] =
        (struct mb_sidecar_entry){.at = at, .size = out->size - at, .lost = lost};
    if (out->size - writer->start > 2 * writer->size_max)
        fit(writer);
}

/* ---- properties ---- */

static void put_field_witness(struct mb_sidecar_writer *writer, unsigned field)
{
    uint32_t hash = mb_hash_field(writer->natural, field);

    if (mb_field_places[field].kind == MB_FIELD_BOOL || mb_field_places[field].kind == MB_FIELD_U8)
        mb_sidecar_put_byte(writer, (uint8_t)hash);
    else
        mb_sidecar_put_hash(writer, hash);
}

static void put_id(struct mb_sidecar_writer *writer, const struct mb_id *id)
{
    mb_sidecar_put_byte(writer, id->kind);
    if (id->kind == MB_ID_ULONG)
        mb_sidecar_put_number(writer, id->number);
    else
        mb_sidecar_put_slice(writer, id->bytes);
}

/* base_ms: what a timestamp is the distance from. */
static void put_field(struct mb_sidecar_writer *writer, unsigned field, int64_t base_ms)
{
    const struct mb_message *message = writer->message;
    const void *at = mb_field_at(message, field);

    switch ((enum mb_field_kind)mb_field_places[field].kind) {
    case MB_FIELD_SLICE:
        mb_sidecar_put_slice(writer, *(const struct mb_slice *)at);
        return;
    case MB_FIELD_ID:
        put_id(writer, at);
        return;
    case MB_FIELD_TIMESTAMP:
        mb_sidecar_put_byte(writer, message->timestamp_kind);
        put_signed(writer, (uint64_t)message->timestamp_ms - (uint64_t)base_ms);
        return;
    case MB_FIELD_I64:
        put_signed(writer, (uint64_t) * (const int64_t *)at);
        return;
    case MB_FIELD_U64:
        mb_sidecar_put_number(writer, *(const uint64_t *)at);
        return;
    case MB_FIELD_U32:
        mb_sidecar_put_number(writer, *(const uint32_t *)at);
        return;
    case MB_FIELD_U8:
        mb_sidecar_put_byte(writer, *(const uint8_t *)at);
        return;
    case MB_FIELD_BOOL:
        mb_sidecar_put_byte(writer, *(const bool *)at);
        return;
    }
}

bool mb_sidecar_says_all(const struct mb_message *message, unsigned field,
                         const struct mb_value *shown)
{
    const struct mb_slice *slice = mb_field_at(message, field);
    const struct mb_id *id = mb_field_at(message, field);

    if (mb_field_places[field].kind == MB_FIELD_ID) {
        if (id->kind != MB_ID_STRING)
            return false;
        slice = &id->bytes;
    } else if (mb_field_places[field].kind != MB_FIELD_SLICE) {
        return false;
    }
    if (shown->type == MB_NULL)
        return slice->data == NULL;
    return mb_is_bytes(shown) && slice->data != NULL && slice->size == shown->as.bytes.size &&
           (slice->size == 0 || memcmp(slice->data, shown->as.bytes.data, slice->size) == 0);
}

static const struct mb_header *shown_in_tail(struct mb_sidecar_writer *writer, struct mb_slice name,
                                             uint32_t *ret_explains)
{
    for (uint32_t i = writer->tail.end; i-- > writer->tail.begin;) {
        const struct mb_header *header = &writer->natural->headers[i];

        if (header->section != MB_SECTION_APPLICATION || !mb_slice_equal(header->name, name))
            continue;
        writer->tail.shown |= UINT32_C(1) << i;
        *ret_explains = writer->tail.explains[i];
        return header;
    }
    return NULL;
}

static const struct mb_header *shown_in_index(struct mb_sidecar_writer *writer,
                                              struct mb_slice name, uint32_t *ret_explains)
{
    struct mb_header_item *shown = NULL;
    const struct mb_header_group *group =
        mb_header_group_find(&writer->index, MB_SECTION_APPLICATION, name);

    for (uint32_t i = group != NULL ? group->first[0] : 0; i != 0;
         i = writer->index.items[0][i - 1].next) {
        if (writer->index.items[0][i - 1].match == 0)
            shown = &writer->index.items[0][i - 1];
    }
    if (shown == NULL ||
        mb_header_by_value(&writer->index, shown->explains) != shown - writer->index.items[0])
        return NULL;
    shown->match = UINT32_MAX;
    *ret_explains = shown->explains;
    return shown->header;
}

/* The natural header that stands for a property which the natural message has no place for: the
 * last one of that name that is none of the message's own. */
static const struct mb_header *header_that_shows(struct mb_sidecar_writer *writer, unsigned field,
                                                 uint32_t *ret_explains)
{
    struct mb_slice name = mb_field_text(UINT64_C(1) << field);

    if (writer->has_tail)
        return shown_in_tail(writer, name, ret_explains);
    return writer->has_index ? shown_in_index(writer, name, ret_explains) : NULL;
}

/* Returns what is lost if the entry does not fit. */
static uint64_t write_added_field(struct mb_sidecar_writer *writer, unsigned field)
{
    uint32_t explains = 0;
    const struct mb_header *shown = header_that_shows(writer, field, &explains);
    bool all = shown != NULL && mb_sidecar_says_all(writer->message, field, &shown->value);
    uint64_t lost = UINT64_C(1) << field;

    if (shown == NULL) {
        mb_sidecar_begin(writer, MB_SIDECAR_ADD, field);
    } else {
        lost |= MB_LOST_HEADERS;
        mb_sidecar_begin(writer, all ? MB_SIDECAR_SHOWN : MB_SIDECAR_SHOWN_VALUE, field);
        mb_sidecar_put_hash(writer, explains);
    }
    if (!all)
        put_field(writer, field, 0);
    return lost;
}

static void write_fields(struct mb_sidecar_writer *writer, uint32_t fields)
{
    for (; fields != 0; fields &= fields - 1) {
        unsigned field = (unsigned)__builtin_ctz(fields);
        uint32_t bit = UINT32_C(1) << field;
        uint64_t lost = bit;
        size_t at = writer->out->size;

        if ((writer->natural->present & bit) == 0) {
            lost = write_added_field(writer, field);
        } else if ((writer->message->present & bit) == 0) {
            mb_sidecar_begin(writer, MB_SIDECAR_REMOVE, field);
            put_field_witness(writer, field);
        } else {
            mb_sidecar_begin(writer, MB_SIDECAR_REPLACE, field);
            put_field_witness(writer, field);
            put_field(writer, field, mb_timestamp_base(writer->natural));
        }
        mb_sidecar_end(writer, at, lost);
    }
}

/* ---- body ---- */

static unsigned body_op(const struct mb_message *message, bool natural_bytes_same)
{
    const struct mb_value *value = &message->body_value;

    switch ((enum mb_body_kind)message->body_kind) {
    case MB_BODY_NULL:
        return MB_BODY_OP_NULL;
    case MB_BODY_BYTES:
        return natural_bytes_same ? MB_BODY_OP_SAME : MB_BODY_OP_BYTES;
    case MB_BODY_MULTI_DATA:
        return natural_bytes_same ? MB_BODY_OP_SPLIT : MB_BODY_OP_PARTS;
    case MB_BODY_VALUE:
        if (natural_bytes_same)
            return value->type == MB_STRING   ? MB_BODY_OP_STRING
                   : value->type == MB_BINARY ? MB_BODY_OP_BINARY
                                              : MB_BODY_OP_SYMBOL;
        return MB_BODY_OP_VALUE;
    case MB_BODY_SEQUENCE:
        return MB_BODY_OP_SEQUENCE;
    case MB_BODY_PAIRS:
        break;
    }
    return MB_BODY_OP_PAIRS;
}

static void write_body(struct mb_sidecar_writer *writer)
{
    const struct mb_message *message = writer->message;
    const struct mb_value *value = &message->body_value;
    struct mb_slice bytes;
    struct mb_slice natural_bytes;
    bool same = mb_body_bytes(message, &bytes) && mb_body_bytes(writer->natural, &natural_bytes) &&
                mb_slice_equal(bytes, natural_bytes);
    unsigned op = body_op(message, same);
    size_t at = writer->out->size;

    mb_sidecar_begin(writer, MB_SIDECAR_BODY, op);
    mb_sidecar_put_hash(writer, mb_hash_body(writer->natural));
    if (op == MB_BODY_OP_BYTES) {
        mb_sidecar_put_slice(writer, bytes);
    } else if (op == MB_BODY_OP_SPLIT) {
        mb_sidecar_put_number(writer, value->as.items.count);
        for (uint32_t i = 0; i < value->as.items.count; i++)
            mb_sidecar_put_number(writer, value->as.items.values[i].as.bytes.size);
    } else if (op >= MB_BODY_OP_VALUE) {
        mb_types_write(writer->out, value);
    }
    mb_sidecar_end(writer, at, MB_LOST_BODY);
}

/* ---- all of it ---- */

static bool make_index(struct mb_sidecar_writer *writer, void *stack)
{
    size_t size = mb_header_index_size((size_t)writer->message->headers_count +
                                       writer->natural->headers_count);
    void *memory = size <= INDEX_SIZE ? stack : malloc(size);

    if (memory == NULL)
        return false;
    mb_header_index_init(&writer->index, memory, writer->natural, writer->message);
    mb_sidecar_match_headers(&writer->index);
    writer->has_index = true;
    return true;
}

static void write_all(struct mb_sidecar_writer *writer, uint32_t fields, bool body, bool headers)
{
    _Alignas(8) unsigned char stack[INDEX_SIZE];

    if (headers && (writer->message->headers_count > MB_SIDECAR_HEADERS_MAX ||
                    writer->natural->headers_count > MB_SIDECAR_HEADERS_MAX)) {
        writer->lost |= mb_message_difference(writer->message, writer->natural) &
                        (MB_LOST_HEADERS | MB_LOST_ANNOTATIONS | MB_LOST_FOOTER);
        headers = false;
    }
    writer->has_tail =
        headers && mb_header_tail_init(&writer->tail, writer->natural, writer->message);
    if (headers && !writer->has_tail && !make_index(writer, stack)) {
        writer->no_memory = true;
        return;
    }
    write_fields(writer, fields);
    if (writer->has_tail)
        mb_sidecar_write_tail(writer);
    else if (writer->has_index)
        mb_sidecar_write_headers(writer);
    if (body)
        write_body(writer);
    fit(writer);
    if (writer->has_index && (void *)writer->index.items[0] != (void *)stack)
        free(writer->index.items[0]);
}

enum mb_status mb_sidecar_write(const struct mb_message *message, const struct mb_message *natural,
                                size_t size_max, struct mb_text *out, uint64_t *ret_lost)
{
    static const unsigned char version = MB_SIDECAR_VERSION;
    uint32_t fields = mb_fields_difference(message, natural);
    bool body = !mb_body_same(message, natural);
    bool headers = !mb_headers_same(message, natural);
    size_t start = out->size;
    struct mb_sidecar_writer writer;

    *ret_lost = 0;
    if (fields == 0 && !body && !headers)
        return MB_OK;
    if (size_max <= sizeof version || out->failed || out->max_size < out->size + sizeof version) {
        *ret_lost = mb_message_difference(message, natural);
        return out->memory_out ? MB_NO_MEMORY : MB_OK;
    }
    mb_text_add(out, &version, sizeof version);
    if (out->failed)
        return MB_NO_MEMORY;
    writer.message = message;
    writer.natural = natural;
    writer.out = out;
    writer.start = out->size;
    writer.size_max = size_max - sizeof version;
    writer.out_max_size = out->max_size;
    writer.entries = writer.first;
    writer.count = 0;
    writer.capacity = MB_SIDECAR_ENTRIES_FIRST;
    writer.lost = 0;
    writer.no_memory = false;
    writer.has_index = false;
    writer.has_tail = false;
    writer.headers_shown = 0;
    write_all(&writer, fields, body, headers);
    if (writer.entries != writer.first)
        free(writer.entries);
    if (writer.count == 0 || writer.no_memory)
        out->size = start;
    *ret_lost = writer.lost;
    return writer.no_memory ? MB_NO_MEMORY : MB_OK;
}
