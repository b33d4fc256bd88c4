/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/steps.h"

#include <mbridge/sink.h>

#include "kit/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static _Alignas(8) unsigned char memory[8192];
static struct mb_arena arena;

static const struct mb_header headers[] = {
    {.name = {"region", 6}, .value = {.type = MB_STRING, .as.bytes = {"north", 5}}},
    {.name = {"n", 1}, .value = {.type = MB_I32, .as.i = 42}},
    {.name = {"null", 4}, .value = {.type = MB_NULL}},
    {.name = {"n", 1}, .value = {.type = MB_I32, .as.i = 43}},
    {.name = {"note", 4},
     .value = {.type = MB_STRING, .as.bytes = {"x", 1}},
     .section = MB_SECTION_MESSAGE_ANNOTATIONS},
};

static const struct mb_message original = {
    .struct_size = sizeof original,
    .headers = headers,
    .headers_count = 5,
    .raw_kind = MB_RAW_AMQP10_BARE,
    .raw = {"raw", 3},
};

static void *no_more(struct mb_arena *empty, size_t size)
{
    (void)empty;
    (void)size;
    return NULL;
}

static int set_up(void **state)
{
    (void)state;
    arena = (struct mb_arena){memory, memory + sizeof memory, no_more};
    return 0;
}

/* The struct of a step's options, filled through its rows as the core does; NULL ends the list of
 * names and values. A bool is given as "true". */
static void *options_of(const struct mb_step *step, const char *const *settings)
{
    unsigned char *options = calloc(1, step->options.struct_size);

    assert_non_null(options);
    for (; *settings != NULL; settings += 2) {
        bool known = false;

        for (size_t i = 0; i < step->options.count; i++) {
            const struct mb_option *row = &step->options.rows[i];

            if (strcmp(row->name, settings[0]) != 0)
                continue;
            known = true;
            if (row->type == MB_OPTION_BOOL)
                memcpy(options + row->offset, &(bool){strcmp(settings[1], "true") == 0},
                       sizeof(bool));
            else
                memcpy(options + row->offset, &settings[1], sizeof settings[1]);
        }
        assert_true(known);
    }
    return options;
}

/* What the core renders: the value of a header to be set. */
static const struct mb_slice *names_of(const char *const *settings)
{
    static struct mb_slice names[MB_NAMES_MAX];

    memset(names, 0, sizeof names);
    for (; settings[0] != NULL; settings += 2) {
        if (strcmp(settings[0], "value") == 0)
            names[0] = mb_slice_text(settings[1]);
    }
    return names;
}

#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static enum mb_verdict verdict_of(const char *name, struct mb_message *message,
                                  const char *const *settings, const char **ret_reason)
{
    const struct mb_step *step = mb_step_find(name);
    enum mb_verdict verdict = MB_KEEP;
    void *options;

    assert_non_null(step);
    options = options_of(step, settings);
    assert_int_equal(
        step->apply(options, names_of(settings), message, &arena, &verdict, ret_reason), MB_OK);
    free(options);
    return verdict;
}

static enum mb_verdict filtered(const char *const *settings)
{
    struct mb_message message = original;
    const char *reason = NULL;
    enum mb_verdict verdict = verdict_of("filter", &message, settings, &reason);

    assert_memory_equal(&message, &original, sizeof message);
    return verdict;
}

static void test_rows(void **state)
{
    size_t count = 0;

    (void)state;
    for (const struct mb_step *step; (step = mb_step_at(count)) != NULL; count++) {
        assert_ptr_equal(mb_step_find(step->name), step);
        assert_true(strlen(step->doc) > 0);
        assert_non_null(step->apply);
        for (size_t i = 0; i < step->options.count; i++) {
            assert_true(strlen(step->options.rows[i].doc) > 0);
            assert_true(step->options.rows[i].offset < step->options.struct_size);
        }
    }
    assert_int_equal(count, 3);
    assert_null(mb_step_at(count));
    assert_null(mb_step_at(SIZE_MAX));
    assert_null(mb_step_find("no-such"));
}

static void test_filter(void **state)
{
    (void)state;
    assert_int_equal(filtered(SETTINGS("header", "region")), MB_KEEP);
    assert_int_equal(filtered(SETTINGS("header", "null")), MB_KEEP);
    assert_int_equal(filtered(SETTINGS("header", "absent")), MB_DROP);
    assert_int_equal(filtered(SETTINGS("header", "note")), MB_DROP); /* an annotation */
    assert_int_equal(filtered(SETTINGS("header", "region", "negate", "true")), MB_DROP);
    assert_int_equal(filtered(SETTINGS("header", "absent", "negate", "true")), MB_KEEP);
}

