/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How replies become messages. An entry is taken when all of it
 * is there: replies are never held as a whole, and what the window has no room for stays in the
 * socket.
 */
#include "redis_source.h"

static void pop_request(struct mb_source *source, struct redis_link *link)
{
    struct redis_request *request = redis_request_of(link);

    if (request->kind == REDIS_REQUEST_NEW)
        redis_ahead_answered(&link->ahead, link->full);
    link->full = false;
    source->asked -= request->left;
    link->requests_first = (link->requests_first + 1) % REDIS_REQUESTS_MAX;
    link->requests_count--;
    link->stage = REDIS_STAGE_START;
    link->scope = NULL;
    link->reader->asked_ms = link->requests_count > 0 ? redis_now_ms(link->reader->host) : 0;
}

static enum redis_step refused(struct redis_link *link, const struct redis_token *token,
                               struct mb_error *err)
{
    static const char *const names[] = {"XGROUP SETID", "XPENDING",     "XREADGROUP", "XAUTOCLAIM",
                                        "XINFO STREAM", "XGROUP SETID", "XREADGROUP"};
    const struct redis_request *request = redis_request_of(link);
    char what[REDIS_NAME_MAX];

    if (request->scope != NULL)
        snprintf(what, sizeof what, "%s of stream \"%.200s\"", names[request->kind],
                 request->scope->stream);
    else
        snprintf(what, sizeof what, "%s", names[request->kind]);
    redis_refuse(link->reader, token->text, what, err);
    if (redis_refusal_of(token->text)->kind == REDIS_REFUSED_NO_GROUP)
        err->status = MB_DISCONNECTED; /* the next open waits for the stream */
    link->reader->broken = true;
    return REDIS_STEP_FAILED;
}

/* The whole reply of XPENDING: [id, consumer, idle, count] …. */
static enum redis_step take_counts(struct mb_source *source, struct redis_link *link,
                                   struct redis_cursor *cursor, struct mb_error *err)
{
    struct redis_cursor end = *cursor;
    enum redis_token_kind kind;
    struct redis_token token;
    int64_t left;

    if (!redis_reply_skip(&end, &kind)) {
        cursor->need = end.need;
        return kind == REDIS_TOKEN_BAD ? redis_malformed(link, err) : REDIS_STEP_NEED;
    }
    source->delivered_count = 0;
    source->delivered_at = 0;
    redis_token_next(cursor, &token);
    /* Without the right to ask, entries come without their counts. */
    left = token.kind == REDIS_TOKEN_ARRAY ? token.number : 0;
    for (; left > 0 && source->delivered_count < REDIS_HISTORY_MAX; left--) {
        struct redis_delivered *delivered = &source->delivered[source->delivered_count];
        struct mb_position position;
        struct redis_token parts[5];

        for (size_t i = 0; i < 5; i++)
            redis_token_next(cursor, &parts[i]);
        if (parts[0].kind != REDIS_TOKEN_ARRAY || parts[0].number != 4 ||
            parts[4].kind != REDIS_TOKEN_INTEGER || !redis_id_parse(parts[1].text, &position))
            break;
        delivered->hi = position.hi;
        delivered->lo = position.lo;
        delivered->count = parts[4].number < UINT32_MAX ? (uint32_t)parts[4].number : UINT32_MAX;
        source->delivered_count++;
    }
    *cursor = end;
    pop_request(source, link);
    return REDIS_STEP_DONE;
}

struct stream_counts {
    int64_t length;
    int64_t added;
    struct mb_position first; /* none: the stream is empty */
    struct mb_position last;  /* that there ever was */
};

