/* SPDX-License-Identifier: Apache-2.0 */
#include "core/router/transaction.h"

#include "core/router/lane.h"

#include <stdlib.h>

#define COMMIT_INTERVAL_MS 100  /* at most so long a message waits to become visible under load */
#define COMMIT_IDLE_MS     5    /* …and when nothing more comes */
#define OPEN_MAX_MS        8000 /* below the time after which brokers give up a transaction */
#define COMMIT_TIMEOUT_MS  10000u
#define LOAD_TIMEOUT_MS    30000u
#define SCOPES_A_LOAD      256u

enum phase {
    IDLE = 0,
    BEGUN = 1,
    CLOSING = 2, /* sends nothing more; waits until all that was sent is confirmed */
    COMMITTING = 3,
    ABORTING = 4,
    LOADING = 5,
    LETTING_GO = 6
};

/* The scope that an entry of positions belongs to; it may be gone when the job is done. */
struct scope_name {
    uint32_t id;
    uint32_t epoch;
};

struct mb_transaction {
    struct mb_lane *lane;
    struct mb_outlet *outlet;
    bool used; /* the sink that is open has transactions */
    enum phase phase;
    enum mb_status job_status;
    bool job_done;
    bool doomed;      /* a scope of it is gone */
    bool hurry;       /* a scope is being taken away */
    bool load_wanted; /* a scope waits for its position */
    int64_t begun_ms;
    int64_t step_ms;  /* when it was stepped last */
    uint64_t end;     /* behind the last entry that was sent */
    uint64_t checked; /* entries below need not be looked at again while it is closing */
    struct mb_stored_position *positions;
    struct scope_name *names;
    size_t positions_count;
    size_t positions_capacity;
    char *texts; /* streams of positions, one behind the other */
    size_t texts_size;
    size_t texts_capacity;
};

enum mb_status mb_transaction_create(struct mb_lane *lane, struct mb_transaction **ret_transaction)
{
    struct mb_transaction *transaction = calloc(1, sizeof *transaction);

    if (transaction == NULL)
        return MB_NO_MEMORY;
    transaction->lane = lane;
    transaction->outlet = &lane->outlets[0];
    *ret_transaction = transaction;
    return MB_OK;
}

void mb_transaction_destroy(struct mb_transaction *transaction)
{
    if (transaction == NULL)
        return;
    free(transaction->positions);
    free(transaction->names);
    free(transaction->texts);
    free(transaction);
}

bool mb_transaction_covers(const struct mb_transaction *transaction, const struct mb_outlet *outlet)
{
    return transaction != NULL && transaction->used && outlet == transaction->outlet;
}

void mb_transaction_opened(struct mb_transaction *transaction)
{
    const struct mb_outlet *outlet;
    uint64_t traits;

    if (transaction == NULL)
        return;
    outlet = transaction->outlet;
    traits = outlet->ops->traits(outlet->port.params.endpoint, outlet->port.params.options);
    transaction->used =
        (traits & MB_SINK_TRANSACTIONS) != 0 && (traits & MB_SINK_DEDUPLICATES) == 0;
}

/* ---- positions ---- */

static enum mb_status reserve(struct mb_transaction *transaction, size_t text_size)
{
    if (transaction->positions_count == transaction->positions_capacity) {
        size_t capacity = transaction->positions_capacity * 2 + 16;
        struct mb_stored_position *positions =
            realloc(transaction->positions, capacity * sizeof *positions);
        struct scope_name *names;

        if (positions == NULL)
            return MB_NO_MEMORY;
        transaction->positions = positions;
        names = realloc(transaction->names, capacity * sizeof *names);
        if (names == NULL)
            return MB_NO_MEMORY;
        transaction->names = names;
        transaction->positions_capacity = capacity;
    }
    if (transaction->texts_size + text_size > transaction->texts_capacity) {
        size_t capacity = (transaction->texts_size + text_size) * 2;
        char *texts = realloc(transaction->texts, capacity);

        if (texts == NULL)
            return MB_NO_MEMORY;
        transaction->texts = texts;
        transaction->texts_capacity = capacity;
    }
    return MB_OK;
}

static void positions_clear(struct mb_transaction *transaction)
{
    transaction->positions_count = 0;
    transaction->texts_size = 0;
}

/* The stream's name in what is stored says which cluster it is of: a route may read streams of one
 * name from several. Its place among the texts is found again when they do not move any more. */
