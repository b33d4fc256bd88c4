/* SPDX-License-Identifier: Apache-2.0 */
#include "amqp.h"

#include <stdlib.h>

#define FRAME_TYPE_METHOD    1u
#define FRAME_TYPE_HEARTBEAT 8u
#define FRAME_END            0xceu

/* Returns where the frame starts, to be given to amqp_frame_end; NULL: the writer is full. */
unsigned char *amqp_frame_begin(struct amqp_writer *writer, unsigned type, unsigned channel)
{
    unsigned char *frame = amqp_room(writer, 7);

    if (frame != NULL) {
        frame[0] = (unsigned char)type;
        amqp_store(frame + 1, channel, 2);
    }
    return frame;
}

void amqp_frame_end(struct amqp_writer *writer, unsigned char *frame)
{
    amqp_put_u8(writer, FRAME_END);
    if (!writer->full && frame != NULL)
        amqp_store(frame + 3, (uint64_t)(writer->at - frame) - AMQP_FRAME_OVERHEAD, 4);
}

unsigned char *amqp_method_begin(struct amqp_writer *writer, unsigned channel, uint32_t method)
{
    unsigned char *frame = amqp_frame_begin(writer, FRAME_TYPE_METHOD, channel);

    amqp_put_u32(writer, method);
    return frame;
}

void amqp_frame_simple(struct amqp_writer *writer, unsigned channel, uint32_t method)
{
    unsigned char *frame = amqp_method_begin(writer, channel, method);

    switch (method) {
    case AMQP_CHANNEL_OPEN:   /* a reserved string */
    case AMQP_CONFIRM_SELECT: /* no-wait */
        amqp_put_u8(writer, 0);
        break;
    default:
        break;
    }
    amqp_frame_end(writer, frame);
}

void amqp_frame_heartbeat(struct amqp_writer *writer)
{
    unsigned char *frame = amqp_frame_begin(writer, FRAME_TYPE_HEARTBEAT, 0);

    amqp_frame_end(writer, frame);
}

void amqp_frame_close(struct amqp_writer *writer, unsigned channel, uint32_t method)
{
    unsigned char *frame = amqp_method_begin(writer, channel, method);

    amqp_put_u16(writer, 200);
    amqp_put_shortstr(writer, MB_SLICE_LITERAL("done"));
    amqp_put_u32(writer, 0);
    amqp_frame_end(writer, frame);
}

void amqp_frame_publish(struct amqp_writer *writer, unsigned channel, struct mb_slice exchange,
                        struct mb_slice routing_key, bool mandatory)
{
    unsigned char *frame = amqp_method_begin(writer, channel, AMQP_BASIC_PUBLISH);

    amqp_put_u16(writer, 0);
    amqp_put_shortstr(writer, exchange);
    amqp_put_shortstr(writer, routing_key);
    amqp_put_u8(writer, mandatory ? 1 : 0);
    amqp_frame_end(writer, frame);
}

static void put_ack(struct amqp_writer *writer, unsigned channel, uint64_t tag,
                    enum mb_outcome outcome, unsigned multiple)
{
    bool accepted = outcome == MB_ACCEPTED;
    unsigned char *frame =
        amqp_method_begin(writer, channel, accepted ? AMQP_BASIC_ACK : AMQP_BASIC_NACK);

    amqp_put_u64(writer, tag);
    /* multiple, and for a nack requeue in the second bit */
    amqp_put_u8(writer, multiple | (outcome == MB_RELEASED ? 2u : 0u));
    amqp_frame_end(writer, frame);
}

void amqp_frame_ack(struct amqp_writer *writer, unsigned channel, uint64_t tag,
                    enum mb_outcome outcome)
{
    put_ack(writer, channel, tag, outcome, 1);
}

void amqp_frame_ack_one(struct amqp_writer *writer, unsigned channel, uint64_t tag,
                        enum mb_outcome outcome)
{
    put_ack(writer, channel, tag, outcome, 0);
}

void amqp_frame_requeue(struct amqp_writer *writer, unsigned channel, uint64_t tag)
{
    unsigned char *frame = amqp_method_begin(writer, channel, AMQP_BASIC_REJECT);

    amqp_put_u64(writer, tag);
    amqp_put_u8(writer, 1);
    amqp_frame_end(writer, frame);
}

static void put_setting(struct amqp_writer *writer, const char *name, const char *value)
{
    char *end = NULL;
    long long number = strtoll(value, &end, 10);

    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0) {
        amqp_put_shortstr(writer, mb_slice_text(name));
        amqp_put_u8(writer, 't');
        amqp_put_u8(writer, value[0] == 't');
    } else if (value[0] != '\0' && *end == '\0') {
        amqp_put_shortstr(writer, mb_slice_text(name));
        amqp_put_u8(writer, 'l');
        amqp_put_u64(writer, (uint64_t)number);
    } else {
        amqp_put_name_text(writer, name, 'S', mb_slice_text(value));
    }
}

static void table_end(struct amqp_writer *writer, unsigned char *size)
{
    if (!writer->full && size != NULL)
        amqp_store(size, (uint64_t)(writer->at - size) - 4, 4);
}

