# SPDX-License-Identifier: Apache-2.0
"""A source of Redis behind a long path: requests follow each other closely, and nothing is lost."""

import asyncio
import threading
import time

import pytest

from brokers import free_port
from support.bridge import Bridge
from support.config import config
from support.redis_side import client, read
from support.wait import until

ONE_WAY_S = 0.04
COUNT = 20_000
AT_ONCE = 8  # requests, at least, where there is much to read
TAIL_S = 3


class LongPath:
    """A proxy that passes everything on later, however much of it is on its way.

    at_once: so many requests to read it has seen within less than a round trip: that many were
    sent before the first of them was answered.
    """

    def __init__(self, target):
        self.port = free_port()
        self.at_once = 0
        self._asked = []
        self._target = target
        self._writers = set()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def _serve(self, ready):
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._link, "127.0.0.1", self.port))
        ready.set()
        self._loop.run_forever()

    async def _link(self, reader, writer):
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._way(reader, back, self._watch), self._way(there, writer))
        self._writers -= {writer, back}

    def _watch(self, data):
        now = self._loop.time()
        self._asked = [at for at in self._asked if at > now - 1.5 * ONE_WAY_S]
        self._asked += [now] * data.count(b"XREADGROUP")
        self.at_once = max(self.at_once, len(self._asked))

    async def _way(self, reader, writer, watch=lambda data: None):
        try:
            while data := await reader.read(1 << 16):
                watch(data)
                self._loop.call_later(ONE_WAY_S, self._pass_on, writer, data)
        except OSError:
            pass
        self._loop.call_later(ONE_WAY_S, writer.close)

    @staticmethod
    def _pass_on(writer, data):
        if not writer.is_closing():
            writer.write(data)

    def cut(self):
        """All connections end at once, with what is on its way."""
        def abort():
            for writer in self._writers:
                writer.transport.abort()
        self._loop.call_soon_threadsafe(abort)

    async def _close(self):
        self._server.close()
        self.cut()
        await asyncio.sleep(3 * ONE_WAY_S)  # what was still to be passed on meets a closed end
        self._loop.stop()

    def end(self):
        asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        self._thread.join(10)


@pytest.fixture
def far(redis, fresh, tmp_path, ending):
    """A bridge from a stream that is far away to one that is near."""
    path = ending(LongPath(redis.port))
    name, streams = fresh("bridge"), (fresh("from"), fresh("to"))
    bridge = ending(Bridge(tmp_path, config(
        name, {"a": {"backend": "redis", "uri": redis.uri.replace(str(redis.port), str(path.port))},
               "b": {"backend": "redis", "uri": redis.uri}},
        [{"name": "relay", "from": {"endpoint": "a", "stream": streams[0]},
          "to": {"endpoint": "b", "stream": streams[1]}}])))
    bridge.path_, bridge.group = path, f"mbridge.{name}.relay"
    bridge.source, bridge.sink = streams
    return bridge


def fill(redis, stream, first, end):
    with client(redis.uri) as server:
        pipe = server.pipeline(transaction=False)
        for number in range(first, end):
            pipe.execute_command("XADD", stream, "*", "body", number)
        pipe.execute()


def numbers(redis, stream):
    with client(redis.uri) as server:
        return [int(dict(fields)[b"body"]) for _, fields in read(server, stream, "-", 1 << 20)]


def reads(redis):
    line = redis.call("INFO", "commandstats").partition("cmdstat_xreadgroup:calls=")[2]
    return int(line.partition(",")[0] or 0)


def is_done(redis, bridge, count):
    return (redis.call("XLEN", bridge.sink) >= count and
            redis.call("XPENDING", bridge.source, bridge.group)[0] == 0)


def test_requests_follow_each_other(redis, far):
    """More than one request a round trip; and none but the one that waits, when all is read."""
    fill(redis, far.source, 0, COUNT)
    far.start()
    until(lambda: is_done(redis, far, COUNT), 60, "all arrive", detail=far.run.tail)
    assert far.path_.at_once >= AT_ONCE
    assert numbers(redis, far.sink) == list(range(COUNT))
    before, began = reads(redis), time.monotonic()
    until(lambda: time.monotonic() - began > TAIL_S, TAIL_S + 5, "nothing happens", interval=0.2)
    assert reads(redis) - before <= TAIL_S, "it asks again and again where nothing is to come"
    fill(redis, far.source, COUNT, COUNT + 1)
    until(lambda: is_done(redis, far, COUNT + 1), 10, "a lone one arrives", detail=far.run.tail)


def test_cut_while_much_is_under_way(redis, far, dice):
    """What was under way is pending with nobody: it comes first, in order, and only once more."""
    fill(redis, far.source, 0, COUNT)
    far.start()
    for _ in range(3):
        there = redis.call("XLEN", far.sink)
        until(lambda: redis.call("XLEN", far.sink) > there + dice.randrange(100, 3000), 30,
              "it moves", interval=0.005, detail=far.run.tail)
        far.path_.cut()
    until(lambda: is_done(redis, far, COUNT), 60, "all arrive", detail=far.run.tail)
    arrived = numbers(redis, far.sink)
    assert list(dict.fromkeys(arrived)) == list(range(COUNT)), "lost, or out of order"
    assert len(arrived) - COUNT <= 3 * 10_000, "more than a window came twice"
    assert far.run.counters().conserved()
