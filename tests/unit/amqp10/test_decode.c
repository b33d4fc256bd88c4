/* SPDX-License-Identifier: Apache-2.0 */
/* AMQP 1.0 bytes → envelope: each section, field and body of Part 3, section 3.2. */
#include "wire.h"

/* Header. */

static void header_fields_are_present_or_absent(void **state)
{
    struct mb_message message =
        decode_good(BYTES(HEADER "\xc0\x0c\x05\x41\x50\x07\x70\0\0\x03\xe8\x41\x52\x02" BODY));

    (void)state;
    assert_int_equal(message.present, MB_HAS_DURABLE | MB_HAS_PRIORITY | MB_HAS_TTL);
    assert_true(message.durable);
    assert_int_equal(message.priority, 7);
    assert_int_equal(message.ttl_ms, 1000);
    assert_int_equal(message.delivery_count, 2);
    assert_true(message.redelivered);

    message = decode_good(BYTES(HEADER "\xc0\x04\x03\x42\x40\x43" BODY));
    assert_int_equal(message.present, MB_HAS_DURABLE | MB_HAS_TTL);
    assert_false(message.durable);
    assert_int_equal(message.ttl_ms, 0);

    message = decode_good(BYTES(HEADER "\xc0\x06\x05\x40\x40\x40\x42\x43" BODY));
    assert_int_equal(message.present, 0);
    assert_int_equal(message.delivery_count, 0);
    assert_false(message.redelivered);

    message = decode_good(BYTES(HEADER "\x45" BODY));
    assert_int_equal(message.present, 0);
    message = decode_good(BYTES(BODY));
    assert_int_equal(message.present, 0);
}

static void sections_in_any_legal_form(void **state)
{
    struct mb_message message;

    (void)state;
    message = decode_good(BYTES("\0\x80\0\0\0\0\0\0\0\x70\xd0\0\0\0\x05\0\0\0\x01\x41" BODY));
    assert_int_equal(message.present, MB_HAS_DURABLE);
    message = decode_good(BYTES("\0\xa3\x10"
                                "amqp:header:list\xc0\x02\x01\x41" BODY));
    assert_int_equal(message.present, MB_HAS_DURABLE);
    message = decode_good(BYTES("\0\xb3\0\0\0\x10"
                                "amqp:header:list\xc0\x03\x01\x56\x01" BODY));
    assert_int_equal(message.present, MB_HAS_DURABLE);
    message = decode_good(BYTES("\0\xa3\x14"
                                "amqp:properties:list\x45"
                                "\0\xa3\x1f"
                                "amqp:application-properties:map\xc1\x01\x00" BODY));
    assert_int_equal(message.present, 0);
    message = decode_good(BYTES("\0\xa3\x10"
                                "amqp:data:binary\xb0\0\0\0\x02hi"));
    assert_text(message.body, "hi");
    message = decode_good(BYTES("\0\xa3\x17"
                                "amqp:amqp-sequence:list\x45"));
    assert_int_equal(message.body_kind, MB_BODY_SEQUENCE);
    message = decode_good(BYTES("\0\xa3\x11"
                                "amqp:amqp-value:*\x41"
                                "\0\xa3\x0f"
                                "amqp:footer:map\xc1\x01\0"));
    assert_int_equal(message.body_kind, MB_BODY_VALUE);
    message = decode_good(BYTES("\0\xa3\x1d"
                                "amqp:delivery-annotations:map\xc1\x01\0"
                                "\0\xa3\x1c"
                                "amqp:message-annotations:map\xc1\x01\0" BODY));
    assert_int_equal(message.headers_count, 0);
}

static void delivery_annotations_are_of_this_hop(void **state)
{
    struct mb_message message =
        decode_good(BYTES(DELIVERY_ANNOTATIONS "\xc1\x06\x02\xa3\x01k\x52\x07" BODY));

    (void)state;
    assert_int_equal(message.headers_count, 0);
    assert_int_equal(message.raw.size, sizeof(BODY) - 1);
}

/* Properties. */

