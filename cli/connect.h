/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MBRIDGE_CLI_CONNECT_H
#define MBRIDGE_CLI_CONNECT_H

#include "core/config/model.h"

/* Asks the broker of every stream of every route: reachable, there, permitted, size limits that
 * fit. Prints what is found, as text or as lines of JSON, on standard output. Blocks: seconds for a
 * broker that does not answer. True if nothing stands in the way of a run. */
bool cli_connect_check(const struct mb_config *config, bool as_json);

#endif
