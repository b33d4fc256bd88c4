/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/host.h"

#include "core/base/clock.h"

#include <stdlib.h>

static void *host_alloc(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void host_release(void *context, void *memory)
{
    (void)context;
    free(memory);
}

static int64_t host_monotonic_ms(void *context)
{
    (void)context;
    return mb_clock_monotonic_ms();
}

static int64_t host_wall_ms(void *context)
{
    (void)context;
    return mb_clock_wall_ms();
}

static void ignore_degraded(void *context, uint64_t fields)
{
    (void)context;
    (void)fields;
}

static void ignore_traffic(void *context, uint64_t received_bytes, uint64_t sent_bytes)
{
    (void)context;
    (void)received_bytes;
    (void)sent_bytes;
}

void mb_host_init(struct mb_host *host, void *context,
                  void (*log)(void *context, enum mb_log_level level, const char *text),
                  void (*event)(void *context, const struct mb_event *event))
{
    *host = (struct mb_host){
        .struct_size = sizeof *host,
        .context = context,
        .alloc = host_alloc,
        .release = host_release,
        .monotonic_ms = host_monotonic_ms,
        .wall_ms = host_wall_ms,
        .log = log,
        .event = event,
        .degraded = ignore_degraded,
        .traffic = ignore_traffic,
    };
}
