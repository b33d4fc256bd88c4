/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the process may be dumped. Its memory holds passwords and messages. */
#ifndef MBRIDGE_CLI_DUMP_H
#define MBRIDGE_CLI_DUMP_H

#include <stdbool.h>

/* false: no core is written, and no other process of the same user may read the memory, the
 * environment or the descriptors, or trace it. true: as the process was started. */
void cli_dump_allow(bool allowed);

#endif
