/* SPDX-License-Identifier: Apache-2.0 */
/* The AMQP 0-9-1 map, row by row of docs/fidelity.md: project, encode, decode, and verbatim. */
#include "amqp_test.h"

#include <kit/field.h>

static struct mb_text text = {.max_size = 1u << 16};
static struct amqp_encoding encoding = {.username = "shop", .text = &text};
static struct mb_scratch scratch;

static struct mb_outgoing to_queue(void)
{
    return (struct mb_outgoing){.names[AMQP_NAME_QUEUE] = TEXT("route")};
}

static struct mb_outgoing to_exchange(void)
{
    return (struct mb_outgoing){.names[AMQP_NAME_EXCHANGE] = TEXT("shop")};
}

static struct mb_message natural_of(const struct mb_message *message,
                                    const struct mb_outgoing *item)
{
    struct mb_message natural = *message;
    struct mb_error err;

    mb_scratch_reset(&scratch);
    assert_true(mb_properties_own(&natural, &scratch.arena));
    assert_int_equal(amqp_project(&encoding, item, message, &scratch, &natural, &err), MB_OK);
    return natural;
}

/* Through all three; what comes back is what project said, which each caller relies on. */
static struct mb_message across(const struct mb_message *message, const struct mb_outgoing *item,
                                struct mb_arena *arena)
{
    static struct wire wire;
    static struct mb_message natural;
    struct mb_carried carried = {.message = &natural};
    struct mb_message back;

    natural = natural_of(message, item);
    encode_carried(&wire, &carried, &encoding);
    assert_int_equal(wire.lost, 0);
    decode_from(&wire, natural.body, natural.properties->exchange, natural.properties->routing_key,
                false, arena, &back);
    assert_int_equal(back.present, natural.present);
    assert_int_equal(back.headers_count, natural.headers_count);
    assert_int_equal(back.body_kind, natural.body_kind);
    return back;
}

/* A property and a header that say the same: once where a name was promoted, but both where the
 * message was restored and its origin had both. */
static void a_restored_header_stays_beside_its_property(void **state)
{
    struct mb_arena arena = fresh_arena();
    struct mb_header headers[] = {header_of("subject", bytes_value(MB_STRING, TEXT("s")))};
    struct mb_message message = plain();
    struct mb_message restored;
    struct mb_outgoing item = to_queue();

    (void)state;
    message.present = MB_HAS_SUBJECT;
    message.properties->subject = TEXT("s");
    message.headers = headers;
    message.headers_count = 1;
    restored = message;
    item.message = &message;
    assert_int_equal(across(&message, &item, &arena).headers_count, 0);
    assert_int_equal(across(&restored, &item, &arena).headers_count, 1);
}

static const struct mb_header *find(const struct mb_message *message, const char *name)
{
    for (uint32_t i = 0; i < message->headers_count; i++) {
        if (mb_slice_equal(message->headers[i].name, mb_slice_text(name)))
            return &message->headers[i];
    }
    return NULL;
}

static uint32_t shown(const struct mb_message *message)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < message->headers_count; i++)
        count += message->headers[i].section == MB_SECTION_APPLICATION;
    return count;
}

static void properties_cross(void **state)
{
    struct mb_arena arena = fresh_arena();
    struct mb_message message = plain();
    struct mb_outgoing item = to_exchange();
    struct mb_message back;

    (void)state;
    fill_properties(&message);
    message.present |= MB_HAS_ROUTING_KEY;
    message.properties->routing_key = TEXT("orders.eu");
    back = across(&message, &item, &arena);
    assert_int_equal(back.present, message.present | MB_HAS_EXCHANGE | MB_HAS_KEY);
    assert_slice(back.properties->content_type, "text/plain");
    assert_slice(back.properties->content_encoding, "gzip");
    assert_slice(back.properties->reply_to, "answers");
    assert_slice(back.properties->subject, "order.created");
    assert_slice(back.properties->user_id, "shop");
    assert_slice(back.properties->app_id, "till");
    assert_slice(back.properties->exchange, "shop");
    assert_slice(back.properties->routing_key, "orders.eu");
    assert_slice(back.key, "orders.eu");
    assert_slice(back.properties->message_id.bytes, "m-1");
    assert_false(back.durable);
    assert_true(back.redelivered);
    assert_int_equal(back.token, 42);
    assert_int_equal(back.ttl_ms, 60000);
    assert_int_equal(back.timestamp_ms, 1700000000000);
    assert_int_equal(back.timestamp_kind, MB_TIMESTAMP_CREATE_SECONDS);
    assert_null(back.headers);
}

