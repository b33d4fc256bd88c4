/* SPDX-License-Identifier: Apache-2.0 */
/* The path of a message: where it may not go, because it was there, and where it is now. */
#include "core/router/lane.h"
#include "core/router/replay.h"
#include "kit/provenance.h"

static bool path_holds(const struct mb_message *message, uint64_t hash)
{
    for (uint8_t i = 0; i < message->path_count; i++) {
        if (message->path[i] == hash)
            return true;
    }
    return false;
}

/* The exchange that a message came through: a sink may publish to it while the source reads a queue
 * behind it. One name repeats for long, so the last one is kept. */
static uint64_t exchange_hash(struct mb_lane *lane, const struct mb_message *message)
{
    struct mb_slice name = mb_properties_of(message)->exchange;

    if (name.size == lane->exchange_name_size &&
        memcmp(name.data, lane->exchange_name, name.size) == 0)
        return lane->exchange_hash;
    lane->exchange_hash = mb_path_hash(message->origin->identity, name);
    lane->exchange_name_size = 0;
    if (name.size <= sizeof lane->exchange_name) {
        memcpy(lane->exchange_name, name.data, name.size);
        lane->exchange_name_size = name.size;
    }
    return lane->exchange_hash;
}

/* false: the path is full. The exchange is left out where there is room for one of the two. */
static bool path_append(struct mb_lane *lane, struct mb_message *message,
                        const struct mb_scope *scope)
{
    uint64_t here = scope->path_hash;

    if (mb_replayed_info(lane->route, message) != NULL) {
        here = mb_path_hash(message->origin->identity, message->origin->stream);
        if (path_holds(message, here))
            return true; /* it had come as far as this when it became a dead letter */
    }
    if (message->path_count == MB_PATH_HOPS_MAX)
        return false;
    message->path[message->path_count++] = here;
    if ((message->present & MB_HAS_EXCHANGE) != 0 && mb_properties_of(message)->exchange.size > 0 &&
        message->path_count < MB_PATH_HOPS_MAX) {
        uint64_t hash = exchange_hash(lane, message);

        if (hash != here)
            message->path[message->path_count++] = hash;
    }
    return true;
}

void mb_lane_path(struct mb_lane *lane, uint64_t sequence)
{
    struct mb_entry *entry = mb_window_at(&lane->window, sequence);
    struct mb_message *message = entry->message;
    uint64_t left;
    uint64_t hash;

    for (uint32_t i = 0; i < lane->sinks_count && message->path_count > 0; i++) {
        const struct mb_outlet *outlet = &lane->outlets[i];

        if (outlet->has_path && (entry->rejected & outlet->bit) == 0 &&
            mb_outlet_destination(outlet, entry, &hash) && path_holds(message, hash))
            entry->want &= ~outlet->bit;
    }
    if (entry->want == 0) {
        entry->dropped = MB_DROP_LOOP;
        return;
    }
    left = entry->want & lane->sinks_bits & ~entry->rejected;
    if (left != 0 && !path_append(lane, message, entry->scope))
        mb_lane_reject(lane, sequence, left, "hops",
                       "the message has passed as many streams as its path can hold");
}
