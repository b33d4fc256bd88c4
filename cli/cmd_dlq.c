/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/dlq.h"

#include "core/base/clock.h"
#include "core/config/dead_source.h"
#include "core/config/suggest.h"
#include "core/runtime/browse.h"
#include "kit/hash.h"

#include <getopt.h>
#include <stdlib.h>

#define LINE_SIZE_MAX  (1u << 20)
#define WHOLE_SIZE_MAX (1u << 30)
#define GROUP_SIZE     256

enum verb { VERB_LIST, VERB_SHOW, VERB_REPLAY };

/* What is under way with one stream of dead letters. */
struct listing {
    const struct cli_dlq *dlq;
    const struct mb_config_route *route; /* for the original */
    enum verb verb;
    uint64_t number; /* over all streams */
    uint64_t shown;
    bool failed; /* reported */
};

static bool is_wanted(const struct cli_dlq *dlq, const struct mb_dead_info *info)
{
    const struct mb_replay_filter *filter = &dlq->filter;

    if (!info->is_dead_letter)
        return filter->route == NULL && filter->reason == NULL && filter->stream == NULL &&
               filter->since_ms == 0;
    return mb_replay_matches(filter, info);
}

/* By its number, or by its position, with its partition in front where there are some. */
static bool is_the_one(const struct cli_dlq *dlq, const struct cli_dead_letter *letter)
{
    struct mb_text text = {.max_size = 256};
    int32_t partition = letter->message->origin->partition;
    int64_t number;
    bool is_it;

    if (mb_parse_integer(dlq->which, &number) == MB_OK)
        return number >= 0 && (uint64_t)number == letter->number;
    mb_text_position(&text, letter->message->position);
    mb_text_add(&text, "", 1);
    is_it = !text.failed && strcmp(text.data, dlq->which) == 0;
    if (!is_it && partition >= 0) {
        mb_text_clear(&text);
        mb_text_addf(&text, "%d/", (int)partition);
        mb_text_position(&text, letter->message->position);
        mb_text_add(&text, "", 1);
        is_it = !text.failed && strcmp(text.data, dlq->which) == 0;
    }
    mb_text_release(&text);
    return is_it;
}

static bool print(struct listing *listing, const struct mb_text *text)
{
    if (text->failed)
        fprintf(stderr, "mbridge: a dead letter is too large to be printed\n");
    listing->failed = text->failed || !cli_write(text->data, text->size);
    listing->shown++;
    return !listing->failed;
}

static bool list_one(struct listing *listing, const struct cli_dead_letter *letter)
{
    struct mb_text text = {.max_size = LINE_SIZE_MAX};
    bool more;

    cli_dlq_line(&text, letter, listing->dlq->json);
    more = print(listing, &text);
    mb_text_release(&text);
    return more && (listing->dlq->limit == 0 || listing->shown < listing->dlq->limit);
}

static bool show_one(struct listing *listing, const struct cli_dead_letter *letter,
                     struct mb_arena *arena)
{
    struct mb_message original = *letter->message;
    struct mb_text text = {.max_size = WHOLE_SIZE_MAX};

    if (letter->dead.is_dead_letter &&
        mb_replay_restore(listing->route, letter->message->origin, &letter->dead, &original,
                          arena) != MB_OK) {
        fprintf(stderr, "mbridge: out of memory\n");
        listing->failed = true;
        return false;
    }
    cli_dlq_whole(&text, letter, &original, listing->dlq->json);
    print(listing, &text);
    mb_text_release(&text);
    return false;
}

static bool on_message(void *context, struct mb_message *message, struct mb_arena *arena)
{
    struct listing *listing = context;
    struct cli_dead_letter letter = {.message = message};

    mb_dead_info_read(message, &letter.dead);
    letter.number = ++listing->number;
    if (!is_wanted(listing->dlq, &letter.dead))
        return true;
    if (listing->verb == VERB_SHOW)
        return !is_the_one(listing->dlq, &letter) || show_one(listing, &letter, arena);
    return list_one(listing, &letter);
}

/* ---- which routes ---- */

