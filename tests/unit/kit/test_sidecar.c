/* SPDX-License-Identifier: Apache-2.0 */
/* The sidecar row by row: what it holds, how large it is, who wins. */
#include "sidecar_bench.h"

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

/* Two that are alike but for one thing. */
static void test_what_makes_a_difference(void **state)
{
    static const struct mb_header one[] = {HEADER("a", TEXT("1"))};
    static const struct mb_header other[] = {
        HEADER("a", {.type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL("1")})};
    struct mb_message a = {.present = MB_HAS_TIMESTAMP | MB_HAS_MESSAGE_ID | MB_HAS_DURABLE |
                                      MB_HAS_PRIORITY | MB_HAS_TTL | MB_HAS_EXPIRES_AT |
                                      MB_HAS_GROUP_SEQUENCE | MB_HAS_TO};
    struct mb_message b;
    struct mb_properties properties;

    (void)state;
#define DIFFERS(change, field)                                                                     \
    do {                                                                                           \
        b = a;                                                                                     \
        properties = *mb_properties_of(&a);                                                        \
        b.properties = &properties;                                                                \
        b.change;                                                                                  \
        assert_true(mb_message_difference(&a, &b) == (field));                                     \
        assert_true(mb_message_difference(&b, &a) == (field));                                     \
    } while (0)
    DIFFERS(timestamp_kind = MB_TIMESTAMP_CREATE_SECONDS, MB_HAS_TIMESTAMP);
    DIFFERS(timestamp_kind = MB_TIMESTAMP_LOG_APPEND, MB_HAS_TIMESTAMP);
    DIFFERS(timestamp_ms = 1, MB_HAS_TIMESTAMP);
    DIFFERS(properties->message_id.kind = MB_ID_BINARY, MB_HAS_MESSAGE_ID);
    DIFFERS(properties->message_id.bytes = MB_SLICE_LITERAL(""), MB_HAS_MESSAGE_ID);
    DIFFERS(properties->message_id.number = 1, 0); /* not of that kind */
    DIFFERS(properties->correlation_id.number = 1, 0);
    DIFFERS(present |= MB_HAS_CORRELATION_ID, MB_HAS_CORRELATION_ID);
    DIFFERS(durable = true, MB_HAS_DURABLE);
    DIFFERS(priority = 1, MB_HAS_PRIORITY);
    DIFFERS(ttl_ms = UINT64_C(1) << 63, MB_HAS_TTL);
    DIFFERS(expires_at_ms = -1, MB_HAS_EXPIRES_AT);
    DIFFERS(properties->group_sequence = 1, MB_HAS_GROUP_SEQUENCE);
    DIFFERS(properties->to = MB_SLICE_LITERAL(""), MB_HAS_TO);
    DIFFERS(body = MB_SLICE_LITERAL("b"), MB_LOST_BODY);
    DIFFERS(body = MB_SLICE_LITERAL(""), 0); /* data without bytes is empty */
    DIFFERS(body_kind = MB_BODY_NULL, MB_LOST_BODY);
    DIFFERS(origin = (const struct mb_origin *)state, 0);
    a.headers = one;
    a.headers_count = 1;
    DIFFERS(headers = other, MB_LOST_HEADERS);
    DIFFERS(headers_count = 0, MB_LOST_HEADERS);
#undef DIFFERS
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
    bench->natural.properties =
        &(struct mb_properties){.exchange = MB_SLICE_LITERAL("an exchange")};
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
    bench->natural.properties = &(struct mb_properties){.exchange = MB_SLICE_LITERAL(""),
                                                        .routing_key = MB_SLICE_LITERAL("a-queue")};
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
    bench->message.properties = &(struct mb_properties){.reply_to = MB_SLICE_LITERAL("a queue")};
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
    bench->message.properties =
        &(struct mb_properties){.content_type = MB_SLICE_LITERAL("application/octet-stream")};
    bench->natural.properties =
        &(struct mb_properties){.content_type = MB_SLICE_LITERAL("application/octet-stream")};
    set_headers(&bench->message, headers, 2);
    set_headers(&bench->natural, headers, 1);
    comes_back(bench);
    assert_true(bench->sidecar.size <= 7);
    bench->natural.properties->content_type = MB_SLICE_LITERAL("text/plain");
    restore(bench);
    assert_true(
        mb_slice_equal(bench->restored.headers[1].value.as.bytes, MB_SLICE_LITERAL("text/plain")));
}

/* Twice the same name and value: only one of them is the property's. */
static void test_header_shown_as_property_twice(void **state)
{
    static const struct mb_header headers[] = {HEADER("subject", TEXT("s")),
                                               HEADER("subject", TEXT("s"))};
    struct bench *bench = *state;

    bench->message.present = bench->natural.present = MB_HAS_SUBJECT;
    bench->message.properties = bench->natural.properties =
        &(struct mb_properties){.subject = MB_SLICE_LITERAL("s")};
    set_headers(&bench->message, headers, 2);
    comes_back(bench);
}

/* Nobody writes that; whoever does gets his headers once each. */
static void test_order_that_names_one_twice(void **state)
{
    static const struct mb_header as_sent[] = {HEADER("b", TEXT("2")), HEADER("a", TEXT("1"))};
    static const struct mb_header sorted[] = {HEADER("a", TEXT("1")), HEADER("b", TEXT("2"))};
    struct bench *bench = *state;

    COME_BACK(bench, as_sent, sorted, 12);
    memcpy(bench->sidecar.data + 8, bench->sidecar.data + 4, 4);
    restore(bench);
    assert_int_equal(bench->restored.headers_count, 2);
    assert_memory_equal(bench->restored.headers[0].name.data, "b", 1);
    assert_memory_equal(bench->restored.headers[1].name.data, "a", 1);
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

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(test_no_difference_no_sidecar),
        ROW(test_null_empty_and_absent),
        ROW(test_what_makes_a_difference),
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
        ROW(test_header_shown_as_property_twice),
        ROW(test_order_that_names_one_twice),
        ROW(test_name_taken_in_the_middle),
        ROW(test_bodies),
        ROW(test_null_and_empty_bodies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
