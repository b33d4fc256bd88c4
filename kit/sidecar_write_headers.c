/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/field.h"
#include "kit/sidecar_writer.h"

static uint64_t lost_section(const struct mb_header *header)
{
    switch ((enum mb_section)header->section) {
    case MB_SECTION_MESSAGE_ANNOTATIONS:
        return MB_LOST_ANNOTATIONS;
    case MB_SECTION_FOOTER:
        return MB_LOST_FOOTER;
    case MB_SECTION_APPLICATION:
    case MB_SECTION_BRIDGE:
        break;
    }
    return MB_LOST_HEADERS;
}

/* Same name, same section: in order, from the front; or from the back where the natural message
 * has fewer, since on platforms with unique names the last one wins. */
static void match_groups(struct mb_header_index *index)
{
    for (uint32_t g = 0; g < index->groups_count; g++) {
        const struct mb_header_group *group = &index->groups[g];
        uint32_t i = group->first[0];
        uint32_t j = group->first[1];

        if (group->header->section >= MB_SECTION_BRIDGE)
            continue;
        for (uint32_t skip = group->count[0]; skip < group->count[1]; skip++)
            j = index->items[1][j - 1].next;
        while (i != 0 && j != 0) {
            index->items[0][i - 1].match = j;
            index->items[1][j - 1].match = i;
            i = index->items[0][i - 1].next;
            j = index->items[1][j - 1].next;
        }
    }
}

/* What stands in another section in the natural message. */
static void match_sections(struct mb_header_index *index)
{
    for (uint32_t j = 0; j < index->count[1]; j++) {
        struct mb_header_item *item = &index->items[1][j];

        for (uint8_t section = MB_SECTION_APPLICATION;
             section < MB_SECTION_BRIDGE && item->match == 0; section++) {
            const struct mb_header_group *group;
            uint32_t i;

            if (item->header->section >= MB_SECTION_BRIDGE || item->header->section == section)
                continue;
            group = mb_header_group_find(index, section, item->header->name);
            i = group != NULL ? group->first[0] : 0;
            while (i != 0 && index->items[0][i - 1].match != 0)
                i = index->items[0][i - 1].next;
            if (i != 0) {
                index->items[0][i - 1].match = j + 1;
                item->match = i;
            }
        }
    }
}

void mb_sidecar_match_headers(struct mb_header_index *index)
{
    match_groups(index);
    match_sections(index);
}

static bool has_place(const struct mb_sidecar_writer *writer, uint32_t i)
{
    return mb_header_by_place(&writer->index, writer->index.items[0][i].place) == i;
}

static bool can_explain(const struct mb_sidecar_writer *writer, uint32_t i)
{
    return mb_header_by_value(&writer->index, writer->index.items[0][i].explains) == i;
}

static void write_order(struct mb_sidecar_writer *writer, uint8_t section)
{
    const struct mb_header_index *index = &writer->index;
    const struct mb_header section_only = {.section = section};
    uint64_t lost = lost_section(&section_only);
    size_t at = writer->out->size;
    uint32_t last = 0;
    uint32_t count = 0;
    bool differs = false;
    bool all = true;

    for (uint32_t j = 0; j < index->count[1]; j++) {
        uint32_t i = index->items[1][j].match;

        if (index->items[1][j].header->section != section || i == 0)
            continue;
        differs = differs || i < last || index->items[0][i - 1].header->section != section;
        last = i;
        lost |= lost_section(index->items[0][i - 1].header);
        count += has_place(writer, i - 1);
        all = all && has_place(writer, i - 1);
    }
    if (!differs)
        return;
    if (!all)
        writer->lost |= lost;
    mb_sidecar_begin(writer, MB_SIDECAR_HEADER, MB_HEADER_ORDER);
    mb_sidecar_put_byte(writer, section);
    mb_sidecar_put_number(writer, count);
    for (uint32_t j = 0; j < index->count[1]; j++) {
        uint32_t i = index->items[1][j].match;

        if (index->items[1][j].header->section == section && i != 0 && has_place(writer, i - 1))
            mb_sidecar_put_hash(writer, index->items[0][i - 1].place);
    }
    mb_sidecar_end(writer, at, lost);
}

static unsigned retype_op(const struct mb_value *message, const struct mb_value *natural)
{
    struct mb_slice a = message->as.bytes;
    struct mb_slice b = natural->as.bytes;

    if (!mb_is_bytes(message) || !mb_is_bytes(natural) || !mb_slice_equal(a, b))
        return MB_HEADER_VALUE;
    if (message->type == MB_STRING)
        return MB_HEADER_STRING;
    return message->type == MB_BINARY ? MB_HEADER_BINARY : MB_HEADER_SYMBOL;
}