static int no_route(const struct cli_dlq *dlq, const struct mb_config *config)
{
    struct mb_suggestion suggestion;
    char hint[160];

    mb_suggestion_init(&suggestion, dlq->filter.route);
    for (size_t i = 0; i < config->routes_count; i++)
        mb_suggestion_offer(&suggestion, config->routes[i].name);
    fprintf(stderr, "%s: there is no route \"%s\"%s\n", dlq->path, dlq->filter.route,
            mb_suggestion_text(&suggestion, hint, sizeof hint));
    return CLI_USAGE;
}

/* The routes that are meant have dead letters; *ret_first is the first of them. */
static int find_routes(const struct cli_dlq *dlq, const struct mb_config *config, size_t *ret_first,
                       size_t *ret_count)
{
    bool found = false;

    *ret_count = 0;
    for (size_t i = 0; i < config->routes_count; i++) {
        const struct mb_config_route *route = &config->routes[i];

        if (dlq->filter.route != NULL && strcmp(route->name, dlq->filter.route) != 0)
            continue;
        found = true;
        if (route->dead_letter == NULL)
            continue;
        if ((*ret_count)++ == 0)
            *ret_first = i;
    }
    if (!found)
        return no_route(dlq, config);
    if (*ret_count > 0)
        return CLI_DONE;
    if (dlq->filter.route != NULL)
        fprintf(stderr, "%s: route \"%s\" has no dead_letter\n", dlq->path, dlq->filter.route);
    else
        fprintf(stderr, "%s: no route has a dead_letter\n", dlq->path);
    return CLI_USAGE;
}

static int several(const struct cli_dlq *dlq, const struct mb_config *config)
{
    fprintf(stderr, "%s: several routes have dead letters; replay one with --route:", dlq->path);
    for (size_t i = 0; i < config->routes_count; i++) {
        if (config->routes[i].dead_letter != NULL)
            fprintf(stderr, " %s", config->routes[i].name);
    }
    fprintf(stderr, "\n");
    return CLI_USAGE;
}

/* Whether an earlier route has the same stream of dead letters. */
static bool is_read_already(const struct mb_config *config, size_t first, size_t index)
{
    for (size_t i = first; i < index; i++) {
        if (config->routes[i].dead_letter != NULL &&
            mb_dead_letters_are_one(&config->routes[i], &config->routes[index]))
            return true;
    }
    return false;
}

/* ---- reading ---- */

static int cannot_read(const struct mb_config_route *route, enum mb_status status,
                       const struct mb_error *err)
{
    if (status == MB_NOT_FOUND) {
        fprintf(stderr, "mbridge: route \"%s\" has no dead letters yet: %s\n", route->name,
                err->text);
        return CLI_DONE;
    }
    fprintf(stderr, "mbridge: the dead letters of route \"%s\" cannot be read: %s\n", route->name,
            err->text);
    return CLI_FAILED;
}

static int not_readable(const struct cli_dlq *dlq, const struct mb_config_route *route,
                        const struct mb_error *err)
{
    fprintf(stderr, "%s:%u: %s\n", dlq->path, route->dead_letter->line, err->text);
    return CLI_USAGE;
}

static int read_stream(struct listing *listing, struct cli_service *service,
                       const struct mb_config *config, size_t index)
{
    const struct mb_config_route *route = &config->routes[index];
    char *undone_by =
        listing->verb == VERB_REPLAY ? cli_dlq_group(listing->dlq, config, index) : NULL;
    struct mb_config_stream source;
    struct mb_browsed browsed;
    char group[GROUP_SIZE];
    struct mb_browse browse = {.source = &source,
                               .bridge_name = config->bridge_name,
                               .route_name = route->name,
                               .group = group,
                               .undone_by = undone_by,
                               .logger = &service->logger,
                               .each = on_message,
                               .context = listing};
    struct mb_error err;
    enum mb_status status;

    mb_error_clear(&err);
    listing->route = route;
    snprintf(group, sizeof group, "mbridge.%s.dlq", config->bridge_name);
    status = mb_dead_source_make(route, &source, &err);
    if (status != MB_OK) {
        free(undone_by);
        return not_readable(listing->dlq, route, &err);
    }
    status = mb_browse(&browse, &browsed, &err);
    mb_dead_source_release(&source);
    free(undone_by);
    if (status != MB_OK)
        return cannot_read(route, status, &err);
    if (browsed.is_truncated)
        fprintf(stderr,
                "mbridge: the queue holds more: only the first %llu can be seen without taking "
                "them away\n",
                (unsigned long long)browsed.count);
    return listing->failed ? CLI_FAILED : CLI_DONE;
}

