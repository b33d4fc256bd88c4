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
#include "real.h"

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
    return fails(CALLER) ? NULL : real_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(CALLER) ? NULL : real_calloc(count, size);
}

void *realloc(void *data, size_t size)
{
    return fails(CALLER) ? NULL : real_realloc(data, size);
}

void free(void *data)
{
    real_free(data);
}

char *strdup(const char *text)
{
    return fails(CALLER) ? NULL : real_copy(text, strlen(text));
}

char *strndup(const char *text, size_t max)
{
    return fails(CALLER) ? NULL : real_copy(text, strnlen(text, max));
}

int vasprintf(char **ret_text, const char *format, va_list arguments)
{
    return fails(CALLER) ? -1 : real_print(ret_text, format, arguments);
}

int asprintf(char **ret_text, const char *format, ...)
{
    va_list arguments;
    int size;

    if (fails(CALLER))
        return -1;
    va_start(arguments, format);
    size = real_print(ret_text, format, arguments);
    va_end(arguments);
    return size;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(CALLER) ? NULL : real_aligned_alloc(alignment, size);
}

int posix_memalign(void **ret_data, size_t alignment, size_t size)
{
    return fails(CALLER) ? ENOMEM : real_posix_memalign(ret_data, alignment, size);
}

/* ---- begin and end ---- */

static uint64_t number_of(const char *name)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void)
{
    real_resolve();
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
