/* SPDX-License-Identifier: Apache-2.0 */
#include "redis_resp.h"

#define IN_MIN       65536u
#define OUT_MIN      65536u
#define IN_AHEAD     ((size_t)1 << 20)
#define DEPTH_MAX    16u
#define OUT_KEEP_MAX ((size_t)1 << 20)

/* A line's content without CR LF; NULL: incomplete (or too long: *ret_bad). */
static const unsigned char *line_end(const struct redis_cursor *cursor, bool *ret_bad)
{
    size_t size = (size_t)(cursor->end - cursor->at);
    const unsigned char *end;

    end = memchr(cursor->at, '\n', size < REDIS_LINE_MAX ? size : REDIS_LINE_MAX);
    *ret_bad = end == NULL ? size >= REDIS_LINE_MAX : end == cursor->at || end[-1] != '\r';
    return *ret_bad ? NULL : end;
}

static bool parse_number(const unsigned char *at, const unsigned char *end, int64_t *ret_number)
{
    bool negative = at < end && *at == '-';
    uint64_t number = 0;

    at += negative ? 1 : 0;
    if (at == end || end - at > 19)
        return false;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        number = number * 10 + (unsigned)(*at - '0');
    }
    if (number > INT64_MAX)
        return false;
    *ret_number = negative ? -(int64_t)number : (int64_t)number;
    return true;
}

static enum redis_token_kind bulk(struct redis_cursor *cursor, const unsigned char *content,
                                  struct redis_token *token)
{
    size_t have = (size_t)(cursor->end - content);
    size_t size = (size_t)token->number;

    if (token->number < 0) {
        cursor->at = content;
        return REDIS_TOKEN_NIL;
    }
    if (size > REDIS_IN_MAX)
        return REDIS_TOKEN_BAD;
    if (have < size + 2) {
        size_t need = (size_t)(content - cursor->from) + size + 2;

        cursor->need = need > cursor->need ? need : cursor->need;
        return REDIS_TOKEN_NONE;
    }
    if (content[size] != '\r' || content[size + 1] != '\n')
        return REDIS_TOKEN_BAD;
    token->text = (struct mb_slice){content, size};
    cursor->at = content + size + 2;
    return REDIS_TOKEN_BULK;
}

enum redis_token_kind redis_token_parse(struct redis_cursor *cursor, struct redis_token *ret_token)
{
    struct redis_token *token = ret_token;
    const unsigned char *at = cursor->at;
    const unsigned char *end;
    bool bad;

    *token = (struct redis_token){.kind = REDIS_TOKEN_NONE};
    if (at == cursor->end)
        return REDIS_TOKEN_NONE;
    end = line_end(cursor, &bad);
    if (end == NULL)
        return token->kind = bad ? REDIS_TOKEN_BAD : REDIS_TOKEN_NONE;
    token->text = (struct mb_slice){at + 1, (size_t)(end - 1 - (at + 1))};
    switch (*at) {
    case '+':
        token->kind = REDIS_TOKEN_STATUS;
        break;
    case '-':
        token->kind = REDIS_TOKEN_ERROR;
        break;
    case ':':
    case '$':
    case '*':
        if (!parse_number(at + 1, end - 1, &token->number) || (*at != ':' && token->number < -1))
            return token->kind = REDIS_TOKEN_BAD;
        if (*at == '$')
            return token->kind = bulk(cursor, end + 1, token);
        token->kind = *at == ':'            ? REDIS_TOKEN_INTEGER
                      : token->number == -1 ? REDIS_TOKEN_NIL
                                            : REDIS_TOKEN_ARRAY;
        break;
    default:
        return token->kind = REDIS_TOKEN_BAD;
    }
    cursor->at = end + 1;
    return token->kind;
}

bool redis_reply_skip(struct redis_cursor *cursor, enum redis_token_kind *ret_kind)
{
    const unsigned char *start = cursor->at;
    int64_t left[DEPTH_MAX] = {1};
    size_t depth = 0;

    for (;;) {
        struct redis_token token;

        while (left[depth] == 0) {
            if (depth == 0)
                return true;
            depth--;
        }
        left[depth]--;
        *ret_kind = redis_token_next(cursor, &token);
        if (*ret_kind == REDIS_TOKEN_NONE || *ret_kind == REDIS_TOKEN_BAD) {
            cursor->at = start;
            return false;
        }
        if (*ret_kind == REDIS_TOKEN_ARRAY && token.number > 0) {
            if (++depth == DEPTH_MAX) {
                *ret_kind = REDIS_TOKEN_BAD;
                return false;
            }
            left[depth] = token.number;
        }
    }
}

