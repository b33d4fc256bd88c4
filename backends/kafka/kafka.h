/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the Kafka backend share.
 *
 *   kafka_backend.c     descriptor, option tables, checks
 *   kafka_properties.c  options → configuration of librdkafka
 *   kafka_client.c      one client: its events, errors, log, health
 *   kafka_connect.c     waiting until it is connected and logged in, and why it is not
 *   kafka_instance.c    stable names for static membership
 *   kafka_source.c      the consumer's operations
 *   kafka_subscription.c  its topics, and how many partitions they have
 *   kafka_scope.c       its partitions, by number and name
 *   kafka_group.c       rebalances, acknowledgements, commits
 *   kafka_positions.c   where a partition starts
 *   kafka_sink.c        the producer
 *   kafka_send.c        its messages: form, partition, results
 *   kafka_transaction.c its transactions, for effectively once
 *   kafka_store.c       the topic of positions: whose they are, fencing off who had them
 *   kafka_stored.c      its records, pure
 *   kafka_topics.c      its topics by name
 *   kafka_describe.c    what a topic is, creating one
 *   kafka_map.c         record ↔ envelope, pure
 *
 * Threads: librdkafka calls the log, the check of certificates and the partitioner from its own
 * threads; everything else runs on the lane's, and open and what belongs to transactions on any,
 * while the lane keeps away.
 */
#ifndef MBRIDGE_KAFKA_H
#define MBRIDGE_KAFKA_H

#include <mbridge/backend.h>

#include "kit/carry.h"
#include "kit/slot.h"
#include "kit/text.h"
#include "kit/tls.h"

#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum kafka_mechanism {
    KAFKA_SASL_NONE = 0,
    KAFKA_SASL_PLAIN = 1,
    KAFKA_SASL_SCRAM_256 = 2,
    KAFKA_SASL_SCRAM_512 = 3,
    KAFKA_SASL_OAUTHBEARER = 4
};

struct kafka_sasl_options {
    int64_t mechanism; /* enum kafka_mechanism */
    const char *username;
    const char *password;
    const char *oauth_token_file;
    const char *oauth_token_url;
    const char *oauth_client_id;
    const char *oauth_client_secret;
    const char *oauth_scope;
};

struct kafka_endpoint_options {
    const char *brokers;
    struct mb_tls_options tls;
    struct kafka_sasl_options sasl;
    struct mb_strings properties;
};

struct kafka_source_options {
    const char *topic;
    struct mb_strings topics;
    const char *group;
    struct mb_position start;
    int64_t isolation; /* index: read_committed, read_uncommitted */
    const char *instance;
};

enum kafka_partition_rule {
    KAFKA_PARTITION_AUTO = 0,
    KAFKA_PARTITION_PRESERVE = 1,
    KAFKA_PARTITION_KEY = 2,
    KAFKA_PARTITION_SPREAD = 3
};

struct kafka_sink_options {
    const char *topic;
    int64_t partition; /* enum kafka_partition_rule */
    int64_t partitions;
    int64_t replication;
    int64_t compression; /* index of kafka_compressions */
    int64_t linger_ms;
    const char *positions_topic;
    int64_t transaction_timeout_ms;
};

extern const struct mb_source_ops kafka_source_ops;
extern const struct mb_sink_ops kafka_sink_ops;
extern const struct mb_describe_ops kafka_describe_ops;
extern const char *const kafka_mechanisms[];
extern const char *const kafka_compressions[];

/* ---- memory of the host ---- */

/* Zeroed; NULL when memory is out. */
void *kafka_alloc(const struct mb_host *host, size_t size);
char *kafka_strdup(const struct mb_host *host, const char *text);
void kafka_free(const struct mb_host *host, void *memory);

/* Doubles an array of items until it holds count + 1 of them; what is new is zeroed. */
enum mb_status kafka_reserve(const struct mb_host *host, void **items, size_t item_size,
                             size_t count, size_t *capacity);

/* ---- configuration of the library ---- */

/* Sets name=value, with err filled in on failure. */
enum mb_status kafka_property_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                                  struct mb_error *err);

/* What every client needs: brokers, TLS, SASL, timeouts. The user's own properties come last. */
enum mb_status kafka_properties_base(rd_kafka_conf_t *conf,
                                     const struct kafka_endpoint_options *endpoint,
                                     struct mb_error *err);
enum mb_status kafka_properties_user(rd_kafka_conf_t *conf,
                                     const struct kafka_endpoint_options *endpoint,
                                     struct mb_error *err);

/* Why a property may not be set by hand, or NULL if it may. */
const char *kafka_property_refusal(const char *name);

