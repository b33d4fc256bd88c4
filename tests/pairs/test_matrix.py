# SPDX-License-Identifier: Apache-2.0
"""All sixteen pairs over kill -9 of the bridge: nothing lost or changed, each key in order."""

import pytest

from brokers.other_release import host_release, unavailable
from support.bridge import Bridge
from support.config import config
from support.feed import Feeder
from support.oracle import Stream
from support.pair import ENDLESS, WINDOW, columns
from support.wait import until

PLATFORMS = ("kafka", "rabbitmq", "artemis", "redis")
AMQP10 = ("artemis", "classic", "rabbitmq4")
KEYS = 50
STALL_S = 60
CLASSIC_RETURNS = 4000
SHORT = {"count": 2000, "rounds": 1, "rate": 1500}
LONG = {"count": 20_000, "rounds": 5, "rate": 4000}


def variants(platform):
    return AMQP10 if platform == "artemis" else (platform,)


SHORT_PAIRS = [(source, sink) for source in PLATFORMS for sink in PLATFORMS]
LONG_PAIRS = [(one, other) for source, sink in SHORT_PAIRS
              for one in variants(source) for other in variants(sink)]


def pair_ids(pairs):
    return [f"{source}-{sink}" for source, sink in pairs]


@pytest.fixture
def side_of(brokers):
    """side_of(name), or a skip that says why this machine has no such broker."""
    def find(name):
        if name == "rabbitmq4" and host_release() != "trixie" and unavailable():
            pytest.skip(unavailable())
        return brokers.side(name)
    return find


def wait_arrived(stream, wanted, bridge):
    """Until so many have arrived; fails where nothing moves any more."""
    while (known := stream.arrived) < wanted:
        bridge.check()
        until(lambda: stream.arrived > known, STALL_S, f"more than {known} of {wanted} arrived",
              detail=bridge.run.tail)


def run_pair(source, sink, form, fresh, workdir, dice, ending):
    """Feeds at least `count`, kills and resumes the bridge `rounds` times; the verdict."""
    where, there = source.make(fresh("from")), sink.make(fresh("to"))
    feeder = Feeder(workdir, "load", dice.randrange(1 << 30), ENDLESS, keys=KEYS,
                    rate=form["rate"], **where)
    stream = ending(Stream(workdir, feeder, there))
    bridge = ending(Bridge(workdir, config(
        fresh("bridge"), {"a": source.endpoint, "b": sink.endpoint},
        [{"name": "pair", "from": {"endpoint": "a", **source.source(where)},
          "to": {"endpoint": "b", **sink.sink(there)}}])))
    feeder.start()
    bridge.start()
    each = form["count"] // form["rounds"]
    for _ in range(form["rounds"]):
        # The feeder never pauses: there is a backlog when the bridge comes back, and it is killed
        # while messages flow.
        wait_arrived(stream, stream.arrived + dice.randrange(each // 10, each * 3 // 4), bridge)
        stream.fault()
        bridge.run.kill()
        bridge.start()
    wait_arrived(stream, form["count"], bridge)
    feeder.stop()
    verdict = stream.finish(600, STALL_S, poll=bridge.check)
    assert bridge.run.terminate() == 0, bridge.run.tail()
    assert bridge.run.last_counters().conserved(), bridge.run.last_counters()
    return verdict


def judge_pair(source, sink, form, verdict, counts):
    counts(**{"from": source.name, "to": sink.name, "rounds": form["rounds"], **columns(verdict)})
    assert verdict.confirmed >= form["count"]
    verdict.assert_kept(per_fault_max=WINDOW)


@pytest.mark.parametrize("pair", SHORT_PAIRS, ids=pair_ids(SHORT_PAIRS))
def test_a_pair_over_one_kill(pair, side_of, fresh, tmp_path, dice, ending, counts):
    source, sink = map(side_of, pair)
    verdict = run_pair(source, sink, SHORT, fresh, tmp_path, dice, ending)
    judge_pair(source, sink, SHORT, verdict, counts)


@pytest.mark.long
@pytest.mark.parametrize("pair", LONG_PAIRS, ids=pair_ids(LONG_PAIRS))
def test_a_pair_over_five_kills(pair, side_of, fresh, tmp_path, dice, ending, counts):
    source, sink = map(side_of, pair)
    verdict = run_pair(source, sink, LONG, fresh, tmp_path, dice, ending)
    judge_pair(source, sink, LONG, verdict, counts)
