/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running bridge: the routes of a configuration on their workers. Its functions are called by one
 * thread (the program's main thread); none of them blocks but destroy.
 *
 * Life: create → start → (reload …) → stop, or it finishes by itself (drained, limit reached, all
 * routes stopped) → destroy. fd becomes readable whenever the state may have changed; then call
 * poll.
 */
#ifndef MBRIDGE_CORE_BRIDGE_H
#define MBRIDGE_CORE_BRIDGE_H

#include "core/base/log.h"
#include "core/config/model.h"
#include "kit/text.h"

struct mb_bridge;

struct mb_bridge_options {
    bool drain;              /* end when the sources are empty */
    uint64_t limit_messages; /* 0: none; else end after that many were taken and resolved */
};

enum mb_bridge_state {
    MB_BRIDGE_RUNNING = 0,
    MB_BRIDGE_STOPPING = 1,
    MB_BRIDGE_FINISHED = 2 /* all lanes are closed; exit_code is valid */
};

struct mb_bridge_status {
    enum mb_bridge_state state;
    int exit_code;       /* 0: done; 1: a route failed, something is unresolved, or miscounted */
    uint64_t unresolved; /* messages sent but not confirmed when stop_timeout was over */
};

struct mb_bridge_progress {
    uint64_t received;
    uint64_t delivered;
    uint64_t dead_lettered;
    uint64_t filtered;
    uint64_t expired;
    uint64_t in_flight;
    uint64_t bytes_in;
    uint64_t remaining; /* at the sources, as far as known */
    bool remaining_known;
    bool connected; /* every source and sink is open */
};

/* Takes the configuration over (also on failure). */
enum mb_status mb_bridge_create(struct mb_config *config, struct mb_registry *registry,
                                struct mb_logger *logger, const struct mb_bridge_options *options,
                                struct mb_bridge **ret_bridge, struct mb_error *err);

enum mb_status mb_bridge_start(struct mb_bridge *bridge, struct mb_error *err);

/* Takes config over. Routes that are equal in both go on untouched; the others are stopped and
 * started anew, in the background. */
enum mb_status mb_bridge_reload(struct mb_bridge *bridge, struct mb_config *config,
                                struct mb_error *err);

/* Begins an orderly stop: nothing more is taken, what was sent is confirmed and acknowledged, up to
 * the configuration's stop_timeout. */
void mb_bridge_stop(struct mb_bridge *bridge);

int mb_bridge_fd(const struct mb_bridge *bridge);

/* Drives reloads and stops; tells the state. */
void mb_bridge_poll(struct mb_bridge *bridge, struct mb_bridge_status *ret_status);

/* All counters as one JSON object, without a line end. */
void mb_bridge_counters_json(struct mb_bridge *bridge, struct mb_text *text);

void mb_bridge_progress(struct mb_bridge *bridge, struct mb_bridge_progress *ret_progress);

/* Waits for what is still closing. NULL allowed. */
void mb_bridge_destroy(struct mb_bridge *bridge);

#endif
