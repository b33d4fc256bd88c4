/* SPDX-License-Identifier: Apache-2.0 */
/* The sink's way back: what became of each entry, and where a cluster sends it instead. */
#include "redis_sink.h"

static void advance_tail(struct mb_sink *sink)
{
    while (sink->tail < sink->head && redis_at_place(sink, sink->tail)->state == REDIS_STATE_FREE)
        sink->tail++;
    /* No more of the ring is touched than is in use. */
    if (sink->tail == sink->head)
        sink->tail = sink->head = 0;
}

/* An earlier message of the same stream has to go first. */
static bool is_overtaking(struct mb_sink *sink, const struct redis_outstanding *entry)
{
    for (uint64_t place = sink->tail; place < sink->head; place++) {
        const struct redis_outstanding *other = redis_at_place(sink, place);

        if (other == entry)
            return false;
        if (other->state == REDIS_STATE_AGAIN && mb_slice_equal(other->stream, entry->stream))
            return true;
    }
    return false;
}

static void refuse_entry(struct mb_sink *sink, struct redis_outstanding *entry, enum mb_cause cause,
                         const char *reason, const char *text)
{
    redis_close_entry(sink, entry);
    redis_refuse_item(sink, entry->sequence, cause, reason, text);
}

/* A repeat is there as well; where, is not known any more. */
static void take_stored(struct mb_sink *sink, struct redis_outstanding *entry,
                        const struct redis_token *token)
{
    bool is_repeat = token->kind == REDIS_TOKEN_STATUS;
    struct mb_error why;

    if (!is_repeat)
        redis_id_parse_next(&sink->stem, token->text, &entry->position);
    if (sink->once != NULL && !redis_once_repeats(sink->once, entry, is_repeat, &why)) {
        refuse_entry(sink, entry, MB_CAUSE_DESTINATION, "behind", why.text);
        return;
    }
    if (sink->redirecting && is_overtaking(sink, entry)) {
        entry->state = REDIS_STATE_AGAIN;
        return;
    }
    if (sink->options->wait_replicas > 0) {
        entry->state = REDIS_STATE_STORED;
        return;
    }
    redis_close_entry(sink, entry);
    redis_push_done(sink, entry->sequence, MB_CAUSE_NONE, NULL, entry->position);
}

/* What goes before it is not there: neither may this be, or that would be taken for a repeat. */
static void take_gap(struct mb_sink *sink, struct redis_outstanding *entry)
{
    if (sink->redirecting && is_overtaking(sink, entry))
        entry->state = REDIS_STATE_AGAIN;
    else
        refuse_entry(sink, entry, MB_CAUSE_DESTINATION, "gap",
                     "a message was not stored because one before it was not");
}

static enum mb_status take_redirect(struct mb_sink *sink, struct redis_target *link,
                                    struct redis_outstanding *entry, struct mb_slice text,
                                    bool moved, struct mb_error *err)
{
    struct redis_node node;
    unsigned slot;
    unsigned index;

    if (!sink->topology->cluster)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "cluster",
                            "%s: the server is a member of a cluster: the endpoint needs "
                            "cluster = true",
                            link->client->name);
    if (!redis_redirect_parse(text, &link->client->node, &slot, &node))
        return redis_client_fail(link->client, err, "protocol", "a redirection without a place");
    index = redis_topology_find(sink->topology, &node);
    entry->state = REDIS_STATE_AGAIN;
    sink->redirecting = true;
    if (index == REDIS_NODES_MAX || sink->links[index].client == NULL) {
        sink->unknown = true;
    } else if (moved) {
        sink->topology->slots[slot] = (uint8_t)index;
        sink->asked[slot] = 0;
    } else {
        sink->asked[slot] = (uint8_t)(index + 1);
    }
    return MB_OK;
}

static enum mb_status take_refusal(struct mb_sink *sink, struct redis_target *link,
                                   struct redis_outstanding *entry, struct mb_slice text,
                                   struct mb_error *err)
{
    const struct redis_refusal *refusal = redis_refusal_of(text);
    enum mb_cause cause = refusal->cause;
    char what[REDIS_NAME_MAX];
    struct mb_error why;

