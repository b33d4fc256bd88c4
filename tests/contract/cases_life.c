/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, closing, failing to open, creating streams, doing nothing. */
#include "contract.h"

#include <poll.h>

#define IDLE_MS        1000
#define IDLE_STEPS_MAX 100

void case_unused(struct contract *contract)
{
    const struct mb_backend *backend = contract->backend;
    struct tested_source source;
    struct tested_sink sink;
    struct options options;

    backend->source->close(NULL);
    backend->sink->close(NULL);
    if (backend->describe != NULL)
        backend->describe->close(NULL);
    if (!options_open(contract, &options))
        return;
    source_init(&source, &options);
    if (source_open(&source, &options, true) != MB_OK)
        check_fail(&contract->check, "the source does not open");
    else
        source_close(&source);
    source_release(&source);
    if (sink_open(&sink, &options, 1000) != MB_OK)
        check_fail(&contract->check, "the sink does not open");
    else
        sink_close(&sink);
    options_close(&options);
}

/* A missing stream may be found out later; a bad endpoint may not. */
void case_open_fails(struct contract *contract)
{
    const struct mb_backend *backend = contract->backend;
    struct tested_source source;
    struct tested_sink sink;
    struct options options;
    struct mb_applied *good;

    if (!options_fill(contract, &options))
        return;
    source_init(&source, &options);
    if (source_open(&source, &options, true) == MB_OK)
        source_close(&source);
    source_release(&source);
    good = options.endpoint;
    if (contract->bad_endpoint != NULL)
        options.endpoint = options_apply(contract, &backend->endpoint_options, contract->endpoint,
                                         contract->bad_endpoint, options.stream);
    if (contract->bad_endpoint != NULL && options.endpoint != NULL) {
        source_init(&source, &options);
        if (source_open(&source, &options, true) == MB_OK) {
            check_fail(&contract->check, "the source opens at a bad endpoint");
            source_close(&source);
        }
        source_release(&source);
        if (sink_open(&sink, &options, 1000) == MB_OK) {
            check_fail(&contract->check, "the sink opens at a bad endpoint");
            sink_close(&sink);
        }
    }
    if (options.endpoint != good)
        mb_applied_destroy(good);
    options_close(&options);
}

struct listed {
    const char *name;
    bool found;
};

static void note_listed(void *context, const char *name, bool internal)
{
    struct listed *listed = context;

    if (strcmp(name, listed->name) == 0 && !internal)
        listed->found = true;
}

static void check_described(struct contract *contract, struct mb_describer *describer,
                            const struct mb_stream_record *wanted)
{
    const struct mb_describe_ops *ops = contract->backend->describe;
    struct check *check = &contract->check;
    struct mb_stream_record record = {.struct_size = sizeof record};
    struct listed listed = {wanted->name, false};
    struct mb_error err = {0};
    char identity[256];

    if (ops->describe(describer, wanted->kind, wanted->name, "contract", &record, &err) != MB_OK) {
        check_fail(check, "describe does not find what ensure made: %s", err.text);
        return;
    }
    if (record.kind != wanted->kind)
        check_fail(check, "describe tells kind %u, not %u", record.kind, wanted->kind);
    if (wanted->partitions_count > 0 && record.partitions_count != wanted->partitions_count)
        check_fail(check, "describe tells %d partitions, not %d", record.partitions_count,
                   wanted->partitions_count);
    if (record.may_read > MB_ACCESS_DENIED || record.may_write > MB_ACCESS_DENIED)
        check_fail(check, "describe tells an unknown access");
    ops->clear(describer, &record);
    if (ops->identity(describer, identity, sizeof identity, &err) != MB_OK)
        check_fail(check, "identity: %s", err.text);
    if (ops->list == NULL)
        return;
    if (ops->list(describer, note_listed, &listed, &err) != MB_OK && err.status != MB_UNSUPPORTED)
        check_fail(check, "list: %s", err.text);
    else if (err.status != MB_UNSUPPORTED && !listed.found)
        check_fail(check, "list does not tell what ensure made");
}

