/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_SIZE_MAX 65536

static const char *behind(const char *text, const char *prefix)
{
    size_t size = strlen(prefix);

    return strncmp(text, prefix, size) == 0 ? text + size : NULL;
}

bool mb_secret_is_reference(const char *text)
{
    return behind(text, "file:") != NULL || behind(text, "env:") != NULL ||
           behind(text, "credential:") != NULL;
}

/* Group members may read: a file of root that the group of a service reads is the usual way. */
const char *mb_secret_exposure(const char *text)
{
    const char *path = behind(text, "file:");
    struct stat status;

    if (path == NULL || stat(path, &status) != 0 || !S_ISREG(status.st_mode))
        return NULL;
    if ((status.st_mode & S_IROTH) != 0)
        return "everybody on this machine can read it (chmod o-r)";
    if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return "others than its owner can change it (chmod go-w)";
    if (status.st_uid != 0 && status.st_uid != geteuid())
        return "it belongs to a user who is neither root nor this one (chown it)";
    return NULL;
}

bool mb_secret_probe(const char *text, struct mb_error *err)
{
    char *secret = NULL;
    bool found = behind(text, "file:") == NULL || mb_secret_resolve(text, &secret, err) == MB_OK;

    mb_secret_destroy(secret);
    return found;
}

void mb_secret_destroy(char *secret)
{
    if (secret == NULL)
        return;
    explicit_bzero(secret, strlen(secret));
    free(secret);
}

/* Fills buffer from the file; its size, or -1 with errno. */
static ssize_t read_all(int fd, char *buffer, size_t capacity)
{
    size_t size = 0;

    while (size < capacity) {
        ssize_t got = read(fd, buffer + size, capacity - size);

        if (got == 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        size += (size_t)got;
    }
    return (ssize_t)size;
}

/* Opened without waiting, and looked at before it is read: a pipe or a device must not hold the
 * program, and could be read only once. */
static int open_file(const char *path, struct mb_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat info;

    if (fd < 0 || fstat(fd, &info) != 0) {
        enum mb_status status = errno == ENOENT   ? MB_NOT_FOUND
                                : errno == EACCES ? MB_DENIED
                                                  : MB_INVALID;

        mb_error_set(err, status, MB_CAUSE_NONE, "secret", "the secret file %s cannot be read: %s",
                     path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "secret", "the secret file %s is %s", path,
                     S_ISDIR(info.st_mode) ? "a folder" : "no regular file");
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* What is wrong with the content; NULL: nothing. */
static const char *fault_of(const char *buffer, size_t size)
{
    return size == 0                ? "is empty"
           : size > SECRET_SIZE_MAX ? "is larger than 64 KiB"
           : strlen(buffer) != size ? "holds a NUL byte"
                                    : NULL;
}

static enum mb_status secret_from_file(const char *path, char **ret_secret, struct mb_error *err)
{
    char *buffer = calloc(1, SECRET_SIZE_MAX + 2);
    enum mb_status status = MB_OK;
    const char *fault;
    int fd = -1;
    ssize_t size;

    if (buffer == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    fd = open_file(path, err);
    if (fd < 0) {
        status = err->status;
        goto out;
    }
    size = read_all(fd, buffer, SECRET_SIZE_MAX + 1);
    if (size < 0) {
        status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "secret",
                              "the secret file %s cannot be read: %s", path, strerror(errno));
        goto out;
    }
    if (size > 0 && buffer[size - 1] == '\n')
        buffer[--size] = '\0';
    if (size > 0 && buffer[size - 1] == '\r')
        buffer[--size] = '\0';
    fault = fault_of(buffer, (size_t)size);
    if (fault != NULL) {
        status = mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "secret", "the secret file %s %s",
                              path, fault);
        goto out;
    }
    *ret_secret = strdup(buffer);
    if (*ret_secret == NULL)
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
out:
    if (fd >= 0)
        close(fd);
    explicit_bzero(buffer, SECRET_SIZE_MAX + 2);
    free(buffer);
    return status;
}

static enum mb_status secret_from_credential(const char *name, char **ret_secret,
                                             struct mb_error *err)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    char path[PATH_MAX];

    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "secret",
                            "credential:%s is no name of a credential", name);
    if (folder == NULL)
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_NONE, "secret",
                            "credential:%s: CREDENTIALS_DIRECTORY is not set; "
                            "systemd sets it with LoadCredential=",
                            name);
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_NONE, "secret",
                            "the path of credential:%s is too long", name);
    return secret_from_file(path, ret_secret, err);
}

enum mb_status mb_secret_resolve(const char *text, char **ret_secret, struct mb_error *err)
{
    const char *rest = behind(text, "file:");
    const char *value = text;

    if (rest != NULL)
        return secret_from_file(rest, ret_secret, err);
    rest = behind(text, "credential:");
    if (rest != NULL)
        return secret_from_credential(rest, ret_secret, err);
    rest = behind(text, "env:");
    if (rest != NULL) {
        value = getenv(rest);
        if (value == NULL)
            return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_NONE, "secret",
                                "the environment variable %s is not set", rest);
    }
    *ret_secret = strdup(value);
    if (*ret_secret == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_NONE, "memory", "out of memory");
    return MB_OK;
}