    if (sink->once != NULL && redis_once_is_gap(text)) {
        take_gap(sink, entry);
        return MB_OK;
    }
    switch (refusal->kind) {
    case REDIS_REFUSED_MOVED:
    case REDIS_REFUSED_ASK:
        return take_redirect(sink, link, entry, text, refusal->kind == REDIS_REFUSED_MOVED, err);
    case REDIS_REFUSED_WRONG_TYPE:
        if (sink->templated)
            cause = MB_CAUSE_MESSAGE;
        break;
    case REDIS_REFUSED_OTHER:
    case REDIS_REFUSED_ACCESS:
    case REDIS_REFUSED_FULL:
    case REDIS_REFUSED_STORAGE:
    case REDIS_REFUSED_REPLICAS:
    case REDIS_REFUSED_LOADING:
    case REDIS_REFUSED_CLUSTER:
    case REDIS_REFUSED_ROLE:
    case REDIS_REFUSED_NO_GROUP:
        break;
    case REDIS_REFUSED_SCRIPT:
        entry->state = REDIS_STATE_AGAIN;
        sink->redirecting = true;
        link->script_missing = true;
        return MB_OK;
    }
    snprintf(what, sizeof what, "an entry for stream \"%.*s\"",
             (int)(entry->stream.size < 200 ? entry->stream.size : 200),
             (const char *)entry->stream.data);
    mb_error_clear(&why);
    redis_refuse(link->client, text, what, &why);
    if (cause == MB_CAUSE_CONNECTION) {
        *err = why;
        err->status = MB_DISCONNECTED;
        return MB_DISCONNECTED;
    }
    refuse_entry(sink, entry, cause, refusal->reason, why.text);
    return MB_OK;
}

/* WAIT's answer: how many replicas have all that was sent before it. */
static void take_wait(struct mb_sink *sink, struct redis_target *link, int64_t replicas)
{
    size_t node = (size_t)(link - sink->links);

    if (replicas < sink->options->wait_replicas) {
        sink->blocked = true;
        link->unwaited = 1; /* ask again, until they have it */
        return;
    }
    sink->blocked = false;
    for (uint64_t place = sink->tail; place < sink->head; place++) {
        struct redis_outstanding *entry = redis_at_place(sink, place);

        if (entry->state == REDIS_STATE_STORED && entry->node == node) {
            redis_close_entry(sink, entry);
            redis_push_done(sink, entry->sequence, MB_CAUSE_NONE, NULL, entry->position);
        }
    }
}

static enum mb_status take_answer(struct mb_sink *sink, struct redis_target *link,
                                  struct redis_outstanding *entry, const struct redis_token *token,
                                  struct mb_error *err)
{
    sink->open_count--;
    if (token->kind == REDIS_TOKEN_BULK ||
        (token->kind == REDIS_TOKEN_STATUS && sink->once != NULL))
        take_stored(sink, entry, token);
    else if (token->kind == REDIS_TOKEN_ERROR)
        return take_refusal(sink, link, entry, token->text, err);
    else
        return redis_client_fail(link->client, err, "protocol", "XADD was answered with no ID");
    return MB_OK;
}