unsigned char *redis_in_room(struct redis_in *in, size_t *ret_size)
{
    size_t used = in->end - in->start;
    /* Not all that a length claims, but as much again as has come of it. */
    size_t need = in->need < 2 * used + IN_AHEAD ? in->need : 2 * used + IN_AHEAD;
    size_t want = used + IN_MIN / 2 > need ? used + IN_MIN / 2 : need;

    if (in->start > 0 && (used == 0 || in->capacity - in->start < want)) {
        if (used > 0)
            memmove(in->data, in->data + in->start, used);
        in->start = 0;
        in->end = used;
    }
    if (in->capacity < want || (in->capacity > OUT_KEEP_MAX && want <= IN_MIN && used == 0)) {
        size_t capacity = want <= IN_MIN ? IN_MIN : want + want / 4;
        unsigned char *data;

        if (in->need > REDIS_IN_MAX + IN_MIN || used > REDIS_IN_MAX)
            return NULL;
        data = in->host->alloc(in->host->context, capacity);
        if (data == NULL)
            return NULL;
        if (used > 0)
            memcpy(data, in->data, used);
        in->host->release(in->host->context, in->data);
        in->data = data;
        in->capacity = capacity;
    }
    *ret_size = in->capacity - in->end;
    return in->data + in->end;
}

struct redis_cursor redis_in_cursor(const struct redis_in *in)
{
    const unsigned char *from = in->data != NULL ? in->data + in->start : NULL;

    return (struct redis_cursor){
        .from = from, .at = from, .end = in->data != NULL ? in->data + in->end : NULL};
}

void redis_in_taken(struct redis_in *in, const struct redis_cursor *cursor)
{
    size_t taken = (size_t)(cursor->at - cursor->from);

    in->start += taken;
    in->need = cursor->need > taken ? cursor->need - taken : 0;
    if (in->start == in->end) {
        in->start = 0;
        in->end = 0;
    }
}

void redis_in_release(struct redis_in *in)
{
    if (in->host != NULL)
        in->host->release(in->host->context, in->data);
    in->data = NULL;
}

/* ---- out ---- */

void redis_out_release(struct redis_out *out)
{
    if (out->host != NULL)
        out->host->release(out->host->context, out->data);
    out->data = NULL;
}

bool redis_out_grow(struct redis_out *out, size_t size)
{
    size_t used = out->end - out->start;
    size_t capacity = out->capacity > 0 ? out->capacity : OUT_MIN;
    unsigned char *data;

    if (out->failed)
        return false;
    if (size > out->max || used > out->max - size) {
        out->failed = true;
        return false;
    }
    /* Moving what remains to the front pays only where much of it has been written. */
    while (capacity < used + size || (capacity == out->capacity && out->start < out->capacity / 2))
        capacity *= 2;
    data = out->data;
    if (capacity != out->capacity) {
        data = out->host->alloc(out->host->context, capacity);
        if (data == NULL) {
            out->failed = true;
            return false;
        }
    }
    if (used > 0)
        memmove(data, out->data + out->start, used);
    for (uint32_t i = 0; i < out->inserts_count; i++)
        out->inserts[(out->inserts_first + i) % REDIS_INSERTS_MAX].at -= out->start;
    if (data != out->data)
        out->host->release(out->host->context, out->data);
    out->data = data;
    out->capacity = capacity;
    out->start = 0;
    out->end = used;
    return true;
}

void redis_out_raw(struct redis_out *out, const void *data, size_t size)
{
    if (!redis_out_reserve(out, size) || size == 0)
        return;
    memcpy(out->data + out->end, data, size);
    out->end += size;
}

