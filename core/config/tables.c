/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/tables.h"

#include "core/router/rate.h"

#include <stddef.h>

#define ROWS(rows) (rows), sizeof(rows) / sizeof *(rows)

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const log_formats[] = {"logfmt", "json", NULL};
static const char *const orders[] = {"key", "none", NULL};
static const char *const deliveries[] = {"at-least-once", "effectively-once", NULL};
static const char *const rejects[] = {"dead-letter", "stop", NULL};
static const char *const losses[] = {"stop", "continue", NULL};
static const char *const fidelities[] = {"best-effort", "strict", NULL};
static const char *const provenances[] = {"auto", "always", "never", NULL};

static const struct mb_option bridge_rows[] = {
    {.name = "name",
     .type = MB_OPTION_STRING,
     .offset = offsetof(struct mb_bridge_values, name),
     .default_text = "mbridge",
     .doc = "Name of this bridge. It is part of the names of groups and queues that the bridge "
            "makes for itself, so two bridges with different work need two names."},
    {.name = "admin",
     .type = MB_OPTION_STRING,
     .offset = offsetof(struct mb_bridge_values, admin),
     .doc = "Address for metrics and status over HTTP. Accepted, but nothing listens in this "
            "version: counters come with SIGUSR1 and at exit."},
    {.name = "log_level",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct mb_bridge_values, log_level),
     .choices = log_levels,
     .default_text = "info",
     .doc = "What is logged to standard error."},
    {.name = "log_format",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct mb_bridge_values, log_format),
     .choices = log_formats,
     .default_text = "logfmt",
     .doc = "How a line of the log is written."},
    {.name = "stop_timeout",
     .type = MB_OPTION_DURATION,
     .offset = offsetof(struct mb_bridge_values, stop_timeout_ms),
     .default_text = "10s",
     .min = 0,
     .max = 3600000,
     .doc = "How long a stop waits for messages that were sent but are not yet confirmed."},
    {.name = "drain_idle",
     .type = MB_OPTION_DURATION,
     .offset = offsetof(struct mb_bridge_values, drain_idle_ms),
     .default_text = "3s",
     .min = 1,
     .max = 86400000,
     .doc = "With --drain: how long a queue must have been empty to count as drained."},
    {.name = "drain_timeout",
     .type = MB_OPTION_DURATION,
     .offset = offsetof(struct mb_bridge_values, drain_timeout_ms),
     .default_text = "0",
     .doc = "With --drain: give up with exit status 1 after this time. 0 waits as long as it "
            "takes."},
    {.name = "discover",
     .type = MB_OPTION_DURATION,
     .offset = offsetof(struct mb_bridge_values, discover_ms),
     .default_text = "30s",
     .min = 0,
     .max = 86400000,
     .doc = "How often the streams are listed again that the pattern of a source matches: at least "
            "1s; 0: only when it connects. A source may say otherwise."},
    {.name = "core_dumps",
     .type = MB_OPTION_BOOL,
     .offset = offsetof(struct mb_bridge_values, core_dumps),
     .default_text = "false",
     .doc = "Allow core dumps. They hold messages and passwords."},
};

static const struct mb_option endpoint_rows[] = {
    {.name = "backend",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_REQUIRED,
     .offset = offsetof(struct mb_endpoint_values, backend),
     .doc = "The platform: the name of a backend, or the absolute path of a module."},
    {.name = "identity",
     .type = MB_OPTION_STRING,
     .offset = offsetof(struct mb_endpoint_values, identity),
     .doc = "Names the cluster where its broker has no name of its own."},
    {.name = "never",
     .type = MB_OPTION_LIST,
     .flags = MB_OPTION_MAY_BE_PATTERN,
     .offset = offsetof(struct mb_endpoint_values, never),
     .doc = "Streams that no route may read, by name, ^regular expression or glob."},
};

static const struct mb_option source_rows[] = {
    {.name = "endpoint",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_REQUIRED,
     .offset = offsetof(struct mb_stream_values, endpoint),
     .doc = "Name of the endpoint."},
    {.name = "exclude",
     .type = MB_OPTION_LIST,
     .flags = MB_OPTION_MAY_BE_PATTERN,
     .offset = offsetof(struct mb_stream_values, exclude),
     .doc = "Beside a pattern: streams to leave out, by name, ^regular expression or glob. Dead "
            "letters of the file's routes are left out by themselves."},
    {.name = "discover",
     .type = MB_OPTION_DURATION,
     .offset = offsetof(struct mb_stream_values, discover_ms),
     .min = 0,
     .max = 86400000,
     .doc =
         "Beside a pattern: how often the streams that it matches are listed again, at least 1s; "
         "0: only when the source connects. Unset: as the bridge's discover says."},
};

static const struct mb_option sink_rows[] = {
    {.name = "endpoint",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_REQUIRED,
     .offset = offsetof(struct mb_stream_values, endpoint),
     .doc = "Name of the endpoint."},
    {.name = "create",
     .type = MB_OPTION_BOOL,
     .offset = offsetof(struct mb_stream_values, create),
     .default_text = "true",
     .doc = "Create the destination if it is missing. One that exists is never altered."},
};

static const struct mb_option step_rows[] = {
    {.name = "step",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_REQUIRED,
     .offset = offsetof(struct mb_step_values, step),
     .doc = "Name of the step."},
};

