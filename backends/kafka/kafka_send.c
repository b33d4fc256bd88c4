/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending one message: its form, its partition, and what becomes of it when it is refused.
 */
#include "kafka_sink.h"

/* How many records go one by one after a batch was too large for the topic. */
#define ALONE_COUNT 10000u

/* ---- partitions ---- */

static int32_t by_bytes(const rd_kafka_topic_t *topic, struct mb_slice bytes, int32_t count)
{
    return rd_kafka_msg_partitioner_murmur2(topic, bytes.data != NULL ? bytes.data : "", bytes.size,
                                            count, NULL, NULL);
}

/*
 * Any thread. By key, as Java clients do; a record without key stays in order with the others of
 * its stream: in the partition it had, or in one that the stream's name decides.
 */
int32_t kafka_partitioner(const rd_kafka_topic_t *topic, const void *key, size_t key_size,
                          int32_t count, void *topic_opaque, void *message_opaque)
{
    const struct mb_sink *sink = topic_opaque;
    struct kafka_sent *sent = message_opaque;
    const struct mb_origin *origin = sent->message->origin;
    int32_t had = origin != NULL ? origin->partition : -1;
    enum kafka_partition_rule rule = (enum kafka_partition_rule)sink->options->partition;

    sent->unfit = rule == KAFKA_PARTITION_PRESERVE && (had < 0 || had >= count);
    if (rule == KAFKA_PARTITION_PRESERVE)
        return sent->unfit ? RD_KAFKA_PARTITION_UA : had;
    if (rule == KAFKA_PARTITION_AUTO && had >= 0 && had < count &&
        origin->partitions_count == count)
        return had;
    if (key != NULL)
        return by_bytes(topic, (struct mb_slice){key, key_size}, count);
    if (rule == KAFKA_PARTITION_SPREAD)
        return rd_kafka_msg_partitioner_random(topic, NULL, 0, count, NULL, NULL);
    if (had >= 0)
        return had % count;
    return by_bytes(topic, origin != NULL ? origin->stream : MB_SLICE_NULL, count);
}

/* ---- what is under way ---- */

static struct kafka_sent *sent_take(struct mb_sink *sink)
{
    struct kafka_sent *sent = sink->free;
    struct kafka_sent_chunk *chunk;

    if (sent == NULL) {
        chunk = kafka_alloc(sink->host, sizeof *chunk);
        if (chunk == NULL)
            return NULL;
        chunk->next = sink->chunks;
        sink->chunks = chunk;
        for (size_t i = 0; i < KAFKA_SLOTS_CHUNK; i++) {
            chunk->items[i].next = sink->free;
            sink->free = &chunk->items[i];
        }
        sent = sink->free;
    }
    sink->free = sent->next;
    return sent;
}

static void sent_give(struct mb_sink *sink, struct kafka_sent *sent)
{
    sent->message = NULL;
    sent->next = sink->free;
    sink->free = sent;
}

void kafka_sent_release(struct mb_sink *sink)
{
    struct kafka_sent_chunk *next;

    for (struct kafka_sent_chunk *chunk = sink->chunks; chunk != NULL; chunk = next) {
        next = chunk->next;
        kafka_free(sink->host, chunk);
    }
    sink->chunks = NULL;
    sink->free = NULL;
}

/* ---- results ---- */

static uint32_t cause_of(const struct mb_sink *sink, rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return MB_CAUSE_NONE;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        return MB_CAUSE_MESSAGE;
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: /* the topic has been deleted under it */
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        return sink->templated ? MB_CAUSE_MESSAGE : MB_CAUSE_DESTINATION;
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__DESTROY:
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__STATE: /* the transaction has failed already, by another record */
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_INVALID_TXN_STATE:
    case RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER: /* after one that was refused */
    case RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID:
        return MB_CAUSE_CONNECTION;
    default:
        /* Authorisation, policies, quotas, too few replicas: it is the destination's state, and
         * waiting is never wrong where no message was refused for what it is. INVALID_MSG too: a
         * checksum that is wrong was damaged on the way. */
        return MB_CAUSE_DESTINATION;
    }
}

