/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/dead_letter.h"

#include "core/config/settings.h"
#include "kit/provenance.h"
#include "kit/text.h"
#include "kit/utf8.h"

#include <inttypes.h>
#include <time.h>

#define HEADERS_ADDED 17u
#define NUMBER_SIZE   32u
#define TEXT_MAX      4096u

struct added {
    struct mb_arena *arena;
    struct mb_header *headers;
    uint32_t count;
    bool failed;
};

static void add(struct added *added, const char *name, struct mb_slice value)
{
    struct mb_header *header = &added->headers[added->count];
    struct mb_slice copy = mb_slice_copy(added->arena, value);

    if (value.size > 0 && copy.data == NULL) {
        added->failed = true;
        return;
    }
    *header = (struct mb_header){.name = mb_slice_text(name), .name_type = MB_STRING};
    header->value.type = mb_utf8_valid(value) ? MB_STRING : MB_BINARY;
    header->value.as.bytes = copy;
    added->count++;
}

static void add_number(struct added *added, const char *name, int64_t number)
{
    char text[NUMBER_SIZE];

    snprintf(text, sizeof text, "%" PRId64, number);
    add(added, name, mb_slice_text(text));
}

static void add_time(struct added *added, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    char date[40];
    char text[64];

    gmtime_r(&seconds, &parts);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, sizeof text, "%s.%03dZ", date, (int)(wall_ms % 1000));
    add(added, "mbridge.dead.time", mb_slice_text(text));
}

static void add_text(struct added *added, const char *name, struct mb_text *text)
{
    if (text->memory_out)
        added->failed = true;
    else if (!text->failed && text->size > 0)
        add(added, name, (struct mb_slice){text->data, text->size});
    mb_text_release(text);
}

static void add_origin(struct added *added, const struct mb_message *original,
                       const struct mb_dead_info *again)
{
    struct mb_position position = again != NULL ? again->position : original->position;
    struct mb_text text = {.max_size = TEXT_MAX};
    struct mb_text id = {.max_size = TEXT_MAX};

    if (original->origin != NULL) {
        add(added, "mbridge.dead.endpoint", original->origin->endpoint);
        add(added, "mbridge.dead.stream", original->origin->stream);
        if (original->origin->identity.size > 0)
            add(added, "mbridge.dead.identity", original->origin->identity);
        if (original->origin->partition >= 0) {
            add_number(added, "mbridge.dead.partition", original->origin->partition);
            add_number(added, "mbridge.dead.partitions", original->origin->partitions_count);
        }
    }
    if (position.kind != MB_POSITION_NONE)
        mb_text_position(&text, position);
    add_text(added, "mbridge.dead.position", &text);
    mb_stable_id_add(&id, original);
    add_text(added, "mbridge.dead.id", &id);
}

/* What is not where it was once the message stands in another queue or log; and a message that
 * waits to be looked at must not expire. */
static void add_displaced(struct added *added, struct mb_message *message)
{
    if ((message->present & MB_HAS_EXCHANGE) != 0)
        add(added, "mbridge.dead.exchange", mb_properties_of(message)->exchange);
    if ((message->present & MB_HAS_ROUTING_KEY) != 0)
        add(added, "mbridge.dead.routing_key", mb_properties_of(message)->routing_key);
    if ((message->present & MB_HAS_TIMESTAMP) != 0 &&
        message->timestamp_kind == MB_TIMESTAMP_LOG_APPEND)
        add_number(added, "mbridge.dead.timestamp", message->timestamp_ms);
    if ((message->present & MB_HAS_TTL) != 0 && message->ttl_ms <= INT64_MAX)
        add_number(added, "mbridge.dead.ttl", (int64_t)message->ttl_ms);
    if ((message->present & MB_HAS_EXPIRES_AT) != 0)
        add_number(added, "mbridge.dead.expires", message->expires_at_ms);
    message->present &= ~(uint32_t)(MB_HAS_TTL | MB_HAS_EXPIRES_AT);
}

