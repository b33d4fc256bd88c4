/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source that makes its messages: a log with one partition whose message n is computed. Its
 * position is stored in the store, so that a new instance goes on where the last one stopped.
 *
 * It costs nothing but what every source must do, since the core is measured by it.
 */
#include "memory_source.h"

static const char stream_name[] = "generated";

static struct mb_stored_position stored_at(const struct mb_source *source, uint64_t next)
{
    struct mb_stored_position position = {
        .stream = MB_SLICE_LITERAL(stream_name),
        .partition = (int32_t)source->lane,
        .position = {.kind = MB_POSITION_OFFSET, .lo = next},
    };

    if (source->options->stream != NULL)
        position.stream =
            (struct mb_slice){source->options->stream, strlen(source->options->stream)};
    return position;
}

void memory_generate_open(struct mb_source *source)
{
    struct memory_generator *generator = &source->generator;

    for (size_t i = 0; i < sizeof generator->pattern; i++)
        generator->pattern[i] = (char)('a' + i % 26);
}

static uint64_t count_of(const struct mb_source *source)
{
    return (uint64_t)source->options->generate_count;
}

static uint64_t seek(const struct mb_source *source, struct mb_position position)
{
    uint64_t count = count_of(source);

    switch ((enum mb_position_kind)position.kind) {
    case MB_POSITION_OFFSET:
        return position.lo < count ? position.lo : count;
    case MB_POSITION_END:
        return count;
    case MB_POSITION_NONE:
    case MB_POSITION_ID:
    case MB_POSITION_STORED:
    case MB_POSITION_BEGIN:
    case MB_POSITION_TIME:
        break;
    }
    return 0;
}

static struct mb_position load(const struct mb_source *source)
{
    struct mb_stored_position position = stored_at(source, 0);
    struct memory_store *store = memory_store_lock();
    struct mb_position stored = memory_stored_get(store, source->store, source->group, &position);

    memory_store_unlock(store);
    if (stored.kind == MB_POSITION_NONE)
        stored = source->options->start;
    return (struct mb_position){.kind = MB_POSITION_OFFSET, .lo = seek(source, stored)};
}

/* How many messages are due now, at most max. */
static uint64_t due(const struct mb_source *source, uint64_t max)
{
    const struct memory_generator *generator = &source->generator;
    uint64_t left = count_of(source) - generator->next;
    int64_t elapsed_ms;
    uint64_t allowed;

    if (left > max)
        left = max;
    if (source->options->generate_rate == 0)
        return left;
    elapsed_ms = source->host->monotonic_ms(source->host->context) - generator->began_ms;
    allowed = generator->began_at +
              (uint64_t)elapsed_ms * (uint64_t)source->options->generate_rate / 1000;
    if (allowed <= generator->next)
        return 0;
    return allowed - generator->next < left ? allowed - generator->next : left;
}

void memory_generate_fds(struct mb_source *source, struct mb_wait *wait)
{
    const struct memory_generator *generator = &source->generator;
    uint64_t ahead;
    int64_t next_ms;

    if (generator->state == MEMORY_SCOPE_NONE) {
        wait->ready = true;
        return;
    }
    if (source->paused || generator->state != MEMORY_SCOPE_STARTED ||
        generator->next >= count_of(source))
        return;
    if (due(source, 1) > 0) {
        wait->ready = true;
        return;
    }
    ahead = generator->next + 1 - generator->began_at;
    next_ms = generator->began_ms +
              (int64_t)(ahead * 1000 / (uint64_t)source->options->generate_rate) + 1;
    if (next_ms < wait->deadline_ms)
        wait->deadline_ms = next_ms;
}

static void write_number(char *text, uint64_t number)
{
    for (unsigned i = 0; i < MEMORY_DIGITS; i++)
        text[i] = "0123456789abcdef"[number >> (60 - 4 * i) & 15];
}

static void count_on(struct memory_generator *generator)
{
    unsigned i = MEMORY_DIGITS;

    generator->next++;
    while (i-- > 0) {
        char *digit = &generator->number[i];

        *digit = *digit == '9' ? 'a' : *digit == 'f' ? '0' : (char)(*digit + 1);
        if (*digit != '0')
            return;
    }
}

/* Number at the head, then the alphabet. */
static void write_body(const struct memory_generator *generator, char *body, size_t size)
{
    size_t at = 0;

    while (at < size) {
        size_t part = size - at < sizeof generator->pattern ? size - at : sizeof generator->pattern;

        memcpy(body + at, generator->pattern, part);
        at += part;
    }
    memcpy(body, generator->number, size < MEMORY_DIGITS ? size : MEMORY_DIGITS);
}

