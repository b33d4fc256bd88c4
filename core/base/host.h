/* SPDX-License-Identifier: Apache-2.0 */
/* The host table that instances are given: memory and clocks of the process. */
#ifndef MBRIDGE_CORE_HOST_H
#define MBRIDGE_CORE_HOST_H

#include <mbridge/host.h>

/* Fills everything; what is logged or raised goes to log and event, which get context. */
void mb_host_init(struct mb_host *host, void *context,
                  void (*log)(void *context, enum mb_log_level level, const char *text),
                  void (*event)(void *context, const struct mb_event *event));

#endif
