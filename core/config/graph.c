/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The routes of a file as a graph: an edge where what one route writes another one reads. A cycle
 * of fixed names is a mistake unless all its routes allow it; where a template or an exchange only
 * may close it, it is a warning. What two files or two platforms on one broker do together no file
 * tells: the path of each message stops that.
 */
#include "core/config/party.h"
#include "core/router/patterns.h"

#include <fnmatch.h>
#include <stdlib.h>

#define ENDS_A_STREAM_MAX 4096u
#define REPORTS_MAX       16u
#define SHOWN_ROUTES_MAX  4u
#define NAME_SIZE         512

enum form { FORM_FIXED, FORM_TEMPLATE, FORM_PATTERN };
enum match { MATCH_NONE = 0, MATCH_MAYBE = 1, MATCH_SURE = 2 };

/* A place that a route reads or writes. */
struct end {
    const struct mb_config_stream *stream;
    size_t route;
    size_t broker; /* equal where the endpoints are one */
    enum form form;
    uint32_t kind; /* enum mb_stream_kind, of a fixed one */
    char *name;
};

struct ends {
    struct end *items;
    size_t count;
    size_t capacity;
};

struct edge {
    size_t from;
    size_t to;
    const struct end *sink;
    enum match match;
};

struct graph {
    struct mb_loader *loader;
    struct ends sources;
    struct ends sinks;
    struct edge *edges; /* ordered by from */
    size_t edges_count;
    size_t edges_capacity;
    size_t *first_edge; /* of each route; one more behind the last */
    size_t *came_by;    /* search: the edge that led to a route; SIZE_MAX: not seen */
    size_t *queue;
    bool *is_reported;
    bool no_memory;
};

static void end_add(struct graph *graph, struct ends *ends, struct end end, const char *name)
{
    if (ends->count == ends->capacity) {
        size_t capacity = ends->capacity == 0 ? 64 : ends->capacity * 2;
        struct end *items = realloc(ends->items, capacity * sizeof *items);

        if (items == NULL) {
            graph->no_memory = true;
            return;
        }
        ends->items = items;
        ends->capacity = capacity;
    }
    end.name = strdup(name);
    if (end.name == NULL)
        graph->no_memory = true;
    else
        ends->items[ends->count++] = end;
}

static size_t broker_of(const struct graph *graph, const struct mb_config_endpoint *endpoint)
{
    const struct mb_config *config = graph->loader->config;

    for (size_t i = 0; i < config->endpoints_count; i++) {
        if (mb_endpoints_are_one(config->endpoints[i], endpoint))
            return i;
    }
    return config->endpoints_count;
}

/* The texts of a row that may hold patterns: each is a pattern or a name. */
static bool add_patterns(struct graph *graph, struct end end)
{
    const struct mb_setting *row = mb_pattern_row(end.stream);

    for (size_t i = 0; row != NULL && i < row->texts_count; i++) {
        end.form = mb_pattern_is_one(row->texts[i]) ? FORM_PATTERN : FORM_FIXED;
        end_add(graph, &graph->sources, end, row->texts[i]);
    }
    return row != NULL;
}

static void add_templates(struct graph *graph, struct end end)
{
    const struct mb_settings *settings = &end.stream->settings;

    for (size_t i = 0; i < settings->table->count; i++) {
        const struct mb_option *row = &settings->table->rows[i];
        const char *text = mb_settings_text(settings, row->name);

        if (row->type != MB_OPTION_TEMPLATE || !(row->flags & MB_OPTION_NAMES_STREAM) ||
            text == NULL || strstr(text, "${") == NULL)
            continue;
        end.form = FORM_TEMPLATE;
        end_add(graph, &graph->sinks, end, text);
        return;
    }
}

static void add_stream(struct graph *graph, size_t route, const struct mb_config_stream *stream,
                       enum mb_role role)
{
    struct end end = {.stream = stream, .route = route};
    struct mb_party party;
    struct mb_stream_record record;
    size_t count = 0;

