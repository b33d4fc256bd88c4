/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/loader.h"

#include <stdlib.h>

bool mb_loader_settings(struct mb_loader *loader, struct mb_settings *settings,
                        const struct mb_option_table *table, unsigned line)
{
    if (mb_settings_init(settings, table) != MB_OK) {
        loader->no_memory = true;
        return false;
    }
    settings->line = line;
    return true;
}

char *mb_loader_copy(struct mb_loader *loader, const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;

    loader->no_memory |= text != NULL && copy == NULL;
    return copy;
}

void mb_loader_copy_list(struct mb_loader *loader, const struct mb_strings *strings,
                         char ***ret_items, size_t *ret_count)
{
    *ret_count = 0;
    *ret_items = calloc(strings->count + 1, sizeof **ret_items);
    if (*ret_items == NULL) {
        loader->no_memory = true;
        return;
    }
    for (size_t i = 0; i < strings->count; i++) {
        (*ret_items)[i] = mb_loader_copy(loader, strings->items[i]);
        if ((*ret_items)[i] == NULL)
            return;
        ++*ret_count;
    }
}

static const void *values_of(struct mb_loader *loader, const struct mb_settings *settings,
                             struct mb_applied **ret_applied)
{
    struct mb_error err;

    if (mb_settings_apply(settings, false, ret_applied, &err) != MB_OK) {
        loader->no_memory = true;
        return NULL;
    }
    return mb_applied_struct(*ret_applied);
}

/* 0, or long enough not to be a burden for the broker. */
static void check_discover(struct mb_loader *loader, const struct mb_settings *settings,
                           int64_t discover_ms)
{
    if (discover_ms > 0 && discover_ms < 1000)
        mb_loader_error(loader, mb_settings_line(settings, "discover"),
                        "discover must be 0 (never) or at least \"1s\"");
}

void mb_loader_take_bridge(struct mb_loader *loader, const struct mb_settings *settings)
{
    struct mb_applied *applied = NULL;
    const struct mb_bridge_values *values = values_of(loader, settings, &applied);
    struct mb_config *config = loader->config;

    if (values == NULL)
        return;
    config->bridge_name = mb_loader_copy(loader, values->name);
    config->admin = mb_loader_copy(loader, values->admin);
    config->log_level = (int)values->log_level;
    config->log_format = (int)values->log_format;
    config->stop_timeout_ms = values->stop_timeout_ms;
    config->drain_idle_ms = values->drain_idle_ms;
    config->drain_timeout_ms = values->drain_timeout_ms;
    config->discover_ms = values->discover_ms;
    config->core_dumps = values->core_dumps;
    check_discover(loader, settings, config->discover_ms);
    mb_applied_destroy(applied);
}

void mb_loader_take_route(struct mb_loader *loader, const struct mb_settings *settings,
                          struct mb_config_route *route)
{
    struct mb_applied *applied = NULL;
    const struct mb_route_values *values = values_of(loader, settings, &applied);

    if (values == NULL)
        return;
    free(route->name);
    route->name = mb_loader_copy(loader, values->name != NULL ? values->name : "");
    route->order = (enum mb_order)values->order;
    route->delivery = (enum mb_delivery)values->delivery;
    route->on_loss = (enum mb_on_loss)values->on_loss;
    route->fidelity = (enum mb_fidelity)values->fidelity;
    route->provenance = (enum mb_provenance_mode)values->provenance;
    route->allow_cycle = values->allow_cycle;
    route->isolate_sinks = values->isolate_sinks;
    free(route->key_from);
    route->key_from = mb_loader_copy(loader, values->key_from);
    route->rate_messages = (uint64_t)values->rate_messages;
    route->rate_bytes = (uint64_t)values->rate_bytes;
    route->lanes = (unsigned)values->lanes;
    route->window_messages = (uint32_t)values->window_messages;
    route->window_bytes = values->window_bytes;
    route->retry_initial_ms = values->retry_initial_ms;
    route->retry_max_ms = values->retry_max_ms;
    route->retry_attempts = (unsigned)values->retry_attempts;
    route->poison_deliveries = (uint32_t)values->poison_deliveries;
    route->on_reject = (enum mb_on_reject)values->on_reject;
    if (mb_settings_text(settings, "on_reject") == NULL)
        route->on_reject = route->dead_letter != NULL ? MB_REJECT_DEAD_LETTER : MB_REJECT_STOP;
    mb_applied_destroy(applied);
}

void mb_loader_take_stream(struct mb_loader *loader, const struct mb_settings *settings,
                           struct mb_config_stream *stream)
{
    struct mb_applied *applied = NULL;
    const struct mb_stream_values *values = values_of(loader, settings, &applied);

    if (values == NULL)
        return;
    stream->create = values->create;
    stream->discover_ms = mb_settings_text(settings, "discover") != NULL
                              ? values->discover_ms
                              : loader->config->discover_ms;
    check_discover(loader, settings, values->discover_ms);
    mb_loader_copy_list(loader, &values->exclude, &stream->exclude, &stream->exclude_count);
    mb_applied_destroy(applied);
}

