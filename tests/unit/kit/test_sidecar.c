/* SPDX-License-Identifier: Apache-2.0 */
/* The sidecar row by row: what it holds, how large it is, who wins, what is refused. */
#include "kit/scratch.h"
#include "kit/sidecar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEXT(text_)                                                                                \
    {                                                                                              \
        .type = MB_STRING, .as.bytes = MB_SLICE_LITERAL(text_)                                     \
    }
#define HEADER(name_, ...)                                                                         \
    {                                                                                              \
        .name = MB_SLICE_LITERAL(name_), .value = __VA_ARGS__, .name_type = MB_STRING              \
    }
#define SIDECAR_MAX 65536u

struct bench {
    struct mb_scratch scratch;
    struct mb_text sidecar;
    struct mb_message message;
    struct mb_message natural;
    struct mb_message restored;
    uint64_t lost;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);

    if (bench == NULL)
        return -1;
    mb_scratch_init(&bench->scratch, 1u << 24);
    bench->sidecar.max_size = 4 * SIDECAR_MAX;
    bench->message.body = MB_SLICE_LITERAL("body");
    bench->natural.body = MB_SLICE_LITERAL("body");
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    mb_scratch_release(&bench->scratch);
    mb_text_release(&bench->sidecar);
    free(bench);
    return 0;
}

static void set_headers(struct mb_message *message, const struct mb_header *headers, uint32_t count)
{
    message->headers = headers;
    message->headers_count = count;
}

static size_t write_sidecar(struct bench *bench)
{
    mb_text_clear(&bench->sidecar);
    assert_int_equal(mb_sidecar_write(&bench->message, &bench->natural, SIDECAR_MAX,
                                      &bench->sidecar, &bench->lost),
                     MB_OK);
    return bench->sidecar.size;
}

static void restore(struct bench *bench)
{
    struct mb_message read = bench->natural;
    bool malformed = true;

    if (bench->sidecar.size > 0)
        read.sidecar = (struct mb_slice){bench->sidecar.data, bench->sidecar.size};
    assert_int_equal(mb_sidecar_restore(&read, &bench->scratch.arena, &bench->restored, &malformed),
                     MB_OK);
    assert_false(malformed);
}

static void comes_back(struct bench *bench)
{
    assert_true(write_sidecar(bench) > 0);
    assert_true(bench->lost == 0);
    restore(bench);
    assert_true(mb_message_difference(&bench->message, &bench->restored) == 0);
}

static void test_no_difference_no_sidecar(void **state)
{
    static const struct mb_header headers[] = {HEADER("a", TEXT("1"))};
    static const struct mb_header copies[] = {
        HEADER("a", TEXT("1")),
        {.name = MB_SLICE_LITERAL("x-opt-mbridge-id"),
         .value = TEXT("id"),
         .section = MB_SECTION_BRIDGE},
    };
    struct bench *bench = *state;

    bench->message.present = bench->natural.present = MB_HAS_KEY | MB_HAS_TTL;
    bench->message.key = bench->natural.key = MB_SLICE_LITERAL("k");
    bench->message.ttl_ms = bench->natural.ttl_ms = 5;
    bench->message.priority = 7; /* not present: says nothing */
    bench->natural.path_count = 2;
    bench->natural.stable_id = MB_SLICE_LITERAL("id");
    bench->natural.redelivered = true;
    set_headers(&bench->message, headers, 1);
    set_headers(&bench->natural, copies, 2);
    assert_true(mb_message_difference(&bench->message, &bench->natural) == 0);
    assert_int_equal(write_sidecar(bench), 0);
    assert_true(bench->lost == 0);
    assert_null(bench->sidecar.data); /* and no memory was taken for it */
}

