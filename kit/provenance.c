/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/provenance.h"

#include "kit/hash.h"

uint64_t mb_path_hash(struct mb_slice identity, struct mb_slice stream)
{
    uint64_t hash = mb_hash_add(MB_HASH_BEGIN, identity.data, identity.size);

    hash = mb_hash_add(hash, "", 1); /* "ab" + "c" is not "a" + "bc" */
    return mb_hash_add(hash, stream.data, stream.size);
}

bool mb_path_read(struct mb_slice bytes, struct mb_message *message)
{
    const unsigned char *at = bytes.data;

    message->path_count = 0;
    if (bytes.size % 8 != 0 || bytes.size > 8u * MB_PATH_HOPS_MAX)
        return false;
    for (size_t i = 0; i < bytes.size / 8; i++) {
        uint64_t hash = 0;

        for (size_t j = 0; j < 8; j++)
            hash = hash << 8 | at[8 * i + j];
        message->path[i] = hash;
    }
    message->path_count = (uint8_t)(bytes.size / 8);
    return true;
}

size_t mb_path_write(const struct mb_message *message, unsigned char *ret_bytes)
{
    size_t count = message->path_count < MB_PATH_HOPS_MAX ? message->path_count : MB_PATH_HOPS_MAX;

    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < 8; j++)
            ret_bytes[8 * i + j] = (unsigned char)(message->path[i] >> 8 * (7 - j));
    }
    return 8 * count;
}

void mb_stable_id_add(struct mb_text *out, const struct mb_message *message)
{
    const struct mb_origin *origin = message->origin;

    if (message->stable_id.data != NULL) {
        mb_text_add(out, message->stable_id.data, message->stable_id.size);
        return;
    }
    if (origin == NULL ||
        (message->position.kind != MB_POSITION_OFFSET && message->position.kind != MB_POSITION_ID))
        return;
    mb_text_add(out, origin->identity.data, origin->identity.size);
    mb_text_add(out, "/", 1);
    mb_text_add(out, origin->stream.data, origin->stream.size);
    mb_text_add(out, "/", 1);
    mb_text_add_i64(out, origin->partition);
    mb_text_add(out, "/", 1);
    mb_text_position(out, message->position);
}
