/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/field.h"
#include "kit/sidecar_reader.h"

/* ---- bytes ---- */

void mb_sidecar_refuse(struct mb_sidecar_reader *reader)
{
    if (reader->status == MB_OK)
        reader->status = MB_REJECTED;
}

size_t mb_sidecar_left(const struct mb_sidecar_reader *reader)
{
    return reader->bytes.size - reader->bytes.at;
}

uint8_t mb_sidecar_get_byte(struct mb_sidecar_reader *reader)
{
    if (mb_sidecar_left(reader) < 1) {
        mb_sidecar_refuse(reader);
        return 0;
    }
    return reader->bytes.data[reader->bytes.at++];
}

uint32_t mb_sidecar_get_hash(struct mb_sidecar_reader *reader)
{
    uint32_t hash = 0;

    for (unsigned i = 0; i < 4; i++)
        hash = hash << 8 | mb_sidecar_get_byte(reader);
    return hash;
}

uint64_t mb_sidecar_get_number(struct mb_sidecar_reader *reader)
{
    uint64_t number = 0;
    uint8_t byte;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        byte = mb_sidecar_get_byte(reader);
        if (shift == 63 && byte > 1)
            break;
        number |= (uint64_t)(byte & 0x7F) << shift;
        if ((byte & 0x80) == 0)
            return number;
    }
    mb_sidecar_refuse(reader);
    return 0;
}

static uint64_t get_signed(struct mb_sidecar_reader *reader)
{
    uint64_t number = mb_sidecar_get_number(reader);

    return number >> 1 ^ ((number & 1) != 0 ? UINT64_MAX : 0);
}

struct mb_slice mb_sidecar_get_slice(struct mb_sidecar_reader *reader)
{
    uint64_t size = mb_sidecar_get_number(reader);
    struct mb_slice slice = MB_SLICE_NULL;

    if (size == 0)
        return slice;
    if (size - 1 > mb_sidecar_left(reader)) {
        mb_sidecar_refuse(reader);
        return slice;
    }
    slice.data = reader->bytes.data + reader->bytes.at;
    slice.size = (size_t)(size - 1);
    reader->bytes.at += slice.size;
    return slice;
}

struct mb_value mb_sidecar_get_value(struct mb_sidecar_reader *reader)
{
    struct mb_value value = {.type = MB_NULL};
    enum mb_status status;

    if (reader->status != MB_OK)
        return value;
    status = mb_types_read(&reader->bytes, reader->arena, &value);
    if (status != MB_OK)
        reader->status = status == MB_NO_MEMORY ? MB_NO_MEMORY : MB_REJECTED;
    return value;
}

/* ---- properties ---- */

static void get_id(struct mb_sidecar_reader *reader, struct mb_id *ret_id)
{
    struct mb_id id = {.kind = mb_sidecar_get_byte(reader)};

    if (id.kind == MB_ID_ULONG)
        id.number = mb_sidecar_get_number(reader);
    else
        id.bytes = mb_sidecar_get_slice(reader);
    if (id.kind > MB_ID_ULONG || (id.kind == MB_ID_UUID && id.bytes.size != 16))
        mb_sidecar_refuse(reader);
    *ret_id = id;
}

