/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of configuration files, before libconfig sees it. Its scanner ends the program where a
 * file that is included can't be read (YY_FATAL_ERROR of flex), and waits where one is a pipe: so
 * each is looked at here, and those that it includes.
 */
#ifndef MBRIDGE_CORE_READ_H
#define MBRIDGE_CORE_READ_H

#include "core/config/loader.h"

/* The whole file, NUL-terminated and the caller's; NULL is reported. */
char *mb_read_file(struct mb_loader *loader, const char *path, size_t *ret_size);

/* MB_INVALID: a file that the text includes, or one that is included there, can't be read, as is
 * reported; MB_NO_MEMORY. One that is not there is left to libconfig. */
enum mb_status mb_read_included(struct mb_loader *loader, const char *text, const char *folder);

#endif
