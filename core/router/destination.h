/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking brokers about streams: creating a missing destination, and how much there is to read.
 * These block up to the timeout of params; connector threads only.
 */
#ifndef MBRIDGE_CORE_DESTINATION_H
#define MBRIDGE_CORE_DESTINATION_H

#include "core/config/model.h"

/* Creates the fixed destination that the sink's options name, if it is missing and the backend can;
 * *ret_created tells.
 * model (may be NULL): a source whose partition count it takes if nothing else is said. */
enum mb_status mb_destination_ensure(const struct mb_config_stream *sink,
                                     const struct mb_open_params *params,
                                     const struct mb_config_stream *model, bool *ret_created,
                                     struct mb_error *err);

/* Whether mb_destination_ensure would create something for this sink if it were missing. Any
 * thread; params of an open instance. */
bool mb_destination_is_made(const struct mb_config_stream *sink,
                            const struct mb_open_params *params);

/* What the streams of a source hold. Calls each for every stream that could be described, with the
 * record valid during the call. The first failure ends it. */
enum mb_status mb_source_describe(const struct mb_config_stream *source,
                                  const struct mb_open_params *params, const char *group,
                                  void (*each)(void *context,
                                               const struct mb_stream_record *record),
                                  void *context, struct mb_error *err);

#endif
