/* SPDX-License-Identifier: Apache-2.0 */
/* Writing in two files: sidecar_write.c has entries, properties and body, the other one headers.
 * Internal to the kit. */
#ifndef MBRIDGE_KIT_SIDECAR_WRITER_H
#define MBRIDGE_KIT_SIDECAR_WRITER_H

#include <kit/sidecar_parts.h>

#define MB_SIDECAR_ENTRIES_FIRST 32u

struct mb_sidecar_entry {
    size_t at;
    size_t size;
    uint64_t lost; /* what is lost without it */
};

struct mb_sidecar_writer {
    const struct mb_message *message;
    const struct mb_message *natural;
    struct mb_text *out;
    size_t start; /* of the first entry, behind the version */
    size_t size_max;
    size_t out_max_size; /* the caller's */
    struct mb_sidecar_entry first[MB_SIDECAR_ENTRIES_FIRST];
    struct mb_sidecar_entry *entries;
    size_t count;
    size_t capacity;
    uint64_t lost;
    bool no_memory;
    struct mb_header_index index;
    struct mb_header_tail tail;
    bool has_index;
    bool has_tail;          /* at most one of the two; none: there is nothing to say of headers */
    uint64_t headers_shown; /* fields whose header is written as MB_SIDECAR_HEADER_SHOWN */
};

/* An entry: begun, filled, and ended. The one that began at at is complete, or does not fit. */
void mb_sidecar_begin(struct mb_sidecar_writer *writer, enum mb_sidecar_kind kind, unsigned number);
void mb_sidecar_put_byte(struct mb_sidecar_writer *writer, uint8_t byte);
void mb_sidecar_put_hash(struct mb_sidecar_writer *writer, uint32_t hash);
void mb_sidecar_put_number(struct mb_sidecar_writer *writer, uint64_t number);
void mb_sidecar_put_slice(struct mb_sidecar_writer *writer, struct mb_slice slice);
void mb_sidecar_end(struct mb_sidecar_writer *writer, size_t at, uint64_t lost);

/* The header's bytes are all that there is to say of the property. */
bool mb_sidecar_says_all(const struct mb_message *message, unsigned field,
                         const struct mb_value *shown);

/* Which headers of the message are which natural ones. */
void mb_sidecar_match_headers(struct mb_header_index *index);
void mb_sidecar_write_headers(struct mb_sidecar_writer *writer);
/* The same, with has_tail. */
void mb_sidecar_write_tail(struct mb_sidecar_writer *writer);

#endif
