/* SPDX-License-Identifier: Apache-2.0 */
/* Envelope → wire. What is written is what the message says, no more: projecting came before. */
#include "amqp10_map_wire.h"

#include <kit/types.h>
#include <kit/types_codes.h>
#include <kit/utf8.h>

#define SECTION_SIZE 3u /* its descriptor */

/* The text is grown at once for all that is measured easily; so its end is a plain pointer. */
static unsigned char *room(struct mb_text *out, size_t size)
{
    if (out->failed || out->capacity - out->size < size || out->max_size - out->size < size) {
        if (!mb_text_reserve(out, size))
            return NULL;
    }
    return (unsigned char *)out->data + out->size;
}

static void store(unsigned char *at, uint64_t number, size_t width)
{
    for (size_t i = width; i-- > 0; number >>= 8)
        at[i] = (unsigned char)number;
}

static void put_u8(struct mb_text *out, uint8_t byte)
{
    unsigned char *at = room(out, 1);

    if (at == NULL)
        return;
    at[0] = byte;
    out->size++;
}

static void put_number(struct mb_text *out, uint8_t code, uint64_t number, size_t width)
{
    unsigned char *at = room(out, 1 + width);

    if (at == NULL)
        return;
    at[0] = code;
    store(at + 1, number, width);
    out->size += 1 + width;
}

static void put_u32(struct mb_text *out, uint32_t number)
{
    if (number == 0)
        put_u8(out, MB_CODE_U32_ZERO);
    else if (number <= UINT8_MAX)
        put_number(out, MB_CODE_U32_SMALL, number, 1);
    else
        put_number(out, MB_CODE_U32, number, 4);
}

static void put_u64(struct mb_text *out, uint64_t number)
{
    if (number == 0)
        put_u8(out, MB_CODE_U64_ZERO);
    else if (number <= UINT8_MAX)
        put_number(out, MB_CODE_U64_SMALL, number, 1);
    else
        put_number(out, MB_CODE_U64, number, 8);
}

/* code8: of binary, string or symbol. */
static void put_bytes(struct mb_text *out, uint8_t code8, struct mb_slice bytes)
{
    bool is_long = bytes.size > UINT8_MAX;
    size_t head = is_long ? 5 : 2;
    unsigned char *at;

    if (bytes.size > UINT32_MAX) {
        out->failed = true;
        return;
    }
    at = room(out, head + bytes.size);
    if (at == NULL)
        return;
    at[0] = (unsigned char)(is_long ? code8 + 0x10 : code8);
    store(at + 1, bytes.size, head - 1);
    if (bytes.size > 0)
        memcpy(at + head, bytes.data, bytes.size);
    out->size += head + bytes.size;
}

static void put_value(struct mb_text *out, const struct mb_value *value)
{
    if (value->type == MB_STRING)
        put_bytes(out, MB_CODE_STRING8, value->as.bytes);
    else if (value->type == MB_BINARY)
        put_bytes(out, MB_CODE_BINARY8, value->as.bytes);
    else
        mb_types_write(out, value);
}

static void put_section(struct mb_text *out, enum amqp10_section section)
{
    unsigned char *at = room(out, SECTION_SIZE);

    if (at == NULL)
        return;
    at[0] = MB_CODE_DESCRIBED;
    at[1] = MB_CODE_U64_SMALL;
    at[2] = (unsigned char)section;
    out->size += SECTION_SIZE;
}

/* A section that is a list or a map, with size and count of one byte. Returns where its items
 * begin. */
static size_t begin(struct mb_text *out, enum amqp10_section section, uint8_t code8)
{
    put_section(out, section);
    put_number(out, code8, 0, 2);
    return out->size;
}

