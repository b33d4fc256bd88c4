/* SPDX-License-Identifier: Apache-2.0 */
/* Redis Streams with commands encoded, and replies read, by hand: the client library's formatting
 * costs ten times as much, its replies an allocation for each element. */
#include "raw_redis.h"
#include "raw_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ID_SIZE 48u

/* What all entries begin with, up to the key. */
struct prefix {
    char data[512];
    size_t size;
    char body_head[64]; /* from the end of the key to the body */
    size_t body_head_size;
};

/* The ids of a batch, as an XACK takes them. */
struct batch {
    char *ids;
    size_t size, capacity;
    size_t count;
};

struct bare {
    const struct raw_spec *spec;
    struct raw_wire wire;
    char *body;
    struct prefix prefix;
    struct batch batch;
    long long left; /* entries of a reply that are to come */
};

static void put_text(struct raw_wire *wire, const char *text, size_t size)
{
    char head[32];
    int length = snprintf(head, sizeof head, "$%zu\r\n", size);

    raw_wire_put(wire, head, (size_t)length);
    raw_wire_put(wire, text, size);
    raw_wire_put(wire, "\r\n", 2);
}

static void put_words(struct raw_wire *wire, size_t count, const char *const *words)
{
    for (size_t i = 0; i < count; i++)
        put_text(wire, words[i], strlen(words[i]));
}

static void put_array(struct raw_wire *wire, size_t count)
{
    char head[32];

    raw_wire_put(wire, head, (size_t)snprintf(head, sizeof head, "*%zu\r\n", count));
}

/* ---- add ---- */

static void make_prefix(struct prefix *prefix, const struct raw_spec *spec)
{
    int size = snprintf(prefix->data, sizeof prefix->data,
                        "*%llu\r\n$4\r\nXADD\r\n$%zu\r\n%s\r\n$1\r\n*\r\n$3\r\nkey\r\n$%u\r\n",
                        (unsigned long long)(7 + 2 * spec->headers), strlen(spec->stream),
                        spec->stream, RAW_KEY_SIZE);
    int body = snprintf(prefix->body_head, sizeof prefix->body_head, "\r\n$4\r\nbody\r\n$%zu\r\n",
                        spec->size);

    if (size < 0 || (size_t)size >= sizeof prefix->data)
        raw_die("a name of %zu bytes", strlen(spec->stream));
    prefix->size = (size_t)size;
    prefix->body_head_size = (size_t)body;
}

static bool has_room(void *state)
{
    const struct bare *bare = (struct bare *)state;

    return raw_wire_waiting(&bare->wire) < RAW_SEND_SIZE;
}

static void put(void *state, uint64_t number)
{
    struct bare *bare = (struct bare *)state;
    struct raw_wire *wire = &bare->wire;
    const struct raw_spec *spec = bare->spec;
    const struct prefix *prefix = &bare->prefix;
    char *body = bare->body;
    char key[RAW_KEY_SIZE + 1];
    char name[RAW_HEADER_NAME + 1];
    char value[RAW_HEADER_SIZE + 1];

    raw_key(key, number);
    raw_wire_put(wire, prefix->data, prefix->size);
    raw_wire_put(wire, key, RAW_KEY_SIZE);
    raw_wire_put(wire, prefix->body_head, prefix->body_head_size);
    if (spec->is_stamped)
        raw_stamp(body);
    raw_wire_put(wire, body, spec->size);
    raw_wire_put(wire, "\r\n", 2);
    for (uint64_t i = 0; i < spec->headers; i++) {
        raw_header(name, value, i);
        put_text(wire, name, RAW_HEADER_NAME);
        put_text(wire, value, RAW_HEADER_SIZE);
    }
}

