/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups: which member has which partition. A newcomer waits until the old owner has let go of what
 * moves to it (it was told to, and has until the deadline), all other partitions stay where they
 * are. Queues use the same: one share, which the oldest member has.
 */
#include "memory.h"

#include <stdlib.h>
#include <unistd.h>

struct memory_group *memory_group_find(struct memory_stream *stream, const char *name)
{
    struct memory_group *group = stream->groups;

    while (group != NULL && strcmp(group->name, name) != 0)
        group = group->next;
    return group;
}

struct memory_group *memory_group_get(struct memory_stream *stream, const char *name)
{
    struct memory_group *group = memory_group_find(stream, name);

    if (group != NULL)
        return group;
    group = calloc(1, sizeof *group);
    if (group == NULL)
        return NULL;
    group->name = memory_text_copy(name, strlen(name));
    group->shares = calloc(stream->partitions_count, sizeof *group->shares);
    if (group->name == NULL || group->shares == NULL) {
        free(group->name);
        free(group->shares);
        free(group);
        return NULL;
    }
    group->stream = stream;
    group->next = stream->groups;
    stream->groups = group;
    return group;
}

void memory_wake_signal(struct memory_wake *wake)
{
    const uint64_t one = 1;

    if (!wake->armed)
        return;
    wake->armed = false;
    wake->signalled = true;
    /* Cannot fail: the counter is read before it is armed again, so it never overflows. */
    if (write(wake->fd, &one, sizeof one) != (ssize_t)sizeof one)
        wake->signalled = false;
}

void memory_wake_drain(struct memory_wake *wake)
{
    uint64_t counter;

    if (wake->signalled && read(wake->fd, &counter, sizeof counter) > 0)
        wake->signalled = false;
}

void memory_stream_wake(const struct memory_stream *stream)
{
    for (struct memory_group *group = stream->groups; group != NULL; group = group->next) {
        for (struct memory_member *member = group->members; member != NULL; member = member->next) {
            if (member->wake->wants_messages)
                memory_wake_signal(member->wake);
        }
    }
}

static void tell(struct memory_member *member)
{
    member->changed = true;
    memory_wake_signal(member->wake);
}

/* The member that should have a partition: the nth, counted from another one for each stream. */
static struct memory_member *target_of(const struct memory_group *group, uint32_t partition)
{
    struct memory_member *member = group->members;
    uint32_t place = 0;

    if (group->stream->kind == MB_STREAM_LOG && group->members_count > 0)
        place = (group->stream->number + partition) % group->members_count;
    while (member != NULL && place > 0) {
        member = member->next;
        place--;
    }
    return member;
}

void memory_group_balance(struct memory_group *group, int64_t now_ms)
{
    for (uint32_t i = 0; i < group->stream->partitions_count; i++) {
        struct memory_share *share = &group->shares[i];
        struct memory_member *target = target_of(group, i);

        if (share->revoking && now_ms >= share->revoke_deadline_ms) {
            tell(share->owner);
            share->owner = NULL;
            share->revoking = false;
        }
        if (share->owner == NULL) {
            share->owner = target;
            share->generation++;
            if (target != NULL)
                tell(target);
        } else if (share->owner != target && !share->revoking) {
            share->revoking = true;
            share->revoke_deadline_ms = now_ms + share->owner->revoke_timeout_ms;
            tell(share->owner);
            /* The one that waits looks again at the deadline. */
            if (target != NULL)
                tell(target);
        }
    }
}

int64_t memory_group_deadline(const struct memory_group *group)
{
    int64_t deadline_ms = INT64_MAX;

    for (uint32_t i = 0; i < group->stream->partitions_count; i++) {
        const struct memory_share *share = &group->shares[i];

        if (share->revoking && share->revoke_deadline_ms < deadline_ms)
            deadline_ms = share->revoke_deadline_ms;
    }
    return deadline_ms;
}

void memory_group_join(struct memory_group *group, struct memory_member *member, int64_t now_ms)
{
    struct memory_member **place = &group->members;

    while (*place != NULL)
        place = &(*place)->next;
    *place = member;
    member->next = NULL;
    member->group = group;
    member->changed = true;
    group->members_count++;
    memory_group_balance(group, now_ms);
}

void memory_group_leave(struct memory_member *member, int64_t now_ms)
{
    struct memory_group *group = member->group;
    struct memory_member **place;

    if (group == NULL)
        return;
    place = &group->members;
    while (*place != member)
        place = &(*place)->next;
    *place = member->next;
    group->members_count--;
    member->group = NULL;
    for (uint32_t i = 0; i < group->stream->partitions_count; i++) {
        if (group->shares[i].owner == member) {
            group->shares[i].owner = NULL;
            group->shares[i].revoking = false;
        }
    }
    memory_group_balance(group, now_ms);
}
