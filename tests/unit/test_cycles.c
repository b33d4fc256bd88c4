/* SPDX-License-Identifier: Apache-2.0 */
/* Routes that feed each other: what is refused, what is warned of, what is let through. */
#include "core/config/model.h"
#include "core/runtime/registry.h"
#include "fake_backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct found {
    size_t errors;
    size_t warnings;
    unsigned line; /* of the first */
    char text[1024];
};

/* Routes over the endpoints f (and, with another user, f2) and g; each begins in line 4 + index. */
static struct found check(const char *const *routes, size_t count)
{
    char path[] = "/tmp/mbridge-cycles-XXXXXX";
    struct mb_registry *registry = NULL;
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    struct found found = {0};
    struct mb_error err;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    dprintf(fd, "endpoints = { f = { backend = \"fake\"; brokers = \"one\"; };\n"
                "  f2 = { backend = \"fake\"; brokers = \"one\"; username = \"u\"; };\n"
                "  g = { backend = \"fake\"; brokers = \"two\"; }; }; routes = (\n");
    for (size_t i = 0; i < count; i++)
        dprintf(fd, "{ name = \"r%zu\"; %s }%s\n", i, routes[i], i + 1 < count ? "," : "");
    dprintf(fd, ");\n");
    close(fd);
    assert_int_equal(mb_registry_create(&registry), MB_OK);
    assert_int_equal(mb_registry_add(registry, &fake_backend, &err), MB_OK);
    (void)mb_config_load(path, registry, &config, &diagnostics);
    unlink(path);
    found.errors = diagnostics.errors;
    found.warnings = diagnostics.count - diagnostics.errors;
    if (diagnostics.count > 0) {
        found.line = diagnostics.items[0].line;
        snprintf(found.text, sizeof found.text, "%s", diagnostics.items[0].text);
    }
    mb_diagnostics_release(&diagnostics);
    mb_config_destroy(config);
    mb_registry_destroy(registry);
    return found;
}

#define CHECK(...)                                                                                 \
    check((const char *const[]){__VA_ARGS__},                                                      \
          sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))
#define FROM(endpoint, topic) "from = { endpoint = \"" endpoint "\"; topic = \"" topic "\"; };"
#define TO(endpoint, topic)   "to = { endpoint = \"" endpoint "\"; topic = \"" topic "\"; };"
#define ALLOWED               "allow_cycle = true;"

static void two_routes_that_feed_each_other_are_refused(void **state)
{
    struct found found = CHECK(FROM("f", "a") TO("g", "b"), FROM("g", "b") TO("f", "a"));

    (void)state;
    assert_int_equal(found.errors, 1);
    assert_int_equal(found.line, 4);
    assert_non_null(strstr(found.text, "\"r0\" (line 4) writes \"b\""));
    assert_non_null(strstr(found.text, "\"r1\" (line 5) writes \"a\""));
    assert_non_null(strstr(found.text, "allow_cycle = true"));
}

static void a_longer_way_round_is_found(void **state)
{
    struct found found = CHECK(FROM("f", "a") TO("g", "b"), FROM("g", "b") TO("g", "c"),
                               FROM("g", "x") TO("f", "y"), FROM("g", "c") TO("f", "a"));

    (void)state;
    assert_int_equal(found.errors, 1);
    assert_non_null(strstr(found.text, "\"r3\" (line 7) writes \"a\""));
    assert_null(strstr(found.text, "\"r2\""));
}

static void another_user_of_the_same_broker_is_the_same(void **state)
{
    struct found found = CHECK(FROM("f", "a") TO("g", "b"), FROM("g", "b") TO("f2", "a"));

    (void)state;
    assert_int_equal(found.errors, 1);
}

static void other_streams_and_other_brokers_are_no_circle(void **state)
{
    struct found found = CHECK(FROM("f", "a") TO("g", "b"), FROM("g", "b") TO("f", "c"),
                               FROM("g", "a") TO("f", "b"));

    (void)state;
    assert_int_equal(found.errors + found.warnings, 0);
}

static void all_of_them_have_to_allow_it(void **state)
{
    (void)state;
    assert_int_equal(CHECK(FROM("f", "a") TO("g", "b") ALLOWED, FROM("g", "b") TO("f", "a")).errors,
                     1);
    assert_int_equal(
        CHECK(FROM("f", "a") TO("g", "b") ALLOWED, FROM("g", "b") TO("f", "a") ALLOWED).errors, 0);
}

static void it_cannot_be_allowed_without_paths(void **state)
{
    struct found found = CHECK(FROM("f", "a") TO("g", "b") ALLOWED "provenance = \"never\";");

    (void)state;
    assert_int_equal(found.errors, 1);
    assert_non_null(strstr(found.text, "allow_cycle = true needs the path"));
}

static void a_pattern_that_reads_what_is_written_is_refused(void **state)
{
    (void)state;
    assert_int_equal(CHECK(FROM("f", "^shop\\\\..*") TO("f", "shop.all")).errors, 1);
    assert_int_equal(CHECK(FROM("f", "^shop\\\\..*") TO("f", "all")).errors, 0);
    assert_int_equal(
        CHECK("from = { endpoint = \"f\"; topic = \"^shop\\\\..*\"; exclude = \"*.all\"; "
              "};" TO("f", "shop.all"))
            .errors,
        0);
}

static void a_template_may_close_a_circle(void **state)
{
    struct found found =
        CHECK(FROM("f", "^a.*") TO("g", "${stream}"), FROM("g", "^a.*") TO("f", "${stream}"));

    (void)state;
    assert_int_equal(found.errors, 0);
    assert_int_equal(found.warnings, 1);
    assert_non_null(strstr(found.text, "may go round"));
    found = CHECK(FROM("f", "^a\\\\..*") TO("f", "b.${stream}"));
    assert_int_equal(found.warnings, 0);
    found = CHECK(FROM("f", "orders") TO("f", "orders.${header.region}"));
    assert_int_equal(found.warnings, 0);
    found = CHECK(FROM("f", "orders.eu") TO("f", "orders.${header.region}"));
    assert_int_equal(found.warnings, 1);
    found = CHECK(FROM("f", "^ab*c") TO("f", "ac${stream}"));
    assert_int_equal(found.warnings, 1);
}

static void dead_letters_are_no_input_of_a_pattern(void **state)
{
    struct found found =
        CHECK(FROM("f", "^shop.*") TO("g", "b") "dead_letter = { endpoint = \"f\"; topic = "
                                                "\"shop.dead\"; };");

    (void)state;
    assert_int_equal(found.errors + found.warnings, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_routes_that_feed_each_other_are_refused),
        cmocka_unit_test(a_longer_way_round_is_found),
        cmocka_unit_test(another_user_of_the_same_broker_is_the_same),
        cmocka_unit_test(other_streams_and_other_brokers_are_no_circle),
        cmocka_unit_test(all_of_them_have_to_allow_it),
        cmocka_unit_test(it_cannot_be_allowed_without_paths),
        cmocka_unit_test(a_pattern_that_reads_what_is_written_is_refused),
        cmocka_unit_test(a_template_may_close_a_circle),
        cmocka_unit_test(dead_letters_are_no_input_of_a_pattern),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
