/* SPDX-License-Identifier: Apache-2.0 */
/* The bridge checks its own books: what it took against what became of it. Linked with
 * --wrap=mb_counters_publish, so that a test can miscount where a worker would. */
#include "core/config/model.h"
#include "core/runtime/bridge.h"
#include "core/runtime/registry.h"
#include "core/runtime/route_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <poll.h>

/* ---- the miscount ---- */

static _Atomic bool planted;
static size_t planted_at; /* offset of the counter in struct mb_counters */

void __real_mb_counters_publish(struct mb_counters *counters);
void __wrap_mb_counters_publish(struct mb_counters *counters);

void __wrap_mb_counters_publish(struct mb_counters *counters)
{
    if (mb_counter_get(&counters->received) > 0 && atomic_exchange(&planted, false))
        mb_counter_add((mb_counter *)(void *)((char *)counters + planted_at), 1);
    __real_mb_counters_publish(counters);
}

/* ---- a whole bridge ---- */

struct fixture {
    struct mb_registry *registry;
    struct mb_logger logger; /* into a file in memory */
    struct mb_bridge *bridge;
    char path[64];
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    assert_int_equal(mb_registry_create(&fixture->registry), MB_OK);
    fixture->logger =
        (struct mb_logger){.fd = memfd_create("log", MFD_CLOEXEC), .level = MB_LOG_ERROR};
    assert_true(fixture->logger.fd >= 0);
    snprintf(fixture->path, sizeof fixture->path, "/tmp/mbridge-books-%ld.conf", (long)getpid());
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    atomic_store(&planted, false);
    mb_bridge_destroy(fixture->bridge);
    mb_registry_destroy(fixture->registry);
    close(fixture->logger.fd);
    unlink(fixture->path);
    free(fixture);
    return 0;
}

static void start(struct fixture *fixture, const char *text, bool drain)
{
    struct mb_bridge_options options = {.drain = drain};
    struct mb_diagnostics diagnostics = {0};
    struct mb_config *config = NULL;
    struct mb_error err;
    FILE *file = fopen(fixture->path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(mb_config_load(fixture->path, fixture->registry, &config, &diagnostics),
                     MB_OK);
    mb_diagnostics_release(&diagnostics);
    assert_int_equal(mb_bridge_create(config, fixture->registry, &fixture->logger, &options,
                                      &fixture->bridge, &err),
                     MB_OK);
    assert_int_equal(mb_bridge_start(fixture->bridge, &err), MB_OK);
}

static int finish(struct fixture *fixture)
{
    for (int i = 0; i < 200; i++) {
        struct pollfd fd = {.fd = mb_bridge_fd(fixture->bridge), .events = POLLIN};
        struct mb_bridge_status status;

        mb_bridge_poll(fixture->bridge, &status);
        if (status.state == MB_BRIDGE_FINISHED)
            return status.exit_code;
        poll(&fd, 1, 200);
    }
    fail_msg("the bridge did not finish");
    return -1;
}

static void logged(const struct fixture *fixture, char *text, size_t size)
{
    ssize_t got = pread(fixture->logger.fd, text, size - 1, 0);

    text[got > 0 ? got : 0] = '\0';
}

/* A route of its own streams each time: those of the memory backend live as long as the process. */
static void start_route(struct fixture *fixture, bool drain)
{
    static unsigned number;
    char text[512];

    snprintf(text, sizeof text,
             "bridge = { name = \"t\"; drain_idle = \"100ms\"; };\n"
             "endpoints = { m = { backend = \"memory\"; }; };\n"
             "routes = ( { name = \"orders\";\n"
             "  from = { endpoint = \"m\"; stream = \"a%u\"; generate = { count = 20000; }; };\n"
             "  to = { endpoint = \"m\"; stream = \"b%u\"; }; } );\n",
             number, number);
    number++;
    start(fixture, text, drain);
}

static const struct {
    const char *name;
    size_t at;
} terms[] = {
    {"received", offsetof(struct mb_counters, received)},
    {"delivered", offsetof(struct mb_counters, delivered)},
    {"dead_lettered", offsetof(struct mb_counters, dead_lettered)},
    {"filtered", offsetof(struct mb_counters, filtered)},
    {"released", offsetof(struct mb_counters, released)},
    {"expired", offsetof(struct mb_counters, expired)},
};

static void right_books_are_silent(void **state)
{
    struct fixture *fixture = *state;
    char text[4096];

    start_route(fixture, true);
    assert_int_equal(finish(fixture), 0);
    logged(fixture, text, sizeof text);
    assert_string_equal(text, "");
}

static void a_miscount_of_any_term_ends_in_the_log_and_in_the_exit_status(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++) {
        char text[4096];

        assert_int_equal(ftruncate(fixture->logger.fd, 0), 0);
        assert_true(lseek(fixture->logger.fd, 0, SEEK_SET) == 0);
        planted_at = terms[i].at;
        atomic_store(&planted, true);
        start_route(fixture, true);
        assert_int_equal(finish(fixture), 1);
        assert_false(atomic_load(&planted));
        logged(fixture, text, sizeof text);
        if (strstr(text, "do not account for every message") == NULL ||
            strstr(text, "route=orders") == NULL || strstr(text, "received 2000") == NULL ||
            strstr(text, "but delivered 2000") == NULL || strstr(text, "in_flight 0") == NULL)
            fail_msg("%s: %s", terms[i].name, text);
        mb_bridge_destroy(fixture->bridge);
        fixture->bridge = NULL;
    }
}

