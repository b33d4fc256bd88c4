/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/carry.h"

#include "kit/field.h"
#include "kit/sidecar_parts.h"

#define SCRATCH_SIZE_MAX (512u * 1024u * 1024u) /* a body of the largest size, as JSON */
#define ID_SIZE_MAX      4096u
#define NAMES_SIZE       360u

void mb_carry_init(struct mb_carry *carry, const struct mb_open_params *params,
                   const char *platform, mb_project_fn *project, void *context, size_t sidecar_max)
{
    memset(carry, 0, sizeof *carry);
    carry->platform = mb_slice_text(platform);
    carry->project = project;
    carry->context = context;
    carry->host = params->host;
    carry->sidecar_max = sidecar_max;
    carry->provenance = params->provenance;
    carry->strict = params->strict;
    mb_scratch_init(&carry->scratch, SCRATCH_SIZE_MAX);
    /* The writer takes up to three times of it before it knows what fits. */
    carry->sidecar.max_size = sidecar_max < SIZE_MAX / 4 ? 4 * sidecar_max : SIZE_MAX;
    carry->id.max_size = ID_SIZE_MAX;
}

void mb_carry_release(struct mb_carry *carry)
{
    mb_scratch_release(&carry->scratch);
    mb_text_release(&carry->sidecar);
    mb_text_release(&carry->id);
}

static enum mb_status no_memory(struct mb_error *err)
{
    return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
}

static bool is_same_platform(const struct mb_carry *carry, const struct mb_message *message)
{
    return message->origin != NULL && mb_slice_equal(message->origin->platform, carry->platform);
}

/* The path and the id, by provenance. */
static enum mb_status add_carriers(struct mb_carry *carry, const struct mb_message *message,
                                   struct mb_carried *carried, struct mb_error *err)
{
    if ((carry->provenance & MB_PROVENANCE_PATH) != 0)
        carried->path_size = mb_path_write(message, carried->path);
    if ((carry->provenance & MB_PROVENANCE_ID) == 0)
        return MB_OK;
    mb_text_clear(&carry->id);
    mb_stable_id_add(&carry->id, message);
    if (carry->id.memory_out)
        return no_memory(err);
    if (!carry->id.failed && carry->id.size > 0)
        carried->id = (struct mb_slice){carry->id.data, carry->id.size};
    return MB_OK;
}

/* Another platform's message as it was before an earlier bridge. */
static enum mb_status restore(struct mb_carry *carry, const struct mb_message **message,
                              struct mb_error *err)
{
    bool malformed = false;

    if ((*message)->sidecar.data == NULL)
        return MB_OK;
    if (mb_sidecar_restore(*message, &carry->scratch.arena, &carry->restored, &malformed) != MB_OK)
        return no_memory(err);
    *message = &carry->restored;
    if (malformed && !carry->told_malformed) {
        carry->told_malformed = true;
        carry->host->log(carry->host->context, MB_LOG_WARN,
                         "a message came with a sidecar that is malformed or of a later version: "
                         "it is carried as if it had none (said once)");
    }
    return MB_OK;
}

/* All headers of the section are there, in their order, whatever stands between them. */
static bool holds_section(const struct mb_message *natural, const struct mb_message *message,
                          uint8_t section)
{
    uint32_t j = 0;

    for (uint32_t i = 0; i < message->headers_count; i++) {
        const struct mb_header *header = &message->headers[i];

        if (header->section != section)
            continue;
        for (; j < natural->headers_count; j++) {
            const struct mb_header *other = &natural->headers[j];

            if (other->section == section && mb_slice_equal(other->name, header->name) &&
                mb_name_type(other) == mb_name_type(header) &&
                mb_value_same(&other->value, &header->value))
                break;
        }
        if (j++ >= natural->headers_count)
            return false;
    }
    return true;
}

