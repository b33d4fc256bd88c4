/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sink with transactions, driven from outside by lines on stdin, so that a test can kill it,
 * or stop it, wherever it stands.
 *
 *   drive_transactions --module PATH --group NAME [--endpoint name=value]… [--sink name=value]…
 *                      [--timeout MS]
 *
 *   open · close · begin · commit · abort
 *   send FIRST COUNT [SIZE]   and wait until all are complete; SIZE: of their bodies
 *   post FIRST COUNT          without waiting
 *   store OFFSET              the position of stream "origin", partition 0
 *   release OFFSET            the same, and lets go of it
 *   load                      the same
 *   fill SCOPES TIMES         transactions that store the positions of so many scopes
 *   scopes SCOPES             loads those
 *   run FIRST                 transactions of 10 messages and their position, without end
 *
 * Each is answered by a line: STATUS MILLISECONDS TEXT, STATUS being that of enum mb_status.
 */
#include "contract.h"

#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>

#define LINE_SIZE  256u
#define RUN_COUNT  10u
#define BATCH      64u
#define SCOPES_ALL 10000u

struct driver {
    struct contract contract;
    struct options options;
    const char *group;
    const struct mb_sink_ops *ops;
    struct mb_sink *sink;
    struct test_host host;
    struct mb_error err;
    uint64_t outstanding;
    uint64_t failed;
    char text[MB_ERROR_TEXT_SIZE];
};

static enum mb_status open_sink(struct driver *driver)
{
    struct mb_open_params params = {
        .struct_size = sizeof params,
        .host = &driver->host.host,
        .endpoint = mb_applied_struct(driver->options.endpoint),
        .options = mb_applied_struct(driver->options.sink),
        .bridge_name = "contract",
        .route_name = "contract",
        .endpoint_name = "tested",
        .default_group = driver->group,
        .window_messages = 1000,
        .window_bytes = 16u << 20,
        .timeout_ms = driver->contract.timeout_ms,
        .ordered = true,
        .effectively_once = true,
    };

    test_host_init(&driver->host, &driver->contract.check, "sink");
    driver->host.in_operation = true;
    driver->outstanding = 0;
    return driver->ops->open(&params, &driver->sink, &driver->err);
}

static void wait_for_sink(struct driver *driver)
{
    struct mb_wait wait = {.struct_size = sizeof wait, .deadline_ms = INT64_MAX};
    struct pollfd fds[MB_WAIT_FDS_MAX];

    driver->ops->fds(driver->sink, &wait);
    for (uint32_t i = 0; i < wait.count; i++)
        fds[i] = (struct pollfd){wait.fds[i].fd, wait.fds[i].events, 0};
    if (!wait.ready)
        poll(fds, wait.count, 100);
}

/* The last failure goes into the text. */
static enum mb_status collect(struct driver *driver)
{
    struct mb_completion completions[BATCH];
    size_t count = 0;
    enum mb_status status = driver->ops->service(driver->sink, &driver->err);

    if (status == MB_OK)
        status = driver->ops->completions(driver->sink, completions, BATCH, &count, &driver->err);
    for (size_t i = 0; i < count; i++) {
        driver->outstanding--;
        if (completions[i].cause == MB_CAUSE_NONE)
            continue;
        driver->failed++;
        snprintf(driver->text, sizeof driver->text, "cause=%u reason=%s: %s", completions[i].cause,
                 completions[i].reason, completions[i].text);
    }
    return status;
}

/* Messages are never freed: they may be in use until the end. */
static enum mb_status send_all(struct driver *driver, uint64_t first, uint64_t count, size_t size)
{
    enum mb_status status = MB_OK;
    const struct mb_applied *sink = driver->options.sink;
    const char *topic;

    memcpy(&topic, mb_applied_struct(sink), sizeof topic);
    while (count > 0 && (status == MB_OK || status == MB_AGAIN)) {
        struct mb_message *message = message_create(first);
        struct mb_outgoing item = {
            .sequence = first, .message = message, .names = {{topic, strlen(topic)}}};
        size_t taken;

        if (size > 0)
            message->body = (struct mb_slice){calloc(1, size), size};
        do {
            status = driver->ops->send(driver->sink, &item, 1, &taken, &driver->err);
            if (taken == 0 && status == MB_AGAIN) {
                wait_for_sink(driver);
                status = collect(driver);
            }
        } while (taken == 0 && status == MB_OK);
        driver->outstanding += taken;
        first += taken;
        count -= taken;
    }
    return status;
}

