/* SPDX-License-Identifier: Apache-2.0 */
/* Envelope → envelope as it will be read back from AMQP 1.0, by the tables of docs/fidelity.md. */
#include "amqp10_map_wire.h"

#include <kit/flatten.h>
#include <kit/types.h>
#include <kit/utf8.h>

#define APP_ID_NAME "app-id"

static bool is_text(struct mb_slice slice)
{
    return slice.data != NULL && mb_utf8_valid(slice);
}

static bool is_ascii(struct mb_slice slice)
{
    const unsigned char *at = slice.data;

    for (size_t i = 0; i < slice.size; i++) {
        if (at[i] >= 0x80)
            return false;
    }
    return slice.data != NULL;
}

static enum mb_status no_memory(struct mb_error *err)
{
    return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
}

/* The text of value as a string in the scratch. MB_REJECTED: it has none, being nested too deep. */
static enum mb_status as_text(const struct mb_value *value, struct mb_scratch *scratch,
                              struct mb_value *ret_text)
{
    struct mb_text text = {.max_size = scratch->size_max};
    struct mb_slice copy = {NULL, 0};
    enum mb_status status;

    mb_text_value(&text, value, NULL);
    status = !text.failed ? MB_OK : text.memory_out ? MB_NO_MEMORY : MB_REJECTED;
    if (status == MB_OK)
        copy = mb_slice_copy(&scratch->arena, (struct mb_slice){text.data, text.size});
    mb_text_release(&text);
    if (status != MB_OK)
        return status;
    if (copy.data == NULL)
        return MB_NO_MEMORY;
    memset(ret_text, 0, sizeof *ret_text);
    ret_text->type = mb_utf8_valid(copy) ? MB_STRING : MB_BINARY;
    ret_text->as.bytes = copy;
    return MB_OK;
}

static void seconds_to_ms(const struct mb_value *value, struct mb_value *ret_ms, bool *ret_fits)
{
    *ret_fits = value->as.i <= INT64_MAX / 1000 && value->as.i >= INT64_MIN / 1000;
    if (!*ret_fits)
        return;
    memset(ret_ms, 0, sizeof *ret_ms);
    ret_ms->type = MB_TIMESTAMP_MS;
    ret_ms->as.i = value->as.i * 1000;
}

static bool has_bytes(const struct mb_value *value)
{
    return (value->type >= MB_DECIMAL32 && value->type <= MB_DECIMAL128) ||
           (value->type >= MB_UUID && value->type <= MB_SYMBOL);
}

/* Bytes of the type that they are fit for. */
static void fit_bytes(struct mb_value *value)
{
    static const size_t sizes[] = {
        [MB_DECIMAL32] = 4, [MB_DECIMAL64] = 8, [MB_DECIMAL128] = 16, [MB_UUID] = 16};

    if (value->as.bytes.data == NULL)
        value->as.bytes.data = "";
    if (value->type == MB_SYMBOL && !is_ascii(value->as.bytes))
        value->type = MB_STRING;
    if (value->type == MB_STRING && !mb_utf8_valid(value->as.bytes))
        value->type = MB_BINARY;
    if (value->type < MB_BINARY && value->as.bytes.size != sizes[value->type])
        value->type = MB_BINARY;
}

/* A value of application-properties, which holds simple types only. MB_REJECTED: there is none. */
static enum mb_status project_simple(const struct mb_value *value, struct mb_scratch *scratch,
                                     struct mb_value *ret_value)
{
    bool fits;

    *ret_value = *value;
    if (has_bytes(value)) {
        fit_bytes(ret_value);
        return MB_OK;
    }
    switch ((enum mb_type)value->type) {
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
    case MB_CHAR:
    case MB_TIMESTAMP_MS:
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_UUID:
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
        return MB_OK;
    case MB_TIMESTAMP_S:
        seconds_to_ms(value, ret_value, &fits);
        return fits ? MB_OK : as_text(value, scratch, ret_value);
    case MB_DECIMAL_SCALED:
    case MB_LIST:
    case MB_MAP:
    case MB_ARRAY:
    case MB_DESCRIBED:
        return as_text(value, scratch, ret_value);
    }
    return MB_REJECTED;
}

