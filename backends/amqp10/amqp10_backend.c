/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor: options, their combinations, and which streams they name. */
#include "amqp10.h"

#include <proton/sasl.h>
#include <proton/version.h>

#define TEXT_OF(number)   #number
#define NUMBER_TEXT(name) TEXT_OF(name)

#define ROW(type, member) .offset = offsetof(struct type, member)

static const char *const mechanisms[] = {"auto",     "ANONYMOUS",     "PLAIN",
                                         "EXTERNAL", "SCRAM-SHA-256", NULL};

static const struct mb_option endpoint_rows[] = {
    {.name = "uri",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_IS_SECRET,
     ROW(amqp10_endpoint, uri),
     .doc = "amqp10://user:password@host:port, or amqp10s for TLS. The options beside it take "
            "precedence over its parts."},
    {.name = "host",
     .type = MB_OPTION_STRING,
     ROW(amqp10_endpoint, host),
     .doc = "Host name or address, or host:port. Unset: that of uri, else localhost."},
    {.name = "port",
     .type = MB_OPTION_INTEGER,
     .min = 1,
     .max = 65535,
     ROW(amqp10_endpoint, port),
     .doc = "TCP port. Unset: that of uri or host, else 5672, with TLS 5671."},
    {.name = "vhost",
     .type = MB_OPTION_STRING,
     ROW(amqp10_endpoint, vhost),
     .doc = "What the connection's hostname field says; brokers choose a virtual host by it. "
            "RabbitMQ 4 wants vhost:NAME. Unset: the host."},
    {.name = "username",
     .type = MB_OPTION_STRING,
     ROW(amqp10_endpoint, username),
     .doc = "User name. Unset: that of uri; with a client certificate SASL EXTERNAL is used then, "
            "else ANONYMOUS."},
    {.name = "password",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_IS_SECRET,
     ROW(amqp10_endpoint, password),
     .doc = "Password. Unset: that of uri."},
    {.name = "container_id",
     .type = MB_OPTION_STRING,
     ROW(amqp10_endpoint, container_id),
     .doc = "How the bridge names itself. A durable subscription belongs to this very id; all "
            "other connections add to it what makes them unique. Unset: mbridge.BRIDGE.ROUTE."},
    {.name = "sasl.mechanism",
     .type = MB_OPTION_ENUM,
     .default_text = "auto",
     .choices = mechanisms,
     ROW(amqp10_endpoint, mechanism),
     .doc = "How to log in. auto: PLAIN with a user name, EXTERNAL with a client certificate, else "
            "ANONYMOUS. SCRAM needs a qpid-proton that is built with Cyrus SASL."},
    {.name = "sasl.username",
     .type = MB_OPTION_STRING,
     ROW(amqp10_endpoint, sasl_username),
     .doc = "The user, another way to write username."},
    {.name = "sasl.password",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_IS_SECRET,
     ROW(amqp10_endpoint, sasl_password),
     .doc = "The user's password, another way to write password."},
    {.name = "heartbeat",
     .type = MB_OPTION_DURATION,
     .default_text = "10s",
     .min = 1000,
     .max = 60000,
     ROW(amqp10_endpoint, heartbeat_ms),
     .doc = "A broker that is silent for two of them is taken to be dead. It is asked to send "
            "something at least so often."},
    {.name = "follow_redirects",
     .type = MB_OPTION_BOOL,
     .default_text = "true",
     ROW(amqp10_endpoint, follow_redirects),
     .doc = "Go where the broker says that a connection or an address is instead, once for each "
            "attempt to connect, with the same log-in."},
    MB_TLS_OPTION_ROWS(struct amqp10_endpoint, tls),
};

static const struct mb_option source_rows[] = {
    {.name = "address",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_NAMES_STREAM,
     ROW(amqp10_source_options, address),
     .doc = "The address to read, as the broker writes it: a queue's name (Artemis), "
            "address::queue (Artemis), queue://NAME (ActiveMQ Classic), /queues/NAME (RabbitMQ "
            "4), /queue/NAME (RabbitMQ 3)."},
    {.name = "addresses",
     .type = MB_OPTION_LIST,
     .flags = MB_OPTION_NAMES_STREAM | MB_OPTION_MAY_BE_PATTERN,
     ROW(amqp10_source_options, addresses),
     .doc = "Several addresses, over one connection, each with its own link and order; on Artemis "
            "patterns of its queues too."},
    {.name = "capabilities",
     .type = MB_OPTION_LIST,
     .default_text = "queue",
     ROW(amqp10_source_options, capabilities),
     .doc = "What is asked of the source terminus: queue or topic, as Artemis needs it for an "
            "address that it creates."},
    {.name = "selector",
     .type = MB_OPTION_STRING,
     ROW(amqp10_source_options, selector),
     .doc = "A JMS selector: only messages that it matches are taken. Refused where the broker "
            "does not apply it."},
    {.name = "durable_subscription",
     .type = MB_OPTION_STRING,
     ROW(amqp10_source_options, durable_subscription),
     .doc = "Read a topic through a durable subscription of this name: it keeps messages while "
            "the bridge is away, and nothing is taken from others. Needs capabilities = "
            "(\"topic\") where the broker distinguishes."},
    {.name = "credit",
     .type = MB_OPTION_INTEGER,
     .default_text = "5000",
     .min = 1,
     .max = 100000,
     ROW(amqp10_source_options, credit),
     .doc =
         "How many messages the broker sends ahead on a link, within the window of the route. In "
         "order from ActiveMQ Classic at most 1000."},
};

