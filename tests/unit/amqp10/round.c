/* SPDX-License-Identifier: Apache-2.0 */
#include "round.h"

#include <kit/field.h>
#include <kit/sidecar.h>
#include <kit/types.h>

#define TEXT_SIZE_MAX    ((size_t)64 << 20)
#define SCRATCH_SIZE_MAX ((size_t)16 << 20)

static struct mb_text first = {.max_size = TEXT_SIZE_MAX};
static struct mb_text second = {.max_size = TEXT_SIZE_MAX};
static struct mb_text sidecar = {.max_size = TEXT_SIZE_MAX};
static struct mb_scratch scratch;

void amqp10_round_release(void)
{
    mb_text_release(&first);
    mb_text_release(&second);
    mb_text_release(&sidecar);
    mb_scratch_release(&scratch);
}

static enum mb_status encode(const struct amqp10_encoding *encoding,
                             const struct mb_carried *carried, struct mb_text *out)
{
    struct mb_outgoing item = {.message = carried->message};
    struct mb_error err;

    mb_text_clear(out);
    return amqp10_encode(encoding, &item, carried, out, &err);
}

static enum mb_status decode(const struct mb_text *text, struct mb_arena *arena,
                             struct mb_message *ret_message)
{
    uint64_t size;

    memset(ret_message, 0, sizeof *ret_message);
    ret_message->struct_size = sizeof *ret_message;
    return amqp10_decode((struct mb_slice){text->data, text->size}, arena, ret_message, &size);
}

/* All that the difference does not look at. */
static bool same_carriers(const struct mb_message *message, const struct mb_carried *carried)
{
    unsigned char path[8 * MB_PATH_HOPS_MAX];
    size_t path_size = mb_path_write(message, path);

    return mb_slice_equal(message->sidecar, carried->sidecar) &&
           mb_slice_equal(message->stable_id, carried->id) && path_size == carried->path_size &&
           memcmp(path, carried->path, path_size) == 0;
}

/* For a sink of the same platform: with the bare bytes, and without. */
static const char *go_on(const struct mb_message *message, struct mb_arena *arena)
{
    struct amqp10_encoding encoding = {.to_from_slot = -1};
    struct mb_carried carried = {.message = message, .verbatim = true};
    struct mb_message again;
    struct mb_message bare = *message;

    if (encode(&encoding, &carried, &second) != MB_OK)
        return "what was decoded is encoded verbatim";
    if (decode(&second, arena, &again) != MB_OK || again.reject_reason != NULL)
        return "what was encoded verbatim is decoded";
    if (!mb_slice_equal(again.raw, message->raw))
        return "the bare message is the same, byte for byte";
    if (mb_message_difference(&again, message) != 0)
        return "verbatim, nothing changes";
    if (!mb_slice_equal(again.sidecar, message->sidecar) ||
        !mb_slice_equal(again.stable_id, message->stable_id) ||
        again.path_count != message->path_count)
        return "verbatim, carriers stay";
    bare.raw_kind = MB_RAW_NONE;
    carried.message = &bare;
    if (encode(&encoding, &carried, &second) != MB_OK)
        return "what was decoded is encoded by its fields";
    if (decode(&second, arena, &again) != MB_OK || again.reject_reason != NULL)
        return "what was encoded by its fields is decoded";
    if (mb_message_difference(&again, message) != 0)
        return "by its fields, nothing changes";
    return NULL;
}

static struct amqp10_encoding options_of(struct generator *generator)
{
    struct amqp10_encoding encoding = {.to_from_slot = -1};

    encoding.durable_default = generator_one_in(generator, 2);
    encoding.group_from_key = generator_one_in(generator, 2);
    encoding.trust_user_id = generator_one_in(generator, 2);
    if (generator_one_in(generator, 4))
        encoding.to_from_slot = 1;
    return encoding;
}

