/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the commands: exit statuses, diagnostics, and the run of a bridge under signals. */
#ifndef MBRIDGE_CLI_H
#define MBRIDGE_CLI_H

#include "core/config/model.h"
#include "core/runtime/bridge.h"
#include "core/runtime/registry.h"

#include <mbridge/status.h>

enum cli_exit { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* Each gets the arguments from its own name on, and returns the exit status. */
int cli_run(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_copy(int argc, char **argv);
int cli_backends(int argc, char **argv);
int cli_dlq(int argc, char **argv);

/* Prints a usage error, with where help is, and returns CLI_USAGE. */
MB_PRINTF(2, 3) int cli_usage(const char *command, const char *format, ...);

/* Prints every finding as FILE:LINE: text. path NULL: there is no file. */
void cli_print_diagnostics(const struct mb_diagnostics *diagnostics, const char *path,
                           FILE *stream);

/* Writes all and flushes. False (reported) if it cannot be written. */
bool cli_write(const char *data, size_t size);

#endif
