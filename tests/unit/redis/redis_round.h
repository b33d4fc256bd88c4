/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The properties of the map, for tests by seed and for the fuzzer: what is written is read back as
 * the natural message says, and with its sidecar as the message was; an entry that goes on to Redis
 * is the same entry.
 */
#ifndef TESTS_UNIT_REDIS_ROUND_H
#define TESTS_UNIT_REDIS_ROUND_H

#include "backends/redis/redis_map.h"
#include "backends/redis/redis_resp.h"

struct redis_round {
    struct mb_host host;
    struct mb_carry carry;
    struct mb_carry any; /* by the way that takes any message */
    struct mb_slice body_field;
    struct mb_scratch scratch; /* of what is read */
    uint64_t degraded;         /* as told by the last message */
    unsigned warnings;
};

void redis_round_init(struct redis_round *round);
void redis_round_release(struct redis_round *round);

/* Reads an entry as the source does; the fields live on. */
void redis_round_read(struct redis_round *round, const struct redis_field *fields, size_t count,
                      struct mb_message *ret_message);
/* Writes message as the sink does. The fields live until the next one. */
enum mb_status redis_round_write(struct redis_round *round, const struct mb_message *message,
                                 struct redis_field **ret_fields, size_t *ret_count,
                                 struct mb_error *err);

/* message, of whatever platform, into an entry and back; then on to another stream. NULL, or which
 * property is broken. A message that cannot be an entry keeps them all. */
const char *redis_round_trip(struct redis_round *round, const struct mb_message *message);
/* Both ways of writing message, of another platform, come to the same. NULL, or what is broken. */
const char *redis_round_ways(struct redis_round *round, const struct mb_message *message);
/* An entry, read and written. */
const char *redis_round_entry(struct redis_round *round, const struct redis_field *fields,
                              size_t count);

#endif