static const char *project(struct generator *generator, struct amqp10_encoding *encoding,
                           const struct mb_message *message, struct mb_message *natural)
{
    struct mb_outgoing item = {.message = message};
    struct mb_error err;

    if (scratch.size_max == 0)
        mb_scratch_init(&scratch, SCRATCH_SIZE_MAX);
    mb_scratch_reset(&scratch);
    *natural = *message;
    if (generator_one_in(generator, 2))
        item.names[1] = generate_text(generator, 20);
    if (!mb_properties_own(natural, &scratch.arena) ||
        amqp10_project(encoding, &item, message, &scratch, natural, &err) != MB_OK)
        return "a message has a natural form";
    encoding->to_from_slot = -1; /* it has been set */
    return NULL;
}

const char *amqp10_round(struct generator *generator)
{
    struct amqp10_encoding encoding = options_of(generator);
    struct mb_carried carried = {.message = NULL};
    struct mb_message message;
    struct mb_message natural;
    struct mb_message read;
    struct mb_message restored;
    const char *broken;
    uint64_t lost = 0;
    bool malformed;

    generate_message(generator, &message);
    broken = project(generator, &encoding, &message, &natural);
    if (broken != NULL)
        return broken;
    mb_text_clear(&sidecar);
    if (mb_sidecar_write(&message, &natural, TEXT_SIZE_MAX, &sidecar, &lost) != MB_OK || lost != 0)
        return "a sidecar of any size holds everything";
    carried.message = &natural;
    if (sidecar.size > 0)
        carried.sidecar = (struct mb_slice){sidecar.data, sidecar.size};
    if (generator_one_in(generator, 2))
        carried.id = generate_bytes(generator, 30);
    carried.path_size = 8 * (size_t)generator_below(generator, MB_PATH_HOPS_MAX + 1);
    memset(carried.path, 'p', carried.path_size);
    if (encode(&encoding, &carried, &first) != MB_OK)
        return "a natural message has an encoding";
    if (decode(&first, &generator->scratch->arena, &read) != MB_OK || read.reject_reason != NULL)
        return "what was encoded is decoded";
    if (mb_message_difference(&read, &natural) != 0)
        return "what is read back is the natural message";
    if (!same_carriers(&read, &carried))
        return "carriers arrive";
    if (mb_sidecar_restore(&read, &generator->scratch->arena, &restored, &malformed) != MB_OK ||
        malformed)
        return "the sidecar is well-formed";
    if (mb_message_difference(&restored, &message) != 0)
        return "the sidecar gives the message back";
    return go_on(&read, &generator->scratch->arena);
}

const char *amqp10_round_bytes(struct mb_slice bytes, struct mb_arena *arena)
{
    struct amqp10_encoding encoding = {.to_from_slot = -1};
    struct mb_carried carried = {.verbatim = true};
    struct mb_message message = {.struct_size = sizeof message};
    struct mb_message again;
    uint64_t size;

    if (amqp10_decode(bytes, arena, &message, &size) != MB_OK)
        return "its memory is bounded by its bytes";
    if (message.reject_reason != NULL) {
        if (message.reject_text == NULL || message.body_kind != MB_BODY_BYTES ||
            message.present != 0 || message.headers_count != 0 ||
            !mb_slice_equal(message.body, bytes))
            return "what is no message is handed over as it came";
        return NULL;
    }
    message.raw_kind = MB_RAW_NONE;
    carried.message = &message;
    if (encode(&encoding, &carried, &first) != MB_OK)
        return bytes.size > MB_TYPES_BARE_MAX ? NULL : "what was decoded is encoded";
    if (decode(&first, arena, &again) != MB_OK || again.reject_reason != NULL)
        return "what was encoded is decoded";
    if (mb_message_difference(&again, &message) != 0)
        return "decoded, encoded and decoded again it is the same";
    again.raw_kind = MB_RAW_NONE;
    carried.message = &again;
    if (encode(&encoding, &carried, &second) != MB_OK || first.size != second.size ||
        memcmp(first.data, second.data, first.size) != 0)
        return "its second encoding is the first";
    return NULL;
}
