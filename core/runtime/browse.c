/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/browse.h"

#include "core/base/clock.h"
#include "core/base/host.h"
#include "core/config/dead_source.h"
#include "core/router/arena.h"
#include "core/router/destination.h"
#include "core/router/identity.h"

#include <poll.h>
#include <stdlib.h>

#define TIMEOUT_MS   10000u
#define ASSIGNED_MS  30000 /* a member of a group waits for the others */
#define QUIET_MS     2000
#define BATCH        256u
#define BATCH_BYTES  (8u << 20)
#define WINDOW_BYTES (64u << 20)
#define SCOPES_MAX   65536u
#define ENDS_MAX     65536u
#define WAIT_MAX_MS  500

struct end {
    char *stream;
    int32_t partition;
    struct mb_position begin;
    struct mb_position group;
    struct mb_position end;
};

struct scope {
    bool is_live;
    bool is_new; /* to be started */
    bool is_revoked;
    uint32_t epoch;
    char *stream;
    struct mb_origin origin;
    struct mb_position done; /* by the group that is asked about */
    bool has_end;
    bool is_at_end;
    struct mb_position end;
};

struct run {
    const struct mb_browse *browse;
    const struct mb_source_ops *ops;
    struct mb_host host;
    struct mb_open_params params;
    struct mb_applied *endpoint;
    struct mb_applied *options;
    struct mb_source *source;
    uint64_t traits;
    char identity[MB_IDENTITY_SIZE];
    struct mb_lane_arena arena;
    struct mb_message storage[BATCH];
    struct mb_message *messages[BATCH];
    struct mb_ack acks[BATCH];
    struct scope *scopes;
    uint32_t scopes_count;
    struct end *ends;
    size_t ends_count;
    int64_t depth; /* of a queue, at the beginning; -1: unknown */
    uint64_t count;
    int64_t began_ms;
    int64_t moved_ms; /* when something came, or a scope did */
    bool is_assigned;
    bool no_memory;
    bool enough;
};

static void on_log(void *context, enum mb_log_level level, const char *text)
{
    const struct run *run = context;

    mb_log(run->browse->logger, level, text, "route", run->browse->route_name, NULL);
}

static struct scope *scope_of(struct run *run, uint32_t id)
{
    uint32_t count = run->scopes_count;
    struct scope *scopes;

    if (id >= SCOPES_MAX)
        return NULL;
    if (id < count)
        return &run->scopes[id];
    scopes = realloc(run->scopes, (id + 1) * sizeof *scopes);
    if (scopes == NULL)
        return NULL;
    memset(scopes + count, 0, (id + 1 - count) * sizeof *scopes);
    run->scopes = scopes;
    run->scopes_count = id + 1;
    return &scopes[id];
}

static void find_end(const struct run *run, struct scope *scope)
{
    for (size_t i = 0; i < run->ends_count; i++) {
        const struct end *end = &run->ends[i];

        if (end->partition != scope->origin.partition || strcmp(end->stream, scope->stream) != 0)
            continue;
        scope->end = end->end;
        scope->done = end->group;
        scope->has_end = end->end.kind != MB_POSITION_NONE;
        scope->is_at_end =
            scope->has_end && end->begin.hi == end->end.hi && end->begin.lo == end->end.lo;
        return;
    }
}

static void assigned(struct run *run, const struct mb_event *event)
{
    const struct mb_config_endpoint *endpoint = run->browse->source->endpoint;
    struct scope *scope = scope_of(run, event->scope);
    char *stream = strndup(event->stream.size > 0 ? event->stream.data : "", event->stream.size);

    if (scope == NULL || stream == NULL) {
        free(stream);
        run->no_memory = true;
        return;
    }
    free(scope->stream);
    memset(scope, 0, sizeof *scope);
    scope->stream = stream;
    scope->is_new = true;
    scope->epoch = event->epoch;
    scope->origin = (struct mb_origin){
        .struct_size = sizeof scope->origin,
        .partition = event->partition,
        .partitions_count = event->partitions_count,
        .platform = {endpoint->backend->name, strlen(endpoint->backend->name)},
        .endpoint = {endpoint->name, strlen(endpoint->name)},
        .identity = {run->identity, strlen(run->identity)},
        .stream = {stream, strlen(stream)},
    };
    find_end(run, scope);
    run->is_assigned = true;
    run->moved_ms = mb_clock_monotonic_ms();
}