static const struct mb_option sink_rows[] = {
    {.name = "address",
     .type = MB_OPTION_TEMPLATE,
     .flags = MB_OPTION_NAMES_STREAM,
     ROW(amqp10_sink_options, address),
     .slot = AMQP10_SLOT_ADDRESS,
     .doc = "The address to send to, as the broker writes it. With a template each address has a "
            "link of its own."},
    {.name = "to",
     .type = MB_OPTION_TEMPLATE,
     ROW(amqp10_sink_options, to),
     .slot = AMQP10_SLOT_TO,
     .doc = "Set the property `to` of each message. Unset: as the message has it."},
    {.name = "capabilities",
     .type = MB_OPTION_LIST,
     .default_text = "queue",
     ROW(amqp10_sink_options, capabilities),
     .doc = "What is asked of the target terminus. Without queue, Artemis creates an address that "
            "drops what is sent before somebody listens."},
    {.name = "max_message_size",
     .type = MB_OPTION_SIZE,
     .min = 1,
     .max = 268435456,
     ROW(amqp10_sink_options, max_message_size),
     .doc = "Larger messages are refused before they are sent. Unset: the limit that the broker "
            "states for the link."},
    {.name = "persistent",
     .type = MB_OPTION_BOOL,
     .default_text = "true",
     .flags = MB_OPTION_UNSAFE,
     ROW(amqp10_sink_options, persistent),
     .doc = "Have messages survive a restart of the broker, unless their source said otherwise."},
    {.name = "group_from_key",
     .type = MB_OPTION_BOOL,
     .default_text = "false",
     ROW(amqp10_sink_options, group_from_key),
     .doc = "Make the key the group-id (JMSXGroupID): brokers then give all messages of a key to "
            "one consumer."},
    {.name = "trust_user_id",
     .type = MB_OPTION_BOOL,
     .default_text = "false",
     ROW(amqp10_sink_options, trust_user_id),
     .doc = "Pass the user-id of a message on as a property."},
};

#undef ROW

static const struct mb_url_rule url_rules[] = {
    {.scheme = "amqp10", .authority_option = "host", .path_option = "address"},
    {.scheme = "amqp10s",
     .authority_option = "host",
     .path_option = "address",
     .fixed = "tls=true"},
};

