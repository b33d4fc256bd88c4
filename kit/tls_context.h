/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS by OpenSSL, alike on every backend that holds the connection itself: set-up, names, transfers
 * and the true cause of a failure. A library of its own, mbridge_kit_tls, made where there is
 * OpenSSL; this header needs none. A failure text starts with "TLS failed: ", and the first one
 * stays: what comes after is its consequence.
 */
#ifndef MBRIDGE_KIT_TLS_CONTEXT_H
#define MBRIDGE_KIT_TLS_CONTEXT_H

#include <kit/tls.h>
#include <mbridge/status.h>
#include <stddef.h>

/* OpenSSL's SSL_CTX and SSL. */
struct ssl_ctx_st;
struct ssl_st;

#define MB_TLS_NAME_SIZE    256u
#define MB_TLS_FAILURE_SIZE 320u

enum mb_tls_transfer {
    MB_TLS_DONE,
    MB_TLS_WANTS_READ, /* reading may have to write, and the other way round */
    MB_TLS_WANTS_WRITE,
    MB_TLS_ENDED, /* errno says why; 0: the peer ended it */
    MB_TLS_FAILED /* the failure says why */
};

/* The name to send and verify: the option's, or else the host. MB_INVALID if it is too long. */
enum mb_status mb_tls_server_name(const struct mb_tls_options *options, const char *host,
                                  char name[MB_TLS_NAME_SIZE], struct mb_error *err);

/* Versions, modes, trusted certificates, the own one, and that chain and server_name (DNS name or
 * IP address) are verified within the handshake. Asks for no password on a terminal. who starts the
 * text of err. */
enum mb_status mb_tls_context_configure(struct ssl_ctx_st *context,
                                        const struct mb_tls_options *options,
                                        const char *server_name, const char *who,
                                        struct mb_error *err);

/* Lets the handshake send server_name, unless it is an IP address. */
void mb_tls_name_send(struct ssl_st *ssl, const char *server_name);

/* Writes into failure why we refused the server's certificate; false: we did not. */
bool mb_tls_refusal_describe(const struct ssl_st *ssl, const char *server_name,
                             char failure[MB_TLS_FAILURE_SIZE]);

/* For the context's info callback, with its arguments: notes in failure, if that is empty, what an
 * alert means. The alert says who ended it, the verification why. */
void mb_tls_alert_describe(const struct ssl_st *ssl, int where, int value, const char *server_name,
                           char failure[MB_TLS_FAILURE_SIZE]);

/* One step, without waiting on a non-blocking socket. MB_TLS_FAILED leaves a text in failure. */
enum mb_tls_transfer mb_tls_handshake(struct ssl_st *ssl, char failure[MB_TLS_FAILURE_SIZE]);
enum mb_tls_transfer mb_tls_read(struct ssl_st *ssl, void *data, size_t size, size_t *ret_size,
                                 char failure[MB_TLS_FAILURE_SIZE]);
enum mb_tls_transfer mb_tls_write(struct ssl_st *ssl, const void *data, size_t size,
                                  size_t *ret_size, char failure[MB_TLS_FAILURE_SIZE]);

/* What to tell of a handshake that came to nothing. */
static inline const char *mb_tls_failure_text(const char *failure)
{
    return failure[0] != '\0'
               ? failure
               : "TLS failed: the server does not speak TLS there, or ended the handshake";
}

#endif
