/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LD_PRELOAD: the wall clock of a process is set, as often as its owner likes, while the clocks of
 * all others stay. The monotonic clock never moves.
 *
 *   MBRIDGE_CLOCK_FILE     a file of 8 bytes, the milliseconds that the clock is ahead (signed, in
 *                          the machine's order); what is written to it counts at once
 *   MBRIDGE_CLOCK_REPORT   a file: at the end "<times the clock was read while it was wrong> <waits
 *                          for a time of the day meanwhile>"
 *
 * A wait until a time of the day ends when that clock says so, as with a real one that is set: soon
 * where it is set ahead, an hour late where it is set back. To see that the kernel is asked for
 * slices, each of which ends as a wait may end for no reason.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS    50000000
#define SECOND_NS   1000000000
#define WALL_FROM_S 1000000000 /* a deadline before it is one of the monotonic clock */

static const _Atomic int64_t *shift; /* NULL: the clock is right */
static _Atomic uint64_t reads;
static _Atomic uint64_t waits;

#define REAL(name)                                                                                 \
    static __typeof__(&name) real;                                                                 \
    if (real == NULL)                                                                              \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

static int64_t shift_ms(void)
{
    return shift != NULL ? atomic_load_explicit(shift, memory_order_relaxed) : 0;
}

static struct timespec moved(struct timespec at, int64_t ms)
{
    at.tv_sec += ms / 1000;
    at.tv_nsec += (ms % 1000) * 1000000;
    if (at.tv_nsec < 0) {
        at.tv_sec--;
        at.tv_nsec += SECOND_NS;
    } else if (at.tv_nsec >= SECOND_NS) {
        at.tv_sec++;
        at.tv_nsec -= SECOND_NS;
    }
    return at;
}

static bool is_wall(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

static int64_t read_shift(void)
{
    int64_t ms = shift_ms();

    if (ms != 0)
        atomic_fetch_add_explicit(&reads, 1, memory_order_relaxed);
    return ms;
}

/* ---- reading the clock ---- */

int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    int result;

    REAL(clock_gettime);
    result = real(clock, ret_now);
    if (result == 0 && is_wall(clock))
        *ret_now = moved(*ret_now, read_shift());
    return result;
}

int gettimeofday(struct timeval *restrict ret_now, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *ret_now = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *ret_now)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (ret_now != NULL)
        *ret_now = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *ret_now, int base)
{
    if (base != TIME_UTC)
        return 0;
    clock_gettime(CLOCK_REALTIME, ret_now);
    return base;
}

/* ---- waiting for a time of the day ---- */

static bool is_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* What the kernel's clock is asked to wait for. false: for the whole of it. */
static bool sliced(const struct timespec *until, struct timespec *ret_slice)
{
    int64_t ms = shift_ms();
    struct timespec now;

    *ret_slice = *until;
    if (shift == NULL || until->tv_sec < WALL_FROM_S)
        return false;
    if (ms != 0)
        atomic_fetch_add_explicit(&waits, 1, memory_order_relaxed);
    clock_gettime(CLOCK_REALTIME, &now);
    *ret_slice = moved(*until, -ms);
    now = moved(moved(now, -ms), SLICE_NS / 1000000);
    if (!is_before(&now, ret_slice))
        return false;
    *ret_slice = now;
    return true;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    struct timespec slice;
    bool is_part = sliced(until, &slice);
    int result;

    REAL(pthread_cond_timedwait);
    result = real(condition, mutex, &slice);
    return result == ETIMEDOUT && is_part ? 0 : result;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                  const struct timespec *restrict until)
{
    struct timespec slice;
    bool is_part = sliced(until, &slice);
    int result;

    REAL(cnd_timedwait);
    result = real(condition, mutex, &slice);
    return result == thrd_timedout && is_part ? thrd_success : result;
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    struct timespec slice;
    bool is_part;
    int result;

    REAL(sem_timedwait);
    do {
        is_part = sliced(until, &slice);
        result = real(semaphore, &slice);
    } while (result != 0 && errno == ETIMEDOUT && is_part);
    return result;
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until)
{
    struct timespec slice;
    bool is_part;
    int result;

    REAL(pthread_mutex_timedlock);
    do {
        is_part = sliced(until, &slice);
        result = real(mutex, &slice);
    } while (result == ETIMEDOUT && is_part);
    return result;
}

/* ---- begin and end ---- */

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("MBRIDGE_CLOCK_FILE");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped;

    if (fd < 0)
        return;
    mapped = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        shift = mapped;
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("MBRIDGE_CLOCK_REPORT");
    char text[64];
    int size;
    int fd;

    if (path == NULL || (fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
        return;
    size = snprintf(text, sizeof text, "%llu %llu\n", (unsigned long long)reads,
                    (unsigned long long)waits);
    if (size > 0 && write(fd, text, (size_t)size) < 0) {
        /* The test misses the report. */
    }
    close(fd);
}
