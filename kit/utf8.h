/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 checks. Pure; any thread. */
#ifndef MBRIDGE_KIT_UTF8_H
#define MBRIDGE_KIT_UTF8_H

#include <mbridge/value.h>

/* Well-formed UTF-8 by RFC 3629 (no surrogates, no overlong forms). null and empty are valid. */
bool mb_utf8_valid(struct mb_slice text);

/* The same, and without U+0000: what every platform's string type can carry. */
bool mb_utf8_valid_without_nul(struct mb_slice text);

#endif