void case_ensure(struct contract *contract)
{
    const struct mb_describe_ops *ops = contract->backend->describe;
    struct check *check = &contract->check;
    struct mb_stream_record record = {.struct_size = sizeof record};
    struct mb_stream_record none = {.struct_size = sizeof none};
    struct mb_describer *describer = NULL;
    struct mb_error err = {0};
    struct test_host host;
    struct options options;
    struct mb_open_params params = {.struct_size = sizeof params,
                                    .host = &host.host,
                                    .bridge_name = "contract",
                                    .route_name = "contract",
                                    .endpoint_name = "tested",
                                    .default_group = "contract",
                                    .timeout_ms = contract->timeout_ms};

    if (ops == NULL || contract->backend->stream == NULL || !options_fill(contract, &options))
        return;
    test_host_init(&host, check, "describer");
    params.endpoint = mb_applied_struct(options.endpoint);
    params.options = mb_applied_struct(options.sink);
    if (contract->backend->stream(params.endpoint, MB_ROLE_SINK, params.options, &params, 0,
                                  &record) != MB_OK ||
        ops->open(&params, &describer, &err) != MB_OK) {
        check_fail(check, "the describer does not open: %s", err.text);
        goto out;
    }
    if (record.kind == MB_STREAM_LOG)
        record.partitions_count = contract->partitions;
    if (contract->any_stream)
        mb_error_clear(&err);
    else if (ops->describe(describer, record.kind, record.name, NULL, &none, &err) != MB_NOT_FOUND)
        check_fail(check, "describe finds a stream that nobody made");
    else
        check_error(check, "describe", MB_NOT_FOUND, &err);
    for (int i = 0; i < 2; i++) {
        if (ops->ensure(describer, &record, &err) != MB_OK)
            check_fail(check, "ensure fails at call %d: %s", i + 1, err.text);
    }
    check_described(contract, describer, &record);
out:
    ops->close(describer);
    if (host.allocated != 0)
        check_fail(check, "the describer kept %ld allocations", host.allocated);
    options_close(&options);
}

/* Steps in IDLE_MS when nothing happens; a wait of at most 1 s each. */
static unsigned idle_steps(struct tested_source *source, struct tested_sink *sink)
{
    int64_t until_ms = test_now_ms() + IDLE_MS;
    unsigned steps = 0;

    while (test_now_ms() < until_ms && steps <= IDLE_STEPS_MAX) {
        struct mb_wait wait = {.struct_size = sizeof wait, .deadline_ms = INT64_MAX};
        struct pollfd fds[MB_WAIT_FDS_MAX];
        int64_t timeout_ms;

        if (source != NULL)
            source->ops->fds(source->source, &wait);
        else
            sink->ops->fds(sink->sink, &wait);
        steps++;
        if (!wait.ready) {
            for (uint32_t i = 0; i < wait.count && i < MB_WAIT_FDS_MAX; i++)
                fds[i] = (struct pollfd){wait.fds[i].fd, wait.fds[i].events, 0};
            timeout_ms =
                (wait.deadline_ms < until_ms ? wait.deadline_ms : until_ms) - test_now_ms();
            if (timeout_ms > 0)
                poll(fds, wait.count, (int)timeout_ms);
        }
        if (source != NULL)
            source_step(source);
        else
            sink_collect(sink);
    }
    return steps;
}

void case_idle(struct contract *contract)
{
    struct tested_source source;
    struct tested_sink sink;
    struct options options;

    if (!options_open(contract, &options))
        return;
    source_init(&source, &options);
    if (source_open(&source, &options, true) == MB_OK) {
        source_take_quiet(&source);
        if (idle_steps(&source, NULL) > IDLE_STEPS_MAX)
            check_fail(&contract->check, "an idle source keeps its worker busy");
        if (source.count > 0)
            check_fail(&contract->check, "messages came from an empty stream");
        source_close(&source);
    }
    source_release(&source);
    if (sink_open(&sink, &options, 1000) == MB_OK) {
        sink_collect(&sink);
        if (idle_steps(NULL, &sink) > IDLE_STEPS_MAX)
            check_fail(&contract->check, "an idle sink keeps its worker busy");
        sink_close(&sink);
    }
    options_close(&options);
}
