/* SPDX-License-Identifier: Apache-2.0 */
/* Whole bridges over the memory backend: configuration → routes → drained → counters. */
#include "core/config/model.h"
#include "core/runtime/bridge.h"
#include "core/runtime/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <poll.h>

struct fixture {
    struct mb_registry *registry;
    struct mb_logger logger;
    char path[64];
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    assert_int_equal(mb_registry_create(&fixture->registry), MB_OK);
    fixture->logger = (struct mb_logger){.fd = STDERR_FILENO, .level = MB_LOG_ERROR};
    snprintf(fixture->path, sizeof fixture->path, "/tmp/mbridge-test-%ld.conf", (long)getpid());
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    unlink(fixture->path);
    mb_registry_destroy(fixture->registry);
    free(fixture);
    return 0;
}

static struct mb_config *load(struct fixture *fixture, const char *text)
{
    struct mb_diagnostics diagnostics = {0};
    struct mb_config *config = NULL;
    FILE *file = fopen(fixture->path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    if (mb_config_load(fixture->path, fixture->registry, &config, &diagnostics) != MB_OK) {
        for (size_t i = 0; i < diagnostics.count; i++)
            print_error("%u: %s\n", diagnostics.items[i].line, diagnostics.items[i].text);
        fail();
    }
    mb_diagnostics_release(&diagnostics);
    return config;
}

static void wait_finished(struct mb_bridge *bridge, struct mb_bridge_status *status)
{
    for (int i = 0; i < 200; i++) {
        struct pollfd fd = {.fd = mb_bridge_fd(bridge), .events = POLLIN};

        mb_bridge_poll(bridge, status);
        if (status->state == MB_BRIDGE_FINISHED)
            return;
        poll(&fd, 1, 200);
    }
    fail_msg("the bridge did not finish");
}

static void run_to_end(struct fixture *fixture, const char *text, uint64_t limit,
                       struct mb_bridge_status *status, struct mb_bridge_progress *progress)
{
    struct mb_bridge_options options = {.drain = true, .limit_messages = limit};
    struct mb_bridge *bridge;
    struct mb_error err;

