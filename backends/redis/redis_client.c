/* SPDX-License-Identifier: Apache-2.0 */
/* Input and output of a connection that has been taken over. Nothing here blocks but await. */
#include "redis.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#ifdef REDIS_WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

/* How much one read takes at most before the others in the lane have their turn. */
#define READ_SIZE_MAX (256u * 1024u)

void redis_text_of(char *buffer, size_t size, struct mb_slice text)
{
    const unsigned char *at = text.data;
    size_t length = 0;

    while (length + 1 < size && length < text.size) {
        buffer[length] = at[length] >= ' ' && at[length] != 0x7f ? (char)at[length] : '.';
        length++;
    }
    buffer[length] = '\0';
}

enum mb_status redis_client_fail(struct redis_client *client, struct mb_error *err,
                                 const char *reason, const char *text)
{
    client->broken = true;
    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, reason, "%s: %s", client->name,
                        text);
}

enum transfer { TRANSFER_DONE, TRANSFER_WAIT, TRANSFER_FAILED };

#ifdef REDIS_WITH_TLS
static enum transfer tls_result(struct redis_client *client, int result, struct mb_error *err)
{
    char text[160];

    switch (SSL_get_error(client->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return TRANSFER_WAIT;
    case SSL_ERROR_WANT_WRITE:
        client->wants_write = true;
        return TRANSFER_WAIT;
    case SSL_ERROR_ZERO_RETURN:
        redis_client_fail(client, err, "closed", "the server closed the connection");
        return TRANSFER_FAILED;
    case SSL_ERROR_SYSCALL:
        redis_client_fail(client, err, "closed",
                          errno != 0 ? strerror(errno) : "the server closed the connection");
        return TRANSFER_FAILED;
    default:
        ERR_error_string_n(ERR_get_error(), text, sizeof text);
        redis_client_fail(client, err, "tls", text);
        return TRANSFER_FAILED;
    }
}
#endif

static enum transfer receive(struct redis_client *client, void *data, size_t size, size_t *ret_size,
                             struct mb_error *err)
{
    ssize_t got;

#ifdef REDIS_WITH_TLS
    if (client->ssl != NULL) {
        int result;

        ERR_clear_error();
        errno = 0;
        result = SSL_read(client->ssl, data, size > INT32_MAX ? INT32_MAX : (int)size);
        if (result <= 0)
            return tls_result(client, result, err);
        *ret_size = (size_t)result;
        return TRANSFER_DONE;
    }
#endif
    do
        got = recv(client->fd, data, size, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        *ret_size = (size_t)got;
        return TRANSFER_DONE;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return TRANSFER_WAIT;
    redis_client_fail(client, err, "closed",
                      got < 0 ? strerror(errno) : "the server closed the connection");
    return TRANSFER_FAILED;
}

static enum transfer transmit(struct redis_client *client, const void *data, size_t size,
                              size_t *ret_size, struct mb_error *err)
{
    ssize_t sent;

#ifdef REDIS_WITH_TLS
    if (client->ssl != NULL) {
        int result;

        ERR_clear_error();
        errno = 0;
        result = SSL_write(client->ssl, data, size > INT32_MAX ? INT32_MAX : (int)size);
        if (result <= 0)
            return tls_result(client, result, err);
        *ret_size = (size_t)result;
        return TRANSFER_DONE;
    }
#endif
    do
        sent = send(client->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        *ret_size = (size_t)sent;
        return TRANSFER_DONE;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        client->wants_write = true;
        return TRANSFER_WAIT;
    }
    redis_client_fail(client, err, "closed", strerror(errno));
    return TRANSFER_FAILED;
}

static void tell_traffic(const struct redis_client *client, uint64_t received, uint64_t sent)
{
    const struct mb_host *host = client->host;

    if (received + sent > 0 &&
        host->struct_size >= offsetof(struct mb_host, traffic) + sizeof host->traffic &&
        host->traffic != NULL)
        host->traffic(host->context, received, sent);
}

enum mb_status redis_client_write(struct redis_client *client, struct mb_error *err)
{
    enum transfer transfer = TRANSFER_DONE;
    uint64_t total = 0;

