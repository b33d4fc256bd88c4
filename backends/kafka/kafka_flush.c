/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that have nobody to linger for.
 *
 * The library ends its linger only while somebody waits in rd_kafka_flush: without a time that call
 * is over before the thread of the broker has looked, and with the shortest one, a millisecond, it
 * would hold up the lane. So a thread waits in it, from the first time that it is of use.
 */
#include "kafka_sink.h"

#include <pthread.h>
#include <stdlib.h>

#define FLUSH_MS    1
#define STACK_BYTES (256u * 1024)

struct kafka_flusher {
    rd_kafka_t *rk;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool wanted;
    bool ends;
};

static void *flusher_thread(void *context)
{
    struct kafka_flusher *flusher = context;

    pthread_mutex_lock(&flusher->mutex);
    while (!flusher->ends) {
        if (!flusher->wanted) {
            pthread_cond_wait(&flusher->changed, &flusher->mutex);
            continue;
        }
        flusher->wanted = false;
        pthread_mutex_unlock(&flusher->mutex);
        rd_kafka_flush(flusher->rk, FLUSH_MS);
        pthread_mutex_lock(&flusher->mutex);
    }
    pthread_mutex_unlock(&flusher->mutex);
    return NULL;
}

static struct kafka_flusher *flusher_create(struct mb_sink *sink)
{
    struct kafka_flusher *flusher = kafka_alloc(sink->host, sizeof *flusher);
    pthread_attr_t attributes;
    bool runs = false;

    if (flusher == NULL)
        return NULL;
    flusher->rk = sink->client.rk;
    pthread_mutex_init(&flusher->mutex, NULL);
    pthread_cond_init(&flusher->changed, NULL);
    if (pthread_attr_init(&attributes) == 0) {
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        runs = pthread_create(&flusher->thread, &attributes, flusher_thread, flusher) == 0;
        pthread_attr_destroy(&attributes);
    }
    if (runs)
        return flusher;
    pthread_cond_destroy(&flusher->changed);
    pthread_mutex_destroy(&flusher->mutex);
    kafka_free(sink->host, flusher);
    return NULL;
}

void kafka_flush_soon(struct mb_sink *sink)
{
    struct kafka_flusher *flusher = sink->flusher;

    if (flusher == NULL)
        flusher = sink->flusher = flusher_create(sink);
    if (flusher == NULL)
        return; /* no thread to be had: they linger */
    pthread_mutex_lock(&flusher->mutex);
    flusher->wanted = true;
    pthread_cond_signal(&flusher->changed);
    pthread_mutex_unlock(&flusher->mutex);
}

void kafka_flush_end(struct mb_sink *sink)
{
    struct kafka_flusher *flusher = sink->flusher;

    if (flusher == NULL)
        return;
    pthread_mutex_lock(&flusher->mutex);
    flusher->ends = true;
    pthread_cond_signal(&flusher->changed);
    pthread_mutex_unlock(&flusher->mutex);
    pthread_join(flusher->thread, NULL);
    pthread_cond_destroy(&flusher->changed);
    pthread_mutex_destroy(&flusher->mutex);
    kafka_free(sink->host, flusher);
    sink->flusher = NULL;
}
