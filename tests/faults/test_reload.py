# SPDX-License-Identifier: Apache-2.0
"""SIGHUP under load: what did not change is not touched; a bad file changes nothing."""

import pytest

from support.clients import declare_queue, produce
from support.pair import Pair, columns
from support.wait import until

SECONDS = 20


@pytest.mark.parametrize("reloads", [12, pytest.param(51, marks=pytest.mark.long)])
def test_reloads_leave_the_untouched_route_alone(reloads, kafka3, rabbit, fresh, tmp_path, dice,
                                                 ending, counts):
    """In turn a second route is added, changed (its sink) and removed."""
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, rate=3000))
    topic, sinks = fresh("other.topic"), [fresh("other.a"), fresh("other.b")]
    for sink in sinks:
        declare_queue(rabbit.uri, sink)
    produce(kafka3.bootstrap, topic, [{"value": b"x"}])

    def other(number):
        return {"name": "other", "from": {"endpoint": "k", "topic": topic},
                "to": {"endpoint": "r", "queue": sinks[number]}}

    bridge = ending(pair.bridge())
    bridge.start()
    pair.feeder.start()
    pair.stream.wait_ended(500, poll=bridge.check)
    began = bridge.run.counters()["routes"][pair.name]["received"]
    for number in range(reloads):
        step = number % 3
        known = len(bridge.run.log)
        bridge.reload(pair.config(other(step)) if step < 2 else pair.config())

        def applied():
            bridge.check()
            routes = bridge.run.counters()["routes"]
            assert routes[pair.name]["received"] >= began, "the untouched route began again"
            if step == 1:
                return len(bridge.run.log) > known and "other" in routes
            return ("other" in routes) == (step == 0)
        until(applied, SECONDS, f"reload {number} is applied", detail=bridge.run.tail)
        pair.stream.wait_ended(pair.stream.ended + dice.randrange(100, 800), poll=bridge.check)
    pair.feeder.stop()
    verdict = pair.stream.finish(poll=bridge.check)
    assert bridge.run.terminate() == 0, bridge.run.tail()
    counts(reloads=reloads, **columns(verdict))
    verdict.assert_kept(duplicates_max=0)
    counters = bridge.run.last_counters()["routes"][pair.name]
    assert counters["delivered"] == verdict.arrived


def test_a_changed_route_loses_and_repeats_nothing(kafka3, rabbit, fresh, tmp_path, dice, ending,
                                                   counts):
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, rate=3000))
    bridge = ending(pair.bridge())
    bridge.start()
    pair.feeder.start()
    for number in range(5):
        pair.stream.wait_ended(pair.stream.ended + 1000, poll=bridge.check)
        pair._route_extra["window"] = {"messages": 4000 + number}
        bridge.reload(pair.config())
    pair.feeder.stop()
    verdict = pair.stream.finish(poll=bridge.check)
    assert bridge.run.terminate() == 0, bridge.run.tail()
    counts(reloads=5, **columns(verdict))
    verdict.assert_kept(duplicates_max=0)


def test_a_bad_file_keeps_the_old_routes(kafka3, rabbit, fresh, tmp_path, dice, ending):
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, rate=2000))
    bridge = ending(pair.bridge())
    bridge.start()
    pair.feeder.start()
    pair.stream.wait_ended(500, poll=bridge.check)
    for bad in ("", "bridge = {", pair.config().replace('topic =', 'topik ='),
                pair.config().replace("routes =", "rootes ="), "\x01\x7f"):
        known = len(bridge.run.log)
        bridge.reload(bad)
        until(lambda: len(bridge.run.log) > known, 10, f"a word about {bad[:20]!r}")
        pair.stream.wait_ended(pair.stream.ended + 300, poll=bridge.check)
    bridge.path.unlink()
    known = len(bridge.run.log)
    bridge.reload()
    until(lambda: len(bridge.run.log) > known, 10, "a word about the missing file")
    pair.stream.wait_ended(pair.stream.ended + 300, poll=bridge.check)
    pair.feeder.stop()
    verdict = pair.stream.finish(poll=bridge.check)
    verdict.assert_kept(duplicates_max=0)
    assert bridge.run.terminate() == 0, bridge.run.tail()