static const char *result_reason(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return "too-large";
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return "missing";
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
        return "invalid";
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
        return "damaged";
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
        return "replicas";
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__STATE:
    case RD_KAFKA_RESP_ERR_INVALID_TXN_STATE:
    case RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
    case RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID:
        return "transaction";
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
        return "timeout";
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
        return "fenced";
    default:
        return kafka_reason_of(code);
    }
}

/* The rule `preserve` leaves a record without a place. */
static void unfit_fill(struct mb_completion *completion)
{
    completion->cause = MB_CAUSE_MESSAGE;
    completion->reason = "partition";
    completion->text = "the topic has no partition of the number that the record had";
}

/*
 * A batch is refused as a whole if it is too large, though each record might fit. So after such a
 * refusal records go one by one for a while: what fails alone is too large, what failed in company
 * is sent again in its order.
 */
static void completion_fill(struct mb_sink *sink, struct mb_completion *completion,
                            uint64_t sequence, rd_kafka_resp_err_t code)
{
    bool too_large = code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
                     code == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE;

    memset(completion, 0, sizeof *completion);
    completion->sequence = sequence;
    completion->partition = -1;
    completion->cause = cause_of(sink, code);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    completion->reason = result_reason(code);
    completion->text = rd_kafka_err2str(code);
    if (too_large && !sink->alone_armed) {
        completion->cause = MB_CAUSE_DESTINATION;
        completion->reason = "batch";
        completion->text = "the batch is larger than the topic allows: its records go one by one";
        sink->alone_left = ALONE_COUNT;
    }
}

void kafka_send_report(struct mb_sink *sink, const rd_kafka_message_t *report,
                       struct mb_completion *completion)
{
    struct kafka_sent *sent = report->_private;

    completion_fill(sink, completion, sent->sequence, report->err);
    if (sent->unfit && report->err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
        unfit_fill(completion);
    if (report->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        completion->partition = report->partition;
        if (report->offset >= 0) {
            completion->position.kind = MB_POSITION_OFFSET;
            completion->position.lo = (uint64_t)report->offset;
        }
        sink->healthy = true;
    }
    sink->in_flight--;
    sent_give(sink, sent);
}

void kafka_sent_forget(struct mb_sink *sink, const rd_kafka_message_t *report)
{
    sink->in_flight--;
    sent_give(sink, report->_private);
}

/* ---- sending ---- */

/* What the library did not take at all is taken here and fails at once. */
static void refuse(struct mb_sink *sink, uint64_t sequence, rd_kafka_resp_err_t code)
{
    struct mb_completion *completion = &sink->refused[sink->refused_count++].completion;

    completion_fill(sink, completion, sequence, code);
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) {
        completion->cause = MB_CAUSE_MESSAGE; /* judged by itself, in no batch */
        completion->reason = "too-large";
        completion->text = rd_kafka_err2str(code);
    }
}

/* A message that is no record, or cannot become one for lack of memory: that is waited for. */
static void reject(struct mb_sink *sink, uint64_t sequence, const struct mb_error *err)
{
    struct kafka_refused *refused = &sink->refused[sink->refused_count++];

    snprintf(refused->reason, sizeof refused->reason, "%s", err->reason);
    snprintf(refused->text, sizeof refused->text, "%s", err->text);
    refused->completion = (struct mb_completion){
        .sequence = sequence,
        .cause = err->status == MB_NO_MEMORY ? MB_CAUSE_DESTINATION : MB_CAUSE_MESSAGE,
        .partition = -1,
        .reason = refused->reason,
        .text = refused->text};
}

/*
 * The library need not copy a value that lies in the core's memory, which stays until the
 * completion. What lies in carry's is gone with the next message.
 */
static bool value_stays(const struct mb_message *message, const struct mb_carried *carried)
{
    const void *value = carried->message->body.data;
    const struct mb_value *whole = &message->body_value;

    return carried->verbatim || value == message->body.data ||
           (message->body_kind == MB_BODY_VALUE &&
            (whole->type == MB_STRING || whole->type == MB_BINARY) &&
            value == whole->as.bytes.data);
}

