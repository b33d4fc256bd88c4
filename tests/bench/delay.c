/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A long path: delay ONE_WAY_US LISTEN_HOST:PORT TARGET_HOST:PORT [NETWORK_NAMESPACE]
 *
 * Passes connections on, and what they carry so much later, each way. Its rate is not limited: up
 * to QUEUE_MAX is on its way in either direction. It delays no handshake, and loses nothing: a
 * proxy cannot lose a segment of somebody's connection. With a namespace it listens in there, so
 * that whoever connects passes that namespace's devices, which may delay and lose for themselves.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINKS_MAX 128u
#define QUEUE_MAX ((size_t)256 << 20)
#define READ_SIZE ((size_t)128 << 10)

/* What was read at one time. An empty one is the end of the stream. */
struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t size;
    size_t sent;
    unsigned char data[];
};

struct way {
    struct chunk *first;
    struct chunk **last;
    size_t queued;
    bool has_ended; /* its reader has no more */
    bool is_blocked;
};

/* ways[0] leads from the client to the server, ways[1] back; a way is read from fds[its number]. */
struct link {
    int fds[2];
    struct way ways[2];
    bool is_broken;
};

struct relay {
    uint64_t delay_ns;
    struct sockaddr_in target;
    int listener;
    struct link *links[LINKS_MAX];
    size_t links_count;
};

static void die(const char *what)
{
    fprintf(stderr, "delay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct sockaddr_in place_of(const char *text)
{
    struct sockaddr_in place = {.sin_family = AF_INET};
    char host[64] = "";
    const char *colon = strrchr(text, ':');

    if (colon != NULL && (size_t)(colon - text) < sizeof host)
        memcpy(host, text, (size_t)(colon - text));
    if (colon == NULL || inet_pton(AF_INET, host, &place.sin_addr) != 1)
        die(text);
    place.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    return place;
}

static int open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        die(path);
    return fd;
}

/* Closes it. */
static void enter(int namespace)
{
    if (setns(namespace, CLONE_NEWNET) != 0)
        die("network namespace");
    close(namespace);
}

static int listen_at(const char *place, const char *namespace)
{
    struct sockaddr_in here = place_of(place);
    const int on = 1;
    int home = open_file("/proc/self/ns/net");
    char path[128];
    int fd;

    if (namespace != NULL) {
        snprintf(path, sizeof path, "/run/netns/%s", namespace);
        enter(open_file(path));
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&here, sizeof here) != 0 || listen(fd, 64) != 0)
        die(place);
    /* A socket stays where it was made; the servers are at home. */
    if (namespace != NULL)
        enter(home);
    else
        close(home);
    return fd;
}

static void prepare(int fd)
{
    const int on = 1;

    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void accept_one(struct relay *relay)
{
    int client = accept(relay->listener, NULL, NULL);
    int server;
    struct link *link;

    if (client < 0)
        return;
    server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    link = calloc(1, sizeof *link);
    if (link == NULL || relay->links_count == LINKS_MAX ||
        connect(server, (const struct sockaddr *)&relay->target, sizeof relay->target) != 0) {
        free(link);
        close(server);
        close(client);
        return;
    }
    prepare(client);
    prepare(server);
    link->fds[0] = client;
    link->fds[1] = server;
    for (size_t i = 0; i < 2; i++)
        link->ways[i].last = &link->ways[i].first;
    relay->links[relay->links_count++] = link;
}

static void queue(struct way *way, const void *data, size_t size, uint64_t due_ns)
{
    struct chunk *chunk = malloc(sizeof *chunk + size);

    if (chunk == NULL)
        die("memory");
    *chunk = (struct chunk){.due_ns = due_ns, .size = size};
    if (size > 0)
        memcpy(chunk->data, data, size);
    *way->last = chunk;
    way->last = &chunk->next;
    way->queued += size;
}

static void take_in(const struct relay *relay, struct link *link, size_t number)
{
    static unsigned char data[READ_SIZE];
    struct way *way = &link->ways[number];

    while (way->queued < QUEUE_MAX) {
        ssize_t got = recv(link->fds[number], data, sizeof data, 0);

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got < 0)
            link->is_broken = true;
        else
            queue(way, data, (size_t)got, now_ns() + relay->delay_ns);
        if (got <= 0) {
            way->has_ended = true;
            return;
        }
    }
}

