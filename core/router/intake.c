/* SPDX-License-Identifier: Apache-2.0 */
/* Taking messages in: the gate, a batch from the source, steps, names. */
#include "core/base/clock.h"
#include "core/router/discover.h"
#include "core/router/expiry.h"
#include "core/router/lane.h"
#include "core/router/replay.h"

#define PAUSE_AFTER_MS 500

/* Where the source kept the bytes that it read, the body lies in them, or is a value that they
 * hold: a value has no body of bytes. */
static uint32_t message_cost(const struct mb_message *message)
{
    size_t body = message->raw.size > message->body.size ? message->raw.size : message->body.size;
    uint64_t cost = sizeof *message + sizeof(struct mb_entry) + body + message->key.size +
                    message->headers_count * sizeof *message->headers;

    if (message->properties != NULL)
        cost += sizeof *message->properties;
    for (uint32_t i = 0; i < message->headers_count; i++) {
        const struct mb_header *header = &message->headers[i];

        cost += header->name.size;
        if (header->value.type == MB_STRING || header->value.type == MB_BINARY)
            cost += header->value.as.bytes.size;
    }
    return cost < UINT32_MAX ? (uint32_t)cost : UINT32_MAX;
}

/* How many messages may be taken now. */
static uint64_t room(const struct mb_lane *lane)
{
    const struct mb_window *window = &lane->window;
    uint64_t held = mb_window_count(window) + lane->uncommitted;
    uint64_t left;

    if (held >= window->max_messages || window->bytes >= window->max_bytes)
        return 0;
    left = window->max_messages - held;
    if (lane->limit_messages > 0) {
        uint64_t rest = lane->limit_messages - lane->taken_total;

        left = left < rest ? left : rest;
    }
    return left < MB_LANE_BATCH_MAX ? left : MB_LANE_BATCH_MAX;
}

static enum mb_status names_render(struct mb_lane *lane, uint64_t sequence)
{
    struct mb_entry *entry = mb_window_at(&lane->window, sequence);
    size_t count = (size_t)lane->templated_count * MB_NAMES_MAX;

    entry->names = mb_arena_alloc(&lane->window.arena.arena, count * sizeof *entry->names);
    if (entry->names == NULL)
        return MB_NO_MEMORY;
    memset(entry->names, 0, count * sizeof *entry->names);
    for (uint32_t i = 0; i < lane->sinks_count; i++) {
        struct mb_outlet *outlet = &lane->outlets[i];

        if (!outlet->templated)
            continue;
        for (size_t slot = 0; slot < MB_NAMES_MAX; slot++) {
            enum mb_status status;
            struct mb_error err;

            if ((outlet->port.params.names_templated & UINT64_C(1) << slot) == 0)
                continue;
            status = mb_template_render(
                outlet->templates[slot], entry->message, entry->matches, &lane->window.arena.arena,
                &entry->names[outlet->names_index * MB_NAMES_MAX + slot], &err);
            if (status == MB_NO_MEMORY)
                return status;
            if (status != MB_OK) {
                mb_lane_reject(lane, sequence, outlet->bit, "template", err.text);
                break;
            }
        }
    }
    return MB_OK;
}

static enum mb_status step_apply(struct mb_lane *lane, const struct mb_lane_step *step,
                                 const struct mb_entry *entry, enum mb_verdict *ret_verdict,
                                 const char **ret_reason)
{
    struct mb_arena *arena = &lane->window.arena.arena;
    struct mb_slice names[MB_NAMES_MAX] = {{NULL, 0}};

    for (size_t slot = 0; slot < MB_NAMES_MAX; slot++) {
        struct mb_error err;
        enum mb_status status;

        if (step->templates[slot] == NULL)
            continue;
        status = mb_template_render(step->templates[slot], entry->message, entry->matches, arena,
                                    &names[slot], &err);
        if (status == MB_NO_MEMORY)
            return status;
        if (status != MB_OK) {
            *ret_verdict = MB_REJECT;
            *ret_reason = "template";
            return MB_OK;
        }
    }
    return step->step->apply(mb_applied_struct(step->applied), names, entry->message, arena,
                             ret_verdict, ret_reason);
}

/* Runs the steps. MB_OK: *ret_verdict says what becomes of the message. */
static enum mb_status steps_apply(struct mb_lane *lane, const struct mb_entry *entry,
                                  enum mb_verdict *ret_verdict, const char **ret_reason,
                                  const char **ret_step)
{
    *ret_verdict = MB_KEEP;
    for (size_t i = 0; i < lane->steps_count && *ret_verdict == MB_KEEP; i++) {
        enum mb_status status = step_apply(lane, &lane->steps[i], entry, ret_verdict, ret_reason);

        *ret_step = lane->steps[i].step->name;
        if (status != MB_OK)
            return status;
    }
    return MB_OK;
}

/* Whether the sink has it already, by the position that it stored with what it has. */
static bool is_stored(const struct mb_entry *entry)
{
    const struct mb_position *stored = &entry->scope->stored;
    const struct mb_position *position = &entry->message->position;

    if (stored->kind == MB_POSITION_NONE || stored->kind != position->kind)
        return false;
    return position->hi < stored->hi || (position->hi == stored->hi && position->lo <= stored->lo);
}

