/* SPDX-License-Identifier: Apache-2.0 */
/* Dead letters as text and as JSON. Text is escaped: no message can forge a line. */
#include "cli/dlq.h"
#include "kit/field.h"
#include "kit/utf8.h"

#include <inttypes.h>

static const char *const type_names[] = {
    "null",       "bool",    "i8",   "i16",         "i32",          "i64",       "u8",
    "u16",        "u32",     "u64",  "f32",         "f64",          "decimal32", "decimal64",
    "decimal128", "decimal", "char", "timestamp_s", "timestamp_ms", "uuid",      "binary",
    "string",     "symbol",  "list", "map",         "array",        "described"};

static const char *const section_names[] = {"application", "annotation", "footer", "bridge"};

static const char *type_name(uint8_t type)
{
    return type < sizeof type_names / sizeof type_names[0] ? type_names[type] : "unknown";
}

static const char *section_name(uint8_t section)
{
    return section < sizeof section_names / sizeof section_names[0] ? section_names[section]
                                                                    : "unknown";
}

/* ---- one line ---- */

static bool is_plain(struct mb_slice slice)
{
    const unsigned char *bytes = slice.data;

    for (size_t i = 0; i < slice.size; i++) {
        if (bytes[i] <= ' ' || bytes[i] == '"' || bytes[i] == '\\' || bytes[i] == 0x7f)
            return false;
    }
    return slice.size > 0 && mb_utf8_valid(slice);
}

/* Text without control characters: as it is, quoted as JSON, or - for nothing. */
static void add_word(struct mb_text *text, struct mb_slice slice)
{
    struct mb_value value = {.type = MB_BINARY, .as.bytes = slice};

    if (slice.data == NULL)
        mb_text_add(text, "-", 1);
    else if (is_plain(slice))
        mb_text_add(text, slice.data, slice.size);
    else
        mb_text_json(text, &value);
}

static void add_position(struct mb_text *text, const struct mb_message *message)
{
    if (message->origin->partition >= 0)
        mb_text_addf(text, "%" PRId32 "/", message->origin->partition);
    if (message->position.kind == MB_POSITION_NONE)
        mb_text_add(text, "-", 1);
    else
        mb_text_position(text, message->position);
}

static void add_origin(struct mb_text *text, const struct mb_dead_info *dead)
{
    add_word(text, dead->endpoint);
    mb_text_add(text, "/", 1);
    add_word(text, dead->stream);
    if (dead->partition >= 0)
        mb_text_addf(text, "/%" PRId32, dead->partition);
    if (dead->position.kind != MB_POSITION_NONE) {
        mb_text_add(text, "@", 1);
        mb_text_position(text, dead->position);
    }
}

static void line_text(struct mb_text *text, const struct cli_dead_letter *letter)
{
    const struct mb_message *message = letter->message;
    bool has_key = (message->present & MB_HAS_KEY) != 0;

    mb_text_addf(text, "%" PRIu64 "\t", letter->number);
    add_position(text, message);
    mb_text_add(text, "\t", 1);
    add_word(text, letter->dead.time);
    mb_text_add(text, "\t", 1);
    add_word(text, letter->dead.route);
    mb_text_add(text, "\t", 1);
    add_word(text, letter->dead.reason);
    mb_text_add(text, "\t", 1);
    add_origin(text, &letter->dead);
    mb_text_add(text, "\t", 1);
    add_word(text, has_key ? message->key : MB_SLICE_NULL);
    mb_text_addf(text, "\t%zu\n", message->body.size);
}

/* ---- JSON ---- */

static void json_name(struct mb_text *text, const char *name)
{
    if (text->size > 0 && text->data[text->size - 1] != '{' && text->data[text->size - 1] != '[')
        mb_text_add(text, ",", 1);
    mb_text_addf(text, "\"%s\":", name);
}

