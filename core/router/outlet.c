/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/clock.h"
#include "core/router/dead_letter.h"
#include "core/router/destination.h"
#include "core/router/expiry.h"
#include "core/router/lane.h"
#include "core/router/replay.h"
#include "kit/provenance.h"

#include <stdlib.h>

#define SEND_BATCH_MAX  128u
#define COMPLETIONS_MAX 256u

static void ignore_event(void *context, struct mb_port *port, const struct mb_event *event)
{
    (void)context;
    switch ((enum mb_event_kind)event->kind) {
    case MB_EVENT_UP:
        mb_port_note(port, true, NULL);
        break;
    case MB_EVENT_DOWN:
    case MB_EVENT_BLOCKED:
        if (event->error != NULL)
            mb_port_note(port, false, event->error);
        break;
    case MB_EVENT_SCOPE_ASSIGNED:
    case MB_EVENT_SCOPE_REVOKED:
    case MB_EVENT_SCOPE_LOST:
    case MB_EVENT_COMMITTED:
    case MB_EVENT_LOSS:
        break; /* a sink has no scopes */
    }
}

static enum mb_status templates_init(struct mb_outlet *outlet,
                                     const struct mb_config_stream *stream, struct mb_error *err)
{
    const struct mb_option_table *table = stream->settings.table;

    for (size_t i = 0; i < table->count; i++) {
        const struct mb_option *row = &table->rows[i];
        const char *text;
        enum mb_status status;

        if (row->type != MB_OPTION_TEMPLATE || row->slot >= MB_NAMES_MAX)
            continue;
        text = mb_settings_text(&stream->settings, row->name);
        if (text == NULL)
            continue;
        if ((row->flags & MB_OPTION_NAMES_STREAM) != 0 && outlet->destination_slot == MB_NAMES_MAX)
            outlet->destination_slot = row->slot;
        status = mb_template_create(text, &outlet->templates[row->slot], err);
        if (status != MB_OK)
            return status;
        if (mb_template_match_max(outlet->templates[row->slot]) >= 0)
            outlet->has_matches = true;
        if (!mb_template_is_fixed(outlet->templates[row->slot])) {
            outlet->templated = true;
            outlet->port.params.names_templated |= UINT64_C(1) << row->slot;
        } else {
            status = mb_template_render(outlet->templates[row->slot], NULL, NULL, NULL,
                                        &outlet->fixed_names[row->slot], err);
            if (status != MB_OK)
                return status;
        }
    }
    return MB_OK;
}

/* What the sink adds to a message that came from the lane's source. On one platform a message is
 * written as it was; only a route whose messages may come back to it needs their path. */
static uint8_t provenance_of(const struct mb_config_route *route, const struct mb_backend *source,
                             const struct mb_backend *sink)
{
    const uint8_t trail = MB_PROVENANCE_ID | MB_PROVENANCE_PATH;
    bool same = strcmp(source->name, sink->name) == 0;

    for (size_t i = 0; i < route->origins_count; i++)
        same = (i == 0 || same) && route->origins[i].endpoint->backend == sink;
    switch (route->provenance) {
    case MB_PROVENANCE_NEVER:
        return 0;
    case MB_PROVENANCE_ALWAYS:
        return same ? trail : trail | MB_PROVENANCE_SIDECAR;
    case MB_PROVENANCE_AUTO:
        break;
    }
    if (!same)
        return trail | MB_PROVENANCE_SIDECAR;
    return route->allow_cycle ? MB_PROVENANCE_PATH : 0;
}