static void a_miscount_is_told_once_while_the_route_runs(void **state)
{
    struct fixture *fixture = *state;
    struct mb_text json = {.max_size = 65536};
    const char *first = NULL;
    char text[8192];

    planted_at = offsetof(struct mb_counters, filtered);
    atomic_store(&planted, true);
    start_route(fixture, false);
    for (int i = 0; i < 1000 && first == NULL; i++) {
        poll(NULL, 0, 5);
        mb_text_clear(&json);
        mb_bridge_counters_json(fixture->bridge, &json);
        logged(fixture, text, sizeof text);
        first = strstr(text, "do not account for every message");
    }
    assert_non_null(first);
    mb_text_clear(&json);
    mb_bridge_counters_json(fixture->bridge, &json);
    logged(fixture, text, sizeof text);
    assert_null(strstr(strstr(text, "do not account") + 1, "do not account"));
    mb_bridge_stop(fixture->bridge);
    assert_int_equal(finish(fixture), 1);
    mb_text_release(&json);
}

/* ---- what a balance cannot tell ---- */

static void a_closed_lane_has_nothing_in_flight(void **state)
{
    struct fixture *fixture = *state;
    struct mb_config_route route = {.name = (char *)"r"};
    struct mb_route_run run = {.route = &route};
    struct mb_lane lane = {.route = &route, .sinks_count = 1};
    struct mb_counters counters = {0};
    char text[4096];

    mb_counter_set(&counters.received, 7);
    mb_counter_set(&counters.delivered, 4);
    mb_counter_set(&counters.confirmed[0], 4);
    mb_counter_set(&counters.in_flight, 3);
    assert_true(mb_route_run_audit(&run, NULL, &counters, &fixture->logger));
    assert_false(mb_route_run_audit(&run, &lane, &counters, &fixture->logger));
    assert_true(run.miscounted);
    logged(fixture, text, sizeof text);
    assert_non_null(strstr(text, "in flight in a lane that is closed"));
}

static void delivered_is_what_all_sinks_confirmed(void **state)
{
    struct fixture *fixture = *state;
    struct mb_config_route route = {.name = (char *)"r"};
    struct mb_route_run run = {.route = &route};
    struct mb_lane lane = {.route = &route, .sinks_count = 2};
    struct mb_counters counters = {0};

    mb_counter_set(&counters.received, 5);
    mb_counter_set(&counters.delivered, 5);
    mb_counter_set(&counters.confirmed[0], 6); /* one of them twice */
    mb_counter_set(&counters.confirmed[1], 5);
    assert_true(mb_route_run_audit(&run, &lane, &counters, &fixture->logger));
    mb_counter_set(&counters.confirmed[1], 4);
    assert_false(mb_route_run_audit(&run, &lane, &counters, &fixture->logger));
    lane.has_paths = true; /* the second one may have had one of them already */
    assert_true(mb_route_run_audit(&run, &lane, &counters, &fixture->logger));
}

static void filtered_is_the_sum_of_its_reasons(void **state)
{
    struct fixture *fixture = *state;
    struct mb_config_route route = {.name = (char *)"r"};
    struct mb_route_run run = {.route = &route};
    struct mb_lane lane = {.route = &route, .sinks_count = 1};
    struct mb_counters counters = {0};

    mb_counter_set(&counters.received, 5);
    mb_counter_set(&counters.filtered, 5);
    mb_counter_set(&counters.filtered_by[MB_DROP_STEP], 3);
    mb_counter_set(&counters.filtered_by[MB_DROP_LOOP], 2);
    assert_true(mb_route_run_audit(&run, &lane, &counters, &fixture->logger));
    mb_counter_set(&counters.filtered_by[MB_DROP_LOOP], 1);
    assert_false(mb_route_run_audit(&run, &lane, &counters, &fixture->logger));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(right_books_are_silent, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_miscount_of_any_term_ends_in_the_log_and_in_the_exit_status, setup, teardown),
        cmocka_unit_test_setup_teardown(a_miscount_is_told_once_while_the_route_runs, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_closed_lane_has_nothing_in_flight, setup, teardown),
        cmocka_unit_test_setup_teardown(delivered_is_what_all_sinks_confirmed, setup, teardown),
        cmocka_unit_test_setup_teardown(filtered_is_the_sum_of_its_reasons, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
