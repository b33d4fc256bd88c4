/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/dead_source.h"

#include "core/config/loader.h"
#include "core/router/names.h"
#include "core/router/replay.h"

#include <stdlib.h>

#define TEXTS_MAX 64u

static enum mb_status no_memory(struct mb_error *err)
{
    return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
}

/* The text of a template that has no parts. */
static enum mb_status fixed_text(const struct mb_config_route *route, const char *name,
                                 const char *text, struct mb_template **ret_template,
                                 const char **ret_text, struct mb_error *err)
{
    struct mb_slice fixed;
    enum mb_status status = mb_template_create(text, ret_template, err);

    if (status != MB_OK)
        return status;
    if (!mb_template_is_fixed(*ret_template))
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "dead-letter",
                            "dead_letter of route \"%s\" has the %s \"%s\", which changes from "
                            "message to message: it cannot be read back as one stream",
                            route->name, name, text);
    status = mb_template_render(*ret_template, NULL, NULL, NULL, &fixed, err);
    *ret_text = fixed.data;
    return status;
}

/* What the sink has for an option, written or by default, becomes the source's. */
static enum mb_status copy_row(const struct mb_config_route *route, size_t from,
                               struct mb_config_stream *source, size_t to, struct mb_error *err)
{
    const struct mb_settings *sink = &route->dead_letter->settings;
    const struct mb_option *row = &sink->table->rows[from];
    const struct mb_setting *setting = &sink->rows[from];
    struct mb_template *template = NULL;
    const char *texts[TEXTS_MAX];
    size_t count = 1;
    enum mb_status status = MB_OK;

    if (!setting->is_set && row->default_text == NULL)
        return MB_OK;
    texts[0] = row->default_text;
    if (setting->is_set) {
        count = setting->texts_count < TEXTS_MAX ? setting->texts_count : TEXTS_MAX;
        for (size_t i = 0; i < count; i++)
            texts[i] = setting->texts[i];
    }
    if (row->type == MB_OPTION_TEMPLATE && count == 1)
        status = fixed_text(route, row->name, texts[0], &template, &texts[0], err);
    if (status == MB_OK)
        status = mb_settings_set(&source->settings, to, texts, count,
                                 setting->is_set && setting->is_list, 0, err);
    mb_template_destroy(template);
    return status;
}

static enum mb_status set(struct mb_config_stream *source, const char *name, const char *text,
                          struct mb_error *err)
{
    size_t index;

    if (mb_settings_find(source->settings.table, name, &index, NULL) != MB_OK)
        return MB_OK; /* the platform has no such thing */
    return mb_settings_set(&source->settings, index, &text, 1, false, 0, err);
}

static bool record_is_stream(const struct mb_stream_record *record)
{
    for (uint32_t i = 0; i < record->configuration_count; i++) {
        if (strcmp(record->configuration[i].name, "type") == 0 &&
            strcmp(record->configuration[i].value, "stream") == 0)
            return true;
    }
    return record->kind == MB_STREAM_LOG;
}

/* What is read is a queue, a log, or nothing that can be read. */
static enum mb_status set_kind(const struct mb_config_route *route,
                               const struct mb_settings *settings, struct mb_config_stream *source,
                               struct mb_error *err)
{
    const struct mb_backend *backend = source->endpoint->backend;
    struct mb_stream_record record = {.struct_size = sizeof record};
    struct mb_applied *endpoint = NULL;
    struct mb_applied *options = NULL;
    bool is_stream = false;
    enum mb_status status = mb_settings_apply(&source->endpoint->settings, false, &endpoint, err);

    if (status == MB_OK)
        status = mb_settings_apply(settings, false, &options, err);
    if (status == MB_OK && backend->stream != NULL &&
        backend->stream(mb_applied_struct(endpoint), MB_ROLE_SINK, mb_applied_struct(options), NULL,
                        0, &record) == MB_OK) {
        if (record.kind == MB_STREAM_EXCHANGE)
            status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "dead-letter",
                                  "dead_letter of route \"%s\" goes to the exchange \"%s\", which "
                                  "keeps nothing: only a queue can be read back",
                                  route->name, record.name);
        is_stream = record_is_stream(&record);
    }
    mb_applied_destroy(options);
    mb_applied_destroy(endpoint);
    if (status != MB_OK)
        return status;
    if (is_stream)
        return set(source, "start", "earliest", err);
    status = set(source, "ack_singly", "true", err);
    return status == MB_OK ? set(source, "prefetch", "65535", err) : status;
}

