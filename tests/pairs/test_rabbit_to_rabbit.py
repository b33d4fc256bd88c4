# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ to RabbitMQ: what arrives is what was there, property by property and type by type."""

import datetime
import decimal

import pika

from support.bridge import Bridge
from support.clients import declare_queue, publish, take
from support.config import config, rabbit_endpoint

PROPERTIES = ("content_type", "content_encoding", "headers", "delivery_mode", "priority",
              "correlation_id", "reply_to", "expiration", "message_id", "timestamp", "type",
              "user_id", "app_id")

HEADERS = {
    "text": "größe", "empty": "", "yes": True, "no": False, "int": 42, "long": 2**40,
    "negative": -7, "none": None, "bytes": b"\xff\x00", "list": [1, "two", [True, None]],
    "table": {"a": 1, "b": {"c": "x"}}, "when": datetime.datetime(2023, 11, 14, 22, 13, 20,
                                                           tzinfo=datetime.timezone.utc),
    "price": decimal.Decimal("12.34"), "x-own": "kept"}

FULL = pika.BasicProperties(
    content_type="text/plain", content_encoding="utf-8", headers=HEADERS, delivery_mode=2,
    priority=3, correlation_id="c-9", reply_to="answers", expiration="600000", message_id="m-9",
    timestamp=1_700_000_000, type="created", user_id="guest", app_id="shop")


def _fields(properties):
    return {name: getattr(properties, name) for name in PROPERTIES
            if getattr(properties, name) is not None}


def test_a_message_is_the_same_on_the_other_queue(rabbit, fresh, tmp_path, ending):
    source, target = fresh("source"), fresh("target")
    declare_queue(rabbit.uri, source)
    sent = [(b"body", FULL), (b"", pika.BasicProperties(delivery_mode=2)),
            (b"x" * 300_000, pika.BasicProperties(delivery_mode=1, headers={"n": 1})),
            (bytes(range(256)), pika.BasicProperties(delivery_mode=2, priority=0))]
    publish(rabbit.uri, "", source, sent)
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"r": rabbit_endpoint(rabbit)},
        [{"name": "same", "from": {"endpoint": "r", "queue": source},
          "to": {"endpoint": "r", "queue": target}}])))
    bridge.start()
    found = take(rabbit.uri, target, len(sent))

    assert [body for _, _, body in found] == [body for body, _ in sent]
    assert [_fields(properties) for _, properties, _ in found] == [
        _fields(properties) for _, properties in sent]
