/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor: options, their combinations, and which streams they name. */
#include "amqp_stream.h"

#include <stdlib.h>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#else
#include <amqp.h>
#endif

#define ROW(type, member) .offset = offsetof(struct type, member)

static const struct mb_option endpoint_rows[] = {
    {.name = "uri",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_IS_SECRET,
     ROW(amqp_endpoint, uri),
     .doc = "amqp://user:password@host:port/vhost, or amqps for TLS. The options beside it take "
            "precedence over its parts. Without a path the vhost is /."},
    {.name = "host",
     .type = MB_OPTION_STRING,
     ROW(amqp_endpoint, host),
     .doc = "Host name or address. Unset: that of uri, else localhost."},
    {.name = "port",
     .type = MB_OPTION_INTEGER,
     .min = 1,
     .max = 65535,
     ROW(amqp_endpoint, port),
     .doc = "TCP port. Unset: that of uri, else 5672, with TLS 5671."},
    {.name = "vhost",
     .type = MB_OPTION_STRING,
     ROW(amqp_endpoint, vhost),
     .doc = "Virtual host. Unset: that of uri, else /."},
    {.name = "username",
     .type = MB_OPTION_STRING,
     ROW(amqp_endpoint, username),
     .doc = "User name. Unset: that of uri; with a client certificate SASL EXTERNAL is used then, "
            "else guest."},
    {.name = "password",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_IS_SECRET,
     ROW(amqp_endpoint, password),
     .doc = "Password. Unset: that of uri."},
    {.name = "heartbeat",
     .type = MB_OPTION_DURATION,
     .default_text = "10s",
     .min = 1000,
     .max = 30000,
     ROW(amqp_endpoint, heartbeat_ms),
     .doc =
         "Heartbeat interval, in whole seconds: a broker that is silent for two of them is taken "
         "to be dead."},
    MB_TLS_OPTION_ROWS(struct amqp_endpoint, tls),
};

static const struct mb_option source_rows[] = {
    {.name = "queue",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_NAMES_STREAM,
     ROW(amqp_source_options, queue),
     .doc = "The queue whose messages are taken."},
    {.name = "queues",
     .type = MB_OPTION_LIST,
     .flags = MB_OPTION_NAMES_STREAM,
     ROW(amqp_source_options, queues),
     .doc = "Several queues, over one connection, each with its own channel and order."},
    {.name = "exchange",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_NAMES_STREAM,
     ROW(amqp_source_options, exchange),
     .doc = "An exchange to observe: a durable queue of the bridge's own (named like the group) is "
            "declared and bound to it, and nothing is taken from others."},
    {.name = "binding_keys",
     .type = MB_OPTION_LIST,
     ROW(amqp_source_options, binding_keys),
     .doc = "With exchange: the keys to bind. Unset: #, which is everything on a topic exchange."},
    {.name = "prefetch",
     .type = MB_OPTION_INTEGER,
     .default_text = "8000",
     .min = 1,
     .max = 65535,
     ROW(amqp_source_options, prefetch),
     .doc = "How many messages the broker sends ahead of their acknowledgement, within the window "
            "of the route."},
    {.name = "ack_singly",
     .type = MB_OPTION_BOOL,
     .default_text = "false",
     ROW(amqp_source_options, ack_singly),
     .doc = "Acknowledge each message of a queue by itself, not all up to one with one frame: "
            "slower, and some can be left in between."},
    {.name = "arguments",
     .type = MB_OPTION_PAIRS,
     ROW(amqp_source_options, arguments),
     .doc = "Arguments of the consumer, as \"x-priority=10\". \"x-stream-offset=42\" is start with "
            "a number."},
    {.name = "start",
     .type = MB_OPTION_START,
     ROW(amqp_source_options, start),
     .doc =
         "The queue is a stream (x-queue-type = stream): where a group begins that has no "
         "position. Its position is kept in a queue mbridge.offset.GROUP.STREAM. A time is found "
         "to within a chunk of the stream: what was stored shortly before it may come too."},
    {.name = "group",
     .type = MB_OPTION_STRING,
     ROW(amqp_source_options, group),
     .doc = "With start: the name under which the position is kept. Unset: one of the route."},
};

static const char *const queue_types[] = {"classic", "quorum", "stream", NULL};

