# SPDX-License-Identifier: Apache-2.0
"""A normal form of each platform's messages: JSON-able, with every field that a client can see.

    kafka    {key, value: hex or None; headers: [[name, hex or None], …]; timestamp: ms}
    amqp091  {exchange, routing_key, properties: {name: value}, headers: pairs or None, body: hex};
             pairs as in amqp091_table
    amqp10   sections as in amqp10_codec
    redis    {fields: [[hex, hex], …]}

plain(platform, message) leaves out what brokers and clients add on a hop, and our carriers.
"""

import json

import pika

from support.amqp091_table import Table
from support.amqp10_codec import decode_message, encode_message

PROPERTIES = ("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id",
              "reply_to", "expiration", "message_id", "timestamp", "type", "user_id", "app_id",
              "cluster_id")

# Hop-local: set anew by each broker that a message passes. As headers of 0-9-1, too, where the
# message passed one that speaks 1.0.
AMQP10_LOCAL_HEADER = ("first-acquirer", "delivery-count")
AMQP10_LOCAL_ANNOTATIONS = ("x-exchange", "x-routing-key", "x-opt-rabbitmq-received-time")
CARRIERS = ("mbridge.meta", "mbridge.path", "mbridge.id", "x-opt-mbridge-meta",
            "x-opt-mbridge-path", "x-opt-mbridge-id", "_mbridge", "_mbridge.path", "_mbridge.id")

PAIRS = ("headers", "fields", "application-properties", "message-annotations", "footer")


def _hex(data):
    return None if data is None else bytes(data).hex()


def _bytes(text):
    return None if text is None else bytes.fromhex(text)


def of_kafka(record):
    return {"key": _hex(record.key), "value": _hex(record.value), "timestamp": record.timestamp,
            "headers": [[name, _hex(value)] for name, value in record.headers]}


def to_kafka(message):
    """For clients.produce."""
    record = {"key": _bytes(message["key"]), "value": _bytes(message["value"]),
              "headers": [(name, _bytes(value)) for name, value in message["headers"]]}
    if "timestamp" in message:
        record["timestamp_ms"] = message["timestamp"]
    return record


def of_rabbit(method, properties, body):
    held = {name: getattr(properties, name) for name in PROPERTIES}
    return {"exchange": method.exchange, "routing_key": method.routing_key,
            "properties": {name: _hex(value) if isinstance(value, bytes) else value
                           for name, value in held.items() if value is not None},
            "headers": None if properties.headers is None else properties.headers.pairs,
            "body": body.hex()}


def to_rabbit(message):
    """(body, BasicProperties)"""
    headers = message.get("headers")
    return bytes.fromhex(message["body"]), pika.BasicProperties(
        headers=None if headers is None else Table(headers), **message["properties"])


def of_amqp10(data):
    return decode_message(data)


def to_amqp10(message):
    return encode_message(message)


def _plain_kafka(message):
    return {**message, "headers": [pair for pair in message["headers"]
                                   if pair[0] not in CARRIERS]}


def _plain_rabbit(message):
    headers = [pair for pair in message["headers"] or []
               if pair[0] not in CARRIERS and pair[0] not in AMQP10_LOCAL_ANNOTATIONS]
    return {**message, "headers": headers or None}


def _plain_amqp10(message):
    """Empty sections are left out too: they say nothing, and brokers add and drop them."""
    plain = {name: value for name, value in message.items() if name != "delivery-annotations"}
    plain["header"] = {name: value for name, value in message.get("header", {}).items()
                       if name not in AMQP10_LOCAL_HEADER}
    plain["message-annotations"] = [
        pair for pair in message.get("message-annotations", [])
        if pair[0][1] not in AMQP10_LOCAL_ANNOTATIONS and pair[0][1] not in CARRIERS]
    return {name: value for name, value in plain.items() if value or name == "body"}


def _plain_redis(message):
    return {"fields": [pair for pair in message["fields"]
                       if bytes.fromhex(pair[0]).decode(errors="replace") not in CARRIERS]}


def plain(platform, message):
    return {"kafka": _plain_kafka, "amqp091": _plain_rabbit, "amqp10": _plain_amqp10,
            "redis": _plain_redis}[platform](message)


# Broker and bridge count them down.
AGING = ("header.ttl", "properties.expiration")
AGE_MAX_MS = 900_000


def _is_pairs(value):
    return isinstance(value, list) and value and all(
        isinstance(pair, list) and len(pair) == 2 and not isinstance(pair[0], int)
        for pair in value)


def _by_name(pairs):
    held = {}
    for name, value in pairs or []:
        held.setdefault(json.dumps(name), []).append(value)
    return held


def _only_aged(path, expected, found):
    if path not in AGING or expected is None or found is None:
        return False
    before, after = (int(value[1] if isinstance(value, list) else value)
                     for value in (expected, found))
    return 0 <= before - after <= AGE_MAX_MS


def differences(expected, found, path=""):
    """Where two normal forms differ: [(path, expected, found), …]; maps entry by entry."""
    if isinstance(expected, dict) and isinstance(found, dict):
        names = [*expected, *(name for name in found if name not in expected)]
        return [difference for name in names for difference in differences(
            expected.get(name), found.get(name), f"{path}.{name}" if path else name)]
    if json.dumps(expected) == json.dumps(found) or _only_aged(path, expected, found):
        return []
    if path in PAIRS and (_is_pairs(expected) or _is_pairs(found)):
        one, other = _by_name(expected), _by_name(found)
        entries = [(f"{path}[{json.loads(name)}]", one.get(name), other.get(name))
                   for name in {**one, **other} if one.get(name) != other.get(name)]
        names = [[name for name, _ in pairs] for pairs in (expected or [], found or [])]
        return entries or [(f"{path} (order)", *names)]
    return [(path, expected, found)]
