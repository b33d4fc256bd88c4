/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port: the lane's side of one source, sink or dead-letter sink, over all its connections. This
 * is the only reconnect machine: an instance that is lost is closed, and another one opened after a
 * backoff, for as long as the lane wants it. What changes is logged once, not what repeats.
 */
#ifndef MBRIDGE_CORE_PORT_H
#define MBRIDGE_CORE_PORT_H

#include "core/base/backoff.h"
#include "core/base/log.h"
#include "core/config/model.h"
#include "core/router/counters.h"
#include "core/router/identity.h"
#include "core/runtime/connector.h"

/* What a lane works with; owned by whoever runs it, outlives it. */
struct mb_lane_env {
    struct mb_connector *connector;
    struct mb_mailbox *mailbox; /* of the worker that steps the lane */
    struct mb_logger *logger;
    const char *bridge_name;
};

enum mb_port_state {
    MB_PORT_CLOSED = 0,
    MB_PORT_OPENING = 1, /* a connector thread has it */
    MB_PORT_OPEN = 2,
    MB_PORT_CLOSING = 3, /* a connector thread has it */
    MB_PORT_BUSY = 4     /* open, and a connector thread has it: mb_port_run */
};

struct mb_port {
    enum mb_role role;
    enum mb_port_state state;
    const struct mb_lane_env *env;
    const struct mb_config_route *route;
    const struct mb_config_stream *stream;
    const struct mb_config_stream *model; /* a source whose partitions a created sink copies */
    const char *what;                     /* "source", "sink", "dead letter": for the log */
    uint32_t lane;

    struct mb_source *source; /* the instance, by role */
    struct mb_sink *sink;
    uint32_t opens;  /* how often an instance was opened */
    uint32_t closes; /* how often one was given away to be closed */

    /* What the instance refers to until it is closed. */
    struct mb_applied *endpoint_applied;
    struct mb_applied *options_applied;
    struct mb_open_params params;
    struct mb_host host;
    struct mb_strings names; /* of a source's pattern */

    bool wants_identity; /* learn the endpoint's identity before each open */
    bool warned_of_identity;
    enum mb_identity_from identity_from;
    char identity[MB_IDENTITY_SIZE]; /* "" unless it is wanted */

    struct mb_counters *counters; /* of the lane; NULL: nothing is counted */
    /* Bytes over the network that are not counted yet. As an instance may tell them from open and
     * close, they belong to the thread that has the instance. */
    uint64_t wire_in;
    uint64_t wire_out;

    struct mb_job job;
    struct mb_wake *wake;  /* of the lane; NULL: none is told of what a job brings */
    void *job_context;     /* of mb_port_run */
    struct mb_error error; /* of the last attempt or life */
    struct mb_backoff backoff;
    int64_t open_at_ms;
    int64_t opened_ms; /* when step saw it open first; 0: not yet */
    bool wanted;       /* open it whenever it is closed */
    bool open_failed;  /* the last attempt; its backoff is not begun yet */
    bool created;      /* the last attempt made the missing destination */
    bool doubtful;     /* sink: the destination ended the last life, so opening proves nothing */
    bool up;           /* as last logged */
    bool ever_logged;
    char logged_reason[MB_REASON_SIZE];

    void (*event)(void *context, struct mb_port *port, const struct mb_event *event);
    void *event_context;
};

/* event: called for each event of an instance, from within its operations. */
void mb_port_init(struct mb_port *port, enum mb_role role, const struct mb_lane_env *env,
                  const struct mb_config_route *route, const struct mb_config_stream *stream,
                  const char *what, uint32_t lane);

/* Moves what the instance told of its traffic to the counters. */
void mb_port_count(struct mb_port *port);

/* Opens when it is time. */
void mb_port_step(struct mb_port *port, int64_t now_ms);

/* An operation returned something other than OK or AGAIN: port->error tells what. Closes the
 * instance; another one is opened later if it is wanted still. */
void mb_port_fail(struct mb_port *port, int64_t now_ms);

/* Something works or fails although the instance stays (events UP, DOWN, BLOCKED): logged once. */
void mb_port_note(struct mb_port *port, bool up, const struct mb_error *err);

/* Closes the instance in good order and opens another at once. */
void mb_port_reopen(struct mb_port *port, int64_t now_ms);

/* Runs operations of an open instance that may block on a connector thread. Until done calls
 * mb_port_release the port is BUSY and nobody else calls the instance. */
void mb_port_run(struct mb_port *port, void (*run)(struct mb_job *job),
                 void (*done)(struct mb_job *job), void *context);
void mb_port_release(struct mb_port *port);

/* As for open, without what belongs to the instance: for a question beside it. Any thread. */
void mb_port_params(const struct mb_port *port, struct mb_open_params *ret_params);

/* Closes the instance in good order and opens no other. */
void mb_port_close(struct mb_port *port);

static inline bool mb_port_is_connected(const struct mb_port *port)
{
    return port->state == MB_PORT_OPEN || port->state == MB_PORT_BUSY;
}

/* Nothing is open and nothing is under way. */
static inline bool mb_port_is_closed(const struct mb_port *port)
{
    return port->state == MB_PORT_CLOSED;
}

/* When step wants to be called next; INT64_MAX: not by time. */
int64_t mb_port_deadline_ms(const struct mb_port *port);

#endif
