/* SPDX-License-Identifier: Apache-2.0 */
/* The two URLs of `copy` → a model of one route. */
#include "core/config/loader.h"
#include "core/config/suggest.h"
#include "core/runtime/registry.h"
#include "kit/hash.h"
#include "kit/uri.h"

#include <stdlib.h>

/* One side of the copy while it is built. */
struct side {
    struct mb_loader *loader;
    const char *owner; /* "FROM", "TO" */
    struct mb_uri uri;
    struct mb_config_endpoint *endpoint;
    struct mb_config_stream *stream;
    struct mb_settings core; /* of the core's source or sink table */
    uint64_t *hash;
};

static void hash_add(uint64_t *hash, const char *text)
{
    /* With its NUL, so that two texts do not run into one. */
    *hash = mb_hash_add(*hash, text, strlen(text) + 1);
}

/* The settings that have the option: the endpoint's, the stream's, the core's. */
static struct mb_settings *find_option(struct side *side, const char *name, size_t *ret_index)
{
    struct mb_settings *settings[] = {&side->endpoint->settings, &side->stream->settings,
                                      &side->core};

    /* The endpoint is the URL itself. */
    if (strcmp(name, "endpoint") == 0)
        return NULL;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (mb_settings_find(settings[i]->table, name, ret_index, NULL) == MB_OK)
            return settings[i];
    }
    return NULL;
}

static void report_unknown(struct side *side, const char *name)
{
    const struct mb_option_table *tables[] = {side->endpoint->settings.table,
                                              side->stream->settings.table, side->core.table};
    struct mb_suggestion suggestion;
    char hint[160];

    mb_suggestion_init(&suggestion, name);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (size_t k = 0; k < tables[i]->count; k++) {
            if (strcmp(tables[i]->rows[k].name, "endpoint") != 0)
                mb_suggestion_offer(&suggestion, tables[i]->rows[k].name);
        }
    }
    mb_loader_error(side->loader, 0, "%s: backend %s has no option \"%.100s\"%s", side->owner,
                    side->endpoint->backend->name, name,
                    mb_suggestion_text(&suggestion, hint, sizeof hint));
}

/* Appends to what a list has so far; sets anything else. */
static void set_option(struct side *side, const char *name, const char *value)
{
    size_t index = 0;
    struct mb_settings *settings = find_option(side, name, &index);
    const struct mb_option *row;
    const struct mb_setting *before;
    const char **texts;
    struct mb_error err;
    size_t count = 0;

    if (settings == NULL) {
        report_unknown(side, name);
        return;
    }
    row = &settings->table->rows[index];
    before = &settings->rows[index];
    if (before->is_set && row->type != MB_OPTION_LIST && row->type != MB_OPTION_PAIRS) {
        mb_loader_error(side->loader, 0, "%s: option %s is given twice", side->owner, name);
        return;
    }
    texts = calloc(before->texts_count + 1, sizeof *texts);
    if (texts == NULL) {
        side->loader->no_memory = true;
        return;
    }
    for (; count < before->texts_count; count++)
        texts[count] = before->texts[count];
    texts[count++] = value;
    mb_error_clear(&err);
    if (mb_settings_set(settings, index, texts, count, count > 1, 0, &err) != MB_OK)
        mb_loader_error(side->loader, 0, "%s: %s", side->owner, err.text);
    free(texts);
    if (row->flags & MB_OPTION_IS_SECRET)
        return;
    hash_add(side->hash, name);
    hash_add(side->hash, value);
}

/* A part of the URL itself, into the first of the two options that the backend has. */
static void set_part(struct side *side, const char *what, const char *name, const char *other,
                     const char *value)
{
    size_t index;

    if (name != NULL && find_option(side, name, &index) == NULL)
        name = other;
    if (name != NULL && find_option(side, name, &index) != NULL)
        set_option(side, name, value);
    else
        mb_loader_error(side->loader, 0, "%s: backend %s takes no %s in its URL", side->owner,
                        side->endpoint->backend->name, what);
}

static void set_fixed(struct side *side, const char *pair)
{
    const char *sign = strchr(pair, '=');
    char name[64];

    if (sign == NULL || (size_t)(sign - pair) >= sizeof name)
        return;
    snprintf(name, sizeof name, "%.*s", (int)(sign - pair), pair);
    set_option(side, name, sign + 1);
}

static void set_all(struct side *side, const struct mb_url_rule *rule)
{
    const struct mb_uri *uri = &side->uri;

    hash_add(side->hash, uri->scheme);
    if (rule->fixed != NULL)
        set_fixed(side, rule->fixed);
    if (rule->uri_option != NULL) {
        uint64_t hash = *side->hash;

        set_part(side, "address", rule->uri_option, NULL, uri->base);
        /* The base holds the password: hash what it was made of instead. */
        *side->hash = hash;
        hash_add(side->hash, uri->username != NULL ? uri->username : "");
        hash_add(side->hash, uri->authority);
        hash_add(side->hash, uri->path != NULL ? uri->path : "");
    } else {
        if (uri->authority[0] != '\0')
            set_part(side, "host", rule->authority_option, NULL, uri->authority);
        if (uri->path != NULL && uri->path[0] != '\0')
            set_part(side, "path", rule->path_option, NULL, uri->path);
        if (uri->username != NULL && uri->username[0] != '\0')
            set_part(side, "user name", "username", "sasl.username", uri->username);
        if (uri->password != NULL)
            set_part(side, "password", "password", "sasl.password", uri->password);
    }
    for (size_t i = 0; i < uri->query_count; i++)
        set_option(side, uri->query[i].name, uri->query[i].value);
}