/* ---- clients ---- */

struct kafka_client {
    const struct mb_host *host;
    const struct kafka_endpoint_options *endpoint;
    rd_kafka_t *rk;
    rd_kafka_queue_t *events; /* everything but records: errors, reports, answers */
    int wake_fd;              /* readable when a lane that waits has something to do */
    atomic_bool due;          /* a queue was empty and is not, since the lane last looked */
    atomic_bool waiting;      /* the lane waits for wake_fd, or is about to */
    atomic_bool written;      /* wake_fd is to be read */
    bool events_due;          /* the lane's own: `events` may hold something */
    int64_t looked_ms;        /* when the lane looked last without having been woken */
    bool all_down;            /* every broker is away: the library keeps trying */
    bool fell;                /* all_down since the core was last told */
    bool was_down;            /* as last told to the core */
    atomic_bool listening;    /* for any answer: it ends the outage */
    atomic_bool answered;
    bool failed;     /* this client is of no use any more: failure says why */
    int64_t lost_ms; /* when a connection was lost that no answer followed; 0: none */
    int64_t probe_at_ms;
    int64_t clock_look_ms;    /* when the clock is looked at next; 0: it was not yet */
    int64_t clock_ahead_ms;   /* how far the time of the day was ahead of the monotonic one */
    uint32_t fenced_retry_ms; /* how long not to come back by a name that another one took */
    atomic_uint_fast64_t received_bytes;
    atomic_uint_fast64_t sent_bytes;
    atomic_int certificate_fault; /* why the last one was refused: an X.509 code, or 0 */
    uint32_t cause_rank;          /* how much `cause` tells; 0: nothing known */
    struct mb_error cause;
    struct mb_error failure;
};

/* What a client tells of: its errors, that it wants a token, and these (RD_KAFKA_EVENT_…). */
void kafka_client_events(rd_kafka_conf_t *conf, const struct kafka_endpoint_options *endpoint,
                         int events);

/* Makes the library's client of conf, which it takes over in any case. */
enum mb_status kafka_client_init(struct kafka_client *client, const struct mb_open_params *params,
                                 rd_kafka_type_t type, rd_kafka_conf_t *conf, struct mb_error *err);

/*
 * Wake-ups. What is put into an empty queue of the client sets a flag; only a lane that waits is
 * woken by the descriptor. A busy one costs no system call, neither there nor here, and looks into
 * no queue that is empty: the library would wait for it, if for no time at all.
 */
void kafka_client_wake_by(struct kafka_client *client, rd_kafka_queue_t *queue);
/* Any thread. */
void kafka_client_wake(struct kafka_client *client);
/* true: there was a wake-up since the last call; events_due is set with it. What is in a queue then
 * has to be taken until it is empty: nothing tells of it again. */
bool kafka_client_woken(struct kafka_client *client);
/* The same, and now and then without a wake-up: no failure to be told may last. */
bool kafka_client_look(struct kafka_client *client, int64_t now_ms);
/* Adds the descriptor, for a lane that is going to wait. */
void kafka_client_wait(struct kafka_client *client, struct mb_wait *wait);

/* Looks at an event that is the client's own matter (errors, tokens, probes); false: it is not. */
bool kafka_client_event(struct kafka_client *client, rd_kafka_event_t *event);

/* Tells the core about a change (DOWN, UP) and looks whether brokers are back. healthy: traffic
 * went through since the last call. */
void kafka_client_health(struct kafka_client *client, bool healthy);

/* The client is of no use any more once the time of the day was set back. Called by the other. */
void kafka_client_clock(struct kafka_client *client);
/*
 * Wakes the threads of the brokers, which look what there is to fetch: by themselves they do so
 * once a second while they have no answer to wait for (before librdkafka 2.2).
 */
void kafka_client_nudge(struct kafka_client *client);
/* Tells the core what went over the network since the last call. */
void kafka_client_traffic(struct kafka_client *client);
int64_t kafka_client_deadline_ms(const struct kafka_client *client);

/* Notes that the client is finished. The first failure stays. */
MB_PRINTF(3, 4)
void kafka_client_fail(struct kafka_client *client, const char *reason, const char *format, ...);

/* The same after a fatal error of the library; text: what is said if it does not tell more. */
void kafka_client_fail_fatal(struct kafka_client *client, const char *text);

/* Copies the failure to err; MB_DISCONNECTED. */
enum mb_status kafka_client_failure(const struct kafka_client *client, struct mb_error *err);

/* Destroys the handle, without any waiting for a group. Zeroed is allowed. */
void kafka_client_release(struct kafka_client *client);

