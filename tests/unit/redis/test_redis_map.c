/* SPDX-License-Identifier: Apache-2.0 */
/* The table of docs/fidelity.md, row by row: what an entry shows of a message, and reading it. */
#include "tests/unit/redis/redis_round.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEXT(literal)                                                                              \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

static struct redis_round the_round;

static int set_up(void **state)
{
    (void)state;
    redis_round_init(&the_round);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    redis_round_release(&the_round);
    return 0;
}

static struct mb_message message_with_body(const char *body)
{
    static const struct mb_origin origin = {.struct_size = sizeof origin,
                                            .platform = {"memory", 6}};
    struct mb_message message = {.struct_size = sizeof message, .origin = &origin};

    message.body_kind = MB_BODY_BYTES;
    message.body = mb_slice_text(body);
    return message;
}

/* The fields but the sidecar, as "name=value name=value". */
static const char *shown(const struct mb_message *message)
{
    static char text[2048];
    struct redis_field *fields;
    struct mb_error err;
    size_t size = 0;
    size_t count;

    assert_int_equal(redis_round_write(&the_round, message, &fields, &count, &err), MB_OK);
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        if (mb_slice_equal(fields[i].name, MB_SLICE_LITERAL(REDIS_FIELD_SIDECAR)))
            continue;
        size +=
            (size_t)snprintf(text + size, sizeof text - size, "%s%.*s=%.*s", size > 0 ? " " : "",
                             (int)fields[i].name.size, (const char *)fields[i].name.data,
                             (int)fields[i].value.size, (const char *)fields[i].value.data);
    }
    return text;
}

static void test_key_and_body(void **state)
{
    struct mb_message message = message_with_body("hello");

    (void)state;
    assert_string_equal(shown(&message), "body=hello");
    message.present |= MB_HAS_KEY;
    message.key = mb_slice_text("k");
    assert_string_equal(shown(&message), "key=k body=hello");
    message.key = mb_slice_text("");
    assert_string_equal(shown(&message), "key= body=hello");
    message.key = MB_SLICE_NULL;
    assert_string_equal(shown(&message), "body=hello");
    message.body = MB_SLICE_NULL;
    assert_string_equal(shown(&message), "body=");
}

static void test_properties(void **state)
{
    struct mb_message message = message_with_body("b");

    (void)state;
    message.present = MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID | MB_HAS_CONTENT_TYPE |
                      MB_HAS_SUBJECT | MB_HAS_REPLY_TO | MB_HAS_USER_ID | MB_HAS_APP_ID |
                      MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY | MB_HAS_PRIORITY | MB_HAS_TTL |
                      MB_HAS_GROUP_SEQUENCE | MB_HAS_DURABLE | MB_HAS_TO | MB_HAS_EXPIRES_AT;
    message.properties = &(struct mb_properties){
        .message_id = {.kind = MB_ID_ULONG, .number = 7},
        .correlation_id = {.kind = MB_ID_STRING, .bytes = TEXT("c")},
        .content_type = TEXT("text/plain"),
        .subject = TEXT("s"),
        .reply_to = TEXT("r"),
        .user_id = TEXT("u"),
        .app_id = TEXT("a"),
        .exchange = TEXT("x"),
        .routing_key = TEXT("rk"),
        .to = TEXT("t"),
        .group_sequence = 9,
    };
    message.priority = 4;
    message.ttl_ms = 5000;
    message.expires_at_ms = 1700000000000;
    message.durable = true;
    assert_string_equal(shown(&message),
                        "body=b message-id=7 correlation-id=c content-type=text/plain subject=s "
                        "to=t reply-to=r group-sequence=9 user-id=u app-id=a exchange=x "
                        "routing-key=rk ttl=5000 absolute-expiry=1700000000000 priority=4");
    assert_null(redis_round_trip(&the_round, &message));
    assert_true(the_round.degraded == 0);
}