static enum mb_status make(struct mb_source *source, struct mb_arena *arena,
                           struct mb_message *message)
{
    struct memory_generator *generator = &source->generator;
    size_t size = (size_t)source->options->generate_size_bytes;
    char *memory = mb_arena_alloc(arena, size + MEMORY_DIGITS);

    if (memory == NULL)
        return MB_NO_MEMORY;
    message->scope = 0;
    message->epoch = generator->epoch;
    message->token = generator->next;
    message->position = (struct mb_position){.kind = MB_POSITION_OFFSET, .lo = generator->next};
    write_body(generator, memory, size);
    message->body = (struct mb_slice){memory, size};
    message->body_kind = MB_BODY_BYTES;
    if (source->options->generate_keys > 0) {
        write_number(memory + size, generator->next % (uint64_t)source->options->generate_keys);
        message->key = (struct mb_slice){memory + size, MEMORY_DIGITS};
        message->present |= MB_HAS_KEY;
    }
    count_on(generator);
    return MB_OK;
}

enum mb_status memory_generate_poll(struct mb_source *source, struct mb_batch *batch,
                                    struct mb_error *err)
{
    uint64_t left;

    if (source->generator.state != MEMORY_SCOPE_STARTED)
        return MB_OK;
    left = due(source, batch->count_max);
    while (left > 0 && (batch->count == 0 || batch->bytes < batch->bytes_max)) {
        struct mb_message *message = batch->messages[batch->count];

        if (make(source, batch->arena, message) != MB_OK) {
            if (batch->count > 0)
                break;
            return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                                "no memory for a generated message of %lld bytes",
                                (long long)source->options->generate_size_bytes);
        }
        batch->count++;
        batch->bytes += message->body.size + message->key.size;
        left--;
    }
    return MB_OK;
}

void memory_generate_ack(struct mb_source *source, const struct mb_ack *ack)
{
    struct memory_generator *generator = &source->generator;

    if (ack->epoch != generator->epoch || ack->token >= generator->next ||
        ack->token < generator->acked || ack->outcome == MB_RELEASED)
        return;
    generator->acked = ack->token + 1;
}

enum mb_status memory_generate_commit(struct mb_source *source, bool tell, struct mb_error *err)
{
    struct memory_generator *generator = &source->generator;
    struct mb_stored_position position = stored_at(source, generator->acked);
    struct mb_event event = {.struct_size = sizeof event,
                             .kind = MB_EVENT_COMMITTED,
                             .epoch = generator->epoch,
                             .token = generator->acked - 1};
    struct memory_store *store;
    enum mb_status status;

    if (generator->acked == generator->committed)
        return MB_OK;
    store = memory_store_lock();
    status = memory_stored_set(store, source->store, source->group, &position);
    memory_store_unlock(store);
    if (status != MB_OK)
        return mb_error_set(err, status, MB_CAUSE_CONNECTION, "memory",
                            "no memory to store a position");
    generator->committed = generator->acked;
    if (tell)
        source->host->event(source->host->context, &event);
    return MB_OK;
}

void memory_generate_start(struct mb_source *source, const struct mb_scope_start *start)
{
    struct memory_generator *generator = &source->generator;
    struct mb_position position = start->position;

    if (generator->state == MEMORY_SCOPE_NONE)
        return;
    if (position.kind == MB_POSITION_STORED)
        position = load(source);
    generator->state = MEMORY_SCOPE_STARTED;
    generator->epoch = start->epoch;
    generator->next = seek(source, position);
    write_number(generator->number, generator->next);
    generator->acked = generator->next;
    generator->committed = generator->next;
    generator->began_at = generator->next;
    generator->began_ms = source->host->monotonic_ms(source->host->context);
}

void memory_generate_service(struct mb_source *source)
{
    const char *name = source->options->stream != NULL ? source->options->stream : stream_name;
    struct mb_event event = {.struct_size = sizeof event,
                             .kind = MB_EVENT_SCOPE_ASSIGNED,
                             .partition = (int32_t)source->lane,
                             .stream = {name, strlen(name)},
                             .end = {.kind = MB_POSITION_OFFSET, .lo = count_of(source)}};

    if (source->generator.state != MEMORY_SCOPE_NONE)
        return;
    event.position = load(source);
    source->generator.state = MEMORY_SCOPE_ASSIGNED;
    event.epoch = ++source->generator.epoch;
    source->host->event(source->host->context, &event);
}
