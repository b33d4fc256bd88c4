/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka.h"

#define LOOK_EVERY_MS 1000
#define BACK_MS       5000 /* what a clock that is only corrected does not step by */

/*
 * The library's threads wait until a time of the day. When that clock is set back, what waits at
 * that moment (for the next attempt to connect, for the next heartbeat) waits longer by as much,
 * for an hour perhaps. No call wakes all of them, except that a client ends.
 */
void kafka_client_clock(struct kafka_client *client)
{
    const struct mb_host *host = client->host;
    int64_t now_ms = host->monotonic_ms(host->context);
    int64_t ahead_ms;

    if (now_ms < client->clock_look_ms)
        return;
    ahead_ms = host->wall_ms(host->context) - now_ms;
    if (client->clock_look_ms != 0 && client->clock_ahead_ms - ahead_ms >= BACK_MS)
        kafka_client_fail(client, "clock", "the clock was set back by %lld s",
                          (long long)(client->clock_ahead_ms - ahead_ms) / 1000);
    client->clock_look_ms = now_ms + LOOK_EVERY_MS;
    client->clock_ahead_ms = ahead_ms;
}
