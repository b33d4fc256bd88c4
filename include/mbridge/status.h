/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operations return and how a failure is described.
 *
 * Convention: every operation that can fail returns enum mb_status; MB_OK is 0. A result travels
 * through a parameter named ret_x. Where an operation takes a struct mb_error it fills it on every
 * return other than MB_OK and MB_AGAIN; the pointer is never NULL.
 */
#ifndef MBRIDGE_STATUS_H
#define MBRIDGE_STATUS_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum mb_status {
    MB_OK = 0,
    MB_AGAIN = 1,        /* would block: flow control, never an error; call again after a wake-up */
    MB_DISCONNECTED = 2, /* this instance's life is over: the core closes it and opens another */
    MB_INVALID = 3,      /* an option or argument is wrong */
    MB_NOT_FOUND = 4,    /* the stream does not exist */
    MB_DENIED = 5,       /* authentication or authorisation */
    MB_TIMEOUT = 6,      /* a deadline passed */
    MB_UNSUPPORTED = 7,  /* this build, library or broker cannot do it */
    MB_NO_MEMORY = 8,
    MB_REJECTED = 9, /* a message cannot be carried */
    MB_FATAL = 10    /* no retry can help: the route stops */
};

/*
 * Why something failed: the core decides by it, never by a name on the wire.
 *   MESSAGE      this message can never be carried: the reject policy (dead letter or stop)
 *   DESTINATION  the destination refuses everything for now (full, missing, forbidden): wait, retry
 *   CONNECTION   unknown whether it arrived: send again on the next connection
 */
enum mb_cause {
    MB_CAUSE_NONE = 0,
    MB_CAUSE_MESSAGE = 1,
    MB_CAUSE_DESTINATION = 2,
    MB_CAUSE_CONNECTION = 3
};

#define MB_REASON_SIZE     32
#define MB_ERROR_TEXT_SIZE 480

struct mb_error {
    enum mb_status status;
    enum mb_cause cause;
    uint32_t retry_after_ms; /* 0: the core's own backoff; else try again after this time */
    /* A short stable word for metrics and state changes: "auth", "refused", "missing", "full",
     * "standby", "tls", "blocked", … An unchanged reason is logged once, not at every retry. */
    char reason[MB_REASON_SIZE];
    char text[MB_ERROR_TEXT_SIZE]; /* complete enough to be logged as it is; holds no secret */
};

#if defined(__GNUC__)
#define MB_PRINTF(format_at, first_at) __attribute__((format(printf, format_at, first_at)))
#else
#define MB_PRINTF(format_at, first_at)
#endif

/* Fills *err and returns status, so that a failing function ends with `return mb_error_set(…)`. */
MB_PRINTF(5, 6)
static inline enum mb_status mb_error_set(struct mb_error *err, enum mb_status status,
                                          enum mb_cause cause, const char *reason,
                                          const char *format, ...)
{
    va_list args;

    err->status = status;
    err->cause = cause;
    err->retry_after_ms = 0;
    snprintf(err->reason, sizeof err->reason, "%s", reason);
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return status;
}

static inline void mb_error_clear(struct mb_error *err)
{
    memset(err, 0, sizeof *err);
}

#endif
