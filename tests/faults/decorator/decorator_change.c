/* SPDX-License-Identifier: Apache-2.0 */
/* Faults that change a message on its way to the inner sink. */
#include "decorator.h"
#include "memory.h"

#include <stdlib.h>

#define KEYS (MB_HAS_KEY | MB_HAS_ROUTING_KEY | MB_HAS_GROUP_ID | MB_HAS_SUBJECT)

static void flip_a_byte(struct mb_message *message, unsigned char *body)
{
    if (message->body.size == 0)
        return;
    memcpy(body, message->body.data, message->body.size);
    body[message->body.size / 2] ^= 1u;
    message->body.data = (const char *)body;
}

void change(struct changed *changed, struct mb_outgoing *item)
{
    struct memory_record *record;
    unsigned char *body;
    enum mb_cause cause;

    if (changed->count == CHANGED_MAX)
        return;
    record = memory_record_create(item->message, &cause);
    body = malloc(item->message->body.size + 1);
    if (record == NULL || body == NULL) {
        memory_record_destroy(record);
        free(body);
        return;
    }
    record->message.origin = item->message->origin;
    record->message.raw_kind = MB_RAW_NONE; /* it would pass untouched */
    if (decorator_fault == FAULT_CORRUPT)
        flip_a_byte(&record->message, body);
    if (decorator_fault == FAULT_DROP_HEADER)
        record->message.headers_count = 0;
    if (decorator_fault == FAULT_KEYLESS)
        record->message.present &= ~(uint32_t)KEYS;
    changed->records[changed->count] = record;
    changed->bodies[changed->count++] = body;
    item->message = &record->message;
}

void changed_destroy(struct changed *changed)
{
    for (size_t i = 0; i < changed->count; i++) {
        memory_record_destroy(changed->records[i]);
        free(changed->bodies[i]);
    }
}
