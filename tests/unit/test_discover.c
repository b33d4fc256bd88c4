/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns while a lane runs: streams that come and go, exclude, never, capture groups. */
#include "hand_broker.h"

#include "core/config/model.h"
#include "core/router/patterns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TO      "to = { endpoint = \"b\"; stream = \"d\"; };"
#define PATTERN "from = { endpoint = \"a\"; stream = \"^shop\\\\..*\"; discover = \"1s\"; };"

static void list(const char *const *names)
{
    size_t i = 0;

    for (; names[i] != NULL; i++)
        hand.listed[i] = names[i];
    hand.listed[i] = NULL;
}

#define LIST(...) list((const char *const[]){__VA_ARGS__, NULL})

static void a_new_stream_is_told_to_a_source_that_takes_it(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    hand.takes_streams = true;
    LIST("shop.a", "other", "shop.b");
    hand_put("shop.a", "1");
    hand_put("shop.c", "2");
    hand_open(&bench, PATTERN TO);
    hand_step(&bench, 500);
    assert_int_equal(hand.sinks[0].sent_count, 1);
    LIST("shop.a", "shop.b", "shop.c");
    hand_step(&bench, 1000);
    assert_int_equal(hand.sinks[0].sent_count, 2);
    assert_int_equal(hand.streams_calls, 1);
    assert_int_equal(hand.source_opens, 1);
    hand_step(&bench, 3000); /* nothing else changes */
    assert_int_equal(hand.streams_calls, 1);
    hand_close(&bench);
}

static void another_source_is_drained_and_opened_again(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    LIST("shop.a");
    hand_put("shop.a", "1");
    hand_put("shop.b", "2");
    hand_open(&bench, PATTERN TO);
    hand.sinks[0].is_slow = true;
    bench.lane->stop_timeout_ms = 10000;
    hand_step(&bench, 500);
    LIST("shop.a", "shop.b");
    hand_step(&bench, 1500);
    assert_int_equal(hand.source_opens, 1); /* what is in flight is awaited */
    hand_put("shop.a", "3");
    hand_step(&bench, 10);
    assert_int_equal(hand.sinks[0].sent_count, 1);
    hand.sinks[0].is_slow = false;
    hand_step(&bench, 20);
    assert_int_equal(hand.source_opens, 2);
    assert_int_equal(hand.sinks[0].sent_count, 3);
    assert_true(hand.inputs[0].acked);
    assert_int_equal(hand_count(&bench.counters.duplicates), 0);
    hand_close(&bench);
}

static void a_sink_that_does_not_answer_does_not_hold_it_up_for_ever(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    LIST("shop.a");
    hand_put("shop.a", "1");
    hand_open(&bench, PATTERN TO);
    hand.sinks[0].is_slow = true;
    bench.lane->stop_timeout_ms = 500;
    hand_step(&bench, 100);
    LIST("shop.a", "shop.b");
    hand_step(&bench, 2000);
    assert_int_equal(hand.source_opens, 2);
    hand.sinks[0].is_slow = false;
    hand_step(&bench, 20);
    assert_true(hand.inputs[0].acked);
    hand_close(&bench);
}

static void what_is_left_out_stays_out(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    hand.takes_streams = true;
    LIST("shop.a");
    hand_open(&bench, "from = { endpoint = \"a\"; stream = \"shop.*\"; exclude = \"^.*tmp$\"; "
                      "discover = \"1s\"; };" TO
                      "dead_letter = { endpoint = \"a\"; stream = \"shop.dead\"; number = 1; };");
    hand_step(&bench, 100);
    LIST("shop.a", "shop.tmp", "shop.dead");
    hand_step(&bench, 2000);
    assert_int_equal(hand.streams_calls, 0);
    hand_close(&bench);
}

static void off_and_while_draining_nothing_is_asked(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    hand.takes_streams = true;
    LIST("shop.a");
    hand_open(&bench, "from = { endpoint = \"a\"; stream = \"shop.*\"; discover = \"0\"; };" TO);
    hand_step(&bench, 100);
    LIST("shop.a", "shop.b");
    hand_step(&bench, 60000);
    assert_int_equal(hand.streams_calls, 0);
    hand_close(&bench);
}

static void a_lane_sleeps_until_it_is_time_to_look(void **state)
{
    struct hand_bench bench;
    int64_t deadline_ms = INT64_MAX;

    (void)state;
    hand_begin();
    LIST("shop.a");
    hand_open(&bench, PATTERN TO);
    hand_step(&bench, 100);
    mb_lane_wait(bench.lane, NULL, NULL, &deadline_ms);
    assert_true(deadline_ms > bench.now_ms && deadline_ms <= bench.now_ms + 1000);
    hand_close(&bench);
}

static void groups_of_the_pattern_name_the_destination(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    LIST("shop.eu.orders", "shop.us.bills");
    hand_put("shop.eu.orders", "1");
    hand_put("shop.us.bills", "2");
    hand_open(&bench, "from = { endpoint = \"a\"; stream = \"^shop\\\\.([a-z]+)\\\\.(.*)$\"; };"
                      "to = { endpoint = \"b\"; stream = \"${match.2}-${match.1}\"; };");
    hand_step(&bench, 10);
    assert_int_equal(hand.sinks[0].sent_count, 2);
    assert_string_equal(hand.sinks[0].sent[0].stream, "orders-eu");
    assert_string_equal(hand.sinks[0].sent[1].stream, "bills-us");
    hand_close(&bench);
}

static void groups_are_those_of_the_first_expression_that_matches(void **state)
{
    struct hand_bench bench;
    struct mb_matches matches;

    (void)state;
    hand_begin();
    LIST("x");
    hand_open(&bench, "from = { endpoint = \"a\"; streams = ( \"y*\", \"^a(b)?c\", \"^a(.*)$\" ); "
                      "};" TO);
    mb_pattern_groups(&bench.config->routes[0].from[0], "abc", &matches);
    assert_int_equal(matches.groups[1].size, 1);
    mb_pattern_groups(&bench.config->routes[0].from[0], "ac", &matches);
    assert_int_equal(matches.groups[0].size, 2);
    assert_null(matches.groups[1].data);
    mb_pattern_groups(&bench.config->routes[0].from[0], "abcd", &matches);
    assert_int_equal(matches.groups[1].size, 3);
    mb_pattern_groups(&bench.config->routes[0].from[0], "yes", &matches);
    assert_null(matches.groups[0].data);
    hand_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_stream_is_told_to_a_source_that_takes_it),
        cmocka_unit_test(another_source_is_drained_and_opened_again),
        cmocka_unit_test(a_sink_that_does_not_answer_does_not_hold_it_up_for_ever),
        cmocka_unit_test(what_is_left_out_stays_out),
        cmocka_unit_test(off_and_while_draining_nothing_is_asked),
        cmocka_unit_test(a_lane_sleeps_until_it_is_time_to_look),
        cmocka_unit_test(groups_of_the_pattern_name_the_destination),
        cmocka_unit_test(groups_are_those_of_the_first_expression_that_matches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
