/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Kafka halves of a bridge: raw_kafka consume|produce BROKERS TOPIC COUNT SIZE …
 *
 * produce: idempotent, acks=all, no copy, one report a message; ends when all are confirmed.
 * consume: in batches from one queue, as a group member that commits once a second.
 */
#include "raw.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BATCH          1000
#define COMMIT_EVERY_S 1.0
#define WAIT_MS        100
#define WINDOW         100000

struct setting {
    const char *name;
    const char *value;
};

static const struct setting producer_settings[] = {
    {"enable.idempotence", "true"},    {"acks", "all"},
    {"message.timeout.ms", "0"},       {"socket.nagle.disable", "true"},
    {"partitioner", "murmur2_random"}, {"message.max.bytes", "16777216"},
};
static const struct setting consumer_settings[] = {
    {"enable.auto.commit", "false"},   {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "earliest"}, {"isolation.level", "read_committed"},
    {"socket.nagle.disable", "true"},
};
/* Nearby these are as fast as the library's defaults, in a third of the memory. */
static const struct setting nearby_settings[] = {
    {"queued.max.messages.kbytes", "8192"},
    {"fetch.max.bytes", "4194304"},
    {"max.partition.fetch.bytes", "524288"},
};

#define COUNT_OF(rows) (sizeof(rows) / sizeof(rows)[0])

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];

    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK)
        raw_die("%s", text);
}

static void set_all(rd_kafka_conf_t *conf, const struct setting *settings, size_t count)
{
    for (size_t i = 0; i < count; i++)
        set(conf, settings[i].name, settings[i].value);
}

static void set_number(rd_kafka_conf_t *conf, const char *name, uint64_t value)
{
    char text[32];

    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    set(conf, name, text);
}

/* Takes the settings over. */
static rd_kafka_t *make_client(rd_kafka_type_t type, const struct raw_spec *spec,
                               rd_kafka_conf_t *conf)
{
    char text[256];
    rd_kafka_t *client;

    set(conf, "bootstrap.servers", spec->address);
    client = rd_kafka_new(type, conf, text, sizeof text);
    if (client == NULL)
        raw_die("%s", text);
    return client;
}

/* ---- produce ---- */

static uint64_t take_reports(rd_kafka_queue_t *queue, int timeout_ms)
{
    const rd_kafka_message_t *reports[BATCH];
    uint64_t confirmed = 0;
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
    size_t count;

    while (event != NULL) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
            while ((count = rd_kafka_event_message_array(event, reports, BATCH)) > 0) {
                for (size_t i = 0; i < count; i++)
                    if (reports[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR)
                        raw_die("not delivered: %s", rd_kafka_err2str(reports[i]->err));
                confirmed += count;
            }
        }
        rd_kafka_event_destroy(event);
        event = rd_kafka_queue_poll(queue, 0);
    }
    return confirmed;
}

static rd_kafka_headers_t *make_headers(uint64_t count)
{
    char name[RAW_HEADER_NAME + 1];
    char value[RAW_HEADER_SIZE + 1];
    rd_kafka_headers_t *headers = rd_kafka_headers_new(count);

    for (uint64_t i = 0; i < count; i++) {
        raw_header(name, value, i);
        rd_kafka_header_add(headers, name, RAW_HEADER_NAME, value, RAW_HEADER_SIZE);
    }
    return headers;
}

/* False where the library's queue is full. */
static bool produce_one(rd_kafka_t *client, rd_kafka_topic_t *topic, const struct raw_spec *spec,
                        char *body, uint64_t number)
{
    char key[RAW_KEY_SIZE + 1];
    rd_kafka_headers_t *headers = spec->headers > 0 ? make_headers(spec->headers) : NULL;
    /* Only a body with a time is another one each time; the others need no copy. */
    int flags = spec->is_stamped ? RD_KAFKA_MSG_F_COPY : 0;
    rd_kafka_resp_err_t error;

    raw_key(key, number);
    if (spec->is_stamped)
        raw_stamp(body);
    if (headers != NULL)
        error = rd_kafka_producev(
            client, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(RD_KAFKA_PARTITION_UA),
            RD_KAFKA_V_MSGFLAGS(flags), RD_KAFKA_V_VALUE(body, spec->size),
            RD_KAFKA_V_KEY(key, RAW_KEY_SIZE), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    else
        error = rd_kafka_producev(client, RD_KAFKA_V_RKT(topic),
                                  RD_KAFKA_V_PARTITION(RD_KAFKA_PARTITION_UA),
                                  RD_KAFKA_V_MSGFLAGS(flags), RD_KAFKA_V_VALUE(body, spec->size),
                                  RD_KAFKA_V_KEY(key, RAW_KEY_SIZE), RD_KAFKA_V_END);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
        return true;
    if (headers != NULL)
        rd_kafka_headers_destroy(headers);
    if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
        raw_die("produce: %s", rd_kafka_err2str(error));
    return false;
}

static rd_kafka_t *make_producer(const struct raw_spec *spec)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    set_all(conf, producer_settings, COUNT_OF(producer_settings));
    set_number(conf, "linger.ms", spec->linger_ms);
    set_number(conf, "queue.buffering.max.messages", spec->window > 0 ? spec->window : WINDOW);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR);
    return make_client(RD_KAFKA_PRODUCER, spec, conf);
}