/* What its source says is not to be delivered, and what was tried too often. */
static bool reject_at_once(struct mb_lane *lane, uint64_t sequence, uint64_t sinks)
{
    const struct mb_message *message = mb_window_at(&lane->window, sequence)->message;
    const uint32_t most = lane->route->poison_deliveries;
    const char *why = message->reject_text;
    char text[128];

    if (message->reject_reason != NULL) {
        mb_lane_reject(lane, sequence, sinks, message->reject_reason,
                       why != NULL ? why : "the source cannot deliver this message");
        return true;
    }
    if (most == 0 || message->delivery_count < most)
        return false;
    snprintf(text, sizeof text,
             "the source handed the message out %u times before, and nobody acknowledged it",
             (unsigned)message->delivery_count);
    mb_lane_reject(lane, sequence, sinks, "poison", text);
    return true;
}

/* Whether the message goes to all sinks as it came, without a look at what it holds. */
static bool is_plain(const struct mb_lane *lane, const struct mb_message *message)
{
    return !lane->prepares && message->reject_reason == NULL &&
           (message->present & MB_MAY_EXPIRE) == 0;
}

static enum mb_status entry_prepare(struct mb_lane *lane, uint64_t sequence)
{
    struct mb_entry *entry = mb_window_at(&lane->window, sequence);
    uint64_t sinks = lane->sinks_bits;
    enum mb_verdict verdict = MB_KEEP;
    const char *reason = "step";
    const char *step = "";
    enum mb_status status = MB_OK;

    if (is_stored(entry)) {
        entry->dropped = MB_DROP_STORED;
        return MB_OK;
    }
    entry->want = sinks;
    if ((entry->message->reject_reason != NULL || lane->route->poison_deliveries > 0) &&
        reject_at_once(lane, sequence, sinks))
        return MB_OK;
    if ((entry->message->present & MB_MAY_EXPIRE) != 0) {
        int64_t now_ms = mb_clock_monotonic_ms();

        entry->expires_ms = mb_expiry_of(entry->message, mb_clock_wall_ms(), now_ms);
        if (entry->expires_ms != 0 && entry->expires_ms <= now_ms) {
            entry->dropped = MB_DROP_EXPIRED;
            entry->want = 0;
            return MB_OK;
        }
    }
    if (lane->route->replay != NULL || lane->dead_letter != NULL)
        status = mb_replay_entry(lane, entry);
    if (status != MB_OK || entry->released || entry->want == 0)
        return status;
    if (lane->steps_count > 0)
        status = steps_apply(lane, entry, &verdict, &reason, &step);
    if (status != MB_OK)
        return status;
    if (verdict == MB_DROP) {
        entry->dropped = MB_DROP_STEP;
        entry->want = 0;
    } else if (verdict == MB_REJECT) {
        char text[128];

        snprintf(text, sizeof text, "step %s rejected the message: %s", step, reason);
        mb_lane_reject(lane, sequence, sinks, reason, text);
    } else {
        if (lane->key.from != MB_KEY_AS_IT_IS)
            status =
                mb_key_apply(&lane->key, entry->message, entry->matches, &lane->window.arena.arena);
        if (lane->templated_count > 0 && status == MB_OK)
            status = names_render(lane, sequence);
        if (lane->has_paths && status == MB_OK)
            mb_lane_path(lane, sequence);
    }
    return status;
}

/* A batch that is being taken. */
struct taking {
    struct mb_scope *scope; /* of the message before; NULL: none yet */
    uint64_t bytes;
};

/* MB_INVALID: the source broke the contract; the message was not taken. */
static enum mb_status take(struct mb_lane *lane, struct mb_message *message, struct taking *taking)
{
    struct mb_scope *scope = taking->scope;
    struct mb_entry *entry;
    uint64_t sequence = lane->window.head;
    enum mb_status status;

    if (scope == NULL || scope->id != message->scope)
        scope = mb_window_scope(&lane->window, message->scope);
    if (scope == NULL || scope->epoch != message->epoch || scope->state == MB_SCOPE_GONE ||
        scope->state == MB_SCOPE_ASSIGNED || scope->state == MB_SCOPE_LOADED)
        return mb_error_set(&lane->source.error, MB_INVALID, MB_CAUSE_CONNECTION, "contract",
                            "the backend handed out a message of a scope that is not started");
    taking->scope = scope;
    message->origin = &scope->origin;
    message->size_bytes = message_cost(message);
    status = mb_window_push(&lane->window, message, scope, &entry);
    if (status != MB_OK)
        return status;
    taking->bytes += message->body.size + message->key.size;
    if (scope->state == MB_SCOPE_REVOKING) {
        /* It came between the notice and the end: left to the next owner. */
        entry->released = true;
        mb_counter_add(&lane->counters->released, 1);
        lane->settled++;
        mb_lane_update(lane, sequence);
        return MB_OK;
    }
    if (is_plain(lane, message)) {
        entry->want = lane->sinks_bits;
        return MB_OK;
    }
    status = entry_prepare(lane, sequence);
    if (status == MB_OK && mb_entry_is_settled_early(mb_window_at(&lane->window, sequence)))
        mb_lane_update(lane, sequence);
    return status;
}

