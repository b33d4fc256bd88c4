/* SPDX-License-Identifier: Apache-2.0 */
/* The positions of a group in streams, each one message in a queue of length 1. */
#include "amqp_stream.h"

#define STORE_CHANNEL 1u
#define LOOK_CHANNEL  2u
#define OUTPUT_SIZE   ((size_t)512 * 1024)
#define NAME_PREFIX   "mbridge.offset."
#define POSITION_SIZE 32u

struct stored {
    char name[AMQP_SHORTSTR_MAX + 1];
    uint64_t next;   /* noted */
    uint64_t stored; /* confirmed, or on its way there */
    uint64_t tag;    /* of what is on its way */
    bool open;       /* it is */
    bool known;      /* stored holds */
    bool dirty;
    bool was_known; /* when it was opened */
    uint64_t was_next;
};

struct amqp_store {
    struct amqp_client *client;
    const struct mb_host *host;
    uint64_t next_tag;
    uint32_t open_count; /* positions on their way */
    bool finished;       /* a commit is stored, and nobody knows yet */
    uint32_t count;
    struct stored queues[];
};

static bool parse_position(struct mb_slice body, uint64_t *ret_next)
{
    struct mb_position position;
    char text[POSITION_SIZE];

    if (body.size == 0 || body.size >= sizeof text)
        return false;
    memcpy(text, body.data, body.size);
    text[body.size] = '\0';
    if (mb_position_parse(text, &position) != MB_OK || position.kind != MB_POSITION_OFFSET)
        return false;
    *ret_next = position.lo;
    return true;
}

/* Gets the message and gives it back. If a newer one has come meanwhile, the queue drops the older,
 * which stands before it. */
static enum mb_status get(struct amqp_client *client, unsigned channel, const char *name,
                          int64_t deadline_ms, uint64_t *ret_next, struct mb_error *err)
{
    struct amqp_writer writer = amqp_client_writer(client);
    struct amqp_event event;
    struct amqp_cursor cursor;
    enum mb_status status;
    bool found;

    amqp_frame_get(&writer, channel, mb_slice_text(name));
    amqp_client_commit(client, &writer);
    status = amqp_client_get(client, channel, deadline_ms, &event, err);
    if (status != MB_OK)
        return status;
    cursor = amqp_cursor_of(event.arguments);
    found = parse_position(event.body, ret_next);
    writer = amqp_client_writer(client);
    amqp_frame_requeue(&writer, channel, amqp_take_u64(&cursor));
    amqp_client_commit(client, &writer);
    if (!found)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_DESTINATION, "position",
                            "%s: queue \"%s\" holds no position of a stream", client->name, name);
    return MB_OK;
}

enum mb_status amqp_store_read(struct amqp_client *client, unsigned channel, const char *group,
                               const char *queue, int64_t deadline_ms, uint64_t *ret_next,
                               struct mb_error *err)
{
    char name[AMQP_SHORTSTR_MAX + 1];

    amqp_own_name(NAME_PREFIX, group, queue, name);
    return get(client, channel, name, deadline_ms, ret_next, err);
}

/* A classic queue: on a quorum queue each look would count as a failed delivery. */
static enum mb_status declare(struct amqp_store *store, struct stored *stored, int64_t deadline_ms,
                              struct mb_error *err)
{
    static const struct mb_pair arguments[] = {
        {"x-max-length", "1"}, {"x-overflow", "drop-head"}, {"x-queue-type", "classic"}};
    struct amqp_queue_declaration declaration = {.name = mb_slice_text(stored->name),
                                                 .arguments = arguments,
                                                 .arguments_count = 3,
                                                 .durable = true};
    struct amqp_writer writer = amqp_client_writer(store->client);
    enum mb_status status;

