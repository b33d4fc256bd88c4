/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/field.h"
#include "kit/sidecar_parts.h"
#include "kit/utf8.h"

/* A header of the list that comes out. */
struct node {
    struct node *previous;
    struct node *next;
    struct node *last_added; /* behind this one */
    struct mb_header header;
    bool gone;
    bool explained;
};

struct reader {
    const struct mb_message *natural;
    struct mb_message *message;
    struct mb_arena *arena;
    struct mb_types_reader bytes;
    enum mb_status status; /* MB_REJECTED: malformed */
    /* One entry for each property, header of a property, and body: what an entry makes us read is
     * as large as a message may be. */
    uint32_t fields_seen;
    uint32_t headers_seen;
    bool body_seen;
    struct mb_header_index index;
    struct node *nodes; /* of the natural headers; NULL: the list is as it was */
    struct node head;   /* of a ring */
};

/* ---- bytes ---- */

static void refuse(struct reader *reader)
{
    if (reader->status == MB_OK)
        reader->status = MB_REJECTED;
}

static size_t left(const struct reader *reader)
{
    return reader->bytes.size - reader->bytes.at;
}

static uint8_t get_byte(struct reader *reader)
{
    if (left(reader) < 1) {
        refuse(reader);
        return 0;
    }
    return reader->bytes.data[reader->bytes.at++];
}

static uint32_t get_hash(struct reader *reader)
{
    uint32_t hash = 0;

    for (unsigned i = 0; i < 4; i++)
        hash = hash << 8 | get_byte(reader);
    return hash;
}

static uint64_t get_number(struct reader *reader)
{
    uint64_t number = 0;
    uint8_t byte;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        byte = get_byte(reader);
        if (shift == 63 && byte > 1)
            break;
        number |= (uint64_t)(byte & 0x7F) << shift;
        if ((byte & 0x80) == 0)
            return number;
    }
    refuse(reader);
    return 0;
}

static uint64_t get_signed(struct reader *reader)
{
    uint64_t number = get_number(reader);

    return number >> 1 ^ ((number & 1) != 0 ? UINT64_MAX : 0);
}

static struct mb_slice get_slice(struct reader *reader)
{
    uint64_t size = get_number(reader);
    struct mb_slice slice = MB_SLICE_NULL;

    if (size == 0)
        return slice;
    if (size - 1 > left(reader)) {
        refuse(reader);
        return slice;
    }
    slice.data = reader->bytes.data + reader->bytes.at;
    slice.size = (size_t)(size - 1);
    reader->bytes.at += slice.size;
    return slice;
}

static struct mb_value get_value(struct reader *reader)
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

static void get_id(struct reader *reader, struct mb_id *ret_id)
{
    struct mb_id id = {.kind = get_byte(reader)};

    if (id.kind == MB_ID_ULONG)
        id.number = get_number(reader);
    else
        id.bytes = get_slice(reader);
    if (id.kind > MB_ID_ULONG || (id.kind == MB_ID_UUID && id.bytes.size != 16))
        refuse(reader);
    *ret_id = id;
}

/* Reads the value of a property, and sets it unless the natural value wins. */
static void get_field(struct reader *reader, unsigned field, bool wanted, int64_t base_ms)
{
    struct mb_message ignored;
    struct mb_message *message = wanted ? reader->message : &ignored;
    void *at = mb_field_in(message, field);
    uint64_t number;

    if (wanted)
        message->present |= UINT32_C(1) << field;
    switch ((enum mb_field_kind)mb_field_places[field].kind) {
    case MB_FIELD_SLICE:
        *(struct mb_slice *)at = get_slice(reader);
        return;
    case MB_FIELD_ID:
        get_id(reader, at);
        return;
    case MB_FIELD_TIMESTAMP:
        message->timestamp_kind = get_byte(reader);
        if (message->timestamp_kind > MB_TIMESTAMP_CREATE_SECONDS)
            refuse(reader);
        message->timestamp_ms = (int64_t)((uint64_t)base_ms + get_signed(reader));
        return;
    case MB_FIELD_I64:
        *(int64_t *)at = (int64_t)get_signed(reader);
        return;
    case MB_FIELD_U64:
        *(uint64_t *)at = get_number(reader);
        return;
    case MB_FIELD_U32:
        number = get_number(reader);
        if (number > UINT32_MAX)
            refuse(reader);
        *(uint32_t *)at = (uint32_t)number;
        return;
    case MB_FIELD_U8:
        *(uint8_t *)at = get_byte(reader);
        return;
    case MB_FIELD_BOOL:
        number = get_byte(reader);
        if (number > 1)
            refuse(reader);
        *(bool *)at = number == 1;
        return;
    }
}

