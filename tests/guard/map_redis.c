/* SPDX-License-Identifier: Apache-2.0 */
#include "map_bench.h"

#include "backends/redis/redis_map.h"

#define FIELDS_MAX 32u

static struct mb_slice body_field = MB_SLICE_LITERAL("body");
static struct redis_field kept[FIELDS_MAX];
static size_t kept_count;
static unsigned char kept_memory[4096];
static struct mb_arena kept_arena = {kept_memory, kept_memory + sizeof kept_memory, NULL};

void map_init(const struct mb_open_params *params, struct mb_carry *carry)
{
    mb_carry_init(carry, params, REDIS_PLATFORM, redis_project, &body_field, REDIS_SIDECAR_MAX);
}

void map_sink(struct mb_carry *carry, const struct mb_outgoing *item, bool keep)
{
    struct redis_field *fields;
    struct mb_carried carried;
    struct mb_error err;
    size_t count;

    map_need(mb_carry_prepare(carry, item, &carried, &err) == MB_OK &&
                 redis_entry_encode(&carried, body_field, &carry->scratch.arena, &fields, &count) ==
                     MB_OK,
             "a message is not written");
    if (!keep)
        return;
    map_need(count <= FIELDS_MAX, "the entry has more fields than there is room for");
    kept_count = count;
    for (size_t i = 0; i < count; i++) {
        kept[i].name = mb_slice_copy(&kept_arena, fields[i].name);
        kept[i].value = mb_slice_copy(&kept_arena, fields[i].value);
    }
}

void map_source(struct mb_arena *arena, struct mb_message *message)
{
    map_need(redis_entry_decode(kept, kept_count, body_field, arena, message) == MB_OK,
             "an entry is not read");
}
