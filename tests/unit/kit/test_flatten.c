/* SPDX-License-Identifier: Apache-2.0 */
/* Headers and bodies in plain bytes, the names of fields, and the scratch they lie in. */
#include "kit/field.h"
#include "kit/flatten.h"
#include "kit/types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEXT(text_)                                                                                \
    {                                                                                              \
        .type = MB_STRING, .as.bytes = MB_SLICE_LITERAL(text_)                                     \
    }
#define BINARY(text_)                                                                              \
    {                                                                                              \
        .type = MB_BINARY, .as.bytes = MB_SLICE_LITERAL(text_)                                     \
    }
#define HEADER(name_, ...)                                                                         \
    {                                                                                              \
        .name = MB_SLICE_LITERAL(name_), .value = __VA_ARGS__, .name_type = MB_STRING              \
    }

struct bench {
    struct mb_scratch scratch;
    struct mb_message message;
    struct mb_message natural;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);

    if (bench == NULL)
        return -1;
    mb_scratch_init(&bench->scratch, 1u << 20);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    mb_scratch_release(&bench->scratch);
    free(bench);
    return 0;
}

static void flatten(struct bench *bench, uint64_t shown)
{
    bench->natural = bench->message;
    assert_true(mb_properties_own(&bench->natural, &bench->scratch.arena));
    assert_int_equal(mb_flatten_headers(&bench->message, shown, &bench->scratch, &bench->natural),
                     MB_OK);
}

static void header_is(const struct bench *bench, uint32_t at, const char *name, const char *text)
{
    const struct mb_header *header = &bench->natural.headers[at];

    assert_true(at < bench->natural.headers_count);
    assert_int_equal(header->section, MB_SECTION_APPLICATION);
    assert_int_equal(header->name_type, MB_STRING);
    assert_true(mb_slice_equal(header->name, mb_slice_text(name)));
    assert_int_equal(header->value.type, MB_STRING);
    assert_true(mb_slice_equal(header->value.as.bytes, mb_slice_text(text)));
}

static void test_values(void **state)
{
    static const struct mb_value items[] = {TEXT("k"), {.type = MB_I64, .as.i = 1}};
    static const struct mb_header headers[] = {
        HEADER("i", {.type = MB_I32, .as.i = -5}),
        HEADER("b", {.type = MB_BOOL, .as.b = true}),
        HEADER("m", {.type = MB_MAP, .as.items = {items, 2, 0}}),
        HEADER("y", {.type = MB_SYMBOL, .as.bytes = MB_SLICE_LITERAL("sym")}),
        HEADER("e", TEXT("")),
        HEADER("s", {.type = MB_DECIMAL_SCALED, .as.scaled = {255, UINT32_MAX}}),
        HEADER("n", {.type = MB_NULL}),
        HEADER("nul", TEXT("a\0b")),
        HEADER("bin", BINARY("\xFF")),
    };
    struct bench *bench = *state;

    bench->message.headers = headers;
    bench->message.headers_count = 9;
    flatten(bench, 0);
    assert_int_equal(bench->natural.headers_count, 9);
    header_is(bench, 0, "i", "-5");
    header_is(bench, 1, "b", "true");
    header_is(bench, 2, "m", "{\"k\":1}");
    header_is(bench, 3, "y", "sym");
    header_is(bench, 4, "e", "");
    assert_int_equal(bench->natural.headers[5].value.as.bytes.size, 257);
    assert_int_equal(bench->natural.headers[6].value.type, MB_NULL);
    assert_int_equal(bench->natural.headers[7].value.type, MB_BINARY);
    assert_int_equal(bench->natural.headers[8].value.type, MB_BINARY);
}

static void test_sections_that_are_no_headers(void **state)
{
    static const struct mb_header headers[] = {
        {.name = MB_SLICE_LITERAL("a"), .section = MB_SECTION_MESSAGE_ANNOTATIONS},
        {.name = MB_SLICE_LITERAL("f"), .section = MB_SECTION_FOOTER},
        {.name = MB_SLICE_LITERAL("b"), .section = MB_SECTION_BRIDGE},
        HEADER("h", TEXT("1")),
    };
    struct bench *bench = *state;

    bench->message.headers = headers;
    bench->message.headers_count = 4;
    flatten(bench, 0);
    assert_int_equal(bench->natural.headers_count, 1);
    header_is(bench, 0, "h", "1");
}

