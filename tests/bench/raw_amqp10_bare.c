/* SPDX-License-Identifier: Apache-2.0 */
/* Messages with their sections encoded by hand. A received one is not decoded at all: its body is
 * the end of it. */
#include "raw_amqp10.h"

#include <endian.h>
#include <string.h>

#define HEAD_MAX (256u + RAW_HEADERS_MAX * (4 + RAW_HEADER_NAME + RAW_HEADER_SIZE))

static char *put_head(char *at, const unsigned char *head, size_t size)
{
    memcpy(at, head, size);
    return at + size;
}

static char *put_text8(char *at, unsigned char code, const char *text, size_t size)
{
    *at++ = (char)code;
    *at++ = (char)size;
    memcpy(at, text, size);
    return at + size;
}

static char *put_be32(char *at, size_t value)
{
    uint32_t word = htobe32((uint32_t)value);

    memcpy(at, &word, sizeof word);
    return at + sizeof word;
}

static char *put_properties(char *at, uint64_t headers)
{
    static const unsigned char head[] = {0x00, 0x53, 0x74, 0xd1}; /* application properties, map */
    char name[RAW_HEADER_NAME + 1];
    char value[RAW_HEADER_SIZE + 1];
    size_t size = 4 + headers * (2 + RAW_HEADER_NAME + 2 + RAW_HEADER_SIZE);

    at = put_be32(put_be32(put_head(at, head, sizeof head), size), 2 * headers);
    for (uint64_t i = 0; i < headers; i++) {
        raw_header(name, value, i);
        at = put_text8(at, 0xa1, name, RAW_HEADER_NAME);
        at = put_text8(at, 0xa1, value, RAW_HEADER_SIZE);
    }
    return at;
}

/* All but the body, which follows as it is. */
static size_t put_message(char *start, const struct raw_spec *spec, uint64_t number)
{
    static const unsigned char durable[] = {0x00, 0x53, 0x70, 0xc0, 0x02, 0x01, 0x41};
    static const unsigned char annotations[] = {0x00, 0x53, 0x72, 0xc1};
    static const unsigned char data[] = {0x00, 0x53, 0x75, 0xb0};
    const size_t name_size = sizeof RAW_KEY_HEADER - 1;
    char key[RAW_KEY_SIZE + 1];
    char *at = put_head(start, durable, sizeof durable);

    raw_key(key, number);
    at = put_head(at, annotations, sizeof annotations);
    *at++ = (char)(1 + 2 + name_size + 2 + RAW_KEY_SIZE);
    *at++ = 2;
    at = put_text8(at, 0xa3, RAW_KEY_HEADER, name_size);
    at = put_text8(at, 0xa0, key, RAW_KEY_SIZE);
    if (spec->headers > 0)
        at = put_properties(at, spec->headers);
    at = put_be32(put_head(at, data, sizeof data), spec->size);
    return (size_t)(at - start);
}

static void send_message(pn_link_t *link, const struct raw_spec *spec, char *body, uint64_t number)
{
    char head[HEAD_MAX];
    size_t size = put_message(head, spec, number);

    if (spec->is_stamped)
        raw_stamp(body);
    pn_link_send(link, head, size);
    pn_link_send(link, body, spec->size);
    pn_link_advance(link);
}

static pn_bytes_t body_of(pn_bytes_t message)
{
    return message;
}

const struct amqp10_coder amqp10_bare = {.send = send_message, .body = body_of};
