/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/names.h"

#include "kit/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static _Alignas(8) unsigned char memory[16384];
static struct mb_arena arena;

static const struct mb_origin origin = {
    .struct_size = sizeof origin,
    .partition = 12,
    .platform = {"kafka", 5},
    .endpoint = {"events", 6},
    .stream = {"orders", 6},
};

static const struct mb_header headers[] = {
    {.name = {"region", 6}, .value = {.type = MB_STRING, .as.bytes = {"north", 5}}},
    {.name = {"n", 1}, .value = {.type = MB_I32, .as.i = -7}},
    {.name = {"null", 4}, .value = {.type = MB_NULL}},
    {.name = {"empty", 5}, .value = {.type = MB_STRING, .as.bytes = {"", 0}}},
    {.name = {"nul", 3}, .value = {.type = MB_BINARY, .as.bytes = {"a\0b", 3}}},
    {.name = {"twice", 5}, .value = {.type = MB_STRING, .as.bytes = {"first", 5}}},
    {.name = {"twice", 5}, .value = {.type = MB_STRING, .as.bytes = {"last", 4}}},
    {.name = {"a.b-c", 5}, .value = {.type = MB_SYMBOL, .as.bytes = {"dotted", 6}}},
    {.name = {"note", 4},
     .value = {.type = MB_STRING, .as.bytes = {"x", 1}},
     .section = MB_SECTION_MESSAGE_ANNOTATIONS},
    {.name = {"flag", 4}, .value = {.type = MB_BOOL, .as.b = true}},
};

static const struct mb_message message = {
    .struct_size = sizeof message,
    .present = MB_HAS_KEY | MB_HAS_ROUTING_KEY,
    .origin = &origin,
    .key = {"k1", 2},
    .properties = &(struct mb_properties){.routing_key = {"eu.de", 5}, .subject = {"absent", 6}},
    .headers = headers,
    .headers_count = sizeof headers / sizeof headers[0],
};

static const struct mb_matches matches = {.groups = {{"shop.eu", 7}, {"eu", 2}}};

static void *no_more(struct mb_arena *empty, size_t size)
{
    (void)empty;
    (void)size;
    return NULL;
}

static int set_up(void **state)
{
    (void)state;
    memset(memory, 0xAA, sizeof memory);
    arena = (struct mb_arena){memory, memory + sizeof memory, no_more};
    return 0;
}

static struct mb_template *compiled(const char *text)
{
    struct mb_template *template = NULL;
    struct mb_error err;

    mb_error_clear(&err);
    if (mb_template_create(text, &template, &err) != MB_OK)
        fail_msg("%s: %s", text, err.text);
    return template;
}

static void renders(const char *text, const char *expected)
{
    struct mb_template *template = compiled(text);
    struct mb_slice name;
    struct mb_error err;

    mb_error_clear(&err);
    if (mb_template_render(template, &message, &matches, &arena, &name, &err) != MB_OK)
        fail_msg("%s: %s", text, err.text);
    assert_int_equal(name.size, strlen(expected));
    assert_string_equal(name.data, expected); /* terminated behind its size */
    mb_template_destroy(template);
}

static void rejects_message(const struct mb_message *about, const char *text, const char *because)
{
    struct mb_template *template = compiled(text);
    struct mb_slice name;
    struct mb_error err;

    mb_error_clear(&err);
    assert_int_equal(mb_template_render(template, about, NULL, &arena, &name, &err), MB_REJECTED);
    assert_int_equal(err.status, MB_REJECTED);
    assert_int_equal(err.cause, MB_CAUSE_MESSAGE);
    assert_string_equal(err.text, because);
    mb_template_destroy(template);
}

static void rejects(const char *text, const char *because)
{
    rejects_message(&message, text, because);
}

static void invalid(const char *text, const char *because)
{
    struct mb_template *template = NULL;
    struct mb_error err;

    mb_error_clear(&err);
    assert_int_equal(mb_template_create(text, &template, &err), MB_INVALID);
    assert_null(template);
    if (strstr(err.text, because) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", text, err.text, because);
}

static void test_fixed(void **state)
{
    static const char *const fixed[] = {"", "orders", "a$b", "a$", "{x}", "a}b", "$$"};
    struct mb_template *templated = compiled("${key}");

    (void)state;
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        struct mb_template *template = compiled(fixed[i]);
        struct mb_slice first;
        struct mb_slice second;
        struct mb_error err;

        assert_true(mb_template_is_fixed(template));
        assert_int_equal(mb_template_render(template, &message, &matches, &arena, &first, &err),
                         MB_OK);
        assert_int_equal(mb_template_render(template, &message, &matches, &arena, &second, &err),
                         MB_OK);
        assert_string_equal(first.data, fixed[i]);
        assert_int_equal(first.size, strlen(fixed[i]));
        assert_ptr_equal(first.data, second.data);
        assert_ptr_equal(arena.at, memory);
        mb_template_destroy(template);
    }
    assert_false(mb_template_is_fixed(templated));
    mb_template_destroy(templated);
    mb_template_destroy(NULL);
}

