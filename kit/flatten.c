/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/flatten.h"

#include "kit/field.h"
#include "kit/types.h"
#include "kit/utf8.h"

#define FIELDS_MAX  20u
#define SCALAR_SIZE 320u /* the longest text of a value without items: a decimal of scale 255 */

struct list {
    struct mb_header *headers;
    uint32_t count;
    struct mb_scratch *scratch;
    bool no_memory;
};

/* Bytes as a platform of bytes reads them back. known_utf8: only a NUL can make it binary. */
static struct mb_value as_text(struct mb_slice bytes, bool known_utf8)
{
    struct mb_value value = {.type = MB_STRING, .as.bytes = bytes};

    if (bytes.data == NULL)
        value.as.bytes.data = "";
    else if (known_utf8 ? memchr(bytes.data, '\0', bytes.size) != NULL
                        : !mb_utf8_valid_without_nul(bytes))
        value.type = MB_BINARY;
    return value;
}

static bool copy_text(struct list *list, const struct mb_text *text, struct mb_slice *ret_copy)
{
    struct mb_slice bytes = {text->data != NULL ? text->data : "", text->size};

    *ret_copy = mb_slice_copy(&list->scratch->arena, bytes);
    if (ret_copy->data == NULL)
        list->no_memory = true;
    return !list->no_memory;
}

/* false: there is no text of it (nested too deep), or memory is out. */
static bool flatten_items(struct list *list, const struct mb_value *value,
                          struct mb_value *ret_text)
{
    struct mb_text text = {.max_size = list->scratch->size_max};
    struct mb_slice copy;
    bool good;

    mb_text_value(&text, value, NULL);
    list->no_memory = list->no_memory || text.memory_out;
    good = !text.failed && copy_text(list, &text, &copy);
    if (good)
        *ret_text = as_text(copy, true);
    mb_text_release(&text);
    return good;
}

static bool flatten_scalar(struct list *list, const struct mb_value *value,
                           struct mb_value *ret_text)
{
    char bytes[SCALAR_SIZE];
    struct mb_text text = {.data = bytes, .capacity = sizeof bytes, .max_size = sizeof bytes};
    struct mb_slice copy;

    mb_text_value(&text, value, NULL);
    if (text.failed || !copy_text(list, &text, &copy))
        return false;
    *ret_text = as_text(copy, true);
    return true;
}

static bool flatten_value(struct list *list, const struct mb_value *value,
                          struct mb_value *ret_text)
{
    switch (value->type) {
    case MB_NULL:
        *ret_text = *value;
        return true;
    case MB_STRING:
        *ret_text = as_text(value->as.bytes, true);
        return true;
    case MB_BINARY:
    case MB_SYMBOL:
        *ret_text = as_text(value->as.bytes, false);
        return true;
    case MB_LIST:
    case MB_MAP:
    case MB_ARRAY:
    case MB_DESCRIBED:
        return flatten_items(list, value, ret_text);
    default:
        return flatten_scalar(list, value, ret_text);
    }
}

static void add(struct list *list, struct mb_slice name, const struct mb_value *value)
{
    list->headers[list->count++] = (struct mb_header){
        .name = name, .value = *value, .section = MB_SECTION_APPLICATION, .name_type = MB_STRING};
}

/* The last header of that name says this already; of a field that headers become by themselves, the
 * last one that does. */
static bool list_says(const struct list *list, struct mb_slice name, const struct mb_value *value,
                      bool promoted)
{
    for (uint32_t i = list->count; i-- > 0;) {
        const struct mb_value *other = &list->headers[i].value;

        if (!mb_slice_equal(list->headers[i].name, name) ||
            (promoted && value->type != MB_NULL && other->type != MB_STRING))
            continue;
        if (value->type == MB_NULL || other->type == MB_NULL)
            return value->type == other->type;
        return mb_slice_equal(other->as.bytes, value->as.bytes);
    }
    return false;
}

