/* SPDX-License-Identifier: Apache-2.0 */
/* Envelope → what a reader of AMQP 1.0 sees: the tables of docs/fidelity.md, row by row. */
#include "wire.h"

#include <kit/field.h>

static struct mb_scratch scratch;
static struct amqp10_encoding encoding = {.to_from_slot = -1};

static struct mb_message message_of(uint32_t present)
{
    struct mb_message message;

    memset(&message, 0, sizeof message);
    message.struct_size = sizeof message;
    message.present = present;
    message.properties = fresh_properties();
    message.body = BYTES("body");
    return message;
}

static struct mb_message project_named(const struct mb_message *message, struct mb_slice to)
{
    struct mb_outgoing item = {.message = message, .names = {MB_SLICE_NULL, to}};
    struct mb_message natural = *message;
    struct mb_error err;

    mb_scratch_release(&scratch);
    mb_scratch_init(&scratch, 1u << 20);
    assert_true(mb_properties_own(&natural, &scratch.arena));
    assert_int_equal(amqp10_project(&encoding, &item, message, &scratch, &natural, &err), MB_OK);
    assert_int_equal(natural.raw_kind, MB_RAW_NONE);
    return natural;
}

static struct mb_message project(const struct mb_message *message)
{
    return project_named(message, MB_SLICE_NULL);
}

static int reset_options(void **state)
{
    (void)state;
    encoding = (struct amqp10_encoding){.to_from_slot = -1};
    return 0;
}

/* Fields. */

static void native_properties_stay(void **state)
{
    uint32_t native = MB_HAS_KEY | MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID | MB_HAS_CONTENT_TYPE |
                      MB_HAS_CONTENT_ENCODING | MB_HAS_SUBJECT | MB_HAS_TO | MB_HAS_REPLY_TO |
                      MB_HAS_GROUP_ID | MB_HAS_GROUP_SEQUENCE | MB_HAS_REPLY_TO_GROUP_ID |
                      MB_HAS_TIMESTAMP | MB_HAS_TTL | MB_HAS_EXPIRES_AT | MB_HAS_DURABLE |
                      MB_HAS_PRIORITY;
    struct mb_message message = message_of(native);
    struct mb_properties *properties = message.properties;
    struct mb_message natural;

    (void)state;
    properties->message_id = (struct mb_id){.kind = MB_ID_STRING, .bytes = BYTES("")};
    properties->correlation_id = (struct mb_id){.kind = MB_ID_ULONG, .number = UINT64_MAX};
    properties->content_type = BYTES("text/plain");
    properties->content_encoding = BYTES("gzip");
    properties->subject = BYTES("gr\xc3\xbc\xc3\x9f");
    properties->to = properties->reply_to = properties->group_id = properties->reply_to_group_id =
        BYTES("x");
    message.timestamp_ms = -5;
    message.ttl_ms = UINT32_MAX;
    message.timestamp_kind = MB_TIMESTAMP_CREATE;
    natural = project(&message);
    assert_int_equal(natural.present, native);
    assert_int_equal(mb_message_difference(&natural, &message), 0);
    assert_null(natural.key.data);
}

static void fields_without_a_place_are_left_out(void **state)
{
    struct mb_message message = message_of(MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY | MB_HAS_USER_ID);
    struct mb_properties *properties = message.properties;
    struct mb_message natural;

    (void)state;
    properties->exchange = properties->routing_key = properties->user_id = BYTES("x");
    natural = project(&message);
    assert_int_equal(natural.present, 0);
    assert_int_equal(natural.headers_count, 0);
    encoding.trust_user_id = true;
    natural = project(&message);
    assert_int_equal(natural.present, MB_HAS_USER_ID);
}

