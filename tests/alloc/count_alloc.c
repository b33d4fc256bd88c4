/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LD_PRELOAD: counts allocations by where they are called from, on all threads but the first: that
 * one reads the configuration and prints counters, and touches no message. What is the bridge's own
 * (caller.h) is counted by its place, what is a library's as one number for the library.
 *
 *   MBRIDGE_COUNT_REPORT   a file, written anew at each SIGUSR2 (and then renamed to that name):
 *                          "<count> own|library <object>+<offset of the call>", one line a place
 */
#include "caller.h"
#include "real.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SITES_MAX 4096u /* a power of two */

struct site {
    _Atomic uintptr_t address; /* 0: free */
    const struct caller_object *_Atomic object;
    _Atomic uint64_t count;
};

static struct site sites[SITES_MAX];
static pthread_t first_thread;
static _Atomic bool ready;
static char report_path[512];
static char scratch_path[sizeof report_path + 8];

/* NULL: the table is full. */
static struct site *site_of(uintptr_t address)
{
    size_t at = (size_t)(address * 0x9e3779b97f4a7c15u >> 40);

    for (size_t i = 0; i < SITES_MAX; i++) {
        struct site *site = &sites[(at + i) & (SITES_MAX - 1)];
        uintptr_t there = atomic_load_explicit(&site->address, memory_order_acquire);

        if (there == address)
            return site;
        if (there == 0 &&
            (atomic_compare_exchange_strong(&site->address, &there, address) || there == address))
            return site;
    }
    return NULL;
}

static void count(void *caller)
{
    const struct caller_object *object;
    struct site *site;

    if (!atomic_load_explicit(&ready, memory_order_relaxed) ||
        pthread_equal(pthread_self(), first_thread))
        return;
    object = caller_object((uintptr_t)caller, NULL);
    if (object == NULL)
        return;
    site = site_of(object->own ? (uintptr_t)caller : object->begin);
    if (site == NULL)
        return;
    atomic_store_explicit(&site->object, object, memory_order_relaxed);
    atomic_fetch_add_explicit(&site->count, 1, memory_order_relaxed);
}

/* ---- what is taken the place of ---- */

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
    count(CALLER);
    return real_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    count(CALLER);
    return real_calloc(number, size);
}

void *realloc(void *data, size_t size)
{
    count(CALLER);
    return real_realloc(data, size);
}

void free(void *data)
{
    real_free(data);
}

char *strdup(const char *text)
{
    count(CALLER);
    return real_copy(text, strlen(text));
}

char *strndup(const char *text, size_t max)
{
    count(CALLER);
    return real_copy(text, strnlen(text, max));
}

int vasprintf(char **ret_text, const char *format, va_list arguments)
{
    count(CALLER);
    return real_print(ret_text, format, arguments);
}

int asprintf(char **ret_text, const char *format, ...)
{
    va_list arguments;
    int size;

    count(CALLER);
    va_start(arguments, format);
    size = real_print(ret_text, format, arguments);
    va_end(arguments);
    return size;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count(CALLER);
    return real_aligned_alloc(alignment, size);
}

int posix_memalign(void **ret_data, size_t alignment, size_t size)
{
    count(CALLER);
    return real_posix_memalign(ret_data, alignment, size);
}

/* ---- the report ---- */

static void report(int number)
{
    int saved = errno;
    int fd = open(scratch_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool complete = fd >= 0;

    (void)number;
    for (size_t i = 0; i < SITES_MAX && complete; i++) {
        uint64_t times = atomic_load(&sites[i].count);
        const struct caller_object *object = atomic_load(&sites[i].object);
        char line[400];
        int size;

        if (times == 0)
            continue;
        size = snprintf(
            line, sizeof line, "%llu %s %s+%#llx\n", (unsigned long long)times,
            object->own ? "own" : "library", object->name,
            (unsigned long long)(object->own ? atomic_load(&sites[i].address) - object->base : 0));
        complete = write(fd, line, (size_t)size) == size;
    }
    if (fd >= 0)
        close(fd);
    if (complete)
        rename(scratch_path, report_path);
    errno = saved;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("MBRIDGE_COUNT_REPORT");
    struct sigaction action = {.sa_handler = report, .sa_flags = SA_RESTART};

    real_resolve();
    first_thread = pthread_self();
    if (path == NULL)
        return;
    snprintf(report_path, sizeof report_path, "%s", path);
    snprintf(scratch_path, sizeof scratch_path, "%s.new", path);
    sigaction(SIGUSR2, &action, NULL);
    atomic_store(&ready, true);
}
