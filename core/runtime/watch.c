/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/watch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT, "events of poll are those of epoll");

void mb_watch_init(struct mb_watch *watch, int outer_fd, void *owner)
{
    *watch = (struct mb_watch){.outer_fd = outer_fd, .owner = owner, .fd = -1};
}

static void forget(struct mb_watch *watch)
{
    if (watch->fd >= 0)
        close(watch->fd);
    watch->fd = -1;
    watch->known_count = 0;
}

void mb_watch_release(struct mb_watch *watch)
{
    forget(watch);
    free(watch->known);
    free(watch->wanted);
    mb_watch_init(watch, -1, NULL);
}

void mb_watch_begin(struct mb_watch *watch)
{
    watch->wanted_count = 0;
    watch->failed = false;
}

static struct mb_watched *find(struct mb_watched *list, size_t count, int fd)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].fd == fd)
            return &list[i];
    }
    return NULL;
}

static bool grow(struct mb_watch *watch)
{
    size_t capacity = watch->capacity == 0 ? 4 : watch->capacity * 2;
    struct mb_watched *known = realloc(watch->known, capacity * sizeof *known);
    struct mb_watched *wanted;

    if (known == NULL)
        return false;
    watch->known = known;
    wanted = realloc(watch->wanted, capacity * sizeof *wanted);
    if (wanted == NULL)
        return false;
    watch->wanted = wanted;
    watch->capacity = capacity;
    return true;
}

void mb_watch_add(void *context, int fd, int16_t events)
{
    struct mb_watch *watch = context;
    struct mb_watched *same = find(watch->wanted, watch->wanted_count, fd);

    if (same != NULL) {
        same->events |= (uint16_t)events;
        return;
    }
    if (watch->wanted_count == watch->capacity && !grow(watch)) {
        watch->failed = true;
        return;
    }
    watch->wanted[watch->wanted_count++] = (struct mb_watched){fd, (uint16_t)events};
}

static bool open_inner(struct mb_watch *watch)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch->owner};

    watch->fd = epoll_create1(EPOLL_CLOEXEC);
    if (watch->fd >= 0 && epoll_ctl(watch->outer_fd, EPOLL_CTL_ADD, watch->fd, &event) == 0)
        return true;
    forget(watch);
    return false;
}

static bool tell(struct mb_watch *watch, int operation, const struct mb_watched *one)
{
    struct epoll_event event = {.events = one->events, .data.fd = one->fd};

    return epoll_ctl(watch->fd, operation, one->fd, &event) == 0;
}

/* Makes known what is wanted; known lists what the kernel has taken. */
static bool update(struct mb_watch *watch)
{
    size_t count = 0;
    bool all = true;

    for (size_t i = 0; i < watch->known_count; i++) {
        if (find(watch->wanted, watch->wanted_count, watch->known[i].fd) == NULL)
            (void)tell(watch, EPOLL_CTL_DEL, &watch->known[i]); /* or it is closed: as well */
    }
    for (size_t i = 0; i < watch->wanted_count; i++) {
        const struct mb_watched *one = &watch->wanted[i];
        const struct mb_watched *old = find(watch->known, watch->known_count, one->fd);
        bool told = old == NULL                  ? tell(watch, EPOLL_CTL_ADD, one)
                    : old->events != one->events ? tell(watch, EPOLL_CTL_MOD, one)
                                                 : true;

        all = all && told;
    }
    for (size_t i = 0; i < watch->wanted_count && all; i++)
        watch->known[count++] = watch->wanted[i];
    watch->known_count = count;
    return all;
}

bool mb_watch_end(struct mb_watch *watch, uint64_t generation)
{
    if (generation != watch->generation)
        forget(watch);
    watch->generation = generation;
    if (watch->wanted_count == watch->known_count &&
        (watch->known_count == 0 ||
         memcmp(watch->wanted, watch->known, watch->known_count * sizeof *watch->known) == 0))
        return !watch->failed;
    if (watch->fd < 0 && !open_inner(watch))
        return false;
    if (!update(watch)) {
        forget(watch); /* the next wait begins anew */
        return false;
    }
    return !watch->failed;
}
