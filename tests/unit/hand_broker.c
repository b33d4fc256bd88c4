/* SPDX-License-Identifier: Apache-2.0 */
#include "hand_broker.h"

#include "core/runtime/registry.h"
#include "kit/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct hand hand;

struct endpoint_options {
    const char *broker;
};

struct source_options {
    const char *stream;
    struct mb_strings streams;
    const char *group;
};

struct sink_options {
    const char *stream;
    int64_t number;
};

struct mb_source {
    const struct mb_host *host;
    char *names[HAND_STREAMS_MAX];
    bool assigned[HAND_STREAMS_MAX];
    bool started[HAND_STREAMS_MAX];
    size_t count;
};

struct mb_sink {
    struct hand_sink *hand;
};

/* ---- source ---- */

static uint64_t source_traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return hand.traits;
}

static void add_name(struct mb_source *source, const char *name)
{
    assert_true(source->count < HAND_STREAMS_MAX);
    source->names[source->count++] = strdup(name);
}

static enum mb_status source_open(const struct mb_open_params *params,
                                  struct mb_source **ret_source, struct mb_error *err)
{
    const struct source_options *options = params->options;
    const struct mb_strings *streams =
        params->streams != NULL ? params->streams : &options->streams;
    struct mb_source *source = calloc(1, sizeof *source);

    (void)err;
    assert_non_null(source);
    source->host = params->host;
    if (params->streams == NULL && options->stream != NULL)
        add_name(source, options->stream);
    for (size_t i = 0; i < streams->count; i++)
        add_name(source, streams->items[i]);
    for (uint32_t i = 0; i < hand.inputs_count; i++)
        hand.inputs[i].taken = hand.inputs[i].acked;
    snprintf(hand.group, sizeof hand.group, "%s",
             options->group != NULL ? options->group : params->default_group);
    hand.source_opens++;
    hand.source_host = params->host;
    *ret_source = source;
    return MB_OK;
}

static void source_fds(struct mb_source *source, struct mb_wait *wait)
{
    (void)source;
    wait->ready = true;
}

static void raise(struct mb_source *source, uint32_t kind, uint32_t scope, uint64_t count)
{
    struct mb_event event = {.struct_size = sizeof event,
                             .kind = kind,
                             .scope = scope,
                             .epoch = 1,
                             .count = count,
                             .deadline_ms = 5000,
                             .partition = -1,
                             .stream = mb_slice_text(source->names[scope])};

    source->host->event(source->host->context, &event);
}

static enum mb_status source_service(struct mb_source *source, struct mb_error *err)
{
    (void)err;
    for (uint32_t i = 0; i < source->count; i++) {
        if (!source->assigned[i])
            raise(source, MB_EVENT_SCOPE_ASSIGNED, i, 0);
        source->assigned[i] = true;
    }
    if (hand.loses > 0)
        raise(source, MB_EVENT_LOSS, 0, hand.loses);
    hand.loses = 0;
    if (hand.revokes)
        raise(source, MB_EVENT_SCOPE_REVOKED, 0, 0);
    hand.revokes = false;
    return MB_OK;
}

static enum mb_status source_start(struct mb_source *source, const struct mb_scope_start *starts,
                                   size_t count, struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++)
        source->started[starts[i].scope] = true;
    return MB_OK;
}

static enum mb_status source_stop(struct mb_source *source, const uint32_t *scopes, size_t count,
                                  struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++)
        source->started[scopes[i]] = false;
    hand.source_stops++;
    return MB_OK;
}

/* The started scope that reads the stream; false: none does. */
static bool scope_of(const struct mb_source *source, const char *stream, uint32_t *ret_scope)
{
    for (uint32_t i = 0; i < source->count; i++) {
        if (source->started[i] && strcmp(source->names[i], stream) == 0) {
            *ret_scope = i;
            return true;
        }
    }
    return false;
}

