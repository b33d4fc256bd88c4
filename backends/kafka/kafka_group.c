/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Membership: rebalances and the core's answers to them, acknowledgements, commits.
 *
 * The library waits for our answer to a rebalance, and gives out no record meanwhile. All
 * partitions change hands at once (eager): the core is told of each one, and the library gets its
 * answer when the core has answered for all.
 */
#include "kafka.h"

#define REVOKE_DEADLINE_MS 5000

void kafka_carry_sweep(struct mb_source *source, bool all)
{
    size_t kept = 0;

    source->carry_bytes = 0;
    for (size_t i = source->carry_at; i < source->carry_count; i++) {
        rd_kafka_message_t *record = source->carry[i];
        struct kafka_scope *scope =
            all || record->err != RD_KAFKA_RESP_ERR_NO_ERROR
                ? NULL
                : kafka_scope_find(source, rd_kafka_topic_name(record->rkt), record->partition);

        if (scope != NULL && scope->state == KAFKA_SCOPE_ACTIVE) {
            source->carry[kept++] = record;
            source->carry_bytes += record->len + record->key_len;
        } else {
            rd_kafka_message_destroy(record);
        }
    }
    source->carry_at = 0;
    source->carry_count = kept;
}

static void answer(struct mb_source *source, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_resp_err_t code = rd_kafka_assign(source->client.rk, list);

    source->rebalance = KAFKA_STABLE;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        kafka_client_fail(&source->client, kafka_reason_of(code), "assignment: %s",
                          rd_kafka_err2str(code));
}

static void assigned(struct mb_source *source, const rd_kafka_topic_partition_list_t *partitions)
{
    bool counted = true;
    size_t taken = 0;

    kafka_subscription_judge(source, partitions);
    for (int i = 0; i < partitions->cnt; i++) {
        struct kafka_scope *scope;

        if (!kafka_is_subscribed(source, partitions->elems[i].topic))
            continue; /* of an earlier subscription */
        scope = kafka_scope_get(source, partitions->elems[i].topic, partitions->elems[i].partition);

        if (scope == NULL) {
            kafka_client_fail(&source->client, "memory", "out of memory for partitions");
            return;
        }
        kafka_scope_let_go(scope);
        counted = counted && scope->partition < kafka_partitions_count(source, scope->topic);
        scope->state = KAFKA_SCOPE_LOOKED_UP;
        scope->epoch++;
        scope->stored = scope->expected = scope->handed = -1;
        scope->acked = scope->committing = scope->committed = -1;
        taken++;
    }
    if (taken == 0) {
        /* An empty list, not none: that would be no answer to an assignment. */
        rd_kafka_topic_partition_list_t *nothing = rd_kafka_topic_partition_list_new(0);

        answer(source, nothing);
        rd_kafka_topic_partition_list_destroy(nothing);
        return;
    }
    source->rebalance = KAFKA_LOOKING_UP;
    if (!counted)
        kafka_counts_ask(source);
    kafka_positions_ask(source);
}

static void gone(struct mb_source *source, struct kafka_scope *scope, bool tell)
{
    struct mb_event event = {0};
    bool known = scope->state >= KAFKA_SCOPE_OFFERED;

    scope->state = KAFKA_SCOPE_GONE;
    if (tell && known)
        kafka_scope_event(source, scope, MB_EVENT_SCOPE_LOST, &event);
}

static void revoked(struct mb_source *source)
{
    bool lost = rd_kafka_assignment_lost(source->client.rk) != 0;
    size_t waiting = 0;

    for (size_t i = 0; i < source->scopes_count; i++) {
        struct kafka_scope *scope = &source->scopes[i];
        struct mb_event event = {.deadline_ms = REVOKE_DEADLINE_MS};

        if (scope->state == KAFKA_SCOPE_GONE)
            continue;
        if (lost || source->closing || scope->state != KAFKA_SCOPE_ACTIVE) {
            gone(source, scope, !source->closing);
            continue;
        }
        scope->state = KAFKA_SCOPE_REVOKED;
        waiting++;
        kafka_scope_event(source, scope, MB_EVENT_SCOPE_REVOKED, &event);
    }
    kafka_carry_sweep(source, false);
    source->rebalance = KAFKA_STOPPING;
    if (waiting == 0)
        answer(source, NULL);
}

