/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window: every message that is taken and not yet done, in a ring indexed by lane sequence, and
 * the scopes they belong to. Pure state, no I/O, one thread.
 *
 * An entry has a bit for each outlet (a sink, or the dead-letter sink is behind one):
 *   sent      handed to the outlet's instance, no completion yet
 *   done      that outlet has it durably, or its dead letter has
 *   rejected  that outlet can never have it; done follows when the dead letter is confirmed
 *   attempted it may be at that destination already (sent at least once, and not refused)
 * It is resolved when every bit of `want` is done, or when it is stale and nothing of it is in
 * flight. The frontier of a scope is its oldest entry that is not resolved; the tail of the ring is
 * the oldest of all.
 */
#ifndef MBRIDGE_CORE_WINDOW_H
#define MBRIDGE_CORE_WINDOW_H

#include "core/router/arena.h"
#include "core/router/names.h"

#include <mbridge/sink.h>

#include <assert.h>

#define MB_SEQUENCE_NONE UINT64_MAX
#define MB_SCOPES_MAX    65536u
#define MB_WINDOW_KEPT   128u /* messages, for as long as the window lives */
#define MB_COMMITS_MAX   8u   /* of a scope under way at once */

enum mb_scope_state {
    MB_SCOPE_ASSIGNED = 0, /* told by the source, not started */
    MB_SCOPE_LOADED = 1,   /* its position was asked of the sink (transaction.h); not started */
    MB_SCOPE_STARTED = 2,
    MB_SCOPE_REVOKING = 3, /* in flight is awaited, then the source is told to stop it */
    MB_SCOPE_GONE = 4      /* nothing of it may be acknowledged any more */
};

/* How far a commit that is under way goes. */
struct mb_commit_mark {
    uint64_t token; /* of the last acknowledgement that it stores: COMMITTED says it again */
    uint64_t total; /* acked_total by then */
};

/* One assignment of a scope. Lives until no entry refers to it. */
struct mb_scope {
    uint32_t id;
    uint32_t epoch;
    enum mb_scope_state state;
    uint32_t entries; /* in the ring */
    struct mb_origin origin;
    char *texts;                /* what origin.stream and origin.identity point to */
    struct mb_matches *matches; /* of the stream's name, where a template asks; else NULL */
    uint64_t path_hash;         /* of the stream: what a message's path is told of it */
    uint64_t head;              /* oldest unresolved entry, MB_SEQUENCE_NONE: none */
    uint64_t newest;            /* latest entry, valid while head is not NONE */
    int64_t deadline_ms;        /* REVOKING: stop by then */
    /* the frontier */
    uint64_t ack_token;
    struct mb_position ack_position;
    uint32_t ack_count;   /* passed by the frontier and not told to the source yet */
    uint64_t acked_total; /* told to the source */
    uint64_t committed_total;
    struct mb_commit_mark commits[MB_COMMITS_MAX]; /* under way, oldest first */
    uint32_t commits_count;
    struct mb_position end;      /* where draining ends, if known */
    struct mb_position position; /* just behind what the frontier passed, if known */
    uint64_t replay_mark;        /* serial of the last rewind that found a failure here */
    struct mb_position stored;   /* transactions: the last message that the sink has for good */
    struct mb_position staged;   /* of a commit that is being made ready */
    bool loaded;                 /* the sink has told stored, and knows that it is ours */
    bool let_go;                 /* …and that it is not any more */
    struct mb_scope *next;       /* list of the lane */
};

struct mb_dead_letter; /* core/router/dead_letter.h */

struct mb_entry {
    struct mb_message *message;
    struct mb_scope *scope;
    const struct mb_matches *matches;  /* of its stream's name; NULL: nobody asks */
    const struct mb_message *original; /* as it was before the route's steps; NULL: as it is */
    struct mb_slice *names; /* rendered names: outlets_count × MB_NAMES_MAX; NULL: all are fixed */
    uint64_t want;
    uint64_t sent;
    uint64_t done;
    uint64_t rejected;
    uint64_t attempted;
    uint64_t next_in_scope;
    struct mb_dead_letter *dead;
    struct mb_position destination; /* at the first sink */
    int64_t expires_ms;             /* monotonic; 0: never */
    uint32_t bytes;
    bool stale;    /* its scope is gone: neither sent again nor acknowledged */
    bool released; /* left to the next owner: neither sent nor acknowledged, nothing behind it is */
    uint8_t dropped; /* enum mb_drop (counters.h): done without having been sent */
    bool resolved;
    bool passed; /* the frontier is behind it */
    bool told;   /* acknowledged singly already */
    bool staged; /* confirmed within a transaction that is not committed */
};

