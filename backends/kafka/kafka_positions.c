/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where partitions start, and whether something is gone between two positions.
 *
 * Stored positions are asked for before a partition is started, not left to the library: so the
 * first offset that arrives can be told from the one that was to come, and a reset by the broker
 * (retention took what was not read yet) does not pass unseen.
 */
#include "kafka.h"

#define LOOKUP_TIMEOUT_MS 10000
#define LOOKUP_RETRY_MS   200
#define SCAN_INTERVAL_MS  1000

static bool start_moves(const struct kafka_source_options *options)
{
    return options->start.kind == MB_POSITION_END || options->start.kind == MB_POSITION_TIME;
}

static rd_kafka_topic_partition_list_t *all_partitions(const struct rd_kafka_metadata *metadata,
                                                       const struct mb_strings *topics)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);

    for (int i = 0; i < metadata->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];

        for (size_t t = 0; t < topics->count; t++) {
            if (strcmp(topics->items[t], topic->topic) != 0)
                continue;
            for (int p = 0; p < topic->partition_cnt; p++)
                rd_kafka_topic_partition_list_add(list, topic->topic, topic->partitions[p].id);
            break;
        }
    }
    return list;
}

static enum mb_status times_ask(struct mb_source *source, rd_kafka_topic_partition_list_t *list,
                                int64_t time, uint32_t timeout_ms, struct mb_error *err)
{
    rd_kafka_resp_err_t code = kafka_offsets_ask(&source->client, list, time, timeout_ms);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return MB_OK;
    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, kafka_reason_of(code),
                        "cannot find where to start: %s", rd_kafka_err2str(code));
}

/* The end is asked for first: what arrives meanwhile is behind it and will be read. */
enum mb_status kafka_positions_first(struct mb_source *source,
                                     const struct rd_kafka_metadata *metadata, uint32_t timeout_ms,
                                     struct mb_error *err)
{
    rd_kafka_topic_partition_list_t *list;
    enum mb_status status;

    if (!start_moves(source->options))
        return MB_OK;
    list = all_partitions(metadata, &source->topics);
    status = times_ask(source, list, RD_KAFKA_OFFSET_END, timeout_ms, err);
    for (int round = 0; status == MB_OK && round < 2; round++) {
        for (int i = 0; i < list->cnt; i++) {
            struct kafka_scope *scope =
                kafka_scope_get(source, list->elems[i].topic, list->elems[i].partition);

            if (scope == NULL)
                status = mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "memory",
                                      "out of memory for partitions");
            else if (list->elems[i].offset >= 0)
                scope->first = list->elems[i].offset;
        }
        if (source->options->start.kind != MB_POSITION_TIME)
            break;
        if (round == 0 && status == MB_OK)
            status = times_ask(source, list, (int64_t)source->options->start.lo, timeout_ms, err);
    }
    rd_kafka_topic_partition_list_destroy(list);
    return status;
}

void kafka_positions_ask(struct mb_source *source)
{
    rd_kafka_t *rk = source->client.rk;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_ListConsumerGroupOffsets_t *question;
    rd_kafka_error_t *error;
    char text[128];

    for (size_t i = 0; i < source->scopes_count; i++) {
        if (source->scopes[i].state == KAFKA_SCOPE_LOOKED_UP)
            rd_kafka_topic_partition_list_add(list, source->scopes[i].topic,
                                              source->scopes[i].partition);
    }
    rd_kafka_AdminOptions_set_request_timeout(options, LOOKUP_TIMEOUT_MS, text, sizeof text);
    error = rd_kafka_AdminOptions_set_require_stable_offsets(options, 1);
    if (error != NULL)
        rd_kafka_error_destroy(error);
    source->lookup++;
    source->lookup_at_ms = 0;
    source->positions_known = false;
    rd_kafka_AdminOptions_set_opaque(options, (void *)source->lookup);
    question = rd_kafka_ListConsumerGroupOffsets_new(source->group, list);
    rd_kafka_ListConsumerGroupOffsets(rk, &question, 1, options, source->client.events);
    rd_kafka_ListConsumerGroupOffsets_destroy(question);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_topic_partition_list_destroy(list);
}

