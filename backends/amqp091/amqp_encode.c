/* SPDX-License-Identifier: Apache-2.0 */
/* Envelope → wire, by the tables of docs/fidelity.md. Pure: no I/O, no clock. */
#include "amqp.h"

#include <inttypes.h>

static const unsigned char nothing[1];

struct mb_slice amqp_body_of(const struct mb_message *message, struct mb_text *body_text)
{
    const struct mb_value *value = &message->body_value;

    switch ((enum mb_body_kind)message->body_kind) {
    case MB_BODY_NULL:
        return (struct mb_slice){nothing, 0};
    case MB_BODY_BYTES:
    case MB_BODY_MULTI_DATA:
        return message->body;
    case MB_BODY_VALUE:
        if (value->type == MB_NULL)
            return (struct mb_slice){nothing, 0};
        if (value->type == MB_STRING || value->type == MB_BINARY || value->type == MB_SYMBOL)
            return value->as.bytes;
        break;
    case MB_BODY_SEQUENCE:
    case MB_BODY_PAIRS:
        break;
    }
    mb_text_clear(body_text);
    mb_text_json(body_text, value);
    if (body_text->data == NULL)
        return (struct mb_slice){nothing, 0};
    return (struct mb_slice){body_text->data, body_text->size};
}

static bool body_is_json(const struct mb_message *message)
{
    const struct mb_value *value = &message->body_value;

    switch ((enum mb_body_kind)message->body_kind) {
    case MB_BODY_VALUE:
        return value->type != MB_NULL && value->type != MB_STRING && value->type != MB_BINARY &&
               value->type != MB_SYMBOL;
    case MB_BODY_SEQUENCE:
    case MB_BODY_PAIRS:
        return true;
    case MB_BODY_BYTES:
    case MB_BODY_NULL:
    case MB_BODY_MULTI_DATA:
        break;
    }
    return false;
}

static bool from_here(const struct mb_message *message)
{
    return message->origin != NULL && AMQP_NAME_IS(message->origin->platform, AMQP_PLATFORM);
}

/* An id as the text of a shortstr; false: it goes into a header. */
static bool id_as_text(const struct mb_id *id, bool verbatim, char *buffer, size_t size,
                       struct mb_slice *ret_text, uint32_t *losses)
{
    const unsigned char *at = id->bytes.data;

    switch ((enum mb_id_kind)id->kind) {
    case MB_ID_STRING:
        *ret_text = id->bytes;
        return id->bytes.size <= AMQP_SHORTSTR_MAX;
    case MB_ID_BINARY:
        *ret_text = id->bytes;
        return verbatim && id->bytes.size <= AMQP_SHORTSTR_MAX;
    case MB_ID_UUID:
        *losses |= AMQP_LOSS_ID_TYPE;
        if (id->bytes.size != 16)
            return false;
        snprintf(buffer, size,
                 "urn:uuid:%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                 at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8], at[9], at[10],
                 at[11], at[12], at[13], at[14], at[15]);
        break;
    case MB_ID_ULONG:
        *losses |= AMQP_LOSS_ID_TYPE;
        snprintf(buffer, size, "%" PRIu64, id->number);
        break;
    }
    *ret_text = mb_slice_text(buffer);
    return true;
}

/* What of the message becomes which property; lengths are checked, so that writing cannot fail but
 * for room. */
struct plan {
    unsigned flags;
    bool verbatim;
    bool message_id_header;
    bool correlation_id_header;
    struct mb_slice content_type;
    struct mb_slice message_id;
    struct mb_slice correlation_id;
    char message_id_text[64];
    char correlation_id_text[64];
    unsigned delivery_mode;
    uint64_t timestamp_s;
};

static void plan_text(struct plan *plan, const struct mb_message *message, uint32_t field,
                      struct mb_slice text, unsigned property, uint32_t *losses)
{
    if ((message->present & field) == 0)
        return;
    if (text.size <= AMQP_SHORTSTR_MAX)
        plan->flags |= property;
    else
        *losses |= AMQP_LOSS_PROPERTY_SIZE;
}

