/* SPDX-License-Identifier: Apache-2.0 */
/* Instances of the source: what a broker hands out and takes back, and what it may be told. */
#include "source.h"

#include <poll.h>
#include <stdlib.h>

#define FD_FIRST  1000
#define LATE_MS   5 /* how long after its deadline a scope may be given up */
#define BATCH_MAX 64u

static bool acks_in_order(void)
{
    return sim.shape.kind != SIM_QUEUE_SINGLY;
}

uint64_t sim_source_traits(void)
{
    uint64_t traits = acks_in_order() ? MB_SOURCE_ACKS_IN_ORDER : 0u;

    if (sim_is_log())
        traits |= MB_SOURCE_SEEKS | MB_SOURCE_PARTITIONED | MB_SOURCE_DIVIDES_BY_KEY;
    else
        traits |= MB_SOURCE_CONSUMES;
    return traits | (sim_commits() ? MB_SOURCE_COMMITS : 0u);
}

static uint64_t traits_of(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return sim_source_traits();
}

static uint64_t token_of(const struct sim_message *message)
{
    if (sim_is_log())
        return message->offset;
    return acks_in_order() ? message->tag : message->place;
}

/* ---- what reaches the broker ---- */

/* The first count of what was told are stored. */
static void arrive(struct mb_source *source, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        sim_broker_acked(source->pending[i]);
    source->pending_count -= count;
    for (uint32_t i = 0; i < source->commits_count; i++) {
        struct sim_commit *commit = &source->commits[i];

        commit->count -= commit->count < count ? commit->count : count;
    }
    memmove(source->pending, source->pending + count,
            source->pending_count * sizeof source->pending[0]);
}

/* An instance ends with commits under way: so many of them were stored all the same. */
static void commits_end(struct mb_source *source)
{
    uint32_t stored = (uint32_t)sim_below(source->commits_count + 1);

    if (stored > 0)
        arrive(source, source->commits[stored - 1].count);
    source->commits_count = 0;
}

static void source_end(struct mb_source *source)
{
    source->ended = true;
    sim.stats[SIM_SOURCE_BREAKS]++;
    if (!sim_commits())
        arrive(source, (uint32_t)sim_below(source->pending_count + 1));
    commits_end(source);
    sim_trace("source breaks, %u acknowledgements did not arrive", source->pending_count);
    sim_excuse(SIM_ALL, SIM_ALL);
    sim_give_back(SIM_ALL);
}

void sim_sources_crash(void)
{
    for (struct mb_source *source = sim.sources; source != NULL; source = source->next) {
        if (!source->closed && !source->ended)
            source_end(source);
        source->closed = true;
    }
}

bool sim_sources_are_closed(void)
{
    return sim.sources == NULL || sim.sources->closed;
}

/* ---- operations ---- */

void sim_source_op(const struct mb_source *source, const char *name)
{
    const struct mb_port *port = &sim.lane->source;

    if (source->closed)
        sim_violate("contract", "source %s after close", name);
    if (source->ended)
        sim_violate("contract", "source %s after the end of its life", name);
    if (port->state != MB_PORT_OPEN || port->source != source)
        sim_violate("contract", "source %s while a connector thread has it", name);
}

enum mb_status sim_source_result(struct mb_source *source, struct mb_error *err)
{
    if (!sim_is_rough() || sim.now_ms < source->ends_ms || sim_one_in(3))
        return MB_OK;
    source_end(source);
    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "reset", "reset");
}

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    struct mb_source *source;

    if (sim.sources != NULL && !sim.sources->closed)
        sim_violate("contract", "a second source is opened before the first is closed");
    if (sim_is_rough() && sim_one_in(sim.shape.open_fails_one_in)) {
        sim.stats[SIM_OPEN_FAILURES]++;
        sim_trace("source does not open");
        mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "refused", "refused");
        err->retry_after_ms = sim_one_in(4) ? (uint32_t)sim_below(500) : 0;
        return MB_DISCONNECTED;
    }
    source = sim_calloc(1, sizeof *source);
    source->host = params->host;
    source->next = sim.sources;
    source->fd = FD_FIRST + (sim.sources != NULL ? sim.sources->fd - FD_FIRST + 1 : 0);
    source->ends_ms = sim_after(sim.shape.source_break_ms);
    source->announce_ms = sim.now_ms + (int64_t)sim_below(30);
    sim.sources = source;
    *ret_source = source;
    sim_trace("source opens");
    return MB_OK;
}

static bool has_next(const struct mb_source *source, uint32_t scope)
{
    const struct sim_held *held = &source->scopes[scope];

    return held->hold == SIM_STARTED && held->next < sim.scopes[scope].count &&
           sim_message_at(scope, held->next)->appears_ms <= sim.now_ms;
}

