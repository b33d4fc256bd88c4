/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Describe and ensure: what a stream is, who the cluster is, and creating a stream from a record.
 * For creating missing destinations, draining, progress, `check --connect`, discovery.
 *
 * A describer is a connection of its own. Every operation may block up to its timeout and runs on a
 * connector thread, one at a time.
 */
#ifndef MBRIDGE_DESCRIBE_H
#define MBRIDGE_DESCRIBE_H

#include <mbridge/host.h>
#include <mbridge/options.h>
#include <mbridge/source.h>

struct mb_describer;

enum mb_stream_kind {
    MB_STREAM_LOG = 0,      /* positions, re-readable: topic, stream */
    MB_STREAM_QUEUE = 1,    /* consumed: queue */
    MB_STREAM_EXCHANGE = 2, /* routes, stores nothing */
    MB_STREAM_ADDRESS = 3   /* AMQP 1.0: the broker decides */
};

enum mb_access { MB_ACCESS_UNKNOWN = 0, MB_ACCESS_ALLOWED = 1, MB_ACCESS_DENIED = 2 };

struct mb_partition_record {
    int32_t partition;
    struct mb_position begin; /* of the first message */
    struct mb_position end;   /* behind the last one */
    struct mb_position group; /* what the group asked about has stored */
};

struct mb_pair {
    const char *name;
    const char *value;
};

/* Filled by describe into memory of the host (released by mb_describe_ops.clear), or by the core
 * for ensure. */
struct mb_stream_record {
    uint32_t struct_size;
    uint32_t kind; /* enum mb_stream_kind */
    const char *name;
    int32_t partitions_count; /* 0: none, or the broker's default when creating */
    int32_t replication;      /* 0: the broker's default */
    int64_t depth_messages;   /* ready and unacknowledged; -1: unknown */
    int64_t size_max_bytes;   /* of one message; -1: unknown */
    uint8_t may_read;         /* enum mb_access */
    uint8_t may_write;
    const struct mb_partition_record *partitions; /* as many as there are, ordered; NULL: unknown */
    const struct mb_pair *configuration;          /* in the platform's words */
    uint32_t configuration_count;
};

struct mb_describe_ops {
    uint32_t struct_size;

    enum mb_status (*open)(const struct mb_open_params *params, struct mb_describer **ret_describer,
                           struct mb_error *err);

    /* The cluster's identity as its broker reports it ("" where it has none), into identity. */
    enum mb_status (*identity)(struct mb_describer *describer, char *identity, size_t size,
                               struct mb_error *err);

    /* MB_NOT_FOUND if there is no such stream. kind: which namespace to look in (queue, exchange);
     * group may be NULL. */
    enum mb_status (*describe)(struct mb_describer *describer, uint32_t kind, const char *name,
                               const char *group, struct mb_stream_record *ret_record,
                               struct mb_error *err);
    void (*clear)(struct mb_describer *describer, struct mb_stream_record *record);

    /* Creates the stream if it is missing; never alters one. */
    enum mb_status (*ensure)(struct mb_describer *describer, const struct mb_stream_record *record,
                             struct mb_error *err);

    /* Calls each for every readable stream, platform-internal ones marked. NULL: cannot list. */
    enum mb_status (*list)(struct mb_describer *describer,
                           void (*each)(void *context, const char *name, bool internal),
                           void *context, struct mb_error *err);

    void (*close)(struct mb_describer *describer); /* NULL allowed */
};

#endif