static void on_event(void *context, const struct mb_event *event)
{
    struct run *run = context;
    struct scope *scope = event->scope < run->scopes_count ? &run->scopes[event->scope] : NULL;

    if (event->kind == MB_EVENT_SCOPE_ASSIGNED) {
        assigned(run, event);
    } else if (event->kind == MB_EVENT_SCOPE_REVOKED && scope != NULL) {
        scope->is_revoked = scope->is_live;
    } else if (event->kind == MB_EVENT_SCOPE_LOST && scope != NULL) {
        scope->is_live = false;
        scope->is_new = false;
    }
}

/* Answers to what was raised; the operation that raised it has returned. */
static enum mb_status answer(struct run *run, struct mb_error *err)
{
    bool from_begin = (run->traits & MB_SOURCE_SEEKS) != 0;
    enum mb_status status = MB_OK;

    for (uint32_t i = 0; i < run->scopes_count && status == MB_OK; i++) {
        struct scope *scope = &run->scopes[i];
        struct mb_scope_start start = {.scope = i, .epoch = scope->epoch};

        if (scope->is_revoked) {
            scope->is_revoked = false;
            scope->is_live = false;
            status = run->ops->stop(run->source, &i, 1, err);
        }
        if (!scope->is_new || status != MB_OK)
            continue;
        scope->is_new = false;
        scope->is_live = true;
        start.position.kind = from_begin ? MB_POSITION_BEGIN : MB_POSITION_STORED;
        status = run->ops->start(run->source, &start, 1, err);
    }
    return status;
}

static void note_record(void *context, const struct mb_stream_record *record)
{
    struct run *run = context;

    if (record->depth_messages >= 0)
        run->depth = (run->depth > 0 ? run->depth : 0) + record->depth_messages;
    for (int32_t i = 0; record->partitions != NULL && i < record->partitions_count; i++) {
        struct end *ends;
        char *stream;

        if (run->ends_count == ENDS_MAX)
            return;
        ends = realloc(run->ends, (run->ends_count + 1) * sizeof *ends);
        if (ends == NULL)
            return; /* without its end a scope is through when it is quiet */
        run->ends = ends;
        stream = strdup(record->name);
        if (stream == NULL)
            return;
        ends[run->ends_count++] = (struct end){.stream = stream,
                                               .partition = record->partitions[i].partition,
                                               .begin = record->partitions[i].begin,
                                               .group = record->partitions[i].group,
                                               .end = record->partitions[i].end};
    }
}

static enum mb_status ask_source(struct run *run, struct mb_error *err)
{
    const struct mb_browse *browse = run->browse;
    const struct mb_config_stream *source = browse->source;
    enum mb_identity_from from;
    enum mb_status status =
        mb_settings_apply(&source->endpoint->settings, true, &run->endpoint, err);

    if (status == MB_OK)
        status = mb_settings_apply(&source->settings, true, &run->options, err);
    if (status != MB_OK)
        return status;
    mb_host_init(&run->host, run, on_log, on_event);
    run->params = (struct mb_open_params){
        .struct_size = sizeof run->params,
        .host = &run->host,
        .endpoint = mb_applied_struct(run->endpoint),
        .options = mb_applied_struct(run->options),
        .bridge_name = browse->bridge_name,
        .route_name = browse->route_name,
        .endpoint_name = source->endpoint->name,
        .default_group = browse->group,
        .window_messages = MB_DEAD_HELD_MAX,
        .window_bytes = WINDOW_BYTES,
        .timeout_ms = TIMEOUT_MS,
    };
    run->traits = run->ops->traits(run->params.endpoint, run->params.options);
    status = mb_identity_learn(source->endpoint, &run->params, run->identity, sizeof run->identity,
                               &from, err);
    if (status != MB_OK)
        return status;
    status = mb_source_describe(source, &run->params, browse->undone_by, note_record, run, err);
    return status == MB_UNSUPPORTED ? MB_OK : status;
}

