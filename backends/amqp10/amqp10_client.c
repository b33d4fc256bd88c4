/* SPDX-License-Identifier: Apache-2.0 */
/* Input and output of a connection, its events and its end. Nothing here blocks but await and
 * close. */
#include "amqp10.h"

#include <errno.h>
#include <poll.h>
#include <proton/codec.h>
#include <sys/socket.h>
#include <unistd.h>

/* How much one read takes at most before the others in the lane have their turn. */
#define READ_SIZE_MAX ((size_t)256 * 1024)
#define READ_SIZE     ((size_t)64 * 1024)
/* … and where it is read only to see that the peer is alive. */
#define READ_SIZE_HELD ((size_t)4 * 1024)

void amqp10_text_of(char *buffer, size_t size, const char *text)
{
    size_t length = 0;

    while (text != NULL && length + 1 < size && text[length] != '\0') {
        unsigned char byte = (unsigned char)text[length];

        buffer[length++] = byte >= ' ' && byte != 0x7f ? (char)byte : '.';
    }
    buffer[length] = '\0';
}

void amqp10_client_fail(struct amqp10_client *client, const char *reason, const char *text)
{
    if (client->failed)
        return;
    client->failed = true;
    mb_error_set(&client->failure, MB_DISCONNECTED, MB_CAUSE_CONNECTION, reason, "%s: %s",
                 client->name, text);
}

enum mb_status amqp10_client_gone(const struct amqp10_client *client, struct mb_error *err)
{
    *err = client->failure;
    err->status = MB_DISCONNECTED;
    return MB_DISCONNECTED;
}

static int port_of(pn_data_t *data)
{
    switch ((int)pn_data_type(data)) {
    case PN_USHORT:
        return pn_data_get_ushort(data);
    case PN_UINT:
        return pn_data_get_uint(data) <= UINT16_MAX ? (int)pn_data_get_uint(data) : -1;
    case PN_INT:
        return pn_data_get_int(data);
    case PN_LONG:
        return pn_data_get_long(data) <= UINT16_MAX ? (int)pn_data_get_long(data) : -1;
    default:
        return -1;
    }
}

static void copy_bytes(char *buffer, size_t size, pn_data_t *data)
{
    pn_bytes_t bytes = pn_data_get_bytes(data);

    if ((pn_data_type(data) == PN_STRING || pn_data_type(data) == PN_SYMBOL) && bytes.size < size) {
        memcpy(buffer, bytes.start, bytes.size);
        buffer[bytes.size] = '\0';
    }
}

/* From the information map; proton's own functions take one type of number only. */
static void note_redirect(struct amqp10_client *client, pn_condition_t *condition)
{
    struct amqp10_redirect *redirect = &client->redirect;
    pn_data_t *info = pn_condition_info(condition);

    memset(redirect, 0, sizeof *redirect);
    pn_data_rewind(info);
    if (!pn_data_next(info) || pn_data_type(info) != PN_MAP || !pn_data_enter(info))
        return;
    while (pn_data_next(info)) {
        pn_bytes_t key = pn_data_get_bytes(info);
        struct mb_slice name = {key.start, key.size};

        if (!pn_data_next(info))
            break;
        if (mb_slice_equal(name, mb_slice_text("network-host")))
            copy_bytes(redirect->host, sizeof redirect->host, info);
        else if (mb_slice_equal(name, mb_slice_text("hostname")))
            copy_bytes(redirect->hostname, sizeof redirect->hostname, info);
        else if (mb_slice_equal(name, mb_slice_text("address")))
            copy_bytes(redirect->address, sizeof redirect->address, info);
        else if (mb_slice_equal(name, mb_slice_text("port")))
            redirect->port = port_of(info);
    }
    pn_data_rewind(info);
    redirect->is_set = redirect->host[0] != '\0' && redirect->port >= 0;
}

