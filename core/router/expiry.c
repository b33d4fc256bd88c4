/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/expiry.h"

#define SHORTEN_FROM_MS 1000
#define LEFT_MAX_MS     (INT64_MAX / 2)

int64_t mb_expiry_of(const struct mb_message *message, int64_t wall_ms, int64_t now_ms)
{
    int64_t left_ms = INT64_MAX;

    if ((message->present & MB_HAS_EXPIRES_AT) != 0 && message->expires_at_ms > 0)
        left_ms = message->expires_at_ms - wall_ms;
    if ((message->present & MB_HAS_TTL) != 0 && message->ttl_ms > 0 &&
        message->ttl_ms < LEFT_MAX_MS) {
        bool is_logged = (message->present & MB_HAS_TIMESTAMP) != 0 &&
                         message->timestamp_kind == MB_TIMESTAMP_LOG_APPEND &&
                         message->timestamp_ms > 0 && message->timestamp_ms < wall_ms;
        int64_t age_ms = is_logged ? wall_ms - message->timestamp_ms : 0;

        if ((int64_t)message->ttl_ms - age_ms < left_ms)
            left_ms = (int64_t)message->ttl_ms - age_ms;
    }
    if (left_ms == INT64_MAX)
        return 0;
    if (left_ms > LEFT_MAX_MS)
        left_ms = LEFT_MAX_MS;
    return left_ms >= 0 && now_ms + left_ms > 0 ? now_ms + left_ms : 1;
}

void mb_expiry_shorten(struct mb_message *message, int64_t expires_ms, int64_t now_ms)
{
    uint64_t left_ms = expires_ms > now_ms ? (uint64_t)(expires_ms - now_ms) : 1;

    if ((message->present & MB_HAS_TTL) != 0 && message->ttl_ms >= left_ms + SHORTEN_FROM_MS)
        message->ttl_ms = left_ms;
}