static void test_timestamp(void **state)
{
    struct mb_message message = message_with_body("b");

    (void)state;
    message.present = MB_HAS_TIMESTAMP;
    message.timestamp_ms = 1234567890123;
    assert_string_equal(shown(&message), "body=b timestamp=1234567890123");
    assert_null(redis_round_trip(&the_round, &message));
    message.timestamp_kind = MB_TIMESTAMP_CREATE_SECONDS;
    message.timestamp_ms = 1234567890000;
    assert_string_equal(shown(&message), "body=b timestamp=1234567890000");
    assert_null(redis_round_trip(&the_round, &message));
    message.timestamp_kind = MB_TIMESTAMP_LOG_APPEND;
    assert_string_equal(shown(&message), "body=b");
    assert_null(redis_round_trip(&the_round, &message));
}

static void test_headers(void **state)
{
    const struct mb_header headers[] = {
        {.name = TEXT("a"),
         .value = {.type = MB_STRING, .as.bytes = TEXT("1")},
         .name_type = MB_STRING},
        {.name = TEXT("n"), .value = {.type = MB_NULL}, .name_type = MB_STRING},
        {.name = TEXT("a"), .value = {.type = MB_I32, .as.i = -2}, .name_type = MB_STRING},
        {.name = TEXT("t"), .value = {.type = MB_BOOL, .as.b = true}, .name_type = MB_STRING},
        {.name = TEXT("_mbridge"),
         .value = {.type = MB_STRING, .as.bytes = TEXT("x")},
         .name_type = MB_STRING},
        {.name = TEXT("body"),
         .value = {.type = MB_STRING, .as.bytes = TEXT("2")},
         .name_type = MB_STRING},
        {.name = TEXT("mbridge.meta"),
         .value = {.type = MB_BINARY, .as.bytes = TEXT("x")},
         .section = MB_SECTION_BRIDGE,
         .name_type = MB_STRING},
        {.name = TEXT("note"),
         .value = {.type = MB_STRING, .as.bytes = TEXT("x")},
         .section = MB_SECTION_MESSAGE_ANNOTATIONS,
         .name_type = MB_SYMBOL},
    };
    struct mb_message message = message_with_body("b");

    (void)state;
    message.headers = headers;
    message.headers_count = sizeof headers / sizeof headers[0];
    assert_string_equal(shown(&message), "body=b a=1 a=-2 t=true body=2");
    assert_null(redis_round_trip(&the_round, &message));
    assert_true(the_round.degraded == 0);
}

static void test_tombstone(void **state)
{
    const struct mb_header header = {.name = TEXT("h"),
                                     .value = {.type = MB_STRING, .as.bytes = TEXT("1")},
                                     .name_type = MB_STRING};
    struct mb_message message = message_with_body("");

    (void)state;
    message.body_kind = MB_BODY_NULL;
    message.body = MB_SLICE_NULL;
    message.present = MB_HAS_KEY;
    message.key = mb_slice_text("k");
    message.headers = &header;
    message.headers_count = 1;
    assert_string_equal(shown(&message), "key=k h=1");
    assert_null(redis_round_trip(&the_round, &message));
    message.present = 0;
    message.headers_count = 0;
    assert_string_equal(shown(&message), "");
    assert_null(redis_round_trip(&the_round, &message));
}

static void test_structured_body(void **state)
{
    const struct mb_value items[] = {{.type = MB_STRING, .as.bytes = TEXT("n")},
                                     {.type = MB_I32, .as.i = 5}};
    struct mb_message message = message_with_body("");

    (void)state;
    message.body_kind = MB_BODY_VALUE;
    message.body = MB_SLICE_NULL;
    message.body_value = (struct mb_value){.type = MB_MAP, .as.items = {items, 2, 0}};
    assert_string_equal(shown(&message), "body={\"n\":5} content-type=application/json");
    assert_null(redis_round_trip(&the_round, &message));
    message.present = MB_HAS_CONTENT_TYPE;
    message.properties = &(struct mb_properties){.content_type = TEXT("x/y")};
    assert_string_equal(shown(&message), "body={\"n\":5} content-type=x/y");
    assert_null(redis_round_trip(&the_round, &message));
}

