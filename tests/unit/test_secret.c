/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static char path[128];
static char reference[160];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/mbridge-secret-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/word", folder);
    snprintf(reference, sizeof reference, "file:%s", path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (unlink(path) != 0)
        rmdir(path);
    rmdir(folder);
    return 0;
}

static void write_file(const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void is(const char *expected)
{
    char *secret = NULL;
    struct mb_error err;

    mb_error_clear(&err);
    if (mb_secret_resolve(reference, &secret, &err) != MB_OK)
        fail_msg("%s", err.text);
    assert_string_equal(secret, expected);
    mb_secret_destroy(secret);
    assert_true(mb_secret_probe(reference, &err));
}

static void refused(enum mb_status status, const char *because)
{
    char *secret = NULL;
    struct mb_error err;

    mb_error_clear(&err);
    assert_int_equal(mb_secret_resolve(reference, &secret, &err), status);
    assert_null(secret);
    if (strstr(err.text, because) == NULL || strstr(err.text, path) == NULL)
        fail_msg("\"%s\" does not say \"%s\" of %s", err.text, because, path);
    mb_error_clear(&err);
    assert_false(mb_secret_probe(reference, &err));
    assert_non_null(strstr(err.text, because));
}

static void one_end_of_line_is_no_part_of_it(void **state)
{
    (void)state;
    write_file("word", 4);
    is("word");
    write_file("word\n", 5);
    is("word");
    write_file("word\r\n", 6);
    is("word");
    write_file(" word \n\n", 8);
    is(" word \n");
}

static void what_is_no_secret_is_refused(void **state)
{
    static char large[65537];

    (void)state;
    refused(MB_NOT_FOUND, "cannot be read");
    write_file("", 0);
    refused(MB_INVALID, "is empty");
    write_file("\n", 1);
    refused(MB_INVALID, "is empty");
    write_file("a\0b", 3);
    refused(MB_INVALID, "NUL");
    write_file("\0", 1);
    refused(MB_INVALID, "NUL");
    memset(large, 'x', sizeof large);
    write_file(large, sizeof large);
    refused(MB_INVALID, "larger than 64 KiB");
    write_file(large, sizeof large - 1);
    large[sizeof large - 1] = '\0';
    is(large);
}

/* alarm(2) ends the test if one of them holds it. */
static void what_is_no_file_does_not_hold_the_program(void **state)
{
    (void)state;
    alarm(10);
    assert_int_equal(mkfifo(path, 0600), 0);
    refused(MB_INVALID, "no regular file");
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    refused(MB_INVALID, "is a folder");
    rmdir(path);
    assert_int_equal(symlink("/dev/zero", path), 0);
    refused(MB_INVALID, "no regular file");
    unlink(path);
    assert_int_equal(symlink(path, path), 0);
    refused(MB_INVALID, "cannot be read");
    alarm(0);
}

/* As it is with the secrets of a container. */
static void links_are_followed(void **state)
{
    char target[128];

    (void)state;
    snprintf(target, sizeof target, "%s/target", folder);
    write_file("word", 4);
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(symlink("target", path), 0);
    is("word");
    assert_null(mb_secret_exposure(reference));
    assert_int_equal(chmod(target, 0644), 0);
    assert_non_null(mb_secret_exposure(reference));
    unlink(target);
}

static void exposed(mode_t mode, const char *how)
{
    const char *exposure;

    assert_int_equal(chmod(path, mode), 0);
    exposure = mb_secret_exposure(reference);
    if (how == NULL) {
        assert_null(exposure);
    } else {
        assert_non_null(exposure);
        assert_non_null(strstr(exposure, how));
    }
}

static void who_else_can_reach_it(void **state)
{
    (void)state;
    write_file("word", 4);
    exposed(0400, NULL);
    exposed(0600, NULL);
    exposed(0640, NULL); /* root's, for the group of the service */
    exposed(0644, "can read");
    exposed(0604, "can read");
    exposed(0620, "can change");
    exposed(0602, "can change");
    if (geteuid() == 0) {
        exposed(0600, NULL);
        assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
        exposed(0600, "belongs to a user");
    }
    assert_null(mb_secret_exposure("env:PATH"));
    assert_null(mb_secret_exposure("word"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(one_end_of_line_is_no_part_of_it),
        TEST(what_is_no_secret_is_refused),
        TEST(what_is_no_file_does_not_hold_the_program),
        TEST(links_are_followed),
        TEST(who_else_can_reach_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
