/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/names.h"

#include "core/config/suggest.h"
#include "kit/text.h"

#include <stdio.h>
#include <stdlib.h>

#define PARTS_MAX     32u
#define NAME_SIZE_MAX 4096u /* of a rendered name */
#define NUMBER_SIZE   12u   /* a partition as decimal text */
#define WRITTEN_SIZE  64u   /* as much of an unknown part's name as a suggestion needs */

enum part_kind {
    PART_TEXT,
    PART_STREAM,
    PART_ENDPOINT,
    PART_KEY,
    PART_PARTITION,
    PART_ROUTING_KEY,
    PART_SUBJECT,
    PART_MATCH,
    PART_HEADER
};

struct part {
    enum part_kind kind;
    struct mb_slice text;     /* TEXT: itself; HEADER: the header's name */
    struct mb_slice fallback; /* behind :-; null: none */
    unsigned group;           /* MATCH */
};

struct mb_template {
    struct part parts[PARTS_MAX];
    size_t parts_count;
    struct mb_slice fixed; /* null unless there is no ${…} */
    char storage[];        /* what the slices point into */
};

struct compiler {
    struct mb_template *template;
    char *next; /* free byte of the storage, which has room for the whole text */
    struct mb_error *err;
};

static const struct {
    const char *name;
    enum part_kind kind;
} part_names[] = {
    {"stream", PART_STREAM},       {"endpoint", PART_ENDPOINT},       {"key", PART_KEY},
    {"partition", PART_PARTITION}, {"routing_key", PART_ROUTING_KEY}, {"subject", PART_SUBJECT},
};

#define PART_NAMES_COUNT (sizeof part_names / sizeof part_names[0])
#define PART_NAMES_TEXT                                                                            \
    "${stream}, ${endpoint}, ${key}, ${partition}, ${routing_key}, ${subject}, ${match.N}, "       \
    "${header.NAME}, ${header.NAME:-default}"

/* name: what was written between ${ and }, without its default. */
static enum mb_status unknown_part(const char *name, size_t size, struct mb_error *err)
{
    char written[WRITTEN_SIZE];
    struct mb_suggestion suggestion;
    const char *dot;

    snprintf(written, sizeof written, "%.*s", (int)size, name);
    dot = strchr(written, '.');
    if (dot != NULL)
        written[dot - written] = '\0';
    mb_suggestion_init(&suggestion, written);
    if (dot != NULL)
        mb_suggestion_offer(&suggestion, "header");
    for (size_t i = 0; i < PART_NAMES_COUNT && dot == NULL; i++)
        mb_suggestion_offer(&suggestion, part_names[i].name);
    if (suggestion.best != NULL)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "template",
                            "unknown part ${%.*s} (did you mean ${%s%s}?); there are %s", (int)size,
                            name, suggestion.best, dot != NULL ? ".NAME" : "", PART_NAMES_TEXT);
    return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "template",
                        "unknown part ${%.*s}; there are %s", (int)size, name, PART_NAMES_TEXT);
}

static struct mb_slice keep(struct compiler *compiler, const char *text, size_t size)
{
    struct mb_slice kept = {compiler->next, size};

    memcpy(compiler->next, text, size);
    compiler->next += size;
    return kept;
}

static enum mb_status add_part(struct compiler *compiler, struct part part)
{
    if (compiler->template->parts_count == PARTS_MAX)
        return mb_error_set(compiler->err, MB_INVALID, MB_CAUSE_NONE, "template",
                            "the name has more than %u parts", PARTS_MAX);
    compiler->template->parts[compiler->template->parts_count++] = part;
    return MB_OK;
}

/* Text runs into the part in front of it if that is text: its bytes lie side by side. */
static enum mb_status add_text(struct compiler *compiler, const char *text, size_t size)
{
    struct mb_template *template = compiler->template;
    struct part part = {.kind = PART_TEXT};

    if (size == 0)
        return MB_OK;
    part.text = keep(compiler, text, size);
    if (template->parts_count > 0 && template->parts[template->parts_count - 1].kind == PART_TEXT) {
        template->parts[template->parts_count - 1].text.size += size;
        return MB_OK;
    }
    return add_part(compiler, part);
}

/* What stands between ${ and }. */
static enum mb_status add_value(struct compiler *compiler, const char *text, size_t size)
{
    const char *colon = memmem(text, size, ":-", 2);
    size_t name_size = colon != NULL ? (size_t)(colon - text) : size;
    struct part part = {.kind = PART_TEXT};

