/* SPDX-License-Identifier: Apache-2.0 */
/* AMQP 0-9-1 on both sides: the properties go through byte for byte. */
#include "amqp_test.h"

static struct mb_text text = {.max_size = 1u << 16};
static struct amqp_encoding encoding = {.username = "shop", .text = &text};

/* Properties as a broker sends them, with what a decoder cannot express: a string that is no
 * UTF-8, a name twice, cluster-id, an odd delivery mode. */
static size_t odd_properties(unsigned char *data, size_t size)
{
    struct amqp_writer writer = {data, data + size, false};
    unsigned char *table;

    amqp_put_u16(&writer, AMQP_PROPERTY_CONTENT_TYPE | AMQP_PROPERTY_HEADERS |
                              AMQP_PROPERTY_DELIVERY_MODE | AMQP_PROPERTY_EXPIRATION |
                              AMQP_PROPERTY_MESSAGE_ID | AMQP_PROPERTY_TIMESTAMP |
                              AMQP_PROPERTY_CLUSTER_ID);
    amqp_put_shortstr(&writer, TEXT("text/plain"));
    table = amqp_room(&writer, 4);
    amqp_put_name_text(&writer, "latin", 'S', TEXT("gr\xfc\xdf"));
    amqp_put_name_text(&writer, "twice", 'S', TEXT("first"));
    amqp_put_name_text(&writer, "twice", 'S', TEXT("last"));
    amqp_put_name_text(&writer, AMQP_HEADER_PATH, 'x', TEXT("\0\0\0\0\0\0\0\1"));
    amqp_put_name_text(&writer, "content-type", 'S', TEXT("text/plain"));
    amqp_store(table, (uint64_t)(writer.at - table) - 4, 4);
    amqp_put_u8(&writer, 7);
    amqp_put_shortstr(&writer, TEXT("0060"));
    amqp_put_shortstr(&writer, TEXT("\xff\xfe"));
    amqp_put_u64(&writer, UINT64_MAX);
    amqp_put_shortstr(&writer, TEXT("cluster"));
    assert_false(writer.full);
    return (size_t)(writer.at - data);
}

static void the_same_platform_is_verbatim(void **state)
{
    static struct wire given;
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_message message;
    struct mb_carried carried = {.message = &message, .verbatim = true};

    (void)state;
    given.size = 12 + odd_properties(given.data + 12, sizeof given.data - 12);
    decode_from(&given, TEXT("b"), TEXT("shop"), TEXT("key"), false, &arena, &message);
    assert_int_equal(message.headers_count, 5);
    assert_int_equal(message.path_count, 1);
    encode_carried(&wire, &carried, &encoding);
    assert_int_equal(wire.lost, 0);
    assert_int_equal(wire.size, given.size);
    assert_memory_equal(wire.data + 12, given.data + 12, wire.size - 12);
}

static void a_renewed_carrier_replaces_its_old_one(void **state)
{
    static struct wire given;
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_message message;
    struct mb_message back;
    struct mb_carried carried = {.message = &message,
                                 .verbatim = true,
                                 .path = "\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2",
                                 .path_size = 16};

    (void)state;
    given.size = 12 + odd_properties(given.data + 12, sizeof given.data - 12);
    decode_from(&given, TEXT("b"), TEXT(""), TEXT("key"), false, &arena, &message);
    encode_carried(&wire, &carried, &encoding);
    assert_int_equal(wire.size, given.size + 8);
    decode_from(&wire, TEXT("b"), TEXT(""), TEXT("key"), false, &arena, &back);
    assert_int_equal(back.path_count, 2);
    assert_int_equal(back.headers_count, 5);
    assert_slice(back.headers[3].name, "content-type");
    assert_slice(back.headers[4].name, AMQP_HEADER_PATH);
}

/* Without the bytes that came (a step or a dead letter changed the message) the envelope counts. */
static void verbatim_without_its_bytes(void **state)
{
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_header headers[] = {
        header_of("twice", bytes_value(MB_STRING, TEXT("first"))),
        header_of("twice", bytes_value(MB_STRING, TEXT("last"))),
        header_of(AMQP_HEADER_KEY, bytes_value(MB_BINARY, TEXT("k"))),
    };
    struct mb_message message = plain();
    struct mb_carried carried = {.message = &message, .verbatim = true};
    struct mb_message back;

    (void)state;
    headers[2].section = MB_SECTION_BRIDGE;
    message.headers = headers;
    message.headers_count = 3;
    fill_properties(&message);
    encode_carried(&wire, &carried, &encoding);
    decode_from(&wire, TEXT("b"), TEXT(""), TEXT("q"), false, &arena, &back);
    assert_int_equal(back.headers_count, 3);
    assert_slice(back.headers[0].value.as.bytes, "first");
    assert_slice(back.key, "k");
    assert_int_equal(back.ttl_ms, 60000);
}