static enum mb_status take_reply(struct mb_sink *sink, struct redis_target *link,
                                 const struct redis_token *token, struct mb_error *err)
{
    struct redis_multi *multi = &link->multi;
    uint32_t what = REDIS_EXPECT_NOTHING;
    bool is_good = true;

    if (multi->answers_left > 0) {
        multi->answers_left--;
        return take_answer(sink, link, redis_at_place(sink, multi->answer_at++), token, err);
    }
    while (what == REDIS_EXPECT_NOTHING && link->expected_count > 0)
        what = redis_expected(link);
    switch (what) {
    case REDIS_EXPECT_NOTHING:
        return redis_client_fail(link->client, err, "protocol",
                                 "the server sent what was not asked for");
    case REDIS_EXPECT_ASKING:
        return MB_OK;
    case REDIS_EXPECT_SCRIPT:
        if (token->kind == REDIS_TOKEN_BULK)
            return MB_OK;
        return redis_refuse(link->client, token->text, "the script of effectively once", err);
    case REDIS_EXPECT_WAIT:
        if (token->kind != REDIS_TOKEN_INTEGER)
            return redis_refuse(link->client, token->text, "WAIT (wait_replicas)", err);
        take_wait(sink, link, token->number);
        return MB_OK;
    case REDIS_EXPECT_MULTI:
        is_good = redis_multi_began(sink, link, token);
        break;
    case REDIS_EXPECT_EXEC:
        is_good = redis_multi_ended(sink, link, token);
        break;
    default:
        if (!multi->is_queueing)
            return take_answer(sink, link, redis_at_place(sink, what), token, err);
        /* QUEUED; or an error, and then EXEC tells that nothing was done. */
        is_good = token->kind == REDIS_TOKEN_STATUS || token->kind == REDIS_TOKEN_ERROR;
    }
    return is_good ? MB_OK
                   : redis_client_fail(link->client, err, "protocol",
                                       "a transaction was answered with something else");
}

static enum mb_status take_replies(struct mb_sink *sink, struct redis_target *link,
                                   struct mb_error *err)
{
    struct redis_in *in = &link->client->in;
    struct redis_cursor cursor = redis_in_cursor(in);
    enum mb_status status = MB_OK;

    while (status == MB_OK) {
        struct redis_token token;
        enum redis_token_kind kind = redis_token_next(&cursor, &token);

        if (kind == REDIS_TOKEN_NONE)
            break;
        if (kind == REDIS_TOKEN_BAD)
            status = redis_client_fail(link->client, err, "protocol", "the server sent no RESP");
        else
            status = take_reply(sink, link, &token, err);
    }
    redis_in_taken(in, &cursor);
    return status;
}

/* A server that was started anew, or told to (SCRIPT FLUSH), knows none. */
static void load_scripts(struct mb_sink *sink)
{
    for (size_t i = 0; i < sink->topology->nodes_count; i++) {
        struct redis_target *link = &sink->links[i];

        if (!link->script_missing)
            continue;
        link->script_missing = false;
        redis_once_put_load(&link->client->out);
        redis_expect(link, REDIS_EXPECT_SCRIPT);
    }
}

/* Everything is answered: what was redirected goes to its new place, in order. */
static enum mb_status send_again(struct mb_sink *sink, struct mb_error *err)
{
    enum mb_status status = MB_OK;

    if (!sink->redirecting || sink->open_count > 0)
        return MB_OK;
    if (sink->unknown)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "moved",
                            "a slot has moved to a node that is new: the cluster's map is asked "
                            "for again");
    sink->redirecting = false;
    load_scripts(sink);
    for (uint64_t place = sink->tail; place < sink->head && status == MB_OK; place++) {
        struct redis_outstanding *entry = redis_at_place(sink, place);

        if (entry->state == REDIS_STATE_AGAIN)
            status = redis_sink_transmit(sink, entry, place, false, err);
        /* It was encoded once already. */
        if (status != MB_OK)
            status = MB_DISCONNECTED;
    }
    return status;
}

enum mb_status redis_sink_take_input(struct mb_sink *sink, struct mb_error *err)
{
    int64_t now_ms = redis_now_ms(sink->host);

    for (size_t i = 0; i < sink->topology->nodes_count; i++) {
        struct redis_target *link = &sink->links[i];
        struct redis_client *client = link->client;
        enum mb_status status;

        if (client == NULL || redis_client_is_quiet(client, redis_is_awaiting(link), now_ms))
            continue;
        status = redis_client_read(client, now_ms, err);
        if (status == MB_OK) {
            client->asked_ms = now_ms;
            status = take_replies(sink, link, err);
        } else if (status == MB_AGAIN) {
            status = MB_OK;
            if (redis_is_awaiting(link) &&
                now_ms - client->asked_ms > client->timeout_ms + sink->options->wait_timeout_ms)
                status = redis_client_fail(client, err, "timeout",
                                           "the server does not answer: it is taken to be dead");
        }
        advance_tail(sink);
        if (status != MB_OK)
            return status;
    }
    return send_again(sink, err);
}