/* Sets size and count of what began at start; moves the items if they take four bytes each. */
static void end(struct mb_text *out, size_t start, uint64_t count)
{
    size_t size = out->size - start;
    unsigned char *at;

    if (out->failed)
        return;
    if (size + 1 <= UINT8_MAX && count <= UINT8_MAX) {
        out->data[start - 2] = (char)(size + 1);
        out->data[start - 1] = (char)count;
        return;
    }
    if (room(out, 6) == NULL)
        return;
    if (size + 4 > UINT32_MAX || count > UINT32_MAX) {
        out->failed = true;
        return;
    }
    at = (unsigned char *)out->data + start;
    memmove(at + 6, at, size);
    out->size += 6;
    at[-3] = (unsigned char)(at[-3] + 0x10);
    store(at - 2, size + 4, 4);
    store(at + 2, count, 4);
}

/* Fields of a list: the nulls before one that is there are written with it. */
static void skip_to(struct mb_text *out, uint32_t *count, uint32_t place)
{
    for (; *count < place; ++*count)
        put_u8(out, MB_CODE_NULL);
    ++*count;
}

#define HEADER_FIELDS (MB_HAS_DURABLE | MB_HAS_PRIORITY | MB_HAS_TTL)

static void put_header(struct mb_text *out, const struct mb_message *message)
{
    uint32_t count = 0;
    size_t start;

    if ((message->present & HEADER_FIELDS) == 0)
        return;
    start = begin(out, AMQP10_HEADER, MB_CODE_LIST8);
    if (message->present & MB_HAS_DURABLE) {
        skip_to(out, &count, AMQP10_HEADER_DURABLE);
        put_u8(out, message->durable ? MB_CODE_TRUE : MB_CODE_FALSE);
    }
    if (message->present & MB_HAS_PRIORITY) {
        skip_to(out, &count, AMQP10_HEADER_PRIORITY);
        put_number(out, MB_CODE_U8, message->priority, 1);
    }
    if (message->present & MB_HAS_TTL) {
        skip_to(out, &count, AMQP10_HEADER_TTL);
        put_u32(out, message->ttl_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)message->ttl_ms);
    }
    end(out, start, count);
}

static void put_id(struct mb_text *out, const struct mb_id *id)
{
    struct mb_value value;

    switch ((enum mb_id_kind)id->kind) {
    case MB_ID_STRING:
        put_bytes(out, MB_CODE_STRING8, id->bytes);
        return;
    case MB_ID_BINARY:
        put_bytes(out, MB_CODE_BINARY8, id->bytes);
        return;
    case MB_ID_UUID:
        memset(&value, 0, sizeof value);
        value.type = MB_UUID;
        value.as.bytes = id->bytes;
        mb_types_write(out, &value);
        return;
    case MB_ID_ULONG:
        put_u64(out, id->number);
        return;
    }
    out->failed = true;
}

static void put_field(struct mb_text *out, uint32_t *count, enum amqp10_property_place place,
                      uint8_t code8, struct mb_slice bytes)
{
    skip_to(out, count, (uint32_t)place);
    put_bytes(out, code8, bytes);
}

#define PROPERTY_FIELDS                                                                            \
    (MB_HAS_MESSAGE_ID | MB_HAS_USER_ID | MB_HAS_TO | MB_HAS_SUBJECT | MB_HAS_REPLY_TO |           \
     MB_HAS_CORRELATION_ID | MB_HAS_CONTENT_TYPE | MB_HAS_CONTENT_ENCODING | MB_HAS_EXPIRES_AT |   \
     MB_HAS_TIMESTAMP | MB_HAS_GROUP_ID | MB_HAS_GROUP_SEQUENCE | MB_HAS_REPLY_TO_GROUP_ID)

