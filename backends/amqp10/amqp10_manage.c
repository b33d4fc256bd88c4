/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to a broker's management node: one request message, one answer. RabbitMQ 4 speaks HTTP
 * in AMQP there (methods, paths and status codes as properties, over a pair of links of one name);
 * Artemis takes operations as application properties and answers JSON.
 */
#include "amqp10_manage.h"

#include <proton/codec.h>
#include <proton/delivery.h>
#include <proton/terminus.h>
#include <stdlib.h>

#define ANSWER_MAX ((size_t)1 << 20)
#define LINK_NAME  "mbridge-management"
#define ANSWERS    "$me"

static void say_paired(pn_link_t *link)
{
    pn_data_t *properties = pn_link_properties(link);

    pn_data_put_map(properties);
    pn_data_enter(properties);
    pn_data_put_symbol(properties, pn_bytes(6, "paired"));
    pn_data_put_bool(properties, true);
    pn_data_exit(properties);
    pn_link_set_snd_settle_mode(link, PN_SND_SETTLED);
}

static enum mb_status make_links(struct amqp10_management *management, const char *node,
                                 struct mb_error *err)
{
    management->session = amqp10_client_session(management->client, ANSWER_MAX);
    if (management->session != NULL) {
        management->sender = pn_sender(management->session, LINK_NAME);
        management->receiver =
            pn_receiver(management->session, management->paired ? LINK_NAME : LINK_NAME "-answers");
    }
    if (management->sender == NULL || management->receiver == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    pn_terminus_set_address(pn_link_target(management->sender), node);
    pn_terminus_set_address(pn_link_source(management->sender), ANSWERS);
    if (management->paired) {
        pn_terminus_set_address(pn_link_source(management->receiver), node);
        pn_terminus_set_address(pn_link_target(management->receiver), ANSWERS);
        say_paired(management->sender);
        say_paired(management->receiver);
    } else {
        pn_terminus_set_type(pn_link_source(management->receiver), PN_SOURCE);
        pn_terminus_set_dynamic(pn_link_source(management->receiver), true);
    }
    pn_link_open(management->sender);
    pn_link_open(management->receiver);
    return MB_OK;
}

static enum mb_status open_links(struct amqp10_management *management, const char *node,
                                 int64_t deadline_ms, struct mb_error *err)
{
    char what[160];
    enum mb_status status;

    if (management->session != NULL)
        return MB_OK;
    snprintf(what, sizeof what, "management node \"%.100s\"", node);
    status = make_links(management, node, err);
    if (status == MB_OK)
        status = amqp10_link_await(management->client, management->sender, what, deadline_ms, err);
    if (status == MB_OK)
        status =
            amqp10_link_await(management->client, management->receiver, what, deadline_ms, err);
    return status;
}

/* Waits for something to come; MB_OK says no more than that. */
static enum mb_status await(struct amqp10_management *management, int64_t deadline_ms,
                            struct mb_error *err)
{
    struct amqp10_client *client = management->client;
    enum mb_status status = amqp10_client_await(client, deadline_ms, err);

    while (amqp10_client_event(client) != NULL)
        continue;
    if (client->failed)
        return amqp10_client_gone(client, err);
    if (status == MB_OK && (amqp10_link_look(client, management->sender, "management node", err) ==
                                AMQP10_LINK_REFUSED ||
                            amqp10_link_look(client, management->receiver, "management node",
                                             err) == AMQP10_LINK_REFUSED))
        return err->status;
    return status;
}

static enum mb_status send_request(struct amqp10_management *management, pn_message_t *request,
                                   int64_t deadline_ms, struct mb_error *err)
{
    const char *reply_to =
        management->paired ? ANSWERS
                           : pn_terminus_get_address(pn_link_remote_source(management->receiver));
    pn_delivery_t *delivery;

    if (reply_to == NULL)
        return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_DESTINATION, "management",
                            "%s: the broker gives no address for answers",
                            management->client->name);
    while (pn_link_credit(management->sender) <= 0) {
        enum mb_status status = await(management, deadline_ms, err);

        if (status != MB_OK)
            return status;
    }
    pn_message_set_reply_to(request, reply_to);
    pn_link_flow(management->receiver, 1);
    delivery = pn_delivery(management->sender, pn_dtag("1", 1));
    if (delivery == NULL || pn_message_send(request, management->sender, NULL) < 0)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    pn_delivery_settle(delivery);
    return MB_OK;
}

