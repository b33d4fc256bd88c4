/* SPDX-License-Identifier: Apache-2.0 */
/* What a lane adds to messages and stops by: path, identity, provenance, rejects of the source. */
#include "hand_broker.h"

#include "kit/provenance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TO_B                                                                                       \
    "from = { endpoint = \"a\"; stream = \"s\"; }; to = { endpoint = \"b\"; stream = \"d\"; };"
#define TO_A                                                                                       \
    "from = { endpoint = \"a\"; stream = \"s\"; }; to = { endpoint = \"a\"; stream = \"d\"; };"
#define DEAD_LETTER "dead_letter = { endpoint = \"b\"; stream = \"dead\"; number = 3; };"
#define ALL         (MB_PROVENANCE_ID | MB_PROVENANCE_PATH | MB_PROVENANCE_SIDECAR)

static uint64_t hash_of(const char *identity, const char *stream)
{
    return mb_path_hash(mb_slice_text(identity), mb_slice_text(stream));
}

static void has_been_at(struct mb_message *message, const char *identity, const char *stream)
{
    message->path[message->path_count++] = hash_of(identity, stream);
}

static uint8_t provenance_of(const char *route)
{
    struct hand_bench bench;
    uint8_t provenance;

    hand_begin();
    hand_open(&bench, route);
    hand_step(&bench, 5);
    provenance = hand.sinks[0].provenance;
    hand_close(&bench);
    return provenance;
}

static void provenance_goes_by_platform(void **state)
{
    (void)state;
    assert_int_equal(provenance_of(TO_B), ALL);
    assert_int_equal(provenance_of(TO_A), 0);
    assert_int_equal(provenance_of(TO_A " allow_cycle = true;"), MB_PROVENANCE_PATH);
    assert_int_equal(provenance_of(TO_B " provenance = \"never\";"), 0);
    assert_int_equal(provenance_of(TO_A " provenance = \"always\";"),
                     MB_PROVENANCE_ID | MB_PROVENANCE_PATH);
    assert_int_equal(provenance_of(TO_B " provenance = \"always\";"), ALL);
}

static void each_sink_has_its_own(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    hand_open(&bench, "from = { endpoint = \"a\"; stream = \"s\"; };"
                      "to = ( { endpoint = \"a\"; stream = \"d\"; },"
                      "       { endpoint = \"b\"; stream = \"d\"; number = 1; } );" DEAD_LETTER);
    hand_step(&bench, 5);
    assert_int_equal(hand.sinks[0].provenance, 0);
    assert_int_equal(hand.sinks[1].provenance, ALL);
    assert_int_equal(hand.sinks[3].provenance, ALL);
    hand_close(&bench);
}

static void strict_is_told_to_the_sink(void **state)
{
    struct hand_bench bench;

    (void)state;
    for (int strict = 0; strict < 2; strict++) {
        hand_begin();
        hand_open(&bench, strict ? TO_B DEAD_LETTER " fidelity = \"strict\";" : TO_B DEAD_LETTER);
        hand_step(&bench, 5);
        assert_int_equal(hand.sinks[0].strict, strict);
        assert_false(hand.sinks[3].strict); /* what was refused has to have a place to go */
        hand_close(&bench);
    }
}

static void what_the_source_rejects_is_not_sent(void **state)
{
    struct hand_bench bench;
    struct mb_message *message;

    (void)state;
    hand_begin();
    message = hand_put("s", "broken");
    message->reject_reason = "decode";
    message->reject_text = "it ends too early";
    hand_put("s", "whole");
    hand_open(&bench, TO_B DEAD_LETTER);
    hand_step(&bench, 10);
    assert_int_equal(hand.sinks[0].sent_count, 1);
    assert_string_equal(hand.sinks[0].sent[0].body, "whole");
    assert_int_equal(hand.sinks[3].sent_count, 1);
    assert_string_equal(hand.sinks[3].sent[0].body, "broken");
    assert_null(hand.sinks[3].sent[0].message.reject_reason);
    assert_int_equal(hand_count(&bench.counters.dead_lettered), 1);
    assert_true(hand.inputs[0].acked);
    hand_close(&bench);
}