static struct mb_value value_of_id(const struct mb_id *id)
{
    switch ((enum mb_id_kind)id->kind) {
    case MB_ID_ULONG:
        return (struct mb_value){.type = MB_U64, .as.u = id->number};
    case MB_ID_UUID:
        return (struct mb_value){.type = MB_UUID, .as.bytes = id->bytes};
    case MB_ID_STRING:
    case MB_ID_BINARY:
        break;
    }
    return (struct mb_value){.type = MB_BINARY, .as.bytes = id->bytes};
}

static struct mb_value value_of_slice(struct mb_slice slice)
{
    return (struct mb_value){.type = slice.data != NULL ? MB_BINARY : MB_NULL, .as.bytes = slice};
}

static struct mb_value value_of_field(const struct mb_message *message, uint64_t field)
{
    const struct mb_properties *properties = mb_properties_of(message);

    switch (field) {
    case MB_HAS_KEY:
        return value_of_slice(message->key);
    case MB_HAS_MESSAGE_ID:
        return value_of_id(&properties->message_id);
    case MB_HAS_CORRELATION_ID:
        return value_of_id(&properties->correlation_id);
    case MB_HAS_CONTENT_TYPE:
        return value_of_slice(properties->content_type);
    case MB_HAS_CONTENT_ENCODING:
        return value_of_slice(properties->content_encoding);
    case MB_HAS_SUBJECT:
        return value_of_slice(properties->subject);
    case MB_HAS_TO:
        return value_of_slice(properties->to);
    case MB_HAS_REPLY_TO:
        return value_of_slice(properties->reply_to);
    case MB_HAS_GROUP_ID:
        return value_of_slice(properties->group_id);
    case MB_HAS_GROUP_SEQUENCE:
        return (struct mb_value){.type = MB_U32, .as.u = properties->group_sequence};
    case MB_HAS_REPLY_TO_GROUP_ID:
        return value_of_slice(properties->reply_to_group_id);
    case MB_HAS_USER_ID:
        return value_of_slice(properties->user_id);
    case MB_HAS_APP_ID:
        return value_of_slice(properties->app_id);
    case MB_HAS_EXCHANGE:
        return value_of_slice(properties->exchange);
    case MB_HAS_ROUTING_KEY:
        return value_of_slice(properties->routing_key);
    case MB_HAS_TIMESTAMP:
        return (struct mb_value){.type = MB_TIMESTAMP_MS, .as.i = message->timestamp_ms};
    case MB_HAS_TTL:
        return (struct mb_value){.type = MB_U64, .as.u = message->ttl_ms};
    case MB_HAS_EXPIRES_AT:
        return (struct mb_value){.type = MB_TIMESTAMP_MS, .as.i = message->expires_at_ms};
    case MB_HAS_DURABLE:
        return (struct mb_value){.type = MB_BOOL, .as.b = message->durable};
    case MB_HAS_PRIORITY:
        return (struct mb_value){.type = MB_U8, .as.u = message->priority};
    default:
        return (struct mb_value){.type = MB_NULL};
    }
}

static void add_field(struct list *list, const struct mb_message *message, uint64_t field)
{
    struct mb_value value = value_of_field(message, field);
    struct mb_value text;
    struct mb_slice name = mb_field_text(field);

    if (flatten_value(list, &value, &text) &&
        !list_says(list, name, &text, (field & MB_FIELDS_PROMOTED) != 0))
        add(list, name, &text);
}

enum mb_status mb_flatten_headers(const struct mb_message *message, uint64_t shown,
                                  struct mb_scratch *scratch, struct mb_message *natural)
{
    struct list list = {.scratch = scratch};
    size_t size = ((size_t)message->headers_count + FIELDS_MAX) * sizeof *list.headers;
    uint64_t fields = message->present & shown;
    struct mb_value text;

