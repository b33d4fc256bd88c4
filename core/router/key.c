/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/key.h"

#include "core/config/suggest.h"

#include <inttypes.h>

#define UUID_TEXT_SIZE 37u

static const struct {
    const char *name;
    enum mb_key_from from;
} words[] = {
    {"key", MB_KEY_AS_IT_IS},
    {"none", MB_KEY_NONE},
    {"routing_key", MB_KEY_ROUTING_KEY},
    {"group_id", MB_KEY_GROUP_ID},
    {"message_id", MB_KEY_MESSAGE_ID},
    {"subject", MB_KEY_SUBJECT},
};

#define WORDS_COUNT (sizeof words / sizeof words[0])

enum mb_status mb_key_rule_init(struct mb_key_rule *rule, const char *text, struct mb_error *err)
{
    struct mb_suggestion suggestion;
    char hint[160];

    *rule = (struct mb_key_rule){0};
    if (text == NULL)
        return MB_OK;
    if (strstr(text, "${") != NULL) {
        rule->from = MB_KEY_TEMPLATE;
        return mb_template_create(text, &rule->template, err);
    }
    mb_suggestion_init(&suggestion, text);
    for (size_t i = 0; i < WORDS_COUNT; i++) {
        if (strcmp(words[i].name, text) == 0) {
            rule->from = words[i].from;
            return MB_OK;
        }
        mb_suggestion_offer(&suggestion, words[i].name);
    }
    return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "key_from",
                        "must be none, key, routing_key, group_id, message_id, subject or a "
                        "template such as ${header.NAME}, not \"%.60s\"%s",
                        text, mb_suggestion_text(&suggestion, hint, sizeof hint));
}

void mb_key_rule_release(struct mb_key_rule *rule)
{
    mb_template_destroy(rule->template);
    *rule = (struct mb_key_rule){0};
}

/* An id as text; null: there is none. */
static enum mb_status id_text(const struct mb_id *id, struct mb_arena *arena,
                              struct mb_slice *ret_text)
{
    const unsigned char *bytes = id->bytes.data;
    char *text;

    *ret_text = id->bytes;
    if (id->kind == MB_ID_STRING || id->kind == MB_ID_BINARY ||
        (id->kind == MB_ID_UUID && id->bytes.size != 16))
        return MB_OK;
    text = mb_arena_alloc(arena, UUID_TEXT_SIZE);
    if (text == NULL)
        return MB_NO_MEMORY;
    ret_text->data = text;
    if (id->kind == MB_ID_ULONG) {
        ret_text->size = (size_t)snprintf(text, UUID_TEXT_SIZE, "%" PRIu64, id->number);
        return MB_OK;
    }
    ret_text->size = 0;
    for (size_t i = 0; i < 16; i++)
        ret_text->size +=
            (size_t)snprintf(text + ret_text->size, UUID_TEXT_SIZE - ret_text->size,
                             i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", bytes[i]);
    return MB_OK;
}

enum mb_status mb_key_apply(const struct mb_key_rule *rule, struct mb_message *message,
                            const struct mb_matches *matches, struct mb_arena *arena)
{
    struct mb_slice key = MB_SLICE_NULL;
    enum mb_status status = MB_OK;
    struct mb_error err;

    switch (rule->from) {
    case MB_KEY_AS_IT_IS:
        return MB_OK;
    case MB_KEY_NONE:
        message->present &= ~(uint32_t)MB_HAS_KEY;
        message->key = MB_SLICE_NULL;
        return MB_OK;
    case MB_KEY_ROUTING_KEY:
        if ((message->present & MB_HAS_ROUTING_KEY) != 0)
            key = mb_properties_of(message)->routing_key;
        break;
    case MB_KEY_GROUP_ID:
        if ((message->present & MB_HAS_GROUP_ID) != 0)
            key = mb_properties_of(message)->group_id;
        break;
    case MB_KEY_MESSAGE_ID:
        if ((message->present & MB_HAS_MESSAGE_ID) != 0)
            status = id_text(&mb_properties_of(message)->message_id, arena, &key);
        break;
    case MB_KEY_SUBJECT:
        if ((message->present & MB_HAS_SUBJECT) != 0)
            key = mb_properties_of(message)->subject;
        break;
    case MB_KEY_TEMPLATE:
        status = mb_template_render_key(rule->template, message, matches, arena, &key, &err);
        if (status == MB_REJECTED)
            return MB_OK;
        break;
    }
    if (status != MB_OK)
        return status;
    if (key.size == 0)
        return MB_OK;
    message->present |= MB_HAS_KEY;
    message->key = key;
    return MB_OK;
}
