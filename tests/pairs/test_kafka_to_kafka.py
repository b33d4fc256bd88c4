# SPDX-License-Identifier: Apache-2.0
"""Kafka → Kafka on two brokers: the same records, byte for byte, in the same partitions."""

import re
import time

import pytest

from support.bridge import Bridge
from support.clients import create_topic, delete_topic, produce, read_topic
from support.config import config, kafka_endpoint
from support.wait import until

PARTITIONS = 7
BEGIN_MS = 1_600_000_000_000
# librdkafka takes 0 for "now", so no bridge on it can write the first millisecond of 1970: it
# becomes the second (docs/fidelity.md). All else is equal to the bit.
EARLIEST_MS = 1


def _records(dice, number):
    """Every shape that a record can have, then many random ones."""
    shapes = [
        {"key": None, "value": b"no key"},
        {"key": b"", "value": b"empty key"},
        {"key": b"tombstone", "value": None},
        {"key": b"empty", "value": b""},
        {"key": bytes(range(256)), "value": bytes(range(256)) * 4},
        {"key": b"h", "value": b"v", "headers": []},
        {"key": b"h", "value": b"v", "headers": [("a", b"1"), ("b", b"2"), ("a", b"3"),
                                                 ("a", b"1")]},
        {"key": b"h", "value": b"v", "headers": [("null", None), ("empty", b""), ("null", b"")]},
        {"key": b"h", "value": b"v", "headers": [("", b"nameless"), ("ü☃", "ü☃".encode())]},
        {"key": b"h", "value": b"v", "headers": [("bin", bytes(range(256))), ("crlf", b"\r\n\0")]},
        {"key": b"h", "value": b"v", "headers": [("content-type", b"text/plain"),
                                                 ("ttl", b"5"), ("priority", b"9"),
                                                 ("mbridge.meta", b"not ours")]},
        {"key": b"many", "value": b"v", "headers": [(f"h{n}", b"%d" % n) for n in range(300)]},
        {"key": b"large", "value": dice.randbytes(700_000)},
        {"key": b"t", "value": b"epoch", "timestamp_ms": 0},  # see EARLIEST_MS
        {"key": b"t", "value": b"one", "timestamp_ms": 1},
    ]
    for index in range(number):
        shapes.append({
            "key": dice.choice([None, b"", dice.randbytes(dice.randrange(1, 40))]
                               + [b"key-%d" % dice.randrange(40)] * 7),
            "value": dice.choice([None, b""] + [dice.randbytes(dice.randrange(2000))] * 8),
            "headers": [(dice.choice(["x", "y", "traceparent", "é"]),
                         dice.choice([None, b"", dice.randbytes(dice.randrange(60))]))
                        for _ in range(dice.randrange(4))],
            "timestamp_ms": BEGIN_MS + dice.randrange(10**9),
        })
    for shape in shapes:
        shape.setdefault("timestamp_ms", BEGIN_MS)
        if shape["key"] is None and shape["value"] is None:
            shape["value"] = b""  # the client can't write it
        if dice.randrange(3) == 0:
            shape["partition"] = dice.randrange(PARTITIONS)
    return shapes


def _by_partition(records, earliest_ms=0):
    held = {}
    for record in records:
        held.setdefault(record.partition, []).append(
            (record.key, record.value, list(record.headers),
             max(record.timestamp, earliest_ms)))
    return held


def _assert_same(source, destination):
    for partition in source:
        theirs, ours = source[partition], destination.get(partition, [])
        for index, (expected, found) in enumerate(zip(theirs, ours)):
            assert found == expected, f"partition {partition}, record {index}"
        assert len(ours) == len(theirs), f"partition {partition}"
    assert source.keys() == destination.keys()


@pytest.mark.parametrize("versions", [("3.9.1", "4.3.1"), ("4.3.1", "3.9.1")],
                         ids=["3 to 4", "4 to 3"])