static enum mb_status positions_add(struct mb_transaction *transaction,
                                    const struct mb_scope *scope,
                                    const struct mb_position *position)
{
    const struct mb_origin *origin = &scope->origin;
    size_t size = origin->identity.size + 1 + origin->stream.size;
    struct mb_stored_position *stored;
    char *text;

    if (reserve(transaction, size) != MB_OK)
        return MB_NO_MEMORY;
    text = transaction->texts + transaction->texts_size;
    if (origin->identity.size > 0)
        memcpy(text, origin->identity.data, origin->identity.size);
    text[origin->identity.size] = '/';
    if (origin->stream.size > 0)
        memcpy(text + origin->identity.size + 1, origin->stream.data, origin->stream.size);
    transaction->texts_size += size;
    stored = &transaction->positions[transaction->positions_count];
    *stored = (struct mb_stored_position){.stream = {NULL, size}, .partition = origin->partition};
    if (position != NULL)
        stored->position = *position;
    transaction->names[transaction->positions_count++] =
        (struct scope_name){.id = scope->id, .epoch = scope->epoch};
    return MB_OK;
}

static void positions_place(struct mb_transaction *transaction)
{
    const char *text = transaction->texts;

    for (size_t i = 0; i < transaction->positions_count; i++) {
        transaction->positions[i].stream.data = text;
        text += transaction->positions[i].stream.size;
    }
}

/* How far each scope has come with what is staged. */
static enum mb_status positions_gather(struct mb_transaction *transaction)
{
    struct mb_window *window = &transaction->lane->window;
    struct mb_scope *scope;

    positions_clear(transaction);
    /* What was dropped or buried has no part in a transaction, but its place is behind us. */
    for (scope = window->scopes; scope != NULL; scope = scope->next) {
        bool is_known = scope->stored.kind != MB_POSITION_NONE &&
                        scope->stored.hi == scope->ack_position.hi &&
                        scope->stored.lo == scope->ack_position.lo;

        scope->staged = scope->ack_position;
        if (is_known || scope->state == MB_SCOPE_GONE || scope->let_go)
            scope->staged.kind = MB_POSITION_NONE;
    }
    for (uint64_t s = window->tail; s < transaction->end; s++) {
        const struct mb_entry *entry = mb_window_at(window, s);

        if (!entry->stale && !entry->released && !entry->passed)
            entry->scope->staged = entry->message->position;
    }
    for (scope = window->scopes; scope != NULL; scope = scope->next) {
        if (scope->staged.kind != MB_POSITION_NONE &&
            positions_add(transaction, scope, &scope->staged) != MB_OK)
            return MB_NO_MEMORY;
    }
    positions_place(transaction);
    return MB_OK;
}

/* ---- jobs ---- */

static struct mb_transaction *of_job(struct mb_job *job)
{
    struct mb_port *port = (struct mb_port *)((char *)job - offsetof(struct mb_port, job));

    return port->job_context;
}

static void job_done(struct mb_job *job)
{
    struct mb_transaction *transaction = of_job(job);

    /* What it returned may have ended the instance: step acts on that before anything else of the
     * lane calls it. A lane that closes only closes it. */
    transaction->job_done = true;
    if (transaction->lane->phase >= MB_LANE_CLOSING)
        mb_port_release(&transaction->outlet->port);
}

static void submit(struct mb_transaction *transaction, enum phase phase,
                   void (*run)(struct mb_job *job))
{
    transaction->phase = phase;
    transaction->job_done = false;
    mb_error_clear(&transaction->outlet->port.error);
    mb_port_run(&transaction->outlet->port, run, job_done, transaction);
}

static void commit_run(struct mb_job *job)
{
    struct mb_transaction *transaction = of_job(job);
    struct mb_outlet *outlet = transaction->outlet;
    struct mb_error *err = &outlet->port.error;
    enum mb_status status =
        outlet->ops->positions(outlet->port.sink, transaction->lane->route->group,
                               transaction->positions, transaction->positions_count, err);

    if (status == MB_OK)
        status = outlet->ops->commit(outlet->port.sink, COMMIT_TIMEOUT_MS, err);
    transaction->job_status = status;
}

static void abort_run(struct mb_job *job)
{
    struct mb_transaction *transaction = of_job(job);
    struct mb_outlet *outlet = transaction->outlet;

    transaction->job_status =
        outlet->ops->abort(outlet->port.sink, COMMIT_TIMEOUT_MS, &outlet->port.error);
}

