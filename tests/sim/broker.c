/* SPDX-License-Identifier: Apache-2.0 */
/* The backend "sim" as the core sees it; and what its brokers tell of themselves. */
#include "sim.h"

struct mb_describer {
    char unused;
};

static struct mb_describer describer;
static struct mb_partition_record partitions[SIM_SCOPES_MAX];

static const struct mb_option sink_rows[] = {
    {.name = "outlet",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct sim_sink_options, outlet),
     .default_text = "0",
     .doc = "Which of the route's sinks it is."},
};

static bool is_log(void)
{
    return sim.shape.kind == SIM_LOG || sim.shape.kind == SIM_LOG_COMMITS;
}

static enum mb_status stream(const void *endpoint, enum mb_role role, const void *options,
                             const struct mb_open_params *params, size_t index,
                             struct mb_stream_record *ret_record)
{
    static const char *const names[SIM_OUTLETS_MAX] = {"sink0", "sink1", "sink2", "sink3"};

    (void)endpoint;
    (void)params;
    if (index > 0)
        return MB_NOT_FOUND;
    ret_record->kind = MB_STREAM_QUEUE;
    if (role == MB_ROLE_SINK) {
        ret_record->name = names[((const struct sim_sink_options *)options)->outlet];
        return MB_OK;
    }
    ret_record->kind = is_log() ? MB_STREAM_LOG : MB_STREAM_QUEUE;
    ret_record->name = SIM_STREAM;
    return MB_OK;
}

static enum mb_status describe_open(const struct mb_open_params *params,
                                    struct mb_describer **ret_describer, struct mb_error *err)
{
    (void)params;
    if (sim_is_rough() && sim_one_in(sim.shape.open_fails_one_in))
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "refused", "refused");
    *ret_describer = &describer;
    return MB_OK;
}

static enum mb_status describe_identity(struct mb_describer *of, char *identity, size_t size,
                                        struct mb_error *err)
{
    (void)of;
    (void)err;
    snprintf(identity, size, "sim");
    return MB_OK;
}

static void describe_source(struct mb_stream_record *record)
{
    int64_t depth = 0;

    for (uint32_t s = 0; s < sim.shape.scopes; s++) {
        const struct sim_scope *scope = &sim.scopes[s];
        struct mb_partition_record *partition = &partitions[s];

        *partition = (struct mb_partition_record){.partition = (int32_t)s};
        partition->begin.kind = MB_POSITION_OFFSET;
        partition->end.kind = MB_POSITION_OFFSET;
        for (uint32_t i = 0; i < scope->count; i++) {
            const struct sim_message *message = &sim.messages[scope->first + i];

            if (message->appears_ms > sim.now_ms)
                break;
            depth += message->acked ? 0 : 1;
            partition->end.lo = message->offset + 1;
            if (message->acked) {
                partition->group.kind = MB_POSITION_OFFSET;
                partition->group.lo = message->offset + 1;
            }
        }
        /* What is no message (a transaction's end) may stand at the end of a log. */
        if (sim.shape.gaps && s % 2 == 0)
            partition->end.lo++;
    }
    if (is_log()) {
        record->partitions = partitions;
        record->partitions_count = (int32_t)sim.shape.scopes;
    } else
        record->depth_messages = depth;
}

static enum mb_status describe(struct mb_describer *of, uint32_t kind, const char *name,
                               const char *group, struct mb_stream_record *ret_record,
                               struct mb_error *err)
{
    uint32_t outlet;

    (void)of;
    (void)group;
    ret_record->kind = kind;
    ret_record->name = name;
    if (strcmp(name, SIM_STREAM) == 0) {
        describe_source(ret_record);
        return MB_OK;
    }
    outlet = (uint32_t)(name[4] - '0');
    if (sim.missing[outlet])
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing", "missing");
    return MB_OK;
}

static void describe_clear(struct mb_describer *of, struct mb_stream_record *record)
{
    (void)of;
    (void)record;
}

static enum mb_status describe_ensure(struct mb_describer *of,
                                      const struct mb_stream_record *record, struct mb_error *err)
{
    (void)of;
    (void)err;
    sim.missing[record->name[4] - '0'] = false;
    return MB_OK;
}

static void describe_close(struct mb_describer *of)
{
    (void)of;
}

static const struct mb_describe_ops describe_ops = {
    .struct_size = sizeof describe_ops,
    .open = describe_open,
    .identity = describe_identity,
    .describe = describe,
    .clear = describe_clear,
    .ensure = describe_ensure,
    .close = describe_close,
};

const struct mb_backend sim_backend = {
    .abi_version = MB_ABI_VERSION,
    .struct_size = sizeof sim_backend,
    .name = "sim",
    .doc = "Simulated brokers.",
    .endpoint_options = {.struct_size = 1},
    .source_options = {.struct_size = 1},
    .sink_options = {.rows = sink_rows, .count = 1, .struct_size = sizeof(struct sim_sink_options)},
    .source = &sim_source_ops,
    .sink = &sim_sink_ops,
    .describe = &describe_ops,
    .stream = stream,
};
