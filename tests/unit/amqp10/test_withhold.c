/* SPDX-License-Identifier: Apache-2.0 */
/* What was taken and what is said of it, against another proton in the same process: it hears of no
 * delivery before its outcome, and then of that outcome and no other. */
#include "backends/amqp10/amqp10_source.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define LINKS_MAX 2u
#define EACH_MAX  600u

static struct {
    struct amqp10_client client;
    struct mb_source *source;
    pn_link_t *links[LINKS_MAX];
    pn_connection_driver_t peer;
    pn_link_t *senders[LINKS_MAX];
    pn_delivery_t *sent[LINKS_MAX][EACH_MAX];
    uint32_t count[LINKS_MAX];
} pair;

static int64_t now_ms;

static void *host_alloc(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void host_release(void *context, void *memory)
{
    (void)context;
    free(memory);
}

static int64_t host_monotonic_ms(void *context)
{
    (void)context;
    return now_ms;
}

static const struct mb_host host = {.struct_size = sizeof host,
                                    .alloc = host_alloc,
                                    .release = host_release,
                                    .monotonic_ms = host_monotonic_ms};

/* What withholding needs of the connection, without a socket. */

void amqp10_client_fail(struct amqp10_client *client, const char *reason, const char *text)
{
    (void)reason;
    (void)text;
    client->failed = true;
}

enum mb_status amqp10_client_gone(const struct amqp10_client *client, struct mb_error *err)
{
    (void)client;
    (void)err;
    return MB_DISCONNECTED;
}

bool amqp10_socket_await(const struct amqp10_client *client, int16_t events, int64_t deadline_ms)
{
    (void)client;
    (void)events;
    (void)deadline_ms;
    return false;
}

static void feed(pn_connection_driver_t *driver, const char *bytes, size_t size)
{
    while (size > 0) {
        pn_rwbytes_t room = pn_connection_driver_read_buffer_sized(driver, size);
        size_t part = room.size < size ? room.size : size;

        assert_true(part > 0);
        memcpy(room.start, bytes, part);
        pn_connection_driver_read_done(driver, part);
        bytes += part;
        size -= part;
    }
}

enum mb_status amqp10_client_write(struct amqp10_client *client)
{
    pn_bytes_t bytes;

    if (!client->withholds) {
        while ((bytes = pn_connection_driver_write_buffer(&client->driver)).size > 0) {
            feed(&pair.peer, bytes.start, bytes.size);
            pn_connection_driver_write_done(&client->driver, bytes.size);
        }
        return MB_OK;
    }
    bytes = amqp10_withhold_pull(client);
    feed(&pair.peer, bytes.start, bytes.size);
    if (bytes.size > 0)
        amqp10_withhold_sent(client, bytes.size);
    return MB_OK;
}

static void drop_events(pn_connection_driver_t *driver)
{
    while (pn_connection_driver_next_event(driver) != NULL)
        continue;
}

/* Opens at the peer what was opened here. */
static void answer(void)
{
    pn_connection_t *connection = pair.peer.connection;
    pn_session_t *session;
    pn_link_t *link;

    for (session = pn_session_head(connection, PN_LOCAL_UNINIT); session != NULL;
         session = pn_session_head(connection, PN_LOCAL_UNINIT))
        pn_session_open(session);
    while ((link = pn_link_head(connection, PN_LOCAL_UNINIT)) != NULL) {
        pair.senders[pn_link_name(link)[0] - '0'] = link;
        pn_link_open(link);
    }
}

static void pump(void)
{
    for (int round = 0; round < 4; round++) {
        pn_bytes_t bytes;

        amqp10_client_write(&pair.client);
        drop_events(&pair.peer);
        while ((bytes = pn_connection_driver_write_buffer(&pair.peer)).size > 0) {
            feed(&pair.client.driver, bytes.start, bytes.size);
            pn_connection_driver_write_done(&pair.peer, bytes.size);
        }
        drop_events(&pair.client.driver);
    }
}

/* So many links, each in a session of its own, with credit. */
static void open_pair(uint32_t links)
{
    struct mb_error err;

    memset(&pair, 0, sizeof pair);
    pair.client.host = &host;
    now_ms = 1000;
    pair.source = calloc(1, sizeof *pair.source + LINKS_MAX * sizeof pair.source->scopes[0]);
    assert_non_null(pair.source);
    pair.source->client = &pair.client;
    pair.source->host = &host;
    pair.source->scopes_count = links;
    pair.source->slots_max = LINKS_MAX * EACH_MAX;
    assert_int_equal(pn_connection_driver_init(&pair.client.driver, NULL, NULL), 0);
    assert_int_equal(pn_connection_driver_init(&pair.peer, NULL, NULL), 0);
    pn_transport_set_server(pair.peer.transport);
    pn_connection_open(pair.client.driver.connection);
    pn_connection_open(pair.peer.connection);
    for (uint32_t i = 0; i < links; i++) {
        pn_session_t *session = pn_session(pair.client.driver.connection);
        const char name[] = {(char)('0' + i), '\0'};

        pn_session_open(session);
        pair.links[i] = pn_receiver(session, name);
        pn_link_open(pair.links[i]);
    }
    pump();
    answer();
    pump();
    assert_int_equal(amqp10_client_withhold(&pair.client, 0, &err), MB_OK);
    for (uint32_t i = 0; i < links; i++) {
        assert_non_null(pair.senders[i]);
        pn_link_flow(pair.links[i], EACH_MAX);
    }
    pump();
}

static void close_pair(void)
{
    pn_connection_driver_destroy(&pair.client.driver);
    pn_connection_driver_destroy(&pair.peer);
    mb_text_release(&pair.client.raw);
    mb_text_release(&pair.client.out);
    free(pair.source->slots);
    free(pair.source);
}

static void send_on(uint32_t link, uint32_t count, bool settled)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = pair.count[link];
        pn_delivery_t *delivery =
            pn_delivery(pair.senders[link], pn_dtag((const char *)&number, sizeof number));

        assert_int_equal(pn_link_send(pair.senders[link], "body", 4), 4);
        pn_link_advance(pair.senders[link]);
        if (settled)
            pn_delivery_settle(delivery);
        pair.sent[link][pair.count[link]++] = settled ? NULL : delivery;
    }
    pump();
}

