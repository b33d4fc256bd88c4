/* SPDX-License-Identifier: Apache-2.0 */
/* What the reader asks for: old entries before new ones, no more than there may be room for. */
#include "redis_source.h"

#define BYTES_A_REQUEST  ((uint64_t)4 << 20)
#define ENTRY_SIZE_FIRST 65536u /* until we know better */
#define CLAIM_MAX        100u

/* How many entries one request may bring. */
static uint64_t count_of(const struct mb_source *source)
{
    uint64_t size = source->entry_size > 0 ? source->entry_size : ENTRY_SIZE_FIRST;
    uint64_t count = BYTES_A_REQUEST / size;

    if (count > (uint64_t)source->options->count)
        count = (uint64_t)source->options->count;
    return count > 0 ? count : 1;
}

static void push_request(struct redis_link *link, enum redis_request_kind kind,
                         struct redis_scope *scope)
{
    if (link->requests_count == 0)
        link->reader->asked_ms = redis_now_ms(link->reader->host);
    link->requests[(link->requests_first + link->requests_count++) % REDIS_REQUESTS_MAX] =
        (struct redis_request){.kind = kind, .scope = scope};
}

static void put_id_or(struct redis_out *out, struct mb_position position, const char *otherwise)
{
    if (position.kind == MB_POSITION_ID)
        redis_out_id(out, position.hi, position.lo);
    else
        redis_out_text(out, otherwise);
}

/* The ID in front of where to begin. */
static void put_start(struct redis_out *out, struct mb_position position)
{
    struct mb_position before = {.kind = MB_POSITION_ID, .hi = position.hi, .lo = position.lo};

    if (position.kind == MB_POSITION_END) {
        redis_out_text(out, "$");
        return;
    }
    if (position.kind == MB_POSITION_TIME)
        before = (struct mb_position){.kind = MB_POSITION_ID, .hi = position.lo};
    else if (position.kind != MB_POSITION_ID)
        before = (struct mb_position){.kind = MB_POSITION_ID};
    if (before.lo > 0) {
        before.lo--;
    } else if (before.hi > 0) {
        before.hi--;
        before.lo = UINT64_MAX;
    }
    redis_out_id(out, before.hi, before.lo);
}

static void ask_seek(struct mb_source *source, struct redis_scope *scope)
{
    struct redis_out *out = &scope->link->reader->out;

    redis_out_array(out, 5);
    redis_out_text(out, "XGROUP");
    redis_out_text(out, "SETID");
    redis_out_text(out, scope->stream);
    redis_out_text(out, source->group);
    put_start(out, scope->seek);
    push_request(scope->link, REDIS_REQUEST_SETID, scope);
}

/* How often the entries that come next were handed out before: reading them counts once more. */
static void ask_counts(struct mb_source *source, struct redis_scope *scope, bool own,
                       struct mb_position after, uint64_t count)
{
    struct redis_out *out = &scope->link->reader->out;

    redis_out_array(out, own ? 7 : 8);
    redis_out_text(out, "XPENDING");
    redis_out_text(out, scope->stream);
    redis_out_text(out, source->group);
    if (!own) {
        redis_out_text(out, "IDLE");
        redis_out_number(out, (uint64_t)source->options->claim_idle_ms);
    }
    put_id_or(out, after, "-");
    redis_out_text(out, "+");
    redis_out_number(out, count);
    if (own)
        redis_out_text(out, source->consumer);
    push_request(scope->link, REDIS_REQUEST_COUNTS, scope);
}

static void put_read(struct mb_source *source, struct redis_out *out, size_t streams,
                     uint64_t count, bool blocks)
{
    redis_out_array(out, 7 + (blocks ? 2u : 0u) + 2 * streams);
    redis_out_text(out, "XREADGROUP");
    redis_out_text(out, "GROUP");
    redis_out_text(out, source->group);
    redis_out_text(out, source->consumer);
    redis_out_text(out, "COUNT");
    redis_out_number(out, count);
    if (blocks) {
        redis_out_text(out, "BLOCK");
        redis_out_number(out, REDIS_BLOCK_MS);
    }
    redis_out_text(out, "STREAMS");
}

static void ask_history(struct mb_source *source, struct redis_scope *scope)
{
    struct redis_out *out = &scope->link->reader->out;
    uint64_t count = count_of(source);
    struct mb_position next = scope->after;

    if (count > REDIS_HISTORY_MAX)
        count = REDIS_HISTORY_MAX;
    /* XPENDING's range includes its first ID, XREADGROUP begins behind it. */
    next.lo++;
    if (next.lo == 0)
        next.hi++;
    ask_counts(source, scope, true, next, count);
    put_read(source, out, 1, count, false);
    redis_out_text(out, scope->stream);
    redis_out_id(out, scope->after.hi, scope->after.lo);
    push_request(scope->link, REDIS_REQUEST_HISTORY, scope);
}