static void test_pairs(void **state)
{
    static const struct redis_field fields[] = {{TEXT("a"), TEXT("1")},
                                                {TEXT("key"), TEXT("k")},
                                                {TEXT("a"), TEXT("\xff")},
                                                {TEXT(""), TEXT("")}};
    struct mb_message message;

    (void)state;
    redis_round_read(&the_round, fields, 4, &message);
    assert_int_equal(message.body_kind, MB_BODY_PAIRS);
    assert_int_equal(message.body_value.type, MB_MAP);
    assert_int_equal(message.body_value.as.items.count, 8);
    assert_int_equal(message.body_value.as.items.values[5].type, MB_BINARY);
    assert_int_equal(message.headers_count, 0);
    assert_true((message.present & MB_HAS_KEY) != 0);
    assert_true(mb_slice_equal(message.key, MB_SLICE_LITERAL("k")));
    assert_null(redis_round_entry(&the_round, fields, 4));
}

static void test_reading(void **state)
{
    static const struct redis_field fields[] = {{TEXT("content-type"), TEXT("text/plain")},
                                                {TEXT("body"), TEXT("b")},
                                                {TEXT("timestamp"), TEXT("5")},
                                                {TEXT("ttl"), TEXT("6")},
                                                {TEXT("key"), TEXT("k")},
                                                {TEXT("_mbridge"), TEXT("\1")},
                                                {TEXT("_mbridge.id"), TEXT("id")},
                                                {TEXT("_mbridge.path"), TEXT("12345678")},
                                                {TEXT("body"), TEXT("c")}};
    struct mb_message message;
    uint32_t application = 0;

    (void)state;
    redis_round_read(&the_round, fields, 9, &message);
    assert_int_equal(message.headers_count, 8); /* four, three carriers, and the order */
    assert_true(message.present == (MB_HAS_KEY | MB_HAS_CONTENT_TYPE | MB_HAS_TIMESTAMP));
    assert_int_equal(message.timestamp_kind, MB_TIMESTAMP_LOG_APPEND);
    assert_true(mb_slice_equal(message.body, MB_SLICE_LITERAL("b")));
    assert_true(mb_slice_equal(message.sidecar, MB_SLICE_LITERAL("\1")));
    assert_true(mb_slice_equal(message.stable_id, MB_SLICE_LITERAL("id")));
    assert_int_equal(message.path_count, 1);
    for (uint32_t i = 0; i < message.headers_count; i++)
        application += message.headers[i].section == MB_SECTION_APPLICATION;
    assert_int_equal(application, 4);
    assert_null(redis_round_entry(&the_round, fields, 9));
}

static void test_carriers_are_renewed(void **state)
{
    static const struct redis_field fields[] = {
        {TEXT("body"), TEXT("b")}, {TEXT("_mbridge.id"), TEXT("old")}, {TEXT("x"), TEXT("1")}};
    struct redis_field *written;
    struct mb_message message;
    size_t count;

    (void)state;
    redis_round_read(&the_round, fields, 3, &message);
    {
        struct mb_carried carried = {.message = &message, .verbatim = true};

        carried.id = mb_slice_text("new");
        memcpy(carried.path, "abcdefgh", 8);
        carried.path_size = 8;
        assert_int_equal(redis_entry_encode(&carried, the_round.body_field,
                                            &the_round.scratch.arena, &written, &count),
                         MB_OK);
        assert_int_equal(count, 4);
        assert_true(mb_slice_equal(written[1].name, MB_SLICE_LITERAL("_mbridge.id")));
        assert_true(mb_slice_equal(written[1].value, MB_SLICE_LITERAL("new")));
        assert_true(mb_slice_equal(written[3].name, MB_SLICE_LITERAL("_mbridge.path")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_and_body),
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_timestamp),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_tombstone),
        cmocka_unit_test(test_structured_body),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_carriers_are_renewed),
    };

    return cmocka_run_group_tests_name("redis_map", tests, set_up, tear_down);
}
