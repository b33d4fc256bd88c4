/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: address, TCP, TLS and log-in by rabbitmq-c, with the true cause of every failure. */
#include "amqp.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/ssl_socket.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#endif
#ifdef AMQP_WITH_TLS
#include <openssl/ssl.h>
#endif

static int64_t now_ms(const struct amqp_client *client)
{
    return client->host->monotonic_ms(client->host->context);
}

static struct timeval time_left(const struct amqp_client *client, int64_t deadline_ms)
{
    int64_t left = deadline_ms - now_ms(client);
    struct timeval value;

    if (left < 1)
        left = 1;
    value.tv_sec = (time_t)(left / 1000);
    value.tv_usec = (suseconds_t)(left % 1000 * 1000);
    return value;
}

/* The library says "socket error" only: what a connection attempt says. 0: it works now. */
static int connect_errno(const struct amqp_client *client, const struct amqp_address *address,
                         int64_t deadline_ms)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[16];
    int result = 0;

    snprintf(port, sizeof port, "%d", address->port);
    if (getaddrinfo(address->host, port, &hints, &found) != 0)
        return EHOSTUNREACH;
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        int fd = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct pollfd entry = {fd, POLLOUT, 0};
        socklen_t size = sizeof result;
        int64_t left = deadline_ms - now_ms(client);

        if (fd < 0) {
            result = errno;
            break;
        }
        result = connect(fd, at->ai_addr, at->ai_addrlen) < 0 ? errno : 0;
        if (result == EINPROGRESS) {
            if (poll(&entry, 1, left < 100 ? 100 : (int)left) != 1)
                result = ETIMEDOUT;
            else
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &size);
        }
        close(fd);
        if (result == 0)
            break;
    }
    freeaddrinfo(found);
    return result;
}

static enum mb_status connect_failed(struct amqp_client *client, const struct amqp_address *address,
                                     int code, int64_t deadline_ms, struct mb_error *err)
{
    int number;

    switch (code) {
    case AMQP_STATUS_HOSTNAME_RESOLUTION_FAILED:
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "dns",
                            "%s: the host name cannot be resolved", client->name);
    case AMQP_STATUS_TIMEOUT:
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                            "%s: no connection within the time allowed", client->name);
    case AMQP_STATUS_SSL_ERROR:
    case AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED:
    case AMQP_STATUS_SSL_PEER_VERIFY_FAILED:
    case AMQP_STATUS_SSL_CONNECTION_FAILED:
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "tls", "%s: %s",
                            client->name, mb_tls_failure_text(client->tls_failure));
    default:
        number = connect_errno(client, address, deadline_ms);
        return mb_error_set(
            err, number == ETIMEDOUT ? MB_TIMEOUT : MB_DISCONNECTED, MB_CAUSE_CONNECTION,
            number == ECONNREFUSED ? "refused"
            : number == ETIMEDOUT  ? "timeout"
                                   : "unreachable",
            "%s: %s", client->name, number != 0 ? strerror(number) : amqp_error_string2(code));
    }
}

#ifdef AMQP_WITH_TLS
/* Catches the SSL * of the library's socket, sets the name to send, and notes why it fails. */
static void tls_info(const SSL *ssl, int where, int value)
{
    struct amqp_client *client = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    if ((where & SSL_CB_HANDSHAKE_START) && client->ssl == NULL) {
        client->ssl = (SSL *)ssl;
        mb_tls_name_send(client->ssl, client->server_name);
    }
    mb_tls_alert_describe(ssl, where, value, client->server_name, client->tls_failure);
}

static enum mb_status tls_configure(struct amqp_client *client, const struct mb_tls_options *tls,
                                    amqp_socket_t *socket, struct mb_error *err)
{
    SSL_CTX *context = amqp_ssl_socket_get_context(socket);

    SSL_CTX_set_app_data(context, client);
    SSL_CTX_set_info_callback(context, tls_info);
    amqp_ssl_socket_set_verify_peer(socket, !tls->unsafe_no_verify);
    /* OpenSSL does it within the handshake, for IP addresses too. */
    amqp_ssl_socket_set_verify_hostname(socket, 0);
    return mb_tls_context_configure(context, tls, client->server_name, client->name, err);
}
#endif

