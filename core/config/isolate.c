/* SPDX-License-Identifier: Apache-2.0 */
/*
 * isolate_sinks: a route that is run once for each sink. Each run reads the source by itself, in a
 * group of its own, so that a sink that stands still holds up nobody but itself.
 */
#include "core/config/loader.h"

#include <stdlib.h>

#define SUFFIX_SIZE 128

/* The endpoint's name if only this sink has it, else the sink's number: what a position is found
 * by again must not depend on more than it has to. */
static void suffix_of(const struct mb_config_route *route, size_t sink, char *suffix, size_t size)
{
    bool is_only = true;

    for (size_t i = 0; i < route->to_count; i++)
        is_only = is_only && (i == sink || route->to[i].endpoint != route->to[sink].endpoint);
    if (is_only)
        snprintf(suffix, size, "%s", route->to[sink].endpoint->name);
    else
        snprintf(suffix, size, "%zu", sink + 1);
}

static enum mb_status settings_copy(struct mb_settings *copy, const struct mb_settings *from)
{
    struct mb_error err;

    if (mb_settings_init(copy, from->table) != MB_OK)
        return MB_NO_MEMORY;
    copy->line = from->line;
    for (size_t i = 0; i < from->table->count; i++) {
        const struct mb_setting *row = &from->rows[i];

        if (row->is_set &&
            mb_settings_set(copy, i, (const char *const *)row->texts, row->texts_count,
                            row->is_list, row->line, &err) != MB_OK)
            return MB_NO_MEMORY;
    }
    return MB_OK;
}

/* A group that the source names itself is given the suffix as well. */
static enum mb_status source_copy(struct mb_config_stream *copy,
                                  const struct mb_config_stream *from, const char *suffix)
{
    const struct mb_settings *settings = &from->settings;
    enum mb_status status;
    struct mb_error err;
    const char *text;
    char *group = NULL;
    size_t index;

    *copy = *from;
    status = settings_copy(&copy->settings, settings);
    if (status != MB_OK || mb_settings_find(settings->table, "group", &index, NULL) != MB_OK ||
        !settings->rows[index].is_set || settings->rows[index].texts_count == 0)
        return status;
    if (asprintf(&group, "%s.%s", settings->rows[index].texts[0], suffix) < 0)
        return MB_NO_MEMORY;
    text = group;
    status =
        mb_settings_set(&copy->settings, index, &text, 1, false, settings->rows[index].line, &err);
    free(group);
    return status;
}

static enum mb_status run_make(const struct mb_config_route *route, size_t sink, const char *suffix,
                               struct mb_config_route *run)
{
    *run = *route;
    run->isolated = NULL;
    run->to = &route->to[sink];
    run->to_count = 1;
    run->sinks_before = sink;
    run->from_count = 0;
    run->group = NULL;
    run->from = calloc(route->from_count, sizeof *run->from);
    if (run->from == NULL || asprintf(&run->group, "%s.%s", route->group, suffix) < 0)
        return MB_NO_MEMORY;
    for (size_t i = 0; i < route->from_count; i++) {
        run->from_count++;
        if (source_copy(&run->from[i], &route->from[i], suffix) != MB_OK)
            return MB_NO_MEMORY;
    }
    return MB_OK;
}

static void isolate(struct mb_loader *loader, struct mb_config_route *route)
{
    char suffixes[MB_SINKS_MAX][SUFFIX_SIZE];

    route->isolated = calloc(route->to_count, sizeof *route->isolated);
    if (route->isolated == NULL) {
        loader->no_memory = true;
        return;
    }
    for (size_t i = 0; i < route->to_count && !loader->no_memory; i++) {
        suffix_of(route, i, suffixes[i], sizeof suffixes[i]);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(suffixes[k], suffixes[i]) == 0)
                mb_loader_error(loader, route->to[i].line,
                                "isolate_sinks: two sinks of route \"%s\" would share the group "
                                "%s.%s; give an endpoint another name than a number",
                                route->name, route->group, suffixes[i]);
        }
        loader->no_memory = run_make(route, i, suffixes[i], &route->isolated[i]) != MB_OK;
    }
}

void mb_isolate_sinks(struct mb_loader *loader)
{
    for (size_t i = 0; i < loader->config->routes_count && !loader->no_memory; i++) {
        struct mb_config_route *route = &loader->config->routes[i];

        if (route->isolate_sinks && loader->drafts[i].is_sound && route->name != NULL)
            isolate(loader, route);
    }
}

void mb_isolated_release(struct mb_config_route *route)
{
    for (size_t i = 0; route->isolated != NULL && i < route->to_count; i++) {
        struct mb_config_route *run = &route->isolated[i];

        for (size_t k = 0; k < run->from_count; k++)
            mb_settings_release(&run->from[k].settings);
        free(run->from);
        free(run->group);
    }
    free(route->isolated);
}
