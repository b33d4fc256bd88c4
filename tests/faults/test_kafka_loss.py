# SPDX-License-Identifier: Apache-2.0
"""Records are gone at the source before they were read: it is seen, counted, and said."""

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import CoordinatorNotAvailableError, NotCoordinatorError
from kafka.structs import OffsetAndMetadata

from support.bridge import Bridge
from support.clients import committed, create_topic, produce, read_topic
from support.config import config, kafka_endpoint
from support.wait import until


def _records(first, number):
    return [{"key": b"k", "value": b"%d" % n, "partition": 0} for n in range(first, first + number)]


def _delete_before(bootstrap, topic, offset):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.delete_records({TopicPartition(topic, 0): offset})
    finally:
        admin.close()


class Mirror:
    """One route between two topics of one broker, and its group."""

    def __init__(self, broker, fresh, tmp_path, **route):
        self.bootstrap = broker.bootstrap
        self.source, self.sink = fresh("source"), fresh("sink")
        self.group = fresh("group")
        create_topic(self.bootstrap, self.source)
        create_topic(self.bootstrap, self.sink)
        self.bridge = Bridge(tmp_path, config(
            fresh("bridge"), {"k": kafka_endpoint(broker)},
            [{"name": "copy", "from": {"endpoint": "k", "topic": self.source, "group": self.group,
                                       "instance": ""},
              "to": {"endpoint": "k", "topic": self.sink}, **route}]))

    def end(self):
        self.bridge.end()

    def values(self, number):
        return [int(record.value) for record in read_topic(self.bootstrap, self.sink, number)]

    def stored(self, offset):
        until(lambda: _stored(self) == offset, 20,
              f"position {offset} is stored", detail=self.bridge.run.tail)


@pytest.fixture
def mirror(kafka, fresh, tmp_path, ending):
    def make(**route):
        return ending(Mirror(kafka, fresh, tmp_path, **route))
    return make


def _stored(pair):
    try:
        return committed(pair.bootstrap, pair.group)
    except (CoordinatorNotAvailableError, NotCoordinatorError):  # it is the first group
        return None


def _read_100(mirror):
    produce(mirror.bootstrap, mirror.source, _records(0, 100))
    mirror.bridge.start()
    mirror.stored(100)
    assert mirror.bridge.run.terminate() == 0


def test_what_retention_took_while_the_bridge_was_away_stops_the_route(mirror):
    pair = mirror()
    _read_100(pair)
    produce(pair.bootstrap, pair.source, _records(100, 100))
    _delete_before(pair.bootstrap, pair.source, 150)
    run = pair.bridge.start()
    run.wait_logged("50 messages of", pair.source, "gone before they could be read", seconds=30)
    assert run.wait(20) == 1
    assert _stored(pair) == 100, "nothing past the loss is acknowledged"


def test_a_route_that_may_goes_on_behind_the_gap(mirror):
    pair = mirror(on_loss="continue")
    _read_100(pair)
    produce(pair.bootstrap, pair.source, _records(100, 100))
    _delete_before(pair.bootstrap, pair.source, 150)
    run = pair.bridge.start()
    run.wait_logged("gone", pair.source, "50", "goes on", seconds=30)
    assert pair.values(150) == [*range(100), *range(150, 200)]
    pair.stored(200)


def test_a_log_that_is_empty_now_tells_at_once(mirror):
    """Nothing will come that could show a gap."""
    pair = mirror(on_loss="continue")
    _read_100(pair)
    produce(pair.bootstrap, pair.source, _records(100, 100))
    _delete_before(pair.bootstrap, pair.source, 200)
    run = pair.bridge.start()
    run.wait_logged("gone", pair.source, "100", "goes on", seconds=30)
    produce(pair.bootstrap, pair.source, _records(200, 10))
    assert pair.values(110)[100:] == [*range(200, 210)]


def test_a_position_behind_the_end_is_noticed(mirror):
    """A topic that was made anew, or a cluster that was restored from a copy."""
    pair = mirror()
    _read_100(pair)
    _commit(pair, 500)
    produce(pair.bootstrap, pair.source, _records(100, 10))
    run = pair.bridge.start()
    run.wait_logged("some messages of", pair.source, "gone before they could be read", seconds=30)
    assert run.wait(20) == 1
    assert _stored(pair) == 500


def _commit(pair, offset):
    consumer = KafkaConsumer(bootstrap_servers=pair.bootstrap, group_id=pair.group)
    partition = TopicPartition(pair.source, 0)
    try:
        consumer.assign([partition])
        consumer.commit({partition: OffsetAndMetadata(offset, "", -1)})
    finally:
        consumer.close()


def test_what_is_deleted_behind_the_reader_is_no_loss(mirror):
    pair = mirror()
    _read_100(pair)
    _delete_before(pair.bootstrap, pair.source, 100)
    produce(pair.bootstrap, pair.source, _records(100, 10))
    run = pair.bridge.start()
    pair.stored(110)
    assert run.logged("gone") is None
    assert run.terminate() == 0
