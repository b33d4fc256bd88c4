/* SPDX-License-Identifier: Apache-2.0 */
/* Violations, the host, numbered messages, and what was taken. */
#include "contract.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

void check_fail(struct check *check, const char *format, ...)
{
    va_list args;

    if (check->count < VIOLATIONS_MAX) {
        va_start(args, format);
        vsnprintf(check->violations[check->count], VIOLATION_SIZE, format, args);
        va_end(args);
    }
    check->count++;
}

bool check_found(const struct check *check, const char *part)
{
    for (size_t i = 0; i < check->count && i < VIOLATIONS_MAX; i++) {
        if (strstr(check->violations[i], part) != NULL)
            return true;
    }
    return false;
}

void check_error(struct check *check, const char *operation, enum mb_status status,
                 const struct mb_error *err)
{
    if (status == MB_OK || status == MB_AGAIN)
        return;
    if (err->status != status)
        check_fail(check, "%s returned %d but filled its error with status %d", operation,
                   (int)status, (int)err->status);
    if (err->reason[0] == '\0' || err->text[0] == '\0')
        check_fail(check, "%s returned %d without a reason or text", operation, (int)status);
}

/* ---- the host ---- */

static void *host_alloc(void *context, size_t size)
{
    struct test_host *host = context;
    void *memory = malloc(size > 0 ? size : 1);

    if (memory != NULL)
        __atomic_add_fetch(&host->allocated, 1, __ATOMIC_RELAXED);
    return memory;
}

static void host_release(void *context, void *memory)
{
    struct test_host *host = context;

    if (memory != NULL)
        __atomic_sub_fetch(&host->allocated, 1, __ATOMIC_RELAXED);
    free(memory);
}

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t test_now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

static int64_t host_monotonic_ms(void *context)
{
    (void)context;
    return clock_ms(CLOCK_MONOTONIC);
}

static int64_t host_wall_ms(void *context)
{
    (void)context;
    return clock_ms(CLOCK_REALTIME);
}

static void host_log(void *context, enum mb_log_level level, const char *text)
{
    (void)context;
    if (level == MB_LOG_ERROR)
        fprintf(stderr, "    log: %s\n", text);
}

static void host_event(void *context, const struct mb_event *event)
{
    struct test_host *host = context;

    if (host->closed)
        check_fail(host->check, "the %s raised event %u after close", host->what, event->kind);
    else if (!host->in_operation)
        check_fail(host->check, "the %s raised event %u outside of an operation", host->what,
                   event->kind);
    if (event->kind < MB_EVENT_SCOPE_ASSIGNED || event->kind > MB_EVENT_LOSS)
        check_fail(host->check, "the %s raised the unknown event %u", host->what, event->kind);
    if (event->kind == MB_EVENT_DOWN && event->error == NULL)
        check_fail(host->check, "the %s raised DOWN without an error", host->what);
    if (host->events_count == EVENTS_MAX) {
        if (host->events_done == 0)
            return;
        memmove(host->events, host->events + host->events_done,
                (host->events_count - host->events_done) * sizeof host->events[0]);
        host->events_count -= host->events_done;
        host->events_done = 0;
    }
    host->events[host->events_count++] =
        (struct seen_event){event->kind,      event->scope,    event->epoch, event->token,
                            event->partition, event->position, event->end,   event->count};
}

static void host_degraded(void *context, uint64_t fields)
{
    struct test_host *host = context;

    if (host->closed || !host->in_operation)
        check_fail(host->check, "the %s told of left-out fields outside of an operation",
                   host->what);
    if (fields == 0)
        check_fail(host->check, "the %s told of a message that lacks nothing", host->what);
    host->degraded |= fields;
    host->degraded_count++;
}

/* Open and close may tell of it as well. */
static void host_traffic(void *context, uint64_t received_bytes, uint64_t sent_bytes)
{
    struct test_host *host = context;

    host->received_bytes += received_bytes;
    host->sent_bytes += sent_bytes;
}

void test_host_init(struct test_host *host, struct check *check, const char *what)
{
    memset(host, 0, sizeof *host);
    host->check = check;
    host->what = what;
    host->host = (struct mb_host){.struct_size = sizeof host->host,
                                  .context = host,
                                  .alloc = host_alloc,
                                  .release = host_release,
                                  .monotonic_ms = host_monotonic_ms,
                                  .wall_ms = host_wall_ms,
                                  .log = host_log,
                                  .event = host_event,
                                  .degraded = host_degraded,
                                  .traffic = host_traffic};
}