static enum mb_status source_poll(struct mb_source *source, struct mb_batch *batch,
                                  struct mb_error *err)
{
    (void)err;
    hand.polls++;
    for (uint32_t i = 0; i < hand.inputs_count && batch->count < batch->count_max; i++) {
        struct hand_input *input = &hand.inputs[i];
        struct mb_message *message;
        uint32_t scope;
        uint32_t size;

        if (input->taken || !scope_of(source, input->stream, &scope))
            continue;
        if (batch->count > 0 && batch->bytes >= batch->bytes_max)
            break;
        message = batch->messages[batch->count++];
        size = message->struct_size;
        *message = input->message;
        message->struct_size = size;
        message->scope = scope;
        message->epoch = 1;
        message->token = i;
        batch->bytes += message->body.size;
        input->taken = true;
    }
    return MB_OK;
}

static enum mb_status source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                 struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++) {
        uint64_t token = acks[i].token;
        bool in_order = (hand.traits & MB_SOURCE_ACKS_IN_ORDER) != 0;

        assert_true(token < hand.inputs_count);
        assert_false(hand.inputs[token].acked);
        for (uint64_t k = in_order ? 0 : token; k <= token; k++)
            hand.inputs[k].acked |=
                strcmp(hand.inputs[k].stream, source->names[acks[i].scope]) == 0;
    }
    return MB_OK;
}

static void source_close(struct mb_source *source)
{
    if (source == NULL)
        return;
    for (size_t i = 0; i < source->count; i++)
        free(source->names[i]);
    free(source);
    hand.source_host = NULL;
}

/* Its list grows at the end, so that scopes keep their numbers. */
static enum mb_status source_streams(struct mb_source *source, const struct mb_strings *streams,
                                     struct mb_error *err)
{
    (void)err;
    hand.streams_calls++;
    for (size_t i = 0; i < streams->count; i++) {
        bool known = false;

        for (size_t k = 0; k < source->count; k++)
            known = known || strcmp(source->names[k], streams->items[i]) == 0;
        if (!known)
            add_name(source, streams->items[i]);
    }
    return MB_OK;
}

/* ---- sink ---- */

static uint64_t sink_traits(const void *endpoint, const void *options)
{
    (void)endpoint;
    (void)options;
    return hand.store.traits;
}

static enum mb_status sink_open(const struct mb_open_params *params, struct mb_sink **ret_sink,
                                struct mb_error *err)
{
    const struct sink_options *options = params->options;
    struct mb_sink *sink = calloc(1, sizeof *sink);

    (void)err;
    assert_non_null(sink);
    sink->hand = &hand.sinks[options->number];
    sink->hand->opens++;
    sink->hand->flight_count = 0;
    sink->hand->provenance = params->provenance;
    sink->hand->strict = params->strict;
    sink->hand->host = params->host;
    *ret_sink = sink;
    return MB_OK;
}

static void sink_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    (void)sink;
    (void)wait;
}

static void copy_text(char *buffer, size_t size, struct mb_slice slice)
{
    snprintf(buffer, size, "%.*s", (int)slice.size,
             slice.data != NULL ? (const char *)slice.data : "");
}

static enum mb_status sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                                size_t *ret_taken, struct mb_error *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++) {
        struct hand_sent *sent = &sink->hand->sent[sink->hand->sent_count];

        if (sink->hand->is_full || sink->hand->sent_count == HAND_SENT_MAX)
            return MB_AGAIN;
        sent->message = *items[i].message;
        copy_text(sent->stream, sizeof sent->stream, items[i].names[0]);
        copy_text(sent->body, sizeof sent->body, items[i].message->body);
        copy_text(sent->key, sizeof sent->key, items[i].message->key);
        sink->hand->sent_count++;
        sink->hand->flight[sink->hand->flight_count++] = items[i].sequence;
        (*ret_taken)++;
    }
    return MB_OK;
}

