/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AMQP 1.0 halves of a bridge: raw_amqp10 receive|send USER:PASSWORD@HOST:PORT ADDRESS COUNT
 * SIZE …  by proton's connection driver on a socket of our own.
 *
 * send: durable, unsettled, at most a window without its outcome, all accepted.
 * receive: first mode, each accepted and settled, credit topped up for many at once.
 */
#include "raw_amqp10.h"
#include "raw_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <proton/codec.h>
#include <proton/condition.h>
#include <proton/connection.h>
#include <proton/connection_driver.h>
#include <proton/delivery.h>
#include <proton/link.h>
#include <proton/sasl.h>
#include <proton/session.h>
#include <proton/terminus.h>
#include <proton/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CREDIT       2000
#define FRAME_SIZE   ((uint32_t)64 << 10)
#define OUTGOING_MAX ((size_t)256 << 10)
#define INCOMING_MAX ((size_t)64 << 20)

struct half {
    const struct raw_spec *spec;
    pn_connection_driver_t driver;
    int fd;
    pn_link_t *link;
    const struct amqp10_coder *coder;
    struct raw_meter *meter;
    uint64_t confirmed;
    bool is_open; /* the broker has answered the attach */
    bool is_closing;
    char *body;
    char *scratch; /* one encoded message, as it came */
};

static void fail(pn_condition_t *condition, const char *what)
{
    raw_die("%s: %s: %s", what,
            pn_condition_is_set(condition) ? pn_condition_get_name(condition) : "closed",
            pn_condition_is_set(condition) ? pn_condition_get_description(condition) : "");
}

/* ---- events ---- */

static void take_outcome(struct half *half, pn_delivery_t *delivery)
{
    if (!pn_delivery_updated(delivery))
        return;
    if (pn_delivery_remote_state(delivery) != PN_ACCEPTED)
        raw_die("an outcome other than accepted");
    pn_delivery_settle(delivery);
    half->confirmed++;
}

static void take_message(struct half *half, pn_delivery_t *delivery)
{
    size_t size = pn_delivery_pending(delivery);
    pn_bytes_t body;

    if (half->is_closing || !pn_delivery_readable(delivery) || pn_delivery_partial(delivery))
        return;
    if (size > AMQP10_MESSAGE_MAX)
        raw_die("a message of %zu bytes", size);
    if (pn_link_recv(half->link, half->scratch, size) != (ssize_t)size)
        raw_die("a message that cannot be read");
    body = half->coder->body(pn_bytes(size, half->scratch));
    raw_take(half->meter, half->spec, body.start, body.size);
    pn_delivery_update(delivery, PN_ACCEPTED);
    pn_delivery_settle(delivery);
}

static void handle(struct half *half, pn_event_t *event)
{
    switch ((int)pn_event_type(event)) {
    case PN_DELIVERY:
        (half->spec->is_sink ? take_outcome : take_message)(half, pn_event_delivery(event));
        break;
    case PN_LINK_REMOTE_OPEN:
        half->is_open = true;
        break;
    case PN_LINK_REMOTE_CLOSE:
    case PN_LINK_REMOTE_DETACH:
        if (!half->is_closing)
            fail(pn_link_remote_condition(half->link), "link");
        break;
    case PN_SESSION_REMOTE_CLOSE:
        if (!half->is_closing)
            fail(pn_session_remote_condition(pn_link_session(half->link)), "session");
        break;
    case PN_CONNECTION_REMOTE_CLOSE:
        fail(pn_connection_remote_condition(half->driver.connection), "connection");
        break;
    case PN_TRANSPORT_ERROR:
        fail(pn_transport_condition(half->driver.transport), "transport");
        break;
    default:
        break;
    }
}

static void handle_all(struct half *half)
{
    pn_event_t *event;

    while ((event = pn_connection_driver_next_event(&half->driver)) != NULL)
        handle(half, event);
}

/* ---- the socket ---- */

static bool receive_some(struct half *half)
{
    pn_rwbytes_t room = pn_connection_driver_read_buffer(&half->driver);
    ssize_t got = room.size > 0 ? recv(half->fd, room.start, room.size, 0) : -1;

    if (room.size > 0 && got == 0)
        raw_die("the broker closed the connection");
    if (got > 0)
        pn_connection_driver_read_done(&half->driver, (size_t)got);
    else if (room.size > 0 && errno != EAGAIN && errno != EINTR)
        raw_die("receive: %s", strerror(errno));
    return got > 0;
}

/* True when all is written. */
static bool write_some(struct half *half)
{
    for (;;) {
        pn_bytes_t data = pn_connection_driver_write_buffer(&half->driver);
        ssize_t sent;

        if (data.size == 0)
            return true;
        sent = send(half->fd, data.start, data.size, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        if (sent < 0)
            raw_die("send: %s", strerror(errno));
        pn_connection_driver_write_done(&half->driver, (size_t)sent);
    }
}

/* Writes, waits until the socket has something, or room, and reads. */
static void turn(struct half *half, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = half->fd, .events = POLLIN};

    handle_all(half);
    if (!write_some(half))
        poll_fd.events |= POLLOUT;
    if (poll(&poll_fd, 1, timeout_ms) > 0 && (poll_fd.revents & ~POLLOUT) != 0)
        receive_some(half);
    handle_all(half);
}

/* ---- opening ---- */

