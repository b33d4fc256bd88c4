/* SPDX-License-Identifier: Apache-2.0 */
/* Stable names for static membership. */
#include "kafka.h"

enum mb_status kafka_instance_take(const char *brokers, const char *group, struct mb_slot *ret_slot)
{
    const char *const parts[] = {brokers, group};

    return mb_slot_take("mbridge", &(struct mb_strings){parts, 2}, KAFKA_SLOTS_MAX, ret_slot);
}

void kafka_instance_name(const struct mb_slot *slot, const char *group, char *instance, size_t size)
{
    char host[MB_SLOT_HOST_SIZE];

    mb_slot_host(host, sizeof host);
    snprintf(instance, size, "mbridge-%s-%u-%.120s", host, slot->number, group);
    /* Kafka allows these characters in an instance id, and 249 of them. */
    for (char *at = instance; *at != '\0'; at++) {
        bool allowed = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                       (*at >= '0' && *at <= '9') || *at == '.' || *at == '_' || *at == '-';

        if (!allowed)
            *at = '_';
    }
}
