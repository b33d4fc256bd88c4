/* SPDX-License-Identifier: Apache-2.0 */
/* Settings from the command line become the option structs of a case, on a stream of its own. */
#include "contract.h"

#include <stdlib.h>

#define VALUE_SIZE 512u

/* text with {stream} replaced. */
static void expand(const char *text, const char *stream, char *value)
{
    static const char mark[] = "{stream}";
    const char *at = strstr(text, mark);

    if (at == NULL)
        snprintf(value, VALUE_SIZE, "%s", text);
    else
        snprintf(value, VALUE_SIZE, "%.*s%s%s", (int)(at - text), text, stream,
                 at + sizeof mark - 1);
}

static bool set_one(struct contract *contract, struct mb_settings *settings, const char *setting,
                    const char *stream)
{
    const char *equals = strchr(setting, '=');
    char name[64];
    char value[VALUE_SIZE];
    const char *texts[1] = {value};
    struct mb_error err = {0};
    size_t index;

    if (equals == NULL || (size_t)(equals - setting) >= sizeof name) {
        check_fail(&contract->check, "'%s' is no name=value", setting);
        return false;
    }
    snprintf(name, sizeof name, "%.*s", (int)(equals - setting), setting);
    expand(equals + 1, stream, value);
    if (mb_settings_find(settings->table, name, &index, NULL) != MB_OK) {
        check_fail(&contract->check, "there is no option '%s'", name);
        return false;
    }
    if (mb_settings_set(settings, index, texts, 1, false, 0, &err) != MB_OK) {
        check_fail(&contract->check, "%s: %s", setting, err.text);
        return false;
    }
    return true;
}

struct mb_applied *options_apply(struct contract *contract, const struct mb_option_table *table,
                                 const char *const *list, const char *more, const char *stream)
{
    struct mb_settings settings;
    struct mb_applied *applied = NULL;
    struct mb_error err = {0};
    bool good = true;

    if (mb_settings_init(&settings, table) != MB_OK)
        abort();
    for (size_t i = 0; good && i < SETTINGS_MAX && list[i] != NULL; i++)
        good = set_one(contract, &settings, list[i], stream);
    if (good && more != NULL)
        good = set_one(contract, &settings, more, stream);
    if (good && mb_settings_apply(&settings, true, &applied, &err) != MB_OK)
        check_fail(&contract->check, "options: %s", err.text);
    mb_settings_release(&settings);
    return applied;
}

bool options_fill(struct contract *contract, struct options *options)
{
    const struct mb_backend *backend = contract->backend;

    memset(options, 0, sizeof *options);
    options->contract = contract;
    snprintf(options->stream, sizeof options->stream, "%s-%u", contract->prefix, ++contract->fresh);
    snprintf(options->group, sizeof options->group, "group-%s", options->stream);
    options->endpoint = options_apply(contract, &backend->endpoint_options, contract->endpoint,
                                      NULL, options->stream);
    if (backend->source != NULL)
        options->source = options_apply(contract, &backend->source_options, contract->source, NULL,
                                        options->stream);
    if (backend->sink != NULL)
        options->sink =
            options_apply(contract, &backend->sink_options, contract->sink, NULL, options->stream);
    if (options->endpoint == NULL || (backend->source != NULL && options->source == NULL) ||
        (backend->sink != NULL && options->sink == NULL)) {
        options_close(options);
        return false;
    }
    if (backend->source != NULL)
        options->source_traits = backend->source->traits(mb_applied_struct(options->endpoint),
                                                         mb_applied_struct(options->source));
    if (backend->sink != NULL)
        options->sink_traits = backend->sink->traits(mb_applied_struct(options->endpoint),
                                                     mb_applied_struct(options->sink));
    return true;
}

/* The option that takes a pattern, beside or instead of the one that names the stream. */
static const struct mb_option *pattern_option(const struct mb_option_table *table, const char *name)
{
    const struct mb_option *found = NULL;

    for (size_t i = 0; i < table->count; i++) {
        const struct mb_option *row = &table->rows[i];

        if ((row->flags & MB_OPTION_MAY_BE_PATTERN) == 0)
            continue;
        if (strcmp(row->name, name) == 0)
            return row;
        found = row;
    }
    return found;
}

bool options_pattern(struct options *options)
{
    struct contract *contract = options->contract;
    const struct mb_option_table *table = &contract->backend->source_options;
    const char *list[SETTINGS_MAX];
    char pattern[VALUE_SIZE];

    memcpy(list, contract->source, sizeof list);
    for (size_t i = 0; i < SETTINGS_MAX && list[i] != NULL; i++) {
        const struct mb_option *option;
        char name[64];

        if (strstr(list[i], "{stream}") == NULL)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(list[i], "="), list[i]);
        option = pattern_option(table, name);
        if (option == NULL)
            return false;
        snprintf(pattern, sizeof pattern, "%s=^%s.*", option->name, contract->prefix);
        list[i] = pattern;
        mb_applied_destroy(options->source);
        options->source = options_apply(contract, table, list, NULL, options->stream);
        return options->source != NULL;
    }
    return false;
}

static bool create(struct options *options)
{
    struct contract *contract = options->contract;
    const struct mb_backend *backend = contract->backend;
    struct mb_stream_record record = {.struct_size = sizeof record};
    struct mb_describer *describer = NULL;
    struct mb_error err = {0};
    struct test_host host;
    struct mb_open_params params = {
        .struct_size = sizeof params,
        .host = &host.host,
        .endpoint = mb_applied_struct(options->endpoint),
        .options = mb_applied_struct(options->sink),
        .bridge_name = "contract",
        .route_name = "contract",
        .endpoint_name = "tested",
        .default_group = options->group,
        .timeout_ms = contract->timeout_ms,
    };

    test_host_init(&host, &contract->check, "describer");
    if (backend->stream == NULL || backend->describe == NULL)
        return true;
    if (backend->stream(params.endpoint, MB_ROLE_SINK, params.options, &params, 0, &record) !=
        MB_OK) {
        check_fail(&contract->check, "the sink's options name no stream");
        return false;
    }
    if (record.kind == MB_STREAM_LOG)
        record.partitions_count = contract->partitions;
    if (backend->describe->open(&params, &describer, &err) != MB_OK ||
        backend->describe->ensure(describer, &record, &err) != MB_OK) {
        check_fail(&contract->check, "cannot create '%s': %s", record.name, err.text);
        backend->describe->close(describer);
        return false;
    }
    backend->describe->close(describer);
    if (host.allocated != 0)
        check_fail(&contract->check, "the describer kept %ld allocations", host.allocated);
    return true;
}

bool options_open(struct contract *contract, struct options *options)
{
    if (!options_fill(contract, options))
        return false;
    if (create(options))
        return true;
    options_close(options);
    return false;
}

void options_regroup(struct options *options)
{
    snprintf(options->group, sizeof options->group, "group-%s-%u", options->stream,
             ++options->contract->fresh);
}

void options_close(struct options *options)
{
    mb_applied_destroy(options->endpoint);
    mb_applied_destroy(options->source);
    mb_applied_destroy(options->sink);
    memset(options, 0, sizeof *options);
}