static enum mb_status settle(struct driver *driver)
{
    int64_t until_ms = test_now_ms() + driver->contract.timeout_ms;
    enum mb_status status = collect(driver);

    while (status == MB_OK && driver->outstanding > 0) {
        if (test_now_ms() >= until_ms)
            return mb_error_set(&driver->err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                                "%" PRIu64 " messages never completed", driver->outstanding);
        wait_for_sink(driver);
        status = collect(driver);
    }
    return status;
}

static enum mb_status store(struct driver *driver, uint64_t offset, uint32_t flags)
{
    struct mb_stored_position stored = {
        .stream = MB_SLICE_LITERAL("origin"),
        .flags = flags,
        .position = {.kind = MB_POSITION_OFFSET, .lo = offset},
    };

    return driver->ops->positions(driver->sink, driver->group, &stored, 1, &driver->err);
}

static enum mb_status load(struct driver *driver)
{
    struct mb_stored_position stored = {.stream = MB_SLICE_LITERAL("origin")};
    enum mb_status status = driver->ops->load_positions(driver->sink, driver->group, &stored, 1,
                                                        driver->contract.timeout_ms, &driver->err);

    if (stored.position.kind == MB_POSITION_OFFSET)
        snprintf(driver->text, sizeof driver->text, "%" PRIu64, stored.position.lo);
    else
        snprintf(driver->text, sizeof driver->text, "none");
    return status;
}

static struct mb_stored_position *scopes_create(uint32_t scopes, uint64_t offset)
{
    struct mb_stored_position *stored = calloc(scopes, sizeof *stored);

    for (uint32_t i = 0; stored != NULL && i < scopes; i++)
        stored[i] = (struct mb_stored_position){
            .stream = MB_SLICE_LITERAL("many"),
            .partition = (int32_t)i,
            .position = {.kind = MB_POSITION_OFFSET, .lo = offset},
        };
    return stored;
}

static enum mb_status fill(struct driver *driver, uint32_t scopes, uint64_t times)
{
    enum mb_status status = MB_OK;

    for (uint64_t i = 0; status == MB_OK && i < times; i++) {
        struct mb_stored_position *stored = scopes_create(scopes, i);

        status = driver->ops->begin(driver->sink, &driver->err);
        if (status == MB_OK)
            status =
                driver->ops->positions(driver->sink, driver->group, stored, scopes, &driver->err);
        if (status == MB_OK)
            status = driver->ops->commit(driver->sink, driver->contract.timeout_ms, &driver->err);
        free(stored);
    }
    return status;
}

/* The text is the position of all, if they have the same. */
static enum mb_status load_scopes(struct driver *driver, uint32_t scopes)
{
    struct mb_stored_position *stored = scopes_create(scopes, 0);
    enum mb_status status = driver->ops->load_positions(driver->sink, driver->group, stored, scopes,
                                                        driver->contract.timeout_ms, &driver->err);
    bool same = true;

    for (uint32_t i = 0; i < scopes; i++)
        same = same && stored[i].position.kind == MB_POSITION_OFFSET &&
               stored[i].position.lo == stored[0].position.lo;
    snprintf(driver->text, sizeof driver->text, "%" PRIu64, same ? stored[0].position.lo : 0);
    free(stored);
    return status;
}

static enum mb_status run(struct driver *driver, uint64_t first)
{
    enum mb_status status = MB_OK;

    while (status == MB_OK) {
        status = driver->ops->begin(driver->sink, &driver->err);
        if (status == MB_OK)
            status = send_all(driver, first, RUN_COUNT, 0);
        if (status == MB_OK)
            status = settle(driver);
        first += RUN_COUNT;
        if (status == MB_OK)
            status = store(driver, first - 1, 0);
        if (status == MB_OK)
            status = driver->ops->commit(driver->sink, driver->contract.timeout_ms, &driver->err);
    }
    return status;
}

static enum mb_status act(struct driver *driver, const char *line)
{
    const struct mb_sink_ops *ops = driver->ops;
    uint32_t timeout_ms = driver->contract.timeout_ms;
    char name[16] = "";
    uint64_t a = 0;
    uint64_t b = 0;
    size_t size = 0;
    enum mb_status status;

