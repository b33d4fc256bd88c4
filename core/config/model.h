/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checked model of a configuration. Built from a file (libconfig) or from the two URLs of
 * `copy`; read-only afterwards, shared by threads, counted by references.
 */
#ifndef MBRIDGE_CORE_MODEL_H
#define MBRIDGE_CORE_MODEL_H

#include "core/config/settings.h"

#include <mbridge/backend.h>

struct mb_registry; /* core/runtime/registry.h */
struct mb_replay;   /* core/router/replay.h */

enum mb_order { MB_ORDER_KEY = 0, MB_ORDER_NONE = 1 };
enum mb_delivery { MB_AT_LEAST_ONCE = 0, MB_EFFECTIVELY_ONCE = 1 };
enum mb_on_reject { MB_REJECT_DEAD_LETTER = 0, MB_REJECT_STOP = 1 };
enum mb_on_loss { MB_LOSS_STOP = 0, MB_LOSS_CONTINUE = 1 };
enum mb_fidelity { MB_FIDELITY_BEST_EFFORT = 0, MB_FIDELITY_STRICT = 1 };
enum mb_provenance_mode {
    MB_PROVENANCE_AUTO = 0,
    MB_PROVENANCE_ALWAYS = 1,
    MB_PROVENANCE_NEVER = 2
};

#define MB_SINKS_MAX 62 /* a mask of 64 bits, less the dead-letter sink, less one spare */

struct mb_config_endpoint {
    char *name;
    unsigned line;
    const struct mb_backend *backend;
    struct mb_settings settings;
    char *identity; /* where the broker reports none; NULL */
    char **never;   /* patterns that no route may read */
    size_t never_count;
    bool is_sound; /* while loading: complete and right in itself */
};

/* A source or a sink of a route. */
struct mb_config_stream {
    unsigned line;
    const struct mb_config_endpoint *endpoint;
    struct mb_settings settings; /* of the backend's source or sink table */
    bool create;                 /* sink: create a missing fixed destination */
    char **exclude;
    size_t exclude_count;
    int64_t discover_ms; /* source: when to look again what a pattern matches; 0: never */
};

struct mb_config_step {
    unsigned line;
    char *name; /* row of core/router/steps.h */
    struct mb_settings settings;
};

struct mb_config_route {
    char *name;
    unsigned line;
    struct mb_config_stream *from;
    size_t from_count;
    /* Of a replay, which reads the route's dead letters (core/router/replay.h): what the route
     * reads else. Not NULL then; replay is borrowed. */
    struct mb_config_stream *origins;
    size_t origins_count;
    struct mb_replay *replay;
    struct mb_config_stream *to;
    size_t to_count;
    struct mb_config_stream *dead_letter; /* NULL: none */
    struct mb_config_step *steps;
    size_t steps_count;
    enum mb_order order;
    enum mb_delivery delivery;
    enum mb_on_reject on_reject;
    enum mb_on_loss on_loss;
    enum mb_fidelity fidelity;
    enum mb_provenance_mode provenance;
    bool allow_cycle;       /* its messages may come back to it: their path stops them then */
    char *key_from;         /* core/router/key.h; NULL: as it is */
    uint64_t rate_messages; /* a second; 0: no limit */
    uint64_t rate_bytes;
    unsigned lanes;
    uint32_t window_messages;
    int64_t window_bytes;
    int64_t retry_initial_ms;
    int64_t retry_max_ms;
    unsigned retry_attempts;    /* 0: without limit */
    uint32_t poison_deliveries; /* handed out so often before: rejected; 0: never */
    char *group;                /* the default group of its sources */
    bool isolate_sinks;
    /* With isolate_sinks: what is run in the route's place, one for each sink, of the same name and
     * with a group of its own. All else that they point to belongs to the route. NULL: itself. */
    struct mb_config_route *isolated;
    size_t sinks_before; /* of one of those: the place of its sink in the route */
};

struct mb_config {
    char *path; /* of the file; NULL for copy */
    char *bridge_name;
    char *admin;
    int log_level;  /* enum mb_log_level */
    int log_format; /* enum mb_log_format */
    int64_t stop_timeout_ms;
    int64_t drain_idle_ms;
    int64_t drain_timeout_ms; /* 0: none */
    int64_t discover_ms;      /* where a source says nothing else */
    bool core_dumps;
    struct mb_config_endpoint **endpoints;
    size_t endpoints_count;
    struct mb_config_route *routes;
    size_t routes_count;
};

/* One thing found, ready to print as FILE:LINE: text. */
struct mb_diagnostic {
    bool is_error; /* else a warning */
    unsigned line; /* 0: about no line */
    char *text;
    char *file; /* that was included; NULL: the file that was given */
};

struct mb_diagnostics {
    struct mb_diagnostic *items;
    size_t count;
    size_t errors;
};

void mb_diagnostics_release(struct mb_diagnostics *diagnostics);

/* Reads and checks a file. Finds every mistake there is, sorted by line. MB_OK (with warnings
 * perhaps) and a model, or MB_INVALID and none. */
enum mb_status mb_config_load(const char *path, struct mb_registry *registry,
                              struct mb_config **ret_config, struct mb_diagnostics *diagnostics);

/* The model of `copy FROM TO`: one route named "copy", its group derived from both URLs without
 * their passwords. Diagnostics as above, without lines. */
enum mb_status mb_config_from_urls(const char *from, const char *to, struct mb_registry *registry,
                                   struct mb_config **ret_config,
                                   struct mb_diagnostics *diagnostics);

void mb_config_destroy(struct mb_config *config); /* NULL allowed */

/* Leaves the route of that index alone in the model. */
void mb_config_keep_route(struct mb_config *config, size_t index);

/* Whether a running route may stay as it is under the other model: itself and every endpoint it
 * names have the same settings. */
bool mb_config_route_equal(const struct mb_config_route *a, const struct mb_config_route *b);

#endif
