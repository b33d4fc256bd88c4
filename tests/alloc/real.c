/* SPDX-License-Identifier: Apache-2.0 */
#include "real.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *(*found_malloc)(size_t);
static void *(*found_calloc)(size_t, size_t);
static void *(*found_realloc)(void *, size_t);
static void (*found_free)(void *);

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

void real_resolve(void)
{
    static _Thread_local bool busy __attribute__((tls_model("initial-exec")));

    if (busy || found_free != NULL)
        return;
    busy = true;
    *(void **)&found_malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&found_calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&found_realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&found_free = dlsym(RTLD_NEXT, "free");
    busy = false;
}

void *real_malloc(size_t size)
{
    real_resolve();
    return found_malloc != NULL ? found_malloc(size) : early_alloc(size);
}

void *real_calloc(size_t count, size_t size)
{
    real_resolve();
    return found_calloc != NULL ? found_calloc(count, size) : early_alloc(count * size);
}

void *real_realloc(void *data, size_t size)
{
    real_resolve();
    if (is_early(data)) {
        void *moved = real_malloc(size);

        if (moved != NULL)
            memmove(moved, data, size); /* what lies behind it is ours too */
        return moved;
    }
    return found_realloc(data, size);
}

void real_free(void *data)
{
    if (data == NULL || is_early(data))
        return;
    real_resolve();
    found_free(data);
}

void *real_aligned_alloc(size_t alignment, size_t size)
{
    static void *(*found)(size_t, size_t);

    if (found == NULL)
        *(void **)&found = dlsym(RTLD_NEXT, "aligned_alloc");
    return found(alignment, size);
}

int real_posix_memalign(void **ret_data, size_t alignment, size_t size)
{
    static int (*found)(void **, size_t, size_t);

    if (found == NULL)
        *(void **)&found = dlsym(RTLD_NEXT, "posix_memalign");
    return found(ret_data, alignment, size);
}

char *real_copy(const char *text, size_t size)
{
    char *made = real_malloc(size + 1);

    if (made != NULL) {
        memcpy(made, text, size);
        made[size] = '\0';
    }
    return made;
}

int real_print(char **ret_text, const char *format, va_list arguments)
{
    va_list again;
    int size;

    va_copy(again, arguments);
    size = vsnprintf(NULL, 0, format, again);
    va_end(again);
    *ret_text = size < 0 ? NULL : real_malloc((size_t)size + 1);
    return *ret_text == NULL ? -1 : vsnprintf(*ret_text, (size_t)size + 1, format, arguments);
}
