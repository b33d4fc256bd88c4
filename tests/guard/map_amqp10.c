/* SPDX-License-Identifier: Apache-2.0 */
#include "map_bench.h"

#include "backends/amqp10/amqp10_map.h"

static struct amqp10_encoding encoding = {.durable_default = true, .to_from_slot = -1};
static struct mb_text out = {.max_size = 1u << 20};
static struct mb_text kept = {.max_size = 1u << 20};

void map_init(const struct mb_open_params *params, struct mb_carry *carry)
{
    mb_carry_init(carry, params, AMQP10_PLATFORM, amqp10_project, &encoding, 1u << 20);
}

void map_sink(struct mb_carry *carry, const struct mb_outgoing *item, bool keep)
{
    struct mb_carried carried;
    struct mb_error err;

    mb_text_clear(&out);
    map_need(mb_carry_prepare(carry, item, &carried, &err) == MB_OK &&
                 amqp10_encode(&encoding, item, &carried, &out, &err) == MB_OK,
             "a message is not written");
    if (keep)
        mb_text_add(&kept, out.data, out.size);
}

void map_source(struct mb_arena *arena, struct mb_message *message)
{
    uint64_t bytes;

    map_need(amqp10_decode((struct mb_slice){kept.data, kept.size}, arena, message, &bytes) ==
                 MB_OK,
             "a message is not read");
}
