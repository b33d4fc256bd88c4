/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/registry.h"
#include "core/runtime/trust.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char above[64];
static char folder[96];
static char module[128];

static int set_up(void **state)
{
    FILE *file;

    (void)state;
    snprintf(above, sizeof above, "/tmp/mbridge-trust-XXXXXX");
    assert_non_null(mkdtemp(above));
    snprintf(folder, sizeof folder, "%s/modules", above);
    assert_int_equal(mkdir(folder, 0755), 0);
    snprintf(module, sizeof module, "%s/some.so", folder);
    file = fopen(module, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(chmod(module, 0644), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(module);
    rmdir(folder);
    rmdir(above);
    return 0;
}

static void check(enum mb_status (*of)(const char *path, struct mb_error *err), const char *because)
{
    struct mb_error err;

    mb_error_clear(&err);
    if (because == NULL) {
        if (of(module, &err) != MB_OK)
            fail_msg("%s", err.text);
    } else {
        assert_int_equal(of(module, &err), MB_UNSUPPORTED);
        if (strstr(err.text, because) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", err.text, because);
    }
}

static void modes(void **state)
{
    (void)state;
    check(mb_trust_file, NULL);
    check(mb_trust_folders, NULL);
    assert_int_equal(chmod(module, 0646), 0);
    check(mb_trust_file, "some.so is writable by everyone");
    assert_int_equal(chmod(folder, 0757), 0);
    check(mb_trust_folders, "modules is writable by everyone");
    assert_int_equal(chmod(folder, 01777), 0);
    check(mb_trust_folders, "modules is writable by everyone");
    assert_int_equal(chmod(folder, 0755), 0);
    check(mb_trust_folders, NULL);
}

static void folders_above(void **state)
{
    (void)state;
    assert_int_equal(chmod(above, 0777), 0);
    check(mb_trust_folders, above);
    assert_int_equal(chmod(above, 01777), 0); /* as /tmp is: nobody can put another in its place */
    check(mb_trust_folders, NULL);
}

static void owners(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(module, 12345, (gid_t)-1), 0);
    check(mb_trust_file, "belongs to user 12345");
    assert_int_equal(chown(module, 0, (gid_t)-1), 0);
    assert_int_equal(chown(folder, 12345, (gid_t)-1), 0);
    check(mb_trust_folders, "belongs to user 12345");
    /* Their own is trusted, and so is root's. */
    assert_int_equal(chmod(above, 0755), 0);
    assert_int_equal(seteuid(12345), 0);
    check(mb_trust_folders, NULL);
    check(mb_trust_file, NULL);
    assert_int_equal(seteuid(0), 0);
}

/* dlopen would wait for somebody to write into a pipe. */
static void only_files(void **state)
{
    (void)state;
    unlink(module);
    assert_int_equal(mkfifo(module, 0644), 0);
    check(mb_trust_file, "no regular file");
    unlink(module);
    check(mb_trust_file, "No such file");
}

static void the_folder_of_the_environment_is_absolute(void **state)
{
    struct mb_registry *registry;
    const struct mb_backend *backend = NULL;
    struct mb_error err;

    (void)state;
    assert_int_equal(chdir(above), 0);
    assert_int_equal(setenv("MBRIDGE_MODULES", "modules", 1), 0);
    assert_int_equal(mb_registry_create(&registry), MB_OK);
    mb_error_clear(&err);
    assert_int_equal(mb_registry_find(registry, "some", &backend, &err), MB_UNSUPPORTED);
    assert_non_null(strstr(err.text, "no absolute path"));
    mb_registry_destroy(registry);
    assert_int_equal(unsetenv("MBRIDGE_MODULES"), 0);
    assert_int_equal(chdir("/"), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(modes),
        TEST(folders_above),
        TEST(owners),
        TEST(only_files),
        TEST(the_folder_of_the_environment_is_absolute),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