/* Whole answers of XADD that were read: "$15\r\n1700000000000-0\r\n". */
static uint64_t take_ids(struct raw_wire *wire)
{
    const unsigned char *at = raw_wire_data(wire);
    const unsigned char *end = at + raw_wire_size(wire);
    uint64_t count = 0;

    while (at < end) {
        const unsigned char *line = memchr(at, '\n', (size_t)(end - at));
        const unsigned char *id;

        if (line == NULL)
            break;
        if (*at != '$')
            raw_die("the server refused: %.*s", (int)(line - at - 1), (const char *)at);
        id = memchr(line + 1, '\n', (size_t)(end - line - 1));
        if (id == NULL)
            break;
        at = id + 1;
        count++;
    }
    wire->in_start += (size_t)(at - raw_wire_data(wire));
    return count;
}

static void flush(void *state)
{
    struct bare *bare = (struct bare *)state;

    raw_wire_flush(&bare->wire);
}

static uint64_t confirm(void *state, int timeout_ms)
{
    struct bare *bare = (struct bare *)state;

    raw_wire_turn(&bare->wire, timeout_ms);
    return take_ids(&bare->wire);
}

/* ---- read ---- */

/* A place in what was read; `is_short` once there was not enough. */
struct cursor {
    const unsigned char *at;
    const unsigned char *end;
    bool is_short;
};

/* A line such as "*2", "$15", ":1": its kind and number. */
static char take_line(struct cursor *cursor, long long *ret_number)
{
    const unsigned char *line;
    const unsigned char *digit = cursor->at + 1;
    bool is_negative;
    char kind;

    *ret_number = 0;
    if (cursor->is_short || cursor->at == cursor->end ||
        (line = memchr(cursor->at, '\n', (size_t)(cursor->end - cursor->at))) == NULL) {
        cursor->is_short = true;
        return '\0';
    }
    kind = (char)*cursor->at;
    if (kind != '*' && kind != '$' && kind != ':')
        raw_die("the server refused: %.*s", (int)(line - cursor->at - 1), (const char *)cursor->at);
    is_negative = *digit == '-';
    digit += is_negative;
    while (*digit >= '0' && *digit <= '9')
        *ret_number = *ret_number * 10 + (*digit++ - '0');
    if (is_negative)
        *ret_number = -*ret_number;
    cursor->at = line + 1;
    return kind;
}

static const unsigned char *take_text(struct cursor *cursor, size_t *ret_size)
{
    long long size;
    const unsigned char *text;

    *ret_size = 0;
    take_line(cursor, &size);
    if (cursor->is_short || size < 0 || cursor->end - cursor->at < size + 2) {
        cursor->is_short = true;
        return NULL;
    }
    text = cursor->at;
    cursor->at += size + 2;
    *ret_size = (size_t)size;
    return text;
}

struct entry {
    const unsigned char *id, *body;
    size_t id_size, body_size;
};

static void take_entry(struct cursor *cursor, struct entry *entry)
{
    long long count;
    const unsigned char *name;
    const unsigned char *value;
    size_t name_size;
    size_t value_size;

    entry->body = NULL;
    entry->body_size = 0;
    take_line(cursor, &count);
    entry->id = take_text(cursor, &entry->id_size);
    take_line(cursor, &count);
    for (long long i = 0; i < count && !cursor->is_short; i += 2) {
        name = take_text(cursor, &name_size);
        value = take_text(cursor, &value_size);
        if (!cursor->is_short && name_size == 4 && memcmp(name, "body", 4) == 0) {
            entry->body = value;
            entry->body_size = value_size;
        }
    }
}

static void note_id(struct batch *batch, const struct entry *entry)
{
    if (batch->size + entry->id_size + ID_SIZE > batch->capacity) {
        batch->capacity = 2 * batch->capacity + 65536;
        batch->ids = realloc(batch->ids, batch->capacity);
        if (batch->ids == NULL)
            raw_die("no memory");
    }
    batch->size += (size_t)snprintf(batch->ids + batch->size, ID_SIZE, "$%zu\r\n", entry->id_size);
    memcpy(batch->ids + batch->size, entry->id, entry->id_size);
    memcpy(batch->ids + batch->size + entry->id_size, "\r\n", 2);
    batch->size += entry->id_size + 2;
    batch->count++;
}

/* Takes entries until the reply ends or what was read does. left: entries that are to come. */
static void take_entries(struct cursor *cursor, long long *left, const struct raw_spec *spec,
                         struct raw_meter *meter, struct batch *batch)
{
    struct entry entry;

