# SPDX-License-Identifier: Apache-2.0
"""Messages are gone at the source before they were read: the route stops and says so, and says so
at each start, until somebody lets it go on once with on_loss = "continue".

The ways in which Kafka loses records are in test_kafka_loss.py, more of Redis' in test_redis.py.
What no client can see is not here: a queue that was purged, or a stream that was deleted with its
group while nobody read it. That a log is cut after an unclean election takes a cluster of several
brokers; to the client it looks like the topic that was made anew."""

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from support.bridge import Bridge
from support.clients import (create_topic, declare_queue, delete_topic, produce, publish,
                             queue_depth, rabbit_channel, read_topic, take)
from support.config import Raw, config, kafka_endpoint, rabbit_endpoint
from support.wait import settled, until


class Route:
    """One route between two streams of one broker; on_loss can be changed between its runs."""

    def __init__(self, endpoint, source, sink, fresh, workdir, **route):
        self._name, self._endpoint = fresh("bridge"), endpoint
        self._route = {"name": "copy", "from": {"endpoint": "e", **source},
                       "to": {"endpoint": "e", **sink}, **route}
        self.group = f"mbridge.{self._name}.copy"
        self._bridge = Bridge(workdir, self._text("stop"))

    def _text(self, on_loss):
        return config(self._name, {"e": self._endpoint}, [{**self._route, "on_loss": on_loss}],
                      drain_idle="300ms")

    def start(self, on_loss="stop"):
        self._bridge.write(self._text(on_loss))
        return self._bridge.start()

    def drain(self, on_loss="stop"):
        self._bridge.write(self._text(on_loss))
        run = self._bridge.start("--drain")
        assert run.wait(40) == 0, run.tail()
        assert run.last_counters().conserved()
        return run

    def stops(self, count):
        """It says that so many messages (None: some) are gone, and ends with 1."""
        run = self.start()
        what = "some messages of" if count is None else f"{count} messages of"
        run.wait_logged(what, "gone before they could be read", seconds=30)
        assert run.wait(30) == 1, run.tail()
        counters = run.last_counters()
        assert counters.conserved() and counters.total("lost") == (count or 0), counters
        return counters

    def end(self):
        self._bridge.end()


def decide(route, count, arrived):
    """Two starts say the same; then one that may go on says it once more; then it is over."""
    route.stops(count)
    before = arrived()
    route.stops(count)
    assert arrived() == before, "it went on with nobody having said so"
    run = route.drain("continue")
    assert run.logged("gone", "goes on"), run.tail()
    if count is not None:
        assert run.last_counters().total("lost") == count
    assert arrived() > before, "it did not go on"
    run = route.drain()
    assert run.logged("gone") is None, run.tail()
    assert run.last_counters().total("lost") == 0


# ---- Redis ----

@pytest.fixture
def of_redis(redis, fresh, tmp_path, ending):
    def make(number, **route):
        """Numbered entries in a stream of which the group has read the first `number`."""
        stream, sink = fresh("from"), fresh("to")
        made = ending(Route({"backend": "redis", "uri": redis.uri}, {"stream": stream},
                            {"stream": sink}, fresh, tmp_path, **route))
        made.stream, made.sink = stream, sink
        made.arrived = lambda: redis.call("XLEN", sink)
        add(redis, stream, number)
        made.drain()
        assert made.arrived() == number
        return made
    return make


def add(redis, stream, number):
    return [redis.call("XADD", stream, "*", "body", n) for n in range(number)]


def test_redis_trimmed_before_it_was_read(of_redis, redis):
    route = of_redis(10)
    add(redis, route.stream, 10)
    redis.call("XTRIM", route.stream, "MAXLEN", 7)
    decide(route, 3, route.arrived)
    assert route.arrived() == 17


def test_redis_deleted_among_others_before_it_was_read(of_redis, redis):
    route = of_redis(10)
    ids = add(redis, route.stream, 10)
    redis.call("XDEL", route.stream, ids[2], ids[5])
    decide(route, 2, route.arrived)
    assert route.arrived() == 18


def test_redis_deleted_behind_the_reader_is_no_loss(of_redis, redis):
    route = of_redis(10)
    first = redis.call("XRANGE", route.stream, "-", "+", "COUNT", 5)
    redis.call("XDEL", route.stream, *[entry[0] for entry in first])
    add(redis, route.stream, 10)
    run = route.drain()
    assert run.logged("gone") is None, run.tail()
    assert route.arrived() == 20


