/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any platform's message → what a reader of this platform will see, by the tables of
 * docs/fidelity.md. What is missing in the result is found by comparing the two (kit/sidecar.h):
 * nothing here has to note a loss.
 */
#include "amqp_map.h"

#include <inttypes.h>
#include <kit/flatten.h>
#include <kit/utf8.h>
#include <stdlib.h>

/* Headers that stand for what has no property here. */
enum substitute {
    SUBSTITUTE_MESSAGE_ID,
    SUBSTITUTE_CORRELATION_ID,
    SUBSTITUTE_GROUP_ID,
    SUBSTITUTE_GROUP_SEQUENCE,
    SUBSTITUTE_KEY,
    SUBSTITUTE_NULL,
    SUBSTITUTES_COUNT
};

static const struct mb_slice substitute_names[SUBSTITUTES_COUNT] = {
    [SUBSTITUTE_MESSAGE_ID] = MB_SLICE_LITERAL(AMQP_HEADER_MESSAGE),
    [SUBSTITUTE_CORRELATION_ID] = MB_SLICE_LITERAL(AMQP_HEADER_CORREL),
    [SUBSTITUTE_GROUP_ID] = MB_SLICE_LITERAL(AMQP_HEADER_GROUP),
    [SUBSTITUTE_GROUP_SEQUENCE] = MB_SLICE_LITERAL(AMQP_HEADER_SEQUENCE),
    [SUBSTITUTE_KEY] = MB_SLICE_LITERAL(AMQP_HEADER_KEY),
    [SUBSTITUTE_NULL] = MB_SLICE_LITERAL(AMQP_HEADER_NULL),
};

struct projection {
    const struct amqp_encoding *encoding;
    const struct mb_message *message;
    struct mb_scratch *scratch;
    struct mb_message *natural;
    struct mb_header *headers;
    uint32_t headers_count;
    unsigned wanted;  /* bits of enum substitute: to be written, and not found in the list yet */
    bool is_restored; /* the message has what its origin had, not what names promoted */
    struct mb_value substitutes[SUBSTITUTES_COUNT];
};

static void project_text(struct mb_message *natural, uint32_t field, struct mb_slice *text)
{
    if ((natural->present & field) == 0)
        return;
    if (text->size > AMQP_SHORTSTR_MAX) {
        natural->present &= ~field;
        *text = MB_SLICE_NULL;
    } else {
        *text = amqp_not_null(*text);
    }
}

static void want(struct projection *projection, enum substitute which, enum mb_type type,
                 struct mb_slice bytes)
{
    struct mb_value *value = &projection->substitutes[which];

    memset(value, 0, sizeof *value);
    value->type = (uint8_t)type;
    if (type == MB_STRING || type == MB_BINARY)
        value->as.bytes = amqp_not_null(bytes);
    projection->wanted |= 1u << which;
}

static void write_uuid(const unsigned char bytes[16], char *text)
{
    static const char digits[] = "0123456789abcdef";

    memcpy(text, "urn:uuid:", 9);
    text += 9;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *text++ = '-';
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 0xf];
    }
    *text = '\0';
}

/* To a property, or to a header where that cannot hold it. */
static enum mb_status project_id(struct projection *projection, uint32_t field, struct mb_id *id,
                                 enum substitute header)
{
    bool is_uuid = id->kind == MB_ID_UUID && id->bytes.size == 16;
    char *text;

    if ((projection->natural->present & field) == 0)
        return MB_OK;
    if (is_uuid || id->kind == MB_ID_ULONG) {
        text = mb_arena_alloc(&projection->scratch->arena, 48);
        if (text == NULL)
            return MB_NO_MEMORY;
        if (is_uuid)
            write_uuid(id->bytes.data, text);
        else
            snprintf(text, 48, "%" PRIu64, id->number);
        *id = (struct mb_id){.kind = MB_ID_STRING, .bytes = mb_slice_text(text)};
    } else if (id->kind == MB_ID_STRING && id->bytes.size <= AMQP_SHORTSTR_MAX) {
        id->bytes = amqp_not_null(id->bytes);
    } else {
        want(projection, header, id->kind == MB_ID_STRING ? MB_STRING : MB_BINARY, id->bytes);
        projection->natural->present &= ~field;
    }
    return MB_OK;
}

