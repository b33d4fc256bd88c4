/* SPDX-License-Identifier: Apache-2.0 */
/* Wire → envelope. */
#include "amqp10_map_wire.h"

#include <inttypes.h>
#include <kit/field.h>
#include <kit/provenance.h>
#include <kit/types.h>

#define OWN_PREFIX      "x-opt-mbridge-"
#define OWN_PREFIX_SIZE (sizeof OWN_PREFIX - 1)
#define FAULT_SIZE      200

static const struct {
    const char *symbol;
    const char *name;
} section_names[] = {
    [AMQP10_HEADER - AMQP10_HEADER] = {"amqp:header:list", "header"},
    [AMQP10_DELIVERY_ANNOTATIONS -
        AMQP10_HEADER] = {"amqp:delivery-annotations:map", "delivery-annotations"},
    [AMQP10_MESSAGE_ANNOTATIONS -
        AMQP10_HEADER] = {"amqp:message-annotations:map", "message-annotations"},
    [AMQP10_PROPERTIES - AMQP10_HEADER] = {"amqp:properties:list", "properties"},
    [AMQP10_APPLICATION_PROPERTIES -
        AMQP10_HEADER] = {"amqp:application-properties:map", "application-properties"},
    [AMQP10_DATA - AMQP10_HEADER] = {"amqp:data:binary", "data"},
    [AMQP10_SEQUENCE - AMQP10_HEADER] = {"amqp:amqp-sequence:list", "amqp-sequence"},
    [AMQP10_VALUE - AMQP10_HEADER] = {"amqp:amqp-value:*", "amqp-value"},
    [AMQP10_FOOTER - AMQP10_HEADER] = {"amqp:footer:map", "footer"},
};

#define SECTIONS_COUNT (sizeof section_names / sizeof section_names[0])

struct decoder {
    struct mb_types_reader reader;
    struct mb_arena *arena;
    struct mb_message *message;
    struct mb_header *headers;
    uint32_t headers_count;
    unsigned last;    /* section, 0: none yet */
    size_t bare;      /* where the bare message begins, behind the end: nowhere yet */
    size_t bare_end;  /* … and where the footer does */
    size_t body;      /* where its first section begins */
    unsigned body_is; /* which section; 0: none */
    uint32_t body_sections_count;
    const char *fault; /* what is wrong with the section `last` */
};

static enum mb_status malformed(struct decoder *decoder, const char *fault)
{
    decoder->fault = fault;
    return MB_REJECTED;
}

static bool is_bytes(const struct mb_value *value)
{
    return value->type == MB_BINARY || value->type == MB_STRING || value->type == MB_SYMBOL;
}

enum amqp10_own amqp10_own_of(struct mb_slice name, uint8_t name_type, const struct mb_value *value)
{
    enum amqp10_own own = AMQP10_OWN_NONE;

    if (name.size < sizeof AMQP10_NAME_ID - 1 || name.size > sizeof AMQP10_NAME_META - 1 ||
        name_type == MB_U64 || memcmp(name.data, OWN_PREFIX, OWN_PREFIX_SIZE) != 0)
        return AMQP10_OWN_NONE;
    if (mb_slice_equal(name, MB_SLICE_LITERAL(AMQP10_NAME_META)))
        own = AMQP10_OWN_META;
    else if (mb_slice_equal(name, MB_SLICE_LITERAL(AMQP10_NAME_PATH)))
        own = AMQP10_OWN_PATH;
    else if (mb_slice_equal(name, MB_SLICE_LITERAL(AMQP10_NAME_ID)))
        own = AMQP10_OWN_ID;
    else if (mb_slice_equal(name, MB_SLICE_LITERAL(AMQP10_NAME_KEY)))
        own = AMQP10_OWN_KEY;
    if (is_bytes(value) || (own == AMQP10_OWN_KEY && value->type == MB_NULL))
        return own;
    return AMQP10_OWN_NONE;
}

