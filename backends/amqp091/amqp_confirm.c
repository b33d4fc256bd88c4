/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the messages sent the broker speaks of: confirms, returns, and its last words. */
#include "amqp_sink.h"

#include <stdlib.h>

/* Eight bytes at a step: what is returned is compared with what was sent by these. */
uint64_t amqp_hash(struct mb_slice bytes)
{
    const unsigned char *at = bytes.data;
    uint64_t hash = bytes.size * 0x9e3779b97f4a7c15u + 1;
    size_t left = bytes.size;

    for (; left >= 8; left -= 8, at += 8) {
        uint64_t word;

        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    for (; left > 0; left--, at++)
        hash = (hash ^ *at) * 0xff51afd7ed558ccdu;
    return hash ^ hash >> 29;
}

static void resolve(struct mb_sink *sink, uint64_t tag, bool nacked)
{
    struct amqp_outstanding *entry = amqp_at_tag(sink, tag);
    enum amqp_result result = nacked ? AMQP_RESULT_NACKED : AMQP_RESULT_CONFIRMED;

    if (!entry->open)
        return;
    if (entry->returned)
        result = entry->by_message ? AMQP_RESULT_UNROUTABLE_MESSAGE : AMQP_RESULT_UNROUTABLE;
    entry->open = false;
    sink->open_count--;
    amqp_push_done(sink, entry->sequence, result);
}

enum mb_status amqp_take_confirm(struct mb_sink *sink, const struct amqp_event *event,
                                 struct mb_error *err)
{
    struct amqp_cursor cursor = amqp_cursor_of(event->arguments);
    uint64_t tag = amqp_take_u64(&cursor);
    bool multiple = (amqp_take_u8(&cursor) & 1) != 0;
    bool nacked = event->method == AMQP_BASIC_NACK;

    if (multiple && tag == 0)
        tag = sink->next_tag - 1;
    if (cursor.bad || tag >= sink->next_tag)
        return amqp_client_fail(sink->client, err, "protocol", "a confirm of what was never sent");
    if (tag < sink->lowest_tag)
        return MB_OK;
    for (uint64_t at = multiple ? sink->lowest_tag : tag; at <= tag; at++)
        resolve(sink, at, nacked);
    while (sink->lowest_tag < sink->next_tag && !amqp_at_tag(sink, sink->lowest_tag)->open)
        sink->lowest_tag++;
    return MB_OK;
}

struct returned {
    struct mb_slice exchange;
    struct mb_slice body;
    uint64_t routing_key_hash;
    uint64_t properties_hash;
    uint64_t body_hash; /* 0: not known yet */
};

static bool same_body(const struct amqp_outstanding *entry, struct returned *returned)
{
    if (entry->body_size != returned->body.size)
        return false;
    if (entry->body != NULL || entry->body_size == 0)
        return entry->body_size == 0 ||
               memcmp(entry->body, returned->body.data, entry->body_size) == 0;
    if (returned->body_hash == 0)
        returned->body_hash = amqp_hash(returned->body);
    return entry->body_hash == returned->body_hash;
}

static bool is_returned(const struct amqp_outstanding *entry, struct returned *returned,
                        bool compare_properties)
{
    struct mb_slice exchange = {entry->exchange, entry->exchange_size};

    return entry->open && !entry->returned &&
           entry->routing_key_hash == returned->routing_key_hash &&
           (!compare_properties || entry->properties_hash == returned->properties_hash) &&
           mb_slice_equal(exchange, returned->exchange) && same_body(entry, returned);
}

static bool mark_returned(struct mb_sink *sink, struct returned *returned, uint64_t from,
                          bool compare_properties)
{
    for (uint64_t tag = from; tag < sink->next_tag; tag++) {
        struct amqp_outstanding *entry = amqp_at_tag(sink, tag);

        if (is_returned(entry, returned, compare_properties)) {
            entry->returned = true;
            sink->returned_tag = tag;
            return true;
        }
    }
    return false;
}

/*
 * A return carries no tag: it is the lowest open message that is equal in everything. The broker
 * returns in the order of publishing, so the search goes on behind the last one; only if nothing is
 * found there does it begin anew. Properties that the broker wrote anew may differ in form.
 */
enum mb_status amqp_take_return(struct mb_sink *sink, const struct amqp_event *event,
                                struct mb_error *err)
{
    struct amqp_cursor cursor = amqp_cursor_of(event->arguments);
    struct returned returned = {.properties_hash = amqp_hash(event->header), .body = event->body};
    uint64_t behind = sink->returned_tag + 1;

    amqp_take_u16(&cursor); /* the code: no route, or no consumers */
    amqp_take_shortstr(&cursor);
    returned.exchange = amqp_take_shortstr(&cursor);
    returned.routing_key_hash = amqp_hash(amqp_take_shortstr(&cursor));
    if (behind < sink->lowest_tag)
        behind = sink->lowest_tag;
    if (!cursor.bad && (mark_returned(sink, &returned, behind, true) ||
                        mark_returned(sink, &returned, sink->lowest_tag, true) ||
                        mark_returned(sink, &returned, sink->lowest_tag, false)))
        return MB_OK;
    return amqp_client_fail(sink->client, err, "protocol",
                            "the broker returned a message that is not among those sent");
}

static uint64_t number_behind(const char *text, const char *words)
{
    const char *at = strstr(text, words);

    return at != NULL ? strtoull(at + strlen(words), NULL, 10) : 0;
}

/*
 * The broker closes the channel over a single message whose templated exchange does not exist, or
 * that is larger than its limit. Sent again, it would do so for ever: the message is found by what
 * the broker says and completes as refused; all others are unknown and are sent again.
 */
void amqp_blame(struct mb_sink *sink, const struct mb_error *err)
{
    uint64_t size = number_behind(err->text, "message size ");
    const char *name = strstr(err->text, "no exchange '");

    for (uint64_t tag = sink->lowest_tag; tag < sink->next_tag; tag++) {
        struct amqp_outstanding *entry = amqp_at_tag(sink, tag);

        if (!entry->open)
            continue;
        if (size > 0 && entry->body_size == size) {
            entry->open = false;
            amqp_push_done(sink, entry->sequence, AMQP_RESULT_TOO_LARGE);
        } else if (name != NULL && sink->exchange_templated && entry->exchange_size > 0 &&
                   strncmp(name + 13, entry->exchange, entry->exchange_size) == 0 &&
                   name[13 + entry->exchange_size] == '\'') {
            entry->open = false;
            amqp_push_done(sink, entry->sequence, AMQP_RESULT_NO_EXCHANGE);
        }
    }
}
