/* SPDX-License-Identifier: Apache-2.0 */
/* The checked wrapper of a source: the rules of source.h at every call. */
#include "contract.h"

#include <poll.h>
#include <stdlib.h>

#define GUARD       0xa5
#define GUARD_SIZE  64u
#define CHUNK_SIZE  65536u
#define BATCH_BYTES (1u << 20)

struct chunk {
    struct chunk *next;
    unsigned char memory[];
};

static void *arena_more(struct mb_arena *arena, size_t size)
{
    struct tested_source *source =
        (struct tested_source *)(void *)((char *)arena - offsetof(struct tested_source, arena));
    size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;
    struct chunk *chunk = malloc(sizeof *chunk + room);

    if (chunk == NULL)
        return NULL;
    chunk->next = source->chunks;
    source->chunks = chunk;
    arena->at = chunk->memory + size;
    arena->end = chunk->memory + room;
    return chunk->memory;
}

void source_init(struct tested_source *source, const struct options *options)
{
    memset(source, 0, sizeof *source);
    source->contract = options->contract;
    source->ops = options->contract->backend->source;
    source->traits = options->source_traits;
    source->batch_max = BATCH_MAX;
    source->start.kind = MB_POSITION_STORED;
    source->arena.more = arena_more;
    test_host_init(&source->host, &options->contract->check, "source");
    /* Each alone with a guard behind it: a backend may not take the stride of the struct. */
    for (size_t i = 0; i < BATCH_MAX; i++) {
        source->messages[i] = malloc(sizeof *source->messages[i] + GUARD_SIZE);
        if (source->messages[i] == NULL)
            abort();
    }
}

void source_release(struct tested_source *source)
{
    struct chunk *chunk = source->chunks;

    while (chunk != NULL) {
        struct chunk *next = chunk->next;

        free(chunk);
        chunk = next;
    }
    source->chunks = NULL;
    for (size_t i = 0; i < BATCH_MAX; i++)
        free(source->messages[i]);
    memset(source->messages, 0, sizeof source->messages);
}

enum mb_status source_open(struct tested_source *source, const struct options *options,
                           bool ordered)
{
    struct contract *contract = options->contract;
    struct mb_error err = {0};
    struct mb_open_params params = {
        .struct_size = sizeof params,
        .host = &source->host.host,
        .endpoint = mb_applied_struct(options->endpoint),
        .options = mb_applied_struct(options->source),
        .bridge_name = "contract",
        .route_name = "contract",
        .endpoint_name = "tested",
        .default_group = options->group,
        .streams = source->streams,
        .window_messages = 4096,
        .window_bytes = 16u << 20,
        .timeout_ms = contract->timeout_ms,
        .ordered = ordered,
    };

    source->status = source->ops->open(&params, &source->source, &err);
    check_error(&contract->check, "source open", source->status, &err);
    if (source->status != MB_OK && source->source != NULL)
        check_fail(&contract->check, "source open failed and left an instance");
    if (source->status == MB_OK && source->source == NULL)
        check_fail(&contract->check, "source open succeeded without an instance");
    if (source->status != MB_OK && source->host.allocated != 0)
        check_fail(&contract->check, "source open failed and kept %ld allocations",
                   source->host.allocated);
    return source->status;
}

static struct seen_scope *scope_of(struct tested_source *source, uint32_t scope)
{
    if (scope >= SCOPES_MAX) {
        check_fail(&source->contract->check, "scope %u is no small number", scope);
        scope = SCOPES_MAX - 1;
    }
    return &source->scopes[scope];
}

static void note_status(struct tested_source *source, const char *operation, enum mb_status status,
                        const struct mb_error *err)
{
    source->host.in_operation = false;
    source->status = status;
    check_error(&source->contract->check, operation, status, err);
    if (status != MB_OK && status != MB_AGAIN)
        check_fail(&source->contract->check, "%s failed: %s", operation, err->text);
}

void source_start(struct tested_source *source, uint32_t index)
{
    struct seen_scope *scope = scope_of(source, index);
    struct mb_scope_start start = {index, scope->epoch, source->start};
    int32_t place = scope->partition >= 0 && scope->partition < SCOPES_MAX ? scope->partition : 0;
    struct mb_error err = {0};

    if (source->start_at[place].kind != MB_POSITION_NONE)
        start.position = source->start_at[place];
    source->host.in_operation = true;
    note_status(source, "start", source->ops->start(source->source, &start, 1, &err), &err);
    scope->state = SCOPE_STARTED;
    scope->has_token = false;
    scope->has_acked = false;
}

size_t source_scopes(const struct tested_source *source, enum scope_state state)
{
    size_t count = 0;

    for (size_t i = 0; i < SCOPES_MAX; i++)
        count += source->scopes[i].state == (uint32_t)state ? 1 : 0;
    return count;
}

static void answer_stop(struct tested_source *source, uint32_t index)
{
    struct mb_error err = {0};

    if (source->ops->commit != NULL)
        source_commit(source);
    source->host.in_operation = true;
    note_status(source, "stop", source->ops->stop(source->source, &index, 1, &err), &err);
    scope_of(source, index)->state = SCOPE_GONE;
}

