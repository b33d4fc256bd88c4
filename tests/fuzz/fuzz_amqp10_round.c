/* SPDX-License-Identifier: Apache-2.0 */
/* Messages made of the input, to AMQP 1.0 and back: tests/unit/amqp10/round.h says what holds. */
#include "fuzz.h"
#include "round.h"

#define SCRATCH_SIZE_MAX ((size_t)64 << 20)

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    uint64_t state = index + 1;

    if (index >= 16 || size < 1024)
        return MB_FUZZ_NO_SEED;
    for (size_t i = 0; i < 1024; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        data[i] = (uint8_t)(state >> 56);
    }
    return 1024;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mb_scratch scratch;
    struct generator generator;
    const char *broken;

    if (scratch.size_max == 0)
        mb_scratch_init(&scratch, SCRATCH_SIZE_MAX);
    mb_scratch_reset(&scratch);
    generator_bytes(&generator, data, size, &scratch);
    broken = amqp10_round(&generator);
    mb_fuzz_check(broken == NULL, broken);
    return 0;
}
