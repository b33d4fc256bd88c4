/* SPDX-License-Identifier: Apache-2.0 */
/* Messages as the client library's own: built, encoded and decoded by pn_message. */
#include "raw_amqp10.h"

#include <proton/codec.h>
#include <proton/message.h>
#include <string.h>

/* One for all, as the library advises: it keeps its memory. */
static pn_message_t *the_message(void)
{
    static pn_message_t *message;

    if (message == NULL && (message = pn_message()) == NULL)
        raw_die("no memory");
    return message;
}

static void put_headers(pn_message_t *message, uint64_t headers)
{
    pn_data_t *properties = pn_message_properties(message);
    char name[RAW_HEADER_NAME + 1];
    char value[RAW_HEADER_SIZE + 1];

    pn_data_put_map(properties);
    pn_data_enter(properties);
    for (uint64_t i = 0; i < headers; i++) {
        raw_header(name, value, i);
        pn_data_put_string(properties, pn_bytes(RAW_HEADER_NAME, name));
        pn_data_put_string(properties, pn_bytes(RAW_HEADER_SIZE, value));
    }
    pn_data_exit(properties);
}

static void send_message(pn_link_t *link, const struct raw_spec *spec, char *body, uint64_t number)
{
    static pn_rwbytes_t buffer; /* which the library makes as large as it has to be */
    pn_message_t *message = the_message();
    pn_data_t *annotations = pn_message_annotations(message);
    char key[RAW_KEY_SIZE + 1];

    pn_message_clear(message);
    pn_message_set_durable(message, true);
    pn_message_set_inferred(message, true); /* a body of bytes is a data section */
    raw_key(key, number);
    pn_data_put_map(annotations);
    pn_data_enter(annotations);
    pn_data_put_symbol(annotations, pn_bytes(sizeof RAW_KEY_HEADER - 1, RAW_KEY_HEADER));
    pn_data_put_binary(annotations, pn_bytes(RAW_KEY_SIZE, key));
    pn_data_exit(annotations);
    if (spec->headers > 0)
        put_headers(message, spec->headers);
    if (spec->is_stamped)
        raw_stamp(body);
    pn_data_put_binary(pn_message_body(message), pn_bytes(spec->size, body));
    if (pn_message_send(message, link, &buffer) < 0)
        raw_die("a message that cannot be sent: %s", pn_error_text(pn_message_error(message)));
}

static pn_bytes_t body_of(pn_bytes_t encoded)
{
    pn_message_t *message = the_message();
    pn_data_t *body = pn_message_body(message);

    if (pn_message_decode(message, encoded.start, encoded.size) != 0)
        raw_die("a message that cannot be read: %s", pn_error_text(pn_message_error(message)));
    if (!pn_data_next(body) || pn_data_type(body) != PN_BINARY)
        raw_die("a message without bytes");
    return pn_data_get_binary(body);
}

const struct amqp10_coder amqp10_client = {.send = send_message, .body = body_of};
