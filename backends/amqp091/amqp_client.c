/* SPDX-License-Identifier: Apache-2.0 */
/* Input and output of a connection that is logged in. Nothing here blocks but call and close. */
#include "amqp.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#define DRY_LOOKS_MAX 4u

/* How much one read takes at most before the others in the lane have their turn. */
#define READ_SIZE_MAX (256u * 1024u)

static int64_t now_ms(const struct amqp_client *client)
{
    return client->host->monotonic_ms(client->host->context);
}

void amqp_text_of(char *buffer, size_t size, struct mb_slice text)
{
    const unsigned char *at = text.data;
    size_t length = 0;

    while (length + 1 < size && length < text.size) {
        buffer[length] = at[length] >= ' ' && at[length] != 0x7f ? (char)at[length] : '.';
        length++;
    }
    buffer[length] = '\0';
}

enum mb_status amqp_client_fail(struct amqp_client *client, struct mb_error *err,
                                const char *reason, const char *text)
{
    client->broken = true;
    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, reason, "%s: %s", client->name,
                        text);
}

enum mb_status amqp_client_write(struct amqp_client *client, struct mb_error *err)
{
    while (client->out_start < client->out_end) {
        size_t sent = 0;

        switch (amqp_transmit(client, client->out + client->out_start,
                              client->out_end - client->out_start, &sent, err)) {
        case AMQP_TRANSFER_DONE:
            client->out_start += sent;
            client->sent_ms = now_ms(client);
            client->rests = false;
            break;
        case AMQP_TRANSFER_WAIT:
            return MB_AGAIN;
        case AMQP_TRANSFER_FAILED:
            return MB_DISCONNECTED;
        }
    }
    client->out_start = 0;
    client->out_end = 0;
    client->wants_write = false;
    return MB_OK;
}

enum mb_status amqp_client_read(struct amqp_client *client, struct mb_error *err)
{
    size_t total = 0;

    for (;;) {
        size_t size;
        size_t got = 0;
        unsigned char *room = amqp_reader_room(&client->reader, &size);

        if (size == 0 || total >= READ_SIZE_MAX) {
            client->unread = true;
            break;
        }
        switch (amqp_receive(client, room, size, &got, err)) {
        case AMQP_TRANSFER_DONE:
            amqp_reader_filled(&client->reader, got);
            total += got;
            /* Less than there was room for: the socket is empty. Not so with TLS records. */
            if (got == size || client->ssl != NULL)
                continue;
            client->unread = false;
            client->dry_looks = 1;
            break;
        case AMQP_TRANSFER_WAIT:
            client->unread = false;
            client->dry_looks = 1;
            break;
        case AMQP_TRANSFER_FAILED:
            /* What came before the end is handed out first; the next read finds the end again. */
            if (total > 0)
                client->broken = false;
            else
                return MB_DISCONNECTED;
            break;
        }
        break;
    }
    if (total == 0)
        return MB_AGAIN;
    client->received_ms = now_ms(client);
    amqp_pace_note(client, total, client->received_ms);
    return MB_OK;
}

enum mb_status amqp_client_look(struct amqp_client *client, struct mb_error *err)
{
    if (client->dry_looks > 0 && client->dry_looks++ < DRY_LOOKS_MAX)
        return MB_AGAIN;
    client->dry_looks = 0;
    return amqp_client_read(client, err);
}

struct amqp_writer amqp_client_writer(struct amqp_client *client)
{
    struct amqp_writer writer;

    if (client->out_start > 0 &&
        client->out_capacity - client->out_end < client->out_capacity / 2) {
        memmove(client->out, client->out + client->out_start, client->out_end - client->out_start);
        client->out_end -= client->out_start;
        client->out_start = 0;
    }
    writer.at = client->out + client->out_end;
    writer.end = client->out + client->out_capacity;
    writer.full = false;
    return writer;
}

bool amqp_client_commit(struct amqp_client *client, const struct amqp_writer *writer)
{
    if (writer->full)
        return false;
    client->out_end = (size_t)(writer->at - client->out);
    return true;
}

void amqp_pages_forget(void *memory, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)memory + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)memory + size) / page * page;

    if (to > from)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

/* The output is empty. */
static void rest(struct amqp_client *client)
{
    if (client->rests)
        return;
    client->rests = true;
    amqp_pages_forget(client->out, client->out_capacity);
    if (client->reader.start == client->reader.end)
        amqp_pages_forget(client->reader.data, client->reader.capacity);
    amqp_reader_trim(&client->reader);
}

