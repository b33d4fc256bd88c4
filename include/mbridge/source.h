/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Source operations. An instance is one connection's life: it never reconnects. Every operation but
 * open and close runs on the lane's worker thread and must not block; open and close run on a
 * connector thread, never at the same time as another operation of the same instance.
 */
#ifndef MBRIDGE_SOURCE_H
#define MBRIDGE_SOURCE_H

#include <mbridge/host.h>
#include <mbridge/message.h>
#include <mbridge/options.h>

/* An instance. The backend allocates it with the struct as its first member or behind it. */
struct mb_source;

/* A bump allocator over chunks of the lane. Memory lives until the frontier has passed every
 * message of the batch; it is never freed singly. */
struct mb_arena {
    unsigned char *at;
    unsigned char *end;
    void *(*more)(struct mb_arena *arena, size_t size); /* takes a new chunk; NULL: out of memory */
};

/* size bytes aligned to 8, or NULL when memory is out. size 0 gives a valid non-null pointer. */
static inline void *mb_arena_alloc(struct mb_arena *arena, size_t size)
{
    size_t room = (size_t)(arena->end - arena->at);
    size_t need = (size + 7u) & ~(size_t)7u;
    void *memory;

    if (need == 0)
        need = 8;
    if (size > SIZE_MAX - 8)
        return NULL;
    if (need > room)
        return arena->more(arena, need);
    memory = arena->at;
    arena->at += need;
    return memory;
}

/*
 * What poll fills. messages[0 … count_max) are zeroed messages of the core; the source fills them
 * in order and sets count. It stops at count_max, or when the bytes of key, body and headers reach
 * bytes_max (the message that passes it is still included, so one always fits).
 */
struct mb_batch {
    uint32_t struct_size;
    uint32_t count_max;
    uint32_t count;
    uint64_t bytes_max;
    uint64_t bytes;
    struct mb_message **messages;
    struct mb_arena *arena;
};

enum mb_outcome {
    MB_ACCEPTED = 0, /* every sink has it (or the dead-letter stream has) */
    MB_RELEASED = 1, /* give it back: it was not delivered and another consumer may have it */
    MB_REFUSED = 2   /* the route's policy hands it back to the broker as rejected */
};

/*
 * One acknowledgement. Where the source acknowledges in order (MB_SOURCE_ACKS_IN_ORDER), through
 * covers: every message of (scope, epoch) up to and including token has that outcome, and tokens
 * only grow. Elsewhere each message has its own. The core drops what is of a stale epoch; a source
 * that is told of one all the same ignores it.
 */
struct mb_ack {
    uint32_t scope;
    uint32_t epoch;
    uint64_t token;
    uint32_t outcome;            /* enum mb_outcome */
    uint32_t count;              /* how many messages it covers */
    struct mb_position position; /* of the message with that token */
};

/* The core's answer to SCOPE_ASSIGNED. */
struct mb_scope_start {
    uint32_t scope;
    uint32_t epoch;
    /* The first message to hand out; STORED: the source's own choice (stored, else `start`). */
    struct mb_position position;
};

enum mb_source_traits {
    MB_SOURCE_ACKS_IN_ORDER = 1u << 0,  /* else one by one */
    MB_SOURCE_DIVIDES_BY_KEY = 1u << 1, /* consumers share by key (partitions); else by message */
    MB_SOURCE_EXCLUSIVE = 1u << 2,      /* one consumer is active, others stand by: order is kept */
    MB_SOURCE_CONSUMES = 1u << 3,       /* takes messages away from others; else it copies */
    MB_SOURCE_SEEKS = 1u << 4,          /* positions are stable and start may name one */
    MB_SOURCE_PARTITIONED = 1u << 5,
    MB_SOURCE_COMMITS = 1u << 6 /* acknowledgements become durable by commit, with COMMITTED */
};

