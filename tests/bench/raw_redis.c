/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The halves of a bridge on Redis Streams: raw_redis read|add HOST:PORT STREAM COUNT SIZE …
 *
 * add: XADD, pipelined, each one answered. read: XREADGROUP, always one ahead of what is being
 * read, with the XACK of what was read.
 */
#include "raw_redis.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#define COUNT      500u
#define REPLY_SIZE ((size_t)1 << 20) /* about so much is asked for at once */

size_t redis_entries(const struct raw_spec *spec)
{
    size_t most = REPLY_SIZE / spec->size;

    return most == 0 ? 1 : most < COUNT ? most : COUNT;
}

uint64_t redis_requests(const struct raw_spec *spec)
{
    return spec->window > 0 ? (spec->window + COUNT - 1) / COUNT : REDIS_NEARBY;
}

/* A stream that was read before is read again from its beginning. */
static void make_group(const struct raw_spec *spec)
{
    const char *colon = strrchr(spec->address, ':');
    char host[64] = "";
    redisContext *context;
    redisReply *reply;

    if (colon == NULL || (size_t)(colon - spec->address) >= sizeof host)
        raw_die("'%s' is no HOST:PORT", spec->address);
    memcpy(host, spec->address, (size_t)(colon - spec->address));
    context = redisConnect(host, atoi(colon + 1));
    if (context == NULL || context->err != 0)
        raw_die("no connection to %s", spec->address);
    freeReplyObject(redisCommand(context, "XGROUP DESTROY %s " REDIS_GROUP, spec->stream));
    reply = redisCommand(context, "XGROUP CREATE %s " REDIS_GROUP " 0 MKSTREAM", spec->stream);
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
        raw_die("no group: %s", reply == NULL ? context->errstr : reply->str);
    freeReplyObject(reply);
    redisFree(context);
}

int main(int argc, char **argv)
{
    struct raw_spec spec;

    raw_read_arguments(&spec, argc, argv, "read", "add");
    if (!spec.is_sink)
        make_group(&spec);
    raw_run(&spec, spec.is_bare ? &raw_redis_bare : &raw_redis_client);
    return 0;
}