static void open_link(struct half *half, pn_session_t *session)
{
    const struct raw_spec *spec = half->spec;
    pn_terminus_t *far;

    half->link = spec->is_sink ? pn_sender(session, "raw") : pn_receiver(session, "raw");
    far = spec->is_sink ? pn_link_target(half->link) : pn_link_source(half->link);
    pn_terminus_set_address(far, spec->stream);
    pn_terminus_set_address(spec->is_sink ? pn_link_source(half->link) : pn_link_target(half->link),
                            "raw");
    if (spec->capability)
        pn_data_put_symbol(pn_terminus_capabilities(far), pn_bytes(5, "queue"));
    pn_link_set_snd_settle_mode(half->link, PN_SND_UNSETTLED);
    pn_link_set_rcv_settle_mode(half->link, PN_RCV_FIRST);
    pn_link_open(half->link);
}

static void connect_half(struct half *half)
{
    char login[128];
    char container[64];
    const char *place = strrchr(half->spec->address, '@');
    char *colon;
    pn_connection_t *connection;
    pn_session_t *session;

    snprintf(login, sizeof login, "%s", half->spec->address);
    if (place == NULL || (size_t)(place - half->spec->address) >= sizeof login ||
        (colon = strchr(login, ':')) == NULL)
        raw_die("'%s' is no USER:PASSWORD@HOST:PORT", half->spec->address);
    login[place - half->spec->address] = '\0';
    *colon = '\0';
    half->fd = raw_connect(place + 1);
    fcntl(half->fd, F_SETFL, fcntl(half->fd, F_GETFL) | O_NONBLOCK);
    if (pn_connection_driver_init(&half->driver, NULL, NULL) != 0)
        raw_die("no memory");
    connection = half->driver.connection;
    snprintf(container, sizeof container, "raw-%ld", (long)getpid());
    pn_connection_set_container(connection, container);
    pn_connection_set_hostname(connection, "127.0.0.1");
    pn_connection_set_user(connection, login);
    pn_connection_set_password(connection, colon + 1);
    pn_transport_set_max_frame(half->driver.transport, FRAME_SIZE);
    pn_sasl_set_allow_insecure_mechs(pn_sasl(half->driver.transport), true);
    pn_sasl_allowed_mechs(pn_sasl(half->driver.transport), "PLAIN");
    pn_connection_open(connection);
    session = pn_session(connection);
    pn_session_set_incoming_capacity(session, INCOMING_MAX);
    pn_session_open(session);
    open_link(half, session);
    for (double began_s = raw_now_s(); !half->is_open; turn(half, RAW_WAIT_MS))
        if (raw_now_s() - began_s > RAW_STALL_S)
            raw_die("no answer from %s", half->spec->address);
}

/* Ends the session first, and awaits its end: a broker may else give back what was accepted. */
static void end_session(struct half *half)
{
    pn_session_t *session = pn_link_session(half->link);
    double began_s = raw_now_s();

    half->is_closing = true;
    pn_session_close(session);
    while (!(pn_session_state(session) & PN_REMOTE_CLOSED) && raw_now_s() - began_s < 5) {
        write_some(half);
        turn(half, 100);
    }
}

/* ---- the ways ---- */

static void *open_half(const struct raw_spec *spec)
{
    static struct half half;

    half.spec = spec;
    half.coder = spec->is_bare ? &amqp10_bare : &amqp10_client;
    half.body = raw_body(spec);
    half.scratch = malloc(AMQP10_MESSAGE_MAX);
    if (half.scratch == NULL)
        raw_die("no memory");
    connect_half(&half);
    return &half;
}

static void close_half(void *state)
{
    struct half *half = (struct half *)state;

    end_session(half);
    pn_connection_driver_destroy(&half->driver);
    close(half->fd);
    free(half->scratch);
}

/* Credit alone would let everything be queued. */
static bool has_room(void *state)
{
    const struct half *half = (struct half *)state;

    return pn_link_credit(half->link) > 0 &&
           pn_session_outgoing_bytes(pn_link_session(half->link)) < OUTGOING_MAX;
}

static void put(void *state, uint64_t number)
{
    struct half *half = (struct half *)state;

    pn_delivery(half->link, pn_dtag((const char *)&number, sizeof number));
    half->coder->send(half->link, half->spec, half->body, number);
}

static void flush(void *state)
{
    struct half *half = (struct half *)state;

    handle_all(half);
    write_some(half);
}

static uint64_t confirm(void *state, int timeout_ms)
{
    struct half *half = (struct half *)state;
    uint64_t before = half->confirmed;

    turn(half, timeout_ms);
    return half->confirmed - before;
}

static void take(void *state, struct raw_meter *meter, int timeout_ms)
{
    struct half *half = (struct half *)state;
    int credit = half->spec->window > 0 ? (int)half->spec->window : CREDIT;

    half->meter = meter;
    if (pn_link_credit(half->link) <= credit / 2)
        pn_link_flow(half->link, credit - pn_link_credit(half->link));
    turn(half, timeout_ms);
}

static void finish(void *state)
{
    struct half *half = (struct half *)state;

    while (!write_some(half))
        turn(half, RAW_WAIT_MS);
}

static const struct raw_way way = {
    .open = open_half,
    .close = close_half,
    .has_room = has_room,
    .put = put,
    .flush = flush,
    .confirm = confirm,
    .take = take,
    .finish = finish,
};

int main(int argc, char **argv)
{
    struct raw_spec spec;

    raw_read_arguments(&spec, argc, argv, "receive", "send");
    raw_run(&spec, &way);
    return 0;
}
