/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a socket that much comes on wakes the lane.
 *
 * A broker writes deliveries in segments of some 1.4 KB, and confirms in frames of 21 bytes. Where
 * it is the limit, the lane is done with each before the next one comes, and a wake-up for each
 * takes the processor that both share from the broker. So where two reads or more brought something
 * within a millisecond, the kernel wakes the lane for what comes in the better part of one, or when
 * that is over: nothing waits longer, and the lane is not woken more often than without. Where
 * reads are few nothing waits at all.
 */
#include "amqp.h"

#include <sys/socket.h>

#define PACE_MS 1
/* Reads a millisecond that begin it. It goes on as long as each millisecond brings something. */
#define READS_MIN 2u
/* What was counted longer ago says nothing of now. */
#define RATE_LASTS_MS 2

void amqp_pace_note(struct amqp_client *client, size_t size, int64_t now_ms)
{
    struct amqp_pace *pace = &client->pace;

    if (now_ms != pace->since_ms) {
        uint64_t elapsed_ms = (uint64_t)(now_ms - pace->since_ms);

        pace->rate_bytes = pace->bytes / elapsed_ms;
        pace->rate_reads = pace->reads / elapsed_ms;
        pace->since_ms = now_ms;
        pace->bytes = 0;
        pace->reads = 0;
    }
    pace->bytes += size;
    pace->reads++;
}

static uint32_t low_water_of(const struct amqp_pace *pace, int64_t now_ms, uint32_t low_water_max)
{
    uint32_t low_water = AMQP_PACE_LOW_WATER_MIN;

    if (pace->rate_reads < (pace->low_water > 1 ? 1 : READS_MIN) ||
        now_ms - pace->since_ms > RATE_LASTS_MS)
        return 1;
    while (low_water < low_water_max && 2 * (uint64_t)low_water <= pace->rate_bytes)
        low_water *= 2;
    return low_water;
}

static void set(struct amqp_client *client, uint32_t low_water)
{
    int value = (int)low_water;

    if (low_water != client->pace.low_water &&
        setsockopt(client->fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value) == 0)
        client->pace.low_water = low_water;
}

void amqp_pace_wait(struct amqp_client *client, uint32_t low_water_max, struct mb_wait *wait)
{
    int64_t now_ms = client->host->monotonic_ms(client->host->context);

    set(client, low_water_of(&client->pace, now_ms, low_water_max));
    if (client->pace.low_water > 1 && now_ms + PACE_MS < wait->deadline_ms)
        wait->deadline_ms = now_ms + PACE_MS;
}

void amqp_pace_end(struct amqp_client *client)
{
    set(client, 1);
}