static void forget_raw(struct mb_message *message)
{
    /* The encoded form has other headers than the list. */
    message->raw_kind = MB_RAW_NONE;
    message->raw = MB_SLICE_NULL;
}

enum mb_status mb_dead_letter_create(struct mb_arena *arena, const struct mb_message *original,
                                     const struct mb_dead_cause *cause,
                                     struct mb_dead_letter **ret_letter)
{
    struct mb_dead_letter *letter = mb_arena_alloc(arena, sizeof *letter);
    struct mb_message *message = mb_arena_alloc(arena, sizeof *message);
    struct added added = {.arena = arena};

    added.headers =
        mb_arena_alloc(arena, (original->headers_count + HEADERS_ADDED) * sizeof *added.headers);
    if (letter == NULL || message == NULL || added.headers == NULL)
        return MB_NO_MEMORY;
    memset(letter, 0, sizeof *letter);
    *message = *original;
    /* Whoever reads the dead letters is to have this one. */
    message->reject_reason = NULL;
    message->reject_text = NULL;
    if (original->headers_count > 0)
        memcpy(added.headers, original->headers,
               original->headers_count * sizeof *original->headers);
    added.count = original->headers_count;
    add(&added, "mbridge.dead.reason", mb_slice_text(cause->reason));
    add(&added, "mbridge.dead.text", mb_slice_text(cause->text));
    add_time(&added, cause->wall_ms);
    add(&added, "mbridge.dead.route", mb_slice_text(cause->route));
    if (cause->again != NULL)
        add_number(&added, "mbridge.dead.count", (int64_t)cause->again->count + 1);
    add_origin(&added, original, cause->again);
    add_displaced(&added, message);
    if (added.failed)
        return MB_NO_MEMORY;
    message->headers = added.headers;
    message->headers_count = added.count;
    forget_raw(message);
    letter->message = message;
    *ret_letter = letter;
    return MB_OK;
}

/* ---- reading ---- */

static bool is_dead_name(struct mb_slice name)
{
    const size_t size = sizeof MB_DEAD_PREFIX - 1;

    return name.size > size && memcmp(name.data, MB_DEAD_PREFIX, size) == 0;
}

static bool is_dead_header(const struct mb_header *header)
{
    return header->section == MB_SECTION_APPLICATION && is_dead_name(header->name);
}

/* Where a message without a body has its headers in one row with the pairs that are its body. */
static uint32_t pairs_of(const struct mb_message *message)
{
    return message->body_kind == MB_BODY_PAIRS ? message->body_value.as.items.count / 2 : 0;
}

static bool number_of(struct mb_slice text, int64_t *ret_number)
{
    char digits[NUMBER_SIZE];

    if (text.size == 0 || text.size >= sizeof digits)
        return false;
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    return mb_parse_integer(digits, ret_number) == MB_OK;
}

static void take_partition(struct mb_slice text, int32_t *ret_partition)
{
    int64_t number;

    if (number_of(text, &number) && number >= 0 && number <= INT32_MAX)
        *ret_partition = (int32_t)number;
}

static void take_position(struct mb_slice text, struct mb_position *ret_position)
{
    char copy[64];
    struct mb_position position;

    if (text.size == 0 || text.size >= sizeof copy)
        return;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    if (mb_position_parse(copy, &position) == MB_OK)
        *ret_position = position;
}

static void take_time(struct mb_slice text, struct mb_dead_info *info)
{
    char copy[64];
    int64_t time_ms;

    info->time = text;
    if (text.size == 0 || text.size >= sizeof copy)
        return;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    if (mb_parse_time_ms(copy, &time_ms) == MB_OK)
        info->time_ms = time_ms;
}

static void take_number(const char *name, struct mb_slice text, struct mb_dead_info *info)
{
    int64_t number;

    if (!number_of(text, &number))
        return;
    if (strcmp(name, "count") == 0 && number > 1 && number < UINT32_MAX) {
        info->count = (uint32_t)number;
    } else if (strcmp(name, "timestamp") == 0) {
        info->has_timestamp = true;
        info->timestamp_ms = number;
    } else if (strcmp(name, "ttl") == 0 && number >= 0) {
        info->has_ttl = true;
        info->ttl_ms = (uint64_t)number;
    } else if (strcmp(name, "expires") == 0) {
        info->has_expires = true;
        info->expires_at_ms = number;
    }
}

