/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor: options, their combinations, and which streams they name. */
#include "redis.h"

#include <hiredis/hiredis.h>

#define TEXT_OF(number)  TEXT_OF_(number)
#define TEXT_OF_(number) #number

#define ROW(type, member) .offset = offsetof(struct type, member)

static const struct mb_option endpoint_rows[] = {
    {.name = "uri",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_IS_SECRET,
     ROW(redis_endpoint, uri),
     .doc = "redis://user:password@host:port/db, or rediss for TLS. The options beside it take "
            "precedence over its parts. Of a cluster several hosts may be named, with commas."},
    {.name = "host",
     .type = MB_OPTION_STRING,
     ROW(redis_endpoint, host),
     .doc = "Host name or address. Unset: that of uri, else 127.0.0.1."},
    {.name = "port",
     .type = MB_OPTION_INTEGER,
     .min = 1,
     .max = 65535,
     ROW(redis_endpoint, port),
     .doc = "TCP port. Unset: that of uri, else 6379."},
    {.name = "db",
     .type = MB_OPTION_INTEGER,
     .min = 0,
     .max = 1000000,
     ROW(redis_endpoint, db),
     .doc = "Number of the database. Unset: that of uri, else 0."},
    {.name = "username",
     .type = MB_OPTION_STRING,
     ROW(redis_endpoint, username),
     .doc = "User name (ACL). Unset: that of uri, else the server's default user."},
    {.name = "password",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_IS_SECRET,
     ROW(redis_endpoint, password),
     .doc = "Password. Unset: that of uri."},
    {.name = "cluster",
     .type = MB_OPTION_BOOL,
     .default_text = "false",
     ROW(redis_endpoint, cluster),
     .doc = "The server belongs to a Redis Cluster: streams are looked for on the node that has "
            "them."},
    {.name = "sentinel.master",
     .type = MB_OPTION_STRING,
     ROW(redis_endpoint, sentinel_master),
     .doc = "The name under which Sentinel knows the master; host and port are what it says."},
    {.name = "sentinel.nodes",
     .type = MB_OPTION_LIST,
     ROW(redis_endpoint, sentinel_nodes),
     .doc = "The sentinels, as host:port; the port is 26379 if it is not given."},
    {.name = "sentinel.username",
     .type = MB_OPTION_STRING,
     ROW(redis_endpoint, sentinel_username),
     .doc = "User name at the sentinels."},
    {.name = "sentinel.password",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_IS_SECRET,
     ROW(redis_endpoint, sentinel_password),
     .doc = "Password at the sentinels."},
    {.name = "timeout",
     .type = MB_OPTION_DURATION,
     .default_text = "10s",
     .min = 500,
     .max = 600000,
     ROW(redis_endpoint, timeout_ms),
     .doc = "A server that leaves something unanswered for so long is taken to be dead."},
    MB_TLS_OPTION_ROWS(struct redis_endpoint, tls),
};

static const struct mb_option source_rows[] = {
    {.name = "stream",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_NAMES_STREAM,
     ROW(redis_source_options, stream),
     .doc = "The stream to read."},
    {.name = "streams",
     .type = MB_OPTION_LIST,
     .flags = MB_OPTION_NAMES_STREAM | MB_OPTION_MAY_BE_PATTERN,
     ROW(redis_source_options, streams),
     .doc = "Several streams, or patterns of their names, each with its own order."},
    {.name = "group",
     .type = MB_OPTION_STRING,
     ROW(redis_source_options, group),
     .doc = "The consumer group, created if it is missing. Unset: mbridge.<bridge>.<route>."},
    {.name = "consumer",
     .type = MB_OPTION_STRING,
     ROW(redis_source_options, consumer),
     .doc = "The consumer's name in the group. Unset: one of host, bridge and route that is the "
            "same after a restart, so that what was not acknowledged is found."},
    {.name = "count",
     .type = MB_OPTION_INTEGER,
     .default_text = "500",
     .min = 1,
     .max = 10000,
     ROW(redis_source_options, count),
     .doc = "How many entries one request may bring; fewer if they are large."},
    {.name = "claim_idle",
     .type = MB_OPTION_DURATION,
     .default_text = "30s",
     .min = 0,
     .max = 86400000,
     ROW(redis_source_options, claim_idle_ms),
     .doc = "Entries that another consumer of the group has left for so long are taken over. 0s: "
            "never."},
    {.name = "start",
     .type = MB_OPTION_START,
     .default_text = "earliest",
     ROW(redis_source_options, start),
     .doc = "Where a group begins that is created."},
    {.name = "start_id",
     .type = MB_OPTION_STRING,
     ROW(redis_source_options, start_id),
     .doc = "Instead of start: the ID of the entry behind which a group begins that is created."},
    {.name = "body_field",
     .type = MB_OPTION_STRING,
     .default_text = "body",
     ROW(redis_source_options, body_field),
     .doc = "The field that holds the body. Of an entry without it all pairs are the body."},
};