/* One of XINFO STREAM's pairs: a name and a value of whatever kind. */
static void take_info(struct redis_cursor *cursor, struct stream_counts *counts)
{
    enum redis_token_kind kind;
    struct redis_token name;
    struct redis_token token;
    struct redis_cursor value;

    redis_token_next(cursor, &name);
    value = *cursor;
    redis_reply_skip(cursor, &kind);
    kind = redis_token_next(&value, &token);
    if (kind == REDIS_TOKEN_INTEGER && mb_slice_equal(name.text, MB_SLICE_LITERAL("length")))
        counts->length = token.number;
    else if (kind == REDIS_TOKEN_INTEGER &&
             mb_slice_equal(name.text, MB_SLICE_LITERAL("entries-added")))
        counts->added = token.number;
    else if (kind == REDIS_TOKEN_BULK &&
             mb_slice_equal(name.text, MB_SLICE_LITERAL("last-generated-id")))
        redis_id_parse(token.text, &counts->last);
    else if (kind == REDIS_TOKEN_ARRAY &&
             mb_slice_equal(name.text, MB_SLICE_LITERAL("first-entry")) &&
             redis_token_next(&value, &token) == REDIS_TOKEN_BULK)
        redis_id_parse(token.text, &counts->first);
}

static bool is_behind(struct mb_position a, struct mb_position b)
{
    return a.hi < b.hi || (a.hi == b.hi && a.lo < b.lo);
}

/* All requests before this one are answered in full, so what we were given is all that the group
 * has read. What it will not read any more and never has read was trimmed unread. That can be said
 * where the group stands at either end of what is there. */
static void compare_counts(struct mb_source *source, struct redis_scope *scope,
                           const struct stream_counts *counts)
{
    int64_t read = scope->read_base + (int64_t)scope->read_since;
    int64_t past;

    if (counts->added < 0 || counts->length < 0 || scope->read_base < 0)
        return;
    if (!is_behind(scope->given, counts->last))
        past = counts->added;
    else if (counts->first.kind == MB_POSITION_NONE || is_behind(scope->given, counts->first))
        past = counts->added - counts->length;
    else
        return;
    if (past <= read)
        return;
    scope->lost += (uint64_t)(past - read);
    scope->read_base = past;
    scope->read_since = 0;
    redis_ask_repair(source, scope);
}

/* The whole reply of XINFO STREAM. */
static enum redis_step take_stream(struct mb_source *source, struct redis_link *link,
                                   struct redis_cursor *cursor, struct mb_error *err)
{
    struct redis_scope *scope = redis_request_of(link)->scope;
    struct stream_counts counts = {.length = -1, .added = -1};
    struct redis_cursor end = *cursor;
    enum redis_token_kind kind;
    struct redis_token token;

    if (!redis_reply_skip(&end, &kind)) {
        cursor->need = end.need;
        return kind == REDIS_TOKEN_BAD ? redis_malformed(link, err) : REDIS_STEP_NEED;
    }
    /* Without the right to ask nothing is compared. */
    if (redis_token_next(cursor, &token) == REDIS_TOKEN_ARRAY) {
        for (int64_t pairs = token.number / 2; pairs > 0; pairs--)
            take_info(cursor, &counts);
    }
    *cursor = end;
    pop_request(source, link);
    compare_counts(source, scope, &counts);
    return REDIS_STEP_DONE;
}

static struct redis_scope *find_scope(struct mb_source *source, const struct redis_link *link,
                                      struct mb_slice name)
{
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        if (source->scopes[i].link == link &&
            mb_slice_equal(mb_slice_text(source->scopes[i].stream), name))
            return &source->scopes[i];
    }
    return NULL;
}

static void stream_done(struct mb_source *source, struct redis_link *link)
{
    if (--link->streams_left == 0)
        pop_request(source, link);
    else
        link->stage = REDIS_STAGE_STREAM;
}

static enum redis_step take_start(struct mb_source *source, struct redis_link *link,
                                  struct redis_cursor *cursor, struct mb_error *err)
{
    struct redis_request *request = redis_request_of(link);
    struct redis_token token;

