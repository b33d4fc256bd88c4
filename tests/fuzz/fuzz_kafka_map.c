/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map of Kafka. The first byte chooses: a record of any bytes, read, carried on as another
 * platform's message (with whatever sidecar it brought), and read again; or a message of the
 * generator.
 */
#include "fuzz.h"

#include "tests/unit/kafka/kafka_round.h"
#include "tests/unit/kit/generate.h"

#define HEADERS_MAX 12u

static struct kafka_round *the_round(void)
{
    static struct kafka_round round;
    static bool ready;

    if (!ready)
        kafka_round_init(&round);
    ready = true;
    return &round;
}

static struct mb_slice slice_of(struct mb_fuzz_input *input)
{
    uint8_t size = mb_fuzz_byte(input);
    struct mb_slice slice = {"", 0};

    if (size == 255)
        return MB_SLICE_NULL;
    if (size > 0)
        slice.data = mb_fuzz_bytes(input, size, &slice.size);
    return slice;
}

static void add_header(struct mb_fuzz_input *input, rd_kafka_headers_t *headers)
{
    static const char *const names[] = {"mbridge.meta", "mbridge.path", "mbridge.id",
                                        "content-type", "message-id",   "subject"};
    uint8_t choice = mb_fuzz_byte(input);
    struct mb_slice name = choice < 6 ? mb_slice_text(names[choice]) : slice_of(input);
    struct mb_slice value = slice_of(input);

    rd_kafka_header_add(headers, name.size > 0 ? name.data : "", (ssize_t)name.size, value.data,
                        (ssize_t)value.size);
}

static void one_record(struct mb_fuzz_input *input)
{
    struct kafka_round *round = the_round();
    struct kafka_outgoing record = {0};
    struct mb_message message;
    struct mb_scratch scratch = round->scratch;
    const char *broken;

    record.timestamp_ms = (int64_t)mb_fuzz_number(input, 8);
    record.key = slice_of(input);
    record.value = slice_of(input);
    record.headers = rd_kafka_headers_new(8);
    for (unsigned i = mb_fuzz_byte(input) % HEADERS_MAX; i > 0; i--)
        add_header(input, record.headers);
    /* What is read here has to outlive the scratch's next use. */
    mb_scratch_init(&round->scratch, 1u << 20);
    kafka_round_read(round, &record, &message);
    rd_kafka_headers_destroy(record.headers);
    {
        struct mb_scratch kept = round->scratch;

        round->scratch = scratch;
        broken = kafka_round_trip(round, &message);
        mb_scratch_release(&kept);
    }
    mb_fuzz_check(broken == NULL, broken);
}

static void one_message(struct mb_fuzz_input *input)
{
    static struct mb_scratch scratch;
    struct generator generator;
    struct mb_message message;
    const char *broken;

    if (scratch.size_max == 0)
        mb_scratch_init(&scratch, 64u << 20);
    mb_scratch_reset(&scratch);
    generator_bytes(&generator, input->at, input->left, &scratch);
    generate_message(&generator, &message);
    broken = kafka_round_trip(the_round(), &message);
    mb_fuzz_check(broken == NULL, broken);
}

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    static const char record[] = "\0\0\0\1\213\317\345\150\173\3key\4body\4"
                                 "\0\2\1\1"
                                 "\1\10\0\0\0\0\0\0\0\1"
                                 "\3\12text/plain"
                                 "\7\2a\0\1b";

    if (index > 2 || size < 64)
        return MB_FUZZ_NO_SEED;
    if (index == 0) {
        memcpy(data, record, sizeof record);
        return sizeof record;
    }
    memset(data, (int)index, 64);
    return 64;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mb_fuzz_input input = {data, size};

    if (mb_fuzz_byte(&input) % 2 == 0)
        one_record(&input);
    else
        one_message(&input);
    return 0;
}