/* What the broker closes the channel over, or cannot hold, is left out. */
static void project_guarded(struct projection *projection)
{
    struct mb_message *natural = projection->natural;
    const char *username = projection->encoding->username;

    if ((natural->present & MB_HAS_USER_ID) != 0 &&
        (username == NULL || username[0] == '\0' ||
         !amqp_name_is(natural->properties->user_id, username, strlen(username))))
        natural->present &= ~(uint32_t)MB_HAS_USER_ID;
    /* Direct reply-to needs a consumer on the same channel. */
    if ((natural->present & MB_HAS_REPLY_TO) != 0 &&
        AMQP_NAME_IS(natural->properties->reply_to, "amq.rabbitmq.reply-to"))
        natural->present &= ~(uint32_t)MB_HAS_REPLY_TO;
    if (natural->ttl_ms > UINT32_MAX)
        natural->present &= ~(uint32_t)MB_HAS_TTL;
    if (natural->timestamp_ms < 0)
        natural->present &= ~(uint32_t)MB_HAS_TIMESTAMP;
    natural->timestamp_ms -= natural->timestamp_ms % 1000;
    natural->timestamp_kind = MB_TIMESTAMP_CREATE_SECONDS;
}

static enum mb_status project_properties(struct projection *projection)
{
    struct mb_message *natural = projection->natural;
    struct mb_properties *properties = natural->properties;
    enum mb_status status;
    bool is_json;

    status = mb_flatten_body(projection->message, projection->scratch, natural, &is_json);
    if (status != MB_OK)
        return status;
    if (natural->body_kind == MB_BODY_NULL) {
        natural->body = MB_SLICE_NULL;
        want(projection, SUBSTITUTE_NULL, MB_BOOL, MB_SLICE_NULL);
        projection->substitutes[SUBSTITUTE_NULL].as.b = true;
    } else {
        natural->body = amqp_not_null(natural->body);
    }
    natural->present &= MB_HAS_CONTENT_TYPE | MB_HAS_CONTENT_ENCODING | MB_HAS_DURABLE |
                        MB_HAS_PRIORITY | MB_HAS_CORRELATION_ID | MB_HAS_REPLY_TO | MB_HAS_TTL |
                        MB_HAS_MESSAGE_ID | MB_HAS_TIMESTAMP | MB_HAS_SUBJECT | MB_HAS_USER_ID |
                        MB_HAS_APP_ID;
    if (is_json && (natural->present & MB_HAS_CONTENT_TYPE) == 0) {
        natural->present |= MB_HAS_CONTENT_TYPE;
        properties->content_type = MB_SLICE_LITERAL("application/json");
    }
    project_text(natural, MB_HAS_CONTENT_TYPE, &properties->content_type);
    project_text(natural, MB_HAS_CONTENT_ENCODING, &properties->content_encoding);
    project_text(natural, MB_HAS_REPLY_TO, &properties->reply_to);
    project_text(natural, MB_HAS_SUBJECT, &properties->subject);
    project_text(natural, MB_HAS_APP_ID, &properties->app_id);
    project_guarded(projection);
    if ((natural->present & MB_HAS_DURABLE) == 0 && projection->encoding->persistent) {
        natural->present |= MB_HAS_DURABLE;
        natural->durable = true;
    }
    status =
        project_id(projection, MB_HAS_MESSAGE_ID, &properties->message_id, SUBSTITUTE_MESSAGE_ID);
    if (status == MB_OK)
        status = project_id(projection, MB_HAS_CORRELATION_ID, &properties->correlation_id,
                            SUBSTITUTE_CORRELATION_ID);
    return status;
}

/* Groups by JMS's headers, as far as amqp_headers_interpret reads them. */
static void project_groups(struct projection *projection)
{
    const struct mb_message *message = projection->message;
    const struct mb_properties *properties = mb_properties_of(message);
    struct mb_value *sequence = &projection->substitutes[SUBSTITUTE_GROUP_SEQUENCE];

    if ((message->present & MB_HAS_GROUP_ID) != 0 && mb_utf8_valid(properties->group_id))
        want(projection, SUBSTITUTE_GROUP_ID, MB_STRING, properties->group_id);
    if ((message->present & MB_HAS_GROUP_SEQUENCE) != 0) {
        bool is_small = properties->group_sequence <= INT32_MAX;

        want(projection, SUBSTITUTE_GROUP_SEQUENCE, is_small ? MB_I32 : MB_U32, MB_SLICE_NULL);
        if (is_small)
            sequence->as.i = (int64_t)properties->group_sequence;
        else
            sequence->as.u = properties->group_sequence;
    }
}

/* ---- where it goes ------------------------------------------------------------------------ */

