/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting until a client is connected and logged in, and finding the true cause where it is not. */
#include "kafka.h"

#include <stdlib.h>

/* With several addresses of one name the library tries the next one a moment after the first
 * failed, so "all are down" is not the last word at once. */
#define GRACE_MS       1200
#define LEADER_WAIT_MS 50
#define SLICE_FIRST_MS 200

enum mb_status kafka_status_of(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return MB_DENIED;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return MB_NOT_FOUND;
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        return MB_TIMEOUT;
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
        return MB_UNSUPPORTED;
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
        return MB_INVALID;
    default:
        return MB_DISCONNECTED;
    }
}

const char *kafka_reason_of(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
        return "auth";
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return "forbidden";
    case RD_KAFKA_RESP_ERR__SSL:
        return "tls";
    case RD_KAFKA_RESP_ERR__RESOLVE:
        return "resolve";
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        return "refused";
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
        return "timeout";
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return "missing";
    default:
        return "broker";
    }
}

/* How much a code tells about why there is no connection. */
static uint32_t rank_of(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
        return 5;
    case RD_KAFKA_RESP_ERR__SSL:
        return 4;
    case RD_KAFKA_RESP_ERR__RESOLVE:
        return 3;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
        return 2;
    default:
        return 1;
    }
}

/* Kafka 4 answers the last step of SCRAM in a form that the library reads from 2.6.1 on. */
static const char *scram_hint(const struct kafka_client *client, rd_kafka_resp_err_t code)
{
    int64_t mechanism = client->endpoint->sasl.mechanism;

    if (rank_of(code) != 5 || rd_kafka_version() >= 0x02060100 ||
        (mechanism != KAFKA_SASL_SCRAM_256 && mechanism != KAFKA_SASL_SCRAM_512))
        return "";
    return "; or the password is right: librdkafka 2.0 to 2.6.0 cannot log in to Kafka 4 with "
           "SCRAM "
           "(use librdkafka 2.6.1 or newer, or PLAIN over TLS)";
}

/* What a user can do about a refused certificate, by X.509 code (OpenSSL's numbers). */
static const char *certificate_text(int fault)
{
    switch (fault) {
    case 9:
        return "is not valid yet: compare the clocks";
    case 10:
        return "has expired";
    case 7:
        return "is not of the authority in tls.ca (certificate signature failure)";
    case 18:
    case 19:
        return "is not of the authority in tls.ca (self-signed certificate)";
    case 2:
    case 20:
    case 21:
        return "is not of the authority in tls.ca (unable to get local issuer certificate)";
    case 62:
    case 64:
        return "is not for this host name or address: connect by a name that it carries";
    default:
        return NULL;
    }
}

/* The library's words without its thread and its count of repetitions. */
static void plain_text(char *text)
{
    char *tail = strstr(text, " (after ");
    char *bootstrap = strstr(text, "/bootstrap: ");

    if (tail != NULL)
        *tail = '\0';
    if (bootstrap != NULL)
        memmove(bootstrap, bootstrap + strlen("/bootstrap"),
                strlen(bootstrap + strlen("/bootstrap")) + 1);
}

/* With TLS 1.3 the broker judges our certificate after the handshake, so that the library sees a
 * connection that broke; only its text tells. */
static bool is_tls_alert(rd_kafka_resp_err_t code, const char *text)
{
    return code == RD_KAFKA_RESP_ERR__TRANSPORT && text != NULL &&
           strstr(text, "SSL alert number") != NULL;
}

void kafka_cause_note(struct kafka_client *client, rd_kafka_resp_err_t code, const char *text)
{
    bool is_alert = is_tls_alert(code, text);
    int fault = code == RD_KAFKA_RESP_ERR__SSL ? atomic_load(&client->certificate_fault) : 0;
    uint32_t rank = rank_of(is_alert ? RD_KAFKA_RESP_ERR__SSL : code);
    char first[300];

    if (rank < client->cause_rank)
        return;
    client->cause_rank = rank;
    snprintf(first, sizeof first, "%s", text != NULL ? text : rd_kafka_err2str(code));
    plain_text(first);
    if (certificate_text(fault) != NULL) {
        char *end = strstr(first, ": ");
        size_t size = end != NULL ? (size_t)(end - first) : 0;

        snprintf(first + size, sizeof first - size, "%sthe broker's certificate %s",
                 size > 0 ? ": " : "", certificate_text(fault));
    }
    mb_error_set(&client->cause, kafka_status_of(code) == MB_DENIED ? MB_DENIED : MB_DISCONNECTED,
                 MB_CAUSE_CONNECTION, is_alert ? "tls" : kafka_reason_of(code), "%s%s%s", first,
                 is_alert ? ": the broker refuses our certificate (tls.cert, tls.key), or wants one"
                          : "",
                 scram_hint(client, code));
}

void kafka_events_serve(struct kafka_client *client, int timeout_ms)
{
    rd_kafka_event_t *event;

    while ((event = rd_kafka_queue_poll(client->events, timeout_ms)) != NULL) {
        kafka_client_event(client, event);
        rd_kafka_event_destroy(event);
        timeout_ms = 0;
    }
}

static void serve_events(struct kafka_client *client)
{
    kafka_events_serve(client, 0);
}

