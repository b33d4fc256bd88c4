/* SPDX-License-Identifier: Apache-2.0 */
#include "core/runtime/trust.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

enum mb_status mb_module_refuse(struct mb_error *err, const char *format, ...)
{
    char text[MB_ERROR_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_NONE, "module", "%s", text);
}

static enum mb_status check_trusted(const char *path, const char *what, const struct stat *info,
                                    struct mb_error *err)
{
    if ((info->st_mode & S_IWOTH) != 0)
        return mb_module_refuse(err,
                                "%s %s is writable by everyone: no module is loaded from there "
                                "(chmod o-w it)",
                                what, path);
    if (info->st_uid != 0 && info->st_uid != geteuid())
        return mb_module_refuse(
            err,
            "%s %s belongs to user %lu: no module is loaded that is not root's or of "
            "the user of this process",
            what, path, (unsigned long)info->st_uid);
    return MB_OK;
}

enum mb_status mb_trust_file(const char *path, struct mb_error *err)
{
    struct stat info;

    if (stat(path, &info) != 0)
        return mb_module_refuse(err, "the module %s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return mb_module_refuse(err, "the module %s is no regular file", path);
    return check_trusted(path, "the module", &info, err);
}

enum mb_status mb_trust_folders(const char *path, struct mb_error *err)
{
    char folder[PATH_MAX];
    bool is_parent = true;
    char *slash;

    snprintf(folder, sizeof folder, "%s", path);
    while ((slash = strrchr(folder, '/')) != NULL) {
        bool is_root = slash == folder;
        struct stat info;

        slash[is_root ? 1 : 0] = '\0';
        if (stat(folder, &info) != 0)
            return mb_module_refuse(err, "the folder %s: %s", folder, strerror(errno));
        if (is_parent || (info.st_mode & (S_IWOTH | S_ISVTX)) == S_IWOTH) {
            enum mb_status status = check_trusted(folder, "the folder", &info, err);

            if (status != MB_OK)
                return status;
        }
        if (is_root)
            break;
        is_parent = false;
    }
    return MB_OK;
}
