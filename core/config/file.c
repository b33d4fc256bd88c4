/* SPDX-License-Identifier: Apache-2.0 */
/* A libconfig file → the model. */
#include "core/config/members.h"
#include "core/config/read.h"
#include "core/config/scan.h"
#include "core/config/suggest.h"
#include "core/runtime/registry.h"

#include <libgen.h>
#include <stdlib.h>

#define OWNER_SIZE 160

/* Since 1.7 the names of included files come with the folder before them. */
#define FILES_HAVE_FOLDER (LIBCONFIG_VER_MAJOR > 1 || LIBCONFIG_VER_MINOR >= 7)

static const char *const nothing[] = {NULL};
static const char *const top_names[] = {"bridge", "endpoints", "routes", NULL};

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

    if (!mb_loader_settings(loader, &settings, &mb_bridge_table, 0))
        return;
    if (group != NULL) {
        settings.line = mb_members_line(loader, group);
        mb_members_read(&members, group);
    }
    mb_loader_take_bridge(loader, &settings);
    mb_check_bridge(loader, &settings);
    mb_settings_release(&settings);
}

static void offer_backend(void *context, const struct mb_backend *backend)
{
    mb_suggestion_offer(context, backend->name);
}

static const struct mb_backend *find_backend(struct mb_loader *loader, const char *name,
                                             config_setting_t *group)
{
    config_setting_t *setting = config_setting_get_member(group, "backend");
    const struct mb_backend *backend = NULL;
    struct mb_suggestion suggestion;
    struct mb_error err;
    char hint[160];

    if (setting == NULL || config_setting_type(setting) != CONFIG_TYPE_STRING)
        return NULL;
    mb_error_clear(&err);
    if (mb_registry_find(loader->registry, config_setting_get_string(setting), &backend, &err) ==
        MB_OK)
        return backend;
    mb_suggestion_init(&suggestion, config_setting_get_string(setting));
    if (err.status == MB_NOT_FOUND)
        mb_registry_each(loader->registry, offer_backend, NULL, &suggestion);
    mb_loader_error(loader, mb_members_line(loader, setting), "endpoint \"%s\": %s%s", name,
                    err.text, mb_suggestion_text(&suggestion, hint, sizeof hint));
    return NULL;
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
    if (!mb_loader_settings(loader, &core, &mb_endpoint_table, endpoint->line))
        return;
    endpoint->backend = find_backend(loader, config_setting_name(group), group);
    members.targets_count = 1;
    members.is_lenient = endpoint->backend == NULL;
    if (endpoint->backend != NULL &&
        mb_loader_settings(loader, &endpoint->settings, &endpoint->backend->endpoint_options,
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
        mb_loader_error(loader, 0,
                        "there are no endpoints: endpoints = { name = { backend = …; }; "
                        "};");
    loader->config->endpoints = calloc((size_t)count + 1, sizeof *loader->config->endpoints);
    if (loader->config->endpoints == NULL) {
        loader->no_memory = true;
        return;
    }
    for (int i = 0; i < count && !loader->no_memory; i++)
        read_endpoint(loader, config_setting_get_elem(group, (unsigned)i));
}

static void read_root(struct mb_loader *loader, config_setting_t *root)
{
    struct mb_members members = {.loader = loader, .owner = "the file", .structural = top_names};

    mb_members_read(&members, root);
    read_bridge(loader, root);
    read_endpoints(loader, root);
    if (!loader->no_memory)
        mb_routes_read(loader, root);
    if (loader->no_memory)
        return;
    for (size_t i = 0; i < loader->config->endpoints_count; i++)
        mb_check_endpoint(loader, loader->config->endpoints[i]);
    for (size_t i = 0; i < loader->config->routes_count; i++)
        mb_check_route(loader, i);
    mb_check_names(loader);
    mb_leave_out_dead_letters(loader);
    if (!loader->no_memory)
        mb_check_cycles(loader);
    mb_isolate_sinks(loader);
}

#if defined(__SANITIZE_ADDRESS__)
/* libconfig leaks the text that it was reading when it met a syntax error. */
const char *__lsan_default_suppressions(void);

__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}
#endif

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

        if (asprintf(&path, "%s%s%s", FILES_HAVE_FOLDER ? "" : folder, FILES_HAVE_FOLDER ? "" : "/",
                     loader->files[i]) < 0) {
            loader->no_memory = true;
            return;
        }
        text = mb_read_file(loader, path, &size);
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
    if (scan.stop || mb_read_included(loader, text, folder) != MB_OK)
        return;
    config_init(&file);
    config_set_include_dir(&file, folder);
    if (config_read_string(&file, text)) {
        read_root(loader, config_root_setting(&file));
        scan_included(loader, folder);
    } else {
        const char *reason = config_error_text(&file);

        mb_loader_error(
            loader,
            mb_members_place(loader, config_error_file(&file), (unsigned)config_error_line(&file)),
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
    text = mb_read_file(&loader, path, &size);
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
