/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/destination.h"

#define STREAMS_MAX 4096u

struct partitions {
    int32_t count;
    bool is_log;
};

static void count_partitions(void *context, const struct mb_stream_record *record)
{
    struct partitions *partitions = context;

    if (record->kind == MB_STREAM_LOG && record->partitions_count > partitions->count)
        partitions->count = record->partitions_count;
    partitions->is_log = record->kind == MB_STREAM_LOG;
}

/* The partition count of the model's streams; 0 where it has none or cannot be asked: then the
 * destination's own default is right. */
static int32_t partitions_of(const struct mb_config_stream *model,
                             const struct mb_open_params *params)
{
    struct partitions partitions = {0};
    struct mb_error err;

    if (mb_source_describe(model, params, NULL, count_partitions, &partitions, &err) != MB_OK)
        return 0;
    return partitions.count;
}

static enum mb_status ensure_with(const struct mb_describe_ops *ops,
                                  struct mb_describer *describer, struct mb_stream_record *wanted,
                                  const struct mb_config_stream *model,
                                  const struct mb_open_params *params, struct mb_error *err)
{
    struct mb_stream_record found = {.struct_size = sizeof found};
    enum mb_status status =
        ops->describe(describer, wanted->kind, wanted->name, NULL, &found, err);

    if (status == MB_OK) {
        ops->clear(describer, &found);
        return MB_OK;
    }
    if (status != MB_NOT_FOUND)
        return status;
    if (wanted->kind == MB_STREAM_LOG && wanted->partitions_count == 0 && model != NULL)
        wanted->partitions_count = partitions_of(model, params);
    return ops->ensure(describer, wanted, err);
}

enum mb_status mb_destination_ensure(const struct mb_config_stream *sink,
                                     const struct mb_open_params *params,
                                     const struct mb_config_stream *model, struct mb_error *err)
{
    const struct mb_backend *backend = sink->endpoint->backend;
    const struct mb_describe_ops *ops = backend->describe;
    struct mb_stream_record wanted = {.struct_size = sizeof wanted, .depth_messages = -1,
                                      .size_max_bytes = -1};
    struct mb_describer *describer = NULL;
    enum mb_status status;

    if (ops == NULL || ops->ensure == NULL || backend->stream == NULL)
        return MB_OK;
    if (backend->stream(params->endpoint, MB_ROLE_SINK, params->options, params, 0, &wanted) !=
            MB_OK ||
        wanted.kind == MB_STREAM_EXCHANGE || strstr(wanted.name, "${") != NULL)
        return MB_OK; /* what only messages can name is not made from their data */
    status = ops->open(params, &describer, err);
    if (status != MB_OK)
        return status;
    status = ensure_with(ops, describer, &wanted, model, params, err);
    ops->close(describer);
    return status;
}

static enum mb_status describe_all(const struct mb_backend *backend,
                                   const struct mb_open_params *params, const char *group,
                                   struct mb_describer *describer,
                                   void (*each)(void *context,
                                                const struct mb_stream_record *record),
                                   void *context, struct mb_error *err)
{
    for (size_t i = 0; i < STREAMS_MAX; i++) {
        struct mb_stream_record named = {.struct_size = sizeof named};
        struct mb_stream_record found = {.struct_size = sizeof found, .depth_messages = -1};
        enum mb_status status;

        if (backend->stream(params->endpoint, MB_ROLE_SOURCE, params->options, params, i,
                            &named) != MB_OK)
            return MB_OK;
        status =
            backend->describe->describe(describer, named.kind, named.name, group, &found, err);
        if (status != MB_OK)
            return status;
        each(context, &found);
        backend->describe->clear(describer, &found);
    }
    return MB_OK;
}

enum mb_status mb_source_describe(const struct mb_config_stream *source,
                                  const struct mb_open_params *params, const char *group,
                                  void (*each)(void *context,
                                               const struct mb_stream_record *record),
                                  void *context, struct mb_error *err)
{
    const struct mb_backend *backend = source->endpoint->backend;
    struct mb_open_params own = *params;
    struct mb_applied *endpoint = NULL;
    struct mb_applied *options = NULL;
    struct mb_describer *describer = NULL;
    enum mb_status status;

    if (backend->describe == NULL || backend->stream == NULL)
        return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "unsupported",
                            "backend %s cannot describe its streams", backend->name);
    status = mb_settings_apply(&source->endpoint->settings, true, &endpoint, err);
    if (status == MB_OK)
        status = mb_settings_apply(&source->settings, true, &options, err);
    if (status != MB_OK)
        goto out;
    own.endpoint = mb_applied_struct(endpoint);
    own.options = mb_applied_struct(options);
    own.endpoint_name = source->endpoint->name;
    status = backend->describe->open(&own, &describer, err);
    if (status == MB_OK)
        status = describe_all(backend, &own, group, describer, each, context, err);
out:
    if (describer != NULL)
        backend->describe->close(describer);
    mb_applied_destroy(options);
    mb_applied_destroy(endpoint);
    return status;
}
