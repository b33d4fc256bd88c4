/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streams of a source: it is a member of a group for each, and has a scope for each partition.
 * Both lists only grow, so that a scope that comes back has its old number.
 */
#include "memory_source.h"

#define SCOPES_MAX 65536u

void *memory_zalloc(const struct mb_host *host, size_t count, size_t size)
{
    void *memory = host->alloc(host->context, count * size);

    if (memory != NULL)
        memset(memory, 0, count * size);
    return memory;
}

/* Makes room for more entries; false: no memory, and the array is as it was. */
static bool reserve(const struct mb_host *host, void **array, size_t count, size_t *capacity,
                    size_t more, size_t size)
{
    size_t wanted = count + more > 2 * *capacity ? count + more : 2 * *capacity;
    void *longer;

    if (count + more <= *capacity)
        return true;
    longer = memory_zalloc(host, wanted, size);
    if (longer == NULL)
        return false;
    if (count > 0)
        memcpy(longer, *array, count * size);
    host->release(host->context, *array);
    *array = longer;
    *capacity = wanted;
    return true;
}

/* Both lists have room for one more member and its scopes, or neither is changed for the caller. */
static bool reserve_member(struct mb_source *source, uint32_t partitions)
{
    void *members = source->members;
    void *scopes = source->scopes;
    bool has_room = reserve(source->host, &members, source->members_count,
                            &source->members_capacity, 1, sizeof(struct memory_member *)) &&
                    reserve(source->host, &scopes, source->scopes_count, &source->scopes_capacity,
                            partitions, sizeof *source->scopes);

    source->members = members;
    source->scopes = scopes;
    return has_room;
}

static struct memory_member *find_member(const struct mb_source *source, const char *name)
{
    for (size_t i = 0; i < source->members_count; i++) {
        if (strcmp(source->members[i]->group->stream->name, name) == 0)
            return source->members[i];
    }
    return NULL;
}

/* The store: the group of a stream that may be read. */
static enum mb_status find_group(const struct mb_source *source, struct memory_store *store,
                                 const char *name, struct memory_group **ret_group,
                                 struct mb_error *err)
{
    struct memory_stream *stream = memory_stream_find(store, source->store, name, strlen(name));
    bool is_queue = source->options->kind == MB_STREAM_QUEUE;

    if (stream == NULL)
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_CONNECTION, "missing",
                            "there is no stream '%s'", name);
    if (stream->kind != (uint32_t)source->options->kind)
        return mb_error_set(err, MB_INVALID, MB_CAUSE_CONNECTION, "kind",
                            "stream '%s' is a %s; set kind = \"%s\"", name,
                            is_queue ? "log" : "queue", is_queue ? "log" : "queue");
    *ret_group = memory_group_get(stream, is_queue ? "" : source->group);
    if (*ret_group == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                            "no memory for group '%s'", source->group);
    return MB_OK;
}

/* The store. */
static enum mb_status add_member(struct mb_source *source, struct memory_group *group,
                                 struct mb_error *err)
{
    const struct mb_host *host = source->host;
    uint32_t partitions = group->stream->partitions_count;
    struct memory_member *member = NULL;

    if (source->scopes_count + partitions > SCOPES_MAX)
        return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_CONNECTION, "scopes",
                            "a source reads at most %u partitions", SCOPES_MAX);
    if (reserve_member(source, partitions))
        member = memory_zalloc(host, 1, sizeof *member);
    if (member == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory",
                            "no memory for %u partitions", partitions);
    source->members[source->members_count++] = member;
    for (uint32_t i = 0; i < partitions; i++) {
        source->scopes[source->scopes_count++] =
            (struct memory_scope){.member = member, .partition = i};
    }
    member->wake = &source->wake;
    member->revoke_timeout_ms = source->options->revoke_timeout_ms;
    member->competes = group->stream->kind == MB_STREAM_QUEUE && !source->exclusive;
    memory_group_join(group, member, host->monotonic_ms(host->context));
    return MB_OK;
}

static enum mb_status join_all(struct mb_source *source, struct memory_store *store,
                               const char *const *names, size_t count, struct mb_error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct memory_member *member = find_member(source, names[i]);
        struct memory_group *group;
        enum mb_status status;

        if (member != NULL && !member->away)
            continue;
        status = find_group(source, store, names[i], &group, err);
        if (status == MB_OK && member == NULL)
            status = add_member(source, group, err);
        if (status != MB_OK)
            return status;
        if (member != NULL) {
            member->away = false;
            memory_group_join(group, member, source->host->monotonic_ms(source->host->context));
        }
    }
    return MB_OK;
}

enum mb_status memory_streams_join(struct mb_source *source, struct memory_store *store,
                                   const char *const *names, size_t count, struct mb_error *err)
{
    struct memory_group *group;

    /* What cannot be read is told before any group is entered. */
    for (size_t i = 0; i < count; i++) {
        enum mb_status status = find_group(source, store, names[i], &group, err);

        if (status != MB_OK)
            return status;
    }
    return join_all(source, store, names, count, err);
}

/* The store. The group stays known to the member, for its scopes. */
static void leave(struct mb_source *source, struct memory_member *member)
{
    struct memory_group *group = member->group;

    for (size_t i = 0; i < source->scopes_count; i++) {
        if (source->scopes[i].member == member)
            memory_scope_return_held(source, (uint32_t)i);
    }
    memory_group_leave(member, source->host->monotonic_ms(source->host->context));
    member->group = group;
    member->away = true;
    member->changed = true; /* so that service tells of its scopes */
}

static bool holds(const struct mb_strings *streams, const char *name)
{
    for (size_t i = 0; i < streams->count; i++) {
        if (strcmp(streams->items[i], name) == 0)
            return true;
    }
    return false;
}

enum mb_status memory_streams_change(struct mb_source *source, const struct mb_strings *streams,
                                     struct mb_error *err)
{
    struct memory_store *store;
    enum mb_status status;

    memory_scope_commit(source, true); /* what leaves keeps what is acknowledged */
    store = memory_store_lock();
    status = memory_streams_join(source, store, streams->items, streams->count, err);
    for (size_t i = 0; status == MB_OK && i < source->members_count; i++) {
        struct memory_member *member = source->members[i];

        if (!member->away && !holds(streams, member->group->stream->name))
            leave(source, member);
    }
    memory_store_unlock(store);
    return status;
}

void memory_streams_leave(struct mb_source *source)
{
    for (size_t i = 0; i < source->members_count; i++) {
        if (!source->members[i]->away)
            leave(source, source->members[i]);
    }
}