static enum mb_status make_socket(struct amqp_client *client, const struct amqp_endpoint *endpoint,
                                  const struct amqp_address *address, amqp_socket_t **ret_socket,
                                  struct mb_error *err)
{
    if (!address->tls) {
        *ret_socket = amqp_tcp_socket_new(client->connection);
    } else {
#ifdef AMQP_WITH_TLS
        enum mb_status status =
            mb_tls_server_name(&endpoint->tls, address->host, client->server_name, err);

        if (status != MB_OK)
            return status;
        *ret_socket = amqp_ssl_socket_new(client->connection);
        if (*ret_socket != NULL)
            return tls_configure(client, &endpoint->tls, *ret_socket, err);
#else
        (void)endpoint;
        return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "tls",
                            "this build of the backend amqp091 has no TLS");
#endif
    }
    if (*ret_socket == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    return MB_OK;
}

static enum mb_status login_failed(struct amqp_client *client, const struct amqp_address *address,
                                   amqp_rpc_reply_t reply, struct mb_error *err)
{
    const amqp_connection_close_t *closed = reply.reply.decoded;
    char text[AMQP_SHORTSTR_MAX + 1];

    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
        reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        struct mb_slice words = {closed->reply_text.bytes, closed->reply_text.len};
        bool is_vhost = closed->reply_code == 530 || closed->reply_code == 402;

        amqp_text_of(text, sizeof text, words);
        client->closed_by_peer = true;
        if (closed->reply_code == 403 || is_vhost)
            return mb_error_set(err, MB_DENIED, MB_CAUSE_CONNECTION, is_vhost ? "vhost" : "auth",
                                "%s: the broker refused user \"%s\" on vhost \"%s\": %s",
                                client->name, address->username, address->vhost, text);
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "closed",
                            "%s: the broker refused the log-in: %u %s", client->name,
                            closed->reply_code, text);
    }
    switch (reply.library_error) {
    case AMQP_STATUS_TIMEOUT:
    case AMQP_STATUS_HEARTBEAT_TIMEOUT:
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                            "%s: the broker did not finish the log-in in time", client->name);
    case AMQP_STATUS_BROKER_UNSUPPORTED_SASL_METHOD:
        return mb_error_set(err, MB_DENIED, MB_CAUSE_CONNECTION, "auth",
                            "%s: the broker does not offer SASL %s", client->name,
                            address->external ? "EXTERNAL" : "PLAIN");
    case AMQP_STATUS_NO_MEMORY:
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    default:
        if (client->tls_failure[0] != '\0')
            return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "tls", "%s: %s",
                                client->name, client->tls_failure);
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "closed",
                            "%s: the connection ended during the log-in: %s%s", client->name,
                            amqp_error_string2(reply.library_error),
                            address->tls ? "" : " (is it a TLS port?)");
    }
}

static amqp_table_entry_t entry_true(const char *name)
{
    amqp_table_entry_t entry;

    memset(&entry, 0, sizeof entry);
    entry.key = amqp_cstring_bytes(name);
    entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
    entry.value.value.boolean = 1;
    return entry;
}

static amqp_table_entry_t entry_text(const char *name, const char *text)
{
    amqp_table_entry_t entry;

    memset(&entry, 0, sizeof entry);
    entry.key = amqp_cstring_bytes(name);
    entry.value.kind = AMQP_FIELD_KIND_UTF8;
    entry.value.value.bytes = amqp_cstring_bytes(text);
    return entry;
}

static enum mb_status log_in(struct amqp_client *client, const struct mb_open_params *params,
                             const struct amqp_endpoint *endpoint,
                             const struct amqp_address *address, int64_t deadline_ms,
                             struct mb_error *err)
{
    amqp_table_entry_t capabilities[] = {
        entry_true("authentication_failure_close"), entry_true("basic.nack"),
        entry_true("connection.blocked"),           entry_true("consumer_cancel_notify"),
        entry_true("exchange_exchange_bindings"),   entry_true("publisher_confirms"),
    };
    amqp_table_entry_t entries[3];
    amqp_table_t properties = {3, entries};
    struct timeval left = time_left(client, deadline_ms);
    char name[300];
    amqp_rpc_reply_t reply;
    int heartbeat = (int)((endpoint->heartbeat_ms + 999) / 1000);

    snprintf(name, sizeof name, "mbridge %.120s/%.120s lane %u",
             params->bridge_name != NULL ? params->bridge_name : "",
             params->route_name != NULL ? params->route_name : "", (unsigned)params->lane);
    entries[0] = entry_text("connection_name", name);
    entries[1] = entry_text("product", "mbridge");
    memset(&entries[2], 0, sizeof entries[2]);
    entries[2].key = amqp_cstring_bytes("capabilities");
    entries[2].value.kind = AMQP_FIELD_KIND_TABLE;
    entries[2].value.value.table.num_entries = (int)(sizeof capabilities / sizeof capabilities[0]);
    entries[2].value.value.table.entries = capabilities;

