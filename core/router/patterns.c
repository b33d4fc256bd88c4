/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/patterns.h"

#include <fnmatch.h>
#include <regex.h>
#include <stdlib.h>

#define NAMES_MAX 65536u

bool mb_pattern_is_one(const char *text)
{
    return text[0] == '^' || strpbrk(text, "*?[") != NULL;
}

/* The whole name has to match, as in other mirroring tools. */
static bool regex_matches(const regex_t *regex, const char *name)
{
    regmatch_t match;

    return regexec(regex, name, 1, &match, 0) == 0 && match.rm_so == 0 && name[match.rm_eo] == '\0';
}

bool mb_pattern_matches(const char *text, const char *name)
{
    regex_t regex;
    bool matches;

    if (text[0] != '^')
        return mb_pattern_is_one(text) ? fnmatch(text, name, 0) == 0 : strcmp(text, name) == 0;
    if (regcomp(&regex, text, REG_EXTENDED) != 0)
        return false;
    matches = regex_matches(&regex, name);
    regfree(&regex);
    return matches;
}

/* Patterns for many names: expressions are compiled once. */
struct matcher {
    const char *text;
    bool is_regex;
    regex_t regex;
};

struct matchers {
    struct matcher *items;
    size_t count;
};

static void matchers_release(struct matchers *matchers)
{
    for (size_t i = 0; i < matchers->count; i++) {
        if (matchers->items[i].is_regex)
            regfree(&matchers->items[i].regex);
    }
    free(matchers->items);
}

/* An expression that does not compile was refused with the configuration: it matches nothing. */
static bool matchers_init(struct matchers *matchers, char *const *texts, size_t count)
{
    matchers->items = calloc(count + 1, sizeof *matchers->items);
    if (matchers->items == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct matcher *matcher = &matchers->items[matchers->count];

        matcher->is_regex = texts[i][0] == '^';
        if (matcher->is_regex && regcomp(&matcher->regex, texts[i], REG_EXTENDED) != 0)
            continue;
        matcher->text = texts[i];
        matchers->count++;
    }
    return true;
}

static bool matchers_match(const struct matchers *matchers, const char *name)
{
    for (size_t i = 0; i < matchers->count; i++) {
        const struct matcher *matcher = &matchers->items[i];

        if (matcher->is_regex ? regex_matches(&matcher->regex, name)
                              : mb_pattern_matches(matcher->text, name))
            return true;
    }
    return false;
}

struct resolve {
    struct matchers wanted;
    struct matchers excluded;
    struct matchers never;
    char **names;
    size_t count;
    size_t capacity;
    bool failed;
};

static bool any_matches(char *const *patterns, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (mb_pattern_matches(patterns[i], name))
            return true;
    }
    return false;
}

bool mb_pattern_leaves_out(const struct mb_config_stream *source, const char *name)
{
    return any_matches(source->exclude, source->exclude_count, name) ||
           any_matches(source->endpoint->never, source->endpoint->never_count, name);
}

static void name_add(struct resolve *resolve, const char *name)
{
    if (resolve->count == resolve->capacity) {
        size_t capacity = resolve->capacity == 0 ? 16 : resolve->capacity * 2;
        char **names =
            capacity <= NAMES_MAX ? realloc(resolve->names, capacity * sizeof *names) : NULL;

        if (names == NULL) {
            resolve->failed = true;
            return;
        }
        resolve->names = names;
        resolve->capacity = capacity;
    }
    resolve->names[resolve->count] = strdup(name);
    if (resolve->names[resolve->count] == NULL)
        resolve->failed = true;
    else
        resolve->count++;
}

