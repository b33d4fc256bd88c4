/* SPDX-License-Identifier: Apache-2.0 */
/* A TCP connection with a buffer either way, for halves that speak their protocol by hand: many
 * messages a system call, nothing copied twice. Every failure ends the program. */
#ifndef MBRIDGE_BENCH_RAW_WIRE_H
#define MBRIDGE_BENCH_RAW_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct raw_wire {
    int fd;
    unsigned char *in;
    size_t in_start, in_end, in_capacity;
    unsigned char *out;
    size_t out_start, out_end, out_capacity;
};

/* "HOST:PORT", the host in digits. */
int raw_connect(const char *address);
/* Takes a connected socket over; makes it non-blocking. */
void raw_wire_init(struct raw_wire *wire, int fd);
void raw_wire_release(struct raw_wire *wire);

/* Room for so many bytes to be sent; they count when they are said to be there. */
unsigned char *raw_wire_room(struct raw_wire *wire, size_t size);
void raw_wire_put(struct raw_wire *wire, const void *data, size_t size);
size_t raw_wire_waiting(const struct raw_wire *wire);
void raw_wire_flush(struct raw_wire *wire);

/* Waits until something came, or until what waits can be sent, or for the timeout; reads and sends
 * what it can. True if something was read. */
bool raw_wire_turn(struct raw_wire *wire, int timeout_ms);
/* Reads what is there without waiting; grows its buffer where a message is larger. */
bool raw_wire_read(struct raw_wire *wire);

static inline size_t raw_wire_size(const struct raw_wire *wire)
{
    return wire->in_end - wire->in_start;
}

static inline const unsigned char *raw_wire_data(const struct raw_wire *wire)
{
    return wire->in + wire->in_start;
}

#endif
