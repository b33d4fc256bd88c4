/* SPDX-License-Identifier: Apache-2.0 */
/* delivery = "effectively-once": what a route has to be for it. */
#include "core/config/party.h"

/* A sink that tells by itself what it has remembers a bounded number of messages. */
#define DEDUPLICATED_WINDOW_MAX 10000u

static void check_source(struct mb_loader *loader, const struct mb_party *source, unsigned line)
{
    const struct mb_config_endpoint *endpoint = source->stream->endpoint;
    uint64_t traits =
        endpoint->backend->source->traits(source->params.endpoint, source->params.options);

    if ((traits & MB_SOURCE_SEEKS) == 0)
        mb_loader_error(loader, line,
                        "delivery = \"effectively-once\": the source at endpoint \"%s\" has no "
                        "positions that last (a queue hands a message out and forgets it), so a "
                        "message that comes again cannot be told from a new one; \"at-least-once\" "
                        "repeats at most one window after a crash",
                        endpoint->name);
}

static void check_sink(struct mb_loader *loader, const struct mb_party *sink,
                       const struct mb_config_route *route, const struct mb_settings *settings)
{
    const uint64_t stores = MB_SINK_TRANSACTIONS | MB_SINK_STORES_POSITIONS;
    const struct mb_config_endpoint *endpoint = sink->stream->endpoint;
    uint64_t traits = endpoint->backend->sink->traits(sink->params.endpoint, sink->params.options);

    if ((traits & MB_SINK_DEDUPLICATES) != 0) {
        if (route->window_messages > DEDUPLICATED_WINDOW_MAX)
            mb_loader_error(loader, mb_settings_line(settings, "window.messages"),
                            "window.messages = %u: with delivery = \"effectively-once\" the sink "
                            "at endpoint \"%s\" has to remember all of them; at most %u",
                            route->window_messages, endpoint->name, DEDUPLICATED_WINDOW_MAX);
    } else if ((traits & stores) != stores) {
        mb_loader_error(loader, mb_settings_line(settings, "delivery"),
                        "delivery = \"effectively-once\": a sink at endpoint \"%s\" (%s) neither "
                        "stores the source's position together with the messages nor leaves out "
                        "what it has; \"at-least-once\" sends a stable id with each message, by "
                        "which consumers can",
                        endpoint->name, endpoint->backend->name);
    }
}

void mb_check_once(struct mb_loader *loader, const struct mb_config_route *route,
                   const struct mb_settings *settings)
{
    unsigned line = mb_settings_line(settings, "delivery");
    struct mb_party party;

    if (route->delivery != MB_EFFECTIVELY_ONCE)
        return;
    if (route->to_count > 1)
        mb_loader_error(loader, line,
                        "delivery = \"effectively-once\" is for one sink: %zu cannot store a "
                        "message all together or not at all; give each a route of its own",
                        route->to_count);
    if (route->order != MB_ORDER_KEY)
        mb_loader_error(loader, line,
                        "delivery = \"effectively-once\" needs order = \"key\": a position says "
                        "that everything before it is there");
    for (size_t i = 0; i < route->from_count && !loader->no_memory; i++) {
        if (mb_party_init(loader, &party, route, &route->from[i], MB_ROLE_SOURCE))
            check_source(loader, &party, line);
        mb_party_release(&party);
    }
    for (size_t i = 0; i < route->to_count && !loader->no_memory; i++) {
        if (mb_party_init(loader, &party, route, &route->to[i], MB_ROLE_SINK))
            check_sink(loader, &party, route, settings);
        mb_party_release(&party);
    }
}
