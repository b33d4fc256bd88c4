/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Effectively once: an entry and the position that it had at its source are stored by one script,
 * which leaves out what was stored before. So a position lies beside each stream, in its slot, for
 * every scope of the source.
 *
 * What is stored means that everything before it is done with, so nothing may overtake: while
 * something of a chain (a stream, and a scope of the source) is under way, the next one names what
 * goes before it, and is refused if that is missing. What the script refuses leaves nothing behind.
 */
#include "redis_sink.h"

#include <hiredis/hiredis.h>

#define CHAINS_MAX   4096u
#define CHAIN_NONE   UINT32_MAX
#define BUCKETS      (2u * CHAINS_MAX)
#define SHA_SIZE     40u
#define POSITION_MAX (2u * REDIS_NUMBER_MAX + 1u)
#define KEY_PREFIX   "mbridge:positions:"
#define REASON_GAP   "MBRIDGEGAP"
#define REASON_KEY   "MBRIDGEKEY"
/* No route has more open: who finds more than that stored already reads another stream than the one
 * that the positions are of, or from a place far back. */
#define REPEATS_MAX 10000u

/*
 * KEYS: stream, positions. ARGV: field, position, the one before ('': not known), then XADD's
 * arguments. Positions are of one width, so that they compare as text: Lua's numbers are doubles.
 * The position is set first, and set back if XADD fails: setting it was allowed a moment ago, and
 * a write in the same script is refused neither for memory nor for a right. A repeat writes, too,
 * so that WAIT waits for what the first one wrote.
 */
static const char script[] =
    "local s = redis.pcall('HGET', KEYS[2], ARGV[1]) "
    "if type(s) == 'table' then "
    "if string.sub(s.err, 1, 9) == 'WRONGTYPE' then return {err = '" REASON_KEY " ' .. s.err} end "
    "return s end "
    "if s == '' then s = false end "
    "if s and s >= ARGV[2] then "
    "local r = redis.pcall('HSET', KEYS[2], ARGV[1], s) "
    "if type(r) == 'table' then return r end "
    "return {ok = s} end "
    "if ARGV[3] ~= '' and (not s or s < ARGV[3]) then "
    "local t = redis.pcall('XLEN', KEYS[1]) "
    "if type(t) == 'table' then return t end "
    "return {err = '" REASON_GAP " ' .. (s or 'nothing') .. ' is stored, not ' .. ARGV[3]} end "
    "local r = redis.pcall('HSET', KEYS[2], ARGV[1], ARGV[2]) "
    "if type(r) == 'table' then return r end "
    "local id = redis.pcall('XADD', KEYS[1], unpack(ARGV, 4)) "
    "if type(id) == 'table' then redis.call('HSET', KEYS[2], ARGV[1], s or '') end "
    "return id";

struct chain {
    char *text; /* key and field; NULL: this place is free */
    size_t key_size;
    size_t size;
    size_t stream_at; /* of the destination, in key */
    size_t stream_size;
    size_t identity_at; /* in text; the source's stream is its end */
    size_t identity_size;
    size_t source_size;
    size_t platform_size;
    int32_t partition;
    uint32_t open;    /* sent, and not completed */
    uint32_t repeats; /* in a row, each behind the one before */
    uint32_t next;    /* in its bucket */
    uint64_t hash;
    struct mb_position last;   /* sent */
    struct mb_position repeat; /* the last one */
};

struct redis_once {
    const struct mb_host *host;
    char *group;
    char sha[SHA_SIZE];
    uint32_t chains_count; /* places ever used */
    uint32_t hand;         /* where to look for one to give up */
    uint32_t recent;
    bool told_of_identity;
    uint32_t buckets[BUCKETS];
    struct chain chains[CHAINS_MAX];
};

/* ---- open ---- */

enum mb_status redis_once_create(const struct mb_open_params *params, struct redis_once **ret_once,
                                 struct mb_error *err)
{
    const char *group = params->default_group != NULL ? params->default_group : "";
    struct redis_once *once = redis_alloc_zero(params->host, sizeof *once);

    if (once != NULL) {
        once->host = params->host;
        once->recent = CHAIN_NONE;
        for (size_t i = 0; i < BUCKETS; i++)
            once->buckets[i] = CHAIN_NONE;
        once->group = params->host->alloc(params->host->context, strlen(group) + 1);
    }
    *ret_once = once;
    if (once == NULL || once->group == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    memcpy(once->group, group, strlen(group) + 1);
    return MB_OK;
}

void redis_once_destroy(struct redis_once *once)
{
    if (once == NULL)
        return;
    for (uint32_t i = 0; i < once->chains_count; i++)
        once->host->release(once->host->context, once->chains[i].text);
    once->host->release(once->host->context, once->group);
    once->host->release(once->host->context, once);
}

/* Whatever is evicted takes along what it says is stored. */
static enum mb_status warn_of_eviction(struct redis_client *client, int64_t deadline_ms,
                                       struct mb_error *err)
{
    const struct mb_slice arguments[] = {MB_SLICE_LITERAL("CONFIG"), MB_SLICE_LITERAL("GET"),
                                         MB_SLICE_LITERAL("maxmemory-policy")};
    redisReply *reply;
    enum mb_status status = redis_call(client, deadline_ms, 3, arguments, &reply, err);
    char text[512];