    end.broker = broker_of(graph, stream->endpoint);
    if (role == MB_ROLE_SOURCE && add_patterns(graph, end))
        return;
    if (mb_party_init(graph->loader, &party, &graph->loader->config->routes[route], stream, role)) {
        for (; count < ENDS_A_STREAM_MAX && mb_party_stream(&party, count, &record); count++) {
            end.kind = record.kind;
            end_add(graph, role == MB_ROLE_SOURCE ? &graph->sources : &graph->sinks, end,
                    record.name);
        }
        if (count == 0 && role == MB_ROLE_SINK)
            add_templates(graph, end);
    }
    mb_party_release(&party);
}

/* How much of a pattern every name that it matches begins with. */
static size_t pattern_prefix(const char *pattern)
{
    static const char special[] = "\\.[{()*+?|$";
    size_t size;

    if (pattern[0] != '^')
        return strcspn(pattern, "*?[\\");
    size = strcspn(pattern + 1, special);
    if (strchr(pattern, '|') != NULL)
        return 0;
    /* "ab*": what stands in front of a repetition need not be there. */
    return size > 0 && strchr("*?{", pattern[1 + size]) != NULL && pattern[1 + size] != '\0'
               ? size - 1
               : size;
}

/* Whether names of the template and names that match the pattern can begin alike. */
static bool prefixes_agree(const char *template, const char *pattern)
{
    const char *part = strstr(template, "${");
    size_t one = part != NULL ? (size_t)(part - template) : strlen(template);
    size_t other = pattern_prefix(pattern);

    return strncmp(template, pattern + (pattern[0] == '^'), one < other ? one : other) == 0;
}

/* Whether a template can give this name: its parts stand for anything. */
static bool template_can_be(const char *template, const char *name)
{
    char glob[2 * NAME_SIZE];
    size_t size = 0;

    while (*template != '\0' && size < sizeof glob - 3) {
        const char *close = strncmp(template, "${", 2) == 0 ? strchr(template, '}') : NULL;

        if (close != NULL) {
            glob[size++] = '*';
            template = close + 1;
            continue;
        }
        glob[size++] = '\\';
        glob[size++] = *template ++;
    }
    if (*template != '\0')
        return true;
    glob[size] = '\0';
    return fnmatch(glob, name, 0) == 0;
}

static enum match match_ends(const struct end *sink, const struct end *source)
{
    if (sink->broker != source->broker)
        return MATCH_NONE;
    if (sink->form == FORM_TEMPLATE) {
        bool can = source->form == FORM_PATTERN ? prefixes_agree(sink->name, source->name)
                                                : template_can_be(sink->name, source->name);

        return can ? MATCH_MAYBE : MATCH_NONE;
    }
    if (source->form == FORM_PATTERN)
        return sink->kind != MB_STREAM_EXCHANGE && mb_pattern_matches(source->name, sink->name) &&
                       !mb_pattern_leaves_out(source->stream, sink->name)
                   ? MATCH_SURE
                   : MATCH_NONE;
    if (sink->kind != source->kind || strcmp(sink->name, source->name) != 0)
        return MATCH_NONE;
    /* Which messages of an exchange come, its bindings decide. */
    return sink->kind == MB_STREAM_EXCHANGE ? MATCH_MAYBE : MATCH_SURE;
}

static void edge_add(struct graph *graph, size_t to, const struct end *sink, enum match match)
{
    if (graph->edges_count == graph->edges_capacity) {
        size_t capacity = graph->edges_capacity == 0 ? 64 : graph->edges_capacity * 2;
        struct edge *edges = realloc(graph->edges, capacity * sizeof *edges);

        if (edges == NULL) {
            graph->no_memory = true;
            return;
        }
        graph->edges = edges;
        graph->edges_capacity = capacity;
    }
    graph->edges[graph->edges_count++] = (struct edge){sink->route, to, sink, match};
}

/* One edge a pair of routes: the surest. Ends of a route lie side by side. */
static void edges_of_sink(struct graph *graph, const struct end *sink)
{
    const struct ends *sources = &graph->sources;

    for (size_t i = 0; i < sources->count && !graph->no_memory;) {
        size_t route = sources->items[i].route;
        enum match best = MATCH_NONE;

        for (; i < sources->count && sources->items[i].route == route; i++) {
            const struct end *source = &sources->items[i];
            enum match match = match_ends(sink, source);

            /* A fixed name that a route both reads and writes is told when the route is checked. */
            if (sink->route == route && sink->form == FORM_FIXED && source->form == FORM_FIXED)
                continue;
            best = match > best ? match : best;
        }
        if (best != MATCH_NONE)
            edge_add(graph, route, sink, best);
    }
}

