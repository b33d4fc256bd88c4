# SPDX-License-Identifier: Apache-2.0
"""Effectively once into Artemis, by its duplicate detection; other brokers have none."""

import subprocess

import pytest
from brokers import ArtemisBroker

from support.bridge import Bridge, program
from support.config import config
from support.pair import columns, sizes
from support.route import Route, kill_rounds, stop_and_judge, wait_arrived
from support.sides import Amqp10Side, KafkaSide

ONCE = {"delivery": "effectively-once"}
FULL = """<address-setting match="full.#"><max-size-messages>200</max-size-messages>
<address-full-policy>FAIL</address-full-policy></address-setting>"""


def _judged(route, bridge, counts, **more):
    verdict = stop_and_judge(route, bridge)
    counts(**more, **columns(verdict))
    verdict.assert_kept(duplicates_max=0)


@pytest.mark.parametrize("rounds, each", sizes((3, 800), (50, 3000)))
def test_killed_under_load(rounds, each, kafka3, artemis, fresh, tmp_path, dice, ending, counts):
    route = ending(Route(KafkaSide(kafka3), Amqp10Side(artemis), fresh, tmp_path, dice, rate=1500,
                         **ONCE))
    bridge = ending(route.bridge())
    route.feeder.start()
    bridge.start()
    kill_rounds(route, bridge, rounds, each, dice)
    wait_arrived(route.stream, route.stream.arrived + each, bridge)
    _judged(route, bridge, counts, rounds=rounds)


@pytest.mark.long
def test_broker_killed_under_load(kafka3, fresh, tmp_path, dice, ending, counts):
    """The broker's memory of ids is on its disk, with the messages. They are read at the end: a
    receiver's acknowledgements may be lost with the broker."""
    rounds = 10
    broker = ArtemisBroker(tmp_path)
    broker.start()
    try:
        route = ending(Route(KafkaSide(kafka3), Amqp10Side(broker), fresh, tmp_path, dice,
                             rate=400, live=False, **ONCE))
        bridge = ending(route.bridge())
        route.feeder.start()
        bridge.start()
        for _ in range(rounds):
            _wait_delivered(bridge, dice.randrange(200, 800))
            route.stream.fault()
            broker.kill()
            broker.restart_after_kill()
        _wait_delivered(bridge, 500)
        route.stream.collect()
        _judged(route, bridge, counts, rounds=rounds)
    finally:
        broker.close()


@pytest.mark.long
def test_refused_in_the_middle(brokers, kafka3, fresh, tmp_path, dice, ending, counts):
    """A full address that refuses: what it refused is not remembered. Of the order only so much is
    left as the broker keeps: what was behind may have been taken."""
    broker = brokers.artemis("full", addresses=FULL)
    route = ending(Route(KafkaSide(kafka3), Amqp10Side(broker), fresh, tmp_path, dice, rate=3000,
                         names={"to": "full.to"}, **ONCE))
    bridge = ending(route.bridge())
    route.feeder.start()
    bridge.start()
    wait_arrived(route.stream, 10_000, bridge)
    assert sum(bridge.run.counters()["routes"]["pair"]["retries"].values()) > 0
    verdict = stop_and_judge(route, bridge)
    counts(**columns(verdict))
    verdict.assert_kept(duplicates_max=0, order="none")


def _wait_delivered(bridge, more):
    from support.wait import until
    known = bridge.run.counters().total("delivered")
    until(lambda: bridge.run.counters().total("delivered") >= known + more, 60,
          f"{more} more are delivered", interval=0.1, detail=bridge.run.tail)


def test_another_broker_is_refused(kafka3, rabbit, fresh, tmp_path, ending):
    """RabbitMQ's AMQP 1.0 has no duplicate detection: nothing is taken, the route ends."""
    source, sink = KafkaSide(kafka3), Amqp10Side(rabbit)
    here, there = source.make(fresh("from")), sink.make(fresh("to"))
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": source.endpoint, "b": sink.endpoint},
        [{"name": "once", "from": {"endpoint": "a", **source.source(here)},
          "to": {"endpoint": "b", **sink.sink(there)}, **ONCE}])))
    asked = subprocess.run([program(), "check", "--connect", bridge.path], capture_output=True,
                           text=True, timeout=60)
    assert asked.returncode != 0 and "ActiveMQ Artemis" in asked.stdout + asked.stderr, asked
    bridge.start()
    assert bridge.run.wait(20) == 1, bridge.run.tail()
    assert bridge.run.logged("effectively-once", "ActiveMQ Artemis"), bridge.run.tail()


def test_more_open_than_is_remembered(kafka3, artemis, fresh, tmp_path, ending):
    """20,000 ids an address: three lanes may have more messages open that come again."""
    source, sink = KafkaSide(kafka3), Amqp10Side(artemis)
    here, there = source.make(fresh("from")), sink.make(fresh("to"))
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": source.endpoint, "b": sink.endpoint},
        [{"name": "once", "from": {"endpoint": "a", **source.source(here)},
          "to": {"endpoint": "b", **sink.sink(there)}, "lanes": 3, **ONCE}])))
    bridge.start()
    assert bridge.run.wait(20) == 1, bridge.run.tail()
    assert bridge.run.logged("window.messages = 10000", "20000 ids"), bridge.run.tail()
