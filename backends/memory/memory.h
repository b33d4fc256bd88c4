/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the memory backend share: the options, and the store that stands in for a
 * broker.
 *
 * Other backends have a broker in another process; this one has the store, which all instances of
 * the process share. It is the only static variable of the module, since nothing that is handed to
 * open outlives an instance and streams must. One mutex guards all of it. Whatever a function below
 * says of "the store" is called with that mutex held.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <mbridge/backend.h>

#include <pthread.h>

#define MEMORY_STREAMS_MAX    65536
#define MEMORY_PARTITIONS_MAX 1024
#define MEMORY_BUCKETS        1024
#define MEMORY_DEPTH_MAX      1024 /* of nested values */
#define MEMORY_NAME_MAX       255

struct memory_endpoint_options {
    const char *store;
};

struct memory_source_options {
    const char *stream;
    struct mb_strings streams;
    int64_t kind; /* enum mb_stream_kind: log or queue */
    const char *group;
    struct mb_position start;
    int64_t revoke_timeout_ms;
    int64_t generate_count; /* 0: reads streams */
    int64_t generate_size_bytes;
    int64_t generate_rate; /* messages a second; 0: as fast as they are taken */
    int64_t generate_keys;
};

enum memory_partition_rule { MEMORY_PARTITION_PRESERVE = 0, MEMORY_PARTITION_KEY = 1 };

struct memory_sink_options {
    const char *stream; /* a template */
    bool discard;
    int64_t kind;
    int64_t partitions;
    int64_t partition; /* enum memory_partition_rule */
    int64_t limit;     /* messages that the stream may hold */
};

/* A stored message: the struct, and behind it all that it points to. */
struct memory_record {
    struct memory_record *previous; /* in a queue */
    struct memory_record *next;     /* in a queue or a transaction */
    uint64_t offset;                /* in a queue: its place */
    int64_t stored_ms;
    size_t bytes;      /* of key, body and headers */
    size_t extra_size; /* of what lies behind the struct */
    struct mb_message message;
};

/* A log: offsets begin … end, records[offset & mask]. A queue: the list, ordered by offset. */
struct memory_partition {
    struct memory_record **records;
    size_t capacity; /* a power of two, or 0 */
    uint64_t begin;
    uint64_t end;
    struct memory_record *first;
    struct memory_record *last;
};

struct memory_stream {
    struct memory_stream *next; /* in its bucket */
    char *store;
    char *name;
    uint64_t hash;
    uint32_t number;           /* spreads streams with one partition over the members of a group */
    uint32_t kind;             /* MB_STREAM_LOG or MB_STREAM_QUEUE */
    uint32_t partitions_count; /* a queue: 1 */
    uint64_t limit;            /* messages of a partition, whoever adds them */
    uint64_t ready;            /* messages in the list of a queue */
    uint64_t taken;            /* and those that consumers hold */
    struct memory_partition *partitions;
    struct memory_group *groups;
};

/* How an instance is woken: a write to fd, once, if it was found asleep. */
struct memory_wake {
    int fd;
    bool armed;          /* it may sleep */
    bool wants_messages; /* and new messages are a reason to wake it */
    bool signalled;
};

/* A partition as a group sees it. */
struct memory_share {
    bool has_stored;
    bool revoking;
    uint64_t stored;     /* the next offset to read */
    uint32_t generation; /* grows whenever the owner changes */
    int64_t revoke_deadline_ms;
    struct memory_member *owner;
};

struct memory_group {
    struct memory_group *next;
    struct memory_stream *stream;
    char *name;
    uint32_t members_count;
    struct memory_member *members; /* oldest first */
    struct memory_share *shares;   /* as many as the stream has partitions */
};

/* An instance in a group. */
struct memory_member {
    struct memory_member *next;
    struct memory_group *group;
    struct memory_wake *wake;
    int64_t revoke_timeout_ms;
    bool away;     /* it has left; its scopes may come back */
    bool competes; /* takes from a queue beside others, whoever owns its share */
    bool changed;  /* something about the shares is to be looked at */
};

