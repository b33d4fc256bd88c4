/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/members.h"

#include "core/config/suggest.h"

#include <stdlib.h>

#define NAME_SIZE 256

struct texts {
    char **items;
    size_t count;
};

unsigned mb_members_place(struct mb_loader *loader, const char *file, unsigned line)
{
    size_t index = 0;

    line &= MB_LINE_MASK;
    if (file == NULL)
        return line;
    while (index < loader->files_count && strcmp(loader->files[index], file) != 0)
        index++;
    if (index == loader->files_count) {
        if (index == MB_FILES_MAX)
            return 0;
        loader->files[index] = mb_loader_copy(loader, file);
        if (loader->files[index] == NULL)
            return 0;
        loader->files_count++;
    }
    return (unsigned)(index + 1) << MB_LINE_BITS | line;
}

unsigned mb_members_line(struct mb_loader *loader, const config_setting_t *setting)
{
    return mb_members_place(loader, config_setting_source_file(setting),
                            (unsigned)config_setting_source_line(setting));
}

const char *mb_members_found(const config_setting_t *setting, char *buffer, size_t size)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        snprintf(buffer, size, "the number %lld", config_setting_get_int64(setting));
        return buffer;
    case CONFIG_TYPE_FLOAT:
        snprintf(buffer, size, "the number %g", config_setting_get_float(setting));
        return buffer;
    case CONFIG_TYPE_BOOL:
        return config_setting_get_bool(setting) ? "true" : "false";
    case CONFIG_TYPE_STRING:
        return "a string";
    case CONFIG_TYPE_GROUP:
        return "a group";
    default:
        return "a list";
    }
}

static void texts_release(struct texts *texts)
{
    for (size_t i = 0; i < texts->count; i++) {
        explicit_bzero(texts->items[i], strlen(texts->items[i]));
        free(texts->items[i]);
    }
    free(texts->items);
}

static bool texts_add(struct mb_loader *loader, struct texts *texts, const char *text)
{
    char **items = realloc(texts->items, (texts->count + 1) * sizeof *items);

    if (items != NULL) {
        texts->items = items;
        items[texts->count] = mb_loader_copy(loader, text);
        if (items[texts->count] != NULL) {
            texts->count++;
            return true;
        }
    }
    loader->no_memory = true;
    return false;
}

/* A scalar as text; NULL if it is none that a row of that type may be written as. */
static const char *scalar_text(uint32_t type, const config_setting_t *value, char *buffer,
                               size_t size)
{
    bool is_number = type == MB_OPTION_INTEGER || type == MB_OPTION_SIZE ||
                     type == MB_OPTION_DURATION || type == MB_OPTION_PAIRS;

    switch (config_setting_type(value)) {
    case CONFIG_TYPE_STRING:
        return config_setting_get_string(value);
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        if (!is_number)
            return NULL;
        snprintf(buffer, size, "%lld", config_setting_get_int64(value));
        return buffer;
    case CONFIG_TYPE_BOOL:
        if (type != MB_OPTION_BOOL && type != MB_OPTION_PAIRS)
            return NULL;
        return config_setting_get_bool(value) ? "true" : "false";
    default:
        return NULL;
    }
}

static void mismatch(struct mb_members *members, const struct mb_option *row,
                     const config_setting_t *value, unsigned line)
{
    char expects[256];
    char found[64];

    if (members->loader->no_memory)
        return; /* it may be that alone */
    mb_loader_error(members->loader, line, "%s must be %s, not %s", row->name,
                    mb_option_expects(row, expects, sizeof expects),
                    mb_members_found(value, found, sizeof found));
}

/* A group of name = value for a row of pairs. */
static bool pair_text(struct mb_loader *loader, const config_setting_t *value, struct texts *texts)
{
    char buffer[32];
    const char *text = scalar_text(MB_OPTION_PAIRS, value, buffer, sizeof buffer);
    char *pair = NULL;
    bool ok;

    if (text == NULL)
        return false;
    if (asprintf(&pair, "%s=%s", config_setting_name(value), text) < 0) {
        loader->no_memory = true;
        return false;
    }
    ok = texts_add(loader, texts, pair);
    free(pair);
    return ok;
}

/* What is written for a row, as texts. False: a mismatch, which is reported. */
static bool gather(struct mb_members *members, const struct mb_option *row,
                   const config_setting_t *value, unsigned line, struct texts *texts,
                   bool *ret_is_list)
{
    int type = config_setting_type(value);
    bool is_group = type == CONFIG_TYPE_GROUP;
    char buffer[32];
    const char *text;

    *ret_is_list = is_group || type == CONFIG_TYPE_LIST || type == CONFIG_TYPE_ARRAY;
    if (!*ret_is_list) {
        text = scalar_text(row->type, value, buffer, sizeof buffer);
        if (text != NULL && texts_add(members->loader, texts, text))
            return true;
        mismatch(members, row, value, line);
        return false;
    }
    if ((is_group && row->type != MB_OPTION_PAIRS) ||
        (row->type != MB_OPTION_PAIRS && row->type != MB_OPTION_LIST)) {
        mismatch(members, row, value, line);
        return false;
    }
    for (int i = 0; i < config_setting_length(value); i++) {
        const config_setting_t *item = config_setting_get_elem(value, (unsigned)i);
        bool ok;

        if (is_group) {
            ok = pair_text(members->loader, item, texts);
        } else {
            ok = config_setting_type(item) == CONFIG_TYPE_STRING &&
                 texts_add(members->loader, texts, config_setting_get_string(item));
        }
        if (!ok) {
            mismatch(members, row, item, line);
            return false;
        }
    }
    return true;
}

