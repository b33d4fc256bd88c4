/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster's map: which master serves which slot. */
#include "redis.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

/* CRC-16/XMODEM, as the cluster specification has it. */
static uint16_t crc16(const unsigned char *data, size_t size)
{
    uint16_t crc = 0;

    for (size_t i = 0; i < size; i++) {
        crc = (uint16_t)(crc ^ (uint16_t)(data[i] << 8));
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)((crc & 0x8000) != 0 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

unsigned redis_slot_of(struct mb_slice key)
{
    const unsigned char *data = key.data;
    const unsigned char *open = key.size > 0 ? memchr(data, '{', key.size) : NULL;
    const unsigned char *close = NULL;

    if (open != NULL)
        close = memchr(open + 1, '}', key.size - (size_t)(open + 1 - data));
    if (close != NULL && close > open + 1)
        return crc16(open + 1, (size_t)(close - open - 1)) % REDIS_SLOTS;
    return crc16(data, key.size) % REDIS_SLOTS;
}

unsigned redis_topology_find(const struct redis_topology *topology, const struct redis_node *node)
{
    for (unsigned i = 0; i < topology->nodes_count; i++) {
        if (topology->nodes[i].port == node->port &&
            strcmp(topology->nodes[i].host, node->host) == 0)
            return i;
    }
    return REDIS_NODES_MAX;
}

unsigned redis_topology_node(const struct redis_topology *topology, struct mb_slice key)
{
    return topology->cluster ? topology->slots[redis_slot_of(key)] : 0;
}

bool redis_redirect_parse(struct mb_slice text, const struct redis_node *from, unsigned *ret_slot,
                          struct redis_node *ret_node)
{
    const char *at = text.data;
    const char *end = at + text.size;
    const char *space = memchr(at, ' ', text.size);
    unsigned slot = 0;

    if (space == NULL)
        return false;
    for (at = space + 1; at < end && *at >= '0' && *at <= '9' && slot < REDIS_SLOTS; at++)
        slot = slot * 10 + (unsigned)(*at - '0');
    if (at == end || *at != ' ' || slot >= REDIS_SLOTS)
        return false;
    at++;
    /* IPv6 stands without brackets: the last colon separates the port. */
    for (const char *colon = end; colon > at; colon--) {
        char port[8] = "";

        if (colon[-1] != ':')
            continue;
        if ((size_t)(colon - 1 - at) >= sizeof ret_node->host ||
            (size_t)(end - colon) >= sizeof port)
            return false;
        memset(ret_node, 0, sizeof *ret_node);
        memcpy(ret_node->host, at, (size_t)(colon - 1 - at));
        memcpy(port, colon, (size_t)(end - colon));
        ret_node->port = atoi(port);
        if (ret_node->host[0] == '\0' || ret_node->host[0] == '?')
            memcpy(ret_node->host, from->host, sizeof ret_node->host);
        *ret_slot = slot;
        return ret_node->port > 0 && ret_node->port <= 65535;
    }
    return false;
}

/* One range of CLUSTER SLOTS: first, last, master, replicas …. A master is host, port, id. */
static bool take_range(struct redis_topology *topology, const redisReply *range,
                       const struct redis_node *from)
{
    struct redis_node node;
    const redisReply *master;
    unsigned index;

    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3)
        return false;
    master = range->element[2];
    if (master->type != REDIS_REPLY_ARRAY || master->elements < 2 ||
        master->element[1]->type != REDIS_REPLY_INTEGER)
        return false;
    memset(&node, 0, sizeof node);
    node.port = (int)master->element[1]->integer;
    if (master->element[0]->type == REDIS_REPLY_STRING && master->element[0]->len > 0 &&
        master->element[0]->str[0] != '?')
        snprintf(node.host, sizeof node.host, "%s", master->element[0]->str);
    else
        memcpy(node.host, from->host, sizeof node.host);
    index = redis_topology_find(topology, &node);
    if (index == REDIS_NODES_MAX) {
        if (topology->nodes_count == REDIS_NODES_MAX)
            return false;
        index = (unsigned)topology->nodes_count++;
        topology->nodes[index] = node;
    }
    for (long long slot = range->element[0]->integer;
         slot >= 0 && slot <= range->element[1]->integer && slot < (long long)REDIS_SLOTS; slot++)
        topology->slots[slot] = (uint8_t)index;
    return true;
}

static enum mb_status ask_slots(struct redis_client *client, struct redis_topology *topology,
                                int64_t deadline_ms, struct mb_error *err)
{
    const struct mb_slice arguments[] = {MB_SLICE_LITERAL("CLUSTER"), MB_SLICE_LITERAL("SLOTS")};
    redisReply *reply;
    enum mb_status status = redis_call(client, deadline_ms, 2, arguments, &reply, err);

    if (status != MB_OK)
        return status;
    topology->nodes_count = 0;
    memset(topology->slots, (int)REDIS_NODES_MAX, REDIS_SLOTS);
    if (reply->type == REDIS_REPLY_ERROR) {
        status = redis_refuse(client, (struct mb_slice){reply->str, (size_t)reply->len},
                              "CLUSTER SLOTS", err);
        if (strstr(reply->str, "cluster support disabled") != NULL)
            status = mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_CONNECTION, "no-cluster",
                                  "%s: the server is no member of a cluster (cluster = true)",
                                  client->name);
    } else {
        for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
            if (!take_range(topology, reply->element[i], &client->node))
                status = redis_client_fail(client, err, "protocol",
                                           "CLUSTER SLOTS was not understood, or there are more "
                                           "than 128 masters");
        }
    }
    if (status == MB_OK && topology->nodes_count == 0)
        status = mb_error_set(err, MB_DISCONNECTED, MB_CAUSE_DESTINATION, "cluster-down",
                              "%s: the cluster serves no slot yet", client->name);
    redis_reply_free(reply);
    return status;
}