static const struct mb_option_table *role_table(struct side *side, enum mb_role role)
{
    const struct mb_backend *backend = side->endpoint->backend;

    if (role == MB_ROLE_SOURCE ? backend->source != NULL : backend->sink != NULL)
        return role == MB_ROLE_SOURCE ? &backend->source_options : &backend->sink_options;
    mb_loader_error(side->loader, 0, "%s: backend %s cannot be a %s", side->owner, backend->name,
                    role == MB_ROLE_SOURCE ? "source" : "sink");
    return NULL;
}

static void read_side(struct side *side, const char *url, enum mb_role role)
{
    struct mb_loader *loader = side->loader;
    const struct mb_url_rule *rule = NULL;
    const struct mb_option_table *table;
    size_t errors = loader->diagnostics->errors;
    struct mb_error err;

    mb_error_clear(&err);
    if (mb_uri_parse(url, &side->uri, &err) != MB_OK ||
        mb_registry_find_scheme(loader->registry, side->uri.scheme, &side->endpoint->backend, &rule,
                                &err) != MB_OK) {
        mb_loader_error(loader, 0, "%s: %s", side->owner, err.text);
        return;
    }
    table = role_table(side, role);
    if (table == NULL ||
        !mb_loader_settings(loader, &side->endpoint->settings,
                            &side->endpoint->backend->endpoint_options, 0) ||
        !mb_loader_settings(loader, &side->stream->settings, table, 0) ||
        !mb_loader_settings(loader, &side->core,
                            role == MB_ROLE_SOURCE ? &mb_source_table : &mb_sink_table, 0))
        return;
    set_all(side, rule);
    mb_loader_check_required(loader, &side->endpoint->settings, side->owner);
    mb_loader_check_required(loader, &side->stream->settings, side->owner);
    mb_loader_take_stream(loader, &side->core, side->stream);
    side->endpoint->is_sound = loader->diagnostics->errors == errors;
}

static struct mb_config_endpoint *add_endpoint(struct mb_loader *loader, const char *name)
{
    struct mb_config_endpoint *endpoint = calloc(1, sizeof *endpoint);

    if (endpoint == NULL) {
        loader->no_memory = true;
        return NULL;
    }
    loader->config->endpoints[loader->config->endpoints_count++] = endpoint;
    endpoint->name = mb_loader_copy(loader, name);
    return endpoint;
}

/* The bridge, the route and its two sides, all at their defaults. */
static bool prepare(struct mb_loader *loader, struct side *from, struct side *to)
{
    struct mb_config *config = loader->config;
    struct mb_settings bridge = {0};
    struct mb_config_route *route;

    config->endpoints = calloc(2, sizeof *config->endpoints);
    config->routes = calloc(1, sizeof *config->routes);
    loader->drafts = calloc(1, sizeof *loader->drafts);
    if (config->endpoints == NULL || config->routes == NULL || loader->drafts == NULL)
        goto fail;
    from->endpoint = add_endpoint(loader, "from");
    to->endpoint = add_endpoint(loader, "to");
    route = &config->routes[config->routes_count++];
    route->from = calloc(1, sizeof *route->from);
    route->to = calloc(1, sizeof *route->to);
    if (route->from == NULL || route->to == NULL || from->endpoint == NULL || to->endpoint == NULL)
        goto fail;
    route->from_count = 1;
    route->to_count = 1;
    from->stream = route->from;
    to->stream = route->to;
    from->stream->endpoint = from->endpoint;
    to->stream->endpoint = to->endpoint;
    if (!mb_loader_settings(loader, &bridge, &mb_bridge_table, 0) ||
        !mb_loader_settings(loader, &loader->drafts[0].settings, &mb_route_table, 0))
        goto fail;
    mb_loader_take_bridge(loader, &bridge);
    mb_loader_take_route(loader, &loader->drafts[0].settings, route);
    mb_settings_release(&bridge);
    free(route->name);
    route->name = mb_loader_copy(loader, "copy");
    return true;
fail:
    mb_settings_release(&bridge);
    loader->no_memory = true;
    return false;
}

enum mb_status mb_config_from_urls(const char *from, const char *to, struct mb_registry *registry,
                                   struct mb_config **ret_config,
                                   struct mb_diagnostics *diagnostics)
{
    struct mb_loader loader = {.registry = registry, .diagnostics = diagnostics};
    uint64_t hash = MB_HASH_BEGIN;
    struct side source = {.loader = &loader, .owner = "FROM", .hash = &hash};
    struct side sink = {.loader = &loader, .owner = "TO", .hash = &hash};
    enum mb_status status;

    *ret_config = NULL;
    memset(diagnostics, 0, sizeof *diagnostics);
    loader.config = calloc(1, sizeof *loader.config);
    if (loader.config == NULL || !prepare(&loader, &source, &sink)) {
        loader.no_memory = true;
        goto out;
    }
    read_side(&source, from, MB_ROLE_SOURCE);
    hash_add(&hash, "to");
    read_side(&sink, to, MB_ROLE_SINK);
    if (asprintf(&loader.config->routes[0].group, "mbridge.copy.%016llx",
                 (unsigned long long)hash) < 0) {
        loader.config->routes[0].group = NULL;
        loader.no_memory = true;
        goto out;
    }
    if (diagnostics->errors == 0 && !loader.no_memory) {
        loader.drafts[0].is_sound = true;
        mb_check_endpoint(&loader, source.endpoint);
        mb_check_endpoint(&loader, sink.endpoint);
        mb_check_route(&loader, 0);
        mb_check_cycles(&loader);
    }
out:
    mb_settings_release(&source.core);
    mb_settings_release(&sink.core);
    mb_uri_release(&source.uri);
    mb_uri_release(&sink.uri);
    status = mb_loader_end(&loader, ret_config);
    return status;
}
