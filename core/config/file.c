/* SPDX-License-Identifier: Apache-2.0 */
/* A libconfig file → the model. */
#include "core/config/members.h"
#include "core/config/scan.h"
#include "core/config/suggest.h"
#include "core/router/steps.h"
#include "core/runtime/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX (16u << 20)
#define OWNER_SIZE 160

/* Since 1.7 the names of included files come with the folder before them. */
#define FILES_HAVE_FOLDER (LIBCONFIG_VER_MAJOR > 1 || LIBCONFIG_VER_MINOR >= 7)

static const char *const nothing[] = {NULL};
static const char *const top_names[] = {"bridge", "endpoints", "routes", NULL};
static const char *const route_names[] = {"from", "to", "dead_letter", "steps", NULL};

static bool settings_init(struct mb_loader *loader, struct mb_settings *settings,
                          const struct mb_option_table *table, unsigned line)
{
    if (mb_settings_init(settings, table) != MB_OK) {
        loader->no_memory = true;
        return false;
    }
    settings->line = line;
    return true;
}

/* The member of that name if it is of the right kind; else it is reported. */
static config_setting_t *member_group(struct mb_loader *loader, config_setting_t *parent,
                                      const char *name)
{
    config_setting_t *setting = config_setting_get_member(parent, name);
    char found[64];

    if (setting == NULL || config_setting_is_group(setting))
        return setting;
    mb_loader_error(loader, mb_members_line(loader, setting), "%s must be a group { … }, not %s",
                    name, mb_members_found(setting, found, sizeof found));
    return NULL;
}

static void read_bridge(struct mb_loader *loader, config_setting_t *root)
{
    config_setting_t *group = member_group(loader, root, "bridge");
    struct mb_settings settings = {0};
    struct mb_members members = {.loader = loader,
                                 .owner = "bridge",
                                 .targets = {&settings},
                                 .targets_count = 1,
                                 .structural = nothing};

    if (!settings_init(loader, &settings, &mb_bridge_table, 0))
        return;
    if (group != NULL) {
        settings.line = mb_members_line(loader, group);
        mb_members_read(&members, group);
    }
    mb_loader_take_bridge(loader, &settings);
    mb_check_bridge(loader, &settings);
    mb_settings_release(&settings);
}

static const struct mb_backend *find_backend(struct mb_loader *loader, const char *name,
                                             config_setting_t *group)
{
    config_setting_t *setting = config_setting_get_member(group, "backend");
    const struct mb_backend *backend = NULL;
    struct mb_error err;

    if (setting == NULL || config_setting_type(setting) != CONFIG_TYPE_STRING)
        return NULL;
    mb_error_clear(&err);
    if (mb_registry_find(loader->registry, config_setting_get_string(setting), &backend, &err) !=
        MB_OK) {
        mb_loader_error(loader, mb_members_line(loader, setting), "endpoint \"%s\": %s", name,
                        err.text);
        return NULL;
    }
    return backend;
}

static void take_endpoint(struct mb_loader *loader, struct mb_config_endpoint *endpoint,
                          const struct mb_settings *core)
{
    struct mb_applied *applied = NULL;
    const struct mb_endpoint_values *values;
    struct mb_error err;

    if (mb_settings_apply(core, false, &applied, &err) != MB_OK) {
        loader->no_memory = true;
        return;
    }
    values = mb_applied_struct(applied);
    endpoint->identity = mb_loader_copy(loader, values->identity);
    mb_loader_copy_list(loader, &values->never, &endpoint->never, &endpoint->never_count);
    mb_applied_destroy(applied);
}

static void read_endpoint(struct mb_loader *loader, config_setting_t *group)
{
    struct mb_config_endpoint *endpoint = calloc(1, sizeof *endpoint);
    struct mb_settings core = {0};
    size_t errors = loader->diagnostics->errors;
    char owner[OWNER_SIZE];
    struct mb_members members = {.loader = loader,
                                 .owner = owner,
                                 .targets = {&core, endpoint != NULL ? &endpoint->settings : NULL},
                                 .structural = nothing};

    if (endpoint == NULL) {
        loader->no_memory = true;
        return;
    }
    loader->config->endpoints[loader->config->endpoints_count++] = endpoint;
    endpoint->name = mb_loader_copy(loader, config_setting_name(group));
    endpoint->line = mb_members_line(loader, group);
    snprintf(owner, sizeof owner, "endpoint \"%.100s\"", config_setting_name(group));
    if (!config_setting_is_group(group)) {
        mb_loader_error(loader, endpoint->line, "%s must be a group { backend = …; }", owner);
        return;
    }
    if (!settings_init(loader, &core, &mb_endpoint_table, endpoint->line))
        return;
    endpoint->backend = find_backend(loader, config_setting_name(group), group);
    members.targets_count = 1;
    members.is_lenient = endpoint->backend == NULL;
    if (endpoint->backend != NULL && settings_init(loader, &endpoint->settings,
                                                   &endpoint->backend->endpoint_options,
                                                   endpoint->line))
        members.targets_count = 2;
    mb_members_read(&members, group);
    mb_loader_check_required(loader, &core, owner);
    if (members.targets_count == 2)
        mb_loader_check_required(loader, &endpoint->settings, owner);
    take_endpoint(loader, endpoint, &core);
    endpoint->is_sound = endpoint->backend != NULL && loader->diagnostics->errors == errors;
    mb_settings_release(&core);
}

