/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor: option tables, the checks that rows cannot make, and which stream is named. */
#include "kafka.h"

static const char *const isolations[] = {"read_committed", "read_uncommitted", NULL};
static const char *const partition_rules[] = {"auto", "preserve", "key", "spread", NULL};

#define ENDPOINT(member) offsetof(struct kafka_endpoint_options, member)
#define SOURCE(member)   offsetof(struct kafka_source_options, member)
#define SINK(member)     offsetof(struct kafka_sink_options, member)

static const struct mb_option endpoint_rows[] = {
    {.name = "brokers",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_REQUIRED,
     .offset = ENDPOINT(brokers),
     .doc = "Where to begin: \"host:port,host:port\". The others of the cluster are found."},
    MB_TLS_OPTION_ROWS(struct kafka_endpoint_options, tls),
    {.name = "sasl.mechanism",
     .type = MB_OPTION_ENUM,
     .offset = ENDPOINT(sasl.mechanism),
     .default_text = "none",
     .choices = kafka_mechanisms,
     .doc = "How to log in."},
    {.name = "sasl.username",
     .type = MB_OPTION_STRING,
     .offset = ENDPOINT(sasl.username),
     .doc = "The user, for PLAIN and SCRAM."},
    {.name = "sasl.password",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_IS_SECRET,
     .offset = ENDPOINT(sasl.password),
     .doc = "The user's password, for PLAIN and SCRAM."},
    {.name = "sasl.oauth.token_file",
     .type = MB_OPTION_STRING,
     .offset = ENDPOINT(sasl.oauth_token_file),
     .doc = "A file with the token for OAUTHBEARER; it is read again whenever a new one is due."},
    {.name = "sasl.oauth.token_url",
     .type = MB_OPTION_STRING,
     .offset = ENDPOINT(sasl.oauth_token_url),
     .doc = "Where to get tokens for OAUTHBEARER (OpenID Connect, client credentials)."},
    {.name = "sasl.oauth.client_id",
     .type = MB_OPTION_STRING,
     .offset = ENDPOINT(sasl.oauth_client_id),
     .doc = "The client's id there."},
    {.name = "sasl.oauth.client_secret",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_IS_SECRET,
     .offset = ENDPOINT(sasl.oauth_client_secret),
     .doc = "The client's secret there."},
    {.name = "sasl.oauth.scope",
     .type = MB_OPTION_STRING,
     .offset = ENDPOINT(sasl.oauth_scope),
     .doc = "The scope to ask for."},
    {.name = "properties",
     .type = MB_OPTION_PAIRS,
     .offset = ENDPOINT(properties),
     .doc = "Further properties of librdkafka, \"name=value\". Those that would break what the "
            "bridge promises are refused."},
};

static const struct mb_option source_rows[] = {
    {.name = "topic",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_NAMES_STREAM,
     .offset = SOURCE(topic),
     .doc = "The topic to read."},
    {.name = "topics",
     .type = MB_OPTION_LIST,
     .flags = MB_OPTION_NAMES_STREAM | MB_OPTION_MAY_BE_PATTERN,
     .offset = SOURCE(topics),
     .doc = "Several topics to read, or patterns of them."},
    {.name = "group",
     .type = MB_OPTION_STRING,
     .offset = SOURCE(group),
     .doc = "The consumer group: its members share the partitions, and it stores the positions. "
            "Unset: one of the route."},
    {.name = "start",
     .type = MB_OPTION_START,
     .offset = SOURCE(start),
     .default_text = "earliest",
     .doc = "Where a group begins that has nothing stored."},
    {.name = "isolation",
     .type = MB_OPTION_ENUM,
     .offset = SOURCE(isolation),
     .default_text = "read_committed",
     .choices = isolations,
     .doc = "Whether records of transactions that are open or were aborted are read."},
    {.name = "instance",
     .type = MB_OPTION_STRING,
     .offset = SOURCE(instance),
     .default_text = "auto",
     .doc = "Static membership, so that a restart gets its partitions back at once: \"auto\" names "
            "members after the host and a free number, another text is the name itself (with the "
            "lane's number), \"\" makes members dynamic."},
};

