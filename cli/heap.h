/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MBRIDGE_CLI_HEAP_H
#define MBRIDGE_CLI_HEAP_H

#include <stdint.h>

/* Has the allocator give back what a process that runs for months had to hold once. Call before
 * there are threads. Whoever sets MALLOC_ARENA_MAX or GLIBC_TUNABLES has chosen otherwise. */
void cli_heap_settle(void);

/* Gives back what is free, if it is time for that. Returns when to call it again. One thread. */
int64_t cli_heap_rest(int64_t now_ms);

#endif
