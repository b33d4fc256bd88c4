/* SPDX-License-Identifier: Apache-2.0 */
/* A bridge that runs under signals until it has finished. Used by one thread, the main one. */
#ifndef MBRIDGE_CLI_SERVICE_H
#define MBRIDGE_CLI_SERVICE_H

#include "cli/cli.h"

struct cli_service {
    const char *path; /* read again on SIGHUP; NULL: SIGHUP stops */
    struct mb_bridge_options options;
    struct mb_registry *registry;
    struct mb_logger logger;
    struct mb_bridge *bridge;
    struct mb_bridge_status status;
    /* Called about every tick_ms; NULL allowed. */
    void (*tick)(void *context, struct mb_bridge *bridge);
    void *context;
    int tick_ms;
    int signal_fd;
    int64_t stop_signal_ms; /* when the last signal to stop came; 0: none did */
};

/* Blocks the signals that serve reads. First of all, so that none of them can end the program and
 * no thread takes one. */
enum mb_status cli_service_init(struct cli_service *service);
void cli_service_release(struct cli_service *service);

/* Takes config over, runs it to its end; the exit status. */
int cli_service_run(struct cli_service *service, struct mb_config *config);

/* Prints all counters as one line of JSON on standard output. */
bool cli_service_counters(struct cli_service *service);

#endif
