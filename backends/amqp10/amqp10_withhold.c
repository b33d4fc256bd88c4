/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a source tells the broker of its deliveries, past proton. Proton keeps a kilobyte for each
 * delivery until it is settled, and a window has ten thousand of them. So a delivery is settled
 * with proton as soon as it is taken, and what proton writes of that, a disposition, is not sent:
 * it tells the delivery's number, by which the true outcome is written when it is known. To proton
 * each is released: if one came through nevertheless, the broker would hand the message out again.
 */
#include "amqp10.h"

#include <endian.h>
#include <poll.h>

#define HEAD_SIZE   8u
#define DISPOSITION 0x15u
#define ACCEPTED    0x24u
#define REJECTED    0x25u
#define OUT_MAX     ((size_t)16 << 20)
/* Proton takes what is withheld for a sign of life. After so long without another, one is sent. */
#define SILENCE_MS 250

enum mb_status amqp10_client_withhold(struct amqp10_client *client, int64_t deadline_ms,
                                      struct mb_error *err)
{
    while (amqp10_client_write(client) == MB_AGAIN && !client->failed) {
        if (!amqp10_socket_await(client, POLLOUT, deadline_ms))
            return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                                "%s: the broker did not take what was sent in time", client->name);
    }
    if (client->failed)
        return amqp10_client_gone(client, err);
    client->raw.max_size = OUT_MAX;
    client->out.max_size = OUT_MAX;
    client->withholds = true;
    return MB_OK;
}

static uint32_t number_at(const unsigned char *at)
{
    uint32_t number;

    memcpy(&number, at, sizeof number);
    return be32toh(number);
}

/* A uint as proton writes it. Returns what is behind it; NULL: it is none. */
static const unsigned char *read_number(const unsigned char *at, const unsigned char *end,
                                        uint32_t *ret_number)
{
    size_t left = (size_t)(end - at);

    if (left >= 1 && at[0] == 0x43) {
        *ret_number = 0;
        return at + 1;
    }
    if (left >= 2 && at[0] == 0x52) {
        *ret_number = at[1];
        return at + 2;
    }
    if (left >= 5 && at[0] == 0x70) {
        *ret_number = number_at(at + 1);
        return at + 5;
    }
    return NULL;
}

static const unsigned char *read_role(const unsigned char *at, const unsigned char *end,
                                      bool *ret_receives)
{
    size_t left = (size_t)(end - at);

    if (left >= 1 && (at[0] == 0x41 || at[0] == 0x42)) {
        *ret_receives = at[0] == 0x41;
        return at + 1;
    }
    if (left >= 2 && at[0] == 0x56) {
        *ret_receives = at[1] != 0;
        return at + 2;
    }
    return NULL;
}

/* A disposition's role, first and last, or false. */
static bool read_disposition(const unsigned char *at, const unsigned char *end, bool *ret_receives,
                             uint32_t *ret_first, uint32_t *ret_last)
{
    size_t left = (size_t)(end - at);

    if (left < 3 || (at[0] != 0xc0 && (at[0] != 0xd0 || left < 9)))
        return false;
    at += at[0] == 0xc0 ? 3 : 9;
    at = read_role(at, end, ret_receives);
    if (at != NULL)
        at = read_number(at, end, ret_first);
    if (at == NULL)
        return false;
    *ret_last = *ret_first;
    return at < end && (*at == 0x40 || read_number(at, end, ret_last) != NULL);
}

static void note(struct amqp10_client *client, uint16_t channel, uint32_t first, uint32_t last)
{
    for (uint32_t id = first;; id++) {
        if (client->withheld_count == AMQP10_WITHHELD_MAX) {
            client->withheld_lost = true;
            return;
        }
        client->withheld[client->withheld_count++] = (struct amqp10_id){id, channel};
        if (id == last)
            return;
    }
}

/* Nothing more can be sent: it could be what is to be withheld. */
static void give_up(struct amqp10_client *client)
{
    client->raw.failed = true;
    amqp10_client_fail(client, "protocol", "what proton is about to send cannot be read");
}

