/* SPDX-License-Identifier: Apache-2.0 */
/* Record ↔ envelope: what is null, empty, absent, repeated, promoted, and what is left alone. */
#include "backends/kafka/kafka.h"

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

static void test_null_and_empty(void **state)
{
    struct mb_arena arena = arena_of(sizeof memory);
    struct mb_message message = {0};
    struct kafka_record record = {.timestamp_type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE};
    uint64_t bytes;

    (void)state;
    assert_int_equal(kafka_map_from_record(&record, &arena, &message, &bytes), MB_OK);
    assert_int_equal(message.present, 0);
    assert_int_equal(message.body_kind, MB_BODY_NULL);
    assert_null(message.body.data);
    assert_int_equal(bytes, 0);

    memset(&message, 0, sizeof message);
    record.key = text("");
    record.value = text("");
    record.timestamp_type = RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
    record.timestamp_ms = 5;
    assert_int_equal(kafka_map_from_record(&record, &arena, &message, &bytes), MB_OK);
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

static void test_headers_both_ways(void **state)
{
    struct mb_arena arena = arena_of(sizeof memory);
    struct mb_origin origin = {.platform = text("kafka"), .partition = 1};
    struct mb_message message = {.origin = &origin};
    rd_kafka_headers_t *headers = sample_headers();
    struct kafka_record record = {.key = text("k"), .value = text("v"), .headers = headers};
    struct mb_text scratch = {.max_size = 4096};
    struct kafka_outgoing outgoing;
    uint64_t bytes;

    (void)state;
    assert_int_equal(kafka_map_from_record(&record, &arena, &message, &bytes), MB_OK);
    assert_int_equal(message.headers_count, 8);
    assert_int_equal(message.headers[0].value.type, MB_STRING);
    assert_int_equal(message.headers[2].value.type, MB_BINARY);
    assert_int_equal(message.headers[3].value.type, MB_NULL);
    /* The last one counts; what is no text, or could harm the message, is no property. */
    assert_int_equal(message.present & MB_HAS_SUBJECT, MB_HAS_SUBJECT);
    assert_slice(message.subject, "last");
    assert_int_equal(message.present & (MB_HAS_CONTENT_TYPE | MB_HAS_TTL), 0);

    assert_int_equal(kafka_map_to_record(&message, &scratch, &outgoing), MB_OK);
    assert_slice(outgoing.key, "k");
    assert_slice(outgoing.value, "v");
    assert_false(outgoing.value_in_scratch);
    assert_int_equal(rd_kafka_header_cnt(outgoing.headers), 8);
    assert_header(outgoing.headers, 0, "a", "1", 1);
    assert_header(outgoing.headers, 1, "subject", "first", 5);
    assert_header(outgoing.headers, 2, "a", "\xff\x00", 2);
    assert_header(outgoing.headers, 3, "", NULL, 0);
    assert_header(outgoing.headers, 4, "subject", "last", 4);
    assert_header(outgoing.headers, 5, "content-type", "\xff", 1);
    assert_header(outgoing.headers, 6, "ttl", "5", 1);
    assert_header(outgoing.headers, 7, "empty", "", 0);
    rd_kafka_headers_destroy(outgoing.headers);
    rd_kafka_headers_destroy(headers);
    mb_text_release(&scratch);
}

static void test_properties_of_others(void **state)
{
    static const struct mb_header typed[] = {
        {.name = {"n", 1}, .value = {.type = MB_I32, .as.i = -7}, .name_type = MB_STRING},
        {.name = {"note", 4},
         .value = {.type = MB_STRING, .as.bytes = {"x", 1}},
         .section = MB_SECTION_MESSAGE_ANNOTATIONS,
         .name_type = MB_SYMBOL},
    };
    struct mb_origin origin = {.platform = text("amqp091"), .partition = -1};
    struct mb_message message = {
        .origin = &origin,
        .present = MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY | MB_HAS_MESSAGE_ID | MB_HAS_PRIORITY |
                   MB_HAS_TIMESTAMP,
        .exchange = text("shop"),
        .routing_key = text("orders.eu"),
        .message_id = {.kind = MB_ID_STRING, .bytes = text("m1")},
        .priority = 4,
        .timestamp_ms = 9000,
        .body = text("{}"),
        .headers = typed,
        .headers_count = 2,
    };
    struct mb_text scratch = {.max_size = 4096};
    struct kafka_outgoing outgoing;

    (void)state;
    assert_int_equal(kafka_map_to_record(&message, &scratch, &outgoing), MB_OK);
    assert_slice(outgoing.key, "orders.eu"); /* of a named exchange */
    assert_int_equal(outgoing.timestamp_ms, 9000);
    assert_int_equal(rd_kafka_header_cnt(outgoing.headers), 5);
    assert_header(outgoing.headers, 0, "n", "-7", 2);
    assert_header(outgoing.headers, 1, "message-id", "m1", 2);
    assert_header(outgoing.headers, 2, "exchange", "shop", 4);
    assert_header(outgoing.headers, 3, "routing-key", "orders.eu", 9);
    assert_header(outgoing.headers, 4, "priority", "4", 1);
    rd_kafka_headers_destroy(outgoing.headers);

    message.exchange = text(""); /* the default exchange: the routing key is a queue's name */
    assert_int_equal(kafka_map_to_record(&message, &scratch, &outgoing), MB_OK);
    assert_null(outgoing.key.data);
    rd_kafka_headers_destroy(outgoing.headers);
    mb_text_release(&scratch);
}

static void test_bodies(void **state)
{
    static const struct mb_value pair[] = {
        {.type = MB_STRING, .as.bytes = {"a", 1}},
        {.type = MB_I32, .as.i = 1},
    };
    struct mb_message message = {.body_kind = MB_BODY_NULL};
    struct mb_text scratch = {.max_size = 4096};
    struct kafka_outgoing outgoing;

    (void)state;
    assert_int_equal(kafka_map_to_record(&message, &scratch, &outgoing), MB_OK);
    assert_null(outgoing.value.data);

    message.body_kind = MB_BODY_BYTES; /* without data: empty, which deletes no key */
    assert_int_equal(kafka_map_to_record(&message, &scratch, &outgoing), MB_OK);
    assert_slice(outgoing.value, "");

    message.body_kind = MB_BODY_VALUE;
    message.body_value.type = MB_MAP;
    message.body_value.as.items.values = pair;
    message.body_value.as.items.count = 2;
    assert_int_equal(kafka_map_to_record(&message, &scratch, &outgoing), MB_OK);
    assert_true(outgoing.value_in_scratch);
    assert_slice(outgoing.value, "{\"a\":1}");

    scratch.max_size = 3; /* what does not fit is refused, not cut */
    mb_text_release(&scratch);
    assert_int_equal(kafka_map_to_record(&message, &scratch, &outgoing), MB_REJECTED);
    mb_text_release(&scratch);
}

static void test_names_with_nul(void **state)
{
    static const struct mb_header header = {.name = {"a\0b", 3},
                                            .value = {.type = MB_STRING, .as.bytes = {"v", 1}},
                                            .name_type = MB_STRING};
    struct mb_message message = {.headers = &header, .headers_count = 1, .body = text("x")};
    struct mb_text scratch = {.max_size = 4096};
    struct kafka_outgoing outgoing;

    (void)state;
    assert_int_equal(kafka_map_to_record(&message, &scratch, &outgoing), MB_OK);
    assert_header(outgoing.headers, 0, "a%00b", "v", 1);
    rd_kafka_headers_destroy(outgoing.headers);
    mb_text_release(&scratch);
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
        status = kafka_map_from_record(&record, &arena, &message, &bytes);
        assert_true(status == MB_OK || status == MB_NO_MEMORY);
    }
    rd_kafka_headers_destroy(headers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_and_empty),       cmocka_unit_test(test_headers_both_ways),
        cmocka_unit_test(test_properties_of_others), cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_names_with_nul),       cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