static bool is_past(struct mb_position position, struct mb_position end)
{
    return position.hi > end.hi || (position.hi == end.hi && position.lo >= end.lo);
}

/* Where a log says the first that is not done, or the last that was given out. */
static bool is_done(const struct scope *scope, struct mb_position position)
{
    struct mb_position done = scope->done;

    if (done.kind != position.kind || done.kind == MB_POSITION_NONE)
        return false;
    if (done.kind == MB_POSITION_ID)
        done.lo++;
    return !is_past(position, done);
}

/* Hands out one message, unless it came after the beginning. */
static void show(struct run *run, struct mb_message *message)
{
    struct scope *scope = &run->scopes[message->scope];
    struct mb_position next = message->position;

    message->origin = &scope->origin;
    if (scope->has_end && is_past(message->position, scope->end)) {
        scope->is_at_end = true;
        return;
    }
    next.lo++;
    if (scope->has_end && is_past(next, scope->end))
        scope->is_at_end = true;
    if (is_done(scope, message->position))
        return;
    run->count++;
    run->enough = !run->browse->each(run->browse->context, message, &run->arena.arena);
    if ((run->traits & MB_SOURCE_CONSUMES) != 0 &&
        ((run->depth >= 0 && run->count >= (uint64_t)run->depth) || run->count >= MB_DEAD_HELD_MAX))
        run->enough = true;
}

/* Logs are told that more may come; where a group stands is stored by a commit, and there is none.
 * A queue is told nothing, so that it keeps everything. */
static enum mb_status tell(struct run *run, uint32_t count, struct mb_error *err)
{
    if ((run->traits & MB_SOURCE_CONSUMES) != 0 || count == 0)
        return MB_OK;
    for (uint32_t i = 0; i < count; i++) {
        const struct mb_message *message = run->messages[i];

        run->acks[i] = (struct mb_ack){.scope = message->scope,
                                       .epoch = message->epoch,
                                       .token = message->token,
                                       .outcome = MB_ACCEPTED,
                                       .count = 1,
                                       .position = message->position};
    }
    return run->ops->ack(run->source, run->acks, count, err);
}

static enum mb_status take(struct run *run, struct mb_error *err)
{
    struct mb_batch batch = {.struct_size = sizeof batch,
                             .count_max = BATCH,
                             .bytes_max = BATCH_BYTES,
                             .messages = run->messages,
                             .arena = &run->arena.arena};
    enum mb_status told;
    enum mb_status status;

    memset(run->storage, 0, sizeof run->storage);
    for (size_t i = 0; i < BATCH; i++) {
        run->storage[i].struct_size = sizeof run->storage[i];
        run->messages[i] = &run->storage[i];
    }
    status = run->ops->poll(run->source, &batch, err);
    for (uint32_t i = 0; i < batch.count && !run->enough; i++) {
        if (run->messages[i]->scope < run->scopes_count)
            show(run, run->messages[i]);
    }
    if (batch.count > 0)
        run->moved_ms = mb_clock_monotonic_ms();
    told = status == MB_OK || status == MB_AGAIN ? tell(run, batch.count, err) : MB_OK;
    mb_lane_arena_mark(&run->arena, run->count);
    mb_lane_arena_advance(&run->arena, run->count + 1, true);
    return status == MB_OK || status == MB_AGAIN ? told : status;
}