static const struct mb_option sink_rows[] = {
    {.name = "queue",
     .type = MB_OPTION_TEMPLATE,
     .flags = MB_OPTION_NAMES_STREAM,
     ROW(amqp_sink_options, queue),
     .slot = AMQP_NAME_QUEUE,
     .doc = "The queue to send to, through the default exchange."},
    {.name = "exchange",
     .type = MB_OPTION_TEMPLATE,
     .flags = MB_OPTION_NAMES_STREAM,
     ROW(amqp_sink_options, exchange),
     .slot = AMQP_NAME_EXCHANGE,
     .doc = "The exchange to publish to. It must exist: exchanges and bindings are never made."},
    {.name = "routing_key",
     .type = MB_OPTION_TEMPLATE,
     ROW(amqp_sink_options, routing_key),
     .slot = AMQP_NAME_ROUTING_KEY,
     .doc =
         "With exchange: the routing key. Unset: that of the message, else its key where that is "
         "UTF-8 of at most 255 bytes, else empty."},
    {.name = "queue_type",
     .type = MB_OPTION_ENUM,
     .default_text = "classic",
     .choices = queue_types,
     ROW(amqp_sink_options, queue_type),
     .doc =
         "The type of a queue that the bridge creates. stream: also of one that is there, so that "
         "messages get a form that a stream keeps."},
    {.name = "max_message_size",
     .type = MB_OPTION_SIZE,
     .default_text = "16MiB",
     .min = 1,
     .max = 536870912,
     ROW(amqp_sink_options, max_message_size),
     .doc = "Messages with a larger body are refused before they are sent. RabbitMQ's own limit is "
            "16 MiB from 4.0, 128 MiB before."},
    {.name = "mandatory",
     .type = MB_OPTION_BOOL,
     .default_text = "true",
     .flags = MB_OPTION_UNSAFE,
     ROW(amqp_sink_options, mandatory),
     .doc = "Have messages returned that no queue takes. Off, the broker drops them silently."},
    {.name = "persistent",
     .type = MB_OPTION_BOOL,
     .default_text = "true",
     .flags = MB_OPTION_UNSAFE,
     ROW(amqp_sink_options, persistent),
     .doc = "Have messages survive a restart of the broker, unless their source said otherwise."},
};

#undef ROW

static const struct mb_url_rule url_rules[] = {
    {.scheme = "amqp", .uri_option = "uri"},
    {.scheme = "amqps", .uri_option = "uri", .fixed = "tls=true"},
};