static void test_null_empty_and_absent(void **state)
{
    static const struct mb_slice forms[] = {{NULL, 0}, {"", 0}, {"x", 1}};
    struct bench *bench = *state;

    for (unsigned from = 0; from < 4; from++) {
        for (unsigned to = 0; to < 4; to++) {
            bench->message.present = from < 3 ? MB_HAS_KEY : 0;
            bench->natural.present = to < 3 ? MB_HAS_KEY : 0;
            bench->message.key = from < 3 ? forms[from] : MB_SLICE_NULL;
            bench->natural.key = to < 3 ? forms[to] : MB_SLICE_NULL;
            assert_true((mb_message_difference(&bench->message, &bench->natural) != 0) ==
                        (from != to));
            if (from == to)
                continue;
            comes_back(bench);
            assert_true(bench->restored.present == bench->message.present);
            assert_true((bench->restored.key.data == NULL) == (bench->message.key.data == NULL));
        }
    }
}

/* The order of the bits is part of the format; so is every byte of this. */
static void test_bytes_of_a_timestamp(void **state)
{
    static const unsigned char head[] = {1, 1u << 5 | 15};
    struct bench *bench = *state;
    const unsigned char *bytes;

    bench->message.present = bench->natural.present = MB_HAS_TIMESTAMP;
    bench->message.timestamp_ms = 1700000000123;
    bench->message.timestamp_kind = MB_TIMESTAMP_LOG_APPEND;
    bench->natural.timestamp_ms = 1700000000000;
    bench->natural.timestamp_kind = MB_TIMESTAMP_CREATE_SECONDS;
    comes_back(bench);
    assert_int_equal(bench->sidecar.size, 9);
    bytes = (const unsigned char *)bench->sidecar.data;
    assert_memory_equal(bytes, head, sizeof head);
    assert_int_equal(bytes[6], MB_TIMESTAMP_LOG_APPEND);
    assert_int_equal(bytes[7], 0xF6); /* 246, zigzag of 123 */
    assert_int_equal(bytes[8], 0x01);
}

/* A log that gives its own time does so after the sidecar was written. */
static void test_time_of_a_log(void **state)
{
    struct bench *bench = *state;

    bench->message.present = bench->natural.present = MB_HAS_TIMESTAMP;
    bench->message.timestamp_ms = 1700000000123;
    bench->natural.timestamp_kind = MB_TIMESTAMP_LOG_APPEND;
    comes_back(bench);
    bench->natural.timestamp_ms = 1700000099999;
    restore(bench);
    assert_true(mb_message_difference(&bench->message, &bench->restored) == 0);
    bench->message.timestamp_kind = MB_TIMESTAMP_LOG_APPEND;
    assert_true(mb_message_difference(&bench->message, &bench->natural) == 0);
}

/* The hashes are part of the format: other versions, other machines. */
static void test_bytes_do_not_change(void **state)
{
    static const struct mb_header typed[] = {HEADER("count", {.type = MB_I32, .as.i = 5})};
    static const struct mb_header text[] = {HEADER("count", TEXT("5"))};
    static const unsigned char expected[] = {
        0x01,                                     /* version */
        0x0D, 0xA2, 0x6A, 0xE3, 0xDE,             /* no exchange */
        0x12, 0x01,                               /* no durable */
        0xA1, 0xED, 0xBF, 0x22, 0x0A, 0x54, 0x05, /* count: int 5 */
    };
    struct bench *bench = *state;

    set_headers(&bench->message, typed, 1);
    set_headers(&bench->natural, text, 1);
    bench->natural.present = MB_HAS_DURABLE | MB_HAS_EXCHANGE;
    bench->natural.durable = true;
    bench->natural.exchange = MB_SLICE_LITERAL("an exchange");
    comes_back(bench);
    assert_int_equal(bench->sidecar.size, sizeof expected);
    assert_memory_equal(bench->sidecar.data, expected, sizeof expected);
}

