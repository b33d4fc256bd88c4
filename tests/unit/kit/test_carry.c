/* SPDX-License-Identifier: Apache-2.0 */
/* What a sink is told to write: verbatim, natural with carriers, refused. */
#include "kit/carry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEXT(text_)                                                                                \
    {                                                                                              \
        .type = MB_STRING, .as.bytes = MB_SLICE_LITERAL(text_)                                     \
    }
#define ALL (MB_PROVENANCE_ID | MB_PROVENANCE_PATH | MB_PROVENANCE_SIDECAR)

struct bench {
    struct mb_host host;
    struct mb_open_params params;
    struct mb_carry carry;
    struct mb_carried carried;
    struct mb_error err;
    struct mb_origin origin;
    struct mb_properties properties;
    struct mb_message message;
    struct mb_outgoing item;
    uint64_t degraded;
    unsigned logs;
    enum mb_status answer; /* of the projection */
};

static void note_log(void *context, enum mb_log_level level, const char *text)
{
    struct bench *bench = context;

    assert_int_equal(level, MB_LOG_WARN);
    assert_non_null(text);
    bench->logs++;
}

static void note_degraded(void *context, uint64_t fields)
{
    struct bench *bench = context;

    bench->degraded |= fields;
}

/* A platform of seconds that has no reply-to and knows a stream of its own. */
static enum mb_status project(void *context, const struct mb_outgoing *item,
                              const struct mb_message *message, struct mb_scratch *scratch,
                              struct mb_message *natural, struct mb_error *err)
{
    struct bench *bench = context;

    (void)item;
    (void)scratch;
    if (bench->answer != MB_OK)
        return mb_error_set(err, bench->answer, MB_CAUSE_MESSAGE, "test", "no");
    assert_true(mb_message_difference(message, natural) == 0);
    assert_int_equal(natural->raw_kind, MB_RAW_NONE);
    natural->present &= ~(uint32_t)MB_HAS_REPLY_TO;
    natural->present |= MB_HAS_EXCHANGE;
    natural->properties->exchange = MB_SLICE_LITERAL("ours");
    natural->timestamp_ms = message->timestamp_ms / 1000 * 1000;
    return MB_OK;
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);

    if (bench == NULL)
        return -1;
    bench->host = (struct mb_host){.struct_size = sizeof bench->host,
                                   .context = bench,
                                   .log = note_log,
                                   .degraded = note_degraded};
    bench->params = (struct mb_open_params){
        .struct_size = sizeof bench->params, .host = &bench->host, .provenance = ALL};
    bench->origin = (struct mb_origin){.struct_size = sizeof bench->origin,
                                       .partition = 3,
                                       .platform = MB_SLICE_LITERAL("theirs"),
                                       .identity = MB_SLICE_LITERAL("cluster"),
                                       .stream = MB_SLICE_LITERAL("stream")};
    bench->properties = (struct mb_properties){.reply_to = MB_SLICE_LITERAL("answers")};
    bench->message = (struct mb_message){
        .struct_size = sizeof bench->message,
        .present = MB_HAS_REPLY_TO | MB_HAS_TIMESTAMP,
        .origin = &bench->origin,
        .position = {.kind = MB_POSITION_OFFSET, .lo = 42},
        .body = MB_SLICE_LITERAL("body"),
        .raw_kind = MB_RAW_AMQP10_BARE,
        .raw = MB_SLICE_LITERAL("raw"),
        .timestamp_ms = 1700000000123,
        .properties = &bench->properties,
        .path_count = 1,
        .path = {UINT64_C(0x0102030405060708)},
    };
    bench->item.message = &bench->message;
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    mb_carry_release(&bench->carry);
    free(bench);
    return 0;
}

static void start(struct bench *bench)
{
    mb_carry_release(&bench->carry);
    mb_carry_init(&bench->carry, &bench->params, "ours", project, bench, 1024);
}

static enum mb_status prepare(struct bench *bench)
{
    bench->degraded = 0;
    return mb_carry_prepare(&bench->carry, &bench->item, &bench->carried, &bench->err);
}

static void test_same_platform_is_verbatim(void **state)
{
    struct bench *bench = *state;

    bench->origin.platform = MB_SLICE_LITERAL("ours");
    bench->message.sidecar = MB_SLICE_LITERAL("whatever it says");
    bench->answer = MB_REJECTED; /* nobody asks */
    bench->params.strict = true;
    start(bench);
    assert_int_equal(prepare(bench), MB_OK);
    assert_true(bench->carried.verbatim);
    assert_ptr_equal(bench->carried.message, &bench->message);
    assert_null(bench->carried.sidecar.data);
    assert_int_equal(bench->carried.path_size, 8);
    assert_memory_equal(bench->carried.path, "\1\2\3\4\5\6\7\10", 8);
    bench->params.provenance = 0;
    start(bench);
    assert_int_equal(prepare(bench), MB_OK);
    assert_true(bench->carried.verbatim);
    assert_int_equal(bench->carried.path_size, 0);
    assert_null(bench->carried.id.data);
}

static void test_another_platform(void **state)
{
    struct bench *bench = *state;
    struct mb_message read;
    struct mb_message restored;
    bool malformed;

    start(bench);
    assert_int_equal(prepare(bench), MB_OK);
    assert_false(bench->carried.verbatim);
    assert_true(bench->carried.message->present == (MB_HAS_TIMESTAMP | MB_HAS_EXCHANGE));
    assert_true(bench->carried.message->timestamp_ms == 1700000000000);
    assert_true(mb_slice_equal(bench->carried.id, MB_SLICE_LITERAL("cluster/stream/3/offset:42")));
    assert_int_equal(bench->carried.path_size, 8);
    assert_true(bench->degraded == 0);
    read = *bench->carried.message;
    read.sidecar = bench->carried.sidecar;
    assert_int_equal(mb_sidecar_restore(&read, &bench->carry.scratch.arena, &restored, &malformed),
                     MB_OK);
    assert_true(mb_message_difference(&restored, &bench->message) == 0);
}

