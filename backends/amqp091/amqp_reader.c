/* SPDX-License-Identifier: Apache-2.0 */
#include "amqp.h"

#define READER_CAPACITY (256u * 1024u)
/* An assembly keeps its memory between messages up to this size. */
#define ASSEMBLY_KEPT_SIZE (1024u * 1024u)
#define BODY_SIZE_MAX      ((uint64_t)1 << 30)
/* Memory is taken for what came of a body, and for as much again and this, not for all it claims.
 */
#define ASSEMBLY_AHEAD ((size_t)1 << 20)

enum frame_type { FRAME_METHOD = 1, FRAME_HEADER = 2, FRAME_BODY = 3, FRAME_HEARTBEAT = 8 };

#define CONTENT_HEADER_FIXED 12u /* class, weight, body size */

struct frame {
    uint8_t type;
    uint16_t channel;
    const unsigned char *payload;
    size_t size;
};

enum frame_found { FRAME_FOUND, FRAME_PARTIAL, FRAME_WRONG };

enum mb_status amqp_reader_init(struct amqp_reader *reader, const struct mb_host *host,
                                uint32_t channels, uint32_t frame_max)
{
    memset(reader, 0, sizeof *reader);
    reader->host = host;
    reader->frame_max = frame_max;
    reader->body_max = BODY_SIZE_MAX;
    reader->channels = channels;
    reader->capacity = READER_CAPACITY;
    if (reader->capacity < 2 * (size_t)frame_max)
        reader->capacity = 2 * (size_t)frame_max;
    reader->data = host->alloc(host->context, reader->capacity);
    reader->assemblies = amqp_alloc_zero(host, (channels + 1) * sizeof *reader->assemblies);
    if (reader->data == NULL || reader->assemblies == NULL) {
        amqp_reader_release(reader);
        return MB_NO_MEMORY;
    }
    return MB_OK;
}

void amqp_reader_release(struct amqp_reader *reader)
{
    if (reader->host == NULL)
        return;
    for (uint32_t i = 0; reader->assemblies != NULL && i <= reader->channels; i++)
        reader->host->release(reader->host->context, reader->assemblies[i].data);
    reader->host->release(reader->host->context, reader->assemblies);
    reader->host->release(reader->host->context, reader->data);
    memset(reader, 0, sizeof *reader);
}

void amqp_reader_trim(struct amqp_reader *reader)
{
    reader->handed_out = NULL;
    for (uint32_t i = 0; i <= reader->channels; i++) {
        struct amqp_assembly *assembly = &reader->assemblies[i];

        if (assembly->active || assembly->data == NULL)
            continue;
        reader->host->release(reader->host->context, assembly->data);
        memset(assembly, 0, sizeof *assembly);
    }
}

