# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ streams by AMQP 0-9-1: read from a position that the group keeps in the broker, and
written to."""

import decimal

import pika
import pytest

from support.bridge import Bridge, command
from support.clients import (declare_queue, publish, queue_depth, rabbit_channel, read_topic, take)
from support.config import config, kafka_endpoint, rabbit_endpoint
from support.wait import until

PLAIN = pika.BasicProperties(delivery_mode=2)


@pytest.fixture(params=[None, "trixie"], ids=["rabbit3", "rabbit4"])
def either(request, brokers):
    """RabbitMQ of both Debian releases."""
    if request.param is None:
        return brokers.rabbit()
    return brokers.rabbit(which="trixie", release=request.param)


@pytest.fixture
def bridge_of(fresh, tmp_path, ending):
    """bridge_of(broker, source options, queue): one from a stream to a queue, not started."""
    def make(broker, source, queue, name="bridge", bridge=None, **route):
        return ending(Bridge(tmp_path, config(
            bridge or fresh("bridge"), {"r": rabbit_endpoint(broker)},
            [{"name": "read", "from": {"endpoint": "r", **source},
              "to": {"endpoint": "r", "queue": queue}, **route}]), name=name))
    return make


def declare_stream(uri, name, **arguments):
    declare_queue(uri, name, {"x-queue-type": "stream", **arguments})


def fill(uri, stream, first, number):
    publish(uri, "", stream, [(b"%d" % count, PLAIN) for count in range(first, first + number)])


def bodies(uri, queue, number):
    return [int(body) for _, _, body in take(uri, queue, number)]


def stored(uri, group, stream):
    """The group's position, looked at and given back."""
    with rabbit_channel(uri) as channel:
        method, _, body = channel.basic_get(f"mbridge.offset.{group}.{stream}")
        if method is not None:
            channel.basic_reject(method.delivery_tag, requeue=True)
        return None if body is None else body.decode()


def test_a_group_goes_on_where_it_stood(either, fresh, bridge_of):
    stream, queue, group = fresh("stream"), fresh("queue"), fresh("group")
    declare_stream(either.uri, stream)
    fill(either.uri, stream, 0, 50)
    bridge = bridge_of(either, {"queue": stream, "start": "earliest", "group": group}, queue)
    bridge.start()
    assert bodies(either.uri, queue, 50) == list(range(50))
    assert bridge.run.terminate() == 0
    assert stored(either.uri, group, stream) == "offset:50"
    fill(either.uri, stream, 50, 20)
    bridge.start()
    found = take(either.uri, queue, 20)
    assert [int(body) for _, _, body in found] == list(range(50, 70))
    # What the broker says of a delivery is no header of the message.
    assert "x-stream-offset" not in (found[0][1].headers or {})
    assert bridge.run.terminate() == 0
    assert queue_depth(either.uri, queue) == 0
    assert bridge.run.last_counters().conserved()


def test_nothing_is_lost_when_it_is_killed(rabbit, fresh, bridge_of, dice):
    stream, queue = fresh("stream"), fresh("queue")
    total, window = 3000, 200
    declare_stream(rabbit.uri, stream)
    fill(rabbit.uri, stream, 0, total)
    bridge = bridge_of(rabbit, {"queue": stream, "start": "earliest"}, queue,
                       window={"messages": window})
    kills = 3
    for count in range(kills):
        bridge.start()
        goal = dice.randrange(100, 600) * (count + 1)
        until(lambda: (queue_depth(rabbit.uri, queue) or 0) >= goal, 20, f"{goal} messages",
              detail=bridge.run.tail)
        bridge.run.kill()
    bridge.start("--drain")
    assert bridge.run.wait(30) == 0, bridge.run.tail()
    found = bodies(rabbit.uri, queue, queue_depth(rabbit.uri, queue))
    first_seen = list(dict.fromkeys(found))
    assert first_seen == list(range(total))
    assert len(found) - total <= kills * window


