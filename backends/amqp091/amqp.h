/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AMQP 0-9-1 backend (RabbitMQ). rabbitmq-c connects, does TLS and logs in; in the message path
 * every frame, copy and system call is ours: one recv for many deliveries, one send for many
 * publishes.
 *
 * Life of a connection: amqp_client_open (blocking, connector thread) … amqp_client_call for the
 * set-up … then only the non-blocking amqp_client_read, amqp_client_write, amqp_client_service on
 * the lane's thread … amqp_client_close (connector thread).
 */
#ifndef AMQP091_AMQP_H
#define AMQP091_AMQP_H

#include "amqp_map.h"

#include <kit/tls_context.h>
#include <mbridge/backend.h>

#define AMQP_FRAME_OVERHEAD 8u
#define AMQP_FRAME_MAX      131072u
/* Frames are collected up to this size before they are written. */
#define AMQP_WRITE_SIZE   65536u
#define AMQP_CHANNELS_MAX 256u

static inline void *amqp_alloc_zero(const struct mb_host *host, size_t size)
{
    void *memory = host->alloc(host->context, size);

    if (memory != NULL)
        memset(memory, 0, size);
    return memory;
}

/* The settings, filled by the option tables. */

struct amqp_endpoint {
    const char *uri;
    const char *host;
    int64_t port;
    const char *vhost;
    const char *username;
    const char *password;
    int64_t heartbeat_ms;
    struct mb_tls_options tls;
};

struct amqp_source_options {
    const char *queue;
    struct mb_strings queues;
    const char *exchange;
    struct mb_strings binding_keys;
    struct mb_strings arguments;
    int64_t prefetch;
    bool ack_singly;
    const char *group;        /* of streams */
    struct mb_position start; /* of streams; NONE: they are queues */
};

enum amqp_queue_type { AMQP_QUEUE_CLASSIC = 0, AMQP_QUEUE_QUORUM = 1, AMQP_QUEUE_STREAM = 2 };

struct amqp_sink_options {
    const char *queue;       /* template */
    const char *exchange;    /* template */
    const char *routing_key; /* template */
    int64_t queue_type;      /* enum amqp_queue_type */
    int64_t max_message_size;
    bool mandatory;
    bool persistent;
};

/* An endpoint with its URI taken apart and its defaults applied. */
struct amqp_address {
    char host[256];
    char vhost[256];
    char username[256];
    char password[1024];
    int port;
    bool tls;
    bool external; /* SASL EXTERNAL: the certificate says who we are */
};

/* MB_INVALID with err->text if the endpoint names no address. */
enum mb_status amqp_address_resolve(const struct amqp_endpoint *endpoint,
                                    struct amqp_address *ret_address, struct mb_error *err);

/* Frames in (amqp_reader.c): pure, no I/O. */

/* A content that does not lie in one piece in the input: larger than a frame, or other channels'
 * frames between its own. */
struct amqp_assembly {
    unsigned char *data;
    size_t capacity;
    size_t size;
    size_t arguments_size;
    size_t header_size;
    uint64_t body_size;
    uint32_t method;
    bool active;
    bool has_header;
};

struct amqp_reader {
    const struct mb_host *host;
    unsigned char *data;
    size_t start;
    size_t end;
    size_t capacity;
    uint32_t frame_max;
    uint64_t body_max;
    struct amqp_assembly *assemblies; /* by channel, from 1 */
    uint32_t channels;
    struct amqp_assembly *handed_out;
};

enum mb_status amqp_reader_init(struct amqp_reader *reader, const struct mb_host *host,
                                uint32_t channels, uint32_t frame_max);
void amqp_reader_release(struct amqp_reader *reader);
/* Where the next input goes; *ret_size may be 0: the reader is full. Ends the slices' life. */
unsigned char *amqp_reader_room(struct amqp_reader *reader, size_t *ret_size);
void amqp_reader_filled(struct amqp_reader *reader, size_t size);
/* Gives back what is kept between large messages. Ends the slices' life. */
void amqp_reader_trim(struct amqp_reader *reader);
enum amqp_event_kind amqp_reader_next(struct amqp_reader *reader, struct amqp_event *ret_event);

