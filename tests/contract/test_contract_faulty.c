/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract suite itself: each planted fault makes a case report it, and the same backend
 * without a fault passes that case.
 */
#include "contract.h"
#include "faulty.h"

#include <setjmp.h>

#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

struct planting {
    enum fault fault;
    const char *name;
    void (*run)(struct contract *contract);
    const char *violation; /* a part of what is reported */
};

static const struct planting plantings[] = {
    {FAULT_COMPLETES_TWICE, "completes twice", case_confirms, "was completed twice"},
    {FAULT_NEVER_COMPLETES, "never completes", case_confirms, "never completed"},
    {FAULT_COMPLETES_UNKNOWN, "completes unknown", case_back_pressure, "was never taken"},
    {FAULT_COMPLETES_TOO_MANY, "completes too many", case_confirms, "results where"},
    {FAULT_TAKES_OUT_OF_ORDER, "takes out of order", case_confirms, "out of the order of its key"},
    {FAULT_TAKES_TOO_MANY, "takes too many", case_missing, "send took"},
    {FAULT_CONFIRMS_UNSTORED, "confirms what is not stored", case_confirms, "are lost"},
    {FAULT_FAILS_WITHOUT_REASON, "fails without a reason", case_confirms, "no reason or text"},
    {FAULT_HIDES_POSITION, "hides the position", case_confirms, "without its position"},
    {FAULT_STALE_EPOCH, "stale epoch", case_nothing_acknowledged, "the scope has"},
    {FAULT_TOKEN_GOES_BACK, "token goes back", case_nothing_acknowledged, "came behind"},
    {FAULT_BEFORE_START, "message before start", case_batch_bounds, "which is not started"},
    {FAULT_AFTER_CLOSE, "event after close", case_two_members, "after close"},
    {FAULT_BATCH_TOO_LONG, "batch too long", case_batch_bounds, "were allowed"},
    {FAULT_TAKES_STRIDE, "takes the stride", case_nothing_acknowledged, "behind a message"},
    {FAULT_FORGETS_ACKS, "forgets acknowledgements", case_all_acknowledged, "came again"},
    {FAULT_COMMITS_UNACKED, "commits what is not acknowledged", case_prefix_acknowledged,
     "that was not acknowledged"},
    {FAULT_ACKS_AT_POLL, "acknowledges at poll", case_nothing_acknowledged, "did not come again"},
    {FAULT_KEEPS_REVOKED, "keeps what was revoked", case_two_members, "do not divide"},
    {FAULT_IGNORES_STREAMS, "ignores other streams", case_streams, "messages came"},
    {FAULT_HIDES_LOSS, "loses a field in silence", case_degraded, "nobody was told"},
    {FAULT_LEAKS, "leaks", case_unused, "kept 1 allocations after close"},
    {FAULT_BUSY, "is busy for nothing", case_idle, "keeps its worker busy"},
    {FAULT_OPEN_FAILS_BADLY, "fails to open badly", case_unused, "failed and left an instance"},
};

#define PLANTINGS_COUNT (sizeof plantings / sizeof plantings[0])

/* Linked in, so that the wrapper has an inner backend. */
mb_backend_entry mbridge_backend;

static struct contract *contract_create(enum fault fault)
{
    struct contract *contract = calloc(1, sizeof *contract);

    if (contract == NULL)
        abort();
    contract->backend = faulty_backend(mbridge_backend(), fault);
    contract->source[0] = "stream={stream}";
    contract->source[1] = "revoke_timeout=5m";
    contract->sink[0] = "stream={stream}";
    contract->partitions = 4;
    contract->timeout_ms = fault == FAULT_NONE ? 5000 : 500;
    contract->quiet_ms = 100;
    snprintf(contract->prefix, sizeof contract->prefix, "faulty-%d", (int)fault);
    return contract;
}

static void finds_fault(void **state)
{
    const struct planting *planting = *state;
    struct contract *contract = contract_create(planting->fault);

    planting->run(contract);
    if (!check_found(&contract->check, planting->violation)) {
        for (size_t i = 0; i < contract->check.count && i < VIOLATIONS_MAX; i++)
            print_error("  reported: %s\n", contract->check.violations[i]);
        free(contract);
        fail_msg("the suite did not report '%s'", planting->violation);
    }
    free(contract);
}

static void passes_without_fault(void **state)
{
    struct contract *contract = contract_create(FAULT_NONE);
    size_t count;

    (void)state;
    for (size_t i = 0; i < PLANTINGS_COUNT; i++) {
        if (i == 0 || plantings[i].run != plantings[i - 1].run)
            plantings[i].run(contract);
    }
    count = contract->check.count;
    for (size_t i = 0; i < count && i < VIOLATIONS_MAX; i++)
        print_error("  %s\n", contract->check.violations[i]);
    free(contract);
    assert_int_equal(count, 0);
}

static void finds_bad_rows(void **state)
{
    static const struct mb_option rows[] = {
        {.name = "stream",
         .type = MB_OPTION_STRING,
         .flags = MB_OPTION_NAMES_STREAM,
         .doc = "The stream."},
        {.name = "stream", .type = MB_OPTION_STRING, .offset = 8, .doc = "The stream again."},
        {.name = "size",
         .type = MB_OPTION_SIZE,
         .offset = 16,
         .default_text = "much",
         .doc = "The size of it."},
        {.name = "outside", .type = MB_OPTION_BOOL, .offset = 1000, .doc = "Beyond the struct."},
        {.name = "over", .type = MB_OPTION_INTEGER, .offset = 20, .doc = "Over another one."},
        {.name = "silent", .type = MB_OPTION_INTEGER, .offset = 40},
    };
    struct contract *contract = contract_create(FAULT_NONE);
    struct mb_backend backend = *contract->backend;
    const char *const wanted[] = {"is there twice", "refuses its default", "outside of its struct",
                                  "share memory", "has no doc"};

    (void)state;
    backend.source_options = (struct mb_option_table){rows, sizeof rows / sizeof rows[0], 64};
    contract->backend = &backend;
    case_option_rows(contract);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (!check_found(&contract->check, wanted[i]))
            fail_msg("the suite did not report '%s'", wanted[i]);
    }
    free(contract);
}

int main(void)
{
    struct CMUnitTest tests[PLANTINGS_COUNT + 2];

    tests[0] =
        (struct CMUnitTest){.name = "passes without a fault", .test_func = passes_without_fault};
    tests[1] = (struct CMUnitTest){.name = "bad option rows", .test_func = finds_bad_rows};
    for (size_t i = 0; i < PLANTINGS_COUNT; i++)
        tests[i + 2] = (struct CMUnitTest){.name = plantings[i].name,
                                           .test_func = finds_fault,
                                           .initial_state = (void *)(uintptr_t)&plantings[i]};
    return cmocka_run_group_tests_name("planted faults", tests, NULL, NULL);
}
