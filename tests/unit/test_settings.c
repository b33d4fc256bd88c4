/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/secret.h"
#include "core/config/settings.h"
#include "core/config/suggest.h"
#include "fake_backend.h"

#include <setjmp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: none */
    } cases[] = {
        {"0", 0},
        {"250ms", 250},
        {"10s", 10000},
        {"5m", 300000},
        {"2h", 7200000},
        {"1d", 86400000},
        {"10 s", 10000},
        {"0s", 0},
        {"9223372036854775807ms", INT64_MAX},
        {"9223372036854775808ms", -1},
        {"9223372036854775807s", -1},
        {"", -1},
        {"10", -1},
        {"-1s", -1},
        {"s", -1},
        {"1.5s", -1},
        {"10S", -1},
        {"10s ", -1},
        {" 10s", -1},
        {"10s5", -1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t ms = -1;
        enum mb_status status = mb_parse_duration_ms(cases[i].text, &ms);

        if (status != (cases[i].ms < 0 ? MB_INVALID : MB_OK) ||
            (status == MB_OK && ms != cases[i].ms))
            fail_msg("\"%s\" gave %d and %lld", cases[i].text, status, (long long)ms);
    }
}

static void sizes(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: none */
    } cases[] = {
        {"0", 0},
        {"1024", 1024},
        {"64KiB", 65536},
        {"16MiB", 16 << 20},
        {"2GiB", 2147483648},
        {"1TiB", 1099511627776},
        {"3000000000", 3000000000},
        {"1kB", 1000},
        {"5 MiB", 5 << 20},
        {"7B", 7},
        {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", -1},
        {"8388608TiB", -1},
        {"18446744073709551617", -1},
        {"", -1},
        {"-1", -1},
        {"KiB", -1},
        {"64kib", -1},
        {"64Ki", -1},
        {"1e3", -1},
        {"0x10", -1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t bytes = -1;
        enum mb_status status = mb_parse_size_bytes(cases[i].text, &bytes);

        if (status != (cases[i].bytes < 0 ? MB_INVALID : MB_OK) ||
            (status == MB_OK && bytes != cases[i].bytes))
            fail_msg("\"%s\" gave %d and %lld", cases[i].text, status, (long long)bytes);
    }
}

static void times(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: none */
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-01-31T00:00:00Z", 1769817600000},
        {"2026-01-31T01:30:00+01:30", 1769817600000},
        {"2026-01-30T23:00:00-0100", 1769817600000},
        {"2026-01-31t00:00:00.250z", 1769817600250},
        {"2026-01-31 00:00:00.1234567Z", 1769817600123},
        {"2024-02-29T00:00:00Z", 1709164800000},
        {"2023-02-29T00:00:00Z", -1},
        {"2026-13-01T00:00:00Z", -1},
        {"2026-00-01T00:00:00Z", -1},
        {"2026-01-32T00:00:00Z", -1},
        {"2026-01-31T24:00:00Z", -1},
        {"2026-01-31T00:60:00Z", -1},
        {"2026-01-31", -1},
        {"2026-01-31T00:00:00", -1},
        {"2026-01-31T00:00:00Zx", -1},
        {"2026-01-31T00:00:00+1", -1},
        {"1969-12-31T23:59:59Z", -1},
        {"", -1},
        {"-", -1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t ms = -1;
        enum mb_status status = mb_parse_time_ms(cases[i].text, &ms);

        if (status != (cases[i].ms < 0 ? MB_INVALID : MB_OK) ||
            (status == MB_OK && ms != cases[i].ms))
            fail_msg("\"%s\" gave %d and %lld", cases[i].text, status, (long long)ms);
    }
}

static void starts(void **state)
{
    struct mb_position position;

    (void)state;
    assert_int_equal(mb_parse_start("earliest", 0, &position), MB_OK);
    assert_int_equal(position.kind, MB_POSITION_BEGIN);
    assert_int_equal(mb_parse_start("latest", 0, &position), MB_OK);
    assert_int_equal(position.kind, MB_POSITION_END);
    assert_int_equal(mb_parse_start("stored", 0, &position), MB_OK);
    assert_int_equal(position.kind, MB_POSITION_STORED);
    assert_int_equal(mb_parse_start("-1h", 5000000, &position), MB_OK);
    assert_int_equal(position.kind, MB_POSITION_TIME);
    assert_int_equal(position.lo, 1400000);
    assert_int_equal(mb_parse_start("-1h", 1000, &position), MB_OK);
    assert_int_equal(position.lo, 0);
    assert_int_equal(mb_parse_start("2026-01-31T00:00:00Z", 0, &position), MB_OK);
    assert_int_equal(position.lo, 1769817600000);
    assert_int_equal(mb_parse_start("Earliest", 0, &position), MB_INVALID);
    assert_int_equal(mb_parse_start("", 0, &position), MB_INVALID);
    assert_int_equal(mb_parse_start("1h", 0, &position), MB_INVALID);
}

static enum mb_status set(struct mb_settings *settings, const char *name, const char *text,
                          struct mb_error *err)
{
    size_t index;

    assert_int_equal(mb_settings_find(settings->table, name, &index, NULL), MB_OK);
    return mb_settings_set(settings, index, &text, 1, false, 7, err);
}

static void defaults_are_applied(void **state)
{
    struct mb_settings settings;
    struct mb_applied *applied;
    const struct fake_source *source;
    struct mb_error err;

    (void)state;
    assert_int_equal(mb_settings_init(&settings, &fake_backend.source_options), MB_OK);
    assert_int_equal(mb_settings_apply(&settings, true, &applied, &err), MB_OK);
    source = mb_applied_struct(applied);
    assert_null(source->topic);
    assert_int_equal(source->topics.count, 0);
    assert_int_equal(source->start.kind, MB_POSITION_BEGIN);
    assert_int_equal(source->prefetch, 100);
    assert_int_equal(source->isolation, 0);
    assert_false(source->exclusive);
    mb_applied_destroy(applied);
    mb_settings_release(&settings);
}

static void values_are_applied(void **state)
{
    static const char *const names[] = {"a", "b c", "^d.*$"};
    struct mb_settings settings;
    struct mb_settings same;
    struct mb_applied *applied;
    const struct fake_source *source;
    struct mb_error err;
    size_t index;

    (void)state;
    assert_int_equal(mb_settings_init(&settings, &fake_backend.source_options), MB_OK);
    assert_int_equal(mb_settings_init(&same, &fake_backend.source_options), MB_OK);
    assert_int_equal(set(&settings, "topic", "orders", &err), MB_OK);
    assert_int_equal(set(&settings, "prefetch", "1000", &err), MB_OK);
    assert_int_equal(set(&settings, "isolation", "read_uncommitted", &err), MB_OK);
    assert_int_equal(set(&settings, "exclusive", "true", &err), MB_OK);
    assert_int_equal(set(&settings, "start", "latest", &err), MB_OK);
    assert_int_equal(mb_settings_find(settings.table, "topics", &index, NULL), MB_OK);
    assert_int_equal(mb_settings_set(&settings, index, names, 3, true, 9, &err), MB_OK);
    assert_string_equal(mb_settings_text(&settings, "topics"), "a");
    assert_string_equal(mb_settings_text(&settings, "prefetch"), "1000");
    assert_string_equal(mb_settings_text(&same, "prefetch"), "100");
    assert_null(mb_settings_text(&same, "topic"));
    assert_null(mb_settings_text(&same, "nothing"));
    assert_int_equal(mb_settings_line(&settings, "topics"), 9);
    assert_false(mb_settings_equal(&settings, &same));
    assert_true(mb_settings_equal(&settings, &settings));
    assert_int_equal(mb_settings_apply(&settings, true, &applied, &err), MB_OK);
    /* What was applied does not depend on the settings any more. */
    mb_settings_release(&settings);
    source = mb_applied_struct(applied);
    assert_string_equal(source->topic, "orders");
    assert_int_equal(source->topics.count, 3);
    assert_string_equal(source->topics.items[1], "b c");
    assert_null(source->topics.items[3]);
    assert_int_equal(source->prefetch, 1000);
    assert_int_equal(source->isolation, 1);
    assert_int_equal(source->start.kind, MB_POSITION_END);
    assert_true(source->exclusive);
    mb_applied_destroy(applied);
    mb_settings_release(&same);
}

static void wrong_values(void **state)
{
    static const struct {
        const struct mb_option_table *table;
        const char *name;
        const char *text;
        const char *expected; /* part of the message */
    } cases[] = {
        {&fake_backend.source_options, "prefetch", "0", "between 1 and 1000, not 0"},
        {&fake_backend.source_options, "prefetch", "1001", "between 1 and 1000"},
        {&fake_backend.source_options, "prefetch", "-5", "between 1 and 1000, not -5"},
        {&fake_backend.source_options, "prefetch", "x", "must be a whole number, not \"x\""},
        {&fake_backend.source_options, "prefetch", "99999999999999999999", "too large"},
        {&fake_backend.source_options, "isolation", "none", "one of \"read_committed\""},
        {&fake_backend.source_options, "exclusive", "yes", "true or false, not \"yes\""},
        {&fake_backend.source_options, "start", "now", "must be \"earliest\""},
        {&fake_backend.source_options, "topic", "", "must not be empty"},
        {&fake_backend.source_options, "topic", "^(", "no regular expression"},
        {&fake_backend.source_options, "topic", "\xff", "UTF-8"},
        {&fake_backend.sink_options, "topic", "a.${b}", "topic: "},
        {&fake_backend.sink_options, "max_size", "10", "between 1KiB and 1GiB"},
        {&fake_backend.sink_options, "partitions", "-1", "at least 0, not -1"},
        {&fake_backend.endpoint_options, "timeout", "10", "its unit is missing"},
        {&fake_backend.endpoint_options, "timeout", "10ms", "between 100ms and 1m"},
        {&fake_backend.endpoint_options, "properties", "abc", "\"name=value\""},
        {&fake_backend.endpoint_options, "properties", "=abc", "\"name=value\""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct mb_settings settings;
        struct mb_error err = {0};

        assert_int_equal(mb_settings_init(&settings, cases[i].table), MB_OK);
        if (set(&settings, cases[i].name, cases[i].text, &err) != MB_INVALID ||
            strstr(err.text, cases[i].expected) == NULL)
            fail_msg("%s = \"%s\": %s", cases[i].name, cases[i].text, err.text);
        mb_settings_release(&settings);
    }
}

static const char *password_of(const char *text, struct mb_error *err, char *buffer, size_t size)
{
    struct mb_settings settings;
    struct mb_applied *applied = NULL;

    mb_error_clear(err);
    assert_int_equal(mb_settings_init(&settings, &fake_backend.endpoint_options), MB_OK);
    assert_int_equal(set(&settings, "password", text, err), MB_OK);
    if (mb_settings_apply(&settings, true, &applied, err) == MB_OK)
        snprintf(buffer, size, "%s",
                 ((const struct fake_endpoint *)mb_applied_struct(applied))->password);
    mb_applied_destroy(applied);
    mb_settings_release(&settings);
    return err->status == MB_OK ? buffer : NULL;
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void secrets(void **state)
{
    char folder[] = "/tmp/mbridge-settings-XXXXXX";
    struct mb_error err;
    char buffer[256];
    char path[128];
    char text[160];

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/word", folder);
    snprintf(text, sizeof text, "file:%s", path);
    assert_null(password_of(text, &err, buffer, sizeof buffer));
    assert_int_equal(err.status, MB_NOT_FOUND);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, "password"));

    write_file(path, "s3cret\n", 7);
    assert_string_equal(password_of(text, &err, buffer, sizeof buffer), "s3cret");
    write_file(path, "s3 cret\n\n", 9);
    assert_string_equal(password_of(text, &err, buffer, sizeof buffer), "s3 cret\n");
    write_file(path, "a\0b", 3);
    assert_null(password_of(text, &err, buffer, sizeof buffer));
    write_file(path, "s3cret", 6);
    assert_int_equal(chmod(path, 0644), 0);
    assert_non_null(mb_secret_exposure(text));
    assert_int_equal(chmod(path, 0600), 0);
    assert_null(mb_secret_exposure(text));

    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
    assert_string_equal(password_of("credential:word", &err, buffer, sizeof buffer), "s3cret");
    assert_null(password_of("credential:../word", &err, buffer, sizeof buffer));
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    assert_null(password_of("credential:word", &err, buffer, sizeof buffer));
    assert_non_null(strstr(err.text, "LoadCredential"));

    assert_int_equal(setenv("MBRIDGE_TEST_WORD", "from env", 1), 0);
    assert_string_equal(password_of("env:MBRIDGE_TEST_WORD", &err, buffer, sizeof buffer),
                        "from env");
    assert_int_equal(unsetenv("MBRIDGE_TEST_WORD"), 0);
    assert_null(password_of("env:MBRIDGE_TEST_WORD", &err, buffer, sizeof buffer));
    assert_string_equal(password_of("clear:text", &err, buffer, sizeof buffer), "clear:text");
    unlink(path);
    rmdir(folder);
}

static void secrets_stay_unresolved_when_not_asked_for(void **state)
{
    struct mb_settings settings;
    struct mb_applied *applied;
    struct mb_error err;

    (void)state;
    assert_int_equal(mb_settings_init(&settings, &fake_backend.endpoint_options), MB_OK);
    assert_int_equal(set(&settings, "password", "env:MBRIDGE_TEST_NONE", &err), MB_OK);
    assert_int_equal(mb_settings_apply(&settings, false, &applied, &err), MB_OK);
    assert_string_equal(((const struct fake_endpoint *)mb_applied_struct(applied))->password,
                        "env:MBRIDGE_TEST_NONE");
    mb_applied_destroy(applied);
    mb_settings_release(&settings);
}

static void suggestions(void **state)
{
    static const char *const names[] = {"topic",    "topics",      "start",
                                        "prefetch", "routing_key", "to"};
    static const struct {
        const char *wanted;
        const char *best; /* NULL: none */
    } cases[] = {
        {"topik", "topic"},
        {"topci", "topic"},
        {"tpoics", "topics"},
        {"routing-key", "routing_key"},
        {"routingkey", "routing_key"},
        {"Start", "start"},
        {"pre", "prefetch"},
        {"colour", NULL},
        {"x", NULL},
        {"too", "to"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct mb_suggestion suggestion;

        mb_suggestion_init(&suggestion, cases[i].wanted);
        for (size_t k = 0; k < COUNT(names); k++)
            mb_suggestion_offer(&suggestion, names[k]);
        if (suggestion.best == NULL || cases[i].best == NULL)
            assert_ptr_equal(suggestion.best, cases[i].best);
        else
            assert_string_equal(suggestion.best, cases[i].best);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),
        cmocka_unit_test(sizes),
        cmocka_unit_test(times),
        cmocka_unit_test(starts),
        cmocka_unit_test(defaults_are_applied),
        cmocka_unit_test(values_are_applied),
        cmocka_unit_test(wrong_values),
        cmocka_unit_test(secrets),
        cmocka_unit_test(secrets_stay_unresolved_when_not_asked_for),
        cmocka_unit_test(suggestions),
    };

    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
