/* SPDX-License-Identifier: Apache-2.0 */
/* key_from, and messages that are too old to be sent. */
#include "hand_broker.h"

#include "core/base/clock.h"
#include "core/router/expiry.h"
#include "kit/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROUTE                                                                                      \
    "from = { endpoint = \"a\"; stream = \"s\"; }; to = { endpoint = \"b\"; stream = \"d\"; };"

static const struct mb_header headers[] = {
    {.name = {"customer", 8}, .value = {.type = MB_STRING, .as.bytes = {"c7", 2}}},
    {.name = {"raw", 3}, .value = {.type = MB_BINARY, .as.bytes = {"a\0b", 3}}},
};

/* The key of a message with every property, or of one with a key only. */
static struct mb_message key_of(const char *key_from, bool has_all)
{
    static const unsigned char uuid[16] = {0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3,
                                           0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00};
    struct mb_properties properties = {
        .routing_key = {"r", 1},
        .group_id = {"g", 1},
        .subject = {"j", 1},
        .message_id = {.kind = MB_ID_UUID, .bytes = {uuid, sizeof uuid}}};
    struct hand_bench bench;
    struct mb_message *message;
    struct mb_message sent;
    char route[512];

    hand_begin();
    message = hand_put("s", "m");
    message->present = MB_HAS_KEY;
    message->key = mb_slice_text("k");
    if (has_all) {
        message->present |=
            MB_HAS_ROUTING_KEY | MB_HAS_GROUP_ID | MB_HAS_MESSAGE_ID | MB_HAS_SUBJECT;
        message->properties = &properties;
        message->headers = headers;
        message->headers_count = 2;
    }
    snprintf(route, sizeof route, ROUTE " key_from = \"%s\";", key_from);
    hand_open(&bench, route);
    hand_step(&bench, 5);
    assert_int_equal(hand.sinks[0].sent_count, 1);
    sent = hand.sinks[0].sent[0].message;
    sent.key.data = hand.sinks[0].sent[0].key; /* a copy that stays */
    hand_close(&bench);
    return sent;
}

static void takes(const char *key_from, const char *expected)
{
    struct mb_message sent = key_of(key_from, true);

    assert_true((sent.present & MB_HAS_KEY) != 0);
    assert_string_equal(sent.key.data, expected);
}

static void the_key_is_taken_from_a_property(void **state)
{
    (void)state;
    takes("key", "k");
    takes("routing_key", "r");
    takes("group_id", "g");
    takes("subject", "j");
    takes("message_id", "123e4567-e89b-12d3-a456-426614174000");
    takes("${header.customer}", "c7");
    takes("${header.customer}/${subject}", "c7/j");
    takes("${header.none:-x}", "x");
}

static void bytes_of_any_kind_are_a_key(void **state)
{
    (void)state;
    assert_int_equal(key_of("${header.raw}", true).key.size, 3);
}

static void what_is_missing_leaves_the_key(void **state)
{
    static const char *const all[] = {"routing_key", "group_id", "message_id", "subject",
                                      "${header.customer}"};

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_string_equal(key_of(all[i], false).key.data, "k");
}

static void none_takes_it_away(void **state)
{
    (void)state;
    assert_int_equal(key_of("none", true).present & MB_HAS_KEY, 0);
}

static void names_see_the_new_key(void **state)
{
    struct hand_bench bench;
    struct mb_message *message;

    (void)state;
    hand_begin();
    message = hand_put("s", "m");
    message->headers = headers;
    message->headers_count = 1;
    hand_open(&bench,
              "from = { endpoint = \"a\"; stream = \"s\"; }; key_from = "
              "\"${header.customer}\"; to = { endpoint = \"b\"; stream = \"of.${key}\"; };");
    hand_step(&bench, 5);
    assert_string_equal(hand.sinks[0].sent[0].stream, "of.c7");
    hand_close(&bench);
}

/* ---- expiry ---- */

