/* SPDX-License-Identifier: Apache-2.0 */
/* `dlq replay`: the route's own bridge, with its dead letters as the source. */
#include "cli/dlq.h"
#include "core/base/clock.h"
#include "core/config/dead_source.h"

#include <stdlib.h>
#include <unistd.h>

#define LOG_EVERY_MS  5000
#define SHOW_EVERY_MS 500

struct progress {
    struct mb_logger *logger;
    bool on_terminal;
    bool is_shown; /* a line stands on the terminal */
};

static void on_tick(void *context, struct mb_bridge *bridge)
{
    struct progress *progress = context;
    struct mb_bridge_progress now;
    char replayed[24];
    char rejected[24];

    mb_bridge_progress(bridge, &now);
    snprintf(replayed, sizeof replayed, "%llu", (unsigned long long)now.delivered);
    snprintf(rejected, sizeof rejected, "%llu", (unsigned long long)now.dead_lettered);
    if (!progress->on_terminal) {
        mb_log(progress->logger, MB_LOG_INFO, "replaying", "replayed", replayed, "rejected_again",
               rejected, NULL);
        return;
    }
    fprintf(stderr, "\r\033[K%s replayed  %s rejected again  %llu read", replayed, rejected,
            (unsigned long long)now.received);
    if (!now.connected && now.received == 0)
        fprintf(stderr, "  connecting");
    else if (now.remaining_known)
        fprintf(stderr, "  %llu to read", (unsigned long long)now.remaining);
    fflush(stderr);
    progress->is_shown = true;
}

int cli_dlq_summary(const struct cli_dlq *dlq, const struct mb_bridge_progress *now, int code)
{
    char line[256];
    int size;

    if (dlq->json)
        size = snprintf(line, sizeof line,
                        "{\"replayed\":%llu,\"rejected_again\":%llu,\"passed_over\":%llu,"
                        "\"expired\":%llu}\n",
                        (unsigned long long)now->delivered, (unsigned long long)now->dead_lettered,
                        (unsigned long long)(now->received - now->delivered - now->dead_lettered -
                                             now->expired),
                        (unsigned long long)now->expired);
    else
        size = snprintf(line, sizeof line, "%llu replayed, %llu rejected again\n",
                        (unsigned long long)now->delivered, (unsigned long long)now->dead_lettered);
    if (size <= 0 || !cli_write(line, (size_t)size))
        return CLI_FAILED;
    /* They are where they were; what was asked for is not done. */
    return now->dead_lettered > 0 && code == CLI_DONE ? CLI_FAILED : code;
}

int cli_dlq_replay(const struct cli_dlq *dlq, struct cli_service *service, struct mb_config *config,
                   size_t route)
{
    struct mb_replay replay = {
        .filter = dlq->filter, .began_ms = mb_clock_wall_ms(), .limit = dlq->limit};
    struct progress progress = {.logger = &service->logger,
                                .on_terminal = isatty(STDERR_FILENO) == 1};
    char *group = cli_dlq_group(dlq, config, route);
    unsigned line = config->routes[route].dead_letter->line;
    struct mb_bridge_progress now;
    struct mb_error err;
    int code;

    mb_error_clear(&err);
    if (group == NULL || mb_config_replay(config, route, &replay, group, &err) != MB_OK) {
        fprintf(stderr, "%s:%u: %s\n", dlq->path, line, group != NULL ? err.text : "out of memory");
        mb_config_destroy(config);
        code = group != NULL && err.status == MB_INVALID ? CLI_USAGE : CLI_FAILED;
        free(group);
        return code;
    }
    free(group);
    service->options.drain = true;
    service->tick = on_tick;
    service->tick_ms = progress.on_terminal ? SHOW_EVERY_MS : LOG_EVERY_MS;
    service->context = &progress;
    code = cli_service_run(service, config);
    if (progress.is_shown)
        fprintf(stderr, "\r\033[K");
    if (service->bridge == NULL)
        return code;
    mb_bridge_progress(service->bridge, &now);
    code = cli_dlq_summary(dlq, &now, code);
    /* It refers to what ends with this function. */
    mb_bridge_destroy(service->bridge);
    service->bridge = NULL;
    return code;
}
