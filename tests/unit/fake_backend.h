/* SPDX-License-Identifier: Apache-2.0 */
/* Two backends that only describe themselves: enough for configurations, never opened. */
#ifndef MBRIDGE_TEST_FAKE_BACKEND_H
#define MBRIDGE_TEST_FAKE_BACKEND_H

#include "kit/tls.h"

#include <mbridge/backend.h>

struct fake_endpoint {
    const char *brokers;
    const char *username;
    const char *password;
    int64_t timeout_ms;
    struct mb_strings properties;
    struct mb_tls_options tls;
};

struct fake_source {
    const char *topic;
    struct mb_strings topics;
    struct mb_position start;
    int64_t prefetch;
    int64_t isolation;
    bool exclusive;
};

struct fake_sink {
    const char *topic;
    const char *key;
    int64_t partitions;
    int64_t max_size;
    bool unsafe_loose;
    bool safe;
};

static const char *const fake_isolations[] = {"read_committed", "read_uncommitted", NULL};

static const struct mb_option fake_endpoint_rows[] = {
    {.name = "brokers",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_REQUIRED,
     .offset = offsetof(struct fake_endpoint, brokers),
     .doc = "Addresses."},
    {.name = "username",
     .type = MB_OPTION_STRING,
     .offset = offsetof(struct fake_endpoint, username),
     .doc = "User."},
    {.name = "password",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_IS_SECRET,
     .offset = offsetof(struct fake_endpoint, password),
     .doc = "Password."},
    {.name = "timeout",
     .type = MB_OPTION_DURATION,
     .offset = offsetof(struct fake_endpoint, timeout_ms),
     .default_text = "10s",
     .min = 100,
     .max = 60000,
     .doc = "Time."},
    {.name = "properties",
     .type = MB_OPTION_PAIRS,
     .offset = offsetof(struct fake_endpoint, properties),
     .doc = "More."},
    MB_TLS_OPTION_ROWS(struct fake_endpoint, tls),
};

static const struct mb_option fake_source_rows[] = {
    {.name = "topic",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_NAMES_STREAM | MB_OPTION_MAY_BE_PATTERN,
     .offset = offsetof(struct fake_source, topic),
     .doc = "Name."},
    {.name = "topics",
     .type = MB_OPTION_LIST,
     .flags = MB_OPTION_NAMES_STREAM | MB_OPTION_MAY_BE_PATTERN,
     .offset = offsetof(struct fake_source, topics),
     .doc = "Names."},
    {.name = "start",
     .type = MB_OPTION_START,
     .offset = offsetof(struct fake_source, start),
     .default_text = "earliest",
     .doc = "Begin."},
    {.name = "prefetch",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct fake_source, prefetch),
     .default_text = "100",
     .min = 1,
     .max = 1000,
     .doc = "Ahead."},
    {.name = "isolation",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct fake_source, isolation),
     .choices = fake_isolations,
     .default_text = "read_committed",
     .doc = "What is seen."},
    {.name = "exclusive",
     .type = MB_OPTION_BOOL,
     .offset = offsetof(struct fake_source, exclusive),
     .default_text = "false",
     .doc = "Alone."},
};

static const struct mb_option fake_sink_rows[] = {
    {.name = "topic",
     .type = MB_OPTION_TEMPLATE,
     .flags = MB_OPTION_NAMES_STREAM,
     .offset = offsetof(struct fake_sink, topic),
     .slot = 0,
     .doc = "Name."},
    {.name = "key",
     .type = MB_OPTION_TEMPLATE,
     .offset = offsetof(struct fake_sink, key),
     .slot = 1,
     .doc = "Key."},
    {.name = "partitions",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct fake_sink, partitions),
     .default_text = "0",
     .doc = "How many."},
    {.name = "max_size",
     .type = MB_OPTION_SIZE,
     .offset = offsetof(struct fake_sink, max_size),
     .default_text = "1MiB",
     .min = 1024,
     .max = 1 << 30,
     .doc = "Largest."},
    {.name = "unsafe_loose",
     .type = MB_OPTION_BOOL,
     .flags = MB_OPTION_UNSAFE,
     .offset = offsetof(struct fake_sink, unsafe_loose),
     .default_text = "false",
     .doc = "Messages can be lost."},
    {.name = "safe",
     .type = MB_OPTION_BOOL,
     .flags = MB_OPTION_UNSAFE,
     .offset = offsetof(struct fake_sink, safe),
     .default_text = "true",
     .doc = "Off, messages can be lost."},
};

