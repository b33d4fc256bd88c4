/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in and out of the socket, plain or TLS, without waiting. */
#include "amqp.h"

#include <errno.h>
#include <sys/socket.h>
#ifdef AMQP_WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#ifdef AMQP_WITH_TLS
static enum amqp_transfer tls_result(struct amqp_client *client, int result, struct mb_error *err)
{
    unsigned long code;
    char text[160];

    switch (SSL_get_error(client->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return AMQP_TRANSFER_WAIT;
    case SSL_ERROR_WANT_WRITE:
        client->wants_write = true;
        return AMQP_TRANSFER_WAIT;
    case SSL_ERROR_ZERO_RETURN:
        amqp_client_fail(client, err, "closed", "the broker closed the connection");
        return AMQP_TRANSFER_FAILED;
    case SSL_ERROR_SYSCALL:
        amqp_client_fail(client, err, "closed",
                         errno != 0 ? strerror(errno) : "the broker closed the connection");
        return AMQP_TRANSFER_FAILED;
    default:
        code = ERR_get_error();
        ERR_error_string_n(code, text, sizeof text);
        amqp_client_fail(client, err, "tls", client->tls_failure[0] ? client->tls_failure : text);
        return AMQP_TRANSFER_FAILED;
    }
}
#endif

enum amqp_transfer amqp_receive(struct amqp_client *client, void *data, size_t size,
                                size_t *ret_size, struct mb_error *err)
{
    ssize_t got;

#ifdef AMQP_WITH_TLS
    if (client->ssl != NULL) {
        int result;

        ERR_clear_error();
        errno = 0;
        result = SSL_read(client->ssl, data, size > INT32_MAX ? INT32_MAX : (int)size);
        if (result <= 0)
            return tls_result(client, result, err);
        *ret_size = (size_t)result;
        return AMQP_TRANSFER_DONE;
    }
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
    if (client->ssl != NULL) {
        int result;

        ERR_clear_error();
        errno = 0;
        result = SSL_write(client->ssl, data, size > INT32_MAX ? INT32_MAX : (int)size);
        if (result <= 0)
            return tls_result(client, result, err);
        *ret_size = (size_t)result;
        return AMQP_TRANSFER_DONE;
    }
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