static void produce(const struct raw_spec *spec)
{
    char *body = raw_body(spec);
    rd_kafka_t *client = make_producer(spec);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(client);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, spec->stream, NULL);
    const struct rd_kafka_metadata *metadata;
    struct raw_meter meter;
    uint64_t sent = 0;
    uint64_t confirmed = 0;
    uint64_t fresh;
    double moved_s;

    /* Connects first, so that the log-in is not measured. */
    if (rd_kafka_metadata(client, 0, topic, &metadata, 30000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        raw_die("no answer from %s", spec->address);
    rd_kafka_metadata_destroy(metadata);
    raw_begin_sink(&meter, spec);
    moved_s = raw_now_s();
    while (confirmed < spec->count) {
        uint64_t due = raw_due(&meter);
        bool is_full = false;

        due = due < sent + BATCH ? due : sent + BATCH;
        while (sent < due && !is_full) {
            is_full = !produce_one(client, topic, spec, body, sent);
            sent += !is_full;
        }
        fresh = take_reports(queue, is_full || sent == spec->count ? WAIT_MS
                                    : spec->rate > 0 ? raw_wait_ms(&meter, sent, WAIT_MS)
                                                     : 0);
        confirmed += fresh;
        if (fresh > 0)
            moved_s = raw_now_s();
        else if (raw_now_s() - moved_s > RAW_STALL_S)
            raw_die("only %llu confirmed", (unsigned long long)confirmed);
    }
    raw_report(&meter);
    rd_kafka_topic_destroy(topic);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(client);
}

/* ---- consume ---- */

/* Takes a batch that waits, stores the offset of the last message of each partition. */
static bool take_batch(rd_kafka_t *client, rd_kafka_queue_t *queue, const struct raw_spec *spec,
                       struct raw_meter *meter)
{
    rd_kafka_message_t *batch[BATCH];
    ssize_t got = rd_kafka_consume_batch_queue(queue, 0, batch, BATCH);
    rd_kafka_topic_partition_list_t *offsets;
    rd_kafka_topic_partition_t *offset;

    if (got <= 0)
        return false;
    offsets = rd_kafka_topic_partition_list_new(8);
    for (ssize_t i = 0; i < got; i++) {
        /* A topic that has just been made. */
        if (batch[i]->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            continue;
        if (batch[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            raw_die("consume: %s", rd_kafka_message_errstr(batch[i]));
        raw_take(meter, spec, batch[i]->payload, batch[i]->len);
        if (i + 1 < got && batch[i + 1]->partition == batch[i]->partition)
            continue;
        offset = rd_kafka_topic_partition_list_find(offsets, spec->stream, batch[i]->partition);
        if (offset == NULL)
            offset = rd_kafka_topic_partition_list_add(offsets, spec->stream, batch[i]->partition);
        offset->offset = batch[i]->offset + 1;
    }
    for (ssize_t i = 0; i < got; i++)
        rd_kafka_message_destroy(batch[i]);
    rd_kafka_offsets_store(client, offsets);
    rd_kafka_topic_partition_list_destroy(offsets);
    return true;
}

/* Until the queue's descriptor says that there is something, or the timeout. */
static void wait_readable(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    uint64_t drained;

    if (poll(&poll_fd, 1, timeout_ms) > 0 && read(fd, &drained, sizeof drained) < 0 &&
        errno != EAGAIN)
        raw_die("eventfd: %s", strerror(errno));
}

static rd_kafka_t *make_consumer(const struct raw_spec *spec)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char group[64];

    snprintf(group, sizeof group, "raw-%ld-%.0f", (long)getpid(), raw_now_s() * 1e6);
    set(conf, "group.id", group);
    set_all(conf, consumer_settings, COUNT_OF(consumer_settings));
    if (spec->window == 0)
        set_all(conf, nearby_settings, COUNT_OF(nearby_settings));
    return make_client(RD_KAFKA_CONSUMER, spec, conf);
}

static void consume(const struct raw_spec *spec)
{
    rd_kafka_t *client = make_consumer(spec);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    const uint64_t one = 1;
    struct raw_meter meter = {.spec = NULL};
    double moved_s = raw_now_s();
    double committed_s = moved_s;
    rd_kafka_queue_t *queue;

    rd_kafka_poll_set_consumer(client);
    queue = rd_kafka_queue_get_consumer(client);
    rd_kafka_queue_io_event_enable(queue, fd, &one, sizeof one);
    rd_kafka_topic_partition_list_add(topics, spec->stream, RD_KAFKA_PARTITION_UA);
    if (rd_kafka_subscribe(client, topics) != RD_KAFKA_RESP_ERR_NO_ERROR)
        raw_die("cannot subscribe to %s", spec->stream);
    while (meter.taken < spec->count) {
        if (!take_batch(client, queue, spec, &meter)) {
            if (raw_now_s() - moved_s > RAW_STALL_S)
                raw_die("only %llu messages came", (unsigned long long)meter.taken);
            wait_readable(fd, WAIT_MS);
            continue;
        }
        moved_s = raw_now_s();
        if (moved_s - committed_s >= COMMIT_EVERY_S) {
            rd_kafka_commit(client, NULL, 1);
            committed_s = moved_s;
        }
    }
    rd_kafka_commit(client, NULL, 0);
    raw_report(&meter);
    rd_kafka_topic_partition_list_destroy(topics);
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
    close(fd);
}

int main(int argc, char **argv)
{
    struct raw_spec spec;

    raw_read_arguments(&spec, argc, argv, "consume", "produce");
    (spec.is_sink ? produce : consume)(&spec);
    return 0;
}