    if (status == MB_OK && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        strncmp(reply->element[1]->str, "allkeys", 7) == 0) {
        snprintf(text, sizeof text,
                 "%s: maxmemory-policy is %.60s: a stream, or the positions that keep its messages "
                 "from being stored twice, may be evicted",
                 client->name, reply->element[1]->str);
        client->host->log(client->host->context, MB_LOG_WARN, text);
    }
    redis_reply_free(reply);
    return status;
}

enum mb_status redis_once_load(struct redis_once *once, struct redis_client *client,
                               int64_t deadline_ms, struct mb_error *err)
{
    const struct mb_slice arguments[] = {MB_SLICE_LITERAL("SCRIPT"), MB_SLICE_LITERAL("LOAD"),
                                         mb_slice_text(script)};
    redisReply *reply;
    enum mb_status status = redis_call(client, deadline_ms, 3, arguments, &reply, err);

    if (status == MB_OK && reply->type == REDIS_REPLY_STRING && reply->len == SHA_SIZE)
        memcpy(once->sha, reply->str, SHA_SIZE);
    else if (status == MB_OK && reply->type == REDIS_REPLY_ERROR)
        status =
            redis_refuse(client, (struct mb_slice){reply->str, (size_t)reply->len},
                         "the script of delivery = \"effectively-once\" (SCRIPT LOAD, EVALSHA; "
                         "HGET and HSET on " KEY_PREFIX "*, XADD and XLEN on the stream)",
                         err);
    else if (status == MB_OK)
        status =
            redis_client_fail(client, err, "protocol", "SCRIPT LOAD was answered with no hash");
    redis_reply_free(reply);
    return status == MB_OK ? warn_of_eviction(client, deadline_ms, err) : status;
}

void redis_once_put_load(struct redis_out *out)
{
    redis_out_array(out, 3);
    redis_out_text(out, "SCRIPT");
    redis_out_text(out, "LOAD");
    redis_out_text(out, script);
}

/* ---- names ---- */

static bool is_cluster_key(const struct mb_text *key, unsigned slot)
{
    return redis_slot_of((struct mb_slice){key->data, key->size}) == slot;
}

/* The key of a stream's positions is in its slot: by the stream's own tag, by its name as a tag, or
 * where neither can be had by a number that happens to be. Where the stream is in it: *ret_at. */
static void name_key(const struct redis_once *once, struct mb_slice stream, struct mb_text *out,
                     size_t *ret_at)
{
    const char *data = stream.data;
    const char *open = stream.size > 0 ? memchr(data, '{', stream.size) : NULL;
    const char *close =
        open != NULL ? memchr(open + 1, '}', stream.size - (size_t)(open + 1 - data)) : NULL;
    unsigned slot = redis_slot_of(stream);

    if (close == NULL) {
        mb_text_add(out, KEY_PREFIX "{", sizeof KEY_PREFIX);
        *ret_at = out->size;
        mb_text_add(out, stream.data, stream.size);
        mb_text_addf(out, "}:%s", once->group);
        if (out->failed || is_cluster_key(out, slot))
            return;
        mb_text_clear(out);
    } else if (close > open + 1) {
        mb_text_add(out, KEY_PREFIX, sizeof KEY_PREFIX - 1);
        mb_text_add(out, open, (size_t)(close + 1 - open));
        mb_text_addf(out, ":%s:", once->group);
        *ret_at = out->size;
        mb_text_add(out, stream.data, stream.size);
        return;
    }
    for (unsigned tag = 0; !out->failed; tag++) {
        mb_text_clear(out);
        mb_text_addf(out, KEY_PREFIX "{%u}", tag);
        if (is_cluster_key(out, slot))
            break;
    }
    mb_text_addf(out, ":%s:", once->group);
    *ret_at = out->size;
    mb_text_add(out, stream.data, stream.size);
}

/* platform:size of identity:identity:partition:stream */
static void name_field(struct chain *chain, const struct mb_origin *origin, struct mb_text *out)
{
    mb_text_add(out, origin->platform.data, origin->platform.size);
    mb_text_add(out, ":", 1);
    mb_text_add_u64(out, origin->identity.size);
    mb_text_add(out, ":", 1);
    chain->identity_at = out->size;
    mb_text_add(out, origin->identity.data, origin->identity.size);
    mb_text_add(out, ":", 1);
    mb_text_add_i64(out, origin->partition);
    mb_text_add(out, ":", 1);
    mb_text_add(out, origin->stream.data, origin->stream.size);
}

static bool chain_name(const struct redis_once *once, struct chain *chain, struct mb_slice stream,
                       const struct mb_origin *origin)
{
    struct mb_text text = {.max_size = SIZE_MAX / 2};
    bool named;

    name_key(once, stream, &text, &chain->stream_at);
    chain->key_size = text.size;
    name_field(chain, origin, &text);
    chain->stream_size = stream.size;
    chain->identity_size = origin->identity.size;
    chain->source_size = origin->stream.size;
    chain->platform_size = origin->platform.size;
    chain->partition = origin->partition;
    chain->size = text.size;
    chain->text = text.failed ? NULL : once->host->alloc(once->host->context, text.size);
    named = chain->text != NULL;
    if (named)
        memcpy(chain->text, text.data, text.size);
    mb_text_release(&text);
    return named;
}

/* ---- chains ---- */

static bool part_is(const struct chain *chain, size_t at, size_t size, struct mb_slice slice)
{
    return mb_slice_equal((struct mb_slice){chain->text + at, size}, slice);
}

static bool is_chain_of(const struct chain *chain, struct mb_slice stream,
                        const struct mb_origin *origin)
{
    return chain->text != NULL && chain->partition == origin->partition &&
           part_is(chain, chain->stream_at, chain->stream_size, stream) &&
           part_is(chain, chain->size - chain->source_size, chain->source_size, origin->stream) &&
           part_is(chain, chain->identity_at, chain->identity_size, origin->identity) &&
           part_is(chain, chain->key_size, chain->platform_size, origin->platform);
}

static uint64_t hash_of(struct mb_slice stream, const struct mb_origin *origin)
{
    uint64_t hash = mb_hash_add(MB_HASH_BEGIN, stream.data, stream.size);

    hash = mb_hash_add(hash, origin->stream.data, origin->stream.size);
    hash = mb_hash_add(hash, origin->identity.data, origin->identity.size);
    return mb_hash_add(hash, &origin->partition, sizeof origin->partition);
}

static void forget(struct redis_once *once, uint32_t index)
{
    struct chain *chain = &once->chains[index];
    uint32_t *link = &once->buckets[chain->hash % BUCKETS];

    if (chain->text == NULL)
        return;
    while (*link != index)
        link = &once->chains[*link].next;
    *link = chain->next;
    once->host->release(once->host->context, chain->text);
    memset(chain, 0, sizeof *chain);
}

/* A place for one more; CHAIN_NONE: something of each is under way. */
static uint32_t make_room(struct redis_once *once)
{
    if (once->chains_count < CHAINS_MAX)
        return once->chains_count++;
    for (uint32_t i = 0; i < CHAINS_MAX; i++) {
        uint32_t index = once->hand++ % CHAINS_MAX;

        if (once->chains[index].open == 0) {
            forget(once, index);
            return index;
        }
    }
    return CHAIN_NONE;
}

static uint32_t search(const struct redis_once *once, uint64_t hash, struct mb_slice stream,
                       const struct mb_origin *origin)
{
    uint32_t index = once->buckets[hash % BUCKETS];

    while (index != CHAIN_NONE &&
           !(once->chains[index].hash == hash && is_chain_of(&once->chains[index], stream, origin)))
        index = once->chains[index].next;
    return index;
}

/* What a server of Redis calls itself (redis_describe.c) does not last. */
static void warn_of_identity(struct redis_once *once, const struct mb_origin *origin)
{
    static const char prefix[] = REDIS_PLATFORM " ";
    char text[400];

    if (once->told_of_identity ||
        !mb_slice_equal(origin->platform, mb_slice_text(REDIS_PLATFORM)) ||
        origin->identity.size < sizeof prefix - 1 ||
        memcmp(origin->identity.data, prefix, sizeof prefix - 1) != 0)
        return;
    once->told_of_identity = true;
    snprintf(text, sizeof text,
             "the source's server is called otherwise when it is started anew: what comes again "
             "then is taken for new, unless its endpoint \"%.*s\" has an identity",
             (int)(origin->endpoint.size < 100 ? origin->endpoint.size : 100),
             (const char *)origin->endpoint.data);
    once->host->log(once->host->context, MB_LOG_WARN, text);
}

static enum mb_status find(struct redis_once *once, struct mb_slice stream,
                           const struct mb_origin *origin, uint32_t *ret_index,
                           struct mb_error *err)
{
    uint64_t hash;
    struct chain *chain;

