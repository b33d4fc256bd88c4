/* SPDX-License-Identifier: Apache-2.0 */
/* What no single row of a table can tell: names, combinations, routes as a whole. */
#include "core/config/party.h"
#include "core/config/secret.h"
#include "core/router/key.h"
#include "core/router/patterns.h"

#include <ctype.h>
#include <stdlib.h>

#define NAME_MAX_SIZE    100
#define STREAMS_MAX      1024
#define STREAM_NAME_SIZE 512

/* Names become parts of the names of groups, queues and files, and of metrics. */
static void check_name(struct mb_loader *loader, unsigned line, const char *what, const char *name)
{
    size_t size = strlen(name);
    bool is_good = size > 0 && size <= NAME_MAX_SIZE;

    for (size_t i = 0; i < size && is_good; i++)
        is_good = isalnum((unsigned char)name[i]) || strchr("._-", name[i]) != NULL;
    if (!is_good)
        mb_loader_error(loader, line,
                        "%s \"%.100s\" must be 1 to %d letters, digits, points, dashes and "
                        "underscores",
                        what, name, NAME_MAX_SIZE);
}

void mb_check_bridge(struct mb_loader *loader, const struct mb_settings *settings)
{
    if (loader->config->bridge_name != NULL)
        check_name(loader, mb_settings_line(settings, "name"), "the name of the bridge",
                   loader->config->bridge_name);
    if (loader->config->admin != NULL)
        mb_loader_warning(loader, mb_settings_line(settings, "admin"),
                          "admin: nothing listens there in this version; SIGUSR1 prints the "
                          "counters");
}

static void warn_of_secret(struct mb_loader *loader, const struct mb_option *row,
                           const struct mb_setting *setting)
{
    const char *text = setting->texts[0];
    const char *exposure = mb_secret_exposure(text);
    struct mb_error err;

    mb_error_clear(&err);
    if (!mb_secret_probe(text, &err))
        mb_loader_warning(loader, setting->line, "%s: %s", row->name, err.text);
    if (exposure != NULL)
        mb_loader_warning(loader, setting->line, "%s: %s: %s", row->name, text + strlen("file:"),
                          exposure);
}

/* Options that are dangerous by themselves. */
static void warn_of_settings(struct mb_loader *loader, const struct mb_settings *settings)
{
    for (size_t i = 0; i < settings->table->count; i++) {
        const struct mb_option *row = &settings->table->rows[i];
        const struct mb_setting *setting = &settings->rows[i];

        if (!setting->is_set || setting->texts_count == 0)
            continue;
        if (row->flags & MB_OPTION_UNSAFE &&
            strcmp(setting->texts[0], row->default_text != NULL ? row->default_text : "") != 0)
            mb_loader_warning(loader, setting->line, "%s = %s is unsafe: %s", row->name,
                              setting->texts[0], row->doc);
        if (row->flags & MB_OPTION_IS_SECRET)
            warn_of_secret(loader, row, setting);
    }
}

struct finding_context {
    struct mb_loader *loader;
    const struct mb_settings *endpoint;
    const struct mb_settings *stream; /* NULL: the endpoint alone */
    const char *owner;
};

static void on_finding(void *context, const struct mb_finding *finding)
{
    struct finding_context *about = context;
    const struct mb_settings *settings = about->stream != NULL ? about->stream : about->endpoint;
    unsigned line;
    size_t index;

    /* An option of the endpoint is spoken of there, however the route came upon it. */
    if (finding->option != NULL && about->stream != NULL &&
        mb_settings_find(about->stream->table, finding->option, &index, NULL) != MB_OK &&
        mb_settings_find(about->endpoint->table, finding->option, &index, NULL) == MB_OK)
        settings = about->endpoint;
    line = finding->option != NULL ? mb_settings_line(settings, finding->option) : settings->line;
    if (finding->is_error)
        mb_loader_error(about->loader, line, "%s: %s", about->owner, finding->text);
    else
        mb_loader_warning(about->loader, line, "%s: %s", about->owner, finding->text);
}

static struct mb_applied *apply(struct mb_loader *loader, const struct mb_settings *settings)
{
    struct mb_applied *applied = NULL;
    struct mb_error err;