static void write_matched(struct mb_sidecar_writer *writer, uint32_t i,
                          const struct mb_header *header)
{
    const struct mb_header_item *item = &writer->index.items[0][i];
    const struct mb_header *natural = item->header;
    uint64_t lost = lost_section(header);
    size_t at = writer->out->size;

    if (!mb_value_same(&header->value, &natural->value)) {
        unsigned op = retype_op(&header->value, &natural->value);

        if (can_explain(writer, i)) {
            mb_sidecar_begin(writer, MB_SIDECAR_HEADER, op);
            mb_sidecar_put_hash(writer, item->explains);
            if (op == MB_HEADER_VALUE)
                mb_types_write(writer->out, &header->value);
            mb_sidecar_end(writer, at, lost);
        } else {
            writer->lost |= lost;
        }
    }
    if (mb_name_type(header) == mb_name_type(natural))
        return;
    at = writer->out->size;
    if (has_place(writer, i)) {
        mb_sidecar_begin(writer, MB_SIDECAR_HEADER, MB_HEADER_NAME_TYPE);
        mb_sidecar_put_hash(writer, item->place);
        mb_sidecar_put_byte(writer, mb_name_type(header));
        mb_sidecar_end(writer, at, lost);
    } else {
        writer->lost |= lost;
    }
}

/* The promoted property of the natural message that says what this header says, or
 * MB_FIELDS_COUNT. */
static unsigned field_that_shows(const struct mb_sidecar_writer *writer,
                                 const struct mb_header *header)
{
    uint64_t bit = mb_field_of(header->name) & MB_FIELDS_PROMOTED & writer->natural->present &
                   ~writer->headers_shown;
    unsigned field;

    if (bit == 0 || header->section != MB_SECTION_APPLICATION ||
        mb_name_type(header) != MB_STRING || header->value.type != MB_STRING)
        return MB_FIELDS_COUNT;
    field = (unsigned)__builtin_ctzll(bit);
    return mb_sidecar_says_all(writer->natural, field, &header->value) ? field : MB_FIELDS_COUNT;
}

/* anchor: index + 1 of the natural header that it follows, 0 for none. */
static void write_added(struct mb_sidecar_writer *writer, const struct mb_header *header,
                        uint32_t anchor)
{
    const struct mb_header_index *index = &writer->index;
    struct mb_header_group *group = mb_header_group_find(index, header->section, header->name);
    bool anchored = anchor != 0 && has_place(writer, anchor - 1);
    unsigned flags = (anchored ? MB_ADDED_ANCHOR : 0) |
                     (group != NULL && group->count[0] > 0 ? MB_ADDED_WITNESS : 0);
    unsigned field = field_that_shows(writer, header);
    size_t at = writer->out->size;

    if (anchor != 0 && !anchored)
        writer->lost |= lost_section(header);
    if (field < MB_FIELDS_COUNT) {
        writer->headers_shown |= UINT64_C(1) << field;
        mb_sidecar_begin(writer, MB_SIDECAR_HEADER_SHOWN, field);
        mb_sidecar_put_byte(writer, (uint8_t)flags);
    } else {
        mb_sidecar_begin(writer, MB_SIDECAR_HEADER, MB_HEADER_ADDED | flags | header->section);
    }
    if ((flags & MB_ADDED_ANCHOR) != 0)
        mb_sidecar_put_hash(writer, index->items[0][anchor - 1].place);
    if ((flags & MB_ADDED_WITNESS) != 0)
        mb_sidecar_put_hash(writer, mb_header_group_hash(index, group));
    if (field == MB_FIELDS_COUNT) {
        mb_sidecar_put_byte(writer, mb_name_type(header));
        mb_sidecar_put_slice(writer, header->name);
        mb_types_write(writer->out, &header->value);
    }
    mb_sidecar_end(writer, at, lost_section(header));
}

static void write_hidden(struct mb_sidecar_writer *writer, const struct mb_header *natural,
                         uint32_t explains)
{
    size_t at = writer->out->size;

    mb_sidecar_begin(writer, MB_SIDECAR_HEADER, MB_HEADER_HIDE);
    mb_sidecar_put_hash(writer, explains);
    mb_sidecar_end(writer, at, lost_section(natural));
}

void mb_sidecar_write_tail(struct mb_sidecar_writer *writer)
{
    const struct mb_header_tail *tail = &writer->tail;

    for (uint32_t i = tail->begin; i < tail->end; i++) {
        if ((tail->shown >> i & 1) == 0)
            write_hidden(writer, &writer->natural->headers[i], tail->explains[i]);
    }
}

void mb_sidecar_write_headers(struct mb_sidecar_writer *writer)
{
    const struct mb_header_index *index = &writer->index;
    uint32_t anchors[MB_SECTION_BRIDGE] = {0};

    for (uint32_t i = 0; i < index->count[0]; i++) {
        const struct mb_header_item *item = &index->items[0][i];

        if (item->match != 0 || item->header->section >= MB_SECTION_BRIDGE)
            continue;
        if (can_explain(writer, i))
            write_hidden(writer, item->header, item->explains);
        else
            writer->lost |= lost_section(item->header);
    }
    for (uint8_t section = 0; section < MB_SECTION_BRIDGE; section++)
        write_order(writer, section);
    for (uint32_t j = 0; j < index->count[1]; j++) {
        const struct mb_header_item *item = &index->items[1][j];

        if (item->header->section >= MB_SECTION_BRIDGE)
            continue;
        if (item->match == 0) {
            write_added(writer, item->header, anchors[item->header->section]);
        } else {
            write_matched(writer, item->match - 1, item->header);
            anchors[item->header->section] = item->match;
        }
    }
}
