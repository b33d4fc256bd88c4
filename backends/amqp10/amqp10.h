/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AMQP 1.0 backend (Artemis, ActiveMQ Classic, RabbitMQ, Qpid Broker-J, …). qpid-proton does
 * the protocol: its engine is fed from a socket of our own, so that one thread drives it and
 * nothing waits inside. Messages go through it as encoded bytes.
 *
 * Life of a connection: amqp10_client_open (blocking, connector thread), sessions and links
 * (amqp10_link_…, blocking in open, non-blocking later) … then only the non-blocking
 * amqp10_client_read, _event, _write, _tick on the lane's thread … amqp10_client_close (connector
 * thread).
 */
#ifndef AMQP10_AMQP10_H
#define AMQP10_AMQP10_H

#include "amqp10_map.h"

#include <kit/text.h>
#include <kit/tls_context.h>
#include <mbridge/backend.h>

#include <proton/condition.h>
#include <proton/connection.h>
#include <proton/connection_driver.h>
#include <proton/delivery.h>
#include <proton/link.h>
#include <proton/session.h>
#include <proton/transport.h>

#define AMQP10_ADDRESSES_MAX 256u
#define AMQP10_NAME_MAX      1024u
#define AMQP10_FRAME_MAX     65536u
#define AMQP10_WITHHELD_MAX  256u
/* What waits in a session for the socket before no more is put into it. */
#define AMQP10_OUTGOING_MAX ((size_t)256 * 1024)
/* Messages larger than this are not decoded, and not encoded. */
#define AMQP10_MESSAGE_MAX ((size_t)256 << 20)

static inline void *amqp10_alloc_zero(const struct mb_host *host, size_t size)
{
    void *memory = host->alloc(host->context, size);

    if (memory != NULL)
        memset(memory, 0, size);
    return memory;
}

static inline int64_t amqp10_now_ms(const struct mb_host *host)
{
    return host->monotonic_ms(host->context);
}

/* The settings, filled by the option tables. */

enum amqp10_mechanism {
    AMQP10_SASL_AUTO = 0,
    AMQP10_SASL_ANONYMOUS = 1,
    AMQP10_SASL_PLAIN = 2,
    AMQP10_SASL_EXTERNAL = 3,
    AMQP10_SASL_SCRAM_256 = 4
};

struct amqp10_endpoint {
    const char *uri;
    const char *host; /* "name" or "name:port" */
    int64_t port;
    const char *vhost;
    const char *username;
    const char *password;
    const char *container_id;
    int64_t mechanism;
    const char *sasl_username;
    const char *sasl_password;
    int64_t heartbeat_ms;
    bool follow_redirects;
    struct mb_tls_options tls;
};

struct amqp10_source_options {
    const char *address;
    struct mb_strings addresses;
    struct mb_strings capabilities;
    const char *selector;
    const char *durable_subscription;
    int64_t credit;
};

struct amqp10_sink_options {
    const char *address; /* template */
    const char *to;      /* template */
    struct mb_strings capabilities;
    int64_t max_message_size;
    bool persistent;
    bool group_from_key;
    bool trust_user_id;
};

enum amqp10_name_slot { AMQP10_SLOT_ADDRESS = 0, AMQP10_SLOT_TO = 1 };

/* Where to connect: an endpoint with its URI taken apart and its defaults applied. */
struct amqp10_place {
    char host[256];
    char hostname[256]; /* of the open frame: what brokers choose a virtual host by */
    char username[256];
    char password[1024];
    int port;
    bool tls;
    enum amqp10_mechanism mechanism; /* not AUTO */
};

/* MB_INVALID with err->text if the endpoint names no place. */
enum mb_status amqp10_place_resolve(const struct amqp10_endpoint *endpoint,
                                    struct amqp10_place *ret_place, struct mb_error *err);

/* Products whose habits differ, as they announce themselves. */
enum amqp10_product {
    AMQP10_PRODUCT_OTHER = 0,
    AMQP10_PRODUCT_ARTEMIS,
    AMQP10_PRODUCT_CLASSIC,
    AMQP10_PRODUCT_RABBIT_3, /* the plug-in */
    AMQP10_PRODUCT_RABBIT,   /* 4.0 and later */
    AMQP10_PRODUCT_BROKER_J
};

/* Where a broker sends us instead. */
struct amqp10_redirect {
    char host[256];
    char hostname[256];
    char address[AMQP10_NAME_MAX];
    int port; /* 0: none was given */
    bool is_set;
};

