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

static uint64_t next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static struct mb_header strange_header(uint64_t *state)
{
    static const char *const names[] = {"key",         "body",  "_mbridge",     "_mbridge.path",
                                        "_mbridge.id", "other", "content-type", "_mbridge.else"};
    struct mb_header header = {.name = mb_slice_text(names[next(state) % 8]),
                               .name_type = MB_STRING,
                               .section = MB_SECTION_APPLICATION};

    switch (next(state) % 5) {
    case 0:
        header.value = (struct mb_value){.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("\xff")};
        break;
    case 1:
        header.value = (struct mb_value){.type = MB_STRING, .as.bytes = {"a\0b", 3}};
        break;
    case 2:
        header.value = (struct mb_value){.type = MB_NULL};
        break;
    default:
        header.value = (struct mb_value){.type = MB_STRING, .as.bytes = MB_SLICE_LITERAL("text")};
        break;
    }
    if (next(state) % 4 == 0) {
        header.section = MB_SECTION_MESSAGE_ANNOTATIONS;
        header.name = MB_SLICE_LITERAL(REDIS_ANNOTATION_ORDER);
        header.name_type = MB_SYMBOL;
        header.value = (struct mb_value){.type = MB_U64,
                                         .as.u = next(state) % 4 << 32 | (next(state) % 4 + 1)};
    }
    return header;
}

/* Names that mean something to this platform, in messages of others. */
static void test_strange_headers(void **state)
{
    static const char *const body_fields[] = {"body", "body", "key", "other"};
    static struct redis_round round;
    uint64_t dice = 1;

    (void)state;
    redis_round_init(&round);
    for (unsigned number = 0; number < MESSAGES; number++) {
        struct mb_header headers[4];
        struct mb_message message;
        const char *broken;

        memset(&message, 0, sizeof message);
        message.headers = headers;
        message.headers_count = (uint32_t)(next(&dice) % 5);
        for (uint32_t i = 0; i < message.headers_count; i++)
            headers[i] = strange_header(&dice);
        message.body_kind = next(&dice) % 8 == 0 ? MB_BODY_NULL : MB_BODY_BYTES;
        message.body = next(&dice) % 4 == 0 ? MB_SLICE_NULL : MB_SLICE_LITERAL("body");
        if (next(&dice) % 2 == 0) {
            message.present |= MB_HAS_KEY;
            message.key = MB_SLICE_LITERAL("a key");
        }
        round.body_field = mb_slice_text(body_fields[number % 4]);
        broken = redis_round_ways(&round, &message);
        if (broken != NULL)
            fail_msg("message %u: broken: %s", number, broken);
    }
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
        cmocka_unit_test(test_strange_headers),
        cmocka_unit_test(test_entries),
    };

    return cmocka_run_group_tests_name("redis_round", tests, NULL, NULL);
}
