/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/uri.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define URI_SIZE_MAX 65536u

/* What is being parsed: a run of bytes of the text as written. */
struct run {
    const char *at;
    const char *end;
};

/* The block behind mb_uri.storage: its size stands in front, so that release can overwrite it. */
struct block {
    char *next;
};

struct parts {
    struct run scheme;
    struct run user_information;
    struct run authority;
    struct run path;
    struct run query;
    struct run base;
    bool has_user_information;
    bool has_path;
};

static enum mb_status invalid(struct mb_error *err, const char *text)
{
    return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri", "%s", text);
}

static bool run_is_empty(struct run run)
{
    return run.at == run.end;
}

static const char *run_find(struct run run, char wanted)
{
    return run_is_empty(run) ? NULL : memchr(run.at, wanted, (size_t)(run.end - run.at));
}

static char *run_copy(struct block *block, struct run run)
{
    size_t size = (size_t)(run.end - run.at);
    char *copy = block->next;

    memcpy(copy, run.at, size);
    copy[size] = '\0';
    block->next += size + 1;
    return copy;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decoded copy; where: what the run is called in the error's text, which never shows the run. */
static enum mb_status run_decode(struct block *block, struct run run, const char *where,
                                 char **ret_text, struct mb_error *err)
{
    char *to = block->next;

    *ret_text = to;
    for (const char *at = run.at; at < run.end; at++) {
        int high;
        int low;

        if (*at != '%') {
            *to++ = *at;
            continue;
        }
        high = run.end - at > 2 ? hex_digit(at[1]) : -1;
        low = high >= 0 ? hex_digit(at[2]) : -1;
        if (low < 0)
            return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri",
                                "the %s has a %% that two hexadecimal digits do not follow "
                                "(a %% itself is written %%25)",
                                where);
        if (high == 0 && low == 0)
            return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri",
                                "the %s has a NUL character (%%00)", where);
        *to++ = (char)(high << 4 | low);
        at += 2;
    }
    *to = '\0';
    block->next = to + 1;
    return MB_OK;
}

static bool is_scheme(struct run run)
{
    if (run_is_empty(run))
        return false;
    for (const char *at = run.at; at < run.end; at++) {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
        bool other = (*at >= '0' && *at <= '9') || *at == '+' || *at == '-' || *at == '.';

        if (!letter && !(other && at > run.at))
            return false;
    }
    return true;
}

static const char *find_first_of(const char *text, const char *any)
{
    return text + strcspn(text, any);
}

static enum mb_status split(const char *text, struct parts *ret_parts, struct mb_error *err)
{
    const char *colon = strstr(text, "://");
    const char *query;
    const char *end = text + strlen(text);
    struct parts parts = {0};
    struct run all;
    const char *at_sign;

    if (colon == NULL)
        return invalid(err, "no scheme: a URI begins like scheme://host");
    parts.scheme = (struct run){text, colon};
    if (!is_scheme(parts.scheme))
        return invalid(err, "the scheme in front of :// is no name of letters, digits, + - .");
    if (strchr(text, '#') != NULL)
        return invalid(err, "a # has no meaning here; as part of a value it is written %23");
    query = find_first_of(text, "?");
    parts.base = (struct run){text, query};
    parts.query = (struct run){*query == '?' ? query + 1 : query, end};

    all = (struct run){colon + 3, find_first_of(colon + 3, "/?")};
    parts.authority = all;
    at_sign = run_find(all, '@');
    if (at_sign != NULL) {
        parts.has_user_information = true;
        parts.user_information = (struct run){all.at, at_sign};
        parts.authority = (struct run){at_sign + 1, all.end};
        if (run_find(parts.authority, '@') != NULL)
            return invalid(err, "more than one @: in a user name or password it is written %40");
    }
    if (*all.end == '/') {
        parts.has_path = true;
        parts.path = (struct run){all.end + 1, query};
    }
    *ret_parts = parts;
    return MB_OK;
}

/* The port's text is not repeated: where a password holds a / or ? unescaped, it is the password.
 */
static enum mb_status parse_port(struct run run, int *ret_port, struct mb_error *err)
{
    int port = 0;

    for (const char *at = run.at; at < run.end; at++) {
        if (*at < '0' || *at > '9' || port > 65535)
            return invalid(err, "the port is no number from 1 to 65535 (in a user name or "
                                "password : / ? are written %3A %2F %3F)");
        port = port * 10 + (*at - '0');
    }
    if (port < 1 || port > 65535)
        return invalid(err, "the port is no number from 1 to 65535");
    *ret_port = port;
    return MB_OK;
}

static enum mb_status parse_bracketed(struct run entry, struct run *ret_host, struct run *ret_rest,
                                      struct mb_error *err)
{
    const char *close = run_find(entry, ']');