/* One whole frame: withheld, or sent. */
static void sift(struct amqp10_client *client, const unsigned char *frame, size_t size)
{
    const unsigned char *end = frame + size;
    size_t body = (size_t)frame[4] * 4;
    bool receives = false;
    uint32_t first;
    uint32_t last;

    if (body >= HEAD_SIZE && size >= body + 3 && frame[5] == 0 && frame[body] == 0x00 &&
        frame[body + 1] == 0x53 && frame[body + 2] == DISPOSITION) {
        if (!read_disposition(frame + body + 3, end, &receives, &first, &last)) {
            give_up(client);
            return;
        }
        if (receives) {
            note(client, (uint16_t)(frame[6] << 8 | frame[7]), first, last);
            return;
        }
    }
    mb_text_add(&client->out, frame, size);
}

/* Proton has its words in whole frames, but hands them out in pieces. */
static void sift_all(struct amqp10_client *client)
{
    const unsigned char *raw = (const unsigned char *)client->raw.data;
    size_t at = 0;

    while (!client->raw.failed && client->raw.size - at >= HEAD_SIZE) {
        size_t size = number_at(raw + at);

        if (size < HEAD_SIZE) {
            give_up(client);
            break;
        }
        if (client->raw.size - at < size)
            break;
        sift(client, raw + at, size);
        at += size;
    }
    if (at > 0) {
        memmove(client->raw.data, client->raw.data + at, client->raw.size - at);
        client->raw.size -= at;
    }
}

pn_bytes_t amqp10_withhold_pull(struct amqp10_client *client)
{
    for (;;) {
        pn_bytes_t bytes = pn_connection_driver_write_buffer(&client->driver);

        if (bytes.size == 0)
            break;
        mb_text_add(&client->raw, bytes.start, bytes.size);
        pn_connection_driver_write_done(&client->driver, bytes.size);
    }
    if (client->raw.size > 0)
        sift_all(client);
    if (client->raw.failed || client->out.failed)
        amqp10_client_fail(client, "memory", "out of memory for what is to be sent");
    return client->failed
               ? pn_bytes(0, NULL)
               : pn_bytes(client->out.size - client->out_sent, client->out.data + client->out_sent);
}

void amqp10_withhold_sent(struct amqp10_client *client, size_t size)
{
    client->out_sent += size;
    client->sent_ms = amqp10_now_ms(client->host);
    if (client->out_sent < client->out.size)
        return;
    client->out_sent = 0;
    mb_text_clear(&client->out);
}

size_t amqp10_withheld(struct amqp10_client *client, const struct amqp10_id **ret_ids)
{
    static const unsigned char empty[] = {0, 0, 0, HEAD_SIZE, 2, 0, 0, 0};
    size_t count;

    amqp10_withhold_pull(client);
    count = client->withheld_lost ? 0 : client->withheld_count;
    *ret_ids = client->withheld;
    client->withheld_count = 0;
    client->withheld_lost = false;
    if (client->out.size == 0 && amqp10_now_ms(client->host) - client->sent_ms >= SILENCE_MS)
        mb_text_add(&client->out, empty, sizeof empty);
    return count;
}

static unsigned char *put_number(unsigned char *at, uint32_t number)
{
    *at++ = 0x70;
    number = htobe32(number);
    memcpy(at, &number, sizeof number);
    return at + sizeof number;
}

void amqp10_dispose(struct amqp10_client *client, struct amqp10_id first, uint32_t last,
                    bool accepted)
{
    static const unsigned char head[] = {0, 0, 0, 30, 2, 0};
    static const unsigned char list[] = {0x00, 0x53, DISPOSITION, 0xc0, 17, 5, 0x41};
    const unsigned char state[] = {0x41, 0x00, 0x53, accepted ? ACCEPTED : REJECTED, 0x45};
    unsigned char frame[30];
    unsigned char *at = frame;

    memcpy(at, head, sizeof head);
    at += sizeof head;
    *at++ = (unsigned char)(first.channel >> 8);
    *at++ = (unsigned char)first.channel;
    memcpy(at, list, sizeof list);
    at = put_number(at + sizeof list, first.id);
    at = put_number(at, last);
    memcpy(at, state, sizeof state);
    mb_text_add(&client->out, frame, sizeof frame);
}
