/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Record ↔ envelope, row by row: what is null, empty, absent, repeated, promoted, and what is left
 * alone; and what becomes of the messages of other platforms.
 */
#include "backends/kafka/kafka.h"

#include "kit/field.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

static unsigned char memory[1 << 16];

static void *no_more(struct mb_arena *arena, size_t size)
{
    (void)arena;
    (void)size;
    return NULL;
}

static struct mb_arena arena_of(size_t size)
{
    return (struct mb_arena){memory, memory + size, no_more};
}

static struct mb_slice text(const char *string)
{
    return mb_slice_text(string);
}

static void assert_slice(struct mb_slice slice, const char *string)
{
    assert_non_null(slice.data);
    assert_int_equal(slice.size, strlen(string));
    assert_memory_equal(slice.data, string, slice.size);
}

static void assert_header(const rd_kafka_headers_t *headers, size_t index, const char *name,
                          const char *value, size_t size)
{
    const char *found = NULL;
    const void *data = NULL;
    size_t found_size = 0;

    assert_int_equal(rd_kafka_header_get_all(headers, index, &found, &data, &found_size),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_string_equal(found, name);
    assert_int_equal(found_size, size);
    if (value == NULL)
        assert_null(data);
    else
        assert_memory_equal(data, value, size);
}

/* One message on its way into a record. */
struct trip {
    struct mb_scratch scratch;
    struct mb_message natural;
    struct kafka_projection projection;
    struct kafka_outgoing outgoing;
};

static void trip_begin(struct trip *trip)
{
    memset(trip, 0, sizeof *trip);
    mb_scratch_init(&trip->scratch, 1 << 20);
}

static enum mb_status trip_project(struct trip *trip, const struct mb_message *message)
{
    struct mb_outgoing item = {.message = message};
    struct mb_error err;

    mb_scratch_reset(&trip->scratch);
    trip->natural = *message;
    if (!mb_properties_own(&trip->natural, &trip->scratch.arena))
        return MB_NO_MEMORY;
    return kafka_map_project(&trip->projection, &item, message, &trip->scratch, &trip->natural,
                             &err);
}

static void trip_drop(struct trip *trip)
{
    if (trip->outgoing.headers != NULL)
        rd_kafka_headers_destroy(trip->outgoing.headers);
    memset(&trip->outgoing, 0, sizeof trip->outgoing);
}

/* Projects and encodes. */
static void trip_write(struct trip *trip, const struct mb_message *message)
{
    struct mb_carried carried = {.message = &trip->natural};

    trip_drop(trip);
    assert_int_equal(trip_project(trip, message), MB_OK);
    assert_int_equal(kafka_map_encode(&carried, &trip->outgoing), MB_OK);
}

static void trip_end(struct trip *trip)
{
    trip_drop(trip);
    mb_scratch_release(&trip->scratch);
}

static size_t headers_count(const struct trip *trip)
{
    return trip->outgoing.headers != NULL ? rd_kafka_header_cnt(trip->outgoing.headers) : 0;
}

/* ---- record → envelope ---- */

static void test_null_and_empty(void **state)
{
    struct mb_arena arena = arena_of(sizeof memory);
    struct mb_message message = {0};
    struct kafka_record record = {.timestamp_type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE};
    uint64_t bytes;

    (void)state;
    assert_int_equal(kafka_map_decode(&record, &arena, &message, &bytes), MB_OK);
    assert_int_equal(message.present, 0);
    assert_int_equal(message.body_kind, MB_BODY_NULL);
    assert_null(message.body.data);
    assert_int_equal(bytes, 0);

    memset(&message, 0, sizeof message);
    record.key = text("");
    record.value = text("");
    record.timestamp_type = RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
    record.timestamp_ms = 5;
    assert_int_equal(kafka_map_decode(&record, &arena, &message, &bytes), MB_OK);
    assert_int_equal(message.present, MB_HAS_KEY | MB_HAS_TIMESTAMP);
    assert_slice(message.key, "");
    assert_slice(message.body, "");
    assert_int_equal(message.body_kind, MB_BODY_BYTES);
    assert_int_equal(message.timestamp_kind, MB_TIMESTAMP_LOG_APPEND);
    assert_int_equal(message.timestamp_ms, 5);
}

static rd_kafka_headers_t *sample_headers(void)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(4);

    rd_kafka_header_add(headers, "a", -1, "1", 1);
    rd_kafka_header_add(headers, "subject", -1, "first", 5);
    rd_kafka_header_add(headers, "a", -1, "\xff\x00", 2);
    rd_kafka_header_add(headers, "", -1, NULL, 0);
    rd_kafka_header_add(headers, "subject", -1, "last", 4);
    rd_kafka_header_add(headers, "content-type", -1, "\xff", 1);
    rd_kafka_header_add(headers, "ttl", -1, "5", 1);
    rd_kafka_header_add(headers, "empty", -1, "", 0);
    return headers;
}