    assert_int_equal(mb_bridge_create(load(fixture, text), fixture->registry, &fixture->logger,
                                      &options, &bridge, &err),
                     MB_OK);
    assert_int_equal(mb_bridge_start(bridge, &err), MB_OK);
    wait_finished(bridge, status);
    mb_bridge_progress(bridge, progress);
    mb_bridge_destroy(bridge);
}

static void generated_messages_arrive(void **state)
{
    struct mb_bridge_status status;
    struct mb_bridge_progress progress;

    run_to_end(*state,
               "bridge = { name = \"t\"; drain_idle = \"100ms\"; };\n"
               "endpoints = { m = { backend = \"memory\"; }; };\n"
               "routes = ( { name = \"r\";\n"
               "  from = { endpoint = \"m\"; stream = \"a\"; generate = { count = 50000; }; };\n"
               "  to = { endpoint = \"m\"; stream = \"b\"; }; } );\n",
               0, &status, &progress);
    assert_int_equal(status.exit_code, 0);
    assert_int_equal(progress.received, 50000);
    assert_int_equal(progress.delivered, 50000);
    assert_int_equal(progress.in_flight, 0);
}

static void limit_ends_the_bridge(void **state)
{
    struct mb_bridge_status status;
    struct mb_bridge_progress progress;

    run_to_end(*state,
               "endpoints = { m = { backend = \"memory\"; }; };\n"
               "routes = ( { name = \"r\";\n"
               "  from = { endpoint = \"m\"; stream = \"c\"; generate = { count = 50000; }; };\n"
               "  to = { endpoint = \"m\"; stream = \"d\"; }; } );\n",
               1234, &status, &progress);
    assert_int_equal(status.exit_code, 0);
    assert_int_equal(progress.delivered, 1234);
}

static void one_to_many_counts_once(void **state)
{
    struct mb_bridge_status status;
    struct mb_bridge_progress progress;

    run_to_end(
        *state,
        "bridge = { drain_idle = \"100ms\"; };\n"
        "endpoints = { m = { backend = \"memory\"; }; };\n"
        "routes = ( { name = \"r\";\n"
        "  from = { endpoint = \"m\"; stream = \"e\"; generate = { count = 20000; }; };\n"
        "  to = ( { endpoint = \"m\"; stream = \"f\"; }, { endpoint = \"m\"; stream = \"g\"; }"
        " ); } );\n",
        0, &status, &progress);
    assert_int_equal(status.exit_code, 0);
    assert_int_equal(progress.delivered, 20000);
}

/* What comes in goes to the other side once, and its copy does not come back. */
static void a_circle_ends_at_its_beginning(void **state)
{
    struct fixture *fixture = *state;
    struct mb_bridge_options options = {0};
    struct mb_text counters = {.max_size = 65536};
    struct mb_bridge_status status;
    struct mb_bridge *bridge;
    struct mb_error err;
    bool is_there = false;
    struct mb_config *config = load(
        fixture,
        "endpoints = { m = { backend = \"memory\"; }; n = { backend = \"memory\"; store = \"n\"; "
        "}; };\n"
        "routes = ( { name = \"fill\";\n"
        "  from = { endpoint = \"m\"; generate = { count = 300; }; };\n"
        "  to = { endpoint = \"m\"; stream = \"x\"; }; },\n"
        "{ name = \"there\"; allow_cycle = true; from = { endpoint = \"m\"; stream = \"x\"; };\n"
        "  to = { endpoint = \"n\"; stream = \"y\"; }; },\n"
        "{ name = \"back\"; allow_cycle = true; from = { endpoint = \"n\"; stream = \"y\"; };\n"
        "  to = { endpoint = \"m\"; stream = \"x\"; }; } );\n");

    assert_int_equal(
        mb_bridge_create(config, fixture->registry, &fixture->logger, &options, &bridge, &err),
        MB_OK);
    assert_int_equal(mb_bridge_start(bridge, &err), MB_OK);
    for (int i = 0; i < 1000 && !is_there; i++) {
        struct pollfd fd = {.fd = mb_bridge_fd(bridge), .events = POLLIN};

        poll(&fd, 1, 10);
        mb_bridge_poll(bridge, &status);
        mb_text_clear(&counters);
        mb_bridge_counters_json(bridge, &counters);
        mb_text_add(&counters, "", 1);
        is_there = strstr(counters.data, "\"filtered_by\":{\"step\":0,\"loop\":300,") != NULL;
    }
    if (!is_there)
        fail_msg("%s", counters.data);
    assert_non_null(strstr(counters.data, "\"there\":{\"state\":\"running\",\"received\":300,"
                                          "\"delivered\":300"));
    mb_text_release(&counters);
    mb_bridge_destroy(bridge);
}

static void stop_is_clean(void **state)
{
    struct fixture *fixture = *state;
    struct mb_bridge_options options = {0};
    struct mb_bridge_status status;
    struct mb_bridge_progress progress = {0};
    struct mb_bridge *bridge;
    struct mb_error err;
    struct mb_config *config =
        load(fixture,
             "endpoints = { m = { backend = \"memory\"; }; };\n"
             "routes = ( { name = \"r\";\n"
             "  from = { endpoint = \"m\"; stream = \"h\"; generate = { count = 1000000000; }; };\n"
             "  to = { endpoint = \"m\"; discard = true; }; } );\n");

    assert_int_equal(
        mb_bridge_create(config, fixture->registry, &fixture->logger, &options, &bridge, &err),
        MB_OK);
    assert_int_equal(mb_bridge_start(bridge, &err), MB_OK);
    for (int i = 0; i < 1000 && progress.delivered < 1000; i++) {
        struct pollfd fd = {.fd = mb_bridge_fd(bridge), .events = POLLIN};

        poll(&fd, 1, 10);
        mb_bridge_poll(bridge, &status);
        mb_bridge_progress(bridge, &progress);
    }
    assert_true(progress.delivered >= 1000);
    mb_bridge_stop(bridge);
    wait_finished(bridge, &status);
    assert_int_equal(status.exit_code, 0);
    assert_int_equal(status.unresolved, 0);
    mb_bridge_destroy(bridge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(generated_messages_arrive, setup, teardown),
        cmocka_unit_test_setup_teardown(limit_ends_the_bridge, setup, teardown),
        cmocka_unit_test_setup_teardown(one_to_many_counts_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_circle_ends_at_its_beginning, setup, teardown),
        cmocka_unit_test_setup_teardown(stop_is_clean, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