    if (name_size > 7 && memcmp(text, "header.", 7) == 0) {
        part.kind = PART_HEADER;
        part.text = keep(compiler, text + 7, name_size - 7);
    } else if (name_size > 6 && memcmp(text, "match.", 6) == 0) {
        if (name_size != 7 || text[6] < '0' || text[6] > '9')
            return mb_error_set(compiler->err, MB_INVALID, MB_CAUSE_NONE, "template",
                                "${%.*s}: the groups of a pattern are ${match.1} to ${match.9}, "
                                "and ${match.0} is all of it",
                                (int)name_size, text);
        part.kind = PART_MATCH;
        part.group = (unsigned)(text[6] - '0');
    }
    for (size_t i = 0; i < PART_NAMES_COUNT && part.kind == PART_TEXT; i++) {
        if (strlen(part_names[i].name) == name_size &&
            memcmp(part_names[i].name, text, name_size) == 0)
            part.kind = part_names[i].kind;
    }
    if (part.kind == PART_TEXT)
        return unknown_part(text, name_size, compiler->err);
    if (colon != NULL)
        part.fallback = keep(compiler, colon + 2, size - name_size - 2);
    return add_part(compiler, part);
}

static enum mb_status compile(struct compiler *compiler, const char *text)
{
    const char *at = text;

    for (;;) {
        const char *open = strstr(at, "${");
        const char *close;
        enum mb_status status;

        if (open == NULL)
            return add_text(compiler, at, strlen(at));
        if (open > at && open[-1] == '$') { /* $${ is the text ${ */
            status = add_text(compiler, at, (size_t)(open - at));
            if (status == MB_OK)
                status = add_text(compiler, "{", 1);
            if (status != MB_OK)
                return status;
            at = open + 2;
            continue;
        }
        status = add_text(compiler, at, (size_t)(open - at));
        if (status != MB_OK)
            return status;
        close = strchr(open, '}');
        if (close == NULL)
            return mb_error_set(compiler->err, MB_INVALID, MB_CAUSE_NONE, "template",
                                "\"%s\" has a ${ without }; the text ${ itself is written $${",
                                text);
        status = add_value(compiler, open + 2, (size_t)(close - open - 2));
        if (status != MB_OK)
            return status;
        at = close + 1;
    }
}

enum mb_status mb_template_create(const char *text, struct mb_template **ret_template,
                                  struct mb_error *err)
{
    size_t size = strlen(text);
    struct mb_template *template;
    struct compiler compiler;
    enum mb_status status;

    if (size > NAME_SIZE_MAX)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "template",
                            "the name is longer than %u bytes", NAME_SIZE_MAX);
    template = calloc(1, sizeof *template + size + 1);
    if (template == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    compiler = (struct compiler){template, template->storage, err};
    status = compile(&compiler, text);
    if (status != MB_OK) {
        free(template);
        return status;
    }
    if (template->parts_count == 0)
        template->fixed = (struct mb_slice){template->storage, 0};
    else if (template->parts_count == 1 && template->parts[0].kind == PART_TEXT)
        template->fixed = template->parts[0].text;
    *ret_template = template;
    return MB_OK;
}

void mb_template_destroy(struct mb_template *template)
{
    free(template);
}

bool mb_template_is_fixed(const struct mb_template *template)
{
    return template->fixed.data != NULL;
}

int mb_template_match_max(const struct mb_template *template)
{
    int max = -1;

    for (size_t i = 0; i < template->parts_count; i++) {
        if (template->parts[i].kind == PART_MATCH && (int)template->parts[i].group > max)
            max = (int)template->parts[i].group;
    }
    return max;
}

/* The last one of that name, as where names are unique the last one wins. */
static const struct mb_value *find_header(const struct mb_message *message, struct mb_slice name)
{
    for (uint32_t i = message->headers_count; i > 0; i--) {
        const struct mb_header *header = &message->headers[i - 1];

        if (header->section == MB_SECTION_APPLICATION && mb_slice_equal(header->name, name))
            return &header->value;
    }
    return NULL;
}

static struct mb_slice partition_text(int32_t partition, char *number)
{
    char *end = number + NUMBER_SIZE;
    char *at = end;

    if (partition < 0)
        return MB_SLICE_NULL;
    do {
        *--at = (char)('0' + partition % 10);
        partition /= 10;
    } while (partition > 0);
    return (struct mb_slice){at, (size_t)(end - at)};
}

/* Text of a header that is no string, in the arena. */
static enum mb_status typed_text(const struct mb_value *value, struct mb_arena *arena,
                                 struct mb_slice *ret_text, struct mb_error *err)
{
    struct mb_text text = {.max_size = NAME_SIZE_MAX};
    enum mb_status status = MB_OK;

    mb_text_value(&text, value, NULL);
    if (text.failed) {
        status = mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "name",
                              "a header's value is too large for a name");
    } else if (text.size > 0) {
        *ret_text = mb_slice_copy(arena, (struct mb_slice){text.data, text.size});
        if (ret_text->data == NULL)
            status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    }
    mb_text_release(&text);
    return status;
}

static enum mb_status header_text(const struct part *part, const struct mb_message *message,
                                  struct mb_arena *arena, struct mb_slice *ret_text,
                                  struct mb_error *err)
{
    const struct mb_value *value = find_header(message, part->text);

