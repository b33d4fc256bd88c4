/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions of the producer, for effectively once: what is sent becomes visible together with
 * how far the source was read, or not at all.
 *
 * The transactional.id is GROUP.HOST.SLOT.LANE: an instance that comes after one that was killed
 * takes the same slot, and with the id it aborts at once what that one left open. The host is part
 * of it because two hosts have the same slots: they must not fence each other off.
 *
 * What the operations return (sink.h), in words of the core:
 *   begin           MB_OK; MB_DISCONNECTED. Never waits for a broker.
 *   positions       MB_OK; MB_NO_MEMORY. A copy is kept; commit writes it.
 *   commit          MB_OK: committed.
 *                   MB_REJECTED: surely nothing was committed: abort it.
 *                   MB_DISCONNECTED: it is not known, or another instance has fenced this one off
 *                   (reason "fenced"). load_positions of the next instance tells.
 *   abort           MB_OK: what was in flight is gone, without completion.
 *                   MB_DISCONNECTED: not in time; the next instance's open aborts it.
 *   load_positions  MB_OK; MB_DISCONNECTED. MB_TIMEOUT, MB_DENIED, MB_INVALID, MB_UNSUPPORTED: the
 *                   instance is as it was.
 * MB_INVALID besides: called out of turn.
 *
 * A record that the broker refuses within a transaction spoils it. The library then drops the
 * others, which complete as CONNECTION, and takes no more: nothing is in flight soon.
 */
#include "kafka_store.h"

#define SLICE_MS      1000 /* a token may be wanted while a call blocks */
#define PAUSE_MS      20
#define ABORT_ASK_MS  10
#define RETRY_WAIT_MS 50

int64_t kafka_left_ms(const struct mb_sink *sink, int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - sink->host->monotonic_ms(sink->host->context);

    return left_ms > 0 ? left_ms : 0;
}

static int64_t deadline_in(const struct mb_sink *sink, uint32_t timeout_ms)
{
    return sink->host->monotonic_ms(sink->host->context) + timeout_ms;
}

static enum mb_status out_of_turn(struct mb_error *err, const char *text)
{
    return mb_error_set(err, MB_INVALID, MB_CAUSE_CONNECTION, "transaction", "%s", text);
}

/* ---- life ---- */

/* The list of brokers is not part of the slot: two ways to write it would give one name to two. */
static enum mb_status take_slot(struct kafka_transaction *transaction,
                                const struct mb_open_params *params, struct mb_error *err)
{
    char host[MB_SLOT_HOST_SIZE];
    char lane[16];
    const char *parts[] = {params->default_group, lane};
    int size;

    snprintf(lane, sizeof lane, "%u", params->lane);
    if (mb_slot_take("mbridge-once", &(struct mb_strings){parts, 2}, KAFKA_SLOTS_MAX,
                     &transaction->slot) != MB_OK)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "descriptors",
                            "no free number for the transactional id of group %s",
                            params->default_group);
    mb_slot_host(host, sizeof host);
    size = snprintf(transaction->owner, sizeof transaction->owner, "%lld %s.%s.%u.%s",
                    (long long)params->host->wall_ms(params->host->context), params->default_group,
                    host, transaction->slot.number, lane);
    transaction->id = kafka_stored_writer(transaction->owner);
    if (size < 0 || (size_t)size >= sizeof transaction->owner)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "settings",
                            "the name of group %s is too long", params->default_group);
    return MB_OK;
}

enum mb_status kafka_transaction_create(struct mb_sink *sink, const struct mb_open_params *params,
                                        struct mb_error *err)
{
    struct kafka_transaction *transaction = kafka_alloc(params->host, sizeof *transaction);

    if (transaction == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    sink->transaction = transaction;
    transaction->slot.fd = -1;
    transaction->topic = sink->options->positions_topic;
    transaction->texts.max_size = KAFKA_STORE_BYTES_MAX;
    transaction->partition = kafka_stored_partition(params->default_group);
    transaction->params = (struct mb_open_params){
        .struct_size = sizeof *params, .host = params->host, .endpoint = params->endpoint};
    return take_slot(transaction, params, err);
}

void kafka_transaction_destroy(struct mb_sink *sink)
{
    struct kafka_transaction *transaction = sink->transaction;

    if (transaction == NULL)
        return;
    mb_slot_release(&transaction->slot);
    mb_text_release(&transaction->texts);
    kafka_free(sink->host, transaction->entries);
    kafka_free(sink->host, transaction);
    sink->transaction = NULL;
}

/* A request must not wait longer than the transaction lasts. */
static enum mb_status configure(const struct mb_sink *sink, const char *id, rd_kafka_conf_t *conf,
                                struct mb_error *err)
{
    char text[24];
    enum mb_status status = kafka_property_set(conf, "transactional.id", id, err);

