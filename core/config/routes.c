/* SPDX-License-Identifier: Apache-2.0 */
/* The routes of a libconfig file → the model. */
#include "core/config/members.h"
#include "core/config/suggest.h"
#include "core/router/steps.h"

#include <stdlib.h>

#define OWNER_SIZE 160

static const char *const nothing[] = {NULL};
static const char *const route_names[] = {"from", "to", "dead_letter", "steps", NULL};

/* The endpoint that a stream names; NULL is reported, unless the key is missing. */
static const struct mb_config_endpoint *find_endpoint(struct mb_loader *loader, const char *owner,
                                                      config_setting_t *group)
{
    config_setting_t *setting = config_setting_get_member(group, "endpoint");
    struct mb_suggestion suggestion;
    const char *name;
    char hint[160];

    if (setting == NULL || config_setting_type(setting) != CONFIG_TYPE_STRING)
        return NULL;
    name = config_setting_get_string(setting);
    mb_suggestion_init(&suggestion, name);
    for (size_t i = 0; i < loader->config->endpoints_count; i++) {
        if (strcmp(loader->config->endpoints[i]->name, name) == 0)
            return loader->config->endpoints[i];
        mb_suggestion_offer(&suggestion, loader->config->endpoints[i]->name);
    }
    mb_loader_error(loader, mb_members_line(loader, setting),
                    "%s: there is no endpoint \"%.100s\"%s", owner, name,
                    mb_suggestion_text(&suggestion, hint, sizeof hint));
    return NULL;
}

/* The backend's table for that role; NULL (reported) if it cannot play it. */
static const struct mb_option_table *role_table(struct mb_loader *loader, const char *owner,
                                                const struct mb_config_stream *stream,
                                                enum mb_role role)
{
    const struct mb_backend *backend = stream->endpoint->backend;

    if (backend == NULL)
        return NULL;
    if (role == MB_ROLE_SOURCE ? backend->source != NULL : backend->sink != NULL)
        return role == MB_ROLE_SOURCE ? &backend->source_options : &backend->sink_options;
    mb_loader_error(loader, stream->line, "%s: backend %s of endpoint \"%s\" cannot be a %s", owner,
                    backend->name, stream->endpoint->name,
                    role == MB_ROLE_SOURCE ? "source" : "sink");
    return NULL;
}

/* True if the stream is right in itself. */
static bool read_stream(struct mb_loader *loader, config_setting_t *group, const char *owner,
                        enum mb_role role, struct mb_config_stream *stream)
{
    struct mb_settings core = {0};
    struct mb_members members = {.loader = loader,
                                 .owner = owner,
                                 .targets = {&core, &stream->settings},
                                 .targets_count = 1,
                                 .structural = nothing};
    const struct mb_option_table *table = NULL;
    size_t errors = loader->diagnostics->errors;
    char found[64];

    stream->line = mb_members_line(loader, group);
    if (!config_setting_is_group(group)) {
        mb_loader_error(loader, stream->line, "%s must be a group { endpoint = …; }, not %s", owner,
                        mb_members_found(group, found, sizeof found));
        return false;
    }
    if (!mb_loader_settings(loader, &core,
                            role == MB_ROLE_SOURCE ? &mb_source_table : &mb_sink_table,
                            stream->line))
        return false;
    stream->endpoint = find_endpoint(loader, owner, group);
    if (stream->endpoint != NULL)
        table = role_table(loader, owner, stream, role);
    if (table != NULL && mb_loader_settings(loader, &stream->settings, table, stream->line))
        members.targets_count = 2;
    members.is_lenient = table == NULL;
    mb_members_read(&members, group);
    mb_loader_check_required(loader, &core, owner);
    if (table != NULL)
        mb_loader_check_required(loader, &stream->settings, owner);
    mb_loader_take_stream(loader, &core, stream);
    mb_settings_release(&core);
    return table != NULL && loader->diagnostics->errors == errors;
}

