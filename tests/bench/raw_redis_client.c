/* SPDX-License-Identifier: Apache-2.0 */
/* Redis Streams by the client library's own calls: commands that it formats and gathers, replies as
 * the objects that it makes, on a socket that does not block, so that both are pipelined. */
#include "raw_redis.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX (7 + 2 * RAW_HEADERS_MAX)
#define ACK_WORDS 3

struct client {
    const struct raw_spec *spec;
    redisContext *context;
    char *body;
    size_t gathered; /* bytes of bodies that are not known to be sent */
    const char **ack_words;
    size_t *ack_sizes;
    size_t ack_capacity;
};

static void check(const struct client *client, int status)
{
    if (status != REDIS_OK)
        raw_die("the server, or the way to it: %s", client->context->errstr);
}

static bool wait_for(struct client *client, short events, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = client->context->fd, .events = events};

    return poll(&poll_fd, 1, timeout_ms) > 0 && (poll_fd.revents & ~POLLOUT) != 0;
}

static void flush(void *state)
{
    struct client *client = (struct client *)state;
    int is_done = 0;

    check(client, redisBufferWrite(client->context, &is_done));
    if (is_done)
        client->gathered = 0;
}

/* Sends, waits until something came or can be sent, reads. */
static void turn(struct client *client, int timeout_ms)
{
    flush(client);
    if (wait_for(client, client->gathered > 0 ? POLLIN | POLLOUT : POLLIN, timeout_ms))
        check(client, redisBufferRead(client->context));
}

/* NULL where the next reply has not come yet. */
static redisReply *next_reply(struct client *client)
{
    void *reply = NULL;

    check(client, redisGetReplyFromReader(client->context, &reply));
    if (reply != NULL && ((redisReply *)reply)->type == REDIS_REPLY_ERROR)
        raw_die("the server refused: %s", ((redisReply *)reply)->str);
    return reply;
}

static void ask(struct client *client)
{
    check(client, redisAppendCommand(client->context,
                                     "XREADGROUP GROUP " REDIS_GROUP " " REDIS_CONSUMER
                                     " COUNT %d BLOCK " REDIS_BLOCK_MS " STREAMS %s >",
                                     (int)redis_entries(client->spec), client->spec->stream));
    client->gathered++;
}

static void *open_client(const struct raw_spec *spec)
{
    static struct client client;
    const char *colon = strrchr(spec->address, ':');
    char host[64] = "";

    client.spec = spec;
    client.body = raw_body(spec);
    if (colon == NULL || (size_t)(colon - spec->address) >= sizeof host)
        raw_die("'%s' is no HOST:PORT", spec->address);
    memcpy(host, spec->address, (size_t)(colon - spec->address));
    client.context = redisConnectNonBlock(host, atoi(colon + 1));
    if (client.context == NULL || client.context->err != 0)
        raw_die("no connection to %s", spec->address);
    wait_for(&client, POLLOUT, (int)(RAW_STALL_S * 1000));
    for (uint64_t i = 0; !spec->is_sink && i < redis_requests(spec); i++)
        ask(&client);
    return &client;
}

static void close_client(void *state)
{
    struct client *client = (struct client *)state;

    redisFree(client->context);
    free(client->ack_words);
    free(client->ack_sizes);
}

/* ---- add ---- */

static bool has_room(void *state)
{
    const struct client *client = (struct client *)state;

    return client->gathered < RAW_SEND_SIZE;
}