static inline uint64_t fake_source_traits(const void *endpoint, const void *options)
{
    const struct fake_source *source = options;

    (void)endpoint;
    return source->exclusive ? MB_SOURCE_EXCLUSIVE | MB_SOURCE_CONSUMES
                             : MB_SOURCE_DIVIDES_BY_KEY | MB_SOURCE_SEEKS;
}

static inline enum mb_status fake_source_open(const struct mb_open_params *params,
                                              struct mb_source **ret_source, struct mb_error *err)
{
    (void)params;
    (void)ret_source;
    return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "fake", "never opens");
}

static inline void fake_source_fds(struct mb_source *source, struct mb_wait *wait)
{
    (void)source;
    (void)wait;
}

static inline enum mb_status fake_source_poll(struct mb_source *source, struct mb_batch *batch,
                                              struct mb_error *err)
{
    (void)source;
    (void)batch;
    (void)err;
    return MB_OK;
}

static inline enum mb_status fake_source_ack(struct mb_source *source, const struct mb_ack *acks,
                                             size_t count, struct mb_error *err)
{
    (void)source;
    (void)acks;
    (void)count;
    (void)err;
    return MB_OK;
}

static inline enum mb_status fake_source_start(struct mb_source *source,
                                               const struct mb_scope_start *starts, size_t count,
                                               struct mb_error *err)
{
    (void)source;
    (void)starts;
    (void)count;
    (void)err;
    return MB_OK;
}

static inline enum mb_status fake_source_stop(struct mb_source *source, const uint32_t *scopes,
                                              size_t count, struct mb_error *err)
{
    (void)source;
    (void)scopes;
    (void)count;
    (void)err;
    return MB_OK;
}

static inline enum mb_status fake_source_service(struct mb_source *source, struct mb_error *err)
{
    (void)source;
    (void)err;
    return MB_OK;
}

static inline void fake_source_close(struct mb_source *source)
{
    (void)source;
}

static inline uint64_t fake_sink_traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return 0;
}

static inline enum mb_status fake_sink_open(const struct mb_open_params *params,
                                            struct mb_sink **ret_sink, struct mb_error *err)
{
    (void)params;
    (void)ret_sink;
    return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "fake", "never opens");
}

static inline void fake_sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    (void)sink;
    (void)wait;
}

static inline enum mb_status fake_sink_send(struct mb_sink *sink, const struct mb_outgoing *items,
                                            size_t count, size_t *ret_taken, struct mb_error *err)
{
    (void)sink;
    (void)items;
    (void)count;
    (void)err;
    *ret_taken = 0;
    return MB_AGAIN;
}

static inline enum mb_status fake_sink_completions(struct mb_sink *sink,
                                                   struct mb_completion *completions, size_t max,
                                                   size_t *ret_count, struct mb_error *err)
{
    (void)sink;
    (void)completions;
    (void)max;
    (void)err;
    *ret_count = 0;
    return MB_OK;
}

static inline enum mb_status fake_sink_service(struct mb_sink *sink, struct mb_error *err)
{
    (void)sink;
    (void)err;
    return MB_OK;
}

static inline void fake_sink_close(struct mb_sink *sink)
{
    (void)sink;
}