void kafka_rebalance_cb(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                        rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    struct kafka_client *client = opaque;
    /* The client is the first member of the source. */
    struct mb_source *source = (struct mb_source *)client;

    source->healthy = true;
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && !source->closing) {
        assigned(source, partitions);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
        revoked(source);
        return;
    }
    rd_kafka_assign(rk, NULL);
}

static int64_t start_offset(const struct mb_source *source, const struct kafka_scope *scope,
                            const struct mb_position *position)
{
    switch ((enum mb_position_kind)position->kind) {
    case MB_POSITION_OFFSET:
        return (int64_t)position->lo;
    case MB_POSITION_BEGIN:
        return RD_KAFKA_OFFSET_BEGINNING;
    case MB_POSITION_END:
        return RD_KAFKA_OFFSET_END;
    case MB_POSITION_NONE:
    case MB_POSITION_ID:
    case MB_POSITION_STORED:
    case MB_POSITION_TIME:
        break;
    }
    if (scope->stored >= 0)
        return scope->stored;
    (void)source;
    return scope->first >= 0 ? scope->first : RD_KAFKA_OFFSET_BEGINNING;
}

/* All of the assignment are answered: fetching begins. */
static void start_all(struct mb_source *source)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);

    for (size_t i = 0; i < source->scopes_count; i++) {
        struct kafka_scope *scope = &source->scopes[i];

        if (scope->state != KAFKA_SCOPE_ANSWERED)
            continue;
        scope->state = KAFKA_SCOPE_ACTIVE;
        rd_kafka_topic_partition_list_add(list, scope->topic, scope->partition)->offset =
            scope->start;
        if (scope->start >= 0)
            scope->expected = scope->start;
        if (scope->stored < 0 && scope->first >= 0 && scope->start == scope->first) {
            /* A start that moves with time is stored at once: the next start must not skip what
             * arrives until the first message is acknowledged. */
            scope->acked = scope->first;
            source->commit_first = true;
        }
    }
    answer(source, list);
    for (int i = 0; i < list->cnt; i++)
        kafka_scope_hold(source,
                         kafka_scope_find(source, list->elems[i].topic, list->elems[i].partition));
    rd_kafka_topic_partition_list_destroy(list);
}

enum mb_status kafka_source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                  size_t count, struct mb_error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct kafka_scope *scope =
            starts[i].scope < source->scopes_count ? &source->scopes[starts[i].scope] : NULL;

        if (scope == NULL || scope->epoch != starts[i].epoch || scope->state != KAFKA_SCOPE_OFFERED)
            continue; /* it has gone in the meantime */
        scope->start = start_offset(source, scope, &starts[i].position);
        scope->state = KAFKA_SCOPE_ANSWERED;
    }
    if (source->rebalance == KAFKA_STARTING) {
        for (size_t i = 0; i < source->scopes_count; i++) {
            if (source->scopes[i].state == KAFKA_SCOPE_OFFERED)
                return MB_OK;
        }
        start_all(source);
    }
    return source->client.failed ? kafka_client_failure(&source->client, err) : MB_OK;
}

static size_t commit_send(struct mb_source *source)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    size_t count;

    for (size_t i = 0; i < source->scopes_count; i++) {
        struct kafka_scope *scope = &source->scopes[i];

        if (scope->state < KAFKA_SCOPE_ACTIVE || scope->acked < 0 ||
            scope->acked <= scope->committed || scope->acked <= scope->committing)
            continue;
        rd_kafka_topic_partition_list_add(list, scope->topic, scope->partition)->offset =
            scope->acked;
        scope->committing = scope->acked;
        scope->commit_epoch = scope->epoch;
    }
    count = (size_t)list->cnt;
    if (count > 0) {
        code = rd_kafka_commit_queue(source->client.rk, list, source->client.events, NULL, NULL);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            source->commits_open++;
    }
    for (int i = 0; code != RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++)
        kafka_scope_find(source, list->elems[i].topic, list->elems[i].partition)->committing = -1;
    source->commit_first = false;
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? count : 0;
}