def test_latest_is_kept_over_a_restart(either, fresh, bridge_of):
    stream, queue, group = fresh("stream"), fresh("queue"), fresh("group")
    declare_stream(either.uri, stream)
    fill(either.uri, stream, 0, 10)
    bridge = bridge_of(either, {"queue": stream, "start": "latest", "group": group}, queue)
    bridge.start()
    until(lambda: bridge.run.logged("started") and _position(either, group, stream), 20,
          "a position", detail=bridge.run.tail)
    assert bridge.run.terminate() == 0
    assert stored(either.uri, group, stream) == "offset:10"
    fill(either.uri, stream, 10, 5)
    bridge.start()
    assert bodies(either.uri, queue, 5) == list(range(10, 15))


def _position(broker, group, stream):
    try:
        return stored(broker.uri, group, stream)
    except pika.exceptions.ChannelClosedByBroker:
        return None


def test_an_offset_and_a_time(rabbit, fresh, bridge_of):
    stream, queue = fresh("stream"), fresh("queue")
    declare_stream(rabbit.uri, stream)
    fill(rabbit.uri, stream, 0, 10)
    by_offset = bridge_of(rabbit, {"queue": stream, "arguments": ["x-stream-offset=7"]}, queue,
                          name="offset")
    by_offset.start()
    assert bodies(rabbit.uri, queue, 3) == [7, 8, 9]
    assert by_offset.run.terminate() == 0
    by_time = bridge_of(rabbit, {"queue": stream, "start": "-1h", "group": fresh("other")}, queue,
                        name="time")
    by_time.start("--drain")
    assert by_time.run.wait(30) == 0, by_time.run.tail()
    assert bodies(rabbit.uri, queue, 10) == list(range(10))


def test_groups_read_apart_and_one_process_of_a_group_stands_by(rabbit, fresh, bridge_of):
    stream, queue, other = fresh("stream"), fresh("queue"), fresh("other")
    declare_stream(rabbit.uri, stream)
    fill(rabbit.uri, stream, 0, 10)
    source = {"queue": stream, "start": "earliest", "group": fresh("group")}
    active = bridge_of(rabbit, source, queue, name="active")
    standby = bridge_of(rabbit, source, queue, name="standby")
    apart = bridge_of(rabbit, {**source, "group": fresh("apart")}, other, name="apart")
    active.start()
    assert bodies(rabbit.uri, queue, 10) == list(range(10))
    standby.start()
    standby.run.wait_logged("standing by")
    apart.start()
    assert bodies(rabbit.uri, other, 10) == list(range(10))
    active.run.kill()
    fill(rabbit.uri, stream, 10, 10)
    found = bodies(rabbit.uri, queue, 10)
    assert found[-1] == 19 or 19 in bodies(rabbit.uri, queue, 10)


def test_a_stream_that_begins_anew_is_a_loss(rabbit, fresh, bridge_of):
    stream, queue = fresh("stream"), fresh("queue")
    source = {"queue": stream, "start": "earliest", "group": fresh("group")}
    declare_stream(rabbit.uri, stream)
    fill(rabbit.uri, stream, 0, 20)
    bridge = bridge_of(rabbit, source, queue)
    bridge.start()
    assert bodies(rabbit.uri, queue, 20) == list(range(20))
    assert bridge.run.terminate() == 0
    with rabbit_channel(rabbit.uri) as channel:
        channel.queue_delete(stream)
    declare_stream(rabbit.uri, stream)
    fill(rabbit.uri, stream, 100, 5)
    bridge.start()
    assert bridge.run.wait(30) != 0
    assert bridge.run.logged("gone before they could be read"), bridge.run.tail()
    assert queue_depth(rabbit.uri, queue) == 0
    goes_on = bridge_of(rabbit, source, queue, name="goes_on", on_loss="continue")
    goes_on.start()
    assert bodies(rabbit.uri, queue, 5) == list(range(100, 105))


