# SPDX-License-Identifier: Apache-2.0
"""A judged route between any two sides (support/sides.py), at default settings."""

import signal

from support.bridge import Bridge
from support.config import config
from support.feed import Feeder
from support.oracle import Stream
from support.pair import ENDLESS
from support.wait import until

KEYS = 50
STALL_S = 60
NAME = "pair"


class Route:
    """Places, feeder, collector and configuration of one route.

    endpoints: what replaces members of the endpoints "a" (source) and "b" (sink), as a proxy's
    address. dead: the side that has the dead letters. ends: further members of `from` and `to`.
    names: how the places' names begin, other than "from" and "to".
    """

    def __init__(self, source, sink, fresh, workdir, dice, *, count=ENDLESS, keys=KEYS, rate=1500,
                 live=True, dead=None, endpoints=None, ends=None, names=None, **route):
        self.source, self.sink, self.workdir = source, sink, workdir
        named = names or {}
        self.where = source.make(fresh(named.get("from", "from")))
        self.there = sink.make(fresh(named.get("to", "to")))
        self.buried = dead.make(fresh("dead")) if dead else None
        self.dead = dead
        self.bridge_name = fresh("bridge")
        changed = endpoints or {}
        self.endpoints = {"a": {**source.endpoint, **changed.get("a", {})},
                          "b": {**sink.endpoint, **changed.get("b", {})}}
        if dead:
            self.endpoints["d"] = dead.endpoint
        self._ends, self.more = ends or {}, route
        self.feeder = Feeder(workdir, "load", dice.randrange(1 << 30), count, keys=keys, rate=rate,
                             **self.where)
        self.stream = Stream(workdir, self.feeder, self.there, self.buried, live=live,
                             headers=True)

    def text(self, **more):
        route = {"name": NAME,
                 "from": {"endpoint": "a", **self.source.source(self.where),
                          **self._ends.get("from", {})},
                 "to": {"endpoint": "b", **self.sink.sink(self.there), **self._ends.get("to", {})}}
        if self.dead:
            route["dead_letter"] = {"endpoint": "d", **self.dead.sink(self.buried)}
        return config(self.bridge_name, self.endpoints, [{**route, **self.more, **more}])

    def bridge(self, name="bridge", env=None, **more):
        return Bridge(self.workdir, self.text(**more), name, env)

    def end(self):
        self.stream.end()


def wait_arrived(stream, wanted, bridge, stall=STALL_S):
    """Until so many have arrived; fails where nothing moves any more."""
    while (known := stream.arrived) < wanted:
        bridge.check()
        stream.check()
        until(lambda: stream.arrived > known, stall, f"more than {known} of {wanted} arrived",
              interval=0.01, detail=bridge.run.tail)


def kill_rounds(route, bridge, rounds, each, dice, least=None):
    """Kills the bridge and starts it again, each time after `least` to `each` messages; the feeder
    never pauses, so that there is a backlog when it comes back, and it is killed while messages
    flow."""
    least = each // 10 if least is None else least
    for _ in range(rounds):
        wait_arrived(route.stream, route.stream.arrived + dice.randrange(least, each), bridge)
        route.stream.fault()
        bridge.run.kill()
        bridge.start()


def both_take(first, second):
    """A condition: both processes have received messages."""
    def busy():
        first.check()
        second.check()
        return all(bridge.run.counters().total("received") for bridge in (first, second))
    return busy


def zombie_rounds(route, first, second, rounds, dice, moved=2000):
    """first stands still for longer than its session, while it works; second takes over; first wakes
    with what it has in hand, and goes on when second is killed."""
    wait_arrived(route.stream, 500, first)
    for _ in range(rounds):
        wait_arrived(route.stream, route.stream.arrived + dice.randrange(100, 1000), first)
        first.run.signal(signal.SIGSTOP)
        route.stream.fault()
        second.start()
        wait_arrived(route.stream, route.stream.arrived + moved, second)
        first.run.signal(signal.SIGCONT)
        wait_arrived(route.stream, route.stream.arrived + moved, second)
        second.run.kill()
        route.stream.fault()
        wait_arrived(route.stream, route.stream.arrived + moved, first)


def stop_and_judge(route, bridge, seconds=600, stall=STALL_S):
    """Stops the feeder, waits for the rest, ends the bridge in order; the verdict."""
    route.feeder.stop()
    verdict = route.stream.finish(seconds, stall, poll=bridge.check)
    assert bridge.run.terminate() == 0, bridge.run.tail()
    assert bridge.run.last_counters().conserved(), bridge.run.last_counters()
    return verdict


def run_pair(source, sink, form, fresh, workdir, dice, ending):
    """Feeds at least form["count"], kills and resumes the bridge form["rounds"] times."""
    route = ending(Route(source, sink, fresh, workdir, dice, rate=form["rate"]))
    bridge = ending(route.bridge())
    route.feeder.start()
    bridge.start()
    each = form["count"] // form["rounds"]
    kill_rounds(route, bridge, form["rounds"], each * 3 // 4, dice)
    wait_arrived(route.stream, form["count"], bridge)
    return stop_and_judge(route, bridge)