void mb_sidecar_get_field(struct mb_sidecar_reader *reader, unsigned field, bool wanted,
                          int64_t base_ms)
{
    struct mb_properties ignored_properties;
    struct mb_message ignored = {.properties = &ignored_properties};
    struct mb_message *message = wanted ? reader->message : &ignored;
    void *at = mb_field_in(message, field);
    uint64_t number;

    if (wanted)
        message->present |= UINT32_C(1) << field;
    switch ((enum mb_field_kind)mb_field_places[field].kind) {
    case MB_FIELD_SLICE:
        *(struct mb_slice *)at = mb_sidecar_get_slice(reader);
        return;
    case MB_FIELD_ID:
        get_id(reader, at);
        return;
    case MB_FIELD_TIMESTAMP:
        message->timestamp_kind = mb_sidecar_get_byte(reader);
        if (message->timestamp_kind > MB_TIMESTAMP_CREATE_SECONDS)
            mb_sidecar_refuse(reader);
        message->timestamp_ms = (int64_t)((uint64_t)base_ms + get_signed(reader));
        return;
    case MB_FIELD_I64:
        *(int64_t *)at = (int64_t)get_signed(reader);
        return;
    case MB_FIELD_U64:
        *(uint64_t *)at = mb_sidecar_get_number(reader);
        return;
    case MB_FIELD_U32:
        number = mb_sidecar_get_number(reader);
        if (number > UINT32_MAX)
            mb_sidecar_refuse(reader);
        *(uint32_t *)at = (uint32_t)number;
        return;
    case MB_FIELD_U8:
        *(uint8_t *)at = mb_sidecar_get_byte(reader);
        return;
    case MB_FIELD_BOOL:
        number = mb_sidecar_get_byte(reader);
        if (number > 1)
            mb_sidecar_refuse(reader);
        *(bool *)at = number == 1;
        return;
    }
}

static bool natural_is_as_explained(struct mb_sidecar_reader *reader, unsigned field)
{
    uint8_t kind = mb_field_places[field].kind;
    uint32_t hash = kind == MB_FIELD_BOOL || kind == MB_FIELD_U8 ? mb_sidecar_get_byte(reader)
                                                                 : mb_sidecar_get_hash(reader);

    return (reader->natural->present & UINT32_C(1) << field) != 0 &&
           mb_hash_field(reader->natural, field) == hash;
}

static void clear_field(struct mb_message *message, unsigned field)
{
    static const uint8_t sizes[] = {
        [MB_FIELD_SLICE] = sizeof(struct mb_slice),
        [MB_FIELD_ID] = sizeof(struct mb_id),
        [MB_FIELD_TIMESTAMP] = sizeof(int64_t),
        [MB_FIELD_I64] = sizeof(int64_t),
        [MB_FIELD_U64] = sizeof(uint64_t),
        [MB_FIELD_U32] = sizeof(uint32_t),
        [MB_FIELD_U8] = sizeof(uint8_t),
        [MB_FIELD_BOOL] = sizeof(bool),
    };

    message->present &= ~(UINT32_C(1) << field);
    memset(mb_field_in(message, field), 0, sizes[mb_field_places[field].kind]);
    if (mb_field_places[field].kind == MB_FIELD_TIMESTAMP)
        message->timestamp_kind = 0;
}

/* ---- body ---- */

static bool all_of(const struct mb_value *value, uint8_t type, uint8_t item_type)
{
    if (value->type != type)
        return false;
    for (uint32_t i = 0; i < value->as.items.count; i++) {
        if (value->as.items.values[i].type != item_type)
            return false;
    }
    return true;
}

/* The natural bytes in parts: sizes are checked against them before anything is allocated. */
static void read_split(struct mb_sidecar_reader *reader, bool wanted, struct mb_slice bytes)
{
    uint64_t count = mb_sidecar_get_number(reader);
    struct mb_value *parts = NULL;
    const char *at = bytes.data != NULL ? bytes.data : "";
    uint64_t rest = bytes.size;

    if (count > mb_sidecar_left(reader))
        mb_sidecar_refuse(reader);
    if (reader->status != MB_OK)
        return;
    if (wanted) {
        parts = mb_arena_alloc(reader->arena, (size_t)count * sizeof *parts);
        if (parts == NULL) {
            reader->status = MB_NO_MEMORY;
            return;
        }
    }
    for (uint64_t i = 0; i < count && reader->status == MB_OK; i++) {
        uint64_t size = mb_sidecar_get_number(reader);

        if (!wanted)
            continue;
        if (size > rest) {
            mb_sidecar_refuse(reader);
            return;
        }
        parts[i] = (struct mb_value){.type = MB_BINARY, .as.bytes = {at, (size_t)size}};
        at += size;
        rest -= size;
    }
    if (!wanted)
        return;
    if (rest != 0)
        mb_sidecar_refuse(reader);
    reader->message->body_kind = MB_BODY_MULTI_DATA;
    reader->message->body = bytes;
    reader->message->body_value =
        (struct mb_value){.type = MB_LIST, .as.items = {.values = parts, .count = (uint32_t)count}};
}