static const char *library_version(void)
{
    return "rabbitmq-c " AMQP_VERSION_STRING;
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

static bool too_long(const char *name)
{
    return name != NULL && strlen(name) > AMQP_SHORTSTR_MAX;
}

static void validate_endpoint(const struct amqp_endpoint *endpoint, const struct reporter *reporter)
{
    struct amqp_address address;
    struct mb_error err;

    mb_error_clear(&err);
    if (amqp_address_resolve(endpoint, &address, &err) != MB_OK)
        tell(reporter, true, strcmp(err.reason, "uri") == 0 || endpoint->uri != NULL ? "uri" : NULL,
             err.text);
    explicit_bzero(&address, sizeof address);
    if (endpoint->tls.key != NULL && endpoint->tls.cert == NULL)
        tell(reporter, true, "tls.key",
             "tls.key needs tls.cert, the certificate that belongs to it");
#ifndef AMQP_WITH_TLS
    if (endpoint->tls.enabled)
        tell(reporter, true, "tls", "this build of the backend amqp091 has no TLS");
#endif
}

static void validate_arguments(const struct mb_strings *arguments, const struct reporter *reporter)
{
    for (size_t i = 0; i < arguments->count; i++) {
        const char *equals = strchr(arguments->items[i], '=');

        if (equals == NULL || equals == arguments->items[i] ||
            (size_t)(equals - arguments->items[i]) > AMQP_SHORTSTR_MAX)
            tell(reporter, true, "arguments", "an argument is written \"name=value\"");
    }
}

static void validate_stream(const struct amqp_source_options *source,
                            const struct reporter *reporter)
{
    struct amqp_stream_place place;
    bool is_stream = amqp_stream_start(source, &place);

    if (source->start.kind == MB_POSITION_STORED)
        tell(reporter, true, "start",
             "a group goes on with its position anyway: say where one begins that has none");
    if (is_stream && source->exchange != NULL)
        tell(reporter, true, "start", "start belongs to a stream, and exchange makes a queue");
    if (!is_stream && source->group != NULL)
        tell(reporter, true, "group", "group belongs to a stream: give start, or take it away");
    if (source->start.kind != MB_POSITION_NONE && place.text != NULL && is_stream &&
        strcmp(place.text, "first") != 0 && strcmp(place.text, "next") != 0)
        tell(reporter, true, "arguments", "give one of start and x-stream-offset");
}

static void validate_source(const struct amqp_source_options *source,
                            const struct reporter *reporter)
{
    int ways = (source->queue != NULL) + (source->queues.count > 0) + (source->exchange != NULL);

    if (ways > 1)
        tell(reporter, true, NULL, "give one of queue, queues and exchange");
    if (source->binding_keys.count > 0 && source->exchange == NULL)
        tell(reporter, true, "binding_keys", "binding_keys belongs to exchange");
    if (source->queues.count > AMQP_CHANNELS_MAX)
        tell(reporter, true, "queues", "at most 256 queues share a connection");
    if (too_long(source->queue))
        tell(reporter, true, "queue", "the name of a queue has at most 255 bytes");
    if (too_long(source->exchange))
        tell(reporter, true, "exchange", "the name of an exchange has at most 255 bytes");
    for (size_t i = 0; i < source->queues.count; i++) {
        if (too_long(source->queues.items[i]))
            tell(reporter, true, "queues", "the name of a queue has at most 255 bytes");
    }
    for (size_t i = 0; i < source->binding_keys.count; i++) {
        if (too_long(source->binding_keys.items[i]))
            tell(reporter, true, "binding_keys", "a binding key has at most 255 bytes");
    }
    validate_arguments(&source->arguments, reporter);
    validate_stream(source, reporter);
}

static void validate_sink(const struct amqp_sink_options *sink, const struct reporter *reporter)
{
    if (sink->queue != NULL && sink->exchange != NULL)
        tell(reporter, true, "exchange",
             "queue sends through the default exchange: give queue, or exchange and routing_key");
    if (sink->routing_key != NULL && sink->exchange == NULL)
        tell(reporter, true, "routing_key", "routing_key belongs to exchange");
    if (!sink->mandatory)
        tell(reporter, false, "mandatory",
             "messages that no queue takes are dropped by the broker and count as delivered");
    if (!sink->persistent)
        tell(reporter, false, "persistent",
             "messages are lost when the broker restarts, although it confirmed them");
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

static enum mb_status source_stream(const struct amqp_source_options *source,
                                    const struct mb_open_params *params, size_t index,
                                    struct mb_stream_record *record)
{
    struct amqp_stream_place place;

    if (source->exchange != NULL) {
        /* The exchange must be there; the own queue is made when the source opens. */
        record->kind = index == 0 ? MB_STREAM_EXCHANGE : MB_STREAM_QUEUE;
        record->name = index == 0   ? source->exchange
                       : index == 1 ? (params != NULL ? params->default_group : NULL)
                                    : NULL;
        return record->name != NULL ? MB_OK : MB_NOT_FOUND;
    }
    if (amqp_stream_start(source, &place))
        record->kind = MB_STREAM_LOG;
    if (source->queue != NULL) {
        record->name = index == 0 ? source->queue : NULL;
    } else if (params != NULL && params->streams != NULL) {
        record->name = index < params->streams->count ? params->streams->items[index] : NULL;
    } else {
        record->name = index < source->queues.count ? source->queues.items[index] : NULL;
    }
    return record->name != NULL ? MB_OK : MB_NOT_FOUND;
}

static enum mb_status sink_stream(const struct amqp_sink_options *sink,
                                  const struct mb_open_params *params, size_t index,
                                  struct mb_stream_record *record)
{
    static const struct mb_pair types[] = {
        {"type", "classic"}, {"type", "quorum"}, {"type", "stream"}};
    uint64_t templated = params != NULL ? params->names_templated : 0;

    if (index > 0)
        return MB_NOT_FOUND;
    if (sink->queue != NULL) {
        if ((templated & (1u << AMQP_NAME_QUEUE)) != 0 || strstr(sink->queue, "${") != NULL)
            return MB_NOT_FOUND;
        record->name = sink->queue;
        if (sink->queue_type > 0) {
            record->configuration = &types[sink->queue_type];
            record->configuration_count = 1;
        }
        return MB_OK;
    }
    if (sink->exchange == NULL || (templated & (1u << AMQP_NAME_EXCHANGE)) != 0 ||
        strstr(sink->exchange, "${") != NULL)
        return MB_NOT_FOUND;
    record->kind = MB_STREAM_EXCHANGE;
    record->name = sink->exchange;
    return MB_OK;
}

static enum mb_status stream(const void *endpoint, enum mb_role role, const void *options,
                             const struct mb_open_params *params, size_t index,
                             struct mb_stream_record *ret_record)
{
    (void)endpoint;
    memset(ret_record, 0, sizeof *ret_record);
    ret_record->struct_size = sizeof *ret_record;
    ret_record->kind = MB_STREAM_QUEUE;
    ret_record->depth_messages = -1;
    ret_record->size_max_bytes = -1;
    if (role == MB_ROLE_SOURCE)
        return source_stream(options, params, index, ret_record);
    return sink_stream(options, params, index, ret_record);
}

#define TABLE(rows, type)                                                                          \
    {                                                                                              \
        rows, sizeof rows / sizeof rows[0], sizeof(struct type)                                    \
    }

static const struct mb_backend backend = {
    .abi_version = MB_ABI_VERSION,
    .struct_size = sizeof(struct mb_backend),
    .name = AMQP_PLATFORM,
    .doc = "AMQP 0-9-1: RabbitMQ queues and exchanges.",
    .provider = "librabbitmq4 (Debian), librabbitmq",
    .library_version = library_version,
    .endpoint_options = TABLE(endpoint_rows, amqp_endpoint),
    .source_options = TABLE(source_rows, amqp_source_options),
    .sink_options = TABLE(sink_rows, amqp_sink_options),
    .url_rules = url_rules,
    .url_rules_count = sizeof url_rules / sizeof url_rules[0],
    .source = &amqp_source_ops,
    .sink = &amqp_sink_ops,
    .describe = &amqp_describe_ops,
    .validate = validate,
    .stream = stream,
};

MB_EXPORT const struct mb_backend *mbridge_backend(void);

MB_EXPORT const struct mb_backend *mbridge_backend(void)
{
    return &backend;
}