static void load_run(struct mb_job *job)
{
    struct mb_transaction *transaction = of_job(job);
    struct mb_outlet *outlet = transaction->outlet;

    transaction->job_status = outlet->ops->load_positions(
        outlet->port.sink, transaction->lane->route->group, transaction->positions,
        transaction->positions_count, LOAD_TIMEOUT_MS, &outlet->port.error);
}

/* A transaction of positions alone: the scopes belong to nobody from here on. */
static void let_go_run(struct mb_job *job)
{
    struct mb_transaction *transaction = of_job(job);
    struct mb_outlet *outlet = transaction->outlet;

    transaction->job_status = outlet->ops->begin(outlet->port.sink, &outlet->port.error);
    if (transaction->job_status == MB_OK)
        commit_run(job);
    if (transaction->job_status != MB_OK && transaction->job_status != MB_DISCONNECTED)
        abort_run(job);
}

/* ---- the life of a transaction ---- */

enum mb_status mb_transaction_begin(struct mb_transaction *transaction, int64_t now_ms)
{
    struct mb_outlet *outlet;
    enum mb_status status;

    if (transaction == NULL || !transaction->used || transaction->phase == BEGUN)
        return MB_OK;
    /* Nothing new begins while a scope waits for its position: it may be a long transaction. */
    if (transaction->phase != IDLE || transaction->load_wanted)
        return MB_AGAIN;
    outlet = transaction->outlet;
    status = outlet->ops->begin(outlet->port.sink, &outlet->port.error);
    if (status != MB_OK)
        return status;
    transaction->phase = BEGUN;
    transaction->begun_ms = now_ms;
    transaction->doomed = false;
    transaction->end = outlet->cursor;
    return MB_OK;
}

void mb_transaction_sent(struct mb_transaction *transaction)
{
    if (transaction != NULL && transaction->outlet->cursor > transaction->end)
        transaction->end = transaction->outlet->cursor;
}

static void unstage(struct mb_transaction *transaction)
{
    struct mb_lane *lane = transaction->lane;
    struct mb_outlet *outlet = transaction->outlet;
    struct mb_window *window = &lane->window;

    for (uint64_t s = window->tail; s != window->head; s++) {
        struct mb_entry *entry = mb_window_at(window, s);

        if ((entry->sent & outlet->bit) != 0)
            outlet->in_flight--;
        entry->sent &= ~outlet->bit;
        entry->attempted &= ~outlet->bit;
        entry->staged = false;
        mb_lane_update(lane, s);
    }
    outlet->cursor = window->tail;
    transaction->phase = IDLE;
    transaction->hurry = false;
    positions_clear(transaction);
}

void mb_transaction_lost(struct mb_transaction *transaction)
{
    if (transaction != NULL && transaction->used)
        unstage(transaction);
}

bool mb_transaction_scope_assigned(struct mb_transaction *transaction)
{
    if (transaction == NULL || !transaction->used)
        return false;
    transaction->load_wanted = true;
    return true;
}

void mb_transaction_scope_revoked(struct mb_transaction *transaction)
{
    if (transaction != NULL)
        transaction->hurry = true;
}

void mb_transaction_scope_gone(struct mb_transaction *transaction, const struct mb_scope *scope)
{
    if (transaction != NULL && scope->entries > 0)
        transaction->doomed = true;
}

static bool is_due(const struct mb_transaction *transaction, int64_t now_ms)
{
    const struct mb_lane *lane = transaction->lane;
    const struct mb_outlet *outlet = transaction->outlet;
    const struct mb_window *window = &lane->window;
    int64_t age_ms = now_ms - transaction->begun_ms;
    bool idle = outlet->in_flight == 0 && outlet->cursor == window->head;

    return age_ms >= COMMIT_INTERVAL_MS || (idle && age_ms >= COMMIT_IDLE_MS) ||
           transaction->hurry || transaction->load_wanted || lane->phase != MB_LANE_RUNNING ||
           lane->failed || mb_window_count(window) >= window->max_messages / 2 ||
           window->bytes >= window->max_bytes / 2;
}

/* Whether all that was sent is staged and nothing before it is open, a dead letter say: the stored
 * position must not pass it. */
