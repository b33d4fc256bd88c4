/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of the source: amqp_source.c (instance), amqp_follow.c (streams). */
#ifndef AMQP_SOURCE_H
#define AMQP_SOURCE_H

#include "amqp_stream.h"

struct amqp_scope {
    const char *queue;
    const char *stream; /* the name that the core knows it by */
    uint32_t epoch;
    bool started;
    bool looked_at; /* its first delivery */
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
    bool polled; /* since the last service */
    bool more;   /* the last poll ended at the batch's bounds */
    uint32_t scopes_count;
    struct amqp_scope scopes[];
};

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
