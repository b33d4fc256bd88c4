/* SPDX-License-Identifier: Apache-2.0 */
/* What can be said of a descriptor without opening anything. */
#include "contract.h"

#include <stdlib.h>

void case_descriptor(struct contract *contract)
{
    const struct mb_backend *backend = contract->backend;
    struct check *check = &contract->check;

    if (backend->abi_version >> 16 != MB_ABI_MAJOR)
        check_fail(check, "abi_version is %x", backend->abi_version);
    if (backend->struct_size < sizeof *backend)
        check_fail(check, "struct_size is %u, less than this version's %zu", backend->struct_size,
                   sizeof *backend);
    if (backend->name == NULL || backend->name[0] == '\0')
        check_fail(check, "there is no name");
    if (backend->doc == NULL || backend->doc[0] == '\0')
        check_fail(check, "there is no doc");
    if (backend->provider == NULL || backend->provider[0] == '\0')
        check_fail(check, "there is no provider");
    if (backend->library_version == NULL || backend->library_version() == NULL)
        check_fail(check, "there is no library version");
    if (backend->source == NULL && backend->sink == NULL)
        check_fail(check, "there is neither source nor sink");
    if (backend->source != NULL && backend->source->struct_size < sizeof *backend->source)
        check_fail(check, "struct_size of the source operations is too small");
    if (backend->sink != NULL && backend->sink->struct_size < sizeof *backend->sink)
        check_fail(check, "struct_size of the sink operations is too small");
    if (backend->describe != NULL && backend->describe->struct_size < sizeof *backend->describe)
        check_fail(check, "struct_size of the describe operations is too small");
    if (backend->url_rules_count > 0 && backend->url_rules == NULL)
        check_fail(check, "url_rules_count without url_rules");
}

static size_t field_size(uint32_t type)
{
    switch ((enum mb_option_type)type) {
    case MB_OPTION_STRING:
    case MB_OPTION_TEMPLATE:
        return sizeof(const char *);
    case MB_OPTION_BOOL:
        return sizeof(bool);
    case MB_OPTION_INTEGER:
    case MB_OPTION_SIZE:
    case MB_OPTION_DURATION:
    case MB_OPTION_ENUM:
        return sizeof(int64_t);
    case MB_OPTION_LIST:
    case MB_OPTION_PAIRS:
        return sizeof(struct mb_strings);
    case MB_OPTION_START:
        return sizeof(struct mb_position);
    }
    return 0;
}

static void check_default(struct check *check, const char *which,
                          const struct mb_option_table *table, size_t index)
{
    const struct mb_option *row = &table->rows[index];
    struct mb_settings settings;
    struct mb_error err = {0};

    if (row->default_text == NULL)
        return;
    if ((row->flags & MB_OPTION_REQUIRED) != 0)
        check_fail(check, "%s option %s is required and has a default", which, row->name);
    if (mb_settings_init(&settings, table) != MB_OK)
        abort();
    if (mb_settings_set(&settings, index, &row->default_text, 1, false, 0, &err) != MB_OK)
        check_fail(check, "%s option %s refuses its default '%s': %s", which, row->name,
                   row->default_text, err.text);
    mb_settings_release(&settings);
}

static void check_row(struct check *check, const char *which, const struct mb_option_table *table,
                      size_t index)
{
    const struct mb_option *row = &table->rows[index];
    size_t size = field_size(row->type);

    if (row->name == NULL || row->name[0] == '\0' ||
        row->name[strspn(row->name, "abcdefghijklmnopqrstuvwxyz0123456789_.")] != '\0') {
        check_fail(check, "%s option %zu has a bad name", which, index);
        return;
    }
    if (size == 0) {
        check_fail(check, "%s option %s has the unknown type %u", which, row->name, row->type);
        return;
    }
    if (row->offset + size > table->struct_size)
        check_fail(check, "%s option %s lies outside of its struct", which, row->name);
    if (row->doc == NULL || strlen(row->doc) < 8)
        check_fail(check, "%s option %s has no doc", which, row->name);
    if (row->min > row->max)
        check_fail(check, "%s option %s has min > max", which, row->name);
    if (row->type == MB_OPTION_ENUM && (row->choices == NULL || row->choices[0] == NULL))
        check_fail(check, "%s option %s has no choices", which, row->name);
    if (row->type == MB_OPTION_TEMPLATE && row->slot >= MB_NAMES_MAX)
        check_fail(check, "%s option %s has slot %u", which, row->name, row->slot);
    for (size_t i = 0; i < index; i++) {
        const struct mb_option *other = &table->rows[i];

        if (strcmp(other->name, row->name) == 0)
            check_fail(check, "%s option %s is there twice", which, row->name);
        if (other->offset < row->offset + size &&
            row->offset < other->offset + field_size(other->type))
            check_fail(check, "%s options %s and %s share memory", which, other->name, row->name);
        if (row->type == MB_OPTION_TEMPLATE && other->type == MB_OPTION_TEMPLATE &&
            row->slot == other->slot)
            check_fail(check, "%s options %s and %s share a slot", which, other->name, row->name);
    }
    check_default(check, which, table, index);
}

