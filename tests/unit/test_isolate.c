/* SPDX-License-Identifier: Apache-2.0 */
/* isolate_sinks: the runs that a route becomes, and that one dead sink holds up nobody else. */
#include "hand_broker.h"

#include "core/runtime/bridge.h"
#include "core/runtime/registry.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void each_sink_has_a_group_of_its_own(void **state)
{
    struct hand_bench bench;
    const struct mb_config_route *route;

    (void)state;
    hand_begin();
    hand_open(&bench, "isolate_sinks = true;"
                      "from = ( { endpoint = \"a\"; stream = \"s\"; },"
                      "         { endpoint = \"c\"; stream = \"s\"; group = \"mine\"; } );"
                      "to = ( { endpoint = \"b\"; stream = \"d\"; },"
                      "       { endpoint = \"named\"; stream = \"e\"; number = 1; },"
                      "       { endpoint = \"b\"; stream = \"f\"; number = 2; } );");
    route = &bench.config->routes[0];
    assert_non_null(route->isolated);
    assert_string_equal(route->isolated[0].group, "mbridge.t.r.1"); /* b is there twice */
    assert_string_equal(route->isolated[1].group, "mbridge.t.r.named");
    assert_string_equal(route->isolated[2].group, "mbridge.t.r.3");
    assert_null(mb_settings_text(&route->isolated[1].from[0].settings, "group"));
    assert_string_equal(mb_settings_text(&route->isolated[1].from[1].settings, "group"),
                        "mine.named");
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(route->isolated[i].name, "r");
        assert_int_equal(route->isolated[i].to_count, 1);
        assert_ptr_equal(route->isolated[i].to, &route->to[i]);
        assert_int_equal(route->isolated[i].sinks_before, i);
        assert_int_equal(route->isolated[i].from_count, 2);
    }
    hand_close(&bench);
}

static struct mb_config *load(struct mb_registry *registry, const char *text)
{
    char path[] = "/tmp/mbridge-isolate-XXXXXX";
    struct mb_diagnostics diagnostics = {0};
    struct mb_config *config = NULL;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    (void)mb_config_load(path, registry, &config, &diagnostics);
    unlink(path);
    for (size_t i = 0; i < diagnostics.count; i++)
        print_error("%s\n", diagnostics.items[i].text);
    mb_diagnostics_release(&diagnostics);
    return config;
}

static void a_sink_that_stands_still_holds_up_itself(void **state)
{
    /* The queue takes ten messages and no more. */
    static const char text[] =
        "bridge = { stop_timeout = \"100ms\"; };\n"
        "endpoints = { m = { backend = \"memory\"; }; n = { backend = \"memory\"; }; };\n"
        "routes = ( { name = \"fill\";\n"
        "  from = { endpoint = \"m\"; generate = { count = 5000; }; };\n"
        "  to = { endpoint = \"m\"; stream = \"iso.in\"; }; },\n"
        "{ name = \"fan\"; isolate_sinks = true; window = { messages = 100; };\n"
        "  from = { endpoint = \"m\"; stream = \"iso.in\"; };\n"
        "  to = ( { endpoint = \"m\"; stream = \"iso.a\"; },\n"
        "         { endpoint = \"n\"; stream = \"iso.b\"; kind = \"queue\"; limit = 10; } ); } "
        ");\n";
    struct mb_logger logger = {.fd = STDERR_FILENO, .level = -1};
    struct mb_bridge_options options = {0};
    struct mb_registry *registry = NULL;
    struct mb_bridge *bridge = NULL;
    struct mb_bridge_status status;
    struct mb_text counters = {.max_size = 65536};
    struct mb_error err;
    bool is_there = false;

    (void)state;
    assert_int_equal(mb_registry_create(&registry), MB_OK);
    assert_int_equal(
        mb_bridge_create(load(registry, text), registry, &logger, &options, &bridge, &err), MB_OK);
    assert_int_equal(mb_bridge_start(bridge, &err), MB_OK);
    for (int i = 0; i < 1000 && !is_there; i++) {
        struct pollfd fd = {.fd = mb_bridge_fd(bridge), .events = POLLIN};

        poll(&fd, 1, 10);
        mb_bridge_poll(bridge, &status);
        mb_text_clear(&counters);
        mb_bridge_counters_json(bridge, &counters);
        mb_text_add(&counters, "", 1);
        is_there = strstr(counters.data, "\"confirmed\":{\"m\":5000,\"n\":10}") != NULL;
    }
    if (!is_there)
        fail_msg("%s", counters.data);
    assert_non_null(strstr(counters.data, "\"group\":\"mbridge.mbridge.fan.m\",\"received\":5000,"
                                          "\"delivered\":5000,\"in_flight\":0"));
    assert_non_null(strstr(counters.data, "\"group\":\"mbridge.mbridge.fan.n\""));
    mb_text_release(&counters);
    mb_bridge_destroy(bridge);
    mb_registry_destroy(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_sink_has_a_group_of_its_own),
        cmocka_unit_test(a_sink_that_stands_still_holds_up_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
