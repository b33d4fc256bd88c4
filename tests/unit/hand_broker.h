/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broker that a test drives by hand, and one lane over it with a virtual clock. What goes in is a
 * list of messages; what comes out is a list for each sink. One broker a test process; two backends
 * of it, "hand" and "other", are two platforms.
 *
 *   endpoint  broker = "…"
 *   source    stream = "…" or streams = ( … ), patterns allowed; group
 *   sink      stream = template; number = which of hand.sinks it is
 */
#ifndef MBRIDGE_TEST_HAND_BROKER_H
#define MBRIDGE_TEST_HAND_BROKER_H

#include "core/router/lane.h"

#define HAND_INPUTS_MAX  2048u
#define HAND_SENT_MAX    2048u
#define HAND_SINKS_MAX   4u
#define HAND_STREAMS_MAX 64u

struct hand_input {
    const char *stream;
    struct mb_message message;
    bool taken;
    bool acked;
};

struct hand_sent {
    struct mb_message message; /* what it points to may be gone */
    char stream[64];
    char body[64];
    char key[64];
};

struct hand_sink {
    bool is_full; /* takes nothing */
    bool is_slow; /* confirms nothing */
    uint32_t opens;
    uint8_t provenance; /* of the last open */
    bool strict;
    const struct mb_host *host; /* of the open instance; NULL: none is */
    uint32_t sent_count;
    struct hand_sent sent[HAND_SENT_MAX];
};

struct hand {
    struct hand_input inputs[HAND_INPUTS_MAX];
    uint32_t inputs_count;
    struct hand_sink sinks[HAND_SINKS_MAX];

    const char *listed[HAND_STREAMS_MAX]; /* what the describer lists; NULL ends it */
    const char *identity;
    enum mb_status identity_status;
    enum mb_cause identity_cause;
    uint32_t identity_asked;

    uint64_t traits;    /* of the source */
    bool takes_streams; /* it has the operation streams */
    uint32_t source_opens;
    uint32_t streams_calls;
    uint32_t loses; /* messages: told as an event at the next service */
    uint32_t polls;
    char group[64];                    /* of the last open */
    const struct mb_host *source_host; /* NULL: none is open */
};

extern struct hand hand;

struct hand_bench {
    struct mb_registry *registry;
    struct mb_logger logger;
    struct mb_lane_env env;
    struct mb_config *config;
    struct mb_counters counters;
    struct mb_lane *lane;
    int64_t now_ms;
};

/* A clean broker whose describer has the identity "here". */
void hand_begin(void);

/* A bridge with the endpoints a ("hand"), b ("other") and c ("hand", another broker), and the one
 * route whose members are given; a lane of it, not stepped yet. hand_begin comes before. */
void hand_open(struct hand_bench *bench, const char *route);

/* Steps the lane, one virtual millisecond a step. */
void hand_step(struct hand_bench *bench, unsigned steps);

/* Stops the lane, checks that every message is accounted for, and frees everything. */
void hand_close(struct hand_bench *bench);

/* Appends an input; the message may be changed before it is taken. */
struct mb_message *hand_put(const char *stream, const char *body);

static inline uint64_t hand_count(const mb_counter *counter)
{
    return mb_counter_get(counter);
}

#endif
