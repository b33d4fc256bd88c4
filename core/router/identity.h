/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an endpoint is called in paths and stable ids: the same cluster has the same identity,
 * whatever a configuration calls it. Its `identity` option, else what its broker reports, else its
 * address.
 */
#ifndef MBRIDGE_CORE_IDENTITY_H
#define MBRIDGE_CORE_IDENTITY_H

#include "core/config/model.h"

#define MB_IDENTITY_SIZE 512

enum mb_identity_from {
    MB_IDENTITY_OPTION = 0,
    MB_IDENTITY_BROKER = 1,
    MB_IDENTITY_ADDRESS = 2 /* the broker has none: two addresses of one cluster look like two */
};

/* params: of an instance that is being opened. Asks the broker if there is no option, so connector
 * threads only. A broker that is not reached is an error: an address in its place would change the
 * identity when it is back. */
enum mb_status mb_identity_learn(const struct mb_config_endpoint *endpoint,
                                 const struct mb_open_params *params, char *ret_identity,
                                 size_t size, enum mb_identity_from *ret_from,
                                 struct mb_error *err);

/* Where the endpoint is, without user and password: as its URL's authority and path, or as the
 * option that stands for them; the endpoint's own name where nothing tells. */
void mb_endpoint_address(const struct mb_config_endpoint *endpoint, char *ret_address, size_t size);

#endif
