/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What writing and restoring a sidecar have in common: the format, the hashes, and the addresses of
 * headers. Internal to the kit.
 *
 * Format 1. Numbers are LEB128 varints, signed ones zigzag; a hash has 4 bytes in network order. A
 * slice is a number, 0 for null, else its size plus 1, and the bytes. A typed value is as in
 * kit/types.h. An entry is one octet, its kind in the upper three bits and a number in the lower
 * five, and what the kind says. WITNESS is the hash of the natural value, one octet of the value
 * itself for durable, a number for priority. ADDRESS is a header's hash: with its value where the
 * entry explains the value, without it where the entry is about its place.
 *
 *   REMOVE       field   WITNESS               the message does not have it
 *   REPLACE      field   WITNESS value         (a timestamp: its distance from the natural one)
 *   ADD          field   value                 the natural message does not have it
 *   SHOWN        field   ADDRESS               that header shows it: its bytes are the value
 *   SHOWN_VALUE  field   ADDRESS value
 *   HEADER       MB_HEADER_…
 *   HEADER_SHOWN field   flags [ANCHOR] [WITNESS]   a header that the natural property shows
 *   BODY         MB_BODY_OP_… WITNESS …
 *
 * ANCHOR is the address (without value) of the natural header that an added header follows; without
 * one it stands first. The WITNESS of an added header covers all natural values of its name;
 * without one there were none.
 */
#ifndef MBRIDGE_KIT_SIDECAR_PARTS_H
#define MBRIDGE_KIT_SIDECAR_PARTS_H

#include <kit/sidecar.h>
#include <kit/types.h>

#define MB_SIDECAR_VERSION 1u

enum mb_sidecar_kind {
    MB_SIDECAR_REMOVE = 0,
    MB_SIDECAR_REPLACE = 1,
    MB_SIDECAR_ADD = 2,
    MB_SIDECAR_SHOWN = 3,
    MB_SIDECAR_SHOWN_VALUE = 4,
    MB_SIDECAR_HEADER = 5,
    MB_SIDECAR_HEADER_SHOWN = 6,
    MB_SIDECAR_BODY = 7
};

enum mb_header_op {
    MB_HEADER_HIDE = 0,      /* ADDRESS */
    MB_HEADER_VALUE = 1,     /* ADDRESS, typed value */
    MB_HEADER_STRING = 2,    /* ADDRESS: the same bytes of that type */
    MB_HEADER_BINARY = 3,    /* ADDRESS */
    MB_HEADER_SYMBOL = 4,    /* ADDRESS */
    MB_HEADER_ORDER = 5,     /* section, count, that many ADDRESS without value */
    MB_HEADER_NAME_TYPE = 6, /* ADDRESS without value, type */
    /* 16 … 31: an added header. Lower bits: section (2), MB_ADDED_ANCHOR, MB_ADDED_WITNESS; then
     * [ANCHOR] [WITNESS], type of the name, name, typed value. */
    MB_HEADER_ADDED = 16
};

#define MB_ADDED_ANCHOR  4u
#define MB_ADDED_WITNESS 8u

enum mb_body_op {
    MB_BODY_OP_NULL = 0,
    MB_BODY_OP_SAME = 1,     /* MB_BODY_BYTES, the natural bytes */
    MB_BODY_OP_BYTES = 2,    /* MB_BODY_BYTES, slice */
    MB_BODY_OP_STRING = 3,   /* MB_BODY_VALUE, the natural bytes as a string */
    MB_BODY_OP_BINARY = 4,   /* as binary */
    MB_BODY_OP_SYMBOL = 5,   /* as symbol */
    MB_BODY_OP_SPLIT = 6,    /* MB_BODY_MULTI_DATA, the natural bytes: count, sizes */
    MB_BODY_OP_VALUE = 7,    /* MB_BODY_VALUE, typed value */
    MB_BODY_OP_SEQUENCE = 8, /* MB_BODY_SEQUENCE, typed value */
    MB_BODY_OP_PAIRS = 9,    /* MB_BODY_PAIRS, typed value */
    MB_BODY_OP_PARTS = 10    /* MB_BODY_MULTI_DATA, typed value */
};

/* ---- properties ---- */

#define MB_FIELDS_COUNT 20u

enum mb_field_kind {
    MB_FIELD_SLICE,
    MB_FIELD_ID,
    MB_FIELD_TIMESTAMP,
    MB_FIELD_I64,
    MB_FIELD_U64,
    MB_FIELD_U32,
    MB_FIELD_U8,
    MB_FIELD_BOOL
};

struct mb_field_place {
    uint8_t kind; /* enum mb_field_kind */
    bool is_property;
    uint16_t offset; /* in struct mb_properties, or in struct mb_message */
};

/* By the number of the bit. */
extern const struct mb_field_place mb_field_places[MB_FIELDS_COUNT];

