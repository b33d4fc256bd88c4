/* SPDX-License-Identifier: Apache-2.0 */
/* Between the two files of the sink: its instance. */
#ifndef MBRIDGE_SIM_SINK_H
#define MBRIDGE_SIM_SINK_H

#include "sim.h"

#define SIM_ALL        UINT32_MAX /* scopes, outlets */
#define SIM_FLIGHT_MAX 128u

struct sim_item {
    uint64_t sequence;
    const struct mb_message *message;
    struct sim_body body; /* as it was when it was sent */
    bool written;
    bool settled; /* what becomes of it has come about */
    bool stored;
    enum mb_cause cause;
    uint64_t before; /* offset of what goes before it in its scope and is under way; 0: nothing */
    const char *reason;
    int64_t store_ms;
    int64_t answer_ms;
};

struct mb_sink {
    struct mb_sink *next;
    int fd;
    uint32_t outlet;
    bool closed;
    bool ended;
    uint32_t flight_max;
    int64_t ends_ms;
    int64_t blocked_until_ms;
    int64_t linger_until_ms; /* SIM_NEVER: nothing is buffered */
    int64_t last_store_ms[SIM_KEYS_MAX];
    /* transactions */
    bool begun;
    bool placed; /* positions were given for this one */
    bool fenced; /* another member holds its group now */
    uint32_t staged_count;
    uint32_t staged[SIM_MESSAGES_MAX];  /* stored when it is committed */
    uint64_t positions[SIM_SCOPES_MAX]; /* … and with it; 0: none */
    bool released[SIM_SCOPES_MAX];
    uint32_t count;
    struct sim_item items[SIM_FLIGHT_MAX];
};

/* ---- sink.c ---- */

/* An operation begins: a violation if it must not. state: of the port that calls it. */
void sim_sink_op(const struct mb_sink *sink, enum mb_port_state state, const char *name);

/* The operation's result: MB_OK, or the end of the instance if it is its time. */
enum mb_status sim_sink_result(struct mb_sink *sink, struct mb_error *err);
enum mb_status sim_sink_broken(struct mb_sink *sink, struct mb_error *err);

/* ---- sink_transaction.c ---- */

/* Whether what the outlet stores is in transactions. */
static inline bool sim_is_transactional(uint32_t outlet)
{
    return sim.shape.exactly && !sim.shape.leaves_out && outlet == 0;
}

enum mb_status sim_sink_begin(struct mb_sink *sink, struct mb_error *err);
enum mb_status sim_sink_positions(struct mb_sink *sink, const char *group,
                                  const struct mb_stored_position *positions, size_t count,
                                  struct mb_error *err);
enum mb_status sim_sink_commit(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err);
enum mb_status sim_sink_abort(struct mb_sink *sink, uint32_t timeout_ms, struct mb_error *err);
enum mb_status sim_sink_load_positions(struct mb_sink *sink, const char *group,
                                       struct mb_stored_position *positions, size_t count,
                                       uint32_t timeout_ms, struct mb_error *err);

#endif
