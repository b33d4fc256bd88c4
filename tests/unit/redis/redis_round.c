/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/redis/redis_round.h"

#include <stdlib.h>

#define SCRATCH_MAX (64u * 1024 * 1024)
#define APPENDED_MS INT64_C(1700000000123)

static const struct mb_origin in_a_stream = {.struct_size = sizeof(struct mb_origin),
                                             .platform = {"redis", 5}};
static const struct mb_origin in_a_queue = {.struct_size = sizeof(struct mb_origin),
                                            .platform = {"memory", 6}};

static void note_degraded(void *context, uint64_t fields)
{
    struct redis_round *round = context;

    round->degraded |= fields;
}

static void note_log(void *context, enum mb_log_level level, const char *text)
{
    struct redis_round *round = context;

    (void)level;
    (void)text;
    round->warnings++;
}

void redis_round_init(struct redis_round *round)
{
    struct mb_open_params params = {
        .struct_size = sizeof params, .host = &round->host, .provenance = MB_PROVENANCE_SIDECAR};

    memset(round, 0, sizeof *round);
    round->host = (struct mb_host){.struct_size = sizeof round->host,
                                   .context = round,
                                   .degraded = note_degraded,
                                   .log = note_log};
    round->body_field = MB_SLICE_LITERAL("body");
    mb_carry_init(&round->carry, &params, REDIS_PLATFORM, redis_project, &round->body_field,
                  REDIS_SIDECAR_MAX);
    mb_carry_init(&round->any, &params, REDIS_PLATFORM, redis_project_any, &round->body_field,
                  REDIS_SIDECAR_MAX);
    mb_scratch_init(&round->scratch, SCRATCH_MAX);
}

void redis_round_release(struct redis_round *round)
{
    mb_carry_release(&round->carry);
    mb_carry_release(&round->any);
    mb_scratch_release(&round->scratch);
}

void redis_round_read(struct redis_round *round, const struct redis_field *fields, size_t count,
                      struct mb_message *ret_message)
{
    memset(ret_message, 0, sizeof *ret_message);
    ret_message->struct_size = sizeof *ret_message;
    ret_message->origin = &in_a_stream;
    if (redis_entry_decode(fields, count, round->body_field, &round->scratch.arena, ret_message) !=
        MB_OK)
        abort();
    ret_message->present |= MB_HAS_TIMESTAMP;
    ret_message->timestamp_kind = MB_TIMESTAMP_LOG_APPEND;
    ret_message->timestamp_ms = APPENDED_MS;
}

enum mb_status redis_round_write(struct redis_round *round, const struct mb_message *message,
                                 struct redis_field **ret_fields, size_t *ret_count,
                                 struct mb_error *err)
{
    struct mb_outgoing item = {.message = message};
    struct mb_carried carried;
    enum mb_status status = mb_carry_prepare(&round->carry, &item, &carried, err);

    if (status != MB_OK)
        return status;
    if (redis_entry_encode(&carried, round->body_field, &round->carry.scratch.arena, ret_fields,
                           ret_count) != MB_OK)
        abort();
    return MB_OK;
}

/* What is written lives until the next message; what is compared later is copied. */
static struct redis_field *copy_fields(struct redis_round *round, const struct redis_field *fields,
                                       size_t count)
{
    struct mb_arena *arena = &round->scratch.arena;
    struct redis_field *copy = mb_arena_alloc(arena, count * sizeof *copy);

    if (copy == NULL)
        abort();
    for (size_t i = 0; i < count; i++) {
        copy[i].name = mb_slice_copy(arena, fields[i].name);
        copy[i].value = mb_slice_copy(arena, fields[i].value);
        if (copy[i].name.data == NULL || copy[i].value.data == NULL)
            return NULL; /* a field of an entry is never null */
    }
    return copy;
}

static size_t carrier_of(struct mb_slice name)
{
    static const char *const names[] = {REDIS_FIELD_SIDECAR, REDIS_FIELD_PATH, REDIS_FIELD_ID};

    for (size_t i = 0; i < 3; i++) {
        if (mb_slice_equal(name, mb_slice_text(names[i])))
            return i;
    }
    return 3;
}

/* The next field from *at on that is no carrier, or count; carriers are noted. */
static size_t next_field(const struct redis_field *fields, size_t count, size_t at,
                         struct mb_slice carriers[3])
{
    for (; at < count; at++) {
        size_t carrier = carrier_of(fields[at].name);

        if (carrier == 3 || carriers[carrier].data != NULL)
            return at;
        carriers[carrier] = fields[at].value;
    }
    return at;
}

