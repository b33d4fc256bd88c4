/* SPDX-License-Identifier: Apache-2.0 */
#include "amqp10_guard.h"

#include <poll.h>

#define CONTAINER        "mbridge.active"
#define STANDBY_RETRY_MS 1000u
/* A broker notices a killed client by its socket, and needs some time to take its messages back. */
#define PREDECESSOR_RETRY_MS 200u
#define PREDECESSOR_WAIT_MS  500
#define PREDECESSOR_ASK_MS   20
#define CLOSE_WAIT_MS        2000

static enum mb_status stand_by(const struct amqp10_client *client, const char *address,
                               struct mb_error *err)
{
    mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "standby",
                 "%s: another consumer is active on address \"%.200s\": standing by", client->name,
                 address);
    err->retry_after_ms = STANDBY_RETRY_MS;
    return MB_DISCONNECTED;
}

static void warn(const struct amqp10_client *client, const char *address, const char *why)
{
    char text[1200];

    snprintf(text, sizeof text,
             "%s: address \"%.200s\": a second consumer would not be kept away, and order would be "
             "lost with it: %.300s",
             client->name, address, why);
    client->host->log(client->host->context, MB_LOG_WARN, text);
}

/* How many read a queue, or have something of it under way; 0 where the broker does not tell. */
static int64_t readers_of(struct amqp10_guard *guard, const char *address, int64_t deadline_ms)
{
    const char *queue = amqp10_artemis_queue(address);
    struct amqp10_counts counts = {-1, -1};
    int64_t under_way = -1;
    struct mb_error err;

    mb_error_clear(&err);
    if (guard->management.client->product == AMQP10_PRODUCT_RABBIT)
        amqp10_rabbit_look(&guard->management, address, deadline_ms, &counts, &err);
    else if (amqp10_artemis_look(&guard->management, "queue", queue, "consumerCount", deadline_ms,
                                 &counts.consumers, &err) == MB_OK)
        amqp10_artemis_look(&guard->management, "queue", queue, "deliveringCount", deadline_ms,
                            &under_way, &err);
    return (counts.consumers > 0 ? counts.consumers : 0) + (under_way > 0 ? under_way : 0);
}

/* Who held the guard before may be gone, and the broker not be through with taking back what was
 * under way there: that comes first. */
static enum mb_status await_predecessor(struct amqp10_guard *guard, struct amqp10_client *source,
                                        const char *address, int64_t deadline_ms,
                                        struct mb_error *err)
{
    int64_t until_ms = amqp10_now_ms(source->host) + PREDECESSOR_WAIT_MS;

    guard->management.client = source;
    while (readers_of(guard, address, deadline_ms) > 0 && !source->failed) {
        int64_t now_ms = amqp10_now_ms(source->host);

        if (now_ms >= until_ms) {
            stand_by(source, address, err);
            err->retry_after_ms = PREDECESSOR_RETRY_MS;
            return MB_DISCONNECTED;
        }
        amqp10_socket_await(source, POLLIN, now_ms + PREDECESSOR_ASK_MS);
    }
    return source->failed ? amqp10_client_gone(source, err) : MB_OK;
}

