/* SPDX-License-Identifier: Apache-2.0 */
#include "scripted_broker.h"

#include "kit/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define FLIGHT_MAX 64u

struct mb_source {
    struct world *world;
    const struct mb_host *host;
    uint64_t next[SCOPES]; /* token to hand out next */
    bool started[SCOPES];
    bool revoking[SCOPES];
    bool assigned[SCOPES]; /* told to the lane, and not stopped since */
    bool announced;
};

struct mb_sink {
    struct world *world;
    struct {
        uint64_t sequence;
        uint32_t scope;
        uint64_t token;
        bool dead;
    } flight[FLIGHT_MAX];
    uint32_t flight_count;
    bool dead; /* it is the dead-letter sink */
};

struct world world;

uint64_t random_below(uint64_t bound)
{
    uint64_t z = (world.random += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % bound;
}

static bool one_in(uint64_t n)
{
    return world.faults && random_below(n) == 0;
}

static bool is_poison(uint32_t scope, uint64_t token)
{
    return world.poison && (token * SCOPES + scope) % 97 == 13;
}

/* ---- source ---- */

static uint64_t source_traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return (world.ordered_acks ? MB_SOURCE_ACKS_IN_ORDER : 0u) | MB_SOURCE_CONSUMES;
}

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    struct mb_source *source;

    if (one_in(4))
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "refused", "refused");
    source = calloc(1, sizeof *source);
    assert_non_null(source);
    source->world = &world;
    source->host = params->host;
    world.source = source;
    *ret_source = source;
    return MB_OK;
}

static void source_fds(struct mb_source *source, struct mb_wait *wait)
{
    (void)source;
    (void)wait;
}

static void announce(struct mb_source *source, uint32_t scope)
{
    char name[16];
    struct mb_event event = {.struct_size = sizeof event,
                             .kind = MB_EVENT_SCOPE_ASSIGNED,
                             .scope = scope,
                             .epoch = ++world.epoch[scope],
                             .partition = (int32_t)scope};

    source->assigned[scope] = true;
    snprintf(name, sizeof name, "s%u", scope);
    event.stream = mb_slice_text(name);
    source->host->event(source->host->context, &event);
}

static enum mb_status source_service(struct mb_source *source, struct mb_error *err)
{
    uint32_t scope = (uint32_t)random_below(SCOPES);

    if (!source->announced) {
        for (uint32_t i = 0; i < SCOPES; i++)
            announce(source, i);
        source->announced = true;
    }
    if (one_in(400))
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "reset", "reset");
    if (source->started[scope] && !source->revoking[scope] && one_in(150)) {
        struct mb_event event = {.struct_size = sizeof event,
                                 .kind = MB_EVENT_SCOPE_REVOKED,
                                 .scope = scope,
                                 .epoch = world.epoch[scope],
                                 .deadline_ms = (uint32_t)random_below(200)};

        source->revoking[scope] = true;
        source->host->event(source->host->context, &event);
    } else if (!source->assigned[scope] && one_in(10)) {
        announce(source, scope);
    }
    return MB_OK;
}

/* Begins with what is not acknowledged, as a broker does. */
static enum mb_status source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                   size_t count, struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(starts[i].epoch, world.epoch[starts[i].scope]);
        source->started[starts[i].scope] = true;
        source->next[starts[i].scope] = world.acked[starts[i].scope];
    }
    return MB_OK;
}

static enum mb_status source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                                  struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++) {
        assert_true(source->revoking[scopes[i]]);
        source->started[scopes[i]] = false;
        source->assigned[scopes[i]] = false;
        source->revoking[scopes[i]] = false;
    }
    return MB_OK;
}

static enum mb_status source_poll(struct mb_source *source, struct mb_batch *batch,
                                  struct mb_error *err)
{
    uint64_t most = 1 + random_below(40);

    (void)err;
    while (batch->count < batch->count_max && batch->count < most) {
        uint32_t scope = (uint32_t)random_below(SCOPES);
        struct mb_message *message = batch->messages[batch->count];
        uint64_t token = source->next[scope];
        uint64_t *body;

        if (!source->started[scope] || source->revoking[scope] || token >= MESSAGES_A_SCOPE) {
            most--;
            continue;
        }
        source->next[scope]++;
        if (!world.ordered_acks && world.single[scope][token])
            continue;
        body = mb_arena_alloc(batch->arena, 2 * sizeof *body);
        assert_non_null(body);
        body[0] = scope;
        body[1] = token;
        message->body = (struct mb_slice){body, 2 * sizeof *body};
        message->scope = scope;
        message->epoch = world.epoch[scope];
        message->token = token;
        batch->count++;
    }
    return MB_OK;
}

bool is_safe(uint32_t scope, uint64_t token)
{
    return world.durable[scope][token] > 0 || world.buried[scope][token];
}

static enum mb_status source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                 struct mb_error *err)
{
    (void)source;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        uint32_t scope = acks[i].scope;

