/* SPDX-License-Identifier: Apache-2.0 */
/* Random messages through a record and back. */
#include "tests/unit/kafka/kafka_round.h"

#include "tests/unit/kit/generate.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define MESSAGES 20000u

static void test_round_trip(void **state)
{
    struct mb_scratch scratch;
    struct kafka_round round;
    unsigned degraded = 0;

    (void)state;
    kafka_round_init(&round);
    mb_scratch_init(&scratch, 64u << 20);
    for (uint64_t seed = 1; seed <= MESSAGES; seed++) {
        struct generator generator;
        struct mb_message message;
        const char *broken;

        mb_scratch_reset(&scratch);
        generator_seed(&generator, seed, &scratch);
        generate_message(&generator, &message);
        broken = kafka_round_trip(&round, &message);
        if (broken != NULL)
            fail_msg("seed %llu: not so: %s", (unsigned long long)seed, broken);
        degraded += round.degraded != 0;
    }
    assert_int_equal(degraded, 0); /* all of it fits */
    assert_int_equal(round.warnings, 0);
    mb_scratch_release(&scratch);
    kafka_round_release(&round);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
