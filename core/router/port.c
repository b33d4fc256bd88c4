/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/port.h"

#include "core/base/clock.h"
#include "core/base/host.h"
#include "core/router/destination.h"
#include "core/router/patterns.h"

#include <stdlib.h>

#define OPEN_TIMEOUT_MS 10000u
/* A connection that lived this long was a good one: the next backoff begins anew. */
#define GOOD_LIFE_MS 5000

static void host_log(void *context, enum mb_log_level level, const char *text)
{
    const struct mb_port *port = context;

    mb_log(port->env->logger, level, text, "route", port->route->name, "endpoint",
           port->stream->endpoint->name, NULL);
}

static void host_event(void *context, const struct mb_event *event)
{
    struct mb_port *port = context;

    port->event(port->event_context, port, event);
}

static void host_degraded(void *context, uint64_t fields)
{
    struct mb_port *port = context;

    if (port->counters != NULL)
        mb_counters_degraded(port->counters, fields);
}

static void host_traffic(void *context, uint64_t received_bytes, uint64_t sent_bytes)
{
    struct mb_port *port = context;

    port->wire_in += received_bytes;
    port->wire_out += sent_bytes;
}

void mb_port_count(struct mb_port *port)
{
    if (port->state != MB_PORT_OPEN && port->state != MB_PORT_CLOSED)
        return; /* another thread has the instance, and writes them */
    if ((port->wire_in | port->wire_out) == 0 || port->counters == NULL)
        return;
    mb_counter_add(&port->counters->wire_in, port->wire_in);
    mb_counter_add(&port->counters->wire_out, port->wire_out);
    port->wire_in = 0;
    port->wire_out = 0;
}

void mb_port_init(struct mb_port *port, enum mb_role role, const struct mb_lane_env *env,
                  const struct mb_config_route *route, const struct mb_config_stream *stream,
                  const char *what, uint32_t lane)
{
    memset(port, 0, sizeof *port);
    port->role = role;
    port->env = env;
    port->route = route;
    port->stream = stream;
    port->what = what;
    port->lane = lane;
    port->wanted = true;
    port->backoff.initial_ms = route->retry_initial_ms;
    port->backoff.max_ms = route->retry_max_ms;
    port->backoff.seed = (uint64_t)(uintptr_t)port ^ (uint64_t)mb_clock_wall_ms();
    mb_host_init(&port->host, port, host_log, host_event);
    port->host.degraded = host_degraded;
    port->host.traffic = host_traffic;
    mb_port_params(port, &port->params);
}

void mb_port_params(const struct mb_port *port, struct mb_open_params *ret_params)
{
    const struct mb_config_route *route = port->route;

    *ret_params = (struct mb_open_params){
        .struct_size = sizeof *ret_params,
        .lane = port->lane,
        .host = &port->host,
        .bridge_name = port->env->bridge_name,
        .route_name = route->name,
        .endpoint_name = port->stream->endpoint->name,
        .default_group = route->group,
        .window_messages = route->window_messages,
        .window_bytes = (uint64_t)route->window_bytes,
        .timeout_ms = OPEN_TIMEOUT_MS,
        .ordered = route->order == MB_ORDER_KEY,
        .strict = route->fidelity == MB_FIDELITY_STRICT,
        .loss_stops = port->role == MB_ROLE_SOURCE && route->on_loss == MB_LOSS_STOP,
        .effectively_once = port->role == MB_ROLE_SINK && route->delivery == MB_EFFECTIVELY_ONCE,
    };
}

static void applied_clear(struct mb_port *port)
{
    mb_names_release(&port->names);
    port->params.streams = NULL;
    mb_applied_destroy(port->endpoint_applied);
    mb_applied_destroy(port->options_applied);
    port->endpoint_applied = NULL;
    port->options_applied = NULL;
    port->params.endpoint = NULL;
    port->params.options = NULL;
}

static enum mb_status open_instance(struct mb_port *port)
{
    const struct mb_backend *backend = port->stream->endpoint->backend;
    enum mb_status status;