static void assert_sample(const rd_kafka_headers_t *headers)
{
    assert_int_equal(rd_kafka_header_cnt(headers), 8);
    assert_header(headers, 0, "a", "1", 1);
    assert_header(headers, 1, "subject", "first", 5);
    assert_header(headers, 2, "a", "\xff\x00", 2);
    assert_header(headers, 3, "", NULL, 0);
    assert_header(headers, 4, "subject", "last", 4);
    assert_header(headers, 5, "content-type", "\xff", 1);
    assert_header(headers, 6, "ttl", "5", 1);
    assert_header(headers, 7, "empty", "", 0);
}

static void test_headers_both_ways(void **state)
{
    struct mb_arena arena = arena_of(sizeof memory);
    struct mb_message message = {0};
    rd_kafka_headers_t *headers = sample_headers();
    struct kafka_record record = {.key = text("k"), .value = text("v"), .headers = headers};
    struct mb_carried carried = {.message = &message, .verbatim = true};
    struct kafka_outgoing outgoing;
    uint64_t bytes;

    (void)state;
    assert_int_equal(kafka_map_decode(&record, &arena, &message, &bytes), MB_OK);
    assert_int_equal(message.headers_count, 8);
    assert_int_equal(message.headers[0].value.type, MB_STRING);
    assert_int_equal(message.headers[2].value.type, MB_BINARY);
    assert_int_equal(message.headers[3].value.type, MB_NULL);
    /* The last one counts; what is no text, or could harm the message, is no property. */
    assert_int_equal(message.present & MB_FIELDS_PROMOTED, MB_HAS_SUBJECT);
    assert_slice(message.properties->subject, "last");
    assert_int_equal(message.present & MB_HAS_TTL, 0);

    assert_int_equal(kafka_map_encode(&carried, &outgoing), MB_OK);
    assert_slice(outgoing.key, "k");
    assert_slice(outgoing.value, "v");
    assert_ptr_equal(outgoing.value.data, message.body.data);
    assert_sample(outgoing.headers);
    rd_kafka_headers_destroy(outgoing.headers);

    /* The list is what counts: a step that took a header away took the property with it. */
    message.headers_count = 1;
    assert_int_equal(kafka_map_encode(&carried, &outgoing), MB_OK);
    assert_int_equal(rd_kafka_header_cnt(outgoing.headers), 1);
    rd_kafka_headers_destroy(outgoing.headers);
    rd_kafka_headers_destroy(headers);
}

static void test_all_five_are_promoted(void **state)
{
    struct mb_arena arena = arena_of(sizeof memory);
    struct mb_message message = {0};
    rd_kafka_headers_t *headers = rd_kafka_headers_new(5);
    struct kafka_record record = {.value = text("v"), .headers = headers};
    uint64_t bytes;

    (void)state;
    rd_kafka_header_add(headers, "content-type", -1, "text/plain", -1);
    rd_kafka_header_add(headers, "content-encoding", -1, "gzip", -1);
    rd_kafka_header_add(headers, "message-id", -1, "m", -1);
    rd_kafka_header_add(headers, "correlation-id", -1, "c", -1);
    rd_kafka_header_add(headers, "subject", -1, "s", -1);
    assert_int_equal(kafka_map_decode(&record, &arena, &message, &bytes), MB_OK);
    assert_int_equal(message.present & MB_FIELDS_PROMOTED, MB_FIELDS_PROMOTED);
    assert_slice(message.properties->content_type, "text/plain");
    assert_slice(message.properties->content_encoding, "gzip");
    assert_slice(message.properties->message_id.bytes, "m");
    assert_slice(message.properties->correlation_id.bytes, "c");
    assert_slice(message.properties->subject, "s");
    rd_kafka_headers_destroy(headers);
}