    amqp_set_handshake_timeout(client->connection, &left);
    if (address->external)
        reply = amqp_login_with_properties(client->connection, address->vhost, AMQP_CHANNELS_MAX,
                                           (int)AMQP_FRAME_MAX, heartbeat, &properties,
                                           AMQP_SASL_METHOD_EXTERNAL, address->username);
    else
        reply = amqp_login_with_properties(
            client->connection, address->vhost, AMQP_CHANNELS_MAX, (int)AMQP_FRAME_MAX, heartbeat,
            &properties, AMQP_SASL_METHOD_PLAIN, address->username, address->password);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return login_failed(client, address, reply, err);
    client->frame_max = (uint32_t)amqp_get_frame_max(client->connection);
    if (client->frame_max == 0 || client->frame_max > AMQP_FRAME_MAX)
        client->frame_max = AMQP_FRAME_MAX;
    client->heartbeat_ms = (int64_t)amqp_get_heartbeat(client->connection) * 1000;
    return MB_OK;
}

static void learn_capabilities(struct amqp_client *client, const amqp_table_t *capabilities)
{
    for (int i = 0; i < capabilities->num_entries; i++) {
        const amqp_table_entry_t *entry = &capabilities->entries[i];
        struct mb_slice key = {entry->key.bytes, entry->key.len};
        bool is_true =
            entry->value.kind == AMQP_FIELD_KIND_BOOLEAN && entry->value.value.boolean != 0;

        if (AMQP_NAME_IS(key, "publisher_confirms"))
            client->has_confirms = is_true;
        else if (AMQP_NAME_IS(key, "basic.nack"))
            client->has_nack = is_true;
    }
}

/* RabbitMQ since 3.13: mc_amqpl:protocol_state/2 sorts them. */
static bool is_sorting(const char *product, const char *version)
{
    unsigned major;
    unsigned minor;

    return strcmp(product, "RabbitMQ") == 0 && sscanf(version, "%u.%u", &major, &minor) == 2 &&
           (major > 3 || (major == 3 && minor >= 13));
}

static void learn_server(struct amqp_client *client)
{
    const amqp_table_t *properties = amqp_get_server_properties(client->connection);
    char product[AMQP_SHORTSTR_MAX + 1] = "";
    char version[AMQP_SHORTSTR_MAX + 1] = "";

    for (int i = 0; properties != NULL && i < properties->num_entries; i++) {
        const amqp_table_entry_t *entry = &properties->entries[i];
        struct mb_slice key = {entry->key.bytes, entry->key.len};
        struct mb_slice text;
        char cluster[AMQP_SHORTSTR_MAX + 1];

        if (entry->value.kind == AMQP_FIELD_KIND_TABLE && AMQP_NAME_IS(key, "capabilities"))
            learn_capabilities(client, &entry->value.value.table);
        if (entry->value.kind != AMQP_FIELD_KIND_UTF8)
            continue;
        text = (struct mb_slice){entry->value.value.bytes.bytes, entry->value.value.bytes.len};
        if (AMQP_NAME_IS(key, "product"))
            amqp_text_of(product, sizeof product, text);
        else if (AMQP_NAME_IS(key, "version"))
            amqp_text_of(version, sizeof version, text);
        else if (AMQP_NAME_IS(key, "cluster_name")) {
            amqp_text_of(cluster, sizeof cluster, text);
            snprintf(client->identity, sizeof client->identity, "%.140s %.250s", cluster,
                     client->vhost);
        }
    }
    client->sorts_headers = is_sorting(product, version);
}

/* What the library has read beyond the log-in would be missing in our reader: it must hold nothing,
 * not even a part of a frame, before we take over. */
static enum mb_status take_over(struct amqp_client *client, int64_t deadline_ms,
                                struct mb_error *err)
{
    while (amqp_frames_enqueued(client->connection) || amqp_data_in_buffer(client->connection) ||
           !amqp_release_buffers_ok(client->connection)) {
        struct timeval left = time_left(client, deadline_ms);
        amqp_frame_t frame;
        int code;

        if (now_ms(client) >= deadline_ms)
            return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                                "%s: the broker stopped in the middle of a frame", client->name);
        code = amqp_simple_wait_frame_noblock(client->connection, &frame, &left);
        if (code != AMQP_STATUS_OK && code != AMQP_STATUS_TIMEOUT)
            return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "closed", "%s: %s",
                                client->name, amqp_error_string2(code));
        if (code == AMQP_STATUS_OK && frame.frame_type == AMQP_FRAME_METHOD &&
            frame.payload.method.id == AMQP_CONNECTION_BLOCKED_METHOD)
            client->blocked = true;
    }
    client->fd = amqp_get_sockfd(client->connection);
    if (fcntl(client->fd, F_SETFL, fcntl(client->fd, F_GETFL) | O_NONBLOCK) < 0)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "closed", "%s: %s",
                            client->name, strerror(errno));
    client->received_ms = now_ms(client);
    client->sent_ms = client->received_ms;
    return MB_OK;
}

