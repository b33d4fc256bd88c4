/* SPDX-License-Identifier: Apache-2.0 */
/* Where the two ways to speak AMQP 1.0 differ: how a message is encoded and decoded. */
#ifndef MBRIDGE_BENCH_RAW_AMQP10_H
#define MBRIDGE_BENCH_RAW_AMQP10_H

#include "raw.h"

#include <proton/link.h>
#include <proton/types.h>

#define AMQP10_MESSAGE_MAX (RAW_SIZE_MAX + (64u << 10))

struct amqp10_coder {
    /* Into the link's current delivery; advances it. */
    void (*send)(pn_link_t *link, const struct raw_spec *spec, char *body, uint64_t number);
    /* The bytes of a whole delivery: where its body is. */
    pn_bytes_t (*body)(pn_bytes_t message);
};

extern const struct amqp10_coder amqp10_client;
extern const struct amqp10_coder amqp10_bare;

#endif