def test_several_streams_each_with_its_position(rabbit, fresh, bridge_of):
    streams, queue, group = [fresh("one"), fresh("two")], fresh("queue"), fresh("group")
    for count, stream in enumerate(streams):
        declare_stream(rabbit.uri, stream)
        fill(rabbit.uri, stream, 1000 * count, 10 + count)
    bridge = bridge_of(rabbit, {"queues": streams, "start": "earliest", "group": group}, queue)
    bridge.start("--drain")
    assert bridge.run.wait(30) == 0, bridge.run.tail()
    found = bodies(rabbit.uri, queue, 21)
    assert [number for number in found if number < 1000] == list(range(10))
    assert [number for number in found if number >= 1000] == list(range(1000, 1011))
    assert [stored(rabbit.uri, group, stream) for stream in streams] == ["offset:10", "offset:11"]


def test_a_stream_that_is_read_as_a_queue_is_refused(either, fresh, bridge_of):
    """Unknown to the options, it would be read from its end, whatever came before."""
    stream, queue = fresh("stream"), fresh("queue")
    declare_stream(either.uri, stream)
    bridge = bridge_of(either, {"queue": stream}, queue)
    bridge.start()
    bridge.run.wait_logged("connected", "source")
    fill(either.uri, stream, 0, 5)
    assert bridge.run.wait(20) != 0
    assert bridge.run.logged("is a stream"), bridge.run.tail()
    assert queue_depth(either.uri, queue) == 0


def test_a_header_of_that_name_makes_no_stream(either, fresh, bridge_of):
    source, queue = fresh("source"), fresh("queue")
    declare_queue(either.uri, source, {"x-max-length": 1000})
    publish(either.uri, "", source, [
        (b"%d" % count, pika.BasicProperties(delivery_mode=2, headers={
            "x-stream-offset": 2**40 + count})) for count in range(100)])
    bridge = bridge_of(either, {"queue": source}, queue)
    bridge.start()
    found = take(either.uri, queue, 100)
    assert [int(body) for _, _, body in found] == list(range(100))
    assert found[0][1].headers["x-stream-offset"] == 2**40
    assert bridge.run.terminate() == 0
    assert queue_depth(either.uri, source) == 0


def test_check_asks_for_what_is_missing(rabbit, fresh, tmp_path):
    stream, path = fresh("stream"), tmp_path / "checked.conf"
    declare_stream(rabbit.uri, stream)
    path.write_text(config(fresh("bridge"), {"r": rabbit_endpoint(rabbit)}, [
        {"name": "read", "from": {"endpoint": "r", "queue": stream, "group": "g"},
         "to": {"endpoint": "r", "queue": fresh("queue")}}]))
    code, out, log = command("check", path)
    assert code == 2 and "group belongs to a stream" in out + log, out + log


def test_a_stream_as_a_sink_keeps_what_it_would_drop(either, kafka3, fresh, tmp_path, ending):
    """The broker drops lists from a stream's headers, and a decimal ends the connection."""
    source, stream, topic = fresh("source"), fresh("stream"), fresh("topic")
    declare_queue(either.uri, source)
    publish(either.uri, "", source, [(b"body", pika.BasicProperties(
        delivery_mode=2, message_id="m", headers={
            "list": [1, "two"], "price": decimal.Decimal("12.34"), "n": 42, "text": "größe"}))])
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"r": rabbit_endpoint(either), "k": kafka_endpoint(kafka3)},
        [{"name": "out", "provenance": "always", "from": {"endpoint": "r", "queue": source},
          "to": {"endpoint": "r", "queue": stream, "queue_type": "stream"}},
         {"name": "on", "from": {"endpoint": "r", "queue": stream, "start": "earliest"},
          "to": {"endpoint": "k", "topic": topic}}])))
    bridge.start()
    record = read_topic(kafka3.bootstrap, topic, 1)[0]
    headers = dict(record.headers)
    assert record.value == b"body"
    assert headers["message-id"] == b"m" and headers["n"] == b"42"
    assert headers["text"] == "größe".encode()
    assert headers["list"] == b'[1,"two"]', headers
    assert headers["price"] == b"12.34", headers