/* The first six fields of properties. */
static void put_addresses(struct mb_text *out, const struct mb_properties *properties,
                          uint32_t present, struct mb_slice to, uint32_t *count)
{
    if (present & MB_HAS_MESSAGE_ID) {
        skip_to(out, count, AMQP10_PROPERTY_MESSAGE_ID);
        put_id(out, &properties->message_id);
    }
    if (present & MB_HAS_USER_ID)
        put_field(out, count, AMQP10_PROPERTY_USER_ID, MB_CODE_BINARY8, properties->user_id);
    if (present & MB_HAS_TO)
        put_field(out, count, AMQP10_PROPERTY_TO, MB_CODE_STRING8, to);
    if (present & MB_HAS_SUBJECT)
        put_field(out, count, AMQP10_PROPERTY_SUBJECT, MB_CODE_STRING8, properties->subject);
    if (present & MB_HAS_REPLY_TO)
        put_field(out, count, AMQP10_PROPERTY_REPLY_TO, MB_CODE_STRING8, properties->reply_to);
    if (present & MB_HAS_CORRELATION_ID) {
        skip_to(out, count, AMQP10_PROPERTY_CORRELATION_ID);
        put_id(out, &properties->correlation_id);
    }
}

/* override_to: instead of what the message says; null: none. */
static void put_properties(struct mb_text *out, const struct mb_message *message,
                           struct mb_slice override_to)
{
    const struct mb_properties *properties = mb_properties_of(message);
    bool overrides = override_to.data != NULL;
    uint32_t present = message->present | (overrides ? MB_HAS_TO : 0);
    uint32_t count = 0;
    size_t start;

    if ((present & PROPERTY_FIELDS) == 0)
        return;
    start = begin(out, AMQP10_PROPERTIES, MB_CODE_LIST8);
    put_addresses(out, properties, present, overrides ? override_to : properties->to, &count);
    if (present & MB_HAS_CONTENT_TYPE)
        put_field(out, &count, AMQP10_PROPERTY_CONTENT_TYPE, MB_CODE_SYMBOL8,
                  properties->content_type);
    if (present & MB_HAS_CONTENT_ENCODING)
        put_field(out, &count, AMQP10_PROPERTY_CONTENT_ENCODING, MB_CODE_SYMBOL8,
                  properties->content_encoding);
    if (present & MB_HAS_EXPIRES_AT) {
        skip_to(out, &count, AMQP10_PROPERTY_ABSOLUTE_EXPIRY);
        put_number(out, MB_CODE_TIMESTAMP, (uint64_t)message->expires_at_ms, 8);
    }
    if (present & MB_HAS_TIMESTAMP) {
        skip_to(out, &count, AMQP10_PROPERTY_CREATION_TIME);
        put_number(out, MB_CODE_TIMESTAMP, (uint64_t)message->timestamp_ms, 8);
    }
    if (present & MB_HAS_GROUP_ID)
        put_field(out, &count, AMQP10_PROPERTY_GROUP_ID, MB_CODE_STRING8, properties->group_id);
    if (present & MB_HAS_GROUP_SEQUENCE) {
        skip_to(out, &count, AMQP10_PROPERTY_GROUP_SEQUENCE);
        put_u32(out, properties->group_sequence);
    }
    if (present & MB_HAS_REPLY_TO_GROUP_ID)
        put_field(out, &count, AMQP10_PROPERTY_REPLY_TO_GROUP_ID, MB_CODE_STRING8,
                  properties->reply_to_group_id);
    end(out, start, count);
}