    if (close == NULL)
        return invalid(err, "the host has a [ without ]");
    *ret_host = (struct run){entry.at + 1, close};
    *ret_rest = (struct run){close + 1, entry.end};
    if (run_find(*ret_host, ':') == NULL)
        return invalid(err, "what stands in [ ] is no IPv6 address");
    for (const char *at = ret_host->at; at < ret_host->end; at++) {
        if (*at == '%')
            break; /* a zone: any name follows */
        if (hex_digit(*at) < 0 && *at != ':' && *at != '.')
            return invalid(err, "what stands in [ ] is no IPv6 address");
    }
    if (!run_is_empty(*ret_rest) && *ret_rest->at != ':')
        return invalid(err, "behind the ] of a host only :port may follow");
    return MB_OK;
}

/* host, host:port, [v6], [v6]:port */
static enum mb_status parse_entry(struct run entry, struct run *ret_host, int *ret_port,
                                  struct mb_error *err)
{
    struct run rest = {0};
    enum mb_status status;

    *ret_port = 0;
    if (!run_is_empty(entry) && *entry.at == '[') {
        status = parse_bracketed(entry, ret_host, &rest, err);
        if (status != MB_OK)
            return status;
    } else {
        const char *colon = run_find(entry, ':');

        *ret_host = (struct run){entry.at, colon != NULL ? colon : entry.end};
        rest = (struct run){ret_host->end, entry.end};
        if (colon != NULL && run_find((struct run){colon + 1, entry.end}, ':') != NULL)
            return invalid(err, "the host has more than one : (an IPv6 address stands in [ ])");
    }
    if (run_is_empty(*ret_host))
        return invalid(err, "a host's name is missing");
    if (run_is_empty(rest))
        return MB_OK;
    return parse_port((struct run){rest.at + 1, rest.end}, ret_port, err);
}

static enum mb_status parse_authority(struct block *block, struct run authority, struct mb_uri *uri,
                                      struct mb_error *err)
{
    struct run left = authority;
    bool first = true;
    bool more = !run_is_empty(authority);

    uri->authority = run_copy(block, authority);
    if (!more)
        return run_decode(block, authority, "host", &uri->host, err);
    while (more) {
        const char *comma = run_find(left, ',');
        struct run entry = {left.at, comma != NULL ? comma : left.end};
        struct run host = {0};
        int port = 0;
        enum mb_status status = parse_entry(entry, &host, &port, err);

        if (status == MB_OK && first) {
            uri->port = port;
            status = run_decode(block, host, "host", &uri->host, err);
        }
        if (status != MB_OK)
            return status;
        first = false;
        more = comma != NULL;
        left.at = more ? comma + 1 : left.end;
    }
    return MB_OK;
}

static enum mb_status parse_user_information(struct block *block, struct run run,
                                             struct mb_uri *uri, struct mb_error *err)
{
    const char *colon = run_find(run, ':');
    struct run name = {run.at, colon != NULL ? colon : run.end};
    enum mb_status status = run_decode(block, name, "user name", &uri->username, err);

    if (status != MB_OK || colon == NULL)
        return status;
    return run_decode(block, (struct run){colon + 1, run.end}, "password", &uri->password, err);
}

static enum mb_status parse_query(struct block *block, struct run query, struct mb_uri *uri,
                                  struct mb_error *err)
{
    struct run left = query;

    while (!run_is_empty(left)) {
        const char *ampersand = run_find(left, '&');
        struct run item = {left.at, ampersand != NULL ? ampersand : left.end};
        const char *equals = run_find(item, '=');
        struct run name = {item.at, equals != NULL ? equals : item.end};
        struct run value = {equals != NULL ? equals + 1 : item.end, item.end};
        enum mb_status status;

        left.at = ampersand != NULL ? ampersand + 1 : left.end;
        if (run_is_empty(item))
            continue;
        if (run_is_empty(name))
            return invalid(err, "a query parameter has no name");
        if (uri->query_count == MB_URI_QUERY_MAX)
            return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri",
                                "more than %d query parameters", MB_URI_QUERY_MAX);
        status = run_decode(block, name, "name of a query parameter",
                            &uri->query[uri->query_count].name, err);
        if (status == MB_OK)
            status = run_decode(block, value, "value of a query parameter",
                                &uri->query[uri->query_count].value, err);
        if (status != MB_OK)
            return status;
        uri->query_count++;
    }
    return MB_OK;
}

static enum mb_status fill(struct block *block, const struct parts *parts, struct mb_uri *uri,
                           struct mb_error *err)
{
    enum mb_status status = MB_OK;