static void values_that_do_not_fit_are_left_out(void **state)
{
    struct mb_message message =
        message_of(MB_HAS_CONTENT_TYPE | MB_HAS_SUBJECT | MB_HAS_TO | MB_HAS_REPLY_TO | MB_HAS_TTL |
                   MB_HAS_CORRELATION_ID | MB_HAS_MESSAGE_ID);

    (void)state;
    message.properties->content_type = BYTES("text/pl\xc3\xa4in"); /* a symbol is ASCII */
    message.properties->subject = BYTES("\xff");
    message.properties->to = MB_SLICE_NULL; /* null is absent there */
    message.properties->reply_to = BYTES("\xc3");
    message.ttl_ms = UINT64_C(1) << 32;
    message.properties->message_id = (struct mb_id){.kind = MB_ID_STRING, .bytes = BYTES("\xff")};
    message.properties->correlation_id =
        (struct mb_id){.kind = MB_ID_UUID, .bytes = BYTES("short")};
    message = project(&message);
    assert_int_equal(message.present, MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID);
    assert_int_equal(message.properties->message_id.kind, MB_ID_BINARY);
    assert_int_equal(message.properties->correlation_id.kind, MB_ID_BINARY);
}

static void the_timestamp_is_a_creation_time(void **state)
{
    struct mb_message message = message_of(MB_HAS_TIMESTAMP);

    (void)state;
    message.timestamp_ms = 1500;
    message.timestamp_kind = MB_TIMESTAMP_LOG_APPEND;
    message = project(&message);
    assert_int_equal(message.present, MB_HAS_TIMESTAMP);
    assert_int_equal(message.timestamp_kind, MB_TIMESTAMP_CREATE);
    assert_int_equal(message.timestamp_ms, 1500);
}

static void durable_by_default_where_the_message_does_not_say(void **state)
{
    struct mb_message message = message_of(0);
    struct mb_message natural = project(&message);

    (void)state;
    assert_int_equal(natural.present, 0);
    encoding.durable_default = true;
    natural = project(&message);
    assert_int_equal(natural.present, MB_HAS_DURABLE);
    assert_true(natural.durable);
    message.present = MB_HAS_DURABLE;
    natural = project(&message);
    assert_false(natural.durable);
}

static void the_app_id_is_an_application_property(void **state)
{
    struct mb_header own = header_of("app-id", MB_SECTION_APPLICATION, text_value("mine"));
    struct mb_message message = message_of(MB_HAS_APP_ID);
    struct mb_message natural;

    (void)state;
    message.properties->app_id = BYTES("shop");
    natural = project(&message);
    assert_int_equal(natural.present, 0);
    assert_int_equal(natural.headers_count, 1);
    assert_text(natural.headers[0].name, "app-id");
    assert_value(&natural.headers[0].value, text_value("shop"));
    message.headers = &own;
    message.headers_count = 1;
    natural = project(&message);
    assert_int_equal(natural.headers_count, 1);
    assert_value(&natural.headers[0].value, text_value("mine"));
}

static void to_and_group_by_option(void **state)
{
    struct mb_message message = message_of(MB_HAS_KEY | MB_HAS_TO);
    struct mb_message natural;

    (void)state;
    message.key = BYTES("k");
    message.properties->to = BYTES("before");
    encoding.to_from_slot = 1;
    encoding.group_from_key = true;
    natural = project_named(&message, BYTES("/queues/q"));
    assert_text(natural.properties->to, "/queues/q");
    assert_text(natural.properties->group_id, "k");
    assert_text(natural.key, "k");
    natural = project(&message);
    assert_text(natural.properties->to, "before");
    message.present |= MB_HAS_GROUP_ID;
    message.properties->group_id = BYTES("g");
    natural = project(&message);
    assert_text(natural.properties->group_id, "g");
    message.present = MB_HAS_KEY;
    message.key = BYTES("\xff");
    natural = project(&message);
    assert_int_equal(natural.present, MB_HAS_KEY);
}

/* Header value types. */

static void assert_property(struct mb_value value, struct mb_value expected)
{
    struct mb_header header = header_of("h", MB_SECTION_APPLICATION, value);
    struct mb_message message = message_of(0);

    message.headers = &header;
    message.headers_count = 1;
    message = project(&message);
    assert_int_equal(message.headers_count, 1);
    assert_value(&message.headers[0].value, expected);
}