static enum mb_status sink_completions(struct mb_sink *sink, struct mb_completion *completions,
                                       size_t max, size_t *ret_count, struct mb_error *err)
{
    struct hand_sink *hand_sink = sink->hand;
    size_t count = hand_sink->flight_count < max ? hand_sink->flight_count : max;

    (void)err;
    if (hand_sink->is_slow)
        count = 0;
    for (size_t i = 0; i < count; i++) {
        completions[i] = (struct mb_completion){.sequence = hand_sink->flight[i], .partition = -1};
        if (hand.store.refuses_next)
            completions[i].cause = MB_CAUSE_DESTINATION;
        hand.store.refuses_next = false;
    }
    hand_sink->flight_count -= count;
    memmove(hand_sink->flight, hand_sink->flight + count,
            hand_sink->flight_count * sizeof hand_sink->flight[0]);
    *ret_count = count;
    return MB_OK;
}

static enum mb_status sink_service(struct mb_sink *sink, struct mb_error *err)
{
    if (!sink->hand->is_lost)
        return MB_OK;
    sink->hand->is_lost = false;
    return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "lost", "the sink is lost");
}

static enum mb_status sink_nothing(struct mb_sink *sink, struct mb_error *err)
{
    (void)sink;
    (void)err;
    return MB_OK;
}

static void sink_close(struct mb_sink *sink)
{
    if (sink != NULL) {
        sink->hand->host = NULL;
        if (hand.store.in_transaction)
            sink->hand->sent_count = hand.store.committed_count;
        hand.store.in_transaction = false;
    }
    free(sink);
}

/* ---- describer ---- */

struct mb_describer {
    int unused;
};

static enum mb_status describer_open(const struct mb_open_params *params,
                                     struct mb_describer **ret_describer, struct mb_error *err)
{
    (void)params;
    (void)err;
    *ret_describer = calloc(1, sizeof **ret_describer);
    assert_non_null(*ret_describer);
    return MB_OK;
}

static enum mb_status describer_identity(struct mb_describer *describer, char *identity,
                                         size_t size, struct mb_error *err)
{
    (void)describer;
    hand.identity_asked++;
    if (hand.identity_status != MB_OK)
        return mb_error_set(err, hand.identity_status, hand.identity_cause, "identity", "not told");
    snprintf(identity, size, "%s", hand.identity);
    return MB_OK;
}

static enum mb_status describer_describe(struct mb_describer *describer, uint32_t kind,
                                         const char *name, const char *group,
                                         struct mb_stream_record *ret_record, struct mb_error *err)
{
    (void)describer;
    (void)kind;
    (void)group;
    *ret_record = (struct mb_stream_record){
        .struct_size = sizeof *ret_record, .name = name, .depth_messages = -1};
    (void)err;
    return MB_OK;
}

static void describer_clear(struct mb_describer *describer, struct mb_stream_record *record)
{
    (void)describer;
    (void)record;
}

static enum mb_status describer_ensure(struct mb_describer *describer,
                                       const struct mb_stream_record *record, struct mb_error *err)
{
    (void)describer;
    (void)record;
    (void)err;
    return MB_OK;
}

static enum mb_status describer_list(struct mb_describer *describer,
                                     void (*each)(void *context, const char *name, bool internal),
                                     void *context, struct mb_error *err)
{
    (void)describer;
    (void)err;
    for (size_t i = 0; hand.listed[i] != NULL; i++)
        each(context, hand.listed[i], false);
    return MB_OK;
}

static void describer_close(struct mb_describer *describer)
{
    free(describer);
}

static enum mb_status stream(const void *endpoint, enum mb_role role, const void *options,
                             const struct mb_open_params *params, size_t index,
                             struct mb_stream_record *ret_record)
{
    const struct source_options *source = options;
    const struct sink_options *sink = options;

    (void)endpoint;
    if (role == MB_ROLE_SINK && (params->names_templated & 1) == 0 && index == 0)
        ret_record->name = sink->stream;
    else if (role == MB_ROLE_SOURCE && source->stream != NULL && index == 0)
        ret_record->name = source->stream;
    else if (role == MB_ROLE_SOURCE && source->stream == NULL && index < source->streams.count)
        ret_record->name = source->streams.items[index];
    return ret_record->name != NULL ? MB_OK : MB_NOT_FOUND;
}

