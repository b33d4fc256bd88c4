/* SPDX-License-Identifier: Apache-2.0 */
/* Fields, comparison and hashes. */
#include "kit/sidecar_parts.h"

#define PLACE(kind_, member)                                                                       \
    {                                                                                              \
        .kind = (kind_), .offset = (uint16_t)offsetof(struct mb_message, member)                   \
    }
#define PROPERTY(kind_, member)                                                                    \
    {                                                                                              \
        .kind = (kind_), .is_property = true,                                                      \
        .offset = (uint16_t)offsetof(struct mb_properties, member)                                 \
    }

const struct mb_field_place mb_field_places[MB_FIELDS_COUNT] = {
    PLACE(MB_FIELD_SLICE, key),
    PROPERTY(MB_FIELD_ID, message_id),
    PROPERTY(MB_FIELD_ID, correlation_id),
    PROPERTY(MB_FIELD_SLICE, content_type),
    PROPERTY(MB_FIELD_SLICE, content_encoding),
    PROPERTY(MB_FIELD_SLICE, subject),
    PROPERTY(MB_FIELD_SLICE, to),
    PROPERTY(MB_FIELD_SLICE, reply_to),
    PROPERTY(MB_FIELD_SLICE, group_id),
    PROPERTY(MB_FIELD_U32, group_sequence),
    PROPERTY(MB_FIELD_SLICE, reply_to_group_id),
    PROPERTY(MB_FIELD_SLICE, user_id),
    PROPERTY(MB_FIELD_SLICE, app_id),
    PROPERTY(MB_FIELD_SLICE, exchange),
    PROPERTY(MB_FIELD_SLICE, routing_key),
    PLACE(MB_FIELD_TIMESTAMP, timestamp_ms),
    PLACE(MB_FIELD_U64, ttl_ms),
    PLACE(MB_FIELD_I64, expires_at_ms),
    PLACE(MB_FIELD_BOOL, durable),
    PLACE(MB_FIELD_U8, priority),
};

/* ---- comparison ---- */

/* Most projections keep the pointer: then there is nothing to read. */
static bool slice_same(const struct mb_slice *a, const struct mb_slice *b)
{
    return a->size == b->size && (a->data == b->data || (a->data != NULL && b->data != NULL &&
                                                         memcmp(a->data, b->data, a->size) == 0));
}

static bool bytes_same(struct mb_slice a, struct mb_slice b)
{
    return a.size == b.size &&
           (a.size == 0 || a.data == b.data || memcmp(a.data, b.data, a.size) == 0);
}

static bool id_same(const struct mb_id *a, const struct mb_id *b)
{
    if (a->kind != b->kind)
        return false;
    return a->kind == MB_ID_ULONG ? a->number == b->number : slice_same(&a->bytes, &b->bytes);
}

static bool field_same(const struct mb_message *a, const struct mb_message *b, unsigned field)
{
    const void *of_a = mb_field_at(a, field);
    const void *of_b = mb_field_at(b, field);

    if (of_a == of_b)
        return true; /* both have the same properties */
    switch ((enum mb_field_kind)mb_field_places[field].kind) {
    case MB_FIELD_SLICE:
        return slice_same(of_a, of_b);
    case MB_FIELD_ID:
        return id_same(of_a, of_b);
    case MB_FIELD_TIMESTAMP:
        return a->timestamp_kind == b->timestamp_kind &&
               mb_timestamp_base(a) == mb_timestamp_base(b);
    case MB_FIELD_I64:
    case MB_FIELD_U64:
        return memcmp(of_a, of_b, 8) == 0;
    case MB_FIELD_U32:
        return memcmp(of_a, of_b, 4) == 0;
    case MB_FIELD_U8:
    case MB_FIELD_BOOL:
        return memcmp(of_a, of_b, 1) == 0;
    }
    return false;
}

