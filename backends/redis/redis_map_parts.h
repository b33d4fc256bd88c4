/* SPDX-License-Identifier: Apache-2.0 */
/* What both directions of the map need: names that mean something, and a field as a header. */
#ifndef REDIS_MAP_PARTS_H
#define REDIS_MAP_PARTS_H

#include "redis_map.h"

#include <kit/utf8.h>
#include <string.h>

static inline bool redis_is_name(struct mb_slice name, const char *text, size_t size)
{
    return name.size == size && memcmp(name.data, text, size) == 0;
}

#define REDIS_IS_NAME(slice, literal) redis_is_name(slice, literal, sizeof(literal) - 1)

enum redis_carrier {
    REDIS_CARRIER_SIDECAR = 0,
    REDIS_CARRIER_PATH,
    REDIS_CARRIER_ID,
    REDIS_CARRIERS_COUNT
};

static inline enum redis_carrier redis_carrier_of(struct mb_slice name)
{
    if (name.size < sizeof REDIS_FIELD_SIDECAR - 1 ||
        memcmp(name.data, REDIS_FIELD_SIDECAR, sizeof REDIS_FIELD_SIDECAR - 1) != 0)
        return REDIS_CARRIERS_COUNT;
    if (REDIS_IS_NAME(name, REDIS_FIELD_SIDECAR))
        return REDIS_CARRIER_SIDECAR;
    if (REDIS_IS_NAME(name, REDIS_FIELD_PATH))
        return REDIS_CARRIER_PATH;
    return REDIS_IS_NAME(name, REDIS_FIELD_ID) ? REDIS_CARRIER_ID : REDIS_CARRIERS_COUNT;
}

static inline void redis_header_set(struct mb_header *header, const struct redis_field *field,
                                    enum mb_section section)
{
    memset(header, 0, sizeof *header);
    header->name = field->name;
    header->name_type = MB_STRING;
    header->section = (uint8_t)section;
    header->value.type =
        section == MB_SECTION_APPLICATION && mb_utf8_valid_without_nul(field->value) ? MB_STRING
                                                                                     : MB_BINARY;
    header->value.as.bytes = field->value;
}

#endif
