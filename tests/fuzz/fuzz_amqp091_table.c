/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a field table of AMQP 0-9-1: read within memory that follows its size, the entries
 * and the rest are all of it, and what was read is written and read again the same. */
#include "fuzz.h"

#include "backends/amqp091/amqp_map.h"

#include <kit/scratch.h>

#define WRITTEN_SIZE (1u << 20)

static struct mb_scratch arena;
static unsigned char written[WRITTEN_SIZE];
static unsigned char again[WRITTEN_SIZE];

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    static const char plain[] =
        "\1tt\1\1bb\xFE\1BB\2\1ss\0\3\1uu\0\4\1II\0\0\0\5\1ii\0\0\0\6\1ll\0\0\0\0"
        "\0\0\0\7\1ff\0\0\0\0\1dd\0\0\0\0\0\0\0\0\1DD\2\0\0\0\1\1VV\1TT\0\0\0\0"
        "\0\0\0\1\1SS\0\0\0\2hi\1xx\0\0\0\2\0\1";
    static const char nested[] = "\1AA\0\0\0\x0aI\0\0\0\1F\0\0\0\0\1FF\0\0\0\x0b\1FF\0\0\0\4\1kt\1";
    static const char hostile[] = "\1SS\x7f\xff\xff\xff\1AA\xff\xff\xff\xff";
    struct amqp_writer writer = {data, data + size, false};

    switch (index) {
    case 0:
        amqp_put_bytes(&writer, (struct mb_slice){plain, sizeof plain - 1});
        break;
    case 1:
        amqp_put_bytes(&writer, (struct mb_slice){nested, sizeof nested - 1});
        break;
    case 2:
        amqp_put_bytes(&writer, (struct mb_slice){hostile, sizeof hostile - 1});
        break;
    case 3: /* deeper than it is read */
        amqp_put_shortstr(&writer, MB_SLICE_LITERAL("deep"));
        for (uint32_t left = 700; left > 0; left--) {
            amqp_put_u8(&writer, 'A');
            amqp_put_u32(&writer, (left - 1) * 5);
        }
        break;
    default:
        return MB_FUZZ_NO_SEED;
    }
    MB_FUZZ_CHECK(!writer.full);
    return (size_t)(writer.at - data);
}

static size_t write_headers(const struct mb_header *headers, uint32_t count, unsigned char *bytes)
{
    struct amqp_writer writer = {bytes, bytes + WRITTEN_SIZE, false};

    for (uint32_t i = 0; i < count; i++) {
        amqp_put_shortstr(&writer, headers[i].name);
        amqp_put_value(&writer, &headers[i].value);
    }
    MB_FUZZ_CHECK(!writer.full);
    return (size_t)(writer.at - bytes);
}

static uint32_t count_entries(struct mb_slice table)
{
    struct amqp_cursor cursor = amqp_cursor_of(table);
    struct mb_slice name;
    struct mb_slice entry;
    uint32_t count = 0;

    while (amqp_table_next(&cursor, &name, &entry))
        count++;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mb_slice table = {data, size};
    struct mb_header *headers;
    struct mb_slice rest;
    uint32_t count;
    size_t first;
    size_t second;
    bool odd_text;

    if (arena.arena.more == NULL)
        mb_scratch_init(&arena, 64u << 20);
    mb_scratch_reset(&arena);
    MB_FUZZ_CHECK(amqp_table_decode(table, &arena.arena, &headers, &count, &rest, &odd_text) ==
                  MB_OK);
    MB_FUZZ_CHECK(arena.size <= 64 * size + ((size_t)1 << 20));
    MB_FUZZ_CHECK(rest.size <= size && (const uint8_t *)rest.data == data + size - rest.size);
    MB_FUZZ_CHECK(count_entries(table) == count);
    first = write_headers(headers, count, written);
    table = (struct mb_slice){written, first};
    MB_FUZZ_CHECK(amqp_table_decode(table, &arena.arena, &headers, &count, &rest, &odd_text) ==
                  MB_OK);
    MB_FUZZ_CHECK(rest.size == 0);
    second = write_headers(headers, count, again);
    MB_FUZZ_CHECK(first == second && memcmp(written, again, first) == 0);
    return 0;
}
