/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/connect.h"

#include "core/base/host.h"
#include "kit/text.h"

#define OPEN_TIMEOUT_MS 10000
#define STREAMS_MAX     1024
#define LINE_SIZE_MAX   65536

struct asking {
    const struct mb_config *config;
    struct mb_host host;
    bool as_json;
    bool is_good;
    /* Endpoints that did not answer are asked once. */
    const struct mb_config_endpoint *dead[64];
    size_t dead_count;
};

/* One stream of a route while it is asked about. */
struct subject {
    struct asking *asking;
    const struct mb_config_route *route;
    const struct mb_config_stream *stream;
    enum mb_role role;
    const char *key; /* "from", "to", "dead_letter" */
    struct mb_open_params params;
    struct mb_describer *describer;
    int64_t size_max_bytes; /* the least that its streams take; -1: unknown */
};

static void host_log(void *context, enum mb_log_level level, const char *text)
{
    /* A library's own words: what an operation returns says the same once, and better. */
    (void)context;
    (void)level;
    (void)text;
}

static void host_event(void *context, const struct mb_event *event)
{
    (void)context;
    (void)event;
}

MB_PRINTF(4, 5)
static void tell(struct asking *asking, const char *severity, unsigned line, const char *format,
                 ...)
{
    struct mb_text out = {.max_size = LINE_SIZE_MAX};
    char text[MB_ERROR_TEXT_SIZE * 2];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (strcmp(severity, "error") == 0)
        asking->is_good = false;
    if (asking->as_json) {
        mb_text_addf(&out, "{\"file\":");
        mb_text_json_string(&out, mb_slice_text(asking->config->path));
        mb_text_addf(&out, ",\"line\":%u,\"severity\":\"%s\",\"text\":", line, severity);
        mb_text_json_string(&out, mb_slice_text(text));
        mb_text_addf(&out, "}");
        if (!out.failed)
            printf("%.*s\n", (int)out.size, out.data);
        mb_text_release(&out);
    } else {
        printf("%s:%u: %s%s%s\n", asking->config->path, line,
               strcmp(severity, "error") == 0 ? "" : severity,
               strcmp(severity, "error") == 0 ? "" : ": ", text);
    }
    fflush(stdout);
}

static void judge_record(struct subject *subject, const char *name,
                         const struct mb_stream_record *found)
{
    struct asking *asking = subject->asking;
    bool is_source = subject->role == MB_ROLE_SOURCE;
    uint8_t access = is_source ? found->may_read : found->may_write;
    char depth[48] = "";

    if (access == MB_ACCESS_DENIED)
        tell(asking, "error", subject->stream->line,
             "%s of route \"%s\": \"%s\" is there, but may "
             "not be %s",
             subject->key, subject->route->name, name, is_source ? "read" : "written");
    if (found->size_max_bytes > 0 &&
        (subject->size_max_bytes < 0 || found->size_max_bytes < subject->size_max_bytes))
        subject->size_max_bytes = found->size_max_bytes;
    if (found->depth_messages >= 0)
        snprintf(depth, sizeof depth, ", %lld messages", (long long)found->depth_messages);
    if (access != MB_ACCESS_DENIED && found->partitions_count > 0)
        tell(asking, "ok", subject->stream->line, "%s of route \"%s\": \"%s\" has %d partitions%s",
             subject->key, subject->route->name, name, found->partitions_count, depth);
    else if (access != MB_ACCESS_DENIED)
        tell(asking, "ok", subject->stream->line, "%s of route \"%s\": \"%s\" is there%s",
             subject->key, subject->route->name, name, depth);
}

static void judge_missing(struct subject *subject, const char *name)
{
    if (subject->role == MB_ROLE_SINK && subject->stream->create)
        tell(subject->asking, "ok", subject->stream->line,
             "%s of route \"%s\": \"%s\" is missing and will be created", subject->key,
             subject->route->name, name);
    else
        tell(subject->asking, "error", subject->stream->line,
             "%s of route \"%s\": there is no \"%s\"", subject->key, subject->route->name, name);
}

static void ask_streams(struct subject *subject)
{
    const struct mb_backend *backend = subject->stream->endpoint->backend;
    const struct mb_describe_ops *ops = backend->describe;
    size_t index = 0;

    for (; backend->stream != NULL && index < STREAMS_MAX; index++) {
        struct mb_stream_record named = {.struct_size = sizeof named};
        struct mb_stream_record found = {
            .struct_size = sizeof found, .depth_messages = -1, .size_max_bytes = -1};
        struct mb_error err;
        enum mb_status status;
        char name[512];

        mb_error_clear(&err);
        if (backend->stream(subject->params.endpoint, subject->role, subject->params.options,
                            &subject->params, index, &named) != MB_OK ||
            named.name == NULL)
            break;
        snprintf(name, sizeof name, "%s", named.name);
        status = ops->describe(subject->describer, named.kind, name, NULL, &found, &err);
        if (status == MB_OK) {
            judge_record(subject, name, &found);
            ops->clear(subject->describer, &found);
        } else if (status == MB_NOT_FOUND) {
            judge_missing(subject, name);
        } else {
            tell(subject->asking, "error", subject->stream->line, "%s of route \"%s\": \"%s\": %s",
                 subject->key, subject->route->name, name, err.text);
        }
    }
    if (index == 0)
        tell(subject->asking, "ok", subject->stream->line,
             "%s of route \"%s\": endpoint \"%s\" answers; its streams are known at run time only",
             subject->key, subject->route->name, subject->stream->endpoint->name);
}

