/* SPDX-License-Identifier: Apache-2.0 */
/* A backend that does nothing, in the variants that the registry has to tell apart. */
#include <mbridge/backend.h>

#ifndef MODULE_ABI
#define MODULE_ABI MB_ABI_VERSION
#endif
#ifndef MODULE_SIZE
#define MODULE_SIZE sizeof(struct mb_backend)
#endif
#ifndef MODULE_POLL
#define MODULE_POLL source_poll
#endif
#ifndef MODULE_SOURCE
#define MODULE_SOURCE &source_ops
#endif
#ifndef MODULE_SYMBOL
#define MODULE_SYMBOL mbridge_backend
#endif
#ifndef MODULE_DESCRIPTOR
#define MODULE_DESCRIPTOR &descriptor
#endif

static uint64_t source_traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return 0;
}

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    (void)params;
    (void)ret_source;
    return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "none", "cannot open");
}

static void source_fds(struct mb_source *source, struct mb_wait *wait)
{
    (void)source;
    (void)wait;
}

static enum mb_status source_poll(struct mb_source *source, struct mb_batch *batch,
                                  struct mb_error *err)
{
    (void)source;
    (void)batch;
    (void)err;
    return MB_OK;
}

static enum mb_status source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                 struct mb_error *err)
{
    (void)source;
    (void)acks;
    (void)count;
    (void)err;
    return MB_OK;
}

static enum mb_status source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                   size_t count, struct mb_error *err)
{
    (void)source;
    (void)starts;
    (void)count;
    (void)err;
    return MB_OK;
}

static enum mb_status source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                                  struct mb_error *err)
{
    (void)source;
    (void)scopes;
    (void)count;
    (void)err;
    return MB_OK;
}

static enum mb_status source_service(struct mb_source *source, struct mb_error *err)
{
    (void)source;
    (void)err;
    return MB_OK;
}

static void source_close(struct mb_source *source)
{
    (void)source;
}

static const struct mb_source_ops source_ops = {
    .struct_size = sizeof source_ops,
    .traits = source_traits,
    .open = source_open,
    .fds = source_fds,
    .poll = MODULE_POLL,
    .ack = source_ack,
    .start = source_start,
    .stop = source_stop,
    .service = source_service,
    .close = source_close,
};

static const struct mb_url_rule url_rules[] = {{.scheme = "shine"}, {.scheme = MODULE_NAME "x"}};

static const struct mb_backend descriptor = {
    .abi_version = MODULE_ABI,
    .struct_size = (uint32_t)MODULE_SIZE,
    .name = MODULE_NAME,
    .doc = "Does nothing.",
    .url_rules = url_rules,
    .url_rules_count = 2,
    .source = MODULE_SOURCE,
};

MB_EXPORT const struct mb_backend *MODULE_SYMBOL(void);

MB_EXPORT const struct mb_backend *MODULE_SYMBOL(void)
{
    (void)descriptor;
    (void)source_ops;
    (void)source_poll;
    return MODULE_DESCRIPTOR;
}
