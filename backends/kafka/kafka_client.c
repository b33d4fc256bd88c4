/* SPDX-License-Identifier: Apache-2.0 */
/* One client of the library: its events, log, and whether brokers can be reached. */
#include "kafka.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define PROBE_INTERVAL_MS 500
#define LOOK_INTERVAL_MS  500
#define SILENCE_MS_MAX    3000
#define TOKEN_SIZE_MAX    65536

void *kafka_alloc(const struct mb_host *host, size_t size)
{
    void *memory = host->alloc(host->context, size > 0 ? size : 1);

    if (memory != NULL)
        memset(memory, 0, size);
    return memory;
}

char *kafka_strdup(const struct mb_host *host, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = kafka_alloc(host, size);

    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}

void kafka_free(const struct mb_host *host, void *memory)
{
    if (memory != NULL)
        host->release(host->context, memory);
}

enum mb_status kafka_reserve(const struct mb_host *host, void **items, size_t item_size,
                             size_t count, size_t *capacity)
{
    size_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *grown;

    if (count < *capacity)
        return MB_OK;
    grown = kafka_alloc(host, wanted * item_size);
    if (grown == NULL)
        return MB_NO_MEMORY;
    if (count > 0)
        memcpy(grown, *items, count * item_size);
    kafka_free(host, *items);
    *items = grown;
    *capacity = wanted;
    return MB_OK;
}

/* What comes as an error event or the answer to a call too, and is told once from there. */
static bool is_told(const char *facility)
{
    static const char *const told[] = {"FATAL",       "FAIL",   "ERROR",
                                       "SSLCERTVRFY", "TXNERR", "ADDPARTS"};

    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        if (strcmp(facility, told[i]) == 0)
            return true;
    }
    return false;
}

/* Any thread. */
static void log_cb(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    const struct kafka_client *client = rd_kafka_opaque(rk);
    enum mb_log_level to = MB_LOG_DEBUG;
    char line[1024];

    if (level <= LOG_ERR && !is_told(facility))
        to = level <= LOG_CRIT ? MB_LOG_ERROR : MB_LOG_WARN;
    snprintf(line, sizeof line, "librdkafka %s: %s", facility, text);
    client->host->log(client->host->context, to, line);
}

/* Any thread. Notes why a certificate is refused: the library's error blames tls.ca in any case. */
static int certificate_cb(rd_kafka_t *rk, const char *broker, int32_t broker_id, int *fault,
                          int depth, const char *certificate, size_t size, char *text,
                          size_t text_size, void *opaque)
{
    struct kafka_client *client = opaque;

    (void)rk;
    (void)broker;
    (void)broker_id;
    (void)depth;
    (void)certificate;
    (void)size;
    if (*fault == 0)
        return 1;
    atomic_store(&client->certificate_fault, *fault);
    snprintf(text, text_size, "X.509 error %d", *fault);
    return 0;
}

/* If it cannot be written the counter is full, and the descriptor readable already. `written`
 * follows the write: whoever sees it and reads leaves nothing behind that is never read. */
static void wake_waiting(struct kafka_client *client)
{
    static const uint64_t one = 1;
    ssize_t size;

    if (!atomic_exchange(&client->waiting, false))
        return;
    size = write(client->wake_fd, &one, sizeof one);
    (void)size;
    atomic_store(&client->written, true);
}

void kafka_client_wake(struct kafka_client *client)
{
    atomic_store(&client->due, true);
    wake_waiting(client);
}

/* Any thread, with the queue's lock. */
static void queue_woke(rd_kafka_t *rk, void *opaque)
{
    (void)rk;
    kafka_client_wake(opaque);
}

/* What is answered before a log-in has succeeded. */
static bool is_greeting(int16_t key)
{
    return key == 17 || key == 18 || key == 36; /* SaslHandshake, ApiVersions, SaslAuthenticate */
}