static bool is_settled(struct mb_transaction *transaction)
{
    struct mb_window *window = &transaction->lane->window;
    uint64_t s = transaction->checked;

    if (transaction->outlet->in_flight > 0)
        return false;
    if (s < window->tail)
        s = window->tail;
    for (; s < transaction->end; s++) {
        const struct mb_entry *entry = mb_window_at(window, s);

        if (!entry->resolved && !entry->staged && !entry->stale && !entry->released)
            break;
    }
    transaction->checked = s;
    return s >= transaction->end;
}

static void open_step(struct mb_transaction *transaction, int64_t now_ms)
{
    struct mb_lane *lane = transaction->lane;
    struct mb_outlet *outlet = transaction->outlet;

    if (transaction->phase == BEGUN && is_due(transaction, now_ms)) {
        transaction->phase = CLOSING;
        transaction->checked = 0;
        mb_outlet_flush(lane, outlet, now_ms);
        if (transaction->phase != CLOSING) /* the sink's instance ended */
            return;
    }
    if (outlet->refused || transaction->doomed || now_ms - transaction->begun_ms >= OPEN_MAX_MS) {
        submit(transaction, ABORTING, abort_run);
    } else if (transaction->phase == CLOSING && is_settled(transaction)) {
        if (positions_gather(transaction) == MB_OK)
            submit(transaction, COMMITTING, commit_run);
        else
            submit(transaction, ABORTING, abort_run);
    }
}

static void committed(struct mb_transaction *transaction)
{
    struct mb_lane *lane = transaction->lane;
    struct mb_window *window = &lane->window;

    for (size_t i = 0; i < transaction->positions_count; i++) {
        struct mb_scope *scope = mb_window_scope(window, transaction->names[i].id);

        if (scope != NULL && scope->epoch == transaction->names[i].epoch)
            scope->stored = transaction->positions[i].position;
    }
    for (uint64_t s = window->tail; s < transaction->end; s++) {
        struct mb_entry *entry = mb_window_at(window, s);

        if (!entry->staged)
            continue;
        entry->staged = false;
        mb_outlet_done(lane, transaction->outlet, entry);
        mb_lane_update(lane, s);
    }
    transaction->phase = IDLE;
    transaction->hurry = false;
    positions_clear(transaction);
    mb_window_trim(window);
}

/* The commit said no: nothing of it is there. */
static void commit_failed(struct mb_transaction *transaction)
{
    struct mb_outlet *outlet = transaction->outlet;
    const char *reason = outlet->port.error.reason;

    mb_counters_retry(transaction->lane->counters, reason[0] != '\0' ? reason : "commit");
    mb_port_note(&outlet->port, false, &outlet->port.error);
    outlet->refused = true; /* the next one begins after the backoff */
    submit(transaction, ABORTING, abort_run);
}

static void load_step(struct mb_transaction *transaction)
{
    struct mb_outlet *outlet = transaction->outlet;
    struct mb_scope *scope;

    if (!transaction->load_wanted || outlet->port.state != MB_PORT_OPEN ||
        outlet->phase != MB_OUTLET_FLOWING || outlet->refused)
        return;
    positions_clear(transaction);
    for (scope = transaction->lane->window.scopes; scope != NULL; scope = scope->next) {
        if (scope->state != MB_SCOPE_ASSIGNED)
            continue;
        if (transaction->positions_count == SCOPES_A_LOAD ||
            positions_add(transaction, scope, NULL) != MB_OK)
            break;
    }
    /* Those that did not fit, or for which there was no memory, are next. */
    transaction->load_wanted = scope != NULL;
    if (transaction->positions_count == 0)
        return;
    positions_place(transaction);
    submit(transaction, LOADING, load_run);
}

static void loaded(struct mb_transaction *transaction)
{
    for (size_t i = 0; i < transaction->positions_count; i++) {
        struct mb_scope *scope =
            mb_window_scope(&transaction->lane->window, transaction->names[i].id);

        if (scope == NULL || scope->epoch != transaction->names[i].epoch ||
            scope->state != MB_SCOPE_ASSIGNED)
            continue;
        scope->stored = transaction->positions[i].position;
        scope->loaded = true;
        scope->state = MB_SCOPE_LOADED;
    }
    positions_clear(transaction);
    transaction->phase = IDLE;
}

static bool is_leaving(const struct mb_lane *lane, const struct mb_scope *scope)
{
    return scope->loaded && !scope->let_go && scope->head == MB_SEQUENCE_NONE &&
           (scope->state == MB_SCOPE_REVOKING ||
            (scope->state == MB_SCOPE_STARTED && lane->phase == MB_LANE_STOPPING));
}