/* A descriptor: ulong in either form that has room for it, or the symbol. 0: none of ours. */
static unsigned read_descriptor(struct mb_types_reader *reader)
{
    const unsigned char *at = reader->data + reader->at;
    struct mb_value descriptor;

    if (reader->size - reader->at >= 3 && at[0] == 0 && at[1] == 0x53) {
        reader->at += 3;
        return at[2];
    }
    if (reader->size - reader->at < 2 || at[0] != 0 || at[1] == 0)
        return 0;
    reader->at++;
    memset(&descriptor, 0, sizeof descriptor);
    if (mb_types_read(reader, NULL, &descriptor) != MB_OK)
        return 0;
    if (descriptor.type == MB_U64 && descriptor.as.u <= AMQP10_FOOTER)
        return (unsigned)descriptor.as.u;
    for (unsigned i = 0; i < SECTIONS_COUNT && descriptor.type == MB_SYMBOL; i++) {
        if (mb_slice_equal(descriptor.as.bytes, mb_slice_text(section_names[i].symbol)))
            return AMQP10_HEADER + i;
    }
    return 0;
}

/* Each takes a field if it has the type that belongs there. */

static bool take_bool(struct mb_message *message, uint32_t field, const struct mb_value *value,
                      bool *ret_bool)
{
    if (value->type != MB_BOOL)
        return false;
    *ret_bool = value->as.b;
    message->present |= field;
    return true;
}

static bool take_number(struct mb_message *message, uint32_t field, const struct mb_value *value,
                        enum mb_type type, uint32_t *ret_number)
{
    if (value->type != type)
        return false;
    *ret_number = (uint32_t)value->as.u;
    message->present |= field;
    return true;
}

static bool take_time(struct mb_message *message, uint32_t field, const struct mb_value *value,
                      int64_t *ret_time_ms)
{
    if (value->type != MB_TIMESTAMP_MS)
        return false;
    *ret_time_ms = value->as.i;
    message->present |= field;
    return true;
}

/* Senders take strings for symbols and the reverse, and have strings that are no UTF-8. What they
 * meant is clear; the raw bytes keep it as it was. */
static bool take_bytes(struct mb_message *message, uint32_t field, const struct mb_value *value,
                       struct mb_slice *ret_slice)
{
    if (!is_bytes(value))
        return false;
    *ret_slice = value->as.bytes;
    message->present |= field;
    return true;
}

static bool take_id(struct mb_message *message, uint32_t field, const struct mb_value *value,
                    struct mb_id *id)
{
    message->present |= field;
    switch (value->type) {
    case MB_STRING:
        *id = (struct mb_id){.kind = MB_ID_STRING, .bytes = value->as.bytes};
        return true;
    case MB_BINARY:
        *id = (struct mb_id){.kind = MB_ID_BINARY, .bytes = value->as.bytes};
        return true;
    case MB_UUID:
        *id = (struct mb_id){.kind = MB_ID_UUID, .bytes = value->as.bytes};
        return true;
    case MB_U64:
        *id = (struct mb_id){.kind = MB_ID_ULONG, .number = value->as.u};
        return true;
    default:
        return false;
    }
}

static bool set_header_field(struct decoder *decoder, uint32_t place, const struct mb_value *value)
{
    struct mb_message *message = decoder->message;
    uint32_t number;
    bool good;

    switch ((enum amqp10_header_place)place) {
    case AMQP10_HEADER_DURABLE:
        return take_bool(message, MB_HAS_DURABLE, value, &message->durable);
    case AMQP10_HEADER_PRIORITY:
        good = take_number(message, MB_HAS_PRIORITY, value, MB_U8, &number);
        if (good)
            message->priority = (uint8_t)number;
        return good;
    case AMQP10_HEADER_TTL:
        good = take_number(message, MB_HAS_TTL, value, MB_U32, &number);
        if (good)
            message->ttl_ms = number;
        return good;
    case AMQP10_HEADER_FIRST_ACQUIRER: /* hop-local */
        return value->type == MB_BOOL;
    case AMQP10_HEADER_DELIVERY_COUNT:
        good = take_number(message, 0, value, MB_U32, &message->delivery_count);
        if (good)
            message->redelivered = message->delivery_count > 0;
        return good;
    case AMQP10_HEADER_PLACES:
        break;
    }
    return false;
}

