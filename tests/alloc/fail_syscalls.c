/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LD_PRELOAD: system calls that the kernel may let fail do so, by chance. All callers are meant,
 * the client libraries too.
 *
 *   sockets            reads and writes: EINTR, EAGAIN (where they do not block), fewer bytes
 *   poll, ppoll, epoll_wait                EINTR
 *   connect                                ECONNREFUSED, ENETUNREACH
 *   socket, accept, open, eventfd, timerfd, epoll_create, pipe   EMFILE
 *
 *   MBRIDGE_FAIL_SEED=n        calls draw by their number: one thread repeats itself exactly
 *   MBRIDGE_FAIL_IO=permille   of reads, writes and polls
 *   MBRIDGE_FAIL_FILES=permille   of what makes a descriptor, and of connect
 *   MBRIDGE_FAIL_REPORT        a file: at the end "<calls> <failed>"
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic uint64_t calls;
static _Atomic uint64_t failed;
static uint64_t seed;
static uint64_t io_permille;
static uint64_t files_permille;
static _Atomic bool ready;

#define REAL(name)                                                                                 \
    static __typeof__(&name) real;                                                                 \
    if (real == NULL)                                                                              \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

static uint64_t draw(void)
{
    uint64_t x = seed + atomic_fetch_add(&calls, 1) * UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* 0: it does not fail. Else a number to choose by. */
static uint64_t strikes(uint64_t permille)
{
    uint64_t number;

    if (!atomic_load_explicit(&ready, memory_order_relaxed) || permille == 0)
        return 0;
    number = draw();
    if (number % 1000 >= permille)
        return 0;
    atomic_fetch_add(&failed, 1);
    return number / 1000 | 1;
}

static bool is_socket(int fd)
{
    struct stat about;

    return fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode);
}

static bool blocks(int fd, int flags)
{
    return (flags & MSG_DONTWAIT) == 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
}

/* true: the call fails with errno. false: it is done with *size bytes at most. */
static bool io_fails(int fd, int flags, size_t *size)
{
    uint64_t number = strikes(io_permille);

    if (number == 0 || (flags & MSG_PEEK) != 0 || !is_socket(fd))
        return false;
    number >>= 1;
    if (number % 4 == 0) {
        errno = EINTR;
        return true;
    }
    if (number % 4 == 1 && !blocks(fd, flags)) {
        errno = EAGAIN;
        return true;
    }
    if (size != NULL && *size > 1)
        *size = 1 + number / 4 % (number % 4 == 2 ? *size : *size < 8 ? *size : 8);
    return false;
}

static bool no_descriptor(void)
{
    if (strikes(files_permille) == 0)
        return false;
    errno = EMFILE;
    return true;
}

static bool interrupted(void)
{
    if (strikes(io_permille) == 0)
        return false;
    errno = EINTR;
    return true;
}

/* ---- reads and writes ---- */

ssize_t read(int fd, void *data, size_t size)
{
    REAL(read);
    return io_fails(fd, 0, &size) ? -1 : real(fd, data, size);
}

ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
ssize_t __read_chk(int fd, void *data, size_t size, size_t room)
{
    REAL(__read_chk);
    return io_fails(fd, 0, &size) ? -1 : real(fd, data, size, room);
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write);
    return io_fails(fd, 0, &size) ? -1 : real(fd, data, size);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    REAL(send);
    return io_fails(fd, flags, &size) ? -1 : real(fd, data, size, flags);
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
    REAL(recv);
    return io_fails(fd, flags, &size) ? -1 : real(fd, data, size, flags);
}

ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags);
ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags)
{
    REAL(__recv_chk);
    return io_fails(fd, flags, &size) ? -1 : real(fd, data, size, room, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct msghdr cut = *message;
    struct iovec first;
    size_t size = cut.msg_iovlen > 0 ? cut.msg_iov[0].iov_len : 0;
    size_t whole = size;

    REAL(sendmsg);
    if (io_fails(fd, flags, &size))
        return -1;
    if (size < whole) {
        first = (struct iovec){cut.msg_iov[0].iov_base, size};
        cut.msg_iov = &first;
        cut.msg_iovlen = 1;
    }
    return real(fd, &cut, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    REAL(recvmsg);
    return io_fails(fd, flags, NULL) ? -1 : real(fd, message, flags);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    size_t size = count > 0 ? parts[0].iov_len : 0;
    size_t whole = size;

    REAL(writev);
    if (io_fails(fd, 0, &size))
        return -1;
    if (size < whole)
        return write(fd, parts[0].iov_base, size);
    return real(fd, parts, count);
}

/* ---- waiting ---- */

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    REAL(poll);
    return interrupted() ? -1 : real(fds, count, timeout_ms);
}

int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t room);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t room)
{
    REAL(__poll_chk);
    return interrupted() ? -1 : real(fds, count, timeout_ms, room);
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    REAL(ppoll);
    return interrupted() ? -1 : real(fds, count, timeout, mask);
}

int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask, size_t room)
{
    REAL(__ppoll_chk);
    return interrupted() ? -1 : real(fds, count, timeout, mask, room);
}

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout_ms)
{
    REAL(epoll_wait);
    return interrupted() ? -1 : real(fd, events, count, timeout_ms);
}

/* ---- descriptors ---- */

int connect(int fd, const struct sockaddr *address, socklen_t size)
{
    uint64_t number = strikes(files_permille);

    REAL(connect);
    if (number == 0)
        return real(fd, address, size);
    errno = (number & 2) != 0 ? ECONNREFUSED : ENETUNREACH;
    return -1;
}

int socket(int domain, int type, int protocol)
{
    REAL(socket);
    return no_descriptor() ? -1 : real(domain, type, protocol);
}

int accept(int fd, struct sockaddr *address, socklen_t *size)
{
    REAL(accept);
    return no_descriptor() ? -1 : real(fd, address, size);
}

int eventfd(unsigned count, int flags)
{
    REAL(eventfd);
    return no_descriptor() ? -1 : real(count, flags);
}

int timerfd_create(int clock, int flags)
{
    REAL(timerfd_create);
    return no_descriptor() ? -1 : real(clock, flags);
}

int epoll_create1(int flags)
{
    REAL(epoll_create1);
    return no_descriptor() ? -1 : real(flags);
}

int open(const char *path, int flags, ...)
{
    va_list more;
    mode_t mode;

    REAL(open);
    va_start(more, flags);
    mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? (mode_t)va_arg(more, int) : 0;
    va_end(more);
    return no_descriptor() ? -1 : real(path, flags, mode);
}

int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
    REAL(__open_2);
    return no_descriptor() ? -1 : real(path, flags);
}

FILE *fopen(const char *path, const char *mode)
{
    REAL(fopen);
    return no_descriptor() ? NULL : real(path, mode);
}

/* ---- begin and end ---- */

static uint64_t number_of(const char *name)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void)
{
    seed = number_of("MBRIDGE_FAIL_SEED") * UINT64_C(0x2545f4914f6cdd1d);
    io_permille = number_of("MBRIDGE_FAIL_IO");
    files_permille = number_of("MBRIDGE_FAIL_FILES");
    atomic_store(&ready, true);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("MBRIDGE_FAIL_REPORT");
    char text[64];
    int size;
    int fd;

    atomic_store(&ready, false);
    if (path == NULL || (fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
        return;
    size = snprintf(text, sizeof text, "%llu %llu\n", (unsigned long long)calls,
                    (unsigned long long)failed);
    if (size > 0 && write(fd, text, (size_t)size) < 0) {
        /* The test misses the report. */
    }
    close(fd);
}
