/* SPDX-License-Identifier: Apache-2.0 */
/* What a source tells the server: acknowledgements, that it is still at work, its leases. */
#include "redis_source.h"

#define IDS_MAX        500u
#define ACKS_DELAY_MS  25
#define RENEW_EVERY_MS (REDIS_LEASE_MS / 4)

static bool push_run(struct redis_link *link, enum redis_command_kind kind,
                     struct redis_scope *scope)
{
    struct redis_run *last;
    struct redis_client *client = link->commands;

    if (client->asked_ms == 0)
        client->asked_ms = redis_now_ms(client->host);
    if (link->runs_count > 0) {
        last = &link->runs[(link->runs_first + link->runs_count - 1) % REDIS_RUNS_MAX];
        if (last->kind == kind && last->scope == scope) {
            last->count++;
            return true;
        }
    }
    if (link->runs_count == REDIS_RUNS_MAX) {
        client->out.failed = true;
        return false;
    }
    link->runs[(link->runs_first + link->runs_count++) % REDIS_RUNS_MAX] =
        (struct redis_run){kind, scope, 1};
    return true;
}

static void put_ack_head(struct mb_source *source, const struct redis_scope *scope, size_t count)
{
    struct redis_out *out = &scope->link->commands->out;

    redis_out_array(out, 3 + count);
    redis_out_text(out, "XACK");
    redis_out_text(out, scope->stream);
    redis_out_text(out, source->group);
}

/* The flight that an acknowledgement is about; NULL: it is of another time. */
static struct redis_flight *find_flight(struct mb_source *source, const struct mb_ack *ack)
{
    struct redis_flight *flight = redis_flight_at(source, ack->token);

    return ack->scope < source->scopes_count && ack->epoch == source->scopes[ack->scope].epoch &&
                   ack->token < source->flights_head && ack->token >= source->flights_tail &&
                   flight->open
               ? flight
               : NULL;
}

static void close_flight(struct mb_source *source, struct redis_flight *flight)
{
    flight->open = false;
    while (source->flights_tail < source->flights_head &&
           !redis_flight_at(source, source->flights_tail)->open)
        source->flights_tail++;
}

/* Successive entries are of the same millisecond, more often than not under load. */
struct id_prefix {
    uint64_t hi;
    size_t size; /* 0: none yet */
    char text[REDIS_NUMBER_MAX + 1];
};

static unsigned char *put_id(unsigned char *at, struct id_prefix *prefix,
                             const struct redis_pending_ack *ack)
{
    char sequence[REDIS_NUMBER_MAX];
    size_t size = redis_number_write(sequence, ack->lo);

    if (prefix->size == 0 || prefix->hi != ack->hi) {
        prefix->hi = ack->hi;
        prefix->size = redis_number_write(prefix->text, ack->hi);
        prefix->text[prefix->size++] = '-';
    }
    at = redis_put_length(at, '$', prefix->size + size);
    memcpy(at, prefix->text, prefix->size);
    at += prefix->size;
    memcpy(at, sequence, size);
    at += size;
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

static void put_acks(struct mb_source *source, const struct redis_pending_ack *acks, size_t count)
{
    struct redis_scope *scope = &source->scopes[acks[0].scope];
    struct redis_out *out = &scope->link->commands->out;
    struct id_prefix prefix = {0};
    unsigned char *at;

    put_ack_head(source, scope, count);
    if (!redis_out_reserve(out, count * (2 * REDIS_NUMBER_MAX + 1 + REDIS_BULK_AROUND)))
        return;
    at = out->data + out->end;
    for (size_t i = 0; i < count; i++)
        at = put_id(at, &prefix, &acks[i]);
    out->end = (size_t)(at - out->data);
    push_run(scope->link, REDIS_COMMAND_ACK, scope);
}

/* Moves those of the first one's scope to the front; returns how many they are. */
static size_t gather_acks(struct redis_pending_ack *acks, size_t count)
{
    size_t found = 1;

    for (size_t i = 1; i < count; i++) {
        struct redis_pending_ack ack = acks[i];

        if (ack.scope != acks[0].scope)
            continue;
        acks[i] = acks[found];
        acks[found++] = ack;
    }
    return found;
}

enum mb_status redis_commands_flush(struct mb_source *source, struct mb_error *err)
{
    size_t count = source->acks_count;
    size_t end;

    source->acks_count = 0;
    for (size_t at = 0; at < count; at = end) {
        struct redis_link *link = source->scopes[source->acks[at].scope].link;

        end = at + gather_acks(&source->acks[at], count - at);
        put_acks(source, &source->acks[at], end - at);
        if (redis_client_write(link->commands, err) == MB_DISCONNECTED)
            return MB_DISCONNECTED;
    }
    for (uint32_t i = 0; source->held && i < source->links_count; i++)
        source->links[i].more = true;
    source->held = false;
    return MB_OK;
}

/* Another batch will come at once: acknowledgements may wait for those of more. */
static bool is_busy(const struct mb_source *source)
{
    for (uint32_t i = 0; i < source->links_count; i++) {
        if (source->links[i].ahead.is_busy)
            return true;
    }
    return false;
}

/* A command for what some milliseconds bring, as each is a write for the server; at once where
 * nothing else is under way. */
enum mb_status redis_commands_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                  struct mb_error *err)
{
    enum mb_status status = MB_OK;

