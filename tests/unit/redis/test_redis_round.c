/* SPDX-License-Identifier: Apache-2.0 */
/* Properties of the map over many messages, by seed. */
#include "tests/unit/kit/generate.h"
#include "tests/unit/redis/redis_round.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define MESSAGES 20000u

static void test_messages(void **state)
{
    static struct redis_round round;
    static struct mb_scratch scratch;

    (void)state;
    redis_round_init(&round);
    mb_scratch_init(&scratch, 64u << 20);
    for (uint64_t seed = 1; seed <= MESSAGES; seed++) {
        struct generator generator;
        struct mb_message message;
        const char *broken;

        mb_scratch_reset(&scratch);
        generator_seed(&generator, seed, &scratch);
        generate_message(&generator, &message);
        broken = redis_round_trip(&round, &message);
        if (broken != NULL)
            fail_msg("seed %llu: broken: %s", (unsigned long long)seed, broken);
    }
    mb_scratch_release(&scratch);
    redis_round_release(&round);
}

/* Entries of every order and repetition of the fields that mean something. */
static void test_entries(void **state)
{
    static const char *const names[] = {"key", "body", "_mbridge.id", "a"};
    static struct redis_round round;
    unsigned count = 0;

    (void)state;
    redis_round_init(&round);
    for (unsigned code = 0; code < 4u * 4 * 4 * 4 * 4; code++) {
        struct redis_field fields[5];
        unsigned rest = code;

        for (size_t i = 0; i < 5; i++) {
            static const char *const values[] = {"1", "2", "3", "4", "5"};

            fields[i].name = mb_slice_text(names[rest % 4]);
            fields[i].value = mb_slice_text(values[i]);
            rest /= 4;
        }
        count++;
        assert_null(redis_round_entry(&round, fields, 5));
    }
    assert_int_equal(count, 1024);
    redis_round_release(&round);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_entries),
    };

    return cmocka_run_group_tests_name("redis_round", tests, NULL, NULL);
}