/* What the words of AMQP 1.0 mean for a stream. The first whose name is a prefix. */
static const struct {
    const char *name;
    enum mb_status status;
    enum mb_cause cause;
    const char *reason;
} conditions[] = {
    {"amqp:not-found", MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing"},
    {"amqp:resource-deleted", MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing"},
    {"amqp:unauthorized-access", MB_DENIED, MB_CAUSE_DESTINATION, "forbidden"},
    {"amqp:not-allowed", MB_DENIED, MB_CAUSE_DESTINATION, "not-allowed"},
    {"amqp:resource-limit-exceeded", MB_DISCONNECTED, MB_CAUSE_DESTINATION, "full"},
    {"amqp:resource-locked", MB_DISCONNECTED, MB_CAUSE_DESTINATION, "standby"},
    {"amqp:link:stolen", MB_DISCONNECTED, MB_CAUSE_DESTINATION, "standby"},
    {"amqp:link:redirect", MB_DISCONNECTED, MB_CAUSE_DESTINATION, "redirect"},
    {"amqp:connection:redirect", MB_DISCONNECTED, MB_CAUSE_CONNECTION, "redirect"},
    {"amqp:link:message-size-exceeded", MB_DISCONNECTED, MB_CAUSE_DESTINATION, "too-large"},
    {"amqp:precondition-failed", MB_DISCONNECTED, MB_CAUSE_DESTINATION, "precondition"},
    {"amqp:invalid-field", MB_DISCONNECTED, MB_CAUSE_DESTINATION, "invalid"},
    {"amqp:not-implemented", MB_UNSUPPORTED, MB_CAUSE_DESTINATION, "unsupported"},
    {"amqp:illegal-state", MB_DISCONNECTED, MB_CAUSE_DESTINATION, "precondition"},
    {"amqp:link:detach-forced", MB_DISCONNECTED, MB_CAUSE_DESTINATION, "detached"},
    {"amqp:internal-error", MB_DISCONNECTED, MB_CAUSE_DESTINATION, "internal"},
    {"amqp:connection:", MB_DISCONNECTED, MB_CAUSE_CONNECTION, "closed"},
};

enum mb_status amqp10_condition_error(struct amqp10_client *client, pn_condition_t *condition,
                                      const char *what, struct mb_error *err)
{
    char name[96];
    char description[256];
    char place[320] = "";
    size_t row = 0;
    size_t rows = sizeof conditions / sizeof conditions[0];

    if (!pn_condition_is_set(condition))
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "closed",
                            "%s: %s: the broker closed it without a reason", client->name, what);
    amqp10_text_of(name, sizeof name, pn_condition_get_name(condition));
    amqp10_text_of(description, sizeof description, pn_condition_get_description(condition));
    if (strstr(name, ":redirect") != NULL) {
        note_redirect(client, condition);
        snprintf(place, sizeof place, " (it names %.200s:%d)", client->redirect.host,
                 client->redirect.port);
    }
    while (row < rows && strncmp(name, conditions[row].name, strlen(conditions[row].name)) != 0)
        row++;
    return mb_error_set(err, row < rows ? conditions[row].status : MB_DISCONNECTED,
                        row < rows ? conditions[row].cause : MB_CAUSE_DESTINATION,
                        row < rows ? conditions[row].reason : "refused", "%s: %s: %s%s%s%s",
                        client->name, what, name, description[0] != '\0' ? ": " : "", description,
                        place);
}

/* Why a transport ended. Proton's own words are vague where the socket's are not. */
static void transport_failed(struct amqp10_client *client)
{
    pn_condition_t *condition = pn_transport_condition(client->driver.transport);
    char name[96];
    char text[300];

    if (client->failed)
        return;
    amqp10_text_of(name, sizeof name, pn_condition_get_name(condition));
    amqp10_text_of(text, sizeof text, pn_condition_get_description(condition));
    if (strcmp(name, "amqp:unauthorized-access") == 0) {
        client->failed = true;
        mb_error_set(&client->failure, MB_DENIED, MB_CAUSE_CONNECTION, "auth",
                     "%s: the broker refused the log-in: %s", client->name, text);
        return;
    }
    if (strstr(text, "idle-timeout") != NULL) {
        amqp10_client_fail(client, "heartbeat",
                           "nothing came for two heartbeats: the broker is taken to be dead");
        return;
    }
    if (client->tls_failure[0] != '\0')
        amqp10_client_fail(client, "tls", client->tls_failure);
    else if (client->socket_errno != 0)
        amqp10_client_fail(client, "closed", strerror(client->socket_errno));
    else if (client->read_ended || text[0] == '\0')
        amqp10_client_fail(client, "closed", "the broker closed the connection");
    else
        amqp10_client_fail(client, "protocol", text);
}

static void connection_closed(struct amqp10_client *client)
{
    pn_condition_t *condition = pn_connection_remote_condition(client->driver.connection);

    if (client->failed || client->closing)
        return;
    client->failed = true;
    if (!pn_condition_is_set(condition))
        mb_error_set(&client->failure, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "closed",
                     "%s: the broker closed the connection", client->name);
    else
        amqp10_condition_error(client, condition, "connection", &client->failure);
    if (strcmp(client->failure.reason, "forbidden") == 0)
        snprintf(client->failure.reason, sizeof client->failure.reason, "auth");
}

pn_event_t *amqp10_client_event(struct amqp10_client *client)
{
    pn_event_t *event;

    while ((event = pn_connection_driver_next_event(&client->driver)) != NULL) {
        pn_event_type_t type = pn_event_type(event);

        if (type == PN_CONNECTION_REMOTE_CLOSE)
            connection_closed(client);
        else if (type == PN_TRANSPORT_ERROR || type == PN_TRANSPORT_CLOSED)
            transport_failed(client);
        else if (type == PN_SESSION_REMOTE_OPEN || type == PN_SESSION_REMOTE_CLOSE ||
                 type == PN_LINK_REMOTE_OPEN || type == PN_LINK_REMOTE_CLOSE ||
                 type == PN_LINK_REMOTE_DETACH || type == PN_LINK_FLOW || type == PN_DELIVERY ||
                 type == PN_CONNECTION_REMOTE_OPEN)
            return event;
    }
    if (client->read_ended)
        transport_failed(client);
    return NULL;
}

static enum amqp10_transfer receive(struct amqp10_client *client, void *data, size_t size,
                                    size_t *ret_size)
{
    ssize_t got;

    if (client->tls != NULL)
        return amqp10_tls_read(client, data, size, ret_size);
    do
        got = recv(client->fd, data, size, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        *ret_size = (size_t)got;
        return AMQP10_TRANSFER_DONE;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return AMQP10_TRANSFER_WAIT;
    client->socket_errno = got < 0 ? errno : 0;
    return AMQP10_TRANSFER_ENDED;
}

static enum amqp10_transfer transmit(struct amqp10_client *client, const void *data, size_t size,
                                     size_t *ret_size)
{
    ssize_t sent;

    if (client->tls != NULL)
        return amqp10_tls_write(client, data, size, ret_size);
    do
        sent = send(client->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        *ret_size = (size_t)sent;
        return AMQP10_TRANSFER_DONE;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return AMQP10_TRANSFER_WAIT;
    client->socket_errno = errno;
    return AMQP10_TRANSFER_ENDED;
}

static void end_input(struct amqp10_client *client)
{
    if (client->read_ended)
        return;
    client->read_ended = true;
    pn_connection_driver_read_close(&client->driver);
}

enum mb_status amqp10_client_read(struct amqp10_client *client)
{
    size_t most = client->holds           ? READ_SIZE_HELD
                  : client->read_max != 0 ? client->read_max
                                          : READ_SIZE_MAX;
    size_t total = 0;

    client->is_dry = false;
    while (!client->read_ended && total < most) {
        pn_rwbytes_t room = pn_connection_driver_read_buffer_sized(&client->driver, READ_SIZE);
        enum amqp10_transfer result;
        size_t got = 0;

        if (room.size == 0)
            break;
        if (room.size > most - total)
            room.size = most - total;
        result = receive(client, room.start, room.size, &got);
        if (result == AMQP10_TRANSFER_WAIT) {
            client->is_dry = true;
            break;
        }
        if (result == AMQP10_TRANSFER_ENDED) {
            end_input(client);
            return MB_OK;
        }
        pn_connection_driver_read_done(&client->driver, got);
        total += got;
        client->received_bytes += got;
        /* Less than there was room for: the socket is empty. Not so with TLS records. */
        if (got < room.size && client->tls == NULL) {
            client->is_dry = true;
            break;
        }
    }
    return total > 0 ? MB_OK : MB_AGAIN;
}

static pn_bytes_t to_send(struct amqp10_client *client)
{
    return client->withholds ? amqp10_withhold_pull(client)
                             : pn_connection_driver_write_buffer(&client->driver);
}

static void was_sent(struct amqp10_client *client, size_t size)
{
    client->sent_bytes += size;
    if (client->withholds)
        amqp10_withhold_sent(client, size);
    else
        pn_connection_driver_write_done(&client->driver, size);
}

enum mb_status amqp10_client_write(struct amqp10_client *client)
{
    for (;;) {
        pn_bytes_t out = to_send(client);
        enum amqp10_transfer result;
        size_t sent = 0;

        client->wants_write = false;
        if (out.size == 0) {
            client->flushes++;
            return MB_OK;
        }
        result = transmit(client, out.start, out.size, &sent);
        if (result == AMQP10_TRANSFER_WAIT) {
            client->wants_write = true;
            return MB_AGAIN;
        }
        if (result == AMQP10_TRANSFER_ENDED) {
            int why = client->socket_errno;

            /* The peer may have said why before it went. */
            client->holds = false;
            amqp10_client_read(client);
            if (client->socket_errno == 0)
                client->socket_errno = why;
            pn_connection_driver_write_close(&client->driver);
            end_input(client);
            return MB_OK;
        }
        was_sent(client, sent);
    }
}

void amqp10_client_tick(struct amqp10_client *client)
{
    const struct mb_host *host = client->host;
    int64_t now = amqp10_now_ms(host);

    /* What came while the lane was held up counts. */
    if (client->tick_ms != 0 && now >= client->tick_ms)
        amqp10_client_read(client);
    client->tick_ms = pn_transport_tick(client->driver.transport, now);
    if (client->received_bytes + client->sent_bytes > 0 &&
        host->struct_size >= offsetof(struct mb_host, traffic) + sizeof host->traffic &&
        host->traffic != NULL)
        host->traffic(host->context, client->received_bytes, client->sent_bytes);
    client->received_bytes = 0;
    client->sent_bytes = 0;
}

void amqp10_client_fds(const struct amqp10_client *client, struct mb_wait *wait)
{
    if (client->failed) {
        wait->ready = true;
        return;
    }
    if (wait->count < MB_WAIT_FDS_MAX) {
        uint32_t at = wait->count++;

        wait->fds[at].fd = client->fd;
        wait->fds[at].events = (int16_t)(POLLIN | (client->wants_write ? POLLOUT : 0));
        wait->fds[at].revents = 0;
    }
    if (client->tick_ms != 0 && client->tick_ms < wait->deadline_ms)
        wait->deadline_ms = client->tick_ms;
}

bool amqp10_socket_await(const struct amqp10_client *client, int16_t events, int64_t deadline_ms)
{
    struct pollfd entry = {client->fd, events, 0};
    int64_t left = deadline_ms - amqp10_now_ms(client->host);

    if (left <= 0)
        return false;
    poll(&entry, 1, left > 1000 ? 1000 : (int)left);
    return true;
}

enum mb_status amqp10_client_await(struct amqp10_client *client, int64_t deadline_ms,
                                   struct mb_error *err)
{
    amqp10_client_write(client);
    if (pn_connection_driver_has_event(&client->driver))
        return MB_OK;
    if (amqp10_client_read(client) == MB_OK)
        return MB_OK;
    amqp10_client_tick(client);
    amqp10_client_write(client);
    if (!amqp10_socket_await(client, (int16_t)(POLLIN | (client->wants_write ? POLLOUT : 0)),
                             deadline_ms))
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                            "%s: the broker did not answer in time", client->name);
    return MB_OK;
}

pn_session_t *amqp10_client_session(struct amqp10_client *client, size_t capacity)
{
    pn_session_t *session = client->first;

    client->first = NULL;
    if (session == NULL || (pn_session_state(session) & PN_REMOTE_CLOSED)) {
        session = pn_session(client->driver.connection);
        if (session == NULL)
            return NULL;
        pn_session_open(session);
    }
    pn_session_set_incoming_capacity(session,
                                     capacity < AMQP10_FRAME_MAX ? AMQP10_FRAME_MAX : capacity);
    return session;
}

pn_session_t *amqp10_client_session_instead(struct amqp10_client *client, pn_session_t *session,
                                            size_t capacity)
{
    pn_session_t *next = amqp10_client_session(client, capacity);

    /* Proton writes what begins before what ends, so the two have different channels. */
    if (session != NULL) {
        pn_session_set_context(session, NULL);
        pn_session_close(session);
        pn_session_free(session);
    }
    return next;
}

static bool sessions_ended(struct amqp10_client *client)
{
    return pn_session_head(client->driver.connection, PN_LOCAL_CLOSED | PN_REMOTE_ACTIVE) == NULL;
}

static bool connection_ended(struct amqp10_client *client)
{
    return (pn_connection_state(client->driver.connection) & PN_REMOTE_CLOSED) != 0;
}

static bool await_end(struct amqp10_client *client, bool (*ended)(struct amqp10_client *client),
                      int64_t deadline_ms)
{
    struct mb_error err;

    mb_error_clear(&err);
    while (!ended(client)) {
        while (amqp10_client_event(client) != NULL)
            continue;
        if (client->failed || ended(client))
            break;
        if (amqp10_client_await(client, deadline_ms, &err) != MB_OK)
            return false;
    }
    return !client->failed;
}

void amqp10_client_end_sessions(struct amqp10_client *client, const pn_session_t *keep,
                                uint32_t wait_ms)
{
    pn_session_t *session = pn_session_head(client->driver.connection, PN_LOCAL_ACTIVE);

    client->closing = true;
    while (session != NULL) {
        pn_session_t *next = pn_session_next(session, PN_LOCAL_ACTIVE);

        if (session != keep)
            pn_session_close(session);
        session = next;
    }
    if (!client->failed)
        await_end(client, sessions_ended, amqp10_now_ms(client->host) + wait_ms);
}

/* A broker that is told all at once may take the last dispositions for lost (RabbitMQ 3.10): first
 * the sessions, and when they have ended the connection. */
static void close_in_order(struct amqp10_client *client, uint32_t wait_ms)
{
    pn_connection_t *connection = client->driver.connection;
    int64_t deadline_ms = amqp10_now_ms(client->host) + wait_ms;

    amqp10_client_end_sessions(client, NULL, wait_ms);
    if (!client->failed && sessions_ended(client)) {
        pn_connection_close(connection);
        await_end(client, connection_ended, deadline_ms);
    } else if (!client->failed) {
        client->host->log(client->host->context, MB_LOG_WARN,
                          "the broker does not answer to the end of the sessions: what it was told "
                          "last may be lost");
    }
    /* The answer to the peer's own close, or as much as the socket takes. */
    pn_connection_close(connection);
    amqp10_client_write(client);
}

void amqp10_client_close(struct amqp10_client *client, uint32_t wait_ms)
{
    const struct mb_host *host;

    if (client == NULL)
        return;
    host = client->host;
    if (client->has_driver) {
        if (client->fd >= 0 &&
            (pn_connection_state(client->driver.connection) & PN_LOCAL_UNINIT) == 0)
            close_in_order(client, wait_ms);
        pn_connection_driver_destroy(&client->driver);
    }
    mb_text_release(&client->raw);
    mb_text_release(&client->out);
    amqp10_tls_end(client);
    if (client->fd >= 0)
        close(client->fd);
    host->release(host->context, client);
}