static void check_table(struct check *check, const char *which, const struct mb_option_table *table,
                        bool names_streams)
{
    bool named = false;

    if (table->count > 0 && (table->rows == NULL || table->struct_size == 0)) {
        check_fail(check, "the %s table has no rows or no struct", which);
        return;
    }
    for (size_t i = 0; i < table->count; i++) {
        check_row(check, which, table, i);
        named =
            named || (table->rows[i].flags & (MB_OPTION_NAMES_STREAM | MB_OPTION_REQUIRED)) != 0;
    }
    if (names_streams && !named)
        check_fail(check, "no %s option names a stream", which);
}

static bool has_option(const struct mb_option_table *table, const char *name)
{
    size_t index;

    return mb_settings_find(table, name, &index, NULL) == MB_OK;
}

void case_option_rows(struct contract *contract)
{
    const struct mb_backend *backend = contract->backend;
    struct check *check = &contract->check;

    check_table(check, "endpoint", &backend->endpoint_options, false);
    if (backend->source != NULL)
        check_table(check, "source", &backend->source_options, true);
    if (backend->sink != NULL)
        check_table(check, "sink", &backend->sink_options, true);
    for (size_t i = 0; i < backend->url_rules_count; i++) {
        const struct mb_url_rule *rule = &backend->url_rules[i];

        if (rule->scheme == NULL || rule->scheme[0] == '\0')
            check_fail(check, "URL rule %zu has no scheme", i);
        if (rule->uri_option != NULL && !has_option(&backend->endpoint_options, rule->uri_option))
            check_fail(check, "URL rule %zu names no option", i);
        if (rule->authority_option != NULL &&
            !has_option(&backend->endpoint_options, rule->authority_option))
            check_fail(check, "URL rule %zu names no option", i);
        if (rule->path_option != NULL &&
            ((backend->source != NULL &&
              !has_option(&backend->source_options, rule->path_option)) ||
             (backend->sink != NULL && !has_option(&backend->sink_options, rule->path_option))))
            check_fail(check, "URL rule %zu names no option of the streams", i);
    }
}

static void check_source_slots(struct check *check, const struct mb_source_ops *ops,
                               uint64_t traits)
{
    if (ops->traits == NULL || ops->open == NULL || ops->fds == NULL || ops->poll == NULL ||
        ops->ack == NULL || ops->start == NULL || ops->stop == NULL || ops->service == NULL ||
        ops->close == NULL)
        check_fail(check, "a source operation is missing");
    if (((traits & MB_SOURCE_COMMITS) != 0) != (ops->commit != NULL) &&
        (traits & MB_SOURCE_COMMITS) != 0)
        check_fail(check, "the source commits and has no commit");
    if ((traits & MB_SOURCE_DIVIDES_BY_KEY) != 0 && (traits & MB_SOURCE_EXCLUSIVE) != 0)
        check_fail(check, "the source divides by key and is exclusive");
    if ((traits & ~UINT64_C(0x7f)) != 0)
        check_fail(check, "the source has unknown traits");
}

static void check_sink_slots(struct check *check, const struct mb_sink_ops *ops, uint64_t traits)
{
    bool transactions = ops->begin != NULL && ops->commit != NULL && ops->abort != NULL;

    if (ops->traits == NULL || ops->open == NULL || ops->fds == NULL || ops->send == NULL ||
        ops->completions == NULL || ops->flush == NULL || ops->service == NULL ||
        ops->close == NULL)
        check_fail(check, "a sink operation is missing");
    if ((traits & MB_SINK_TRANSACTIONS) != 0 && !transactions)
        check_fail(check, "the sink has transactions and not their operations");
    if ((traits & MB_SINK_STORES_POSITIONS) != 0 &&
        (ops->load_positions == NULL || ops->positions == NULL))
        check_fail(check, "the sink stores positions and has no operations for them");
    if ((traits & ~UINT64_C(0x1f)) != 0)
        check_fail(check, "the sink has unknown traits");
}

void case_traits(struct contract *contract)
{
    const struct mb_backend *backend = contract->backend;
    struct check *check = &contract->check;
    struct options options;

    if (!options_fill(contract, &options))
        return;
    if (backend->source != NULL)
        check_source_slots(check, backend->source, options.source_traits);
    if (backend->sink != NULL)
        check_sink_slots(check, backend->sink, options.sink_traits);
    if (backend->describe != NULL &&
        (backend->describe->open == NULL || backend->describe->identity == NULL ||
         backend->describe->describe == NULL || backend->describe->clear == NULL ||
         backend->describe->ensure == NULL || backend->describe->close == NULL))
        check_fail(check, "a describe operation is missing");
    options_close(&options);
}
