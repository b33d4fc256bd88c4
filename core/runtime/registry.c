/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/registry.h"

#include "core/runtime/trust.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define NAME_SIZE_MAX  64u
#define FOLDERS_MAX    3u
#define MODULES_MAX    256u
#define LIST_TEXT_SIZE 256u

/* The slots that version 1.0 of the contract has. Later ones are appended, and read only from a
 * table whose struct_size covers them. */
#define END_OF(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))

struct entry {
    const struct mb_backend *backend;
    char *path; /* resolved; NULL: the program's own */
};

struct mb_registry {
    char *folders[FOLDERS_MAX];
    size_t folders_count;
    struct entry entries[MODULES_MAX];
    size_t entries_count;
};

/* The names of modules in the folders, each once, sorted. */
struct names {
    char items[MODULES_MAX][NAME_SIZE_MAX];
    size_t count;
};

static bool is_name(const char *text)
{
    size_t size = strlen(text);

    return size > 0 && size < NAME_SIZE_MAX &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == size;
}

static enum mb_status no_memory(struct mb_error *err)
{
    return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
}

/* Takes path over. A folder that is named twice counts once. */
static enum mb_status add_folder(struct mb_registry *registry, char *path)
{
    if (path == NULL)
        return MB_NO_MEMORY;
    for (size_t i = 0; i < registry->folders_count; i++) {
        if (strcmp(registry->folders[i], path) == 0) {
            free(path);
            return MB_OK;
        }
    }
    registry->folders[registry->folders_count++] = path;
    return MB_OK;
}

/* ../lib/mbridge beside the program; none where the program's place cannot be told. */
static enum mb_status add_program_folder(struct mb_registry *registry)
{
    char program[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", program, sizeof program);
    char *path;

    if (size <= 0 || (size_t)size >= sizeof program)
        return MB_OK;
    program[size] = '\0';
    for (int level = 0; level < 2; level++) {
        char *slash = strrchr(program, '/');

        if (slash == NULL)
            return MB_OK;
        *slash = '\0';
    }
    if (asprintf(&path, "%s/lib/mbridge", program) < 0)
        return MB_NO_MEMORY;
    return add_folder(registry, path);
}

enum mb_status mb_registry_create(struct mb_registry **ret_registry)
{
    struct mb_registry *registry = calloc(1, sizeof *registry);
    const char *folder = secure_getenv("MBRIDGE_MODULES");
    enum mb_status status = MB_OK;

    if (registry == NULL)
        return MB_NO_MEMORY;
    if (folder != NULL && *folder != '\0')
        status = add_folder(registry, strdup(folder));
    if (status == MB_OK)
        status = add_program_folder(registry);
    if (status == MB_OK)
        status = add_folder(registry, strdup(MBRIDGE_MODULE_INSTALL_DIR));
    if (status != MB_OK) {
        mb_registry_destroy(registry);
        return status;
    }
    *ret_registry = registry;
    return MB_OK;
}

void mb_registry_destroy(struct mb_registry *registry)
{
    if (registry == NULL)
        return;
    for (size_t i = 0; i < registry->folders_count; i++)
        free(registry->folders[i]);
    for (size_t i = 0; i < registry->entries_count; i++)
        free(registry->entries[i].path);
    free(registry);
}

static const struct entry *find_entry(const struct mb_registry *registry, const char *name)
{
    for (size_t i = 0; i < registry->entries_count; i++) {
        if (strcmp(registry->entries[i].backend->name, name) == 0)
            return &registry->entries[i];
    }
    return NULL;
}

static enum mb_status check_options(const struct mb_option_table *table, const char *what,
                                    const char *path, struct mb_error *err)
{
    if (table->count > 0 && (table->rows == NULL || table->struct_size == 0))
        return mb_module_refuse(err, "%s: its table of %s options is broken", path, what);
    return MB_OK;
}

static enum mb_status check_source(const struct mb_source_ops *ops, const char *path,
                                   struct mb_error *err)
{
    if (ops == NULL)
        return MB_OK;
    if (ops->struct_size < END_OF(struct mb_source_ops, close))
        return mb_module_refuse(err, "%s: its table of source operations is too short", path);
    if (ops->traits == NULL || ops->open == NULL || ops->fds == NULL || ops->poll == NULL ||
        ops->ack == NULL || ops->start == NULL || ops->stop == NULL || ops->service == NULL ||
        ops->close == NULL)
        return mb_module_refuse(err, "%s: its table of source operations lacks one", path);
    return MB_OK;
}

static enum mb_status check_sink(const struct mb_sink_ops *ops, const char *path,
                                 struct mb_error *err)
{
    if (ops == NULL)
        return MB_OK;
    if (ops->struct_size < END_OF(struct mb_sink_ops, load_positions))
        return mb_module_refuse(err, "%s: its table of sink operations is too short", path);
    if (ops->traits == NULL || ops->open == NULL || ops->fds == NULL || ops->send == NULL ||
        ops->completions == NULL || ops->flush == NULL || ops->service == NULL ||
        ops->close == NULL)
        return mb_module_refuse(err, "%s: its table of sink operations lacks one", path);
    return MB_OK;
}

static enum mb_status check_describe(const struct mb_describe_ops *ops, const char *path,
                                     struct mb_error *err)
{
    if (ops == NULL)
        return MB_OK;
    if (ops->struct_size < END_OF(struct mb_describe_ops, close))
        return mb_module_refuse(err, "%s: its table of describe operations is too short", path);
    if (ops->open == NULL || ops->identity == NULL || ops->describe == NULL || ops->clear == NULL ||
        ops->ensure == NULL || ops->close == NULL)
        return mb_module_refuse(err, "%s: its table of describe operations lacks one", path);
    return MB_OK;
}

static enum mb_status check_abi(const struct mb_backend *backend, const char *path,
                                struct mb_error *err)
{
    unsigned major = backend->abi_version >> 16;

