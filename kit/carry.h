/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a sink prepares a message: one sequence for all platforms.
 *
 *   same platform at the source: verbatim, carriers in their places (a path that grew is renewed)
 *   another platform:            restore what an earlier sidecar says → the platform's projection
 *                                → sidecar of what that lost → strict or degraded
 */
#ifndef MBRIDGE_KIT_CARRY_H
#define MBRIDGE_KIT_CARRY_H

#include <kit/provenance.h>
#include <kit/scratch.h>
#include <kit/sidecar.h>
#include <mbridge/sink.h>

/* The envelope as a source of this platform will read it back. natural comes as a copy of message
 * and is changed; new memory from the scratch. Pure. MB_REJECTED with err filled: the platform
 * cannot carry the message at all. */
typedef enum mb_status mb_project_fn(void *context, const struct mb_outgoing *item,
                                     const struct mb_message *message, struct mb_scratch *scratch,
                                     struct mb_message *natural, struct mb_error *err);

struct mb_carry {
    struct mb_slice platform;
    mb_project_fn *project;
    void *context;
    const struct mb_host *host;
    size_t sidecar_max; /* bytes that the carrier may have */
    uint8_t provenance;
    bool strict;
    bool told_malformed;
    struct mb_scratch scratch;
    struct mb_text sidecar;
    struct mb_text id;
    struct mb_message natural;
    struct mb_message restored;
};

/* What to write. Valid until the next mb_carry_prepare. */
struct mb_carried {
    const struct mb_message *message; /* the natural one, or the item's own if verbatim */
    struct mb_slice sidecar;          /* carriers to add; null: none */
    struct mb_slice id;
    unsigned char path[8 * MB_PATH_HOPS_MAX];
    size_t path_size;
    bool verbatim; /* headers of MB_SECTION_BRIDGE are written too, in their places; carriers above
                    * replace theirs */
};

void mb_carry_init(struct mb_carry *carry, const struct mb_open_params *params,
                   const char *platform, mb_project_fn *project, void *context, size_t sidecar_max);
void mb_carry_release(struct mb_carry *carry);

/* MB_REJECTED: err says why (reason "fidelity" names the fields in strict mode); the sink completes
 * the item with MB_CAUSE_MESSAGE. MB_NO_MEMORY: err is filled too. Reports to host->degraded and,
 * once, a malformed sidecar to host->log. What the natural message has beyond the message counts as
 * no loss. */
enum mb_status mb_carry_prepare(struct mb_carry *carry, const struct mb_outgoing *item,
                                struct mb_carried *ret_carried, struct mb_error *err);

/* The sink found that it cannot write these fields (enum mb_field, MB_LOST_…) of a prepared
 * message, and no sidecar tells them: MB_REJECTED in strict mode, else they are reported as
 * degraded. */
enum mb_status mb_carry_lost(const struct mb_carry *carry, uint64_t lost, struct mb_error *err);

#endif