/* The library's buffers, some 400 KiB a connection, have no use from here. A socket of our own is
 * left; with TLS the library's holds the session. */
static enum mb_status let_go_of_library(struct amqp_client *client, struct mb_error *err)
{
    int fd;

    if (client->ssl != NULL)
        return MB_OK;
    fd = fcntl(client->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "closed", "%s: %s",
                            client->name, strerror(errno));
    client->fd = fd;
    amqp_destroy_connection(client->connection);
    client->connection = NULL;
    return MB_OK;
}

static enum mb_status open_channels(struct amqp_client *client, int64_t deadline_ms,
                                    struct mb_error *err)
{
    uint32_t count = client->channels;

    client->channels = 0;
    for (uint32_t channel = 1; channel <= count; channel++) {
        struct amqp_writer writer = amqp_client_writer(client);
        struct mb_slice arguments;
        enum mb_status status;

        amqp_frame_simple(&writer, channel, AMQP_CHANNEL_OPEN);
        amqp_client_commit(client, &writer);
        status =
            amqp_client_call(client, channel, AMQP_CHANNEL_OPENED, deadline_ms, &arguments, err);
        if (status != MB_OK)
            return status;
        client->channels = channel;
    }
    return MB_OK;
}

static enum mb_status set_up(struct amqp_client *client, const struct mb_open_params *params,
                             const struct amqp_endpoint *endpoint, size_t out_size,
                             struct mb_error *err)
{
    int64_t deadline_ms = now_ms(client) + params->timeout_ms;
    struct amqp_address address;
    struct timeval left;
    amqp_socket_t *socket = NULL;
    enum mb_status status = amqp_address_resolve(endpoint, &address, err);
    int code;

    if (status != MB_OK)
        return status;
    snprintf(client->name, sizeof client->name, "%s:%d", address.host, address.port);
    mb_text_fit(client->vhost, sizeof client->vhost, address.vhost);
    mb_text_fit(client->username, sizeof client->username, address.username);
    client->connection = amqp_new_connection();
    client->out = client->host->alloc(client->host->context, out_size);
    client->out_capacity = out_size;
    if (client->connection == NULL || client->out == NULL)
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    if (status == MB_OK)
        status = make_socket(client, endpoint, &address, &socket, err);
    if (status == MB_OK) {
        left = time_left(client, deadline_ms);
        code = amqp_socket_open_noblock(socket, address.host, address.port, &left);
        if (code != AMQP_STATUS_OK)
            status = connect_failed(client, &address, code, deadline_ms, err);
    }
    if (status == MB_OK)
        status = log_in(client, params, endpoint, &address, deadline_ms, err);
    explicit_bzero(&address, sizeof address);
    if (status == MB_OK) {
        learn_server(client);
        status = take_over(client, deadline_ms, err);
    }
    if (status == MB_OK)
        status = let_go_of_library(client, err);
    if (status == MB_OK && amqp_reader_init(&client->reader, client->host, client->channels,
                                            client->frame_max) != MB_OK)
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    if (status != MB_OK) {
        client->broken = true;
        return status;
    }
    return open_channels(client, deadline_ms, err);
}

enum mb_status amqp_client_open(const struct mb_open_params *params,
                                const struct amqp_endpoint *endpoint, uint32_t channels,
                                size_t out_size, struct amqp_client **ret_client,
                                struct mb_error *err)
{
    struct amqp_client *client = amqp_alloc_zero(params->host, sizeof *client);
    enum mb_status status;

    if (client == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    client->host = params->host;
    client->fd = -1;
    client->pace.low_water = 1;
    client->channels = channels;
    status = set_up(client, params, endpoint, out_size, err);
    if (status != MB_OK) {
        amqp_client_close(client, 0);
        return status;
    }
    *ret_client = client;
    return MB_OK;
}

void amqp_client_close(struct amqp_client *client, uint32_t wait_ms)
{
    const struct mb_host *host;

    if (client == NULL)
        return;
    host = client->host;
    if (client->fd >= 0)
        amqp_client_shut(client, wait_ms);
    if (client->connection != NULL)
        amqp_destroy_connection(client->connection);
    else if (client->fd >= 0)
        close(client->fd);
    while (client->stash != NULL)
        amqp_client_forget(client);
    amqp_reader_release(&client->reader);
    host->release(host->context, client->out);
    host->release(host->context, client);
}