bool amqp10_parse_ulong(struct mb_slice digits, uint64_t *ret_number)
{
    const unsigned char *at = digits.data;
    uint64_t number = 0;

    if (digits.size == 0 || (at[0] == '0' && digits.size > 1))
        return false;
    for (size_t i = 0; i < digits.size; i++) {
        uint64_t digit = (uint64_t)at[i] - '0';

        if (at[i] < '0' || at[i] > '9' || number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *ret_number = number;
    return true;
}

static void put_name(struct mb_text *out, const struct mb_header *header)
{
    uint64_t number;

    switch (header->name_type) {
    case MB_SYMBOL:
        put_bytes(out, MB_CODE_SYMBOL8, header->name);
        return;
    case MB_BINARY:
        put_bytes(out, MB_CODE_BINARY8, header->name);
        return;
    case MB_U64:
        if (amqp10_parse_ulong(header->name, &number))
            put_u64(out, number);
        else
            out->failed = true;
        return;
    default:
        put_bytes(out, MB_CODE_STRING8, header->name);
        return;
    }
}

/* What is added to annotations: each once. */
struct carriers {
    struct mb_slice bytes[AMQP10_OWN_KEY]; /* by enum amqp10_own; null: none, or written */
};

static uint8_t code_of(enum amqp10_own own, struct mb_slice bytes)
{
    return own == AMQP10_OWN_ID && mb_utf8_valid(bytes) ? MB_CODE_STRING8 : MB_CODE_BINARY8;
}

static void put_carrier(struct mb_text *out, enum amqp10_own own, struct mb_slice bytes)
{
    static const struct mb_slice names[] = {
        [AMQP10_OWN_META] = {AMQP10_NAME_META, sizeof AMQP10_NAME_META - 1},
        [AMQP10_OWN_PATH] = {AMQP10_NAME_PATH, sizeof AMQP10_NAME_PATH - 1},
        [AMQP10_OWN_ID] = {AMQP10_NAME_ID, sizeof AMQP10_NAME_ID - 1},
        [AMQP10_OWN_KEY] = {AMQP10_NAME_KEY, sizeof AMQP10_NAME_KEY - 1},
    };

    put_bytes(out, MB_CODE_SYMBOL8, names[own]);
    if (bytes.data == NULL)
        put_u8(out, MB_CODE_NULL);
    else
        put_bytes(out, code_of(own, bytes), bytes);
}

/* One that the message has already: in its place, with what is carried now. */
static void put_bridge_header(struct mb_text *out, const struct mb_header *header,
                              struct carriers *carriers)
{
    enum amqp10_own own = amqp10_own_of(header->name, header->name_type, &header->value);

    put_name(out, header);
    if (own == AMQP10_OWN_NONE || own == AMQP10_OWN_KEY || carriers->bytes[own].data == NULL) {
        put_value(out, &header->value);
        return;
    }
    put_bytes(out, code_of(own, carriers->bytes[own]), carriers->bytes[own]);
    carriers->bytes[own] = MB_SLICE_NULL;
}

static void put_annotations(struct mb_text *out, const struct mb_carried *carried)
{
    const struct mb_message *message = carried->message;
    struct carriers carriers = {
        .bytes = {[AMQP10_OWN_META] = carried->sidecar, [AMQP10_OWN_ID] = carried->id}};
    size_t before = out->size;
    size_t start = begin(out, AMQP10_MESSAGE_ANNOTATIONS, MB_CODE_MAP8);
    uint64_t count = 0;

    if (carried->path_size > 0)
        carriers.bytes[AMQP10_OWN_PATH] = (struct mb_slice){carried->path, carried->path_size};
    for (uint32_t i = 0; i < message->headers_count; i++) {
        const struct mb_header *header = &message->headers[i];

        if (header->section == MB_SECTION_MESSAGE_ANNOTATIONS) {
            put_name(out, header);
            put_value(out, &header->value);
        } else if (header->section == MB_SECTION_BRIDGE && carried->verbatim) {
            put_bridge_header(out, header, &carriers);
        } else {
            continue;
        }
        count += 2;
    }
    for (enum amqp10_own own = AMQP10_OWN_META; own < AMQP10_OWN_KEY; own++) {
        if (carriers.bytes[own].data == NULL)
            continue;
        put_carrier(out, own, carriers.bytes[own]);
        count += 2;
    }
    if (message->present & MB_HAS_KEY) {
        put_carrier(out, AMQP10_OWN_KEY, message->key);
        count += 2;
    }
    if (count == 0)
        out->size = before;
    else
        end(out, start, count);
}

/* All headers of one section, as a map; nothing if there are none. own: one more, a string, instead
 * of what has its name; or name null. */
static void put_map(struct mb_text *out, enum amqp10_section section,
                    const struct mb_message *message, enum mb_section wanted,
                    struct mb_slice own_name, struct mb_slice own_value)
{
    size_t start = 0;
    uint64_t count = 0;

    for (uint32_t i = 0; i < message->headers_count; i++) {
        const struct mb_header *header = &message->headers[i];

        if (header->section != wanted ||
            (own_name.data != NULL && mb_slice_equal(header->name, own_name)))
            continue;
        if (count == 0)
            start = begin(out, section, MB_CODE_MAP8);
        put_name(out, header);
        put_value(out, &header->value);
        count += 2;
    }
    if (own_name.data != NULL) {
        if (count == 0)
            start = begin(out, section, MB_CODE_MAP8);
        put_bytes(out, MB_CODE_STRING8, own_name);
        put_bytes(out, MB_CODE_STRING8, own_value);
        count += 2;
    }
    if (count > 0)
        end(out, start, count);
}

static void put_body(struct mb_text *out, const struct mb_message *message)
{
    const struct mb_value *value = &message->body_value;
    enum amqp10_section section = AMQP10_VALUE;

    switch ((enum mb_body_kind)message->body_kind) {
    case MB_BODY_BYTES:
        put_section(out, AMQP10_DATA);
        put_bytes(out, MB_CODE_BINARY8, message->body);
        return;
    case MB_BODY_NULL:
        put_section(out, AMQP10_VALUE);
        put_u8(out, MB_CODE_NULL);
        return;
    case MB_BODY_MULTI_DATA:
        section = AMQP10_DATA;
        break;
    case MB_BODY_SEQUENCE:
        section = AMQP10_SEQUENCE;
        break;
    case MB_BODY_VALUE:
    case MB_BODY_PAIRS:
        put_section(out, AMQP10_VALUE);
        put_value(out, value);
        return;
    }
    for (uint32_t i = 0; i < value->as.items.count && !out->failed; i++) {
        put_section(out, section);
        put_value(out, &value->as.items.values[i]);
    }
}

static bool has_form(const struct mb_value *value)
{
    struct mb_text text = {.max_size = UINT32_MAX};
    bool has;

    mb_types_write(&text, value);
    has = !text.failed || text.memory_out;
    mb_text_release(&text);
    return has;
}

/* Why it did not become bytes. */
static enum mb_status refuse(const struct mb_message *message, struct mb_text *out, size_t start,
                             struct mb_error *err)
{
    bool has = has_form(&message->body_value);

    out->size = start;
    if (out->memory_out)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    out->failed = false; /* the next message finds a text that takes it */
    for (uint32_t i = 0; i < message->headers_count && has; i++)
        has = has_form(&message->headers[i].value);
    if (!has)
        return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "value",
                            "a value of the message has no form in AMQP 1.0");
    return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "size",
                        "the message takes more than %zu bytes in AMQP 1.0", out->max_size - start);
}

