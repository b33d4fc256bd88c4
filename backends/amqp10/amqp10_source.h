/* SPDX-License-Identifier: Apache-2.0 */
/* The source's parts: what was taken and waits for its outcome (amqp10_taken.c), and the operations
 * (amqp10_source.c). */
#ifndef AMQP10_SOURCE_H
#define AMQP10_SOURCE_H

#include "amqp10_guard.h"

#define AMQP10_WINDOW_MIN 64u

struct scope {
    const char *address;
    pn_link_t *link;
    struct mb_text part; /* of a message whose rest has not come */
    uint32_t epoch;
    bool started;
};

struct slot {
    struct amqp10_id delivery;
    bool is_used;
    bool is_open;        /* the broker waits for its outcome */
    uint32_t generation; /* the upper half of a token: a late acknowledgement finds another */
    uint32_t next_free;
    uint32_t scope;
};

struct mb_source {
    struct amqp10_client *client;
    struct amqp10_guard guard;
    const struct mb_host *host;
    bool subscribes; /* durably */
    bool announced;
    bool paused;
    bool polled;        /* since the last service */
    bool more;          /* the last poll ended at the batch's bounds */
    uint32_t credit;    /* a link */
    uint32_t ahead_max; /* of all links: what the broker may have sent without an answer */
    uint32_t slots_max;
    uint32_t slots_count; /* grows with what is under way */
    uint32_t slots_used;
    uint32_t first_free;
    uint32_t next_scope; /* which one poll begins with */
    struct slot *slots;
    uint32_t nameless_count; /* slots of deliveries whose numbers are not known yet */
    uint32_t nameless[AMQP10_WITHHELD_MAX];
    uint32_t scopes_count;
    struct scope scopes[];
};

/* Room for as many more, up to slots_max. false: out of memory. */
bool amqp10_taken_extend(struct mb_source *source);
/* The slot of a delivery that proton has handed out whole. Proton forgets it. */
uint32_t amqp10_taken_add(struct mb_source *source, pn_delivery_t *delivery, uint32_t scope);
/* Learns the numbers of what was added. To be called before anything of another session is. */
void amqp10_taken_name(struct mb_source *source);
enum mb_status amqp10_taken_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                struct mb_error *err);

#endif
