/* SPDX-License-Identifier: Apache-2.0 */
/* Any value as JSON: what is written is JSON, by a reader of its own, whatever the strings hold. */
#include "fuzz.h"
#include "generate.h"

#include "kit/text.h"
#include "kit/utf8.h"

#include <stdbool.h>

#define DEPTH_MAX 64

static struct mb_scratch scratch;
static struct mb_text text = {.max_size = 1u << 24};

struct reader {
    const char *at;
    const char *end;
};

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    if (index >= 64)
        return MB_FUZZ_NO_SEED;
    size = size < 256 ? size : 256;
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(index * 37 + i * (2 * index + 1));
    return size;
}

static bool next_is(struct reader *reader, char c)
{
    if (reader->at == reader->end || *reader->at != c)
        return false;
    reader->at++;
    return true;
}

static void read_string(struct reader *reader)
{
    MB_FUZZ_CHECK(next_is(reader, '"'));
    while (reader->at < reader->end && *reader->at != '"') {
        unsigned char c = (unsigned char)*reader->at++;

        MB_FUZZ_CHECK(c >= 0x20);
        if (c != '\\')
            continue;
        MB_FUZZ_CHECK(reader->at < reader->end);
        c = (unsigned char)*reader->at++;
        MB_FUZZ_CHECK(strchr("\"\\/bfnrtu", c) != NULL);
        for (int i = 0; c == 'u' && i < 4; i++) {
            MB_FUZZ_CHECK(reader->at < reader->end);
            MB_FUZZ_CHECK(strchr("0123456789abcdefABCDEF", *reader->at++) != NULL);
        }
    }
    MB_FUZZ_CHECK(next_is(reader, '"'));
}

static void read_word(struct reader *reader)
{
    size_t size = 0;
    const char *word = reader->at;
    char number[512]; /* a decimal has up to 255 places */
    char *rest;

    while (reader->at < reader->end && strchr(",]}: ", *reader->at) == NULL) {
        reader->at++;
        size++;
    }
    if ((size == 4 && (memcmp(word, "true", 4) == 0 || memcmp(word, "null", 4) == 0)) ||
        (size == 5 && memcmp(word, "false", 5) == 0))
        return;
    MB_FUZZ_CHECK(size > 0 && size < sizeof number);
    memcpy(number, word, size);
    number[size] = '\0';
    MB_FUZZ_CHECK(strspn(number, "0123456789+-.eE") == size);
    MB_FUZZ_CHECK(*number == '-' || (*number >= '0' && *number <= '9'));
    (void)strtod(number, &rest);
    MB_FUZZ_CHECK(*rest == '\0');
}

static void read_value(struct reader *reader, int depth)
{
    bool is_object;

    MB_FUZZ_CHECK(depth < DEPTH_MAX && reader->at < reader->end);
    if (*reader->at == '"') {
        read_string(reader);
        return;
    }
    is_object = next_is(reader, '{');
    if (!is_object && !next_is(reader, '[')) {
        read_word(reader);
        return;
    }
    if (next_is(reader, is_object ? '}' : ']'))
        return;
    do {
        if (is_object) {
            read_string(reader);
            MB_FUZZ_CHECK(next_is(reader, ':'));
        }
        read_value(reader, depth + 1);
    } while (next_is(reader, ','));
    MB_FUZZ_CHECK(next_is(reader, is_object ? '}' : ']'));
}

static void check_text(void)
{
    struct reader reader = {text.data, text.data + text.size};

    MB_FUZZ_CHECK(!text.failed && text.size > 0);
    MB_FUZZ_CHECK(mb_utf8_valid((struct mb_slice){text.data, text.size}));
    read_value(&reader, 0);
    MB_FUZZ_CHECK(reader.at == reader.end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct generator generator;
    struct mb_value value;

    if (scratch.arena.more == NULL)
        mb_scratch_init(&scratch, 64u << 20);
    mb_scratch_reset(&scratch);
    mb_text_clear(&text);
    generator_bytes(&generator, data, size, &scratch);
    value = generate_value(&generator, 5);
    mb_text_json(&text, &value);
    check_text();
    mb_text_clear(&text);
    mb_text_json_string(&text, (struct mb_slice){data, size});
    check_text();
    return 0;
}
