/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entry ↔ envelope. Pure.
 *
 * An entry is an ordered list of (name, value), both bytes, names may repeat. The first field named
 * `key` is the message's key, the first one named as the option body_field says is its body, the
 * first of each carrier is the bridge's; everything else is a header. An entry without a body field
 * is a body of pairs (MB_BODY_PAIRS), all of them.
 *
 * Written, a message's fields stand in this order: key, body, headers, carriers, pairs. An entry
 * that was read with another order has an annotation that says where its key and body stood, so
 * that it is the same again when it comes back, from whatever platform.
 */
#ifndef REDIS_MAP_H
#define REDIS_MAP_H

#include <kit/carry.h>
#include <mbridge/message.h>

#define REDIS_PLATFORM         "redis"
#define REDIS_FIELD_KEY        "key"
#define REDIS_FIELD_SIDECAR    "_mbridge"
#define REDIS_FIELD_PATH       "_mbridge.path"
#define REDIS_FIELD_ID         "_mbridge.id"
#define REDIS_ANNOTATION_ORDER "x-opt-mbridge-order"
/* A sidecar is a field among fields; more would be strange in any stream. */
#define REDIS_SIDECAR_MAX ((size_t)1 << 20)

struct redis_field {
    struct mb_slice name;
    struct mb_slice value;
};

/* Fills in what the fields say; the slices are kept, not copied. Lists lie in the arena.
 * MB_NO_MEMORY is the only failure. */
enum mb_status redis_entry_decode(const struct redis_field *fields, size_t count,
                                  struct mb_slice body_field, struct mb_arena *arena,
                                  struct mb_message *message);

/* The natural form of a message, for kit/carry.h. context: the body field (struct mb_slice *). */
enum mb_status redis_project(void *context, const struct mb_outgoing *item,
                             const struct mb_message *message, struct mb_scratch *scratch,
                             struct mb_message *natural, struct mb_error *err);

/* The fields to write for what mb_carry_prepare gave: message is natural or verbatim. The list and
 * the path's bytes lie in the arena or in carried. MB_NO_MEMORY is the only failure. */
enum mb_status redis_entry_encode(const struct mb_carried *carried, struct mb_slice body_field,
                                  struct mb_arena *arena, struct redis_field **ret_fields,
                                  size_t *ret_count);

/* The same for any message, without the shorter way that the two take for plain ones. For tests:
 * both ways come to the same. */
enum mb_status redis_project_any(void *context, const struct mb_outgoing *item,
                                 const struct mb_message *message, struct mb_scratch *scratch,
                                 struct mb_message *natural, struct mb_error *err);
enum mb_status redis_entry_encode_any(const struct mb_carried *carried, struct mb_slice body_field,
                                      struct mb_arena *arena, struct redis_field **ret_fields,
                                      size_t *ret_count);

#endif