/* What the natural message lacks, without a sidecar. */
static uint64_t missing(const struct mb_message *message, const struct mb_message *natural)
{
    uint64_t missing = mb_message_difference(message, natural);

    if ((missing & MB_LOST_HEADERS) != 0 && holds_section(natural, message, MB_SECTION_APPLICATION))
        missing &= ~MB_LOST_HEADERS;
    if ((missing & MB_LOST_ANNOTATIONS) != 0 &&
        holds_section(natural, message, MB_SECTION_MESSAGE_ANNOTATIONS))
        missing &= ~MB_LOST_ANNOTATIONS;
    if ((missing & MB_LOST_FOOTER) != 0 && holds_section(natural, message, MB_SECTION_FOOTER))
        missing &= ~MB_LOST_FOOTER;
    return missing;
}

static enum mb_status refuse(const struct mb_carry *carry, uint64_t lost, struct mb_error *err)
{
    char bytes[NAMES_SIZE];
    struct mb_text names = {.data = bytes, .capacity = sizeof bytes, .max_size = sizeof bytes};

    for (uint64_t fields = lost; fields != 0; fields &= fields - 1) {
        const char *name = mb_field_name(fields & (~fields + 1));

        if (name != NULL)
            mb_text_addf(&names, "%s%s", names.size > 0 ? ", " : "", name);
    }
    return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "fidelity",
                        "%.*s cannot carry without loss: %.*s", (int)carry->platform.size,
                        (const char *)carry->platform.data, (int)names.size, names.data);
}

enum mb_status mb_carry_lost(const struct mb_carry *carry, uint64_t lost, struct mb_error *err)
{
    const struct mb_host *host = carry->host;

    if (lost == 0)
        return MB_OK;
    if (carry->strict)
        return refuse(carry, lost, err);
    if (host->struct_size > offsetof(struct mb_host, degraded) && host->degraded != NULL)
        host->degraded(host->context, lost);
    return MB_OK;
}

/* The sidecar of what natural lost, and what is lost for good. */
static enum mb_status explain(struct mb_carry *carry, const struct mb_message *message,
                              struct mb_carried *carried, struct mb_error *err)
{
    uint64_t absent = ~(uint64_t)message->present & UINT32_MAX;
    uint64_t lost = 0;

    if ((carry->provenance & MB_PROVENANCE_SIDECAR) != 0) {
        mb_text_clear(&carry->sidecar);
        if (mb_sidecar_write(message, &carry->natural, carry->sidecar_max, &carry->sidecar,
                             &lost) != MB_OK)
            return no_memory(err);
        if (carry->sidecar.size > 0)
            carried->sidecar = (struct mb_slice){carry->sidecar.data, carry->sidecar.size};
    } else {
        lost = missing(message, &carry->natural);
    }
    return mb_carry_lost(carry, (lost & ~absent) | message->unheld, err);
}

enum mb_status mb_carry_prepare(struct mb_carry *carry, const struct mb_outgoing *item,
                                struct mb_carried *ret_carried, struct mb_error *err)
{
    const struct mb_message *message = item->message;
    struct mb_message *natural = &carry->natural;
    enum mb_status status;

    ret_carried->message = message;
    ret_carried->sidecar = MB_SLICE_NULL;
    ret_carried->id = MB_SLICE_NULL;
    ret_carried->path_size = 0;
    ret_carried->verbatim = is_same_platform(carry, message);
    if (ret_carried->verbatim)
        return add_carriers(carry, message, ret_carried, err);
    mb_scratch_reset(&carry->scratch);
    status = restore(carry, &message, err);
    if (status != MB_OK)
        return status;
    mb_message_copy(natural, message);
    if (!mb_properties_own(natural, &carry->scratch.arena))
        return no_memory(err);
    natural->raw_kind = MB_RAW_NONE;
    natural->raw = MB_SLICE_NULL;
    ret_carried->message = natural;
    status = carry->project(carry->context, item, message, &carry->scratch, natural, err);
    if (status != MB_OK)
        return status == MB_NO_MEMORY ? no_memory(err) : status;
    status = explain(carry, message, ret_carried, err);
    if (status != MB_OK)
        return status;
    return add_carriers(carry, message, ret_carried, err);
}