static void test_the_first_millisecond_of_all_is_lost_by_name(void **state)
{
    struct mb_message message = {.present = MB_HAS_TIMESTAMP};
    struct mb_carried carried = {.message = &message, .verbatim = true};
    struct kafka_outgoing outgoing;

    (void)state;
    assert_int_equal(kafka_map_encode(&carried, &outgoing), MB_OK);
    assert_int_equal(outgoing.timestamp_ms, 1);
    assert_int_equal(outgoing.lost, MB_HAS_TIMESTAMP);
    message.timestamp_ms = 1;
    assert_int_equal(kafka_map_encode(&carried, &outgoing), MB_OK);
    assert_int_equal(outgoing.lost, 0);
    message.present = 0;
    message.timestamp_ms = 0;
    assert_int_equal(kafka_map_encode(&carried, &outgoing), MB_OK);
    assert_int_equal(outgoing.lost, 0);
}

/* ---- carriers ---- */

static void test_carriers_are_read_and_stay(void **state)
{
    static const char hops[16] = {0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2};
    struct mb_arena arena = arena_of(sizeof memory);
    struct mb_message message = {0};
    rd_kafka_headers_t *headers = rd_kafka_headers_new(5);
    struct kafka_record record = {.value = text("v"), .headers = headers};
    struct mb_carried carried = {.message = &message, .verbatim = true};
    struct kafka_outgoing outgoing;
    uint64_t bytes;

    (void)state;
    rd_kafka_header_add(headers, "mbridge.meta", -1, "\x01", 1);
    rd_kafka_header_add(headers, "a", -1, "1", 1);
    rd_kafka_header_add(headers, "mbridge.path", -1, hops, 16);
    rd_kafka_header_add(headers, "mbridge.id", -1, "id", 2);
    rd_kafka_header_add(headers, "mbridge.dead.reason", -1, "x", 1);
    assert_int_equal(kafka_map_decode(&record, &arena, &message, &bytes), MB_OK);
    assert_int_equal(message.sidecar.size, 1);
    assert_slice(message.stable_id, "id");
    assert_int_equal(message.path_count, 2);
    assert_int_equal(message.path[1], 2);
    assert_int_equal(message.headers_count, 5);
    assert_int_equal(message.headers[0].section, MB_SECTION_BRIDGE);
    assert_int_equal(message.headers[1].section, MB_SECTION_APPLICATION);
    assert_int_equal(message.headers[4].section, MB_SECTION_APPLICATION);

    assert_int_equal(kafka_map_encode(&carried, &outgoing), MB_OK);
    assert_int_equal(rd_kafka_header_cnt(outgoing.headers), 5);
    assert_header(outgoing.headers, 2, "mbridge.path", hops, 16);
    rd_kafka_headers_destroy(outgoing.headers);

    /* A path that grew is written in its old place, what is new at the end. */
    carried.path_size = 8;
    carried.path[7] = 9;
    message.headers_count = 3;
    carried.id = text("new");
    assert_int_equal(kafka_map_encode(&carried, &outgoing), MB_OK);
    assert_int_equal(rd_kafka_header_cnt(outgoing.headers), 4);
    assert_header(outgoing.headers, 0, "mbridge.meta", "\x01", 1);
    assert_header(outgoing.headers, 2, "mbridge.path", "\0\0\0\0\0\0\0\x09", 8);
    assert_header(outgoing.headers, 3, "mbridge.id", "new", 3);
    rd_kafka_headers_destroy(outgoing.headers);
    rd_kafka_headers_destroy(headers);
}

