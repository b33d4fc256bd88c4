/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/tls_context.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static bool is_address(const char *name)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
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

static enum mb_status option_failed(const char *who, const char *option, const char *value,
                                    struct mb_error *err)
{
    unsigned long code = ERR_get_error();
    const char *why = ERR_reason_error_string(code);

    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "tls",
                        "%s: tls.%s \"%s\" cannot be used: %s", who, option, value,
                        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
                        : why != NULL          ? why
                                               : "unknown error");
}

enum mb_status mb_tls_server_name(const struct mb_tls_options *options, const char *host,
                                  char name[MB_TLS_NAME_SIZE], struct mb_error *err)
{
    const char *given = options->server_name != NULL ? options->server_name : host;
    size_t length = strlen(given);

    if (length >= MB_TLS_NAME_SIZE)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "tls", "tls.server_name is too long");
    memcpy(name, given, length + 1);
    return MB_OK;
}

enum mb_status mb_tls_context_configure(SSL_CTX *context, const struct mb_tls_options *options,
                                        const char *server_name, const char *who,
                                        struct mb_error *err)
{
    X509_VERIFY_PARAM *verify = SSL_CTX_get0_param(context);
    const char *key = options->key != NULL ? options->key : options->cert;

    SSL_CTX_set_default_passwd_cb(context, no_password);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(context, options->unsafe_no_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                       NULL);
    ERR_clear_error();
    if (!options->unsafe_no_verify &&
        (is_address(server_name) ? X509_VERIFY_PARAM_set1_ip_asc(verify, server_name)
                                 : X509_VERIFY_PARAM_set1_host(verify, server_name, 0)) != 1)
        return option_failed(who, "server_name", server_name, err);
    if (options->ca != NULL) {
        if (SSL_CTX_load_verify_locations(context, options->ca, NULL) != 1)
            return option_failed(who, "ca", options->ca, err);
    } else if (SSL_CTX_set_default_verify_paths(context) != 1) {
        return option_failed(who, "ca", "(the system's)", err);
    }
    if (options->cert != NULL) {
        if (SSL_CTX_use_certificate_chain_file(context, options->cert) != 1)
            return option_failed(who, "cert", options->cert, err);
        if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
            return option_failed(who, "key", key, err);
    }
    return MB_OK;
}

void mb_tls_name_send(SSL *ssl, const char *server_name)
{
    if (!is_address(server_name))
        SSL_set_tlsext_host_name(ssl, server_name);
}

bool mb_tls_refusal_describe(const SSL *ssl, const char *server_name,
                             char failure[MB_TLS_FAILURE_SIZE])
{
    long result = SSL_get_verify_result(ssl);

    if (result == X509_V_OK || SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE)
        return false;
    if (result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH)
        snprintf(failure, MB_TLS_FAILURE_SIZE,
                 "TLS failed: the server's certificate does not carry the name \"%.100s\" (if it "
                 "is the right server, tls.server_name can give the one that it carries)",
                 server_name);
    else
        snprintf(failure, MB_TLS_FAILURE_SIZE,
                 "TLS failed: the server's certificate is not trusted: %s",
                 X509_verify_cert_error_string(result));
    return true;
}

void mb_tls_alert_describe(const SSL *ssl, int where, int value, const char *server_name,
                           char failure[MB_TLS_FAILURE_SIZE])
{
    bool sent = (where & SSL_CB_WRITE) != 0;

    if ((where & SSL_CB_ALERT) == 0 || (value & 0xff) == SSL_AD_CLOSE_NOTIFY || failure[0] != '\0')
        return;
    if (!sent || !mb_tls_refusal_describe(ssl, server_name, failure))
        snprintf(failure, MB_TLS_FAILURE_SIZE, "TLS failed: %s alert: %s",
                 sent ? "we sent" : "the server sent", SSL_alert_desc_string_long(value));
}

/* So that what stands there afterwards is of this call. */
static void forget_errors(void)
{
    ERR_clear_error();
    errno = 0;
}

static enum mb_tls_transfer result_of(const SSL *ssl, int result, char *failure)
{
    char text[160];

    if (result > 0)
        return MB_TLS_DONE;
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return MB_TLS_WANTS_READ;
    case SSL_ERROR_WANT_WRITE:
        return MB_TLS_WANTS_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        errno = 0;
        return MB_TLS_ENDED;
    case SSL_ERROR_SYSCALL:
        return MB_TLS_ENDED;
    default:
        ERR_error_string_n(ERR_get_error(), text, sizeof text);
        if (failure[0] == '\0')
            snprintf(failure, MB_TLS_FAILURE_SIZE, "TLS failed: %s", text);
        return MB_TLS_FAILED;
    }
}

enum mb_tls_transfer mb_tls_handshake(SSL *ssl, char failure[MB_TLS_FAILURE_SIZE])
{
    forget_errors();
    return result_of(ssl, SSL_connect(ssl), failure);
}

enum mb_tls_transfer mb_tls_read(SSL *ssl, void *data, size_t size, size_t *ret_size,
                                 char failure[MB_TLS_FAILURE_SIZE])
{
    int result;

    forget_errors();
    result = SSL_read(ssl, data, size > INT_MAX ? INT_MAX : (int)size);
    if (result > 0)
        *ret_size = (size_t)result;
    return result_of(ssl, result, failure);
}

enum mb_tls_transfer mb_tls_write(SSL *ssl, const void *data, size_t size, size_t *ret_size,
                                  char failure[MB_TLS_FAILURE_SIZE])
{
    int result;

    forget_errors();
    result = SSL_write(ssl, data, size > INT_MAX ? INT_MAX : (int)size);
    if (result > 0)
        *ret_size = (size_t)result;
    return result_of(ssl, result, failure);
}
