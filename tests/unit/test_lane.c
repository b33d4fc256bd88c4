/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lane against a scripted source and sink, with a virtual clock and a seeded schedule: batches,
 * refusals, lost connections, revoked scopes and stops in random order. Checked all the time:
 *   - nothing is acknowledged before it is durable at the sink (or in the dead letters)
 *   - a stale epoch is never acknowledged
 *   - what a scope's destination holds ends in order (last occurrences increase)
 * and at the end: everything is durable somewhere, and a clean stop repeats nothing.
 */
#include "core/router/lane.h"

#include "kit/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SCOPES           3u
#define MESSAGES_A_SCOPE 400u
#define FLIGHT_MAX       64u

struct world;

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

/* What is outside the bridge: the brokers. */
struct world {
    uint64_t random;
    bool ordered_acks;
    bool faults; /* connections break, sinks refuse, scopes are revoked */
    bool poison; /* one message in 97 can never be carried */
    uint32_t epoch[SCOPES];
    uint64_t acked[SCOPES]; /* tokens below it are acknowledged (ordered) */
    bool single[SCOPES][MESSAGES_A_SCOPE];
    uint32_t durable[SCOPES][MESSAGES_A_SCOPE]; /* how often it arrived */
    uint64_t last_position[SCOPES][MESSAGES_A_SCOPE];
    bool buried[SCOPES][MESSAGES_A_SCOPE];
    uint64_t position;
    bool sink_died;
    struct mb_source *source;
};

/* The backend's ops have no user pointer of ours but the options: one world a test process. */
static struct world world;

static uint64_t random_below(uint64_t bound)
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

static bool is_safe(uint32_t scope, uint64_t token)
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

static const struct mb_backend scripted = {
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

/* ---- the bridge's side ---- */

struct bench {
    struct mb_logger logger;
    struct mb_lane_env env;
    struct mb_config_endpoint endpoint;
    struct mb_config_stream from;
    struct mb_config_stream to;
    struct mb_config_stream dead;
    struct mb_config_route route;
    struct mb_counters counters;
    struct mb_lane *lane;
    int64_t now_ms;
};

static void bench_open(struct bench *bench, enum mb_order order, bool dead_letter)
{
    const char *yes = "true";
    struct mb_error err;

    memset(bench, 0, sizeof *bench);
    bench->logger = (struct mb_logger){.fd = 2, .level = -1};
    assert_int_equal(mb_connector_create(0, &bench->env.connector), MB_OK);
    assert_int_equal(mb_mailbox_create(&bench->env.mailbox), MB_OK);
    bench->env.logger = &bench->logger;
    bench->env.bridge_name = "test";
    bench->endpoint = (struct mb_config_endpoint){.name = "e", .backend = &scripted};
    mb_settings_init(&bench->endpoint.settings, &scripted.endpoint_options);
    bench->from.endpoint = bench->to.endpoint = bench->dead.endpoint = &bench->endpoint;
    mb_settings_init(&bench->from.settings, &scripted.source_options);
    mb_settings_init(&bench->to.settings, &scripted.sink_options);
    mb_settings_init(&bench->dead.settings, &scripted.sink_options);
    assert_int_equal(mb_settings_set(&bench->dead.settings, 0, &yes, 1, false, 1, &err), MB_OK);
    bench->route = (struct mb_config_route){.name = "r",
                                            .from = &bench->from,
                                            .from_count = 1,
                                            .to = &bench->to,
                                            .to_count = 1,
                                            .order = order,
                                            .lanes = 1,
                                            .window_messages = 50,
                                            .window_bytes = 1 << 20,
                                            .retry_initial_ms = 10,
                                            .retry_max_ms = 50,
                                            .group = "g"};
    if (dead_letter)
        bench->route.dead_letter = &bench->dead;
    else
        bench->route.on_reject = MB_REJECT_STOP;
    bench->now_ms = 1000000;
    assert_int_equal(
        mb_lane_create(&bench->env, &bench->route, 0, 0, &bench->counters, &bench->lane, &err),
        MB_OK);
}

static void bench_step(struct bench *bench)
{
    mb_mailbox_drain(bench->env.mailbox);
    mb_lane_step(bench->lane, bench->now_ms);
    bench->now_ms += (int64_t)random_below(20);
    assert_true(mb_window_count(&bench->lane->window) <= bench->route.window_messages);
}

static void bench_stop(struct bench *bench)
{
    mb_lane_stop(bench->lane, bench->now_ms + 1000000);
    for (int i = 0; i < 100000 && bench->lane->phase != MB_LANE_CLOSED; i++)
        bench_step(bench);
    assert_int_equal(bench->lane->phase, MB_LANE_CLOSED);
    /* What came in is somewhere. */
    assert_int_equal(mb_counter_get(&bench->counters.received),
                     mb_counter_get(&bench->counters.delivered) +
                         mb_counter_get(&bench->counters.dead_lettered) +
                         mb_counter_get(&bench->counters.released));
}

static void bench_close(struct bench *bench)
{
    mb_lane_destroy(bench->lane);
    mb_settings_release(&bench->endpoint.settings);
    mb_settings_release(&bench->from.settings);
    mb_settings_release(&bench->to.settings);
    mb_settings_release(&bench->dead.settings);
    mb_mailbox_destroy(bench->env.mailbox);
    mb_connector_destroy(bench->env.connector);
}

static bool all_acknowledged(void)
{
    for (uint32_t scope = 0; scope < SCOPES; scope++) {
        for (uint64_t token = 0; token < MESSAGES_A_SCOPE; token++) {
            if (world.ordered_acks ? token >= world.acked[scope] : !world.single[scope][token])
                return false;
        }
    }
    return true;
}

static void check_order(void)
{
    for (uint32_t scope = 0; scope < SCOPES; scope++) {
        uint64_t last = 0;

        for (uint64_t token = 0; token < MESSAGES_A_SCOPE; token++) {
            if (world.durable[scope][token] == 0)
                continue;
            assert_true(world.last_position[scope][token] > last);
            last = world.last_position[scope][token];
        }
    }
}

static void world_begin(uint64_t seed, bool ordered_acks, bool faults, bool poison)
{
    memset(&world, 0, sizeof world);
    world.random = seed;
    world.ordered_acks = ordered_acks;
    world.faults = faults;
    world.poison = poison;
}

static void run_schedule(uint64_t seed, bool ordered_acks, bool poison)
{
    struct bench bench;

    world_begin(seed, ordered_acks, true, poison);
    bench_open(&bench, MB_ORDER_KEY, true);
    for (int i = 0; i < 300000 && !all_acknowledged(); i++)
        bench_step(&bench);
    if (!all_acknowledged())
        fail_msg("seed %llu: not everything was acknowledged", (unsigned long long)seed);
    check_order();
    bench_stop(&bench);
    assert_int_equal(bench.lane->unresolved, 0);
    bench_close(&bench);
}

static uint64_t schedules(void)
{
    const char *text = getenv("MBRIDGE_TEST_SCHEDULES");

    return text != NULL ? strtoull(text, NULL, 10) : 40;
}

static void random_schedules_keep_the_promise(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= schedules(); seed++) {
        run_schedule(seed, true, false);
        run_schedule(seed, true, true);
    }
}