void amqp_route_of(const struct mb_outgoing *item, const struct mb_message *message,
                   struct amqp_route *ret_route)
{
    ret_route->own_key = false;
    if (item->names[AMQP_NAME_QUEUE].data != NULL) {
        ret_route->exchange = amqp_not_null(MB_SLICE_NULL);
        ret_route->routing_key = amqp_not_null(item->names[AMQP_NAME_QUEUE]);
        return;
    }
    ret_route->exchange = amqp_not_null(item->names[AMQP_NAME_EXCHANGE]);
    ret_route->routing_key = item->names[AMQP_NAME_ROUTING_KEY];
    if (ret_route->routing_key.data != NULL)
        return;
    if ((message->present & MB_HAS_ROUTING_KEY) != 0)
        ret_route->routing_key = mb_properties_of(message)->routing_key;
    else if ((message->present & MB_HAS_KEY) != 0 && message->key.data != NULL &&
             message->key.size <= AMQP_SHORTSTR_MAX && mb_utf8_valid(message->key))
        ret_route->routing_key = message->key;
    ret_route->routing_key = amqp_not_null(ret_route->routing_key);
    ret_route->own_key = ret_route->routing_key.size > 0;
}

/* A key that the routing key does not say already becomes a header. */
static void project_route(struct projection *projection, const struct mb_outgoing *item)
{
    const struct mb_message *message = projection->message;
    struct mb_message *natural = projection->natural;
    struct amqp_route route;

    amqp_route_of(item, message, &route);
    natural->present |= MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY;
    natural->properties->exchange = route.exchange;
    natural->properties->routing_key = route.routing_key;
    if ((message->present & MB_HAS_KEY) == 0)
        return;
    if (message->key.data == NULL)
        want(projection, SUBSTITUTE_KEY, MB_NULL, MB_SLICE_NULL);
    else if (route.exchange.size == 0 || !mb_slice_equal(message->key, route.routing_key))
        want(projection, SUBSTITUTE_KEY, MB_BINARY, message->key);
}

/* ---- headers ------------------------------------------------------------------------------ */

static bool has_place(const struct mb_header *header)
{
    if (header->section == MB_SECTION_APPLICATION)
        return true;
    return header->section == MB_SECTION_MESSAGE_ANNOTATIONS && header->name_type != MB_U64 &&
           header->name.size >= 2 && memcmp(header->name.data, "x-", 2) == 0;
}

/* Names that mean something to the broker or to us. CC and BCC redirect a message, and close the
 * channel if they are no arrays. */
static bool is_reserved(struct mb_slice name)
{
    if (name.size == 0)
        return false;
    switch (*(const char *)name.data) {
    case 'C':
        return AMQP_NAME_IS(name, "CC");
    case 'B':
        return AMQP_NAME_IS(name, "BCC");
    case 'x':
        return (name.size >= sizeof AMQP_HEADER_OWN - 1 &&
                memcmp(name.data, AMQP_HEADER_OWN, sizeof AMQP_HEADER_OWN - 1) == 0) ||
               AMQP_NAME_IS(name, AMQP_HEADER_OFFSET) || AMQP_NAME_IS(name, AMQP_HEADER_COUNT);
    default:
        return false;
    }
}

/* True if the header says again what a property says. */
static bool says_property(const struct mb_message *natural, const struct mb_header *header)
{
    const struct mb_properties *properties = natural->properties;
    struct mb_slice text = header->value.as.bytes;
    uint32_t present = natural->present;

    if (header->value.type != MB_STRING)
        return false;
    switch (header->name.size) {
    case 7:
        return (present & MB_HAS_SUBJECT) != 0 && AMQP_NAME_IS(header->name, "subject") &&
               mb_slice_equal(text, properties->subject);
    case 10:
        return (present & MB_HAS_MESSAGE_ID) != 0 && AMQP_NAME_IS(header->name, "message-id") &&
               mb_slice_equal(text, properties->message_id.bytes);
    case 12:
        return (present & MB_HAS_CONTENT_TYPE) != 0 && AMQP_NAME_IS(header->name, "content-type") &&
               mb_slice_equal(text, properties->content_type);
    case 14:
        return (present & MB_HAS_CORRELATION_ID) != 0 &&
               AMQP_NAME_IS(header->name, "correlation-id") &&
               mb_slice_equal(text, properties->correlation_id.bytes);
    case 16:
        return (present & MB_HAS_CONTENT_ENCODING) != 0 &&
               AMQP_NAME_IS(header->name, "content-encoding") &&
               mb_slice_equal(text, properties->content_encoding);
    default:
        return false;
    }
}

/* A header of the name of one that we want to write gets its value, and keeps its place. */
static void substitute_in_place(struct projection *projection, struct mb_header *header)
{
    for (unsigned which = 0; which < SUBSTITUTE_KEY; which++) {
        if ((projection->wanted & (1u << which)) == 0 ||
            !mb_slice_equal(header->name, substitute_names[which]))
            continue;
        header->value = projection->substitutes[which];
        projection->wanted &= ~(1u << which);
    }
}

