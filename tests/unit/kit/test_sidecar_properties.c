/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for every message and every form that a platform may give it, by seeded generation. */
#include "generate.h"

#include "kit/field.h"
#include "kit/sidecar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROUNDS       10000u
#define SIDECAR_MAX  (1u << 20)
#define FIELDS_COUNT 20u

struct round {
    struct mb_scratch scratch;
    struct mb_text sidecar;
    struct generator generator;
    struct mb_message message;
    struct mb_message natural;
    struct mb_message restored;
    uint64_t lost;
    uint64_t seed;
};

static int setup(void **state)
{
    struct round *round = calloc(1, sizeof *round);

    if (round == NULL)
        return -1;
    mb_scratch_init(&round->scratch, 64u << 20);
    round->sidecar.max_size = SIDECAR_MAX;
    *state = round;
    return 0;
}

static int teardown(void **state)
{
    struct round *round = *state;

    mb_scratch_release(&round->scratch);
    mb_text_release(&round->sidecar);
    free(round);
    return 0;
}

static void begin(struct round *round, uint64_t seed)
{
    mb_scratch_reset(&round->scratch);
    mb_text_clear(&round->sidecar);
    generator_seed(&round->generator, seed, &round->scratch);
    generate_message(&round->generator, &round->message);
    round->seed = seed;
}

static void write_sidecar(struct round *round, size_t size_max)
{
    assert_int_equal(
        mb_sidecar_write(&round->message, &round->natural, size_max, &round->sidecar, &round->lost),
        MB_OK);
    assert_true(round->sidecar.size <= size_max);
    assert_false(round->sidecar.failed);
}

/* Restores what came back: edited is the natural message as somebody left it. */
static void restore(struct round *round, const struct mb_message *edited)
{
    struct mb_message read = *edited;
    bool malformed = true;

    if (round->sidecar.size > 0)
        read.sidecar = (struct mb_slice){round->sidecar.data, round->sidecar.size};
    assert_int_equal(mb_sidecar_restore(&read, &round->scratch.arena, &round->restored, &malformed),
                     MB_OK);
    assert_false(malformed);
    assert_null(round->restored.sidecar.data);
}

static void check(const struct round *round, uint64_t difference)
{
    if (difference != 0)
        fail_msg("seed %llu: differs in %#llx", (unsigned long long)round->seed,
                 (unsigned long long)difference);
}

static void test_restore_undoes_projection(void **state)
{
    struct round *round = *state;

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        begin(round, seed);
        generate_natural(&round->generator, &round->message, &round->natural);
        write_sidecar(round, SIDECAR_MAX);
        assert_true(round->lost == 0);
        restore(round, &round->natural);
        check(round, mb_message_difference(&round->message, &round->restored));
        assert_true((round->sidecar.size == 0) ==
                    (mb_message_difference(&round->message, &round->natural) == 0));
    }
}

/* Any message can be explained by any other one. */
static void test_restore_from_a_stranger(void **state)
{
    struct round *round = *state;

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        begin(round, seed);
        generate_message(&round->generator, &round->natural);
        write_sidecar(round, SIDECAR_MAX);
        assert_true(round->lost == 0);
        restore(round, &round->natural);
        check(round, mb_message_difference(&round->message, &round->restored));
    }
}

static void test_what_does_not_fit_is_named(void **state)
{
    struct round *round = *state;

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        uint64_t difference;

        begin(round, seed);
        generate_natural(&round->generator, &round->message, &round->natural);
        write_sidecar(round, generator_below(&round->generator, 256));
        restore(round, &round->natural);
        difference = mb_message_difference(&round->message, &round->restored);
        check(round, difference & ~round->lost);
        check(round, round->lost & ~mb_message_difference(&round->message, &round->natural) &
                         ~MB_LOST_HEADERS);
    }
}