/* ---- tables ---- */

#define SOURCE_OPS                                                                                 \
    .struct_size = sizeof(struct mb_source_ops), .traits = source_traits, .open = source_open,     \
    .fds = source_fds, .poll = source_poll, .ack = source_ack, .start = source_start,              \
    .stop = source_stop, .service = source_service, .close = source_close

static const struct mb_source_ops source_ops = {SOURCE_OPS};
static const struct mb_source_ops source_ops_with_streams = {SOURCE_OPS, .streams = source_streams};

static const struct mb_sink_ops sink_ops = {
    .struct_size = sizeof sink_ops,
    .traits = sink_traits,
    .open = sink_open,
    .fds = sink_fds,
    .send = sink_send,
    .completions = sink_completions,
    .flush = sink_nothing,
    .service = sink_service,
    .close = sink_close,
    .begin = hand_sink_begin,
    .positions = hand_sink_positions,
    .commit = hand_sink_commit,
    .abort = hand_sink_abort,
    .load_positions = hand_sink_load_positions,
};

static const struct mb_describe_ops describe_ops = {
    .struct_size = sizeof describe_ops,
    .open = describer_open,
    .identity = describer_identity,
    .describe = describer_describe,
    .clear = describer_clear,
    .ensure = describer_ensure,
    .list = describer_list,
    .close = describer_close,
};

static const struct mb_option endpoint_rows[] = {
    {.name = "broker",
     .type = MB_OPTION_STRING,
     .offset = offsetof(struct endpoint_options, broker),
     .doc = "Address."},
};

static const struct mb_option source_rows[] = {
    {.name = "stream",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_NAMES_STREAM | MB_OPTION_MAY_BE_PATTERN,
     .offset = offsetof(struct source_options, stream),
     .doc = "Stream."},
    {.name = "streams",
     .type = MB_OPTION_LIST,
     .flags = MB_OPTION_NAMES_STREAM | MB_OPTION_MAY_BE_PATTERN,
     .offset = offsetof(struct source_options, streams),
     .doc = "Streams."},
    {.name = "group",
     .type = MB_OPTION_STRING,
     .offset = offsetof(struct source_options, group),
     .doc = "Group."},
};

static const struct mb_option sink_rows[] = {
    {.name = "stream",
     .type = MB_OPTION_TEMPLATE,
     .flags = MB_OPTION_NAMES_STREAM,
     .offset = offsetof(struct sink_options, stream),
     .doc = "Stream."},
    {.name = "number",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct sink_options, number),
     .default_text = "0",
     .min = 0,
     .max = HAND_SINKS_MAX - 1,
     .doc = "Which."},
};

static const struct mb_url_rule url_rules[] = {
    {.scheme = "hand", .authority_option = "broker", .path_option = "stream"},
};

#define TABLE(rows, type)                                                                          \
    {                                                                                              \
        (rows), sizeof(rows) / sizeof *(rows), sizeof(type)                                        \
    }
#define BACKEND(text, source_table)                                                                \
    {                                                                                              \
        .abi_version = MB_ABI_VERSION, .struct_size = sizeof(struct mb_backend), .name = (text),   \
        .doc = "Driven by hand.",                                                                  \
        .endpoint_options = TABLE(endpoint_rows, struct endpoint_options),                         \
        .source_options = TABLE(source_rows, struct source_options),                               \
        .sink_options = TABLE(sink_rows, struct sink_options), .url_rules = url_rules,             \
        .url_rules_count = 1, .source = (source_table), .sink = &sink_ops,                         \
        .describe = &describe_ops, .stream = stream                                                \
    }

static const struct mb_backend hand_backend = BACKEND("hand", &source_ops);
static const struct mb_backend hand_backend_with_streams =
    BACKEND("hand", &source_ops_with_streams);