static enum mb_status take_answer(struct amqp10_management *management, pn_delivery_t *delivery,
                                  pn_message_t *answer, struct mb_error *err)
{
    const struct mb_host *host = management->client->host;
    size_t size = pn_delivery_pending(delivery);
    char *bytes = size <= ANSWER_MAX ? host->alloc(host->context, size + 1) : NULL;
    bool read = bytes != NULL && pn_link_recv(management->receiver, bytes, size) == (ssize_t)size &&
                pn_message_decode(answer, bytes, size) == 0;

    host->release(host->context, bytes);
    pn_link_advance(management->receiver);
    pn_delivery_update(delivery, PN_ACCEPTED);
    pn_delivery_settle(delivery);
    if (read)
        return MB_OK;
    return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_DESTINATION, "management",
                        "%s: the management node's answer cannot be read",
                        management->client->name);
}

static enum mb_status ask(struct amqp10_management *management, const char *node,
                          int64_t deadline_ms, pn_message_t *request, pn_message_t *answer,
                          struct mb_error *err)
{
    pn_delivery_t *delivery = NULL;
    enum mb_status status;

    if (management->refused)
        return mb_error_set(err, MB_UNSUPPORTED, MB_CAUSE_DESTINATION, "management",
                            "%s: the management node does not answer us", management->client->name);
    status = open_links(management, node, deadline_ms, err);
    if (status == MB_OK)
        status = send_request(management, request, deadline_ms, err);
    while (status == MB_OK && ((delivery = pn_link_current(management->receiver)) == NULL ||
                               pn_delivery_partial(delivery)))
        status = await(management, deadline_ms, err);
    if (status == MB_OK)
        status = take_answer(management, delivery, answer, err);
    management->refused = status != MB_OK;
    return status;
}

static void put_text(pn_data_t *data, const char *text)
{
    pn_data_put_string(data, pn_bytes(strlen(text), text));
}

/* RabbitMQ. */

/* {durable: true, exclusive: false, auto_delete: false, arguments: {…}} */
static void put_queue(pn_data_t *body, const struct amqp10_queue *queue)
{
    const struct {
        const char *name;
        bool value;
    } flags[] = {
        {"durable", !queue->exclusive}, {"exclusive", queue->exclusive}, {"auto_delete", false}};

    pn_data_put_map(body);
    pn_data_enter(body);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        put_text(body, flags[i].name);
        pn_data_put_bool(body, flags[i].value);
    }
    put_text(body, "arguments");
    pn_data_put_map(body);
    pn_data_enter(body);
    for (size_t i = 0; i < queue->arguments_count; i++) {
        const char *value = queue->arguments[i].value;
        char *rest;
        long long number = strtoll(value, &rest, 10);

        put_text(body, queue->arguments[i].name);
        if (value[0] != '\0' && *rest == '\0')
            pn_data_put_long(body, number);
        else if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
            pn_data_put_bool(body, value[0] == 't');
        else
            put_text(body, value);
    }
    pn_data_exit(body);
    pn_data_exit(body);
}

/* A number of the map in the answer's body; -1: it has none of that name. */
static int64_t number_of(pn_data_t *body, const char *name)
{
    int64_t number = -1;

    pn_data_rewind(body);
    if (!pn_data_next(body) || pn_data_type(body) != PN_MAP || !pn_data_enter(body))
        return -1;
    while (pn_data_next(body)) {
        pn_bytes_t key = pn_data_get_bytes(body);
        bool found = mb_slice_equal((struct mb_slice){key.start, key.size}, mb_slice_text(name));

        if (!pn_data_next(body))
            break;
        if (!found)
            continue;
        if (pn_data_type(body) == PN_ULONG && pn_data_get_ulong(body) <= INT64_MAX)
            number = (int64_t)pn_data_get_ulong(body);
        else if (pn_data_type(body) == PN_LONG)
            number = pn_data_get_long(body);
        else if (pn_data_type(body) == PN_UINT)
            number = pn_data_get_uint(body);
        else if (pn_data_type(body) == PN_INT)
            number = pn_data_get_int(body);
    }
    return number;
}