struct mb_window {
    struct mb_entry *entries; /* capacity slots */
    uint64_t capacity;        /* grows up to max_messages */
    uint64_t to_slot;         /* what makes a sequence its slot, or one beyond the end */
    uint64_t max_messages;
    uint64_t max_bytes;
    uint64_t tail; /* oldest sequence in the ring */
    uint64_t head; /* next sequence */
    uint64_t bytes;
    struct mb_scope *scopes;
    struct mb_scope **by_id; /* the live scope of each id, as sources number them from 0 */
    uint32_t by_id_count;
    struct mb_message **pool; /* free messages, a stack */
    size_t pool_count;
    size_t pool_capacity;
    size_t pool_low;     /* the least pool_count since mb_window_rest */
    void *slabs;         /* what the pool's messages were allocated in */
    size_t message_size; /* what of a message is cleared (window.c) */
    struct mb_lane_arena arena;
    uint64_t replay_serial;
};

enum mb_status mb_window_init(struct mb_window *window, uint64_t max_messages, uint64_t max_bytes);
void mb_window_release(struct mb_window *window);

static inline uint64_t mb_window_count(const struct mb_window *window)
{
    return window->head - window->tail;
}

/* Of a sequence in the ring, or of the next one where there is room. */
static inline struct mb_entry *mb_window_at(const struct mb_window *window, uint64_t sequence)
{
    uint64_t slot = sequence + window->to_slot;

    assert(sequence - window->tail < window->capacity);
    return &window->entries[slot < window->capacity ? slot : slot - window->capacity];
}

/* Zeroed messages for a batch: fills messages[0 … count). MB_NO_MEMORY: none are taken. */
enum mb_status mb_window_take_messages(struct mb_window *window, struct mb_message **messages,
                                       size_t count);
void mb_window_give_messages(struct mb_window *window, struct mb_message **messages, size_t count);

/* Gives back to the system what was not needed since the last call, if no message is held now. For
 * a window that is_ample: a lane that has had a backlog does not keep its memory for ever. */
void mb_window_rest(struct mb_window *window);

static inline bool mb_window_is_ample(const struct mb_window *window)
{
    return window->pool_capacity > MB_WINDOW_KEPT;
}

/* Appends an entry for the message. *ret_entry is valid until the next push. */
enum mb_status mb_window_push(struct mb_window *window, struct mb_message *message,
                              struct mb_scope *scope, struct mb_entry **ret_entry);

/* Whether update could resolve an entry that was pushed and has not been sent yet. */
static inline bool mb_entry_is_settled_early(const struct mb_entry *entry)
{
    return entry->want == 0 || entry->done != 0 || entry->released;
}

/* Call after any bit of the entry changed: resolves it if it is so, and moves the frontier of its
 * scope (ack_token, ack_count, position). passed is called for each entry that the frontier passes,
 * in order. */
struct mb_passed {
    void (*passed)(void *context, struct mb_entry *entry);
    void *context;
};
void mb_window_update(struct mb_window *window, uint64_t sequence, const struct mb_passed *passed);

/* Lets go of what cannot be at any destination yet: of each scope (or `only`) the youngest entries
 * that were never sent, so that nothing that is acknowledged stands behind one. Returns how many.
 */
uint64_t mb_window_release_unsent(struct mb_window *window, struct mb_scope *only,
                                  const struct mb_passed *passed);

/* Drops resolved entries at the tail and their memory. */
void mb_window_trim(struct mb_window *window);

/* Marks every entry of the scope stale, and the scope GONE; returns how many entries were let go
 * that its frontier had not passed. */
uint64_t mb_window_forget(struct mb_window *window, struct mb_scope *scope,
                          const struct mb_passed *passed);

/* Clears the done bit of what has to be sent again to keep order: every entry from the sequence on
 * and below `until` whose scope has an earlier entry that the outlet failed. Returns the sequence
 * to go on from. */
uint64_t mb_window_rewind(struct mb_window *window, uint64_t bit, uint64_t until, bool ordered);

/* The live scope with that id, or NULL. */
struct mb_scope *mb_window_scope(const struct mb_window *window, uint32_t id);

/* A new scope at the front of the list. Copies stream and identity. */
enum mb_status mb_window_add_scope(struct mb_window *window, const struct mb_event *event,
                                   const struct mb_origin *base, struct mb_scope **ret_scope);

/* Frees the scopes that are gone and have no entries. */
void mb_window_sweep_scopes(struct mb_window *window);

#endif
