/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/loader.h"

#include <stdlib.h>

#define DIAGNOSTICS_MAX 1000

static bool known_already(const struct mb_diagnostics *diagnostics, unsigned line, const char *text)
{
    for (size_t i = 0; i < diagnostics->count; i++) {
        if (diagnostics->items[i].line == line && strcmp(diagnostics->items[i].text, text) == 0)
            return true;
    }
    return false;
}

static void add(struct mb_loader *loader, bool is_error, unsigned line, char *text)
{
    struct mb_diagnostics *diagnostics = loader->diagnostics;
    struct mb_diagnostic *items;

    if (text == NULL || known_already(diagnostics, line, text))
        goto drop;
    if (diagnostics->count == DIAGNOSTICS_MAX) {
        diagnostics->errors += is_error;
        goto drop;
    }
    items = realloc(diagnostics->items, (diagnostics->count + 1) * sizeof *items);
    if (items == NULL) {
        loader->no_memory = true;
        goto drop;
    }
    diagnostics->items = items;
    items[diagnostics->count++] =
        (struct mb_diagnostic){.is_error = is_error, .line = line, .text = text};
    diagnostics->errors += is_error;
    return;
drop:
    loader->no_memory |= text == NULL;
    free(text);
}

void mb_loader_error(struct mb_loader *loader, unsigned line, const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    add(loader, true, line, text);
}

void mb_loader_warning(struct mb_loader *loader, unsigned line, const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    add(loader, false, line, text);
}

bool mb_loader_has_wrong_number(const struct mb_loader *loader, unsigned line)
{
    static const char *const words = ": the number ";
    const struct mb_diagnostics *diagnostics = loader->diagnostics;

    for (size_t i = 0; i < diagnostics->count; i++) {
        if (diagnostics->items[i].line == line && strstr(diagnostics->items[i].text, words) != NULL)
            return true;
    }
    return false;
}

static int by_place(const void *a, const void *b)
{
    const struct mb_diagnostic *one = a;
    const struct mb_diagnostic *other = b;

    /* The number of the file stands in the upper bits, so that a file's lines stay together. */
    if (one->line != other->line)
        return one->line < other->line ? -1 : 1;
    if (one->is_error != other->is_error)
        return one->is_error ? -1 : 1;
    return strcmp(one->text, other->text);
}

static void finish(struct mb_loader *loader)
{
    struct mb_diagnostics *diagnostics = loader->diagnostics;

    if (diagnostics->count > 0)
        qsort(diagnostics->items, diagnostics->count, sizeof *diagnostics->items, by_place);
    for (size_t i = 0; i < diagnostics->count; i++) {
        struct mb_diagnostic *item = &diagnostics->items[i];
        unsigned file = item->line >> MB_LINE_BITS;

        item->line &= MB_LINE_MASK;
        if (file > 0 && file <= loader->files_count)
            item->file = strdup(loader->files[file - 1]);
    }
}

enum mb_status mb_loader_end(struct mb_loader *loader, struct mb_config **ret_config)
{
    size_t routes_count = loader->config != NULL ? loader->config->routes_count : 0;
    bool failed = loader->no_memory || loader->diagnostics->errors > 0;

    finish(loader);
    for (size_t i = 0; loader->drafts != NULL && i < routes_count; i++)
        mb_settings_release(&loader->drafts[i].settings);
    free(loader->drafts);
    for (size_t i = 0; i < loader->files_count; i++)
        free(loader->files[i]);
    if (failed) {
        mb_config_destroy(loader->config);
        return loader->no_memory ? MB_NO_MEMORY : MB_INVALID;
    }
    *ret_config = loader->config;
    return MB_OK;
}

void mb_diagnostics_release(struct mb_diagnostics *diagnostics)
{
    for (size_t i = 0; i < diagnostics->count; i++) {
        free(diagnostics->items[i].file);
        free(diagnostics->items[i].text);
    }
    free(diagnostics->items);
    memset(diagnostics, 0, sizeof *diagnostics);
}