    if (major != MB_ABI_MAJOR)
        return mb_module_refuse(
            err,
            "%s was built for version %u of the module interface, this program has "
            "%u: install the module and the program from the same release",
            path, major, MB_ABI_MAJOR);
    if (backend->struct_size < END_OF(struct mb_backend, stream))
        return mb_module_refuse(err, "%s: its descriptor is too short", path);
    if (backend->name == NULL || !is_name(backend->name))
        return mb_module_refuse(err, "%s: its descriptor has no name of a-z, 0-9 and _", path);
    return MB_OK;
}

static enum mb_status check_backend(const struct mb_backend *backend, const char *path,
                                    struct mb_error *err)
{
    enum mb_status status = check_options(&backend->endpoint_options, "endpoint", path, err);

    if (status == MB_OK)
        status = check_options(&backend->source_options, "source", path, err);
    if (status == MB_OK)
        status = check_options(&backend->sink_options, "sink", path, err);
    if (status == MB_OK && backend->url_rules_count > 0 && backend->url_rules == NULL)
        status = mb_module_refuse(err, "%s: its URL rules are missing", path);
    if (status == MB_OK && backend->source == NULL && backend->sink == NULL)
        status = mb_module_refuse(err, "%s can be neither a source nor a sink", path);
    if (status == MB_OK)
        status = check_source(backend->source, path, err);
    if (status == MB_OK)
        status = check_sink(backend->sink, path, err);
    if (status == MB_OK)
        status = check_describe(backend->describe, path, err);
    return status;
}

/* The module stays loaded even if it is refused: its constructors may have left threads behind. */
static enum mb_status open_module(const char *path, const char *name,
                                  const struct mb_backend **ret_backend, struct mb_error *err)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct mb_backend *backend;
    enum mb_status status;
    mb_backend_entry *function;
    void *symbol;

    if (module == NULL)
        return mb_module_refuse(err, "cannot load %s: %s", path, dlerror());
    symbol = dlsym(module, MB_BACKEND_SYMBOL);
    if (symbol == NULL)
        return mb_module_refuse(err, "%s is not a backend: it has no %s", path, MB_BACKEND_SYMBOL);
    memcpy(&function, &symbol, sizeof function); /* POSIX's way round ISO C's function pointers */
    backend = function();
    if (backend == NULL)
        return mb_module_refuse(err, "%s is not a backend: it has no descriptor", path);
    status = check_abi(backend, path, err);
    if (status == MB_OK && strcmp(backend->name, name) != 0)
        status =
            mb_module_refuse(err, "%s calls itself \"%s\": the file must have the backend's name",
                             path, backend->name);
    if (status == MB_OK)
        status = check_backend(backend, path, err);
    if (status == MB_OK)
        *ret_backend = backend;
    return status;
}

static enum mb_status append(struct mb_registry *registry, const struct mb_backend *backend,
                             const char *path, struct mb_error *err)
{
    struct entry entry = {backend, NULL};

    if (registry->entries_count == MODULES_MAX)
        return mb_module_refuse(err, "more than %u backends", MODULES_MAX);
    if (path != NULL) {
        entry.path = strdup(path);
        if (entry.path == NULL)
            return no_memory(err);
    }
    registry->entries[registry->entries_count++] = entry;
    return MB_OK;
}

