/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TLS options, alike on every backend: `tls = true;` or `tls = { ca = …; };`, a group turns it
 * on. Chain and name are verified unless unsafe_no_verify.
 */
#ifndef MBRIDGE_KIT_TLS_H
#define MBRIDGE_KIT_TLS_H

#include <mbridge/options.h>
#include <stdbool.h>

struct mb_tls_options {
    bool enabled;
    bool unsafe_no_verify;
    const char *ca;          /* PEM file; NULL: the system's */
    const char *cert;        /* PEM file, for mutual TLS */
    const char *key;         /* PEM file */
    const char *server_name; /* the name to verify and send; NULL: the host */
};

/* Rows for an endpoint table whose struct type has a member of struct mb_tls_options. */
#define MB_TLS_OPTION_ROWS(owner, member)                                                          \
    {.name = "tls",                                                                                \
     .type = MB_OPTION_BOOL,                                                                       \
     .offset = offsetof(owner, member) + offsetof(struct mb_tls_options, enabled),                 \
     .default_text = "false",                                                                      \
     .doc = "Use TLS. A group of tls options turns it on."},                                       \
        {.name = "tls.ca",                                                                         \
         .type = MB_OPTION_STRING,                                                                 \
         .offset = offsetof(owner, member) + offsetof(struct mb_tls_options, ca),                  \
         .doc = "File of trusted certificates (PEM). Unset: the system's."},                       \
        {.name = "tls.cert",                                                                       \
         .type = MB_OPTION_STRING,                                                                 \
         .offset = offsetof(owner, member) + offsetof(struct mb_tls_options, cert),                \
         .doc = "File of the client's certificate chain (PEM), for mutual TLS."},                  \
        {.name = "tls.key",                                                                        \
         .type = MB_OPTION_STRING,                                                                 \
         .offset = offsetof(owner, member) + offsetof(struct mb_tls_options, key),                 \
         .doc = "File of the client's private key (PEM), for mutual TLS."},                        \
        {.name = "tls.server_name",                                                                \
         .type = MB_OPTION_STRING,                                                                 \
         .offset = offsetof(owner, member) + offsetof(struct mb_tls_options, server_name),         \
         .doc = "The name that the server's certificate must have. Unset: the host."},             \
    {                                                                                              \
        .name = "tls.unsafe_no_verify", .type = MB_OPTION_BOOL, .flags = MB_OPTION_UNSAFE,         \
        .offset = offsetof(owner, member) + offsetof(struct mb_tls_options, unsafe_no_verify),     \
        .default_text = "false",                                                                   \
        .doc =                                                                                     \
            "Accept any certificate and name: anybody on the path can read and change messages."   \
    }

#endif