static void ask_claim(struct mb_source *source, struct redis_scope *scope)
{
    struct redis_out *out = &scope->link->reader->out;
    uint64_t count = count_of(source);

    if (count > CLAIM_MAX)
        count = CLAIM_MAX;
    if (scope->claim.kind != MB_POSITION_ID)
        scope->claim = (struct mb_position){.kind = MB_POSITION_ID};
    ask_counts(source, scope, false, scope->claim, count);
    redis_out_array(out, 8);
    redis_out_text(out, "XAUTOCLAIM");
    redis_out_text(out, scope->stream);
    redis_out_text(out, source->group);
    redis_out_text(out, source->consumer);
    redis_out_number(out, (uint64_t)source->options->claim_idle_ms);
    redis_out_id(out, scope->claim.hi, scope->claim.lo);
    redis_out_text(out, "COUNT");
    redis_out_number(out, count);
    push_request(scope->link, REDIS_REQUEST_CLAIM, scope);
}

/* How many entries the stream has had, and has. */
static void ask_stream(struct redis_scope *scope)
{
    struct redis_out *out = &scope->link->reader->out;

    redis_out_array(out, 3);
    redis_out_text(out, "XINFO");
    redis_out_text(out, "STREAM");
    redis_out_text(out, scope->stream);
    push_request(scope->link, REDIS_REQUEST_STREAM, scope);
    scope->counting_due = false;
}

/* Redis 7.0 leaves what was trimmed unread out of the group's count. */
void redis_ask_repair(struct mb_source *source, struct redis_scope *scope)
{
    struct redis_out *out = &scope->link->reader->out;

    redis_out_array(out, 7);
    redis_out_text(out, "XGROUP");
    redis_out_text(out, "SETID");
    redis_out_text(out, scope->stream);
    redis_out_text(out, source->group);
    redis_out_id(out, scope->given.hi, scope->given.lo);
    redis_out_text(out, "ENTRIESREAD");
    redis_out_number(out, (uint64_t)scope->read_base);
    push_request(scope->link, REDIS_REQUEST_REPAIR, scope);
}

/* blocks: answered when there is something, and not at once. */
static void ask_new(struct mb_source *source, struct redis_link *link, size_t streams,
                    uint64_t count, bool blocks)
{
    struct redis_out *out = &link->reader->out;
    struct redis_request *request;

    put_read(source, out, streams, count, blocks);
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        if (source->scopes[i].link == link && source->scopes[i].phase == REDIS_PHASE_LIVE)
            redis_out_text(out, source->scopes[i].stream);
    }
    for (size_t i = 0; i < streams; i++)
        redis_out_text(out, ">");
    push_request(link, REDIS_REQUEST_NEW, NULL);
    request = redis_last_request(link);
    request->count = (uint32_t)count;
    request->left = (uint32_t)(count * streams);
    source->asked += request->left;
}

/* The entries of one more request would have room, besides all that is under way. */
static bool has_credit(const struct mb_source *source, uint64_t count)
{
    uint64_t ahead = source->asked + count;

    return source->flights_head - source->flights_tail + source->acks_count + ahead <=
               source->window &&
           ahead * source->entry_size <= source->window_bytes;
}

/* One request waits at the server for what is to come. Where its replies are full and the way to it
 * is long, more follow it closely; those do not wait there for anything. */
static void ask_ahead(struct mb_source *source, struct redis_link *link, size_t streams)
{
    uint64_t count = count_of(source) / streams;

    count = count > 0 ? count : 1;
    for (;;) {
        uint32_t waiting = link->requests_count - (link->stage != REDIS_STAGE_START ? 1u : 0u);

        if (waiting > 0 &&
            (waiting >= link->ahead.depth || link->requests_count == REDIS_REQUESTS_MAX ||
             !has_credit(source, count * streams)))
            return;
        ask_new(source, link, streams, count, waiting == 0);
    }
}

/* Old entries before new ones; true: something old was asked for. */
static bool ask_old(struct mb_source *source, struct redis_link *link)
{
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        struct redis_scope *scope = &source->scopes[i];

        if (scope->link != link)
            continue;
        if (scope->phase == REDIS_PHASE_SEEK)
            ask_seek(source, scope);
        else if (scope->phase == REDIS_PHASE_HISTORY)
            ask_history(source, scope);
        else if (scope->phase == REDIS_PHASE_LIVE && scope->counting_due)
            ask_stream(scope);
        else if (scope->phase == REDIS_PHASE_LIVE && scope->claiming)
            ask_claim(source, scope);
        else
            continue;
        return true;
    }
    return false;
}

enum mb_status redis_pull_ask(struct mb_source *source, struct redis_link *link,
                              struct mb_error *err)
{
    size_t streams = 0;
    bool old = false;
    enum mb_status status;

    for (uint32_t i = 0; i < source->scopes_count; i++) {
        const struct redis_scope *scope = &source->scopes[i];

        if (scope->link != link)
            continue;
        streams += scope->phase == REDIS_PHASE_LIVE;
        old = old || scope->phase == REDIS_PHASE_SEEK || scope->phase == REDIS_PHASE_HISTORY ||
              scope->claiming || scope->counting_due;
    }
    /* What is old is asked for when all that was asked before is here. */
    if (!source->paused && link->requests_count == 0)
        old = ask_old(source, link);
    if (!source->paused && !old && streams > 0 &&
        (link->requests_count == 0 || redis_request_of(link)->kind == REDIS_REQUEST_NEW))
        ask_ahead(source, link, streams);
    status = redis_client_write(link->reader, err);
    return status == MB_AGAIN ? MB_OK : status;
}
