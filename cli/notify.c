/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/notify.h"

#include "core/base/clock.h"
#include "core/config/settings.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void cli_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[96];
    size_t size;
    int fd;

    if (path == NULL || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof address.sun_path)
        return;
    size = strlen(path);
    memcpy(address.sun_path, path, size);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    /* The time lets systemd tell this reload from the one before. */
    if (strcmp(state, "RELOADING=1") == 0)
        snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
                 (long long)mb_clock_monotonic_ms() * 1000);
    else
        snprintf(text, sizeof text, "%s", state);
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
    close(fd);
}

int cli_notify_watchdog_ms(void)
{
    const char *usec_text = getenv("WATCHDOG_USEC");
    const char *pid_text = getenv("WATCHDOG_PID");
    int64_t usec = 0;
    int64_t pid = 0;

    if (usec_text == NULL || mb_parse_integer(usec_text, &usec) != MB_OK || usec <= 0)
        return 0;
    if (pid_text != NULL && (mb_parse_integer(pid_text, &pid) != MB_OK || pid != getpid()))
        return 0;
    if (usec < 2000)
        return 1;
    return usec > 3600000000 ? 1800000 : (int)(usec / 2000);
}