    if (mb_settings_apply(settings, false, &applied, &err) != MB_OK)
        loader->no_memory = true;
    return applied;
}

void mb_check_endpoint(struct mb_loader *loader, const struct mb_config_endpoint *endpoint)
{
    struct mb_applied *applied;
    char owner[160];
    struct finding_context context = {loader, &endpoint->settings, NULL, owner};

    if (!endpoint->is_sound)
        return;
    snprintf(owner, sizeof owner, "endpoint \"%.100s\"", endpoint->name);
    warn_of_settings(loader, &endpoint->settings);
    applied = apply(loader, &endpoint->settings);
    if (applied != NULL && endpoint->backend->validate != NULL)
        endpoint->backend->validate(mb_applied_struct(applied), MB_ROLE_SOURCE, NULL, false,
                                    on_finding, &context);
    mb_applied_destroy(applied);
}

static bool same_endpoint(const struct mb_config_endpoint *a, const struct mb_config_endpoint *b)
{
    return a == b || (a->backend == b->backend && mb_settings_equal(&a->settings, &b->settings));
}

/* Whether what the sink writes comes back through the source; its name goes into name. */
static bool feeds_itself(const struct mb_party *source, const struct mb_party *sink, char *name,
                         size_t size)
{
    struct mb_stream_record record;
    uint32_t kind;

    if (!mb_endpoints_are_one(source->stream->endpoint, sink->stream->endpoint) ||
        !mb_party_stream(sink, 0, &record))
        return false;
    kind = record.kind;
    snprintf(name, size, "%s", record.name);
    for (size_t i = 0; i < STREAMS_MAX && mb_party_stream(source, i, &record); i++) {
        if (record.kind == kind && strcmp(record.name, name) == 0)
            return true;
    }
    return false;
}

static void validate(struct mb_loader *loader, const struct mb_party *party, const char *route_name)
{
    const struct mb_backend *backend = party->stream->endpoint->backend;
    char owner[160];
    struct finding_context context = {loader, &party->stream->endpoint->settings,
                                      &party->stream->settings, owner};

    snprintf(owner, sizeof owner, "route \"%.100s\"", route_name);
    warn_of_settings(loader, &party->stream->settings);
    if (backend->validate != NULL)
        backend->validate(party->params.endpoint, party->role, party->params.options,
                          party->params.ordered, on_finding, &context);
}

static void check_lanes(struct mb_loader *loader, const struct mb_party *source,
                        const struct mb_config_route *route, unsigned line)
{
    const struct mb_source_ops *ops = source->stream->endpoint->backend->source;
    uint64_t traits;

    if (route->lanes == 1 || route->order != MB_ORDER_KEY || ops->traits == NULL)
        return;
    traits = ops->traits(source->params.endpoint, source->params.options);
    if (!(traits & MB_SOURCE_DIVIDES_BY_KEY))
        mb_loader_error(loader, line,
                        "lanes = %u: the source at endpoint \"%s\" gives each message to any "
                        "consumer, so several lanes would break the order of a key; use lanes = 1 "
                        "or order = \"none\"",
                        route->lanes, source->stream->endpoint->name);
}

/* Several readers of one queue would share its messages out. */
static void check_isolation(struct mb_loader *loader, const struct mb_party *source,
                            const struct mb_config_route *route, unsigned line)
{
    const struct mb_source_ops *ops = source->stream->endpoint->backend->source;

    if (!route->isolate_sinks || ops->traits == NULL ||
        (ops->traits(source->params.endpoint, source->params.options) & MB_SOURCE_CONSUMES) == 0)
        return;
    mb_loader_error(loader, line,
                    "isolate_sinks: the source at endpoint \"%s\" takes messages from a queue, "
                    "which gives each of them to one reader only, so its sinks cannot read apart; "
                    "where it can, bind a queue of the route's own to an exchange, or read a log",
                    source->stream->endpoint->name);
}