static void test_malformed_carriers(void **state)
{
    struct mb_arena arena = arena_of(sizeof memory);
    struct mb_message message = {0};
    rd_kafka_headers_t *headers = rd_kafka_headers_new(5);
    struct kafka_record record = {.value = text("v"), .headers = headers};
    uint64_t bytes;

    (void)state;
    rd_kafka_header_add(headers, "mbridge.path", -1, "short", 5);
    rd_kafka_header_add(headers, "mbridge.meta", -1, NULL, 0);
    rd_kafka_header_add(headers, "mbridge.id", -1, "", 0);
    assert_int_equal(kafka_map_decode(&record, &arena, &message, &bytes), MB_OK);
    assert_int_equal(message.path_count, 0);
    assert_null(message.sidecar.data);
    assert_null(message.stable_id.data);
    assert_int_equal(message.headers_count, 3);
    rd_kafka_headers_destroy(headers);
}

/* Nobody but the bridge may write a carrier: what another platform calls so does not travel. */
static void test_foreign_carriers_do_not_travel(void **state)
{
    static const struct mb_header headers[] = {
        {.name = {"mbridge.meta", 12}, .value = {.type = MB_STRING, .as.bytes = {"x", 1}}},
        {.name = {"a", 1}, .value = {.type = MB_STRING, .as.bytes = {"1", 1}}},
        {.name = {"mbridge.path", 12}, .value = {.type = MB_STRING, .as.bytes = {"x", 1}}},
    };
    struct mb_message message = {.headers = headers, .headers_count = 3, .body = text("")};
    struct trip trip;

    (void)state;
    trip_begin(&trip);
    trip_write(&trip, &message);
    assert_int_equal(headers_count(&trip), 1);
    assert_header(trip.outgoing.headers, 0, "a", "1", 1);
    assert_int_equal(trip.natural.headers_count, 1);
    trip_end(&trip);
}

/* ---- properties ---- */

static struct mb_message full_message(void)
{
    static struct mb_properties properties;

    properties = (struct mb_properties){
        .message_id = {.kind = MB_ID_ULONG, .number = 77},
        .correlation_id = {.kind = MB_ID_UUID, .bytes = {"0123456789abcdef", 16}},
        .content_type = text("text/plain"),
        .content_encoding = text("gzip"),
        .subject = text("s"),
        .to = text("t"),
        .reply_to = text("r"),
        .group_id = text("g"),
        .group_sequence = 4294967295u,
        .reply_to_group_id = text("rg"),
        .user_id = text("u"),
        .app_id = text("app"),
        .exchange = text("shop"),
        .routing_key = text("orders.eu"),
    };
    return (struct mb_message){
        .present = (MB_HAS_PRIORITY << 1) - 1,
        .key = text("key"),
        .body = text("body"),
        .properties = &properties,
        .timestamp_ms = 9000,
        .timestamp_kind = MB_TIMESTAMP_CREATE_SECONDS,
        .ttl_ms = 60000,
        .expires_at_ms = 1700000000000,
        .durable = true,
        .priority = 4,
    };
}

static bool holds(const struct trip *trip, const char *name, const char *value)
{
    for (size_t i = 0; i < headers_count(trip); i++) {
        const char *found;
        const void *data;
        size_t size;

        rd_kafka_header_get_all(trip->outgoing.headers, i, &found, &data, &size);
        if (strcmp(found, name) == 0)
            return data != NULL && size == strlen(value) && memcmp(data, value, size) == 0;
    }
    return false;
}

