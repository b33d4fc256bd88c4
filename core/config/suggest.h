/* SPDX-License-Identifier: Apache-2.0 */
/* The name among those there are that is most like the one that was written. Pure; any thread. */
#ifndef MBRIDGE_CORE_SUGGEST_H
#define MBRIDGE_CORE_SUGGEST_H

#include <stddef.h>

struct mb_suggestion {
    const char *wanted;
    const char *best; /* borrowed from the offer; NULL: nothing is near */
    size_t distance;
};

void mb_suggestion_init(struct mb_suggestion *suggestion, const char *wanted);
void mb_suggestion_offer(struct mb_suggestion *suggestion, const char *candidate);

/* ` (did you mean "x"?)` into buffer, or "". Returns buffer. */
const char *mb_suggestion_text(const struct mb_suggestion *suggestion, char *buffer, size_t size);

#endif