/* path exists. */
static enum mb_status load(struct mb_registry *registry, const char *path, const char *name,
                           const struct mb_backend **ret_backend, struct mb_error *err)
{
    char resolved[PATH_MAX];
    const struct entry *known = find_entry(registry, name);
    const struct mb_backend *backend = NULL;
    enum mb_status status;

    if (realpath(path, resolved) == NULL)
        return mb_module_refuse(err, "%s: %s", path, strerror(errno));
    if (known != NULL) {
        if (known->path == NULL || strcmp(known->path, resolved) != 0)
            return mb_module_refuse(err, "%s: a backend \"%s\" is already there, from %s", path,
                                    name, known->path != NULL ? known->path : "the program itself");
        *ret_backend = known->backend;
        return MB_OK;
    }
    status = mb_trust_folders(path, err);
    if (status == MB_OK)
        status = mb_trust_folders(resolved, err);
    if (status == MB_OK)
        status = mb_trust_file(resolved, err);
    if (status == MB_OK)
        status = open_module(resolved, name, &backend, err);
    if (status == MB_OK)
        status = append(registry, backend, resolved, err);
    if (status == MB_OK)
        *ret_backend = backend;
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* NAME of NAME.so; false if file is not called so. */
static bool module_name(const char *file, char *name, size_t size)
{
    size_t length = strlen(file);

    if (length <= 3 || length - 3 >= size || strcmp(file + length - 3, ".so") != 0)
        return false;
    memcpy(name, file, length - 3);
    name[length - 3] = '\0';
    return is_name(name);
}

static void add_name(struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->items[i], name) == 0)
            return;
    }
    if (names->count < MODULES_MAX)
        snprintf(names->items[names->count++], NAME_SIZE_MAX, "%s", name);
}

/* NULL when memory is out. */
static struct names *list_names(const struct mb_registry *registry)
{
    struct names *names = calloc(1, sizeof *names);

    if (names == NULL)
        return NULL;
    for (size_t i = 0; i < registry->entries_count; i++)
        add_name(names, registry->entries[i].backend->name);
    for (size_t i = 0; i < registry->folders_count; i++) {
        DIR *folder = registry->folders[i][0] == '/' ? opendir(registry->folders[i]) : NULL;
        const struct dirent *file;

        while (folder != NULL && (file = readdir(folder)) != NULL) {
            char name[NAME_SIZE_MAX];

            if (module_name(file->d_name, name, sizeof name))
                add_name(names, name);
        }
        if (folder != NULL)
            closedir(folder);
    }
    qsort(names->items, names->count, sizeof names->items[0], compare_names);
    return names;
}

static void join(char *text, size_t size, const char *item)
{
    size_t used = strlen(text);

    snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", item);
}

static enum mb_status not_installed(const struct mb_registry *registry, const char *name,
                                    struct mb_error *err)
{
    struct names *names = list_names(registry);
    char package[NAME_SIZE_MAX];
    char folders[LIST_TEXT_SIZE] = "";
    char installed[LIST_TEXT_SIZE / 2] = "";

    snprintf(package, sizeof package, "%s", name);
    for (char *at = package; *at != '\0'; at++) {
        if (*at == '_') /* which a package's name may not have */
            *at = '-';
    }
    for (size_t i = 0; i < registry->folders_count; i++)
        join(folders, sizeof folders, registry->folders[i]);
    for (size_t i = 0; names != NULL && i < names->count; i++)
        join(installed, sizeof installed, names->items[i]);
    free(names);
    return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_NONE, "module",
                        "backend \"%s\" is not installed (package mbridge-%s; installed: %s): no "
                        "%s.so in %s",
                        name, package, *installed != '\0' ? installed : "none", name, folders);
}

static enum mb_status find_path(struct mb_registry *registry, const char *path,
                                const struct mb_backend **ret_backend, struct mb_error *err)
{
    const char *slash = strrchr(path, '/');
    char name[NAME_SIZE_MAX];

    if (!module_name(slash + 1, name, sizeof name))
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "module",
                            "\"%s\" is no module: its file is not called NAME.so", path);
    if (access(path, F_OK) != 0)
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_NONE, "module", "there is no module %s: %s",
                            path, strerror(errno));
    return load(registry, path, name, ret_backend, err);
}

