/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the raw halves share: the load, the clock, and the line with the result. They are what a
 * program could reach that does one half of a bridge's work and nothing else.
 */
#ifndef MBRIDGE_BENCH_RAW_H
#define MBRIDGE_BENCH_RAW_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define RAW_KEYS     50u
#define RAW_KEY_SIZE 8u
#define RAW_SIZE_MAX 65536u

/* Where the bridge puts a key that has no other place. */
#define RAW_KEY_HEADER "x-opt-mbridge-key"

static inline void raw_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static inline void raw_die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static inline double raw_now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline uint64_t raw_number(const char *text, uint64_t max)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || number == 0 || number > max)
        raw_die("'%s' is no number between 1 and %llu", text, (unsigned long long)max);
    return number;
}

static inline void raw_key(char key[RAW_KEY_SIZE + 1], uint64_t number)
{
    snprintf(key, RAW_KEY_SIZE + 1, "key-%04u", (unsigned)(number % RAW_KEYS));
}

static inline void raw_fill(char *body, size_t size)
{
    for (size_t i = 0; i < size; i++)
        body[i] = (char)('a' + i % 26);
}

/* One line of JSON: seconds is from the first message to the last confirm; the processor time is
 * that of the whole process, its start included. */
static inline void raw_report(uint64_t messages, double seconds)
{
    struct rusage used;
    double cpu_us;

    getrusage(RUSAGE_SELF, &used);
    cpu_us = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
             (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    printf("{\"messages\":%llu,\"seconds\":%.6f,\"cpu_us\":%.0f}\n", (unsigned long long)messages,
           seconds, cpu_us);
}

#endif
