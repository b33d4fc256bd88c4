/* SPDX-License-Identifier: Apache-2.0 */
/* A message becomes a dead letter, and the original again. */
#include "core/router/replay.h"
#include "kit/field.h"

#include "kit/sidecar.h"
#include "kit/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static _Alignas(8) unsigned char memory[65536];
static struct mb_arena arena;

static const struct mb_backend near_backend = {.name = "near"};
static struct mb_config_endpoint near_endpoint = {.name = "a", .backend = &near_backend};
static struct mb_config_stream origins[] = {{.endpoint = &near_endpoint}};
static struct mb_replay replay;
static struct mb_config_route route = {
    .name = "orders", .origins = origins, .origins_count = 1, .to = origins, .replay = &replay};

static const struct mb_header headers[] = {
    {.name = {"region", 6}, .value = {.type = MB_STRING, .as.bytes = {"north", 5}}},
    {.name = {"n", 1}, .value = {.type = MB_I32, .as.i = 42}},
};

static const struct mb_origin origin = {.struct_size = sizeof origin,
                                        .partition = 3,
                                        .partitions_count = 8,
                                        .platform = {"near", 4},
                                        .endpoint = {"a", 1},
                                        .identity = {"cluster", 7},
                                        .stream = {"orders", 6}};
static const struct mb_origin dead_origin = {.struct_size = sizeof dead_origin,
                                             .partition = -1,
                                             .platform = {"near", 4},
                                             .endpoint = {"d", 1},
                                             .stream = {"dead", 4}};

static void *no_more(struct mb_arena *empty, size_t size)
{
    (void)empty;
    (void)size;
    return NULL;
}

static int set_up(void **state)
{
    (void)state;
    arena = (struct mb_arena){memory, memory + sizeof memory, no_more};
    memset(&replay, 0, sizeof replay);
    replay.began_ms = INT64_C(2000000000000);
    return 0;
}

static struct mb_message original_of(void)
{
    static struct mb_properties properties = {.exchange = {"", 0}, .routing_key = {"eu.orders", 9}};
    struct mb_message message = {
        .struct_size = sizeof message,
        .present =
            MB_HAS_KEY | MB_HAS_EXCHANGE | MB_HAS_ROUTING_KEY | MB_HAS_TIMESTAMP | MB_HAS_TTL,
        .origin = &origin,
        .position = {.kind = MB_POSITION_OFFSET, .lo = 77},
        .key = {"k", 1},
        .body = {"body", 4},
        .headers = headers,
        .headers_count = 2,
        .timestamp_ms = 1700000000123,
        .timestamp_kind = MB_TIMESTAMP_LOG_APPEND,
        .ttl_ms = 60000,
        .properties = &properties,
    };

    return message;
}

/* As a source reads it from the stream of dead letters, which has places of its own for some of
 * it. */
static struct mb_message dead_letter_of(const struct mb_message *original, const char *reason,
                                        const struct mb_dead_info *again)
{
    struct mb_dead_cause cause = {.route = "orders",
                                  .reason = reason,
                                  .text = "it cannot be",
                                  .wall_ms = 1700000000456,
                                  .again = again};
    struct mb_dead_letter *letter;
    struct mb_message read;

    assert_int_equal(mb_dead_letter_create(&arena, original, &cause, &letter), MB_OK);
    read = *letter->message;
    read.origin = &dead_origin;
    read.position = (struct mb_position){.kind = MB_POSITION_OFFSET, .lo = 5};
    assert_true(mb_properties_own(&read, &arena));
    read.properties->exchange = (struct mb_slice){"", 0};
    read.properties->routing_key = (struct mb_slice){"dead", 4};
    read.timestamp_ms = 1800000000000;
    return read;
}

static bool is_text(struct mb_slice slice, const char *text)
{
    return mb_slice_equal(slice, mb_slice_text(text));
}

static void test_what_a_dead_letter_says(void **state)
{
    struct mb_message original = original_of();
    struct mb_message dead = dead_letter_of(&original, "size", NULL);
    struct mb_dead_info info;

    (void)state;
    mb_dead_info_read(&dead, &info);
    assert_true(info.is_dead_letter);
    assert_true(is_text(info.reason, "size"));
    assert_true(is_text(info.route, "orders"));
    assert_true(is_text(info.endpoint, "a"));
    assert_true(is_text(info.stream, "orders"));
    assert_true(is_text(info.id, "cluster/orders/3/offset:77"));
    assert_int_equal(info.partition, 3);
    assert_int_equal(info.partitions, 8);
    assert_int_equal(info.position.lo, 77);
    assert_int_equal(info.time_ms, 1700000000456);
    assert_int_equal(info.count, 1);
    /* It waits for somebody to look at it. */
    assert_int_equal(dead.present & (MB_HAS_TTL | MB_HAS_EXPIRES_AT), 0);
    assert_int_equal(original.headers_count, 2);
}

