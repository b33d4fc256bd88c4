/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: where to, TCP, TLS, log-in and the open frames, with the true cause of every failure. */
#include "amqp10.h"

#include <errno.h>
#include <fcntl.h>
#include <kit/uri.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <proton/codec.h>
#include <proton/sasl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT_PLAIN       5672
#define PORT_TLS         5671
#define FIRST_CAPACITY   ((size_t)16 << 20)
#define SESSIONS_MAX     1024u
#define CLOSE_REFUSED_MS 500u

static enum mb_status resolve_uri(const char *text, struct amqp10_place *place,
                                  struct mb_error *err)
{
    struct mb_uri uri;
    enum mb_status status;
    bool fits = true;

    memset(&uri, 0, sizeof uri);
    status = mb_uri_parse(text, &uri, err);
    if (status != MB_OK)
        return status;
    if (strcmp(uri.scheme, "amqp10s") == 0 || strcmp(uri.scheme, "amqps") == 0)
        place->tls = true;
    else if (strcmp(uri.scheme, "amqp10") != 0 && strcmp(uri.scheme, "amqp") != 0)
        status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri",
                              "uri: the scheme must be amqp10 or amqp10s, not %s", uri.scheme);
    if (status == MB_OK && uri.path != NULL && uri.path[0] != '\0')
        status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri",
                              "uri: a path has no meaning here: the address is the option "
                              "`address` of a source or sink");
    if (uri.host != NULL && uri.host[0] != '\0')
        fits = fits && mb_text_fit(place->host, sizeof place->host, uri.host);
    if (uri.username != NULL)
        fits = fits && mb_text_fit(place->username, sizeof place->username, uri.username);
    if (uri.password != NULL)
        fits = fits && mb_text_fit(place->password, sizeof place->password, uri.password);
    place->port = uri.port;
    if (status == MB_OK && !fits)
        status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri", "uri: a part is too long");
    mb_uri_release(&uri);
    return status;
}

/* "name", "name:port", "[address]:port", or an IPv6 address as it is. */
static enum mb_status resolve_host(const char *text, struct amqp10_place *place,
                                   struct mb_error *err)
{
    const char *colon = strrchr(text, ':');
    const char *end = text + strlen(text);
    const char *start = text;
    bool is_bracketed = text[0] == '[';

    if (colon != NULL && (is_bracketed ? colon[-1] == ']' : strchr(text, ':') == colon)) {
        char *rest;
        long port = strtol(colon + 1, &rest, 10);

        if (colon[1] < '0' || colon[1] > '9' || *rest != '\0' || port < 1 || port > 65535)
            return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "host",
                                "host: behind the colon stands the port, 1 to 65535");
        place->port = (int)port;
        end = colon;
    }
    if (is_bracketed && end > start + 1 && end[-1] == ']') {
        start++;
        end--;
    }
    if (end == start || (size_t)(end - start) >= sizeof place->host)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "host",
                            "host: a name has 1 to 255 bytes");
    memcpy(place->host, start, (size_t)(end - start));
    place->host[end - start] = '\0';
    return MB_OK;
}

static bool resolve_log_in(const struct amqp10_endpoint *endpoint, struct amqp10_place *place)
{
    const char *username =
        endpoint->sasl_username != NULL ? endpoint->sasl_username : endpoint->username;
    const char *password =
        endpoint->sasl_password != NULL ? endpoint->sasl_password : endpoint->password;

    if (username != NULL && !mb_text_fit(place->username, sizeof place->username, username))
        return false;
    if (password != NULL && !mb_text_fit(place->password, sizeof place->password, password))
        return false;
    place->mechanism = (enum amqp10_mechanism)endpoint->mechanism;
    if (place->mechanism != AMQP10_SASL_AUTO)
        return true;
    if (place->username[0] != '\0')
        place->mechanism = AMQP10_SASL_PLAIN;
    else if (place->tls && endpoint->tls.cert != NULL)
        place->mechanism = AMQP10_SASL_EXTERNAL;
    else
        place->mechanism = AMQP10_SASL_ANONYMOUS;
    return true;
}

enum mb_status amqp10_place_resolve(const struct amqp10_endpoint *endpoint,
                                    struct amqp10_place *ret_place, struct mb_error *err)
{
    struct amqp10_place *place = ret_place;
    enum mb_status status = MB_OK;