static void test_properties(void **state)
{
    struct bench *bench = *state;
    uint64_t all = (UINT64_C(1) << 20) - 1;

    bench->message.present = MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID | MB_HAS_SUBJECT |
                             MB_HAS_REPLY_TO | MB_HAS_USER_ID | MB_HAS_TTL | MB_HAS_EXPIRES_AT |
                             MB_HAS_PRIORITY | MB_HAS_GROUP_SEQUENCE | MB_HAS_DURABLE | MB_HAS_KEY |
                             MB_HAS_TIMESTAMP;
    bench->message.properties = &(struct mb_properties){
        .message_id = {.kind = MB_ID_ULONG, .number = 17},
        .correlation_id = {.kind = MB_ID_UUID,
                           .bytes = MB_SLICE_LITERAL("\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20")},
        .subject = MB_SLICE_LITERAL("s"),
        .reply_to = MB_SLICE_LITERAL("r"),
        .user_id = MB_SLICE_NULL,
        .group_sequence = 9,
    };
    bench->message.ttl_ms = 5;
    bench->message.expires_at_ms = -1;
    bench->message.priority = 4;
    bench->message.timestamp_ms = 12;
    flatten(bench, all & ~(uint64_t)(MB_HAS_KEY | MB_HAS_TIMESTAMP | MB_HAS_DURABLE));
    assert_int_equal(bench->natural.headers_count, 9);
    header_is(bench, 0, "message-id", "17");
    header_is(bench, 1, "correlation-id", "01020304-0506-0708-090a-0b0c0d0e0f10");
    header_is(bench, 2, "subject", "s");
    header_is(bench, 3, "reply-to", "r");
    header_is(bench, 4, "group-sequence", "9");
    assert_int_equal(bench->natural.headers[5].value.type, MB_NULL); /* user-id */
    header_is(bench, 6, "ttl", "5");
    header_is(bench, 7, "absolute-expiry", "-1");
    header_is(bench, 8, "priority", "4");
    assert_true(bench->natural.present ==
                (MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID | MB_HAS_SUBJECT | MB_HAS_KEY |
                 MB_HAS_TIMESTAMP | MB_HAS_DURABLE));
    assert_int_equal(bench->natural.properties->message_id.kind, MB_ID_STRING);
    flatten(bench, MB_HAS_TIMESTAMP | MB_HAS_DURABLE);
    header_is(bench, 0, "timestamp", "12");
    header_is(bench, 1, "durable", "false");
    assert_true((bench->natural.present & MB_HAS_SUBJECT) == 0); /* no header shows it now */
}

static void test_what_a_header_says_already(void **state)
{
    static const struct mb_header headers[] = {
        HEADER("subject", TEXT("s")),     HEADER("reply-to", TEXT("r")),
        HEADER("reply-to", TEXT("r2")),   HEADER("priority", {.type = MB_I16, .as.i = 4}),
        HEADER("ttl", {.type = MB_NULL}),
    };
    struct bench *bench = *state;

    bench->message.headers = headers;
    bench->message.headers_count = 5;
    bench->message.present = MB_HAS_SUBJECT | MB_HAS_REPLY_TO | MB_HAS_PRIORITY | MB_HAS_TTL;
    bench->message.properties = &(struct mb_properties){
        .subject = MB_SLICE_LITERAL("s"),
        .reply_to = MB_SLICE_LITERAL("r"), /* the last header says something else */
    };
    bench->message.priority = 4;
    bench->message.ttl_ms = 1;
    flatten(bench, bench->message.present);
    assert_int_equal(bench->natural.headers_count, 7);
    header_is(bench, 5, "reply-to", "r");
    header_is(bench, 6, "ttl", "1");
    assert_true(bench->natural.present == MB_HAS_SUBJECT);
}

static void test_a_header_is_promoted(void **state)
{
    static const struct mb_header headers[] = {
        HEADER("content-type", TEXT("a")),
        HEADER("content-type", TEXT("b")),
        HEADER("ttl", TEXT("5")),
        HEADER("message-id", BINARY("\xFF")),
        HEADER("content-encoding", TEXT("gzip")),
        HEADER("correlation-id", TEXT("c")),
    };
    struct bench *bench = *state;

    bench->message.headers = headers;
    bench->message.headers_count = 6;
    flatten(bench, 0);
    assert_true(bench->natural.present ==
                (MB_HAS_CONTENT_TYPE | MB_HAS_CONTENT_ENCODING | MB_HAS_CORRELATION_ID));
    assert_true(mb_slice_equal(bench->natural.properties->content_type, MB_SLICE_LITERAL("b")));
}