static bool set_property(struct decoder *decoder, uint32_t place, const struct mb_value *value)
{
    struct mb_message *message = decoder->message;
    struct mb_properties *properties = message->properties;

    switch ((enum amqp10_property_place)place) {
    case AMQP10_PROPERTY_MESSAGE_ID:
        return take_id(message, MB_HAS_MESSAGE_ID, value, &properties->message_id);
    case AMQP10_PROPERTY_USER_ID:
        return take_bytes(message, MB_HAS_USER_ID, value, &properties->user_id);
    case AMQP10_PROPERTY_TO:
        return take_bytes(message, MB_HAS_TO, value, &properties->to);
    case AMQP10_PROPERTY_SUBJECT:
        return take_bytes(message, MB_HAS_SUBJECT, value, &properties->subject);
    case AMQP10_PROPERTY_REPLY_TO:
        return take_bytes(message, MB_HAS_REPLY_TO, value, &properties->reply_to);
    case AMQP10_PROPERTY_CORRELATION_ID:
        return take_id(message, MB_HAS_CORRELATION_ID, value, &properties->correlation_id);
    case AMQP10_PROPERTY_CONTENT_TYPE:
        return take_bytes(message, MB_HAS_CONTENT_TYPE, value, &properties->content_type);
    case AMQP10_PROPERTY_CONTENT_ENCODING:
        return take_bytes(message, MB_HAS_CONTENT_ENCODING, value, &properties->content_encoding);
    case AMQP10_PROPERTY_ABSOLUTE_EXPIRY:
        return take_time(message, MB_HAS_EXPIRES_AT, value, &message->expires_at_ms);
    case AMQP10_PROPERTY_CREATION_TIME:
        message->timestamp_kind = MB_TIMESTAMP_CREATE;
        return take_time(message, MB_HAS_TIMESTAMP, value, &message->timestamp_ms);
    case AMQP10_PROPERTY_GROUP_ID:
        return take_bytes(message, MB_HAS_GROUP_ID, value, &properties->group_id);
    case AMQP10_PROPERTY_GROUP_SEQUENCE:
        return take_number(message, MB_HAS_GROUP_SEQUENCE, value, MB_U32,
                           &properties->group_sequence);
    case AMQP10_PROPERTY_REPLY_TO_GROUP_ID:
        return take_bytes(message, MB_HAS_REPLY_TO_GROUP_ID, value, &properties->reply_to_group_id);
    case AMQP10_PROPERTY_PLACES:
        break;
    }
    return false;
}

static enum mb_status read_list(struct decoder *decoder, uint32_t places,
                                bool (*set)(struct decoder *decoder, uint32_t place,
                                            const struct mb_value *value))
{
    struct mb_types_reader items;
    struct mb_value value;
    uint32_t count;
    uint8_t type;

    if (mb_types_open(&decoder->reader, &items, &type, &count) != MB_OK || type != MB_LIST)
        return malformed(decoder, "is no list");
    if (count > places)
        return malformed(decoder, "has more fields than AMQP 1.0 knows");
    for (uint32_t i = 0; i < count; i++) {
        enum mb_status status = mb_types_read(&items, decoder->arena, &value);

        if (status == MB_NO_MEMORY)
            return status;
        if (status != MB_OK)
            return malformed(decoder, "holds a value that is malformed");
        if (value.type != MB_NULL && !set(decoder, i, &value))
            return malformed(decoder, "holds a field of the wrong type");
    }
    if (items.at != items.size)
        return malformed(decoder, "has bytes behind its last field");
    decoder->reader.bare_count = items.bare_count;
    return MB_OK;
}

