/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulation of the core: the real lane between a model of a source's broker and models of sinks,
 * with a virtual clock, virtual connector threads and a schedule drawn from a seed.
 *
 *   draw.c    numbers from the seed; what a schedule is like
 *   engine.c  what stands for the clock, the connector and the allocator of the program
 *   broker.c  the backend: its options, what its brokers describe
 *   source.c  sink.c  the instances
 *   oracle.c  the brokers' contents, and the judgement of everything that is seen
 *   life.c    the lives of the lane in a schedule
 *
 * One simulated world a process: operations of a backend have no pointer of ours.
 */
#ifndef MBRIDGE_SIM_H
#define MBRIDGE_SIM_H

#include "core/router/lane.h"

#define SIM_SCOPES_MAX   72u
#define SIM_MESSAGES_MAX 320u
#define SIM_OUTLETS_MAX  4u /* three sinks and the dead letters */
#define SIM_KEYS_MAX     3u
#define SIM_NEVER        INT64_MAX

enum sim_kind {
    SIM_LOG_COMMITS = 0, /* positions, acknowledged in order, durable by commit */
    SIM_LOG = 1,         /* positions, acknowledged in order */
    SIM_QUEUE = 2,       /* tags of the connection, acknowledged in order */
    SIM_QUEUE_SINGLY = 3 /* acknowledged one by one */
};

/* How a schedule is: drawn once, read only afterwards but for what a reload changes. Each mean time
 * is in virtual ms; 0: never. */
struct sim_shape {
    enum sim_kind kind;
    uint32_t scopes;
    uint32_t messages;
    uint32_t keys;
    uint32_t sinks;
    bool dead_letter;
    enum mb_order order;
    enum mb_on_reject on_reject;
    uint32_t window_messages;
    int64_t window_bytes;
    uint32_t rate_messages;
    uint32_t retry_attempts;
    uint32_t sinks_before; /* the route is one of those that isolate_sinks runs */
    bool exactly;          /* nothing comes twice: the sink stores positions in transactions */
    bool leaves_out;       /* … or leaves out by itself what it has */
    bool create;
    bool filter;
    bool gaps; /* positions that no message has */
    bool lingers;
    uint32_t padding; /* bytes of the largest body */
    uint32_t ttl_one_in;
    uint32_t poison_one_in;
    uint32_t unreadable_one_in;
    uint32_t latency_ms;
    int64_t source_break_ms;
    int64_t sink_break_ms;
    int64_t scope_change_ms;
    int64_t life_ms;
    int64_t full_ms;
    uint32_t refuse_one_in;
    uint32_t open_fails_one_in;
    uint32_t slow_one_in;
    uint32_t alloc_fails_one_in;
    int64_t heal_ms; /* how long faults happen */
};

struct sim_message {
    uint32_t scope;
    uint32_t place; /* in its scope */
    uint32_t key;
    uint32_t poison; /* bits of the outlets that can never have it */
    bool filtered;
    bool unreadable;
    int64_t appears_ms;
    int64_t ttl_ms; /* 0: none */
    uint64_t offset;
    uint32_t size;
    /* at the brokers */
    bool acked;
    bool gone;                        /* it had expired when a stored position passed it */
    uint32_t stored[SIM_OUTLETS_MAX]; /* how often */
    uint32_t excuse[SIM_OUTLETS_MAX]; /* faults that may have made it come again */
    uint64_t last_at[SIM_OUTLETS_MAX];
    /* with the bridge */
    bool taken;
    bool told; /* acknowledged to the source, not stored there */
    uint32_t generation;
    uint64_t tag;
    int64_t expires_ms; /* wall; 0: never */
    bool lapsed;        /* it had expired when it was taken again: that holding may leave it out */
    uint32_t confirmed; /* bits of outlets whose completion of this generation was returned */
    uint32_t refused;   /* … that said it can never be carried */
};

struct sim_scope {
    uint32_t first;
    uint32_t count;
    uint32_t epoch;
    uint32_t passed;   /* the observer saw the places below it */
    uint32_t refused;  /* bits of sinks that refused something of it within a pipeline */
    uint64_t position; /* transactions: of the last message that the sink has; 0: none */
    bool released;     /* … and nobody holds the scope */
    uint32_t blurred;  /* … that had something under way when another member took it over */
    uint32_t highest[SIM_OUTLETS_MAX][SIM_KEYS_MAX]; /* first occurrences: place + 1 */
};

/* What happened, summed over schedules: a simulation that never breaks anything proves nothing. */
enum sim_stat {
    SIM_STEPS,
    SIM_TAKEN,
    SIM_STORED,
    SIM_DUPLICATES,
    SIM_BURIED,
    SIM_EXPIRED,
    SIM_FILTERED,
    SIM_REFUSED,
    SIM_SOURCE_BREAKS,
    SIM_SINK_BREAKS,
    SIM_OPEN_FAILURES,
    SIM_REVOKED,
    SIM_LOST,
    SIM_FENCED,
    SIM_TAKEOVERS,
    SIM_ALLOC_FAILURES,
    SIM_STOPS,
    SIM_LATE_STOPS,
    SIM_CRASHES,
    SIM_DRAINS,
    SIM_LIMITS,
    SIM_ROUTE_FAILURES,
    SIM_COMMITS,
    SIM_ABORTS,
    SIM_STATS_COUNT
};

