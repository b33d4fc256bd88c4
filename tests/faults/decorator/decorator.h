/* SPDX-License-Identifier: Apache-2.0 */
/* A backend around another one, with a fault. */
#ifndef DECORATOR_H
#define DECORATOR_H

#include <mbridge/backend.h>

enum decorator_fault {
    FAULT_EARLY_ACK,       /* the sink confirms what it has not even sent yet */
    FAULT_IGNORE_FAILURES, /* the sink confirms what was refused */
    FAULT_DROP,            /* the sink confirms, and never sends, one message in DROP_EVERY */
    FAULT_SWAP,       /* the sink sends two messages of a key in the wrong order now and then */
    FAULT_ACK_AT_POLL /* the source acknowledges what it hands out */
};

#define DROP_EVERY        997u
#define SWAP_EVERY        499u
#define SWAP_DISTANCE_MAX 64u

struct early; /* what early_ack has confirmed and not sent */

struct mb_sink {
    const struct mb_sink_ops *ops; /* the inner ones */
    struct mb_sink *inner;
    const struct mb_host *host;
    uint64_t count;
    uint64_t dropped[64]; /* sequences to confirm */
    size_t dropped_count;
    struct early *early;
};

/* decorator_early.c */
struct early *early_create(const struct mb_open_params *params);
void early_destroy(struct early *early); /* NULL allowed */
enum mb_status early_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                          size_t *ret_taken);
enum mb_status early_completions(struct mb_sink *sink, struct mb_completion *completions,
                                 size_t max, size_t *ret_count, struct mb_error *err);
enum mb_status early_service(struct mb_sink *sink, struct mb_error *err);
void early_fds(struct mb_sink *sink, struct mb_wait *wait);

#endif
