/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of a sink. A ring in the order of sending says what each reply is about; a target is a
 * node's connection. In a cluster there is one for every master, else one.
 */
#ifndef REDIS_SINK_H
#define REDIS_SINK_H

#include "redis.h"

#include <kit/hash.h>

enum redis_state { REDIS_STATE_FREE = 0, REDIS_STATE_OPEN, REDIS_STATE_STORED, REDIS_STATE_AGAIN };

struct redis_outstanding {
    uint64_t sequence;
    const struct mb_message *message;
    struct mb_slice stream;
    struct mb_position position;
    struct mb_position before; /* effectively once: must be stored first, unless NONE */
    uint32_t chain;            /* effectively once: what it belongs to */
    uint16_t slot;
    uint8_t node;
    uint8_t state; /* enum redis_state */
};

struct redis_done {
    uint64_t sequence;
    struct mb_position position;
    enum mb_cause cause;
    const char *reason;
};

/* What a reply is about: the place of an entry, or one of these. */
#define REDIS_EXPECT_WAIT   UINT32_MAX
#define REDIS_EXPECT_ASKING (UINT32_MAX - 1)
#define REDIS_EXPECT_SCRIPT (UINT32_MAX - 2)
/* A transaction's beginning; its end, behind which stand the place of its first entry and how many
 * they are; a beginning that was taken back. */
#define REDIS_EXPECT_MULTI   (UINT32_MAX - 3)
#define REDIS_EXPECT_EXEC    (UINT32_MAX - 4)
#define REDIS_EXPECT_NOTHING (UINT32_MAX - 5)

struct redis_once;

struct redis_multi {
    /* The one that is being written. */
    bool open;
    bool is_next;   /* nothing before it, and nothing of it, was left to write, or is written */
    uint32_t slot;  /* of its beginning among what is expected */
    uint32_t first; /* place */
    uint32_t count;
    uint32_t seen; /* count, the last time that somebody looked */
    size_t bytes;
    /* The one that is being answered. */
    bool is_queueing;
    bool is_refused;
    uint32_t answer_at; /* place; those behind it follow */
    uint32_t answers_left;
};

/* For one entry: beginning, itself, end with two more, WAIT, ASKING. */
#define REDIS_EXPECTED_EACH 8u

struct redis_target {
    struct redis_client *client;
    uint32_t *expected; /* a ring */
    uint32_t expected_mask;
    uint32_t expected_first;
    uint32_t expected_count;
    struct redis_multi multi;
    uint32_t unwaited;   /* XADDs since the last WAIT */
    bool script_missing; /* the server has forgotten the script of effectively once */
};

#define REDIS_HEAD_MAX 512u

struct mb_sink {
    const struct mb_host *host;
    const struct redis_sink_options *options;
    struct redis_topology *topology;
    struct redis_target *links; /* by node; without a client where a node could not be reached */
    struct redis_once *once;    /* NULL: at least once */
    struct mb_carry carry;
    struct mb_scratch scratch; /* of the fields of one entry */
    struct mb_slice body_field;
    uint64_t value_max;
    struct redis_stem stem; /* of the last ID */
    /* XADD's arguments between stream and fields, as they go over the wire. */
    unsigned char trim[96];
    size_t trim_size;
    size_t trim_count;
    /* "XADD", the last stream's name and trim, as they go over the wire; size 0: none yet. */
    unsigned char head_text[REDIS_HEAD_MAX];
    size_t head_size;
    struct mb_slice head_stream; /* within it */
    bool full;                   /* enough is buffered to be written, or the socket is full */
    bool templated;
    bool redirecting;        /* nothing new before what was redirected */
    int64_t single_until_ms; /* no transactions before; 0: they may be */
    bool unknown;            /* to a node that we have no connection with */
    bool blocked;
    bool was_blocked; /* what the core knows */
    int epoll;
    uint8_t *asked;      /* cluster: node + 1 that a slot is moving to; 0: none */
    uint32_t capacity;   /* of both rings, a power of two */
    uint32_t open_count; /* sent, and not replied to */
    uint64_t head;
    uint64_t tail;
    struct redis_outstanding *ring;
    struct redis_done *done;
    uint64_t done_head;
    uint64_t done_tail;
    uint32_t refusals; /* among done: the core has to know of them before it sends more */
    char text[MB_ERROR_TEXT_SIZE]; /* of the last refusal */
    char reason[MB_REASON_SIZE];
};

static inline struct redis_outstanding *redis_at_place(struct mb_sink *sink, uint64_t place)
{
    return &sink->ring[place & (sink->capacity - 1)];
}

static inline void redis_push_done(struct mb_sink *sink, uint64_t sequence, enum mb_cause cause,
                                   const char *reason, struct mb_position position)
{
    sink->done[sink->done_tail++ & (sink->capacity - 1)] =
        (struct redis_done){sequence, position, cause, reason};
    sink->refusals += cause != MB_CAUSE_NONE;
}

