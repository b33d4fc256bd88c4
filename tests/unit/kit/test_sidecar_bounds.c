/* SPDX-License-Identifier: Apache-2.0 */
/* The sidecar where something is short: room, memory, or the sender's honesty. */
#include "sidecar_bench.h"

static void test_the_largest_is_left_out(void **state)
{
    static char large[600];
    struct bench *bench = *state;

    bench->message.present = MB_HAS_TO | MB_HAS_SUBJECT | MB_HAS_TTL | MB_HAS_USER_ID;
    bench->message.properties = &(struct mb_properties){
        .to = {large, sizeof large}, .subject = {large, 40}, .user_id = {large, 500}};
    bench->message.ttl_ms = 1000;
    for (size_t size_max = 0; size_max < 1200; size_max++) {
        uint64_t expected = size_max >= 1 + 603 + 503 + 3 + 42 ? 0
                            : size_max >= 1 + 503 + 3 + 42     ? MB_HAS_TO
                            : size_max >= 1 + 3 + 42           ? MB_HAS_TO | MB_HAS_USER_ID
                            : size_max >= 1 + 3 ? MB_HAS_TO | MB_HAS_USER_ID | MB_HAS_SUBJECT
                                                : bench->message.present;

        mb_text_clear(&bench->sidecar);
        assert_int_equal(mb_sidecar_write(&bench->message, &bench->natural, size_max,
                                          &bench->sidecar, &bench->lost),
                         MB_OK);
        assert_true(bench->sidecar.size <= size_max);
        if (bench->lost != expected)
            fail_msg("%zu: %#llx", size_max, (unsigned long long)bench->lost);
        restore(bench);
        assert_true(mb_message_difference(&bench->message, &bench->restored) == expected);
    }
}

/* However much there is to say: the memory is bounded by the room. */
static void test_memory_is_bounded(void **state)
{
    static struct mb_header many[4000];
    static char large[1u << 16];
    struct bench *bench = *state;

    for (size_t i = 0; i < 4000; i++)
        many[i] = (struct mb_header)HEADER("a", TEXT("a value of some length"));
    many[17].value.as.bytes = (struct mb_slice){large, sizeof large};
    set_headers(&bench->message, many, 4000);
    bench->sidecar.max_size = SIZE_MAX;
    assert_int_equal(
        mb_sidecar_write(&bench->message, &bench->natural, 1000, &bench->sidecar, &bench->lost),
        MB_OK);
    assert_true(bench->lost == MB_LOST_HEADERS);
    assert_true(bench->sidecar.size > 900 && bench->sidecar.size <= 1000);
    assert_true(bench->sidecar.capacity <= 4096);
}

/* Behind what is there already, which stays. */
static void test_appends(void **state)
{
    struct bench *bench = *state;

    bench->message.present = MB_HAS_TTL;
    mb_text_add(&bench->sidecar, "before", 6);
    assert_int_equal(
        mb_sidecar_write(&bench->message, &bench->natural, 100, &bench->sidecar, &bench->lost),
        MB_OK);
    assert_int_equal(bench->sidecar.size, 6 + 3);
    assert_memory_equal(bench->sidecar.data, "before\x01", 7);
    assert_int_equal(
        mb_sidecar_write(&bench->message, &bench->natural, 1, &bench->sidecar, &bench->lost),
        MB_OK);
    assert_int_equal(bench->sidecar.size, 6 + 3);
    assert_true(bench->lost == MB_HAS_TTL);
}

static void test_too_many_headers(void **state)
{
    static struct mb_header many[5000];
    struct bench *bench = *state;

    for (size_t i = 0; i < 5000; i++)
        many[i] = (struct mb_header)HEADER("a", TEXT("1"));
    set_headers(&bench->message, many, 4096);
    set_headers(&bench->natural, many, 4095);
    comes_back(bench);
    set_headers(&bench->message, many, 5000);
    bench->message.present = MB_HAS_TTL;
    write_sidecar(bench);
    assert_true(bench->lost == MB_LOST_HEADERS);
    restore(bench);
    assert_true(mb_message_difference(&bench->message, &bench->restored) == MB_LOST_HEADERS);
}

/* ---- what is malformed ---- */

static void is_refused(struct bench *bench, const char *bytes, size_t size)
{
    unsigned char *exact = malloc(size > 0 ? size : 1);
    struct mb_message read = bench->natural;
    bool malformed = false;

    assert_non_null(exact);
    memcpy(exact, bytes, size);
    read.sidecar = (struct mb_slice){exact, size};
    assert_int_equal(mb_sidecar_restore(&read, &bench->scratch.arena, &bench->restored, &malformed),
                     MB_OK);
    assert_true(malformed);
    assert_true(mb_message_difference(&bench->natural, &bench->restored) == 0);
    assert_null(bench->restored.sidecar.data);
    free(exact);
}

#define REFUSED(bench, bytes) is_refused(bench, bytes, sizeof(bytes) - 1)