enum mb_status amqp_client_service(struct amqp_client *client, struct mb_error *err)
{
    int64_t now = now_ms(client);
    enum mb_status status;

    amqp_tell_traffic(client);
    if (client->heartbeat_ms > 0) {
        /* Input that we left in the socket says nothing about the peer, and what came while the
         * lane was held up counts. */
        if (!client->unread && now - client->received_ms >= 2 * client->heartbeat_ms) {
            status = amqp_client_read(client, err);
            if (status == MB_DISCONNECTED)
                return status;
            if (status == MB_AGAIN && !client->unread)
                return amqp_client_fail(client, err, "heartbeat",
                                        "nothing came for two heartbeats: the broker is taken to "
                                        "be dead");
        }
        if (now - client->sent_ms >= client->heartbeat_ms / 2 &&
            client->out_start == client->out_end) {
            struct amqp_writer writer;

            rest(client);
            writer = amqp_client_writer(client);
            amqp_frame_heartbeat(&writer);
            amqp_client_commit(client, &writer);
            status = amqp_client_write(client, err);
            client->rests = true;
            return status == MB_AGAIN ? MB_OK : status;
        }
    }
    if (client->out_start == client->out_end)
        return MB_OK;
    status = amqp_client_write(client, err);
    return status == MB_AGAIN ? MB_OK : status;
}

void amqp_client_fds(struct amqp_client *client, struct mb_wait *wait)
{
    client->dry_looks = 0;
    if (wait->count < MB_WAIT_FDS_MAX) {
        uint32_t at = wait->count++;

        wait->fds[at].fd = client->fd;
        wait->fds[at].events =
            (int16_t)((client->unread ? 0 : POLLIN) | (client->wants_write ? POLLOUT : 0));
        wait->fds[at].revents = 0;
    }
    if (client->heartbeat_ms > 0) {
        int64_t dead_ms = client->received_ms + 2 * client->heartbeat_ms;
        int64_t deadline = INT64_MAX;

        /* Ours waits behind what cannot be written; the peer's counts while the socket is empty. */
        if (client->out_start == client->out_end)
            deadline = client->sent_ms + client->heartbeat_ms / 2;
        if (!client->unread && dead_ms < deadline)
            deadline = dead_ms;
        if (deadline < wait->deadline_ms)
            wait->deadline_ms = deadline;
    }
}

enum mb_status amqp_refusal(const struct amqp_client *client, uint32_t method,
                            struct mb_slice arguments, struct mb_error *err)
{
    struct amqp_cursor cursor = amqp_cursor_of(arguments);
    unsigned code = amqp_take_u16(&cursor);
    char text[AMQP_SHORTSTR_MAX + 1];
    const char *what = method == AMQP_CONNECTION_CLOSE ? "connection" : "channel";
    enum mb_status status = MB_DISCONNECTED;
    enum mb_cause cause = MB_CAUSE_DESTINATION;
    const char *reason = "closed";

    amqp_text_of(text, sizeof text, amqp_take_shortstr(&cursor));
    switch (code) {
    case 403:
        if (strstr(text, "exclusive use") != NULL) {
            mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "standby",
                         "%s: another consumer is active: standing by (%s)", client->name, text);
            err->retry_after_ms = 1000;
            return MB_DISCONNECTED;
        }
        status = MB_DENIED;
        reason = "forbidden";
        break;
    case 404:
        status = MB_NOT_FOUND;
        reason = "missing";
        break;
    case 405:
        reason = "locked";
        break;
    case 406:
        reason = strstr(text, "timed out") != NULL ? "ack-timeout" : "precondition";
        break;
    case 530:
        status = MB_DENIED;
        reason = "not-allowed";
        break;
    default:
        cause = MB_CAUSE_CONNECTION;
        break;
    }
    return mb_error_set(err, status, cause, reason, "%s: the broker closed the %s: %u %s",
                        client->name, what, code, text);
}

void amqp_client_tell_blocked(struct amqp_client *client)
{
    struct mb_error err;
    struct mb_event event;

    if (client->blocked == client->was_blocked)
        return;
    client->was_blocked = client->blocked;
    memset(&event, 0, sizeof event);
    event.struct_size = sizeof event;
    event.partition = -1;
    event.kind = client->blocked ? MB_EVENT_BLOCKED : MB_EVENT_UP;
    if (client->blocked) {
        mb_error_clear(&err);
        mb_error_set(&err, MB_AGAIN, MB_CAUSE_DESTINATION, "blocked",
                     "%s: the broker asks to stop sending (%s)", client->name,
                     client->blocked_reason);
        event.error = &err;
    }
    client->host->event(client->host->context, &event);
}