static const struct mb_option sink_rows[] = {
    {.name = "topic",
     .type = MB_OPTION_TEMPLATE,
     .flags = MB_OPTION_NAMES_STREAM,
     .offset = SINK(topic),
     .slot = 0,
     .doc = "The topic to write."},
    {.name = "partition",
     .type = MB_OPTION_ENUM,
     .offset = SINK(partition),
     .default_text = "auto",
     .choices = partition_rules,
     .doc = "auto: the partition that a record had at a partitioned source, if there is one of "
            "that number, else by key. preserve: only the one it had. key: by key, as Java "
            "clients do (choose it where the number of partitions differs and others write the "
            "same keys). spread: by key, and without one anywhere, which gives up their order."},
    {.name = "partitions",
     .type = MB_OPTION_INTEGER,
     .offset = SINK(partitions),
     .default_text = "0",
     .min = 0,
     .max = 100000,
     .doc = "Partitions of the topic when it is created; 0: as many as the source has, or the "
            "broker's default."},
    {.name = "replication",
     .type = MB_OPTION_INTEGER,
     .offset = SINK(replication),
     .default_text = "0",
     .min = 0,
     .max = 1000,
     .doc = "Replicas of the topic when it is created; 0: the broker's default."},
    {.name = "compression",
     .type = MB_OPTION_ENUM,
     .offset = SINK(compression),
     .default_text = "none",
     .choices = kafka_compressions,
     .doc = "How batches are compressed."},
    {.name = "linger",
     .type = MB_OPTION_DURATION,
     .offset = SINK(linger_ms),
     .default_text = "10ms",
     .min = 0,
     .max = 10000,
     .doc = "How long a record may wait for others to be sent with. Less makes more and smaller "
            "requests, which cost the broker and this process several times as much a message. "
            "Where fewer than 64 come in that time none waits: what there is goes out as soon as "
            "the source has no more."},
    {.name = "positions_topic",
     .type = MB_OPTION_STRING,
     .offset = SINK(positions_topic),
     .default_text = "mbridge.positions",
     .doc = "With delivery = \"effectively-once\": the compacted topic in which the source's "
            "positions are kept, written in the same transactions as the messages. Made if it is "
            "missing; routes may share it. It needs 8 partitions at least."},
    {.name = "transaction_timeout",
     .type = MB_OPTION_DURATION,
     .offset = SINK(transaction_timeout_ms),
     .default_text = "15s",
     .min = 2000,
     .max = 900000,
     .doc =
         "With delivery = \"effectively-once\": after this time brokers abort a transaction that "
         "its writer has left behind; until then, or until the writer is back, consumers with "
         "read_committed wait. A broker that is away for longer makes the bridge send again."},
};

static const struct mb_url_rule url_rules[] = {
    {.scheme = "kafka", .authority_option = "brokers", .path_option = "topic"},
    {.scheme = "kafkas",
     .authority_option = "brokers",
     .path_option = "topic",
     .fixed = "tls=true"},
};

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static const char *library_version(void)
{
    return "librdkafka " KAFKA_LIBRARY_VERSION;
}

/* ---- validate ---- */

struct reporter {
    void (*report)(void *context, const struct mb_finding *finding);
    void *context;
};

MB_PRINTF(4, 5)
static void report(const struct reporter *to, bool is_error, const char *option, const char *format,
                   ...)
{
    struct mb_finding finding = {.is_error = is_error, .option = option};
    va_list args;

    va_start(args, format);
    vsnprintf(finding.text, sizeof finding.text, format, args);
    va_end(args);
    to->report(to->context, &finding);
}

static void check_sasl(const struct reporter *to, const struct kafka_endpoint_options *endpoint)
{
    const struct kafka_sasl_options *sasl = &endpoint->sasl;
    bool oauth = sasl->oauth_token_file != NULL || sasl->oauth_token_url != NULL;

    if (sasl->mechanism == KAFKA_SASL_NONE) {
        if (sasl->username != NULL || sasl->password != NULL || oauth)
            report(to, true, "sasl.mechanism",
                   "a log-in is given but no mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or "
                   "OAUTHBEARER");
        return;
    }
    if (sasl->mechanism == KAFKA_SASL_OAUTHBEARER) {
        if (!oauth)
            report(to, true, "sasl.oauth.token_file",
                   "OAUTHBEARER needs token_file, or token_url with client_id and client_secret");
        if (sasl->oauth_token_url != NULL && sasl->oauth_token_file != NULL)
            report(to, true, "sasl.oauth.token_file", "give token_file or token_url, not both");
        if (sasl->oauth_token_url != NULL &&
            (sasl->oauth_client_id == NULL || sasl->oauth_client_secret == NULL))
            report(to, true, "sasl.oauth.client_id", "token_url needs client_id and client_secret");
    } else if (sasl->username == NULL || sasl->password == NULL) {
        report(to, true, "sasl.username", "%s needs username and password",
               kafka_mechanisms[sasl->mechanism]);
    }
    if (!endpoint->tls.enabled && sasl->mechanism != KAFKA_SASL_SCRAM_256 &&
        sasl->mechanism != KAFKA_SASL_SCRAM_512)
        report(to, false, "tls", "without TLS %s sends the secret readable to all on the path",
               kafka_mechanisms[sasl->mechanism]);
}

static void check_properties(const struct reporter *to,
                             const struct kafka_endpoint_options *endpoint)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    for (size_t i = 0; i < endpoint->properties.count; i++) {
        struct kafka_endpoint_options one = *endpoint;
        struct mb_error err;

        one.properties = (struct mb_strings){&endpoint->properties.items[i], 1};
        if (kafka_properties_user(conf, &one, &err) != MB_OK)
            report(to, true, "properties", "%s", err.text);
    }
    rd_kafka_conf_destroy(conf);
}