/* from or to: one group, or a list of them. */
static bool read_streams(struct mb_loader *loader, config_setting_t *route, const char *route_name,
                         enum mb_role role, struct mb_config_stream **ret_streams,
                         size_t *ret_count)
{
    const char *key = role == MB_ROLE_SOURCE ? "from" : "to";
    config_setting_t *setting = config_setting_get_member(route, key);
    bool is_sound = true;
    char owner[OWNER_SIZE];
    char found[64];
    int count = 1;

    snprintf(owner, sizeof owner, "%s of route \"%.100s\"", key, route_name);
    if (setting == NULL) {
        mb_loader_error(loader, mb_members_line(loader, route), "route \"%.100s\" lacks \"%s\"",
                        route_name, key);
        return false;
    }
    if (config_setting_type(setting) == CONFIG_TYPE_LIST) {
        count = config_setting_length(setting);
    } else if (!config_setting_is_group(setting)) {
        mb_loader_error(loader, mb_members_line(loader, setting),
                        "%s must be a group { endpoint = …; } or a list of groups, not %s", owner,
                        mb_members_found(setting, found, sizeof found));
        return false;
    }
    if (count == 0 || count > MB_SINKS_MAX) {
        mb_loader_error(loader, mb_members_line(loader, setting),
                        "%s must have between 1 and %d entries, not %d", owner, MB_SINKS_MAX,
                        count);
        return false;
    }
    *ret_streams = calloc((size_t)count, sizeof **ret_streams);
    if (*ret_streams == NULL) {
        loader->no_memory = true;
        return false;
    }
    for (int i = 0; i < count; i++) {
        config_setting_t *group = config_setting_is_group(setting)
                                      ? setting
                                      : config_setting_get_elem(setting, (unsigned)i);

        is_sound &= read_stream(loader, group, owner, role, &(*ret_streams)[(*ret_count)++]);
    }
    return is_sound;
}

static void read_step(struct mb_loader *loader, config_setting_t *setting, const char *route_name,
                      struct mb_config_step *step)
{
    struct mb_settings core = {0};
    char owner[OWNER_SIZE];
    struct mb_members members = {.loader = loader,
                                 .owner = owner,
                                 .targets = {&core, &step->settings},
                                 .targets_count = 1,
                                 .structural = nothing};
    const struct mb_step *row = NULL;
    struct mb_suggestion suggestion;
    const char *name = NULL;
    char hint[160];

    step->line = mb_members_line(loader, setting);
    if (config_setting_is_group(setting))
        config_setting_lookup_string(setting, "step", &name);
    else
        name = config_setting_get_string(setting);
    if (name != NULL)
        row = mb_step_find(name);
    if (row != NULL) {
        step->name = mb_loader_copy(loader, name);
        if (mb_loader_settings(loader, &step->settings, &row->options, step->line))
            members.targets_count = 2;
    } else if (name != NULL) {
        mb_suggestion_init(&suggestion, name);
        for (size_t i = 0; mb_step_at(i) != NULL; i++)
            mb_suggestion_offer(&suggestion, mb_step_at(i)->name);
        mb_loader_error(loader, step->line, "steps of route \"%.100s\": there is no step \"%s\"%s",
                        route_name, name, mb_suggestion_text(&suggestion, hint, sizeof hint));
    }
    snprintf(owner, sizeof owner, "step \"%.40s\" of route \"%.80s\"", name != NULL ? name : "?",
             route_name);
    members.is_lenient = row == NULL;
    if (config_setting_is_group(setting) &&
        mb_loader_settings(loader, &core, &mb_step_table, step->line)) {
        mb_members_read(&members, setting);
        mb_loader_check_required(loader, &core, owner);
    }
    if (row != NULL)
        mb_loader_check_required(loader, &step->settings, owner);
    mb_settings_release(&core);
}

static void read_steps(struct mb_loader *loader, config_setting_t *group,
                       struct mb_config_route *route, const char *route_name)
{
    config_setting_t *list = config_setting_get_member(group, "steps");
    char found[64];

    if (list == NULL)
        return;
    if (config_setting_type(list) != CONFIG_TYPE_LIST) {
        mb_loader_error(loader, mb_members_line(loader, list),
                        "steps must be a list: ( { step = …; }, … ), not %s",
                        mb_members_found(list, found, sizeof found));
        return;
    }
    route->steps = calloc((size_t)config_setting_length(list) + 1, sizeof *route->steps);
    loader->no_memory |= route->steps == NULL;
    for (int i = 0; route->steps != NULL && i < config_setting_length(list); i++) {
        config_setting_t *setting = config_setting_get_elem(list, (unsigned)i);

        if (config_setting_is_group(setting) || config_setting_type(setting) == CONFIG_TYPE_STRING)
            read_step(loader, setting, route_name, &route->steps[route->steps_count++]);
        else
            mb_loader_error(loader, mb_members_line(loader, setting),
                            "a step must be a group { step = …; }, not %s",
                            mb_members_found(setting, found, sizeof found));
    }
}