enum mb_status amqp_client_method(struct amqp_client *client, const struct amqp_event *event,
                                  struct mb_error *err)
{
    struct amqp_cursor cursor;

    switch (event->method) {
    case AMQP_CONNECTION_BLOCK:
        cursor = amqp_cursor_of(event->arguments);
        client->blocked = true;
        amqp_text_of(client->blocked_reason, sizeof client->blocked_reason,
                     amqp_take_shortstr(&cursor));
        return MB_OK;
    case AMQP_CONNECTION_UNBLOCK:
        client->blocked = false;
        return MB_OK;
    case AMQP_CONNECTION_CLOSE:
        client->closed_by_peer = true;
        amqp_refusal(client, event->method, event->arguments, err);
        break;
    case AMQP_CHANNEL_CLOSE:
        client->channel_closed = true;
        amqp_refusal(client, event->method, event->arguments, err);
        break;
    default:
        return MB_OK;
    }
    err->status = MB_DISCONNECTED;
    return MB_DISCONNECTED;
}

/* Waits for input (and room for output, if some waits) up to the deadline. */
static enum mb_status await(struct amqp_client *client, int64_t deadline_ms, struct mb_error *err)
{
    struct pollfd entry = {client->fd, POLLIN, 0};
    int64_t left = deadline_ms - now_ms(client);

    amqp_pace_end(client);
    if (left <= 0)
        return mb_error_set(err, MB_TIMEOUT, MB_CAUSE_CONNECTION, "timeout",
                            "%s: the broker did not answer in time", client->name);
    if (client->wants_write)
        entry.events |= POLLOUT;
    if (poll(&entry, 1, left > 1000 ? 1000 : (int)left) < 0 && errno != EINTR)
        return amqp_client_fail(client, err, "closed", strerror(errno));
    return MB_OK;
}

/* The next event, waiting for it; answers refusals of channels. */
static enum mb_status next_event(struct amqp_client *client, int64_t deadline_ms,
                                 struct amqp_event *event, struct mb_error *err)
{
    for (;;) {
        enum mb_status status = amqp_client_write(client, err);

        if (status != MB_OK && status != MB_AGAIN)
            return status;
        switch (amqp_reader_next(&client->reader, event)) {
        case AMQP_EVENT_METHOD:
        case AMQP_EVENT_CONTENT:
            return MB_OK;
        case AMQP_EVENT_BAD:
            return amqp_client_fail(client, err, "protocol", "the broker sent no AMQP 0-9-1");
        case AMQP_EVENT_NO_MEMORY:
            return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                                "%s: out of memory", client->name);
        case AMQP_EVENT_NONE:
            break;
        }
        status = amqp_client_read(client, err);
        if (status == MB_AGAIN)
            status = await(client, deadline_ms, err);
        if (status != MB_OK)
            return status;
    }
}

/* Copies a content behind the others; its slices point into the copy. */
bool amqp_client_put_aside(struct amqp_client *client, const struct amqp_event *event)
{
    size_t size = event->arguments.size + event->header.size + event->body.size;
    struct amqp_stashed *stashed =
        client->host->alloc(client->host->context, sizeof *stashed + size);
    struct mb_slice *slices[3];
    unsigned char *at;

    if (stashed == NULL)
        return false;
    stashed->next = NULL;
    stashed->event = *event;
    at = (unsigned char *)(stashed + 1);
    slices[0] = &stashed->event.arguments;
    slices[1] = &stashed->event.header;
    slices[2] = &stashed->event.body;
    for (int i = 0; i < 3; i++) {
        if (slices[i]->size > 0)
            memcpy(at, slices[i]->data, slices[i]->size);
        slices[i]->data = at;
        at += slices[i]->size;
    }
    if (client->stash_last != NULL)
        client->stash_last->next = stashed;
    else
        client->stash = stashed;
    client->stash_last = stashed;
    return true;
}

void amqp_client_forget(struct amqp_client *client)
{
    struct amqp_stashed *stashed = client->stash;

    if (stashed == NULL)
        return;
    client->stash = stashed->next;
    if (client->stash == NULL)
        client->stash_last = NULL;
    client->host->release(client->host->context, stashed);
}

enum amqp_event_kind amqp_client_next(struct amqp_client *client, struct amqp_event *ret_event)
{
    if (client->stash != NULL) {
        /* Its bytes stay until the caller forgets it. */
        *ret_event = client->stash->event;
        return ret_event->kind;
    }
    return amqp_reader_next(&client->reader, ret_event);
}