uint32_t mb_fields_difference(const struct mb_message *a, const struct mb_message *b)
{
    uint32_t difference = a->present ^ b->present;

    for (uint32_t both = a->present & b->present; both != 0; both &= both - 1) {
        unsigned field = (unsigned)__builtin_ctz(both);

        if (field < MB_FIELDS_COUNT && !field_same(a, b, field))
            difference |= UINT32_C(1) << field;
    }
    return difference & ((UINT32_C(1) << MB_FIELDS_COUNT) - 1);
}

bool mb_value_same(const struct mb_value *a, const struct mb_value *b)
{
    if (a->type != b->type)
        return false;
    return mb_is_bytes(a) ? bytes_same(a->as.bytes, b->as.bytes) : mb_value_equal(a, b);
}

bool mb_body_same(const struct mb_message *a, const struct mb_message *b)
{
    if (a->body_kind != b->body_kind)
        return false;
    switch ((enum mb_body_kind)a->body_kind) {
    case MB_BODY_NULL:
        return true;
    case MB_BODY_BYTES:
        return bytes_same(a->body, b->body);
    case MB_BODY_MULTI_DATA:
    case MB_BODY_VALUE:
    case MB_BODY_SEQUENCE:
    case MB_BODY_PAIRS:
        break;
    }
    return mb_value_same(&a->body_value, &b->body_value);
}

static bool header_same(const struct mb_header *a, const struct mb_header *b)
{
    return a->section == b->section && bytes_same(a->name, b->name) &&
           mb_name_type(a) == mb_name_type(b) && mb_value_same(&a->value, &b->value);
}

static uint32_t skip_bridge(const struct mb_message *message, uint32_t at)
{
    while (at < message->headers_count && message->headers[at].section >= MB_SECTION_BRIDGE)
        at++;
    return at;
}

bool mb_headers_same(const struct mb_message *a, const struct mb_message *b)
{
    uint32_t i = 0;
    uint32_t j = 0;

    if (a->headers == b->headers && a->headers_count == b->headers_count)
        return true;
    for (;; i++, j++) {
        i = skip_bridge(a, i);
        j = skip_bridge(b, j);
        if (i == a->headers_count || j == b->headers_count)
            return i == a->headers_count && j == b->headers_count;
        if (!header_same(&a->headers[i], &b->headers[j]))
            return false;
    }
}

static uint32_t skip_others(const struct mb_message *message, uint32_t at, uint8_t section)
{
    while (at < message->headers_count && message->headers[at].section != section)
        at++;
    return at;
}

static bool section_same(const struct mb_message *a, const struct mb_message *b, uint8_t section)
{
    uint32_t i = 0;
    uint32_t j = 0;

    for (;; i++, j++) {
        i = skip_others(a, i, section);
        j = skip_others(b, j, section);
        if (i == a->headers_count || j == b->headers_count)
            return i == a->headers_count && j == b->headers_count;
        if (!header_same(&a->headers[i], &b->headers[j]))
            return false;
    }
}

uint64_t mb_message_difference(const struct mb_message *a, const struct mb_message *b)
{
    uint64_t difference = mb_fields_difference(a, b);

    if (!mb_body_same(a, b))
        difference |= MB_LOST_BODY;
    if (mb_headers_same(a, b))
        return difference;
    if (!section_same(a, b, MB_SECTION_APPLICATION))
        difference |= MB_LOST_HEADERS;
    if (!section_same(a, b, MB_SECTION_MESSAGE_ANNOTATIONS))
        difference |= MB_LOST_ANNOTATIONS;
    if (!section_same(a, b, MB_SECTION_FOOTER))
        difference |= MB_LOST_FOOTER;
    return difference;
}

bool mb_body_bytes(const struct mb_message *message, struct mb_slice *ret_bytes)
{
    *ret_bytes = message->body;
    if (message->body_kind == MB_BODY_BYTES || message->body_kind == MB_BODY_MULTI_DATA)
        return true;
    if (message->body_kind != MB_BODY_VALUE || !mb_is_bytes(&message->body_value))
        return false;
    *ret_bytes = message->body_value.as.bytes;
    return true;
}

