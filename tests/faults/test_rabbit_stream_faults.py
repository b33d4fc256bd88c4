# SPDX-License-Identifier: Apache-2.0
"""A stream as a source while its broker is killed: nothing is lost, repetitions are bounded."""

import pika

from support.bridge import Bridge
from support.clients import declare_queue, queue_depth, rabbit_channel, take
from support.config import config, rabbit_endpoint
from support.wait import until

TOTAL = 4000
WINDOW = 300


def _depth(broker, queue):
    try:
        return queue_depth(broker.uri, queue) or 0
    except (pika.exceptions.AMQPError, OSError):
        return 0


def _fill(uri, stream):
    """At once, and confirmed by the last one: a stream confirms in order."""
    plain = pika.BasicProperties(delivery_mode=2)
    with rabbit_channel(uri) as channel:
        for number in range(TOTAL - 1):
            channel.basic_publish("", stream, b"%d" % number, plain)
        channel.confirm_delivery()
        channel.basic_publish("", stream, b"%d" % (TOTAL - 1), plain)


def test_a_stream_survives_its_broker(rabbit, fresh, tmp_path, dice, ending, counts):
    stream, queue = fresh("stream"), fresh("queue")
    declare_queue(rabbit.uri, stream, {"x-queue-type": "stream"})
    declare_queue(rabbit.uri, queue)
    _fill(rabbit.uri, stream)
    # A declaration is confirmed before it is on disk.
    rabbit.ctl("eval", "mnesia:sync_log().")
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"r": rabbit_endpoint(rabbit)},
        [{"name": "read", "from": {"endpoint": "r", "queue": stream, "start": "earliest"},
          "to": {"endpoint": "r", "queue": queue}, "window": {"messages": WINDOW},
          "rate": {"messages": 500}}])))
    bridge.start("--drain")
    kills = 2
    for _ in range(kills):
        goal = _depth(rabbit, queue) + dice.randrange(200, 900)
        until(lambda: _depth(rabbit, queue) >= goal, 30, f"{goal} messages", interval=0.2,
              detail=bridge.run.tail)
        rabbit.kill()
        rabbit.restart_after_kill()
    assert bridge.run.wait(90) == 0, bridge.run.tail()
    found = [int(body) for _, _, body in take(rabbit.uri, queue, _depth(rabbit, queue))]
    counts(messages=TOTAL, kills=kills, repeated=len(found) - TOTAL)
    assert list(dict.fromkeys(found)) == list(range(TOTAL))
    assert len(found) - TOTAL <= kills * WINDOW
