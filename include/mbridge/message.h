/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The envelope: one message in the form between platforms.
 *
 * Memory. The core allocates the structs (they may grow at their end in a later minor version, so a
 * backend never copies one by value and never takes its stride); everything they point to lives in
 * the batch's arena (source.h) or in storage that outlives the message. A message is immutable from
 * the moment its source's poll returned, except for the core's steps.
 *
 * Presence. A property is there if and only if its bit in `present` is set. Absent and default are
 * two things. Slices may be null or empty besides (value.h).
 */
#ifndef MBRIDGE_MESSAGE_H
#define MBRIDGE_MESSAGE_H

#include <mbridge/position.h>
#include <mbridge/value.h>

enum mb_field {
    MB_HAS_KEY = 1u << 0,
    MB_HAS_MESSAGE_ID = 1u << 1,
    MB_HAS_CORRELATION_ID = 1u << 2,
    MB_HAS_CONTENT_TYPE = 1u << 3,
    MB_HAS_CONTENT_ENCODING = 1u << 4,
    MB_HAS_SUBJECT = 1u << 5,
    MB_HAS_TO = 1u << 6,
    MB_HAS_REPLY_TO = 1u << 7,
    MB_HAS_GROUP_ID = 1u << 8,
    MB_HAS_GROUP_SEQUENCE = 1u << 9,
    MB_HAS_REPLY_TO_GROUP_ID = 1u << 10,
    MB_HAS_USER_ID = 1u << 11,
    MB_HAS_APP_ID = 1u << 12,
    MB_HAS_EXCHANGE = 1u << 13,
    MB_HAS_ROUTING_KEY = 1u << 14,
    MB_HAS_TIMESTAMP = 1u << 15,
    MB_HAS_TTL = 1u << 16,
    MB_HAS_EXPIRES_AT = 1u << 17,
    MB_HAS_DURABLE = 1u << 18,
    MB_HAS_PRIORITY = 1u << 19
};

/* What can be lost besides the fields above; in one mask with them. */
#define MB_LOST_BODY        (UINT64_C(1) << 32) /* its kind, or the types in it */
#define MB_LOST_HEADERS     (UINT64_C(1) << 33) /* a name, a value, a type, the order */
#define MB_LOST_ANNOTATIONS (UINT64_C(1) << 34)
#define MB_LOST_FOOTER      (UINT64_C(1) << 35)
#define MB_LOST_PROPERTY    (UINT64_C(1) << 36) /* one that has no field here */

enum mb_body_kind {
    MB_BODY_BYTES = 0,      /* body: Kafka value, 0-9-1 body, one AMQP 1.0 data section */
    MB_BODY_NULL = 1,       /* Kafka tombstone; AMQP 1.0 amqp-value null */
    MB_BODY_MULTI_DATA = 2, /* body: all sections joined; body_value: MB_LIST of their MB_BINARY */
    MB_BODY_VALUE = 3,      /* body_value: AMQP 1.0 amqp-value */
    MB_BODY_SEQUENCE = 4,   /* body_value: MB_LIST of MB_LIST, one a sequence section */
    MB_BODY_PAIRS = 5       /* body_value: MB_MAP of MB_BINARY: a Redis entry without body field */
};

enum mb_id_kind { MB_ID_STRING = 0, MB_ID_BINARY = 1, MB_ID_UUID = 2, MB_ID_ULONG = 3 };

struct mb_id {
    uint8_t kind;          /* enum mb_id_kind */
    struct mb_slice bytes; /* STRING, BINARY, UUID (16 bytes) */
    uint64_t number;       /* ULONG */
};

enum mb_timestamp_kind {
    MB_TIMESTAMP_CREATE = 0,
    MB_TIMESTAMP_LOG_APPEND = 1,
    MB_TIMESTAMP_CREATE_SECONDS = 2 /* the source's clock has whole seconds (AMQP 0-9-1) */
};

