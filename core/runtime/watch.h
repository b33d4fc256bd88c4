/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptors that a lane waits for, behind one that a worker waits for. They stay known to the
 * kernel from one wait to the next: a lane that waits for the same as before costs no system call,
 * and one that does not become ready costs nothing at all. One thread.
 *
 *   begin → add … → end, before each wait
 */
#ifndef MBRIDGE_CORE_WATCH_H
#define MBRIDGE_CORE_WATCH_H

#include <mbridge/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mb_watched {
    int fd;
    uint32_t events;
};

struct mb_watch {
    int outer_fd; /* the worker's epoll */
    void *owner;  /* what it tells of this one */
    int fd;       /* an epoll of the lane's own; -1: none */
    uint64_t generation;
    struct mb_watched *known; /* to the kernel */
    size_t known_count;
    struct mb_watched *wanted;
    size_t wanted_count;
    size_t capacity; /* of both */
    bool failed;     /* of what is wanted not all is there */
};

void mb_watch_init(struct mb_watch *watch, int outer_fd, void *owner);
void mb_watch_release(struct mb_watch *watch);

void mb_watch_begin(struct mb_watch *watch);

/* For mb_lane_wait: context is the watch, events are those of poll. */
void mb_watch_add(void *context, int fd, int16_t events);

/* generation differs from that of the last wait if a descriptor may have been closed meanwhile: its
 * number may stand for another one now. false: the kernel does not take all of them; who waits has
 * to look by himself. */
bool mb_watch_end(struct mb_watch *watch, uint64_t generation);

#endif
