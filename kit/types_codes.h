/* SPDX-License-Identifier: Apache-2.0 */
/* Format codes of AMQP 1.0 (Part 1, section 1.6), and what reading and writing share. */
#ifndef MBRIDGE_KIT_TYPES_CODES_H
#define MBRIDGE_KIT_TYPES_CODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mb_code {
    MB_CODE_DESCRIBED = 0x00,
    MB_CODE_NULL = 0x40,
    MB_CODE_TRUE = 0x41,
    MB_CODE_FALSE = 0x42,
    MB_CODE_U32_ZERO = 0x43,
    MB_CODE_U64_ZERO = 0x44,
    MB_CODE_LIST0 = 0x45,
    MB_CODE_U8 = 0x50,
    MB_CODE_I8 = 0x51,
    MB_CODE_U32_SMALL = 0x52,
    MB_CODE_U64_SMALL = 0x53,
    MB_CODE_I32_SMALL = 0x54,
    MB_CODE_I64_SMALL = 0x55,
    MB_CODE_BOOL = 0x56,
    MB_CODE_U16 = 0x60,
    MB_CODE_I16 = 0x61,
    MB_CODE_U32 = 0x70,
    MB_CODE_I32 = 0x71,
    MB_CODE_F32 = 0x72,
    MB_CODE_CHAR = 0x73,
    MB_CODE_DECIMAL32 = 0x74,
    MB_CODE_U64 = 0x80,
    MB_CODE_I64 = 0x81,
    MB_CODE_F64 = 0x82,
    MB_CODE_TIMESTAMP = 0x83,
    MB_CODE_DECIMAL64 = 0x84,
    MB_CODE_DECIMAL128 = 0x94,
    MB_CODE_UUID = 0x98,
    MB_CODE_BINARY8 = 0xA0,
    MB_CODE_STRING8 = 0xA1,
    MB_CODE_SYMBOL8 = 0xA3,
    MB_CODE_BINARY32 = 0xB0,
    MB_CODE_STRING32 = 0xB1,
    MB_CODE_SYMBOL32 = 0xB3,
    MB_CODE_LIST8 = 0xC0,
    MB_CODE_MAP8 = 0xC1,
    MB_CODE_LIST32 = 0xD0,
    MB_CODE_MAP32 = 0xD1,
    MB_CODE_ARRAY8 = 0xE0,
    MB_CODE_ARRAY32 = 0xF0
};

#define MB_DESCRIPTOR_SECONDS "mbridge:seconds"
#define MB_DESCRIPTOR_SCALED  "mbridge:decimal"

/* Counts the items that an array makes beyond what its size bytes of elements account for, so that
 * few bytes never make many items: elements of no bytes, elements under many descriptors. false:
 * that is more than MB_TYPES_BARE_MAX in all. */
bool mb_types_charge(uint32_t *bare_count, uint32_t count, unsigned descriptors_count, size_t size);

#endif
