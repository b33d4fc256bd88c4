/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Positions of sources in a topic of the destination, so that one transaction writes messages and
 * how far they go.
 *
 * A record a scope: its key names group, stream and partition, its value the position of the last
 * message done and the owner: the instance whose scope it is, "BIRTH TRANSACTIONAL.ID" with the
 * time of its open, since the next instance takes the same id. The last record of a key counts, so
 * the topic is compacted. A group's records are all in one partition, which its name decides: of
 * the first KAFKA_STORE_PARTITIONS, so that more may be added.
 *
 * Besides each instance writes a record under its transactional.id when it is opened: owners of
 * that id from before are gone, and need not be fenced off, which would hit the new one.
 */
#ifndef MBRIDGE_KAFKA_STORE_H
#define MBRIDGE_KAFKA_STORE_H

#include "kafka_sink.h"

#define KAFKA_STORE_PARTITIONS 8
#define KAFKA_OWNER_SIZE       512u
#define KAFKA_STORE_BYTES_MAX  (64u << 20)

/* ---- records: pure (kafka_stored.c) ---- */

/* "GROUP/STREAM/PARTITION", with %XX for what is neither a letter, a digit, nor one of ._- */
void kafka_stored_key(struct mb_text *text, const char *group,
                      const struct mb_stored_position *stored);

/* "/TRANSACTIONAL.ID", the key of what an instance tells of itself. */
void kafka_stored_instance(struct mb_text *text, const char *writer);

/* "1 POSITION OWNER"; owner "": nobody has the scope now. */
void kafka_stored_value(struct mb_text *text, struct mb_position position, const char *owner);

/* MB_UNSUPPORTED: of another version. MB_INVALID: not of the bridge. A null value: NONE, "". */
enum mb_status kafka_stored_parse(struct mb_slice value, struct mb_position *ret_position,
                                  char *owner, size_t size);

/* The transactional.id of an owner; "" for none. */
const char *kafka_stored_writer(const char *owner);

int32_t kafka_stored_partition(const char *group);

/* ---- transactions (kafka_transaction.c) ---- */

struct kafka_entry {
    size_t key_at; /* in texts */
    size_t key_size;
    size_t value_at;
    size_t value_size;
};

struct kafka_transaction {
    struct mb_slot slot;
    char owner[KAFKA_OWNER_SIZE];
    const char *id;               /* transactional.id, in owner */
    const char *topic;            /* of positions */
    struct mb_open_params params; /* as at open, for further clients: host, endpoint */
    bool open;
    bool failed;                 /* of what was sent something will never be there: abort it */
    int32_t partition;           /* of the entries */
    struct kafka_entry *entries; /* to be written by commit */
    size_t entries_count;
    size_t entries_capacity;
    struct mb_text texts;
    uint64_t storing; /* entries under way */
    rd_kafka_resp_err_t store_code;
    int64_t stored_offset; /* of the last one that was confirmed */
};

/* Adds an entry; its partition is the group's. */
enum mb_status kafka_transaction_add(struct mb_sink *sink, const char *group,
                                     const struct mb_stored_position *stored, const char *owner,
                                     struct mb_error *err);

/* One transaction of what was added, or of the record of the instance if nothing was; *ret_offset:
 * of its last record. Whatever fails ends the instance. */
enum mb_status kafka_transaction_store(struct mb_sink *sink, int64_t deadline_ms,
                                       int64_t *ret_offset, struct mb_error *err);

/* Fences off whoever uses that transactional.id, and aborts what it has begun. */
enum mb_status kafka_transaction_fence(struct mb_sink *sink, const char *writer,
                                       int64_t deadline_ms, struct mb_error *err);

int64_t kafka_left_ms(const struct mb_sink *sink, int64_t deadline_ms);

/* ---- the topic (kafka_store.c) ---- */

/* Makes it if it is missing, and looks whether it is fit. */
enum mb_status kafka_store_prepare(struct mb_sink *sink, int64_t deadline_ms, struct mb_error *err);

enum mb_status kafka_store_load(struct mb_sink *sink, const char *group,
                                struct mb_stored_position *positions, size_t count,
                                uint32_t timeout_ms, struct mb_error *err);

#endif
