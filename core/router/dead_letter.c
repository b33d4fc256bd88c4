/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/dead_letter.h"

#include "kit/text.h"

#include <inttypes.h>
#include <time.h>

#define HEADERS_ADDED 8u

struct added {
    struct mb_arena *arena;
    struct mb_header *headers;
    uint32_t count;
    bool failed;
};

static void add(struct added *added, const char *name, struct mb_slice value)
{
    struct mb_header *header = &added->headers[added->count];
    struct mb_slice copy = mb_slice_copy(added->arena, value);

    if (value.size > 0 && copy.data == NULL) {
        added->failed = true;
        return;
    }
    *header = (struct mb_header){.name = mb_slice_text(name), .name_type = MB_STRING};
    header->value.type = MB_STRING;
    header->value.as.bytes = copy;
    added->count++;
}

static void add_time(struct added *added, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    char date[40];
    char text[64];

    gmtime_r(&seconds, &parts);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, sizeof text, "%s.%03dZ", date, (int)(wall_ms % 1000));
    add(added, "mbridge.dead.time", mb_slice_text(text));
}

static void add_origin(struct added *added, const struct mb_message *original)
{
    struct mb_text text = {.max_size = 256};
    char partition[16];

    if (original->origin != NULL) {
        add(added, "mbridge.dead.endpoint", original->origin->endpoint);
        add(added, "mbridge.dead.stream", original->origin->stream);
        if (original->origin->partition >= 0) {
            snprintf(partition, sizeof partition, "%" PRId32, original->origin->partition);
            add(added, "mbridge.dead.partition", mb_slice_text(partition));
        }
    }
    if (original->position.kind != MB_POSITION_NONE) {
        mb_text_position(&text, original->position);
        if (text.failed)
            added->failed = true;
        else
            add(added, "mbridge.dead.position", (struct mb_slice){text.data, text.size});
        mb_text_release(&text);
    }
}

enum mb_status mb_dead_letter_create(struct mb_arena *arena, const struct mb_message *original,
                                     const char *route, const char *reason, const char *text,
                                     int64_t wall_ms, struct mb_dead_letter **ret_letter)
{
    struct mb_dead_letter *letter = mb_arena_alloc(arena, sizeof *letter);
    struct mb_message *message = mb_arena_alloc(arena, sizeof *message);
    struct added added = {.arena = arena};

    added.headers =
        mb_arena_alloc(arena, (original->headers_count + HEADERS_ADDED) * sizeof *added.headers);
    if (letter == NULL || message == NULL || added.headers == NULL)
        return MB_NO_MEMORY;
    memset(letter, 0, sizeof *letter);
    *message = *original;
    /* Whoever reads the dead letters is to have this one. */
    message->reject_reason = NULL;
    message->reject_text = NULL;
    if (original->headers_count > 0)
        memcpy(added.headers, original->headers,
               original->headers_count * sizeof *original->headers);
    added.count = original->headers_count;
    add(&added, "mbridge.dead.reason", mb_slice_text(reason));
    add(&added, "mbridge.dead.text", mb_slice_text(text));
    add_time(&added, wall_ms);
    add(&added, "mbridge.dead.route", mb_slice_text(route));
    add_origin(&added, original);
    if (added.failed)
        return MB_NO_MEMORY;
    message->headers = added.headers;
    message->headers_count = added.count;
    message->raw_kind = MB_RAW_NONE; /* it has none of what was added */
    message->raw = MB_SLICE_NULL;
    letter->message = message;
    *ret_letter = letter;
    return MB_OK;
}