/* Unit tests and generated messages have no origin. */
static void test_no_origin_is_another_platform(void **state)
{
    struct bench *bench = *state;

    bench->message.origin = NULL;
    start(bench);
    assert_int_equal(prepare(bench), MB_OK);
    assert_false(bench->carried.verbatim);
    assert_null(bench->carried.id.data);
}

static void test_an_id_that_it_brought(void **state)
{
    struct bench *bench = *state;

    bench->message.stable_id = MB_SLICE_LITERAL("from afar");
    start(bench);
    assert_int_equal(prepare(bench), MB_OK);
    assert_true(mb_slice_equal(bench->carried.id, MB_SLICE_LITERAL("from afar")));
    bench->message.stable_id = MB_SLICE_NULL;
    bench->message.position.kind = MB_POSITION_NONE;
    assert_int_equal(prepare(bench), MB_OK);
    assert_null(bench->carried.id.data);
}

/* What an earlier bridge could not show is there again for the next platform. */
static void test_restores_first(void **state)
{
    struct bench *bench = *state;
    struct mb_message bare = bench->message;
    struct mb_text sidecar = {.max_size = 1024};
    uint64_t lost;

    bare.present = 0;
    assert_int_equal(mb_sidecar_write(&bench->message, &bare, 1024, &sidecar, &lost), MB_OK);
    bare.sidecar = (struct mb_slice){sidecar.data, sidecar.size};
    bench->item.message = &bare;
    bench->params.provenance = 0; /* even then */
    start(bench);
    assert_int_equal(prepare(bench), MB_OK);
    assert_null(bench->carried.sidecar.data);
    assert_null(bench->carried.message->sidecar.data);
    assert_true((bench->carried.message->present & MB_HAS_TIMESTAMP) != 0);
    assert_true(bench->degraded == (MB_HAS_REPLY_TO | MB_HAS_TIMESTAMP));
    mb_text_release(&sidecar);
}

static void test_malformed_is_said_once(void **state)
{
    struct bench *bench = *state;

    bench->message.sidecar = MB_SLICE_LITERAL("\x01\xFF");
    start(bench);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(prepare(bench), MB_OK);
    assert_int_equal(bench->logs, 1);
    assert_true((bench->carried.message->present & MB_HAS_TIMESTAMP) != 0);
}

static void test_strict(void **state)
{
    struct bench *bench = *state;

    bench->params.strict = true;
    start(bench);
    assert_int_equal(prepare(bench), MB_OK); /* the sidecar has it all */
    bench->params.provenance = MB_PROVENANCE_PATH;
    start(bench);
    assert_int_equal(prepare(bench), MB_REJECTED);
    assert_int_equal(bench->err.cause, MB_CAUSE_MESSAGE);
    assert_string_equal(bench->err.reason, "fidelity");
    assert_non_null(strstr(bench->err.text, "reply-to"));
    assert_non_null(strstr(bench->err.text, "timestamp"));
    assert_null(strstr(bench->err.text, "exchange")); /* more than it had is no loss */
    assert_true(bench->degraded == 0);
    bench->message.present = 0;
    assert_int_equal(prepare(bench), MB_OK);
}

static void test_too_small_for_the_sidecar(void **state)
{
    struct bench *bench = *state;

    start(bench);
    bench->carry.sidecar_max = 14;
    assert_int_equal(prepare(bench), MB_OK);
    assert_true(bench->carried.sidecar.size <= 14);
    assert_true(bench->degraded == MB_HAS_REPLY_TO);
}

static void test_headers_that_were_added_are_no_loss(void **state)
{
    static const struct mb_header headers[] = {
        {.name = MB_SLICE_LITERAL("a"), .value = TEXT("1"), .name_type = MB_STRING},
        {.name = MB_SLICE_LITERAL("of-the-bridge"),
         .value = TEXT("2"),
         .section = MB_SECTION_BRIDGE},
    };
    struct bench *bench = *state;

    bench->params.provenance = 0;
    bench->message.present = 0;
    bench->message.headers = headers;
    bench->message.headers_count = 2;
    start(bench);
    assert_int_equal(prepare(bench), MB_OK);
    assert_true(bench->degraded == 0);
}

static void test_what_the_projection_refuses(void **state)
{
    struct bench *bench = *state;

    start(bench);
    bench->answer = MB_REJECTED;
    assert_int_equal(prepare(bench), MB_REJECTED);
    assert_string_equal(bench->err.reason, "test");
    bench->answer = MB_NO_MEMORY;
    assert_int_equal(prepare(bench), MB_NO_MEMORY);
    assert_string_equal(bench->err.reason, "memory");
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(test_same_platform_is_verbatim),
        ROW(test_another_platform),
        ROW(test_no_origin_is_another_platform),
        ROW(test_an_id_that_it_brought),
        ROW(test_restores_first),
        ROW(test_malformed_is_said_once),
        ROW(test_strict),
        ROW(test_too_small_for_the_sidecar),
        ROW(test_headers_that_were_added_are_no_loss),
        ROW(test_what_the_projection_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
