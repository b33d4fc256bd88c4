# SPDX-License-Identifier: Apache-2.0
"""Metadata between Kafka and RabbitMQ: natural values on the other side, and back again."""

import datetime
import decimal
import json

import pika
import pytest

from support.bridge import Bridge
from support.clients import (create_topic, declare_queue, produce, publish, read_topic, take)
from support.config import config, kafka_endpoint, rabbit_endpoint

TIME_MS = 1_700_000_000_123


@pytest.fixture
def start(kafka3, rabbit, fresh, tmp_path, ending):
    """start(route, …) runs a bridge with these routes between `k` and `r`."""
    def run(*routes, **options):
        bridge = ending(Bridge(tmp_path, config(
            fresh("bridge"), {"k": kafka_endpoint(kafka3), "r": rabbit_endpoint(rabbit)},
            routes, **options)))
        bridge.start()
        return bridge
    return run


def _native(properties):
    """The headers without what the bridge added for itself."""
    return {name: value for name, value in (properties.headers or {}).items()
            if not name.startswith("x-opt-mbridge-")}


def test_kafka_to_rabbit_shows_natural_values(start, kafka3, rabbit, fresh):
    topic, queue = fresh("topic"), fresh("queue")
    create_topic(kafka3.bootstrap, topic)
    produce(kafka3.bootstrap, topic, [
        {"key": b"order-1", "value": b'{"id":1}', "timestamp_ms": TIME_MS, "headers": [
            ("content-type", b"application/json"), ("content-encoding", b"identity"),
            ("message-id", b"m-1"), ("correlation-id", b"c-1"), ("subject", b"created"),
            ("region", b"eu"), ("umlaut", "größe".encode()), ("binary", b"\xff\x00\xfe"),
            ("empty", b""), ("ttl", b"5"), ("expiration", b"5"), ("priority", b"9"),
            ("reply-to", b"elsewhere"), ("user-id", b"mallory")]},
        {"key": None, "value": b"", "timestamp_ms": TIME_MS},
        {"key": b"gone", "value": None, "timestamp_ms": TIME_MS}])
    start({"name": "out", "from": {"endpoint": "k", "topic": topic},
           "to": {"endpoint": "r", "queue": queue}})
    first, empty, tombstone = take(rabbit.uri, queue, 3)

    properties, body = first[1], first[2]
    assert body == b'{"id":1}'
    assert properties.delivery_mode == 2
    assert properties.content_type == "application/json"
    assert properties.content_encoding == "identity"
    assert properties.message_id == "m-1"
    assert properties.correlation_id == "c-1"
    assert properties.type == "created"
    assert properties.timestamp == TIME_MS // 1000
    headers = _native(properties)
    assert headers["region"] == "eu"
    assert headers["umlaut"] == "größe"
    assert bytes(headers["binary"]) == b"\xff\x00\xfe"
    assert headers["empty"] in ("", b"")
    assert properties.headers["x-opt-mbridge-key"] in ("order-1", b"order-1")
    # A header never becomes a property that can destroy or redirect its message.
    assert headers["ttl"] == "5" and headers["expiration"] == "5" and headers["priority"] == "9"
    assert headers["reply-to"] == "elsewhere" and headers["user-id"] == "mallory"
    assert properties.expiration is None and properties.priority is None
    assert properties.reply_to is None and properties.user_id is None

    assert empty[2] == b"" and "x-opt-mbridge-null" not in (empty[1].headers or {})
    assert "x-opt-mbridge-key" not in (empty[1].headers or {})
    assert tombstone[2] == b"" and "x-opt-mbridge-null" in tombstone[1].headers


def test_rabbit_to_kafka_shows_natural_values(start, kafka3, rabbit, fresh):
    topic, queue, exchange = fresh("topic"), fresh("queue"), fresh("shop")
    declare_queue(rabbit.uri, queue, bind=[(exchange, "#")])
    moment = datetime.datetime(2023, 11, 14, 22, 13, 20)
    publish(rabbit.uri, exchange, "orders.eu", [
        (b"body", pika.BasicProperties(
            content_type="text/plain", content_encoding="utf-8", delivery_mode=2, priority=3,
            correlation_id="c-9", reply_to="answers", expiration="600000", message_id="m-9",
            timestamp=TIME_MS // 1000, type="created", user_id="guest", app_id="shop",
            headers={"text": "größe", "yes": True, "no": False, "int": 42, "long": 2**40,
                     "negative": -7, "none": None, "bytes": b"\xff\x00",
                     "list": [1, "two", True], "table": {"a": 1, "b": "x"}, "when": moment})),
        (b"", pika.BasicProperties(delivery_mode=2))])
    start({"name": "in", "from": {"endpoint": "r", "queue": queue},
           "to": {"endpoint": "k", "topic": topic}})
    first, empty = read_topic(kafka3.bootstrap, topic, 2)

    assert first.value == b"body"
    assert first.key == b"orders.eu"
    assert first.timestamp == TIME_MS // 1000 * 1000
    names = [name for name, _ in first.headers]
    assert len(names) == len(set(names))
    headers = {name: value for name, value in first.headers if not name.startswith("mbridge.")}
    expected = {
        "content-type": b"text/plain", "content-encoding": b"utf-8", "message-id": b"m-9",
        "correlation-id": b"c-9", "reply-to": b"answers", "subject": b"created",
        "user-id": b"guest", "app-id": b"shop", "priority": b"3", "ttl": b"600000",
        "exchange": exchange.encode(), "routing-key": b"orders.eu",
        "text": "größe".encode(), "yes": b"true", "no": b"false", "int": b"42",
        "long": b"%d" % 2**40, "negative": b"-7", "none": None, "bytes": b"\xff\x00",
        "when": b"1700000000000"}
    assert json.loads(headers.pop("list")) == [1, "two", True]
    assert json.loads(headers.pop("table")) == {"a": 1, "b": "x"}
    assert headers == expected
    # A foreign empty body never deletes a key.
    assert empty.value == b""