struct mb_open_params {
    uint32_t struct_size;
    uint32_t lane; /* 0 … lanes-1 of the route's source */
    const struct mb_host *host;
    const void *endpoint; /* the backend's struct, filled by its endpoint table */
    const void *options;  /* the backend's struct of the source's or sink's table */
    const char *bridge_name;
    const char *route_name;
    const char *endpoint_name;
    const char *default_group;        /* "mbridge.<bridge>.<route>", or what `copy` derives */
    const struct mb_strings *streams; /* source: the resolved names if options hold a pattern */
    uint64_t names_templated; /* sink: bit s is set if the template of slot s has ${…} parts */
    uint32_t window_messages; /* at most so many are unacknowledged at once */
    uint64_t window_bytes;
    uint32_t timeout_ms; /* open must have returned by then */
    bool ordered;        /* the route keeps order by key */
    uint8_t provenance;  /* enum mb_provenance (sink.h) */
    bool strict;         /* sink: what cannot be carried losslessly is rejected, not degraded */
    /* sink: a message must not be stored twice, whatever breaks. The sink has the trait
     * MB_SINK_TRANSACTIONS with MB_SINK_STORES_POSITIONS, or MB_SINK_DEDUPLICATES; it is the only
     * one of its route, and messages have an origin and a position that last. */
    bool effectively_once;
    /* source: the route stops at MB_EVENT_LOSS. What the source knows of the loss stays
     * with the broker, so that the next instance says it again, until one is opened without this:
     * nobody may go on without having been told. */
    bool loss_stops;
};

struct mb_source_ops {
    uint32_t struct_size;

    /* What this source is, given its options: enum mb_source_traits. Pure; any thread. */
    uint64_t (*traits)(const void *endpoint, const void *options);

    /* Connects and logs in, within params->timeout_ms. On failure *ret_source stays NULL. */
    enum mb_status (*open)(const struct mb_open_params *params, struct mb_source **ret_source,
                           struct mb_error *err);

    /* Adds descriptors and the next deadline. */
    void (*fds)(struct mb_source *source, struct mb_wait *wait);

    /* Takes up to a batch without waiting. MB_OK with count 0 when there is none. MB_DISCONNECTED
     * may come with count > 0: those are taken still. */
    enum mb_status (*poll)(struct mb_source *source, struct mb_batch *batch, struct mb_error *err);

    /* Passes outcomes to the broker or, where traits have COMMITS, notes them for commit. All count
     * are taken; what cannot be written now is kept by the source (bounded by the window). */
    enum mb_status (*ack)(struct mb_source *source, const struct mb_ack *acks, size_t count,
                          struct mb_error *err);

    /* COMMITS only, else NULL. Starts to store what is acknowledged; the event COMMITTED follows,
     * or none if it fails: a later one covers it. Several may be under way. MB_AGAIN: as many as
     * the source has room for. wait_ms > 0 (stop and revocation only): returns when it is
     * stored or that time is over (MB_TIMEOUT). */
    enum mb_status (*commit)(struct mb_source *source, uint32_t wait_ms, struct mb_error *err);

    /* The core's answers to SCOPE_ASSIGNED and SCOPE_REVOKED. */
    enum mb_status (*start)(struct mb_source *source, const struct mb_scope_start *starts,
                            size_t count, struct mb_error *err);
    enum mb_status (*stop)(struct mb_source *source, const uint32_t *scopes, size_t count,
                           struct mb_error *err);

    /* true: take nothing more from the broker than is under way, for a long time (the window is
     * full, or the route is draining); a hint. NULL allowed. */
    void (*pause)(struct mb_source *source, bool paused);

    /* Heartbeats, timers, library callbacks. Called at every step of the lane, and by the deadline
     * of fds. Raises events. */
    enum mb_status (*service)(struct mb_source *source, struct mb_error *err);

    /* Writes out what ack was told and leaves the group or cancels, in bounded time; frees all.
     * What has to be stored by commit is the core's to commit before. NULL allowed. Afterwards no
     * event comes and nothing of the batch's arena is touched. */
    void (*close)(struct mb_source *source);

    /* The pattern matches other streams than at open: takes up the new ones, leaves what
     * is gone. The list is as in params->streams, complete, valid during the call. New scopes
     * follow as events. NULL: the core drains, closes and opens again. */
    enum mb_status (*streams)(struct mb_source *source, const struct mb_strings *streams,
                              struct mb_error *err);
};

#endif
