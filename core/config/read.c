/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/read.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX (16u << 20)
#define INCLUDE       "@include"

/* Each file once, whoever includes it. */
struct included {
    struct mb_loader *loader;
    const char *folder;
    unsigned line; /* of the main file, for what is reported */
    struct {
        dev_t device;
        ino_t number;
    } known[MB_FILES_MAX];
    size_t count;
};

/* The whole file, NUL-terminated; else NULL and why, which is no text where memory ran out. */
static char *read_all(const char *path, size_t *ret_size, const char **why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    char *text = NULL;
    size_t capacity = 65536;
    size_t size = 0;
    struct stat status;

    if (fd < 0 || fstat(fd, &status) != 0 || S_ISDIR(status.st_mode)) {
        *why = fd < 0 ? strerror(errno) : "is a folder";
        goto out;
    }
    for (;;) {
        char *more = size == 0 || size + 1 == capacity ? realloc(text, capacity *= 2) : text;
        ssize_t got;

        *why = NULL;
        if (more == NULL)
            goto fail;
        text = more;
        got = read(fd, text + size, capacity - size - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 || size + (size_t)got > FILE_SIZE_MAX) {
            *why = got < 0 ? strerror(errno) : "is larger than 16 MiB";
            goto fail;
        }
        if (got == 0)
            break;
        size += (size_t)got;
    }
    text[size] = '\0';
    *ret_size = size;
    goto out;
fail:
    free(text);
    text = NULL;
out:
    if (fd >= 0)
        close(fd);
    return text;
}

char *mb_read_file(struct mb_loader *loader, const char *path, size_t *ret_size)
{
    const char *why;
    char *text = read_all(path, ret_size, &why);

    if (text == NULL && why == NULL)
        loader->no_memory = true;
    else if (text == NULL)
        mb_loader_error(loader, 0, "cannot be read: %s", why);
    return text;
}

/* The path of a line as libconfig takes it, which knows the word at the begin of a line alone. */
static const char *path_of(const char *line, size_t *ret_size)
{
    size_t blanks;

    line += strspn(line, " \t");
    if (strncmp(line, INCLUDE, sizeof INCLUDE - 1) != 0)
        return NULL;
    line += sizeof INCLUDE - 1;
    blanks = strspn(line, " \t");
    if (blanks == 0 || line[blanks] != '"')
        return NULL;
    line += blanks + 1;
    *ret_size = strcspn(line, "\"\n");
    return line;
}

static enum mb_status refuse(struct included *included, const char *path, const char *why)
{
    mb_loader_error(included->loader, included->line, "@include \"%s\": %s", path, why);
    return MB_INVALID;
}

static bool is_known(struct included *included, const struct stat *status)
{
    for (size_t i = 0; i < included->count; i++) {
        if (included->known[i].device == status->st_dev &&
            included->known[i].number == status->st_ino)
            return true;
    }
    return false;
}

static enum mb_status look_at_text(struct included *included, const char *text, bool is_main);

static enum mb_status look_at(struct included *included, const char *name, size_t name_size)
{
    char path[PATH_MAX];
    struct stat status;
    enum mb_status result;
    const char *why;
    char *text;
    size_t size;

    if (memchr(name, '\\', name_size) != NULL) {
        snprintf(path, sizeof path, "%.*s", (int)(name_size < 200 ? name_size : 200), name);
        return refuse(included, path, "write the path without a backslash");
    }
    if (snprintf(path, sizeof path, "%s/%.*s", included->folder, (int)name_size, name) >=
            (int)sizeof path ||
        stat(path, &status) != 0 || is_known(included, &status))
        return MB_OK;
    if (!S_ISREG(status.st_mode))
        return refuse(included, path, S_ISDIR(status.st_mode) ? "is a folder" : "is no file");
    if (included->count == MB_FILES_MAX)
        return refuse(included, path, "too many files are included");
    included->known[included->count].device = status.st_dev;
    included->known[included->count++].number = status.st_ino;
    text = read_all(path, &size, &why);
    if (text == NULL && why == NULL)
        included->loader->no_memory = true;
    if (text == NULL)
        return why == NULL ? MB_NO_MEMORY : refuse(included, path, why);
    result = look_at_text(included, text, false);
    free(text);
    return result;
}

static enum mb_status look_at_text(struct included *included, const char *text, bool is_main)
{
    enum mb_status status = MB_OK;
    const char *line = text;

    for (unsigned number = 1; line != NULL && status == MB_OK; number++) {
        size_t size = 0;
        const char *name = path_of(line, &size);

        if (is_main)
            included->line = number;
        if (name != NULL)
            status = look_at(included, name, size);
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return status;
}

enum mb_status mb_read_included(struct mb_loader *loader, const char *text, const char *folder)
{
    struct included included = {.loader = loader, .folder = folder};

    return look_at_text(&included, text, true);
}