    memset(place, 0, sizeof *place);
    mb_text_fit(place->host, sizeof place->host, "localhost");
    if (endpoint->uri != NULL)
        status = resolve_uri(endpoint->uri, place, err);
    if (status == MB_OK && endpoint->host != NULL)
        status = resolve_host(endpoint->host, place, err);
    if (status != MB_OK)
        return status;
    place->tls = place->tls || endpoint->tls.enabled;
    if (endpoint->port > 0)
        place->port = (int)endpoint->port;
    if (place->port == 0)
        place->port = place->tls ? PORT_TLS : PORT_PLAIN;
    if (!mb_text_fit(place->hostname, sizeof place->hostname,
                     endpoint->vhost != NULL ? endpoint->vhost : place->host) ||
        !resolve_log_in(endpoint, place))
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                            "vhost, username or password is too long");
    return MB_OK;
}

/* 0, or the errno of the attempt. */
static int connect_one(struct amqp10_client *client, const struct addrinfo *address,
                       int64_t deadline_ms)
{
    int one = 1;
    int result = 0;
    socklen_t size = sizeof result;

    client->fd = socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return errno;
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(client->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    if (connect(client->fd, address->ai_addr, address->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    for (;;) {
        struct pollfd entry = {client->fd, POLLOUT, 0};
        int64_t left = deadline_ms - amqp10_now_ms(client->host);

        if (left <= 0)
            return ETIMEDOUT;
        if (poll(&entry, 1, left > 1000 ? 1000 : (int)left) > 0) {
            getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &result, &size);
            return result;
        }
    }
}

static enum mb_status connect_tcp(struct amqp10_client *client, const struct amqp10_place *place,
                                  int64_t deadline_ms, struct mb_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[16];
    int why = EHOSTUNREACH;

    snprintf(port, sizeof port, "%d", place->port);
    if (getaddrinfo(place->host, port, &hints, &found) != 0)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "dns",
                            "%s: the host name cannot be resolved", client->name);
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        why = connect_one(client, at, deadline_ms);
        if (why == 0)
            break;
        if (client->fd >= 0)
            close(client->fd);
        client->fd = -1;
    }
    freeaddrinfo(found);
    if (why == 0)
        return MB_OK;
    return mb_error_set(err, why == ETIMEDOUT ? MB_TIMEOUT : MB_DISCONNECTED, MB_CAUSE_CONNECTION,
                        why == ECONNREFUSED ? "refused"
                        : why == ETIMEDOUT  ? "timeout"
                                            : "unreachable",
                        "%s: %s", client->name, strerror(why));
}

/* Unique, so that no broker takes a second connection for the first one come back; a durable
 * subscription is found again by the same id. */
static void name_container(struct amqp10_client *client, const struct amqp10_open *open,
                           const struct amqp10_endpoint *endpoint)
{
    const struct mb_open_params *params = open->params;
    char base[200];
    uint64_t unique = 0;

    if (open->container != NULL) {
        snprintf(client->container, sizeof client->container, "%s", open->container);
        return;
    }
    if (endpoint->container_id != NULL)
        snprintf(base, sizeof base, "%.199s", endpoint->container_id);
    else
        snprintf(base, sizeof base, "mbridge.%.80s.%.100s",
                 params->bridge_name != NULL ? params->bridge_name : "",
                 params->route_name != NULL ? params->route_name : "");
    if (open->stable_container) {
        snprintf(client->container, sizeof client->container, "%s", base);
        return;
    }
    if (getrandom(&unique, sizeof unique, GRND_NONBLOCK) != (ssize_t)sizeof unique)
        unique = (uint64_t)amqp10_now_ms(client->host) ^ (uint64_t)(uintptr_t)client;
    snprintf(client->container, sizeof client->container, "%s.%u.%s.%016llx", base,
             (unsigned)params->lane, open->role, (unsigned long long)unique);
}

static const char *mechanism_name(enum amqp10_mechanism mechanism)
{
    switch (mechanism) {
    case AMQP10_SASL_PLAIN:
        return "PLAIN";
    case AMQP10_SASL_EXTERNAL:
        return "EXTERNAL";
    case AMQP10_SASL_SCRAM_256:
        return "SCRAM-SHA-256";
    case AMQP10_SASL_AUTO:
    case AMQP10_SASL_ANONYMOUS:
        break;
    }
    return "ANONYMOUS";
}