static void commit_result(struct mb_source *source, rd_kafka_event_t *event)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    bool again = false;

    if (source->commits_open > 0)
        source->commits_open--;
    if (code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
        kafka_client_fail(&source->client, "fenced", "%s", rd_kafka_err2str(code));
    else if (kafka_status_of(code) == MB_DENIED)
        kafka_client_fail(&source->client, "forbidden", "positions of group %s: %s", source->group,
                          rd_kafka_err2str(code));
    for (int i = 0; list != NULL && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *result = &list->elems[i];
        struct kafka_scope *scope = kafka_scope_find(source, result->topic, result->partition);
        struct mb_event covered = {0};

        if (scope == NULL || scope->commit_epoch != scope->epoch)
            continue;
        if (scope->committing == result->offset)
            scope->committing = -1;
        if ((code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__NO_OFFSET) ||
            result->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            continue; /* the next commit takes it along; if the group moved on, it is told so */
        source->healthy = true;
        /* The library tries a commit again that the connection broke on, and meanwhile a later one
         * may be through: then the broker has the earlier position now. */
        if (result->offset < scope->committed) {
            scope->committing = -1;
            again = true;
        }
        scope->committed = result->offset;
        if (scope->handed < 0)
            continue; /* a first position, nothing that was acknowledged */
        covered.token = (uint64_t)result->offset - 1;
        covered.position.kind = MB_POSITION_OFFSET;
        covered.position.lo = covered.token;
        kafka_scope_event(source, scope, MB_EVENT_COMMITTED, &covered);
    }
    if (again)
        commit_send(source);
}

void kafka_source_events(struct mb_source *source, int timeout_ms)
{
    rd_kafka_event_t *event;

    if (kafka_client_woken(&source->client))
        source->more = true;
    if (timeout_ms == 0 && !source->client.events_due)
        return;
    while ((event = rd_kafka_queue_poll(source->client.events, timeout_ms)) != NULL) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OFFSET_COMMIT)
            commit_result(source, event);
        else if (!kafka_positions_answer(source, event))
            kafka_client_event(&source->client, event);
        rd_kafka_event_destroy(event);
        timeout_ms = 0;
    }
    source->client.events_due = false;
}

enum mb_status kafka_source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                struct mb_error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct kafka_scope *scope =
            acks[i].scope < source->scopes_count ? &source->scopes[acks[i].scope] : NULL;

        if (scope == NULL || scope->epoch != acks[i].epoch || acks[i].outcome == MB_RELEASED)
            continue; /* what is released stays where it is: nothing is stored */
        if ((int64_t)acks[i].token + 1 > scope->acked)
            scope->acked = (int64_t)acks[i].token + 1;
    }
    return source->client.failed ? kafka_client_failure(&source->client, err) : MB_OK;
}

enum mb_status kafka_source_commit(struct mb_source *source, uint32_t wait_ms, struct mb_error *err)
{
    const struct mb_host *host = source->host;
    int64_t deadline_ms;
    int64_t left_ms;

    if (source->client.failed)
        return kafka_client_failure(&source->client, err);
    if (wait_ms == 0) {
        if (source->commits_open >= KAFKA_COMMITS_MAX)
            return MB_AGAIN;
        commit_send(source);
        return MB_OK;
    }
    deadline_ms = host->monotonic_ms(host->context) + wait_ms;
    commit_send(source);
    while (source->commits_open > 0 && !source->client.failed) {
        left_ms = deadline_ms - host->monotonic_ms(host->context);
        if (left_ms <= 0)
            return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                                "the broker did not store the positions of group %s in time",
                                source->group);
        kafka_source_events(source, (int)left_ms);
    }
    return source->client.failed ? kafka_client_failure(&source->client, err) : MB_OK;
}

enum mb_status kafka_source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                                 struct mb_error *err)
{
    /* What is acknowledged and not stored yet goes out before the group is let go; both travel the
     * same way, in this order. */
    commit_send(source);
    for (size_t i = 0; i < count; i++) {
        if (scopes[i] < source->scopes_count &&
            source->scopes[scopes[i]].state == KAFKA_SCOPE_REVOKED)
            source->scopes[scopes[i]].state = KAFKA_SCOPE_GONE;
    }
    if (source->rebalance == KAFKA_STOPPING) {
        for (size_t i = 0; i < source->scopes_count; i++) {
            if (source->scopes[i].state == KAFKA_SCOPE_REVOKED)
                return MB_OK;
        }
        answer(source, NULL);
    }
    return source->client.failed ? kafka_client_failure(&source->client, err) : MB_OK;
}
