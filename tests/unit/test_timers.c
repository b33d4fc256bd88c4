/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/timers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

#define TIMERS 200u
#define STEPS  20000u

static uint64_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Against a plain array that is searched: the next time, who is due, and in the order of times. */
static void test_any_order(void **state)
{
    struct mb_timers timers = {.heap = NULL};
    struct mb_timer all[TIMERS] = {{.place = 0}};
    int64_t wanted[TIMERS];
    uint64_t seed = 1;

    (void)state;
    assert_int_equal(mb_timers_reserve(&timers, TIMERS), MB_OK);
    for (unsigned i = 0; i < TIMERS; i++)
        wanted[i] = INT64_MAX;
    for (unsigned step = 0; step < STEPS; step++) {
        size_t at = draw(&seed) % TIMERS;
        int64_t next = INT64_MAX;

        wanted[at] = draw(&seed) % 4 == 0 ? INT64_MAX : (int64_t)(draw(&seed) % 1000);
        mb_timers_set(&timers, &all[at], wanted[at]);
        for (unsigned i = 0; i < TIMERS; i++)
            next = wanted[i] < next ? wanted[i] : next;
        assert_int_equal(mb_timers_next_ms(&timers), next);
        if (draw(&seed) % 8 == 0 && next != INT64_MAX) {
            struct mb_timer *due = mb_timers_due(&timers, next);

            assert_non_null(due);
            assert_int_equal(due->at_ms, next);
            assert_int_equal(wanted[due - all], next);
            assert_int_equal(due->place, 0);
            wanted[due - all] = INT64_MAX;
        }
        if (next != INT64_MAX)
            assert_true(mb_timers_next_ms(&timers) >= next);
    }
    mb_timers_release(&timers);
}

static void test_nothing_is_due(void **state)
{
    struct mb_timers timers = {.heap = NULL};
    struct mb_timer timer = {.place = 0};

    (void)state;
    assert_null(mb_timers_due(&timers, INT64_MAX - 1));
    assert_int_equal(mb_timers_reserve(&timers, 1), MB_OK);
    mb_timers_set(&timers, &timer, INT64_MAX); /* it was not set: nothing to take out */
    mb_timers_set(&timers, &timer, 50);
    assert_null(mb_timers_due(&timers, 49));
    mb_timers_set(&timers, &timer, INT64_MAX);
    assert_null(mb_timers_due(&timers, 1000));
    assert_int_equal(mb_timers_next_ms(&timers), INT64_MAX);
    mb_timers_release(&timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_nothing_is_due),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
