/* SPDX-License-Identifier: Apache-2.0 */
/* The lane's arena: bytes stay untouched until the tail has passed their message. */
#include "core/router/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MESSAGES 60000u
#define WINDOW   700u

/* Batches of random sizes run through many chunks; each message is read when the tail reaches it.
 */
static void bytes_stay_until_the_tail_passed(void **state)
{
    struct mb_lane_arena arena;
    unsigned char **memory = calloc(MESSAGES, sizeof *memory);
    size_t *size = calloc(MESSAGES, sizeof *size);
    unsigned seed = 7;
    uint64_t head = 0;
    uint64_t tail = 0;

    (void)state;
    assert_true(memory != NULL && size != NULL);
    mb_lane_arena_init(&arena);
    while (tail < MESSAGES) {
        unsigned batch = 1u + (unsigned)rand_r(&seed) % 200u;

        for (; batch > 0 && head < MESSAGES && head - tail < WINDOW; batch--, head++) {
            size[head] = 1u + (unsigned)rand_r(&seed) % 2000u;
            memory[head] = mb_arena_alloc(&arena.arena, size[head]);
            assert_non_null(memory[head]);
            memset(memory[head], (int)(head % 251), size[head]);
        }
        if (head > tail)
            mb_lane_arena_mark(&arena, head - 1);
        for (unsigned done = (unsigned)rand_r(&seed) % 200u; done > 0 && tail < head;
             done--, tail++) {
            for (size_t i = 0; i < size[tail]; i++)
                assert_int_equal(memory[tail][i], tail % 251);
        }
        mb_lane_arena_advance(&arena, tail, tail == head);
        assert_true(arena.held_bytes <= (WINDOW + 200u) * 2008u);
    }
    mb_lane_arena_release(&arena);
    free(size);
    free(memory);
}

static void large_messages_have_a_chunk_of_their_own(void **state)
{
    struct mb_lane_arena arena;
    unsigned char *large;

    (void)state;
    mb_lane_arena_init(&arena);
    assert_non_null(mb_arena_alloc(&arena.arena, 10));
    large = mb_arena_alloc(&arena.arena, 3u << 20);
    assert_non_null(large);
    memset(large, 1, 3u << 20);
    mb_lane_arena_mark(&arena, 1);
    mb_lane_arena_advance(&arena, 1, false);
    assert_int_equal(large[(3u << 20) - 1], 1);
    assert_null(mb_arena_alloc(&arena.arena, SIZE_MAX - 3));
    mb_lane_arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_stay_until_the_tail_passed),
        cmocka_unit_test(large_messages_have_a_chunk_of_their_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
