/* SPDX-License-Identifier: Apache-2.0 */
/* A backend around another one, with a fault. */
#ifndef DECORATOR_H
#define DECORATOR_H

#include <mbridge/backend.h>

enum decorator_fault {
    /* The sink … */
    FAULT_EARLY_ACK,       /* confirms what it has not even sent yet */
    FAULT_IGNORE_FAILURES, /* confirms what was refused */
    FAULT_DROP,            /* confirms, and never sends, one message in DROP_EVERY */
    FAULT_BLACK_HOLE,      /* confirms, and never sends, any */
    FAULT_SWAP,            /* sends two messages of a key in the wrong order now and then */
    FAULT_CORRUPT,         /* changes a byte of the body now and then */
    FAULT_DROP_HEADER,     /* leaves out the headers now and then */
    FAULT_KEYLESS,         /* leaves out the key now and then */
    FAULT_DENY,            /* calls a message refused, now and then, that was confirmed */
    FAULT_FORGET_RESULT,   /* does not tell a result now and then */
    /* The source … */
    FAULT_ACK_AT_POLL,  /* acknowledges what it hands out */
    FAULT_ACK_NEWEST,   /* acknowledges, with any message, all that it has handed out */
    FAULT_ACK_AT_CLOSE, /* acknowledges, when it is closed, all that it has handed out */
    FAULT_FORGET_SCOPE  /* acknowledges nothing of the first scope */
};

/* decorator_fault.c: what this module is. */
extern const enum decorator_fault decorator_fault;
extern const char *const decorator_inner; /* the path of the real module */

#define DROP_EVERY        997u
#define SWAP_EVERY        499u
#define SWAP_DISTANCE_MAX 64u
#define CHANGED_MAX       256u

struct memory_record;

/* Copies that were changed, for as long as the sink may need them: after CHANGED_MAX of them the
 * fault is over. */
struct changed {
    struct memory_record *records[CHANGED_MAX];
    unsigned char *bodies[CHANGED_MAX];
    size_t count;
};

struct early; /* what early_ack has confirmed and not sent */

struct mb_sink {
    const struct mb_sink_ops *ops; /* the inner ones */
    struct mb_sink *inner;
    const struct mb_host *host;
    uint64_t count;
    uint64_t dropped[64]; /* sequences to confirm */
    size_t dropped_count;
    uint64_t results;
    struct changed changed;
    struct early *early;
};

/* decorator_source.c */
bool source_has_fault(void);
/* The inner operations with the fault around them, in *space. */
const struct mb_source_ops *source_decorate(const struct mb_source_ops *inner,
                                            struct mb_source_ops *space);

/* decorator_change.c */
/* Makes item one with a changed message; leaves it where there is no memory, or no more room. */
void change(struct changed *changed, struct mb_outgoing *item);
void changed_destroy(struct changed *changed);

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