    amqp_frame_queue_declare(&writer, STORE_CHANNEL, &declaration);
    status = amqp_client_request(store->client, &writer, STORE_CHANNEL, AMQP_QUEUE_DECLARED,
                                 deadline_ms, err);
    if (status != MB_OK) {
        amqp_error_name_queue(err, stored->name);
        return status;
    }
    status = get(store->client, STORE_CHANNEL, stored->name, deadline_ms, &stored->stored, err);
    if (status == MB_NOT_FOUND)
        return MB_OK;
    stored->known = status == MB_OK;
    stored->was_known = stored->known;
    stored->was_next = stored->stored;
    return status;
}

enum mb_status amqp_store_open(const struct mb_open_params *params, const char *group,
                               const char *const *queues, uint32_t count, int64_t deadline_ms,
                               struct amqp_store **ret_store, struct mb_error *err)
{
    struct amqp_store *store =
        amqp_alloc_zero(params->host, sizeof *store + count * sizeof store->queues[0]);
    struct amqp_writer writer;
    enum mb_status status;

    if (store == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    store->host = params->host;
    store->count = count;
    store->next_tag = 1;
    status =
        amqp_client_open(params, params->endpoint, LOOK_CHANNEL, OUTPUT_SIZE, &store->client, err);
    for (uint32_t i = 0; status == MB_OK && i < count; i++) {
        amqp_own_name(NAME_PREFIX, group, queues[i], store->queues[i].name);
        status = declare(store, &store->queues[i], deadline_ms, err);
    }
    if (status == MB_OK) {
        writer = amqp_client_writer(store->client);
        amqp_frame_simple(&writer, STORE_CHANNEL, AMQP_CONFIRM_SELECT);
        status = amqp_client_request(store->client, &writer, STORE_CHANNEL, AMQP_CONFIRM_SELECTED,
                                     deadline_ms, err);
    }
    if (status != MB_OK) {
        amqp_store_close(store, 0);
        return status;
    }
    *ret_store = store;
    return MB_OK;
}

struct amqp_client *amqp_store_client(struct amqp_store *store)
{
    return store->client;
}

bool amqp_store_next(const struct amqp_store *store, uint32_t queue, uint64_t *ret_next)
{
    *ret_next = store->queues[queue].was_next;
    return store->queues[queue].was_known;
}

void amqp_store_note(struct amqp_store *store, uint32_t queue, uint64_t next)
{
    struct stored *stored = &store->queues[queue];

    stored->next = next;
    stored->dirty = !stored->known || stored->stored != next;
}

static void put_position(struct amqp_writer *writer, const struct stored *stored)
{
    char text[POSITION_SIZE];
    size_t size =
        (size_t)snprintf(text, sizeof text, "offset:%llu", (unsigned long long)stored->next);
    unsigned char *frame;

    amqp_frame_publish(writer, STORE_CHANNEL, amqp_not_null(MB_SLICE_NULL),
                       mb_slice_text(stored->name), true);
    frame = amqp_frame_begin(writer, 2, STORE_CHANNEL);
    amqp_put_u16(writer, AMQP_CLASS_BASIC);
    amqp_put_u16(writer, 0);
    amqp_put_u64(writer, size);
    amqp_put_u16(writer, AMQP_PROPERTY_CONTENT_TYPE | AMQP_PROPERTY_DELIVERY_MODE);
    amqp_put_shortstr(writer, MB_SLICE_LITERAL("text/plain"));
    amqp_put_u8(writer, AMQP_MODE_PERSISTENT);
    amqp_frame_end(writer, frame);
    frame = amqp_frame_begin(writer, 3, STORE_CHANNEL);
    amqp_put_bytes(writer, (struct mb_slice){text, size});
    amqp_frame_end(writer, frame);
}

static enum mb_status publish(struct amqp_store *store, struct mb_error *err)
{
    struct amqp_writer writer = amqp_client_writer(store->client);
    enum mb_status status;

