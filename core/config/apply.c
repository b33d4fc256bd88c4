/* SPDX-License-Identifier: Apache-2.0 */
/* Settings → the backend's struct. One block holds the struct and all it points to. */
#include "core/config/secret.h"
#include "core/config/settings.h"

#include <stdlib.h>
#include <time.h>

struct mb_applied {
    size_t size; /* of the whole block */
    size_t used;
    max_align_t data[];
};

/* The value of a row: what is set, else its default, else nothing. */
struct effective {
    const char *const *texts;
    size_t count;
    const char *single[1];
};

static void effective_get(const struct mb_settings *settings, size_t index, struct effective *value)
{
    const struct mb_setting *setting = &settings->rows[index];

    memset(value, 0, sizeof *value);
    if (setting->is_set) {
        value->texts = (const char *const *)setting->texts;
        value->count = setting->texts_count;
    } else if (settings->table->rows[index].default_text != NULL) {
        value->single[0] = settings->table->rows[index].default_text;
        value->texts = value->single;
        value->count = 1;
    }
}

static size_t aligned(size_t size)
{
    return (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
}

static void *take(struct mb_applied *applied, size_t size)
{
    void *memory = (char *)applied->data + applied->used;

    applied->used += aligned(size);
    return memory;
}

static const char *take_text(struct mb_applied *applied, const char *text)
{
    size_t size = strlen(text) + 1;

    return memcpy(take(applied, size), text, size);
}

static void put(struct mb_applied *applied, const struct mb_option *row, const void *value,
                size_t size)
{
    memcpy((char *)applied->data + row->offset, value, size);
}

static void put_strings(struct mb_applied *applied, const struct mb_option *row,
                        const struct effective *value)
{
    const char **items = take(applied, (value->count + 1) * sizeof *items);
    struct mb_strings strings = {items, value->count};

    for (size_t i = 0; i < value->count; i++)
        items[i] = take_text(applied, value->texts[i]);
    items[value->count] = NULL;
    put(applied, row, &strings, sizeof strings);
}

static int64_t number_of(const struct mb_option *row, const char *text)
{
    int64_t number = 0;

    if (row->type == MB_OPTION_ENUM) {
        for (int64_t i = 0; row->choices[i] != NULL; i++) {
            if (strcmp(row->choices[i], text) == 0)
                return i;
        }
    } else if (row->type == MB_OPTION_SIZE) {
        (void)mb_parse_size_bytes(text, &number);
    } else if (row->type == MB_OPTION_DURATION) {
        (void)mb_parse_duration_ms(text, &number);
    } else {
        (void)mb_parse_integer(text, &number);
    }
    return number;
}

static int64_t wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void put_row(struct mb_applied *applied, const struct mb_option *row,
                    const struct effective *value, const char *resolved)
{
    const char *text = resolved != NULL ? resolved : value->count > 0 ? value->texts[0] : NULL;
    struct mb_position position = {0};
    int64_t number;
    bool yes;

    switch ((enum mb_option_type)row->type) {
    case MB_OPTION_STRING:
    case MB_OPTION_TEMPLATE:
        text = text != NULL ? take_text(applied, text) : NULL;
        put(applied, row, &text, sizeof text);
        break;
    case MB_OPTION_BOOL:
        yes = text != NULL && strcmp(text, "true") == 0;
        put(applied, row, &yes, sizeof yes);
        break;
    case MB_OPTION_INTEGER:
    case MB_OPTION_SIZE:
    case MB_OPTION_DURATION:
    case MB_OPTION_ENUM:
        number = text != NULL ? number_of(row, text) : 0;
        put(applied, row, &number, sizeof number);
        break;
    case MB_OPTION_LIST:
    case MB_OPTION_PAIRS:
        put_strings(applied, row, value);
        break;
    case MB_OPTION_START:
        if (text != NULL)
            (void)mb_parse_start(text, wall_ms(), &position);
        put(applied, row, &position, sizeof position);
        break;
    }
}

/* Resolves every secret into secrets[row]; the rest stays NULL. */
static enum mb_status resolve(const struct mb_settings *settings, char **secrets,
                              struct mb_error *err)
{
    for (size_t i = 0; i < settings->table->count; i++) {
        const struct mb_option *row = &settings->table->rows[i];
        struct effective value;
        struct mb_error why;
        enum mb_status status;

        effective_get(settings, i, &value);
        if (!(row->flags & MB_OPTION_IS_SECRET) || row->type != MB_OPTION_STRING ||
            value.count == 0)
            continue;
        mb_error_clear(&why);
        status = mb_secret_resolve(value.texts[0], &secrets[i], &why);
        if (status != MB_OK)
            return mb_error_set(err, status, MB_CAUSE_NONE, "secret", "%s: %.400s", row->name,
                                why.text);
    }
    return MB_OK;
}

static size_t block_size(const struct mb_settings *settings, char *const *secrets)
{
    size_t size = aligned(settings->table->struct_size);

    for (size_t i = 0; i < settings->table->count; i++) {
        struct effective value;

        effective_get(settings, i, &value);
        size += aligned((value.count + 1) * sizeof(char *));
        for (size_t k = 0; k < value.count; k++)
            size += aligned(strlen(value.texts[k]) + 1);
        if (secrets[i] != NULL)
            size += aligned(strlen(secrets[i]) + 1);
    }
    return size;
}

enum mb_status mb_settings_apply(const struct mb_settings *settings, bool resolve_secrets,
                                 struct mb_applied **ret_applied, struct mb_error *err)
{
    size_t count = settings->table->count;
    char **secrets = calloc(count + 1, sizeof *secrets);
    struct mb_applied *applied = NULL;
    enum mb_status status = MB_NO_MEMORY;
    size_t size;

    *ret_applied = NULL;
    if (secrets == NULL)
        goto out;
    status = resolve_secrets ? resolve(settings, secrets, err) : MB_OK;
    if (status != MB_OK)
        goto out;
    size = sizeof *applied + block_size(settings, secrets);
    applied = calloc(1, size);
    if (applied == NULL) {
        status = MB_NO_MEMORY;
        goto out;
    }
    applied->size = size;
    applied->used = aligned(settings->table->struct_size);
    for (size_t i = 0; i < count; i++) {
        struct effective value;

        effective_get(settings, i, &value);
        put_row(applied, &settings->table->rows[i], &value, secrets[i]);
    }
    *ret_applied = applied;
out:
    if (status == MB_NO_MEMORY)
        mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    for (size_t i = 0; secrets != NULL && i < count; i++)
        mb_secret_destroy(secrets[i]);
    free(secrets);
    return status;
}

const void *mb_applied_struct(const struct mb_applied *applied)
{
    return applied->data;
}

void mb_applied_destroy(struct mb_applied *applied)
{
    if (applied == NULL)
        return;
    explicit_bzero(applied, applied->size);
    free(applied);
}