    if (value == NULL || value->type == MB_NULL)
        return MB_OK;
    if (value->type == MB_STRING || value->type == MB_BINARY || value->type == MB_SYMBOL) {
        *ret_text = value->as.bytes;
        return MB_OK;
    }
    return typed_text(value, arena, ret_text, err);
}

/* The text of a part; of size 0 if its value is missing. */
static enum mb_status part_text(const struct part *part, const struct mb_message *message,
                                const struct mb_matches *matches, struct mb_arena *arena,
                                char *number, struct mb_slice *ret_text, struct mb_error *err)
{
    const struct mb_origin *origin = message->origin;

    *ret_text = MB_SLICE_NULL;
    switch (part->kind) {
    case PART_TEXT:
        *ret_text = part->text;
        break;
    case PART_STREAM:
        if (origin != NULL)
            *ret_text = origin->stream;
        break;
    case PART_ENDPOINT:
        if (origin != NULL)
            *ret_text = origin->endpoint;
        break;
    case PART_PARTITION:
        if (origin != NULL)
            *ret_text = partition_text(origin->partition, number);
        break;
    case PART_KEY:
        if ((message->present & MB_HAS_KEY) != 0)
            *ret_text = message->key;
        break;
    case PART_ROUTING_KEY:
        if ((message->present & MB_HAS_ROUTING_KEY) != 0)
            *ret_text = mb_properties_of(message)->routing_key;
        break;
    case PART_SUBJECT:
        if ((message->present & MB_HAS_SUBJECT) != 0)
            *ret_text = mb_properties_of(message)->subject;
        break;
    case PART_MATCH:
        if (matches != NULL)
            *ret_text = matches->groups[part->group];
        break;
    case PART_HEADER:
        return header_text(part, message, arena, ret_text, err);
    }
    return MB_OK;
}

static enum mb_status reject(const struct part *part, const char *why, struct mb_error *err)
{
    if (part->kind == PART_HEADER)
        return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "name", "header \"%.*s\" %s",
                            (int)part->text.size, (const char *)part->text.data, why);
    if (part->kind == PART_MATCH)
        return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "name",
                            "group %u of the source's pattern %s", part->group, why);
    for (size_t i = 0; i < PART_NAMES_COUNT; i++) {
        if (part_names[i].kind == part->kind)
            return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "name", "%s %s",
                                part_names[i].name, why);
    }
    return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "name", "the name %s", why);
}

static enum mb_status render(const struct mb_template *template, const struct mb_message *message,
                             const struct mb_matches *matches, bool is_key, struct mb_arena *arena,
                             struct mb_slice *ret_name, struct mb_error *err)
{
    struct mb_slice texts[PARTS_MAX];
    char number[NUMBER_SIZE]; /* all ${partition} of a name are the same */
    size_t size = 0;
    char *name;

    if (template->fixed.data != NULL) {
        *ret_name = template->fixed;
        return MB_OK;
    }
    for (size_t i = 0; i < template->parts_count; i++) {
        const struct part *part = &template->parts[i];
        enum mb_status status = part_text(part, message, matches, arena, number, &texts[i], err);

        if (status != MB_OK)
            return status;
        if (texts[i].size == 0) {
            if (part->fallback.data == NULL)
                return reject(part, "is missing", err);
            texts[i] = part->fallback;
        }
        if (!is_key && part->kind != PART_TEXT && texts[i].size > 0 &&
            memchr(texts[i].data, '\0', texts[i].size) != NULL)
            return reject(part, "holds a NUL, which no name may have", err);
        if (texts[i].size > NAME_SIZE_MAX - size)
            return reject(part, "makes the name longer than 4096 bytes", err);
        size += texts[i].size;
    }
    if (size == 0)
        return reject(&template->parts[0], "is missing, and the name would be empty", err);
    name = mb_arena_alloc(arena, size + 1);
    if (name == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    *ret_name = (struct mb_slice){name, size};
    for (size_t i = 0; i < template->parts_count; i++) {
        if (texts[i].size > 0)
            memcpy(name, texts[i].data, texts[i].size);
        name += texts[i].size;
    }
    *name = '\0';
    return MB_OK;
}

enum mb_status mb_template_render(const struct mb_template *template,
                                  const struct mb_message *message,
                                  const struct mb_matches *matches, struct mb_arena *arena,
                                  struct mb_slice *ret_name, struct mb_error *err)
{
    return render(template, message, matches, false, arena, ret_name, err);
}

enum mb_status mb_template_render_key(const struct mb_template *template,
                                      const struct mb_message *message,
                                      const struct mb_matches *matches, struct mb_arena *arena,
                                      struct mb_slice *ret_key, struct mb_error *err)
{
    return render(template, message, matches, true, arena, ret_key, err);
}