static void read_endpoints(struct mb_loader *loader, config_setting_t *root)
{
    config_setting_t *group = member_group(loader, root, "endpoints");
    int count = group != NULL ? config_setting_length(group) : 0;

    if (config_setting_get_member(root, "endpoints") == NULL)
        mb_loader_error(loader, 0, "there are no endpoints: endpoints = { name = { backend = …; }; "
                                   "};");
    loader->config->endpoints = calloc((size_t)count + 1, sizeof *loader->config->endpoints);
    if (loader->config->endpoints == NULL) {
        loader->no_memory = true;
        return;
    }
    for (int i = 0; i < count && !loader->no_memory; i++)
        read_endpoint(loader, config_setting_get_elem(group, (unsigned)i));
}

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
    if (!settings_init(loader, &core, role == MB_ROLE_SOURCE ? &mb_source_table : &mb_sink_table,
                       stream->line))
        return false;
    stream->endpoint = find_endpoint(loader, owner, group);
    if (stream->endpoint != NULL)
        table = role_table(loader, owner, stream, role);
    if (table != NULL && settings_init(loader, &stream->settings, table, stream->line))
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
        if (settings_init(loader, &step->settings, &row->options, step->line))
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
        settings_init(loader, &core, &mb_step_table, step->line)) {
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

        if (config_setting_is_group(setting) ||
            config_setting_type(setting) == CONFIG_TYPE_STRING)
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
    char owner[OWNER_SIZE];
    struct mb_members members = {.loader = loader,
                                 .owner = owner,
                                 .targets = {&draft->settings},
                                 .targets_count = 1,
                                 .structural = route_names};

    loader->config->routes_count++;
    route->line = mb_members_line(loader, group);
    if (!settings_init(loader, &draft->settings, &mb_route_table, route->line))
        return;
    if (!config_setting_is_group(group)) {
        mb_loader_error(loader, route->line, "a route must be a group { name = …; from = …; to = "
                                             "…; }");
        return;
    }
    if (!config_setting_lookup_string(group, "name", &name))
        name = "?";
    snprintf(owner, sizeof owner, "route \"%.100s\"", name);
    mb_members_read(&members, group);
    mb_loader_check_required(loader, &draft->settings, "the route");
    draft->is_sound = read_streams(loader, group, name, MB_ROLE_SOURCE, &route->from,
                                   &route->from_count);
    draft->is_sound &= read_streams(loader, group, name, MB_ROLE_SINK, &route->to,
                                    &route->to_count);
    draft->is_sound &= read_dead_letter(loader, group, route, name);
    read_steps(loader, group, route, name);
    draft->is_sound &= loader->diagnostics->errors == errors;
    mb_loader_take_route(loader, &draft->settings, route);
    if (asprintf(&route->group, "mbridge.%s.%s",
                 loader->config->bridge_name != NULL ? loader->config->bridge_name : "", name) < 0)
        route->group = NULL;
    loader->no_memory |= route->group == NULL;
}

