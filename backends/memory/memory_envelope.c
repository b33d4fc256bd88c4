/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deep copies of the envelope, into the store and out of it. A copy is one run of memory: the same
 * walk first counts its size and then fills it.
 */
#include "memory.h"

#include <stdlib.h>

/* The slices of a message; body_value and headers are walked besides. */
static const size_t message_slices[] = {
    offsetof(struct mb_message, key),       offsetof(struct mb_message, body),
    offsetof(struct mb_message, raw),       offsetof(struct mb_message, sidecar),
    offsetof(struct mb_message, stable_id),
};

static const size_t property_slices[] = {
    offsetof(struct mb_properties, message_id) + offsetof(struct mb_id, bytes),
    offsetof(struct mb_properties, correlation_id) + offsetof(struct mb_id, bytes),
    offsetof(struct mb_properties, content_type),
    offsetof(struct mb_properties, content_encoding),
    offsetof(struct mb_properties, subject),
    offsetof(struct mb_properties, to),
    offsetof(struct mb_properties, reply_to),
    offsetof(struct mb_properties, group_id),
    offsetof(struct mb_properties, reply_to_group_id),
    offsetof(struct mb_properties, user_id),
    offsetof(struct mb_properties, app_id),
    offsetof(struct mb_properties, exchange),
    offsetof(struct mb_properties, routing_key),
};

#define COUNT_OF(list) (sizeof(list) / sizeof(list)[0])

struct copier {
    unsigned char *at; /* NULL: only count */
    size_t size;
    bool too_deep;
};

/* size bytes, and those up to the next multiple of align; NULL while counting. */
static void *take(struct copier *copier, size_t size, size_t align)
{
    size_t padding = (align - copier->size % align) % align;
    void *memory = NULL;

    if (copier->at != NULL) {
        memory = copier->at + padding;
        copier->at += padding + size;
    }
    copier->size += padding + size;
    return memory;
}

static void copy_slice(struct copier *copier, struct mb_slice *slice, const struct mb_slice *from)
{
    void *memory;

    if (from->data == NULL)
        return;
    memory = take(copier, from->size > 0 ? from->size : 1, 1);
    if (memory == NULL)
        return;
    if (from->size > 0)
        memcpy(memory, from->data, from->size);
    slice->data = memory;
    slice->size = from->size;
}

/* Those of a struct that is at target (NULL while counting) as a flat copy of source. */
static void copy_slices(struct copier *copier, void *target, const void *source,
                        const size_t *offsets, size_t count)
{
    struct mb_slice unused;

    for (size_t i = 0; i < count; i++) {
        void *to = target != NULL ? (char *)target + offsets[i] : (char *)&unused;

        copy_slice(copier, to, (const void *)((const char *)source + offsets[i]));
    }
}

/* value is a flat copy of from already (or NULL while counting): what it points to follows. */
static void copy_value(struct copier *copier, struct mb_value *value, const struct mb_value *from,
                       unsigned depth)
{
    struct mb_value *items;
    struct mb_slice unused;

    switch ((enum mb_type)from->type) {
    case MB_NULL:
    case MB_BOOL:
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
    case MB_F32:
    case MB_F64:
    case MB_DECIMAL_SCALED:
    case MB_CHAR:
    case MB_TIMESTAMP_S:
    case MB_TIMESTAMP_MS:
        return;
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_UUID:
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
        copy_slice(copier, value != NULL ? &value->as.bytes : &unused, &from->as.bytes);
        return;
    case MB_LIST:
    case MB_MAP:
    case MB_ARRAY:
    case MB_DESCRIBED:
        break;
    }
    if (depth >= MEMORY_DEPTH_MAX) {
        copier->too_deep = true;
        return;
    }
    if (from->as.items.count == 0)
        return;
    items = take(copier, from->as.items.count * sizeof *items, 8);
    if (items != NULL) {
        memcpy(items, from->as.items.values, from->as.items.count * sizeof *items);
        value->as.items.values = items;
    }
    for (uint32_t i = 0; i < from->as.items.count; i++)
        copy_value(copier, items != NULL ? &items[i] : NULL, &from->as.items.values[i], depth + 1);
}

