/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LD_PRELOAD: an allocation that the bridge itself asks for fails. Whose it is tells the address
 * that it is called from: the program and its modules are the bridge's, all else is a library's.
 * Libraries are left alone unless they are named: some end the process when they get no memory,
 * others crash (test_alloc.py says which); that is no finding about the bridge.
 *
 *   MBRIDGE_FAIL_AT=n      the n-th allocation fails, the first is 1 (0: none; only counts)
 *   MBRIDGE_FAIL_EVERY=k   and each k-th after it
 *   MBRIDGE_FAIL_OBJECTS   parts of paths, with ":" between: these objects too
 *   MBRIDGE_FAIL_REPORT    a file: at the end "<allocations> <failed> <object>+<offset of the
 * last>"
 */
#include "caller.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OBJECTS_VARIABLE "MBRIDGE_FAIL_OBJECTS"

static _Atomic uint64_t asked;
static _Atomic uint64_t failed;
static _Atomic uintptr_t failed_at;
static uint64_t fail_at;
static uint64_t fail_every;
static _Atomic bool ready;

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

static bool fails(void *caller)
{
    const struct caller_object *object;
    uint64_t number;

    if (!atomic_load_explicit(&ready, memory_order_relaxed))
        return false;
    object = caller_object((uintptr_t)caller, OBJECTS_VARIABLE);
    if (object == NULL || !object->own)
        return false;
    number = atomic_fetch_add(&asked, 1) + 1;
    if (fail_at == 0 || number < fail_at ||
        (number > fail_at && (fail_every == 0 || (number - fail_at) % fail_every != 0)))
        return false;
    atomic_fetch_add(&failed, 1);
    atomic_store(&failed_at, (uintptr_t)caller);
    errno = ENOMEM;
    return true;
}

/* ---- what is taken the place of ---- */

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
    if (fails(CALLER))
        return NULL;
    resolve();
    return real_malloc != NULL ? real_malloc(size) : early_alloc(size);
}

void *calloc(size_t count, size_t size)
{
    if (fails(CALLER))
        return NULL;
    resolve();
    return real_calloc != NULL ? real_calloc(count, size) : early_alloc(count * size);
}

void *realloc(void *data, size_t size)
{
    if (fails(CALLER))
        return NULL;
    resolve();
    if (is_early(data)) {
        void *moved = malloc(size);

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
    char *made = malloc(size + 1);

    if (made != NULL) {
        memcpy(made, text, size);
        made[size] = '\0';
    }
    return made;
}

char *strdup(const char *text)
{
    return fails(CALLER) ? NULL : copy(text, strlen(text));
}

char *strndup(const char *text, size_t max)
{
    return fails(CALLER) ? NULL : copy(text, strnlen(text, max));
}

static int print(char **ret_text, const char *format, va_list arguments)
{
    va_list again;
    int size;

    va_copy(again, arguments);
    size = vsnprintf(NULL, 0, format, again);
    va_end(again);
    *ret_text = size < 0 ? NULL : malloc((size_t)size + 1);
    return *ret_text == NULL ? -1 : vsnprintf(*ret_text, (size_t)size + 1, format, arguments);
}

int vasprintf(char **ret_text, const char *format, va_list arguments)
{
    return fails(CALLER) ? -1 : print(ret_text, format, arguments);
}

int asprintf(char **ret_text, const char *format, ...)
{
    va_list arguments;
    int size;

    if (fails(CALLER))
        return -1;
    va_start(arguments, format);
    size = print(ret_text, format, arguments);
    va_end(arguments);
    return size;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    static void *(*real)(size_t, size_t);

    if (fails(CALLER))
        return NULL;
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "aligned_alloc");
    return real(alignment, size);
}

int posix_memalign(void **ret_data, size_t alignment, size_t size)
{
    static int (*real)(void **, size_t, size_t);

    if (fails(CALLER))
        return ENOMEM;
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "posix_memalign");
    return real(ret_data, alignment, size);
}

/* ---- begin and end ---- */

static uint64_t number_of(const char *name)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void)
{
    resolve();
    fail_at = number_of("MBRIDGE_FAIL_AT");
    fail_every = number_of("MBRIDGE_FAIL_EVERY");
    atomic_store(&ready, true);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("MBRIDGE_FAIL_REPORT");
    uintptr_t at = atomic_load(&failed_at);
    const struct caller_object *object = at != 0 ? caller_object(at, OBJECTS_VARIABLE) : NULL;
    char text[400];
    int size;
    int fd;

    atomic_store(&ready, false);
    if (path == NULL || (fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
        return;
    size = snprintf(text, sizeof text, "%llu %llu %s+%#llx\n", (unsigned long long)asked,
                    (unsigned long long)failed, object != NULL ? object->name : "none",
                    (unsigned long long)(object != NULL ? at - object->begin : 0));
    if (size > 0 && write(fd, text, (size_t)size) < 0) {
        /* The test misses the report. */
    }
    close(fd);
}
