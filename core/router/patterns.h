/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patterns of stream names, matched by the core so that they mean the same on every platform: an
 * extended regular expression if it begins with ^, a glob if it holds * ? or [, else the name
 * itself.
 */
#ifndef MBRIDGE_CORE_PATTERNS_H
#define MBRIDGE_CORE_PATTERNS_H

#include "core/config/model.h"
#include "core/router/names.h"

bool mb_pattern_is_one(const char *text);

bool mb_pattern_matches(const char *text, const char *name);

/* The row of a source that holds a pattern; NULL: it names its streams. */
const struct mb_setting *mb_pattern_row(const struct mb_config_stream *source);

/* The groups of the first regular expression of a source's pattern that matches the name; all null
 * if none does. They point into name. */
void mb_pattern_groups(const struct mb_config_stream *source, const char *name,
                       struct mb_matches *ret_matches);

/* How many groups each name that the source's pattern matches may have: of the regular expression
 * with the most. -1: it has none. */
int mb_pattern_groups_count(const struct mb_config_stream *source);

/* `exclude` or the endpoint's `never` has it. */
bool mb_pattern_leaves_out(const struct mb_config_stream *source, const char *name);

/* The names that a source's pattern means now: what its backend lists, less platform-internal
 * streams, `exclude` and the endpoint's `never`. *ret_names stays empty where the options hold no
 * pattern. Blocks up to the timeout of params: connector threads only. MB_NOT_FOUND: none matches.
 * The names are released with mb_names_release. */
enum mb_status mb_patterns_resolve(const struct mb_config_stream *source,
                                   const struct mb_open_params *params,
                                   struct mb_strings *ret_names, struct mb_error *err);
void mb_names_release(struct mb_strings *names);

#endif
