/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/connect.h"

#include <getopt.h>

#define TEXT_SIZE_MAX (16u << 20)

static bool print_json(const struct mb_diagnostics *diagnostics, const char *path)
{
    struct mb_text text = {.max_size = TEXT_SIZE_MAX};
    bool ok;

    for (size_t i = 0; i < diagnostics->count; i++) {
        const struct mb_diagnostic *item = &diagnostics->items[i];

        mb_text_addf(&text, "{\"file\":");
        mb_text_json_string(&text, mb_slice_text(item->file != NULL ? item->file : path));
        mb_text_addf(&text, ",\"line\":%u,\"severity\":\"%s\",\"text\":", item->line,
                     item->is_error ? "error" : "warning");
        mb_text_json_string(&text, mb_slice_text(item->text));
        mb_text_addf(&text, "}\n");
    }
    ok = !text.failed && (text.size == 0 || cli_write(text.data, text.size));
    mb_text_release(&text);
    return ok;
}

static int check(struct mb_registry *registry, const char *path, bool connect, bool as_json)
{
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    enum mb_status status = mb_config_load(path, registry, &config, &diagnostics);
    int code = CLI_DONE;

    if (as_json && !print_json(&diagnostics, path))
        code = CLI_FAILED;
    if (!as_json)
        cli_print_diagnostics(&diagnostics, path, stdout);
    if (status == MB_INVALID) {
        code = CLI_USAGE;
    } else if (status != MB_OK) {
        fprintf(stderr, "mbridge: out of memory\n");
        code = CLI_FAILED;
    } else {
        if (!as_json)
            printf("%s: %zu route%s, no errors\n", path, config->routes_count,
                   config->routes_count == 1 ? "" : "s");
        if (connect && !cli_connect_check(config, as_json))
            code = CLI_FAILED;
    }
    if (fflush(stdout) != 0 && code == CLI_DONE)
        code = CLI_FAILED;
    mb_diagnostics_release(&diagnostics);
    mb_config_destroy(config);
    return code;
}

int cli_check(int argc, char **argv)
{
    static const struct option options[] = {
        {"connect", no_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'}, {0}};
    struct mb_registry *registry = NULL;
    bool connect = false;
    bool as_json = false;
    int option;
    int code;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'c')
            connect = true;
        else if (option == 'j')
            as_json = true;
        else
            return cli_usage("check", "check does not know %s", argv[optind - 1]);
    }
    if (argc - optind != 1)
        return cli_usage("check", "check takes one configuration file, not %d", argc - optind);
    if (mb_registry_create(&registry) != MB_OK) {
        fprintf(stderr, "mbridge: out of memory\n");
        return CLI_FAILED;
    }
    code = check(registry, argv[optind], connect, as_json);
    mb_registry_destroy(registry);
    return code;
}