/* The address is the link's name, and so the subscription's. */
static enum mb_status subscribe(struct amqp10_guard *guard, pn_session_t *session,
                                const char *address, int64_t deadline_ms, struct mb_error *err)
{
    static const char *const topic[] = {"topic"};
    struct amqp10_link_spec spec = {
        .name = address, .address = CONTAINER, .capabilities = {topic, 1}, .durable = true};
    pn_link_t *link = amqp10_link_attach(guard->client, session, &spec);
    char what[160];
    enum mb_status status;

    if (link == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    snprintf(what, sizeof what, "the guard of address \"%.100s\"", address);
    status = amqp10_link_await(guard->client, link, what, deadline_ms, err);
    if (status == MB_OK || guard->client->failed || status == MB_TIMEOUT)
        return status;
    if (strstr(err->text, "Maximum Consumer Limit") != NULL)
        return stand_by(guard->client, address, err);
    warn(guard->client, address, err->text);
    return MB_OK;
}

static enum mb_status take_artemis(struct amqp10_guard *guard, struct amqp10_client *source,
                                   const struct mb_open_params *params,
                                   const struct amqp10_redirect *redirect,
                                   const char *const *addresses, size_t count, int64_t deadline_ms,
                                   struct mb_error *err)
{
    struct amqp10_open open = {
        .params = params, .role = "guard", .container = CONTAINER, .redirect = redirect};
    enum mb_status status = amqp10_client_open(&open, &guard->client, err);
    pn_session_t *session = NULL;

    for (size_t i = 0; i < count && status == MB_OK; i++) {
        if (session == NULL)
            session = amqp10_client_session(guard->client, AMQP10_FRAME_MAX);
        status = session != NULL ? subscribe(guard, session, addresses[i], deadline_ms, err)
                                 : mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                                                "out of memory");
        if (status == MB_OK)
            status = await_predecessor(guard, source, addresses[i], deadline_ms, err);
    }
    return status;
}

static void guard_queue(char name[AMQP10_NAME_MAX], const char *address)
{
    snprintf(name, AMQP10_NAME_MAX, "/queues/" CONTAINER ".%s", address + 8);
}

static enum mb_status take_rabbit(struct amqp10_guard *guard, struct amqp10_client *source,
                                  const char *address, int64_t deadline_ms, struct mb_error *err)
{
    struct amqp10_queue exclusive = {.exclusive = true};
    char name[AMQP10_NAME_MAX];
    enum mb_status status;

    if (strncmp(address, "/queues/", 8) != 0)
        return MB_OK;
    guard->management.client = source;
    guard_queue(name, address);
    status = amqp10_rabbit_declare(&guard->management, name, &exclusive, deadline_ms, err);
    if (status == MB_OK)
        return await_predecessor(guard, source, address, deadline_ms, err);
    if (source->failed)
        return status;
    if (strstr(err->text, "exclusive") != NULL || strstr(err->text, "locked") != NULL)
        return stand_by(source, address, err);
    warn(source, address, err->text);
    return MB_OK;
}

enum mb_status amqp10_guard_take(struct amqp10_guard *guard, struct amqp10_client *source,
                                 const struct mb_open_params *params,
                                 const struct amqp10_redirect *redirect,
                                 const char *const *addresses, size_t count, int64_t deadline_ms,
                                 struct mb_error *err)
{
    enum mb_status status = MB_OK;

    switch (source->product) {
    case AMQP10_PRODUCT_ARTEMIS:
        return take_artemis(guard, source, params, redirect, addresses, count, deadline_ms, err);
    case AMQP10_PRODUCT_RABBIT:
        for (size_t i = 0; i < count && status == MB_OK; i++)
            status = take_rabbit(guard, source, addresses[i], deadline_ms, err);
        return status;
    case AMQP10_PRODUCT_CLASSIC:
        return MB_OK;
    case AMQP10_PRODUCT_RABBIT_3:
    case AMQP10_PRODUCT_BROKER_J:
    case AMQP10_PRODUCT_OTHER:
        break;
    }
    for (size_t i = 0; i < count; i++)
        warn(source, addresses[i], "this broker has no means to reserve an address");
    return MB_OK;
}

/* Under one id for all who read these addresses. */
static void container_of(const char *const *addresses, size_t count, char *name, size_t size)
{
    uint64_t hash = 0;

    if (count == 1) {
        snprintf(name, size, "%s.%.200s", CONTAINER, addresses[0]);
        return;
    }
    for (size_t i = 0; i < count; i++)
        hash ^= mb_path_hash(MB_SLICE_NULL, mb_slice_text(addresses[i]));
    snprintf(name, size, "%s.%016llx", CONTAINER, (unsigned long long)hash);
}