/* A pattern leaves out what `never` forbids; a name that stands there is a mistake. */
static void check_never(struct mb_loader *loader, const struct mb_config_stream *from)
{
    const struct mb_config_endpoint *endpoint = from->endpoint;
    const struct mb_settings *settings = &from->settings;

    for (size_t i = 0; i < settings->table->count; i++) {
        const struct mb_option *row = &settings->table->rows[i];
        const struct mb_setting *setting = &settings->rows[i];

        if (!setting->is_set || !(row->flags & MB_OPTION_NAMES_STREAM))
            continue;
        for (size_t k = 0; k < setting->texts_count * endpoint->never_count; k++) {
            const char *name = setting->texts[k / endpoint->never_count];
            const char *never = endpoint->never[k % endpoint->never_count];

            if ((row->flags & MB_OPTION_MAY_BE_PATTERN && mb_pattern_is_one(name)) ||
                !mb_pattern_matches(never, name))
                continue;
            mb_loader_error(
                loader, setting->line,
                "%s: \"%.200s\" may not be read: endpoint \"%s\" has never = \"%.100s\"", row->name,
                name, endpoint->name, never);
            break;
        }
    }
}

/* ${match.N} of a sink needs sources whose patterns have so many groups. */
static void check_matches(struct mb_loader *loader, const struct mb_config_route *route,
                          const struct mb_settings *sink, const char *name, const char *text)
{
    struct mb_template *template = NULL;
    struct mb_error err;
    int wanted;

    if (text == NULL || mb_template_create(text, &template, &err) != MB_OK)
        return;
    wanted = mb_template_match_max(template);
    mb_template_destroy(template);
    for (size_t i = 0; i < route->from_count && wanted >= 0; i++) {
        if (mb_pattern_groups_count(&route->from[i]) >= wanted)
            continue;
        mb_loader_error(loader, mb_settings_line(sink, name),
                        "%s: ${match.%d} needs a source with a regular expression of so many "
                        "groups; the one in line %u of route \"%s\" has none such",
                        name, wanted, route->from[i].line & MB_LINE_MASK, route->name);
        return;
    }
}

static void check_templates(struct mb_loader *loader, const struct mb_config_route *route,
                            const struct mb_config_stream *sink)
{
    const struct mb_option_table *table = sink->settings.table;

    for (size_t i = 0; i < table->count; i++) {
        if (table->rows[i].type == MB_OPTION_TEMPLATE)
            check_matches(loader, route, &sink->settings, table->rows[i].name,
                          mb_settings_text(&sink->settings, table->rows[i].name));
    }
}

static void check_parties(struct mb_loader *loader, const struct mb_config_route *route,
                          const struct mb_settings *settings)
{
    size_t sinks_count = route->to_count + (route->dead_letter != NULL);
    struct mb_party source;
    struct mb_party sink;
    char name[STREAM_NAME_SIZE];

    for (size_t i = 0; i < sinks_count && !loader->no_memory; i++) {
        const struct mb_config_stream *to =
            i < route->to_count ? &route->to[i] : route->dead_letter;

        if (mb_party_init(loader, &sink, route, to, MB_ROLE_SINK))
            validate(loader, &sink, route->name);
        check_templates(loader, route, to);
        for (size_t k = 0; k < route->from_count && !loader->no_memory; k++) {
            if (mb_party_init(loader, &source, route, &route->from[k], MB_ROLE_SOURCE) &&
                feeds_itself(&source, &sink, name, sizeof name))
                mb_loader_error(loader, to->line,
                                "%s of route \"%s\" writes to \"%.200s\", which the route reads: "
                                "messages would go round for ever",
                                i < route->to_count ? "to" : "dead_letter", route->name, name);
            mb_party_release(&source);
        }
        mb_party_release(&sink);
    }
    for (size_t k = 0; k < route->from_count && !loader->no_memory; k++) {
        if (mb_party_init(loader, &source, route, &route->from[k], MB_ROLE_SOURCE)) {
            validate(loader, &source, route->name);
            check_never(loader, &route->from[k]);
            check_lanes(loader, &source, route, mb_settings_line(settings, "lanes"));
            check_isolation(loader, &source, route, mb_settings_line(settings, "isolate_sinks"));
        }
        mb_party_release(&source);
    }
}