def test_records_are_the_same_on_the_other_broker(versions, brokers, fresh, tmp_path, dice,
                                                  ending, counts):
    origin, mirror = (brokers.kafka(version) for version in versions)
    topic = fresh("mirror")
    settings = {"retention.ms": "-1", "max.message.bytes": "2000000"}
    create_topic(origin.bootstrap, topic, PARTITIONS, settings)
    sent = _records(dice, 3000)
    produce(origin.bootstrap, topic, sent)
    bridge = _mirror(origin, mirror, topic, fresh, tmp_path, ending)
    source = _by_partition(read_topic(origin.bootstrap, topic, len(sent)), EARLIEST_MS)
    destination = _by_partition(read_topic(mirror.bootstrap, topic, len(sent)))
    _assert_same(source, destination)
    assert bridge.run.last_counters().total("delivered") == len(sent)
    counts(records=len(sent), partitions=len(destination))
    _assert_settings(mirror, topic, settings)


def _mirror(origin, mirror, topic, fresh, tmp_path, ending):
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": kafka_endpoint(origin), "b": kafka_endpoint(mirror)},
        [{"name": "mirror", "from": {"endpoint": "a", "topic": topic},
          "to": {"endpoint": "b", "topic": topic}}])))
    bridge.start("--drain")
    assert bridge.run.wait(90) == 0, bridge.run.tail()
    return bridge


def test_a_compacted_topic_stays_one(brokers, fresh, tmp_path, ending):
    origin, mirror = brokers.kafka("3.9.1"), brokers.kafka("4.3.1")
    topic = fresh("compacted")
    settings = {"cleanup.policy": "compact", "retention.ms": "86400000"}
    create_topic(origin.bootstrap, topic, 3, settings)
    produce(origin.bootstrap, topic, [{"key": b"a", "value": b"1"}, {"key": b"a", "value": None}])
    _mirror(origin, mirror, topic, fresh, tmp_path, ending)
    found = read_topic(mirror.bootstrap, topic, 2)
    assert [(record.key, record.value) for record in found] == [(b"a", b"1"), (b"a", None)]
    _assert_settings(mirror, topic, settings)


def _assert_settings(broker, topic, settings):
    """A topic that the bridge made took its source's settings."""
    text = broker.tool("kafka.admin.ConfigCommand", "--bootstrap-server", broker.bootstrap,
                       "--describe", "--topic", topic)
    for name, value in settings.items():
        assert f"{name}={value} " in text + " ", text


def test_a_destination_is_not_made_before_its_source_is_there(brokers, fresh, tmp_path, ending):
    """Made too early it would have the broker's number of partitions, for ever."""
    origin, mirror = brokers.kafka("3.9.1"), brokers.kafka("4.3.1")
    topic = fresh("late")
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": kafka_endpoint(origin), "b": kafka_endpoint(mirror)},
        [{"name": "mirror", "from": {"endpoint": "a", "topic": topic},
          "to": {"endpoint": "b", "topic": topic}}])))
    bridge.start()
    bridge.run.wait_logged("is not created before its source", seconds=20)
    create_topic(origin.bootstrap, topic, 5)
    produce(origin.bootstrap, topic, [{"key": b"k", "value": b"v", "partition": 4}])
    [record] = read_topic(mirror.bootstrap, topic, 1)
    assert (record.partition, record.key, record.value) == (4, b"k", b"v")


class Growing:
    """Topics of one pattern, written to all the time, and their copies on another broker."""

    def __init__(self, origin, mirror, fresh):
        self.origin, self.mirror = origin, mirror
        self.tag = fresh("grow")
        self.sent = {}

    def add(self, name):
        # The bridge makes no templated destination; the broker would, with one partition.
        create_topic(self.mirror.bootstrap, f"{self.tag}.{name}.copy", PARTITIONS)
        create_topic(self.origin.bootstrap, f"{self.tag}.{name}", PARTITIONS)
        self.sent[name] = 0

    def write(self, number):
        """To every topic and partition, without a key: only the partition's number tells where."""
        for name in self.sent:
            first = self.sent[name]
            produce(self.origin.bootstrap, f"{self.tag}.{name}", [
                {"key": None, "value": b"%d" % n, "partition": n % PARTITIONS}
                for n in range(first, first + number)])
            self.sent[name] += number

    def assert_copied(self):
        for name, number in self.sent.items():
            found = read_topic(self.mirror.bootstrap, f"{self.tag}.{name}.copy", number)
            held = {}
            for record in found:
                held.setdefault(record.partition, []).append(int(record.value))
            assert held == {part: list(range(part, number, PARTITIONS))
                            for part in range(PARTITIONS)}, name

    def route(self):
        return {"name": "grow",
                "from": {"endpoint": "a", "topics": [f"^{re.escape(self.tag)}\\..*"],
                         "discover": "1s"},
                "to": {"endpoint": "b", "topic": "${stream}.copy"}}