static void put(void *state, uint64_t number)
{
    struct client *client = (struct client *)state;
    const struct raw_spec *spec = client->spec;
    char key[RAW_KEY_SIZE + 1];
    char names[RAW_HEADERS_MAX][RAW_HEADER_NAME + 1];
    char values[RAW_HEADERS_MAX][RAW_HEADER_SIZE + 1];
    const char *words[WORDS_MAX] = {"XADD", spec->stream, "*", "key", key, "body", client->body};
    size_t sizes[WORDS_MAX] = {4, strlen(spec->stream), 1, 3, RAW_KEY_SIZE, 4, spec->size};
    int count = 7;

    raw_key(key, number);
    if (spec->is_stamped)
        raw_stamp(client->body);
    for (uint64_t i = 0; i < spec->headers; i++) {
        raw_header(names[i], values[i], i);
        words[count] = names[i];
        sizes[count++] = RAW_HEADER_NAME;
        words[count] = values[i];
        sizes[count++] = RAW_HEADER_SIZE;
    }
    check(client, redisAppendCommandArgv(client->context, count, words, sizes));
    client->gathered += spec->size;
}

static uint64_t confirm(void *state, int timeout_ms)
{
    struct client *client = (struct client *)state;
    uint64_t confirmed = 0;
    redisReply *reply;

    turn(client, timeout_ms);
    while ((reply = next_reply(client)) != NULL) {
        freeReplyObject(reply);
        confirmed++;
    }
    return confirmed;
}

/* ---- read ---- */

static void room_for_ids(struct client *client, size_t count)
{
    if (count + ACK_WORDS <= client->ack_capacity)
        return;
    client->ack_capacity = count + ACK_WORDS;
    client->ack_words =
        realloc(client->ack_words, client->ack_capacity * sizeof *client->ack_words);
    client->ack_sizes =
        realloc(client->ack_sizes, client->ack_capacity * sizeof *client->ack_sizes);
    if (client->ack_words == NULL || client->ack_sizes == NULL)
        raw_die("no memory");
}

static void take_entry(struct client *client, struct raw_meter *meter, const redisReply *entry)
{
    const redisReply *fields = entry->element[1];

    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *name = fields->element[i];
        const redisReply *value = fields->element[i + 1];

        if (name->len == 4 && memcmp(name->str, "body", 4) == 0) {
            raw_take(meter, client->spec, value->str, (size_t)value->len);
            return;
        }
    }
    raw_die("an entry without a body");
}

/* All entries of a reply, and the XACK for them. */
static void take_entries(struct client *client, struct raw_meter *meter, const redisReply *entries)
{
    const char *const start[ACK_WORDS] = {"XACK", client->spec->stream, REDIS_GROUP};

    room_for_ids(client, entries->elements);
    for (size_t i = 0; i < ACK_WORDS; i++) {
        client->ack_words[i] = start[i];
        client->ack_sizes[i] = strlen(start[i]);
    }
    for (size_t i = 0; i < entries->elements; i++) {
        const redisReply *entry = entries->element[i];

        take_entry(client, meter, entry);
        client->ack_words[ACK_WORDS + i] = entry->element[0]->str;
        client->ack_sizes[ACK_WORDS + i] = (size_t)entry->element[0]->len;
    }
    check(client, redisAppendCommandArgv(client->context, (int)(ACK_WORDS + entries->elements),
                                         client->ack_words, client->ack_sizes));
    client->gathered++;
}

static void take(void *state, struct raw_meter *meter, int timeout_ms)
{
    struct client *client = (struct client *)state;
    redisReply *reply;

    turn(client, timeout_ms);
    while ((reply = next_reply(client)) != NULL) {
        /* An XREADGROUP, perhaps without an entry in BLOCK's time; else it is of an XACK. */
        if (reply->type != REDIS_REPLY_INTEGER)
            ask(client);
        if (reply->type == REDIS_REPLY_ARRAY)
            take_entries(client, meter, reply->element[0]->element[1]);
        freeReplyObject(reply);
    }
}

static void finish(void *state)
{
    struct client *client = (struct client *)state;

    for (flush(client); client->gathered > 0; flush(client))
        wait_for(client, POLLOUT, RAW_WAIT_MS);
}

const struct raw_way raw_redis_client = {
    .open = open_client,
    .close = close_client,
    .has_room = has_room,
    .put = put,
    .flush = flush,
    .confirm = confirm,
    .take = take,
    .finish = finish,
};
