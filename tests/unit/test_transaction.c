/* SPDX-License-Identifier: Apache-2.0 */
/* A lane whose sink stores positions together with messages. */
#include "hand_broker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ONCE "delivery = \"effectively-once\"; retry = { initial = \"1ms\"; max = \"2ms\"; };"
#define ROUTE                                                                                      \
    ONCE "from = { endpoint = \"a\"; stream = \"s\"; };"                                           \
         "to = { endpoint = \"b\"; stream = \"d\"; };"
#define PATIENCE 400

static void begin(void)
{
    hand_begin();
    hand.traits = MB_SOURCE_SEEKS | MB_SOURCE_ACKS_IN_ORDER;
    hand.store.traits = MB_SINK_TRANSACTIONS | MB_SINK_STORES_POSITIONS;
}

static void put(unsigned first, unsigned count)
{
    static char bodies[HAND_INPUTS_MAX][12];

    for (unsigned i = first; i < first + count; i++) {
        snprintf(bodies[i], sizeof bodies[i], "%u", i);
        hand_put("s", bodies[i])->position =
            (struct mb_position){.kind = MB_POSITION_OFFSET, .lo = i};
    }
}

static uint32_t acked(void)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < hand.inputs_count; i++)
        count += hand.inputs[i].acked;
    return count;
}

