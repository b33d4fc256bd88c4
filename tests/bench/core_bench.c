/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the core costs a message: memory → memory, generated at the source and discarded at the
 * sink, through a bridge as the program runs it.
 *
 *   core_bench once MESSAGES [WINDOW]           one run and nothing else: to count instructions
 *   core_bench time MESSAGES ROUNDS [WINDOW]    one line of JSON: ns a message, median over rounds
 *
 * The start of a bridge is not the core's work on a message, so `time` runs N and 2N messages and
 * takes the difference.
 */
#include "core/runtime/bridge.h"
#include "core/runtime/registry.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX   99u
#define MESSAGES_MAX 1000000000u
#define RUN_MAX_MS   120000

struct cost {
    double wall_ns;
    double cpu_ns;
};

static void die(const char *text)
{
    fprintf(stderr, "core_bench: %s\n", text);
    exit(1);
}

static double clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* serial: a bridge of another name has a group of its own, which begins at the first message. */
static struct mb_config *load(struct mb_registry *registry, uint64_t messages, uint64_t window,
                              unsigned serial)
{
    char path[] = "/tmp/mbridge-core-bench-XXXXXX";
    int fd = mkstemp(path);
    struct mb_diagnostics diagnostics = {.items = NULL};
    struct mb_config *config = NULL;
    enum mb_status status;

    if (fd < 0)
        die("no scratch file");
    dprintf(fd,
            "bridge = { name = \"bench%u\"; };\n"
            "endpoints = { m = { backend = \"memory\"; }; };\n"
            "routes = ( { name = \"bench\";\n"
            "  from = { endpoint = \"m\"; generate = { count = %lluL; size = 256; }; };\n"
            "  to = { endpoint = \"m\"; discard = true; };\n",
            serial, (unsigned long long)messages);
    if (window > 0)
        dprintf(fd, "  window = { messages = %llu; };\n", (unsigned long long)window);
    dprintf(fd, "} );\n");
    status = mb_config_load(path, registry, &config, &diagnostics);
    unlink(path);
    close(fd);
    for (size_t i = 0; i < diagnostics.count && status != MB_OK; i++)
        fprintf(stderr, "line %u: %s\n", diagnostics.items[i].line, diagnostics.items[i].text);
    mb_diagnostics_release(&diagnostics);
    if (status != MB_OK)
        die("the configuration was refused");
    return config;
}

/* Runs a bridge over so many messages to its end. */
static void run(uint64_t messages, uint64_t window, unsigned serial)
{
    struct mb_logger logger = {.fd = 2, .level = MB_LOG_ERROR};
    const struct mb_bridge_options options = {.drain = true};
    struct mb_registry *registry = NULL;
    struct mb_bridge *bridge = NULL;
    struct mb_bridge_status status = {.state = MB_BRIDGE_RUNNING};
    struct mb_bridge_progress progress;
    struct mb_error err;
    struct pollfd wait;

    if (mb_registry_create(&registry) != MB_OK)
        die("no memory");
    mb_error_clear(&err);
    if (mb_bridge_create(load(registry, messages, window, serial), registry, &logger, &options,
                         &bridge, &err) != MB_OK ||
        mb_bridge_start(bridge, &err) != MB_OK)
        die(err.text);
    wait = (struct pollfd){.fd = mb_bridge_fd(bridge), .events = POLLIN};
    while (status.state != MB_BRIDGE_FINISHED) {
        if (poll(&wait, 1, RUN_MAX_MS) == 0)
            die("the bridge does not end");
        mb_bridge_poll(bridge, &status);
    }
    mb_bridge_progress(bridge, &progress);
    if (status.exit_code != 0 || progress.delivered != messages)
        die("not all messages were delivered");
    mb_bridge_destroy(bridge);
    mb_registry_destroy(registry);
}

static struct cost measure(uint64_t messages, uint64_t window, unsigned serial)
{
    double wall_ns = clock_ns(CLOCK_MONOTONIC);
    double cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

    run(messages, window, serial);
    return (struct cost){clock_ns(CLOCK_MONOTONIC) - wall_ns,
                         clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns};
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;

    return (left > right) - (left < right);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof values[0], by_size);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void time_it(uint64_t messages, size_t rounds, uint64_t window)
{
    double wall_ns[ROUNDS_MAX];
    double cpu_ns[ROUNDS_MAX];

    for (unsigned i = 0; i < rounds; i++) {
        struct cost one = measure(messages, window, 2 * i);
        struct cost two = measure(2 * messages, window, 2 * i + 1);

        wall_ns[i] = (two.wall_ns - one.wall_ns) / (double)messages;
        cpu_ns[i] = (two.cpu_ns - one.cpu_ns) / (double)messages;
    }
    printf("{\"messages\":%llu,\"rounds\":%zu,\"wall_ns\":%.1f,\"cpu_ns\":%.1f}\n",
           (unsigned long long)messages, rounds, median(wall_ns, rounds), median(cpu_ns, rounds));
}

static uint64_t number(const char *text, uint64_t max)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || value == 0 || value > max)
        die("a number is wrong");
    return value;
}

int main(int argc, char **argv)
{
    bool is_once = argc >= 3 && strcmp(argv[1], "once") == 0;
    bool is_time = argc >= 4 && strcmp(argv[1], "time") == 0;
    int window_at = is_once ? 3 : 4;
    uint64_t window = 0;

    if (!is_once && !is_time)
        die("usage: once MESSAGES [WINDOW] | time MESSAGES ROUNDS [WINDOW]");
    if (argc > window_at)
        window = number(argv[window_at], MESSAGES_MAX);
    if (is_once)
        run(number(argv[2], MESSAGES_MAX), window, 0);
    else
        time_it(number(argv[2], MESSAGES_MAX), (size_t)number(argv[3], ROUNDS_MAX), window);
    return 0;
}