static void json_text(struct mb_text *text, const char *name, struct mb_slice slice)
{
    if (slice.data == NULL)
        return;
    json_name(text, name);
    mb_text_json_string(text, slice);
}

/* As a string if it is one, else under another name as base64. */
static void json_bytes(struct mb_text *text, const char *name, struct mb_slice slice)
{
    struct mb_value value = {.type = MB_BINARY, .as.bytes = slice};
    char other[64];

    if (slice.data == NULL) {
        json_name(text, name);
        mb_text_add(text, "null", 4);
    } else if (mb_utf8_valid(slice)) {
        json_text(text, name, slice);
    } else {
        snprintf(other, sizeof other, "%s_base64", name);
        json_name(text, other);
        mb_text_json(text, &value);
    }
}

static void json_number(struct mb_text *text, const char *name, int64_t number)
{
    json_name(text, name);
    mb_text_add_i64(text, number);
}

static void json_position(struct mb_text *text, struct mb_position position)
{
    if (position.kind == MB_POSITION_NONE)
        return;
    json_name(text, "position");
    mb_text_add(text, "\"", 1);
    mb_text_position(text, position);
    mb_text_add(text, "\"", 1);
}

static void json_place(struct mb_text *text, const char *name, struct mb_slice endpoint,
                       struct mb_slice stream, int32_t partition, struct mb_position position)
{
    json_name(text, name);
    mb_text_add(text, "{", 1);
    json_text(text, "endpoint", endpoint);
    json_text(text, "stream", stream);
    if (partition >= 0)
        json_number(text, "partition", partition);
    json_position(text, position);
    mb_text_add(text, "}", 1);
}

static void json_dead(struct mb_text *text, const struct cli_dead_letter *letter)
{
    const struct mb_message *message = letter->message;
    const struct mb_dead_info *dead = &letter->dead;

    json_number(text, "number", (int64_t)letter->number);
    json_place(text, "at", message->origin->endpoint, message->origin->stream,
               message->origin->partition, message->position);
    json_text(text, "time", dead->time);
    json_text(text, "route", dead->route);
    json_text(text, "reason", dead->reason);
    json_text(text, "text", dead->text);
    json_number(text, "count", dead->count);
    json_place(text, "origin", dead->endpoint, dead->stream, dead->partition, dead->position);
    json_text(text, "id", dead->id);
    json_number(text, "size", (int64_t)message->body.size);
    if (message->redelivered) {
        json_name(text, "redelivered");
        mb_text_addf(text, "true");
    }
    if (message->delivery_count > 0)
        json_number(text, "delivery_count", message->delivery_count);
}

/* ---- the whole ---- */

struct property {
    uint32_t bit;
    const char *name;
    struct mb_slice value;
};

#define PROPERTIES_COUNT 11

static void list_properties(const struct mb_properties *properties, struct property *ret_list)
{
    const struct property all[PROPERTIES_COUNT] = {
        {MB_HAS_CONTENT_TYPE, "content_type", properties->content_type},
        {MB_HAS_CONTENT_ENCODING, "content_encoding", properties->content_encoding},
        {MB_HAS_SUBJECT, "subject", properties->subject},
        {MB_HAS_TO, "to", properties->to},
        {MB_HAS_REPLY_TO, "reply_to", properties->reply_to},
        {MB_HAS_GROUP_ID, "group_id", properties->group_id},
        {MB_HAS_REPLY_TO_GROUP_ID, "reply_to_group_id", properties->reply_to_group_id},
        {MB_HAS_USER_ID, "user_id", properties->user_id},
        {MB_HAS_APP_ID, "app_id", properties->app_id},
        {MB_HAS_EXCHANGE, "exchange", properties->exchange},
        {MB_HAS_ROUTING_KEY, "routing_key", properties->routing_key},
    };

    memcpy(ret_list, all, sizeof all);
}

static void json_id(struct mb_text *text, const char *name, const struct mb_id *id)
{
    if (id->kind == MB_ID_ULONG) {
        json_name(text, name);
        mb_text_add_u64(text, id->number);
        return;
    }
    json_bytes(text, name, id->bytes);
}

