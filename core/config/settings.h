/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: what a configuration (or a URL) says for the rows of one option table, checked but not
 * yet applied. Applying fills the backend's struct and resolves secrets; it is done before each
 * open, so that a secret file that was mended is read again.
 */
#ifndef MBRIDGE_CORE_SETTINGS_H
#define MBRIDGE_CORE_SETTINGS_H

#include <mbridge/options.h>
#include <mbridge/position.h>
#include <mbridge/status.h>
#include <stdbool.h>

struct mb_setting {
    bool is_set;
    unsigned line; /* in the file; 0: from a URL */
    char **texts;  /* the value as written: one, or the items of a list */
    size_t texts_count;
    bool is_list;
    bool is_wrong; /* while loading: it was written, but refused */
};

struct mb_settings {
    const struct mb_option_table *table;
    struct mb_setting *rows; /* parallel to table->rows */
    unsigned line;
};

enum mb_status mb_settings_init(struct mb_settings *settings, const struct mb_option_table *table);
void mb_settings_release(struct mb_settings *settings);

/* Index of the row, or MB_NOT_FOUND; *ret_near (may be NULL) is the nearest name, or NULL. */
enum mb_status mb_settings_find(const struct mb_option_table *table, const char *name,
                                size_t *ret_index, const char **ret_near);

/* Sets a row from text(s), checking type and bounds. MB_INVALID with a text that names the option,
 * what was found, and what would be right. */
enum mb_status mb_settings_set(struct mb_settings *settings, size_t index, const char *const *texts,
                               size_t texts_count, bool is_list, unsigned line,
                               struct mb_error *err);

/* First text of a set row, or its default, or NULL. By name; NULL if there is no such row. */
const char *mb_settings_text(const struct mb_settings *settings, const char *name);

/* A filled struct of the table's backend, with defaults; strings belong to it. resolve_secrets
 * false: secrets are left as written (for validate, describe without log-in).
 * MB_INVALID / MB_DENIED: a secret cannot be read; the text says which and why. */
struct mb_applied;
enum mb_status mb_settings_apply(const struct mb_settings *settings, bool resolve_secrets,
                                 struct mb_applied **ret_applied, struct mb_error *err);
const void *mb_applied_struct(const struct mb_applied *applied);
void mb_applied_destroy(struct mb_applied *applied); /* overwrites secrets; NULL allowed */

/* Line of a row that is set, by name; else the line of the settings. */
unsigned mb_settings_line(const struct mb_settings *settings, const char *name);

/* Bit s is set if the TEMPLATE row of slot s changes from message to message. */
uint64_t mb_settings_templated(const struct mb_settings *settings);

/* "true or false", "a duration such as \"10s\"", …: what a row takes, for messages and help. */
const char *mb_option_expects(const struct mb_option *row, char *buffer, size_t size);

/* "string", "size", …: the name of its type. */
const char *mb_option_type_name(const struct mb_option *row);

/* Equal in effect: same rows set to the same texts. */
bool mb_settings_equal(const struct mb_settings *a, const struct mb_settings *b);

/* Parsers shared by tables and the model. MB_INVALID if the text is not of that form or overflows.
 */
enum mb_status mb_parse_duration_ms(const char *text, int64_t *ret_ms);
enum mb_status mb_parse_size_bytes(const char *text, int64_t *ret_bytes);
enum mb_status mb_parse_integer(const char *text, int64_t *ret_number);

/* RFC 3339, from 1970 on. */
enum mb_status mb_parse_time_ms(const char *text, int64_t *ret_ms);

/* "earliest", "latest", "stored", a time, or "-1h": so long before now. */
enum mb_status mb_parse_start(const char *text, int64_t now_ms, struct mb_position *ret_position);

#endif
