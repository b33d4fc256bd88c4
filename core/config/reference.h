/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration reference, generated from the option tables. */
#ifndef MBRIDGE_CORE_REFERENCE_H
#define MBRIDGE_CORE_REFERENCE_H

#include "core/runtime/registry.h"
#include "kit/text.h"

/* docs/configuration.md: the core's options, then every backend that the registry finds. */
void mb_reference_markdown(struct mb_registry *registry, struct mb_text *text);

/* "1 … 64", "\"a\", \"b\"" or "": what bounds a row, for help. Returns buffer. */
const char *mb_reference_bounds(const struct mb_option *row, char *buffer, size_t size);

#endif
