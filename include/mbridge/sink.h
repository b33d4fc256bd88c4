/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sink operations. Threads and life as for a source (source.h).
 *
 * Every message that send took completes exactly once through completions, unless the instance ends
 * first: what is open when MB_DISCONNECTED is returned or close is called is unknown, and the core
 * sends it again through the next instance. A sink never sends a message twice by itself in a way
 * that could overtake, and never completes what the broker has not durably confirmed.
 */
#ifndef MBRIDGE_SINK_H
#define MBRIDGE_SINK_H

#include <mbridge/source.h>

struct mb_sink;

#define MB_NAMES_MAX 4

/* What the sink may add to a message that its platform does not show by itself (fidelity rules):
 * a stable id, the path for loop prevention, the sidecar of fields that do not survive. */
enum mb_provenance {
    MB_PROVENANCE_ID = 1u << 0,
    MB_PROVENANCE_PATH = 1u << 1,
    MB_PROVENANCE_SIDECAR = 1u << 2
};

/*
 * One message to send. The message and all it points to stay valid and unchanged until its
 * completion has been returned, or close has: a sink need not copy.
 */
struct mb_outgoing {
    uint64_t sequence; /* increases from item to item; comes back in the completion */
    const struct mb_message *message;
    struct mb_slice names[MB_NAMES_MAX]; /* TEMPLATE options by slot, rendered; null: unset.
                                          * NUL-terminated behind size. Same life as the message. */
};

struct mb_completion {
    uint64_t sequence;
    uint32_t cause;              /* enum mb_cause; MB_CAUSE_NONE: durably confirmed */
    int32_t partition;           /* of the destination, -1: none or unknown */
    struct mb_position position; /* at the destination, where the platform tells */
    /* Failures: a short stable word and a sentence, valid until the next call on the instance. */
    const char *reason;
    const char *text;
};

enum mb_sink_traits {
    MB_SINK_TELLS_POSITION = 1u << 0,
    MB_SINK_TRANSACTIONS = 1u << 1,
    MB_SINK_STORES_POSITIONS = 1u << 2,
    MB_SINK_PARTITIONED = 1u << 3,
    /* With params->effectively_once the sink itself leaves out what the destination has:
     * a message whose origin and position were stored before completes as confirmed, again. */
    MB_SINK_DEDUPLICATES = 1u << 4
};

/* Nobody holds the scope from here on: who loads its position next need not fence off
 * the instance that stored it. */
enum mb_stored_flags { MB_STORED_RELEASED = 1u << 0 };

/* A source position to store with a transaction, named so that it is found again. */
struct mb_stored_position {
    struct mb_slice stream;
    int32_t partition;
    uint32_t flags;              /* enum mb_stored_flags */
    struct mb_position position; /* of the last message done */
};

struct mb_sink_ops {
    uint32_t struct_size;

    uint64_t (*traits)(const void *endpoint, const void *options);

    enum mb_status (*open)(const struct mb_open_params *params, struct mb_sink **ret_sink,
                           struct mb_error *err);

    void (*fds)(struct mb_sink *sink, struct mb_wait *wait);

    /* Takes a prefix of items, in order; *ret_taken says how many. MB_AGAIN: no more for now (fds
     * tells when); what was taken is taken. It may buffer: flush or service writes it out. */
    enum mb_status (*send)(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                           size_t *ret_taken, struct mb_error *err);

    /* Fills up to max results, in any order. MB_DISCONNECTED may come with *ret_count > 0. */
    enum mb_status (*completions)(struct mb_sink *sink, struct mb_completion *completions,
                                  size_t max, size_t *ret_count, struct mb_error *err);

    /* The source has run dry: write out what is buffered and do not linger. */
    enum mb_status (*flush)(struct mb_sink *sink, struct mb_error *err);

    enum mb_status (*service)(struct mb_sink *sink, struct mb_error *err);

    /* NULL allowed. Afterwards no pointer of a message is used. */
    void (*close)(struct mb_sink *sink);

    /* Transactions; all NULL without MB_SINK_TRANSACTIONS. They may block up to timeout_ms: a lane
     * that uses them has a worker of its own. begin, then send and completions as usual, positions,
     * and commit or abort when nothing is in flight. After abort all of it is undone. */
    enum mb_status (*begin)(struct mb_sink *sink, struct mb_error *err);
    enum mb_status (*positions)(struct mb_sink *sink, const char *group,
                                const struct mb_stored_position *positions, size_t count,
                                struct mb_error *err);
    enum mb_status (*commit)(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err);
    enum mb_status (*abort)(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err);

    /* Fills in .position of each entry with what was stored for group (MB_POSITION_NONE: nothing);
     * fences off earlier instances of the same group first. NULL without STORES_POSITIONS. */
    enum mb_status (*load_positions)(struct mb_sink *sink, const char *group,
                                     struct mb_stored_position *positions, size_t count,
                                     uint32_t timeout_ms, struct mb_error *err);
};

#endif
