/* SPDX-License-Identifier: Apache-2.0 */
/* Envelope → AMQP 1.0 bytes. That they say what the envelope says is shown at random elsewhere;
 * here are the bytes themselves, carriers, the verbatim way and what does not fit. */
#include "wire.h"

static struct mb_text out = {.max_size = 1u << 20};

static const struct amqp10_encoding encoding = {.to_from_slot = -1};

static enum mb_status encode_with(const struct amqp10_encoding *options,
                                  const struct mb_carried *carried, struct mb_slice to,
                                  struct mb_error *err)
{
    struct mb_outgoing item = {.message = carried->message, .names = {MB_SLICE_NULL, to}};

    return amqp10_encode(options, &item, carried, &out, err);
}

static struct mb_slice encode_carried(const struct mb_carried *carried)
{
    struct mb_error err;

    mb_text_clear(&out);
    assert_int_equal(encode_with(&encoding, carried, MB_SLICE_NULL, &err), MB_OK);
    return (struct mb_slice){out.data, out.size};
}

static struct mb_slice encode(const struct mb_message *message)
{
    struct mb_carried carried = {.message = message};

    return encode_carried(&carried);
}

static struct mb_message message_of(uint32_t present)
{
    struct mb_message message;

    memset(&message, 0, sizeof message);
    message.struct_size = sizeof message;
    message.present = present;
    message.properties = fresh_properties();
    message.body = BYTES("x");
    return message;
}

static void only_what_is_there_is_written(void **state)
{
    struct mb_message message = message_of(0);

    (void)state;
    assert_slice(encode(&message), BYTES(BODY));
    message.present = MB_HAS_DURABLE;
    assert_slice(encode(&message), BYTES(HEADER "\xc0\x02\x01\x42" BODY));
    message.present = MB_HAS_TTL;
    message.ttl_ms = 0;
    message.delivery_count = 9; /* the next hop counts its own */
    assert_slice(encode(&message), BYTES(HEADER "\xc0\x04\x03\x40\x40\x43" BODY));
    message.present = MB_HAS_PRIORITY;
    message.priority = 4;
    assert_slice(encode(&message), BYTES(HEADER "\xc0\x04\x02\x40\x50\x04" BODY));
    message.present = MB_HAS_REPLY_TO_GROUP_ID;
    message.properties->reply_to_group_id = BYTES("h");
    assert_slice(encode(&message), BYTES(PROPERTIES "\xc0\x10\x0d\x40\x40\x40\x40\x40\x40\x40\x40"
                                                    "\x40\x40\x40\x40\xa1\x01h" BODY));
}

static void properties_have_their_types(void **state)
{
    struct mb_message message = message_of(
        MB_HAS_MESSAGE_ID | MB_HAS_USER_ID | MB_HAS_CORRELATION_ID | MB_HAS_CONTENT_TYPE |
        MB_HAS_EXPIRES_AT | MB_HAS_TIMESTAMP | MB_HAS_GROUP_SEQUENCE);
    struct mb_properties *properties = message.properties;

    (void)state;
    properties->message_id = (struct mb_id){.kind = MB_ID_ULONG, .number = 300};
    properties->user_id = BYTES("u");
    properties->correlation_id =
        (struct mb_id){.kind = MB_ID_UUID, .bytes = BYTES("0123456789abcdef")};
    properties->content_type = BYTES("a/b");
    message.expires_at_ms = 1;
    message.timestamp_ms = -1;
    properties->group_sequence = 7;
    assert_slice(encode(&message),
                 BYTES(PROPERTIES "\xc0\x3c\x0c\x80\0\0\0\0\0\0\x01\x2c\xa0\x01u\x40\x40\x40\x98"
                                  "0123456789abcdef\xa3\x03"
                                  "a/b\x40\x83\0\0\0\0\0\0\0\x01"
                                  "\x83\xff\xff\xff\xff\xff\xff\xff\xff\x40\x52\x07" BODY));
}