/* Any thread. */
static rd_kafka_resp_err_t request_sent(rd_kafka_t *rk, int fd, const char *broker,
                                        int32_t broker_id, int16_t key, int16_t version,
                                        int32_t correlation, size_t size, void *opaque)
{
    struct kafka_client *client = opaque;

    (void)rk;
    (void)fd;
    (void)broker;
    (void)broker_id;
    (void)key;
    (void)version;
    (void)correlation;
    atomic_fetch_add_explicit(&client->sent_bytes, size, memory_order_relaxed);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Any thread. */
static rd_kafka_resp_err_t response_received(rd_kafka_t *rk, int fd, const char *broker,
                                             int32_t broker_id, int16_t key, int16_t version,
                                             int32_t correlation, size_t size, int64_t rtt,
                                             rd_kafka_resp_err_t code, void *opaque)
{
    struct kafka_client *client = opaque;

    (void)rk;
    (void)fd;
    (void)broker;
    (void)broker_id;
    (void)key;
    (void)version;
    (void)correlation;
    (void)rtt;
    atomic_fetch_add_explicit(&client->received_bytes, size, memory_order_relaxed);
    if (atomic_load_explicit(&client->listening, memory_order_relaxed) &&
        code == RD_KAFKA_RESP_ERR_NO_ERROR && size > 0 && !is_greeting(key) &&
        atomic_exchange(&client->listening, false)) {
        atomic_store(&client->answered, true);
        kafka_client_wake(client);
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Counts requests and answers as they stand on the wire, but for what TLS adds. The statistics of
 * the library would tell the same, by JSON that names each partition. */
static rd_kafka_resp_err_t count_traffic(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque,
                                         char *text, size_t size)
{
    rd_kafka_resp_err_t code =
        rd_kafka_interceptor_add_on_request_sent(rk, "mbridge", request_sent, opaque);

    (void)conf;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code =
            rd_kafka_interceptor_add_on_response_received(rk, "mbridge", response_received, opaque);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        snprintf(text, size, "%s", rd_kafka_err2str(code));
    return code;
}

void kafka_client_events(rd_kafka_conf_t *conf, const struct kafka_endpoint_options *endpoint,
                         int events)
{
    if (endpoint->sasl.oauth_token_file != NULL)
        events |= RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR | events);
}

enum mb_status kafka_client_init(struct kafka_client *client, const struct mb_open_params *params,
                                 rd_kafka_type_t type, rd_kafka_conf_t *conf, struct mb_error *err)
{
    char text[256];

    client->host = params->host;
    client->endpoint = params->endpoint;
    client->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (client->wake_fd < 0) {
        rd_kafka_conf_destroy(conf);
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "descriptors", "eventfd: %s",
                            strerror(errno));
    }
    rd_kafka_conf_set_log_cb(conf, log_cb);
    rd_kafka_conf_set_opaque(conf, client);
    if (client->endpoint->tls.enabled && !client->endpoint->tls.unsafe_no_verify)
        rd_kafka_conf_set_ssl_cert_verify_cb(conf, certificate_cb);
    rd_kafka_conf_interceptor_add_on_new(conf, "mbridge", count_traffic, client);
    client->rk = rd_kafka_new(type, conf, text, sizeof text);
    if (client->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        close(client->wake_fd);
        client->wake_fd = -1;
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "settings", "librdkafka: %s", text);
    }
    client->events = rd_kafka_queue_get_main(client->rk);
    client->events_due = true;
    kafka_client_wake_by(client, client->events);
    return MB_OK;
}

void kafka_client_wake_by(struct kafka_client *client, rd_kafka_queue_t *queue)
{
    rd_kafka_queue_cb_event_enable(queue, queue_woke, client);
}

bool kafka_client_woken(struct kafka_client *client)
{
    uint64_t count;

    if (atomic_load_explicit(&client->written, memory_order_relaxed) &&
        atomic_exchange(&client->written, false)) {
        ssize_t size = read(client->wake_fd, &count, sizeof count);

        (void)size;
    }
    if (!atomic_load_explicit(&client->due, memory_order_relaxed) ||
        !atomic_exchange(&client->due, false))
        return false;
    client->events_due = true;
    return true;
}

bool kafka_client_look(struct kafka_client *client, int64_t now_ms)
{
    if (now_ms - client->looked_ms < LOOK_INTERVAL_MS)
        return kafka_client_woken(client);
    client->looked_ms = now_ms;
    kafka_client_woken(client);
    client->events_due = true;
    return true;
}

void kafka_client_wait(struct kafka_client *client, struct mb_wait *wait)
{
    wait->fds[wait->count].fd = client->wake_fd;
    wait->fds[wait->count].events = POLLIN;
    wait->count++;
    atomic_store(&client->waiting, true);
    /* What came just before was not told by the descriptor. */
    if (atomic_load(&client->due))
        wake_waiting(client);
}

void kafka_client_fail(struct kafka_client *client, const char *reason, const char *format, ...)
{
    va_list args;

    if (client->failed)
        return;
    client->failed = true;
    mb_error_set(&client->failure, MB_DISCONNECTED, MB_CAUSE_CONNECTION, reason, "%s", "");
    va_start(args, format);
    vsnprintf(client->failure.text, sizeof client->failure.text, format, args);
    va_end(args);
    if (strcmp(reason, "fenced") == 0) {
        snprintf(client->failure.text, sizeof client->failure.text, "%s",
                 rd_kafka_type(client->rk) == RD_KAFKA_PRODUCER
                     ? "a later instance has taken over the positions that this one wrote"
                     : "another member of the group goes by the same instance name");
        client->failure.retry_after_ms = client->fenced_retry_ms;
    }
}

