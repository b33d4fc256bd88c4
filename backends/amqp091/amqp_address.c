/* SPDX-License-Identifier: Apache-2.0 */
/* The address of an endpoint: its URI, the options beside it, defaults. Pure. */
#include "amqp.h"

#include <kit/uri.h>

static enum mb_status resolve_uri(const char *text, struct amqp_address *address,
                                  struct mb_error *err)
{
    struct mb_uri uri;
    enum mb_status status;
    bool fits = true;

    memset(&uri, 0, sizeof uri);
    status = mb_uri_parse(text, &uri, err);
    if (status != MB_OK)
        return status;
    if (strcmp(uri.scheme, "amqps") == 0) {
        address->tls = true;
    } else if (strcmp(uri.scheme, "amqp") != 0) {
        status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri",
                              "uri: the scheme must be amqp or amqps, not %s", uri.scheme);
    }
    if (uri.host != NULL && uri.host[0] != '\0')
        fits = fits && mb_text_fit(address->host, sizeof address->host, uri.host);
    /* amqp://host and amqp://host/ both mean the default one. */
    if (uri.path != NULL && uri.path[0] != '\0')
        fits = fits && mb_text_fit(address->vhost, sizeof address->vhost, uri.path);
    if (uri.username != NULL)
        fits = fits && mb_text_fit(address->username, sizeof address->username, uri.username);
    if (uri.password != NULL)
        fits = fits && mb_text_fit(address->password, sizeof address->password, uri.password);
    address->port = uri.port;
    if (status == MB_OK && !fits)
        status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "uri", "uri: a part is too long");
    mb_uri_release(&uri);
    return status;
}

enum mb_status amqp_address_resolve(const struct amqp_endpoint *endpoint,
                                    struct amqp_address *ret_address, struct mb_error *err)
{
    struct amqp_address *address = ret_address;
    bool fits = true;

    memset(address, 0, sizeof *address);
    mb_text_fit(address->host, sizeof address->host, "localhost");
    mb_text_fit(address->vhost, sizeof address->vhost, "/");
    if (endpoint->uri != NULL) {
        enum mb_status status = resolve_uri(endpoint->uri, address, err);

        if (status != MB_OK)
            return status;
    }
    if (endpoint->host != NULL)
        fits = fits && mb_text_fit(address->host, sizeof address->host, endpoint->host);
    if (endpoint->vhost != NULL)
        fits = fits && mb_text_fit(address->vhost, sizeof address->vhost, endpoint->vhost);
    if (endpoint->username != NULL)
        fits = fits && mb_text_fit(address->username, sizeof address->username, endpoint->username);
    if (endpoint->password != NULL)
        fits = fits && mb_text_fit(address->password, sizeof address->password, endpoint->password);
    if (!fits)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "options",
                            "host, vhost, username or password is too long");
    address->tls = address->tls || endpoint->tls.enabled;
    if (endpoint->port > 0)
        address->port = (int)endpoint->port;
    if (address->port == 0)
        address->port = address->tls ? 5671 : 5672;
    if (address->username[0] == '\0') {
        address->external = address->tls && endpoint->tls.cert != NULL;
        if (!address->external) {
            mb_text_fit(address->username, sizeof address->username, "guest");
            if (address->password[0] == '\0')
                mb_text_fit(address->password, sizeof address->password, "guest");
        }
    }
    return MB_OK;
}