/* A replay would wait for a broker or a stream that is not there, as a route does. *ret_there: it
 * is. */
static int ask_first(const struct cli_dlq *dlq, struct cli_service *service,
                     const struct mb_config *config, size_t index, bool *ret_there)
{
    const struct mb_config_route *route = &config->routes[index];
    struct mb_config_stream source;
    char group[GROUP_SIZE];
    struct mb_browse browse = {.source = &source,
                               .bridge_name = config->bridge_name,
                               .route_name = route->name,
                               .group = group,
                               .logger = &service->logger};
    struct mb_error err;
    enum mb_status status;

    mb_error_clear(&err);
    snprintf(group, sizeof group, "mbridge.%s.dlq", config->bridge_name);
    status = mb_dead_source_make(route, &source, &err);
    if (status != MB_OK)
        return not_readable(dlq, route, &err);
    status = mb_browse_ask(&browse, &err);
    mb_dead_source_release(&source);
    *ret_there = status == MB_OK;
    return status == MB_OK ? CLI_DONE : cannot_read(route, status, &err);
}

static int read_all(const struct cli_dlq *dlq, enum verb verb, struct cli_service *service,
                    const struct mb_config *config, size_t first)
{
    struct listing listing = {.dlq = dlq, .verb = verb};
    int code = CLI_DONE;

    for (size_t i = first; i < config->routes_count && code == CLI_DONE; i++) {
        const struct mb_config_route *route = &config->routes[i];

        if (route->dead_letter == NULL ||
            (dlq->filter.route != NULL && strcmp(route->name, dlq->filter.route) != 0) ||
            is_read_already(config, first, i) || (verb == VERB_SHOW && listing.shown > 0) ||
            (dlq->limit > 0 && listing.shown >= dlq->limit))
            continue;
        code = read_stream(&listing, service, config, i);
    }
    if (code == CLI_DONE && verb == VERB_SHOW && listing.shown == 0) {
        fprintf(stderr, "mbridge: there is no dead letter \"%s\"; dlq list tells which there are\n",
                dlq->which);
        return CLI_FAILED;
    }
    if (code == CLI_DONE && verb == VERB_REPLAY)
        fprintf(stderr, "mbridge: %llu would be replayed\n", (unsigned long long)listing.shown);
    return code;
}

static int run(struct cli_dlq *dlq, enum verb verb, struct cli_service *service)
{
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    size_t first = 0;
    const struct mb_bridge_progress nothing = {0};
    bool is_there = false;
    size_t count;
    int code;

    if (mb_config_load(dlq->path, service->registry, &config, &diagnostics) != MB_OK) {
        cli_print_diagnostics(&diagnostics, dlq->path, stderr);
        mb_diagnostics_release(&diagnostics);
        return CLI_USAGE;
    }
    mb_diagnostics_release(&diagnostics);
    code = find_routes(dlq, config, &first, &count);
    if (code == CLI_DONE && verb == VERB_REPLAY) {
        if (count > 1)
            code = several(dlq, config);
        dlq->filter.route = config->routes[first].name;
    }
    if (code == CLI_DONE && verb == VERB_REPLAY && !dlq->dry_run)
        code = ask_first(dlq, service, config, first, &is_there);
    if (is_there)
        return cli_dlq_replay(dlq, service, config, first);
    if (verb == VERB_REPLAY && !dlq->dry_run) {
        mb_config_destroy(config);
        return code == CLI_DONE ? cli_dlq_summary(dlq, &nothing, code) : code;
    }
    atomic_store(&service->logger.level, MB_LOG_WARN);
    if (code == CLI_DONE)
        code = read_all(dlq, verb, service, config, first);
    mb_config_destroy(config);
    return code;
}