static void read_routes(struct mb_loader *loader, config_setting_t *root)
{
    config_setting_t *list = config_setting_get_member(root, "routes");
    char found[64];
    int count;

    if (list == NULL) {
        mb_loader_error(loader, 0, "there are no routes: routes = ( { name = …; from = …; to = …; "
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

static void read_root(struct mb_loader *loader, config_setting_t *root)
{
    struct mb_members members = {
        .loader = loader, .owner = "the file", .structural = top_names};

    mb_members_read(&members, root);
    read_bridge(loader, root);
    read_endpoints(loader, root);
    if (!loader->no_memory)
        read_routes(loader, root);
    if (loader->no_memory)
        return;
    for (size_t i = 0; i < loader->config->endpoints_count; i++)
        mb_check_endpoint(loader, loader->config->endpoints[i]);
    for (size_t i = 0; i < loader->config->routes_count; i++)
        mb_check_route(loader, i);
    mb_check_names(loader);
}

/* The whole file, NUL-terminated; NULL is reported. */
static char *read_file(struct mb_loader *loader, const char *path, size_t *ret_size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    char *text = NULL;
    size_t capacity = 65536;
    size_t size = 0;
    struct stat status;

    if (fd < 0 || fstat(fd, &status) != 0 || S_ISDIR(status.st_mode)) {
        mb_loader_error(loader, 0, "cannot be read: %s", fd < 0 ? strerror(errno) : "is a folder");
        goto out;
    }
    for (;;) {
        char *more = size == 0 || size + 1 == capacity ? realloc(text, capacity *= 2) : text;
        ssize_t got;

        if (more == NULL) {
            loader->no_memory = true;
            goto fail;
        }
        text = more;
        got = read(fd, text + size, capacity - size - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 || size + (size_t)got > FILE_SIZE_MAX) {
            mb_loader_error(loader, 0, "cannot be read: %s",
                            got < 0 ? strerror(errno) : "is larger than 16 MiB");
            goto fail;
        }
        if (got == 0)
            break;
        size += (size_t)got;
    }
    text[size] = '\0';
    *ret_size = size;
    goto out;
fail:
    free(text);
    text = NULL;
out:
    if (fd >= 0)
        close(fd);
    return text;
}

struct scan_context {
    struct mb_loader *loader;
    unsigned file;
};

static void on_scan(void *context, unsigned line, const char *text)
{
    struct scan_context *scan = context;

    mb_loader_error(scan->loader, scan->file << MB_LINE_BITS | (line & MB_LINE_MASK), "%s", text);
}

/* The names of the files that were included came up while the settings were read. */
static void scan_included(struct mb_loader *loader, const char *folder)
{
    for (size_t i = 0; i < loader->files_count; i++) {
        struct scan_context context = {loader, (unsigned)(i + 1)};
        struct mb_scan scan = {.report = on_scan, .context = &context, .folder = folder};
        char *text = NULL;
        size_t size = 0;
        char *path = NULL;

        if (asprintf(&path, "%s%s%s", FILES_HAVE_FOLDER ? "" : folder,
                     FILES_HAVE_FOLDER ? "" : "/", loader->files[i]) < 0) {
            loader->no_memory = true;
            return;
        }
        text = read_file(loader, path, &size);
        if (text != NULL && memchr(text, '\0', size) == NULL &&
            mb_scan_text(&scan, text, size) != MB_OK)
            loader->no_memory = true;
        free(path);
        free(text);
    }
}

static void parse(struct mb_loader *loader, char *text, size_t size, char *folder)
{
    struct scan_context context = {loader, 0};
    struct mb_scan scan = {.report = on_scan, .context = &context, .folder = folder};
    const void *nul = memchr(text, '\0', size);
    config_t file;

    if (nul != NULL) {
        unsigned line = 1;

        for (const char *at = text; at < (const char *)nul; at++)
            line += *at == '\n';
        mb_loader_error(loader, line, "the file holds a NUL byte: it is no text");
        return;
    }
    if (mb_scan_text(&scan, text, size) != MB_OK) {
        loader->no_memory = true;
        return;
    }
    if (scan.include_failed)
        return;
    config_init(&file);
    config_set_include_dir(&file, folder);
    if (config_read_string(&file, text)) {
        read_root(loader, config_root_setting(&file));
        scan_included(loader, folder);
    } else {
        const char *reason = config_error_text(&file);

        mb_loader_error(loader,
                        mb_members_place(loader, config_error_file(&file),
                                         (unsigned)config_error_line(&file)),
                        "%s", reason != NULL ? reason : "cannot be read");
    }
    config_destroy(&file);
}

enum mb_status mb_config_load(const char *path, struct mb_registry *registry,
                              struct mb_config **ret_config, struct mb_diagnostics *diagnostics)
{
    struct mb_loader loader = {.registry = registry, .diagnostics = diagnostics};
    char *folder = strdup(path);
    char *text = NULL;
    size_t size = 0;
    enum mb_status status;

    *ret_config = NULL;
    memset(diagnostics, 0, sizeof *diagnostics);
    loader.config = calloc(1, sizeof *loader.config);
    if (loader.config == NULL || folder == NULL) {
        loader.no_memory = true;
        goto out;
    }
    loader.config->path = mb_loader_copy(&loader, path);
    text = read_file(&loader, path, &size);
    if (text != NULL)
        parse(&loader, text, size, dirname(folder));
out:
    status = mb_loader_end(&loader, ret_config);
    if (text != NULL)
        explicit_bzero(text, size);
    free(text);
    free(folder);
    return status;
}
