/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program's surroundings as the schedule has them. These functions stand for those of
 * core/base/clock.c and core/runtime/connector.c: as the linker finds them here it takes none from
 * the library. Allocations of the core go through the linker's --wrap.
 */
#include "sim.h"

#include "core/base/clock.h"

#include <stdlib.h>

#define JOBS_MAX 64u

/* They stand for the real ones, whose names they have. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
/* A shared library that is linked (tests/support/tsan_threads.c) means them, too. */
#define SHOWN __attribute__((visibility("default")))
SHOWN void *__wrap_malloc(size_t size);
SHOWN void *__wrap_calloc(size_t count, size_t size);
SHOWN void *__wrap_realloc(void *memory, size_t size);

struct mb_connector {
    struct {
        struct mb_job *job;
        int64_t due_ms;
        bool ran; /* its result is on the way */
    } jobs[JOBS_MAX];
    size_t count;
    bool allocs_fail;
};

struct mb_mailbox {
    char unused;
};

static struct mb_connector connector;
static struct mb_mailbox mailbox;

struct mb_connector *sim_connector(void)
{
    return &connector;
}

struct mb_mailbox *sim_mailbox(void)
{
    return &mailbox;
}

void sim_engine_begin(void)
{
    connector.count = 0;
    connector.allocs_fail = false;
}

void sim_engine_drop(void)
{
    connector.count = 0;
}

/* ---- the clock ---- */

int64_t mb_clock_monotonic_ms(void)
{
    return sim.now_ms;
}

int64_t mb_clock_wall_ms(void)
{
    return sim_wall_ms();
}

/* ---- the connector ---- */

enum mb_status mb_connector_create(unsigned threads_max, struct mb_connector **ret_connector)
{
    (void)threads_max;
    *ret_connector = &connector;
    return MB_OK;
}

void mb_connector_destroy(struct mb_connector *unused)
{
    (void)unused;
}

void mb_connector_submit(struct mb_connector *to, struct mb_job *job)
{
    int64_t takes_ms = (int64_t)sim_below(20);

    if (sim_is_rough() && sim_one_in(sim.shape.slow_one_in))
        takes_ms = (int64_t)sim_below(3000);
    if (to->count == JOBS_MAX)
        sim_violate("contract", "more than %u jobs at once", JOBS_MAX);
    to->jobs[to->count].job = job;
    to->jobs[to->count].due_ms = sim.now_ms + takes_ms;
    to->jobs[to->count].ran = false;
    to->count++;
}

int64_t sim_engine_next_ms(void)
{
    int64_t next_ms = SIM_NEVER;

    for (size_t i = 0; i < connector.count; i++) {
        if (connector.jobs[i].due_ms < next_ms)
            next_ms = connector.jobs[i].due_ms;
    }
    return next_ms;
}

void sim_engine_run(void)
{
    for (size_t i = 0; i < connector.count;) {
        struct mb_job *job = connector.jobs[i].job;

        if (connector.jobs[i].due_ms > sim.now_ms) {
            i++;
            continue;
        }
        if (!connector.jobs[i].ran) {
            connector.jobs[i].ran = true;
            connector.jobs[i].due_ms += (int64_t)sim_below(3);
            job->run(job);
            continue;
        }
        connector.count--;
        memmove(&connector.jobs[i], &connector.jobs[i + 1],
                (connector.count - i) * sizeof connector.jobs[0]);
        job->done(job);
    }
}

enum mb_status mb_mailbox_create(struct mb_mailbox **ret_mailbox)
{
    *ret_mailbox = &mailbox;
    return MB_OK;
}

void mb_mailbox_destroy(struct mb_mailbox *unused)
{
    (void)unused;
}

void mb_mailbox_post(struct mb_mailbox *unused, struct mb_job *job)
{
    (void)unused;
    mb_connector_submit(&connector, job);
    connector.jobs[connector.count - 1].ran = true;
}

int mb_mailbox_fd(const struct mb_mailbox *unused)
{
    (void)unused;
    return -1;
}

bool mb_mailbox_drain(struct mb_mailbox *unused)
{
    size_t before = connector.count;

    (void)unused;
    sim_engine_run();
    return connector.count < before;
}

/* ---- the allocator ---- */

void *sim_calloc(size_t count, size_t size)
{
    void *memory = __real_calloc(count, size);

    if (memory == NULL)
        abort();
    return memory;
}

void sim_allow_alloc_failures(bool allowed)
{
    connector.allocs_fail = allowed;
}

static bool alloc_fails(void)
{
    if (!connector.allocs_fail || !sim_is_rough() || !sim_one_in(sim.shape.alloc_fails_one_in))
        return false;
    sim.stats[SIM_ALLOC_FAILURES]++;
    sim.alloc_failed = true;
    sim_trace("memory is out");
    return true;
}

void *__wrap_malloc(size_t size)
{
    return alloc_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return alloc_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return alloc_fails() ? NULL : __real_realloc(memory, size);
}