char *cli_dlq_group(const struct cli_dlq *dlq, const struct mb_config *config, size_t route)
{
    const char *const texts[] = {dlq->filter.reason, dlq->filter.stream, dlq->since};
    uint64_t hash = MB_HASH_BEGIN;
    bool has_filter = false;
    char *group;
    int size;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *text = texts[i] != NULL ? texts[i] : "";

        has_filter = has_filter || texts[i] != NULL;
        hash = mb_hash_add(hash, text, strlen(text) + 1);
    }
    if (has_filter)
        size = asprintf(&group, "mbridge.%s.%s.replay.%08x", config->bridge_name,
                        config->routes[route].name, (unsigned)(hash ^ hash >> 32));
    else
        size = asprintf(&group, "mbridge.%s.%s.replay", config->bridge_name,
                        config->routes[route].name);
    return size < 0 ? NULL : group;
}

/* ---- arguments ---- */

static bool take_since(struct cli_dlq *dlq, const char *text)
{
    struct mb_position position;

    dlq->since = text;
    if (mb_parse_start(text, mb_clock_wall_ms(), &position) != MB_OK ||
        position.kind != MB_POSITION_TIME)
        return false;
    dlq->filter.since_ms = (int64_t)position.lo;
    return dlq->filter.since_ms > 0;
}

static int take_options(struct cli_dlq *dlq, enum verb verb, int argc, char **argv)
{
    static const struct option options[] = {
        {"route", required_argument, NULL, 'r'},  {"reason", required_argument, NULL, 'w'},
        {"stream", required_argument, NULL, 's'}, {"since", required_argument, NULL, 't'},
        {"limit", required_argument, NULL, 'l'},  {"json", no_argument, NULL, 'j'},
        {"dry-run", no_argument, NULL, 'd'},      {0}};
    int64_t limit;
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'r')
            dlq->filter.route = optarg;
        else if (option == 'w')
            dlq->filter.reason = optarg;
        else if (option == 's')
            dlq->filter.stream = optarg;
        else if (option == 'j')
            dlq->json = true;
        else if (option == 'd' && verb == VERB_REPLAY)
            dlq->dry_run = true;
        else if (option == 't' && take_since(dlq, optarg))
            continue;
        else if (option == 't')
            return cli_usage("dlq",
                             "--since takes a time, \"2026-01-31T12:00:00Z\" or \"-1h\", not "
                             "\"%s\"",
                             optarg);
        else if (option == 'l' && mb_parse_integer(optarg, &limit) == MB_OK && limit > 0)
            dlq->limit = (uint64_t)limit;
        else if (option == 'l')
            return cli_usage("dlq", "--limit takes a number from 1 on, not \"%s\"", optarg);
        else
            return cli_usage("dlq", "%s does not know %s, or it lacks its value", argv[0],
                             argv[optind - 1]);
    }
    return CLI_DONE;
}

int cli_dlq(int argc, char **argv)
{
    static const char *const verbs[] = {"list", "show", "replay"};
    struct cli_dlq dlq = {0};
    struct cli_service service = {.signal_fd = -1};
    size_t verb = 0;
    int code;
    int left;

    if (argc < 2)
        return cli_usage("dlq", "dlq takes list, show or replay");
    while (verb < 3 && strcmp(argv[1], verbs[verb]) != 0)
        verb++;
    if (verb == 3)
        return cli_usage("dlq", "dlq takes list, show or replay, not \"%s\"", argv[1]);
    code = take_options(&dlq, (enum verb)verb, argc - 1, argv + 1);
    if (code != CLI_DONE)
        return code;
    left = argc - 1 - optind;
    if (left != (verb == VERB_SHOW ? 2 : 1))
        return cli_usage("dlq",
                         verb == VERB_SHOW
                             ? "dlq show takes a number or position and a configuration file"
                             : "dlq %s takes one configuration file",
                         argv[1]);
    dlq.path = argv[argc - 1];
    if (verb == VERB_SHOW)
        dlq.which = argv[argc - 2];
    code = CLI_FAILED;
    if (cli_service_init(&service) == MB_OK)
        code = run(&dlq, (enum verb)verb, &service);
    cli_service_release(&service);
    return code;
}