static void wait(struct run *run)
{
    struct mb_wait wait = {.struct_size = sizeof wait, .deadline_ms = INT64_MAX};
    struct pollfd fds[MB_WAIT_FDS_MAX];
    int64_t left_ms;

    run->ops->fds(run->source, &wait);
    for (uint32_t i = 0; i < wait.count; i++)
        fds[i] = (struct pollfd){.fd = wait.fds[i].fd, .events = wait.fds[i].events};
    left_ms =
        wait.deadline_ms == INT64_MAX ? WAIT_MAX_MS : wait.deadline_ms - mb_clock_monotonic_ms();
    left_ms = left_ms > WAIT_MAX_MS ? WAIT_MAX_MS : left_ms < 0 ? 0 : left_ms;
    if (!wait.ready)
        (void)poll(fds, wait.count, (int)left_ms);
}

static bool is_through(const struct run *run)
{
    bool all = run->is_assigned;

    for (uint32_t i = 0; i < run->scopes_count; i++) {
        if (run->scopes[i].is_live || run->scopes[i].is_new)
            all = all && run->scopes[i].is_at_end;
    }
    return run->enough || all || ((run->traits & MB_SOURCE_CONSUMES) != 0 && run->depth == 0) ||
           (run->is_assigned && mb_clock_monotonic_ms() - run->moved_ms >= QUIET_MS);
}

static enum mb_status read_all(struct run *run, struct mb_error *err)
{
    enum mb_status status = MB_OK;

    while (status == MB_OK || status == MB_AGAIN) {
        status = run->ops->service(run->source, err);
        if (status == MB_OK || status == MB_AGAIN)
            status = answer(run, err);
        if (status == MB_OK || status == MB_AGAIN)
            status = take(run, err);
        if (run->no_memory)
            return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
        if (is_through(run))
            return MB_OK;
        if (!run->is_assigned && mb_clock_monotonic_ms() - run->began_ms >= ASSIGNED_MS)
            return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                                "the broker gave nothing to read within %d s", ASSIGNED_MS / 1000);
        if (status == MB_OK || status == MB_AGAIN)
            wait(run);
    }
    return status;
}

static struct run *run_create(const struct mb_browse *browse, struct mb_error *err)
{
    struct run *run = calloc(1, sizeof *run);

    if (run == NULL) {
        mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
        return NULL;
    }
    run->browse = browse;
    run->ops = browse->source->endpoint->backend->source;
    run->depth = -1;
    run->began_ms = mb_clock_monotonic_ms();
    run->moved_ms = run->began_ms;
    mb_lane_arena_init(&run->arena);
    return run;
}

static void run_destroy(struct run *run)
{
    for (uint32_t i = 0; i < run->scopes_count; i++)
        free(run->scopes[i].stream);
    for (size_t i = 0; i < run->ends_count; i++)
        free(run->ends[i].stream);
    free(run->scopes);
    free(run->ends);
    mb_applied_destroy(run->options);
    mb_applied_destroy(run->endpoint);
    mb_lane_arena_release(&run->arena);
    free(run);
}

enum mb_status mb_browse_ask(const struct mb_browse *browse, struct mb_error *err)
{
    struct run *run = run_create(browse, err);
    enum mb_status status;

    if (run == NULL)
        return MB_NO_MEMORY;
    status = ask_source(run, err);
    run_destroy(run);
    return status;
}

enum mb_status mb_browse(const struct mb_browse *browse, struct mb_browsed *ret_browsed,
                         struct mb_error *err)
{
    struct run *run = run_create(browse, err);
    enum mb_status status;

    memset(ret_browsed, 0, sizeof *ret_browsed);
    if (run == NULL)
        return MB_NO_MEMORY;
    status = ask_source(run, err);
    if (status == MB_OK)
        status = run->ops->open(&run->params, &run->source, err);
    if (status == MB_OK) {
        status = read_all(run, err);
        run->ops->close(run->source);
    }
    ret_browsed->count = run->count;
    ret_browsed->consumes = (run->traits & MB_SOURCE_CONSUMES) != 0;
    ret_browsed->is_truncated =
        ret_browsed->consumes && run->count >= MB_DEAD_HELD_MAX && run->depth > (int64_t)run->count;
    run_destroy(run);
    return status;
}