/* Frames out (amqp_frame.c): pure, no I/O. */

unsigned char *amqp_frame_begin(struct amqp_writer *writer, unsigned type, unsigned channel);
void amqp_frame_end(struct amqp_writer *writer, unsigned char *frame);
unsigned char *amqp_method_begin(struct amqp_writer *writer, unsigned channel, uint32_t method);
/* Whole frames of methods. */
void amqp_frame_simple(struct amqp_writer *writer, unsigned channel, uint32_t method);
void amqp_frame_heartbeat(struct amqp_writer *writer);
void amqp_frame_close(struct amqp_writer *writer, unsigned channel, uint32_t method);
void amqp_frame_publish(struct amqp_writer *writer, unsigned channel, struct mb_slice exchange,
                        struct mb_slice routing_key, bool mandatory);
void amqp_frame_ack(struct amqp_writer *writer, unsigned channel, uint64_t tag,
                    enum mb_outcome outcome);
/* One message, whatever is before it. */
void amqp_frame_ack_one(struct amqp_writer *writer, unsigned channel, uint64_t tag,
                        enum mb_outcome outcome);
/* Gives one message back. */
void amqp_frame_requeue(struct amqp_writer *writer, unsigned channel, uint64_t tag);
struct amqp_queue_declaration {
    struct mb_slice name;
    const struct mb_pair *arguments;
    size_t arguments_count;
    bool passive;
    bool durable;
    bool exclusive;
};
void amqp_frame_queue_declare(struct amqp_writer *writer, unsigned channel,
                              const struct amqp_queue_declaration *declaration);
void amqp_frame_exchange_passive(struct amqp_writer *writer, unsigned channel,
                                 struct mb_slice exchange);
void amqp_frame_bind(struct amqp_writer *writer, unsigned channel, struct mb_slice queue,
                     struct mb_slice exchange, struct mb_slice key);
void amqp_frame_qos(struct amqp_writer *writer, unsigned channel, unsigned prefetch);
/* Where a consumer of a stream begins: a word, a number, or a time in seconds. */
struct amqp_stream_place {
    const char *text; /* "first", "next", "1h", "42" */
    uint64_t number;
    bool is_time;
};
#define AMQP_ARGUMENT_OFFSET      "x-stream-offset="
#define AMQP_ARGUMENT_OFFSET_SIZE (sizeof AMQP_ARGUMENT_OFFSET - 1)

/* place NULL: none but what the arguments say. */
void amqp_frame_consume(struct amqp_writer *writer, unsigned channel, struct mb_slice queue,
                        bool exclusive, const struct mb_strings *arguments,
                        const struct amqp_stream_place *place);
void amqp_frame_cancel(struct amqp_writer *writer, unsigned channel);
void amqp_frame_get(struct amqp_writer *writer, unsigned channel, struct mb_slice queue);
/* A table of "name=value" texts: numbers as l, true and false as t, the rest as S. */
void amqp_put_settings(struct amqp_writer *writer, const struct mb_pair *pairs, size_t count);

/* Starting a source (amqp_consume.c). */

struct amqp_client;

/* Declares and binds the own queue of an exchange, and consumes from all queues, queue i on channel
 * i + 1. group: they are streams, which this group reads; all is ready but the consumers. */
enum mb_status amqp_consumers_start(struct amqp_client *client, const struct mb_open_params *params,
                                    const char *const *queues, uint32_t count, const char *group,
                                    int64_t deadline_ms, struct mb_error *err);
/* Of each of so many queues. */
unsigned amqp_prefetch(const struct mb_open_params *params, uint32_t queues);
/* Has the broker take in all acknowledgements before the channels are closed. */
void amqp_consumers_settle(struct amqp_client *client, uint32_t wait_ms);
/* prefix, group and queue joined, or a hash of them where that is too long. group may be NULL. */
void amqp_own_name(const char *prefix, const char *group, const char *queue,
                   char name[AMQP_SHORTSTR_MAX + 1]);