static void plan_guarded(struct plan *plan, const struct mb_message *message,
                         const struct amqp_encoding *encoding, uint32_t *losses)
{
    /* The broker closes the channel over a user-id that is not the connection's. */
    if (message->present & MB_HAS_USER_ID) {
        if (encoding->username != NULL && encoding->username[0] != '\0' &&
            amqp_name_is(message->user_id, encoding->username, strlen(encoding->username)))
            plan->flags |= AMQP_PROPERTY_USER_ID;
        else
            *losses |= AMQP_LOSS_USER_ID;
    }
    /* … and over direct reply-to without a consumer on the same channel. */
    if ((message->present & MB_HAS_REPLY_TO) &&
        AMQP_NAME_IS(message->reply_to, "amq.rabbitmq.reply-to"))
        *losses |= AMQP_LOSS_REPLY_TO;
    else
        plan_text(plan, message, MB_HAS_REPLY_TO, message->reply_to, AMQP_PROPERTY_REPLY_TO,
                  losses);
    if (message->present & MB_HAS_TTL) {
        /* Its bound: 2^32 - 1 ms. Beyond it a message would close the channel. */
        if (message->ttl_ms <= UINT32_MAX)
            plan->flags |= AMQP_PROPERTY_EXPIRATION;
        else
            *losses |= AMQP_LOSS_PROPERTY_SIZE;
    }
    if (message->present & MB_HAS_TIMESTAMP) {
        if (message->timestamp_ms >= 0) {
            plan->flags |= AMQP_PROPERTY_TIMESTAMP;
            plan->timestamp_s = (uint64_t)message->timestamp_ms / 1000;
        }
        if (message->timestamp_ms < 0 || message->timestamp_ms % 1000 != 0)
            *losses |= AMQP_LOSS_TIMESTAMP;
    }
    if (message->present & MB_HAS_TO)
        *losses |= AMQP_LOSS_TO;
    if (message->present & MB_HAS_EXPIRES_AT)
        *losses |= AMQP_LOSS_EXPIRES_AT;
    if (message->present & MB_HAS_REPLY_TO_GROUP_ID)
        *losses |= AMQP_LOSS_GROUP;
}

static void plan_make(struct plan *plan, const struct mb_message *message,
                      const struct amqp_encoding *encoding, uint32_t *losses)
{
    plan->flags = 0;
    plan->verbatim = from_here(message);
    plan->message_id_header = false;
    plan->correlation_id_header = false;
    plan->content_type = message->content_type;
    plan_text(plan, message, MB_HAS_CONTENT_TYPE, message->content_type, AMQP_PROPERTY_CONTENT_TYPE,
              losses);
    if (body_is_json(message)) {
        *losses |= AMQP_LOSS_BODY_KIND;
        if ((message->present & MB_HAS_CONTENT_TYPE) == 0) {
            plan->flags |= AMQP_PROPERTY_CONTENT_TYPE;
            plan->content_type = MB_SLICE_LITERAL("application/json");
        }
    }
    plan_text(plan, message, MB_HAS_CONTENT_ENCODING, message->content_encoding,
              AMQP_PROPERTY_CONTENT_ENCODING, losses);
    if ((message->present & MB_HAS_DURABLE) != 0 || encoding->persistent) {
        bool durable = (message->present & MB_HAS_DURABLE) != 0 ? message->durable : true;

        plan->flags |= AMQP_PROPERTY_DELIVERY_MODE;
        plan->delivery_mode = durable ? AMQP_MODE_PERSISTENT : AMQP_MODE_TRANSIENT;
    }
    if (message->present & MB_HAS_PRIORITY)
        plan->flags |= AMQP_PROPERTY_PRIORITY;
    if (message->present & MB_HAS_CORRELATION_ID) {
        if (id_as_text(&message->correlation_id, plan->verbatim, plan->correlation_id_text,
                       sizeof plan->correlation_id_text, &plan->correlation_id, losses))
            plan->flags |= AMQP_PROPERTY_CORRELATION_ID;
        else
            plan->correlation_id_header = true;
    }
    if (message->present & MB_HAS_MESSAGE_ID) {
        if (id_as_text(&message->message_id, plan->verbatim, plan->message_id_text,
                       sizeof plan->message_id_text, &plan->message_id, losses))
            plan->flags |= AMQP_PROPERTY_MESSAGE_ID;
        else
            plan->message_id_header = true;
    }
    plan_text(plan, message, MB_HAS_SUBJECT, message->subject, AMQP_PROPERTY_TYPE, losses);
    plan_text(plan, message, MB_HAS_APP_ID, message->app_id, AMQP_PROPERTY_APP_ID, losses);
    plan_guarded(plan, message, encoding, losses);
}

/* True if the header says again what a property says. */
static bool says_property(const struct plan *plan, const struct mb_message *message,
                          const struct mb_header *header)
{
    struct mb_slice text = header->value.as.bytes;

    if (header->value.type != MB_STRING)
        return false;
    switch (header->name.size) {
    case 7:
        return (plan->flags & AMQP_PROPERTY_TYPE) && AMQP_NAME_IS(header->name, "subject") &&
               mb_slice_equal(text, message->subject);
    case 10:
        return (plan->flags & AMQP_PROPERTY_MESSAGE_ID) &&
               AMQP_NAME_IS(header->name, "message-id") && mb_slice_equal(text, plan->message_id);
    case 12:
        return (plan->flags & AMQP_PROPERTY_CONTENT_TYPE) &&
               AMQP_NAME_IS(header->name, "content-type") &&
               mb_slice_equal(text, plan->content_type);
    case 14:
        return (plan->flags & AMQP_PROPERTY_CORRELATION_ID) &&
               AMQP_NAME_IS(header->name, "correlation-id") &&
               mb_slice_equal(text, plan->correlation_id);
    case 16:
        return (plan->flags & AMQP_PROPERTY_CONTENT_ENCODING) &&
               AMQP_NAME_IS(header->name, "content-encoding") &&
               mb_slice_equal(text, message->content_encoding);
    default:
        return false;
    }
}