static bool is_dead(const struct asking *asking, const struct mb_config_endpoint *endpoint)
{
    for (size_t i = 0; i < asking->dead_count; i++) {
        if (asking->dead[i] == endpoint)
            return true;
    }
    return false;
}

static void ask_open(struct subject *subject)
{
    const struct mb_config_endpoint *endpoint = subject->stream->endpoint;
    struct asking *asking = subject->asking;
    struct mb_error err;

    mb_error_clear(&err);
    if (endpoint->backend->describe->open(&subject->params, &subject->describer, &err) == MB_OK) {
        ask_streams(subject);
        endpoint->backend->describe->close(subject->describer);
        return;
    }
    tell(asking, "error", endpoint->line, "endpoint \"%s\": %s", endpoint->name, err.text);
    if (asking->dead_count < sizeof asking->dead / sizeof *asking->dead)
        asking->dead[asking->dead_count++] = endpoint;
}

/* The least size that its streams take, or -1. */
static int64_t ask(struct asking *asking, const struct mb_config_route *route,
                   const struct mb_config_stream *stream, enum mb_role role, const char *key)
{
    const struct mb_config_endpoint *endpoint = stream->endpoint;
    struct subject subject = {.asking = asking,
                              .route = route,
                              .stream = stream,
                              .role = role,
                              .key = key,
                              .size_max_bytes = -1};
    struct mb_applied *connection = NULL;
    struct mb_applied *options = NULL;
    struct mb_error err;

    if (is_dead(asking, endpoint))
        return -1;
    if (endpoint->backend->describe == NULL) {
        tell(asking, "ok", stream->line, "%s of route \"%s\": backend %s cannot be asked", key,
             route->name, endpoint->backend->name);
        return -1;
    }
    mb_error_clear(&err);
    if (mb_settings_apply(&endpoint->settings, true, &connection, &err) != MB_OK ||
        mb_settings_apply(&stream->settings, true, &options, &err) != MB_OK) {
        tell(asking, "error", connection == NULL ? endpoint->line : stream->line, "%s", err.text);
        goto out;
    }
    subject.params = (struct mb_open_params){
        .struct_size = sizeof subject.params,
        .host = &asking->host,
        .endpoint = mb_applied_struct(connection),
        .options = mb_applied_struct(options),
        .bridge_name = asking->config->bridge_name,
        .route_name = route->name,
        .endpoint_name = endpoint->name,
        .default_group = route->group,
        .names_templated = role == MB_ROLE_SINK ? mb_settings_templated(&stream->settings) : 0,
        .window_messages = route->window_messages,
        .window_bytes = (uint64_t)route->window_bytes,
        .timeout_ms = OPEN_TIMEOUT_MS,
        .ordered = route->order == MB_ORDER_KEY,
        .effectively_once = role == MB_ROLE_SINK && stream != route->dead_letter &&
                            route->delivery == MB_EFFECTIVELY_ONCE,
    };
    ask_open(&subject);
out:
    mb_applied_destroy(connection);
    mb_applied_destroy(options);
    return subject.size_max_bytes;
}

static void ask_route(struct asking *asking, const struct mb_config_route *route)
{
    int64_t largest = -1;

    for (size_t i = 0; i < route->from_count; i++) {
        int64_t size = ask(asking, route, &route->from[i], MB_ROLE_SOURCE, "from");

        largest = size > largest ? size : largest;
    }
    for (size_t i = 0; i < route->to_count; i++) {
        int64_t size = ask(asking, route, &route->to[i], MB_ROLE_SINK, "to");

        if (size > 0 && largest > size)
            tell(asking, "warning", route->to[i].line,
                 "to of route \"%s\": takes messages up to %lld bytes, its source has up to %lld: "
                 "larger ones are rejected",
                 route->name, (long long)size, (long long)largest);
    }
    if (route->dead_letter != NULL)
        (void)ask(asking, route, route->dead_letter, MB_ROLE_SINK, "dead_letter");
}

bool cli_connect_check(const struct mb_config *config, bool as_json)
{
    struct asking asking = {
        .config = config,
        .as_json = as_json,
        .is_good = true,
    };

    mb_host_init(&asking.host, &asking, host_log, host_event);
    for (size_t i = 0; i < config->routes_count; i++)
        ask_route(&asking, &config->routes[i]);
    return asking.is_good;
}