enum mb_status mb_outlet_init(struct mb_outlet *outlet, struct mb_lane *lane,
                              const struct mb_config_stream *stream, uint32_t index,
                              bool is_dead_letter, struct mb_error *err)
{
    mb_port_init(&outlet->port, MB_ROLE_SINK, lane->env, lane->route, stream,
                 is_dead_letter ? "dead letter" : "sink", lane->number);
    outlet->port.event = ignore_event;
    outlet->port.event_context = outlet;
    outlet->port.wake = &lane->wake;
    outlet->port.counters = lane->counters;
    outlet->port.params.provenance = provenance_of(
        lane->route, lane->source.stream->endpoint->backend, stream->endpoint->backend);
    outlet->ops = stream->endpoint->backend->sink;
    outlet->bit = UINT64_C(1) << index;
    outlet->index = index;
    outlet->is_dead_letter = is_dead_letter;
    /* What was refused for the sake of fidelity has to have a place to go. */
    if (is_dead_letter) {
        outlet->port.params.strict = false;
        outlet->port.params.effectively_once = false;
    }
    outlet->in_flight_max = UINT32_MAX;
    outlet->destination_slot = MB_NAMES_MAX;
    outlet->has_path =
        !is_dead_letter && (outlet->port.params.provenance & MB_PROVENANCE_PATH) != 0;
    outlet->port.wants_identity =
        (outlet->port.params.provenance & (MB_PROVENANCE_ID | MB_PROVENANCE_PATH)) != 0 ||
        outlet->port.params.effectively_once;
    outlet->backoff = outlet->port.backoff;
    outlet->cursor = lane->window.head;
    return templates_init(outlet, stream, err);
}

void mb_outlet_release(struct mb_outlet *outlet)
{
    for (size_t i = 0; i < MB_NAMES_MAX; i++)
        mb_template_destroy(outlet->templates[i]);
}

/* The dead letter's names come from the original message, not from the headers added to it. */
static enum mb_status letter_names(struct mb_lane *lane, struct mb_entry *entry,
                                   struct mb_error *err)
{
    struct mb_outlet *outlet = lane->dead_letter;

    for (size_t slot = 0; slot < MB_NAMES_MAX; slot++) {
        enum mb_status status;

        if (outlet->templates[slot] == NULL)
            continue;
        status = mb_template_render(outlet->templates[slot], entry->message, entry->matches,
                                    &lane->window.arena.arena, &entry->dead->names[slot], err);
        if (status != MB_OK)
            return status;
    }
    return MB_OK;
}

static enum mb_status letter_create(struct mb_lane *lane, uint64_t sequence, const char *reason,
                                    const char *text, struct mb_error *err)
{
    struct mb_entry *entry = mb_window_at(&lane->window, sequence);
    struct mb_outlet *outlet = lane->dead_letter;
    const struct mb_message *original = entry->original != NULL ? entry->original : entry->message;
    struct mb_dead_cause cause = {.route = lane->route->name,
                                  .reason = reason,
                                  .text = text,
                                  .wall_ms = mb_clock_wall_ms(),
                                  .again = mb_replayed_info(lane->route, original)};
    uint64_t end = lane->window.head > lane->polled_end ? lane->window.head : lane->polled_end;
    enum mb_status status;

    /* Whatever the clock does: a replay does not meet again what it gave back. */
    if (lane->route->replay != NULL && cause.wall_ms < lane->route->replay->began_ms)
        cause.wall_ms = lane->route->replay->began_ms;
    status = mb_dead_letter_create(&lane->window.arena.arena, original, &cause, &entry->dead);
    mb_lane_arena_mark(&lane->window.arena, end - 1);
    if (status != MB_OK)
        return mb_error_set(err, status, MB_CAUSE_NONE, "memory", "out of memory");
    status = letter_names(lane, entry, err);
    if (status != MB_OK)
        return status;
    entry->want |= outlet->bit;
    if (outlet->pending++ == 0 || sequence < outlet->cursor)
        outlet->cursor = sequence;
    return MB_OK;
}

void mb_lane_reject(struct mb_lane *lane, uint64_t sequence, uint64_t bits, const char *reason,
                    const char *text)
{
    struct mb_entry *entry = mb_window_at(&lane->window, sequence);
    struct mb_error err;

    if (entry->stale || entry->released)
        return;
    entry->rejected |= bits; /* never sent again, whatever becomes of it */
    if (lane->failed)
        return;
    if (lane->dead_letter != NULL && lane->route->on_reject == MB_REJECT_DEAD_LETTER &&
        (bits & lane->dead_letter->bit) == 0) {
        if (entry->dead != NULL) {
            if ((entry->done & lane->dead_letter->bit) != 0)
                entry->done |= bits;
            return;
        }
        if (letter_create(lane, sequence, reason, text, &err) == MB_OK)
            return;
    } else {
        mb_error_set(&err, MB_REJECTED, MB_CAUSE_MESSAGE, reason,
                     "a message cannot be carried and the route has no other way: %s", text);
    }
    mb_lane_fail(lane, &err);
}