static bool comes_again(const struct mb_message *message, uint32_t at)
{
    struct mb_slice name = message->headers[at].name;

    for (uint32_t i = at + 1; i < message->headers_count; i++) {
        if (message->headers[i].section == MB_SECTION_APPLICATION &&
            mb_slice_equal(message->headers[i].name, name))
            return true;
    }
    return false;
}

/* Whether a header of another platform has a place in the table. */
static bool header_is_natural(const struct plan *plan, const struct mb_message *message,
                              uint32_t at, uint32_t *losses)
{
    const struct mb_header *header = &message->headers[at];

    if (header->section == MB_SECTION_FOOTER ||
        (header->section == MB_SECTION_MESSAGE_ANNOTATIONS &&
         (header->name.size < 2 || memcmp(header->name.data, "x-", 2) != 0))) {
        *losses |= AMQP_LOSS_HEADER_SECTION;
        return false;
    }
    /* These two redirect a message, and close the channel if they are no arrays. */
    if (AMQP_NAME_IS(header->name, "CC") || AMQP_NAME_IS(header->name, "BCC")) {
        *losses |= AMQP_LOSS_HEADER_NAME;
        return false;
    }
    if (says_property(plan, message, header))
        return false;
    if (comes_again(message, at)) {
        *losses |= AMQP_LOSS_HEADER_REPEATED;
        return false;
    }
    return true;
}

static void put_headers_of(struct amqp_writer *writer, const struct plan *plan,
                           const struct mb_message *message, const struct amqp_encoding *encoding,
                           uint32_t *losses)
{
    for (uint32_t i = 0; i < message->headers_count && !writer->full; i++) {
        const struct mb_header *header = &message->headers[i];
        struct amqp_writer before = *writer;

        if (!plan->verbatim && !header_is_natural(plan, message, i, losses))
            continue;
        if (header->name.size > AMQP_SHORTSTR_MAX) {
            *losses |= AMQP_LOSS_HEADER_NAME;
            continue;
        }
        amqp_put_shortstr(writer, header->name);
        if (!amqp_put_value(writer, &header->value, plan->verbatim, encoding->scratch, losses)) {
            *losses |= AMQP_LOSS_HEADER_VALUE;
            *writer = before;
        }
    }
}

static void put_id_header(struct amqp_writer *writer, const char *name, const struct mb_id *id)
{
    amqp_put_name_text(writer, name, id->kind == MB_ID_STRING ? 'S' : 'x', id->bytes);
}

/* The stable id by which consumers can tell a repetition: cluster/stream/partition/position. */
static void put_provenance_id(struct amqp_writer *writer, const struct mb_message *message,
                              struct mb_text *scratch)
{
    const struct mb_origin *origin = message->origin;
    size_t start = scratch->size;

    if (origin == NULL || message->position.kind == MB_POSITION_NONE)
        return;
    mb_text_add(scratch, origin->identity.data, origin->identity.size);
    mb_text_add(scratch, "/", 1);
    mb_text_add(scratch, origin->stream.data, origin->stream.size);
    mb_text_addf(scratch, "/%d/", origin->partition);
    mb_text_position(scratch, message->position);
    if (!scratch->failed)
        amqp_put_name_text(writer, AMQP_HEADER_ID, 'S',
                           (struct mb_slice){scratch->data + start, scratch->size - start});
    scratch->size = start;
}

static void put_path(struct amqp_writer *writer, const struct mb_message *message)
{
    unsigned char bytes[8 * MB_PATH_HOPS_MAX];

    for (uint8_t i = 0; i < message->path_count; i++)
        amqp_store(bytes + 8 * (size_t)i, message->path[i], 8);
    amqp_put_name_text(writer, AMQP_HEADER_PATH, 'x',
                       (struct mb_slice){bytes, 8 * (size_t)message->path_count});
}

/* Headers that stand for what has no property here. The sidecar belongs behind them: it explains
 * what losses tells. */
