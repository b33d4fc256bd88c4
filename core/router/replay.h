/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replaying dead letters: a route whose source is the stream of its own dead letters. What the
 * filter wants is made the original message again, as if it came from where it came from then: its
 * origin for templates, partitions, paths and ids, and without the headers that were added. What it
 * does not want is passed over where the stream keeps it, and left where it does not.
 *
 * An end in sight. Of a log nothing is sent that stands at or past the end that was noted when the
 * source was opened; of a queue, nothing that became a dead letter after the replay began. What is
 * refused again goes back to the dead letters, and this replay does not meet it a second time.
 *
 * One lane runs a replay; its state belongs to that lane's thread.
 */
#ifndef MBRIDGE_CORE_REPLAY_H
#define MBRIDGE_CORE_REPLAY_H

#include "core/router/dead_letter.h"
#include "core/router/lane.h"

struct mb_replay_filter {
    const char *route;  /* NULL: any */
    const char *reason; /* NULL: any */
    const char *stream; /* of origin; NULL: any */
    int64_t since_ms;   /* became a dead letter then or later; 0: any time */
};

struct mb_replay {
    struct mb_replay_filter filter; /* borrowed */
    int64_t began_ms;               /* wall time */
    uint64_t limit;                 /* messages to replay; 0: all */
    uint64_t left_max;              /* messages of a queue that may be left lying */
    uint32_t window_messages;       /* under way at once; the source may hand out more */
    /* state */
    uint64_t matched;
    uint64_t left;
    uint64_t left_seen; /* of them when the source last gave something to do */
    bool met_end;       /* something was met that stands past the end */
};

enum mb_replay_verdict {
    MB_REPLAY_SEND = 0,
    MB_REPLAY_SKIP = 1, /* acknowledge, do not send */
    MB_REPLAY_LEAVE = 2 /* neither */
};

/* What a replayed message refers to instead of its scope's origin. */
struct mb_replayed {
    struct mb_origin origin; /* first: message->origin leads here */
    struct mb_dead_info info;
};

bool mb_replay_matches(const struct mb_replay_filter *filter, const struct mb_dead_info *info);

/* Decides about a message that a source with these traits handed out, and counts it. SEND: it is
 * the original again. MB_NO_MEMORY is the only failure. */
enum mb_status mb_replay_take(struct mb_replay *replay, const struct mb_config_route *route,
                              const struct mb_scope *scope, uint64_t source_traits,
                              struct mb_message *message, struct mb_arena *arena,
                              enum mb_replay_verdict *ret_verdict);

/* The part of it that makes the original: message is a dead letter with that info. scope_origin:
 * where it was read. */
enum mb_status mb_replay_restore(const struct mb_config_route *route,
                                 const struct mb_origin *scope_origin,
                                 const struct mb_dead_info *info, struct mb_message *message,
                                 struct mb_arena *arena);

static inline bool mb_replay_is_full(const struct mb_replay *replay)
{
    return replay->limit > 0 && replay->matched >= replay->limit;
}

/* More lies in front of what may be wanted than can be left there. */
static inline bool mb_replay_is_stuck(const struct mb_replay *replay)
{
    return replay->left_max > 0 && replay->left >= replay->left_max;
}

/* Of a message that a replay sends; NULL: the route is none. */
static inline const struct mb_dead_info *mb_replayed_info(const struct mb_config_route *route,
                                                          const struct mb_message *message)
{
    const struct mb_replayed *replayed = (const struct mb_replayed *)message->origin;

    return route->replay != NULL && replayed->origin.struct_size == sizeof *replayed
               ? &replayed->info
               : NULL;
}

/* For every message that a lane takes, before its steps: what a replay makes of it, and what is
 * kept of it for a dead letter. MB_NO_MEMORY is the only failure. */
enum mb_status mb_replay_entry(struct mb_lane *lane, struct mb_entry *entry);

/* Whether any of the taken messages that came last was one to act on, so that its source counts as
 * busy. */
bool mb_replay_moves(struct mb_lane *lane, uint64_t taken);

/* A replay that has no more to do, or cannot go on (the lane failed then). */
bool mb_replay_is_over(struct mb_lane *lane);

#endif
