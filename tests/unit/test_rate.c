/* SPDX-License-Identifier: Apache-2.0 */
/* A route's rate: the bucket by itself, and a lane that keeps to it without spinning. */
#include "hand_broker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROUTE                                                                                      \
    "from = { endpoint = \"a\"; stream = \"s\"; }; to = { endpoint = \"b\"; stream = \"d\"; };"

/* Takes whatever there is at every millisecond. Returns how much it was. */
static uint64_t take_all(struct mb_rate *rate, int64_t from_ms, int64_t to_ms)
{
    uint64_t total = 0;
    uint64_t bytes;
    int64_t open_ms;

    for (int64_t now_ms = from_ms; now_ms < to_ms; now_ms++) {
        uint64_t room = mb_rate_room(rate, now_ms, &bytes, &open_ms);

        if (room > 0)
            mb_rate_take(rate, now_ms, room, 0);
        total += room;
    }
    return total;
}

static void a_rate_holds_over_time(void **state)
{
    static const uint64_t rates[] = {1, 3, 7, 100, 999, 12345, 1000000, MB_RATE_MESSAGES_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        uint64_t burst = rates[i] / 10 > 1 ? rates[i] / 10 : 1;
        struct mb_rate rate;
        uint64_t total;

        mb_rate_init(&rate, rates[i], 0);
        assert_true(mb_rate_is_limited(&rate));
        total = take_all(&rate, 1000000, 1010000);
        assert_true(total <= 10 * rates[i] + burst + 1 + rates[i] / 100);
        assert_true(total >= 10 * rates[i] - rates[i] / 100);
    }
}

static void what_was_not_used_does_not_pile_up(void **state)
{
    struct mb_rate rate;

    (void)state;
    mb_rate_init(&rate, 1000, 0);
    take_all(&rate, 1000000, 1001000);
    assert_true(take_all(&rate, 2000000, 2000001) <= 100);
}

static void it_tells_when_it_opens(void **state)
{
    struct mb_rate rate;
    uint64_t bytes;
    int64_t open_ms;

    (void)state;
    mb_rate_init(&rate, 2, 1000);
    assert_int_equal(mb_rate_room(&rate, 5000, &bytes, &open_ms), 1);
    assert_int_equal(bytes, 100);
    mb_rate_take(&rate, 5000, 1, 10);
    assert_int_equal(mb_rate_room(&rate, 5000, &bytes, &open_ms), 0);
    assert_int_equal(bytes, 0);
    assert_true(open_ms >= 5500 && open_ms <= 5501);
    assert_int_equal(mb_rate_room(&rate, open_ms, &bytes, &open_ms), 1);
    /* A large message is paid for afterwards. */
    mb_rate_take(&rate, 5501, 1, 10000);
    assert_int_equal(mb_rate_room(&rate, 10000, &bytes, &open_ms), 0);
    assert_true(open_ms >= 15300 && open_ms <= 15510);
    assert_true(mb_rate_room(&rate, open_ms, &bytes, &open_ms) > 0);
}

static void put_many(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        hand_put("s", "0123456789");
}

static void a_lane_keeps_to_it(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    put_many(1500);
    hand_open(&bench, ROUTE " rate = { messages = 100; };");
    hand_step(&bench, 5000);
    assert_in_range(hand.sinks[0].sent_count, 495, 515);
    hand_step(&bench, 5000);
    assert_in_range(hand.sinks[0].sent_count, 990, 1015);
    hand_close(&bench);
}

static void bytes_limit_it_as_well(void **state)
{
    struct hand_bench bench;

    (void)state;
    hand_begin();
    put_many(1500);
    hand_open(&bench, ROUTE " rate = { messages = 1000000; bytes = 1000; };");
    hand_step(&bench, 5000); /* of ten bytes each */
    assert_in_range(hand.sinks[0].sent_count, 490, 520);
    hand_close(&bench);
}

static void count_fd(void *context, int fd, int16_t events)
{
    (void)context;
    (void)fd;
    (void)events;
}

static void a_lane_that_waits_for_it_sleeps(void **state)
{
    struct hand_bench bench;
    unsigned polls;

    (void)state;
    hand_begin();
    put_many(100);
    hand_open(&bench, ROUTE " rate = { messages = 2; };");
    hand_step(&bench, 20);
    assert_int_equal(hand.sinks[0].sent_count, 1);
    polls = hand.polls;
    /* As a worker does: it steps again when the deadline is reached. */
    for (int i = 0; i < 10; i++) {
        int64_t deadline_ms = INT64_MAX;

        assert_false(mb_lane_wait(bench.lane, count_fd, NULL, &deadline_ms));
        assert_true(deadline_ms > bench.now_ms && deadline_ms <= bench.now_ms + 501);
        bench.now_ms = deadline_ms;
        hand_step(&bench, 3);
    }
    assert_int_equal(hand.sinks[0].sent_count, 11);
    assert_true(hand.polls <= polls + 10);
    hand_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_holds_over_time),
        cmocka_unit_test(what_was_not_used_does_not_pile_up),
        cmocka_unit_test(it_tells_when_it_opens),
        cmocka_unit_test(a_lane_keeps_to_it),
        cmocka_unit_test(bytes_limit_it_as_well),
        cmocka_unit_test(a_lane_that_waits_for_it_sleeps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
