/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries in a transaction (MULTI, EXEC). A server with appendfsync always writes its file once for
 * what one read brought it, some 16 KiB: 40 entries or 80. Of a transaction nothing is written
 * before EXEC, so a large one takes a third of the time (tests/bench). It is all there or not at
 * all; what a server does not take so is sent again, each entry by itself.
 */
#include "redis_sink.h"

#define BYTES_MAX     ((size_t)1 << 20)
#define BYTES_MIN     ((size_t)16 << 10) /* PROTO_IOBUF_LEN: less comes with one read anyway */
#define SINGLE_FOR_MS 60000

static const char multi_text[] = "*1\r\n$5\r\nMULTI\r\n";
static const char exec_text[] = "*1\r\n$4\r\nEXEC\r\n";

void redis_multi_begin(struct mb_sink *sink, struct redis_target *link, uint32_t place)
{
    struct redis_multi *multi = &link->multi;
    struct redis_out *out = &link->client->out;

    if (multi->open) {
        if (multi->count == 0)
            multi->first = place; /* what it was begun for could not be encoded */
        return;
    }
    if (sink->options->batch <= 1 || (sink->topology->cluster && sink->templated))
        return;
    if (sink->single_until_ms > 0) {
        if (redis_now_ms(sink->host) < sink->single_until_ms)
            return;
        sink->single_until_ms = 0;
    }
    multi->open = true;
    multi->is_next = redis_out_is_empty(out);
    multi->slot = (link->expected_first + link->expected_count) & link->expected_mask;
    multi->first = place;
    multi->count = multi->seen = 0;
    multi->bytes = 0;
    redis_out_raw(out, multi_text, sizeof multi_text - 1);
    redis_expect(link, REDIS_EXPECT_MULTI);
}

void redis_multi_end(struct redis_target *link)
{
    struct redis_multi *multi = &link->multi;
    struct redis_out *out = &link->client->out;

    if (!multi->open)
        return;
    multi->open = false;
    if (multi->is_next && multi->bytes < BYTES_MIN && !out->failed) {
        /* Too few to be worth it, and nothing is written yet. */
        out->start += sizeof multi_text - 1;
        link->expected[multi->slot] = REDIS_EXPECT_NOTHING;
        if (multi->count == 0)
            link->expected_count--;
        return;
    }
    redis_out_raw(out, exec_text, sizeof exec_text - 1);
    redis_expect(link, REDIS_EXPECT_EXEC);
    redis_expect(link, multi->first);
    redis_expect(link, multi->count);
}

void redis_multi_added(const struct mb_sink *sink, struct redis_target *link, size_t bytes)
{
    struct redis_multi *multi = &link->multi;

    if (!multi->open)
        return;
    multi->bytes += bytes;
    if (++multi->count >= (uint64_t)sink->options->batch || multi->bytes >= BYTES_MAX)
        redis_multi_end(link);
}

bool redis_multi_grows(struct redis_target *link)
{
    struct redis_multi *multi = &link->multi;
    bool is_growing = multi->open && multi->seen != multi->count;

    if (!is_growing)
        redis_multi_end(link);
    multi->seen = multi->count;
    return is_growing && multi->is_next;
}

/* ---- answers ---- */

bool redis_multi_began(struct mb_sink *sink, struct redis_target *link,
                       const struct redis_token *token)
{
    struct redis_multi *multi = &link->multi;

    /* Not allowed, or not known: what follows is answered as if nothing had been asked. */
    multi->is_refused = token->kind == REDIS_TOKEN_ERROR;
    multi->is_queueing = !multi->is_refused;
    if (multi->is_refused)
        sink->single_until_ms = INT64_MAX;
    return multi->is_refused || token->kind == REDIS_TOKEN_STATUS;
}

/* Nothing of it was done. What was sent behind it goes again too, if it is of the same stream. */
static void abort_all(struct mb_sink *sink, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        redis_at_place(sink, first + i)->state = REDIS_STATE_AGAIN;
    sink->open_count -= count;
    sink->redirecting = true;
    if (sink->single_until_ms == 0)
        sink->single_until_ms = redis_now_ms(sink->host) + SINGLE_FOR_MS;
}

bool redis_multi_ended(struct mb_sink *sink, struct redis_target *link,
                       const struct redis_token *token)
{
    struct redis_multi *multi = &link->multi;
    uint32_t first = redis_expected(link);
    uint32_t count = redis_expected(link);

    multi->is_queueing = false;
    if (multi->is_refused) {
        multi->is_refused = false;
        return true;
    }
    if (token->kind == REDIS_TOKEN_ARRAY && token->number == count) {
        multi->answer_at = first;
        multi->answers_left = count;
        return true;
    }
    if (token->kind != REDIS_TOKEN_ERROR)
        return false;
    abort_all(sink, first, count);
    return true;
}