static void json_properties(struct mb_text *text, const struct mb_message *message)
{
    const struct mb_properties *properties = mb_properties_of(message);
    struct property list[PROPERTIES_COUNT];
    uint32_t present = message->present;

    list_properties(properties, list);
    for (size_t i = 0; i < PROPERTIES_COUNT; i++) {
        if ((present & list[i].bit) != 0)
            json_bytes(text, list[i].name, list[i].value);
    }
    if ((present & MB_HAS_MESSAGE_ID) != 0)
        json_id(text, "message_id", &properties->message_id);
    if ((present & MB_HAS_CORRELATION_ID) != 0)
        json_id(text, "correlation_id", &properties->correlation_id);
    if ((present & MB_HAS_GROUP_SEQUENCE) != 0)
        json_number(text, "group_sequence", properties->group_sequence);
    if ((present & MB_HAS_TIMESTAMP) != 0)
        json_number(text, "timestamp_ms", message->timestamp_ms);
    if ((present & MB_HAS_TTL) != 0 && message->ttl_ms <= INT64_MAX)
        json_number(text, "ttl_ms", (int64_t)message->ttl_ms);
    if ((present & MB_HAS_EXPIRES_AT) != 0)
        json_number(text, "expires_at_ms", message->expires_at_ms);
    if ((present & MB_HAS_DURABLE) != 0) {
        json_name(text, "durable");
        mb_text_addf(text, message->durable ? "true" : "false");
    }
    if ((present & MB_HAS_PRIORITY) != 0)
        json_number(text, "priority", message->priority);
}

static void json_headers(struct mb_text *text, const struct mb_message *message)
{
    const char *separator = "";

    json_name(text, "headers");
    mb_text_add(text, "[", 1);
    for (uint32_t i = 0; i < message->headers_count; i++) {
        const struct mb_header *header = &message->headers[i];

        if (header->section == MB_SECTION_BRIDGE)
            continue;
        mb_text_addf(text, "%s{", separator);
        separator = ",";
        json_bytes(text, "name", header->name);
        json_text(text, "type", mb_slice_text(type_name(header->value.type)));
        if (header->section != MB_SECTION_APPLICATION)
            json_text(text, "section", mb_slice_text(section_name(header->section)));
        json_name(text, "value");
        mb_text_json(text, &header->value);
        mb_text_add(text, "}", 1);
    }
    mb_text_add(text, "]", 1);
}

static void json_body(struct mb_text *text, const struct mb_message *message)
{
    static const char *const kinds[] = {"bytes", "null",     "data-sections",
                                        "value", "sequence", "pairs"};
    enum mb_body_kind kind = (enum mb_body_kind)message->body_kind;

    json_text(text, "body_kind", mb_slice_text(kind <= MB_BODY_PAIRS ? kinds[kind] : "unknown"));
    if (kind == MB_BODY_BYTES) {
        json_bytes(text, "body", message->body);
    } else {
        json_name(text, "body");
        mb_text_json(text, &message->body_value);
    }
}

static void whole_json(struct mb_text *text, const struct cli_dead_letter *letter,
                       const struct mb_message *original)
{
    mb_text_add(text, "{", 1);
    json_dead(text, letter);
    json_name(text, "message");
    mb_text_add(text, "{", 1);
    if ((original->present & MB_HAS_KEY) != 0)
        json_bytes(text, "key", original->key);
    json_name(text, "properties");
    mb_text_add(text, "{", 1);
    json_properties(text, original);
    mb_text_add(text, "}", 1);
    json_headers(text, original);
    json_body(text, original);
    mb_text_add(text, "}}\n", 3);
}

static void text_row(struct mb_text *text, const char *name, struct mb_slice value)
{
    if (value.data == NULL)
        return;
    mb_text_addf(text, "%-16s ", name);
    add_word(text, value);
    mb_text_add(text, "\n", 1);
}

