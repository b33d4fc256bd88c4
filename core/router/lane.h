/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane: one source, its steps, its sinks and the dead-letter sink of a route, as one state
 * machine that a worker steps. Nothing in it blocks or locks; all of it runs on the worker's
 * thread.
 *
 *   completions → frontier → acknowledge, commit → take a batch → steps → send → flush → wait
 *
 * Invariants
 *   1 a message is acknowledged only when every outlet that wants it has it durably
 *   2 the frontier of a scope never passes a message that is not resolved
 *   3 acknowledgements carry the scope's epoch; a scope that is gone is never acknowledged
 *   4 what an outlet refused is sent again before anything behind it of the same scope counts
 *   5 taken and not yet stored as acknowledged ≤ the window: that bounds memory and duplicates
 */
#ifndef MBRIDGE_CORE_LANE_H
#define MBRIDGE_CORE_LANE_H

#include "core/router/counters.h"
#include "core/router/key.h"
#include "core/router/names.h"
#include "core/router/port.h"
#include "core/router/rate.h"
#include "core/router/steps.h"
#include "core/router/transaction.h"
#include "core/router/window.h"

#define MB_LANE_COMMIT_MS    250 /* at most so long a position waits to be stored */
#define MB_LANE_BATCH_MAX    512u
#define MB_LANE_BATCH_MIN    32u
#define MB_LANE_DIRTY_MAX    64u
#define MB_OBSERVERS_MAX     4u
#define MB_EXCHANGE_NAME_MAX 256u

enum mb_outlet_phase {
    MB_OUTLET_FLOWING = 0,
    MB_OUTLET_SETTLING = 1, /* something was refused: waits until all that was sent is resolved */
    MB_OUTLET_WAITING = 2   /* for the backoff to end, then sends again from the first refused */
};

struct mb_outlet {
    struct mb_port port;
    const struct mb_sink_ops *ops;
    uint64_t bit;
    uint32_t index; /* of the sink; the dead-letter outlet has the last */
    bool is_dead_letter;
    bool templated;
    bool dirty;   /* sent since the last flush */
    bool refused; /* a completion in this phase said DESTINATION or CONNECTION */
    bool missing; /* one said that the destination is gone: it is made again before the retry */
    enum mb_outlet_phase phase;
    uint32_t names_index; /* templated: its place in an entry's names */
    uint32_t in_flight;
    uint32_t in_flight_max; /* shrinks to 1 after a refusal, grows by one a confirm */
    uint64_t pending;       /* dead letter: entries that want it and are not sent */
    uint64_t cursor;        /* next sequence to send */
    int64_t resume_ms;
    struct mb_backoff backoff;
    bool has_matches;
    struct mb_template *templates[MB_NAMES_MAX]; /* NULL: no such slot or unset */
    struct mb_slice fixed_names[MB_NAMES_MAX];

    /* Its destination as paths name it: checked where the sink writes paths. */
    bool has_path;
    bool has_destination_hash; /* the destination is fixed */
    uint32_t destination_slot; /* of the name that says where it goes; MB_NAMES_MAX: none does */
    uint32_t opens_seen;
    uint64_t destination_hash;
};

struct mb_lane_step {
    const struct mb_step *step;
    struct mb_applied *applied;
    struct mb_template *templates[MB_NAMES_MAX]; /* of its options, by slot; NULL: unset */
};

/* Follows a lane's progress, on the lane's thread. The frontier calls are in order a scope. */
struct mb_observer {
    void *context;
    void (*scope_started)(void *context, const struct mb_scope *scope);
    void (*scope_gone)(void *context, const struct mb_scope *scope);
    /* The message is durable at every sink. destination: its position at the first one, if told. */
    void (*passed)(void *context, const struct mb_scope *scope, const struct mb_message *message,
                   const struct mb_position *destination);
};

enum mb_lane_phase {
    MB_LANE_RUNNING = 0,
    MB_LANE_STOPPING = 1, /* takes nothing; waits for what was sent */
    MB_LANE_CLOSING = 2,
    MB_LANE_CLOSED = 3
};

