/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mbridge_sim: schedules by seeds, on several processes.
 *
 *   mbridge_sim [--seed N] [--schedules N] [--seconds S] [--jobs J] [--seeds FILE] [--trace]
 *               [--expect INVARIANT]
 *
 * Exit status: 0 no violation, 1 one was found (the seed and the invariant are printed), 2 wrong
 * arguments. With --expect: 0 if a violation of that invariant was found.
 */
#include "sim.h"

#include <getopt.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX      64u
#define HANG_SECONDS  60u
#define SEEDS_MAX     4096u
#define VIOLATION_RC  3
#define DEFAULT_COUNT 1000u

struct job {
    uint64_t seed; /* that runs */
    uint64_t done;
    uint64_t stats[SIM_STATS_COUNT];
};

struct options {
    uint64_t first;
    uint64_t schedules;
    uint64_t seconds; /* 0: no limit */
    uint64_t jobs;
    const char *seeds_path;
    const char *expect;
    bool trace;
};

static const char *const stat_names[SIM_STATS_COUNT] = {
    "steps",         "taken",         "stored",       "duplicates",
    "dead letters",  "expired",       "filtered",     "refusals",
    "source breaks", "sink breaks",   "failed opens", "revoked scopes",
    "lost scopes",   "fenced scopes", "takeovers",    "failed allocations",
    "stops",         "late stops",    "crashes",      "drains",
    "limits",        "failed routes", "commits",      "aborts"};

static double now_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number)
{
    char *end;

    *ret_number = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && *ret_number >= min && *ret_number <= max;
}

static bool parse(int argc, char **argv, struct options *options)
{
    static const struct option rows[] = {
        {"seed", required_argument, NULL, 'n'},    {"schedules", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 's'}, {"jobs", required_argument, NULL, 'j'},
        {"seeds", required_argument, NULL, 'f'},   {"expect", required_argument, NULL, 'e'},
        {"trace", no_argument, NULL, 't'},         {NULL, 0, NULL, 0}};
    bool sound = true;
    int c;

    *options = (struct options){.first = 1, .jobs = 1};
    while (sound && (c = getopt_long(argc, argv, "", rows, NULL)) != -1) {
        switch (c) {
        case 'n':
            sound = number(optarg, 0, UINT64_MAX, &options->first);
            options->schedules = options->schedules > 0 ? options->schedules : 1;
            break;
        case 'c':
            sound = number(optarg, 1, UINT64_MAX, &options->schedules);
            break;
        case 's':
            sound = number(optarg, 1, 1000000, &options->seconds);
            break;
        case 'j':
            sound = number(optarg, 1, JOBS_MAX, &options->jobs);
            break;
        case 'f':
            options->seeds_path = optarg;
            break;
        case 'e':
            options->expect = optarg;
            break;
        case 't':
            options->trace = true;
            break;
        default:
            sound = false;
            break;
        }
    }
    if (options->schedules == 0)
        options->schedules = options->seconds > 0 ? UINT64_MAX : DEFAULT_COUNT;
    return sound && optind == argc;
}

/* Seeds of a file, one a line; what is behind the number is a remark. */
static size_t read_seeds(const char *path, uint64_t *seeds)
{
    FILE *file = fopen(path, "re");
    char line[512];
    size_t count = 0;

    if (file == NULL) {
        perror(path);
        exit(2);
    }
    while (count < SEEDS_MAX && fgets(line, sizeof line, file) != NULL) {
        if (line[0] >= '0' && line[0] <= '9')
            seeds[count++] = strtoull(line, NULL, 10);
    }
    fclose(file);
    return count;
}

static void run(const struct options *options, struct job *job, const uint64_t *seeds,
                uint64_t index, double end)
{
    for (uint64_t i = index; i < options->schedules; i += options->jobs) {
        if (options->seconds > 0 && now_seconds() >= end)
            return;
        job->seed = seeds != NULL ? seeds[i] : options->first + i;
        alarm(HANG_SECONDS);
        sim_schedule(job->seed, options->trace, job->stats);
        job->done++;
    }
}

