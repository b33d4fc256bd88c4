/* SPDX-License-Identifier: Apache-2.0 */
/* The describer: what streams there are, and creating them. */
#include "memory.h"

#include <unistd.h>

struct mb_describer {
    const struct mb_host *host;
    const char *store;
};

/* What a record points to, in one run of the host's memory. */
struct described {
    struct mb_pair limit;
    char limit_text[24];
    struct mb_partition_record partitions[];
};

static enum mb_status describer_open(const struct mb_open_params *params,
                                     struct mb_describer **ret_describer, struct mb_error *err)
{
    const struct memory_endpoint_options *endpoint = params->endpoint;
    struct mb_describer *describer = params->host->alloc(params->host->context, sizeof *describer);

    *ret_describer = NULL;
    if (describer == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                            "no memory for a describer");
    describer->host = params->host;
    describer->store = endpoint->store;
    *ret_describer = describer;
    return MB_OK;
}

static enum mb_status describer_identity(struct mb_describer *describer, char *identity,
                                         size_t size, struct mb_error *err)
{
    (void)err;
    snprintf(identity, size, "memory-%ld-%s", (long)getpid(), describer->store);
    return MB_OK;
}

static struct mb_position offset(uint64_t value)
{
    return (struct mb_position){.kind = MB_POSITION_OFFSET, .lo = value};
}

/* The store. */
static void fill(const struct memory_stream *stream, const struct memory_group *group,
                 struct described *described, struct mb_stream_record *record)
{
    record->kind = stream->kind;
    record->size_max_bytes = -1;
    record->may_read = MB_ACCESS_ALLOWED;
    record->may_write = MB_ACCESS_ALLOWED;
    record->depth_messages = (int64_t)(stream->ready + stream->taken);
    if (stream->limit != UINT64_MAX) {
        snprintf(described->limit_text, sizeof described->limit_text, "%llu",
                 (unsigned long long)stream->limit);
        described->limit = (struct mb_pair){"limit", described->limit_text};
        record->configuration = &described->limit;
        record->configuration_count = 1;
    }
    if (stream->kind == MB_STREAM_QUEUE)
        return;
    record->partitions_count = (int32_t)stream->partitions_count;
    record->partitions = described->partitions;
    for (uint32_t i = 0; i < stream->partitions_count; i++) {
        const struct memory_partition *partition = &stream->partitions[i];
        struct mb_partition_record *entry = &described->partitions[i];

        *entry = (struct mb_partition_record){.partition = (int32_t)i,
                                              .begin = offset(partition->begin),
                                              .end = offset(partition->end)};
        if (group != NULL && group->shares[i].has_stored)
            entry->group = offset(group->shares[i].stored);
        record->depth_messages += (int64_t)(partition->end - partition->begin);
    }
}

static enum mb_status describer_describe(struct mb_describer *describer, uint32_t kind,
                                         const char *name, const char *group_name,
                                         struct mb_stream_record *ret_record, struct mb_error *err)
{
    const struct mb_host *host = describer->host;
    struct memory_store *store = memory_store_lock();
    struct memory_stream *stream = memory_stream_find(store, describer->store, name, strlen(name));
    struct described *described = NULL;
    enum mb_status status = MB_OK;
    size_t size;

    (void)kind; /* one namespace for both */
    if (stream == NULL) {
        status = mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing",
                              "there is no stream '%s'", name);
        goto out;
    }
    size = sizeof *described + stream->partitions_count * sizeof described->partitions[0];
    described = host->alloc(host->context, size);
    if (described == NULL) {
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_DESTINATION, "memory",
                              "no memory to describe '%s'", name);
        goto out;
    }
    memset(described, 0, size);
    *ret_record =
        (struct mb_stream_record){.struct_size = sizeof *ret_record, .name = stream->name};
    /* So that clear finds it, whatever the record shows of it. */
    ret_record->configuration = &described->limit;
    fill(stream, group_name != NULL ? memory_group_find(stream, group_name) : NULL, described,
         ret_record);
out:
    memory_store_unlock(store);
    return status;
}

static void describer_clear(struct mb_describer *describer, struct mb_stream_record *record)
{
    /* The first member of struct described. */
    describer->host->release(describer->host->context, (void *)(uintptr_t)record->configuration);
    *record = (struct mb_stream_record){.struct_size = sizeof *record};
}

static enum mb_status describer_ensure(struct mb_describer *describer,
                                       const struct mb_stream_record *record, struct mb_error *err)
{
    struct memory_store *store = memory_store_lock();
    enum mb_status status = memory_stream_create(store, describer->store, record, err);

    memory_store_unlock(store);
    return status;
}

static enum mb_status describer_list(struct mb_describer *describer,
                                     void (*each)(void *context, const char *name, bool internal),
                                     void *context, struct mb_error *err)
{
    struct memory_store *store = memory_store_lock();

    (void)err;
    for (size_t i = 0; i < MEMORY_BUCKETS; i++) {
        struct memory_stream *stream = store->buckets[i];

        for (; stream != NULL; stream = stream->next) {
            if (strcmp(stream->store, describer->store) == 0)
                each(context, stream->name, false);
        }
    }
    memory_store_unlock(store);
    return MB_OK;
}

static void describer_close(struct mb_describer *describer)
{
    if (describer != NULL)
        describer->host->release(describer->host->context, describer);
}

const struct mb_describe_ops memory_describe_ops = {
    .struct_size = sizeof memory_describe_ops,
    .open = describer_open,
    .identity = describer_identity,
    .describe = describer_describe,
    .clear = describer_clear,
    .ensure = describer_ensure,
    .list = describer_list,
    .close = describer_close,
};
