/* SPDX-License-Identifier: Apache-2.0 */
/* Deliveries between their being taken and their outcome: a slot of 24 bytes each, where proton has
 * a kilobyte. */
#include "amqp10_source.h"

#include <proton/disposition.h>

bool amqp10_taken_extend(struct mb_source *source)
{
    uint32_t count =
        source->slots_count < AMQP10_WINDOW_MIN / 2 ? AMQP10_WINDOW_MIN : source->slots_count * 2;
    struct slot *slots;

    if (count > source->slots_max)
        count = source->slots_max;
    slots = amqp10_alloc_zero(source->host, count * sizeof *slots);
    if (slots == NULL)
        return false;
    if (source->slots_count > 0)
        memcpy(slots, source->slots, source->slots_count * sizeof *slots);
    for (uint32_t i = source->slots_count; i < count; i++)
        slots[i].next_free = i + 1;
    source->host->release(source->host->context, source->slots);
    source->slots = slots;
    source->first_free = source->slots_count;
    source->slots_count = count;
    return true;
}

static uint32_t take_slot(struct mb_source *source, uint32_t scope)
{
    uint32_t index = source->first_free;
    struct slot *slot = &source->slots[index];

    source->first_free = slot->next_free;
    source->slots_used++;
    slot->is_used = true;
    slot->is_open = false;
    slot->scope = scope;
    slot->generation++;
    return index;
}

static void free_slot(struct mb_source *source, uint32_t index)
{
    source->slots[index].is_used = false;
    source->slots[index].next_free = source->first_free;
    source->first_free = index;
    source->slots_used--;
}

void amqp10_taken_name(struct mb_source *source)
{
    const struct amqp10_id *ids;
    size_t count;

    if (source->nameless_count == 0)
        return;
    count = amqp10_withheld(source->client, &ids);
    if (count != source->nameless_count)
        amqp10_client_fail(source->client, "protocol",
                           "the deliveries that were taken are not those that were settled");
    for (uint32_t i = 0; i < count && count == source->nameless_count; i++) {
        struct slot *slot = &source->slots[source->nameless[i]];

        slot->delivery = ids[i];
        slot->is_open = true;
    }
    source->nameless_count = 0;
}

/* Proton is done with it, and frees it; the broker is told nothing. */
static void let_proton_forget(struct mb_source *source, pn_delivery_t *delivery, uint32_t index)
{
    /* One that the broker settled itself waits for no outcome. */
    bool is_open = !pn_delivery_settled(delivery);

    pn_delivery_update(delivery, PN_RELEASED);
    pn_delivery_settle(delivery);
    if (!is_open)
        return;
    source->nameless[source->nameless_count++] = index;
    if (source->nameless_count == AMQP10_WITHHELD_MAX)
        amqp10_taken_name(source);
}

uint32_t amqp10_taken_add(struct mb_source *source, pn_delivery_t *delivery, uint32_t scope)
{
    uint32_t index = take_slot(source, scope);

    let_proton_forget(source, delivery, index);
    return index;
}

/* The slot that it acknowledges; NULL: none that is still there. */
static struct slot *acknowledged(struct mb_source *source, const struct mb_ack *ack)
{
    uint32_t index = (uint32_t)ack->token;
    struct slot *slot;

    if (index >= source->slots_count)
        return NULL;
    slot = &source->slots[index];
    if (!slot->is_used || slot->generation != (uint32_t)(ack->token >> 32) ||
        slot->scope != ack->scope || source->scopes[slot->scope].epoch != ack->epoch)
        return NULL;
    return slot;
}

/* Deliveries that follow each other and end alike. */
struct run {
    struct amqp10_id first;
    uint32_t last;
    bool accepted;
    bool is_set;
};

static void run_add(struct mb_source *source, struct run *run, struct amqp10_id id, bool accepted)
{
    if (run->is_set && run->accepted == accepted && run->first.channel == id.channel &&
        run->last + 1 == id.id) {
        run->last = id.id;
        return;
    }
    if (run->is_set)
        amqp10_dispose(source->client, run->first, run->last, run->accepted);
    *run = (struct run){.first = id, .last = id.id, .accepted = accepted, .is_set = true};
}

enum mb_status amqp10_taken_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                                struct mb_error *err)
{
    struct run run = {.is_set = false};

    (void)err;
    for (size_t i = 0; i < count; i++) {
        struct slot *slot = acknowledged(source, &acks[i]);

        /* What is given back goes when the link does: the broker then puts it where it was. */
        if (slot == NULL || acks[i].outcome == MB_RELEASED)
            continue;
        if (slot->is_open)
            run_add(source, &run, slot->delivery, acks[i].outcome == MB_ACCEPTED);
        free_slot(source, (uint32_t)acks[i].token);
    }
    if (run.is_set)
        amqp10_dispose(source->client, run.first, run.last, run.accepted);
    return MB_OK;
}