static enum mb_status status_error(const struct amqp10_client *client, const char *path, int code,
                                   pn_message_t *answer, struct mb_error *err)
{
    pn_data_t *body = pn_message_body(answer);
    char text[240] = "";

    pn_data_rewind(body);
    if (pn_data_next(body) && pn_data_type(body) == PN_STRING) {
        pn_bytes_t bytes = pn_data_get_bytes(body);
        char whole[240];

        snprintf(whole, sizeof whole, "%.*s", (int)bytes.size, bytes.start);
        amqp10_text_of(text, sizeof text, whole);
    }
    return mb_error_set(err,
                        code == 404                  ? MB_NOT_FOUND
                        : code == 401 || code == 403 ? MB_DENIED
                                                     : MB_DISCONNECTED,
                        MB_CAUSE_DESTINATION,
                        code == 404                  ? "missing"
                        : code == 401 || code == 403 ? "forbidden"
                        : code == 409                ? "precondition"
                                                     : "refused",
                        "%s: \"%.120s\": the management node says %d %s", client->name, path, code,
                        text);
}

static enum mb_status ask_rabbit(struct amqp10_management *management, const char *method,
                                 const char *path, const struct amqp10_queue *queue,
                                 int64_t deadline_ms, struct amqp10_counts *ret_counts,
                                 struct mb_error *err)
{
    pn_message_t *request = pn_message();
    pn_message_t *answer = pn_message();
    enum mb_status status;
    const char *subject;
    int code;

    if (request == NULL || answer == NULL) {
        status = mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
        goto out;
    }
    pn_message_set_id(request, (pn_msgid_t){.type = PN_STRING, .u.as_bytes = pn_bytes(1, "1")});
    pn_message_set_subject(request, method);
    pn_message_set_address(request, path);
    if (queue != NULL)
        put_queue(pn_message_body(request), queue);
    else
        pn_data_put_null(pn_message_body(request));
    management->paired = true;
    status = ask(management, "/management", deadline_ms, request, answer, err);
    if (status != MB_OK)
        goto out;
    subject = pn_message_get_subject(answer);
    code = subject != NULL ? atoi(subject) : 0;
    if (code / 100 != 2)
        status = status_error(management->client, path, code, answer, err);
    else
        *ret_counts = (struct amqp10_counts){
            .messages = number_of(pn_message_body(answer), "message_count"),
            .consumers = number_of(pn_message_body(answer), "consumer_count")};
out:
    pn_message_free(request);
    pn_message_free(answer);
    return status;
}

enum mb_status amqp10_rabbit_look(struct amqp10_management *management, const char *address,
                                  int64_t deadline_ms, struct amqp10_counts *ret_counts,
                                  struct mb_error *err)
{
    return ask_rabbit(management, "GET", address, NULL, deadline_ms, ret_counts, err);
}

enum mb_status amqp10_rabbit_declare(struct amqp10_management *management, const char *address,
                                     const struct amqp10_queue *queue, int64_t deadline_ms,
                                     struct mb_error *err)
{
    struct amqp10_counts unused;

    return ask_rabbit(management, "PUT", address, queue, deadline_ms, &unused, err);
}

enum mb_status amqp10_rabbit_delete(struct amqp10_management *management, const char *address,
                                    int64_t deadline_ms, struct mb_error *err)
{
    struct amqp10_counts unused;

    return ask_rabbit(management, "DELETE", address, NULL, deadline_ms, &unused, err);
}

/* Artemis. */

static bool answer_says(pn_message_t *answer, const char *name)
{
    pn_data_t *properties = pn_message_properties(answer);
    bool value = false;

    pn_data_rewind(properties);
    if (!pn_data_next(properties) || pn_data_type(properties) != PN_MAP ||
        !pn_data_enter(properties))
        return false;
    while (pn_data_next(properties)) {
        pn_bytes_t key = pn_data_get_bytes(properties);
        bool found = mb_slice_equal((struct mb_slice){key.start, key.size}, mb_slice_text(name));

        if (!pn_data_next(properties))
            break;
        if (found && pn_data_type(properties) == PN_BOOL)
            value = pn_data_get_bool(properties);
    }
    return value;
}

/* One question: words are the property that says what is asked, and its value. The answer is JSON
 * text, in *ret_json as long as answer lives. */