static void pause_step(struct mb_lane *lane, bool open, int64_t now_ms)
{
    bool paused;

    if (open)
        lane->full_since_ms = 0;
    else if (lane->full_since_ms == 0)
        lane->full_since_ms = now_ms;
    paused = !open && now_ms - lane->full_since_ms >= PAUSE_AFTER_MS;
    if (paused != lane->paused && lane->source_ops->pause != NULL)
        lane->source_ops->pause(lane->source.source, paused);
    lane->paused = paused;
}

static enum mb_status poll_batch(struct mb_lane *lane, struct mb_batch *batch)
{
    struct taking taking = {.scope = NULL};
    enum mb_status status;
    enum mb_status taken = MB_OK;
    uint64_t count = lane->window.head;
    uint32_t done = 0;

    status = lane->source_ops->poll(lane->source.source, batch, &lane->source.error);
    if (batch->count > batch->count_max)
        return mb_error_set(&lane->source.error, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "contract",
                            "the backend filled more of a batch than there is");
    /* The arena holds all of them already. */
    lane->polled_end = lane->window.head + batch->count;
    while (done < batch->count && taken == MB_OK)
        taken = take(lane, batch->messages[done++], &taking);
    count = lane->window.head - count;
    lane->taken_total += count;
    mb_counter_add(&lane->counters->received, count);
    mb_counter_add(&lane->counters->bytes_in, taking.bytes);
    if (lane->window.head != lane->window.tail)
        mb_lane_arena_mark(&lane->window.arena, lane->window.head - 1);
    if (taken == MB_OK)
        return status;
    /* What take refused goes with the connection: nothing of it will be acknowledged. */
    if (taken == MB_NO_MEMORY)
        mb_error_set(&lane->source.error, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "memory",
                     "out of memory for messages");
    return MB_DISCONNECTED;
}

/* A source that trickles is not asked for a full batch: each message of it would be cleared in
 * vain. */
static void batch_adapt(struct mb_lane *lane, uint32_t got, uint32_t asked)
{
    if (got == asked)
        lane->batch_size = asked * 2 < MB_LANE_BATCH_MAX ? asked * 2 : MB_LANE_BATCH_MAX;
    else if (got < lane->batch_size / 4 && lane->batch_size > MB_LANE_BATCH_MIN)
        lane->batch_size /= 2;
}

/* What of count the route's rate lets in now. */
static size_t rate_room(struct mb_lane *lane, size_t count, int64_t now_ms, uint64_t *ret_bytes)
{
    int64_t open_ms;
    uint64_t most = mb_rate_room(lane->rate, now_ms, ret_bytes, &open_ms);

    lane->rate_open_ms = most == 0 ? open_ms : 0;
    return count < most ? count : (size_t)most;
}

bool mb_lane_intake(struct mb_lane *lane, int64_t now_ms)
{
    struct mb_message *messages[MB_LANE_BATCH_MAX];
    struct mb_batch batch = {.struct_size = sizeof batch};
    uint64_t head = lane->window.head;
    enum mb_status status;
    uint64_t bytes_max = UINT64_MAX;
    size_t count;

    if (lane->source.state != MB_PORT_OPEN || lane->phase != MB_LANE_RUNNING || lane->failed)
        return false;
    if (lane->discover != NULL && mb_discover_is_reopening(lane->discover))
        return false;
    count = room(lane);
    if (lane->rate != NULL && count > 0)
        count = rate_room(lane, count, now_ms, &bytes_max);
    pause_step(lane, count > 0, now_ms);
    if (count == 0)
        return false;
    count = count < lane->batch_size ? count : lane->batch_size;
    status = mb_window_take_messages(&lane->window, messages, count);
    if (status != MB_OK) {
        mb_error_set(&lane->source.error, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "memory",
                     "out of memory for messages");
        mb_lane_source_failed(lane, now_ms);
        return true;
    }
    batch.count_max = (uint32_t)count;
    batch.bytes_max = lane->window.max_bytes - lane->window.bytes;
    if (batch.bytes_max > bytes_max)
        batch.bytes_max = bytes_max;
    batch.messages = messages;
    batch.arena = &lane->window.arena.arena;
    status = poll_batch(lane, &batch);
    head = lane->window.head - head;
    if (lane->rate != NULL && head > 0)
        mb_rate_take(lane->rate, now_ms, head, batch.bytes);
    batch_adapt(lane, batch.count, batch.count_max);
    mb_window_give_messages(&lane->window, messages + head, count - head);
    if (head > 0 && mb_replay_moves(lane, head))
        lane->taken_ms = now_ms;
    if (status != MB_OK && status != MB_AGAIN) {
        mb_lane_source_failed(lane, now_ms);
        return true;
    }
    return head > 0;
}