static void test_the_original_again(void **state)
{
    struct mb_message original = original_of();
    struct mb_message dead = dead_letter_of(&original, "size", NULL);
    const struct mb_dead_info *known;
    struct mb_dead_info info;

    (void)state;
    mb_dead_info_read(&dead, &info);
    assert_int_equal(mb_replay_restore(&route, &dead_origin, &info, &dead, &arena), MB_OK);
    assert_int_equal(mb_message_difference(&original, &dead), 0);
    assert_int_equal(dead.timestamp_ms, original.timestamp_ms);
    assert_int_equal(dead.headers_count, 2);
    assert_true(is_text(dead.origin->stream, "orders"));
    assert_true(is_text(dead.origin->platform, "near"));
    assert_true(is_text(dead.origin->identity, "cluster"));
    assert_int_equal(dead.origin->partition, 3);
    assert_int_equal(dead.origin->partitions_count, 8);
    assert_true(is_text(dead.stable_id, "cluster/orders/3/offset:77"));
    /* What the source is told of stays the dead letter's. */
    assert_int_equal(dead.position.lo, 5);
    known = mb_replayed_info(&route, &dead);
    assert_non_null(known);
    assert_int_equal(known->position.lo, 77);
}

static void test_once_more_a_dead_letter(void **state)
{
    struct mb_message original = original_of();
    struct mb_message dead = dead_letter_of(&original, "size", NULL);
    struct mb_dead_info info;

    (void)state;
    mb_dead_info_read(&dead, &info);
    assert_int_equal(mb_replay_restore(&route, &dead_origin, &info, &dead, &arena), MB_OK);
    dead = dead_letter_of(&dead, "again", mb_replayed_info(&route, &dead));
    mb_dead_info_read(&dead, &info);
    assert_true(is_text(info.reason, "again"));
    assert_int_equal(info.count, 2);
    assert_int_equal(info.position.lo, 77);
    assert_int_equal(info.partition, 3);
    assert_true(is_text(info.stream, "orders"));
    assert_true(is_text(info.id, "cluster/orders/3/offset:77"));
}

static void test_another_platform_has_a_sidecar(void **state)
{
    struct mb_message original = original_of();
    struct mb_message dead = dead_letter_of(&original, "size", NULL);
    struct mb_message natural = dead;
    struct mb_origin far = dead_origin;
    struct mb_text sidecar = {.max_size = 4096};
    struct mb_header texts[32];
    struct mb_message read;
    struct mb_message again;
    bool malformed;
    struct mb_dead_info info;
    uint64_t lost;

    (void)state;
    far.platform = (struct mb_slice){"far", 3};
    for (uint32_t i = 0; i < dead.headers_count; i++)
        texts[i] = dead.headers[i];
    texts[1].value = (struct mb_value){.type = MB_STRING, .as.bytes = {"42", 2}};
    natural.headers = texts;
    natural.present &= ~(uint32_t)MB_HAS_KEY;
    assert_int_equal(mb_sidecar_write(&dead, &natural, 4096, &sidecar, &lost), MB_OK);
    assert_int_equal(lost, 0);
    natural.sidecar = (struct mb_slice){sidecar.data, sidecar.size};
    read = natural;
    mb_dead_info_read(&natural, &info);
    assert_int_equal(mb_replay_restore(&route, &far, &info, &natural, &arena), MB_OK);
    assert_int_equal(mb_message_difference(&original, &natural), 0);
    assert_null(natural.sidecar.data);
    /* Whatever it holds, it is projected. */
    assert_true(is_text(natural.origin->platform, ""));
    /* On its own platform, too: from a sidecar that has nothing to add. */
    natural = read;
    route.to_count = 1;
    assert_int_equal(mb_replay_restore(&route, &far, &info, &natural, &arena), MB_OK);
    route.to_count = 0;
    assert_int_equal(natural.sidecar.size, 1);
    assert_int_equal(mb_sidecar_restore(&natural, &arena, &again, &malformed), MB_OK);
    assert_false(malformed);
    assert_int_equal(mb_message_difference(&original, &again), 0);
    mb_text_release(&sidecar);
}

