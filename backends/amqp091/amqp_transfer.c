/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in and out of the socket, plain or TLS, without waiting. */
#include "amqp.h"

#include <errno.h>
#include <sys/socket.h>
#ifdef AMQP_WITH_TLS
#include <openssl/ssl.h>
#endif

#ifdef AMQP_WITH_TLS
static enum amqp_transfer tls_result(struct amqp_client *client, enum mb_tls_transfer result,
                                     struct mb_error *err)
{
    switch (result) {
    case MB_TLS_DONE:
        return AMQP_TRANSFER_DONE;
    case MB_TLS_WANTS_WRITE:
        client->wants_write = true;
        return AMQP_TRANSFER_WAIT;
    case MB_TLS_WANTS_READ:
        return AMQP_TRANSFER_WAIT;
    case MB_TLS_ENDED:
        amqp_client_fail(client, err, "closed",
                         errno != 0 ? strerror(errno) : "the broker closed the connection");
        return AMQP_TRANSFER_FAILED;
    case MB_TLS_FAILED:
    default:
        amqp_client_fail(client, err, "tls", client->tls_failure);
        return AMQP_TRANSFER_FAILED;
    }
}
#endif

enum amqp_transfer amqp_receive(struct amqp_client *client, void *data, size_t size,
                                size_t *ret_size, struct mb_error *err)
{
    ssize_t got;

#ifdef AMQP_WITH_TLS
    if (client->ssl != NULL)
        return tls_result(client,
                          mb_tls_read(client->ssl, data, size, ret_size, client->tls_failure), err);
#endif
    do
        got = recv(client->fd, data, size, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        *ret_size = (size_t)got;
        client->received_bytes += (uint64_t)got;
        return AMQP_TRANSFER_DONE;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return AMQP_TRANSFER_WAIT;
    amqp_client_fail(client, err, "closed",
                     got < 0 ? strerror(errno) : "the broker closed the connection");
    return AMQP_TRANSFER_FAILED;
}

enum amqp_transfer amqp_transmit(struct amqp_client *client, const void *data, size_t size,
                                 size_t *ret_size, struct mb_error *err)
{
    ssize_t sent;

#ifdef AMQP_WITH_TLS
    if (client->ssl != NULL)
        return tls_result(
            client, mb_tls_write(client->ssl, data, size, ret_size, client->tls_failure), err);
#endif
    do
        sent = send(client->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        *ret_size = (size_t)sent;
        client->sent_bytes += (uint64_t)sent;
        return AMQP_TRANSFER_DONE;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        client->wants_write = true;
        return AMQP_TRANSFER_WAIT;
    }
    amqp_client_fail(client, err, "closed", strerror(errno));
    return AMQP_TRANSFER_FAILED;
}

void amqp_tell_traffic(struct amqp_client *client)
{
    const struct mb_host *host = client->host;

#ifdef AMQP_WITH_TLS
    if (client->ssl != NULL) {
        uint64_t read = BIO_number_read(SSL_get_rbio(client->ssl));
        uint64_t written = BIO_number_written(SSL_get_wbio(client->ssl));

        client->received_bytes += read - client->tls_read;
        client->sent_bytes += written - client->tls_written;
        client->tls_read = read;
        client->tls_written = written;
    }
#endif
    if (client->received_bytes == 0 && client->sent_bytes == 0)
        return;
    if (host->struct_size > offsetof(struct mb_host, traffic) && host->traffic != NULL)
        host->traffic(host->context, client->received_bytes, client->sent_bytes);
    client->received_bytes = 0;
    client->sent_bytes = 0;
}