static void check_same(struct mb_loader *loader, const struct mb_config_route *route,
                       const struct mb_config_stream *streams, size_t count, const char *what)
{
    for (size_t i = 1; i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (same_endpoint(streams[i].endpoint, streams[k].endpoint) &&
                mb_settings_equal(&streams[i].settings, &streams[k].settings))
                mb_loader_error(loader, streams[i].line,
                                "route \"%s\" has the same %s twice; the other is in line %u",
                                route->name, what, streams[k].line & MB_LINE_MASK);
        }
    }
}

static void check_key(struct mb_loader *loader, const struct mb_config_route *route,
                      const struct mb_settings *settings)
{
    struct mb_key_rule rule;
    struct mb_error err;

    if (mb_key_rule_init(&rule, route->key_from, &err) != MB_OK)
        mb_loader_error(loader, mb_settings_line(settings, "key_from"), "key_from: %s", err.text);
    mb_key_rule_release(&rule);
    if (route->key_from != NULL)
        check_matches(loader, route, settings, "key_from", route->key_from);
}

static void check_policies(struct mb_loader *loader, const struct mb_config_route *route,
                           const struct mb_settings *settings)
{
    if (mb_settings_text(settings, "on_reject") != NULL &&
        route->on_reject == MB_REJECT_DEAD_LETTER && route->dead_letter == NULL)
        mb_loader_error(loader, mb_settings_line(settings, "on_reject"),
                        "on_reject = \"dead-letter\" needs a dead_letter = { endpoint = …; … }; in "
                        "route \"%s\"",
                        route->name);
    check_key(loader, route, settings);
    if (route->retry_initial_ms > route->retry_max_ms)
        mb_loader_error(loader, mb_settings_line(settings, "retry.initial"),
                        "retry.initial is longer than retry.max");
    if (route->allow_cycle && route->provenance == MB_PROVENANCE_NEVER)
        mb_loader_error(loader, mb_settings_line(settings, "provenance"),
                        "allow_cycle = true needs the path of messages, which provenance = "
                        "\"never\" leaves out: nothing would end their round");
    if (route->on_loss == MB_LOSS_CONTINUE)
        mb_loader_warning(loader, mb_settings_line(settings, "on_loss"),
                          "on_loss = \"continue\": what the source has lost is counted and passed "
                          "over");
    if (route->dead_letter != NULL && route->on_reject == MB_REJECT_STOP)
        mb_loader_warning(loader, mb_settings_line(settings, "on_reject"),
                          "on_reject = \"stop\": the dead_letter of route \"%s\" is never used",
                          route->name);
}

void mb_check_route(struct mb_loader *loader, size_t index)
{
    const struct mb_config_route *route = &loader->config->routes[index];
    const struct mb_route_draft *draft = &loader->drafts[index];
    bool endpoints_sound = true;

    if (draft->settings.table == NULL || route->name == NULL)
        return;
    if (mb_settings_text(&draft->settings, "name") != NULL)
        check_name(loader, mb_settings_line(&draft->settings, "name"), "the name of a route",
                   route->name);
    check_policies(loader, route, &draft->settings);
    if (!draft->is_sound)
        return;
    for (size_t i = 0; i < route->from_count; i++)
        endpoints_sound &= route->from[i].endpoint->is_sound;
    for (size_t i = 0; i < route->to_count; i++)
        endpoints_sound &= route->to[i].endpoint->is_sound;
    if (route->dead_letter != NULL)
        endpoints_sound &= route->dead_letter->endpoint->is_sound;
    if (!endpoints_sound)
        return;
    check_same(loader, route, route->from, route->from_count, "source");
    check_same(loader, route, route->to, route->to_count, "sink");
    check_parties(loader, route, &draft->settings);
    mb_check_once(loader, route, &draft->settings);
}

void mb_check_names(struct mb_loader *loader)
{
    const struct mb_config *config = loader->config;

    for (size_t i = 1; i < config->routes_count; i++) {
        const char *name = config->routes[i].name;

        for (size_t k = 0; k < i && name != NULL && name[0] != '\0'; k++) {
            if (config->routes[k].name == NULL || strcmp(config->routes[k].name, name) != 0)
                continue;
            mb_loader_error(loader, mb_settings_line(&loader->drafts[i].settings, "name"),
                            "there is another route \"%.100s\", in line %u", name,
                            config->routes[k].line & MB_LINE_MASK);
            break;
        }
    }
}