/* Waits until a broker answers for the topics (NULL, 0: for the cluster alone), or says why not.
 * *ret_metadata is the caller's, through rd_kafka_metadata_destroy. */
enum mb_status kafka_connect(struct kafka_client *client, const char *const *topics, size_t count,
                             uint32_t timeout_ms, const struct rd_kafka_metadata **ret_metadata,
                             struct mb_error *err);

/* Keeps what an error tells about the cause of an outage, if it tells more than what is known. */
void kafka_cause_note(struct kafka_client *client, rd_kafka_resp_err_t code, const char *text);

/* The status and reason by which the core is told of a code of a broker or the library. */
enum mb_status kafka_status_of(rd_kafka_resp_err_t code);
const char *kafka_reason_of(rd_kafka_resp_err_t code);

/* Asks for one configuration value of a topic. false: unknown. Blocks up to timeout_ms. */
bool kafka_topic_config(struct kafka_client *client, const char *topic, const char *name,
                        uint32_t timeout_ms, char *value, size_t size);

/* Fills in the offsets of a time, or of RD_KAFKA_OFFSET_BEGINNING or _END, for each partition.
 * Partitions that have no leader for a moment (a topic made just now) are waited for. */
rd_kafka_resp_err_t kafka_offsets_ask(struct kafka_client *client,
                                      rd_kafka_topic_partition_list_t *list, int64_t time,
                                      uint32_t timeout_ms);

/* Makes a topic as the record asks for, with all of its configuration. One that is there already
 * is left as it is. */
enum mb_status kafka_topic_create(struct kafka_client *client,
                                  const struct mb_stream_record *record, uint32_t timeout_ms,
                                  struct mb_error *err);

/* Serves the client's events, waiting up to timeout_ms for a first one. */
void kafka_events_serve(struct kafka_client *client, int timeout_ms);

/* Waits for one answer of the admin interface on queue; NULL when time was out. */
rd_kafka_event_t *kafka_answer_wait(struct kafka_client *client, rd_kafka_queue_t *queue,
                                    uint32_t timeout_ms);

/* ---- names of members ---- */

#define KAFKA_SLOTS_MAX     64
#define KAFKA_INSTANCE_SIZE 256

/* The lowest slot that no other live member on this host has, for the same brokers and group: the
 * next process gets the same number, and with it the same partitions. Fails as mb_slot_take. */
enum mb_status kafka_instance_take(const char *brokers, const char *group,
                                   struct mb_slot *ret_slot);

/* "mbridge-<host>-<slot>-<group>", of the characters that Kafka allows. */
void kafka_instance_name(const struct mb_slot *slot, const char *group, char *instance,
                         size_t size);

/* ---- records ---- */

struct kafka_record {
    struct mb_slice key;               /* null: none */
    struct mb_slice value;             /* null: a tombstone */
    const rd_kafka_headers_t *headers; /* NULL: none */
    int64_t timestamp_ms;
    rd_kafka_timestamp_type_t timestamp_type;
};

/* Copies the record into the arena and fills in the message but for scope, epoch, token and
 * position. Carriers of the bridge become sidecar, path and stable_id, and stay in the list as
 * MB_SECTION_BRIDGE. *ret_bytes: of key, value and headers. MB_NO_MEMORY is the only failure. */
enum mb_status kafka_map_decode(const struct kafka_record *record, struct mb_arena *arena,
                                struct mb_message *message, uint64_t *ret_bytes);

/* The context of kafka_map_project. */
struct kafka_projection {
    int64_t now_ms; /* the time of a record whose message has none; 0: the library sets it, and the
                     * natural message has none either */
};

/* A mb_project_fn: the message that kafka_map_decode will make of the record. */
enum mb_status kafka_map_project(void *context, const struct mb_outgoing *item,
                                 const struct mb_message *message, struct mb_scratch *scratch,
                                 struct mb_message *natural, struct mb_error *err);

/* What is to be produced. Slices point into what was carried. */
struct kafka_outgoing {
    struct mb_slice key;         /* null: none */
    struct mb_slice value;       /* null: a tombstone */
    rd_kafka_headers_t *headers; /* NULL: none; the caller's. They have copies of their bytes. */
    int64_t timestamp_ms;        /* 0: now */
    uint64_t lost; /* fields that a verbatim message had, and that is written without */
};

/* MB_REJECTED, MB_NO_MEMORY: nothing is left to be freed. */
enum mb_status kafka_map_encode(const struct mb_carried *carried,
                                struct kafka_outgoing *ret_outgoing);