    snprintf(text, sizeof text, "%lld", (long long)sink->options->transaction_timeout_ms);
    if (status == MB_OK)
        status = kafka_property_set(conf, "transaction.timeout.ms", text, err);
    if (status == MB_OK && sink->options->transaction_timeout_ms < 30000)
        status = kafka_property_set(conf, "socket.timeout.ms", text, err);
    return status;
}

enum mb_status kafka_transaction_configure(const struct mb_sink *sink, rd_kafka_conf_t *conf,
                                           struct mb_error *err)
{
    return configure(sink, sink->transaction->id, conf, err);
}

/* ---- errors ---- */

/* Takes the error over. true: the same may be tried again. */
static bool error_read(struct kafka_client *client, rd_kafka_error_t *error, const char *what,
                       enum mb_status *ret_status, struct mb_error *err)
{
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    bool may_retry = rd_kafka_error_is_retriable(error);

    *ret_status = MB_DISCONNECTED;
    if (rd_kafka_error_is_fatal(error) || rd_kafka_fatal_error(client->rk, NULL, 0) != 0) {
        may_retry = false;
        kafka_client_fail_fatal(client, rd_kafka_error_string(error));
        kafka_client_failure(client, err);
        if (code == RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT)
            *ret_status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "settings",
                                       "transaction_timeout: %s", rd_kafka_error_string(error));
        else if (code == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED ||
                 code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
            *ret_status = mb_error_set(err, MB_DENIED, MB_CAUSE_CONNECTION, "forbidden", "%s: %s",
                                       what, rd_kafka_error_string(error));
        else if (code == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE)
            *ret_status = mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_CONNECTION, "broker", "%s: %s",
                                       what, rd_kafka_error_string(error));
    } else {
        if (may_retry)
            *ret_status = MB_TIMEOUT;
        mb_error_set(err, *ret_status, MB_CAUSE_CONNECTION, kafka_reason_of(code), "%s: %s", what,
                     rd_kafka_error_string(error));
    }
    rd_kafka_error_destroy(error);
    return may_retry;
}

static enum mb_status init_client(struct mb_sink *sink, struct kafka_client *client,
                                  int64_t deadline_ms, const char *id, struct mb_error *err)
{
    char what[KAFKA_OWNER_SIZE + 32];
    enum mb_status status;
    rd_kafka_error_t *error;

    snprintf(what, sizeof what, "transactional id %s", id);
    do {
        int64_t left_ms = kafka_left_ms(sink, deadline_ms);

        error = rd_kafka_init_transactions(client->rk,
                                           (int)(left_ms < SLICE_MS ? left_ms + 1 : SLICE_MS));
        if (error == NULL)
            return MB_OK;
        kafka_events_serve(client, 0);
        if (!error_read(client, error, what, &status, err))
            return status;
        if (kafka_left_ms(sink, deadline_ms) > RETRY_WAIT_MS)
            kafka_events_serve(client, RETRY_WAIT_MS);
    } while (kafka_left_ms(sink, deadline_ms) > 0);
    return status;
}

enum mb_status kafka_transaction_init(struct mb_sink *sink, int64_t deadline_ms,
                                      struct mb_error *err)
{
    int64_t offset;
    enum mb_status status =
        init_client(sink, &sink->client, deadline_ms, sink->transaction->id, err);

    if (status == MB_OK)
        status = kafka_store_prepare(sink, deadline_ms, err);
    return status == MB_OK ? kafka_transaction_store(sink, deadline_ms, &offset, err) : status;
}

