/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured log lines on standard error: logfmt or JSON, one line an event, written with one
 * write(2). Thread-safe. Values are escaped: no line can be forged by a message or a broker.
 */
#ifndef MBRIDGE_CORE_LOG_H
#define MBRIDGE_CORE_LOG_H

#include <mbridge/host.h>
#include <stdatomic.h>

enum mb_log_format { MB_LOG_LOGFMT = 0, MB_LOG_JSON = 1 };

struct mb_logger {
    int fd;
    _Atomic int level; /* enum mb_log_level */
    _Atomic int format;
};

/*
 * Fields are pairs of const char * name, value, ended by NULL; a pair whose value is NULL is left
 * out. Example: mb_log(logger, MB_LOG_WARN, "connection lost", "route", name, "reason", text,
 * NULL);
 */
void mb_log(struct mb_logger *logger, enum mb_log_level level, const char *message, ...)
    __attribute__((sentinel));

/* "error", "warn", "info", "debug" → level; MB_INVALID else. */
enum mb_status mb_log_level_parse(const char *text, int *ret_level);

#endif
