/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of a projection that several platforms share.
 */
#ifndef MBRIDGE_KIT_FLATTEN_H
#define MBRIDGE_KIT_FLATTEN_H

#include <kit/scratch.h>
#include <kit/text.h>
#include <mbridge/message.h>

/* Headers that are bytes (Kafka, Redis): application headers in their order with values as text or
 * bytes (MB_STRING if UTF-8 without NUL, else MB_BINARY; null stays null), then a header for each
 * property that no header says already, by kit/field.h. Leaves *natural's five promotable
 * properties as reading those headers will set them, and clears all others of the mask shown.
 * natural starts as a copy of message. A value without a text (nested deeper than 64) is left out;
 * a property that is a null slice shows as a null header. MB_NO_MEMORY is the only failure. */
enum mb_status mb_flatten_headers(const struct mb_message *message, uint64_t shown,
                                  struct mb_scratch *scratch, struct mb_message *natural);

/* A body in plain bytes: data as it is, the bytes of a string or binary value, JSON for other
 * values and Redis pairs, kit/types.h where a value is no JSON. *ret_json: it is JSON. A null body
 * stays MB_BODY_NULL; everything else becomes MB_BODY_BYTES. MB_REJECTED: neither can say it
 * (nested deeper than 64); MB_NO_MEMORY also where it is larger than the scratch may be. */
enum mb_status mb_flatten_body(const struct mb_message *message, struct mb_scratch *scratch,
                               struct mb_message *natural, bool *ret_json);

/* For platforms whose headers have unique names, of which the last wins: a flag a header, true
 * where another of its name comes behind it. Only headers that fits accepts take part. NULL: the
 * scratch is out of memory. */
bool *mb_headers_repeated(const struct mb_message *message,
                          bool (*fits)(const struct mb_header *header), struct mb_scratch *scratch);

#endif