void mb_message_copy(struct mb_message *to, const struct mb_message *from)
{
    size_t size = from->struct_size;

    if (size > 0 && size < sizeof *to) {
        memset(to, 0, sizeof *to);
        memcpy(to, from, size);
    } else {
        *to = *from;
    }
    to->struct_size = sizeof *to;
}

/* ---- hashes ---- */

#define HASH_SEED  UINT64_C(0x243f6a8885a308d3) /* digits of pi */
#define HASH_PRIME UINT64_C(0x9e3779b97f4a7c15) /* of the golden ratio */

static inline uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * HASH_PRIME;
    return hash ^ hash >> 32;
}

static inline uint32_t finish(uint64_t hash)
{
    return (uint32_t)(mix(hash, HASH_SEED) >> 32);
}

static inline uint64_t load(const unsigned char *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* Eight bytes at a time; the size goes in first, so the zeros behind the last bytes say nothing. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *at = data;
    uint64_t word = 0;

    hash = mix(hash, size);
    for (; size >= 8; size -= 8, at += 8)
        hash = mix(hash, load(at));
    if (size == 0)
        return hash;
    for (size_t i = 0; i < size; i++)
        word |= (uint64_t)at[i] << 8 * i;
    return mix(hash, word);
}

static uint64_t hash_slice(uint64_t hash, const struct mb_slice *slice)
{
    return hash_bytes(mix(hash, slice->data != NULL), slice->data, slice->size);
}

static uint64_t hash_f32(uint64_t hash, float number)
{
    uint32_t bits;

    memcpy(&bits, &number, sizeof bits);
    return mix(hash, bits);
}

static uint64_t hash_f64(uint64_t hash, double number)
{
    uint64_t bits;

    memcpy(&bits, &number, sizeof bits);
    return mix(hash, bits);
}

/* String, symbol and binary count as one type: a broker that changes one into the other has not
 * edited the value. */
uint64_t mb_hash_value(uint64_t hash, const struct mb_value *value)
{
    enum mb_type type = (enum mb_type)value->type;

    hash = mix(hash, mb_is_bytes(value) ? (uint64_t)MB_BINARY : (uint64_t)type);
    switch (type) {
    case MB_NULL:
        return hash;
    case MB_BOOL:
        return mix(hash, value->as.b);
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
    case MB_TIMESTAMP_S:
    case MB_TIMESTAMP_MS:
        return mix(hash, (uint64_t)value->as.i);
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
    case MB_CHAR:
        return mix(hash, value->as.u);
    case MB_F32:
        return hash_f32(hash, value->as.f32);
    case MB_F64:
        return hash_f64(hash, value->as.f64);
    case MB_DECIMAL_SCALED:
        return mix(mix(hash, value->as.scaled.scale), value->as.scaled.value);
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_UUID:
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
        return hash_bytes(hash, value->as.bytes.data, value->as.bytes.size);
    case MB_LIST:
    case MB_MAP:
    case MB_ARRAY:
    case MB_DESCRIBED:
        break;
    }
    hash = mix(hash, value->as.items.count);
    for (uint32_t i = 0; i < value->as.items.count; i++)
        hash = mb_hash_value(hash, &value->as.items.values[i]);
    return hash;
}

uint32_t mb_hash_field(const struct mb_message *message, unsigned field)
{
    const void *at = mb_field_at(message, field);
    const struct mb_id *id = at;
    uint64_t hash = mix(HASH_SEED, field);

    switch ((enum mb_field_kind)mb_field_places[field].kind) {
    case MB_FIELD_SLICE:
        return finish(hash_slice(hash, at));
    case MB_FIELD_ID:
        hash = mix(hash, id->kind);
        return finish(id->kind == MB_ID_ULONG ? mix(hash, id->number)
                                              : hash_slice(hash, &id->bytes));
    case MB_FIELD_TIMESTAMP:
        return finish(
            mix(mix(hash, message->timestamp_kind), (uint64_t)mb_timestamp_base(message)));
    case MB_FIELD_I64:
        return finish(mix(hash, (uint64_t) * (const int64_t *)at));
    case MB_FIELD_U64:
        return finish(mix(hash, *(const uint64_t *)at));
    case MB_FIELD_U32:
        return finish(mix(hash, *(const uint32_t *)at));
    case MB_FIELD_U8:
        return *(const uint8_t *)at;
    case MB_FIELD_BOOL:
        return *(const bool *)at;
    }
    return 0;
}

