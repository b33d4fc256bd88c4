/* SPDX-License-Identifier: Apache-2.0 */
/* Where a route takes its messages' keys from: `key_from`. */
#ifndef MBRIDGE_CORE_KEY_H
#define MBRIDGE_CORE_KEY_H

#include "core/router/names.h"

enum mb_key_from {
    MB_KEY_AS_IT_IS = 0,
    MB_KEY_NONE = 1, /* takes it away */
    MB_KEY_ROUTING_KEY = 2,
    MB_KEY_GROUP_ID = 3,
    MB_KEY_MESSAGE_ID = 4,
    MB_KEY_SUBJECT = 5,
    MB_KEY_TEMPLATE = 6
};

struct mb_key_rule {
    enum mb_key_from from;
    struct mb_template *template;
};

/* text: "key", "none", "routing_key", "group_id", "message_id", "subject", or a template with ${…}
 * parts; NULL: as it is. MB_INVALID: err->text says what there is. */
enum mb_status mb_key_rule_init(struct mb_key_rule *rule, const char *text, struct mb_error *err);
void mb_key_rule_release(struct mb_key_rule *rule); /* a zeroed one is allowed */

/* Sets the message's key. One whose value is missing keeps the key that it has: a key is no name,
 * and a message without customer is none to be rejected. New bytes come from the arena;
 * MB_NO_MEMORY is the only failure. */
enum mb_status mb_key_apply(const struct mb_key_rule *rule, struct mb_message *message,
                            const struct mb_matches *matches, struct mb_arena *arena);

#endif
