/* SPDX-License-Identifier: Apache-2.0 */
#include "raw_wire.h"

#include "raw.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_CAPACITY ((size_t)256 << 10)

int raw_connect(const char *address)
{
    struct sockaddr_in place = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(address, ':');
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (colon == NULL || (size_t)(colon - address) >= sizeof host)
        raw_die("'%s' is no HOST:PORT", address);
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    place.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (fd < 0 || inet_pton(AF_INET, host, &place.sin_addr) != 1 ||
        connect(fd, (const struct sockaddr *)&place, sizeof place) != 0)
        raw_die("no connection to %s: %s", address, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void *grow(void *data, size_t size)
{
    void *grown = realloc(data, size);

    if (grown == NULL)
        raw_die("no memory");
    return grown;
}

void raw_wire_init(struct raw_wire *wire, int fd)
{
    memset(wire, 0, sizeof *wire);
    wire->fd = fd;
    wire->in_capacity = IN_CAPACITY;
    wire->in = grow(NULL, wire->in_capacity);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void raw_wire_release(struct raw_wire *wire)
{
    free(wire->in);
    free(wire->out);
    memset(wire, 0, sizeof *wire);
}

size_t raw_wire_waiting(const struct raw_wire *wire)
{
    return wire->out_end - wire->out_start;
}

unsigned char *raw_wire_room(struct raw_wire *wire, size_t size)
{
    if (wire->out_start == wire->out_end) {
        wire->out_start = 0;
        wire->out_end = 0;
    }
    if (wire->out_end + size > wire->out_capacity) {
        wire->out_capacity = 2 * (wire->out_end + size);
        wire->out = grow(wire->out, wire->out_capacity);
    }
    return wire->out + wire->out_end;
}

void raw_wire_put(struct raw_wire *wire, const void *data, size_t size)
{
    memcpy(raw_wire_room(wire, size), data, size);
    wire->out_end += size;
}

void raw_wire_flush(struct raw_wire *wire)
{
    while (raw_wire_waiting(wire) > 0) {
        ssize_t sent =
            send(wire->fd, wire->out + wire->out_start, raw_wire_waiting(wire), MSG_NOSIGNAL);

        if (sent > 0)
            wire->out_start += (size_t)sent;
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            raw_die("send: %s", strerror(errno));
    }
}

bool raw_wire_read(struct raw_wire *wire)
{
    ssize_t got;

    if (wire->in_start == wire->in_end) {
        wire->in_start = 0;
        wire->in_end = 0;
    } else if (wire->in_end == wire->in_capacity && wire->in_start > 0) {
        memmove(wire->in, wire->in + wire->in_start, raw_wire_size(wire));
        wire->in_end -= wire->in_start;
        wire->in_start = 0;
    } else if (wire->in_end == wire->in_capacity) {
        wire->in_capacity *= 2;
        wire->in = grow(wire->in, wire->in_capacity);
    }
    got = recv(wire->fd, wire->in + wire->in_end, wire->in_capacity - wire->in_end, 0);
    if (got == 0)
        raw_die("the broker closed the connection");
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        raw_die("receive: %s", strerror(errno));
    if (got > 0)
        wire->in_end += (size_t)got;
    return got > 0;
}

bool raw_wire_turn(struct raw_wire *wire, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = wire->fd, .events = POLLIN};

    raw_wire_flush(wire);
    if (raw_wire_waiting(wire) > 0)
        poll_fd.events |= POLLOUT;
    if (poll(&poll_fd, 1, timeout_ms) <= 0)
        return false;
    if (poll_fd.revents & POLLOUT)
        raw_wire_flush(wire);
    return (poll_fd.revents & ~POLLOUT) != 0 && raw_wire_read(wire);
}