def test_redis_trimmed_while_it_was_under_way(of_redis, redis):
    """Given out to a consumer that is gone, and trimmed before it was given out again."""
    route = of_redis(1)
    add(redis, route.stream, 10)
    redis.call("XREADGROUP", "GROUP", route.group, "gone", "COUNT", 6, "STREAMS", route.stream, ">")
    redis.call("XTRIM", route.stream, "MAXLEN", 6)
    decide(route, 4, route.arrived)
    assert route.arrived() == 7


@pytest.mark.long
def test_redis_trimmed_while_it_is_read(redis, of_redis):
    """Found while it runs: the group has gone on already, and the server has forgotten."""
    route = of_redis(1, window=Raw("{ messages = 10; }"), rate={"messages": 25})
    add(redis, route.stream, 500)
    run = route.start()
    until(lambda: route.arrived() > 1, 20, "some arrive", detail=run.tail)
    redis.call("XTRIM", route.stream, "MAXLEN", 10)
    run.wait_logged("gone before they could be read", seconds=60)
    assert run.wait(30) == 1, run.tail()
    count = run.last_counters().total("lost")
    assert count > 300
    add(redis, route.stream, 5)
    decide(route, count, route.arrived)


# ---- Kafka ----

@pytest.fixture
def of_kafka(kafka3, fresh, tmp_path, ending):
    kafka = kafka3

    def make(number, **route):
        topic, sink = fresh("from"), fresh("to")
        create_topic(kafka.bootstrap, topic)
        create_topic(kafka.bootstrap, sink)
        made = ending(Route(kafka_endpoint(kafka), {"topic": topic, "instance": ""},
                            {"topic": sink}, fresh, tmp_path, **route))
        made.broker, made.topic, made.sink = kafka, topic, sink
        fill(kafka, topic, 0, number)
        made.drain()
        return made
    return make


def fill(kafka, topic, first, number):
    produce(kafka.bootstrap, topic, [{"key": b"k", "value": b"%d" % n, "partition": 0}
                                     for n in range(first, first + number)])


def values(route, number):
    return [int(record.value)
            for record in read_topic(route.broker.bootstrap, route.sink, number)]


def delete_before(kafka, topic, offset):
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    try:
        admin.delete_records({TopicPartition(topic, 0): offset})
    finally:
        admin.close()


def test_kafka_retention_overtook(of_kafka):
    route = of_kafka(100)
    fill(route.broker, route.topic, 100, 100)
    delete_before(route.broker, route.topic, 150)
    route.stops(50)
    route.stops(50)
    run = route.drain("continue")
    assert run.last_counters().total("lost") == 50
    assert values(route, 150) == [*range(100), *range(150, 200)]
    assert route.drain().last_counters().total("lost") == 0


def test_kafka_topic_made_anew_while_nobody_reads(of_kafka):
    """The broker forgets the group's position with the topic: all of the new one is read."""
    route = of_kafka(100)
    delete_topic(route.broker.bootstrap, route.topic)
    create_topic(route.broker.bootstrap, route.topic)
    fill(route.broker, route.topic, 1000, 150)
    assert route.drain().last_counters().total("lost") == 0
    assert values(route, 250) == [*range(100), *range(1000, 1150)]


def test_kafka_topic_made_anew_while_it_is_read(of_kafka):
    """Nothing of the new topic is skipped, and nothing is said to be as it was."""
    route = of_kafka(100)
    run = route.start()
    run.wait_logged("connected", "source")
    fill(route.broker, route.topic, 100, 10)
    assert values(route, 110)[100:] == [*range(100, 110)]
    delete_topic(route.broker.bootstrap, route.topic)
    create_topic(route.broker.bootstrap, route.topic)
    fill(route.broker, route.topic, 1000, 20)
    until(lambda: not run.running or len(values_now(route)) >= 130, 60,
          "it stops, or carries all of the new topic", detail=run.tail)
    if run.running:
        assert values_now(route)[110:] == [*range(1000, 1020)], run.tail()
    else:
        assert run.code == 1 and run.logged("gone before they could be read"), run.tail()


