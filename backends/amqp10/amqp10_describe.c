/* SPDX-License-Identifier: Apache-2.0 */
/* Describe and ensure, on a connection of its own. */
#include "amqp10_manage.h"

#define CLOSE_WAIT_MS 1000u
#define ARGUMENTS_MAX 32u

struct mb_describer {
    struct amqp10_client *client;
    const struct mb_host *host;
    struct amqp10_management management;
    pn_session_t *session; /* of links that only look */
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
    describer->management.client = describer->client;
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

/* Attaches to an address and leaves again. Brokers that create what they are asked for do it here.
 */
static enum mb_status look(struct mb_describer *describer, const char *name, bool is_sender,
                           bool asks_queue, int64_t *ret_size_max, struct mb_error *err)
{
    static const char *const queue[] = {"queue"};
    struct amqp10_client *client = describer->client;
    struct amqp10_link_spec spec = {.address = name, .is_sender = is_sender};
    pn_link_t *link = NULL;
    char what[160];
    enum mb_status status;

    if (asks_queue)
        spec.capabilities = (struct mb_strings){queue, 1};
    if (describer->session == NULL || (pn_session_state(describer->session) & PN_REMOTE_CLOSED))
        describer->session =
            amqp10_client_session_instead(client, describer->session, AMQP10_FRAME_MAX);
    if (describer->session != NULL)
        link = amqp10_link_attach(client, describer->session, &spec);
    if (link == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    snprintf(what, sizeof what, "address \"%.120s\"", name);
    status = amqp10_link_await(client, link, what, deadline_of(describer), err);
    if (status == MB_OK) {
        uint64_t size_max = pn_link_remote_max_message_size(link);

        *ret_size_max = size_max > 0 && size_max <= INT64_MAX ? (int64_t)size_max : -1;
    }
    pn_link_close(link);
    pn_link_free(link);
    amqp10_client_write(client);
    return status;
}

static enum mb_status look_at_artemis(struct mb_describer *describer, const char *name,
                                      int64_t *ret_messages, struct mb_error *err)
{
    const char *queue = amqp10_artemis_queue(name);
    int64_t none;
    enum mb_status status =
        amqp10_artemis_look(&describer->management, "queue", queue, "messageCount",
                            deadline_of(describer), ret_messages, err);

    if (status == MB_NOT_FOUND)
        status = amqp10_artemis_look(&describer->management, "address", queue, "routingTypes",
                                     deadline_of(describer), &none, err);
    return status;
}

/* Whether the address is there, without making it, as far as the broker lets us ask.
 * MB_UNSUPPORTED: it does not. */
static enum mb_status look_passively(struct mb_describer *describer, const char *name,
                                     int64_t *ret_messages, struct mb_error *err)
{
    char existing[AMQP10_NAME_MAX];
    struct amqp10_counts counts = {-1, -1};
    int64_t unused;
    enum mb_status status = MB_UNSUPPORTED;

    switch (describer->client->product) {
    case AMQP10_PRODUCT_RABBIT:
        if (strncmp(name, "/queues/", 8) == 0)
            status = amqp10_rabbit_look(&describer->management, name, deadline_of(describer),
                                        &counts, err);
        *ret_messages = counts.messages;
        break;
    case AMQP10_PRODUCT_ARTEMIS:
        status = look_at_artemis(describer, name, ret_messages, err);
        break;
    case AMQP10_PRODUCT_RABBIT_3:
        /* A queue under this prefix is not made; only a receiver is told that it is missing. */
        snprintf(existing, sizeof existing, "%s%s", name[1] == 'q' ? "/amq" : "", name);
        if (strncmp(existing, "/amq/queue/", 11) == 0)
            status = look(describer, existing, false, false, &unused, err);
        break;
    case AMQP10_PRODUCT_CLASSIC:
    case AMQP10_PRODUCT_BROKER_J:
    case AMQP10_PRODUCT_OTHER:
        break;
    }
    /* The answer counts; that we may not ask does not. */
    return status == MB_OK || status == MB_NOT_FOUND || describer->client->failed ? status
                                                                                  : MB_UNSUPPORTED;
}

static enum mb_status describer_describe(struct mb_describer *describer, uint32_t kind,
                                         const char *name, const char *group,
                                         struct mb_stream_record *ret_record, struct mb_error *err)
{
    uint32_t struct_size = ret_record->struct_size;
    int64_t messages = -1;
    int64_t size_max = -1;
    char *copy;
    enum mb_status status = look_passively(describer, name, &messages, err);

    (void)group;
    if (status == MB_OK || status == MB_UNSUPPORTED)
        status = look(describer, name, true, false, &size_max, err);
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
    ret_record->depth_messages = messages;
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

/* "type" is the queue's type, and "x-…" are arguments as they are: RabbitMQ's words. */
static enum mb_status arguments_of(const struct mb_stream_record *record,
                                   struct mb_pair arguments[ARGUMENTS_MAX], size_t *ret_count,
                                   struct mb_error *err)
{
    size_t count = 0;

    for (uint32_t i = 0; i < record->configuration_count; i++) {
        struct mb_pair pair = record->configuration[i];

        if (strcmp(pair.name, "type") == 0)
            pair.name = "x-queue-type";
        if (strncmp(pair.name, "x-", 2) != 0 || count == ARGUMENTS_MAX)
            return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                                "address \"%.200s\" cannot be created with \"%.60s\": give type, "
                                "or a queue argument x-…",
                                record->name, pair.name);
        arguments[count++] = pair;
    }
    *ret_count = count;
    return MB_OK;
}

static enum mb_status declare(struct mb_describer *describer, const struct mb_stream_record *record,
                              struct mb_error *err)
{
    struct mb_pair arguments[ARGUMENTS_MAX];
    struct amqp10_queue queue = {.arguments = arguments};
    struct amqp10_counts unused;
    enum mb_status status = amqp10_rabbit_look(&describer->management, record->name,
                                               deadline_of(describer), &unused, err);

    if (status != MB_NOT_FOUND)
        return status;
    status = arguments_of(record, arguments, &queue.arguments_count, err);
    if (status != MB_OK)
        return status;
    status = amqp10_rabbit_declare(&describer->management, record->name, &queue,
                                   deadline_of(describer), err);
    /* Another process may have made it in the meantime, in its own way. */
    if (status != MB_OK && strcmp(err->reason, "precondition") == 0)
        status = amqp10_rabbit_look(&describer->management, record->name, deadline_of(describer),
                                    &unused, err);
    return status;
}

static enum mb_status describer_ensure(struct mb_describer *describer,
                                       const struct mb_stream_record *record, struct mb_error *err)
{
    int64_t unused;

    if (describer->client->product == AMQP10_PRODUCT_RABBIT &&
        strncmp(record->name, "/queues/", 8) == 0)
        return declare(describer, record, err);
    if (record->configuration_count > 0)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                            "%s: address \"%.200s\": this broker is not told \"%.60s\" when it "
                            "creates an address",
                            describer->client->name, record->name, record->configuration[0].name);
    if (describer->client->product == AMQP10_PRODUCT_RABBIT_3 &&
        strncmp(record->name, "/amq/queue/", 11) == 0)
        return look(describer, record->name + 4, true, true, &unused, err);
    return look(describer, record->name, true, true, &unused, err);
}

struct listing {
    void (*each)(void *context, const char *name, bool internal);
    void *context;
};

/* Temporary queues are named by a UUID alone, and belong to one connection. */
static bool is_uuid(const char *name)
{
    return strlen(name) == 36 && name[8] == '-' && name[13] == '-' && name[18] == '-' &&
           name[23] == '-' && strspn(name, "0123456789abcdef-") == 36;
}

static void list_one(void *context, const char *name)
{
    const struct listing *listing = context;
    bool internal = name[0] == '$' || strncmp(name, "activemq.", 9) == 0 ||
                    strncmp(name, "mbridge.active", 14) == 0 || strcmp(name, "DLQ") == 0 ||
                    strcmp(name, "ExpiryQueue") == 0 || is_uuid(name);

    listing->each(listing->context, name, internal);
}

static enum mb_status describer_list(struct mb_describer *describer,
                                     void (*each)(void *context, const char *name, bool internal),
                                     void *context, struct mb_error *err)
{
    struct listing listing = {each, context};

    if (describer->client->product != AMQP10_PRODUCT_ARTEMIS)
        return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_DESTINATION, "list",
                            "%s: this broker cannot be asked for its addresses over AMQP 1.0: "
                            "name them",
                            describer->client->name);
    return amqp10_artemis_list(&describer->management, deadline_of(describer), list_one, &listing,
                               err);
}

const struct mb_describe_ops amqp10_describe_ops = {
    .struct_size = sizeof(struct mb_describe_ops),
    .open = describer_open,
    .identity = describer_identity,
    .describe = describer_describe,
    .clear = describer_clear,
    .ensure = describer_ensure,
    .list = describer_list,
    .close = describer_close,
};