static void source_fds(struct mb_source *source, struct mb_wait *wait)
{
    sim_source_op(source, "fds");
    wait->fds[wait->count].fd = source->fd;
    wait->fds[wait->count].events = POLLIN;
    if (source->pending_count > 0 && !sim_commits())
        wait->fds[wait->count].events |= POLLOUT;
    wait->count++;
    for (uint32_t i = 0; i < sim.shape.scopes && sim_commits() && !source->paused; i++)
        wait->ready = wait->ready || has_next(source, i);
}

static int64_t scope_ready_ms(const struct mb_source *source, uint32_t scope)
{
    const struct sim_held *held = &source->scopes[scope];
    int64_t ready_ms = SIM_NEVER;

    if (held->hold == SIM_NOT_HELD || sim_is_rough())
        ready_ms = held->next_ms;
    if (held->hold == SIM_STARTED && !source->paused && held->next < sim.scopes[scope].count) {
        const struct sim_message *message = sim_message_at(scope, held->next);

        /* A library's queue tells that it is no longer empty, once; what is in it waits. */
        if (message->appears_ms < ready_ms && (!sim_commits() || message->appears_ms > sim.now_ms))
            ready_ms = message->appears_ms;
    }
    return ready_ms;
}

int64_t sim_source_ready_ms(int fd, int16_t events)
{
    const struct mb_source *source = sim.sources;
    int64_t ready_ms;

    if (source == NULL || source->closed || (fd >= 0 && source->fd != fd))
        return SIM_NEVER;
    if ((events & POLLOUT) != 0 && (events & POLLIN) == 0)
        return sim.now_ms + 2;
    ready_ms = sim_is_rough() ? source->ends_ms : SIM_NEVER;
    if (source->commits_count > 0 && source->commits[0].ms < ready_ms)
        ready_ms = source->commits[0].ms;
    if (!source->announced)
        return source->announce_ms < ready_ms ? source->announce_ms : ready_ms;
    for (uint32_t s = 0; s < sim.shape.scopes; s++) {
        int64_t scope_ms = scope_ready_ms(source, s);

        if (scope_ms < ready_ms)
            ready_ms = scope_ms;
    }
    return ready_ms;
}

/* The oldest commit is through; one that fails is covered by the next. */
static void committed(struct mb_source *source)
{
    const struct sim_commit commit = source->commits[0];
    bool stored = !sim_is_rough() || !sim_one_in(10);

    sim_trace("commit of %u %s", commit.count, stored ? "is stored" : "failed");
    source->commits_count--;
    memmove(source->commits, source->commits + 1,
            source->commits_count * sizeof source->commits[0]);
    if (!stored)
        return;
    arrive(source, commit.count);
    for (uint32_t s = 0; s < sim.shape.scopes; s++) {
        struct mb_event event = {.struct_size = sizeof event,
                                 .kind = MB_EVENT_COMMITTED,
                                 .scope = s,
                                 .epoch = commit.epochs[s],
                                 .token = commit.tokens[s]};

        if (event.epoch != 0)
            source->host->event(source->host->context, &event);
    }
}

static enum mb_status source_service(struct mb_source *source, struct mb_error *err)
{
    sim_source_op(source, "service");
    for (uint32_t s = 0; s < sim.shape.scopes; s++)
        source->scopes[s].loose = false;
    if (sim_source_result(source, err) != MB_OK)
        return err->status;
    while (source->commits_count > 0 && sim.now_ms >= source->commits[0].ms)
        committed(source);
    if (!sim_commits() && !sim_one_in(4))
        arrive(source, source->pending_count);
    if (!source->announced && sim.now_ms < source->announce_ms)
        return MB_OK;
    source->announced = true;
    for (uint32_t s = 0; s < sim.shape.scopes; s++) {
        struct sim_held *held = &source->scopes[s];

        if (held->hold == SIM_REVOKING && sim.now_ms > held->deadline_ms + LATE_MS)
            sim_violate("contract", "scope %u was to be given up %d ms ago", s,
                        (int)(sim.now_ms - held->deadline_ms));
        if (sim.now_ms >= held->next_ms)
            sim_scope_changes(source, s, false);
    }
    return MB_OK;
}

/* ---- messages ---- */

static struct mb_header keep_header = {
    .name = {"keep", 4}, .name_type = MB_STRING, .value = {.type = MB_STRING}};