static const struct mb_option sink_rows[] = {
    {.name = "stream",
     .type = MB_OPTION_TEMPLATE,
     .flags = MB_OPTION_NAMES_STREAM,
     ROW(redis_sink_options, stream),
     .slot = REDIS_NAME_STREAM,
     .doc = "The stream to add to."},
    {.name = "max_length",
     .type = MB_OPTION_STRING,
     ROW(redis_sink_options, max_length),
     .doc = "Trims the stream at every entry to that length, \"100000\", or cheaper to about that, "
            "\"~100000\". Entries are trimmed whether or not somebody has read them."},
    {.name = "wait_replicas",
     .type = MB_OPTION_INTEGER,
     .default_text = "0",
     .min = 0,
     .max = 100,
     ROW(redis_sink_options, wait_replicas),
     .doc = "So many replicas must have an entry before it counts as delivered (WAIT)."},
    {.name = "wait_timeout",
     .type = MB_OPTION_DURATION,
     .default_text = "1s",
     .min = 10,
     .max = 60000,
     ROW(redis_sink_options, wait_timeout_ms),
     .doc = "With wait_replicas: how long one WAIT may last before the route is shown as blocked "
            "and the replicas are waited for again."},
    {.name = "body_field",
     .type = MB_OPTION_STRING,
     .default_text = "body",
     ROW(redis_sink_options, body_field),
     .doc = "The field that takes the body."},
    {.name = "batch",
     .type = MB_OPTION_INTEGER,
     .default_text = "500",
     .min = 1,
     .max = 10000,
     ROW(redis_sink_options, batch),
     .doc = "Under load so many entries go in one transaction (MULTI, EXEC), as the server writes "
            "its append-only file once for all of it. 1: none. To a cluster not where the name of "
            "the stream is a template."},
};

#undef ROW

static const struct mb_url_rule url_rules[] = {
    {.scheme = "redis", .uri_option = "uri"},
    {.scheme = "rediss", .uri_option = "uri", .fixed = "tls=true"},
};

static const char *library_version(void)
{
    return "hiredis " TEXT_OF(HIREDIS_MAJOR) "." TEXT_OF(HIREDIS_MINOR) "." TEXT_OF(HIREDIS_PATCH)
#ifdef REDIS_WITH_TLS
        " with TLS"
#endif
        ;
}

struct reporter {
    void (*report)(void *context, const struct mb_finding *finding);
    void *context;
};

static void tell(const struct reporter *reporter, bool is_error, const char *option,
                 const char *text)
{
    struct mb_finding finding = {.is_error = is_error, .option = option};

    snprintf(finding.text, sizeof finding.text, "%s", text);
    reporter->report(reporter->context, &finding);
}

static void validate_sentinel(const struct redis_endpoint *endpoint,
                              const struct reporter *reporter)
{
    const struct mb_strings *nodes = &endpoint->sentinel_nodes;

    if (endpoint->sentinel_master == NULL) {
        if (nodes->count > 0)
            tell(reporter, true, "sentinel.nodes", "sentinel.nodes needs sentinel.master");
        return;
    }
    if (nodes->count == 0)
        tell(reporter, true, "sentinel.master", "sentinel.master needs sentinel.nodes");
    if (endpoint->cluster)
        tell(reporter, true, "cluster", "a cluster has no sentinels");
    for (size_t i = 0; i < nodes->count; i++) {
        struct redis_node node;

        if (!redis_node_parse(nodes->items[i], strlen(nodes->items[i]), 26379, &node))
            tell(reporter, true, "sentinel.nodes", "a sentinel is written \"host:port\"");
    }
}

static void validate_endpoint(const struct redis_endpoint *endpoint,
                              const struct reporter *reporter)
{
    struct redis_address address;
    struct mb_error err;

    mb_error_clear(&err);
    if (redis_address_resolve(endpoint, &address, &err) != MB_OK)
        tell(reporter, true, endpoint->uri != NULL ? "uri" : NULL, err.text);
#ifndef REDIS_WITH_TLS
    if (endpoint->tls.enabled || address.tls)
        tell(reporter, true, "tls",
             "this build of the backend redis has no TLS: its hiredis came without hiredis_ssl "
             "(Debian 12 has none, Debian 13 has)");
#endif
    explicit_bzero(&address, sizeof address);
    if (endpoint->tls.key != NULL && endpoint->tls.cert == NULL)
        tell(reporter, true, "tls.key",
             "tls.key needs tls.cert, the certificate that belongs to it");
    validate_sentinel(endpoint, reporter);
}

static void validate_body_field(const char *name, const struct reporter *reporter)
{
    if (name == NULL || name[0] == '\0')
        tell(reporter, true, "body_field", "the body needs a field with a name");
    else if (strcmp(name, REDIS_FIELD_KEY) == 0 ||
             strncmp(name, REDIS_FIELD_SIDECAR, sizeof REDIS_FIELD_SIDECAR - 1) == 0)
        tell(reporter, true, "body_field",
             "key and what begins with _mbridge are fields with a meaning of their own");
}