static void simple_values_are_exact(void **state)
{
    static const enum mb_type numbers[] = {MB_I8,  MB_I16, MB_I32, MB_I64,  MB_U8,
                                           MB_U16, MB_U32, MB_U64, MB_CHAR, MB_TIMESTAMP_MS};
    struct mb_value value = {.type = MB_NULL};

    (void)state;
    assert_property(value, value);
    value.as.u = 100;
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        value.type = (uint8_t)numbers[i];
        assert_property(value, value);
    }
    value.type = MB_U64;
    value.as.u = UINT64_MAX;
    assert_property(value, value);
    value = (struct mb_value){.type = MB_BOOL, .as.b = true};
    assert_property(value, value);
    value = (struct mb_value){.type = MB_F32, .as.f32 = 0.1f};
    assert_property(value, value);
    value = (struct mb_value){.type = MB_F64, .as.f64 = -0.0};
    assert_property(value, value);
    for (enum mb_type type = MB_BINARY; type <= MB_SYMBOL; type++)
        assert_property(bytes_value(type, BYTES("a\0b")), bytes_value(type, BYTES("a\0b")));
    assert_property(bytes_value(MB_UUID, BYTES("0123456789abcdef")),
                    bytes_value(MB_UUID, BYTES("0123456789abcdef")));
    assert_property(bytes_value(MB_DECIMAL64, BYTES("01234567")),
                    bytes_value(MB_DECIMAL64, BYTES("01234567")));
}

static void other_values_are_text_or_bytes(void **state)
{
    struct mb_value items[2] = {text_value("k"), {.type = MB_U8, .as.u = 1}};
    struct mb_value seconds = {.type = MB_TIMESTAMP_S, .as.i = 1700000000};
    struct mb_value ms = {.type = MB_TIMESTAMP_MS, .as.i = 1700000000000};
    struct mb_value scaled = {.type = MB_DECIMAL_SCALED};
    struct mb_value array = items_value(MB_ARRAY, &items[1], 1);

    (void)state;
    array.as.items.element = MB_U8;
    scaled.as.scaled.scale = 2;
    scaled.as.scaled.value = 12345;
    assert_property(items_value(MB_LIST, items, 2), text_value("[\"k\",1]"));
    assert_property(items_value(MB_MAP, items, 2), text_value("{\"k\":1}"));
    assert_property(array, text_value("[1]"));
    assert_property(seconds, ms);
    seconds.as.i = INT64_MAX;
    assert_property(seconds, text_value("9223372036854775807000"));
    assert_property(scaled, text_value("123.45"));
    assert_property(bytes_value(MB_STRING, BYTES("\xff")), bytes_value(MB_BINARY, BYTES("\xff")));
    assert_property(bytes_value(MB_SYMBOL, BYTES("\xc3\xa4")), text_value("\xc3\xa4"));
    assert_property(bytes_value(MB_SYMBOL, BYTES("\xff")), bytes_value(MB_BINARY, BYTES("\xff")));
    assert_property(bytes_value(MB_UUID, BYTES("x")), bytes_value(MB_BINARY, BYTES("x")));
}

static void annotations_keep_lists_but_no_foreign_types(void **state)
{
    struct mb_value seconds[2] = {{.type = MB_TIMESTAMP_S, .as.i = 2},
                                  {.type = MB_TIMESTAMP_S, .as.i = 3}};
    struct mb_value ms[2] = {{.type = MB_TIMESTAMP_MS, .as.i = 2000},
                             {.type = MB_TIMESTAMP_MS, .as.i = 3000}};
    struct mb_value array = items_value(MB_ARRAY, seconds, 2);
    struct mb_value natural_array = items_value(MB_ARRAY, ms, 2);
    struct mb_header headers[2] = {
        header_of("a", MB_SECTION_MESSAGE_ANNOTATIONS, items_value(MB_LIST, &array, 1)),
        header_of("f", MB_SECTION_FOOTER, items_value(MB_LIST, NULL, 0))};
    struct mb_message message = message_of(0);

    (void)state;
    array.as.items.element = MB_TIMESTAMP_S;
    natural_array.as.items.element = MB_TIMESTAMP_MS;
    message.headers = headers;
    message.headers_count = 2;
    message = project(&message);
    assert_int_equal(message.headers_count, 2);
    assert_value(&message.headers[0].value, items_value(MB_LIST, &natural_array, 1));
    assert_value(&message.headers[1].value, items_value(MB_LIST, NULL, 0));
}