enum mb_status mb_dead_source_make(const struct mb_config_route *route,
                                   struct mb_config_stream *ret_source, struct mb_error *err)
{
    const struct mb_config_stream *sink = route->dead_letter;
    const struct mb_backend *backend = sink->endpoint->backend;
    enum mb_status status = MB_OK;
    size_t to;

    memset(ret_source, 0, sizeof *ret_source);
    ret_source->endpoint = sink->endpoint;
    ret_source->line = sink->line;
    if (backend->source == NULL)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "dead-letter",
                            "dead_letter of route \"%s\": backend %s cannot be read", route->name,
                            backend->name);
    if (mb_settings_init(&ret_source->settings, &backend->source_options) != MB_OK)
        return no_memory(err);
    status = set_kind(route, &sink->settings, ret_source, err);
    for (size_t from = 0; from < sink->settings.table->count && status == MB_OK; from++) {
        const struct mb_option *row = &sink->settings.table->rows[from];

        if (mb_settings_find(&backend->source_options, row->name, &to, NULL) == MB_OK)
            status = copy_row(route, from, ret_source, to, err);
    }
    if (status != MB_OK)
        mb_dead_source_release(ret_source);
    return status;
}

void mb_dead_source_release(struct mb_config_stream *source)
{
    mb_settings_release(&source->settings);
}

bool mb_dead_letters_are_one(const struct mb_config_route *a, const struct mb_config_route *b)
{
    return a->dead_letter->endpoint == b->dead_letter->endpoint &&
           mb_settings_equal(&a->dead_letter->settings, &b->dead_letter->settings);
}

static enum mb_status traits_of(const struct mb_config_stream *source, uint64_t *ret_traits,
                                struct mb_error *err)
{
    struct mb_applied *endpoint = NULL;
    struct mb_applied *options = NULL;
    enum mb_status status = mb_settings_apply(&source->endpoint->settings, false, &endpoint, err);

    if (status == MB_OK)
        status = mb_settings_apply(&source->settings, false, &options, err);
    if (status == MB_OK)
        *ret_traits = source->endpoint->backend->source->traits(mb_applied_struct(endpoint),
                                                                mb_applied_struct(options));
    mb_applied_destroy(options);
    mb_applied_destroy(endpoint);
    return status;
}

enum mb_status mb_config_replay(struct mb_config *config, size_t index, struct mb_replay *replay,
                                const char *group, struct mb_error *err)
{
    struct mb_config_stream *from = calloc(1, sizeof *from);
    char *copy = strdup(group);
    struct mb_config_route *route;
    uint64_t traits = 0;
    enum mb_status status;

    if (from == NULL || copy == NULL) {
        free(from);
        free(copy);
        return no_memory(err);
    }
    mb_config_keep_route(config, index);
    route = &config->routes[0];
    status = mb_dead_source_make(route, from, err);
    if (status == MB_OK)
        status = traits_of(from, &traits, err);
    if (status != MB_OK) {
        free(from);
        free(copy);
        return status;
    }
    mb_isolated_release(route);
    route->isolated = NULL;
    route->isolate_sinks = false;
    route->origins = route->from;
    route->origins_count = route->from_count;
    route->from = from;
    route->from_count = 1;
    route->replay = replay;
    free(route->group);
    route->group = copy;
    route->lanes = 1;
    route->delivery = MB_AT_LEAST_ONCE;
    /* What retention took is no reason to keep what is left. */
    route->on_loss = MB_LOSS_CONTINUE;
    /* Whoever looked at the dead letters counts there. */
    route->poison_deliveries = 0;
    replay->window_messages = route->window_messages;
    replay->left_max = 0;
    if ((traits & MB_SOURCE_CONSUMES) != 0) {
        /* Room for what is passed over and has to be held until the end. */
        route->window_messages = MB_DEAD_HELD_MAX + replay->window_messages;
        replay->left_max = MB_DEAD_HELD_MAX - 1000;
    }
    return MB_OK;
}
