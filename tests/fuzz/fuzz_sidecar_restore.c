/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any sidecar beside any natural message: applied whole or not at all, and what comes out is a
 * message that can be explained again.
 *
 * Input: two bytes n, n bytes that make the natural message, one byte that bounds the memory, the
 * sidecar.
 */
#include "fuzz.h"
#include "generate.h"

#include "kit/sidecar.h"

#define SEEDS_COUNT  64u
#define RECIPE_SIZE  160u
#define SCRATCH_SIZE (16u << 20)

static struct mb_scratch made;
static struct mb_scratch restored_in;
static struct mb_text sidecar = {.max_size = 1u << 20};

static void restart(struct mb_scratch *scratch, size_t size_max)
{
    if (scratch->arena.more == NULL)
        mb_scratch_init(scratch, size_max);
    mb_scratch_reset(scratch);
    scratch->size_max = size_max;
}

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    struct generator generator;
    struct mb_message natural;
    struct mb_message message;
    uint64_t lost;

    if (index == SEEDS_COUNT)
        return MB_FUZZ_NO_SEED;
    restart(&made, SCRATCH_SIZE);
    generator_seed(&generator, index, &made);
    data[0] = 0;
    data[1] = RECIPE_SIZE;
    for (size_t i = 0; i < RECIPE_SIZE; i++)
        data[2 + i] = (uint8_t)generator_below(&generator, 256);
    data[2 + RECIPE_SIZE] = 0;
    generator_bytes(&generator, data + 2, RECIPE_SIZE, &made);
    generate_message(&generator, &natural);
    generator_seed(&generator, index, &made);
    generate_natural(&generator, &natural, &message);
    mb_text_clear(&sidecar);
    MB_FUZZ_CHECK(mb_sidecar_write(&message, &natural, size - 3 - RECIPE_SIZE, &sidecar, &lost) ==
                  MB_OK);
    if (sidecar.size > 0)
        memcpy(data + 3 + RECIPE_SIZE, sidecar.data, sidecar.size);
    return 3 + RECIPE_SIZE + sidecar.size;
}

/* What was restored is a message like any other: the same way leads to it again. */
static void check_again(const struct mb_message *natural, const struct mb_message *restored)
{
    struct mb_message read = *natural;
    struct mb_message again;
    uint64_t lost;
    bool malformed;

    mb_text_clear(&sidecar);
    MB_FUZZ_CHECK(mb_sidecar_write(restored, natural, sidecar.max_size, &sidecar, &lost) == MB_OK);
    MB_FUZZ_CHECK(lost == 0);
    read.sidecar = (struct mb_slice){sidecar.size > 0 ? sidecar.data : NULL, sidecar.size};
    MB_FUZZ_CHECK(mb_sidecar_restore(&read, &made.arena, &again, &malformed) == MB_OK);
    MB_FUZZ_CHECK(!malformed);
    MB_FUZZ_CHECK(mb_message_difference(restored, &again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mb_fuzz_input input = {data, size};
    struct generator generator;
    struct mb_message natural;
    struct mb_message restored;
    size_t recipe_size;
    const uint8_t *recipe = mb_fuzz_bytes(&input, (size_t)mb_fuzz_number(&input, 2), &recipe_size);
    uint8_t bound = mb_fuzz_byte(&input);
    enum mb_status status;
    bool malformed;

    restart(&made, SCRATCH_SIZE);
    restart(&restored_in, bound % 8 == 7 ? bound * 32u : SCRATCH_SIZE);
    if (restored_in.size > restored_in.size_max) { /* the chunk that was kept is too large */
        mb_scratch_release(&restored_in);
        restart(&restored_in, bound * 32u);
    }
    generator_bytes(&generator, recipe, recipe_size, &made);
    generate_message(&generator, &natural);
    natural.sidecar = (struct mb_slice){input.at, input.left};
    status = mb_sidecar_restore(&natural, &restored_in.arena, &restored, &malformed);
    MB_FUZZ_CHECK(status == MB_OK || status == MB_NO_MEMORY);
    MB_FUZZ_CHECK(status == MB_OK || restored_in.size_max < SCRATCH_SIZE);
    MB_FUZZ_CHECK(restored.sidecar.data == NULL);
    if (status != MB_OK || malformed)
        MB_FUZZ_CHECK(mb_message_difference(&natural, &restored) == 0);
    else
        check_again(&natural, &restored);
    return 0;
}
