# SPDX-License-Identifier: Apache-2.0
"""How a source tells RabbitMQ of finished messages, and connections that rest: seen on the wire, by
a proxy in between."""

import struct
import time

import pika
import pytest

from support.bridge import Bridge
from support.clients import declare_queue, publish, queue_depth, take
from support.config import config
from support.proxy import Proxy
from support.wait import until
from support.wirewatch import Amqp091

PLAIN = pika.BasicProperties(delivery_mode=2)
MESSAGES = 3000


class Acks:
    """(tag, multiple) of each acknowledgement that a client sent, and when the first one and the
    last one came by."""

    def __init__(self):
        self.seen, self.times, self._links = [], [], {}

    def watch(self, link, way, data):
        if way == "up":
            for frame in self._links.setdefault(link, Amqp091.Frames()).add(data):
                if frame[0] == 1 and struct.unpack_from(">HH", frame, 7) == Amqp091.ACK:
                    self.seen.append(struct.unpack_from(">QB", frame, 11))
                    self.times.append(time.monotonic())


@pytest.fixture
def route(rabbit, fresh, tmp_path, ending):
    """route(…) runs one from a queue of `count` messages to nowhere: (bridge, queue, acks)."""
    def run(count, slice_size=0, **source):
        queue, acks, proxy = fresh("source"), Acks(), ending(Proxy(rabbit.port))
        proxy.watch, proxy.slice = acks.watch, slice_size
        declare_queue(rabbit.uri, queue)
        publish(rabbit.uri, "", queue, [(b"%d" % number, PLAIN) for number in range(count)])
        uri = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"
        bridge = ending(Bridge(tmp_path, config(
            fresh("bridge"), {"r": {"backend": "amqp091", "uri": uri}, "m": {"backend": "memory"}},
            [{"name": "one", "from": {"endpoint": "r", "queue": queue, **source},
              "to": {"endpoint": "m", "discard": True}}])))
        bridge.start()
        return bridge, queue, acks
    return run


def test_acknowledgements_are_gathered(route, rabbit):
    """Though they come in one by one."""
    bridge, queue, acks = route(MESSAGES, slice_size=100)
    # The last ones come by themselves: nothing else happens that would push them out.
    until(lambda: acks.seen and acks.seen[-1][0] == MESSAGES, 20, "the last acknowledgement",
          detail=bridge.run.tail)
    assert all(multiple & 1 for _, multiple in acks.seen)
    assert [tag for tag, _ in acks.seen] == sorted({tag for tag, _ in acks.seen})
    gaps = [after - before for (before, _), (after, _) in zip(acks.seen, acks.seen[1:])]
    share = 8000 // 16  # of the prefetch
    assert max(gaps) <= share + 512  # what one step of the lane may add to it
    by_time = (acks.times[-1] - acks.times[0]) / 0.003
    assert len(acks.seen) <= MESSAGES / share + by_time + 10
    assert bridge.run.terminate() == 0
    assert queue_depth(rabbit.uri, queue) == 0


def test_a_small_prefetch_is_never_held_up(route):
    """With one message at a time the broker waits for each acknowledgement."""
    bridge, _, acks = route(50, prefetch=1)
    until(lambda: len(acks.seen) == 50, 20, "50 acknowledgements", detail=bridge.run.tail)
    assert [tag for tag, _ in acks.seen] == list(range(1, 51))


def test_what_is_gathered_goes_before_the_end(route, rabbit):
    """Stopped in the middle: what was delivered does not come again."""
    bridge, queue, acks = route(MESSAGES)
    until(lambda: acks.seen, 20, "an acknowledgement", detail=bridge.run.tail)
    assert bridge.run.terminate() == 0
    delivered = bridge.run.last_counters().total("delivered")
    assert acks.seen[-1][0] == delivered
    assert queue_depth(rabbit.uri, queue) == MESSAGES - delivered


def test_a_route_goes_on_after_a_rest(rabbit, fresh, tmp_path, ending):
    """Connections without output give the memory of their buffers back; with each heartbeat."""
    source, target, proxy = fresh("source"), fresh("target"), ending(Proxy(rabbit.port))
    heartbeats, links = [], {}

    def watch(link, way, data):
        if way == "up":
            heartbeats.extend(frame for frame in links.setdefault(link, Amqp091.Frames()).add(data)
                              if frame[0] == 8)

    def feed(begin, end, size):
        publish(rabbit.uri, "", source, [(b"%0*d" % (size, number), PLAIN)
                                         for number in range(begin, end)])
        until(lambda: queue_depth(rabbit.uri, target) == end, 20, f"{end} messages",
              detail=bridge.run.tail)
    proxy.watch = watch
    for queue in (source, target):
        declare_queue(rabbit.uri, queue)
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"r": {"backend": "amqp091", "heartbeat": "1s",
                                "uri": f"amqp://guest:guest@127.0.0.1:{proxy.port}/"}},
        [{"name": "one", "from": {"endpoint": "r", "queue": source},
          "to": {"endpoint": "r", "queue": target}}])))
    bridge.start()
    total = 0
    for count, size in ((300, 500), (3, 400_000), (300, 500)):
        feed(total, total + count, size)
        total += count
        seen = len(heartbeats) + 6
        until(lambda: len(heartbeats) >= seen, 20, "heartbeats", detail=bridge.run.tail)
    found = take(rabbit.uri, target, total)
    assert [int(body[-4:]) for _, _, body in found] == list(range(total))
    assert bridge.run.terminate() == 0
    assert queue_depth(rabbit.uri, source) == 0
