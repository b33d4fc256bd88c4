/* SPDX-License-Identifier: Apache-2.0 */
/* A host that counts what is taken: for decoders whose memory has to be bounded by what came. */
#ifndef TESTS_FUZZ_HOST_H
#define TESTS_FUZZ_HOST_H

#include "fuzz.h"

#include <mbridge/host.h>

/* The most that was asked for at once since it was set to 0. */
static size_t fuzz_host_largest;

static void *fuzz_host_alloc(void *context, size_t size)
{
    (void)context;
    if (size > fuzz_host_largest)
        fuzz_host_largest = size;
    return malloc(size > 0 ? size : 1);
}

static void fuzz_host_release(void *context, void *memory)
{
    (void)context;
    free(memory);
}

static const struct mb_host fuzz_host = {
    .struct_size = sizeof(struct mb_host), .alloc = fuzz_host_alloc, .release = fuzz_host_release};

#endif