def test_kafka_to_rabbit_to_kafka_gives_the_message_back(start, kafka3, rabbit, fresh):
    there, queue, back = fresh("there"), fresh("queue"), fresh("back")
    create_topic(kafka3.bootstrap, there)
    records = [
        {"key": b"order-1", "value": b'{"id":1}', "headers": [
            ("content-type", b"application/json"), ("message-id", b"m-1"), ("subject", b"s"),
            ("region", b"eu"), ("binary", b"\xff\x00"), ("empty", b""), ("number", b"42"),
            ("truth", b"true"), ("ttl", b"5"), ("null", None)]},
        {"key": None, "value": b"no key", "headers": []},
        {"key": b"", "value": b"empty key", "headers": []},
        {"key": b"\xff\x00\xfe", "value": bytes(range(256)), "headers": []},
        {"key": b"k" * 300, "value": b"long key", "headers": []},
        {"key": b"gone", "value": None, "headers": []},
        {"key": b"empty", "value": b"", "headers": []},
        {"key": b"large", "value": b"x" * 500_000, "headers": []},
    ]
    produce(kafka3.bootstrap, there, [dict(record, timestamp_ms=TIME_MS) for record in records])
    start({"name": "out", "from": {"endpoint": "k", "topic": there},
           "to": {"endpoint": "r", "queue": queue}},
          {"name": "home", "from": {"endpoint": "r", "queue": queue},
           "to": {"endpoint": "k", "topic": back, "partitions": 1}})
    found = read_topic(kafka3.bootstrap, back, len(records))
    for expected, record in zip(records, found):
        what = f"{expected['key']!r:.40}"
        assert record.key == expected["key"], what
        assert record.value == expected["value"], what
        assert record.timestamp == TIME_MS, what
        headers = [pair for pair in record.headers if not pair[0].startswith("mbridge.")]
        assert headers == expected["headers"], what


def test_rabbit_to_kafka_to_rabbit_gives_the_message_back(start, kafka3, rabbit, fresh):
    there, topic, back, control = fresh("there"), fresh("topic"), fresh("back"), fresh("control")
    for queue in (there, control):
        declare_queue(rabbit.uri, queue)
    moment = datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc)
    sent = [
        (b"body", pika.BasicProperties(
            content_type="text/plain", content_encoding="utf-8", delivery_mode=1, priority=0,
            correlation_id="c-9", reply_to="answers", expiration="600000", message_id="m-9",
            timestamp=TIME_MS // 1000, type="created", user_id="guest", app_id="shop",
            headers={"text": "größe", "empty": "", "yes": True, "no": False, "int": 42,
                     "long": 2**40, "negative": -7, "none": None, "bytes": b"\xff\x00",
                     "list": [1, "two", [True, None]], "table": {"a": 1, "b": {"c": "x"}},
                     "when": moment, "price": decimal.Decimal("12.34"), "x-own": "kept",
                     "subject": "not the type", "content-type": "not the property",
                     "JMSXGroupID": "cart", "JMSXGroupSeq": 7, "x-message-id": "text"})),
        (b"", pika.BasicProperties(delivery_mode=2)),
        (bytes(range(256)), pika.BasicProperties(delivery_mode=2, headers={"n": -(2**40)})),
        (b"x" * 300_000, pika.BasicProperties(delivery_mode=2, message_id="m" * 255)),
    ]
    publish(rabbit.uri, "", there, sent)
    publish(rabbit.uri, "", control, sent)
    # RabbitMQ since 3.13 changes the order of headers, without a bridge too.
    kept = [list(properties.headers or {})
            for _, properties, _ in take(rabbit.uri, control, len(sent))]
    start({"name": "out", "from": {"endpoint": "r", "queue": there},
           "to": {"endpoint": "k", "topic": topic}},
          {"name": "home", "from": {"endpoint": "k", "topic": topic},
           "to": {"endpoint": "r", "queue": back}})
    for (expected_body, expected), names, (_, properties, body) in zip(
            sent, kept, take(rabbit.uri, back, len(sent))):
        assert body == expected_body
        assert _native(properties) == (expected.headers or {})
        assert list(_native(properties)) == names
        for name in ("content_type", "content_encoding", "delivery_mode", "priority",
                     "correlation_id", "reply_to", "expiration", "message_id", "timestamp", "type",
                     "user_id", "app_id"):
            assert getattr(properties, name) == getattr(expected, name), name


