/* SPDX-License-Identifier: Apache-2.0 */
#include "contract.h"

const struct contract_case contract_cases[] = {
    {"descriptor", case_descriptor},
    {"option_rows", case_option_rows},
    {"traits", case_traits},
    {"unused", case_unused},
    {"open_fails", case_open_fails},
    {"ensure", case_ensure},
    {"idle", case_idle},
    {"confirms", case_confirms},
    {"back_pressure", case_back_pressure},
    {"missing", case_missing},
    {"nothing_acknowledged", case_nothing_acknowledged},
    {"all_acknowledged", case_all_acknowledged},
    {"prefix_acknowledged", case_prefix_acknowledged},
    {"released", case_released},
    {"stale", case_stale},
    {"batch_bounds", case_batch_bounds},
    {"start", case_start},
    {"envelope", case_envelope},
    {"two_members", case_two_members},
    {"standby", case_standby},
    {"transaction", case_transaction},
    {"positions", case_positions},
    {"deduplicate", case_deduplicate},
    {"streams", case_streams},
    {"degraded", case_degraded},
};

const size_t contract_cases_count = sizeof contract_cases / sizeof contract_cases[0];