static enum mb_status ask_artemis(struct amqp10_management *management, const char *resource,
                                  const char *const *words, const char *arguments,
                                  int64_t deadline_ms, pn_message_t *answer,
                                  struct mb_slice *ret_json, struct mb_error *err)
{
    pn_message_t *request = pn_message();
    enum mb_status status;
    pn_data_t *data;

    if (request == NULL || answer == NULL) {
        pn_message_free(request);
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    }
    data = pn_message_properties(request);
    pn_data_put_map(data);
    pn_data_enter(data);
    put_text(data, "_AMQ_ResourceName");
    put_text(data, resource);
    put_text(data, words[0]);
    put_text(data, words[1]);
    pn_data_exit(data);
    put_text(pn_message_body(request), arguments);
    status = ask(management, "activemq.management", deadline_ms, request, answer, err);
    pn_message_free(request);
    if (status != MB_OK)
        return status;
    if (!answer_says(answer, "_AMQ_OperationSucceeded"))
        return mb_error_set(err, MB_NOT_FOUND, MB_CAUSE_DESTINATION, "missing",
                            "%s: there is no %.200s", management->client->name, resource);
    data = pn_message_body(answer);
    pn_data_rewind(data);
    *ret_json = MB_SLICE_LITERAL("[]");
    if (pn_data_next(data) && pn_data_type(data) == PN_STRING) {
        pn_bytes_t bytes = pn_data_get_bytes(data);

        *ret_json = (struct mb_slice){bytes.start, bytes.size};
    }
    return MB_OK;
}

const char *amqp10_artemis_queue(const char *address)
{
    const char *at = strstr(address, "::");
    const char *scheme = strstr(address, "://");

    if (at != NULL)
        return at + 2;
    return scheme != NULL ? scheme + 3 : address;
}

enum mb_status amqp10_artemis_look(struct amqp10_management *management, const char *kind,
                                   const char *name, const char *attribute, int64_t deadline_ms,
                                   int64_t *ret_number, struct mb_error *err)
{
    const char *const words[] = {"_AMQ_Attribute", attribute};
    pn_message_t *answer = pn_message();
    char resource[AMQP10_NAME_MAX];
    char text[32];
    struct mb_slice json;
    enum mb_status status;

    *ret_number = -1;
    snprintf(resource, sizeof resource, "%s.%s", kind, name);
    status = ask_artemis(management, resource, words, "[]", deadline_ms, answer, &json, err);
    if (status == MB_OK && json.size < sizeof text) {
        memcpy(text, json.data, json.size);
        text[json.size] = '\0';
        if (text[0] == '[' && text[1] >= '0' && text[1] <= '9')
            *ret_number = strtoll(text + 1, NULL, 10);
    }
    pn_message_free(answer);
    return status;
}

/* A JSON string from behind its first quote into name; what does not fit is cut off. Returns what
 * follows it. Escapes beyond ASCII are not undone: Artemis writes UTF-8 as it is. */
static const char *take_string(const char *at, const char *end, char *name, size_t size)
{
    size_t length = 0;

    for (; at < end && *at != '"'; at++) {
        char byte = *at;

        if (byte == '\\' && at + 1 < end) {
            byte = *++at;
            if (byte == 'u' && end - at > 4) {
                char code[5] = {at[1], at[2], at[3], at[4], '\0'};

                byte = (char)(strtoul(code, NULL, 16) & 0x7f);
                at += 4;
            }
        }
        if (length + 1 < size)
            name[length++] = byte;
    }
    name[length] = '\0';
    return at < end ? at + 1 : end;
}

enum mb_status amqp10_artemis_list(struct amqp10_management *management, int64_t deadline_ms,
                                   void (*each)(void *context, const char *name), void *context,
                                   struct mb_error *err)
{
    static const char *const words[] = {"_AMQ_OperationName", "getQueueNames"};
    pn_message_t *answer = pn_message();
    struct mb_slice json;
    enum mb_status status =
        ask_artemis(management, "broker", words, "[\"ANYCAST\"]", deadline_ms, answer, &json, err);

    if (status == MB_OK) {
        const char *at = json.data;
        const char *end = at + json.size;
        char name[AMQP10_NAME_MAX];

        while (at < end) {
            if (*at++ != '"')
                continue;
            at = take_string(at, end, name, sizeof name);
            each(context, name);
        }
    }
    pn_message_free(answer);
    return status;
}
