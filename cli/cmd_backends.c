/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "core/config/reference.h"
#include "core/config/suggest.h"

#include <getopt.h>

#define TEXT_SIZE_MAX (16u << 20)

struct listing {
    struct mb_text text;
    const char *name; /* only that one; NULL: all */
    bool as_json;
    size_t count;
    struct mb_suggestion suggestion;
};

static void add_json(struct mb_text *text, const char *string)
{
    if (string != NULL)
        mb_text_json_string(text, mb_slice_text(string));
    else
        mb_text_addf(text, "null");
}

static const char *version_of(const struct mb_backend *backend)
{
    return backend->library_version != NULL ? backend->library_version() : NULL;
}

static void option_json(struct mb_text *text, const struct mb_option *row)
{
    mb_text_addf(text, "{\"name\":");
    add_json(text, row->name);
    mb_text_addf(text, ",\"type\":\"%s\",\"default\":", mb_option_type_name(row));
    add_json(text, row->default_text);
    if (row->min != 0 || row->max != 0)
        mb_text_addf(text, ",\"min\":%lld,\"max\":%lld", (long long)row->min, (long long)row->max);
    if (row->type == MB_OPTION_ENUM) {
        mb_text_addf(text, ",\"choices\":[");
        for (size_t i = 0; row->choices[i] != NULL; i++) {
            mb_text_addf(text, "%s", i > 0 ? "," : "");
            add_json(text, row->choices[i]);
        }
        mb_text_addf(text, "]");
    }
    mb_text_addf(text, ",\"required\":%s,\"secret\":%s,\"pattern\":%s,\"unsafe\":%s,\"doc\":",
                 row->flags & MB_OPTION_REQUIRED ? "true" : "false",
                 row->flags & MB_OPTION_IS_SECRET ? "true" : "false",
                 row->flags & MB_OPTION_MAY_BE_PATTERN ? "true" : "false",
                 row->flags & MB_OPTION_UNSAFE ? "true" : "false");
    add_json(text, row->doc);
    mb_text_addf(text, "}");
}

static void table_json(struct mb_text *text, const char *name, const struct mb_option_table *table)
{
    mb_text_addf(text, ",\"%s\":[", name);
    for (size_t i = 0; i < table->count; i++) {
        mb_text_addf(text, "%s", i > 0 ? "," : "");
        option_json(text, &table->rows[i]);
    }
    mb_text_addf(text, "]");
}

static void backend_json(struct listing *listing, const struct mb_backend *backend)
{
    struct mb_text *text = &listing->text;

    mb_text_addf(text, "%s{\"name\":", listing->count > 1 ? "," : "");
    add_json(text, backend->name);
    mb_text_addf(text, ",\"doc\":");
    add_json(text, backend->doc);
    mb_text_addf(text, ",\"library\":");
    add_json(text, version_of(backend));
    mb_text_addf(text, ",\"source\":%s,\"sink\":%s,\"describe\":%s,\"schemes\":[",
                 backend->source != NULL ? "true" : "false",
                 backend->sink != NULL ? "true" : "false",
                 backend->describe != NULL ? "true" : "false");
    for (size_t i = 0; i < backend->url_rules_count; i++) {
        mb_text_addf(text, "%s", i > 0 ? "," : "");
        add_json(text, backend->url_rules[i].scheme);
    }
    mb_text_addf(text, "]");
    table_json(text, "endpoint_options", &backend->endpoint_options);
    table_json(text, "source_options", &backend->source_options);
    table_json(text, "sink_options", &backend->sink_options);
    mb_text_addf(text, "}");
}

static void table_text(struct mb_text *text, const char *title, const struct mb_option_table *table)
{
    if (table->count == 0)
        return;
    mb_text_addf(text, "\n%s\n", title);
    for (size_t i = 0; i < table->count; i++) {
        const struct mb_option *row = &table->rows[i];
        char bounds[256];

        mb_text_addf(text, "  %s: %s", row->name, mb_option_type_name(row));
        mb_reference_bounds(row, bounds, sizeof bounds);
        if (bounds[0] != '\0')
            mb_text_addf(text, " (%s)", bounds);
        if (row->flags & MB_OPTION_REQUIRED)
            mb_text_addf(text, ", required");
        if (row->default_text != NULL)
            mb_text_addf(text, ", default %s", row->default_text[0] ? row->default_text : "\"\"");
        mb_text_addf(text, "%s%s\n      %s\n", row->flags & MB_OPTION_IS_SECRET ? ", secret" : "",
                     row->flags & MB_OPTION_UNSAFE ? ", unsafe" : "",
                     row->doc != NULL ? row->doc : "");
    }
}