static void application_names_are_unique_text(void **state)
{
    struct mb_header headers[] = {
        header_of("a", MB_SECTION_APPLICATION, text_value("1")),
        header_of("b", MB_SECTION_APPLICATION, text_value("2")),
        header_of("a", MB_SECTION_MESSAGE_ANNOTATIONS, text_value("3")),
        header_of("a", MB_SECTION_MESSAGE_ANNOTATIONS, text_value("4")),
        header_of("a", MB_SECTION_APPLICATION, text_value("5")),
        header_of("\xff", MB_SECTION_APPLICATION, text_value("6")),
        header_of(NULL, MB_SECTION_APPLICATION, text_value("7")),
        header_of("", MB_SECTION_APPLICATION, text_value("8")),
    };
    static const char *const values[] = {"2", "3", "4", "5", "8"};
    struct mb_message message = message_of(0);

    (void)state;
    headers[1].name_type = MB_SYMBOL;
    message.headers = headers;
    message.headers_count = COUNT_OF(headers);
    message = project(&message);
    assert_int_equal(message.headers_count, COUNT_OF(values));
    for (size_t i = 0; i < COUNT_OF(values); i++)
        assert_value(&message.headers[i].value, text_value(values[i]));
    assert_int_equal(message.headers[0].name_type, MB_STRING);
}