struct mb_drain;    /* core/router/drain.h */
struct mb_discover; /* core/router/discover.h */

/* An event with the place of its stream's name in event_texts: the buffer may move. */
struct mb_lane_event {
    struct mb_event event;
    size_t text_at;
};

struct mb_lane {
    struct mb_wake wake; /* first; filled, with owner, by who steps it only when it is ready */
    void *owner;
    const struct mb_lane_env *env;
    const struct mb_config_route *route;
    uint32_t number;
    struct mb_port source;
    const struct mb_source_ops *source_ops;
    uint64_t source_traits;
    uint32_t source_opens_seen;
    struct mb_outlet *outlets;
    uint32_t outlets_count; /* sinks, then the dead-letter outlet if there is one */
    uint32_t sinks_count;
    uint32_t templated_count;
    struct mb_outlet *dead_letter; /* NULL: none */
    struct mb_lane_step *steps;
    size_t steps_count;
    uint64_t sinks_bits;
    bool prepares;             /* the route looks at each message before it is sent (intake.c) */
    bool has_paths;            /* of any sink */
    bool has_matches;          /* a template asks for groups of the source's pattern */
    size_t exchange_name_size; /* of the last message that came through one; 0: none yet */
    char exchange_name[MB_EXCHANGE_NAME_MAX];
    uint64_t exchange_hash;
    struct mb_window window;
    struct mb_passed passed;
    struct mb_counters *counters;
    struct mb_observer observers[MB_OBSERVERS_MAX];
    size_t observers_count;
    struct mb_key_rule key;
    struct mb_rate *rate; /* of the route, or own_rate; NULL: as fast as it goes */
    struct mb_rate own_rate;
    int64_t rate_open_ms;               /* the rate lets nothing in before; 0: it does */
    struct mb_drain *drain;             /* NULL: runs until it is stopped */
    struct mb_discover *discover;       /* NULL: its source's streams are fixed */
    struct mb_transaction *transaction; /* NULL: the route delivers at least once */

    /* Events that the source raised during an operation. */
    struct mb_lane_event *events;
    size_t events_count;
    size_t events_capacity;
    char *event_texts; /* the streams that they name */
    size_t event_texts_size;
    size_t event_texts_capacity;

    struct mb_ack *acks; /* to be told to the source; never more than the window */
    size_t acks_count;
    size_t acks_capacity;
    struct mb_scope *dirty[MB_LANE_DIRTY_MAX]; /* scopes whose frontier moved */
    size_t dirty_count;
    bool dirty_overflow;   /* more than fit: look at all scopes */
    uint64_t uncommitted;  /* acknowledged, not stored at the broker */
    uint64_t commit_due;   /* …and in no commit that is under way */
    int64_t committed_ms;  /* when a commit was asked for last */
    int64_t taken_ms;      /* when a message was taken last, or the source was opened */
    int64_t full_since_ms; /* 0: the window is open */
    int64_t revoke_by_ms;  /* the first deadline of a scope that is being taken away */
    bool paused;
    int64_t rest_at_ms; /* when the window is asked next what it need not keep */

    enum mb_lane_phase phase;
    int64_t stop_timeout_ms; /* when it stops by itself */
    int64_t stop_deadline_ms;
    uint64_t limit_messages; /* 0: none */
    uint64_t taken_total;
    uint64_t polled_end; /* the sequence behind the batch that is being taken */
    uint64_t begun;      /* sequences below it were sent to an outlet */
    uint64_t settled; /* of those: delivered, or whatever else became of them; the rest is open */
    uint32_t batch_size; /* how many messages the source is asked for at once */
    uint64_t unresolved; /* valid when CLOSED */
    bool failed;         /* the route's policy stopped it; error says why */
    struct mb_error error;
};

/* counters and env outlive the lane. from: index of the route's source. */
enum mb_status mb_lane_create(const struct mb_lane_env *env, const struct mb_config_route *route,
                              size_t from, uint32_t number, struct mb_counters *counters,
                              struct mb_lane **ret_lane, struct mb_error *err);