static enum mb_status set_up_driver(struct amqp10_client *client,
                                    const struct amqp10_endpoint *endpoint,
                                    const struct amqp10_place *place, struct mb_error *err)
{
    pn_connection_t *connection;
    pn_sasl_t *sasl;

    if (place->mechanism == AMQP10_SASL_SCRAM_256 && !pn_sasl_extended())
        return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "auth",
                            "%s: this build of qpid-proton has no Cyrus SASL, and so no %s",
                            client->name, mechanism_name(place->mechanism));
    if (pn_connection_driver_init(&client->driver, NULL, NULL) != 0)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    client->has_driver = true;
    connection = client->driver.connection;
    pn_connection_set_container(connection, client->container);
    pn_connection_set_hostname(connection, place->hostname);
    if (place->username[0] != '\0')
        pn_connection_set_user(connection, place->username);
    if (place->password[0] != '\0')
        pn_connection_set_password(connection, place->password);
    pn_transport_set_max_frame(client->driver.transport, AMQP10_FRAME_MAX);
    /* Half of it is what the peer is told to keep to. */
    pn_transport_set_idle_timeout(client->driver.transport,
                                  (pn_millis_t)(2 * endpoint->heartbeat_ms));
    sasl = pn_sasl(client->driver.transport);
    pn_sasl_allowed_mechs(sasl, mechanism_name(place->mechanism));
    pn_sasl_set_allow_insecure_mechs(sasl, true); /* proton does not see our TLS */
    if (pn_connection_driver_bind(&client->driver) != 0)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    return MB_OK;
}

/* The text of a connection property, or "". */
static void property_of(pn_connection_t *connection, const char *name, char *buffer, size_t size)
{
    pn_data_t *data = pn_connection_remote_properties(connection);

    buffer[0] = '\0';
    pn_data_rewind(data);
    if (!pn_data_next(data) || pn_data_type(data) != PN_MAP || !pn_data_enter(data))
        return;
    while (pn_data_next(data)) {
        pn_bytes_t key = pn_data_get_bytes(data);
        bool found = mb_slice_equal((struct mb_slice){key.start, key.size}, mb_slice_text(name));

        if (!pn_data_next(data))
            break;
        if (found && pn_data_type(data) == PN_STRING) {
            pn_bytes_t value = pn_data_get_bytes(data);

            snprintf(buffer, size, "%.*s", (int)value.size, value.start);
        }
    }
    pn_data_rewind(data);
}

static void learn_peer(struct amqp10_client *client)
{
    pn_connection_t *connection = client->driver.connection;
    const char *container = pn_connection_remote_container(connection);
    const char *hostname = pn_connection_get_hostname(connection);
    char product[64];
    char version[64];
    char cluster[256];

    property_of(connection, "product", product, sizeof product);
    property_of(connection, "version", version, sizeof version);
    property_of(connection, "cluster_name", cluster, sizeof cluster);
    if (strcasestr(product, "artemis") != NULL)
        client->product = AMQP10_PRODUCT_ARTEMIS;
    else if (strcasestr(product, "activemq") != NULL)
        client->product = AMQP10_PRODUCT_CLASSIC;
    else if (strcasecmp(product, "rabbitmq") == 0)
        client->product = atoi(version) < 4 ? AMQP10_PRODUCT_RABBIT_3 : AMQP10_PRODUCT_RABBIT;
    else if (strcasestr(product, "qpid") != NULL)
        client->product = AMQP10_PRODUCT_BROKER_J;
    if (cluster[0] == '\0')
        amqp10_text_of(cluster, sizeof cluster, container);
    snprintf(client->identity, sizeof client->identity, "%s", cluster);
    /* A virtual host is another cluster; the name that we came by is not. */
    if (hostname != NULL && strncmp(hostname, "vhost:", 6) == 0)
        snprintf(client->identity, sizeof client->identity, "%s %.255s", cluster, hostname + 6);
    client->sessions_max = (uint32_t)pn_transport_remote_channel_max(client->driver.transport) + 1;
    if (client->sessions_max > SESSIONS_MAX)
        client->sessions_max = SESSIONS_MAX;
}

/* A broker that refuses or redirects answers the open frame and closes right behind it, which may
 * come in two pieces: the first session's answer tells that it means it. */
