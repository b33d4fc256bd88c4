/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/service.h"

#include "cli/dump.h"
#include "cli/heap.h"
#include "cli/notify.h"
#include "core/base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define COUNTERS_SIZE_MAX (64u << 20)

/* The soft limit is low for the sake of programs that use select. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* else fewer routes find room, which they will say */
}

enum mb_status cli_service_init(struct cli_service *service)
{
    sigset_t signals;

    raise_descriptors();
    service->logger.fd = STDERR_FILENO;
    atomic_init(&service->logger.level, MB_LOG_INFO);
    atomic_init(&service->logger.format, MB_LOG_LOGFMT);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    service->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (service->signal_fd < 0 || mb_registry_create(&service->registry) != MB_OK) {
        fprintf(stderr, "mbridge: cannot start: %s\n", strerror(errno));
        return MB_FATAL;
    }
    return MB_OK;
}

void cli_service_release(struct cli_service *service)
{
    mb_bridge_destroy(service->bridge);
    mb_registry_destroy(service->registry);
    if (service->signal_fd >= 0)
        close(service->signal_fd);
}

bool cli_service_counters(struct cli_service *service)
{
    struct mb_text text = {.max_size = COUNTERS_SIZE_MAX};
    bool ok;

    mb_bridge_counters_json(service->bridge, &text);
    mb_text_add(&text, "\n", 1);
    ok = !text.failed && cli_write(text.data, text.size);
    mb_text_release(&text);
    return ok;
}

static void apply_process_settings(struct cli_service *service, const struct mb_config *config)
{
    atomic_store(&service->logger.level, config->log_level);
    atomic_store(&service->logger.format, config->log_format);
    cli_dump_allow(config->core_dumps);
}

static void log_diagnostics(struct cli_service *service, const struct mb_diagnostics *diagnostics,
                            const char *path)
{
    for (size_t i = 0; i < diagnostics->count; i++) {
        const struct mb_diagnostic *item = &diagnostics->items[i];
        char line[16];

        snprintf(line, sizeof line, "%u", item->line);
        mb_log(&service->logger, item->is_error ? MB_LOG_ERROR : MB_LOG_WARN, item->text, "file",
               item->file != NULL ? item->file : path, "line", item->line > 0 ? line : NULL, NULL);
    }
}

static void reload(struct cli_service *service)
{
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    enum mb_status status;
    struct mb_error err;

    if (service->status.state != MB_BRIDGE_RUNNING)
        return;
    cli_notify("RELOADING=1");
    mb_error_clear(&err);
    status = mb_config_load(service->path, service->registry, &config, &diagnostics);
    if (status != MB_OK) {
        log_diagnostics(service, &diagnostics, service->path);
        mb_log(&service->logger, MB_LOG_ERROR,
               status == MB_NO_MEMORY
                   ? "configuration not reloaded: out of memory, the old one stays"
                   : "configuration not reloaded: it has errors, the old one stays",
               "file", service->path, NULL);
    } else {
        log_diagnostics(service, &diagnostics, service->path);
        apply_process_settings(service, config);
        if (mb_bridge_reload(service->bridge, config, &err) == MB_OK)
            mb_log(&service->logger, MB_LOG_INFO, "configuration reloaded", "file", service->path,
                   NULL);
        else
            mb_log(&service->logger, MB_LOG_ERROR, "configuration not reloaded", "file",
                   service->path, "reason", err.text, NULL);
    }
    mb_diagnostics_release(&diagnostics);
    cli_notify("READY=1");
}

/* timeout(1) and shells send one signal to the process and one to its group: a second one is meant
 * only if it does not come along with the first. */
#define SECOND_SIGNAL_MS 300

static void stop(struct cli_service *service, const char *by)
{
    int64_t now_ms = mb_clock_monotonic_ms();

    if (service->stop_signal_ms > 0 && now_ms - service->stop_signal_ms < SECOND_SIGNAL_MS)
        return;
    service->stop_signal_ms = now_ms;
    if (service->status.state != MB_BRIDGE_RUNNING) {
        mb_log(&service->logger, MB_LOG_WARN,
               "stopped at once: what was not yet confirmed will come again", "signal", by, NULL);
        _exit(CLI_FAILED);
    }
    mb_log(&service->logger, MB_LOG_INFO, "stopping", "signal", by, NULL);
    cli_notify("STOPPING=1");
    mb_bridge_stop(service->bridge);
    service->status.state = MB_BRIDGE_STOPPING;
}

static void take_signals(struct cli_service *service)
{
    struct signalfd_siginfo info;

    while (read(service->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGUSR1:
            (void)cli_service_counters(service);
            break;
        case SIGHUP:
            if (service->path != NULL)
                reload(service);
            else
                stop(service, "SIGHUP");
            break;
        default:
            stop(service, info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
            break;
        }
    }
}

static int wait_ms(int64_t until_ms)
{
    int64_t left_ms = until_ms - mb_clock_monotonic_ms();

    return left_ms < 0 ? 0 : left_ms > 60000 ? 60000 : (int)left_ms;
}

static void loop(struct cli_service *service)
{
    struct pollfd fds[] = {{.fd = service->signal_fd, .events = POLLIN},
                           {.fd = mb_bridge_fd(service->bridge), .events = POLLIN}};
    int watchdog_ms = cli_notify_watchdog_ms();
    int period_ms = watchdog_ms > 0 ? watchdog_ms : 60000;
    int64_t rest_ms;
    int64_t next_ms;

    if (service->tick != NULL && service->tick_ms < period_ms)
        period_ms = service->tick_ms;
    next_ms = mb_clock_monotonic_ms() + period_ms;
    while (service->status.state != MB_BRIDGE_FINISHED) {
        rest_ms = cli_heap_rest(mb_clock_monotonic_ms());
        if (poll(fds, 2, wait_ms(next_ms < rest_ms ? next_ms : rest_ms)) < 0 && errno != EINTR)
            break;
        take_signals(service);
        mb_bridge_poll(service->bridge, &service->status);
        if (mb_clock_monotonic_ms() < next_ms)
            continue;
        next_ms = mb_clock_monotonic_ms() + period_ms;
        if (watchdog_ms > 0)
            cli_notify("WATCHDOG=1");
        if (service->tick != NULL)
            service->tick(service->context, service->bridge);
    }
}

int cli_service_run(struct cli_service *service, struct mb_config *config)
{
    char routes[16];
    char unresolved[32];
    struct mb_error err;

    mb_error_clear(&err);
    apply_process_settings(service, config);
    snprintf(routes, sizeof routes, "%zu", config->routes_count);
    mb_log(&service->logger, MB_LOG_INFO, "starting", "version", MBRIDGE_VERSION, "file",
           service->path, "routes", routes, NULL);
    if (mb_bridge_create(config, service->registry, &service->logger, &service->options,
                         &service->bridge, &err) != MB_OK ||
        mb_bridge_start(service->bridge, &err) != MB_OK) {
        mb_log(&service->logger, MB_LOG_ERROR, "cannot start", "reason", err.text, NULL);
        return CLI_FAILED;
    }
    cli_notify("READY=1");
    loop(service);
    if (service->status.unresolved > 0) {
        snprintf(unresolved, sizeof unresolved, "%llu",
                 (unsigned long long)service->status.unresolved);
        mb_log(&service->logger, MB_LOG_ERROR,
               "stopped before all that was sent was confirmed: it may come again", "unresolved",
               unresolved, NULL);
    }
    return service->status.exit_code;
}