static void single_acknowledgements_keep_it_too(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= schedules(); seed++)
        run_schedule(seed, false, seed % 2 == 0);
}

static void without_faults_nothing_repeats(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct bench bench;

        world_begin(seed, true, false, false);
        for (int life = 0; life < 5; life++) {
            bench_open(&bench, MB_ORDER_KEY, false);
            for (int i = 0; i < 30; i++)
                bench_step(&bench);
            bench_stop(&bench);
            assert_int_equal(bench.lane->unresolved, 0);
            bench_close(&bench);
        }
        for (uint32_t scope = 0; scope < SCOPES; scope++) {
            for (uint64_t token = 0; token < MESSAGES_A_SCOPE; token++)
                assert_int_equal(world.durable[scope][token], token < world.acked[scope]);
        }
    }
}

struct follower {
    uint32_t started;
    uint32_t gone;
    uint64_t passed;
    uint64_t next[SCOPES];
};

static void follow_started(void *context, const struct mb_scope *scope)
{
    struct follower *follower = context;

    follower->started++;
    follower->next[scope->id] = 0;
}

static void follow_gone(void *context, const struct mb_scope *scope)
{
    struct follower *follower = context;

    (void)scope;
    follower->gone++;
}

static void follow_passed(void *context, const struct mb_scope *scope,
                          const struct mb_message *message, const struct mb_position *destination)
{
    struct follower *follower = context;

    (void)destination;
    assert_true(is_safe(scope->id, message->token));
    assert_int_equal(message->token, follower->next[scope->id]);
    follower->next[scope->id]++;
    follower->passed++;
}

static void observers_see_the_frontier_in_order(void **state)
{
    struct follower follower = {0};
    struct bench bench;

    (void)state;
    world_begin(3, true, false, false);
    bench_open(&bench, MB_ORDER_KEY, false);
    bench.lane->observers[bench.lane->observers_count++] =
        (struct mb_observer){.context = &follower,
                             .scope_started = follow_started,
                             .scope_gone = follow_gone,
                             .passed = follow_passed};
    for (int i = 0; i < 20000 && !all_acknowledged(); i++)
        bench_step(&bench);
    bench_stop(&bench);
    assert_int_equal(follower.started, SCOPES);
    assert_int_equal(follower.gone, SCOPES);
    assert_int_equal(follower.passed, SCOPES * MESSAGES_A_SCOPE);
    bench_close(&bench);
}

static void reject_without_dead_letter_stops(void **state)
{
    struct bench bench;

    (void)state;
    world_begin(7, true, false, true);
    bench_open(&bench, MB_ORDER_KEY, false);
    for (int i = 0; i < 10000 && bench.lane->phase != MB_LANE_CLOSED; i++)
        bench_step(&bench);
    assert_int_equal(bench.lane->phase, MB_LANE_CLOSED);
    assert_true(bench.lane->failed);
    assert_string_equal(bench.lane->error.reason, "full");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_faults_nothing_repeats),
        cmocka_unit_test(random_schedules_keep_the_promise),
        cmocka_unit_test(single_acknowledgements_keep_it_too),
        cmocka_unit_test(observers_see_the_frontier_in_order),
        cmocka_unit_test(reject_without_dead_letter_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