static inline const void *mb_field_at(const struct mb_message *message, unsigned field)
{
    const struct mb_field_place *place = &mb_field_places[field];

    return (place->is_property ? (const char *)mb_properties_of(message) : (const char *)message) +
           place->offset;
}

/* Of a message with properties of its own. */
static inline void *mb_field_in(struct mb_message *message, unsigned field)
{
    const struct mb_field_place *place = &mb_field_places[field];

    return (place->is_property ? (char *)message->properties : (char *)message) + place->offset;
}

/* enum mb_field: present in one of them, or different. */
uint32_t mb_fields_difference(const struct mb_message *a, const struct mb_message *b);
bool mb_body_same(const struct mb_message *a, const struct mb_message *b);
bool mb_value_same(const struct mb_value *a, const struct mb_value *b);
/* All headers but the bridge's own, pair by pair. */
bool mb_headers_same(const struct mb_message *a, const struct mb_message *b);

/* The time that a log gives by itself is not known before it has the message: of two such times
 * only the kind is compared, it is no witness, and no other time is a distance from it. */
static inline int64_t mb_timestamp_base(const struct mb_message *message)
{
    return message->timestamp_kind == MB_TIMESTAMP_LOG_APPEND ? 0 : message->timestamp_ms;
}

/* Types are not always filled in for names: 0 is MB_STRING. */
static inline uint8_t mb_name_type(const struct mb_header *header)
{
    return header->name_type == MB_NULL ? (uint8_t)MB_STRING : header->name_type;
}

static inline bool mb_is_bytes(const struct mb_value *value)
{
    return value->type == MB_STRING || value->type == MB_BINARY || value->type == MB_SYMBOL;
}

/* The bytes of a body that has some: data, or the value of a string, binary or symbol. */
bool mb_body_bytes(const struct mb_message *message, struct mb_slice *ret_bytes);

/* A copy for a struct that may have another size in the core than in this module. */
void mb_message_copy(struct mb_message *to, const struct mb_message *from);

/* ---- hashes: part of the format ---- */

uint32_t mb_hash_field(const struct mb_message *message, unsigned field);
uint32_t mb_hash_body(const struct mb_message *message);
uint64_t mb_hash_value(uint64_t hash, const struct mb_value *value);

/* ---- headers by address ---- */

struct mb_header_item {
    const struct mb_header *header;
    uint64_t name_hash;
    uint32_t group;
    uint32_t next;     /* in its group, + 1 */
    uint32_t match;    /* the writer's: index in the other list, + 1 */
    uint32_t place;    /* address without value */
    uint32_t explains; /* address with value */
};

/* Headers of one section and one name, of the list added with side 0 (natural) or 1. */
struct mb_header_group {
    uint64_t name_hash;
    const struct mb_header *header;
    uint32_t first[2]; /* + 1 */
    uint32_t last[2];
    uint32_t count[2];
    uint32_t witness; /* once it is known */
    bool has_witness;
};

struct mb_header_index {
    struct mb_header_item *items[2];
    uint32_t count[2];
    struct mb_header_group *groups;
    uint32_t groups_count;
    uint32_t *slots; /* of groups, + 1 */
    uint32_t *place_slots;
    uint32_t *explains_slots;
    uint32_t slots_mask;
};

/* The usual case, which needs no index: the natural message has the other one's headers, and a tail
 * of more behind them. */
#define MB_HEADER_TAIL_MAX 16u

struct mb_header_tail {
    uint32_t begin; /* so many headers are the same */
    uint32_t end;
    uint32_t shown;                        /* the writer's: bits of those that show a property */
    uint32_t explains[MB_HEADER_TAIL_MAX]; /* addresses with value, of all natural headers */
};

/* false: it is not so, or too many, or two of them share an address. */
bool mb_header_tail_init(struct mb_header_tail *tail, const struct mb_message *natural,
                         const struct mb_message *other);

/* Of one message. The hashes are no secret, so that somebody can make headers which collide: the
 * bound keeps what that costs small. Beyond it, differences of headers count as lost. */
#define MB_SIDECAR_HEADERS_MAX 4096u

/* Bytes for the index of so many headers in all. */
size_t mb_header_index_size(size_t count);
/* memory: that many bytes, aligned to 8. other: NULL, or the list of side 1. */
void mb_header_index_init(struct mb_header_index *index, void *memory,
                          const struct mb_message *natural, const struct mb_message *other);
/* The group, or NULL. */
struct mb_header_group *mb_header_group_find(const struct mb_header_index *index, uint8_t section,
                                             struct mb_slice name);
/* The first natural header of that address: its index, or UINT32_MAX. The bridge's have none. */
uint32_t mb_header_by_place(const struct mb_header_index *index, uint32_t address);
uint32_t mb_header_by_value(const struct mb_header_index *index, uint32_t address);
/* Witness of all natural values of a group. */
uint32_t mb_header_group_hash(const struct mb_header_index *index, struct mb_header_group *group);

#endif
