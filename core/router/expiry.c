/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/expiry.h"

#define SHORTEN_FROM_MS 1000

int64_t mb_expiry_of(const struct mb_message *message, int64_t wall_ms)
{
    int64_t expires_ms = 0;

    if ((message->present & MB_HAS_EXPIRES_AT) != 0 && message->expires_at_ms > 0)
        expires_ms = message->expires_at_ms;
    if ((message->present & MB_HAS_TTL) != 0 && message->ttl_ms > 0 &&
        message->ttl_ms < INT64_MAX / 2) {
        bool is_logged = (message->present & MB_HAS_TIMESTAMP) != 0 &&
                         message->timestamp_kind == MB_TIMESTAMP_LOG_APPEND &&
                         message->timestamp_ms > 0 && message->timestamp_ms < wall_ms;
        int64_t end_ms = (is_logged ? message->timestamp_ms : wall_ms) + (int64_t)message->ttl_ms;

        if (expires_ms == 0 || end_ms < expires_ms)
            expires_ms = end_ms;
    }
    return expires_ms;
}

void mb_expiry_shorten(struct mb_message *message, int64_t expires_ms, int64_t wall_ms)
{
    uint64_t left_ms = expires_ms > wall_ms ? (uint64_t)(expires_ms - wall_ms) : 1;

    if ((message->present & MB_HAS_TTL) != 0 && message->ttl_ms >= left_ms + SHORTEN_FROM_MS)
        message->ttl_ms = left_ms;
}