static void sections_stand_in_their_order(void **state)
{
    struct mb_header headers[] = {
        header_of("f", MB_SECTION_FOOTER, text_value("1")),
        header_of("a", MB_SECTION_APPLICATION, text_value("2")),
        header_of("m", MB_SECTION_MESSAGE_ANNOTATIONS, text_value("3")),
        header_of("300", MB_SECTION_MESSAGE_ANNOTATIONS, text_value("4")),
    };
    struct mb_message message = message_of(MB_HAS_DURABLE | MB_HAS_SUBJECT);

    (void)state;
    headers[3].name_type = MB_U64;
    message.properties->subject = BYTES("s");
    message.headers = headers;
    message.headers_count = COUNT_OF(headers);
    assert_slice(encode(&message),
                 BYTES(HEADER "\xc0\x02\x01\x42" MESSAGE_ANNOTATIONS "\xc1\x13\x04\xa3\x01m\xa1\x01"
                              "3\x80\0\0\0\0\0\0\x01\x2c\xa1\x01"
                              "4" PROPERTIES
                              "\xc0\x07\x04\x40\x40\x40\xa1\x01s" APPLICATION_PROPERTIES
                              "\xc1\x07\x02\xa1\x01"
                              "a\xa1\x01"
                              "2" BODY FOOTER "\xc1\x07\x02\xa3\x01"
                              "f\xa1\x01"
                              "1"));
}

static void sizes_at_the_border(void **state)
{
    static char text[300];
    struct mb_header header = header_of("n", MB_SECTION_APPLICATION, text_value(""));
    struct mb_message message = message_of(0);

    (void)state;
    memset(text, 't', sizeof text);
    message.headers = &header;
    message.headers_count = 1;
    message.body = (struct mb_slice){text, 0};
    for (size_t size = 240; size < sizeof text; size++) {
        struct mb_slice bytes;
        struct mb_message read;

        header.value.as.bytes = (struct mb_slice){text, size};
        message.body.size = size;
        bytes = encode(&message);
        assert_int_equal(((const unsigned char *)bytes.data)[3], size <= 249 ? 0xc1 : 0xd1);
        read = decode_good(bytes);
        assert_slice(read.headers[0].value.as.bytes, header.value.as.bytes);
        assert_slice(read.body, message.body);
    }
}

static void bodies_of_each_kind(void **state)
{
    struct mb_value parts[2] = {bytes_value(MB_BINARY, BYTES("a")),
                                bytes_value(MB_BINARY, BYTES(""))};
    struct mb_value lists[2] = {items_value(MB_LIST, parts, 1), items_value(MB_LIST, NULL, 0)};
    struct mb_message message = message_of(0);

    (void)state;
    message.body_kind = MB_BODY_NULL;
    assert_slice(encode(&message), BYTES(VALUE "\x40"));
    message.body_kind = MB_BODY_MULTI_DATA;
    message.body_value = items_value(MB_LIST, parts, 2);
    assert_slice(encode(&message), BYTES(DATA "\xa0\x01"
                                              "a" DATA "\xa0\0"));
    message.body_kind = MB_BODY_SEQUENCE;
    message.body_value = items_value(MB_LIST, lists, 2);
    assert_slice(encode(&message), BYTES(SEQUENCE "\xc0\x04\x01\xa0\x01"
                                                  "a" SEQUENCE "\x45"));
    message.body_kind = MB_BODY_VALUE;
    message.body_value = text_value("hi");
    assert_slice(encode(&message), BYTES(VALUE "\xa1\x02hi"));
}

static void carriers_and_key_are_annotations(void **state)
{
    struct mb_message message = message_of(MB_HAS_KEY);
    struct mb_carried carried = {.message = &message,
                                 .sidecar = BYTES("\1s"),
                                 .id = BYTES("id/1"),
                                 .path = {0, 0, 0, 0, 0, 0, 0, 5},
                                 .path_size = 8};
    struct mb_message read;

    (void)state;
    message.key = BYTES("k");
    read = decode_good(encode_carried(&carried));
    assert_slice(read.sidecar, BYTES("\1s"));
    assert_text(read.stable_id, "id/1");
    assert_int_equal(read.path_count, 1);
    assert_int_equal(read.path[0], 5);
    assert_text(read.key, "k");
    assert_int_equal(read.headers_count, 3);
    assert_int_equal(read.headers[2].value.type, MB_STRING);
    carried.id = BYTES("\xff");
    read = decode_good(encode_carried(&carried));
    assert_int_equal(read.headers[2].value.type, MB_BINARY);
    message.key = MB_SLICE_NULL;
    read = decode_good(encode(&message));
    assert_int_equal(read.present, MB_HAS_KEY);
    assert_null(read.key.data);
    message.key = BYTES("");
    read = decode_good(encode(&message));
    assert_text(read.key, "");
}

