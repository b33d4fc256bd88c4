/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis Streams backend. hiredis connects, does TLS, logs in, and answers what may block
 * (describe, Sentinel, slot maps, the set-up of a source); in the message path every byte, copy and
 * system call is ours: one recv for many entries, one send for many XADDs.
 *
 * Life of a connection: redis_client_open (blocking, connector thread) … redis_call for the set-up
 * … redis_client_take_over, then only the non-blocking redis_client_read, redis_client_write … and
 * redis_client_close (connector thread).
 */
#ifndef REDIS_REDIS_H
#define REDIS_REDIS_H

#include "redis_map.h"
#include "redis_resp.h"

#include <kit/text.h>
#include <kit/tls.h>
#include <mbridge/backend.h>

#define REDIS_NODES_MAX   128u /* masters of a cluster, and hosts of a list */
#define REDIS_STREAMS_MAX 256u /* of one source */
#define REDIS_SLOTS       16384u
#define REDIS_NAME_MAX    512u /* bytes of a stream's or group's name in texts of ours */

struct redisContext;
struct redisReply;

static inline void *redis_alloc_zero(const struct mb_host *host, size_t size)
{
    void *memory = host->alloc(host->context, size);

    if (memory != NULL)
        memset(memory, 0, size);
    return memory;
}

/* The settings, filled by the option tables. */

struct redis_endpoint {
    const char *uri;
    const char *host;
    int64_t port;
    int64_t db;
    const char *username;
    const char *password;
    bool cluster;
    const char *sentinel_master;
    struct mb_strings sentinel_nodes;
    const char *sentinel_username;
    const char *sentinel_password;
    int64_t timeout_ms;
    struct mb_tls_options tls;
};

struct redis_source_options {
    const char *stream;
    struct mb_strings streams;
    const char *group;
    const char *consumer;
    int64_t count;
    int64_t claim_idle_ms;
    struct mb_position start;
    const char *start_id;
    const char *body_field;
};

struct redis_sink_options {
    const char *stream; /* template */
    const char *max_length;
    int64_t wait_replicas;
    int64_t wait_timeout_ms;
    const char *body_field;
    int64_t batch;
};

#define REDIS_NAME_STREAM 0u

/* "1000", or "~1000" for about as many. */
bool redis_max_length_parse(const char *text, bool *ret_about, uint64_t *ret_length);

struct redis_node {
    char host[256];
    int port;
};

/* An endpoint with its URI taken apart and its defaults applied. */
struct redis_address {
    struct redis_node nodes[16];
    size_t nodes_count;
    char username[256];
    char password[1024];
    int db;
    bool tls;
    bool cluster;
};

/* MB_INVALID with err->text if the endpoint names no address. */
enum mb_status redis_address_resolve(const struct redis_endpoint *endpoint,
                                     struct redis_address *ret_address, struct mb_error *err);
/* "host:port" or "host" or "[::1]:port". */
bool redis_node_parse(const char *text, size_t size, int default_port, struct redis_node *ret_node);

/* A connection (redis_connect.c, redis_client.c). */

struct redis_client {
    const struct mb_host *host;
    struct redisContext *context;
    struct redis_bounds *bounds; /* of what hiredis reads */
    void *ssl;                   /* SSL *, NULL without TLS */
    int fd;
    uint32_t events; /* as registered with epoll */
    struct redis_in in;
    struct redis_out out;
    struct redis_node node;
    int64_t timeout_ms; /* how long the server may be silent */
    int64_t read_ms;    /* when input was looked for last */
    int64_t came_ms;    /* when the last input came */
    int64_t asked_ms;   /* when output began to wait for an answer; 0: nothing is awaited */
    uint64_t id;        /* CLIENT ID; 0: not known */
    bool wants_write;   /* the socket was full */
    bool deaf;          /* input may wait: it wakes nobody */
    bool unread;        /* the last read stopped before the socket, or TLS, was empty */
    bool drained;       /* it found the end of the input, and nobody has slept since */
    bool broken;
    bool over;      /* taken over: hiredis touches the socket no more */
    char name[320]; /* "host:port", for texts */
    char run_id[48];
};

/* Connects to the node, logs in, selects the database. role_name: for CLIENT SETNAME. */
enum mb_status redis_client_open(const struct mb_open_params *params, const struct redis_node *node,
                                 const struct redis_address *address, const char *what,
                                 int64_t deadline_ms, struct redis_client **ret_client,
                                 struct mb_error *err);
/* Ends the blocking part of its life. out_max: the bound of the output. */
enum mb_status redis_client_take_over(struct redis_client *client, size_t out_max,
                                      struct mb_error *err);
/* Frees without ceremony. NULL allowed. */
void redis_client_close(struct redis_client *client);

/* For the set-up: one command and its answer, freed with redis_reply_free. An error reply is
 * returned as MB_OK with the reply; the caller judges it (redis_refusal). */
enum mb_status redis_call(struct redis_client *client, int64_t deadline_ms, size_t count,
                          const struct mb_slice *arguments, struct redisReply **ret_reply,
                          struct mb_error *err);
void redis_reply_free(struct redisReply *reply);

/* MB_OK: all is written. MB_AGAIN: some remains. */
enum mb_status redis_client_write(struct redis_client *client, struct mb_error *err);
/* MB_OK: something came. MB_AGAIN: nothing is there. */
enum mb_status redis_client_read(struct redis_client *client, int64_t now_ms, struct mb_error *err);
/* Not worth a look: this millisecond's found the end, or (awaits is false) nothing is to come. */
static inline bool redis_client_is_quiet(const struct redis_client *client, bool awaits,
                                         int64_t now_ms)
{
    return client->read_ms == now_ms && (client->drained || !awaits);
}
/* What a connection waits for. epoll < 0: directly; else through that descriptor, which watches all
 * connections of an instance that has more of them than mb_wait takes. */
