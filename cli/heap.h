/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MBRIDGE_CLI_HEAP_H
#define MBRIDGE_CLI_HEAP_H

/* Has the allocator give back what a process that runs for months had to hold once. Call before
 * there are threads. Whoever sets MALLOC_ARENA_MAX or GLIBC_TUNABLES has chosen otherwise. */
void cli_heap_settle(void);

#endif
