/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as typed values: reading and skipping agree; what was read is written, and read again,
 * the same; and it has a text, and a JSON that is UTF-8 without control characters. */
#include "fuzz.h"
#include "generate.h"

#include "kit/types.h"
#include "kit/utf8.h"

#define SEEDS_COUNT  96u
#define SCRATCH_SIZE (64u << 20)

static struct mb_scratch scratch;
static struct mb_text written = {.max_size = 1u << 22};
static struct mb_text again = {.max_size = 1u << 22};
static struct mb_text text = {.max_size = 1u << 24};

static void restart(void)
{
    if (scratch.arena.more == NULL)
        mb_scratch_init(&scratch, SCRATCH_SIZE);
    mb_scratch_reset(&scratch);
    mb_text_clear(&written);
    mb_text_clear(&again);
    mb_text_clear(&text);
}

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    struct generator generator;
    struct mb_value value;

    if (index == SEEDS_COUNT)
        return MB_FUZZ_NO_SEED;
    restart();
    generator_seed(&generator, index, &scratch);
    for (unsigned i = 0; i < 3; i++) {
        value = generate_value(&generator, 3);
        mb_types_write(&written, &value);
    }
    MB_FUZZ_CHECK(!written.failed && written.size <= size);
    memcpy(data, written.data, written.size);
    return written.size;
}

static void check_written(const struct mb_value *value)
{
    struct mb_types_reader reader;
    struct mb_value copy;

    mb_text_clear(&written);
    mb_types_write(&written, value);
    MB_FUZZ_CHECK(!written.failed);
    reader =
        (struct mb_types_reader){.data = (const unsigned char *)written.data, .size = written.size};
    MB_FUZZ_CHECK(mb_types_read(&reader, &scratch.arena, &copy) == MB_OK);
    MB_FUZZ_CHECK(reader.at == written.size);
    MB_FUZZ_CHECK(mb_value_equal(value, &copy));
    mb_text_clear(&again);
    mb_types_write(&again, &copy);
    MB_FUZZ_CHECK(again.size == written.size &&
                  memcmp(again.data, written.data, written.size) == 0);
}

static void check_text(const struct mb_value *value)
{
    mb_text_clear(&text);
    mb_text_value(&text, value, NULL);
    mb_text_clear(&text);
    mb_text_json(&text, value);
    if (text.failed)
        return;
    MB_FUZZ_CHECK(text.size > 0);
    MB_FUZZ_CHECK(mb_utf8_valid((struct mb_slice){text.data, text.size}));
    for (size_t i = 0; i < text.size; i++)
        MB_FUZZ_CHECK((unsigned char)text.data[i] >= ' ');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mb_types_reader reader = {.data = data, .size = size};
    struct mb_types_reader skipper = {.data = data, .size = size};

    restart();
    while (reader.at < size) {
        size_t before = reader.at;
        struct mb_value value;
        enum mb_status status = mb_types_read(&reader, &scratch.arena, &value);

        MB_FUZZ_CHECK(mb_types_skip(&skipper) == status);
        MB_FUZZ_CHECK(reader.at == skipper.at);
        if (status != MB_OK) {
            MB_FUZZ_CHECK(status == MB_REJECTED && reader.at == before);
            return 0;
        }
        MB_FUZZ_CHECK(reader.at > before && reader.at <= size);
        check_written(&value);
        check_text(&value);
    }
    return 0;
}
