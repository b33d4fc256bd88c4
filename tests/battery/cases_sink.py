# SPDX-License-Identifier: Apache-2.0
"""F8, F9, F13: the sink refuses, its destination goes away, or the messages are poison."""

import time

from battery import poison, refusals
from battery.cases_broker import only_to
from battery.fleet import LIMITS
from battery.trial import Case, delivered_of
from support.clients import declare_queue, delete_queue, rabbit_channel
from support.pair import WINDOW
from support.route import NAME, STALL_S, stop_and_judge, wait_arrived
from support.sides import KafkaSide
from support.wait import settled, until

RATE = 1200
LARGE_RATE = 4000
LARGE_MESSAGES = 15_000
SIZE_LIMIT = 20_000
KAFKA_ACL = {"config": refusals.ACL_BROKER}
REDIS_MISCONF = {"config": {"dbfilename": refusals.UNSAVED, "save": '"3600 1000000"'}}


def retries(bridge):
    return sum(bridge.run.counters()["routes"][NAME]["retries"].values())


STANDS_S = 2


def _felt(bridge, delivered, known):
    """The refusal is counted, or nothing is delivered any more: what a client library tries again
    by itself it tells nobody."""
    last, since = delivered(), time.monotonic()

    def is_felt():
        nonlocal last, since
        now = delivered()
        if now != last:
            last, since = now, time.monotonic()
        return retries(bridge) > known or time.monotonic() - since > STANDS_S
    until(is_felt, STALL_S, "the refusal is felt", detail=bridge.run.tail)


def refused(kind, options=None, live=True):
    """Now and then the sink refuses all that comes: it is waited for, nothing is buried."""
    def play(trial):
        source, sink = trial.fleet.pair(trial.pair, apart=True)
        if options:
            sink = trial.fleet.special(trial.pair[1], kind.__name__, **options)
        refusal = kind(sink, trial.fresh)
        route = trial.route(source, sink, rate=RATE, live=live, dead=source,
                            endpoints={"b": refusal.endpoint})
        refusal.there = route.there
        bridge = trial.bridge(route)
        route.feeder.start()
        bridge.start()
        bridge.ready()
        delivered = delivered_of(bridge)
        for _ in range(trial.rounds):
            wanted = delivered() + trial.dice.randrange(100, 800)
            until(lambda: delivered() >= wanted, STALL_S, "messages move", detail=bridge.run.tail)
            route.stream.fault()
            known = retries(bridge)
            refusal.refuse()
            try:
                _felt(bridge, delivered, known)
            finally:
                refusal.mend()
        wanted = delivered() + 500
        until(lambda: delivered() >= wanted, STALL_S, "messages move at the end",
              detail=bridge.run.tail)
        judge_refused(trial, route, bridge, live)
    return play


def judge_refused(trial, route, bridge, live=True):
    verdict = stop_and_judge(route, bridge)
    trial.note(verdict)
    assert verdict.dead_lettered == 0, verdict
    limits = {"per_fault_max": WINDOW} if live else {"duplicates_max": trial.rounds * WINDOW}
    trial.kept(verdict, order="last", **limits)


def address_full(trial):
    """Artemis rejects at an address' limit, and takes again when somebody has taken."""
    trial.row["rounds"] = 1
    source = trial.fleet.side(trial.pair[0])
    sink = trial.fleet.special("artemis", "limits", addresses=LIMITS)
    route = trial.route(source, sink, rate=RATE, live=False, dead=source,
                        names={"to": "full.to"})
    bridge = trial.bridge(route)
    route.feeder.start()
    bridge.start()
    bridge.ready()
    until(lambda: retries(bridge) > 0, STALL_S, "a refusal", detail=bridge.run.tail)
    route.stream.collect()
    wait_arrived(route.stream, 2000, bridge)
    judge_refused(trial, route, bridge)


def too_large(trial):
    """What is too large for the topic is the message's fault: it alone is buried."""
    source, sink = trial.fleet.pair(trial.pair)
    sink = KafkaSide(sink.broker, **{"max.message.bytes": str(SIZE_LIMIT)})
    route = trial.route(source, sink, rate=LARGE_RATE, count=LARGE_MESSAGES * trial.rounds,
                        dead=source)
    bridge = trial.bridge(route)
    route.feeder.start()
    bridge.start()
    verdict = stop_and_judge_fed(route, bridge)
    bodies = route.feeder.bodies
    large = sum(len(bodies.make(*name)) > SIZE_LIMIT for name in route.feeder.ledger())
    trial.kept(verdict, order="last", per_fault_max=WINDOW)
    assert verdict.dead_lettered == large > 0, f"{large} are too large\n{verdict}"


def stop_and_judge_fed(route, bridge):
    """Like stop_and_judge, where the feeder has to come to its own end first."""
    route.feeder.wait(300)
    return stop_and_judge(route, bridge)


def _rest(route, bridge):
    """Until all that was fed has arrived and nothing moves."""
    route.feeder.pause()
    fed = settled(lambda: route.feeder.confirmed, 0.5, 30, "the feeder rests")
    wait_arrived(route.stream, fed, bridge)


def _delete_queue(trial, route):
    delete_queue(route.sink.broker.uri, route.there.get("queue")
                 or route.there["address"].removeprefix("/queues/"))


def _delete_stream(trial, route):
    route.sink.broker.call("DEL", route.there["stream_key"])