static enum mb_status load_cluster(const struct mb_open_params *params,
                                   const struct redis_address *address, int64_t deadline_ms,
                                   struct redis_topology *topology, struct mb_error *err)
{
    enum mb_status status = MB_DISCONNECTED;

    for (size_t i = 0; i < address->nodes_count; i++) {
        struct redis_client *client = NULL;
        int64_t now_ms = redis_now_ms(params->host);
        /* A seed that is silent must not use up the time of the others. */
        int64_t own_ms = now_ms + (deadline_ms - now_ms) / (int64_t)(address->nodes_count - i + 1);

        status =
            redis_client_open(params, &address->nodes[i], address, "map", own_ms, &client, err);
        if (status == MB_OK)
            status = ask_slots(client, topology, own_ms, err);
        redis_client_close(client);
        if (status == MB_OK || status == MB_DENIED || status == MB_UNSUPPORTED)
            return status;
    }
    return status;
}

enum mb_status redis_topology_load(const struct mb_open_params *params,
                                   const struct redis_endpoint *endpoint,
                                   const struct redis_address *address, int64_t deadline_ms,
                                   struct redis_topology **ret_topology, struct mb_error *err)
{
    size_t nodes = address->cluster ? REDIS_NODES_MAX : 1;
    size_t size = sizeof(struct redis_topology) + nodes * sizeof(struct redis_node);
    struct redis_topology *topology =
        redis_alloc_zero(params->host, size + (address->cluster ? REDIS_SLOTS : 0));
    enum mb_status status = MB_OK;

    if (topology == NULL)
        return mb_error_set(err, MB_NO_MEMORY, MB_CAUSE_CONNECTION, "memory", "out of memory");
    topology->nodes = (struct redis_node *)(topology + 1);
    topology->slots = address->cluster ? (unsigned char *)topology + size : NULL;
    topology->cluster = address->cluster;
    topology->nodes_count = 1;
    if (address->cluster)
        status = load_cluster(params, address, deadline_ms, topology, err);
    else if (endpoint->sentinel_master != NULL)
        status =
            redis_sentinel_master(params, endpoint, address, deadline_ms, &topology->nodes[0], err);
    else
        topology->nodes[0] = address->nodes[0];
    if (status != MB_OK) {
        params->host->release(params->host->context, topology);
        return status;
    }
    *ret_topology = topology;
    return MB_OK;
}