static void join_parts(struct mb_sidecar_reader *reader, const struct mb_value *parts)
{
    size_t size = 0;
    char *joined;

    for (uint32_t i = 0; i < parts->as.items.count; i++)
        size += parts->as.items.values[i].as.bytes.size; /* all of them lie in the sidecar */
    joined = mb_arena_alloc(reader->arena, size);
    if (joined == NULL) {
        reader->status = MB_NO_MEMORY;
        return;
    }
    reader->message->body = (struct mb_slice){joined, size};
    for (uint32_t i = 0; i < parts->as.items.count; i++) {
        struct mb_slice part = parts->as.items.values[i].as.bytes;

        if (part.size > 0)
            memcpy(joined, part.data, part.size);
        joined += part.size;
    }
}

static void read_body_value(struct mb_sidecar_reader *reader, unsigned op, bool wanted)
{
    struct mb_value value = mb_sidecar_get_value(reader);
    bool good = true;
    uint8_t kind = MB_BODY_VALUE;

    if (reader->status != MB_OK)
        return;
    if (op == MB_BODY_OP_SEQUENCE) {
        kind = MB_BODY_SEQUENCE;
        good = all_of(&value, MB_LIST, MB_LIST);
    } else if (op == MB_BODY_OP_PAIRS) {
        kind = MB_BODY_PAIRS;
        good = all_of(&value, MB_MAP, MB_BINARY);
    } else if (op == MB_BODY_OP_PARTS) {
        kind = MB_BODY_MULTI_DATA;
        good = all_of(&value, MB_LIST, MB_BINARY);
    }
    if (!good) {
        mb_sidecar_refuse(reader);
        return;
    }
    if (!wanted)
        return;
    reader->message->body_kind = kind;
    reader->message->body_value = value;
    reader->message->body = MB_SLICE_NULL;
    if (op == MB_BODY_OP_PARTS)
        join_parts(reader, &value);
}

static void set_body(struct mb_sidecar_reader *reader, uint8_t kind, struct mb_slice bytes)
{
    reader->message->body_kind = kind;
    reader->message->body = bytes;
    memset(&reader->message->body_value, 0, sizeof reader->message->body_value);
}

static void read_body(struct mb_sidecar_reader *reader, unsigned op)
{
    static const uint8_t types[] = {MB_STRING, MB_BINARY, MB_SYMBOL};
    struct mb_slice bytes = MB_SLICE_NULL;
    bool has_bytes = mb_body_bytes(reader->natural, &bytes);
    bool wanted;

    if (reader->body_seen) {
        mb_sidecar_refuse(reader);
        return;
    }
    reader->body_seen = true;
    wanted = mb_sidecar_get_hash(reader) == mb_hash_body(reader->natural);
    switch (op) {
    case MB_BODY_OP_NULL:
        if (wanted)
            set_body(reader, MB_BODY_NULL, MB_SLICE_NULL);
        return;
    case MB_BODY_OP_SAME:
        if (wanted && has_bytes)
            set_body(reader, MB_BODY_BYTES, bytes);
        return;
    case MB_BODY_OP_BYTES:
        bytes = mb_sidecar_get_slice(reader);
        if (wanted)
            set_body(reader, MB_BODY_BYTES, bytes);
        return;
    case MB_BODY_OP_STRING:
    case MB_BODY_OP_BINARY:
    case MB_BODY_OP_SYMBOL:
        if (!wanted || !has_bytes || !mb_sidecar_can_be(bytes, types[op - MB_BODY_OP_STRING]))
            return;
        set_body(reader, MB_BODY_VALUE, MB_SLICE_NULL);
        reader->message->body_value =
            (struct mb_value){.type = types[op - MB_BODY_OP_STRING], .as.bytes = bytes};
        return;
    case MB_BODY_OP_SPLIT:
        read_split(reader, wanted && has_bytes, bytes);
        return;
    case MB_BODY_OP_VALUE:
    case MB_BODY_OP_SEQUENCE:
    case MB_BODY_OP_PAIRS:
    case MB_BODY_OP_PARTS:
        read_body_value(reader, op, wanted);
        return;
    default:
        mb_sidecar_refuse(reader);
    }
}