/* false: memory is out. */
static bool hand_out(struct mb_source *source, struct mb_batch *batch, uint32_t scope)
{
    struct sim_held *held = &source->scopes[scope];
    struct sim_message *from = sim_message_at(scope, held->next);
    struct mb_message *message = batch->messages[batch->count];
    unsigned char *body = mb_arena_alloc(batch->arena, from->size);

    if (body == NULL)
        return false;
    held->next++;
    from->taken = true;
    from->told = false;
    from->acked = false;
    from->generation++;
    from->tag = ++held->tag;
    from->confirmed = 0;
    from->refused = 0;
    from->lapsed = from->lapsed || sim_is_expired(from);
    from->expires_ms = from->ttl_ms > 0 ? sim_wall_ms() + from->ttl_ms : 0;
    sim_body_fill((struct sim_body *)(void *)body, sim.scopes[scope].first + from->place);
    message->body = (struct mb_slice){body, from->size};
    message->scope = scope;
    message->epoch = held->epoch;
    message->token = token_of(from);
    if (sim_is_log())
        message->position = (struct mb_position){.kind = MB_POSITION_OFFSET, .lo = from->offset};
    if (from->ttl_ms > 0) {
        message->present |= MB_HAS_TTL;
        message->ttl_ms = (uint64_t)from->ttl_ms;
    }
    if (sim.shape.filter && !from->filtered) {
        message->headers = &keep_header;
        message->headers_count = 1;
    }
    if (from->unreadable)
        message->reject_reason = "unreadable";
    batch->bytes += from->size;
    batch->count++;
    sim.life_taken++;
    sim.stats[SIM_TAKEN]++;
    return true;
}

/* What others have acknowledged meanwhile is not handed out again. */
static void skip_acked(struct mb_source *source, uint32_t scope)
{
    struct sim_held *held = &source->scopes[scope];

    while (!held->seeks && held->next < sim.scopes[scope].count &&
           sim_message_at(scope, held->next)->acked)
        held->next++;
}

static enum mb_status source_poll(struct mb_source *source, struct mb_batch *batch,
                                  struct mb_error *err)
{
    uint32_t most = 1 + (uint32_t)sim_below(BATCH_MAX);
    uint32_t at = (uint32_t)sim_below(sim.shape.scopes);
    uint32_t before;

    sim_source_op(source, "poll");
    for (uint32_t s = 0; s < sim.shape.scopes && sim.shape.scope_change_ms > 0; s++) {
        if (sim.now_ms >= source->scopes[s].next_ms && sim_one_in(4))
            sim_scope_changes(source, s, true);
    }
    most = most < batch->count_max ? most : batch->count_max;
    for (uint32_t i = 0; i < sim.shape.scopes && !source->paused; i++) {
        uint32_t scope = (at + i) % sim.shape.scopes;
        uint32_t few = sim_one_in(2) ? 1 + (uint32_t)sim_below(4) : UINT32_MAX;

        skip_acked(source, scope);
        while (batch->count < most && batch->bytes < batch->bytes_max && few-- > 0 &&
               has_next(source, scope)) {
            if (!hand_out(source, batch, scope)) {
                source_end(source);
                return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
            }
            skip_acked(source, scope);
        }
    }
    before = batch->count;
    if (before > 0)
        sim_trace("source hands out %u", before);
    return sim_source_result(source, err);
}

static void tell(struct mb_source *source, uint32_t scope, uint32_t place)
{
    uint32_t index = sim.scopes[scope].first + place;

    sim_check_ack(index);
    sim.messages[index].told = true;
    source->pending[source->pending_count++] = index;
}

static void ack_in_order(struct mb_source *source, const struct mb_ack *ack)
{
    struct sim_held *held = &source->scopes[ack->scope];
    const struct sim_message *last = NULL;
    uint32_t count = 0;

    for (; held->told < held->next; held->told++) {
        struct sim_message *message = sim_message_at(ack->scope, held->told);

        if (message->acked && !message->taken)
            continue;
        if (!message->taken || token_of(message) > ack->token)
            break;
        tell(source, ack->scope, held->told);
        last = message;
        count++;
    }
    if (last == NULL || token_of(last) != ack->token)
        sim_violate("contract", "token %llu of scope %u is of no message that is open",
                    (unsigned long long)ack->token, ack->scope);
    /* One that memory was out for is told with the next. */
    if (count != ack->count && (!sim.alloc_failed || count < ack->count))
        sim_violate("contract", "an acknowledgement of scope %u says %u messages, it covers %u",
                    ack->scope, ack->count, count);
    if (sim_is_log() && ack->position.lo != last->offset)
        sim_violate("contract", "the position of an acknowledgement is not its message's");
    held->told_token = ack->token;
    held->told_epoch = ack->epoch;
}

