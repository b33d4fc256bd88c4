/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slices and typed values: what headers, annotations and structured bodies are made of.
 *
 * The set of types is the union of what AMQP 1.0 (Part 1: Types), AMQP 0-9-1 (section 4.2.5.5 with
 * RabbitMQ's errata), Kafka (bytes) and Redis (bytes) can say, so that no platform's value has to
 * change its type on entering the envelope.
 */
#ifndef MBRIDGE_VALUE_H
#define MBRIDGE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A borrowed run of bytes; no terminator. Three states are distinct everywhere:
 *   absent  (its presence bit is clear, or the list does not hold it)
 *   null    data == NULL, size == 0
 *   empty   data != NULL, size == 0
 */
struct mb_slice {
    const void *data;
    size_t size;
};

enum mb_type {
    MB_NULL = 0,
    MB_BOOL = 1,
    MB_I8 = 2,
    MB_I16 = 3,
    MB_I32 = 4,
    MB_I64 = 5,
    MB_U8 = 6,
    MB_U16 = 7,
    MB_U32 = 8,
    MB_U64 = 9,
    MB_F32 = 10,
    MB_F64 = 11,
    MB_DECIMAL32 = 12,      /* as.bytes: 4 bytes, IEEE 754 BID, network order */
    MB_DECIMAL64 = 13,      /* as.bytes: 8 bytes */
    MB_DECIMAL128 = 14,     /* as.bytes: 16 bytes */
    MB_DECIMAL_SCALED = 15, /* as.scaled: AMQP 0-9-1 'D' */
    MB_CHAR = 16,           /* as.u: a Unicode code point */
    MB_TIMESTAMP_S = 17,    /* as.i: seconds since 1970-01-01T00:00:00Z (AMQP 0-9-1 'T') */
    MB_TIMESTAMP_MS = 18,   /* as.i: milliseconds since then */
    MB_UUID = 19,           /* as.bytes: 16 bytes */
    MB_BINARY = 20,         /* as.bytes */
    MB_STRING = 21,         /* as.bytes: valid UTF-8 (the source checked; else it is MB_BINARY) */
    MB_SYMBOL = 22,         /* as.bytes: ASCII */
    MB_LIST = 23,           /* as.items */
    MB_MAP = 24,            /* as.items: key, value, key, value, …; order kept */
    MB_ARRAY = 25,          /* as.items: all of as.items.element */
    MB_DESCRIBED = 26       /* as.items: exactly two, the descriptor and the value */
};

struct mb_value {
    uint8_t type; /* enum mb_type */
    union {
        bool b;
        int64_t i;  /* I8 … I64, timestamps */
        uint64_t u; /* U8 … U64, CHAR */
        float f32;
        double f64;
        struct mb_slice bytes;
        struct {
            uint8_t scale;
            uint32_t value;
        } scaled;
        struct {
            const struct mb_value *values;
            uint32_t count;
            uint8_t element; /* enum mb_type of MB_ARRAY's elements, known even if it is empty */
        } items;
    } as;
};

/* Where a header stood, as AMQP 1.0 has several places; every other platform has only the first. */
enum mb_section {
    MB_SECTION_APPLICATION = 0, /* Kafka record headers, 0-9-1 headers, application-properties */
    MB_SECTION_MESSAGE_ANNOTATIONS = 1,
    MB_SECTION_FOOTER = 2,
    /* A carrier of the bridge itself (sidecar, path, id: kit/provenance.h). It keeps its place in
     * the list, so that a sink of the same platform writes the message as it was; no other sink
     * shows it, and templates and steps do not see it. */
    MB_SECTION_BRIDGE = 3
};

/* One entry of the ordered multimap: names may repeat, and their order is part of the message. */
struct mb_header {
    struct mb_slice name;
    struct mb_value value;
    uint8_t section;   /* enum mb_section */
    uint8_t name_type; /* enum mb_type: MB_STRING mostly, MB_SYMBOL or MB_U64 for annotations */
};

#define MB_SLICE_NULL          ((struct mb_slice){NULL, 0})
#define MB_SLICE_LITERAL(text) ((struct mb_slice){(text), sizeof(text) - 1})

#endif
