/* SPDX-License-Identifier: Apache-2.0 */
/* The transactions of the hand broker's sink 0. */
#include "hand_broker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum mb_status hand_sink_begin(struct mb_sink *sink, struct mb_error *err)
{
    (void)sink;
    (void)err;
    assert_false(hand.store.in_transaction);
    hand.store.in_transaction = true;
    hand.store.begins++;
    return MB_OK;
}

static size_t place_of(struct mb_slice stream)
{
    char name[64];
    size_t i;

    snprintf(name, sizeof name, "%.*s", (int)stream.size, (const char *)stream.data);
    for (i = 0; i < hand.store.positions_count; i++) {
        if (strcmp(hand.store.positions[i].stream, name) == 0)
            return i;
    }
    assert_true(i < HAND_STREAMS_MAX);
    memcpy(hand.store.positions[i].stream, name, sizeof name);
    hand.store.positions_count++;
    return i;
}

enum mb_status hand_sink_positions(struct mb_sink *sink, const char *group,
                                   const struct mb_stored_position *positions, size_t count,
                                   struct mb_error *err)
{
    (void)sink;
    (void)err;
    assert_string_equal(group, "mbridge.t.r");
    assert_true(hand.store.in_transaction);
    for (size_t i = 0; i < count; i++) {
        size_t place = place_of(positions[i].stream);

        hand.store.positions[place].pending = positions[i].position;
        hand.store.positions[place].flags = positions[i].flags;
    }
    return MB_OK;
}

static void forget(void)
{
    hand.sinks[0].sent_count = hand.store.committed_count;
    hand.sinks[0].flight_count = 0;
    for (size_t i = 0; i < hand.store.positions_count; i++)
        hand.store.positions[i].pending.kind = MB_POSITION_NONE;
}

enum mb_status hand_sink_commit(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err)
{
    enum mb_status status = hand.store.commit_status;

    (void)sink;
    (void)timeout_ms;
    assert_true(hand.store.in_transaction);
    assert_int_equal(hand.sinks[0].flight_count, 0);
    hand.store.commit_status = MB_OK;
    if (status != MB_OK)
        mb_error_set(err, status, MB_CAUSE_CONNECTION, "commit", "the commit failed");
    if (status == MB_OK || hand.store.commit_applies) {
        hand.store.committed_count = hand.sinks[0].sent_count;
        hand.store.commits++;
        for (size_t i = 0; i < hand.store.positions_count; i++) {
            if (hand.store.positions[i].pending.kind != MB_POSITION_NONE)
                hand.store.positions[i].position = hand.store.positions[i].pending;
        }
    }
    hand.store.commit_applies = false;
    hand.store.in_transaction = status != MB_OK;
    return status;
}

enum mb_status hand_sink_abort(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err)
{
    (void)sink;
    (void)timeout_ms;
    (void)err;
    assert_true(hand.store.in_transaction);
    forget();
    hand.store.in_transaction = false;
    hand.store.aborts++;
    return MB_OK;
}

enum mb_status hand_sink_load_positions(struct mb_sink *sink, const char *group,
                                        struct mb_stored_position *positions, size_t count,
                                        uint32_t timeout_ms, struct mb_error *err)
{
    enum mb_status status = hand.store.load_status;

    (void)sink;
    (void)timeout_ms;
    assert_string_equal(group, "mbridge.t.r");
    assert_false(hand.store.in_transaction);
    hand.store.load_status = MB_OK;
    hand.store.loads++;
    for (size_t i = 0; i < count; i++)
        positions[i].position = hand.store.positions[place_of(positions[i].stream)].position;
    if (status != MB_OK)
        mb_error_set(err, status, MB_CAUSE_CONNECTION, "load", "nothing could be loaded");
    return status;
}
