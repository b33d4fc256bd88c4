/* SPDX-License-Identifier: Apache-2.0 */
/* The window gives back what a backlog made it take, and keeps what is in use. */
#include "core/router/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define BACKLOG 5000u
#define BATCH   50u

static uint64_t passed_total;

static void count_passed(void *context, struct mb_entry *entry)
{
    (void)context;
    assert_int_equal(entry->message->token, passed_total);
    passed_total++;
}

static const struct mb_passed passed = {.passed = count_passed};

static struct mb_scope *begin(struct mb_window *window)
{
    static const struct mb_event event = {.stream = {"s", 1}};
    static const struct mb_origin origin = {0};
    struct mb_scope *scope;

    passed_total = 0;
    assert_int_equal(mb_window_init(window, BACKLOG, UINT64_MAX), MB_OK);
    assert_int_equal(mb_window_add_scope(window, &event, &origin, &scope), MB_OK);
    return scope;
}

static void take(struct mb_window *window, struct mb_scope *scope, unsigned count)
{
    struct mb_message *messages[BATCH];

    for (; count > 0; count -= BATCH) {
        assert_int_equal(mb_window_take_messages(window, messages, BATCH), MB_OK);
        for (size_t i = 0; i < BATCH; i++) {
            struct mb_entry *entry;

            messages[i]->token = window->head;
            assert_non_null(mb_arena_alloc(&window->arena.arena, 1000));
            assert_int_equal(mb_window_push(window, messages[i], scope, &entry), MB_OK);
            entry->want = 1;
        }
        mb_lane_arena_mark(&window->arena, window->head - 1);
    }
}

static void confirm(struct mb_window *window, unsigned count)
{
    for (uint64_t s = window->tail; count > 0; count--, s++) {
        mb_window_at(window, s)->done = 1;
        mb_window_update(window, s, &passed);
    }
    mb_window_trim(window);
}

static void a_backlog_is_given_back_when_it_is_over(void **state)
{
    struct mb_window window;
    struct mb_scope *scope = begin(&window);

    (void)state;
    take(&window, scope, BACKLOG);
    confirm(&window, BACKLOG);
    assert_int_equal(window.capacity, BACKLOG); /* as many as it may hold, and no more */
    assert_true(window.pool_capacity >= BACKLOG);
    assert_true(window.arena.spare_count > 0);
    mb_window_rest(&window); /* it was needed just now */
    assert_true(mb_window_is_ample(&window));
    take(&window, scope, BATCH);
    confirm(&window, BATCH);
    mb_window_rest(&window);
    assert_false(mb_window_is_ample(&window));
    assert_int_equal(window.capacity, 256);
    assert_int_equal(window.arena.spare_count, 0);
    take(&window, scope, BACKLOG);
    confirm(&window, BACKLOG);
    assert_int_equal(passed_total, 2 * BACKLOG + BATCH);
    mb_window_release(&window);
}

static void what_is_held_is_kept(void **state)
{
    struct mb_window window;
    struct mb_scope *scope = begin(&window);

    (void)state;
    take(&window, scope, BACKLOG);
    confirm(&window, BACKLOG - 1);
    mb_window_rest(&window);
    mb_window_rest(&window);
    assert_true(window.pool_capacity >= BACKLOG);
    assert_int_equal(mb_window_at(&window, BACKLOG - 1)->message->token, BACKLOG - 1);
    confirm(&window, 1);
    assert_int_equal(passed_total, BACKLOG);
    mb_window_release(&window);
}

static void what_is_used_again_and_again_is_kept(void **state)
{
    struct mb_window window;
    struct mb_scope *scope = begin(&window);
    const void *slabs = NULL;

    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        take(&window, scope, BACKLOG / 2);
        confirm(&window, BACKLOG / 2);
        mb_window_rest(&window);
        assert_true(i == 0 || window.slabs == slabs);
        slabs = window.slabs;
    }
    mb_window_release(&window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backlog_is_given_back_when_it_is_over),
        cmocka_unit_test(what_is_held_is_kept),
        cmocka_unit_test(what_is_used_again_and_again_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