/* Takes all that waits at the link; the tokens of them. */
static uint32_t take_on(uint32_t link, struct mb_ack *acks)
{
    pn_delivery_t *delivery;
    uint32_t count = 0;

    while ((delivery = pn_link_current(pair.links[link])) != NULL) {
        char bytes[8];
        uint32_t index;

        if (pair.source->slots_used == pair.source->slots_count)
            assert_true(amqp10_taken_extend(pair.source));
        assert_int_equal(pn_link_recv(pair.links[link], bytes, sizeof bytes), 4);
        pn_link_advance(pair.links[link]);
        index = amqp10_taken_add(pair.source, delivery, link);
        acks[count++] =
            (struct mb_ack){.scope = link,
                            .token = (uint64_t)pair.source->slots[index].generation << 32 | index,
                            .outcome = MB_ACCEPTED};
    }
    amqp10_taken_name(pair.source);
    return count;
}

static void ack(const struct mb_ack *acks, size_t count)
{
    struct mb_error err;

    assert_int_equal(amqp10_taken_ack(pair.source, acks, count, &err), MB_OK);
    pump();
}

static void assert_untold(uint32_t link, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        assert_int_equal(pn_delivery_remote_state(pair.sent[link][i]), 0);
        assert_false(pn_delivery_settled(pair.sent[link][i]));
    }
}

static void assert_told(uint32_t link, uint32_t from, uint32_t to, uint64_t state)
{
    for (uint32_t i = from; i < to; i++) {
        assert_int_equal(pn_delivery_remote_state(pair.sent[link][i]), state);
        assert_true(pn_delivery_settled(pair.sent[link][i]));
    }
}

static void nothing_is_told_before_its_outcome(void **state)
{
    struct mb_ack acks[EACH_MAX];

    (void)state;
    open_pair(1);
    send_on(0, 500, false); /* more than are withheld at once */
    assert_int_equal(take_on(0, acks), 500);
    pump();
    assert_untold(0, 0, 500);
    assert_int_equal(pn_link_unsettled(pair.links[0]), 0); /* proton has forgotten them */
    ack(acks, 300);
    assert_told(0, 0, 300, PN_ACCEPTED);
    assert_untold(0, 300, 500);
    ack(acks, 300); /* again: nothing is there any more */
    assert_untold(0, 300, 500);
    assert_int_equal(pair.source->slots_used, 200);
    assert_false(pair.client.failed);
    close_pair();
}