/* Every message is at the sink once, in order, for good, with the position of the last. */
static void check_all(uint32_t count)
{
    assert_int_equal(hand.store.committed_count, count);
    assert_int_equal(hand.sinks[0].sent_count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(atoi(hand.sinks[0].sent[i].body), i);
    assert_int_equal(acked(), count);
    assert_int_equal(hand.store.positions_count, 1);
    assert_string_equal(hand.store.positions[0].stream, "here/s");
    assert_int_equal(hand.store.positions[0].position.lo, count - 1);
}

static void nothing_is_acknowledged_before_the_commit(void **state)
{
    struct hand_bench bench;

    (void)state;
    begin();
    put(0, 10);
    hand_open(&bench, ROUTE);
    hand_step(&bench, 6);
    assert_int_equal(hand.store.begins, 1);
    assert_int_equal(hand.sinks[0].sent_count, 10);
    assert_int_equal(hand.store.commits, 0);
    assert_int_equal(acked(), 0);
    hand_step(&bench, 20);
    assert_int_equal(hand.store.commits, 1);
    check_all(10);
    put(10, 5);
    hand_step(&bench, 40);
    assert_int_equal(hand.store.commits, 2);
    check_all(15);
    assert_int_equal(hand_count(&bench.counters.confirmed[0]), 15);
    hand_close(&bench);
}

static void reading_goes_on_where_the_sink_says(void **state)
{
    struct hand_bench bench;

    (void)state;
    begin();
    put(0, 20);
    hand_open(&bench, ROUTE);
    hand_step(&bench, 60);
    check_all(20);
    hand_close(&bench);
    /* As after a crash: what the source was told of the last twelve is lost. */
    for (uint32_t i = 8; i < 20; i++)
        hand.inputs[i].acked = false;
    put(20, 5);
    hand_open(&bench, ROUTE);
    hand_step(&bench, 60);
    check_all(25);
    assert_int_equal(hand_count(&bench.counters.filtered_by[MB_DROP_STORED]), 12);
    hand_close(&bench);
}

static void what_is_aborted_is_sent_again(void **state)
{
    struct hand_bench bench;

    (void)state;
    begin();
    put(0, 10);
    hand_open(&bench, ROUTE);
    hand.store.refuses_next = true;
    hand_step(&bench, PATIENCE);
    assert_int_equal(hand.store.aborts, 1);
    check_all(10);
    assert_int_equal(hand_count(&bench.counters.duplicates), 0);
    hand.store.commit_status = MB_TIMEOUT;
    put(10, 10);
    hand_step(&bench, PATIENCE);
    assert_int_equal(hand.store.aborts, 2);
    check_all(20);
    hand_close(&bench);
}

/* The one commit came through although nobody was told, the other did not. */
static void after_an_unknown_commit_the_sink_is_asked(void **state)
{
    (void)state;
    for (int applies = 0; applies < 2; applies++) {
        struct hand_bench bench;

        begin();
        put(0, 10);
        hand_open(&bench, ROUTE);
        hand.store.commit_status = MB_DISCONNECTED;
        hand.store.commit_applies = applies == 1;
        hand_step(&bench, PATIENCE);
        check_all(10);
        assert_int_equal(hand.source_opens, 2);
        assert_int_equal(hand.sinks[0].opens, 2);
        assert_int_equal(hand_count(&bench.counters.filtered_by[MB_DROP_STORED]),
                         applies == 1 ? 10 : 0);
        hand_close(&bench);
    }
}

static void a_lost_sink_takes_its_transaction_along(void **state)
{
    struct hand_bench bench;

    (void)state;
    begin();
    put(0, 10);
    hand.sinks[0].is_slow = true;
    hand_open(&bench, ROUTE);
    hand_step(&bench, 10);
    assert_int_equal(hand.sinks[0].sent_count, 10);
    hand.sinks[0].is_lost = true;
    hand_step(&bench, 3);
    hand.sinks[0].is_slow = false;
    hand_step(&bench, PATIENCE);
    check_all(10);
    hand_close(&bench);
}

static void positions_that_cannot_be_loaded_are_asked_for_again(void **state)
{
    struct hand_bench bench;

    (void)state;
    begin();
    put(0, 10);
    hand.store.load_status = MB_TIMEOUT;
    hand_open(&bench, ROUTE);
    hand_step(&bench, PATIENCE);
    assert_true(hand.store.loads >= 2);
    check_all(10);
    hand_close(&bench);
}

static void a_commit_waits_for_dead_letters(void **state)
{
    struct hand_bench bench;

    (void)state;
    begin();
    put(0, 4);
    hand.inputs[1].message.reject_reason = "bad";
    hand.sinks[1].is_slow = true;
    hand_open(&bench, ROUTE "dead_letter = { endpoint = \"c\"; stream = \"dead\"; number = 1; };");
    hand_step(&bench, 200);
    assert_int_equal(hand.store.commits, 0);
    assert_int_equal(acked(), 0);
    hand.sinks[1].is_slow = false;
    hand_step(&bench, PATIENCE);
    assert_int_equal(hand.store.commits, 1);
    assert_int_equal(hand.store.committed_count, 3);
    assert_int_equal(hand.store.positions[0].position.lo, 3);
    assert_int_equal(acked(), 4);
    hand_close(&bench);
}

static void a_dead_letter_that_stays_away_ends_the_transaction(void **state)
{
    struct hand_bench bench;

    (void)state;
    begin();
    put(0, 4);
    hand.inputs[1].message.reject_reason = "bad";
    hand.sinks[1].is_slow = true;
    hand_open(&bench, ROUTE "dead_letter = { endpoint = \"c\"; stream = \"dead\"; number = 1; };");
    hand_step(&bench, 9000);
    assert_int_equal(hand.store.aborts, 1);
    assert_int_equal(acked(), 0);
    hand.sinks[1].is_slow = false;
    hand_step(&bench, PATIENCE);
    assert_int_equal(hand.store.committed_count, 3);
    assert_int_equal(acked(), 4);
    hand_close(&bench);
}

static void a_stop_commits(void **state)
{
    struct hand_bench bench;

    (void)state;
    begin();
    put(0, 10);
    hand_open(&bench, ROUTE);
    hand_step(&bench, 6);
    assert_int_equal(hand.store.commits, 0);
    hand_close(&bench);
    check_all(10);
    assert_int_equal(hand.store.positions[0].flags, MB_STORED_RELEASED);
}

/* The next owner must not have to wait for the one before. */
static void a_scope_that_is_revoked_is_let_go(void **state)
{
    struct hand_bench bench;

    (void)state;
    begin();
    put(0, 10);
    hand_open(&bench, ROUTE);
    hand_step(&bench, 6);
    hand.revokes = true;
    hand_step(&bench, 60);
    check_all(10);
    assert_int_equal(hand.store.positions[0].flags, MB_STORED_RELEASED);
    assert_int_equal(hand.source_stops, 1);
    hand_close(&bench);
}

static void a_window_smaller_than_the_stream_goes_on(void **state)
{
    struct hand_bench bench;

    (void)state;
    begin();
    put(0, 500);
    hand_open(&bench, ROUTE "window = { messages = 16; };");
    hand_step(&bench, 3000);
    check_all(500);
    hand_close(&bench);
}

static void sinks_that_tell_by_themselves_need_no_transaction(void **state)
{
    struct hand_bench bench;

    (void)state;
    begin();
    hand.store.traits = MB_SINK_DEDUPLICATES;
    put(0, 10);
    hand_open(&bench, ROUTE);
    hand_step(&bench, 20);
    assert_int_equal(hand.store.begins, 0);
    assert_int_equal(hand.store.loads, 0);
    assert_int_equal(acked(), 10);
    hand_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_acknowledged_before_the_commit),
        cmocka_unit_test(reading_goes_on_where_the_sink_says),
        cmocka_unit_test(what_is_aborted_is_sent_again),
        cmocka_unit_test(after_an_unknown_commit_the_sink_is_asked),
        cmocka_unit_test(a_lost_sink_takes_its_transaction_along),
        cmocka_unit_test(positions_that_cannot_be_loaded_are_asked_for_again),
        cmocka_unit_test(a_commit_waits_for_dead_letters),
        cmocka_unit_test(a_dead_letter_that_stays_away_ends_the_transaction),
        cmocka_unit_test(a_stop_commits),
        cmocka_unit_test(a_scope_that_is_revoked_is_let_go),
        cmocka_unit_test(a_window_smaller_than_the_stream_goes_on),
        cmocka_unit_test(sinks_that_tell_by_themselves_need_no_transaction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