def test_what_no_frame_holds(start, kafka3, rabbit, fresh):
    """Properties have one frame: the sidecar gives way first, then the message is refused."""
    topic, queue, dead = fresh("topic"), fresh("queue"), fresh("dead")
    create_topic(kafka3.bootstrap, topic)
    large = [(f"large-{number}", b"%d" % number + b"x" * 50_000) for number in range(3)]
    produce(kafka3.bootstrap, topic, [
        # Of one name only the last has a place; the others would be in the sidecar.
        {"value": b"shrinks", "headers": [("large", value) for _, value in large]},
        {"value": b"refused", "headers": large},
        {"value": b"small", "headers": [("n", b"1")]}])
    bridge = start({"name": "out", "from": {"endpoint": "k", "topic": topic},
                    "to": {"endpoint": "r", "queue": queue},
                    "dead_letter": {"endpoint": "k", "topic": dead}})
    shrunk, small = take(rabbit.uri, queue, 2)
    assert shrunk[2] == b"shrinks" and small[2] == b"small"
    assert len(shrunk[1].headers["large"]) == 50_001
    assert dict(read_topic(kafka3.bootstrap, dead, 1)[0].headers)[
        "mbridge.dead.reason"] == b"properties-too-large"
    assert bridge.run.counters()["routes"]["out"]["degraded"] == {"headers": 1}


def test_the_key_keeps_its_partition_of_java_clients(start, kafka3, rabbit, fresh):
    """murmur2, as Java clients (and kafka-python) do: producers can move without reordering."""
    topic, control, queue = fresh("topic"), fresh("control"), fresh("queue")
    exchange = fresh("shop")
    declare_queue(rabbit.uri, queue, bind=[(exchange, "#")])
    create_topic(kafka3.bootstrap, topic, 12)
    create_topic(kafka3.bootstrap, control, 12)
    keys = [f"key-{number}" for number in range(200)]
    produce(kafka3.bootstrap, control, [{"key": key.encode(), "value": b"x"} for key in keys])
    for key in keys:
        publish_one = (b"x", pika.BasicProperties(delivery_mode=2))
        publish(rabbit.uri, exchange, key, [publish_one])
    start({"name": "in", "from": {"endpoint": "r", "queue": queue},
           "to": {"endpoint": "k", "topic": topic}})
    found = {record.key: record.partition
             for record in read_topic(kafka3.bootstrap, topic, len(keys))}
    expected = {record.key: record.partition
                for record in read_topic(kafka3.bootstrap, control, len(keys))}
    assert found == expected


def test_observing_an_exchange_takes_nothing_from_others(start, kafka3, rabbit, fresh):
    topic, queue, exchange = fresh("topic"), fresh("queue"), fresh("shop")
    declare_queue(rabbit.uri, queue, bind=[(exchange, "orders.#")])
    bridge = start({"name": "watch", "from": {"endpoint": "r", "exchange": exchange,
                                              "binding_keys": ["orders.eu.*"]},
                    "to": {"endpoint": "k", "topic": topic, "partitions": 1}})
    _wait_bound(rabbit, exchange, bridge)
    plain = pika.BasicProperties(delivery_mode=2)
    for key in ("orders.eu.1", "orders.us.1", "orders.eu.2"):
        publish(rabbit.uri, exchange, key, [(key.encode(), plain)])
    found = read_topic(kafka3.bootstrap, topic, 2)
    assert [record.value for record in found] == [b"orders.eu.1", b"orders.eu.2"]
    assert [record.key for record in found] == [b"orders.eu.1", b"orders.eu.2"]
    assert [body for _, _, body in take(rabbit.uri, queue, 3)] == [
        b"orders.eu.1", b"orders.us.1", b"orders.eu.2"]


def _wait_bound(rabbit, exchange, bridge):
    from support.wait import until
    until(lambda: f"{exchange}\torders.eu.*" in rabbit.ctl(
        "list_bindings", "source_name", "routing_key"), 20,
        f"a binding to {exchange}", interval=0.5, detail=bridge.run.tail)
