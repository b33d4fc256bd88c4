/* SPDX-License-Identifier: Apache-2.0 */
/* Options of an endpoint → properties of the library. */
#include "kafka.h"

#include <strings.h>

const char *const kafka_mechanisms[] = {"none",          "PLAIN",       "SCRAM-SHA-256",
                                        "SCRAM-SHA-512", "OAUTHBEARER", NULL};
const char *const kafka_compressions[] = {"none", "gzip", "snappy", "lz4", "zstd", NULL};

struct property {
    const char *name;
    const char *text; /* a value, or why it is refused */
};

static const struct property base[] = {
    {"client.id", "mbridge"},
    {"socket.nagle.disable", "true"},
    {"socket.keepalive.enable", "true"},
    {"socket.timeout.ms", "30000"},
    {"socket.connection.setup.timeout.ms", "10000"},
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "1000"},
    {"topic.metadata.refresh.interval.ms", "60000"},
};

#define ACKNOWLEDGED "a record counts as done only when its sinks have confirmed it"
#define CONFIRMED    "a record counts as sent only when every replica in sync has it, once, in order"
#define BY_START     "option `start` says where a group begins; a position that is gone is reported"
#define BY_TLS       "the tls options set it"
#define BY_SASL      "the sasl options set it"

static const struct property refused[] = {
    {"bootstrap.servers", "option `brokers` sets it"},
    {"metadata.broker.list", "option `brokers` sets it"},
    {"group.id", "option `group` sets it"},
    {"group.instance.id", "option `instance` sets it"},
    {"group.protocol", "partitions are handed over by the classic group protocol"},
    {"partition.assignment.strategy", "members of one group must agree on it"},
    {"isolation.level", "option `isolation` sets it"},
    {"enable.auto.commit", ACKNOWLEDGED},
    {"auto.commit.enable", ACKNOWLEDGED},
    {"enable.auto.offset.store", ACKNOWLEDGED},
    {"enable.partition.eof", "it loses records with batches on librdkafka 2.2 to 2.13"},
    {"auto.offset.reset", BY_START},
    {"acks", CONFIRMED},
    {"request.required.acks", CONFIRMED},
    {"enable.idempotence", CONFIRMED},
    {"enable.gapless.guarantee", "the bridge itself sends again, in order"},
    {"message.timeout.ms", "the library must not give up a record by itself"},
    {"delivery.timeout.ms", "the library must not give up a record by itself"},
    {"message.send.max.retries", "the library must not give up a record by itself"},
    {"retries", "the library must not give up a record by itself"},
    {"delivery.report.only.error", CONFIRMED},
    {"queuing.strategy", "it would reorder or drop"},
    {"transactional.id", "the bridge sets it"},
    {"transaction.timeout.ms", "option `transaction_timeout` sets it"},
    {"partitioner", "option `partition` sets it"},
    {"sticky.partitioning.linger.ms", "option `partition` sets it"},
    {"linger.ms", "option `linger` sets it"},
    {"queue.buffering.max.ms", "option `linger` sets it"},
    {"compression.codec", "option `compression` sets it"},
    {"compression.type", "option `compression` sets it"},
    {"security.protocol", "the options tls and sasl set it"},
    {"sasl.mechanism", BY_SASL},
    {"sasl.mechanisms", BY_SASL},
    {"sasl.username", BY_SASL},
    {"sasl.password", BY_SASL},
    {"sasl.oauthbearer.client.secret", BY_SASL},
    {"enable.ssl.certificate.verification", BY_TLS},
    {"ssl.endpoint.identification.algorithm", BY_TLS},
    {"ssl.ca.location", BY_TLS},
    {"ssl.certificate.location", BY_TLS},
    {"ssl.key.location", BY_TLS},
    {"log.queue", "the bridge reads the log"},
    {"plugin.library.paths", "it would load code into the bridge"},
};

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

const char *kafka_property_refusal(const char *name)
{
    for (size_t i = 0; i < COUNT(refused); i++) {
        if (strcasecmp(refused[i].name, name) == 0)
            return refused[i].text;
    }
    return NULL;
}

enum mb_status kafka_property_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                                  struct mb_error *err)
{
    char text[256];

    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) == RD_KAFKA_CONF_OK)
        return MB_OK;
    return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "settings", "%s (librdkafka %s)", text,
                        rd_kafka_version_str());
}

static enum mb_status set_given(rd_kafka_conf_t *conf, const char *name, const char *value,
                                struct mb_error *err)
{
    return value != NULL ? kafka_property_set(conf, name, value, err) : MB_OK;
}

/* Those of TLS 1.2 (1.3 has its own): librdkafka has no option for the least version, and OpenSSL's
 * depends on the machine. */