static void text_dead(struct mb_text *text, const struct cli_dead_letter *letter)
{
    mb_text_addf(text, "%-16s %" PRIu64 "\n%-16s ", "number", letter->number, "at");
    add_word(text, letter->message->origin->endpoint);
    mb_text_add(text, "/", 1);
    add_word(text, letter->message->origin->stream);
    mb_text_add(text, "/", 1);
    add_position(text, letter->message);
    mb_text_add(text, "\n", 1);
    text_row(text, "time", letter->dead.time);
    text_row(text, "route", letter->dead.route);
    text_row(text, "reason", letter->dead.reason);
    text_row(text, "text", letter->dead.text);
    mb_text_addf(text, "%-16s %" PRIu32 "\n%-16s ", "count", letter->dead.count, "origin");
    add_origin(text, &letter->dead);
    mb_text_add(text, "\n", 1);
    text_row(text, "id", letter->dead.id);
}

static void whole_text(struct mb_text *text, const struct cli_dead_letter *letter,
                       const struct mb_message *original)
{
    struct mb_value body = {.type = MB_BINARY, .as.bytes = original->body};

    text_dead(text, letter);
    if ((original->present & MB_HAS_KEY) != 0)
        text_row(text, "key", original->key);
    mb_text_addf(text, "%-16s {", "properties");
    json_properties(text, original);
    mb_text_add(text, "}\n", 2);
    for (uint32_t i = 0; i < original->headers_count; i++) {
        const struct mb_header *header = &original->headers[i];

        if (header->section == MB_SECTION_BRIDGE)
            continue;
        mb_text_addf(text, "%-16s ",
                     header->section == MB_SECTION_APPLICATION ? "header"
                                                               : section_name(header->section));
        add_word(text, header->name);
        mb_text_addf(text, " (%s) ", type_name(header->value.type));
        mb_text_json(text, &header->value);
        mb_text_add(text, "\n", 1);
    }
    mb_text_addf(text, "%-16s %zu\n", "size", original->body.size);
    if (original->body_kind != MB_BODY_BYTES) {
        mb_text_addf(text, "%-16s ", "body");
        mb_text_json(text, &original->body_value);
    } else if (mb_utf8_valid(original->body)) {
        mb_text_addf(text, "%-16s ", "body");
        mb_text_json_string(text, original->body);
    } else {
        mb_text_addf(text, "%-16s ", "body (base64)");
        mb_text_json(text, &body);
    }
    mb_text_add(text, "\n", 1);
}

/* JSON leaves DEL and the controls from U+0080 to U+009F as they are; a terminal obeys them. */
static void disarm(struct mb_text *text)
{
    for (size_t i = 0; i < text->size; i++) {
        unsigned char byte = (unsigned char)text->data[i];
        bool is_control = byte == 0xC2 && i + 1 < text->size &&
                          (unsigned char)text->data[i + 1] >= 0x80 &&
                          (unsigned char)text->data[i + 1] <= 0x9F;

        if (byte == 0x7F || is_control)
            text->data[i] = '?';
        if (is_control)
            text->data[++i] = '?';
    }
}

void cli_dlq_line(struct mb_text *text, const struct cli_dead_letter *letter, bool as_json)
{
    if (!as_json) {
        line_text(text, letter);
        disarm(text);
        return;
    }
    mb_text_add(text, "{", 1);
    json_dead(text, letter);
    if ((letter->message->present & MB_HAS_KEY) != 0)
        json_bytes(text, "key", letter->message->key);
    mb_text_add(text, "}\n", 2);
}

void cli_dlq_whole(struct mb_text *text, const struct cli_dead_letter *letter,
                   const struct mb_message *original, bool as_json)
{
    if (as_json) {
        whole_json(text, letter, original);
        return;
    }
    whole_text(text, letter, original);
    disarm(text);
}
