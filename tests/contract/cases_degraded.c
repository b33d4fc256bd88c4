/* SPDX-License-Identifier: Apache-2.0 */
/* What a platform cannot hold, and no sidecar may: it is told of, field by field. */
#include "contract.h"

#include "kit/field.h"
#include "kit/sidecar.h"

#include <stdlib.h>

/* Of another platform, so that it is no copy of what this one wrote. */
static const struct mb_origin elsewhere = {
    .struct_size = sizeof elsewhere, .partition = -1, .platform = {"elsewhere", 9}};

/* Every property there is, but those that brokers act upon. */
static struct mb_message *everything_create(void)
{
    static const unsigned char uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    static struct mb_properties properties;
    struct mb_message *message = message_create(0);

    message->origin = &elsewhere;
    message->present |= MB_HAS_MESSAGE_ID | MB_HAS_CORRELATION_ID | MB_HAS_GROUP_SEQUENCE |
                        MB_HAS_TIMESTAMP | MB_HAS_EXPIRES_AT | MB_HAS_PRIORITY;
    properties.message_id = (struct mb_id){.kind = MB_ID_UUID, .bytes = {uuid, sizeof uuid}};
    properties.correlation_id = (struct mb_id){.kind = MB_ID_ULONG, .number = UINT64_MAX};
    properties.group_sequence = 7;
    message->timestamp_ms = 1700000000123;
    message->expires_at_ms = 4102444800000;
    message->priority = 4;
    message->properties = &properties;
    message_set_text(message, MB_HAS_CONTENT_TYPE, &properties.content_type, "text/plain");
    message_set_text(message, MB_HAS_CONTENT_ENCODING, &properties.content_encoding, "identity");
    message_set_text(message, MB_HAS_SUBJECT, &properties.subject, "subject");
    message_set_text(message, MB_HAS_REPLY_TO, &properties.reply_to, "answers");
    message_set_text(message, MB_HAS_GROUP_ID, &properties.group_id, "group");
    message_set_text(message, MB_HAS_REPLY_TO_GROUP_ID, &properties.reply_to_group_id, "groups");
    message_set_text(message, MB_HAS_APP_ID, &properties.app_id, "contract");
    return message;
}

struct kept {
    struct mb_message message;
    bool came;
};

static void keep(void *context, const struct mb_message *message)
{
    struct kept *kept = context;

    if (!kept->came)
        kept->message = *message;
    kept->came = true;
}

/* Of what was sent: brokers may add to it. Headers that show a property are none of the sent ones.
 */
static void check_told(struct contract *contract, const struct mb_message *sent,
                       const struct mb_message *came, uint64_t told)
{
    uint64_t lost = mb_message_difference(sent, came) & sent->present & ~told;

    for (; lost != 0; lost &= lost - 1) {
        const char *name = mb_field_name(lost & -lost);

        check_fail(&contract->check, "%s is not what was sent, and nobody was told",
                   name != NULL ? name : "a field");
    }
}

static void run(struct contract *contract, const struct options *options,
                struct mb_message *message, struct tested_sink *sink)
{
    struct kept kept = {.came = false};
    struct tested_source source;
    uint64_t told;

    sink_send(sink, &message, 1);
    sink_settle(sink);
    told = sink->host.degraded;
    if (sink->host.degraded_count > 1)
        check_fail(&contract->check, "one message was told of %llu times",
                   (unsigned long long)sink->host.degraded_count);
    sink_close(sink);
    source_init(&source, options);
    source.each = keep;
    source.context = &kept;
    if (source_open(&source, options, true) == MB_OK) {
        source_take(&source, 1);
        source_close(&source);
        if (kept.came)
            check_told(contract, message, &kept.message, told);
    }
    source_release(&source);
}

void case_degraded(struct contract *contract)
{
    struct tested_sink *sink;
    struct mb_message *message;
    struct options options;

    if (contract->backend->sink == NULL || contract->backend->source == NULL ||
        !options_open(contract, &options))
        return;
    sink = calloc(1, sizeof *sink);
    if (sink == NULL)
        abort();
    message = everything_create();
    if (sink_open(sink, &options, 16) == MB_OK)
        run(contract, &options, message, sink);
    message_destroy(message);
    free(sink);
    options_close(&options);
}
