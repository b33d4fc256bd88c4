/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Kafka halves of a bridge, alone: raw_kafka produce|consume BROKERS TOPIC COUNT SIZE
 *
 * produce: idempotent, acks=all, no copy, one report a message; ends when all are confirmed.
 * consume: in batches from one queue, as a group member that commits once a second.
 */
#include "raw.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BATCH          1000
#define COMMIT_EVERY_S 1.0
#define STALL_S        60.0

struct setting {
    const char *name;
    const char *value;
};

static const struct setting producer_settings[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"linger.ms", "5"},
    {"message.timeout.ms", "0"},
    {"socket.nagle.disable", "true"},
    {"partitioner", "murmur2_random"},
    {"queue.buffering.max.messages", "100000"},
};
static const struct setting consumer_settings[] = {
    {"enable.auto.commit", "false"},         {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "earliest"},       {"isolation.level", "read_committed"},
    {"queued.max.messages.kbytes", "8192"},  {"fetch.max.bytes", "4194304"},
    {"max.partition.fetch.bytes", "524288"},
};

#define COUNT_OF(rows) (sizeof(rows) / sizeof(rows)[0])

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];

    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK)
        raw_die("%s", text);
}

static rd_kafka_t *make_client(rd_kafka_type_t type, const char *brokers,
                               const struct setting *settings, size_t count, const char *group)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[256];
    rd_kafka_t *client;

    set(conf, "bootstrap.servers", brokers);
    for (size_t i = 0; i < count; i++)
        set(conf, settings[i].name, settings[i].value);
    if (group != NULL)
        set(conf, "group.id", group);
    else
        rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR);
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

static void produce_one(rd_kafka_t *client, rd_kafka_topic_t *topic, char *body, size_t size,
                        uint64_t number, rd_kafka_queue_t *queue, uint64_t *confirmed)
{
    char key[RAW_KEY_SIZE + 1];
    rd_kafka_resp_err_t error;

    raw_key(key, number);
    for (;;) {
        error = rd_kafka_producev(client, RD_KAFKA_V_RKT(topic),
                                  RD_KAFKA_V_PARTITION(RD_KAFKA_PARTITION_UA),
                                  RD_KAFKA_V_MSGFLAGS(0), RD_KAFKA_V_VALUE(body, size),
                                  RD_KAFKA_V_KEY(key, RAW_KEY_SIZE), RD_KAFKA_V_END);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
            return;
        if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            raw_die("produce: %s", rd_kafka_err2str(error));
        *confirmed += take_reports(queue, 100);
    }
}