static void test_renders(void **state)
{
    (void)state;
    renders("${stream}", "orders");
    renders("${endpoint}:${stream}", "events:orders");
    renders("p${partition}/${partition}", "p12/12");
    renders("${key}", "k1");
    renders("x.${routing_key}.y", "x.eu.de.y");
    renders("orders.${header.region}", "orders.north");
    renders("${header.a.b-c}", "dotted");
    renders("${match.1}.${match.0}", "eu.shop.eu");
    renders("${match.2:-none}", "none");
    renders("${header.twice}", "last");
    renders("n${header.n}", "n-7");
    renders("${header.flag}", "true");
}

static void test_defaults(void **state)
{
    (void)state;
    renders("${header.region:-south}", "north");
    renders("o.${header.none:-south}", "o.south");
    renders("o.${header.null:-south}", "o.south");
    renders("o.${header.empty:-a:-b}", "o.a:-b");
    renders("o${header.none:-}", "o");
    renders("${subject:-none}", "none");
}

static void test_literal_braces(void **state)
{
    (void)state;
    renders("a$${key}b", "a${key}b");
    renders("$${${key}}", "${k1}");
    renders("$$x${key}$", "$$xk1$");
}

static void test_missing_values(void **state)
{
    struct mb_message no_partition = message;
    struct mb_message no_origin = message;
    struct mb_message null_key = message;
    struct mb_origin queue = origin;

    (void)state;
    queue.partition = -1;
    no_partition.origin = &queue;
    no_origin.origin = NULL;
    null_key.key = MB_SLICE_NULL;
    rejects("a${subject}", "subject is missing");
    rejects("a${match.2}", "group 2 of the source's pattern is missing");
    rejects("a${header.none}", "header \"none\" is missing");
    rejects("a${header.null}", "header \"null\" is missing");
    rejects("a${header.empty}", "header \"empty\" is missing");
    rejects("a${header.note}", "header \"note\" is missing");
    rejects("a${header.Region}", "header \"Region\" is missing");
    rejects("a${header.nul}", "header \"nul\" holds a NUL, which no name may have");
    rejects("${header.none:-}", "header \"none\" is missing, and the name would be empty");
    rejects_message(&no_partition, "${partition}", "partition is missing");
    rejects_message(&no_origin, "${stream}", "stream is missing");
    rejects_message(&null_key, "${key}", "key is missing");
}

static void test_bounds(void **state)
{
    static char large[5000];
    struct mb_message with_large_key = message;
    struct mb_template *template = compiled("${key}${key}");
    struct mb_slice name;
    struct mb_error err;

    (void)state;
    memset(large, 'k', sizeof large);
    with_large_key.key = (struct mb_slice){large, 2048};
    assert_int_equal(mb_template_render(template, &with_large_key, NULL, &arena, &name, &err),
                     MB_OK);
    assert_int_equal(name.size, 4096);
    mb_template_destroy(template);
    with_large_key.key.size = 4097;
    rejects_message(&with_large_key, "${key}", "key makes the name longer than 4096 bytes");
    large[4999] = '\0';
    invalid(large, "longer");

    arena.end = arena.at;
    template = compiled("a${key}");
    assert_int_equal(mb_template_render(template, &message, &matches, &arena, &name, &err),
                     MB_NO_MEMORY);
    mb_template_destroy(template);
    template = compiled("${header.n}");
    assert_int_equal(mb_template_render(template, &message, &matches, &arena, &name, &err),
                     MB_NO_MEMORY);
    mb_template_destroy(template);
}

static void test_invalid(void **state)
{
    char many[33 * 6 + 1] = "";

    (void)state;
    invalid("a${key", "without }");
    invalid("${", "$${");
    invalid("${}", "unknown part ${}");
    invalid("${steam}", "did you mean ${stream}?");
    invalid("${routingkey}", "did you mean ${routing_key}?");
    invalid("${headers.region}", "did you mean ${header.NAME}?");
    invalid("${header.}", "did you mean ${header.NAME}?");
    invalid("${header}", "${header.NAME}");
    invalid("${quite something else}", "there are ${stream}");
    invalid("${match.x}", "${match.9}");
    invalid("${match.10}", "${match.9}");
    for (int i = 0; i < 33; i++)
        memcpy(many + 6 * i, "${key}", 7);
    invalid(many, "32 parts");
}

#define TEST(function) cmocka_unit_test_setup(function, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fixed),          TEST(test_renders),        TEST(test_defaults),
        TEST(test_literal_braces), TEST(test_missing_values), TEST(test_bounds),
        TEST(test_invalid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
