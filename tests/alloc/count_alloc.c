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

#include <dlfcn.h>
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

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);

/* What dlsym asks for before malloc is known. Never given back. */
static _Alignas(16) char early[16384];
static _Atomic size_t early_used;

static void *early_alloc(size_t size)
{
    size_t at = atomic_fetch_add(&early_used, (size + 15) / 16 * 16);

    if (at + size > sizeof early)
        abort();
    return early + at;
}

static bool is_early(const void *data)
{
    return (const char *)data >= early && (const char *)data < early + sizeof early;
}

static void resolve(void)
{
    static _Thread_local bool busy __attribute__((tls_model("initial-exec")));

    if (busy || real_free != NULL)
        return;
    busy = true;
    *(void **)&real_malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&real_calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&real_realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&real_free = dlsym(RTLD_NEXT, "free");
    busy = false;
}

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
    resolve();
    return real_malloc != NULL ? real_malloc(size) : early_alloc(size);
}

void *calloc(size_t number, size_t size)
{
    count(CALLER);
    resolve();
    return real_calloc != NULL ? real_calloc(number, size) : early_alloc(number * size);
}

void *realloc(void *data, size_t size)
{
    count(CALLER);
    resolve();
    if (is_early(data)) {
        void *moved = real_malloc != NULL ? real_malloc(size) : early_alloc(size);

        if (moved != NULL)
            memmove(moved, data, size); /* what lies behind it is ours too */
        return moved;
    }
    return real_realloc(data, size);
}

void free(void *data)
{
    if (data == NULL || is_early(data))
        return;
    resolve();
    real_free(data);
}

static char *copy(const char *text, size_t size)
{
    char *made;

    resolve();
    made = real_malloc(size + 1);
    if (made != NULL) {
        memcpy(made, text, size);
        made[size] = '\0';
    }
    return made;
}

char *strdup(const char *text)
{
    count(CALLER);
    return copy(text, strlen(text));
}

char *strndup(const char *text, size_t max)
{
    count(CALLER);
    return copy(text, strnlen(text, max));
}

static int print(char **ret_text, const char *format, va_list arguments)
{
    va_list again;
    int size;

    va_copy(again, arguments);
    size = vsnprintf(NULL, 0, format, again);
    va_end(again);
    resolve();
    *ret_text = size < 0 ? NULL : real_malloc((size_t)size + 1);
    return *ret_text == NULL ? -1 : vsnprintf(*ret_text, (size_t)size + 1, format, arguments);
}

int vasprintf(char **ret_text, const char *format, va_list arguments)
{
    count(CALLER);
    return print(ret_text, format, arguments);
}

int asprintf(char **ret_text, const char *format, ...)
{
    va_list arguments;
    int size;

    count(CALLER);
    va_start(arguments, format);
    size = print(ret_text, format, arguments);
    va_end(arguments);
    return size;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    static void *(*real)(size_t, size_t);

    count(CALLER);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "aligned_alloc");
    return real(alignment, size);
}

int posix_memalign(void **ret_data, size_t alignment, size_t size)
{
    static int (*real)(void **, size_t, size_t);

    count(CALLER);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "posix_memalign");
    return real(ret_data, alignment, size);
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

    resolve();
    first_thread = pthread_self();
    if (path == NULL)
        return;
    snprintf(report_path, sizeof report_path, "%s", path);
    snprintf(scratch_path, sizeof scratch_path, "%s.new", path);
    sigaction(SIGUSR2, &action, NULL);
    atomic_store(&ready, true);
}