static enum mb_replay_verdict taken(uint64_t traits, uint64_t offset, uint64_t end)
{
    struct mb_message original = original_of();
    struct mb_message dead = dead_letter_of(&original, "size", NULL);
    struct mb_scope scope = {.origin = dead_origin};
    enum mb_replay_verdict verdict;

    dead.position.lo = offset;
    if (end > 0)
        scope.end = (struct mb_position){.kind = MB_POSITION_OFFSET, .lo = end};
    assert_int_equal(mb_replay_take(&replay, &route, &scope, traits, &dead, &arena, &verdict),
                     MB_OK);
    return verdict;
}

static void test_what_is_sent(void **state)
{
    (void)state;
    replay.filter = (struct mb_replay_filter){.route = "orders", .reason = "size"};
    assert_int_equal(taken(MB_SOURCE_CONSUMES, 1, 0), MB_REPLAY_SEND);
    replay.filter.reason = "other";
    assert_int_equal(taken(MB_SOURCE_CONSUMES, 1, 0), MB_REPLAY_LEAVE);
    assert_int_equal(taken(0, 1, 0), MB_REPLAY_SKIP);
    replay.filter = (struct mb_replay_filter){.stream = "others"};
    assert_int_equal(taken(0, 1, 0), MB_REPLAY_SKIP);
    replay.filter = (struct mb_replay_filter){.since_ms = 1700000000457};
    assert_int_equal(taken(0, 1, 0), MB_REPLAY_SKIP);
    replay.filter.since_ms--;
    assert_int_equal(taken(0, 1, 0), MB_REPLAY_SEND);
    assert_int_equal(replay.matched, 2);
    assert_int_equal(replay.left, 1);
}

static void test_it_ends_where_the_end_was(void **state)
{
    (void)state;
    assert_int_equal(taken(MB_SOURCE_ACKS_IN_ORDER, 9, 10), MB_REPLAY_SEND);
    assert_int_equal(taken(MB_SOURCE_ACKS_IN_ORDER, 10, 10), MB_REPLAY_LEAVE);
    assert_true(replay.met_end);
}

static void test_what_came_back_is_not_met_again(void **state)
{
    (void)state;
    replay.began_ms = 1700000000456; /* when it became a dead letter */
    assert_int_equal(taken(MB_SOURCE_CONSUMES, 1, 0), MB_REPLAY_LEAVE);
    replay.began_ms++;
    assert_int_equal(taken(MB_SOURCE_CONSUMES, 1, 0), MB_REPLAY_SEND);
    /* Where one acknowledgement covers all before it, nothing is done behind what was left. */
    assert_int_equal(taken(MB_SOURCE_ACKS_IN_ORDER, 1, 0), MB_REPLAY_LEAVE);
}

static void test_limit(void **state)
{
    (void)state;
    replay.limit = 1;
    assert_int_equal(taken(0, 1, 0), MB_REPLAY_SEND);
    assert_true(mb_replay_is_full(&replay));
    assert_int_equal(taken(0, 2, 0), MB_REPLAY_LEAVE);
}

static void test_no_memory(void **state)
{
    struct mb_message original = original_of();
    struct mb_message dead = dead_letter_of(&original, "size", NULL);
    struct mb_dead_info info;
    struct mb_arena small;
    size_t size = 0;

    (void)state;
    mb_dead_info_read(&dead, &info);
    for (enum mb_status status = MB_NO_MEMORY; status != MB_OK; size += 8) {
        struct mb_message message = dead;

        small = (struct mb_arena){memory + 32768, memory + 32768 + size, no_more};
        status = mb_replay_restore(&route, &dead_origin, &info, &message, &small);
        assert_true(status == MB_OK || status == MB_NO_MEMORY);
        assert_true(size < 32768);
    }
    assert_true(size > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_a_dead_letter_says, set_up),
        cmocka_unit_test_setup(test_the_original_again, set_up),
        cmocka_unit_test_setup(test_once_more_a_dead_letter, set_up),
        cmocka_unit_test_setup(test_another_platform_has_a_sidecar, set_up),
        cmocka_unit_test_setup(test_what_is_sent, set_up),
        cmocka_unit_test_setup(test_it_ends_where_the_end_was, set_up),
        cmocka_unit_test_setup(test_what_came_back_is_not_met_again, set_up),
        cmocka_unit_test_setup(test_limit, set_up),
        cmocka_unit_test_setup(test_no_memory, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
