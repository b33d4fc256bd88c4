/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: in any pieces, with other channels' between them, and broken ones. */
#include "amqp_test.h"

/* Frames: three contents, the second one's body in pieces with a foreign channel's in between. */
static size_t make_stream(unsigned char *data, size_t size)
{
    struct amqp_writer writer = {data, data + size, false};
    struct mb_message message = {.struct_size = sizeof message};
    struct mb_carried carried = {.message = &message};
    struct amqp_encoding encoding = {.username = "shop"};
    uint64_t lost;

    for (unsigned i = 0; i < 3; i++) {
        static const char body[] = "0123456789abcdef";
        size_t pieces = i == 1 ? 4 : 1;
        unsigned char *frame = amqp_method_begin(&writer, 1, AMQP_BASIC_DELIVER);

        amqp_put_shortstr(&writer, TEXT("tag"));
        amqp_put_u64(&writer, i + 1);
        amqp_put_u8(&writer, 0);
        amqp_put_shortstr(&writer, TEXT(""));
        amqp_put_shortstr(&writer, TEXT("queue"));
        amqp_frame_end(&writer, frame);
        amqp_frame_heartbeat(&writer);
        frame = amqp_frame_begin(&writer, 2, 1);
        amqp_put_header(&writer, &carried, 16, &encoding, &lost);
        amqp_frame_end(&writer, frame);
        for (size_t piece = 0; piece < pieces; piece++) {
            if (i == 1)
                amqp_frame_ack(&writer, 2, piece, MB_ACCEPTED);
            frame = amqp_frame_begin(&writer, 3, 1);
            amqp_put_bytes(&writer, (struct mb_slice){body + piece * 16 / pieces, 16 / pieces});
            amqp_frame_end(&writer, frame);
        }
    }
    assert_false(writer.full);
    return (size_t)(writer.at - data);
}

static void read_stream_in_steps(const unsigned char *data, size_t size, size_t step)
{
    struct amqp_reader reader;
    unsigned contents = 0;
    unsigned acks = 0;
    size_t fed = 0;

    assert_int_equal(amqp_reader_init(&reader, &host, 2, 4096), MB_OK);
    while (fed < size) {
        struct amqp_event event;
        enum amqp_event_kind kind;
        size_t room;
        unsigned char *at = amqp_reader_room(&reader, &room);
        size_t part = size - fed < step ? size - fed : step;

        assert_true(room >= part);
        memcpy(at, data + fed, part);
        amqp_reader_filled(&reader, part);
        fed += part;
        while ((kind = amqp_reader_next(&reader, &event)) != AMQP_EVENT_NONE) {
            if (kind == AMQP_EVENT_METHOD) {
                assert_int_equal(event.method, AMQP_BASIC_ACK);
                acks++;
                continue;
            }
            assert_int_equal(kind, AMQP_EVENT_CONTENT);
            assert_slice(event.body, "0123456789abcdef");
            contents++;
        }
    }
    assert_int_equal(contents, 3);
    assert_int_equal(acks, 4);
    amqp_reader_release(&reader);
}

static void frames_in_any_pieces(void **state)
{
    unsigned char data[2048];
    size_t size = make_stream(data, sizeof data);

    (void)state;
    for (size_t step = 1; step <= size; step++)
        read_stream_in_steps(data, size, step);
}

/* Mutants: the reader and the decoder may refuse, never read outside or hang. */
static void mutants_are_refused(void **state)
{
    unsigned char data[2048];
    unsigned char mutant[2048];
    size_t size = make_stream(data, sizeof data);
    unsigned random = 12345;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        struct amqp_reader reader;
        struct amqp_event event;
        enum amqp_event_kind kind;
        size_t room;
        unsigned events = 0;

        memcpy(mutant, data, size);
        for (unsigned i = 0; i < 1 + round % 4; i++) {
            random = random * 1103515245u + 12345u;
            mutant[(random >> 8) % size] = (unsigned char)(random >> 16);
        }
        assert_int_equal(amqp_reader_init(&reader, &host, 2, 4096), MB_OK);
        reader.body_max = 1u << 16;
        memcpy(amqp_reader_room(&reader, &room), mutant, size);
        amqp_reader_filled(&reader, size);
        while ((kind = amqp_reader_next(&reader, &event)) == AMQP_EVENT_METHOD ||
               kind == AMQP_EVENT_CONTENT) {
            struct mb_arena arena = fresh_arena();
            struct mb_message message;

            memset(&message, 0, sizeof message);
            if (kind == AMQP_EVENT_CONTENT)
                amqp_message_decode(&event, false, &arena, &message);
            assert_in_range(++events, 1, 1000);
        }
        amqp_reader_release(&reader);
    }
}

static void a_full_writer_is_told(void **state)
{
    unsigned char small[32];
    struct amqp_writer writer = {small, small + sizeof small, false};
    struct amqp_encoding encoding = {.username = "shop"};
    struct mb_message message = {
        .struct_size = sizeof message,
        .present = MB_HAS_CONTENT_TYPE,
        .properties = &(struct mb_properties){.content_type = TEXT("application/octet-stream")}};
    struct mb_carried carried = {.message = &message};
    uint64_t lost;

    (void)state;
    amqp_put_header(&writer, &carried, 4, &encoding, &lost);
    assert_true(writer.full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_in_any_pieces),
        cmocka_unit_test(mutants_are_refused),
        cmocka_unit_test(a_full_writer_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
