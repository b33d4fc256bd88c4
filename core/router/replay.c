/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/replay.h"

#include "core/base/clock.h"
#include "core/router/patterns.h"
#include "kit/field.h"
#include "kit/provenance.h"
#include "kit/sidecar.h"
#include "kit/text.h"

#define ID_SIZE_MAX 4096u

static bool is_text(struct mb_slice slice, const char *wanted)
{
    return wanted == NULL || mb_slice_equal(slice, mb_slice_text(wanted));
}

bool mb_replay_matches(const struct mb_replay_filter *filter, const struct mb_dead_info *info)
{
    return info->is_dead_letter && is_text(info->route, filter->route) &&
           is_text(info->reason, filter->reason) && is_text(info->stream, filter->stream) &&
           (filter->since_ms == 0 || info->time_ms >= filter->since_ms);
}

static bool is_at_or_past(struct mb_position position, struct mb_position end)
{
    return position.hi > end.hi || (position.hi == end.hi && position.lo >= end.lo);
}

static bool is_past_end(const struct mb_replay *replay, const struct mb_scope *scope,
                        const struct mb_message *message, const struct mb_dead_info *info)
{
    if (scope->end.kind != MB_POSITION_NONE && scope->end.kind == message->position.kind)
        return is_at_or_past(message->position, scope->end);
    return info->time_ms >= replay->began_ms;
}

/* Where one acknowledgement covers all before it, nothing behind what is left may be done. */
static bool is_past_end_for_good(const struct mb_replay *replay, const struct mb_scope *scope,
                                 uint64_t source_traits)
{
    return replay->met_end && scope->end.kind == MB_POSITION_NONE &&
           (source_traits & MB_SOURCE_ACKS_IN_ORDER) != 0;
}

/* The platform of the endpoint that the original came from. */
static struct mb_slice platform_of(const struct mb_config_route *route, struct mb_slice endpoint)
{
    for (size_t i = 0; i < route->origins_count; i++) {
        if (mb_slice_equal(mb_slice_text(route->origins[i].endpoint->name), endpoint))
            return mb_slice_text(route->origins[i].endpoint->backend->name);
    }
    return route->origins_count > 0 ? mb_slice_text(route->origins[0].endpoint->backend->name)
                                    : MB_SLICE_NULL;
}

static bool goes_home(const struct mb_config_route *route, struct mb_slice platform)
{
    for (size_t i = 0; i < route->to_count; i++) {
        if (mb_slice_equal(mb_slice_text(route->to[i].endpoint->backend->name), platform))
            return true;
    }
    return false;
}

/* The original from its form on another platform. */
static enum mb_status restore(const struct mb_config_route *route, struct mb_slice platform,
                              struct mb_message *message, struct mb_arena *arena)
{
    static const unsigned char no_entries[] = {1};
    struct mb_message *whole = mb_arena_alloc(arena, sizeof *whole);
    bool had_sidecar = message->sidecar.data != NULL;
    bool malformed;

    if (whole == NULL || mb_sidecar_restore(message, arena, whole, &malformed) != MB_OK)
        return MB_NO_MEMORY;
    *message = *whole;
    /* Where it goes back to its own platform, headers and properties of one name are two things:
     * a sink takes them for one unless there is a sidecar, be it empty. */
    if (had_sidecar && !malformed && goes_home(route, platform))
        message->sidecar = (struct mb_slice){no_entries, sizeof no_entries};
    return MB_OK;
}

/* The stream of dead letters shows its own exchange, key and time where the original had others. */
static void put_back(const struct mb_dead_info *info, struct mb_message *message)
{
    if (info->exchange.data != NULL) {
        message->properties->exchange = info->exchange;
        message->present |= MB_HAS_EXCHANGE;
    }
    if (info->routing_key.data != NULL) {
        message->properties->routing_key = info->routing_key;
        message->present |= MB_HAS_ROUTING_KEY;
    }
    if (info->has_timestamp) {
        message->timestamp_ms = info->timestamp_ms;
        message->timestamp_kind = MB_TIMESTAMP_LOG_APPEND;
        message->present |= MB_HAS_TIMESTAMP;
    }
    if (info->has_ttl) {
        message->ttl_ms = info->ttl_ms;
        message->present |= MB_HAS_TTL;
    }
    /* One that is over would end the message on its arrival: who replays it wants it to arrive. */
    if (info->has_expires && info->expires_at_ms > mb_clock_wall_ms()) {
        message->expires_at_ms = info->expires_at_ms;
        message->present |= MB_HAS_EXPIRES_AT;
    }
}