/* Types of other platforms in annotations and typed bodies. Values come from readers, so their
 * depth is bounded. */
static bool has_foreign(const struct mb_value *value)
{
    if (value->type == MB_TIMESTAMP_S || value->type == MB_DECIMAL_SCALED)
        return true;
    if (value->type < MB_LIST)
        return false;
    if (value->type == MB_ARRAY &&
        (value->as.items.element == MB_TIMESTAMP_S || value->as.items.element == MB_DECIMAL_SCALED))
        return true;
    for (uint32_t i = 0; i < value->as.items.count; i++) {
        if (has_foreign(&value->as.items.values[i]))
            return true;
    }
    return false;
}

static enum mb_status replace_foreign(const struct mb_value *value, struct mb_scratch *scratch,
                                      struct mb_value *ret_value)
{
    struct mb_value *items;
    enum mb_status status = MB_OK;
    bool fits;

    *ret_value = *value;
    if (value->type == MB_TIMESTAMP_S) {
        seconds_to_ms(value, ret_value, &fits);
        return fits ? MB_OK : MB_REJECTED;
    }
    if (value->type == MB_DECIMAL_SCALED)
        return as_text(value, scratch, ret_value);
    if (value->type < MB_LIST)
        return MB_OK;
    items = mb_arena_alloc(&scratch->arena, value->as.items.count * sizeof *items);
    if (items == NULL)
        return MB_NO_MEMORY;
    for (uint32_t i = 0; i < value->as.items.count && status == MB_OK; i++)
        status = replace_foreign(&value->as.items.values[i], scratch, &items[i]);
    ret_value->as.items.values = items;
    if (value->type == MB_ARRAY && value->as.items.element == MB_TIMESTAMP_S)
        ret_value->as.items.element = MB_TIMESTAMP_MS;
    if (value->type == MB_ARRAY && value->as.items.element == MB_DECIMAL_SCALED)
        ret_value->as.items.element = MB_STRING;
    return status;
}

static enum mb_status project_any(const struct mb_value *value, struct mb_scratch *scratch,
                                  struct mb_value *ret_value)
{
    *ret_value = *value;
    if (has_bytes(value)) {
        fit_bytes(ret_value);
        return MB_OK;
    }
    return has_foreign(value) ? replace_foreign(value, scratch, ret_value) : MB_OK;
}

/* Application properties are a map of unique names. */
static bool is_property(const struct mb_header *header)
{
    return header->section == MB_SECTION_APPLICATION && header->name.data != NULL;
}

/* Whether an annotation's name is what its type says. */
static bool name_fits(const struct mb_header *header)
{
    uint64_t number;

    switch (header->name_type) {
    case MB_SYMBOL:
        return is_ascii(header->name);
    case MB_STRING:
        return is_text(header->name);
    case MB_BINARY:
        return header->name.data != NULL;
    case MB_U64:
        return amqp10_parse_ulong(header->name, &number);
    default:
        return false;
    }
}

/* MB_REJECTED: this header has no natural form, and stays out. */
static enum mb_status project_header(const struct mb_header *header, struct mb_scratch *scratch,
                                     struct mb_header *ret_header)
{
    *ret_header = *header;
    switch ((enum mb_section)header->section) {
    case MB_SECTION_APPLICATION:
        if (!is_text(header->name))
            return MB_REJECTED;
        ret_header->name_type = MB_STRING;
        return project_simple(&header->value, scratch, &ret_header->value);
    case MB_SECTION_MESSAGE_ANNOTATIONS:
        if (amqp10_own_of(header->name, header->name_type, &header->value) != AMQP10_OWN_NONE)
            return MB_REJECTED;
        break;
    case MB_SECTION_FOOTER:
        break;
    case MB_SECTION_BRIDGE:
        return MB_REJECTED;
    }
    if (!name_fits(header))
        return MB_REJECTED;
    return project_any(&header->value, scratch, &ret_header->value);
}

