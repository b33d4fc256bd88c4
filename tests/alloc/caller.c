/* SPDX-License-Identifier: Apache-2.0 */
#include "caller.h"

#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OBJECTS_MAX 256u

struct wanted {
    uintptr_t address;
    const char *also;
};

static struct caller_object objects[OBJECTS_MAX];
static _Atomic size_t objects_count; /* entries below it are complete */
static pthread_mutex_t objects_lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_own(const char *path, const char *also)
{
    const char *rest = also != NULL ? getenv(also) : NULL;

    if (path[0] == '\0' || strstr(path, "/mbridge/") != NULL)
        return true;
    while (rest != NULL && *rest != '\0') {
        size_t size = strcspn(rest, ":");

        if (size > 0 && memmem(path, strlen(path), rest, size) != NULL)
            return true;
        rest += size + (rest[size] == ':');
    }
    return false;
}

static int note(struct dl_phdr_info *info, size_t size, void *context)
{
    const struct wanted *wanted = context;
    struct caller_object *object = &objects[atomic_load(&objects_count)];

    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

        if (info->dlpi_phdr[i].p_type != PT_LOAD || wanted->address < begin ||
            wanted->address >= begin + info->dlpi_phdr[i].p_memsz)
            continue;
        object->base = info->dlpi_addr;
        object->begin = begin;
        object->end = begin + info->dlpi_phdr[i].p_memsz;
        object->own = is_own(info->dlpi_name, wanted->also);
        snprintf(object->name, sizeof object->name, "%s",
                 info->dlpi_name[0] != '\0' ? info->dlpi_name : "program");
        atomic_fetch_add(&objects_count, 1);
        return 1;
    }
    return 0;
}

static const struct caller_object *known(uintptr_t address)
{
    size_t count = atomic_load(&objects_count);

    for (size_t i = 0; i < count; i++) {
        if (address >= objects[i].begin && address < objects[i].end)
            return &objects[i];
    }
    return NULL;
}

const struct caller_object *caller_object(uintptr_t address, const char *also)
{
    const struct caller_object *object = known(address);
    struct wanted wanted = {address, also};

    if (object != NULL)
        return object;
    pthread_mutex_lock(&objects_lock);
    object = known(address);
    if (object == NULL && atomic_load(&objects_count) < OBJECTS_MAX) {
        dl_iterate_phdr(note, &wanted);
        object = known(address);
    }
    pthread_mutex_unlock(&objects_lock);
    return object;
}