static void every_property(void **state)
{
    struct mb_message message = decode_good(
        BYTES(PROPERTIES "\xc0\x40\x0d\xa1\x01m\xa0\x02u\xff\xa1\x01t\xa1\x01s\xa1\x01r\xa1\x01"
                         "c\xa3\x0atext/plain\xa3\x04gzip\x83\0\0\0\0\0\0\0\x05"
                         "\x83\xff\xff\xff\xff\xff\xff\xff\xff\xa1\x01g\x52\x09\xa1\x01h" BODY));
    const struct mb_properties *properties = message.properties;

    (void)state;
    assert_int_equal(message.present, MB_HAS_MESSAGE_ID | MB_HAS_USER_ID | MB_HAS_TO |
                                          MB_HAS_SUBJECT | MB_HAS_REPLY_TO | MB_HAS_CORRELATION_ID |
                                          MB_HAS_CONTENT_TYPE | MB_HAS_CONTENT_ENCODING |
                                          MB_HAS_EXPIRES_AT | MB_HAS_TIMESTAMP | MB_HAS_GROUP_ID |
                                          MB_HAS_GROUP_SEQUENCE | MB_HAS_REPLY_TO_GROUP_ID);
    assert_int_equal(properties->message_id.kind, MB_ID_STRING);
    assert_text(properties->message_id.bytes, "m");
    assert_slice(properties->user_id, BYTES("u\xff"));
    assert_text(properties->to, "t");
    assert_text(properties->subject, "s");
    assert_text(properties->reply_to, "r");
    assert_text(properties->correlation_id.bytes, "c");
    assert_text(properties->content_type, "text/plain");
    assert_text(properties->content_encoding, "gzip");
    assert_int_equal(message.expires_at_ms, 5);
    assert_int_equal(message.timestamp_ms, -1);
    assert_int_equal(message.timestamp_kind, MB_TIMESTAMP_CREATE);
    assert_text(properties->group_id, "g");
    assert_int_equal(properties->group_sequence, 9);
    assert_text(properties->reply_to_group_id, "h");
    assert_int_equal(message.headers_count, 0);
}

static void ids_of_four_types(void **state)
{
    struct mb_message message;

    (void)state;
    message = decode_good(BYTES(PROPERTIES "\xc0\x17\x06\x98"
                                           "0123456789abcdef\x40\x40\x40\x40"
                                           "\x44" BODY));
    assert_int_equal(message.present, MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID);
    assert_int_equal(message.properties->message_id.kind, MB_ID_UUID);
    assert_text(message.properties->message_id.bytes, "0123456789abcdef");
    assert_int_equal(message.properties->correlation_id.kind, MB_ID_ULONG);
    assert_int_equal(message.properties->correlation_id.number, 0);
    message =
        decode_good(BYTES(PROPERTIES "\xc0\x0a\x01\x80\xff\xff\xff\xff\xff\xff\xff\xff" BODY));
    assert_true(message.properties->message_id.number == UINT64_MAX);
    message =
        decode_good(BYTES(PROPERTIES "\xc0\x0b\x06\xa0\x02\0\xff\x40\x40\x40\x40\xa1\0" BODY));
    assert_int_equal(message.properties->message_id.kind, MB_ID_BINARY);
    assert_slice(message.properties->message_id.bytes, BYTES("\0\xff"));
    assert_int_equal(message.properties->correlation_id.kind, MB_ID_STRING);
    assert_text(message.properties->correlation_id.bytes, "");
    /* A string that is none. */
    message = decode_good(BYTES(PROPERTIES "\xc0\x05\x01\xa1\x02\xc3\x28" BODY));
    assert_int_equal(message.properties->message_id.kind, MB_ID_BINARY);
}

static void sloppy_texts_are_taken(void **state)
{
    struct mb_message message = decode_good(
        BYTES(PROPERTIES "\xc0\x0e\x07\x40\xa1\x01u\xa3\x01t\x40\x40\x40\xa1\x01x" BODY));

    (void)state;
    assert_int_equal(message.present, MB_HAS_USER_ID | MB_HAS_TO | MB_HAS_CONTENT_TYPE);
    assert_text(message.properties->user_id, "u");
    assert_text(message.properties->to, "t");
    assert_text(message.properties->content_type, "x");
}

/* Annotations, application-properties, footer. */

