/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canonical text of typed values, for platforms whose headers are bytes: shortest round-trip
 * numbers, true/false, milliseconds for timestamps, JSON for lists and maps. One rule for all
 * backends (docs/fidelity.md, header value types).
 */
#ifndef MBRIDGE_KIT_TEXT_H
#define MBRIDGE_KIT_TEXT_H

#include <mbridge/position.h>
#include <mbridge/source.h>
#include <mbridge/status.h>
#include <mbridge/value.h>

/* Grows on the heap up to max_size bytes; failed once, it stays failed and keeps its size. Reused
 * by clear; zeroed except max_size is a valid start. */
struct mb_text {
    char *data;
    size_t size;
    size_t capacity;
    size_t max_size;
    bool failed;
    bool memory_out; /* what failed was memory, not a bound or a value */
};

void mb_text_clear(struct mb_text *text);
void mb_text_release(struct mb_text *text);
/* Makes room for size bytes behind the text, for a caller that writes them there itself and then
 * adds to text->size. false: the text failed. */
bool mb_text_reserve(struct mb_text *text, size_t size);

static inline void mb_text_add(struct mb_text *text, const void *data, size_t size)
{
    size_t end = text->size + size;
    bool fits = !text->failed && end <= text->capacity && end <= text->max_size;

    if (size == 0 || (!fits && !mb_text_reserve(text, size)))
        return;
    memcpy(text->data + text->size, data, size);
    text->size += size;
}

void mb_text_add_u64(struct mb_text *text, uint64_t number); /* decimal */
void mb_text_add_i64(struct mb_text *text, int64_t number);
MB_PRINTF(2, 3) void mb_text_addf(struct mb_text *text, const char *format, ...);

/* Appends the text of value. Strings, symbols and binary as they are; null adds nothing.
 * *ret_exact (may be NULL): reading the text alone tells type and value again (strings only). */
void mb_text_value(struct mb_text *text, const struct mb_value *value, bool *ret_exact);

/* Appends value as JSON (RFC 8259). Binary that is no UTF-8 becomes base64; NaN and infinities
 * become strings; map keys that are no strings become their text. Depth beyond 64 fails. */
void mb_text_json(struct mb_text *text, const struct mb_value *value);

/* Appends text as a JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. For
 * output to people and scripts, not for messages. */
void mb_text_json_string(struct mb_text *text, struct mb_slice string);

/* "offset:42", "id:5-1", "begin", "end", "stored", "time:1700000000000", "none". */
void mb_text_position(struct mb_text *text, struct mb_position position);
enum mb_status mb_position_parse(const char *text, struct mb_position *ret_position);

/* Copies bytes, or the text, into the arena; a null slice stays null. data NULL with size > 0 on
 * return means that memory was out. */
struct mb_slice mb_slice_copy(struct mb_arena *arena, struct mb_slice slice);

/* Copies text with its NUL if it fits; else leaves the buffer as it is. */
static inline bool mb_text_fit(char *buffer, size_t size, const char *text)
{
    size_t length = strlen(text);

    if (length >= size)
        return false;
    memcpy(buffer, text, length + 1);
    return true;
}

static inline bool mb_slice_equal(struct mb_slice a, struct mb_slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline struct mb_slice mb_slice_text(const char *text)
{
    struct mb_slice slice = {text, text != NULL ? strlen(text) : 0};

    return slice;
}

#endif