enum mb_status amqp10_encode(const struct amqp10_encoding *encoding, const struct mb_outgoing *item,
                             const struct mb_carried *carried, struct mb_text *out,
                             struct mb_error *err)
{
    const struct mb_message *message = carried->message;
    struct mb_slice to = MB_SLICE_NULL;
    size_t start = out->size;

    if (encoding->to_from_slot >= 0)
        to = item->names[encoding->to_from_slot];
    if ((message->present & MB_HAS_TO) && mb_slice_equal(to, mb_properties_of(message)->to))
        to = MB_SLICE_NULL;
    put_header(out, message);
    put_annotations(out, carried);
    if (carried->verbatim && message->raw_kind == MB_RAW_AMQP10_BARE && to.data == NULL &&
        encoding->own_name.data == NULL) {
        mb_text_add(out, message->raw.data, message->raw.size);
    } else {
        put_properties(out, message, to);
        put_map(out, AMQP10_APPLICATION_PROPERTIES, message, MB_SECTION_APPLICATION,
                encoding->own_name, encoding->own_value);
        put_body(out, message);
    }
    put_map(out, AMQP10_FOOTER, message, MB_SECTION_FOOTER, MB_SLICE_NULL, MB_SLICE_NULL);
    return out->failed ? refuse(message, out, start, err) : MB_OK;
}