static bool read_dead_letter(struct mb_loader *loader, config_setting_t *group,
                             struct mb_config_route *route, const char *route_name)
{
    config_setting_t *setting = config_setting_get_member(group, "dead_letter");
    char owner[OWNER_SIZE];

    if (setting == NULL)
        return true;
    snprintf(owner, sizeof owner, "dead_letter of route \"%.100s\"", route_name);
    route->dead_letter = calloc(1, sizeof *route->dead_letter);
    if (route->dead_letter == NULL) {
        loader->no_memory = true;
        return false;
    }
    return read_stream(loader, setting, owner, MB_ROLE_SINK, route->dead_letter);
}

static void read_route(struct mb_loader *loader, config_setting_t *group, size_t index)
{
    struct mb_config_route *route = &loader->config->routes[index];
    struct mb_route_draft *draft = &loader->drafts[index];
    size_t errors = loader->diagnostics->errors;
    const char *name = NULL;
    char number[24];
    char owner[OWNER_SIZE];
    struct mb_members members = {.loader = loader,
                                 .owner = owner,
                                 .targets = {&draft->settings},
                                 .targets_count = 1,
                                 .structural = route_names};

    loader->config->routes_count++;
    route->line = mb_members_line(loader, group);
    if (!mb_loader_settings(loader, &draft->settings, &mb_route_table, route->line))
        return;
    if (!config_setting_is_group(group)) {
        mb_loader_error(loader, route->line,
                        "a route must be a group { name = …; from = …; to = "
                        "…; }");
        return;
    }
    snprintf(number, sizeof number, "#%zu", index + 1);
    if (!config_setting_lookup_string(group, "name", &name))
        name = number;
    snprintf(owner, sizeof owner, "route \"%.100s\"", name);
    mb_members_read(&members, group);
    mb_loader_check_required(loader, &draft->settings, owner);
    draft->is_sound =
        read_streams(loader, group, name, MB_ROLE_SOURCE, &route->from, &route->from_count);
    draft->is_sound &=
        read_streams(loader, group, name, MB_ROLE_SINK, &route->to, &route->to_count);
    draft->is_sound &= read_dead_letter(loader, group, route, name);
    read_steps(loader, group, route, name);
    draft->is_sound &= loader->diagnostics->errors == errors;
    mb_loader_take_route(loader, &draft->settings, route);
    if (asprintf(&route->group, "mbridge.%s.%s",
                 loader->config->bridge_name != NULL ? loader->config->bridge_name : "", name) < 0)
        route->group = NULL;
    loader->no_memory |= route->group == NULL;
}

void mb_routes_read(struct mb_loader *loader, config_setting_t *root)
{
    config_setting_t *list = config_setting_get_member(root, "routes");
    char found[64];
    int count;

    if (list == NULL) {
        mb_loader_error(loader, 0,
                        "there are no routes: routes = ( { name = …; from = …; to = …; "
                        "} );");
        return;
    }
    if (config_setting_type(list) != CONFIG_TYPE_LIST) {
        mb_loader_error(loader, mb_members_line(loader, list),
                        "routes must be a list of groups ( { … }, { … } ), not %s",
                        mb_members_found(list, found, sizeof found));
        return;
    }
    count = config_setting_length(list);
    if (count == 0)
        mb_loader_error(loader, mb_members_line(loader, list), "there are no routes in the list");
    loader->config->routes = calloc((size_t)count + 1, sizeof *loader->config->routes);
    loader->drafts = calloc((size_t)count + 1, sizeof *loader->drafts);
    if (loader->config->routes == NULL || loader->drafts == NULL) {
        loader->no_memory = true;
        return;
    }
    for (int i = 0; i < count && !loader->no_memory; i++)
        read_route(loader, config_setting_get_elem(list, (unsigned)i), (size_t)i);
}
