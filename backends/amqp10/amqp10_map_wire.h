/* SPDX-License-Identifier: Apache-2.0 */
/* What decoding, projecting and encoding share: sections, places in lists, the bridge's own
 * annotations. Part 3: Messaging, section 3.2. */
#ifndef AMQP10_MAP_WIRE_H
#define AMQP10_MAP_WIRE_H

#include "amqp10_map.h"

enum amqp10_section {
    AMQP10_HEADER = 0x70,
    AMQP10_DELIVERY_ANNOTATIONS = 0x71,
    AMQP10_MESSAGE_ANNOTATIONS = 0x72,
    AMQP10_PROPERTIES = 0x73,
    AMQP10_APPLICATION_PROPERTIES = 0x74,
    AMQP10_DATA = 0x75,
    AMQP10_SEQUENCE = 0x76,
    AMQP10_VALUE = 0x77,
    AMQP10_FOOTER = 0x78
};

enum amqp10_header_place {
    AMQP10_HEADER_DURABLE = 0,
    AMQP10_HEADER_PRIORITY = 1,
    AMQP10_HEADER_TTL = 2,
    AMQP10_HEADER_FIRST_ACQUIRER = 3,
    AMQP10_HEADER_DELIVERY_COUNT = 4,
    AMQP10_HEADER_PLACES = 5
};

enum amqp10_property_place {
    AMQP10_PROPERTY_MESSAGE_ID = 0,
    AMQP10_PROPERTY_USER_ID = 1,
    AMQP10_PROPERTY_TO = 2,
    AMQP10_PROPERTY_SUBJECT = 3,
    AMQP10_PROPERTY_REPLY_TO = 4,
    AMQP10_PROPERTY_CORRELATION_ID = 5,
    AMQP10_PROPERTY_CONTENT_TYPE = 6,
    AMQP10_PROPERTY_CONTENT_ENCODING = 7,
    AMQP10_PROPERTY_ABSOLUTE_EXPIRY = 8,
    AMQP10_PROPERTY_CREATION_TIME = 9,
    AMQP10_PROPERTY_GROUP_ID = 10,
    AMQP10_PROPERTY_GROUP_SEQUENCE = 11,
    AMQP10_PROPERTY_REPLY_TO_GROUP_ID = 12,
    AMQP10_PROPERTY_PLACES = 13
};

/* The bridge's own annotations; all names begin alike. */
enum amqp10_own {
    AMQP10_OWN_NONE,
    AMQP10_OWN_META,
    AMQP10_OWN_PATH,
    AMQP10_OWN_ID,
    AMQP10_OWN_KEY
};

#define AMQP10_NAME_META "x-opt-mbridge-meta"
#define AMQP10_NAME_PATH "x-opt-mbridge-path"
#define AMQP10_NAME_ID   "x-opt-mbridge-id"
#define AMQP10_NAME_KEY  "x-opt-mbridge-key"

/* Which of them an annotation is. Of another type than they have, a name means nothing. */
enum amqp10_own amqp10_own_of(struct mb_slice name, uint8_t name_type,
                              const struct mb_value *value);

/* The number in the name of an annotation whose key is a ulong; in the one spelling that decoding
 * gives it. */
bool amqp10_parse_ulong(struct mb_slice digits, uint64_t *ret_number);

#endif