static void edges_make(struct graph *graph)
{
    size_t routes = graph->loader->config->routes_count;
    size_t next = 0;

    for (size_t i = 0; i < graph->sinks.count && !graph->no_memory; i++)
        edges_of_sink(graph, &graph->sinks.items[i]);
    for (size_t route = 0; route <= routes; route++) {
        while (next < graph->edges_count && graph->edges[next].from < route)
            next++;
        graph->first_edge[route] = next;
    }
}

/* The shortest cycle through the route over edges that are at least so sure. *ret_last: the edge
 * that closes it. */
static bool find_cycle(struct graph *graph, size_t start, enum match least, size_t *ret_last)
{
    size_t head = 0;
    size_t tail = 0;

    for (size_t i = 0; i < graph->loader->config->routes_count; i++)
        graph->came_by[i] = SIZE_MAX;
    graph->queue[tail++] = start;
    while (head < tail) {
        size_t at = graph->queue[head++];

        for (size_t e = graph->first_edge[at]; e < graph->first_edge[at + 1]; e++) {
            size_t to = graph->edges[e].to;

            if (graph->edges[e].match < least)
                continue;
            if (to == start) {
                *ret_last = e;
                return true;
            }
            if (graph->came_by[to] == SIZE_MAX) {
                graph->came_by[to] = e;
                graph->queue[tail++] = to;
            }
        }
    }
    return false;
}

/* The edges of the cycle from start on, as many as are shown. Returns how many there are. */
static size_t cycle_path(struct graph *graph, size_t start, size_t last,
                         const struct edge **ret_path)
{
    size_t length = 1;
    size_t e;

    for (e = last; graph->edges[e].from != start; e = graph->came_by[graph->edges[e].from])
        length++;
    e = last; /* the way was found backwards */
    for (size_t i = length; i-- > 0; e = i > 0 ? graph->came_by[graph->edges[e].from] : e) {
        graph->is_reported[graph->edges[e].from] = true;
        if (i < SHOWN_ROUTES_MAX)
            ret_path[i] = &graph->edges[e];
    }
    return length;
}

static void report(struct graph *graph, size_t start, size_t last, enum match least)
{
    static const char remedy[] =
        "allow_cycle = true in each of them lets a message pass each stream once";
    const struct mb_config_route *routes = graph->loader->config->routes;
    const struct edge *path[SHOWN_ROUTES_MAX] = {&graph->edges[last]};
    size_t length = cycle_path(graph, start, last, path);
    size_t shown = length < SHOWN_ROUTES_MAX ? length : SHOWN_ROUTES_MAX;
    unsigned line = path[0]->sink->stream->line;
    char text[1024];
    size_t used = 0;

    for (size_t i = 0; i < shown && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "%s\"%.100s\" (line %u) writes \"%.100s\"", i > 0 ? ", " : "",
                                 routes[path[i]->from].name,
                                 routes[path[i]->from].line & MB_LINE_MASK, path[i]->sink->name);
    if (length > shown && used < sizeof text)
        snprintf(text + used, sizeof text - used, ", and %zu more", length - shown);
    if (least == MATCH_SURE)
        mb_loader_error(graph->loader, line,
                        "routes go round in a circle: %s, which \"%.100s\" reads: messages would "
                        "go round for ever; %s",
                        text, routes[start].name, remedy);
    else
        mb_loader_warning(graph->loader, line,
                          "routes may go round in a circle: %s, which \"%.100s\" may read: "
                          "messages could go round for ever; %s",
                          text, routes[start].name, remedy);
}

/* Routes that all allow it are no concern: a search begins at one that does not. */
static void report_cycles(struct graph *graph, enum match least)
{
    const struct mb_config *config = graph->loader->config;
    unsigned reports = 0;

    for (size_t i = 0; i < config->routes_count && reports < REPORTS_MAX; i++) {
        size_t last;

        if (config->routes[i].allow_cycle || graph->is_reported[i] ||
            !find_cycle(graph, i, least, &last))
            continue;
        report(graph, i, last, least);
        reports++;
    }
}

