/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets: text that stands for itself, or file:PATH, env:NAME, credential:NAME (systemd). */
#ifndef MBRIDGE_CORE_SECRET_H
#define MBRIDGE_CORE_SECRET_H

#include <mbridge/status.h>
#include <stdbool.h>

/* The secret itself, to be given to mb_secret_destroy. MB_INVALID, MB_NOT_FOUND, MB_DENIED: err
 * says where it was looked for and why it is not there, and never holds the secret. */
enum mb_status mb_secret_resolve(const char *text, char **ret_secret, struct mb_error *err);
void mb_secret_destroy(char *secret); /* overwrites; NULL allowed */

/* Whether text names a place instead of being the secret. */
bool mb_secret_is_reference(const char *text);

/* Whether the file that text names can be read and holds a secret; if not, err says why. True for
 * everything else. */
bool mb_secret_probe(const char *text, struct mb_error *err);

/* Who can read or change the file that text names though they should not; NULL: nobody. */
const char *mb_secret_exposure(const char *text);

#endif