static void annotations_keep_names_types_and_order(void **state)
{
    struct mb_message message =
        decode_good(BYTES(MESSAGE_ANNOTATIONS
                          "\xc1\x2d\x0a\xa3\x06x-opt-\xc0\x02\x01\x40\x80\0\0\0\0\0\0\x01\0"
                          "\xa3\x01v\x44\x41\xa1\x01s\x42\xa3\x06x-opt-\xe0\x04\x02\x50\1\2" BODY));
    struct mb_value null = {.type = MB_NULL};

    (void)state;
    assert_int_equal(message.headers_count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(message.headers[i].section, MB_SECTION_MESSAGE_ANNOTATIONS);
    assert_text(message.headers[0].name, "x-opt-");
    assert_int_equal(message.headers[0].name_type, MB_SYMBOL);
    assert_value(&message.headers[0].value, items_value(MB_LIST, &null, 1));
    assert_text(message.headers[1].name, "256");
    assert_int_equal(message.headers[1].name_type, MB_U64);
    assert_value(&message.headers[1].value, bytes_value(MB_SYMBOL, BYTES("v")));
    assert_text(message.headers[2].name, "0");
    assert_text(message.headers[3].name, "s");
    assert_int_equal(message.headers[3].name_type, MB_STRING);
    assert_text(message.headers[4].name, "x-opt-"); /* again */
    assert_int_equal(message.headers[4].value.type, MB_ARRAY);
}

static void carriers_are_taken_and_stay(void **state)
{
    struct mb_message message = decode_good(BYTES(
        MESSAGE_ANNOTATIONS "\xc1\x5a\x08"
                            "\xa3\x12x-opt-mbridge-meta\xa0\x02\x01\x02"
                            "\xa3\x01"
                            "a\x41"
                            "\xa3\x12x-opt-mbridge-path\xa0\x10\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\1\0"
                            "\xa3\x10x-opt-mbridge-id\xa1\x03"
                            "a/1" BODY));

    (void)state;
    assert_slice(message.sidecar, BYTES("\1\2"));
    assert_int_equal(message.path_count, 2);
    assert_int_equal(message.path[0], 5);
    assert_int_equal(message.path[1], 256);
    assert_text(message.stable_id, "a/1");
    assert_int_equal(message.headers_count, 4);
    assert_int_equal(message.headers[0].section, MB_SECTION_BRIDGE);
    assert_int_equal(message.headers[1].section, MB_SECTION_MESSAGE_ANNOTATIONS);
    assert_int_equal(message.headers[2].section, MB_SECTION_BRIDGE);
    assert_int_equal(message.headers[3].section, MB_SECTION_BRIDGE);
}

static void carriers_of_other_types(void **state)
{
    struct mb_message message;

    (void)state;
    /* RabbitMQ's conversion from 0-9-1 makes strings of them. */
    message = decode_good(
        BYTES(MESSAGE_ANNOTATIONS "\xc1\x19\x02\xa3\x12x-opt-mbridge-meta\xa1\x02\x01\x02" BODY));
    assert_slice(message.sidecar, BYTES("\1\2"));
    /* A number is nobody's sidecar. */
    message =
        decode_good(BYTES(MESSAGE_ANNOTATIONS "\xc1\x16\x02\xa3\x12x-opt-mbridge-meta\x41" BODY));
    assert_null(message.sidecar.data);
    assert_int_equal(message.headers[0].section, MB_SECTION_MESSAGE_ANNOTATIONS);
    /* A path that is none counts as absent. */
    message = decode_good(
        BYTES(MESSAGE_ANNOTATIONS "\xc1\x18\x02\xa3\x12x-opt-mbridge-path\xa0\x01x" BODY));
    assert_int_equal(message.path_count, 0);
    assert_int_equal(message.headers[0].section, MB_SECTION_BRIDGE);
    /* Elsewhere the names mean nothing. */
    message = decode_good(
        BYTES(APPLICATION_PROPERTIES "\xc1\x18\x02\xa1\x12x-opt-mbridge-meta\xa0\x01x" BODY));
    assert_null(message.sidecar.data);
    assert_int_equal(message.headers[0].section, MB_SECTION_APPLICATION);
}

static void the_key_is_an_annotation(void **state)
{
    struct mb_message message;

    (void)state;
    message = decode_good(
        BYTES(MESSAGE_ANNOTATIONS "\xc1\x18\x02\xa3\x11x-opt-mbridge-key\xa0\x02k\xff" BODY));
    assert_int_equal(message.present, MB_HAS_KEY);
    assert_slice(message.key, BYTES("k\xff"));
    assert_int_equal(message.headers_count, 0);
    message =
        decode_good(BYTES(MESSAGE_ANNOTATIONS "\xc1\x15\x02\xa3\x11x-opt-mbridge-key\x40" BODY));
    assert_int_equal(message.present, MB_HAS_KEY);
    assert_null(message.key.data);
    message =
        decode_good(BYTES(MESSAGE_ANNOTATIONS "\xc1\x16\x02\xa3\x11x-opt-mbridge-key\xa0\0" BODY));
    assert_text(message.key, "");
    message =
        decode_good(BYTES(MESSAGE_ANNOTATIONS "\xc1\x15\x02\xa3\x11x-opt-mbridge-key\x41" BODY));
    assert_int_equal(message.present, 0);
    assert_int_equal(message.headers_count, 1);
}

static void application_properties_and_footer(void **state)
{
    struct mb_message message =
        decode_good(BYTES(APPLICATION_PROPERTIES "\xc1\x10\x06\xa1\x01"
                                                 "a\x53\x07\xa1\x01"
                                                 "b\x40\xa1\x01"
                                                 "a\xa1\x01x" BODY FOOTER "\xc1\x07\x02\xa3\x01"
                                                 "f\xa0\x01y"));

    (void)state;
    assert_int_equal(message.headers_count, 4);
    assert_text(message.headers[0].name, "a");
    assert_int_equal(message.headers[0].name_type, MB_STRING);
    assert_int_equal(message.headers[0].value.type, MB_U64);
    assert_int_equal(message.headers[0].value.as.u, 7);
    assert_int_equal(message.headers[1].value.type, MB_NULL);
    assert_value(&message.headers[2].value, text_value("x")); /* the name repeats */
    assert_int_equal(message.headers[2].section, MB_SECTION_APPLICATION);
    assert_int_equal(message.headers[3].section, MB_SECTION_FOOTER);
    assert_int_equal(message.headers[3].name_type, MB_SYMBOL);
    assert_value(&message.headers[3].value, bytes_value(MB_BINARY, BYTES("y")));
}

static void no_header_is_promoted(void **state)
{
    struct mb_message message =
        decode_good(BYTES(APPLICATION_PROPERTIES "\xc1\x0e\x02\xa1\x07subject\xa1\x02hi" BODY));

    (void)state;
    assert_int_equal(message.present, 0);
}

/* Bodies. */

static void bodies_of_data(void **state)
{
    struct mb_message message = decode_good(BYTES(DATA "\xa0\x02hi"));
    struct mb_value parts[3] = {bytes_value(MB_BINARY, BYTES("a")),
                                bytes_value(MB_BINARY, BYTES("")),
                                bytes_value(MB_BINARY, BYTES("bc"))};

    (void)state;
    assert_int_equal(message.body_kind, MB_BODY_BYTES);
    assert_text(message.body, "hi");
    message = decode_good(BYTES(DATA "\xa0\0"));
    assert_int_equal(message.body_kind, MB_BODY_BYTES);
    assert_text(message.body, "");
    message = decode_good(BYTES(DATA "\xa0\x01"
                                     "a" DATA "\xa0\0" DATA "\xb0\0\0\0\x02"
                                     "bc" FOOTER "\xc1\x01\0"));
    assert_int_equal(message.body_kind, MB_BODY_MULTI_DATA);
    assert_text(message.body, "abc");
    assert_value(&message.body_value, items_value(MB_LIST, parts, 3));
}

static void bodies_of_values(void **state)
{
    struct mb_message message = decode_good(BYTES(VALUE "\xa1\x02hi"));

    (void)state;
    assert_int_equal(message.body_kind, MB_BODY_VALUE);
    assert_value(&message.body_value, text_value("hi"));
    assert_null(message.body.data);
    message = decode_good(BYTES(VALUE "\x40"));
    assert_int_equal(message.body_kind, MB_BODY_NULL);
    message = decode_good(BYTES(VALUE "\xc1\x07\x02\xa1\x01k\xa0\x01v"));
    assert_int_equal(message.body_kind, MB_BODY_VALUE);
    assert_int_equal(message.body_value.type, MB_MAP);
}

static void bodies_of_sequences(void **state)
{
    struct mb_value one = {.type = MB_BOOL, .as.b = true};
    struct mb_value lists[2] = {items_value(MB_LIST, &one, 1), items_value(MB_LIST, NULL, 0)};
    struct mb_message message = decode_good(BYTES(SEQUENCE "\xc0\x02\x01\x41"));

    (void)state;
    assert_int_equal(message.body_kind, MB_BODY_SEQUENCE);
    assert_value(&message.body_value, items_value(MB_LIST, lists, 1));
    message = decode_good(BYTES(SEQUENCE "\xc0\x02\x01\x41" SEQUENCE "\x45"));
    assert_value(&message.body_value, items_value(MB_LIST, lists, 2));
}

static void a_message_without_body_section_has_a_null_body(void **state)
{
    struct mb_message message = decode_good(BYTES(HEADER "\x45"));

    (void)state;
    assert_int_equal(message.body_kind, MB_BODY_NULL);
    assert_int_equal(message.raw_kind, MB_RAW_NONE);
    message = decode_good(BYTES(PROPERTIES "\x45"));
    assert_int_equal(message.body_kind, MB_BODY_NULL);
    assert_slice(message.raw, BYTES(PROPERTIES "\x45"));
}

static void the_bare_message_is_kept(void **state)
{
#define BARE                                                                                       \
    PROPERTIES "\xc0\x04\x01\xa1\x01m" APPLICATION_PROPERTIES "\xd1\0\0\0\x09\0\0\0\x02\xa1\x01"   \
               "a\x56\x01" DATA "\xb0\0\0\0\x01x"
    struct mb_message message = decode_good(BYTES(HEADER "\xc0\x02\x01\x41" MESSAGE_ANNOTATIONS
                                                         "\xc1\x05\x02\xa3\x01k\x41" BARE FOOTER
                                                         "\xc1\x05\x02\xa3\x01k\x41"));

    (void)state;
    assert_int_equal(message.raw_kind, MB_RAW_AMQP10_BARE);
    assert_slice(message.raw, BYTES(BARE));
}

static void what_is_no_message_is_handed_over_with_the_reason(void **state)
{
    static const struct {
        struct mb_slice bytes;
        const char *says;
    } cases[] = {
        {BYTES(""), "there is no section at all"},
        {BYTES("x"), "a section is expected here"},
        {BYTES("\0\x53"), "a section is expected here"},
        {BYTES("\0\x53\x79\x40"), "a section is expected here"},
        {BYTES("\0\xa3\x03odd\x40"), "a section is expected here"},
        {BYTES("\0\0\x53\x70\x40\x45"), "a section is expected here"},
        {BYTES("\0\x53\x75"), "data holds a value that is malformed"},
        {BYTES(BODY "x"), "a section is expected here"},
        {BYTES(HEADER "\x45" HEADER "\x45" BODY), "header cannot stand here"},
        {BYTES(PROPERTIES "\x45" HEADER "\x45" BODY), "header cannot stand here"},
        {BYTES(BODY PROPERTIES "\x45"), "properties cannot stand here"},
        {BYTES(BODY VALUE "\x40"), "amqp-value cannot stand here"},
        {BYTES(VALUE "\x40" VALUE "\x40"), "amqp-value cannot stand here"},
        {BYTES(SEQUENCE "\x45" BODY), "data cannot stand here"},
        {BYTES(FOOTER "\xc1\x01\0" BODY), "data cannot stand here"},
        {BYTES(BODY FOOTER "\xc1\x01\0" FOOTER "\xc1\x01\0"), "footer cannot stand here"},
        {BYTES(BODY FOOTER "\xc1\x01\0" BODY), "data cannot stand here"},
        {BYTES(HEADER "\x40" BODY), "header is no list"},
        {BYTES(HEADER "\xc1\x01\0" BODY), "header is no list"},
        {BYTES(HEADER "\xc0\x07\x06\x40\x40\x40\x40\x40\x40" BODY), "more fields than AMQP 1.0"},
        {BYTES(HEADER "\xc0\x02\x01\x43" BODY), "header holds a field of the wrong type"},
        {BYTES(HEADER "\xc0\x03\x02\x40\x41" BODY), "header holds a field of the wrong type"},
        {BYTES(HEADER "\xc0\x04\x03\x40\x40\x44" BODY), "header holds a field of the wrong type"},
        {BYTES(HEADER "\xc0\x03\x01\x41\x41" BODY), "header has bytes behind its last field"},
        {BYTES(HEADER "\xc0\x02\x01\x50" BODY), "header holds a value that is malformed"},
        {BYTES(PROPERTIES "\xc0\x02\x01\x41" BODY), "properties holds a field of the wrong type"},
        {BYTES(PROPERTIES "\xc0\x03\x02\x40\x43" BODY), "properties holds a field of the wrong"},
        {BYTES(PROPERTIES "\xc0\x04\x03\x40\x40\x45" BODY),
         "properties holds a field of the wrong"},
        {BYTES(PROPERTIES "\xc0\x0a\x09\x40\x40\x40\x40\x40\x40\x40\x40\x43" BODY),
         "properties holds a field of the wrong type"},
        {BYTES(DELIVERY_ANNOTATIONS "\xc1\x02\x01\x40" BODY), "delivery-annotations is malformed"},
        {BYTES(MESSAGE_ANNOTATIONS "\x45" BODY), "message-annotations is no map"},
        {BYTES(MESSAGE_ANNOTATIONS "\xc1\x03\x02\x41\x40" BODY), "a key that is neither"},
        {BYTES(MESSAGE_ANNOTATIONS "\xc1\x05\x02\xa3\x01k\x01" BODY), "holds a value that is"},
        {BYTES(APPLICATION_PROPERTIES "\xc1\x03\x02\xa1\x05" BODY),
         "holds a key that is malformed"},
        {BYTES(APPLICATION_PROPERTIES "\xc1\x06\x02\xa1\x01k\x41\x41" BODY),
         "bytes behind its last"},
        {BYTES(DATA "\x40"), "data is no binary"},
        {BYTES(DATA "\xa1\x01x"), "data is no binary"},
        {BYTES(SEQUENCE "\x40"), "amqp-sequence is no list"},
        {BYTES(VALUE "\xc0\x03\x01\x41"), "amqp-value holds a value that is malformed"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct mb_message message = decode(cases[i].bytes);

        assert_non_null(message.reject_reason);
        assert_string_equal(message.reject_reason, "malformed");
        if (strstr(message.reject_text, cases[i].says) == NULL)
            fail_msg("case %zu: %s", i, message.reject_text);
        assert_int_equal(message.present, 0);
        assert_int_equal(message.headers_count, 0);
        assert_int_equal(message.raw_kind, MB_RAW_NONE);
        assert_int_equal(message.body_kind, MB_BODY_BYTES);
        assert_slice(message.body, cases[i].bytes);
    }
}

static void memory_ends(void **state)
{
    struct mb_slice cases[] = {
        BYTES(MESSAGE_ANNOTATIONS "\xc1\x05\x02\x44\xa3\x01k" APPLICATION_PROPERTIES
                                  "\xc1\x05\x02\xa1\x01k\x41" DATA "\xa0\x01x" DATA "\xa0\x01x"),
        BYTES(PROPERTIES "\xc0\x04\x01\xa1\x01m" DATA "\xa0\x01x"),
        BYTES(SEQUENCE "\xc0\x02\x01\x41"),
        BYTES(VALUE "\xc0\x02\x01\x41"),
        BYTES("no message"),
    };
    static unsigned char memory[4096];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        enum mb_status status = MB_NO_MEMORY;
        size_t size;

        for (size = 0; status == MB_NO_MEMORY && size < sizeof memory; size += 8) {
            struct mb_arena arena = {memory, memory + size, no_more};
            struct mb_message message;
            uint64_t bytes;

            memset(&message, 0, sizeof message);
            status = amqp10_decode(cases[i], &arena, &message, &bytes);
        }
        assert_int_equal(status, MB_OK);
        assert_true(size > 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_fields_are_present_or_absent),
        cmocka_unit_test(sections_in_any_legal_form),
        cmocka_unit_test(delivery_annotations_are_of_this_hop),
        cmocka_unit_test(every_property),
        cmocka_unit_test(ids_of_four_types),
        cmocka_unit_test(sloppy_texts_are_taken),
        cmocka_unit_test(annotations_keep_names_types_and_order),
        cmocka_unit_test(carriers_are_taken_and_stay),
        cmocka_unit_test(carriers_of_other_types),
        cmocka_unit_test(the_key_is_an_annotation),
        cmocka_unit_test(application_properties_and_footer),
        cmocka_unit_test(no_header_is_promoted),
        cmocka_unit_test(bodies_of_data),
        cmocka_unit_test(bodies_of_values),
        cmocka_unit_test(bodies_of_sequences),
        cmocka_unit_test(a_message_without_body_section_has_a_null_body),
        cmocka_unit_test(the_bare_message_is_kept),
        cmocka_unit_test(what_is_no_message_is_handed_over_with_the_reason),
        cmocka_unit_test(memory_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