void mb_outlet_done(struct mb_lane *lane, struct mb_outlet *outlet, struct mb_entry *entry)
{
    entry->done |= outlet->bit;
    if (outlet->is_dead_letter)
        entry->done |= entry->rejected;
    else
        mb_counter_add(&lane->counters->confirmed[lane->route->sinks_before + outlet->index], 1);
}

static void confirmed(struct mb_lane *lane, struct mb_outlet *outlet, struct mb_entry *entry,
                      const struct mb_completion *completion)
{
    entry->attempted |= outlet->bit;
    if (lane->transaction != NULL && mb_transaction_covers(lane->transaction, outlet))
        entry->staged = true;
    else
        mb_outlet_done(lane, outlet, entry);
    if (outlet->index == 0)
        entry->destination = completion->position;
    if (outlet->in_flight_max != UINT32_MAX) {
        if (outlet->in_flight_max == 1) {
            mb_backoff_reset(&outlet->backoff);
            mb_port_note(&outlet->port, true, NULL);
        }
        outlet->in_flight_max = outlet->in_flight_max >= lane->window.max_messages
                                    ? UINT32_MAX
                                    : outlet->in_flight_max + 1;
    }
}

static bool attempts_are_used_up(const struct mb_lane *lane, const struct mb_outlet *outlet)
{
    return lane->route->retry_attempts > 0 &&
           outlet->backoff.attempts >= lane->route->retry_attempts;
}

static void refused(struct mb_lane *lane, struct mb_outlet *outlet, struct mb_entry *entry,
                    uint64_t sequence, const struct mb_completion *completion)
{
    const char *reason = completion->reason != NULL ? completion->reason : "refused";
    const char *text = completion->text != NULL ? completion->text : "the sink refused a message";
    struct mb_error err;

    if (completion->cause == MB_CAUSE_MESSAGE ||
        (completion->cause == MB_CAUSE_DESTINATION && attempts_are_used_up(lane, outlet))) {
        mb_backoff_reset(&outlet->backoff);
        mb_lane_reject(lane, sequence, outlet->bit, reason, text);
        return;
    }
    if (completion->cause == MB_CAUSE_CONNECTION)
        entry->attempted |= outlet->bit;
    if (outlet->is_dead_letter)
        outlet->pending++;
    mb_counters_retry(lane->counters, reason);
    if (!outlet->refused) {
        mb_error_set(&err, MB_AGAIN, MB_CAUSE_DESTINATION, reason, "%s", text);
        mb_port_note(&outlet->port, false, &err);
    }
    outlet->refused = true;
    if (!outlet->missing && (strcmp(reason, "missing") == 0 || strcmp(reason, "unroutable") == 0))
        outlet->missing = mb_destination_is_made(outlet->port.stream, &outlet->port.params);
}

/* false: the sink broke the contract. */
static bool complete(struct mb_lane *lane, struct mb_outlet *outlet,
                     const struct mb_completion *completion)
{
    struct mb_window *window = &lane->window;
    uint64_t sequence = completion->sequence;
    struct mb_entry *entry;

    if (sequence < window->tail || sequence >= window->head)
        return false;
    entry = mb_window_at(window, sequence);
    if ((entry->sent & outlet->bit) == 0)
        return false;
    entry->sent &= ~outlet->bit;
    outlet->in_flight--;
    if (completion->cause == MB_CAUSE_NONE)
        confirmed(lane, outlet, entry, completion);
    else
        refused(lane, outlet, entry, sequence, completion);
    mb_lane_update(lane, sequence);
    return true;
}

