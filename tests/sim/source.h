/* SPDX-License-Identifier: Apache-2.0 */
/* Between the two files of the source: its instance, and the scopes that it holds. */
#ifndef MBRIDGE_SIM_SOURCE_H
#define MBRIDGE_SIM_SOURCE_H

#include "sim.h"

#define SIM_ALL              UINT32_MAX /* scopes, outlets */
#define SIM_COMMITS_OPEN_MAX 12u        /* more than the core tells apart */

enum sim_hold { SIM_NOT_HELD = 0, SIM_ASSIGNED = 1, SIM_STARTED = 2, SIM_REVOKING = 3 };

struct sim_held {
    enum sim_hold hold;
    uint32_t epoch;
    int64_t next_ms; /* when its assignment changes */
    int64_t deadline_ms;
    uint32_t next; /* place to hand out next */
    uint32_t told; /* acknowledged in order: places below it are told */
    uint64_t tag;
    bool seeks;          /* it began where the core said: what it acknowledged may come again */
    bool loose;          /* taken away in poll: the core acts on it after the next service */
    uint64_t told_token; /* of the last acknowledgement, in told_epoch */
    uint32_t told_epoch;
};

/* One that is under way. */
struct sim_commit {
    int64_t ms;                      /* when it is stored */
    uint32_t count;                  /* of pending, from the first */
    uint32_t epochs[SIM_SCOPES_MAX]; /* 0: nothing of that scope */
    uint64_t tokens[SIM_SCOPES_MAX];
};

struct mb_source {
    const struct mb_host *host;
    struct mb_source *next;
    int fd;
    bool closed;
    bool ended; /* an operation said that its life is over */
    bool announced;
    bool paused;
    bool commit_failed;
    int64_t announce_ms;
    int64_t ends_ms;
    struct sim_commit commits[SIM_COMMITS_OPEN_MAX]; /* oldest first */
    uint32_t commits_count;
    struct sim_held scopes[SIM_SCOPES_MAX];
    uint32_t pending_count;
    uint32_t pending[SIM_MESSAGES_MAX]; /* told, not stored yet: messages in the order of acks */
};

static inline bool sim_commits(void)
{
    return sim.shape.kind == SIM_LOG_COMMITS;
}

static inline bool sim_is_log(void)
{
    return sim.shape.kind == SIM_LOG || sim_commits();
}

static inline struct sim_message *sim_message_at(uint32_t scope, uint32_t place)
{
    return &sim.messages[sim.scopes[scope].first + place];
}

/* ---- source.c ---- */

/* An operation begins: a violation if it must not. */
void sim_source_op(const struct mb_source *source, const char *name);

/* The operation's result: MB_OK, or the end of the instance if it is its time. */
enum mb_status sim_source_result(struct mb_source *source, struct mb_error *err);

/* ---- source_scopes.c ---- */

/* What is due of an assignment happens. in_poll: the core acts on it after the next service. */
void sim_scope_changes(struct mb_source *source, uint32_t scope, bool in_poll);
void sim_source_raise(struct mb_source *source, enum mb_event_kind kind, uint32_t scope,
                      uint32_t epoch, int64_t deadline_ms);
enum mb_status sim_source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                size_t count, struct mb_error *err);
enum mb_status sim_source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                               struct mb_error *err);

#endif
