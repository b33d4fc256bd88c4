/* SPDX-License-Identifier: Apache-2.0 */
#include "generate.h"

#include "kit/field.h"
#include "kit/flatten.h"
#include "kit/text.h"
#include "kit/utf8.h"

#include <stdlib.h>

#define FIELDS_COUNT  20u
#define HEADERS_MAX   9u
#define ITEMS_MAX     4u
#define DEPTH_MAX     3u
#define LONG_SIZE_MAX 600u

void generator_seed(struct generator *generator, uint64_t seed, struct mb_scratch *scratch)
{
    *generator =
        (struct generator){.state = seed * UINT64_C(0xd1342543de82ef95), .scratch = scratch};
}

void generator_bytes(struct generator *generator, const void *data, size_t size,
                     struct mb_scratch *scratch)
{
    *generator = (struct generator){.at = data, .left = size, .scratch = scratch};
}

static uint64_t next_random(struct generator *generator)
{
    uint64_t mixed = generator->state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

static uint8_t next_byte(struct generator *generator)
{
    if (generator->at == NULL)
        return (uint8_t)next_random(generator);
    if (generator->left == 0)
        return 0;
    generator->left--;
    return *generator->at++;
}

uint32_t generator_below(struct generator *generator, uint32_t bound)
{
    uint32_t number = next_byte(generator);

    if (bound > 256)
        number = number << 8 | next_byte(generator);
    return number % bound;
}

static void *alloc(struct generator *generator, size_t size)
{
    void *memory = mb_arena_alloc(&generator->scratch->arena, size);

    if (memory == NULL)
        abort();
    return memory;
}

uint64_t generate_number(struct generator *generator, unsigned bits)
{
    uint64_t mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    uint64_t number = 0;

    switch (generator_below(generator, 5)) {
    case 0:
        return generator_below(generator, 4);
    case 1:
        return mask - generator_below(generator, 3);
    case 2:
        return (mask >> 1) + generator_below(generator, 3);
    case 3:
        return generator_below(generator, 256) & mask;
    default:
        for (unsigned i = 0; i < bits; i += 8)
            number = number << 8 | next_byte(generator);
        return number & mask;
    }
}

static int64_t signed_number(struct generator *generator, unsigned bits)
{
    uint64_t number = generate_number(generator, bits);

    if (bits < 64 && number >> (bits - 1) != 0)
        number |= UINT64_MAX << bits;
    return (int64_t)number;
}

static struct mb_slice sized(struct generator *generator, uint32_t size)
{
    unsigned char *bytes = alloc(generator, size);

    for (uint32_t i = 0; i < size; i++)
        bytes[i] = next_byte(generator);
    return (struct mb_slice){bytes, size};
}

struct mb_slice generate_bytes(struct generator *generator, uint32_t size_max)
{
    return sized(generator, generator_below(generator, size_max + 1));
}

struct mb_slice generate_text(struct generator *generator, uint32_t size_max)
{
    static const char *const parts[] = {
        "a", "b",  "x-",  "-",  "1",         "true", "Ω", "\xF0\x9F\x90\x87",
        " ", "\n", "%00", "\"", "urn:uuid:", "/",    "é"};
    uint32_t wanted = generator_below(generator, size_max + 1);
    struct mb_text text = {.max_size = size_max};
    struct mb_slice copy;

    while (text.size < wanted && !text.failed) {
        const char *part = parts[generator_below(generator, sizeof parts / sizeof parts[0])];

        mb_text_add(&text, part, strlen(part));
        if (generator_one_in(generator, 40))
            mb_text_add(&text, "", 1);
    }
    copy = mb_slice_copy(&generator->scratch->arena,
                         (struct mb_slice){text.data != NULL ? text.data : "", text.size});
    mb_text_release(&text);
    if (copy.data == NULL)
        abort();
    return copy;
}

static struct mb_slice long_or_short(struct generator *generator, bool text)
{
    uint32_t size_max = generator_one_in(generator, 16) ? LONG_SIZE_MAX : 12;

    return text ? generate_text(generator, size_max) : generate_bytes(generator, size_max);
}

static struct mb_slice symbol(struct generator *generator)
{
    static const char *const symbols[] = {"", "s", "amqp:map", "x-opt-a", "text/plain"};

    return mb_slice_text(symbols[generator_below(generator, 5)]);
}

static struct mb_value value_of(struct generator *generator, enum mb_type type, unsigned depth);

/* All of one type, as the types of arrays on the wire have to be. */
static struct mb_value array(struct generator *generator, unsigned depth)
{
    static const uint8_t elements[] = {
        MB_NULL,   MB_BOOL, MB_I32,    MB_I64,    MB_U8,   MB_U64, MB_F32,  MB_F64,
        MB_STRING, MB_UUID, MB_SYMBOL, MB_BINARY, MB_LIST, MB_MAP, MB_CHAR, MB_TIMESTAMP_MS};
    uint8_t element = elements[generator_below(generator, depth > 0 ? 16 : 12)];
    uint32_t count = generator_below(generator, ITEMS_MAX + 1);
    struct mb_value *items = alloc(generator, count * sizeof *items);

    for (uint32_t i = 0; i < count; i++)
        items[i] = value_of(generator, (enum mb_type)element, depth > 0 ? depth - 1 : 0);
    return (struct mb_value){.type = MB_ARRAY,
                             .as.items = {.values = items, .count = count, .element = element}};
}

static struct mb_value items_of(struct generator *generator, enum mb_type type, unsigned depth)
{
    uint32_t count = generator_below(generator, ITEMS_MAX + 1);
    struct mb_value *items;

    if (type == MB_ARRAY)
        return array(generator, depth);
    if (type == MB_MAP)
        count *= 2;
    if (type == MB_DESCRIBED)
        count = 2;
    items = alloc(generator, count * sizeof *items);
    for (uint32_t i = 0; i < count; i++)
        items[i] = generate_value(generator, depth > 0 ? depth - 1 : 0);
    if (type == MB_DESCRIBED) /* others describe what this contract has types for */
        items[0] = (struct mb_value){.type = MB_SYMBOL, .as.bytes = MB_SLICE_LITERAL("test:it")};
    return (struct mb_value){.type = (uint8_t)type, .as.items = {.values = items, .count = count}};
}

static float any_f32(struct generator *generator)
{
    uint32_t bits = (uint32_t)generate_number(generator, 32);
    float number;

    memcpy(&number, &bits, sizeof number);
    return number;
}

static double any_f64(struct generator *generator)
{
    uint64_t bits = generate_number(generator, 64);
    double number;

    memcpy(&number, &bits, sizeof number);
    return number;
}

static struct mb_value value_of(struct generator *generator, enum mb_type type, unsigned depth)
{
    struct mb_value value = {.type = (uint8_t)type};

    switch (type) {
    case MB_NULL:
        break;
    case MB_BOOL:
        value.as.b = generator_one_in(generator, 2);
        break;
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
        value.as.i = signed_number(generator, 8u << (type - MB_I8));
        break;
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
        value.as.u = generate_number(generator, 8u << (type - MB_U8));
        break;
    case MB_TIMESTAMP_S:
    case MB_TIMESTAMP_MS:
        value.as.i = signed_number(generator, 64);
        break;
    case MB_F32:
        value.as.f32 = any_f32(generator);
        break;
    case MB_F64:
        value.as.f64 = any_f64(generator);
        break;
    case MB_DECIMAL32:
        value.as.bytes = sized(generator, 4);
        break;
    case MB_DECIMAL64:
        value.as.bytes = sized(generator, 8);
        break;
    case MB_DECIMAL128:
    case MB_UUID:
        value.as.bytes = sized(generator, 16);
        break;
    case MB_DECIMAL_SCALED:
        value.as.scaled.scale = (uint8_t)generate_number(generator, 8);
        value.as.scaled.value = (uint32_t)generate_number(generator, 32);
        break;
    case MB_CHAR:
        value.as.u = generate_number(generator, 16) % 0xD800;
        break;
    case MB_BINARY:
        value.as.bytes = long_or_short(generator, generator_one_in(generator, 2));
        break;
    case MB_STRING:
        value.as.bytes = long_or_short(generator, true);
        break;
    case MB_SYMBOL:
        value.as.bytes = symbol(generator);
        break;
    case MB_LIST:
    case MB_MAP:
    case MB_ARRAY:
    case MB_DESCRIBED:
        return items_of(generator, type, depth);
    }
    return value;
}

struct mb_value generate_value(struct generator *generator, unsigned depth)
{
    /* Strings are what there is most of. */
    uint32_t pick = generator_below(generator, depth > 0 ? 34 : 30);
    enum mb_type type = MB_STRING;

    if (pick >= 30)
        type = (enum mb_type)(MB_LIST + (pick - 30));
    else if (pick >= 7)
        type = (enum mb_type)(pick - 7);
    return value_of(generator, type, depth);
}

static struct mb_slice name(struct generator *generator)
{
    static const char *const names[] = {
        "a",        "b",           "trace-id",        "x-a",        "x-opt-b",
        "reply-to", "subject",     "content-type",    "message-id", "priority",
        "ttl",      "user-id",     "correlation-id",  "key",        "timestamp",
        "durable",  "routing-key", "absolute-expiry", "",           "JMSXGroupID",
    };
    uint32_t pick = generator_below(generator, 24);

    if (pick < sizeof names / sizeof names[0])
        return mb_slice_text(names[pick]);
    return pick == 20 ? generate_bytes(generator, 300) : generate_text(generator, 20);
}

struct mb_header generate_header(struct generator *generator)
{
    struct mb_header header = {.name_type = MB_STRING};

    if (generator_one_in(generator, 4))
        header.section = (uint8_t)(1 + generator_below(generator, 2));
    header.name = name(generator);
    header.value = generate_value(generator, DEPTH_MAX);
    if (header.section != MB_SECTION_APPLICATION && !generator_one_in(generator, 8))
        header.name_type = MB_SYMBOL;
    return header;
}

static struct mb_slice field_slice(struct generator *generator)
{
    switch (generator_below(generator, 6)) {
    case 0:
    case 1:
    case 2:
        return long_or_short(generator, true);
    case 3:
        return MB_SLICE_NULL;
    case 4:
        return MB_SLICE_LITERAL("");
    default:
        return long_or_short(generator, false);
    }
}

static struct mb_id id(struct generator *generator)
{
    struct mb_id id = {.kind = (uint8_t)generator_below(generator, 4)};

    if (id.kind == MB_ID_ULONG)
        id.number = generate_number(generator, 64);
    else if (id.kind == MB_ID_UUID)
        id.bytes = sized(generator, 16);
    else
        id.bytes = long_or_short(generator, id.kind == MB_ID_STRING);
    return id;
}

void generate_field(struct generator *generator, struct mb_message *message, unsigned field)
{
    struct mb_properties *properties = message->properties;
    struct mb_slice *const slices[FIELDS_COUNT] = {
        [0] = &message->key,
        [3] = &properties->content_type,
        [4] = &properties->content_encoding,
        [5] = &properties->subject,
        [6] = &properties->to,
        [7] = &properties->reply_to,
        [8] = &properties->group_id,
        [10] = &properties->reply_to_group_id,
        [11] = &properties->user_id,
        [12] = &properties->app_id,
        [13] = &properties->exchange,
        [14] = &properties->routing_key,
    };

    message->present |= UINT32_C(1) << field;
    switch (UINT32_C(1) << field) {
    case MB_HAS_MESSAGE_ID:
        properties->message_id = id(generator);
        return;
    case MB_HAS_CORRELATION_ID:
        properties->correlation_id = id(generator);
        return;
    case MB_HAS_GROUP_SEQUENCE:
        properties->group_sequence = (uint32_t)generate_number(generator, 32);
        return;
    case MB_HAS_TIMESTAMP:
        message->timestamp_ms = signed_number(generator, 64);
        message->timestamp_kind = (uint8_t)generator_below(generator, 3);
        return;
    case MB_HAS_TTL:
        message->ttl_ms = generate_number(generator, 64);
        return;
    case MB_HAS_EXPIRES_AT:
        message->expires_at_ms = signed_number(generator, 64);
        return;
    case MB_HAS_DURABLE:
        message->durable = generator_one_in(generator, 2);
        return;
    case MB_HAS_PRIORITY:
        message->priority = (uint8_t)generate_number(generator, 8);
        return;
    default:
        *slices[field] = field_slice(generator);
        return;
    }
}

static void own_properties(struct generator *generator, struct mb_message *message)
{
    if (!mb_properties_own(message, &generator->scratch->arena))
        abort();
}

static void multi_data(struct generator *generator, struct mb_message *message)
{
    uint32_t count = generator_below(generator, ITEMS_MAX + 1);
    struct mb_value *parts = alloc(generator, count * sizeof *parts);
    struct mb_slice body = generate_bytes(generator, 64);
    const unsigned char *at = body.data;
    size_t left = count > 0 ? body.size : 0;

    message->body = (struct mb_slice){at, left};
    for (uint32_t i = 0; i < count; i++) {
        size_t size = i + 1 == count ? left : generator_below(generator, (uint32_t)left + 1);

        parts[i] = (struct mb_value){.type = MB_BINARY, .as.bytes = {at, size}};
        at += size;
        left -= size;
    }
    message->body_value =
        (struct mb_value){.type = MB_LIST, .as.items = {.values = parts, .count = count}};
}

static struct mb_value list_of(struct generator *generator, enum mb_type type, enum mb_type item)
{
    uint32_t count = generator_below(generator, ITEMS_MAX + 1) * (type == MB_MAP ? 2 : 1);
    struct mb_value *items = alloc(generator, count * sizeof *items);

    for (uint32_t i = 0; i < count; i++)
        items[i] = value_of(generator, item, 2);
    return (struct mb_value){.type = (uint8_t)type, .as.items = {.values = items, .count = count}};
}

void generate_body(struct generator *generator, struct mb_message *message)
{
    message->body = MB_SLICE_NULL;
    memset(&message->body_value, 0, sizeof message->body_value);
    message->body_kind = (uint8_t)generator_below(generator, 6);
    switch ((enum mb_body_kind)message->body_kind) {
    case MB_BODY_BYTES:
        message->body = long_or_short(generator, generator_one_in(generator, 2));
        return;
    case MB_BODY_NULL:
        return;
    case MB_BODY_MULTI_DATA:
        multi_data(generator, message);
        return;
    case MB_BODY_VALUE:
        message->body_value = generate_value(generator, DEPTH_MAX);
        return;
    case MB_BODY_SEQUENCE:
        message->body_value = list_of(generator, MB_LIST, MB_LIST);
        return;
    case MB_BODY_PAIRS:
        message->body_value = list_of(generator, MB_MAP, MB_BINARY);
        return;
    }
}

void generate_message(struct generator *generator, struct mb_message *ret_message)
{
    uint32_t often = 2 + generator_below(generator, 8);
    uint32_t count = generator_below(generator, HEADERS_MAX + 1);
    struct mb_header *headers = alloc(generator, count * sizeof *headers);

    memset(ret_message, 0, sizeof *ret_message);
    ret_message->struct_size = sizeof *ret_message;
    own_properties(generator, ret_message);
    generate_body(generator, ret_message);
    for (unsigned field = 0; field < FIELDS_COUNT; field++) {
        if (generator_one_in(generator, often))
            generate_field(generator, ret_message, field);
    }
    for (uint32_t i = 0; i < count; i++) {
        headers[i] = generate_header(generator);
        if (i > 0 && generator_one_in(generator, 5))
            headers[i].name = headers[generator_below(generator, i)].name;
    }
    ret_message->headers = headers;
    ret_message->headers_count = count;
}

struct mb_header *generate_headers_copy(struct generator *generator,
                                        const struct mb_message *message, uint32_t more)
{
    struct mb_header *headers =
        alloc(generator, ((size_t)message->headers_count + more) * sizeof *headers);

    if (message->headers_count > 0)
        memcpy(headers, message->headers, message->headers_count * sizeof *headers);
    return headers;
}

static void as_text(struct generator *generator, struct mb_value *value)
{
    struct mb_text text = {.max_size = 1u << 20};
    struct mb_slice copy;

    mb_text_value(&text, value, NULL);
    copy = mb_slice_copy(&generator->scratch->arena,
                         (struct mb_slice){text.data != NULL ? text.data : "", text.size});
    mb_text_release(&text);
    *value = (struct mb_value){.type = mb_utf8_valid_without_nul(copy) ? MB_STRING : MB_BINARY,
                               .as.bytes = copy};
}

static void change_header(struct generator *generator, struct mb_header *header)
{
    struct mb_value *value = &header->value;

    switch (generator_below(generator, 8)) {
    case 0:
    case 1:
    case 2:
        if (value->type != MB_NULL)
            as_text(generator, value);
        return;
    case 3:
        if (value->type == MB_STRING || value->type == MB_SYMBOL)
            value->type = MB_BINARY;
        return;
    case 4:
        header->section = (uint8_t)generator_below(generator, 3);
        return;
    case 5:
        header->name_type = MB_STRING;
        return;
    case 6:
        *value = generate_value(generator, 1);
        return;
    default:
        header->name = name(generator);
        return;
    }
}

static void change_headers(struct generator *generator, struct mb_message *natural)
{
    struct mb_header *headers = generate_headers_copy(generator, natural, 4);
    uint32_t often = 1 + generator_below(generator, 8);
    uint32_t count = 0;

    for (uint32_t i = 0; i < natural->headers_count; i++) {
        if (generator_one_in(generator, 6))
            continue;
        headers[count] = natural->headers[i];
        if (generator_one_in(generator, often))
            change_header(generator, &headers[count]);
        count++;
    }
    for (uint32_t swaps = generator_below(generator, 3); swaps > 0 && count > 1; swaps--) {
        uint32_t i = generator_below(generator, count);
        uint32_t j = generator_below(generator, count);
        struct mb_header header = headers[i];

        headers[i] = headers[j];
        headers[j] = header;
    }
    for (uint32_t more = generator_below(generator, 3); more > 0; more--)
        headers[count++] = generate_header(generator);
    natural->headers = headers;
    natural->headers_count = count;
}

static void change_fields(struct generator *generator, struct mb_message *natural)
{
    uint32_t often = 2 + generator_below(generator, 6);

    for (unsigned field = 0; field < FIELDS_COUNT; field++) {
        if (!generator_one_in(generator, often))
            continue;
        if (generator_one_in(generator, 2))
            natural->present &= ~(UINT32_C(1) << field);
        else
            generate_field(generator, natural, field);
    }
    if (generator_one_in(generator, 3)) {
        natural->timestamp_ms = natural->timestamp_ms / 1000 * 1000;
        natural->timestamp_kind = MB_TIMESTAMP_CREATE_SECONDS;
    }
}

static void change_body(struct generator *generator, struct mb_message *natural)
{
    struct mb_value value = natural->body_value;

    switch (generator_below(generator, 4)) {
    case 0:
        return;
    case 1:
        generate_body(generator, natural);
        return;
    default:
        break;
    }
    if (natural->body_kind == MB_BODY_VALUE || natural->body_kind == MB_BODY_SEQUENCE ||
        natural->body_kind == MB_BODY_PAIRS) {
        as_text(generator, &value);
        natural->body = value.as.bytes;
    }
    if (natural->body.data == NULL)
        natural->body = MB_SLICE_LITERAL("");
    natural->body_kind = MB_BODY_BYTES;
    memset(&natural->body_value, 0, sizeof natural->body_value);
}

void generate_natural(struct generator *generator, const struct mb_message *message,
                      struct mb_message *ret_natural)
{
    uint32_t shown = generator_one_in(generator, 4) ? 0 : UINT32_MAX;

    *ret_natural = *message;
    own_properties(generator, ret_natural);
    if (generator_one_in(generator, 2)) {
        shown &= (uint32_t)generate_number(generator, FIELDS_COUNT) | MB_HAS_REPLY_TO;
        if (mb_flatten_headers(message, shown, generator->scratch, ret_natural) != MB_OK)
            abort();
    }
    if (generator_one_in(generator, 2))
        change_headers(generator, ret_natural);
    if (generator_one_in(generator, 2))
        change_fields(generator, ret_natural);
    change_body(generator, ret_natural);
}