unsigned char *amqp_reader_room(struct amqp_reader *reader, size_t *ret_size)
{
    if (reader->start == reader->end) {
        reader->start = 0;
        reader->end = 0;
    } else if (reader->start > 0 && reader->capacity - reader->end < reader->capacity / 2) {
        memmove(reader->data, reader->data + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    *ret_size = reader->capacity - reader->end;
    return reader->data + reader->end;
}

void amqp_reader_filled(struct amqp_reader *reader, size_t size)
{
    reader->end += size;
}

static enum frame_found frame_at(const struct amqp_reader *reader, size_t at,
                                 struct frame *ret_frame, size_t *ret_next)
{
    const unsigned char *data = reader->data + at;
    size_t have = reader->end - at;
    size_t size;

    if (have < 7)
        return FRAME_PARTIAL;
    size = (size_t)amqp_load(data + 3, 4);
    if (size > reader->frame_max - AMQP_FRAME_OVERHEAD)
        return FRAME_WRONG;
    if (have < size + AMQP_FRAME_OVERHEAD)
        return FRAME_PARTIAL;
    if (data[7 + size] != 0xce)
        return FRAME_WRONG;
    ret_frame->type = data[0];
    ret_frame->channel = (uint16_t)amqp_load(data + 1, 2);
    ret_frame->payload = data + 7;
    ret_frame->size = size;
    *ret_next = at + size + AMQP_FRAME_OVERHEAD;
    return FRAME_FOUND;
}

static bool method_has_content(uint32_t method)
{
    return method == AMQP_BASIC_DELIVER || method == AMQP_BASIC_RETURN || method == AMQP_BASIC_GOT;
}

enum piece { PIECE_WHOLE, PIECE_PARTIAL, PIECE_SPLIT, PIECE_WRONG };

/* A content whose header and at most one body frame follow its method at once, as nearly all do. */
static enum piece content_in_place(struct amqp_reader *reader, size_t at, struct amqp_event *event,
                                   size_t *ret_next)
{
    static const unsigned char nothing[1];
    struct frame frame;
    uint64_t body_size;
    enum frame_found found = frame_at(reader, at, &frame, &at);

    if (found == FRAME_FOUND) {
        if (frame.channel != event->channel)
            return PIECE_SPLIT;
        if (frame.type != FRAME_HEADER || frame.size < CONTENT_HEADER_FIXED + 2)
            return PIECE_WRONG;
        body_size = amqp_load(frame.payload + 4, 8);
        event->header.data = frame.payload + CONTENT_HEADER_FIXED;
        event->header.size = frame.size - CONTENT_HEADER_FIXED;
        event->body.data = nothing;
        event->body.size = 0;
        *ret_next = at;
        if (body_size == 0)
            return PIECE_WHOLE;
        if (body_size > reader->frame_max - AMQP_FRAME_OVERHEAD)
            return PIECE_SPLIT;
        found = frame_at(reader, at, &frame, &at);
        if (found == FRAME_FOUND) {
            if (frame.channel != event->channel || frame.size != body_size)
                return PIECE_SPLIT;
            if (frame.type != FRAME_BODY)
                return PIECE_WRONG;
            event->body.data = frame.payload;
            event->body.size = frame.size;
            *ret_next = at;
            return PIECE_WHOLE;
        }
    }
    if (found == FRAME_WRONG)
        return PIECE_WRONG;
    /* A full reader that holds no whole content would wait for ever. */
    return reader->start == 0 && reader->end == reader->capacity ? PIECE_SPLIT : PIECE_PARTIAL;
}

/* expected: how much there is to come in all, these bytes included. */
static bool assembly_add(struct amqp_reader *reader, struct amqp_assembly *assembly,
                         const unsigned char *data, size_t size, size_t expected)
{
    const struct mb_host *host = reader->host;
    size_t least = assembly->size + size;

    if (least > assembly->capacity) {
        size_t all = assembly->size + (size > expected ? size : expected);
        size_t need = all < 2 * least + ASSEMBLY_AHEAD ? all : 2 * least + ASSEMBLY_AHEAD;
        unsigned char *grown = host->alloc(host->context, need);

        if (grown == NULL)
            return false;
        if (assembly->size > 0)
            memcpy(grown, assembly->data, assembly->size);
        host->release(host->context, assembly->data);
        assembly->data = grown;
        assembly->capacity = need;
    }
    if (size > 0)
        memcpy(assembly->data + assembly->size, data, size);
    assembly->size += size;
    return true;
}

static enum amqp_event_kind assembly_begin(struct amqp_reader *reader, uint16_t channel,
                                           uint32_t method, struct mb_slice arguments)
{
    struct amqp_assembly *assembly = &reader->assemblies[channel];

    assembly->active = true;
    assembly->has_header = false;
    assembly->size = 0;
    assembly->method = method;
    assembly->arguments_size = arguments.size;
    if (!assembly_add(reader, assembly, arguments.data, arguments.size, 0))
        return AMQP_EVENT_NO_MEMORY;
    return AMQP_EVENT_NONE;
}

static void assembly_hand_out(struct amqp_reader *reader, uint16_t channel,
                              struct amqp_event *event)
{
    struct amqp_assembly *assembly = &reader->assemblies[channel];
    const unsigned char *at = assembly->data;

    event->kind = AMQP_EVENT_CONTENT;
    event->channel = channel;
    event->method = assembly->method;
    event->arguments = (struct mb_slice){at, assembly->arguments_size};
    at += assembly->arguments_size;
    event->header = (struct mb_slice){at, assembly->header_size};
    at += assembly->header_size;
    event->body = (struct mb_slice){at, (size_t)assembly->body_size};
    assembly->active = false;
    reader->handed_out = assembly;
}

/* A header or body frame of a content that is being put together. */
static enum amqp_event_kind assembly_frame(struct amqp_reader *reader, const struct frame *frame,
                                           struct amqp_event *event)
{
    struct amqp_assembly *assembly;
    size_t have;

    if (frame->channel == 0 || frame->channel > reader->channels)
        return AMQP_EVENT_BAD;
    assembly = &reader->assemblies[frame->channel];
    if (!assembly->active || (frame->type == FRAME_HEADER) == assembly->has_header)
        return AMQP_EVENT_BAD;
    if (frame->type == FRAME_HEADER) {
        if (frame->size < CONTENT_HEADER_FIXED + 2)
            return AMQP_EVENT_BAD;
        assembly->body_size = amqp_load(frame->payload + 4, 8);
        assembly->header_size = frame->size - CONTENT_HEADER_FIXED;
        assembly->has_header = true;
        if (assembly->body_size > reader->body_max)
            return AMQP_EVENT_BAD;
        if (!assembly_add(reader, assembly, frame->payload + CONTENT_HEADER_FIXED,
                          assembly->header_size,
                          assembly->header_size + (size_t)assembly->body_size))
            return AMQP_EVENT_NO_MEMORY;
    } else {
        have = assembly->size - assembly->arguments_size - assembly->header_size;
        if (frame->size > assembly->body_size - have)
            return AMQP_EVENT_BAD;
        if (!assembly_add(reader, assembly, frame->payload, frame->size,
                          (size_t)assembly->body_size - have))
            return AMQP_EVENT_NO_MEMORY;
    }
    have = assembly->size - assembly->arguments_size - assembly->header_size;
    if (have == assembly->body_size) {
        assembly_hand_out(reader, frame->channel, event);
        return AMQP_EVENT_CONTENT;
    }
    return AMQP_EVENT_NONE;
}

static void handed_out_clear(struct amqp_reader *reader)
{
    struct amqp_assembly *assembly = reader->handed_out;

    reader->handed_out = NULL;
    if (assembly == NULL)
        return;
    assembly->size = 0;
    if (assembly->capacity > ASSEMBLY_KEPT_SIZE) {
        reader->host->release(reader->host->context, assembly->data);
        assembly->data = NULL;
        assembly->capacity = 0;
    }
}

/* Returns NONE with *ret_again to go on with the next frame. */
static enum amqp_event_kind method_frame(struct amqp_reader *reader, const struct frame *frame,
                                         size_t next, struct amqp_event *event, bool *ret_again)
{
    enum piece piece;

    if (frame->size < 4)
        return AMQP_EVENT_BAD;
    event->channel = frame->channel;
    event->method = (uint32_t)amqp_load(frame->payload, 4);
    event->arguments = (struct mb_slice){frame->payload + 4, frame->size - 4};
    if (!method_has_content(event->method)) {
        /* A channel that is closed in the middle of a content never gets its rest. */
        if (event->method == AMQP_CHANNEL_CLOSE && frame->channel <= reader->channels)
            reader->assemblies[frame->channel].active = false;
        reader->start = next;
        event->kind = AMQP_EVENT_METHOD;
        return AMQP_EVENT_METHOD;
    }
    if (frame->channel == 0 || frame->channel > reader->channels ||
        reader->assemblies[frame->channel].active)
        return AMQP_EVENT_BAD;
    piece = content_in_place(reader, next, event, &next);
    if (piece == PIECE_WHOLE) {
        reader->start = next;
        event->kind = AMQP_EVENT_CONTENT;
        return AMQP_EVENT_CONTENT;
    }
    if (piece == PIECE_SPLIT) {
        reader->start = (size_t)(frame->payload - reader->data) + frame->size + 1;
        *ret_again = true;
        return assembly_begin(reader, frame->channel, event->method, event->arguments);
    }
    return piece == PIECE_WRONG ? AMQP_EVENT_BAD : AMQP_EVENT_NONE;
}

enum amqp_event_kind amqp_reader_next(struct amqp_reader *reader, struct amqp_event *ret_event)
{
    handed_out_clear(reader);
    memset(ret_event, 0, sizeof *ret_event);
    for (;;) {
        enum amqp_event_kind kind = AMQP_EVENT_NONE;
        struct frame frame;
        size_t next;
        bool again = true;
        enum frame_found found = frame_at(reader, reader->start, &frame, &next);

        if (found == FRAME_PARTIAL)
            return AMQP_EVENT_NONE;
        if (found == FRAME_WRONG)
            return AMQP_EVENT_BAD;
        switch (frame.type) {
        case FRAME_METHOD:
            again = false;
            kind = method_frame(reader, &frame, next, ret_event, &again);
            break;
        case FRAME_HEADER:
        case FRAME_BODY:
            reader->start = next;
            kind = assembly_frame(reader, &frame, ret_event);
            break;
        case FRAME_HEARTBEAT:
            reader->start = next;
            break;
        default:
            return AMQP_EVENT_BAD;
        }
        if (kind != AMQP_EVENT_NONE || !again)
            return kind;
    }
}
