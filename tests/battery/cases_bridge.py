# SPDX-License-Identifier: Apache-2.0
"""F1, F2, F12, F17: what happens to the bridge itself."""

import resource
import signal
import time

from battery.cases_broker import QUICK
from battery.trial import Case, delivered_of
from support.pair import STRAGGLERS_S, WINDOW
from support.route import KEYS, kill_rounds, stop_and_judge, wait_arrived
from support.wait import until

EACH = 900  # messages between two faults, at most
# Classic gives back what was under way when the bridge went behind what it still gives back of the
# time before (docs/delivery.md): all of that has to have come. More than a link's credit there, and
# duplicates of it.
EACH_CLASSIC = (3000, 4500)
RATE = 1500
FEW_DESCRIPTORS = 32
# A broker that is not told to look sooner takes a client for dead after 60 s (Artemis).
TAKEOVER_S = 150


def _started(trial, quick=False):
    """quick: whoever falls silent is noticed soon."""
    source, sink = trial.fleet.pair(trial.pair)
    endpoints = {"a": QUICK[source.platform], "b": QUICK[sink.platform]} if quick else None
    route = trial.route(source, sink, rate=RATE, endpoints=endpoints)
    bridge = trial.bridge(route)
    route.feeder.start()
    bridge.start()
    return route, bridge


def _between(trial):
    """How many messages come between two faults, at least and at most."""
    return EACH_CLASSIC if trial.pair[0] == "classic" else (EACH // 10, EACH)


def killed(trial):
    route, bridge = _started(trial)
    least, each = _between(trial)
    kill_rounds(route, bridge, trial.rounds, each, trial.dice, least)
    wait_arrived(route.stream, route.stream.arrived + EACH, bridge)
    trial.kept(stop_and_judge(route, bridge))


def terminated(trial):
    """SIGTERM: exit 0, and nothing comes twice."""
    route, bridge = _started(trial)
    for _ in range(trial.rounds):
        wait_arrived(route.stream, route.stream.arrived + trial.dice.randrange(*_between(trial)),
                     bridge)
        route.stream.fault()
        assert bridge.run.terminate() == 0, bridge.run.tail()
        counters = bridge.run.last_counters()
        assert counters.conserved() and counters.total("in_flight") == 0, counters
        bridge.start()
    wait_arrived(route.stream, route.stream.arrived + EACH, bridge)
    verdict = stop_and_judge(route, bridge)
    trial.kept(verdict, duplicates_max=0)
    delivered = sum(run.last_counters().total("delivered") for run in bridge.runs)
    assert delivered == verdict.arrived, f"{delivered} counted, {verdict.arrived} arrived"


def reloaded(trial):
    """SIGHUP with a route that changed, under load: nothing comes twice."""
    route, bridge = _started(trial)
    bridge.ready()
    for number in range(trial.rounds):
        wait_arrived(route.stream, route.stream.arrived + trial.dice.randrange(50, EACH), bridge)
        route.stream.fault()
        known = len(bridge.run.log)
        bridge.reload(route.text(retry={"max": f"{number % 7 + 2}s"}))
        until(lambda: len(bridge.run.log) > known, 30, "the reload is told",
              detail=bridge.run.tail)
    wait_arrived(route.stream, route.stream.arrived + EACH, bridge)
    trial.kept(stop_and_judge(route, bridge), duplicates_max=0)


def _every_key(route, since, bridges):
    """Until messages of every key, so of every share, have come that were sent after `since`."""
    watch = route.stream.destination
    watch.mark(since + STRAGGLERS_S)

    def moved():
        route.stream.update()
        return len(watch.newest) == KEYS
    until(moved, TAKEOVER_S, "messages of every key move", interval=0.01,
          detail=lambda: "\n".join(bridge.run.tail(15) for bridge in bridges))


def _at_work(bridges):
    """Those of them that take messages."""
    def received():
        return [bridge.run.counters().total("received") for bridge in bridges]
    before = received()

    def growing():
        return [bridge for bridge, was, now in zip(bridges, before, received()) if now > was]
    return until(growing, TAKEOVER_S, "one of them takes messages", interval=0.1)


def two_processes(trial):
    """One joins; then in turn one that works is killed, stopped in order, or held past its session:
    the other one takes all of it over."""
    route, first = _started(trial, quick=True)
    second = trial.bridge(route, "second")
    wait_arrived(route.stream, 200, first)
    second.start()
    second.ready()
    kinds = ["kill", "leave", "zombie"]
    trial.dice.shuffle(kinds)
    kinds = (kinds * trial.rounds)[:trial.rounds]
    trial.row["kinds"] = kinds
    for kind in kinds:
        wait_arrived(route.stream, route.stream.arrived + trial.dice.randrange(50, EACH), first)
        one = trial.dice.choice(_at_work((first, second)))
        other = second if one is first else first
        route.stream.fault()
        if kind == "kill":
            one.run.kill()
        elif kind == "leave":
            assert one.run.terminate() == 0, one.run.tail()
        else:
            one.run.signal(signal.SIGSTOP)
        try:
            _every_key(route, time.monotonic(), (other,))
        finally:
            if kind == "zombie":
                one.run.signal(signal.SIGCONT)
        if kind != "zombie":
            one.start()
            one.ready()
        _every_key(route, time.monotonic(), (first, second))
    route.feeder.stop()
    verdict = route.stream.finish(600, 60)
    for bridge in (first, second):
        assert bridge.run.terminate() == 0, bridge.run.tail()
    trial.kept(verdict, per_fault_max=2 * WINDOW)


def few_descriptors(trial):
    """32 descriptors: either it works with them, or it says what it lacks and loses nothing."""
    route = trial.pair_route(rate=RATE)
    bridge = trial.bridge(route)
    route.feeder.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def start():
        bridge.start()
        resource.prlimit(bridge.run.pid, resource.RLIMIT_NOFILE, (FEW_DESCRIPTORS, hard))
    start()
    bridge.ready()
    for _ in range(trial.rounds):
        before = delivered_of(bridge)()
        until(lambda: delivered_of(bridge)() > before + 100, 60, "messages move",
              detail=bridge.run.tail)
        route.stream.fault()
        bridge.run.kill()
        start()
        bridge.ready()
    wait_arrived(route.stream, route.stream.arrived + EACH, bridge)
    trial.kept(stop_and_judge(route, bridge))


CASES = (
    Case("F1", "", "kill -9 of the bridge", killed, 100, 2, extra=True),
    Case("F2", "SIGTERM", "stopped in order under load", terminated, 20, 2, extra=True),
    Case("F2", "SIGHUP", "reloaded under load, with a route that changed", reloaded, 20, 2,
         extra=True),
    Case("F12", "", "two processes: join, leave, kill -9, held past the session", two_processes, 9),
    Case("F17", "descriptors", "no more than 32 descriptors", few_descriptors, 3),
)