static void test_an_edited_property_wins(void **state)
{
    struct round *round = *state;

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        unsigned field;
        uint64_t bit;
        struct mb_message edited;

        begin(round, seed);
        generate_natural(&round->generator, &round->message, &round->natural);
        write_sidecar(round, SIDECAR_MAX);
        field = generator_below(&round->generator, FIELDS_COUNT);
        bit = UINT64_C(1) << field;
        edited = round->natural;
        assert_true(mb_properties_own(&edited, &round->scratch.arena));
        if ((edited.present & bit) != 0 && generator_one_in(&round->generator, 4))
            edited.present &= ~(uint32_t)bit;
        else
            generate_field(&round->generator, &edited, field);
        if (mb_message_difference(&edited, &round->natural) == 0)
            continue;
        restore(round, &edited);
        check(round, mb_message_difference(&edited, &round->restored) & bit);
        /* A header that showed it, or that it shows, may have to stay. */
        check(round,
              mb_message_difference(&round->message, &round->restored) & ~(bit | MB_LOST_HEADERS));
    }
}

static void test_an_edited_body_wins(void **state)
{
    struct round *round = *state;

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct mb_message edited;

        begin(round, seed);
        generate_natural(&round->generator, &round->message, &round->natural);
        write_sidecar(round, SIDECAR_MAX);
        edited = round->natural;
        generate_body(&round->generator, &edited);
        if ((mb_message_difference(&edited, &round->natural) & MB_LOST_BODY) == 0 ||
            (edited.body_kind == MB_BODY_VALUE && edited.body_value.as.bytes.size == 0) ||
            edited.body.size == 0)
            continue; /* the same bytes as another type are no edit */
        restore(round, &edited);
        if (mb_slice_equal(edited.body, round->natural.body))
            continue;
        check(round, mb_message_difference(&edited, &round->restored) & MB_LOST_BODY);
        check(round, mb_message_difference(&round->message, &round->restored) & ~MB_LOST_BODY);
    }
}

static bool is_named(const struct mb_header *header, struct mb_slice name)
{
    return mb_slice_equal(header->name, name);
}

static uint32_t count_named(const struct mb_message *message, struct mb_slice name)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < message->headers_count; i++)
        count += is_named(&message->headers[i], name);
    return count;
}

/* Takes all headers of a name out of a message. */
static uint32_t take_out(struct round *round, struct mb_message *message, struct mb_slice name,
                         struct mb_header *ret_last)
{
    struct mb_header *headers = generate_headers_copy(&round->generator, message, 0);
    uint32_t count = 0;
    uint32_t taken = 0;

    for (uint32_t i = 0; i < message->headers_count; i++) {
        if (is_named(&headers[i], name)) {
            *ret_last = headers[i];
            taken++;
        } else {
            headers[count++] = headers[i];
        }
    }
    message->headers = headers;
    message->headers_count = count;
    return taken;
}

static void test_a_brokers_header_stays(void **state)
{
    struct round *round = *state;
    const struct mb_header added = {
        .name = MB_SLICE_LITERAL("x-of-the-broker"),
        .name_type = MB_STRING,
        .value = {.type = MB_I64, .as.i = 17},
    };

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct mb_message edited;
        struct mb_header *headers;
        struct mb_header found;
        uint32_t at;

        begin(round, seed);
        generate_natural(&round->generator, &round->message, &round->natural);
        write_sidecar(round, SIDECAR_MAX);
        edited = round->natural;
        headers = generate_headers_copy(&round->generator, &edited, 1);
        at = generator_below(&round->generator, edited.headers_count + 1);
        memmove(headers + at + 1, headers + at, (edited.headers_count - at) * sizeof *headers);
        headers[at] = added;
        headers[at].section = (uint8_t)generator_below(&round->generator, 3);
        edited.headers = headers;
        edited.headers_count++;
        restore(round, &edited);
        assert_int_equal(take_out(round, &round->restored, added.name, &found), 1);
        assert_int_equal(found.section, headers[at].section);
        assert_int_equal(found.value.as.i, 17);
        check(round, mb_message_difference(&round->message, &round->restored));
    }
}