/* ---- all of it ---- */

static void read_field(struct mb_sidecar_reader *reader, unsigned kind, unsigned field)
{
    bool wanted;
    uint32_t *seen = kind == MB_SIDECAR_HEADER_SHOWN ? &reader->headers_seen : &reader->fields_seen;

    if (field >= MB_FIELDS_COUNT || (*seen & UINT32_C(1) << field) != 0) {
        mb_sidecar_refuse(reader);
        return;
    }
    *seen |= UINT32_C(1) << field;
    switch (kind) {
    case MB_SIDECAR_REMOVE:
        if (natural_is_as_explained(reader, field))
            clear_field(reader->message, field);
        return;
    case MB_SIDECAR_REPLACE:
        wanted = natural_is_as_explained(reader, field);
        mb_sidecar_get_field(reader, field, wanted, mb_timestamp_base(reader->natural));
        return;
    case MB_SIDECAR_ADD:
        wanted = (reader->natural->present & UINT32_C(1) << field) == 0;
        mb_sidecar_get_field(reader, field, wanted, 0);
        return;
    case MB_SIDECAR_SHOWN:
    case MB_SIDECAR_SHOWN_VALUE:
        mb_sidecar_read_shown(reader, field, kind == MB_SIDECAR_SHOWN_VALUE);
        return;
    default:
        mb_sidecar_read_header_shown(reader, field);
    }
}

static void read_entries(struct mb_sidecar_reader *reader)
{
    if (mb_sidecar_get_byte(reader) != MB_SIDECAR_VERSION)
        mb_sidecar_refuse(reader);
    while (reader->status == MB_OK && mb_sidecar_left(reader) > 0) {
        uint8_t tag = mb_sidecar_get_byte(reader);

        if (tag >> 5 == MB_SIDECAR_HEADER)
            mb_sidecar_read_header(reader, tag & 31u);
        else if (tag >> 5 == MB_SIDECAR_BODY)
            read_body(reader, tag & 31u);
        else
            read_field(reader, tag >> 5, tag & 31u);
    }
}

enum mb_status mb_sidecar_restore(const struct mb_message *natural, struct mb_arena *arena,
                                  struct mb_message *ret_message, bool *ret_malformed)
{
    struct mb_slice sidecar = natural->sidecar;
    struct mb_sidecar_reader reader;

    *ret_malformed = false;
    mb_message_copy(ret_message, natural);
    ret_message->sidecar = MB_SLICE_NULL;
    if (sidecar.data == NULL)
        return MB_OK;
    if (!mb_properties_own(ret_message, arena))
        return MB_NO_MEMORY;
    reader.natural = natural;
    reader.message = ret_message;
    reader.arena = arena;
    reader.bytes = (struct mb_types_reader){.data = sidecar.data, .size = sidecar.size};
    reader.status = MB_OK;
    reader.fields_seen = 0;
    reader.headers_seen = 0;
    reader.body_seen = false;
    reader.nodes = NULL;
    read_entries(&reader);
    mb_sidecar_close_headers(&reader);
    if (reader.status == MB_OK)
        return MB_OK;
    mb_message_copy(ret_message, natural); /* nothing of it was applied */
    ret_message->sidecar = MB_SLICE_NULL;
    *ret_malformed = reader.status == MB_REJECTED;
    return *ret_malformed ? MB_OK : reader.status;
}
