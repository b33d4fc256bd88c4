/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Kafka cluster in memory, by librdkafka's mock, for the demo and for tests without a JVM.
 *
 * Prints "bootstrap HOST:PORT" and runs until its standard input ends or it gets SIGTERM. It may
 * also play the producer: --feed FILE sends a file of records to the first topic with acks=all,
 * the first --burst of them at once, the others at --rate a second from when a line comes in on
 * standard input. "delivered N" lines say how many the cluster has acknowledged so far.
 *
 * A record is a line: KEY, then NAME=VALUE for each header, then an empty field, then the body,
 * separated by tabs.
 */
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { ERROR_SIZE = 512, TICK_MS = 20, REPORT_STEP = 500 };

struct options {
    const char *feed_path;
    long burst_count;
    long rate_per_s;
    char **topics;
    int topic_count;
};

struct feed {
    FILE *file;
    char *line;
    size_t line_size;
    rd_kafka_t *producer;
    const char *topic;
    long sent_count;
    long delivered_count;
    long failed_count;
    long reported_count;
    long allowed_count; /* how many may have been sent by now */
    bool live;          /* the burst is over and the paced part has been asked for */
    bool ended;
    struct timespec live_since;
};

static int usage(void)
{
    fputs("usage: mock_kafka [--feed FILE [--burst N] [--rate N]] TOPIC:PARTITIONS...\n", stderr);
    return 2;
}

static bool parse_count(const char *text, long *ret_count)
{
    char *end;
    errno = 0;
    *ret_count = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *ret_count > 0;
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    *options = (struct options){.burst_count = 1000, .rate_per_s = 1000};
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--feed") == 0)
            options->feed_path = argv[i + 1];
        else if (strcmp(argv[i], "--burst") != 0 && strcmp(argv[i], "--rate") != 0)
            return false;
        else if (!parse_count(argv[i + 1],
                              argv[i][2] == 'b' ? &options->burst_count : &options->rate_per_s))
            return false;
    }
    options->topics = argv + i;
    options->topic_count = argc - i;
    return options->topic_count > 0;
}

/* Creates every TOPIC:PARTITIONS; cuts the arguments at the colon. */
static bool create_topics(rd_kafka_mock_cluster_t *cluster, const struct options *options)
{
    for (int i = 0; i < options->topic_count; i++) {
        char *colon = strrchr(options->topics[i], ':');
        long partition_count;
        if (colon == NULL || !parse_count(colon + 1, &partition_count) || partition_count > 1000)
            return false;
        *colon = '\0';
        if (rd_kafka_mock_topic_create(cluster, options->topics[i], (int)partition_count, 1) != 0)
            return false;
    }
    return true;
}

/* A client with one more setting; takes conf. NULL: *error says why. */
static rd_kafka_t *create_client(const char *name, const char *value, rd_kafka_conf_t *conf,
                                 char *error)
{
    if (rd_kafka_conf_set(conf, name, value, error, ERROR_SIZE) != RD_KAFKA_CONF_OK) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, ERROR_SIZE);
    if (client == NULL)
        rd_kafka_conf_destroy(conf);
    return client;
}

static void count_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    struct feed *feed = opaque;
    (void)producer;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        feed->delivered_count++;
    else
        feed->failed_count++;
}

static rd_kafka_t *create_producer(const char *bootstrap, struct feed *feed, char *error)
{
    static const char *const settings[][2] = {{"acks", "all"},
                                              {"enable.idempotence", "true"},
                                              {"linger.ms", "5"},
                                              {"partitioner", "murmur2_random"}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], error, ERROR_SIZE) !=
            RD_KAFKA_CONF_OK) {
            rd_kafka_conf_destroy(conf);
            return NULL;
        }
    }
    rd_kafka_conf_set_dr_msg_cb(conf, count_delivery);
    rd_kafka_conf_set_opaque(conf, feed);
    return create_client("bootstrap.servers", bootstrap, conf, error);
}

/* The next tab-separated field of *cursor, which moves behind it; NULL if there is no further. */
static char *next_field(char **cursor)
{
    return strsep(cursor, "\t");
}

/* Produces one line. False: it is malformed or can't be produced at all. */
static bool produce_line(struct feed *feed, char *line)
{
    char *cursor = line;
    const char *key = next_field(&cursor);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    char *header;
    while ((header = next_field(&cursor)) != NULL && *header != '\0') {
        const char *value = strchr(header, '=');
        if (value == NULL)
            break;
        rd_kafka_header_add(headers, header, value - header, value + 1, -1);
    }
    if (header == NULL || *header != '\0' || cursor == NULL) {
        rd_kafka_headers_destroy(headers);
        fprintf(stderr, "mock_kafka: record %ld is malformed\n", feed->sent_count + 1);
        return false;
    }
    rd_kafka_resp_err_t result = rd_kafka_producev(
        feed->producer, RD_KAFKA_V_TOPIC(feed->topic), RD_KAFKA_V_KEY(key, strlen(key)),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_VALUE(cursor, strlen(cursor)),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_BLOCK), RD_KAFKA_V_END);
    if (result != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_headers_destroy(headers);
        fprintf(stderr, "mock_kafka: %s\n", rd_kafka_err2str(result));
        return false;
    }
    feed->sent_count++;
    return true;
}

