/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without libFuzzer: mutations of the target's seeds, and random bytes. Every
 * input follows from (seed, number) alone, so that one can be run again. Options as libFuzzer's,
 * see fuzz.cmake.
 */
#include "fuzz.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SEEDS_MAX      256u
#define INPUT_SIZE_MAX 65536u
#define MUTATIONS_MAX  8u
#define HANG_SECONDS   60u
#define INPUTS_A_WATCH 1024u

struct options {
    uint64_t runs;
    uint64_t seed;
    uint64_t only;
    size_t size_max;
    bool has_only;
    const char *seeds_folder;
    const char *file;
};

struct corpus {
    struct {
        uint8_t *data;
        size_t size;
    } seeds[SEEDS_MAX];
    size_t count;
};

/* For the report of a failure, which comes from a signal or from a sanitizer. */
static struct {
    const uint8_t *data;
    size_t size;
    uint64_t seed;
    uint64_t number;
} current;

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void report(void)
{
    char name[64];
    FILE *file;

    if (current.data == NULL)
        return;
    snprintf(name, sizeof name, "crash-%llu-%llu", (unsigned long long)current.seed,
             (unsigned long long)current.number);
    fprintf(stderr, "%s: -seed=%llu -only=%llu, %zu bytes, written to %s\n", MBRIDGE_FUZZ_NAME,
            (unsigned long long)current.seed, (unsigned long long)current.number, current.size,
            name);
    file = fopen(name, "wb");
    if (file != NULL) {
        fwrite(current.data, 1, current.size, file);
        fclose(file);
    }
    current.data = NULL;
}

/* A library may end the program. */
static void on_exit_within(void)
{
    if (current.data == NULL)
        return;
    fprintf(stderr, "%s: ended within an input\n", MBRIDGE_FUZZ_NAME);
    report();
    fflush(NULL);
    _exit(1);
}

static void on_signal(int number)
{
    signal(number, SIG_DFL);
    if (number == SIGPROF)
        fprintf(stderr, "%s: %u inputs took more than %u s of processor time\n", MBRIDGE_FUZZ_NAME,
                INPUTS_A_WATCH, HANG_SECONDS);
    report();
    raise(number);
}

/* splitmix64: any state is a good one, so (seed, number) can be the state. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t mixed = *state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

static size_t below(uint64_t *state, size_t bound)
{
    return bound == 0 ? 0 : (size_t)(next_random(state) % bound);
}

static void fill(uint64_t *state, uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)next_random(state);
}

/* Makes room for size bytes at a place; returns how many there is room for. */
static size_t open_gap(uint8_t *data, size_t *size, size_t size_max, size_t at, size_t gap)
{
    if (gap > size_max - *size)
        gap = size_max - *size;
    memmove(data + at + gap, data + at, *size - at);
    *size += gap;
    return gap;
}

static void overwrite_number(uint64_t *state, uint8_t *data, size_t size)
{
    static const uint64_t numbers[] = {0,        1,          2,          0x7F,       0x80,
                                       0xFF,     0x7FFF,     0x8000,     0xFFFF,     0x10000,
                                       1u << 24, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, UINT64_MAX};
    size_t width = (size_t)1 << below(state, 4);
    uint64_t number = numbers[below(state, sizeof numbers / sizeof numbers[0])];
    size_t at;

    if (size < width)
        return;
    at = below(state, size - width + 1);
    for (size_t i = 0; i < width; i++)
        data[at + i] = (uint8_t)(number >> 8 * (width - 1 - i));
}

/* Part of a seed, or of the input itself, goes in at any place. */
static void splice(uint64_t *state, const struct corpus *corpus, uint8_t *data, size_t *size,
                   size_t size_max)
{
    size_t from = below(state, corpus->count);
    size_t begin;
    size_t gap;
    size_t at = below(state, *size + 1);

    if (corpus->count == 0 || corpus->seeds[from].size == 0)
        return;
    begin = below(state, corpus->seeds[from].size);
    gap = 1 + below(state, corpus->seeds[from].size - begin);
    gap = open_gap(data, size, size_max, at, gap);
    memcpy(data + at, corpus->seeds[from].data + begin, gap);
}

static void mutate(uint64_t *state, const struct corpus *corpus, uint8_t *data, size_t *size,
                   size_t size_max)
{
    size_t at = below(state, *size + 1);
    size_t length = 1 + below(state, 1 + below(state, 32));

    switch (below(state, 8)) {
    case 0:
        if (*size > 0)
            data[at % *size] ^= (uint8_t)(1u << below(state, 8));
        return;
    case 1:
        if (*size > 0)
            data[at % *size] = (uint8_t)next_random(state);
        return;
    case 2:
        overwrite_number(state, data, *size);
        return;
    case 3:
        length = open_gap(data, size, size_max, at, length);
        fill(state, data + at, length);
        return;
    case 4:
        if (length > *size - at)
            length = *size - at;
        memmove(data + at, data + at + length, *size - at - length);
        *size -= length;
        return;
    case 5:
        *size = below(state, 4) == 0 ? at : *size;
        return;
    case 6:
        if (length > *size - at)
            length = *size - at;
        length = open_gap(data, size, size_max, at, length);
        if (length <= *size - at - length)
            memmove(data + at, data + at + length, length);
        return;
    default:
        splice(state, corpus, data, size, size_max);
    }
}

