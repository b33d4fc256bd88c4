/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at the text of a configuration before libconfig reads it, for what libconfig keeps to
 * itself: integers that do not fit (version 1.5 wraps them), NUL in strings (it cuts them there),
 * and names that are given twice (it stops at the first).
 */
#ifndef MBRIDGE_CORE_SCAN_H
#define MBRIDGE_CORE_SCAN_H

#include <mbridge/status.h>
#include <stdbool.h>
#include <stddef.h>

struct mb_scan {
    void (*report)(void *context, unsigned line, const char *text);
    void *context;
    const char *folder;  /* where included files are looked for */
    bool include_failed; /* set: an included file cannot be read, which libconfig would say again */
};

/* Reports what it finds. Blanks a setting whose name was there before, so that the rest can still
 * be read. Leaves what it does not understand to libconfig. */
enum mb_status mb_scan_text(struct mb_scan *scan, char *text, size_t size);

#endif