def test_topics_that_appear_are_read_and_those_that_go_are_left(brokers, fresh, tmp_path, ending,
                                                                counts):
    """While it runs, without losing, repeating or reordering what is on its way."""
    origin, mirror = brokers.kafka("3.9.1"), brokers.kafka("4.3.1")
    grow = Growing(origin, mirror, fresh)
    grow.add("one")
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": kafka_endpoint(origin), "b": kafka_endpoint(mirror)},
        [grow.route()])))
    bridge.start()
    for name in ("two", "three"):
        grow.write(1000)
        grow.add(name)
        while not read_topic(mirror.bootstrap, f"{grow.tag}.{name}.copy", None):
            bridge.check()
            grow.write(200)
    grow.write(1000)
    grow.assert_copied()
    total = sum(grow.sent.values())
    until(lambda: bridge.run.counters().total("delivered") == total, 20, "all are counted",
          detail=bridge.run.tail)
    delete_topic(origin.bootstrap, f"{grow.tag}.two")
    del grow.sent["two"]
    bridge.run.wait_logged("matches other streams", "gone=1", seconds=30)
    grow.write(500)
    grow.assert_copied()
    counts(records=total, topics=3)
    assert bridge.run.terminate() == 0



@pytest.mark.parametrize("after", [("b", "c"), ("c",), ("a", "b", "c")], ids="+".join)
def test_a_restart_reads_the_topics_that_are_named_now(after, kafka, fresh, tmp_path, ending):
    """A static member gets what it had, whatever it subscribes to: it has to insist."""
    tag = fresh("named")
    for name in "abc":
        create_topic(kafka.bootstrap, f"{tag}.{name}", 2)
    sink = fresh("sink")
    create_topic(kafka.bootstrap, sink)

    def text(names):
        return config(tag, {"k": kafka_endpoint(kafka)}, [
            {"name": "some", "from": {"endpoint": "k", "topics": [f"{tag}.{n}" for n in names]},
             "to": {"endpoint": "k", "topic": sink}}])
    bridge = ending(Bridge(tmp_path, text(("a", "b"))))
    bridge.start()
    for name in "ab":
        produce(kafka.bootstrap, f"{tag}.{name}", [{"value": f"{name}1".encode()}])
    read_topic(kafka.bootstrap, sink, 2)
    assert bridge.run.terminate() == 0

    for name in "abc":
        produce(kafka.bootstrap, f"{tag}.{name}", [{"value": f"{name}2".encode()}])
    bridge.write(text(after))
    bridge.start()
    found = read_topic(kafka.bootstrap, sink, 2 + len(after))
    assert sorted(record.value.decode() for record in found) == sorted(
        ["a1", "b1"] + [f"{name}2" for name in after])
    assert bridge.run.terminate() == 0


def test_few_records_have_nobody_to_linger_for(brokers, fresh, tmp_path, ending, counts):
    origin, mirror = brokers.kafka("3.9.1"), brokers.kafka("4.3.1")
    topic = fresh("linger")
    linger_s = 10
    for broker in (origin, mirror):
        create_topic(broker.bootstrap, topic, 3)
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": kafka_endpoint(origin), "b": kafka_endpoint(mirror)},
        [{"name": "few", "from": {"endpoint": "a", "topic": topic},
          "to": {"endpoint": "b", "topic": topic, "linger": f"{linger_s}s"}}])))
    run = bridge.start()
    run.wait_logged("connected", "role=sink", seconds=60)
    slowest_s = 0
    for number in range(1, 6):
        produce(origin.bootstrap, topic, [{"key": b"%d" % number, "value": b"v"}])
        until(lambda: run.counters().total("received") == number, 30, "it is taken")
        began = time.monotonic()
        until(lambda: run.counters().total("delivered") == number, 30, "it arrives",
              interval=0.01)
        slowest_s = max(slowest_s, time.monotonic() - began)
    counts(slowest_s=round(slowest_s, 2), linger_s=linger_s)
    assert slowest_s < linger_s / 4
