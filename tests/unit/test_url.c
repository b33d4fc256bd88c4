/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/model.h"
#include "core/runtime/registry.h"
#include "fake_backend.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static int set_up(void **state)
{
    struct mb_registry *registry;
    struct mb_error err;

    assert_int_equal(mb_registry_create(&registry), MB_OK);
    assert_int_equal(mb_registry_add(registry, &fake_backend, &err), MB_OK);
    assert_int_equal(mb_registry_add(registry, &fake_reader_backend, &err), MB_OK);
    *state = registry;
    return 0;
}

static int tear_down(void **state)
{
    mb_registry_destroy(*state);
    return 0;
}

static struct mb_config *model_of(struct mb_registry *registry, const char *from, const char *to)
{
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;

    if (mb_config_from_urls(from, to, registry, &config, &diagnostics) != MB_OK) {
        for (size_t i = 0; i < diagnostics.count; i++)
            print_message("%s\n", diagnostics.items[i].text);
    }
    assert_non_null(config);
    mb_diagnostics_release(&diagnostics);
    return config;
}

static void two_urls_are_a_route(void **state)
{
    struct mb_config *config = model_of(
        *state, "fake://u%40x:p%3Aw@a:1,b:2/orders?start=latest&prefetch=5&timeout=3s",
        "fakes://c/out.${key}?create=false&tls.ca=%2Fca.pem&properties=a%3D1&properties=b%3D2");
    const struct mb_config_route *route = &config->routes[0];
    const struct mb_settings *from = &route->from->endpoint->settings;
    const struct mb_settings *to = &route->to->endpoint->settings;
    struct mb_applied *applied;
    const struct fake_endpoint *endpoint;
    struct mb_error err;

    assert_int_equal(config->routes_count, 1);
    assert_null(config->path);
    assert_string_equal(config->bridge_name, "mbridge");
    assert_string_equal(route->name, "copy");
    assert_int_equal(route->from_count, 1);
    assert_int_equal(route->to_count, 1);
    assert_int_equal(route->on_reject, MB_REJECT_STOP);
    assert_int_equal(route->window_messages, 10000);
    assert_string_equal(mb_settings_text(from, "brokers"), "a:1,b:2");
    assert_string_equal(mb_settings_text(from, "username"), "u@x");
    assert_string_equal(mb_settings_text(from, "password"), "p:w");
    assert_string_equal(mb_settings_text(from, "timeout"), "3s");
    assert_string_equal(mb_settings_text(&route->from->settings, "topic"), "orders");
    assert_string_equal(mb_settings_text(&route->from->settings, "start"), "latest");
    assert_string_equal(mb_settings_text(&route->from->settings, "prefetch"), "5");
    assert_string_equal(mb_settings_text(&route->to->settings, "topic"), "out.${key}");
    assert_string_equal(mb_settings_text(to, "tls"), "true");
    assert_string_equal(mb_settings_text(to, "tls.ca"), "/ca.pem");
    assert_false(route->to->create);
    assert_int_equal(mb_settings_apply(to, true, &applied, &err), MB_OK);
    endpoint = mb_applied_struct(applied);
    assert_int_equal(endpoint->properties.count, 2);
    assert_string_equal(endpoint->properties.items[1], "b=2");
    assert_true(endpoint->tls.enabled);
    mb_applied_destroy(applied);
    mb_config_destroy(config);
}

static void a_uri_option_takes_the_whole(void **state)
{
    struct mb_config *config =
        model_of(*state, "fakeuri://u:p@a:1/path?topic=in", "fakeuri://u:p@a:1/path?topic=out");

    assert_string_equal(mb_settings_text(&config->endpoints[0]->settings, "brokers"),
                        "fakeuri://u:p@a:1/path");
    assert_string_equal(mb_settings_text(&config->routes[0].from->settings, "topic"), "in");
    mb_config_destroy(config);
}

static void group_of(void **state, const char *from, const char *to, char *buffer, size_t size)
{
    struct mb_config *config = model_of(*state, from, to);

    snprintf(buffer, size, "%s", config->routes[0].group);
    mb_config_destroy(config);
}

