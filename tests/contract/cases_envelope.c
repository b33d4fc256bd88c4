/* SPDX-License-Identifier: Apache-2.0 */
/* One message of each shape there and back: what the platform can carry arrives as it was. */
#include "contract.h"

#include <stdlib.h>

#define SHAPES 6u

#define TEXT(literal)                                                                              \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }
#define HEADER_TEXT(name_text, text)                                                               \
    {                                                                                              \
        .name = TEXT(name_text), .name_type = MB_STRING, .value = {                                \
            .type = MB_STRING,                                                                     \
            .as = {.bytes = TEXT(text)}                                                            \
        }                                                                                          \
    }

static const struct mb_value list_items[] = {
    {.type = MB_I32, .as = {.i = -5}},
    {.type = MB_STRING, .as = {.bytes = TEXT("in a list")}},
};

static const struct mb_header plain_headers[] = {
    HEADER_TEXT("shape", "plain"),
    HEADER_TEXT("empty", ""),
    HEADER_TEXT("text", "caf\xc3\xa9"),
};

static const struct mb_header duplicate_headers[] = {
    HEADER_TEXT("twice", "one"),
    HEADER_TEXT("between", "x"),
    HEADER_TEXT("twice", "two"),
};

static const struct mb_header typed_headers[] = {
    {.name = TEXT("null"), .name_type = MB_STRING, .value = {.type = MB_NULL}},
    {.name = TEXT("bool"), .name_type = MB_STRING, .value = {.type = MB_BOOL, .as = {.b = true}}},
    {.name = TEXT("i8"), .name_type = MB_STRING, .value = {.type = MB_I8, .as = {.i = -8}}},
    {.name = TEXT("i16"), .name_type = MB_STRING, .value = {.type = MB_I16, .as = {.i = -1600}}},
    {.name = TEXT("i32"), .name_type = MB_STRING, .value = {.type = MB_I32, .as = {.i = -320000}}},
    {.name = TEXT("i64"),
     .name_type = MB_STRING,
     .value = {.type = MB_I64, .as = {.i = -6400000000}}},
    {.name = TEXT("f64"), .name_type = MB_STRING, .value = {.type = MB_F64, .as = {.f64 = 0.1}}},
    {.name = TEXT("time"),
     .name_type = MB_STRING,
     .value = {.type = MB_TIMESTAMP_S, .as = {.i = 1700000000}}},
    {.name = TEXT("binary"),
     .name_type = MB_STRING,
     .value = {.type = MB_BINARY, .as = {.bytes = TEXT("\x00\xff\x01")}}},
    {.name = TEXT("list"),
     .name_type = MB_STRING,
     .value = {.type = MB_LIST, .as = {.items = {list_items, 2, 0}}}},
};

static void set_headers(struct mb_message *message, const struct mb_header *headers, size_t count)
{
    message->headers = headers;
    message->headers_count = (uint32_t)count;
}

static void set_properties(struct mb_message *message)
{
    static struct mb_properties properties;

    message->present |=
        MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID | MB_HAS_TIMESTAMP | MB_HAS_PRIORITY;
    properties.message_id = (struct mb_id){.kind = MB_ID_STRING, .bytes = TEXT("id-1")};
    properties.correlation_id = (struct mb_id){.kind = MB_ID_STRING, .bytes = TEXT("cause-7")};
    message->timestamp_ms = 1700000000000;
    message->priority = 4;
    message->properties = &properties;
    message_set_text(message, MB_HAS_CONTENT_TYPE, &properties.content_type, "application/json");
    message_set_text(message, MB_HAS_CONTENT_ENCODING, &properties.content_encoding, "identity");
    message_set_text(message, MB_HAS_REPLY_TO, &properties.reply_to, "answers");
    message_set_text(message, MB_HAS_SUBJECT, &properties.subject, "order.created");
    message_set_text(message, MB_HAS_APP_ID, &properties.app_id, "contract");
}

/* NULL: the platform cannot carry that shape. */
static struct mb_message *shape_create(const struct contract *contract, uint64_t shape)
{
    static const uint32_t needs[SHAPES] = {
        0, 0, CARRY_NULL_BODY, CARRY_DUPLICATE_HEADERS, CARRY_TYPED_HEADERS, CARRY_PROPERTIES};
    struct mb_message *message;

