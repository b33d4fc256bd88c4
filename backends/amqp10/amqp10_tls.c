/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS between socket and proton. Not proton's own: it verifies no IP addresses, and says of a
 * failure only that there was one.
 */
#include "amqp10.h"

#include <errno.h>
#include <poll.h>
#ifdef AMQP10_WITH_TLS
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/* Notes why a handshake fails: the alert says who ended it, the verification why. */
static void note_alert(const SSL *ssl, int where, int value)
{
    struct amqp10_client *client = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    long result = SSL_get_verify_result(ssl);

    if ((where & SSL_CB_ALERT) == 0 || (value & 0xff) == SSL_AD_CLOSE_NOTIFY ||
        client->tls_failure[0] != '\0')
        return;
    if ((where & SSL_CB_WRITE) &&
        (result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH))
        snprintf(client->tls_failure, sizeof client->tls_failure,
                 "TLS failed: the server's certificate does not carry the name \"%.100s\" (if it "
                 "is the right server, tls.server_name can give the one that it carries)",
                 client->server_name);
    else if ((where & SSL_CB_WRITE) && result != X509_V_OK)
        snprintf(client->tls_failure, sizeof client->tls_failure,
                 "TLS failed: the server's certificate is not trusted: %s",
                 X509_verify_cert_error_string(result));
    else
        snprintf(client->tls_failure, sizeof client->tls_failure, "TLS failed: %s alert: %s",
                 (where & SSL_CB_WRITE) ? "we sent" : "the server sent",
                 SSL_alert_desc_string_long(value));
}

/* Without it the library would ask on the terminal for the password of a key. */
static int no_password(char *buffer, int size, int writing, void *context)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)context;
    return 0;
}

static enum mb_status option_failed(const struct amqp10_client *client, const char *option,
                                    const char *path, struct mb_error *err)
{
    unsigned long code = ERR_get_error();
    const char *why = ERR_reason_error_string(code);

    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "tls",
                        "%s: tls.%s \"%s\" cannot be used: %s", client->name, option, path,
                        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
                        : why != NULL          ? why
                                               : "unknown error");
}

static enum mb_status configure(struct amqp10_client *client, const struct mb_tls_options *options,
                                SSL_CTX *context, struct mb_error *err)
{
    X509_VERIFY_PARAM *verify = SSL_CTX_get0_param(context);
    const char *key = options->key != NULL ? options->key : options->cert;

    SSL_CTX_set_app_data(context, client);
    SSL_CTX_set_info_callback(context, note_alert);
    SSL_CTX_set_default_passwd_cb(context, no_password);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(context, options->unsafe_no_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                       NULL);
    ERR_clear_error();
    if (!options->unsafe_no_verify &&
        X509_VERIFY_PARAM_set1_ip_asc(verify, client->server_name) != 1 &&
        X509_VERIFY_PARAM_set1_host(verify, client->server_name, 0) != 1)
        return option_failed(client, "server_name", client->server_name, err);
    ERR_clear_error();
    if (options->ca != NULL) {
        if (SSL_CTX_load_verify_locations(context, options->ca, NULL) != 1)
            return option_failed(client, "ca", options->ca, err);
    } else if (SSL_CTX_set_default_verify_paths(context) != 1) {
        return option_failed(client, "ca", "(the system's)", err);
    }
    if (options->cert != NULL) {
        if (SSL_CTX_use_certificate_chain_file(context, options->cert) != 1)
            return option_failed(client, "cert", options->cert, err);
        if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
            return option_failed(client, "key", key, err);
    }
    return MB_OK;
}

/* TLS reads may have to write and the other way round; proton never waits for either. */
static enum amqp10_transfer result_of(struct amqp10_client *client, int result)
{
    unsigned long code;
    char text[160];

    switch (SSL_get_error(client->tls, result)) {
    case SSL_ERROR_WANT_READ:
        return AMQP10_TRANSFER_WAIT;
    case SSL_ERROR_WANT_WRITE:
        client->wants_write = true;
        return AMQP10_TRANSFER_WAIT;
    case SSL_ERROR_ZERO_RETURN:
        return AMQP10_TRANSFER_ENDED;
    case SSL_ERROR_SYSCALL:
        client->socket_errno = errno;
        return AMQP10_TRANSFER_ENDED;
    default:
        code = ERR_get_error();
        ERR_error_string_n(code, text, sizeof text);
        if (client->tls_failure[0] == '\0')
            snprintf(client->tls_failure, sizeof client->tls_failure, "TLS failed: %s", text);
        return AMQP10_TRANSFER_ENDED;
    }
}

static enum mb_status handshake(struct amqp10_client *client, int64_t deadline_ms,
                                struct mb_error *err)
{
    for (;;) {
        int result;
        int reason;

        ERR_clear_error();
        errno = 0;
        result = SSL_connect(client->tls);
        if (result == 1)
            return MB_OK;
        reason = SSL_get_error(client->tls, result);
        if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) {
            result_of(client, result);
            return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "tls", "%s: %s",
                                client->name,
                                client->tls_failure[0] != '\0'
                                    ? client->tls_failure
                                    : "TLS failed: the server does not speak TLS there, or ended "
                                      "the handshake");
        }
        if (!amqp10_socket_await(client, reason == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT,
                                 deadline_ms))
            return mb_error_set(
                err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                "%s: the server did not finish the TLS handshake in time (is it a TLS "
                "port?)",
                client->name);
    }
}

enum mb_status amqp10_tls_start(struct amqp10_client *client, const struct mb_tls_options *options,
                                const char *server_name, int64_t deadline_ms, struct mb_error *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    unsigned char address[sizeof(struct in6_addr)];
    enum mb_status status;

    snprintf(client->server_name, sizeof client->server_name, "%s", server_name);
    if (context == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    client->tls_domain = context;
    status = configure(client, options, context, err);
    if (status != MB_OK)
        return status;
    client->tls = SSL_new(context);
    if (client->tls == NULL || SSL_set_fd(client->tls, client->fd) != 1)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    if (inet_pton(AF_INET, client->server_name, address) != 1 &&
        inet_pton(AF_INET6, client->server_name, address) != 1)
        SSL_set_tlsext_host_name((SSL *)client->tls, client->server_name);
    return handshake(client, deadline_ms, err);
}

enum amqp10_transfer amqp10_tls_read(struct amqp10_client *client, void *data, size_t size,
                                     size_t *ret_size)
{
    int result;

    ERR_clear_error();
    errno = 0;
    result = SSL_read(client->tls, data, size > INT32_MAX ? INT32_MAX : (int)size);
    if (result <= 0)
        return result_of(client, result);
    *ret_size = (size_t)result;
    return AMQP10_TRANSFER_DONE;
}

enum amqp10_transfer amqp10_tls_write(struct amqp10_client *client, const void *data, size_t size,
                                      size_t *ret_size)
{
    int result;

    ERR_clear_error();
    errno = 0;
    result = SSL_write(client->tls, data, size > INT32_MAX ? INT32_MAX : (int)size);
    if (result <= 0)
        return result_of(client, result);
    *ret_size = (size_t)result;
    return AMQP10_TRANSFER_DONE;
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
                                const char *server_name, int64_t deadline_ms, struct mb_error *err)
{
    (void)options;
    (void)server_name;
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