    *ret_index = once->recent;
    if (once->recent != CHAIN_NONE && is_chain_of(&once->chains[once->recent], stream, origin))
        return MB_OK;
    hash = hash_of(stream, origin);
    *ret_index = search(once, hash, stream, origin);
    if (*ret_index != CHAIN_NONE)
        return MB_OK;
    *ret_index = make_room(once);
    if (*ret_index == CHAIN_NONE)
        return MB_AGAIN;
    chain = &once->chains[*ret_index];
    if (!chain_name(once, chain, stream, origin)) {
        memset(chain, 0, sizeof *chain);
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    }
    warn_of_identity(once, origin);
    chain->hash = hash;
    chain->next = once->buckets[hash % BUCKETS];
    once->buckets[hash % BUCKETS] = *ret_index;
    return MB_OK;
}

static bool is_before(struct mb_position a, struct mb_position b)
{
    return a.hi < b.hi || (a.hi == b.hi && a.lo < b.lo);
}

/* ---- the life of an entry ---- */

enum mb_status redis_once_admit(struct redis_once *once, struct redis_outstanding *entry,
                                struct mb_error *err)
{
    const struct mb_message *message = entry->message;
    const struct chain *chain;
    enum mb_status status;

    if (message->origin == NULL ||
        (message->position.kind != MB_POSITION_OFFSET && message->position.kind != MB_POSITION_ID))
        return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "no-position",
                            "the message has no position at its source by which it could be told "
                            "from others");
    status = find(once, entry->stream, message->origin, &entry->chain, err);
    if (status != MB_OK)
        return status;
    once->recent = entry->chain;
    chain = &once->chains[entry->chain];
    /* What comes again after its scope was given out anew has nothing before it. */
    if (chain->open > 0 && is_before(chain->last, message->position))
        entry->before = chain->last;
    return MB_OK;
}