static bool has_app_id(const struct mb_header *headers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (headers[i].section == MB_SECTION_APPLICATION &&
            mb_slice_equal(headers[i].name, MB_SLICE_LITERAL(APP_ID_NAME)))
            return true;
    }
    return false;
}

static enum mb_status project_headers(const struct mb_message *message, struct mb_scratch *scratch,
                                      struct mb_message *natural)
{
    const bool *repeated = mb_headers_repeated(message, is_property, scratch);
    struct mb_header *headers =
        mb_arena_alloc(&scratch->arena, ((size_t)message->headers_count + 1) * sizeof *headers);
    uint32_t count = 0;

    if (repeated == NULL || headers == NULL)
        return MB_NO_MEMORY;
    for (uint32_t i = 0; i < message->headers_count; i++) {
        enum mb_status status = MB_REJECTED;

        if (!repeated[i])
            status = project_header(&message->headers[i], scratch, &headers[count]);
        if (status == MB_NO_MEMORY)
            return status;
        if (status == MB_OK)
            count++;
    }
    if ((message->present & MB_HAS_APP_ID) && mb_properties_of(message)->app_id.data != NULL &&
        !has_app_id(headers, count)) {
        struct mb_header *header = &headers[count++];

        memset(header, 0, sizeof *header);
        header->name = MB_SLICE_LITERAL(APP_ID_NAME);
        header->name_type = MB_STRING;
        header->value.type = MB_STRING;
        header->value.as.bytes = mb_properties_of(message)->app_id;
        fit_bytes(&header->value);
    }
    natural->headers = headers;
    natural->headers_count = count;
    natural->present &= ~(uint32_t)MB_HAS_APP_ID;
    return MB_OK;
}

static void project_id(struct mb_id *id, uint32_t field, struct mb_message *natural)
{
    if ((natural->present & field) == 0 || id->kind == MB_ID_ULONG)
        return;
    if (id->bytes.data == NULL)
        natural->present &= ~field;
    else if ((id->kind == MB_ID_STRING && !mb_utf8_valid(id->bytes)) ||
             (id->kind == MB_ID_UUID && id->bytes.size != 16))
        id->kind = MB_ID_BINARY;
}

static void keep_if(struct mb_message *natural, uint32_t field, bool fits)
{
    if (!fits)
        natural->present &= ~field;
}

static void project_properties(const struct amqp10_encoding *encoding,
                               const struct mb_outgoing *item, struct mb_message *natural)
{
    struct mb_properties *properties = natural->properties;
    uint32_t present = natural->present;

    natural->present &= ~(uint32_t)(MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY);
    project_id(&properties->message_id, MB_HAS_MESSAGE_ID, natural);
    project_id(&properties->correlation_id, MB_HAS_CORRELATION_ID, natural);
    if (present & MB_HAS_CONTENT_TYPE)
        keep_if(natural, MB_HAS_CONTENT_TYPE, is_ascii(properties->content_type));
    if (present & MB_HAS_CONTENT_ENCODING)
        keep_if(natural, MB_HAS_CONTENT_ENCODING, is_ascii(properties->content_encoding));
    if (present & MB_HAS_SUBJECT)
        keep_if(natural, MB_HAS_SUBJECT, is_text(properties->subject));
    if (present & MB_HAS_TO)
        keep_if(natural, MB_HAS_TO, is_text(properties->to));
    if (present & MB_HAS_REPLY_TO)
        keep_if(natural, MB_HAS_REPLY_TO, is_text(properties->reply_to));
    if (present & MB_HAS_GROUP_ID)
        keep_if(natural, MB_HAS_GROUP_ID, is_text(properties->group_id));
    if (present & MB_HAS_REPLY_TO_GROUP_ID)
        keep_if(natural, MB_HAS_REPLY_TO_GROUP_ID, is_text(properties->reply_to_group_id));
    keep_if(natural, MB_HAS_USER_ID, encoding->trust_user_id && properties->user_id.data != NULL);
    keep_if(natural, MB_HAS_TTL, natural->ttl_ms <= UINT32_MAX);
    natural->timestamp_kind = MB_TIMESTAMP_CREATE;
    if ((present & MB_HAS_DURABLE) == 0 && encoding->durable_default) {
        natural->present |= MB_HAS_DURABLE;
        natural->durable = true;
    }
    if (encoding->group_from_key && (present & MB_HAS_GROUP_ID) == 0 && (present & MB_HAS_KEY) &&
        is_text(natural->key)) {
        natural->present |= MB_HAS_GROUP_ID;
        properties->group_id = natural->key;
    }
    if (encoding->to_from_slot >= 0 && is_text(item->names[encoding->to_from_slot])) {
        natural->present |= MB_HAS_TO;
        properties->to = item->names[encoding->to_from_slot];
    }
}