/* brokers = "refused" is an error, prefetch 999 a warning. */
static inline void fake_validate(const void *endpoint, enum mb_role role, const void *options,
                                 bool ordered,
                                 void (*report)(void *context, const struct mb_finding *finding),
                                 void *context)
{
    const struct fake_endpoint *connection = endpoint;
    const struct fake_source *source = role == MB_ROLE_SOURCE ? options : NULL;
    struct mb_finding finding = {0};

    (void)ordered;
    if (strcmp(connection->brokers, "refused") == 0) {
        finding = (struct mb_finding){true, "brokers", "these brokers are refused"};
        report(context, &finding);
    }
    if (source != NULL && source->prefetch == 999) {
        finding = (struct mb_finding){false, "prefetch", "999 may reorder"};
        report(context, &finding);
    }
}

static inline enum mb_status fake_stream(const void *endpoint, enum mb_role role,
                                         const void *options, const struct mb_open_params *params,
                                         size_t index, struct mb_stream_record *ret_record)
{
    const struct fake_source *source = options;
    const struct fake_sink *sink = options;
    const char *name = role == MB_ROLE_SOURCE ? source->topic : sink->topic;

    (void)endpoint;
    if (role == MB_ROLE_SINK && params->names_templated & 1)
        return MB_NOT_FOUND;
    if (index > 0 || name == NULL || name[0] == '^')
        return MB_NOT_FOUND;
    ret_record->kind = MB_STREAM_LOG;
    ret_record->name = name;
    return MB_OK;
}

static const struct mb_source_ops fake_source_ops = {
    .struct_size = sizeof fake_source_ops,
    .traits = fake_source_traits,
    .open = fake_source_open,
    .fds = fake_source_fds,
    .poll = fake_source_poll,
    .ack = fake_source_ack,
    .start = fake_source_start,
    .stop = fake_source_stop,
    .service = fake_source_service,
    .close = fake_source_close,
};

static const struct mb_sink_ops fake_sink_ops = {
    .struct_size = sizeof fake_sink_ops,
    .traits = fake_sink_traits,
    .open = fake_sink_open,
    .fds = fake_sink_fds,
    .send = fake_sink_send,
    .completions = fake_sink_completions,
    .flush = fake_sink_service,
    .service = fake_sink_service,
    .close = fake_sink_close,
};

static const struct mb_url_rule fake_url_rules[] = {
    {.scheme = "fake", .authority_option = "brokers", .path_option = "topic"},
    {.scheme = "fakes", .authority_option = "brokers", .path_option = "topic", .fixed = "tls=true"},
    {.scheme = "fakeuri", .uri_option = "brokers"},
};

#define FAKE_TABLE(rows, type)                                                                     \
    {                                                                                              \
        (rows), sizeof(rows) / sizeof *(rows), sizeof(type)                                        \
    }

static const struct mb_backend fake_backend = {
    .abi_version = MB_ABI_VERSION,
    .struct_size = sizeof fake_backend,
    .name = "fake",
    .doc = "Only describes itself.",
    .provider = "the tests",
    .endpoint_options = FAKE_TABLE(fake_endpoint_rows, struct fake_endpoint),
    .source_options = FAKE_TABLE(fake_source_rows, struct fake_source),
    .sink_options = FAKE_TABLE(fake_sink_rows, struct fake_sink),
    .url_rules = fake_url_rules,
    .url_rules_count = sizeof fake_url_rules / sizeof *fake_url_rules,
    .source = &fake_source_ops,
    .sink = &fake_sink_ops,
    .validate = fake_validate,
    .stream = fake_stream,
};

static const struct mb_url_rule fake_reader_rules[] = {
    {.scheme = "reader", .authority_option = "brokers", .path_option = "topic"},
};

/* Cannot be a sink. */
static const struct mb_backend fake_reader_backend = {
    .abi_version = MB_ABI_VERSION,
    .struct_size = sizeof fake_reader_backend,
    .name = "reader",
    .doc = "Only a source.",
    .provider = "the tests",
    .endpoint_options = FAKE_TABLE(fake_endpoint_rows, struct fake_endpoint),
    .source_options = FAKE_TABLE(fake_source_rows, struct fake_source),
    .url_rules = fake_reader_rules,
    .url_rules_count = 1,
    .source = &fake_source_ops,
};

#endif