static void without_dead_letter_it_stops_the_route(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    hand_put("s", "broken")->reject_reason = "attempts";
    hand_open(&bench, TO_B);
    hand_step(&bench, 10);
    assert_true(bench.lane->failed);
    assert_string_equal(bench.lane->error.reason, "attempts");
    assert_false(hand.inputs[0].acked);
    hand_close(&bench);
}

static void what_instances_tell_is_counted(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    hand_open(&bench, TO_B " on_loss = \"continue\";");
    hand_step(&bench, 5);
    hand.sinks[0].host->degraded(hand.sinks[0].host->context, MB_HAS_TTL | MB_LOST_FOOTER);
    hand.sinks[0].host->degraded(hand.sinks[0].host->context, MB_HAS_TTL);
    hand.sinks[0].host->traffic(hand.sinks[0].host->context, 10, 1000);
    hand.source_host->traffic(hand.source_host->context, 200, 20);
    hand.loses = 7;
    hand_step(&bench, 2);
    assert_int_equal(hand_count(&bench.counters.degraded[16]), 2);
    assert_int_equal(hand_count(&bench.counters.degraded[35]), 1);
    assert_int_equal(hand_count(&bench.counters.wire_in), 210);
    assert_int_equal(hand_count(&bench.counters.wire_out), 1020);
    assert_int_equal(hand_count(&bench.counters.lost), 7);
    assert_false(bench.lane->failed);
    hand_close(&bench);
}

static void loss_stops_by_default(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    hand_open(&bench, TO_B);
    hand_step(&bench, 5);
    hand.loses = 3;
    hand_step(&bench, 2);
    assert_true(bench.lane->failed);
    assert_string_equal(bench.lane->error.reason, "loss");
    assert_int_equal(hand_count(&bench.counters.lost), 3);
    hand_close(&bench);
}

static void path_is_told_to_the_sink(void **state)
{
    struct mb_properties properties = {.exchange = {"shop", 4}};
    struct hand_bench bench;
    struct mb_message *message;

    (void)state;
    hand_begin();
    message = hand_put("s", "one");
    has_been_at(message, "elsewhere", "x");
    message = hand_put("s", "two");
    message->present |= MB_HAS_EXCHANGE;
    message->properties = &properties;
    hand_open(&bench, TO_B);
    hand_step(&bench, 10);
    assert_int_equal(hand.sinks[0].sent_count, 2);
    message = &hand.sinks[0].sent[0].message;
    assert_int_equal(message->path_count, 2);
    assert_true(message->path[0] == hash_of("elsewhere", "x"));
    assert_true(message->path[1] == hash_of("here", "s"));
    message = &hand.sinks[0].sent[1].message;
    assert_int_equal(message->path_count, 2);
    assert_true(message->path[0] == hash_of("here", "s"));
    assert_true(message->path[1] == hash_of("here", "shop"));
    hand_close(&bench);
}

static void a_loop_ends_at_the_sink_that_it_was_at(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    has_been_at(hand_put("s", "back"), "here", "d");
    hand_put("s", "new");
    hand_open(&bench, TO_B);
    hand_step(&bench, 10);
    assert_int_equal(hand.sinks[0].sent_count, 1);
    assert_string_equal(hand.sinks[0].sent[0].body, "new");
    assert_int_equal(hand_count(&bench.counters.filtered), 1);
    assert_int_equal(hand_count(&bench.counters.filtered_by[MB_DROP_LOOP]), 1);
    assert_int_equal(hand_count(&bench.counters.delivered), 1);
    assert_true(hand.inputs[0].acked);
    hand_close(&bench);
}

static void the_other_sink_still_gets_it(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    has_been_at(hand_put("s", "back"), "here", "d");
    hand_open(&bench, "from = { endpoint = \"a\"; stream = \"s\"; };"
                      "to = ( { endpoint = \"b\"; stream = \"d\"; },"
                      "       { endpoint = \"b\"; stream = \"e\"; number = 1; } );");
    hand_step(&bench, 10);
    assert_int_equal(hand.sinks[0].sent_count, 0);
    assert_int_equal(hand.sinks[1].sent_count, 1);
    assert_int_equal(hand_count(&bench.counters.delivered), 1);
    assert_true(hand.inputs[0].acked);
    hand_close(&bench);
}