static void set_body(struct mb_message *natural, enum mb_body_kind kind, struct mb_slice body)
{
    natural->body_kind = (uint8_t)kind;
    natural->body = body;
    if (kind == MB_BODY_BYTES && body.data == NULL)
        natural->body.data = "";
    if (kind == MB_BODY_BYTES || kind == MB_BODY_NULL)
        memset(&natural->body_value, 0, sizeof natural->body_value);
}

static enum mb_status project_pairs(const struct mb_message *message, struct mb_scratch *scratch,
                                    struct mb_message *natural)
{
    bool is_json;
    enum mb_status status = mb_flatten_body(message, scratch, natural, &is_json);

    if (status == MB_OK && is_json && (message->present & MB_HAS_CONTENT_TYPE) == 0) {
        natural->present |= MB_HAS_CONTENT_TYPE;
        natural->properties->content_type = MB_SLICE_LITERAL("application/json");
    }
    return status;
}

static enum mb_status project_body(const struct mb_message *message, struct mb_scratch *scratch,
                                   struct mb_message *natural)
{
    const struct mb_value *value = &message->body_value;
    enum mb_status status;

    switch ((enum mb_body_kind)message->body_kind) {
    case MB_BODY_BYTES:
        set_body(natural, MB_BODY_BYTES, message->body);
        return MB_OK;
    case MB_BODY_NULL:
        set_body(natural, MB_BODY_NULL, MB_SLICE_NULL);
        return MB_OK;
    case MB_BODY_MULTI_DATA:
        if (value->as.items.count < 2)
            set_body(natural, MB_BODY_BYTES, message->body);
        return MB_OK;
    case MB_BODY_VALUE:
        set_body(natural, value->type == MB_NULL ? MB_BODY_NULL : MB_BODY_VALUE, MB_SLICE_NULL);
        break;
    case MB_BODY_SEQUENCE:
        if (value->as.items.count == 0)
            set_body(natural, MB_BODY_NULL, MB_SLICE_NULL);
        else
            set_body(natural, MB_BODY_SEQUENCE, MB_SLICE_NULL);
        break;
    case MB_BODY_PAIRS:
        return project_pairs(message, scratch, natural);
    }
    if (natural->body_kind == MB_BODY_NULL)
        return MB_OK;
    status = project_any(value, scratch, &natural->body_value);
    if (status == MB_REJECTED) { /* no natural form: as the kit writes it down */
        natural->body_value = *value;
        return MB_OK;
    }
    return status;
}

enum mb_status amqp10_project(void *context, const struct mb_outgoing *item,
                              const struct mb_message *message, struct mb_scratch *scratch,
                              struct mb_message *natural, struct mb_error *err)
{
    const struct amqp10_encoding *encoding = context;
    enum mb_status status;

    natural->raw_kind = MB_RAW_NONE;
    natural->raw = MB_SLICE_NULL;
    project_properties(encoding, item, natural);
    status = project_headers(message, scratch, natural);
    if (status == MB_OK)
        status = project_body(message, scratch, natural);
    if (status == MB_REJECTED)
        return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "body",
                            "the body has no form in AMQP 1.0: it is nested too deep");
    return status == MB_OK ? MB_OK : no_memory(err);
}
