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

#include "scripted_broker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

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