/* A log's message in a queue: milliseconds, and what the queue's form has besides. */
static void test_log_to_queue_is_small(void **state)
{
    static const struct mb_header headers[] = {HEADER("a", TEXT("1")), HEADER("b", TEXT("2"))};
    struct bench *bench = *state;

    bench->message.present = MB_HAS_KEY | MB_HAS_TIMESTAMP;
    bench->message.key = bench->natural.key = MB_SLICE_LITERAL("k");
    bench->message.timestamp_ms = 1700000000999;
    set_headers(&bench->message, headers, 2);
    set_headers(&bench->natural, headers, 2);
    bench->natural.present =
        MB_HAS_KEY | MB_HAS_TIMESTAMP | MB_HAS_DURABLE | MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY;
    bench->natural.timestamp_ms = 1700000000000;
    bench->natural.timestamp_kind = MB_TIMESTAMP_CREATE_SECONDS;
    bench->natural.durable = true;
    bench->natural.exchange = MB_SLICE_LITERAL("");
    bench->natural.routing_key = MB_SLICE_LITERAL("a-queue");
    comes_back(bench);
    assert_true(bench->sidecar.size < 24);
}

/* ---- headers ---- */

static void headers_come_back(struct bench *bench, const struct mb_header *message,
                              uint32_t message_count, const struct mb_header *natural,
                              uint32_t natural_count, size_t size)
{
    set_headers(&bench->message, message, message_count);
    set_headers(&bench->natural, natural, natural_count);
    comes_back(bench);
    if (bench->sidecar.size > size)
        fail_msg("%zu bytes instead of %zu", bench->sidecar.size, size);
}

#define COME_BACK(bench, message, natural, size)                                                   \
    headers_come_back(bench, message, sizeof(message) / sizeof(message)[0], natural,               \
                      sizeof(natural) / sizeof(natural)[0], size)

static void test_type_of_a_header(void **state)
{
    static const struct mb_header typed[] = {
        HEADER("n", {.type = MB_I32, .as.i = 5}),
        HEADER("s", TEXT("text")),
    };
    static const struct mb_header text[] = {HEADER("n", TEXT("5")), HEADER("s", TEXT("text"))};
    static const struct mb_header symbol[] = {
        HEADER("n", TEXT("5")),
        HEADER("s", {.type = MB_SYMBOL, .as.bytes = MB_SLICE_LITERAL("text")}),
    };

    COME_BACK(*state, typed, text, 8);
    COME_BACK(*state, symbol, text, 6);
    COME_BACK(*state, text, symbol, 6);
}

static void test_name_types(void **state)
{
    static const struct mb_header symbol[] = {
        {.name = MB_SLICE_LITERAL("a"), .value = TEXT("1"), .name_type = MB_SYMBOL}};
    static const struct mb_header string[] = {HEADER("a", TEXT("1"))};
    static const struct mb_header unsaid[] = {{.name = MB_SLICE_LITERAL("a"), .value = TEXT("1")}};
    struct bench *bench = *state;

    COME_BACK(bench, symbol, string, 7);
    set_headers(&bench->message, unsaid, 1);
    assert_true(mb_message_difference(&bench->message, &bench->natural) == 0);
}

static void test_duplicates_of_which_the_last_wins(void **state)
{
    static const struct mb_header all[] = {HEADER("a", TEXT("1")), HEADER("b", TEXT("2")),
                                           HEADER("a", TEXT("3"))};
    static const struct mb_header last[] = {HEADER("b", TEXT("2")), HEADER("a", TEXT("3"))};
    static const struct mb_header edited[] = {HEADER("b", TEXT("2")), HEADER("a", TEXT("4"))};
    struct bench *bench = *state;

    COME_BACK(bench, all, last, 13);
    set_headers(&bench->natural, edited, 2);
    restore(bench);
    assert_int_equal(bench->restored.headers_count, 2); /* a is what it is now, once */
}

static void test_order(void **state)
{
    static const struct mb_header as_sent[] = {HEADER("c", TEXT("1")), HEADER("a", TEXT("2")),
                                               HEADER("b", TEXT("3"))};
    static const struct mb_header sorted[] = {HEADER("a", TEXT("2")), HEADER("b", TEXT("3")),
                                              HEADER("c", TEXT("1"))};
    static const struct mb_header edited[] = {HEADER("a", TEXT("9")), HEADER("b", TEXT("3")),
                                              HEADER("c", TEXT("1")), HEADER("x", TEXT("0"))};
    struct bench *bench = *state;

    COME_BACK(bench, as_sent, sorted, 16);
    set_headers(&bench->natural, edited, 4);
    restore(bench);
    assert_int_equal(bench->restored.headers_count, 4);
    assert_memory_equal(bench->restored.headers[0].name.data, "c", 1);
    assert_memory_equal(bench->restored.headers[1].value.as.bytes.data, "9", 1);
    assert_memory_equal(bench->restored.headers[3].name.data, "x", 1);
}