void amqp_put_settings(struct amqp_writer *writer, const struct mb_pair *pairs, size_t count)
{
    unsigned char *size = amqp_room(writer, 4);

    for (size_t i = 0; i < count; i++)
        put_setting(writer, pairs[i].name, pairs[i].value);
    table_end(writer, size);
}

static void put_place(struct amqp_writer *writer, const struct amqp_stream_place *place)
{
    if (place->text != NULL) {
        put_setting(writer, AMQP_HEADER_OFFSET, place->text);
        return;
    }
    amqp_put_shortstr(writer, MB_SLICE_LITERAL(AMQP_HEADER_OFFSET));
    amqp_put_u8(writer, place->is_time ? 'T' : 'l');
    amqp_put_u64(writer, place->number);
}

static void put_setting_texts(struct amqp_writer *writer, const struct mb_strings *texts,
                              const struct amqp_stream_place *place)
{
    unsigned char *size = amqp_room(writer, 4);
    size_t count = texts != NULL ? texts->count : 0;

    if (place != NULL)
        put_place(writer, place);
    for (size_t i = 0; i < count; i++) {
        char name[AMQP_SHORTSTR_MAX + 1];
        const char *equals = strchr(texts->items[i], '=');

        if (equals == NULL || (size_t)(equals - texts->items[i]) >= sizeof name)
            continue; /* refused by validate */
        if (place != NULL &&
            strncmp(texts->items[i], AMQP_ARGUMENT_OFFSET, AMQP_ARGUMENT_OFFSET_SIZE) == 0)
            continue;
        memcpy(name, texts->items[i], (size_t)(equals - texts->items[i]));
        name[equals - texts->items[i]] = '\0';
        put_setting(writer, name, equals + 1);
    }
    table_end(writer, size);
}

void amqp_frame_queue_declare(struct amqp_writer *writer, unsigned channel,
                              const struct amqp_queue_declaration *declaration)
{
    unsigned char *frame = amqp_method_begin(writer, channel, AMQP_QUEUE_DECLARE);

    amqp_put_u16(writer, 0);
    amqp_put_shortstr(writer, declaration->name);
    amqp_put_u8(writer, (declaration->passive ? 1u : 0u) | (declaration->durable ? 2u : 0u) |
                            (declaration->exclusive ? 4u : 0u));
    amqp_put_settings(writer, declaration->arguments, declaration->arguments_count);
    amqp_frame_end(writer, frame);
}

void amqp_frame_exchange_passive(struct amqp_writer *writer, unsigned channel,
                                 struct mb_slice exchange)
{
    unsigned char *frame = amqp_method_begin(writer, channel, AMQP_EXCHANGE_DECLARE);

    amqp_put_u16(writer, 0);
    amqp_put_shortstr(writer, exchange);
    amqp_put_shortstr(writer, MB_SLICE_LITERAL("direct")); /* passive: not looked at */
    amqp_put_u8(writer, 1);
    amqp_put_u32(writer, 0);
    amqp_frame_end(writer, frame);
}

void amqp_frame_bind(struct amqp_writer *writer, unsigned channel, struct mb_slice queue,
                     struct mb_slice exchange, struct mb_slice key)
{
    unsigned char *frame = amqp_method_begin(writer, channel, AMQP_QUEUE_BIND);

    amqp_put_u16(writer, 0);
    amqp_put_shortstr(writer, queue);
    amqp_put_shortstr(writer, exchange);
    amqp_put_shortstr(writer, key);
    amqp_put_u8(writer, 0);
    amqp_put_u32(writer, 0);
    amqp_frame_end(writer, frame);
}

void amqp_frame_qos(struct amqp_writer *writer, unsigned channel, unsigned prefetch)
{
    unsigned char *frame = amqp_method_begin(writer, channel, AMQP_BASIC_QOS);

    amqp_put_u32(writer, 0);
    amqp_put_u16(writer, prefetch);
    amqp_put_u8(writer, 0);
    amqp_frame_end(writer, frame);
}

void amqp_frame_consume(struct amqp_writer *writer, unsigned channel, struct mb_slice queue,
                        bool exclusive, const struct mb_strings *arguments,
                        const struct amqp_stream_place *place)
{
    unsigned char *frame = amqp_method_begin(writer, channel, AMQP_BASIC_CONSUME);

    amqp_put_u16(writer, 0);
    amqp_put_shortstr(writer, queue);
    amqp_put_shortstr(writer, MB_SLICE_LITERAL("mbridge")); /* the tag is the channel's own */
    amqp_put_u8(writer, exclusive ? 4 : 0);
    put_setting_texts(writer, arguments, place);
    amqp_frame_end(writer, frame);
}

void amqp_frame_cancel(struct amqp_writer *writer, unsigned channel)
{
    unsigned char *frame = amqp_method_begin(writer, channel, AMQP_BASIC_CANCEL);

    amqp_put_shortstr(writer, MB_SLICE_LITERAL("mbridge"));
    amqp_put_u8(writer, 0);
    amqp_frame_end(writer, frame);
}

void amqp_frame_get(struct amqp_writer *writer, unsigned channel, struct mb_slice queue)
{
    unsigned char *frame = amqp_method_begin(writer, channel, AMQP_BASIC_GET);

    amqp_put_u16(writer, 0);
    amqp_put_shortstr(writer, queue);
    amqp_put_u8(writer, 0);
    amqp_frame_end(writer, frame);
}
