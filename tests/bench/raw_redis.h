/* SPDX-License-Identifier: Apache-2.0 */
/* What both ways to speak to Redis share. */
#ifndef MBRIDGE_BENCH_RAW_REDIS_H
#define MBRIDGE_BENCH_RAW_REDIS_H

#include "raw.h"

#define REDIS_NEARBY   2u /* requests on the way */
#define REDIS_BLOCK_MS "1000"
#define REDIS_GROUP    "raw"
#define REDIS_CONSUMER "one"

/* How many entries one request asks for, and how many requests are to be on the way. */
size_t redis_entries(const struct raw_spec *spec);
uint64_t redis_requests(const struct raw_spec *spec);

extern const struct raw_way raw_redis_client;
extern const struct raw_way raw_redis_bare;

#endif
