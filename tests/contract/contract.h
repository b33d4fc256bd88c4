/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract suite: cases that any backend must pass, written against the descriptor alone.
 *
 * Every call of an operation goes through a checked wrapper that holds the rules of the headers and
 * notes what breaks them. Cases and wrappers collect violations instead of asserting, so that the
 * suite can be shown to find faults that were planted.
 */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "core/config/settings.h"

#include <mbridge/backend.h>

#define VIOLATIONS_MAX 64
#define VIOLATION_SIZE 240
#define SETTINGS_MAX   32
#define SCOPES_MAX     64
#define EVENTS_MAX     256
#define SEQUENCES_MAX  16384
#define BATCH_MAX      64

/* What a platform can carry, for the envelope case. */
enum carry {
    CARRY_KEY = 1u << 0,
    CARRY_NULL_BODY = 1u << 1,
    CARRY_DUPLICATE_HEADERS = 1u << 2,
    CARRY_TYPED_HEADERS = 1u << 3,
    CARRY_PROPERTIES = 1u << 4,
    CARRY_EMPTY_KEY = 1u << 5,
    CARRY_REDELIVERED = 1u << 6,
    CARRY_HEADERS = 1u << 7,
    CARRY_HEADER_ORDER = 1u << 8 /* brokers may keep a table in an order of their own */
};

struct check {
    size_t count;
    char violations[VIOLATIONS_MAX][VIOLATION_SIZE];
};

/* Notes a violation; more than fit are only counted. */
void check_fail(struct check *check, const char *format, ...) MB_PRINTF(2, 3);
bool check_found(const struct check *check, const char *part);

/* ---- what is tested ---- */

struct contract {
    const struct mb_backend *backend;
    struct check check;
    const char *endpoint[SETTINGS_MAX]; /* name=value, {stream} stands for a fresh name */
    const char *source[SETTINGS_MAX];
    const char *sink[SETTINGS_MAX];
    const char *bad_endpoint; /* one setting that makes open fail, or NULL */
    uint32_t carries;         /* enum carry */
    bool any_stream;          /* the broker makes whatever is asked for: nothing is missing */
    int32_t partitions;       /* to create logs with */
    uint32_t timeout_ms;      /* of one open, and of any wait */
    uint32_t quiet_ms;        /* nothing more comes if nothing came for so long */
    char prefix[48];          /* of fresh names */
    unsigned fresh;
};

/* The options of one case, filled by the option tables. */
struct options {
    struct contract *contract;
    char stream[80];
    char group[96];
    struct mb_applied *endpoint;
    struct mb_applied *source;
    struct mb_applied *sink;
    uint64_t source_traits;
    uint64_t sink_traits;
    bool effectively_once; /* of the sink; set by the case */
};

/* Fills options for a fresh stream, which exists afterwards. false: violations say why. */
bool options_open(struct contract *contract, struct options *options);
/* The same without creating it. */
bool options_fill(struct contract *contract, struct options *options);
/* Makes the source's options those of a pattern, which every stream of this run matches; false: the
 * backend has no option for patterns. */
bool options_pattern(struct options *options);
/* The same stream, another group. */
void options_regroup(struct options *options);
void options_close(struct options *options);
/* Applies one more setting to a table; used by cases for what is bad. */
struct mb_applied *options_apply(struct contract *contract, const struct mb_option_table *table,
                                 const char *const *settings, const char *more, const char *stream);

/* ---- the host ---- */

struct seen_event {
    uint32_t kind;
    uint32_t scope;
    uint32_t epoch;
    uint64_t token;
    int32_t partition;
    struct mb_position position;
    struct mb_position end;
    uint64_t count;
};

struct test_host {
    struct mb_host host;
    struct check *check;
    const char *what; /* "source", "sink" */
    long allocated;
    bool in_operation;
    bool closed;
    struct seen_event events[EVENTS_MAX];
    size_t events_count;
    size_t events_done; /* handled by the wrapper */
    uint64_t degraded;  /* fields that were told of */
    uint64_t degraded_count;
    uint64_t received_bytes;
    uint64_t sent_bytes;
};

void test_host_init(struct test_host *host, struct check *check, const char *what);
int64_t test_now_ms(void);
void check_error(struct check *check, const char *operation, enum mb_status status,
                 const struct mb_error *err);

/* ---- a source ---- */

enum scope_state { SCOPE_UNKNOWN = 0, SCOPE_ASSIGNED, SCOPE_STARTED, SCOPE_REVOKED, SCOPE_GONE };

struct seen_scope {
    uint32_t state; /* enum scope_state */
    uint32_t epoch;
    int32_t partition;
    bool has_token;
    uint64_t token; /* the last one */
    bool has_acked;
    uint64_t acked; /* the last one that was acknowledged */
    struct mb_position position;
};

struct tested_source {
    struct contract *contract;
    const struct mb_source_ops *ops;
    uint64_t traits;
    struct mb_source *source;
    struct test_host host;
    struct seen_scope scopes[SCOPES_MAX];
    bool holds_stop;                         /* the case answers REVOKED itself */
    bool holds_start;                        /* and ASSIGNED */
    bool acks_at_once;                       /* accepts whatever comes */
    struct mb_position start;                /* the answer to ASSIGNED, */
    struct mb_position start_at[SCOPES_MAX]; /* or, by partition (none: 0), if its kind is set */
    struct mb_message *messages[BATCH_MAX];
    uint32_t batch_max;
    const struct mb_strings *streams; /* as the core resolved a pattern; NULL: there is none */
    struct mb_arena arena;
    void *chunks; /* of the arena, freed with release */
    uint64_t committed_events;
    /* Called for every message; NULL: counted only. */
    void (*each)(void *context, const struct mb_message *message);
    void *context;
    uint64_t count;
    enum mb_status status; /* of the last operation */
};