    for (uint32_t i = 0; i < store->count; i++) {
        struct stored *stored = &store->queues[i];

        if (!stored->dirty)
            continue;
        put_position(&writer, stored);
        stored->dirty = false;
        stored->known = true;
        stored->stored = stored->next;
        stored->tag = store->next_tag++;
        stored->open = true;
        store->open_count++;
    }
    store->finished = store->open_count == 0;
    if (!amqp_client_commit(store->client, &writer))
        return amqp_client_fail(store->client, err, "stuck", "the broker takes no positions");
    status = amqp_client_write(store->client, err);
    return status == MB_AGAIN ? MB_OK : status;
}

static enum mb_status take_confirm(struct amqp_store *store, struct mb_slice arguments,
                                   struct mb_error *err)
{
    struct amqp_cursor cursor = amqp_cursor_of(arguments);
    uint64_t tag = amqp_take_u64(&cursor);
    bool multiple = (amqp_take_u8(&cursor) & 1) != 0;

    if (cursor.bad || tag >= store->next_tag)
        return amqp_client_fail(store->client, err, "protocol", "a confirm of what was never sent");
    for (uint32_t i = 0; i < store->count; i++) {
        struct stored *stored = &store->queues[i];

        if (stored->open && (stored->tag == tag || (multiple && stored->tag < tag))) {
            stored->open = false;
            store->open_count--;
        }
    }
    store->finished = store->finished || store->open_count == 0;
    return MB_OK;
}

static enum mb_status await_confirms(struct amqp_store *store, int64_t deadline_ms,
                                     struct mb_error *err)
{
    while (store->open_count > 0) {
        struct mb_slice arguments;
        enum mb_status status = amqp_client_call(store->client, STORE_CHANNEL, AMQP_BASIC_ACK,
                                                 deadline_ms, &arguments, err);

        if (status == MB_OK)
            status = take_confirm(store, arguments, err);
        if (status != MB_OK)
            return status;
    }
    return MB_OK;
}

enum mb_status amqp_store_commit(struct amqp_store *store, uint32_t wait_ms, struct mb_error *err)
{
    int64_t deadline_ms = store->host->monotonic_ms(store->host->context) + wait_ms;
    enum mb_status status = MB_OK;

    if (store->open_count > 0) {
        if (wait_ms == 0)
            return MB_AGAIN;
        status = await_confirms(store, deadline_ms, err);
    }
    if (status == MB_OK)
        status = publish(store, err);
    if (status == MB_OK && wait_ms > 0)
        status = await_confirms(store, deadline_ms, err);
    return status;
}

enum mb_status amqp_store_service(struct amqp_store *store, bool *ret_stored, struct mb_error *err)
{
    struct amqp_client *client = store->client;
    enum mb_status status = amqp_client_read(client, err);

    while (status == MB_OK || status == MB_AGAIN) {
        struct amqp_event event;
        enum amqp_event_kind kind = amqp_reader_next(&client->reader, &event);

        if (kind == AMQP_EVENT_NONE)
            break;
        if (kind == AMQP_EVENT_BAD || kind == AMQP_EVENT_NO_MEMORY)
            return amqp_client_fail(client, err, "protocol", "the broker sent no AMQP 0-9-1");
        if (kind == AMQP_EVENT_CONTENT) {
            if (event.method == AMQP_BASIC_RETURN)
                return amqp_client_fail(client, err, "missing",
                                        "the queue of a stream's position is gone");
            continue;
        }
        if (event.method == AMQP_BASIC_ACK)
            status = take_confirm(store, event.arguments, err);
        else if (event.method == AMQP_BASIC_NACK)
            status = amqp_client_fail(client, err, "refused",
                                      "the broker does not store a stream's position");
        else
            status = amqp_client_method(client, &event, err);
    }
    if (status == MB_OK || status == MB_AGAIN)
        status = amqp_client_service(client, err);
    *ret_stored = store->finished;
    store->finished = false;
    return status;
}

void amqp_store_fds(const struct amqp_store *store, struct mb_wait *wait)
{
    amqp_client_fds(store->client, wait);
    if (store->finished || store->client->unread)
        wait->ready = true;
}

void amqp_store_close(struct amqp_store *store, uint32_t wait_ms)
{
    if (store == NULL)
        return;
    amqp_client_close(store->client, wait_ms);
    store->host->release(store->host->context, store);
}