static void add_substitutes(struct projection *projection)
{
    for (unsigned which = 0; which < SUBSTITUTES_COUNT; which++) {
        if ((projection->wanted & (1u << which)) == 0)
            continue;
        projection->headers[projection->headers_count++] =
            (struct mb_header){.name = substitute_names[which],
                               .value = projection->substitutes[which],
                               .section = MB_SECTION_APPLICATION,
                               .name_type = MB_STRING};
    }
}

static enum mb_status project_header_value(struct projection *projection,
                                           const struct mb_value *value, struct mb_value *ret_value)
{
    struct mb_text *text = projection->encoding->text;
    struct mb_slice bytes;

    if (value->type != MB_DECIMAL_SCALED || !projection->encoding->to_stream)
        return amqp_value_project(value, projection->scratch, text, ret_value);
    mb_text_clear(text);
    mb_text_value(text, value, NULL);
    bytes = mb_slice_copy(&projection->scratch->arena,
                          (struct mb_slice){text->data, text->failed ? 0 : text->size});
    ret_value->type = MB_STRING;
    ret_value->as.bytes = amqp_not_null(bytes);
    return bytes.data != NULL ? MB_OK : MB_NO_MEMORY;
}

static enum mb_status project_headers(struct projection *projection)
{
    const struct mb_message *message = projection->message;
    struct mb_arena *arena = &projection->scratch->arena;
    uint32_t count = message->headers_count;
    const bool *repeated = mb_headers_repeated(message, has_place, projection->scratch);
    enum mb_status status = MB_OK;

    projection->headers =
        mb_arena_alloc(arena, (count + (size_t)SUBSTITUTES_COUNT) * sizeof *projection->headers);
    if (repeated == NULL || projection->headers == NULL)
        return MB_NO_MEMORY;
    for (uint32_t i = 0; i < count && status == MB_OK; i++) {
        const struct mb_header *header = &message->headers[i];
        struct mb_header *natural = &projection->headers[projection->headers_count];

        if (!has_place(header) || header->name.size > AMQP_SHORTSTR_MAX || repeated[i] ||
            is_reserved(header->name) ||
            (!projection->is_restored && says_property(projection->natural, header)))
            continue;
        *natural = (struct mb_header){.name = amqp_not_null(header->name),
                                      .section = MB_SECTION_APPLICATION,
                                      .name_type = MB_STRING};
        status = project_header_value(projection, &header->value, &natural->value);
        if (status == MB_OK && projection->encoding->to_stream &&
            (natural->value.type == MB_LIST || natural->value.type == MB_MAP))
            continue;
        substitute_in_place(projection, natural);
        projection->headers_count++;
    }
    if (status == MB_OK)
        add_substitutes(projection);
    return status;
}

static int compare_names(const void *one, const void *other)
{
    struct mb_slice a = ((const struct mb_header *)one)->name;
    struct mb_slice b = ((const struct mb_header *)other)->name;
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);

    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* As the broker will hand them out: so their order is a difference, and the sidecar has it. */
static void sort_headers(struct mb_header *headers, uint32_t count)
{
    uint32_t sorted = count > 0 ? 1 : 0;

    while (sorted < count && compare_names(&headers[sorted - 1], &headers[sorted]) <= 0)
        sorted++;
    if (sorted < count)
        qsort(headers, count, sizeof *headers, compare_names);
}

enum mb_status amqp_project(void *context, const struct mb_outgoing *item,
                            const struct mb_message *message, struct mb_scratch *scratch,
                            struct mb_message *natural, struct mb_error *err)
{
    struct projection projection = {.encoding = context,
                                    .message = message,
                                    .scratch = scratch,
                                    .natural = natural,
                                    .is_restored = message != item->message};
    enum mb_status status = project_properties(&projection);

    natural->raw_kind = MB_RAW_NONE;
    natural->raw = MB_SLICE_NULL;
    natural->key = MB_SLICE_NULL;
    project_groups(&projection);
    project_route(&projection, item);
    if (status == MB_OK)
        status = project_headers(&projection);
    if (status != MB_OK)
        return mb_error_set(err, status, MB_CAUSE_CONNECTION, "memory",
                            "out of memory for a message");
    if (projection.encoding->sorts_headers)
        sort_headers(projection.headers, projection.headers_count);
    natural->headers = projection.headers_count > 0 ? projection.headers : NULL;
    natural->headers_count = projection.headers_count;
    amqp_headers_interpret(natural, projection.headers, projection.headers_count);
    return MB_OK;
}