        assert_int_equal(acks[i].epoch, world.epoch[scope]);
        assert_true(acks[i].token < MESSAGES_A_SCOPE);
        if (!world.ordered_acks) {
            assert_true(is_safe(scope, acks[i].token));
            assert_true(acks[i].token == 0 || world.single[scope][acks[i].token - 1]);
            world.single[scope][acks[i].token] = true;
            continue;
        }
        assert_true(acks[i].token >= world.acked[scope]);
        for (; world.acked[scope] <= acks[i].token; world.acked[scope]++)
            assert_true(is_safe(scope, world.acked[scope]));
    }
    return MB_OK;
}

static void source_close(struct mb_source *source)
{
    world.source = NULL;
    free(source);
}

/* ---- sink ---- */

static uint64_t sink_traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return 0;
}

struct sink_options {
    bool dead;
};

static enum mb_status sink_open(const struct mb_open_params *params, struct mb_sink **ret_sink,
                                struct mb_error *err)
{
    const struct sink_options *options = params->options;
    struct mb_sink *sink;

    if (one_in(3))
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "refused", "refused");
    sink = calloc(1, sizeof *sink);
    assert_non_null(sink);
    sink->world = &world;
    sink->dead = options->dead;
    *ret_sink = sink;
    return MB_OK;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    (void)sink;
    (void)wait;
}

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++) {
        const uint64_t *body = items[i].message->body.data;

        if (sink->flight_count == FLIGHT_MAX || random_below(30) == 0)
            return MB_AGAIN;
        sink->flight[sink->flight_count].sequence = items[i].sequence;
        sink->flight[sink->flight_count].scope = (uint32_t)body[0];
        sink->flight[sink->flight_count].token = body[1];
        sink->flight_count++;
        (*ret_taken)++;
    }
    return MB_OK;
}

static void arrive(const struct mb_sink *sink, uint32_t scope, uint64_t token)
{
    if (sink->dead) {
        world.buried[scope][token] = true;
        return;
    }
    world.durable[scope][token]++;
    world.last_position[scope][token] = ++world.position;
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    uint64_t most = random_below(20);
    bool refuse = one_in(40);

    while (*ret_count < max && *ret_count < most && sink->flight_count > 0) {
        struct mb_completion *completion = &completions[(*ret_count)++];
        uint32_t scope = sink->flight[0].scope;
        uint64_t token = sink->flight[0].token;

        *completion = (struct mb_completion){.sequence = sink->flight[0].sequence,
                                             .partition = -1,
                                             .reason = "full",
                                             .text = "no room"};
        if (!sink->dead && is_poison(scope, token))
            completion->cause = MB_CAUSE_MESSAGE;
        else if (refuse && random_below(3) > 0)
            completion->cause = MB_CAUSE_DESTINATION;
        else
            arrive(sink, scope, token);
        sink->flight_count--;
        memmove(&sink->flight[0], &sink->flight[1], sink->flight_count * sizeof sink->flight[0]);
    }
    if (one_in(300)) {
        /* The connection breaks: some of what was in flight arrived, the answers are lost. */
        uint64_t arrived = random_below(sink->flight_count + 1);

        for (uint32_t i = 0; i < arrived; i++) {
            if (sink->dead || !is_poison(sink->flight[i].scope, sink->flight[i].token))
                arrive(sink, sink->flight[i].scope, sink->flight[i].token);
        }
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "reset", "reset");
    }
    return MB_OK;
}

static enum mb_status sink_nothing(struct mb_sink *sink, struct mb_error *err)
{
    (void)sink;
    (void)err;
    return MB_OK;
}

static void sink_close(struct mb_sink *sink)
{
    free(sink);
}

static const struct mb_source_ops source_ops = {
    .struct_size = sizeof source_ops,
    .traits = source_traits,
    .open = source_open,
    .fds = source_fds,
    .poll = source_poll,
    .ack = source_ack,
    .start = source_start,
    .stop = source_stop,
    .service = source_service,
    .close = source_close,
};

static const struct mb_sink_ops sink_ops = {
    .struct_size = sizeof sink_ops,
    .traits = sink_traits,
    .open = sink_open,
    .fds = sink_fds,
    .send = sink_send,
    .completions = sink_completions,
    .flush = sink_nothing,
    .service = sink_nothing,
    .close = sink_close,
};

static const struct mb_option sink_rows[] = {
    {.name = "dead", .type = MB_OPTION_BOOL, .default_text = "false", .doc = "dead letters"},
};

const struct mb_backend scripted = {
    .abi_version = MB_ABI_VERSION,
    .struct_size = sizeof scripted,
    .name = "scripted",
    .doc = "A scripted broker.",
    .endpoint_options = {.struct_size = 1},
    .source_options = {.struct_size = 1},
    .sink_options = {.rows = sink_rows, .count = 1, .struct_size = sizeof(struct sink_options)},
    .source = &source_ops,
    .sink = &sink_ops,
};