static rd_kafka_resp_err_t produce(struct mb_sink *sink, rd_kafka_topic_t *topic,
                                   struct kafka_sent *sent, struct kafka_outgoing *outgoing,
                                   bool copy)
{
    rd_kafka_vu_t parts[8];
    size_t count = 0;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_error_t *error;

    parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic};
    parts[count++] =
        (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = copy ? RD_KAFKA_MSG_F_COPY : 0};
    parts[count++] =
        (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_VALUE,
                        .u.mem = {(void *)(uintptr_t)outgoing->value.data, outgoing->value.size}};
    parts[count++] =
        (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_KEY,
                        .u.mem = {(void *)(uintptr_t)outgoing->key.data, outgoing->key.size}};
    parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = sent};
    if (outgoing->timestamp_ms != 0)
        parts[count++] =
            (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = outgoing->timestamp_ms};
    if (outgoing->headers != NULL)
        parts[count++] =
            (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = outgoing->headers};
    error = rd_kafka_produceva(sink->client.rk, parts, count);
    if (error != NULL) {
        code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        if (outgoing->headers != NULL)
            rd_kafka_headers_destroy(outgoing->headers);
    }
    return code;
}

/* MB_AGAIN: the library has no room. */
static enum mb_status produce_in(struct mb_sink *sink, rd_kafka_topic_t *topic,
                                 const struct mb_outgoing *item, struct kafka_sent *sent,
                                 struct kafka_outgoing *outgoing, bool copy)
{
    rd_kafka_resp_err_t code;
    bool unfit;

    sent->sequence = item->sequence;
    sent->message = item->message;
    sent->unfit = false;
    code = produce(sink, topic, sent, outgoing, copy);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        sink->in_flight++;
        return MB_OK;
    }
    unfit = sent->unfit && code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
    sent_give(sink, sent);
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL || code == RD_KAFKA_RESP_ERR__FATAL)
        return MB_AGAIN;
    refuse(sink, item->sequence, code);
    if (unfit)
        unfit_fill(&sink->refused[sink->refused_count - 1].completion);
    return MB_OK;
}

/* A sidecar must not be what makes a record too large. */
static size_t sidecar_room(const struct mb_sink *sink, const struct mb_message *message)
{
    int64_t room = sink->record_bytes_max - KAFKA_RECORD_OVERHEAD - (int64_t)message->size_bytes;

    return room <= 0 ? 0 : room < KAFKA_SIDECAR_BYTES ? (size_t)room : KAFKA_SIDECAR_BYTES;
}

enum mb_status kafka_send(struct mb_sink *sink, const struct mb_outgoing *item)
{
    const char *name = sink->templated ? item->names[0].data : sink->options->topic;
    struct kafka_outgoing outgoing;
    struct mb_carried carried;
    struct mb_error err;
    rd_kafka_topic_t *topic;
    struct kafka_sent *sent;
    enum mb_status status;

    if (sink->refused_count == KAFKA_REFUSED_MAX)
        return MB_AGAIN;
    topic =
        name != NULL ? kafka_topics_get(&sink->topics, sink->client.rk, sink->host, name) : NULL;
    if (topic == NULL) {
        refuse(sink, item->sequence, RD_KAFKA_RESP_ERR__INVALID_ARG);
        return MB_OK;
    }
    sent = sent_take(sink);
    if (sent == NULL)
        return MB_AGAIN;
    sink->carry.sidecar_max = sidecar_room(sink, item->message);
    status = mb_carry_prepare(&sink->carry, item, &carried, &err);
    if (status == MB_OK) {
        status = kafka_map_encode(&carried, &outgoing);
        if (status != MB_OK)
            mb_error_set(&err, status, MB_CAUSE_MESSAGE, "invalid", "a header cannot be written");
        else if ((status = mb_carry_lost(&sink->carry, outgoing.lost, &err)) != MB_OK &&
                 outgoing.headers != NULL)
            rd_kafka_headers_destroy(outgoing.headers);
    }
    if (status != MB_OK) {
        sent_give(sink, sent);
        reject(sink, item->sequence, &err);
        return MB_OK;
    }
    return produce_in(sink, topic, item, sent, &outgoing, !value_stays(item->message, &carried));
}
