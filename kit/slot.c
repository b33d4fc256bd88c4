/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/slot.h"
#include "kit/hash.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ID_SIZE 8u

/* FNV-1a; the separator, which no UTF-8 has, keeps ("a", "bc") and ("ab", "c") apart. */
static uint64_t hash_parts(const struct mb_strings *parts)
{
    uint64_t hash = MB_HASH_BEGIN;

    for (size_t i = 0; i < parts->count; i++) {
        hash = mb_hash_add(hash, parts->items[i], strlen(parts->items[i]));
        hash = mb_hash_add(hash, "\xff", 1);
    }
    return hash;
}

/* Binds to the lowest free number; 0 or errno. */
static int bind_lowest(int fd, const char *prefix, uint64_t hash, unsigned max,
                       unsigned *ret_number)
{
    for (unsigned number = 0; number < max; number++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int size = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s/%016llx/%u",
                            prefix, (unsigned long long)hash, number);

        if (bind(fd, (const struct sockaddr *)&address,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size)) == 0) {
            *ret_number = number;
            return 0;
        }
        if (errno != EADDRINUSE)
            return errno;
    }
    return EADDRINUSE;
}

enum mb_status mb_slot_take(const char *prefix, const struct mb_strings *parts, unsigned max,
                            struct mb_slot *ret_slot)
{
    unsigned number = 0;
    int error;
    int fd;

    *ret_slot = (struct mb_slot){.fd = -1};
    if (strlen(prefix) > MB_SLOT_PREFIX_MAX) {
        errno = ENAMETOOLONG;
        return MB_INVALID;
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return MB_UNSUPPORTED;
    error = bind_lowest(fd, prefix, hash_parts(parts), max, &number);
    if (error == 0) {
        *ret_slot = (struct mb_slot){.fd = fd, .number = number};
        return MB_OK;
    }
    close(fd);
    errno = error;
    return error == EADDRINUSE ? MB_AGAIN : MB_UNSUPPORTED;
}

void mb_slot_release(struct mb_slot *slot)
{
    if (slot->fd >= 0)
        close(slot->fd);
    slot->fd = -1;
}

void mb_slot_host(char *name, size_t size)
{
    char id[ID_SIZE + 1] = "";
    size_t length;
    FILE *file;

    /* A name that just fits may come without its end. */
    if (gethostname(name, size) != 0 || memchr(name, '\0', size) == NULL)
        snprintf(name, size, "host");
    file = fopen("/etc/machine-id", "re");
    if (file == NULL)
        return;
    length = strlen(name);
    if (fread(id, 1, ID_SIZE, file) == ID_SIZE && size - length > ID_SIZE + 2)
        snprintf(name + length, size - length, "-%s", id);
    fclose(file);
}
