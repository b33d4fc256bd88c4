/* SPDX-License-Identifier: Apache-2.0 */
/* The options of the core itself, as tables like those of backends. */
#ifndef MBRIDGE_CORE_TABLES_H
#define MBRIDGE_CORE_TABLES_H

#include <mbridge/options.h>
#include <stdbool.h>

struct mb_bridge_values {
    const char *name;
    const char *admin;
    int64_t log_level;
    int64_t log_format;
    int64_t stop_timeout_ms;
    int64_t drain_idle_ms;
    int64_t drain_timeout_ms;
    int64_t discover_ms;
    bool core_dumps;
};

struct mb_endpoint_values {
    const char *backend;
    const char *identity;
    struct mb_strings never;
};

struct mb_stream_values {
    const char *endpoint;
    bool create;
    struct mb_strings exclude;
    int64_t discover_ms;
};

struct mb_step_values {
    const char *step;
};

struct mb_route_values {
    const char *name;
    int64_t order;
    int64_t delivery;
    int64_t on_reject;
    int64_t on_loss;
    int64_t fidelity;
    int64_t provenance;
    bool allow_cycle;
    bool isolate_sinks;
    const char *key_from;
    int64_t rate_messages;
    int64_t rate_bytes;
    int64_t lanes;
    int64_t window_messages;
    int64_t window_bytes;
    int64_t retry_initial_ms;
    int64_t retry_max_ms;
    int64_t retry_attempts;
    int64_t poison_deliveries;
};

extern const struct mb_option_table mb_bridge_table;
extern const struct mb_option_table mb_endpoint_table; /* struct mb_endpoint_values */
extern const struct mb_option_table mb_source_table;   /* struct mb_stream_values */
extern const struct mb_option_table mb_sink_table;     /* struct mb_stream_values */
extern const struct mb_option_table mb_step_table;
extern const struct mb_option_table mb_route_table;

#endif
