/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration: it loads, or a line is named that is wrong. */
#include "fuzz_load.h"

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    return fuzz_config_read(index, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_config_load(data, size);
    return 0;
}
