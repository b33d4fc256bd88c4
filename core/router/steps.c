/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/steps.h"

#include "kit/text.h"
#include "kit/utf8.h"

struct filter_options {
    const char *header;
    const char *equals;
    bool negate;
};

enum { SET_HEADER_VALUE = 0 }; /* slot */

struct set_header_options {
    const char *name;
    const char *value;
};

struct require_header_options {
    const char *header;
};

static bool is_named(const struct mb_header *header, struct mb_slice name)
{
    return header->section == MB_SECTION_APPLICATION && mb_slice_equal(header->name, name);
}

/* Whether the text of value is wanted; null has none. */
static enum mb_status equals_text(const struct mb_value *value, struct mb_slice wanted,
                                  struct mb_arena *arena, bool *ret_equal)
{
    struct mb_text text = {0};

    *ret_equal = false;
    if (value->type == MB_NULL)
        return MB_OK;
    if (value->type == MB_STRING || value->type == MB_BINARY || value->type == MB_SYMBOL) {
        *ret_equal = mb_slice_equal(value->as.bytes, wanted);
        return MB_OK;
    }
    /* Room for the wanted text: what does not fit is another. */
    text.data = mb_arena_alloc(arena, wanted.size);
    if (text.data == NULL)
        return MB_NO_MEMORY;
    text.capacity = wanted.size;
    text.max_size = wanted.size;
    mb_text_value(&text, value, NULL);
    *ret_equal = !text.failed && mb_slice_equal((struct mb_slice){text.data, text.size}, wanted);
    return MB_OK;
}

static enum mb_status filter_apply(const void *options, const struct mb_slice *names,
                                   struct mb_message *message, struct mb_arena *arena,
                                   enum mb_verdict *ret_verdict, const char **ret_reason)
{
    const struct filter_options *filter = options;
    struct mb_slice name = mb_slice_text(filter->header);
    bool matches = false;

    (void)names;
    (void)ret_reason;
    for (uint32_t i = 0; i < message->headers_count && !matches; i++) {
        const struct mb_header *header = &message->headers[i];
        enum mb_status status;

        if (!is_named(header, name))
            continue;
        if (filter->equals == NULL) {
            matches = true;
            break;
        }
        status = equals_text(&header->value, mb_slice_text(filter->equals), arena, &matches);
        if (status != MB_OK)
            return status;
    }
    *ret_verdict = matches != filter->negate ? MB_KEEP : MB_DROP;
    return MB_OK;
}

static enum mb_status set_header_apply(const void *options, const struct mb_slice *names,
                                       struct mb_message *message, struct mb_arena *arena,
                                       enum mb_verdict *ret_verdict, const char **ret_reason)
{
    const struct set_header_options *set = options;
    struct mb_header wanted = {.name = mb_slice_copy(arena, mb_slice_text(set->name)),
                               .section = MB_SECTION_APPLICATION,
                               .name_type = MB_STRING};
    struct mb_header *headers;
    uint32_t count = 0;
    bool placed = false;

    (void)ret_reason;
    /* Of a name without parts the template has the bytes, and may go before the message. */
    wanted.value.as.bytes = mb_slice_copy(arena, names[SET_HEADER_VALUE]);
    wanted.value.type = mb_utf8_valid(names[SET_HEADER_VALUE]) ? MB_STRING : MB_BINARY;
    headers = mb_arena_alloc(arena, ((size_t)message->headers_count + 1) * sizeof *headers);
    if (wanted.name.data == NULL || wanted.value.as.bytes.data == NULL || headers == NULL)
        return MB_NO_MEMORY;
    for (uint32_t i = 0; i < message->headers_count; i++) {
        if (!is_named(&message->headers[i], wanted.name)) {
            headers[count++] = message->headers[i];
        } else if (!placed) {
            headers[count++] = wanted;
            placed = true;
        }
    }
    if (!placed)
        headers[count++] = wanted;
    message->headers = headers;
    message->headers_count = count;
    /* The encoded form still has the old headers: a sink must not pass it on. */
    message->raw_kind = MB_RAW_NONE;
    message->raw = MB_SLICE_NULL;
    *ret_verdict = MB_KEEP;
    return MB_OK;
}

static enum mb_status require_header_apply(const void *options, const struct mb_slice *names,
                                           struct mb_message *message, struct mb_arena *arena,
                                           enum mb_verdict *ret_verdict, const char **ret_reason)
{
    const struct require_header_options *require = options;
    struct mb_slice name = mb_slice_text(require->header);

    (void)names;
    (void)arena;
    for (uint32_t i = 0; i < message->headers_count; i++) {
        const struct mb_header *header = &message->headers[i];

        if (is_named(header, name) && header->value.type != MB_NULL) {
            *ret_verdict = MB_KEEP;
            return MB_OK;
        }
    }
    *ret_verdict = MB_REJECT;
    *ret_reason = "header-missing";
    return MB_OK;
}

static const struct mb_option filter_rows[] = {
    {.name = "header",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_REQUIRED,
     .offset = offsetof(struct filter_options, header),
     .doc = "Name of the header to look at."},
    {.name = "equals",
     .type = MB_OPTION_STRING,
     .offset = offsetof(struct filter_options, equals),
     .doc = "Keep messages in which the header has this value, as text. Unset: any value."},
    {.name = "negate",
     .type = MB_OPTION_BOOL,
     .offset = offsetof(struct filter_options, negate),
     .default_text = "false",
     .doc = "Keep the messages that would be dropped, and drop the others."},
};

static const struct mb_option set_header_rows[] = {
    {.name = "name",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_REQUIRED,
     .offset = offsetof(struct set_header_options, name),
     .doc = "Name of the header to set."},
    {.name = "value",
     .type = MB_OPTION_TEMPLATE,
     .flags = MB_OPTION_REQUIRED,
     .slot = SET_HEADER_VALUE,
     .offset = offsetof(struct set_header_options, value),
     .doc = "Its value; ${…} parts as in the names of destinations."},
};

static const struct mb_option require_header_rows[] = {
    {.name = "header",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_REQUIRED,
     .offset = offsetof(struct require_header_options, header),
     .doc = "Name of the header that has to be there."},
};

#define ROWS(table, type)                                                                          \
    {                                                                                              \
        (table), sizeof(table) / sizeof(table)[0], sizeof(type)                                    \
    }

static const struct mb_step steps[] = {
    {.name = "filter",
     .doc = "Drops messages that lack a header, or in which it has another value.",
     .options = ROWS(filter_rows, struct filter_options),
     .apply = filter_apply},
    {.name = "require-header",
     .doc = "Rejects messages that lack a header, or in which it is null.",
     .options = ROWS(require_header_rows, struct require_header_options),
     .apply = require_header_apply},
    {.name = "set-header",
     .doc = "Sets a header to a text, in place of all that have its name.",
     .options = ROWS(set_header_rows, struct set_header_options),
     .apply = set_header_apply},
};

const struct mb_step *mb_step_find(const char *name)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (strcmp(steps[i].name, name) == 0)
            return &steps[i];
    }
    return NULL;
}

const struct mb_step *mb_step_at(size_t index)
{
    return index < sizeof steps / sizeof steps[0] ? &steps[index] : NULL;
}
