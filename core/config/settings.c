/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/settings.h"

#include "core/config/secret.h"
#include "core/config/suggest.h"
#include "core/router/names.h"
#include "kit/text.h"
#include "kit/utf8.h"

#include <regex.h>
#include <stdlib.h>
#include <time.h>

/* What of a wrong value is repeated in a message. */
#define SHOWN_MAX 60

enum mb_status mb_settings_init(struct mb_settings *settings, const struct mb_option_table *table)
{
    memset(settings, 0, sizeof *settings);
    settings->table = table;
    settings->rows = calloc(table->count + 1, sizeof *settings->rows);
    return settings->rows != NULL ? MB_OK : MB_NO_MEMORY;
}

static void setting_clear(struct mb_setting *setting, bool is_secret)
{
    for (size_t i = 0; i < setting->texts_count; i++) {
        if (is_secret)
            explicit_bzero(setting->texts[i], strlen(setting->texts[i]));
        free(setting->texts[i]);
    }
    free(setting->texts);
    memset(setting, 0, sizeof *setting);
}

void mb_settings_release(struct mb_settings *settings)
{
    for (size_t i = 0; settings->rows != NULL && i < settings->table->count; i++)
        setting_clear(&settings->rows[i], true);
    free(settings->rows);
    memset(settings, 0, sizeof *settings);
}

enum mb_status mb_settings_find(const struct mb_option_table *table, const char *name,
                                size_t *ret_index, const char **ret_near)
{
    struct mb_suggestion suggestion;

    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->rows[i].name, name) == 0) {
            *ret_index = i;
            return MB_OK;
        }
    }
    if (ret_near != NULL) {
        mb_suggestion_init(&suggestion, name);
        for (size_t i = 0; i < table->count; i++)
            mb_suggestion_offer(&suggestion, table->rows[i].name);
        *ret_near = suggestion.best;
    }
    return MB_NOT_FOUND;
}

const char *mb_option_type_name(const struct mb_option *row)
{
    static const char *const names[] = {"string", "bool", "integer", "size",     "duration",
                                        "choice", "list", "pairs",   "template", "start"};

    return row->type < sizeof names / sizeof *names ? names[row->type] : "unknown";
}

static const char *choices_text(const struct mb_option *row, char *buffer, size_t size)
{
    size_t used = (size_t)snprintf(buffer, size, "one of ");

    for (size_t i = 0; row->choices[i] != NULL && used < size; i++)
        used += (size_t)snprintf(buffer + used, size - used, "%s\"%s\"", i > 0 ? ", " : "",
                                 row->choices[i]);
    return buffer;
}

const char *mb_option_expects(const struct mb_option *row, char *buffer, size_t size)
{
    switch ((enum mb_option_type)row->type) {
    case MB_OPTION_BOOL:
        return "true or false";
    case MB_OPTION_INTEGER:
        return "a whole number";
    case MB_OPTION_SIZE:
        return "a number of bytes or a size such as \"64KiB\" or \"2GiB\"";
    case MB_OPTION_DURATION:
        return "a duration such as \"250ms\", \"10s\" or \"5m\"";
    case MB_OPTION_ENUM:
        return choices_text(row, buffer, size);
    case MB_OPTION_LIST:
        return "a list of strings";
    case MB_OPTION_PAIRS:
        return "a list of \"name=value\" or a group of name = value";
    case MB_OPTION_START:
        return "\"earliest\", \"latest\", \"stored\", a time such as \"2026-01-31T00:00:00Z\", or "
               "\"-1h\"";
    case MB_OPTION_STRING:
    case MB_OPTION_TEMPLATE:
        break;
    }
    return "a string";
}

static enum mb_status wrong(const struct mb_option *row, const char *text, struct mb_error *err)
{
    char buffer[256];
    const char *expects = mb_option_expects(row, buffer, sizeof buffer);

    if (row->flags & MB_OPTION_IS_SECRET)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "option", "%s must be %s", row->name,
                            expects);
    return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "option", "%s must be %s, not \"%.*s\"%s",
                        row->name, expects, SHOWN_MAX, text,
                        row->type == MB_OPTION_DURATION &&
                                strspn(text, "0123456789") == strlen(text)
                            ? ": its unit is missing"
                            : "");
}

