/* SPDX-License-Identifier: Apache-2.0 */
/* The checked wrapper of a sink: the rules of sink.h at every call. */
#include "contract.h"

#include <poll.h>
#include <stdlib.h>

#define SEND_MAX        64u
#define COMPLETIONS_MAX 50u

enum { NOT_SENT = 0, TAKEN = 1, COMPLETED = 2 };

enum mb_status sink_open(struct tested_sink *sink, const struct options *options,
                         uint32_t window_messages)
{
    struct contract *contract = options->contract;
    struct mb_error err = {0};
    struct mb_open_params params = {
        .struct_size = sizeof params,
        .host = &sink->host.host,
        .endpoint = mb_applied_struct(options->endpoint),
        .options = mb_applied_struct(options->sink),
        .bridge_name = "contract",
        .route_name = "contract",
        .endpoint_name = "tested",
        .default_group = options->group,
        .window_messages = window_messages,
        .window_bytes = 16u << 20,
        .timeout_ms = contract->timeout_ms,
        .ordered = true,
        .effectively_once = options->effectively_once,
    };

    memset(sink, 0, sizeof *sink);
    sink->contract = contract;
    sink->ops = contract->backend->sink;
    sink->traits = options->sink_traits;
    sink->options = params.options;
    sink->effectively_once = options->effectively_once;
    test_host_init(&sink->host, &contract->check, "sink");
    sink->status = sink->ops->open(&params, &sink->sink, &err);
    check_error(&contract->check, "sink open", sink->status, &err);
    if (sink->status != MB_OK && sink->sink != NULL)
        check_fail(&contract->check, "sink open failed and left an instance");
    if (sink->status == MB_OK && sink->sink == NULL)
        check_fail(&contract->check, "sink open succeeded without an instance");
    if (sink->status != MB_OK && sink->host.allocated != 0)
        check_fail(&contract->check, "sink open failed and kept %ld allocations",
                   sink->host.allocated);
    return sink->status;
}

/* Names as the core renders them where templates are fixed. */
static void fill_names(const struct tested_sink *sink, struct mb_outgoing *item)
{
    const struct mb_option_table *table = &sink->contract->backend->sink_options;

    for (size_t i = 0; i < table->count; i++) {
        const struct mb_option *row = &table->rows[i];
        const char *text;

        if (row->type != MB_OPTION_TEMPLATE || row->slot >= MB_NAMES_MAX)
            continue;
        memcpy(&text, (const char *)sink->options + row->offset, sizeof text);
        item->names[row->slot] = (struct mb_slice){text, text != NULL ? strlen(text) : 0};
    }
}

static void note_status(struct tested_sink *sink, const char *operation, enum mb_status status,
                        const struct mb_error *err)
{
    sink->host.in_operation = false;
    sink->status = status;
    check_error(&sink->contract->check, operation, status, err);
    if (status != MB_OK && status != MB_AGAIN && !(sink->may_end && status == MB_DISCONNECTED))
        check_fail(&sink->contract->check, "%s failed: %s", operation, err->text);
}

static bool has_ended(const struct tested_sink *sink)
{
    return sink->may_end && sink->status == MB_DISCONNECTED;
}

size_t sink_send(struct tested_sink *sink, struct mb_message *const *messages, size_t count)
{
    struct check *check = &sink->contract->check;
    struct mb_outgoing items[SEND_MAX];
    struct mb_error err = {0};
    size_t taken = SIZE_MAX;
    enum mb_status status;

    if (count > SEND_MAX)
        count = SEND_MAX;
    memset(items, 0, sizeof items);
    for (size_t i = 0; i < count; i++) {
        items[i].sequence = sink->next + i;
        items[i].message = messages[i];
        fill_names(sink, &items[i]);
    }
    sink->host.in_operation = true;
    status = sink->ops->send(sink->sink, items, count, &taken, &err);
    note_status(sink, "send", status, &err);
    if (taken > count) {
        check_fail(check, "send took %zu of %zu messages", taken, count);
        taken = 0;
    }
    if (status == MB_OK && taken < count)
        check_fail(check, "send took %zu of %zu messages and did not say AGAIN", taken, count);
    for (size_t i = 0; i < taken && sink->next < SEQUENCES_MAX; i++) {
        sink->state[sink->next++] = TAKEN;
        sink->outstanding++;
    }
    /* The array is the caller's: what was taken must not depend on it. */
    memset(items, 0, sizeof items);
    return taken;
}

static void check_completion(struct tested_sink *sink, const struct mb_completion *completion)
{
    struct check *check = &sink->contract->check;
    uint64_t sequence = completion->sequence;

    if (sequence >= SEQUENCES_MAX || sink->state[sequence] == NOT_SENT) {
        check_fail(check, "a completion of sequence %llu, which was never taken",
                   (unsigned long long)sequence);
        return;
    }
    if (sink->state[sequence] == COMPLETED) {
        check_fail(check, "sequence %llu was completed twice", (unsigned long long)sequence);
        return;
    }
    sink->state[sequence] = COMPLETED;
    sink->outstanding--;
    sink->last_cause = completion->cause;
    if (completion->cause == MB_CAUSE_NONE) {
        sink->confirmed++;
        if ((sink->traits & MB_SINK_TELLS_POSITION) != 0 && !sink->in_transaction &&
            !sink->effectively_once && completion->position.kind == MB_POSITION_NONE)
            check_fail(check, "sequence %llu was confirmed without its position",
                       (unsigned long long)sequence);
        return;
    }
    sink->failed++;
    if (completion->cause > MB_CAUSE_CONNECTION)
        check_fail(check, "a completion has the unknown cause %u", completion->cause);
    if (completion->reason == NULL || completion->reason[0] == '\0' || completion->text == NULL ||
        completion->text[0] == '\0')
        check_fail(check, "a failed completion has no reason or text");
}