    if ((contract->carries & needs[shape]) != needs[shape])
        return NULL;
    message = message_create(shape);
    switch (shape) {
    case 0:
        set_headers(message, plain_headers, sizeof plain_headers / sizeof plain_headers[0]);
        break;
    case 1:
        message->body = (struct mb_slice){"", 0};
        if ((contract->carries & CARRY_EMPTY_KEY) != 0)
            message->key = (struct mb_slice){"", 0};
        break;
    case 2:
        message->body_kind = MB_BODY_NULL;
        message->body = MB_SLICE_NULL;
        break;
    case 3:
        set_headers(message, duplicate_headers, 3);
        message->present &= ~(uint32_t)MB_HAS_KEY;
        message->key = MB_SLICE_NULL;
        break;
    case 4:
        set_headers(message, typed_headers, sizeof typed_headers / sizeof typed_headers[0]);
        break;
    default:
        set_properties(message);
    }
    return message;
}

static bool slices_equal(struct mb_slice a, struct mb_slice b)
{
    return (a.data == NULL) == (b.data == NULL) && a.size == b.size &&
           (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Where types are not carried, text stays text in its bytes. */
static bool values_equal(const struct mb_value *a, const struct mb_value *b, bool typed)
{
    if (a->type != b->type && (typed || (b->type != MB_STRING && b->type != MB_BINARY)))
        return false;
    switch ((enum mb_type)a->type) {
    case MB_BOOL:
        return a->as.b == b->as.b;
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
    case MB_TIMESTAMP_S:
    case MB_TIMESTAMP_MS:
        return a->as.i == b->as.i;
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
    case MB_CHAR:
        return a->as.u == b->as.u;
    case MB_F32:
        return memcmp(&a->as.f32, &b->as.f32, sizeof a->as.f32) == 0;
    case MB_F64:
        return memcmp(&a->as.f64, &b->as.f64, sizeof a->as.f64) == 0;
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_UUID:
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
        return slices_equal(a->as.bytes, b->as.bytes);
    case MB_LIST:
    case MB_MAP:
    case MB_ARRAY:
    case MB_DESCRIBED:
        for (uint32_t i = 0; i < a->as.items.count && i < b->as.items.count; i++) {
            if (!values_equal(&a->as.items.values[i], &b->as.items.values[i], typed))
                return false;
        }
        return a->as.items.count == b->as.items.count;
    case MB_DECIMAL_SCALED:
        return a->as.scaled.scale == b->as.scaled.scale && a->as.scaled.value == b->as.scaled.value;
    case MB_NULL:
        return true;
    }
    return false;
}

/* The header that came for the one that was sent: at its place, or by its name where the platform
 * keeps no order. NULL: none. */
static const struct mb_header *counterpart(const struct contract *contract,
                                           const struct mb_message *sent, uint32_t index,
                                           const struct mb_message *came)
{
    uint32_t place = 0;

    for (uint32_t i = 0; i < came->headers_count; i++) {
        if (came->headers[i].section == MB_SECTION_BRIDGE)
            continue;
        if (((contract->carries & CARRY_HEADER_ORDER) == 0 || place == index) &&
            slices_equal(sent->headers[index].name, came->headers[i].name))
            return &came->headers[i];
        place++;
    }
    return NULL;
}

static void compare_headers(struct contract *contract, uint64_t shape,
                            const struct mb_message *sent, const struct mb_message *came)
{
    bool typed = (contract->carries & CARRY_TYPED_HEADERS) != 0;
    uint32_t came_count = 0;

    /* A backend's own carriers are none of the message's headers. */
    for (uint32_t i = 0; i < came->headers_count; i++)
        came_count += came->headers[i].section != MB_SECTION_BRIDGE;
    if (came_count != sent->headers_count) {
        check_fail(&contract->check, "shape %llu: %u headers came, %u were sent",
                   (unsigned long long)shape, came_count, sent->headers_count);
        return;
    }
    for (uint32_t i = 0; i < sent->headers_count; i++) {
        const struct mb_header *header = counterpart(contract, sent, i, came);

        if (header == NULL || !values_equal(&sent->headers[i].value, &header->value, typed))
            check_fail(&contract->check, "shape %llu: header %u (%.*s) is not what was sent",
                       (unsigned long long)shape, i, (int)sent->headers[i].name.size,
                       (const char *)sent->headers[i].name.data);
    }
}

static void compare_text(struct contract *contract, const char *name, uint32_t field,
                         const struct mb_message *came, struct mb_slice sent, struct mb_slice got)
{
    if ((came->present & field) == 0 || !slices_equal(sent, got))
        check_fail(&contract->check, "property %s is not what was sent", name);
}

static void compare_properties(struct contract *contract, const struct mb_message *sent,
                               const struct mb_message *came)
{
    const struct mb_properties *given = mb_properties_of(sent);
    const struct mb_properties *got = mb_properties_of(came);

    compare_text(contract, "message-id", MB_HAS_MESSAGE_ID, came, given->message_id.bytes,
                 got->message_id.bytes);
    compare_text(contract, "correlation-id", MB_HAS_CORRELATION_ID, came,
                 given->correlation_id.bytes, got->correlation_id.bytes);
    compare_text(contract, "content-type", MB_HAS_CONTENT_TYPE, came, given->content_type,
                 got->content_type);
    compare_text(contract, "content-encoding", MB_HAS_CONTENT_ENCODING, came,
                 given->content_encoding, got->content_encoding);
    compare_text(contract, "reply-to", MB_HAS_REPLY_TO, came, given->reply_to, got->reply_to);
    compare_text(contract, "subject", MB_HAS_SUBJECT, came, given->subject, got->subject);
    compare_text(contract, "app-id", MB_HAS_APP_ID, came, given->app_id, got->app_id);
    if ((came->present & MB_HAS_TIMESTAMP) == 0 || came->timestamp_ms != sent->timestamp_ms)
        check_fail(&contract->check, "property timestamp is not what was sent");
    if ((came->present & MB_HAS_PRIORITY) == 0 || came->priority != sent->priority)
        check_fail(&contract->check, "property priority is not what was sent");
    if ((came->present & MB_HAS_DURABLE) == 0 || !came->durable)
        check_fail(&contract->check, "property durable is not what was sent");
    if ((came->present & (MB_HAS_TTL | MB_HAS_EXPIRES_AT | MB_HAS_USER_ID)) != 0)
        check_fail(&contract->check, "a property came that was not sent");
}

static void compare(struct contract *contract, uint64_t shape, const struct mb_message *sent,
                    const struct mb_message *came)
{
    struct check *check = &contract->check;

    if (came->body_kind != sent->body_kind || !slices_equal(came->body, sent->body))
        check_fail(check, "shape %llu: the body is not what was sent", (unsigned long long)shape);
    if ((contract->carries & CARRY_KEY) != 0 &&
        ((came->present & MB_HAS_KEY) != (sent->present & MB_HAS_KEY) ||
         !slices_equal(came->key, sent->key)) &&
        !((sent->present & MB_HAS_KEY) == 0 && came->key.data == NULL))
        check_fail(check, "shape %llu: the key is not what was sent", (unsigned long long)shape);
    if ((contract->carries & CARRY_HEADERS) != 0)
        compare_headers(contract, shape, sent, came);
    if (shape == SHAPES - 1)
        compare_properties(contract, sent, came);
}

struct kept {
    struct mb_message messages[SHAPES];
    size_t count;
};

static void keep(void *context, const struct mb_message *message)
{
    struct kept *kept = context;

    if (kept->count < SHAPES)
        kept->messages[kept->count++] = *message;
}

/* Each shape has a stream of its own, so that none has to be recognised. */
static void run_shape(struct contract *contract, uint64_t shape, struct mb_message *message)
{
    struct tested_sink *sink = calloc(1, sizeof *sink);
    struct kept kept = {.count = 0};
    struct tested_source source;
    struct options options;

    if (sink == NULL || !options_open(contract, &options)) {
        free(sink);
        return;
    }
    if (sink_open(sink, &options, 16) == MB_OK) {
        sink_send(sink, &message, 1);
        sink_settle(sink);
        sink_close(sink);
        if (sink->confirmed != 1)
            check_fail(&contract->check, "shape %llu was not confirmed", (unsigned long long)shape);
    }
    source_init(&source, &options);
    source.each = keep;
    source.context = &kept;
    if (source_open(&source, &options, true) == MB_OK) {
        bool came = source_take(&source, 1);

        source_close(&source);
        /* After close, since messages live in the arena and not in the instance. */
        if (came)
            compare(contract, shape, message, &kept.messages[0]);
    }
    source_release(&source);
    options_close(&options);
    free(sink);
}

void case_envelope(struct contract *contract)
{
    for (uint64_t shape = 0; shape < SHAPES; shape++) {
        struct mb_message *message = shape_create(contract, shape);

        if (message == NULL)
            continue;
        run_shape(contract, shape, message);
        message_destroy(message);
    }
}
