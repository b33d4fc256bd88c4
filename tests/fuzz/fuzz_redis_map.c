/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map of Redis, and the reader of its protocol. The first byte chooses: an entry of any fields,
 * read, written again, and carried on as another platform's message; a message of the generator; or
 * bytes as a server might send them.
 */
#include "fuzz.h"

#include "tests/unit/kit/generate.h"
#include "tests/unit/redis/redis_round.h"

#define FIELDS_MAX 12u

static struct redis_round *the_round(void)
{
    static struct redis_round round;
    static bool ready;

    if (!ready)
        redis_round_init(&round);
    ready = true;
    return &round;
}

static struct mb_slice slice_of(struct mb_fuzz_input *input)
{
    uint8_t size = mb_fuzz_byte(input);
    struct mb_slice slice = {"", 0};

    if (size > 0)
        slice.data = mb_fuzz_bytes(input, size % 64, &slice.size);
    if (slice.size == 0)
        slice.data = "";
    return slice;
}

static void one_entry(struct mb_fuzz_input *input)
{
    static const char *const names[] = {"key",         "body",      "_mbridge",     "_mbridge.path",
                                        "_mbridge.id", "timestamp", "content-type", "message-id"};
    struct redis_field fields[FIELDS_MAX];
    struct redis_round *round = the_round();
    size_t count = 1 + mb_fuzz_byte(input) % FIELDS_MAX;
    struct mb_message message;
    struct mb_scratch kept;
    struct mb_scratch scratch;
    const char *broken;

    for (size_t i = 0; i < count; i++) {
        uint8_t choice = mb_fuzz_byte(input) % 16;

        fields[i].name = choice < 8 ? mb_slice_text(names[choice]) : slice_of(input);
        fields[i].value = slice_of(input);
    }
    broken = redis_round_entry(round, fields, count);
    mb_fuzz_check(broken == NULL, broken);
    /* What is read here has to outlive the scratch's next use. */
    mb_scratch_reset(&round->scratch);
    redis_round_read(round, fields, count, &message);
    kept = round->scratch;
    mb_scratch_init(&scratch, 64u << 20);
    round->scratch = scratch;
    broken = redis_round_trip(round, &message);
    mb_scratch_release(&round->scratch);
    round->scratch = kept;
    mb_fuzz_check(broken == NULL, broken);
}

static void one_message(struct mb_fuzz_input *input)
{
    static struct mb_scratch scratch;
    struct generator generator;
    struct mb_message message;
    const char *broken;

    if (scratch.size_max == 0)
        mb_scratch_init(&scratch, 64u << 20);
    mb_scratch_reset(&scratch);
    generator_bytes(&generator, input->at, input->left, &scratch);
    generate_message(&generator, &message);
    broken = redis_round_trip(the_round(), &message);
    mb_fuzz_check(broken == NULL, broken);
}

/* A token is never read beyond the input, and a reply that is there in part is not taken. */
static void one_reply(const struct mb_fuzz_input *input)
{
    struct redis_cursor cursor = {input->at, input->at, input->at + input->left, 0};
    struct redis_cursor part = cursor;
    enum redis_token_kind kind = REDIS_TOKEN_NONE;
    struct redis_token token;
    struct mb_position position;

    while (redis_reply_skip(&cursor, &kind))
        MB_FUZZ_CHECK(cursor.at <= cursor.end);
    MB_FUZZ_CHECK(cursor.need == 0 || cursor.need > (size_t)(cursor.end - cursor.at));
    do {
        kind = redis_token_next(&part, &token);
        MB_FUZZ_CHECK(part.at <= part.end);
        if (kind == REDIS_TOKEN_BULK) {
            const unsigned char *text = token.text.data;

            MB_FUZZ_CHECK(text >= input->at && text + token.text.size <= part.end);
            redis_id_parse(token.text, &position);
        }
    } while (kind != REDIS_TOKEN_NONE && kind != REDIS_TOKEN_BAD);
}

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    static const char entry[] = "\0\4\0\1k\1\3bod\5\00212\17\2ab\2cd";
    static const char reply[] =
        "\2*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$-1\r\n";

    if (index > 3 || size < 128)
        return MB_FUZZ_NO_SEED;
    if (index == 0) {
        memcpy(data, entry, sizeof entry);
        return sizeof entry;
    }
    if (index == 1) {
        memcpy(data, reply, sizeof reply);
        return sizeof reply;
    }
    memset(data, (int)(index - 1), 64);
    return 64;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mb_fuzz_input input = {data, size};

    switch (mb_fuzz_byte(&input) % 3) {
    case 0:
        one_entry(&input);
        break;
    case 1:
        one_message(&input);
        break;
    default:
        one_reply(&input);
        break;
    }
    return 0;
}
