/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/identity.h"

#include "kit/uri.h"

/* "host:port/path" of a URI; false: it is none. */
static bool uri_address(const char *text, char *ret_address, size_t size)
{
    struct mb_uri uri = {0};
    struct mb_error err;
    bool is_one = mb_uri_parse(text, &uri, &err) == MB_OK && uri.authority[0] != '\0';

    if (is_one)
        snprintf(ret_address, size, "%s/%s", uri.authority, uri.path != NULL ? uri.path : "");
    mb_uri_release(&uri);
    return is_one;
}

void mb_endpoint_address(const struct mb_config_endpoint *endpoint, char *ret_address, size_t size)
{
    const struct mb_backend *backend = endpoint->backend;
    const struct mb_settings *settings = &endpoint->settings;
    const char *host = mb_settings_text(settings, "host");

    for (size_t i = 0; i < backend->url_rules_count; i++) {
        const struct mb_url_rule *rule = &backend->url_rules[i];
        const char *text =
            rule->uri_option != NULL ? mb_settings_text(settings, rule->uri_option) : NULL;

        if (text != NULL && uri_address(text, ret_address, size))
            return;
        text = rule->authority_option != NULL ? mb_settings_text(settings, rule->authority_option)
                                              : NULL;
        if (text != NULL) {
            snprintf(ret_address, size, "%s", text);
            return;
        }
    }
    if (host != NULL) {
        const char *port = mb_settings_text(settings, "port");
        const char *vhost = mb_settings_text(settings, "vhost");

        snprintf(ret_address, size, "%s:%s/%s", host, port != NULL ? port : "",
                 vhost != NULL ? vhost : "");
        return;
    }
    snprintf(ret_address, size, "%s", endpoint->name);
}

static bool is_unreachable(const struct mb_error *err)
{
    return err->cause == MB_CAUSE_CONNECTION && err->status != MB_UNSUPPORTED &&
           err->status != MB_NOT_FOUND && err->status != MB_INVALID;
}

enum mb_status mb_identity_learn(const struct mb_config_endpoint *endpoint,
                                 const struct mb_open_params *params, char *ret_identity,
                                 size_t size, enum mb_identity_from *ret_from, struct mb_error *err)
{
    const struct mb_describe_ops *ops = endpoint->backend->describe;
    struct mb_describer *describer = NULL;
    enum mb_status status;

    *ret_from = MB_IDENTITY_OPTION;
    if (endpoint->identity != NULL) {
        snprintf(ret_identity, size, "%s", endpoint->identity);
        return MB_OK;
    }
    ret_identity[0] = '\0';
    if (ops != NULL) {
        status = ops->open(params, &describer, err);
        if (status != MB_OK)
            return status; /* the instance would fare no better */
        status = ops->identity(describer, ret_identity, size, err);
        ops->close(describer);
        if (status != MB_OK && is_unreachable(err))
            return status;
        if (status != MB_OK)
            ret_identity[0] = '\0';
    }
    *ret_from = MB_IDENTITY_BROKER;
    if (ret_identity[0] == '\0') {
        *ret_from = MB_IDENTITY_ADDRESS;
        mb_endpoint_address(endpoint, ret_identity, size);
    }
    return MB_OK;
}
