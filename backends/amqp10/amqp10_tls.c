/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS between socket and proton. Not proton's own: it verifies no IP addresses, and says of a
 * failure only that there was one.
 */
#include "amqp10.h"

#include <errno.h>
#include <poll.h>
#ifdef AMQP10_WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

static void tls_info(const SSL *ssl, int where, int value)
{
    struct amqp10_client *client = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    mb_tls_alert_describe(ssl, where, value, client->server_name, client->tls_failure);
}

/* proton never waits for reading or writing. */
static enum amqp10_transfer result_of(struct amqp10_client *client, enum mb_tls_transfer result)
{
    switch (result) {
    case MB_TLS_DONE:
        return AMQP10_TRANSFER_DONE;
    case MB_TLS_WANTS_WRITE:
        client->wants_write = true;
        return AMQP10_TRANSFER_WAIT;
    case MB_TLS_WANTS_READ:
        return AMQP10_TRANSFER_WAIT;
    case MB_TLS_ENDED:
        client->socket_errno = errno;
        return AMQP10_TRANSFER_ENDED;
    case MB_TLS_FAILED:
    default:
        return AMQP10_TRANSFER_ENDED;
    }
}

static enum mb_status handshake(struct amqp10_client *client, int64_t deadline_ms,
                                struct mb_error *err)
{
    for (;;) {
        enum mb_tls_transfer result = mb_tls_handshake(client->tls, client->tls_failure);

        if (result == MB_TLS_DONE)
            return MB_OK;
        if (result != MB_TLS_WANTS_READ && result != MB_TLS_WANTS_WRITE) {
            result_of(client, result);
            return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "tls", "%s: %s",
                                client->name, mb_tls_failure_text(client->tls_failure));
        }
        if (!amqp10_socket_await(client, result == MB_TLS_WANTS_READ ? POLLIN : POLLOUT,
                                 deadline_ms))
            return mb_error_set(
                err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                "%s: the server did not finish the TLS handshake in time (is it a TLS "
                "port?)",
                client->name);
    }
}

enum mb_status amqp10_tls_start(struct amqp10_client *client, const struct mb_tls_options *options,
                                const char *host, int64_t deadline_ms, struct mb_error *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    enum mb_status status;

    if (context == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    client->tls_domain = context;
    status = mb_tls_server_name(options, host, client->server_name, err);
    if (status != MB_OK)
        return status;
    SSL_CTX_set_app_data(context, client);
    SSL_CTX_set_info_callback(context, tls_info);
    status = mb_tls_context_configure(context, options, client->server_name, client->name, err);
    if (status != MB_OK)
        return status;
    client->tls = SSL_new(context);
    if (client->tls == NULL || SSL_set_fd(client->tls, client->fd) != 1)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    mb_tls_name_send(client->tls, client->server_name);
    return handshake(client, deadline_ms, err);
}

enum amqp10_transfer amqp10_tls_read(struct amqp10_client *client, void *data, size_t size,
                                     size_t *ret_size)
{
    return result_of(client, mb_tls_read(client->tls, data, size, ret_size, client->tls_failure));
}

enum amqp10_transfer amqp10_tls_write(struct amqp10_client *client, const void *data, size_t size,
                                      size_t *ret_size)
{
    return result_of(client, mb_tls_write(client->tls, data, size, ret_size, client->tls_failure));
}

void amqp10_tls_end(struct amqp10_client *client)
{
    if (client->tls != NULL && client->tls_failure[0] == '\0' && client->socket_errno == 0) {
        ERR_clear_error();
        SSL_shutdown(client->tls);
    }
    SSL_free(client->tls);
    SSL_CTX_free(client->tls_domain);
    client->tls = NULL;
    client->tls_domain = NULL;
}

#else

enum mb_status amqp10_tls_start(struct amqp10_client *client, const struct mb_tls_options *options,
                                const char *host, int64_t deadline_ms, struct mb_error *err)
{
    (void)options;
    (void)host;
    (void)deadline_ms;
    return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "tls",
                        "%s: this build of the backend amqp10 has no TLS", client->name);
}

enum amqp10_transfer amqp10_tls_read(struct amqp10_client *client, void *data, size_t size,
                                     size_t *ret_size)
{
    (void)client;
    (void)data;
    (void)size;
    (void)ret_size;
    return AMQP10_TRANSFER_ENDED;
}

enum amqp10_transfer amqp10_tls_write(struct amqp10_client *client, const void *data, size_t size,
                                      size_t *ret_size)
{
    (void)client;
    (void)data;
    (void)size;
    (void)ret_size;
    return AMQP10_TRANSFER_ENDED;
}

void amqp10_tls_end(struct amqp10_client *client)
{
    (void)client;
}
#endif
