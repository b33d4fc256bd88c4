/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at the text of a configuration before libconfig reads it, for what libconfig keeps to
 * itself: integers that do not fit (version 1.5 wraps them), NUL in strings (it cuts them there),
 * names that are given twice (it stops at the first), strings and comments without an end (it
 * leaves out the rest), and groups of so many settings that it would read for hours.
 */
#ifndef MBRIDGE_CORE_SCAN_H
#define MBRIDGE_CORE_SCAN_H

#include <mbridge/status.h>
#include <stdbool.h>
#include <stddef.h>

struct mb_scan {
    void (*report)(void *context, unsigned line, const char *text);
    void *context;
    const char *folder; /* where included files are looked for */
    bool stop;          /* set: libconfig would only say it again, or take for ever */
};

/* Reports what it finds. Blanks a setting whose name was there before, so that the rest can still
 * be read. Leaves what it does not understand to libconfig. */
enum mb_status mb_scan_text(struct mb_scan *scan, char *text, size_t size);

#endif
