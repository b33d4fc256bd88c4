/* SPDX-License-Identifier: Apache-2.0 */
/* Error replies by cause. The first word is a server's code; the rest is for people. */
#include "redis.h"

#define ROW(word_text, kind_name, status_name, cause_name, reason_text)                            \
    {                                                                                              \
        word_text, sizeof(word_text) - 1,                                                          \
        {                                                                                          \
            REDIS_REFUSED_##kind_name, MB_##status_name, MB_CAUSE_##cause_name, reason_text        \
        }                                                                                          \
    }

static const struct {
    const char *word;
    size_t size;
    struct redis_refusal refusal;
} refusals[] = {
    ROW("NOPERM", ACCESS, DENIED, DESTINATION, "forbidden"),
    ROW("NOAUTH", ACCESS, DENIED, CONNECTION, "auth"),
    ROW("WRONGPASS", ACCESS, DENIED, CONNECTION, "auth"),
    ROW("DENIED", ACCESS, DENIED, CONNECTION, "protected"),
    ROW("OOM", FULL, DISCONNECTED, DESTINATION, "full"),
    ROW("MISCONF", STORAGE, DISCONNECTED, DESTINATION, "storage"),
    ROW("NOREPLICAS", REPLICAS, DISCONNECTED, DESTINATION, "replicas"),
    ROW("LOADING", LOADING, DISCONNECTED, DESTINATION, "loading"),
    ROW("BUSY", LOADING, DISCONNECTED, DESTINATION, "busy"),
    ROW("TRYAGAIN", LOADING, DISCONNECTED, DESTINATION, "moving"),
    ROW("CLUSTERDOWN", CLUSTER, DISCONNECTED, DESTINATION, "cluster-down"),
    ROW("READONLY", ROLE, DISCONNECTED, CONNECTION, "replica"),
    ROW("MASTERDOWN", ROLE, DISCONNECTED, CONNECTION, "replica"),
    ROW("UNBLOCKED", ROLE, DISCONNECTED, CONNECTION, "replica"),
    ROW("MOVED", MOVED, DISCONNECTED, CONNECTION, "moved"),
    ROW("ASK", ASK, DISCONNECTED, CONNECTION, "moving"),
    ROW("WRONGTYPE", WRONG_TYPE, DISCONNECTED, DESTINATION, "wrong-type"),
    ROW("NOGROUP", NO_GROUP, NOT_FOUND, DESTINATION, "missing"),
    ROW("NOSCRIPT", SCRIPT, DISCONNECTED, CONNECTION, "script"),
};

const struct redis_refusal *redis_refusal_of(struct mb_slice text)
{
    static const struct redis_refusal other = {REDIS_REFUSED_OTHER, MB_DISCONNECTED,
                                               MB_CAUSE_DESTINATION, "refused"};

    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        size_t size = refusals[i].size;

        if (text.size >= size && memcmp(text.data, refusals[i].word, size) == 0 &&
            (text.size == size || ((const char *)text.data)[size] == ' '))
            return &refusals[i].refusal;
    }
    return &other;
}

enum mb_status redis_refuse(const struct redis_client *client, struct mb_slice text,
                            const char *what, struct mb_error *err)
{
    const struct redis_refusal *refusal = redis_refusal_of(text);
    enum mb_status status = refusal->status;
    const char *reason = refusal->reason;
    char words[300];
    char *arguments;

    redis_text_of(words, sizeof words, text);
    /* Of a command that a server does not know it repeats the first arguments: a password, or a
     * message. */
    arguments = strstr(words, ", with args beginning with");
    if (arguments != NULL)
        *arguments = '\0';
    /* Before Redis 6 these had no code of their own. */
    if (strstr(words, "invalid password") != NULL || strstr(words, "AUTH") != NULL) {
        status = MB_DENIED;
        reason = "auth";
    } else if (strstr(words, "max number of clients") != NULL) {
        reason = "clients";
    }
    return mb_error_set(err, status, refusal->cause, reason, "%s: the server refused %s: %s",
                        client->name, what, words);
}