static void test_each_property_has_its_place(void **state)
{
    static const char *const rows[][2] = {
        {"message-id", "77"},
        {"correlation-id", "30313233-3435-3637-3839-616263646566"},
        {"content-type", "text/plain"},
        {"content-encoding", "gzip"},
        {"subject", "s"},
        {"to", "t"},
        {"reply-to", "r"},
        {"group-id", "g"},
        {"group-sequence", "4294967295"},
        {"reply-to-group-id", "rg"},
        {"user-id", "u"},
        {"app-id", "app"},
        {"exchange", "shop"},
        {"routing-key", "orders.eu"},
        {"ttl", "60000"},
        {"absolute-expiry", "1700000000000"},
        {"priority", "4"},
    };
    struct mb_message message = full_message();
    struct trip trip;

    (void)state;
    trip_begin(&trip);
    trip_write(&trip, &message);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!holds(&trip, rows[i][0], rows[i][1]))
            fail_msg("no header %s: %s", rows[i][0], rows[i][1]);
    }
    assert_int_equal(headers_count(&trip), sizeof rows / sizeof rows[0]);
    assert_slice(trip.outgoing.key, "key");
    assert_int_equal(trip.outgoing.timestamp_ms, 9000);
    assert_int_equal(trip.natural.present, MB_HAS_KEY | MB_HAS_TIMESTAMP | MB_FIELDS_PROMOTED);
    assert_int_equal(trip.natural.timestamp_kind, MB_TIMESTAMP_CREATE);
    assert_int_equal(trip.natural.properties->message_id.kind, MB_ID_STRING);
    assert_slice(trip.natural.properties->message_id.bytes, "77");
    trip_end(&trip);
}

static void test_a_header_that_says_it_is_enough(void **state)
{
    static const struct mb_header headers[] = {
        {.name = {"content-type", 12}, .value = {.type = MB_STRING, .as.bytes = {"a", 1}}},
        {.name = {"x", 1},
         .value = {.type = MB_STRING, .as.bytes = {"y", 1}},
         .section = MB_SECTION_MESSAGE_ANNOTATIONS},
    };
    struct mb_message message = {.headers = headers,
                                 .headers_count = 2,
                                 .present = MB_HAS_CONTENT_TYPE,
                                 .properties = &(struct mb_properties){.content_type = text("a")},
                                 .body = text("")};
    struct trip trip;

    (void)state;
    trip_begin(&trip);
    trip_write(&trip, &message);
    assert_int_equal(headers_count(&trip), 1); /* annotations do not show */
    message.properties->content_type = text("b");
    trip_write(&trip, &message);
    assert_int_equal(headers_count(&trip), 2);
    assert_slice(trip.natural.properties->content_type, "b");
    trip_end(&trip);
}

static void test_which_key(void **state)
{
    struct mb_message message = full_message();
    struct trip trip;

    (void)state;
    trip_begin(&trip);
    message.present &= ~(uint32_t)MB_HAS_KEY;
    trip_write(&trip, &message);
    assert_slice(trip.outgoing.key, "orders.eu"); /* of a named exchange */
    assert_slice(trip.natural.key, "orders.eu");
    /* The default exchange: the routing key is a queue's name. */
    message.properties->exchange = text("");
    trip_write(&trip, &message);
    assert_slice(trip.outgoing.key, "g");
    message.present &= ~(uint32_t)MB_HAS_GROUP_ID;
    trip_write(&trip, &message);
    assert_null(trip.outgoing.key.data);
    assert_int_equal(trip.natural.present & MB_HAS_KEY, 0);
    message.present |= MB_HAS_KEY | MB_HAS_GROUP_ID;
    message.key = MB_SLICE_NULL; /* there, and null */
    trip_write(&trip, &message);
    assert_null(trip.outgoing.key.data);
    message.key = text("");
    trip_write(&trip, &message);
    assert_slice(trip.outgoing.key, "");
    trip_end(&trip);
}

static void test_which_time(void **state)
{
    static const int64_t rows[][2] = {{1, 1}, {0, 1}, {-5, 1}, {1700000000123, 1700000000123}};
    struct mb_message message = {.body = text("x")};
    struct trip trip;

    (void)state;
    trip_begin(&trip);
    /* Absent: the library's, or, if the difference is to be known, ours. */
    trip_write(&trip, &message);
    assert_int_equal(trip.outgoing.timestamp_ms, 0);
    assert_int_equal(trip.natural.present, 0);
    trip.projection.now_ms = 1234;
    trip_write(&trip, &message);
    assert_int_equal(trip.outgoing.timestamp_ms, 1234);
    assert_int_equal(trip.natural.present, MB_HAS_TIMESTAMP);
    assert_int_equal(trip.natural.timestamp_ms, 1234);
    message.present = MB_HAS_TIMESTAMP;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        message.timestamp_ms = rows[i][0];
        trip_write(&trip, &message);
        assert_int_equal(trip.outgoing.timestamp_ms, rows[i][1]);
        assert_int_equal(trip.natural.timestamp_ms, rows[i][1]);
    }
    trip_end(&trip);
}

