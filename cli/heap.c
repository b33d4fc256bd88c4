/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/heap.h"

#include <stdlib.h>

#ifdef __GLIBC__
#include <malloc.h>

#define HEAPS       8
#define LARGE_BYTES (4 * 1024 * 1024)
#define KEPT_BYTES  (512 * 1024)

#define REST_EVERY_MS 30000

/*
 * Connections are opened and closed by threads of their own, and each Kafka client has several: by
 * default glibc gives each its own heap, up to eight a core, and each of these heaps keeps what the
 * largest thing that ever happened on one of its threads has left there. Resident memory then grows
 * with every fault for days, though nothing is lost. With few heaps what one connection leaves is
 * used by the next. With fewer than a route has threads they wait for each other: the lane frees
 * message by message what the library's threads allocate (Kafka → Kafka, three heaps: the lane
 * slept 4,900 times a second, eight: 1,500).
 *
 * What Kafka fetches, and the batches that go there, are pieces of a megabyte or two. As mappings
 * of their own each of their pages is a fault, each time anew, and to unmap one halts the other
 * threads: in a heap they are used again. Larger ones stay mappings, which go when they are freed.
 * By default the first one that is freed raises the bound for good, up to 32 MiB: the next ones lie
 * in the heap, and what is below the topmost stays.
 */
void cli_heap_settle(void)
{
    if (getenv("MALLOC_ARENA_MAX") != NULL || getenv("GLIBC_TUNABLES") != NULL)
        return;
    mallopt(M_ARENA_MAX, HEAPS);
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
}

/* By itself glibc gives back only what lies at the end of the heap: what a backlog has needed would
 * stay for ever below one small piece that lives long. */
int64_t cli_heap_rest(int64_t now_ms)
{
    static int64_t rest_at_ms;

    if (now_ms >= rest_at_ms) {
        if (rest_at_ms > 0)
            malloc_trim(KEPT_BYTES);
        rest_at_ms = now_ms + REST_EVERY_MS;
    }
    return rest_at_ms;
}

#else

void cli_heap_settle(void)
{
}

int64_t cli_heap_rest(int64_t now_ms)
{
    (void)now_ms;
    return INT64_MAX;
}

#endif