static const struct mb_option route_rows[] = {
    {.name = "name",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_REQUIRED,
     .offset = offsetof(struct mb_route_values, name),
     .doc = "Name of the route: unique; part of its group's name, of counters and of the log."},
    {.name = "order",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct mb_route_values, order),
     .choices = orders,
     .default_text = "key",
     .doc = "key: messages of one key stay in their order. none: consumers share freely."},
    {.name = "lanes",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct mb_route_values, lanes),
     .default_text = "1",
     .min = 1,
     .max = 64,
     .doc = "How many consumers of the source this process runs side by side."},
    {.name = "delivery",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct mb_route_values, delivery),
     .choices = deliveries,
     .default_text = "at-least-once",
     .doc = "at-least-once: the source is acknowledged after every sink has confirmed; after a "
            "crash at most one window comes twice. effectively-once: none does, where the source "
            "has positions that last and the one sink can tell what it has."},
    {.name = "window.messages",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct mb_route_values, window_messages),
     .default_text = "10000",
     .min = 1,
     .max = 1048576,
     .doc = "How many messages may be taken and not yet confirmed, a lane. As many may come twice "
            "after a crash."},
    {.name = "window.bytes",
     .type = MB_OPTION_SIZE,
     .offset = offsetof(struct mb_route_values, window_bytes),
     .default_text = "16MiB",
     .min = 64 * 1024,
     .max = 256 * 1024 * 1024,
     .doc = "How many bytes of them, a lane."},
    {.name = "retry.initial",
     .type = MB_OPTION_DURATION,
     .offset = offsetof(struct mb_route_values, retry_initial_ms),
     .default_text = "100ms",
     .min = 1,
     .max = 3600000,
     .doc = "First wait before a retry or a reconnect; each following one is twice as long."},
    {.name = "retry.max",
     .type = MB_OPTION_DURATION,
     .offset = offsetof(struct mb_route_values, retry_max_ms),
     .default_text = "5s",
     .min = 1,
     .max = 3600000,
     .doc = "Longest wait."},
    {.name = "retry.attempts",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct mb_route_values, retry_attempts),
     .default_text = "0",
     .min = 0,
     .max = 1000000,
     .doc = "After so many refusals by its destination a message goes the way of on_reject. 0: "
            "never, the route waits."},
    {.name = "poison.deliveries",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct mb_route_values, poison_deliveries),
     .default_text = "0",
     .min = 0,
     .max = 1000000,
     .doc =
         "A message that its source handed out so often before, and nobody acknowledged, goes the "
         "way of on_reject with the reason poison. The count is the broker's, where it has one "
         "(docs/dead-letters.md). A bridge that is killed, and a connection that breaks, count "
         "too: leave room for them. 0: never."},
    {.name = "on_reject",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct mb_route_values, on_reject),
     .choices = rejects,
     .doc = "What becomes of a message that cannot be carried. Unset: dead-letter where the route "
            "has a dead_letter, else stop."},
    {.name = "on_loss",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct mb_route_values, on_loss),
     .choices = losses,
     .default_text = "stop",
     .doc = "What the route does when its source has lost messages before they could be read."},
    {.name = "fidelity",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct mb_route_values, fidelity),
     .choices = fidelities,
     .default_text = "best-effort",
     .doc = "best-effort: send what the destination can hold and count what it cannot. strict: "
            "reject such messages."},
    {.name = "provenance",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct mb_route_values, provenance),
     .choices = provenances,
     .default_text = "auto",
     .doc =
         "Whether messages are given an id, the path that they took, and a sidecar of what their "
         "new platform cannot hold. auto: where the platforms differ. always: id and path on "
         "the same platform too. never: nothing is added."},
    {.name = "key_from",
     .type = MB_OPTION_TEMPLATE,
     .offset = offsetof(struct mb_route_values, key_from),
     .doc = "Where the key of a message is taken from: routing_key, group_id, message_id, subject, "
            "or a template such as ${header.customer}; none takes the key away; key leaves it. A "
            "message that lacks the value keeps the key it has."},
    {.name = "rate.messages",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct mb_route_values, rate_messages),
     .min = 1,
     .max = MB_RATE_MESSAGES_MAX,
     .doc = "How many messages a second the route takes in at most, over all its lanes in this "
            "process. Unset: as fast as it goes."},
    {.name = "rate.bytes",
     .type = MB_OPTION_SIZE,
     .offset = offsetof(struct mb_route_values, rate_bytes),
     .min = 1,
     .max = MB_RATE_BYTES_MAX,
     .doc = "How many bytes of messages a second."},
    {.name = "isolate_sinks",
     .type = MB_OPTION_BOOL,
     .offset = offsetof(struct mb_route_values, isolate_sinks),
     .default_text = "false",
     .doc =
         "Each sink reads the source by itself, in a group of its own (the route's, a point, and "
         "the sink's endpoint or, where two sinks have one endpoint, its number), so that one "
         "that stands still holds up no other. The source is read once a sink; one that takes "
         "messages away from others cannot be."},
    {.name = "allow_cycle",
     .type = MB_OPTION_BOOL,
     .offset = offsetof(struct mb_route_values, allow_cycle),
     .default_text = "false",
     .doc = "Routes of this file may send messages back to where they came from. Each message then "
            "carries its path, and is not sent to where it was already."},
};

const struct mb_option_table mb_bridge_table = {ROWS(bridge_rows), sizeof(struct mb_bridge_values)};
const struct mb_option_table mb_endpoint_table = {ROWS(endpoint_rows),
                                                  sizeof(struct mb_endpoint_values)};
const struct mb_option_table mb_source_table = {ROWS(source_rows), sizeof(struct mb_stream_values)};
const struct mb_option_table mb_sink_table = {ROWS(sink_rows), sizeof(struct mb_stream_values)};
const struct mb_option_table mb_step_table = {ROWS(step_rows), sizeof(struct mb_step_values)};
const struct mb_option_table mb_route_table = {ROWS(route_rows), sizeof(struct mb_route_values)};