/* The first of each carrier may stand elsewhere; all other fields have their order. */
static bool same_fields(const struct redis_field *a, size_t a_count, const struct redis_field *b,
                        size_t b_count)
{
    struct mb_slice of_a[3] = {MB_SLICE_NULL, MB_SLICE_NULL, MB_SLICE_NULL};
    struct mb_slice of_b[3] = {MB_SLICE_NULL, MB_SLICE_NULL, MB_SLICE_NULL};
    size_t i = next_field(a, a_count, 0, of_a);
    size_t j = next_field(b, b_count, 0, of_b);

    while (i < a_count && j < b_count) {
        if (!mb_slice_equal(a[i].name, b[j].name) || !mb_slice_equal(a[i].value, b[j].value))
            return false;
        i = next_field(a, a_count, i + 1, of_a);
        j = next_field(b, b_count, j + 1, of_b);
    }
    for (size_t k = 0; k < 3; k++) {
        if ((of_a[k].data == NULL) != (of_b[k].data == NULL) || !mb_slice_equal(of_a[k], of_b[k]))
            return false;
    }
    return i == a_count && j == b_count;
}

/* The way that takes any message writes the same. */
static const char *check_fields(struct redis_round *round, const struct mb_carried *carried,
                                struct mb_arena *arena, const struct redis_field *fields,
                                size_t count)
{
    struct redis_field *second;
    size_t second_count;

    if (redis_entry_encode_any(carried, round->body_field, arena, &second, &second_count) != MB_OK)
        abort();
    if (second_count != count)
        return "both ways write as many fields";
    for (size_t i = 0; i < count; i++) {
        if (!mb_slice_equal(fields[i].name, second[i].name) ||
            !mb_slice_equal(fields[i].value, second[i].value))
            return "both ways write the same fields in the same order";
    }
    return NULL;
}

/* The short way and the one for any message: the same natural message (NULL: it is written as it
 * is), the same fields. */
static const char *check_ways(struct redis_round *round, const struct mb_message *message,
                              const struct mb_message *natural, const struct redis_field *fields,
                              size_t count)
{
    struct mb_outgoing item = {.message = message};
    struct mb_carried carried;
    struct mb_error err;

    if (mb_carry_prepare(&round->any, &item, &carried, &err) != MB_OK)
        return "both ways take the message";
    if (natural != NULL && (mb_message_difference(natural, &round->any.natural) != 0 ||
                            mb_message_difference(&round->any.natural, natural) != 0))
        return "both ways come to the same natural message";
    return check_fields(round, &carried, &round->any.scratch.arena, fields, count);
}

static const char *check_verbatim(struct redis_round *round, const struct mb_message *message,
                                  const struct redis_field *first, size_t first_count)
{
    struct redis_field *second;
    size_t second_count;
    struct mb_error err;

    if (redis_round_write(round, message, &second, &second_count, &err) != MB_OK)
        return "an entry can be written again";
    if (!same_fields(first, first_count, second, second_count))
        return "an entry that is written again is the same";
    return check_ways(round, message, NULL, second, second_count);
}

const char *redis_round_trip(struct redis_round *round, const struct mb_message *message)
{
    const char *broken;

    struct mb_message foreign = *message;
    struct redis_field *fields;
    struct mb_message natural;
    struct mb_message back;
    struct mb_message restored;
    struct mb_error err;
    bool malformed = false;
    size_t count;

    mb_scratch_reset(&round->scratch);
    round->degraded = 0;
    foreign.struct_size = sizeof foreign;
    foreign.origin = &in_a_queue;
    foreign.sidecar = MB_SLICE_NULL;
    if (redis_round_write(round, &foreign, &fields, &count, &err) != MB_OK)
        return err.status == MB_REJECTED ? NULL : "only a rejected message is not written";
    if (count == 0)
        return "an entry has a field";
    natural = round->carry.natural;
    fields = copy_fields(round, fields, count);
    if (fields == NULL)
        return "a field is bytes";
    broken = check_ways(round, &foreign, &natural, fields, count);
    if (broken != NULL)
        return broken;
    redis_round_read(round, fields, count, &back);
    if (mb_message_difference(&back, &natural) != 0)
        return "what is read is the natural message";
    if (mb_sidecar_restore(&back, &round->scratch.arena, &restored, &malformed) != MB_OK)
        abort();
    if (malformed)
        return "a sidecar is well formed";
    if (round->degraded == 0 && mb_message_difference(&restored, &foreign) != 0)
        return "the sidecar brings the message back";
    return check_verbatim(round, &back, fields, count);
}

const char *redis_round_ways(struct redis_round *round, const struct mb_message *message)
{
    struct mb_message foreign = *message;
    struct redis_field *fields;
    struct mb_message natural;
    struct mb_error err;
    size_t count;

    foreign.struct_size = sizeof foreign;
    foreign.origin = &in_a_queue;
    if (redis_round_write(round, &foreign, &fields, &count, &err) != MB_OK)
        return "a message is written";
    natural = round->carry.natural;
    return check_ways(round, &foreign, &natural, fields, count);
}

const char *redis_round_entry(struct redis_round *round, const struct redis_field *fields,
                              size_t count)
{
    struct mb_message message;

    mb_scratch_reset(&round->scratch);
    redis_round_read(round, fields, count, &message);
    return check_verbatim(round, &message, fields, count);
}
