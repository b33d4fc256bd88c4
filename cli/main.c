/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/dump.h"
#include "cli/heap.h"

#include "core/config/suggest.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
};

static const char overview[] =
    "mbridge " MBRIDGE_VERSION ": bridges messaging platforms, stream by stream.\n"
    "\n"
    "  mbridge run [--drain] CONFIG                  runs every route until SIGTERM\n"
    "  mbridge check [--connect] CONFIG              finds every mistake of a configuration\n"
    "  mbridge copy [--follow] [--limit N] FROM TO   bridges two URLs without a file\n"
    "  mbridge dlq list|show|replay … CONFIG         dead letters: sees them, sends them again\n"
    "  mbridge backends [--json] [NAME]              the platforms and their options\n"
    "  mbridge help [COMMAND]                        more about a command\n"
    "  mbridge --version\n"
    "\n"
    "Results go to standard output, logs to standard error.\n"
    "Exit status: 0 done, 1 failed, 2 usage or configuration error.\n";

static const struct command commands[] = {
    {"run", cli_run,
     "mbridge run [--drain] CONFIG\n"
     "\n"
     "Runs every route of the configuration until SIGTERM or SIGINT.\n"
     "\n"
     "  --drain   notes the end positions at the start, and ends when they are reached and all\n"
     "            that was taken is confirmed; on queues, when they have been empty for\n"
     "            drain_idle\n"
     "\n"
     "SIGTERM, SIGINT   take nothing more, wait for what is under way up to stop_timeout, end;\n"
     "                  the second one ends at once\n"
     "SIGHUP            read the configuration again; only routes that changed start anew\n"
     "SIGUSR1           print all counters as one line of JSON; the exit does too\n"},
    {"check", cli_check,
     "mbridge check [--connect] [--json] CONFIG\n"
     "\n"
     "Prints every mistake as FILE:LINE: text, and warns of what can lose messages.\n"
     "Exit status 2 if there is a mistake.\n"
     "\n"
     "  --connect   also asks the brokers: reachable, permitted, streams that exist; exit\n"
     "              status 1 if one of them says no\n"
     "  --json      prints a line of JSON for each finding\n"},
    {"copy", cli_copy,
     "mbridge copy [--follow] [--limit N] FROM TO\n"
     "\n"
     "Moves the messages that are there now from one URL to another, and ends. Started again\n"
     "with the same URLs it goes on where it was.\n"
     "\n"
     "  --follow    goes on with new messages until SIGTERM\n"
     "  --limit N   ends after N messages\n"
     "\n"
     "  kafka://host:port,host:port/topic?group=g\n"
     "  amqp://user:password@host:port/vhost?queue=q\n"
     "  amqp://user:password@host:port/vhost?exchange=x&routing_key=k\n"
     "\n"
     "Every option of a backend can be a query parameter: mbridge backends NAME\n"},
    {"dlq", cli_dlq,
     "mbridge dlq list [FILTER…] [--limit N] [--json] CONFIG\n"
     "mbridge dlq show [FILTER…] [--json] NUMBER|POSITION CONFIG\n"
     "mbridge dlq replay [FILTER…] [--limit N] [--dry-run] [--json] CONFIG\n"
     "\n"
     "Works with the dead letters of a configuration's routes.\n"
     "\n"
     "  list     one line each: number, position, time, route, reason, origin, key, size\n"
     "  show     one of them, with all its headers and its body\n"
     "  replay   sends those of one route to its sinks again, as they came; started again after\n"
     "           an interruption it goes on. Exit status 1 if some were rejected again: they are\n"
     "           back among the dead letters, with a count\n"
     "\n"
     "list and show take nothing away. A queue hands its messages out for that and gets them\n"
     "back at the end; its broker may count that.\n"
     "\n"
     "  --route NAME    of this route\n"
     "  --reason R      with this reason\n"
     "  --stream S      whose message came from this stream\n"
     "  --since T       from \"2026-01-31T12:00:00Z\", or \"-1h\", on\n"
     "  --limit N       at most so many\n"
     "  --dry-run       lists what would be replayed\n"
     "  --json          lines of JSON\n"},
    {"backends", cli_backends,
     "mbridge backends [--json] [NAME]\n"
     "\n"
     "Lists the backends that are installed; with a name, all options of that one.\n"
     "\n"
     "  --json        the same as JSON\n"
     "  --reference   the whole configuration reference as Markdown\n"},
};

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static int unknown(const char *name)
{
    struct mb_suggestion suggestion;
    char hint[64];

    mb_suggestion_init(&suggestion, name);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        mb_suggestion_offer(&suggestion, commands[i].name);
    return cli_usage(NULL, "there is no command \"%s\"%s", name,
                     mb_suggestion_text(&suggestion, hint, sizeof hint));
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "mbridge: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nmbridge help%s%s tells more\n", command != NULL ? " " : "",
            command != NULL ? command : "");
    return CLI_USAGE;
}

void cli_print_diagnostics(const struct mb_diagnostics *diagnostics, const char *path, FILE *stream)
{
    for (size_t i = 0; i < diagnostics->count; i++) {
        const struct mb_diagnostic *item = &diagnostics->items[i];
        const char *file = item->file != NULL ? item->file : path;

        if (file != NULL)
            fprintf(stream, "%s:", file);
        if (file != NULL && item->line > 0)
            fprintf(stream, "%u:", item->line);
        fprintf(stream, "%s%s%s\n", file != NULL ? " " : "",
                item->is_error ? "" : "warning: ", item->text);
    }
    if (diagnostics->errors > diagnostics->count)
        fprintf(stream, "… and more\n");
}

bool cli_write(const char *data, size_t size)
{
    if (fwrite(data, 1, size, stdout) == size && fflush(stdout) == 0)
        return true;
    fprintf(stderr, "mbridge: standard output cannot be written: %s\n", strerror(errno));
    return false;
}

static int help(int argc, char **argv)
{
    const struct command *command = argc > 1 ? find(argv[1]) : NULL;
    const char *text = command != NULL ? command->help : overview;

    if (argc > 1 && command == NULL)
        return unknown(argv[1]);
    return cli_write(text, strlen(text)) ? CLI_DONE : CLI_FAILED;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    const struct command *command;

    /* A reader that has gone is an error of the write, not the end of the program. */
    signal(SIGPIPE, SIG_IGN);
    cli_dump_allow(false);
    cli_heap_settle();
    if (argc < 2) {
        fputs(overview, stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return cli_write("mbridge " MBRIDGE_VERSION "\n", strlen("mbridge " MBRIDGE_VERSION "\n"))
                   ? CLI_DONE
                   : CLI_FAILED;
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0)
        return help(argc - 1, argv + 1);
    command = find(argv[1]);
    if (command == NULL)
        return unknown(argv[1]);
    if (wants_help(argc - 1, argv + 1))
        return cli_write(command->help, strlen(command->help)) ? CLI_DONE : CLI_FAILED;
    return command->run(argc - 1, argv + 1);
}