    for (size_t i = 0; i < count; i++) {
        struct redis_flight *flight = find_flight(source, &acks[i]);

        if (flight == NULL)
            continue;
        /* What was released stays with the group, and comes again; so does all that is left when
         * the connection is lost, and there is no room for it. */
        if (acks[i].outcome == MB_ACCEPTED && status == MB_OK) {
            if (source->acks_count == 0)
                source->acks_since_ms = redis_now_ms(source->host);
            source->acks[source->acks_count++] =
                (struct redis_pending_ack){flight->hi, flight->lo, flight->scope};
        }
        close_flight(source, flight);
        if (source->acks_count >= source->acks_max && status == MB_OK)
            status = redis_commands_flush(source, err);
    }
    if (source->flights_tail < source->flights_head)
        return status;
    source->flights_base = source->flights_head;
    return status == MB_OK && !is_busy(source) ? redis_commands_flush(source, err) : status;
}

void redis_commands_forget(struct mb_source *source, struct redis_scope *scope,
                           struct mb_position position)
{
    put_ack_head(source, scope, 1);
    redis_out_id(&scope->link->commands->out, position.hi, position.lo);
    push_run(scope->link, REDIS_COMMAND_ACK, scope);
}

void redis_commands_note(struct redis_scope *scope)
{
    push_run(scope->link, REDIS_COMMAND_NOTE, scope);
}

/* ---- answers ---- */

static enum mb_status take_answer(struct mb_source *source, struct redis_link *link,
                                  const struct redis_token *token, struct mb_error *err)
{
    struct redis_run *run = &link->runs[link->runs_first];
    struct redis_scope *scope = run->scope;
    char what[REDIS_NAME_MAX];

    if (link->runs_count == 0)
        return redis_client_fail(link->commands, err, "protocol",
                                 "the server sent what was not asked for");
    if (run->kind == REDIS_COMMAND_RENEW) {
        scope->renewing = false;
        if (token->kind == REDIS_TOKEN_INTEGER && token->number == 1)
            scope->renewed_ms = scope->renew_sent_ms;
        else
            source->lease_lost = true;
    }
    if (token->kind == REDIS_TOKEN_ERROR && run->kind == REDIS_COMMAND_NOTE) {
        redis_loss_refused(source, scope, token->text);
    } else if (token->kind == REDIS_TOKEN_ERROR && run->kind != REDIS_COMMAND_REFRESH) {
        snprintf(what, sizeof what, "%s of stream \"%.200s\"",
                 run->kind == REDIS_COMMAND_ACK ? "an acknowledgement" : "the lease",
                 scope->stream);
        return redis_refuse(link->commands, token->text, what, err);
    }
    if (--run->count == 0) {
        link->runs_first = (link->runs_first + 1) % REDIS_RUNS_MAX;
        link->runs_count--;
    }
    return MB_OK;
}

static enum mb_status take_answers(struct mb_source *source, struct redis_link *link,
                                   struct mb_error *err)
{
    struct redis_client *client = link->commands;
    enum mb_status status = MB_OK;

    while (status == MB_OK) {
        struct redis_cursor cursor = redis_in_cursor(&client->in);
        struct redis_cursor peek = cursor;
        enum redis_token_kind kind;
        struct redis_token token;

        if (!redis_reply_skip(&cursor, &kind)) {
            client->in.need = cursor.need;
            if (kind == REDIS_TOKEN_BAD)
                return redis_client_fail(client, err, "protocol", "the server sent no RESP");
            break;
        }
        redis_token_next(&peek, &token);
        status = take_answer(source, link, &token, err);
        redis_in_taken(&client->in, &cursor);
    }
    client->asked_ms = link->runs_count > 0 ? client->asked_ms : 0;
    return status;
}

enum mb_status redis_commands_service(struct mb_source *source, struct redis_link *link,
                                      int64_t now_ms, struct mb_error *err)
{
    struct redis_client *client = link->commands;
    enum mb_status status = redis_client_write(client, err);

    if (status == MB_DISCONNECTED)
        return status;
    if (redis_client_is_quiet(client, link->runs_count > 0, now_ms))
        return MB_OK;
    status = redis_client_read(client, now_ms, err);
    if (status == MB_DISCONNECTED)
        return status;
    if (status == MB_OK) {
        client->asked_ms = now_ms;
        return take_answers(source, link, err);
    }
    if (client->asked_ms > 0 && now_ms - client->asked_ms > client->timeout_ms)
        return redis_client_fail(client, err, "timeout",
                                 "the server does not answer: it is taken to be dead");
    return MB_OK;
}