static void test_too_deep_is_left_out(void **state)
{
    static struct mb_value nested[66];
    static const struct mb_value one = {.type = MB_I64, .as.i = 1};
    struct mb_header headers[] = {HEADER("deep", {.type = MB_NULL}), HEADER("b", TEXT("1"))};
    struct bench *bench = *state;
    bool json = false;

    for (size_t i = 0; i < 66; i++)
        nested[i] = (struct mb_value){
            .type = MB_LIST, .as.items = {.values = i > 0 ? &nested[i - 1] : &one, .count = 1}};
    headers[0].value = nested[65];
    bench->message.headers = headers;
    bench->message.headers_count = 2;
    flatten(bench, 0);
    assert_int_equal(bench->natural.headers_count, 1);
    header_is(bench, 0, "b", "1");
    bench->message.body_kind = MB_BODY_VALUE;
    bench->message.body_value = nested[65];
    assert_int_equal(mb_flatten_body(&bench->message, &bench->scratch, &bench->natural, &json),
                     MB_REJECTED);
    bench->message.body_value = nested[63];
    assert_int_equal(mb_flatten_body(&bench->message, &bench->scratch, &bench->natural, &json),
                     MB_OK);
    assert_true(json);
}

static void body_is(struct bench *bench, const char *text, bool json)
{
    bool is_json = !json;

    bench->natural = bench->message;
    assert_int_equal(mb_flatten_body(&bench->message, &bench->scratch, &bench->natural, &is_json),
                     MB_OK);
    assert_int_equal(bench->natural.body_kind, MB_BODY_BYTES);
    assert_true(mb_slice_equal(bench->natural.body, mb_slice_text(text)));
    assert_non_null(bench->natural.body.data);
    assert_int_equal(is_json, json);
}

static void test_bodies(void **state)
{
    static const struct mb_value pairs[] = {BINARY("a"), BINARY("1"), BINARY("b"), BINARY("2")};
    static const struct mb_value twice[] = {BINARY("a"), BINARY("1"), BINARY("a"), BINARY("2")};
    static const struct mb_value bytes[] = {BINARY("a"), BINARY("\xFF")};
    static const struct mb_value item = TEXT("x");
    const struct mb_value lists[] = {{.type = MB_LIST, .as.items = {&item, 1, 0}},
                                     {.type = MB_LIST, .as.items = {&item, 1, 0}}};
    struct bench *bench = *state;
    bool json;

    body_is(bench, "", false); /* null bytes are an empty body, no tombstone */
    bench->message.body = MB_SLICE_LITERAL("data");
    body_is(bench, "data", false);
    bench->message.body_kind = MB_BODY_MULTI_DATA;
    body_is(bench, "data", false);
    bench->message.body_kind = MB_BODY_VALUE;
    bench->message.body_value = (struct mb_value)TEXT("text");
    body_is(bench, "text", false);
    bench->message.body_value = (struct mb_value)BINARY("\xFF");
    body_is(bench, "\xFF", false);
    bench->message.body_value = (struct mb_value){.type = MB_I64, .as.i = 5};
    body_is(bench, "5", true);
    bench->message.body_kind = MB_BODY_SEQUENCE;
    bench->message.body_value = (struct mb_value){.type = MB_LIST, .as.items = {lists, 1, 0}};
    body_is(bench, "[\"x\"]", true);
    bench->message.body_value.as.items.count = 2;
    body_is(bench, "[[\"x\"],[\"x\"]]", true);
    bench->message.body_kind = MB_BODY_PAIRS;
    bench->message.body_value = (struct mb_value){.type = MB_MAP, .as.items = {pairs, 4, 0}};
    body_is(bench, "{\"a\":\"1\",\"b\":\"2\"}", true);
    bench->message.body_value = (struct mb_value){.type = MB_MAP, .as.items = {twice, 4, 0}};
    body_is(bench, "[[\"a\",\"1\"],[\"a\",\"2\"]]", true);
    bench->message.body_value = (struct mb_value){.type = MB_MAP, .as.items = {bytes, 2, 0}};
    body_is(bench, "[[\"a\",\"/w==\"]]", true);
    bench->message.body_kind = MB_BODY_NULL;
    bench->natural = bench->message;
    assert_int_equal(mb_flatten_body(&bench->message, &bench->scratch, &bench->natural, &json),
                     MB_OK);
    assert_int_equal(bench->natural.body_kind, MB_BODY_NULL);
}

static void test_no_memory(void **state)
{
    static const struct mb_header headers[] = {HEADER("i", {.type = MB_I32, .as.i = -5})};
    struct bench *bench = *state;
    struct mb_scratch none = {.size_max = 0};
    struct mb_scratch little;

    bench->message.headers = headers;
    bench->message.headers_count = 1;
    mb_scratch_init(&none, 0);
    assert_int_equal(mb_flatten_headers(&bench->message, 0, &none, &bench->natural), MB_NO_MEMORY);
    mb_scratch_init(&little, 21 * sizeof(struct mb_header)); /* for the list, not for the text */
    assert_int_equal(mb_flatten_headers(&bench->message, 0, &little, &bench->natural),
                     MB_NO_MEMORY);
    mb_scratch_release(&little);
    mb_scratch_release(&none);
}

