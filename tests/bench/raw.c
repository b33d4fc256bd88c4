/* SPDX-License-Identifier: Apache-2.0 */
#include "raw.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define QUANTILES 2000u

void raw_die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static double clock_s(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double raw_now_s(void)
{
    return clock_s(CLOCK_MONOTONIC);
}

static uint64_t number_of(const char *text, uint64_t max)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || number > max)
        raw_die("'%s' is no number up to %llu", text, (unsigned long long)max);
    return number;
}

static void read_option(struct raw_spec *spec, const char *text)
{
    const struct {
        const char *name;
        uint64_t *value;
        uint64_t max;
    } options[] = {
        {"headers", &spec->headers, RAW_HEADERS_MAX},
        {"rate", &spec->rate, 100000000},
        {"window", &spec->window, 1u << 20},
        {"linger", &spec->linger_ms, 10000},
        {"stamped", &spec->is_stamped, 1},
        {"capability", &spec->capability, 1},
        {"bare", &spec->is_bare, 1},
    };
    const char *equals = strchr(text, '=');

    for (size_t i = 0; equals != NULL && i < sizeof options / sizeof options[0]; i++) {
        if (strlen(options[i].name) == (size_t)(equals - text) &&
            strncmp(options[i].name, text, (size_t)(equals - text)) == 0) {
            *options[i].value = number_of(equals + 1, options[i].max);
            return;
        }
    }
    raw_die("there is no option '%s'", text);
}

void raw_read_arguments(struct raw_spec *spec, int argc, char **argv, const char *source_verb,
                        const char *sink_verb)
{
    memset(spec, 0, sizeof *spec);
    spec->linger_ms = 5;
    if (argc < 6 || (strcmp(argv[1], source_verb) != 0 && strcmp(argv[1], sink_verb) != 0))
        raw_die("usage: %s %s|%s ADDRESS STREAM COUNT SIZE [NAME=NUMBER...]", argv[0], source_verb,
                sink_verb);
    spec->is_sink = strcmp(argv[1], sink_verb) == 0;
    spec->address = argv[2];
    spec->stream = argv[3];
    spec->count = number_of(argv[4], 1u << 30);
    spec->size = number_of(argv[5], RAW_SIZE_MAX);
    for (int i = 6; i < argc; i++)
        read_option(spec, argv[i]);
    if (spec->count == 0 || spec->size < RAW_STAMP_SIZE)
        raw_die("at least one message, and %u bytes", RAW_STAMP_SIZE);
}

void raw_key(char key[RAW_KEY_SIZE + 1], uint64_t number)
{
    unsigned left = (unsigned)(number % RAW_KEYS);

    memcpy(key, "key-0000", RAW_KEY_SIZE + 1);
    for (char *digit = key + RAW_KEY_SIZE - 1; left > 0; left /= 10)
        *digit-- = (char)('0' + left % 10);
}

void raw_header(char name[RAW_HEADER_NAME + 1], char value[RAW_HEADER_SIZE + 1], uint64_t number)
{
    memcpy(name, "x-head00", RAW_HEADER_NAME + 1);
    memcpy(value, "value-of-header0", RAW_HEADER_SIZE + 1);
    name[RAW_HEADER_NAME - 2] = (char)('0' + number / 10);
    name[RAW_HEADER_NAME - 1] = (char)('0' + number % 10);
    value[RAW_HEADER_SIZE - 1] = (char)('a' + number % 26);
}

char *raw_body(const struct raw_spec *spec)
{
    static char body[RAW_SIZE_MAX];

    for (size_t i = 0; i < spec->size; i++)
        body[i] = (char)('a' + i % 26);
    return body;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void raw_stamp(char *body)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t left = now_ns();

    for (size_t i = RAW_STAMP_SIZE; i > 0; i--, left >>= 4)
        body[i - 1] = digits[left & 15];
}