/* ---- types ---- */

static const struct mb_value items[] = {
    {.type = MB_STRING, .as.bytes = {"a", 1}},
    {.type = MB_I32, .as.i = 1},
};

static void test_each_type_of_header(void **state)
{
    static const struct {
        struct mb_value value;
        const char *text;
        size_t size;
        uint8_t read_as;
    } rows[] = {
#define ROW(text, as, ...) {__VA_ARGS__, text, sizeof(text) - 1, as}
        ROW("true", MB_STRING, {.type = MB_BOOL, .as.b = true}),
        ROW("false", MB_STRING, {.type = MB_BOOL}),
        ROW("-128", MB_STRING, {.type = MB_I8, .as.i = -128}),
        ROW("-32768", MB_STRING, {.type = MB_I16, .as.i = -32768}),
        ROW("-7", MB_STRING, {.type = MB_I32, .as.i = -7}),
        ROW("-9223372036854775808", MB_STRING, {.type = MB_I64, .as.i = INT64_MIN}),
        ROW("255", MB_STRING, {.type = MB_U8, .as.u = 255}),
        ROW("65535", MB_STRING, {.type = MB_U16, .as.u = 65535}),
        ROW("4294967295", MB_STRING, {.type = MB_U32, .as.u = 4294967295u}),
        ROW("18446744073709551615", MB_STRING, {.type = MB_U64, .as.u = UINT64_MAX}),
        ROW("0.1", MB_STRING, {.type = MB_F32, .as.f32 = 0.1f}),
        ROW("0.1", MB_STRING, {.type = MB_F64, .as.f64 = 0.1}),
        ROW("NaN", MB_STRING, {.type = MB_F64, .as.f64 = NAN}),
        ROW("1.50", MB_STRING, {.type = MB_DECIMAL_SCALED, .as.scaled = {2, 150}}),
        ROW("\xe2\x82\xac", MB_STRING, {.type = MB_CHAR, .as.u = 0x20ac}),
        ROW("5000", MB_STRING, {.type = MB_TIMESTAMP_S, .as.i = 5}),
        ROW("-5", MB_STRING, {.type = MB_TIMESTAMP_MS, .as.i = -5}),
        ROW("30313233-3435-3637-3839-616263646566", MB_STRING,
            {.type = MB_UUID, .as.bytes = {"0123456789abcdef", 16}}),
        ROW("text", MB_STRING, {.type = MB_BINARY, .as.bytes = {"text", 4}}),
        ROW("\xff\0", MB_BINARY, {.type = MB_BINARY, .as.bytes = {"\xff\0", 2}}),
        ROW("", MB_STRING, {.type = MB_BINARY, .as.bytes = {"", 0}}),
        ROW("gr\xc3\xb6\xc3\x9f"
            "e",
            MB_STRING,
            {.type = MB_STRING,
             .as.bytes = {"gr\xc3\xb6\xc3\x9f"
                          "e",
                          7}}),
        ROW("a\0b", MB_BINARY, {.type = MB_STRING, .as.bytes = {"a\0b", 3}}),
        ROW("sym", MB_STRING, {.type = MB_SYMBOL, .as.bytes = {"sym", 3}}),
        ROW("[\"a\",1]", MB_STRING, {.type = MB_LIST, .as.items = {items, 2, 0}}),
        ROW("{\"a\":1}", MB_STRING, {.type = MB_MAP, .as.items = {items, 2, 0}}),
        ROW("[]", MB_STRING, {.type = MB_ARRAY, .as.items = {NULL, 0, MB_I32}}),
#undef ROW
    };
    struct trip trip;

    (void)state;
    trip_begin(&trip);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mb_header header = {.name = text("h"), .value = rows[i].value};
        struct mb_message message = {.headers = &header, .headers_count = 1, .body = text("")};

        trip_write(&trip, &message);
        assert_int_equal(headers_count(&trip), 1);
        assert_header(trip.outgoing.headers, 0, "h", rows[i].text, rows[i].size);
        assert_int_equal(trip.natural.headers[0].value.type, rows[i].read_as);
    }
    {
        struct mb_header header = {.name = text("h")};
        struct mb_message message = {.headers = &header, .headers_count = 1, .body = text("")};

        trip_write(&trip, &message);
        assert_header(trip.outgoing.headers, 0, "h", NULL, 0);
    }
    trip_end(&trip);
}

