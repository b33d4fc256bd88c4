/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/scan.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define DEPTH_MAX   64
#define ENTRIES_MAX 10000u

struct name {
    const char *at;
    size_t size;
    unsigned line;
};

struct names {
    struct name *items;
    size_t count;
    size_t capacity;
};

struct reader {
    struct mb_scan *scan;
    char *text;
    size_t size;
    size_t at;
    unsigned line;
    unsigned depth;
    struct name name; /* of the setting whose value is read */
    bool is_lost;     /* not of a form that is understood here */
    bool no_memory;
};

MB_PRINTF(3, 4)
static void report(struct reader *reader, unsigned line, const char *format, ...)
{
    char text[MB_ERROR_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    reader->scan->report(reader->scan->context, line, text);
}

static char peek(const struct reader *reader, size_t ahead)
{
    return reader->at + ahead < reader->size ? reader->text[reader->at + ahead] : '\0';
}

static void step(struct reader *reader)
{
    if (peek(reader, 0) == '\n')
        reader->line++;
    if (reader->at < reader->size)
        reader->at++;
}

static void skip_line(struct reader *reader)
{
    while (reader->at < reader->size && peek(reader, 0) != '\n')
        step(reader);
}

static void check_include(struct reader *reader)
{
    unsigned line = reader->line;
    char path[PATH_MAX];
    size_t begin;
    size_t size = 0;
    int folder_size;

    while (reader->at < reader->size && peek(reader, 0) != '"' && peek(reader, 0) != '\n')
        step(reader);
    if (peek(reader, 0) != '"') {
        reader->is_lost = true;
        return;
    }
    step(reader);
    begin = reader->at;
    while (peek(reader, size) != '"' && peek(reader, size) != '\n' && peek(reader, size) != '\0')
        size++;
    folder_size = snprintf(path, sizeof path, "%s/", reader->scan->folder);
    if (folder_size < 0 || (size_t)folder_size + size >= sizeof path)
        return;
    memcpy(path + folder_size, reader->text + begin, size);
    path[(size_t)folder_size + size] = '\0';
    if (reader->text[begin] == '/') {
        report(reader, line, "@include \"%s\": write the path relative to the folder of this file",
               path + folder_size);
        reader->scan->stop = true;
    } else if (access(path, R_OK) != 0) {
        report(reader, line, "@include \"%s\": %s", path + folder_size, strerror(errno));
        reader->scan->stop = true;
    }
    skip_line(reader);
}

/* Where a string or a comment does not end, libconfig leaves out the rest without a word. */
static void check_closed(struct reader *reader, const char *what, unsigned line)
{
    if (reader->at >= reader->size)
        report(reader, line, "the %s that begins here is not closed", what);
}

static void skip_comment(struct reader *reader)
{
    unsigned line = reader->line;

    step(reader);
    for (step(reader); reader->at < reader->size; step(reader)) {
        if (peek(reader, 0) == '*' && peek(reader, 1) == '/')
            break;
    }
    check_closed(reader, "comment", line);
    step(reader);
    step(reader);
}

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->size) {
        char c = peek(reader, 0);

        if (isspace((unsigned char)c)) {
            step(reader);
        } else if (c == '#' || (c == '/' && peek(reader, 1) == '/')) {
            skip_line(reader);
        } else if (c == '/' && peek(reader, 1) == '*') {
            skip_comment(reader);
        } else if (strncmp(reader->text + reader->at, "@include", 8) == 0) {
            check_include(reader);
        } else {
            return;
        }
    }
}

static void read_string(struct reader *reader)
{
    unsigned line = reader->line;

    for (step(reader); reader->at < reader->size && peek(reader, 0) != '"'; step(reader)) {
        if (peek(reader, 0) != '\\')
            continue;
        if (peek(reader, 1) == 'x' && peek(reader, 2) == '0' && peek(reader, 3) == '0')
            report(reader, reader->line, "a string must not hold a NUL (\\x00)");
        step(reader);
    }
    check_closed(reader, "string", line);
    step(reader);
}

static int name_shown(const struct name *name)
{
    return name->size > 60 ? 60 : (int)name->size;
}

