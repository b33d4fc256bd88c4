/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RESP2 in and out. Pure but for the growth of the two buffers, which have ceilings.
 */
#ifndef REDIS_RESP_H
#define REDIS_RESP_H

#include <mbridge/host.h>
#include <string.h>

#define REDIS_LINE_MAX 65536u
#define REDIS_IN_MAX   ((size_t)1 << 30)

/* ---- in ---- */

enum redis_token_kind {
    REDIS_TOKEN_NONE = 0, /* more input is needed */
    REDIS_TOKEN_ARRAY,    /* number: of elements, which follow */
    REDIS_TOKEN_BULK,
    REDIS_TOKEN_STATUS,
    REDIS_TOKEN_ERROR,
    REDIS_TOKEN_INTEGER,
    REDIS_TOKEN_NIL,
    REDIS_TOKEN_BAD /* no RESP2 */
};

struct redis_token {
    enum redis_token_kind kind;
    int64_t number;
    struct mb_slice text; /* points into the input */
};

/* Reads at … end; need is raised to how much input, from `from`, the next attempt wants. */
struct redis_cursor {
    const unsigned char *from;
    const unsigned char *at;
    const unsigned char *end;
    size_t need;
};

/* Any token, wherever the input ends. */
enum redis_token_kind redis_token_parse(struct redis_cursor *cursor, struct redis_token *ret_token);

#define REDIS_GLANCE 16u /* bytes that are looked at without a look at the end */

/* The next token. On NONE the cursor stays. What a stream is made of, arrays and strings with a
 * size of at most eight digits, is told without a call. */
static inline enum redis_token_kind redis_token_next(struct redis_cursor *cursor,
                                                     struct redis_token *ret_token)
{
    const unsigned char *at = cursor->at;
    unsigned digit;
    size_t size;

    if ((size_t)(cursor->end - at) < REDIS_GLANCE || (*at != '$' && *at != '*'))
        return redis_token_parse(cursor, ret_token);
    size = (unsigned)at[1] - '0';
    if (size > 9)
        return redis_token_parse(cursor, ret_token);
    for (at += 2; (digit = (unsigned)*at - '0') <= 9 && at < cursor->at + 9; at++)
        size = size * 10 + digit;
    if (at[0] != '\r' || at[1] != '\n')
        return redis_token_parse(cursor, ret_token);
    at += 2;
    if (*cursor->at == '*') {
        *ret_token = (struct redis_token){.kind = REDIS_TOKEN_ARRAY, .number = (int64_t)size};
        cursor->at = at;
        return REDIS_TOKEN_ARRAY;
    }
    if ((size_t)(cursor->end - at) < size + 2 || at[size] != '\r' || at[size + 1] != '\n')
        return redis_token_parse(cursor, ret_token);
    *ret_token = (struct redis_token){REDIS_TOKEN_BULK, (int64_t)size, {at, size}};
    cursor->at = at + size + 2;
    return REDIS_TOKEN_BULK;
}

/* Steps over a whole reply: true; false with *ret_kind NONE or BAD. */
bool redis_reply_skip(struct redis_cursor *cursor, enum redis_token_kind *ret_kind);

struct redis_in {
    const struct mb_host *host;
    unsigned char *data;
    size_t start;
    size_t end;
    size_t capacity;
    size_t need; /* no sense in parsing with less than that */
};

/* Where the next input goes, at least a page; NULL: memory, or the ceiling. Ends the life of what
 * cursors pointed to. */
unsigned char *redis_in_room(struct redis_in *in, size_t *ret_size);
struct redis_cursor redis_in_cursor(const struct redis_in *in);
/* Takes what the cursor has passed, and its need. */
void redis_in_taken(struct redis_in *in, const struct redis_cursor *cursor);
void redis_in_release(struct redis_in *in);

/* ---- out ---- */

#define REDIS_INSERTS_MAX 64u
#define REDIS_INSERT_MIN  32768u /* bytes; less is copied */

/* Bytes of a message that are written from where they are. */
struct redis_insert {
    size_t at; /* in front of this place in the buffer */
    const unsigned char *data;
    size_t size;
};