def values_now(route):
    """All that is in the sink."""
    consumer = KafkaConsumer(bootstrap_servers=route.broker.bootstrap, enable_auto_commit=False,
                             auto_offset_reset="earliest", consumer_timeout_ms=500)
    try:
        partition = TopicPartition(route.sink, 0)
        consumer.assign([partition])
        end = consumer.end_offsets([partition])[partition]
        found = []
        while len(found) < end:
            for records in consumer.poll(1000).values():
                found += [int(record.value) for record in records]
        return found
    finally:
        consumer.close()


# ---- RabbitMQ streams ----

SEGMENT = {"x-queue-type": "stream", "x-stream-max-segment-size-bytes": 100_000,
           "x-max-length-bytes": 200_000}


@pytest.fixture
def of_rabbit(rabbit, fresh, tmp_path, ending):
    def make(number, arguments, prefetch=None, **route):
        stream, queue = fresh("stream"), fresh("queue")
        more = {} if prefetch is None else {"prefetch": prefetch}
        declare_queue(rabbit.uri, stream, arguments)
        made = ending(Route(rabbit_endpoint(rabbit),
                            {"queue": stream, "start": "earliest", "group": fresh("group"),
                             **more},
                            {"queue": queue}, fresh, tmp_path, **route))
        made.uri, made.stream, made.queue = rabbit.uri, stream, queue
        made.arrived = lambda: queue_depth(rabbit.uri, queue) or 0
        put(made, 0, number)
        made.drain()
        return made
    return make


def put(route, first, number, size=0):
    publish(route.uri, "", route.stream,
            [(b"%d" % n + b"." * size, None) for n in range(first, first + number)])


def begin_of(route):
    """Offset and number of the first message that is still there, or None."""
    with rabbit_channel(route.uri) as channel:
        channel.basic_qos(prefetch_count=1)
        for method, properties, body in channel.consume(
                route.stream, arguments={"x-stream-offset": "first"}, inactivity_timeout=10):
            channel.cancel()
            if method is None:
                return None
            return int(properties.headers["x-stream-offset"]), int(body.split(b".")[0])


def test_rabbit_stream_retention_overtook(of_rabbit):
    route = of_rabbit(10, SEGMENT)
    for first in range(10, 1010, 100):
        put(route, first, 100, size=1000)
    until(lambda: begin_of(route)[0] > 10, 30, "retention")
    offset, number = begin_of(route)
    decide(route, offset - 10, route.arrived)  # some offsets are the broker's own
    assert int(take(route.uri, route.queue, 11)[10][2].split(b".")[0]) == number


def test_rabbit_stream_made_anew(of_rabbit):
    route = of_rabbit(20, {"x-queue-type": "stream"})
    with rabbit_channel(route.uri) as channel:
        channel.queue_delete(route.stream)
    declare_queue(route.uri, route.stream, {"x-queue-type": "stream"})
    put(route, 100, 5)
    decide(route, None, route.arrived)
    assert route.arrived() == 25


def test_rabbit_stream_made_anew_and_empty_at_the_start(of_rabbit):
    """It shows with the first message that comes."""
    route = of_rabbit(20, {"x-queue-type": "stream"})
    with rabbit_channel(route.uri) as channel:
        channel.queue_delete(route.stream)
    declare_queue(route.uri, route.stream, {"x-queue-type": "stream"})
    run = route.start()
    run.wait_logged("connected", "source")
    put(route, 100, 5)
    run.wait_logged("gone before they could be read", seconds=30)
    assert run.wait(30) == 1, run.tail()
    decide(route, None, route.arrived)
    assert route.arrived() == 25


@pytest.mark.long
def test_rabbit_stream_retention_overtakes_a_reader(of_rabbit):
    """A sink that is slow, and a stream that keeps little."""
    route = of_rabbit(10, SEGMENT, window=Raw("{ messages = 20; }"), rate={"messages": 20},
                      prefetch=10)
    put(route, 10, 30, size=1000)
    run = route.start()
    until(lambda: route.arrived() >= 15, 20, "some arrive", detail=run.tail)
    for first in range(40, 2040, 100):
        put(route, first, 100, size=1000)
    run.wait_logged("gone before they could be read", seconds=40)
    assert run.wait(30) == 1, run.tail()
    settled(lambda: begin_of(route), 1, 20, "retention is through")
    run = route.start()
    assert run.wait(30) == 1, run.tail()
    count = run.last_counters().total("lost")
    assert count > 100
    decide(route, count, route.arrived)
