/* SPDX-License-Identifier: Apache-2.0 */
/* The sink's way out: entries become XADDs, many in one write. */
#include "redis_sink.h"

#define WRITE_SIZE     65536u
#define INSERTS_MAX    32u
#define ENTRY_SIZE_MAX ((uint64_t)1000 << 20) /* Redis drops a client that sends 1 GiB at once */

static const char xadd[] = "$4\r\nXADD\r\n";

/* Room for one more in both rings. */
static bool has_room(const struct mb_sink *sink)
{
    return sink->head - sink->tail < sink->capacity &&
           (sink->head - sink->tail) + (sink->done_tail - sink->done_head) < sink->capacity;
}

void redis_sink_set_trim(struct mb_sink *sink, bool about, uint64_t length)
{
    unsigned char *at = sink->trim;
    char number[REDIS_NUMBER_MAX];

    sink->trim_count = 1;
    if (length > 0) {
        at = redis_put_bulk(at, MB_SLICE_LITERAL("MAXLEN"));
        if (about)
            at = redis_put_bulk(at, MB_SLICE_LITERAL("~"));
        at = redis_put_bulk(at, (struct mb_slice){number, redis_number_write(number, length)});
        sink->trim_count += about ? 3 : 2;
    }
    at = redis_put_bulk(at, MB_SLICE_LITERAL("*"));
    sink->trim_size = (size_t)(at - sink->trim);
}

static bool is_written_later(const struct redis_outstanding *entry, struct mb_slice value)
{
    /* What lies in the message stays there until it completes. */
    return value.size >= REDIS_INSERT_MIN && value.data == entry->message->body.data;
}

/* What stands in front of the fields: the same for one entry after the other, as a rule. */
static unsigned char *put_head(struct mb_sink *sink, unsigned char *at, struct mb_slice stream)
{
    unsigned char *first = at;

    if (sink->head_size > 0 && mb_slice_equal(stream, sink->head_stream)) {
        memcpy(at, sink->head_text, sink->head_size);
        return at + sink->head_size;
    }
    memcpy(at, xadd, sizeof xadd - 1);
    at = redis_put_bulk(at + sizeof xadd - 1, stream);
    memcpy(at, sink->trim, sink->trim_size);
    at += sink->trim_size;
    if ((size_t)(at - first) <= sizeof sink->head_text) {
        sink->head_size = (size_t)(at - first);
        memcpy(sink->head_text, first, sink->head_size);
        sink->head_stream.size = stream.size;
        sink->head_stream.data =
            sink->head_text + sink->head_size - sink->trim_size - 2 - stream.size;
    }
    return at;
}

/* size: of all that is put, at most, but for what is written later. */
static void put_fields(struct mb_sink *sink, struct redis_out *out,
                       const struct redis_outstanding *entry, const struct redis_field *fields,
                       size_t count, size_t size)
{
    size_t arguments = sink->trim_count + 2 * count;
    unsigned char *at;

    if (sink->once != NULL)
        redis_once_put_head(sink->once, out, entry, arguments);
    size += entry->stream.size + sizeof xadd + 2 * REDIS_BULK_AROUND + sink->trim_size;
    if (!redis_out_reserve(out, size))
        return;
    at = out->data + out->end;
    if (sink->once == NULL) {
        at = redis_put_length(at, '*', 2 + arguments);
        at = put_head(sink, at, entry->stream);
    } else {
        memcpy(at, sink->trim, sink->trim_size);
        at += sink->trim_size;
    }
    for (size_t i = 0; i < count; i++) {
        at = redis_put_bulk(at, fields[i].name);
        if (!is_written_later(entry, fields[i].value)) {
            at = redis_put_bulk(at, fields[i].value);
            continue;
        }
        out->end = (size_t)(at - out->data);
        redis_out_bulk_later(out, fields[i].value);
        if (!redis_out_reserve(out, size))
            return;
        at = out->data + out->end;
    }
    out->end = (size_t)(at - out->data);
}

/* NULL: it fits. *ret_bytes: of the fields in a command, at most; *ret_size: but for what is
 * written later. */
static const char *too_large(const struct mb_sink *sink, const struct redis_outstanding *entry,
                             const struct redis_field *fields, size_t count, size_t *ret_bytes,
                             size_t *ret_size)
{
    uint64_t total = 0;
    uint64_t later = 0;

    for (size_t i = 0; i < count; i++) {
        if (fields[i].name.size > sink->value_max || fields[i].value.size > sink->value_max)
            return "a field is larger than the server takes (proto-max-bulk-len)";
        total += fields[i].name.size + fields[i].value.size + 2 * REDIS_BULK_AROUND;
        later += is_written_later(entry, fields[i].value) ? fields[i].value.size : 0;
    }
    *ret_bytes = (size_t)total;
    *ret_size = (size_t)(total - later);
    return total > ENTRY_SIZE_MAX ? "the entry is larger than a server takes at once (1 GiB)"
                                  : NULL;
}

/* Encodes the entry into its link; *ret_bytes: how much it is, at most. MB_REJECTED: *err says why
 * it cannot be. */
static enum mb_status put_entry(struct mb_sink *sink, const struct redis_outstanding *entry,
                                struct redis_target *link, size_t *ret_bytes, struct mb_error *err)
{
    struct mb_outgoing item = {.sequence = entry->sequence, .message = entry->message};
    struct redis_out *out = &link->client->out;
    struct redis_field *fields = NULL;
    struct mb_carried carried;
    const char *large;
    size_t count = 0;
    size_t size = 0;
    enum mb_status status;