/* CLOSED lanes only, or ones that were never stepped. NULL allowed. */
void mb_lane_destroy(struct mb_lane *lane);

/* Does what there is to do now. true: there may be more at once; false: sleep on mb_lane_wait. */
bool mb_lane_step(struct mb_lane *lane, int64_t now_ms);

/* Takes nothing more; CLOSED follows at the latest shortly after the deadline. */
void mb_lane_stop(struct mb_lane *lane, int64_t deadline_ms);

/* Differs from the last time if a descriptor may have been closed meanwhile. */
uint64_t mb_lane_changes(const struct mb_lane *lane);

/* Adds descriptors through add and lowers *deadline_ms. true: do not sleep. */
bool mb_lane_wait(struct mb_lane *lane, void (*add)(void *context, int fd, int16_t events),
                  void *context, int64_t *deadline_ms);

/* ---- between the files of the lane ---- */

/* The route stops: its policy says so. err is copied. */
void mb_lane_fail(struct mb_lane *lane, const struct mb_error *err);

/* source side (lane_source.c) */
bool mb_lane_source_step(struct mb_lane *lane, int64_t now_ms);
bool mb_lane_acknowledge(struct mb_lane *lane, int64_t now_ms);
void mb_lane_push_ack(struct mb_lane *lane, const struct mb_ack *ack);
void mb_lane_source_event(void *context, struct mb_port *port, const struct mb_event *event);
void mb_lane_source_finish(struct mb_lane *lane);
void mb_lane_source_failed(struct mb_lane *lane, int64_t now_ms);
/* Closes its instance in good order, if it is open, and opens another: all its scopes are gone. */
void mb_lane_source_reopen(struct mb_lane *lane, int64_t now_ms);
void mb_lane_scope_gone(struct mb_lane *lane, struct mb_scope *scope);

/* Stops the message at sinks where it was already, and appends where it is now (path.c). */
void mb_lane_path(struct mb_lane *lane, uint64_t sequence);

/* taking in (intake.c) */
bool mb_lane_intake(struct mb_lane *lane, int64_t now_ms);

/* sinks (outlet.c) */
enum mb_status mb_outlet_init(struct mb_outlet *outlet, struct mb_lane *lane,
                              const struct mb_config_stream *stream, uint32_t index,
                              bool is_dead_letter, struct mb_error *err);
void mb_outlet_release(struct mb_outlet *outlet);
bool mb_outlet_collect(struct mb_lane *lane, struct mb_outlet *outlet, int64_t now_ms);
bool mb_outlet_send(struct mb_lane *lane, struct mb_outlet *outlet, int64_t now_ms);
void mb_outlet_flush(struct mb_lane *lane, struct mb_outlet *outlet, int64_t now_ms);
/* The instance's life is over: port.error says why. What was in flight is sent again. */
void mb_outlet_lost(struct mb_lane *lane, struct mb_outlet *outlet, int64_t now_ms);
/* The sink behind the outlet has the entry for good. */
void mb_outlet_done(struct mb_lane *lane, struct mb_outlet *outlet, struct mb_entry *entry);
/* The hash of where the entry goes through this outlet, as a path names it; false: nothing names
 * it. */
bool mb_outlet_destination(const struct mb_outlet *outlet, const struct mb_entry *entry,
                           uint64_t *ret_hash);
/* Applies the reject policy to the entry for the outlets in bits. */
void mb_lane_reject(struct mb_lane *lane, uint64_t sequence, uint64_t bits, const char *reason,
                    const char *text);

/* An entry changed: resolve, pass the frontier, note acknowledgements. */
void mb_lane_update(struct mb_lane *lane, uint64_t sequence);

/* Lets go of what no destination can have yet: the youngest entries of each scope in `only`, or of
 * all scopes if NULL. */
void mb_lane_release_unsent(struct mb_lane *lane, struct mb_scope *only);

#endif