/* What was in flight is unknown: it is sent again, and in order what follows it. */
void mb_outlet_lost(struct mb_lane *lane, struct mb_outlet *outlet, int64_t now_ms)
{
    struct mb_window *window = &lane->window;
    uint64_t until = outlet->is_dead_letter ? window->head : outlet->cursor;
    bool in_transactions = mb_transaction_covers(lane->transaction, outlet);

    if (in_transactions)
        mb_transaction_lost(lane->transaction);
    if (outlet->port.error.cause == MB_CAUSE_DESTINATION)
        outlet->in_flight_max = 1;
    for (uint64_t s = window->tail; s != window->head && outlet->in_flight > 0; s++) {
        struct mb_entry *entry = mb_window_at(window, s);

        if ((entry->sent & outlet->bit) == 0)
            continue;
        entry->sent &= ~outlet->bit;
        entry->attempted |= outlet->bit;
        outlet->in_flight--;
        if (outlet->is_dead_letter)
            outlet->pending++;
        mb_lane_update(lane, s);
    }
    outlet->cursor = mb_window_rewind(
        window, outlet->bit, until, lane->route->order == MB_ORDER_KEY && !outlet->is_dead_letter);
    outlet->phase = MB_OUTLET_FLOWING;
    outlet->refused = false;
    outlet->missing = false;
    outlet->dirty = false;
    mb_counters_retry(lane->counters, outlet->port.error.reason[0] != '\0'
                                          ? outlet->port.error.reason
                                          : "connection");
    mb_port_fail(&outlet->port, now_ms);
    if (in_transactions)
        mb_lane_source_reopen(lane, now_ms);
}

/* Opening makes a missing destination, so the instance goes, although it works. */
static void destination_missing(struct mb_lane *lane, struct mb_outlet *outlet, int64_t now_ms)
{
    struct mb_error *err = &outlet->port.error;

    mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, outlet->port.logged_reason,
                 "the destination is gone");
    err->retry_after_ms = (uint32_t)mb_backoff_next_ms(&outlet->backoff);
    mb_outlet_lost(lane, outlet, now_ms);
}

static void phase_step(struct mb_lane *lane, struct mb_outlet *outlet, int64_t now_ms)
{
    struct mb_window *window = &lane->window;

    if (outlet->phase == MB_OUTLET_FLOWING && outlet->refused)
        outlet->phase = MB_OUTLET_SETTLING;
    if (outlet->phase == MB_OUTLET_SETTLING && outlet->in_flight == 0 && outlet->missing) {
        destination_missing(lane, outlet, now_ms);
        return;
    }
    if (outlet->phase == MB_OUTLET_SETTLING && outlet->in_flight == 0) {
        outlet->phase = MB_OUTLET_WAITING;
        outlet->resume_ms = now_ms + mb_backoff_next_ms(&outlet->backoff);
    }
    if (outlet->phase == MB_OUTLET_WAITING && now_ms >= outlet->resume_ms) {
        outlet->cursor = mb_window_rewind(
            window, outlet->bit, outlet->is_dead_letter ? window->head : outlet->cursor,
            lane->route->order == MB_ORDER_KEY && !outlet->is_dead_letter);
        outlet->in_flight_max = 1;
        outlet->refused = false;
        outlet->phase = MB_OUTLET_FLOWING;
    }
}

static bool slot_is_templated(const struct mb_outlet *outlet)
{
    return outlet->destination_slot < MB_NAMES_MAX &&
           (outlet->port.params.names_templated & UINT64_C(1) << outlet->destination_slot) != 0;
}

/* A new connection may be to another cluster. */
static void outlet_opened(struct mb_outlet *outlet)
{
    const struct mb_port *port = &outlet->port;
    const struct mb_backend *backend = port->stream->endpoint->backend;
    struct mb_stream_record record = {.struct_size = sizeof record};
    struct mb_slice name = MB_SLICE_NULL;

    outlet->opens_seen = port->opens;
    outlet->has_destination_hash = false;
    if (!outlet->has_path || slot_is_templated(outlet))
        return;
    if (backend->stream != NULL &&
        backend->stream(port->params.endpoint, MB_ROLE_SINK, port->params.options, &port->params, 0,
                        &record) == MB_OK &&
        record.name != NULL)
        name = mb_slice_text(record.name);
    else if (outlet->destination_slot < MB_NAMES_MAX)
        name = outlet->fixed_names[outlet->destination_slot];
    if (name.size == 0)
        return;
    outlet->has_destination_hash = true;
    outlet->destination_hash = mb_path_hash(mb_slice_text(port->identity), name);
}

