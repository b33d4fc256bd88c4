/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/discover.h"

#include "core/router/patterns.h"

#include <stdlib.h>

struct mb_discover {
    struct mb_lane *lane;
    struct mb_strings told; /* what the source was told since it was opened; none: as at open */
    bool is_told;
    uint32_t opens_seen;
    int64_t ask_at_ms;
    bool reopening;
    int64_t reopen_by_ms;
    char logged_reason[MB_REASON_SIZE];
    /* The question. */
    bool asking;
    bool answered;
    uint32_t asked_opens; /* of which life of the source */
    struct mb_job job;
    struct mb_strings found;
    struct mb_error error;
    enum mb_status status;
};

bool mb_discover_is_wanted(const struct mb_config_stream *source)
{
    return source->discover_ms > 0 && mb_pattern_row(source) != NULL;
}

enum mb_status mb_discover_create(struct mb_lane *lane, struct mb_discover **ret_discover)
{
    struct mb_discover *discover = calloc(1, sizeof *discover);

    if (discover == NULL)
        return MB_NO_MEMORY;
    discover->lane = lane;
    *ret_discover = discover;
    return MB_OK;
}

void mb_discover_destroy(struct mb_discover *discover)
{
    if (discover == NULL)
        return;
    mb_names_release(&discover->told);
    mb_names_release(&discover->found);
    free(discover);
}

bool mb_discover_is_asking(const struct mb_discover *discover)
{
    return discover->asking;
}

bool mb_discover_is_reopening(const struct mb_discover *discover)
{
    return discover->reopening;
}

/* With settings of its own: those of the port may go while it runs. */
static void ask_run(struct mb_job *job)
{
    struct mb_discover *discover =
        (struct mb_discover *)((char *)job - offsetof(struct mb_discover, job));
    const struct mb_config_stream *source = discover->lane->source.stream;
    struct mb_open_params params = {0};
    struct mb_applied *endpoint = NULL;
    struct mb_applied *options = NULL;

    mb_error_clear(&discover->error);
    discover->status =
        mb_settings_apply(&source->endpoint->settings, true, &endpoint, &discover->error);
    if (discover->status == MB_OK)
        discover->status = mb_settings_apply(&source->settings, true, &options, &discover->error);
    if (discover->status == MB_OK) {
        mb_port_params(&discover->lane->source, &params);
        params.endpoint = mb_applied_struct(endpoint);
        params.options = mb_applied_struct(options);
        discover->status = mb_patterns_resolve(source, &params, &discover->found, &discover->error);
    }
    mb_applied_destroy(options);
    mb_applied_destroy(endpoint);
}

static void ask_done(struct mb_job *job)
{
    struct mb_discover *discover =
        (struct mb_discover *)((char *)job - offsetof(struct mb_discover, job));

    discover->asking = false;
    discover->answered = true;
}

static void ask(struct mb_discover *discover, int64_t now_ms)
{
    struct mb_lane *lane = discover->lane;

    discover->ask_at_ms = now_ms + lane->source.stream->discover_ms;
    discover->asking = true;
    discover->asked_opens = lane->source.opens;
    discover->job = (struct mb_job){
        .run = ask_run, .done = ask_done, .mailbox = lane->env->mailbox, .wake = &lane->wake};
    mb_connector_submit(lane->env->connector, &discover->job);
}

/* How the sorted lists differ. */
static void compare(const struct mb_strings *before, const struct mb_strings *now,
                    size_t *ret_added, size_t *ret_gone)
{
    size_t i = 0;
    size_t k = 0;

    *ret_added = *ret_gone = 0;
    while (i < before->count || k < now->count) {
        int order = i == before->count ? 1
                    : k == now->count  ? -1
                                       : strcmp(before->items[i], now->items[k]);

        *ret_gone += order < 0;
        *ret_added += order > 0;
        i += order <= 0;
        k += order >= 0;
    }
}

static void log_change(const struct mb_discover *discover, size_t added, size_t gone)
{
    const struct mb_lane *lane = discover->lane;
    char texts[3][24];

    snprintf(texts[0], sizeof texts[0], "%zu", added);
    snprintf(texts[1], sizeof texts[1], "%zu", gone);
    snprintf(texts[2], sizeof texts[2], "%zu", discover->found.count);
    mb_log(lane->env->logger, MB_LOG_INFO, "the pattern matches other streams now", "route",
           lane->route->name, "endpoint", lane->source.stream->endpoint->name, "new", texts[0],
           "gone", texts[1], "streams", texts[2], NULL);
}

