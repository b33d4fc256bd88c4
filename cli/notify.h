/* SPDX-License-Identifier: Apache-2.0 */
/* Tells systemd how it is going, where systemd asks ($NOTIFY_SOCKET, $WATCHDOG_USEC). */
#ifndef MBRIDGE_CLI_NOTIFY_H
#define MBRIDGE_CLI_NOTIFY_H

/* Sends "READY=1" and the like; does nothing where nobody listens. */
void cli_notify(const char *state);

/* How often WATCHDOG=1 is to be sent, half of what systemd allows; 0: never. */
int cli_notify_watchdog_ms(void);

#endif
