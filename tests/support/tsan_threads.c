/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads, mutexes and conditions of C11 by those of POSIX. librdkafka uses the former, which
 * ThreadSanitizer does not know: a thread of it would not be registered, and crash in its first
 * malloc; and what its mutexes order would look like races. Linked into every program that is built
 * with ThreadSanitizer, so that it is found before the C library's own.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

#define SHOWN __attribute__((visibility("default")))

_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "a mutex of POSIX has no room");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "a condition of POSIX has no room");

struct start {
    thrd_start_t run;
    void *context;
};

static int status_of(int error)
{
    switch (error) {
    case 0:
        return thrd_success;
    case EBUSY:
        return thrd_busy;
    case ETIMEDOUT:
        return thrd_timedout;
    case ENOMEM:
    case EAGAIN:
        return thrd_nomem;
    default:
        return thrd_error;
    }
}

static void *begin(void *context)
{
    struct start start = *(struct start *)context;

    free(context);
    return (void *)(intptr_t)start.run(start.context);
}

SHOWN int thrd_create(thrd_t *thread, thrd_start_t run, void *context)
{
    struct start *start = malloc(sizeof *start);
    int status;

    if (start == NULL)
        return thrd_nomem;
    *start = (struct start){run, context};
    status = status_of(pthread_create(thread, NULL, begin, start));
    if (status != thrd_success)
        free(start);
    return status;
}

SHOWN int thrd_join(thrd_t thread, int *result)
{
    void *returned = NULL;
    int status = status_of(pthread_join(thread, &returned));

    if (result != NULL)
        *result = (int)(intptr_t)returned;
    return status;
}

SHOWN int thrd_detach(thrd_t thread)
{
    return status_of(pthread_detach(thread));
}

SHOWN void thrd_exit(int result)
{
    pthread_exit((void *)(intptr_t)result);
}

SHOWN int mtx_init(mtx_t *mutex, int type)
{
    bool recursive = (type & mtx_recursive) != 0;
    pthread_mutexattr_t attributes;
    int status;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes,
                              recursive ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_NORMAL);
    status = status_of(pthread_mutex_init((pthread_mutex_t *)mutex, &attributes));
    pthread_mutexattr_destroy(&attributes);
    return status;
}

SHOWN int mtx_lock(mtx_t *mutex)
{
    return status_of(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

SHOWN int mtx_trylock(mtx_t *mutex)
{
    return status_of(pthread_mutex_trylock((pthread_mutex_t *)mutex));
}

SHOWN int mtx_timedlock(mtx_t *mutex, const struct timespec *until)
{
    return status_of(pthread_mutex_timedlock((pthread_mutex_t *)mutex, until));
}

SHOWN int mtx_unlock(mtx_t *mutex)
{
    return status_of(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

SHOWN void mtx_destroy(mtx_t *mutex)
{
    pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

SHOWN int cnd_init(cnd_t *condition)
{
    return status_of(pthread_cond_init((pthread_cond_t *)condition, NULL));
}

SHOWN int cnd_signal(cnd_t *condition)
{
    return status_of(pthread_cond_signal((pthread_cond_t *)condition));
}

SHOWN int cnd_broadcast(cnd_t *condition)
{
    return status_of(pthread_cond_broadcast((pthread_cond_t *)condition));
}

SHOWN int cnd_wait(cnd_t *condition, mtx_t *mutex)
{
    return status_of(pthread_cond_wait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex));
}

SHOWN int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until)
{
    return status_of(
        pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until));
}

SHOWN void cnd_destroy(cnd_t *condition)
{
    pthread_cond_destroy((pthread_cond_t *)condition);
}