/* Once a reason. That nothing matches the source sees by itself, if it matters. */
static void log_failure(struct mb_discover *discover)
{
    const struct mb_lane *lane = discover->lane;

    if (discover->status == MB_NOT_FOUND ||
        strcmp(discover->logged_reason, discover->error.reason) == 0)
        return;
    memcpy(discover->logged_reason, discover->error.reason, sizeof discover->logged_reason);
    mb_log(lane->env->logger, MB_LOG_WARN,
           "the streams of the pattern could not be listed: the route goes on with those it has",
           "route", lane->route->name, "endpoint", lane->source.stream->endpoint->name, "reason",
           discover->error.reason, "error", discover->error.text, NULL);
}

static bool can_take_streams(const struct mb_source_ops *ops)
{
    return ops->struct_size >= offsetof(struct mb_source_ops, streams) + sizeof ops->streams &&
           ops->streams != NULL;
}

static enum mb_status tell(struct mb_discover *discover, int64_t now_ms)
{
    struct mb_lane *lane = discover->lane;
    const struct mb_strings *before = discover->is_told ? &discover->told : &lane->source.names;
    enum mb_status status;
    size_t added;
    size_t gone;

    compare(before, &discover->found, &added, &gone);
    if (added == 0 && gone == 0)
        return MB_OK;
    if (!can_take_streams(lane->source_ops)) {
        log_change(discover, added, gone);
        discover->reopening = true;
        discover->reopen_by_ms = now_ms + lane->stop_timeout_ms;
        return MB_OK;
    }
    status = lane->source_ops->streams(lane->source.source, &discover->found, &lane->source.error);
    if (status == MB_AGAIN)
        return MB_OK; /* the next answer will differ as well */
    if (status != MB_OK)
        return status;
    log_change(discover, added, gone);
    mb_names_release(&discover->told);
    discover->told = discover->found;
    discover->found = (struct mb_strings){0};
    discover->is_told = true;
    return MB_OK;
}

static enum mb_status answer(struct mb_discover *discover, int64_t now_ms)
{
    enum mb_status status = MB_OK;

    discover->answered = false;
    if (discover->status != MB_OK) {
        log_failure(discover);
    } else if (discover->asked_opens == discover->lane->source.opens) {
        discover->logged_reason[0] = '\0';
        status = tell(discover, now_ms);
    }
    mb_names_release(&discover->found);
    return status;
}

/* What was sent is awaited and acknowledged first: another order would repeat it. */
static void reopen_step(struct mb_discover *discover, int64_t now_ms)
{
    struct mb_lane *lane = discover->lane;

    mb_lane_release_unsent(lane, NULL);
    if (mb_window_count(&lane->window) > 0 && now_ms < discover->reopen_by_ms)
        return;
    mb_lane_source_finish(lane);
    mb_port_reopen(&lane->source, now_ms);
}

enum mb_status mb_discover_step(struct mb_discover *discover, int64_t now_ms)
{
    const struct mb_lane *lane = discover->lane;

    if (discover->opens_seen != lane->source.opens) {
        discover->opens_seen = lane->source.opens;
        discover->ask_at_ms = now_ms + lane->source.stream->discover_ms;
        discover->reopening = false;
        discover->is_told = false;
        mb_names_release(&discover->told);
    }
    if (lane->drain != NULL || lane->phase != MB_LANE_RUNNING)
        return MB_OK; /* what is there at the start of a drain is all of it */
    if (discover->reopening) {
        reopen_step(discover, now_ms);
        return MB_OK;
    }
    if (discover->answered)
        return answer(discover, now_ms);
    if (!discover->asking && now_ms >= discover->ask_at_ms)
        ask(discover, now_ms);
    return MB_OK;
}

int64_t mb_discover_deadline_ms(const struct mb_discover *discover)
{
    if (discover->lane->drain != NULL || discover->asking)
        return INT64_MAX;
    return discover->reopening ? discover->reopen_by_ms : discover->ask_at_ms;
}
