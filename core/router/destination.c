/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/destination.h"

#include "core/router/patterns.h"

#include <stdlib.h>

#define STREAMS_MAX       4096u
#define CONFIGURATION_MAX 32u

/* What a destination takes from the streams that feed it. */
struct likeness {
    struct mb_pair pairs[CONFIGURATION_MAX];
    uint32_t pairs_count;
    int32_t partitions_count;
    bool same_platform; /* the words of the configuration mean the same on both sides */
    bool is_begun;
};

static void likeness_release(struct likeness *likeness)
{
    for (uint32_t i = 0; i < likeness->pairs_count; i++) {
        free((void *)(uintptr_t)likeness->pairs[i].name);
        free((void *)(uintptr_t)likeness->pairs[i].value);
    }
    likeness->pairs_count = 0;
}

/* Of several streams the first one decides on the configuration, and the largest on partitions. */
static void likeness_take(void *context, const struct mb_stream_record *record)
{
    struct likeness *likeness = context;
    uint32_t count =
        likeness->same_platform && !likeness->is_begun ? record->configuration_count : 0;

    if (record->kind != MB_STREAM_LOG)
        return;
    likeness->is_begun = true;
    if (record->partitions_count > likeness->partitions_count)
        likeness->partitions_count = record->partitions_count;
    for (uint32_t i = 0; i < count && i < CONFIGURATION_MAX; i++) {
        char *name = strdup(record->configuration[i].name);
        char *value = strdup(record->configuration[i].value);

        likeness->pairs[likeness->pairs_count++] = (struct mb_pair){name, value};
        if (name == NULL || value == NULL) {
            likeness_release(likeness);
            return;
        }
    }
}

/* What the options do not say is as at the source. On the same platform it is worth waiting for: a
 * number of partitions is not easily mended. Else the destination's own default is right. */
static enum mb_status take_after(struct likeness *likeness, const struct mb_config_stream *model,
                                 const struct mb_open_params *params,
                                 struct mb_stream_record *wanted, struct mb_error *err)
{
    struct mb_error why;
    enum mb_status status = mb_source_describe(model, params, NULL, likeness_take, likeness, &why);

    if (status != MB_OK && likeness->same_platform && wanted->partitions_count == 0) {
        mb_error_set(err, status, why.cause, why.reason,
                     "%s is not created before its source can be asked: %.300s", wanted->name,
                     why.text);
        return status;
    }
    if (status != MB_OK)
        return MB_OK;
    if (wanted->partitions_count == 0)
        wanted->partitions_count = likeness->partitions_count;
    if (wanted->configuration_count == 0) {
        wanted->configuration = likeness->pairs;
        wanted->configuration_count = likeness->pairs_count;
    }
    return MB_OK;
}

static enum mb_status ensure_with(const struct mb_describe_ops *ops, struct mb_describer *describer,
                                  struct mb_stream_record *wanted, struct likeness *likeness,
                                  const struct mb_config_stream *model,
                                  const struct mb_open_params *params, bool *ret_created,
                                  struct mb_error *err)
{
    struct mb_stream_record found = {.struct_size = sizeof found};
    enum mb_status status = ops->describe(describer, wanted->kind, wanted->name, NULL, &found, err);

    if (status == MB_OK) {
        ops->clear(describer, &found);
        return MB_OK;
    }
    if (status != MB_NOT_FOUND)
        return status;
    if (wanted->kind == MB_STREAM_LOG && model != NULL) {
        status = take_after(likeness, model, params, wanted, err);
        if (status != MB_OK)
            return status;
    }
    status = ops->ensure(describer, wanted, err);
    *ret_created = status == MB_OK;
    return status;
}

static bool names_one(const struct mb_config_stream *sink, const struct mb_open_params *params,
                      struct mb_stream_record *ret_wanted)
{
    const struct mb_backend *backend = sink->endpoint->backend;

    *ret_wanted = (struct mb_stream_record){
        .struct_size = sizeof *ret_wanted, .depth_messages = -1, .size_max_bytes = -1};
    /* What only messages can name is not made from their data. */
    return backend->describe != NULL && backend->describe->ensure != NULL &&
           backend->stream != NULL &&
           backend->stream(params->endpoint, MB_ROLE_SINK, params->options, params, 0,
                           ret_wanted) == MB_OK &&
           ret_wanted->kind != MB_STREAM_EXCHANGE && strstr(ret_wanted->name, "${") == NULL;
}

bool mb_destination_is_made(const struct mb_config_stream *sink,
                            const struct mb_open_params *params)
{
    struct mb_stream_record wanted;

    return sink->create && names_one(sink, params, &wanted);
}

enum mb_status mb_destination_ensure(const struct mb_config_stream *sink,
                                     const struct mb_open_params *params,
                                     const struct mb_config_stream *model, bool *ret_created,
                                     struct mb_error *err)
{
    const struct mb_describe_ops *ops = sink->endpoint->backend->describe;
    struct likeness likeness = {0};
    struct mb_stream_record wanted;
    struct mb_describer *describer = NULL;
    enum mb_status status;

    *ret_created = false;
    if (!names_one(sink, params, &wanted))
        return MB_OK;
    status = ops->open(params, &describer, err);
    if (status != MB_OK)
        return status;
    likeness.same_platform = model != NULL && model->endpoint->backend == sink->endpoint->backend;
    status = ensure_with(ops, describer, &wanted, &likeness, model, params, ret_created, err);
    likeness_release(&likeness);
    ops->close(describer);
    return status;
}

static enum mb_status
describe_all(const struct mb_backend *backend, const struct mb_open_params *params,
             const char *group, struct mb_describer *describer,
             void (*each)(void *context, const struct mb_stream_record *record), void *context,
             struct mb_error *err)
{
    for (size_t i = 0; i < STREAMS_MAX; i++) {
        struct mb_stream_record named = {.struct_size = sizeof named};
        struct mb_stream_record found = {.struct_size = sizeof found, .depth_messages = -1};
        enum mb_status status;

        if (backend->stream(params->endpoint, MB_ROLE_SOURCE, params->options, params, i, &named) !=
            MB_OK)
            return MB_OK;
        status = backend->describe->describe(describer, named.kind, named.name, group, &found, err);
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
    struct mb_strings names = {0};
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
    /* A source that is not open yet, or not the one that is asked, has no names for its pattern. */
    status = mb_patterns_resolve(source, &own, &names, err);
    if (status != MB_OK)
        goto out;
    own.streams = names.count > 0 ? &names : NULL;
    status = backend->describe->open(&own, &describer, err);
    if (status == MB_OK)
        status = describe_all(backend, &own, group, describer, each, context, err);
out:
    if (describer != NULL)
        backend->describe->close(describer);
    mb_names_release(&names);
    mb_applied_destroy(options);
    mb_applied_destroy(endpoint);
    return status;
}