static bool is_checkable(const struct mb_loader *loader, size_t index)
{
    const struct mb_config_route *route = &loader->config->routes[index];
    bool is_sound = loader->drafts[index].is_sound && route->name != NULL;

    for (size_t i = 0; i < route->from_count && is_sound; i++)
        is_sound = route->from[i].endpoint->is_sound;
    for (size_t i = 0; i < route->to_count && is_sound; i++)
        is_sound = route->to[i].endpoint->is_sound;
    if (route->dead_letter != NULL && is_sound)
        is_sound = route->dead_letter->endpoint->is_sound;
    return is_sound;
}

static void ends_release(struct ends *ends)
{
    for (size_t i = 0; i < ends->count; i++)
        free(ends->items[i].name);
    free(ends->items);
}

void mb_check_cycles(struct mb_loader *loader)
{
    const struct mb_config *config = loader->config;
    size_t routes = config->routes_count;
    struct graph graph = {.loader = loader};

    graph.first_edge = calloc(routes + 2, sizeof *graph.first_edge);
    graph.came_by = calloc(routes + 1, sizeof *graph.came_by);
    graph.queue = calloc(routes + 1, sizeof *graph.queue);
    graph.is_reported = calloc(routes + 1, sizeof *graph.is_reported);
    graph.no_memory = graph.first_edge == NULL || graph.came_by == NULL || graph.queue == NULL ||
                      graph.is_reported == NULL;
    for (size_t i = 0; i < routes && !graph.no_memory && !loader->no_memory; i++) {
        const struct mb_config_route *route = &config->routes[i];

        if (!is_checkable(loader, i))
            continue;
        for (size_t k = 0; k < route->from_count; k++)
            add_stream(&graph, i, &route->from[k], MB_ROLE_SOURCE);
        for (size_t k = 0; k < route->to_count; k++)
            add_stream(&graph, i, &route->to[k], MB_ROLE_SINK);
    }
    if (!graph.no_memory && !loader->no_memory) {
        edges_make(&graph);
        if (!graph.no_memory) {
            report_cycles(&graph, MATCH_SURE);
            report_cycles(&graph, MATCH_MAYBE);
        }
    }
    loader->no_memory = loader->no_memory || graph.no_memory;
    ends_release(&graph.sources);
    ends_release(&graph.sinks);
    free(graph.edges);
    free(graph.first_edge);
    free(graph.came_by);
    free(graph.queue);
    free(graph.is_reported);
}

/* Adds a name to what a pattern leaves out. */
static void exclude(struct mb_loader *loader, struct mb_config_stream *source, const char *name)
{
    char **items = realloc(source->exclude, (source->exclude_count + 2) * sizeof *items);

    if (items == NULL) {
        loader->no_memory = true;
        return;
    }
    source->exclude = items;
    items[source->exclude_count] = mb_loader_copy(loader, name);
    if (items[source->exclude_count] != NULL)
        source->exclude_count++;
}

void mb_leave_out_dead_letters(struct mb_loader *loader)
{
    const struct mb_config *config = loader->config;

    for (size_t i = 0; i < config->routes_count && !loader->no_memory; i++) {
        const struct mb_config_route *route = &config->routes[i];
        struct mb_stream_record record;
        struct mb_party party;

        if (route->dead_letter == NULL || !is_checkable(loader, i))
            continue;
        if (mb_party_init(loader, &party, route, route->dead_letter, MB_ROLE_SINK) &&
            mb_party_stream(&party, 0, &record)) {
            for (size_t k = 0; k < config->routes_count; k++) {
                struct mb_config_route *other = &config->routes[k];

                for (size_t s = 0; s < other->from_count && is_checkable(loader, k); s++) {
                    if (mb_pattern_row(&other->from[s]) != NULL &&
                        mb_endpoints_are_one(other->from[s].endpoint, route->dead_letter->endpoint))
                        exclude(loader, &other->from[s], record.name);
                }
            }
        }
        mb_party_release(&party);
    }
}