static void each_stream(void *context, const char *name, bool internal)
{
    struct resolve *resolve = context;

    if (internal || resolve->failed || !matchers_match(&resolve->wanted, name) ||
        matchers_match(&resolve->excluded, name) || matchers_match(&resolve->never, name))
        return;
    name_add(resolve, name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

const struct mb_setting *mb_pattern_row(const struct mb_config_stream *source)
{
    const struct mb_option_table *table = source->settings.table;

    for (size_t i = 0; i < table->count; i++) {
        const struct mb_setting *row = &source->settings.rows[i];

        if (!row->is_set || (table->rows[i].flags & MB_OPTION_MAY_BE_PATTERN) == 0)
            continue;
        for (size_t j = 0; j < row->texts_count; j++) {
            if (mb_pattern_is_one(row->texts[j]))
                return row;
        }
    }
    return NULL;
}

void mb_pattern_groups(const struct mb_config_stream *source, const char *name,
                       struct mb_matches *ret_matches)
{
    const struct mb_setting *row = mb_pattern_row(source);
    bool found = false;

    *ret_matches = (struct mb_matches){0};
    for (size_t i = 0; row != NULL && i < row->texts_count && !found; i++) {
        regmatch_t groups[MB_MATCHES_MAX];
        regex_t regex;

        if (row->texts[i][0] != '^' || regcomp(&regex, row->texts[i], REG_EXTENDED) != 0)
            continue;
        found = regexec(&regex, name, MB_MATCHES_MAX, groups, 0) == 0 && groups[0].rm_so == 0 &&
                name[groups[0].rm_eo] == '\0';
        for (size_t k = 0; k < MB_MATCHES_MAX && found; k++) {
            if (groups[k].rm_so >= 0)
                ret_matches->groups[k] = (struct mb_slice){
                    name + groups[k].rm_so, (size_t)(groups[k].rm_eo - groups[k].rm_so)};
        }
        regfree(&regex);
    }
}

int mb_pattern_groups_count(const struct mb_config_stream *source)
{
    const struct mb_setting *row = mb_pattern_row(source);
    int count = -1;

    for (size_t i = 0; row != NULL && i < row->texts_count; i++) {
        regex_t regex;

        if (row->texts[i][0] != '^' || regcomp(&regex, row->texts[i], REG_EXTENDED) != 0)
            continue;
        if ((int)regex.re_nsub > count)
            count = (int)regex.re_nsub;
        regfree(&regex);
    }
    return count;
}

void mb_names_release(struct mb_strings *names)
{
    for (size_t i = 0; i < names->count; i++)
        free((void *)(uintptr_t)names->items[i]);
    free((void *)(uintptr_t)names->items);
    *names = (struct mb_strings){0};
}

static enum mb_status list(struct resolve *resolve, const struct mb_describe_ops *ops,
                           const struct mb_open_params *params, struct mb_error *err)
{
    struct mb_describer *describer = NULL;
    enum mb_status status = ops->open(params, &describer, err);

    if (status != MB_OK)
        return status;
    status = ops->list(describer, each_stream, resolve, err);
    ops->close(describer);
    if (status == MB_OK && resolve->failed)
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory",
                              "out of memory, or more than %u streams match", NAMES_MAX);
    return status;
}

enum mb_status mb_patterns_resolve(const struct mb_config_stream *source,
                                   const struct mb_open_params *params,
                                   struct mb_strings *ret_names, struct mb_error *err)
{
    const struct mb_describe_ops *ops = source->endpoint->backend->describe;
    const struct mb_setting *row = mb_pattern_row(source);
    struct resolve resolve = {.count = 0};
    enum mb_status status;

    *ret_names = (struct mb_strings){0};
    if (row == NULL)
        return MB_OK;
    if (ops == NULL || ops->list == NULL)
        return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "pattern",
                            "backend %s cannot list its streams, so patterns cannot be used",
                            source->endpoint->backend->name);
    if (matchers_init(&resolve.wanted, row->texts, row->texts_count) &&
        matchers_init(&resolve.excluded, source->exclude, source->exclude_count) &&
        matchers_init(&resolve.never, source->endpoint->never, source->endpoint->never_count))
        status = list(&resolve, ops, params, err);
    else
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    matchers_release(&resolve.wanted);
    matchers_release(&resolve.excluded);
    matchers_release(&resolve.never);
    if (resolve.count > 0)
        qsort(resolve.names, resolve.count, sizeof *resolve.names, compare_names);
    ret_names->items = (const char *const *)resolve.names;
    ret_names->count = resolve.count;
    if (status == MB_OK && resolve.count == 0)
        status = mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing",
                              "no stream matches \"%s\"", row->texts[0]);
    if (status != MB_OK)
        mb_names_release(ret_names);
    return status;
}
