/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/field.h"
#include "kit/sidecar_reader.h"
#include "kit/utf8.h"

static void link_behind(struct mb_sidecar_node *node, struct mb_sidecar_node *before)
{
    node->previous = before;
    node->next = before->next;
    before->next->previous = node;
    before->next = node;
}

static void unlink_node(struct mb_sidecar_node *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
}

/* The natural headers as a list that can be changed, when the first entry wants that. */
static bool open_headers(struct mb_sidecar_reader *reader)
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
    reader->head = (struct mb_sidecar_node){.previous = &reader->head, .next = &reader->head};
    for (uint32_t i = 0; i < count; i++) {
        reader->nodes[i] = (struct mb_sidecar_node){.header = natural->headers[i]};
        link_behind(&reader->nodes[i], reader->head.previous);
    }
    return true;
}

/* NULL: somebody changed or removed it; or it is hidden already. */
static struct mb_sidecar_node *node_by_value(struct mb_sidecar_reader *reader, uint32_t address)
{
    uint32_t i = mb_header_by_value(&reader->index, address);

    return i == UINT32_MAX || reader->nodes[i].gone ? NULL : &reader->nodes[i];
}

static struct mb_sidecar_node *node_by_place(struct mb_sidecar_reader *reader, uint32_t address)
{
    uint32_t i = mb_header_by_place(&reader->index, address);

    return i == UINT32_MAX || reader->nodes[i].gone ? NULL : &reader->nodes[i];
}

static void hide(struct mb_sidecar_node *node)
{
    unlink_node(node);
    node->gone = true;
}