void redis_client_fds(struct redis_client *client, int epoll, struct mb_wait *wait);
/* MB_DISCONNECTED if the descriptor cannot watch it. */
enum mb_status redis_client_watch(struct redis_client *client, int epoll, struct mb_error *err);
/* Adds the descriptor itself. */
void redis_epoll_fds(int epoll, struct mb_wait *wait);
/* Writes what is buffered and waits for input or room up to the deadline; for close only. */
enum mb_status redis_client_await(struct redis_client *client, int64_t deadline_ms,
                                  struct mb_error *err);
enum mb_status redis_client_fail(struct redis_client *client, struct mb_error *err,
                                 const char *reason, const char *text);
static inline int64_t redis_now_ms(const struct mb_host *host)
{
    return host->monotonic_ms(host->context);
}

/* The handshake, on a connection that hiredis has made (redis_tls.c). Blocking. */
enum mb_status redis_tls_start(struct redis_client *client, const struct mb_tls_options *tls,
                               struct mb_error *err);

/* Why the server refused (redis_error.c): by the first word of an error reply. */

enum redis_refusal_kind {
    REDIS_REFUSED_OTHER = 0,
    REDIS_REFUSED_ACCESS,     /* NOPERM, NOAUTH, WRONGPASS */
    REDIS_REFUSED_FULL,       /* OOM */
    REDIS_REFUSED_STORAGE,    /* MISCONF */
    REDIS_REFUSED_REPLICAS,   /* NOREPLICAS */
    REDIS_REFUSED_LOADING,    /* LOADING, BUSY, TRYAGAIN */
    REDIS_REFUSED_CLUSTER,    /* CLUSTERDOWN */
    REDIS_REFUSED_ROLE,       /* READONLY, MASTERDOWN, UNBLOCKED: not, or no longer, the master */
    REDIS_REFUSED_MOVED,      /* MOVED */
    REDIS_REFUSED_ASK,        /* ASK */
    REDIS_REFUSED_WRONG_TYPE, /* WRONGTYPE */
    REDIS_REFUSED_NO_GROUP,   /* NOGROUP */
    REDIS_REFUSED_SCRIPT      /* NOSCRIPT */
};

struct redis_refusal {
    enum redis_refusal_kind kind;
    enum mb_status status;
    enum mb_cause cause;
    const char *reason;
};

const struct redis_refusal *redis_refusal_of(struct mb_slice text);
/* Fills err from an error reply about what ("stream \"x\""). */
enum mb_status redis_refuse(const struct redis_client *client, struct mb_slice text,
                            const char *what, struct mb_error *err);
/* Text of at most size-1 printable bytes. */
void redis_text_of(char *buffer, size_t size, struct mb_slice text);

/* Where a stream lives (redis_sentinel.c, redis_cluster.c). Blocking. */

/* The master that the sentinels agree on. */
enum mb_status redis_sentinel_master(const struct mb_open_params *params,
                                     const struct redis_endpoint *endpoint,
                                     const struct redis_address *address, int64_t deadline_ms,
                                     struct redis_node *ret_node, struct mb_error *err);

struct redis_topology {
    bool cluster;
    struct redis_node *nodes; /* masters; without cluster one */
    size_t nodes_count;
    uint8_t *slots; /* cluster: index into nodes; REDIS_NODES_MAX: nobody serves it */
};

/* Finds out where to go: the address itself, what Sentinel says, or a cluster's map. *ret_topology
 * is one allocation from the host. */
enum mb_status redis_topology_load(const struct mb_open_params *params,
                                   const struct redis_endpoint *endpoint,
                                   const struct redis_address *address, int64_t deadline_ms,
                                   struct redis_topology **ret_topology, struct mb_error *err);
unsigned redis_slot_of(struct mb_slice key);
/* The node of a key; REDIS_NODES_MAX: nobody serves its slot. */
unsigned redis_topology_node(const struct redis_topology *topology, struct mb_slice key);
/* "MOVED 1234 host:port" and ASK. false: malformed. An empty host is the answering node's own. */
bool redis_redirect_parse(struct mb_slice text, const struct redis_node *from, unsigned *ret_slot,
                          struct redis_node *ret_node);
/* The index of a node, or REDIS_NODES_MAX. */
unsigned redis_topology_find(const struct redis_topology *topology, const struct redis_node *node);

/* Opens a connection to the node and takes it to be a master. */
enum mb_status redis_client_open_master(const struct mb_open_params *params,
                                        const struct redis_node *node,
                                        const struct redis_address *address, const char *what,
                                        int64_t deadline_ms, struct redis_client **ret_client,
                                        struct mb_error *err);

/* The lease of an active consumer (redis_lease.c): one key a stream and group. */

#define REDIS_LEASE_MS 5000

struct redis_lease {
    char key[2 * REDIS_NAME_MAX];
    char token[160]; /* "client-id run-id nonce" */
    size_t key_size;
};

/* Takes the lease, or says who holds it: MB_DISCONNECTED with reason "standby". Blocking. */
enum mb_status redis_lease_take(struct redis_client *client, const char *stream, const char *group,
                                int64_t deadline_ms, struct redis_lease *ret_lease,
                                struct mb_error *err);
/* Buffer the commands; the answers are integers: 1 done, 0 it is somebody else's. */
bool redis_lease_put_renew(struct redis_out *out, const struct redis_lease *lease);
bool redis_lease_put_release(struct redis_out *out, const struct redis_lease *lease);

extern const struct mb_source_ops redis_source_ops;
extern const struct mb_sink_ops redis_sink_ops;
extern const struct mb_describe_ops redis_describe_ops;

#endif
