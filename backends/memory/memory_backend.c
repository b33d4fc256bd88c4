/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory backend: streams in the memory of the process. It needs no broker, implements all of
 * the contract, and is the one to read first when writing another (docs/backend-guide.md).
 *
 * This file: the option tables, the checks that rows cannot make, and the descriptor.
 */
#include "memory.h"

static const char *const kinds[] = {"log", "queue", NULL};
static const char *const partition_rules[] = {"preserve", "key", NULL};

static const struct mb_option endpoint_rows[] = {
    {.name = "store",
     .type = MB_OPTION_STRING,
     .offset = offsetof(struct memory_endpoint_options, store),
     .default_text = "default",
     .doc = "Endpoints with the same store see the same streams."},
};

static const struct mb_option source_rows[] = {
    {.name = "stream",
     .type = MB_OPTION_STRING,
     .flags = MB_OPTION_NAMES_STREAM | MB_OPTION_MAY_BE_PATTERN,
     .offset = offsetof(struct memory_source_options, stream),
     .doc = "The stream to read, or a pattern of them."},
    {.name = "streams",
     .type = MB_OPTION_LIST,
     .flags = MB_OPTION_NAMES_STREAM | MB_OPTION_MAY_BE_PATTERN,
     .offset = offsetof(struct memory_source_options, streams),
     .doc = "The streams to read, or patterns of them."},
    {.name = "kind",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct memory_source_options, kind),
     .default_text = "log",
     .choices = kinds,
     .doc = "What the streams are: a log is read and kept, a queue is consumed."},
    {.name = "group",
     .type = MB_OPTION_STRING,
     .offset = offsetof(struct memory_source_options, group),
     .doc = "The group whose members share the partitions of a log and store its positions. Unset: "
            "one of the route."},
    {.name = "start",
     .type = MB_OPTION_START,
     .offset = offsetof(struct memory_source_options, start),
     .default_text = "earliest",
     .doc = "Where a group begins that has nothing stored."},
    {.name = "revoke_timeout",
     .type = MB_OPTION_DURATION,
     .offset = offsetof(struct memory_source_options, revoke_timeout_ms),
     .default_text = "10s",
     .min = 1,
     .max = 3600000,
     .doc = "How long a member may take to let go of a partition that another one is to have."},
    {.name = "generate.count",
     .type = MB_OPTION_INTEGER,
     .flags = MB_OPTION_NAMES_STREAM,
     .offset = offsetof(struct memory_source_options, generate_count),
     .min = 1,
     .max = INT64_MAX,
     .doc = "Makes so many messages instead of reading a stream."},
    {.name = "generate.size",
     .type = MB_OPTION_SIZE,
     .offset = offsetof(struct memory_source_options, generate_size_bytes),
     .default_text = "256",
     .min = 0,
     .max = 64 * 1024 * 1024,
     .doc = "Size of a generated body; it begins with the number of the message in 16 hexadecimal "
            "digits."},
    {.name = "generate.rate",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct memory_source_options, generate_rate),
     .default_text = "0",
     .min = 0,
     .max = 100000000,
     .doc = "Generated messages a second; 0: as many as are taken."},
    {.name = "generate.keys",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct memory_source_options, generate_keys),
     .default_text = "0",
     .min = 0,
     .max = INT64_MAX,
     .doc = "How many different keys generated messages have in turn; 0: none has a key."},
};

static const struct mb_option sink_rows[] = {
    {.name = "stream",
     .type = MB_OPTION_TEMPLATE,
     .flags = MB_OPTION_NAMES_STREAM,
     .offset = offsetof(struct memory_sink_options, stream),
     .slot = 0,
     .doc = "The stream to write."},
    {.name = "discard",
     .type = MB_OPTION_BOOL,
     .flags = MB_OPTION_NAMES_STREAM | MB_OPTION_UNSAFE,
     .offset = offsetof(struct memory_sink_options, discard),
     .default_text = "false",
     .doc = "Confirm every message and keep none: for measuring."},
    {.name = "kind",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct memory_sink_options, kind),
     .default_text = "log",
     .choices = kinds,
     .doc = "What the stream becomes when it is created."},
    {.name = "partitions",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct memory_sink_options, partitions),
     .default_text = "0",
     .min = 0,
     .max = MEMORY_PARTITIONS_MAX,
     .doc = "Partitions of a log when it is created; 0: as many as the source has, or 1."},
    {.name = "partition",
     .type = MB_OPTION_ENUM,
     .offset = offsetof(struct memory_sink_options, partition),
     .default_text = "preserve",
     .choices = partition_rules,
     .doc = "Which partition a message goes to: the one it had where that exists, else by key; or "
            "always by key."},
    {.name = "limit",
     .type = MB_OPTION_INTEGER,
     .offset = offsetof(struct memory_sink_options, limit),
     .default_text = "1000000",
     .min = 1,
     .max = 1000000000,
     .doc = "Messages that this sink lets a stream hold, in each partition: a full log forgets its "
            "oldest one for a new one, a full queue is waited for."},
};