#define OLD_BARE PROPERTIES "\xd0\0\0\0\x05\0\0\0\x01\x40" DATA "\xb0\0\0\0\x01x"

static void verbatim_changes_carriers_only(void **state)
{
    struct mb_message message;
    struct mb_slice bytes =
        BYTES(HEADER "\xc0\x06\x05\x41\x40\x40\x41\x43" MESSAGE_ANNOTATIONS "\xc1\x38\x06\xa3\x01"
                     "a\x41\xa3\x12x-opt-mbridge-path\xa0\x08\0\0\0\0\0\0\0\5"
                     "\xa3\x10x-opt-mbridge-id\xa1\x01i" OLD_BARE FOOTER "\xc1\x07\x02\xa3\x01"
                     "f\xa0\x01y");
    struct mb_carried carried = {.message = &message, .verbatim = true};

    (void)state;
    message = decode_good(bytes);
    assert_slice(encode_carried(&carried),
                 BYTES(HEADER "\xc0\x02\x01\x41" MESSAGE_ANNOTATIONS "\xc1\x38\x06\xa3\x01"
                              "a\x41\xa3\x12x-opt-mbridge-path\xa0\x08\0\0\0\0\0\0\0\5"
                              "\xa3\x10x-opt-mbridge-id\xa1\x01i" OLD_BARE FOOTER
                              "\xc1\x07\x02\xa3\x01"
                              "f\xa0\x01y"));
    /* The path has grown: in its place. The id stays, a sidecar comes. */
    carried.path_size = 16;
    memcpy(carried.path, "\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\6", 16);
    carried.sidecar = BYTES("s");
    assert_slice(
        encode_carried(&carried),
        BYTES(HEADER
              "\xc0\x02\x01\x41" MESSAGE_ANNOTATIONS "\xc1\x57\x08\xa3\x01"
              "a\x41\xa3\x12x-opt-mbridge-path\xa0\x10\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\6"
              "\xa3\x10x-opt-mbridge-id\xa1\x01i\xa3\x12x-opt-mbridge-meta\xa0\x01s" OLD_BARE FOOTER
              "\xc1\x07\x02\xa3\x01"
              "f\xa0\x01y"));
    /* For another platform's sink they would not be written. */
    carried = (struct mb_carried){.message = &message};
    assert_slice(encode_carried(&carried),
                 BYTES(HEADER "\xc0\x02\x01\x41" MESSAGE_ANNOTATIONS "\xc1\x05\x02\xa3\x01"
                              "a\x41" BODY FOOTER "\xc1\x07\x02\xa3\x01"
                              "f\xa0\x01y"));
}

static void to_by_option_comes_before_verbatim(void **state)
{
    struct mb_message message = decode_good(BYTES(OLD_BARE));
    struct amqp10_encoding options = {.to_from_slot = 1};
    struct mb_carried carried = {.message = &message, .verbatim = true};
    struct mb_error err;

    (void)state;
    mb_text_clear(&out);
    assert_int_equal(encode_with(&options, &carried, BYTES("q"), &err), MB_OK);
    assert_slice((struct mb_slice){out.data, out.size},
                 BYTES(PROPERTIES "\xc0\x06\x03\x40\x40\xa1\x01q" BODY));
    mb_text_clear(&out);
    assert_int_equal(encode_with(&options, &carried, MB_SLICE_NULL, &err), MB_OK);
    assert_slice((struct mb_slice){out.data, out.size}, BYTES(OLD_BARE));
    message.present |= MB_HAS_TO;
    message.properties->to = BYTES("q");
    mb_text_clear(&out);
    assert_int_equal(encode_with(&options, &carried, BYTES("q"), &err), MB_OK);
    assert_slice((struct mb_slice){out.data, out.size}, BYTES(OLD_BARE));
}

