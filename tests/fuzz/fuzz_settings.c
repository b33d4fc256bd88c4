/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a duration, a size, a number, a time, a place to start, a position: refused, or
 * within what its type can hold. */
#include "fuzz.h"

#include "core/config/settings.h"
#include "kit/text.h"

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    static const char *const texts[] = {
        "250ms",
        "10s",
        "5m",
        "2h",
        "1d",
        "106751991167d",
        "64KiB",
        "2GiB",
        "8EiB",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551616",
        "2026-11-21T16:49:29Z",
        "2026-02-30T24:60:61.999999999+14:00",
        "9999-12-31",
        "earliest",
        "latest",
        "stored",
        "time:2026-01-01",
        "offset:18446744073709551615",
        "-1h",
        "1-2",
        "123-456",
        "0x10",
        "1e9",
        "",
    };
    size_t length;

    if (index >= sizeof texts / sizeof texts[0])
        return MB_FUZZ_NO_SEED;
    length = strlen(texts[index]);
    MB_FUZZ_CHECK(length <= size);
    memcpy(data, texts[index], length);
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    struct mb_position position = {0};
    int64_t number = 0;

    MB_FUZZ_CHECK(text != NULL);
    if (mb_parse_duration_ms(text, &number) == MB_OK)
        MB_FUZZ_CHECK(number >= 0);
    if (mb_parse_size_bytes(text, &number) == MB_OK)
        MB_FUZZ_CHECK(number >= 0);
    (void)mb_parse_integer(text, &number);
    (void)mb_parse_time_ms(text, &number);
    (void)mb_parse_start(text, 1795000000000, &position);
    (void)mb_position_parse(text, &position);
    free(text);
    return 0;
}