#define CIPHERS "DEFAULT:!SSLv3:!TLSv1"

static enum mb_status set_tls(rd_kafka_conf_t *conf, const struct mb_tls_options *tls,
                              struct mb_error *err)
{
    enum mb_status status;

    if (tls->server_name != NULL)
        return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "tls",
                            "librdkafka verifies the name in `brokers`; tls.server_name cannot be "
                            "set");
    status = kafka_property_set(conf, "ssl.cipher.suites", CIPHERS, err);
    if (status == MB_OK)
        status = set_given(conf, "ssl.ca.location", tls->ca, err);
    if (status == MB_OK)
        status = set_given(conf, "ssl.certificate.location", tls->cert, err);
    if (status == MB_OK)
        status = set_given(conf, "ssl.key.location", tls->key, err);
    if (status == MB_OK)
        status = kafka_property_set(conf, "enable.ssl.certificate.verification",
                                    tls->unsafe_no_verify ? "false" : "true", err);
    if (status == MB_OK)
        status = kafka_property_set(conf, "ssl.endpoint.identification.algorithm",
                                    tls->unsafe_no_verify ? "none" : "https", err);
    return status;
}

static enum mb_status set_oauth(rd_kafka_conf_t *conf, const struct kafka_sasl_options *sasl,
                                struct mb_error *err)
{
    enum mb_status status;

    if (sasl->oauth_token_url == NULL)
        return MB_OK; /* tokens come from a file */
    status = kafka_property_set(conf, "sasl.oauthbearer.method", "oidc", err);
    if (status == MB_OK)
        status = set_given(conf, "sasl.oauthbearer.token.endpoint.url", sasl->oauth_token_url, err);
    if (status == MB_OK)
        status = set_given(conf, "sasl.oauthbearer.client.id", sasl->oauth_client_id, err);
    if (status == MB_OK)
        status = set_given(conf, "sasl.oauthbearer.client.secret", sasl->oauth_client_secret, err);
    if (status == MB_OK)
        status = set_given(conf, "sasl.oauthbearer.scope", sasl->oauth_scope, err);
    return status;
}

static enum mb_status set_sasl(rd_kafka_conf_t *conf, const struct kafka_sasl_options *sasl,
                               struct mb_error *err)
{
    enum mb_status status =
        kafka_property_set(conf, "sasl.mechanism", kafka_mechanisms[sasl->mechanism], err);

    if (status == MB_OK && sasl->mechanism == KAFKA_SASL_OAUTHBEARER)
        return set_oauth(conf, sasl, err);
    if (status == MB_OK)
        status = set_given(conf, "sasl.username", sasl->username, err);
    if (status == MB_OK)
        status = set_given(conf, "sasl.password", sasl->password, err);
    return status;
}

enum mb_status kafka_properties_base(rd_kafka_conf_t *conf,
                                     const struct kafka_endpoint_options *endpoint,
                                     struct mb_error *err)
{
    bool sasl = endpoint->sasl.mechanism != KAFKA_SASL_NONE;
    const char *protocol = endpoint->tls.enabled ? (sasl ? "sasl_ssl" : "ssl")
                                                 : (sasl ? "sasl_plaintext" : "plaintext");
    enum mb_status status = kafka_property_set(conf, "bootstrap.servers", endpoint->brokers, err);

    for (size_t i = 0; status == MB_OK && i < COUNT(base); i++)
        status = kafka_property_set(conf, base[i].name, base[i].text, err);
    if (status == MB_OK)
        status = kafka_property_set(conf, "security.protocol", protocol, err);
    if (status == MB_OK && endpoint->tls.enabled)
        status = set_tls(conf, &endpoint->tls, err);
    if (status == MB_OK && sasl)
        status = set_sasl(conf, &endpoint->sasl, err);
    return status;
}

enum mb_status kafka_properties_user(rd_kafka_conf_t *conf,
                                     const struct kafka_endpoint_options *endpoint,
                                     struct mb_error *err)
{
    for (size_t i = 0; i < endpoint->properties.count; i++) {
        const char *pair = endpoint->properties.items[i];
        const char *equal = strchr(pair, '=');
        char name[128];
        enum mb_status status;

        if (equal == NULL || equal == pair || (size_t)(equal - pair) >= sizeof name)
            return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "settings",
                                "properties are written name=value");
        memcpy(name, pair, (size_t)(equal - pair));
        name[equal - pair] = '\0';
        if (kafka_property_refusal(name) != NULL)
            return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "settings",
                                "property %s cannot be set: %s", name,
                                kafka_property_refusal(name));
        status = kafka_property_set(conf, name, equal + 1, err);
        if (status != MB_OK)
            return status;
    }
    return MB_OK;
}