enum mb_status kafka_transaction_fence(struct mb_sink *sink, const char *writer,
                                       int64_t deadline_ms, struct mb_error *err)
{
    const struct kafka_endpoint_options *endpoint = sink->client.endpoint;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    struct kafka_client client = {.wake_fd = -1, .host = sink->host, .endpoint = endpoint};
    enum mb_status status = kafka_properties_base(conf, endpoint, err);

    if (status == MB_OK)
        status = configure(sink, writer, conf, err);
    if (status == MB_OK)
        status = kafka_properties_user(conf, endpoint, err);
    if (status != MB_OK) {
        rd_kafka_conf_destroy(conf);
        return status;
    }
    kafka_client_events(conf, endpoint, 0);
    status = kafka_client_init(&client, &sink->transaction->params, RD_KAFKA_PRODUCER, conf, err);
    if (status != MB_OK)
        return status;
    status = init_client(sink, &client, deadline_ms, writer, err);
    kafka_client_release(&client);
    return status;
}

/* ---- entries ---- */

static void forget_entries(struct kafka_transaction *transaction)
{
    transaction->entries_count = 0;
    mb_text_clear(&transaction->texts);
}

/* What follows key_at in texts is the key, and the value is to come. */
static enum mb_status add_entry(struct mb_sink *sink, size_t key_at, struct mb_position position,
                                const char *owner, struct mb_error *err)
{
    struct kafka_transaction *transaction = sink->transaction;
    struct mb_text *texts = &transaction->texts;
    struct kafka_entry entry = {.key_at = key_at, .key_size = texts->size - key_at};

    entry.value_at = texts->size;
    kafka_stored_value(texts, position, owner);
    entry.value_size = texts->size - entry.value_at;
    if (texts->failed ||
        kafka_reserve(sink->host, (void **)&transaction->entries, sizeof entry,
                      transaction->entries_count, &transaction->entries_capacity) != MB_OK)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                            "out of memory for positions");
    transaction->entries[transaction->entries_count++] = entry;
    return MB_OK;
}

enum mb_status kafka_transaction_add(struct mb_sink *sink, const char *group,
                                     const struct mb_stored_position *stored, const char *owner,
                                     struct mb_error *err)
{
    struct mb_text *texts = &sink->transaction->texts;
    size_t key_at = texts->size;

    sink->transaction->partition = kafka_stored_partition(group);
    kafka_stored_key(texts, group, stored);
    return add_entry(sink, key_at, stored->position, owner, err);
}

/* ---- reports ---- */

bool kafka_transaction_report(struct mb_sink *sink, const rd_kafka_message_t *report)
{
    struct kafka_transaction *transaction = sink->transaction;

    if (transaction != NULL && report->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        transaction->failed = true;
    if (report->_private != NULL)
        return false;
    transaction->storing--;
    if (report->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        transaction->store_code = report->err;
    else if (report->offset > transaction->stored_offset)
        transaction->stored_offset = report->offset;
    return true;
}

/* Reads what came, waiting up to timeout_ms for a first event. What the reports are about other
 * than positions is forgotten: nobody waits for it any more. */
static void serve(struct mb_sink *sink, int timeout_ms)
{
    rd_kafka_event_t *event = sink->reports;
    const rd_kafka_message_t *report;

    sink->reports = NULL;
    if (event == NULL)
        event = rd_kafka_queue_poll(sink->client.events, timeout_ms);
    for (; event != NULL; event = rd_kafka_queue_poll(sink->client.events, 0)) {
        if (rd_kafka_event_type(event) != RD_KAFKA_EVENT_DR) {
            kafka_client_event(&sink->client, event);
        } else {
            while ((report = rd_kafka_event_message_next(event)) != NULL) {
                if (!kafka_transaction_report(sink, report))
                    kafka_sent_forget(sink, report);
            }
        }
        rd_kafka_event_destroy(event);
    }
}

/* ---- the operations ---- */

enum mb_status kafka_sink_begin(struct mb_sink *sink, struct mb_error *err)
{
    struct kafka_transaction *transaction = sink->transaction;
    rd_kafka_error_t *error;
    enum mb_status status;

    if (sink->client.failed)
        return kafka_client_failure(&sink->client, err);
    if (transaction == NULL || transaction->open)
        return out_of_turn(err, transaction == NULL ? "the sink was not opened for transactions"
                                                    : "a transaction has begun already");
    error = rd_kafka_begin_transaction(sink->client.rk);
    if (error != NULL) {
        error_read(&sink->client, error, "beginning a transaction", &status, err);
        kafka_client_fail(&sink->client, err->reason, "%s", err->text);
        return kafka_client_failure(&sink->client, err);
    }
    transaction->open = true;
    transaction->failed = false;
    transaction->store_code = RD_KAFKA_RESP_ERR_NO_ERROR;
    transaction->stored_offset = -1;
    return MB_OK;
}

enum mb_status kafka_sink_positions(struct mb_sink *sink, const char *group,
                                    const struct mb_stored_position *positions, size_t count,
                                    struct mb_error *err)
{
    struct kafka_transaction *transaction = sink->transaction;
    enum mb_status status = MB_OK;

    if (transaction == NULL || !transaction->open)
        return out_of_turn(err, "positions belong to a transaction");
    forget_entries(transaction);
    for (size_t i = 0; status == MB_OK && i < count; i++)
        status = kafka_transaction_add(
            sink, group, &positions[i],
            (positions[i].flags & MB_STORED_RELEASED) != 0 ? "" : transaction->owner, err);
    if (status != MB_OK)
        forget_entries(transaction);
    return status;
}

/* Hands one record to the library, which copies it. */
static rd_kafka_resp_err_t produce(struct mb_sink *sink, struct mb_slice key, struct mb_slice value)
{
    struct kafka_transaction *transaction = sink->transaction;
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = transaction->topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = transaction->partition},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)key.data, key.size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)value.data, value.size}},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = NULL},
    };
    rd_kafka_error_t *error =
        rd_kafka_produceva(sink->client.rk, parts, sizeof parts / sizeof parts[0]);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;

    if (error != NULL) {
        code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
    } else {
        transaction->storing++;
    }
    return code;
}

