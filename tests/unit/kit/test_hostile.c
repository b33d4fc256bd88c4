/* SPDX-License-Identifier: Apache-2.0 */
/* Values that claim more than there is: refused before memory is taken for it. */
#include "kit/scratch.h"
#include "kit/types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY_MAX ((size_t)1 << 20)

#define BYTES(text) text, sizeof(text) - 1

static void refused(const void *data, size_t size)
{
    struct mb_types_reader reader = {.data = data, .size = size};
    struct mb_scratch scratch;
    struct mb_value value;

    mb_scratch_init(&scratch, (size_t)1 << 30);
    assert_int_not_equal(mb_types_read(&reader, &scratch.arena, &value), MB_OK);
    assert_true(scratch.size <= MEMORY_MAX);
    mb_scratch_release(&scratch);
}

static void sizes_beyond_the_end(void **state)
{
    (void)state;
    refused(BYTES("\xb0\xff\xff\xff\xff"
                  "abc")); /* binary */
    refused(BYTES("\xb1\x7f\xff\xff\xff"
                  "abc")); /* string */
    refused(BYTES("\xb3\x80\x00\x00\x00"
                  "abc"));                                          /* symbol */
    refused(BYTES("\xd0\xff\xff\xff\xff\x00\x00\x00\x01\x40"));     /* list */
    refused(BYTES("\xd1\xff\xff\xff\xff\x00\x00\x00\x02\x40\x40")); /* map */
    refused(BYTES("\xf0\xff\xff\xff\xff\x00\x00\x00\x01\x70"));     /* array */
    refused(BYTES("\xa0\xff"
                  "abc"));
    refused(BYTES("\xc0\xff\x01\x40"));
}

static void counts_beyond_the_size(void **state)
{
    (void)state;
    refused(BYTES("\xd0\x00\x00\x00\x05\xff\xff\xff\xff\x40"));
    refused(BYTES("\xd1\x00\x00\x00\x06\xff\xff\xff\xfe\x40\x40"));
    refused(BYTES("\xc0\x02\xff\x40"));
    refused(BYTES("\xf0\x00\x00\x00\x06\xff\xff\xff\xff\x70\x00"));
    refused(BYTES("\xe0\x03\xff\x70\x00"));
}

/* A byte says what billions of elements are that have none. */
static void elements_without_width(void **state)
{
    static const char types[] = "\x40\x41\x42\x43\x44\x45";

    (void)state;
    for (size_t i = 0; i + 1 < sizeof types; i++) {
        char array[] = "\xf0\x00\x00\x00\x05\xff\xff\xff\xff?";

        array[sizeof array - 2] = types[i];
        refused(array, sizeof array - 1);
    }
    refused(BYTES("\xf0\x00\x00\x00\x0e\xff\xff\xff\xff\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x43"));
}

static void nesting(void **state)
{
    enum { LEVELS = 100000 };
    static char deep[LEVELS * 9];
    size_t at = 0;

    (void)state;
    for (uint32_t left = LEVELS; left > 0; left--) {
        uint32_t size = (left - 1) * 9 + 4;

        deep[at] = '\xd0';
        for (unsigned i = 0; i < 4; i++)
            deep[at + 1 + i] = (char)(size >> (24 - 8 * i));
        memcpy(deep + at + 5, "\0\0\0", 3);
        deep[at + 8] = left > 1;
        at += 9;
    }
    refused(deep, sizeof deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_beyond_the_end),
        cmocka_unit_test(counts_beyond_the_size),
        cmocka_unit_test(elements_without_width),
        cmocka_unit_test(nesting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
