/* SPDX-License-Identifier: Apache-2.0 */
/* TLS by hiredis_ssl: chain and name are verified within the handshake, and the cause is told. */
#include "redis.h"

#include <hiredis/hiredis.h>

#ifdef REDIS_WITH_TLS
#include <hiredis/hiredis_ssl.h>
#include <kit/tls_context.h>
#include <openssl/ssl.h>
#endif

#ifdef REDIS_WITH_TLS
/* hiredis checks no name: OpenSSL does it within the handshake, for IP addresses too. */
static enum mb_status tls_prepare(const struct redis_client *client,
                                  const struct mb_tls_options *tls, const char *server_name,
                                  SSL **ret_ssl, struct mb_error *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    enum mb_status status = MB_OK;

    if (context != NULL)
        status = mb_tls_context_configure(context, tls, server_name, client->name, err);
    if (context != NULL && status == MB_OK)
        *ret_ssl = SSL_new(context);
    SSL_CTX_free(context); /* ssl keeps its own reference */
    if (status == MB_OK && *ret_ssl == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    if (status == MB_OK)
        mb_tls_name_send(*ret_ssl, server_name);
    return status;
}

static enum mb_status tls_handshake_failed(const struct redis_client *client, const SSL *ssl,
                                           const char *server_name, struct mb_error *err)
{
    char failure[MB_TLS_FAILURE_SIZE];

    if (mb_tls_refusal_describe(ssl, server_name, failure))
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "tls", "%s: %s",
                            client->name, failure);
    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "tls",
                        "%s: TLS failed: %s (does the server speak TLS there?)", client->name,
                        client->context->errstr);
}

enum mb_status redis_tls_start(struct redis_client *client, const struct mb_tls_options *tls,
                               struct mb_error *err)
{
    char server_name[MB_TLS_NAME_SIZE];
    SSL *ssl = NULL;
    enum mb_status status = mb_tls_server_name(tls, client->node.host, server_name, err);

    if (status == MB_OK)
        status = tls_prepare(client, tls, server_name, &ssl, err);
    if (status != MB_OK)
        return status;
    /* hiredis owns it from success on, and not before. */
    if (redisInitiateSSL(client->context, ssl) == REDIS_OK) {
        client->ssl = ssl;
        return MB_OK;
    }
    status = tls_handshake_failed(client, ssl, server_name, err);
    client->broken = true;
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