static void handle_assigned(struct tested_source *source, const struct seen_event *event)
{
    struct check *check = &source->contract->check;
    struct seen_scope *scope = scope_of(source, event->scope);

    if (scope->state != SCOPE_UNKNOWN && scope->state != SCOPE_GONE)
        check_fail(check, "scope %u was assigned while it was there", event->scope);
    if (scope->state == SCOPE_GONE && scope->epoch == event->epoch)
        check_fail(check, "scope %u came back with its old epoch", event->scope);
    scope->state = SCOPE_ASSIGNED;
    scope->epoch = event->epoch;
    scope->partition = event->partition;
    if (!source->holds_start)
        source_start(source, event->scope);
}

static void handle_event(struct tested_source *source, const struct seen_event *event)
{
    struct check *check = &source->contract->check;
    struct seen_scope *scope;

    switch ((enum mb_event_kind)event->kind) {
    case MB_EVENT_SCOPE_ASSIGNED:
        handle_assigned(source, event);
        break;
    case MB_EVENT_SCOPE_REVOKED:
        scope = scope_of(source, event->scope);
        if (scope->state != SCOPE_STARTED && scope->state != SCOPE_ASSIGNED)
            check_fail(check, "scope %u was revoked and was not there", event->scope);
        scope->state = SCOPE_REVOKED;
        if (!source->holds_stop)
            answer_stop(source, event->scope);
        break;
    case MB_EVENT_SCOPE_LOST:
        scope = scope_of(source, event->scope);
        if (scope->state == SCOPE_UNKNOWN)
            check_fail(check, "scope %u was lost and never there", event->scope);
        scope->state = SCOPE_GONE;
        break;
    case MB_EVENT_COMMITTED:
        scope = scope_of(source, event->scope);
        source->committed_events++;
        if (scope->state == SCOPE_UNKNOWN)
            check_fail(check, "COMMITTED for scope %u, which was never there", event->scope);
        if (event->epoch == scope->epoch && (!scope->has_acked || event->token > scope->acked))
            check_fail(check, "COMMITTED for a token that was not acknowledged");
        break;
    case MB_EVENT_UP:
    case MB_EVENT_DOWN:
    case MB_EVENT_BLOCKED:
    case MB_EVENT_LOSS:
        break;
    }
}

static void handle_events(struct tested_source *source)
{
    while (source->host.events_done < source->host.events_count) {
        struct seen_event event = source->host.events[source->host.events_done++];

        handle_event(source, &event);
    }
}

static void check_message(struct tested_source *source, const struct mb_message *message)
{
    struct check *check = &source->contract->check;
    struct seen_scope *scope = scope_of(source, message->scope);
    const unsigned char *guard = (const unsigned char *)(message + 1);

    for (size_t i = 0; i < GUARD_SIZE; i++) {
        if (guard[i] != GUARD) {
            check_fail(check, "poll wrote behind a message");
            break;
        }
    }
    if (message->struct_size != sizeof *message)
        check_fail(check, "poll changed struct_size of a message");
    if (scope->state != SCOPE_STARTED)
        check_fail(check, "a message of scope %u came, which is not started", message->scope);
    if (message->epoch != scope->epoch)
        check_fail(check, "a message of scope %u has epoch %u, the scope has %u", message->scope,
                   message->epoch, scope->epoch);
    if ((source->traits & MB_SOURCE_ACKS_IN_ORDER) != 0 && scope->has_token &&
        message->token <= scope->token)
        check_fail(check, "token %llu came behind %llu in scope %u",
                   (unsigned long long)message->token, (unsigned long long)scope->token,
                   message->scope);
    if (!scope->has_token || message->token > scope->token)
        scope->token = message->token;
    scope->has_token = true;
    if (message->body.data == NULL && message->body.size > 0)
        check_fail(check, "a body has a size and no data");
    if (message->body_kind == MB_BODY_NULL && message->body.data != NULL)
        check_fail(check, "a null body has data");
}

static void poll_once(struct tested_source *source)
{
    struct check *check = &source->contract->check;
    struct mb_batch batch = {.struct_size = sizeof batch,
                             .count_max = source->batch_max,
                             .bytes_max = BATCH_BYTES,
                             .messages = source->messages,
                             .arena = &source->arena};
    struct mb_error err = {0};
    enum mb_status status;

    for (size_t i = 0; i < BATCH_MAX; i++) {
        memset(source->messages[i], 0, sizeof *source->messages[i]);
        memset(source->messages[i] + 1, GUARD, GUARD_SIZE);
        source->messages[i]->struct_size = sizeof *source->messages[i];
    }
    source->host.in_operation = true;
    status = source->ops->poll(source->source, &batch, &err);
    source->host.in_operation = false;
    source->status = status;
    check_error(check, "poll", status, &err);
    if (status != MB_OK && status != MB_AGAIN)
        check_fail(check, "poll failed: %s", err.text);
    if (batch.count > batch.count_max) {
        check_fail(check, "poll gave %u messages where %u were allowed", batch.count,
                   batch.count_max);
        batch.count = batch.count_max;
    }
    for (uint32_t i = 0; i < batch.count; i++) {
        check_message(source, source->messages[i]);
        source->count++;
        if (source->each != NULL)
            source->each(source->context, source->messages[i]);
        if (source->acks_at_once)
            source_ack(source, source->messages[i], MB_ACCEPTED);
    }
}

