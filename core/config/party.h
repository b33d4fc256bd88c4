/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to core/config: a source or sink with its structs, as its backend gets them. */
#ifndef MBRIDGE_CORE_PARTY_H
#define MBRIDGE_CORE_PARTY_H

#include "core/config/loader.h"

struct mb_party {
    const struct mb_config_stream *stream;
    enum mb_role role;
    struct mb_applied *endpoint;
    struct mb_applied *options;
    struct mb_open_params params;
};

/* Secrets stay as written. false: out of memory, which the loader is told; release it all the
 * same. */
bool mb_party_init(struct mb_loader *loader, struct mb_party *party,
                   const struct mb_config_route *route, const struct mb_config_stream *stream,
                   enum mb_role role);
void mb_party_release(struct mb_party *party);

/* The stream of that index that a party names; false: there is none. */
bool mb_party_stream(const struct mb_party *party, size_t index, struct mb_stream_record *record);

/* Whether the route can deliver effectively once, if it is to (once.c). */
void mb_check_once(struct mb_loader *loader, const struct mb_config_route *route,
                   const struct mb_settings *settings);

/* Both are the same broker, as far as a configuration tells: by identity, by address. */
bool mb_endpoints_are_one(const struct mb_config_endpoint *a, const struct mb_config_endpoint *b);

#endif
