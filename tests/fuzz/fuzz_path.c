/* SPDX-License-Identifier: Apache-2.0 */
/* The path as a carrier brings it: read, written again, and the same bytes or none. */
#include "fuzz.h"

#include "kit/provenance.h"

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    if (index > MB_PATH_HOPS_MAX + 1 || 8 * index > size)
        return MB_FUZZ_NO_SEED;
    memset(data, (int)index, 8 * index);
    return 8 * index;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mb_message message = {.path_count = 3};
    struct mb_slice bytes = {data, size};
    unsigned char written[8 * MB_PATH_HOPS_MAX];
    size_t half = size / 2;

    if (mb_path_read(bytes, &message)) {
        MB_FUZZ_CHECK(mb_path_write(&message, written) == size);
        MB_FUZZ_CHECK(size == 0 || memcmp(written, data, size) == 0);
    } else {
        MB_FUZZ_CHECK(message.path_count == 0);
        MB_FUZZ_CHECK(size % 8 != 0 || size > sizeof written);
    }
    /* The two parts of a name cannot be told apart only where the NUL between them could move. */
    if (size > 1 && memchr(data, 0, size) == NULL) {
        uint64_t hash = mb_path_hash((struct mb_slice){data, half},
                                     (struct mb_slice){data + half, size - half});

        MB_FUZZ_CHECK(hash != mb_path_hash((struct mb_slice){data, half + 1},
                                           (struct mb_slice){data + half + 1, size - half - 1}));
    }
    return 0;
}