static void expiry_is_judged_by_what_the_broker_says(void **state)
{
    struct mb_message message = {.present = MB_HAS_TTL | MB_HAS_TIMESTAMP,
                                 .ttl_ms = 60000,
                                 .timestamp_ms = 1000,
                                 .timestamp_kind = MB_TIMESTAMP_CREATE};

    (void)state;
    /* The application's timestamp says nothing of how long the message has lived. */
    assert_int_equal(mb_expiry_of(&message, 5000000, 100), 60100);
    message.timestamp_kind = MB_TIMESTAMP_LOG_APPEND;
    assert_int_equal(mb_expiry_of(&message, 41000, 100), 20100);
    assert_int_equal(mb_expiry_of(&message, 5000000, 100), 1); /* it is over */
    assert_int_equal(mb_expiry_of(&message, 500, 100), 60100); /* stored tomorrow */
    message.ttl_ms = 0;
    assert_int_equal(mb_expiry_of(&message, 5000000, 100), 0);
    message.present |= MB_HAS_EXPIRES_AT;
    message.expires_at_ms = 7000;
    assert_int_equal(mb_expiry_of(&message, 5000, 100), 2100);
    assert_int_equal(mb_expiry_of(&message, 7000, 100), 100);
    assert_int_equal(mb_expiry_of(&message, 5000000, 100), 1);
    message.expires_at_ms = INT64_MAX;
    assert_true(mb_expiry_of(&message, 5000, INT64_MAX / 4) > INT64_MAX / 2);
    message.expires_at_ms = 0;
    assert_int_equal(mb_expiry_of(&message, 5000000, 100), 0);
    message.ttl_ms = UINT64_MAX;
    assert_int_equal(mb_expiry_of(&message, 5000000, 100), 0);
}

static void a_time_to_live_is_sent_less_its_age(void **state)
{
    struct mb_message message = {.present = MB_HAS_TTL, .ttl_ms = 60000};

    (void)state;
    mb_expiry_shorten(&message, 160000, 100999);
    assert_int_equal(message.ttl_ms, 60000); /* the way itself */
    mb_expiry_shorten(&message, 160000, 130000);
    assert_int_equal(message.ttl_ms, 30000);
    mb_expiry_shorten(&message, 160000, 200000);
    assert_int_equal(message.ttl_ms, 1);
}

static void the_expired_is_skipped_and_counted(void **state)
{
    struct hand_bench bench;
    struct mb_message *message;

    (void)state;
    hand_begin();
    message = hand_put("s", "old");
    message->present = MB_HAS_EXPIRES_AT;
    message->expires_at_ms = mb_clock_wall_ms() - 1;
    message = hand_put("s", "young");
    message->present = MB_HAS_EXPIRES_AT;
    message->expires_at_ms = mb_clock_wall_ms() + 3600000;
    hand_open(&bench, ROUTE);
    hand_step(&bench, 10);
    assert_int_equal(hand.sinks[0].sent_count, 1);
    assert_string_equal(hand.sinks[0].sent[0].body, "young");
    assert_int_equal(hand_count(&bench.counters.expired), 1);
    assert_true(hand.inputs[0].acked);
    hand_close(&bench);
}

static void what_expires_while_it_waits_is_skipped_too(void **state)
{
    struct hand_bench bench;
    struct mb_message *message;

    (void)state;
    hand_begin();
    message = hand_put("s", "brief");
    message->present = MB_HAS_TTL;
    message->ttl_ms = 20;
    hand.sinks[0].is_full = true;
    hand_open(&bench, ROUTE);
    hand_step(&bench, 10);
    assert_int_equal(mb_window_count(&bench.lane->window), 1);
    for (int64_t until_ms = mb_clock_monotonic_ms() + 25; mb_clock_monotonic_ms() < until_ms;)
        hand_step(&bench, 1);
    hand.sinks[0].is_full = false;
    hand_step(&bench, 5);
    assert_int_equal(hand.sinks[0].sent_count, 0);
    assert_int_equal(hand_count(&bench.counters.expired), 1);
    assert_true(hand.inputs[0].acked);
    hand_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_is_taken_from_a_property),
        cmocka_unit_test(bytes_of_any_kind_are_a_key),
        cmocka_unit_test(what_is_missing_leaves_the_key),
        cmocka_unit_test(none_takes_it_away),
        cmocka_unit_test(names_see_the_new_key),
        cmocka_unit_test(expiry_is_judged_by_what_the_broker_says),
        cmocka_unit_test(a_time_to_live_is_sent_less_its_age),
        cmocka_unit_test(the_expired_is_skipped_and_counted),
        cmocka_unit_test(what_expires_while_it_waits_is_skipped_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
