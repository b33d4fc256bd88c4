/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMQP 1.0 message ↔ envelope, by the tables of docs/fidelity.md. Pure: no I/O, no clock, no
 * library. Source: OASIS AMQP 1.0, Part 3: Messaging, section 3.2.
 */
#ifndef AMQP10_MAP_H
#define AMQP10_MAP_H

#include <kit/carry.h>

#define AMQP10_PLATFORM "amqp10"

/* A complete message as it came in transfers. Slices of *message point into bytes, which lie in the
 * arena too, or live as long; everything else is put there. Sets raw to the bare message
 * (MB_RAW_AMQP10_BARE), promotes nothing, takes x-opt-mbridge-… annotations as carriers. What
 * cannot be decoded is still handed over: body is the bytes as they came, reject_reason is set.
 * *ret_bytes: key, body, headers. MB_NO_MEMORY is the only failure. now_ms is not needed: ttl and
 * absolute-expiry are carried as they are. */
enum mb_status amqp10_decode(struct mb_slice bytes, struct mb_arena *arena,
                             struct mb_message *message, uint64_t *ret_bytes);

/* mb_project_fn: what an AMQP 1.0 reader sees. context: struct amqp10_encoding. MB_REJECTED has
 * reason "body". */
enum mb_status amqp10_project(void *context, const struct mb_outgoing *item,
                              const struct mb_message *message, struct mb_scratch *scratch,
                              struct mb_message *natural, struct mb_error *err);

struct amqp10_encoding {
    bool durable_default; /* header.durable where the message does not say (option persistent) */
    bool group_from_key;  /* group-id := key, by option */
    bool trust_user_id;   /* user-id as a property */
    int64_t to_from_slot; /* index of the outgoing name that becomes `to`, or -1 */
    /* Tells a message from others at the broker: instead of an application property of that name.
     * name null: none. */
    struct mb_slice own_name;
    struct mb_slice own_value;
};

/* Appends the sections of a message to out: annotations with the carriers, then the bare message
 * (byte for byte the source's where carried->verbatim and it has raw, unless `to` is to change),
 * then the footer. delivery-count is not written. On failure out is as before; MB_REJECTED has
 * MB_CAUSE_MESSAGE and reason "size" or "value". */
enum mb_status amqp10_encode(const struct amqp10_encoding *encoding, const struct mb_outgoing *item,
                             const struct mb_carried *carried, struct mb_text *out,
                             struct mb_error *err);

#endif
