/* SPDX-License-Identifier: Apache-2.0 */
/* The memory backend with one fault planted in it, to show that the contract suite finds it. */
#ifndef FAULTY_H
#define FAULTY_H

#include <mbridge/backend.h>

enum fault {
    FAULT_NONE = 0,
    /* sinks */
    FAULT_COMPLETES_TWICE,
    FAULT_NEVER_COMPLETES,
    FAULT_COMPLETES_UNKNOWN,
    FAULT_COMPLETES_TOO_MANY,
    FAULT_TAKES_OUT_OF_ORDER,
    FAULT_TAKES_TOO_MANY,
    FAULT_CONFIRMS_UNSTORED,
    FAULT_FAILS_WITHOUT_REASON,
    FAULT_HIDES_POSITION,
    /* sources */
    FAULT_STALE_EPOCH,
    FAULT_TOKEN_GOES_BACK,
    FAULT_BEFORE_START,
    FAULT_AFTER_CLOSE,
    FAULT_BATCH_TOO_LONG,
    FAULT_TAKES_STRIDE,
    FAULT_FORGETS_ACKS,
    FAULT_COMMITS_UNACKED,
    FAULT_ACKS_AT_POLL,
    FAULT_KEEPS_REVOKED,
    FAULT_IGNORES_STREAMS,
    FAULT_HIDES_LOSS,
    /* both */
    FAULT_LEAKS,
    FAULT_BUSY,
    FAULT_OPEN_FAILS_BADLY,
    FAULTS_COUNT
};

/* inner with the operations replaced; fault says what they do. Valid until the next call. */
const struct mb_backend *faulty_backend(const struct mb_backend *inner, enum fault fault);

#endif
