/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a module may be loaded. Its code runs with all the rights of the process, so the file and
 * the folder it is in have to be root's or the user's, and nobody else's to change; and no folder
 * above may let everybody put another in its place. MB_UNSUPPORTED: err says what is wrong.
 */
#ifndef MBRIDGE_CORE_TRUST_H
#define MBRIDGE_CORE_TRUST_H

#include <mbridge/status.h>

/* Fills err and returns MB_UNSUPPORTED: a module that is not used, and why. */
MB_PRINTF(2, 3)
enum mb_status mb_module_refuse(struct mb_error *err, const char *format, ...);

enum mb_status mb_trust_file(const char *path, struct mb_error *err);

/* The folders of path, which is absolute: the one it is in, and those above. */
enum mb_status mb_trust_folders(const char *path, struct mb_error *err);

#endif