bool mb_outlet_destination(const struct mb_outlet *outlet, const struct mb_entry *entry,
                           uint64_t *ret_hash)
{
    struct mb_slice name;

    if (outlet->has_destination_hash) {
        *ret_hash = outlet->destination_hash;
        return true;
    }
    if (!slot_is_templated(outlet) || entry->names == NULL)
        return false;
    name = entry->names[outlet->names_index * MB_NAMES_MAX + outlet->destination_slot];
    *ret_hash = mb_path_hash(mb_slice_text(outlet->port.identity), name);
    return name.size > 0;
}

bool mb_outlet_collect(struct mb_lane *lane, struct mb_outlet *outlet, int64_t now_ms)
{
    struct mb_completion completions[COMPLETIONS_MAX];
    struct mb_error *err = &outlet->port.error;
    enum mb_status status;
    size_t count = 0;
    bool progress = false;

    if (outlet->port.open_failed && err->status == MB_FATAL && !lane->failed)
        mb_lane_fail(lane, err);
    mb_port_step(&outlet->port, now_ms);
    if (outlet->port.state != MB_PORT_OPEN)
        return false;
    if (outlet->opens_seen != outlet->port.opens) {
        outlet_opened(outlet);
        if (!outlet->is_dead_letter)
            mb_transaction_opened(lane->transaction);
    }
    status = outlet->ops->service(outlet->port.sink, err);
    while (status == MB_OK || status == MB_AGAIN) {
        count = 0;
        status =
            outlet->ops->completions(outlet->port.sink, completions, COMPLETIONS_MAX, &count, err);
        for (size_t i = 0; i < count; i++) {
            if (!complete(lane, outlet, &completions[i])) {
                status = mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "contract",
                                      "the backend completed a message that is not in flight");
                break;
            }
        }
        progress = progress || count > 0;
        if (count < COMPLETIONS_MAX)
            break;
    }
    if (status != MB_OK && status != MB_AGAIN) {
        mb_outlet_lost(lane, outlet, now_ms);
        return true;
    }
    phase_step(lane, outlet, now_ms);
    return progress;
}

/* A message that has waited too long is skipped, unless it may be there already. */
static bool is_expired(struct mb_lane *lane, const struct mb_outlet *outlet, uint64_t sequence)
{
    struct mb_entry *entry = mb_window_at(&lane->window, sequence);
    int64_t now_ms = mb_clock_monotonic_ms();

    if (now_ms < entry->expires_ms) {
        if ((entry->sent | entry->attempted | entry->done) == 0)
            mb_expiry_shorten(entry->message, entry->expires_ms, now_ms);
        return false;
    }
    if ((entry->attempted & outlet->bit) != 0)
        return false;
    entry->dropped = MB_DROP_EXPIRED;
    entry->done |= outlet->bit;
    mb_lane_update(lane, sequence);
    return true;
}

/* Collects what to send next into items; *ret_next is the cursor behind them. */
static size_t gather(struct mb_lane *lane, struct mb_outlet *outlet, struct mb_outgoing *items,
                     size_t max, uint64_t *ret_next, bool *ret_expired)
{
    struct mb_window *window = &lane->window;
    uint64_t s = outlet->cursor < window->tail ? window->tail : outlet->cursor;
    size_t count = 0;

    for (; s != window->head && count < max; s++) {
        struct mb_entry *entry = mb_window_at(window, s);
        struct mb_outgoing *item;

        if (entry->resolved || entry->stale || entry->released ||
            (entry->want & outlet->bit) == 0 ||
            ((entry->done | entry->sent | entry->rejected) & outlet->bit) != 0)
            continue;
        /* A route that failed begins nothing: it would be behind what it stops for. */
        if (lane->failed && !outlet->is_dead_letter && s >= lane->begun)
            break;
        if (entry->expires_ms != 0 && !outlet->is_dead_letter && is_expired(lane, outlet, s)) {
            *ret_expired = true;
            continue;
        }
        item = &items[count++];
        item->sequence = s;
        if (outlet->is_dead_letter) {
            item->message = entry->dead->message;
            memcpy(item->names, entry->dead->names, sizeof item->names);
            continue;
        }
        item->message = entry->message;
        memcpy(item->names, outlet->fixed_names, sizeof item->names);
        if (outlet->templated && entry->names != NULL) {
            const struct mb_slice *names = entry->names + outlet->names_index * MB_NAMES_MAX;

            for (size_t slot = 0; slot < MB_NAMES_MAX; slot++) {
                if (names[slot].data != NULL)
                    item->names[slot] = names[slot];
            }
        }
    }
    *ret_next = s;
    return count;
}