static void test_filter_equals(void **state)
{
    (void)state;
    assert_int_equal(filtered(SETTINGS("header", "region", "equals", "north")), MB_KEEP);
    assert_int_equal(filtered(SETTINGS("header", "region", "equals", "nort")), MB_DROP);
    assert_int_equal(filtered(SETTINGS("header", "region", "equals", "")), MB_DROP);
    assert_int_equal(filtered(SETTINGS("header", "n", "equals", "42")), MB_KEEP);
    assert_int_equal(filtered(SETTINGS("header", "n", "equals", "43")), MB_KEEP);
    assert_int_equal(filtered(SETTINGS("header", "n", "equals", "4")), MB_DROP);
    assert_int_equal(filtered(SETTINGS("header", "n", "equals", "430")), MB_DROP);
    assert_int_equal(filtered(SETTINGS("header", "null", "equals", "")), MB_DROP);
    assert_int_equal(filtered(SETTINGS("header", "n", "equals", "42", "negate", "true")), MB_DROP);
}

static void test_set_header_replaces(void **state)
{
    struct mb_header before[5];
    struct mb_message message = original;
    const char *reason = NULL;

    (void)state;
    memcpy(before, headers, sizeof before);
    assert_int_equal(
        verdict_of("set-header", &message, SETTINGS("name", "n", "value", "new"), &reason),
        MB_KEEP);
    assert_memory_equal(before, headers, sizeof before); /* the shared array is as it was */
    assert_int_equal(message.headers_count, 4);
    assert_true(mb_slice_equal(message.headers[0].name, mb_slice_text("region")));
    assert_true(mb_slice_equal(message.headers[1].name, mb_slice_text("n")));
    assert_int_equal(message.headers[1].value.type, MB_STRING);
    assert_true(mb_slice_equal(message.headers[1].value.as.bytes, mb_slice_text("new")));
    assert_true(mb_slice_equal(message.headers[2].name, mb_slice_text("null")));
    assert_true(mb_slice_equal(message.headers[3].name, mb_slice_text("note")));
    assert_int_equal(message.raw_kind, MB_RAW_NONE);
    assert_null(message.raw.data);
}

static void test_set_header_appends(void **state)
{
    struct mb_message message = original;
    struct mb_message bare = {.struct_size = sizeof bare};
    const char *reason = NULL;

    (void)state;
    verdict_of("set-header", &message, SETTINGS("name", "note", "value", ""), &reason);
    assert_int_equal(message.headers_count, 6); /* the annotation of that name stays */
    assert_int_equal(message.headers[4].section, MB_SECTION_MESSAGE_ANNOTATIONS);
    assert_int_equal(message.headers[5].section, MB_SECTION_APPLICATION);
    assert_int_equal(message.headers[5].name_type, MB_STRING);
    assert_non_null(message.headers[5].value.as.bytes.data);
    assert_int_equal(message.headers[5].value.as.bytes.size, 0);
    verdict_of("set-header", &bare, SETTINGS("name", "a", "value", "\xFF"), &reason);
    assert_int_equal(bare.headers_count, 1);
    assert_int_equal(bare.headers[0].value.type, MB_BINARY);
}

static void test_require_header(void **state)
{
    struct mb_message message = original;
    const char *reason = NULL;

    (void)state;
    assert_int_equal(verdict_of("require-header", &message, SETTINGS("header", "n"), &reason),
                     MB_KEEP);
    assert_null(reason);
    assert_int_equal(verdict_of("require-header", &message, SETTINGS("header", "null"), &reason),
                     MB_REJECT);
    assert_string_equal(reason, "header-missing");
    assert_int_equal(verdict_of("require-header", &message, SETTINGS("header", "note"), &reason),
                     MB_REJECT);
}

static void test_memory_is_out(void **state)
{
    const struct mb_step *set = mb_step_find("set-header");
    const struct mb_step *filter = mb_step_find("filter");
    struct mb_message message = original;
    enum mb_verdict verdict = MB_KEEP;
    const char *reason = NULL;
    const struct mb_slice value = MB_SLICE_LITERAL("new");
    void *options = options_of(set, SETTINGS("name", "n", "value", "new"));

    (void)state;
    for (size_t room = 0; room < 16 + 6 * sizeof(struct mb_header); room += 8) {
        arena = (struct mb_arena){memory, memory + room, no_more};
        assert_int_equal(set->apply(options, &value, &message, &arena, &verdict, &reason),
                         MB_NO_MEMORY);
        assert_memory_equal(&message, &original, sizeof message);
    }
    free(options);
    options = options_of(filter, SETTINGS("header", "n", "equals", "43"));
    arena = (struct mb_arena){memory, memory, no_more};
    assert_int_equal(filter->apply(options, &value, &message, &arena, &verdict, &reason),
                     MB_NO_MEMORY);
    free(options);
}

#define TEST(function) cmocka_unit_test_setup(function, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rows),
        TEST(test_filter),
        TEST(test_filter_equals),
        TEST(test_set_header_replaces),
        TEST(test_set_header_appends),
        TEST(test_require_header),
        TEST(test_memory_is_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
