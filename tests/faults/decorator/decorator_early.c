/* SPDX-License-Identifier: Apache-2.0 */
/*
 * early_ack: every message is confirmed at once, and sent HOLD_MS later. Since the core forgets a
 * message that is confirmed, each is copied; the copy lives until the inner sink is done with it.
 */
#include "decorator.h"
#include "memory.h"

#include <stdlib.h>

#define HOLD_MS       50
#define FORWARD_BATCH 64u
#define INNER_RESULTS 64u

struct entry {
    struct memory_record *record; /* NULL: the inner sink is done with it */
    struct mb_outgoing item;
    char *texts;
    struct mb_origin origin;
    uint64_t sequence; /* the core's */
    int64_t due_ms;
};

/* Entries first … taken, by number; those before told are confirmed, those before sent are sent. */
struct early {
    struct entry *entries;
    size_t capacity;
    uint64_t first;
    uint64_t sent;
    uint64_t told;
    uint64_t taken;
};

struct early *early_create(const struct mb_open_params *params)
{
    struct early *early = calloc(1, sizeof *early);

    if (early == NULL)
        return NULL;
    early->capacity = params->window_messages > 0 ? params->window_messages : 1;
    early->entries = calloc(early->capacity, sizeof *early->entries);
    if (early->entries == NULL) {
        free(early);
        return NULL;
    }
    return early;
}

static struct entry *entry_at(struct early *early, uint64_t number)
{
    return &early->entries[number % early->capacity];
}

static void entry_clear(struct entry *entry)
{
    memory_record_destroy(entry->record);
    free(entry->texts);
    memset(entry, 0, sizeof *entry);
}

void early_destroy(struct early *early)
{
    if (early == NULL)
        return;
    for (size_t i = 0; i < early->capacity; i++)
        entry_clear(&early->entries[i]);
    free(early->entries);
    free(early);
}

/* A NUL-terminated copy at *at, which moves on; null stays null. */
static struct mb_slice copy_text(char **at, struct mb_slice text)
{
    struct mb_slice copy = {*at, text.size};

    if (text.data == NULL)
        return MB_SLICE_NULL;
    if (text.size > 0)
        memcpy(*at, text.data, text.size);
    *at += text.size + 1;
    return copy;
}

/* Names and origin end with the message and with its scope: the copies of both do not. */
static bool copy_texts(struct entry *entry, const struct mb_outgoing *item)
{
    static const struct mb_origin none = {.partition = -1};
    const struct mb_origin *origin = item->message->origin != NULL ? item->message->origin : &none;
    size_t size = origin->platform.size + origin->endpoint.size + origin->identity.size +
                  origin->stream.size + 4;
    char *at;

    for (size_t i = 0; i < MB_NAMES_MAX; i++)
        size += item->names[i].size + 1;
    entry->texts = calloc(1, size);
    if (entry->texts == NULL)
        return false;
    at = entry->texts;
    for (size_t i = 0; i < MB_NAMES_MAX; i++)
        entry->item.names[i] = copy_text(&at, item->names[i]);
    entry->origin = (struct mb_origin){
        .struct_size = sizeof entry->origin,
        .partition = origin->partition,
        .platform = copy_text(&at, origin->platform),
        .endpoint = copy_text(&at, origin->endpoint),
        .identity = copy_text(&at, origin->identity),
        .stream = copy_text(&at, origin->stream),
    };
    return true;
}

static bool keep(struct early *early, const struct mb_outgoing *item, int64_t now_ms)
{
    struct entry *entry = entry_at(early, early->taken);
    enum mb_cause cause;

    memset(entry, 0, sizeof *entry);
    entry->record = memory_record_create(item->message, &cause);
    if (entry->record == NULL || !copy_texts(entry, item)) {
        entry_clear(entry);
        return false;
    }
    entry->record->message.origin = item->message->origin != NULL ? &entry->origin : NULL;
    entry->item.sequence = early->taken;
    entry->item.message = &entry->record->message;
    entry->sequence = item->sequence;
    entry->due_ms = now_ms + HOLD_MS;
    early->taken++;
    return true;
}

enum mb_status early_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                          size_t *ret_taken)
{
    struct early *early = sink->early;
    int64_t now_ms = sink->host->monotonic_ms(sink->host->context);
    size_t taken = 0;

    while (taken < count && early->taken - early->first < early->capacity &&
           keep(early, &items[taken], now_ms))
        taken++;
    *ret_taken = taken;
    return taken < count ? MB_AGAIN : MB_OK;
}

/* Whatever the inner sink says of a message, it is forgotten. */
static enum mb_status collect(struct mb_sink *sink, struct mb_error *err)
{
    struct early *early = sink->early;
    struct mb_completion results[INNER_RESULTS];
    enum mb_status status;
    size_t count;

    do {
        count = 0;
        status = sink->ops->completions(sink->inner, results, INNER_RESULTS, &count, err);
        for (size_t i = 0; i < count; i++)
            entry_clear(entry_at(early, results[i].sequence));
    } while (count == INNER_RESULTS && status == MB_OK);
    while (early->first < early->told && early->first < early->sent &&
           entry_at(early, early->first)->record == NULL)
        early->first++;
    return status;
}

static enum mb_status forward(struct mb_sink *sink, struct mb_error *err)
{
    struct early *early = sink->early;
    int64_t now_ms = sink->host->monotonic_ms(sink->host->context);
    struct mb_outgoing items[FORWARD_BATCH];
    enum mb_status status;
    size_t count;
    size_t taken;

    do {
        count = 0;
        while (count < FORWARD_BATCH && early->sent + count < early->taken &&
               entry_at(early, early->sent + count)->due_ms <= now_ms) {
            items[count] = entry_at(early, early->sent + count)->item;
            count++;
        }
        if (count == 0)
            return MB_OK;
        taken = 0;
        status = sink->ops->send(sink->inner, items, count, &taken, err);
        early->sent += taken;
    } while (status == MB_OK);
    return status == MB_AGAIN ? MB_OK : status;
}

enum mb_status early_completions(struct mb_sink *sink, struct mb_completion *completions,
                                 size_t max, size_t *ret_count, struct mb_error *err)
{
    struct early *early = sink->early;
    enum mb_status status;
    size_t count = 0;

    while (count < max && early->told < early->taken) {
        completions[count++] = (struct mb_completion){
            .sequence = entry_at(early, early->told++)->sequence, .partition = -1};
    }
    *ret_count = count;
    status = collect(sink, err);
    return status == MB_AGAIN ? MB_OK : status;
}

enum mb_status early_service(struct mb_sink *sink, struct mb_error *err)
{
    enum mb_status status = sink->ops->service(sink->inner, err);

    return status == MB_OK ? forward(sink, err) : status;
}

void early_fds(struct mb_sink *sink, struct mb_wait *wait)
{
    struct early *early = sink->early;

    if (early->told < early->taken)
        wait->ready = true;
    if (early->sent < early->taken && entry_at(early, early->sent)->due_ms < wait->deadline_ms)
        wait->deadline_ms = entry_at(early, early->sent)->due_ms;
}
