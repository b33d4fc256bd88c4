/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#define CHOICES(...) (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / 8

/* splitmix64 */
uint64_t sim_random(void)
{
    uint64_t z = (sim.random += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sim_below(uint64_t bound)
{
    return sim_random() % bound;
}

bool sim_one_in(uint64_t n)
{
    return n > 0 && sim_below(n) == 0;
}

int64_t sim_after(int64_t mean_ms)
{
    if (mean_ms <= 0)
        return SIM_NEVER;
    return sim.now_ms + 1 + (int64_t)sim_below((uint64_t)mean_ms * 2);
}

uint64_t sim_pick(const uint64_t *choices, size_t count)
{
    return choices[sim_below(count)];
}

static int64_t pick_ms(const uint64_t *choices, size_t count)
{
    return (int64_t)sim_pick(choices, count);
}

static uint32_t pick(const uint64_t *choices, size_t count)
{
    return (uint32_t)sim_pick(choices, count);
}

void sim_draw_window(struct sim_shape *shape)
{
    shape->window_messages = pick(CHOICES(1, 2, 5, 16, 50, 120, 300));
    shape->window_bytes = pick_ms(CHOICES(4000, 30000, 1 << 20, 1 << 20));
    shape->rate_messages = pick(CHOICES(0, 0, 0, 0, 20, 200, 2000));
}

static void draw_route(struct sim_shape *shape)
{
    shape->kind = (enum sim_kind)sim_below(4);
    shape->scopes = sim_one_in(60) ? 70 : pick(CHOICES(1, 1, 2, 3, 5));
    shape->messages = pick(CHOICES(5, 30, 60, 120, 200, 300));
    if (shape->messages < shape->scopes)
        shape->messages = shape->scopes * 2;
    shape->keys = sim_one_in(3) ? SIM_KEYS_MAX : 1;
    shape->sinks = pick(CHOICES(1, 1, 2, 3));
    shape->dead_letter = !sim_one_in(3);
    shape->on_reject =
        shape->dead_letter && !sim_one_in(6) ? MB_REJECT_DEAD_LETTER : MB_REJECT_STOP;
    shape->order = sim_one_in(4) ? MB_ORDER_NONE : MB_ORDER_KEY;
    shape->retry_attempts = sim_one_in(5) && shape->on_reject == MB_REJECT_DEAD_LETTER ? 3 : 0;
    shape->sinks_before = shape->sinks == 1 ? pick(CHOICES(0, 0, 0, 1, 2)) : 0;
    shape->exactly = shape->sinks == 1 && shape->kind <= SIM_LOG && sim_one_in(2);
    shape->leaves_out = shape->exactly && sim_one_in(3);
    if (shape->exactly)
        shape->order = MB_ORDER_KEY;
    shape->create = sim_one_in(4);
    shape->filter = sim_one_in(5);
    shape->gaps = sim_one_in(3);
    shape->lingers = sim_one_in(3);
    shape->padding = pick(CHOICES(0, 0, 300, 3000, 20000));
    shape->ttl_one_in = pick(CHOICES(0, 0, 0, 20, 3));
    shape->poison_one_in = pick(CHOICES(0, 0, 50, 10));
    shape->unreadable_one_in = pick(CHOICES(0, 0, 0, 30));
    sim_draw_window(shape);
}

/* Most schedules have a few kinds of faults; then each of them is seen in long runs of its own. */
static void draw_faults(struct sim_shape *shape)
{
    shape->latency_ms = pick(CHOICES(0, 1, 10, 80));
    shape->source_break_ms = pick_ms(CHOICES(0, 0, 400, 3000));
    shape->sink_break_ms = pick_ms(CHOICES(0, 0, 300, 3000));
    shape->scope_change_ms = pick_ms(CHOICES(0, 0, 300, 2000));
    shape->life_ms = pick_ms(CHOICES(0, 0, 500, 4000));
    shape->full_ms = pick_ms(CHOICES(0, 0, 0, 1500));
    shape->refuse_one_in = pick(CHOICES(0, 0, 15, 100));
    shape->open_fails_one_in = pick(CHOICES(0, 3, 8));
    shape->slow_one_in = pick(CHOICES(0, 5, 20));
    shape->alloc_fails_one_in = pick(CHOICES(0, 0, 0, 30, 200));
    shape->heal_ms = pick_ms(CHOICES(300, 2000, 6000));
}

void sim_draw_shape(struct sim_shape *shape)
{
    *shape = (struct sim_shape){.heal_ms = 0};
    draw_route(shape);
    if (!sim_one_in(10))
        draw_faults(shape);
    else
        shape->life_ms = pick_ms(CHOICES(0, 200, 1000));
    if (shape->heal_ms == 0)
        shape->heal_ms = 1000;
}

static void draw_message(struct sim_message *message)
{
    const struct sim_shape *shape = &sim.shape;

    message->key = (uint32_t)sim_below(shape->keys);
    message->size = (uint32_t)sizeof(struct sim_body) +
                    (shape->padding > 0 ? (uint32_t)sim_below(shape->padding) : 0);
    message->appears_ms = sim.now_ms + (int64_t)sim_below((uint64_t)shape->heal_ms);
    if (sim_one_in(2))
        message->appears_ms = sim.now_ms;
    if (sim_one_in(shape->poison_one_in)) {
        message->poison = 1u << sim_below(shape->sinks);
        if (sim_one_in(4))
            message->poison = (1u << shape->sinks) - 1;
    }
    message->unreadable = sim_one_in(shape->unreadable_one_in);
    message->filtered = shape->filter && !message->unreadable && sim_one_in(4);
    if (sim_one_in(shape->ttl_one_in))
        message->ttl_ms = 1 + (int64_t)sim_below(3000);
}

void sim_draw_messages(void)
{
    const struct sim_shape *shape = &sim.shape;
    uint32_t count = shape->messages / shape->scopes;

    sim.messages_count = count * shape->scopes;
    for (uint32_t s = 0; s < shape->scopes; s++) {
        uint64_t offset = 0;
        int64_t appears_ms = 0;

        sim.scopes[s].first = s * count;
        sim.scopes[s].count = count;
        for (uint32_t i = 0; i < count; i++) {
            struct sim_message *message = &sim.messages[s * count + i];

            message->scope = s;
            message->place = i;
            draw_message(message);
            if (message->appears_ms < appears_ms)
                message->appears_ms = appears_ms;
            appears_ms = message->appears_ms;
            offset += shape->gaps ? 1 + sim_below(3) : 1;
            message->offset = offset;
        }
    }
}