static void test_sections(void **state)
{
    static const struct mb_header sections[] = {
        {.name = MB_SLICE_LITERAL("x-a"),
         .value = TEXT("a long value that need not be there twice"),
         .section = MB_SECTION_MESSAGE_ANNOTATIONS,
         .name_type = MB_SYMBOL},
        HEADER("h", TEXT("1")),
        {.name = MB_SLICE_LITERAL("f"),
         .value = TEXT("2"),
         .section = MB_SECTION_FOOTER,
         .name_type = MB_SYMBOL},
    };
    static const struct mb_header flat[] = {
        HEADER("h", TEXT("1")), HEADER("x-a", TEXT("a long value that need not be there twice"))};
    struct bench *bench = *state;

    COME_BACK(bench, sections, flat, 24);
    assert_true(mb_message_difference(&bench->message, &bench->natural) ==
                (MB_LOST_HEADERS | MB_LOST_ANNOTATIONS | MB_LOST_FOOTER));
}

/* A property that has no other place than a header: five bytes, as the header says the rest. */
static void test_property_shown_as_header(void **state)
{
    static const struct mb_header own[] = {HEADER("reply-to", TEXT("mine"))};
    static const struct mb_header shown[] = {HEADER("reply-to", TEXT("mine")),
                                             HEADER("reply-to", TEXT("a queue")),
                                             HEADER("priority", TEXT("4"))};
    static const struct mb_header edited[] = {HEADER("reply-to", TEXT("mine")),
                                              HEADER("reply-to", TEXT("another")),
                                              HEADER("priority", TEXT("4"))};
    struct bench *bench = *state;

    bench->message.present = MB_HAS_REPLY_TO | MB_HAS_PRIORITY;
    bench->message.reply_to = MB_SLICE_LITERAL("a queue");
    bench->message.priority = 4;
    COME_BACK(bench, own, shown, 1 + 5 + 6);
    assert_int_equal(bench->restored.headers_count, 1);
    set_headers(&bench->natural, edited, 3);
    restore(bench);
    assert_true(bench->restored.present == MB_HAS_PRIORITY);
    assert_int_equal(bench->restored.headers_count, 2);
}

/* A header that became a property: its name and its value are not said again. */
static void test_header_shown_as_property(void **state)
{
    static const struct mb_header headers[] = {
        HEADER("a", TEXT("1")), HEADER("content-type", TEXT("application/octet-stream"))};
    struct bench *bench = *state;

    bench->message.present = bench->natural.present = MB_HAS_CONTENT_TYPE;
    bench->message.content_type = MB_SLICE_LITERAL("application/octet-stream");
    bench->natural.content_type = MB_SLICE_LITERAL("application/octet-stream");
    set_headers(&bench->message, headers, 2);
    set_headers(&bench->natural, headers, 1);
    comes_back(bench);
    assert_true(bench->sidecar.size <= 7);
    bench->natural.content_type = MB_SLICE_LITERAL("text/plain");
    restore(bench);
    assert_true(
        mb_slice_equal(bench->restored.headers[1].value.as.bytes, MB_SLICE_LITERAL("text/plain")));
}

/* What was added later under the name of a lost header stays alone. */
static void test_name_taken_in_the_middle(void **state)
{
    static const struct mb_header lost[] = {HEADER("a", TEXT("1"))};
    static const struct mb_header added[] = {HEADER("a", TEXT("2"))};
    struct bench *bench = *state;

    set_headers(&bench->message, lost, 1);
    comes_back(bench);
    set_headers(&bench->natural, added, 1);
    restore(bench);
    assert_int_equal(bench->restored.headers_count, 1);
    assert_memory_equal(bench->restored.headers[0].value.as.bytes.data, "2", 1);
}