static size_t make_input(const struct options *options, const struct corpus *corpus,
                         uint64_t number, uint8_t *data)
{
    uint64_t state = options->seed * UINT64_C(0xd1342543de82ef95) ^ number;
    size_t size = 0;
    size_t count;

    next_random(&state);
    if (corpus->count == 0 || below(&state, 8) == 0) {
        size = below(&state, 1 + below(&state, options->size_max < 512 ? options->size_max : 512));
        fill(&state, data, size);
        return size;
    }
    count = below(&state, corpus->count);
    size = corpus->seeds[count].size < options->size_max ? corpus->seeds[count].size
                                                         : options->size_max;
    memcpy(data, corpus->seeds[count].data, size);
    for (count = below(&state, MUTATIONS_MAX + 1); count > 0; count--)
        mutate(&state, corpus, data, &size, options->size_max);
    return size;
}

/* In memory of exactly its size, so that a byte too far is found. */
static void run(const struct options *options, uint64_t number, const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);

    if (exact == NULL)
        abort();
    if (size > 0)
        memcpy(exact, data, size);
    current.data = exact;
    current.size = size;
    current.seed = options->seed;
    current.number = number;
    LLVMFuzzerTestOneInput(size > 0 ? exact : exact + 1, size);
    current.data = NULL;
    free(exact);
}

static void read_seeds(struct corpus *corpus, uint8_t *buffer)
{
    for (corpus->count = 0; corpus->count < SEEDS_MAX; corpus->count++) {
        size_t size = mb_fuzz_seed(corpus->count, buffer, INPUT_SIZE_MAX);
        uint8_t *copy;

        if (size == MB_FUZZ_NO_SEED)
            return;
        copy = malloc(size > 0 ? size : 1);
        if (copy == NULL || size > INPUT_SIZE_MAX)
            abort();
        memcpy(copy, buffer, size);
        corpus->seeds[corpus->count].data = copy;
        corpus->seeds[corpus->count].size = size;
    }
}

static int write_seeds(const struct corpus *corpus, const char *folder)
{
    for (size_t i = 0; i < corpus->count; i++) {
        char path[4096];
        FILE *file;

        snprintf(path, sizeof path, "%s/seed-%zu", folder, i);
        file = fopen(path, "wb");
        if (file == NULL) {
            perror(path);
            return 1;
        }
        fwrite(corpus->seeds[i].data, 1, corpus->seeds[i].size, file);
        fclose(file);
    }
    return 0;
}

static int run_file(const struct options *options, uint8_t *buffer)
{
    FILE *file = fopen(options->file, "rb");
    size_t size;

    if (file == NULL) {
        perror(options->file);
        return 1;
    }
    size = fread(buffer, 1, INPUT_SIZE_MAX, file);
    fclose(file);
    run(options, 0, buffer, size);
    printf("%s: %s, %zu bytes: passed\n", MBRIDGE_FUZZ_NAME, options->file, size);
    return 0;
}

/* on_signal after so many seconds of processor time, or never. */
static void watch(unsigned seconds)
{
    struct itimerval timer = {.it_value.tv_sec = seconds};

    setitimer(ITIMER_PROF, &timer, NULL);
}

static void run_all(const struct options *options, const struct corpus *corpus, uint8_t *buffer)
{
    uint64_t first = options->has_only ? options->only : 0;
    uint64_t end = options->has_only ? options->only + 1 : options->runs;
    struct timespec from;
    struct timespec to;
    double seconds;

    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint64_t number = first; number < end; number++) {
        if (number % INPUTS_A_WATCH == 0)
            watch(HANG_SECONDS);
        run(options, number, buffer, make_input(options, corpus, number, buffer));
    }
    watch(0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    printf("%s: %llu inputs from %zu seeds in %.1f s, %.0f a second, seed %llu\n",
           MBRIDGE_FUZZ_NAME, (unsigned long long)(end - first), corpus->count, seconds,
           seconds > 0 ? (double)(end - first) / seconds : 0, (unsigned long long)options->seed);
}

static bool read_option(const char *argument, struct options *options)
{
    const char *value = strchr(argument, '=');
    size_t size = value != NULL ? (size_t)(value - argument) : 0;

    if (argument[0] != '-') {
        options->file = argument;
        return true;
    }
    if (value++ == NULL)
        return false;
    if (size == 5 && strncmp(argument, "-runs", size) == 0) {
        options->runs = strtoull(value, NULL, 10);
    } else if (size == 5 && strncmp(argument, "-seed", size) == 0) {
        options->seed = strtoull(value, NULL, 10);
    } else if (size == 5 && strncmp(argument, "-only", size) == 0) {
        options->only = strtoull(value, NULL, 10);
        options->has_only = true;
    } else if (size == 8 && strncmp(argument, "-max_len", size) == 0) {
        options->size_max = (size_t)strtoull(value, NULL, 10);
        return options->size_max <= INPUT_SIZE_MAX;
    } else if (size == 6 && strncmp(argument, "-seeds", size) == 0) {
        options->seeds_folder = value;
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {.runs = 20000, .seed = 1, .size_max = 4096};
    struct corpus corpus = {.count = 0};
    uint8_t *buffer = malloc(INPUT_SIZE_MAX);
    int status = 0;

    for (int i = 1; i < argc; i++) {
        if (!read_option(argv[i], &options)) {
            fprintf(stderr,
                    "usage: %s [-runs=N] [-seed=S] [-only=N] [-max_len=BYTES] [-seeds=FOLDER] "
                    "[FILE]\n",
                    argv[0]);
            return 2;
        }
    }
    if (buffer == NULL)
        return 1;
    atexit(on_exit_within);
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
    signal(SIGPROF, on_signal);
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(report);
    read_seeds(&corpus, buffer);
    if (options.seeds_folder != NULL)
        status = write_seeds(&corpus, options.seeds_folder);
    else if (options.file != NULL)
        status = run_file(&options, buffer);
    else
        run_all(&options, &corpus, buffer);
    for (size_t i = 0; i < corpus.count; i++)
        free(corpus.seeds[i].data);
    free(buffer);
    return status;
}