    while (*left > 0) {
        const unsigned char *start = cursor->at;

        take_entry(cursor, &entry);
        if (cursor->is_short) {
            cursor->at = start;
            return;
        }
        if (entry.body == NULL)
            raw_die("an entry without a body");
        raw_take(meter, spec, entry.body, entry.body_size);
        note_id(batch, &entry);
        --*left;
    }
}

/* The head of the next reply: the number of entries of an XREADGROUP, 0 for anything else. */
static long long take_head(struct cursor *cursor)
{
    const unsigned char *start = cursor->at;
    long long count;
    size_t size;
    char kind = take_line(cursor, &count);

    if (kind == ':' || (kind != '\0' && count < 0))
        return 0; /* an XACK, or nothing came for BLOCK's time */
    take_line(cursor, &count);
    take_text(cursor, &size);
    take_line(cursor, &count);
    if (!cursor->is_short)
        return count;
    cursor->at = start;
    return 0;
}

static void ask(struct raw_wire *wire, const struct raw_spec *spec)
{
    char number[32];
    const char *const words[] = {"XREADGROUP", "GROUP",      REDIS_GROUP, REDIS_CONSUMER,
                                 "COUNT",      number,       "BLOCK",     REDIS_BLOCK_MS,
                                 "STREAMS",    spec->stream, ">"};

    snprintf(number, sizeof number, "%zu", redis_entries(spec));
    put_array(wire, sizeof words / sizeof words[0]);
    put_words(wire, sizeof words / sizeof words[0], words);
}

static void acknowledge(struct raw_wire *wire, const struct raw_spec *spec, struct batch *batch)
{
    const char *const words[] = {"XACK", spec->stream, REDIS_GROUP};

    put_array(wire, 3 + batch->count);
    put_words(wire, 3, words);
    raw_wire_put(wire, batch->ids, batch->size);
    batch->size = 0;
    batch->count = 0;
}

static void take(void *state, struct raw_meter *meter, int timeout_ms)
{
    struct bare *bare = (struct bare *)state;
    struct raw_wire *wire = &bare->wire;
    struct cursor cursor = {.is_short = false};

    raw_wire_turn(wire, timeout_ms);
    cursor.at = raw_wire_data(wire);
    cursor.end = cursor.at + raw_wire_size(wire);
    while (cursor.at < cursor.end && !cursor.is_short) {
        bool is_reply = bare->left == 0 && *cursor.at == '*';

        if (bare->left == 0)
            bare->left = take_head(&cursor);
        if (is_reply && !cursor.is_short)
            ask(wire, bare->spec);
        take_entries(&cursor, &bare->left, bare->spec, meter, &bare->batch);
        if (bare->left == 0 && bare->batch.count > 0)
            acknowledge(wire, bare->spec, &bare->batch);
    }
    wire->in_start += (size_t)(cursor.at - raw_wire_data(wire));
}

static void finish(void *state)
{
    struct bare *bare = (struct bare *)state;

    while (raw_wire_waiting(&bare->wire) > 0)
        raw_wire_turn(&bare->wire, RAW_WAIT_MS);
}

/* ---- both ---- */

static void *open_bare(const struct raw_spec *spec)
{
    static struct bare bare;

    bare.spec = spec;
    bare.body = raw_body(spec);
    make_prefix(&bare.prefix, spec);
    raw_wire_init(&bare.wire, raw_connect(spec->address));
    for (uint64_t i = 0; !spec->is_sink && i < redis_requests(spec); i++)
        ask(&bare.wire, spec);
    return &bare;
}

static void close_bare(void *state)
{
    struct bare *bare = (struct bare *)state;

    free(bare->batch.ids);
    close(bare->wire.fd);
    raw_wire_release(&bare->wire);
}

const struct raw_way raw_redis_bare = {
    .open = open_bare,
    .close = close_bare,
    .has_room = has_room,
    .put = put,
    .flush = flush,
    .confirm = confirm,
    .take = take,
    .finish = finish,
};