/* A position that a sink stored with a transaction. */
struct memory_stored {
    struct memory_stored *next;
    char *store;
    char *group;
    char *stream;
    int32_t partition;
    struct mb_position position;
};

/* The one instance of a group that may commit transactions: the latest. */
struct memory_fence {
    struct memory_fence *next;
    char *store;
    char *group;
    uint64_t generation;
};

struct memory_store {
    pthread_mutex_t lock;
    uint32_t streams_count;
    struct memory_stream *buckets[MEMORY_BUCKETS];
    struct memory_stored *stored;
    struct memory_fence *fences;
};

/* memory_store.c */
struct memory_store *memory_store_lock(void);
void memory_store_unlock(struct memory_store *store);
struct memory_stream *memory_stream_find(struct memory_store *store, const char *store_name,
                                         const void *name, size_t name_size);
/* MB_OK if it is there already, whatever it is like. */
enum mb_status memory_stream_create(struct memory_store *store, const char *store_name,
                                    const struct mb_stream_record *record, struct mb_error *err);
/* Appends to partition, which is to hold at most limit messages, and owns the record then. MB_AGAIN
 * if a queue is full, MB_NO_MEMORY. */
enum mb_status memory_stream_append(struct memory_stream *stream, uint32_t partition,
                                    uint64_t limit, struct memory_record *record);
/* Makes sure that count more can be appended; MB_AGAIN, MB_NO_MEMORY as above. */
enum mb_status memory_stream_reserve(struct memory_stream *stream, uint32_t partition,
                                     uint64_t limit, uint64_t count);
/* Takes the first message of a queue (NULL: none), and gives one back to its place. */
struct memory_record *memory_queue_take(struct memory_stream *stream);
void memory_queue_return(struct memory_stream *stream, struct memory_record *record);
/* The offset that a position names, a start option included. */
uint64_t memory_partition_seek(const struct memory_partition *partition,
                               struct mb_position position);
enum mb_status memory_stored_set(struct memory_store *store, const char *store_name,
                                 const char *group, const struct mb_stored_position *position);
struct mb_position memory_stored_get(struct memory_store *store, const char *store_name,
                                     const char *group, const struct mb_stored_position *position);
/* NULL: out of memory. */
struct memory_fence *memory_fence_get(struct memory_store *store, const char *store_name,
                                      const char *group);
char *memory_text_copy(const void *text, size_t size);
uint64_t memory_hash(const void *data, size_t size);

/* memory_group.c */
/* NULL: out of memory. */
struct memory_group *memory_group_get(struct memory_stream *stream, const char *name);
struct memory_group *memory_group_find(struct memory_stream *stream, const char *name);
void memory_group_join(struct memory_group *group, struct memory_member *member, int64_t now_ms);
void memory_group_leave(struct memory_member *member, int64_t now_ms);
/* Gives every partition to the member that should have it, as far as its owner has let go. */
void memory_group_balance(struct memory_group *group, int64_t now_ms);
/* When a revocation runs out; INT64_MAX: none. */
int64_t memory_group_deadline(const struct memory_group *group);
void memory_stream_wake(const struct memory_stream *stream);
void memory_wake_signal(struct memory_wake *wake);
void memory_wake_drain(struct memory_wake *wake);

/* memory_envelope.c */
/* A deep copy for the store, or NULL with *ret_cause: MESSAGE too deeply nested, NONE no memory. */
struct memory_record *memory_record_create(const struct mb_message *message,
                                           enum mb_cause *ret_cause);
void memory_record_destroy(struct memory_record *record); /* NULL allowed */
/* Fills a message of the core from a record, copying into the arena. */
enum mb_status memory_record_load(const struct memory_record *record, struct mb_arena *arena,
                                  struct mb_message *message);

/* memory_source.c, memory_sink.c, memory_describe.c */
extern const struct mb_source_ops memory_source_ops;
extern const struct mb_sink_ops memory_sink_ops;
extern const struct mb_describe_ops memory_describe_ops;

#endif