/* Puts the queue's name in front of the text. */
void amqp_error_name_queue(struct mb_error *err, const char *queue);

/* A connection (amqp_connect.c, amqp_client.c). */

/* A content that came while an answer was awaited; its bytes lie behind it. */
struct amqp_stashed {
    struct amqp_stashed *next;
    struct amqp_event event;
};

/* How often and how much is read (amqp_pace.c). */
struct amqp_pace {
    int64_t since_ms;
    uint64_t bytes; /* since then */
    uint64_t reads;
    uint64_t rate_bytes; /* a millisecond, before */
    uint64_t rate_reads;
    uint32_t low_water; /* bytes that make the socket readable */
};

struct amqp_client {
    const struct mb_host *host;
    void *connection; /* amqp_connection_state_t, until the log-in and with TLS; else NULL */
    void *ssl;        /* SSL *, NULL without TLS */
    int fd;
    struct amqp_reader reader;
    unsigned char *out;
    size_t out_start;
    size_t out_end;
    size_t out_capacity;
    uint32_t frame_max;
    uint32_t channels;
    int64_t heartbeat_ms;
    int64_t received_ms; /* when the last input came */
    int64_t sent_ms;
    struct amqp_pace pace;
    uint64_t received_bytes; /* not told yet (host traffic) */
    uint64_t sent_bytes;
    uint64_t tls_read; /* as OpenSSL counts, told already */
    uint64_t tls_written;
    bool wants_write;  /* the socket was full */
    bool unread;       /* the last read stopped before the socket was empty */
    uint8_t dry_looks; /* since the last read found the socket empty: amqp_client_look */
    bool blocked;
    bool was_blocked;    /* what the core knows */
    bool closed_by_peer; /* connection.close came: it awaits close-ok and nothing else */
    bool channel_closed; /* by the broker */
    bool has_confirms;   /* by its announcement */
    bool has_nack;
    bool sorts_headers; /* of what it hands out, by their names */
    bool broken;
    bool rests; /* nothing was written for a while: big memory that is not in use is given back */
    bool keeps_content; /* amqp_client_call puts contents aside instead of dropping them */
    struct amqp_stashed *stash;
    struct amqp_stashed *stash_last;
    char blocked_reason[128];
    char name[320]; /* "host:port", for texts */
    char vhost[256];
    char username[256];
    char identity[400];
    char tls_failure[MB_TLS_FAILURE_SIZE];
    char server_name[MB_TLS_NAME_SIZE]; /* to send and verify */
};

enum mb_status amqp_client_open(const struct mb_open_params *params,
                                const struct amqp_endpoint *endpoint, uint32_t channels,
                                size_t out_size, struct amqp_client **ret_client,
                                struct mb_error *err);
/* Closes in order (channels first, so that the broker has taken every acknowledgement before the
 * connection goes) within wait_ms, then frees. NULL allowed. */
void amqp_client_close(struct amqp_client *client, uint32_t wait_ms);

/* The orderly part of close. */
void amqp_client_shut(struct amqp_client *client, uint32_t wait_ms);

/* For the set-up: writes what is buffered and waits for the answer on the channel. Its arguments
 * stay valid until the next call. MB_DISCONNECTED, MB_TIMEOUT, or the broker's refusal
 * (amqp_refusal). The channel of a refusal is closed and may be opened again. */
enum mb_status amqp_client_call(struct amqp_client *client, unsigned channel, uint32_t answer,
                                int64_t deadline_ms, struct mb_slice *ret_arguments,
                                struct mb_error *err);

/* The same for what a writer has made of the client's output; nobody looks at the answer. */
enum mb_status amqp_client_request(struct amqp_client *client, const struct amqp_writer *writer,
                                   unsigned channel, uint32_t answer, int64_t deadline_ms,
                                   struct mb_error *err);
