/* SPDX-License-Identifier: Apache-2.0 */
/* Consumer names that come back after kill -9 and that no two processes share. */
#include "redis_source.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SLOTS_MAX 256u

/* Hosts that were cloned, or containers of one image, may share a host name: the machine's id tells
 * them apart where there is one. */
static void host_name(char *name, size_t size)
{
    char id[9] = "";
    FILE *file;

    if (gethostname(name, size) != 0)
        snprintf(name, size, "host");
    name[size - 1] = '\0';
    file = fopen("/etc/machine-id", "re");
    if (file != NULL) {
        if (fread(id, 1, sizeof id - 1, file) == sizeof id - 1 && strlen(name) + 10 < size) {
            strcat(name, "-");
            strcat(name, id);
        }
        fclose(file);
    }
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return (hash ^ 0xffu) * UINT64_C(0x100000001b3);
}

/* The lowest number that no other process here uses; the kernel gives it back with the process. */
static enum mb_status take_slot(struct mb_source *source, const char *name, unsigned *ret_slot,
                                struct mb_error *err)
{
    uint64_t hash = hash_text(hash_text(UINT64_C(0xcbf29ce484222325), name), source->group);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    for (unsigned slot = 0; fd >= 0 && slot < SLOTS_MAX; slot++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int size = snprintf(address.sun_path + 1, sizeof address.sun_path - 1,
                            "mbridge/redis/%016llx/%u", (unsigned long long)hash, slot);

        if (bind(fd, (const struct sockaddr *)&address,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size)) == 0) {
            source->consumer_lock = fd;
            *ret_slot = slot;
            return MB_OK;
        }
        if (errno != EADDRINUSE)
            break;
    }
    if (fd >= 0)
        close(fd);
    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "consumer",
                        "no name for a consumer of group \"%.200s\": %s", source->group,
                        strerror(errno));
}

enum mb_status redis_consumer_name(struct mb_source *source, const struct mb_open_params *params,
                                   struct mb_error *err)
{
    char host[96];
    unsigned slot = 0;
    int size;
    enum mb_status status = MB_OK;

    host_name(host, sizeof host);
    if (source->options->consumer != NULL && source->options->consumer[0] != '\0')
        size = snprintf(source->consumer, sizeof source->consumer - 8,
                        params->lane > 0 ? "%s-%u" : "%s", source->options->consumer,
                        (unsigned)params->lane);
    else
        size =
            snprintf(source->consumer, sizeof source->consumer - 8, "mbridge-%s-%s.%s-%u", host,
                     params->bridge_name != NULL ? params->bridge_name : "",
                     params->route_name != NULL ? params->route_name : "", (unsigned)params->lane);
    if (size < 0 || (size_t)size >= sizeof source->consumer - 8)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                            "the consumer's name is too long");
    /* With a lease there is one consumer. Without, processes with one name would hand out each
     * other's entries. */
    if (!source->ordered)
        status = take_slot(source, source->consumer, &slot, err);
    if (status == MB_OK && slot > 0)
        snprintf(source->consumer + size, 8, "-%u", slot);
    return status;
}