static const struct mb_backend other_backend = BACKEND("other", &source_ops);

/* ---- bench ---- */

void hand_begin(void)
{
    memset(&hand, 0, sizeof hand);
    hand.identity = "here";
}

static void load(struct hand_bench *bench, const char *route)
{
    char path[] = "/tmp/mbridge-hand-XXXXXX";
    struct mb_diagnostics diagnostics = {0};
    int fd = mkstemp(path);
    enum mb_status status;

    assert_true(fd >= 0);
    dprintf(fd,
            "bridge = { name = \"t\"; };\n"
            "endpoints = { a = { backend = \"hand\"; broker = \"one:1\"; };\n"
            "  b = { backend = \"other\"; broker = \"two:2\"; };\n"
            "  c = { backend = \"hand\"; broker = \"three:3\"; };\n"
            "  named = { backend = \"hand\"; broker = \"one:1\"; identity = \"mine\"; }; };\n"
            "routes = ( { name = \"r\"; %s } );\n",
            route);
    close(fd);
    status = mb_config_load(path, bench->registry, &bench->config, &diagnostics);
    unlink(path);
    for (size_t i = 0; i < diagnostics.count && status != MB_OK; i++)
        print_error("%s\n", diagnostics.items[i].text);
    mb_diagnostics_release(&diagnostics);
    assert_int_equal(status, MB_OK);
}

void hand_open(struct hand_bench *bench, const char *route)
{
    struct mb_error err;

    memset(bench, 0, sizeof *bench);
    bench->logger = (struct mb_logger){.fd = 2, .level = -1};
    bench->now_ms = 1000000;
    assert_int_equal(mb_connector_create(0, &bench->env.connector), MB_OK);
    assert_int_equal(mb_mailbox_create(&bench->env.mailbox), MB_OK);
    bench->env.logger = &bench->logger;
    bench->env.bridge_name = "t";
    assert_int_equal(mb_registry_create(&bench->registry), MB_OK);
    assert_int_equal(
        mb_registry_add(bench->registry,
                        hand.takes_streams ? &hand_backend_with_streams : &hand_backend, &err),
        MB_OK);
    assert_int_equal(mb_registry_add(bench->registry, &other_backend, &err), MB_OK);
    load(bench, route);
    assert_int_equal(mb_lane_create(&bench->env, &bench->config->routes[0], 0, 0, &bench->counters,
                                    &bench->lane, &err),
                     MB_OK);
}

void hand_step(struct hand_bench *bench, unsigned steps)
{
    while (steps-- > 0) {
        mb_mailbox_drain(bench->env.mailbox);
        mb_lane_step(bench->lane, bench->now_ms++);
    }
}

void hand_close(struct hand_bench *bench)
{
    const struct mb_counters *counters = &bench->counters;

    mb_lane_stop(bench->lane, bench->now_ms + 1000);
    for (int i = 0; i < 5000 && bench->lane->phase != MB_LANE_CLOSED; i++)
        hand_step(bench, 1);
    assert_int_equal(bench->lane->phase, MB_LANE_CLOSED);
    if (!bench->lane->failed && bench->lane->unresolved == 0)
        assert_int_equal(hand_count(&counters->received),
                         hand_count(&counters->delivered) + hand_count(&counters->dead_lettered) +
                             hand_count(&counters->filtered) + hand_count(&counters->released) +
                             hand_count(&counters->expired));
    mb_lane_destroy(bench->lane);
    mb_mailbox_destroy(bench->env.mailbox);
    mb_connector_destroy(bench->env.connector);
    mb_config_destroy(bench->config);
    mb_registry_destroy(bench->registry);
}

struct mb_message *hand_put(const char *stream, const char *body)
{
    struct hand_input *input = &hand.inputs[hand.inputs_count++];

    assert_true(hand.inputs_count < HAND_INPUTS_MAX);
    input->stream = stream;
    input->message.body = mb_slice_text(body);
    return &input->message;
}
