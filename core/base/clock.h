/* SPDX-License-Identifier: Apache-2.0 */
/* The two clocks. Lanes are given their time by whoever steps them, so that tests have their own.
 */
#ifndef MBRIDGE_CORE_CLOCK_H
#define MBRIDGE_CORE_CLOCK_H

#include <stdint.h>

int64_t mb_clock_monotonic_ms(void);
int64_t mb_clock_wall_ms(void);

#endif