    sscanf(line, "%15s %" SCNu64 " %" SCNu64 " %zu", name, &a, &b, &size);
    if (strcmp(name, "open") == 0)
        return open_sink(driver);
    if (driver->sink == NULL)
        return mb_error_set(&driver->err, MB_INVALID, MB_CAUSE_NONE, "driver", "not open");
    if (strcmp(name, "begin") == 0)
        return ops->begin(driver->sink, &driver->err);
    if (strcmp(name, "send") == 0 || strcmp(name, "post") == 0) {
        driver->failed = 0;
        status = send_all(driver, a, b, size);
        return status == MB_OK && name[0] == 's' ? settle(driver) : status;
    }
    if (strcmp(name, "store") == 0)
        return store(driver, a, 0);
    if (strcmp(name, "release") == 0)
        return store(driver, a, MB_STORED_RELEASED);
    if (strcmp(name, "load") == 0)
        return load(driver);
    if (strcmp(name, "fill") == 0)
        return fill(driver, a < SCOPES_ALL ? (uint32_t)a : SCOPES_ALL, b);
    if (strcmp(name, "scopes") == 0)
        return load_scopes(driver, a < SCOPES_ALL ? (uint32_t)a : SCOPES_ALL);
    if (strcmp(name, "run") == 0)
        return run(driver, a);
    if (strcmp(name, "commit") == 0)
        return ops->commit(driver->sink, timeout_ms, &driver->err);
    if (strcmp(name, "abort") == 0) {
        driver->outstanding = 0;
        return ops->abort(driver->sink, timeout_ms, &driver->err);
    }
    if (strcmp(name, "close") == 0) {
        ops->close(driver->sink);
        driver->sink = NULL;
        return MB_OK;
    }
    return mb_error_set(&driver->err, MB_INVALID, MB_CAUSE_NONE, "driver", "no command");
}

static bool parse(int argc, char **argv, struct driver *driver)
{
    static const struct option options[] = {
        {"module", required_argument, NULL, 'm'},  {"endpoint", required_argument, NULL, 'e'},
        {"sink", required_argument, NULL, 'k'},    {"group", required_argument, NULL, 'g'},
        {"timeout", required_argument, NULL, 't'}, {NULL, 0, NULL, 0},
    };
    struct contract *contract = &driver->contract;
    size_t endpoints = 0;
    size_t sinks = 0;
    int option;

    contract->timeout_ms = 20000;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'm')
            contract->backend = contract_load(optarg);
        else if (option == 'e' && endpoints + 1 < SETTINGS_MAX)
            contract->endpoint[endpoints++] = optarg;
        else if (option == 'k' && sinks + 1 < SETTINGS_MAX)
            contract->sink[sinks++] = optarg;
        else if (option == 'g')
            driver->group = optarg;
        else if (option == 't')
            contract->timeout_ms = (uint32_t)atoi(optarg);
        else
            return false;
    }
    if (contract->backend == NULL || driver->group == NULL)
        return false;
    driver->ops = contract->backend->sink;
    driver->options.endpoint =
        options_apply(contract, &contract->backend->endpoint_options, contract->endpoint, NULL, "");
    driver->options.sink =
        options_apply(contract, &contract->backend->sink_options, contract->sink, NULL, "");
    return driver->options.endpoint != NULL && driver->options.sink != NULL;
}

int main(int argc, char **argv)
{
    struct driver *driver = calloc(1, sizeof *driver);
    char line[LINE_SIZE];

    if (driver == NULL || !parse(argc, argv, driver)) {
        fprintf(stderr, "usage: see drive_transactions.c\n");
        return 2;
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        int64_t begun_ms = test_now_ms();
        enum mb_status status;

        driver->text[0] = '\0';
        status = act(driver, line);
        printf("%d %lld %s%s%s\n", (int)status, (long long)(test_now_ms() - begun_ms),
               status != MB_OK ? driver->err.reason : driver->text, status != MB_OK ? ": " : "",
               status != MB_OK ? driver->err.text : "");
        fflush(stdout);
    }
    if (driver->sink != NULL)
        driver->ops->close(driver->sink);
    fflush(NULL);
    _Exit(0); /* messages were never freed */
}