struct sim {
    uint64_t seed;
    uint64_t random;
    int64_t now_ms;
    bool trace;
    struct sim_shape shape;
    struct sim_message messages[SIM_MESSAGES_MAX];
    uint32_t messages_count;
    struct sim_scope scopes[SIM_SCOPES_MAX];
    uint64_t position; /* of the last stored message, over all outlets */
    int64_t healed_at_ms;
    int64_t full_until_ms[SIM_OUTLETS_MAX];
    int64_t full_at_ms[SIM_OUTLETS_MAX];
    bool missing[SIM_OUTLETS_MAX];
    uint64_t *stats; /* SIM_STATS_COUNT */

    struct mb_source *sources; /* instances of the schedule, the youngest first */
    struct mb_sink *sinks;

    /* the life of the lane that runs */
    struct mb_lane *lane;
    struct mb_counters counters;
    bool alloc_failed;
    uint32_t life_taken;
    uint32_t life_confirmed[SIM_OUTLETS_MAX];
};

extern struct sim sim;

/* ---- draw.c ---- */

uint64_t sim_random(void);
uint64_t sim_below(uint64_t bound); /* 0 … bound-1; bound > 0 */
bool sim_one_in(uint64_t n);        /* n 0: never */
int64_t sim_after(int64_t mean_ms); /* a time from now on; mean 0: SIM_NEVER */
uint64_t sim_pick(const uint64_t *choices, size_t count);
void sim_draw_shape(struct sim_shape *shape);
void sim_draw_window(struct sim_shape *shape); /* what a reload changes */
void sim_draw_messages(void);

/* Faults happen still. */
static inline bool sim_is_rough(void)
{
    return sim.now_ms < sim.healed_at_ms;
}

/* ---- engine.c ---- */

#define SIM_WALL_MS INT64_C(1700000000000) /* the wall clock at virtual time 0 */

static inline int64_t sim_wall_ms(void)
{
    return SIM_WALL_MS + sim.now_ms;
}

void sim_engine_begin(void);
void sim_engine_run(void);                   /* jobs whose time has come, and their results */
int64_t sim_engine_next_ms(void);            /* when the next one ends */
void sim_engine_drop(void);                  /* jobs end with the process that wanted them */
void *sim_calloc(size_t count, size_t size); /* never fails: ours, not the core's */
void sim_allow_alloc_failures(bool allowed);
struct mb_connector *sim_connector(void);
struct mb_mailbox *sim_mailbox(void);

/* ---- broker.c ---- */

extern const struct mb_backend sim_backend;

#define SIM_STREAM "stream"

/* ---- source.c ---- */

extern const struct mb_source_ops sim_source_ops;
uint64_t sim_source_traits(void);
/* When the descriptor of an open instance (-1: whichever it has) becomes ready for events;
 * SIM_NEVER: not, or not ours. */
int64_t sim_source_ready_ms(int fd, int16_t events);
/* It was taken away while the core could not act on it yet. */
bool sim_source_scope_is_loose(uint32_t scope);
/* The scope is the lane's, and nobody is taking it away: what it has of it is open. */
bool sim_source_has(uint32_t scope);
void sim_sources_crash(void);
bool sim_sources_are_closed(void);
void sim_sources_release(void);

/* ---- sink.c ---- */

struct sim_sink_options {
    int64_t outlet;
};

extern const struct mb_sink_ops sim_sink_ops;
int64_t sim_sink_ready_ms(int fd, int16_t events);
void sim_sinks_settle(void); /* what is written and due is stored */
/* Something of the scope is under way to the outlet. */
bool sim_sinks_hold(uint32_t outlet, uint32_t scope);
/* Another member has taken the sink's group: transactions of ours cannot be committed. */
void sim_sink_fence(void);
void sim_sinks_crash(void);
bool sim_sinks_are_closed(void);
void sim_sinks_release(void);

/* ---- oracle.c ---- */

/* The first violation ends the process (exit status 3). invariant: "I1" … "I8", "contract". */
_Noreturn void sim_violate(const char *invariant, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sim_trace_shape(void);

struct sim_body {
    uint32_t magic;
    uint32_t index;
    uint32_t generation;
    uint32_t check;
};

void sim_body_fill(struct sim_body *body, uint32_t index);
/* The body that a message carries; a violation if it is not as it was written. */
const struct sim_body *sim_body_of(const struct mb_message *message);

uint32_t sim_dead_outlet(void);
void sim_check_send(uint32_t outlet, const struct sim_body *body);
void sim_check_ack(uint32_t index); /* the lane acknowledges it */
void sim_broker_acked(uint32_t index);
void sim_store(uint32_t outlet, uint32_t index);
/* A transaction stored how far the scope was read. position 0: as before. */
void sim_stored_position(uint32_t scope, uint64_t position, bool released);
/* Nothing is left to do for it. */
bool sim_is_done(const struct sim_message *message);
void sim_completed(uint32_t outlet, const struct sim_body *body, enum mb_cause cause);
/* A fault: what the bridge holds may come again. scope: UINT32_MAX: of all; outlet likewise. */
void sim_excuse(uint32_t scope, uint32_t outlet);
void sim_give_back(uint32_t scope); /* to the source's broker: UINT32_MAX: of all */
void sim_takeover(uint32_t scope);  /* another member works on it */
/* Follows the lane's frontier, and judges it. */
extern const struct mb_observer sim_observer;

void sim_check_window(void);
bool sim_is_expired(const struct sim_message *message);
void sim_check_open(void);
void sim_check_instances(void);
void sim_check_closed(void);
void sim_check_end(void);
bool sim_all_done(void);

/* ---- life.c ---- */

void sim_schedule(uint64_t seed, bool trace, uint64_t *stats);

#endif