static void check_endpoint(const struct reporter *to, const struct kafka_endpoint_options *endpoint)
{
    rd_kafka_conf_t *conf;
    struct mb_error err;

    check_sasl(to, endpoint);
    check_properties(to, endpoint);
    if (endpoint->tls.server_name != NULL)
        report(to, true, "tls.server_name",
               "librdkafka verifies the name in `brokers`; write that name there");
    if ((endpoint->tls.cert == NULL) != (endpoint->tls.key == NULL))
        report(to, true, "tls.cert", "cert and key come together");
    if (endpoint->brokers == NULL || endpoint->tls.server_name != NULL)
        return;
    /* What this build of the library cannot do (OIDC, TLS) shows when it is set. */
    conf = rd_kafka_conf_new();
    if (kafka_properties_base(conf, endpoint, &err) != MB_OK)
        report(to, true, NULL, "%s", err.text);
    rd_kafka_conf_destroy(conf);
}

static void check_start(const struct reporter *to, const struct kafka_source_options *source)
{
    if (source->start.kind == MB_POSITION_STORED)
        report(to, true, "start",
               "what is stored is used anyway; say where to begin without it: earliest, latest or "
               "a time");
}

/* Not every build of the library has every compression. */
static void check_compression(const struct reporter *to, const struct kafka_sink_options *sink)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    struct mb_error err;

    if (kafka_property_set(conf, "compression.type", kafka_compressions[sink->compression], &err) !=
        MB_OK)
        report(to, true, "compression", "%s", err.text);
    rd_kafka_conf_destroy(conf);
}

static void validate(const void *endpoint, enum mb_role role, const void *options, bool ordered,
                     void (*report_cb)(void *context, const struct mb_finding *finding),
                     void *context)
{
    const struct reporter to = {report_cb, context};
    const struct kafka_source_options *source = options;
    const struct kafka_sink_options *sink = options;

    if (options == NULL) {
        check_endpoint(&to, endpoint);
        return;
    }
    if (role == MB_ROLE_SOURCE) {
        if (source->topic != NULL && source->topics.count > 0)
            report(&to, true, "topics", "give topic or topics, not both");
        check_start(&to, source);
        return;
    }
    check_compression(&to, sink);
    if (ordered && sink->partition == KAFKA_PARTITION_SPREAD)
        report(&to, false, "partition",
               "spread gives up the order of records without a key; key keeps it");
}

/* ---- streams ---- */

static const char *source_topic(const struct kafka_source_options *source,
                                const struct mb_open_params *params, size_t index)
{
    if (params != NULL && params->streams != NULL && params->streams->count > 0)
        return index < params->streams->count ? params->streams->items[index] : NULL;
    if (source->topic != NULL)
        return index == 0 ? source->topic : NULL;
    return index < source->topics.count ? source->topics.items[index] : NULL;
}

static enum mb_status stream(const void *endpoint, enum mb_role role, const void *options,
                             const struct mb_open_params *params, size_t index,
                             struct mb_stream_record *ret_record)
{
    const struct kafka_sink_options *sink = options;

    (void)endpoint;
    *ret_record = (struct mb_stream_record){.struct_size = sizeof *ret_record,
                                            .kind = MB_STREAM_LOG,
                                            .depth_messages = -1,
                                            .size_max_bytes = -1};
    if (role == MB_ROLE_SOURCE) {
        ret_record->name = source_topic(options, params, index);
        return ret_record->name != NULL ? MB_OK : MB_NOT_FOUND;
    }
    if (index > 0 || sink->topic == NULL || (params != NULL && (params->names_templated & 1u) != 0))
        return MB_NOT_FOUND;
    ret_record->name = sink->topic;
    ret_record->partitions_count = (int32_t)sink->partitions;
    ret_record->replication = (int32_t)sink->replication;
    return MB_OK;
}

static const struct mb_backend descriptor = {
    .abi_version = MB_ABI_VERSION,
    .struct_size = sizeof descriptor,
    .name = "kafka",
    .doc = "Apache Kafka and what speaks its protocol: topics, with consumer groups and an "
           "idempotent producer.",
    .provider = "mbridge-kafka (librdkafka)",
    .library_version = library_version,
    .endpoint_options = {endpoint_rows, COUNT(endpoint_rows),
                         sizeof(struct kafka_endpoint_options)},
    .source_options = {source_rows, COUNT(source_rows), sizeof(struct kafka_source_options)},
    .sink_options = {sink_rows, COUNT(sink_rows), sizeof(struct kafka_sink_options)},
    .url_rules = url_rules,
    .url_rules_count = COUNT(url_rules),
    .source = &kafka_source_ops,
    .sink = &kafka_sink_ops,
    .describe = &kafka_describe_ops,
    .validate = validate,
    .stream = stream,
};

MB_EXPORT mb_backend_entry mbridge_backend;

const struct mb_backend *mbridge_backend(void)
{
    return &descriptor;
}