/* A number of the row's type as people write it. */
static const char *bound_text(const struct mb_option *row, int64_t value, char *buffer, size_t size)
{
    static const struct {
        int64_t factor;
        const char *name;
    } durations[] = {{3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}},
      sizes[] = {{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}, {1, ""}}, *units;

    units = row->type == MB_OPTION_DURATION ? durations : sizes;
    if (row->type == MB_OPTION_INTEGER || value == 0) {
        snprintf(buffer, size, "%lld", (long long)value);
        return buffer;
    }
    while (value % units->factor != 0)
        units++;
    snprintf(buffer, size, "%lld%s", (long long)(value / units->factor), units->name);
    return buffer;
}

static enum mb_status check_bounds(const struct mb_option *row, const char *text, int64_t value,
                                   struct mb_error *err)
{
    int64_t max = row->min == 0 && row->max == 0 ? INT64_MAX : row->max;
    char low[32];
    char high[32];

    if (value >= row->min && value <= max)
        return MB_OK;
    bound_text(row, row->min, low, sizeof low);
    bound_text(row, max, high, sizeof high);
    if (max == INT64_MAX)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "option",
                            "%s must be at least %s, not %.*s", row->name, low, SHOWN_MAX, text);
    return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "option",
                        "%s must be between %s and %s, not %.*s", row->name, low, high, SHOWN_MAX,
                        text);
}

/* The number that stands in the field of a number-like row. */
static enum mb_status parse_number(const struct mb_option *row, const char *text,
                                   int64_t *ret_value, struct mb_error *err)
{
    enum mb_status status = MB_INVALID;

    if (row->type == MB_OPTION_ENUM) {
        for (int64_t i = 0; row->choices[i] != NULL; i++) {
            if (strcmp(row->choices[i], text) == 0) {
                *ret_value = i;
                return MB_OK;
            }
        }
        return wrong(row, text, err);
    }
    if (text[0] == '-' && mb_parse_integer(text, ret_value) == MB_OK)
        return check_bounds(row, text, *ret_value, err);
    if (row->type == MB_OPTION_INTEGER)
        status = mb_parse_integer(text, ret_value);
    else if (row->type == MB_OPTION_SIZE)
        status = mb_parse_size_bytes(text, ret_value);
    else if (row->type == MB_OPTION_DURATION)
        status = mb_parse_duration_ms(text, ret_value);
    if (status != MB_OK && text[0] != '\0' && strspn(text, "0123456789") == strlen(text) &&
        row->type != MB_OPTION_DURATION)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "option",
                            "%s: the number %.*s is too large", row->name, SHOWN_MAX, text);
    if (status != MB_OK)
        return wrong(row, text, err);
    return check_bounds(row, text, *ret_value, err);
}

static enum mb_status check_pattern(const struct mb_option *row, const char *text,
                                    struct mb_error *err)
{
    char reason[128];
    regex_t regex;
    int code;

    if (!(row->flags & MB_OPTION_MAY_BE_PATTERN) || text[0] != '^')
        return MB_OK;
    code = regcomp(&regex, text, REG_EXTENDED | REG_NOSUB);
    if (code == 0) {
        regfree(&regex);
        return MB_OK;
    }
    regerror(code, &regex, reason, sizeof reason);
    return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "option",
                        "%s: \"%.*s\" is no regular expression: %s", row->name, SHOWN_MAX, text,
                        reason);
}

static enum mb_status check_template(const struct mb_option *row, const char *text,
                                     struct mb_error *err)
{
    struct mb_template *template = NULL;
    struct mb_error why;
    enum mb_status status;

    mb_error_clear(&why);
    status = mb_template_create(text, &template, &why);
    mb_template_destroy(template);
    if (status == MB_OK)
        return MB_OK;
    return mb_error_set(err, status, MB_CAUSE_NONE, "option", "%s: %.400s", row->name, why.text);
}

/* One text against its row; nothing is stored. */
static enum mb_status check_text(const struct mb_option *row, const char *text,
                                 struct mb_error *err)
{
    struct mb_position position;
    int64_t number;

    if (!mb_utf8_valid(mb_slice_text(text)))
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "option", "%s is not valid UTF-8",
                            row->name);
    switch ((enum mb_option_type)row->type) {
    case MB_OPTION_STRING:
    case MB_OPTION_LIST:
        return check_pattern(row, text, err);
    case MB_OPTION_BOOL:
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
            return MB_OK;
        return wrong(row, text, err);
    case MB_OPTION_INTEGER:
    case MB_OPTION_SIZE:
    case MB_OPTION_DURATION:
    case MB_OPTION_ENUM:
        return parse_number(row, text, &number, err);
    case MB_OPTION_PAIRS:
        if (text[0] != '=' && strchr(text, '=') != NULL)
            return MB_OK;
        return wrong(row, text, err);
    case MB_OPTION_TEMPLATE:
        return check_template(row, text, err);
    case MB_OPTION_START:
        if (mb_parse_start(text, INT64_MAX, &position) == MB_OK)
            return MB_OK;
        return wrong(row, text, err);
    }
    return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "option",
                        "%s is of a type that this version does not know", row->name);
}