static const char *library_version(void)
{
    return "qpid-proton " NUMBER_TEXT(PN_VERSION_MAJOR) "." NUMBER_TEXT(
        PN_VERSION_MINOR) "." NUMBER_TEXT(PN_VERSION_POINT);
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

static void validate_log_in(const struct amqp10_endpoint *endpoint,
                            const struct amqp10_place *place, const struct reporter *reporter)
{
    if (place->mechanism == AMQP10_SASL_SCRAM_256 && !pn_sasl_extended())
        tell(reporter, true, "sasl.mechanism",
             "the qpid-proton that is installed has no Cyrus SASL, and so no SCRAM");
    if ((place->mechanism == AMQP10_SASL_PLAIN || place->mechanism == AMQP10_SASL_SCRAM_256) &&
        place->username[0] == '\0')
        tell(reporter, true, "sasl.mechanism", "this mechanism needs a user name and a password");
    if (place->mechanism == AMQP10_SASL_EXTERNAL && endpoint->tls.cert == NULL)
        tell(reporter, true, "sasl.mechanism",
             "EXTERNAL logs in by the client's certificate: give tls.cert");
    if (place->mechanism == AMQP10_SASL_PLAIN && !place->tls)
        tell(reporter, false, "tls",
             "without TLS PLAIN sends the password readable to all on the path");
}

static void validate_endpoint(const struct amqp10_endpoint *endpoint,
                              const struct reporter *reporter)
{
    struct amqp10_place place;
    struct mb_error err;

    mb_error_clear(&err);
    if (amqp10_place_resolve(endpoint, &place, &err) != MB_OK)
        tell(reporter, true,
             strcmp(err.reason, "host") == 0 ? "host"
             : endpoint->uri != NULL         ? "uri"
                                             : NULL,
             err.text);
    else
        validate_log_in(endpoint, &place, reporter);
    explicit_bzero(&place, sizeof place);
    if (endpoint->tls.key != NULL && endpoint->tls.cert == NULL)
        tell(reporter, true, "tls.key",
             "tls.key needs tls.cert, the certificate that belongs to it");
#ifndef AMQP10_WITH_TLS
    if (endpoint->tls.enabled)
        tell(reporter, true, "tls", "this build of the backend amqp10 has no TLS");
#endif
}

static bool has_capability(const struct mb_strings *capabilities, const char *name)
{
    for (size_t i = 0; i < capabilities->count; i++) {
        if (strcmp(capabilities->items[i], name) == 0)
            return true;
    }
    return false;
}

static bool is_topic(const char *address)
{
    return address != NULL && strncmp(address, "topic://", 8) == 0;
}

static void validate_source(const struct amqp10_source_options *source,
                            const struct reporter *reporter)
{
    bool topic = has_capability(&source->capabilities, "topic") || is_topic(source->address);

    for (size_t i = 0; i < source->addresses.count; i++)
        topic = topic || is_topic(source->addresses.items[i]);
    if (source->address != NULL && source->addresses.count > 0)
        tell(reporter, true, NULL, "give one of address and addresses");
    if (source->addresses.count > AMQP10_ADDRESSES_MAX)
        tell(reporter, true, "addresses", "at most 256 addresses share a connection");
    if (source->durable_subscription != NULL && source->addresses.count > 0)
        tell(reporter, true, "durable_subscription",
             "a durable subscription is one of a single address");
    if (source->durable_subscription == NULL && topic)
        tell(reporter, false, "durable_subscription",
             "without a durable subscription a topic loses what is published while the bridge is "
             "away");
}

static void validate_sink(const struct amqp10_sink_options *sink, const struct reporter *reporter)
{
    if (sink->address != NULL && sink->address[0] == '\0' && sink->to == NULL)
        tell(reporter, true, "address",
             "an empty address is the anonymous relay, which goes by `to` of each message: give "
             "to");
    if (!sink->persistent)
        tell(reporter, false, "persistent",
             "messages are lost when the broker restarts, although it accepted them");
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

/* As the core tells one from a name. */
static bool is_pattern(const char *text)
{
    return text[0] == '^' || strpbrk(text, "*?[") != NULL;
}

static const char *source_address(const struct amqp10_source_options *source,
                                  const struct mb_open_params *params, size_t index)
{
    if (source->address != NULL)
        return index == 0 ? source->address : NULL;
    if (params != NULL && params->streams != NULL)
        return index < params->streams->count ? params->streams->items[index] : NULL;
    if (index >= source->addresses.count || is_pattern(source->addresses.items[index]))
        return NULL;
    return source->addresses.items[index];
}

static const char *sink_address(const struct amqp10_sink_options *sink,
                                const struct mb_open_params *params, size_t index)
{
    uint64_t templated = params != NULL ? params->names_templated : 0;

    if (index > 0 || sink->address == NULL || sink->address[0] == '\0' ||
        (templated & (1u << AMQP10_SLOT_ADDRESS)) != 0 || strstr(sink->address, "${") != NULL)
        return NULL;
    return sink->address;
}

static enum mb_status stream(const void *endpoint, enum mb_role role, const void *options,
                             const struct mb_open_params *params, size_t index,
                             struct mb_stream_record *ret_record)
{
    (void)endpoint;
    memset(ret_record, 0, sizeof *ret_record);
    ret_record->struct_size = sizeof *ret_record;
    ret_record->kind = MB_STREAM_ADDRESS;
    ret_record->depth_messages = -1;
    ret_record->size_max_bytes = -1;
    ret_record->name = role == MB_ROLE_SOURCE ? source_address(options, params, index)
                                              : sink_address(options, params, index);
    return ret_record->name != NULL ? MB_OK : MB_NOT_FOUND;
}

#define TABLE(rows, type)                                                                          \
    {                                                                                              \
        rows, sizeof rows / sizeof rows[0], sizeof(struct type)                                    \
    }

static const struct mb_backend backend = {
    .abi_version = MB_ABI_VERSION,
    .struct_size = sizeof(struct mb_backend),
    .name = AMQP10_PLATFORM,
    .doc = "AMQP 1.0: Artemis, ActiveMQ Classic, RabbitMQ, Qpid Broker-J and others.",
    .provider = "libqpid-proton11 (Debian), qpid-proton-c",
    .library_version = library_version,
    .endpoint_options = TABLE(endpoint_rows, amqp10_endpoint),
    .source_options = TABLE(source_rows, amqp10_source_options),
    .sink_options = TABLE(sink_rows, amqp10_sink_options),
    .url_rules = url_rules,
    .url_rules_count = sizeof url_rules / sizeof url_rules[0],
    .source = &amqp10_source_ops,
    .sink = &amqp10_sink_ops,
    .describe = &amqp10_describe_ops,
    .validate = validate,
    .stream = stream,
};

MB_EXPORT const struct mb_backend *mbridge_backend(void);

MB_EXPORT const struct mb_backend *mbridge_backend(void)
{
    return &backend;
}
