/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/party.h"

#include "core/router/identity.h"

static struct mb_applied *apply(struct mb_loader *loader, const struct mb_settings *settings)
{
    struct mb_applied *applied = NULL;
    struct mb_error err;

    if (mb_settings_apply(settings, false, &applied, &err) != MB_OK)
        loader->no_memory = true;
    return applied;
}

bool mb_party_init(struct mb_loader *loader, struct mb_party *party,
                   const struct mb_config_route *route, const struct mb_config_stream *stream,
                   enum mb_role role)
{
    memset(party, 0, sizeof *party);
    party->stream = stream;
    party->role = role;
    party->endpoint = apply(loader, &stream->endpoint->settings);
    party->options = apply(loader, &stream->settings);
    if (party->endpoint == NULL || party->options == NULL)
        return false;
    party->params = (struct mb_open_params){
        .struct_size = sizeof party->params,
        .endpoint = mb_applied_struct(party->endpoint),
        .options = mb_applied_struct(party->options),
        .bridge_name = loader->config->bridge_name,
        .route_name = route->name,
        .endpoint_name = stream->endpoint->name,
        .default_group = route->group,
        .names_templated = role == MB_ROLE_SINK ? mb_settings_templated(&stream->settings) : 0,
        .window_messages = route->window_messages,
        .window_bytes = (uint64_t)route->window_bytes,
        .ordered = route->order == MB_ORDER_KEY,
        .strict = route->fidelity == MB_FIDELITY_STRICT,
        .effectively_once = role == MB_ROLE_SINK && route->delivery == MB_EFFECTIVELY_ONCE,
    };
    return true;
}

void mb_party_release(struct mb_party *party)
{
    mb_applied_destroy(party->endpoint);
    mb_applied_destroy(party->options);
}

bool mb_party_stream(const struct mb_party *party, size_t index, struct mb_stream_record *record)
{
    const struct mb_backend *backend = party->stream->endpoint->backend;

    memset(record, 0, sizeof *record);
    record->struct_size = sizeof *record;
    return backend->stream != NULL &&
           backend->stream(party->params.endpoint, party->role, party->params.options,
                           &party->params, index, record) == MB_OK &&
           record->name != NULL;
}

bool mb_endpoints_are_one(const struct mb_config_endpoint *a, const struct mb_config_endpoint *b)
{
    char one[MB_IDENTITY_SIZE];
    char other[MB_IDENTITY_SIZE];

    if (a == b)
        return true;
    if (a->backend != b->backend)
        return false;
    if (a->identity != NULL && b->identity != NULL)
        return strcmp(a->identity, b->identity) == 0;
    if (mb_settings_equal(&a->settings, &b->settings))
        return true;
    mb_endpoint_address(a, one, sizeof one);
    mb_endpoint_address(b, other, sizeof other);
    return strcmp(one, other) == 0;
}