void redis_once_sent(struct redis_once *once, const struct redis_outstanding *entry)
{
    struct chain *chain = &once->chains[entry->chain];

    chain->open++;
    chain->last = entry->message->position;
}

void redis_once_done(struct redis_once *once, const struct redis_outstanding *entry)
{
    once->chains[entry->chain].open--;
}

bool redis_once_repeats(struct redis_once *once, const struct redis_outstanding *entry,
                        bool is_repeat, struct mb_error *err)
{
    struct chain *chain = &once->chains[entry->chain];

    if (!is_repeat) {
        chain->repeats = 0;
        return true;
    }
    /* What is repeated again counts anew, but not what was refused for being too much. */
    if (chain->repeats < REPEATS_MAX && !is_before(chain->repeat, entry->message->position))
        chain->repeats = 0;
    chain->repeat = entry->message->position;
    if (chain->repeats < REPEATS_MAX) {
        chain->repeats++;
        return true;
    }
    mb_error_set(err, MB_AGAIN, MB_CAUSE_DESTINATION, "behind",
                 "the last %u messages were stored before, more than a route ever repeats: its "
                 "source was created anew, or set back. To store them again: HDEL %.*s %.*s",
                 REPEATS_MAX, (int)(chain->key_size < 120 ? chain->key_size : 120), chain->text,
                 (int)(chain->size - chain->key_size < 120 ? chain->size - chain->key_size : 120),
                 chain->text + chain->key_size);
    return false;
}

bool redis_once_is_gap(struct mb_slice text)
{
    return text.size >= sizeof REASON_GAP - 1 &&
           memcmp(text.data, REASON_GAP, sizeof REASON_GAP - 1) == 0;
}

/* ---- the command ---- */

static size_t write_fixed(char *at, uint64_t number)
{
    for (size_t i = REDIS_NUMBER_MAX; i-- > 0; number /= 10)
        at[i] = (char)('0' + number % 10);
    return REDIS_NUMBER_MAX;
}

static void put_position(struct redis_out *out, struct mb_position position)
{
    char text[POSITION_MAX];
    size_t size = 0;

    if (position.kind == MB_POSITION_ID) {
        size = write_fixed(text, position.hi);
        text[size++] = '-';
    }
    if (position.kind != MB_POSITION_NONE)
        size += write_fixed(text + size, position.lo);
    redis_out_bulk(out, (struct mb_slice){text, size});
}

void redis_once_put_head(const struct redis_once *once, struct redis_out *out,
                         const struct redis_outstanding *entry, size_t arguments_count)
{
    const struct chain *chain = &once->chains[entry->chain];

    redis_out_array(out, 8 + arguments_count);
    redis_out_raw(out, "$7\r\nEVALSHA\r\n", 13);
    redis_out_bulk(out, (struct mb_slice){once->sha, SHA_SIZE});
    redis_out_raw(out, "$1\r\n2\r\n", 7);
    redis_out_bulk(out, entry->stream);
    redis_out_bulk(out, (struct mb_slice){chain->text, chain->key_size});
    redis_out_bulk(out,
                   (struct mb_slice){chain->text + chain->key_size, chain->size - chain->key_size});
    put_position(out, entry->message->position);
    put_position(out, entry->before);
}
