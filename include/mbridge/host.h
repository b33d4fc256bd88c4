/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the core offers to an instance: passed to open, valid until close has returned.
 *
 * Threads: every function may be called from the thread that runs an operation of the instance;
 * log and alloc/free from any thread.
 */
#ifndef MBRIDGE_HOST_H
#define MBRIDGE_HOST_H

#include <mbridge/position.h>
#include <mbridge/status.h>
#include <mbridge/value.h>

#include <stdbool.h>

enum mb_log_level { MB_LOG_ERROR = 0, MB_LOG_WARN = 1, MB_LOG_INFO = 2, MB_LOG_DEBUG = 3 };

enum mb_event_kind {
    /* source: a scope is there. Its id is a small number: an instance counts its scopes from 0 (at
     * most 65536), and gives a scope that comes back its old id and a new epoch. The core answers
     * with source start (stream, partition, end are read; the strings are copied). No message of it
     * may be handed out before that. */
    MB_EVENT_SCOPE_ASSIGNED = 1,
    /* source: the scope is being taken away and nothing more of it will be handed out. The core
     * resolves what is in flight, acknowledges it, and answers with source stop, at the latest
     * after deadline_ms. */
    MB_EVENT_SCOPE_REVOKED = 2,
    /* source: the scope is gone already (fenced, session over): acknowledgements of it would be
     * refused. The core forgets it; no answer. */
    MB_EVENT_SCOPE_LOST = 3,
    /* source: what had been acknowledged up to token (in scope, epoch) is stored at the broker. The
     * token is that of the last acknowledgement before a commit. */
    MB_EVENT_COMMITTED = 4,
    /* both: the connection works (again). An instance is taken to be up when open returns. */
    MB_EVENT_UP = 5,
    /* both: the library lost the broker and keeps trying by itself; error says why. */
    MB_EVENT_DOWN = 6,
    /* sink: the broker asked to stop sending (connection.blocked); error says why. Ends with UP. */
    MB_EVENT_BLOCKED = 7,
    /* source: messages are gone for good before they could be read (retention, trimming): count of
     * them if known, from and to. It counts, too, where the operation that raises it then fails. */
    MB_EVENT_LOSS = 8
};

struct mb_event {
    uint32_t struct_size;
    uint32_t kind; /* enum mb_event_kind */
    uint32_t scope;
    uint32_t epoch;
    uint64_t token;
    uint64_t count;
    uint32_t deadline_ms;
    int32_t partition;        /* ASSIGNED: -1 if the stream has none */
    int32_t partitions_count; /* ASSIGNED: of the stream; 0: none, or not known */
    struct mb_slice stream;
    struct mb_position position; /* ASSIGNED: where it goes on if the answer is STORED, if known */
    struct mb_position end;      /* ASSIGNED: the end now, if known */
    const struct mb_error *error;
};

struct mb_host {
    uint32_t struct_size;
    void *context;
    void *(*alloc)(void *context, size_t size);   /* NULL when memory is out; freed with release */
    void (*release)(void *context, void *memory); /* NULL allowed */
    int64_t (*monotonic_ms)(void *context);
    int64_t (*wall_ms)(void *context);
    /* For what has no other way to the user (a library's own log). Not for errors that an operation
     * returns: the core logs those, once a change of state. */
    void (*log)(void *context, enum mb_log_level level, const char *text);
    /* The event is copied; the core acts on it after the running operation has returned. Only on
     * the lane's thread, from within an operation (open excepted: raise it in the first service).
     */
    void (*event)(void *context, const struct mb_event *event);

    /* A sink wrote one message that lacks these fields (enum mb_field and MB_LOST_…):
     * neither its platform nor the sidecar could carry them. Counted by field. */
    void (*degraded)(void *context, uint64_t fields);
    /* Bytes that went over the network since the last call, frames and compression included. */
    void (*traffic)(void *context, uint64_t received_bytes, uint64_t sent_bytes);
};

/*
 * What an instance waits for. fds() adds its descriptors and lowers the deadline; the core sleeps
 * until one is ready or the deadline is reached, then steps the lane.
 */
#define MB_WAIT_FDS_MAX 16

struct mb_wait {
    uint32_t struct_size;
    uint32_t count; /* of fds; the capacity is MB_WAIT_FDS_MAX an instance */
    struct {
        int fd;
        int16_t events;  /* POLLIN | POLLOUT */
        int16_t revents; /* unused by backends */
    } fds[MB_WAIT_FDS_MAX];
    int64_t deadline_ms; /* monotonic; service is wanted then at the latest; INT64_MAX: never */
    bool ready;          /* something waits in user space already: do not sleep */
};

#endif
