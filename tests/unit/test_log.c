/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* A packet pipe: each read gives what one write wrote. */
static int ends[2];

static int set_up(void **state)
{
    (void)state;
    return pipe2(ends, O_DIRECT | O_NONBLOCK | O_CLOEXEC);
}

static int tear_down(void **state)
{
    (void)state;
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static struct mb_logger logger_of(enum mb_log_format format)
{
    return (struct mb_logger){.fd = ends[1], .level = MB_LOG_INFO, .format = (int)format};
}

/* What was written, without the time, which is checked. */
static const char *line_read(char *buffer, size_t size)
{
    ssize_t count = read(ends[0], buffer, size - 1);
    const char *time;

    assert_true(count > 0);
    buffer[count] = '\0';
    time = strstr(buffer, "2");
    assert_non_null(time);
    assert_int_equal(strspn(time, "0123456789-T:."), 23);
    assert_int_equal(time[10], 'T');
    assert_int_equal(time[19], '.');
    assert_int_equal(time[23], 'Z');
    assert_int_equal(buffer[count - 1], '\n');
    assert_ptr_equal(strchr(buffer, '\n'), buffer + count - 1);
    return time + 24;
}

#define LOGS(format, expected, ...)                                                                \
    do {                                                                                           \
        struct mb_logger logger_ = logger_of(format);                                              \
        char buffer_[16384];                                                                       \
        mb_log(&logger_, MB_LOG_INFO, __VA_ARGS__, NULL);                                          \
        assert_string_equal(line_read(buffer_, sizeof buffer_), expected);                         \
    } while (0)

static void test_logfmt(void **state)
{
    (void)state;
    LOGS(MB_LOG_LOGFMT, " level=info msg=\"route started\" route=orders n=5\n", "route started",
         "route", "orders", "n", "5");
    LOGS(MB_LOG_LOGFMT, " level=info msg=started empty=\"\"\n", "started", "gone", NULL, "empty",
         "");
    LOGS(MB_LOG_LOGFMT, " level=info msg=m a=\"x=y\" b=\"q\\\"q\" c=\"b\\\\s\"\n", "m", "a", "x=y",
         "b", "q\"q", "c", "b\\s");
    LOGS(MB_LOG_LOGFMT, " level=info msg=m a=caf\xC3\xA9 b=\"\xEF\xBF\xBDz\"\n", "m", "a",
         "caf\xC3\xA9", "b", "\xFFz");
}

static void test_no_line_is_forged(void **state)
{
    (void)state;
    LOGS(MB_LOG_LOGFMT, " level=info msg=m a=\"x\\ntime=1 level=error\"\n", "m", "a",
         "x\ntime=1 level=error");
    LOGS(MB_LOG_LOGFMT, " level=info msg=m a=\"\\u001b[2J\\r\\t\\u007f\\u0085\\u2028\\u202e\"\n",
         "m", "a", "\x1b[2J\r\t\x7f\xC2\x85\xE2\x80\xA8\xE2\x80\xAE");
    LOGS(MB_LOG_JSON, "\",\"level\":\"info\",\"msg\":\"a\\n\\\"b\\\"\"}\n", "a\n\"b\"");
}

static void test_json(void **state)
{
    (void)state;
    LOGS(MB_LOG_JSON, "\",\"level\":\"info\",\"msg\":\"m\",\"a\":\"1\",\"b\":\"\"}\n", "m", "a",
         "1", "b", "");
}

static void test_levels(void **state)
{
    struct mb_logger logger = logger_of(MB_LOG_LOGFMT);
    char buffer[256];
    int level = -1;

    (void)state;
    mb_log(&logger, MB_LOG_DEBUG, "hidden", NULL);
    assert_int_equal(read(ends[0], buffer, sizeof buffer), -1);
    assert_int_equal(errno, EAGAIN);
    mb_log(&logger, MB_LOG_WARN, "seen", NULL);
    assert_string_equal(line_read(buffer, sizeof buffer), " level=warn msg=seen\n");
    logger.level = MB_LOG_DEBUG;
    mb_log(&logger, MB_LOG_DEBUG, "seen", NULL);
    assert_string_equal(line_read(buffer, sizeof buffer), " level=debug msg=seen\n");
    assert_int_equal(mb_log_level_parse("error", &level), MB_OK);
    assert_int_equal(level, MB_LOG_ERROR);
    assert_int_equal(mb_log_level_parse("debug", &level), MB_OK);
    assert_int_equal(level, MB_LOG_DEBUG);
    assert_int_equal(mb_log_level_parse("Info", &level), MB_INVALID);
    assert_int_equal(mb_log_level_parse("", &level), MB_INVALID);
}

/* Reads a line that may be longer than a packet of the pipe. */
static size_t long_line_read(char *buffer, size_t size)
{
    size_t used = 0;
    ssize_t count;

    while ((count = read(ends[0], buffer + used, size - used - 1)) > 0)
        used += (size_t)count;
    buffer[used] = '\0';
    return used;
}

static void ends_with(const char *text, size_t size, const char *expected)
{
    assert_true(size > strlen(expected));
    assert_string_equal(text + size - strlen(expected), expected);
}

static void test_long_lines_are_cut(void **state)
{
    static char value[20000];
    static char buffer[40000];
    struct mb_logger logger = logger_of(MB_LOG_LOGFMT);
    size_t size;

    (void)state;
    /* Each length of what stands in front: the cut falls on every place of a field. */
    for (size_t length = 8000; length < 8200; length++) {
        memset(value, 'x', length);
        value[length] = '\0';
        logger.format = MB_LOG_LOGFMT;
        mb_log(&logger, MB_LOG_INFO, "m", "a", value, "b", "\n\xC3\xA9", NULL);
        size = long_line_read(buffer, sizeof buffer);
        assert_true(size <= 8192);
        assert_ptr_equal(strchr(buffer, '\n'), buffer + size - 1);
        if (length > 8150)
            ends_with(buffer, size, "x\" truncated=true\n");
        logger.format = MB_LOG_JSON;
        mb_log(&logger, MB_LOG_INFO, "m", "a", value, "b", "\n\xC3\xA9", NULL);
        size = long_line_read(buffer, sizeof buffer);
        assert_true(size <= 8192);
        ends_with(buffer, size, strstr(buffer, "truncated") ? "\",\"truncated\":true}\n" : "\"}\n");
        if (length > 8150)
            ends_with(buffer, size, "x\",\"truncated\":true}\n");
    }
    for (size_t i = 0; i < 19998; i += 2)
        memcpy(value + i, "\xC3\xA9", 3); /* never cut within a character */
    mb_log(&logger, MB_LOG_INFO, value, NULL);
    size = long_line_read(buffer, sizeof buffer);
    ends_with(buffer, size, "\xC3\xA9\",\"truncated\":true}\n");
}

static void *log_much(void *context)
{
    for (int i = 0; i < 200; i++)
        mb_log(context, MB_LOG_INFO, "concurrent", "value", "a b c", NULL);
    return NULL;
}

static void test_threads(void **state)
{
    struct mb_logger logger = logger_of(MB_LOG_LOGFMT);
    pthread_t threads[4];
    char buffer[4096];
    unsigned count = 0;

    (void)state;
    /* Blocking, so that nothing is lost while the reader is behind. */
    assert_int_equal(fcntl(ends[0], F_SETFL, O_DIRECT), 0);
    assert_int_equal(fcntl(ends[1], F_SETFL, O_DIRECT), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_much, &logger), 0);
    for (; count < 800; count++)
        assert_string_equal(line_read(buffer, sizeof buffer),
                            " level=info msg=concurrent value=\"a b c\"\n");
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void test_errno_is_kept(void **state)
{
    struct mb_logger logger = {.fd = -1, .level = MB_LOG_INFO};

    (void)state;
    errno = ENOENT;
    mb_log(&logger, MB_LOG_ERROR, "nobody reads", NULL);
    assert_int_equal(errno, ENOENT);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_logfmt),        TEST(test_no_line_is_forged),  TEST(test_json),
        TEST(test_levels),        TEST(test_long_lines_are_cut), TEST(test_threads),
        TEST(test_errno_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