void sink_collect(struct tested_sink *sink)
{
    struct mb_completion completions[COMPLETIONS_MAX];
    struct mb_error err = {0};
    enum mb_status status;
    size_t count;

    sink->host.in_operation = true;
    note_status(sink, "service", sink->ops->service(sink->sink, &err), &err);
    do {
        memset(completions, 0, sizeof completions);
        count = SIZE_MAX;
        sink->host.in_operation = true;
        status = sink->ops->completions(sink->sink, completions, COMPLETIONS_MAX, &count, &err);
        note_status(sink, "completions", status, &err);
        if (count > COMPLETIONS_MAX) {
            check_fail(&sink->contract->check, "completions gave %zu results where %u were allowed",
                       count, COMPLETIONS_MAX);
            return;
        }
        for (size_t i = 0; i < count; i++)
            check_completion(sink, &completions[i]);
    } while (count == COMPLETIONS_MAX && !has_ended(sink));
}

void sink_wait(struct tested_sink *sink, uint32_t wait_ms)
{
    struct mb_wait wait = {.struct_size = sizeof wait, .deadline_ms = INT64_MAX};
    struct pollfd fds[MB_WAIT_FDS_MAX];
    int64_t timeout_ms;

    sink->ops->fds(sink->sink, &wait);
    if (wait.count > MB_WAIT_FDS_MAX) {
        check_fail(&sink->contract->check, "fds gave %u descriptors", wait.count);
        return;
    }
    if (wait.ready)
        return;
    for (uint32_t i = 0; i < wait.count; i++)
        fds[i] = (struct pollfd){wait.fds[i].fd, wait.fds[i].events, 0};
    timeout_ms = wait.deadline_ms - test_now_ms();
    if (timeout_ms > (int64_t)wait_ms)
        timeout_ms = wait_ms;
    if (timeout_ms > 0)
        poll(fds, wait.count, (int)timeout_ms);
}

bool sink_settle(struct tested_sink *sink)
{
    int64_t until_ms = test_now_ms() + sink->contract->timeout_ms;
    struct mb_error err = {0};

    sink->host.in_operation = true;
    note_status(sink, "flush", sink->ops->flush(sink->sink, &err), &err);
    for (;;) {
        sink_collect(sink);
        if (has_ended(sink))
            return false;
        if (sink->outstanding == 0)
            return true;
        if (test_now_ms() >= until_ms)
            break;
        sink_wait(sink, 100);
    }
    check_fail(&sink->contract->check, "%llu messages never completed",
               (unsigned long long)sink->outstanding);
    return false;
}

bool sink_put(struct tested_sink *sink, uint64_t first, uint64_t count)
{
    struct mb_message **messages = calloc((size_t)count, sizeof(struct mb_message *));
    int64_t until_ms = test_now_ms() + sink->contract->timeout_ms;
    uint64_t done = 0;
    bool settled = false;

    if (messages == NULL)
        abort();
    for (uint64_t i = 0; i < count; i++) {
        messages[i] = message_create(first + i);
        messages[i]->origin = sink->origin;
        if (sink->origin != NULL)
            messages[i]->position = (struct mb_position){MB_POSITION_OFFSET, 0, 0, first + i};
    }
    while (done < count && !has_ended(sink) && test_now_ms() < until_ms) {
        size_t taken = sink_send(sink, messages + done, (size_t)(count - done));

        done += taken;
        sink_collect(sink);
        if (taken == 0)
            sink_wait(sink, 100);
    }
    if (has_ended(sink))
        settled = false;
    else if (done < count)
        check_fail(&sink->contract->check, "the sink took only %llu of %llu messages",
                   (unsigned long long)done, (unsigned long long)count);
    else
        settled = sink_settle(sink);
    /* What never completes may be used until close. */
    if (!settled) {
        sink->host.in_operation = true;
        sink->ops->close(sink->sink);
        sink->host.in_operation = false;
        sink->sink = NULL;
    }
    for (uint64_t i = 0; i < count; i++)
        message_destroy(messages[i]);
    free(messages);
    return settled;
}

void sink_close(struct tested_sink *sink)
{
    struct mb_error err = {0};

    /* What completed must not complete again. */
    if (sink->sink != NULL && sink->outstanding == 0) {
        sink->host.in_operation = true;
        note_status(sink, "flush", sink->ops->flush(sink->sink, &err), &err);
        sink_collect(sink);
    }
    sink->host.in_operation = true;
    sink->ops->close(sink->sink);
    sink->host.in_operation = false;
    sink->host.closed = true;
    sink->sink = NULL;
    if (sink->host.allocated != 0)
        check_fail(&sink->contract->check, "the sink kept %ld allocations after close",
                   sink->host.allocated);
}
