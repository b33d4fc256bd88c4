/* SPDX-License-Identifier: Apache-2.0 */
/* Slots: stable names for static membership that the kernel frees with the process. */
#include "kafka.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* FNV-1a; the separator keeps ("a", "bc") and ("ab", "c") apart. */
static uint64_t hash_names(const char *brokers, const char *group)
{
    const char *const names[] = {brokers, group};
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < 2; i++) {
        for (const char *at = names[i]; *at != '\0'; at++)
            hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
        hash = (hash ^ 0xffu) * UINT64_C(0x100000001b3);
    }
    return hash;
}

enum mb_status kafka_slot_take(const char *brokers, const char *group, struct kafka_slot *ret_slot)
{
    uint64_t hash = hash_names(brokers, group);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    ret_slot->fd = -1;
    if (fd < 0)
        return MB_UNSUPPORTED;
    for (unsigned number = 0; number < KAFKA_SLOTS_MAX; number++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int size = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "mbridge/%016llx/%u",
                            (unsigned long long)hash, number);

        if (bind(fd, (const struct sockaddr *)&address,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size)) == 0) {
            ret_slot->fd = fd;
            ret_slot->number = number;
            return MB_OK;
        }
        if (errno != EADDRINUSE)
            break;
    }
    close(fd);
    return MB_AGAIN;
}

void kafka_slot_release(struct kafka_slot *slot)
{
    if (slot->fd >= 0)
        close(slot->fd);
    slot->fd = -1;
}

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

void kafka_slot_instance(const struct kafka_slot *slot, const char *group, char *instance,
                         size_t size)
{
    char host[96];

    host_name(host, sizeof host);
    snprintf(instance, size, "mbridge-%s-%u-%.120s", host, slot->number, group);
    /* Kafka allows these characters in an instance id, and 249 of them. */
    for (char *at = instance; *at != '\0'; at++) {
        bool allowed = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                       (*at >= '0' && *at <= '9') || *at == '.' || *at == '_' || *at == '-';

        if (!allowed)
            *at = '_';
    }
}
