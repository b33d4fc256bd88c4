/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The halves of a bridge on Redis Streams: raw_redis read|add HOST:PORT STREAM COUNT SIZE …
 *
 * Commands are encoded, and replies read, by hand: the client library's formatting costs ten times
 * as much, its replies an allocation for each element. add: XADD, pipelined, each one answered.
 * read: XREADGROUP, always one ahead of what is being read, with the XACK of what was read.
 */
#include "raw.h"
#include "raw_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW     10000u
#define SEND_SIZE  ((size_t)64 << 10)
#define COUNT      500u
#define REPLY_SIZE ((size_t)1 << 20) /* about so much is asked for at once */
#define NEARBY     2u                /* requests on the way */
#define WAIT_MS    1000
#define BLOCK_MS   "1000"
#define GROUP      "raw"
#define ID_SIZE    48u

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

/* What all entries begin with, up to the key. */
struct prefix {
    char data[512];
    size_t size;
    char body_head[64]; /* from the end of the key to the body */
    size_t body_head_size;
};

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

static void put_entry(struct raw_wire *wire, const struct raw_spec *spec,
                      const struct prefix *prefix, char *body, uint64_t number)
{
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

static void add(const struct raw_spec *spec)
{
    uint64_t window = spec->window > 0 ? spec->window : WINDOW;
    char *body = raw_body(spec);
    struct prefix prefix;
    struct raw_wire wire;
    struct raw_meter meter;
    uint64_t sent = 0;
    uint64_t confirmed = 0;
    double moved_s;

    make_prefix(&prefix, spec);
    raw_wire_init(&wire, raw_connect(spec->address));
    raw_begin_sink(&meter, spec);
    moved_s = raw_now_s();
    while (confirmed < spec->count) {
        uint64_t limit = confirmed + window;
        uint64_t due = raw_due(&meter);
        bool can_go_on;

        limit = limit < due ? limit : due;
        while (sent < limit && raw_wire_waiting(&wire) < SEND_SIZE)
            put_entry(&wire, spec, &prefix, body, sent++);
        raw_wire_flush(&wire);
        can_go_on = sent < limit && raw_wire_waiting(&wire) == 0;
        if (raw_wire_turn(&wire, can_go_on ? 0 : raw_wait_ms(&meter, sent, WAIT_MS)))
            moved_s = raw_now_s();
        else if (!can_go_on && raw_now_s() - moved_s > RAW_STALL_S)
            raw_die("only %llu confirmed", (unsigned long long)confirmed);
        confirmed += take_ids(&wire);
    }
    raw_report(&meter);
    close(wire.fd);
    raw_wire_release(&wire);
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

/* The ids of a batch, as an XACK takes them. */
struct batch {
    char *ids;
    size_t size, capacity;
    size_t count;
};

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
    size_t most = REPLY_SIZE / spec->size;
    const char *const words[] = {"XREADGROUP", "GROUP",  GROUP,     "one",        "COUNT", number,
                                 "BLOCK",      BLOCK_MS, "STREAMS", spec->stream, ">"};

    most = most == 0 ? 1 : most < COUNT ? most : COUNT;
    snprintf(number, sizeof number, "%zu", most);
    put_array(wire, sizeof words / sizeof words[0]);
    put_words(wire, sizeof words / sizeof words[0], words);
}

static void acknowledge(struct raw_wire *wire, const struct raw_spec *spec, struct batch *batch)
{
    const char *const words[] = {"XACK", spec->stream, GROUP};

    put_array(wire, 3 + batch->count);
    put_words(wire, 3, words);
    raw_wire_put(wire, batch->ids, batch->size);
    batch->size = 0;
    batch->count = 0;
}

static void make_group(struct raw_wire *wire, const struct raw_spec *spec)
{
    const char *const destroy[] = {"XGROUP", "DESTROY", spec->stream, GROUP};
    const char *const words[] = {"XGROUP", "CREATE", spec->stream, GROUP, "0", "MKSTREAM"};
    unsigned answers = 0;

    put_array(wire, 6);
    put_words(wire, 6, words);
    put_array(wire, 4);
    put_words(wire, 4, destroy);
    put_array(wire, 6);
    put_words(wire, 6, words);
    while (answers < 3) {
        const unsigned char *line = NULL;

        if (!raw_wire_turn(wire, (int)(RAW_STALL_S * 1000)))
            raw_die("no answer from %s", spec->address);
        while (raw_wire_size(wire) > 0 &&
               (line = memchr(raw_wire_data(wire), '\n', raw_wire_size(wire))) != NULL) {
            answers++;
            wire->in_start += (size_t)(line + 1 - raw_wire_data(wire));
        }
    }
}

static void read_group(const struct raw_spec *spec)
{
    uint64_t requests = spec->window > 0 ? (spec->window + COUNT - 1) / COUNT : NEARBY;
    struct raw_wire wire;
    struct raw_meter meter = {.spec = NULL};
    struct batch batch = {.ids = NULL};
    long long left = 0;

    raw_wire_init(&wire, raw_connect(spec->address));
    make_group(&wire, spec);
    for (uint64_t i = 0; i < requests; i++)
        ask(&wire, spec);
    for (double moved_s = raw_now_s(); meter.taken < spec->count;) {
        struct cursor cursor = {.is_short = false};

        if (raw_wire_turn(&wire, WAIT_MS))
            moved_s = raw_now_s();
        else if (raw_now_s() - moved_s > RAW_STALL_S)
            raw_die("only %llu messages came", (unsigned long long)meter.taken);
        cursor.at = raw_wire_data(&wire);
        cursor.end = cursor.at + raw_wire_size(&wire);
        while (cursor.at < cursor.end && !cursor.is_short) {
            bool is_reply = left == 0 && *cursor.at == '*';

            if (left == 0)
                left = take_head(&cursor);
            if (is_reply && !cursor.is_short)
                ask(&wire, spec);
            take_entries(&cursor, &left, spec, &meter, &batch);
            if (left == 0 && batch.count > 0)
                acknowledge(&wire, spec, &batch);
        }
        wire.in_start += (size_t)(cursor.at - raw_wire_data(&wire));
    }
    while (raw_wire_waiting(&wire) > 0)
        raw_wire_turn(&wire, WAIT_MS);
    raw_report(&meter);
    free(batch.ids);
    close(wire.fd);
    raw_wire_release(&wire);
}

int main(int argc, char **argv)
{
    struct raw_spec spec;

    raw_read_arguments(&spec, argc, argv, "read", "add");
    (spec.is_sink ? add : read_group)(&spec);
    return 0;
}