void source_step(struct tested_source *source)
{
    struct mb_error err = {0};

    source->host.in_operation = true;
    note_status(source, "service", source->ops->service(source->source, &err), &err);
    handle_events(source);
    poll_once(source);
    handle_events(source);
}

/* Sleeps until one of the sources has something, or until_ms. */
static void wait_for(struct tested_source **sources, size_t count, int64_t until_ms)
{
    struct pollfd fds[4 * MB_WAIT_FDS_MAX];
    nfds_t fds_count = 0;
    int64_t deadline_ms = until_ms;

    for (size_t i = 0; i < count; i++) {
        struct mb_wait wait = {.struct_size = sizeof wait, .deadline_ms = INT64_MAX};

        if (sources[i] == NULL || sources[i]->source == NULL)
            continue;
        sources[i]->ops->fds(sources[i]->source, &wait);
        if (wait.count > MB_WAIT_FDS_MAX) {
            check_fail(&sources[i]->contract->check, "fds gave %u descriptors", wait.count);
            return;
        }
        if (wait.ready)
            return;
        if (wait.deadline_ms < deadline_ms)
            deadline_ms = wait.deadline_ms;
        for (uint32_t j = 0; j < wait.count; j++)
            fds[fds_count++] = (struct pollfd){wait.fds[j].fd, wait.fds[j].events, 0};
    }
    deadline_ms -= test_now_ms();
    if (deadline_ms > 0)
        poll(fds, fds_count, deadline_ms < 1000 ? (int)deadline_ms : 1000);
}

bool sources_run(struct tested_source **sources, size_t count, uint32_t timeout_ms,
                 bool (*done)(void *context), void *context)
{
    int64_t until_ms = test_now_ms() + timeout_ms;

    for (;;) {
        for (size_t i = 0; i < count; i++) {
            if (sources[i] != NULL && sources[i]->source != NULL)
                source_step(sources[i]);
        }
        if (done != NULL && done(context))
            return true;
        if (test_now_ms() >= until_ms)
            return false;
        wait_for(sources, count, until_ms);
    }
}

struct wanted {
    struct tested_source *source;
    uint64_t count;
};

static bool has_come(void *context)
{
    const struct wanted *wanted = context;

    return wanted->source->count >= wanted->count;
}

bool source_take(struct tested_source *source, uint64_t count)
{
    struct wanted wanted = {source, count};

    if (sources_run(&source, 1, source->contract->timeout_ms, has_come, &wanted))
        return true;
    check_fail(&source->contract->check, "only %llu of %llu messages came",
               (unsigned long long)source->count, (unsigned long long)count);
    return false;
}

static bool has_started(void *context)
{
    return source_scopes(context, SCOPE_STARTED) > 0;
}

void source_take_quiet(struct tested_source *source)
{
    struct wanted wanted = {source, 0};

    /* Quiet counts from when something could come: joining a group takes its time. */
    if (!sources_run(&source, 1, source->contract->timeout_ms, has_started, source))
        check_fail(&source->contract->check, "no scope was assigned");
    do
        wanted.count = source->count + 1;
    while (sources_run(&source, 1, source->contract->quiet_ms, has_come, &wanted));
}

void source_ack(struct tested_source *source, const struct mb_message *message,
                enum mb_outcome outcome)
{
    struct mb_ack ack = {message->scope,   message->epoch, message->token, outcome, 1,
                         message->position};
    struct seen_scope *scope = scope_of(source, message->scope);
    struct mb_error err = {0};

    if (message->epoch == scope->epoch && outcome != MB_RELEASED) {
        scope->has_acked = true;
        scope->acked = message->token;
    }
    source->host.in_operation = true;
    note_status(source, "ack", source->ops->ack(source->source, &ack, 1, &err), &err);
    handle_events(source);
}

void source_commit(struct tested_source *source)
{
    struct mb_error err = {0};

    if ((source->traits & MB_SOURCE_COMMITS) == 0 || source->ops->commit == NULL)
        return;
    source->host.in_operation = true;
    note_status(source, "commit",
                source->ops->commit(source->source, source->contract->timeout_ms, &err), &err);
    handle_events(source);
}

void source_close(struct tested_source *source)
{
    source->host.in_operation = true;
    source->ops->close(source->source);
    source->host.in_operation = false;
    source->host.closed = true;
    source->source = NULL;
    if (source->host.allocated != 0)
        check_fail(&source->contract->check, "the source kept %ld allocations after close",
                   source->host.allocated);
}