/* ---- topics of the producer ---- */

struct kafka_topic;

struct kafka_topics {
    struct kafka_topic *items; /* hash, open addressing */
    size_t count;
    size_t size;
    const struct kafka_topic *last; /* the one asked for last; NULL: none */
};

/* NULL: the name is none for a topic, memory is out, or there are too many. */
rd_kafka_topic_t *kafka_topics_get(struct kafka_topics *topics, rd_kafka_t *rk,
                                   const struct mb_host *host, const char *name);
void kafka_topics_release(struct kafka_topics *topics, const struct mb_host *host);

/* ---- the consumer ---- */

enum kafka_scope_state {
    KAFKA_SCOPE_GONE = 0,
    KAFKA_SCOPE_LOOKED_UP = 1, /* assigned; its stored position has been asked for */
    KAFKA_SCOPE_OFFERED = 2,   /* the core was told */
    KAFKA_SCOPE_ANSWERED = 3,  /* the core answered; others of the assignment are open still */
    KAFKA_SCOPE_ACTIVE = 4,
    KAFKA_SCOPE_REVOKED = 5 /* the core is to let go of it */
};

struct kafka_scope {
    char *topic;
    rd_kafka_queue_t *queue; /* the partition's own in the library, once it was assigned */
    int32_t partition;
    uint8_t state; /* enum kafka_scope_state */
    uint32_t epoch;
    uint32_t commit_epoch; /* whose commit is under way */
    int64_t stored;        /* what the group has committed; -1: nothing */
    int64_t first;         /* where a group with nothing stored begins, found at open; -1: none */
    int64_t start;         /* where fetching begins: an offset, or one of RD_KAFKA_OFFSET_… */
    int64_t expected;      /* the next offset at least; -1: unknown */
    int64_t handed;        /* the last one handed out in this epoch; -1: none */
    int64_t acked;         /* the next offset behind what is acknowledged; -1: nothing */
    int64_t committing;    /* as sent with the commit under way; -1: none */
    int64_t committed;     /* as confirmed by the broker; -1: nothing in this epoch */
};

#define KAFKA_SCOPES_MAX  65536u
#define KAFKA_CARRY_MAX   4096u
#define KAFKA_COMMITS_MAX 8u /* under way at once */
#define KAFKA_TAKE_MAX    512u

enum kafka_rebalance {
    KAFKA_STABLE = 0,
    KAFKA_LOOKING_UP = 1, /* waits for the stored positions */
    KAFKA_STARTING = 2,   /* waits for the core's answers */
    KAFKA_STOPPING = 3    /* waits for the core to let go */
};

/* A question for the numbers of partitions, which a thread waits with. */
struct kafka_counts {
    pthread_t thread;
    bool running;
    bool wanted; /* nothing is offered before the answer */
    atomic_bool done;
    unsigned attempts;   /* that were answered */
    int64_t retry_at_ms; /* 0: not */
    rd_kafka_resp_err_t code;
    const struct rd_kafka_metadata *metadata;
};

/* kafka_subscription.c: making the group divide its partitions anew. */
enum kafka_renewal {
    KAFKA_RENEWAL_NONE = 0,
    KAFKA_RENEWAL_WANTED = 1,
    KAFKA_RENEWAL_ASKED = 2, /* with a list that is not the true one */
    KAFKA_RENEWAL_ANSWERED = 3
};

struct mb_source {
    struct kafka_client client;
    const struct mb_host *host;
    const struct kafka_source_options *options;
    char **names;
    struct mb_strings topics;   /* names */
    int32_t *partitions_counts; /* of each topic; 0: not known */
    struct kafka_counts counts;
    bool is_static; /* a member with a name of its own */
    bool judged;    /* the first assignment was looked at */
    enum kafka_renewal renewal;
    char *foreign; /* a topic of that assignment that is not subscribed to; NULL: none */
    char *group;
    struct mb_slot slot;
    rd_kafka_queue_t *records; /* records and rebalances */
    bool closing;
    bool paused;
    bool more;         /* the queue was not emptied by the last poll */
    bool healthy;      /* records or answers came since the last look */
    int64_t served_ms; /* when the queue was served last */
    int64_t scan_at_ms;

    struct kafka_scope *scopes;
    size_t scopes_count;
    size_t scopes_capacity;
    uint32_t *index; /* hash of topic and partition → scope + 1; 0: free */
    size_t index_size;