/* Where a message came from. Owned by the core, one a scope; outlives the messages that name it. */
struct mb_origin {
    uint32_t struct_size;
    int32_t partition;        /* -1: the stream has none */
    int32_t partitions_count; /* of the stream; 0: none, or not known */
    struct mb_slice platform; /* the backend's name */
    struct mb_slice endpoint; /* its name in the configuration */
    struct mb_slice identity; /* of the cluster, as its broker reports it; empty: unknown */
    struct mb_slice stream;   /* topic, queue, address, stream key */
};

#define MB_PATH_HOPS_MAX 8

/* The encoded form of the message at its source, for a sink of the same encoding: the bytes that
 * must not be changed on the way (AMQP 1.0 bare message). Everything else is decoded besides. */
enum mb_raw_kind { MB_RAW_NONE = 0, MB_RAW_AMQP10_BARE = 1, MB_RAW_AMQP091_PROPERTIES = 2 };

/* What a message may have besides, and most of Kafka's and Redis' have not: apart from the message,
 * of which there are as many as the window holds. */
struct mb_properties {
    struct mb_id message_id;
    struct mb_id correlation_id;
    struct mb_slice content_type;
    struct mb_slice content_encoding;
    struct mb_slice subject;
    struct mb_slice to;
    struct mb_slice reply_to;
    struct mb_slice group_id;
    struct mb_slice reply_to_group_id;
    struct mb_slice user_id;
    struct mb_slice app_id;
    struct mb_slice exchange;
    struct mb_slice routing_key;
    uint32_t group_sequence;
};

struct mb_message {
    uint32_t struct_size; /* set by the core */
    uint32_t present;     /* enum mb_field */

    /* For the acknowledgement: set by the source, opaque to all others. */
    uint32_t scope;
    uint32_t epoch; /* the scope's epoch when the message was taken */
    uint64_t token; /* increases within (scope, epoch) where the source acknowledges in order */

    const struct mb_origin *origin; /* set by the core */
    struct mb_position position;    /* at the source */

    struct mb_slice key;
    struct mb_slice body;
    struct mb_value body_value;
    const struct mb_header *headers;
    uint32_t headers_count;

    uint8_t body_kind;      /* enum mb_body_kind */
    uint8_t timestamp_kind; /* enum mb_timestamp_kind */
    uint8_t priority;
    bool durable;
    bool redelivered; /* the source says that somebody saw it before */
    uint8_t raw_kind; /* enum mb_raw_kind */
    uint8_t path_count;

    int64_t timestamp_ms;
    int64_t expires_at_ms;
    uint64_t ttl_ms;
    struct mb_properties *properties; /* NULL: the message has none of them */

    struct mb_slice raw;
    uint64_t path[MB_PATH_HOPS_MAX]; /* hashes of the streams passed, oldest first */
    uint32_t size_bytes;             /* what the message costs in a window; set by the core */

    uint32_t
        delivery_count; /* how often it was handed out before, as the broker counts; 0 unknown */
    struct mb_slice sidecar;   /* the carrier's bytes as read (kit/sidecar.h); null: none. What it
                                * explains is restored by the sink that needs it, not here. */
    struct mb_slice stable_id; /* of the message, as an earlier bridge gave it; null: none */
    /* The source says that this message must not be delivered (it cannot be decoded, or was tried
     * too often): the route's reject policy takes it, with this word and this sentence. The body
     * holds what there was on the wire. NULL: deliver. Same life as the message. */
    const char *reject_reason;
    const char *reject_text;

    /* What the source read and no member above can hold (enum mb_field, MB_LOST_…); raw
     * may have it. A sink that writes the message without it counts it as degraded. */
    uint64_t unheld;
};

/* To read them: those of a message that has none are all empty. Any thread. */
static inline const struct mb_properties *mb_properties_of(const struct mb_message *message)
{
    static const struct mb_properties none;

    return message->properties != NULL ? message->properties : &none;
}

#endif