static void produce(const char *brokers, const char *name, uint64_t count, size_t size)
{
    static char body[RAW_SIZE_MAX];
    rd_kafka_t *client = make_client(RD_KAFKA_PRODUCER, brokers, producer_settings,
                                     COUNT_OF(producer_settings), NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(client);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, name, NULL);
    const struct rd_kafka_metadata *metadata;
    uint64_t confirmed = 0;
    double began_s;
    double moved_s;
    uint64_t fresh;

    raw_fill(body, size);
    /* Connects first, so that the log-in is not measured. */
    if (rd_kafka_metadata(client, 0, topic, &metadata, 30000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        raw_die("no answer from %s", brokers);
    rd_kafka_metadata_destroy(metadata);
    began_s = raw_now_s();
    for (uint64_t i = 0; i < count; i++) {
        produce_one(client, topic, body, size, i, queue, &confirmed);
        if (i % BATCH == 0)
            confirmed += take_reports(queue, 0);
    }
    moved_s = raw_now_s();
    while (confirmed < count) {
        fresh = take_reports(queue, 100);
        confirmed += fresh;
        if (fresh > 0)
            moved_s = raw_now_s();
        else if (raw_now_s() - moved_s > STALL_S)
            raw_die("only %llu of %llu confirmed", (unsigned long long)confirmed,
                    (unsigned long long)count);
    }
    raw_report(count, raw_now_s() - began_s);
    rd_kafka_topic_destroy(topic);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(client);
}

/* ---- consume ---- */

/* Takes a batch that waits, stores the offset of the last message of each partition. */
static uint64_t take_batch(rd_kafka_t *client, rd_kafka_queue_t *queue, size_t size)
{
    rd_kafka_message_t *batch[BATCH];
    ssize_t got = rd_kafka_consume_batch_queue(queue, 0, batch, BATCH);
    rd_kafka_topic_partition_list_t *offsets;
    rd_kafka_topic_partition_t *offset;
    uint64_t taken = 0;

    if (got <= 0)
        return 0;
    offsets = rd_kafka_topic_partition_list_new(8);
    for (ssize_t i = 0; i < got; i++) {
        if (batch[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            raw_die("consume: %s", rd_kafka_message_errstr(batch[i]));
        if (batch[i]->len != size)
            raw_die("a message of %zu bytes", batch[i]->len);
        taken++;
        if (i + 1 < got && batch[i + 1]->partition == batch[i]->partition)
            continue;
        offset = rd_kafka_topic_partition_list_find(offsets, rd_kafka_topic_name(batch[i]->rkt),
                                                    batch[i]->partition);
        if (offset == NULL)
            offset = rd_kafka_topic_partition_list_add(offsets, rd_kafka_topic_name(batch[i]->rkt),
                                                       batch[i]->partition);
        offset->offset = batch[i]->offset + 1;
    }
    for (ssize_t i = 0; i < got; i++)
        rd_kafka_message_destroy(batch[i]);
    rd_kafka_offsets_store(client, offsets);
    rd_kafka_topic_partition_list_destroy(offsets);
    return taken;
}

/* Until the queue's descriptor says that there is something, or the timeout. */
static void wait_readable(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    uint64_t drained;
    ssize_t got;

    if (poll(&poll_fd, 1, timeout_ms) > 0) {
        got = read(fd, &drained, sizeof drained);
        if (got < 0 && errno != EAGAIN)
            raw_die("eventfd: %s", strerror(errno));
    }
}

static void consume(const char *brokers, const char *name, uint64_t count, size_t size)
{
    char group[64];
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    const uint64_t one = 1;
    uint64_t taken = 0;
    uint64_t fresh;
    double began_s = raw_now_s();
    double moved_s = began_s;
    double committed_s = began_s;

    snprintf(group, sizeof group, "raw-%ld-%.0f", (long)getpid(), began_s * 1e6);
    client = make_client(RD_KAFKA_CONSUMER, brokers, consumer_settings, COUNT_OF(consumer_settings),
                         group);
    rd_kafka_poll_set_consumer(client);
    queue = rd_kafka_queue_get_consumer(client);
    rd_kafka_queue_io_event_enable(queue, fd, &one, sizeof one);
    rd_kafka_topic_partition_list_add(topics, name, RD_KAFKA_PARTITION_UA);
    if (rd_kafka_subscribe(client, topics) != RD_KAFKA_RESP_ERR_NO_ERROR)
        raw_die("cannot subscribe to %s", name);
    while (taken < count) {
        fresh = take_batch(client, queue, size);
        if (fresh == 0) {
            if (raw_now_s() - moved_s > STALL_S)
                raw_die("only %llu messages came", (unsigned long long)taken);
            wait_readable(fd, 100);
            continue;
        }
        moved_s = raw_now_s();
        if (taken == 0)
            began_s = moved_s;
        taken += fresh;
        if (moved_s - committed_s >= COMMIT_EVERY_S) {
            rd_kafka_commit(client, NULL, 1);
            committed_s = moved_s;
        }
    }
    raw_report(taken, raw_now_s() - began_s);
    rd_kafka_commit(client, NULL, 0);
    rd_kafka_topic_partition_list_destroy(topics);
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
    close(fd);
}

int main(int argc, char **argv)
{
    bool is_producer = argc == 6 && strcmp(argv[1], "produce") == 0;

    if (argc != 6 || (!is_producer && strcmp(argv[1], "consume") != 0))
        raw_die("usage: raw_kafka produce|consume BROKERS TOPIC COUNT SIZE");
    (is_producer ? produce : consume)(argv[2], argv[3], raw_number(argv[4], UINT64_MAX),
                                      (size_t)raw_number(argv[5], RAW_SIZE_MAX));
    return 0;
}