/* A delivery as the broker knows it. */
struct amqp10_id {
    uint32_t id;
    uint16_t channel;
};

/* A connection (amqp10_connect.c opens, amqp10_client.c runs). */
struct amqp10_client {
    const struct mb_host *host;
    pn_connection_driver_t driver;
    bool has_driver;
    pn_session_t *first; /* began with the connection; taken by the first who wants one */
    int fd;
    void *tls;        /* SSL *; NULL without TLS */
    void *tls_domain; /* SSL_CTX * */
    int socket_errno; /* why the socket ended; 0: the peer ended it */
    bool wants_write; /* the socket was full */
    bool read_ended;
    bool is_dry;  /* the last read left nothing in the socket */
    bool holds;   /* what was read waits to be taken: only signs of life are looked for */
    bool closing; /* we close it */
    bool failed;  /* it is over: failure says why */
    enum amqp10_product product;
    uint32_t sessions_max;
    uint32_t links_count; /* ever made: their names */
    int64_t tick_ms;      /* when proton wants to be told the time; 0: never */
    uint32_t flushes;     /* how often all was written that could be */
    uint64_t received_bytes;
    uint64_t sent_bytes;
    size_t read_max; /* so much one read takes at most */
    /* amqp10_withhold.c */
    bool withholds;     /* what proton says of deliveries is not sent */
    bool withheld_lost; /* more than there was room for */
    uint32_t withheld_count;
    struct amqp10_id withheld[AMQP10_WITHHELD_MAX];
    struct mb_text raw;              /* of proton, from the beginning of a frame */
    struct mb_text out;              /* whole frames, … */
    size_t out_sent;                 /* … and how much of them is sent */
    int64_t sent_ms;                 /* when something was */
    struct amqp10_redirect redirect; /* the last one that the broker gave */
    struct mb_error failure;
    char container[300];
    char name[320];                     /* "host:port", for texts */
    char server_name[MB_TLS_NAME_SIZE]; /* to send and verify */
    char tls_failure[MB_TLS_FAILURE_SIZE];
    char identity[640];
};

struct amqp10_open {
    const struct mb_open_params *params;
    const char *container; /* its very id; NULL: that of the endpoint, or of the route */
    const char *role;      /* "source", "sink", "describe": for the container's id */
    bool stable_container; /* the same id each time, as durable subscriptions need */
    const struct amqp10_redirect *redirect; /* go there instead; NULL: to the endpoint */
};

/* Connects, logs in and opens the connection, all within params->timeout_ms. Where the broker
 * redirects, and the endpoint allows it, goes there, once. */
enum mb_status amqp10_client_open(const struct amqp10_open *open, struct amqp10_client **ret_client,
                                  struct mb_error *err);
/* Ends all sessions but one (or NULL), each answered by the peer, within wait_ms. */
void amqp10_client_end_sessions(struct amqp10_client *client, const pn_session_t *keep,
                                uint32_t wait_ms);
/* Ends sessions and then the connection, each answered by the peer, within wait_ms; then frees.
 * NULL allowed. */
void amqp10_client_close(struct amqp10_client *client, uint32_t wait_ms);

/* Reads what is there. MB_AGAIN: nothing was. A connection that ended is noted in failed. */
enum mb_status amqp10_client_read(struct amqp10_client *client);
/* Writes what proton has. MB_AGAIN: the socket is full, fds asks for it. */
enum mb_status amqp10_client_write(struct amqp10_client *client);
/* Idle time-outs, traffic. Reads before it may find the peer dead. */
void amqp10_client_tick(struct amqp10_client *client);
/* The next event of a session, a link or a delivery, or NULL. Events of the connection are dealt
 * with here: its end is noted in failed. */
pn_event_t *amqp10_client_event(struct amqp10_client *client);
void amqp10_client_fds(const struct amqp10_client *client, struct mb_wait *wait);
/* In open: writes, and waits for input up to the deadline. */
enum mb_status amqp10_client_await(struct amqp10_client *client, int64_t deadline_ms,
                                   struct mb_error *err);
