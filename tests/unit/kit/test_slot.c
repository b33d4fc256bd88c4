/* SPDX-License-Identifier: Apache-2.0 */
/* Slots of this host: the lowest free one, freed with its holder however that ends. */
#include "kit/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SLOTS_MAX 64u

/* A prefix that no other run of this test shares. */
static const char *own_prefix(void)
{
    static char prefix[MB_SLOT_PREFIX_MAX];

    snprintf(prefix, sizeof prefix, "mbridge-test-%d", (int)getpid());
    return prefix;
}

static enum mb_status take(const char *prefix, const char *first, const char *second,
                           struct mb_slot *ret_slot)
{
    const char *const parts[] = {first, second};

    return mb_slot_take(prefix, &(struct mb_strings){parts, 2}, SLOTS_MAX, ret_slot);
}

static void test_lowest_free(void **state)
{
    const char *prefix = own_prefix();
    struct mb_slot slots[3];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(take(prefix, "b:1", "lowest", &slots[i]), MB_OK);
        assert_int_equal(slots[i].number, i);
    }
    mb_slot_release(&slots[1]);
    assert_int_equal(slots[1].fd, -1);
    assert_int_equal(take(prefix, "b:1", "lowest", &slots[1]), MB_OK);
    assert_int_equal(slots[1].number, 1);
    for (unsigned i = 0; i < 3; i++)
        mb_slot_release(&slots[i]);
    mb_slot_release(&slots[0]);
}

static void test_apart_by_prefix_and_parts(void **state)
{
    static const char *const parts[][2] = {
        {"a", "bc"}, {"ab", "c"}, {"a", "other"}, {"abc", ""}, {"", "abc"}};
    enum { PARTS = sizeof parts / sizeof parts[0] };
    struct mb_slot slots[PARTS];
    struct mb_slot other;
    char prefix[MB_SLOT_PREFIX_MAX + 2];

    (void)state;
    for (size_t i = 0; i < PARTS; i++) {
        assert_int_equal(take(own_prefix(), parts[i][0], parts[i][1], &slots[i]), MB_OK);
        assert_int_equal(slots[i].number, 0);
    }
    snprintf(prefix, sizeof prefix, "%s/x", own_prefix());
    assert_int_equal(take(prefix, "a", "bc", &other), MB_OK);
    assert_int_equal(other.number, 0);
    mb_slot_release(&other);
    for (size_t i = 0; i < PARTS; i++)
        mb_slot_release(&slots[i]);
}

static void test_all_taken(void **state)
{
    const char *prefix = own_prefix();
    struct mb_slot slots[SLOTS_MAX];
    struct mb_slot more;

    (void)state;
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        assert_int_equal(take(prefix, "b:1", "all", &slots[i]), MB_OK);
    errno = 0;
    assert_int_equal(take(prefix, "b:1", "all", &more), MB_AGAIN);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(more.fd, -1);
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        mb_slot_release(&slots[i]);
}

static void test_freed_by_kill(void **state)
{
    const char *prefix = own_prefix();
    struct mb_slot slot;
    int pipe_fds[2];
    char byte;
    pid_t child;

    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct mb_slot held;

        if (take(prefix, "b:1", "kill", &held) != MB_OK || write(pipe_fds[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    assert_int_equal(take(prefix, "b:1", "kill", &slot), MB_OK);
    assert_int_equal(slot.number, 1);
    mb_slot_release(&slot);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(take(prefix, "b:1", "kill", &slot), MB_OK);
    assert_int_equal(slot.number, 0);
    mb_slot_release(&slot);
    close(pipe_fds[0]);
}

/* Versions of mbridge exclude each other by these bytes. */
static void test_address(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof address;
    struct mb_slot slot;
    char expected[128];
    int length;

    (void)state;
    assert_int_equal(take(own_prefix(), "b:1", "shop", &slot), MB_OK);
    assert_int_equal(getsockname(slot.fd, (struct sockaddr *)&address, &size), 0);
    length = snprintf(expected, sizeof expected, "%s/e82df68582c816a6/0", own_prefix());
    assert_int_equal(size, offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    assert_int_equal(address.sun_path[0], 0);
    assert_memory_equal(address.sun_path + 1, expected, (size_t)length);
    assert_true((fcntl(slot.fd, F_GETFD) & FD_CLOEXEC) != 0);
    mb_slot_release(&slot);
}

static void test_bounds_of_the_prefix(void **state)
{
    struct mb_slot slot;
    char prefix[MB_SLOT_PREFIX_MAX + 2];

    (void)state;
    snprintf(prefix, sizeof prefix, "%-*s", (int)MB_SLOT_PREFIX_MAX + 1, own_prefix());
    assert_int_equal(strlen(prefix), MB_SLOT_PREFIX_MAX + 1);
    assert_int_equal(take(prefix, "a", "b", &slot), MB_INVALID);
    assert_int_equal(slot.fd, -1);
    prefix[MB_SLOT_PREFIX_MAX] = '\0';
    assert_int_equal(take(prefix, "a", "b", &slot), MB_OK);
    mb_slot_release(&slot);
}

static void test_no_descriptor_left(void **state)
{
    struct rlimit before;
    struct rlimit none;
    struct mb_slot slot;
    enum mb_status status;
    int error;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    status = take(own_prefix(), "a", "b", &slot);
    error = errno;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, MB_UNSUPPORTED);
    assert_int_equal(error, EMFILE);
    assert_int_equal(slot.fd, -1);
}

static void test_host(void **state)
{
    char name[MB_SLOT_HOST_SIZE];
    char again[MB_SLOT_HOST_SIZE];
    char host[MB_SLOT_HOST_SIZE];

    (void)state;
    mb_slot_host(name, sizeof name);
    mb_slot_host(again, sizeof again);
    assert_string_equal(name, again);
    assert_int_equal(gethostname(host, sizeof host), 0);
    assert_int_equal(strncmp(name, host, strlen(host)), 0);
    assert_true(strlen(name) == strlen(host) || strlen(name) == strlen(host) + 9);
    for (size_t size = 1; size <= sizeof name; size++) {
        char *small = malloc(size); /* its exact size, for the sanitizer */

        assert_non_null(small);
        memset(small, 'x', size);
        mb_slot_host(small, size);
        assert_non_null(memchr(small, '\0', size));
        free(small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lowest_free),
        cmocka_unit_test(test_apart_by_prefix_and_parts),
        cmocka_unit_test(test_all_taken),
        cmocka_unit_test(test_freed_by_kill),
        cmocka_unit_test(test_address),
        cmocka_unit_test(test_bounds_of_the_prefix),
        cmocka_unit_test(test_no_descriptor_left),
        cmocka_unit_test(test_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
