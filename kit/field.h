/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of a message by name: in textual headers, in metrics, in the documents. */
#ifndef MBRIDGE_KIT_FIELD_H
#define MBRIDGE_KIT_FIELD_H

#include <mbridge/source.h>

/* "content-type" for MB_HAS_CONTENT_TYPE, "body" for MB_LOST_BODY, …; NULL: no such bit. This is
 * also the name of the header that shows the property where a platform has no place for it. */
const char *mb_field_name(uint64_t bit);
/* The same; null: no such bit. */
struct mb_slice mb_field_text(uint64_t bit);

/* The bit of a name, or 0. */
uint64_t mb_field_of(struct mb_slice name);

/* The five that a header of their name may become by itself (nothing else is ever promoted: a
 * header must not expire, redirect or re-rank its message): content-type, content-encoding,
 * message-id, correlation-id, subject. */
#define MB_FIELDS_PROMOTED                                                                         \
    (MB_HAS_CONTENT_TYPE | MB_HAS_CONTENT_ENCODING | MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID |   \
     MB_HAS_SUBJECT)

/* Sets the property that a textual header shows, if it is one of the five and its value is text;
 * the header stays in the list. Of several headers of one name the last one counts. Properties that
 * the message has must be its own; one without gets them in the arena. false: out of memory. */
bool mb_field_promote(struct mb_message *message, const struct mb_header *header,
                      struct mb_arena *arena);

/* Gives the message properties of its own, in the arena: a copy of those that it had, or empty
 * ones. Whoever writes into properties that another message has too does this first. false: out of
 * memory. */
bool mb_properties_own(struct mb_message *message, struct mb_arena *arena);

#endif
