/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of a sink. A ring in the order of sending says what each reply is about; a target is a
 * node's connection. In a cluster there is one for every master, else one.
 */
#ifndef REDIS_SINK_H
#define REDIS_SINK_H

#include "redis.h"

enum redis_state { REDIS_STATE_FREE = 0, REDIS_STATE_OPEN, REDIS_STATE_STORED, REDIS_STATE_AGAIN };

struct redis_outstanding {
    uint64_t sequence;
    const struct mb_message *message;
    struct mb_slice stream;
    struct mb_position position;
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

struct redis_target {
    struct redis_client *client;
    uint32_t *expected; /* a ring */
    uint32_t expected_mask;
    uint32_t expected_first;
    uint32_t expected_count;
    uint32_t unwaited; /* XADDs since the last WAIT */
};

struct mb_sink {
    const struct mb_host *host;
    const struct redis_sink_options *options;
    struct redis_topology *topology;
    struct redis_target *links; /* by node; without a client where a node could not be reached */
    struct mb_carry carry;
    struct mb_scratch scratch; /* of the fields of one entry */
    struct mb_slice body_field;
    uint64_t value_max;
    uint64_t max_length;
    bool about;
    bool templated;
    bool redirecting; /* nothing new before what was redirected */
    bool unknown;     /* to a node that we have no connection with */
    bool blocked;
    bool was_blocked; /* what the core knows */
    int epoll;
    uint8_t asked[REDIS_SLOTS]; /* node + 1 that a slot is moving to; 0: none */
    uint32_t capacity;          /* of both rings, a power of two */
    uint32_t open_count;        /* sent, and not replied to */
    uint64_t head;
    uint64_t tail;
    struct redis_outstanding *ring;
    struct redis_done *done;
    uint64_t done_head;
    uint64_t done_tail;
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

/* Encodes an entry of the ring for the node that serves its slot. MB_REJECTED: it cannot be. */
enum mb_status redis_sink_transmit(struct mb_sink *sink, struct redis_outstanding *entry,
                                   uint64_t place, struct mb_error *err);
/* Puts WAIT behind what was buffered, and writes. MB_AGAIN: some remains. */
enum mb_status redis_sink_write_out(struct mb_sink *sink, struct mb_error *err);
enum mb_status redis_sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                               size_t *ret_taken, struct mb_error *err);
/* Reads what is there, and sends again what was redirected. */
enum mb_status redis_sink_take_input(struct mb_sink *sink, struct mb_error *err);

#endif
