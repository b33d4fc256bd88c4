/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the raw halves share: their arguments, the load, the clock, and the line with the result.
 * Each is a plain program that does one half of a bridge's work, with the same durability, and
 * nothing else: what a perfect bridge would reach on that side. By default it moves messages by its
 * client library's calls; with bare=1 frames are written and read by hand, where the program can.
 *
 *   raw_NAME VERB ADDRESS STREAM COUNT SIZE [NAME=NUMBER...]
 *
 * A half that writes connects, prints "ready" and begins when a byte comes on standard input. One
 * that reads prints "ready" at its first message. Both end with one line of JSON.
 */
#ifndef MBRIDGE_BENCH_RAW_H
#define MBRIDGE_BENCH_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_KEYS        50u
#define RAW_KEY_SIZE    8u
#define RAW_SIZE_MAX    (4u << 20)
#define RAW_HEADERS_MAX 64u
#define RAW_HEADER_SIZE 16u /* of a value */
#define RAW_HEADER_NAME 8u
/* A body begins with the time at which it was sent, in this many hexadecimal digits. */
#define RAW_STAMP_SIZE 16u
#define RAW_STALL_S    60.0
#define RAW_WAIT_MS    1000
#define RAW_WINDOW     10000u             /* unconfirmed at most */
#define RAW_SEND_SIZE  ((size_t)64 << 10) /* how much is gathered before it is sent */

/* Where the bridge puts a key that has no other place. */
#define RAW_KEY_HEADER "x-opt-mbridge-key"

struct raw_spec {
    const char *address;
    const char *stream;
    uint64_t count;
    size_t size;
    uint64_t headers; /* of each message */
    uint64_t rate;    /* messages a second; 0: as fast as it goes */
    uint64_t window;  /* unconfirmed, or ahead of their acknowledgement; 0: what is right nearby */
    uint64_t linger_ms; /* Kafka: how long a batch may wait */
    uint64_t
        is_stamped; /* bodies begin with the time: the half that reads tells how old they are */
    uint64_t capability; /* AMQP 1.0: ask for a queue, as Artemis needs it */
    uint64_t is_bare;    /* by hand where the program can, not by its library's calls */
    bool is_sink;
};

/* What has been measured so far. */
struct raw_meter {
    const struct raw_spec *spec;
    double began_s;
    double cpu_began_s;
    uint64_t taken;
    float *ages_us; /* where bodies are stamped */
};

void raw_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
double raw_now_s(void);

/* The first argument is source_verb or sink_verb. Ends the program if they are wrong. */
void raw_read_arguments(struct raw_spec *spec, int argc, char **argv, const char *source_verb,
                        const char *sink_verb);

void raw_key(char key[RAW_KEY_SIZE + 1], uint64_t number);
/* Name and value of a message's header. */
void raw_header(char name[RAW_HEADER_NAME + 1], char value[RAW_HEADER_SIZE + 1], uint64_t number);
/* A body as large as all are; the same memory at each call. */
char *raw_body(const struct raw_spec *spec);
void raw_stamp(char *body);

/* Says that it is ready, waits for the word to begin, and begins. */
void raw_begin_sink(struct raw_meter *meter, const struct raw_spec *spec);
/* At the first message. */
void raw_begin_source(struct raw_meter *meter, const struct raw_spec *spec);
/* A message came whose last bytes, or whose body, are these. Begins with the first one. */
void raw_take(struct raw_meter *meter, const struct raw_spec *spec, const void *body, size_t size);

/* How many messages may have been sent by now. */
uint64_t raw_due(const struct raw_meter *meter);
/* How long poll() may wait until the next message is due, at most max_ms. */
int raw_wait_ms(const struct raw_meter *meter, uint64_t sent, int max_ms);

/*
 * How a half moves messages: by the calls of its client library, or by hand. Both are run by the
 * same loops, so they differ in what a message costs and in nothing else. Every failure ends the
 * program.
 */
struct raw_way {
    /* Connected, and a source subscribed: the state that the others get. */
    void *(*open)(const struct raw_spec *spec);
    void (*close)(void *state);

    /* A sink. More may be put before a flush? */
    bool (*has_room)(void *state);
    void (*put)(void *state, uint64_t number);
    /* Sends what can be sent without waiting. */
    void (*flush)(void *state);
    /* Waits for confirms, or room, at most so long. How many were confirmed. */
    uint64_t (*confirm)(void *state, int timeout_ms);

    /* A source. Waits for messages at most so long, takes what came, acknowledges it. */
    void (*take)(void *state, struct raw_meter *meter, int timeout_ms);
    /* All acknowledgements are sent. */
    void (*finish)(void *state);
};

/* The whole work of a half, with its report. */
void raw_run(const struct raw_spec *spec, const struct raw_way *way);

/* One line of JSON: seconds and cpu_us are from the first message to the last confirm. */
void raw_report(struct raw_meter *meter);

#endif
