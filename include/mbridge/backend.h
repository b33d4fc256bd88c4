/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend descriptor: all that a module exports.
 *
 * A module is a shared object with exactly one exported symbol, the function mbridge_backend. It is
 * loaded with RTLD_NOW | RTLD_LOCAL, never unloaded. The core refuses a descriptor whose
 * abi_version differs in its major half, and reads no more of a table than its struct_size says:
 * slots are only appended. No FILE *, no allocation to be freed by the other side, and no library
 * type crosses.
 */
#ifndef MBRIDGE_BACKEND_H
#define MBRIDGE_BACKEND_H

#include <mbridge/describe.h>
#include <mbridge/sink.h>
#include <mbridge/source.h>

#define MB_ABI_MAJOR   2u
#define MB_ABI_MINOR   0u
#define MB_ABI_VERSION (MB_ABI_MAJOR << 16 | MB_ABI_MINOR)

/*
 * How a URL of `mbridge copy` becomes options. Query parameters are options of the endpoint's
 * table, else of the source's or sink's. With uri_option the URL without its query goes into that
 * option; else authority and path go where they are named, user and password into `username`,
 * `password`.
 */
struct mb_url_rule {
    const char *scheme;
    const char *uri_option;       /* endpoint option, or NULL */
    const char *authority_option; /* endpoint option, or NULL */
    const char *path_option;      /* source and sink option that takes the path, or NULL */
    const char *fixed; /* an endpoint setting "name=value" that the scheme implies, or NULL */
};

/* A finding of validate: about an option of one of the tables, or (NULL) the whole. */
struct mb_finding {
    bool is_error; /* else a warning: it can lose, reorder or expose messages */
    const char *option;
    char text[MB_ERROR_TEXT_SIZE];
};

enum mb_role { MB_ROLE_SOURCE = 0, MB_ROLE_SINK = 1 };

struct mb_backend {
    uint32_t abi_version; /* MB_ABI_VERSION */
    uint32_t struct_size;
    const char *name;
    const char *doc;      /* one sentence */
    const char *provider; /* the package that brings it, for the message when it is missing */
    const char *(*library_version)(void); /* "librdkafka 2.0.2" */

    struct mb_option_table endpoint_options;
    struct mb_option_table source_options;
    struct mb_option_table sink_options;
    const struct mb_url_rule *url_rules;
    size_t url_rules_count;

    const struct mb_source_ops *source;     /* NULL: cannot be a source */
    const struct mb_sink_ops *sink;         /* NULL: cannot be a sink */
    const struct mb_describe_ops *describe; /* NULL: cannot tell */

    /* Checks what single rows cannot: combinations, and settings that would break a guarantee.
     * options NULL: the endpoint alone. Calls report for each finding. Pure; NULL allowed. */
    void (*validate)(const void *endpoint, enum mb_role role, const void *options, bool ordered,
                     void (*report)(void *context, const struct mb_finding *finding),
                     void *context);

    /* The stream that a fixed destination or a source names, for ensure and describe: its kind and
     * its name among the given options (into name). MB_NOT_FOUND: none is named (a pattern, or
     * several). index counts the streams from 0. fills in what creating it asks for (partitions,
     * replication, configuration: pointers into the options or static). */
    enum mb_status (*stream)(const void *endpoint, enum mb_role role, const void *options,
                             const struct mb_open_params *params, size_t index,
                             struct mb_stream_record *ret_record);
};

/* The one exported symbol. */
typedef const struct mb_backend *mb_backend_entry(void);
#define MB_BACKEND_SYMBOL "mbridge_backend"

#if defined(__GNUC__)
#define MB_EXPORT __attribute__((visibility("default")))
#else
#define MB_EXPORT
#endif

#endif