static void test_duplicates_and_order_stay(void **state)
{
    static const struct mb_header headers[] = {
        {.name = {"b", 1}, .value = {.type = MB_STRING, .as.bytes = {"1", 1}}},
        {.name = {"a", 1}, .value = {.type = MB_I32, .as.i = 2}},
        {.name = {"b", 1}, .value = {.type = MB_NULL}},
        {.name = {"b", 1}, .value = {.type = MB_STRING, .as.bytes = {"1", 1}}},
    };
    struct mb_message message = {.headers = headers, .headers_count = 4, .body = text("")};
    struct trip trip;

    (void)state;
    trip_begin(&trip);
    trip_write(&trip, &message);
    assert_int_equal(headers_count(&trip), 4);
    assert_header(trip.outgoing.headers, 0, "b", "1", 1);
    assert_header(trip.outgoing.headers, 1, "a", "2", 1);
    assert_header(trip.outgoing.headers, 2, "b", NULL, 0);
    assert_header(trip.outgoing.headers, 3, "b", "1", 1);
    trip_end(&trip);
}

static void test_names_with_nul(void **state)
{
    static const struct mb_header headers[] = {
        {.name = {"plain", 5}, .value = {.type = MB_STRING, .as.bytes = {"v", 1}}},
        {.name = {"a\0b\0", 4}, .value = {.type = MB_STRING, .as.bytes = {"v", 1}}},
    };
    struct mb_message message = {.headers = headers, .headers_count = 2, .body = text("x")};
    struct trip trip;

    (void)state;
    trip_begin(&trip);
    trip_write(&trip, &message);
    assert_header(trip.outgoing.headers, 0, "plain", "v", 1);
    assert_header(trip.outgoing.headers, 1, "a%00b%00", "v", 1);
    assert_slice(trip.natural.headers[1].name, "a%00b%00");
    trip_end(&trip);
}

/* ---- bodies ---- */

