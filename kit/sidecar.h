/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sidecar: what a message lost when it was put into another platform's form.
 *
 * One idea carries it. A sink first makes the *natural* message: the envelope as a source of the
 * sink's platform will read it back from what the sink is about to write. The sidecar is the
 * difference between the message and its natural form, nothing else; so it is empty where nothing
 * was lost, it knows no platform, and a new platform needs no code here. On the way back the
 * natural form is read, and the difference is applied. For every platform and every message:
 *
 *     restore(read(write(natural)), difference(message, natural)) equals message
 *
 * Each entry holds a hash of the natural value that it explains (or of its absence): where somebody
 * in the middle changed the value, the entry is skipped and the natural value wins. A property that
 * is shown as a header (kit/field.h) is explained by that header. Headers are addressed by name and
 * occurrence, not by index, so that brokers may add theirs.
 *
 * Not part of a message's identity, and never in the sidecar: scope, token, position, origin, raw,
 * redelivered, delivery count, path, stable id, headers of MB_SECTION_BRIDGE, and how late it was
 * when a log took the message (of MB_TIMESTAMP_LOG_APPEND only the kind counts).
 *
 * Bounds. A message with more than 4096 headers, or a natural one, has no entries about headers:
 * their difference is lost, and a reader leaves them as they are. A value nested deeper than 64 is
 * lost. What a reader allocates follows the sidecar's and the headers' size, what it computes too.
 *
 * Bytes: one octet version (1), then entries (kit/sidecar_parts.h); typed values as in kit/types.h.
 * A version that the reader does not know counts as malformed. Pure; any thread.
 */
#ifndef MBRIDGE_KIT_SIDECAR_H
#define MBRIDGE_KIT_SIDECAR_H

#include <kit/text.h>
#include <mbridge/message.h>

/* Appends the difference to out, or nothing if there is none. At most size_max bytes: entries that
 * do not fit are left out, whole, the largest first (0: none at all). *ret_lost: the fields whose
 * difference is not in the sidecar (enum mb_field, MB_LOST_…). MB_NO_MEMORY is the only failure. */
enum mb_status mb_sidecar_write(const struct mb_message *message, const struct mb_message *natural,
                                size_t size_max, struct mb_text *out, uint64_t *ret_lost);

/* Fills *ret_message with natural plus what natural->sidecar says: all that it points to belongs to
 * natural or lies in the arena. *ret_message has no sidecar; the bridge's own headers stay in its
 * list. A malformed sidecar counts as absent, whole, and sets *ret_malformed. MB_NO_MEMORY is the
 * only failure; *ret_message is natural without sidecar then. */
enum mb_status mb_sidecar_restore(const struct mb_message *natural, struct mb_arena *arena,
                                  struct mb_message *ret_message, bool *ret_malformed);

/* The fields in which the two differ, as the sidecar sees it: 0 means the same message. Headers are
 * compared section by section, in order. */
uint64_t mb_message_difference(const struct mb_message *a, const struct mb_message *b);

#endif