/* ---- names ---- */

static void test_field_names(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        const char *name = mb_field_name(UINT64_C(1) << bit);

        assert_true((name != NULL) == (bit < 20 || (bit >= 32 && bit < 37)));
        if (name != NULL)
            assert_true(mb_field_of(mb_slice_text(name)) == UINT64_C(1) << bit);
    }
    assert_null(mb_field_name(0));
    assert_null(mb_field_name(3));
    assert_true(mb_field_of(MB_SLICE_LITERAL("Subject")) == 0);
    assert_true(mb_field_of(MB_SLICE_NULL) == 0);
    assert_string_equal(mb_field_name(MB_HAS_EXPIRES_AT), "absolute-expiry");
    assert_string_equal(mb_field_name(MB_LOST_ANNOTATIONS), "annotations");
}

static void test_promotion_needs_text_among_the_headers(void **state)
{
    static const struct mb_header annotation = {.name = MB_SLICE_LITERAL("subject"),
                                                .value = TEXT("s"),
                                                .section = MB_SECTION_MESSAGE_ANNOTATIONS};
    static const struct mb_header number = HEADER("subject", {.type = MB_I32, .as.i = 1});
    static const struct mb_header other = HEADER("Subject", TEXT("s"));
    struct bench *bench = *state;
    struct mb_message message = {.present = 0};

    assert_true(mb_field_promote(&message, &annotation, &bench->scratch.arena));
    assert_true(mb_field_promote(&message, &number, &bench->scratch.arena));
    assert_true(mb_field_promote(&message, &other, &bench->scratch.arena));
    assert_int_equal(message.present, 0);
}

/* ---- scratch ---- */

static void test_scratch_is_warm_after_a_round(void **state)
{
    struct mb_scratch scratch;
    size_t size = 0;

    (void)state;
    mb_scratch_init(&scratch, 1u << 20);
    for (unsigned round = 0; round < 8; round++) {
        for (unsigned i = 0; i < 100; i++) {
            unsigned char *memory = mb_arena_alloc(&scratch.arena, 1000);

            assert_non_null(memory);
            assert_true((uintptr_t)memory % 8 == 0);
            memset(memory, (int)i, 1000);
        }
        if (round > 1)
            assert_int_equal(scratch.size, size); /* nothing was allocated */
        mb_scratch_reset(&scratch);
        size = scratch.size;
    }
    mb_scratch_release(&scratch);
    mb_scratch_release(&scratch);
}

static void test_scratch_is_bounded(void **state)
{
    struct mb_scratch scratch;

    (void)state;
    mb_scratch_init(&scratch, 10000);
    assert_non_null(mb_arena_alloc(&scratch.arena, 6000));
    assert_null(mb_arena_alloc(&scratch.arena, 6000));
    assert_null(mb_arena_alloc(&scratch.arena, SIZE_MAX - 100));
    assert_non_null(mb_arena_alloc(&scratch.arena, 3000));
    assert_true(scratch.size <= 10000);
    mb_scratch_reset(&scratch);
    assert_non_null(mb_arena_alloc(&scratch.arena, 6000));
    mb_scratch_release(&scratch);
}

/* What one message needed is not kept for ever. */
static void test_scratch_gives_back(void **state)
{
    struct mb_scratch scratch;

    (void)state;
    mb_scratch_init(&scratch, 1u << 24);
    assert_non_null(mb_arena_alloc(&scratch.arena, 1u << 20));
    assert_non_null(mb_arena_alloc(&scratch.arena, 1000));
    mb_scratch_reset(&scratch);
    assert_true(scratch.size <= 256u * 1024u);
    mb_scratch_release(&scratch);
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(test_values),
        ROW(test_sections_that_are_no_headers),
        ROW(test_properties),
        ROW(test_what_a_header_says_already),
        ROW(test_a_header_is_promoted),
        ROW(test_too_deep_is_left_out),
        ROW(test_bodies),
        ROW(test_no_memory),
        cmocka_unit_test(test_field_names),
        ROW(test_promotion_needs_text_among_the_headers),
        cmocka_unit_test(test_scratch_is_warm_after_a_round),
        cmocka_unit_test(test_scratch_is_bounded),
        cmocka_unit_test(test_scratch_gives_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
