/* SPDX-License-Identifier: Apache-2.0 */
/* What wakes the lane on a busy connection: by the kernel's own word, on a socket, by a clock that
 * stands still. */
#include "amqp_test.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOW_WATER_MAX 32768u

static int64_t clock_ms;

static int64_t now_ms(void *context)
{
    (void)context;
    return clock_ms;
}

struct line {
    struct mb_host clocked;
    struct amqp_client client;
    int peer;
};

/* Unix sockets are readable from the first byte on, whatever the low-water mark says. */
static int set_up(void **state)
{
    static struct line line;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    memset(&line, 0, sizeof line);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    line.client.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(line.client.fd, (struct sockaddr *)&address, size), 0);
    line.peer = accept(listener, NULL, NULL);
    assert_true(line.peer >= 0);
    close(listener);
    clock_ms = 1000;
    line.clocked = host;
    line.clocked.monotonic_ms = now_ms;
    line.client.host = &line.clocked;
    line.client.pace.low_water = 1;
    *state = &line;
    return 0;
}

static int tear_down(void **state)
{
    struct line *line = *state;

    close(line->client.fd);
    close(line->peer);
    return 0;
}

static void come(struct line *line, size_t size)
{
    static const char bytes[LOW_WATER_MAX];

    assert_int_equal(send(line->peer, bytes, size, 0), size);
}

static bool is_readable(const struct line *line, int timeout_ms)
{
    struct pollfd entry = {line->client.fd, POLLIN, 0};

    return poll(&entry, 1, timeout_ms) == 1;
}

/* So many reads of that size in each of two milliseconds, then the lane goes to sleep. Returns for
 * how long at the most. */
static int64_t sleep_after(struct line *line, unsigned reads, size_t size)
{
    struct mb_wait wait = {.struct_size = sizeof wait, .deadline_ms = INT64_MAX};

    for (int i = 0; i < 2; i++) {
        clock_ms++;
        for (unsigned j = 0; j < reads; j++)
            amqp_pace_note(&line->client, size, clock_ms);
    }
    amqp_pace_wait(&line->client, LOW_WATER_MAX, &wait);
    return wait.deadline_ms == INT64_MAX ? INT64_MAX : wait.deadline_ms - clock_ms;
}

static void test_few_reads_wait_for_nothing(void **state)
{
    struct line *line = *state;

    assert_int_equal(sleep_after(line, 1, 20000), INT64_MAX);
    come(line, 1);
    assert_true(is_readable(line, 5000));
}

static void test_many_reads_wait_for_more(void **state)
{
    struct line *line = *state;

    /* 9,000 bytes a millisecond */
    assert_int_equal(sleep_after(line, 6, 1500), 1);
    come(line, 8191);
    assert_false(is_readable(line, 50));
    come(line, 1);
    assert_true(is_readable(line, 5000));
}

static void test_much_is_not_waited_for_in_one_piece(void **state)
{
    struct line *line = *state;

    assert_int_equal(sleep_after(line, 1000, 1500), 1);
    come(line, LOW_WATER_MAX);
    assert_true(is_readable(line, 5000));
}

static void test_it_goes_on_while_each_millisecond_brings_something(void **state)
{
    struct line *line = *state;

    assert_int_equal(sleep_after(line, 6, 1500), 1);
    assert_int_equal(sleep_after(line, 1, 9000), 1);
}

static void test_silence_ends_it(void **state)
{
    struct line *line = *state;
    struct mb_wait wait = {.struct_size = sizeof wait, .deadline_ms = INT64_MAX};

    assert_int_equal(sleep_after(line, 6, 1500), 1);
    come(line, 1);
    clock_ms += 3;
    amqp_pace_wait(&line->client, LOW_WATER_MAX, &wait);
    assert_int_equal(wait.deadline_ms, INT64_MAX);
    assert_true(is_readable(line, 5000));
}

static void test_who_waits_elsewhere_is_woken_by_any_byte(void **state)
{
    struct line *line = *state;

    assert_int_equal(sleep_after(line, 6, 1500), 1);
    come(line, 1);
    amqp_pace_end(&line->client);
    assert_true(is_readable(line, 5000));
}

static void test_the_end_of_the_connection_waits_for_nothing(void **state)
{
    struct line *line = *state;

    assert_int_equal(sleep_after(line, 6, 1500), 1);
    assert_int_equal(shutdown(line->peer, SHUT_WR), 0);
    assert_true(is_readable(line, 5000));
}

#define LINE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LINE_TEST(test_few_reads_wait_for_nothing),
        LINE_TEST(test_many_reads_wait_for_more),
        LINE_TEST(test_much_is_not_waited_for_in_one_piece),
        LINE_TEST(test_it_goes_on_while_each_millisecond_brings_something),
        LINE_TEST(test_silence_ends_it),
        LINE_TEST(test_who_waits_elsewhere_is_woken_by_any_byte),
        LINE_TEST(test_the_end_of_the_connection_waits_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