/* Whether another one has taken the client's place. */
static bool is_fenced(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID || code == RD_KAFKA_RESP_ERR__FENCED ||
           code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
           code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

void kafka_client_fail_fatal(struct kafka_client *client, const char *text)
{
    char fatal[MB_ERROR_TEXT_SIZE];
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(client->rk, fatal, sizeof fatal);

    kafka_client_fail(client, is_fenced(code) ? "fenced" : "fatal", "%s",
                      code != RD_KAFKA_RESP_ERR_NO_ERROR ? fatal : text);
}

enum mb_status kafka_client_failure(const struct kafka_client *client, struct mb_error *err)
{
    *err = client->failure;
    return MB_DISCONNECTED;
}

/* From here on an answer is a sign of life, and only that. */
static void listen_for_answer(struct kafka_client *client)
{
    atomic_store(&client->answered, false);
    atomic_store(&client->listening, true);
}

/* A connection was lost and nothing has answered since, or all brokers are away: we ask. */
static bool is_in_doubt(const struct kafka_client *client)
{
    return client->all_down || client->lost_ms != 0;
}

/*
 * The library counts the brokers that are down, and says that all are when that equals the number
 * of those with an address. The group's coordinator loses its address when a request to it fails:
 * where that comes before it is counted the numbers never meet, and nothing is said. So a lost
 * connection is followed up here: if nothing is answered for a while, all of them are away.
 */
static void connection_lost(struct kafka_client *client)
{
    int64_t now_ms = client->host->monotonic_ms(client->host->context);

    if (is_in_doubt(client))
        return;
    client->lost_ms = now_ms;
    client->probe_at_ms = now_ms + PROBE_INTERVAL_MS;
    listen_for_answer(client);
}

static void error_event(struct kafka_client *client, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);

    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        client->all_down = true;
        client->fell = true;
        listen_for_answer(client);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_event_error_is_fatal(event)) {
        kafka_client_fail_fatal(client, text);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR__TRANSPORT)
        connection_lost(client);
    kafka_cause_note(client, code, text);
}

/* The expiry of a JSON Web Token, or an hour from now where it says none. */
static int64_t token_expiry_ms(const struct kafka_client *client, const char *token)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    int64_t expiry_ms = client->host->wall_ms(client->host->context) + 3600000;
    const char *at = strchr(token, '.');
    char claims[8192];
    size_t size = 0;
    uint32_t bits = 0;
    unsigned count = 0;
    const char *exp;

    for (at = at != NULL ? at + 1 : ""; *at != '\0' && *at != '.'; at++) {
        const char *digit = strchr(digits, *at);

        if (digit == NULL || size + 1 >= sizeof claims)
            return expiry_ms;
        bits = bits << 6 | (uint32_t)(digit - digits);
        if (++count % 4 != 1)
            claims[size++] = (char)(bits >> ((4 - count % 4) % 4 * 2) & 0xff);
    }
    claims[size] = '\0';
    exp = strstr(claims, "\"exp\"");
    if (exp != NULL && (exp = strchr(exp, ':')) != NULL) {
        long long seconds = strtoll(exp + 1, NULL, 10);

        if (seconds > 0 && seconds < INT64_MAX / 1000)
            expiry_ms = seconds * 1000;
    }
    return expiry_ms;
}

/* The size of the token, 0 with text. A pipe without a writer must not hold the lane. */
static size_t read_token(const char *path, char *token, size_t size, char *text, size_t text_size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat info;
    ssize_t got = -1;

    if (fd >= 0 && fstat(fd, &info) == 0 && !S_ISREG(info.st_mode)) {
        snprintf(text, text_size, "%.200s is no regular file", path);
    } else {
        if (fd >= 0)
            got = read(fd, token, size - 1);
        if (got < 0)
            snprintf(text, text_size, "%.200s: %s", path, strerror(errno));
    }
    if (fd >= 0)
        close(fd);
    return got > 0 ? (size_t)got : 0;
}