static void many_names_are_unique_too(void **state)
{
    static struct mb_header headers[3000];
    static char names[1000][8];
    struct mb_message message = message_of(0);

    (void)state;
    for (size_t i = 0; i < 3000; i++) {
        struct mb_value number = {.type = MB_U32, .as.u = i};

        snprintf(names[i % 1000], sizeof names[0], "n%zu", i % 1000);
        headers[i] = header_of(names[i % 1000], MB_SECTION_APPLICATION, number);
    }
    message.headers = headers;
    message.headers_count = 3000;
    message = project(&message);
    assert_int_equal(message.headers_count, 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(message.headers[i].value.as.u, 2000 + i);
}

static void the_bridges_own_names_are_nobody_elses(void **state)
{
    struct mb_header headers[] = {
        header_of("x-opt-mbridge-meta", MB_SECTION_BRIDGE, text_value("1")),
        header_of("x-opt-mbridge-key", MB_SECTION_MESSAGE_ANNOTATIONS, text_value("2")),
        header_of("x-opt-mbridge-path", MB_SECTION_MESSAGE_ANNOTATIONS, text_value("3")),
        header_of("x-opt-mbridge-path", MB_SECTION_APPLICATION, text_value("4")),
        header_of("07", MB_SECTION_MESSAGE_ANNOTATIONS, text_value("5")),
        header_of("7", MB_SECTION_MESSAGE_ANNOTATIONS, text_value("6")),
    };
    struct mb_message message = message_of(0);

    (void)state;
    headers[4].name_type = headers[5].name_type = MB_U64;
    message.headers = headers;
    message.headers_count = COUNT_OF(headers);
    message = project(&message);
    assert_int_equal(message.headers_count, 2);
    assert_value(&message.headers[0].value, text_value("4"));
    assert_value(&message.headers[1].value, text_value("6"));
}

/* Bodies. */

static void bodies_keep_their_kind(void **state)
{
    struct mb_message message = message_of(0);
    struct mb_message natural = project(&message);
    struct mb_value list = items_value(MB_LIST, NULL, 0);

    (void)state;
    assert_int_equal(natural.body_kind, MB_BODY_BYTES);
    assert_text(natural.body, "body");
    message.body = MB_SLICE_NULL;
    natural = project(&message);
    assert_text(natural.body, ""); /* bytes that are empty: only the kind says null */
    message.body_kind = MB_BODY_NULL;
    natural = project(&message);
    assert_int_equal(natural.body_kind, MB_BODY_NULL);
    message.body_kind = MB_BODY_VALUE;
    natural = project(&message);
    assert_int_equal(natural.body_kind, MB_BODY_NULL);
    message.body_value = text_value("hi");
    natural = project(&message);
    assert_int_equal(natural.body_kind, MB_BODY_VALUE);
    assert_value(&natural.body_value, text_value("hi"));
    message.body_kind = MB_BODY_SEQUENCE;
    message.body_value = items_value(MB_LIST, &list, 1);
    natural = project(&message);
    assert_int_equal(natural.body_kind, MB_BODY_SEQUENCE);
    message.body_value = list;
    natural = project(&message);
    assert_int_equal(natural.body_kind, MB_BODY_NULL);
    message.body_kind = MB_BODY_MULTI_DATA;
    message.body = BYTES("ab");
    natural = project(&message);
    assert_int_equal(natural.body_kind, MB_BODY_BYTES);
    assert_text(natural.body, "ab");
}

static void pairs_are_json(void **state)
{
    struct mb_value pair[2] = {bytes_value(MB_BINARY, BYTES("k")),
                               bytes_value(MB_BINARY, BYTES("v"))};
    struct mb_message message = message_of(0);
    struct mb_message natural;

    (void)state;
    message.body_kind = MB_BODY_PAIRS;
    message.body_value = items_value(MB_MAP, pair, 2);
    message.body = MB_SLICE_NULL;
    natural = project(&message);
    assert_int_equal(natural.body_kind, MB_BODY_BYTES);
    assert_text(natural.body, "{\"k\":\"v\"}");
    assert_text(natural.properties->content_type, "application/json");
    message.present = MB_HAS_CONTENT_TYPE;
    message.properties->content_type = BYTES("mine");
    natural = project(&message);
    assert_text(natural.properties->content_type, "mine");
}

static void *no_memory(struct mb_arena *arena, size_t size)
{
    (void)arena;
    (void)size;
    return NULL;
}

static void memory_ends(void **state)
{
    struct mb_value seconds = {.type = MB_TIMESTAMP_S, .as.i = 2};
    struct mb_value array = items_value(MB_ARRAY, &seconds, 1);
    struct mb_header headers[] = {
        header_of("a", MB_SECTION_APPLICATION, items_value(MB_LIST, &array, 1)),
        header_of("b", MB_SECTION_MESSAGE_ANNOTATIONS, items_value(MB_LIST, &array, 1)),
    };
    struct mb_message message = message_of(0);
    struct mb_outgoing item = {.message = &message};
    enum mb_status status = MB_NO_MEMORY;
    static unsigned char memory[1024];
    size_t size;

    (void)state;
    array.as.items.element = MB_TIMESTAMP_S;
    message.headers = headers;
    message.headers_count = COUNT_OF(headers);
    message.body_kind = MB_BODY_VALUE;
    message.body_value = array;
    for (size = 0; status == MB_NO_MEMORY && size < sizeof memory; size += 8) {
        struct mb_scratch small = {.arena = {memory, memory + size, no_memory}, .size_max = 1000};
        struct mb_properties properties = {0};
        struct mb_message natural = message;
        struct mb_error err;

        natural.properties = &properties;
        status = amqp10_project(&encoding, &item, &message, &small, &natural, &err);
    }
    assert_int_equal(status, MB_OK);
    assert_true(size > 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(native_properties_stay, reset_options),
        cmocka_unit_test_setup(fields_without_a_place_are_left_out, reset_options),
        cmocka_unit_test_setup(values_that_do_not_fit_are_left_out, reset_options),
        cmocka_unit_test_setup(the_timestamp_is_a_creation_time, reset_options),
        cmocka_unit_test_setup(durable_by_default_where_the_message_does_not_say, reset_options),
        cmocka_unit_test_setup(the_app_id_is_an_application_property, reset_options),
        cmocka_unit_test_setup(to_and_group_by_option, reset_options),
        cmocka_unit_test_setup(simple_values_are_exact, reset_options),
        cmocka_unit_test_setup(other_values_are_text_or_bytes, reset_options),
        cmocka_unit_test_setup(annotations_keep_lists_but_no_foreign_types, reset_options),
        cmocka_unit_test_setup(application_names_are_unique_text, reset_options),
        cmocka_unit_test_setup(many_names_are_unique_too, reset_options),
        cmocka_unit_test_setup(the_bridges_own_names_are_nobody_elses, reset_options),
        cmocka_unit_test_setup(bodies_keep_their_kind, reset_options),
        cmocka_unit_test_setup(pairs_are_json, reset_options),
        cmocka_unit_test_setup(memory_ends, reset_options),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    mb_scratch_release(&scratch);
    return failed;
}