    status = mb_settings_apply(&port->stream->endpoint->settings, true, &port->endpoint_applied,
                               &port->error);
    if (status == MB_OK)
        status =
            mb_settings_apply(&port->stream->settings, true, &port->options_applied, &port->error);
    if (status != MB_OK)
        return status;
    port->params.endpoint = mb_applied_struct(port->endpoint_applied);
    port->params.options = mb_applied_struct(port->options_applied);
    if (port->wants_identity) {
        status = mb_identity_learn(port->stream->endpoint, &port->params, port->identity,
                                   sizeof port->identity, &port->identity_from, &port->error);
        if (status != MB_OK)
            return status;
    }
    if (port->role == MB_ROLE_SOURCE) {
        status = mb_patterns_resolve(port->stream, &port->params, &port->names, &port->error);
        if (status != MB_OK)
            return status;
        port->params.streams = port->names.count > 0 ? &port->names : NULL;
        return backend->source->open(&port->params, &port->source, &port->error);
    }
    if (port->stream->create) {
        status = mb_destination_ensure(port->stream, &port->params, port->model, &port->created,
                                       &port->error);
        if (status != MB_OK)
            return status;
    }
    return backend->sink->open(&port->params, &port->sink, &port->error);
}

static void open_run(struct mb_job *job)
{
    struct mb_port *port = (struct mb_port *)((char *)job - offsetof(struct mb_port, job));

    mb_error_clear(&port->error);
    port->error.status = open_instance(port);
    if (port->error.status != MB_OK)
        applied_clear(port);
}

static void close_run(struct mb_job *job)
{
    struct mb_port *port = (struct mb_port *)((char *)job - offsetof(struct mb_port, job));
    const struct mb_backend *backend = port->stream->endpoint->backend;

    if (port->role == MB_ROLE_SOURCE)
        backend->source->close(port->source);
    else
        backend->sink->close(port->sink);
    port->source = NULL;
    port->sink = NULL;
    applied_clear(port);
}

/* The stream's name for people: what the options call it. */
static const char *stream_text(const struct mb_port *port)
{
    const struct mb_option_table *table = port->stream->settings.table;

    for (size_t i = 0; i < table->count; i++) {
        const struct mb_setting *row = &port->stream->settings.rows[i];

        if (row->is_set && row->texts_count > 0 && table->rows[i].type != MB_OPTION_BOOL &&
            (table->rows[i].flags & MB_OPTION_NAMES_STREAM) != 0)
            return row->texts[0];
    }
    return NULL;
}

/* One that was there before has taken along what it held: that must not pass in silence. */
static void note_created(struct mb_port *port)
{
    bool again = port->opens > 0;

    if (port->created)
        mb_log(port->env->logger, again ? MB_LOG_WARN : MB_LOG_INFO,
               again ? "the destination had gone and was created again, empty"
                     : "the destination was missing and was created",
               "route", port->route->name, "role", port->what, "endpoint",
               port->stream->endpoint->name, "stream", stream_text(port), NULL);
    port->created = false;
}

void mb_port_note(struct mb_port *port, bool up, const struct mb_error *err)
{
    const char *endpoint = port->stream->endpoint->name;

    if (up) {
        if (!port->up || port->logged_reason[0] != '\0')
            mb_log(port->env->logger, MB_LOG_INFO,
                   port->ever_logged && !port->up ? "connected again" : "connected", "route",
                   port->route->name, "role", port->what, "endpoint", endpoint, "stream",
                   stream_text(port), NULL);
        port->logged_reason[0] = '\0';
    } else if (port->up || strcmp(port->logged_reason, err->reason) != 0) {
        snprintf(port->logged_reason, sizeof port->logged_reason, "%s",
                 err->reason[0] != '\0' ? err->reason : "failed");
        mb_log(port->env->logger, strcmp(err->reason, "standby") == 0 ? MB_LOG_INFO : MB_LOG_WARN,
               err->text[0] != '\0' ? err->text : "connection failed", "route", port->route->name,
               "role", port->what, "endpoint", endpoint, "stream", stream_text(port), "reason",
               port->logged_reason, "action", "keeps trying", NULL);
    }
    port->up = up;
    port->ever_logged = true;
}