static void validate_source(const struct redis_source_options *source,
                            const struct reporter *reporter)
{
    struct mb_position position;

    if (source->stream != NULL && source->streams.count > 0)
        tell(reporter, true, NULL, "give one of stream and streams");
    if (source->streams.count > REDIS_STREAMS_MAX)
        tell(reporter, true, "streams", "at most 256 streams share a connection");
    if (source->start_id != NULL && strcmp(source->start_id, "$") != 0 &&
        (strlen(source->start_id) > 2 * REDIS_NUMBER_MAX + 1 ||
         !redis_id_parse(mb_slice_text(source->start_id), &position)))
        tell(reporter, true, "start_id", "an entry's ID is written \"1700000000000-0\"");
    if ((source->group != NULL && strlen(source->group) >= REDIS_NAME_MAX) ||
        (source->consumer != NULL && strlen(source->consumer) >= REDIS_NAME_MAX - 16))
        tell(reporter, true, "group", "the names of groups and consumers have at most 490 bytes");
    validate_body_field(source->body_field, reporter);
}

static void validate_sink(const struct redis_sink_options *sink, const struct reporter *reporter)
{
    uint64_t length;
    bool about;

    if (sink->max_length != NULL) {
        if (!redis_max_length_parse(sink->max_length, &about, &length))
            tell(reporter, true, "max_length", "a length is written \"100000\" or \"~100000\"");
        else
            tell(reporter, false, "max_length",
                 "entries are trimmed by length, whether or not their consumers have read them");
    }
    validate_body_field(sink->body_field, reporter);
}

static void validate(const void *endpoint, enum mb_role role, const void *options, bool ordered,
                     void (*report)(void *context, const struct mb_finding *finding), void *context)
{
    struct reporter reporter = {report, context};

    (void)ordered;
    if (options == NULL)
        validate_endpoint(endpoint, &reporter);
    else if (role == MB_ROLE_SOURCE)
        validate_source(options, &reporter);
    else
        validate_sink(options, &reporter);
}

/* As the core tells patterns from names. */
static bool is_pattern(const char *name)
{
    return name[0] == '^' || strpbrk(name, "*?[") != NULL;
}

static const char *source_stream(const struct redis_source_options *source,
                                 const struct mb_open_params *params, size_t index)
{
    if (source->stream != NULL)
        return index == 0 ? source->stream : NULL;
    if (params != NULL && params->streams != NULL)
        return index < params->streams->count ? params->streams->items[index] : NULL;
    for (size_t i = 0; i < source->streams.count; i++) {
        if (is_pattern(source->streams.items[i]))
            return NULL;
    }
    return index < source->streams.count ? source->streams.items[index] : NULL;
}

static enum mb_status stream(const void *endpoint, enum mb_role role, const void *options,
                             const struct mb_open_params *params, size_t index,
                             struct mb_stream_record *ret_record)
{
    const struct redis_source_options *source = options;
    const struct redis_sink_options *sink = options;
    uint64_t templated = params != NULL ? params->names_templated : 0;

    (void)endpoint;
    memset(ret_record, 0, sizeof *ret_record);
    ret_record->struct_size = sizeof *ret_record;
    ret_record->kind = MB_STREAM_LOG;
    ret_record->depth_messages = -1;
    ret_record->size_max_bytes = -1;
    if (role == MB_ROLE_SINK) {
        if (index == 0 && sink->stream != NULL && (templated & (1u << REDIS_NAME_STREAM)) == 0 &&
            strstr(sink->stream, "${") == NULL)
            ret_record->name = sink->stream;
    } else {
        ret_record->name = source_stream(source, params, index);
    }
    return ret_record->name != NULL ? MB_OK : MB_NOT_FOUND;
}

#define TABLE(rows, type)                                                                          \
    {                                                                                              \
        rows, sizeof rows / sizeof rows[0], sizeof(struct type)                                    \
    }

static const struct mb_backend backend = {
    .abi_version = MB_ABI_VERSION,
    .struct_size = sizeof(struct mb_backend),
    .name = REDIS_PLATFORM,
    .doc = "Redis Streams: consumer groups and XADD, on a server, by Sentinel, or in a cluster.",
    .provider = "libhiredis (Debian), hiredis",
    .library_version = library_version,
    .endpoint_options = TABLE(endpoint_rows, redis_endpoint),
    .source_options = TABLE(source_rows, redis_source_options),
    .sink_options = TABLE(sink_rows, redis_sink_options),
    .url_rules = url_rules,
    .url_rules_count = sizeof url_rules / sizeof url_rules[0],
    .source = &redis_source_ops,
    .sink = &redis_sink_ops,
    .describe = &redis_describe_ops,
    .validate = validate,
    .stream = stream,
};

MB_EXPORT const struct mb_backend *mbridge_backend(void);

MB_EXPORT const struct mb_backend *mbridge_backend(void)
{
    return &backend;
}