    uri->base = run_copy(block, parts->base);
    uri->scheme = run_copy(block, parts->scheme);
    for (char *at = uri->scheme; *at != '\0'; at++) {
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at - 'A' + 'a');
    }
    if (parts->has_user_information)
        status = parse_user_information(block, parts->user_information, uri, err);
    if (status == MB_OK)
        status = parse_authority(block, parts->authority, uri, err);
    if (status == MB_OK && parts->has_path)
        status = run_decode(block, parts->path, "path", &uri->path, err);
    if (status == MB_OK)
        status = parse_query(block, parts->query, uri, err);
    return status;
}

enum mb_status mb_uri_parse(const char *text, struct mb_uri *ret_uri, struct mb_error *err)
{
    struct mb_uri uri = {0};
    struct block block;
    struct parts parts = {0};
    size_t size = strlen(text);
    size_t storage_size;
    enum mb_status status;

    memset(ret_uri, 0, sizeof *ret_uri);
    if (size > URI_SIZE_MAX)
        return invalid(err, "longer than 65536 bytes");
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7F)
            return invalid(err, "a space or control character must be percent-encoded (%20)");
    }
    status = split(text, &parts, err);
    if (status != MB_OK)
        return status;

    /* Every byte is copied at most three times (base, authority, its decoded part); the rest is
     * for terminators. */
    storage_size = sizeof storage_size + 3 * size + 8 + 2 * MB_URI_QUERY_MAX;
    uri.storage = malloc(storage_size);
    if (uri.storage == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    memcpy(uri.storage, &storage_size, sizeof storage_size);
    block.next = uri.storage + sizeof storage_size;

    status = fill(&block, &parts, &uri, err);
    if (status != MB_OK) {
        mb_uri_release(&uri);
        return status;
    }
    *ret_uri = uri;
    return MB_OK;
}

void mb_uri_release(struct mb_uri *uri)
{
    if (uri->storage != NULL) {
        size_t storage_size;

        memcpy(&storage_size, uri->storage, sizeof storage_size);
        explicit_bzero(uri->storage, storage_size);
        free(uri->storage);
    }
    memset(uri, 0, sizeof *uri);
}

struct output {
    char *at;
    char *end; /* room for the terminator is kept */
};

static void put(struct output *output, const char *text, const char *end)
{
    while (text < end && output->at < output->end)
        *output->at++ = *text++;
}

static void put_stars(struct output *output)
{
    static const char stars[] = "***";

    put(output, stars, stars + 3);
}

/* Whether the run can be host:port,… so that what stands behind its : is no part of a password. */
static bool is_authority(struct run run)
{
    bool digits = false;

    for (const char *at = run.at; at < run.end; at++) {
        if (*at == ':')
            digits = true;
        else if (*at == ',' || *at == '[')
            digits = false;
        else if (digits && (*at < '0' || *at > '9') && run_find(run, ']') == NULL)
            return false;
    }
    return true;
}

/* Options that are secrets may be query parameters: their values are hidden by their names, and so
 * are those of names that are written with escapes. */
static void put_query(struct output *output, const char *query)
{
    const char *item = query;

    while (*item != '\0') {
        const char *end = find_first_of(item, "&");
        const char *equals = memchr(item, '=', (size_t)(end - item));
        bool secret = false;

        for (const char *at = item; at < end; at++) {
            if (strncasecmp(at, "password", 8) == 0 || strncasecmp(at, "secret", 6) == 0 ||
                strncasecmp(at, "key.pem", 7) == 0 ||
                (*at == '%' && (equals == NULL || at < equals)))
                secret = true;
        }
        if (secret && equals != NULL) {
            put(output, item, equals + 1);
            put_stars(output);
        } else {
            put(output, item, end);
        }
        if (*end == '&')
            put(output, end, end + 1);
        item = *end == '&' ? end + 1 : end;
    }
}

void mb_uri_redact(const char *text, char *buffer, size_t size)
{
    const char *scheme_end = strstr(text, "://");
    const char *start = scheme_end != NULL ? scheme_end + 3 : text;
    struct run authority = {start, find_first_of(start, "/?#")};
    const char *last_at = memrchr(authority.at, '@', (size_t)(authority.end - authority.at));
    const char *colon = run_find(authority, ':');
    struct output output;
    const char *query;

    if (size == 0)
        return;
    output = (struct output){buffer, buffer + size - 1};
    /* A password with an unescaped / ? or # ends at a later @. */
    if (last_at == NULL && colon != NULL && !is_authority(authority))
        last_at = strrchr(authority.end, '@');
    put(&output, text, start);
    if (last_at != NULL && colon != NULL && colon < last_at) {
        put(&output, start, colon + 1);
        put_stars(&output);
        start = last_at;
    }
    query = find_first_of(start, "?");
    put(&output, start, query);
    if (*query == '?') {
        put(&output, query, query + 1);
        put_query(&output, query + 1);
    }
    *output.at = '\0';
}