/* The row of that name among the targets. */
static struct mb_settings *find_row(const struct mb_members *members, const char *name,
                                    size_t *ret_index)
{
    for (size_t i = 0; i < members->targets_count; i++) {
        if (mb_settings_find(members->targets[i]->table, name, ret_index, NULL) == MB_OK)
            return members->targets[i];
    }
    return NULL;
}

static bool has_rows_below(const struct mb_members *members, const char *name)
{
    size_t size = strlen(name);

    for (size_t i = 0; i < members->targets_count; i++) {
        const struct mb_option_table *table = members->targets[i]->table;

        for (size_t k = 0; k < table->count; k++) {
            if (strncmp(table->rows[k].name, name, size) == 0 && table->rows[k].name[size] == '.')
                return true;
        }
    }
    return false;
}

static void report_unknown(struct mb_members *members, const char *prefix, const char *name,
                           unsigned line)
{
    size_t prefix_size = strlen(prefix);
    struct mb_suggestion suggestion;
    char part[NAME_SIZE];
    char offer[NAME_SIZE];
    char hint[NAME_SIZE + 32];

    mb_suggestion_init(&suggestion, name);
    for (size_t i = 0; prefix_size == 0 && members->structural[i] != NULL; i++)
        mb_suggestion_offer(&suggestion, members->structural[i]);
    for (size_t i = 0; i < members->targets_count; i++) {
        const struct mb_option_table *table = members->targets[i]->table;

        for (size_t k = 0; k < table->count; k++) {
            const char *row = table->rows[k].name;
            const char *before = suggestion.best;

            if (strncmp(row, prefix, prefix_size) != 0)
                continue;
            snprintf(part, sizeof part, "%s", row + prefix_size);
            part[strcspn(part, ".")] = '\0';
            mb_suggestion_offer(&suggestion, part);
            if (suggestion.best != before) {
                memcpy(offer, part, sizeof part);
                suggestion.best = offer;
            }
        }
    }
    mb_loader_error(members->loader, line, "unknown key \"%s%s\" in %s%s", prefix, name,
                    members->owner, mb_suggestion_text(&suggestion, hint, sizeof hint));
}

static void set_row(struct mb_members *members, struct mb_settings *settings, size_t index,
                    const config_setting_t *value, unsigned line)
{
    struct texts texts = {0};
    enum mb_status status;
    struct mb_error err;
    bool is_list;

    settings->rows[index].is_wrong = true;
    if (config_setting_is_number(value) && mb_loader_has_wrong_number(members->loader, line))
        return;
    if (gather(members, &settings->table->rows[index], value, line, &texts, &is_list)) {
        mb_error_clear(&err);
        status = mb_settings_set(settings, index, (const char *const *)texts.items, texts.count,
                                 is_list, line, &err);
        members->loader->no_memory |= status == MB_NO_MEMORY;
        if (status != MB_OK && status != MB_NO_MEMORY)
            mb_loader_error(members->loader, line, "%s", err.text);
    }
    texts_release(&texts);
}

/* A group of options turns on the row that has its name. */
static void turn_on(struct mb_members *members, struct mb_settings *settings, size_t index,
                    unsigned line)
{
    const char *yes = "true";
    struct mb_error err;

    if (settings->table->rows[index].type == MB_OPTION_BOOL)
        members->loader->no_memory |=
            mb_settings_set(settings, index, &yes, 1, false, line, &err) == MB_NO_MEMORY;
}

static void read_below(struct mb_members *members, config_setting_t *group, const char *prefix)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        config_setting_t *value = config_setting_get_elem(group, (unsigned)i);
        const char *name = config_setting_name(value);
        unsigned line = mb_members_line(members->loader, value);
        struct mb_settings *settings;
        char full[NAME_SIZE];
        bool is_structural = false;
        size_t index = 0;

        for (size_t k = 0; prefix[0] == '\0' && members->structural[k] != NULL; k++)
            is_structural |= strcmp(members->structural[k], name) == 0;
        if (is_structural)
            continue;
        if (snprintf(full, sizeof full, "%s%s", prefix, name) >= (int)sizeof full) {
            mb_loader_error(members->loader, line, "a key of %s is too long", members->owner);
            continue;
        }
        settings = find_row(members, full, &index);
        if (config_setting_is_group(value) && has_rows_below(members, full)) {
            if (settings != NULL)
                turn_on(members, settings, index, line);
            if (snprintf(full, sizeof full, "%s%s.", prefix, name) < (int)sizeof full)
                read_below(members, value, full);
        } else if (settings != NULL) {
            set_row(members, settings, index, value, line);
        } else if (has_rows_below(members, full)) {
            char found[64];

            mb_loader_error(members->loader, line, "%s must be a group: %s = { … }; not %s", full,
                            name, mb_members_found(value, found, sizeof found));
        } else if (!members->is_lenient) {
            report_unknown(members, prefix, name, line);
        }
    }
}

void mb_members_read(struct mb_members *members, config_setting_t *group)
{
    read_below(members, group, "");
}
