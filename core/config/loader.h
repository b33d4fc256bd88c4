/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Internal to core/config: what the parts that build a model share while they do.
 *
 * A line, while loading, is the line in its file and, above MB_LINE_BITS, the number of the file
 * that was included (0: the main file).
 */
#ifndef MBRIDGE_CORE_LOADER_H
#define MBRIDGE_CORE_LOADER_H

#include "core/config/model.h"
#include "core/config/tables.h"

#define MB_LINE_BITS 22
#define MB_LINE_MASK ((1u << MB_LINE_BITS) - 1)
#define MB_FILES_MAX 64

/* What a route needs while it is built, besides the model. */
struct mb_route_draft {
    struct mb_settings settings; /* of mb_route_table */
    bool is_sound;               /* every stream of it is complete and right in itself */
};

struct mb_loader {
    struct mb_registry *registry;
    struct mb_config *config;
    struct mb_diagnostics *diagnostics;
    struct mb_route_draft *drafts; /* parallel to config->routes */
    char *files[MB_FILES_MAX];     /* the included ones */
    size_t files_count;
    bool no_memory;
};

MB_PRINTF(3, 4)
void mb_loader_error(struct mb_loader *loader, unsigned line, const char *format, ...);
MB_PRINTF(3, 4)
void mb_loader_warning(struct mb_loader *loader, unsigned line, const char *format, ...);

/* Whether the scan found a number in that line that does not fit: what libconfig made of it is not
 * worth a word. */
bool mb_loader_has_wrong_number(const struct mb_loader *loader, unsigned line);

/* Sorts what was found, tells files from lines, and frees what only loading needed. The model goes
 * out if there is no error, else it is destroyed. */
enum mb_status mb_loader_end(struct mb_loader *loader, struct mb_config **ret_config);

/* Empty settings of that table; false marks the loader as out of memory. */
bool mb_loader_settings(struct mb_loader *loader, struct mb_settings *settings,
                        const struct mb_option_table *table, unsigned line);

/* Reports required rows that are not set, and a table none of whose NAMES_STREAM rows is. owner is
 * how the settings are called in the message. True if nothing is missing. */
bool mb_loader_check_required(struct mb_loader *loader, const struct mb_settings *settings,
                              const char *owner);

/* Core settings → model. NULL from strdup marks the loader as out of memory. */
char *mb_loader_copy(struct mb_loader *loader, const char *text);
void mb_loader_copy_list(struct mb_loader *loader, const struct mb_strings *strings,
                         char ***ret_items, size_t *ret_count);
void mb_loader_take_bridge(struct mb_loader *loader, const struct mb_settings *settings);
void mb_loader_take_route(struct mb_loader *loader, const struct mb_settings *settings,
                          struct mb_config_route *route);
void mb_loader_take_stream(struct mb_loader *loader, const struct mb_settings *settings,
                           struct mb_config_stream *stream);

/* The checks of the whole: what no single row can tell. */
void mb_check_bridge(struct mb_loader *loader, const struct mb_settings *settings);
void mb_check_endpoint(struct mb_loader *loader, const struct mb_config_endpoint *endpoint);
void mb_check_route(struct mb_loader *loader, size_t index);
void mb_check_names(struct mb_loader *loader);
/* Routes whose messages come back to them. */
void mb_check_cycles(struct mb_loader *loader);

/* Gives every route with isolate_sinks its runs (isolate.c); the model is complete but for them. */
void mb_isolate_sinks(struct mb_loader *loader);
void mb_isolated_release(struct mb_config_route *route);

/* Dead letters of any route are no input of a pattern: `exclude` gets their names. */
void mb_leave_out_dead_letters(struct mb_loader *loader);

#endif
