/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates of destination names: ${stream} ${endpoint} ${key} ${partition} ${routing_key}
 * ${subject} ${match.N} ${header.NAME} ${header.NAME:-default}. Compiled once, rendered a message.
 */
#ifndef MBRIDGE_CORE_NAMES_H
#define MBRIDGE_CORE_NAMES_H

#include <mbridge/message.h>
#include <mbridge/source.h>
#include <mbridge/status.h>

struct mb_template;

#define MB_MATCHES_MAX 10u

/* What the groups of a source's pattern matched in a stream's name: [0] is the whole of it. Null:
 * no such group, or it took no part. */
struct mb_matches {
    struct mb_slice groups[MB_MATCHES_MAX];
};

/* MB_INVALID: err->text names the part that is wrong and the ones there are. */
enum mb_status mb_template_create(const char *text, struct mb_template **ret_template,
                                  struct mb_error *err);
void mb_template_destroy(struct mb_template *template);

/* Has no ${…}: every message goes to the same name. */
bool mb_template_is_fixed(const struct mb_template *template);

/* The highest group that it names, or -1. */
int mb_template_match_max(const struct mb_template *template);

/* matches (may be NULL): of the message's stream. Renders into the arena, NUL-terminated behind
 * size. MB_REJECTED: a value is missing (err->text says which) or holds a NUL; a name is never
 * rendered from nothing. */
enum mb_status mb_template_render(const struct mb_template *template,
                                  const struct mb_message *message,
                                  const struct mb_matches *matches, struct mb_arena *arena,
                                  struct mb_slice *ret_name, struct mb_error *err);

/* The same for a key, whose bytes may be any. */
enum mb_status mb_template_render_key(const struct mb_template *template,
                                      const struct mb_message *message,
                                      const struct mb_matches *matches, struct mb_arena *arena,
                                      struct mb_slice *ret_key, struct mb_error *err);

#endif