/* What the original had, else one of the dead letter: a replay that is repeated gives the same. */
static enum mb_status give_id(const struct mb_dead_info *info, const struct mb_origin *read_at,
                              struct mb_message *message, struct mb_arena *arena)
{
    struct mb_text id = {.max_size = ID_SIZE_MAX};
    enum mb_status status = MB_OK;

    if (info->id.size > 0) {
        message->stable_id = info->id;
        return MB_OK;
    }
    message->origin = read_at;
    mb_stable_id_add(&id, message);
    if (id.memory_out) {
        status = MB_NO_MEMORY;
    } else if (!id.failed && id.size > 0) {
        message->stable_id = mb_slice_copy(arena, (struct mb_slice){id.data, id.size});
        if (message->stable_id.data == NULL)
            status = MB_NO_MEMORY;
    }
    mb_text_release(&id);
    return status;
}

static void give_origin(struct mb_slice platform, const struct mb_dead_info *info,
                        struct mb_replayed *replayed)
{
    replayed->info = *info;
    replayed->origin = (struct mb_origin){
        /* Tells it from the origin of a scope. */
        .struct_size = sizeof *replayed,
        .partition = info->partition,
        .partitions_count = info->partitions,
        .platform = platform,
        .endpoint = info->endpoint,
        .identity = info->identity,
        .stream = info->stream,
    };
}

enum mb_status mb_replay_restore(const struct mb_config_route *route,
                                 const struct mb_origin *scope_origin,
                                 const struct mb_dead_info *info, struct mb_message *message,
                                 struct mb_arena *arena)
{
    struct mb_slice platform = platform_of(route, info->endpoint);
    struct mb_replayed *replayed = mb_arena_alloc(arena, sizeof *replayed);
    enum mb_status status = MB_OK;

    if (replayed == NULL)
        return MB_NO_MEMORY;
    if (!mb_slice_equal(platform, scope_origin->platform)) {
        status = restore(route, platform, message, arena);
        /* It may hold more than its own platform can, restored from an earlier sidecar: no sink is
         * to write it as it is. */
        platform = MB_SLICE_LITERAL("");
    }
    if (status == MB_OK)
        status = mb_dead_letter_strip(message, arena);
    if (status == MB_OK)
        status = give_id(info, scope_origin, message, arena);
    if (status == MB_OK && !mb_properties_own(message, arena))
        status = MB_NO_MEMORY;
    if (status != MB_OK)
        return status;
    put_back(info, message);
    give_origin(platform, info, replayed);
    message->origin = &replayed->origin;
    return MB_OK;
}

enum mb_status mb_replay_take(struct mb_replay *replay, const struct mb_config_route *route,
                              const struct mb_scope *scope, uint64_t source_traits,
                              struct mb_message *message, struct mb_arena *arena,
                              enum mb_replay_verdict *ret_verdict)
{
    bool consumes = (source_traits & MB_SOURCE_CONSUMES) != 0;
    struct mb_dead_info info;

    mb_dead_info_read(message, &info);
    if (is_past_end_for_good(replay, scope, source_traits) ||
        is_past_end(replay, scope, message, &info)) {
        replay->met_end = true;
        *ret_verdict = MB_REPLAY_LEAVE;
    } else if (mb_replay_is_full(replay)) {
        *ret_verdict = MB_REPLAY_LEAVE;
    } else if (!mb_replay_matches(&replay->filter, &info)) {
        *ret_verdict = consumes ? MB_REPLAY_LEAVE : MB_REPLAY_SKIP;
    } else {
        *ret_verdict = MB_REPLAY_SEND;
        replay->matched++;
        return mb_replay_restore(route, &scope->origin, &info, message, arena);
    }
    if (*ret_verdict == MB_REPLAY_LEAVE)
        replay->left++;
    return MB_OK;
}