static void backend_text(struct listing *listing, const struct mb_backend *backend)
{
    struct mb_text *text = &listing->text;
    const char *version = version_of(backend);

    mb_text_addf(text, "%-10s %s, %s%s%s\n", backend->name,
                 backend->source != NULL && backend->sink != NULL ? "source and sink"
                 : backend->source != NULL                        ? "source only"
                                                                  : "sink only",
                 backend->describe != NULL ? "describes streams" : "cannot describe streams",
                 version != NULL ? ", " : "", version != NULL ? version : "");
    mb_text_addf(text, "           %s\n", backend->doc);
    if (listing->name == NULL)
        return;
    table_text(text, "endpoint", &backend->endpoint_options);
    if (backend->source != NULL)
        table_text(text, "source (from)", &backend->source_options);
    if (backend->sink != NULL)
        table_text(text, "sink (to, dead_letter)", &backend->sink_options);
}

static void on_backend(void *context, const struct mb_backend *backend)
{
    struct listing *listing = context;

    if (listing->name != NULL && strcmp(listing->name, backend->name) != 0) {
        mb_suggestion_offer(&listing->suggestion, backend->name);
        return;
    }
    listing->count++;
    if (listing->as_json)
        backend_json(listing, backend);
    else
        backend_text(listing, backend);
}

static void on_bad(void *context, const char *path, const struct mb_error *err)
{
    (void)context;
    (void)path;
    fprintf(stderr, "mbridge: %s\n", err->text);
}

static int list(struct mb_registry *registry, struct listing *listing)
{
    const struct mb_backend *backend = NULL;
    struct mb_error err;
    char hint[160];

    if (listing->as_json && listing->name == NULL)
        mb_text_addf(&listing->text, "[");
    if (listing->name != NULL)
        mb_suggestion_init(&listing->suggestion, listing->name);
    mb_registry_each(registry, on_backend, on_bad, listing);
    if (listing->name != NULL && listing->count == 0) {
        mb_error_clear(&err);
        /* A path, or a name whose absence the registry can explain. */
        if (mb_registry_find(registry, listing->name, &backend, &err) != MB_OK) {
            fprintf(stderr, "mbridge: %s%s\n", err.text,
                    mb_suggestion_text(&listing->suggestion, hint, sizeof hint));
            return CLI_USAGE;
        }
        listing->name = backend->name;
        on_backend(listing, backend);
    }
    if (listing->as_json)
        mb_text_addf(&listing->text, "%s\n", listing->name == NULL ? "]" : "");
    return CLI_DONE;
}

int cli_backends(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"reference", no_argument, NULL, 'r'}, {0}};
    struct listing listing = {.text = {.max_size = TEXT_SIZE_MAX}};
    struct mb_registry *registry = NULL;
    bool reference = false;
    int code = CLI_DONE;
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'j')
            listing.as_json = true;
        else if (option == 'r')
            reference = true;
        else
            return cli_usage("backends", "backends does not know %s", argv[optind - 1]);
    }
    if (argc - optind > 1)
        return cli_usage("backends", "backends takes one name, not %d", argc - optind);
    listing.name = argc > optind ? argv[optind] : NULL;
    if (mb_registry_create(&registry) != MB_OK) {
        fprintf(stderr, "mbridge: out of memory\n");
        return CLI_FAILED;
    }
    if (reference)
        mb_reference_markdown(registry, &listing.text);
    else
        code = list(registry, &listing);
    if (code == CLI_DONE &&
        (listing.text.failed || !cli_write(listing.text.data, listing.text.size)))
        code = CLI_FAILED;
    mb_text_release(&listing.text);
    mb_registry_destroy(registry);
    return code;
}
