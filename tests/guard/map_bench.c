/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   map_BACKEND source MESSAGES   a message with a key, headers and an id is read so many times
 *   map_BACKEND sink MESSAGES     one of another platform is written, with what a bridge adds
 */
#include "map_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_SIZE  256u
#define ARENA_SIZE (1u << 16)

static unsigned char memory[ARENA_SIZE];

void map_need(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "map_bench: %s\n", what);
    exit(1);
}

static void *no_more(struct mb_arena *arena, size_t size)
{
    (void)arena;
    (void)size;
    map_need(false, "the arena is too small");
    return NULL;
}

static void ignore_degraded(void *context, uint64_t fields)
{
    (void)context;
    (void)fields;
}

static struct mb_header header(const char *name, const char *text)
{
    return (struct mb_header){
        .name = mb_slice_text(name),
        .value = {.type = MB_STRING, .as.bytes = mb_slice_text(text)},
        .section = MB_SECTION_APPLICATION,
    };
}

static void message_init(struct mb_message *message)
{
    static const struct mb_origin origin = {
        .struct_size = sizeof origin,
        .partition = 3,
        .partitions_count = 12,
        .platform = MB_SLICE_LITERAL("memory"),
        .endpoint = MB_SLICE_LITERAL("there"),
        .identity = MB_SLICE_LITERAL("a-cluster-of-memory"),
        .stream = MB_SLICE_LITERAL("orders"),
    };
    static struct mb_properties properties = {
        .message_id = {.kind = MB_ID_STRING, .bytes = MB_SLICE_LITERAL("order-0815")},
        .content_type = MB_SLICE_LITERAL("application/json"),
    };
    static struct mb_header headers[3];
    static char body[BODY_SIZE];

    memset(body, 'x', sizeof body);
    headers[0] = header("region", "north");
    headers[1] = header("trace-id", "4bf92f3577b34da6a3ce929d0e0e4736");
    headers[2] = header("attempt", "1");
    *message = (struct mb_message){
        .struct_size = sizeof *message,
        .present = MB_HAS_KEY | MB_HAS_MESSAGE_ID | MB_HAS_CONTENT_TYPE | MB_HAS_TIMESTAMP,
        .origin = &origin,
        .position = {.kind = MB_POSITION_OFFSET, .lo = 123456},
        .key = MB_SLICE_LITERAL("customer-4711"),
        .body = {body, sizeof body},
        .headers = headers,
        .headers_count = 3,
        .timestamp_ms = 1700000000123,
        .properties = &properties,
        .path = {UINT64_C(0x0123456789abcdef)},
        .path_count = 1,
    };
}

static void read_many(unsigned long count)
{
    for (unsigned long i = 0; i < count; i++) {
        struct mb_arena arena = {memory, memory + sizeof memory, no_more};
        struct mb_message message;

        memset(&message, 0, sizeof message);
        message.struct_size = sizeof message;
        map_source(&arena, &message);
        map_need(message.body.size == BODY_SIZE && message.reject_reason == NULL,
                 "the message is not read as it was written");
    }
}

int main(int argc, char **argv)
{
    struct mb_host host = {.struct_size = sizeof host, .degraded = ignore_degraded};
    struct mb_open_params params = {
        .struct_size = sizeof params,
        .host = &host,
        .bridge_name = "guard",
        .route_name = "guard",
        .provenance = MB_PROVENANCE_ID | MB_PROVENANCE_PATH | MB_PROVENANCE_SIDECAR,
    };
    struct mb_carry carry;
    struct mb_message message;
    struct mb_outgoing item = {.message = &message};
    bool sink = argc == 3 && strcmp(argv[1], "sink") == 0;
    unsigned long count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;

    map_need((sink || (argc == 3 && strcmp(argv[1], "source") == 0)) && count > 0,
             "usage: source MESSAGES | sink MESSAGES");
    message_init(&message);
    map_init(&params, &carry);
    map_sink(&carry, &item, true);
    if (!sink)
        read_many(count);
    for (unsigned long i = 0; sink && i < count; i++)
        map_sink(&carry, &item, false);
    mb_carry_release(&carry);
    return 0;
}