static const rd_kafka_topic_partition_list_t *answer_list(rd_kafka_event_t *event,
                                                          rd_kafka_resp_err_t *ret_code)
{
    const rd_kafka_ListConsumerGroupOffsets_result_t *result =
        rd_kafka_event_ListConsumerGroupOffsets_result(event);
    const rd_kafka_topic_partition_list_t *list = NULL;
    const rd_kafka_group_result_t **groups;
    const rd_kafka_error_t *error;
    size_t count = 0;

    *ret_code = rd_kafka_event_error(event);
    if (*ret_code != RD_KAFKA_RESP_ERR_NO_ERROR || result == NULL)
        return NULL;
    groups = rd_kafka_ListConsumerGroupOffsets_result_groups(result, &count);
    if (count > 0) {
        error = rd_kafka_group_result_error(groups[0]);
        list = rd_kafka_group_result_partitions(groups[0]);
        if (error != NULL)
            *ret_code = rd_kafka_error_code(error);
    }
    for (int i = 0; list != NULL && i < list->cnt && *ret_code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        *ret_code = list->elems[i].err;
    return *ret_code == RD_KAFKA_RESP_ERR_NO_ERROR ? list : NULL;
}

static void offer(struct mb_source *source, struct kafka_scope *scope)
{
    struct mb_event event = {0};

    scope->state = KAFKA_SCOPE_OFFERED;
    if (scope->stored >= 0) {
        event.position.kind = MB_POSITION_OFFSET;
        event.position.lo = (uint64_t)scope->stored;
    }
    kafka_scope_event(source, scope, MB_EVENT_SCOPE_ASSIGNED, &event);
}

bool kafka_positions_answer(struct mb_source *source, rd_kafka_event_t *event)
{
    const rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t code;

    if (rd_kafka_event_type(event) != RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT)
        return false;
    if (source->rebalance != KAFKA_LOOKING_UP ||
        (uintptr_t)rd_kafka_event_opaque(event) != source->lookup)
        return true; /* of an assignment that is no more */
    list = answer_list(event, &code);
    if (kafka_status_of(code) == MB_DENIED) {
        kafka_client_fail(&source->client, "forbidden", "group %s: %s", source->group,
                          rd_kafka_err2str(code));
        return true;
    }
    if (list == NULL) {
        source->lookup_at_ms = source->host->monotonic_ms(source->host->context) + LOOKUP_RETRY_MS;
        return true;
    }
    source->healthy = true;
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_scope *scope =
            kafka_scope_find(source, list->elems[i].topic, list->elems[i].partition);

        if (scope != NULL)
            scope->stored = list->elems[i].offset >= 0 ? list->elems[i].offset : -1;
    }
    source->positions_known = true;
    kafka_positions_offer(source);
    return true;
}

void kafka_positions_offer(struct mb_source *source)
{
    if (source->rebalance != KAFKA_LOOKING_UP || !source->positions_known || source->counts.wanted)
        return;
    source->rebalance = KAFKA_STARTING;
    for (size_t i = 0; i < source->scopes_count; i++) {
        if (source->scopes[i].state == KAFKA_SCOPE_LOOKED_UP)
            offer(source, &source->scopes[i]);
    }
}

static void lost(struct mb_source *source, struct kafka_scope *scope, int64_t from, int64_t to)
{
    struct mb_event event = {0};

    event.count = to > from ? (uint64_t)(to - from) : 0;
    event.position.kind = MB_POSITION_OFFSET;
    event.position.lo = (uint64_t)from;
    event.end.kind = MB_POSITION_OFFSET;
    event.end.lo = (uint64_t)to;
    kafka_scope_event(source, scope, MB_EVENT_LOSS, &event);
}

/*
 * A log that was emptied sends no record that would show the gap. What was fetched before it was
 * deleted stands in the queue: so the begin of the log is looked at first, then the queue.
 */
void kafka_positions_scan(struct mb_source *source, int64_t now_ms)
{
    if (source->rebalance != KAFKA_STABLE || source->carry_count > source->carry_at ||
        now_ms < source->scan_at_ms)
        return;
    source->scan_at_ms = now_ms + SCAN_INTERVAL_MS;
    for (size_t i = 0; i < source->scopes_count; i++) {
        struct kafka_scope *scope = &source->scopes[i];
        int64_t low = -1;
        int64_t high = -1;

        if (scope->state != KAFKA_SCOPE_ACTIVE || scope->expected < 0 ||
            rd_kafka_get_watermark_offsets(source->client.rk, scope->topic, scope->partition, &low,
                                           &high) != RD_KAFKA_RESP_ERR_NO_ERROR ||
            low <= scope->expected)
            continue;
        if (rd_kafka_queue_length(source->records) > 0)
            return;
        lost(source, scope, scope->expected, low);
        scope->expected = low;
    }
}

/*
 * Offsets have gaps of their own (compaction, transaction markers), so a jump alone means nothing:
 * it is a loss if the log now begins behind what was expected. An offset below it means that the
 * log was cut or made anew.
 */
enum mb_status kafka_positions_check(struct mb_source *source, struct kafka_scope *scope,
                                     int64_t offset)
{
    int64_t low = -1;
    int64_t high = -1;

    if (offset <= scope->handed) {
        lost(source, scope, scope->handed + 1, offset);
        kafka_client_fail(&source->client, "reset",
                          "%s [%d] went back from offset %lld to %lld: the topic was cut or made "
                          "anew",
                          scope->topic, (int)scope->partition, (long long)scope->handed,
                          (long long)offset);
        return MB_REJECTED;
    }
    if (scope->expected >= 0 && offset < scope->expected) {
        lost(source, scope, scope->expected, offset);
        scope->expected = offset;
        return MB_AGAIN;
    }
    if (scope->expected >= 0 && offset > scope->expected &&
        rd_kafka_get_watermark_offsets(source->client.rk, scope->topic, scope->partition, &low,
                                       &high) == RD_KAFKA_RESP_ERR_NO_ERROR &&
        low > scope->expected) {
        lost(source, scope, scope->expected, low < offset ? low : offset);
        scope->expected = offset;
        return MB_AGAIN;
    }
    return MB_OK;
}