static void what_closes_the_channel_is_left_out(void **state)
{
    static struct wire given;
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct amqp_writer writer = {given.data + 12, given.data + sizeof given.data, false};
    struct mb_message message;
    struct mb_message back;
    struct mb_carried carried = {.message = &message, .verbatim = true};

    (void)state;
    amqp_put_u16(&writer, AMQP_PROPERTY_REPLY_TO | AMQP_PROPERTY_USER_ID | AMQP_PROPERTY_APP_ID);
    amqp_put_shortstr(&writer, TEXT("amq.rabbitmq.reply-to"));
    amqp_put_shortstr(&writer, TEXT("somebody"));
    amqp_put_shortstr(&writer, TEXT("till"));
    given.size = (size_t)(writer.at - given.data);
    decode_from(&given, TEXT("b"), TEXT(""), TEXT("q"), false, &arena, &message);
    for (int raw = 1; raw >= 0; raw--) {
        if (!raw)
            message.raw_kind = MB_RAW_NONE;
        encode_carried(&wire, &carried, &encoding);
        assert_int_equal(wire.lost, MB_HAS_USER_ID | MB_HAS_REPLY_TO);
        decode_from(&wire, TEXT("b"), TEXT(""), TEXT("q"), false, &arena, &back);
        assert_int_equal(back.present, MB_HAS_APP_ID | MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY);
    }
}

static void what_the_broker_said_of_its_delivery(void **state)
{
    static struct wire given;
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_header headers[] = {header_of(AMQP_HEADER_OFFSET, int_value(MB_I64, 77)),
                                  header_of("own", int_value(MB_I64, 1)),
                                  header_of(AMQP_HEADER_COUNT, int_value(MB_I64, 3))};
    struct mb_message given_message = plain();
    struct mb_carried given_carried = {.message = &given_message};
    struct mb_message message;
    struct mb_message back;
    struct mb_carried carried = {.message = &message, .verbatim = true};

    (void)state;
    given_message.headers = headers;
    given_message.headers_count = 3;
    encode_carried(&given, &given_carried, &encoding);
    decode_from(&given, TEXT("b"), TEXT(""), TEXT("q"), true, &arena, &message);
    assert_int_equal(message.position.kind, MB_POSITION_OFFSET);
    assert_int_equal(message.position.lo, 77);
    assert_int_equal(message.delivery_count, 3);
    assert_int_equal(message.headers_count, 1);
    encode_carried(&wire, &carried, &encoding);
    decode_from(&wire, TEXT("b"), TEXT(""), TEXT("q"), true, &arena, &back);
    assert_int_equal(back.position.kind, MB_POSITION_NONE);
    assert_int_equal(back.delivery_count, 0);
    assert_int_equal(back.headers_count, 1);
    /* Of a queue it is a header like any other. */
    decode_from(&given, TEXT("b"), TEXT(""), TEXT("q"), false, &arena, &message);
    assert_int_equal(message.position.kind, MB_POSITION_NONE);
    assert_int_equal(message.headers_count, 2);
}

static void a_time_to_live_that_the_core_shortened(void **state)
{
    static struct wire given;
    static struct wire wire;
    struct mb_arena arena = fresh_arena();
    struct mb_message message;
    struct mb_message back;
    struct mb_carried carried = {.message = &message, .verbatim = true};

    (void)state;
    given.size = 12 + odd_properties(given.data + 12, sizeof given.data - 12);
    decode_from(&given, TEXT("b"), TEXT(""), TEXT("q"), false, &arena, &message);
    assert_int_equal(message.ttl_ms, 60);
    message.ttl_ms = 7;
    encode_carried(&wire, &carried, &encoding);
    decode_from(&wire, TEXT("b"), TEXT(""), TEXT("q"), false, &arena, &back);
    assert_int_equal(back.ttl_ms, 7);
    assert_int_equal(back.headers_count, message.headers_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_platform_is_verbatim),
        cmocka_unit_test(a_renewed_carrier_replaces_its_old_one),
        cmocka_unit_test(verbatim_without_its_bytes),
        cmocka_unit_test(what_closes_the_channel_is_left_out),
        cmocka_unit_test(what_the_broker_said_of_its_delivery),
        cmocka_unit_test(a_time_to_live_that_the_core_shortened),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    mb_text_release(&text);
    return failed;
}
