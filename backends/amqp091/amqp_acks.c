/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a source tells its broker of finished messages.
 *
 * A frame of its own for each batch costs both sides a wake-up. So acknowledgements of a scope are
 * gathered, for a few milliseconds after the last ones went and for a share of the prefetch at the
 * most, and go as one frame; the first ones after a rest go at once. What is gathered when the
 * connection ends comes again, as does all else that is open then: the prefetch bounds both.
 */
#include "amqp_source.h"

#define ACK_INTERVAL_MS 3
/* The broker sends on meanwhile: it has been told of the rest. */
#define ACK_SHARE 16u

void amqp_acks_init(struct mb_source *source, unsigned prefetch)
{
    source->gather_max = prefetch / ACK_SHARE > 0 ? prefetch / ACK_SHARE : 1;
}

static void put_gathered(struct mb_source *source, uint32_t at, struct amqp_writer *writer)
{
    struct amqp_scope *scope = &source->scopes[at];

    if (scope->gathered == 0)
        return;
    amqp_frame_ack(writer, at + 1, scope->gathered_token, scope->gathered_outcome);
    scope->gathered = 0;
}

static void gather(struct mb_source *source, const struct mb_ack *ack, enum mb_outcome outcome,
                   struct amqp_writer *writer)
{
    struct amqp_scope *scope = &source->scopes[ack->scope];

    if (scope->gathered_outcome != outcome)
        put_gathered(source, ack->scope, writer);
    scope->gathered_outcome = outcome;
    scope->gathered_token = ack->token;
    scope->gathered += ack->count > 0 ? ack->count : 1;
    if (scope->gathered >= source->gather_max)
        source->gather_until_ms = 0;
    source->has_gathered = true;
}

static void put_one(struct mb_source *source, const struct mb_ack *ack, struct amqp_writer *writer)
{
    bool reads_stream = source->store != NULL;
    enum mb_outcome outcome = (enum mb_outcome)ack->outcome;

    /* A tag of another epoch is none of this channel's: the broker would close it. */
    if (ack->scope >= source->scopes_count || ack->epoch != source->scopes[ack->scope].epoch)
        return;
    if (reads_stream) {
        /* What is released is not done: the position stays before it. */
        if (outcome == MB_RELEASED)
            return;
        amqp_store_note(source->store, ack->scope, ack->position.lo + 1);
        source->scopes[ack->scope].acked_token = ack->token;
        outcome = MB_ACCEPTED;
    }
    /* Without basic.nack the end of the channel gives it back. */
    if (outcome != MB_ACCEPTED && !source->client->has_nack)
        return;
    if (source->options->ack_singly && !reads_stream)
        amqp_frame_ack_one(writer, ack->scope + 1, ack->token, outcome);
    else
        gather(source, ack, outcome, writer);
}

enum mb_status amqp_acks_write(struct mb_source *source, struct mb_error *err)
{
    struct amqp_client *client = source->client;
    struct amqp_writer writer = amqp_client_writer(client);
    enum mb_status status;

    for (uint32_t i = 0; i < source->scopes_count; i++)
        put_gathered(source, i, &writer);
    source->has_gathered = false;
    source->gather_until_ms = source->host->monotonic_ms(source->host->context) + ACK_INTERVAL_MS;
    if (!amqp_client_commit(client, &writer))
        return amqp_client_fail(client, err, "stuck", "the broker does not take acknowledgements");
    status = amqp_client_write(client, err);
    return status == MB_AGAIN ? MB_OK : status;
}

enum mb_status amqp_acks_service(struct mb_source *source, struct mb_error *err)
{
    if (!source->has_gathered ||
        source->host->monotonic_ms(source->host->context) < source->gather_until_ms)
        return MB_OK;
    return amqp_acks_write(source, err);
}

enum mb_status amqp_source_ack(struct mb_source *source, const struct mb_ack *acks, size_t count,
                               struct mb_error *err)
{
    struct amqp_client *client = source->client;
    struct amqp_writer writer = amqp_client_writer(client);
    enum mb_status status;

    for (size_t i = 0; i < count; i++)
        put_one(source, &acks[i], &writer);
    if (!amqp_client_commit(client, &writer))
        return amqp_client_fail(client, err, "stuck", "the broker does not take acknowledgements");
    status = amqp_client_write(client, err);
    if (status != MB_OK && status != MB_AGAIN)
        return status;
    return amqp_acks_service(source, err);
}
