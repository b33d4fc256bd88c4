/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/service.h"
#include "core/base/clock.h"
#include "kit/uri.h"

#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_EVERY_MS  5000
#define SHOW_EVERY_MS 500

struct progress {
    struct mb_logger *logger;
    uint64_t limit; /* 0: none */
    int64_t began_ms;
    int64_t last_ms;
    uint64_t last_count;
    double rate; /* messages per second, of the last few seconds */
    bool on_terminal;
    bool is_shown; /* a line stands on the terminal */
};

static uint64_t done_of(const struct mb_bridge_progress *now)
{
    return now->delivered + now->dead_lettered + now->filtered + now->expired;
}

/* Messages still to come, if that can be told. */
static bool left_of(const struct progress *progress, const struct mb_bridge_progress *now,
                    uint64_t *ret_left)
{
    uint64_t done = done_of(now);
    bool known = now->remaining_known;
    uint64_t left = now->remaining + now->in_flight;

    if (progress->limit > 0 && progress->limit >= done &&
        (!known || progress->limit - done < left)) {
        left = progress->limit - done;
        known = true;
    }
    *ret_left = left;
    return known;
}

static void update_rate(struct progress *progress, uint64_t done)
{
    int64_t now_ms = mb_clock_monotonic_ms();
    double passed_s = (double)(now_ms - progress->last_ms) / 1000;
    double rate;

    if (passed_s <= 0)
        return;
    rate = (double)(done - progress->last_count) / passed_s;
    progress->rate = progress->last_count == 0 ? rate : progress->rate * 0.7 + rate * 0.3;
    progress->last_ms = now_ms;
    progress->last_count = done;
}

static void eta_text(double rate, uint64_t left, char *buffer, size_t size)
{
    uint64_t seconds = rate > 0 ? (uint64_t)((double)left / rate) : 0;

    if (rate <= 0)
        snprintf(buffer, size, "?");
    else if (seconds < 120)
        snprintf(buffer, size, "%llus", (unsigned long long)seconds);
    else if (seconds < 7200)
        snprintf(buffer, size, "%llum%02llus", (unsigned long long)(seconds / 60),
                 (unsigned long long)(seconds % 60));
    else
        snprintf(buffer, size, "%lluh%02llum", (unsigned long long)(seconds / 3600),
                 (unsigned long long)(seconds / 60 % 60));
}

static void on_tick(void *context, struct mb_bridge *bridge)
{
    struct progress *progress = context;
    struct mb_bridge_progress now;
    uint64_t left = 0;
    bool known;
    char count[24];
    char left_text[24];
    char rate[24];
    char eta[32];

    mb_bridge_progress(bridge, &now);
    update_rate(progress, done_of(&now));
    known = left_of(progress, &now, &left);
    snprintf(count, sizeof count, "%llu", (unsigned long long)done_of(&now));
    snprintf(left_text, sizeof left_text, "%llu", (unsigned long long)left);
    snprintf(rate, sizeof rate, "%.0f", progress->rate);
    eta_text(progress->rate, left, eta, sizeof eta);
    if (!progress->on_terminal) {
        mb_log(progress->logger, MB_LOG_INFO, "copying", "messages", count, "per_second", rate,
               "left", known ? left_text : NULL, "eta", known ? eta : NULL, NULL);
        return;
    }
    fprintf(stderr, "\r\033[K%s messages  %s/s", count, rate);
    if (!now.connected && done_of(&now) == 0)
        fprintf(stderr, "  connecting");
    else if (known)
        fprintf(stderr, "  %s left  ETA %s", left_text, eta);
    fflush(stderr);
    progress->is_shown = true;
}

static bool summarize(const struct progress *progress, struct mb_bridge *bridge)
{
    double seconds = (double)(mb_clock_monotonic_ms() - progress->began_ms) / 1000;
    struct mb_bridge_progress now;
    char line[256];
    int size;

    mb_bridge_progress(bridge, &now);
    size = snprintf(line, sizeof line, "%llu messages, %llu bytes, %.1f s, %.0f messages/s\n",
                    (unsigned long long)now.delivered, (unsigned long long)now.bytes_in, seconds,
                    seconds > 0 ? (double)now.delivered / seconds : 0.0);
    return size > 0 && cli_write(line, (size_t)size);
}

/* Process lists show the arguments: what is secret in a URL is overwritten there. */
static void hide_secrets(char *url)
{
    size_t size = strlen(url) + 1;
    char *shown = malloc(size);

    if (shown != NULL)
        mb_uri_redact(url, shown, size);
    memset(url, 0, size);
    if (shown != NULL)
        memcpy(url, shown, strlen(shown));
    free(shown);
}

static int copy(struct cli_service *service, struct progress *progress, const char *from,
                const char *to)
{
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    int code;

    if (mb_config_from_urls(from, to, service->registry, &config, &diagnostics) != MB_OK) {
        cli_print_diagnostics(&diagnostics, NULL, stderr);
        mb_diagnostics_release(&diagnostics);
        return CLI_USAGE;
    }
    cli_print_diagnostics(&diagnostics, NULL, stderr);
    mb_diagnostics_release(&diagnostics);
    progress->began_ms = mb_clock_monotonic_ms();
    progress->last_ms = progress->began_ms;
    code = cli_service_run(service, config);
    if (progress->is_shown)
        fprintf(stderr, "\r\033[K");
    if (service->bridge != NULL && !summarize(progress, service->bridge) && code == CLI_DONE)
        code = CLI_FAILED;
    return code;
}

static int copy_urls(struct cli_service *service, char **urls)
{
    struct progress progress = {.logger = &service->logger,
                                .limit = service->options.limit_messages,
                                .on_terminal = isatty(STDERR_FILENO) == 1};
    char *from = strdup(urls[0]);
    char *to = strdup(urls[1]);
    int code = CLI_FAILED;

    hide_secrets(urls[0]);
    hide_secrets(urls[1]);
    service->tick = on_tick;
    service->tick_ms = progress.on_terminal ? SHOW_EVERY_MS : LOG_EVERY_MS;
    service->context = &progress;
    if (from != NULL && to != NULL && cli_service_init(service) == MB_OK)
        code = copy(service, &progress, from, to);
    if (from != NULL)
        explicit_bzero(from, strlen(from));
    if (to != NULL)
        explicit_bzero(to, strlen(to));
    free(from);
    free(to);
    return code;
}

int cli_copy(int argc, char **argv)
{
    static const struct option options[] = {
        {"follow", no_argument, NULL, 'f'}, {"limit", required_argument, NULL, 'l'}, {0}};
    struct cli_service service = {.signal_fd = -1, .options = {.drain = true}};
    int64_t limit;
    int option;
    int code;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'f') {
            service.options.drain = false;
        } else if (option == 'l') {
            if (mb_parse_integer(optarg, &limit) != MB_OK || limit < 1)
                return cli_usage("copy", "--limit takes a number from 1 on, not \"%s\"", optarg);
            service.options.limit_messages = (uint64_t)limit;
        } else {
            return cli_usage("copy", "copy does not know %s, or it lacks its value",
                             argv[optind - 1]);
        }
    }
    if (argc - optind != 2)
        return cli_usage("copy", "copy takes two URLs, FROM and TO, not %d", argc - optind);
    code = copy_urls(&service, argv + optind);
    cli_service_release(&service);
    return code;
}