/* What a job wrote: its violation. false: it ended in good order. */
static bool report(const struct job *job, int out, int status, char *text, size_t size)
{
    ssize_t length = 0;
    size_t used = 0;

    while (used + 1 < size && (length = read(out, text + used, size - 1 - used)) > 0)
        used += (size_t)length;
    text[used] = '\0';
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return false;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(text, size, "seed %llu: I7: it hangs\n", (unsigned long long)job->seed);
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != VIOLATION_RC)
        snprintf(text, size, "seed %llu: crash: status %d\n", (unsigned long long)job->seed,
                 status);
    return true;
}

static bool run_jobs(const struct options *options, struct job *jobs, const uint64_t *seeds,
                     char *text, size_t size)
{
    double end = now_seconds() + (double)options->seconds;
    pid_t pids[JOBS_MAX];
    int pipes[JOBS_MAX][2];
    bool violated = false;

    for (uint64_t i = 0; i < options->jobs; i++) {
        if (pipe(pipes[i]) != 0 || (pids[i] = fork()) < 0) {
            perror("mbridge_sim");
            exit(2);
        }
        if (pids[i] == 0) {
            dup2(pipes[i][1], STDOUT_FILENO);
            run(options, &jobs[i], seeds, i, end);
            exit(0); /* so that a sanitizer looks for leaks */
        }
        close(pipes[i][1]);
    }
    for (uint64_t i = 0; i < options->jobs; i++) {
        char found[4096];
        int status;

        waitpid(pids[i], &status, 0);
        if (report(&jobs[i], pipes[i][0], status, found, sizeof found)) {
            violated = true;
            snprintf(text, size, "%s", found);
            fputs(found, stdout);
        }
        close(pipes[i][0]);
    }
    return violated;
}

static void summary(const struct options *options, const struct job *jobs, double seconds)
{
    uint64_t done = 0;

    for (uint64_t i = 0; i < options->jobs; i++)
        done += jobs[i].done;
    printf("%llu schedules in %.1f s: %.0f a second, %llu jobs\n", (unsigned long long)done,
           seconds, (double)done / (seconds > 0 ? seconds : 1), (unsigned long long)options->jobs);
    for (size_t k = 0; k < SIM_STATS_COUNT; k++) {
        uint64_t sum = 0;

        for (uint64_t i = 0; i < options->jobs; i++)
            sum += jobs[i].stats[k];
        printf("%s%s %llu", k == 0 ? "" : ", ", stat_names[k], (unsigned long long)sum);
    }
    printf("\n");
}

static int verdict(const struct options *options, bool violated, const char *text)
{
    char wanted[64];

    if (options->expect == NULL)
        return violated ? 1 : 0;
    snprintf(wanted, sizeof wanted, ": %s:", options->expect);
    if (violated && strstr(text, wanted) != NULL) {
        printf("caught by %s\n", options->expect);
        return 0;
    }
    printf("not caught by %s\n", options->expect);
    return 1;
}

int main(int argc, char **argv)
{
    static uint64_t seeds[SEEDS_MAX];
    struct options options;
    struct job *jobs;
    char text[4096] = "";
    double began = now_seconds();
    bool violated;

    if (!parse(argc, argv, &options)) {
        fprintf(stderr, "usage: mbridge_sim [--seed N] [--schedules N] [--seconds S] [--jobs J] "
                        "[--seeds FILE] [--trace] [--expect INVARIANT]\n");
        return 2;
    }
    if (options.seeds_path != NULL)
        options.schedules = read_seeds(options.seeds_path, seeds);
    jobs = mmap(NULL, sizeof *jobs * options.jobs, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (jobs == MAP_FAILED) {
        perror("mbridge_sim");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (options.trace) {
        run(&options, jobs, options.seeds_path != NULL ? seeds : NULL, 0, began + 1e9);
        return 0;
    }
    violated =
        run_jobs(&options, jobs, options.seeds_path != NULL ? seeds : NULL, text, sizeof text);
    summary(&options, jobs, now_seconds() - began);
    return verdict(&options, violated, text);
}