/* Writes the entries and waits until they are confirmed. */
static rd_kafka_resp_err_t write_entries(struct mb_sink *sink, int64_t deadline_ms)
{
    struct kafka_transaction *transaction = sink->transaction;
    size_t next = 0;

    while (!sink->client.failed && !transaction->failed &&
           (next < transaction->entries_count || transaction->storing > 0)) {
        rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;

        while (next < transaction->entries_count && code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            const struct kafka_entry *entry = &transaction->entries[next];
            const char *texts = transaction->texts.data;

            code = produce(sink, (struct mb_slice){texts + entry->key_at, entry->key_size},
                           (struct mb_slice){texts + entry->value_at, entry->value_size});
            next += code == RD_KAFKA_RESP_ERR_NO_ERROR;
        }
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return code;
        if (kafka_left_ms(sink, deadline_ms) == 0)
            return RD_KAFKA_RESP_ERR__TIMED_OUT;
        rd_kafka_flush(sink->client.rk, 1); /* they have nobody to linger for */
        serve(sink, PAUSE_MS);
    }
    return transaction->failed && transaction->store_code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? RD_KAFKA_RESP_ERR__STATE
               : transaction->store_code;
}

/* Asks the library, which has nothing in flight any more. */
static enum mb_status commit_asked(struct mb_sink *sink, int64_t deadline_ms, struct mb_error *err)
{
    struct kafka_client *client = &sink->client;
    enum mb_status status = MB_TIMEOUT;
    rd_kafka_error_t *error;

    do {
        int64_t left_ms = kafka_left_ms(sink, deadline_ms);

        error = rd_kafka_commit_transaction(client->rk,
                                            (int)(left_ms < SLICE_MS ? left_ms + 1 : SLICE_MS));
        if (error == NULL)
            return MB_OK;
        if (rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__INCONSISTENT) {
            mb_error_set(err, MB_REJECTED, MB_CAUSE_CONNECTION, "transaction", "%s",
                         rd_kafka_error_string(error));
            rd_kafka_error_destroy(error);
            return MB_REJECTED;
        }
        if (!error_read(client, error, "commit", &status, err))
            break;
        serve(sink, kafka_left_ms(sink, deadline_ms) > RETRY_WAIT_MS ? RETRY_WAIT_MS : 0);
    } while (kafka_left_ms(sink, deadline_ms) > 0);
    /* Some errors let the library abort, but leave open what the broker did before: the positions
     * tell. */
    kafka_client_fail(client, err->reason, "%s", err->text);
    return kafka_client_failure(client, err);
}

static enum mb_status commit(struct mb_sink *sink, int64_t deadline_ms, struct mb_error *err)
{
    struct kafka_transaction *transaction = sink->transaction;
    rd_kafka_resp_err_t code;
    enum mb_status status;