    switch (redis_token_next(cursor, &token)) {
    case REDIS_TOKEN_NONE:
        return REDIS_STEP_NEED;
    case REDIS_TOKEN_ERROR:
        if (request->kind != REDIS_REQUEST_REPAIR)
            return refused(link, &token, err);
        pop_request(source, link);
        return REDIS_STEP_DONE;
    case REDIS_TOKEN_STATUS:
        if (request->kind == REDIS_REQUEST_REPAIR) {
            pop_request(source, link);
            return REDIS_STEP_DONE;
        }
        if (request->kind != REDIS_REQUEST_SETID)
            return redis_malformed(link, err);
        request->scope->phase = REDIS_PHASE_LIVE;
        pop_request(source, link);
        return REDIS_STEP_DONE;
    case REDIS_TOKEN_NIL:
        pop_request(source, link);
        return REDIS_STEP_DONE;
    case REDIS_TOKEN_ARRAY:
        if (request->kind == REDIS_REQUEST_CLAIM) {
            link->has_deleted = token.number == 3;
            link->scope = request->scope;
            link->stage = REDIS_STAGE_CURSOR;
            return token.number == 2 || token.number == 3 ? REDIS_STEP_DONE
                                                          : redis_malformed(link, err);
        }
        link->streams_left = (uint64_t)token.number;
        link->stage = REDIS_STAGE_STREAM;
        if (token.number == 0)
            pop_request(source, link);
        return REDIS_STEP_DONE;
    case REDIS_TOKEN_BULK:
    case REDIS_TOKEN_INTEGER:
    case REDIS_TOKEN_BAD:
        break;
    }
    return redis_malformed(link, err);
}

/* A stream's head (array of two, its name) or XAUTOCLAIM's cursor, and the number of entries. */
static enum redis_step take_head(struct mb_source *source, struct redis_link *link,
                                 struct redis_cursor *cursor, struct mb_error *err)
{
    struct redis_cursor at = *cursor;
    struct redis_token token;
    struct redis_token name;
    enum redis_token_kind kind = REDIS_TOKEN_ARRAY;

    if (link->stage == REDIS_STAGE_STREAM)
        kind = redis_token_next(&at, &token);
    if (kind == REDIS_TOKEN_ARRAY)
        kind = redis_token_next(&at, &name);
    if (kind == REDIS_TOKEN_BULK)
        kind = redis_token_next(&at, &token);
    if (kind == REDIS_TOKEN_NONE) {
        cursor->need = at.need;
        return REDIS_STEP_NEED;
    }
    if (kind != REDIS_TOKEN_ARRAY)
        return redis_malformed(link, err);
    if (link->stage == REDIS_STAGE_CURSOR) {
        if (!redis_id_parse(name.text, &link->scope->claim))
            return redis_malformed(link, err);
        link->scope->claiming = link->scope->claim.hi != 0 || link->scope->claim.lo != 0;
    } else {
        link->scope = find_scope(source, link, name.text);
        if (link->scope == NULL)
            return redis_malformed(link, err);
        if (redis_request_of(link)->kind == REDIS_REQUEST_HISTORY && token.number == 0)
            link->scope->phase = REDIS_PHASE_LIVE;
        if (redis_request_of(link)->kind == REDIS_REQUEST_NEW &&
            token.number >= (int64_t)redis_request_of(link)->count)
            link->full = true;
    }
    link->entries_left = (uint64_t)token.number;
    link->stage = REDIS_STAGE_ENTRIES;
    *cursor = at;
    return REDIS_STEP_DONE;
}

static enum redis_step take_deleted(struct mb_source *source, struct redis_link *link,
                                    struct redis_cursor *cursor, struct mb_error *err)
{
    struct redis_cursor end = *cursor;
    enum redis_token_kind kind;
    struct redis_token token;

    if (!redis_reply_skip(&end, &kind)) {
        cursor->need = end.need;
        return kind == REDIS_TOKEN_BAD ? redis_malformed(link, err) : REDIS_STEP_NEED;
    }
    if (redis_token_next(cursor, &token) == REDIS_TOKEN_ARRAY)
        link->scope->lost += (uint64_t)token.number;
    *cursor = end;
    pop_request(source, link);
    return REDIS_STEP_DONE;
}

