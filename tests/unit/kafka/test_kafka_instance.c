/* SPDX-License-Identifier: Apache-2.0 */
/* Names of static members: whose slots they are made of, and what they may contain. */
#include "backends/kafka/kafka.h"

#include <setjmp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* Members of different versions exclude each other by these bytes. */
static void test_address(void **state)
{
    static const char expected[] = "mbridge/e82df68582c816a6/";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof address;
    struct mb_slot slot;

    (void)state;
    assert_int_equal(kafka_instance_take("b:1", "shop", &slot), MB_OK);
    assert_int_equal(getsockname(slot.fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(address.sun_path[0], 0);
    assert_memory_equal(address.sun_path + 1, expected, sizeof expected - 1);
    mb_slot_release(&slot);
}

static void test_all_taken(void **state)
{
    struct mb_slot slots[KAFKA_SLOTS_MAX];
    struct mb_slot more;
    char group[64];

    (void)state;
    /* A group that no other run of this test shares. */
    snprintf(group, sizeof group, "test-all-%d", (int)getpid());
    for (unsigned i = 0; i < KAFKA_SLOTS_MAX; i++) {
        assert_int_equal(kafka_instance_take("b:1", group, &slots[i]), MB_OK);
        assert_int_equal(slots[i].number, i);
    }
    assert_int_equal(kafka_instance_take("b:1", group, &more), MB_AGAIN);
    for (unsigned i = 0; i < KAFKA_SLOTS_MAX; i++)
        mb_slot_release(&slots[i]);
}

static void test_instance_name(void **state)
{
    struct mb_slot slot = {.fd = -1, .number = 7};
    char name[KAFKA_INSTANCE_SIZE];
    char again[KAFKA_INSTANCE_SIZE];
    char group[512];

    (void)state;
    kafka_instance_name(&slot, "shop/orders ä", name, sizeof name);
    kafka_instance_name(&slot, "shop/orders ä", again, sizeof again);
    assert_string_equal(name, again);
    assert_non_null(strstr(name, "-7-shop_orders_"));
    assert_null(strpbrk(name, "/ \xc3"));
    slot.number = 8;
    kafka_instance_name(&slot, "shop/orders ä", again, sizeof again);
    assert_string_not_equal(name, again);
    memset(group, 'g', sizeof group - 1);
    group[sizeof group - 1] = '\0';
    kafka_instance_name(&slot, group, name, sizeof name);
    assert_true(strlen(name) < 250);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address),
        cmocka_unit_test(test_all_taken),
        cmocka_unit_test(test_instance_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
