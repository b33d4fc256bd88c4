/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The properties of the map, for tests by seed and for the fuzzer: what is written is read back as
 * the natural message says, and with its sidecar as the message was.
 */
#ifndef TESTS_UNIT_KAFKA_ROUND_H
#define TESTS_UNIT_KAFKA_ROUND_H

#include "backends/kafka/kafka.h"

struct kafka_round {
    struct mb_host host;
    struct mb_carry carry;
    struct kafka_projection projection;
    struct mb_scratch scratch; /* of what is read */
    uint64_t degraded;         /* as told by the last message */
    unsigned warnings;
};

void kafka_round_init(struct kafka_round *round);
void kafka_round_release(struct kafka_round *round);

/* Reads a record back, as if it came from topic t, into memory of the scratch. */
void kafka_round_read(struct kafka_round *round, const struct kafka_outgoing *outgoing,
                      struct mb_message *ret_message);

/* message, of whatever platform, into a record and back; then on to another topic. NULL, or which
 * property is broken. A message that cannot be a record keeps them all. */
const char *kafka_round_trip(struct kafka_round *round, const struct mb_message *message);

#endif