static rd_kafka_resp_err_t ask(struct kafka_client *client, const char *const *topics, size_t count,
                               int timeout_ms, const struct rd_kafka_metadata **ret_metadata)
{
    rd_kafka_topic_t *topic = NULL;
    rd_kafka_resp_err_t code;

    if (count == 1) {
        topic = rd_kafka_topic_new(client->rk, topics[0], NULL);
        if (topic == NULL)
            return rd_kafka_last_error();
    }
    code = rd_kafka_metadata(client->rk, count > 1, topic, ret_metadata, timeout_ms);
    if (topic != NULL)
        rd_kafka_topic_destroy(topic);
    return code;
}

static enum mb_status not_connected(struct kafka_client *client, rd_kafka_resp_err_t code,
                                    struct mb_error *err)
{
    if (client->failed)
        return kafka_client_failure(client, err);
    if (client->cause_rank > 0) {
        *err = client->cause;
        return err->status;
    }
    return mb_error_set(err, kafka_status_of(code), MB_CAUSE_CONNECTION, kafka_reason_of(code),
                        "no broker of %s answers: %s", client->endpoint->brokers,
                        rd_kafka_err2str(code));
}

enum mb_status kafka_connect(struct kafka_client *client, const char *const *topics, size_t count,
                             uint32_t timeout_ms, const struct rd_kafka_metadata **ret_metadata,
                             struct mb_error *err)
{
    const struct mb_host *host = client->host;
    int64_t now_ms = host->monotonic_ms(host->context);
    int64_t deadline_ms = now_ms + timeout_ms;
    int64_t slice_ms = SLICE_FIRST_MS;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;
    bool grace = false;

    *ret_metadata = NULL;
    serve_events(client); /* a token may be wanted first */
    while (now_ms < deadline_ms) {
        int64_t left_ms = deadline_ms - now_ms;

        code = ask(client, topics, count, (int)(slice_ms < left_ms ? slice_ms : left_ms),
                   ret_metadata);
        serve_events(client);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            client->all_down = false;
            client->cause_rank = 0;
            return MB_OK;
        }
        if (client->failed)
            break;
        now_ms = host->monotonic_ms(host->context);
        if (client->all_down && !grace) {
            grace = true;
            if (deadline_ms > now_ms + GRACE_MS)
                deadline_ms = now_ms + GRACE_MS;
        }
        if (!client->all_down)
            slice_ms *= 2; /* a slow broker gets more time for its answer */
    }
    return not_connected(client, code, err);
}

static bool is_passing(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
           code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH ||
           code == RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH;
}

rd_kafka_resp_err_t kafka_offsets_ask(struct kafka_client *client,
                                      rd_kafka_topic_partition_list_t *list, int64_t time,
                                      uint32_t timeout_ms)
{
    const struct mb_host *host = client->host;
    int64_t deadline_ms = host->monotonic_ms(host->context) + timeout_ms;
    rd_kafka_resp_err_t code;

    for (;;) {
        int64_t left_ms = deadline_ms - host->monotonic_ms(host->context);

        if (left_ms <= 0)
            return RD_KAFKA_RESP_ERR__TIMED_OUT;
        for (int i = 0; i < list->cnt; i++)
            list->elems[i].offset = time;
        code = rd_kafka_offsets_for_times(client->rk, list, (int)left_ms);
        for (int i = 0; i < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
            code = list->elems[i].err;
        if (!is_passing(code))
            return code;
        kafka_events_serve(client, LEADER_WAIT_MS);
    }
}

rd_kafka_event_t *kafka_answer_wait(struct kafka_client *client, rd_kafka_queue_t *queue,
                                    uint32_t timeout_ms)
{
    const struct mb_host *host = client->host;
    int64_t deadline_ms = host->monotonic_ms(host->context) + timeout_ms;
    int64_t left_ms = timeout_ms;

    while (left_ms > 0) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, (int)left_ms);

        if (event != NULL && rd_kafka_event_type(event) != RD_KAFKA_EVENT_ERROR)
            return event;
        if (event != NULL) {
            kafka_client_event(client, event);
            rd_kafka_event_destroy(event);
        }
        left_ms = deadline_ms - host->monotonic_ms(host->context);
    }
    return NULL;
}

static bool config_value(rd_kafka_event_t *event, const char *name, char *value, size_t size)
{
    const rd_kafka_DescribeConfigs_result_t *result = rd_kafka_event_DescribeConfigs_result(event);
    const rd_kafka_ConfigResource_t **resources;
    const rd_kafka_ConfigEntry_t **entries;
    size_t count;

    if (result == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    resources = rd_kafka_DescribeConfigs_result_resources(result, &count);
    if (count == 0 || rd_kafka_ConfigResource_error(resources[0]) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    entries = rd_kafka_ConfigResource_configs(resources[0], &count);
    for (size_t i = 0; i < count; i++) {
        const char *text = rd_kafka_ConfigEntry_value(entries[i]);

        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0 && text != NULL) {
            snprintf(value, size, "%s", text);
            return true;
        }
    }
    return false;
}

bool kafka_topic_config(struct kafka_client *client, const char *topic, const char *name,
                        uint32_t timeout_ms, char *value, size_t size)
{
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(client->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_event_t *event;
    char text[128];
    bool known = false;

    rd_kafka_AdminOptions_set_request_timeout(options, (int)timeout_ms, text, sizeof text);
    rd_kafka_DescribeConfigs(client->rk, &resource, 1, options, queue);
    event = kafka_answer_wait(client, queue, timeout_ms + 500);
    if (event != NULL) {
        known = config_value(event, name, value, size);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(resource);
    return known;
}
