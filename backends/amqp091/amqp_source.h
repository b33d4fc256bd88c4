/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of the source: amqp_source.c (instance), amqp_acks.c, amqp_follow.c (streams).
 */
#ifndef AMQP_SOURCE_H
#define AMQP_SOURCE_H

#include "amqp_stream.h"

struct amqp_scope {
    const char *queue;
    const char *stream; /* the name that the core knows it by */
    uint32_t epoch;
    bool started;
    bool looked_at; /* its first delivery */
    /* Acknowledgements that wait to be written: so many, the last one's token, and what they say.
     */
    uint32_t gathered;
    enum mb_outcome gathered_outcome;
    uint64_t gathered_token;
    /* Of a stream. */
    uint64_t from;  /* the first message to hand out */
    bool was_empty; /* when it was looked at: its first message tells whether it is a new one */
    bool lost;      /* messages were gone before they could be read … */
    uint64_t lost_count; /* … so many; 0: not known */
    uint64_t next;       /* what should come next; 0: anything may */
    uint64_t looked_end; /* its end when its begin was looked at … */
    int64_t looked_ms;   /* … and when that was */
    uint64_t acked_token;
    uint64_t commit_token; /* what is on its way to be stored covers it */
};

struct mb_source {
    struct amqp_client *client;
    const struct mb_host *host;
    const struct amqp_source_options *options;
    struct amqp_store *store; /* of streams, else NULL */
    uint32_t probed; /* scope + 1 that may be a stream, which the broker is being asked; else 0 */
    bool announced;
    bool paused;
    bool polled;             /* since the last service */
    bool more;               /* the last poll ended at the batch's bounds */
    bool has_gathered;       /* acknowledgements, in any scope */
    bool is_paced;           /* the prefetch leaves room for it (amqp_pace.c) */
    uint32_t gather_max;     /* of a scope */
    int64_t gather_until_ms; /* then they are written */
    uint32_t scopes_count;
    struct amqp_scope scopes[];
};

/* Acknowledgements (amqp_acks.c). prefetch: of each scope. */
void amqp_acks_init(struct mb_source *source, unsigned prefetch);
/* What has been gathered long enough. */
enum mb_status amqp_acks_service(struct mb_source *source, struct mb_error *err);
/* All that is gathered. */
enum mb_status amqp_acks_write(struct mb_source *source, struct mb_error *err);
/* The operation ack of the source. */
enum mb_status amqp_source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                               struct mb_error *err);

/* Opens the store of positions and finds where the group goes on in each stream. */
enum mb_status amqp_streams_open(struct mb_source *source, const struct mb_open_params *params,
                                 const char *group, const struct amqp_stream_place *start,
                                 const char *const *queues, int64_t deadline_ms,
                                 struct mb_error *err);
void amqp_start_stream(struct mb_source *source, uint32_t at, struct mb_position position,
                       struct amqp_writer *writer);
void amqp_tell_loss(struct mb_source *source, const struct amqp_scope *scope);
/* All scopes: what was acknowledged when the commit began is stored. */
void amqp_tell_committed(struct mb_source *source);
enum mb_status amqp_check_offset(struct mb_source *source, struct amqp_scope *scope,
                                 const struct mb_message *message, struct mb_error *err);

/* Queues that may be streams. MB_AGAIN: the delivery has been put aside. */
enum mb_status amqp_suspect(struct mb_source *source, const struct amqp_event *event,
                            struct mb_error *err);
enum mb_status amqp_judge(struct mb_source *source, const struct amqp_event *event,
                          struct mb_error *err);

#endif