uint32_t mb_hash_body(const struct mb_message *message)
{
    struct mb_slice bytes;

    if (message->body_kind == MB_BODY_NULL)
        return finish(mix(HASH_SEED, 0));
    if (mb_body_bytes(message, &bytes))
        return finish(hash_bytes(mix(HASH_SEED, 1), bytes.data, bytes.size));
    return finish(mb_hash_value(mix(HASH_SEED, 2), &message->body_value));
}

/* ---- headers by address ---- */

static uint64_t hash_name(uint8_t section, struct mb_slice name)
{
    return hash_bytes(mix(HASH_SEED, section), name.data, name.size);
}

static uint32_t slots_count(size_t count)
{
    uint32_t slots = 8;

    while (slots < 2 * count)
        slots *= 2;
    return slots;
}

size_t mb_header_index_size(size_t count)
{
    return count * (sizeof(struct mb_header_item) + sizeof(struct mb_header_group)) +
           3 * sizeof(uint32_t) * slots_count(count);
}

static struct mb_header_group *group_of(const struct mb_header_index *index, uint64_t name_hash,
                                        uint8_t section, struct mb_slice name, uint32_t *ret_slot)
{
    uint32_t slot = (uint32_t)name_hash & index->slots_mask;

    for (; index->slots[slot] != 0; slot = (slot + 1) & index->slots_mask) {
        struct mb_header_group *group = &index->groups[index->slots[slot] - 1];

        if (group->name_hash == name_hash && group->header->section == section &&
            bytes_same(group->header->name, name))
            return group;
    }
    *ret_slot = slot;
    return NULL;
}

struct mb_header_group *mb_header_group_find(const struct mb_header_index *index, uint8_t section,
                                             struct mb_slice name)
{
    uint32_t slot;

    return group_of(index, hash_name(section, name), section, name, &slot);
}

static void add_item(struct mb_header_index *index, unsigned side, uint32_t at,
                     const struct mb_header *header)
{
    struct mb_header_item *item = &index->items[side][at];
    uint64_t name_hash = hash_name(header->section, header->name);
    uint32_t slot = 0;
    struct mb_header_group *group =
        group_of(index, name_hash, header->section, header->name, &slot);

    if (group == NULL) {
        group = &index->groups[index->groups_count++];
        *group = (struct mb_header_group){.name_hash = name_hash, .header = header};
        index->slots[slot] = index->groups_count;
    }
    *item = (struct mb_header_item){
        .header = header, .name_hash = name_hash, .group = (uint32_t)(group - index->groups)};
    if (side == 0) {
        uint64_t place = mix(name_hash, group->count[0]);

        item->place = finish(place);
        item->explains = finish(mb_hash_value(place, &header->value));
    }
    if (group->count[side]++ == 0)
        group->first[side] = at + 1;
    else
        index->items[side][group->last[side] - 1].next = at + 1;
    group->last[side] = at + 1;
}

static void add_slot(uint32_t *slots, uint32_t mask, uint32_t address, uint32_t value)
{
    uint32_t slot = address & mask;

    while (slots[slot] != 0)
        slot = (slot + 1) & mask;
    slots[slot] = value;
}