static void take(const char *name, struct mb_slice text, struct mb_dead_info *info)
{
    const struct {
        const char *name;
        struct mb_slice *value;
    } texts[] = {{"reason", &info->reason},
                 {"text", &info->text},
                 {"route", &info->route},
                 {"endpoint", &info->endpoint},
                 {"identity", &info->identity},
                 {"stream", &info->stream},
                 {"id", &info->id},
                 {"exchange", &info->exchange},
                 {"routing_key", &info->routing_key}};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(texts[i].name, name) == 0) {
            *texts[i].value = text;
            return;
        }
    }
    if (strcmp(name, "time") == 0)
        take_time(text, info);
    else if (strcmp(name, "position") == 0)
        take_position(text, &info->position);
    else if (strcmp(name, "partition") == 0)
        take_partition(text, &info->partition);
    else if (strcmp(name, "partitions") == 0)
        take_partition(text, &info->partitions);
    else
        take_number(name, text, info);
}

static void take_named(struct mb_slice name, const struct mb_value *value,
                       struct mb_dead_info *info)
{
    const size_t prefix = sizeof MB_DEAD_PREFIX - 1;
    char copy[16];
    struct mb_slice text;

    if (name.size - prefix >= sizeof copy ||
        (value->type != MB_STRING && value->type != MB_BINARY && value->type != MB_SYMBOL))
        return;
    memcpy(copy, (const char *)name.data + prefix, name.size - prefix);
    copy[name.size - prefix] = '\0';
    text = value->as.bytes;
    if (text.data == NULL)
        text.data = "";
    take(copy, text, info);
}

void mb_dead_info_read(const struct mb_message *message, struct mb_dead_info *ret_info)
{
    memset(ret_info, 0, sizeof *ret_info);
    ret_info->count = 1;
    ret_info->partition = -1;
    for (uint32_t i = 0; i < message->headers_count; i++) {
        if (is_dead_header(&message->headers[i]))
            take_named(message->headers[i].name, &message->headers[i].value, ret_info);
    }
    for (uint32_t i = 0; i < pairs_of(message); i++) {
        const struct mb_value *pair = &message->body_value.as.items.values[2 * i];

        if (is_dead_name(pair[0].as.bytes))
            take_named(pair[0].as.bytes, &pair[1], ret_info);
    }
    ret_info->is_dead_letter = ret_info->route.data != NULL && ret_info->reason.data != NULL;
}

static enum mb_status strip_pairs(struct mb_message *message, struct mb_arena *arena)
{
    const struct mb_value *old = message->body_value.as.items.values;
    uint32_t pairs = pairs_of(message);
    struct mb_value *values = mb_arena_alloc(arena, 2 * (size_t)pairs * sizeof *values);
    uint32_t count = 0;

    if (values == NULL)
        return MB_NO_MEMORY;
    for (uint32_t i = 0; i < pairs; i++) {
        if (is_dead_name(old[2 * i].as.bytes))
            continue;
        values[count++] = old[2 * i];
        values[count++] = old[2 * i + 1];
    }
    message->body_value.as.items.values = values;
    message->body_value.as.items.count = count;
    return MB_OK;
}

enum mb_status mb_dead_letter_strip(struct mb_message *message, struct mb_arena *arena)
{
    struct mb_header *headers =
        mb_arena_alloc(arena, (size_t)message->headers_count * sizeof *headers);
    uint32_t count = 0;

    if (headers == NULL)
        return MB_NO_MEMORY;
    for (uint32_t i = 0; i < message->headers_count; i++) {
        if (!is_dead_header(&message->headers[i]))
            headers[count++] = message->headers[i];
    }
    message->headers = headers;
    message->headers_count = count;
    forget_raw(message);
    return pairs_of(message) > 0 ? strip_pairs(message, arena) : MB_OK;
}