static void put_own_headers(struct amqp_writer *writer, const struct plan *plan,
                            const struct mb_message *message, const struct amqp_encoding *encoding)
{
    if ((message->present & MB_HAS_KEY) && !encoding->named_exchange &&
        (!plan->verbatim || !mb_slice_equal(message->key, message->routing_key))) {
        if (message->key.data == NULL) {
            amqp_put_shortstr(writer, MB_SLICE_LITERAL(AMQP_HEADER_KEY));
            amqp_put_u8(writer, 'V');
        } else {
            amqp_put_name_text(writer, AMQP_HEADER_KEY, 'x', message->key);
        }
    }
    if (message->body_kind == MB_BODY_NULL ||
        (message->body_kind == MB_BODY_VALUE && message->body_value.type == MB_NULL)) {
        amqp_put_shortstr(writer, MB_SLICE_LITERAL(AMQP_HEADER_NULL));
        amqp_put_u8(writer, 't');
        amqp_put_u8(writer, 1);
    }
    if (plan->message_id_header)
        put_id_header(writer, "x-message-id", &message->message_id);
    if (plan->correlation_id_header)
        put_id_header(writer, "x-correlation-id", &message->correlation_id);
    if (message->present & MB_HAS_GROUP_ID)
        amqp_put_name_text(writer, "JMSXGroupID", 'S', message->group_id);
    if (message->present & MB_HAS_GROUP_SEQUENCE) {
        amqp_put_shortstr(writer, MB_SLICE_LITERAL("JMSXGroupSeq"));
        amqp_put_u8(writer, 'i');
        amqp_put_u32(writer, message->group_sequence);
    }
    if (encoding->provenance & MB_PROVENANCE_ID)
        put_provenance_id(writer, message, encoding->scratch);
    if ((encoding->provenance & MB_PROVENANCE_PATH) && message->path_count > 0)
        put_path(writer, message);
}

/* Without entries there is no table, unless the message had an empty one. Returns true if there is
 * one. */
static bool put_headers(struct amqp_writer *writer, const struct plan *plan,
                        const struct mb_message *message, const struct amqp_encoding *encoding,
                        uint32_t *losses)
{
    unsigned char *size = writer->at;
    struct amqp_writer before = *writer;

    amqp_put_u32(writer, 0);
    put_headers_of(writer, plan, message, encoding, losses);
    put_own_headers(writer, plan, message, encoding);
    if (writer->full)
        return true;
    if (writer->at == size + 4 && !(plan->verbatim && message->headers != NULL)) {
        *writer = before;
        return false;
    }
    amqp_store(size, (uint64_t)(writer->at - size) - 4, 4);
    return true;
}

void amqp_put_header(struct amqp_writer *writer, const struct mb_message *message,
                     uint64_t body_size, const struct amqp_encoding *encoding, uint32_t *losses)
{
    char ttl[24];
    struct plan plan;
    unsigned char *flags;

    mb_text_clear(encoding->scratch);
    plan_make(&plan, message, encoding, losses);
    amqp_put_u16(writer, AMQP_CLASS_BASIC);
    amqp_put_u16(writer, 0);
    amqp_put_u64(writer, body_size);
    flags = amqp_room(writer, 2);
    if (plan.flags & AMQP_PROPERTY_CONTENT_TYPE)
        amqp_put_shortstr(writer, plan.content_type);
    if (plan.flags & AMQP_PROPERTY_CONTENT_ENCODING)
        amqp_put_shortstr(writer, message->content_encoding);
    if (!writer->full && put_headers(writer, &plan, message, encoding, losses))
        plan.flags |= AMQP_PROPERTY_HEADERS;
    if (plan.flags & AMQP_PROPERTY_DELIVERY_MODE)
        amqp_put_u8(writer, plan.delivery_mode);
    if (plan.flags & AMQP_PROPERTY_PRIORITY)
        amqp_put_u8(writer, message->priority);
    if (plan.flags & AMQP_PROPERTY_CORRELATION_ID)
        amqp_put_shortstr(writer, plan.correlation_id);
    if (plan.flags & AMQP_PROPERTY_REPLY_TO)
        amqp_put_shortstr(writer, message->reply_to);
    if (plan.flags & AMQP_PROPERTY_EXPIRATION) {
        snprintf(ttl, sizeof ttl, "%" PRIu64, message->ttl_ms);
        amqp_put_shortstr(writer, mb_slice_text(ttl));
    }
    if (plan.flags & AMQP_PROPERTY_MESSAGE_ID)
        amqp_put_shortstr(writer, plan.message_id);
    if (plan.flags & AMQP_PROPERTY_TIMESTAMP)
        amqp_put_u64(writer, plan.timestamp_s);
    if (plan.flags & AMQP_PROPERTY_TYPE)
        amqp_put_shortstr(writer, message->subject);
    if (plan.flags & AMQP_PROPERTY_USER_ID)
        amqp_put_shortstr(writer, message->user_id);
    if (plan.flags & AMQP_PROPERTY_APP_ID)
        amqp_put_shortstr(writer, message->app_id);
    if (flags != NULL)
        amqp_store(flags, plan.flags, 2);
}
