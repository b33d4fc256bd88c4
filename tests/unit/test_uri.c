/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/uri.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct mb_uri parse(const char *text)
{
    struct mb_uri uri;
    struct mb_error err;

    mb_error_clear(&err);
    if (mb_uri_parse(text, &uri, &err) != MB_OK)
        fail_msg("%s: %s", text, err.text);
    return uri;
}

static void refused(const char *text, const char *because)
{
    struct mb_uri uri;
    struct mb_error err;

    mb_error_clear(&err);
    assert_int_equal(mb_uri_parse(text, &uri, &err), MB_INVALID);
    assert_null(uri.storage);
    assert_null(strstr(err.text, "hunter2"));
    if (strstr(err.text, because) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", text, err.text, because);
}

static void test_kafka(void **state)
{
    struct mb_uri uri = parse("KAFKA://a:9092,b:9093/orders?group=g&properties=client.rack%3Dr1");

    (void)state;
    assert_string_equal(uri.scheme, "kafka");
    assert_string_equal(uri.authority, "a:9092,b:9093");
    assert_string_equal(uri.host, "a");
    assert_int_equal(uri.port, 9092);
    assert_string_equal(uri.path, "orders");
    assert_null(uri.username);
    assert_null(uri.password);
    assert_int_equal(uri.query_count, 2);
    assert_string_equal(uri.query[0].name, "group");
    assert_string_equal(uri.query[0].value, "g");
    assert_string_equal(uri.query[1].value, "client.rack=r1");
    assert_string_equal(uri.base, "KAFKA://a:9092,b:9093/orders");
    mb_uri_release(&uri);
    assert_null(uri.storage);
}

static void test_path_is_absent_or_empty(void **state)
{
    struct mb_uri absent = parse("amqp://host");
    struct mb_uri absent_query = parse("amqp://host?queue=q");
    struct mb_uri empty = parse("amqp://host/");
    struct mb_uri slash = parse("amqp://host/%2F");
    struct mb_uri nested = parse("amqp10://host/a/b%2Fc");

    (void)state;
    assert_null(absent.path);
    assert_null(absent_query.path);
    assert_string_equal(absent_query.query[0].value, "q");
    assert_string_equal(empty.path, "");
    assert_string_equal(slash.path, "/");
    assert_string_equal(nested.path, "a/b/c");
    mb_uri_release(&absent);
    mb_uri_release(&absent_query);
    mb_uri_release(&empty);
    mb_uri_release(&slash);
    mb_uri_release(&nested);
}

static void test_user_information(void **state)
{
    struct mb_uri both = parse("amqps://us%40er:p%3A%2Fw%25@h:5671/v%20h");
    struct mb_uri no_user = parse("redis://:pass@host:6379/0");
    struct mb_uri no_password = parse("redis://user@host");
    struct mb_uri empty_password = parse("redis://user:@host");
    struct mb_uri colons = parse("redis://u:a:b@host");

    (void)state;
    assert_string_equal(both.username, "us@er");
    assert_string_equal(both.password, "p:/w%");
    assert_string_equal(both.authority, "h:5671");
    assert_string_equal(both.path, "v h");
    assert_string_equal(no_user.username, "");
    assert_string_equal(no_user.password, "pass");
    assert_string_equal(no_password.username, "user");
    assert_null(no_password.password);
    assert_string_equal(empty_password.password, "");
    assert_string_equal(colons.password, "a:b");
    mb_uri_release(&both);
    mb_uri_release(&no_user);
    mb_uri_release(&no_password);
    mb_uri_release(&empty_password);
    mb_uri_release(&colons);
}

static void test_hosts(void **state)
{
    struct mb_uri v6 = parse("amqp://[::1]:5672/");
    struct mb_uri v6_alone = parse("amqp://u:p@[fe80::1%25eth0]");
    struct mb_uri v6_list = parse("kafka://[::1]:1,b:2");
    struct mb_uri none = parse("memory:///stream");
    struct mb_uri bare = parse("memory://");

    (void)state;
    assert_string_equal(v6.host, "::1");
    assert_int_equal(v6.port, 5672);
    assert_string_equal(v6.authority, "[::1]:5672");
    assert_string_equal(v6_alone.host, "fe80::1%eth0");
    assert_int_equal(v6_alone.port, 0);
    assert_string_equal(v6_list.host, "::1");
    assert_int_equal(v6_list.port, 1);
    assert_string_equal(none.host, "");
    assert_string_equal(none.path, "stream");
    assert_string_equal(bare.authority, "");
    assert_null(bare.path);
    mb_uri_release(&v6);
    mb_uri_release(&v6_alone);
    mb_uri_release(&v6_list);
    mb_uri_release(&none);
    mb_uri_release(&bare);
}

static void test_query(void **state)
{
    struct mb_uri uri = parse("redis://h/0?a=1+2&&b=x=y&flag&c=%26&a=3&");

    (void)state;
    assert_int_equal(uri.query_count, 5);
    assert_string_equal(uri.query[0].value, "1+2");
    assert_string_equal(uri.query[1].name, "b");
    assert_string_equal(uri.query[1].value, "x=y");
    assert_string_equal(uri.query[2].name, "flag");
    assert_string_equal(uri.query[2].value, "");
    assert_string_equal(uri.query[3].value, "&");
    assert_string_equal(uri.query[4].name, "a");
    assert_string_equal(uri.query[4].value, "3");
    mb_uri_release(&uri);
}

static void test_refuses(void **state)
{
    (void)state;
    refused("", "scheme");
    refused("host:5672", "scheme");
    refused("://host", "scheme");
    refused("1a://host", "scheme");
    refused("amqp://host:0", "port");
    refused("amqp://host:65536", "port");
    refused("amqp://host:999999999999999999999", "port");
    refused("amqp://host:", "port");
    refused("amqp://host:http", "port");
    refused("kafka://a:1,b:0/t", "port");
    refused("kafka://a:1,,b:2/t", "host");
    refused("kafka://a:1,/t", "host");
    refused("amqp://:5672/", "host");
    refused("amqp://::1/", "[ ]");
    refused("amqp://[::1/", "]");
    refused("amqp://[::1]5672/", ":port");
    refused("amqp://[zz::1]/", "IPv6");
    refused("amqp://[localhost]/", "IPv6");
    refused("amqp://h/a%2", "path");
    refused("amqp://h/a%zz", "path");
    refused("amqp://h/a%00b", "NUL");
    refused("amqp://u:hunter2%@h/", "password");
    refused("amqp://u:hunter2%00@h/", "NUL");
    refused("amqp://u:hunter2/x@h/", "%2F");
    refused("amqp://u:hunter2?x@h/", "%3F");
    refused("amqp://u:hunter2@x@h/", "%40");
    refused("amqp://u:hunter2#x@h/", "%23");
    refused("amqp://u:hunter2@h:x/", "port");
    refused("amqp://h/?=1", "no name");
    refused("amqp://h/?a=%", "value");
    refused("amqp://h/a b", "space");
    refused("amqp://h/a\nb", "control");
}

static void test_bounds(void **state)
{
    char *text = malloc(70000);
    size_t size;
    struct mb_uri uri;

    (void)state;
    assert_non_null(text);
    size = (size_t)sprintf(text, "a://h/?");
    for (int i = 0; i < MB_URI_QUERY_MAX; i++)
        size += (size_t)sprintf(text + size, "&k%d=v", i);
    uri = parse(text);
    assert_int_equal(uri.query_count, MB_URI_QUERY_MAX);
    assert_string_equal(uri.query[63].name, "k63");
    mb_uri_release(&uri);
    sprintf(text + size, "&more=1");
    refused(text, "more than 64");
    memset(text, 'a', 69999);
    text[69999] = '\0';
    refused(text, "longer");
    free(text);
}

static void redacted(const char *text, const char *expected)
{
    char buffer[256];

    mb_uri_redact(text, buffer, sizeof buffer);
    assert_string_equal(buffer, expected);
}

static void test_redact(void **state)
{
    char tiny[8];

    (void)state;
    redacted("amqp://u:p@h:1/v?q=1", "amqp://u:***@h:1/v?q=1");
    redacted("redis://:p@h", "redis://:***@h");
    redacted("redis://u@h", "redis://u@h");
    redacted("kafka://a:1,b:2/t?x=a@b", "kafka://a:1,b:2/t?x=a@b");
    redacted("amqp://[::1]:5/x@y", "amqp://[::1]:5/x@y");
    redacted("amqp://u:a@b@h/", "amqp://u:***@h/");
    redacted("amqp://u:a/b@h/", "amqp://u:***@h/");
    redacted("amqp://u:a?b@h/", "amqp://u:***@h/");
    redacted("amqp://u:a#b@h/", "amqp://u:***@h/");
    redacted("u:p@h", "u:***@h");
    redacted("no uri at all", "no uri at all");
    redacted("", "");
    redacted("kafka://h/t?sasl.password=s&group=g", "kafka://h/t?sasl.password=***&group=g");
    redacted("kafka://h/t?properties=ssl.key.password=s", "kafka://h/t?properties=***");
    redacted("kafka://h/t?Secret=s&", "kafka://h/t?Secret=***&");
    redacted("kafka://h/t?properties=ssl.key.pem=s", "kafka://h/t?properties=***");
    redacted("kafka://h/t?sasl.pass%77ord=s&group=%20g",
             "kafka://h/t?sasl.pass%77ord=***&group=%20g");
    mb_uri_redact("amqp://user:pass@host", tiny, sizeof tiny);
    assert_string_equal(tiny, "amqp://");
    mb_uri_redact("amqp://user", tiny, 0);
}

static void test_release_of_nothing(void **state)
{
    struct mb_uri uri = {0};

    (void)state;
    mb_uri_release(&uri);
    mb_uri_release(&uri);
    assert_null(uri.storage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kafka),
        cmocka_unit_test(test_path_is_absent_or_empty),
        cmocka_unit_test(test_user_information),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_redact),
        cmocka_unit_test(test_release_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
