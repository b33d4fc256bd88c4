/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the contract suite on a module.
 *
 *   test_contract --module PATH [--endpoint name=value]… [--source name=value]…
 *                 [--sink name=value]… [--bad-endpoint name=value] [--carries LIST]
 *                 [--any-stream] [--partitions N] [--timeout MS] [--quiet MS] [--case NAME]
 *
 * {stream} in a value stands for a stream of the case's own.
 */
#include "contract.h"

#include <setjmp.h>

#include <cmocka.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

static const struct {
    const char *name;
    uint32_t bit;
} carry_names[] = {
    {"key", CARRY_KEY},
    {"empty-key", CARRY_EMPTY_KEY},
    {"null-body", CARRY_NULL_BODY},
    {"headers", CARRY_HEADERS},
    {"header-order", CARRY_HEADER_ORDER},
    {"duplicate-headers", CARRY_DUPLICATE_HEADERS},
    {"typed-headers", CARRY_TYPED_HEADERS},
    {"properties", CARRY_PROPERTIES},
    {"redelivered", CARRY_REDELIVERED},
};

struct run {
    struct contract *contract;
    const struct contract_case *test;
};

static void run_case(void **state)
{
    struct run *run = *state;
    struct check *check = &run->contract->check;

    memset(check, 0, sizeof *check);
    run->test->run(run->contract);
    for (size_t i = 0; i < check->count && i < VIOLATIONS_MAX; i++)
        print_error("  %s: %s\n", run->test->name, check->violations[i]);
    assert_int_equal(check->count, 0);
}

static bool add(const char **list, const char *setting)
{
    for (size_t i = 0; i + 1 < SETTINGS_MAX; i++) {
        if (list[i] == NULL) {
            list[i] = setting;
            return true;
        }
    }
    return false;
}

static bool add_carries(uint32_t *carries, char *list)
{
    char *rest = NULL;

    for (char *name = strtok_r(list, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        size_t i = 0;

        while (i < sizeof carry_names / sizeof carry_names[0] &&
               strcmp(carry_names[i].name, name) != 0)
            i++;
        if (i == sizeof carry_names / sizeof carry_names[0])
            return false;
        *carries |= carry_names[i].bit;
    }
    return true;
}

static bool parse(int argc, char **argv, struct contract *contract, const char **ret_module,
                  const char **ret_case)
{
    static const struct option options[] = {
        {"module", required_argument, NULL, 'm'},
        {"endpoint", required_argument, NULL, 'e'},
        {"source", required_argument, NULL, 's'},
        {"sink", required_argument, NULL, 'k'},
        {"bad-endpoint", required_argument, NULL, 'b'},
        {"carries", required_argument, NULL, 'c'},
        {"any-stream", no_argument, NULL, 'a'},
        {"partitions", required_argument, NULL, 'p'},
        {"timeout", required_argument, NULL, 't'},
        {"quiet", required_argument, NULL, 'q'},
        {"case", required_argument, NULL, 'n'},
        {NULL, 0, NULL, 0},
    };
    bool good = true;
    int option;

    while (good && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'm':
            *ret_module = optarg;
            break;
        case 'e':
            good = add(contract->endpoint, optarg);
            break;
        case 's':
            good = add(contract->source, optarg);
            break;
        case 'k':
            good = add(contract->sink, optarg);
            break;
        case 'b':
            contract->bad_endpoint = optarg;
            break;
        case 'c':
            good = add_carries(&contract->carries, optarg);
            break;
        case 'a':
            contract->any_stream = true;
            break;
        case 'p':
            contract->partitions = atoi(optarg);
            break;
        case 't':
            contract->timeout_ms = (uint32_t)atoi(optarg);
            break;
        case 'q':
            contract->quiet_ms = (uint32_t)atoi(optarg);
            break;
        case 'n':
            *ret_case = optarg;
            break;
        default:
            good = false;
        }
    }
    return good && *ret_module != NULL;
}

int main(int argc, char **argv)
{
    struct CMUnitTest *tests = calloc(contract_cases_count, sizeof *tests);
    struct run *runs = calloc(contract_cases_count, sizeof *runs);
    struct contract *contract = calloc(1, sizeof *contract);
    const char *module = NULL;
    const char *only = NULL;
    size_t count = 0;
    int failed = 2;

    if (tests == NULL || runs == NULL || contract == NULL)
        return 2;
    contract->partitions = 4;
    contract->timeout_ms = 5000;
    contract->quiet_ms = 200;
    snprintf(contract->prefix, sizeof contract->prefix, "contract-%ld-%lld", (long)getpid(),
             (long long)test_now_ms());
    if (!parse(argc, argv, contract, &module, &only)) {
        fprintf(stderr, "usage: %s --module PATH [OPTION…], see test_contract.c\n", argv[0]);
        goto out;
    }
    contract->backend = contract_load(module);
    if (contract->backend == NULL)
        goto out;
    for (size_t i = 0; i < contract_cases_count; i++) {
        if (only != NULL && strcmp(only, contract_cases[i].name) != 0)
            continue;
        runs[count] = (struct run){contract, &contract_cases[i]};
        tests[count] = (struct CMUnitTest){
            .name = contract_cases[i].name, .test_func = run_case, .initial_state = &runs[count]};
        count++;
    }
    failed = _cmocka_run_group_tests(contract->backend->name, tests, count, NULL, NULL);
out:
    free(contract);
    free(runs);
    free(tests);
    return failed;
}