    enum kafka_rebalance rebalance;
    uintptr_t lookup;     /* number of the last question for stored positions */
    int64_t lookup_at_ms; /* when to ask again; 0: an answer is awaited */
    bool positions_known; /* of those being assigned */
    unsigned commits_open;
    bool
        commit_first; /* positions found at open are to be stored though nothing was acknowledged */

    /* Records taken from the library while the core could take none, or more than it could. */
    rd_kafka_message_t **carry;
    size_t carry_at;
    size_t carry_count;
    uint64_t carry_bytes;

    bool is_far;     /* a round trip takes long: a fetch brings more */
    bool nudges;     /* the library must be told that there is room again */
    size_t unnudged; /* messages taken since */
    uint64_t unnudged_bytes;
};

/* kafka_subscription.c */
/* Takes copies of the names; what is known of partitions stays. */
enum mb_status kafka_subscription_set(struct mb_source *source, const struct mb_strings *topics,
                                      struct mb_error *err);
/* Whether any of the topics is there, and with how many partitions. */
enum mb_status kafka_subscription_check(struct mb_source *source,
                                        const struct rd_kafka_metadata *metadata,
                                        struct mb_error *err);
enum mb_status kafka_subscribe(struct mb_source *source, struct mb_error *err);
enum mb_status kafka_source_streams(struct mb_source *source, const struct mb_strings *streams,
                                    struct mb_error *err);
bool kafka_is_subscribed(const struct mb_source *source, const char *topic);
/* Whether the first assignment answers what was subscribed to; if not, renew is to be called. */
void kafka_subscription_judge(struct mb_source *source,
                              const rd_kafka_topic_partition_list_t *partitions);
enum mb_status kafka_subscription_renew(struct mb_source *source, struct mb_error *err);
void kafka_subscription_release(struct mb_source *source);
/* 0: not known. */
int32_t kafka_partitions_count(const struct mb_source *source, const char *topic);
/* Asks anew, without waiting; offers follow the answer. */
void kafka_counts_ask(struct mb_source *source);
void kafka_counts_serve(struct mb_source *source, int64_t now_ms);
void kafka_counts_release(struct mb_source *source);

struct kafka_scope *kafka_scope_find(struct mb_source *source, const char *topic,
                                     int32_t partition);
struct kafka_scope *kafka_scope_get(struct mb_source *source, const char *topic, int32_t partition);
/* Assigned partitions: what is needed to let go of them at the end. */
void kafka_scope_hold(struct mb_source *source, struct kafka_scope *scope);
void kafka_scope_let_go(struct kafka_scope *scope);
void kafka_scopes_let_go(struct mb_source *source);
void kafka_scopes_release(struct mb_source *source);
void kafka_scope_event(struct mb_source *source, const struct kafka_scope *scope,
                       enum mb_event_kind kind, struct mb_event *event);

/* kafka_group.c: the answers to rebalances, and commits */
void kafka_rebalance_cb(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                        rd_kafka_topic_partition_list_t *partitions, void *opaque);
enum mb_status kafka_source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                  size_t count, struct mb_error *err);
enum mb_status kafka_source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                                 struct mb_error *err);
enum mb_status kafka_source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                struct mb_error *err);
enum mb_status kafka_source_commit(struct mb_source *source, uint32_t wait_ms,
                                   struct mb_error *err);
/* Serves the queue of events: commits, stored positions, errors. */
void kafka_source_events(struct mb_source *source, int timeout_ms);
/* Drops what was carried of scopes that are not active. */
void kafka_carry_sweep(struct mb_source *source, bool all);

/* kafka_positions.c */
/* Where partitions begin that have nothing stored, for a start that moves with time. At open. */
enum mb_status kafka_positions_first(struct mb_source *source,
                                     const struct rd_kafka_metadata *metadata, uint32_t timeout_ms,
                                     struct mb_error *err);
/* Asks, without waiting, for the stored positions of the scopes being assigned. */
void kafka_positions_ask(struct mb_source *source);
/* Takes the answer. false: it was not about positions. */
bool kafka_positions_answer(struct mb_source *source, rd_kafka_event_t *event);
/* Offers what is being assigned to the core, if all that it asks about is known. */
void kafka_positions_offer(struct mb_source *source);
/* Looks, now and then, whether messages were deleted that nothing is to be read behind. */
void kafka_positions_scan(struct mb_source *source, int64_t now_ms);
/* Whether messages between what is expected and offset are gone. MB_AGAIN: they are, and the core
 * is told so; it decides before the record is handed out. MB_REJECTED: the position went back
 * within an epoch, and the record may not be handed out at all. */
enum mb_status kafka_positions_check(struct mb_source *source, struct kafka_scope *scope,
                                     int64_t offset);

#endif