enum mb_status amqp10_guard_reopen(const struct amqp10_open *open, const char *const *addresses,
                                   size_t count, struct amqp10_client **client,
                                   struct mb_error *err)
{
    struct amqp10_open again = *open;
    char name[AMQP10_NAME_MAX];
    enum mb_status status;

    if ((*client)->product != AMQP10_PRODUCT_CLASSIC)
        return MB_OK;
    container_of(addresses, count, name, sizeof name);
    again.container = name;
    amqp10_client_close(*client, CLOSE_WAIT_MS);
    *client = NULL;
    status = amqp10_client_open(&again, client, err);
    if (status != MB_OK && strstr(err->text, "already connected") != NULL) {
        mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "standby",
                     "another consumer is active on address \"%.200s\": standing by", addresses[0]);
        err->retry_after_ms = PREDECESSOR_RETRY_MS;
        return MB_DISCONNECTED;
    }
    return status;
}

const char *amqp10_guard_address(const struct amqp10_client *client, const char *address,
                                 char *buffer, size_t size)
{
    if (client->product != AMQP10_PRODUCT_CLASSIC || strstr(address, "consumer.exclusive") != NULL)
        return address;
    snprintf(buffer, size, "%s%cconsumer.exclusive=true", address,
             strchr(address, '?') != NULL ? '&' : '?');
    return buffer;
}

enum mb_status amqp10_guard_service(struct amqp10_guard *guard, struct mb_error *err)
{
    struct amqp10_client *client = guard->client;
    enum mb_status status = MB_OK;
    pn_event_t *event;

    if (client == NULL)
        return MB_OK;
    amqp10_client_read(client);
    amqp10_client_tick(client);
    amqp10_client_write(client);
    while (status == MB_OK && (event = amqp10_client_event(client)) != NULL) {
        pn_event_type_t type = pn_event_type(event);

        if (type == PN_LINK_REMOTE_CLOSE || type == PN_LINK_REMOTE_DETACH ||
            type == PN_SESSION_REMOTE_CLOSE)
            status = mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "guard",
                                  "%s: the broker took the guard of an address away", client->name);
    }
    return status == MB_OK && client->failed ? amqp10_client_gone(client, err) : status;
}

void amqp10_guard_fds(const struct amqp10_guard *guard, struct mb_wait *wait)
{
    if (guard->client != NULL)
        amqp10_client_fds(guard->client, wait);
}

/* The broker would delete its queues some time after the connection has gone. */
static void release_rabbit(struct amqp10_guard *guard, const char *const *addresses, size_t count,
                           uint32_t wait_ms)
{
    struct amqp10_client *source = guard->management.client;
    int64_t deadline_ms = amqp10_now_ms(source->host) + wait_ms;
    struct mb_error err;

    amqp10_client_end_sessions(source, guard->management.session, wait_ms);
    mb_error_clear(&err);
    for (size_t i = 0; i < count && !source->failed && !guard->management.refused; i++) {
        char name[AMQP10_NAME_MAX];

        if (strncmp(addresses[i], "/queues/", 8) != 0)
            continue;
        guard_queue(name, addresses[i]);
        amqp10_rabbit_delete(&guard->management, name, deadline_ms, &err);
    }
}

void amqp10_guard_release(struct amqp10_guard *guard, struct amqp10_client *source,
                          const char *const *addresses, size_t count, uint32_t wait_ms)
{
    pn_link_t *link;

    if (source != NULL && source->product == AMQP10_PRODUCT_RABBIT &&
        guard->management.client == source && !source->failed)
        release_rabbit(guard, addresses, count, wait_ms);
    amqp10_client_close(source, wait_ms);
    /* Closed, not detached: nothing of it is to stay at the broker. */
    if (guard->client != NULL && guard->client->has_driver) {
        while ((link = pn_link_head(guard->client->driver.connection, PN_LOCAL_ACTIVE)) != NULL)
            pn_link_close(link);
    }
    amqp10_client_close(guard->client, wait_ms);
    memset(guard, 0, sizeof *guard);
}
