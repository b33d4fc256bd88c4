/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scripted broker with a source and a sink, for tests of the lane: what it does is drawn from a
 * seed. Its source checks whatever the lane acknowledges.
 */
#ifndef MBRIDGE_TEST_SCRIPTED_BROKER_H
#define MBRIDGE_TEST_SCRIPTED_BROKER_H

#include <mbridge/backend.h>

#define SCOPES           3u
#define MESSAGES_A_SCOPE 400u

/* What is outside the bridge: the brokers. */
struct world {
    uint64_t random;
    bool ordered_acks;
    bool faults; /* connections break, sinks refuse, scopes are revoked */
    bool poison; /* one message in 97 can never be carried */
    uint32_t epoch[SCOPES];
    uint64_t acked[SCOPES]; /* tokens below it are acknowledged (ordered) */
    bool single[SCOPES][MESSAGES_A_SCOPE];
    uint32_t durable[SCOPES][MESSAGES_A_SCOPE]; /* how often it arrived */
    uint64_t last_position[SCOPES][MESSAGES_A_SCOPE];
    bool buried[SCOPES][MESSAGES_A_SCOPE];
    uint64_t position;
    bool sink_died;
    struct mb_source *source;
};

/* The backend's ops have no user pointer of ours but the options: one world a test process. */
extern struct world world;

/* The backend "scripted". The bool option "dead" of its sink makes it the dead-letter sink. */
extern const struct mb_backend scripted;

uint64_t random_below(uint64_t bound);

/* The message is durable at the sink, or in the dead letters. */
bool is_safe(uint32_t scope, uint64_t token);

#endif
