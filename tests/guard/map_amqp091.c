/* SPDX-License-Identifier: Apache-2.0 */
#include "map_bench.h"

#include "backends/amqp091/amqp_map.h"

#include <string.h>

#define WIRE_SIZE   4096u
#define HEADER_FROM 12u /* class, weight, body size: a delivery has the rest */

static struct mb_text work = {.max_size = 1u << 20};
static struct amqp_encoding encoding = {.username = "guest", .persistent = true, .text = &work};
static unsigned char kept_header[WIRE_SIZE];
static unsigned char kept_body[WIRE_SIZE];
static unsigned char kept_arguments[64];
static struct amqp_event kept;

void map_init(const struct mb_open_params *params, struct mb_carry *carry)
{
    mb_carry_init(carry, params, AMQP_PLATFORM, amqp_project, &encoding, 1u << 20);
}

static void keep_delivery(struct mb_slice header, struct mb_slice body)
{
    struct amqp_writer writer = {kept_arguments, kept_arguments + sizeof kept_arguments, false};

    amqp_put_shortstr(&writer, MB_SLICE_LITERAL("consumer"));
    amqp_put_u64(&writer, 1);
    amqp_put_u8(&writer, 0);
    amqp_put_shortstr(&writer, MB_SLICE_LITERAL(""));
    amqp_put_shortstr(&writer, MB_SLICE_LITERAL("orders"));
    map_need(body.size <= sizeof kept_body, "the body is too large");
    memcpy(kept_header, header.data, header.size);
    memcpy(kept_body, body.data, body.size);
    kept = (struct amqp_event){
        .kind = AMQP_EVENT_CONTENT,
        .channel = 1,
        .arguments = {kept_arguments, (size_t)(writer.at - kept_arguments)},
        .header = {kept_header, header.size},
        .body = {kept_body, body.size},
    };
}

void map_sink(struct mb_carry *carry, const struct mb_outgoing *item, bool keep)
{
    unsigned char wire[WIRE_SIZE];
    struct amqp_writer writer = {wire, wire + sizeof wire, false};
    struct mb_outgoing routed = *item;
    struct amqp_route route;
    struct mb_carried carried;
    struct mb_error err;
    uint64_t lost;

    routed.names[AMQP_NAME_QUEUE] = MB_SLICE_LITERAL("orders");
    map_need(mb_carry_prepare(carry, &routed, &carried, &err) == MB_OK, "a message is refused");
    amqp_route_of(&routed, carried.message, &route);
    amqp_put_header(&writer, &carried, carried.message->body.size, &encoding, &lost);
    map_need(!writer.full && lost == 0, "a message is not written");
    if (keep)
        keep_delivery(
            (struct mb_slice){wire + HEADER_FROM, (size_t)(writer.at - wire) - HEADER_FROM},
            carried.message->body);
}

void map_source(struct mb_arena *arena, struct mb_message *message)
{
    map_need(amqp_message_decode(&kept, false, arena, message) == MB_OK, "a delivery is not read");
}