static inline void redis_refuse_item(struct mb_sink *sink, uint64_t sequence, enum mb_cause cause,
                                     const char *reason, const char *text)
{
    snprintf(sink->text, sizeof sink->text, "%s", text);
    redis_push_done(sink, sequence, cause, reason, (struct mb_position){0});
}

static inline void redis_expect(struct redis_target *link, uint32_t what)
{
    if (link->expected_count == 0)
        link->client->asked_ms = redis_now_ms(link->client->host);
    link->expected[(link->expected_first + link->expected_count++) & link->expected_mask] = what;
}

static inline bool redis_is_awaiting(const struct redis_target *link)
{
    return link->expected_count > 0 || link->multi.answers_left > 0;
}

/* What the next reply is about. */
static inline uint32_t redis_expected(struct redis_target *link)
{
    uint32_t what = link->expected[link->expected_first & link->expected_mask];

    link->expected_first++;
    /* No more of the ring is touched than is in use. */
    if (--link->expected_count == 0)
        link->expected_first = 0;
    return what;
}

/* Transactions (redis_multi.c). */

/* Before an entry is encoded that goes to that place, the next one: begins one, if none is open and
 * it makes sense. */
void redis_multi_begin(struct mb_sink *sink, struct redis_target *link, uint32_t place);
/* An entry of so many bytes has been encoded. */
void redis_multi_added(const struct mb_sink *sink, struct redis_target *link, size_t bytes);
void redis_multi_end(struct redis_target *link);
/* Ends one to which nothing was added since the last call. true: there was, nothing of it is
 * written, and it may wait for more. */
bool redis_multi_grows(struct redis_target *link);
/* The answers to MULTI and to EXEC; false: they are none. */
bool redis_multi_began(struct mb_sink *sink, struct redis_target *link,
                       const struct redis_token *token);
bool redis_multi_ended(struct mb_sink *sink, struct redis_target *link,
                       const struct redis_token *token);

/* Effectively once (redis_once.c). */

enum mb_status redis_once_create(const struct mb_open_params *params, struct redis_once **ret_once,
                                 struct mb_error *err);
void redis_once_destroy(struct redis_once *once);
/* Gives the server the script. Blocking. */
enum mb_status redis_once_load(struct redis_once *once, struct redis_client *client,
                               int64_t deadline_ms, struct mb_error *err);
/* The same in the pipeline: answered with a bulk string. */
void redis_once_put_load(struct redis_out *out);
/* Fills in the entry's chain and what goes before it. MB_AGAIN: not before something completes.
 * MB_REJECTED: the message has no position. */
enum mb_status redis_once_admit(struct redis_once *once, struct redis_outstanding *entry,
                                struct mb_error *err);
/* The entry is under way, once; and is done with, whatever became of it. */
void redis_once_sent(struct redis_once *once, const struct redis_outstanding *entry);
void redis_once_done(struct redis_once *once, const struct redis_outstanding *entry);
/* The script in front of arguments_count arguments of XADD behind its key. */
void redis_once_put_head(const struct redis_once *once, struct redis_out *out,
                         const struct redis_outstanding *entry, size_t arguments_count);
/* Takes note of what was stored, or had been before. false: that cannot be right, err says why. */
bool redis_once_repeats(struct redis_once *once, const struct redis_outstanding *entry,
                        bool is_repeat, struct mb_error *err);
/* An error reply: what goes before the entry is not stored. */
bool redis_once_is_gap(struct mb_slice text);
/* Arguments of XADD that the script can pass on. */
#define REDIS_ONCE_ARGUMENTS_MAX 7000u

/* An entry is done with: its place is free. */
static inline void redis_close_entry(struct mb_sink *sink, struct redis_outstanding *entry)
{
    entry->state = REDIS_STATE_FREE;
    if (sink->once != NULL)
        redis_once_done(sink->once, entry);
}

/* length 0: streams are not trimmed. */
void redis_sink_set_trim(struct mb_sink *sink, bool about, uint64_t length);
/* Encodes an entry of the ring for the node that serves its slot; is_new: for the first time.
 * MB_REJECTED: it cannot be. */
enum mb_status redis_sink_transmit(struct mb_sink *sink, struct redis_outstanding *entry,
                                   uint64_t place, bool is_new, struct mb_error *err);
/* Puts WAIT behind what was buffered, and writes. MB_AGAIN: some remains. */
enum mb_status redis_sink_write_out(struct mb_sink *sink, struct mb_error *err);
enum mb_status redis_sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                               size_t *ret_taken, struct mb_error *err);
/* Reads what is there, and sends again what was redirected. */
enum mb_status redis_sink_take_input(struct mb_sink *sink, struct mb_error *err);

#endif