/* The list of headers with room for count more. */
static bool extend_headers(struct decoder *decoder, uint32_t count)
{
    struct mb_header *headers;

    headers =
        mb_arena_alloc(decoder->arena, ((size_t)decoder->headers_count + count) * sizeof *headers);
    if (headers == NULL)
        return false;
    if (decoder->headers_count > 0)
        memcpy(headers, decoder->headers, decoder->headers_count * sizeof *headers);
    decoder->headers = headers;
    return true;
}

static enum mb_status read_name(struct decoder *decoder, struct mb_types_reader *items,
                                struct mb_header *header)
{
    struct mb_value name;
    char digits[24];
    enum mb_status status = mb_types_read(items, decoder->arena, &name);

    if (status == MB_NO_MEMORY)
        return status;
    if (status != MB_OK)
        return malformed(decoder, "holds a key that is malformed");
    header->name_type = name.type;
    if (is_bytes(&name)) {
        header->name = name.as.bytes;
        return MB_OK;
    }
    if (name.type != MB_U64)
        return malformed(decoder, "holds a key that is neither text nor ulong");
    snprintf(digits, sizeof digits, "%" PRIu64, name.as.u);
    header->name = mb_slice_copy(decoder->arena, mb_slice_text(digits));
    return header->name.data != NULL ? MB_OK : MB_NO_MEMORY;
}

/* Takes what is the bridge's own. false: the annotation does not stay in the list. */
static bool take_own(struct mb_message *message, struct mb_header *header)
{
    struct mb_slice bytes = header->value.as.bytes;

    switch (amqp10_own_of(header->name, header->name_type, &header->value)) {
    case AMQP10_OWN_NONE:
        return true;
    case AMQP10_OWN_META:
        message->sidecar = bytes;
        break;
    case AMQP10_OWN_PATH:
        mb_path_read(bytes, message); /* a malformed one counts as absent */
        break;
    case AMQP10_OWN_ID:
        message->stable_id = bytes;
        break;
    case AMQP10_OWN_KEY:
        message->key = header->value.type == MB_NULL ? MB_SLICE_NULL : bytes;
        message->present |= MB_HAS_KEY;
        return false;
    }
    header->section = MB_SECTION_BRIDGE;
    return true;
}

static enum mb_status read_map(struct decoder *decoder, enum mb_section section)
{
    struct mb_types_reader items;
    uint32_t count;
    uint8_t type;

    if (mb_types_open(&decoder->reader, &items, &type, &count) != MB_OK || type != MB_MAP)
        return malformed(decoder, "is no map");
    if (count > 0 && !extend_headers(decoder, count / 2))
        return MB_NO_MEMORY;
    for (uint32_t i = 0; i < count; i += 2) {
        struct mb_header *header = &decoder->headers[decoder->headers_count];
        enum mb_status status = read_name(decoder, &items, header);

        if (status != MB_OK)
            return status;
        status = mb_types_read(&items, decoder->arena, &header->value);
        if (status == MB_NO_MEMORY)
            return status;
        if (status != MB_OK)
            return malformed(decoder, "holds a value that is malformed");
        header->section = (uint8_t)section;
        if (section != MB_SECTION_MESSAGE_ANNOTATIONS || take_own(decoder->message, header))
            decoder->headers_count++;
    }
    if (items.at != items.size)
        return malformed(decoder, "has bytes behind its last value");
    decoder->reader.bare_count = items.bare_count;
    return MB_OK;
}

/* Several sections are built when their number is known. */
static enum mb_status read_body(struct decoder *decoder, size_t start)
{
    struct mb_message *message = decoder->message;
    struct mb_value value;
    enum mb_status status;

    if (decoder->body_sections_count++ == 0)
        decoder->body = start;
    decoder->body_is = decoder->last;
    if (decoder->last == AMQP10_SEQUENCE) {
        memset(&value, 0, sizeof value);
        status = mb_types_read(&decoder->reader, NULL, &value);
    } else {
        status = mb_types_read(&decoder->reader, decoder->arena, &value);
    }
    if (status == MB_NO_MEMORY)
        return status;
    if (status != MB_OK)
        return malformed(decoder, "holds a value that is malformed");
    if (decoder->last == AMQP10_DATA && value.type != MB_BINARY)
        return malformed(decoder, "is no binary");
    if (decoder->last == AMQP10_SEQUENCE && value.type != MB_LIST)
        return malformed(decoder, "is no list");
    if (decoder->last == AMQP10_DATA)
        message->body = value.as.bytes;
    else if (decoder->last == AMQP10_VALUE)
        message->body_value = value;
    return MB_OK;
}