/* For a broker that hands them out in that order; what was before is then a difference. */
static void headers_by_name(void **state)
{
    static const char *const names[] = {"", "B", "a", "a.b", "ab", "\xc3\xbc"};
    static const unsigned orders[][6] = {
        {0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {3, 0, 5, 2, 4, 1}};
    struct mb_outgoing item = to_queue();

    (void)state;
    encoding.sorts_headers = true;
    for (size_t order = 0; order < sizeof orders / sizeof orders[0]; order++) {
        struct mb_arena arena = fresh_arena();
        struct mb_header headers[6];
        struct mb_message message = plain();
        struct mb_message back;
        uint64_t difference;

        for (size_t i = 0; i < 6; i++)
            headers[i] = header_of(names[orders[order][i]], bytes_value(MB_STRING, TEXT("v")));
        message.headers = headers;
        message.headers_count = 6;
        back = across(&message, &item, &arena);
        for (size_t i = 0; i < 6; i++)
            assert_true(mb_slice_equal(back.headers[i].name, mb_slice_text(names[i])));
        difference = mb_message_difference(&message, &back) & MB_LOST_HEADERS;
        assert_true((difference != 0) == (order != 0));
    }
    encoding.sorts_headers = false;
}

/* Each alone: absent stays absent. */
static void presence_crosses(void **state)
{
    struct mb_outgoing item = to_queue();

    (void)state;
    for (uint32_t bit = 0; bit < 20; bit++) {
        struct mb_arena arena = fresh_arena();
        struct mb_message message = plain();
        struct mb_message back;
        uint32_t all;

        fill_properties(&message);
        all = message.present;
        message.present &= 1u << bit;
        back = across(&message, &item, &arena);
        assert_int_equal(back.present & all, message.present);
        assert_int_equal(back.present & MB_HAS_KEY, 0);
    }
}

/* What has no place here, or would close the channel, is not there in the natural message: the
 * difference tells of it. */
static void properties_without_a_place(void **state)
{
    static char longest[256];
    struct mb_arena arena = fresh_arena();
    struct mb_message message = plain();
    struct mb_properties *properties = message.properties;
    struct mb_outgoing item = to_queue();
    struct mb_message back;

    (void)state;
    memset(longest, 'a', sizeof longest);
    message.present = MB_HAS_USER_ID | MB_HAS_REPLY_TO | MB_HAS_TTL | MB_HAS_TO |
                      MB_HAS_EXPIRES_AT | MB_HAS_REPLY_TO_GROUP_ID | MB_HAS_TIMESTAMP |
                      MB_HAS_APP_ID | MB_HAS_SUBJECT;
    properties->user_id = TEXT("somebody");
    properties->reply_to = TEXT("amq.rabbitmq.reply-to");
    message.ttl_ms = 1ull << 32;
    properties->to = TEXT("there");
    properties->reply_to_group_id = TEXT("group");
    message.timestamp_ms = -1;
    properties->app_id = (struct mb_slice){longest, 256};
    properties->subject = (struct mb_slice){longest, 255};
    back = across(&message, &item, &arena);
    assert_int_equal(back.present, MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY | MB_HAS_SUBJECT);
    assert_int_equal(back.headers_count, 0);
}

static void milliseconds_become_seconds(void **state)
{
    struct mb_arena arena = fresh_arena();
    struct mb_message message = plain();
    struct mb_outgoing item = to_queue();

    (void)state;
    message.present = MB_HAS_TIMESTAMP;
    message.timestamp_ms = 1700000000999;
    assert_int_equal(across(&message, &item, &arena).timestamp_ms, 1700000000000);
}

static void persistent_is_the_default(void **state)
{
    struct mb_arena arena = fresh_arena();
    struct mb_message message = plain();
    struct mb_outgoing item = to_queue();
    struct mb_message back;

    (void)state;
    encoding.persistent = true;
    back = across(&message, &item, &arena);
    assert_true(back.durable && (back.present & MB_HAS_DURABLE) != 0);
    message.present = MB_HAS_DURABLE;
    assert_false(across(&message, &item, &arena).durable);
    encoding.persistent = false;
}

static void ids_of_other_types(void **state)
{
    static char longest[300];
    struct mb_arena arena = fresh_arena();
    struct mb_message message = plain();
    struct mb_outgoing item = to_queue();
    struct mb_message back;

    (void)state;
    memset(longest, 'i', sizeof longest);
    message.present = MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID;
    message.properties->message_id.kind = MB_ID_UUID;
    message.properties->message_id.bytes =
        TEXT("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10");
    message.properties->correlation_id.kind = MB_ID_ULONG;
    message.properties->correlation_id.number = UINT64_MAX;
    back = across(&message, &item, &arena);
    assert_slice(back.properties->message_id.bytes,
                 "urn:uuid:01020304-0506-0708-090a-0b0c0d0e0f10");
    assert_slice(back.properties->correlation_id.bytes, "18446744073709551615");

    message.properties->message_id.kind = MB_ID_BINARY;
    message.properties->correlation_id.kind = MB_ID_STRING;
    message.properties->correlation_id.bytes = (struct mb_slice){longest, sizeof longest};
    back = across(&message, &item, &arena);
    assert_int_equal(back.properties->message_id.kind, MB_ID_BINARY);
    assert_int_equal(back.properties->message_id.bytes.size, 16);
    assert_int_equal(back.properties->correlation_id.kind, MB_ID_STRING);
    assert_int_equal(back.properties->correlation_id.bytes.size, 300);
    assert_int_equal(find(&back, "x-message-id")->value.type, MB_BINARY);
    assert_int_equal(find(&back, "x-correlation-id")->value.type, MB_STRING);
}

/* A header of the application's own that could have been a property stays nothing but a header. */
static void an_id_header_of_text_is_a_header(void **state)
{
    struct mb_arena arena = fresh_arena();
    struct mb_header headers[] = {header_of("x-message-id", bytes_value(MB_STRING, TEXT("m")))};
    struct mb_message message = plain();
    struct mb_outgoing item = to_queue();
    struct mb_message back;

    (void)state;
    message.headers = headers;
    message.headers_count = 1;
    back = across(&message, &item, &arena);
    assert_int_equal(back.present & MB_HAS_MESSAGE_ID, 0);
    assert_slice(find(&back, "x-message-id")->value.as.bytes, "m");
}

static void groups_are_headers_of_jms(void **state)
{
    struct mb_arena arena = fresh_arena();
    struct mb_header headers[] = {
        header_of("JMSXGroupID", bytes_value(MB_STRING, TEXT("other"))),
        header_of("JMSXGroupSeq", int_value(MB_I32, 7)),
    };
    struct mb_message message = plain();
    struct mb_outgoing item = to_queue();
    struct mb_message back;

    (void)state;
    message.present = MB_HAS_GROUP_ID | MB_HAS_GROUP_SEQUENCE;
    message.properties->group_id = TEXT("cart-7");
    message.properties->group_sequence = 7;
    message.headers = headers;
    message.headers_count = 2;
    back = across(&message, &item, &arena);
    assert_slice(back.properties->group_id, "cart-7");
    assert_int_equal(back.properties->group_sequence, 7);
    assert_int_equal(back.headers_count, 2);
    /* What says otherwise is put right in its place. */
    assert_slice(back.headers[0].name, "JMSXGroupID");
    assert_slice(back.headers[0].value.as.bytes, "cart-7");
    assert_slice(back.headers[1].name, "JMSXGroupSeq");

    message.headers_count = 0;
    message.properties->group_sequence = UINT32_MAX;
    back = across(&message, &item, &arena);
    assert_true(back.properties->group_sequence == UINT32_MAX);
    assert_int_equal(find(&back, "JMSXGroupSeq")->value.type, MB_U32);
}

static void key_and_null_body_cross_a_queue(void **state)
{
    struct mb_arena arena = fresh_arena();
    struct mb_message message = plain();
    struct mb_outgoing item = to_queue();
    struct mb_message back;

    (void)state;
    message.present = MB_HAS_KEY;
    message.key = TEXT("k\xff");
    message.body_kind = MB_BODY_NULL;
    message.body = MB_SLICE_NULL;
    back = across(&message, &item, &arena);
    assert_slice(back.key, "k\xff");
    assert_int_equal(back.body_kind, MB_BODY_NULL);
    assert_null(back.body.data);
    assert_int_equal(back.headers_count, 2);
    assert_int_equal(shown(&back), 0);

    message.key = MB_SLICE_NULL;
    message.body_kind = MB_BODY_BYTES;
    message.body = TEXT("");
    back = across(&message, &item, &arena);
    assert_int_equal(back.present & MB_HAS_KEY, MB_HAS_KEY);
    assert_null(back.key.data);
    assert_int_equal(back.body_kind, MB_BODY_BYTES);
    assert_non_null(back.body.data);
}

/* The routing key says the key where it can; a header where it cannot. */
static void the_key_at_an_exchange(void **state)
{
    struct mb_arena arena = fresh_arena();
    struct mb_message message = plain();
    struct mb_outgoing item = to_exchange();
    struct mb_message back;

    (void)state;
    message.present = MB_HAS_KEY;
    message.key = TEXT("order-1");
    back = across(&message, &item, &arena);
    assert_slice(back.properties->routing_key, "order-1");
    assert_slice(back.key, "order-1");
    assert_int_equal(back.headers_count, 0);

    message.key = TEXT("\xff\x00");
    back = across(&message, &item, &arena);
    assert_slice(back.properties->routing_key, "");
    assert_int_equal(back.key.size, 2);

    item.names[AMQP_NAME_ROUTING_KEY] = TEXT("fixed");
    message.key = TEXT("order-1");
    back = across(&message, &item, &arena);
    assert_slice(back.properties->routing_key, "fixed");
    assert_slice(back.key, "order-1");
    assert_int_equal(find(&back, AMQP_HEADER_KEY)->section, MB_SECTION_BRIDGE);
}

static void headers_of_others(void **state)
{
    static char longest[256];
    struct mb_arena arena = fresh_arena();
    struct mb_header headers[] = {
        header_of("content-type", bytes_value(MB_STRING, TEXT("text/plain"))),
        header_of("subject", bytes_value(MB_STRING, TEXT("another"))),
        header_of("twice", bytes_value(MB_STRING, TEXT("first"))),
        header_of("twice", bytes_value(MB_BINARY, TEXT("last"))),
        header_of("CC", bytes_value(MB_STRING, TEXT("elsewhere"))),
        header_of("BCC", bytes_value(MB_STRING, TEXT("elsewhere"))),
        header_of("ttl", bytes_value(MB_STRING, TEXT("5"))),
        header_of("null", int_value(MB_NULL, 0)),
        header_of(AMQP_HEADER_META, bytes_value(MB_BINARY, TEXT("forged"))),
        header_of(AMQP_HEADER_COUNT, int_value(MB_I64, 3)),
        {.name = {longest, sizeof longest}, .value = int_value(MB_I64, 1)},
        header_of("x-seen", int_value(MB_I64, 1)),
        header_of("seen", int_value(MB_I64, 1)),
        header_of("x-foot", int_value(MB_I64, 1)),
        header_of("carrier", int_value(MB_I64, 1)),
    };
    static const char *const expected[] = {"subject", "twice", "ttl", "null", "x-seen"};
    struct mb_message message = plain();
    struct mb_outgoing item = to_queue();
    struct mb_message back;

    (void)state;
    memset(longest, 'n', sizeof longest);
    headers[11].section = MB_SECTION_MESSAGE_ANNOTATIONS;
    headers[11].name_type = MB_SYMBOL;
    headers[12].section = MB_SECTION_MESSAGE_ANNOTATIONS;
    headers[13].section = MB_SECTION_FOOTER;
    headers[14].section = MB_SECTION_BRIDGE;
    message.headers = headers;
    message.headers_count = sizeof headers / sizeof headers[0];
    message.present = MB_HAS_CONTENT_TYPE;
    message.properties->content_type = TEXT("text/plain");
    item.message = &message;
    back = across(&message, &item, &arena);
    assert_int_equal(back.headers_count, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_slice(back.headers[i].name, expected[i]);
        assert_int_equal(back.headers[i].section, MB_SECTION_APPLICATION);
    }
    assert_int_equal(back.headers[1].value.type, MB_BINARY);
    assert_slice(back.headers[1].value.as.bytes, "last");
    assert_int_equal(back.headers[3].value.type, MB_NULL);
    assert_null(back.sidecar.data);
    assert_int_equal(back.delivery_count, 0);
}

/* Repeated names are found by a table too where there are many. */
static void ten_thousand_headers(void **state)
{
    static struct mb_header headers[10000];
    static char names[5000][8];
    struct mb_message message = plain();
    struct mb_outgoing item = to_queue();
    struct mb_message natural;

    (void)state;
    for (uint32_t i = 0; i < 10000; i++) {
        snprintf(names[i % 5000], sizeof names[0], "n%u", i % 5000);
        headers[i] = header_of(names[i % 5000], int_value(MB_I64, i));
    }
    message.headers = headers;
    message.headers_count = 10000;
    natural = natural_of(&message, &item);
    assert_int_equal(natural.headers_count, 5000);
    for (uint32_t i = 0; i < 5000; i++)
        assert_int_equal(natural.headers[i].value.as.i, 5000 + i);
}

static void bodies_of_other_kinds(void **state)
{
    struct mb_arena arena = fresh_arena();
    struct mb_value list[] = {int_value(MB_I32, 1), bytes_value(MB_STRING, TEXT("a"))};
    struct mb_message message = plain();
    struct mb_outgoing item = to_queue();
    struct mb_message back;

    (void)state;
    message.body = MB_SLICE_NULL;
    message.body_kind = MB_BODY_VALUE;
    message.body_value = bytes_value(MB_STRING, TEXT("text"));
    back = across(&message, &item, &arena);
    assert_slice(back.body, "text");
    assert_int_equal(back.present & MB_HAS_CONTENT_TYPE, 0);

    message.body_value = (struct mb_value){.type = MB_LIST, .as.items = {list, 2, 0}};
    back = across(&message, &item, &arena);
    assert_slice(back.body, "[1,\"a\"]");
    assert_slice(back.properties->content_type, "application/json");
    message.present = MB_HAS_CONTENT_TYPE;
    message.properties->content_type = TEXT("text/own");
    assert_slice(across(&message, &item, &arena).properties->content_type, "text/own");
}

static void carriers_come_back(void **state)
{
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_message message = plain();
    struct mb_outgoing item = to_queue();
    struct mb_message natural = natural_of(&message, &item);
    struct mb_carried carried = {.message = &natural,
                                 .sidecar = TEXT("\1sidecar\xff"),
                                 .id = TEXT("cluster/topic/0/offset:1"),
                                 .path = "\0\0\0\0\0\0\0\1\xfe\xdc\xba\x98\x76\x54\x32\x10",
                                 .path_size = 16};
    struct mb_message back;

    (void)state;
    encode_carried(&wire, &carried, &encoding);
    decode_from(&wire, natural.body, TEXT(""), TEXT("route"), false, &arena, &back);
    assert_slice(back.sidecar, "\1sidecar\xff");
    assert_slice(back.stable_id, "cluster/topic/0/offset:1");
    assert_int_equal(back.path_count, 2);
    assert_true(back.path[1] == 0xfedcba9876543210u);
    assert_int_equal(back.headers_count, 3);
    assert_int_equal(shown(&back), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(properties_cross),
        cmocka_unit_test(headers_by_name),
        cmocka_unit_test(presence_crosses),
        cmocka_unit_test(properties_without_a_place),
        cmocka_unit_test(milliseconds_become_seconds),
        cmocka_unit_test(persistent_is_the_default),
        cmocka_unit_test(ids_of_other_types),
        cmocka_unit_test(an_id_header_of_text_is_a_header),
        cmocka_unit_test(groups_are_headers_of_jms),
        cmocka_unit_test(a_restored_header_stays_beside_its_property),
        cmocka_unit_test(key_and_null_body_cross_a_queue),
        cmocka_unit_test(the_key_at_an_exchange),
        cmocka_unit_test(headers_of_others),
        cmocka_unit_test(ten_thousand_headers),
        cmocka_unit_test(bodies_of_other_kinds),
        cmocka_unit_test(carriers_come_back),
    };
    int failed;

    mb_scratch_init(&scratch, 16u << 20);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    mb_scratch_release(&scratch);
    mb_text_release(&text);
    return failed;
}