enum mb_status mb_registry_find(struct mb_registry *registry, const char *name_or_path,
                                const struct mb_backend **ret_backend, struct mb_error *err)
{
    const struct entry *known;

    if (*name_or_path == '/')
        return find_path(registry, name_or_path, ret_backend, err);
    if (!is_name(name_or_path))
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "module",
                            "\"%s\" is no backend's name: a-z, 0-9 and _, or an absolute path",
                            name_or_path);
    known = find_entry(registry, name_or_path);
    if (known != NULL) {
        *ret_backend = known->backend;
        return MB_OK;
    }
    for (size_t i = 0; i < registry->folders_count; i++) {
        char path[PATH_MAX];
        int size = snprintf(path, sizeof path, "%s/%s.so", registry->folders[i], name_or_path);

        if (registry->folders[i][0] != '/')
            return mb_module_refuse(err, "MBRIDGE_MODULES is \"%s\", which is no absolute path",
                                    registry->folders[i]);
        if (size > 0 && (size_t)size < sizeof path && access(path, F_OK) == 0)
            return load(registry, path, name_or_path, ret_backend, err);
    }
    return not_installed(registry, name_or_path, err);
}

enum mb_status mb_registry_add(struct mb_registry *registry, const struct mb_backend *backend,
                               struct mb_error *err)
{
    enum mb_status status = check_abi(backend, "the program's own backend", err);

    if (status != MB_OK)
        return status;
    if (find_entry(registry, backend->name) != NULL)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "module",
                            "a backend \"%s\" is already there", backend->name);
    return append(registry, backend, NULL, err);
}

/* Where find would look; "" for what it would not find. */
static void locate(const struct mb_registry *registry, const char *name, char *path, size_t size)
{
    for (size_t i = 0; i < registry->folders_count; i++) {
        snprintf(path, size, "%s/%s.so", registry->folders[i], name);
        if (access(path, F_OK) == 0)
            return;
    }
    snprintf(path, size, "%s", name);
}

void mb_registry_each(struct mb_registry *registry,
                      void (*each)(void *context, const struct mb_backend *backend),
                      void (*bad)(void *context, const char *path, const struct mb_error *err),
                      void *context)
{
    struct names *names = list_names(registry);

    for (size_t i = 0; names != NULL && i < names->count; i++) {
        const struct mb_backend *backend;
        struct mb_error err;

        if (mb_registry_find(registry, names->items[i], &backend, &err) == MB_OK) {
            each(context, backend);
        } else if (bad != NULL) {
            char path[PATH_MAX];

            locate(registry, names->items[i], path, sizeof path);
            bad(context, path, &err);
        }
    }
    free(names);
}

struct scheme_search {
    const char *scheme;
    const struct mb_backend *backend;
    const struct mb_url_rule *rule;
    char schemes[LIST_TEXT_SIZE];
    char bad[MB_ERROR_TEXT_SIZE]; /* why the first bad module was refused: it could be the one */
};

static void search_backend(void *context, const struct mb_backend *backend)
{
    struct scheme_search *search = context;

    for (size_t i = 0; i < backend->url_rules_count; i++) {
        const struct mb_url_rule *rule = &backend->url_rules[i];

        join(search->schemes, sizeof search->schemes, rule->scheme);
        if (search->rule == NULL && strcmp(rule->scheme, search->scheme) == 0) {
            search->backend = backend;
            search->rule = rule;
        }
    }
}

static void search_bad(void *context, const char *path, const struct mb_error *err)
{
    struct scheme_search *search = context;

    (void)path;
    if (search->bad[0] == '\0')
        snprintf(search->bad, sizeof search->bad, "%s", err->text);
}

enum mb_status mb_registry_find_scheme(struct mb_registry *registry, const char *scheme,
                                       const struct mb_backend **ret_backend,
                                       const struct mb_url_rule **ret_rule, struct mb_error *err)
{
    struct scheme_search search = {.scheme = scheme};

    /* Often the scheme is the backend's name: no need to load all the others then. */
    if (is_name(scheme)) {
        const struct mb_backend *backend;
        struct mb_error ignored;

        mb_registry_find(registry, scheme, &backend, &ignored);
    }
    for (size_t i = 0; i < registry->entries_count && search.rule == NULL; i++)
        search_backend(&search, registry->entries[i].backend);
    if (search.rule == NULL) {
        search.schemes[0] = '\0';
        mb_registry_each(registry, search_backend, search_bad, &search);
    }
    if (search.rule == NULL)
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_NONE, "module",
                            "no installed backend takes %s:// (there are: %s)%s%s", scheme,
                            search.schemes[0] != '\0' ? search.schemes : "none",
                            search.bad[0] != '\0' ? "; " : "", search.bad);
    *ret_backend = search.backend;
    *ret_rule = search.rule;
    return MB_OK;
}