static void test_malformed(void **state)
{
    struct bench *bench = *state;

    REFUSED(bench, "");
    REFUSED(bench, "\x00");
    REFUSED(bench, "\x02");             /* a later version */
    REFUSED(bench, "\x01\x50");         /* ADD ttl without its number */
    REFUSED(bench, "\x01\x50\x80\x80"); /* a number without its end */
    REFUSED(bench, "\x01\x50\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02"); /* 65 bits */
    REFUSED(bench, "\x01\x40\x05"
                   "abc");                  /* ADD key, shorter than it says */
    REFUSED(bench, "\x01\x54\x01");         /* a field that there is not */
    REFUSED(bench, "\x01\x50\x01\x50\x01"); /* ttl twice */
    REFUSED(bench, "\x01\x41\x04\x01");     /* an id of no kind */
    REFUSED(bench, "\x01\x41\x02\x02"
                   "a");                                /* a uuid of one byte */
    REFUSED(bench, "\x01\x4F\x03\x02");                 /* a timestamp of no kind */
    REFUSED(bench, "\x01\x49\x80\x80\x80\x80\x10");     /* a group sequence of 33 bits */
    REFUSED(bench, "\x01\x52\x02");                     /* durable: 2 */
    REFUSED(bench, "\x01\x6F\x00\x00\x00\x00");         /* a timestamp whose header says all */
    REFUSED(bench, "\x01\xA8");                         /* no such entry of headers */
    REFUSED(bench, "\x01\xA5\x03\x00");                 /* an order of the bridge's own */
    REFUSED(bench, "\x01\xA5\x00\x05\x00\x00\x00\x00"); /* an order of five, one there */
    REFUSED(bench, "\x01\xA6\x00\x00\x00\x00\x00");     /* a name of no type */
    REFUSED(bench, "\x01\xB3\x15\x02"
                   "a\x40"); /* a header of the bridge's own */
    REFUSED(bench, "\x01\xB0\x15\x02"
                   "a\xFF");                                        /* a value of no type */
    REFUSED(bench, "\x01\xC3\x01");                                 /* flags that there are not */
    REFUSED(bench, "\x01\xEB\x00\x00\x00\x00");                     /* no such entry of the body */
    REFUSED(bench, "\x01\xE0\x00\x00\x00\x00\xE0\x00\x00\x00\x00"); /* two of the body */
    REFUSED(bench, "\x01\xE6\x00\x00\x00\x00\x09");                 /* nine parts, none there */
    REFUSED(bench, "\x01\xE8\x00\x00\x00\x00\x40");                 /* a sequence that is null */
}

/* Sizes that do not add up to the body, although the witness fits. */
static void test_parts_that_do_not_fit(void **state)
{
    static const struct mb_value parts[] = {
        {.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("body")}};
    struct bench *bench = *state;
    char bytes[16];

    bench->message.body_kind = MB_BODY_MULTI_DATA;
    bench->message.body_value =
        (struct mb_value){.type = MB_LIST, .as.items = {.values = parts, .count = 1}};
    comes_back(bench);
    memcpy(bytes, bench->sidecar.data, bench->sidecar.size);
    bytes[bench->sidecar.size - 1] = 3;
    is_refused(bench, bytes, bench->sidecar.size);
    bytes[bench->sidecar.size - 1] = 5;
    is_refused(bench, bytes, bench->sidecar.size);
}

/* ---- memory ---- */

static uint32_t allocations_left;

static void *few(struct mb_arena *arena, size_t size)
{
    static unsigned char memory[1u << 16];

    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    arena->at = arena->end = memory + size; /* the next one comes here again */
    return size <= sizeof memory ? memory : NULL;
}

static void test_restore_without_memory(void **state)
{
    static const struct mb_header lost[] = {HEADER("a", TEXT("1")), HEADER("b", {.type = MB_LIST})};
    struct bench *bench = *state;
    struct mb_message read;
    enum mb_status status = MB_NO_MEMORY;
    bool malformed;

    bench->message.present = MB_HAS_TTL;
    set_headers(&bench->message, lost, 1);
    assert_true(write_sidecar(bench) > 0);
    read = bench->natural;
    read.sidecar = (struct mb_slice){bench->sidecar.data, bench->sidecar.size};
    for (uint32_t count = 0; count < 4; count++) {
        struct mb_arena arena = {.more = few};

        allocations_left = count;
        status = mb_sidecar_restore(&read, &arena, &bench->restored, &malformed);
        assert_int_equal(status, MB_NO_MEMORY);
        assert_false(malformed);
        assert_true(mb_message_difference(&bench->natural, &bench->restored) == 0);
    }
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(test_the_largest_is_left_out),
        ROW(test_memory_is_bounded),
        ROW(test_appends),
        ROW(test_too_many_headers),
        ROW(test_malformed),
        ROW(test_parts_that_do_not_fit),
        ROW(test_restore_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
