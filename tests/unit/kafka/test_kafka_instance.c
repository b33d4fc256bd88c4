/* SPDX-License-Identifier: Apache-2.0 */
/* Slots of static membership: the lowest free one, freed with its holder however that ends. */
#include "backends/kafka/kafka.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A group that no other run of this test shares. */
static void group_name(char *group, size_t size, const char *what)
{
    snprintf(group, size, "test-%s-%d", what, (int)getpid());
}

static void test_lowest_free(void **state)
{
    struct kafka_slot slots[3];
    char group[64];

    (void)state;
    group_name(group, sizeof group, "lowest");
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(kafka_slot_take("b:1", group, &slots[i]), MB_OK);
        assert_int_equal(slots[i].number, i);
    }
    kafka_slot_release(&slots[1]);
    assert_int_equal(kafka_slot_take("b:1", group, &slots[1]), MB_OK);
    assert_int_equal(slots[1].number, 1);
    for (unsigned i = 0; i < 3; i++)
        kafka_slot_release(&slots[i]);
}

static void test_apart_by_brokers_and_group(void **state)
{
    struct kafka_slot a;
    struct kafka_slot b;
    struct kafka_slot c;
    char group[64];
    char other[64];

    (void)state;
    group_name(group, sizeof group, "apart");
    group_name(other, sizeof other, "other");
    assert_int_equal(kafka_slot_take("b:1", group, &a), MB_OK);
    assert_int_equal(kafka_slot_take("b:2", group, &b), MB_OK);
    assert_int_equal(kafka_slot_take("b:1", other, &c), MB_OK);
    assert_int_equal(a.number, 0);
    assert_int_equal(b.number, 0);
    assert_int_equal(c.number, 0);
    kafka_slot_release(&a);
    kafka_slot_release(&b);
    kafka_slot_release(&c);
}

static void test_all_taken(void **state)
{
    struct kafka_slot slots[KAFKA_SLOTS_MAX];
    struct kafka_slot more;
    char group[64];

    (void)state;
    group_name(group, sizeof group, "all");
    for (unsigned i = 0; i < KAFKA_SLOTS_MAX; i++)
        assert_int_equal(kafka_slot_take("b:1", group, &slots[i]), MB_OK);
    assert_int_equal(kafka_slot_take("b:1", group, &more), MB_AGAIN);
    assert_int_equal(more.fd, -1);
    for (unsigned i = 0; i < KAFKA_SLOTS_MAX; i++)
        kafka_slot_release(&slots[i]);
}

static void test_freed_by_kill(void **state)
{
    struct kafka_slot slot;
    char group[64];
    int pipe_fds[2];
    char byte;
    pid_t child;

    (void)state;
    group_name(group, sizeof group, "kill");
    assert_int_equal(pipe(pipe_fds), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct kafka_slot held;

        if (kafka_slot_take("b:1", group, &held) != MB_OK || write(pipe_fds[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    assert_int_equal(kafka_slot_take("b:1", group, &slot), MB_OK);
    assert_int_equal(slot.number, 1);
    kafka_slot_release(&slot);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(kafka_slot_take("b:1", group, &slot), MB_OK);
    assert_int_equal(slot.number, 0);
    kafka_slot_release(&slot);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void test_instance_name(void **state)
{
    struct kafka_slot slot = {.fd = -1, .number = 7};
    char name[KAFKA_INSTANCE_SIZE];
    char again[KAFKA_INSTANCE_SIZE];
    char group[512];

    (void)state;
    kafka_slot_instance(&slot, "shop/orders ä", name, sizeof name);
    kafka_slot_instance(&slot, "shop/orders ä", again, sizeof again);
    assert_string_equal(name, again);
    assert_non_null(strstr(name, "-7-shop_orders_"));
    assert_null(strpbrk(name, "/ \xc3"));
    slot.number = 8;
    kafka_slot_instance(&slot, "shop/orders ä", again, sizeof again);
    assert_string_not_equal(name, again);
    memset(group, 'g', sizeof group - 1);
    group[sizeof group - 1] = '\0';
    kafka_slot_instance(&slot, group, name, sizeof name);
    assert_true(strlen(name) < 250);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lowest_free),   cmocka_unit_test(test_apart_by_brokers_and_group),
        cmocka_unit_test(test_all_taken),     cmocka_unit_test(test_freed_by_kill),
        cmocka_unit_test(test_instance_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
