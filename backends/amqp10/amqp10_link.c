/* SPDX-License-Identifier: Apache-2.0 */
/* Attaching links, and what has become of them. */
#include "amqp10.h"

#include <proton/codec.h>
#include <proton/terminus.h>

/* The registered descriptor of a JMS selector, and the name that brokers know it by. */
#define SELECTOR_CODE UINT64_C(0x0000468C00000004)
#define SELECTOR_NAME "jms-selector"

static pn_bytes_t bytes_of(const char *text)
{
    return pn_bytes(strlen(text), text);
}

static void put_capabilities(pn_terminus_t *terminus, const struct mb_strings *capabilities)
{
    pn_data_t *data = pn_terminus_capabilities(terminus);

    if (capabilities->count == 0)
        return;
    if (capabilities->count == 1) {
        pn_data_put_symbol(data, bytes_of(capabilities->items[0]));
        return;
    }
    pn_data_put_array(data, false, PN_SYMBOL);
    pn_data_enter(data);
    for (size_t i = 0; i < capabilities->count; i++)
        pn_data_put_symbol(data, bytes_of(capabilities->items[i]));
    pn_data_exit(data);
}

static void put_selector(pn_terminus_t *terminus, const char *selector)
{
    pn_data_t *data = pn_terminus_filter(terminus);

    pn_data_put_map(data);
    pn_data_enter(data);
    pn_data_put_symbol(data, bytes_of(SELECTOR_NAME));
    pn_data_put_described(data);
    pn_data_enter(data);
    pn_data_put_ulong(data, SELECTOR_CODE);
    pn_data_put_string(data, bytes_of(selector));
    pn_data_exit(data);
    pn_data_exit(data);
}

/* Outcomes that we may give, and what the broker is to take where we give none. */
static void put_outcomes(pn_terminus_t *source)
{
    static const char *const outcomes[] = {"amqp:accepted:list", "amqp:rejected:list",
                                           "amqp:released:list", "amqp:modified:list"};
    pn_data_t *data = pn_terminus_outcomes(source);

    pn_data_put_array(data, false, PN_SYMBOL);
    pn_data_enter(data);
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
        pn_data_put_symbol(data, bytes_of(outcomes[i]));
    pn_data_exit(data);
}

static void describe_far_end(pn_terminus_t *terminus, const struct amqp10_link_spec *spec)
{
    if (spec->dynamic)
        pn_terminus_set_dynamic(terminus, true);
    else if (spec->address != NULL)
        pn_terminus_set_address(terminus, spec->address);
    put_capabilities(terminus, &spec->capabilities);
}

pn_link_t *amqp10_link_attach(struct amqp10_client *client, pn_session_t *session,
                              const struct amqp10_link_spec *spec)
{
    char name[64];
    pn_link_t *link;
    pn_terminus_t *source;
    pn_terminus_t *target;

    /* The container's id is ours alone, unless the caller names the link. */
    snprintf(name, sizeof name, "mbridge-%u", (unsigned)client->links_count++);
    link = spec->is_sender ? pn_sender(session, spec->name != NULL ? spec->name : name)
                           : pn_receiver(session, spec->name != NULL ? spec->name : name);
    if (link == NULL)
        return NULL;
    source = pn_link_source(link);
    target = pn_link_target(link);
    put_outcomes(source);
    pn_link_set_snd_settle_mode(link, PN_SND_UNSETTLED);
    pn_link_set_rcv_settle_mode(link, PN_RCV_FIRST);
    /* RabbitMQ 3 makes the queue as durable as the terminus, and refuses one that is otherwise. */
    if (client->product == AMQP10_PRODUCT_RABBIT_3)
        pn_terminus_set_durability(spec->is_sender ? target : source, PN_DELIVERIES);
    if (spec->is_sender) {
        pn_terminus_set_type(target, PN_TARGET);
        describe_far_end(target, spec);
        pn_terminus_set_address(source, pn_link_name(link));
    } else {
        describe_far_end(source, spec);
        pn_terminus_set_address(target, pn_link_name(link));
        pn_link_set_max_message_size(link, AMQP10_MESSAGE_MAX);
        if (spec->browses)
            pn_terminus_set_distribution_mode(source, PN_DIST_MODE_COPY);
        if (spec->durable) {
            pn_terminus_set_durability(source, PN_DELIVERIES);
            pn_terminus_set_expiry_policy(source, PN_EXPIRE_NEVER);
            pn_terminus_set_distribution_mode(source, PN_DIST_MODE_COPY);
        }
        if (spec->selector != NULL)
            put_selector(source, spec->selector);
    }
    pn_link_open(link);
    return link;
}

static bool has_terminus(pn_link_t *link)
{
    pn_terminus_t *remote =
        pn_link_is_sender(link) ? pn_link_remote_target(link) : pn_link_remote_source(link);

    return pn_terminus_get_type(remote) != PN_UNSPECIFIED;
}

/* A filter that the broker does not apply is missing in its answer: everything would come. */
static bool selector_is_ignored(pn_link_t *link)
{
    pn_data_t *wanted;
    pn_data_t *given;

    if (pn_link_is_sender(link))
        return false;
    wanted = pn_terminus_filter(pn_link_source(link));
    given = pn_terminus_filter(pn_link_remote_source(link));
    if (pn_data_size(wanted) == 0)
        return false;
    pn_data_rewind(given);
    return !pn_data_next(given) || pn_data_type(given) != PN_MAP || pn_data_get_map(given) == 0;
}

enum amqp10_link_state amqp10_link_look(struct amqp10_client *client, pn_link_t *link,
                                        const char *what, struct mb_error *err)
{
    pn_session_t *session = pn_link_session(link);

    if (pn_link_state(link) & PN_REMOTE_CLOSED) {
        amqp10_condition_error(client, pn_link_remote_condition(link), what, err);
        return AMQP10_LINK_REFUSED;
    }
    /* RabbitMQ ends the session over a link that it refuses. */
    if (pn_session_state(session) & PN_REMOTE_CLOSED) {
        amqp10_condition_error(client, pn_session_remote_condition(session), what, err);
        return AMQP10_LINK_REFUSED;
    }
    /* An attach without a terminus is a refusal whose reason follows. */
    if ((pn_link_state(link) & PN_REMOTE_ACTIVE) == 0 || !has_terminus(link))
        return AMQP10_LINK_PENDING;
    if (selector_is_ignored(link)) {
        mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_DESTINATION, "selector",
                     "%s: %s: the broker does not apply the selector", client->name, what);
        return AMQP10_LINK_REFUSED;
    }
    return AMQP10_LINK_OPEN;
}

enum mb_status amqp10_link_await(struct amqp10_client *client, pn_link_t *link, const char *what,
                                 int64_t deadline_ms, struct mb_error *err)
{
    for (;;) {
        enum mb_status status;

        while (amqp10_client_event(client) != NULL)
            continue;
        switch (amqp10_link_look(client, link, what, err)) {
        case AMQP10_LINK_OPEN:
            return MB_OK;
        case AMQP10_LINK_REFUSED:
            return err->status;
        case AMQP10_LINK_PENDING:
            break;
        }
        if (client->failed) {
            *err = client->failure;
            return err->status;
        }
        status = amqp10_client_await(client, deadline_ms, err);
        if (status != MB_OK)
            return status;
    }
}