static bool natural_is_as_explained(struct reader *reader, unsigned field)
{
    uint8_t kind = mb_field_places[field].kind;
    uint32_t hash =
        kind == MB_FIELD_BOOL || kind == MB_FIELD_U8 ? get_byte(reader) : get_hash(reader);

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

/* ---- headers ---- */

static void link_behind(struct node *node, struct node *before)
{
    node->previous = before;
    node->next = before->next;
    before->next->previous = node;
    before->next = node;
}

static void unlink_node(struct node *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
}

/* The natural headers as a list that can be changed, when the first entry wants that. */
static bool open_headers(struct reader *reader)
{
    const struct mb_message *natural = reader->natural;
    uint32_t count = natural->headers_count;
    void *memory;

    if (reader->status != MB_OK)
        return false;
    if (count > MB_SIDECAR_HEADERS_MAX)
        return false;
    if (reader->nodes != NULL)
        return true;
    memory = mb_arena_alloc(reader->arena, mb_header_index_size(count));
    reader->nodes = mb_arena_alloc(reader->arena, count * sizeof *reader->nodes);
    if (memory == NULL || reader->nodes == NULL) {
        reader->status = MB_NO_MEMORY;
        return false;
    }
    mb_header_index_init(&reader->index, memory, natural, NULL);
    reader->head = (struct node){.previous = &reader->head, .next = &reader->head};
    for (uint32_t i = 0; i < count; i++) {
        reader->nodes[i] = (struct node){.header = natural->headers[i]};
        link_behind(&reader->nodes[i], reader->head.previous);
    }
    return true;
}

/* NULL: somebody changed or removed it; or it is hidden already. */
static struct node *node_by_value(struct reader *reader, uint32_t address)
{
    uint32_t i = mb_header_by_value(&reader->index, address);

    return i == UINT32_MAX || reader->nodes[i].gone ? NULL : &reader->nodes[i];
}

static struct node *node_by_place(struct reader *reader, uint32_t address)
{
    uint32_t i = mb_header_by_place(&reader->index, address);

    return i == UINT32_MAX || reader->nodes[i].gone ? NULL : &reader->nodes[i];
}

static void hide(struct node *node)
{
    unlink_node(node);
    node->gone = true;
}

static void read_shown(struct reader *reader, unsigned field, bool has_value)
{
    uint32_t address = get_hash(reader);
    struct node *node = open_headers(reader) ? node_by_value(reader, address) : NULL;
    uint8_t kind = mb_field_places[field].kind;
    const struct mb_value *shown = node != NULL ? &node->header.value : NULL;
    struct mb_slice bytes = MB_SLICE_NULL;
    bool wanted = node != NULL && (reader->natural->present & UINT32_C(1) << field) == 0;

    if (has_value) {
        get_field(reader, field, wanted, 0);
    } else {
        if (kind != MB_FIELD_SLICE && kind != MB_FIELD_ID)
            refuse(reader);
        wanted = wanted && (mb_is_bytes(shown) || shown->type == MB_NULL);
        if (wanted && shown->type != MB_NULL)
            bytes = shown->as.bytes;
        if (wanted && kind == MB_FIELD_SLICE)
            *(struct mb_slice *)mb_field_in(reader->message, field) = bytes;
        else if (wanted && kind == MB_FIELD_ID)
            *(struct mb_id *)mb_field_in(reader->message, field) =
                (struct mb_id){.kind = MB_ID_STRING, .bytes = bytes};
        if (wanted)
            reader->message->present |= UINT32_C(1) << field;
    }
    if (wanted)
        hide(node);
}

static bool is_ascii(struct mb_slice text)
{
    const unsigned char *at = text.data;

    for (size_t i = 0; i < text.size; i++) {
        if (at[i] >= 0x80)
            return false;
    }
    return true;
}

/* Whether bytes may be of that type. */
static bool can_be(struct mb_slice bytes, enum mb_type type)
{
    if (type == MB_STRING)
        return mb_utf8_valid(bytes);
    return type == MB_BINARY || is_ascii(bytes);
}

static void read_type(struct reader *reader, enum mb_type type)
{
    uint32_t address = get_hash(reader);
    struct node *node = open_headers(reader) ? node_by_value(reader, address) : NULL;

    if (node == NULL || node->explained || !mb_is_bytes(&node->header.value))
        return;
    node->explained = true;
    if (can_be(node->header.value.as.bytes, type))
        node->header.value.type = (uint8_t)type;
}

static uint8_t get_name_type(struct reader *reader)
{
    uint8_t type = get_byte(reader);

    if (type != MB_STRING && type != MB_SYMBOL && type != MB_U64 && type != MB_BINARY)
        refuse(reader);
    return type;
}

/* The named ones come first, in that order and in that section; the others stay behind them. */
static void read_order(struct reader *reader)
{
    uint8_t section = get_byte(reader);
    uint64_t count = get_number(reader);
    struct node *last = &reader->head;

    if (section >= MB_SECTION_BRIDGE || count > left(reader) / 4)
        refuse(reader);
    if (reader->status == MB_OK && !open_headers(reader)) {
        reader->bytes.at += 4 * (size_t)count;
        return;
    }
    for (uint64_t i = 0; i < count && reader->status == MB_OK; i++) {
        struct node *node = node_by_place(reader, get_hash(reader));

        if (node == NULL || node == last)
            continue;
        unlink_node(node);
        link_behind(node, last);
        node->header.section = section;
        last = node;
    }
}

static void add_node(struct reader *reader, const struct mb_header *header, bool has_anchor,
                     uint32_t anchor)
{
    struct node *before = has_anchor ? node_by_place(reader, anchor) : &reader->head;
    struct node *node = mb_arena_alloc(reader->arena, sizeof *node);

    if (node == NULL) {
        reader->status = MB_NO_MEMORY;
        return;
    }
    if (before == NULL) { /* what it followed is gone */
        before = reader->head.previous;
        *node = (struct node){.header = *header};
        link_behind(node, before);
        return;
    }
    *node = (struct node){.header = *header};
    link_behind(node, before->last_added != NULL ? before->last_added : before);
    before->last_added = node;
}

/* The natural values of that name are what they were when the header was lost. */
static bool name_is_as_explained(const struct reader *reader, const struct mb_header *header,
                                 bool has_witness, uint32_t witness)
{
    struct mb_header_group *group =
        mb_header_group_find(&reader->index, header->section, header->name);

    if (!has_witness)
        return group == NULL;
    return group != NULL && mb_header_group_hash(&reader->index, group) == witness;
}

static void read_added(struct reader *reader, unsigned flags)
{
    bool has_anchor = (flags & MB_ADDED_ANCHOR) != 0;
    bool has_witness = (flags & MB_ADDED_WITNESS) != 0;
    uint32_t anchor = has_anchor ? get_hash(reader) : 0;
    uint32_t witness = has_witness ? get_hash(reader) : 0;
    struct mb_header header = {.section = flags & 3u};

    header.name_type = get_name_type(reader);
    header.name = get_slice(reader);
    header.value = get_value(reader);
    if (header.section >= MB_SECTION_BRIDGE)
        refuse(reader);
    if (open_headers(reader) && name_is_as_explained(reader, &header, has_witness, witness))
        add_node(reader, &header, has_anchor, anchor);
}

/* The text of a natural property that can be a header's. */
static bool natural_text(const struct reader *reader, unsigned field, struct mb_slice *ret_text)
{
    const struct mb_id *id = mb_field_at(reader->natural, field);

    if ((reader->natural->present & UINT32_C(1) << field) == 0)
        return false;
    if (mb_field_places[field].kind == MB_FIELD_SLICE)
        *ret_text = *(const struct mb_slice *)mb_field_at(reader->natural, field);
    else if (mb_field_places[field].kind == MB_FIELD_ID && id->kind == MB_ID_STRING)
        *ret_text = id->bytes;
    else
        return false;
    return ret_text->data != NULL && mb_utf8_valid(*ret_text);
}

static void read_header_shown(struct reader *reader, unsigned field)
{
    uint8_t flags = get_byte(reader);
    bool has_anchor = (flags & MB_ADDED_ANCHOR) != 0;
    bool has_witness = (flags & MB_ADDED_WITNESS) != 0;
    uint32_t anchor = has_anchor ? get_hash(reader) : 0;
    uint32_t witness = has_witness ? get_hash(reader) : 0;
    struct mb_header header = {.name = mb_slice_text(mb_field_name(UINT64_C(1) << field)),
                               .value.type = MB_STRING,
                               .section = MB_SECTION_APPLICATION,
                               .name_type = MB_STRING};

    if ((flags & ~(MB_ADDED_ANCHOR | MB_ADDED_WITNESS)) != 0)
        refuse(reader);
    if (open_headers(reader) && natural_text(reader, field, &header.value.as.bytes) &&
        name_is_as_explained(reader, &header, has_witness, witness))
        add_node(reader, &header, has_anchor, anchor);
}

static void read_value(struct reader *reader)
{
    uint32_t address = get_hash(reader);
    struct mb_value value = get_value(reader);
    struct node *node = open_headers(reader) ? node_by_value(reader, address) : NULL;

    if (node == NULL || node->explained)
        return;
    node->explained = true;
    node->header.value = value;
}

static void read_name_type(struct reader *reader)
{
    uint32_t address = get_hash(reader);
    uint8_t type = get_name_type(reader);
    struct node *node = open_headers(reader) ? node_by_place(reader, address) : NULL;

    if (node != NULL)
        node->header.name_type = type;
}

static void read_hide(struct reader *reader)
{
    uint32_t address = get_hash(reader);
    struct node *node = open_headers(reader) ? node_by_value(reader, address) : NULL;

    if (node != NULL)
        hide(node);
}

static void read_header(struct reader *reader, unsigned op)
{
    if (op >= MB_HEADER_ADDED) {
        read_added(reader, op - MB_HEADER_ADDED);
        return;
    }
    switch (op) {
    case MB_HEADER_HIDE:
        read_hide(reader);
        return;
    case MB_HEADER_VALUE:
        read_value(reader);
        return;
    case MB_HEADER_STRING:
        read_type(reader, MB_STRING);
        return;
    case MB_HEADER_BINARY:
        read_type(reader, MB_BINARY);
        return;
    case MB_HEADER_SYMBOL:
        read_type(reader, MB_SYMBOL);
        return;
    case MB_HEADER_ORDER:
        read_order(reader);
        return;
    case MB_HEADER_NAME_TYPE:
        read_name_type(reader);
        return;
    default:
        refuse(reader);
    }
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
static void read_split(struct reader *reader, bool wanted, struct mb_slice bytes)
{
    uint64_t count = get_number(reader);
    struct mb_value *parts = NULL;
    const char *at = bytes.data != NULL ? bytes.data : "";
    uint64_t rest = bytes.size;

    if (count > left(reader))
        refuse(reader);
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
        uint64_t size = get_number(reader);

        if (!wanted)
            continue;
        if (size > rest) {
            refuse(reader);
            return;
        }
        parts[i] = (struct mb_value){.type = MB_BINARY, .as.bytes = {at, (size_t)size}};
        at += size;
        rest -= size;
    }
    if (!wanted)
        return;
    if (rest != 0)
        refuse(reader);
    reader->message->body_kind = MB_BODY_MULTI_DATA;
    reader->message->body = bytes;
    reader->message->body_value =
        (struct mb_value){.type = MB_LIST, .as.items = {.values = parts, .count = (uint32_t)count}};
}

static void join_parts(struct reader *reader, const struct mb_value *parts)
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

static void read_body_value(struct reader *reader, unsigned op, bool wanted)
{
    struct mb_value value = get_value(reader);
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
        refuse(reader);
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

static void set_body(struct reader *reader, uint8_t kind, struct mb_slice bytes)
{
    reader->message->body_kind = kind;
    reader->message->body = bytes;
    memset(&reader->message->body_value, 0, sizeof reader->message->body_value);
}

static void read_body(struct reader *reader, unsigned op)
{
    static const uint8_t types[] = {MB_STRING, MB_BINARY, MB_SYMBOL};
    struct mb_slice bytes = MB_SLICE_NULL;
    bool has_bytes = mb_body_bytes(reader->natural, &bytes);
    bool wanted;

    if (reader->body_seen) {
        refuse(reader);
        return;
    }
    reader->body_seen = true;
    wanted = get_hash(reader) == mb_hash_body(reader->natural);
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
        bytes = get_slice(reader);
        if (wanted)
            set_body(reader, MB_BODY_BYTES, bytes);
        return;
    case MB_BODY_OP_STRING:
    case MB_BODY_OP_BINARY:
    case MB_BODY_OP_SYMBOL:
        if (!wanted || !has_bytes || !can_be(bytes, types[op - MB_BODY_OP_STRING]))
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
        refuse(reader);
    }
}

/* ---- all of it ---- */

static void read_field(struct reader *reader, unsigned kind, unsigned field)
{
    bool wanted;
    uint32_t *seen = kind == MB_SIDECAR_HEADER_SHOWN ? &reader->headers_seen : &reader->fields_seen;

    if (field >= MB_FIELDS_COUNT || (*seen & UINT32_C(1) << field) != 0) {
        refuse(reader);
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
        get_field(reader, field, wanted, reader->natural->timestamp_ms);
        return;
    case MB_SIDECAR_ADD:
        wanted = (reader->natural->present & UINT32_C(1) << field) == 0;
        get_field(reader, field, wanted, 0);
        return;
    case MB_SIDECAR_SHOWN:
    case MB_SIDECAR_SHOWN_VALUE:
        read_shown(reader, field, kind == MB_SIDECAR_SHOWN_VALUE);
        return;
    default:
        read_header_shown(reader, field);
    }
}

static void read_entries(struct reader *reader)
{
    if (get_byte(reader) != MB_SIDECAR_VERSION)
        refuse(reader);
    while (reader->status == MB_OK && left(reader) > 0) {
        uint8_t tag = get_byte(reader);

        if (tag >> 5 == MB_SIDECAR_HEADER)
            read_header(reader, tag & 31u);
        else if (tag >> 5 == MB_SIDECAR_BODY)
            read_body(reader, tag & 31u);
        else
            read_field(reader, tag >> 5, tag & 31u);
    }
}

static void close_headers(struct reader *reader)
{
    struct mb_header *headers;
    uint32_t count = 0;

    if (reader->status != MB_OK || reader->nodes == NULL)
        return;
    for (const struct node *node = reader->head.next; node != &reader->head; node = node->next)
        count++;
    headers = mb_arena_alloc(reader->arena, count * sizeof *headers);
    if (headers == NULL) {
        reader->status = MB_NO_MEMORY;
        return;
    }
    reader->message->headers = headers;
    reader->message->headers_count = count;
    for (const struct node *node = reader->head.next; node != &reader->head; node = node->next)
        *headers++ = node->header;
}

enum mb_status mb_sidecar_restore(const struct mb_message *natural, struct mb_arena *arena,
                                  struct mb_message *ret_message, bool *ret_malformed)
{
    struct mb_slice sidecar = natural->sidecar;
    struct reader reader;

    *ret_malformed = false;
    mb_message_copy(ret_message, natural);
    ret_message->sidecar = MB_SLICE_NULL;
    if (sidecar.data == NULL)
        return MB_OK;
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
    close_headers(&reader);
    if (reader.status == MB_OK)
        return MB_OK;
    mb_message_copy(ret_message, natural); /* nothing of it was applied */
    ret_message->sidecar = MB_SLICE_NULL;
    *ret_malformed = reader.status == MB_REJECTED;
    return *ret_malformed ? MB_OK : reader.status;
}
