/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/watch.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

struct bench {
    int outer_fd;
    struct mb_watch watch;
};

static int setup(void **state)
{
    static struct bench bench;

    bench.outer_fd = epoll_create1(EPOLL_CLOEXEC);
    mb_watch_init(&bench.watch, bench.outer_fd, &bench);
    *state = &bench;
    return bench.outer_fd < 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    mb_watch_release(&bench->watch);
    close(bench->outer_fd);
    return 0;
}

/* Whether the outer one says that the watch is ready. */
static bool is_ready(struct bench *bench)
{
    struct epoll_event event = {.data.ptr = NULL};
    int count = epoll_wait(bench->outer_fd, &event, 1, 0);

    assert_true(count >= 0);
    if (count > 0)
        assert_ptr_equal(event.data.ptr, bench);
    return count > 0;
}

static void wait_for(struct bench *bench, uint64_t generation, int fd, int16_t events)
{
    mb_watch_begin(&bench->watch);
    if (fd >= 0)
        mb_watch_add(&bench->watch, fd, events);
    assert_true(mb_watch_end(&bench->watch, generation));
}

static void set(int fd)
{
    assert_int_equal(eventfd_write(fd, 1), 0);
}

static void clear(int fd)
{
    eventfd_t value;

    assert_int_equal(eventfd_read(fd, &value), 0);
}

static void test_it_wakes_for_what_is_wanted(void **state)
{
    struct bench *bench = *state;
    int fd = eventfd(0, EFD_NONBLOCK);

    wait_for(bench, 0, fd, POLLIN);
    assert_false(is_ready(bench));
    set(fd);
    assert_true(is_ready(bench));
    assert_true(is_ready(bench)); /* as long as it is so */
    clear(fd);
    assert_false(is_ready(bench));
    wait_for(bench, 0, fd, POLLIN | POLLOUT);
    assert_true(is_ready(bench));
    wait_for(bench, 0, fd, POLLIN);
    assert_false(is_ready(bench));
    set(fd);
    wait_for(bench, 0, -1, 0);
    assert_false(is_ready(bench));
    wait_for(bench, 0, fd, POLLIN);
    assert_true(is_ready(bench));
    close(fd);
}

/* A new connection has the number of the one that was closed. */
static void test_a_number_is_used_again(void **state)
{
    struct bench *bench = *state;
    int fd = eventfd(0, EFD_NONBLOCK);
    int other;

    wait_for(bench, 1, fd, POLLIN);
    close(fd);
    other = eventfd(0, EFD_NONBLOCK);
    assert_int_equal(other, fd);
    wait_for(bench, 2, other, POLLIN);
    set(other);
    assert_true(is_ready(bench));
    close(other);
}

/* What was closed is another lane's now: that one goes on waiting for it. */
static void test_another_has_the_number(void **state)
{
    struct bench *bench = *state;
    struct bench neighbour = {.outer_fd = epoll_create1(EPOLL_CLOEXEC)};
    int fd = eventfd(0, EFD_NONBLOCK);
    int other;

    mb_watch_init(&neighbour.watch, neighbour.outer_fd, &neighbour);
    wait_for(bench, 1, fd, POLLIN);
    close(fd);
    other = eventfd(0, EFD_NONBLOCK);
    assert_int_equal(other, fd);
    wait_for(&neighbour, 1, other, POLLIN);
    wait_for(bench, 1, -1, 0);
    set(other);
    assert_true(is_ready(&neighbour));
    assert_false(is_ready(bench));
    close(other);
    mb_watch_release(&neighbour.watch);
    close(neighbour.outer_fd);
}

static void test_source_and_sink_share_one(void **state)
{
    struct bench *bench = *state;
    int fd = eventfd(0, EFD_NONBLOCK);

    mb_watch_begin(&bench->watch);
    mb_watch_add(&bench->watch, fd, POLLIN);
    mb_watch_add(&bench->watch, fd, POLLOUT);
    assert_true(mb_watch_end(&bench->watch, 0));
    assert_true(is_ready(bench));
    close(fd);
}

static void test_what_cannot_be_watched_is_said(void **state)
{
    struct bench *bench = *state;
    int fd = eventfd(0, EFD_NONBLOCK);
    int closed = eventfd(0, EFD_NONBLOCK);

    close(closed);
    for (int i = 0; i < 2; i++) {
        mb_watch_begin(&bench->watch);
        mb_watch_add(&bench->watch, closed, POLLIN);
        mb_watch_add(&bench->watch, fd, POLLIN);
        assert_false(mb_watch_end(&bench->watch, 0));
    }
    wait_for(bench, 0, fd, POLLIN);
    set(fd);
    assert_true(is_ready(bench));
    close(fd);
}

static void test_many(void **state)
{
    struct bench *bench = *state;
    int fds[40];

    for (size_t i = 0; i < 40; i++)
        fds[i] = eventfd(0, EFD_NONBLOCK);
    mb_watch_begin(&bench->watch);
    for (size_t i = 0; i < 40; i++)
        mb_watch_add(&bench->watch, fds[i], POLLIN);
    assert_true(mb_watch_end(&bench->watch, 0));
    for (size_t i = 0; i < 40; i++) {
        assert_false(is_ready(bench));
        set(fds[i]);
        assert_true(is_ready(bench));
        clear(fds[i]);
    }
    for (size_t i = 0; i < 40; i++)
        close(fds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_wakes_for_what_is_wanted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_number_is_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_has_the_number, setup, teardown),
        cmocka_unit_test_setup_teardown(test_source_and_sink_share_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_watched_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