static enum mb_status open_connection(struct amqp10_client *client, int64_t deadline_ms,
                                      struct mb_error *err)
{
    pn_connection_t *connection = client->driver.connection;
    pn_session_t *probe;

    pn_connection_open(connection);
    probe = amqp10_client_session(client, FIRST_CAPACITY);
    if (probe == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    for (;;) {
        enum mb_status status;

        while (amqp10_client_event(client) != NULL)
            continue;
        if (client->failed) {
            *err = client->failure;
            return err->status;
        }
        if ((pn_session_state(probe) & PN_REMOTE_UNINIT) == 0)
            break;
        status = amqp10_client_await(client, deadline_ms, err);
        if (status != MB_OK)
            return status;
    }
    client->first = probe;
    learn_peer(client);
    return MB_OK;
}

static enum mb_status set_up(struct amqp10_client *client, const struct amqp10_open *open,
                             struct amqp10_place *place, struct mb_error *err)
{
    const struct amqp10_endpoint *endpoint = open->params->endpoint;
    int64_t deadline_ms = amqp10_now_ms(client->host) + (int64_t)open->params->timeout_ms;
    enum mb_status status = amqp10_place_resolve(endpoint, place, err);

    if (status != MB_OK)
        return status;
    if (open->redirect != NULL) {
        mb_text_fit(place->host, sizeof place->host, open->redirect->host);
        if (open->redirect->port > 0)
            place->port = open->redirect->port;
        if (open->redirect->hostname[0] != '\0')
            mb_text_fit(place->hostname, sizeof place->hostname, open->redirect->hostname);
    }
    snprintf(client->name, sizeof client->name, "%s:%d", place->host, place->port);
    name_container(client, open, endpoint);
    status = connect_tcp(client, place, deadline_ms, err);
    if (status == MB_OK && place->tls)
        status = amqp10_tls_start(client, &endpoint->tls, place->host, deadline_ms, err);
    if (status == MB_OK)
        status = set_up_driver(client, endpoint, place, err);
    if (status == MB_OK)
        status = open_connection(client, deadline_ms, err);
    return status;
}

static enum mb_status open_once(const struct amqp10_open *open, struct amqp10_client **ret_client,
                                struct amqp10_redirect *redirect, struct mb_error *err)
{
    const struct mb_host *host = open->params->host;
    struct amqp10_client *client = amqp10_alloc_zero(host, sizeof *client);
    struct amqp10_place place;
    enum mb_status status;

    if (client == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    client->host = host;
    client->fd = -1;
    memset(&place, 0, sizeof place);
    status = set_up(client, open, &place, err);
    explicit_bzero(&place, sizeof place);
    if (status != MB_OK) {
        *redirect = client->redirect;
        amqp10_client_close(client, CLOSE_REFUSED_MS);
        return status;
    }
    *ret_client = client;
    return MB_OK;
}

/* Whether repeats are told is the broker's matter, and only one does. */
static enum mb_status look_for_artemis(const struct amqp10_open *open,
                                       struct amqp10_client **client, struct mb_error *err)
{
    if (!open->params->effectively_once || (*client)->product == AMQP10_PRODUCT_ARTEMIS)
        return MB_OK;
    mb_error_set(err, MB_FATAL, MB_CAUSE_DESTINATION, "not-artemis",
                 "%s: delivery = \"effectively-once\" over AMQP 1.0 needs ActiveMQ Artemis, whose "
                 "duplicate detection it uses: this broker is another",
                 (*client)->name);
    amqp10_client_close(*client, 0);
    *client = NULL;
    return MB_FATAL;
}

enum mb_status amqp10_client_open(const struct amqp10_open *open, struct amqp10_client **ret_client,
                                  struct mb_error *err)
{
    const struct amqp10_endpoint *endpoint = open->params->endpoint;
    struct amqp10_redirect redirect;
    struct amqp10_open again = *open;
    enum mb_status status;

    memset(&redirect, 0, sizeof redirect);
    status = open_once(open, ret_client, &redirect, err);
    if (status != MB_OK && redirect.is_set && open->redirect == NULL &&
        endpoint->follow_redirects) {
        again.redirect = &redirect;
        status = open_once(&again, ret_client, &redirect, err);
    }
    return status == MB_OK ? look_for_artemis(open, ret_client, err) : status;
}