/* The answer to basic.get: *ret_event is valid until the next call. MB_NOT_FOUND: the queue is
 * empty. */
enum mb_status amqp_client_get(struct amqp_client *client, unsigned channel, int64_t deadline_ms,
                               struct amqp_event *ret_event, struct mb_error *err);

/* The next event: what was put aside, then what the reader has. */
bool amqp_client_put_aside(struct amqp_client *client, const struct amqp_event *event);
enum amqp_event_kind amqp_client_next(struct amqp_client *client, struct amqp_event *ret_event);
void amqp_client_forget(struct amqp_client *client);

/* A writer over the free part of the output; commit takes over what was written. */
struct amqp_writer amqp_client_writer(struct amqp_client *client);
bool amqp_client_commit(struct amqp_client *client, const struct amqp_writer *writer);
static inline size_t amqp_client_buffered(const struct amqp_client *client)
{
    return client->out_end - client->out_start;
}

/* MB_OK: all is written. MB_AGAIN: some remains. */
enum mb_status amqp_client_write(struct amqp_client *client, struct mb_error *err);
/* MB_OK: something came. MB_AGAIN: nothing is there, or the reader is full. */
enum mb_status amqp_client_read(struct amqp_client *client, struct mb_error *err);
/* The same in the message path, where the lane comes back at once as long as it has something to
 * do: a socket that was empty a moment ago is not asked again before the lane sleeps, or has come
 * back a few times. */
enum mb_status amqp_client_look(struct amqp_client *client, struct mb_error *err);
/* Heartbeats both ways, and output that waits. */
enum mb_status amqp_client_service(struct amqp_client *client, struct mb_error *err);
/* Gives the pages that lie wholly in memory back to the system until they are written again; what
 * was in them is lost. */
void amqp_pages_forget(void *memory, size_t size);
void amqp_client_fds(struct amqp_client *client, struct mb_wait *wait);
/* How much has to come before the lane is woken (amqp_pace.c). note: what a read brought. wait: as
 * suits that, but after a millisecond in any case. end: any byte wakes; for who waits for input
 * elsewhere. */
#define AMQP_PACE_LOW_WATER_MIN 1024u
void amqp_pace_note(struct amqp_client *client, size_t size, int64_t now_ms);
void amqp_pace_wait(struct amqp_client *client, uint32_t low_water_max, struct mb_wait *wait);
void amqp_pace_end(struct amqp_client *client);
/* One system call each (amqp_transfer.c). */
enum amqp_transfer { AMQP_TRANSFER_DONE, AMQP_TRANSFER_WAIT, AMQP_TRANSFER_FAILED };
enum amqp_transfer amqp_receive(struct amqp_client *client, void *data, size_t size,
                                size_t *ret_size, struct mb_error *err);
enum amqp_transfer amqp_transmit(struct amqp_client *client, const void *data, size_t size,
                                 size_t *ret_size, struct mb_error *err);
/* Tells the core of the bytes since the last time. */
void amqp_tell_traffic(struct amqp_client *client);

/* What is common to source and sink: close, blocked, unblocked. MB_OK if it is none of them or has
 * been dealt with. */
enum mb_status amqp_client_method(struct amqp_client *client, const struct amqp_event *event,
                                  struct mb_error *err);
/* Tells the core of connection.blocked and its end. */
void amqp_client_tell_blocked(struct amqp_client *client);
enum mb_status amqp_client_fail(struct amqp_client *client, struct mb_error *err,
                                const char *reason, const char *text);
/* close methods: fills err from code and text of their arguments. */
enum mb_status amqp_refusal(const struct amqp_client *client, uint32_t method,
                            struct mb_slice arguments, struct mb_error *err);
/* Text of at most size-1 printable bytes. */
void amqp_text_of(char *buffer, size_t size, struct mb_slice text);

extern const struct mb_source_ops amqp_source_ops;
extern const struct mb_sink_ops amqp_sink_ops;
extern const struct mb_describe_ops amqp_describe_ops;

#endif