static void mark_sent(struct mb_lane *lane, struct mb_outlet *outlet,
                      const struct mb_outgoing *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct mb_entry *entry = mb_window_at(&lane->window, items[i].sequence);

        entry->sent |= outlet->bit;
        if ((entry->attempted & outlet->bit) != 0)
            mb_counter_add(&lane->counters->duplicates, 1);
    }
    outlet->in_flight += (uint32_t)count;
    if (count > 0 && items[count - 1].sequence >= lane->begun)
        lane->begun = items[count - 1].sequence + 1;
    if (outlet->is_dead_letter)
        outlet->pending -= count;
    outlet->dirty = outlet->dirty || count > 0;
}

/* What a sink stores that tells repeats by their positions says that everything before it is done
 * with: after a crash a message whose dead letter was not yet confirmed would be taken for one, and
 * after the stop of a route that which it stops for. */
static bool waits_for_letters(const struct mb_lane *lane, const struct mb_outlet *outlet)
{
    const struct mb_outlet *letters = lane->dead_letter;

    if (!outlet->port.params.effectively_once || mb_transaction_covers(lane->transaction, outlet))
        return false;
    return lane->failed || (letters != NULL && (letters->pending > 0 || letters->in_flight > 0));
}

bool mb_outlet_send(struct mb_lane *lane, struct mb_outlet *outlet, int64_t now_ms)
{
    struct mb_outgoing items[SEND_BATCH_MAX];
    struct mb_error *err = &outlet->port.error;
    bool progress = false;

    while (outlet->port.state == MB_PORT_OPEN && outlet->phase == MB_OUTLET_FLOWING &&
           !outlet->refused && outlet->in_flight < outlet->in_flight_max &&
           (!outlet->is_dead_letter || outlet->pending > 0)) {
        uint32_t room = outlet->in_flight_max - outlet->in_flight;
        size_t taken = 0;
        uint64_t next;
        enum mb_status status = MB_OK;
        size_t count = gather(lane, outlet, items, room < SEND_BATCH_MAX ? room : SEND_BATCH_MAX,
                              &next, &progress);

        if (count == 0) {
            outlet->cursor = next;
            /* What was to be buried went with its scope: nobody is to wait for it. */
            progress = progress || outlet->pending > 0;
            outlet->pending = 0;
            break;
        }
        if (waits_for_letters(lane, outlet))
            break;
        if (!outlet->is_dead_letter) {
            status = mb_transaction_begin(lane->transaction, now_ms);
            if (status == MB_AGAIN)
                break;
        }
        if (status == MB_OK)
            status = outlet->ops->send(outlet->port.sink, items, count, &taken, err);
        mark_sent(lane, outlet, items, taken);
        outlet->cursor = taken == count ? next : items[taken].sequence;
        if (!outlet->is_dead_letter)
            mb_transaction_sent(lane->transaction);
        progress = progress || taken > 0;
        if (status != MB_OK && status != MB_AGAIN) {
            mb_outlet_lost(lane, outlet, now_ms);
            return true;
        }
        if (taken < count)
            break;
    }
    return progress;
}

void mb_outlet_flush(struct mb_lane *lane, struct mb_outlet *outlet, int64_t now_ms)
{
    enum mb_status status;

    if (outlet->port.state != MB_PORT_OPEN || !outlet->dirty)
        return;
    status = outlet->ops->flush(outlet->port.sink, &outlet->port.error);
    if (status == MB_OK)
        outlet->dirty = false;
    else if (status != MB_AGAIN)
        mb_outlet_lost(lane, outlet, now_ms);
}