/* ---- body ---- */

static void test_bodies(void **state)
{
    static const struct mb_value parts[] = {
        {.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("bo")},
        {.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("")},
        {.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("dy")},
    };
    static const struct mb_value items[] = {
        {.type = MB_LIST, .as.items = {.values = parts, .count = 3}},
    };
    const struct {
        uint8_t kind;
        struct mb_value value;
        size_t size;
    } rows[] = {
        {MB_BODY_NULL, {.type = MB_NULL}, 6},
        {MB_BODY_MULTI_DATA, {.type = MB_LIST, .as.items = {parts, 3, 0}}, 10},
        {MB_BODY_VALUE, TEXT("body"), 6},
        {MB_BODY_VALUE, {.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("body")}, 6},
        {MB_BODY_VALUE, {.type = MB_SYMBOL, .as.bytes = MB_SLICE_LITERAL("body")}, 6},
        {MB_BODY_VALUE, TEXT("another body"), 20},
        {MB_BODY_VALUE, {.type = MB_I64, .as.i = -1}, 8},
        {MB_BODY_VALUE, {.type = MB_NULL}, 7},
        {MB_BODY_SEQUENCE, {.type = MB_LIST, .as.items = {items, 1, 0}}, 24},
        {MB_BODY_PAIRS, {.type = MB_MAP, .as.items = {parts, 2, 0}}, 18},
    };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bench->message.body_kind = rows[i].kind;
        bench->message.body_value = rows[i].value;
        comes_back(bench);
        if (bench->sidecar.size > rows[i].size)
            fail_msg("row %zu: %zu bytes", i, bench->sidecar.size);
        bench->natural.body = MB_SLICE_LITERAL("edited");
        restore(bench);
        assert_int_equal(bench->restored.body_kind, MB_BODY_BYTES);
        assert_true(mb_slice_equal(bench->restored.body, MB_SLICE_LITERAL("edited")));
        bench->natural.body = MB_SLICE_LITERAL("body");
    }
}

/* A null body that no wire can say, and an empty one that came out null. */
static void test_null_and_empty_bodies(void **state)
{
    struct bench *bench = *state;

    bench->message.body_kind = MB_BODY_NULL;
    bench->natural.body = MB_SLICE_LITERAL("");
    comes_back(bench);
    bench->message.body_kind = MB_BODY_BYTES;
    bench->message.body = MB_SLICE_LITERAL("");
    bench->natural.body_kind = MB_BODY_NULL;
    comes_back(bench);
    bench->message.body = MB_SLICE_LITERAL("something else");
    comes_back(bench);
}

/* ---- what does not fit ---- */

static void test_the_largest_is_left_out(void **state)
{
    static char large[600];
    struct bench *bench = *state;

    bench->message.present = MB_HAS_TO | MB_HAS_SUBJECT | MB_HAS_TTL | MB_HAS_USER_ID;
    bench->message.to = (struct mb_slice){large, sizeof large};
    bench->message.subject = (struct mb_slice){large, 40};
    bench->message.user_id = (struct mb_slice){large, 500};
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
    for (uint32_t count = 0; count < 3; count++) {
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
        ROW(test_no_difference_no_sidecar),
        ROW(test_null_empty_and_absent),
        ROW(test_bytes_of_a_timestamp),
        ROW(test_time_of_a_log),
        ROW(test_bytes_do_not_change),
        ROW(test_log_to_queue_is_small),
        ROW(test_type_of_a_header),
        ROW(test_name_types),
        ROW(test_duplicates_of_which_the_last_wins),
        ROW(test_order),
        ROW(test_sections),
        ROW(test_property_shown_as_header),
        ROW(test_header_shown_as_property),
        ROW(test_name_taken_in_the_middle),
        ROW(test_bodies),
        ROW(test_null_and_empty_bodies),
        ROW(test_the_largest_is_left_out),
        ROW(test_appends),
        ROW(test_too_many_headers),
        ROW(test_malformed),
        ROW(test_parts_that_do_not_fit),
        ROW(test_restore_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