static enum mb_status read_section(struct decoder *decoder, size_t start)
{
    if (decoder->last >= AMQP10_PROPERTIES && decoder->last < AMQP10_FOOTER &&
        decoder->bare > start)
        decoder->bare = start;
    switch ((enum amqp10_section)decoder->last) {
    case AMQP10_HEADER:
        return read_list(decoder, AMQP10_HEADER_PLACES, set_header_field);
    case AMQP10_DELIVERY_ANNOTATIONS: /* hop-local */
        if (mb_types_skip(&decoder->reader) != MB_OK)
            return malformed(decoder, "is malformed");
        return MB_OK;
    case AMQP10_MESSAGE_ANNOTATIONS:
        return read_map(decoder, MB_SECTION_MESSAGE_ANNOTATIONS);
    case AMQP10_PROPERTIES:
        if (!mb_properties_own(decoder->message, decoder->arena))
            return MB_NO_MEMORY;
        return read_list(decoder, AMQP10_PROPERTY_PLACES, set_property);
    case AMQP10_APPLICATION_PROPERTIES:
        return read_map(decoder, MB_SECTION_APPLICATION);
    case AMQP10_DATA:
    case AMQP10_SEQUENCE:
    case AMQP10_VALUE:
        return read_body(decoder, start);
    case AMQP10_FOOTER:
        decoder->bare_end = start;
        return read_map(decoder, MB_SECTION_FOOTER);
    }
    return malformed(decoder, "is none of AMQP 1.0");
}

/* Sections come in one order, each at most once, but for data and sequences, which repeat. */
static bool may_follow(const struct decoder *decoder, unsigned section)
{
    if (decoder->body_is != 0 && section < AMQP10_FOOTER)
        return section == decoder->body_is && section != AMQP10_VALUE &&
               decoder->last == decoder->body_is;
    return section > decoder->last;
}

static enum mb_status read_sections(struct decoder *decoder)
{
    enum mb_status status = MB_OK;

    while (status == MB_OK && decoder->reader.at < decoder->reader.size) {
        size_t start = decoder->reader.at;
        unsigned section = read_descriptor(&decoder->reader);

        if (section < AMQP10_HEADER || section > AMQP10_FOOTER) {
            decoder->last = 0;
            return malformed(decoder, "a section is expected here");
        }
        if (!may_follow(decoder, section)) {
            decoder->last = section;
            return malformed(decoder, "cannot stand here");
        }
        decoder->last = section;
        status = read_section(decoder, start);
    }
    if (status == MB_OK && decoder->last == 0)
        return malformed(decoder, "there is no section at all");
    return status;
}

static enum mb_status join_data(struct mb_message *message, struct mb_arena *arena)
{
    const struct mb_value *parts = message->body_value.as.items.values;
    unsigned char *joined;
    size_t size = 0;

    for (uint32_t i = 0; i < message->body_value.as.items.count; i++)
        size += parts[i].as.bytes.size;
    joined = mb_arena_alloc(arena, size);
    if (joined == NULL)
        return MB_NO_MEMORY;
    message->body = (struct mb_slice){joined, size};
    for (uint32_t i = 0; i < message->body_value.as.items.count; i++) {
        memcpy(joined, parts[i].as.bytes.data, parts[i].as.bytes.size);
        joined += parts[i].as.bytes.size;
    }
    return MB_OK;
}

/* The sections of the body, which have been checked, as a list. */
static enum mb_status list_body(struct decoder *decoder)
{
    struct mb_types_reader reader = {
        .data = decoder->reader.data, .size = decoder->bare_end, .at = decoder->body};
    struct mb_value *list =
        mb_arena_alloc(decoder->arena, decoder->body_sections_count * sizeof *list);