bool mb_loader_check_required(struct mb_loader *loader, const struct mb_settings *settings,
                              const char *owner)
{
    const struct mb_option_table *table = settings->table;
    char names[256] = "";
    size_t used = 0;
    bool is_named = false;
    bool is_complete = true;

    if (settings->rows == NULL)
        return false; /* no memory */
    for (size_t i = 0; i < table->count; i++) {
        const struct mb_option *row = &table->rows[i];

        if (row->flags & MB_OPTION_REQUIRED && !settings->rows[i].is_set &&
            !settings->rows[i].is_wrong && row->default_text == NULL) {
            mb_loader_error(loader, settings->line, "%s lacks \"%s\"", owner, row->name);
            is_complete = false;
        }
        if (row->flags & (MB_OPTION_REQUIRED | MB_OPTION_NAMES_STREAM) &&
            settings->rows[i].texts_count == 1 && settings->rows[i].texts[0][0] == '\0') {
            mb_loader_error(loader, settings->rows[i].line, "%s of %s must not be empty", row->name,
                            owner);
            is_complete = false;
        }
        if (!(row->flags & MB_OPTION_NAMES_STREAM))
            continue;
        is_named |=
            settings->rows[i].is_set || settings->rows[i].is_wrong || row->default_text != NULL;
        if (used < sizeof names)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s\"%s\"",
                                     used > 0 ? " or " : "", row->name);
    }
    if (used > 0 && !is_named)
        mb_loader_error(loader, settings->line, "%s names no stream: it needs %s", owner, names);
    return is_complete && (used == 0 || is_named);
}

static void strings_free(char **items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(items[i]);
    free(items);
}

static void stream_release(struct mb_config_stream *stream)
{
    mb_settings_release(&stream->settings);
    strings_free(stream->exclude, stream->exclude_count);
}

static void route_release(struct mb_config_route *route)
{
    mb_isolated_release(route);
    for (size_t i = 0; i < route->from_count; i++)
        stream_release(&route->from[i]);
    for (size_t i = 0; i < route->origins_count; i++)
        stream_release(&route->origins[i]);
    for (size_t i = 0; i < route->to_count; i++)
        stream_release(&route->to[i]);
    if (route->dead_letter != NULL)
        stream_release(route->dead_letter);
    for (size_t i = 0; i < route->steps_count; i++) {
        free(route->steps[i].name);
        mb_settings_release(&route->steps[i].settings);
    }
    free(route->from);
    free(route->origins);
    free(route->to);
    free(route->dead_letter);
    free(route->steps);
    free(route->name);
    free(route->group);
    free(route->key_from);
}

void mb_config_keep_route(struct mb_config *config, size_t index)
{
    for (size_t i = 0; i < config->routes_count; i++) {
        if (i != index)
            route_release(&config->routes[i]);
    }
    config->routes[0] = config->routes[index];
    config->routes_count = 1;
}

void mb_config_destroy(struct mb_config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < config->routes_count; i++)
        route_release(&config->routes[i]);
    free(config->routes);
    for (size_t i = 0; i < config->endpoints_count; i++) {
        struct mb_config_endpoint *endpoint = config->endpoints[i];

        mb_settings_release(&endpoint->settings);
        strings_free(endpoint->never, endpoint->never_count);
        free(endpoint->identity);
        free(endpoint->name);
        free(endpoint);
    }
    free(config->endpoints);
    free(config->bridge_name);
    free(config->admin);
    free(config->path);
    free(config);
}

static bool text_equal(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool strings_equal(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++) {
        if (strcmp(a[i], b[i]) != 0)
            return false;
    }
    return true;
}

static bool endpoint_equal(const struct mb_config_endpoint *a, const struct mb_config_endpoint *b)
{
    return strcmp(a->name, b->name) == 0 && a->backend == b->backend &&
           text_equal(a->identity, b->identity) &&
           strings_equal(a->never, a->never_count, b->never, b->never_count) &&
           mb_settings_equal(&a->settings, &b->settings);
}

static bool stream_equal(const struct mb_config_stream *a, const struct mb_config_stream *b)
{
    return a->create == b->create && a->discover_ms == b->discover_ms &&
           endpoint_equal(a->endpoint, b->endpoint) &&
           strings_equal(a->exclude, a->exclude_count, b->exclude, b->exclude_count) &&
           mb_settings_equal(&a->settings, &b->settings);
}

static bool streams_equal(const struct mb_config_stream *a, size_t a_count,
                          const struct mb_config_stream *b, size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++) {
        if (!stream_equal(&a[i], &b[i]))
            return false;
    }
    return true;
}

static bool steps_equal(const struct mb_config_route *a, const struct mb_config_route *b)
{
    if (a->steps_count != b->steps_count)
        return false;
    for (size_t i = 0; i < a->steps_count; i++) {
        if (strcmp(a->steps[i].name, b->steps[i].name) != 0 ||
            !mb_settings_equal(&a->steps[i].settings, &b->steps[i].settings))
            return false;
    }
    return true;
}

bool mb_config_route_equal(const struct mb_config_route *a, const struct mb_config_route *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->group, b->group) == 0 &&
           streams_equal(a->from, a->from_count, b->from, b->from_count) &&
           streams_equal(a->to, a->to_count, b->to, b->to_count) &&
           streams_equal(a->dead_letter, a->dead_letter != NULL, b->dead_letter,
                         b->dead_letter != NULL) &&
           steps_equal(a, b) && a->order == b->order && a->delivery == b->delivery &&
           a->on_reject == b->on_reject && a->on_loss == b->on_loss && a->fidelity == b->fidelity &&
           a->provenance == b->provenance && a->allow_cycle == b->allow_cycle &&
           a->isolate_sinks == b->isolate_sinks && text_equal(a->key_from, b->key_from) &&
           a->rate_messages == b->rate_messages && a->rate_bytes == b->rate_bytes &&
           a->lanes == b->lanes && a->window_messages == b->window_messages &&
           a->window_bytes == b->window_bytes && a->retry_initial_ms == b->retry_initial_ms &&
           a->retry_max_ms == b->retry_max_ms && a->retry_attempts == b->retry_attempts &&
           a->poison_deliveries == b->poison_deliveries;
}
