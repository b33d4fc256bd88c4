# SPDX-License-Identifier: Apache-2.0
"""Connections that come and go leave nothing behind: resident memory after many is that after few.

The hour of all platforms is ./dev soak."""

import statistics

import pytest

from support.bridge import Bridge
from support.config import config
from support.proxy import Proxy
from support.redis_side import RedisSide
from support.wait import until

ROUTES = 6
MESSAGES = 500
WINDOW = 256
WARM = 80  # until buffers are as large as they get
LAST = 10  # whose median counts
GROWTH_KIB = 1536

pytestmark = pytest.mark.usefixtures("only_as_released")


class Crowd:
    """Routes over one broker behind a proxy, all of which lose their connections together."""

    def __init__(self, redis, fresh, workdir):
        self._redis, self._proxy = redis, Proxy(redis.port)
        self._names = [fresh(f"s{number}") for number in range(ROUTES)]
        uri = redis.uri.replace(str(redis.port), str(self._proxy.port))
        self.bridge = Bridge(workdir, config(fresh("bridge"), {
            "r": {"backend": "redis", "uri": uri}}, [
                {"name": name, "from": {"endpoint": "r", "stream": name},
                 "to": {"endpoint": "r", "stream": f"{name}.to"},
                 # What a window takes while a backlog fills it is its own, and is bounded by it.
                 "window": {"messages": WINDOW},
                 "retry": {"initial": "1ms", "max": "20ms"}} for name in self._names]))
        self._sent = 0

    def start(self):
        self.bridge.start()
        self.bridge.ready()

    def round(self, messages):
        """A burst into each route, and a cut in the middle of it."""
        for name in self._names:
            self._redis.call("EVAL", "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', "
                             "'body', string.rep('x', 200)) end", "1", name, str(messages))
        self._proxy.reset()
        self._sent += messages * ROUTES
        until(lambda: self.bridge.run.counters(20).total("delivered") >= self._sent, 60,
              "all is delivered", interval=0.02, detail=self.bridge.run.tail)

    def rounds(self, number, dice):
        """The median of what it holds after each of the last ones, in KiB."""
        held = []
        for _ in range(number):
            self.round(dice.randrange(1, MESSAGES))
            held.append(self.bridge.run.rss_kib())
        return statistics.median(held[-LAST:])

    def end(self):
        self.bridge.end()
        self._proxy.end()


@pytest.mark.parametrize("number", [120, pytest.param(600, marks=pytest.mark.long)])
def test_connections_that_come_and_go(number, redis, fresh, tmp_path, dice, ending, counts):
    crowd = ending(Crowd(redis, fresh, tmp_path))
    crowd.start()
    few = crowd.rounds(WARM, dice)
    many = crowd.rounds(number, dice)
    if many - few > GROWTH_KIB:  # what a buffer takes at most came late; a leak goes on
        few, many = many, crowd.rounds(number, dice)
    counts(connections=2 * ROUTES * (WARM + number), **{"RSS KiB after few": few,
                                                        "after many": many})
    assert crowd.bridge.run.terminate() == 0, crowd.bridge.run.tail()
    assert many - few <= GROWTH_KIB
