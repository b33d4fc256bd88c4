/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/dump.h"

#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static struct rlimit inherited;
static bool is_known;

/* Without the prctl a core pattern that is a pipe (systemd-coredump) would get one whatever the
 * limit, and every process of the same user could read the memory and the environment. */
void cli_dump_allow(bool allowed)
{
    struct rlimit limit;

    if (!is_known)
        is_known = getrlimit(RLIMIT_CORE, &inherited) == 0;
    if (!is_known)
        inherited = (struct rlimit){0, 0};
    limit = inherited;
    if (!allowed)
        limit.rlim_cur = 0;
    (void)setrlimit(RLIMIT_CORE, &limit);
    (void)prctl(PR_SET_DUMPABLE, allowed ? 1 : 0);
}