    if (list == NULL)
        return MB_NO_MEMORY;
    for (uint32_t i = 0; i < decoder->body_sections_count; i++) {
        enum mb_status status;

        read_descriptor(&reader);
        status = mb_types_read(&reader, decoder->arena, &list[i]);
        if (status != MB_OK)
            return status;
    }
    decoder->message->body_value.type = MB_LIST;
    decoder->message->body_value.as.items.values = list;
    decoder->message->body_value.as.items.count = decoder->body_sections_count;
    decoder->message->body_value.as.items.element = MB_NULL;
    return MB_OK;
}

static enum mb_status finish_body(struct decoder *decoder)
{
    struct mb_message *message = decoder->message;
    enum mb_status status = MB_OK;

    switch (decoder->body_is) {
    case AMQP10_DATA:
        message->body_kind = MB_BODY_BYTES;
        if (decoder->body_sections_count == 1)
            return MB_OK;
        message->body_kind = MB_BODY_MULTI_DATA;
        status = list_body(decoder);
        return status == MB_OK ? join_data(message, decoder->arena) : status;
    case AMQP10_SEQUENCE:
        message->body_kind = MB_BODY_SEQUENCE;
        return list_body(decoder);
    case AMQP10_VALUE:
        message->body_kind = message->body_value.type == MB_NULL ? MB_BODY_NULL : MB_BODY_VALUE;
        return MB_OK;
    default: /* no body section: libraries send that for a message without a body */
        message->body_kind = MB_BODY_NULL;
        return MB_OK;
    }
}

/* What had been decoded before the fault is not the message. */
static void forget(struct mb_message *message)
{
    message->present = 0;
    message->properties = NULL;
    message->key = MB_SLICE_NULL;
    message->body_kind = MB_BODY_BYTES;
    memset(&message->body_value, 0, sizeof message->body_value);
    message->headers = NULL;
    message->headers_count = 0;
    message->path_count = 0;
    message->sidecar = MB_SLICE_NULL;
    message->stable_id = MB_SLICE_NULL;
    message->raw_kind = MB_RAW_NONE;
    message->raw = MB_SLICE_NULL;
}

static enum mb_status reject(const struct decoder *decoder, struct mb_slice bytes)
{
    struct mb_message *message = decoder->message;
    const char *section = "";
    char *text = mb_arena_alloc(decoder->arena, FAULT_SIZE);

    if (text == NULL)
        return MB_NO_MEMORY;
    if (decoder->last != 0)
        section = section_names[decoder->last - AMQP10_HEADER].name;
    snprintf(text, FAULT_SIZE, "no AMQP 1.0 message: %s%s%s (at byte %zu of %zu)", section,
             section[0] != '\0' ? " " : "", decoder->fault, decoder->reader.at, bytes.size);
    forget(message);
    message->body = bytes;
    message->reject_reason = "malformed";
    message->reject_text = text;
    return MB_OK;
}

enum mb_status amqp10_decode(struct mb_slice bytes, struct mb_arena *arena,
                             struct mb_message *message, uint64_t *ret_bytes)
{
    struct decoder decoder = {.reader = {.data = bytes.data, .size = bytes.size},
                              .arena = arena,
                              .message = message,
                              .bare = bytes.size,
                              .bare_end = bytes.size,
                              .fault = ""};
    enum mb_status status;

    *ret_bytes = bytes.size;
    status = read_sections(&decoder);
    if (status == MB_OK)
        status = finish_body(&decoder);
    if (status == MB_REJECTED)
        return reject(&decoder, bytes);
    if (status != MB_OK)
        return status;
    message->headers = decoder.headers;
    message->headers_count = decoder.headers_count;
    if (decoder.bare < decoder.bare_end) {
        message->raw_kind = MB_RAW_AMQP10_BARE;
        message->raw =
            (struct mb_slice){decoder.reader.data + decoder.bare, decoder.bare_end - decoder.bare};
    }
    return MB_OK;
}