void mb_header_index_init(struct mb_header_index *index, void *memory,
                          const struct mb_message *natural, const struct mb_message *other)
{
    uint32_t others_count = other != NULL ? other->headers_count : 0;
    size_t count = (size_t)natural->headers_count + others_count;
    uint32_t slots = slots_count(count);

    index->items[0] = memory;
    index->items[1] = index->items[0] + natural->headers_count;
    index->count[0] = natural->headers_count;
    index->count[1] = others_count;
    index->groups = (struct mb_header_group *)(index->items[0] + count);
    index->groups_count = 0;
    index->slots = (uint32_t *)(index->groups + count);
    index->place_slots = index->slots + slots;
    index->explains_slots = index->place_slots + slots;
    index->slots_mask = slots - 1;
    memset(index->slots, 0, 3 * sizeof(uint32_t) * (size_t)slots);
    for (uint32_t i = 0; i < natural->headers_count; i++) {
        add_item(index, 0, i, &natural->headers[i]);
        if (natural->headers[i].section >= MB_SECTION_BRIDGE)
            continue;
        add_slot(index->place_slots, index->slots_mask, index->items[0][i].place, i + 1);
        add_slot(index->explains_slots, index->slots_mask, index->items[0][i].explains, i + 1);
    }
    for (uint32_t i = 0; i < others_count; i++)
        add_item(index, 1, i, &other->headers[i]);
}

/* Linear probing: of several with one address the one that was added first comes first. */
uint32_t mb_header_by_place(const struct mb_header_index *index, uint32_t address)
{
    uint32_t slot = address & index->slots_mask;

    for (; index->place_slots[slot] != 0; slot = (slot + 1) & index->slots_mask) {
        if (index->items[0][index->place_slots[slot] - 1].place == address)
            return index->place_slots[slot] - 1;
    }
    return UINT32_MAX;
}

uint32_t mb_header_by_value(const struct mb_header_index *index, uint32_t address)
{
    uint32_t slot = address & index->slots_mask;

    for (; index->explains_slots[slot] != 0; slot = (slot + 1) & index->slots_mask) {
        if (index->items[0][index->explains_slots[slot] - 1].explains == address)
            return index->explains_slots[slot] - 1;
    }
    return UINT32_MAX;
}

static bool begins_with(const struct mb_message *natural, const struct mb_message *other)
{
    for (uint32_t i = 0; i < natural->headers_count; i++) {
        if (natural->headers[i].section >= MB_SECTION_BRIDGE ||
            (i < other->headers_count && !header_same(&natural->headers[i], &other->headers[i])))
            return false;
    }
    return true;
}

bool mb_header_tail_init(struct mb_header_tail *tail, const struct mb_message *natural,
                         const struct mb_message *other)
{
    uint64_t names[MB_HEADER_TAIL_MAX];

    if (natural->headers_count > MB_HEADER_TAIL_MAX ||
        other->headers_count > natural->headers_count || !begins_with(natural, other))
        return false;
    tail->begin = other->headers_count;
    tail->end = natural->headers_count;
    tail->shown = 0;
    for (uint32_t i = 0; i < tail->end; i++) {
        const struct mb_header *header = &natural->headers[i];
        uint64_t earlier = 0; /* of that name */

        names[i] = hash_name(header->section, header->name);
        for (uint32_t j = 0; j < i; j++)
            earlier += names[j] == names[i] && natural->headers[j].section == header->section &&
                       bytes_same(natural->headers[j].name, header->name);
        tail->explains[i] = finish(mb_hash_value(mix(names[i], earlier), &header->value));
        for (uint32_t j = 0; j < i; j++) {
            if (tail->explains[j] == tail->explains[i])
                return false;
        }
    }
    return true;
}

uint32_t mb_header_group_hash(const struct mb_header_index *index, struct mb_header_group *group)
{
    uint64_t hash = group->name_hash;

    if (group->has_witness)
        return group->witness;
    for (uint32_t i = group->first[0]; i != 0; i = index->items[0][i - 1].next)
        hash = mb_hash_value(hash, &index->items[0][i - 1].header->value);
    group->witness = finish(hash);
    group->has_witness = true;
    return group->witness;
}