/* The channel is closed on both sides and may be opened again. */
static enum mb_status refused_channel(struct amqp_client *client, const struct amqp_event *event,
                                      struct mb_error *err)
{
    enum mb_status status = amqp_refusal(client, event->method, event->arguments, err);
    struct amqp_writer writer = amqp_client_writer(client);

    amqp_frame_simple(&writer, event->channel, AMQP_CHANNEL_CLOSED);
    amqp_client_commit(client, &writer);
    return status;
}

enum mb_status amqp_client_call(struct amqp_client *client, unsigned channel, uint32_t answer,
                                int64_t deadline_ms, struct mb_slice *ret_arguments,
                                struct mb_error *err)
{
    for (;;) {
        struct amqp_event event;
        enum mb_status status = next_event(client, deadline_ms, &event, err);

        if (status != MB_OK)
            return status;
        if (event.kind == AMQP_EVENT_METHOD && event.channel == channel && event.method == answer) {
            *ret_arguments = event.arguments;
            return MB_OK;
        }
        if (event.kind == AMQP_EVENT_CONTENT) {
            if (client->keeps_content && !amqp_client_put_aside(client, &event))
                return amqp_client_fail(client, err, "memory", "out of memory");
            continue;
        }
        if (event.method == AMQP_CHANNEL_CLOSE)
            return refused_channel(client, &event, err);
        status = amqp_client_method(client, &event, err);
        if (status != MB_OK)
            return status;
    }
}

enum mb_status amqp_client_request(struct amqp_client *client, const struct amqp_writer *writer,
                                   unsigned channel, uint32_t answer, int64_t deadline_ms,
                                   struct mb_error *err)
{
    struct mb_slice arguments;

    if (!amqp_client_commit(client, writer))
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                            "the names and arguments of a queue are too long");
    return amqp_client_call(client, channel, answer, deadline_ms, &arguments, err);
}

enum mb_status amqp_client_get(struct amqp_client *client, unsigned channel, int64_t deadline_ms,
                               struct amqp_event *ret_event, struct mb_error *err)
{
    for (;;) {
        enum mb_status status = next_event(client, deadline_ms, ret_event, err);

        if (status != MB_OK)
            return status;
        if (ret_event->kind == AMQP_EVENT_CONTENT) {
            if (ret_event->channel == channel && ret_event->method == AMQP_BASIC_GOT)
                return MB_OK;
            continue;
        }
        if (ret_event->method == AMQP_BASIC_GET_EMPTY)
            return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_NONE, "empty", "%s: an empty queue",
                                client->name);
        if (ret_event->method == AMQP_CHANNEL_CLOSE)
            return refused_channel(client, ret_event, err);
        status = amqp_client_method(client, ret_event, err);
        if (status != MB_OK)
            return status;
    }
}

/* Sends close on all channels, and when all have answered, on the connection. */
static void close_in_order(struct amqp_client *client, int64_t deadline_ms)
{
    struct amqp_writer writer = amqp_client_writer(client);
    uint32_t open = client->channel_closed ? 0 : client->channels;
    struct mb_error err;

    mb_error_clear(&err);
    for (uint32_t channel = 1; channel <= open; channel++)
        amqp_frame_close(&writer, channel, AMQP_CHANNEL_CLOSE);
    if (open == 0)
        amqp_frame_close(&writer, 0, AMQP_CONNECTION_CLOSE);
    if (!amqp_client_commit(client, &writer))
        return;
    for (;;) {
        struct amqp_event event;

        if (next_event(client, deadline_ms, &event, &err) != MB_OK ||
            event.method == AMQP_CONNECTION_CLOSED || event.method == AMQP_CONNECTION_CLOSE)
            return;
        if ((event.method != AMQP_CHANNEL_CLOSED && event.method != AMQP_CHANNEL_CLOSE) ||
            open == 0 || --open > 0)
            continue;
        writer = amqp_client_writer(client);
        amqp_frame_close(&writer, 0, AMQP_CONNECTION_CLOSE);
        if (!amqp_client_commit(client, &writer))
            return;
    }
}

void amqp_client_shut(struct amqp_client *client, uint32_t wait_ms)
{
    struct mb_error err;

    if (client->broken)
        return;
    mb_error_clear(&err);
    if (client->closed_by_peer) {
        struct amqp_writer writer = amqp_client_writer(client);

        amqp_frame_simple(&writer, 0, AMQP_CONNECTION_CLOSED);
        if (amqp_client_commit(client, &writer))
            amqp_client_write(client, &err);
        return;
    }
    close_in_order(client, now_ms(client) + wait_ms);
}