static void ack_singly(struct mb_source *source, const struct mb_ack *ack)
{
    struct sim_held *held = &source->scopes[ack->scope];

    if (ack->token >= sim.scopes[ack->scope].count || ack->count != 1 ||
        !sim_message_at(ack->scope, (uint32_t)ack->token)->taken ||
        sim_message_at(ack->scope, (uint32_t)ack->token)->told)
        sim_violate("contract", "token %llu of scope %u is of no message that is open",
                    (unsigned long long)ack->token, ack->scope);
    if (sim.shape.order == MB_ORDER_KEY && ack->token < held->told)
        sim_violate("I4", "message %llu of scope %u is acknowledged behind a later one",
                    (unsigned long long)ack->token, ack->scope);
    held->told = (uint32_t)ack->token + 1;
    tell(source, ack->scope, (uint32_t)ack->token);
}

static enum mb_status source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                 struct mb_error *err)
{
    sim_source_op(source, "ack");
    for (size_t i = 0; i < count; i++) {
        const struct sim_held *held = &source->scopes[acks[i].scope];

        if (acks[i].scope >= sim.shape.scopes)
            sim_violate("contract", "an acknowledgement of a scope that there is not");
        if (held->loose)
            continue;
        if (acks[i].epoch != held->epoch ||
            (held->hold != SIM_STARTED && held->hold != SIM_REVOKING))
            sim_violate("epoch", "scope %u is acknowledged in epoch %u, it is in %u%s",
                        acks[i].scope, acks[i].epoch, held->epoch,
                        held->hold < SIM_STARTED ? " and not held" : "");
        if (acks[i].outcome != MB_ACCEPTED)
            sim_violate("contract", "outcome %u", acks[i].outcome);
        if (acks_in_order())
            ack_in_order(source, &acks[i]);
        else
            ack_singly(source, &acks[i]);
    }
    sim_trace("%u acknowledgements told", (unsigned)count);
    return sim_source_result(source, err);
}

static enum mb_status source_commit(struct mb_source *source, uint32_t wait_ms,
                                    struct mb_error *err)
{
    struct sim_commit *commit;

    sim_source_op(source, "commit");
    if (sim_source_result(source, err) != MB_OK)
        return err->status;
    if (wait_ms > 0) {
        if (sim_is_rough() && sim_one_in(20)) {
            source->commit_failed = true;
            return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout", "timeout");
        }
        arrive(source, source->pending_count);
        source->commits_count = 0;
        return MB_OK;
    }
    if (source->commits_count == SIM_COMMITS_OPEN_MAX || sim_one_in(8))
        return MB_AGAIN;
    commit = &source->commits[source->commits_count++];
    commit->count = source->pending_count;
    commit->ms = sim.now_ms + (int64_t)sim_below(sim.shape.latency_ms + 1);
    if (source->commits_count > 1 && commit->ms < commit[-1].ms)
        commit->ms = commit[-1].ms;
    for (uint32_t s = 0; s < sim.shape.scopes; s++) {
        const struct sim_held *held = &source->scopes[s];
        bool has_told = held->hold >= SIM_STARTED && held->told_epoch == held->epoch;

        commit->epochs[s] = has_told ? held->epoch : 0;
        commit->tokens[s] = held->told_token;
    }
    return MB_OK;
}

static void source_pause(struct mb_source *source, bool paused)
{
    sim_source_op(source, "pause");
    source->paused = paused;
}

static void source_close(struct mb_source *source)
{
    bool clean;

    if (source->closed)
        sim_violate("contract", "a source is closed twice");
    source->closed = true;
    if (source->ended)
        return;
    clean = sim.lane->phase >= MB_LANE_CLOSING && sim.lane->unresolved == 0 && !sim.lane->failed &&
            !source->commit_failed && !sim.alloc_failed;
    /* A late stop has no time to store positions past what was buried. */
    if (sim.shape.exactly && sim.now_ms >= sim.lane->stop_deadline_ms)
        clean = false;
    if (!sim_commits())
        arrive(source, source->pending_count);
    commits_end(source);
    sim_trace("source is closed%s", clean ? "" : " with open messages");
    if (!clean)
        sim_excuse(SIM_ALL, SIM_ALL);
    sim_give_back(SIM_ALL);
}

void sim_sources_release(void)
{
    while (sim.sources != NULL) {
        struct mb_source *source = sim.sources;

        sim.sources = source->next;
        free(source);
    }
}

const struct mb_source_ops sim_source_ops = {
    .struct_size = sizeof sim_source_ops,
    .traits = traits_of,
    .open = source_open,
    .fds = source_fds,
    .poll = source_poll,
    .ack = source_ack,
    .commit = source_commit,
    .start = sim_source_start,
    .stop = sim_source_stop,
    .pause = source_pause,
    .service = source_service,
    .close = source_close,
};
