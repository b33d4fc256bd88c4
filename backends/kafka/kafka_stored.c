/* SPDX-License-Identifier: Apache-2.0 */
/* The records of the topic of positions. */
#include "kafka_store.h"

#include "kit/hash.h"

#define VERSION       "1 "
#define POSITION_SIZE 64u

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static void add_escaped(struct mb_text *text, struct mb_slice part)
{
    const unsigned char *bytes = part.data;

    for (size_t i = 0; i < part.size; i++) {
        if (is_plain(bytes[i]))
            mb_text_add(text, &bytes[i], 1);
        else
            mb_text_addf(text, "%%%02X", (unsigned)bytes[i]);
    }
}

void kafka_stored_key(struct mb_text *text, const char *group,
                      const struct mb_stored_position *stored)
{
    add_escaped(text, mb_slice_text(group));
    mb_text_add(text, "/", 1);
    add_escaped(text, stored->stream);
    mb_text_add(text, "/", 1);
    mb_text_add_i64(text, stored->partition);
}

void kafka_stored_instance(struct mb_text *text, const char *writer)
{
    mb_text_add(text, "/", 1); /* no group is empty */
    add_escaped(text, mb_slice_text(writer));
}

void kafka_stored_value(struct mb_text *text, struct mb_position position, const char *owner)
{
    mb_text_add(text, VERSION, sizeof VERSION - 1);
    mb_text_position(text, position);
    mb_text_add(text, " ", 1);
    mb_text_add(text, owner, strlen(owner));
}

enum mb_status kafka_stored_parse(struct mb_slice value, struct mb_position *ret_position,
                                  char *owner, size_t size)
{
    const char *at = value.data;
    const char *end = at + value.size;
    const char *space;
    char position[POSITION_SIZE];

    *ret_position = (struct mb_position){.kind = MB_POSITION_NONE};
    owner[0] = '\0';
    if (value.data == NULL || value.size == 0)
        return MB_OK;
    if (value.size < sizeof VERSION - 1 || memcmp(at, VERSION, sizeof VERSION - 1) != 0)
        return at[0] >= '1' && at[0] <= '9' ? MB_UNSUPPORTED : MB_INVALID;
    at += sizeof VERSION - 1;
    space = memchr(at, ' ', (size_t)(end - at));
    if (space == NULL || (size_t)(space - at) >= sizeof position ||
        (size_t)(end - space - 1) >= size || memchr(at, '\0', (size_t)(end - at)) != NULL)
        return MB_INVALID;
    memcpy(position, at, (size_t)(space - at));
    position[space - at] = '\0';
    memcpy(owner, space + 1, (size_t)(end - space - 1));
    owner[end - space - 1] = '\0';
    return mb_position_parse(position, ret_position);
}

const char *kafka_stored_writer(const char *owner)
{
    const char *space = strchr(owner, ' ');

    return space != NULL ? space + 1 : owner;
}

int32_t kafka_stored_partition(const char *group)
{
    return (int32_t)(mb_hash_add(MB_HASH_BEGIN, group, strlen(group)) % KAFKA_STORE_PARTITIONS);
}
