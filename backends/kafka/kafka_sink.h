/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the producer share: kafka_sink.c has its life, kafka_send.c its messages. */
#ifndef MBRIDGE_KAFKA_SINK_H
#define MBRIDGE_KAFKA_SINK_H

#include "kafka.h"

#define KAFKA_SLOTS_CHUNK      1024u
#define KAFKA_REFUSED_MAX      32u
#define KAFKA_RECORD_OVERHEAD  1024
#define KAFKA_RECORD_BYTES_MAX 1048588 /* a topic's limit where nothing is said */
#define KAFKA_SIDECAR_BYTES    (256u * 1024)

/* What the library carries through for each record. The partitioner, which may run on a thread of
 * the library, reads the message through it. */
struct kafka_sent {
    uint64_t sequence;
    const struct mb_message *message;
    struct kafka_sent *next; /* of the free ones */
    bool unfit;              /* `preserve`, and the topic has no partition of that number */
};

struct kafka_sent_chunk {
    struct kafka_sent_chunk *next;
    struct kafka_sent items[KAFKA_SLOTS_CHUNK];
};

/* What did not come into the library's hands. */
struct kafka_refused {
    struct mb_completion completion;
    char reason[MB_REASON_SIZE];
    char text[MB_ERROR_TEXT_SIZE];
};

struct kafka_transaction;
struct kafka_flusher;

struct mb_sink {
    struct kafka_client client;
    const struct mb_host *host;
    const struct kafka_sink_options *options;
    bool templated;
    bool healthy;
    bool alone_armed;    /* the record in flight went alone */
    uint32_t alone_left; /* records that are still to go alone */
    uint64_t in_flight;
    struct kafka_sent_chunk *chunks;
    struct kafka_sent *free;
    struct kafka_topics topics;
    struct mb_carry carry;
    struct kafka_projection projection;    /* carry's context */
    int64_t record_bytes_max;              /* of the topic */
    rd_kafka_event_t *reports;             /* of which not all have been read */
    struct kafka_transaction *transaction; /* NULL: at least once */
    struct kafka_flusher *flusher;         /* NULL: it was of no use yet */
    int64_t linger_since_ms;               /* one linger begins */
    uint64_t linger_sent;                  /* in it */
    uint64_t linger_sent_before;           /* in the one before */
    struct kafka_refused refused[KAFKA_REFUSED_MAX];
    size_t refused_at;
    size_t refused_count;
};

/* Any thread: where a record belongs. */
int32_t kafka_partitioner(const rd_kafka_topic_t *topic, const void *key, size_t key_size,
                          int32_t count, void *topic_opaque, void *message_opaque);

/* Sends one message. MB_AGAIN: it was not taken. */
enum mb_status kafka_send(struct mb_sink *sink, const struct mb_outgoing *item);

/* The completion of a report; the record's slot is free afterwards. */
void kafka_send_report(struct mb_sink *sink, const rd_kafka_message_t *report,
                       struct mb_completion *completion);

/* Forgets about a record without a completion. */
void kafka_sent_forget(struct mb_sink *sink, const rd_kafka_message_t *report);

void kafka_sent_release(struct mb_sink *sink);

/* ---- kafka_flush.c ---- */

/* What is sent goes out without a linger; returns at once. */
void kafka_flush_soon(struct mb_sink *sink);

/* Before the client is destroyed. */
void kafka_flush_end(struct mb_sink *sink);

/* ---- kafka_transaction.c ---- */

/* Effectively once: names the producer. The rest of the calls is for such a sink. */
enum mb_status kafka_transaction_create(struct mb_sink *sink, const struct mb_open_params *params,
                                        struct mb_error *err);
void kafka_transaction_destroy(struct mb_sink *sink); /* NULL allowed */
enum mb_status kafka_transaction_configure(const struct mb_sink *sink, rd_kafka_conf_t *conf,
                                           struct mb_error *err);

/* The client is connected: fences off and aborts what had the same name. */
enum mb_status kafka_transaction_init(struct mb_sink *sink, int64_t deadline_ms,
                                      struct mb_error *err);

/* Any sink. true: the report is about a position, and was noted. */
bool kafka_transaction_report(struct mb_sink *sink, const rd_kafka_message_t *report);

enum mb_status kafka_sink_begin(struct mb_sink *sink, struct mb_error *err);
enum mb_status kafka_sink_positions(struct mb_sink *sink, const char *group,
                                    const struct mb_stored_position *positions, size_t count,
                                    struct mb_error *err);
enum mb_status kafka_sink_commit(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err);
enum mb_status kafka_sink_abort(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err);
enum mb_status kafka_sink_load_positions(struct mb_sink *sink, const char *group,
                                         struct mb_stored_position *positions, size_t count,
                                         uint32_t timeout_ms, struct mb_error *err);

#endif