/* A number, true or false. */
static void read_word(struct reader *reader)
{
    char *begin = reader->text + reader->at;
    size_t size = 0;
    char word[32];
    size_t digits;
    bool is_hex;
    bool is_long;
    long long value;

    while (isalnum((unsigned char)peek(reader, 0)) || strchr("+-._", peek(reader, 0)) != NULL) {
        if (peek(reader, 0) == '\0')
            break;
        step(reader);
        size++;
    }
    if (size == 0) {
        reader->is_lost = true;
        return;
    }
    digits = size;
    while (digits > 1 && begin[digits - 1] == 'L')
        digits--;
    is_long = digits < size;
    is_hex = digits > 2 && begin[0] == '0' && tolower((unsigned char)begin[1]) == 'x';
    for (size_t i = is_hex ? 2 : begin[0] == '-' || begin[0] == '+'; i < digits; i++) {
        if (is_hex ? !isxdigit((unsigned char)begin[i]) : !isdigit((unsigned char)begin[i]))
            return;
    }
    snprintf(word, sizeof word, "%.*s", (int)digits, begin);
    errno = 0;
    value = strtoll(word, NULL, is_hex ? 16 : 10);
    if (digits >= sizeof word || errno != 0) {
        report(reader, reader->line, "%.*s: the number %.*s is too large",
               name_shown(&reader->name), reader->name.at, digits > 60 ? 60 : (int)digits, begin);
        /* To libconfig 1.7 it would be a syntax error, and the rest of the file would go unread. */
        memset(begin, ' ', size);
        begin[0] = '1';
    } else if (!is_long && (value > INT_MAX || value < INT_MIN))
        report(reader, reader->line,
               "%.*s: the number %s needs the suffix L (%sL), or a size or duration as a string, "
               "such as \"2GiB\" or \"90s\"",
               name_shown(&reader->name), reader->name.at, word, word);
}

/* libconfig looks at all entries of a group for each that it adds. */
static bool is_too_many(struct reader *reader, size_t count)
{
    if (count < ENTRIES_MAX)
        return false;
    report(reader, reader->line, "a group or list has more than %u entries", ENTRIES_MAX);
    reader->scan->stop = true;
    reader->is_lost = true;
    return true;
}

static void read_list(struct reader *reader, char closing);
static void read_group(struct reader *reader, char closing);

static void read_value(struct reader *reader)
{
    char c;

    skip_space(reader);
    c = peek(reader, 0);
    if (c == '"') {
        while (peek(reader, 0) == '"') {
            read_string(reader);
            skip_space(reader);
        }
    } else if (c == '{' || c == '(' || c == '[') {
        if (++reader->depth > DEPTH_MAX) {
            report(reader, reader->line, "groups and lists are nested deeper than %d", DEPTH_MAX);
            reader->is_lost = true;
            return;
        }
        step(reader);
        if (c == '{')
            read_group(reader, '}');
        else
            read_list(reader, c == '(' ? ')' : ']');
        reader->depth--;
    } else {
        read_word(reader);
    }
}

static void read_list(struct reader *reader, char closing)
{
    for (size_t count = 0;; count++) {
        skip_space(reader);
        if (peek(reader, 0) == closing || reader->is_lost || is_too_many(reader, count))
            break;
        read_value(reader);
        skip_space(reader);
        if (peek(reader, 0) == ',')
            step(reader);
    }
    step(reader);
}

/* The line where the name was given before, or 0; the name is kept. */
static unsigned remember(struct reader *reader, struct names *names, const struct name *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (names->items[i].size == name->size &&
            memcmp(names->items[i].at, name->at, name->size) == 0)
            return names->items[i].line;
    }
    if (names->count == names->capacity) {
        size_t capacity = names->capacity * 2 + 16;
        struct name *items = realloc(names->items, capacity * sizeof *items);

        if (items == NULL) {
            reader->no_memory = true;
            reader->is_lost = true;
            return 0;
        }
        names->items = items;
        names->capacity = capacity;
    }
    names->items[names->count++] = *name;
    return 0;
}

static bool is_name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '*';
}

/* name = value; blanked if the name was there before. */
static void read_setting(struct reader *reader, struct names *names)
{
    struct name name = {reader->text + reader->at, 0, reader->line};
    size_t begin = reader->at;
    unsigned before;

    while (is_name_char(peek(reader, 0))) {
        step(reader);
        name.size++;
    }
    skip_space(reader);
    if (name.size == 0 || (peek(reader, 0) != '=' && peek(reader, 0) != ':')) {
        if (peek(reader, 0) == '"')
            read_string(reader);
        reader->is_lost = true;
        return;
    }
    step(reader);
    before = remember(reader, names, &name);
    reader->name = name;
    read_value(reader);
    if (reader->is_lost)
        return;
    skip_space(reader);
    if (peek(reader, 0) == ';' || peek(reader, 0) == ',')
        step(reader);
    if (before == 0)
        return;
    report(reader, name.line, "\"%.*s\" was set before, in line %u", (int)name.size, name.at,
           before);
    for (size_t i = begin; i < reader->at; i++) {
        if (reader->text[i] != '\n')
            reader->text[i] = ' ';
    }
}

/* Settings up to the closing character ('\0': the end). */
static void read_group(struct reader *reader, char closing)
{
    struct names names = {0};

    for (;;) {
        skip_space(reader);
        if (reader->is_lost || reader->at >= reader->size)
            break;
        if (closing != '\0' && peek(reader, 0) == closing) {
            step(reader);
            break;
        }
        if (is_too_many(reader, names.count))
            break;
        read_setting(reader, &names);
    }
    free(names.items);
}

enum mb_status mb_scan_text(struct mb_scan *scan, char *text, size_t size)
{
    struct reader reader = {.scan = scan, .text = text, .size = size, .line = 1};

    read_group(&reader, '\0');
    return reader.no_memory ? MB_NO_MEMORY : MB_OK;
}
