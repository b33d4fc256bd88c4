/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/registry.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct mb_registry *registry;
static char folder[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/mbridge-registry-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(setenv("MBRIDGE_MODULES", MBRIDGE_TEST_MODULES, 1), 0);
    assert_int_equal(mb_registry_create(&registry), MB_OK);
    return 0;
}

static int tear_down(void **state)
{
    char path[128];

    (void)state;
    mb_registry_destroy(registry);
    snprintf(path, sizeof path, "%s/good.so", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/text.so", folder);
    unlink(path);
    rmdir(folder);
    return 0;
}

static void use_folder(void)
{
    mb_registry_destroy(registry);
    assert_int_equal(setenv("MBRIDGE_MODULES", folder, 1), 0);
    assert_int_equal(mb_registry_create(&registry), MB_OK);
}

static void copy_good(const char *name, mode_t mode)
{
    char path[128];
    char buffer[4096];
    FILE *from = fopen(MBRIDGE_TEST_MODULES "/good.so", "rb");
    FILE *to;
    size_t size;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    to = fopen(path, "wb");
    assert_non_null(from);
    assert_non_null(to);
    while ((size = fread(buffer, 1, sizeof buffer, from)) > 0)
        assert_int_equal(fwrite(buffer, 1, size, to), size);
    fclose(from);
    fclose(to);
    assert_int_equal(chmod(path, mode), 0);
}

static void refused(const char *name, enum mb_status status, const char *because)
{
    const struct mb_backend *backend = NULL;
    struct mb_error err;

    mb_error_clear(&err);
    assert_int_equal(mb_registry_find(registry, name, &backend, &err), status);
    assert_null(backend);
    if (strstr(err.text, because) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", name, err.text, because);
}

static const struct mb_backend *found(const char *name)
{
    const struct mb_backend *backend = NULL;
    struct mb_error err;

    mb_error_clear(&err);
    if (mb_registry_find(registry, name, &backend, &err) != MB_OK)
        fail_msg("%s: %s", name, err.text);
    return backend;
}

static void test_finds(void **state)
{
    const struct mb_backend *backend = found("good");

    (void)state;
    assert_string_equal(backend->name, "good");
    assert_ptr_equal(found("good"), backend);
    assert_ptr_equal(found(MBRIDGE_TEST_MODULES "/good.so"), backend);
}

static void test_says_what_is_missing(void **state)
{
    (void)state;
    refused("no_such", MB_NOT_FOUND, "backend \"no_such\" is not installed");
    refused("no_such", MB_NOT_FOUND, "package mbridge-no-such");
    refused("no_such", MB_NOT_FOUND, "no no_such.so in " MBRIDGE_TEST_MODULES ", /");
    refused("no_such", MB_NOT_FOUND, "installed: ");
    refused("/nonexistent/x.so", MB_NOT_FOUND, "/nonexistent/x.so");
    refused("../good", MB_INVALID, "name");
    refused("Good", MB_INVALID, "name");
    refused("", MB_INVALID, "name");
    refused("/etc/passwd", MB_INVALID, "NAME.so");
    refused("/tmp/", MB_INVALID, "NAME.so");
}

static void test_refuses_other_interfaces(void **state)
{
    (void)state;
    refused("other_abi", MB_UNSUPPORTED, "version 3 of the module interface");
    refused("too_short", MB_UNSUPPORTED, "too short");
    refused("other_name", MB_UNSUPPORTED, "calls itself \"someone\"");
    refused("no_symbol", MB_UNSUPPORTED, "not a backend");
    refused("no_descriptor", MB_UNSUPPORTED, "not a backend");
    refused("no_poll", MB_UNSUPPORTED, "source operations lacks one");
    refused("no_role", MB_UNSUPPORTED, "neither");
}

static void test_refuses_what_is_no_module(void **state)
{
    char path[128];
    FILE *file;

    (void)state;
    use_folder();
    snprintf(path, sizeof path, "%s/text.so", folder);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("no object at all", file);
    fclose(file);
    refused("text", MB_UNSUPPORTED, "cannot load");
}

static void test_refuses_places_that_are_not_trusted(void **state)
{
    (void)state;
    use_folder();
    copy_good("good.so", 0666);
    refused("good", MB_UNSUPPORTED, "good.so is writable by everyone");
    copy_good("good.so", 0644);
    assert_int_equal(chmod(folder, 01777), 0);
    refused("good", MB_UNSUPPORTED, "the folder");
    assert_int_equal(chmod(folder, 0755), 0);
    assert_string_equal(found("good")->name, "good");
    refused(MBRIDGE_TEST_MODULES "/good.so", MB_UNSUPPORTED, "already there");
}

static void test_links_do_not_hide_the_place(void **state)
{
    char path[PATH_MAX];

    (void)state;
    copy_good("good.so", 0666);
    snprintf(path, sizeof path, "%s/link", folder);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/link/good.so", folder);
    assert_int_equal(symlink("../good.so", path), 0);
    refused(path, MB_UNSUPPORTED, "writable by everyone");
    unlink(path);
    snprintf(path, sizeof path, "%s/link", folder);
    rmdir(path);
}

static void test_adds(void **state)
{
    struct mb_backend own = {
        .abi_version = MB_ABI_VERSION, .struct_size = sizeof own, .name = "own"};
    struct mb_backend bad = {.abi_version = 0, .struct_size = sizeof bad, .name = "bad"};
    struct mb_error err;

    (void)state;
    assert_int_equal(mb_registry_add(registry, &own, &err), MB_OK);
    assert_ptr_equal(found("own"), &own);
    assert_int_equal(mb_registry_add(registry, &own, &err), MB_INVALID);
    assert_int_equal(mb_registry_add(registry, &bad, &err), MB_UNSUPPORTED);
    refused("bad", MB_NOT_FOUND, "not installed");
}

struct seen {
    char good[512];
    unsigned bad_count;
    bool bad_paths;
};

static void see(void *context, const struct mb_backend *backend)
{
    struct seen *seen = context;
    size_t used = strlen(seen->good);

    snprintf(seen->good + used, sizeof seen->good - used, " %s", backend->name);
}

static void see_bad(void *context, const char *path, const struct mb_error *err)
{
    struct seen *seen = context;

    seen->bad_count++;
    seen->bad_paths = *path == '/' && access(path, F_OK) == 0 && err->text[0] != '\0';
}

static void test_each(void **state)
{
    struct mb_backend last = {
        .abi_version = MB_ABI_VERSION, .struct_size = sizeof last, .name = "zzz"};
    struct mb_backend first = {
        .abi_version = MB_ABI_VERSION, .struct_size = sizeof first, .name = "0"};
    struct seen seen = {.bad_paths = false};
    struct mb_error err;

    (void)state;
    assert_int_equal(mb_registry_add(registry, &last, &err), MB_OK);
    assert_int_equal(mb_registry_add(registry, &first, &err), MB_OK);
    mb_registry_each(registry, see, see_bad, &seen);
    assert_memory_equal(seen.good, " 0", 2);
    assert_non_null(strstr(seen.good, " good"));
    assert_string_equal(seen.good + strlen(seen.good) - 4, " zzz");
    assert_true(seen.bad_count >= 7);
    assert_true(seen.bad_paths);
    mb_registry_each(registry, see, NULL, &seen);
}

static void test_schemes(void **state)
{
    const struct mb_backend *backend = NULL;
    const struct mb_url_rule *rule = NULL;
    struct mb_error err;

    (void)state;
    assert_int_equal(mb_registry_find_scheme(registry, "goodx", &backend, &rule, &err), MB_OK);
    assert_ptr_equal(backend, found("good"));
    assert_string_equal(rule->scheme, "goodx");
    assert_int_equal(mb_registry_find_scheme(registry, "shine", &backend, &rule, &err), MB_OK);
    assert_ptr_equal(backend, found("good"));
    assert_int_equal(mb_registry_find_scheme(registry, "sh+ne", &backend, &rule, &err),
                     MB_NOT_FOUND);
    assert_non_null(strstr(err.text, "sh+ne://"));
    assert_non_null(strstr(err.text, "goodx"));
}

static void test_destroys_nothing(void **state)
{
    (void)state;
    mb_registry_destroy(NULL);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_finds),
        TEST(test_says_what_is_missing),
        TEST(test_refuses_other_interfaces),
        TEST(test_refuses_what_is_no_module),
        TEST(test_refuses_places_that_are_not_trusted),
        TEST(test_links_do_not_hide_the_place),
        TEST(test_adds),
        TEST(test_each),
        TEST(test_schemes),
        cmocka_unit_test(test_destroys_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
