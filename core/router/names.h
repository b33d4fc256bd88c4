/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates of destination names: ${stream} ${endpoint} ${key} ${partition} ${routing_key}
 * ${subject} ${header.NAME} ${header.NAME:-default}. Compiled once, rendered a message.
 */
#ifndef MBRIDGE_CORE_NAMES_H
#define MBRIDGE_CORE_NAMES_H

#include <mbridge/message.h>
#include <mbridge/source.h>
#include <mbridge/status.h>

struct mb_template;

/* MB_INVALID: err->text names the part that is wrong and the ones there are. */
enum mb_status mb_template_create(const char *text, struct mb_template **ret_template,
                                  struct mb_error *err);
void mb_template_destroy(struct mb_template *template);

/* Has no ${…}: every message goes to the same name. */
bool mb_template_is_fixed(const struct mb_template *template);

/* Renders into the arena, NUL-terminated behind size. MB_REJECTED: a value is missing (err->text
 * says which) or holds a NUL; a name is never rendered from nothing. */
enum mb_status mb_template_render(const struct mb_template *template,
                                  const struct mb_message *message, struct mb_arena *arena,
                                  struct mb_slice *ret_name, struct mb_error *err);

#endif
