/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C library's own allocator, for a preload that stands before it. Any thread.
 */
#ifndef MBRIDGE_TESTS_REAL_H
#define MBRIDGE_TESTS_REAL_H

#include <stdarg.h>
#include <stddef.h>

/* Finds it. The others do so by themselves when they need it. */
void real_resolve(void);

void *real_malloc(size_t size);
void *real_calloc(size_t count, size_t size);
void *real_realloc(void *data, size_t size);
void real_free(void *data);
void *real_aligned_alloc(size_t alignment, size_t size);
int real_posix_memalign(void **ret_data, size_t alignment, size_t size);

/* What the C library makes of its own malloc, which no preload sees: as strndup, and as vasprintf.
 */
char *real_copy(const char *text, size_t size);
int real_print(char **ret_text, const char *format, va_list arguments);

#endif
