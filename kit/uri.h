/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one URI parser (RFC 3986 generic syntax), for configuration and backends. Parts are
 * percent-decoded; authority is kept as written besides, since Kafka puts a list there.
 */
#ifndef MBRIDGE_KIT_URI_H
#define MBRIDGE_KIT_URI_H

#include <mbridge/status.h>
#include <stdbool.h>
#include <stddef.h>

#define MB_URI_QUERY_MAX 64

struct mb_uri {
    char *scheme;    /* lower case */
    char *username;  /* NULL: not given */
    char *password;  /* NULL: not given */
    char *authority; /* without user information: "host:port", "a:1,b:2" */
    char *host;      /* of the first (or only) entry; IPv6 without brackets */
    int port;        /* 0: not given */
    /* Without its first slash, decoded. NULL: no slash at all; "" for "scheme://host/". Only a
     * slash that was not percent-encoded separates; the decoded text of all segments is kept. */
    char *path;
    char *base; /* the URI without its query, as written */
    struct {
        char *name;
        char *value;
    } query[MB_URI_QUERY_MAX];
    size_t query_count;
    char *storage; /* what the strings above point into */
};

/* MB_INVALID with err->text if it is no URI of that form (never repeats a password). */
enum mb_status mb_uri_parse(const char *text, struct mb_uri *ret_uri, struct mb_error *err);

/* Overwrites and frees. A zeroed struct is allowed. */
void mb_uri_release(struct mb_uri *uri);

/* text with the password of its user information replaced by "***", into buffer. Accepts anything.
 */
void mb_uri_redact(const char *text, char *buffer, size_t size);

#endif