static void let_go_step(struct mb_transaction *transaction)
{
    const struct mb_position *position;
    struct mb_scope *scope;

    positions_clear(transaction);
    for (scope = transaction->lane->window.scopes; scope != NULL; scope = scope->next) {
        if (!is_leaving(transaction->lane, scope))
            continue;
        /* What was dropped or buried since the last commit is done too. */
        position =
            scope->ack_position.kind != MB_POSITION_NONE ? &scope->ack_position : &scope->stored;
        if (positions_add(transaction, scope, position) != MB_OK)
            break;
        transaction->positions[transaction->positions_count - 1].flags = MB_STORED_RELEASED;
        scope->let_go = true; /* if it fails, the next one fences us off instead */
    }
    if (transaction->positions_count == 0)
        return;
    positions_place(transaction);
    submit(transaction, LETTING_GO, let_go_run);
}

bool mb_transaction_has_let_go(const struct mb_transaction *transaction,
                               const struct mb_scope *scope)
{
    const struct mb_scope *each;

    if (transaction == NULL || !transaction->used ||
        !mb_port_is_connected(&transaction->outlet->port))
        return true;
    if (transaction->phase == LETTING_GO)
        return false;
    if (scope != NULL)
        return !is_leaving(transaction->lane, scope);
    for (each = transaction->lane->window.scopes; each != NULL; each = each->next) {
        if (is_leaving(transaction->lane, each))
            return false;
    }
    return true;
}

static void job_ended(struct mb_transaction *transaction, int64_t now_ms)
{
    enum phase phase = transaction->phase;
    enum mb_status status = transaction->job_status;

    transaction->job_done = false;
    mb_port_release(&transaction->outlet->port);
    if (phase == COMMITTING && status == MB_OK) {
        committed(transaction);
    } else if (phase == COMMITTING && status != MB_DISCONNECTED) {
        commit_failed(transaction);
    } else if (phase == LOADING && status == MB_OK) {
        loaded(transaction);
    } else if (phase == ABORTING && status == MB_OK) {
        unstage(transaction);
    } else if (phase == LETTING_GO && status == MB_OK) {
        positions_clear(transaction);
        transaction->phase = IDLE;
    } else {
        transaction->phase = IDLE;
        mb_outlet_lost(transaction->lane, transaction->outlet, now_ms);
    }
}

void mb_transaction_step(struct mb_transaction *transaction, int64_t now_ms)
{
    if (transaction == NULL || !transaction->used)
        return;
    transaction->step_ms = now_ms;
    if (transaction->job_done)
        job_ended(transaction, now_ms);
    if (transaction->outlet->port.state != MB_PORT_OPEN)
        return;
    if (transaction->phase == BEGUN || transaction->phase == CLOSING)
        open_step(transaction, now_ms);
    else if (transaction->phase == IDLE)
        let_go_step(transaction);
    if (transaction->phase == IDLE)
        load_step(transaction);
}

/* The next step loads, lets go, or begins to wait: what it is for came after this one. */
static bool has_work(const struct mb_transaction *transaction)
{
    const struct mb_outlet *outlet = transaction->outlet;
    const struct mb_scope *scope;

    if (transaction->phase != IDLE || outlet->port.state != MB_PORT_OPEN)
        return false;
    for (scope = transaction->lane->window.scopes; scope != NULL; scope = scope->next) {
        if (is_leaving(transaction->lane, scope))
            return true;
    }
    if (outlet->refused && outlet->phase != MB_OUTLET_WAITING)
        return true;
    return transaction->load_wanted && outlet->phase == MB_OUTLET_FLOWING && !outlet->refused;
}

int64_t mb_transaction_deadline_ms(const struct mb_transaction *transaction)
{
    const struct mb_outlet *outlet;

    if (transaction == NULL || !transaction->used)
        return INT64_MAX;
    outlet = transaction->outlet;
    if (has_work(transaction))
        return transaction->step_ms;
    if (transaction->phase == CLOSING)
        return transaction->begun_ms + OPEN_MAX_MS;
    if (transaction->phase != BEGUN)
        return INT64_MAX;
    if (outlet->in_flight == 0 && transaction->step_ms < transaction->begun_ms + COMMIT_IDLE_MS)
        return transaction->begun_ms + COMMIT_IDLE_MS;
    return transaction->begun_ms + COMMIT_INTERVAL_MS;
}