/* What a broker tells repeats by: instead of one that the message brought, and in spite of raw. */
static void a_property_of_our_own_replaces(void **state)
{
    struct mb_message message = decode_good(BYTES(OLD_BARE));
    struct amqp10_encoding options = {
        .to_from_slot = -1, .own_name = BYTES("id"), .own_value = BYTES("7")};
    struct mb_header headers[2] = {{.section = MB_SECTION_APPLICATION, .name = BYTES("id")},
                                   {.section = MB_SECTION_APPLICATION, .name = BYTES("a")}};
    struct mb_carried carried = {.message = &message, .verbatim = true};
    struct mb_error err;

    (void)state;
    mb_text_clear(&out);
    assert_int_equal(encode_with(&options, &carried, MB_SLICE_NULL, &err), MB_OK);
    assert_slice((struct mb_slice){out.data, out.size},
                 BYTES(APPLICATION_PROPERTIES "\xc1\x08\x02\xa1\x02id\xa1\x01"
                                              "7" BODY));
    message = message_of(0);
    headers[0].value = (struct mb_value){.type = MB_STRING, .as.bytes = BYTES("old")};
    headers[1].value = (struct mb_value){.type = MB_STRING, .as.bytes = BYTES("b")};
    message.headers = headers;
    message.headers_count = 2;
    mb_text_clear(&out);
    assert_int_equal(encode_with(&options, &carried, MB_SLICE_NULL, &err), MB_OK);
    assert_slice((struct mb_slice){out.data, out.size},
                 BYTES(APPLICATION_PROPERTIES "\xc1\x0e\x04\xa1\x01"
                                              "a\xa1\x01"
                                              "b\xa1\x02id\xa1\x01"
                                              "7" BODY));
}

static void what_does_not_fit_leaves_no_trace(void **state)
{
    struct mb_value odd = bytes_value(MB_UUID, BYTES("short"));
    struct mb_header header = header_of("h", MB_SECTION_APPLICATION, odd);
    struct mb_message message = message_of(0);
    struct mb_carried carried = {.message = &message};
    struct mb_error err;

    (void)state;
    mb_text_clear(&out);
    mb_text_add(&out, "before", 6);
    message.headers = &header;
    message.headers_count = 1;
    assert_int_equal(encode_with(&encoding, &carried, MB_SLICE_NULL, &err), MB_REJECTED);
    assert_int_equal(err.cause, MB_CAUSE_MESSAGE);
    assert_string_equal(err.reason, "value");
    assert_int_equal(out.size, 6);
    assert_false(out.failed);
    message.headers_count = 0;
    message.body.data = calloc(1, out.max_size);
    message.body.size = out.max_size;
    assert_int_equal(encode_with(&encoding, &carried, MB_SLICE_NULL, &err), MB_REJECTED);
    assert_string_equal(err.reason, "size");
    assert_int_equal(out.size, 6);
    assert_false(out.failed);
    free((void *)message.body.data);
    message.body = BYTES("x");
    assert_int_equal(encode_with(&encoding, &carried, MB_SLICE_NULL, &err), MB_OK);
    assert_slice((struct mb_slice){out.data, out.size}, BYTES("before" BODY));
}

static void nothing_is_allocated_once_warm(void **state)
{
    struct mb_header header = header_of("h", MB_SECTION_APPLICATION, text_value("v"));
    struct mb_message message = message_of(MB_HAS_KEY | MB_HAS_MESSAGE_ID);
    const char *data;
    size_t capacity;

    (void)state;
    message.headers = &header;
    message.headers_count = 1;
    message.properties->message_id.bytes = BYTES("m");
    encode(&message);
    data = out.data;
    capacity = out.capacity;
    for (int i = 0; i < 1000; i++)
        encode(&message);
    assert_ptr_equal(out.data, data);
    assert_int_equal(out.capacity, capacity);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_there_is_written),
        cmocka_unit_test(properties_have_their_types),
        cmocka_unit_test(sections_stand_in_their_order),
        cmocka_unit_test(sizes_at_the_border),
        cmocka_unit_test(bodies_of_each_kind),
        cmocka_unit_test(carriers_and_key_are_annotations),
        cmocka_unit_test(verbatim_changes_carriers_only),
        cmocka_unit_test(to_by_option_comes_before_verbatim),
        cmocka_unit_test(a_property_of_our_own_replaces),
        cmocka_unit_test(what_does_not_fit_leaves_no_trace),
        cmocka_unit_test(nothing_is_allocated_once_warm),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    mb_text_release(&out);
    return failed;
}
