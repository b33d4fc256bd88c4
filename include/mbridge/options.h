/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option tables: one row an option gives parsing, bounds, defaults, refusal of unknown keys with a
 * hint, `mbridge backends`, and the configuration reference.
 *
 * The core fills a struct of the backend's own (size given beside the table) through the offsets of
 * the rows. It is filled anew before each open, so that a secret read from a file may change; it
 * and all it points to stay valid and unchanged until that instance's close has returned.
 *
 *   type            field at offset          written in the configuration
 *   STRING          const char *             "text"; NULL if unset and without default
 *   BOOL            bool                     true, false
 *   INTEGER         int64_t                  a number within min … max
 *   SIZE            int64_t (bytes)          a number, or "64KiB", "2GiB"
 *   DURATION        int64_t (milliseconds)   "250ms", "10s", "5m", "2h"
 *   ENUM            int64_t (index)          one of choices
 *   LIST            struct mb_strings        ("a", "b") or "a" for one
 *   PAIRS           struct mb_strings        ("name=value", …), or a group of name = value
 *   TEMPLATE        const char *             a name with ${…} parts; rendered by the core a message
 *   START           struct mb_position       "earliest", "latest", "stored" or an RFC 3339 time
 *
 * A dot in a row's name makes a group: "tls.ca" is `tls = { ca = …; }`.
 */
#ifndef MBRIDGE_OPTIONS_H
#define MBRIDGE_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

enum mb_option_type {
    MB_OPTION_STRING = 0,
    MB_OPTION_BOOL = 1,
    MB_OPTION_INTEGER = 2,
    MB_OPTION_SIZE = 3,
    MB_OPTION_DURATION = 4,
    MB_OPTION_ENUM = 5,
    MB_OPTION_LIST = 6,
    MB_OPTION_PAIRS = 7,
    MB_OPTION_TEMPLATE = 8,
    MB_OPTION_START = 9
};

enum mb_option_flags {
    MB_OPTION_REQUIRED = 1u << 0,
    MB_OPTION_IS_SECRET = 1u << 1, /* never printed; may be file:PATH, env:NAME, credential:NAME */
    /* Of all rows of a table with this flag at least one must be set: the ways to name a stream. */
    MB_OPTION_NAMES_STREAM = 1u << 2,
    /* An entry that begins with ^ is a regular expression, or one with * ? [ a glob: the core
     * matches it against the streams that the backend lists, and opens the source with the names.
     */
    MB_OPTION_MAY_BE_PATTERN = 1u << 3,
    MB_OPTION_UNSAFE = 1u << 4 /* `check` warns when it is set: messages or secrets are at risk */
};

struct mb_strings {
    const char *const *items;
    size_t count;
};

struct mb_option {
    const char *name;
    uint32_t type;            /* enum mb_option_type */
    uint32_t flags;           /* enum mb_option_flags */
    size_t offset;            /* of the field in the backend's struct */
    const char *default_text; /* as it would be written; NULL: unset */
    int64_t min;              /* INTEGER, SIZE, DURATION; both 0: 0 … INT64_MAX */
    int64_t max;
    const char *const *choices; /* ENUM: NULL-terminated */
    uint32_t slot;              /* TEMPLATE: its index in mb_outgoing.names, below MB_NAMES_MAX */
    const char *doc;            /* one or two sentences, without the default */
};

struct mb_option_table {
    const struct mb_option *rows;
    size_t count;
    size_t struct_size;
};

#endif
