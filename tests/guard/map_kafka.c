/* SPDX-License-Identifier: Apache-2.0 */
#include "map_bench.h"

#include "backends/kafka/kafka.h"

static struct kafka_projection projection = {.now_ms = INT64_C(1700000000123)};
static struct kafka_record record;

void map_init(const struct mb_open_params *params, struct mb_carry *carry)
{
    mb_carry_init(carry, params, "kafka", kafka_map_project, &projection, 1u << 20);
}

void map_sink(struct mb_carry *carry, const struct mb_outgoing *item, bool keep)
{
    struct kafka_outgoing outgoing;
    struct mb_carried carried;
    struct mb_error err;

    map_need(mb_carry_prepare(carry, item, &carried, &err) == MB_OK &&
                 kafka_map_encode(&carried, &outgoing) == MB_OK,
             "a message is not written");
    if (keep)
        record = (struct kafka_record){.key = outgoing.key,
                                       .value = outgoing.value,
                                       .headers = outgoing.headers,
                                       .timestamp_ms = outgoing.timestamp_ms,
                                       .timestamp_type = RD_KAFKA_TIMESTAMP_CREATE_TIME};
    else if (outgoing.headers != NULL)
        rd_kafka_headers_destroy(outgoing.headers);
}

void map_source(struct mb_arena *arena, struct mb_message *message)
{
    uint64_t bytes;

    map_need(kafka_map_decode(&record, arena, message, &bytes) == MB_OK, "a record is not read");
}