static void rendered_names_are_looked_up_in_the_path(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    has_been_at(hand_put("s", "back"), "here", "copy.s");
    has_been_at(hand_put("s", "onward"), "here", "copy.t");
    hand_open(&bench, "from = { endpoint = \"a\"; stream = \"s\"; };"
                      "to = { endpoint = \"b\"; stream = \"copy.${stream}\"; };");
    hand_step(&bench, 10);
    assert_int_equal(hand.sinks[0].sent_count, 1);
    assert_string_equal(hand.sinks[0].sent[0].body, "onward");
    assert_int_equal(hand_count(&bench.counters.filtered_by[MB_DROP_LOOP]), 1);
    hand_close(&bench);
}

static void a_full_path_is_rejected(void **state)
{
    struct hand_bench bench;
    struct mb_message *message;
    char stream[16];

    (void)state;
    hand_begin();
    message = hand_put("s", "tired");
    for (int i = 0; i < MB_PATH_HOPS_MAX; i++) {
        snprintf(stream, sizeof stream, "h%d", i);
        has_been_at(message, "far", stream);
    }
    hand_open(&bench, TO_B DEAD_LETTER);
    hand_step(&bench, 10);
    assert_int_equal(hand.sinks[0].sent_count, 0);
    assert_int_equal(hand.sinks[3].sent_count, 1);
    assert_int_equal(hand_count(&bench.counters.dead_lettered), 1);
    hand_close(&bench);
}

static void without_provenance_nothing_is_asked_or_added(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    has_been_at(hand_put("s", "back"), "here", "d");
    hand_open(&bench, TO_A);
    hand_step(&bench, 10);
    assert_int_equal(hand.identity_asked, 0);
    assert_int_equal(hand.sinks[0].sent_count, 1);
    assert_int_equal(hand.sinks[0].sent[0].message.path_count, 1);
    hand_close(&bench);
}

static void identity_of(const char *route, const char *expected)
{
    struct hand_bench bench;

    hand_put("s", "m");
    hand_open(&bench, route);
    hand_step(&bench, 10);
    assert_int_equal(hand.sinks[0].sent_count, 1);
    assert_true(hand.sinks[0].sent[0].message.path[0] == hash_of(expected, "s"));
    hand_close(&bench);
}

static void identity_is_the_options_the_brokers_or_the_address(void **state)
{
    (void)state;
    hand_begin();
    identity_of("from = { endpoint = \"named\"; stream = \"s\"; };"
                "to = { endpoint = \"b\"; stream = \"d\"; };",
                "mine");
    assert_int_equal(hand.identity_asked, 1); /* the sink's */
    hand_begin();
    identity_of(TO_B, "here");
    hand_begin();
    hand.identity = "";
    identity_of(TO_B, "one:1");
    hand_begin();
    hand.identity_status = MB_UNSUPPORTED;
    identity_of(TO_B, "one:1");
}

static void an_identity_that_cannot_be_asked_now_is_waited_for(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    hand.identity_status = MB_TIMEOUT;
    hand.identity_cause = MB_CAUSE_CONNECTION;
    hand_put("s", "m");
    hand_open(&bench, TO_B);
    hand_step(&bench, 50);
    assert_int_equal(hand.sinks[0].opens, 0);
    hand.identity_status = MB_OK;
    hand_step(&bench, 20000);
    assert_int_equal(hand.sinks[0].sent_count, 1);
    assert_true(hand.sinks[0].sent[0].message.path[0] == hash_of("here", "s"));
    hand_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(provenance_goes_by_platform),
        cmocka_unit_test(each_sink_has_its_own),
        cmocka_unit_test(strict_is_told_to_the_sink),
        cmocka_unit_test(what_the_source_rejects_is_not_sent),
        cmocka_unit_test(without_dead_letter_it_stops_the_route),
        cmocka_unit_test(what_instances_tell_is_counted),
        cmocka_unit_test(loss_stops_by_default),
        cmocka_unit_test(path_is_told_to_the_sink),
        cmocka_unit_test(a_loop_ends_at_the_sink_that_it_was_at),
        cmocka_unit_test(the_other_sink_still_gets_it),
        cmocka_unit_test(rendered_names_are_looked_up_in_the_path),
        cmocka_unit_test(a_full_path_is_rejected),
        cmocka_unit_test(without_provenance_nothing_is_asked_or_added),
        cmocka_unit_test(identity_is_the_options_the_brokers_or_the_address),
        cmocka_unit_test(an_identity_that_cannot_be_asked_now_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
