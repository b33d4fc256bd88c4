/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as answers of a Redis server, in pieces of any size: replies are stepped over or
 * refused, tokens lie within the input, and the memory that is taken follows what came, not what a
 * length claims.
 */
#include "fuzz_host.h"

#include "backends/redis/redis_resp.h"

#define NEST "*1\r\n*1\r\n*1\r\n*1\r\n"

#define AHEAD_MAX ((size_t)2 << 20)

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    static const char *const replies[] = {
        "\x07+OK\r\n:12\r\n$5\r\nhello\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n-ERR no\r\n",
        "\x01*1\r\n*2\r\n$6\r\nstream\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$4\r\nbody\r\n$1\r\nx\r\n",
        "\x40$1000000000\r\nabc",
        "\x03$2147483647\r\n",
        "\x05*2147483647\r\n:1\r\n:2\r\n",
        "\x09*9223372036854775807\r\n$1\r\nx\r\n",
        "\x02" NEST NEST NEST NEST NEST,
        "\x05:-9223372036854775808\r\n:99999999999999999999\r\n",
    };
    size_t length;

    if (index >= sizeof replies / sizeof replies[0])
        return MB_FUZZ_NO_SEED;
    length = strlen(replies[index]);
    MB_FUZZ_CHECK(length <= size);
    memcpy(data, replies[index], length);
    return length;
}

static void check_tokens(const struct redis_in *in)
{
    struct redis_cursor cursor = redis_in_cursor(in);
    const unsigned char *before = cursor.at;
    enum redis_token_kind kind;

    do {
        struct redis_token token;

        before = cursor.at;
        kind = redis_token_next(&cursor, &token);
        MB_FUZZ_CHECK(cursor.at >= before && cursor.at <= cursor.end);
        if (kind == REDIS_TOKEN_BULK) {
            const unsigned char *text = token.text.data;
            struct mb_position position;

            MB_FUZZ_CHECK(text >= before && text + token.text.size <= cursor.end);
            redis_id_parse(token.text, &position);
        }
    } while (kind != REDIS_TOKEN_NONE && kind != REDIS_TOKEN_BAD);
    if (kind == REDIS_TOKEN_NONE)
        MB_FUZZ_CHECK(cursor.at == before);
}

/* False: it is no RESP2. */
static bool take_replies(struct redis_in *in)
{
    struct redis_cursor cursor = redis_in_cursor(in);
    enum redis_token_kind kind;

    while (redis_reply_skip(&cursor, &kind)) {
    }
    if (kind == REDIS_TOKEN_BAD)
        return false;
    redis_in_taken(in, &cursor);
    in->need = cursor.need;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct redis_in in = {.host = &fuzz_host};
    struct mb_fuzz_input input = {data, size};
    size_t step = (size_t)mb_fuzz_byte(&input) * 16 + 1;
    bool sound = true;

    fuzz_host_largest = 0;
    while (input.left > 0 && sound) {
        size_t room;
        size_t got;
        unsigned char *at = redis_in_room(&in, &room);
        const uint8_t *bytes;

        MB_FUZZ_CHECK(at == NULL || room > 0);
        if (at == NULL)
            break;
        bytes = mb_fuzz_bytes(&input, step < room ? step : room, &got);
        memcpy(at, bytes, got);
        in.end += got;
        check_tokens(&in);
        sound = take_replies(&in);
    }
    MB_FUZZ_CHECK(fuzz_host_largest <= 4 * size + AHEAD_MAX);
    redis_in_release(&in);
    return 0;
}
