/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to core/config: the members of a libconfig group → the settings of option tables. */
#ifndef MBRIDGE_CORE_MEMBERS_H
#define MBRIDGE_CORE_MEMBERS_H

#include "core/config/loader.h"

#include <libconfig.h>

#define MB_TARGETS_MAX 2

struct mb_members {
    struct mb_loader *loader;
    const char *owner; /* how the group is called in messages: route "orders" */
    struct mb_settings *targets[MB_TARGETS_MAX];
    size_t targets_count;
    const char *const *structural; /* names that the caller reads itself; NULL-terminated */
    bool is_lenient;               /* unknown names pass: what they belong to is unknown */
};

/* Sets the rows and reports every mistake. */
void mb_members_read(struct mb_members *members, config_setting_t *group);

/* The list of routes of a file. */
void mb_routes_read(struct mb_loader *loader, config_setting_t *root);

/* A line of a file (NULL: the main one) as a line of the loader. */
unsigned mb_members_place(struct mb_loader *loader, const char *file, unsigned line);

/* Where a setting stands, as a line of the loader. */
unsigned mb_members_line(struct mb_loader *loader, const config_setting_t *setting);

/* "the number 5", "a group", …: what was found, for messages. */
const char *mb_members_found(const config_setting_t *setting, char *buffer, size_t size);

#endif