/* Sends what is due. */
static void pass_on(struct link *link, size_t number, uint64_t now)
{
    struct way *way = &link->ways[number];
    int fd = link->fds[1 - number];

    while (way->first != NULL && way->first->due_ns <= now && !link->is_broken) {
        struct chunk *chunk = way->first;
        ssize_t sent = chunk->size == 0 ? 0
                                        : send(fd, chunk->data + chunk->sent,
                                               chunk->size - chunk->sent, MSG_NOSIGNAL);

        way->is_blocked = sent < 0 && errno == EAGAIN;
        if (way->is_blocked)
            return;
        if (sent < 0 && errno != EINTR)
            link->is_broken = true;
        if (sent > 0)
            chunk->sent += (size_t)sent;
        if (chunk->size == 0)
            shutdown(fd, SHUT_WR);
        if (sent < 0 || chunk->sent < chunk->size)
            continue;
        way->queued -= chunk->size;
        way->first = chunk->next;
        if (way->first == NULL)
            way->last = &way->first;
        free(chunk);
    }
}

static bool is_over(const struct link *link)
{
    return link->is_broken || (link->ways[0].has_ended && link->ways[1].has_ended &&
                               link->ways[0].first == NULL && link->ways[1].first == NULL);
}

static void end_link(struct link *link)
{
    for (size_t i = 0; i < 2; i++) {
        while (link->ways[i].first != NULL) {
            struct chunk *chunk = link->ways[i].first;

            link->ways[i].first = chunk->next;
            free(chunk);
        }
        close(link->fds[i]);
    }
    free(link);
}

/* What to wait for, and how long: until the next chunk is due. */
static struct timespec await(const struct relay *relay, struct pollfd *fds)
{
    uint64_t now = now_ns();
    uint64_t left = 1000000000u;

    fds[0] = (struct pollfd){.fd = relay->listener, .events = POLLIN};
    for (size_t i = 0; i < relay->links_count; i++) {
        const struct link *link = relay->links[i];

        for (size_t j = 0; j < 2; j++) {
            const struct way *way = &link->ways[j];
            struct pollfd *fd = &fds[1 + 2 * i + j];

            fd->fd = link->fds[j];
            fd->events = way->has_ended || way->queued >= QUEUE_MAX ? 0 : POLLIN;
            if (link->ways[1 - j].is_blocked)
                fd->events |= POLLOUT;
            else if (link->ways[1 - j].first != NULL) {
                uint64_t due = link->ways[1 - j].first->due_ns;

                left = due <= now ? 0 : due - now < left ? due - now : left;
            }
            if (fd->events == 0)
                fd->fd = -1;
        }
    }
    return (struct timespec){.tv_sec = (time_t)(left / 1000000000u),
                             .tv_nsec = (long)(left % 1000000000u)};
}

static void step(struct relay *relay)
{
    struct pollfd fds[1 + 2 * LINKS_MAX];
    struct timespec timeout = await(relay, fds);
    size_t count = relay->links_count;

    if (ppoll(fds, 1 + 2 * count, &timeout, NULL) < 0 && errno != EINTR)
        die("poll");
    for (size_t i = count; i-- > 0;) {
        struct link *link = relay->links[i];

        for (size_t j = 0; j < 2; j++)
            if (fds[1 + 2 * i + j].fd >= 0 && (fds[1 + 2 * i + j].revents & ~POLLOUT) != 0)
                take_in(relay, link, j);
        for (size_t j = 0; j < 2; j++)
            pass_on(link, j, now_ns());
        if (is_over(link)) {
            end_link(link);
            relay->links[i] = relay->links[--relay->links_count];
        }
    }
    if (fds[0].revents != 0)
        accept_one(relay);
}

int main(int argc, char **argv)
{
    static struct relay relay;

    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: delay ONE_WAY_US LISTEN_HOST:PORT TARGET_HOST:PORT [NAMESPACE]\n");
        return 2;
    }
    relay.delay_ns = strtoull(argv[1], NULL, 10) * 1000u;
    relay.target = place_of(argv[3]);
    relay.listener = listen_at(argv[2], argc == 5 ? argv[4] : NULL);
    puts("ready");
    fflush(stdout);
    for (;;)
        step(&relay);
}
