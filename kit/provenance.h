/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a message has been: the path that stops loops, and the id that consumers deduplicate by.
 * The carriers' names are fixed (docs/fidelity.md):
 *
 *              Kafka           AMQP 1.0 annotation, 0-9-1 header   Redis field
 *   sidecar    mbridge.meta    x-opt-mbridge-meta                  _mbridge
 *   path       mbridge.path    x-opt-mbridge-path                  _mbridge.path
 *   id         mbridge.id      x-opt-mbridge-id                    _mbridge.id
 */
#ifndef MBRIDGE_KIT_PROVENANCE_H
#define MBRIDGE_KIT_PROVENANCE_H

#include <kit/text.h>
#include <mbridge/message.h>

/* The hash of a stream: FNV-1a, 64 bit, over identity, a NUL, stream. */
uint64_t mb_path_hash(struct mb_slice identity, struct mb_slice stream);

/* Bytes on the wire: the hashes in network order, 8 each. Reading anything else (not a multiple of
 * 8, more than MB_PATH_HOPS_MAX) leaves the path empty and returns false. */
bool mb_path_read(struct mb_slice bytes, struct mb_message *message);
/* Writes message's path; room for 8 × MB_PATH_HOPS_MAX. Returns the size. */
size_t mb_path_write(const struct mb_message *message, unsigned char *ret_bytes);

/* Appends the stable id: what the message brought, else "identity/stream/partition/position" if
 * its source has positions (log sources); nothing for queues. */
void mb_stable_id_add(struct mb_text *out, const struct mb_message *message);

#endif