    if (client->out.failed)
        return redis_client_fail(client, err, "stuck",
                                 "the server does not take what is written, or memory is out");
    while (transfer == TRANSFER_DONE && !redis_out_is_empty(&client->out)) {
        struct mb_slice run = redis_out_next(&client->out);
        size_t sent = 0;

        transfer = transmit(client, run.data, run.size, &sent, err);
        redis_out_written(&client->out, sent);
        total += sent;
    }
    tell_traffic(client, 0, total);
    if (transfer == TRANSFER_FAILED)
        return MB_DISCONNECTED;
    client->wants_write = transfer == TRANSFER_WAIT;
    return transfer == TRANSFER_WAIT ? MB_AGAIN : MB_OK;
}

enum mb_status redis_client_read(struct redis_client *client, int64_t now_ms, struct mb_error *err)
{
    enum transfer transfer = TRANSFER_DONE;
    size_t total = 0;

    while (transfer == TRANSFER_DONE && total < READ_SIZE_MAX) {
        size_t size;
        size_t got = 0;
        unsigned char *room = redis_in_room(&client->in, &size);

        if (room == NULL)
            return redis_client_fail(client, err, "memory",
                                     "out of memory, or an entry is larger than 1 GiB");
        transfer = receive(client, room, size, &got, err);
        client->in.end += got;
        total += got;
        /* Less than there was room for: the socket is empty. Not so with TLS records. */
        if (transfer == TRANSFER_DONE && got < size && client->ssl == NULL)
            break;
    }
    client->unread = transfer == TRANSFER_DONE && total >= READ_SIZE_MAX;
    client->drained = transfer != TRANSFER_FAILED && !client->unread;
    client->read_ms = now_ms;
    tell_traffic(client, total, 0);
    if (total == 0)
        return transfer == TRANSFER_FAILED ? MB_DISCONNECTED : MB_AGAIN;
    /* What came before the end is used first; the next read finds the end again. */
    if (transfer == TRANSFER_FAILED)
        client->broken = false;
    client->came_ms = now_ms;
    return MB_OK;
}

static void add_fd(struct mb_wait *wait, int fd, int16_t events)
{
    uint32_t at = wait->count;

    if (at == MB_WAIT_FDS_MAX)
        return;
    wait->count++;
    wait->fds[at].fd = fd;
    wait->fds[at].events = events;
    wait->fds[at].revents = 0;
}

void redis_client_fds(struct redis_client *client, int epoll, struct mb_wait *wait)
{
    struct epoll_event event = {.events = (client->deaf ? 0u : EPOLLIN) |
                                          (client->wants_write ? EPOLLOUT : 0u)};

    client->drained = false;
    if (client->unread && !client->deaf)
        wait->ready = true;
    if (epoll < 0)
        add_fd(wait, client->fd,
               (int16_t)((client->deaf ? 0 : POLLIN) | (client->wants_write ? POLLOUT : 0)));
    else if (event.events != client->events &&
             epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event) == 0)
        client->events = event.events;
}

enum mb_status redis_client_watch(struct redis_client *client, int epoll, struct mb_error *err)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (epoll < 0)
        return MB_OK;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) != 0)
        return redis_client_fail(client, err, "descriptors", strerror(errno));
    client->events = event.events;
    return MB_OK;
}

void redis_epoll_fds(int epoll, struct mb_wait *wait)
{
    if (epoll >= 0)
        add_fd(wait, epoll, POLLIN);
}

enum mb_status redis_client_await(struct redis_client *client, int64_t deadline_ms,
                                  struct mb_error *err)
{
    struct pollfd entry = {client->fd, POLLIN, 0};
    enum mb_status status = redis_client_write(client, err);
    int64_t left = deadline_ms - redis_now_ms(client->host);

    if (status == MB_DISCONNECTED)
        return status;
    if (left <= 0)
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                            "%s: the server did not answer in time", client->name);
    if (client->wants_write)
        entry.events |= POLLOUT;
    if (poll(&entry, 1, left > 1000 ? 1000 : (int)left) < 0 && errno != EINTR)
        return redis_client_fail(client, err, "closed", strerror(errno));
    status = redis_client_read(client, redis_now_ms(client->host), err);
    return status == MB_AGAIN ? MB_OK : status;
}