/* A source on options->stream in options->group. Cases fill in what they want after init. */
void source_init(struct tested_source *source, const struct options *options);
enum mb_status source_open(struct tested_source *source, const struct options *options,
                           bool ordered);
/* One step of a lane: service, answers, a poll. */
void source_step(struct tested_source *source);
/* Steps several (NULL ones are left out) and sleeps on what they wait for until done says so;
 * false: timeout_ms passed. */
bool sources_run(struct tested_source **sources, size_t count, uint32_t timeout_ms,
                 bool (*done)(void *context), void *context);
/* Until count messages came (false: the time is over), and until nothing comes for quiet_ms. */
bool source_take(struct tested_source *source, uint64_t count);
void source_take_quiet(struct tested_source *source);
/* Answers an assignment that was held. */
void source_start(struct tested_source *source, uint32_t scope);
size_t source_scopes(const struct tested_source *source, enum scope_state state);
void source_ack(struct tested_source *source, const struct mb_message *message,
                enum mb_outcome outcome);
void source_commit(struct tested_source *source);
void source_close(struct tested_source *source);
/* Frees what messages point to; close does not. */
void source_release(struct tested_source *source);

/* ---- a sink ---- */

struct tested_sink {
    struct contract *contract;
    const struct mb_sink_ops *ops;
    uint64_t traits;
    struct mb_sink *sink;
    struct test_host host;
    const void *options;
    unsigned char state[SEQUENCES_MAX]; /* 0 not sent, 1 taken, 2 completed */
    uint64_t next;                      /* to take */
    uint64_t outstanding;
    uint64_t confirmed;
    uint64_t failed;
    uint32_t last_cause;
    bool in_transaction;
    bool may_end; /* another instance takes its place: it may say DISCONNECTED wherever it likes */
    bool effectively_once;
    const struct mb_origin *origin; /* of what sink_put sends, at positions that are its numbers */
    enum mb_status status;
};

enum mb_status sink_open(struct tested_sink *sink, const struct options *options,
                         uint32_t window_messages);
/* Sends messages in order from number `next`; returns how many were taken. */
size_t sink_send(struct tested_sink *sink, struct mb_message *const *messages, size_t count);
/* Takes what is complete. */
void sink_collect(struct tested_sink *sink);
/* One wait for what the sink waits for, at most wait_ms. */
void sink_wait(struct tested_sink *sink, uint32_t wait_ms);
/* Sends count numbered messages (from number first) and waits for all completions. */
bool sink_put(struct tested_sink *sink, uint64_t first, uint64_t count);
/* Flushes and waits until nothing is outstanding; violations if that never is. */
bool sink_settle(struct tested_sink *sink);
void sink_close(struct tested_sink *sink);

/* ---- numbered messages ---- */

#define KEYS_COUNT 7u

/* A message with the number in its body and one of KEYS_COUNT keys; freed with message_destroy. */
struct mb_message *message_create(uint64_t number);
void message_destroy(struct mb_message *message);
/* slice is the property of that bit. */
void message_set_text(struct mb_message *message, uint32_t field, struct mb_slice *slice,
                      const char *text);
/* The number of such a message; UINT64_MAX: it is none. */
uint64_t message_number(const struct mb_message *message);

/* What came, in order of coming. */
struct taken {
    uint64_t numbers[SEQUENCES_MAX];
    struct mb_message messages[SEQUENCES_MAX]; /* scope, epoch, token, position, redelivered */
    size_t count;
};

struct taken *taken_create(struct tested_source *source); /* and has source fill it */
void taken_ack(struct tested_source *source, const struct taken *taken, size_t from, size_t to,
               enum mb_outcome outcome);
void taken_destroy(struct taken *taken);
/* All numbers first … first+count-1 came exactly once, and in order within each key. */
void taken_check(struct check *check, const struct taken *taken, uint64_t first, uint64_t count,
                 const char *when);

/* ---- cases ---- */

struct contract_case {
    const char *name;
    void (*run)(struct contract *contract);
};

extern const struct contract_case contract_cases[];
extern const size_t contract_cases_count;

void case_descriptor(struct contract *contract);
void case_option_rows(struct contract *contract);
void case_traits(struct contract *contract);
void case_unused(struct contract *contract);
void case_open_fails(struct contract *contract);
void case_ensure(struct contract *contract);
void case_confirms(struct contract *contract);
void case_back_pressure(struct contract *contract);
void case_missing(struct contract *contract);
void case_nothing_acknowledged(struct contract *contract);
void case_all_acknowledged(struct contract *contract);
void case_prefix_acknowledged(struct contract *contract);
void case_released(struct contract *contract);
void case_stale(struct contract *contract);
void case_batch_bounds(struct contract *contract);
void case_start(struct contract *contract);
void case_idle(struct contract *contract);
void case_envelope(struct contract *contract);
void case_two_members(struct contract *contract);
void case_standby(struct contract *contract);
void case_transaction(struct contract *contract);
void case_positions(struct contract *contract);
void case_deduplicate(struct contract *contract);
void case_streams(struct contract *contract);
void case_degraded(struct contract *contract);

/* Loads a module and calls its entry; NULL and a text on stderr if that fails. */
const struct mb_backend *contract_load(const char *path);

#endif
