/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease: a group divides by message, so order by key needs one active consumer. The active one
 * holds a key whose value names its connection; it expires if it is not renewed. Who stands by asks
 * whether that connection is still there, and takes over at once if it is not.
 */
#include "redis.h"

#include <hiredis/hiredis.h>
#include <sys/random.h>

/* All compare what is there with what it should be, so that nobody's lease is changed by another.
 */
static const char take_script[] =
    "local v = redis.call('get', KEYS[1]) "
    "if v == false or v == ARGV[1] then "
    "redis.call('set', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end return 0";
static const char renew_script[] = "if redis.call('get', KEYS[1]) == ARGV[1] then "
                                   "return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0";
static const char release_script[] = "if redis.call('get', KEYS[1]) == ARGV[1] then "
                                     "return redis.call('del', KEYS[1]) end return 0";

/* In a cluster the lease lies in its stream's slot. */
static bool name_key(struct redis_lease *lease, const char *stream, const char *group)
{
    struct mb_slice name = mb_slice_text(stream);
    int size = snprintf(lease->key, sizeof lease->key, "mbridge:active:{%s}:%s", stream, group);

    if (size > 0 && redis_slot_of(mb_slice_text(lease->key)) != redis_slot_of(name))
        size = snprintf(lease->key, sizeof lease->key, "mbridge:active:%s:%s", stream, group);
    lease->key_size = size > 0 ? (size_t)size : 0;
    return size > 0 && (size_t)size < sizeof lease->key;
}

static bool name_holder(struct redis_lease *lease, const struct redis_client *client)
{
    uint64_t nonce[2];

    if (getrandom(nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce)
        return false;
    snprintf(lease->token, sizeof lease->token, "%llu %s %016llx%016llx",
             (unsigned long long)client->id, client->run_id[0] != '\0' ? client->run_id : "-",
             (unsigned long long)nonce[0], (unsigned long long)nonce[1]);
    return true;
}

static struct mb_slice key_of(const struct redis_lease *lease)
{
    return (struct mb_slice){lease->key, lease->key_size};
}

static enum mb_status refused(const struct redis_client *client, const redisReply *reply,
                              struct mb_error *err)
{
    return redis_refuse(client, (struct mb_slice){reply->str, (size_t)reply->len},
                        "the lease that keeps order by key (GET, SET, DEL, PEXPIRE by EVAL on "
                        "mbridge:active:*; with order = \"none\" no lease is needed)",
                        err);
}

/* The connection that the value names is surely gone. */
static enum mb_status holder_is_gone(struct redis_client *client, const char *value,
                                     int64_t deadline_ms, bool *ret_gone, struct mb_error *err)
{
    char id[24] = "";
    char run_id[48] = "";
    struct mb_slice arguments[] = {MB_SLICE_LITERAL("CLIENT"), MB_SLICE_LITERAL("LIST"),
                                   MB_SLICE_LITERAL("ID"), MB_SLICE_NULL};
    redisReply *reply;
    enum mb_status status;

    *ret_gone = false;
    if (sscanf(value, "%23s %47s", id, run_id) != 2 || strspn(id, "0123456789") != strlen(id) ||
        strcmp(id, "0") == 0 || client->run_id[0] == '\0' || strcmp(run_id, "-") == 0)
        return MB_OK;
    if (strcmp(run_id, client->run_id) != 0) {
        /* It was connected to a process that this one has replaced. */
        *ret_gone = true;
        return MB_OK;
    }
    arguments[3] = mb_slice_text(id);
    status = redis_call(client, deadline_ms, 4, arguments, &reply, err);
    if (status == MB_OK && reply->type == REDIS_REPLY_STRING)
        *ret_gone = strstr(reply->str, "id=") == NULL;
    redis_reply_free(reply);
    return status;
}

static enum mb_status get_holder(struct redis_client *client, const struct redis_lease *lease,
                                 int64_t deadline_ms, char *value, size_t size,
                                 struct mb_error *err)
{
    const struct mb_slice arguments[] = {MB_SLICE_LITERAL("GET"), key_of(lease)};
    redisReply *reply;
    enum mb_status status = redis_call(client, deadline_ms, 2, arguments, &reply, err);

    value[0] = '\0';
    if (status == MB_OK && reply->type == REDIS_REPLY_ERROR)
        status = refused(client, reply, err);
    else if (status == MB_OK && reply->type == REDIS_REPLY_STRING)
        snprintf(value, size, "%s", reply->str);
    redis_reply_free(reply);
    return status;
}

/* Takes it if it is free, or held by exactly that holder. */
static enum mb_status try_take(struct redis_client *client, const struct redis_lease *lease,
                               const char *holder, int64_t deadline_ms, bool *ret_taken,
                               struct mb_error *err)
{
    char period[REDIS_NUMBER_MAX];
    const struct mb_slice arguments[] = {
        MB_SLICE_LITERAL("EVAL"),
        mb_slice_text(take_script),
        MB_SLICE_LITERAL("1"),
        key_of(lease),
        mb_slice_text(holder),
        mb_slice_text(lease->token),
        {period, redis_number_write(period, REDIS_LEASE_MS)},
    };
    redisReply *reply;
    enum mb_status status = redis_call(client, deadline_ms, 7, arguments, &reply, err);

    *ret_taken = status == MB_OK && reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
    if (status == MB_OK && reply->type == REDIS_REPLY_ERROR)
        status = refused(client, reply, err);
    redis_reply_free(reply);
    return status;
}

enum mb_status redis_lease_take(struct redis_client *client, const char *stream, const char *group,
                                int64_t deadline_ms, struct redis_lease *ret_lease,
                                struct mb_error *err)
{
    struct redis_lease *lease = ret_lease;
    char holder[160];
    bool gone = false;
    bool taken = false;
    enum mb_status status;

    if (!name_key(lease, stream, group) || !name_holder(lease, client))
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "lease",
                            "%s: no lease for stream \"%.200s\": its name is too long, or there "
                            "is no randomness",
                            client->name, stream);
    status = get_holder(client, lease, deadline_ms, holder, sizeof holder, err);
    if (status == MB_OK && holder[0] != '\0')
        status = holder_is_gone(client, holder, deadline_ms, &gone, err);
    if (status == MB_OK && (holder[0] == '\0' || gone))
        status = try_take(client, lease, holder, deadline_ms, &taken, err);
    if (status != MB_OK || taken)
        return status;
    mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "standby",
                 "%s: another consumer of stream \"%.160s\", group \"%.100s\", is active: standing "
                 "by",
                 client->name, stream, group);
    err->retry_after_ms = 500;
    return MB_DISCONNECTED;
}

static bool put_script(struct redis_out *out, const char *script, const struct redis_lease *lease,
                       bool with_period)
{
    redis_out_array(out, with_period ? 6 : 5);
    redis_out_text(out, "EVAL");
    redis_out_text(out, script);
    redis_out_text(out, "1");
    redis_out_bulk(out, key_of(lease));
    redis_out_text(out, lease->token);
    if (with_period)
        redis_out_number(out, REDIS_LEASE_MS);
    return !out->failed;
}

bool redis_lease_put_renew(struct redis_out *out, const struct redis_lease *lease)
{
    return put_script(out, renew_script, lease, true);
}

bool redis_lease_put_release(struct redis_out *out, const struct redis_lease *lease)
{
    return put_script(out, release_script, lease, false);
}
