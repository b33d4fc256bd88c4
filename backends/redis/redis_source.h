/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of a source. A link has two connections: the reader, where one XREADGROUP may block, and
 * the commands, where acknowledgements and the lease must not wait behind it. In a cluster there is
 * a link for each slot, as one command reads streams of one slot only; else there is one link.
 */
#ifndef REDIS_SOURCE_H
#define REDIS_SOURCE_H

#include "kit/slot.h"
#include "redis.h"
#include "redis_ahead.h"

#define REDIS_BLOCK_MS    2000
#define REDIS_HISTORY_MAX 1000u /* entries of one request for old ones */

enum redis_phase {
    REDIS_PHASE_IDLE = 0, /* not started, or stopped */
    REDIS_PHASE_SEEK,     /* the group is being set to where the core wants to start */
    REDIS_PHASE_HISTORY,  /* what was delivered to this consumer and never acknowledged */
    REDIS_PHASE_LIVE
};

struct redis_scope {
    const char *stream;
    struct redis_link *link;
    uint32_t epoch;
    enum redis_phase phase;
    struct mb_position seek;
    struct mb_position after; /* history: the last entry that was read */
    struct mb_position claim; /* XAUTOCLAIM's cursor; */
    bool claiming;            /* a pass is under way */
    bool claimed;             /* the first pass is through */
    uint64_t lost;            /* found gone, and not told yet */
    uint64_t lost_before;     /* noted by another instance, or by this one: to be told again */
    /* Entries that the group has read when base was set; -1: not known. Those that were trimmed
     * unread count as read once they have been told. */
    int64_t read_base;
    uint64_t read_since;      /* and we were given since then */
    struct mb_position given; /* the last one that the group gave out */
    bool counting_due;        /* the stream's counts are to be looked at */
    bool has_lease;
    struct redis_lease lease;
    int64_t renewed_ms; /* when the last successful renewal was sent */
    int64_t renew_sent_ms;
    bool renewing;
};

enum redis_request_kind {
    REDIS_REQUEST_SETID,
    REDIS_REQUEST_COUNTS,
    REDIS_REQUEST_HISTORY,
    REDIS_REQUEST_CLAIM,
    REDIS_REQUEST_STREAM, /* what the stream counts */
    REDIS_REQUEST_REPAIR, /* of the group's count; refused, it stays as it is */
    REDIS_REQUEST_NEW
};

struct redis_request {
    enum redis_request_kind kind;
    struct redis_scope *scope; /* NULL: NEW, of all streams */
    uint32_t count;            /* NEW: of each stream at most */
    uint32_t left;             /* NEW: of all streams, what has not come of it */
};

#define REDIS_REQUESTS_MAX 64u

/* Where in the reply of the first request the reader stands. */
enum redis_stage {
    REDIS_STAGE_START = 0,
    REDIS_STAGE_STREAM, /* a stream's name and number of entries */
    REDIS_STAGE_CURSOR, /* of XAUTOCLAIM */
    REDIS_STAGE_ENTRIES,
    REDIS_STAGE_DELETED /* the IDs that XAUTOCLAIM found gone */
};

enum redis_command_kind {
    REDIS_COMMAND_ACK,
    REDIS_COMMAND_REFRESH,
    REDIS_COMMAND_RENEW,
    REDIS_COMMAND_RELEASE,
    REDIS_COMMAND_NOTE /* of a loss; refused, it is said once */
};

/* Commands of one kind, one after the other, that wait for their answers. */
struct redis_run {
    enum redis_command_kind kind;
    struct redis_scope *scope;
    uint32_t count;
};

#define REDIS_RUNS_MAX 256u

struct redis_link {
    unsigned slot;
    struct redis_client *reader;
    struct redis_client *commands;
    struct redis_request requests[REDIS_REQUESTS_MAX];
    uint32_t requests_first;
    uint32_t requests_count;
    enum redis_stage stage;
    uint64_t streams_left;
    uint64_t entries_left;
    bool has_deleted;          /* XAUTOCLAIM of Redis 7 has a third part */
    bool more;                 /* the last poll stopped before the input was used up */
    bool full;                 /* a stream of this reply has brought all that was asked for */
    struct redis_ahead ahead;  /* of requests for new entries */
    struct redis_scope *scope; /* of the entries that follow */
    struct redis_stem stem;    /* of the last one */
    struct redis_run runs[REDIS_RUNS_MAX];
    uint32_t runs_first;
    uint32_t runs_count;
};

/* An entry that was handed out and not acknowledged. */
struct redis_flight {
    uint64_t hi;
    uint64_t lo;
    int64_t taken_ms;
    uint32_t scope;
    bool open;
};

/* Acknowledged, and not told to the server yet. */
struct redis_pending_ack {
    uint64_t hi;
    uint64_t lo;
    uint32_t scope;
};

#define REDIS_ACKS_MAX 500u

struct redis_delivered {
    uint64_t hi;
    uint64_t lo;
    uint32_t count;
};

