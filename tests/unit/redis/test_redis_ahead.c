/* SPDX-License-Identifier: Apache-2.0 */
/* How many requests are under way at once. */
#include "backends/redis/redis_ahead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROUND_TRIP_MS 80

/* A reply that had to be waited for so long, in two parts. */
static void answer(struct redis_ahead *ahead, int64_t *now_ms, int64_t wait_ms, bool full)
{
    redis_ahead_dry(ahead, *now_ms);
    redis_ahead_dry(ahead, *now_ms + wait_ms / 2);
    *now_ms += wait_ms;
    redis_ahead_came(ahead, *now_ms);
    redis_ahead_came(ahead, *now_ms + 50);
    redis_ahead_answered(ahead, full);
}

static void test_grows_over_a_long_path(void **state)
{
    struct redis_ahead ahead = {.depth = 1};
    int64_t now_ms = 1000;

    (void)state;
    assert_false(ahead.is_busy);
    answer(&ahead, &now_ms, ROUND_TRIP_MS, true);
    assert_true(ahead.is_busy);
    assert_int_equal(ahead.depth, REDIS_AHEAD_GROWTH);
    for (int i = 0; i < 40; i++)
        answer(&ahead, &now_ms, ROUND_TRIP_MS, true);
    assert_int_equal(ahead.depth, REDIS_AHEAD_MAX);
}

static void test_waits_add_up_within_a_reply(void **state)
{
    struct redis_ahead ahead = {.depth = 1};

    (void)state;
    for (int64_t now_ms = 1; now_ms < 2 * REDIS_AHEAD_WAIT_MS; now_ms += 2) {
        redis_ahead_dry(&ahead, now_ms);
        redis_ahead_came(&ahead, now_ms + 1);
    }
    redis_ahead_answered(&ahead, true);
    assert_int_equal(ahead.depth, REDIS_AHEAD_GROWTH);
}

static void test_stays_near_the_server(void **state)
{
    struct redis_ahead ahead = {.depth = 1};
    int64_t now_ms = 1000;

    (void)state;
    for (int i = 0; i < 1000; i++)
        answer(&ahead, &now_ms, REDIS_AHEAD_WAIT_MS - 1, true);
    assert_int_equal(ahead.depth, 1);
}

static void test_falls_when_there_is_little(void **state)
{
    struct redis_ahead ahead = {.depth = REDIS_AHEAD_MAX};
    int64_t now_ms = 1000;

    (void)state;
    for (uint32_t depth = REDIS_AHEAD_MAX / 2; depth > 1; depth /= 2) {
        answer(&ahead, &now_ms, ROUND_TRIP_MS, false);
        assert_int_equal(ahead.depth, depth);
    }
    for (int i = 0; i < 3; i++)
        answer(&ahead, &now_ms, ROUND_TRIP_MS, false);
    assert_int_equal(ahead.depth, 1);
    assert_false(ahead.is_busy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_over_a_long_path),
        cmocka_unit_test(test_waits_add_up_within_a_reply),
        cmocka_unit_test(test_stays_near_the_server),
        cmocka_unit_test(test_falls_when_there_is_little),
    };

    return cmocka_run_group_tests_name("redis_ahead", tests, NULL, NULL);
}