    item.names[REDIS_NAME_STREAM] = entry->stream;
    status = mb_carry_prepare(&sink->carry, &item, &carried, err);
    if (status != MB_OK)
        return status;
    mb_scratch_reset(&sink->scratch);
    if (redis_entry_encode(&carried, sink->body_field, &sink->scratch.arena, &fields, &count) !=
        MB_OK)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    large = too_large(sink, entry, fields, count, ret_bytes, &size);
    if (large != NULL)
        return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "too-large", "%s", large);
    if (sink->once != NULL && sink->trim_count + 2 * count > REDIS_ONCE_ARGUMENTS_MAX)
        return mb_error_set(err, MB_REJECTED, MB_CAUSE_MESSAGE, "too-many-fields",
                            "the entry has %zu fields, more than a script of the server can add",
                            count);
    put_fields(sink, out, entry, fields, count, size);
    sink->full =
        sink->full || redis_out_size(out) >= WRITE_SIZE || out->inserts_count >= INSERTS_MAX;
    link->unwaited++;
    return MB_OK;
}

/* The node that an item goes to; asking: with ASKING in front. */
static unsigned route(const struct mb_sink *sink, uint16_t slot, bool *ret_asking)
{
    *ret_asking = false;
    if (!sink->topology->cluster)
        return 0;
    if (sink->asked[slot] > 0) {
        *ret_asking = true;
        return sink->asked[slot] - 1u;
    }
    return sink->topology->slots[slot];
}

enum mb_status redis_sink_transmit(struct mb_sink *sink, struct redis_outstanding *entry,
                                   uint64_t place, bool is_new, struct mb_error *err)
{
    struct redis_target *link;
    bool asking;
    unsigned node = route(sink, entry->slot, &asking);
    uint32_t at = (uint32_t)(place & (sink->capacity - 1));
    size_t bytes = 0;
    enum mb_status status;

    if (node >= sink->topology->nodes_count || sink->links[node].client == NULL)
        return mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "cluster-down",
                            "the node that serves stream \"%.200s\" cannot be reached",
                            (const char *)entry->stream.data);
    link = &sink->links[node];
    if (is_new && !asking)
        redis_multi_begin(sink, link, at);
    else
        redis_multi_end(link);
    if (asking) {
        redis_out_raw(&link->client->out, "*1\r\n$6\r\nASKING\r\n", 16);
        redis_expect(link, REDIS_EXPECT_ASKING);
    }
    status = put_entry(sink, entry, link, &bytes, err);
    if (status != MB_OK)
        return status;
    redis_expect(link, at);
    redis_multi_added(sink, link, bytes);
    entry->node = (uint8_t)node;
    entry->state = REDIS_STATE_OPEN;
    sink->open_count++;
    return MB_OK;
}

static enum mb_status send_one(struct mb_sink *sink, const struct mb_outgoing *item,
                               struct mb_error *err)
{
    struct redis_outstanding *entry = redis_at_place(sink, sink->head);
    enum mb_status status;

    *entry = (struct redis_outstanding){.sequence = item->sequence,
                                        .message = item->message,
                                        .stream = item->names[REDIS_NAME_STREAM]};
    if (sink->topology->cluster)
        entry->slot = (uint16_t)redis_slot_of(entry->stream);
    status = sink->once != NULL ? redis_once_admit(sink->once, entry, err) : MB_OK;
    if (status == MB_OK)
        status = redis_sink_transmit(sink, entry, sink->head, true, err);
    if (status == MB_OK) {
        if (sink->once != NULL)
            redis_once_sent(sink->once, entry);
        sink->head++;
    } else if (status == MB_REJECTED) {
        snprintf(sink->reason, sizeof sink->reason, "%s", err->reason);
        redis_refuse_item(sink, item->sequence, MB_CAUSE_MESSAGE, sink->reason, err->text);
        status = MB_OK;
    }
    return status;
}

enum mb_status redis_sink_write_out(struct mb_sink *sink, struct mb_error *err)
{
    enum mb_status result = MB_OK;

    sink->full = false;
    for (size_t i = 0; i < sink->topology->nodes_count; i++) {
        struct redis_target *link = &sink->links[i];
        enum mb_status status;

        if (link->client == NULL)
            continue;
        if (sink->options->wait_replicas > 0 && link->unwaited > 0) {
            redis_multi_end(link); /* within it, nothing waits */
            redis_out_array(&link->client->out, 3);
            redis_out_text(&link->client->out, "WAIT");
            redis_out_number(&link->client->out, (uint64_t)sink->options->wait_replicas);
            redis_out_number(&link->client->out, (uint64_t)sink->options->wait_timeout_ms);
            redis_expect(link, REDIS_EXPECT_WAIT);
        }
        link->unwaited = 0;
        link->multi.is_next = false;
        status = redis_client_write(link->client, err);
        if (status == MB_DISCONNECTED)
            return status;
        if (status == MB_AGAIN) {
            sink->full = true;
            result = MB_AGAIN;
        }
    }
    return result;
}

enum mb_status redis_sink_send(struct mb_sink *sink, const struct mb_outgoing *items, size_t count,
                               size_t *ret_taken, struct mb_error *err)
{
    enum mb_status status;

    for (*ret_taken = 0; *ret_taken < count; ++*ret_taken) {
        if (sink->full) {
            status = redis_sink_write_out(sink, err);
            if (status != MB_OK)
                return status;
        }
        if (sink->redirecting || !has_room(sink) || (sink->once != NULL && sink->refusals > 0))
            return MB_AGAIN;
        status = send_one(sink, &items[*ret_taken], err);
        if (status == MB_AGAIN)
            return MB_AGAIN;
        if (status != MB_OK) {
            err->status = MB_DISCONNECTED;
            return MB_DISCONNECTED;
        }
    }
    return MB_OK;
}
