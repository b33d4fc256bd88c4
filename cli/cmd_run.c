/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/service.h"

#include <getopt.h>

static void log_warnings(struct cli_service *service, const struct mb_diagnostics *diagnostics)
{
    for (size_t i = 0; i < diagnostics->count; i++) {
        const struct mb_diagnostic *item = &diagnostics->items[i];
        char line[16];

        snprintf(line, sizeof line, "%u", item->line);
        mb_log(&service->logger, MB_LOG_WARN, item->text, "file",
               item->file != NULL ? item->file : service->path, "line",
               item->line > 0 ? line : NULL, NULL);
    }
}

static int run(struct cli_service *service)
{
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    enum mb_status status;
    int code;

    status = mb_config_load(service->path, service->registry, &config, &diagnostics);
    if (status != MB_OK) {
        cli_print_diagnostics(&diagnostics, service->path, stderr);
        mb_diagnostics_release(&diagnostics);
        if (status == MB_NO_MEMORY)
            fprintf(stderr, "mbridge: cannot start: out of memory\n");
        return status == MB_NO_MEMORY ? CLI_FAILED : CLI_USAGE;
    }
    log_warnings(service, &diagnostics);
    mb_diagnostics_release(&diagnostics);
    code = cli_service_run(service, config);
    if (service->bridge != NULL && !cli_service_counters(service)) {
        mb_log(&service->logger, MB_LOG_ERROR, "the counters could not be written", NULL);
        code = CLI_FAILED;
    }
    return code;
}

int cli_run(int argc, char **argv)
{
    static const struct option options[] = {{"drain", no_argument, NULL, 'd'}, {0}};
    struct cli_service service = {.signal_fd = -1};
    int code = CLI_FAILED;
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'd')
            return cli_usage("run", "run does not know %s", argv[optind - 1]);
        service.options.drain = true;
    }
    if (argc - optind != 1)
        return cli_usage("run", "run takes one configuration file, not %d", argc - optind);
    service.path = argv[optind];
    if (cli_service_init(&service) == MB_OK)
        code = run(&service);
    cli_service_release(&service);
    return code;
}
