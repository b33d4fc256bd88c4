/* SPDX-License-Identifier: Apache-2.0 */
/* The memory backend's copies of messages: all of the envelope, into the store and out of it. */
#include "backends/memory/memory.h"
#include "kit/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static unsigned char memory[4096];

static void *no_more(struct mb_arena *arena, size_t size)
{
    (void)arena;
    (void)size;
    return NULL;
}

/* There and back, with nothing of the original left in between. */
static struct mb_message copy_of(const struct mb_message *original)
{
    struct mb_arena arena = {memory, memory + sizeof memory, no_more};
    struct mb_message copy = {.struct_size = sizeof copy};
    enum mb_cause cause;
    struct memory_record *record = memory_record_create(original, &cause);

    assert_non_null(record);
    assert_int_equal(memory_record_load(record, &arena, &copy), MB_OK);
    memory_record_destroy(record);
    return copy;
}

static void equals(struct mb_slice slice, const char *expected)
{
    assert_true(mb_slice_equal(slice, mb_slice_text(expected)));
}

static struct mb_message everything(void)
{
    static struct mb_properties properties = {
        .message_id = {.kind = MB_ID_STRING, .bytes = {"m-1", 3}},
        .subject = {"subject", 7},
        .group_sequence = 5};

    return (struct mb_message){.struct_size = sizeof(struct mb_message),
                               .body = MB_SLICE_LITERAL("body"),
                               .raw = MB_SLICE_LITERAL("raw"),
                               .properties = &properties,
                               .path = {11, 22},
                               .path_count = 2,
                               .delivery_count = 3,
                               .sidecar = MB_SLICE_LITERAL("sidecar"),
                               .stable_id = MB_SLICE_LITERAL("id"),
                               .reject_reason = "decode",
                               .reject_text = "it ends too early"};
}

static void a_copy_has_all_fields(void **state)
{
    struct mb_message original = everything();
    struct mb_message copy = copy_of(&original);

    (void)state;
    equals(copy.body, "body");
    equals(copy.raw, "raw");
    equals(copy.sidecar, "sidecar");
    equals(copy.stable_id, "id");
    assert_ptr_not_equal(copy.properties, original.properties);
    equals(copy.properties->message_id.bytes, "m-1");
    equals(copy.properties->subject, "subject");
    assert_null(copy.properties->to.data);
    assert_int_equal(copy.properties->group_sequence, 5);
    assert_int_equal(copy.path_count, 2);
    assert_true(copy.path[0] == 11 && copy.path[1] == 22);
    assert_int_equal(copy.delivery_count, 3);
    assert_string_equal(copy.reject_reason, "decode");
    assert_string_equal(copy.reject_text, "it ends too early");
    assert_ptr_not_equal(copy.reject_reason, original.reject_reason);
    assert_ptr_not_equal(copy.sidecar.data, original.sidecar.data);
}

static void what_is_not_there_stays_away(void **state)
{
    struct mb_message original = {.struct_size = sizeof original};
    struct mb_message copy = copy_of(&original);

    (void)state;
    assert_null(copy.properties);
    assert_null(copy.sidecar.data);
    assert_null(copy.stable_id.data);
    assert_null(copy.reject_reason);
    assert_null(copy.reject_text);
}

/* What an older core did not know is not read. */
static void a_shorter_message_is_copied_as_far_as_it_goes(void **state)
{
    struct mb_message original = everything();
    struct mb_message copy;

    (void)state;
    original.unheld = MB_LOST_BODY;
    original.struct_size = offsetof(struct mb_message, unheld);
    copy = copy_of(&original);
    equals(copy.body, "body");
    equals(copy.sidecar, "sidecar");
    assert_int_equal(copy.unheld, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_has_all_fields),
        cmocka_unit_test(what_is_not_there_stays_away),
        cmocka_unit_test(a_shorter_message_is_copied_as_far_as_it_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