static bool takes_list(const struct mb_option *row)
{
    return row->type == MB_OPTION_LIST || row->type == MB_OPTION_PAIRS;
}

static enum mb_status check_texts(const struct mb_option *row, const char *const *texts,
                                  size_t texts_count, bool is_list, struct mb_error *err)
{
    char buffer[256];
    enum mb_status status = MB_OK;

    if (!takes_list(row) && (is_list || texts_count != 1))
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "option",
                            "%s takes one value, not a list: it must be %s", row->name,
                            mb_option_expects(row, buffer, sizeof buffer));
    if (texts_count == 0 && row->flags & MB_OPTION_NAMES_STREAM)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "option", "%s is an empty list",
                            row->name);
    for (size_t i = 0; i < texts_count && status == MB_OK; i++) {
        status = check_text(row, texts[i], err);
        if (status == MB_OK && texts[i][0] == '\0' && row->flags & MB_OPTION_NAMES_STREAM)
            status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "option", "%s must not be empty",
                                  row->name);
    }
    return status;
}

enum mb_status mb_settings_set(struct mb_settings *settings, size_t index, const char *const *texts,
                               size_t texts_count, bool is_list, unsigned line,
                               struct mb_error *err)
{
    const struct mb_option *row = &settings->table->rows[index];
    struct mb_setting setting = {.is_set = true, .line = line, .is_list = is_list};
    enum mb_status status = check_texts(row, texts, texts_count, is_list, err);

    if (status != MB_OK)
        return status;
    setting.texts = calloc(texts_count + 1, sizeof *setting.texts);
    for (size_t i = 0; setting.texts != NULL && i < texts_count; i++) {
        setting.texts[i] = strdup(texts[i]);
        if (setting.texts[i] == NULL)
            break;
        setting.texts_count++;
    }
    if (setting.texts == NULL || setting.texts_count != texts_count) {
        setting_clear(&setting, true);
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    }
    setting_clear(&settings->rows[index], true);
    settings->rows[index] = setting;
    return MB_OK;
}

const char *mb_settings_text(const struct mb_settings *settings, const char *name)
{
    size_t index;

    if (settings->table == NULL || mb_settings_find(settings->table, name, &index, NULL) != MB_OK)
        return NULL;
    if (!settings->rows[index].is_set)
        return settings->table->rows[index].default_text;
    return settings->rows[index].texts_count > 0 ? settings->rows[index].texts[0] : NULL;
}

unsigned mb_settings_line(const struct mb_settings *settings, const char *name)
{
    size_t index;

    if (settings->table == NULL || mb_settings_find(settings->table, name, &index, NULL) != MB_OK ||
        !settings->rows[index].is_set)
        return settings->line;
    return settings->rows[index].line;
}

uint64_t mb_settings_templated(const struct mb_settings *settings)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < settings->table->count; i++) {
        const struct mb_option *row = &settings->table->rows[i];
        const char *text = mb_settings_text(settings, row->name);
        struct mb_template *template = NULL;
        struct mb_error err;

        if (row->type != MB_OPTION_TEMPLATE || text == NULL ||
            mb_template_create(text, &template, &err) != MB_OK)
            continue;
        if (!mb_template_is_fixed(template))
            mask |= 1ull << row->slot;
        mb_template_destroy(template);
    }
    return mask;
}

bool mb_settings_equal(const struct mb_settings *a, const struct mb_settings *b)
{
    if (a->table != b->table)
        return false;
    for (size_t i = 0; a->table != NULL && i < a->table->count; i++) {
        const struct mb_setting *one = &a->rows[i];
        const struct mb_setting *other = &b->rows[i];

        if (one->is_set != other->is_set || one->texts_count != other->texts_count)
            return false;
        for (size_t k = 0; k < one->texts_count; k++) {
            if (strcmp(one->texts[k], other->texts[k]) != 0)
                return false;
        }
    }
    return true;
}