    list.headers = mb_arena_alloc(&scratch->arena, size);
    if (list.headers == NULL)
        return MB_NO_MEMORY;
    for (uint32_t i = 0; i < message->headers_count; i++) {
        const struct mb_header *header = &message->headers[i];

        if (header->section == MB_SECTION_APPLICATION &&
            flatten_value(&list, &header->value, &text))
            add(&list, header->name, &text);
    }
    for (; fields != 0; fields &= fields - 1)
        add_field(&list, message, fields & (~fields + 1));
    if (list.no_memory)
        return MB_NO_MEMORY;
    natural->headers = list.headers;
    natural->headers_count = list.count;
    natural->present &= ~(uint32_t)(MB_FIELDS_PROMOTED | shown);
    for (uint32_t i = 0; i < list.count; i++) {
        if (!mb_field_promote(natural, &list.headers[i], &scratch->arena))
            return MB_NO_MEMORY;
    }
    return MB_OK;
}

/* A JSON object needs names that are text and unique. */
static bool is_object(const struct mb_value *pairs)
{
    const struct mb_value *items = pairs->as.items.values;
    uint32_t count = pairs->as.items.count;

    if (count > 2 * 256) /* each name is compared with each other */
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!mb_utf8_valid(items[i].as.bytes))
            return false;
        for (uint32_t j = 0; i % 2 == 0 && j < i; j += 2) {
            if (mb_slice_equal(items[i].as.bytes, items[j].as.bytes))
                return false;
        }
    }
    return true;
}

static void add_pairs(struct mb_text *text, const struct mb_value *pairs)
{
    struct mb_value pair = {.type = MB_LIST, .as.items.count = 2};

    if (is_object(pairs)) {
        mb_text_json(text, pairs);
        return;
    }
    mb_text_add(text, "[", 1);
    for (uint32_t i = 0; i + 1 < pairs->as.items.count; i += 2) {
        if (i > 0)
            mb_text_add(text, ",", 1);
        pair.as.items.values = &pairs->as.items.values[i];
        mb_text_json(text, &pair);
    }
    mb_text_add(text, "]", 1);
}

static enum mb_status flatten_body_value(const struct mb_message *message,
                                         struct mb_scratch *scratch, struct mb_slice *ret_body,
                                         bool *ret_json)
{
    struct mb_text text = {.max_size = scratch->size_max};
    const struct mb_value *value = &message->body_value;
    enum mb_status status = MB_OK;

    /* One sequence section (a JMS StreamMessage) is a list to its reader, not a list of lists. */
    if (message->body_kind == MB_BODY_SEQUENCE && value->as.items.count == 1)
        value = &value->as.items.values[0];
    if (message->body_kind == MB_BODY_PAIRS)
        add_pairs(&text, value);
    else
        mb_text_json(&text, value);
    *ret_json = !text.failed;
    if (text.failed && !text.memory_out) {
        mb_text_clear(&text);
        mb_types_write(&text, value);
    }
    if (text.failed) {
        status = text.memory_out ? MB_NO_MEMORY : MB_REJECTED;
    } else {
        *ret_body = mb_slice_copy(&scratch->arena,
                                  (struct mb_slice){text.data != NULL ? text.data : "", text.size});
        if (ret_body->data == NULL)
            status = MB_NO_MEMORY;
    }
    mb_text_release(&text);
    return status;
}

enum mb_status mb_flatten_body(const struct mb_message *message, struct mb_scratch *scratch,
                               struct mb_message *natural, bool *ret_json)
{
    const struct mb_value *value = &message->body_value;
    struct mb_slice body = message->body;
    enum mb_status status = MB_OK;

    *ret_json = false;
    switch ((enum mb_body_kind)message->body_kind) {
    case MB_BODY_NULL:
        return MB_OK;
    case MB_BODY_BYTES:
    case MB_BODY_MULTI_DATA:
        break;
    case MB_BODY_VALUE:
    case MB_BODY_SEQUENCE:
    case MB_BODY_PAIRS:
        if (value->type == MB_STRING || value->type == MB_BINARY)
            body = value->as.bytes;
        else
            status = flatten_body_value(message, scratch, &body, ret_json);
        break;
    }
    if (status != MB_OK)
        return status;
    if (body.data == NULL)
        body.data = ""; /* empty, not null */
    natural->body = body;
    natural->body_kind = MB_BODY_BYTES;
    memset(&natural->body_value, 0, sizeof natural->body_value);
    return MB_OK;
}