    serve(sink, 0); /* an event that was read holds its messages back until it is destroyed */
    code = write_entries(sink, deadline_ms);
    if (sink->client.failed)
        return kafka_client_failure(&sink->client, err);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return mb_error_set(
            err, MB_REJECTED, MB_CAUSE_CONNECTION,
            code == RD_KAFKA_RESP_ERR__STATE ? "transaction" : kafka_reason_of(code),
            "positions in topic %s: %s", transaction->topic, rd_kafka_err2str(code));
    status = commit_asked(sink, deadline_ms, err);
    if (status != MB_OK)
        return status;
    transaction->open = false;
    sink->healthy = true;
    forget_entries(transaction);
    return MB_OK;
}

enum mb_status kafka_sink_commit(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err)
{
    struct kafka_transaction *transaction = sink->transaction;

    if (sink->client.failed)
        return kafka_client_failure(&sink->client, err);
    if (transaction == NULL || !transaction->open)
        return out_of_turn(err, "no transaction has begun");
    if (sink->in_flight > 0 || sink->refused_at < sink->refused_count)
        return out_of_turn(err, "messages are in flight");
    return commit(sink, deadline_in(sink, timeout_ms), err);
}

enum mb_status kafka_sink_abort(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err)
{
    struct kafka_transaction *transaction = sink->transaction;
    struct kafka_client *client = &sink->client;
    int64_t deadline_ms = deadline_in(sink, timeout_ms);
    rd_kafka_error_t *error;
    enum mb_status status;

    if (transaction == NULL)
        return out_of_turn(err, "no transaction has begun");
    sink->refused_at = sink->refused_count = 0;
    forget_entries(transaction);
    if (!transaction->open)
        return MB_OK;
    do {
        int64_t left_ms = kafka_left_ms(sink, deadline_ms);

        if (client->failed)
            return kafka_client_failure(client, err);
        /* It drops what is queued and waits until no report is left, which are ours to read. */
        serve(sink, 0);
        if (sink->in_flight > 0 || transaction->storing > 0)
            left_ms = ABORT_ASK_MS;
        error = rd_kafka_abort_transaction(client->rk,
                                           (int)(left_ms < SLICE_MS ? left_ms + 1 : SLICE_MS));
        if (error == NULL) {
            serve(sink, 0);
            transaction->open = false;
            return MB_OK;
        }
        if (!error_read(client, error, "abort", &status, err))
            break;
        serve(sink, PAUSE_MS);
    } while (kafka_left_ms(sink, deadline_ms) > 0);
    kafka_client_fail(client, err->reason, "%s", err->text);
    return kafka_client_failure(client, err);
}

enum mb_status kafka_transaction_store(struct mb_sink *sink, int64_t deadline_ms,
                                       int64_t *ret_offset, struct mb_error *err)
{
    struct kafka_transaction *transaction = sink->transaction;
    enum mb_status status = kafka_sink_begin(sink, err);

    if (status == MB_OK && transaction->entries_count == 0) {
        kafka_stored_instance(&transaction->texts, transaction->id);
        status = add_entry(sink, 0, (struct mb_position){.kind = MB_POSITION_NONE},
                           transaction->owner, err);
    }
    if (status == MB_OK)
        status = commit(sink, deadline_ms, err);
    forget_entries(transaction);
    if (status == MB_OK) {
        *ret_offset = transaction->stored_offset;
        return MB_OK;
    }
    kafka_client_fail(&sink->client, err->reason, "%s", err->text);
    return kafka_client_failure(&sink->client, err);
}

enum mb_status kafka_sink_load_positions(struct mb_sink *sink, const char *group,
                                         struct mb_stored_position *positions, size_t count,
                                         uint32_t timeout_ms, struct mb_error *err)
{
    if (sink->client.failed)
        return kafka_client_failure(&sink->client, err);
    if (sink->transaction == NULL || sink->transaction->open)
        return out_of_turn(err, sink->transaction == NULL
                                    ? "the sink was not opened for transactions"
                                    : "a transaction is open");
    sink->transaction->partition = kafka_stored_partition(group);
    return count == 0 ? MB_OK : kafka_store_load(sink, group, positions, count, timeout_ms, err);
}