/* ---- timers ---- */

static void renew(struct redis_scope *scope, int64_t now_ms)
{
    if (!scope->has_lease || scope->renewing || now_ms < scope->renew_sent_ms + RENEW_EVERY_MS)
        return;
    redis_lease_put_renew(&scope->link->commands->out, &scope->lease);
    push_run(scope->link, REDIS_COMMAND_RENEW, scope);
    scope->renewing = true;
    scope->renew_sent_ms = now_ms;
}

/* Entries that wait long for their sink would look abandoned to other consumers of the group. */
static void refresh_scope(struct mb_source *source, uint32_t index, int64_t older_than_ms)
{
    struct redis_scope *scope = &source->scopes[index];
    struct redis_out *out = &scope->link->commands->out;
    uint64_t token = source->flights_tail;

    while (token < source->flights_head) {
        uint64_t first = token;
        size_t ids = 0;

        for (; token < source->flights_head && ids < IDS_MAX; token++) {
            const struct redis_flight *flight = redis_flight_at(source, token);

            ids += flight->open && flight->scope == index && flight->taken_ms <= older_than_ms;
        }
        if (ids == 0)
            continue;
        redis_out_array(out, 6 + ids);
        redis_out_text(out, "XCLAIM");
        redis_out_text(out, scope->stream);
        redis_out_text(out, source->group);
        redis_out_text(out, source->consumer);
        redis_out_text(out, "0");
        for (; first < token; first++) {
            const struct redis_flight *flight = redis_flight_at(source, first);

            if (flight->open && flight->scope == index && flight->taken_ms <= older_than_ms)
                redis_out_id(out, flight->hi, flight->lo);
        }
        redis_out_text(out, "JUSTID");
        push_run(scope->link, REDIS_COMMAND_REFRESH, scope);
    }
}

enum mb_status redis_commands_timers(struct mb_source *source, int64_t now_ms, struct mb_error *err)
{
    int64_t idle_ms = source->options->claim_idle_ms;
    enum mb_status status = MB_OK;

    if (source->acks_count > 0 && now_ms >= source->acks_since_ms + ACKS_DELAY_MS)
        status = redis_commands_flush(source, err);

    for (uint32_t i = 0; i < source->scopes_count; i++)
        renew(&source->scopes[i], now_ms);
    if (idle_ms == 0 || now_ms < source->refresh_at_ms)
        return status;
    source->refresh_at_ms = now_ms + idle_ms / 3;
    for (uint32_t i = 0; i < source->scopes_count; i++)
        refresh_scope(source, i, now_ms - idle_ms / 3);
    return status;
}

int64_t redis_commands_deadline_ms(const struct mb_source *source)
{
    int64_t deadline_ms =
        source->acks_count > 0 ? source->acks_since_ms + ACKS_DELAY_MS : INT64_MAX;

    for (uint32_t i = 0; i < source->scopes_count; i++) {
        const struct redis_scope *scope = &source->scopes[i];
        int64_t due_ms = scope->renew_sent_ms + RENEW_EVERY_MS;

        if (scope->has_lease && !scope->renewing && due_ms < deadline_ms)
            deadline_ms = due_ms;
    }
    if (source->options->claim_idle_ms > 0 && source->flights_tail < source->flights_head &&
        source->refresh_at_ms < deadline_ms)
        deadline_ms = source->refresh_at_ms;
    for (uint32_t i = 0; i < source->links_count; i++) {
        const struct redis_client *client = source->links[i].commands;

        if (client->asked_ms > 0 && client->asked_ms + client->timeout_ms + 1 < deadline_ms)
            deadline_ms = client->asked_ms + client->timeout_ms + 1;
    }
    return deadline_ms;
}

void redis_commands_finish(struct mb_source *source, uint32_t wait_ms)
{
    int64_t deadline_ms = redis_now_ms(source->host) + wait_ms;
    struct mb_error err;

    mb_error_clear(&err);
    redis_commands_flush(source, &err);
    for (uint32_t i = 0; i < source->scopes_count; i++) {
        struct redis_scope *scope = &source->scopes[i];

        if (!scope->has_lease || scope->link == NULL || scope->link->commands == NULL ||
            scope->link->commands->broken)
            continue;
        if (!scope->link->commands->over &&
            redis_client_take_over(scope->link->commands, 65536, &err) != MB_OK)
            continue;
        redis_lease_put_release(&scope->link->commands->out, &scope->lease);
        push_run(scope->link, REDIS_COMMAND_RELEASE, scope);
    }
    for (uint32_t i = 0; i < source->links_count; i++) {
        struct redis_link *link = &source->links[i];

        while (link->commands != NULL && link->commands->over && !link->commands->broken &&
               link->runs_count > 0) {
            if (redis_client_await(link->commands, deadline_ms, &err) != MB_OK ||
                take_answers(source, link, &err) != MB_OK)
                break;
        }
    }
}
