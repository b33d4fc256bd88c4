/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry of backends: finds modules, checks their ABI, keeps them for the life of the
 * process.
 *
 * Where a name is looked for: MBRIDGE_MODULES (a folder, by its absolute path) if it is set and the
 * process is not privileged, the folder ../lib/mbridge beside the program, the installed folder. An
 * absolute path in `backend = "…"` is loaded as it is; what is trusted: trust.h. Not thread-safe:
 * used by one thread at a time (loading and reloading of configurations).
 */
#ifndef MBRIDGE_CORE_REGISTRY_H
#define MBRIDGE_CORE_REGISTRY_H

#include <mbridge/backend.h>

struct mb_registry;

enum mb_status mb_registry_create(struct mb_registry **ret_registry);
void mb_registry_destroy(struct mb_registry *registry); /* modules stay loaded; NULL allowed */

/* MB_NOT_FOUND: no such module; err->text says which package or path would bring it.
 * MB_UNSUPPORTED: found, but of another ABI or not a backend. */
enum mb_status mb_registry_find(struct mb_registry *registry, const char *name_or_path,
                                const struct mb_backend **ret_backend, struct mb_error *err);

/* Adds a descriptor of the program itself (tests, decorators). The name must be new. */
enum mb_status mb_registry_add(struct mb_registry *registry, const struct mb_backend *backend,
                               struct mb_error *err);

/* Loads every module of the folders and calls each for the good ones, sorted by name; bad ones are
 * told through bad (may be NULL). */
void mb_registry_each(struct mb_registry *registry,
                      void (*each)(void *context, const struct mb_backend *backend),
                      void (*bad)(void *context, const char *path, const struct mb_error *err),
                      void *context);

/* The backend whose URL rules have the scheme, loading modules as needed. */
enum mb_status mb_registry_find_scheme(struct mb_registry *registry, const char *scheme,
                                       const struct mb_backend **ret_backend,
                                       const struct mb_url_rule **ret_rule, struct mb_error *err);

#endif
