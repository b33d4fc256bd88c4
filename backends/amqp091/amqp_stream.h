/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RabbitMQ streams by AMQP 0-9-1: where they begin and end, and where a group stands.
 *
 * The protocol has no question for offsets. But a channel hands out all that is there before it
 * answers the next request, so a consumer and a request behind it tell.
 *
 * A group's position is one message in a durable queue of length 1, `mbridge.offset.GROUP.STREAM`:
 * "offset:43", the first that is not done. It is written with a confirm, and read without taking it
 * away.
 */
#ifndef AMQP_STREAM_H
#define AMQP_STREAM_H

#include "amqp.h"

/* Waiting calls, for open and describe. The channel is used up: consumers that were cancelled have
 * left unacknowledged messages on it. */

struct amqp_stream_ends {
    bool empty;
    uint64_t begin; /* of the first message */
    uint64_t end;   /* behind the last one */
};
enum mb_status amqp_stream_ends(struct amqp_client *client, unsigned channel, const char *queue,
                                int64_t deadline_ms, struct amqp_stream_ends *ret_ends,
                                struct mb_error *err);
/* The first message at or behind a place. MB_NOT_FOUND: there is none yet. */
enum mb_status amqp_stream_find(struct amqp_client *client, unsigned channel, const char *queue,
                                const struct amqp_stream_place *place, int64_t deadline_ms,
                                uint64_t *ret_offset, struct mb_error *err);

/* Whether a queue that is there is a stream: it is declared as one, on a channel to be opened. The
 * broker agrees, or closes the channel and names the first argument that differs; some may be a
 * stream's as well as another queue's. */
enum amqp_stream_answer { AMQP_STREAM_NO, AMQP_STREAM_YES, AMQP_STREAM_UNKNOWN };
void amqp_frame_stream_probe(struct amqp_writer *writer, unsigned channel, const char *queue);
enum amqp_stream_answer amqp_stream_judge(const char *refusal);

/* Where to begin by options: `start`, or a consumer argument. False: they speak of no stream. */
bool amqp_stream_start(const struct amqp_source_options *options,
                       struct amqp_stream_place *ret_place);

/* The positions of a group, on a connection of their own: a commit does not wait behind deliveries.
 */
struct amqp_store;

enum mb_status amqp_store_open(const struct mb_open_params *params, const char *group,
                               const char *const *queues, uint32_t count, int64_t deadline_ms,
                               struct amqp_store **ret_store, struct mb_error *err);
/* Its connection has a second channel, for the calls above. */
struct amqp_client *amqp_store_client(struct amqp_store *store);
/* What was stored when it was opened. False: nothing. */
bool amqp_store_next(const struct amqp_store *store, uint32_t queue, uint64_t *ret_next);
void amqp_store_note(struct amqp_store *store, uint32_t queue, uint64_t next);
/* As source commit: MB_AGAIN while one is under way. wait_ms > 0: until it is stored. */
enum mb_status amqp_store_commit(struct amqp_store *store, uint32_t wait_ms, struct mb_error *err);
/* *ret_stored: a commit has been stored since the last call. */
enum mb_status amqp_store_service(struct amqp_store *store, bool *ret_stored, struct mb_error *err);
void amqp_store_fds(const struct amqp_store *store, struct mb_wait *wait);
void amqp_store_close(struct amqp_store *store, uint32_t wait_ms);

/* The position that a group has stored, on any connection. MB_NOT_FOUND: none. */
enum mb_status amqp_store_read(struct amqp_client *client, unsigned channel, const char *group,
                               const char *queue, int64_t deadline_ms, uint64_t *ret_next,
                               struct mb_error *err);

#endif
