/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/connector.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THREADS_LIMIT 64u

struct mb_mailbox {
    pthread_mutex_t mutex;
    struct mb_job *first;
    struct mb_job **last;
    int fd;
};

struct mb_connector {
    pthread_mutex_t mutex;
    pthread_cond_t wanted;
    struct mb_job *first;
    struct mb_job **last;
    unsigned waiting; /* jobs in the list */
    unsigned idle;
    unsigned threads_count;
    unsigned threads_max;
    bool closing;
    pthread_t threads[THREADS_LIMIT];
};

enum mb_status mb_mailbox_create(struct mb_mailbox **ret_mailbox)
{
    struct mb_mailbox *mailbox = calloc(1, sizeof *mailbox);

    if (mailbox == NULL)
        return MB_NO_MEMORY;
    mailbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (mailbox->fd < 0) {
        free(mailbox);
        return MB_FATAL;
    }
    pthread_mutex_init(&mailbox->mutex, NULL);
    mailbox->last = &mailbox->first;
    *ret_mailbox = mailbox;
    return MB_OK;
}

void mb_mailbox_destroy(struct mb_mailbox *mailbox)
{
    if (mailbox == NULL)
        return;
    close(mailbox->fd);
    pthread_mutex_destroy(&mailbox->mutex);
    free(mailbox);
}

void mb_mailbox_post(struct mb_mailbox *mailbox, struct mb_job *job)
{
    uint64_t one = 1;

    job->next = NULL;
    pthread_mutex_lock(&mailbox->mutex);
    *mailbox->last = job;
    mailbox->last = &job->next;
    /* Inside the lock: once it is released the receiver may destroy the mailbox. */
    if (write(mailbox->fd, &one, sizeof one) < 0) {
        /* The counter is full: the descriptor is readable already. */
    }
    pthread_mutex_unlock(&mailbox->mutex);
}

int mb_mailbox_fd(const struct mb_mailbox *mailbox)
{
    return mailbox->fd;
}

bool mb_mailbox_drain(struct mb_mailbox *mailbox)
{
    struct mb_job *job;
    uint64_t count;

    pthread_mutex_lock(&mailbox->mutex);
    job = mailbox->first;
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    if (job != NULL && read(mailbox->fd, &count, sizeof count) < 0) {
        /* Nothing to read: the list was posted with a full counter. */
    }
    pthread_mutex_unlock(&mailbox->mutex);
    if (job == NULL)
        return false;
    while (job != NULL) {
        struct mb_job *next = job->next;
        struct mb_wake *wake = job->wake;

        job->done(job);
        if (wake != NULL && wake->call != NULL)
            wake->call(wake);
        job = next;
    }
    return true;
}

static void *connector_thread(void *argument)
{
    struct mb_connector *connector = argument;

    pthread_mutex_lock(&connector->mutex);
    for (;;) {
        struct mb_job *job = connector->first;

        if (job == NULL) {
            if (connector->closing)
                break;
            connector->idle++;
            pthread_cond_wait(&connector->wanted, &connector->mutex);
            connector->idle--;
            continue;
        }
        connector->first = job->next;
        if (connector->first == NULL)
            connector->last = &connector->first;
        connector->waiting--;
        pthread_mutex_unlock(&connector->mutex);
        job->run(job);
        mb_mailbox_post(job->mailbox, job);
        pthread_mutex_lock(&connector->mutex);
    }
    pthread_mutex_unlock(&connector->mutex);
    return NULL;
}

enum mb_status mb_connector_create(unsigned threads_max, struct mb_connector **ret_connector)
{
    struct mb_connector *connector = calloc(1, sizeof *connector);

    if (connector == NULL)
        return MB_NO_MEMORY;
    pthread_mutex_init(&connector->mutex, NULL);
    pthread_cond_init(&connector->wanted, NULL);
    connector->last = &connector->first;
    connector->threads_max = threads_max < THREADS_LIMIT ? threads_max : THREADS_LIMIT;
    *ret_connector = connector;
    return MB_OK;
}

void mb_connector_submit(struct mb_connector *connector, struct mb_job *job)
{
    bool run_here = false;

    job->next = NULL;
    if (connector->threads_max == 0) {
        job->run(job);
        mb_mailbox_post(job->mailbox, job);
        return;
    }
    pthread_mutex_lock(&connector->mutex);
    *connector->last = job;
    connector->last = &job->next;
    connector->waiting++;
    if (connector->waiting > connector->idle && connector->threads_count < connector->threads_max) {
        if (pthread_create(&connector->threads[connector->threads_count], NULL, connector_thread,
                           connector) == 0)
            connector->threads_count++;
        else
            run_here = connector->threads_count == 0;
    }
    if (run_here) { /* no thread is to be had at all: late is better than never */
        connector->first = NULL;
        connector->last = &connector->first;
        connector->waiting = 0;
    }
    pthread_cond_signal(&connector->wanted);
    pthread_mutex_unlock(&connector->mutex);
    if (run_here) {
        job->run(job);
        mb_mailbox_post(job->mailbox, job);
    }
}

void mb_connector_destroy(struct mb_connector *connector)
{
    if (connector == NULL)
        return;
    pthread_mutex_lock(&connector->mutex);
    connector->closing = true;
    pthread_cond_broadcast(&connector->wanted);
    pthread_mutex_unlock(&connector->mutex);
    for (unsigned i = 0; i < connector->threads_count; i++)
        pthread_join(connector->threads[i], NULL);
    pthread_cond_destroy(&connector->wanted);
    pthread_mutex_destroy(&connector->mutex);
    free(connector);
}
