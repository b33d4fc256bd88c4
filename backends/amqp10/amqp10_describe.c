/* SPDX-License-Identifier: Apache-2.0 */
/* Describe and ensure, on a connection of its own. */
#include "amqp10.h"

#define CLOSE_WAIT_MS 1000u

struct mb_describer {
    struct amqp10_client *client;
    const struct mb_host *host;
    const struct mb_open_params *params;
    int64_t timeout_ms;
};

static void describer_close(struct mb_describer *describer)
{
    if (describer == NULL)
        return;
    amqp10_client_close(describer->client, CLOSE_WAIT_MS);
    describer->host->release(describer->host->context, describer);
}

static enum mb_status describer_open(const struct mb_open_params *params,
                                     struct mb_describer **ret_describer, struct mb_error *err)
{
    struct mb_describer *describer = amqp10_alloc_zero(params->host, sizeof *describer);
    struct amqp10_open open = {.params = params, .role = "describe"};
    enum mb_status status;

    if (describer == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    describer->host = params->host;
    describer->timeout_ms = params->timeout_ms;
    status = amqp10_client_open(&open, &describer->client, err);
    if (status != MB_OK) {
        describer_close(describer);
        return status;
    }
    *ret_describer = describer;
    return MB_OK;
}

static enum mb_status describer_identity(struct mb_describer *describer, char *identity,
                                         size_t size, struct mb_error *err)
{
    (void)err;
    snprintf(identity, size, "%s", describer->client->identity);
    return MB_OK;
}

static int64_t deadline_of(const struct mb_describer *describer)
{
    return amqp10_now_ms(describer->host) + describer->timeout_ms;
}

/* Attaches a sender to an address and leaves again. */
static enum mb_status look(struct mb_describer *describer, const char *name, bool asks_queue,
                           int64_t *ret_size_max, struct mb_error *err)
{
    static const char *const queue[] = {"queue"};
    struct amqp10_client *client = describer->client;
    struct amqp10_link_spec spec = {.address = name, .is_sender = true};
    pn_session_t *session = amqp10_client_session(client, AMQP10_FRAME_MAX);
    pn_link_t *link;
    char what[160];
    enum mb_status status;

    if (asks_queue)
        spec.capabilities = (struct mb_strings){queue, 1};
    link = session != NULL ? amqp10_link_attach(client, session, &spec) : NULL;
    if (link == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    snprintf(what, sizeof what, "address \"%.120s\"", name);
    status = amqp10_link_await(client, link, what, deadline_of(describer), err);
    if (status == MB_OK) {
        uint64_t size_max = pn_link_remote_max_message_size(link);

        *ret_size_max = size_max > 0 && size_max <= INT64_MAX ? (int64_t)size_max : -1;
    }
    pn_link_close(link);
    pn_session_close(session);
    pn_link_free(link);
    pn_session_free(session);
    amqp10_client_write(client);
    return status;
}

static enum mb_status describer_describe(struct mb_describer *describer, uint32_t kind,
                                         const char *name, const char *group,
                                         struct mb_stream_record *ret_record, struct mb_error *err)
{
    uint32_t struct_size = ret_record->struct_size;
    int64_t size_max = -1;
    char *copy;
    enum mb_status status = look(describer, name, false, &size_max, err);

    (void)group;
    if (status != MB_OK && status != MB_DENIED)
        return status;
    copy = describer->host->alloc(describer->host->context, strlen(name) + 1);
    if (copy == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    memcpy(copy, name, strlen(name) + 1);
    memset(ret_record, 0, sizeof *ret_record);
    ret_record->struct_size = struct_size != 0 ? struct_size : (uint32_t)sizeof *ret_record;
    ret_record->kind = kind;
    ret_record->name = copy;
    ret_record->depth_messages = -1;
    ret_record->size_max_bytes = size_max;
    ret_record->may_write = status == MB_DENIED ? MB_ACCESS_DENIED : MB_ACCESS_ALLOWED;
    return MB_OK;
}

static void describer_clear(struct mb_describer *describer, struct mb_stream_record *record)
{
    /* The name is a copy of ours (describe); const only for its readers. */
    describer->host->release(describer->host->context, (void *)(uintptr_t)record->name);
    record->name = NULL;
}

static enum mb_status describer_ensure(struct mb_describer *describer,
                                       const struct mb_stream_record *record, struct mb_error *err)
{
    int64_t size_max;

    return look(describer, record->name, true, &size_max, err);
}

const struct mb_describe_ops amqp10_describe_ops = {
    .struct_size = sizeof(struct mb_describe_ops),
    .open = describer_open,
    .identity = describer_identity,
    .describe = describer_describe,
    .clear = describer_clear,
    .ensure = describer_ensure,
    .close = describer_close,
};
