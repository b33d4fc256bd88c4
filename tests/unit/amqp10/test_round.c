/* SPDX-License-Identifier: Apache-2.0 */
/* Random messages, to AMQP 1.0 and back. */
#include "round.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define MESSAGES 30000

static void any_message_comes_back(void **state)
{
    struct mb_scratch scratch;

    (void)state;
    mb_scratch_init(&scratch, 64u << 20);
    for (uint64_t seed = 0; seed < MESSAGES; seed++) {
        struct generator generator;
        const char *broken;

        mb_scratch_reset(&scratch);
        generator_seed(&generator, seed, &scratch);
        broken = amqp10_round(&generator);
        if (broken != NULL)
            fail_msg("seed %llu: it does not hold that %s", (unsigned long long)seed, broken);
    }
    mb_scratch_release(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_message_comes_back)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    amqp10_round_release();
    return failed;
}
