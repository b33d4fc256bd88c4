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
    uint64_t flight[HAND_SENT_MAX]; /* of the open instance: not completed */
    size_t flight_count;
    bool is_lost; /* the instance ends at its next service */
};

/* Sink 0 as one with transactions (hand_transaction.c). */
struct hand_store {
    uint64_t traits; /* of all sinks */
    bool in_transaction;
    uint32_t begins;
    uint32_t commits; /* that went well */
    uint32_t aborts;
    uint32_t loads;
    uint32_t committed_count;     /* of sent: for good */
    enum mb_status commit_status; /* what the next commit answers */
    bool commit_applies;          /* although it answered something else */
    enum mb_status load_status;
    bool refuses_next; /* the next completion says so: DESTINATION */
    size_t positions_count;
    struct {
        char stream[64];
        struct mb_position position;
        struct mb_position pending;
        uint32_t flags;
    } positions[HAND_STREAMS_MAX];
};

struct hand {
    struct hand_input inputs[HAND_INPUTS_MAX];
    uint32_t inputs_count;
    struct hand_sink sinks[HAND_SINKS_MAX];
    struct hand_store store;

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
    bool revokes;   /* scope 0, at the next service */
    uint32_t source_stops;
    uint32_t polls;
    char group[64];                    /* of the last open */
    const struct mb_host *source_host; /* NULL: none is open */
};

extern struct hand hand;

enum mb_status hand_sink_begin(struct mb_sink *sink, struct mb_error *err);
enum mb_status hand_sink_positions(struct mb_sink *sink, const char *group,
                                   const struct mb_stored_position *positions, size_t count,
                                   struct mb_error *err);
enum mb_status hand_sink_commit(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err);
enum mb_status hand_sink_abort(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err);
enum mb_status hand_sink_load_positions(struct mb_sink *sink, const char *group,
                                        struct mb_stored_position *positions, size_t count,
                                        uint32_t timeout_ms, struct mb_error *err);

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