static void note_identity(struct mb_port *port)
{
    if (!port->wants_identity || port->identity_from != MB_IDENTITY_ADDRESS ||
        port->warned_of_identity)
        return;
    port->warned_of_identity = true;
    mb_log(
        port->env->logger, MB_LOG_WARN,
        "the broker does not tell what its cluster is called: paths and ids of messages name its "
        "address; the endpoint's option identity gives it a name that lasts",
        "route", port->route->name, "role", port->what, "endpoint", port->stream->endpoint->name,
        "identity", port->identity, NULL);
}

static void backoff_begin(struct mb_port *port, int64_t now_ms)
{
    int64_t delay = mb_backoff_next_ms(&port->backoff);

    if (port->error.retry_after_ms > 0)
        delay = port->error.retry_after_ms;
    port->open_at_ms = now_ms + delay;
}

static void open_done(struct mb_job *job)
{
    struct mb_port *port = (struct mb_port *)((char *)job - offsetof(struct mb_port, job));

    note_created(port);
    if (port->error.status == MB_OK) {
        port->state = MB_PORT_OPEN;
        port->opens++;
        note_identity(port);
        if (!port->doubtful)
            mb_port_note(port, true, NULL);
        return;
    }
    if (port->error.cause != MB_CAUSE_DESTINATION)
        port->doubtful = false;
    port->state = MB_PORT_CLOSED;
    port->open_failed = true;
    if (port->wanted)
        mb_port_note(port, false, &port->error);
}

static void close_done(struct mb_job *job)
{
    struct mb_port *port = (struct mb_port *)((char *)job - offsetof(struct mb_port, job));

    port->state = MB_PORT_CLOSED;
}

static void submit(struct mb_port *port, enum mb_port_state state, void (*run)(struct mb_job *),
                   void (*done)(struct mb_job *))
{
    port->state = state;
    port->closes += state == MB_PORT_CLOSING;
    port->job = (struct mb_job){
        .run = run, .done = done, .mailbox = port->env->mailbox, .wake = port->wake};
    mb_connector_submit(port->env->connector, &port->job);
}

void mb_port_run(struct mb_port *port, void (*run)(struct mb_job *), void (*done)(struct mb_job *),
                 void *context)
{
    port->job_context = context;
    submit(port, MB_PORT_BUSY, run, done);
}

void mb_port_release(struct mb_port *port)
{
    port->state = MB_PORT_OPEN;
}

void mb_port_step(struct mb_port *port, int64_t now_ms)
{
    if (port->open_failed)
        backoff_begin(port, now_ms);
    port->open_failed = false;
    if (port->state == MB_PORT_OPEN && port->opened_ms == 0)
        port->opened_ms = now_ms;
    if (port->state == MB_PORT_CLOSED && port->wanted && now_ms >= port->open_at_ms)
        submit(port, MB_PORT_OPENING, open_run, open_done);
}

void mb_port_fail(struct mb_port *port, int64_t now_ms)
{
    mb_port_note(port, false, &port->error);
    /* The first confirmation says that it works again (outlet.c). */
    port->doubtful = port->role == MB_ROLE_SINK && port->error.cause == MB_CAUSE_DESTINATION;
    if (port->opened_ms > 0 && now_ms - port->opened_ms >= GOOD_LIFE_MS)
        mb_backoff_reset(&port->backoff);
    port->opened_ms = 0;
    backoff_begin(port, now_ms);
    submit(port, MB_PORT_CLOSING, close_run, close_done);
}

void mb_port_reopen(struct mb_port *port, int64_t now_ms)
{
    port->opened_ms = 0;
    port->open_at_ms = now_ms;
    submit(port, MB_PORT_CLOSING, close_run, close_done);
}

void mb_port_close(struct mb_port *port)
{
    port->wanted = false;
    if (port->state == MB_PORT_OPEN)
        submit(port, MB_PORT_CLOSING, close_run, close_done);
}

int64_t mb_port_deadline_ms(const struct mb_port *port)
{
    if (port->state == MB_PORT_CLOSED && port->wanted)
        return port->open_at_ms;
    return INT64_MAX;
}
