/* SPDX-License-Identifier: Apache-2.0 */
/* What has to hold of any message on its way through AMQP 1.0, for the test by seed and for the
 * fuzzer. */
#ifndef TESTS_UNIT_AMQP10_ROUND_H
#define TESTS_UNIT_AMQP10_ROUND_H

#include "backends/amqp10/amqp10_map.h"

#include <generate.h>

/*
 * A message of another platform, with options:
 *   projected, encoded and decoded it is the projection;
 *   with its sidecar restored it is the message;
 *   encoded once more for the same platform it has the same bare bytes, and by its fields the same
 *   meaning.
 * NULL: all of that held; else the sentence that did not.
 */
const char *amqp10_round(struct generator *generator);

/* Bytes that may be a message: decoded, encoded by fields and decoded again they are the same, and
 * the second encoding has the same bytes as the first. The arena needs
 * room for 128 times the bytes and 8 MiB more. */
const char *amqp10_round_bytes(struct mb_slice bytes, struct mb_arena *arena);

/* Frees what the two keep between calls. */
void amqp10_round_release(void);

#endif