static void each_has_its_own_outcome(void **state)
{
    struct mb_ack acks[EACH_MAX];
    struct mb_ack some[3];

    (void)state;
    open_pair(1);
    send_on(0, 10, false);
    assert_int_equal(take_on(0, acks), 10);
    acks[4].outcome = MB_REFUSED;
    acks[7].outcome = MB_RELEASED;
    some[0] = acks[9]; /* not in their order */
    some[1] = acks[4];
    some[2] = acks[7];
    ack(some, 3);
    assert_told(0, 9, 10, PN_ACCEPTED);
    assert_told(0, 4, 5, PN_REJECTED);
    assert_untold(0, 0, 4);
    assert_untold(0, 5, 9);
    close_pair();
}

/* Numbers begin anew in each session, and the sessions have channels of their own. */
static void sessions_are_not_mistaken_for_each_other(void **state)
{
    struct mb_ack first[EACH_MAX];
    struct mb_ack second[EACH_MAX];

    (void)state;
    open_pair(2);
    send_on(0, 20, false);
    send_on(1, 30, false);
    assert_int_equal(take_on(0, first), 20);
    assert_int_equal(take_on(1, second), 30);
    ack(second, 30);
    assert_told(1, 0, 30, PN_ACCEPTED);
    assert_untold(0, 0, 20);
    ack(first, 20);
    assert_told(0, 0, 20, PN_ACCEPTED);
    close_pair();
}

static void what_the_broker_settled_needs_no_outcome(void **state)
{
    struct mb_ack acks[EACH_MAX];

    (void)state;
    open_pair(1);
    send_on(0, 3, false);
    send_on(0, 4, true);
    send_on(0, 3, false);
    assert_int_equal(take_on(0, acks), 10);
    assert_false(pair.client.failed);
    ack(acks, 10);
    assert_told(0, 0, 3, PN_ACCEPTED);
    assert_told(0, 7, 10, PN_ACCEPTED);
    assert_int_equal(pair.source->slots_used, 0);
    close_pair();
}

/* It was never there: proton says nothing of it, so that the numbers of others stay right. */
static void what_was_aborted_has_no_number(void **state)
{
    static const char half[] = "half of it";
    struct mb_ack acks[EACH_MAX];
    pn_delivery_t *delivery;

    (void)state;
    open_pair(1);
    delivery = pn_delivery(pair.senders[0], pn_dtag("x", 1));
    pn_link_send(pair.senders[0], half, sizeof half);
    pump();
    pn_delivery_abort(delivery);
    pump();
    delivery = pn_link_current(pair.links[0]);
    assert_non_null(delivery);
    assert_true(pn_delivery_aborted(delivery));
    pn_link_advance(pair.links[0]);
    pn_delivery_settle(delivery);
    send_on(0, 5, false);
    assert_int_equal(take_on(0, acks), 5);
    assert_false(pair.client.failed);
    ack(acks + 1, 3);
    assert_untold(0, 0, 1);
    assert_told(0, 1, 4, PN_ACCEPTED);
    assert_untold(0, 4, 5);
    close_pair();
}

/* Proton takes what is withheld for output; the broker would hear nothing. */
static void the_broker_hears_that_we_live(void **state)
{
    struct mb_ack acks[EACH_MAX];

    (void)state;
    open_pair(1);
    send_on(0, 1, false);
    assert_int_equal(take_on(0, acks), 1);
    assert_int_equal(pair.client.out.size, 0);
    send_on(0, 1, false);
    now_ms += 10000;
    assert_int_equal(take_on(0, acks + 1), 1);
    assert_int_equal(pair.client.out.size, 8);
    ack(acks, 2);
    assert_told(0, 0, 2, PN_ACCEPTED);
    close_pair();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_told_before_its_outcome),
        cmocka_unit_test(each_has_its_own_outcome),
        cmocka_unit_test(sessions_are_not_mistaken_for_each_other),
        cmocka_unit_test(what_the_broker_settled_needs_no_outcome),
        cmocka_unit_test(what_was_aborted_has_no_number),
        cmocka_unit_test(the_broker_hears_that_we_live),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
