/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMQP 0-9-1 message ↔ envelope, by the tables of docs/fidelity.md: project, encode, decode
 * (record 0009). Pure: no I/O, no clock, no library.
 *
 * decode(encode(project(message))) equals project(message), but for what a broker adds.
 */
#ifndef AMQP_MAP_H
#define AMQP_MAP_H

#include "amqp_wire.h"

#include <kit/carry.h>

#define AMQP_PLATFORM     "amqp091"
#define AMQP_SHORTSTR_MAX 255u

enum amqp_name_slot { AMQP_NAME_QUEUE = 0, AMQP_NAME_EXCHANGE = 1, AMQP_NAME_ROUTING_KEY = 2 };

enum amqp_event_kind {
    AMQP_EVENT_NONE = 0, /* more input is needed */
    AMQP_EVENT_METHOD = 1,
    AMQP_EVENT_CONTENT = 2, /* a method with its whole content */
    AMQP_EVENT_BAD = 3,     /* the input is no AMQP 0-9-1 */
    AMQP_EVENT_NO_MEMORY = 4
};

/* The slices point into the reader, valid until its next call. */
struct amqp_event {
    enum amqp_event_kind kind;
    uint16_t channel;
    uint32_t method;           /* enum amqp_method */
    struct mb_slice arguments; /* behind the method's id */
    struct mb_slice header;    /* CONTENT: property flags and properties */
    struct mb_slice body;
};

/* As a decoder gives empty bytes. */
static inline struct mb_slice amqp_not_null(struct mb_slice slice)
{
    static const unsigned char nothing[1];

    if (slice.size == 0)
        slice.data = nothing;
    return slice;
}

/* Field tables (amqp_table.c). */

/* Decodes one table's content into headers in the arena. *ret_rest is what could not be parsed
 * (an unknown tag), else empty; *ret_odd_text: a long string is no UTF-8 and became binary.
 * MB_NO_MEMORY, else MB_OK. */
enum mb_status amqp_table_decode(struct mb_slice table, struct mb_arena *arena,
                                 struct mb_header **ret_headers, uint32_t *ret_count,
                                 struct mb_slice *ret_rest, bool *ret_odd_text);
/* The next entry of a table's content, name and value, undecoded. False at the end and where it
 * cannot be parsed; the cursor stays there. */
bool amqp_table_next(struct amqp_cursor *cursor, struct mb_slice *ret_name,
                     struct mb_slice *ret_entry);
/* Writes a tag and the value, which has a type of this platform (amqp_value_project); any other is
 * written as a void. */
void amqp_put_value(struct amqp_writer *writer, const struct mb_value *value);
/* Deeper values are carried as their encoded bytes, or not at all: the stack is bounded. */
#define AMQP_DEPTH_MAX 512u

/* Messages in (amqp_map.c). */

#define AMQP_HEADER_META     "x-opt-mbridge-meta"
#define AMQP_HEADER_PATH     "x-opt-mbridge-path"
#define AMQP_HEADER_ID       "x-opt-mbridge-id"
#define AMQP_HEADER_KEY      "x-opt-mbridge-key"
#define AMQP_HEADER_NULL     "x-opt-mbridge-null"
#define AMQP_HEADER_REST     "x-opt-mbridge-headers"
#define AMQP_HEADER_OWN      "x-opt-mbridge-" /* all of them */
#define AMQP_HEADER_OFFSET   "x-stream-offset"
#define AMQP_HEADER_COUNT    "x-delivery-count"
#define AMQP_HEADER_MESSAGE  "x-message-id"
#define AMQP_HEADER_CORREL   "x-correlation-id"
#define AMQP_HEADER_GROUP    "JMSXGroupID"
#define AMQP_HEADER_SEQUENCE "JMSXGroupSeq"

/* A delivery becomes a message; scope and epoch are left to the caller. reads_stream: the offset
 * header is the message's position. MB_NO_MEMORY; MB_INVALID: the delivery is malformed. */
enum mb_status amqp_message_decode(const struct amqp_event *delivery, bool reads_stream,
                                   struct mb_arena *arena, struct mb_message *message);

/* Milliseconds in decimal digits; RabbitMQ refuses anything else when it is published. */
bool amqp_read_ttl(struct mb_slice text, uint64_t *ret_ttl_ms);
/* The offset header of a stream's delivery. */
bool amqp_delivery_offset(const struct amqp_event *delivery, uint64_t *ret_offset);

/* What headers in the list say besides themselves: ids and groups that have no property, key, null
 * body, carriers (their section becomes MB_SECTION_BRIDGE). For decode and project alike: the
 * properties, the body, exchange and routing key are set already, key and groups are not. */
void amqp_headers_interpret(struct mb_message *message, struct mb_header *headers, uint32_t count);

/* Messages out (amqp_project.c, amqp_values.c, amqp_encode.c). */

struct amqp_encoding {
    const char *username; /* the only user-id that the broker takes from us */
    bool persistent;      /* for messages that do not say */
    /* The broker keeps a stream's messages in AMQP 1.0's form: it drops lists and tables among the
     * headers, and ends the connection over a decimal. */
    bool to_stream;
    bool sorts_headers;   /* the broker hands a message's headers out in the order of their names */
    struct mb_text *text; /* to work in */
};

/* Where a message goes by the rendered names; slices of the item or the message. */
struct amqp_route {
    struct mb_slice exchange;
    struct mb_slice routing_key;
    bool own_key; /* the routing key is the message's, not a fixed one */
};
void amqp_route_of(const struct mb_outgoing *item, const struct mb_message *message,
                   struct amqp_route *ret_route);

/* mb_project_fn. context: struct amqp_encoding. */
enum mb_status amqp_project(void *context, const struct mb_outgoing *item,
                            const struct mb_message *message, struct mb_scratch *scratch,
                            struct mb_message *natural, struct mb_error *err);

/* value as it is read back: *ret_value points to parts of value, or into the scratch. */
enum mb_status amqp_value_project(const struct mb_value *value, struct mb_scratch *scratch,
                                  struct mb_text *text, struct mb_value *ret_value);

/* Writes class, weight, body size, flags and properties: a content header's payload. Verbatim: the
 * properties byte for byte as they came, but for carriers, for what the last broker had added, and
 * for what would close the channel; *ret_lost says what of the latter there was (enum mb_field). */
void amqp_put_header(struct amqp_writer *writer, const struct mb_carried *carried,
                     uint64_t body_size, const struct amqp_encoding *encoding, uint64_t *ret_lost);

#endif