/* ---- numbered messages ---- */

struct numbered {
    struct mb_message message;
    char key[16];
    char body[64];
};

struct mb_message *message_create(uint64_t number)
{
    struct numbered *numbered = calloc(1, sizeof *numbered);
    int key_size;
    int body_size;

    if (numbered == NULL)
        abort();
    key_size =
        snprintf(numbered->key, sizeof numbered->key, "key-%u", (unsigned)(number % KEYS_COUNT));
    body_size =
        snprintf(numbered->body, sizeof numbered->body, "number %llu", (unsigned long long)number);
    numbered->message.struct_size = sizeof numbered->message;
    numbered->message.present = MB_HAS_KEY | MB_HAS_DURABLE;
    numbered->message.durable = true;
    numbered->message.key = (struct mb_slice){numbered->key, (size_t)key_size};
    numbered->message.body = (struct mb_slice){numbered->body, (size_t)body_size};
    return &numbered->message;
}

void message_destroy(struct mb_message *message)
{
    free(message);
}

void message_set_text(struct mb_message *message, uint32_t field, struct mb_slice *slice,
                      const char *text)
{
    message->present |= field;
    *slice = (struct mb_slice){text, strlen(text)};
}

uint64_t message_number(const struct mb_message *message)
{
    char text[64];

    if (message->body.size >= sizeof text || message->body.size < 8 ||
        memcmp(message->body.data, "number ", 7) != 0)
        return UINT64_MAX;
    memcpy(text, message->body.data, message->body.size);
    text[message->body.size] = '\0';
    return strtoull(text + 7, NULL, 10);
}

/* ---- what was taken ---- */

static void take_one(void *context, const struct mb_message *message)
{
    struct taken *taken = context;

    if (taken->count == SEQUENCES_MAX)
        return;
    taken->numbers[taken->count] = message_number(message);
    taken->messages[taken->count].scope = message->scope;
    taken->messages[taken->count].epoch = message->epoch;
    taken->messages[taken->count].token = message->token;
    taken->messages[taken->count].position = message->position;
    taken->messages[taken->count].redelivered = message->redelivered;
    taken->count++;
}

struct taken *taken_create(struct tested_source *source)
{
    struct taken *taken = calloc(1, sizeof *taken);

    if (taken == NULL)
        abort();
    source->each = take_one;
    source->context = taken;
    return taken;
}

void taken_ack(struct tested_source *source, const struct taken *taken, size_t from, size_t to,
               enum mb_outcome outcome)
{
    for (size_t i = from; i < to && i < taken->count; i++)
        source_ack(source, &taken->messages[i], outcome);
}

void taken_destroy(struct taken *taken)
{
    free(taken);
}

void taken_check(struct check *check, const struct taken *taken, uint64_t first, uint64_t count,
                 const char *when)
{
    unsigned char *seen = calloc(1, (size_t)count + 1);
    uint64_t last[KEYS_COUNT] = {0};
    uint64_t missing = 0;
    uint64_t first_missing = 0;

    if (seen == NULL)
        abort();
    for (size_t i = 0; i < taken->count; i++) {
        uint64_t number = taken->numbers[i];

        if (number < first || number >= first + count) {
            check_fail(check, "%s: message %llu came and should not", when,
                       (unsigned long long)number);
            continue;
        }
        if (seen[number - first]++ != 0)
            check_fail(check, "%s: message %llu came twice", when, (unsigned long long)number);
        if (number + 1 < last[number % KEYS_COUNT])
            check_fail(check, "%s: message %llu came behind %llu, out of the order of its key",
                       when, (unsigned long long)number,
                       (unsigned long long)last[number % KEYS_COUNT] - 1);
        last[number % KEYS_COUNT] = number + 1;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (seen[i] == 0 && missing++ == 0)
            first_missing = first + i;
    }
    if (missing > 0)
        check_fail(check, "%s: %llu of %llu messages are lost, the first is %llu", when,
                   (unsigned long long)missing, (unsigned long long)count,
                   (unsigned long long)first_missing);
    free(seen);
}

/* ---- modules ---- */

const struct mb_backend *contract_load(const char *path)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    mb_backend_entry *entry = NULL;

    if (module == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return NULL;
    }
    *(void **)&entry = dlsym(module, MB_BACKEND_SYMBOL);
    if (entry == NULL) {
        fprintf(stderr, "%s: no symbol %s\n", path, MB_BACKEND_SYMBOL);
        return NULL;
    }
    return entry();
}
