/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input makes a message and a form of it; what is restored from the form and the sidecar is the
 * message, or lacks what the writer said. The first byte chooses the room for the sidecar.
 */
#include "fuzz.h"
#include "generate.h"

#include "kit/sidecar.h"

#define SEEDS_COUNT 64u
#define SEED_SIZE   400u

static struct mb_scratch scratch;
static struct mb_text sidecar = {.max_size = 1u << 20};

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    struct generator generator;

    if (index == SEEDS_COUNT || size < SEED_SIZE)
        return MB_FUZZ_NO_SEED;
    generator_seed(&generator, index, &scratch);
    for (size_t i = 0; i < SEED_SIZE; i++)
        data[i] = (uint8_t)generator_below(&generator, 256);
    return SEED_SIZE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct generator generator;
    struct mb_message message;
    struct mb_message natural;
    struct mb_message restored;
    size_t size_max = sidecar.max_size;
    uint64_t lost;
    uint64_t difference;
    bool malformed;

    if (scratch.arena.more == NULL)
        mb_scratch_init(&scratch, 64u << 20);
    mb_scratch_reset(&scratch);
    mb_text_clear(&sidecar);
    generator_bytes(&generator, data, size, &scratch);
    if (generator_one_in(&generator, 4))
        size_max = generator_below(&generator, 256);
    generate_message(&generator, &message);
    if (generator_one_in(&generator, 8))
        generate_message(&generator, &natural);
    else
        generate_natural(&generator, &message, &natural);
    MB_FUZZ_CHECK(mb_sidecar_write(&message, &natural, size_max, &sidecar, &lost) == MB_OK);
    MB_FUZZ_CHECK(sidecar.size <= size_max);
    MB_FUZZ_CHECK(lost == 0 || size_max < sidecar.max_size);
    natural.sidecar = (struct mb_slice){sidecar.size > 0 ? sidecar.data : NULL, sidecar.size};
    MB_FUZZ_CHECK(mb_sidecar_restore(&natural, &scratch.arena, &restored, &malformed) == MB_OK);
    MB_FUZZ_CHECK(!malformed);
    difference = mb_message_difference(&message, &restored);
    MB_FUZZ_CHECK((difference & ~lost) == 0);
    return 0;
}