def deleted(delete):
    """The destination is deleted when all of it has been taken; the bridge makes it again."""
    def play(trial):
        source, sink = trial.fleet.pair(trial.pair, apart=True)
        route = trial.route(source, sink, rate=RATE, dead=source)
        bridge = trial.bridge(route)
        route.feeder.start()
        bridge.start()
        for _ in range(trial.rounds):
            wait_arrived(route.stream, route.stream.arrived + trial.dice.randrange(100, 800),
                         bridge)
            _rest(route, bridge)
            route.stream.fault()
            delete(trial, route)
            route.feeder.resume()
            wait_arrived(route.stream, route.stream.arrived + 100, bridge)
        judge_refused(trial, route, bridge)
    return play


def unbound(trial):
    """The binding of a fixed destination goes under load, and comes again: what no queue took was
    not lost."""
    source, sink = trial.fleet.pair(trial.pair, apart=True)
    route = trial.route(source, sink, rate=RATE, dead=source)
    exchange, queue = route.there["exchange"], route.there["queue"]
    route.more["to"] = {"endpoint": "b", "exchange": exchange, "routing_key": "fixed"}
    bridge = trial.bridge(route)
    route.feeder.start()
    bridge.start()
    bridge.ready()
    for _ in range(trial.rounds):
        wait_arrived(route.stream, route.stream.arrived + trial.dice.randrange(100, 800), bridge)
        route.stream.fault()
        known = retries(bridge)
        with rabbit_channel(sink.broker.uri) as channel:
            channel.queue_unbind(queue, exchange, "#")
        try:
            until(lambda: retries(bridge) > known, STALL_S, "the return is counted",
                  detail=bridge.run.tail)
        finally:
            declare_queue(sink.broker.uri, queue, bind=[(exchange, "#")])
    wait_arrived(route.stream, route.stream.arrived + 300, bridge)
    judge_refused(trial, route, bridge)


def poisoned(trial):
    """Poison between messages: each is carried or buried, and the others pass untouched."""
    source, sink = trial.fleet.pair(trial.pair)
    if source.platform == "kafka":
        source = KafkaSide(source.broker, **{"max.message.bytes": str(1 << 24)})
    route = trial.route(source, sink, rate=RATE, dead=source,
                        ends={"to": poison.limits(sink.platform)})
    bridge = trial.bridge(route)
    route.feeder.start()
    bridge.start()
    bridge.ready()
    number = 0
    for _ in range(trial.rounds):
        messages = poison.messages(source, trial.dice)
        source.put(route.where, messages)
        number += len(messages)
        wait_arrived(route.stream, route.stream.arrived + 200, bridge)
    until(lambda: bridge.run.counters()["routes"][NAME]["received"] >= number, STALL_S,
          "all poison taken", detail=bridge.run.tail)
    verdict = stop_and_judge(route, bridge)
    counters = bridge.run.last_counters()
    carried = counters.total("delivered") - verdict.distinct
    buried = counters.total("dead_lettered")
    trial.row["poison"] = {"carried": carried, "buried": buried}
    trial.note(verdict)
    # What was confirmed behind a refused message comes again; of poison nobody can tell.
    again = verdict.unknown - number
    assert carried + buried == number and 0 <= again <= WINDOW, (
        f"{number} of poison, {trial.row['poison']}\n{verdict}")
    verdict.unknown = 0
    trial.kept(verdict, duplicates_max=WINDOW, order="last")
    assert verdict.dead_lettered == 0, verdict


NO_DELETE = {
    "kafka": "what is confirmed into a deleted topic is gone with it, and with it the positions of "
             "all who read it",
    "artemis": "an address without a queue accepts and drops what is sent to it: the broker's own "
               "setting",
    "classic": "its queues have no other means of deletion than its management"}


def deletable(source, sink):
    return NO_DELETE.get(sink)


CASES = (
    Case("F8", "nack", "a queue at its limit: basic.nack", refused(refusals.FullQueue), 10, 1,
         only_to("rabbitmq", "rabbitmq4"), extra=True),
    Case("F8", "acl", "not allowed to write", refused(refusals.NotAllowed, KAFKA_ACL), 10, 0,
         only_to("kafka")),
    Case("F8", "size", "larger than the topic takes", too_large, 1, 0, only_to("kafka")),
    Case("F8", "full", "an address at its limit: rejected", address_full, 1, 1, only_to("artemis")),
    Case("F8", "OOM", "no memory", refused(refusals.Oom), 10, 1, only_to("redis")),
    Case("F8", "NOPERM", "not allowed to write", refused(refusals.NoPermission), 10, 1,
         only_to("redis")),
    Case("F8", "NOREPLICAS", "too few replicas", refused(refusals.NoReplicas), 10, 1,
         only_to("redis")),
    Case("F8", "WRONGTYPE", "something else in its place",
         refused(refusals.WrongType, live=False), 10, 1, only_to("redis")),
    Case("F8", "MISCONF", "snapshots fail", refused(refusals.Misconf, REDIS_MISCONF), 5, 0,
         only_to("redis")),
    Case("F9", "queue", "the destination is deleted", deleted(
        lambda trial, route: (_delete_stream if route.sink.platform == "redis"
                              else _delete_queue)(trial, route)), 10, 1, deletable, extra=True),
    Case("F9", "binding", "the binding is deleted", unbound, 10, 1,
         only_to("rabbitmq")),
    Case("F13", "", "poison between messages", poisoned, 2, 1),
)
