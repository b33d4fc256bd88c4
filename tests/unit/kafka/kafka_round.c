/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/kafka/kafka_round.h"

#include <stdlib.h>

#define NOW_MS      INT64_C(1700000000123)
#define SIDECAR_MAX (16u * 1024 * 1024)
#define SCRATCH_MAX (64u * 1024 * 1024)

static const struct mb_origin in_a_topic = {.struct_size = sizeof(struct mb_origin),
                                            .platform = {"kafka", 5}};
static const struct mb_origin in_a_queue = {.struct_size = sizeof(struct mb_origin),
                                            .platform = {"memory", 6}};

static void note_degraded(void *context, uint64_t fields)
{
    struct kafka_round *round = context;

    round->degraded |= fields;
}

static void note_log(void *context, enum mb_log_level level, const char *text)
{
    struct kafka_round *round = context;

    (void)level;
    (void)text;
    round->warnings++;
}

void kafka_round_init(struct kafka_round *round)
{
    struct mb_open_params params = {
        .struct_size = sizeof params, .host = &round->host, .provenance = MB_PROVENANCE_SIDECAR};

    memset(round, 0, sizeof *round);
    round->host = (struct mb_host){.struct_size = sizeof round->host,
                                   .context = round,
                                   .degraded = note_degraded,
                                   .log = note_log};
    round->projection.now_ms = NOW_MS;
    mb_carry_init(&round->carry, &params, "kafka", kafka_map_project, &round->projection,
                  SIDECAR_MAX);
    mb_scratch_init(&round->scratch, SCRATCH_MAX);
}

void kafka_round_release(struct kafka_round *round)
{
    mb_carry_release(&round->carry);
    mb_scratch_release(&round->scratch);
}

void kafka_round_read(struct kafka_round *round, const struct kafka_outgoing *outgoing,
                      struct mb_message *ret_message)
{
    struct kafka_record record = {.key = outgoing->key,
                                  .value = outgoing->value,
                                  .headers = outgoing->headers,
                                  .timestamp_ms = outgoing->timestamp_ms,
                                  .timestamp_type = RD_KAFKA_TIMESTAMP_CREATE_TIME};
    uint64_t bytes;

    memset(ret_message, 0, sizeof *ret_message);
    ret_message->struct_size = sizeof *ret_message;
    ret_message->origin = &in_a_topic;
    if (kafka_map_decode(&record, &round->scratch.arena, ret_message, &bytes) != MB_OK)
        abort();
}

static bool same_headers(const rd_kafka_headers_t *a, const rd_kafka_headers_t *b)
{
    size_t count = a != NULL ? rd_kafka_header_cnt(a) : 0;

    if (count != (b != NULL ? rd_kafka_header_cnt(b) : 0))
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *names[2];
        const void *values[2];
        size_t sizes[2];

        rd_kafka_header_get_all(a, i, &names[0], &values[0], &sizes[0]);
        rd_kafka_header_get_all(b, i, &names[1], &values[1], &sizes[1]);
        if (strcmp(names[0], names[1]) != 0 || (values[0] == NULL) != (values[1] == NULL) ||
            sizes[0] != sizes[1] || (sizes[0] > 0 && memcmp(values[0], values[1], sizes[0]) != 0))
            return false;
    }
    return true;
}

static bool same_bytes(struct mb_slice a, struct mb_slice b)
{
    return (a.data == NULL) == (b.data == NULL) && mb_slice_equal(a, b);
}

/* From topic to topic nothing changes, carriers included. */
static const char *check_verbatim(struct kafka_round *round, const struct mb_message *message,
                                  const struct kafka_outgoing *first)
{
    struct mb_outgoing item = {.message = message};
    struct kafka_outgoing second;
    struct mb_carried carried;
    struct mb_error err;
    bool same;

    if (mb_carry_prepare(&round->carry, &item, &carried, &err) != MB_OK || !carried.verbatim ||
        kafka_map_encode(&carried, &second) != MB_OK)
        return "a record can be written again";
    same = same_bytes(first->key, second.key) && same_bytes(first->value, second.value) &&
           first->timestamp_ms == second.timestamp_ms &&
           same_headers(first->headers, second.headers);
    if (second.headers != NULL)
        rd_kafka_headers_destroy(second.headers);
    return same ? NULL : "a record that is written again is the same";
}

static const char *check_read(struct kafka_round *round, const struct mb_message *message,
                              const struct mb_message *natural,
                              const struct kafka_outgoing *outgoing)
{
    struct mb_message back;
    struct mb_message restored;
    bool malformed = false;

    kafka_round_read(round, outgoing, &back);
    if (mb_message_difference(&back, natural) != 0)
        return "what is read is the natural message";
    if (mb_sidecar_restore(&back, &round->scratch.arena, &restored, &malformed) != MB_OK)
        abort();
    if (malformed)
        return "a sidecar is well formed";
    if (round->degraded == 0 && mb_message_difference(&restored, message) != 0)
        return "the sidecar brings the message back";
    return check_verbatim(round, &back, outgoing);
}

const char *kafka_round_trip(struct kafka_round *round, const struct mb_message *message)
{
    struct mb_message foreign = *message;
    struct mb_outgoing item = {.message = &foreign};
    struct kafka_outgoing outgoing;
    struct mb_carried carried;
    struct mb_message natural;
    struct mb_error err;
    const char *broken;

    mb_scratch_reset(&round->scratch);
    round->degraded = 0;
    foreign.struct_size = sizeof foreign;
    foreign.origin = &in_a_queue;
    if (mb_carry_prepare(&round->carry, &item, &carried, &err) != MB_OK ||
        kafka_map_encode(&carried, &outgoing) != MB_OK)
        return NULL;
    natural = *carried.message;
    broken = check_read(round,
                        carried.verbatim               ? &foreign
                        : foreign.sidecar.data != NULL ? &round->carry.restored
                                                       : &foreign,
                        &natural, &outgoing);
    if (outgoing.headers != NULL)
        rd_kafka_headers_destroy(outgoing.headers);
    return broken;
}