size_t redis_number_write(char *buffer, uint64_t number)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    char digits[REDIS_NUMBER_MAX];
    size_t at = sizeof digits;

    for (; number >= 10; number /= 100) {
        at -= 2;
        memcpy(digits + at, pairs + 2 * (number % 100), 2);
    }
    if (number > 0 || at == sizeof digits)
        digits[--at] = (char)('0' + number);
    memcpy(buffer, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

void redis_out_array(struct redis_out *out, size_t count)
{
    if (redis_out_reserve(out, REDIS_NUMBER_MAX + 3))
        out->end = (size_t)(redis_put_length(out->data + out->end, '*', count) - out->data);
}

void redis_out_bulk(struct redis_out *out, struct mb_slice text)
{
    if (redis_out_reserve(out, text.size + REDIS_BULK_AROUND))
        out->end = (size_t)(redis_put_bulk(out->data + out->end, text) - out->data);
}

void redis_out_bulk_later(struct redis_out *out, struct mb_slice text)
{
    if (text.size < REDIS_INSERT_MIN || out->inserts_count == REDIS_INSERTS_MAX) {
        redis_out_bulk(out, text);
        return;
    }
    if (!redis_out_reserve(out, REDIS_BULK_AROUND))
        return;
    out->end = (size_t)(redis_put_length(out->data + out->end, '$', text.size) - out->data);
    out->inserts[(out->inserts_first + out->inserts_count++) % REDIS_INSERTS_MAX] =
        (struct redis_insert){out->end, text.data, text.size};
    redis_out_raw(out, "\r\n", 2);
}

void redis_out_text(struct redis_out *out, const char *text)
{
    redis_out_bulk(out, (struct mb_slice){text, strlen(text)});
}

void redis_out_number(struct redis_out *out, uint64_t number)
{
    char text[REDIS_NUMBER_MAX];

    redis_out_bulk(out, (struct mb_slice){text, redis_number_write(text, number)});
}

void redis_out_id(struct redis_out *out, uint64_t hi, uint64_t lo)
{
    char text[2 * REDIS_NUMBER_MAX + 1];
    size_t size = redis_number_write(text, hi);

    text[size++] = '-';
    if (lo < 10)
        text[size++] = (char)('0' + lo);
    else
        size += redis_number_write(text + size, lo);
    redis_out_bulk(out, (struct mb_slice){text, size});
}

struct mb_slice redis_out_next(const struct redis_out *out)
{
    const struct redis_insert *insert = &out->inserts[out->inserts_first];

    if (out->inserts_count > 0 && insert->at == out->start)
        return (struct mb_slice){insert->data + out->inserted, insert->size - out->inserted};
    return (struct mb_slice){out->data + out->start,
                             (out->inserts_count > 0 ? insert->at : out->end) - out->start};
}

void redis_out_written(struct redis_out *out, size_t size)
{
    const struct redis_insert *insert = &out->inserts[out->inserts_first];

    if (out->inserts_count > 0 && insert->at == out->start) {
        out->inserted += size;
        if (out->inserted == insert->size) {
            out->inserted = 0;
            out->inserts_first = (out->inserts_first + 1) % REDIS_INSERTS_MAX;
            out->inserts_count--;
        }
        return;
    }
    out->start += size;
    if (out->start == out->end) {
        for (uint32_t i = 0; i < out->inserts_count; i++)
            out->inserts[(out->inserts_first + i) % REDIS_INSERTS_MAX].at -= out->start;
        out->start = 0;
        out->end = 0;
    }
}

/* Eight digits at once, as three multiplications. false: they are not all digits. */
static bool parse_eight(const char *at, uint64_t *ret_number)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t word;

    memcpy(&word, at, sizeof word);
    if (((word + UINT64_C(0x4646464646464646)) | (word - UINT64_C(0x3030303030303030))) &
        UINT64_C(0x8080808080808080))
        return false;
    word -= UINT64_C(0x3030303030303030);
    word = word * 10 + (word >> 8);
    *ret_number = ((word & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x000f424000000064) +
                   (word >> 16 & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x0000271000000001)) >>
                  32;
    return true;
#else
    (void)at;
    (void)ret_number;
    return false;
#endif
}

static bool parse_u64(const char **at, const char *end, uint64_t *ret_number)
{
    const char *first = *at;
    const char *now = first;
    const char *safe = end - first > 19 ? first + 19 : end; /* no more than that can overflow */
    uint64_t number = 0;
    uint64_t digit = 0;

    if (end - now >= 8 && parse_eight(now, &number))
        now += 8;
    for (; now < safe && (digit = (uint64_t)*now - '0') <= 9; now++)
        number = number * 10 + digit;
    for (; now < end && (digit = (uint64_t)*now - '0') <= 9; now++) {
        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *at = now;
    *ret_number = number;
    return now > first;
}

bool redis_id_parse(struct mb_slice text, struct mb_position *ret_position)
{
    const char *at = text.data;
    const char *end = at + text.size;
    struct mb_position position = {.kind = MB_POSITION_ID};

    if (text.size == 0 || !parse_u64(&at, end, &position.hi))
        return false;
    if (at < end) {
        if (*at++ != '-' || !parse_u64(&at, end, &position.lo) || at != end)
            return false;
    }
    *ret_position = position;
    return true;
}

bool redis_id_parse_stem(struct redis_stem *stem, struct mb_slice text,
                         struct mb_position *ret_position)
{
    const char *at = text.data;

    if (!redis_id_parse(text, ret_position))
        return false;
    stem->known = text.size > REDIS_STEM_SIZE && at[REDIS_STEM_SIZE - 1] == '-';
    if (stem->known) {
        stem->hi = ret_position->hi;
        memcpy(stem->text, at, REDIS_STEM_SIZE);
    }
    return true;
}