static void token_event(struct kafka_client *client)
{
    const char *path = client->endpoint->sasl.oauth_token_file;
    char text[256] = "no token_file is set";
    char token[TOKEN_SIZE_MAX];
    char start[9] = "";
    size_t size = 0;

    if (path != NULL) {
        snprintf(text, sizeof text, "%.200s holds no token", path);
        size = read_token(path, token, sizeof token, text, sizeof text);
    }
    token[size] = '\0';
    token[strcspn(token, " \t\r\n")] = '\0';
    if (token[0] == '\0' ||
        rd_kafka_oauthbearer_set_token(client->rk, token, token_expiry_ms(client, token), "mbridge",
                                       NULL, 0, text, sizeof text) != 0) {
        /* It may repeat the token, or as much of it as there is room for. */
        memcpy(start, token, strnlen(token, sizeof start - 1));
        if (start[0] != '\0' && strstr(text, start) != NULL)
            snprintf(text, sizeof text, "%.200s holds what is no token", path);
        rd_kafka_oauthbearer_set_token_failure(client->rk, text);
    }
    explicit_bzero(start, sizeof start);
    explicit_bzero(token, sizeof token);
}

bool kafka_client_event(struct kafka_client *client, rd_kafka_event_t *event)
{
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_ERROR:
        error_event(client, event);
        return true;
    case RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH:
        token_event(client);
        return true;
    default:
        return false;
    }
}

/*
 * The library does not tell when brokers are back, and a client that has nothing to say does not
 * look for them. Asking without waiting makes it look, no more often than it would by itself; the
 * answer is seen when it is received. (An admin request that waits for a broker makes it try again
 * the moment each attempt fails, by a thousand a second.)
 */
static void probe(struct kafka_client *client, int64_t now_ms)
{
    const struct rd_kafka_metadata *metadata = NULL;

    client->probe_at_ms = now_ms + PROBE_INTERVAL_MS;
    if (rd_kafka_metadata(client->rk, 1, NULL, &metadata, 0) == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(metadata);
}

void kafka_client_health(struct kafka_client *client, bool healthy)
{
    const struct mb_host *host = client->host;
    struct mb_event event = {.struct_size = sizeof event, .partition = -1};
    int64_t now_ms = host->monotonic_ms(host->context);
    bool answered = atomic_exchange(&client->answered, false);

    kafka_client_clock(client);
    if (answered)
        client->lost_ms = 0;
    /* What was served together with the news may have come before it. */
    if (answered || (healthy && !client->fell))
        client->all_down = false;
    if (client->lost_ms != 0 && now_ms - client->lost_ms >= SILENCE_MS_MAX)
        client->all_down = true;
    if (client->all_down)
        client->lost_ms = 0;
    client->fell = false;
    if (is_in_doubt(client) && now_ms >= client->probe_at_ms)
        probe(client, now_ms);
    if (client->all_down == client->was_down)
        return;
    client->was_down = client->all_down;
    event.kind = client->all_down ? MB_EVENT_DOWN : MB_EVENT_UP;
    if (client->all_down) {
        if (client->cause_rank == 0)
            mb_error_set(&client->cause, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "refused",
                         "no broker of %s can be reached", client->endpoint->brokers);
        event.error = &client->cause;
    }
    host->event(host->context, &event);
    client->cause_rank = 0;
}

/* Of all calls that wake them this one changes nothing: it sets the credentials that are set, which
 * a connection without a log-in, or with a token, does not look at. */
void kafka_client_nudge(struct kafka_client *client)
{
#if RD_KAFKA_VERSION >= 0x02000000
    const struct kafka_sasl_options *sasl = &client->endpoint->sasl;
    rd_kafka_error_t *error =
        rd_kafka_sasl_set_credentials(client->rk, sasl->username != NULL ? sasl->username : "",
                                      sasl->password != NULL ? sasl->password : "");

    if (error != NULL)
        rd_kafka_error_destroy(error);
#else
    (void)client;
#endif
}

void kafka_client_traffic(struct kafka_client *client)
{
    const struct mb_host *host = client->host;
    uint64_t received;
    uint64_t sent;

    if (host->struct_size < offsetof(struct mb_host, traffic) + sizeof host->traffic ||
        host->traffic == NULL)
        return;
    if (atomic_load_explicit(&client->received_bytes, memory_order_relaxed) == 0 &&
        atomic_load_explicit(&client->sent_bytes, memory_order_relaxed) == 0)
        return;
    received = atomic_exchange_explicit(&client->received_bytes, 0, memory_order_relaxed);
    sent = atomic_exchange_explicit(&client->sent_bytes, 0, memory_order_relaxed);
    host->traffic(host->context, received, sent);
}

int64_t kafka_client_deadline_ms(const struct kafka_client *client)
{
    return is_in_doubt(client) ? client->probe_at_ms : INT64_MAX;
}

void kafka_client_release(struct kafka_client *client)
{
    if (client->events != NULL) {
        rd_kafka_queue_cb_event_enable(client->events, NULL, NULL);
        rd_kafka_queue_destroy(client->events);
    }
    if (client->rk != NULL) {
        rd_kafka_destroy_flags(client->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        close(client->wake_fd);
    }
    client->events = NULL;
    client->rk = NULL;
}