static void the_group_is_the_same_on_a_rerun(void **state)
{
    static const char *const others[][2] = {
        {"fake://u:p@a/in?prefetch=5", "fake://a/other"},
        {"fake://u:p@b/in?prefetch=5", "fake://a/out"},
        {"fake://v:p@a/in?prefetch=5", "fake://a/out"},
        {"fake://u:p@a/in2?prefetch=5", "fake://a/out"},
    };
    char group[64];
    char again[64];

    group_of(state, "fake://u:p@a/in?prefetch=5", "fake://a/out", group, sizeof group);
    assert_int_equal(strlen(group), strlen("mbridge.copy.") + 16);
    assert_memory_equal(group, "mbridge.copy.", strlen("mbridge.copy."));
    group_of(state, "fake://u:changed@a/in?prefetch=5", "fake://a/out", again, sizeof again);
    assert_string_equal(group, again);
    group_of(state, "fake://u@a/in?password=changed&prefetch=5", "fake://a/out?password=x", again,
             sizeof again);
    assert_string_equal(group, again);
    for (size_t i = 0; i < COUNT(others); i++) {
        group_of(state, others[i][0], others[i][1], again, sizeof again);
        assert_string_not_equal(group, again);
    }
    group_of(state, "fakeuri://u:p@a/x?topic=in", "fake://a/out", group, sizeof group);
    group_of(state, "fakeuri://u:q@a/x?topic=in", "fake://a/out", again, sizeof again);
    assert_string_equal(group, again);
}

static void mistakes_in_urls(void **state)
{
    static const struct {
        const char *from;
        const char *to;
        const char *expected;
    } cases[] = {
        {"fake://a/in?topik=x", "fake://a/out",
         "FROM: backend fake has no option \"topik\" (did "
         "you mean \"topic\"?)"},
        {"fake://a/in", "fake://a/out?tls.cert_file=x", "TO: backend fake has no option"},
        {"fake://a/in", "fake://a", "TO names no stream: it needs \"topic\""},
        {"fake:///in", "fake://a/out", "FROM lacks \"brokers\""},
        {"fake://a/in", "reader://a/out", "TO: backend reader cannot be a sink"},
        {"nothing://a/in", "fake://a/out", "FROM: "},
        {"in", "fake://a/out", "FROM: "},
        {"", "", "TO: "},
        {"fake://a/in?prefetch=0", "fake://a/out", "FROM: prefetch must be between 1 and 1000"},
        {"fake://a/in?prefetch=99999999999999999999", "fake://a/out", "too large"},
        {"fake://a/in?prefetch=1&prefetch=2", "fake://a/out",
         "FROM: option prefetch is given "
         "twice"},
        {"fake://a/in?topic=x", "fake://a/out", "FROM: option topic is given twice"},
        {"fake://a/in?endpoint=x", "fake://a/out", "FROM: backend fake has no option \"endpoint\""},
        {"fake://a/in", "fake://a/in", "messages would go round for ever"},
        {"fake://a/in", "fake://a/o.${x}", "TO: topic: "},
        {"fake://refused/in", "fake://a/out", "these brokers are refused"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct mb_diagnostics diagnostics;
        struct mb_config *config = NULL;
        bool found = false;

        assert_int_equal(
            mb_config_from_urls(cases[i].from, cases[i].to, *state, &config, &diagnostics),
            MB_INVALID);
        assert_null(config);
        for (size_t k = 0; k < diagnostics.count; k++) {
            found |= strstr(diagnostics.items[k].text, cases[i].expected) != NULL;
            assert_int_equal(diagnostics.items[k].line, 0);
        }
        if (!found)
            fail_msg("%s → %s: expected \"%s\", found \"%s\"", cases[i].from, cases[i].to,
                     cases[i].expected, diagnostics.count > 0 ? diagnostics.items[0].text : "");
        mb_diagnostics_release(&diagnostics);
    }
}

static void no_secret_is_told(void **state)
{
    static const char *const urls[] = {
        "fake://u:hunter2@a/in?topik=x",  "fake://u@a/in?password=hunter2&password=hunter2",
        "fake://u:hunter2@a:99999999/in", "fakx://u:hunter2@a/in",
        "fakeuri://u:hunter2@a/x",        "fake://u:hunter2@",
        "fake://u:hunter2@[a/in",
    };

    for (size_t i = 0; i < COUNT(urls); i++) {
        struct mb_diagnostics diagnostics;
        struct mb_config *config = NULL;

        (void)mb_config_from_urls(urls[i], urls[i], *state, &config, &diagnostics);
        for (size_t k = 0; k < diagnostics.count; k++) {
            if (strstr(diagnostics.items[k].text, "hunter2") != NULL)
                fail_msg("%s", diagnostics.items[k].text);
        }
        mb_diagnostics_release(&diagnostics);
        mb_config_destroy(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_urls_are_a_route, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_uri_option_takes_the_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_group_is_the_same_on_a_rerun, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mistakes_in_urls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_secret_is_told, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
