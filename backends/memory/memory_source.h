/* SPDX-License-Identifier: Apache-2.0 */
/* The instance of a source, for the three files that make it. */
#ifndef MEMORY_SOURCE_H
#define MEMORY_SOURCE_H

#include "memory.h"

enum memory_scope_state {
    MEMORY_SCOPE_NONE = 0,
    MEMORY_SCOPE_ASSIGNED = 1, /* told; the answer is awaited */
    MEMORY_SCOPE_STARTED = 2,
    MEMORY_SCOPE_REVOKED = 3 /* told; the answer is awaited */
};

/* One partition of one stream at this instance; its number is the scope's. */
struct memory_scope {
    struct memory_member *member;
    uint32_t partition;
    uint32_t state;      /* enum memory_scope_state */
    uint32_t epoch;      /* of the last assignment or start */
    uint32_t generation; /* of the share when it was assigned */
    bool halted;         /* a message was given back: no later one may be stored */
    uint64_t next;       /* log: the offset to read */
    uint64_t acked;      /* log: the offset behind what is acknowledged */
    uint64_t committed;  /* log: and behind what of that is stored */
};

/* A message of a queue that this instance holds. */
struct memory_held {
    struct memory_record *record; /* NULL: free */
    uint64_t token;
    uint32_t scope;
    uint32_t epoch;
    uint32_t next_free;
};

/* A source that makes its messages. */
#define MEMORY_DIGITS 16u /* of a number, in the key and at the head of the body */

struct memory_generator {
    uint32_t state; /* enum memory_scope_state */
    uint32_t epoch;
    uint64_t next;
    uint64_t acked;
    uint64_t committed;
    int64_t began_ms; /* with generate.rate: when the first of this run was due */
    uint64_t began_at;
    char pattern[256];
    char number[MEMORY_DIGITS]; /* next, as text */
};

struct mb_source {
    const struct memory_source_options *options;
    const struct mb_host *host;
    const char *store; /* of the endpoint */
    const char *group;
    uint32_t lane;
    bool exclusive;
    bool paused;
    struct memory_wake wake;

    struct memory_member **members; /* one a stream; they stay where they are */
    size_t members_count;
    size_t members_capacity;
    struct memory_scope *scopes; /* one a partition; a stream that leaves keeps its own */
    size_t scopes_count;
    size_t scopes_capacity;
    size_t turn; /* the scope to read first */

    /* Queues: what is held, at most as many as the window has. token % held_size is the place. */
    struct memory_held *held;
    uint32_t held_size;
    uint32_t held_free; /* first of the list; held_size: none */
    uint32_t held_count;
    uint64_t held_turn;

    struct memory_generator generator;
};

/* memory_streams.c: which streams the source reads. */
/* The store: enters the groups of all streams of the list that it is not in, or some of them and an
 * error. */
enum mb_status memory_streams_join(struct mb_source *source, struct memory_store *store,
                                   const char *const *names, size_t count, struct mb_error *err);
enum mb_status memory_streams_change(struct mb_source *source, const struct mb_strings *streams,
                                     struct mb_error *err);
/* The store: leaves all groups. */
void memory_streams_leave(struct mb_source *source);
void *memory_zalloc(const struct mb_host *host, size_t count, size_t size);

/* memory_scope.c: the store's view of shares becomes events, answers, and stored offsets. */
enum mb_status memory_scope_service(struct mb_source *source);
void memory_scope_start(struct mb_source *source, const struct mb_scope_start *start);
void memory_scope_stop(struct mb_source *source, uint32_t scope);
void memory_scope_ack(struct mb_source *source, const struct mb_ack *ack);
void memory_scope_commit(struct mb_source *source, bool tell);
/* The store: whether the share is still the one that was assigned. */
bool memory_scope_is_owned(const struct memory_scope *scope);
/* The store: gives every held message of a scope back (scope UINT32_MAX: of all). */
void memory_scope_return_held(struct mb_source *source, uint32_t scope);

/* memory_generate.c: the same operations for a source that makes its messages. */
void memory_generate_open(struct mb_source *source);
void memory_generate_fds(struct mb_source *source, struct mb_wait *wait);
enum mb_status memory_generate_poll(struct mb_source *source, struct mb_batch *batch,
                                    struct mb_error *err);
void memory_generate_ack(struct mb_source *source, const struct mb_ack *ack);
enum mb_status memory_generate_commit(struct mb_source *source, bool tell, struct mb_error *err);
void memory_generate_start(struct mb_source *source, const struct mb_scope_start *start);
void memory_generate_service(struct mb_source *source);

#endif