/* How many records may have been sent by now: the burst, then so many a second. */
static long allowed_by_now(const struct feed *feed, const struct options *options)
{
    if (!feed->live)
        return options->burst_count;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double passed_s = (double)(now.tv_sec - feed->live_since.tv_sec) +
                      (double)(now.tv_nsec - feed->live_since.tv_nsec) / 1e9;
    return options->burst_count + (long)(passed_s * (double)options->rate_per_s);
}

/* Sends what is due and reports what has been acknowledged. False: the feed can't go on. */
static bool feed_step(struct feed *feed, const struct options *options)
{
    long allowed = allowed_by_now(feed, options);
    while (!feed->ended && feed->sent_count < allowed) {
        ssize_t length = getline(&feed->line, &feed->line_size, feed->file);
        if (length <= 0) {
            feed->ended = true;
            break;
        }
        if (feed->line[length - 1] == '\n')
            feed->line[length - 1] = '\0';
        if (!produce_line(feed, feed->line))
            return false;
    }
    rd_kafka_poll(feed->producer, 0);
    bool complete = feed->delivered_count == feed->sent_count;
    if (feed->delivered_count >= feed->reported_count + REPORT_STEP ||
        (complete && feed->delivered_count > feed->reported_count)) {
        feed->reported_count = feed->delivered_count;
        printf("delivered %ld\n", feed->delivered_count);
    }
    if (feed->failed_count > 0)
        fprintf(stderr, "mock_kafka: %ld records were not accepted\n", feed->failed_count);
    return feed->failed_count == 0;
}

/* Reads what came in on standard input: any line starts the paced part. False at its end. */
static bool read_command(struct feed *feed)
{
    char discarded[256];
    if (read(STDIN_FILENO, discarded, sizeof(discarded)) <= 0)
        return false;
    if (!feed->live) {
        feed->live = true;
        clock_gettime(CLOCK_MONOTONIC, &feed->live_since);
    }
    return true;
}

static bool serve(struct feed *feed, const struct options *options, int signals)
{
    struct pollfd events[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                              {.fd = signals, .events = POLLIN}};
    for (;;) {
        if (feed->producer != NULL && !feed_step(feed, options))
            return false;
        if (poll(events, 2, feed->producer != NULL ? TICK_MS : -1) < 0)
            return false;
        if (events[1].revents != 0)
            return true;
        if (events[0].revents != 0 && !read_command(feed))
            return true;
    }
}

static bool run(rd_kafka_t *host, const struct options *options, int signals)
{
    char error[ERROR_SIZE] = "";
    bool ok = false;
    struct feed feed = {0};
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(host, 1);
    if (cluster == NULL || !create_topics(cluster, options)) {
        fputs("mock_kafka: the cluster or a topic could not be made\n", stderr);
        goto out;
    }
    const char *bootstrap = rd_kafka_mock_cluster_bootstraps(cluster);
    if (options->feed_path != NULL) {
        feed.topic = options->topics[0];
        feed.file = fopen(options->feed_path, "r");
        if (feed.file == NULL) {
            fprintf(stderr, "mock_kafka: %s: %s\n", options->feed_path, strerror(errno));
            goto out;
        }
        feed.producer = create_producer(bootstrap, &feed, error);
        if (feed.producer == NULL) {
            fprintf(stderr, "mock_kafka: %s\n", error);
            goto out;
        }
    }
    printf("bootstrap %s\n", bootstrap);
    ok = serve(&feed, options, signals);
out:
    if (feed.producer != NULL) {
        rd_kafka_purge(feed.producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_destroy(feed.producer);
    }
    if (feed.file != NULL)
        fclose(feed.file);
    free(feed.line);
    if (cluster != NULL)
        rd_kafka_mock_cluster_destroy(cluster);
    return ok;
}

int main(int argc, char **argv)
{
    struct options options;
    if (!parse_options(argc, argv, &options))
        return usage();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC);
    setvbuf(stdout, NULL, _IOLBF, 0);
    char error[ERROR_SIZE] = "";
    /* The mock cluster lives inside a client that serves no other purpose: errors only. */
    rd_kafka_t *host = create_client("log_level", "3", rd_kafka_conf_new(), error);
    if (host == NULL || signals < 0) {
        fprintf(stderr, "mock_kafka: %s\n", host == NULL ? error : strerror(errno));
        return 1;
    }
    bool ok = run(host, &options, signals);
    rd_kafka_destroy(host);
    close(signals);
    return ok ? 0 : 1;
}
