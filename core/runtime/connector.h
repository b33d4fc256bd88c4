/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs that may block (opening and closing connections, asking brokers) run on the threads of the
 * connector; their results come back to the worker that wants them, through its mailbox.
 */
#ifndef MBRIDGE_CORE_CONNECTOR_H
#define MBRIDGE_CORE_CONNECTOR_H

#include <mbridge/status.h>
#include <stdbool.h>

struct mb_mailbox;
struct mb_connector;

/* Part of what wants to be stepped when there is news for it; call NULL: it is stepped anyway. */
struct mb_wake {
    void (*call)(struct mb_wake *wake);
};

/* Embedded in what it is about. From submit until done has been called it belongs to the connector
 * and must stay where it is. */
struct mb_job {
    void (*run)(struct mb_job *job);  /* on a connector thread; may be NULL in a posted job */
    void (*done)(struct mb_job *job); /* on the thread that empties the mailbox */
    struct mb_mailbox *mailbox;
    struct mb_wake *wake; /* called after done, on its thread; NULL: nobody is */
    struct mb_job *next;
};

/* threads_max 0: jobs run inside submit, for tests whose schedule is their own. */
enum mb_status mb_connector_create(unsigned threads_max, struct mb_connector **ret_connector);

/* Runs the job as soon as a thread is free, then posts it to job->mailbox. */
void mb_connector_submit(struct mb_connector *connector, struct mb_job *job);

/* Finishes what was submitted and joins the threads. NULL allowed. */
void mb_connector_destroy(struct mb_connector *connector);

enum mb_status mb_mailbox_create(struct mb_mailbox **ret_mailbox);
void mb_mailbox_destroy(struct mb_mailbox *mailbox); /* must be empty; NULL allowed */

/* Any thread. */
void mb_mailbox_post(struct mb_mailbox *mailbox, struct mb_job *job);

/* Readable when something was posted. */
int mb_mailbox_fd(const struct mb_mailbox *mailbox);

/* Calls done of everything posted. Returns whether there was anything. One thread. */
bool mb_mailbox_drain(struct mb_mailbox *mailbox);

#endif
