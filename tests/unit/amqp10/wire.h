/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the AMQP 1.0 map share: memory, bytes, a message that goes through. */
#ifndef TESTS_UNIT_AMQP10_WIRE_H
#define TESTS_UNIT_AMQP10_WIRE_H

#include "backends/amqp10/amqp10_map.h"

#include <kit/sidecar.h>
#include <kit/types.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define BYTES(literal)  ((struct mb_slice){literal, sizeof(literal) - 1})
#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* Sections by their descriptors, for string literals. */
#define HEADER                 "\0\x53\x70"
#define DELIVERY_ANNOTATIONS   "\0\x53\x71"
#define MESSAGE_ANNOTATIONS    "\0\x53\x72"
#define PROPERTIES             "\0\x53\x73"
#define APPLICATION_PROPERTIES "\0\x53\x74"
#define DATA                   "\0\x53\x75"
#define SEQUENCE               "\0\x53\x76"
#define VALUE                  "\0\x53\x77"
#define FOOTER                 "\0\x53\x78"
#define BODY                   DATA "\xa0\x01x"

static void *no_more(struct mb_arena *arena, size_t size)
{
    (void)arena;
    (void)size;
    return NULL;
}

/* One large block, from its start again. */
static inline struct mb_arena *fresh_arena(void)
{
    static unsigned char memory[8u << 20];
    static struct mb_arena arena;

    arena = (struct mb_arena){memory, memory + sizeof memory, no_more};
    return &arena;
}

/* Empty ones for a message that a test makes; valid until the next ones. */
static inline struct mb_properties *fresh_properties(void)
{
    static struct mb_properties properties;

    memset(&properties, 0, sizeof properties);
    return &properties;
}

static inline struct mb_message decode_in(struct mb_slice bytes, struct mb_arena *arena)
{
    struct mb_message message;
    uint64_t size = 0;

    memset(&message, 0, sizeof message);
    message.struct_size = sizeof message;
    message.token = 7;
    assert_int_equal(amqp10_decode(bytes, arena, &message, &size), MB_OK);
    assert_int_equal(size, bytes.size);
    assert_int_equal(message.token, 7);
    return message;
}

/* Valid until the next one. */
static inline struct mb_message decode(struct mb_slice bytes)
{
    return decode_in(bytes, fresh_arena());
}

static inline struct mb_message decode_good(struct mb_slice bytes)
{
    struct mb_message message = decode(bytes);

    if (message.reject_reason != NULL)
        fail_msg("%s", message.reject_text);
    return message;
}

static inline void assert_slice(struct mb_slice slice, struct mb_slice expected)
{
    assert_non_null(slice.data);
    assert_int_equal(slice.size, expected.size);
    if (expected.size > 0)
        assert_memory_equal(slice.data, expected.data, expected.size);
}

static inline void assert_text(struct mb_slice slice, const char *text)
{
    assert_slice(slice, mb_slice_text(text));
}

static inline struct mb_value bytes_value(enum mb_type type, struct mb_slice bytes)
{
    struct mb_value value = {.type = (uint8_t)type};

    value.as.bytes = bytes;
    return value;
}

static inline struct mb_value text_value(const char *text)
{
    return bytes_value(MB_STRING, mb_slice_text(text));
}

static inline struct mb_value items_value(enum mb_type type, const struct mb_value *items,
                                          uint32_t count)
{
    struct mb_value value = {.type = (uint8_t)type};

    value.as.items.values = items;
    value.as.items.count = count;
    return value;
}

static inline void assert_value(const struct mb_value *value, struct mb_value expected)
{
    assert_int_equal(value->type, expected.type);
    assert_true(mb_value_equal(value, &expected));
}

static inline struct mb_header header_of(const char *name, enum mb_section section,
                                         struct mb_value value)
{
    struct mb_header header = {.name = mb_slice_text(name),
                               .value = value,
                               .section = (uint8_t)section,
                               .name_type =
                                   section == MB_SECTION_APPLICATION ? MB_STRING : MB_SYMBOL};

    return header;
}

#endif
