/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/field.h"

#include "kit/text.h"

static const struct field_name {
    uint64_t bit;
    const char *name;
    size_t size;
} field_names[] = {
#define NAMED(bit, text)                                                                           \
    {                                                                                              \
        bit, text, sizeof(text) - 1                                                                \
    }
    NAMED(MB_HAS_KEY, "key"),
    NAMED(MB_HAS_MESSAGE_ID, "message-id"),
    NAMED(MB_HAS_CORRELATION_ID, "correlation-id"),
    NAMED(MB_HAS_CONTENT_TYPE, "content-type"),
    NAMED(MB_HAS_CONTENT_ENCODING, "content-encoding"),
    NAMED(MB_HAS_SUBJECT, "subject"),
    NAMED(MB_HAS_TO, "to"),
    NAMED(MB_HAS_REPLY_TO, "reply-to"),
    NAMED(MB_HAS_GROUP_ID, "group-id"),
    NAMED(MB_HAS_GROUP_SEQUENCE, "group-sequence"),
    NAMED(MB_HAS_REPLY_TO_GROUP_ID, "reply-to-group-id"),
    NAMED(MB_HAS_USER_ID, "user-id"),
    NAMED(MB_HAS_APP_ID, "app-id"),
    NAMED(MB_HAS_EXCHANGE, "exchange"),
    NAMED(MB_HAS_ROUTING_KEY, "routing-key"),
    NAMED(MB_HAS_TIMESTAMP, "timestamp"),
    NAMED(MB_HAS_TTL, "ttl"),
    NAMED(MB_HAS_EXPIRES_AT, "absolute-expiry"),
    NAMED(MB_HAS_DURABLE, "durable"),
    NAMED(MB_HAS_PRIORITY, "priority"),
    NAMED(MB_LOST_BODY, "body"),
    NAMED(MB_LOST_HEADERS, "headers"),
    NAMED(MB_LOST_ANNOTATIONS, "annotations"),
    NAMED(MB_LOST_FOOTER, "footer"),
    NAMED(MB_LOST_PROPERTY, "other-property"),
#undef NAMED
};

#define FIELDS_COUNT (sizeof field_names / sizeof field_names[0])
#define LOST_AT      20u /* the row of MB_LOST_BODY */

/* The rows stand in the order of their bits, which have one gap. */
static const struct field_name *row_of(uint64_t bit)
{
    size_t at = bit != 0 ? (size_t)__builtin_ctzll(bit) : FIELDS_COUNT;

    if (bit >= MB_LOST_BODY)
        at = at - (size_t)__builtin_ctzll(MB_LOST_BODY) + LOST_AT;
    return at < FIELDS_COUNT && field_names[at].bit == bit ? &field_names[at] : NULL;
}

const char *mb_field_name(uint64_t bit)
{
    const struct field_name *row = row_of(bit);

    return row != NULL ? row->name : NULL;
}

struct mb_slice mb_field_text(uint64_t bit)
{
    const struct field_name *row = row_of(bit);

    return row != NULL ? (struct mb_slice){row->name, row->size} : MB_SLICE_NULL;
}

uint64_t mb_field_of(struct mb_slice name)
{
    for (size_t i = 0; i < FIELDS_COUNT; i++) {
        if (field_names[i].size == name.size &&
            memcmp(field_names[i].name, name.data, name.size) == 0)
            return field_names[i].bit;
    }
    return 0;
}

/* The size decides for almost all names: a header costs one comparison at most. */
static uint32_t promoted_field(struct mb_slice name)
{
    switch (name.size) {
    case 7:
        return memcmp(name.data, "subject", 7) == 0 ? MB_HAS_SUBJECT : 0;
    case 10:
        return memcmp(name.data, "message-id", 10) == 0 ? MB_HAS_MESSAGE_ID : 0;
    case 12:
        return memcmp(name.data, "content-type", 12) == 0 ? MB_HAS_CONTENT_TYPE : 0;
    case 14:
        return memcmp(name.data, "correlation-id", 14) == 0 ? MB_HAS_CORRELATION_ID : 0;
    case 16:
        return memcmp(name.data, "content-encoding", 16) == 0 ? MB_HAS_CONTENT_ENCODING : 0;
    default:
        return 0;
    }
}

bool mb_properties_own(struct mb_message *message, struct mb_arena *arena)
{
    struct mb_properties *own = mb_arena_alloc(arena, sizeof *own);

    if (own == NULL)
        return false;
    *own = *mb_properties_of(message);
    message->properties = own;
    return true;
}

bool mb_field_promote(struct mb_message *message, const struct mb_header *header,
                      struct mb_arena *arena)
{
    struct mb_slice text = header->value.as.bytes;
    uint32_t field;

    if (header->value.type != MB_STRING || header->section != MB_SECTION_APPLICATION)
        return true;
    field = promoted_field(header->name);
    if (field == 0)
        return true;
    if (message->properties == NULL && !mb_properties_own(message, arena))
        return false;
    message->present |= field;
    switch (field) {
    case MB_HAS_SUBJECT:
        message->properties->subject = text;
        break;
    case MB_HAS_MESSAGE_ID:
        message->properties->message_id = (struct mb_id){.kind = MB_ID_STRING, .bytes = text};
        break;
    case MB_HAS_CONTENT_TYPE:
        message->properties->content_type = text;
        break;
    case MB_HAS_CORRELATION_ID:
        message->properties->correlation_id = (struct mb_id){.kind = MB_ID_STRING, .bytes = text};
        break;
    case MB_HAS_CONTENT_ENCODING:
        message->properties->content_encoding = text;
        break;
    default:
        break;
    }
    return true;
}