static void copy_headers(struct copier *copier, struct mb_message *message,
                         const struct mb_message *from)
{
    struct mb_header *headers;
    struct mb_slice unused;

    if (from->headers_count == 0)
        return;
    headers = take(copier, from->headers_count * sizeof *headers, 8);
    if (headers != NULL) {
        memcpy(headers, from->headers, from->headers_count * sizeof *headers);
        message->headers = headers;
    }
    for (uint32_t i = 0; i < from->headers_count; i++) {
        const struct mb_header *header = &from->headers[i];

        copy_slice(copier, headers != NULL ? &headers[i].name : &unused, &header->name);
        copy_value(copier, headers != NULL ? &headers[i].value : NULL, &header->value, 0);
    }
}

static void copy_properties(struct copier *copier, struct mb_message *message,
                            const struct mb_message *from)
{
    struct mb_properties *properties;

    if (from->properties == NULL)
        return;
    properties = take(copier, sizeof *properties, 8);
    if (properties != NULL) {
        *properties = *from->properties;
        message->properties = properties;
    }
}

/* With its NUL. */
static void copy_text(struct copier *copier, const char **text, const char *from)
{
    size_t size = from != NULL ? strlen(from) + 1 : 0;
    char *memory;

    if (from == NULL)
        return;
    memory = take(copier, size, 1);
    if (memory == NULL)
        return;
    memcpy(memory, from, size);
    *text = memory;
}

static void copy_contents(struct copier *copier, struct mb_message *message,
                          const struct mb_message *from)
{
    const char *unused_text;

    /* What has alignment goes first. */
    copy_properties(copier, message, from);
    copy_headers(copier, message, from);
    copy_value(copier, message != NULL ? &message->body_value : NULL, &from->body_value, 0);
    copy_slices(copier, message, from, message_slices, COUNT_OF(message_slices));
    if (from->properties != NULL)
        copy_slices(copier, message != NULL ? message->properties : NULL, from->properties,
                    property_slices, COUNT_OF(property_slices));
    copy_text(copier, message != NULL ? &message->reject_reason : &unused_text,
              from->reject_reason);
    copy_text(copier, message != NULL ? &message->reject_text : &unused_text, from->reject_text);
}

static size_t count_bytes(const struct mb_message *message)
{
    size_t bytes = message->key.size + message->body.size;

    for (uint32_t i = 0; i < message->headers_count; i++) {
        const struct mb_header *header = &message->headers[i];

        bytes += header->name.size;
        switch ((int)header->value.type) {
        case MB_STRING:
        case MB_BINARY:
        case MB_SYMBOL:
            bytes += header->value.as.bytes.size;
            break;
        default:
            bytes += 8;
        }
    }
    return bytes;
}

struct memory_record *memory_record_create(const struct mb_message *message,
                                           enum mb_cause *ret_cause)
{
    struct copier copier = {.at = NULL};
    struct memory_record *record;
    size_t size = message->struct_size;

    *ret_cause = MB_CAUSE_NONE;
    copy_contents(&copier, NULL, message);
    if (copier.too_deep) {
        *ret_cause = MB_CAUSE_MESSAGE;
        return NULL;
    }
    record = calloc(1, sizeof *record + copier.size);
    if (record == NULL)
        return NULL;
    record->extra_size = copier.size;
    /* The core's struct may be longer or shorter than ours: what both know is copied. */
    if (size > sizeof record->message)
        size = sizeof record->message;
    memcpy(&record->message, message, size);
    record->message.origin = NULL;
    copier = (struct copier){.at = (unsigned char *)(record + 1)};
    copy_contents(&copier, &record->message, message);
    record->bytes = count_bytes(message);
    return record;
}

void memory_record_destroy(struct memory_record *record)
{
    free(record);
}

enum mb_status memory_record_load(const struct memory_record *record, struct mb_arena *arena,
                                  struct mb_message *message)
{
    uint32_t struct_size = message->struct_size;
    const struct mb_origin *origin = message->origin;
    struct copier copier = {.at = mb_arena_alloc(arena, record->extra_size)};

    if (copier.at == NULL)
        return MB_NO_MEMORY;
    memcpy(message, &record->message,
           struct_size < sizeof *message ? struct_size : sizeof *message);
    message->struct_size = struct_size;
    message->origin = origin;
    copy_contents(&copier, message, &record->message);
    return MB_OK;
}