void mb_sidecar_read_shown(struct mb_sidecar_reader *reader, unsigned field, bool has_value)
{
    uint32_t address = mb_sidecar_get_hash(reader);
    struct mb_sidecar_node *node = open_headers(reader) ? node_by_value(reader, address) : NULL;
    uint8_t kind = mb_field_places[field].kind;
    const struct mb_value *shown = node != NULL ? &node->header.value : NULL;
    struct mb_slice bytes = MB_SLICE_NULL;
    bool wanted = node != NULL && (reader->natural->present & UINT32_C(1) << field) == 0;

    if (has_value) {
        mb_sidecar_get_field(reader, field, wanted, 0);
    } else {
        if (kind != MB_FIELD_SLICE && kind != MB_FIELD_ID)
            mb_sidecar_refuse(reader);
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
bool mb_sidecar_can_be(struct mb_slice bytes, enum mb_type type)
{
    if (type == MB_STRING)
        return mb_utf8_valid(bytes);
    return type == MB_BINARY || is_ascii(bytes);
}

static void read_type(struct mb_sidecar_reader *reader, enum mb_type type)
{
    uint32_t address = mb_sidecar_get_hash(reader);
    struct mb_sidecar_node *node = open_headers(reader) ? node_by_value(reader, address) : NULL;

    if (node == NULL || node->explained || !mb_is_bytes(&node->header.value))
        return;
    node->explained = true;
    if (mb_sidecar_can_be(node->header.value.as.bytes, type))
        node->header.value.type = (uint8_t)type;
}

static uint8_t get_name_type(struct mb_sidecar_reader *reader)
{
    uint8_t type = mb_sidecar_get_byte(reader);

    if (type != MB_STRING && type != MB_SYMBOL && type != MB_U64 && type != MB_BINARY)
        mb_sidecar_refuse(reader);
    return type;
}

/* The named ones come first, in that order and in that section; the others stay behind them. */
static void read_order(struct mb_sidecar_reader *reader)
{
    uint8_t section = mb_sidecar_get_byte(reader);
    uint64_t count = mb_sidecar_get_number(reader);
    struct mb_sidecar_node *last = &reader->head;

    if (section >= MB_SECTION_BRIDGE || count > mb_sidecar_left(reader) / 4)
        mb_sidecar_refuse(reader);
    if (reader->status == MB_OK && !open_headers(reader)) {
        reader->bytes.at += 4 * (size_t)count;
        return;
    }
    for (uint64_t i = 0; i < count && reader->status == MB_OK; i++) {
        struct mb_sidecar_node *node = node_by_place(reader, mb_sidecar_get_hash(reader));

        if (node == NULL || node == last)
            continue;
        unlink_node(node);
        link_behind(node, last);
        node->header.section = section;
        last = node;
    }
}

static void add_node(struct mb_sidecar_reader *reader, const struct mb_header *header,
                     bool has_anchor, uint32_t anchor)
{
    struct mb_sidecar_node *before = has_anchor ? node_by_place(reader, anchor) : &reader->head;
    struct mb_sidecar_node *node = mb_arena_alloc(reader->arena, sizeof *node);

    if (node == NULL) {
        reader->status = MB_NO_MEMORY;
        return;
    }
    if (before == NULL) { /* what it followed is gone */
        before = reader->head.previous;
        *node = (struct mb_sidecar_node){.header = *header};
        link_behind(node, before);
        return;
    }
    *node = (struct mb_sidecar_node){.header = *header};
    link_behind(node, before->last_added != NULL ? before->last_added : before);
    before->last_added = node;
}

/* The natural values of that name are what they were when the header was lost. */
static bool name_is_as_explained(const struct mb_sidecar_reader *reader,
                                 const struct mb_header *header, bool has_witness, uint32_t witness)
{
    struct mb_header_group *group =
        mb_header_group_find(&reader->index, header->section, header->name);

    if (!has_witness)
        return group == NULL;
    return group != NULL && mb_header_group_hash(&reader->index, group) == witness;
}

static void read_added(struct mb_sidecar_reader *reader, unsigned flags)
{
    bool has_anchor = (flags & MB_ADDED_ANCHOR) != 0;
    bool has_witness = (flags & MB_ADDED_WITNESS) != 0;
    uint32_t anchor = has_anchor ? mb_sidecar_get_hash(reader) : 0;
    uint32_t witness = has_witness ? mb_sidecar_get_hash(reader) : 0;
    struct mb_header header = {.section = flags & 3u};

    header.name_type = get_name_type(reader);
    header.name = mb_sidecar_get_slice(reader);
    header.value = mb_sidecar_get_value(reader);
    if (header.section >= MB_SECTION_BRIDGE)
        mb_sidecar_refuse(reader);
    if (open_headers(reader) && name_is_as_explained(reader, &header, has_witness, witness))
        add_node(reader, &header, has_anchor, anchor);
}

/* The text of a natural property that can be a header's. */
static bool natural_text(const struct mb_sidecar_reader *reader, unsigned field,
                         struct mb_slice *ret_text)
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

void mb_sidecar_read_header_shown(struct mb_sidecar_reader *reader, unsigned field)
{
    uint8_t flags = mb_sidecar_get_byte(reader);
    bool has_anchor = (flags & MB_ADDED_ANCHOR) != 0;
    bool has_witness = (flags & MB_ADDED_WITNESS) != 0;
    uint32_t anchor = has_anchor ? mb_sidecar_get_hash(reader) : 0;
    uint32_t witness = has_witness ? mb_sidecar_get_hash(reader) : 0;
    struct mb_header header = {.name = mb_field_text(UINT64_C(1) << field),
                               .value.type = MB_STRING,
                               .section = MB_SECTION_APPLICATION,
                               .name_type = MB_STRING};

    if ((flags & ~(MB_ADDED_ANCHOR | MB_ADDED_WITNESS)) != 0)
        mb_sidecar_refuse(reader);
    if (open_headers(reader) && natural_text(reader, field, &header.value.as.bytes) &&
        name_is_as_explained(reader, &header, has_witness, witness))
        add_node(reader, &header, has_anchor, anchor);
}

static void read_value(struct mb_sidecar_reader *reader)
{
    uint32_t address = mb_sidecar_get_hash(reader);
    struct mb_value value = mb_sidecar_get_value(reader);
    struct mb_sidecar_node *node = open_headers(reader) ? node_by_value(reader, address) : NULL;

    if (node == NULL || node->explained)
        return;
    node->explained = true;
    node->header.value = value;
}

static void read_name_type(struct mb_sidecar_reader *reader)
{
    uint32_t address = mb_sidecar_get_hash(reader);
    uint8_t type = get_name_type(reader);
    struct mb_sidecar_node *node = open_headers(reader) ? node_by_place(reader, address) : NULL;

    if (node != NULL)
        node->header.name_type = type;
}

static void read_hide(struct mb_sidecar_reader *reader)
{
    uint32_t address = mb_sidecar_get_hash(reader);
    struct mb_sidecar_node *node = open_headers(reader) ? node_by_value(reader, address) : NULL;

    if (node != NULL)
        hide(node);
}

void mb_sidecar_read_header(struct mb_sidecar_reader *reader, unsigned op)
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
        mb_sidecar_refuse(reader);
    }
}

void mb_sidecar_close_headers(struct mb_sidecar_reader *reader)
{
    struct mb_header *headers;
    uint32_t count = 0;

    if (reader->status != MB_OK || reader->nodes == NULL)
        return;
    for (const struct mb_sidecar_node *node = reader->head.next; node != &reader->head;
         node = node->next)
        count++;
    headers = mb_arena_alloc(reader->arena, count * sizeof *headers);
    if (headers == NULL) {
        reader->status = MB_NO_MEMORY;
        return;
    }
    reader->message->headers = headers;
    reader->message->headers_count = count;
    for (const struct mb_sidecar_node *node = reader->head.next; node != &reader->head;
         node = node->next)
        *headers++ = node->header;
}
