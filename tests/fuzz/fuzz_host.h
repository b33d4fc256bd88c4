/* SPDX-License-Identifier: Apache-2.0 */
/* A host that counts what is taken: for decoders whose memory has to be bounded by what came. */
#ifndef TESTS_FUZZ_HOST_H
#define TESTS_FUZZ_HOST_H

#include "fuzz.h"

#include <mbridge/host.h>

#include <stdbool.h>

#if defined(__has_include)
#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(memory, size)   ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

/* The most that was asked for at once since it was set to 0. */
static size_t fuzz_host_largest;

/* The first large block is kept, out of bounds while nobody has it: mapping it anew for each input
 * took four fifths of the time. */
#define FUZZ_HOST_LARGE ((size_t)256 << 10)

static struct {
    void *memory;
    size_t size;
    bool used;
} fuzz_host_kept;

static void *fuzz_host_alloc(void *context, size_t size)
{
    (void)context;
    if (size > fuzz_host_largest)
        fuzz_host_largest = size;
    if (size < FUZZ_HOST_LARGE || fuzz_host_kept.used ||
        (fuzz_host_kept.memory != NULL && size != fuzz_host_kept.size))
        return malloc(size > 0 ? size : 1);
    if (fuzz_host_kept.memory == NULL) {
        fuzz_host_kept.memory = malloc(size);
        fuzz_host_kept.size = size;
        if (fuzz_host_kept.memory == NULL)
            return NULL;
    }
    fuzz_host_kept.used = true;
    ASAN_UNPOISON_MEMORY_REGION(fuzz_host_kept.memory, size);
    return fuzz_host_kept.memory;
}

static void fuzz_host_release(void *context, void *memory)
{
    (void)context;
    if (memory == NULL || memory != fuzz_host_kept.memory) {
        free(memory);
        return;
    }
    ASAN_POISON_MEMORY_REGION(memory, fuzz_host_kept.size);
    fuzz_host_kept.used = false;
}

static const struct mb_host fuzz_host = {
    .struct_size = sizeof(struct mb_host), .alloc = fuzz_host_alloc, .release = fuzz_host_release};

#endif