/* Of headers with a name of their own: what was written there later is there in the end. */
static void test_an_edited_header_wins(void **state)
{
    struct round *round = *state;
    uint32_t tried = 0;

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct mb_message edited;
        struct mb_header *headers;
        struct mb_header found;
        struct mb_header *header;

        begin(round, seed);
        generate_natural(&round->generator, &round->message, &round->natural);
        write_sidecar(round, SIDECAR_MAX);
        if (round->natural.headers_count == 0)
            continue;
        edited = round->natural;
        headers = generate_headers_copy(&round->generator, &edited, 0);
        header = &headers[generator_below(&round->generator, edited.headers_count)];
        if (count_named(&edited, header->name) != 1 ||
            count_named(&round->message, header->name) > 1)
            continue;
        header->value =
            (struct mb_value){.type = MB_STRING, .as.bytes = MB_SLICE_LITERAL("somebody was here")};
        edited.headers = headers;
        restore(round, &edited);
        assert_true(take_out(round, &round->restored, header->name, &found) >= 1);
        assert_int_equal(found.value.type, MB_STRING);
        assert_true(mb_slice_equal(found.value.as.bytes, header->value.as.bytes));
        tried++;
        /* All others are as they were. */
        take_out(round, &round->message, header->name, &found);
        check(round, mb_message_difference(&round->message, &round->restored) &
                         (MB_LOST_HEADERS | MB_LOST_ANNOTATIONS | MB_LOST_FOOTER));
    }
    assert_true(tried > ROUNDS / 4);
}

static void test_a_removed_header_stays_away(void **state)
{
    struct round *round = *state;
    uint32_t tried = 0;

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct mb_message edited;
        struct mb_header found;
        struct mb_slice name;

        begin(round, seed);
        generate_natural(&round->generator, &round->message, &round->natural);
        write_sidecar(round, SIDECAR_MAX);
        if (round->natural.headers_count == 0)
            continue;
        edited = round->natural;
        name = edited.headers[generator_below(&round->generator, edited.headers_count)].name;
        if (count_named(&edited, name) != 1 || count_named(&round->message, name) > 1)
            continue;
        take_out(round, &edited, name, &found);
        restore(round, &edited);
        if (found.section == MB_SECTION_APPLICATION)
            tried++;
        assert_int_equal(take_out(round, &round->restored, name, &found), 0);
        /* What stood behind it may stand at the end now, but it is all there. */
        take_out(round, &round->message, name, &found);
        assert_int_equal(round->message.headers_count, round->restored.headers_count);
    }
    assert_true(tried > ROUNDS / 8);
}

/* Cut, or with a byte changed: applied whole or not at all, and never more than is there. */
static void test_damaged_sidecars(void **state)
{
    struct round *round = *state;
    uint32_t refused = 0;

    for (uint64_t seed = 1; seed <= ROUNDS / 4; seed++) {
        unsigned char *exact;
        size_t size;
        bool malformed;
        struct mb_message read;

        begin(round, seed);
        generate_natural(&round->generator, &round->message, &round->natural);
        write_sidecar(round, SIDECAR_MAX);
        for (unsigned i = 0; round->sidecar.size > 0 && i < 8; i++) {
            uint32_t at = generator_below(&round->generator, (uint32_t)round->sidecar.size);

            size = i < 4 ? at : round->sidecar.size;
            exact = malloc(size + 1);
            assert_non_null(exact);
            memcpy(exact + 1, round->sidecar.data, size);
            if (i >= 4)
                exact[1 + at] ^= (unsigned char)(1u << generator_below(&round->generator, 8));
            read = round->natural;
            read.sidecar = (struct mb_slice){exact + 1, size};
            assert_int_equal(
                mb_sidecar_restore(&read, &round->scratch.arena, &round->restored, &malformed),
                MB_OK);
            if (malformed) {
                refused++;
                check(round, mb_message_difference(&round->natural, &round->restored));
                assert_ptr_equal(round->restored.headers, round->natural.headers);
            }
            free(exact);
        }
    }
    assert_true(refused > ROUNDS / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restore_undoes_projection),
        cmocka_unit_test(test_restore_from_a_stranger),
        cmocka_unit_test(test_what_does_not_fit_is_named),
        cmocka_unit_test(test_an_edited_property_wins),
        cmocka_unit_test(test_an_edited_body_wins),
        cmocka_unit_test(test_a_brokers_header_stays),
        cmocka_unit_test(test_an_edited_header_wins),
        cmocka_unit_test(test_a_removed_header_stays_away),
        cmocka_unit_test(test_damaged_sidecars),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
