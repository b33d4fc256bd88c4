/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose an allocation is: the address that it is called from tells. The program and its modules are
 * the bridge's own, all else is a library's. Any thread.
 */
#ifndef MBRIDGE_TESTS_CALLER_H
#define MBRIDGE_TESTS_CALLER_H

#include <stdbool.h>
#include <stdint.h>

struct caller_object {
    uintptr_t base; /* what offsets in its file count from */
    uintptr_t begin;
    uintptr_t end;
    bool own;
    char name[256];
};

/* NULL: no object is loaded there. Valid for good. Objects whose path has a part that stands in the
 * environment's variable `also`, with ":" between, count as own too; NULL: none does. */
const struct caller_object *caller_object(uintptr_t address, const char *also);

#endif
