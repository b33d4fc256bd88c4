/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Positions: where in a scope a message stands. A scope is whatever orders and acknowledges on its
 * own: a Kafka partition, an AMQP 0-9-1 channel, an AMQP 1.0 link, a Redis stream.
 *
 * A position is a plain value: copied, compared with (hi, lo) within its scope, and written as text
 * by the kit ("offset:42", "id:1700000000000-3").
 */
#ifndef MBRIDGE_POSITION_H
#define MBRIDGE_POSITION_H

#include <stdint.h>

enum mb_position_kind {
    MB_POSITION_NONE = 0,   /* the platform has none (queues), or it is not known */
    MB_POSITION_OFFSET = 1, /* lo: Kafka offset, RabbitMQ stream offset */
    MB_POSITION_ID = 2,     /* hi-lo: Redis entry ID, milliseconds and sequence */
    MB_POSITION_STORED = 3, /* asks a source to go on from what its group has stored */
    MB_POSITION_BEGIN = 4,
    MB_POSITION_END = 5,
    MB_POSITION_TIME = 6 /* lo: milliseconds since the epoch: the first message at or after it */
};

struct mb_position {
    uint32_t kind; /* enum mb_position_kind */
    uint32_t reserved;
    uint64_t hi;
    uint64_t lo;
};

#endif