/* The groups of the origin's name, by the pattern of what the route reads else. */
static enum mb_status find_matches(const struct mb_config_route *route, struct mb_entry *entry,
                                   struct mb_arena *arena)
{
    const struct mb_origin *origin = entry->message->origin;
    struct mb_matches *matches = mb_arena_alloc(arena, sizeof *matches);
    char *name = mb_arena_alloc(arena, origin->stream.size + 1);

    if (matches == NULL || name == NULL)
        return MB_NO_MEMORY;
    if (origin->stream.size > 0)
        memcpy(name, origin->stream.data, origin->stream.size);
    name[origin->stream.size] = '\0';
    *matches = (struct mb_matches){{{NULL, 0}}};
    for (size_t i = 0; i < route->origins_count && matches->groups[0].data == NULL; i++) {
        if (mb_slice_equal(mb_slice_text(route->origins[i].endpoint->name), origin->endpoint))
            mb_pattern_groups(&route->origins[i], name, matches);
    }
    entry->matches = matches;
    return MB_OK;
}

static enum mb_status take_entry(struct mb_lane *lane, struct mb_entry *entry)
{
    struct mb_arena *arena = &lane->window.arena.arena;
    enum mb_replay_verdict verdict;
    enum mb_status status = mb_replay_take(lane->route->replay, lane->route, entry->scope,
                                           lane->source_traits, entry->message, arena, &verdict);

    if (status != MB_OK)
        return status;
    switch (verdict) {
    case MB_REPLAY_SEND:
        return lane->has_matches ? find_matches(lane->route, entry, arena) : MB_OK;
    case MB_REPLAY_SKIP:
        entry->dropped = MB_DROP_STEP;
        entry->want = 0;
        break;
    case MB_REPLAY_LEAVE:
        entry->released = true;
        mb_counter_add(&lane->counters->released, 1);
        lane->settled++;
        break;
    }
    return MB_OK;
}

enum mb_status mb_replay_entry(struct mb_lane *lane, struct mb_entry *entry)
{
    struct mb_message *original;
    enum mb_status status = MB_OK;

    if (lane->route->replay != NULL)
        status = take_entry(lane, entry);
    if (status != MB_OK || lane->dead_letter == NULL ||
        (lane->steps_count == 0 && lane->key.from == MB_KEY_AS_IT_IS))
        return status;
    /* A dead letter is what came, not what the steps made of it. They change the struct, not what
     * it points to. */
    original = mb_arena_alloc(&lane->window.arena.arena, sizeof *original);
    if (original == NULL)
        return MB_NO_MEMORY;
    *original = *entry->message;
    entry->original = original;
    return MB_OK;
}

bool mb_replay_moves(struct mb_lane *lane, uint64_t taken)
{
    struct mb_replay *replay = lane->route->replay;
    uint64_t left;

    if (replay == NULL)
        return true;
    left = replay->left - replay->left_seen;
    replay->left_seen = replay->left;
    return !replay->met_end || left < taken;
}

bool mb_replay_is_over(struct mb_lane *lane)
{
    const struct mb_replay *replay = lane->route->replay;
    struct mb_error err;

    if (replay == NULL || mb_window_count(&lane->window) > 0)
        return false;
    if (mb_replay_is_full(replay))
        return true;
    if (!mb_replay_is_stuck(replay))
        return false;
    mb_error_set(&err, MB_FATAL, MB_CAUSE_NONE, "in-the-way",
                 "%llu dead letters that are not wanted stand in front: so many can be left in a "
                 "queue, and no more; replay or take those first",
                 (unsigned long long)replay->left);
    mb_lane_fail(lane, &err);
    return true;
}
