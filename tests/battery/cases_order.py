# SPDX-License-Identifier: Apache-2.0
"""I8: on the wire, nothing is acknowledged at its source before its sink has confirmed it."""

from battery.trial import Case
from support.clients import read_topic
from support.pair import WINDOW
from support.redis_side import client, read
from support.route import kill_rounds, stop_and_judge, wait_arrived
from support.wirewatch import Record, watch

RATE = 1000
EACH = 600
STREAM = "load"


def _positions(route, record):
    """What a source's positions stand for, once the run is over."""
    if route.source.platform == "kafka":
        held = {}
        for entry in read_topic(route.where["bootstrap"], route.where["topic"], None):
            for name in record.names(entry.value):
                held.setdefault(entry.partition, []).append((entry.offset, name))
        topic = route.where["topic"]
        return lambda what: [name for offset, name in held.get(what[1], ())
                             if what[0] == topic and offset < what[2]]
    if route.source.platform == "redis":
        with client(route.where["redis"]) as server:
            entries = read(server, route.where["stream_key"], b"-", 1 << 30)
        held = {identity: record.names(dict(pairs).get(b"body", b"")) for identity, pairs in entries}
        return lambda what: held.get(what[1], [])
    return lambda what: [what]


def watched(trial, env=None):
    """A route with a proxy at both ends: the route, its bridge, and the record of the wire."""
    record = Record(STREAM)
    source, first, one = trial.fleet.proxied(trial.pair[0])
    sink, last, other = trial.fleet.proxied(trial.pair[1])
    if one is other:  # Kafka names one address for both
        watch(one, source.platform, record, "source", "sink")
    else:
        watch(one, source.platform, record, "source")
        watch(other, sink.platform, record, "sink")
    route = trial.route(source, sink, rate=RATE, endpoints={"a": first, "b": last})
    return route, trial.bridge(route, env=env), record


def violations(route, record):
    return record.violations(_positions(route, record))


def in_order(trial):
    route, bridge, record = watched(trial)
    route.feeder.start()
    bridge.start()
    kill_rounds(route, bridge, trial.rounds, EACH, trial.dice)
    wait_arrived(route.stream, route.stream.arrived + EACH, bridge)
    trial.kept(stop_and_judge(route, bridge), per_fault_max=WINDOW)
    checked, early = violations(route, record)
    trial.row["acknowledged"] = checked
    assert not early, f"{len(early)} acknowledged before they were confirmed: {early[:5]}"
    assert checked >= EACH, f"only {checked} acknowledgements were seen"


CASES = (
    Case("I8", "", "on the wire: confirmed first, then acknowledged", in_order, 5, 1),
)
