/* SPDX-License-Identifier: Apache-2.0 */
/* Entry → envelope. */
#include "redis_map_parts.h"

#include <kit/field.h>

#define NOWHERE SIZE_MAX

/* Where in the list of fields stands what is no header. */
struct layout {
    size_t key;
    size_t body;
    size_t carriers[REDIS_CARRIERS_COUNT];
    size_t carriers_count;
};

/* Nothing but a key and a body, as they are written. */
static bool is_key_and_body(const struct layout *layout, size_t count)
{
    return layout->body == count - 1 && (count == 1 || (count == 2 && layout->key == 0));
}

static void find(const struct redis_field *fields, size_t count, struct mb_slice body_field,
                 struct layout *layout)
{
    *layout = (struct layout){NOWHERE, NOWHERE, {NOWHERE, NOWHERE, NOWHERE}, 0};
    for (size_t i = 0; i < count; i++) {
        enum redis_carrier carrier;

        if (layout->key == NOWHERE && REDIS_IS_NAME(fields[i].name, REDIS_FIELD_KEY)) {
            layout->key = i;
        } else if (layout->body == NOWHERE && mb_slice_equal(fields[i].name, body_field)) {
            layout->body = i;
        } else {
            carrier = redis_carrier_of(fields[i].name);
            if (carrier < REDIS_CARRIERS_COUNT && layout->carriers[carrier] == NOWHERE) {
                layout->carriers[carrier] = i;
                layout->carriers_count++;
            }
        }
    }
}

static bool is_carrier(const struct layout *layout, size_t at)
{
    return layout->carriers_count > 0 &&
           (at == layout->carriers[REDIS_CARRIER_SIDECAR] ||
            at == layout->carriers[REDIS_CARRIER_PATH] || at == layout->carriers[REDIS_CARRIER_ID]);
}

/* Where key and body stood: behind how many fields that are no carriers, and one more; 0: there was
 * none. */
static void set_order(struct mb_header *header, uint64_t key, uint64_t body)
{
    memset(header, 0, sizeof *header);
    header->name = MB_SLICE_LITERAL(REDIS_ANNOTATION_ORDER);
    header->name_type = MB_SYMBOL;
    header->section = MB_SECTION_MESSAGE_ANNOTATIONS;
    header->value.type = MB_U64;
    header->value.as.u = key << 32 | body;
}

static uint64_t carriers_before(const struct layout *layout, size_t at)
{
    uint64_t count = 0;

    for (size_t i = 0; i < REDIS_CARRIERS_COUNT; i++)
        count += layout->carriers[i] != NOWHERE && layout->carriers[i] < at;
    return count;
}

static void read_carriers(const struct redis_field *fields, const struct layout *layout,
                          struct mb_message *message)
{
    size_t sidecar = layout->carriers[REDIS_CARRIER_SIDECAR];
    size_t path = layout->carriers[REDIS_CARRIER_PATH];
    size_t id = layout->carriers[REDIS_CARRIER_ID];

    message->sidecar = MB_SLICE_NULL;
    message->stable_id = MB_SLICE_NULL;
    message->path_count = 0;
    if (sidecar != NOWHERE && fields[sidecar].value.size > 0)
        message->sidecar = fields[sidecar].value;
    if (path != NOWHERE)
        mb_path_read(fields[path].value, message);
    if (id != NOWHERE)
        message->stable_id = fields[id].value;
}

/* An entry without a body field: its pairs are the body, and only the carriers are headers. */
static enum mb_status read_pairs(const struct redis_field *fields, size_t count,
                                 const struct layout *layout, struct mb_arena *arena,
                                 struct mb_message *message)
{
    size_t pairs = count - layout->carriers_count;
    struct mb_value *values = mb_arena_alloc(arena, 2 * pairs * sizeof *values);
    struct mb_header *headers = mb_arena_alloc(arena, layout->carriers_count * sizeof *headers);
    uint32_t at = 0;

    if (values == NULL || headers == NULL)
        return MB_NO_MEMORY;
    memset(values, 0, 2 * pairs * sizeof *values);
    message->headers_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_carrier(layout, i)) {
            redis_header_set(&headers[message->headers_count++], &fields[i], MB_SECTION_BRIDGE);
            continue;
        }
        values[at].type = MB_BINARY;
        values[at++].as.bytes = fields[i].name;
        values[at].type = MB_BINARY;
        values[at++].as.bytes = fields[i].value;
    }
    message->headers = message->headers_count > 0 ? headers : NULL;
    message->body_kind = MB_BODY_PAIRS;
    message->body = MB_SLICE_NULL;
    memset(&message->body_value, 0, sizeof message->body_value);
    message->body_value.type = MB_MAP;
    message->body_value.as.items.values = values;
    message->body_value.as.items.count = at;
    return MB_OK;
}

static void set_content(struct mb_message *message, const struct mb_header *headers, uint32_t count,
                        struct mb_slice body)
{
    message->headers = headers;
    message->headers_count = count;
    message->body_kind = MB_BODY_BYTES;
    message->body = body;
    memset(&message->body_value, 0, sizeof message->body_value);
}

static enum mb_status read_headers(const struct redis_field *fields, size_t count,
                                   const struct layout *layout, struct mb_arena *arena,
                                   struct mb_message *message)
{
    bool has_key = layout->key != NOWHERE;
    uint64_t key = has_key ? layout->key - carriers_before(layout, layout->key) : 0;
    uint64_t body = layout->body - carriers_before(layout, layout->body);
    bool usual = key == 0 && body == (has_key ? 1u : 0u);
    struct mb_header *headers = mb_arena_alloc(arena, count * sizeof *headers);
    uint32_t used = 0;

    if (headers == NULL)
        return MB_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        bool carrier = is_carrier(layout, i);

        if (i == layout->key || i == layout->body)
            continue;
        redis_header_set(&headers[used], &fields[i],
                         carrier ? MB_SECTION_BRIDGE : MB_SECTION_APPLICATION);
        if (!carrier && !mb_field_promote(message, &headers[used], arena))
            return MB_NO_MEMORY;
        used++;
    }
    if (!usual)
        set_order(&headers[used++], has_key ? key + 1 : 0, body + 1);
    set_content(message, used > 0 ? headers : NULL, used, fields[layout->body].value);
    return MB_OK;
}

enum mb_status redis_entry_decode(const struct redis_field *fields, size_t count,
                                  struct mb_slice body_field, struct mb_arena *arena,
                                  struct mb_message *message)
{
    struct layout layout;

    find(fields, count, body_field, &layout);
    message->present = 0;
    message->key = MB_SLICE_NULL;
    if (layout.key != NOWHERE) {
        message->present |= MB_HAS_KEY;
        message->key = fields[layout.key].value;
    }
    read_carriers(fields, &layout, message);
    if (is_key_and_body(&layout, count)) {
        set_content(message, NULL, 0, fields[layout.body].value);
        return MB_OK;
    }
    if (layout.body == NOWHERE)
        return read_pairs(fields, count, &layout, arena, message);
    return read_headers(fields, count, &layout, arena, message);
}
