/* SPDX-License-Identifier: Apache-2.0 */
/* Restoring in two files: sidecar_restore.c reads bytes, properties and body, the other one
 * headers. Internal to the kit. */
#ifndef MBRIDGE_KIT_SIDECAR_READER_H
#define MBRIDGE_KIT_SIDECAR_READER_H

#include <kit/sidecar_parts.h>

/* A header of the list that comes out. */
struct mb_sidecar_node {
    struct mb_sidecar_node *previous;
    struct mb_sidecar_node *next;
    struct mb_sidecar_node *last_added; /* behind this one */
    struct mb_header header;
    bool gone;
    bool explained;
};

struct mb_sidecar_reader {
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
    struct mb_sidecar_node *nodes; /* of the natural headers; NULL: the list is as it was */
    struct mb_sidecar_node head;   /* of a ring */
};

/* The next bytes. What is not there is 0, and makes the sidecar malformed. */
void mb_sidecar_refuse(struct mb_sidecar_reader *reader);
size_t mb_sidecar_left(const struct mb_sidecar_reader *reader);
uint8_t mb_sidecar_get_byte(struct mb_sidecar_reader *reader);
uint32_t mb_sidecar_get_hash(struct mb_sidecar_reader *reader);
uint64_t mb_sidecar_get_number(struct mb_sidecar_reader *reader);
struct mb_slice mb_sidecar_get_slice(struct mb_sidecar_reader *reader);
struct mb_value mb_sidecar_get_value(struct mb_sidecar_reader *reader);

/* Reads the value of a property, and sets it unless the natural value wins. */
void mb_sidecar_get_field(struct mb_sidecar_reader *reader, unsigned field, bool wanted,
                          int64_t base_ms);

/* Whether bytes may be of that type. */
bool mb_sidecar_can_be(struct mb_slice bytes, enum mb_type type);

/* The entries about headers, behind their first octet. */
void mb_sidecar_read_header(struct mb_sidecar_reader *reader, unsigned op);
void mb_sidecar_read_header_shown(struct mb_sidecar_reader *reader, unsigned field);
void mb_sidecar_read_shown(struct mb_sidecar_reader *reader, unsigned field, bool has_value);
/* The list as it is now becomes the message's. */
void mb_sidecar_close_headers(struct mb_sidecar_reader *reader);

#endif