struct redis_out {
    const struct mb_host *host;
    unsigned char *data;
    size_t start; /* written up to here */
    size_t end;
    size_t capacity;
    size_t max;
    struct redis_insert inserts[REDIS_INSERTS_MAX];
    uint32_t inserts_first;
    uint32_t inserts_count;
    size_t inserted; /* of the first insert already written */
    bool failed;     /* memory, or the ceiling: a command is incomplete */
};

void redis_out_release(struct redis_out *out);
static inline bool redis_out_is_empty(const struct redis_out *out)
{
    return out->start == out->end && out->inserts_count == 0;
}
static inline size_t redis_out_size(const struct redis_out *out)
{
    return out->end - out->start;
}
bool redis_out_grow(struct redis_out *out, size_t size);
/* Room for size more bytes; false: failed. */
static inline bool redis_out_reserve(struct redis_out *out, size_t size)
{
    return (!out->failed && out->capacity - out->end >= size) || redis_out_grow(out, size);
}
void redis_out_raw(struct redis_out *out, const void *data, size_t size);
void redis_out_array(struct redis_out *out, size_t count);
void redis_out_bulk(struct redis_out *out, struct mb_slice text);
/* The same without a copy where it is worth it: data stays valid until it is written. */
void redis_out_bulk_later(struct redis_out *out, struct mb_slice text);
void redis_out_text(struct redis_out *out, const char *text);
void redis_out_number(struct redis_out *out, uint64_t number);
/* "hi-lo" */
void redis_out_id(struct redis_out *out, uint64_t hi, uint64_t lo);
/* The next run to write; size 0: nothing. */
struct mb_slice redis_out_next(const struct redis_out *out);
void redis_out_written(struct redis_out *out, size_t size);

/* Numbers as text, without a terminator; return the size. */
#define REDIS_NUMBER_MAX 20u
size_t redis_number_write(char *buffer, uint64_t number);

/* What stands around a bulk string, at most. */
#define REDIS_BULK_AROUND (REDIS_NUMBER_MAX + 5u)

/* Into memory that is large enough; return its end. */
static inline unsigned char *redis_put_length(unsigned char *at, char mark, size_t number)
{
    *at++ = (unsigned char)mark;
    if (number >= 1000) {
        at += redis_number_write((char *)at, number);
    } else {
        unsigned small = (unsigned)number;

        if (small >= 100)
            *at++ = (unsigned char)('0' + small / 100);
        if (small >= 10)
            *at++ = (unsigned char)('0' + small / 10 % 10);
        *at++ = (unsigned char)('0' + small % 10);
    }
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

static inline unsigned char *redis_put_bulk(unsigned char *at, struct mb_slice text)
{
    at = redis_put_length(at, '$', text.size);
    if (text.size > 0)
        memcpy(at, text.data, text.size);
    at += text.size;
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

/* "ms-seq" of an entry ID; false: it is none. */
bool redis_id_parse(struct mb_slice text, struct mb_position *ret_position);

#define REDIS_STEM_SIZE  14u /* thirteen digits, as milliseconds have until 2286, and "-" */
#define REDIS_AFTER_SIZE 18u /* digits behind it that cannot overflow */

/* What the ID before began with: under load many are of one millisecond. */
struct redis_stem {
    uint64_t hi;
    char text[REDIS_STEM_SIZE];
    bool known;
};

/* The same for an ID that may begin as the last one did. */
bool redis_id_parse_stem(struct redis_stem *stem, struct mb_slice text,
                         struct mb_position *ret_position);

static inline bool redis_id_parse_next(struct redis_stem *stem, struct mb_slice text,
                                       struct mb_position *ret_position)
{
    const char *at = text.data;
    uint64_t lo = 0;

    if (!stem->known || text.size <= REDIS_STEM_SIZE ||
        text.size > REDIS_STEM_SIZE + REDIS_AFTER_SIZE ||
        memcmp(at, stem->text, REDIS_STEM_SIZE) != 0)
        return redis_id_parse_stem(stem, text, ret_position);
    for (size_t i = REDIS_STEM_SIZE; i < text.size; i++) {
        unsigned digit = (unsigned char)at[i] - (unsigned)'0';

        if (digit > 9)
            return false;
        lo = lo * 10 + digit;
    }
    *ret_position = (struct mb_position){.kind = MB_POSITION_ID, .hi = stem->hi, .lo = lo};
    return true;
}

#endif