struct mb_source {
    const struct mb_host *host;
    const struct redis_source_options *options;
    struct redis_topology *topology;
    struct mb_slice body_field;
    char group[REDIS_NAME_MAX];
    char consumer[REDIS_NAME_MAX];
    int epoll;                    /* -1: the descriptors are few enough for mb_wait */
    struct mb_slot consumer_slot; /* makes the consumer's name one of its own */
    bool ordered;
    bool loss_stops;
    bool announced;
    bool paused;
    bool lease_lost;
    bool told_lost;
    uint32_t scopes_count;
    uint32_t links_count;
    struct redis_scope *scopes;
    struct redis_link *links;
    struct redis_flight *flights; /* a ring; what is never used of it costs no memory */
    uint64_t flights_mask;
    uint64_t flights_base; /* the token whose place is the first; moves when nothing is open */
    uint64_t flights_head; /* the next token */
    uint64_t flights_tail; /* all below are acknowledged */
    uint32_t window;       /* so many at most are handed out, or pending */
    uint64_t window_bytes;
    uint64_t asked; /* entries that all links' requests for new ones may still bring */
    struct redis_pending_ack *acks;
    uint32_t acks_count;
    uint32_t acks_max;
    int64_t acks_since_ms;
    bool held;                         /* nothing is handed out until they are told */
    struct redis_delivered *delivered; /* by the last COUNTS */
    size_t delivered_count;
    size_t delivered_at;
    struct redis_field *fields;
    size_t fields_capacity;
    uint64_t entry_size; /* of late, on average */
    int64_t now_ms;      /* of this poll */
    int64_t claim_at_ms;
    int64_t refresh_at_ms;
    int64_t counting_at_ms;
};

static inline struct redis_flight *redis_flight_at(const struct mb_source *source, uint64_t token)
{
    return &source->flights[(token - source->flights_base) & source->flights_mask];
}

/* The reader (redis_ask.c, redis_pull.c). */

/* Asks for more where nothing, or not enough, is under way, and writes. */
enum mb_status redis_pull_ask(struct mb_source *source, struct redis_link *link,
                              struct mb_error *err);
/* Sets the group's count right, between two requests. */
void redis_ask_repair(struct mb_source *source, struct redis_scope *scope);
/* Hands out what has come. */
enum mb_status redis_pull_link(struct mb_source *source, struct redis_link *link,
                               struct mb_batch *batch, struct mb_error *err);

enum redis_step { REDIS_STEP_DONE, REDIS_STEP_NEED, REDIS_STEP_FAILED };

static inline struct redis_request *redis_request_of(struct redis_link *link)
{
    return &link->requests[link->requests_first];
}

static inline struct redis_request *redis_last_request(struct redis_link *link)
{
    return &link->requests[(link->requests_first + link->requests_count - 1) % REDIS_REQUESTS_MAX];
}

static inline enum redis_step redis_malformed(struct redis_link *link, struct mb_error *err)
{
    redis_client_fail(link->reader, err, "protocol", "the server sent what was not asked for");
    return REDIS_STEP_FAILED;
}

static inline bool redis_has_room(const struct mb_source *source, const struct mb_batch *batch)
{
    return batch->count < batch->count_max &&
           (batch->count == 0 || batch->bytes < batch->bytes_max) &&
           source->flights_head - source->flights_tail + source->acks_count < source->window;
}

/* It is the pending acknowledgements that there is no room for more with. */
static inline bool redis_is_held(const struct mb_source *source)
{
    return source->acks_count > 0 &&
           source->flights_head - source->flights_tail + source->acks_count >= source->window;
}

/* Takes the entry at the cursor (redis_entries.c), if all of it is there. */
enum redis_step redis_take_entry(struct mb_source *source, struct redis_link *link,
                                 struct redis_cursor *cursor, struct mb_batch *batch,
                                 struct mb_error *err);

/* The commands (redis_commands.c). */

enum mb_status redis_commands_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                  struct mb_error *err);
/* Tells the server what was acknowledged. */
enum mb_status redis_commands_flush(struct mb_source *source, struct mb_error *err);
/* A command that the scope's commands client has been given, with one answer. */
void redis_commands_note(struct redis_scope *scope);
/* An entry that is gone: acknowledged, so that it does not come back. */
void redis_commands_forget(struct mb_source *source, struct redis_scope *scope,
                           struct mb_position position);
enum mb_status redis_commands_service(struct mb_source *source, struct redis_link *link,
                                      int64_t now_ms, struct mb_error *err);
/* Acknowledgements, renewals and refreshes that are due. */
enum mb_status redis_commands_timers(struct mb_source *source, int64_t now_ms,
                                     struct mb_error *err);
int64_t redis_commands_deadline_ms(const struct mb_source *source);
/* Releases the leases and waits until all answers are there, in bounded time. */
void redis_commands_finish(struct mb_source *source, uint32_t wait_ms);

/* A consumer's name (redis_consumer.c): the same after a restart, so that its history is found. */
enum mb_status redis_consumer_name(struct mb_source *source, const struct mb_open_params *params,
                                   struct mb_error *err);

/* Groups at opening (redis_group.c). Blocking. */
/* redis_loss.c: what was noted of losses, and what has been found at opening is noted. */
enum mb_status redis_loss_open(struct mb_source *source, struct redis_scope *scope,
                               struct redis_client *client, int64_t deadline_ms,
                               struct mb_error *err);
uint64_t redis_loss_take(struct mb_source *source, struct redis_scope *scope);
void redis_loss_refused(const struct mb_source *source, const struct redis_scope *scope,
                        struct mb_slice why);

enum mb_status redis_group_prepare(struct mb_source *source, struct redis_scope *scope,
                                   struct redis_client *client, int64_t deadline_ms,
                                   struct mb_error *err);

#endif