static uint64_t stamp_of(const char *body)
{
    uint64_t stamp = 0;

    for (size_t i = 0; i < RAW_STAMP_SIZE; i++) {
        unsigned char digit = (unsigned char)body[i];

        stamp = stamp << 4 | (uint64_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    }
    return stamp;
}

static void begin(struct raw_meter *meter, const struct raw_spec *spec)
{
    memset(meter, 0, sizeof *meter);
    meter->spec = spec;
    if (spec->is_stamped && !spec->is_sink) {
        meter->ages_us = calloc(spec->count, sizeof *meter->ages_us);
        if (meter->ages_us == NULL)
            raw_die("no memory");
    }
    meter->began_s = raw_now_s();
    meter->cpu_began_s = clock_s(CLOCK_PROCESS_CPUTIME_ID);
}

void raw_begin_sink(struct raw_meter *meter, const struct raw_spec *spec)
{
    char word;

    puts("ready");
    fflush(stdout);
    if (read(STDIN_FILENO, &word, 1) < 0)
        raw_die("no word to begin");
    begin(meter, spec);
}

void raw_begin_source(struct raw_meter *meter, const struct raw_spec *spec)
{
    begin(meter, spec);
    puts("ready");
    fflush(stdout);
}

void raw_take(struct raw_meter *meter, const struct raw_spec *spec, const void *body, size_t size)
{
    if (meter->spec == NULL)
        raw_begin_source(meter, spec);
    if (size < spec->size)
        raw_die("a message of %zu bytes", size);
    if (meter->ages_us != NULL && meter->taken < spec->count)
        meter->ages_us[meter->taken] =
            (float)(now_ns() - stamp_of((const char *)body + size - spec->size)) / 1000.0f;
    meter->taken++;
}

uint64_t raw_due(const struct raw_meter *meter)
{
    const struct raw_spec *spec = meter->spec;
    double due;

    if (spec->rate == 0)
        return spec->count;
    due = (raw_now_s() - meter->began_s) * (double)spec->rate;
    return due < (double)spec->count ? (uint64_t)due : spec->count;
}

int raw_wait_ms(const struct raw_meter *meter, uint64_t sent, int max_ms)
{
    double left_ms;

    if (meter->spec->rate == 0 || sent >= meter->spec->count)
        return max_ms;
    left_ms = (meter->began_s + (double)(sent + 1) / (double)meter->spec->rate - raw_now_s()) * 1e3;
    if (left_ms <= 0)
        return 0;
    /* Rounded up: messages that are due within one millisecond go out together. */
    return left_ms < max_ms - 1 ? (int)left_ms + 1 : max_ms;
}

static int compare(const void *left, const void *right)
{
    float a = *(const float *)left;
    float b = *(const float *)right;

    return (a > b) - (a < b);
}

/* What came in the first fifth is left out: connections and groups may still be forming. */
static void report_ages(const struct raw_meter *meter)
{
    uint64_t skipped = meter->taken / 5;
    uint64_t count = meter->taken - skipped;
    float *ages = meter->ages_us + skipped;

    qsort(ages, count, sizeof *ages, compare);
    printf(",\"ages_us\":[");
    for (uint64_t i = 0; i < QUANTILES; i++)
        printf("%s%.1f", i == 0 ? "" : ",", (double)ages[(2 * i + 1) * count / (2 * QUANTILES)]);
    putchar(']');
}

void raw_report(struct raw_meter *meter)
{
    double seconds = raw_now_s() - meter->began_s;
    double cpu_s = clock_s(CLOCK_PROCESS_CPUTIME_ID) - meter->cpu_began_s;

    printf("{\"messages\":%llu,\"seconds\":%.6f,\"cpu_us\":%.0f",
           (unsigned long long)meter->spec->count, seconds, cpu_s * 1e6);
    if (meter->ages_us != NULL)
        report_ages(meter);
    puts("}");
    fflush(stdout);
    free(meter->ages_us);
    meter->ages_us = NULL;
}

static void run_sink(const struct raw_spec *spec, const struct raw_way *way, void *state)
{
    uint64_t window = spec->window > 0 ? spec->window : RAW_WINDOW;
    struct raw_meter meter;
    uint64_t sent = 0;
    uint64_t confirmed = 0;
    double moved_s;

    raw_begin_sink(&meter, spec);
    moved_s = raw_now_s();
    while (confirmed < spec->count) {
        uint64_t limit = confirmed + window;
        uint64_t due = raw_due(&meter);
        uint64_t fresh;
        bool can_go_on;

        limit = limit < due ? limit : due;
        while (sent < limit && way->has_room(state))
            way->put(state, sent++);
        way->flush(state);
        can_go_on = sent < limit && way->has_room(state);
        fresh = way->confirm(state, can_go_on ? 0 : raw_wait_ms(&meter, sent, RAW_WAIT_MS));
        confirmed += fresh;
        if (fresh > 0 || can_go_on)
            moved_s = raw_now_s();
        else if (raw_now_s() - moved_s > RAW_STALL_S)
            raw_die("it stands still: %llu sent, %llu confirmed", (unsigned long long)sent,
                    (unsigned long long)confirmed);
    }
    raw_report(&meter);
}

static void run_source(const struct raw_spec *spec, const struct raw_way *way, void *state)
{
    struct raw_meter meter = {.spec = NULL};
    double moved_s = raw_now_s();

    while (meter.taken < spec->count) {
        uint64_t before = meter.taken;

        way->take(state, &meter, RAW_WAIT_MS);
        if (meter.taken > before)
            moved_s = raw_now_s();
        else if (raw_now_s() - moved_s > RAW_STALL_S)
            raw_die("only %llu messages came", (unsigned long long)meter.taken);
    }
    way->finish(state);
    raw_report(&meter);
}

void raw_run(const struct raw_spec *spec, const struct raw_way *way)
{
    void *state = way->open(spec);

    (spec->is_sink ? run_sink : run_source)(spec, way, state);
    way->close(state);
}