static const struct mb_url_rule url_rules[] = {
    {.scheme = "memory", .authority_option = "store", .path_option = "stream"},
};

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static const char *library_version(void)
{
    return "built in";
}

static void report_text(void (*report)(void *, const struct mb_finding *), void *context,
                        const char *option, const char *text)
{
    struct mb_finding finding = {.is_error = true, .option = option};

    snprintf(finding.text, sizeof finding.text, "%s", text);
    report(context, &finding);
}

static void validate(const void *endpoint, enum mb_role role, const void *role_options,
                     bool ordered, void (*report)(void *context, const struct mb_finding *finding),
                     void *context)
{
    const struct memory_source_options *source = role_options;
    const struct memory_sink_options *sink = role_options;

    (void)endpoint;
    (void)ordered;
    if (role_options == NULL)
        return;
    if (role == MB_ROLE_SOURCE && source->generate_count > 0 && source->streams.count > 0)
        report_text(report, context, "streams",
                    "a source that generates reads no streams; remove one of the two");
    if (role == MB_ROLE_SOURCE && source->generate_count > 0 && source->kind == MB_STREAM_QUEUE)
        report_text(report, context, "kind", "what is generated is a log");
    if (role == MB_ROLE_SOURCE && source->stream != NULL && source->streams.count > 0)
        report_text(report, context, "streams", "give stream or streams, not both");
    if (role == MB_ROLE_SINK && sink->discard && sink->stream != NULL)
        report_text(report, context, "discard",
                    "a sink that discards writes no stream; remove one of the two");
    if (role == MB_ROLE_SINK && sink->kind == MB_STREAM_QUEUE && sink->partitions > 1)
        report_text(report, context, "partitions", "a queue has no partitions");
}

static const char *source_stream(const struct memory_source_options *options,
                                 const struct mb_open_params *params, size_t index)
{
    if (options->generate_count > 0)
        return NULL;
    if (params != NULL && params->streams != NULL && params->streams->count > 0)
        return index < params->streams->count ? params->streams->items[index] : NULL;
    if (options->stream != NULL)
        return index == 0 ? options->stream : NULL;
    return index < options->streams.count ? options->streams.items[index] : NULL;
}

static enum mb_status stream(const void *endpoint, enum mb_role role, const void *role_options,
                             const struct mb_open_params *params, size_t index,
                             struct mb_stream_record *ret_record)
{
    const struct memory_sink_options *sink = role_options;
    const struct memory_source_options *source = role_options;

    (void)endpoint;
    *ret_record = (struct mb_stream_record){
        .struct_size = sizeof *ret_record, .depth_messages = -1, .size_max_bytes = -1};
    if (role == MB_ROLE_SOURCE) {
        ret_record->name = source_stream(source, params, index);
        ret_record->kind = (uint32_t)source->kind;
        return ret_record->name != NULL ? MB_OK : MB_NOT_FOUND;
    }
    if (index > 0 || sink->stream == NULL || sink->discard ||
        (params != NULL && (params->names_templated & 1u) != 0))
        return MB_NOT_FOUND;
    ret_record->name = sink->stream;
    ret_record->kind = (uint32_t)sink->kind;
    ret_record->partitions_count = (int32_t)sink->partitions;
    return MB_OK;
}

static const struct mb_backend descriptor = {
    .abi_version = MB_ABI_VERSION,
    .struct_size = sizeof descriptor,
    .name = "memory",
    .doc = "Streams in the memory of this process: for trying things out, tests and measurements.",
    .provider = "mbridge",
    .library_version = library_version,
    .endpoint_options = {endpoint_rows, COUNT(endpoint_rows),
                         sizeof(struct memory_endpoint_options)},
    .source_options = {source_rows, COUNT(source_rows), sizeof(struct memory_source_options)},
    .sink_options = {sink_rows, COUNT(sink_rows), sizeof(struct memory_sink_options)},
    .url_rules = url_rules,
    .url_rules_count = COUNT(url_rules),
    .source = &memory_source_ops,
    .sink = &memory_sink_ops,
    .describe = &memory_describe_ops,
    .validate = validate,
    .stream = stream,
};

MB_EXPORT mb_backend_entry mbridge_backend;

const struct mb_backend *mbridge_backend(void)
{
    return &descriptor;
}
