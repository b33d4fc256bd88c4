/* SPDX-License-Identifier: Apache-2.0 */
/* Consumer names that come back after kill -9 and that no two processes share. */
#include "redis_source.h"

#include <errno.h>

#define SLOT_TEXT_SIZE 12u /* "-4294967295" */
#define SLOTS_MAX      256u

/* The lowest number that no other process here uses; the kernel gives it back with the process. */
static enum mb_status take_slot(struct mb_source *source, struct mb_error *err)
{
    const char *const parts[] = {source->consumer, source->group};

    if (mb_slot_take("mbridge/redis", &(struct mb_strings){parts, 2}, SLOTS_MAX,
                     &source->consumer_slot) == MB_OK)
        return MB_OK;
    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "consumer",
                        "no name for a consumer of group \"%.200s\": %s", source->group,
                        strerror(errno));
}

enum mb_status redis_consumer_name(struct mb_source *source, const struct mb_open_params *params,
                                   struct mb_error *err)
{
    char host[MB_SLOT_HOST_SIZE];
    int size;
    enum mb_status status = MB_OK;

    mb_slot_host(host, sizeof host);
    if (source->options->consumer != NULL && source->options->consumer[0] != '\0')
        size = snprintf(source->consumer, sizeof source->consumer - 8,
                        params->lane > 0 ? "%s-%u" : "%s", source->options->consumer,
                        (unsigned)params->lane);
    else
        size =
            snprintf(source->consumer, sizeof source->consumer - 8, "mbridge-%s-%s.%s-%u", host,
                     params->bridge_name != NULL ? params->bridge_name : "",
                     params->route_name != NULL ? params->route_name : "", (unsigned)params->lane);
    if (size < 0 || (size_t)size >= sizeof source->consumer - SLOT_TEXT_SIZE)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                            "the consumer's name is too long");
    /* With a lease there is one consumer. Without, processes with one name would hand out each
     * other's entries. */
    if (!source->ordered)
        status = take_slot(source, err);
    if (status == MB_OK && source->consumer_slot.number > 0)
        snprintf(source->consumer + size, SLOT_TEXT_SIZE, "-%u", source->consumer_slot.number);
    return status;
}
