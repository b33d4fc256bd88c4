/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AMQP 0-9-1 halves of a bridge: raw_amqp091 consume|publish HOST:PORT QUEUE COUNT SIZE …
 * as guest, virtual host "/", a queue that exists.
 *
 * publish: persistent, mandatory, a window of confirms. consume: prefetch, acknowledged `multiple`
 * for all that one read brought.
 */
#include "raw_amqp091.h"

#include <stdlib.h>
#include <string.h>

#define PREFETCH 2000u

static void check(amqp_rpc_reply_t reply, const char *what)
{
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        raw_die("%s: %s", what, amqp_error_string2(reply.library_error));
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        raw_die("%s: refused by the broker", what);
}

static amqp_connection_state_t connect_to(const char *address)
{
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    char host[64] = "";
    const char *colon = strrchr(address, ':');

    if (colon == NULL || (size_t)(colon - address) >= sizeof host)
        raw_die("'%s' is no HOST:PORT", address);
    memcpy(host, address, (size_t)(colon - address));
    if (amqp_socket_open(socket, host, atoi(colon + 1)) != AMQP_STATUS_OK)
        raw_die("no connection to %s", address);
    check(amqp_login(connection, "/", 0, AMQP091_FRAME_MAX, 0, AMQP_SASL_METHOD_PLAIN, "guest",
                     "guest"),
          "login");
    amqp_channel_open(connection, AMQP091_CHANNEL);
    check(amqp_get_rpc_reply(connection), "channel");
    return connection;
}

static void subscribe(amqp_connection_state_t connection, const struct raw_spec *spec)
{
    uint64_t prefetch = spec->window > 0 ? spec->window : PREFETCH;
    /* Without an answer: who reads by hand lets the library read nothing from here on. */
    amqp_basic_consume_t consume = {.queue = amqp_cstring_bytes(spec->stream),
                                    .consumer_tag = amqp_cstring_bytes("raw"),
                                    .nowait = 1};

    amqp_basic_qos(connection, AMQP091_CHANNEL, 0, (uint16_t)prefetch, 0);
    check(amqp_get_rpc_reply(connection), "qos");
    if (amqp_send_method(connection, AMQP091_CHANNEL, AMQP_BASIC_CONSUME_METHOD, &consume) !=
        AMQP_STATUS_OK)
        raw_die("no consumer");
}

void amqp091_open(struct amqp091 *half, const struct raw_spec *spec)
{
    memset(half, 0, sizeof *half);
    half->spec = spec;
    half->body = raw_body(spec);
    half->connection = connect_to(spec->address);
    if (!spec->is_sink) {
        subscribe(half->connection, spec);
        return;
    }
    half->seen = calloc(spec->count + 1, 1);
    if (half->seen == NULL)
        raw_die("no memory");
    amqp_confirm_select(half->connection, AMQP091_CHANNEL);
    check(amqp_get_rpc_reply(half->connection), "confirm.select");
}

void amqp091_close(struct amqp091 *half)
{
    if (!half->spec->is_sink)
        amqp_connection_close(half->connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(half->connection);
    free(half->seen);
}

void amqp091_note_confirm(struct amqp091 *half, uint64_t tag, bool multiple)
{
    uint64_t first = multiple ? half->covered + 1 : tag;

    if (tag > half->published)
        raw_die("confirmed what was not published");
    for (uint64_t i = first; i <= tag; i++) {
        half->confirmed += half->seen[i] == 0;
        half->seen[i] = 1;
    }
    if (multiple && tag > half->covered)
        half->covered = tag;
}

void amqp091_take_deliver(struct amqp091 *half, uint64_t tag)
{
    half->tag = tag;
}

void amqp091_take_header(struct amqp091 *half, uint64_t body_size)
{
    half->left = body_size;
    if (body_size != half->spec->size)
        raw_die("a message of %llu bytes", (unsigned long long)body_size);
}

void amqp091_take_body(struct amqp091 *half, struct raw_meter *meter, const void *part, size_t size)
{
    const struct raw_spec *spec = half->spec;

    if (half->left == spec->size && spec->is_stamped)
        memcpy(half->stamp, part, RAW_STAMP_SIZE);
    if (size > half->left)
        raw_die("more than a body");
    half->left -= size;
    if (half->left > 0)
        return;
    half->whole_tag = half->tag;
    /* Only the stamp is kept of a body; what is after it does not matter. */
    raw_take(meter, spec, spec->is_stamped ? half->stamp : NULL, spec->size);
}

int main(int argc, char **argv)
{
    struct raw_spec spec;

    raw_read_arguments(&spec, argc, argv, "consume", "publish");
    raw_run(&spec, spec.is_bare ? &raw_amqp091_bare : &raw_amqp091_client);
    return 0;
}
