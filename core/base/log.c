/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/log.h"

#include "kit/text.h"
#include "kit/utf8.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE_MAX 8192u
#define TAIL_SIZE     32u /* kept free for the closing quote and the mark of a line that was cut */

/* A line under construction. What does not fit is left out and the line marked, never the end of
 * the line lost: readers take a line for an event. */
struct line {
    char bytes[LINE_SIZE_MAX];
    size_t size;
    bool json;
    bool truncated;
};

static const char *const level_names[] = {[MB_LOG_ERROR] = "error",
                                          [MB_LOG_WARN] = "warn",
                                          [MB_LOG_INFO] = "info",
                                          [MB_LOG_DEBUG] = "debug"};

/* All or nothing, into the part of the line that is not kept for its end. */
static bool add(struct line *line, const char *bytes, size_t size)
{
    if (line->truncated || size > LINE_SIZE_MAX - TAIL_SIZE - line->size) {
        line->truncated = true;
        return false;
    }
    memcpy(line->bytes + line->size, bytes, size);
    line->size += size;
    return true;
}

static void add_end(struct line *line, const char *text)
{
    size_t size = strlen(text);

    if (size <= LINE_SIZE_MAX - line->size) {
        memcpy(line->bytes + line->size, text, size);
        line->size += size;
    }
}

/* Size of the character at text and its code; size 1 and code U+FFFD for a byte that is none. */
static size_t decode(const unsigned char *text, uint32_t *ret_code)
{
    static const unsigned char lead_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    size_t size = text[0] < 0x80 ? 1 : text[0] < 0xE0 ? 2 : text[0] < 0xF0 ? 3 : 4;
    uint32_t code;

    if (strnlen((const char *)text, size) < size || !mb_utf8_valid((struct mb_slice){text, size})) {
        *ret_code = 0xFFFD;
        return 1;
    }
    code = text[0] & lead_bits[size];
    for (size_t i = 1; i < size; i++)
        code = code << 6 | (text[i] & 0x3Fu);
    *ret_code = code;
    return size;
}

/* What could end a line, steer a terminal, or reorder what is seen of it. */
static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7F && code <= 0x9F) || (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2066 && code <= 0x2069);
}

static bool needs_quotes(const char *value)
{
    const unsigned char *at = (const unsigned char *)value;

    if (*at == '\0')
        return true;
    while (*at != '\0') {
        uint32_t code;
        size_t size = decode(at, &code);

        if (code == ' ' || code == '"' || code == '=' || code == '\\' || code == 0xFFFD ||
            is_control(code))
            return true;
        at += size;
    }
    return false;
}

/* The escapes are those of JSON in both formats. */
static void add_quoted(struct line *line, const char *value)
{
    const unsigned char *at = (const unsigned char *)value;
    bool fits = add(line, "\"", 1);

    if (!fits)
        return;
    while (*at != '\0' && fits) {
        char escape[8];
        uint32_t code;
        size_t size = decode(at, &code);

        if (code == 0xFFFD)
            fits = add(line, "\xEF\xBF\xBD", 3);
        else if (code == '"' || code == '\\')
            fits = add(line, (char[2]){'\\', (char)code}, 2);
        else if (code == '\n' || code == '\r' || code == '\t')
            fits = add(line, code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t", 2);
        else if (is_control(code))
            fits = add(line, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", code));
        else
            fits = add(line, (const char *)at, size);
        at += size;
    }
    add_end(line, "\"");
}

static void add_field(struct line *line, const char *name, const char *value)
{
    size_t before = line->size;
    size_t name_end;

    if (line->json) {
        if (line->size > 1)
            add(line, ",", 1);
        add_quoted(line, name);
        add(line, ":", 1);
    } else {
        if (line->size > 0)
            add(line, " ", 1);
        add(line, name, strlen(name));
        add(line, "=", 1);
    }
    name_end = line->size;
    if (line->truncated) {
        line->size = before;
    } else if (line->json || needs_quotes(value)) {
        add_quoted(line, value);
        if (line->size == name_end) /* not even the opening quote */
            line->size = before;
    } else if (!add(line, value, strlen(value))) {
        /* Bytes are cut inside quotes, where a character is never cut in two. */
        line->truncated = false;
        add_quoted(line, value);
        if (line->size == name_end)
            line->size = before;
    }
}

static void add_time(struct line *line)
{
    struct timespec now;
    struct tm utc;
    char date[40];
    char text[48];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof text, "%s.%03uZ", date, (unsigned)(now.tv_nsec / 1000000) % 1000);
    add_field(line, "time", text);
}

/* One write a line keeps the lines of threads apart. A rest that the file did not take is written
 * behind; nobody can be told of a failure. */
static void write_line(int fd, const char *bytes, size_t size)
{
    int saved = errno;

    while (size > 0) {
        ssize_t written = write(fd, bytes, size);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        bytes += written;
        size -= (size_t)written;
    }
    errno = saved;
}

void mb_log(struct mb_logger *logger, enum mb_log_level level, const char *message, ...)
{
    struct line line;
    const char *name;
    va_list args;

    if ((int)level > atomic_load_explicit(&logger->level, memory_order_relaxed))
        return;
    line.size = 0;
    line.truncated = false;
    line.json = atomic_load_explicit(&logger->format, memory_order_relaxed) == MB_LOG_JSON;
    if (line.json)
        add(&line, "{", 1);
    add_time(&line);
    add_field(&line, "level", level_names[level]);
    add_field(&line, "msg", message);
    va_start(args, message);
    while ((name = va_arg(args, const char *)) != NULL) {
        const char *value = va_arg(args, const char *);

        if (value != NULL)
            add_field(&line, name, value);
    }
    va_end(args);
    if (line.truncated)
        add_end(&line, line.json ? ",\"truncated\":true" : " truncated=true");
    add_end(&line, line.json ? "}\n" : "\n");
    write_line(logger->fd, line.bytes, line.size);
}

enum mb_status mb_log_level_parse(const char *text, int *ret_level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret_level = (int)i;
            return MB_OK;
        }
    }
    return MB_INVALID;
}