/* The failure as what an operation returns: MB_DISCONNECTED, in open the true status. */
enum mb_status amqp10_client_gone(const struct amqp10_client *client, struct mb_error *err);
/* Notes a failure of our own. */
void amqp10_client_fail(struct amqp10_client *client, const char *reason, const char *text);
/* Begins a session. capacity: bytes that may wait in it. NULL: out of memory. Sessions are used
 * again rather than ended: proton gives the channel of one that has ended to the next that begins,
 * and RabbitMQ 4.0 may lose that one, as it clears the channel later than it answers. */
pn_session_t *amqp10_client_session(struct amqp10_client *client, size_t capacity);
/* In place of one that the broker ended (or NULL), and on another channel. */
pn_session_t *amqp10_client_session_instead(struct amqp10_client *client, pn_session_t *session,
                                            size_t capacity);

/* A condition that the broker gave becomes status, cause and reason; "what" begins the text. Notes
 * a redirect in the client. */
enum mb_status amqp10_condition_error(struct amqp10_client *client, pn_condition_t *condition,
                                      const char *what, struct mb_error *err);
/* Text of at most size - 1 printable bytes. */
void amqp10_text_of(char *buffer, size_t size, const char *text);

/* Outcomes of what was received, past proton (amqp10_withhold.c). */

/* From here on dispositions of receiving links are withheld. Writes all that is there before. */
enum mb_status amqp10_client_withhold(struct amqp10_client *client, int64_t deadline_ms,
                                      struct mb_error *err);
/* The deliveries that were settled with proton since the last call, in that order; fewer than
 * that: they were too many, or the connection is over. At most AMQP10_WITHHELD_MAX fit. */
size_t amqp10_withheld(struct amqp10_client *client, const struct amqp10_id **ret_ids);
/* Accepts or rejects, and settles, first.id to last. Sent with the next write. */
void amqp10_dispose(struct amqp10_client *client, struct amqp10_id first, uint32_t last,
                    bool accepted);
/* For amqp10_client_write: what is to be sent now, and how much of it was. */
pn_bytes_t amqp10_withhold_pull(struct amqp10_client *client);
void amqp10_withhold_sent(struct amqp10_client *client, size_t size);

/* TLS on the socket (amqp10_tls.c): proton sees plain bytes. */

enum amqp10_transfer { AMQP10_TRANSFER_DONE, AMQP10_TRANSFER_WAIT, AMQP10_TRANSFER_ENDED };

/* Blocks up to the deadline. */
enum mb_status amqp10_tls_start(struct amqp10_client *client, const struct mb_tls_options *options,
                                const char *host, int64_t deadline_ms, struct mb_error *err);
enum amqp10_transfer amqp10_tls_read(struct amqp10_client *client, void *data, size_t size,
                                     size_t *ret_size);
enum amqp10_transfer amqp10_tls_write(struct amqp10_client *client, const void *data, size_t size,
                                      size_t *ret_size);
void amqp10_tls_end(struct amqp10_client *client); /* NULL parts allowed */
/* Waits on the socket; false: the deadline passed. events as for poll. */
bool amqp10_socket_await(const struct amqp10_client *client, int16_t events, int64_t deadline_ms);

/* Links (amqp10_link.c). */

struct amqp10_link_spec {
    const char *name;    /* NULL: one of its own */
    const char *address; /* NULL: the anonymous terminus; "" with dynamic */
    struct mb_strings capabilities;
    const char *selector;
    bool is_sender;
    bool durable; /* a subscription that outlives the connection */
    bool dynamic; /* the broker makes the address */
    bool browses; /* copies instead of taking */
};

/* Starts to attach. NULL: out of memory. */
pn_link_t *amqp10_link_attach(struct amqp10_client *client, pn_session_t *session,
                              const struct amqp10_link_spec *spec);

enum amqp10_link_state { AMQP10_LINK_PENDING, AMQP10_LINK_OPEN, AMQP10_LINK_REFUSED };

/* What has become of it. REFUSED fills err (also when the broker ended it, or its session, later).
 * what: "address \"x\"", for the text. */
enum amqp10_link_state amqp10_link_look(struct amqp10_client *client, pn_link_t *link,
                                        const char *what, struct mb_error *err);
/* In open: waits until it is attached. */
enum mb_status amqp10_link_await(struct amqp10_client *client, pn_link_t *link, const char *what,
                                 int64_t deadline_ms, struct mb_error *err);

extern const struct mb_source_ops amqp10_source_ops;
extern const struct mb_sink_ops amqp10_sink_ops;
extern const struct mb_describe_ops amqp10_describe_ops;

#endif
