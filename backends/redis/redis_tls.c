/* SPDX-License-Identifier: Apache-2.0 */
/* TLS by hiredis_ssl: chain and name are verified within the handshake, and the cause is told. */
#include "redis.h"

#include <hiredis/hiredis.h>

#ifdef REDIS_WITH_TLS
#include <arpa/inet.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#endif

#ifdef REDIS_WITH_TLS
/* Without it the library would ask on the terminal for the password of a key. */
static int no_password(char *buffer, int size, int writing, void *context)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)context;
    return 0;
}

static enum mb_status tls_option_failed(const struct redis_client *client, const char *option,
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

static enum mb_status tls_configure(const struct redis_client *client,
                                    const struct mb_tls_options *tls, SSL_CTX *context,
                                    struct mb_error *err)
{
    const char *key = tls->key != NULL ? tls->key : tls->cert;

    SSL_CTX_set_default_passwd_cb(context, no_password);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(context, tls->unsafe_no_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    ERR_clear_error();
    if (tls->ca != NULL) {
        if (SSL_CTX_load_verify_locations(context, tls->ca, NULL) != 1)
            return tls_option_failed(client, "ca", tls->ca, err);
    } else if (SSL_CTX_set_default_verify_paths(context) != 1) {
        return tls_option_failed(client, "ca", "(the system's)", err);
    }
    if (tls->cert != NULL) {
        if (SSL_CTX_use_certificate_chain_file(context, tls->cert) != 1)
            return tls_option_failed(client, "cert", tls->cert, err);
        if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
            return tls_option_failed(client, "key", key, err);
    }
    return MB_OK;
}

/* hiredis checks no name: OpenSSL does it within the handshake, for IP addresses too. */
static enum mb_status tls_name(const struct redis_client *client, const struct mb_tls_options *tls,
                               SSL *ssl, struct mb_error *err)
{
    const char *name = tls->server_name != NULL ? tls->server_name : client->node.host;
    unsigned char address[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1) {
        if (!tls->unsafe_no_verify && X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) != 1)
            return tls_option_failed(client, "server_name", name, err);
        return MB_OK;
    }
    SSL_set_tlsext_host_name(ssl, name);
    if (!tls->unsafe_no_verify && SSL_set1_host(ssl, name) != 1)
        return tls_option_failed(client, "server_name", name, err);
    return MB_OK;
}

static enum mb_status tls_handshake_failed(const struct redis_client *client, const SSL *ssl,
                                           const struct mb_tls_options *tls, struct mb_error *err)
{
    long result = SSL_get_verify_result(ssl);
    const char *name = tls->server_name != NULL ? tls->server_name : client->node.host;

    if (result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "tls",
                            "%s: TLS failed: the server's certificate does not carry the name "
                            "\"%.100s\" (if it is the right server, tls.server_name can give the "
                            "one that it carries)",
                            client->name, name);
    if (result != X509_V_OK)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "tls",
                            "%s: TLS failed: the server's certificate is not trusted: %s",
                            client->name, X509_verify_cert_error_string(result));
    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "tls",
                        "%s: TLS failed: %s (does the server speak TLS there?)", client->name,
                        client->context->errstr);
}

enum mb_status redis_tls_start(struct redis_client *client, const struct mb_tls_options *tls,
                               struct mb_error *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = NULL;
    enum mb_status status = MB_OK;

    if (context == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    status = tls_configure(client, tls, context, err);
    if (status == MB_OK) {
        ssl = SSL_new(context);
        status = ssl == NULL ? mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                                            "out of memory")
                             : tls_name(client, tls, ssl, err);
    }
    SSL_CTX_free(context); /* ssl keeps its own reference */
    if (status == MB_OK) {
        /* hiredis owns it from success on, and not before. */
        if (redisInitiateSSL(client->context, ssl) == REDIS_OK) {
            client->ssl = ssl;
            return MB_OK;
        }
        status = tls_handshake_failed(client, ssl, tls, err);
        client->broken = true;
    }
    SSL_free(ssl);
    return status;
}
#else
enum mb_status redis_tls_start(struct redis_client *client, const struct mb_tls_options *tls,
                               struct mb_error *err)
{
    (void)client;
    (void)tls;
    return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "tls",
                        "this build of the backend redis has no TLS: its hiredis came without "
                        "hiredis_ssl (Debian 12 has none, Debian 13 has)");
}
#endif
