/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Browsing: what a source holds from its beginning to its end as of now, without taking anything
 * away. A log is read in a group of its own, and nothing is committed there. A queue hands its
 * messages out, and gets all of them back when the connection is closed: until then nobody else has
 * them, and afterwards the broker may show that they were handed out once more.
 */
#ifndef MBRIDGE_CORE_BROWSE_H
#define MBRIDGE_CORE_BROWSE_H

#include "core/base/log.h"
#include "core/config/model.h"

struct mb_browse {
    const struct mb_config_stream *source;
    const char *bridge_name;
    const char *route_name;
    const char *group; /* of logs: read in its name */
    /* Only what this group of a log has not done, NULL: everything. */
    const char *undone_by;
    struct mb_logger *logger;
    /* For each message, in the order of the source; it and the arena are the callee's until it
     * returns. false: enough. */
    bool (*each)(void *context, struct mb_message *message, struct mb_arena *arena);
    void *context;
};

struct mb_browsed {
    uint64_t count;
    bool consumes;     /* it is a queue */
    bool is_truncated; /* more lies behind what may be held at once */
};

/* Whether the streams of the source are there, without reading them: MB_OK, also where nobody can
 * tell, or MB_NOT_FOUND. Blocks. */
enum mb_status mb_browse_ask(const struct mb_browse *browse, struct mb_error *err);

/* Blocks until it is through. MB_NOT_FOUND: the streams are not there. */
enum mb_status mb_browse(const struct mb_browse *browse, struct mb_browsed *ret_browsed,
                         struct mb_error *err);

#endif