static void test_each_body(void **state)
{
    static const struct mb_value sections[] = {
        {.type = MB_BINARY, .as.bytes = {"ab", 2}},
        {.type = MB_BINARY, .as.bytes = {"c", 1}},
    };
    static const struct mb_value pairs[] = {
        {.type = MB_BINARY, .as.bytes = {"k", 1}},
        {.type = MB_BINARY, .as.bytes = {"v", 1}},
        {.type = MB_BINARY, .as.bytes = {"k", 1}},
        {.type = MB_BINARY, .as.bytes = {"w", 1}},
    };
    const struct {
        uint8_t kind;
        struct mb_slice body;
        struct mb_value value;
        const char *text; /* NULL: a tombstone */
        bool json;
    } rows[] = {
        {MB_BODY_NULL, MB_SLICE_NULL, {0}, NULL, false},
        {MB_BODY_BYTES, MB_SLICE_NULL, {0}, "", false}, /* empty, which deletes no key */
        {MB_BODY_BYTES, text("bytes"), {0}, "bytes", false},
        {MB_BODY_MULTI_DATA,
         text("abc"),
         {.type = MB_LIST, .as.items = {sections, 2, 0}},
         "abc",
         false},
        {MB_BODY_VALUE, MB_SLICE_NULL, {.type = MB_STRING, .as.bytes = {"text", 4}}, "text", false},
        {MB_BODY_VALUE, MB_SLICE_NULL, {.type = MB_BINARY, .as.bytes = {"bin", 3}}, "bin", false},
        {MB_BODY_VALUE, MB_SLICE_NULL, {.type = MB_I64, .as.i = -3}, "-3", true},
        {MB_BODY_VALUE, MB_SLICE_NULL, {.type = MB_BOOL, .as.b = true}, "true", true},
        {MB_BODY_VALUE,
         MB_SLICE_NULL,
         {.type = MB_MAP, .as.items = {items, 2, 0}},
         "{\"a\":1}",
         true},
        {MB_BODY_PAIRS,
         MB_SLICE_NULL,
         {.type = MB_MAP, .as.items = {pairs, 2, 0}},
         "{\"k\":\"v\"}",
         true},
        {MB_BODY_PAIRS,
         MB_SLICE_NULL,
         {.type = MB_MAP, .as.items = {pairs, 4, 0}},
         "[[\"k\",\"v\"],[\"k\",\"w\"]]",
         true},
    };
    struct trip trip;

    (void)state;
    trip_begin(&trip);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mb_message message = {
            .body_kind = rows[i].kind, .body = rows[i].body, .body_value = rows[i].value};

        trip_write(&trip, &message);
        if (rows[i].text == NULL) {
            assert_null(trip.outgoing.value.data);
            assert_int_equal(trip.natural.body_kind, MB_BODY_NULL);
        } else {
            assert_slice(trip.outgoing.value, rows[i].text);
            assert_int_equal(trip.natural.body_kind, MB_BODY_BYTES);
        }
        assert_int_equal(headers_count(&trip), rows[i].json);
        assert_int_equal(trip.natural.present, rows[i].json ? MB_HAS_CONTENT_TYPE : 0);
        if (!rows[i].json)
            continue;
        assert_header(trip.outgoing.headers, 0, "content-type", "application/json", 16);
        message.present = MB_HAS_CONTENT_TYPE; /* said already: it stays */
        message.properties = &(struct mb_properties){.content_type = text("x/y")};
        trip_write(&trip, &message);
        assert_int_equal(headers_count(&trip), 1);
        assert_header(trip.outgoing.headers, 0, "content-type", "x/y", 3);
    }
    trip_end(&trip);
}

static void test_out_of_memory(void **state)
{
    rd_kafka_headers_t *headers = sample_headers();
    struct kafka_record record = {.key = text("k"), .value = text("v"), .headers = headers};
    uint64_t bytes;
    enum mb_status status = MB_NO_MEMORY;

    (void)state;
    for (size_t size = 0; status != MB_OK; size += 8) {
        struct mb_arena arena = arena_of(size);
        struct mb_message message = {0};

        assert_true(size < sizeof memory);
        status = kafka_map_decode(&record, &arena, &message, &bytes);
        assert_true(status == MB_OK || status == MB_NO_MEMORY);
    }
    rd_kafka_headers_destroy(headers);
}

/* What the scratch has no room for is refused whole. */
static void test_no_room_to_project(void **state)
{
    struct mb_message message = full_message();
    enum mb_status status = MB_NO_MEMORY;
    size_t size = 0;

    (void)state;
    for (; status != MB_OK; size += 64) {
        struct trip trip;

        assert_true(size < sizeof memory);
        trip_begin(&trip);
        trip.scratch.size_max = size;
        status = trip_project(&trip, &message);
        assert_true(status == MB_OK || status == MB_NO_MEMORY || status == MB_REJECTED);
        trip_end(&trip);
    }
    assert_true(size > 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_and_empty),
        cmocka_unit_test(test_headers_both_ways),
        cmocka_unit_test(test_all_five_are_promoted),
        cmocka_unit_test(test_the_first_millisecond_of_all_is_lost_by_name),
        cmocka_unit_test(test_carriers_are_read_and_stay),
        cmocka_unit_test(test_malformed_carriers),
        cmocka_unit_test(test_foreign_carriers_do_not_travel),
        cmocka_unit_test(test_each_property_has_its_place),
        cmocka_unit_test(test_a_header_that_says_it_is_enough),
        cmocka_unit_test(test_which_key),
        cmocka_unit_test(test_which_time),
        cmocka_unit_test(test_each_type_of_header),
        cmocka_unit_test(test_duplicates_and_order_stay),
        cmocka_unit_test(test_names_with_nul),
        cmocka_unit_test(test_each_body),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_no_room_to_project),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
