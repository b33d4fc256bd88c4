/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a peer may send them for a message: decoded in bounded memory, or refused; and what was
 * decoded is stable. */
#include "fuzz.h"
#include "round.h"

#define MEMORY_SIZE_MAX ((size_t)64 << 20)

static const struct mb_slice seeds[] = {
#define SEED(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
    SEED("\0\x53\x70\xc0\x0c\x05\x41\x50\x07\x70\0\0\x03\xe8\x41\x52\x02\0\x53\x75\xa0\x01x"),
    SEED("\0\x80\0\0\0\0\0\0\0\x70\xd0\0\0\0\x05\0\0\0\x01\x41\0\x53\x75\xa0\x01x"),
    SEED("\0\xa3\x10"
         "amqp:header:list\x45\0\xa3\x10"
         "amqp:data:binary\xb0\0\0\0\x02hi"),
    SEED("\0\x53\x71\xc1\x06\x02\xa3\x01k\x52\x07\0\x53\x77\x40"),
    SEED("\0\x53\x73\xc0\x40\x0d\xa1\x01m\xa0\x02u\xff\xa1\x01t\xa1\x01s\xa1\x01r\xa1\x01"
         "c\xa3\x0atext/plain\xa3\x04gzip\x83\0\0\0\0\0\0\0\x05"
         "\x83\xff\xff\xff\xff\xff\xff\xff\xff\xa1\x01g\x52\x09\xa1\x01h\0\x53\x75\xa0\x01x"),
    SEED("\0\x53\x73\xc0\x17\x06\x98"
         "0123456789abcdef\x40\x40\x40\x40\x44\0\x53\x75\xa0\x01x"),
    SEED("\0\x53\x72\xc1\x5a\x08\xa3\x12x-opt-mbridge-meta\xa0\x02\x01\x02\xa3\x01"
         "a\x41\xa3\x12x-opt-mbridge-path\xa0\x10\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\1\0"
         "\xa3\x10x-opt-mbridge-id\xa1\x03"
         "a/1\0\x53\x75\xa0\x01x"),
    SEED("\0\x53\x72\xc1\x18\x02\xa3\x11x-opt-mbridge-key\xa0\x02k\xff\0\x53\x75\xa0\x01x"),
    SEED("\0\x53\x72\xd1\0\0\0\x0a\0\0\0\x02\x80\0\0\0\0\0\0\x01\0\x41\0\x53\x75\xa0\x01x"),
    SEED("\0\x53\x74\xc1\x10\x06\xa1\x01"
         "a\x53\x07\xa1\x01"
         "b\x40\xa1\x01"
         "a\xa1\x01x\0\x53\x75\xa0\x01x\0\x53\x78\xc1\x07\x02\xa3\x01"
         "f\xa0\x01y"),
    SEED("\0\x53\x75\xa0\x01"
         "a\0\x53\x75\xa0\0\0\x53\x75\xb0\0\0\0\x02"
         "bc"),
    SEED("\0\x53\x76\xc0\x02\x01\x41\0\x53\x76\x45"),
    SEED("\0\x53\x77\xc1\x07\x02\xa1\x01k\xa0\x01v"),
    SEED("\0\x53\x77\xe0\x07\x02\0\x52\x07\x56\x01\x00"),
    SEED("\0\x53\x77\xe0\x16\x02\0\xa3\x0fmbridge:seconds\x55\x01\x02"),
    SEED("\0\x53\x77\0\xa3\x0fmbridge:decimal\xc0\x08\x02\x50\x02\x70\0\0\1\x2c"),
    SEED("\0\x53\x77\xf0\0\0\0\x05\x00\x01\x00\x00\x40"),
    SEED("\0\x53\x77\xe0\x07\x02\xc0\x02\x01\x43\x01\x00"),
    SEED("\0\x53\x77\xe0\x07\x02\xa1\x01x\x02\xc3\x28"),
#undef SEED
};

static void *no_more(struct mb_arena *arena, size_t size)
{
    (void)arena;
    (void)size;
    return NULL;
}

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    if (index >= sizeof seeds / sizeof seeds[0] || seeds[index].size > size)
        return MB_FUZZ_NO_SEED;
    memcpy(data, seeds[index].data, seeds[index].size);
    return seeds[index].size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char memory[MEMORY_SIZE_MAX];
    size_t room = 128 * size + ((size_t)8 << 20);
    struct mb_arena arena = {memory, memory + (room < sizeof memory ? room : sizeof memory),
                             no_more};
    const char *broken = amqp10_round_bytes((struct mb_slice){data, size}, &arena);

    mb_fuzz_check(broken == NULL, broken);
    return 0;
}
