/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps: what a route does to a message between source and sinks. One row a step, with an option
 * table like a backend's; apply runs on the lane's thread, must not block, and may change the
 * message's fields (new bytes come from the arena).
 */
#ifndef MBRIDGE_CORE_STEPS_H
#define MBRIDGE_CORE_STEPS_H

#include <mbridge/message.h>
#include <mbridge/options.h>
#include <mbridge/source.h>

enum mb_verdict { MB_KEEP = 0, MB_DROP = 1, MB_REJECT = 2 };

struct mb_step {
    const char *name;
    const char *doc;
    struct mb_option_table options;
    /* options: the filled struct. names: its TEMPLATE options by slot, rendered for this message
     * (MB_NAMES_MAX of them; null: unset). REJECT: *ret_reason is a short static word. Out of
     * memory: REJECT with the reason "out-of-memory" would lose nothing but is wrong; return
     * MB_NO_MEMORY. */
    enum mb_status (*apply)(const void *options, const struct mb_slice *names,
                            struct mb_message *message, struct mb_arena *arena,
                            enum mb_verdict *ret_verdict, const char **ret_reason);
};

/* NULL if there is none of that name. */
const struct mb_step *mb_step_find(const char *name);

/* All steps, for help and generated documentation. */
const struct mb_step *mb_step_at(size_t index); /* NULL behind the last */

#endif