/* As many as there are, and as the batch has room for. */
static enum redis_step take_entries(struct mb_source *source, struct redis_link *link,
                                    struct redis_cursor *cursor, struct mb_batch *batch,
                                    struct mb_error *err)
{
    enum redis_step step = REDIS_STEP_DONE;

    while (link->entries_left > 0 && step == REDIS_STEP_DONE && redis_has_room(source, batch))
        step = redis_take_entry(source, link, cursor, batch, err);
    if (link->entries_left > 0 || step != REDIS_STEP_DONE)
        return step;
    if (redis_request_of(link)->kind != REDIS_REQUEST_CLAIM)
        stream_done(source, link);
    else if (link->has_deleted)
        link->stage = REDIS_STAGE_DELETED;
    else
        pop_request(source, link);
    return REDIS_STEP_DONE;
}

static enum redis_step take_step(struct mb_source *source, struct redis_link *link,
                                 struct redis_cursor *cursor, struct mb_batch *batch,
                                 struct mb_error *err)
{
    switch (link->stage) {
    case REDIS_STAGE_START:
        if (redis_request_of(link)->kind == REDIS_REQUEST_COUNTS)
            return take_counts(source, link, cursor, err);
        if (redis_request_of(link)->kind == REDIS_REQUEST_STREAM)
            return take_stream(source, link, cursor, err);
        return take_start(source, link, cursor, err);
    case REDIS_STAGE_STREAM:
    case REDIS_STAGE_CURSOR:
        return take_head(source, link, cursor, err);
    case REDIS_STAGE_DELETED:
        return take_deleted(source, link, cursor, err);
    case REDIS_STAGE_ENTRIES:
        break;
    }
    return take_entries(source, link, cursor, batch, err);
}

static enum mb_status read_more(struct redis_link *link, int64_t now_ms, struct mb_error *err)
{
    struct redis_client *reader = link->reader;
    enum mb_status status;

    if (redis_client_is_quiet(reader, true, now_ms))
        return MB_AGAIN;
    status = redis_client_read(reader, now_ms, err);
    if (status == MB_OK)
        redis_ahead_came(&link->ahead, now_ms);
    else if (status == MB_AGAIN && link->requests_count > 0)
        redis_ahead_dry(&link->ahead, now_ms);
    if (status == MB_OK && reader->asked_ms > 0)
        reader->asked_ms = now_ms;
    if (status == MB_AGAIN && reader->asked_ms > 0 &&
        now_ms - reader->asked_ms > REDIS_BLOCK_MS + reader->timeout_ms)
        return redis_client_fail(reader, err, "timeout",
                                 "the server does not answer: it is taken to be dead");
    return status;
}

enum mb_status redis_pull_link(struct mb_source *source, struct redis_link *link,
                               struct mb_batch *batch, struct mb_error *err)
{
    struct redis_client *reader = link->reader;
    bool read = false;

    link->more = false;
    while (redis_has_room(source, batch)) {
        struct redis_cursor cursor = redis_in_cursor(&reader->in);
        enum mb_status status;
        enum redis_step step = REDIS_STEP_NEED;

        if (link->requests_count > 0 && reader->in.end - reader->in.start >= reader->in.need) {
            step = take_step(source, link, &cursor, batch, err);
            if (step == REDIS_STEP_FAILED)
                return MB_DISCONNECTED;
            redis_in_taken(&reader->in, &cursor);
        }
        if (step == REDIS_STEP_DONE && link->stage == REDIS_STAGE_ENTRIES)
            continue;
        status = redis_pull_ask(source, link, err);
        if (status != MB_OK)
            return status;
        if (step == REDIS_STEP_DONE)
            continue;
        /* Once a poll, so that a fast server does not keep the lane here. */
        if (read) {
            link->more = reader->unread;
            return MB_OK;
        }
        status = read_more(link, source->now_ms, err);
        if (status != MB_OK)
            return status == MB_AGAIN ? MB_OK : status;
        read = true;
    }
    source->held = redis_is_held(source);
    link->more = !source->held;
    return MB_OK;
}
