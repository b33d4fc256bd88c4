# SPDX-License-Identifier: Apache-2.0
"""delivery = "effectively-once" into Kafka: killed over and over, each message is there once, as a
consumer sees it that reads what is committed."""

import pytest

from support.pair import columns, sizes
from support.route import Route, kill_rounds, stop_and_judge, wait_arrived, zombie_rounds
from support.sides import RabbitSide

ONCE = {"delivery": "effectively-once"}


@pytest.fixture
def side_of(brokers):
    def find(name):
        if name == "stream":
            return RabbitSide(brokers.rabbit(), **{"x-queue-type": "stream"})
        return brokers.side(name)
    return find


@pytest.mark.parametrize("rounds, count", sizes((3, 6000), (50, 100_000)))
@pytest.mark.parametrize("source", ["kafka", "redis", "stream"])
def test_once_over_kills(source, rounds, count, side_of, fresh, tmp_path, dice, ending, counts):
    ends = {"from": {"start": "earliest"}} if source == "stream" else None
    route = ending(Route(side_of(source), side_of("kafka"), fresh, tmp_path, dice, rate=3000,
                         ends=ends, **ONCE))
    bridge = ending(route.bridge())
    route.feeder.start()
    bridge.start()
    kill_rounds(route, bridge, rounds, count // rounds, dice)
    wait_arrived(route.stream, count, bridge)
    verdict = stop_and_judge(route, bridge)
    counts(source=source, rounds=rounds, **columns(verdict))
    assert verdict.confirmed >= count
    verdict.assert_kept(duplicates_max=0)


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.long)])
def test_once_over_a_zombie(rounds, side_of, fresh, tmp_path, dice, ending, counts):
    """A process that stood still longer than its session goes on with what it has in hand: the one
    that took over has fenced it off."""
    kafka = side_of("kafka")
    route = ending(Route(kafka, kafka, fresh, tmp_path, dice, rate=2000, **ONCE))
    first, second = (ending(route.bridge(name)) for name in ("first", "second"))
    route.feeder.start()
    first.start()
    zombie_rounds(route, first, second, rounds, dice)
    verdict = stop_and_judge(route, first)
    counts(rounds=rounds, **columns(verdict))
    verdict.assert_kept(duplicates_max=0)
